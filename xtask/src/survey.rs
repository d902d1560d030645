//! `cargo xtask survey`: does layerwise take, of each popular native package, the newest release that has a wheel
//! for the target? The expected answer is decided here, straight from the index's file list and from PEP 425 and
//! PEP 600, **without a line of layerwise's own code**, and so must stay (no dependency on crate `layerwise`).

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use pep440_rs::{Version, VersionSpecifiers};
use serde_json::Value;

use crate::{root, say};

/// What a wheel has to fit.
pub(crate) struct Target {
    pub(crate) runtime: &'static str,
    pub(crate) architecture: &'static str,
    /// 3.`minor`
    pub(crate) minor: u64,
    /// For `requires-python`. A late patch release, as Lambda has.
    pub(crate) python: &'static str,
    pub(crate) machine: &'static str,
    /// 2.`glibc`, of Amazon Linux 2 or 2023.
    pub(crate) glibc: u64,
}

#[rustfmt::skip]
pub(crate) const TARGETS: [Target; 4] = [
    Target { runtime: "python3.11", architecture: "x86_64", minor: 11, python: "3.11.13", machine: "x86_64", glibc: 26 },
    Target { runtime: "python3.11", architecture: "arm64", minor: 11, python: "3.11.13", machine: "aarch64", glibc: 26 },
    Target { runtime: "python3.13", architecture: "x86_64", minor: 13, python: "3.13.7", machine: "x86_64", glibc: 34 },
    Target { runtime: "python3.13", architecture: "arm64", minor: 13, python: "3.13.7", machine: "aarch64", glibc: 34 },
];

const USAGE: &str = "usage: cargo xtask survey [--binary PATH] [--index URL] [NAME…]

Without names: all of xtask/popular-native.txt, written to docs/survey.md. With names: only these, printed.";

/// Runs the survey. It needs `curl`, and asks the index for one page for each package.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let mut names = Vec::new();
    let (mut binary, mut index) = (None, None);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--binary" => binary = Some(PathBuf::from(args.next().ok_or(USAGE)?)),
            "--index" => index = Some(args.next().ok_or(USAGE)?.as_str()),
            name if !name.starts_with('-') => names.push(name.to_owned()),
            _ => return Err(USAGE.to_owned()),
        }
    }
    let everything = names.is_empty();
    if everything {
        let list = root().join("xtask/popular-native.txt");
        let text = fs_err::read_to_string(list).map_err(|error| error.to_string())?;
        names.extend(text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned));
    }
    let layerwise = Layerwise { binary: binary.map_or_else(built, Ok)?, index, directory: scratch()? };
    let index = index.unwrap_or("https://pypi.org/simple/").trim_end_matches('/');
    let report = report(&surveyed(&names, index, &layerwise)?);
    if everything {
        fs_err::create_dir_all(root().join("docs")).map_err(|error| error.to_string())?;
        fs_err::write(root().join("docs/survey.md"), &report).map_err(|error| error.to_string())?;
    }
    say(&report);
    Ok(())
}

/// One package: what should be taken, and what layerwise takes, for each target.
struct Row {
    name: String,
    newest: String,
    cases: Vec<Case>,
}

struct Case {
    /// The expected version and its wheel; `None`: no release has a fitting wheel.
    expected: Option<(Version, String)>,
    /// layerwise's version, or its words.
    taken: Result<String, String>,
    /// For a difference: what layerwise says when it is asked for the expected version.
    insisted: Option<Result<String, String>>,
}

impl Case {
    fn agrees(&self) -> bool {
        match (&self.expected, &self.taken) {
            (Some((version, _)), Ok(taken)) => taken.parse().as_ref() == Ok(version),
            (None, Err(_)) => true,
            _ => false,
        }
    }
}

/// A few packages at a time, in the order of `names`.
fn surveyed(names: &[String], index: &str, layerwise: &Layerwise<'_>) -> Result<Vec<Row>, String> {
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some((at, name)) = names.iter().enumerate().nth(next.fetch_add(1, Ordering::Relaxed)) {
                    let row = surveyed_one(name, index, layerwise);
                    say(&format!("{:>3}/{} {name}", at + 1, names.len()));
                    rows.lock().unwrap_or_else(PoisonError::into_inner).push((at, row));
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    rows.sort_by_key(|(at, _)| *at);
    rows.into_iter().map(|(_, row)| row).collect()
}

fn surveyed_one(name: &str, index: &str, layerwise: &Layerwise<'_>) -> Result<Row, String> {
    let page = page(name, index)?;
    let newest = stable(&page).map(|file| file.version).max();
    let cases = TARGETS.iter().map(|target| {
        let expected = decide(&page, target);
        let taken = layerwise.takes(name, name, target);
        let mut case = Case { expected, taken, insisted: None };
        if let (false, Some((version, _))) = (case.agrees(), &case.expected) {
            case.insisted = Some(layerwise.takes(name, &format!("{name}=={version}"), target));
        }
        case
    });
    let cases = cases.collect();
    Ok(Row { name: name.to_owned(), newest: newest.map_or("none".to_owned(), |version| version.to_string()), cases })
}

/// The index's page of a project: PEP 691.
pub(crate) fn page(name: &str, index: &str) -> Result<Value, String> {
    let url = format!("{index}/{name}/");
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--show-error",
        "--fail",
        "--location",
        "--compressed",
        "--max-time",
        "60",
        "--retry",
        "2",
    ]);
    command.args(["--header", "Accept: application/vnd.pypi.simple.v1+json", &url]).stdin(Stdio::null());
    let output = command.output().map_err(|error| format!("failed to run `curl`: {error}"))?;
    if !output.status.success() {
        return Err(format!("{url}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{url}: {error}"))
}

/// A wheel, or an sdist, of a stable release that is not yanked.
struct File<'p> {
    filename: &'p str,
    version: Version,
    requires_python: Option<&'p str>,
}

fn stable(page: &Value) -> impl Iterator<Item = File<'_>> {
    page["files"].as_array().into_iter().flatten().filter_map(|file| {
        let filename = file["filename"].as_str()?;
        let text = match filename.strip_suffix(".whl") {
            Some(stem) => stem.split('-').nth(1)?,
            None => filename.strip_suffix(".tar.gz")?.rsplit_once('-')?.1,
        };
        let version: Version = text.parse().ok()?;
        // PEP 592: a reason, even an empty one, is a yank.
        let yanked = !matches!(file["yanked"], Value::Null | Value::Bool(false));
        (!yanked && !version.any_prerelease()).then(|| File {
            filename,
            version,
            requires_python: file["requires-python"].as_str(),
        })
    })
}

/// The newest version with a fitting wheel, and the first such wheel.
pub(crate) fn decide(page: &Value, target: &Target) -> Option<(Version, String)> {
    let python: Version = target.python.parse().expect("written above");
    // Old releases have specifiers that are none (`>=3.6.*`); installers pass over those.
    let admits = |text: &str| match text.parse::<VersionSpecifiers>() {
        Ok(specifiers) => specifiers.contains(&python),
        Err(_) => true,
    };
    let fitting = stable(page).filter(|file| file.requires_python.is_none_or(admits) && fits(file.filename, target));
    fitting.fold(None, |best: Option<(Version, String)>, file| match best {
        Some(best) if best.0 >= file.version => Some(best),
        _ => Some((file.version, file.filename.to_owned())),
    })
}

/// PEP 425: whether one of the wheel's tags is one that the target's CPython accepts.
pub(crate) fn fits(filename: &str, target: &Target) -> bool {
    let Some(stem) = filename.strip_suffix(".whl") else { return false };
    let mut parts = stem.rsplit('-');
    let (Some(platforms), Some(abis), Some(pythons)) = (parts.next(), parts.next(), parts.next()) else { return false };
    platforms.split('.').any(|platform| {
        let native = fits_platform(platform, target);
        (native || platform == "any")
            && abis.split('.').any(|abi| pythons.split('.').any(|python| fits_python(python, abi, native, target)))
    })
}

/// The CPython's own tag goes with its own ABI, with the stable one and with none; older ones with the stable ABI
/// only (it began with 3.2); `py3`, `py30` … `py3X` with none. For `any` platform there is no ABI.
fn fits_python(python: &str, abi: &str, native: bool, target: &Target) -> bool {
    let minor = |prefix: &str| python.strip_prefix(prefix).and_then(|minor| minor.parse::<u64>().ok());
    match (minor("cp3"), minor("py3")) {
        (Some(minor), _) if minor == target.minor => abi == "none" || native && (abi == python || abi == "abi3"),
        (Some(minor), _) => native && abi == "abi3" && (2..target.minor).contains(&minor),
        (_, Some(minor)) => abi == "none" && minor <= target.minor,
        _ => abi == "none" && python == "py3",
    }
}

/// PEP 600, with the older names that it defines: any glibc up to the target's.
fn fits_platform(platform: &str, target: &Target) -> bool {
    let machine = target.machine;
    let Some(kind) = platform.strip_suffix(machine).and_then(|kind| kind.strip_suffix('_')) else { return false };
    // The oldest that there is a tag for: CentOS 5 on x86_64, CentOS 7 elsewhere.
    let oldest = if machine == "x86_64" { 5 } else { 17 };
    let glibc = match kind {
        "linux" => return true,
        "manylinux1" => 5,
        "manylinux2010" => 12,
        "manylinux2014" => 17,
        _ => match kind.strip_prefix("manylinux_2_").and_then(|minor| minor.parse().ok()) {
            Some(minor) => minor,
            None => return false,
        },
    };
    (oldest..=target.glibc).contains(&glibc)
}

/// The program under test.
struct Layerwise<'i> {
    binary: PathBuf,
    /// Instead of PyPI.
    index: Option<&'i str>,
    /// Empty: no project's configuration interferes.
    directory: PathBuf,
}

impl Layerwise<'_> {
    /// The version it takes of `name` when asked for `requirement`, or its words. The only place that knows
    /// layerwise's command line and its JSON.
    fn takes(&self, name: &str, requirement: &str, target: &Target) -> Result<String, String> {
        let mut command = Command::new(&self.binary);
        command.args(["build", "--dry-run", "--json", "-p", requirement]);
        command.args(["--runtime", target.runtime, "--arch", target.architecture]);
        command.current_dir(&self.directory).stdin(Stdio::null());
        if let Some(index) = self.index {
            command.env("UV_DEFAULT_INDEX", index);
        }
        let output = command.output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            return Err(words.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" "));
        }
        let document = serde_json::from_slice(&output.stdout).map_err(|error| format!("its JSON: {error}"))?;
        version_in(&document, name).ok_or_else(|| format!("its JSON has no package {name}"))
    }
}

/// The `version` of the first object, at any depth, whose `name` is this one.
fn version_in(value: &Value, name: &str) -> Option<String> {
    let here = || (value["name"].as_str()? == name).then(|| value["version"].as_str().map(str::to_owned))?;
    match value {
        Value::Object(fields) => here().or_else(|| fields.values().find_map(|value| version_in(value, name))),
        Value::Array(items) => items.iter().find_map(|value| version_in(value, name)),
        _ => None,
    }
}

/// `layerwise` as it is in the source tree.
pub(crate) fn built() -> Result<PathBuf, String> {
    let status = Command::new("cargo")
        .args(["build", "--quiet", "--package", "layerwise-cli"])
        .current_dir(root())
        .status()
        .map_err(|error| format!("failed to run `cargo`: {error}"))?;
    let binary = root().join("target/debug/layerwise");
    if status.success() { Ok(binary) } else { Err("`cargo build --package layerwise-cli` failed".to_owned()) }
}

fn scratch() -> Result<PathBuf, String> {
    // Outside the workspace, where no pyproject.toml above it is ours.
    let directory = std::env::temp_dir().join("layerwise-survey");
    fs_err::create_dir_all(&directory).map_err(|error| error.to_string())?;
    Ok(Path::new(&directory).to_owned())
}

fn report(rows: &[Row]) -> String {
    let cases: Vec<(&Row, &Target, &Case)> = rows
        .iter()
        .flat_map(|row| TARGETS.iter().zip(&row.cases).map(move |(target, case)| (row, target, case)))
        .collect();
    let different: Vec<_> = cases.iter().filter(|(_, _, case)| !case.agrees()).collect();
    let mut text = format!(
        "# Survey: the versions taken, against the index's file lists\n\n\
         Written by `cargo xtask survey`. Each package is resolved alone. *Newest* is the newest stable release; each\n\
         other column has the newest stable release with a wheel for the exact tags of the target, decided without\n\
         layerwise's code, and where layerwise takes another one, that after an arrow. Set in italics: older than\n\
         the newest.\n\n\
         {} packages, {} cases: {} agree, {} differ.\n\n| package | newest |",
        rows.len(),
        cases.len(),
        cases.len() - different.len(),
        different.len(),
    );
    for target in &TARGETS {
        put(&mut text, &format!(" {} {} |", target.runtime, target.architecture));
    }
    text += "\n|---|---|---|---|---|---|\n";
    for row in rows {
        put(&mut text, &format!("| {} | {} |", row.name, row.newest));
        for case in &row.cases {
            let expected = case.expected.as_ref().map_or("none".to_owned(), |(version, _)| version.to_string());
            let shown = if expected == row.newest { expected } else { format!("*{expected}*") };
            let taken = match &case.taken {
                _ if case.agrees() => String::new(),
                Ok(taken) => format!(" → **{taken}**"),
                Err(_) => " → **error**".to_owned(),
            };
            put(&mut text, &format!(" {shown}{taken} |"));
        }
        text.push('\n');
    }
    text += "\n## Differences\n\n";
    if different.is_empty() {
        text += "None.\n";
    }
    for (row, target, case) in different {
        let words = |answer: &Result<String, String>| match answer {
            Ok(version) => format!("takes {version}"),
            Err(words) => format!("says: {words}"),
        };
        let expected = case
            .expected
            .as_ref()
            .map_or("no fitting wheel".to_owned(), |(version, wheel)| format!("{version} (`{wheel}`)"));
        put(
            &mut text,
            &format!("- **{}**, {} {}: expected {expected}; ", row.name, target.runtime, target.architecture),
        );
        put(&mut text, &format!("layerwise {}", words(&case.taken)));
        if let Some(insisted) = &case.insisted {
            put(&mut text, &format!(". Asked for the expected version, it {}", words(insisted)));
        }
        text += ".\n";
    }
    text
}

pub(crate) fn put(text: &mut String, more: &str) {
    text.write_str(more).expect("a String takes every byte");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn wheels_that_fit() {
        // By target: python3.11 x86_64, python3.11 arm64, python3.13 x86_64, python3.13 arm64.
        let check = |tags: &str, expected: &str| {
            let fitting = |target| if fits(&format!("a-1.0-{tags}.whl"), target) { 'y' } else { '-' };
            assert_eq!(TARGETS.iter().map(fitting).collect::<String>(), expected, "{tags}");
        };
        check("py3-none-any", "yyyy");
        check("py2.py3-none-any", "yyyy");
        check("py311-none-any", "yyyy");
        check("py312-none-any", "--yy");
        check("cp311-none-any", "yy--");
        check("py2-none-any", "----");
        check("cp311-cp311-any", "----");
        check("cp311-cp311-manylinux_2_26_x86_64", "y---");
        check("cp311-cp311-manylinux_2_28_x86_64", "----");
        check("cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64", "----");
        check("cp313-cp313-manylinux_2_34_aarch64", "---y");
        check("cp313-cp313-manylinux_2_35_aarch64", "----");
        check("cp313-cp313t-manylinux_2_17_x86_64", "----");
        check("cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64", "y---");
        check("1-cp311-cp311-manylinux1_x86_64", "y---");
        check("cp311-cp311-manylinux2010_aarch64", "----");
        check("cp311-cp311-manylinux_2_12_aarch64", "----");
        check("cp311-cp311-manylinux_2_4_x86_64", "----");
        check("cp311-cp311-musllinux_1_1_x86_64", "----");
        check("cp311-cp311-linux_x86_64", "y---");
        check("cp311-cp311-manylinux_2_17_i686", "----");
        check("cp37-abi3-manylinux_2_17_x86_64", "y-y-");
        check("cp312-abi3-manylinux_2_17_x86_64", "--y-");
        check("cp31-abi3-manylinux_2_17_x86_64", "----");
        check("cp37-cp37m-manylinux_2_17_x86_64", "----");
        check("cp310-none-manylinux_2_17_x86_64", "----");
        check("py3-none-manylinux_2_17_x86_64", "y-y-");
        check("cp311-cp311-macosx_11_0_arm64", "----");
        check("cp311-cp311-win_amd64", "----");
    }

    #[test]
    fn the_newest_that_fits() {
        let file = |filename: &str| json!({ "filename": filename, "yanked": false });
        let mut files = vec![
            file("a-1.0-cp311-cp311-manylinux_2_17_x86_64.whl"),
            file("a-1.9-cp311-cp311-manylinux_2_17_x86_64.whl"),
            file("a-1.10-cp311-cp311-manylinux_2_24_x86_64.whl"),
            file("a-2.0-cp311-cp311-manylinux_2_28_x86_64.whl"),
            file("a-2.1rc1-cp311-cp311-manylinux_2_17_x86_64.whl"),
            file("a-2.1.dev1-cp311-cp311-manylinux_2_17_x86_64.whl"),
            file("a-9.0.tar.gz"),
        ];
        let decided =
            |files: &[Value]| decide(&json!({ "files": files }), &TARGETS[0]).map(|(version, _)| version.to_string());
        assert_eq!(decided(&files).as_deref(), Some("1.10"));
        files[2]["yanked"] = json!("");
        assert_eq!(decided(&files).as_deref(), Some("1.9"));
        files[1]["requires-python"] = json!(">=3.12");
        assert_eq!(decided(&files).as_deref(), Some("1.0"));
        files[0]["requires-python"] = json!(">=3.11,<3.12");
        assert_eq!(decided(&files).as_deref(), Some("1.0"));
        assert_eq!(decided(&files[3..]), None);
    }

    #[test]
    fn versions_are_found_at_any_depth() {
        let document =
            json!({ "version": 1, "layers": [{ "name": "layer", "packages": [{ "name": "a", "version": "1.2" }] }] });
        assert_eq!(version_in(&document, "a").as_deref(), Some("1.2"));
        assert_eq!(version_in(&document, "b"), None);
    }

    #[test]
    fn a_report_shows_every_difference() {
        let expected = || Some(("1.0".parse().unwrap(), "a-1.0-py3-none-any.whl".to_owned()));
        let case = |taken: Result<&str, &str>| Case {
            expected: expected(),
            taken: taken.map(str::to_owned).map_err(str::to_owned),
            insisted: None,
        };
        let cases = vec![case(Ok("1.0.0")), case(Ok("0.9")), case(Err("no")), case(Ok("1.0"))];
        let text = report(&[Row { name: "a".to_owned(), newest: "1.1".to_owned(), cases }]);
        assert!(text.contains("1 packages, 4 cases: 2 agree, 2 differ."), "{text}");
        assert!(text.contains("| a | 1.1 | *1.0* | *1.0* → **0.9** | *1.0* → **error** | *1.0* |"), "{text}");
        assert!(
            text.contains("- **a**, python3.13 x86_64: expected 1.0 (`a-1.0-py3-none-any.whl`); layerwise says: no."),
            "{text}"
        );
    }
}
