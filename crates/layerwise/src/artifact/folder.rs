//! An unpacked artifact: what its zip would hold.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use fs_err as fs;
use sha2::Digest as _;

use super::{Artifact, ArtifactError, File, LARGEST_UNPACKED, MOST_FILES, in_parallel};
use crate::audit::facts::{Content, Look};
use crate::audit::subject::Modified;
use crate::model::Sha256;

const PIECE: usize = 128 << 10;

/// Paths, and what is wrong with them.
type Strange = Vec<(String, String)>;

/// A file that has been found and not yet read.
struct Found {
    path: String,
    at: PathBuf,
    about: std::fs::Metadata,
}

pub(super) fn read(root: &Path, threads: usize, handler: Option<&str>) -> Result<Artifact, ArtifactError> {
    let (mut found, strange) = find(root)?;
    let bytes = found.iter().map(|file| file.about.len()).fold(0u64, u64::saturating_add);
    if bytes > LARGEST_UNPACKED {
        return Err(ArtifactError::Excessive { path: root.to_owned(), what: format!("{bytes} bytes") });
    }
    found.sort_by_key(|file| std::cmp::Reverse(file.about.len() >> 20));
    let read =
        in_parallel(&found, threads, || Ok(vec![0; PIECE]), |piece: &mut Vec<u8>, file| one(piece, file, handler));
    let failed = |source| ArtifactError::Read { path: root.to_owned(), source };
    let files = read.map_err(failed)?.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(Artifact { label: String::new(), zipped_bytes: None, files, strange, is_wheel: false })
}

pub(super) fn unzipped_bytes(root: &Path) -> Result<u64, ArtifactError> {
    let (found, _) = find(root)?;
    Ok(found.iter().map(|file| file.about.len()).fold(0, u64::saturating_add))
}

/// Walks the folder without following links.
fn find(root: &Path) -> Result<(Vec<Found>, Strange), ArtifactError> {
    let (mut found, mut strange) = (Vec::new(), Vec::new());
    let mut folders = vec![(root.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        let failed = |source| ArtifactError::Read { path: folder.clone(), source };
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let about = entry.metadata().map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            if about.is_dir() {
                folders.push((entry.path(), format!("{path}/")));
            } else if about.is_file() || about.is_symlink() {
                found.push(Found { path, at: entry.path(), about });
            } else {
                strange.push((path.escape_debug().to_string(), "is a device or a pipe".to_owned()));
            }
            if found.len() + folders.len() > MOST_FILES {
                let what = format!("more than {MOST_FILES} files");
                return Err(ArtifactError::Excessive { path: root.to_owned(), what });
            }
        }
    }
    strange.sort();
    Ok((found, strange))
}

fn one(piece: &mut [u8], found: &Found, handler: Option<&str>) -> Result<File, ArtifactError> {
    let failed = |source| ArtifactError::Read { path: found.at.clone(), source };
    let link = found.about.is_symlink().then(|| fs::read_link(&found.at)).transpose().map_err(failed)?;
    let (mut size, mut sha256, mut content) = (found.about.len(), None, Content::Opaque);
    if link.is_none() {
        let mut file = fs::File::open(&found.at).map_err(failed)?;
        let mut hasher = sha2::Sha256::new();
        let mut look = Look::beside(&found.path, handler);
        size = 0;
        loop {
            let read = file.read(piece).map_err(failed)?;
            if read == 0 {
                break;
            }
            size += read as u64;
            hasher.update(&piece[..read]);
            look.take(&piece[..read]);
        }
        sha256 = Some(Sha256::from_hasher(hasher));
        content = look.content();
    }
    let modified = found.about.modified().ok().map(|time| match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |seconds| -seconds),
    });
    Ok(File {
        member: found.path.clone(),
        path: found.path.clone(),
        size,
        mode: mode(&found.about),
        link: link.map(|target| target.to_string_lossy().into_owned()),
        modified: modified.map_or(Modified::Unknown, Modified::Unix),
        sha256,
        content,
    })
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere there is none")]
fn mode(about: &std::fs::Metadata) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    Some(about.mode() & 0o7777)
}

#[cfg(not(unix))]
fn mode(_: &std::fs::Metadata) -> Option<u32> {
    None
}
