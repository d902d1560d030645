//! The one file that knows the order of the stages:
//! resolve → fetch → compile → extra → assemble → audit → pack; for a function: function → assemble → audit → pack;
//! and for what others made: artifact → audit → prove.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use fs_err as fs;

use crate::artifact::{self, ArtifactError};
use crate::assemble::{self, AssembleError, Assembled, Layout};
use crate::audit::facts::Content as Facts;
use crate::audit::{self, Allowance, Finding, Modified, Problem, Report, Role, Severity, Subject, audit, policy};
use crate::compile::{self, CompileError, Fresh, Work};
use crate::error::{Explain, Kind};
use crate::event::{Event, Events, Stage};
use crate::extra::{self, ExtraError, Files};
use crate::fetch;
use crate::function::{self, CodeError};
use crate::input::{Inputs, Source};
use crate::io::{Bucket, CacheError, CachedWheel, Io, IoError, WheelsError, blocking};
use crate::model::digest::{seal, unseal};
use crate::model::{Content, Engine, ExtraFile, Lock, Note, Runtime, Sha256, Target, limits};
use crate::pack::{self, DeflatedCache, PackError, Packed, WheelFile};
use crate::prove::{self, End, Guard, Proof, ProveError};
use crate::resolve::{self, Prepare, PreparedSdist, ResolveError, Unprepared};

/// One artifact to make.
#[derive(Debug, Clone)]
pub struct Job {
    /// The layer's name.
    pub name: String,
    /// What it is for.
    pub target: Target,
    /// What goes in.
    pub inputs: Inputs,
    /// Where its committed lock is, or would be (`pylock.<name>-python311-x86_64.toml`).
    pub lock_file: PathBuf,
    /// How to assemble.
    pub assemble: assemble::Options,
    /// Leave out the AWS SDK packages that the runtime brings, as a whole.
    pub exclude_runtime_packages: bool,
    /// Where the zip goes.
    pub output: PathBuf,
    /// Look whether it works on Lambda, and refuse to make it if it does not.
    pub check: bool,
    /// Findings that are lived with.
    pub allow: Vec<Allowance>,
    /// With what packages are compiled.
    pub engine: Engine,
    /// Files that no package brings.
    pub files: Vec<ExtraFile>,
    /// Variables that a function with this layer needs.
    pub environment: BTreeMap<String, String>,
}

/// One function's zip to make.
#[derive(Debug, Clone)]
pub struct FunctionJob {
    /// The function's name.
    pub name: String,
    /// What it is for.
    pub target: Target,
    /// The directory of its code.
    pub code: PathBuf,
    /// What to leave out of it, in the words of `.gitignore`.
    pub ignore: Vec<String>,
    /// `index.handler`.
    pub handler: String,
    /// Its layers in order.
    pub layers: Vec<Attached>,
    /// What the layers bring goes into the function's own zip.
    pub packaged: bool,
    /// Its variables.
    pub environment: BTreeMap<String, String>,
    /// Where the zip goes.
    pub output: PathBuf,
    /// Look whether it works on Lambda, and refuse to make it if it does not.
    pub check: bool,
    /// Findings that are lived with.
    pub allow: Vec<Allowance>,
}

/// A layer of a function.
#[derive(Debug, Clone)]
pub enum Attached {
    /// One that was built now.
    Built(Arc<Contents>),
    /// One that somebody has made: a zip or a directory.
    Path(PathBuf),
}

/// What an artifact was made of, for what builds on it.
#[derive(Debug)]
pub struct Contents {
    /// The layer's name.
    name: String,
    wheels: Vec<CachedWheel>,
    files: Files,
    assembled: Assembled,
    options: assemble::Options,
}

/// What to do with a committed lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LockPolicy {
    /// Use it when it is there and matches its inputs.
    #[default]
    Use,
    /// Fail unless it is there and matches its inputs.
    Insist,
}

/// A finished artifact.
#[derive(Debug, Clone)]
pub struct Built {
    /// The layer's name.
    pub name: String,
    /// What it is for.
    pub target: Target,
    /// Where it is.
    pub output: PathBuf,
    /// Of the zip's bytes: `CodeSha256`.
    pub sha256: Sha256,
    /// Size of the zip in bytes.
    pub zipped_bytes: u64,
    /// Sum of the unpacked files in bytes.
    pub unzipped_bytes: u64,
    /// Number of files.
    pub files: usize,
    /// What is inside, largest (unzipped) first.
    pub packages: Vec<BuiltPackage>,
    /// What is inside that no package brings, by path.
    pub extras: Vec<BuiltFile>,
    /// Variables that a function with this layer needs; of a function, its own.
    pub environment: BTreeMap<String, String>,
    /// What it was made of, where more is to be made of it.
    pub contents: Option<Arc<Contents>>,
    /// What was surprising about the choice of versions.
    pub notes: Vec<Note>,
    /// Where the versions came from.
    pub lock: LockUse,
    /// What the audit found; `None` where it was not wanted.
    pub report: Option<Report>,
    /// Where the time went.
    pub timings: Timings,
}

/// One package of an artifact.
#[derive(Debug, Clone)]
pub struct BuiltPackage {
    /// Normalised name.
    pub name: String,
    /// Version.
    pub version: String,
    /// The wheel's file name.
    pub wheel: String,
    /// Its digest.
    pub sha256: Sha256,
    /// Unpacked bytes of its files in the artifact.
    pub unzipped_bytes: u64,
    /// Their share of the zip in bytes.
    pub zipped_bytes: u64,
}

/// One file of an artifact that no package brings.
#[derive(Debug, Clone)]
pub struct BuiltFile {
    /// Its path in the artifact.
    pub path: String,
    /// Its digest.
    pub sha256: Sha256,
    /// Bytes.
    pub unzipped_bytes: u64,
}

/// Where the versions came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockUse {
    /// There is nothing that has versions: a function's own code.
    None,
    /// Resolved now; there was no lock.
    Resolved,
    /// Resolved now, because the committed lock is of other inputs.
    Stale,
    /// Taken from the committed lock, or from the lock that was the input.
    Locked,
}

/// Wall time of each stage.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timings {
    /// Choosing versions.
    pub resolve: Duration,
    /// Getting wheels.
    pub fetch: Duration,
    /// Building wheels from source distributions.
    pub compile: Duration,
    /// Placing files.
    pub assemble: Duration,
    /// Looking whether it works.
    pub audit: Duration,
    /// Writing the zip.
    pub pack: Duration,
}

/// A lock that was written.
#[derive(Debug, Clone)]
pub struct Locked {
    /// Where.
    pub path: PathBuf,
    /// For what.
    pub target: Target,
    /// How many packages.
    pub packages: usize,
    /// What was surprising about the choice.
    pub notes: Vec<Note>,
    /// Whether the file differs from what stood there.
    pub changed: bool,
}

/// No artifact could be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No versions.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// No wheels.
    #[error(transparent)]
    Fetch(#[from] WheelsError),
    /// No wheel could be built.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// A file that no package brings.
    #[error(transparent)]
    Extra(#[from] ExtraError),
    /// A function's code.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// The wheels do not go together.
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    /// No zip.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The world, for a second build.
    #[error(transparent)]
    Io(#[from] IoError),
    /// `--locked`, and there is no lock.
    #[error("there is no lock for {target} at `{}`", path.display())]
    LockMissing {
        /// For what.
        target: String,
        /// Where it should be.
        path: PathBuf,
    },
    /// `--locked`, and the lock is of other inputs.
    #[error("the lock `{}` is not of {label} as it is now", path.display())]
    LockStale {
        /// Where it is.
        path: PathBuf,
        /// The input.
        label: String,
    },
    /// The lock cannot be read or written.
    #[error("failed to {what} the lock `{}`", path.display())]
    LockFile {
        /// `read` or `write`.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// More than Lambda takes.
    #[error(
        "{name} for {target} is {unzipped_bytes} bytes unzipped; Lambda takes at most {} (function and all layers together)",
        limits::UNZIPPED_BYTES
    )]
    TooLarge {
        /// The layer.
        name: String,
        /// For what.
        target: String,
        /// Its unpacked size.
        unzipped_bytes: u64,
        /// What is inside, largest first.
        packages: Vec<BuiltPackage>,
    },
    /// It would not work on Lambda.
    #[error("{name} would not work on {}: {}", report.target, errors(report))]
    Findings {
        /// The layer.
        name: String,
        /// What was found.
        report: Box<Report>,
    },
    /// An artifact to check cannot be read.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// Nothing can be run.
    #[error(transparent)]
    Prove(#[from] ProveError),
    /// Two builds of the same lock differ.
    #[error("two builds of {name} for {target} differ: sha256 {first} and {second}")]
    NotReproducible {
        /// The layer.
        name: String,
        /// For what.
        target: String,
        /// Of the first build.
        first: Sha256,
        /// Of the second build.
        second: Sha256,
    },
}

impl Explain for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Resolve(error) => error.kind(),
            Self::Fetch(error) => error.kind(),
            Self::Compile(error) => error.kind(),
            Self::Extra(error) => error.kind(),
            Self::Code(error) => error.kind(),
            Self::Assemble(error) => error.kind(),
            Self::Pack(error) => error.kind(),
            Self::Cache(error) => error.kind(),
            Self::Io(error) => error.kind(),
            Self::LockMissing { .. } | Self::LockStale { .. } | Self::LockFile { .. } => Kind::Input,
            Self::TooLarge { .. } => Kind::Limit,
            Self::Findings { .. } => Kind::Findings,
            Self::Artifact(error) => error.kind(),
            Self::Prove(error) => error.kind(),
            Self::NotReproducible { .. } => Kind::Internal,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Resolve(error) => error.hints(),
            Self::Fetch(error) => error.hints(),
            Self::Compile(error) => error.hints(),
            Self::Extra(error) => error.hints(),
            Self::Code(error) => error.hints(),
            Self::Assemble(error) => error.hints(),
            Self::Pack(error) => error.hints(),
            Self::Cache(error) => error.hints(),
            Self::Io(error) => error.hints(),
            Self::LockMissing { .. } => vec!["run `layerwise lock` and commit what it writes".to_owned()],
            Self::LockStale { .. } => vec!["run `layerwise lock` again and commit the change".to_owned()],
            Self::LockFile { .. } => Vec::new(),
            Self::TooLarge { .. } => vec![
                "leave something out with `--exclude`, split the layer in two only if the function needs just one, or drop a package".to_owned(),
                "`--exclude-runtime-packages` leaves out the AWS SDK that the runtime brings".to_owned(),
            ],
            Self::Findings { .. } => vec![
                "a finding that you have looked at can be allowed with its reason: `allow` in layerwise.toml".to_owned(),
                "`--no-check` builds it all the same".to_owned(),
            ],
            Self::Artifact(error) => error.hints(),
            Self::Prove(error) => error.hints(),
            Self::NotReproducible { .. } => vec!["this is a bug in layerwise: please report it".to_owned()],
        }
    }
}

/// `2 errors`.
fn errors(report: &Report) -> String {
    match report.count(Severity::Error) {
        1 => "1 error".to_owned(),
        many => format!("{many} errors"),
    }
}

/// Makes one artifact.
pub async fn build(job: &Job, policy: LockPolicy, io: &Arc<Io>) -> Result<Built, Error> {
    let started = Instant::now();
    let (lock, lock_use) = plan(job, policy, io).await?;
    let resolve = started.elapsed();
    let mut built = make(job, &lock, &job.output, io).await?;
    built.lock = lock_use;
    built.timings.resolve = resolve;
    Ok(built)
}

/// Makes one artifact three times, twice with nothing cached, and compares the bytes.
pub async fn verify(job: &Job, policy: LockPolicy, io: &Arc<Io>) -> Result<Built, Error> {
    let (lock, lock_use) = plan(job, policy, io).await?;
    let mut built = make(job, &lock, &job.output, io).await?;
    built.lock = lock_use;
    for _ in 0..2 {
        let scratch = tempfile::tempdir().map_err(|source| CacheError::Write { path: std::env::temp_dir(), source })?;
        let fresh = Arc::new(io.with_cache(&scratch.path().join("cache"))?);
        fresh.http.know(&job.inputs.indexes);
        let again = make(job, &lock, &scratch.path().join("again.zip"), &fresh).await?;
        if again.sha256 != built.sha256 {
            let (name, target) = (job.name.clone(), job.target.to_string());
            return Err(Error::NotReproducible { name, target, first: built.sha256, second: again.sha256 });
        }
    }
    Ok(built)
}

/// Chooses the versions and does nothing with them: the committed lock where it is of these inputs, else a new one.
pub async fn plan(job: &Job, policy: LockPolicy, io: &Arc<Io>) -> Result<(Lock, LockUse), Error> {
    let (path, target, inputs) = (&job.lock_file, job.target, &job.inputs);
    io.http.know(&inputs.indexes);
    let committed = match fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(source) => return Err(Error::LockFile { what: "read", path: path.clone(), source }),
    };
    let is_lock = matches!(inputs.source, Source::Pylock { .. } | Source::UvLock { .. } | Source::Exact { .. });
    let stale = committed.is_some();
    if let Some(text) = committed {
        let label = path.display().to_string();
        if let Some(lock) = resolve::from_lock_file(&text, &label, inputs, target)? {
            return Ok((lock, LockUse::Locked));
        }
    }
    match policy {
        LockPolicy::Insist if stale => {
            return Err(Error::LockStale { path: path.clone(), label: inputs.label.clone() });
        }
        LockPolicy::Insist if !is_lock => {
            return Err(Error::LockMissing { target: target.to_string(), path: path.clone() });
        }
        _ => {}
    }
    let lock = resolve::run(inputs, target, io, prepare(job, io)).await?;
    let lock_use = match (stale, is_lock) {
        (true, _) => LockUse::Stale,
        (false, true) => LockUse::Locked,
        (false, false) => LockUse::Resolved,
    };
    Ok((lock, lock_use))
}

/// Chooses the versions anew and writes the lock for committing.
pub async fn lock(job: &Job, io: &Arc<Io>) -> Result<Locked, Error> {
    io.http.know(&job.inputs.indexes);
    let mut lock = resolve::run(&job.inputs, job.target, io, prepare(job, io)).await?;
    let path = job.lock_file.clone();
    let dir = path.parent().unwrap_or(Path::new("."));
    lock.relative_to(&job.inputs.dir, dir);
    let text = resolve::write(&lock, job.target);
    let changed = fs::read_to_string(&path).ok().as_deref() != Some(text.as_str());
    if changed {
        let failed = |source| Error::LockFile { what: "write", path: path.clone(), source };
        let mut aside = pack::aside(dir).map_err(failed)?;
        aside.write_all(text.as_bytes()).map_err(failed)?;
        aside.persist(&path).map_err(|error| failed(error.error))?;
    }
    Ok(Locked { path, target: job.target, packages: lock.len(), notes: lock.notes, changed })
}

/// From a lock to a zip at `output`.
async fn make(job: &Job, lock: &Lock, output: &Path, io: &Arc<Io>) -> Result<Built, Error> {
    let mut lock = lock.clone();
    if job.exclude_runtime_packages {
        lock.packages.retain(|pin| !Runtime::sdk_packages().contains(&pin.name));
        lock.sources.retain(|pin| !Runtime::sdk_packages().contains(&pin.name));
    }
    let mut timings = Timings::default();
    let mut rotten = BTreeSet::new();
    loop {
        let started = Instant::now();
        let mut wheels = fetch::run(&lock, &job.inputs.dir, io).await?;
        timings.fetch += started.elapsed();
        let started = Instant::now();
        let built = build_sources(job, &lock, io).await?;
        if !lock.sources.is_empty() {
            timings.compile += started.elapsed();
        }
        let built_sha256s: Vec<_> = built.iter().map(|wheel| (wheel.name.text.clone(), wheel.sha256)).collect();
        if !built.is_empty() {
            wheels.extend(built);
            wheels.sort_by(|a, b| a.name.name.cmp(&b.name.name));
        }

        let started = Instant::now();
        let files = extra::run(&job.files, &job.inputs.indexes, io).await?;
        timings.fetch += started.elapsed();
        let (job, output, io_here) = (job.clone(), output.to_owned(), Arc::clone(io));
        match blocking(move || assemble_and_pack(&job, wheels, files, &output, &io_here)).await {
            Ok(mut built) => {
                (built.timings.fetch, built.timings.compile) = (timings.fetch, timings.compile);
                built.notes = lock.notes;
                return Ok(built);
            }
            // The cache's copy of a wheel has rotted: forget it, get it again, each once.
            Err(Error::Pack(PackError::CorruptWheel { wheel, .. })) if rotten.insert(wheel.clone()) => {
                io.emit(Event::Warning { text: &format!("{wheel} in the cache is corrupt: getting it again") });
                for pin in lock.packages.iter().filter(|pin| pin.wheel.text == wheel) {
                    io.evict_wheel(pin.sha256)?;
                }
                // One that was built is built again.
                for sha256 in built_sha256s.iter().filter(|(name, _)| *name == wheel).map(|(_, sha256)| *sha256) {
                    io.evict_wheel(sha256)?;
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// The wheels of what the lock has only sources of: from the cache, else built, judged, and then cached.
async fn build_sources(job: &Job, lock: &Lock, io: &Arc<Io>) -> Result<Vec<CachedWheel>, Error> {
    let (target, indexes, policy, engine) = (job.target, &job.inputs.indexes, &job.inputs.compile, &job.engine);
    let work = Work { target, indexes, policy, engine, io };
    let mut wheels = Vec::new();
    for pin in &lock.sources {
        let known = compile::cached(pin, &job.inputs.dir, &work).await?;
        if let Some(wheel) = known {
            wheels.push(wheel);
            continue;
        }
        let _turn = io.compiles.acquire().await.expect("the semaphore is never closed");
        // Another job may have built it meanwhile.
        let wheel = match compile::cached(pin, &job.inputs.dir, &work).await? {
            Some(wheel) => wheel,
            None => match compile::build(pin, &job.inputs.dir, &work).await? {
                compile::Built::Known(wheel) => wheel,
                compile::Built::Fresh(fresh) => {
                    judge(&fresh, job)?;
                    compile::keep(&fresh, io)?
                }
            },
        };
        wheels.push(wheel);
    }
    Ok(wheels)
}

/// The gate: a wheel built here enters the cache only when this has nothing against it.
fn judge(fresh: &Fresh, job: &Job) -> Result<(), Error> {
    compile::plausible(fresh, job.target)?;
    if !job.check {
        return Ok(());
    }
    let artifact = artifact::read(&fresh.path, &fresh.facts.name.text, 1, None)?;
    let subject = Subject { artifacts: vec![artifact.subject(Role::Layer)], ..Subject::default() };
    let mut report = audit(&subject, job.target);
    report.allow(&job.allow);
    report.findings.retain(|finding| finding.severity == Severity::Error);
    if report.findings.is_empty() {
        return Ok(());
    }
    Err(Error::Findings { name: fresh.facts.name.text.clone(), report: Box::new(report) })
}

/// How a build backend is asked for metadata.
fn prepare(job: &Job, io: &Arc<Io>) -> Arc<Prepare> {
    let (target, indexes, policy) = (job.target, job.inputs.indexes.clone(), job.inputs.compile.clone());
    let (engine, io) = (job.engine.clone(), Arc::clone(io));
    Arc::new(move |wanted: PreparedSdist| {
        let (indexes, policy, engine, io) = (indexes.clone(), policy.clone(), engine.clone(), Arc::clone(&io));
        Box::pin(async move {
            let work = Work { target, indexes: &indexes, policy: &policy, engine: &engine, io: &io };
            compile::metadata(&wanted.file, &wanted.path, &work).await.map_err(|error| Unprepared {
                kind: error.kind(),
                hints: error.hints(),
                source: error.into(),
            })
        })
    })
}

fn assemble_and_pack(
    job: &Job,
    wheels: Vec<CachedWheel>,
    files: Files,
    output: &Path,
    io: &Io,
) -> Result<Built, Error> {
    let started = Instant::now();
    let making = Making {
        target: job.target,
        role: Role::Layer,
        output,
        check: job.check,
        allow: &job.allow,
        handler: None,
        environment: &job.environment,
        beside: &[],
    };
    let mut built = std::thread::scope(|scope| {
        let facts = job.check.then(|| {
            let wheels = wheels.clone();
            scope.spawn(move || wheel_facts(&wheels, io))
        });
        let contents = contents(&job.name, (wheels, files), job.target, job.assemble.clone())?;
        for pattern in &contents.assembled.unused_excludes {
            io.emit(Event::Warning { text: &format!("`--exclude {pattern}` matches nothing") });
        }
        pack_and_judge(contents, facts, &making, io)
    })?;
    built.timings.assemble = started.elapsed().saturating_sub(built.timings.pack + built.timings.audit);
    Ok(built)
}

/// Makes a function's own zip.
pub async fn function(job: &FunctionJob, io: &Arc<Io>) -> Result<Built, Error> {
    let (job, io) = (job.clone(), Arc::clone(io));
    blocking(move || function_now(&job, &io)).await
}

fn function_now(job: &FunctionJob, io: &Io) -> Result<Built, Error> {
    let started = Instant::now();
    let code = function::code(&job.name, &job.code, &job.ignore)?;
    for secret in &code.secrets {
        let text = format!(
            "{}: `{secret}` looks like a secret and is left out (`ignore = [\"!{secret}\"]` keeps it)",
            job.name
        );
        io.emit(Event::Warning { text: &text });
    }
    let mut files = code.files;
    let mut wheels: BTreeMap<String, CachedWheel> = BTreeMap::new();
    let mut environment = job.environment.clone();
    let mut options = assemble::Options { layout: Layout::Root, excludes: Vec::new() };
    if job.packaged {
        for layer in &job.layers {
            // `config` lets nothing else through.
            let Attached::Built(layer) = layer else { continue };
            wheels.extend(layer.wheels.iter().map(|wheel| (wheel.name.text.clone(), wheel.clone())));
            files.found.extend(layer.files.found.iter().cloned());
            files.facts.extend(layer.files.facts.iter().cloned());
            options.excludes.extend(layer.options.excludes.iter().cloned());
        }
        for value in environment.values_mut() {
            *value = value.replace("/opt/", "/var/task/");
        }
    }
    let contents = contents(&job.name, (wheels.into_values().collect(), files), job.target, options)?;
    let making = Making {
        target: job.target,
        role: Role::Function,
        output: &job.output,
        check: job.check,
        allow: &job.allow,
        handler: Some(&job.handler),
        environment: &environment,
        beside: if job.packaged { &[] } else { &job.layers },
    };
    let mut built = pack_and_judge(contents, None, &making, io)?;
    built.timings.assemble = started.elapsed().saturating_sub(built.timings.pack + built.timings.audit);
    built.lock = LockUse::None;
    Ok(built)
}

/// Assembles what goes into one artifact.
fn contents(
    name: &str,
    (wheels, files): (Vec<CachedWheel>, Files),
    target: Target,
    options: assemble::Options,
) -> Result<Contents, Error> {
    let named: Vec<_> = wheels.iter().map(|wheel| (&wheel.name, wheel.index.as_ref())).collect();
    let assembled = assemble::assemble(&named, &files.found, target, &options)?;
    Ok(Contents { name: name.to_owned(), wheels, files, assembled, options })
}

/// How an artifact is made of its contents.
struct Making<'a> {
    target: Target,
    role: Role,
    output: &'a Path,
    check: bool,
    allow: &'a [Allowance],
    handler: Option<&'a str>,
    environment: &'a BTreeMap<String, String>,
    /// The layers of a function.
    beside: &'a [Attached],
}

/// What the members of wheels are, wheel by wheel.
type WheelFacts = Vec<Vec<Facts>>;

/// A thread that reads them while the layer is assembled.
type FactsThread<'scope> = ScopedJoinHandle<'scope, Result<WheelFacts, Error>>;

fn wheel_facts(wheels: &[CachedWheel], io: &Io) -> Result<WheelFacts, Error> {
    Ok(wheels.iter().map(|wheel| io.wheel_facts(wheel)).collect::<Result<_, _>>()?)
}

/// The layer is looked into while it is written; it gets its name only if it would work.
fn pack_and_judge(
    contents: Contents,
    facts: Option<FactsThread<'_>>,
    making: &Making<'_>,
    io: &Io,
) -> Result<Built, Error> {
    let Contents { name, wheels, files, assembled, .. } = &contents;
    let unzipped_bytes = assembled.tree.unzipped_bytes();
    let mut together = unzipped_bytes;
    for layer in making.beside {
        together = together.saturating_add(match layer {
            Attached::Built(layer) => layer.assembled.tree.unzipped_bytes(),
            Attached::Path(path) => artifact::unzipped_bytes(path)?,
        });
    }
    if together > limits::UNZIPPED_BYTES {
        return Err(Error::TooLarge {
            name: name.clone(),
            target: making.target.to_string(),
            unzipped_bytes: together,
            packages: packages(wheels, assembled, None),
        });
    }
    let started = Instant::now();
    io.emit(Event::Started { stage: Stage::Pack, item: name, bytes: Some(unzipped_bytes) });
    let from: Vec<_> =
        wheels.iter().map(|wheel| WheelFile { name: &wheel.name, path: &wheel.path, index: &wheel.index }).collect();
    let (report, packed, pack) = std::thread::scope(|scope| {
        let audited = making.check.then(|| scope.spawn(|| audit_contents(&contents, facts, making, io)));
        let packed = pack::zip(&assembled.tree, &from, &files.found, &Deflated(io), making.output);
        let pack = started.elapsed();
        let report = audited.map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        (report.transpose(), packed, pack)
    });
    // What the check took beyond the writing.
    let audit = started.elapsed().saturating_sub(pack);
    io.emit(Event::Finished { stage: Stage::Pack, item: name });
    let report = report?;
    let packed = packed?.place()?;
    let extras = files.found.iter().map(|file| BuiltFile {
        path: file.to.to_string(),
        sha256: file.sha256,
        unzipped_bytes: file.size,
    });
    Ok(Built {
        name: name.clone(),
        target: making.target,
        output: making.output.to_owned(),
        sha256: packed.sha256,
        zipped_bytes: packed.zipped_bytes,
        unzipped_bytes,
        files: assembled.tree.len(),
        packages: packages(wheels, assembled, Some(&packed)),
        extras: extras.collect(),
        environment: making.environment.clone(),
        notes: Vec::new(),
        lock: LockUse::Resolved,
        report,
        timings: Timings { audit, pack, ..Timings::default() },
        contents: Some(Arc::new(contents)),
    })
}

/// Judges what an artifact is made of, with its layers where it has some; errors are an error.
fn audit_contents(
    contents: &Contents,
    facts: Option<FactsThread<'_>>,
    making: &Making<'_>,
    io: &Io,
) -> Result<Report, Error> {
    let own = match facts {
        Some(thread) => {
            let facts = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            Described { contents, facts }
        }
        None => Described::new(contents, io)?,
    };
    let mut layers = Vec::new();
    let mut read = Vec::new();
    for layer in making.beside {
        match layer {
            Attached::Built(layer) => layers.push(Described::new(layer, io)?),
            Attached::Path(path) => read.push(artifact::read(path, &path.display().to_string(), 1, making.handler)?),
        }
    }
    let mut artifacts = vec![own.artifact(making.role)];
    let (mut layers, mut read) = (layers.iter(), read.iter());
    for layer in making.beside {
        artifacts.extend(match layer {
            Attached::Built(_) => layers.next().map(|layer| layer.artifact(Role::Layer)),
            Attached::Path(_) => read.next().map(|layer| layer.subject(Role::Layer)),
        });
    }
    let pythonpath = making.environment.get("PYTHONPATH").filter(|_| making.handler.is_some());
    let subject = Subject { artifacts, handler: making.handler, pythonpath: pythonpath.map(String::as_str) };
    let mut report = audit(&subject, making.target);
    // What is to be said of a layer by itself has been said when it was built.
    report.findings.retain(|finding| {
        let of_another = !finding.artifact.is_empty() && finding.artifact != contents.name;
        finding.severity == Severity::Error || !of_another
    });
    report.allow(making.allow);
    if report.has_errors() {
        return Err(Error::Findings { name: contents.name.clone(), report: Box::new(report) });
    }
    Ok(report)
}

/// Contents, and what their wheels' members are.
struct Described<'a> {
    contents: &'a Contents,
    facts: WheelFacts,
}

impl<'a> Described<'a> {
    fn new(contents: &'a Contents, io: &Io) -> Result<Self, Error> {
        Ok(Self { contents, facts: wheel_facts(&contents.wheels, io)? })
    }

    fn artifact(&self, role: Role) -> audit::Artifact<'_> {
        const OPAQUE: &Facts = &Facts::Opaque;
        let Contents { name, wheels, files, assembled, .. } = self.contents;
        let files = assembled.tree.iter().map(|(path, entry)| audit::File {
            path: path.as_str(),
            size: entry.size(),
            mode: Some(if entry.executable { 0o755 } else { 0o644 }),
            link: None,
            modified: Modified::Unknown,
            sha256: None,
            content: match entry.content {
                Content::Member { member, .. } => self.facts[entry.owner].get(member).unwrap_or(OPAQUE),
                Content::File { file, .. } => &files.facts[file],
                Content::Generated(_) => OPAQUE,
            },
            owner: wheels.get(entry.owner).map(|wheel| &wheel.name.name),
        });
        audit::Artifact {
            label: name.clone(),
            role,
            zipped_bytes: None,
            files: files.collect(),
            strange: &[],
            is_wheel: false,
        }
    }
}

/// Artifacts that somebody has made, to be judged together.
#[derive(Debug, Clone)]
pub struct Check {
    /// What to read: where, and what messages call it.
    pub artifacts: Vec<Candidate>,
    /// The function's handler.
    pub handler: Option<String>,
    /// The function's `PYTHONPATH`.
    pub pythonpath: Option<String>,
    /// Findings that are lived with.
    pub allow: Vec<Allowance>,
    /// Threads for reading.
    pub threads: usize,
    /// Also prove it by running.
    pub run: Option<Running>,
}

/// One artifact to be judged.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Where it is.
    pub path: PathBuf,
    /// What messages call it.
    pub label: String,
    /// What it is to Lambda; told from its files where nobody says.
    pub role: Option<Role>,
}

/// How to prove it by running.
#[derive(Debug, Clone)]
pub struct Running {
    /// Where Pythons may be, for each minor version that is asked for.
    pub search: prove::Search,
    /// How long one import may take.
    pub time_limit: Duration,
}

/// What a check found.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The findings.
    pub report: Report,
    /// The imports that were tried.
    pub proof: Option<Proof>,
}

/// Reads artifacts once, judges them for each target, and proves it by running where that is wanted.
pub async fn check(check: &Check, targets: &[Target], events: &dyn Events) -> Result<Vec<Checked>, Error> {
    let handler = check.handler.as_deref();
    let read = |candidate: &Candidate| artifact::read(&candidate.path, &candidate.label, check.threads, handler);
    let artifacts = check.artifacts.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let roles: Vec<Role> = artifacts
        .iter()
        .zip(&check.artifacts)
        .map(|(artifact, candidate)| {
            let told = || if artifact.looks_like_a_layer() { Role::Layer } else { Role::Function };
            candidate.role.unwrap_or_else(told)
        })
        .collect();
    let subject = Subject {
        artifacts: artifacts.iter().zip(&roles).map(|(artifact, role)| artifact.subject(*role)).collect(),
        handler,
        pythonpath: check.pythonpath.as_deref(),
    };
    let root = match &check.run {
        None => None,
        Some(running) => {
            let root = tempfile::tempdir().map_err(ProveError::Prepare)?;
            for ((artifact, candidate), role) in artifacts.iter().zip(&check.artifacts).zip(&roles) {
                let to = root.path().join(role.mount().trim_start_matches('/'));
                artifact::unpack(artifact, &candidate.path, &to)?;
            }
            Some((root, running))
        }
    };
    let mut checked = Vec::new();
    for target in targets {
        let mut report = audit(&subject, *target);
        let mut proof = None;
        if let Some((root, running)) = &root {
            let item = target.to_string();
            events.emit(Event::Started { stage: Stage::Run, item: &item, bytes: None });
            let run = prove_by_running(check, &report, root.path(), running).await;
            events.emit(Event::Finished { stage: Stage::Run, item: &item });
            let (found, ran) = run?;
            report.add(found);
            proof = ran;
        }
        report.allow(&check.allow);
        checked.push(Checked { report, proof });
    }
    Ok(checked)
}

/// Imports what is at the top of the path, and the handler, in a real Python.
async fn prove_by_running(
    check: &Check,
    report: &Report,
    root: &Path,
    running: &Running,
) -> Result<(Vec<Finding>, Option<Proof>), Error> {
    let python = match prove::find(report.target, &running.search).await {
        Ok(python) => python,
        Err(none) => {
            let tried: Vec<String> = none.tried.iter().map(|(path, why)| format!("{} {why}", path.display())).collect();
            let tried = if tried.is_empty() { String::new() } else { format!(" ({})", tried.join("; ")) };
            return Ok((
                vec![run_finding(Severity::Warning, Problem::RunLimited { why: format!("{none}{tried}") })],
                None,
            ));
        }
    };
    let job = prove::Job {
        root: root.to_owned(),
        target: report.target,
        modules: report.modules.clone(),
        handler: check.handler.clone(),
        env: check.pythonpath.iter().map(|value| ("PYTHONPATH".to_owned(), value.clone())).collect(),
        time_limit: running.time_limit,
        at_once: check.threads,
    };
    let proof = prove::run(&job, &python, |_| ()).await?;
    Ok((proof_findings(&proof, report), Some(proof)))
}

fn run_finding(severity: Severity, problem: Problem) -> Finding {
    Finding { severity, artifact: String::new(), file: None, at: None, package: None, problem }
}

/// What a proof says, as findings. What only the managed runtime brings cannot fail here.
fn proof_findings(proof: &Proof, report: &Report) -> Vec<Finding> {
    let steps = |chain: &[prove::Step]| chain.iter().map(|step| format!("{}:{}", step.file, step.line)).collect();
    let mut findings = Vec::new();
    for outcome in &proof.outcomes {
        let module = outcome.subject.to_string();
        let (severity, problem) = match &outcome.end {
            End::Imported => continue,
            End::Failed { raised, .. } => {
                let of_runtime = raised
                    .iter()
                    .find_map(|raised| raised.missing.as_ref())
                    .filter(|missing| policy::runtime_provides(report.target.runtime, missing));
                match (of_runtime, raised.first()) {
                    (Some(missing), _) => {
                        let why = format!("`import {module}` needs `{missing}`, which only the managed runtime brings");
                        (Severity::Note, Problem::RunLimited { why })
                    }
                    (None, Some(raised)) => (
                        Severity::Error,
                        Problem::RunFailed {
                            module,
                            error_type: raised.error_type.clone(),
                            message: raised.message.clone(),
                            chain: steps(&raised.chain),
                        },
                    ),
                    (None, None) => continue,
                }
            }
            End::Crashed { signal, name, last_module, .. } => {
                let signal = if name.is_empty() { format!("signal {signal}") } else { (*name).to_owned() };
                (Severity::Error, Problem::RunCrashed { module, signal, last: last_module.clone() })
            }
            End::TimedOut { after, last_module, .. } => {
                let seconds = after.as_secs();
                (Severity::Error, Problem::RunTimeout { module, seconds, last: last_module.clone() })
            }
            End::Exited { code, chain } => (
                Severity::Error,
                Problem::RunFailed {
                    module,
                    error_type: "SystemExit".to_owned(),
                    message: code.to_string(),
                    chain: steps(chain),
                },
            ),
        };
        findings.push(run_finding(severity, problem));
    }
    let prove::Isolation { network, read_only, real_paths, processes } = &proof.isolation;
    for (what, guard) in [
        ("the network was there", network),
        ("the file system could be written to", read_only),
        ("the artifact was not at Lambda's paths", real_paths),
        ("other processes could be seen", processes),
    ] {
        if let Guard::Missing(why) = guard {
            findings.push(run_finding(Severity::Note, Problem::RunLimited { why: format!("{what}: {why}") }));
        }
    }
    findings
}

/// The packages of an artifact with their sizes, largest (unzipped) first.
fn packages(wheels: &[CachedWheel], assembled: &Assembled, packed: Option<&Packed>) -> Vec<BuiltPackage> {
    let mut unzipped = vec![0u64; wheels.len() + 1];
    for (_, entry) in assembled.tree.iter() {
        unzipped[entry.owner] += entry.size();
    }
    let mut packages: Vec<BuiltPackage> = wheels
        .iter()
        .enumerate()
        .map(|(owner, wheel)| BuiltPackage {
            name: wheel.name.name.to_string(),
            version: wheel.name.version.to_string(),
            wheel: wheel.name.text.clone(),
            sha256: wheel.sha256,
            unzipped_bytes: unzipped[owner],
            zipped_bytes: packed.map_or(0, |packed| packed.zipped_by_owner[owner]),
        })
        .collect();
    packages.sort_by(|a, b| (b.unzipped_bytes, &a.name).cmp(&(a.unzipped_bytes, &b.name)));
    packages
}

/// Compressed forms in the cache, each with an xxh3 at its end: what has rotted there is not used.
struct Deflated<'a>(&'a Io);

impl DeflatedCache for Deflated<'_> {
    fn get(&self, plain: Sha256) -> Option<Vec<u8>> {
        let bytes = self.0.cache.read(Bucket::Deflated, &plain.to_string()).ok()??;
        unseal(&bytes).map(<[u8]>::to_vec)
    }

    fn put(&self, plain: Sha256, deflated: &[u8]) {
        if let Err(error) = self.0.cache.write(Bucket::Deflated, &plain.to_string(), &seal(deflated.to_vec())) {
            self.0.detail(&crate::error::chain(&error));
        }
    }
}
