//! What a process on Lambda would see: the artifacts merged as Lambda unpacks them, which distribution each file is
//! of, and which module each file is.
//!
//! Sources: layers are unpacked in order, the last one wins
//! (<https://docs.aws.amazon.com/lambda/latest/dg/chapter-layers.html>); the search path is that of the managed
//! runtime's bootstrap, which puts function and layers before the standard library.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::dist::Metadata;
use super::facts::Content;
use super::subject::{File, Subject};
use crate::model::{PackageName, Target};

/// A file where Lambda has it.
#[derive(Debug)]
pub(super) struct Placed<'a> {
    /// `/opt/python/a/b.py`.
    pub at: String,
    /// Which artifact it is from.
    pub artifact: usize,
    /// The file.
    pub file: &'a File<'a>,
    /// The distribution it is of.
    pub owner: Option<PackageName>,
}

/// A distribution that is there.
#[derive(Debug)]
pub(super) struct Dist<'a> {
    /// What its `METADATA` says.
    pub metadata: &'a Metadata,
    /// The file it stands in.
    pub file: usize,
    /// The directory that holds its dist-info, with a slash at the end.
    pub dir: String,
    /// Python finds it: the directory is on the path.
    pub on_path: bool,
}

/// How a module is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    /// `__init__.py` of a package.
    Package,
    /// Compiled; the import system prefers it to source.
    Extension,
    /// `x.py`.
    Source,
    /// `x.pyc` without its source.
    Bytecode,
}

/// A module that Python would find.
#[derive(Debug, Clone, Copy)]
pub(super) struct Module {
    /// How it is stored.
    pub form: Form,
    /// It may have submodules.
    pub is_package: bool,
    /// Its file.
    pub file: usize,
}

/// An extension module that this target's Python does not load: its suffix is another one's.
#[derive(Debug)]
pub(super) struct Unloadable {
    /// The file.
    pub file: usize,
    /// The module it would be.
    pub module: String,
    /// `.cpython-312-x86_64-linux-gnu.so`.
    pub suffix: String,
}

/// The whole view.
#[derive(Debug)]
pub(super) struct World<'a> {
    /// What is audited.
    pub subject: &'a Subject<'a>,
    /// For what.
    pub target: Target,
    /// Every file that is visible, sorted by path.
    pub files: Vec<Placed<'a>>,
    /// Files that one of a later layer hides: the hidden one, the one that wins.
    pub hidden: Vec<(Placed<'a>, usize)>,
    /// The distributions.
    pub dists: Vec<Dist<'a>>,
    /// The modules by their dotted names.
    pub modules: BTreeMap<String, Module>,
    /// Directories that are packages without `__init__`, by their dotted names.
    pub namespaces: HashSet<String>,
    /// Extension modules of other Pythons.
    pub unloadable: Vec<Unloadable>,
    unloadable_names: HashSet<String>,
}

impl<'a> World<'a> {
    /// Merges the artifacts of `subject`.
    pub(super) fn new(subject: &'a Subject<'a>, target: Target) -> Self {
        let (files, hidden) = merge(subject);
        let roots = roots(subject, target);
        let mut world = Self {
            subject,
            target,
            files,
            hidden,
            dists: Vec::new(),
            modules: BTreeMap::new(),
            namespaces: HashSet::new(),
            unloadable: Vec::new(),
            unloadable_names: HashSet::new(),
        };
        world.find_dists(&roots);
        world.assign_owners();
        world.find_modules(&roots);
        world
    }

    /// The file at an absolute path.
    pub(super) fn at(&self, path: &str) -> Option<usize> {
        find(&self.files, path)
    }

    /// The file at an absolute path, links followed.
    pub(super) fn resolve_links(&self, path: &str) -> Option<usize> {
        let mut path = path.to_owned();
        // As many as the kernel follows.
        for _ in 0..40 {
            let at = self.at(&path)?;
            let Some(target) = self.files[at].file.link else { return Some(at) };
            path = join(parent(&path), target)?;
        }
        None
    }

    fn find_dists(&mut self, roots: &[String]) {
        for (at, placed) in self.files.iter().enumerate() {
            if let Content::Metadata(metadata) = placed.file.content {
                let dir = format!("{}/", parent(parent(&placed.at)));
                let on_path = roots.contains(&dir);
                self.dists.push(Dist { metadata, file: at, dir, on_path });
            }
        }
    }

    /// By RECORD where there is one; else a directory belongs to the distribution with its name.
    fn assign_owners(&mut self) {
        let mut names: HashMap<String, PackageName> = HashMap::new();
        for at in 0..self.files.len() {
            if let Some(owner) = self.files[at].file.owner {
                self.files[at].owner = Some(owner.clone());
            }
        }
        for dist in &self.dists {
            let name = &dist.metadata.name;
            names.insert(format!("{}{}", dist.dir, name.as_str().replace('-', "_")), name.clone());
            let info = parent(&self.files[dist.file].at).to_owned();
            names.insert(info.clone(), name.clone());
            let record = self.at(&format!("{info}/RECORD"));
            let lines = record.and_then(|record| match self.files[record].file.content {
                Content::Record(lines) => Some(lines),
                _ => None,
            });
            for line in lines.into_iter().flatten() {
                if let Some(at) = join(dist.dir.trim_end_matches('/'), &line.path).and_then(|path| self.at(&path))
                    && self.files[at].owner.is_none()
                {
                    self.files[at].owner = Some(name.clone());
                }
            }
        }
        for placed in &mut self.files {
            if placed.owner.is_some() {
                continue;
            }
            let mut directory = parent(&placed.at);
            while !directory.is_empty() {
                let bare = directory.strip_suffix(".libs").unwrap_or(directory).to_lowercase();
                if let Some(name) = names.get(directory).or_else(|| names.get(&bare)) {
                    placed.owner = Some(name.clone());
                    break;
                }
                directory = parent(directory);
            }
        }
    }

    fn find_modules(&mut self, roots: &[String]) {
        // Which root a top-level name comes from: the first that has it as a module or a package.
        let mut tops: HashMap<String, usize> = HashMap::new();
        let mut found: Vec<(usize, String, Module)> = Vec::new();
        let suffix = extension_suffix(self.target);
        for (at, placed) in self.files.iter().enumerate() {
            let Some((root, inside)) = roots
                .iter()
                .enumerate()
                .find_map(|(index, root)| placed.at.strip_prefix(root.as_str()).map(|inside| (index, inside)))
            else {
                continue;
            };
            let (directory, name) = inside.rsplit_once('/').unwrap_or(("", inside));
            let Some((stem, form)) = module_stem(name, &suffix) else { continue };
            // Any library may be called `x.so`; a module says so itself.
            if name.ends_with(".so") && name.matches('.').count() == 1 {
                match placed.file.content {
                    Content::Elf(facts) if facts.modules.iter().any(|module| module == stem) => {}
                    _ => continue,
                }
            }
            let package = directory.replace('/', ".");
            if !directory.is_empty() && !directory.split('/').all(is_identifier) {
                continue;
            }
            let dotted = |stem: &str| match (package.is_empty(), stem) {
                (false, "__init__") => package.clone(),
                (true, stem) => stem.to_owned(),
                (false, stem) => format!("{package}.{stem}"),
            };
            match form {
                Ok(form) => {
                    let is_package = stem == "__init__" && !package.is_empty();
                    let form = if is_package && form != Form::Extension { Form::Package } else { form };
                    let name = dotted(stem);
                    if !name.contains('.') {
                        tops.entry(name.clone()).and_modify(|first| *first = root.min(*first)).or_insert(root);
                    }
                    found.push((root, name, Module { form, is_package, file: at }));
                }
                Err(other) => {
                    self.unloadable.push(Unloadable { file: at, module: dotted(stem), suffix: other.to_owned() });
                }
            }
        }
        found.sort_by_key(|(root, _, module)| (*root, !module.is_package, module.form));
        for (root, name, module) in found {
            let top = name.split('.').next().unwrap_or_default();
            if tops.get(top).is_some_and(|first| *first != root) {
                continue;
            }
            let mut parent = name.as_str();
            while let Some((outer, _)) = parent.rsplit_once('.') {
                parent = outer;
                if !self.namespaces.insert(outer.to_owned()) {
                    break;
                }
            }
            self.modules.entry(name).or_insert(module);
        }
        self.namespaces.retain(|name| !self.modules.contains_key(name));
        self.unloadable_names = self.unloadable.iter().map(|unloadable| unloadable.module.clone()).collect();
    }

    /// Whether an extension module of this name is there for another Python.
    pub(super) fn is_unloadable(&self, name: &str) -> bool {
        self.unloadable_names.contains(name)
    }

    /// Whether `name` can be imported from the artifacts: a module or a namespace.
    pub(super) fn has_module(&self, name: &str) -> bool {
        self.modules.contains_key(name) || self.namespaces.contains(name)
    }

    /// The name of the artifact that a file is from.
    pub(super) fn label(&self, file: usize) -> &str {
        &self.subject.artifacts[self.files[file].artifact].label
    }
}

/// The directories on Python's path that the artifacts can bring, in order, with a slash at the end.
///
/// Source: `/var/runtime/bootstrap.py` of the managed runtimes (python3.11), in `lambda-facts.md`, section 1.3: a
/// `PYTHONPATH` of the function's own takes the layers' directories off the path.
pub(super) fn roots(subject: &Subject<'_>, target: Target) -> Vec<String> {
    let mut roots = vec!["/var/task/".to_owned()];
    match subject.pythonpath {
        None => {
            roots.push(format!("/opt/python/lib/python3.{}/site-packages/", target.runtime.minor));
            roots.push("/opt/python/".to_owned());
        }
        Some(own) => roots.extend(
            own.split(':').filter(|dir| dir.starts_with('/')).map(|dir| format!("{}/", dir.trim_end_matches('/'))),
        ),
    }
    roots
}

/// The suffix that this target's Python gives its own extension modules: `.cpython-311-x86_64-linux-gnu.so`.
pub(super) fn extension_suffix(target: Target) -> String {
    format!(".cpython-3{}-{}-linux-gnu.so", target.runtime.minor, target.architecture.machine())
}

/// Takes a file name apart: the stem, and how it is stored; or the suffix, when it is an extension module of another
/// Python. `None`: no module.
fn module_stem<'n>(name: &'n str, suffix: &str) -> Option<(&'n str, Result<Form, &'n str>)> {
    let (stem, form) = if let Some(stem) = name.strip_suffix(".py") {
        (stem, Ok(Form::Source))
    } else if let Some(stem) = name.strip_suffix(".pyc") {
        (stem, Ok(Form::Bytecode))
    } else if let Some(stem) = name.strip_suffix(suffix).or_else(|| name.strip_suffix(".abi3.so")) {
        (stem, Ok(Form::Extension))
    } else {
        let (stem, other) = name.split_at(name.find('.')?);
        match other {
            ".so" => (stem, Ok(Form::Extension)),
            _ if is_foreign_suffix(other) => (stem, Err(other)),
            _ => return None,
        }
    };
    is_identifier(stem).then_some((stem, form))
}

/// Suffixes that some Python, or some system, gives extension modules (`importlib.machinery.EXTENSION_SUFFIXES`).
fn is_foreign_suffix(suffix: &str) -> bool {
    let Some(tag) = suffix.strip_prefix('.') else { return false };
    if let Some(tag) = tag.strip_suffix(".so") {
        return tag.starts_with("cpython-") || tag.starts_with("pypy") || tag.starts_with("abi3t") || tag == "graalpy";
    }
    tag == "pyd" || (tag.starts_with("cp3") && tag.ends_with(".pyd"))
}

fn is_identifier(part: &str) -> bool {
    !part.starts_with(|c: char| c.is_ascii_digit())
        && !part.is_empty()
        && part.chars().all(|c| c == '_' || c.is_alphanumeric())
}

/// The directory a path is in; empty for the root.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// An absolute directory and a path from there, `.` and `..` resolved; `None` where it leads above the root.
pub(super) fn join(dir: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = if path.starts_with('/') { Vec::new() } else { dir.split('/').collect() };
    parts.retain(|part| !part.is_empty());
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

/// The file at an absolute path, of files that are sorted by theirs.
fn find(files: &[Placed<'_>], path: &str) -> Option<usize> {
    files.binary_search_by(|placed| placed.at.as_str().cmp(path)).ok()
}

/// Unpacks the artifacts over each other.
fn merge<'a>(subject: &'a Subject<'a>) -> (Vec<Placed<'a>>, Vec<(Placed<'a>, usize)>) {
    let mut files = Vec::with_capacity(subject.artifacts.iter().map(|artifact| artifact.files.len()).sum());
    for (artifact, from) in subject.artifacts.iter().enumerate() {
        let mount = from.role.mount();
        files.extend(from.files.iter().map(|file| {
            let at = [mount, "/", file.path].concat();
            Placed { at, artifact, file, owner: None }
        }));
    }
    // Stable: of those at one path the last one stays, which is the last artifact's. Mostly they are sorted already.
    files.sort_by(|a, b| a.at.cmp(&b.at));
    let mut hidden = Vec::new();
    files.dedup_by(|next, before| {
        let same = next.at == before.at;
        if same {
            std::mem::swap(next, before);
            let old =
                Placed { at: std::mem::take(&mut next.at), artifact: next.artifact, file: next.file, owner: None };
            hidden.push((before.artifact, old));
        }
        same
    });
    hidden.sort_by_key(|(by, _)| *by);
    let hidden = hidden.into_iter().filter_map(|(_, old)| find(&files, &old.at).map(|winner| (old, winner))).collect();
    (files, hidden)
}

impl World<'_> {
    /// What can be imported without importing anything else first: the modules at the top of the path, and packages
    /// in namespaces. Sorted; not those that make the process do something.
    pub(super) fn top_modules(&self) -> Vec<String> {
        // Installers put these beside packages; they are no namespaces that anybody imports from.
        const NO_PACKAGES: [&str; 7] = ["bin", "etc", "include", "lib", "lib64", "man", "share"];
        let is_top = |(name, module): &(&String, &Module)| match name.rsplit_once('.') {
            None => *name != "__main__" && *name != "__init__",
            Some((parent, _)) => {
                let top = name.split('.').next().unwrap_or_default();
                module.is_package && self.namespaces.contains(parent) && !NO_PACKAGES.contains(&top)
            }
        };
        self.modules.iter().filter(is_top).map(|(name, _)| name.clone()).collect()
    }
}
