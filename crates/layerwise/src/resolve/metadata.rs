//! A wheel's `METADATA` without more of the wheel than needed.

use std::sync::Arc;

use super::page::File;
use crate::error::{Explain, Kind};
use crate::io::http::Request;
use crate::io::{Bucket, CacheError, HttpError, Io, Wanted, WheelsError};
use crate::model::{Sha256, WheelName};

/// A wheel's metadata and digest.
pub struct Metadata {
    /// The text of `METADATA`.
    pub text: Arc<str>,
    /// The wheel's digest.
    pub sha256: Sha256,
}

/// A wheel's metadata cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// The network.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The wheel.
    #[error(transparent)]
    Wheel(WheelsError),
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A local wheel without a digest cannot be read.
    #[error("failed to read `{path}`")]
    Local {
        /// Where.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl Explain for MetadataError {
    fn kind(&self) -> Kind {
        match self {
            Self::Http(error) => error.kind(),
            Self::Wheel(error) => error.kind(),
            Self::Cache(error) => error.kind(),
            Self::Local { .. } => Kind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Http(error) => error.hints(),
            Self::Wheel(error) => error.hints(),
            Self::Cache(error) => error.hints(),
            Self::Local { .. } => Vec::new(),
        }
    }
}

/// `METADATA` is at most this large, in bytes.
const LARGEST: u64 = 16 << 20;

/// Reads the metadata of a wheel on an index: from the cache, from the index (PEP 658), from the wheel's end by
/// range requests, or from the whole wheel.
pub async fn read(io: &Arc<Io>, wheel: &WheelName, file: &File) -> Result<Metadata, MetadataError> {
    if file.url.scheme() == "file" {
        return local(io, wheel, file);
    }
    if let Some(sha256) = file.sha256 {
        if let Some(cached) = io.cached_wheel(wheel, sha256)? {
            return Ok(Metadata { text: cached.index.metadata.as_str().into(), sha256 });
        }
        if let Some(bytes) = io.cache.read(Bucket::Metadata, &sha256.to_string())? {
            return Ok(Metadata { text: String::from_utf8_lossy(&bytes).into(), sha256 });
        }
        if file.core_metadata {
            let mut url = file.url.clone();
            url.set_path(&format!("{}.metadata", file.url.path()));
            match io.http.bytes(&Request::new(&url), LARGEST).await {
                Ok(answer) if looks_right(&answer.bytes) => return keep(io, sha256, &answer.bytes),
                // Promised and not there (some mirrors do that), or a log-in page. The wheel itself has it too.
                Ok(_) | Err(HttpError::Status { status: 404, .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    let wanted = Wanted { name: wheel, url: &file.url, sha256: file.sha256, size: file.size };
    let whole = io.wheel(wanted).await?;
    Ok(Metadata { text: whole.index.metadata.as_str().into(), sha256: whole.sha256 })
}

/// Core metadata begins with a field, and `Metadata-Version` is among the first.
fn looks_right(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(4096)];
    start.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"Metadata-Version:"))
}

fn keep(io: &Io, sha256: Sha256, bytes: &[u8]) -> Result<Metadata, MetadataError> {
    io.cache.write(Bucket::Metadata, &sha256.to_string(), bytes)?;
    Ok(Metadata { text: String::from_utf8_lossy(bytes).into(), sha256 })
}

/// From a `--find-links` directory.
fn local(io: &Io, wheel: &WheelName, file: &File) -> Result<Metadata, MetadataError> {
    let failed = |source| MetadataError::Local { path: file.url.path().to_owned(), source };
    let path = file.url.to_file_path().map_err(|()| failed(std::io::ErrorKind::NotFound.into()))?;
    let sha256 = Sha256::of(&fs_err::read(&path).map_err(failed)?);
    let adopted = io.adopt_wheel(wheel, &path, sha256)?;
    Ok(Metadata { text: adopted.index.metadata.as_str().into(), sha256 })
}
