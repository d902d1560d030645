//! The real indexes: which to ask for a project, in which order, and their pages through the cache.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fs_err as fs;
use reqwest::StatusCode;
use reqwest::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap};
use serde::{Deserialize, Serialize};
use url::Url;

use super::page::{self, File, PageError};
use crate::error::{Explain, Kind};
use crate::event::Event;
use crate::input::{FindLinks, Index, IndexOptions};
use crate::io::http::Request;
use crate::io::{Bucket, CacheError, HttpError, Io, SafeUrl};
use crate::model::{PackageName, Sha256};

/// The index of PyPI.
const PYPI: &str = "https://pypi.org/simple/";

/// A project's page may be this large, in bytes (the largest on PyPI are near 30 MB).
const LARGEST_PAGE: u64 = 256 << 20;

/// How long a page is taken for fresh when the server does not say: as uv does.
const FRESH: Duration = Duration::from_secs(600);

/// A project's files could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// An index failed.
    #[error("failed to read the page of `{name}` from the index {index}")]
    Http {
        /// The project.
        name: PackageName,
        /// The index.
        index: SafeUrl,
        /// What went wrong.
        #[source]
        source: HttpError,
    },
    /// An index answered something that is no page.
    #[error("failed to understand the page of `{name}` from the index {index}")]
    Page {
        /// The project.
        name: PackageName,
        /// The index.
        index: SafeUrl,
        /// What is wrong with it.
        #[source]
        source: PageError,
    },
    /// A `--find-links` directory cannot be listed.
    #[error("failed to list the `--find-links` directory `{}`", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl Explain for UpstreamError {
    fn kind(&self) -> Kind {
        match self {
            Self::Http { source, .. } => source.kind(),
            Self::Page { .. } => Kind::Network,
            Self::Directory { .. } => Kind::Input,
            Self::Cache(error) => error.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Http { source, .. } => source.hints(),
            Self::Page { .. } => {
                vec!["check that the index URL is that of a simple index (it often ends in `/simple/`)".to_owned()]
            }
            Self::Directory { .. } => Vec::new(),
            Self::Cache(error) => error.hints(),
        }
    }
}

/// The indexes of one resolution.
pub struct Upstream {
    io: Arc<Io>,
    options: IndexOptions,
    default: Index,
}

/// What the cache keeps of a page: a line of JSON with this, then the body.
#[derive(Serialize, Deserialize)]
struct Kept {
    status: u16,
    content_type: String,
    etag: Option<String>,
    /// Where relative links count from.
    base: Url,
    /// Seconds since 1970.
    fetched: u64,
    /// Seconds.
    max_age: u64,
}

impl Upstream {
    /// The indexes that `options` name, PyPI where they name none.
    pub fn new(io: Arc<Io>, mut options: IndexOptions) -> Self {
        let pypi =
            || Index { name: None, url: Url::parse(PYPI).expect("a constant URL"), credentials: None, explicit: false };
        let default = options.default_index.clone().unwrap_or_else(pypi);
        options.find_links.retain(|place| {
            let missing = match place {
                FindLinks::Dir(dir) if !dir.is_dir() => dir,
                _ => return true,
            };
            let text = format!("`--find-links {}` is no directory: ignored", missing.display());
            io.emit(Event::Warning { text: &text });
            false
        });
        Self { io, options, default }
    }

    /// Where packages come from, for messages.
    pub fn describe(&self) -> String {
        let urls: Vec<String> = self.indexes(None).map(|index| SafeUrl::from(&index.url).to_string()).collect();
        if urls.is_empty() { "the `--find-links` places".to_owned() } else { urls.join(", ") }
    }

    /// The indexes to ask, in order: the one the project is tied to, else the extra ones, then the default one.
    fn indexes(&self, name: Option<&PackageName>) -> impl Iterator<Item = &Index> {
        let tied = name.and_then(|name| self.options.index_of.get(name));
        let untied = tied.is_none() && !self.options.no_index;
        let extra = self.options.extra.iter().filter(|index| !index.explicit);
        let default = (!self.default.explicit).then_some(&self.default);
        tied.into_iter().chain(extra.chain(default).filter(move |_| untied))
    }

    /// All files of `name`: of the first index that has it (of all indexes with `unsafe_best_match`), and of the
    /// `--find-links` places. `None` where nobody knows the project.
    pub async fn files(&self, name: &PackageName) -> Result<Option<Vec<File>>, UpstreamError> {
        let mut files: Option<Vec<File>> = None;
        for place in &self.options.find_links {
            let found = match place {
                FindLinks::Dir(dir) => directory_files(dir)?,
                FindLinks::Page(url, _) => self.page(url, url, name).await?.unwrap_or_default(),
            };
            let named = found.into_iter().filter(|file| is_of(&file.filename, name));
            let named: Vec<File> = named.collect();
            if !named.is_empty() {
                files.get_or_insert_default().extend(named);
            }
        }
        for index in self.indexes(Some(name)) {
            let mut root = index.url.clone();
            if !root.path().ends_with('/') {
                root.set_path(&format!("{}/", root.path()));
            }
            let Ok(url) = root.join(&format!("{name}/")) else { continue };
            if let Some(found) = self.page(&url, &index.url, name).await? {
                files.get_or_insert_default().extend(found);
                if !self.options.unsafe_best_match {
                    break;
                }
            }
        }
        Ok(files)
    }

    /// Whether a page need not be asked for again; where all have to be, those of this run are.
    fn is_fresh(&self, about: &Kept, now: u64) -> bool {
        let since = now.saturating_sub(about.fetched);
        since < about.max_age && (since == 0 || !self.io.refreshes())
    }

    async fn page(&self, url: &Url, index: &Url, name: &PackageName) -> Result<Option<Vec<File>>, UpstreamError> {
        let http = |source| UpstreamError::Http { name: name.clone(), index: index.into(), source };
        if url.scheme() == "file" {
            return self.local_page(url, index, name);
        }
        let key = Sha256::of(url.as_str().as_bytes()).to_string();
        let kept = self.io.cache.read(Bucket::Pages, &key)?.and_then(unpack);
        let now = self.io.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let (about, body) = match kept {
            Some((about, body)) if self.io.offline() || self.is_fresh(&about, now) => (about, body),
            kept => {
                let etag = kept.as_ref().and_then(|(about, _)| about.etag.clone());
                let request = Request { accept: page::ACCEPT, etag, ..Request::new(url) };
                match self.io.http.bytes(&request, LARGEST_PAGE).await {
                    Ok(answer) => {
                        let header = |name| text(&answer.headers, &name);
                        let mut about = Kept {
                            status: 200,
                            content_type: header(CONTENT_TYPE).unwrap_or_default(),
                            etag: header(ETAG),
                            base: answer.url,
                            fetched: now,
                            max_age: max_age(&answer.headers),
                        };
                        let body = match (answer.status, kept) {
                            (StatusCode::NOT_MODIFIED, Some((old, body))) => {
                                (about.content_type, about.base, about.status) =
                                    (old.content_type, old.base, old.status);
                                about.etag = about.etag.or(old.etag);
                                body
                            }
                            _ => answer.bytes,
                        };
                        self.keep(&key, &about, &body)?;
                        (about, body)
                    }
                    Err(HttpError::Status { status: 404 | 410, .. }) => {
                        let about = Kept {
                            status: 404,
                            content_type: String::new(),
                            etag: None,
                            base: url.clone(),
                            fetched: now,
                            max_age: 0,
                        };
                        self.keep(&key, &about, b"")?;
                        (about, Vec::new())
                    }
                    Err(error) => return Err(http(error)),
                }
            }
        };
        if about.status == 404 {
            return Ok(None);
        }
        page::parse(&about.content_type, &body, &about.base, name).map(Some).map_err(|source| UpstreamError::Page {
            name: name.clone(),
            index: index.into(),
            source,
        })
    }

    /// A mirror in a directory: `<root>/<name>/index.html`.
    fn local_page(&self, url: &Url, index: &Url, name: &PackageName) -> Result<Option<Vec<File>>, UpstreamError> {
        let Ok(path) = url.to_file_path() else { return Ok(None) };
        let Ok(bytes) = fs::read(path.join("index.html")) else { return Ok(None) };
        page::parse_html(&bytes, url, name).map(Some).map_err(|source| UpstreamError::Page {
            name: name.clone(),
            index: index.into(),
            source,
        })
    }

    fn keep(&self, key: &str, about: &Kept, body: &[u8]) -> Result<(), UpstreamError> {
        let mut bytes = serde_json::to_vec(about).unwrap_or_default();
        bytes.push(b'\n');
        bytes.extend_from_slice(body);
        Ok(self.io.cache.write(Bucket::Pages, key, &bytes)?)
    }
}

fn unpack(mut bytes: Vec<u8>) -> Option<(Kept, Vec<u8>)> {
    let line = bytes.iter().position(|byte| *byte == b'\n')?;
    let about = serde_json::from_slice(&bytes[..line]).ok()?;
    bytes.drain(..=line);
    Some((about, bytes))
}

fn text(headers: &HeaderMap, name: &reqwest::header::HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// Seconds a page stays fresh, by `Cache-Control` where there is one.
fn max_age(headers: &HeaderMap) -> u64 {
    let control = text(headers, &CACHE_CONTROL).unwrap_or_default().to_ascii_lowercase();
    if control.contains("no-store") || control.contains("no-cache") {
        return 0;
    }
    let stated = control.split(',').find_map(|part| part.trim().strip_prefix("max-age=")?.parse().ok());
    stated.unwrap_or(FRESH.as_secs()).min(FRESH.as_secs())
}

fn directory_files(dir: &std::path::Path) -> Result<Vec<File>, UpstreamError> {
    let failed = |source| UpstreamError::Directory { path: dir.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let (Some(filename), Ok(url)) = (path.file_name().and_then(|name| name.to_str()), Url::from_file_path(&path))
        else {
            continue;
        };
        if !filename.ends_with(".whl") && !page::is_sdist(filename) {
            continue;
        }
        files.push(File {
            filename: filename.to_owned(),
            url,
            sha256: None,
            size: None,
            requires_python: None,
            yanked: None,
            core_metadata: page::MetadataOffer::No,
            upload_time: None,
        });
    }
    files.sort_by(|a, b| a.filename.cmp(&b.filename));
    Ok(files)
}

fn is_of(filename: &str, name: &PackageName) -> bool {
    let normal = filename.to_lowercase().replace(['_', '.'], "-");
    normal.starts_with(&format!("{name}-"))
}
