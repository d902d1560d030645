//! A wheel's `METADATA` without more of the wheel than needed.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use super::page::{File, MetadataOffer};
use crate::error::{Explain, Kind};
use crate::io::http::Request;
use crate::io::wheels::sha256_of_file;
use crate::io::{Bucket, CacheError, HttpError, Io, Wanted, WantedFile, WheelsError};
use crate::model::{Sha256, WheelName};
use crate::sdist::{self, SdistError};
use crate::wheel::directory::{self, Found};

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
    /// A source distribution.
    #[error(transparent)]
    Sdist(#[from] SdistError),
    /// A source distribution's own build backend did not tell it.
    #[error("failed to prepare the metadata of `{file}`")]
    Prepare {
        /// The source distribution.
        file: String,
        /// What whoever builds says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
        /// Its kind.
        kind: Kind,
        /// What to do next.
        hints: Vec<String>,
    },
}

/// Why metadata could not be prepared, by whoever builds.
#[derive(Debug)]
pub struct Unprepared {
    /// What went wrong.
    pub source: Box<dyn std::error::Error + Send + Sync>,
    /// Its kind.
    pub kind: Kind,
    /// What to do next.
    pub hints: Vec<String>,
}

/// Gets the `METADATA` of a source distribution in the cache by its own build backend (PEP 517), without compiling.
pub type Prepare = dyn Fn(PreparedSdist) -> Preparing + Send + Sync;

/// The answer to come.
pub type Preparing = Pin<Box<dyn Future<Output = Result<String, Unprepared>> + Send>>;

/// A source distribution whose metadata is wanted.
#[derive(Debug, Clone)]
pub struct PreparedSdist {
    /// Its file name.
    pub file: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its digest.
    pub sha256: Sha256,
}

impl Explain for MetadataError {
    fn kind(&self) -> Kind {
        match self {
            Self::Http(error) => error.kind(),
            Self::Wheel(error) => error.kind(),
            Self::Cache(error) => error.kind(),
            Self::Local { .. } => Kind::Input,
            Self::Sdist(error) => error.kind(),
            Self::Prepare { kind, .. } => *kind,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Http(error) => error.hints(),
            Self::Wheel(error) => error.hints(),
            Self::Cache(error) => error.hints(),
            Self::Local { .. } => Vec::new(),
            Self::Sdist(error) => error.hints(),
            Self::Prepare { hints, .. } => hints.clone(),
        }
    }
}

/// `METADATA` is at most this large, in bytes, and so is a member that is read by itself.
const LARGEST: u64 = 16 << 20;

/// A wheel up to this size is read whole when the index does not offer its metadata: it is likely to be taken, and
/// then it is here already. Most wheels are smaller, and one request beats two.
const SMALL_WHEEL: u64 = 512 << 10;

/// The last bytes of a wheel usually hold its directory and, since installers' tools write it last, its dist-info.
const TAIL: u64 = 32 << 10;

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
        if file.core_metadata != MetadataOffer::No {
            let mut url = file.url.clone();
            url.set_path(&format!("{}.metadata", file.url.path()));
            match io.http.bytes(&Request::new(&url), LARGEST).await {
                Ok(answer) if is_right(&answer.bytes, file.core_metadata) => return keep(io, sha256, &answer.bytes),
                // Promised and not there (some mirrors do that), another one, or a log-in page: the wheel has it too.
                Ok(_) | Err(HttpError::Status { status: 404, .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(size) = file.size.filter(|size| *size > SMALL_WHEEL)
            && let Some(bytes) = by_ranges(io, file, size, &is_metadata).await?
        {
            io.detail(&format!("{wheel}: METADATA read by range requests"));
            return keep(io, sha256, &bytes);
        }
    }
    let wanted = Wanted { name: wheel, url: &file.url, sha256: file.sha256, size: file.size };
    let whole = io.wheel(wanted).await?;
    Ok(Metadata { text: whole.index.metadata.as_str().into(), sha256: whole.sha256 })
}

/// A source distribution on an index, shown as the wheel it would become.
pub struct Source<'a> {
    /// The name it is shown by.
    pub wheel: &'a WheelName,
    /// The source distribution.
    pub file: &'a File,
    /// The nearest of the release's wheels, if it has any.
    pub kin: Option<&'a (WheelName, File)>,
}

/// Reads the metadata of a source distribution without compiling: from one of the release's wheels (installers take
/// it for the same), from the index (PEP 658), from `PKG-INFO` or `pyproject.toml` where they say that no build will
/// change it (PEP 643, PEP 621), and as the last resort from its build backend.
pub async fn of_source(io: &Arc<Io>, source: Source<'_>, prepare: &Prepare) -> Result<Metadata, MetadataError> {
    let Source { wheel, file, kin } = source;
    if let (Some((wheel, kin)), Some(sha256)) = (kin, file.sha256) {
        let text = read(io, wheel, kin).await?.text;
        return Ok(Metadata { text, sha256 });
    }
    if let (Some(sha256), true) = (file.sha256, file.core_metadata != MetadataOffer::No) {
        let mut url = file.url.clone();
        url.set_path(&format!("{}.metadata", file.url.path()));
        match io.http.bytes(&Request::new(&url), LARGEST).await {
            Ok(answer) if is_right(&answer.bytes, file.core_metadata) => {
                let text = String::from_utf8_lossy(&answer.bytes).into_owned();
                if sdist::is_static(&text) {
                    return Ok(Metadata { text: text.into(), sha256 });
                }
            }
            Ok(_) | Err(HttpError::Status { status: 404, .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let wanted = WantedFile { file: &file.filename, url: &file.url, sha256: file.sha256, size: file.size };
    let (path, sha256) = io.file(Bucket::Sdists, wanted).await?;
    if let Some(bytes) = io.cache.read(Bucket::Metadata, &sha256.to_string())? {
        return Ok(Metadata { text: String::from_utf8_lossy(&bytes).into(), sha256 });
    }
    let (read, filename) = (path.clone(), file.filename.clone());
    let worked = tokio::task::spawn_blocking(move || sdist::metadata(&read, &filename)).await;
    let found = worked.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
    let text = match found.and_then(|text| text.of(wheel)) {
        Some(text) => text,
        None => {
            io.detail(&format!("{}: its build backend has to be asked for its metadata", file.filename));
            let wanted = PreparedSdist { file: file.filename.clone(), path, sha256 };
            let failed = |Unprepared { source, kind, hints }| {
                let file = file.filename.clone();
                MetadataError::Prepare { file, source, kind, hints }
            };
            prepare(wanted).await.map_err(failed)?
        }
    };
    keep(io, sha256, text.as_bytes())
}

/// What was promised; where nothing was, it has to begin as core metadata does, with its fields.
fn is_right(bytes: &[u8], offer: MetadataOffer) -> bool {
    if let MetadataOffer::Hashed(digest) = offer {
        return Sha256::of(bytes) == digest;
    }
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
    let sha256 = sha256_of_file(&path).map_err(failed)?;
    let adopted = io.adopt_wheel(wheel, &path, sha256)?;
    Ok(Metadata { text: adopted.index.metadata.as_str().into(), sha256 })
}

fn is_metadata(name: &str) -> bool {
    name.strip_suffix(".dist-info/METADATA").is_some_and(|stem| !stem.contains('/'))
}

/// Reads the first member that is `wanted` of a remote wheel by one to three range requests. `None` where the server
/// does not do ranges, or the wheel is not as expected: then the whole wheel tells.
pub(super) async fn by_ranges(
    io: &Io,
    file: &File,
    size: u64,
    wanted: &(dyn Fn(&str) -> bool + Send + Sync),
) -> Result<Option<Vec<u8>>, MetadataError> {
    let tail_start = size.saturating_sub(TAIL);
    let Some(mut tail) = range(io, file, tail_start, size).await? else { return Ok(None) };
    let Ok(Found::End(end)) = directory::find_end(&tail, tail_start) else { return Ok(None) };
    let mut start = tail_start;
    if end.offset < start && end.size <= LARGEST {
        let Some(more) = range(io, file, end.offset, start).await? else { return Ok(None) };
        tail = [more, tail].concat();
        start = end.offset;
    }
    let within = |from: u64, to: u64| {
        let at = |offset: u64| usize::try_from(offset.checked_sub(start)?).ok();
        tail.get(at(from)?..at(to)?)
    };
    let Some(bytes) = within(end.offset, end.offset.saturating_add(end.size)) else { return Ok(None) };
    let Ok(listed) = directory::parse(bytes, end.entries) else { return Ok(None) };
    let Some(entry) = listed.iter().find(|entry| wanted(&entry.name)) else { return Ok(None) };
    // The local header's extra field is not in the directory: a little more than it usually is.
    let from = entry.header_offset;
    let header = 30 + entry.name.len() as u64 + 512;
    let past = from.saturating_add(header).saturating_add(entry.compressed).min(end.offset);
    if entry.compressed > LARGEST || from >= past {
        return Ok(None);
    }
    let member = match within(from, past) {
        Some(bytes) => bytes.to_vec(),
        None => match range(io, file, from, past).await? {
            Some(bytes) => bytes,
            None => return Ok(None),
        },
    };
    Ok(directory::unpack(entry, &member, LARGEST).ok())
}

/// Bytes `from` to `past` (not inclusive); `None` where the server sends something else.
async fn range(io: &Io, file: &File, from: u64, past: u64) -> Result<Option<Vec<u8>>, MetadataError> {
    let request = Request { range: Some((from, Some(past - 1))), ..Request::new(&file.url) };
    match io.http.bytes(&request, past - from).await {
        Ok(answer) => {
            let partial = answer.status == reqwest::StatusCode::PARTIAL_CONTENT;
            Ok((partial && answer.bytes.len() as u64 == past - from).then_some(answer.bytes))
        }
        // Without ranges the whole file comes, which is more than was asked for.
        Err(HttpError::TooLarge { .. } | HttpError::Status { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use layerwise_testkit::{Index, Member, Wheel, wheel};

    use super::*;
    use crate::io::wheels::tests::{block, io};

    /// What is read of a wheel on an index that does not offer its metadata, and how many bytes of it were sent.
    fn shown(wheel: &Wheel) -> (String, usize) {
        let dir = tempfile::tempdir().unwrap();
        let served = Index::new().wheel(wheel.clone()).core_metadata(false).serve();
        let file = File {
            filename: wheel.filename.clone(),
            url: served.url().replace("/simple/", &format!("/files/{}", wheel.filename)).parse().unwrap(),
            sha256: Some(wheel.sha256.parse().unwrap()),
            size: Some(wheel.bytes.len() as u64),
            requires_python: None,
            yanked: None,
            core_metadata: MetadataOffer::No,
            upload_time: None,
        };
        let read = block(read(&io(dir.path()), &wheel.filename.parse().unwrap(), &file));
        let text = read.map_or_else(|error| crate::error::chain(&error), |found| found.text.to_string());
        (text, served.requests().len())
    }

    #[test]
    fn by_range_requests_where_the_end_of_the_wheel_is_in_order() {
        let noise: Vec<u8> = (0..30_000u32).flat_map(|n| *Sha256::of(&n.to_le_bytes()).as_bytes()).collect();
        let good = wheel("a", "1.0").member(Member::new("large", noise).stored()).build();
        assert_eq!(shown(&good), (good.metadata.clone(), 1));

        // METADATA is said to begin at the last byte there can be.
        let mut far = b"PK\x01\x02\x14\x03\x2d\0\0\0\0\0".to_vec();
        let name = b"a-1.0.dist-info/METADATA";
        far.extend([0; 16]);
        far.extend([24, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        far.extend(name);
        far.extend([1, 0, 8, 0]);
        far.extend([0xff; 8]);
        let mut bytes = vec![0; 600_000];
        bytes.extend(&far);
        bytes.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
        bytes.extend((far.len() as u32).to_le_bytes());
        bytes.extend(600_000u32.to_le_bytes());
        bytes.extend([0; 2]);
        let sha256 = layerwise_testkit::sha256(&bytes);
        let (text, _) = shown(&Wheel { bytes, sha256, ..good });
        assert!(text.contains("member `a-1.0.dist-info/METADATA` begins outside the file"), "{text}");
    }
}
