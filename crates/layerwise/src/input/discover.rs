//! Which file says what a project depends on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use globset::GlobBuilder;
use serde::Deserialize;

use super::indexes::ConfigFile;
use super::pyproject::{self, Around, PyProject};
use super::requirements;
use super::text;
use super::{IndexOptions, InputError, Inputs, Origin, Requirement, Source, Variables, Wanted, pipfile, poetry, shown};
use crate::model::{CompilePolicy, PackageName};

/// What was found, and what the user should know about it.
#[derive(Debug)]
pub struct Found {
    /// What to resolve.
    pub inputs: Inputs,
    /// Sentences for the user: what was ignored although somebody may have meant it.
    pub warnings: Vec<String>,
    /// Sentences for `-v`.
    pub details: Vec<String>,
}

/// A kind of dependency file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Requirements,
    PyProject,
    UvLock,
    PoetryLock,
    PipfileLock,
    Pylock,
}

impl Kind {
    fn of(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match &*name {
            "uv.lock" => Self::UvLock,
            "poetry.lock" => Self::PoetryLock,
            "Pipfile.lock" => Self::PipfileLock,
            "pyproject.toml" => Self::PyProject,
            name if name.starts_with("pylock.") && name.ends_with(".toml") => Self::Pylock,
            _ => Self::Requirements,
        }
    }
}

/// Finds the dependency file of the project in `dir`, and reads it. The first of these counts:
///
/// 1. `uv.lock` (for a member of a uv workspace, the one at the workspace's root)
/// 2. `poetry.lock`
/// 3. `Pipfile.lock`
/// 4. `pylock.toml`
/// 5. `pyproject.toml` that states dependencies (or has the extras or groups that are wanted)
/// 6. `requirements.txt`
///
/// `pylock.<name>.toml` never counts: layerwise itself writes such files. Parent directories are not searched, but for
/// the workspace's root.
///
/// # Errors
///
/// If there is none of them, or the first one there is cannot be read.
pub fn discover(dir: &Path, wanted: &Wanted, variables: Variables<'_>) -> Result<Found, InputError> {
    let is_file = |name: &str| dir.join(name).is_file();
    let project_file = dir.join("pyproject.toml");
    let pyproject = match project_file.is_file() {
        true => Some(pyproject::parse(&text::read(&project_file, "pyproject.toml", None)?, "pyproject.toml")?),
        false => None,
    };
    let states = pyproject.as_ref().is_some_and(|p| p.states_dependencies(wanted));
    let workspace_lock = pyproject.as_ref().and_then(|_| workspace_root(dir)).map(|root| root.join("uv.lock"));

    let mut there: Vec<PathBuf> = Vec::new();
    there.extend(is_file("uv.lock").then(|| dir.join("uv.lock")).or(workspace_lock.filter(|lock| lock.is_file())));
    there.extend(
        ["poetry.lock", "Pipfile.lock", "pylock.toml"].map(|name| dir.join(name)).into_iter().filter(|f| f.is_file()),
    );
    there.extend(states.then_some(project_file));
    there.extend(is_file("requirements.txt").then(|| dir.join("requirements.txt")));

    let Some(taken) = there.first() else {
        return Err(InputError::NothingFound { dir: dir.to_owned(), hints: hints(dir, pyproject.as_ref()) });
    };
    let mut found = from_file(dir, taken, wanted, variables)?;
    // A `pyproject.toml` beside its own lock is no surprise.
    let ignored: Vec<String> =
        there[1..].iter().filter(|f| Kind::of(f) != Kind::PyProject).map(|file| shown(file, dir)).collect();
    if !ignored.is_empty() {
        let taken = shown(taken, dir);
        found
            .warnings
            .insert(0, format!("`{taken}` is used; `{}` is not (name it with `-r` to use it)", ignored.join("`, `")));
    }
    Ok(found)
}

/// What to do in a directory without a dependency file that we read.
fn hints(dir: &Path, pyproject: Option<&PyProject>) -> Vec<String> {
    let mut hints = Vec::new();
    let there = |name: &str| dir.join(name).is_file();
    if pyproject.is_some_and(|p| p.tool.poetry.is_some()) {
        hints.push(
            "`pyproject.toml` is in Poetry's own words: run `poetry lock`; layerwise reads `poetry.lock`".to_owned(),
        );
    } else if pyproject
        .is_some_and(|p| p.project.as_ref().is_some_and(|p| p.dynamic.iter().any(|d| d == "dependencies")))
    {
        hints.push("the dependencies in `pyproject.toml` are dynamic: name the file that they come from with `-r`, or run `uv lock`".to_owned());
    } else if pyproject.is_some() {
        hints.push("`pyproject.toml` states no `[project] dependencies`".to_owned());
    }
    if there("Pipfile") {
        hints.push("run `pipenv lock`: layerwise reads `Pipfile.lock`, not `Pipfile`".to_owned());
    }
    if there("setup.py") || there("setup.cfg") {
        hints.push("layerwise does not run `setup.py`: write the dependencies to `requirements.txt`".to_owned());
    }
    if let Some(file) = ["requirements.in", "requirements/base.txt", "requirements/prod.txt"].iter().find(|f| there(f))
    {
        hints.push(format!("name the file: `-r {file}`"));
    }
    hints.push(
        "layerwise looks for uv.lock, poetry.lock, Pipfile.lock, pylock.toml, pyproject.toml and requirements.txt"
            .to_owned(),
    );
    hints
}

/// Reads the files that were named, together with bare requirements (`-p`). Relative paths count from `dir`.
///
/// Several requirements files and bare requirements are one set; a lock, or a `pyproject.toml`, stands alone.
///
/// # Errors
///
/// If a file cannot be read, a requirement is none, or a lock is combined with something else.
pub fn from_given(
    dir: &Path,
    files: &[PathBuf],
    bare: &[String],
    wanted: &Wanted,
    variables: Variables<'_>,
) -> Result<Found, InputError> {
    if let Some(alone) = files.iter().find(|file| Kind::of(file) != Kind::Requirements) {
        let other = files.iter().find(|file| *file != alone).map(|file| format!("`{}`", shown(file, dir)));
        let mixed = |other| InputError::Mixed { lock: shown(alone, dir), other };
        if let Some(other) = other.or((!bare.is_empty()).then(|| "bare requirements".to_owned())) {
            return Err(mixed(other));
        }
        return from_file(dir, &dir.join(alone), wanted, variables);
    }
    open(dir, files, bare, wanted, variables)
}

/// Reads one file of any kind.
fn from_file(dir: &Path, path: &Path, wanted: &Wanted, variables: Variables<'_>) -> Result<Found, InputError> {
    let file = shown(path, dir);
    let at = path.parent().unwrap_or(dir);
    // As seen from `dir`, so that nothing of this machine gets into a lock.
    let relative = at.strip_prefix(dir).unwrap_or(at);
    let found = |source, indexes| Found {
        inputs: Inputs { dir: dir.to_owned(), label: file.clone(), source, indexes, compile: CompilePolicy::default() },
        warnings: Vec::new(),
        details: Vec::new(),
    };
    let not_empty = |requirements: Vec<Requirement>| match requirements.is_empty() {
        true => Err(InputError::Empty { file: file.clone(), hint: None }),
        false => Ok(requirements),
    };
    match Kind::of(path) {
        Kind::Requirements => open(dir, &[path.to_owned()], &[], wanted, variables),
        Kind::PyProject => {
            let text = text::read(path, &file, None)?;
            let pyproject = pyproject::parse(&text, &file)?;
            let around = around(dir, path, &file)?;
            let resolved = pyproject.resolve(&text, &around, wanted)?;
            let indexes = IndexOptions { index_of: resolved.index_of, ..IndexOptions::default() };
            let requirements = not_empty(resolved.requirements)?;
            Ok(found(Source::Open { requirements, constraints: resolved.constraints }, indexes))
        }
        Kind::PoetryLock => {
            let text = text::read(path, &file, None)?;
            let project_file = path.with_file_name("pyproject.toml");
            let shown_project = shown(&project_file, dir);
            let pyproject = match project_file.is_file() {
                true => Some(pyproject::parse(&text::read(&project_file, &shown_project, None)?, &shown_project)?),
                false => None,
            };
            let pinned = poetry::parse(&text, &file, relative, pyproject.as_ref(), wanted)?;
            let indexes = IndexOptions { index_of: pinned.index_of, ..IndexOptions::default() };
            Ok(found(Source::Exact { requirements: not_empty(pinned.requirements)? }, indexes))
        }
        Kind::PipfileLock => {
            let text = text::read(path, &file, None)?;
            let pinned = pipfile::parse(&text, &file, relative, wanted, variables)?;
            let default_index = pinned.default_index;
            let indexes = IndexOptions { default_index, index_of: pinned.index_of, ..IndexOptions::default() };
            let mut found = found(Source::Exact { requirements: not_empty(pinned.requirements)? }, indexes);
            found.warnings = pinned.warnings;
            Ok(found)
        }
        Kind::Pylock => {
            let text = text::read(path, &file, None)?;
            check_pylock(&text, &file, wanted)?;
            let (extras, groups) = (wanted.extras.clone(), wanted.groups.clone());
            Ok(found(Source::Pylock { path: path.to_owned(), text, extras, groups }, IndexOptions::default()))
        }
        Kind::UvLock => {
            let lock_text = text::read(path, &file, None)?;
            // For a member of a workspace, the lock is not in the project's directory.
            let project_dir = if at.starts_with(dir) { at.to_owned() } else { dir.to_owned() };
            check_uv_lock(&lock_text, &file, &project_dir, wanted)?;
            let (extras, groups) = (wanted.extras.clone(), wanted.groups.clone());
            Ok(found(Source::UvLock { project_dir, lock_text, extras, groups }, IndexOptions::default()))
        }
    }
}

/// Requirements files and bare requirements.
fn open(
    dir: &Path,
    files: &[PathBuf],
    bare: &[String],
    wanted: &Wanted,
    variables: Variables<'_>,
) -> Result<Found, InputError> {
    let mut label: Vec<String> = files.iter().map(|file| shown(&dir.join(file), dir)).collect();
    label.extend((!bare.is_empty()).then(|| "-p".to_owned()));
    let label = label.join(", ");
    wanted.check(&label, &Default::default(), &Default::default())?;
    let mut collected = requirements::read(files, dir, variables)?;
    for text in bare {
        collected.requirements.push(Requirement::parse(text, &Origin::file("-p"))?);
    }
    if collected.requirements.is_empty() {
        return Err(InputError::Empty {
            file: label,
            hint: Some("write one requirement a line, such as `requests>=2`".to_owned()),
        });
    }
    let source = Source::Open { requirements: collected.requirements, constraints: collected.constraints };
    let inputs =
        Inputs { dir: dir.to_owned(), label, source, indexes: collected.indexes, compile: CompilePolicy::default() };
    Ok(Found { inputs, warnings: collected.warnings, details: collected.details })
}

/// The head of a `pylock.toml`. Source: <https://packaging.python.org/en/latest/specifications/pylock-toml/>.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PylockHead {
    lock_version: String,
    #[serde(default)]
    extras: Vec<String>,
    #[serde(default)]
    dependency_groups: Vec<String>,
}

fn check_pylock(text: &str, file: &str, wanted: &Wanted) -> Result<(), InputError> {
    let head: PylockHead = text::toml(text, file)?;
    if !head.lock_version.starts_with("1.") {
        let problem = format!("its lock-version is {}, layerwise reads 1.x", head.lock_version);
        return Err(InputError::Format { origin: Origin::file(file), problem, hint: None });
    }
    let names = |list: &[String]| list.iter().map(|name| pyproject::normal(name)).collect();
    wanted.check(file, &names(&head.extras), &names(&head.dependency_groups))
}

/// The head of a `uv.lock`.
#[derive(Deserialize)]
struct UvLockHead {
    version: u64,
}

fn check_uv_lock(text: &str, file: &str, project_dir: &Path, wanted: &Wanted) -> Result<(), InputError> {
    let head: UvLockHead = text::toml(text, file)?;
    if head.version != 1 {
        let problem = format!("its version is {}, layerwise reads version 1", head.version);
        return Err(InputError::Format { origin: Origin::file(file), problem, hint: None });
    }
    let project_file = project_dir.join("pyproject.toml");
    let project = shown(&project_file, project_dir);
    let pyproject = pyproject::parse(&text::read(&project_file, &project, Some(&Origin::file(file)))?, &project)?;
    wanted.check(&project, &pyproject.extras(), &pyproject.groups())
}

/// The root of the uv workspace that `dir` belongs to: itself, or a parent whose `[tool.uv.workspace]` includes it.
///
/// Source: <https://docs.astral.sh/uv/concepts/projects/workspaces/>.
fn workspace_root(dir: &Path) -> Option<PathBuf> {
    let dir = fs_err::canonicalize(dir).ok()?;
    for ancestor in dir.ancestors() {
        let Some(workspace) = uv_of(ancestor).and_then(|uv| uv.workspace) else { continue };
        if ancestor == dir {
            return Some(dir);
        }
        let relative = dir.strip_prefix(ancestor).ok()?;
        let included = matches(&workspace.members, relative) && !matches(&workspace.exclude, relative);
        return included.then(|| ancestor.to_owned());
    }
    None
}

/// `[tool.uv]` of the `pyproject.toml` in `dir`, if it can be read. Parents' files are not ours to complain about.
fn uv_of(dir: &Path) -> Option<pyproject::ToolUv> {
    let path = dir.join("pyproject.toml");
    let text = path.is_file().then(|| text::read(&path, "pyproject.toml", None).ok()).flatten()?;
    pyproject::parse(&text, "pyproject.toml").ok()?.tool.uv
}

fn matches(globs: &[String], path: &Path) -> bool {
    globs.iter().any(|glob| {
        let glob = glob.trim_start_matches("./").trim_end_matches('/');
        let built = GlobBuilder::new(glob).literal_separator(true).build();
        built.is_ok_and(|glob| glob.compile_matcher().is_match(path))
    })
}

/// What lies around a `pyproject.toml`: the workspace's members and indexes.
fn around(dir: &Path, path: &Path, file: &str) -> Result<Around, InputError> {
    let at = path.parent().unwrap_or(dir);
    let mut around =
        Around { file: file.to_owned(), dir: at.strip_prefix(dir).unwrap_or(at).to_owned(), ..Around::default() };
    let Some(root) = workspace_root(at) else { return Ok(around) };
    let Some(uv) = uv_of(&root) else { return Ok(around) };
    for index in &uv.index {
        around.indexes.extend(index.parse(&root).ok());
    }
    let workspace = uv.workspace.unwrap_or_default();
    let home = fs_err::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    for member in members(&root, &workspace)? {
        let project_file = member.join("pyproject.toml");
        let text = text::read(&project_file, &shown(&project_file, &home), None)?;
        let parsed = pyproject::parse(&text, &shown(&project_file, &home))?;
        let name = parsed.project.and_then(|p| p.name?.parse::<PackageName>().ok());
        around.members.extend(name.map(|name| (name, relative(&member, &home))));
    }
    Ok(around)
}

/// The directories of a workspace's members, its root first.
fn members(root: &Path, workspace: &pyproject::Workspace) -> Result<Vec<PathBuf>, InputError> {
    let depth =
        workspace.members.iter().map(|glob| if glob.contains("**") { 8 } else { glob.split('/').count() }).max();
    let mut found = vec![root.to_owned()];
    let mut level = vec![root.to_owned()];
    for _ in 0..depth.unwrap_or(0) {
        let mut next = Vec::new();
        for dir in &level {
            // A directory that cannot be listed has no members.
            let entries = fs_err::read_dir(dir).into_iter().flatten().flatten();
            next.extend(entries.map(|entry| entry.path()).filter(|path| {
                let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
                !hidden && path.is_dir() && !path.is_symlink()
            }));
        }
        next.sort();
        for dir in &next {
            let relative = dir.strip_prefix(root).unwrap_or(dir);
            let included = matches(&workspace.members, relative) && !matches(&workspace.exclude, relative);
            if included && dir.join("pyproject.toml").is_file() {
                found.push(dir.clone());
            }
        }
        level = next;
    }
    Ok(found)
}

/// `path` as seen from `from`; both absolute.
fn relative(path: &Path, from: &Path) -> PathBuf {
    let common = path.components().zip(from.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(common).map(|_| std::path::Component::ParentDir);
    let relative: PathBuf = up.chain(path.components().skip(common)).collect();
    if relative.as_os_str().is_empty() { PathBuf::from(".") } else { relative }
}

/// uv's configuration for the project in `dir`: the nearest `uv.toml`, or `pyproject.toml` with `[tool.uv]`, upwards; in
/// a workspace, from its root.
///
/// # Errors
///
/// If the file cannot be read.
pub fn project_config(dir: &Path) -> Result<Option<ConfigFile>, InputError> {
    let start = workspace_root(dir).unwrap_or_else(|| std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()));
    for ancestor in start.ancestors() {
        for name in ["uv.toml", "pyproject.toml"] {
            let path = ancestor.join(name);
            if !path.is_file() {
                continue;
            }
            let text = text::read(&path, &path.display().to_string(), None)?;
            if name == "uv.toml" || text::toml::<HasUv>(&text, name).is_ok_and(|file| file.tool.contains_key("uv")) {
                return Ok(Some(ConfigFile { path, text }));
            }
        }
    }
    Ok(None)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct HasUv {
    tool: BTreeMap<String, toml::Value>,
}
