//! A compiled file from a stranger.
#![no_main]

use layerwise::audit::elf::facts;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(facts) = facts(bytes) else { return };
    assert!(bytes.starts_with(b"\x7fELF"));
    assert!(facts.exports.is_sorted_by(|a, b| a < b) && facts.undefined.is_sorted_by(|a, b| a < b));
    assert!(
        facts.modules.iter().all(|module| facts.has_export(&format!("PyInit_{module}")) || module.contains('\u{fffd}'))
    );
    let kept = facts.needed.iter().chain(&facts.undefined).map(String::len).sum::<usize>();
    assert!(kept <= 16 * 3 * bytes.len(), "more is kept than the file has, thrice for what is not UTF-8");
});
