//! Zip archives written by hand, so that each field can be wrong on purpose.
//!
//! Layout: <https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>.

use std::io::Write;

use flate2::{Compress, Compression, FlushCompress, write::DeflateEncoder};

const DOS_DATE_1980: u16 = 0x21;

/// One member of a [`RawZip`], correct unless told otherwise.
#[derive(Debug, Clone)]
pub struct Member {
    name: Vec<u8>,
    body: Body,
    mode: u32,
    method: u16,
    encrypted: bool,
    wrong_crc: bool,
    streamed: bool,
    declared_size: Option<u32>,
    overlaps_previous: bool,
    local_name: Option<Vec<u8>>,
    extra: Vec<u8>,
}

#[derive(Debug, Clone)]
enum Body {
    Bytes(Vec<u8>),
    Zeros { mebibytes: u32 },
}

impl Member {
    /// A deflated regular file with mode 0644.
    pub fn new(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        Self {
            name: name.as_ref().to_vec(),
            body: Body::Bytes(content.as_ref().to_vec()),
            mode: 0o100644,
            method: 8,
            encrypted: false,
            wrong_crc: false,
            streamed: false,
            declared_size: None,
            overlaps_previous: false,
            local_name: None,
            extra: Vec::new(),
        }
    }

    /// A zip bomb: so many MiB of zeros, deflated about a thousandfold. Cheap to make.
    pub fn zeros(name: impl AsRef<[u8]>, mebibytes: u32) -> Self {
        Self { body: Body::Zeros { mebibytes }, ..Self::new(name, "") }
    }

    /// A symbolic link to `target`.
    pub fn symlink(name: impl AsRef<[u8]>, target: &str) -> Self {
        Self { mode: 0o120777, method: 0, ..Self::new(name, target) }
    }

    /// A directory entry; a slash is put after the name.
    pub fn directory(name: &str) -> Self {
        Self { mode: 0o040755, method: 0, ..Self::new(format!("{name}/"), "") }
    }

    /// Sets the Unix mode, type bits included (`0o100755`).
    pub fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    /// Stores the content uncompressed.
    pub fn stored(self) -> Self {
        self.method(0)
    }

    /// Writes this method's number; the bytes are deflated for 8 and stored for every other.
    pub fn method(self, method: u16) -> Self {
        Self { method, ..self }
    }

    /// Sets the flag that says the content is encrypted.
    pub fn encrypted(self) -> Self {
        Self { encrypted: true, ..self }
    }

    /// Writes a CRC-32 that is not the content's.
    pub fn wrong_crc(self) -> Self {
        Self { wrong_crc: true, ..self }
    }

    /// Puts CRC and sizes behind the content (flag bit 3), as streaming writers do. Valid.
    pub fn streamed(self) -> Self {
        Self { streamed: true, ..self }
    }

    /// Lies about the uncompressed size, in both headers.
    pub fn declared_size(self, size: u32) -> Self {
        Self { declared_size: Some(size), ..self }
    }

    /// Makes the central directory point at the member before this one, whose bytes are then used twice.
    pub fn overlaps_previous(self) -> Self {
        Self { overlaps_previous: true, ..self }
    }

    /// Writes another name into the local header than into the central directory.
    pub fn local_name(self, name: impl AsRef<[u8]>) -> Self {
        Self { local_name: Some(name.as_ref().to_vec()), ..self }
    }

    /// Adds an extra field to both headers, as it is (id, length, data). Valid if well formed.
    pub fn extra(self, extra: impl AsRef<[u8]>) -> Self {
        Self { extra: extra.as_ref().to_vec(), ..self }
    }

    /// Whether the type bits say it is a regular file.
    pub(crate) fn is_file(&self) -> bool {
        self.mode & 0o170000 == 0o100000
    }

    /// The name.
    pub(crate) fn name(&self) -> &[u8] {
        &self.name
    }

    /// The content, if it is small enough to be held.
    pub(crate) fn content(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Bytes(bytes) => Some(bytes),
            Body::Zeros { .. } => None,
        }
    }

    /// CRC-32, uncompressed size, and the bytes as they lie in the archive.
    fn packed(&self) -> (u32, u32, Vec<u8>) {
        match &self.body {
            Body::Bytes(bytes) => {
                let packed = if self.method == 8 { deflate(bytes) } else { bytes.clone() };
                (crc32fast::hash(bytes), bytes.len() as u32, packed)
            }
            Body::Zeros { mebibytes } => zeros(*mebibytes),
        }
    }
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("a Vec takes every byte");
    encoder.finish().expect("a Vec takes every byte")
}

/// One MiB is deflated once, up to a full flush (which forgets all history), and repeated.
fn zeros(mebibytes: u32) -> (u32, u32, Vec<u8>) {
    let chunk = vec![0; 1 << 20];
    let mut block = Vec::with_capacity(1 << 16);
    let mut compress = Compress::new(Compression::best(), false);
    compress.compress_vec(&chunk, &mut block, FlushCompress::Full).expect("no input is invalid for deflate");
    assert_eq!(compress.total_in(), 1 << 20, "the buffer holds a thousandfold compressed MiB");
    let mut chunk_crc = crc32fast::Hasher::new();
    chunk_crc.update(&chunk);
    let mut crc = crc32fast::Hasher::new();
    let mut packed = Vec::with_capacity(block.len() * mebibytes as usize + 2);
    for _ in 0..mebibytes {
        packed.extend_from_slice(&block);
        crc.combine(&chunk_crc);
    }
    packed.extend_from_slice(&[0x03, 0x00]); // an empty final block
    (crc.finalize(), mebibytes << 20, packed)
}

/// An archive, member by member in the given order. Equal input gives equal bytes.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct RawZip {
    members: Vec<Member>,
    prefix: Vec<u8>,
    comment: Vec<u8>,
    truncated: Option<usize>,
    declared_members: Option<u16>,
}

impl RawZip {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a member; equal names are not noticed.
    pub fn member(mut self, member: Member) -> Self {
        self.members.push(member);
        self
    }

    /// Puts bytes before the first member, as self-extracting archives do; offsets are right.
    pub fn prefix(self, prefix: impl AsRef<[u8]>) -> Self {
        Self { prefix: prefix.as_ref().to_vec(), ..self }
    }

    /// The archive's comment, at its very end.
    pub fn comment(self, comment: impl AsRef<[u8]>) -> Self {
        Self { comment: comment.as_ref().to_vec(), ..self }
    }

    /// Cuts so many bytes off the end.
    pub fn truncated(self, bytes: usize) -> Self {
        Self { truncated: Some(bytes), ..self }
    }

    /// Lies about the number of members.
    pub fn declared_members(self, count: u16) -> Self {
        Self { declared_members: Some(count), ..self }
    }

    /// The archive's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.prefix.clone();
        let mut central = Vec::new();
        let mut previous = out.len();
        for member in &self.members {
            let offset = out.len();
            let (crc, size, packed) = member.packed();
            let crc = if member.wrong_crc { crc ^ 1 } else { crc };
            let size = member.declared_size.unwrap_or(size);
            let sizes = [crc, packed.len() as u32, size];
            let non_ascii = !member.name.is_ascii();
            let flags = u16::from(member.encrypted) | u16::from(member.streamed) << 3 | u16::from(non_ascii) << 11;
            let local_name = member.local_name.as_ref().unwrap_or(&member.name);

            out.extend_from_slice(b"PK\x03\x04");
            put16(&mut out, &[20, flags, member.method, 0, DOS_DATE_1980]);
            put32(&mut out, &if member.streamed { [0; 3] } else { sizes });
            put16(&mut out, &[local_name.len() as u16, member.extra.len() as u16]);
            out.extend_from_slice(local_name);
            out.extend_from_slice(&member.extra);
            out.extend_from_slice(&packed);
            if member.streamed {
                out.extend_from_slice(b"PK\x07\x08");
                put32(&mut out, &sizes);
            }

            central.extend_from_slice(b"PK\x01\x02");
            put16(&mut central, &[3 << 8 | 20, 20, flags, member.method, 0, DOS_DATE_1980]);
            put32(&mut central, &sizes);
            put16(&mut central, &[member.name.len() as u16, member.extra.len() as u16, 0, 0, 0]);
            let at = if member.overlaps_previous { previous } else { offset };
            put32(&mut central, &[member.mode << 16, at as u32]);
            central.extend_from_slice(&member.name);
            central.extend_from_slice(&member.extra);
            previous = offset;
        }
        let start = out.len() as u32;
        out.extend_from_slice(&central);
        out.extend_from_slice(b"PK\x05\x06");
        let count = self.declared_members.unwrap_or(self.members.len() as u16);
        put16(&mut out, &[0, 0, count, count]);
        put32(&mut out, &[central.len() as u32, start]);
        put16(&mut out, &[self.comment.len() as u16]);
        out.extend_from_slice(&self.comment);
        out.truncate(out.len().saturating_sub(self.truncated.unwrap_or(0)));
        out
    }
}

fn put16(out: &mut Vec<u8>, values: &[u16]) {
    out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

fn put32(out: &mut Vec<u8>, values: &[u32]) {
    out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}
