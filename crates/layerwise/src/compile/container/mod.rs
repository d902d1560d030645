//! Source distributions → wheels for the target, in a container: the engine `container`.
//!
//! An image of the target's architecture with the target's Python in it, run by docker or podman. Build requirements are
//! wheels that layerwise itself has chosen for the target and verified; they, the sources and a driver go in through
//! standard input, the wheel comes out through standard output. A build has no network; only installing system
//! packages, and fetching crates, has.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fs_err as fs;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::process::Command;

use super::plan::{BuildSystem, wants_rust};
use super::run::{self, Ended};
use super::{
    Built, Chosen, CompileError, Fresh, HOOKS, LIMIT, Place, Provenance, Source, Work, asked, rust, shim, unpack, wheel,
};
use crate::error::{Kind, chain};
use crate::event::{Event, Stage};
use crate::input::{Inputs, Origin, Requirement};
use crate::io::{Bucket, CachedWheel, Io, IoSettings, Wanted, blocking};
use crate::model::{CompilePolicy, Container, ContainerProgram, Lock, Sha256, SystemPackage, Target, WheelSource};
use crate::resolve::{self, Prepare, Unprepared};

mod error;
pub mod plan;
pub mod why;

pub use error::{ContainerError, way_out};
pub use why::{Trouble, trouble};

const DRIVER: &str = include_str!("driver.py");

/// How long a program may take to answer a question.
const PATIENCE: Duration = Duration::from_secs(20);
/// The most that comes out of a container, in bytes.
const LARGEST_ANSWER: u64 = 2 << 30;
/// The most of what a program says that is looked into, in bytes.
const MOST_SAID: u64 = 64 << 10;

/// How a wheel came out of a container; kept beside it in the cache.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InContainer {
    /// `docker` or `podman`.
    pub program: String,
    /// The image as it was named.
    pub image: String,
    /// Its digest, which is its identity.
    pub id: String,
    /// What was installed in it first.
    pub system_packages: Vec<String>,
    /// The version of its C library, where it is glibc.
    pub glibc: Option<String>,
    /// The first line of `gcc --version`.
    pub compiler: Option<String>,
}

/// The first line of a container's answer.
#[derive(Debug, Clone, Deserialize)]
struct Hello {
    python: String,
    glibc: Option<String>,
    compiler: Option<String>,
    rust: Option<String>,
}

/// What came out of a container.
struct Answer {
    hello: Hello,
    /// What the hook returned.
    value: serde_json::Value,
    /// A compiler was called that had to refuse.
    refused: bool,
}

/// A program that runs containers, and answers.
#[derive(Debug, Clone)]
struct Program {
    which: ContainerProgram,
    path: PathBuf,
}

/// An image to build in.
#[derive(Debug, Clone)]
struct Image {
    program: Program,
    /// As it is named.
    name: String,
    /// Its digest.
    id: String,
    /// The digest of the one that runs: with system packages in it.
    runs: String,
}

/// What of the container decides what is built; `None` where nobody knows the image yet. The digest is that of the image
/// on this machine, else the one that it had when something was last built in it: what is cached needs no container.
pub(super) async fn identity(container: &Container, target: Target, io: &Io) -> Option<String> {
    let name = plan::image(container, target)?;
    let here = match Program::find(io, container.program, &name).await {
        Ok(program) => program.inspect(io, &name).await.ok().filter(|(_, is)| *is == platform(target)),
        Err(_) => None,
    };
    let id = match here {
        Some((id, _)) => id,
        None => String::from_utf8(io.cache.read(Bucket::Built, &last_seen(&name, target)).ok()??).ok()?,
    };
    Some(identity_of(container, &name, &id))
}

fn identity_of(container: &Container, name: &str, id: &str) -> String {
    let packages: Vec<&str> = container.system_packages.iter().map(SystemPackage::as_str).collect();
    format!("container rules {} image {name} {id} packages {}", plan::RULES, packages.join(" "))
}

/// Where the cache keeps the digest that an image had last.
fn last_seen(name: &str, target: Target) -> String {
    format!("image-{}.txt", Sha256::of(format!("{name}\n{}", target.architecture).as_bytes()))
}

fn platform(target: Target) -> String {
    format!("linux/{}", plan::docker_architecture(target.architecture))
}

/// Builds a wheel.
pub(super) async fn wheel(source: &Source<'_>, container: &Container, work: &Work<'_>) -> Result<Built, CompileError> {
    let room = Room::make(source, container, work).await?;
    let mut requirements: Vec<String> =
        room.wheels.iter().map(|wheel| format!("{}=={}", wheel.name.name, wheel.name.version)).collect();
    requirements.sort();
    let identity = identity_of(container, &room.image.name, &room.image.id);
    let asked = asked(source.sha256, source.name, work, Some(&identity))?;
    let place = Place { asked, chosen: Chosen { requirements, rust: room.rust.clone() } };
    if let Some(wheel) = place.known(work.io)? {
        return Ok(Built::Known(wheel));
    }
    let answer = room.call("wheel", false, &serde_json::Value::Null).await?;
    let odd = |what: String| CompileError::Odd { file: source.file.to_owned(), what, log: room.log.clone() };
    if room.refuses && answer.refused {
        return Err(room.not_pure());
    }
    let filename = answer.value.as_str().unwrap_or_default().to_owned();
    let from = room.dir.path().join("out").join(Path::new(&filename).file_name().unwrap_or_default());
    let to = room.dir.path().join("wheel");
    let target = work.target;
    let (path, facts) = blocking(move || {
        fs::create_dir_all(&to).map_err(|error| error.to_string())?;
        wheel::normalise(wheel::unpack(&from)?, &to, target).map(|facts| (to.join(&facts.name.text), facts))
    })
    .await
    .map_err(odd)?;
    if facts.name.name != *source.name {
        return Err(odd(format!("it is a wheel of another package, `{}`", facts.name)));
    }
    if room.refuses && !facts.elf_files.is_empty() {
        return Err(room.not_pure());
    }
    let image = &room.image;
    let provenance = Provenance {
        sdist: source.sha256,
        target: target.slug(),
        layerwise: env!("CARGO_PKG_VERSION").to_owned(),
        zig: None,
        rust: place.chosen.rust.clone(),
        python: answer.hello.python,
        requirements: place.chosen.requirements.clone(),
        compiler_calls: 0,
        dropped: Vec::new(),
        isolated: Ok(()),
        grafted: Vec::new(),
        container: Some(InContainer {
            program: image.program.which.name().to_owned(),
            image: image.name.clone(),
            id: image.id.clone(),
            system_packages: container.system_packages.iter().map(|one| one.as_str().to_owned()).collect(),
            glibc: answer.hello.glibc,
            compiler: answer.hello.compiler,
        }),
    };
    let file = source.file.to_owned();
    let Room { dir, log, .. } = room;
    Ok(Built::Fresh(Fresh { file, path, facts, provenance, log, place, _dir: dir }))
}

/// Asks for the `METADATA`.
pub(super) async fn metadata(
    source: &Source<'_>,
    container: &Container,
    work: &Work<'_>,
) -> Result<serde_json::Value, CompileError> {
    let room = Room::make(source, container, work).await?;
    Ok(room.call("metadata", false, &serde_json::Value::Null).await?.value)
}

/// One build, made ready.
struct Room<'a> {
    dir: TempDir,
    log: PathBuf,
    /// Where the package is, relative to `dir`.
    package: PathBuf,
    system: BuildSystem,
    image: Image,
    wheels: Vec<CachedWheel>,
    /// The Rust for which crates were fetched.
    rust: Option<String>,
    /// Compilers refuse.
    refuses: bool,
    source: &'a Source<'a>,
    work: &'a Work<'a>,
}

impl<'a> Room<'a> {
    async fn make(source: &'a Source<'a>, container: &Container, work: &'a Work<'a>) -> Result<Self, CompileError> {
        let io = work.io;
        let prepare = |what: &'static str| move |source| CompileError::Prepare { what, source };
        let log = io.cache.path(Bucket::Logs, &format!("{}-{}.log", source.name, work.target.slug()));
        fs::write(&log, format!("{}\n", source.file)).map_err(prepare("the log"))?;
        let image = Image::find(container, work.target, source.item, &log, io).await?;
        let dir = io.cache.scratch(Bucket::Builds)?;
        for sub in ["src", "hook", "out"] {
            fs::create_dir_all(dir.path().join(sub)).map_err(prepare("directories"))?;
        }
        let (package, system) = unpack(source, dir.path(), work).await?;
        if work.policy.settings.get(source.name).is_some_and(|settings| settings.prefix.is_some()) {
            let text = format!(
                "`prefix` of {} is of no use in a container: `system-packages` names what to install",
                source.name
            );
            io.emit(Event::Warning { text: &text });
        }
        fs::write(dir.path().join("hook/hooks.py"), HOOKS).map_err(prepare("the build environment"))?;
        fs::write(dir.path().join("hook/driver.py"), DRIVER).map_err(prepare("the build environment"))?;
        let refuses = !work.policy.allows(source.name);
        if refuses {
            let text = plan::refusal(source.name.as_str());
            let compilers = shim::NAMES.iter().filter(|name| {
                shim::role(name).is_some_and(|role| matches!(role, shim::Role::Cc | shim::Role::Cxx | shim::Role::Ld))
            });
            fs::create_dir_all(dir.path().join("refuse")).map_err(prepare("directories"))?;
            for name in compilers.chain(shim::REFUSED_NAMES) {
                fs::write(dir.path().join("refuse").join(name), &text).map_err(prepare("the build environment"))?;
            }
        }
        let mut room = Self { dir, log, package, system, image, wheels: Vec::new(), rust: None, refuses, source, work };
        room.install_requirements().await?;
        Ok(room)
    }

    /// Chooses what the build needs, first by `pyproject.toml`, then with what the backend adds.
    async fn install_requirements(&mut self) -> Result<(), CompileError> {
        let mut requires = self.system.requires.clone();
        self.wheels = self.wheels_for(&requires).await?;
        let answer = self.call("requires", false, &serde_json::Value::Null).await?;
        let more: Vec<String> = serde_json::from_value(answer.value).unwrap_or_default();
        if !more.is_empty() {
            requires.extend(more);
            self.wheels = self.wheels_for(&requires).await?;
        }
        if !self.refuses && wants_rust(&requires) {
            self.fetch_crates(&answer.hello).await?;
        }
        Ok(())
    }

    /// The wheels that satisfy `requires` for the target, by the very way a layer's are chosen.
    async fn wheels_for(&self, requires: &[String]) -> Result<Vec<CachedWheel>, CompileError> {
        if requires.is_empty() {
            return Ok(Vec::new());
        }
        let (file, io) = (self.source.file, self.work.io);
        let failed =
            |said: String| CompileError::Requirements { file: file.to_owned(), requires: requires.join(", "), said };
        let origin = Origin { file: file.to_owned(), line: 0 };
        let parsed = requires.iter().map(|one| Requirement::parse(one, &origin)).collect::<Result<Vec<_>, _>>();
        let inputs = Inputs {
            dir: self.dir.path().join("src"),
            label: format!("what `{file}` needs to be built"),
            source: crate::input::Source::Open {
                requirements: parsed.map_err(|error| failed(chain(&error)))?,
                constraints: Vec::new(),
            },
            indexes: self.work.indexes.clone(),
            compile: CompilePolicy::default(),
        };
        let no_backend: Arc<Prepare> = Arc::new(|wanted| {
            let source = format!("`{}` would have to be built to build something else", wanted.file);
            Box::pin(async move { Err(Unprepared { source: source.into(), kind: Kind::Compile, hints: Vec::new() }) })
        });
        let lock: Lock =
            resolve::run(&inputs, self.work.target, io, no_backend).await.map_err(|error| failed(chain(&error)))?;
        if !lock.sources.is_empty() {
            let names: Vec<&str> = lock.sources.iter().map(|pin| pin.name.as_str()).collect();
            let names = names.join(", ");
            return Err(ContainerError::RequirementsFromSource { file: file.to_owned(), names }.into());
        }
        let mut wheels = Vec::new();
        for pin in &lock.packages {
            let wheel = match (&pin.source, io.cached_wheel(&pin.wheel, pin.sha256)?) {
                (_, Some(cached)) => cached,
                (WheelSource::Url(url), None) => {
                    io.wheel(Wanted { name: &pin.wheel, url, sha256: Some(pin.sha256), size: pin.size }).await?
                }
                (WheelSource::Path(path), None) => io.adopt_wheel(&pin.wheel, &inputs.dir.join(path), pin.sha256)?,
            };
            wheels.push(wheel);
        }
        Ok(wheels)
    }

    /// Fetches the crates that the sources want, by the image's cargo, which alone has the network then.
    async fn fetch_crates(&mut self, hello: &Hello) -> Result<(), CompileError> {
        let (package, image) = (self.source.name.to_string(), self.image.name.clone());
        if hello.rust.is_none() {
            return Err(ContainerError::NoCargo { package, image }.into());
        }
        let src = self.dir.path().join("src");
        let manifests: Vec<String> = rust::manifests(&src)
            .iter()
            .filter_map(|path| path.strip_prefix(self.dir.path()).ok())
            .map(|path| format!("/build/{}", path.to_string_lossy().replace('\\', "/")))
            .collect();
        if manifests.is_empty() {
            return Ok(());
        }
        let io = self.work.io;
        io.emit(Event::Line { stage: Stage::Compile, item: self.source.item, text: "fetching crates" });
        let dir = self.dir.path();
        let prepare = |source| CompileError::Prepare { what: "Rust's crates", source };
        let certificates = certificates(&io.settings);
        if !certificates.is_empty() {
            fs::write(dir.join("hook/certificates.pem"), certificates).map_err(prepare)?;
        }
        let answer = self.call("crates", !io.offline(), &serde_json::json!(manifests)).await?;
        fs::create_dir_all(dir.join("cargo")).map_err(prepare)?;
        fs::write(dir.join("cargo/config.toml"), answer.value.as_str().unwrap_or_default()).map_err(prepare)?;
        fs::rename(dir.join("out/vendor.tar"), dir.join("vendor.tar")).map_err(prepare)?;
        self.rust.clone_from(&hello.rust);
        Ok(())
    }

    /// Runs one hook in a container of its own.
    async fn call(&self, hook: &str, network: bool, manifests: &serde_json::Value) -> Result<Answer, CompileError> {
        let (dir, work, source) = (self.dir.path(), self.work, self.source);
        let prepare = |source| CompileError::Prepare { what: "the build", source };
        let (settings, config) = plan::settings(work.policy.settings.get(source.name));
        let call = serde_json::json!({
            "hook": hook,
            "cwd": Path::new("/build").join(&self.package),
            "backend": self.system.build_backend,
            "backend_path": self.system.backend_path,
            "config": config,
            "out": "/build/out",
            "answer": "/build/hook/answer.json",
            "environment": plan::environment(),
            "settings": settings,
            "network": if network { plan::network(&work.io.settings.child_env) } else { BTreeMap::default() },
            "manifests": manifests,
        });
        fs::write(dir.join("hook/call.json"), call.to_string()).map_err(prepare)?;
        let (input, output) = (dir.join("in.tar"), dir.join("out.tar"));
        let (from, to, wheels) = (dir.to_owned(), input.clone(), self.wheels.clone());
        blocking(move || pack(&from, &wheels, &to)).await.map_err(prepare)?;

        let name = container_name();
        let program = &self.image.program;
        let words = plan::run(&self.image.runs, &name, work.target.runtime.minor, network);
        let said_before = log_length(&self.log);
        let guard = Removed::new(program, &name, work.io);
        let command = program.command(&words, work.io);
        let talk = run::Talk { input: &input, output: &output, most: LARGEST_ANSWER, limit: LIMIT };
        let ended = run::run_piped(command, &talk, &self.log, source.item, work.io).await.map_err(prepare)?;
        let (file, log) = (source.file.to_owned(), self.log.clone());
        let status = match ended {
            Ended::TimedOut => return Err(CompileError::TimedOut { file, minutes: LIMIT.as_secs() / 60, log }),
            Ended::Exit(status) => status,
        };
        // One that failed may have left something: on a full disk, podman does not even remove it.
        if status.success() {
            guard.went_by_itself();
        }
        let said = said_since(&self.log, said_before);
        let out = dir.join("out");
        let read = blocking(move || read_answer(&output, &out)).await;
        let answer = match read {
            Ok(answer) => answer,
            Err(_) if !status.success() => return Err(self.image.failed(status, &said, work).await),
            Err(what) => return Err(CompileError::Odd { file, what, log }),
        };
        match answer {
            Read { refused: true, .. } if self.refuses && !status.success() => Err(self.not_pure()),
            Read { hello, value: Some(value), refused } if status.success() => Ok(Answer { hello, value, refused }),
            _ if status.success() => {
                Err(CompileError::Odd { file, what: "its backend did not answer".to_owned(), log })
            }
            _ if status.code() == Some(137) => Err(self.image.failed(status, &said, work).await),
            _ if hook == "crates" => {
                let said = said.find("error:").map_or(said.as_str(), |at| &said[at..]).trim().to_owned();
                Err(CompileError::Crates { said })
            }
            _ => Err(CompileError::Failed { name: self.source.name.clone(), file, cause: why::cause(&said), log }),
        }
    }

    fn not_pure(&self) -> CompileError {
        CompileError::NotPure { name: self.source.name.clone(), file: self.source.file.to_owned() }
    }
}

/// Certificates (PEM) that the user trusts besides the system's, or in their place: an image knows nothing of a proxy that
/// opens connections.
fn certificates(settings: &IoSettings) -> Vec<u8> {
    let named =
        settings.child_env.iter().find(|(key, _)| key == "SSL_CERT_FILE").map(|(_, value)| PathBuf::from(value));
    let files: BTreeSet<PathBuf> = settings.ca_files.iter().cloned().chain(named).collect();
    let texts: Vec<Vec<u8>> = files.iter().filter_map(|file| fs::read(file).ok()).collect();
    texts.join(&b'\n')
}

impl Program {
    /// The first of those on PATH that answers. `image` is for messages.
    async fn find(io: &Io, wanted: Option<ContainerProgram>, image: &str) -> Result<Self, ContainerError> {
        let programs = &io.settings.programs.containers;
        let candidates = programs.iter().filter(|(which, _)| wanted.is_none_or(|wanted| wanted == *which));
        let mut first = None;
        for (which, path) in candidates {
            let program = Self { which: *which, path: path.clone() };
            match program.ask(&["ps", "--quiet"], io).await {
                Ok(_) => return Ok(program),
                Err(failure) => first = first.or(Some(program.failed(image, failure))),
            }
        }
        Err(first
            .unwrap_or(ContainerError::NoProgram { wanted: wanted.map_or("docker or podman", ContainerProgram::name) }))
    }

    /// Contexts, hosts and proxies are in the environment, and this program's own business.
    fn command(&self, words: &[impl AsRef<std::ffi::OsStr>], io: &Io) -> Command {
        let mut command = Command::new(&self.path);
        command.args(words).env_clear().envs(io.settings.child_env.iter().map(|(key, value)| (key, value)));
        command
    }

    /// What it says on standard output; else its exit code, unless it took too long, and what it said.
    async fn ask(&self, words: &[&str], io: &Io) -> Result<String, (Option<ExitStatus>, String)> {
        let mut command = self.command(words, io);
        command.stdin(Stdio::null()).kill_on_drop(true);
        match tokio::time::timeout(PATIENCE, command.output()).await {
            Err(_) => Err((None, String::new())),
            Ok(Err(error)) => Err((Some(ExitStatus::default()), error.to_string())),
            Ok(Ok(output)) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            Ok(Ok(output)) => Err((Some(output.status), String::from_utf8_lossy(&output.stderr).into_owned())),
        }
    }

    fn failed(&self, image: &str, (status, said): (Option<ExitStatus>, String)) -> ContainerError {
        let (trouble, said) = match status {
            Some(status) => trouble(status.code(), &said),
            None => (Trouble::Silent, format!("not within {} seconds", PATIENCE.as_secs())),
        };
        ContainerError::Failed { program: self.which, image: image.to_owned(), trouble, said }
    }

    /// The digest of an image on this machine, and what it is for: `linux/amd64`.
    async fn inspect(&self, io: &Io, image: &str) -> Result<(String, String), (Option<ExitStatus>, String)> {
        let said = self.ask(&["image", "inspect", "--format", "{{.Id}} {{.Os}}/{{.Architecture}}", image], io).await?;
        let (id, platform) = said.split_once(' ').unwrap_or((&said, ""));
        // podman leaves `sha256:` out.
        Ok((format!("sha256:{}", id.trim_start_matches("sha256:")), platform.to_owned()))
    }

    /// Runs it with what it says in the log; how it ended, and what it said.
    async fn run(
        &self,
        words: &[impl AsRef<std::ffi::OsStr>],
        item: &str,
        log: &Path,
        io: &Io,
    ) -> Result<(Ended, String), CompileError> {
        let before = log_length(log);
        let ended = run::run(self.command(words, io), log, LIMIT, item, io).await;
        let ended = ended.map_err(|source| CompileError::Prepare { what: "the container", source })?;
        Ok((ended, said_since(log, before)))
    }
}

impl Image {
    /// The image on this machine, else from its registry; with system packages in it.
    async fn find(
        container: &Container,
        target: Target,
        item: &str,
        log: &Path,
        io: &Io,
    ) -> Result<Self, CompileError> {
        let missing = || ContainerError::NoImage { runtime: target.runtime.name.clone() };
        let name = plan::image(container, target).ok_or_else(missing)?;
        let program = Program::find(io, container.program, &name).await?;
        let wanted = platform(target);
        let mut found = program.inspect(io, &name).await.ok();
        if found.as_ref().is_none_or(|(_, is)| *is != wanted) && !io.offline() {
            let pulling = format!("image {name}");
            io.emit(Event::Started { stage: Stage::Provision, item: &pulling, bytes: None });
            let pulled = program.run(&["pull", "--platform", &wanted, &name], item, log, io).await;
            io.emit(Event::Finished { stage: Stage::Provision, item: &pulling });
            match pulled? {
                (Ended::Exit(status), _) if status.success() => found = program.inspect(io, &name).await.ok(),
                // One for another architecture is told below.
                _ if found.is_some() => {}
                (Ended::Exit(status), said) => return Err(program.failed(&name, (Some(status), said)).into()),
                (Ended::TimedOut, said) => return Err(program.failed(&name, (None, said)).into()),
            }
        }
        let (id, has) = found.ok_or_else(|| ContainerError::Offline { image: name.clone() })?;
        if has != wanted {
            return Err(ContainerError::OtherArchitecture { image: name, has, wanted }.into());
        }
        io.cache.write(Bucket::Built, &last_seen(&name, target), id.as_bytes())?;
        let mut image = Self { program, name, runs: id.clone(), id };
        if !container.system_packages.is_empty() {
            image.install(container, item, log, io).await?;
        }
        Ok(image)
    }

    /// Installs system packages, unless an image with them is there from the last time.
    async fn install(&mut self, container: &Container, item: &str, log: &Path, io: &Io) -> Result<(), CompileError> {
        let derived = plan::derived_image(&self.id, container.system_packages.iter());
        if let Ok((id, _)) = self.program.inspect(io, &derived).await {
            self.runs = id;
            return Ok(());
        }
        let packages: Vec<&str> = container.system_packages.iter().map(SystemPackage::as_str).collect();
        let packages = packages.join(", ");
        if io.offline() {
            return Err(ContainerError::Offline { image: format!("{} with {packages}", self.name) }.into());
        }
        let name = container_name();
        let installing = format!("{packages} in {}", self.name);
        io.emit(Event::Started { stage: Stage::Provision, item: &installing, bytes: None });
        // The container stays when it ends, to become an image.
        let _guard = Removed::new(&self.program, &name, io);
        let words = plan::install(&self.id, &name, container.system_packages.iter());
        let installed = self.program.run(&words, item, log, io).await;
        io.emit(Event::Finished { stage: Stage::Provision, item: &installing });
        let failed = |said: &str| {
            let (packages, image, log) = (packages.clone(), self.name.clone(), log.to_owned());
            ContainerError::Install { packages, image, cause: why::of_install(said), log }
        };
        match installed? {
            (Ended::Exit(status), _) if status.success() => {}
            (Ended::Exit(status), said) if matches!(status.code(), Some(125..=127)) => {
                return Err(self.program.failed(&self.name, (Some(status), said)).into());
            }
            (Ended::Exit(status), said) => {
                // A program that cannot run at all says so in the container's place.
                return Err(match trouble(status.code(), &said) {
                    (trouble @ (Trouble::WrongArchitecture | Trouble::DiskFull), said) => {
                        ContainerError::Failed { program: self.program.which, image: self.name.clone(), trouble, said }
                    }
                    _ => failed(&said),
                }
                .into());
            }
            (Ended::TimedOut, said) => return Err(failed(&said).into()),
        }
        let label = format!("LABEL {}", plan::LABEL);
        let words = ["commit", "--change", &label, &name, &derived];
        match self.program.run(&words, item, log, io).await? {
            (Ended::Exit(status), _) if status.success() => {}
            (Ended::Exit(status), said) => return Err(self.program.failed(&self.name, (Some(status), said)).into()),
            (Ended::TimedOut, said) => return Err(self.program.failed(&self.name, (None, said)).into()),
        }
        let inspected = self.program.inspect(io, &derived).await;
        (self.runs, _) = inspected.map_err(|failure| self.program.failed(&derived, failure))?;
        Ok(())
    }

    /// Why a container did not so much as begin.
    async fn failed(&self, status: ExitStatus, said: &str, work: &Work<'_>) -> CompileError {
        let failure = self.program.failed(&self.name, (Some(status), said.to_owned()));
        let ContainerError::Failed { trouble: Trouble::NoPython, .. } = failure else { return failure.into() };
        let ask = "import sys; print('.'.join(map(str, sys.version_info[:3])))";
        let words = ["run", "--rm", "--network", "none", "--entrypoint", "python3", &self.runs, "-I", "-c", ask];
        let has = self.program.ask(&words, work.io).await.ok();
        let wanted = format!("3.{}", work.target.runtime.minor);
        ContainerError::NoPython { image: self.name.clone(), wanted, has }.into()
    }
}

/// Sees to it that a container is gone when this is: also where a build is given up.
struct Removed {
    program: PathBuf,
    env: Vec<(std::ffi::OsString, std::ffi::OsString)>,
    name: String,
    gone: bool,
}

impl Removed {
    fn new(program: &Program, name: &str, io: &Io) -> Self {
        let (program, env) = (program.path.clone(), io.settings.child_env.clone());
        Self { program, env, name: name.to_owned(), gone: false }
    }

    /// It ended, and went with its end.
    fn went_by_itself(mut self) {
        self.gone = true;
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        if self.gone {
            return;
        }
        let mut command = std::process::Command::new(&self.program);
        command.args(["rm", "--force", &self.name]).env_clear().envs(self.env.iter().map(|(key, value)| (key, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Ctrl-C is for us, not for it; nobody waits for it.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.spawn().ok();
    }
}

/// A name that no other container has.
fn container_name() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let random = tempfile::Builder::new().prefix("").rand_bytes(10).make(|path| Ok(path.to_owned()));
    let random = random.map(|file| file.as_file().to_string_lossy().into_owned()).unwrap_or_default();
    let random: String = random.chars().rev().take(10).filter(char::is_ascii_alphanumeric).collect();
    format!("layerwise-{}-{random}-{count}", std::process::id())
}

fn log_length(log: &Path) -> u64 {
    fs::metadata(log).map_or(0, |about| about.len())
}

/// The last of what was said since the log had that length.
fn said_since(log: &Path, length: u64) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = fs::File::open(log)?;
        let from = length.max(file.metadata()?.len().saturating_sub(MOST_SAID));
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(MOST_SAID).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// What goes in: everything below `dir` but what came out, and wheels; sorted, of one time and one user.
fn pack(dir: &Path, wheels: &[CachedWheel], to: &Path) -> std::io::Result<()> {
    let mut archive = tar::Builder::new(std::io::BufWriter::new(fs::File::create(to)?));
    for top in ["cargo", "hook", "refuse", "src", "vendor.tar"] {
        add(&mut archive, &dir.join(top), top, top == "refuse")?;
    }
    for wheel in wheels {
        add(&mut archive, &wheel.path, &format!("wheels/{}", wheel.name.text), false)?;
    }
    let mut file = archive.into_inner()?.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    let length = file.stream_position()?;
    file.set_len(length.next_multiple_of(plan::BLOCK))
}

fn add<W: std::io::Write>(
    archive: &mut tar::Builder<W>,
    path: &Path,
    name: &str,
    executable: bool,
) -> std::io::Result<()> {
    let Ok(about) = fs::symlink_metadata(path) else { return Ok(()) };
    let mut header = tar::Header::new_gnu();
    // 1980-01-01
    header.set_mtime(315_532_800);
    header.set_mode(if executable || about.is_dir() || is_executable(&about) { 0o755 } else { 0o644 });
    if about.is_dir() {
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        archive.append_data(&mut header, name, std::io::empty())?;
        let mut entries = fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            add(archive, &entry.path(), &format!("{name}/{}", entry.file_name().to_string_lossy()), executable)?;
        }
        Ok(())
    } else if about.is_symlink() {
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        archive.append_link(&mut header, name, fs::read_link(path)?)
    } else {
        header.set_size(about.len());
        archive.append_data(&mut header, name, fs::File::open(path)?.take(about.len()))
    }
}

#[cfg(unix)]
fn is_executable(about: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    about.permissions().mode() & 0o111 != 0
}

/// Elsewhere files do not say: a `configure` that cannot be run would be worse than a text that can.
#[cfg(not(unix))]
fn is_executable(_: &std::fs::Metadata) -> bool {
    true
}

/// What is in an answer.
#[derive(Debug)]
struct Read {
    hello: Hello,
    value: Option<serde_json::Value>,
    refused: bool,
}

/// Reads what came out of a container, from a line and a tar; the files it made go to `out`. Nothing in it is trusted.
fn read_answer(from: &Path, out: &Path) -> Result<Read, String> {
    const LONGEST_LINE: u64 = 64 << 10;
    const LARGEST_VALUE: u64 = 16 << 20;
    let mut file = BufReader::new(fs::File::open(from).map_err(|error| error.to_string())?);
    let mut line = Vec::new();
    file.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
    let hello = serde_json::from_slice(&line).map_err(|_| "the container said nothing".to_owned())?;
    let mut read = Read { hello, value: None, refused: false };
    let mut archive = tar::Archive::new(file);
    // A build that was killed leaves half an archive.
    let Ok(entries) = archive.entries() else { return Ok(read) };
    for entry in entries {
        let Ok(mut entry) = entry else { break };
        if entry.header().entry_type() != tar::EntryType::Regular {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        match name.as_str() {
            "answer.json" => {
                let mut bytes = Vec::new();
                entry.by_ref().take(LARGEST_VALUE).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
                read.value = serde_json::from_slice(&bytes).ok();
            }
            "refused" => read.refused = true,
            other => {
                let Some(name) = other.strip_prefix("out/").filter(|name| is_file_name(name)) else { continue };
                let mut to = fs::File::create(out.join(name)).map_err(|error| error.to_string())?;
                std::io::copy(&mut entry, &mut to).and_then(|_| to.flush()).map_err(|error| error.to_string())?;
            }
        }
    }
    Ok(read)
}

/// The name of one file, on any system.
fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && name.len() < 250 && !name.contains(['/', '\\', ':', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a container says, and what is read of it: the value, and the files that were made.
    #[track_caller]
    fn check(line: &str, entries: &[(&str, tar::EntryType, &[u8])], cut: usize, value: Option<&str>, files: &[&str]) {
        let dir = tempfile::tempdir().unwrap();
        let mut archive = tar::Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            // As it is: `set_path` refuses what a hostile container may write.
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            if kind.is_symlink() {
                header.set_link_name("/etc/passwd").unwrap();
            }
            header.set_cksum();
            archive.append(&header, *content).unwrap();
        }
        let mut bytes = format!("{line}\n").into_bytes();
        bytes.extend(archive.into_inner().unwrap());
        bytes.truncate(bytes.len() - cut);
        let (from, out) = (dir.path().join("out.tar"), dir.path().join("out"));
        fs::write(&from, bytes).unwrap();
        fs::create_dir(&out).unwrap();
        let read = read_answer(&from, &out);
        let found = read.as_ref().ok().and_then(|read| read.value.as_ref()).and_then(serde_json::Value::as_str);
        assert_eq!(found, value, "{read:?}");
        let mut names: Vec<_> =
            fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, files);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "something was written outside");
    }

    #[test]
    fn answers_of_containers_are_not_trusted() {
        use tar::EntryType::{Directory, Link, Regular, Symlink};
        let hello = r#"{"python": "3.11.2", "glibc": null, "compiler": null, "rust": null}"#;
        let answer = ("answer.json", Regular, br#""a.whl""#.as_slice());
        check(hello, &[answer, ("out/a.whl", Regular, b"x")], 0, Some("a.whl"), &["a.whl"]);
        check(hello, &[answer, ("out/a.whl", Regular, b"x")], 1024, Some("a.whl"), &["a.whl"]);
        check(hello, &[], 0, None, &[]);
        check(hello, &[], 1000, None, &[]);
        check(hello, &[("answer.json", Regular, b"not json")], 0, None, &[]);
        for name in
            ["out/../x", "../x", "/x", "out//x", "out/a/b", "out/..", "out/", "out/.x", "out/c:x", "x", "out/a\\b"]
        {
            check(hello, &[answer, (name, Regular, b"x")], 0, Some("a.whl"), &[]);
        }
        for kind in [Symlink, Link, Directory] {
            check(hello, &[("out/a", kind, b""), answer], 0, Some("a.whl"), &[]);
        }
        check("docker: Error response from daemon", &[answer], 0, None, &[]);
        check("", &[], 1025, None, &[]);
        check(r#"{"python": 3}"#, &[answer], 0, None, &[]);
    }

    #[test]
    fn what_goes_in_is_the_same_every_time_and_fills_whole_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("place");
        for (path, text) in [("src/b/c.py", "x"), ("src/a.py", "y"), ("hook/call.json", "{}"), ("out/old.whl", "z")] {
            fs::create_dir_all(place.join(path).parent().unwrap()).unwrap();
            fs::write(place.join(path), text).unwrap();
        }
        pack(&place, &[], &dir.path().join("1.tar")).unwrap();
        pack(&place, &[], &dir.path().join("2.tar")).unwrap();
        let bytes = fs::read(dir.path().join("1.tar")).unwrap();
        assert_eq!(bytes, fs::read(dir.path().join("2.tar")).unwrap());
        assert_eq!(bytes.len() as u64 % plan::BLOCK, 0);
        let mut archive = tar::Archive::new(bytes.as_slice());
        let names: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| String::from_utf8(entry.unwrap().path_bytes().into_owned()).unwrap())
            .collect();
        assert_eq!(names, ["hook", "hook/call.json", "src", "src/a.py", "src/b", "src/b/c.py"]);
    }
}
