//! A Python source file from a stranger.
#![no_main]

use layerwise::audit::python::{LARGEST_SOURCE, Problem, When, facts};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let facts = facts(bytes);
    let too_large = bytes.len() > LARGEST_SOURCE;
    assert_eq!(facts.problem == Some(Problem::TooLarge), too_large);
    if facts.problem.is_some() {
        assert!(
            facts.imports.iter().all(|import| import.when == When::Guarded),
            "certain in a file that does not compile"
        );
    }
    let lines = 1 + bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
    for import in &facts.imports {
        assert!((1..=lines).contains(&(import.line as usize)), "line {} of {lines}", import.line);
        assert!(import.level > 0 || !import.module.is_empty(), "an import of nothing");
        if let When::Always { from, until } = import.when {
            assert!(from < until);
        }
    }
});
