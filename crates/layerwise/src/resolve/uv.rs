//! The only file that knows uv exists: how it is found or provided, how it is called, what it says.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, LazyLock};

use fs_err as fs;
use pep440_rs::Version;
use serde::Deserialize;

use super::pinned::{PinnedError, PinnedWheel};
use super::upstream::UpstreamError;
use crate::error::{Explain, Kind};
use crate::event::{Event, Stage};
use crate::input::{IndexOptions, Requirement};
use crate::io::{Bucket, CacheError, Io, WheelsError, make_executable};
use crate::model::target::Glibc;
use crate::model::{Sha256, Target};
use crate::wheel;

/// uv could not be had or could not be run.
#[derive(Debug, thiserror::Error)]
pub enum UvError {
    /// No uv for this machine.
    #[error("layerwise needs uv {minimum} or newer, and has none to provide for {host}")]
    NoneForHost {
        /// The oldest that would do.
        minimum: String,
        /// This machine.
        host: String,
    },
    /// The index does not have it.
    #[error("failed to provide uv: the index has no `{wheel}`")]
    NotOnIndex {
        /// The wheel.
        wheel: String,
    },
    /// The index failed.
    #[error("failed to provide uv")]
    Index(#[source] UpstreamError),
    /// Its wheel could not be had.
    #[error("failed to provide uv")]
    Wheel(#[source] WheelsError),
    /// Its wheel could not be unpacked.
    #[error("failed to unpack uv to `{}`", path.display())]
    Unpack {
        /// Where to.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// It could not be started.
    #[error("failed to run `{}`", path.display())]
    Run {
        /// The program.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file for it, or from it, could not be written or read.
    #[error("failed to exchange files with uv")]
    Exchange(#[source] std::io::Error),
}

impl Explain for UvError {
    fn kind(&self) -> Kind {
        match self {
            Self::Index(error) => error.kind(),
            Self::Wheel(error) => error.kind(),
            Self::Cache(error) => error.kind(),
            _ => Kind::System,
        }
    }

    fn hints(&self) -> Vec<String> {
        let mut hints = match self {
            Self::Index(error) => error.hints(),
            Self::Wheel(error) => error.hints(),
            Self::Cache(error) => return error.hints(),
            Self::Run { .. } | Self::Exchange(_) => return Vec::new(),
            _ => Vec::new(),
        };
        let pinned = &PINNED;
        hints.push(format!("install uv {} or newer so that it is on PATH (`pip install uv`)", pinned.minimum));
        hints
    }
}

impl From<PinnedError> for UvError {
    fn from(error: PinnedError) -> Self {
        match error {
            PinnedError::NotOnIndex(wheel) => Self::NotOnIndex { wheel },
            PinnedError::Index(error) => Self::Index(error),
            PinnedError::Wheel(error) => Self::Wheel(error),
        }
    }
}

#[derive(Deserialize)]
struct Pinned {
    minimum: Version,
    version: String,
    wheels: BTreeMap<String, PinnedWheel>,
}

/// Part of the program: a test reads it, so it cannot fail to parse in a release.
static PINNED: LazyLock<Pinned> = LazyLock::new(|| toml::from_str(include_str!("uv.toml")).expect("uv.toml is tested"));

/// A uv that can be called.
#[derive(Debug, Clone)]
pub struct Uv {
    program: PathBuf,
}

/// What uv said.
pub struct Answer {
    /// The lock it wrote, if it succeeded.
    pub pylock: Option<String>,
    /// What it wrote to stderr.
    pub stderr: String,
    /// The directory that relative paths in the lock count from; it is gone.
    pub dir: PathBuf,
}

/// Versions to choose.
pub struct Compile<'a> {
    /// uv's working directory: relative paths count from it.
    pub dir: &'a Path,
    /// What is wanted.
    pub requirements: &'a [Requirement],
    /// What is allowed of whatever comes along.
    pub constraints: &'a [Requirement],
    /// Nothing else may come along.
    pub no_deps: bool,
    /// The index to use, and no other.
    pub index_url: &'a str,
    /// For what.
    pub target: Target,
}

impl Uv {
    /// The uv on PATH if it is new enough, else the pinned one, from the cache or the package index.
    pub async fn find(io: &Arc<Io>, indexes: &IndexOptions) -> Result<Self, UvError> {
        if let Some(program) = io.settings.uv.clone() {
            let found = Self { program };
            match found.version(io).await {
                Some(version) if version >= PINNED.minimum => return Ok(found),
                Some(version) => io.detail(&format!("uv {version} on PATH is older than {}: not used", PINNED.minimum)),
                None => io.detail(&format!("`{}` is not a uv that runs: not used", found.program.display())),
            }
        }
        Self::provide(io, indexes).await
    }

    async fn version(&self, io: &Io) -> Option<Version> {
        let output = self.command(io).arg("--version").output().await.ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        text.strip_prefix("uv ")?.split_whitespace().next()?.parse().ok()
    }

    async fn provide(io: &Arc<Io>, indexes: &IndexOptions) -> Result<Self, UvError> {
        let host = format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH);
        let none = || UvError::NoneForHost { minimum: PINNED.minimum.to_string(), host: host.clone() };
        let pinned = PINNED.wheels.get(&host).ok_or_else(none)?;
        let suffix = std::env::consts::EXE_SUFFIX;
        let key = format!("uv-{}-{host}{suffix}", PINNED.version);
        let program = io.cache.path(Bucket::Tools, &key);
        if program.exists() {
            return Ok(Self { program });
        }
        let item = format!("uv {}", PINNED.version);
        io.emit(Event::Started { stage: Stage::Provision, item: &item, bytes: None });
        let provided = Self::provide_into(io, indexes, pinned, &key).await;
        io.emit(Event::Finished { stage: Stage::Provision, item: &item });
        provided.map(|()| Self { program })
    }

    async fn provide_into(
        io: &Arc<Io>,
        indexes: &IndexOptions,
        pinned: &PinnedWheel,
        key: &str,
    ) -> Result<(), UvError> {
        let cached = pinned.get(indexes, io).await?;
        let path = io.cache.path(Bucket::Tools, key);
        let unpack = |source: Box<dyn std::error::Error + Send + Sync>| UvError::Unpack { path: path.clone(), source };
        let wanted = format!("/scripts/uv{}", std::env::consts::EXE_SUFFIX);
        let member = cached.index.members.iter().find(|member| member.name.ends_with(&wanted));
        let member = member.ok_or_else(|| unpack("it is not in its wheel".into()))?;
        let mut wheel_file = fs::File::open(&cached.path).map_err(|error| unpack(error.into()))?;
        let mut aside = io.cache.aside(Bucket::Tools)?;
        wheel::extract(&mut wheel_file, member, &mut aside).map_err(|error| unpack(error.into()))?;
        aside.flush().map_err(|error| unpack(error.into()))?;
        make_executable(aside.path()).map_err(|error| unpack(error.into()))?;
        Ok(io.cache.place(aside, Bucket::Tools, key)?)
    }

    /// uv with nothing of the caller's uv or pip configuration.
    fn command(&self, io: &Io) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.program);
        command.env_clear().stdin(Stdio::null()).kill_on_drop(true);
        let mut no_proxy = OsString::from("127.0.0.1,localhost");
        for (key, value) in &io.settings.child_env {
            if key.eq_ignore_ascii_case("NO_PROXY") {
                no_proxy.push(",");
                no_proxy.push(value);
            } else if !is_of_an_installer(key) {
                command.env(key, value);
            }
        }
        // The view is on loopback: no proxy may stand between.
        command.env("NO_PROXY", &no_proxy).env("no_proxy", &no_proxy);
        command.env("UV_NO_CONFIG", "1").env("UV_NO_PROGRESS", "1").env("NO_COLOR", "1");
        command.env("UV_CACHE_DIR", io.cache.bucket(Bucket::Uv));
        // The view answers when the real index has: after all our tries, each of which may take the whole timeout.
        let patience = io.settings.http_timeout.as_secs() * 5 + 60;
        command.env("UV_HTTP_TIMEOUT", patience.to_string());
        command
    }

    /// Chooses versions: `uv pip compile` with one index, to a `pylock.toml`.
    pub async fn compile(&self, io: &Io, work: &Compile<'_>) -> Result<Answer, UvError> {
        let exchange = tempfile::tempdir().map_err(UvError::Exchange)?;
        let lines = |requirements: &[Requirement]| {
            requirements.iter().map(|requirement| format!("{}\n", requirement.text)).collect::<String>()
        };
        let requirements = exchange.path().join("requirements.txt");
        fs::write(&requirements, lines(work.requirements)).map_err(UvError::Exchange)?;
        let mut command = self.command(io);
        command.current_dir(work.dir);
        command.args(["pip", "compile", "--quiet", "--no-header", "--no-annotate", "--format", "pylock.toml"]);
        command.arg("--python-version").arg(work.target.runtime.python.to_string());
        command.arg("--python-platform").arg(platform(work.target));
        if work.no_deps {
            command.arg("--no-deps");
        }
        if !work.constraints.is_empty() {
            let constraints = exchange.path().join("constraints.txt");
            fs::write(&constraints, lines(work.constraints)).map_err(UvError::Exchange)?;
            command.arg("--constraints").arg(constraints);
        }
        // In the environment, not among the arguments: those are for all users of the machine to see.
        command.env("UV_DEFAULT_INDEX", work.index_url);
        command.arg(&requirements);
        let builds = work.requirements.iter().chain(work.constraints).any(|one| !is_of_an_index(&one.text));
        if builds {
            command.envs(io.git_env());
        }
        self.run(io, command, exchange.path(), builds).await
    }

    /// Turns `uv.lock` into a `pylock.toml` for all platforms, without the project itself and without its
    /// development groups.
    pub async fn export(
        &self,
        io: &Io,
        project_dir: &Path,
        extras: impl Iterator<Item = &String>,
        groups: impl Iterator<Item = &String>,
    ) -> Result<Answer, UvError> {
        let exchange = tempfile::tempdir().map_err(UvError::Exchange)?;
        let mut command = self.command(io);
        command.current_dir(project_dir);
        command.args(["export", "--quiet", "--no-header", "--frozen", "--no-default-groups", "--no-emit-project"]);
        command.args(["--format", "pylock.toml"]);
        for extra in extras {
            command.arg("--extra").arg(extra);
        }
        for group in groups {
            command.arg("--group").arg(group);
        }
        self.run(io, command, exchange.path(), false).await
    }

    /// A build environment at `dir`, on `python`.
    pub async fn venv(&self, python: &Path, dir: &Path, io: &Io) -> Result<(), UvError> {
        let mut command = self.command(io);
        command.args(["venv", "--quiet", "--no-project", "--relocatable", "--python"]).arg(python).arg(dir);
        let output = self.output(&mut command).await?;
        if output.status.success() {
            return Ok(());
        }
        Err(UvError::Exchange(std::io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())))
    }

    /// Installs wheels of `requirements` into the environment `scratch/env`, from one index; uv's cache is beside it.
    /// What uv said, where it could not.
    pub async fn install(
        &self,
        requirements: &[String],
        index_url: &str,
        scratch: &Path,
        io: &Io,
    ) -> Result<Result<(), String>, UvError> {
        let list = scratch.join("requirements.txt");
        let lines: String = requirements.iter().map(|one| format!("{}\n", one.replace(['\n', '\r'], " "))).collect();
        fs::write(&list, lines).map_err(UvError::Exchange)?;
        let mut command = self.command(io);
        command
            .args(["pip", "install", "--quiet", "--no-build", "--python"])
            .arg(scratch.join("env"))
            .arg("-r")
            .arg(&list);
        command.current_dir(scratch).env("UV_DEFAULT_INDEX", index_url);
        // The view's address is another one every time: what uv would keep for it is of no use later.
        command.env("UV_CACHE_DIR", scratch.join("uv-cache"));
        let output = self.output(&mut command).await?;
        let said = || {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let lines =
                text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains("http://127.0.0.1"));
            lines.take(12).collect::<Vec<_>>().join(" ")
        };
        Ok(if output.status.success() { Ok(()) } else { Err(said()) })
    }

    /// Exactly what is installed in an environment, `name==version`, sorted; empty where uv cannot say.
    pub async fn freeze(&self, python: &Path, io: &Io) -> Vec<String> {
        let mut command = self.command(io);
        command.args(["pip", "freeze", "--quiet", "--python"]).arg(python);
        let Ok(output) = self.output(&mut command).await else { return Vec::new() };
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    /// A Python of this version that uv knows of.
    pub async fn find_python(&self, version: &str, io: &Io) -> Option<PathBuf> {
        let mut command = self.command(io);
        command.args(["python", "find", "--quiet", "--no-project", "--no-python-downloads", version]);
        let output = self.output(&mut command).await.ok().filter(|output| output.status.success())?;
        Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
    }

    /// Has uv get a Python of this version; what it said, where it could not.
    pub async fn install_python(&self, version: &str, io: &Io) -> Result<(), String> {
        let mut command = self.command(io);
        command.args(["python", "install", "--quiet", "--no-bin", version]);
        let output = self.output(&mut command).await.map_err(|error| crate::error::chain(&error))?;
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).lines().map(str::trim).take(3).collect::<Vec<_>>().join(" "))
    }

    async fn run(
        &self,
        io: &Io,
        mut command: tokio::process::Command,
        exchange: &Path,
        builds: bool,
    ) -> Result<Answer, UvError> {
        let written = exchange.join("pylock.toml");
        command.arg("--output-file").arg(&written);
        command.stdout(Stdio::null());
        // uv wants an interpreter only to ask it about itself, and with a target named it uses none of the answers,
        // unless it has something to build. Finding one and asking it takes up to a second (pyenv), and there may be
        // none: so uv is given a stand-in, and looks for itself only where that does not do.
        if let Some(python) = stand_in(io, builds)? {
            let output = self.output(again(&command).arg("--python").arg(python)).await?;
            if output.status.success() || !is_about_python(&output.stderr) {
                return answer(&output, &written);
            }
            io.detail("uv did not take the stand-in for Python: it looks for a real one");
        }
        // The first one there is. Without this uv asks every Python on the machine for the target's exact version.
        answer(&self.output(command.args(["--python", ">=3.9"])).await?, &written)
    }

    async fn output(&self, command: &mut tokio::process::Command) -> Result<std::process::Output, UvError> {
        command.output().await.map_err(|source| UvError::Run { path: self.program.clone(), source })
    }
}

/// Whether a variable configures uv, pip or an environment for them: what counts of those is in the index settings.
fn is_of_an_installer(key: &std::ffi::OsStr) -> bool {
    let key = key.to_string_lossy();
    ["UV_", "PIP_", "PYTHON"].iter().any(|prefix| key.starts_with(prefix))
        || key == "VIRTUAL_ENV"
        || key == "CONDA_PREFIX"
}

/// The same command once more.
fn again(command: &tokio::process::Command) -> tokio::process::Command {
    let command = command.as_std();
    let mut copy = tokio::process::Command::new(command.get_program());
    copy.args(command.get_args()).env_clear().kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::null());
    copy.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    if let Some(dir) = command.get_current_dir() {
        copy.current_dir(dir);
    }
    copy
}

fn answer(output: &std::process::Output, written: &Path) -> Result<Answer, UvError> {
    let pylock = output.status.success().then(|| fs::read_to_string(written)).transpose();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let dir = written.parent().map(Path::to_owned).unwrap_or_default();
    Ok(Answer { pylock: pylock.map_err(UvError::Exchange)?, stderr, dir })
}

/// Whether a failure of uv has to do with the interpreter, not with the packages.
fn is_about_python(stderr: &[u8]) -> bool {
    let text = String::from_utf8_lossy(stderr);
    !text.contains("No solution found") && (text.contains("interpreter") || text.contains("Querying Python"))
}

/// Whether a requirement is of an index, not of a path, URL or repository that uv may have to build.
fn is_of_an_index(text: &str) -> bool {
    let plain = text.split(';').next().unwrap_or(text);
    !plain.contains('@') && !plain.contains('/') && !plain.contains('\\') && !plain.trim_start().starts_with('.')
}

/// A program that answers uv's questions about an interpreter. What it has to answer is private to uv; where uv does
/// not take the answer it says so. `None` where there is something to build, and on Windows (a script is no program
/// there).
fn stand_in(io: &Io, builds: bool) -> Result<Option<PathBuf>, UvError> {
    if builds || cfg!(not(unix)) {
        return Ok(None);
    }
    let place = io.cache.bucket(Bucket::Tools).display().to_string();
    let scheme =
        serde_json::json!({ "platlib": place, "purelib": place, "include": place, "scripts": place, "data": place });
    let answer = serde_json::json!({
        "result": "success",
        "markers": {
            "implementation_name": "cpython", "implementation_version": "3.13.0", "os_name": "posix",
            "platform_machine": "x86_64", "platform_python_implementation": "CPython", "platform_release": "",
            "platform_system": "Linux", "platform_version": "", "python_full_version": "3.13.0",
            "python_version": "3.13", "sys_platform": "linux",
        },
        "sys_base_prefix": place, "sys_base_exec_prefix": place, "sys_prefix": place,
        "sys_base_executable": place, "sys_executable": place, "sys_path": [place], "site_packages": [place],
        "stdlib": place, "extension_suffixes": [".so"], "standalone": false, "scheme": scheme, "virtualenv": scheme,
        "os": { "name": "manylinux", "major": 2, "minor": 17 }, "arch": "x86_64",
        "manylinux_compatible": true, "gil_disabled": false, "debug_enabled": false, "pointer_size": "64",
        // Wanted since uv 0.13; older ones do not look at it.
        "cpu_info": { "unavailable": "this is no interpreter" },
    });
    // With what the shell itself has: there may be nothing on PATH.
    let text = format!("#!/bin/sh\nprintf '%s\\n' '{}'\n", answer.to_string().replace('\'', "'\\''"));
    let key = format!("python-{}", &Sha256::of(text.as_bytes()).to_string()[..16]);
    let path = io.cache.path(Bucket::Tools, &key);
    if !path.exists() {
        let mut aside = io.cache.aside(Bucket::Tools)?;
        aside.write_all(text.as_bytes()).map_err(UvError::Exchange)?;
        make_executable(aside.path()).map_err(UvError::Exchange)?;
        io.cache.place(aside, Bucket::Tools, &key)?;
    }
    Ok(Some(path))
}

/// The platform to name to uv. It knows no glibc 2.26: 2.28 is the next it knows, and the view keeps from it what
/// needs 2.27 or 2.28.
fn platform(target: Target) -> String {
    let Glibc(major, minor) = target.runtime.glibc;
    let known =
        [17, 28, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40].into_iter().find(|known| *known >= minor).unwrap_or(40);
    format!("{}-manylinux_{major}_{known}", target.architecture.machine())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WheelName;

    #[test]
    fn the_pins_parse_and_name_one_version() {
        assert!(PINNED.version.parse::<Version>().unwrap() >= PINNED.minimum);
        assert_eq!(PINNED.wheels.len(), 6);
        for (host, pinned) in &PINNED.wheels {
            let wheel: WheelName = pinned.name.parse().unwrap();
            assert_eq!(wheel.version.to_string(), PINNED.version, "{host}");
        }
    }

    #[test]
    fn what_may_have_to_be_built() {
        for text in ["six", "six[a]>=1,!=2 ; python_version < '3.9'", "six==1.0+local"] {
            assert!(is_of_an_index(text), "{text}");
        }
        for text in ["./six", "six @ https://h/six.whl", "git+https://h/six", "C:\\six", ".", "six @ file:six"] {
            assert!(!is_of_an_index(text), "{text}");
        }
    }

    #[test]
    fn platforms() {
        let check = |runtime, architecture, expected| {
            assert_eq!(platform(Target::new(runtime, architecture, "2026-11-24").unwrap()), expected);
        };
        check("python3.11", "x86_64", "x86_64-manylinux_2_28");
        check("python3.13", "arm64", "aarch64-manylinux_2_34");
    }
}
