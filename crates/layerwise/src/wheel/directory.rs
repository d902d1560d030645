//! The directory of a zip from a stranger.
//!
//! Source: PKWARE's APPNOTE.TXT 6.3.10. A zip says everything twice (in its central directory and before each
//! member), and attacks live in the differences. This reader accepts only archives in which both agree, in which no
//! two members share a byte, a name or a case of one, and whose names are safe relative paths.

use std::io::{self, Read, Seek, SeekFrom};

use crate::model::LayerPath;

/// One file of an archive, as its directory describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// Its path: relative and safe.
    pub name: String,
    /// How it is stored.
    pub method: Method,
    /// CRC-32 of the unpacked bytes.
    pub crc32: u32,
    /// Bytes in the archive.
    pub compressed: u64,
    /// Bytes unpacked.
    pub size: u64,
    /// Where its bytes begin in the archive.
    pub offset: u64,
    /// Some execute bit is set (archives made on Unix).
    pub executable: bool,
}

/// How a member is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Method {
    /// As it is.
    Stored,
    /// RFC 1951.
    Deflated,
}

/// An archive that is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ZipError {
    /// It cannot be read.
    #[error("failed to read the archive")]
    Read(#[source] io::Error),
    /// No end record.
    #[error("it is not a zip archive, or its end is missing")]
    NotAZip,
    /// A structure is cut off or points outside the file.
    #[error("the zip is damaged: {0}")]
    Damaged(&'static str),
    /// More than is ever needed.
    #[error("the zip has {0}, more than layerwise reads")]
    Excessive(String),
    /// Split over several files.
    #[error("the zip is one part of several")]
    MultiPart,
    /// A member that is not accepted.
    #[error("member `{name}` {what}")]
    Member {
        /// Its name, escaped.
        name: String,
        /// What is wrong with it.
        what: String,
    },
}

const MOST_MEMBERS: u64 = 200_000;
const LARGEST_DIRECTORY: u64 = 64 << 20;
/// End record, its comment, and the ZIP64 locator before it.
const TAIL: u64 = 22 + 65_535 + 20;

/// A directory entry that has not been compared with the bytes before its member yet.
#[derive(Debug, Clone)]
pub struct Listed {
    raw_name: Vec<u8>,
    /// The name, as it stands there.
    pub name: String,
    flags: u16,
    method: u16,
    crc32: u32,
    /// Bytes in the archive.
    pub compressed: u64,
    /// Bytes unpacked.
    pub size: u64,
    /// Where its local header begins.
    pub header_offset: u64,
    made_by_unix: bool,
    mode: u32,
}

/// Where the central directory is: its offset and size in bytes, and the number of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Offset in the file.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// Entries.
    pub entries: u64,
}

/// Reads the directory of the archive, each entry compared with its local header, in the order of the directory.
/// Entries of directories are left out.
pub fn read(file: &mut (impl Read + Seek)) -> Result<Vec<Located>, ZipError> {
    let length = file.seek(SeekFrom::End(0)).map_err(ZipError::Read)?;
    let tail_start = length.saturating_sub(TAIL);
    let tail = read_at(file, tail_start, length - tail_start)?;
    let end = match find_end(&tail, tail_start)? {
        Found::End(end) => end,
        Found::Zip64At(at) => {
            let record = read_at(file, at, 56.min(length.saturating_sub(at)))?;
            zip64_end(&record)?
        }
    };
    if end.offset.checked_add(end.size).is_none_or(|past| past > length) {
        return Err(ZipError::Damaged("its directory is not inside the file"));
    }
    let bytes = read_at(file, end.offset, end.size)?;
    let listed = parse(&bytes, end.entries)?;

    let mut members = Vec::with_capacity(listed.len());
    let mut names = std::collections::HashSet::with_capacity(listed.len());
    let mut ranges = Vec::with_capacity(listed.len());
    for entry in listed {
        if !names.insert(entry.raw_name.clone()) {
            return Err(entry.error("stands in the archive twice"));
        }
        let located = locate(file, &entry, end.offset)?;
        ranges.push((entry.header_offset, located.offset + located.compressed, members.len()));
        if entry.name.ends_with('/') {
            if located.size > 0 {
                return Err(entry.error("is a directory with bytes"));
            }
            ranges.pop();
            continue;
        }
        LayerPath::new(entry.name.as_str()).map_err(|_| entry.error("has an unsafe name"))?;
        members.push(located);
    }
    ranges.sort_unstable();
    if let Some(pair) = ranges.windows(2).find(|pair| pair[0].1 > pair[1].0) {
        let what = format!("shares bytes with `{}`", members[pair[0].2].name.escape_debug());
        return Err(ZipError::Member { name: members[pair[1].2].name.escape_debug().to_string(), what });
    }
    Ok(members)
}

/// What the end of an archive says.
pub enum Found {
    /// Where the directory is.
    End(End),
    /// The ZIP64 end record is at this offset.
    Zip64At(u64),
}

/// Looks for the end record in the last bytes of an archive; `start` is where in the file they begin.
pub fn find_end(tail: &[u8], start: u64) -> Result<Found, ZipError> {
    let at = (0..tail.len().saturating_sub(21))
        .rev()
        .find(|at| tail[*at..].starts_with(b"PK\x05\x06") && at + 22 + usize::from(u16_at(tail, at + 20)) == tail.len())
        .ok_or(ZipError::NotAZip)?;
    let record = &tail[at..];
    let (disk, directory_disk) = (u16_at(record, 4), u16_at(record, 6));
    let (entries_here, entries) = (u16_at(record, 8), u16_at(record, 10));
    let (size, offset) = (u32_at(record, 12), u32_at(record, 16));
    if entries == u16::MAX || size == u32::MAX || offset == u32::MAX {
        let locator = at.checked_sub(20).map(|locator| &tail[locator..at]);
        if let Some(locator) = locator.filter(|locator| locator.starts_with(b"PK\x06\x07")) {
            let zip64 = u64_at(locator, 8);
            if zip64 > start + at as u64 {
                return Err(ZipError::Damaged("its ZIP64 record is not inside the file"));
            }
            return Ok(Found::Zip64At(zip64));
        }
    }
    if disk != 0 || directory_disk != 0 || entries_here != entries {
        return Err(ZipError::MultiPart);
    }
    checked(End { offset: offset.into(), size: size.into(), entries: entries.into() }).map(Found::End)
}

fn zip64_end(record: &[u8]) -> Result<End, ZipError> {
    if record.len() < 56 || !record.starts_with(b"PK\x06\x06") {
        return Err(ZipError::Damaged("its ZIP64 record is missing"));
    }
    if u32_at(record, 16) != 0 || u32_at(record, 20) != 0 || u64_at(record, 24) != u64_at(record, 32) {
        return Err(ZipError::MultiPart);
    }
    checked(End { offset: u64_at(record, 48), size: u64_at(record, 40), entries: u64_at(record, 32) })
}

fn checked(end: End) -> Result<End, ZipError> {
    if end.entries > MOST_MEMBERS {
        return Err(ZipError::Excessive(format!("{} members", end.entries)));
    }
    if end.size > LARGEST_DIRECTORY {
        return Err(ZipError::Excessive(format!("a directory of {} bytes", end.size)));
    }
    Ok(end)
}

/// The entries of a central directory.
pub fn parse(bytes: &[u8], entries: u64) -> Result<Vec<Listed>, ZipError> {
    let mut rest = bytes;
    let mut listed = Vec::new();
    for _ in 0..entries {
        if rest.len() < 46 || !rest.starts_with(b"PK\x01\x02") {
            return Err(ZipError::Damaged("its directory is cut off"));
        }
        let (name, extra, comment) =
            (usize::from(u16_at(rest, 28)), usize::from(u16_at(rest, 30)), usize::from(u16_at(rest, 32)));
        let past = 46 + name + extra + comment;
        if rest.len() < past {
            return Err(ZipError::Damaged("its directory is cut off"));
        }
        let raw_name = rest[46..46 + name].to_vec();
        let mut entry = Listed {
            name: String::from_utf8_lossy(&raw_name).into_owned(),
            flags: u16_at(rest, 8),
            method: u16_at(rest, 10),
            crc32: u32_at(rest, 16),
            compressed: u32_at(rest, 20).into(),
            size: u32_at(rest, 24).into(),
            header_offset: u32_at(rest, 42).into(),
            made_by_unix: rest[5] == 3,
            mode: u32_at(rest, 38) >> 16,
            raw_name,
        };
        if std::str::from_utf8(&entry.raw_name).is_err() {
            return Err(entry.error("has a name that is not UTF-8"));
        }
        entry.take_zip64(&rest[46 + name..46 + name + extra])?;
        listed.push(entry);
        rest = &rest[past..];
    }
    Ok(listed)
}

impl Listed {
    fn error(&self, what: &str) -> ZipError {
        ZipError::Member { name: self.name.escape_debug().to_string(), what: what.to_owned() }
    }

    /// Sizes and offset that do not fit 32 bits stand in an extra field (APPNOTE 4.5.3).
    fn take_zip64(&mut self, extra: &[u8]) -> Result<(), ZipError> {
        const FULL: u64 = u32::MAX as u64;
        if self.size != FULL && self.compressed != FULL && self.header_offset != FULL {
            return Ok(());
        }
        let mut rest = extra;
        while rest.len() >= 4 {
            let (id, length) = (u16_at(rest, 0), usize::from(u16_at(rest, 2)));
            let Some(mut field) = rest.get(4..4 + length) else { break };
            if id == 1 {
                let full = [self.size, self.compressed, self.header_offset].iter().filter(|n| **n == FULL).count();
                if field.len() < full * 8 {
                    return Err(self.error("has a ZIP64 field that is cut off"));
                }
                for value in [&mut self.size, &mut self.compressed, &mut self.header_offset] {
                    if *value == FULL {
                        *value = u64_at(field, 0);
                        field = &field[8..];
                    }
                }
                return Ok(());
            }
            rest = &rest[4 + length..];
        }
        Ok(())
    }

    /// Whether and how the member can be read.
    pub fn method(&self) -> Result<Method, ZipError> {
        if self.flags & 0x2041 != 0 {
            return Err(self.error("is encrypted"));
        }
        match self.method {
            0 if self.size == self.compressed => Ok(Method::Stored),
            0 => Err(self.error("is stored, but its two sizes differ")),
            8 => Ok(Method::Deflated),
            other => Err(self.error(&format!("is compressed by method {other}; layerwise reads stored and deflated"))),
        }
    }
}

/// The unpacked bytes of a member, from the bytes of the archive that begin with its local header. At most `limit`
/// bytes; the CRC-32 is compared.
pub fn unpack(entry: &Listed, bytes: &[u8], limit: u64) -> Result<Vec<u8>, ZipError> {
    let damaged = || entry.error("is damaged");
    if bytes.len() < 30 || !bytes.starts_with(b"PK\x03\x04") || entry.size > limit {
        return Err(damaged());
    }
    let start = 30 + usize::from(u16_at(bytes, 26)) + usize::from(u16_at(bytes, 28));
    let length = usize::try_from(entry.compressed).map_err(|_| damaged())?;
    let packed = start.checked_add(length).and_then(|end| bytes.get(start..end)).ok_or_else(damaged)?;
    let mut plain = Vec::new();
    match entry.method()? {
        Method::Stored => plain.extend_from_slice(packed),
        Method::Deflated => {
            let mut inflate = flate2::read::DeflateDecoder::new(packed).take(entry.size + 1);
            inflate.read_to_end(&mut plain).map_err(|_| damaged())?;
        }
    }
    let whole = plain.len() as u64 == entry.size && crc32fast::hash(&plain) == entry.crc32;
    if whole { Ok(plain) } else { Err(damaged()) }
}

/// Compares an entry with the local header before its member.
fn locate(file: &mut (impl Read + Seek), entry: &Listed, directory: u64) -> Result<Located, ZipError> {
    let method = entry.method()?;
    // Bits 12 to 15 of the mode: what kind of file.
    let kind = entry.mode & 0o170_000;
    if entry.made_by_unix && kind != 0 && kind != 0o100_000 && kind != 0o040_000 {
        let what = if kind == 0o120_000 { "is a symbolic link" } else { "is a device or a pipe" };
        return Err(entry.error(what));
    }
    if entry.header_offset.saturating_add(30) > directory {
        return Err(entry.error("begins outside the file"));
    }
    let header = read_at(file, entry.header_offset, 30)?;
    if !header.starts_with(b"PK\x03\x04") {
        return Err(entry.error("has no local header"));
    }
    let (name_length, extra_length) = (u64::from(u16_at(&header, 26)), u64::from(u16_at(&header, 28)));
    if name_length != entry.raw_name.len() as u64 {
        return Err(entry.error("has another name in its local header"));
    }
    let name = read_at(file, entry.header_offset + 30, name_length)?;
    if name != entry.raw_name {
        return Err(entry.error("has another name in its local header"));
    }
    if u16_at(&header, 8) != entry.method || (u16_at(&header, 6) ^ entry.flags) & 0x2049 != 0 {
        return Err(entry.error("is described differently in its local header"));
    }
    let described_later = entry.flags & 8 != 0;
    let full = u32::MAX;
    let (crc, compressed, size) = (u32_at(&header, 14), u32_at(&header, 18), u32_at(&header, 22));
    let same = crc == entry.crc32
        && (compressed == full || u64::from(compressed) == entry.compressed)
        && (size == full || u64::from(size) == entry.size);
    if !described_later && !same {
        return Err(entry.error("has other sizes or another CRC in its local header"));
    }
    let offset = entry.header_offset + 30 + name_length + extra_length;
    if offset.checked_add(entry.compressed).is_none_or(|past| past > directory) {
        return Err(entry.error("ends outside the file"));
    }
    Ok(Located {
        name: entry.name.clone(),
        method,
        crc32: entry.crc32,
        compressed: entry.compressed,
        size: entry.size,
        offset,
        executable: entry.made_by_unix && entry.mode & 0o111 != 0,
    })
}

fn read_at(file: &mut (impl Read + Seek), at: u64, length: u64) -> Result<Vec<u8>, ZipError> {
    file.seek(SeekFrom::Start(at)).map_err(ZipError::Read)?;
    let mut bytes = Vec::new();
    let read = file.take(length).read_to_end(&mut bytes).map_err(ZipError::Read)?;
    if (read as u64) < length { Err(ZipError::Damaged("it is cut off")) } else { Ok(bytes) }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
