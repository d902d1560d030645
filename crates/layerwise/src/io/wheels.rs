//! Wheels in the cache: found by digest, downloaded while hashing, or adopted from a local file.
//!
//! A wheel is in the cache when its index is: the wheel is placed first, its index last.

use std::collections::HashMap;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use fs_err as fs;
use sha2::Digest as _;
use tempfile::NamedTempFile;
use url::Url;

use super::http::{Request, backoff};
use super::{Bucket, CacheError, HttpError, Io, SafeUrl, blocking};
use crate::audit::facts::{self, Content};
use crate::error::{Explain, Kind};
use crate::event::{Event, Stage};
use crate::model::{Sha256, WheelName};
use crate::wheel::{self, WheelError, WheelIndex};

/// A wheel in the cache.
#[derive(Debug, Clone)]
pub struct CachedWheel {
    /// Its file name on the index.
    pub name: WheelName,
    /// Its digest.
    pub sha256: Sha256,
    /// Where it is.
    pub path: PathBuf,
    /// What is in it.
    pub index: Arc<WheelIndex>,
}

/// A wheel could not be brought into the cache.
#[derive(Debug, thiserror::Error)]
pub enum WheelsError {
    /// The network.
    #[error("failed to download `{wheel}`")]
    Download {
        /// The wheel.
        wheel: String,
        /// What went wrong.
        #[source]
        source: HttpError,
    },
    /// Other bytes than the lock or the index promised.
    #[error("`{wheel}` from {from} is not the file that was promised: expected sha256 {expected}, got {got}{what}")]
    Mismatch {
        /// The wheel.
        wheel: String,
        /// Where it came from.
        from: String,
        /// The digest that was promised.
        expected: Sha256,
        /// The digest of what came.
        got: Sha256,
        /// ` (a web page)` where it looks like one.
        what: &'static str,
    },
    /// A local wheel cannot be read.
    #[error("failed to read the wheel `{}`", path.display())]
    Local {
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Its bytes are what was promised, but it is not a wheel we accept.
    #[error("`{wheel}` cannot be used")]
    Wheel {
        /// The wheel.
        wheel: String,
        /// What is wrong with it.
        #[source]
        source: WheelError,
    },
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl Explain for WheelsError {
    fn kind(&self) -> Kind {
        match self {
            Self::Download { source, .. } => source.kind(),
            Self::Mismatch { .. } | Self::Wheel { .. } => Kind::Integrity,
            Self::Local { .. } => Kind::Input,
            Self::Cache(error) => error.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Download { source, .. } => source.hints(),
            Self::Mismatch { what: "", .. } => vec![
                "the file changed since it was locked, or was tampered with: compare with the index, then lock again"
                    .to_owned(),
            ],
            Self::Mismatch { .. } => vec!["the server sent a page instead of the file: is a login needed?".to_owned()],
            Self::Cache(error) => error.hints(),
            Self::Wheel { .. } => vec!["report it to the wheel's makers, or require another version".to_owned()],
            Self::Local { .. } => Vec::new(),
        }
    }
}

/// One lock per digest, so that two jobs of one process do not download the same wheel.
#[derive(Debug, Default)]
pub struct InFlight(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl InFlight {
    fn of(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        self.0.lock().expect("no code panics while holding the lock").entry(key.to_owned()).or_default().clone()
    }
}

/// No wheel of a Lambda layer is larger: unzipped it could not be deployed.
const LARGEST_WHEEL: u64 = 1 << 30;

/// Tries for one file before giving up. Every byte that arrives resets the count.
const TRIES: u32 = 5;

/// Where a wheel is to come from, and what it should be.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Its file name.
    pub name: &'a WheelName,
    /// Where it is.
    pub url: &'a Url,
    /// Its digest, if known.
    pub sha256: Option<Sha256>,
    /// Its size in bytes, if known.
    pub size: Option<u64>,
}

/// Where a file is to come from, and what it should be.
#[derive(Debug, Clone, Copy)]
pub struct WantedFile<'a> {
    /// Its name, for messages.
    pub file: &'a str,
    /// Where it is.
    pub url: &'a Url,
    /// Its digest, if known.
    pub sha256: Option<Sha256>,
    /// Its size in bytes, if known.
    pub size: Option<u64>,
}

impl Io {
    /// The wheel with this digest, if the cache has it whole.
    pub fn cached_wheel(&self, name: &WheelName, sha256: Sha256) -> Result<Option<CachedWheel>, WheelsError> {
        let (wheel_key, index_key) = keys(sha256);
        let path = self.cache.path(Bucket::Wheels, &wheel_key);
        let Ok(about) = fs::metadata(&path) else { return Ok(None) };
        let index = self.cache.read(Bucket::Wheels, &index_key)?;
        let index = match index.and_then(|bytes| WheelIndex::decode(&bytes)) {
            Some(index) if index.wheel_bytes == about.len() => index,
            _ => {
                // Half of an entry, or a rotten one: worth as much as the wheel's digest says.
                if sha256_of_file(&path).map_err(|source| WheelsError::Local { path: path.clone(), source })? != sha256
                {
                    self.evict_wheel(sha256)?;
                    return Ok(None);
                }
                return self.index_and_place(None, &path, name, sha256).map(Some);
            }
        };
        Ok(Some(CachedWheel { name: name.clone(), sha256, path, index: Arc::new(index) }))
    }

    /// What the members of a wheel in the cache are, in the order of its index: remembered, or read again.
    pub fn wheel_facts(&self, wheel: &CachedWheel) -> Result<Vec<Content>, WheelsError> {
        let key = wheel.sha256.to_string();
        let known = self.cache.read(Bucket::Facts, &key)?.and_then(|bytes| facts::decode(&bytes));
        if let Some(known) = known.filter(|known| known.len() == wheel.index.members.len()) {
            return Ok(known);
        }
        let failed = |source| WheelsError::Local { path: wheel.path.clone(), source };
        let mut file = fs::File::open(&wheel.path).map_err(failed)?;
        let (_, read) = wheel::index_and_facts(&mut file, &wheel.name)
            .map_err(|source| WheelsError::Wheel { wheel: wheel.name.text.clone(), source })?;
        self.cache.write(Bucket::Facts, &key, &facts::encode(&read))?;
        Ok(read)
    }

    /// Forgets a wheel whose bytes turned out to be rotten.
    pub fn evict_wheel(&self, sha256: Sha256) -> Result<(), CacheError> {
        let (wheel_key, index_key) = keys(sha256);
        self.cache.remove(Bucket::Wheels, &index_key)?;
        self.cache.remove(Bucket::Wheels, &wheel_key)
    }

    /// The wheel from the cache, else from the network: hashed while it is read, resumed where the server can,
    /// asked for again on transient failures.
    pub async fn wheel(self: &Arc<Self>, wanted: Wanted<'_>) -> Result<CachedWheel, WheelsError> {
        let Wanted { name, url, sha256, size } = wanted;
        let key = wanted.sha256.map_or_else(|| wanted.url.to_string(), |sha256| sha256.to_string());
        let lock = self.in_flight.of(&key);
        let _alone = lock.lock().await;
        if let Some(sha256) = wanted.sha256
            && let Some(cached) = self.cached_wheel(wanted.name, sha256)?
        {
            return Ok(cached);
        }
        let wanted = WantedFile { file: &name.text, url, sha256, size };
        let (file, sha256) = self.download(Bucket::Wheels, &wanted).await?;
        let io = Arc::clone(self);
        let name = name.clone();
        let path = file.path().to_owned();
        blocking(move || io.index_and_place(Some(file), &path, &name, sha256)).await
    }

    /// Brings a wheel on this machine into the cache.
    pub fn adopt_wheel(&self, name: &WheelName, path: &Path, expected: Sha256) -> Result<CachedWheel, WheelsError> {
        if let Some(cached) = self.cached_wheel(name, expected)? {
            return Ok(cached);
        }
        let local = |source| WheelsError::Local { path: path.to_owned(), source };
        let mut aside = self.cache.aside(Bucket::Wheels)?;
        io::copy(&mut fs::File::open(path).map_err(local)?, &mut aside).map_err(local)?;
        let got = sha256_of_file(aside.path()).map_err(local)?;
        if got != expected {
            let from = path.display().to_string();
            return Err(WheelsError::Mismatch { wheel: name.text.clone(), from, expected, got, what: "" });
        }
        let aside_path = aside.path().to_owned();
        self.index_and_place(Some(aside), &aside_path, name, got)
    }

    /// A file as it came, from a part of the cache, else from the network or this machine: where it is, and its digest.
    pub async fn file(&self, bucket: Bucket, wanted: WantedFile<'_>) -> Result<(PathBuf, Sha256), WheelsError> {
        let WantedFile { file, url, sha256, .. } = wanted;
        let key = sha256.map_or_else(|| url.to_string(), |sha256| sha256.to_string());
        let lock = self.in_flight.of(&key);
        let _alone = lock.lock().await;
        let cached = |sha256: Sha256| self.cache.path(bucket, &sha256.to_string());
        if let Some(sha256) = sha256 {
            let path = cached(sha256);
            if path.is_file() {
                // It is short work beside the build that follows.
                let found =
                    sha256_of_file(&path).map_err(|source| WheelsError::Local { path: path.clone(), source })?;
                if found == sha256 {
                    return Ok((path, sha256));
                }
                self.cache.remove(bucket, &sha256.to_string())?;
            }
        }
        let (aside, found) = match url.to_file_path() {
            Ok(path) if url.scheme() == "file" => {
                let local = |source| WheelsError::Local { path: path.clone(), source };
                let mut aside = self.cache.aside(bucket)?;
                io::copy(&mut fs::File::open(&path).map_err(local)?, &mut aside).map_err(local)?;
                let found = sha256_of_file(aside.path()).map_err(local)?;
                if let Some(expected) = sha256.filter(|expected| *expected != found) {
                    let from = path.display().to_string();
                    return Err(WheelsError::Mismatch { wheel: file.to_owned(), from, expected, got: found, what: "" });
                }
                (aside, found)
            }
            _ => self.download(bucket, &wanted).await?,
        };
        self.cache.place(aside, bucket, &found.to_string())?;
        Ok((cached(found), found))
    }

    async fn download(&self, bucket: Bucket, wanted: &WantedFile<'_>) -> Result<(NamedTempFile, Sha256), WheelsError> {
        let _permit = self.downloads.acquire().await.expect("the semaphore is never closed");
        self.emit(Event::Started { stage: Stage::Fetch, item: wanted.file, bytes: wanted.size });
        let downloaded = self.download_whole(bucket, wanted).await;
        self.emit(Event::Finished { stage: Stage::Fetch, item: wanted.file });
        downloaded
    }

    async fn download_whole(
        &self,
        bucket: Bucket,
        wanted: &WantedFile<'_>,
    ) -> Result<(NamedTempFile, Sha256), WheelsError> {
        let mut file = self.cache.aside(bucket)?;
        let mut hasher = sha2::Sha256::new();
        let mut got = 0u64;
        let mut failures = 0;
        let mut resumed = false;
        loop {
            let before = got;
            match self.download_part(wanted, &mut file, &mut hasher, &mut got).await {
                Ok(()) => {
                    let found = Sha256::from_hasher(std::mem::take(&mut hasher));
                    match wanted.sha256.filter(|expected| *expected != found) {
                        None => return Ok((file, found)),
                        // Parts of two different files: once more, in one piece.
                        Some(_) if resumed && failures < TRIES => {
                            (got, resumed, failures) = (0, false, TRIES);
                            self.restart(wanted, &mut file)?;
                        }
                        Some(expected) => {
                            return Err(WheelsError::Mismatch {
                                wheel: wanted.file.to_owned(),
                                from: SafeUrl::from(wanted.url).to_string(),
                                expected,
                                got: found,
                                what: if looks_like_html(&mut file) { " (a web page)" } else { "" },
                            });
                        }
                    }
                }
                Err(PartError::Http(error)) if error.is_transient() && failures + 1 < TRIES => {
                    failures = if got > before { 1 } else { failures + 1 };
                    resumed |= got > 0;
                    self.detail(&format!("{}, trying again", crate::error::chain(&error)));
                    backoff(failures).await;
                }
                Err(PartError::Http(source)) => {
                    return Err(WheelsError::Download { wheel: wanted.file.to_owned(), source });
                }
                Err(PartError::Disk(source)) => {
                    return Err(CacheError::Write { path: file.path().to_owned(), source }.into());
                }
            }
        }
    }

    fn restart(&self, wanted: &WantedFile<'_>, file: &mut NamedTempFile) -> Result<(), WheelsError> {
        self.detail(&format!("{}: reading it again from the start", wanted.file));
        let emptied = file.as_file().set_len(0).and_then(|()| file.rewind());
        emptied.map_err(|source| CacheError::Write { path: file.path().to_owned(), source }.into())
    }

    /// One request: from byte `got` on, to the end.
    async fn download_part(
        &self,
        wanted: &WantedFile<'_>,
        file: &mut NamedTempFile,
        hasher: &mut sha2::Sha256,
        got: &mut u64,
    ) -> Result<(), PartError> {
        let safe = || SafeUrl::from(wanted.url);
        let request = Request { range: (*got > 0).then_some((*got, None)), ..Request::new(wanted.url) };
        let mut response = self.http.send(&request).await?;
        if *got > 0 && response.status() != reqwest::StatusCode::PARTIAL_CONTENT {
            // The server does not resume: these are the first bytes again.
            file.as_file().set_len(0)?;
            file.rewind()?;
            *hasher = sha2::Sha256::new();
            *got = 0;
        }
        if response.status() == reqwest::StatusCode::RANGE_NOT_SATISFIABLE {
            return Err(HttpError::Short { url: safe(), got: 0, expected: wanted.size.unwrap_or_default() }.into());
        }
        let expected = response.content_length().map(|length| length.saturating_add(*got));
        let limit = wanted.size.unwrap_or(LARGEST_WHEEL).min(LARGEST_WHEEL);
        loop {
            let chunk = response.chunk().await;
            let chunk = chunk.map_err(|source| HttpError::Transport { url: safe(), source: source.without_url() })?;
            let Some(chunk) = chunk else { break };
            file.write_all(&chunk)?;
            hasher.update(&chunk);
            *got += chunk.len() as u64;
            if *got > limit {
                return Err(HttpError::TooLarge { url: safe(), limit }.into());
            }
            let item = wanted.file;
            self.emit(Event::Advanced { stage: Stage::Fetch, item, bytes: chunk.len() as u64 });
        }
        match expected {
            Some(expected) if *got < expected => Err(HttpError::Short { url: safe(), got: *got, expected }.into()),
            _ => Ok(()),
        }
    }

    /// Indexes a complete file (verifying each member), then gives wheel and index their names.
    fn index_and_place(
        &self,
        aside: Option<NamedTempFile>,
        path: &Path,
        name: &WheelName,
        sha256: Sha256,
    ) -> Result<CachedWheel, WheelsError> {
        let local = |source| WheelsError::Local { path: path.to_owned(), source };
        let mut file = fs::File::open(path).map_err(local)?;
        let (index, facts) = wheel::index_and_facts(&mut file, name)
            .map_err(|source| WheelsError::Wheel { wheel: name.text.clone(), source })?;
        let (wheel_key, index_key) = keys(sha256);
        if let Some(aside) = aside {
            self.cache.place(aside, Bucket::Wheels, &wheel_key)?;
        }
        self.cache.write(Bucket::Facts, &sha256.to_string(), &facts::encode(&facts))?;
        self.cache.write(Bucket::Wheels, &index_key, &index.encode())?;
        let path = self.cache.path(Bucket::Wheels, &wheel_key);
        Ok(CachedWheel { name: name.clone(), sha256, path, index: Arc::new(index) })
    }
}

enum PartError {
    Http(HttpError),
    Disk(io::Error),
}

impl From<HttpError> for PartError {
    fn from(error: HttpError) -> Self {
        Self::Http(error)
    }
}

impl From<io::Error> for PartError {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

fn keys(sha256: Sha256) -> (String, String) {
    (format!("{sha256}.whl"), format!("{sha256}.index"))
}

/// The digest of a file, read piece by piece.
pub(crate) fn sha256_of_file(path: &Path) -> io::Result<Sha256> {
    let mut file = fs::File::open(path)?;
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Sha256::from_hasher(hasher)),
            count => hasher.update(&buffer[..count]),
        }
    }
}

fn looks_like_html(file: &mut NamedTempFile) -> bool {
    let mut start = [0u8; 64];
    let count = file.rewind().and_then(|()| file.read(&mut start)).unwrap_or_default();
    let text = String::from_utf8_lossy(&start[..count]).trim_start().to_ascii_lowercase();
    text.starts_with("<!doctype") || text.starts_with("<html")
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::{Duration, SystemTime};

    use layerwise_testkit::{Fault, Index, Member, Wheel, wheel};

    use super::*;
    use crate::event::Silent;
    use crate::io::IoSettings;

    pub(crate) fn io(dir: &Path) -> Arc<Io> {
        Arc::new(
            Io::new(IoSettings {
                cache_dir: dir.to_owned(),
                offline: false,
                refresh: false,
                now: SystemTime::UNIX_EPOCH,
                uv: None,
                child_env: Vec::new(),
                netrc: None,
                ca_files: Vec::new(),
                programs: crate::io::Programs::default(),
                keyring: None,
                concurrency: 4,
                http_timeout: Duration::from_secs(2),
                events: Arc::new(Silent),
                consent: Arc::new(Silent),
            })
            .unwrap(),
        )
    }

    pub(crate) fn block<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(work)
    }

    fn a() -> Wheel {
        // Several pieces, and nothing that compresses away.
        let bytes: Vec<u8> =
            (0..200_000u32).flat_map(|n| Sha256::of(&n.to_le_bytes()).as_bytes()[..1].to_vec()).collect();
        wheel("a", "1.0").member(Member::new("a.bin", bytes).stored()).build()
    }

    /// What a download ends with: `ok`, or the error and its causes. A failure leaves nothing in the cache.
    fn check(fault: impl Into<layerwise_testkit::FaultRule>, given: bool, expected: &str) {
        let wheel = a();
        let dir = tempfile::tempdir().unwrap();
        let io = io(dir.path());
        let served = Index::new().wheel(wheel.clone()).fault(fault).serve();
        let url: Url = served.url().replace("/simple/", &format!("/files/{}", wheel.filename)).parse().unwrap();
        let name: WheelName = wheel.filename.parse().unwrap();
        let sha256 = given.then(|| wheel.sha256.parse().unwrap());
        let got = block(io.wheel(Wanted { name: &name, url: &url, sha256, size: None }));
        let shown = match &got {
            Ok(cached) => {
                assert_eq!(fs::read(&cached.path).unwrap(), wheel.bytes);
                "ok".to_owned()
            }
            Err(error) => {
                assert_eq!(fs::read_dir(io.cache.bucket(Bucket::Wheels)).unwrap().count(), 0);
                crate::error::chain(error)
            }
        };
        assert!(shown.contains(expected), "{shown}\nbut expected: {expected}");
        assert_eq!(got.is_ok(), expected == "ok");
    }

    #[test]
    fn downloads() {
        for given in [true, false] {
            check(Fault::Status(503).times(2), given, "ok");
            check(Fault::CutBody { after_bytes: 70_000 }.times(3), given, "ok");
            check(Fault::Reset.times(1), given, "ok");
            check(Fault::Stall { after_bytes: 100_000 }.times(1), given, "ok");
            check(Fault::Redirect, given, "ok");
            check(Fault::NoRange, given, "ok");
            check(Fault::Status(404), given, "answered 404");
        }
        check(Fault::WrongBytes, true, "is not the file that was promised: expected sha256 ");
        check(Fault::Html, true, " (a web page)");
        check(Fault::Html, false, "it is not a zip archive, or its end is missing");
    }

    #[test]
    fn local_files_are_not_for_urls() {
        let dir = tempfile::tempdir().unwrap();
        let wheel = a();
        let path = dir.path().join(&wheel.filename);
        fs::write(&path, &wheel.bytes).unwrap();
        let (name, url) = (wheel.filename.parse().unwrap(), Url::from_file_path(&path).unwrap());
        let io = io(&dir.path().join("cache"));
        assert!(block(io.wheel(Wanted { name: &name, url: &url, sha256: None, size: None })).is_err());
    }

    #[test]
    fn rotten_entries() {
        let dir = tempfile::tempdir().unwrap();
        let io = io(&dir.path().join("cache"));
        let wheel = a();
        let (name, sha256): (WheelName, Sha256) = (wheel.filename.parse().unwrap(), wheel.sha256.parse().unwrap());
        let path = dir.path().join(&wheel.filename);
        fs::write(&path, &wheel.bytes).unwrap();
        let other = io.adopt_wheel(&name, &path, Sha256::of(b"x")).unwrap_err();
        assert!(other.to_string().contains("is not the file that was promised"), "{other}");
        assert!(io.cached_wheel(&name, sha256).unwrap().is_none());
        let cached = io.adopt_wheel(&name, &path, sha256).unwrap();
        let index = io.cache.path(Bucket::Wheels, &keys(sha256).1);

        // Without its index, or with a rotten one, the wheel's own digest decides.
        for spoil in [None, Some(b"rotten".as_slice())] {
            match spoil {
                None => fs::remove_file(&index).unwrap(),
                Some(bytes) => fs::write(&index, bytes).unwrap(),
            }
            let again = io.cached_wheel(&name, sha256).unwrap().unwrap();
            assert_eq!(again.index, cached.index);
            assert_eq!(WheelIndex::decode(&fs::read(&index).unwrap()).as_ref(), Some(cached.index.as_ref()));
        }
        fs::write(&cached.path, b"short").unwrap();
        assert!(io.cached_wheel(&name, sha256).unwrap().is_none());
        assert!(!cached.path.exists() && !index.exists());
    }
}
