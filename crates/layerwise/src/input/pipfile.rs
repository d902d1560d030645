//! `Pipfile.lock`.
//!
//! Source: <https://pipenv.pypa.io/en/latest/pipfile.html>; there is no specification of the lock, so this follows what
//! pipenv 2026 writes and reads (`pipenv/utils/dependencies.py`).

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::pyproject::{local, normal};
use super::requirements::only_sha256;
use super::{Index, InputError, Origin, Requirement, Variables, Wanted, is_pypi};
use crate::model::PackageName;

/// What a `Pipfile.lock` pins.
#[derive(Debug, Default)]
pub(super) struct Pinned {
    pub(super) requirements: Vec<Requirement>,
    pub(super) default_index: Option<Index>,
    pub(super) index_of: BTreeMap<PackageName, Index>,
    pub(super) warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Lock {
    #[serde(rename = "_meta")]
    meta: Meta,
    #[serde(flatten)]
    categories: BTreeMap<String, BTreeMap<String, Package>>,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "pipfile-spec")]
    spec: u64,
    #[serde(default)]
    sources: Vec<Source>,
}

#[derive(Deserialize)]
struct Source {
    #[serde(default)]
    name: String,
    url: String,
}

#[derive(Deserialize)]
struct Package {
    version: Option<String>,
    #[serde(default)]
    hashes: Vec<String>,
    markers: Option<String>,
    index: Option<String>,
    git: Option<String>,
    #[serde(rename = "ref")]
    reference: Option<String>,
    subdirectory: Option<String>,
    file: Option<String>,
    path: Option<String>,
}

/// Reads the text: the `default` packages, and the categories that are wanted as groups (`develop` is `dev`, too).
/// `dir` is the lock's directory as seen from [`super::Inputs::dir`].
///
/// # Errors
///
/// If it is not what pipenv writes, or has no such category.
pub(super) fn parse(
    text: &str,
    file: &str,
    dir: &Path,
    wanted: &Wanted,
    variables: Variables<'_>,
) -> Result<Pinned, InputError> {
    let wrong = |line: usize, problem: String| InputError::Format {
        origin: Origin { file: file.to_owned(), line },
        problem,
        hint: Some("run `pipenv lock` to make it anew".to_owned()),
    };
    let lock: Lock = serde_json::from_str(text).map_err(|error| wrong(error.line(), plain(&error)))?;
    if lock.meta.spec != 6 {
        return Err(wrong(0, format!("its format is {}, layerwise reads format 6", lock.meta.spec)));
    }
    let known = lock.categories.keys().filter(|name| *name != "default").map(|name| category(name)).collect();
    wanted.check(file, &Default::default(), &known)?;

    let sources = lock.meta.sources.iter().map(|source| {
        let mut index = Index::parse(&expand(&source.url, variables), dir)
            .map_err(|problem| wrong(0, format!("source `{}`: {problem}", source.name)))?;
        index.name = Some(source.name.clone());
        Ok(index)
    });
    let sources = sources.collect::<Result<Vec<Index>, InputError>>()?;
    // Where the lock says PyPI, the user's own default index (a mirror) may stand in for it.
    let default_index = sources.first().filter(|index| !is_pypi(&index.url)).cloned();
    let mut pinned = Pinned { default_index, ..Pinned::default() };

    let groups: Vec<String> = wanted.groups.iter().map(|group| normal(group)).collect();
    for (name, packages) in &lock.categories {
        if name != "default" && !groups.contains(&category(name)) {
            continue;
        }
        for (name, package) in packages {
            let origin = Origin { file: file.to_owned(), line: line_of(text, name) };
            let requirement = package.requirement(name, dir, &origin, &mut pinned.warnings)?;
            let elsewhere = package.index.as_ref().and_then(|wanted| {
                let at = sources.iter().position(|index| index.name.as_ref() == Some(wanted))?;
                (at > 0).then(|| Index { explicit: true, ..sources[at].clone() })
            });
            if let (Some(index), Some(name)) = (elsewhere, &requirement.name) {
                pinned.index_of.insert(name.clone(), index);
            }
            pinned.requirements.push(requirement);
        }
    }
    Ok(pinned)
}

impl Package {
    fn requirement(
        &self,
        name: &str,
        dir: &Path,
        origin: &Origin,
        warnings: &mut Vec<String>,
    ) -> Result<Requirement, InputError> {
        let place = match (&self.git, self.file.as_ref().or(self.path.as_ref())) {
            (Some(git), _) => {
                let git = if git.starts_with("git+") { git.clone() } else { format!("git+{git}") };
                let reference = self.reference.as_ref().map(|r| format!("@{r}")).unwrap_or_default();
                let part = self.subdirectory.as_ref().map(|s| format!("#subdirectory={s}")).unwrap_or_default();
                Some(format!("{git}{reference}{part}"))
            }
            (None, Some(file)) if file.contains("://") => Some(file.clone()),
            (None, Some(path)) => Some(local(&dir.join(path))),
            (None, None) => None,
        };
        let text = match (place, self.version.as_deref()) {
            (Some(place), _) => format!("{name} @ {place}"),
            (None, Some(version)) if version.starts_with("==") => format!("{name}{version}"),
            // pipenv does not pin what does not apply to the system that it locks on.
            (None, _) => {
                warnings.push(format!("{origin}: pipenv has not pinned `{name}`, its newest version is taken"));
                name.to_owned()
            }
        };
        let mut requirement = Requirement::parse(&text, origin)?;
        if let Some(marker) = self.markers.as_deref().filter(|marker| !marker.trim().is_empty()) {
            requirement = Requirement::parse(&requirement.and_marker(marker).text, origin)?;
        }
        requirement.hashes = only_sha256(self.hashes.iter().map(String::as_str))
            .map_err(|problem| InputError::Format { origin: origin.clone(), problem, hint: None })?;
        Ok(requirement)
    }
}

/// The name of a category as a group.
fn category(name: &str) -> String {
    if name == "develop" { "dev".to_owned() } else { normal(name) }
}

/// The line where the package stands.
fn line_of(text: &str, name: &str) -> usize {
    let key = format!("\"{name}\": {{");
    text.lines().position(|line| line.trim_start().starts_with(&key)).map_or(0, |at| at + 1)
}

/// serde_json's message without the place, which the origin has.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(message, _)| message.to_owned())
}

/// Puts values in for `$NAME` and `${NAME}`, as Python's `os.path.expandvars`.
fn expand(text: &str, variables: Variables<'_>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        expanded += before;
        let braced = after.strip_prefix('{');
        let inner = braced.unwrap_or(after);
        let length = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inner.len());
        let end = if braced.is_some() { length + 2 } else { length };
        let closed = braced.is_none() || inner[length..].starts_with('}');
        match (length > 0 && closed).then(|| variables(&inner[..length])).flatten() {
            Some(value) => {
                expanded += &value;
                rest = &after[end..];
            }
            None => {
                expanded.push('$');
                rest = after;
            }
        }
    }
    expanded + rest
}
