//! `pylock.toml` (PEP 751): the seam between whoever resolved and everything after.
//!
//! Source: <https://packaging.python.org/en/latest/specifications/pylock-toml/>.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use pep440_rs::Version;
use serde::Deserialize;
use url::Url;

use super::view;
use crate::model::marker::{Environment, InvalidMarker};
use crate::model::tag::Tags;
use crate::model::{
    Commit, CompilePolicy, Lock, Note, PackageName, Pin, Sha256, SourcePin, Target, WheelName, WheelSource,
};

/// A lock file as it is written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pylock {
    lock_version: String,
    #[serde(default)]
    environments: Vec<String>,
    requires_python: Option<String>,
    #[serde(default)]
    default_groups: Vec<String>,
    #[serde(default)]
    packages: Vec<Package>,
    #[serde(default)]
    tool: Tool,
}

#[derive(Debug, Default, Deserialize)]
struct Tool {
    layerwise: Option<Ours>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Ours {
    inputs: Sha256,
    #[serde(default)]
    notes: Vec<Note>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Package {
    name: PackageName,
    version: Option<String>,
    marker: Option<String>,
    requires_python: Option<String>,
    #[serde(default)]
    wheels: Vec<ListedFile>,
    sdist: Option<ListedFile>,
    archive: Option<ListedFile>,
    directory: Option<Directory>,
    vcs: Option<Vcs>,
}

/// A wheel or a source distribution.
#[derive(Debug, Deserialize)]
struct ListedFile {
    name: Option<String>,
    url: Option<String>,
    path: Option<PathBuf>,
    size: Option<u64>,
    /// Only of an archive.
    subdirectory: Option<String>,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Directory {
    path: PathBuf,
    subdirectory: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Vcs {
    #[serde(rename = "type")]
    kind: String,
    url: Option<String>,
    requested_revision: Option<String>,
    commit_id: String,
    subdirectory: Option<String>,
}

/// A lock that cannot be used for a target.
#[derive(Debug, thiserror::Error)]
pub enum PylockError {
    /// Not TOML, or not PEP 751's.
    #[error("`{label}` is not a valid pylock.toml: {why}")]
    Invalid {
        /// The file.
        label: String,
        /// What is wrong, with its line.
        why: String,
    },
    /// Of a version of the format that is not understood.
    #[error("`{label}` has lock-version {version}; layerwise reads 1.x")]
    LockVersion {
        /// The file.
        label: String,
        /// Its version.
        version: String,
    },
    /// Made for other environments.
    #[error("`{label}` is not for {target}: {why}")]
    OtherTarget {
        /// The file.
        label: String,
        /// The target.
        target: String,
        /// What does not match.
        why: String,
    },
    /// A marker in it cannot be read.
    #[error("`{label}`: package `{name}`: {source}")]
    Marker {
        /// The file.
        label: String,
        /// The package.
        name: PackageName,
        /// What is wrong.
        source: InvalidMarker,
    },
    /// The locked version has wheels, but none for the target.
    #[error("no wheel of {name} {version} fits {target}: {reason}")]
    NoWheel {
        /// The package.
        name: PackageName,
        /// The locked version.
        version: String,
        /// The target.
        target: String,
        /// Why.
        reason: String,
        /// Whether there is a source distribution that could be compiled.
        compilable: bool,
    },
    /// There is nothing but sources.
    #[error("{name} has to be built from {what}, which layerwise cannot do yet")]
    SourceOnly {
        /// The package.
        name: PackageName,
        /// What there is: `a source distribution`, `the directory ./pkg`, `git …`.
        what: String,
    },
    /// A file without a SHA-256.
    #[error("`{label}`: {name} has no sha256 for {file}")]
    NoHash {
        /// The lock.
        label: String,
        /// The package.
        name: PackageName,
        /// The wheel's file name.
        file: String,
    },
    /// Something in it is not what it should be.
    #[error("`{label}`: package `{name}`: {why}")]
    Package {
        /// The file.
        label: String,
        /// The package.
        name: PackageName,
        /// What is wrong.
        why: String,
    },
}

/// Reads a lock file's text; `label` is its name for messages.
pub fn parse(text: &str, label: &str) -> Result<Pylock, PylockError> {
    let pylock: Pylock = toml::from_str(text).map_err(|error| PylockError::Invalid {
        label: label.to_owned(),
        why: error.to_string().trim_end().replace('\n', " "),
    })?;
    if pylock.lock_version.split('.').next() != Some("1") {
        return Err(PylockError::LockVersion { label: label.to_owned(), version: pylock.lock_version });
    }
    Ok(pylock)
}

/// What of a lock is wanted.
#[derive(Debug)]
pub struct Selection<'a> {
    /// The lock's name for messages.
    pub label: &'a str,
    /// The tags of the target.
    pub tags: &'a Tags,
    /// Extras that are wanted.
    pub extras: &'a BTreeSet<String>,
    /// Groups that are wanted besides the lock's default groups.
    pub groups: &'a BTreeSet<String>,
    /// What may be compiled where no wheel fits.
    pub policy: &'a CompilePolicy,
}

impl<'a> Selection<'a> {
    /// Everything that applies to the target, without extras and with the lock's default groups only.
    pub fn whole(label: &'a str, tags: &'a Tags, policy: &'a CompilePolicy) -> Self {
        static NONE: BTreeSet<String> = BTreeSet::new();
        Self { label, tags, extras: &NONE, groups: &NONE, policy }
    }
}

impl Pylock {
    /// The identity of the inputs it was resolved from, when layerwise wrote it.
    pub fn inputs(&self) -> Option<Sha256> {
        self.tool.layerwise.as_ref().map(|ours| ours.inputs)
    }

    /// Puts the real places of wheels where the view's are, and digests that the index did not tell.
    pub fn replace_urls(
        &mut self,
        real: impl Fn(&str) -> Option<super::page::File>,
        digests: &std::collections::HashMap<String, Sha256>,
    ) {
        for package in &mut self.packages {
            // What uv took for a wheel may be a source distribution.
            let (sources, wheels) = std::mem::take(&mut package.wheels)
                .into_iter()
                .map(|wheel| with_real_place(wheel, &real, digests))
                .partition::<Vec<_>, _>(|file| file.filename().is_some_and(|name| super::page::is_sdist(&name)));
            package.wheels = wheels;
            package.sdist = sources.into_iter().next().or(package.sdist.take());
        }
    }

    /// The packages for one target, each with its best wheel.
    pub fn select(self, selection: &Selection<'_>) -> Result<Lock, PylockError> {
        let Selection { label, tags, extras, groups, .. } = *selection;
        let target = tags.target();
        let groups = groups.iter().chain(&self.default_groups).cloned().collect();
        let environment = Environment::of(target).select(extras, &groups);
        let other = |why: String| PylockError::OtherTarget { label: label.to_owned(), target: target.to_string(), why };
        let mut holds_one = self.environments.is_empty();
        for marker in &self.environments {
            holds_one |= environment.holds(marker).map_err(|error| other(error.to_string()))?;
        }
        if !holds_one {
            return Err(other(format!("it is for `{}`", self.environments.join("`, `"))));
        }
        if let Some(requires) = &self.requires_python
            && !admits(requires, target)
        {
            return Err(other(format!("it requires Python {requires}")));
        }
        let mut packages: Vec<Pin> = Vec::new();
        let mut sources: Vec<SourcePin> = Vec::new();
        for package in self.packages {
            let applies = match &package.marker {
                Some(marker) => environment.holds(marker).map_err(|source| PylockError::Marker {
                    label: label.to_owned(),
                    name: package.name.clone(),
                    source,
                })?,
                None => true,
            };
            if !applies {
                continue;
            }
            if let Some(requires) = package.requires_python.as_ref().filter(|requires| !admits(requires, target)) {
                return Err(other(format!("{} requires Python {requires}", package.name)));
            }
            let chosen = package.choose(selection)?;
            let name = match &chosen {
                Chosen::Wheel(pin) => &pin.name,
                Chosen::Source(pin) => &pin.name,
            };
            // uv lists a package of two groups twice, in the same words.
            let again = match &chosen {
                Chosen::Wheel(pin) => packages.contains(pin),
                Chosen::Source(pin) => sources.contains(pin),
            };
            if again {
                continue;
            }
            let mut names = packages.iter().map(|pin| &pin.name).chain(sources.iter().map(|pin| &pin.name));
            if names.any(|other| other == name) {
                let why = "it stands twice for this target".to_owned();
                return Err(PylockError::Package { label: label.to_owned(), name: name.clone(), why });
            }
            match chosen {
                Chosen::Wheel(pin) => packages.push(pin),
                Chosen::Source(pin) => sources.push(pin),
            }
        }
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        sources.sort_by(|a, b| a.name.cmp(&b.name));
        let (inputs, notes) = self.tool.layerwise.map_or((None, Vec::new()), |ours| (Some(ours.inputs), ours.notes));
        Ok(Lock { packages, sources, notes, inputs })
    }
}

/// The file behind what the view showed, with the digest that the index did not tell.
fn with_real_place(
    mut listed: ListedFile,
    real: impl Fn(&str) -> Option<super::page::File>,
    digests: &std::collections::HashMap<String, Sha256>,
) -> ListedFile {
    let Some(file) = listed.url.as_deref().and_then(&real) else { return listed };
    // Not the one that stands there: where the index told none, the view showed a stand-in.
    listed.hashes.clear();
    if let Some(digest) = file.sha256.as_ref().or_else(|| digests.get(&file.filename)) {
        listed.hashes.insert("sha256".to_owned(), digest.to_string());
    }
    match file.url.to_file_path() {
        Ok(path) if file.url.scheme() == "file" => (listed.url, listed.path) = (None, Some(path)),
        _ => listed.url = Some(file.url.to_string()),
    }
    listed.name = Some(file.filename);
    listed
}

/// What a package comes as.
enum Chosen {
    Wheel(Pin),
    Source(SourcePin),
}

fn admits(requires_python: &str, target: Target) -> bool {
    requires_python
        .parse::<pep440_rs::VersionSpecifiers>()
        .is_ok_and(|specifiers| specifiers.contains(&target.runtime.python))
}

/// A directory within sources; `.` is none.
fn inside(subdirectory: Option<&String>) -> Result<Option<String>, String> {
    let Some(text) = subdirectory else { return Ok(None) };
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if text.starts_with('/') || parts.iter().any(|part| *part == ".." || part.contains(['\\', ':', '\0'])) {
        return Err(format!("`{}` is no directory within its sources", text.escape_debug()));
    }
    Ok(Some(parts.join("/")).filter(|text| !text.is_empty()))
}

impl Package {
    fn choose(self, selection: &Selection<'_>) -> Result<Chosen, PylockError> {
        let Selection { label, tags, policy, .. } = *selection;
        let name = self.name;
        let invalid = |why: String| PylockError::Package { label: label.to_owned(), name: name.clone(), why };
        let is_sdist = |file: &ListedFile| file.filename().is_some_and(|name| super::page::is_sdist(&name));
        let (files, sdist): (Vec<ListedFile>, _) = match self.archive {
            Some(archive) if is_sdist(&archive) => (Vec::new(), Some(archive)),
            Some(archive) => (vec![archive], self.sdist),
            None => (self.wheels, self.sdist),
        };
        let mut named: Vec<(WheelName, ListedFile)> = Vec::new();
        for file in files {
            let filename = file.filename().ok_or_else(|| invalid("a file has no name".to_owned()))?;
            if super::page::is_sdist(&filename) {
                return Err(PylockError::SourceOnly { name, what: format!("`{filename}`") });
            }
            let wheel: WheelName =
                filename.parse().map_err(|error: crate::model::tag::InvalidWheelName| invalid(error.to_string()))?;
            if wheel.name != name {
                return Err(invalid(format!("`{wheel}` is a wheel of another package")));
            }
            named.push((wheel, file));
        }
        let version = |otherwise: Option<Version>| match &self.version {
            Some(text) => text.parse().map_err(|error| invalid(format!("`{text}` is not a version: {error}"))),
            None => otherwise.ok_or_else(|| invalid("it has no version".to_owned())),
        };
        let sha256 = |file: &ListedFile, filename: &str| {
            let digest = file.hashes.get("sha256").and_then(|text| text.parse().ok());
            let (label, name) = (label.to_owned(), name.clone());
            digest.ok_or_else(|| PylockError::NoHash { label, name, file: filename.to_owned() })
        };
        let source = |file: &ListedFile, what: &str| match (&file.url, &file.path) {
            (Some(url), _) => {
                Ok(WheelSource::Url(Url::parse(url).map_err(|error| invalid(format!("a {what}'s URL: {error}")))?))
            }
            (None, Some(path)) => Ok(WheelSource::Path(path.clone())),
            (None, None) => Err(invalid(format!("its {what} has neither URL nor path"))),
        };
        let best = view::best(named.iter().map(|(wheel, _)| wheel), tags);
        // Without any wheel it may be pure Python: its build will show.
        if best.is_none()
            && (policy.allows(&name) || named.is_empty())
            && let Some(sdist) = &sdist
        {
            let file = sdist.filename().ok_or_else(|| invalid("its source distribution has no name".to_owned()))?;
            return Ok(Chosen::Source(SourcePin {
                version: version(crate::sdist::version_of(&file))?,
                source: source(sdist, "source distribution")?,
                sha256: Some(sha256(sdist, &file)?),
                commit: None,
                subdirectory: inside(sdist.subdirectory.as_ref()).map_err(&invalid)?,
                size: sdist.size,
                name: name.clone(),
                file,
            }));
        }
        if let Some(directory) = self.directory.filter(|_| named.is_empty()) {
            return Ok(Chosen::Source(SourcePin {
                version: version(Some(Version::new([0])))?,
                file: slashes(&directory.path),
                source: WheelSource::Path(directory.path),
                commit: None,
                subdirectory: inside(directory.subdirectory.as_ref()).map_err(&invalid)?,
                sha256: None,
                size: None,
                name: name.clone(),
            }));
        }
        if named.is_empty() {
            let Some(vcs) = self.vcs else { return Err(invalid("it has no files".to_owned())) };
            let url = vcs.url.as_deref().and_then(|url| Url::parse(url).ok());
            if vcs.kind != "git" {
                let shown = url.as_ref().map(|url| crate::io::SafeUrl::from(url).to_string()).unwrap_or_default();
                return Err(PylockError::SourceOnly { name, what: format!("{} {shown}", vcs.kind) });
            }
            let url = url.ok_or_else(|| invalid("its repository has no URL".to_owned()))?;
            if !Commit::is_id(&vcs.commit_id) {
                return Err(invalid(format!("`{}` is no commit", vcs.commit_id.escape_debug())));
            }
            let short: String = vcs.commit_id.chars().take(12).collect();
            return Ok(Chosen::Source(SourcePin {
                version: version(Some(Version::new([0])))?,
                file: format!("{}@{short}", crate::io::SafeUrl::from(&url)),
                source: WheelSource::Url(url),
                commit: Some(Commit { id: vcs.commit_id, requested: vcs.requested_revision }),
                subdirectory: inside(vcs.subdirectory.as_ref()).map_err(&invalid)?,
                sha256: None,
                size: None,
                name: name.clone(),
            }));
        }
        let Some(at) = best else {
            let mut release = view::Release { python_fits: true, ..Default::default() };
            for (wheel, file) in named {
                if let Err(misfit) = tags.rank(&wheel) {
                    release.misfits.push((misfit, wheel, file.into_page_file()));
                }
            }
            let target = tags.target();
            return Err(PylockError::NoWheel {
                name,
                version: self.version.unwrap_or_default(),
                target: target.to_string(),
                reason: release.reason(target),
                compilable: sdist.is_some(),
            });
        };
        let (wheel, file) = named.swap_remove(at);
        let (version, sha256) = (version(Some(wheel.version.clone()))?, sha256(&file, &wheel.text)?);
        let source = source(&file, "wheel")?;
        Ok(Chosen::Wheel(Pin { name, version, wheel, source, sha256, size: file.size }))
    }
}

impl ListedFile {
    fn filename(&self) -> Option<String> {
        if let Some(name) = &self.name {
            return Some(name.clone());
        }
        if let Some(url) = &self.url {
            let path = url.split(['?', '#']).next()?;
            return path.rsplit('/').next().map(crate::input::percent_decode);
        }
        Some(self.path.as_ref()?.file_name()?.to_str()?.to_owned())
    }

    fn into_page_file(self) -> super::page::File {
        super::page::File {
            filename: self.filename().unwrap_or_default(),
            url: Url::parse("file:///").expect("a constant URL"),
            sha256: None,
            size: self.size,
            requires_python: None,
            yanked: None,
            core_metadata: super::page::MetadataOffer::No,
            upload_time: None,
        }
    }
}

/// The text of a lock for one target, to be committed: PEP 751, with our own table at the end.
/// The same lock gives the same text.
pub fn write(lock: &Lock, target: Target) -> String {
    let mut text = format!(
        "# Made by layerwise for {target}; to be committed. `layerwise lock` makes it anew.\n\
         lock-version = \"1.0\"\n\
         environments = [{}]\n\
         requires-python = \"==3.{}.*\"\n\
         created-by = \"layerwise\"\n",
        quote(&format!(
            "sys_platform == 'linux' and platform_machine == '{}' and python_version == '3.{}'",
            target.architecture.machine(),
            target.runtime.minor
        )),
        target.runtime.minor,
    );
    let file = |name: &str, source: &WheelSource, size: Option<u64>, sha256: Sha256| {
        let place = match source {
            WheelSource::Url(url) => format!("url = {}", quote(url.as_str())),
            WheelSource::Path(path) => format!("path = {}", quote(&slashes(path))),
        };
        let size = size.map(|size| format!(", size = {size}")).unwrap_or_default();
        format!("{{ name = {}, {place}{size}, hashes = {{ sha256 = \"{sha256}\" }} }}", quote(name))
    };
    let wheels = lock.packages.iter().map(|pin| {
        let listed = file(&pin.wheel.text, &pin.source, pin.size, pin.sha256);
        (&pin.name, &pin.version, format!("wheels = [{listed}]"))
    });
    let sources = lock.sources.iter().map(|pin| {
        let part = |key: &str, value: Option<&String>| match value {
            Some(value) => format!(", {key} = {}", quote(value)),
            None => String::new(),
        };
        let subdirectory = part("subdirectory", pin.subdirectory.as_ref());
        let listed = match (pin.sha256, &pin.source) {
            (None, WheelSource::Url(url)) if let Some(commit) = &pin.commit => {
                let (url, id) = (quote(url.as_str()), quote(&commit.id));
                let requested = part("requested-revision", commit.requested.as_ref());
                format!("vcs = {{ type = \"git\", url = {url}{requested}, commit-id = {id}{subdirectory} }}")
            }
            // Only an archive may have one (PEP 751).
            (Some(sha256), source) if pin.subdirectory.is_some() => {
                let listed = file(&pin.file, source, pin.size, sha256);
                format!("archive = {}{subdirectory} }}", listed.strip_suffix(" }").unwrap_or(&listed))
            }
            (Some(sha256), source) => format!("sdist = {}", file(&pin.file, source, pin.size, sha256)),
            (None, WheelSource::Path(path)) => {
                format!("directory = {{ path = {}{subdirectory} }}", quote(&slashes(path)))
            }
            (None, WheelSource::Url(url)) => format!("sdist = {{ url = {} }}", quote(url.as_str())),
        };
        (&pin.name, &pin.version, listed)
    });
    let mut packages: Vec<_> = wheels.chain(sources).collect();
    packages.sort_by_key(|(name, ..)| *name);
    for (name, version, listed) in packages {
        let (name, version) = (quote(name.as_str()), quote(&version.to_string()));
        // Writing to a string does not fail.
        let _ = write!(text, "\n[[packages]]\nname = {name}\nversion = {version}\n{listed}\n");
    }
    if let Some(inputs) = lock.inputs {
        let _ = write!(text, "\n[tool.layerwise]\ninputs = \"{inputs}\"\n");
        for note in &lock.notes {
            let table = toml::to_string(note).unwrap_or_default();
            let _ = write!(text, "\n[[tool.layerwise.notes]]\n{table}");
        }
    }
    text
}

fn slashes(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "/")
}

fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn check(packages: &str, expected: &str) {
        let target = Target::new("python3.11", "x86_64", "2026-11-24").unwrap();
        let none = BTreeSet::new();
        let tags = Tags::of(target);
        let policy = CompilePolicy { names: ["c".parse().unwrap()].into(), ..CompilePolicy::default() };
        let selection = Selection { label: "pylock.toml", tags: &tags, extras: &none, groups: &none, policy: &policy };
        let text = format!("lock-version = \"1.0\"\ncreated-by = \"x\"\n{}", packages.replace("SHA", DIGEST));
        let shown = match parse(&text, "pylock.toml").and_then(|pylock| pylock.select(&selection)) {
            Ok(lock) => {
                let wheels = lock.packages.iter().map(|p| format!("{} {}", p.wheel, p.version));
                let sources = lock.sources.iter().map(|p| format!("{} {}", p.file, p.version));
                wheels.chain(sources).collect::<Vec<_>>().join("\n")
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(shown, expected);
    }

    #[test]
    fn selects_the_best_wheel_of_what_applies() {
        check(
            r#"
            [[packages]]
            name = "B"
            version = "1"
            marker = "sys_platform == 'win32'"
            [[packages]]
            name = "a"
            version = "1.0"
            wheels = [
              { url = "https://h/a-1.0-py3-none-any.whl", hashes = { sha256 = "SHA" } },
              { url = "https://h/a-1.0-cp311-cp311-manylinux_2_28_x86_64.whl", hashes = { sha256 = "SHA" } },
              { url = "https://h/a-1.0-cp311-cp311-manylinux_2_26_x86_64.whl", hashes = { sha256 = "SHA" } },
            ]"#,
            "a-1.0-cp311-cp311-manylinux_2_26_x86_64.whl 1.0",
        );
    }

    #[test]
    fn source_distributions() {
        let package = |name: &str, wheel: &str| {
            let sdist = format!("sdist={{url='https://h/{name}-1.tar.gz', hashes={{sha256='SHA'}}}}");
            let wheels = if wheel.is_empty() {
                String::new()
            } else {
                format!("wheels=[{{url='https://h/{name}-1-{wheel}.whl', hashes={{sha256='SHA'}}}}]")
            };
            format!("[[packages]]\nname='{name}'\nversion='1'\n{wheels}\n{sdist}\n")
        };
        // Only sources: they may be pure Python.
        check(&package("a", ""), "a-1.tar.gz 1");
        check(&package("c", "py3-none-any"), "c-1-py3-none-any.whl 1");
        check(&package("c", "cp312-cp312-win_amd64"), "c-1.tar.gz 1");
        check(
            &package("a", "cp312-cp312-win_amd64"),
            "no wheel of a 1 fits python3.11 x86_64: its wheels are for other systems than Linux",
        );
    }

    #[test]
    fn refusals() {
        check(
            "packages = 3",
            "`pylock.toml` is not a valid pylock.toml: TOML parse error at line 3, column 12   | 3 | packages = 3   |            ^ invalid type: integer `3`, expected a sequence",
        );
        check("requires-python = '>=3.12'", "`pylock.toml` is not for python3.11 x86_64: it requires Python >=3.12");
        check(
            "environments = [\"sys_platform == 'win32'\"]",
            "`pylock.toml` is not for python3.11 x86_64: it is for `sys_platform == 'win32'`",
        );
        check(
            "[[packages]]\nname='a'\nversion='1'\nwheels=[{url='https://h/a-1-cp311-cp311-manylinux_2_28_x86_64.whl', hashes={sha256='SHA'}}]",
            "no wheel of a 1 fits python3.11 x86_64: its cp311 wheels for x86_64 need glibc 2.28, python3.11 has 2.26",
        );
        check(
            "[[packages]]\nname='a'\nversion='1'\nsdist={url='https://h/a-1.tar.gz'}",
            "`pylock.toml`: a has no sha256 for a-1.tar.gz",
        );
        check("[[packages]]\nname='a'\ndirectory={path='./x'}", "./x 0");
        check(
            "[[packages]]\nname='a'\nversion='1'\nwheels=[{url='https://h/a-1-py3-none-any.whl', hashes={md5='x'}}]",
            "`pylock.toml`: a has no sha256 for a-1-py3-none-any.whl",
        );
    }

    #[test]
    fn hostile_ones() {
        let package = |fields: &str| format!("[[packages]]\nname='a'\nversion='1'\n{fields}");
        let wheel = |file: &str| package(&format!("wheels=[{{url='https://h/{file}', hashes={{sha256='SHA'}}}}]"));
        check(
            &wheel("b-1-py3-none-any.whl"),
            "`pylock.toml`: package `a`: `b-1-py3-none-any.whl` is a wheel of another package",
        );
        check(
            &wheel("a-1-py3-none-any.exe"),
            "`pylock.toml`: package `a`: `a-1-py3-none-any.exe` is not a wheel file name (name-version[-build]-python-abi-platform.whl)",
        );
        check(&wheel("a-1%2Bx-1-py3-none-any.whl?x=/b.whl#c"), "a-1+x-1-py3-none-any.whl 1");
        check(&(wheel("a-1-py3-none-any.whl") + "\n" + &wheel("a-1-py3-none-any.whl")), "a-1-py3-none-any.whl 1");
        check(
            &(wheel("a-1-py3-none-any.whl") + "\n" + &wheel("a-1-cp311-none-any.whl")),
            "`pylock.toml`: package `a`: it stands twice for this target",
        );
        check(&package("wheels=[{hashes={}}]"), "`pylock.toml`: package `a`: a file has no name");
        check(&package(""), "`pylock.toml`: package `a`: it has no files");
        check(
            &package("wheels=[{url='nowhere/a-1-py3-none-any.whl', hashes={sha256='SHA'}}]"),
            "`pylock.toml`: package `a`: a wheel's URL: relative URL without a base",
        );
        check(
            &package("wheels=[{name='a-1-py3-none-any.whl', hashes={sha256='SHA'}}]"),
            "`pylock.toml`: package `a`: its wheel has neither URL nor path",
        );
        check(
            &package("vcs={type='hg', url='https://u:secret@h/r', commit-id='x'}"),
            "a has to be built from hg https://h/r, which layerwise cannot do yet",
        );
        for id in ["x", "--upload-pack=x", "HEAD", "0123456789ABCDEF0123456789abcdef01234567"] {
            let vcs = format!("vcs={{type='git', url='https://u:secret@h/r', commit-id='{id}'}}");
            check(&package(&vcs), &format!("`pylock.toml`: package `a`: `{id}` is no commit"));
        }
        let id = "0123456789abcdef0123456789abcdef01234567";
        let vcs = |url: &str, more: &str| package(&format!("vcs={{type='git', url='{url}', commit-id='{id}'{more}}}"));
        check(&vcs("https://u:secret@h/r", ""), "https://h/r@0123456789ab 1");
        check(&vcs("here", ""), "`pylock.toml`: package `a`: its repository has no URL");
        for outside in ["../x", "/x", "a/../../x", r"a\\..\\..\\x"] {
            let expected = format!("`pylock.toml`: package `a`: `{outside}` is no directory within its sources");
            let more = format!(", subdirectory=\"{outside}\"");
            check(&vcs("https://h/r", &more), &expected);
        }
        let deep = format!("x = {}", "[".repeat(100_000));
        assert!(parse(&format!("lock-version = '1.0'\n{deep}"), "l").is_err());
        assert!(matches!(parse("lock-version = '2.0'", "l"), Err(PylockError::LockVersion { .. })));
    }

    #[test]
    fn what_is_written_is_read() {
        let target = Target::new("python3.11", "x86_64", "2026-11-24").unwrap();
        let lock = Lock {
            packages: vec![Pin {
                name: "a".parse().unwrap(),
                version: "1.0".parse().unwrap(),
                wheel: "a-1.0-py3-none-any.whl".parse().unwrap(),
                source: WheelSource::Url("https://h/a-1.0-py3-none-any.whl".parse().unwrap()),
                sha256: DIGEST.parse().unwrap(),
                size: Some(3),
            }],
            sources: vec![
                SourcePin {
                    name: "0".parse().unwrap(),
                    version: "1.0".parse().unwrap(),
                    file: "0-1.0.tar.gz".to_owned(),
                    source: WheelSource::Url("https://h/0-1.0.tar.gz".parse().unwrap()),
                    commit: None,
                    subdirectory: None,
                    sha256: Some(DIGEST.parse().unwrap()),
                    size: None,
                },
                SourcePin {
                    name: "b".parse().unwrap(),
                    version: "1.0".parse().unwrap(),
                    file: "ssh://h/b.git@0123456789ab".to_owned(),
                    source: WheelSource::Url("ssh://git@h/b.git".parse().unwrap()),
                    commit: Some(Commit {
                        id: "0123456789abcdef0123456789abcdef01234567".to_owned(),
                        requested: Some("v1".to_owned()),
                    }),
                    subdirectory: Some("x/y".to_owned()),
                    sha256: None,
                    size: None,
                },
                SourcePin {
                    name: "c".parse().unwrap(),
                    version: "1.0".parse().unwrap(),
                    file: "whole.tar.gz".to_owned(),
                    source: WheelSource::Url("https://h/whole.tar.gz".parse().unwrap()),
                    commit: None,
                    subdirectory: Some("x".to_owned()),
                    sha256: Some(DIGEST.parse().unwrap()),
                    size: Some(7),
                },
            ],
            notes: vec![Note::PassedOver {
                name: "a".parse().unwrap(),
                taken: "1.0".to_owned(),
                newest: "2.0".to_owned(),
                reason: "its wheels are for cp312".to_owned(),
                fits_runtime: Some("python3.12".to_owned()),
                compilable: true,
            }],
            inputs: Some(Sha256::of(b"x")),
        };
        let text = write(&lock, target);
        let tags = Tags::of(target);
        let none = BTreeSet::new();
        let policy = CompilePolicy::default();
        let selection = Selection { label: "x", tags: &tags, extras: &none, groups: &none, policy: &policy };
        assert_eq!(parse(&text, "x").unwrap().select(&selection).unwrap(), lock);
        let other = Tags::of(Target::new("python3.11", "arm64", "2026-11-24").unwrap());
        assert!(parse(&text, "x").unwrap().select(&Selection { tags: &other, ..selection }).is_err());
    }
}
