//! The directory of a zip from a stranger.
//!
//! Source: PKWARE's APPNOTE.TXT 6.3.10. A zip says everything twice (in its central directory and before each
//! member), and attacks live in the differences. This reader accepts only archives in which both agree, whose
//! directory ends where the end record begins (so that every reader finds the same one), in which no two members
//! share a byte or a name, and whose names are safe relative paths.

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
    /// When it was last modified, in MS-DOS's form: the date in the high 16 bits, the time in the low ones.
    pub modified: u32,
}

/// What kind of file a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link; its bytes are where it leads.
    Link,
    /// A device or a pipe.
    Special,
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
    let (listed, directory) = list(file)?;
    let mut members = Vec::with_capacity(listed.len());
    let mut names = std::collections::HashSet::with_capacity(listed.len());
    let mut ranges = Vec::with_capacity(listed.len());
    for entry in listed {
        if !names.insert(entry.raw_name.clone()) {
            return Err(entry.error("stands in the archive twice"));
        }
        entry.refuse_special()?;
        let located = locate(file, &entry, directory)?;
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

/// The entries of the central directory as they stand there, and the offset at which it begins.
pub fn list(file: &mut (impl Read + Seek)) -> Result<(Vec<Listed>, u64), ZipError> {
    let length = file.seek(SeekFrom::End(0)).map_err(ZipError::Read)?;
    let tail_start = length.saturating_sub(TAIL);
    let tail = read_at(file, tail_start, length - tail_start)?;
    let end = match find_end(&tail, tail_start)? {
        Found::End(end) => end,
        Found::Zip64At(at) => {
            let record = read_at(file, at, 56.min(length.saturating_sub(at)))?;
            let end = zip64_end(&record)?;
            ends_at(end, at)?
        }
    };
    let bytes = read_at(file, end.offset, end.size)?;
    Ok((parse(&bytes, end.entries)?, end.offset))
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
    let locator = at.checked_sub(20).map(|locator| &tail[locator..at]);
    if let Some(locator) = locator.filter(|locator| locator.starts_with(b"PK\x06\x07")) {
        // Some readers always follow the locator, others only where the record says that it is needed.
        if entries != u16::MAX && size != u32::MAX && offset != u32::MAX {
            return Err(ZipError::Damaged("it has a ZIP64 record that it does not need"));
        }
        let zip64 = u64_at(locator, 8);
        if zip64 > start + at as u64 {
            return Err(ZipError::Damaged("its ZIP64 record is not inside the file"));
        }
        return Ok(Found::Zip64At(zip64));
    }
    if disk != 0 || directory_disk != 0 || entries_here != entries {
        return Err(ZipError::MultiPart);
    }
    let end = checked(End { offset: offset.into(), size: size.into(), entries: entries.into() })?;
    ends_at(end, start + at as u64).map(Found::End)
}

/// A reader that counts the directory from the end record backwards must find the same one.
fn ends_at(end: End, at: u64) -> Result<End, ZipError> {
    match end.offset.checked_add(end.size) {
        Some(past) if past == at => Ok(end),
        _ => Err(ZipError::Damaged("its directory does not end where its end record begins")),
    }
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
            modified: u32_at(rest, 12),
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
    if rest.is_empty() { Ok(listed) } else { Err(ZipError::Damaged("its directory has more than its entries")) }
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

    /// What kind of file it is. Bits 12 to 15 of the mode say it, in archives made on Unix.
    pub fn kind(&self) -> Kind {
        match if self.made_by_unix { self.mode & 0o170_000 } else { 0 } {
            0o120_000 => Kind::Link,
            _ if self.name.ends_with('/') => Kind::Directory,
            0 | 0o100_000 => Kind::File,
            0o040_000 => Kind::Directory,
            _ => Kind::Special,
        }
    }

    /// The permission bits, in archives made on Unix.
    pub fn permissions(&self) -> Option<u32> {
        (self.made_by_unix && self.mode != 0).then_some(self.mode & 0o7777)
    }

    fn refuse_special(&self) -> Result<(), ZipError> {
        match self.kind() {
            Kind::File | Kind::Directory => Ok(()),
            Kind::Link => Err(self.error("is a symbolic link")),
            Kind::Special => Err(self.error("is a device or a pipe")),
        }
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

/// Compares an entry with the local header before its member; `directory` is where the central directory begins.
pub fn locate(file: &mut (impl Read + Seek), entry: &Listed, directory: u64) -> Result<Located, ZipError> {
    let method = entry.method()?;
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

#[cfg(test)]
mod tests {
    use layerwise_testkit::{Member, RawZip};

    use super::*;

    /// `names`, or the error.
    fn shown(bytes: &[u8]) -> String {
        match read(&mut io::Cursor::new(bytes)) {
            Ok(members) => members.iter().map(|member| member.name.clone()).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        }
    }

    fn check(zip: &RawZip, expected: &str) {
        assert_eq!(shown(&zip.bytes()), expected);
    }

    fn a() -> Member {
        Member::new("a", "abc".repeat(100))
    }

    fn zip(members: impl IntoIterator<Item = Member>) -> RawZip {
        members.into_iter().fold(RawZip::new(), RawZip::member)
    }

    #[test]
    fn good_ones() {
        check(&zip([]), "");
        check(&zip([a(), Member::new("b/c", "")]), "a b/c");
        check(&zip([a().stored(), Member::new("b", "").stored()]), "a b");
        check(&zip([a().streamed(), Member::new("b", "x").streamed()]), "a b");
        check(&zip([Member::directory("d"), Member::new("d/ü", "x")]), "d/ü");
        check(&zip([a().extra(b"\x55\x54\x05\0\x03\0\0\0\0")]), "a");
        check(&zip([a()]).prefix("#!/bin/sh\n").comment("hello"), "a");
        check(&zip([a()]).comment("x".repeat(65_535)), "a");
        // Two cases of one name are two files where Lambda unpacks.
        check(&zip([a(), Member::new("A", "x")]), "a A");
    }

    #[test]
    fn hostile_ones() {
        check(&zip([a(), a()]), "member `a` stands in the archive twice");
        check(
            &zip([a(), Member::new("b", "x").overlaps_previous()]),
            "member `b` has another name in its local header",
        );
        check(&zip([a().local_name("b")]), "member `a` has another name in its local header");
        check(&zip([a().local_name("ab")]), "member `a` has another name in its local header");
        check(&zip([a().encrypted()]), "member `a` is encrypted");
        check(&zip([a().method(99)]), "member `a` is compressed by method 99; layerwise reads stored and deflated");
        check(&zip([a().stored().declared_size(1)]), "member `a` is stored, but its two sizes differ");
        check(&zip([Member::symlink("a", "/etc/passwd")]), "member `a` is a symbolic link");
        check(&zip([a().mode(0o010_644)]), "member `a` is a device or a pipe");
        check(&zip([Member::new("a/", "x")]), "member `a/` is a directory with bytes");
        check(&zip([Member::new(b"a\xff", "x")]), "member `a\u{fffd}` has a name that is not UTF-8");
        for name in ["../a", "/a", "a/../b", "a//b", "./a", "a\\b", "C:/a", "a\u{1b}[2J", "a\r\nb", ""] {
            let expected = format!("member `{}` has an unsafe name", name.escape_debug());
            check(&zip([Member::new(name, "x")]), &expected);
        }
        check(&zip([Member::new("a".repeat(5000), "x")]), &format!("member `{}` has an unsafe name", "a".repeat(5000)));
    }

    /// The directory points at a local header that lies in the bytes of another member.
    #[test]
    fn members_that_share_bytes() {
        let inner = zip([Member::new("b", "x").stored()]).bytes();
        let mut bytes = zip([Member::new("a", &inner[..32]).stored(), Member::new("b", "x").stored()]).bytes();
        let listed = bytes.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
        bytes[listed + 42..listed + 46].copy_from_slice(&31u32.to_le_bytes());
        assert_eq!(shown(&bytes), "member `b` shares bytes with `a`");
    }

    #[test]
    fn damaged_ones() {
        assert_eq!(shown(b""), "it is not a zip archive, or its end is missing");
        assert_eq!(shown(b"PK\x05\x06"), "it is not a zip archive, or its end is missing");
        check(&zip([a()]).truncated(1), "it is not a zip archive, or its end is missing");
        check(&zip([a()]).declared_members(2), "the zip is damaged: its directory is cut off");
        check(
            &zip([a(), Member::new("b", "x")]).declared_members(1),
            "the zip is damaged: its directory has more than its entries",
        );
        let mut trailing = zip([a()]).bytes();
        trailing.push(0);
        assert_eq!(shown(&trailing), "it is not a zip archive, or its end is missing");
    }

    /// Each byte of an archive, changed: an error or a list, and never a panic. Cut off anywhere: always an error.
    #[test]
    fn no_byte_makes_it_panic() {
        let bytes =
            zip([a().streamed(), Member::new("b/c", "x").stored().extra(b"\x01\0\x08\0\0\0\0\0\0\0\0\0")]).bytes();
        for at in 0..bytes.len() {
            assert!(read(&mut io::Cursor::new(&bytes[..at])).is_err(), "cut at {at}");
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = value;
                drop(read(&mut io::Cursor::new(changed)));
            }
        }
    }

    /// The end record and what may stand before it, each field free.
    fn end(entries: u16, size: u32, offset: u32) -> Vec<u8> {
        let mut bytes = b"PK\x05\x06\0\0\0\0".to_vec();
        bytes.extend(entries.to_le_bytes().iter().chain(&entries.to_le_bytes()));
        bytes.extend(size.to_le_bytes().iter().chain(&offset.to_le_bytes()));
        bytes.extend([0; 2]);
        bytes
    }

    fn zip64(entries: u64, size: u64, offset: u64, at: u64) -> Vec<u8> {
        let mut bytes = b"PK\x06\x06".to_vec();
        bytes.extend(44u64.to_le_bytes());
        bytes.extend([45, 3, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for number in [entries, entries, size, offset] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(b"PK\x06\x07\0\0\0\0");
        bytes.extend(at.to_le_bytes());
        bytes.extend(1u32.to_le_bytes());
        bytes
    }

    #[test]
    fn ends() {
        let check = |parts: &[Vec<u8>], expected: &str| assert_eq!(shown(&parts.concat()), expected);
        let elsewhere = "the zip is damaged: its directory does not end where its end record begins";
        check(&[end(0, 0, 0)], "");
        check(&[end(0, 0, 1)], elsewhere);
        check(&[end(0, 10, 0)], elsewhere);
        check(&[end(0, u32::MAX, u32::MAX)], "the zip has a directory of 4294967295 bytes, more than layerwise reads");
        check(&[end(u16::MAX, 0, 0)], "the zip is damaged: its directory is cut off");
        let full = || end(u16::MAX, u32::MAX, u32::MAX);
        check(&[zip64(0, 0, 0, 0), full()], "");
        check(&[zip64(0, 0, 0, 0), end(0, 0, 0)], "the zip is damaged: it has a ZIP64 record that it does not need");
        check(&[zip64(0, 0, 0, 1), full()], "the zip is damaged: its ZIP64 record is missing");
        check(&[zip64(0, 0, 0, u64::MAX), full()], "the zip is damaged: its ZIP64 record is not inside the file");
        check(&[zip64(0, 1, u64::MAX, 0), full()], elsewhere);
        check(
            &[zip64(u64::MAX, 0, 0, 0), full()],
            "the zip has 18446744073709551615 members, more than layerwise reads",
        );
        check(
            &[zip64(0, u64::MAX, 0, 0), full()],
            "the zip has a directory of 18446744073709551615 bytes, more than layerwise reads",
        );
        let mut split = end(0, 0, 0);
        split[4] = 1;
        check(&[split], "the zip is one part of several");
    }

    /// A member whose sizes stand in the ZIP64 extra field, as streaming writers do it.
    #[test]
    fn zip64_sizes() {
        let mut listed = b"PK\x01\x02\x14\x03\x2d\0\0\0\0\0".to_vec();
        listed.extend([0; 8]); // time, date, CRC-32
        listed.extend([0xff; 8]); // sizes
        listed.extend([1, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        listed.extend(7u32.to_le_bytes());
        listed.push(b'a');
        listed.extend([1, 0, 16, 0]);
        listed.extend([3u64.to_le_bytes(), 3u64.to_le_bytes()].concat());
        let parsed = parse(&listed, 1).unwrap();
        assert_eq!((parsed[0].size, parsed[0].compressed, parsed[0].header_offset), (3, 3, 7));
        let at = listed.len() - 18;
        listed[at] = 8;
        assert_eq!(parse(&listed, 1).unwrap_err().to_string(), "member `a` has a ZIP64 field that is cut off");
    }
}
