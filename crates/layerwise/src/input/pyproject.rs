//! `pyproject.toml`: PEP 621 dependencies, PEP 735 groups and what `[tool.uv]` says about them.
//!
//! Sources: <https://packaging.python.org/en/latest/specifications/pyproject-toml/>,
//! <https://packaging.python.org/en/latest/specifications/dependency-groups/>,
//! <https://docs.astral.sh/uv/concepts/projects/dependencies/#dependency-sources>.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use pep508_rs::MarkerTree;
use serde::Deserialize;
use toml::Spanned;

use super::indexes::UvIndex;
use super::requirement::{parse_marker, split_marker};
use super::text::{self, line_at};
use super::{Index, InputError, Origin, Requirement, Wanted};
use crate::model::PackageName;

/// What we read of a `pyproject.toml`; everything else in it is not ours to judge.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct PyProject {
    pub(super) project: Option<Project>,
    pub(super) dependency_groups: BTreeMap<String, Vec<Spanned<toml::Value>>>,
    pub(super) tool: Tool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct Project {
    pub(super) name: Option<String>,
    pub(super) dependencies: Option<Vec<Spanned<String>>>,
    pub(super) optional_dependencies: BTreeMap<String, Vec<Spanned<String>>>,
    pub(super) dynamic: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct Tool {
    pub(super) uv: Option<ToolUv>,
    pub(super) poetry: Option<super::poetry::ToolPoetry>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct ToolUv {
    constraint_dependencies: Vec<Spanned<String>>,
    override_dependencies: Option<Spanned<Vec<toml::Value>>>,
    dev_dependencies: Vec<Spanned<String>>,
    /// A table, or several.
    sources: BTreeMap<String, Spanned<toml::Value>>,
    pub(super) index: Vec<UvIndex>,
    pub(super) workspace: Option<Workspace>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct Workspace {
    pub(super) members: Vec<String>,
    pub(super) exclude: Vec<String>,
}

/// One way to get a package that is not "from the indexes".
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Source {
    git: Option<String>,
    rev: Option<String>,
    tag: Option<String>,
    branch: Option<String>,
    subdirectory: Option<String>,
    url: Option<String>,
    path: Option<String>,
    index: Option<String>,
    workspace: Option<bool>,
    marker: Option<String>,
    extra: Option<String>,
    group: Option<String>,
}

/// What lies around a `pyproject.toml`.
#[derive(Debug, Default)]
pub(super) struct Around {
    /// The file as the user knows it.
    pub(super) file: String,
    /// Its directory as seen from [`super::Inputs::dir`]; empty for that directory itself.
    pub(super) dir: PathBuf,
    /// Its directory, for the paths of indexes.
    pub(super) base: PathBuf,
    /// The workspace's members, by name, with their directories as seen from [`super::Inputs::dir`].
    pub(super) members: BTreeMap<PackageName, PathBuf>,
    /// Indexes that the workspace's root names.
    pub(super) indexes: Vec<Index>,
}

/// What a project wants.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    pub(super) requirements: Vec<Requirement>,
    pub(super) constraints: Vec<Requirement>,
    pub(super) index_of: BTreeMap<PackageName, Index>,
}

/// Parses the text of a `pyproject.toml`.
///
/// # Errors
///
/// If it is no TOML, or a table that we read is not what its specification says.
pub(super) fn parse(text: &str, file: &str) -> Result<PyProject, InputError> {
    text::toml(text, file)
}

/// Normalises the name of an extra or a group; what is no name stays, to be reported as unknown.
pub(super) fn normal(name: &str) -> String {
    name.parse::<PackageName>().map_or_else(|_| name.to_owned(), String::from)
}

impl PyProject {
    /// The project's extras, normalised.
    pub(super) fn extras(&self) -> BTreeSet<String> {
        let project = self.project.iter().flat_map(|p| p.optional_dependencies.keys());
        let poetry = self.tool.poetry.iter().flat_map(|p| p.extras.keys());
        project.chain(poetry).map(|name| normal(name)).collect()
    }

    /// The project's dependency groups, normalised.
    pub(super) fn groups(&self) -> BTreeSet<String> {
        let uv_dev = self.tool.uv.as_ref().is_some_and(|uv| !uv.dev_dependencies.is_empty()).then(|| "dev".to_owned());
        self.dependency_groups.keys().map(|name| normal(name)).chain(uv_dev).collect()
    }

    /// Whether it says itself what the project depends on.
    pub(super) fn states_dependencies(&self, wanted: &Wanted) -> bool {
        let main =
            self.project.as_ref().is_some_and(|p| p.dependencies.is_some() || !p.optional_dependencies.is_empty());
        main || (!wanted.groups.is_empty() && !self.groups().is_empty())
    }

    /// The requirements of the project with the extras and groups that are wanted.
    ///
    /// # Errors
    ///
    /// For anything in it that cannot be followed, with the line.
    pub(super) fn resolve(&self, text: &str, around: &Around, wanted: &Wanted) -> Result<Resolved, InputError> {
        let mut walk = Walk { pyproject: self, text, around, resolved: Resolved::default(), open: Vec::new() };
        walk.run(wanted)?;
        Ok(walk.resolved)
    }
}

/// Where a requirement comes from; uv's sources can depend on it.
#[derive(Clone, Copy)]
enum From<'a> {
    Main,
    Extra(&'a str),
    Group(&'a str),
}

struct Walk<'a> {
    pyproject: &'a PyProject,
    text: &'a str,
    around: &'a Around,
    resolved: Resolved,
    /// Extras or groups being expanded.
    open: Vec<String>,
}

impl<'a> Walk<'a> {
    fn origin(&self, span: std::ops::Range<usize>) -> Origin {
        Origin { file: self.around.file.clone(), line: line_at(self.text, span.start) }
    }

    fn run(&mut self, wanted: &Wanted) -> Result<(), InputError> {
        let pyproject = self.pyproject;
        wanted.check(&self.around.file, &pyproject.extras(), &pyproject.groups())?;
        if let Some(project) = &pyproject.project {
            if project.dynamic.iter().any(|key| key == "dependencies") {
                return Err(InputError::Unsupported {
                    origin: Origin::file(&self.around.file),
                    what: "the project's dependencies are dynamic: only its build backend knows them".to_owned(),
                    hint: "name the file that they come from with `-r`, or make a lock: `uv lock`".to_owned(),
                });
            }
            self.all(project.dependencies.iter().flatten(), From::Main, "")?;
            for extra in &wanted.extras {
                self.extra(&normal(extra), "", None)?;
            }
        } else if pyproject.tool.poetry.is_some() && wanted.groups.is_empty() {
            return Err(InputError::Unsupported {
                origin: Origin::file(&self.around.file),
                what: "its dependencies are in Poetry's own words".to_owned(),
                hint: "run `poetry lock`; layerwise reads `poetry.lock`".to_owned(),
            });
        }
        for group in &wanted.groups {
            self.group(&normal(group), None)?;
        }
        if let Some(uv) = &pyproject.tool.uv {
            for constraint in &uv.constraint_dependencies {
                let constraint = Requirement::parse(constraint.get_ref(), &self.origin(constraint.span()))?;
                self.resolved.constraints.push(constraint);
            }
            if let Some(overrides) = uv.override_dependencies.as_ref().filter(|list| !list.get_ref().is_empty()) {
                return Err(InputError::Unsupported {
                    origin: self.origin(overrides.span()),
                    what: "`override-dependencies` is only followed through a lock".to_owned(),
                    hint: "run `uv lock`; layerwise reads `uv.lock`".to_owned(),
                });
            }
        }
        Ok(())
    }

    fn all(
        &mut self,
        lines: impl Iterator<Item = &'a Spanned<String>>,
        from: From<'_>,
        marker: &str,
    ) -> Result<(), InputError> {
        for line in lines {
            let requirement = Requirement::parse(line.get_ref(), &self.origin(line.span()))?;
            self.one(requirement, from, marker)?;
        }
        Ok(())
    }

    /// The requirements of an extra, each where `marker` holds (if not empty).
    fn extra(&mut self, extra: &str, marker: &str, origin: Option<&Origin>) -> Result<(), InputError> {
        let key = format!("[{extra}]");
        if self.open.contains(&key) {
            // An extra that names itself adds nothing; pip and uv take it so, too.
            return Ok(());
        }
        let lines = self.pyproject.project.iter().flat_map(|p| &p.optional_dependencies);
        let Some((_, lines)) = lines.into_iter().find(|(name, _)| normal(name) == extra) else {
            let file = origin.map_or_else(|| self.around.file.clone(), Origin::to_string);
            let known = self.pyproject.extras().into_iter().collect();
            return Err(InputError::Unknown { file, what: "extra", name: extra.to_owned(), known });
        };
        self.open.push(key);
        self.all(lines.iter(), From::Extra(extra), marker)?;
        self.open.pop();
        Ok(())
    }

    fn group(&mut self, group: &str, origin: Option<&Origin>) -> Result<(), InputError> {
        if self.open.iter().any(|open| open == group) {
            let origin = origin.cloned().unwrap_or_else(|| Origin::file(&self.around.file));
            return Err(InputError::Cycle { origin, what: group.to_owned() });
        }
        let pyproject = self.pyproject;
        let entries = pyproject.dependency_groups.iter().find(|(name, _)| normal(name) == group).map(|(_, list)| list);
        let uv_dev = pyproject.tool.uv.as_ref().filter(|_| group == "dev").map(|uv| &uv.dev_dependencies);
        if entries.is_none() && uv_dev.is_none_or(Vec::is_empty) {
            let file = origin.map_or_else(|| self.around.file.clone(), Origin::to_string);
            let known = pyproject.groups().into_iter().collect();
            return Err(InputError::Unknown { file, what: "dependency group", name: group.to_owned(), known });
        }
        self.open.push(group.to_owned());
        for entry in entries.into_iter().flatten() {
            let origin = self.origin(entry.span());
            let included = entry.get_ref().get("include-group").and_then(toml::Value::as_str);
            match (entry.get_ref().as_str(), included) {
                (Some(text), _) => self.one(Requirement::parse(text, &origin)?, From::Group(group), "")?,
                (None, Some(included)) => self.group(&normal(included), Some(&origin))?,
                (None, None) => {
                    let problem = "expected a requirement or `{include-group = \"…\"}`".to_owned();
                    return Err(InputError::Format { origin, problem, hint: None });
                }
            }
        }
        self.all(uv_dev.into_iter().flatten(), From::Group(group), "")?;
        self.open.pop();
        Ok(())
    }

    /// Takes a requirement in: extras of the project itself are expanded, uv's sources applied.
    fn one(&mut self, requirement: Requirement, from: From<'_>, marker: &str) -> Result<(), InputError> {
        let requirement = if marker.is_empty() { requirement } else { requirement.and_marker(marker) };
        let own = self.pyproject.project.as_ref().and_then(|p| p.name.as_deref()?.parse::<PackageName>().ok());
        let name_and_extras = requirement.name_and_extras().map(str::to_owned);
        if let (Some(name_and_extras), true) = (&name_and_extras, own.is_some() && requirement.name == own) {
            let marker = split_marker(&requirement.text).1.unwrap_or_default().to_owned();
            let extras = name_and_extras.split_once('[').map_or("", |(_, extras)| extras.trim_end_matches(']'));
            for extra in extras.split(',').map(str::trim).filter(|extra| !extra.is_empty()) {
                self.extra(&normal(extra), &marker, Some(&requirement.origin))?;
            }
            return Ok(());
        }
        let sources = self.pyproject.tool.uv.iter().flat_map(|uv| &uv.sources);
        let source = sources.into_iter().find(|(name, _)| name.parse().ok() == requirement.name);
        match (source, name_and_extras) {
            (Some((_, source)), Some(name)) if !requirement.is_direct() => {
                self.apply_source(&requirement, &name, source, from)
            }
            _ => {
                self.resolved.requirements.push(requirement);
                Ok(())
            }
        }
    }

    /// Applies uv's source for a requirement. Sources for other systems are left out: a layer runs on Linux.
    fn apply_source(
        &mut self,
        requirement: &Requirement,
        name: &str,
        sources: &Spanned<toml::Value>,
        from: From<'_>,
    ) -> Result<(), InputError> {
        let origin = self.origin(sources.span());
        let wrong = |problem: String| InputError::Format { origin: origin.clone(), problem, hint: None };
        let linux = parse_marker("sys_platform == 'linux' and platform_system == 'Linux' and os_name == 'posix'")
            .expect("a marker we wrote");
        let mut rest = MarkerTree::TRUE;
        let list = match sources.get_ref() {
            toml::Value::Array(list) => list.clone(),
            one => vec![one.clone()],
        };
        for source in list {
            let source: Source = source.try_into().map_err(|e: toml::de::Error| wrong(e.message().to_owned()))?;
            let meant = match from {
                From::Extra(extra) => {
                    source.extra.as_deref().is_none_or(|e| normal(e) == extra) && source.group.is_none()
                }
                From::Group(group) => {
                    source.group.as_deref().is_none_or(|g| normal(g) == group) && source.extra.is_none()
                }
                From::Main => source.extra.is_none() && source.group.is_none(),
            };
            let own = source.marker.as_deref().map_or(Ok(MarkerTree::TRUE), parse_marker).map_err(wrong)?;
            let mut here = own.clone();
            here.and(rest.clone());
            if !meant || here.is_disjoint(&linux) {
                continue;
            }
            rest.and(own.negate());
            let limited = |requirement: Requirement| match here.try_to_string() {
                Some(marker) => requirement.and_marker(&marker),
                None => requirement,
            };
            if let Some(index) = &source.index {
                let index = self.index(index, &origin)?;
                self.resolved.requirements.push(limited(requirement.clone()));
                if let Some(name) = requirement.name.clone() {
                    self.resolved.index_of.insert(name, index);
                }
                continue;
            }
            let place = self.place(&source, requirement, &origin)?;
            let mut direct = requirement.clone();
            direct.text = format!("{name} @ {place}");
            if let Some(marker) = split_marker(&requirement.text).1 {
                direct = direct.and_marker(marker);
            }
            self.resolved.requirements.push(limited(direct));
        }
        if !rest.is_disjoint(&linux) {
            let plain = match rest.try_to_string() {
                Some(marker) => requirement.clone().and_marker(&marker),
                None => requirement.clone(),
            };
            self.resolved.requirements.push(plain);
        }
        Ok(())
    }

    fn index(&self, name: &str, origin: &Origin) -> Result<Index, InputError> {
        let wrong = |problem: String| InputError::Format { origin: origin.clone(), problem, hint: None };
        for index in self.pyproject.tool.uv.iter().flat_map(|uv| &uv.index) {
            if index.name.as_deref() == Some(name) {
                return index.parse(&self.around.base).map_err(wrong);
            }
        }
        let root = self.around.indexes.iter().find(|index| index.name.as_deref() == Some(name));
        root.cloned().ok_or_else(|| wrong(format!("there is no `[[tool.uv.index]]` with the name `{name}`")))
    }

    /// What stands after `@`.
    fn place(&self, source: &Source, requirement: &Requirement, origin: &Origin) -> Result<String, InputError> {
        if let Some(git) = &source.git {
            let mut place = if git.starts_with("git+") { git.clone() } else { format!("git+{git}") };
            if let Some(reference) = source.rev.as_ref().or(source.tag.as_ref()).or(source.branch.as_ref()) {
                place = format!("{place}@{reference}");
            }
            if let Some(subdirectory) = &source.subdirectory {
                place = format!("{place}#subdirectory={subdirectory}");
            }
            return Ok(place);
        }
        if let Some(url) = &source.url {
            return Ok(match &source.subdirectory {
                Some(subdirectory) => format!("{url}#subdirectory={subdirectory}"),
                None => url.clone(),
            });
        }
        if let Some(path) = &source.path {
            return Ok(local(&self.around.dir.join(path)));
        }
        let member = requirement.name.as_ref().and_then(|name| self.around.members.get(name));
        match (source.workspace, member) {
            (Some(true), Some(dir)) => Ok(local(dir)),
            (Some(true), None) => Err(InputError::Format {
                origin: origin.clone(),
                problem: "the workspace has no member of that name".to_owned(),
                hint: None,
            }),
            _ => Err(InputError::Format {
                origin: origin.clone(),
                problem: "expected a source with `git`, `url`, `path`, `index` or `workspace = true`".to_owned(),
                hint: None,
            }),
        }
    }
}

/// A path as a requirement has it: with `./`, so that it cannot be mistaken for a name.
pub(super) fn local(path: &Path) -> String {
    let text = path.to_string_lossy().replace('\\', "/");
    if path.is_absolute() || text.starts_with('.') { text } else { format!("./{text}") }
}
