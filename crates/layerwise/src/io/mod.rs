//! The doors to the world: the cache on disk, the network, the uv process. Everything a stage needs of them is
//! in one [`Io`], made from plain values by whoever runs the library.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use url::Url;

use crate::error::{Explain, Kind};
use crate::event::{Consent, Event, Events};
use crate::input::Credentials;
use crate::model::ContainerProgram;

pub mod cache;
pub mod http;
pub mod wheels;

pub use cache::{Bucket, Cache, CacheError};
pub use http::{Http, HttpError, SafeUrl};
pub use wheels::{CachedWheel, Wanted, WantedFile, WheelsError};

/// What the library needs to know of the machine it runs on; nothing of it changes an artifact's bytes.
#[derive(Clone)]
pub struct IoSettings {
    /// The cache's root.
    pub cache_dir: PathBuf,
    /// Use only what is in the cache.
    pub offline: bool,
    /// Ask indexes again for what the cache has of them, and choose anew what builds are done with.
    pub refresh: bool,
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
    /// Who is asked before anything outside the cache changes.
    pub consent: Arc<dyn Consent>,
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
    /// `rustup` on PATH.
    pub rustup: Option<PathBuf>,
    /// Programs that run containers, in the order in which they are tried.
    pub containers: Vec<(ContainerProgram, PathBuf)>,
    /// `git` on PATH.
    pub git: Option<PathBuf>,
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
    /// Credentials of Git repositories, by their URL without them.
    repositories: Mutex<HashMap<String, Credentials>>,
    /// What the rustc of this machine says of itself.
    pub(crate) rustc_version: tokio::sync::OnceCell<Option<String>>,
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
            repositories: Mutex::default(),
            rustc_version: tokio::sync::OnceCell::new(),
            settings,
        })
    }

    /// The same world with another cache.
    pub fn with_cache(&self, cache_dir: &Path) -> Result<Self, IoError> {
        Self::new(IoSettings { cache_dir: cache_dir.to_owned(), ..self.settings.clone() })
    }

    /// Remembers the credentials that stood in a repository's URL, for this repository alone.
    pub fn know_repository(&self, url: &Url, credentials: Credentials) {
        let mut all = self.repositories.lock().expect("no code panics while holding the lock");
        all.insert(url.to_string(), credentials);
    }

    /// The credentials that stood in a repository's URL.
    pub(crate) fn of_repository(&self, url: &Url) -> Option<Credentials> {
        self.repositories.lock().expect("no code panics while holding the lock").get(url.as_str()).cloned()
    }

    /// The environment in which git asks nobody anything, over `child_env`: it fails instead.
    pub(crate) fn git_env(&self) -> Vec<(&'static str, OsString)> {
        let given = |name: &str| self.settings.child_env.iter().any(|(key, _)| key == name);
        let mut env: Vec<(&'static str, OsString)> =
            [("GIT_TERMINAL_PROMPT", "0"), ("GCM_INTERACTIVE", "never"), ("SSH_ASKPASS_REQUIRE", "never")]
                .map(|(key, value)| (key, value.into()))
                .to_vec();
        // A program that the user names for asking may answer by itself, as those of CI systems do.
        if !given("GIT_ASKPASS") {
            env.push(("GIT_ASKPASS", "true".into()));
        }
        if !given("GIT_SSH_COMMAND")
            && !given("GIT_SSH")
            && let Some(git) = &self.settings.programs.git
        {
            // The variable wins over this setting, so it has to say the same.
            let mut asks = std::process::Command::new(git);
            asks.args(["config", "--get", "core.sshCommand"]).stdin(std::process::Stdio::null());
            asks.env_clear().envs(self.settings.child_env.iter().map(|(key, value)| (key, value)));
            let answer = asks.output().ok().filter(|output| output.status.success());
            let ssh = answer.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
            let ssh = ssh.filter(|ssh| !ssh.is_empty()).unwrap_or_else(|| "ssh".to_owned());
            env.push(("GIT_SSH_COMMAND", format!("{ssh} -oBatchMode=yes").into()));
        }
        env
    }

    /// Whether only the cache may be used.
    pub fn offline(&self) -> bool {
        self.settings.offline
    }

    /// Whether what the cache has of indexes is to be asked for again.
    pub(crate) fn refreshes(&self) -> bool {
        self.settings.refresh
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
