//! Packages with all they need: what the static check says and what happens when they are imported.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use fs_err as fs;
use serde_json::Value;

use super::{Place, Project, each, text};
use crate::survey::{TARGETS, Target, put};
use crate::{root, say};

/// Imports all extension modules, which importing packages alone does not.
const PROBE: &str = include_str!("probe.py");
const PROBE_MODULE: &str = "layerwise_probe";

/// What is imported through qemu: slow.
const EMULATED: [&str; 5] = ["cryptography", "lxml", "numpy", "orjson", "pyyaml"];

/// A package and all it needs, for a target.
pub(super) struct Closure {
    pub(super) project: String,
    pub(super) runtime: &'static str,
    pub(super) architecture: &'static str,
    pub(super) state: State,
}

pub(super) enum State {
    /// Why there is no zip.
    NotBuilt(String),
    Checked(Checked),
}

pub(super) struct Checked {
    /// The static check's findings.
    pub(super) findings: Vec<Value>,
    /// What was imported, if it could be.
    pub(super) run: Option<Run>,
}

pub(super) struct Run {
    /// Modules at the top, with their outcome.
    pub(super) imports: Vec<(String, String)>,
    /// The findings about those that failed.
    pub(super) findings: Vec<Value>,
    /// How many extension modules were imported one by one, and the failures; `Err`: how that ended.
    pub(super) probe: Result<(usize, Vec<Value>), String>,
}

pub(super) fn judged(projects: &[Project], place: &Place) -> Result<Vec<Closure>, String> {
    let probe = place.path("probe");
    fs::create_dir_all(&probe).map_err(|error| error.to_string())?;
    fs::write(probe.join(format!("{PROBE_MODULE}.py")), PROBE).map_err(|error| error.to_string())?;
    let python = root().join("target/arm64-python/usr/bin/python3.11");
    if !python.exists() {
        crate::run("sh", &["xtask/arm64-python.sh"], &[])?;
    }
    let mut work: Vec<(&str, &Target, bool)> = Vec::new();
    for (at, project) in projects.iter().enumerate() {
        for target in &TARGETS {
            let emulated = target.minor == 11 && EMULATED.contains(&project.name.as_str());
            // Of arm64 every other one, for each of the Pythons.
            let turn = (target.minor == 11) == (at % 2 == 0);
            if target.machine == "x86_64" || turn || emulated {
                work.push((&project.name, target, target.machine == "x86_64" || emulated));
            }
        }
    }
    work.sort_by_key(|(_, target, _)| target.machine != "x86_64");
    each(&work, |(name, target, runs)| closure(name, target, *runs, &python, place)).into_iter().collect()
}

fn closure(name: &str, target: &Target, runs: bool, python: &Path, place: &Place) -> Result<Closure, String> {
    let (runtime, architecture) = (target.runtime, target.architecture);
    let stem = format!("{name}-{runtime}-{architecture}");
    let done = |state| Ok(Closure { project: name.to_owned(), runtime, architecture, state });
    let zip = place.path("zips").join(format!("{stem}.zip"));
    let path = zip.to_str().ok_or("a path that is not UTF-8")?;
    let failure = place.path("zips").join(format!("{stem}.txt"));
    if let Ok(words) = fs::read_to_string(&failure) {
        return done(State::NotBuilt(words));
    }
    if !zip.exists() {
        let target = ["--runtime", runtime, "--arch", architecture];
        let mut args = vec!["build", "-p", name, "--no-check", "--quiet", "--output", path];
        args.extend(target);
        let output = place.layerwise(&args)?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            let words = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
            let words = if words.is_empty() { output.status.to_string() } else { words };
            fs::write(&failure, &words).map_err(|error| error.to_string())?;
            return done(State::NotBuilt(words));
        }
    }
    let mut checked = match place.check(&zip, runtime, architecture, &[]) {
        Ok(checked) => checked,
        Err(words) => return done(State::NotBuilt(words)),
    };
    let findings = findings(&mut checked);
    let run = if runs { Some(run(&zip, &stem, target, python, place)?) } else { None };
    say(&stem);
    done(State::Checked(Checked { findings, run }))
}

fn run(zip: &Path, stem: &str, target: &Target, python: &Path, place: &Place) -> Result<Run, String> {
    let kept = place.path("runs").join(format!("{stem}.json"));
    let mut document: Value = match fs::read(&kept) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.to_string())?,
        Err(_) => {
            let (zip, python) = (zip.to_str().unwrap_or_default(), python.to_str().unwrap_or_default());
            let mut more = vec!["--as", "function", "--layer", zip, "--run", "--time-limit", "200"];
            if target.machine != "x86_64" {
                more.extend(["--python", python]);
            }
            let document = place.check(&place.path("probe"), target.runtime, target.architecture, &more)?;
            fs::write(&kept, document.to_string()).map_err(|error| error.to_string())?;
            document
        }
    };
    let imports = document["run"]["imports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let imports = imports.iter().map(|import| (text(import, "module").to_owned(), text(import, "outcome").to_owned()));
    let imports = imports.filter(|(module, _)| module != PROBE_MODULE).collect();
    let about_runs = findings(&mut document).into_iter().filter(|finding| text(finding, "id").starts_with("run-"));
    let (probes, findings): (Vec<Value>, Vec<Value>) =
        about_runs.partition(|finding| finding["data"]["module"] == PROBE_MODULE);
    let probe = match probes.first() {
        Some(finding) => match text(&finding["data"], "message").strip_prefix("probe ") {
            Some(words) => {
                let told: Value = serde_json::from_str(words).map_err(|error| format!("{stem}: {error}: {words}"))?;
                let failed = told["failed"].as_array().cloned().unwrap_or_default();
                Ok((told["tried"].as_u64().and_then(|tried| tried.try_into().ok()).unwrap_or_default(), failed))
            }
            None => Err(text(finding, "text").to_owned()),
        },
        None => Err("the probe was not run".to_owned()),
    };
    Ok(Run { imports, findings, probe })
}

fn findings(checked: &mut Value) -> Vec<Value> {
    checked["findings"].as_array_mut().map(std::mem::take).unwrap_or_default()
}

/// What is put behind a missing library that is on this machine.
const HERE: &str = "on this machine";

/// Why a difference is none, by words of the line that tells it.
const REASONS: &[(&str, &str)] = &[
    (
        "No module named 'psutil'",
        "Extension modules of greenlet's tests, in a package that needs psutil (an optional requirement, of the extra \
         `test`). Nothing outside imports them, so the static check follows no import into it.",
    ),
    (
        "No module named '_cffi_backend'",
        "gevent and zstandard have a second implementation that uses cffi, imported on request; their metadata requires \
         cffi elsewhere only (on Windows, for PyPy). The import is in compiled code, which the static check cannot read.",
    ),
    (
        "`import soundfile`",
        "A miss. For python3.11 layerwise takes the wheel for any system, because the one that brings libsndfile is made \
         for glibc 2.28; the other one asks the system for libsndfile by name when it is imported. Nothing in its files \
         says for certain that this ends badly; the build could tell that a release has wheels for the platform and \
         that the one for any system was taken.",
    ),
    (
        "No module named '_pydevd_bundle'",
        "debugpy puts its vendored directory on `sys.path` first; the probe imports the modules by their full names.",
    ),
    (
        "No module named 'ruamel'",
        "The compiled `_ruamel_yaml` imports `ruamel.yaml`, without which it is of no use; its metadata does not require \
         it, and imports in compiled code cannot be read.",
    ),
    (
        "should be imported before psycopg_binary",
        "By design, and so it says itself: `raise ImportError` in plain code is nothing that the static check runs.",
    ),
    (
        "Bindings generation error",
        "By the probe alone: cv2's loader puts the directory on `sys.path` and imports the file as `cv2`.",
    ),
    (
        "most likely due to a circular import",
        "By the probe alone: the module can only be imported from the one that it imports itself.",
    ),
    (
        HERE,
        "This machine has the library (`ldconfig -p`), Lambda does not: the import works here and not there. That is \
         what the static check is for.",
    ),
];

/// Lines without the package they were seen with, and in which closures they were seen.
type Lines = BTreeMap<String, BTreeSet<String>>;

/// The page's second half.
pub(super) fn report(out: &mut String, closures: &[Closure]) -> Result<(), String> {
    let here = libraries_here()?;
    let mut counts = [0; 6];
    let [mut silent, mut told_of, mut wrong, mut notes, mut ended] = [(); 5].map(|()| Lines::new());
    let mut not_built = Vec::new();
    let mut static_errors = Lines::new();
    for closure in closures {
        let label = format!("{} {} {}", closure.project, closure.runtime, closure.architecture);
        let checked = match &closure.state {
            State::NotBuilt(why) => {
                not_built.push((label, why));
                continue;
            }
            State::Checked(checked) => checked,
        };
        counts[0] += 1;
        let errors = || checked.findings.iter().filter(|finding| finding["severity"] == "error");
        for finding in errors() {
            static_errors.entry(line_of(finding)).or_default().insert(label.clone());
        }
        let Some(run) = &checked.run else { continue };
        let failures = failures(run);
        counts[1] += 1;
        counts[2] += run.imports.len();
        counts[3] += run.imports.iter().filter(|(_, outcome)| outcome != "imported").count();
        match &run.probe {
            Ok((tried, failed)) => {
                counts[4] += tried;
                counts[5] += failed.len();
            }
            Err(words) => drop(ended.entry(words.clone()).or_default().insert(label.clone())),
        }
        for failure in &failures {
            let teller = checked.findings.iter().find(|finding| failure.told_by(finding));
            match teller {
                Some(teller) => {
                    let line = format!("{} ({} {})", failure.line(), text(teller, "severity"), text(teller, "id"));
                    told_of.entry(line).or_default().insert(label.clone());
                }
                None => drop(silent.entry(failure.line()).or_default().insert(label.clone())),
            }
        }
        for finding in errors().filter(|finding| !failures.iter().any(|failure| failure.told_by(finding))) {
            let library = text(&finding["data"], "library");
            let here = if here.contains(library) { format!(", {HERE}") } else { String::new() };
            wrong.entry(line_of(finding) + &here).or_default().insert(label.clone());
        }
        let promises = |finding: &&Value| {
            let root = finding["data"]["chain"][0].as_str().unwrap_or_default();
            let root = root.rsplit_once("site-packages/").map_or(root, |(_, rest)| rest);
            let root = root.trim_start_matches("/opt/python/").split(['/', '.']).next().unwrap_or_default();
            finding["severity"] == "note"
                && text(finding, "id").starts_with("import-")
                && run.imports.iter().any(|(module, outcome)| module == root && outcome == "imported")
        };
        for finding in checked.findings.iter().filter(promises) {
            notes.entry(line_of(finding)).or_default().insert(label.clone());
        }
    }
    put(
        out,
        &format!(
            "\n## Whole packages, against imports\n\n\
             Each project is built with all it needs (`layerwise build -p NAME --no-check`), checked, and then imported\n\
             by `check --run` in a real CPython on this machine: every module at the top, and by a probe every extension\n\
             module, which `check --run` alone does not. python3.11 and python3.13 on x86_64; on arm64 every other\n\
             project for each, without running, and {} through qemu (python3.11).\n\n\
             This machine has a newer glibc and more libraries than the runtimes: what is too new for them, or missing\n\
             there, works here. An import that works here is no proof that the static check is wrong; one that fails\n\
             here fails there, too, unless it is the probe that is to blame. The imports are made once and kept in `target/verdicts`, the static check is asked\n\
             anew.\n\n\
             - {} packages with all they need; {} of them were run; {} could not be built\n\
             - {} modules at the top imported, {} failed\n\
             - {} extension modules imported one by one, {} failed\n\
             - failures of which the static check says nothing: {}; of which it says something: {}\n\
             - different static errors: {}; of these with an import that works: {}\n\
             - notes about an import that finds nothing, though it works: {}\n",
            EMULATED.join(", "),
            counts[0],
            counts[1],
            not_built.len(),
            counts[2],
            counts[3],
            counts[4],
            counts[5],
            silent.len(),
            told_of.len(),
            static_errors.len(),
            wrong.len(),
            notes.len(),
        ),
    );
    section(out, "Failures of which the static check says nothing", &silent);
    section(out, "Static errors though the import works", &wrong);
    section(out, "Notes about a missing import though the import works", &notes);
    section(out, "Probes that ended otherwise", &ended);
    list(out, "Failures that the static check tells of", &told_of);
    list(out, "All static errors, those of arm64 included", &static_errors);
    *out += "\n### Not built\n\n";
    for (label, why) in not_built {
        let why: String = why.chars().take(300).collect();
        put(out, &format!("- {label}: {why}\n"));
    }
    Ok(())
}

/// Lines by their reasons.
fn section(out: &mut String, title: &str, lines: &Lines) {
    let mut reasons: BTreeMap<&str, Lines> = BTreeMap::new();
    for (line, labels) in lines {
        let whole = format!("{line} {}", labels.first().map(String::as_str).unwrap_or_default());
        let reason = REASONS.iter().find(|(words, _)| whole.contains(words));
        let reason = reason.map_or("**Not explained.**", |(_, reason)| reason);
        reasons.entry(reason).or_default().insert(line.clone(), labels.clone());
    }
    put(out, &format!("\n### {title}\n"));
    if lines.is_empty() {
        *out += "\nNone.\n";
    }
    for (reason, lines) in &reasons {
        put(out, &format!("\n{reason}\n\n"));
        each_line(out, lines);
    }
}

fn list(out: &mut String, title: &str, lines: &Lines) {
    put(out, &format!("\n### {title}\n\n"));
    each_line(out, lines);
}

fn each_line(out: &mut String, lines: &Lines) {
    for (line, labels) in lines {
        let mut shown: Vec<&str> = labels.iter().take(3).map(String::as_str).collect();
        let more = format!("{} more", labels.len().saturating_sub(3));
        if labels.len() > 3 {
            shown.push(&more);
        }
        put(out, &format!("- {line} — with {}\n", shown.join(", ")));
    }
}

/// A finding; one line for each library, however many files need it.
fn line_of(finding: &Value) -> String {
    let package = finding["package"].as_str().unwrap_or("no package");
    let id = text(finding, "id");
    match text(&finding["data"], "library") {
        library if id == "native-library-missing" => format!("{package}: {id}: {library}"),
        _ => format!("{package}: {id}: {} ({})", text(finding, "text"), text(finding, "file")),
    }
}

/// The sonames of the libraries that this machine has.
fn libraries_here() -> Result<BTreeSet<String>, String> {
    let output = Command::new("/sbin/ldconfig").arg("-p").output();
    let output = output.map_err(|error| format!("failed to run `ldconfig`: {error}"))?;
    let words = String::from_utf8_lossy(&output.stdout);
    Ok(words.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

/// An import that failed.
struct Failure<'r> {
    module: &'r str,
    package: Option<&'r str>,
    error: &'r str,
    message: &'r str,
}

fn failures(run: &Run) -> Vec<Failure<'_>> {
    let at_the_top = run.findings.iter().filter(|finding| text(finding, "id") != "run-limited").map(|finding| {
        let data = &finding["data"];
        let error = match text(data, "error_type") {
            "" => text(finding, "id"),
            error => error,
        };
        let package = finding["package"].as_str();
        Failure { module: text(data, "module"), package, error, message: text(data, "message") }
    });
    let probed = run.probe.iter().flat_map(|(_, failed)| failed).map(|failed| Failure {
        module: text(failed, "module"),
        package: None,
        error: text(failed, "type"),
        message: text(failed, "message"),
    });
    at_the_top.chain(probed).collect()
}

impl Failure<'_> {
    fn line(&self) -> String {
        let message = self.message.lines().next().unwrap_or_default();
        format!("`import {}`: {}: {message}", self.module, self.error)
    }

    /// Whether a static finding is about this: the same missing module or library, the same file, or, if it is an error
    /// or a warning about code, the same package.
    fn told_by(&self, finding: &Value) -> bool {
        let data = &finding["data"];
        let missing = self.message.split_once("No module named '").and_then(|(_, rest)| rest.split('\'').next());
        let module = text(data, "module");
        let same_module = missing.is_some_and(|missing| {
            !module.is_empty() && (missing == module || missing.starts_with(&format!("{module}.")))
        });
        let library = text(data, "library");
        let same_library = !library.is_empty() && self.message.contains(library);
        let code = ["native-", "abi-", "import-", "requirement-", "python-syntax", "sdk-", "stdlib-", "layout-"];
        let about_code = code.iter().any(|start| text(finding, "id").starts_with(start));
        let file = format!("/{}.", self.module.replace('.', "/"));
        let same_file = text(finding, "file").contains(&file);
        let same_package = self.package.is_some() && self.package == finding["package"].as_str();
        same_module || same_library || about_code && finding["severity"] != "note" && (same_file || same_package)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn which_finding_tells_of_a_failure() {
        let check = |module: &str, package: Option<&str>, message: &str, finding: Value, expected: bool| {
            let failure = Failure { module, package, error: "ImportError", message };
            assert_eq!(failure.told_by(&finding), expected, "{module} {message} {finding}");
        };
        let finding = |id: &str, severity: &str, data: Value| json!({ "id": id, "severity": severity, "package": "p", "file": "python/p/x.abi3.so", "data": data });
        let missing = || finding("import-missing", "note", json!({ "module": "q" }));
        check("p", None, "No module named 'q'", missing(), true);
        check("p", None, "No module named 'q.r'", missing(), true);
        check("p", None, "No module named 'qq'", missing(), false);
        let library = || finding("native-library-missing", "warning", json!({ "library": "libq.so.1" }));
        check("r", None, "libq.so.1: cannot open shared object file", library(), true);
        check("p.x", None, "something else", library(), true);
        check("p.y", None, "something else", library(), false);
        check("p", Some("p"), "something else", library(), true);
        check("p", Some("p"), "something else", finding("pth-file", "warning", json!({})), false);
        check("p", Some("p"), "something else", finding("abi-unmarked", "note", json!({})), false);
    }
}
