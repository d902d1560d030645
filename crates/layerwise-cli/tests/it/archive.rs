//! A small reader of zips, not ours, that shows each field of the directory.

use std::io::Read as _;
use std::path::Path;

/// One member, as the central directory and its local header say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) made_by: u16,
    pub(crate) needs: u16,
    pub(crate) flags: u16,
    pub(crate) method: u16,
    pub(crate) time: u16,
    pub(crate) date: u16,
    pub(crate) extra: usize,
    pub(crate) comment: usize,
    pub(crate) attributes: u32,
    pub(crate) content: Vec<u8>,
}

impl Member {
    pub(crate) fn mode(&self) -> u32 {
        self.attributes >> 16
    }

    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.content).unwrap()
    }
}

/// All members in the directory's order; each unpacked, its size and CRC compared.
#[track_caller]
pub(crate) fn read(path: &Path) -> Vec<Member> {
    let bytes = fs_err::read(path).unwrap();
    let two = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap());
    let four = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let end = bytes.len() - 22; // no comment
    assert_eq!(&bytes[end..end + 4], b"PK\x05\x06", "end record");
    let mut at = four(end + 16) as usize;
    let mut members = Vec::new();
    let mut next_local = 0;
    for _ in 0..two(end + 10) {
        assert_eq!(&bytes[at..at + 4], b"PK\x01\x02", "entry");
        let (name, extra, comment) = (two(at + 28) as usize, two(at + 30) as usize, two(at + 32) as usize);
        let (packed, size) = (four(at + 20) as usize, four(at + 24) as usize);
        let local = four(at + 42) as usize;
        assert_eq!(local, next_local, "members follow each other without gaps");
        assert_eq!(&bytes[local..local + 4], b"PK\x03\x04", "local header");
        assert_eq!(&bytes[local + 4..local + 30], &bytes[at + 6..at + 32], "both headers say the same");
        let start = local + 30 + two(local + 26) as usize + two(local + 28) as usize;
        next_local = start + packed;
        let content = match two(at + 10) {
            0 => bytes[start..start + packed].to_vec(),
            8 => {
                let mut content = Vec::new();
                flate2::read::DeflateDecoder::new(&bytes[start..start + packed]).read_to_end(&mut content).unwrap();
                content
            }
            other => panic!("method {other}"),
        };
        assert_eq!(content.len(), size);
        let mut crc = flate2::Crc::new();
        crc.update(&content);
        assert_eq!(crc.sum(), four(at + 16));
        members.push(Member {
            name: String::from_utf8(bytes[at + 46..at + 46 + name].to_vec()).unwrap(),
            made_by: two(at + 4),
            needs: two(at + 6),
            flags: two(at + 8),
            method: two(at + 10),
            time: two(at + 12),
            date: two(at + 14),
            extra: extra + two(local + 28) as usize,
            comment,
            attributes: four(at + 38),
            content,
        });
        at += 46 + name + extra + comment;
    }
    assert_eq!(at, end, "nothing between directory and end");
    members
}

#[track_caller]
pub(crate) fn names(path: &Path) -> Vec<String> {
    read(path).into_iter().map(|member| member.name).collect()
}

/// The content of one member.
#[track_caller]
pub(crate) fn text(path: &Path, name: &str) -> String {
    let members = read(path);
    let found = members.iter().find(|member| member.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {:?}", names(path))).text().to_owned()
}
