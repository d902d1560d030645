//! Why no wheel could be built.

use std::path::PathBuf;

use super::container::ContainerError;
use super::why::Cause;
use crate::error::{Explain, Kind};
use crate::io::{CacheError, WheelsError};
use crate::model::PackageName;
use crate::resolve::pinned::PinnedError;
use crate::resolve::{UpstreamError, UvError};
use crate::sdist::SdistError;

/// No wheel could be built.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// No zig for this machine.
    #[error("layerwise has no compiler to provide for {host}")]
    NoZig {
        /// This machine.
        host: String,
    },
    /// The index does not have it.
    #[error("failed to provide zig: the index has no `{wheel}`")]
    ZigNotOnIndex {
        /// The wheel.
        wheel: String,
    },
    /// A tool could not be put in its place.
    #[error("failed to unpack {what} to `{}`", path.display())]
    Provide {
        /// Which tool.
        what: &'static str,
        /// Where to.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
    /// zig does not work here.
    #[error("zig fails to compile for {triple}: {said}")]
    ZigFails {
        /// For what.
        triple: String,
        /// What it said.
        said: String,
    },
    /// layerwise does not know its own program.
    #[error("the compiler shim cannot be made: layerwise does not know where its own program is")]
    NoShim,
    /// No Python of the target's minor version.
    #[error("building from source needs a Python {version} on this machine, and there is none: {said}")]
    NoPython {
        /// `3.11`.
        version: String,
        /// Why uv did not get one.
        said: String,
    },
    /// Python could not be described.
    #[error("`{}` does not tell how it was built: {said}", python.display())]
    Describe {
        /// The Python.
        python: PathBuf,
        /// What it said.
        said: String,
    },
    /// A package wants Rust.
    #[error("`{package}` is written in Rust, and there is no cargo here")]
    NoCargo {
        /// The package.
        package: String,
    },
    /// Rust cannot compile for the target.
    #[error("{version} has no standard library for {triple}")]
    NoRustStd {
        /// The target in Rust's words.
        triple: String,
        /// The compiler.
        version: String,
        /// rustup could add it.
        rustup: bool,
    },
    /// rustup does not add a target.
    #[error("`{command}` failed: {said}")]
    Rustup {
        /// What was run.
        command: String,
        /// What it said.
        said: String,
    },
    /// Crates cannot be had.
    #[error("failed to fetch the crates it needs: {said}")]
    Crates {
        /// What cargo said.
        said: String,
    },
    /// A package is in a Git repository.
    #[error("{package} is in a Git repository, and there is no git here")]
    NoGit {
        /// The package.
        package: String,
    },
    /// The sources of a commit cannot be had.
    #[error("failed to fetch commit {commit} of `{url}`: {said}")]
    Git {
        /// The repository, without credentials.
        url: String,
        /// The commit.
        commit: String,
        /// What git said.
        said: String,
    },
    /// Something could not be made ready.
    #[error("failed to make {what} ready for the build")]
    Prepare {
        /// What.
        what: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Its `pyproject.toml` cannot be read.
    #[error("the pyproject.toml of `{file}` cannot be used: {what}")]
    Pyproject {
        /// The source distribution.
        file: String,
        /// What is wrong.
        what: String,
    },
    /// A source directory.
    #[error("failed to read the sources in `{}`", path.display())]
    Directory {
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A declared prefix.
    #[error("the prefix for building {name}, `{}`, cannot be used: {why}", path.display())]
    Prefix {
        /// The package.
        name: PackageName,
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// What it needs to be built cannot be had.
    #[error("failed to install what `{file}` needs to be built ({requires}): {said}")]
    Requirements {
        /// The source distribution.
        file: String,
        /// What it needs.
        requires: String,
        /// What uv said.
        said: String,
    },
    /// The build failed.
    #[error("failed to build `{file}`{}", cause.as_ref().map(|cause| format!(": {}", cause.line)).unwrap_or_default())]
    Failed {
        /// The package.
        name: PackageName,
        /// The source distribution.
        file: String,
        /// What is known of why.
        cause: Option<Cause>,
        /// All that was said.
        log: PathBuf,
    },
    /// The build took too long.
    #[error("`{file}` was not built after {minutes} minutes")]
    TimedOut {
        /// The source distribution.
        file: String,
        /// How long it had.
        minutes: u64,
        /// All that was said.
        log: PathBuf,
    },
    /// It is not pure Python, and may not be compiled.
    #[error("`{file}` has parts to compile, and no wheel of it fits: it is compiled only where you say so")]
    NotPure {
        /// The package.
        name: PackageName,
        /// The source distribution.
        file: String,
    },
    /// What came out is no wheel.
    #[error("what `{file}` was built to cannot be used: {what}")]
    Odd {
        /// The source distribution.
        file: String,
        /// What is wrong.
        what: String,
        /// All that was said.
        log: PathBuf,
    },
    /// The wheel was refused.
    #[error("the wheel that `{file}` was built to is not right: {why}")]
    Refused {
        /// The source distribution.
        file: String,
        /// Why.
        why: String,
        /// All that was said.
        log: PathBuf,
    },
    /// A container.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// A wheel, or a file of it.
    #[error(transparent)]
    Wheels(#[from] WheelsError),
    /// An index.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// uv.
    #[error(transparent)]
    Uv(#[from] UvError),
    /// The source distribution.
    #[error(transparent)]
    Sdist(#[from] SdistError),
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl From<PinnedError> for CompileError {
    fn from(error: PinnedError) -> Self {
        match error {
            PinnedError::NotOnIndex(wheel) => Self::ZigNotOnIndex { wheel },
            PinnedError::Index(error) => error.into(),
            PinnedError::Wheel(error) => error.into(),
        }
    }
}

impl Explain for CompileError {
    fn kind(&self) -> Kind {
        match self {
            Self::Container(error) => error.kind(),
            Self::Wheels(error) => error.kind(),
            Self::Upstream(error) => error.kind(),
            Self::Uv(error) => error.kind(),
            Self::Sdist(error) => error.kind(),
            Self::Cache(error) => error.kind(),
            Self::NotPure { .. } => Kind::Resolution,
            Self::Directory { .. } | Self::Prefix { .. } => Kind::Input,
            Self::Git { .. } => Kind::Network,
            Self::Provide { .. } | Self::Prepare { .. } | Self::NoShim | Self::NoGit { .. } => Kind::System,
            _ => Kind::Compile,
        }
    }

    fn hints(&self) -> Vec<String> {
        let see = |log: &PathBuf| format!("the whole log is in `{}`", log.display());
        match self {
            Self::Container(error) => error.hints(),
            Self::Wheels(error) => error.hints(),
            Self::Upstream(error) => error.hints(),
            Self::Uv(error) => error.hints(),
            Self::Cache(error) => error.hints(),
            Self::NoPython { version, .. } => {
                vec![format!("install Python {version} with its headers (`uv python install {version}`)")]
            }
            Self::Describe { .. } => vec!["install its headers: the `-dev` or `-devel` package".to_owned()],
            Self::NoCargo { .. } => vec!["install Rust from https://rustup.rs, so that cargo is on PATH".to_owned()],
            Self::NoGit { .. } => vec!["install git, so that it is on PATH".to_owned()],
            Self::Git { .. } => vec![
                "layerwise never asks for passwords: a credential helper, an SSH agent, ~/.netrc, or `https://${TOKEN}@host/…` in the requirement give them".to_owned(),
            ],
            Self::NoRustStd { triple, rustup, .. } => {
                let itself = if *rustup { ", or `--add-rust-targets`, which lets layerwise do that" } else { "" };
                vec![
                    format!("`rustup target add {triple}`{itself}"),
                    "or name a compiler that has it with the variable RUSTC".to_owned(),
                ]
            }
            Self::NotPure { name, .. } => vec![format!("`--compile {name}` allows it")],
            Self::Failed { name, cause, log, .. } => {
                let mut hints: Vec<String> = cause.iter().filter_map(|cause| cause.hint.clone()).collect();
                if cause.as_ref().is_some_and(|cause| cause.library) {
                    hints.push(format!(
                        "`[compile.{name}]` with `prefix = \"DIR\"` in the configuration names a directory with `include` and `lib` of it, built for Lambda"
                    ));
                    hints.push("`--engine container` compiles in AWS's build image, where it can be installed".to_owned());
                }
                hints.push(see(log));
                hints
            }
            Self::TimedOut { log, .. } | Self::Odd { log, .. } | Self::Refused { log, .. } => vec![see(log)],
            _ => Vec::new(),
        }
    }
}
