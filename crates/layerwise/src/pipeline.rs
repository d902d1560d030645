//! The one file that knows the order of the stages.

use std::path::PathBuf;
use std::time::Duration;

use crate::assemble;
use crate::input::Inputs;
use crate::model::{Note, Sha256, Target};

/// One artifact to make.
#[derive(Debug, Clone)]
pub struct Job {
    /// The layer's name.
    pub name: String,
    /// What it is for.
    pub target: Target,
    /// What goes in.
    pub inputs: Inputs,
    /// Where its committed lock is, or would be (`pylock.<name>-python311-x86_64.toml`).
    pub lock_file: PathBuf,
    /// How to assemble.
    pub assemble: assemble::Options,
    /// Leave out the AWS SDK packages that the runtime brings, as a whole.
    pub exclude_runtime_packages: bool,
    /// Where the zip goes.
    pub output: PathBuf,
}

/// What to do with a committed lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LockPolicy {
    /// Use it when it is there and matches its inputs.
    #[default]
    Use,
    /// Fail unless it is there and matches its inputs.
    Insist,
}

/// A finished artifact.
#[derive(Debug, Clone)]
pub struct Built {
    /// The layer's name.
    pub name: String,
    /// What it is for.
    pub target: Target,
    /// Where it is.
    pub output: PathBuf,
    /// Of the zip's bytes: `CodeSha256`.
    pub sha256: Sha256,
    /// Size of the zip in bytes.
    pub zipped_bytes: u64,
    /// Sum of the unpacked files in bytes.
    pub unzipped_bytes: u64,
    /// Number of files.
    pub files: usize,
    /// What is inside, largest (unzipped) first.
    pub packages: Vec<BuiltPackage>,
    /// What was surprising about the choice of versions.
    pub notes: Vec<Note>,
    /// Where the versions came from.
    pub lock: LockUse,
    /// Where the time went.
    pub timings: Timings,
}

/// One package of an artifact.
#[derive(Debug, Clone)]
pub struct BuiltPackage {
    /// Normalised name.
    pub name: String,
    /// Version.
    pub version: String,
    /// The wheel's file name.
    pub wheel: String,
    /// Its digest.
    pub sha256: Sha256,
    /// Unpacked bytes of its files in the artifact.
    pub unzipped_bytes: u64,
    /// Their share of the zip in bytes.
    pub zipped_bytes: u64,
}

/// Where the versions came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockUse {
    /// Resolved now; there was no lock.
    Resolved,
    /// Resolved now, because the committed lock is of other inputs.
    Stale,
    /// Taken from the committed lock, or from the lock that was the input.
    Locked,
}

/// Wall time of each stage.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timings {
    /// Choosing versions.
    pub resolve: Duration,
    /// Getting wheels.
    pub fetch: Duration,
    /// Placing files.
    pub assemble: Duration,
    /// Writing the zip.
    pub pack: Duration,
}
