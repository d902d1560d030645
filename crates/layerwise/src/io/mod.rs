//! The doors to the world: the cache on disk, the network, the uv process. Everything a stage needs of them is
//! in one [`Io`], made from plain values by whoever runs the library.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error::{Explain, Kind};
use crate::event::{Event, Events};

pub mod cache;
pub mod http;
pub mod wheels;

pub use cache::{Bucket, Cache, CacheError};
pub use http::{Http, HttpError, SafeUrl};
pub use wheels::{CachedWheel, Wanted, WantedSdist, WheelsError};

/// What the library needs to know of the machine it runs on; nothing of it changes an artifact's bytes.
#[derive(Clone)]
pub struct IoSettings {
    /// The cache's root.
    pub cache_dir: PathBuf,
    /// Use only what is in the cache.
    pub offline: bool,
    /// The present, for the freshness of cached index pages and for Lambda's dates.
    pub now: SystemTime,
    /// The `uv` found on PATH.
    pub uv: Option<PathBuf>,
    /// The environment that child processes (uv, keyring, git below uv) get.
    pub child_env: Vec<(OsString, OsString)>,
    /// The text of the user's netrc.
    pub netrc: Option<String>,
    /// Certificates (PEM) to trust besides the system's.
    pub ca_files: Vec<PathBuf>,
    /// Programs that building from source uses.
    pub programs: Programs,
    /// The `keyring` program.
    pub keyring: Option<PathBuf>,
    /// Downloads at once.
    pub concurrency: usize,
    /// How long a server may stay silent.
    pub http_timeout: Duration,
    /// Who hears what is happening.
    pub events: Arc<dyn Events>,
}

/// Programs of this machine that building from source uses.
#[derive(Debug, Clone, Default)]
pub struct Programs {
    /// layerwise itself: it is the compiler shim too.
    pub layerwise: Option<PathBuf>,
    /// Pythons by minor version, or stand-ins for them, best first.
    pub pythons: BTreeMap<u8, Vec<PathBuf>>,
    /// `cargo` on PATH.
    pub cargo: Option<PathBuf>,
    /// `rustc` on PATH.
    pub path_rustc: Option<PathBuf>,
    /// The `rustc` that the user named.
    pub rustc: Option<PathBuf>,
    /// Processes at once.
    pub jobs: usize,
}

/// The world, as far as the stages may touch it.
pub struct Io {
    /// The cache on disk.
    pub cache: Cache,
    /// The network.
    pub http: Http,
    /// Downloads at once.
    pub downloads: tokio::sync::Semaphore,
    /// Builds at once: one, which has all cores.
    pub compiles: tokio::sync::Semaphore,
    in_flight: wheels::InFlight,
    pub(crate) settings: IoSettings,
}

/// The world cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum IoError {
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl Explain for IoError {
    fn kind(&self) -> Kind {
        match self {
            Self::Cache(error) => error.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Cache(error) => error.hints(),
        }
    }
}

impl Io {
    /// Opens the cache and makes the HTTP client; touches no network.
    pub fn new(settings: IoSettings) -> Result<Self, IoError> {
        Ok(Self {
            cache: Cache::open(&settings.cache_dir)?,
            http: Http::new(&settings),
            downloads: tokio::sync::Semaphore::new(settings.concurrency.max(1)),
            compiles: tokio::sync::Semaphore::new(1),
            in_flight: wheels::InFlight::default(),
            settings,
        })
    }

    /// The same world with another cache.
    pub fn with_cache(&self, cache_dir: &Path) -> Result<Self, IoError> {
        Self::new(IoSettings { cache_dir: cache_dir.to_owned(), ..self.settings.clone() })
    }

    /// Whether only the cache may be used.
    pub fn offline(&self) -> bool {
        self.settings.offline
    }

    /// The present.
    pub fn now(&self) -> SystemTime {
        self.settings.now
    }

    /// Tells the listener.
    pub fn emit(&self, event: Event<'_>) {
        self.settings.events.emit(event);
    }

    /// Tells the listener a detail (`-v`).
    pub fn detail(&self, text: &str) {
        self.emit(Event::Detail { text });
    }
}
