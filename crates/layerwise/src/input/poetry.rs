//! `poetry.lock`, formats 1.1, 2.0 and 2.1.
//!
//! There is no specification; this follows what Poetry 1.2, 1.8 and 2.5 write and `poetry/packages/locker.py` reads.
//! Format 2.1 says of each package for which groups and markers it is needed. The older ones do not: there it follows
//! from `pyproject.toml` and the dependencies in the lock.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use pep440_rs::{Version, VersionSpecifiers};
use pep508_rs::{ExtraOperator, MarkerExpression, MarkerTree, MarkerValueExtra};
use serde::Deserialize;
use toml::{Spanned, Value};

use super::pyproject::{PyProject, local, normal};
use super::requirement::parse_marker;
use super::requirements::only_sha256;
use super::text::{self, line_at};
use super::{Index, InputError, Origin, Requirement, Wanted, is_pypi};
use crate::model::PackageName;

/// What a `poetry.lock` pins.
#[derive(Debug, Default)]
pub(super) struct Pinned {
    pub(super) requirements: Vec<Requirement>,
    pub(super) index_of: BTreeMap<PackageName, Index>,
}

/// `[tool.poetry]` of a `pyproject.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct ToolPoetry {
    dependencies: BTreeMap<String, Value>,
    dev_dependencies: BTreeMap<String, Value>,
    group: BTreeMap<String, Group>,
    pub(super) extras: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Group {
    dependencies: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<Spanned<Package>>,
    #[serde(default)]
    extras: BTreeMap<String, Vec<String>>,
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Metadata {
    lock_version: String,
    /// Format 1.1 keeps the hashes here.
    #[serde(default)]
    files: BTreeMap<String, Vec<File>>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    /// Since 2.1.
    groups: Option<Vec<String>>,
    /// Since 2.1: one for all groups, or one for each.
    markers: Option<Value>,
    #[serde(default)]
    files: Vec<File>,
    #[serde(default)]
    dependencies: BTreeMap<String, Value>,
    #[serde(default)]
    extras: BTreeMap<String, Vec<String>>,
    source: Option<Source>,
}

#[derive(Deserialize)]
struct File {
    hash: String,
}

#[derive(Deserialize)]
struct Source {
    #[serde(rename = "type")]
    kind: String,
    url: String,
    reference: Option<String>,
    resolved_reference: Option<String>,
    subdirectory: Option<String>,
}

/// Reads the text: the main packages, and those of the extras and groups that are wanted. `dir` is the lock's directory
/// as seen from [`super::Inputs::dir`].
///
/// # Errors
///
/// If it is not what Poetry writes, if it is of an older format without its `pyproject.toml`, or has no such extra or
/// group.
pub(super) fn parse(
    text: &str,
    file: &str,
    dir: &Path,
    pyproject: Option<&PyProject>,
    wanted: &Wanted,
) -> Result<Pinned, InputError> {
    let lock: Lock = text::toml(text, file)?;
    let wrong = |line: usize, problem: String| InputError::Format {
        origin: Origin { file: file.to_owned(), line },
        problem,
        hint: Some("run `poetry lock` to make it anew".to_owned()),
    };
    let format = lock.metadata.lock_version.as_str();
    if !matches!(format.split_once('.'), Some(("1" | "2", _))) {
        return Err(wrong(0, format!("its format is {format}, layerwise reads 1.1, 2.0 and 2.1")));
    }
    let poetry = pyproject.and_then(|p| p.tool.poetry.as_ref());
    let in_lock = lock.package.iter().filter_map(|p| p.get_ref().groups.as_ref()).flatten();
    let in_project = poetry.iter().flat_map(|p| p.group.keys());
    let dev = poetry.is_some_and(|p| !p.dev_dependencies.is_empty()).then(|| "dev".to_owned());
    let mut groups: BTreeSet<String> = in_lock.chain(in_project).map(|name| normal(name)).chain(dev).collect();
    groups.extend(pyproject.map(PyProject::groups).unwrap_or_default());
    groups.remove("main");
    let extras = lock.extras.keys().map(|name| normal(name)).collect();
    wanted.check(file, &extras, &groups)?;

    let markers = if lock.package.iter().any(|p| p.get_ref().groups.is_some()) || lock.package.is_empty() {
        lock.package.iter().map(|package| stated(package.get_ref(), wanted)).collect::<Result<Vec<_>, _>>()
    } else {
        let poetry = poetry.ok_or_else(|| {
            wrong(0, "a lock of this older format is read together with Poetry's `pyproject.toml` beside it".to_owned())
        })?;
        reached(&lock, poetry, wanted)
    };
    let markers = markers.map_err(|problem| wrong(0, problem))?;

    let mut pinned = Pinned::default();
    for (package, marker) in lock.package.iter().zip(markers) {
        let Some(marker) = marker else { continue };
        let origin = Origin { file: file.to_owned(), line: line_at(text, package.span().start) };
        let package = package.get_ref();
        let mut requirement = Requirement::parse(&package.text(dir), &origin)?;
        if !marker.is_empty() {
            requirement = Requirement::parse(&requirement.and_marker(&marker).text, &origin)?;
        }
        let old = lock.metadata.files.get(&package.name).into_iter().flatten();
        requirement.hashes = only_sha256(package.files.iter().chain(old).map(|file| file.hash.as_str()))
            .map_err(|problem| wrong(origin.line, problem))?;
        if let (Some(source), Some(name)) = (&package.source, &requirement.name)
            && source.kind == "legacy"
        {
            let mut index = Index::parse(&source.url, dir).map_err(|problem| wrong(origin.line, problem))?;
            index.name = source.reference.clone();
            index.explicit = true;
            // Where the lock says PyPI, the user's own default index (a mirror) may stand in for it.
            if !is_pypi(&index.url) {
                pinned.index_of.insert(name.clone(), index);
            }
        }
        pinned.requirements.push(requirement);
    }
    Ok(pinned)
}

impl Package {
    /// `name==version`, or where the package is.
    fn text(&self, dir: &Path) -> String {
        let name = &self.name;
        let Some(source) = self.source.as_ref().filter(|source| source.kind != "legacy") else {
            return format!("{name}=={}", self.version);
        };
        let part = source.subdirectory.as_ref().map(|part| format!("#subdirectory={part}")).unwrap_or_default();
        match source.kind.as_str() {
            "git" => {
                let reference = source.resolved_reference.as_ref().or(source.reference.as_ref());
                let reference = reference.map(|r| format!("@{r}")).unwrap_or_default();
                format!("{name} @ git+{}{reference}{part}", source.url)
            }
            "file" | "directory" => format!("{name} @ {}", local(&dir.join(&source.url))),
            _ => format!("{name} @ {}{part}", source.url),
        }
    }
}

/// Where a package of format 2.1 is wanted: `None` if nowhere, an empty marker if everywhere.
fn stated(package: &Package, wanted: &Wanted) -> Result<Option<String>, String> {
    let main = std::iter::once("main".to_owned());
    let wanted_groups: BTreeSet<String> = main.chain(wanted.groups.iter().map(|group| normal(group))).collect();
    let groups = package.groups.iter().flatten().filter(|group| wanted_groups.contains(&normal(group)));
    let texts: Vec<&str> = groups
        .map(|group| match &package.markers {
            Some(Value::String(marker)) => marker,
            Some(Value::Table(by_group)) => by_group.get(group).and_then(Value::as_str).unwrap_or_default(),
            _ => "",
        })
        .collect();
    let mut all = MarkerTree::FALSE;
    for text in &texts {
        let marker = if text.is_empty() { MarkerTree::TRUE } else { parse_marker(text)? };
        all.or(select_extras(&marker, &wanted.extras));
    }
    Ok(match texts.as_slice() {
        _ if all.is_false() => None,
        // As Poetry wrote it, where nothing had to be put together.
        [text] if !text.contains("extra") => Some((*text).to_owned()),
        _ => Some(all.try_to_string().unwrap_or_default()),
    })
}

/// The marker where exactly the extras `selected` are asked for.
fn select_extras(marker: &MarkerTree, selected: &BTreeSet<String>) -> MarkerTree {
    // The disjunctive form of these two has no clauses.
    if marker.is_true() || marker.is_false() {
        return marker.clone();
    }
    let is_selected = |name: &MarkerValueExtra| selected.iter().any(|extra| normal(extra) == normal(&name.to_string()));
    let mut all = MarkerTree::FALSE;
    for clause in marker.to_dnf() {
        let mut kept = MarkerTree::TRUE;
        for expression in clause {
            kept.and(match &expression {
                MarkerExpression::Extra { operator, name } => {
                    if (*operator == ExtraOperator::Equal) == is_selected(name) {
                        MarkerTree::TRUE
                    } else {
                        MarkerTree::FALSE
                    }
                }
                _ => MarkerTree::expression(expression),
            });
        }
        all.or(kept);
    }
    all
}

/// One dependency on a package.
#[derive(Debug)]
struct Edge {
    name: String,
    constraint: String,
    marker: MarkerTree,
    optional: bool,
    extras: Vec<String>,
}

/// Reads a dependency: a constraint, a table, or several tables.
fn edges(name: &str, value: &Value) -> Result<Vec<Edge>, String> {
    if let Value::Array(list) = value {
        let parts: Vec<Vec<Edge>> = list.iter().map(|value| edges(name, value)).collect::<Result<_, _>>()?;
        return Ok(parts.into_iter().flatten().collect());
    }
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let mut marker = text("markers").map_or(Ok(MarkerTree::TRUE), parse_marker)?;
    if let Some(python) = text("python") {
        marker.and(python_marker(python)?);
    }
    let extras = value.get("extras").and_then(Value::as_array).into_iter().flatten();
    Ok(vec![Edge {
        name: normal(name),
        constraint: value.as_str().or_else(|| text("version")).unwrap_or("*").to_owned(),
        marker,
        optional: value.get("optional").and_then(Value::as_bool).unwrap_or(false),
        extras: extras.filter_map(Value::as_str).map(normal).collect(),
    }])
}

/// No real lock comes near; a made-up one could run for long.
const MAX_STEPS: usize = 100_000;

/// For a lock before 2.1: where each package is wanted, by following the dependencies from the project's own.
fn reached(lock: &Lock, poetry: &ToolPoetry, wanted: &Wanted) -> Result<Vec<Option<String>>, String> {
    let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, package) in lock.package.iter().enumerate() {
        by_name.entry(normal(&package.get_ref().name)).or_default().push(at);
    }
    let fitting = |edge: &Edge| -> Vec<usize> {
        let all = by_name.get(&edge.name).cloned().unwrap_or_default();
        if all.len() < 2 {
            return all;
        }
        let fits = |at: &usize| {
            lock.package[*at].get_ref().version.parse().is_ok_and(|version| allows(&edge.constraint, &version))
        };
        all.into_iter().filter(fits).collect()
    };

    // Keyed by package and, where one of its extras is asked for, that extra.
    let mut needed: BTreeMap<(usize, Option<String>), MarkerTree> = BTreeMap::new();
    let mut open: Vec<(usize, Option<String>)> = Vec::new();
    let follow = |edge: &Edge, marker: &MarkerTree, open: &mut Vec<_>, needed: &mut BTreeMap<_, MarkerTree>| {
        for at in fitting(edge) {
            for extra in std::iter::once(None).chain(edge.extras.iter().cloned().map(Some)) {
                let key = (at, extra);
                let before = needed.get(&key).cloned().unwrap_or(MarkerTree::FALSE);
                let mut after = before.clone();
                after.or(marker.clone());
                if after != before {
                    needed.insert(key.clone(), after);
                    open.push(key);
                }
            }
        }
    };

    let wanted_extras: BTreeSet<String> = wanted.extras.iter().map(|extra| normal(extra)).collect();
    let asked: BTreeSet<String> = lock
        .extras
        .iter()
        .filter(|(extra, _)| wanted_extras.contains(&normal(extra)))
        .flat_map(|(_, packages)| packages.iter().map(|package| dependency_name(package)))
        .collect();
    let mut roots: Vec<(&String, &Value)> = poetry.dependencies.iter().filter(|(name, _)| *name != "python").collect();
    for group in wanted.groups.iter().map(|group| normal(group)) {
        roots.extend(poetry.group.iter().filter(|(name, _)| normal(name) == group).flat_map(|(_, g)| &g.dependencies));
        roots.extend((group == "dev").then_some(&poetry.dev_dependencies).into_iter().flatten());
    }
    for (name, value) in roots {
        for edge in edges(name, value)? {
            if !edge.optional || asked.contains(&edge.name) {
                follow(&edge, &edge.marker, &mut open, &mut needed);
            }
        }
    }

    let mut steps = 0;
    while let Some(key) = open.pop() {
        steps += 1;
        if steps > MAX_STEPS {
            return Err("its dependencies are too entangled to follow".to_owned());
        }
        let (at, extra) = &key;
        let package = lock.package[*at].get_ref();
        let marker = needed.get(&key).cloned().unwrap_or(MarkerTree::FALSE);
        let of_extra: Option<BTreeSet<String>> = extra.as_ref().map(|extra| {
            let lists = package.extras.iter().filter(|(name, _)| normal(name) == *extra);
            lists.flat_map(|(_, list)| list.iter().map(|text| dependency_name(text))).collect()
        });
        let selected: BTreeSet<String> = extra.iter().cloned().collect();
        for (name, value) in &package.dependencies {
            for edge in edges(name, value)? {
                let meant = of_extra.as_ref().map_or(!edge.optional, |names| names.contains(&edge.name));
                let mut here = select_extras(&edge.marker, &selected);
                here.and(marker.clone());
                if meant && !here.is_false() {
                    follow(&edge, &here, &mut open, &mut needed);
                }
            }
        }
    }
    let marker = |at| needed.get(&(at, None)).filter(|m| !m.is_false()).map(|m| m.try_to_string().unwrap_or_default());
    Ok((0..lock.package.len()).map(marker).collect())
}

/// The normalised name in front of `name (>=1) ; marker` or `name[extra]`.
fn dependency_name(text: &str) -> String {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c)).unwrap_or(text.len());
    normal(&text[..end])
}

/// Poetry's constraint as alternatives of PEP 440 specifiers; a part we cannot read is left out.
///
/// Source: <https://python-poetry.org/docs/dependency-specification/#version-constraints>.
fn alternatives(constraint: &str) -> Vec<Vec<String>> {
    constraint
        .split("||")
        .map(|alternative| {
            let mut joined = String::new();
            for c in alternative.trim().chars() {
                match c {
                    // `>= 1, < 2` and `>=1 <2` are the same.
                    c if c.is_whitespace() && joined.ends_with(['<', '>', '=', '!', '~', '^', ',']) => {}
                    c if c.is_whitespace() => joined.push(','),
                    c => joined.push(c),
                }
            }
            joined.split(',').filter(|part| !part.is_empty() && *part != "*").flat_map(specifiers).collect()
        })
        .collect()
}

/// One part of a constraint as PEP 440 specifiers.
fn specifiers(part: &str) -> Vec<String> {
    let caret = part.strip_prefix('^');
    let tilde = part.strip_prefix('~').filter(|rest| !rest.starts_with('='));
    if let Some(text) = caret.or(tilde) {
        let Ok(version) = text.parse::<Version>() else { return Vec::new() };
        let release = version.release();
        let kept = match caret {
            Some(_) => release.iter().position(|&n| n > 0).map_or(release.len(), |at| at + 1),
            None => release.len().min(2),
        };
        let mut upper: Vec<u64> = release[..kept].to_vec();
        if let Some(last) = upper.last_mut() {
            *last = last.saturating_add(1);
        }
        let upper: Vec<String> = upper.iter().map(u64::to_string).collect();
        return vec![format!(">={text}"), format!("<{}", upper.join("."))];
    }
    match part.starts_with(['<', '>', '=', '!', '~']) {
        true => vec![part.to_owned()],
        false => vec![format!("=={part}")],
    }
}

/// Whether Poetry's constraint allows a version; one that we cannot read does.
fn allows(constraint: &str, version: &Version) -> bool {
    alternatives(constraint).iter().any(|all| {
        all.iter().all(|specifier| specifier.parse::<VersionSpecifiers>().map_or(true, |s| s.contains(version)))
    })
}

/// Poetry's `python = "^3.8"` as a marker.
fn python_marker(constraint: &str) -> Result<MarkerTree, String> {
    let mut any = MarkerTree::FALSE;
    for alternative in alternatives(constraint) {
        let mut all = MarkerTree::TRUE;
        for specifier in alternative {
            let version = specifier.trim_start_matches(['<', '>', '=', '!', '~']);
            let operator = &specifier[..specifier.len() - version.len()];
            all.and(parse_marker(&format!("python_full_version {operator} '{version}'"))?);
        }
        any.or(all);
    }
    Ok(any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints() {
        for (constraint, expected) in [
            ("*", ""),
            ("^1.2.3", ">=1.2.3 <2"),
            ("^0.2.3", ">=0.2.3 <0.3"),
            ("^0.0.3", ">=0.0.3 <0.0.4"),
            ("^0.0", ">=0.0 <0.1"),
            ("~1.2.3", ">=1.2.3 <1.3"),
            ("~1", ">=1 <2"),
            ("~=1.2", "~=1.2"),
            ("1.2.*", "==1.2.*"),
            ("1.2", "==1.2"),
            (">= 1.2, < 2", ">=1.2 <2"),
            (">=1.2 <2 || ^3", ">=1.2 <2 | >=3 <4"),
        ] {
            let found: Vec<String> = alternatives(constraint).iter().map(|all| all.join(" ")).collect();
            assert_eq!(found.join(" | "), expected, "{constraint}");
        }
        let version = "1.5".parse().unwrap();
        assert!(allows("^1.2", &version) && allows("<1 || >=1.5", &version) && !allows("~1.2", &version));
    }
}
