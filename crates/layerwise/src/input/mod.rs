//! From a project's files to what has to be resolved. No target yet: markers stay markers.

mod discover;
mod error;
mod indexes;
mod netrc;
mod pipfile;
mod poetry;
mod pyproject;
mod requirement;
mod requirements;
#[cfg(test)]
mod tests;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use url::Url;

use crate::model::{CompilePolicy, PackageName, Sha256};

pub use discover::{Found, discover, from_given, project_config};
pub use error::InputError;
pub use indexes::{ConfigFile, Surroundings, layered, surrounding};
pub use netrc::Netrc;
pub(crate) use text::{percent_decode, redact};

/// Looks up an environment variable, for `${NAME}` in files.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What of a project is wanted besides its main dependencies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Extras of the project.
    pub extras: BTreeSet<String>,
    /// Dependency groups of the project.
    pub groups: BTreeSet<String>,
}

impl Wanted {
    /// Checks that a file has what is wanted; `extras` and `groups` are what there is, normalised.
    fn check(&self, file: &str, extras: &BTreeSet<String>, groups: &BTreeSet<String>) -> Result<(), InputError> {
        for (wanted, there, what) in [(&self.extras, extras, "extra"), (&self.groups, groups, "dependency group")] {
            if let Some(name) = wanted.iter().find(|name| !there.contains(&pyproject::normal(name))) {
                let known = there.iter().cloned().collect();
                return Err(InputError::Unknown { file: file.to_owned(), what, name: name.clone(), known });
            }
        }
        Ok(())
    }
}

/// Where a line or a value stands, for error messages: `requirements.txt:3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file as the user knows it, or `-p` for the command line.
    pub file: String,
    /// Counted from 1; 0 where there is no line.
    pub line: usize,
}

/// One requirement, in the words of PEP 508 or of a requirements file (URL, local path, VCS), as uv takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The text without comment, hashes and other options; environment variables expanded.
    /// Relative paths count from [`Inputs::dir`].
    pub text: String,
    /// The normalised name, where the text has one.
    pub name: Option<PackageName>,
    /// Only wheels with one of these digests may be taken; empty: any.
    pub hashes: BTreeSet<Sha256>,
    /// Where it stands.
    pub origin: Origin,
}

/// What to resolve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inputs {
    /// The directory that relative paths count from; uv runs in it.
    pub dir: PathBuf,
    /// The file the user would name as the source: `requirements.txt`, `uv.lock`; for messages.
    pub label: String,
    /// What kind of work it is.
    pub source: Source,
    /// Index options that stand in the input files themselves.
    pub indexes: IndexOptions,
    /// What may be compiled where no wheel fits.
    pub compile: CompilePolicy,
}

/// How an input becomes a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Versions are still to be chosen: requirements files, `pyproject.toml`, bare requirements.
    Open {
        /// What is wanted.
        requirements: Vec<Requirement>,
        /// What versions are allowed of whatever comes along (`-c`).
        constraints: Vec<Requirement>,
    },
    /// A lock that uv does not read (poetry.lock, Pipfile.lock): every package with its exact version, marker
    /// and hashes; nothing else may come along.
    Exact {
        /// `name==version ; marker`, each with the lock's hashes.
        requirements: Vec<Requirement>,
    },
    /// `uv.lock`: uv exports it.
    UvLock {
        /// The directory whose `pyproject.toml` names the project (a workspace member, or the root).
        project_dir: PathBuf,
        /// The text of the lock, for its identity.
        lock_text: String,
        /// Extras of the project to include.
        extras: BTreeSet<String>,
        /// Dependency groups to include.
        groups: BTreeSet<String>,
    },
    /// `pylock.toml` (PEP 751), by whatever tool.
    Pylock {
        /// Its path, for messages and for relative paths inside.
        path: PathBuf,
        /// Its text.
        text: String,
        /// Extras to select.
        extras: BTreeSet<String>,
        /// Dependency groups to select, besides the lock's default groups.
        groups: BTreeSet<String>,
    },
}

/// A package index (PEP 503, PEP 691).
#[derive(Clone, PartialEq, Eq)]
pub struct Index {
    /// Its name in the configuration, if it has one; `UV_INDEX_<NAME>_USERNAME` counts on it.
    pub name: Option<String>,
    /// The root of its simple API, without credentials.
    pub url: Url,
    /// Credentials that stood with it.
    pub credentials: Option<Credentials>,
    /// Only for packages that ask for it by name (`[tool.uv.sources]`, poetry's `source`).
    pub explicit: bool,
}

/// A user's name and password. Its `Debug` hides the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// May be empty where a token is the password.
    pub username: String,
    /// `None`: to be asked of the keyring.
    pub password: Option<Secret>,
}

/// A text that never shows itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Where packages come from. Options from several places are layered with [`IndexOptions::or`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexOptions {
    /// Replaces PyPI.
    pub default_index: Option<Index>,
    /// Asked before the default one, in this order.
    pub extra: Vec<Index>,
    /// Directories of wheels (paths) or pages that link to wheels (URLs).
    pub find_links: Vec<FindLinks>,
    /// Use no index at all, only `find_links`.
    pub no_index: bool,
    /// Packages that come from one index only.
    pub index_of: BTreeMap<PackageName, Index>,
    /// Take the best version over all indexes instead of stopping at the first index that has the package.
    pub unsafe_best_match: bool,
    /// Ask the `keyring` program for passwords.
    pub keyring: bool,
}

/// A place with wheels that is not an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FindLinks {
    /// A directory.
    Dir(PathBuf),
    /// A page, without credentials.
    Page(Url, Option<Credentials>),
}

impl Origin {
    /// A file as a whole.
    pub fn file(file: impl Into<String>) -> Self {
        Self { file: file.into(), line: 0 }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// A path as the user knows it: from `dir`, where it is below.
fn shown(path: &Path, dir: &Path) -> String {
    path.strip_prefix(dir).unwrap_or(path).display().to_string()
}

/// Whether it is the index that everybody has without saying so.
fn is_pypi(url: &Url) -> bool {
    url.host_str() == Some("pypi.org") && url.path().trim_end_matches('/') == "/simple"
}

impl Credentials {
    /// Takes the credentials out of a URL, where it has some; it has none afterwards.
    pub fn take(url: &mut Url) -> Option<Self> {
        if url.username().is_empty() && url.password().is_none() {
            return None;
        }
        let credentials = Self {
            username: percent_decode(url.username()),
            password: url.password().map(|password| Secret::new(percent_decode(password))),
        };
        // Both fail only for URLs that cannot have credentials, which this one has.
        let _: Result<(), ()> = url.set_username("");
        let _: Result<(), ()> = url.set_password(None);
        Some(credentials)
    }
}

impl Secret {
    /// Takes the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:****", self.username)
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.url)
    }
}
