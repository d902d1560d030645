//! Say why: what was passed over, and what would be needed to have it. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use pep440_rs::{Version, VersionSpecifiers};
use pep508_rs::{ExtraName, MarkerTree, VersionOrUrl};

use super::view::Project;
use crate::input::Requirement;
use crate::model::marker::Environment;
use crate::model::specifier::{self, Specifier};
use crate::model::{Note, PackageName, Pin, SourcePin, Target};

/// What was learnt of the projects that uv asked for.
pub type Projects = BTreeMap<PackageName, Option<Arc<Project>>>;

/// What may be said of a choice.
pub struct Choice<'a> {
    /// What was chosen.
    pub packages: &'a [Pin],
    /// What was chosen to be built.
    pub sources: &'a [SourcePin],
    /// What was wanted, and constraints.
    pub requirements: Vec<&'a Requirement>,
    /// What the index has.
    pub projects: &'a Projects,
    /// The `METADATA` of the chosen wheels (and others), by file name.
    pub metadata: &'a HashMap<String, Arc<str>>,
    /// For what.
    pub target: Target,
}

/// The notes on a choice, sorted by package.
pub fn notes(choice: &Choice<'_>) -> Vec<Note> {
    let allowed = specifiers(choice);
    let wheels = choice.packages.iter().flat_map(|pin| {
        let notes = notes_on(&pin.name, &pin.version, Some(pin), choice, &allowed);
        notes.into_iter().map(|note| (&pin.name, note))
    });
    let sources = choice.sources.iter().flat_map(|pin| {
        let notes =
            from_source(pin, choice).into_iter().chain(notes_on(&pin.name, &pin.version, None, choice, &allowed));
        notes.map(|note| (&pin.name, note))
    });
    let mut notes: Vec<_> = wheels.chain(sources).collect();
    notes.sort_by_key(|(name, _)| *name);
    notes.into_iter().map(|(_, note)| note).collect()
}

fn from_source(pin: &SourcePin, choice: &Choice<'_>) -> Option<Note> {
    let project = choice.projects.get(&pin.name)?.as_ref()?;
    let release = project.releases.get(&pin.version)?;
    Some(Note::FromSource {
        name: pin.name.clone(),
        version: pin.version.to_string(),
        reason: release.reason(choice.target),
        nearest_wheel: project.nearest_fitting(&pin.version).map(ToString::to_string),
    })
}

fn notes_on(
    name: &PackageName,
    taken: &Version,
    wheel: Option<&Pin>,
    choice: &Choice<'_>,
    allowed: &BTreeMap<PackageName, Vec<VersionSpecifiers>>,
) -> Vec<Note> {
    let Some(Some(project)) = choice.projects.get(name) else { return Vec::new() };
    let none = Vec::new();
    let allowed = allowed.get(name).unwrap_or(&none);
    let mut notes = Vec::new();

    let newer = project.releases.range(taken.clone()..).rev().find(|(version, release)| {
        *version > taken
            && !release.is_offered()
            && release.python_fits
            && !release.yanked
            && !version.any_prerelease()
            && !version.is_local()
            && allowed.iter().all(|specifiers| specifiers.contains(version))
    });
    if let Some((version, release)) = newer {
        notes.push(Note::PassedOver {
            name: name.clone(),
            taken: taken.to_string(),
            newest: version.to_string(),
            reason: release.reason(choice.target),
            fits_runtime: release.later_runtime(choice.target),
            compilable: release.sdist.is_some(),
        });
    }

    if let Some(release) = project.releases.get(taken).filter(|_| wheel.is_some_and(|pin| pin.wheel.is_any_platform()))
        && release.misfits.iter().any(|(_, wheel, _)| !wheel.is_any_platform())
    {
        notes.push(Note::PureFallback {
            name: name.clone(),
            version: taken.to_string(),
            reason: release.reason(choice.target),
        });
    }

    let asked_for = allowed.iter().any(|specifiers| specifiers.iter().any(|one| one.version().any_prerelease()));
    let stable = project.releases.keys().any(|version| !version.any_prerelease());
    if taken.any_prerelease() && stable && !asked_for {
        notes.push(Note::Prerelease { name: name.clone(), version: taken.to_string() });
    }
    notes
}

/// What versions of each package all requirements that apply allow: the user's, and those of the chosen packages.
fn specifiers(choice: &Choice<'_>) -> BTreeMap<PackageName, Vec<VersionSpecifiers>> {
    let environment = Environment::of(choice.target);
    let mut requirements: Vec<Specifier> = choice
        .requirements
        .iter()
        .filter_map(|requirement| specifier::parse(&requirement.text).ok())
        .filter(|requirement| environment.holds_tree(&requirement.marker))
        .collect();
    let wheels = choice.packages.iter().map(|pin| (&pin.name, &pin.wheel.text));
    let files = wheels.chain(choice.sources.iter().map(|pin| (&pin.name, &pin.file)));
    let declared: Vec<(&PackageName, Vec<Specifier>)> =
        files.filter_map(|(name, file)| Some((name, requires_dist(choice.metadata.get(file)?)))).collect();

    // Extras that anybody asks for, of whatever package: enough for an explanation.
    let everything = declared.iter().flat_map(|(_, requirements)| requirements).chain(&requirements);
    let mut extras: BTreeMap<String, BTreeSet<ExtraName>> = BTreeMap::new();
    for requirement in everything {
        extras.entry(requirement.name.to_string()).or_default().extend(requirement.extras.iter().cloned());
    }
    for (name, declared) in declared {
        let selected =
            extras.get(name.as_str()).map(|set| set.iter().map(ToString::to_string).collect()).unwrap_or_default();
        let environment = environment.clone().select(&selected, &BTreeSet::new());
        requirements.extend(declared.into_iter().filter(|requirement| environment.holds_tree(&requirement.marker)));
    }

    let mut all: BTreeMap<PackageName, Vec<VersionSpecifiers>> = BTreeMap::new();
    for requirement in requirements {
        if let (Ok(name), Some(VersionOrUrl::VersionSpecifier(specifiers))) =
            (requirement.name.to_string().parse(), requirement.version_or_url)
        {
            all.entry(name).or_default().push(specifiers);
        }
    }
    all
}

/// The `Requires-Dist` fields of a `METADATA` text; what cannot be read is left out.
fn requires_dist(metadata: &str) -> Vec<Specifier> {
    metadata
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("Requires-Dist:"))
        .filter_map(|text| specifier::parse(text.trim()).ok())
        .collect()
}

/// What to say when uv found no solution: for each project that has releases which the user's own requirement
/// allows, but none that fits.
pub fn hints(requirements: &[Requirement], projects: &Projects, target: Target, said: &str) -> Vec<String> {
    let environment = Environment::of(target);
    let wanted: BTreeMap<PackageName, VersionSpecifiers> = requirements
        .iter()
        .filter_map(|requirement| specifier::parse(&requirement.text).ok())
        .filter(|requirement| requirement.marker == MarkerTree::TRUE || environment.holds_tree(&requirement.marker))
        .filter_map(|requirement| {
            let specifiers = match requirement.version_or_url {
                Some(VersionOrUrl::VersionSpecifier(specifiers)) => specifiers,
                None => VersionSpecifiers::empty(),
                Some(VersionOrUrl::Url(_)) => return None,
            };
            Some((requirement.name.to_string().parse().ok()?, specifiers))
        })
        .collect();
    let anything = VersionSpecifiers::empty();
    let mut hints = Vec::new();
    for (name, project) in projects {
        let Some(project) = project else { continue };
        let specifiers = match wanted.get(name) {
            Some(specifiers) => specifiers,
            None if mentions(said, name) => &anything,
            None => continue,
        };
        let allowed = || project.releases.iter().filter(|(version, _)| specifiers.contains(version));
        let fits = allowed().any(|(version, release)| release.is_offered() && !version.any_prerelease());
        let hidden = allowed()
            .rev()
            .find(|(version, release)| !release.is_offered() && !release.yanked && !version.any_prerelease());
        let Some((version, release)) = hidden.filter(|_| !fits || !wanted.contains_key(name)) else { continue };
        let compile = match &release.sdist {
            Some(_) => format!("; `--compile {name}` builds it from its source distribution"),
            None => String::new(),
        };
        hints.push(unfit(name, version, project, target) + &later(release.later_runtime(target)) + &compile);
    }
    hints.truncate(4);
    hints
}

/// `tiktoken 0.14.0 does not fit …: …; the nearest version that fits is 0.11.0`.
pub fn unfit(name: &PackageName, version: &Version, project: &Project, target: Target) -> String {
    let reason = project.releases.get(version).map(|release| release.reason(target)).unwrap_or_default();
    let nearest = match project.nearest_fitting(version) {
        Some(nearest) => format!("the nearest version that fits is {nearest}"),
        None => "no version of it has a wheel that fits".to_owned(),
    };
    format!("{name} {version} does not fit {target}: {reason}; {nearest}")
}

fn later(runtime: Option<String>) -> String {
    runtime.map(|runtime| format!("; {runtime} would take it")).unwrap_or_default()
}

fn mentions(said: &str, name: &PackageName) -> bool {
    said.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).any(|word| word.trim_matches('-') == name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `METADATA` is a stranger's: what cannot be read of it is left out.
    #[test]
    fn requirements_of_strangers() {
        let deep = format!("{}os_name == 'x'{}", "(".repeat(100_000), ")".repeat(100_000));
        let text = format!(
            "Name: a\nRequires-Dist: b (>=1)\nRequires-Dist: c; {deep}\nRequires-Dist: [\nRequires-Dist:\n\
             Requires-Dist: d[x]>1; extra == 'y'\nRequires-Dist: e @ https://h/e.whl\n\nRequires-Dist: body\n"
        );
        let names: Vec<String> = requires_dist(&text).iter().map(|one| one.name.to_string()).collect();
        assert_eq!(names, ["b", "d", "e"]);
    }
}
