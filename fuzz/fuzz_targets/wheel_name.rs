//! A wheel's file name, and its rank.
#![no_main]

use layerwise::model::{Target, WheelName, tag::Tags};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(wheel) = text.parse::<WheelName>() else { return };
    assert!(!text.contains(|c: char| c == '/' || c == '\\' || c.is_control()));
    let target = Target::new("python3.12", "x86_64", "2026-11-24").expect("a target");
    drop(Tags::of(target).rank(&wheel));
});
