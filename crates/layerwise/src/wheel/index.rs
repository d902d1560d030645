//! What is in a wheel, learnt once: every member read to its end, its CRC-32 and size compared, its SHA-256 noted.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};

use flate2::{Decompress, FlushDecompress, Status};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::directory::{self, Located, Method, ZipError};
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
const CHUNK: usize = 128 << 10;

/// Reads a wheel from end to end and accepts it, or says why not.
pub fn index(file: &mut (impl Read + Seek), name: &WheelName) -> Result<WheelIndex, WheelError> {
    let wheel_bytes = file.seek(SeekFrom::End(0)).map_err(ZipError::Read)?;
    let located = directory::read(file)?;
    if located.iter().map(|member| member.size).fold(0u64, u64::saturating_add) > LARGEST_UNPACKED {
        return Err(WheelError::TooLarge { limit: LARGEST_UNPACKED });
    }
    let dist_info = dist_info(&located, name)?;
    let mut reader = MemberReader::new();
    let mut members = Vec::with_capacity(located.len());
    let mut texts = BTreeMap::new();
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
        let (sha256, check) = reader.read(file, &member, |chunk| {
            if wanted {
                text.extend_from_slice(chunk);
            }
            Ok(())
        })?;
        match slot {
            Some(slot) => *slot = Some(String::from_utf8_lossy(&text).into_owned()),
            None if wanted && (text.starts_with(b"#!python") || is_short_init(&member)) => {
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
    Ok(WheelIndex { wheel_bytes, members, dist_info, metadata, root_is_purelib, entry_points, texts })
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
    MemberReader::new().read(file, &located, |chunk| to.write_all(chunk)).map(drop)
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
    let stem = dist_info.trim_end_matches(".dist-info");
    let same = stem.rsplit_once('-').is_some_and(|(distribution, version)| {
        distribution.parse::<PackageName>().is_ok_and(|distribution| distribution == name.name)
            && version.replace('_', "+").parse::<pep440_rs::Version>().is_ok_and(|version| version == name.version)
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
struct MemberReader {
    packed: Vec<u8>,
    plain: Vec<u8>,
    inflate: Decompress,
}

impl MemberReader {
    fn new() -> Self {
        Self { packed: vec![0; CHUNK], plain: vec![0; CHUNK], inflate: Decompress::new(false) }
    }

    /// Hands the unpacked bytes to `sink`; returns their SHA-256 and the xxh3 of the bytes in the archive.
    fn read(
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
        let mut bytes = postcard::to_stdvec(self).expect("an index has nothing that postcard refuses");
        bytes.extend_from_slice(&xxh3_64(&bytes).to_le_bytes());
        bytes
    }

    /// From the cache; `None` where the bytes are not what [`encode`](Self::encode) made.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, check) = bytes.split_last_chunk::<8>()?;
        if xxh3_64(body) != u64::from_le_bytes(*check) {
            return None;
        }
        postcard::from_bytes(body).ok()
    }

    /// The member with this name.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }
}
