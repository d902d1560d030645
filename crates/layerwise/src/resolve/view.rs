//! The view: of all files of a project, those that fit the target, and why the others do not. Pure.
//!
//! uv is shown only what this function leaves, so its choice of "newest" is the newest that fits; what was left
//! out is kept with the reason, for explanations.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use pep440_rs::{Version, VersionSpecifiers};

use super::page::{File, sdist_stem};
use crate::model::tag::{Misfit, Tags};
use crate::model::{CompilePolicy, PackageName, Runtime, Target, WheelName};

/// All that is known of a project's releases, judged for one target.
#[derive(Debug, Clone, Default)]
pub struct Project {
    /// By version.
    pub releases: BTreeMap<Version, Release>,
}

/// One version of a project.
#[derive(Debug, Clone, Default)]
pub struct Release {
    /// Wheels that fit, with their rank (0 is best).
    pub fitting: Vec<(u32, WheelName, File)>,
    /// Wheels that do not, and why.
    pub misfits: Vec<(Misfit, WheelName, File)>,
    /// The source distribution, if there is one that can be read.
    pub sdist: Option<File>,
    /// The source distribution may be chosen: no wheel fits, and building it is allowed, or it may be pure Python.
    pub from_source: bool,
    /// There is a source distribution, of whatever kind.
    pub has_sdist: bool,
    /// All of its files are withdrawn.
    pub yanked: bool,
    /// Its `Requires-Python` admits the target.
    pub python_fits: bool,
    /// The `Requires-Python` that does not admit the target.
    pub requires_python: Option<String>,
}

/// Which source distributions may be chosen where no wheel fits.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// What may be compiled.
    pub policy: CompilePolicy,
    /// Versions that are wanted and no others (`==`).
    pub pinned: BTreeSet<(PackageName, Version)>,
}

/// Sorts a project's files into releases and judges each wheel for the target.
///
/// A source distribution may be chosen where its release has no wheel that fits, and either it may be compiled, or
/// the release has no wheels at all, for any platform: then it may be pure Python, which its build will show. The
/// latter only where it is the one way to have the project: wheels come first.
///
/// File names that are neither a wheel's nor a source distribution's of `name` are left out.
pub fn view(name: &PackageName, files: Vec<File>, tags: &Tags, sources: &Sources) -> Project {
    let python = &tags.target().runtime.python;
    let mut releases: BTreeMap<Version, Release> = BTreeMap::new();
    let mut intact: BTreeSet<Version> = BTreeSet::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for file in files {
        // The same file on two indexes: the first one counts. No file system takes a longer name.
        if file.filename.len() > 255 || !seen.insert(file.filename.clone()) {
            continue;
        }
        let wheel = file.filename.parse::<WheelName>().ok().filter(|wheel| wheel.name == *name);
        let version = match &wheel {
            Some(wheel) => wheel.version.clone(),
            None => match sdist_version(name, &file.filename) {
                Some(version) => version,
                None => continue,
            },
        };
        if file.yanked.is_none() {
            intact.insert(version.clone());
        }
        let release = releases.entry(version).or_default();
        let admits = admits(file.requires_python.as_deref(), python);
        if admits {
            release.python_fits = true;
        } else {
            release.requires_python.clone_from(&file.requires_python);
        }
        match wheel {
            None if !admits || !is_readable(&file.filename) => release.has_sdist = true,
            None => {
                release.has_sdist = true;
                // Of two forms of the same, the tar.
                if release.sdist.as_ref().is_none_or(|other| other.filename.ends_with(".zip")) {
                    release.sdist = Some(file);
                }
            }
            Some(wheel) => match tags.rank(&wheel) {
                Ok(rank) if admits => release.fitting.push((rank, wheel, file)),
                Ok(_) => release.misfits.push((Misfit::Python(wheel.pythons.join(".")), wheel, file)),
                Err(misfit) => release.misfits.push((misfit, wheel, file)),
            },
        }
    }
    let only_sources = releases
        .iter()
        .all(|(version, release)| release.fitting.is_empty() || !intact.contains(version) || version.any_prerelease());
    for (version, release) in &mut releases {
        release.yanked = !intact.contains(version);
        release.from_source = release.sdist.is_some()
            && release.fitting.is_empty()
            && (sources.policy.allows(name)
                || release.misfits.is_empty()
                    && (only_sources || sources.pinned.contains(&(name.clone(), version.clone()))));
        release.fitting.sort_by(|a, b| preference((a.0, &a.1), (b.0, &b.1)));
    }
    Project { releases }
}

/// Whether layerwise can unpack a source distribution of this name.
fn is_readable(filename: &str) -> bool {
    [".tar.gz", ".tgz", ".zip"].iter().any(|end| filename.ends_with(end))
}

/// Whether `Requires-Python` admits `python`. What cannot be read admits everything, as pip and uv do.
fn admits(requires_python: Option<&str>, python: &Version) -> bool {
    requires_python
        .and_then(|text| text.parse::<VersionSpecifiers>().ok())
        .is_none_or(|specifiers| specifiers.contains(python))
}

/// The version in a source distribution's name, `name-1.0.tar.gz` (PEP 625, and the looser names before it).
fn sdist_version(name: &PackageName, filename: &str) -> Option<Version> {
    let stem = sdist_stem(filename)?;
    stem.match_indices('-').find_map(|(at, _)| {
        let same = stem[..at].parse::<PackageName>().is_ok_and(|found| found == *name);
        if same { stem[at + 1..].parse().ok() } else { None }
    })
}

impl Release {
    /// Whether it can be had at all: as a wheel, or built from its source distribution.
    pub fn is_offered(&self) -> bool {
        !self.fitting.is_empty() || self.from_source
    }

    /// Why none of its wheels fits, as half a sentence that follows "1.2.3 skipped: ".
    pub fn reason(&self, target: Target) -> String {
        let runtime = &target.runtime.name;
        if let (Some(requires), false) = (&self.requires_python, self.python_fits) {
            return format!("it requires Python {requires}, {runtime} is {}", target.runtime.python);
        }
        let nearest = self.misfits.iter().map(|(misfit, ..)| misfit).min();
        match nearest {
            None if self.has_sdist => "it has no wheels, only a source distribution".to_owned(),
            None => "it has no files".to_owned(),
            Some(Misfit::Glibc(needs)) => {
                let abis: BTreeSet<&str> = self
                    .misfits
                    .iter()
                    .filter(|(misfit, ..)| matches!(misfit, Misfit::Glibc(_)))
                    .flat_map(|(_, wheel, _)| wheel.pythons.iter().map(String::as_str))
                    .collect();
                let abis: Vec<&str> = abis.into_iter().collect();
                format!(
                    "its {} wheels for {} need glibc {needs}, {runtime} has {}",
                    abis.join("/"),
                    target.architecture,
                    target.runtime.glibc
                )
            }
            Some(Misfit::Musl) => "its only Linux wheels are for musl (Alpine)".to_owned(),
            Some(Misfit::FreeThreaded) => {
                format!("its wheels for {runtime} are free-threaded or debug builds, which Lambda does not run")
            }
            Some(Misfit::Python(_)) => {
                let pythons: BTreeSet<String> = self
                    .misfits
                    .iter()
                    .filter_map(|(misfit, ..)| match misfit {
                        Misfit::Python(python) => Some(python.clone()),
                        _ => None,
                    })
                    .collect();
                let mut pythons: Vec<String> = pythons.into_iter().collect();
                pythons.sort_by_key(|python| (python.len(), python.clone()));
                format!("its wheels are for {}, not for {runtime}", pythons.join(", "))
            }
            Some(Misfit::Architecture(_)) => {
                format!("its Linux wheels are for other processors than {}", target.architecture)
            }
            Some(Misfit::System(_)) => "its wheels are for other systems than Linux".to_owned(),
        }
    }

    /// Whether a wheel of this release would fit another runtime on the same architecture.
    pub fn fits(&self, tags: &Tags) -> bool {
        let python = &tags.target().runtime.python;
        self.misfits
            .iter()
            .any(|(_, wheel, file)| tags.rank(wheel).is_ok() && admits(file.requires_python.as_deref(), python))
    }

    /// The first newer runtime that a wheel of this release fits.
    pub fn later_runtime(&self, target: Target) -> Option<String> {
        Runtime::all()
            .iter()
            .filter(|runtime| runtime.minor > target.runtime.minor && runtime.blocked.is_none() && !runtime.preview)
            .find(|runtime| self.fits(&Tags::of(Target { runtime, architecture: target.architecture })))
            .map(|runtime| runtime.name.clone())
    }
}

impl Project {
    /// The version whose wheel fits and that is nearest to `wanted`: the newest older one, else the oldest newer.
    pub fn nearest_fitting(&self, wanted: &Version) -> Option<&Version> {
        let fits = |(version, release): &(&Version, &Release)| {
            !release.fitting.is_empty() && !release.yanked && !version.any_prerelease()
        };
        let older = self.releases.range(..wanted.clone()).rev().find(fits);
        let newer = || self.releases.range(wanted.clone()..).find(fits);
        older.or_else(newer).map(|(version, _)| version)
    }
}

/// The best of some wheels for a target: `(file name's place in the list)`, or nothing if none fits.
pub fn best<'a>(wheels: impl Iterator<Item = &'a WheelName>, tags: &Tags) -> Option<usize> {
    let ranked = wheels.enumerate().filter_map(|(at, wheel)| Some((tags.rank(wheel).ok()?, at, wheel)));
    ranked.min_by(|a, b| preference((a.0, a.2), (b.0, b.2))).map(|(_, at, _)| at)
}

/// Of two wheels with their ranks: the better tag first, then the later build, then by name.
fn preference(a: (u32, &WheelName), b: (u32, &WheelName)) -> Ordering {
    a.0.cmp(&b.0).then_with(|| b.1.build.cmp(&a.1.build)).then_with(|| a.1.text.cmp(&b.1.text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(target: Target, names: &[&str]) -> Project {
        let files = names.iter().map(|text| {
            let (filename, requires) = text.split_once(' ').unwrap_or((text, ""));
            File {
                filename: filename.to_owned(),
                url: "https://host/file".parse().unwrap(),
                sha256: None,
                size: None,
                requires_python: (!requires.is_empty()).then(|| requires.to_owned()),
                yanked: None,
                core_metadata: super::super::page::MetadataOffer::No,
                upload_time: None,
            }
        });
        view(&"tik-token".parse().unwrap(), files.collect(), &Tags::of(target), &Sources::default())
    }

    fn check(runtime: &str, names: &[&str], expected: &str) {
        let target = Target::new(runtime, "x86_64", "2026-11-24").unwrap();
        let project = project(target, names);
        let shown: Vec<String> = project
            .releases
            .iter()
            .map(|(version, release)| match release.fitting.first() {
                Some((_, wheel, _)) => format!("{version}: {wheel}"),
                None => format!(
                    "{version}: {} [{}]",
                    release.reason(target),
                    release.later_runtime(target).unwrap_or_default()
                ),
            })
            .collect();
        assert_eq!(shown.join("\n"), expected);
    }

    #[test]
    fn the_seed() {
        check(
            "python3.11",
            &[
                "tik_token-0.11.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
                "tik_token-0.11.0.tar.gz",
                "tik_token-0.12.0-cp311-cp311-manylinux_2_28_x86_64.whl",
                "tik_token-0.12.0-cp312-cp312-manylinux_2_28_x86_64.whl",
                "tik_token-0.12.0-cp311-cp311-musllinux_1_2_x86_64.whl",
                "tik_token-0.12.0-cp311-cp311-win_amd64.whl",
                "tik_token-0.12.0.tar.gz",
                "other-1.0-py3-none-any.whl",
            ],
            "0.11.0: tik_token-0.11.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl\n\
             0.12.0: its cp311 wheels for x86_64 need glibc 2.28, python3.11 has 2.26 [python3.12]",
        );
    }

    #[test]
    fn reasons() {
        check(
            "python3.13",
            &[
                "tik-token-1.tar.gz",
                "tik_token-2-cp313-cp313t-manylinux_2_28_x86_64.whl",
                "tik_token-3-cp312-cp312-manylinux_2_28_x86_64.whl",
                "tik_token-4-cp313-cp313-musllinux_1_2_x86_64.whl",
                "tik_token-5-cp313-cp313-manylinux_2_17_aarch64.whl",
                "tik_token-6-cp313-cp313-win_amd64.whl",
                "tik_token-7-py3-none-any.whl >=3.14",
                "tik_token-8-py3-none-any.whl <4",
            ],
            "1: it has no wheels, only a source distribution []\n\
             2: its wheels for python3.13 are free-threaded or debug builds, which Lambda does not run []\n\
             3: its wheels are for cp312, not for python3.13 []\n\
             4: its only Linux wheels are for musl (Alpine) []\n\
             5: its Linux wheels are for other processors than x86_64 []\n\
             6: its wheels are for other systems than Linux []\n\
             7: it requires Python >=3.14, python3.13 is 3.13.7 [python3.14]\n\
             8: tik_token-8-py3-none-any.whl",
        );
    }

    #[test]
    fn versions_are_ordered_as_pep_440_says() {
        let versions = [
            "1.0.dev1",
            "1.0a1",
            "1.0a2.dev1",
            "1.0a2",
            "1.0b1",
            "1.0rc1",
            "1.0",
            "1.0+abc",
            "1.0+5",
            "1.0.post1.dev1",
            "1.0.post1",
            "1.1",
            "1.9",
            "1.10",
            "2024.1",
            "1!0.1",
        ];
        let mut names: Vec<String> = versions.iter().map(|v| format!("tik_token-{v}-py3-none-any.whl")).collect();
        names.reverse();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let target = Target::new("python3.11", "x86_64", "2026-11-24").unwrap();
        let found: Vec<String> = project(target, &names).releases.keys().map(ToString::to_string).collect();
        assert_eq!(found, versions);
    }

    #[test]
    fn the_best_of_one_release() {
        check(
            "python3.11",
            &[
                "tik_token-1.0-py3-none-any.whl",
                "tik_token-1.0.0-1-py3-none-any.whl",
                "tik_token-1.0-2x-py3-none-any.whl",
                "tik_token-1.0-2-py3-none-any.whl",
            ],
            "1.0: tik_token-1.0-2x-py3-none-any.whl",
        );
    }

    #[test]
    fn names_that_are_left_out() {
        let dashes = format!("{}-1.tar.gz", "tik-token-a".repeat(30_000));
        let sets = format!("tik_token-1-{0}py3-{0}none-{0}any.whl", "x.".repeat(30_000));
        let names = [
            "tik_token-1-py3-none-any.x/../../etc/passwd.whl",
            "tik_token-1-py3-none-any.\r\nSet-Cookie: x.whl",
            "tik%2Ftoken-1-py3-none-any.whl",
            "tik_token-x.tar.gz",
            "tik_token.tar.gz",
            ".whl",
            "",
            &dashes,
            &sets,
        ];
        check("python3.11", &names, "");
    }

    #[test]
    fn nearest() {
        let target = Target::new("python3.11", "x86_64", "2026-11-24").unwrap();
        let names = ["tik_token-1-py3-none-any.whl", "tik_token-2-py2-none-any.whl", "tik_token-3-py3-none-any.whl"];
        let project = project(target, &names);
        let nearest = |text: &str| project.nearest_fitting(&text.parse().unwrap()).map(ToString::to_string);
        assert_eq!(nearest("2").as_deref(), Some("1"));
        assert_eq!(nearest("0.5").as_deref(), Some("1"));
        assert_eq!(nearest("9").as_deref(), Some("3"));
    }
}
