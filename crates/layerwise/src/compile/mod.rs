//! Source distributions → wheels for the target, whatever the host.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Explain, Kind};
use crate::input::IndexOptions;
use crate::io::{CachedWheel, Io};
use crate::model::{CompilePolicy, SourcePin, Target};

/// No wheel could be built.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// Not yet.
    #[error("`{0}` has to be built from source")]
    NotYet(String),
}

impl Explain for CompileError {
    fn kind(&self) -> Kind {
        Kind::Resolution
    }
}

/// What building needs besides the source distribution.
pub struct Work<'a> {
    /// For what.
    pub target: Target,
    /// Where build requirements come from.
    pub indexes: &'a IndexOptions,
    /// What may be compiled.
    pub policy: &'a CompilePolicy,
    /// The world.
    pub io: &'a Arc<Io>,
}

/// A wheel that was built and not yet judged.
pub struct Fresh;

/// The wheel built earlier from the same source for the same target by the same means.
pub fn cached(_: &SourcePin, _: &Work<'_>) -> Result<Option<CachedWheel>, CompileError> {
    Ok(None)
}

/// Builds.
pub async fn build(pin: &SourcePin, _: &Path, _: &Work<'_>) -> Result<Fresh, CompileError> {
    Err(CompileError::NotYet(pin.file.clone()))
}

/// Judges.
pub fn plausible(_: &Fresh) -> Result<(), CompileError> {
    Ok(())
}

/// Keeps.
pub fn keep(_: Fresh, _: &Io) -> Result<CachedWheel, CompileError> {
    Err(CompileError::NotYet(String::new()))
}

/// Asks.
pub async fn metadata(file: &str, _: &Path, _: &Work<'_>) -> Result<String, CompileError> {
    Err(CompileError::NotYet(file.to_owned()))
}
