//! A Python source file.
#![no_main]

use layerwise::audit::python::{Problem, When, facts};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let facts = facts(bytes);
    let lines = u32::try_from(bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count()).expect("few lines") + 1;
    for import in &facts.imports {
        assert!(!import.module.is_empty() || import.level > 0);
        assert!((1..=lines).contains(&import.line));
        assert!(!import.names.iter().any(String::is_empty));
        match import.when {
            When::Always { from, until } => assert!(from < until && facts.problem.is_none()),
            When::Guarded => {}
        }
    }
    if let Some(Problem::Syntax { line, message }) = &facts.problem {
        assert!((1..=lines).contains(line));
        assert!(!message.contains(char::is_control));
    }
});
