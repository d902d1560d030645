//! Proof by running: modules of an artifact, imported by a real Python of the target's version and architecture, each
//! in a fresh process that sees what it would see on Lambda.
//!
//! ```text
//! <root>/opt/python/…  ─┐                         /opt (read-only), /var/task (read-only), /tmp
//! <root>/var/task/…    ─┼─► one process each with Lambda's sys.path and variables      ─► Outcome each
//! Python of the host   ─┘                         /var/lang, no network, no home
//! ```
//!
//! `sandbox.py` makes the root and keeps the time; `driver.py` imports, as Lambda's bootstrap.py and awslambdaric do.
//! What the kernel refuses (in a container, say) is done
//! without, and [`Isolation`] says so. What stays the host's is the C library and all of `/usr/lib`: whether the
//! *runtime* has a library or a symbol version is told by reading the files, not by running them here.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fs_err as fs;
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::error::{Explain, Kind};
use crate::model::Target;
use crate::model::target::Glibc;

mod environment;
mod find;
mod outcome;
mod process;
#[cfg(test)]
mod tests;

pub use find::{NoPython, Search, Unfit, find};

use process::{Report, Settings, Worker};

/// A Python that can stand in for the target's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Python {
    /// The interpreter itself, no shim and no link.
    pub path: PathBuf,
    /// What it is installed under, `sys.base_prefix`: its library is in `lib/python3.11` there.
    pub prefix: PathBuf,
    /// `3.11.7`.
    pub version: String,
    /// The minor version: 11.
    pub minor: u8,
    /// The kernel's word for its architecture: `x86_64`, `aarch64`.
    pub machine: String,
    /// The C library it runs on. What needs a newer one fails here; what Lambda's older one lacks does not.
    pub glibc: Glibc,
    /// What runs it, when it is not of this machine's architecture.
    pub emulator: Option<Emulator>,
    /// A Python of this machine's architecture that does what need not be emulated. Without one, this one does.
    pub helper: Option<PathBuf>,
}

/// A program that runs programs of another architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emulator {
    /// `qemu-aarch64-static`.
    pub program: PathBuf,
    /// Where the loader and the C library of that architecture are (qemu's `-L`), when not in this machine's root.
    pub sysroot: Option<PathBuf>,
}

/// What to import.
#[derive(Debug, Clone)]
pub struct Job {
    /// A directory laid out like Lambda's root: `opt/…` for layers, `var/task/…` for the function; either may be
    /// missing.
    pub root: PathBuf,
    /// What it is for.
    pub target: Target,
    /// Modules by their dotted names.
    pub modules: Vec<String>,
    /// The function's handler as configured: `index.handler`.
    pub handler: Option<String>,
    /// The function's own variables, over Lambda's.
    pub env: Vec<(String, String)>,
    /// How long one import may take. Lambda gives all of them together 10 s before it begins anew.
    pub time_limit: Duration,
    /// How many at once.
    pub at_once: usize,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Proof {
    /// One for each module, in the job's order; then the handler's.
    pub outcomes: Vec<Outcome>,
    /// What the modules were kept from.
    pub isolation: Isolation,
    /// The Python that ran them.
    pub python: Python,
}

/// What really kept the modules from the rest of the machine, and what did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolation {
    /// No network but a loopback of their own.
    pub network: Guard,
    /// Only `/tmp` can be written to, and that is a fresh one each time.
    pub read_only: Guard,
    /// The artifact was at `/opt` and `/var/task`, Python at `/var/lang`; and of the rest of the machine only
    /// `/usr`, `/etc` and the like were there, no home.
    pub real_paths: Guard,
    /// Processes could not see, outlive or stop others.
    pub processes: Guard,
}

/// One of the things that isolate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// It was there every time.
    InForce,
    /// It was not: why, as half a sentence.
    Missing(String),
}

/// What was imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A module, by its dotted name.
    Module(String),
    /// The handler, as configured.
    Handler(String),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Module(name) | Self::Handler(name) => f.write_str(name),
        }
    }
}

/// How one import went.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What was imported.
    pub subject: Subject,
    /// How long the import took; for one that did not come to its end, how long its process lived.
    pub took: Duration,
    /// How it ended.
    pub end: End,
    /// The end of what was printed, at most 64 KiB. Foreign text, as are all messages and names: it may hold control
    /// characters.
    pub stdout: String,
    /// The same of standard error.
    pub stderr: String,
}

/// How an import ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Well.
    Imported,
    /// With an exception.
    Failed {
        /// Where.
        during: During,
        /// The exception, then those it came from; never empty.
        raised: Vec<Raised>,
        /// What Lambda would answer, had the module been the handler's.
        answer: Answer,
    },
    /// A signal killed the process.
    Crashed {
        /// Linux's number of it.
        signal: i32,
        /// `SIGSEGV`; empty for one without a name.
        name: &'static str,
        /// The last module whose import was begun. It may have ended well: the chain knows better, where there is one.
        last_module: Option<String>,
        /// Where it was, as far as faulthandler could still tell.
        chain: Vec<Step>,
    },
    /// It did not come to an end.
    TimedOut {
        /// The time limit.
        after: Duration,
        /// As in [`Crashed`](Self::Crashed).
        last_module: Option<String>,
        /// As in [`Crashed`](Self::Crashed).
        chain: Vec<Step>,
    },
    /// The process ended by its own will, `sys.exit()` or `os._exit()`.
    Exited {
        /// With this code.
        code: i32,
        /// Where `sys.exit()` was called; empty for others.
        chain: Vec<Step>,
    },
}

/// How far Lambda's own code had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum During {
    /// Before the handler's turn: the artifact breaks what Lambda's bootstrap imports, or a `.pth` file ends it. So it
    /// is with any module.
    Bootstrap,
    /// The import.
    Import,
}

/// An exception.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Raised {
    /// The class's name: `ModuleNotFoundError`.
    pub error_type: String,
    /// Its message.
    pub message: String,
    /// The module that was not found, for a `ModuleNotFoundError`.
    pub missing: Option<String>,
    /// Through which files it came, outermost first, without importlib's own.
    pub chain: Vec<Step>,
}

/// One place of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "(String, u32, Option<String>, String)")]
pub struct Step {
    /// The file by its path on Lambda: `/opt/python/a/__init__.py`.
    pub file: String,
    /// The line, from 1; 0 where it is not known.
    pub line: u32,
    /// The module, where it is known.
    pub module: Option<String>,
    /// The function; `<module>` at module level.
    pub function: String,
}

impl From<(String, u32, Option<String>, String)> for Step {
    fn from((file, line, module, function): (String, u32, Option<String>, String)) -> Self {
        Self { file, line, module, function }
    }
}

/// What Lambda answers to whoever invokes the function: `errorType` and `errorMessage`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// `Runtime.ImportModuleError`.
    pub error_type: String,
    /// `Unable to import module 'index': No module named 'x'`.
    pub message: String,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error_type, self.message)
    }
}

impl End {
    /// What Lambda would answer; `None` where all is well. Messages of the platform (not of awslambdaric) have a
    /// `RequestId: … Error: ` before them there.
    pub fn answer(&self) -> Option<Answer> {
        match self {
            Self::Imported => None,
            Self::Failed { answer, .. } => Some(answer.clone()),
            Self::Crashed { signal, .. } => Some(outcome::crashed(*signal)),
            Self::TimedOut { after, .. } => Some(Answer {
                error_type: "Sandbox.Timedout".to_owned(),
                message: format!("Task timed out after {:.2} seconds", after.as_secs_f64()),
            }),
            Self::Exited { code, .. } => Some(outcome::exited(*code)),
        }
    }
}

/// The imports could not be run.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The artifact's directory, or ours.
    #[error("failed to prepare the imports")]
    Prepare(#[source] std::io::Error),
    /// A path that is not UTF-8.
    #[error("`{}` cannot be used here: it is not UTF-8", .0.display())]
    Path(PathBuf),
    /// The interpreter does not start.
    #[error("failed to start `{}`", path.display())]
    Start {
        /// The interpreter.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The interpreter started, and then did not do its part.
    #[error("`{}` does not import modules for us: {said}", path.display())]
    Broken {
        /// The interpreter.
        path: PathBuf,
        /// Its last words.
        said: String,
    },
}

impl Explain for ProveError {
    fn kind(&self) -> Kind {
        Kind::System
    }
}

/// Imports every module of `job`, and its handler, with `python`. `done` hears of each outcome as it comes, in any
/// order.
///
/// No failure of a module is an error here. Dropping the future ends all processes.
pub async fn run(job: &Job, python: &Python, mut done: impl FnMut(&Outcome)) -> Result<Proof, ProveError> {
    let root = fs::canonicalize(&job.root).map_err(ProveError::Prepare)?;
    let scratch = tempfile::Builder::new().prefix("layerwise-").tempdir().map_err(ProveError::Prepare)?;
    for name in ["root", "task"] {
        fs::create_dir(scratch.path().join(name)).map_err(ProveError::Prepare)?;
    }
    let modules = job.modules.iter().cloned().map(Subject::Module);
    let subjects: Vec<Subject> = modules.chain(job.handler.iter().cloned().map(Subject::Handler)).collect();
    let count = subjects.len();
    let work = Arc::new(Work {
        root,
        scratch: scratch.path().to_owned(),
        env: environment::variables(job.target, job.handler.as_deref(), &job.env),
        limit: job.time_limit,
        python: python.clone(),
        queue: std::sync::Mutex::new(subjects.into_iter().enumerate().rev().collect()),
    });
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let mut workers = JoinSet::new();
    for _ in 0..job.at_once.clamp(1, count.max(1)) {
        workers.spawn(import_from_queue(Arc::clone(&work), sender.clone()));
    }
    drop(sender);
    let mut outcomes: Vec<Option<Outcome>> = (0..count).map(|_| None).collect();
    let mut refused = BTreeMap::new();
    while let Some((at, outcome, missing)) = receiver.recv().await {
        done(&outcome);
        refused.extend::<BTreeMap<String, String>>(missing);
        outcomes[at] = Some(outcome);
    }
    while let Some(worker) = workers.join_next().await {
        // A panic of a task is ours.
        worker.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
    }
    let mut guard = |name: &str| refused.remove(name).map_or(Guard::InForce, Guard::Missing);
    let isolation = Isolation {
        network: guard("network"),
        read_only: guard("read_only"),
        real_paths: guard("real_paths"),
        processes: guard("processes"),
    };
    Ok(Proof { outcomes: outcomes.into_iter().flatten().collect(), isolation, python: python.clone() })
}

/// Longer ones are cut: `poll` takes no more than 24 days.
const LONGEST_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// What the workers share.
struct Work {
    root: PathBuf,
    scratch: PathBuf,
    env: BTreeMap<String, String>,
    limit: Duration,
    python: Python,
    /// The next one is last.
    queue: std::sync::Mutex<Vec<(usize, Subject)>>,
}

type Done = (usize, Outcome, BTreeMap<String, String>);

async fn import_from_queue(
    work: Arc<Work>,
    sender: tokio::sync::mpsc::UnboundedSender<Done>,
) -> Result<(), ProveError> {
    let root = process::text(&work.root)?;
    let emulator = work.python.emulator.as_ref();
    let sysroot = emulator.and_then(|emulator| emulator.sysroot.as_deref());
    let settings = Settings {
        root,
        scratch: process::text(&work.scratch)?,
        env: &work.env,
        limit: work.limit.min(LONGEST_LIMIT).as_secs_f64(),
        qemu: emulator.map(|emulator| process::text(&emulator.program)).transpose()?,
        sysroot: sysroot.map(process::text).transpose()?,
        real_paths: true,
        driver: process::DRIVER,
        executable: process::text(&work.python.path)?,
        prefix: process::text(&work.python.prefix)?,
        minor: work.python.minor,
        machine: &work.python.machine,
    };
    let mut worker = Worker::start(&work.python, &settings).await?;
    let next = || work.queue.lock().expect("no holder of the queue panics").pop();
    while let Some((at, subject)) = next() {
        let (handler, name) = match &subject {
            Subject::Module(name) => (false, name),
            Subject::Handler(name) => (true, name),
        };
        let mut report: Report = worker.ask(handler, name).await?;
        let refused = std::mem::take(&mut report.refused);
        let moved = (!report.real).then_some(root);
        let outcome = outcome::read(subject, report, work.limit, moved);
        // Nobody listens any more when another worker has failed.
        let _gone = sender.send((at, outcome, refused));
    }
    Ok(())
}
