//! The lock: exactly which wheels, for one target.

use std::path::{Path, PathBuf};

use pep440_rs::Version;
use url::Url;

use super::{PackageName, Sha256, WheelName};

/// What resolution gives: one wheel per package, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// The packages that have a wheel, sorted by name.
    pub packages: Vec<Pin>,
    /// The packages to build from a source distribution, sorted by name.
    pub sources: Vec<SourcePin>,
    /// What was surprising about the choice; kept in the lock so that every build can say it again.
    pub notes: Vec<Note>,
    /// Identity of what was resolved (inputs, target, options); `None` for a lock made by another tool.
    pub inputs: Option<Sha256>,
}

/// One package of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The distribution.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// The wheel to take; its file name carries the tags.
    pub wheel: WheelName,
    /// Where the wheel is.
    pub source: WheelSource,
    /// Its digest.
    pub sha256: Sha256,
    /// Its size in bytes, where the index says so.
    pub size: Option<u64>,
}

/// One package of a lock that has no wheel for the target: to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePin {
    /// The distribution.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// The source distribution's file name, `name-1.0.tar.gz`; of a directory its path.
    pub file: String,
    /// Where it is; with a `commit` that is the address of a Git repository.
    pub source: WheelSource,
    /// Which state of the repository.
    pub commit: Option<Commit>,
    /// The directory of the package within its sources, with `/` between the parts.
    pub subdirectory: Option<String>,
    /// Its digest; `None` for a commit, and for a directory on this machine, which counts as it is when it is built.
    pub sha256: Option<Sha256>,
    /// Its size in bytes, where the index says so.
    pub size: Option<u64>,
}

/// A commit of a Git repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its object name: 40 or 64 lower-case hexadecimal digits.
    pub id: String,
    /// The branch, tag or commit that was asked for, if one was.
    pub requested: Option<String>,
}

impl Commit {
    /// Whether a text is an object name and no branch, tag or option of git.
    pub fn is_id(text: &str) -> bool {
        [40, 64].contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
    }
}

/// Where a wheel or a source distribution is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WheelSource {
    /// On an index or a web server. Never holds credentials.
    Url(Url),
    /// On this machine; relative paths count from the project's directory.
    Path(PathBuf),
}

/// Something about the choice of versions that a user would want to know.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Note {
    /// A newer release that the requirements allow was passed over because none of its wheels fits.
    #[serde(rename_all = "kebab-case")]
    PassedOver {
        /// The package.
        name: PackageName,
        /// The version taken.
        taken: String,
        /// The newest acceptable release there is.
        newest: String,
        /// Why its wheels do not fit, as half a sentence.
        reason: String,
        /// The first later runtime on which it would be taken, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fits_runtime: Option<String>,
        /// It has a source distribution that could be compiled.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        compilable: bool,
    },
    /// It is built from its source distribution, because none of its wheels fits.
    #[serde(rename_all = "kebab-case")]
    FromSource {
        /// The package.
        name: PackageName,
        /// The version taken.
        version: String,
        /// Why its wheels do not fit, as half a sentence.
        reason: String,
        /// The version nearest to it that has a wheel, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nearest_wheel: Option<String>,
    },
    /// A pure-Python wheel was taken although the same release has compiled wheels for other platforms.
    #[serde(rename_all = "kebab-case")]
    PureFallback {
        /// The package.
        name: PackageName,
        /// Its version.
        version: String,
        /// Why none of the compiled wheels fits, as half a sentence.
        reason: String,
    },
    /// A pre-release was taken because no stable release fits.
    #[serde(rename_all = "kebab-case")]
    Prerelease {
        /// The package.
        name: PackageName,
        /// The version taken.
        version: String,
    },
}

impl Lock {
    /// How many packages there are.
    pub fn len(&self) -> usize {
        self.packages.len() + self.sources.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes local wheels' paths, which count from `dir` where they are relative, count from `to`, so that the lock
    /// means the same on another machine.
    pub fn relative_to(&mut self, dir: &Path, to: &Path) {
        let wheels = self.packages.iter_mut().map(|pin| &mut pin.source);
        for source in wheels.chain(self.sources.iter_mut().map(|pin| &mut pin.source)) {
            if let WheelSource::Path(path) = source
                && let Ok(inside) = dir.join(&*path).strip_prefix(to)
            {
                *path = inside.to_owned();
            }
        }
    }
}
