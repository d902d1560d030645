//! Files that no package brings → files on this machine, verified: those that a library would fetch when it runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err as fs;
use url::Url;

use crate::audit::facts::{Content, Look};
use crate::error::{Explain, Kind};
use crate::input::IndexOptions;
use crate::io::{Bucket, CacheError, Io, WantedFile, WheelsError, blocking};
use crate::model::tree::InvalidLayerPath;
use crate::model::{ExtraFile, FoundFile, LayerPath, Origin, Sha256, limits};
use crate::resolve::{self, MemberError};
use crate::sdist::{self, SdistError};

/// Files that are here, with what they are.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// The files.
    pub found: Vec<FoundFile>,
    /// What each of them is, for the audit.
    pub facts: Vec<Content>,
}

/// A file is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum ExtraError {
    /// From the web or this machine.
    #[error("failed to get `{to}`")]
    Get {
        /// Where it goes.
        to: LayerPath,
        /// What went wrong.
        #[source]
        source: WheelsError,
    },
    /// Out of a wheel.
    #[error("failed to get `{to}` out of a wheel")]
    Member {
        /// Where it goes.
        to: LayerPath,
        /// What went wrong.
        #[source]
        source: MemberError,
    },
    /// Nobody has said what it has to be.
    #[error("`{to}` (from {origin}) has no sha256")]
    NoDigest {
        /// Where it goes.
        to: LayerPath,
        /// Where it comes from.
        origin: String,
        /// What it is today.
        found: Sha256,
    },
    /// It is another file than was promised.
    #[error("`{to}` (from {origin}) is not the file that was promised: expected sha256 {expected}, got {got}")]
    Mismatch {
        /// Where it goes.
        to: LayerPath,
        /// Where it comes from.
        origin: String,
        /// What was promised.
        expected: Sha256,
        /// What came.
        got: Sha256,
    },
    /// It is no archive, or a hostile one.
    #[error("failed to unpack `{to}`")]
    Unpack {
        /// Where it goes.
        to: LayerPath,
        /// What is wrong.
        #[source]
        source: SdistError,
    },
    /// An archive has a name that no layer can have.
    #[error("failed to unpack `{to}`")]
    Name {
        /// Where it goes.
        to: LayerPath,
        /// The name.
        #[source]
        source: InvalidLayerPath,
    },
    /// More than Lambda takes.
    #[error("`{to}` is {bytes} bytes; Lambda takes at most {} of a function and its layers", limits::UNZIPPED_BYTES)]
    TooLarge {
        /// Where it goes.
        to: LayerPath,
        /// Its size.
        bytes: u64,
    },
    /// It cannot be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl Explain for ExtraError {
    fn kind(&self) -> Kind {
        match self {
            Self::Get { source, .. } => source.kind(),
            Self::Member { source, .. } => source.kind(),
            Self::NoDigest { .. } => Kind::Usage,
            Self::Mismatch { .. } | Self::Name { .. } => Kind::Integrity,
            Self::Unpack { source, .. } => source.kind(),
            Self::TooLarge { .. } => Kind::Limit,
            Self::Read { .. } => Kind::System,
            Self::Cache(error) => error.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Get { source, .. } => source.hints(),
            Self::Member { source, .. } => source.hints(),
            Self::NoDigest { found, .. } => {
                vec![format!("if today's file is the right one, write `sha256 = \"{found}\"` beside it")]
            }
            Self::Mismatch { .. } => {
                vec!["it has changed, or was tampered with: look at it before writing the new sha256".to_owned()]
            }
            Self::TooLarge { .. } => vec!["large files belong in S3 or on EFS".to_owned()],
            Self::Cache(error) => error.hints(),
            Self::Unpack { .. } | Self::Name { .. } | Self::Read { .. } => Vec::new(),
        }
    }
}

/// Gets every file, in the order of the configuration; the files of an archive sorted by their paths.
pub async fn run(wanted: &[ExtraFile], indexes: &IndexOptions, io: &Arc<Io>) -> Result<Files, ExtraError> {
    let mut files = Files::default();
    for file in wanted {
        let path = get(file, indexes, io).await?;
        let (file, io) = (file.clone(), Arc::clone(io));
        let placed = blocking(move || place(&file, &path, &io)).await?;
        for (found, facts) in placed {
            files.found.push(found);
            files.facts.push(facts);
        }
    }
    Ok(files)
}

/// Where the file is in the cache, with the bytes that were promised.
async fn get(file: &ExtraFile, indexes: &IndexOptions, io: &Arc<Io>) -> Result<PathBuf, ExtraError> {
    let failed = |source| ExtraError::Get { to: file.to.clone(), source };
    let url = match &file.origin {
        Origin::Url(url) => url.clone(),
        Origin::Path(path) => Url::from_file_path(path).map_err(|()| {
            failed(WheelsError::Local { path: path.clone(), source: std::io::ErrorKind::InvalidInput.into() })
        })?,
        Origin::Member { package, version, member } => {
            if let Some(sha256) = file.sha256 {
                let path = io.cache.path(Bucket::Files, &sha256.to_string());
                if path.is_file() {
                    return Ok(path);
                }
            }
            let got = resolve::member(io, indexes, (package, version), member).await;
            let bytes = got.map_err(|source| ExtraError::Member { to: file.to.clone(), source })?;
            let got = promised(file, Sha256::of(&bytes))?;
            io.cache.write(Bucket::Files, &got.to_string(), &bytes)?;
            return Ok(io.cache.path(Bucket::Files, &got.to_string()));
        }
    };
    // A mismatch is told here, with where it comes from.
    let wanted = WantedFile { file: file.to.as_str(), url: &url, sha256: file.sha256, size: None };
    let (path, got) = match io.file(Bucket::Files, wanted).await {
        Err(WheelsError::Mismatch { got, what: "", .. }) => (PathBuf::new(), got),
        found => found.map_err(failed)?,
    };
    promised(file, got)?;
    Ok(path)
}

fn promised(file: &ExtraFile, got: Sha256) -> Result<Sha256, ExtraError> {
    let (to, origin) = (file.to.clone(), file.origin.to_string());
    match file.sha256 {
        None => Err(ExtraError::NoDigest { to, origin, found: got }),
        Some(expected) if expected != got => Err(ExtraError::Mismatch { to, origin, expected, got }),
        Some(_) => Ok(got),
    }
}

/// The file itself, or those of the archive.
fn place(file: &ExtraFile, path: &Path, io: &Io) -> Result<Vec<(FoundFile, Content)>, ExtraError> {
    if !file.unpack {
        return Ok(vec![look(path, file.to.clone(), false)?]);
    }
    let digest = file.sha256.map(|sha256| sha256.to_string()).unwrap_or_default();
    let key = format!("{digest}.d");
    if !io.cache.is_unit(Bucket::Files, &key) {
        let aside = io.cache.unit_aside(Bucket::Files)?;
        let unpacked = sdist::unpack_as_is(path, file.to.as_str(), aside.path());
        unpacked.map_err(|source| ExtraError::Unpack { to: file.to.clone(), source })?;
        io.cache.place_unit(aside, Bucket::Files, &key)?;
    }
    io.cache.touch_unit(Bucket::Files, &key, io.now());
    let root = io.cache.path(Bucket::Files, &key);
    let mut placed = Vec::new();
    for (inside, at) in walk(&root)? {
        let to = LayerPath::new(format!("{}/{inside}", file.to));
        let to = to.map_err(|source| ExtraError::Name { to: file.to.clone(), source })?;
        let executable = is_executable(&at);
        placed.push(look(&at, to, executable)?);
    }
    Ok(placed)
}

/// Reads a file once: its digest, its size, what it is.
pub(crate) fn look(path: &Path, to: LayerPath, executable: bool) -> Result<(FoundFile, Content), ExtraError> {
    let failed = |source| ExtraError::Read { path: path.to_owned(), source };
    let bytes = fs::metadata(path).map_err(failed)?.len();
    if bytes > limits::UNZIPPED_BYTES {
        return Err(ExtraError::TooLarge { to, bytes });
    }
    let bytes = fs::read(path).map_err(failed)?;
    let mut look = Look::new(to.as_str());
    look.take(&bytes);
    let content = look.content();
    let (sha256, size) = (Sha256::of(&bytes), bytes.len() as u64);
    Ok((FoundFile { to, path: path.to_owned(), sha256, size, executable }, content))
}

/// The files below a directory of the cache, sorted; links are followed to what is inside, each directory once.
fn walk(root: &Path) -> Result<Vec<(String, PathBuf)>, ExtraError> {
    let failed = |path: &Path, source| ExtraError::Read { path: path.to_owned(), source };
    let root = fs::canonicalize(root).map_err(|source| failed(root, source))?;
    let mut found = Vec::new();
    let mut seen = BTreeSet::from([root.clone()]);
    let mut directories = vec![(root.clone(), String::new())];
    while let Some((directory, prefix)) = directories.pop() {
        for entry in fs::read_dir(&directory).map_err(|source| failed(&directory, source))? {
            let entry = entry.map_err(|source| failed(&directory, source))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // A link to nothing is nothing, and so is one that leads out.
            let Some(real) = fs::canonicalize(entry.path()).ok().filter(|real| real.starts_with(&root)) else {
                continue;
            };
            if real.is_dir() {
                if seen.insert(real.clone()) {
                    directories.push((real, format!("{prefix}{name}/")));
                }
            } else if real.is_file() && !(prefix.is_empty() && name == crate::io::cache::WHOLE) {
                found.push((format!("{prefix}{name}"), real));
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(unix)]
pub(crate) fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|about| about.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
pub(crate) fn is_executable(_: &Path) -> bool {
    false
}
