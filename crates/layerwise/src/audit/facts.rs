//! One file's bytes → what they say about it. Independent of any target, so that they can be kept with a wheel.

use serde::{Deserialize, Serialize};

use super::dist::{self, Metadata, RecordLine, WheelFile};
use super::elf::{self, ElfFacts};
use super::finding::Format;
use super::python::{self, PythonFacts};
use crate::model::digest::{seal, unseal};

/// What a file is, by its name and its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// Nothing that is looked into.
    #[default]
    Opaque,
    /// A Linux binary.
    Elf(Box<ElfFacts>),
    /// A Linux binary that the loader would refuse.
    DamagedElf(String),
    /// Named like a binary, but it is none for Linux.
    NotElf(Format),
    /// Python source.
    Python(PythonFacts),
    /// Python bytecode.
    Bytecode(Bytecode),
    /// `METADATA` of a dist-info, `PKG-INFO` of an egg-info.
    Metadata(Metadata),
    /// `WHEEL`.
    Wheel(WheelFile),
    /// `RECORD`.
    Record(Vec<RecordLine>),
    /// The lines of a `.pth` file that are no comments.
    Pth(Vec<String>),
    /// A zip: `.zip`, `.whl`, `.egg`.
    Archive,
}

/// The first bytes of a `.pyc` file (PEP 552).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytecode {
    /// Of CPython 3.`minor`, if its magic number is one of CPython's.
    pub minor: Option<u8>,
    /// The time of the source it was made from, in Unix seconds, in timestamp mode; `None` in the two hash modes.
    pub source_time: Option<u32>,
}

/// The most of an ELF file that is held in memory, in bytes: Lambda takes no more of all files together.
const LARGEST_ELF: usize = 256 << 20;
/// The most of a text of dist-info, in bytes.
const LARGEST_TEXT: usize = 16 << 20;
/// The most of a `.pth` file, in bytes.
const LARGEST_PTH: usize = 64 << 10;
/// Of a file only its kind is wanted.
const HEAD: usize = 64;

/// Looks at a file while it is read: takes its bytes piece by piece and keeps no more than its kind needs.
pub struct Look<'p> {
    path: &'p str,
    keep: Option<usize>,
    bytes: Vec<u8>,
    longer: bool,
    /// It may hold a handler.
    with_names: bool,
}

impl<'p> Look<'p> {
    /// A file at `path` (`/` between parts).
    pub fn new(path: &'p str) -> Self {
        Self { path, keep: None, bytes: Vec::new(), longer: false, with_names: true }
    }

    /// The same, but the names in a Python file are collected only where it may hold this handler.
    pub fn beside(path: &'p str, handler: Option<&str>) -> Self {
        Self { with_names: handler.is_some_and(|handler| may_hold(path, handler)), ..Self::new(path) }
    }

    /// The next bytes.
    pub fn take(&mut self, piece: &[u8]) {
        if piece.is_empty() {
            return;
        }
        let keep = *self.keep.get_or_insert_with(|| wanted(self.path, piece));
        let room = keep - self.bytes.len();
        self.longer |= piece.len() > room;
        self.bytes.extend_from_slice(piece.get(..room).unwrap_or(piece));
    }

    /// What it is.
    pub fn content(self) -> Content {
        let Self { path, bytes, longer, with_names, .. } = self;
        let name = file_name(path);
        if bytes.starts_with(ELF) {
            return match (elf::facts(&bytes), longer) {
                (_, true) => Content::DamagedElf("is larger than layerwise reads".to_owned()),
                (Ok(facts), false) => Content::Elf(Box::new(facts)),
                (Err(error), false) => Content::DamagedElf(error.to_string()),
            };
        }
        if is_native_name(name) {
            return Content::NotElf(format_of(&bytes));
        }
        if name.ends_with(".py") {
            let facts = if with_names { python::facts } else { python::facts_without_names };
            return Content::Python(facts(&bytes));
        }
        if name.ends_with(".pyc") {
            return bytecode(&bytes).map_or(Content::Opaque, Content::Bytecode);
        }
        let text = || String::from_utf8_lossy(&bytes);
        match text_kind(path) {
            Some(Text::Metadata) => dist::metadata(&text()).map_or(Content::Opaque, Content::Metadata),
            Some(Text::Wheel) => Content::Wheel(dist::wheel_file(&text())),
            Some(Text::Record) => Content::Record(dist::record(&text())),
            Some(Text::Pth) => {
                let text = text();
                let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with('#'));
                Content::Pth(lines.map(str::to_owned).collect())
            }
            None if bytes.starts_with(b"PK\x03\x04") && is_archive_name(name) => Content::Archive,
            None => Content::Opaque,
        }
    }
}

/// Whether a file may be the module of a handler `a/b.c.f`, wherever it is unpacked.
fn may_hold(path: &str, handler: &str) -> bool {
    let module = handler.rsplit_once('.').map_or("", |(module, _)| module).replace('.', "/");
    let stem = path.strip_suffix(".py").map(|stem| stem.strip_suffix("/__init__").unwrap_or(stem));
    stem.is_some_and(|stem| stem.ends_with(&module))
}

const ELF: &[u8] = b"\x7fELF";

enum Text {
    Metadata,
    Wheel,
    Record,
    Pth,
}

fn text_kind(path: &str) -> Option<Text> {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    match name {
        "METADATA" if dir.ends_with(".dist-info") => Some(Text::Metadata),
        "PKG-INFO" if dir.ends_with(".egg-info") => Some(Text::Metadata),
        "WHEEL" if dir.ends_with(".dist-info") => Some(Text::Wheel),
        "RECORD" if dir.ends_with(".dist-info") => Some(Text::Record),
        _ if name.ends_with(".pth") => Some(Text::Pth),
        _ => None,
    }
}

/// How many bytes of the file are kept, told from its name and first bytes.
fn wanted(path: &str, head: &[u8]) -> usize {
    let name = file_name(path);
    if head.starts_with(ELF) {
        return LARGEST_ELF;
    }
    match text_kind(path) {
        Some(Text::Pth) => LARGEST_PTH,
        Some(_) => LARGEST_TEXT,
        // One byte more than is looked into, so that a larger one is noticed.
        None if name.ends_with(".py") => python::LARGEST_SOURCE + 1,
        None if name.ends_with(".pyc") || is_native_name(name) || is_archive_name(name) => HEAD,
        None => 0,
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn is_archive_name(name: &str) -> bool {
    [".zip", ".whl", ".egg"].iter().any(|end| name.ends_with(end))
}

/// `x.so`, `libx.so.1.2`, `x.pyd`, `x.dylib`, `x.dll`.
fn is_native_name(name: &str) -> bool {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    (name.ends_with(".so") || (stem.ends_with(".so") && name[stem.len()..].starts_with('.')))
        || [".pyd", ".dylib", ".dll"].iter().any(|end| name.ends_with(end))
}

/// Sources: `mach-o/loader.h` and `mach-o/fat.h`; the PE format's `MZ`; <https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md>.
fn format_of(bytes: &[u8]) -> Format {
    const MACH_O: [[u8; 4]; 5] = [
        [0xcf, 0xfa, 0xed, 0xfe],
        [0xce, 0xfa, 0xed, 0xfe],
        [0xfe, 0xed, 0xfa, 0xcf],
        [0xfe, 0xed, 0xfa, 0xce],
        [0xca, 0xfe, 0xba, 0xbe],
    ];
    if bytes.is_empty() {
        Format::Empty
    } else if MACH_O.iter().any(|magic| bytes.starts_with(magic)) {
        Format::MachO
    } else if bytes.starts_with(b"MZ") {
        Format::Pe
    } else if bytes.starts_with(b"version https://git-lfs") {
        Format::LfsPointer
    } else if bytes.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
        Format::Text
    } else {
        Format::Unknown
    }
}

/// The header of a `.pyc` file: magic number, flags, then time and size of the source, or its hash.
///
/// Sources: PEP 552; the list of magic numbers in CPython's `Include/internal/pycore_magic_number.h` (before 3.14:
/// `Lib/importlib/_bootstrap_external.py`).
fn bytecode(bytes: &[u8]) -> Option<Bytecode> {
    let (magic, rest) = bytes.split_first_chunk::<4>()?;
    let (flags, rest) = rest.split_first_chunk::<4>()?;
    let (time, _) = rest.split_first_chunk::<4>()?;
    let number = u16::from_le_bytes([magic[0], magic[1]]);
    if magic[2..] != *b"\r\n" {
        return None;
    }
    let minor = match number {
        3400..=3419 => Some(8),
        3420..=3429 => Some(9),
        3430..=3449 => Some(10),
        // From here on each minor has 50 numbers.
        3450..=4000 => u8::try_from(11 + (number - 3450) / 50).ok(),
        _ => None,
    };
    let timestamp = u32::from_le_bytes(*flags) & 1 == 0;
    Some(Bytecode { minor, source_time: timestamp.then(|| u32::from_le_bytes(*time)) })
}

/// As bytes for the cache, with an xxh3 at the end.
pub fn encode(contents: &[Content]) -> Vec<u8> {
    seal(postcard::to_stdvec(contents).expect("facts have nothing that postcard refuses"))
}

/// From the cache; `None` where the bytes are not what [`encode`] made.
pub fn decode(bytes: &[u8]) -> Option<Vec<Content>> {
    postcard::from_bytes(unseal(bytes)?).ok()
}

#[cfg(test)]
mod tests {
    use layerwise_testkit::elf;

    use super::*;

    fn look(path: &str, bytes: &[u8]) -> Content {
        let mut look = Look::new(path);
        for piece in bytes.chunks(7) {
            look.take(piece);
        }
        look.content()
    }

    #[test]
    fn what_a_file_is() {
        let kind = |path: &str, bytes: &[u8]| match look(path, bytes) {
            Content::Opaque => "opaque".to_owned(),
            Content::Elf(_) => "elf".to_owned(),
            Content::DamagedElf(why) => why,
            Content::NotElf(format) => format!("{format:?}"),
            Content::Python(facts) => format!("{} imports", facts.imports.len()),
            Content::Bytecode(Bytecode { minor, source_time }) => format!("{minor:?} {source_time:?}"),
            Content::Metadata(metadata) => format!("{} {}", metadata.name, metadata.version),
            Content::Wheel(wheel) => wheel.tags.join(" "),
            Content::Record(lines) => format!("{} lines", lines.len()),
            Content::Pth(lines) => lines.join("|"),
            Content::Archive => "archive".to_owned(),
        };
        let binary = elf().bytes();
        for (path, bytes, expected) in [
            ("a/x.so", binary.as_slice(), "elf"),
            ("bin/tool", &binary, "elf"),
            ("x.so", b"", "Empty"),
            ("libx.so.1.2", b"\xcf\xfa\xed\xfe\x07", "MachO"),
            ("x.pyd", b"MZ\x90\0\x03", "Pe"),
            ("x.so", b"version https://git-lfs.github.com/spec/v1\noid", "LfsPointer"),
            ("libx.so", b"INPUT(libx.so.1)\n", "Text"),
            ("x.so", b"\x01\x02\x03\x04", "Unknown"),
            ("x.sox", b"\x01\x02", "opaque"),
            ("1.so.txt", b"\x01\x02", "opaque"),
            ("a.py", b"import b\nimport c\n", "2 imports"),
            ("a.py", b"", "0 imports"),
            ("a.pyc", b"\xa7\x0d\r\n\0\0\0\0\x01\0\0\0\x05\0\0\0", "Some(11) Some(1)"),
            ("a.pyc", b"\xcb\x0d\r\n\x01\0\0\0abcdefgh", "Some(12) None"),
            ("a.pyc", b"\x2b\x0e\r\n\x03\0\0\0abcdefgh", "Some(14) None"),
            ("a.pyc", b"nonsense, not bytecode", "opaque"),
            ("a-1.dist-info/METADATA", b"Name: A\nVersion: 1\n", "a 1"),
            ("a.egg-info/PKG-INFO", b"Name: A\nVersion: 1\n", "a 1"),
            ("a/METADATA", b"Name: A\nVersion: 1\n", "opaque"),
            ("a-1.dist-info/WHEEL", b"Tag: py3-none-any\n", "py3-none-any"),
            ("a-1.dist-info/RECORD", b"a.py,,\nb.py,,\n", "2 lines"),
            ("x.pth", b"# c\n\n./lib\nimport os; x\n", "./lib|import os; x"),
            ("in.zip", b"PK\x03\x04rest", "archive"),
            ("in.docx", b"PK\x03\x04rest", "opaque"),
        ] {
            assert_eq!(kind(path, bytes), expected, "{path} {bytes:?}");
        }
    }

    #[test]
    fn facts_are_kept_and_noticed_when_rotten() {
        let facts = [look("a.py", b"import b"), look("x.so", &elf().needs("libc.so.6").bytes()), Content::Opaque];
        let bytes = encode(&facts);
        let mut kept = facts.clone();
        if let Content::Python(python) = &mut kept[0] {
            python.names = None;
        }
        assert_eq!(decode(&bytes).as_deref(), Some(&kept[..]), "all but the names");
        let mut rotten = bytes.clone();
        rotten[3] ^= 1;
        assert_eq!(decode(&rotten), None);
    }

    #[test]
    fn names_are_collected_where_the_handler_may_be() {
        for (path, expected) in [
            ("index.py", true),
            ("python/index.py", true),
            ("index/__init__.py", true),
            ("other.py", false),
            ("index.so", false),
        ] {
            let mut look = Look::beside(path, Some("index.handler"));
            look.take(b"x = 1");
            assert_eq!(matches!(look.content(), Content::Python(facts) if facts.names.is_some()), expected, "{path}");
        }
        for (path, handler, expected) in [
            ("a/b/c.py", "a/b.c.f", true),
            ("a/b/c/__init__.py", "a.b.c.f", true),
            ("b/c.py", "a.b.c.f", false),
            ("a.py", "no_dot", true),
        ] {
            assert_eq!(may_hold(path, handler), expected, "{path} {handler}");
        }
    }

    #[test]
    fn no_more_is_kept_than_needed() {
        let mut look = Look::new("data.json");
        look.take(&[b'x'; 1000]);
        assert_eq!(look.bytes.capacity(), 0);
        let mut look = Look::new("x.pyc");
        look.take(&[b'x'; 1000]);
        assert_eq!(look.bytes.len(), HEAD);
    }
}
