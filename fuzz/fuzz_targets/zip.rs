//! A zip that anybody made, read as `layerwise check` does; what could be read of it can be judged and unpacked.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use layerwise::artifact::{self, ArtifactError};
use layerwise::audit::{Role, Subject, audit};
use layerwise::model::Target;

/// One file for the whole run, in memory where the system has such a place.
static AT: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let dir = if memory.is_dir() { memory } else { std::env::temp_dir() };
    dir.join(format!("layerwise-fuzz-{}.zip", std::process::id()))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    std::fs::write(&*AT, bytes).expect("a writable folder");
    let artifact = match artifact::read(&AT, "a.zip", 1, None) {
        Ok(artifact) => artifact,
        Err(ArtifactError::Read { source, .. }) => panic!("the file is there: {source}"),
        Err(_) => return,
    };
    assert!(artifact.files.is_sorted_by(|a, b| a.path < b.path), "one file twice");
    for file in &artifact.files {
        assert!(!file.path.starts_with('/') && file.path.split('/').all(|part| !matches!(part, "" | "." | "..")));
    }
    let target = Target::new("python3.11", "x86_64", "2026-11-24").expect("a target");
    for role in [Role::Layer, Role::Function] {
        let subject = Subject { artifacts: vec![artifact.subject(role)], handler: None, pythonpath: None };
        drop(audit(&subject, target));
    }
});
