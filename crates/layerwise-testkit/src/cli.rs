//! Hermetic runs of a binary, and their output in a form for snapshots.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::index::Served;

/// A command line to run with nothing of this machine in sight: no environment, its own home, cache, temporary and
/// working directory (kept for all runs of one `Cli`), `PATH` with uv and nothing else, 100 columns, no colour.
#[derive(Debug)]
#[must_use]
pub struct Cli {
    binary: PathBuf,
    root: TempDir,
    dir: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    path: Vec<PathBuf>,
    stdin: Vec<u8>,
    timeout: Duration,
    filters: Vec<(String, String)>,
}

impl Cli {
    /// For `env!("CARGO_BIN_EXE_layerwise")`.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        let root = tempfile::Builder::new().prefix("testkit-").tempdir().expect("the temporary directory is writable");
        for directory in ["home", "tmp", "bin", "project"] {
            fs_err::create_dir_all(root.path().join(directory)).expect("just made");
        }
        link(&crate::uv(), &root.path().join("bin").join(if cfg!(windows) { "uv.exe" } else { "uv" }));
        Self {
            binary: binary.into(),
            dir: root.path().join("project"),
            path: vec![root.path().join("bin")],
            root,
            args: Vec::new(),
            env: Vec::new(),
            stdin: Vec::new(),
            timeout: Duration::from_secs(120),
            filters: Vec::new(),
        }
    }

    /// Makes this index the default one (`UV_DEFAULT_INDEX`).
    pub fn index(self, served: &Served) -> Self {
        self.env("UV_DEFAULT_INDEX", served.url())
    }

    /// Replaces the arguments.
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args = args.into_iter().map(Into::into).collect();
        self
    }

    /// Runs in this directory instead of [`Cli::project`]. It shows as `[DIR]` in [`Run::text`].
    pub fn dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.dir = path.into();
        self
    }

    /// Sets a variable; it wins over the kit's own.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Puts no uv on `PATH`.
    pub fn without_uv(mut self) -> Self {
        self.path.remove(0);
        self.path.insert(0, self.root.path().join("nothing"));
        self
    }

    /// Puts one more directory on `PATH`.
    pub fn path(mut self, directory: impl Into<PathBuf>) -> Self {
        self.path.push(directory.into());
        self
    }

    /// What standard input holds; it is empty otherwise.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Kills the process after this time; two minutes otherwise.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Shows `text` as `name` in [`Run::text`].
    pub fn filter(mut self, text: impl Into<String>, name: impl Into<String>) -> Self {
        self.filters.push((text.into(), name.into()));
        self
    }

    /// Writes a file into the working directory.
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.dir.join(path);
        fs_err::create_dir_all(path.parent().expect("joined above")).expect("the directory is writable");
        fs_err::write(path, content).expect("the directory is writable");
        self
    }

    /// The working directory.
    pub fn project(&self) -> &Path {
        &self.dir
    }

    /// Its `HOME`.
    pub fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    /// Its `LAYERWISE_CACHE_DIR`.
    pub fn cache(&self) -> PathBuf {
        self.root.path().join("cache")
    }

    /// The process to be, for tests that kill it or run several at once.
    #[must_use]
    pub fn command(&self) -> Command {
        let root = self.root.path();
        let mut command = Command::new(&self.binary);
        command.args(&self.args).current_dir(&self.dir).env_clear();
        command.env("HOME", self.home()).env("USERPROFILE", self.home());
        command.env("LAYERWISE_CACHE_DIR", self.cache()).env("UV_CACHE_DIR", root.join("uv-cache"));
        command.env("TMPDIR", root.join("tmp")).env("TEMP", root.join("tmp")).env("TMP", root.join("tmp"));
        command.env("PATH", std::env::join_paths(&self.path).expect("no path of the kit holds a separator"));
        command.env("COLUMNS", "100").env("NO_COLOR", "1").env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        command.env("UV_PYTHON_DOWNLOADS", "never");
        // Lambda's dates pass; what the tests say must not.
        command.env("LAYERWISE_TODAY", "2026-11-24");
        if let Some(value) = std::env::var_os("SystemRoot") {
            command.env("SystemRoot", value); // without it Windows has no sockets
        }
        command.envs(self.env.iter().map(|(key, value)| (key, value)));
        command
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// If it cannot be started, or does not end in time.
    pub fn run(&self) -> Run {
        self.run_and(|_| {})
    }

    /// Runs it, and sends it SIGINT as soon as `when` says so.
    #[cfg(unix)]
    pub fn interrupted_when(&self, when: impl Fn() -> bool) -> Run {
        let sent = std::cell::Cell::new(false);
        self.run_and(|process| {
            if !sent.get() && when() {
                sent.set(true);
                drop(Command::new("kill").args(["-INT", &process.to_string()]).status());
            }
        })
    }

    /// Calls `meanwhile` with the process's id again and again.
    fn run_and(&self, meanwhile: impl Fn(u32)) -> Run {
        let mut command = self.command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.binary.display()));
        let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let content = self.stdin.clone();
        thread::spawn(move || stdin.as_mut().map(|stdin| stdin.write_all(&content)));
        let (stdout, stderr) = (read_aside(stdout), read_aside(stderr));
        let deadline = Instant::now() + self.timeout;
        let status = loop {
            if let Some(status) = child.try_wait().expect("our own child") {
                break status;
            }
            meanwhile(child.id());
            if Instant::now() > deadline {
                drop(child.kill());
                let stderr = stderr.join().unwrap_or_default();
                panic!("{command:?} did not end in {:?}; it said:\n{stderr}", self.timeout);
            }
            thread::sleep(Duration::from_millis(5));
        };
        let (stdout, stderr) = (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
        Run { code: status.code(), stdout, stderr, filters: self.all_filters() }
    }

    /// Longest first, so that a directory inside another keeps its own name.
    fn all_filters(&self) -> Vec<(String, String)> {
        let mut filters = Vec::new();
        for (path, name) in [(self.dir.as_path(), "[DIR]"), (self.root.path(), "[TMP]")] {
            filters.push((path.display().to_string(), name.to_owned()));
            if let Ok(real) = fs_err::canonicalize(path) {
                filters.push((real.display().to_string(), name.to_owned()));
            }
        }
        filters.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        self.filters.iter().cloned().chain(filters).collect()
    }
}

fn read_aside(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            drop(pipe.read_to_end(&mut bytes));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(unix)]
fn link(from: &Path, to: &Path) {
    fs_err::os::unix::fs::symlink(from, to).expect("the directory is new");
}

#[cfg(not(unix))]
fn link(from: &Path, to: &Path) {
    fs_err::copy(from, to).expect("the directory is new");
}

/// How a run ended.
#[derive(Debug, Clone)]
#[must_use]
pub struct Run {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output, as it came.
    pub stdout: String,
    /// Standard error, as it came.
    pub stderr: String,
    filters: Vec<(String, String)>,
}

impl Run {
    /// Exit code and both outputs for a snapshot: directories as `[DIR]` (working) and `[TMP]` (the kit's others),
    /// ports as `[PORT]`, durations as `[TIME]`.
    #[must_use]
    pub fn text(&self) -> String {
        let code = self.code.map_or("signal".to_owned(), |code| code.to_string());
        let text = format!("exit: {code}\n----- stdout -----\n{}\n----- stderr -----\n{}", self.stdout, self.stderr);
        let text = self.filters.iter().fold(text, |text, (from, to)| text.replace(from, to));
        without_durations(&without_ports(&text))
    }

    /// This run, which must have succeeded.
    ///
    /// # Panics
    /// With the outputs, if it failed.
    pub fn success(self) -> Self {
        assert_eq!(self.code, Some(0), "{self}");
        self
    }

    /// This run, which must have failed with this code.
    ///
    /// # Panics
    /// With the outputs, if it did not.
    pub fn failure(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

fn without_ports(text: &str) -> String {
    let mut text = text.to_owned();
    for host in ["127.0.0.1:", "localhost:"] {
        let mut pieces = text.split(host);
        let mut out = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let rest = piece.trim_start_matches(|c: char| c.is_ascii_digit());
            out += host;
            out += if rest.len() < piece.len() { "[PORT]" } else { "" };
            out += rest;
        }
        text = out;
    }
    text
}

/// `12ms`, `0.4s`, `1.2 s`, `1m 02s`: numbers with a unit of time, standing alone.
fn without_durations(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let alone =
            rest[..start].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '.' | '-' | '_'));
        out += &rest[..start];
        rest = &rest[start..];
        match duration(rest).filter(|_| alone) {
            Some(length) => {
                out += if out.ends_with("[TIME] ") { "" } else { "[TIME]" };
                if out.ends_with("[TIME] ") {
                    out.pop();
                }
                rest = &rest[length..];
            }
            None => {
                let length = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                out += &rest[..length];
                rest = &rest[length..];
            }
        }
    }
    out + rest
}

/// The length of the duration at the start of `text`.
fn duration(text: &str) -> Option<usize> {
    let number = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let spaces = usize::from(text[number..].starts_with(' '));
    let unit = &text[number + spaces..];
    let word = unit.find(|c: char| !c.is_alphanumeric()).unwrap_or(unit.len());
    let known = matches!((&unit[..word], spaces), ("ns" | "us" | "µs" | "ms" | "s", _) | ("m" | "min", 0));
    known.then_some(number + spaces + word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        let check = |input: &str, expected: &str| assert_eq!(without_durations(&without_ports(input)), expected);
        check(
            "http://127.0.0.1:40001/simple/ and localhost:1/x",
            "http://127.0.0.1:[PORT]/simple/ and localhost:[PORT]/x",
        );
        check("built in 0.43s", "built in [TIME]");
        check("12ms, 3 µs, 1.5 s.", "[TIME], [TIME], [TIME].");
        check("took 1m 02s of it", "took [TIME] of it");
        check("20 packages, 38.2 MB, python3.11", "20 packages, 38.2 MB, python3.11");
        check("sha256 4a7ms 3src cp311-cp311", "sha256 4a7ms 3src cp311-cp311");
        check("2 seconds-old files", "2 seconds-old files");
    }
}
