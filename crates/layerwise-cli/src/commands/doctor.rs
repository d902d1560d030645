//! `layerwise doctor`: what this machine has and lacks, what for, and how to get it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use layerwise::compile;
use layerwise::compile::container::{ContainerError, Trouble, trouble};
use layerwise::error::Explain as _;
use layerwise::io::Cache;
use layerwise::model::{Architecture, ContainerProgram, Runtime};

use super::Context;
use crate::args::DoctorArgs;
use crate::env::Environment;
use crate::exit::Code;
use crate::settings;
use crate::ui::error::Failure;
use crate::ui::{human, json};

/// How long is waited for everything together.
const PATIENCE: Duration = Duration::from_secs(15);

/// Something a machine may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Thing {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it is needed for.
    pub(crate) what_for: &'static str,
    /// How to get it.
    pub(crate) get: Get,
}

/// How to get a thing, system by system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Get {
    pub(crate) linux: &'static str,
    pub(crate) macos: &'static str,
    pub(crate) windows: &'static str,
}

impl Get {
    const fn everywhere(how: &'static str) -> Self {
        Self { linux: how, macos: how, windows: how }
    }

    /// On this system.
    pub(crate) const fn here(self) -> &'static str {
        if cfg!(windows) {
            self.windows
        } else if cfg!(target_os = "macos") {
            self.macos
        } else {
            self.linux
        }
    }
}

/// Everything that is looked for; the troubleshooting section of the README is made from this table too.
pub(crate) const THINGS: &[Thing] = &[
    Thing {
        name: "cache",
        what_for: "everything",
        get: Get::everywhere("set LAYERWISE_CACHE_DIR to a directory you can write to"),
    },
    Thing {
        name: "disk",
        what_for: "everything",
        get: Get::everywhere("free some space, or run `layerwise cache prune`"),
    },
    Thing {
        name: "uv",
        what_for: "choosing versions",
        get: Get::everywhere("nothing to do: layerwise gets one from the package index; or `pip install uv`"),
    },
    Thing {
        name: "python",
        what_for: "building from source and `check --run`, for the runtime of the same version",
        get: Get {
            linux: "`uv python install 3.13`, or your system's package with its headers (`python3.13-dev`)",
            macos: "`uv python install 3.13`, or `brew install python@3.13`",
            windows: "`uv python install 3.13`, or `winget install Python.Python.3.13`",
        },
    },
    Thing {
        name: "zig",
        what_for: "compiling (`--compile`)",
        get: Get::everywhere("nothing to do: layerwise gets it from the package index when it is first needed"),
    },
    Thing {
        name: "isolation",
        what_for: "building from source without network, home and secrets",
        get: Get {
            linux: "allow unprivileged user namespaces (`sysctl kernel.unprivileged_userns_clone=1`; on Ubuntu `kernel.apparmor_restrict_unprivileged_userns=0`), or `--engine container`",
            macos: "`--engine container`: the zig engine has no walls here",
            windows: "`--engine container`: the zig engine has no walls here",
        },
    },
    Thing {
        name: "cargo",
        what_for: "compiling packages written in Rust",
        get: Get {
            linux: "install Rust from https://rustup.rs",
            macos: "install Rust from https://rustup.rs",
            windows: "install Rust from https://rustup.rs (`winget install Rustlang.Rustup`)",
        },
    },
    Thing {
        name: "rust for x86_64",
        what_for: "compiling packages written in Rust for x86_64",
        get: Get::everywhere("`rustup target add x86_64-unknown-linux-gnu`, or `--add-rust-targets` when building"),
    },
    Thing {
        name: "rust for arm64",
        what_for: "compiling packages written in Rust for arm64",
        get: Get::everywhere("`rustup target add aarch64-unknown-linux-gnu`, or `--add-rust-targets` when building"),
    },
    Thing {
        name: "docker",
        what_for: "`--engine container` (or podman; nothing needs it)",
        get: Get {
            linux: "https://docs.docker.com/engine/install, or podman",
            macos: "Docker Desktop: `brew install --cask docker`, or podman",
            windows: "Docker Desktop: `winget install Docker.DockerDesktop`, or podman",
        },
    },
    Thing {
        name: "podman",
        what_for: "`--engine container` (or docker; nothing needs it)",
        get: Get {
            linux: "`apt install podman`, `dnf install podman`",
            macos: "`brew install podman`, then `podman machine init --now`",
            windows: "`winget install RedHat.Podman`, then `podman machine init --now`",
        },
    },
    Thing {
        name: "binfmt",
        what_for: "`--engine container` for the other architecture",
        get: Get {
            linux: "`apt install qemu-user-static`, or `docker run --privileged --rm tonistiigi/binfmt --install all`",
            macos: "Docker Desktop and podman's machine bring it along",
            windows: "Docker Desktop and podman's machine bring it along",
        },
    },
    Thing {
        name: "qemu",
        what_for: "`check --run` for the other architecture",
        get: Get {
            linux: "`apt install qemu-user-static`, or your system's package of it",
            macos: "not to be had here: check on a Linux machine, or in a container",
            windows: "not to be had here: check in WSL, or in a container",
        },
    },
    Thing {
        name: "AWS credentials",
        what_for: "publishing",
        get: Get::everywhere(
            "`aws configure`, `aws sso login`, or the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
    },
    Thing {
        name: "terraform",
        what_for: "deploying what was built, if you use it",
        get: Get {
            linux: "https://developer.hashicorp.com/terraform/install",
            macos: "`brew install hashicorp/tap/terraform`",
            windows: "`winget install Hashicorp.Terraform`",
        },
    },
];

/// Something that people run into.
struct Symptom {
    /// What they see.
    seen: &'static str,
    /// Why, and what to do besides getting the thing.
    answer: &'static str,
    /// What has to be got.
    thing: Option<&'static str>,
}

/// What the README's troubleshooting says besides what docker and podman fail with. The first four are what a Docker
/// script for the same work had to explain.
const SYMPTOMS: &[Symptom] = &[
    Symptom {
        seen: "Docker is not running. Please start Docker Desktop",
        answer: "Nothing here needs Docker: `layerwise build` works without. Only `--engine container` does; see below.",
        thing: None,
    },
    Symptom {
        seen: "docker: Error response from daemon: … C:/Program Files/Git/…",
        answer: "Cannot happen: layerwise hands no path to docker or podman, so Git Bash has none to translate (no \
            `MSYS_NO_PATHCONV`), and no drive letter can be misread.",
        thing: None,
    },
    Symptom {
        seen: "Could not open requirements file, volumes that cannot be mounted",
        answer: "Cannot happen: nothing is mounted. Sources go into the container, and the wheel comes out, through \
            standard input and output; so a docker on another machine works too.",
        thing: None,
    },
    Symptom {
        seen: "error: linker `cc` not found",
        answer: "`--compile` brings its own compiler and linker. In a container: `--system-package gcc`, where the image \
            has none.",
        thing: None,
    },
    Symptom {
        seen: "Runtime.ImportModuleError, ModuleNotFoundError in the logs of the function",
        answer: "`layerwise check layer.zip --runtime …` says what is missing, before it is deployed; with `--run` it also \
            imports everything as Lambda would.",
        thing: None,
    },
    Symptom {
        seen: "has parts to compile, and no wheel of it fits",
        answer: "`--compile NAME` compiles it, without Docker.",
        thing: None,
    },
    Symptom {
        seen: "building from source needs a Python 3.X on this machine, and there is none",
        answer: "",
        thing: Some("python"),
    },
    Symptom { seen: "is written in Rust, and there is no cargo here", answer: "", thing: Some("cargo") },
    Symptom {
        seen: "has no standard library for aarch64-unknown-linux-gnu",
        answer: "",
        thing: Some("rust for arm64"),
    },
    Symptom { seen: "is built without isolation on this machine", answer: "", thing: Some("isolation") },
    Symptom { seen: "No space left on device", answer: "", thing: Some("disk") },
    Symptom {
        seen: "a build takes 5 to 10 minutes",
        answer: "The first one with `--compile` fetches zig (90 MB) and compiles; the next takes the wheel from the cache \
            and about a second. In CI, keep the directory that `layerwise cache dir` prints.",
        thing: None,
    },
];

/// The README's troubleshooting section, without its heading.
pub(crate) fn troubleshooting() -> String {
    let mut text =
        "`layerwise doctor` tells what this machine has and lacks; [what a machine may need](docs/machine.md)\n\
        says how to get it.\n\n"
            .to_owned();
    for Symptom { seen, answer, thing } in SYMPTOMS {
        let ways = thing.and_then(|name| THINGS.iter().find(|thing| thing.name == name)).map(|thing| {
            let Get { linux, macos, windows } = thing.get;
            if linux == macos && linux == windows {
                format!("{linux}.")
            } else {
                format!("Linux: {linux}. macOS: {macos}. Windows: {windows}.")
            }
        });
        let parts: Vec<&str> = [*answer].into_iter().filter(|part| !part.is_empty()).chain(ways.as_deref()).collect();
        text += &item(seen, &parts.join(" "));
    }
    text += "\nWith `--engine container`, what docker or podman say is explained:\n\n";
    let no_program = ContainerError::NoProgram { wanted: "docker or podman" };
    text += &item(&no_program.to_string(), &sentence(&no_program.hints()));
    for trouble in Trouble::ALL {
        let error =
            |program| ContainerError::Failed { program, image: "IMAGE".to_owned(), trouble, said: String::new() };
        let (docker, podman) = (error(ContainerProgram::Docker), error(ContainerProgram::Podman));
        let (first, second) = (sentence(&docker.hints()), sentence(&podman.hints()));
        let same = first.replace("docker", "podman") == second.replace("docker", "podman");
        text += &item(&docker.to_string(), &if same { first } else { format!("docker: {first} podman: {second}") });
    }
    text
}

fn sentence(hints: &[String]) -> String {
    let text = hints.join("; ");
    if text.ends_with('?') { text } else { format!("{text}.") }
}

/// One item of a list, wrapped as the README is.
fn item(seen: &str, answer: &str) -> String {
    let seen = seen.replace('`', "");
    let mut lines = vec!["-".to_owned()];
    for word in format!("**{seen}**: {answer}").split_whitespace() {
        let last = lines.last_mut().expect("never empty");
        if last.chars().count() + 1 + word.chars().count() <= 118 {
            *last += " ";
            *last += word;
        } else {
            lines.push(format!("  {word}"));
        }
    }
    lines.join("\n") + "\n"
}

/// How it stands with a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// It is here.
    Here,
    /// It is not here, and nothing that everybody does needs it.
    Missing,
    /// It has to be put right before anything works.
    Broken,
}

/// What was found of a thing.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) thing: Thing,
    pub(crate) health: Health,
    /// Where it is, or what is wrong.
    pub(crate) detail: String,
    /// What to do about it here.
    pub(crate) get: String,
}

/// `docs/machine.md`.
pub(crate) fn documentation() -> String {
    let mut text = "# What a machine may need\n\n\
        Made by `layerwise generate` from `crates/layerwise-cli/src/commands/doctor.rs`. `layerwise doctor` tells what \
        of it is here.\n\n| what | what for | on Linux | on macOS | on Windows |\n|---|---|---|---|---|\n"
        .to_owned();
    for Thing { name, what_for, get: Get { linux, macos, windows } } in THINGS {
        text += &format!("| {name} | {what_for} | {linux} | {macos} | {windows} |\n");
    }
    text
}

pub(super) fn run(args: &DoctorArgs, context: &Context<'_>) -> Result<Code, Failure> {
    let dir = settings::cache_dir(context.cache_dir.as_deref(), context.environment).map_err(|error| error.to_string());
    let found = look_at_all(context.environment, &dir);
    context.answer(&if args.json { json::doctor(&found) } else { human::doctor(&found, &context.ui.page) })?;
    let broken = found.iter().any(|found| found.health == Health::Broken);
    Ok(if broken { Code::Failed(layerwise::error::Kind::System) } else { Code::Success })
}

/// Looks at everything at once, and waits only so long: a program, or a disk, that does not answer is left behind.
fn look_at_all(environment: &Environment, cache: &Result<PathBuf, String>) -> Vec<Found> {
    let (send, receive) = mpsc::channel();
    for (at, thing) in THINGS.iter().enumerate() {
        let (send, environment, cache) = (send.clone(), environment.clone(), cache.clone());
        std::thread::spawn(move || {
            let cache = cache.as_ref().map(PathBuf::as_path).map_err(Clone::clone);
            let (health, detail, get) = look(thing.name, &environment, cache);
            // Nobody listens any more, if it took too long.
            send.send((at, health, detail, get)).ok();
        });
    }
    drop(send);
    let mut all: Vec<Found> = THINGS
        .iter()
        .map(|thing| {
            let detail = format!("it cannot be told: no answer within {} seconds", PATIENCE.as_secs());
            Found { thing: *thing, health: Health::Missing, detail, get: thing.get.here().to_owned() }
        })
        .collect();
    let deadline = Instant::now() + PATIENCE;
    while let Ok((at, health, detail, get)) = receive.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        all[at].health = health;
        all[at].detail = detail;
        if let Some(get) = get {
            all[at].get = get;
        }
    }
    all
}

/// How it stands with a thing, and what to do about it where that is not simply to get it.
fn look(name: &str, environment: &Environment, cache: Result<&Path, String>) -> (Health, String, Option<String>) {
    let plain = |(health, detail): (Health, String)| (health, detail, None);
    match ContainerProgram::parse(name) {
        Some(program) => container(environment, program),
        None => plain(look_simply(name, environment, cache)),
    }
}

fn look_simply(name: &str, environment: &Environment, cache: Result<&Path, String>) -> (Health, String) {
    let here = |detail: String| (Health::Here, detail);
    let missing = |detail: &str| (Health::Missing, detail.to_owned());
    let program = |names: &[&str]| {
        let found: Vec<PathBuf> = names.iter().filter_map(|name| environment.find_program(name)).collect();
        let shown: Vec<String> = found.iter().map(|path| path.display().to_string()).collect();
        if shown.is_empty() { missing("not on PATH") } else { here(shown.join(", ")) }
    };
    match name {
        "cache" => match cache.and_then(|dir| Cache::open(dir).map_err(|error| layerwise::error::chain(&error))) {
            Ok(cache) => match cache.scratch(layerwise::io::Bucket::Builds) {
                Ok(_) => {
                    let bytes = cache.usage().map(|all| all.iter().map(|(_, usage)| usage.bytes).sum()).unwrap_or(0);
                    here(format!("{}, {}", cache.dir().display(), human::size(bytes)))
                }
                Err(error) => (Health::Broken, layerwise::error::chain(&error)),
            },
            Err(why) => (Health::Broken, why),
        },
        "disk" => match cache.ok().and_then(layerwise::io::cache::free_bytes) {
            Some(bytes) if bytes < 2 << 30 => {
                (Health::Missing, format!("{} free where the cache is", human::size(bytes)))
            }
            Some(bytes) => here(format!("{} free where the cache is", human::size(bytes))),
            None => missing("how much is free cannot be told here"),
        },
        "uv" => match environment.uv() {
            Some(path) => match said(&path, &["--version"]) {
                Some(version) => here(format!("{version} at {}", path.display())),
                None => missing(&format!("{} does not run", path.display())),
            },
            None => missing("not on PATH"),
        },
        "python" => {
            let minors = Runtime::all().iter().filter(|runtime| runtime.blocked.is_none()).map(|runtime| runtime.minor);
            let (mut with, mut without) = (Vec::new(), Vec::new());
            for minor in minors {
                let ask = "import os, sys, sysconfig; print(sys.version_info[1], os.path.exists(sysconfig.get_config_h_filename()))";
                let wanted = format!("{minor} True");
                let works = environment
                    .pythons(&[minor])
                    .iter()
                    .filter(|path| path.ends_with(format!("python3.{minor}")))
                    .any(|path| said(path, &["-I", "-c", ask]).is_some_and(|text| text == wanted));
                if works { with.push(format!("3.{minor}")) } else { without.push(format!("3.{minor}")) }
            }
            let none = if without.is_empty() { String::new() } else { format!("; not {}", without.join(", ")) };
            if with.is_empty() { missing("none with its headers") } else { here(format!("{}{none}", with.join(", "))) }
        }
        "zig" => match cache.ok().and_then(compile::provided_zig) {
            Some(dir) => here(dir.display().to_string()),
            None => missing("not fetched yet"),
        },
        "isolation" => match environment
            .programs()
            .layerwise
            .ok_or_else(|| "unknown".to_owned())
            .and_then(|exe| compile::isolation(&exe))
        {
            Ok(()) => here("namespaces".to_owned()),
            Err(why) => (Health::Missing, why),
        },
        "cargo" => program(&["cargo"]),
        "rust for x86_64" => rust(environment, Architecture::X86_64),
        "rust for arm64" => rust(environment, Architecture::Arm64),
        "qemu" => match environment.emulators().first() {
            Some(path) => here(path.display().to_string()),
            None => missing("not on PATH"),
        },
        "binfmt" => binfmt(),
        "AWS credentials" => match environment.aws_credentials() {
            Some(source) => here(source),
            None => missing("neither variables nor a file"),
        },
        other => program(&[other]),
    }
}

/// Whether a program that runs containers answers.
fn container(environment: &Environment, program: ContainerProgram) -> (Health, String, Option<String>) {
    let Some(path) = environment.find_program(program.name()) else {
        return (Health::Missing, "not on PATH".to_owned(), None);
    };
    match asked(&path, &["ps", "--quiet"]) {
        Some((0, _, _)) => {
            let version = said(&path, &["--version"]).unwrap_or_default();
            (Health::Here, format!("{version} at {}, answers", path.display()), None)
        }
        ended => {
            let (trouble, said) =
                ended.map_or((Trouble::Silent, String::new()), |(code, _, said)| trouble(Some(code), &said));
            let error = ContainerError::Failed { program, image: String::new(), trouble, said };
            (Health::Missing, error.to_string(), Some(error.hints().join("; ")))
        }
    }
}

/// Whether this machine's kernel runs programs of the other architecture.
fn binfmt() -> (Health, String) {
    if !cfg!(target_os = "linux") {
        return (Health::Here, "brought along by docker's or podman's virtual machine".to_owned());
    }
    let other = if cfg!(target_arch = "x86_64") { "qemu-aarch64" } else { "qemu-x86_64" };
    let entry = Path::new("/proc/sys/fs/binfmt_misc").join(other);
    if entry.exists() {
        (Health::Here, entry.display().to_string())
    } else {
        (Health::Missing, format!("no {}", entry.display()))
    }
}

fn rust(environment: &Environment, architecture: Architecture) -> (Health, String) {
    let programs = environment.programs();
    let Some(rustc) = programs.rustc.or(programs.path_rustc) else {
        return (Health::Missing, "no rustc".to_owned());
    };
    let triple = compile::plan::rust_triple(architecture.machine());
    match said(&rustc, &["--print", "target-libdir", "--target", &triple]) {
        Some(dir) if Path::new(&dir).is_dir() => (Health::Here, dir),
        _ => (Health::Missing, format!("{} has no standard library for {triple}", rustc.display())),
    }
}

/// What a program says within a few seconds, if it succeeds.
fn said(program: &Path, args: &[&str]) -> Option<String> {
    asked(program, args).filter(|(code, ..)| *code == 0).map(|(_, said, _)| said)
}

/// A program's exit code and what it says on both streams, if it ends within a few seconds.
fn asked(program: &Path, args: &[&str]) -> Option<(i32, String, String)> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().ok()?;
    for _ in 0..500 {
        if let Some(status) = child.try_wait().ok()? {
            let output = child.wait_with_output().ok()?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
            return Some((status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr)));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().ok()?;
    child.wait().ok()?;
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_symptoms_name_is_looked_for() {
        for thing in SYMPTOMS.iter().filter_map(|symptom| symptom.thing) {
            assert!(THINGS.iter().any(|other| other.name == thing), "{thing}");
        }
        let text = troubleshooting();
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        // What the notes that layerwise started from had to explain.
        for seen in
            ["Docker is not running", "C:/Program Files/Git/", "linker cc not found", "Could not open requirements"]
        {
            assert!(words.contains(seen), "{seen}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
    }

    /// One program that never ends, one that fails, one that is none.
    #[cfg(unix)]
    #[test]
    fn a_program_that_does_not_answer_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs_err::write(&path, text).unwrap();
            fs_err::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        };
        put("terraform", "");
        put("podman", "#!/bin/sh\nexec sleep 1000\n");
        put("uv", "#!/bin/sh\nexit 3\n");
        let path = dir.path().to_str().unwrap();
        let environment = Environment::of(&[("PATH", path), ("AWS_ACCESS_KEY_ID", "AKIASECRET")], dir.path());
        let found = look_at_all(&environment, &Ok(dir.path().join("cache")));
        let of = |name: &str| found.iter().find(|found| found.thing.name == name).unwrap();
        assert_eq!(of("cache").health, Health::Here);
        assert_eq!(of("docker").detail, "not on PATH");
        assert_eq!((of("podman").health, of("podman").detail.as_str()), (Health::Missing, "podman does not answer"));
        assert!(of("podman").get.contains("podman machine start"));
        assert!(of("uv").detail.ends_with("does not run"));
        assert_eq!(of("terraform").health, Health::Here);
        assert_eq!(of("AWS credentials").detail, "the variable AWS_ACCESS_KEY_ID");
        assert!(found.iter().all(|found| !found.detail.contains("AKIASECRET")));
    }
}
