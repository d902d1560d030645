//! `cargo xtask verdicts`: is what `layerwise check` says of real wheels true?
//!
//! Two halves. [`wheels`]: the verdict on native code against `auditwheel`'s, reading the same file. [`running`]: the
//! whole static check of a package with all it needs against imports in a real Python (`check --run`). As in the survey
//! no line of layerwise's own code is used, only the program.
//!
//! `target/verdicts` keeps what was fetched, built and run (about 10 GB); what layerwise says is asked anew each time.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use fs_err as fs;
use serde_json::Value;

use crate::survey;
use crate::{root, say};

mod report;
mod running;
mod wheels;

pub(crate) use wheels::auditwheel;

const USAGE: &str = "usage: cargo xtask verdicts [--binary PATH] [--wheels | --running] [NAME…]

Without names: all projects, written to docs/verdicts.md. With names, or with one half only: printed.";

/// The pinned release that is installed from the index into `target/verdicts/venv`.
const AUDITWHEEL: &str = "6.8.2";

/// Wheels that are larger are left out.
const LARGEST: u64 = 120_000_000;

/// Beside the popular ones: projects whose native code is out of the ordinary (windows, sound, databases, Kerberos,
/// programs, ctypes). All targets of these are looked at.
const UNUSUAL: [&str; 24] = [
    "av",
    "awscrt",
    "ctranslate2",
    "faiss-cpu",
    "fiona",
    "gssapi",
    "ibm-db",
    "imageio-ffmpeg",
    "jpype1",
    "kaleido",
    "krb5",
    "lief",
    "opencv-python",
    "pygame",
    "pyogrio",
    "pyside6-essentials",
    "pysqlite3-binary",
    "python-magic-bin",
    "ruff",
    "shiboken6",
    "soundfile",
    "tree-sitter",
    "xmlsec",
    "zxing-cpp",
];

/// Runs the comparison. It needs `curl`, `python3` with `venv`, `timeout`, and a Python of each runtime.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let mut names = Vec::new();
    let (mut binary, mut with_wheels, mut with_running) = (None, true, true);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--binary" => binary = Some(PathBuf::from(args.next().ok_or(USAGE)?)),
            "--wheels" => with_running = false,
            "--running" => with_wheels = false,
            name if !name.starts_with('-') => names.push(name.to_owned()),
            _ => return Err(USAGE.to_owned()),
        }
    }
    let everything = names.is_empty();
    let projects = if everything { projects()? } else { names.into_iter().map(Project::unusual).collect() };
    let place = Place::new(binary.map_or_else(survey::built, Ok)?)?;
    let rows = if with_wheels { wheels::judged(&projects, &place)? } else { wheels::Judged::default() };
    let closures = if with_running { running::judged(&projects, &place)? } else { Vec::new() };
    let text = report::report(&place, &rows, &closures)?;
    if everything && with_wheels && with_running {
        fs::write(root().join("docs/verdicts.md"), &text).map_err(|error| error.to_string())?;
    }
    say(&text);
    Ok(())
}

/// A project, and whether all targets are looked at or every other one.
struct Project {
    name: String,
    unusual: bool,
}

impl Project {
    fn unusual(name: String) -> Self {
        Self { name, unusual: true }
    }
}

fn projects() -> Result<Vec<Project>, String> {
    let list = root().join("xtask/popular-native.txt");
    let text = fs::read_to_string(list).map_err(|error| error.to_string())?;
    let popular = text.lines().filter(|line| !line.starts_with('#'));
    let popular = popular.map(|name| Project { name: name.to_owned(), unusual: false });
    let unusual = UNUSUAL.iter().map(|name| Project::unusual((*name).to_owned()));
    Ok(popular.chain(unusual).collect())
}

/// Where everything is.
struct Place {
    directory: PathBuf,
    layerwise: PathBuf,
}

impl Place {
    fn new(layerwise: PathBuf) -> Result<Self, String> {
        let directory = root().join("target/verdicts");
        for name in ["wheels", "auditwheel", "pages", "zips", "runs", "empty"] {
            fs::create_dir_all(directory.join(name)).map_err(|error| error.to_string())?;
        }
        Ok(Self { directory, layerwise })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// layerwise in a directory without configuration, with its own cache, for at most five minutes.
    fn layerwise(&self, args: &[&str]) -> Result<Output, String> {
        let mut command = Command::new("timeout");
        command.arg("300").arg(&self.layerwise).args(args);
        command.env("LAYERWISE_CACHE_DIR", self.path("cache")).current_dir(self.path("empty"));
        command.stdin(Stdio::null()).output().map_err(|error| format!("failed to run `timeout`: {error}"))
    }

    /// `layerwise check … --json`: what it says for the one target. The only place that knows the document's shape
    /// around the findings.
    fn check(&self, artifact: &Path, runtime: &str, architecture: &str, more: &[&str]) -> Result<Value, String> {
        let artifact = artifact.to_str().ok_or("a path that is not UTF-8")?;
        let mut args = vec!["check", artifact, "--runtime", runtime, "--arch", architecture, "--json"];
        args.extend(more);
        let output = self.layerwise(&args)?;
        let mut document: Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("{artifact}: {error}: {}", last_line(&output.stderr)))?;
        let target = document["targets"][0].take();
        if target.is_null() { Err(format!("{artifact}: {}", last_line(&output.stderr))) } else { Ok(target) }
    }
}

/// The last words of a program.
fn last_line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

/// A text as JSON keeps it, empty where there is none.
fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_default()
}

/// `work` on each item, two at a time, in the order of the items.
fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((at, item)) = items.iter().enumerate().nth(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = work(item);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}
