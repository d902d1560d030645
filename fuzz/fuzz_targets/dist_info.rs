//! The texts of a dist-info directory and the other small files that are looked into: the first byte picks the name,
//! the second how the rest is cut into pieces.
#![no_main]

use layerwise::audit::facts::{Content, Look};

const NAMES: [&str; 7] = [
    "a-1.dist-info/METADATA",
    "a-1.dist-info/WHEEL",
    "a-1.dist-info/RECORD",
    "a.egg-info/PKG-INFO",
    "a.pth",
    "__pycache__/a.cpython-311.pyc",
    "a.zip",
];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let [kind, cut, bytes @ ..] = bytes else { return };
    let name = NAMES[usize::from(*kind) % NAMES.len()];
    let content = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut look = Look::new(name);
        pieces.for_each(|piece| look.take(piece));
        look.content()
    };
    let whole = content(&mut std::iter::once(bytes));
    if !bytes.starts_with(b"\x7fELF") && bytes.len() > usize::from(*cut) && *cut >= 4 {
        assert_eq!(content(&mut bytes.chunks(usize::from(*cut))), whole, "how it is cut matters");
    }
    match whole {
        Content::Metadata(metadata) => {
            for requirement in &metadata.requires {
                drop(layerwise::model::specifier::parse(requirement));
            }
        }
        Content::Wheel(wheel) => assert!(wheel.tags.iter().all(|tag| !tag.contains('\n'))),
        Content::Record(lines) => assert!(lines.iter().all(|line| !line.path.is_empty())),
        _ => {}
    }
});
