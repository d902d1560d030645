//! What goes into an artifact: an immutable, sorted list of paths, each with where its bytes are.

use std::collections::BTreeMap;
use std::fmt;

use super::Sha256;

/// A path inside the artifact: relative, `/` between parts, no empty, `.` or `..` part, no control
/// character, no backslash, no drive. What is a `LayerPath` can be unpacked anywhere without escaping.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerPath(String);

/// The text is not a safe relative path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a safe relative path", .0.escape_debug())]
pub struct InvalidLayerPath(pub String);

impl LayerPath {
    /// Checks `text`; see the type for what is allowed.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidLayerPath> {
        let text = text.into();
        let safe = text.len() <= 4096
            && text.split('/').all(|part| !matches!(part, "" | "." | ".."))
            && !text.contains(|c: char| c.is_control() || c == '\\')
            && text.as_bytes().get(1) != Some(&b':');
        if safe { Ok(Self(text)) } else { Err(InvalidLayerPath(text)) }
    }

    /// The text, with `/` between its parts.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LayerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where an entry's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Made by us: metadata, scripts.
    Generated(Vec<u8>),
    /// A member of the owner's wheel.
    Member {
        /// Its place in that wheel's index.
        member: usize,
        /// Of the member's unpacked bytes.
        sha256: Sha256,
        /// Unpacked size in bytes.
        size: u64,
    },
    /// A file that no wheel brings.
    File {
        /// Its place in the list of files the tree was assembled from.
        file: usize,
        /// Of its bytes.
        sha256: Sha256,
        /// Bytes.
        size: u64,
    },
}

/// One file. No time, no owner: nothing that could differ between two machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The wheel it belongs to: its place in the list of wheels the tree was assembled from. What no wheel brings has
    /// the number behind the last one.
    pub owner: usize,
    /// Its bytes.
    pub content: Content,
    /// Mode 0755 instead of 0644.
    pub executable: bool,
}

impl Entry {
    /// Digest of the unpacked bytes.
    pub fn sha256(&self) -> Sha256 {
        match &self.content {
            Content::Generated(bytes) => Sha256::of(bytes),
            Content::Member { sha256, .. } | Content::File { sha256, .. } => *sha256,
        }
    }

    /// Unpacked size in bytes.
    pub fn size(&self) -> u64 {
        match &self.content {
            Content::Generated(bytes) => bytes.len() as u64,
            Content::Member { size, .. } | Content::File { size, .. } => *size,
        }
    }
}

/// Every file of an artifact, sorted by the bytes of its path.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tree(BTreeMap<LayerPath, Entry>);

impl Tree {
    /// Adds an entry and returns the one that stood there before, if any.
    pub fn insert(&mut self, path: LayerPath, entry: Entry) -> Option<Entry> {
        self.0.insert(path, entry)
    }

    /// The entry at `path`.
    pub fn get(&self, path: &LayerPath) -> Option<&Entry> {
        self.0.get(path)
    }

    /// All entries in path order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&LayerPath, &Entry)> {
        self.0.iter()
    }

    /// The number of files.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no file at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The sum of the unpacked sizes in bytes.
    pub fn unzipped_bytes(&self) -> u64 {
        self.0.values().map(Entry::size).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_paths() {
        for bad in ["", "/a", "a//b", "../a", "a/..", "./a", "a\\b", "C:/x", "c:x", "a\0b", "a/\n", "a/"] {
            assert!(LayerPath::new(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "python/a b.py", "a/..b", "ü/x", "a/b..c"] {
            assert!(LayerPath::new(good).is_ok(), "{good:?}");
        }
    }
}
