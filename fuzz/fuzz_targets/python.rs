//! A Python source file from a stranger.
#![no_main]

use layerwise::audit::python::{LARGEST_SOURCE, Problem, When, facts};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let facts = facts(bytes);
    let too_large = bytes.len() > LARGEST_SOURCE;
    assert_eq!(facts.problem == Some(Problem::TooLarge), too_large);
    let lines = u32::try_from(bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count()).expect("few lines") + 1;
    for import in &facts.imports {
        assert!(import.level > 0 || !import.module.is_empty(), "an import of nothing");
        assert!((1..=lines).contains(&import.line), "line {} of {lines}", import.line);
        assert!(!import.names.iter().any(String::is_empty));
        match import.when {
            When::Always { from, until } => assert!(from < until && facts.problem.is_none()),
            When::Guarded => {}
            When::Deferred => assert!(facts.problem.is_none()),
        }
    }
    if let Some(Problem::Syntax { line, message }) = &facts.problem {
        assert!((1..=lines).contains(line));
        assert!(!message.contains(char::is_control));
    }
});
