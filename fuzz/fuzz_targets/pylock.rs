//! A lock file; what is selected from it can be written and read again.
#![no_main]

use std::collections::BTreeSet;

use layerwise::model::{CompilePolicy, Target, tag::Tags};
use layerwise::resolve::pylock;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let target = Target::new("python3.12", "x86_64", "2026-11-24").expect("a target");
    let (tags, none, policy) = (Tags::of(target), BTreeSet::new(), CompilePolicy::default());
    let selection = pylock::Selection { label: "pylock.toml", tags: &tags, extras: &none, groups: &none, policy: &policy };
    let Ok(lock) = pylock::parse(text, "pylock.toml").and_then(|lock| lock.select(&selection)) else { return };
    let again = pylock::parse(&pylock::write(&lock, target), "pylock.toml").expect("what is written is read");
    let again = again.select(&selection).expect("what is written can be selected");
    assert_eq!(again.packages, lock.packages);
});
