//! Inputs + Target → Lock: exactly which wheels.
//!
//! uv chooses, as a process, over a view of the indexes that shows only what fits the target; `pylock.toml` is the
//! seam. A lock that is the input is only selected from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use pep508_rs::VersionOrUrl;

use crate::error::{Explain, Kind};
use crate::event::{Event, Stage};
use crate::input::{Credentials, Inputs, Requirement, Source};
use crate::io::Io;
use crate::model::tag::Tags;
use crate::model::{CompilePolicy, Lock, Note, PackageName, Sha256, Target, WheelSource, specifier};

pub mod member;
pub mod metadata;
pub mod page;
pub mod pinned;
pub mod pylock;
pub mod server;
pub mod upstream;
pub mod uv;
pub mod view;
pub mod why;

pub use member::{MemberError, member};
pub use metadata::{MetadataError, Prepare, PreparedSdist, Unprepared};
pub use page::PageError;
pub use pylock::{PylockError, write};
pub use server::ServeError;
pub use upstream::UpstreamError;
pub use uv::UvError;

use pylock::Selection;
use server::{Learnt, Server};
use upstream::Upstream;
use uv::{Compile, Uv};
use view::Sources;

/// No lock could be made.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// uv says that nothing satisfies the requirements.
    #[error("no set of packages satisfies {label} on {target}\n{explanation}")]
    NoSolution {
        /// The input.
        label: String,
        /// For what.
        target: String,
        /// uv's explanation, indented.
        explanation: String,
        /// What the view knows about it.
        hints: Vec<String>,
    },
    /// A package that no index has.
    #[error("package `{name}` was not found on {places}")]
    NotFound {
        /// The package.
        name: PackageName,
        /// Where it was looked for.
        places: String,
    },
    /// A package that has files, but none that fits.
    #[error("no wheel of `{name}` fits {target}: of its newest release {version}, {reason}")]
    NothingFits {
        /// The package.
        name: PackageName,
        /// Its newest stable release.
        version: String,
        /// For what.
        target: String,
        /// Why, as half a sentence.
        reason: String,
        /// A later runtime that it would fit.
        later: Option<String>,
        /// Whether there is a source distribution that could be compiled.
        compilable: bool,
    },
    /// uv failed for another reason.
    #[error("uv failed on {label}\n{explanation}")]
    Uv {
        /// The input.
        label: String,
        /// What it said, indented.
        explanation: String,
    },
    /// The view could not show something.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// uv is not to be had.
    #[error(transparent)]
    Provision(#[from] UvError),
    /// A lock cannot be used.
    #[error(transparent)]
    Pylock(#[from] PylockError),
    /// The chosen wheel is not one of those whose hashes were given.
    #[error(
        "{origin}: none of the given hashes is that of `{wheel}`: expected sha256 {expected}, got {got} from {from}"
    )]
    Hash {
        /// Where the requirement stands.
        origin: String,
        /// The chosen wheel.
        wheel: String,
        /// The given hashes.
        expected: String,
        /// The wheel's.
        got: Sha256,
        /// Where the wheel is.
        from: String,
    },
    /// A package that comes along with hashed requirements, and has no hash itself.
    #[error("{origin} has hashes, but none for `{name}`, which its packages require")]
    Unhashed {
        /// The file with the hashes.
        origin: String,
        /// The package.
        name: PackageName,
    },
    /// The view cannot be served.
    #[error("failed to serve the index view on 127.0.0.1")]
    Listen(#[source] std::io::Error),
}

impl Explain for ResolveError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoSolution { .. } | Self::NotFound { .. } | Self::NothingFits { .. } | Self::Uv { .. } => {
                Kind::Resolution
            }
            Self::Serve(error) => error.kind(),
            Self::Provision(error) => error.kind(),
            Self::Pylock(PylockError::NoWheel { .. } | PylockError::SourceOnly { .. }) => Kind::Resolution,
            Self::Pylock(_) => Kind::Input,
            Self::Hash { .. } | Self::Unhashed { .. } => Kind::Integrity,
            Self::Listen(_) => Kind::System,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NoSolution { hints, .. } => hints.clone(),
            Self::NotFound { .. } => {
                vec!["check the spelling, or add its index with `--index URL`".to_owned()]
            }
            Self::NothingFits { name, later, compilable, .. } if later.is_some() || *compilable => {
                let later = later.iter().map(|runtime| format!("build for {runtime}, which it fits"));
                let compile = compilable.then(|| format!("`--compile {name}` builds it from its source distribution"));
                later.chain(compile).collect()
            }
            Self::NothingFits { .. } => {
                vec!["look for another package, or a fork of it that publishes Linux wheels".to_owned()]
            }
            Self::Serve(error) => error.hints(),
            Self::Provision(error) => error.hints(),
            Self::Pylock(PylockError::NoWheel { name, compilable: true, .. }) => {
                vec![format!("`--compile {name}` builds it from its source distribution")]
            }
            Self::Pylock(PylockError::NoWheel { name, .. }) => {
                vec![format!("lock another version of {name}, or build for a newer runtime")]
            }
            Self::Pylock(PylockError::SourceOnly { name, .. }) => {
                vec![format!("build a wheel of {name} yourself and name its path or URL instead")]
            }
            Self::Pylock(_) => vec!["make the lock anew with the tool that wrote it".to_owned()],
            Self::Hash { .. } => vec![
                "the hashes may be of a source distribution or of wheels for other platforms: add those of the Linux wheels (`uv pip compile --generate-hashes` gives all)".to_owned(),
            ],
            Self::Unhashed { .. } => {
                vec!["let a tool write all of them: `uv pip compile --generate-hashes`, or `pip-compile --generate-hashes`".to_owned()]
            }
            Self::Uv { .. } | Self::Listen(_) => Vec::new(),
        }
    }
}

/// Identity of what a lock is made from: the inputs (index settings among them) and the target. A committed lock with
/// the same identity can be used as it is. Credentials are not part of it.
pub fn identity(inputs: &Inputs, target: Target) -> Sha256 {
    let indexes = &inputs.indexes;
    let mut text = format!("layerwise lock 1\n{target}\n");
    let mut line = |key: &str, value: &str| {
        text += &format!("{key} {}:{value}\n", value.len());
    };
    let mut requirements = |key: &str, list: &[Requirement]| {
        let mut lines: Vec<String> = list
            .iter()
            .map(|one| {
                let hashes: Vec<String> = one.hashes.iter().map(ToString::to_string).collect();
                format!("{} {}", one.text, hashes.join(" "))
            })
            .collect();
        lines.sort();
        line(key, &lines.join("\n"));
    };
    match &inputs.source {
        Source::Open { requirements: wanted, constraints } => {
            requirements("open", wanted);
            requirements("constraints", constraints);
        }
        Source::Exact { requirements: wanted } => requirements("exact", wanted),
        Source::UvLock { lock_text, extras, groups, .. } => {
            line("uv.lock", lock_text);
            line("extras", &join(extras));
            line("groups", &join(groups));
        }
        Source::Pylock { text: lock_text, extras, groups, .. } => {
            line("pylock", lock_text);
            line("extras", &join(extras));
            line("groups", &join(groups));
        }
    }
    let default = indexes.default_index.as_ref().map(|index| index.url.to_string()).unwrap_or_default();
    line("default-index", &default);
    for index in &indexes.extra {
        line("index", index.url.as_str());
    }
    for (name, index) in &indexes.index_of {
        line(name.as_str(), index.url.as_str());
    }
    line("no-index", if indexes.no_index { "yes" } else { "no" });
    if inputs.compile != CompilePolicy::default() {
        let names: Vec<&str> = inputs.compile.names.iter().map(PackageName::as_str).collect();
        line("compile", if inputs.compile.all { "all" } else { "" });
        line("compile-names", &names.join(" "));
    }
    Sha256::of(text.as_bytes())
}

fn join(set: &BTreeSet<String>) -> String {
    set.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// Chooses exactly which wheels.
/// `prepare` asks a build backend for metadata, where a source distribution does not tell it.
pub async fn run(inputs: &Inputs, target: Target, io: &Arc<Io>, prepare: Arc<Prepare>) -> Result<Lock, ResolveError> {
    let item = target.slug();
    io.emit(Event::Started { stage: Stage::Resolve, item: &item, bytes: None });
    let resolved = resolve(inputs, target, io, prepare).await;
    io.emit(Event::Finished { stage: Stage::Resolve, item: &item });
    resolved
}

async fn resolve(inputs: &Inputs, target: Target, io: &Arc<Io>, prepare: Arc<Prepare>) -> Result<Lock, ResolveError> {
    let tags = Tags::of(target);
    let mut lock = match &inputs.source {
        Source::Open { requirements, constraints } => {
            choose(Work { inputs, requirements, constraints, no_deps: false, target, prepare }, io).await?
        }
        Source::Exact { requirements } => {
            choose(Work { inputs, requirements, constraints: &[], no_deps: true, target, prepare }, io).await?
        }
        Source::Pylock { text, path, extras, groups } => {
            let policy = &inputs.compile;
            let selection = Selection { label: &inputs.label, tags: &tags, extras, groups, policy };
            let mut lock = pylock::parse(text, &inputs.label)?.select(&selection)?;
            let dir = path.parent().unwrap_or(&inputs.dir);
            for source in sources(&mut lock) {
                if let WheelSource::Path(path) = source {
                    *path = dir.join(&*path);
                }
            }
            lock
        }
        Source::UvLock { project_dir, extras, groups, .. } => {
            let uv = Uv::find(io, &inputs.indexes).await?;
            let answer = uv.export(io, project_dir, extras.iter(), groups.iter()).await?;
            let text = answer.pylock.ok_or_else(|| failed(&inputs.label, &answer.stderr))?;
            let selection = Selection::whole(&inputs.label, &tags, &inputs.compile);
            let mut lock = pylock::parse(&text, &inputs.label)?.select(&selection)?;
            sources(&mut lock).for_each(|source| make_absolute(source, &answer.dir));
            lock
        }
    };
    for pin in lock.sources.iter_mut().filter(|pin| pin.commit.is_some()) {
        if let WheelSource::Url(url) = &mut pin.source {
            take_credentials_of_repository(url, io);
        }
    }
    for source in lock.packages.iter_mut().map(|pin| &mut pin.source) {
        take_credentials(source, io);
    }
    for pin in lock.sources.iter_mut().filter(|pin| pin.commit.is_none()) {
        take_credentials(&mut pin.source, io);
    }
    lock.inputs = Some(identity(inputs, target));
    Ok(lock)
}

/// Where everything of a lock is.
fn sources(lock: &mut Lock) -> impl Iterator<Item = &mut WheelSource> {
    let wheels = lock.packages.iter_mut().map(|pin| &mut pin.source);
    wheels.chain(lock.sources.iter_mut().map(|pin| &mut pin.source))
}

/// A relative path counts from `dir`, which may be gone: so by its names alone.
fn make_absolute(source: &mut WheelSource, dir: &Path) {
    let WheelSource::Path(path) = source else { return };
    let mut absolute = PathBuf::new();
    for part in dir.join(&*path).components() {
        match part {
            Component::ParentDir => drop(absolute.pop()),
            Component::CurDir => {}
            other => absolute.push(other),
        }
    }
    *path = absolute;
}

struct Work<'a> {
    inputs: &'a Inputs,
    requirements: &'a [Requirement],
    constraints: &'a [Requirement],
    no_deps: bool,
    target: Target,
    prepare: Arc<Prepare>,
}

/// Lets uv choose over the view.
async fn choose(work: Work<'_>, io: &Arc<Io>) -> Result<Lock, ResolveError> {
    let Work { inputs, requirements, constraints, target, .. } = work;
    let tags = Tags::of(target);
    let uv = Uv::find(io, &inputs.indexes).await?;
    let upstream = Upstream::new(Arc::clone(io), inputs.indexes.clone());
    let server = Server::start(Arc::clone(io), upstream, tags.clone(), offered(&work), Arc::clone(&work.prepare));
    let server = server.await.map_err(ResolveError::Listen)?;
    let index_url = server.index_url();
    let compile =
        Compile { dir: &inputs.dir, requirements, constraints, no_deps: work.no_deps, index_url: &index_url, target };
    let answer = uv.compile(io, &compile).await?;
    let learnt = server.learnt(std::mem::take);
    let Some(text) = answer.pylock else {
        return Err(no_lock(&work, learnt, &answer.stderr, &server));
    };
    let mut pylock = pylock::parse(&text, &inputs.label)?;
    pylock.replace_urls(|url| server.real_file(&learnt, url), &learnt.digests);
    let selection = Selection::whole(&inputs.label, &tags, &inputs.compile);
    let mut lock = pylock.select(&selection)?;
    sources(&mut lock).for_each(|source| make_absolute(source, &answer.dir));
    check_hashes(requirements, &lock)?;
    let choice = why::Choice {
        packages: &lock.packages,
        sources: &lock.sources,
        requirements: requirements.iter().chain(constraints).collect(),
        projects: &learnt.projects,
        metadata: &learnt.metadata,
        target,
    };
    // Of exact versions nothing was passed over: they were the user's own choice.
    let mut notes = why::notes(&choice);
    notes.retain(|note| !work.no_deps || matches!(note, Note::FromSource { .. }));
    lock.notes = notes;
    Ok(lock)
}

/// Which source distributions uv may be shown: what may be compiled, and exact versions, which may have nothing else.
fn offered(work: &Work<'_>) -> Sources {
    let pinned = work.requirements.iter().chain(work.constraints).filter_map(|requirement| {
        let parsed = specifier::parse(&requirement.text).ok()?;
        let Some(VersionOrUrl::VersionSpecifier(specifiers)) = parsed.version_or_url else { return None };
        let exact = specifiers.iter().find(|one| *one.operator() == pep440_rs::Operator::Equal)?;
        Some((requirement.name.clone()?, exact.version().clone()))
    });
    Sources { policy: work.inputs.compile.clone(), pinned: pinned.collect() }
}

/// The true cause of uv's failure, most telling first.
fn no_lock(work: &Work<'_>, learnt: Learnt, stderr: &str, server: &Server) -> ResolveError {
    if let Some(failure) = learnt.failures.into_iter().next() {
        return failure.into();
    }
    let label = &work.inputs.label;
    if !stderr.contains("No solution found") && !stderr.contains("not found in the package registry") {
        return failed(label, stderr);
    }
    let target = work.target;
    for (name, project) in &learnt.projects {
        let named = work.requirements.iter().any(|requirement| requirement.name.as_ref() == Some(name));
        match project {
            None if named || learnt.projects.len() == 1 => {
                return ResolveError::NotFound { name: name.clone(), places: server.describe() };
            }
            Some(project) if named && project.releases.values().all(|release| !release.is_offered()) => {
                let stable = project.releases.iter().rev().find(|(version, _)| !version.any_prerelease());
                let Some((version, release)) = stable.or(project.releases.last_key_value()) else { continue };
                return ResolveError::NothingFits {
                    name: name.clone(),
                    version: version.to_string(),
                    target: target.to_string(),
                    reason: release.reason(target),
                    later: release.later_runtime(target),
                    compilable: release.sdist.is_some(),
                };
            }
            _ => {}
        }
    }
    let unknown = learnt.projects.iter().filter(|(_, project)| project.is_none()).map(|(name, _)| name);
    let unknown = unknown.filter(|name| stderr.contains(&format!("{name} was not found")));
    let mut hints: Vec<String> = unknown
        .map(|name| format!("`{name}` is not on {}: add its index with `--index URL`", server.describe()))
        .collect();
    hints.extend(why::hints(work.requirements, &learnt.projects, target, stderr));
    ResolveError::NoSolution {
        label: label.clone(),
        target: target.to_string(),
        explanation: explanation(stderr),
        hints,
    }
}

fn failed(label: &str, stderr: &str) -> ResolveError {
    ResolveError::Uv { label: label.to_owned(), explanation: explanation(stderr) }
}

/// uv's words, indented, without its own prefix and without what only we know (the address of the view).
fn explanation(stderr: &str) -> String {
    let lines = stderr.lines().map(str::trim_end).filter(|line| !line.trim().is_empty());
    let lines = lines.filter(|line| !line.contains("http://127.0.0.1"));
    let plain = lines.map(|line| {
        let text = line.trim_start();
        let text = text.strip_prefix("error: ").or_else(|| text.strip_prefix("cause: ")).unwrap_or(text);
        format!("  {}", text.trim_start_matches(['×', '╰', '─', '▶', '│', ' ']))
    });
    plain.take(40).collect::<Vec<_>>().join("\n")
}

/// Requirements with hashes accept only wheels with one of them. As with pip, hashes are a matter of all or nothing:
/// what comes along with a requirements file that has them needs one too.
fn check_hashes(requirements: &[Requirement], lock: &Lock) -> Result<(), ResolveError> {
    // One package may stand there twice, with different markers.
    let mut by_name: BTreeMap<Option<&PackageName>, Vec<&Requirement>> = BTreeMap::new();
    for requirement in requirements {
        by_name.entry(requirement.name.as_ref()).or_default().push(requirement);
    }
    let hashed = requirements.iter().find(|requirement| !requirement.hashes.is_empty());
    let Some(hashed) = hashed else { return Ok(()) };
    let wheels = lock.packages.iter().map(|pin| (&pin.name, &pin.wheel.text, Some(pin.sha256), &pin.source));
    let sources = lock.sources.iter().map(|pin| (&pin.name, &pin.file, pin.sha256, &pin.source));
    for (name, file, sha256, source) in wheels.chain(sources) {
        // A directory has none: it is the user's own.
        let Some(sha256) = sha256 else { continue };
        let Some(lines) = by_name.get(&Some(name)) else {
            let all_named = !by_name.contains_key(&None) && requirements.iter().all(|one| one.origin.line > 0);
            if all_named {
                let (name, origin) = (name.clone(), hashed.origin.file.clone());
                return Err(ResolveError::Unhashed { name, origin });
            }
            continue;
        };
        let expected: BTreeSet<&Sha256> = lines.iter().flat_map(|line| &line.hashes).collect();
        if !expected.is_empty() && !expected.contains(&sha256) {
            let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
            return Err(ResolveError::Hash {
                origin: lines[0].origin.to_string(),
                wheel: file.clone(),
                expected: expected.join(" or "),
                got: sha256,
                from: match source {
                    WheelSource::Url(url) => crate::io::SafeUrl::from(url).to_string(),
                    WheelSource::Path(path) => path.display().to_string(),
                },
            });
        }
    }
    Ok(())
}

/// Credentials in a wheel's URL go to the HTTP client and never into a lock.
fn take_credentials(source: &mut WheelSource, io: &Io) {
    let WheelSource::Url(url) = source else { return };
    if let Some(credentials) = Credentials::take(url) {
        io.http.know_realm(url, credentials);
    }
    url.set_fragment(None);
}

/// As [`take_credentials`], for git. The user of an SSH address is no secret, and part of the address.
fn take_credentials_of_repository(url: &mut url::Url, io: &Io) {
    if ["http", "https"].contains(&url.scheme()) {
        if let Some(credentials) = Credentials::take(url) {
            io.know_repository(url, credentials);
        }
    } else {
        // Fails only for URLs that cannot have one.
        let _: Result<(), ()> = url.set_password(None);
    }
    url.set_fragment(None);
}

/// A committed lock, when it is of these inputs: `Ok(None)` where it is of others.
pub fn from_lock_file(text: &str, label: &str, inputs: &Inputs, target: Target) -> Result<Option<Lock>, ResolveError> {
    let identity = identity(inputs, target);
    let parsed = pylock::parse(text, label)?;
    if parsed.inputs() != Some(identity) {
        return Ok(None);
    }
    let tags = Tags::of(target);
    let selection = Selection::whole(label, &tags, &inputs.compile);
    Ok(Some(parsed.select(&selection)?))
}
