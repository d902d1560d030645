//! The doors to the world: the cache on disk, the network, the uv process. Everything a stage needs of them is
//! in one [`Io`], made from plain values by whoever runs the library.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error::{Explain, Kind};
use crate::event::{Event, Events};
use crate::model::ContainerProgram;

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
    /// Programs that run containers, in the order in which they are tried.
    pub containers: Vec<(ContainerProgram, PathBuf)>,
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

/// Gives a program that was written here the mode of one.
#[cfg(unix)]
pub(crate) fn make_executable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

/// Elsewhere its name says it.
#[cfg(not(unix))]
pub(crate) fn make_executable(_: &Path) -> std::io::Result<()> {
    Ok(())
}

/// Does `work` where it may block, and hands its panic on.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The program is ending and will not do this any more: nor will anybody wait for it.
            Err(_) => std::future::pending().await,
        },
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::blocking;

    /// One blocking thread, busy; a second work in its queue; then the program ends.
    #[test]
    fn work_that_is_dropped_at_the_end_is_no_panic() {
        let runtime = tokio::runtime::Builder::new_multi_thread().max_blocking_threads(1).build().unwrap();
        runtime.spawn(blocking(|| std::thread::sleep(Duration::from_millis(300))));
        let queued = runtime.spawn(async {
            tokio::task::yield_now().await;
            blocking(|| ()).await;
        });
        std::thread::sleep(Duration::from_millis(50));
        runtime.shutdown_timeout(Duration::from_millis(10));
        assert!(queued.is_finished());
        let ended = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(queued);
        assert!(!ended.unwrap_err().is_panic());
    }
}
