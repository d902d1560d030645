//! Wheels: layerwise's verdict on native code and auditwheel's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fs_err as fs;
use serde_json::{Value, json};

use super::{AUDITWHEEL, LARGEST, Place, Project, each, last_line, text};
use crate::survey::{TARGETS, Target, decide, fits, page};
use crate::{root, say};

/// What is compared: whether the loader would take the files on the runtime.
const RULES: [&str; 9] = [
    "native-architecture",
    "native-damaged",
    "native-format",
    "native-glibc",
    "native-library-missing",
    "native-library-unreachable",
    "native-musl",
    "native-symbol-missing",
    "native-symbol-version",
];

/// The first half.
#[derive(Default)]
pub(super) struct Judged {
    pub(super) rows: Vec<Row>,
    /// Project, target, why there is no row.
    pub(super) left_out: Vec<(String, String)>,
    /// auditwheel's policies.
    pub(super) policies: Value,
}

/// A wheel for a runtime.
pub(super) struct Row {
    pub(super) project: String,
    pub(super) wheel: String,
    pub(super) runtime: &'static str,
    pub(super) architecture: &'static str,
    /// 2.`glibc` of the runtime.
    pub(super) glibc: u64,
    /// `auditwheel show --json`, or `{"error": …}`.
    pub(super) auditwheel: Value,
    /// layerwise's findings of the compared rules, errors and warnings.
    pub(super) findings: Vec<Value>,
}

impl Row {
    /// `manylinux_2_17` → 17; `None`: no manylinux at all, or an error.
    pub(super) fn policy(&self) -> Option<u64> {
        let tag = text(&self.auditwheel, "overall_tag").strip_prefix("manylinux_2_")?;
        tag.split('_').next()?.parse().ok()
    }

    /// Whether the runtime's glibc is as new as auditwheel's policy.
    pub(super) fn auditwheel_fits(&self) -> bool {
        self.policy().is_some_and(|policy| policy <= self.glibc)
    }

    pub(super) fn errors(&self) -> impl Iterator<Item = &Value> {
        self.findings.iter().filter(|finding| finding["severity"] == "error")
    }

    pub(super) fn we_fit(&self) -> bool {
        self.errors().next().is_none()
    }
}

/// A file of the index, and the targets it is for.
struct Wheel {
    project: String,
    name: String,
    url: String,
    size: u64,
    targets: Vec<&'static Target>,
}

pub(super) fn judged(projects: &[Project], place: &Place) -> Result<Judged, String> {
    let auditwheel = auditwheel(&place.path("venv"))?;
    let mut left_out = Vec::new();
    let mut wheels = Vec::new();
    let indexed: Vec<(usize, &Project)> = projects.iter().enumerate().collect();
    for chosen in each(&indexed, |(at, project)| chosen(project, *at, place)) {
        let (chosen, without) = chosen?;
        wheels.extend(chosen);
        left_out.extend(without);
    }
    let (wheels, large): (Vec<Wheel>, Vec<Wheel>) = wheels.into_iter().partition(|wheel| wheel.size <= LARGEST);
    let too_large = |wheel: &Wheel| (wheel.name.clone(), format!("{} MB", wheel.size / 1_000_000));
    left_out.extend(large.iter().map(too_large));
    say(&format!("{} wheels", wheels.len()));
    let mut rows = Vec::new();
    for result in each(&wheels, |wheel| judge(wheel, &auditwheel, place)) {
        rows.extend(result?);
    }
    Ok(Judged { rows, left_out, policies: policies(place)? })
}

/// Of each target (every other one for the popular projects) the newest wheel that pip would take on Amazon Linux 2023:
/// for python3.11 too, so that wheels which are too new for Amazon Linux 2 are among them.
type Chosen = (Vec<Wheel>, Vec<(String, String)>);

fn chosen(project: &Project, at: usize, place: &Place) -> Result<Chosen, String> {
    let name = &project.name;
    let kept = place.path(&format!("pages/{name}.json"));
    let page: Value = match fs::read(&kept) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.to_string())?,
        Err(_) => {
            let page = match page(name, "https://pypi.org/simple") {
                Ok(page) => page,
                Err(error) => return Ok((Vec::new(), vec![(name.clone(), error)])),
            };
            fs::write(&kept, page.to_string()).map_err(|error| error.to_string())?;
            page
        }
    };
    let mut wheels: BTreeMap<String, Wheel> = BTreeMap::new();
    let mut without = Vec::new();
    for (number, target) in TARGETS.iter().enumerate() {
        // python3.11 x86_64 and python3.13 arm64 of one project, the others of the next.
        let turn = if number == 0 || number == 3 { 0 } else { 1 };
        if !project.unusual && turn != at % 2 {
            continue;
        }
        let newest = Target { glibc: 34, ..*target };
        let label = || format!("{name} {} {}", target.runtime, target.architecture);
        let Some((version, _)) = decide(&page, &newest) else {
            without.push((label(), "no wheel".to_owned()));
            continue;
        };
        let of_version =
            |name: &&str| name.split('-').nth(1).and_then(|text| text.parse().ok()).as_ref() == Some(&version);
        let files = page["files"].as_array().map(Vec::as_slice).unwrap_or_default();
        let names = files.iter().map(|file| text(file, "filename")).filter(|name| fits(name, &newest));
        let Some(wheel) = names.filter(of_version).max_by_key(|name| tagged(name)) else { continue };
        let wheel = wheel.to_owned();
        if wheel.ends_with("-any.whl") {
            without.push((label(), "the newest wheel has no native code".to_owned()));
            continue;
        }
        let file = files.iter().find(|file| file["filename"] == wheel.as_str()).unwrap_or(&Value::Null);
        let (url, size) = (text(file, "url").to_owned(), file["size"].as_u64().unwrap_or_default());
        let entry = wheels.entry(wheel.clone());
        let entry = entry.or_insert(Wheel { project: name.clone(), name: wheel, url, size, targets: Vec::new() });
        entry.targets.push(target);
    }
    // One file for several Pythons is a row for both of them.
    for wheel in wheels.values_mut() {
        if let [only] = wheel.targets[..]
            && (wheel.name.contains("-abi3-") || wheel.name.contains("-none-"))
        {
            let other = TARGETS.iter().find(|t| t.machine == only.machine && t.minor != only.minor);
            wheel.targets.extend(other.filter(|other| fits(&wheel.name, &Target { glibc: 34, ..**other })));
        }
    }
    Ok((wheels.into_values().collect(), without))
}

/// The newest glibc in a wheel's platform tags; pip takes the highest first.
fn tagged(name: &str) -> u64 {
    let platforms = name.trim_end_matches(".whl").rsplit('-').next().unwrap_or_default().split('.');
    let glibc = platforms.map(|platform| match platform.strip_prefix("manylinux_2_") {
        Some(rest) => rest.split('_').next().and_then(|minor| minor.parse().ok()).unwrap_or_default(),
        None if platform.starts_with("manylinux") => 5,
        None if platform == "any" => 0,
        None => 1,
    });
    glibc.max().unwrap_or_default()
}

fn judge(wheel: &Wheel, auditwheel: &PathBuf, place: &Place) -> Result<Vec<Row>, String> {
    let file = place.path("wheels").join(&wheel.name);
    if !file.exists() {
        let part = file.with_extension("part");
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--fail",
            "--location",
            "--max-time",
            "300",
            "--retry",
            "2",
            "--output",
        ]);
        let output = curl.arg(&part).arg(&wheel.url).output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(format!("{}: {}", wheel.url, last_line(&output.stderr)));
        }
        fs::rename(&part, &file).map_err(|error| error.to_string())?;
    }
    let kept = place.path("auditwheel").join(format!("{}.json", wheel.name));
    let says: Value = match fs::read(&kept) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.to_string())?,
        Err(_) => {
            // Without the machine's own libraries: whatever it does not know is external.
            let mut command = Command::new(auditwheel);
            command.args(["show", "--json", "--ldpaths", ""]).arg(&file).stdin(Stdio::null());
            let output = command.output().map_err(|error| format!("failed to run auditwheel: {error}"))?;
            let error = || json!({ "error": last_line(&output.stderr) });
            let says = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| error());
            fs::write(&kept, says.to_string()).map_err(|error| error.to_string())?;
            say(&format!("{}: {}", wheel.name, text(&says, "overall_tag")));
            says
        }
    };
    let mut rows = Vec::new();
    for target in &wheel.targets {
        let mut checked = place.check(&file, target.runtime, target.architecture, &[])?;
        let findings = checked["findings"].as_array_mut().map(std::mem::take).unwrap_or_default();
        let compared = |finding: &Value| RULES.contains(&text(finding, "id")) && finding["severity"] != "note";
        rows.push(Row {
            project: wheel.project.clone(),
            wheel: wheel.name.clone(),
            runtime: target.runtime,
            architecture: target.architecture,
            glibc: target.glibc,
            auditwheel: says.clone(),
            findings: findings.into_iter().filter(compared).collect(),
        });
    }
    Ok(rows)
}

/// auditwheel in an environment of its own, at `venv`.
pub(crate) fn auditwheel(venv: &Path) -> Result<PathBuf, String> {
    let program = venv.join("bin/auditwheel");
    if !program.exists() {
        let venv = venv.to_str().ok_or("a path that is not UTF-8")?;
        crate::run("python3", &["-m", "venv", venv], &[])?;
        let pip = format!("{venv}/bin/pip");
        crate::run(&pip, &["install", "--quiet", &format!("auditwheel=={AUDITWHEEL}")], &[])?;
    }
    Ok(root().join(program))
}

fn policies(place: &Place) -> Result<Value, String> {
    let print = "import auditwheel.policy, pathlib; \
                 print((pathlib.Path(auditwheel.policy.__file__).parent / 'manylinux-policy.json').read_text())";
    let output = Command::new(place.path("venv/bin/python")).args(["-c", print]).output();
    let output = output.map_err(|error| format!("failed to run auditwheel's python: {error}"))?;
    serde_json::from_slice(&output.stdout).map_err(|error| format!("auditwheel's policies: {error}"))
}
