//! A zip that anybody made. Lambda unpacks by the central directory, and so does this reader.

use std::collections::{HashMap, HashSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use fs_err as fs;

use super::{Artifact, ArtifactError, File, LARGEST_UNPACKED, in_parallel};
use crate::audit::facts::{Content, Look};
use crate::audit::subject::Modified;
use crate::model::{LayerPath, Sha256};
use crate::wheel::directory::{self, Kind, Listed, Located};
use crate::wheel::{MemberReader, WheelError, ZipError};

/// The longest that a link's target may be, in bytes.
const LONGEST_TARGET: usize = 4096;

pub(super) fn read(path: &Path, threads: usize, handler: Option<&str>) -> Result<Artifact, ArtifactError> {
    let failed = |source| ArtifactError::Read { path: path.to_owned(), source };
    let refused = |source| ArtifactError::Zip { path: path.to_owned(), source };
    let mut file = fs::File::open(path).map_err(failed)?;
    let zipped_bytes = file.metadata().map_err(failed)?.len();
    let (mut listed, directory) = directory::list(&mut file).map_err(refused)?;
    let unpacked = listed.iter().map(|entry| entry.size).fold(0u64, u64::saturating_add);
    if unpacked > LARGEST_UNPACKED {
        return Err(ArtifactError::Excessive { path: path.to_owned(), what: format!("{unpacked} bytes") });
    }

    let mut strange = Vec::new();
    let mut seen = HashSet::with_capacity(listed.len());
    listed.retain(|entry| {
        let name = entry.name.trim_end_matches('/');
        let wrong = if LayerPath::new(name).is_err() {
            "has an unsafe name"
        } else if entry.kind() == Kind::Directory {
            return false;
        } else if !seen.insert(entry.name.clone()) {
            "stands in the archive twice"
        } else if entry.kind() == Kind::Special {
            "is a device or a pipe"
        } else {
            return true;
        };
        strange.push((entry.name.escape_debug().to_string(), wrong.to_owned()));
        false
    });
    // Large members first, so that the threads end together; a file's neighbours are read in the order of the disk.
    listed.sort_by_key(|entry| (std::cmp::Reverse(entry.size >> 20), entry.header_offset));

    let start = || Ok((fs::File::open(path)?, MemberReader::new()));
    let work = |(file, reader): &mut (fs::File, MemberReader), entry: &Listed| {
        let located = directory::locate(file, entry, directory)?;
        one(file, reader, (entry, &located), handler)
    };
    let read = in_parallel(&listed, threads, start, work).map_err(failed)?;
    let mut files = Vec::with_capacity(read.len());
    for (entry, read) in listed.iter().zip(read) {
        match read {
            Ok(file) => files.push(file),
            Err(WheelError::Zip(ZipError::Read(source))) if source.kind() != std::io::ErrorKind::UnexpectedEof => {
                return Err(refused(ZipError::Read(source)));
            }
            Err(error) => strange.push((entry.name.escape_debug().to_string(), without_name(&error))),
        }
    }
    strange.sort();
    Ok(Artifact { label: String::new(), zipped_bytes: Some(zipped_bytes), files, strange, is_wheel: false })
}

fn one(
    file: &mut fs::File,
    reader: &mut MemberReader,
    (entry, located): (&Listed, &Located),
    handler: Option<&str>,
) -> Result<File, WheelError> {
    let is_link = entry.kind() == Kind::Link;
    let mut look = Look::beside(&entry.name, handler);
    let mut target = Vec::new();
    let (sha256, _) = reader.read(file, located, |piece| {
        if is_link {
            let room = LONGEST_TARGET.saturating_sub(target.len());
            target.extend_from_slice(piece.get(..room).unwrap_or(piece));
        } else {
            look.take(piece);
        }
        Ok(())
    })?;
    Ok(File {
        member: entry.name.clone(),
        path: entry.name.clone(),
        size: entry.size,
        mode: entry.permissions(),
        link: is_link.then(|| String::from_utf8_lossy(&target).into_owned()),
        modified: Modified::Dos(entry.modified),
        sha256: Some::<Sha256>(sha256),
        content: if is_link { Content::Opaque } else { look.content() },
    })
}

pub(super) fn unzipped_bytes(path: &Path) -> Result<u64, ArtifactError> {
    let mut file = fs::File::open(path).map_err(|source| ArtifactError::Read { path: path.to_owned(), source })?;
    let listed = directory::list(&mut file);
    let (listed, _) = listed.map_err(|source| ArtifactError::Zip { path: path.to_owned(), source })?;
    Ok(listed.iter().map(|entry| entry.size).fold(0, u64::saturating_add))
}

/// A zip whose members are read one by one.
pub(super) struct Source {
    path: PathBuf,
    file: fs::File,
    reader: MemberReader,
    members: HashMap<String, Listed>,
    directory: u64,
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self, ArtifactError> {
        let failed = |source| ArtifactError::Read { path: path.to_owned(), source };
        let mut file = fs::File::open(path).map_err(failed)?;
        let listed = directory::list(&mut file);
        let (listed, directory) = listed.map_err(|source| ArtifactError::Zip { path: path.to_owned(), source })?;
        // The first of a name counts, as when it was read.
        let members = listed.into_iter().rev().map(|entry| (entry.name.clone(), entry)).collect();
        Ok(Self { path: path.to_owned(), file, reader: MemberReader::new(), members, directory })
    }

    /// Writes the unpacked bytes of a member.
    pub(super) fn copy(&mut self, member: &str, to: &mut fs::File) -> Result<(), ArtifactError> {
        let Self { path, file, reader, members, directory } = self;
        let zip = |source| ArtifactError::Zip { path: path.clone(), source };
        let entry = members.get(member).ok_or_else(|| zip(ZipError::Damaged("it changed while it was read")))?;
        let located = directory::locate(file, entry, *directory).map_err(zip)?;
        match reader.read(file, &located, |piece| to.write_all(piece)) {
            Ok(_) => Ok(()),
            Err(WheelError::Zip(source)) => Err(zip(source)),
            Err(_) => Err(zip(ZipError::Damaged("it changed while it was read"))),
        }
    }
}

/// The error without the member's name, which stands beside it.
fn without_name(error: &WheelError) -> String {
    match error {
        WheelError::Zip(ZipError::Member { what, .. }) => what.clone(),
        WheelError::Member { what, .. } => (*what).to_owned(),
        WheelError::Zip(ZipError::Read(_)) => "is cut off".to_owned(),
        other => other.to_string(),
    }
}
