//! The processes that import: `sandbox.py` in the target's Python, asked one module after another.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use super::{Emulator, ProveError, Python};

const SANDBOX: &str = include_str!("sandbox.py");
pub(super) const DRIVER: &str = include_str!("driver.py");
/// The longest report read, in bytes: two texts of 64 KiB and a result of 1 MiB, as escaped as can be.
const LONGEST_REPORT: u64 = 16 << 20;
/// How much longer than a module's time limit an answer may take. `sandbox.py` gives up 30 s after it.
const GRACE: Duration = Duration::from_secs(90);

/// What `sandbox.py` is told once.
#[derive(Debug, Serialize)]
pub(super) struct Settings<'a> {
    /// The directory that holds `opt` and `var/task`.
    pub root: &'a str,
    /// A directory for it alone, with the empty directories `root` and `task`.
    pub scratch: &'a str,
    /// The environment of the modules.
    pub env: &'a BTreeMap<String, String>,
    /// Seconds for one module.
    pub limit: f64,
    /// The emulator, if one is needed, and its `-L`.
    pub qemu: Option<&'a str>,
    pub sysroot: Option<&'a str>,
    /// Whether the artifact is to be found under `/opt` and `/var/task`.
    pub real_paths: bool,
    pub driver: &'static str,
    /// The target's Python; see [`Python`].
    pub executable: &'a str,
    pub prefix: &'a str,
    pub minor: u8,
    pub machine: &'a str,
}

/// What it is asked each time.
#[derive(Debug, Serialize)]
struct Request<'a> {
    handler: bool,
    name: &'a str,
}

/// What it answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Report {
    /// What went wrong in `sandbox.py` itself.
    pub broken: Option<String>,
    /// Whether the driver came to its first line.
    pub started: bool,
    /// `exited` with a code, `killed` by a signal, `time` is up.
    pub status: (String, i32),
    /// From the start of the process to its end.
    pub seconds: f64,
    /// What was refused: `network`, `read_only`, `real_paths`, `processes`; each with a sentence.
    pub refused: BTreeMap<String, String>,
    /// Whether the artifact was under `/opt` and `/var/task`.
    pub real: bool,
    /// The last 64 KiB of each.
    pub stdout: String,
    pub stderr: String,
    /// What faulthandler wrote.
    pub trace: String,
    /// The last module whose import was begun.
    pub last: Option<String>,
    /// What the driver wrote at its end.
    pub result: Option<String>,
}

/// One running `sandbox.py`. Dropping it ends it, and all that it started.
pub(super) struct Worker {
    program: PathBuf,
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    stderr: ChildStderr,
    patience: Duration,
}

impl Worker {
    /// Starts one.
    pub(super) async fn start(python: &Python, settings: &Settings<'_>) -> Result<Self, ProveError> {
        let mut command = match &python.helper {
            Some(helper) => command(helper, None),
            None => command(&python.path, python.emulator.as_ref()),
        };
        command.args(["-I", "-S", "-B", "-u", "-c", SANDBOX]).env_clear().current_dir(settings.scratch);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // Out of the terminal's foreground: an interrupt is layerwise's to take.
        #[cfg(unix)]
        command.process_group(0);
        let start = |source| ProveError::Start { path: python.path.clone(), source };
        let mut child = command.spawn().map_err(start)?;
        let mut taken = || Some((child.stdin.take()?, child.stdout.take()?, child.stderr.take()?));
        let (stdin, stdout, stderr) = taken().expect("all three are piped");
        let patience = Duration::try_from_secs_f64(settings.limit).unwrap_or_default() + GRACE;
        let program = python.path.clone();
        let mut worker = Self { program, child, stdin, stdout: BufReader::new(stdout), stderr, patience };
        worker.send(settings).await?;
        Ok(worker)
    }

    /// Has it import one module, or the handler.
    pub(super) async fn ask(&mut self, handler: bool, name: &str) -> Result<Report, ProveError> {
        self.send(&Request { handler, name }).await?;
        let mut line = Vec::new();
        let mut stdout = (&mut self.stdout).take(LONGEST_REPORT);
        let read = tokio::time::timeout(self.patience, stdout.read_until(b'\n', &mut line)).await;
        let report: Option<Report> = match read {
            Ok(Ok(_)) => serde_json::from_slice(&line).ok(),
            Ok(Err(_)) | Err(_) => None,
        };
        match report {
            Some(Report { broken: Some(what), .. }) => Err(self.error(&what)),
            Some(report) if !report.started => Err(self.error(&report.stderr)),
            Some(report) => Ok(report),
            None => Err(self.last_words().await),
        }
    }

    async fn send(&mut self, value: &impl Serialize) -> Result<(), ProveError> {
        let mut line = serde_json::to_vec(value).expect("strings and numbers are JSON");
        line.push(b'\n');
        match self.stdin.write_all(&line).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.last_words().await),
        }
    }

    /// The error of a worker that no longer answers.
    async fn last_words(&mut self) -> ProveError {
        self.child.start_kill().ok();
        let mut text = Vec::new();
        let mut stderr = (&mut self.stderr).take(64 << 10);
        tokio::time::timeout(Duration::from_secs(2), stderr.read_to_end(&mut text)).await.ok();
        self.error(&String::from_utf8_lossy(&text))
    }

    fn error(&self, words: &str) -> ProveError {
        let path = self.program.clone();
        let said = words.trim().lines().next_back().unwrap_or("it said nothing").to_owned();
        ProveError::Broken { path, said }
    }
}

/// An interpreter, through its emulator if it needs one.
pub(super) fn command(python: &Path, emulator: Option<&Emulator>) -> Command {
    let Some(emulator) = emulator else {
        return Command::new(python);
    };
    let mut command = Command::new(&emulator.program);
    if let Some(sysroot) = &emulator.sysroot {
        command.arg("-L").arg(sysroot);
    }
    command.arg(python);
    command
}

/// A path as text, for JSON.
pub(super) fn text(path: &Path) -> Result<&str, ProveError> {
    path.to_str().ok_or_else(|| ProveError::Path(path.to_owned()))
}
