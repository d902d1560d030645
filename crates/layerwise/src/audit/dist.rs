//! The texts of a dist-info directory.
//!
//! Sources: <https://packaging.python.org/en/latest/specifications/core-metadata/>,
//! <https://packaging.python.org/en/latest/specifications/recording-installed-packages/>.

use base64::Engine as _;
use serde::{Deserialize, Serialize};

use crate::model::{PackageName, Sha256};

/// What `METADATA` says, as far as it is judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The distribution.
    pub name: PackageName,
    /// Its version, as it stands there.
    pub version: String,
    /// Each `Requires-Dist`, as it stands there.
    pub requires: Vec<String>,
    /// `Requires-Python`.
    pub requires_python: Option<String>,
}

/// What `WHEEL` says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WheelFile {
    /// Each `Tag`: `cp311-cp311-manylinux_2_17_x86_64`.
    pub tags: Vec<String>,
}

/// One line of `RECORD`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordLine {
    /// The path, relative to the directory that holds the dist-info.
    pub path: String,
    /// The digest, where it is a SHA-256.
    pub sha256: Option<Sha256>,
    /// The size in bytes.
    pub size: Option<u64>,
}

/// Fields of one kind that are kept; real ones have a few hundred.
const MOST_FIELDS: usize = 10_000;

/// Reads `METADATA`; `None` without a name that is one.
pub fn metadata(text: &str) -> Option<Metadata> {
    let values = |key: &'static str| fields(text).filter(move |(found, _)| found.eq_ignore_ascii_case(key));
    let first = |key| values(key).next().map(|(_, value)| value.to_owned());
    Some(Metadata {
        name: first("Name")?.parse().ok()?,
        version: first("Version").unwrap_or_default(),
        requires: values("Requires-Dist").map(|(_, value)| value.to_owned()).take(MOST_FIELDS).collect(),
        requires_python: first("Requires-Python"),
    })
}

/// Reads `WHEEL`.
pub fn wheel_file(text: &str) -> WheelFile {
    let tags = fields(text).filter(|(key, _)| key.eq_ignore_ascii_case("Tag"));
    WheelFile { tags: tags.map(|(_, value)| value.to_owned()).take(MOST_FIELDS).collect() }
}

/// The header fields of an email-like text.
fn fields(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(':').map(|(key, value)| (key.trim(), value.trim())))
}

/// Reads `RECORD` (CSV; a path may be quoted). Lines that are none are left out.
pub fn record(text: &str) -> Vec<RecordLine> {
    text.lines().filter_map(record_line).collect()
}

fn record_line(line: &str) -> Option<RecordLine> {
    // Digest and size hold neither quotes nor commas: they are what stands behind the last two.
    let (rest, size) = line.rsplit_once(',')?;
    let (path, digest) = rest.rsplit_once(',')?;
    let quoted = path.strip_prefix('"').and_then(|path| path.strip_suffix('"'));
    let path = quoted.map_or_else(|| path.to_owned(), |path| path.replace("\"\"", "\""));
    let sha256 = digest.strip_prefix("sha256=").and_then(|digest| {
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(digest.trim_end_matches('=')).ok()?;
        Some(Sha256::from_bytes(bytes.try_into().ok()?))
    });
    (!path.is_empty()).then(|| RecordLine { path, sha256, size: size.trim().parse().ok() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_read_to_the_first_empty_line() {
        let text = "Metadata-Version: 2.1\nName: A_b\nversion: 1.0\nRequires-Dist: c (>=1) ; extra == 'x'\n\
            Requires-Dist: d\nRequires-Python: >=3.9\n\nRequires-Dist: e\n";
        let read = metadata(text).unwrap();
        assert_eq!((read.name.as_str(), read.version.as_str()), ("a-b", "1.0"));
        assert_eq!(read.requires, ["c (>=1) ; extra == 'x'", "d"]);
        assert_eq!(read.requires_python.as_deref(), Some(">=3.9"));
        assert_eq!(metadata("Version: 1\n"), None);
        assert_eq!(metadata("Name: -\n"), None);
    }

    #[test]
    fn record_lines() {
        let empty = "sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
        let text =
            format!("a.py,{empty},0\n\"b,\"\"c.py\",,\n../bin/x,md5=0,7\n\nnothing\n,,\na-1.dist-info/RECORD,,\n");
        let read = record(&text);
        let shown: Vec<_> = read.iter().map(|line| (line.path.as_str(), line.sha256.is_some(), line.size)).collect();
        assert_eq!(
            shown,
            [
                ("a.py", true, Some(0)),
                ("b,\"c.py", false, None),
                ("../bin/x", false, Some(7)),
                ("a-1.dist-info/RECORD", false, None)
            ]
        );
        assert_eq!(read[0].sha256, Some(Sha256::of(b"")));
    }
}
