//! Where things are: the root of a layer, links, modes, times, bytecode, names that hide others, layers over layers,
//! and sizes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::facts::Content;
use super::finding::{Finding, Link, Mode, Problem, Root, Severity, Stale, Unused};
use super::policy::{self, Stdlib};
use super::subject::{Artifact, File, Modified, Role};
use super::world::{World, join, parent, roots};
use crate::model::limits::{DIRECT_UPLOAD_BYTES, LAYERS, UNZIPPED_BYTES};

/// The findings about the layout.
pub(super) fn check(world: &World<'_>) -> Vec<Finding> {
    let mut layout = Layout { world, findings: Vec::new() };
    for (index, artifact) in world.subject.artifacts.iter().enumerate() {
        layout.root(artifact);
        layout.unused(index, artifact);
        layout.members(artifact);
        layout.bytecode(index, artifact);
        layout.upload(artifact);
    }
    layout.shadows();
    layout.pth();
    layout.links();
    layout.layers();
    layout.size();
    layout.findings
}

struct Layout<'w, 'a> {
    world: &'w World<'a>,
    findings: Vec<Finding>,
}

impl Layout<'_, '_> {
    fn add(&mut self, severity: Severity, artifact: &Artifact<'_>, file: Option<&str>, problem: Problem) {
        let at = file.map(|file| format!("{}/{file}", artifact.role.mount()));
        let (artifact, file) = (artifact.label.clone(), file.map(str::to_owned));
        self.findings.push(Finding { severity, artifact, file, at, package: None, problem });
    }

    fn root(&mut self, artifact: &Artifact<'_>) {
        let archives: Vec<&File<'_>> =
            artifact.files.iter().filter(|file| matches!(file.content, Content::Archive)).collect();
        if let ([archive], true) = (archives.as_slice(), artifact.files.len() <= 3) {
            let problem = Problem::LayoutRoot { what: Root::Nested { zip: archive.path.to_owned() } };
            self.add(Severity::Error, artifact, None, problem);
            return;
        }
        let tops: BTreeSet<&str> = artifact.files.iter().map(|file| top(file.path)).collect();
        let only = match tops.iter().copied().filter(|top| *top != "__MACOSX").collect::<Vec<_>>().as_slice() {
            [only] => Some((*only).to_owned()),
            _ => None,
        };
        let below = |prefix: &str| artifact.files.iter().any(|file| file.path.starts_with(prefix));
        match artifact.role {
            Role::Function => {
                // One folder with modules and no `__init__`: it was zipped from outside.
                let Some(folder) = only else { return };
                let is_module = |file: &&File<'_>| {
                    file.path
                        .strip_prefix(&folder)
                        .and_then(|rest| rest.strip_prefix('/'))
                        .is_some_and(|rest| !rest.contains('/') && rest.ends_with(".py"))
                };
                let modules: Vec<&File<'_>> = artifact.files.iter().filter(is_module).collect();
                if !modules.is_empty() && !modules.iter().any(|file| file.path.ends_with("/__init__.py")) {
                    let problem = Problem::LayoutRoot { what: Root::FunctionWrapped { folder } };
                    self.add(Severity::Warning, artifact, None, problem);
                }
            }
            Role::Layer => {
                let known = ["python", "bin", "lib", "extensions", "nodejs", "java", "ruby", "etc", "share"];
                let what = if below("python/python/") && below_has_dist(artifact, "python/python/") {
                    Root::Wrapped { folder: "python".to_owned() }
                } else if below("python/") {
                    return;
                } else if let Some(folder) = only.as_ref().filter(|folder| below(&format!("{folder}/python/"))) {
                    Root::Wrapped { folder: folder.clone() }
                } else if artifact.files.iter().any(|file| is_bare(file.path)) {
                    Root::Bare
                } else if tops.iter().any(|top| known.contains(top)) {
                    return;
                } else {
                    Root::Nothing
                };
                self.add(Severity::Error, artifact, None, Problem::LayoutRoot { what });
            }
        }
    }

    /// Directories of another Python, and those that no Python on Lambda looks into.
    fn unused(&mut self, index: usize, artifact: &Artifact<'_>) {
        let minor = self.world.target.runtime.minor;
        let own = format!("python/lib/python3.{minor}/site-packages/");
        let mut found: BTreeMap<String, Unused> = BTreeMap::new();
        for file in artifact.files.iter().filter(|file| file.path.contains("/site-packages")) {
            let parts: Vec<&str> = file.path.split('/').collect();
            for (at, part) in parts.iter().enumerate() {
                if !matches!(*part, "lib" | "lib64") {
                    continue;
                }
                let (Some(python), Some(&"site-packages")) = (parts.get(at + 1), parts.get(at + 2)) else { continue };
                if !python.starts_with("python3.") || file.path.starts_with(&own) && artifact.role == Role::Layer {
                    continue;
                }
                let directory = parts[..at + 3].join("/");
                let in_place = artifact.role == Role::Layer && at == 1 && parts[0] == "python";
                let why = match *part {
                    "lib64" => Unused::Lib64,
                    _ if in_place => Unused::OtherPython,
                    _ => Unused::Venv,
                };
                found.insert(directory, why);
                break;
            }
        }
        // A layer for several versions has a directory for each.
        let has_own = self.world.files.iter().any(|placed| {
            placed.artifact == index
                && roots(self.world.subject, self.world.target).iter().any(|root| placed.at.starts_with(root.as_str()))
                && !found.keys().any(|directory| placed.file.path.starts_with(directory.as_str()))
        });
        for (directory, why) in found {
            let severity = match why {
                Unused::Venv => Severity::Warning,
                _ if has_own => Severity::Note,
                _ => Severity::Error,
            };
            self.add(severity, artifact, None, Problem::LayoutUnused { directory, why });
        }
    }

    fn members(&mut self, artifact: &Artifact<'_>) {
        for (path, what) in artifact.strange {
            self.add(Severity::Error, artifact, Some(path), Problem::ZipMember { what: what.clone() });
        }
        let mut folded: HashMap<String, &str> = HashMap::with_capacity(artifact.files.len());
        let mut no_time: Option<(&File<'_>, usize)> = None;
        for file in &artifact.files {
            if let Some(other) = folded.insert(file.path.to_lowercase(), file.path) {
                let problem = Problem::CaseCollision { other: other.to_owned() };
                self.add(Severity::Note, artifact, Some(file.path), problem);
            }
            if let Some(mode) = file.mode.filter(|_| file.link.is_none()) {
                let problem = |what| Problem::FileMode { mode: format!("{mode:04o}"), what };
                let external = artifact.role == Role::Layer && parent(file.path) == "extensions";
                if mode & 0o004 == 0 {
                    self.add(Severity::Error, artifact, Some(file.path), problem(Mode::Unreadable));
                } else if external && mode & 0o001 == 0 {
                    self.add(Severity::Error, artifact, Some(file.path), problem(Mode::NotExecutable));
                }
            }
            let sound = match file.modified {
                Modified::Dos(_) => file.modified.seconds().is_some(),
                // What a zip can say: 1980-01-01 to 2107-12-31.
                Modified::Unix(seconds) => (315_532_800..4_354_819_200).contains(&seconds),
                Modified::Unknown => true,
            };
            if !sound {
                no_time = Some(no_time.map_or((file, 1), |(first, count)| (first, count + 1)));
            }
        }
        if let Some((file, files)) = no_time {
            let time = match file.modified {
                Modified::Dos(dos) => format!("{dos:#010x}"),
                Modified::Unix(seconds) => format!("{seconds} s since 1970"),
                Modified::Unknown => String::new(),
            };
            self.add(Severity::Warning, artifact, Some(file.path), Problem::FileTime { time, files });
        }
    }

    /// Bytecode that Python would check against its source and throw away, or never look at.
    fn bytecode(&mut self, index: usize, artifact: &Artifact<'_>) {
        const DAY: i64 = 24 * 60 * 60;
        let minor = self.world.target.runtime.minor;
        let mount = artifact.role.mount();
        let mut useless: BTreeMap<Stale, (&str, usize)> = BTreeMap::new();
        for file in &artifact.files {
            let Content::Bytecode(bytecode) = file.content else { continue };
            let Some((directory, name)) = file.path.rsplit_once("__pycache__/") else { continue };
            let stem = name.split('.').next().unwrap_or_default();
            let source = self.world.at(&format!("{mount}/{directory}{stem}.py"));
            let source = source.filter(|source| self.world.files[*source].artifact == index);
            let time = source.and_then(|source| self.world.files[source].file.modified.seconds());
            let why = match (bytecode.minor, bytecode.source_time, time) {
                (Some(other), ..) if other != minor => Stale::OtherPython,
                // A zip has no time zone: only differences of more than a day are certain.
                (_, Some(said), Some(is)) if (i64::from(said) - is).abs() > DAY + DAY / 6 => Stale::Timestamp,
                _ => continue,
            };
            useless.entry(why).or_insert((file.path, 0)).1 += 1;
        }
        for (why, (path, files)) in useless {
            self.add(Severity::Note, artifact, Some(path), Problem::BytecodeUseless { why, files });
        }
    }

    fn shadows(&mut self) {
        let minor = self.world.target.runtime.minor;
        let top_level = self.world.modules.iter().filter(|(name, _)| !name.contains('.'));
        for (name, module) in top_level {
            // `__main__` is the program that runs, whatever is on the path: the entry point of a zip application.
            if policy::stdlib(name, minor) != Stdlib::Here || policy::is_builtin(name) || name == "__main__" {
                continue;
            }
            let severity = match policy::shadow(name) {
                policy::Shadow::Breaks => Severity::Error,
                policy::Shadow::Backport => Severity::Warning,
                policy::Shadow::Harmless => Severity::Note,
            };
            let problem = Problem::StdlibShadowed { module: name.clone() };
            self.findings.push(self.world.finding(severity, module.file, problem));
        }
    }

    /// `.pth` files are read in the directories that `site.addsitedir` is called for.
    fn pth(&mut self) {
        let roots = roots(self.world.subject, self.world.target);
        for (at, placed) in self.world.files.iter().enumerate() {
            let Content::Pth(lines) = placed.file.content else { continue };
            if !roots.contains(&format!("{}/", parent(&placed.at))) {
                continue;
            }
            let is_code = |line: &&String| line.starts_with("import ") || line.starts_with("import\t");
            let runs = lines.iter().find(is_code).cloned();
            let adds: Vec<String> = lines.iter().filter(|line| !is_code(line)).take(10).cloned().collect();
            let leads_out =
                adds.iter().any(|path| path.starts_with('/') && !path.starts_with("/opt") && !path.starts_with("/var"));
            // What setuptools puts there in every environment.
            let known = placed.file.path.ends_with("distutils-precedence.pth");
            let severity = if leads_out || (runs.is_some() && !known) { Severity::Warning } else { Severity::Note };
            self.findings.push(self.world.finding(severity, at, Problem::PthFile { runs, adds }));
        }
    }

    fn links(&mut self) {
        for (at, placed) in self.world.files.iter().enumerate() {
            let Some(target) = placed.file.link else { continue };
            let mount = self.world.subject.artifacts[placed.artifact].role.mount();
            let leads = join(parent(&placed.at), target);
            let inside = leads.as_ref().is_some_and(|leads| leads.starts_with(&format!("{mount}/")));
            let is_directory = || {
                let directory = format!("{}/", leads.clone().unwrap_or_default());
                self.world.files.iter().any(|placed| placed.at.starts_with(&directory))
            };
            let what = if !inside {
                Link::Escapes
            } else if self.world.resolve_links(&placed.at).is_none() && !is_directory() {
                Link::Dangling
            } else {
                continue;
            };
            let severity = if what == Link::Escapes { Severity::Error } else { Severity::Warning };
            let problem = Problem::Symlink { target: target.to_owned(), what };
            self.findings.push(self.world.finding(severity, at, problem));
        }
    }

    fn layers(&mut self) {
        let subject = self.world.subject;
        let layers = subject.artifacts.iter().filter(|artifact| artifact.role == Role::Layer).count();
        if layers > LAYERS {
            self.findings.push(self.world.overall(Severity::Error, Problem::LayerCount { layers }));
        }
        if let Some(value) = subject.pythonpath {
            let problem = Problem::PythonpathSet { value: value.to_owned() };
            self.findings.push(self.world.overall(Severity::Warning, problem));
        }
        let mut conflicts: BTreeMap<(usize, usize), (usize, usize)> = BTreeMap::new();
        for (loser, winner) in &self.world.hidden {
            let won = &self.world.files[*winner];
            let same = loser.file.sha256.is_some() && loser.file.sha256 == won.file.sha256;
            // Lists of files differ wherever the files do.
            if same || won.at.contains(".dist-info/") {
                continue;
            }
            conflicts.entry((loser.artifact, won.artifact)).or_insert((*winner, 0)).1 += 1;
        }
        for ((loser, winner), (file, files)) in conflicts {
            let label = |artifact: usize| subject.artifacts[artifact].label.clone();
            let path = self.world.files[file].at.clone();
            let problem = Problem::LayerConflict { path, winner: label(winner), loser: label(loser), files };
            self.findings.push(self.world.finding(Severity::Warning, file, problem));
        }
    }

    /// Lambda counts every layer whole, hidden files included.
    fn size(&mut self) {
        let bytes: u64 =
            self.world.subject.artifacts.iter().flat_map(|artifact| &artifact.files).map(|file| file.size).sum();
        if bytes > UNZIPPED_BYTES {
            let largest = super::sizes(self.world).into_iter().take(10).collect();
            let problem = Problem::SizeLimit { bytes, limit: UNZIPPED_BYTES, largest };
            self.findings.push(self.world.overall(Severity::Error, problem));
        }
    }

    fn upload(&mut self, artifact: &Artifact<'_>) {
        if let Some(bytes) = artifact.zipped_bytes.filter(|bytes| *bytes > DIRECT_UPLOAD_BYTES) {
            let problem = Problem::SizeUpload { bytes, limit: DIRECT_UPLOAD_BYTES };
            self.add(Severity::Note, artifact, None, problem);
        }
    }
}

fn top(path: &str) -> &str {
    path.split_once('/').map_or(path, |(top, _)| top)
}

/// A file that shows packages to stand at the top of the artifact.
fn is_bare(path: &str) -> bool {
    let known = ["bin/", "lib/", "extensions/", "nodejs/", "java/", "ruby/"];
    let package = path.split('/').next().is_some_and(|top| top.ends_with(".dist-info"));
    let module =
        path.ends_with(".py") && path.matches('/').count() <= 1 && !known.iter().any(|top| path.starts_with(top));
    package || module
}

fn below_has_dist(artifact: &Artifact<'_>, prefix: &str) -> bool {
    artifact.files.iter().filter_map(|file| file.path.strip_prefix(prefix)).any(is_bare)
}
