//! What is in a wheel, learnt once: every member read to its end, its CRC-32 and size compared, its SHA-256 noted.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};

use flate2::{Decompress, FlushDecompress, Status};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use xxhash_rust::xxh3::Xxh3;

use super::directory::{self, Located, Method, ZipError};
use crate::audit::facts::{Content, Look};
use crate::model::digest::{seal, unseal};
use crate::model::tag::unescape_version;
use crate::model::{PackageName, Sha256, WheelName};

/// What is in a wheel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WheelIndex {
    /// Size of the wheel's file in bytes.
    pub wheel_bytes: u64,
    /// Its files, in the order of its directory.
    pub members: Vec<Member>,
    /// The name of its `*.dist-info` directory.
    pub dist_info: String,
    /// The text of `METADATA`.
    pub metadata: String,
    /// `Root-Is-Purelib` of `WHEEL`.
    pub root_is_purelib: bool,
    /// The text of `entry_points.txt`, if it has one.
    pub entry_points: Option<String>,
    /// Texts that assembling has to look into, by member name: scripts that begin with `#!python`, and short
    /// `__init__.py` files (which may be those of a namespace).
    pub texts: BTreeMap<String, Vec<u8>>,
}

/// One file of a wheel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its path in the wheel: relative and safe.
    pub name: String,
    /// How it is stored.
    pub method: Method,
    /// CRC-32 of the unpacked bytes.
    pub crc32: u32,
    /// Bytes in the wheel.
    pub compressed: u64,
    /// Bytes unpacked.
    pub size: u64,
    /// Where its bytes begin in the wheel.
    pub offset: u64,
    /// Of the unpacked bytes.
    pub sha256: Sha256,
    /// xxh3 of the bytes in the wheel: tells a rotten file while it is copied.
    pub check: u64,
    /// Some execute bit is set.
    pub executable: bool,
}

/// A wheel that is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum WheelError {
    /// As a zip.
    #[error(transparent)]
    Zip(#[from] ZipError),
    /// A member's bytes.
    #[error("member `{name}` {what}")]
    Member {
        /// Its name, escaped.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Unpacked it would be too large.
    #[error("it unpacks to more than {limit} bytes (a zip bomb?)")]
    TooLarge {
        /// The most that is accepted.
        limit: u64,
    },
    /// As a wheel.
    #[error("it is not a wheel: {0}")]
    NotAWheel(String),
}

/// Twice what Lambda takes of a whole function would be enough for a layer; torch and kin are larger, and fit once
/// parts are excluded.
const LARGEST_UNPACKED: u64 = 8 << 30;
/// The most that is kept of one text, in bytes.
const LARGEST_TEXT: u64 = 16 << 20;
/// Larger ones are programs, not Python scripts, in bytes.
const LARGEST_SCRIPT: u64 = 1 << 20;
/// A namespace's `__init__.py` is short.
const LARGEST_INIT: u64 = 2048;
/// All that is kept of one wheel's scripts and `__init__.py` files, in bytes.
const LARGEST_TEXTS: usize = 32 << 20;
const CHUNK: usize = 128 << 10;

/// Reads a wheel from end to end and accepts it, or says why not.
pub fn index(file: &mut (impl Read + Seek), name: &WheelName) -> Result<WheelIndex, WheelError> {
    index_and_facts(file, name).map(|(index, _)| index)
}

/// The same, and what each member is, in the order of the index's members.
pub fn index_and_facts(
    file: &mut (impl Read + Seek),
    name: &WheelName,
) -> Result<(WheelIndex, Vec<Content>), WheelError> {
    let wheel_bytes = file.seek(SeekFrom::End(0)).map_err(ZipError::Read)?;
    let located = directory::read(file)?;
    if located.iter().map(|member| member.size).fold(0u64, u64::saturating_add) > LARGEST_UNPACKED {
        return Err(WheelError::TooLarge { limit: LARGEST_UNPACKED });
    }
    let dist_info = dist_info(&located, name)?;
    let mut reader = MemberReader::new();
    let mut members = Vec::with_capacity(located.len());
    let mut facts = Vec::with_capacity(located.len());
    let mut texts = BTreeMap::new();
    let mut texts_bytes = 0;
    let (mut metadata, mut wheel, mut entry_points) = (None, None, None);
    for member in located {
        let in_dist_info = member.name.strip_prefix(&dist_info).and_then(|rest| rest.strip_prefix('/'));
        let slot = match in_dist_info {
            Some("METADATA") => Some(&mut metadata),
            Some("WHEEL") => Some(&mut wheel),
            Some("entry_points.txt") => Some(&mut entry_points),
            _ => None,
        };
        let wanted = slot.is_some() || is_script(&member) || is_short_init(&member);
        if slot.is_some() && member.size > LARGEST_TEXT {
            return Err(WheelError::Member {
                name: member.name.escape_debug().to_string(),
                what: "is too large for a text",
            });
        }
        let mut text = Vec::new();
        let mut look = Look::beside(&member.name, None);
        let (sha256, check) = reader.read(file, &member, |chunk| {
            if wanted {
                text.extend_from_slice(chunk);
            }
            look.take(chunk);
            Ok(())
        })?;
        facts.push(look.content());
        match slot {
            Some(slot) => *slot = Some(String::from_utf8_lossy(&text).into_owned()),
            None if wanted && (text.starts_with(b"#!python") || is_short_init(&member)) => {
                texts_bytes += text.len();
                if texts_bytes > LARGEST_TEXTS {
                    let what = "and the scripts before it are too large for texts";
                    return Err(WheelError::Member { name: member.name.escape_debug().to_string(), what });
                }
                texts.insert(member.name.clone(), text);
            }
            None => {}
        }
        members.push(Member {
            name: member.name,
            method: member.method,
            crc32: member.crc32,
            compressed: member.compressed,
            size: member.size,
            offset: member.offset,
            sha256,
            check,
            executable: member.executable,
        });
    }
    let not_a_wheel = |what: String| WheelError::NotAWheel(what);
    let metadata = metadata.ok_or_else(|| not_a_wheel(format!("{dist_info}/METADATA is missing")))?;
    let wheel = wheel.ok_or_else(|| not_a_wheel(format!("{dist_info}/WHEEL is missing")))?;
    let version = field(&wheel, "Wheel-Version").unwrap_or_default();
    if version.split('.').next() != Some("1") {
        return Err(not_a_wheel(format!("Wheel-Version is `{version}`; layerwise reads 1.x")));
    }
    let root_is_purelib = field(&wheel, "Root-Is-Purelib").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let index = WheelIndex { wheel_bytes, members, dist_info, metadata, root_is_purelib, entry_points, texts };
    Ok((index, facts))
}

/// Writes the unpacked bytes of one member, compared with its CRC-32 and size.
pub fn extract(file: &mut (impl Read + Seek), member: &Member, to: &mut dyn Write) -> Result<(), WheelError> {
    let located = Located {
        name: member.name.clone(),
        method: member.method,
        crc32: member.crc32,
        compressed: member.compressed,
        size: member.size,
        offset: member.offset,
        executable: member.executable,
    };
    extract_located(file, &located, to)
}

/// Writes the unpacked bytes of one member of whatever zip, compared with its CRC-32 and size.
pub fn extract_located(file: &mut (impl Read + Seek), member: &Located, to: &mut dyn Write) -> Result<(), WheelError> {
    MemberReader::new().read(file, member, |chunk| to.write_all(chunk)).map(drop)
}

/// The one `*.dist-info` directory at the top; it must be of the distribution and version in the file's name.
fn dist_info(members: &[Located], name: &WheelName) -> Result<String, WheelError> {
    let mut found: Vec<&str> = members
        .iter()
        .filter_map(|member| member.name.split_once('/'))
        .map(|(top, _)| top)
        .filter(|top| top.ends_with(".dist-info"))
        .collect();
    found.sort_unstable();
    found.dedup();
    let [dist_info] = found.as_slice() else {
        return Err(WheelError::NotAWheel(format!("it has {} dist-info directories instead of one", found.len())));
    };
    let stem = dist_info.strip_suffix(".dist-info").unwrap_or(dist_info);
    let same = stem.rsplit_once('-').is_some_and(|(distribution, version)| {
        distribution.parse::<PackageName>().is_ok_and(|distribution| distribution == name.name)
            && unescape_version(version).is_some_and(|version| version == name.version)
    });
    if same {
        Ok((*dist_info).to_owned())
    } else {
        Err(WheelError::NotAWheel(format!("its name is `{name}`, but it holds `{}`", dist_info.escape_debug())))
    }
}

fn is_script(member: &Located) -> bool {
    let mut parts = member.name.split('/');
    member.size <= LARGEST_SCRIPT
        && parts.next().is_some_and(|top| top.ends_with(".data"))
        && parts.next() == Some("scripts")
}

fn is_short_init(member: &Located) -> bool {
    member.size <= LARGEST_INIT && (member.name == "__init__.py" || member.name.ends_with("/__init__.py"))
}

/// The value of a field of an email-like text (`WHEEL`, `METADATA`).
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().take_while(|line| !line.is_empty()).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.trim().eq_ignore_ascii_case(key).then(|| value.trim())
    })
}

/// Reads members, with buffers that live from one to the next.
pub(crate) struct MemberReader {
    packed: Vec<u8>,
    plain: Vec<u8>,
    inflate: Decompress,
}

impl MemberReader {
    pub(crate) fn new() -> Self {
        Self { packed: vec![0; CHUNK], plain: vec![0; CHUNK], inflate: Decompress::new(false) }
    }

    /// Hands the unpacked bytes to `sink`; returns their SHA-256 and the xxh3 of the bytes in the archive.
    pub(crate) fn read(
        &mut self,
        file: &mut (impl Read + Seek),
        member: &Located,
        mut sink: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(Sha256, u64), WheelError> {
        let wrong = |what| WheelError::Member { name: member.name.escape_debug().to_string(), what };
        let mut sha256 = sha2::Sha256::new();
        let mut crc = crc32fast::Hasher::new();
        let mut check = Xxh3::new();
        let mut plain_bytes = 0u64;
        let mut take = |chunk: &[u8]| -> Result<(), WheelError> {
            plain_bytes += chunk.len() as u64;
            if plain_bytes > member.size {
                return Err(wrong("unpacks to more bytes than it says (a zip bomb?)"));
            }
            sha256.update(chunk);
            crc.update(chunk);
            sink(chunk).map_err(|error| ZipError::Read(error).into())
        };
        file.seek(SeekFrom::Start(member.offset)).map_err(ZipError::Read)?;
        self.inflate.reset(false);
        let mut left = member.compressed;
        let mut ended = member.method == Method::Stored;
        while left > 0 {
            let want = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
            file.read_exact(&mut self.packed[..want]).map_err(ZipError::Read)?;
            left -= want as u64;
            check.update(&self.packed[..want]);
            if member.method == Method::Stored {
                take(&self.packed[..want])?;
                continue;
            }
            let mut input = &self.packed[..want];
            loop {
                let (in_before, out_before) = (self.inflate.total_in(), self.inflate.total_out());
                let status = self.inflate.decompress(input, &mut self.plain, FlushDecompress::None);
                let status = status.map_err(|_| wrong("is not valid deflate data"))?;
                let used = usize::try_from(self.inflate.total_in() - in_before).unwrap_or(usize::MAX);
                let made = usize::try_from(self.inflate.total_out() - out_before).unwrap_or(usize::MAX);
                input = &input[used..];
                take(&self.plain[..made])?;
                if status == Status::StreamEnd {
                    if !input.is_empty() || left > 0 {
                        return Err(wrong("has bytes after its end"));
                    }
                    ended = true;
                    break;
                }
                if input.is_empty() && made < self.plain.len() {
                    break;
                }
                if used == 0 && made == 0 {
                    return Err(wrong("is not valid deflate data"));
                }
            }
        }
        if !ended || plain_bytes != member.size {
            return Err(wrong("unpacks to fewer bytes than it says"));
        }
        if crc.finalize() != member.crc32 {
            return Err(wrong("does not have the CRC-32 it says"));
        }
        Ok((Sha256::from_hasher(sha256), check.digest()))
    }
}

impl WheelIndex {
    /// As bytes for the cache, with an xxh3 at the end.
    pub fn encode(&self) -> Vec<u8> {
        seal(postcard::to_stdvec(self).expect("an index has nothing that postcard refuses"))
    }

    /// From the cache; `None` where the bytes are not what [`encode`](Self::encode) made.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(unseal(bytes)?).ok()
    }

    /// The member with this name.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }
}

#[cfg(test)]
mod tests {
    use layerwise_testkit::{Member as Raw, RawZip, WheelBuilder, wheel};

    use super::*;

    fn read(built: &layerwise_testkit::Wheel) -> Result<WheelIndex, WheelError> {
        index(&mut io::Cursor::new(&built.bytes), &built.filename.parse().unwrap())
    }

    fn a() -> WheelBuilder {
        wheel("a", "1.0")
    }

    /// The error, or `dist-info: member member …` without those of dist-info.
    fn check(wheel: WheelBuilder, expected: &str) {
        let shown = match read(&wheel.build()) {
            Ok(index) => {
                let names = index.members.iter().map(|member| member.name.as_str());
                let names: Vec<&str> = names.filter(|name| !name.contains(".dist-info/")).collect();
                format!("{}: {}", index.dist_info, names.join(" "))
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(shown, expected);
    }

    #[test]
    fn good_ones() {
        check(a().file("a.py", "x"), "a-1.0.dist-info: a.py");
        check(a().member(Raw::directory("a")).file("a/b.py", ""), "a-1.0.dist-info: a/b.py");
        check(a().member(Raw::new("b", "x".repeat(300_000)).streamed()), "a-1.0.dist-info: b");
        check(a().member(Raw::new("b", "x".repeat(300_000)).stored()), "a-1.0.dist-info: b");
        check(a().member(Raw::zeros("b", 20)), "a-1.0.dist-info: b");
        check(wheel("My.Pkg", "1.0").spelled("My.Pkg"), "My.Pkg-1.0.dist-info: ");
        check(wheel("a", "1!1.0+l.1").build_number("2x"), "a-1!1.0+l.1.dist-info: ");
        check(a().dist_info("A-1.0.0.dist-info"), "A-1.0.0.dist-info: ");
    }

    #[test]
    fn hostile_ones() {
        let b = || Raw::new("b", "abc".repeat(100));
        check(a().member(b().wrong_crc()), "member `b` does not have the CRC-32 it says");
        check(a().member(b().declared_size(10)), "member `b` unpacks to more bytes than it says (a zip bomb?)");
        check(a().member(b().declared_size(301)), "member `b` unpacks to fewer bytes than it says");
        check(
            a().member(Raw::zeros("b", 20).declared_size(1)),
            "member `b` unpacks to more bytes than it says (a zip bomb?)",
        );
        let bomb = (0..3).fold(a(), |a, n| a.member(Raw::new(format!("b{n}"), "").declared_size(u32::MAX - 1)));
        check(bomb, "it unpacks to more than 8589934592 bytes (a zip bomb?)");
        check(a().file("../b", "x"), "member `../b` has an unsafe name");
        check(a().member(Raw::symlink("b", "/etc")), "member `b` is a symbolic link");
        check(a().truncated(5), "it is not a zip archive, or its end is missing");
        check(
            a().member(Raw::zeros("a-1.0.dist-info/entry_points.txt", 17)),
            "member `a-1.0.dist-info/entry_points.txt` is too large for a text",
        );
        let script = [b"#!python\n".as_slice(), &vec![b'x'; 1_000_000]].concat();
        let many = (0..40).fold(a(), |a, n| a.data(&format!("scripts/s{n}"), &script));
        check(many, "member `a-1.0.data/scripts/s33` and the scripts before it are too large for texts");
    }

    #[test]
    fn not_deflate() {
        let plain = RawZip::new().member(Raw::new("b", "x".repeat(1000))).bytes();
        let mut bytes = plain.clone();
        bytes[31] ^= 0xff;
        let located = directory::read(&mut io::Cursor::new(&bytes)).unwrap().remove(0);
        let error = MemberReader::new().read(&mut io::Cursor::new(&bytes), &located, |_| Ok(())).unwrap_err();
        assert_eq!(error.to_string(), "member `b` is not valid deflate data");
        let mut located = directory::read(&mut io::Cursor::new(&plain)).unwrap().remove(0);
        located.compressed += 5;
        let error = MemberReader::new().read(&mut io::Cursor::new(&plain), &located, |_| Ok(())).unwrap_err();
        assert_eq!(error.to_string(), "member `b` has bytes after its end");
        located.compressed = 3;
        let error = MemberReader::new().read(&mut io::Cursor::new(&plain), &located, |_| Ok(())).unwrap_err();
        assert_eq!(error.to_string(), "member `b` unpacks to fewer bytes than it says");
    }

    #[test]
    fn not_wheels() {
        check(a().without_dist_info(), "it is not a wheel: it has 0 dist-info directories instead of one");
        check(
            a().another_dist_info("b-1.0.dist-info"),
            "it is not a wheel: it has 2 dist-info directories instead of one",
        );
        for other in ["b-1.0.dist-info", "a-1.1.dist-info", "a.dist-info", ".dist-info", "a-1.0.dist-info.dist-info"] {
            let name = "a-1.0-py3-none-any.whl";
            check(a().dist_info(other), &format!("it is not a wheel: its name is `{name}`, but it holds `{other}`"));
        }
        check(a().wheel_file("Wheel-Version: 2.0\n"), "it is not a wheel: Wheel-Version is `2.0`; layerwise reads 1.x");
        check(a().wheel_file("\nWheel-Version: 1.0\n"), "it is not a wheel: Wheel-Version is ``; layerwise reads 1.x");
        let zip = |member: Raw| layerwise_testkit::Wheel { bytes: RawZip::new().member(member).bytes(), ..a().build() };
        let error = |member| read(&zip(member)).unwrap_err().to_string();
        assert_eq!(
            error(Raw::new("a-1.0.dist-info/WHEEL", "x")),
            "it is not a wheel: a-1.0.dist-info/METADATA is missing"
        );
        assert_eq!(
            error(Raw::new("a-1.0.dist-info/METADATA", "x")),
            "it is not a wheel: a-1.0.dist-info/WHEEL is missing"
        );
    }

    #[test]
    fn what_is_learnt() {
        let built = a()
            .tags("cp311-cp311-linux_x86_64")
            .file("a/__init__.py", "")
            .file("a/big/__init__.py", "x".repeat(3000))
            .executable("a/run", "y")
            .data("scripts/one", "#!python\n1")
            .data("scripts/two", "#!/bin/sh\n2")
            .entry_point("console", "one = a:main")
            .build();
        let index = read(&built).unwrap();
        assert_eq!(index.wheel_bytes, built.bytes.len() as u64);
        assert_eq!(index.metadata, built.metadata);
        assert!(!index.root_is_purelib);
        assert_eq!(index.entry_points.as_deref(), Some("[console_scripts]\none = a:main\n"));
        assert_eq!(index.texts.keys().collect::<Vec<_>>(), ["a-1.0.data/scripts/one", "a/__init__.py"]);
        let run = index.member("a/run").unwrap();
        assert!(run.executable && !index.member("a/__init__.py").unwrap().executable);
        assert_eq!(run.sha256, Sha256::of(b"y"));
        let mut out = Vec::new();
        extract(&mut io::Cursor::new(&built.bytes), index.member("a/big/__init__.py").unwrap(), &mut out).unwrap();
        assert_eq!(out, vec![b'x'; 3000]);
    }

    #[test]
    fn a_rotten_index_is_no_index() {
        let index = read(&a().file("a.py", "x").build()).unwrap();
        let bytes = index.encode();
        assert_eq!(WheelIndex::decode(&bytes), Some(index));
        for at in 0..bytes.len() {
            let mut rotten = bytes.clone();
            rotten[at] ^= 1;
            assert_eq!(WheelIndex::decode(&rotten), None, "bit turned at {at}");
            assert_eq!(WheelIndex::decode(&bytes[..at]), None, "cut at {at}");
        }
    }
}
