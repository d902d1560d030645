//! A zip from a stranger: its directory, and all of it as a wheel; what is accepted can be assembled or is refused.
#![no_main]

use std::io::Cursor;

use layerwise::assemble::{Options, assemble};
use layerwise::model::Target;
use layerwise::wheel::{directory, index};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let members = directory::read(&mut Cursor::new(bytes));
    let name = "a-1.0-py3-none-any.whl".parse().expect("a wheel name");
    let Ok(index) = index(&mut Cursor::new(bytes), &name) else { return };
    assert!(members.is_ok(), "a wheel is a zip");
    assert_eq!(layerwise::wheel::WheelIndex::decode(&index.encode()).as_ref(), Some(&index));
    let target = Target::new("python3.12", "x86_64", "2026-11-24").expect("a target");
    drop(assemble(&[(&name, &index)], &[], target, &Options::default()));
});
