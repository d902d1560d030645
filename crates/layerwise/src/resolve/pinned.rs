//! Wheels that are pinned by this program: tools that it provides for itself.

use std::sync::Arc;

use serde::Deserialize;

use super::upstream::{Upstream, UpstreamError};
use crate::input::IndexOptions;
use crate::io::{CachedWheel, Io, Wanted, WheelsError};
use crate::model::{Sha256, WheelName};

/// A wheel by its name and its digest, in a file that is a part of the program.
#[derive(Debug, Deserialize)]
pub struct PinnedWheel {
    /// Its file name.
    pub name: String,
    /// Its digest.
    pub sha256: Sha256,
}

/// A pinned wheel cannot be had.
#[derive(Debug)]
pub enum PinnedError {
    /// The index does not have it: its file name.
    NotOnIndex(String),
    /// The index failed.
    Index(UpstreamError),
    /// It could not be brought into the cache.
    Wheel(WheelsError),
}

impl PinnedWheel {
    /// Its name. A test of each file with pins reads all of them.
    pub fn wheel(&self) -> WheelName {
        self.name.parse().expect("the files with pins are tested")
    }

    /// The wheel, from the cache or the package index.
    pub async fn get(&self, indexes: &IndexOptions, io: &Arc<Io>) -> Result<CachedWheel, PinnedError> {
        let name = self.wheel();
        if let Some(cached) = io.cached_wheel(&name, self.sha256).map_err(PinnedError::Wheel)? {
            return Ok(cached);
        }
        let upstream = Upstream::new(Arc::clone(io), indexes.clone());
        let files = upstream.files(&name.name).await.map_err(PinnedError::Index)?.unwrap_or_default();
        let file = files.iter().find(|file| file.filename == name.text);
        let file = file.ok_or_else(|| PinnedError::NotOnIndex(name.text.clone()))?;
        let wanted = Wanted { name: &name, url: &file.url, sha256: Some(self.sha256), size: file.size };
        io.wheel(wanted).await.map_err(PinnedError::Wheel)
    }
}
