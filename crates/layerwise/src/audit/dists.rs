//! Distributions: what they require, what their wheels were made for, whether their files are theirs.
//!
//! Sources: <https://packaging.python.org/en/latest/specifications/core-metadata/>,
//! <https://packaging.python.org/en/latest/specifications/recording-installed-packages/>.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pep440_rs::{Version, VersionSpecifiers};
use pep508_rs::VersionOrUrl;

use super::facts::Content;
use super::finding::{Finding, Problem, Recorded, Severity};
use super::imports::Reach;
use super::policy::{self, RuntimeDist};
use super::world::{Dist, Placed, World, join, parent};
use crate::model::marker::Environment;
use crate::model::specifier::{self, Specifier};
use crate::model::tag::{Misfit, Tags};
use crate::model::{PackageName, Runtime, WheelName};

/// The findings about distributions.
pub(super) fn check(world: &World<'_>, reach: &Reach) -> Vec<Finding> {
    let mut dists = Dists::new(world);
    for dist in world.dists.iter().filter(|dist| dist.on_path) {
        dists.requires_python(dist);
        dists.requirements(dist);
    }
    dists.twice();
    dists.sdk(reach);
    dists.wheels();
    dists.records();
    dists.findings
}

struct Dists<'w, 'a> {
    world: &'w World<'a>,
    environment: Environment,
    /// On the path, by name; the first on the path is the one that counts.
    here: BTreeMap<&'a PackageName, Vec<&'w Dist<'a>>>,
    /// Extras that some requirement asks for.
    extras: HashMap<PackageName, BTreeSet<String>>,
    runtime: Vec<&'static RuntimeDist>,
    findings: Vec<Finding>,
}

impl<'w, 'a> Dists<'w, 'a> {
    fn new(world: &'w World<'a>) -> Self {
        let mut here: BTreeMap<&PackageName, Vec<&Dist<'_>>> = BTreeMap::new();
        for dist in world.dists.iter().filter(|dist| dist.on_path) {
            here.entry(&dist.metadata.name).or_default().push(dist);
        }
        let mut dists = Self {
            world,
            environment: Environment::of(world.target),
            here,
            extras: HashMap::new(),
            runtime: policy::runtime_dists(world.target.runtime),
            findings: Vec::new(),
        };
        // Extras may ask for extras; a few rounds settle what real packages do.
        for _ in 0..4 {
            let mut wanted: HashMap<PackageName, BTreeSet<String>> = HashMap::new();
            for dist in world.dists.iter().filter(|dist| dist.on_path) {
                for specifier in dists.applicable(dist).iter().filter(|specifier| !specifier.extras.is_empty()) {
                    let Ok(name) = specifier.name.to_string().parse::<PackageName>() else { continue };
                    let extras = specifier.extras.iter().map(ToString::to_string);
                    wanted.entry(name).or_default().extend(extras);
                }
            }
            if wanted == dists.extras {
                break;
            }
            dists.extras = wanted;
        }
        dists
    }

    /// The requirements of a distribution that apply on the target, with the extras that are asked of it.
    fn applicable(&self, dist: &Dist<'_>) -> Vec<Specifier> {
        let extras = self.extras.get(&dist.metadata.name);
        let environment = extras.map(|extras| self.environment.clone().select(extras, &BTreeSet::new()));
        let environment = environment.as_ref().unwrap_or(&self.environment);
        let requires = dist.metadata.requires.iter();
        requires
            // Most requirements of most packages are of extras that nobody asks for: not even parsed.
            .filter(|text| extras.is_some() || !is_of_an_extra(text))
            .filter_map(|text| specifier::parse(text).ok())
            .filter(|specifier| environment.holds_tree(&specifier.marker))
            .collect()
    }

    fn requires_python(&mut self, dist: &Dist<'a>) {
        let Some(text) = &dist.metadata.requires_python else { return };
        let fits = text.parse::<VersionSpecifiers>().is_ok_and(|all| all.contains(&self.world.target.runtime.python));
        // What cannot be read asks for nothing.
        if !fits && text.parse::<VersionSpecifiers>().is_ok() {
            let problem = Problem::RequiresPython { specifier: text.clone() };
            self.findings.push(self.world.finding(Severity::Warning, dist.file, problem));
        }
    }

    fn requirements(&mut self, dist: &Dist<'a>) {
        if self.world.subject.artifacts.iter().any(|artifact| artifact.is_wheel) {
            return;
        }
        for specifier in self.applicable(dist) {
            let Ok(name) = specifier.name.to_string().parse::<PackageName>() else { continue };
            let requirement = without_marker(&specifier);
            let by = format!("{} {}", dist.metadata.name, dist.metadata.version);
            let instead = || policy::equivalents(&name).find_map(|other| self.here.get(other));
            let here = self.here.get(&name).or_else(instead).and_then(|dists| dists.first());
            let here = here.map(|dist| dist.metadata.version.as_str());
            let runtime = || self.runtime.iter().find(|dist| dist.name == name).map(|dist| dist.version.as_str());
            let problem = match (here, runtime()) {
                (Some(found), _) if satisfies(&specifier, found) => continue,
                (Some(found), _) => {
                    let found = found.to_owned();
                    (Severity::Warning, Problem::RequirementVersion { requirement, by, found, from_runtime: false })
                }
                (None, Some(found)) if satisfies(&specifier, found) => continue,
                (None, Some(found)) => {
                    let found = found.to_owned();
                    (Severity::Warning, Problem::RequirementVersion { requirement, by, found, from_runtime: true })
                }
                (None, None) => (Severity::Error, Problem::RequirementMissing { requirement, by }),
            };
            self.findings.push(self.world.finding(problem.0, dist.file, problem.1));
        }
    }

    fn twice(&mut self) {
        for dists in self.here.values() {
            let versions: BTreeSet<&str> = dists.iter().map(|dist| dist.metadata.version.as_str()).collect();
            if let [_, second, ..] = dists.as_slice() {
                let versions: Vec<String> = versions.into_iter().map(str::to_owned).collect();
                // The same release twice does no harm but to its size.
                let severity = if versions.len() > 1 { Severity::Warning } else { Severity::Note };
                let problem = Problem::DistributionTwice { versions };
                self.findings.push(self.world.finding(severity, second.file, problem));
            }
        }
    }

    /// The AWS SDK is one set of packages with tight bounds on each other: all here, or all from the runtime.
    fn sdk(&mut self, reach: &Reach) {
        let core = ["boto3", "botocore", "s3transfer"];
        let is_here = |name: &PackageName| self.here.contains_key(name);
        let set = Runtime::sdk_packages();
        let here: Vec<&PackageName> = set.iter().filter(|name| is_here(name)).collect();
        let core_here = here.iter().filter(|name| core.contains(&name.as_str())).count();
        let whole = core_here == core.len();
        if here.is_empty() || whole || self.world.subject.artifacts.iter().any(|artifact| artifact.is_wheel) {
            return;
        }
        // What is left to the runtime has requirements that what is here may not meet, and the other way round.
        let left: Vec<&&RuntimeDist> =
            self.runtime.iter().filter(|dist| set.contains(&dist.name) && !is_here(&dist.name)).collect();
        let conflict = left.iter().find_map(|dist| {
            let requires = dist.requires.iter().filter_map(|text| specifier::parse(text).ok());
            let mut requires = requires.filter(|specifier| self.environment.holds_tree(&specifier.marker));
            requires.find_map(|specifier| {
                let name = specifier.name.to_string().parse::<PackageName>().ok()?;
                let found = &self.here.get(&name)?.first()?.metadata.version;
                let requirement = without_marker(&specifier);
                (!satisfies(&specifier, found)).then(|| {
                    format!(
                        "the runtime's {} {} requires {requirement}, here is {name} {found}",
                        dist.name, dist.version
                    )
                })
            })
        });
        let conflict = conflict.or_else(|| {
            here.iter().filter(|name| core.contains(&name.as_str())).find_map(|name| {
                let dist = self.here.get(*name)?.first()?;
                self.applicable(dist).into_iter().find_map(|specifier| {
                    let wanted = specifier.name.to_string().parse::<PackageName>().ok()?;
                    let found = left.iter().find(|dist| dist.name == wanted)?;
                    let requirement = without_marker(&specifier);
                    (!satisfies(&specifier, &found.version)).then(|| {
                        let (version, has) = (&dist.metadata.version, &found.version);
                        format!("{name} {version} requires {requirement}, the runtime has {wanted} {has}")
                    })
                })
            })
        });
        // `requests` brings urllib3, and that is all right as long as the runtime's botocore can work with it.
        if core_here == 0 && conflict.is_none() {
            return;
        }
        let uses_it = core_here > 0 || core.iter().any(|name| reach.named.contains(*name));
        let severity = if conflict.is_some() && uses_it { Severity::Error } else { Severity::Warning };
        let at = self.here.get(here[0]).and_then(|dists| dists.first()).map(|dist| dist.file);
        let problem = Problem::SdkSplit {
            here: here.iter().map(ToString::to_string).collect(),
            from_runtime: left.iter().map(|dist| format!("{} {}", dist.name, dist.version)).collect(),
            conflict,
        };
        if let Some(at) = at {
            self.findings.push(self.world.finding(severity, at, problem));
        }
    }

    /// What `WHEEL` says against what the files are.
    fn wheels(&mut self) {
        let tags = Tags::of(self.world.target);
        let compiled = self.compiled();
        let not_for_linux: BTreeSet<&PackageName> = self.world.files.iter().filter_map(not_for_linux).collect();
        for dist in &self.world.dists {
            let info = parent(&self.world.files[dist.file].at);
            let Some(file) = self.world.at(&format!("{info}/WHEEL")) else { continue };
            let Content::Wheel(wheel) = self.world.files[file].file.content else { continue };
            let names: Vec<WheelName> =
                wheel.tags.iter().filter_map(|tag| format!("x-0-{tag}.whl").parse().ok()).collect();
            let about = compiled.get(&dist.metadata.name);
            let pure = about.is_none() && !not_for_linux.contains(&dist.metadata.name);
            let misfits: Vec<Misfit> = names.iter().filter_map(|name| tags.rank(name).err()).collect();
            if !names.is_empty() && misfits.len() == names.len() {
                let only_glibc = misfits.iter().any(|misfit| matches!(misfit, Misfit::Glibc(_)));
                let glibc = self.world.target.runtime.glibc;
                let fine = only_glibc && about.is_none_or(|about| about.glibc <= u32::from(glibc.1));
                let severity = if fine { Severity::Note } else { Severity::Warning };
                let problem = Problem::WheelTag { tags: wheel.tags.clone(), compiled: !pure };
                self.findings.push(self.world.finding(severity, file, problem));
            }
            let any = names.iter().any(WheelName::is_any_platform);
            if !any && !names.is_empty() && pure {
                let tag = wheel.tags.first().cloned().unwrap_or_default();
                self.findings.push(self.world.finding(Severity::Warning, file, Problem::WheelFallback { tag }));
            }
            // The lowest promise of the tags is what the wheel may be taken for.
            let promised = names.iter().flat_map(|name| &name.platforms).filter_map(|tag| promised_glibc(tag)).min();
            if let (Some(promised), Some(about)) = (promised, about)
                && about.glibc > promised.0
            {
                let problem = Problem::WheelTagUntrue {
                    tag: promised.1,
                    version: format!("GLIBC_2.{}", about.glibc),
                    example: self.world.files[about.file].file.path.to_owned(),
                };
                self.findings.push(self.world.finding(Severity::Note, file, problem));
            }
        }
    }

    /// Of each distribution with compiled files: the highest 2.x of glibc that one needs, and which.
    fn compiled(&self) -> HashMap<PackageName, Compiled> {
        let mut compiled: HashMap<PackageName, Compiled> = HashMap::new();
        for (file, placed) in self.world.files.iter().enumerate() {
            let (Some(owner), Content::Elf(facts)) = (&placed.owner, placed.file.content) else { continue };
            let needs = facts
                .versions
                .iter()
                .filter_map(|need| need.version.strip_prefix("GLIBC_2.")?.split('.').next()?.parse().ok());
            let glibc = needs.max().unwrap_or(0);
            let entry = compiled.entry(owner.clone()).or_insert(Compiled { glibc, file });
            if glibc > entry.glibc {
                *entry = Compiled { glibc, file };
            }
        }
        compiled
    }

    /// RECORD against what is there, and files that two distributions claim.
    fn records(&mut self) {
        let mut owners: HashMap<String, &PackageName> = HashMap::new();
        let mut told: BTreeSet<(&PackageName, &PackageName)> = BTreeSet::new();
        for dist in &self.world.dists {
            let info = parent(&self.world.files[dist.file].at).to_owned();
            let Some(record) = self.world.at(&format!("{info}/RECORD")) else { continue };
            let Content::Record(lines) = self.world.files[record].file.content else { continue };
            let name = &dist.metadata.name;
            let root = dist.dir.trim_end_matches('/');
            let mut wrong: BTreeMap<Recorded, (usize, usize)> = BTreeMap::new();
            for line in lines {
                // Scripts stand elsewhere when a package was installed with `--target`; bytecode is often left out.
                if line.path.starts_with("..") || line.path.ends_with(".pyc") {
                    continue;
                }
                let Some(path) = join(root, &line.path) else { continue };
                if let Some(other) = owners.insert(path.clone(), name).filter(|other| *other != name)
                    && told.insert((other, name))
                    && let Some(file) = self.world.at(&path)
                {
                    let problem = Problem::OwnedTwice { other: other.to_string() };
                    let mut finding = self.world.finding(Severity::Warning, file, problem);
                    finding.package = Some(name.clone());
                    self.findings.push(finding);
                }
                let found = self.world.at(&path);
                let what = match found.map(|file| self.world.files[file].file) {
                    None => Recorded::Missing,
                    Some(file) => {
                        let other_size = line.size.is_some_and(|size| size != file.size);
                        let other = line.sha256.zip(file.sha256).is_some_and(|(said, is)| said != is);
                        if file.link.is_some() || !(other_size || other) {
                            continue;
                        }
                        Recorded::Changed
                    }
                };
                // What installers write themselves.
                if line.path.contains(".dist-info/") {
                    continue;
                }
                let entry = wrong.entry(what).or_insert((found.unwrap_or(record), 0));
                entry.1 += 1;
            }
            for (what, (file, count)) in wrong {
                let severity = if what == Recorded::Changed { Severity::Warning } else { Severity::Note };
                let mut finding = self.world.finding(severity, file, Problem::Record { what, more: count - 1 });
                finding.package = Some(name.clone());
                self.findings.push(finding);
            }
        }
    }
}

/// Whose file it is, if it is compiled, but for another system or damaged.
fn not_for_linux<'p>(placed: &'p Placed<'_>) -> Option<&'p PackageName> {
    let is = matches!(placed.file.content, Content::NotElf(_) | Content::DamagedElf(_));
    placed.owner.as_ref().filter(|_| is)
}

/// What the compiled files of a distribution need.
struct Compiled {
    /// 2.`glibc`.
    glibc: u32,
    file: usize,
}

/// `(17, "manylinux_2_17_x86_64")` for a tag that promises one.
fn promised_glibc(tag: &str) -> Option<(u32, String)> {
    let legacy = [("manylinux1_", 5), ("manylinux2010_", 12), ("manylinux2014_", 17)];
    let minor = legacy.iter().find(|(prefix, _)| tag.starts_with(prefix)).map(|(_, minor)| *minor);
    let minor = minor.or_else(|| tag.strip_prefix("manylinux_2_")?.split('_').next()?.parse().ok())?;
    Some((minor, tag.to_owned()))
}

/// Whether the marker of a requirement asks for an extra.
fn is_of_an_extra(text: &str) -> bool {
    text.split_once(';').is_some_and(|(_, marker)| marker.contains("extra"))
}

fn satisfies(specifier: &Specifier, version: &str) -> bool {
    match (&specifier.version_or_url, version.parse::<Version>()) {
        (Some(VersionOrUrl::VersionSpecifier(specifiers)), Ok(version)) => specifiers.contains(&version),
        // A URL says nothing about versions; what is no version cannot be judged.
        _ => true,
    }
}

/// `urllib3<2` of `urllib3<2 ; python_version < "3.10"`.
fn without_marker(specifier: &Specifier) -> String {
    let text = specifier.to_string();
    text.split_once(';').map_or(text.as_str(), |(requirement, _)| requirement).trim().to_owned()
}
