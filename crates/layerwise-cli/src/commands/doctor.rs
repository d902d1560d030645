//! `layerwise doctor`: what this machine has and lacks, what for, and how to get it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use layerwise::compile;
use layerwise::io::Cache;
use layerwise::model::{Architecture, Runtime};

use super::Context;
use crate::args::DoctorArgs;
use crate::env::Environment;
use crate::exit::Code;
use crate::settings;
use crate::ui::error::Failure;
use crate::ui::{human, json};

/// Something a machine may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Thing {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it is needed for.
    pub(crate) what_for: &'static str,
    /// How to get it.
    pub(crate) get: &'static str,
}

/// Everything that is looked for; the troubleshooting section of the README is made from this table too.
pub(crate) const THINGS: &[Thing] = &[
    Thing { name: "cache", what_for: "everything", get: "set LAYERWISE_CACHE_DIR to a directory you can write to" },
    Thing { name: "disk", what_for: "everything", get: "free some space, or run `layerwise cache prune`" },
    Thing {
        name: "uv",
        what_for: "choosing versions",
        get: "nothing to do: layerwise gets one from the package index; or `pip install uv`",
    },
    Thing {
        name: "python",
        what_for: "building from source and `check --run`, for the runtime of the same version",
        get: "`uv python install 3.13`, or your system's package with its headers (`python3.13-dev`)",
    },
    Thing {
        name: "zig",
        what_for: "compiling (`--compile`)",
        get: "nothing to do: layerwise gets it from the package index when it is first needed",
    },
    Thing {
        name: "isolation",
        what_for: "building from source without network, home and secrets",
        get: "allow unprivileged user namespaces (`sysctl kernel.unprivileged_userns_clone=1`; on Ubuntu `kernel.apparmor_restrict_unprivileged_userns=0`)",
    },
    Thing { name: "cargo", what_for: "compiling packages written in Rust", get: "install Rust from https://rustup.rs" },
    Thing {
        name: "rust for x86_64",
        what_for: "compiling packages written in Rust for x86_64",
        get: "`rustup target add x86_64-unknown-linux-gnu`",
    },
    Thing {
        name: "rust for arm64",
        what_for: "compiling packages written in Rust for arm64",
        get: "`rustup target add aarch64-unknown-linux-gnu`",
    },
    Thing {
        name: "qemu",
        what_for: "`check --run` for the other architecture",
        get: "`apt install qemu-user-static`, or your system's package of it",
    },
    Thing { name: "docker or podman", what_for: "nothing yet", get: "not needed" },
    Thing {
        name: "AWS credentials",
        what_for: "nothing yet: publishing is done with other tools",
        get: "`aws configure`, or the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    },
    Thing {
        name: "terraform",
        what_for: "deploying what was built, if you use it",
        get: "https://developer.hashicorp.com/terraform/install",
    },
];

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
}

/// `docs/machine.md`.
pub(crate) fn documentation() -> String {
    let mut text = "# What a machine may need\n\n\
        Made by `layerwise generate` from `crates/layerwise-cli/src/commands/doctor.rs`. `layerwise doctor` tells what \
        of it is here.\n\n| what | what for | how to get it |\n|---|---|---|\n"
        .to_owned();
    for thing in THINGS {
        text += &format!("| {} | {} | {} |\n", thing.name, thing.what_for, thing.get);
    }
    text
}

pub(super) fn run(args: &DoctorArgs, context: &Context<'_>) -> Result<Code, Failure> {
    let dir = settings::cache_dir(context.cache_dir.as_deref(), context.environment);
    let dir = dir.as_ref().map(PathBuf::as_path).map_err(ToString::to_string);
    let found: Vec<Found> = THINGS
        .iter()
        .map(|thing| {
            let (health, detail) = look(thing.name, context.environment, dir.clone());
            Found { thing: *thing, health, detail }
        })
        .collect();
    context.answer(&if args.json { json::doctor(&found) } else { human::doctor(&found, &context.ui.page) })?;
    let broken = found.iter().any(|found| found.health == Health::Broken);
    Ok(if broken { Code::Failed(layerwise::error::Kind::System) } else { Code::Success })
}

fn look(name: &str, environment: &Environment, cache: Result<&Path, String>) -> (Health, String) {
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
        "docker or podman" => program(&["podman", "docker"]),
        "AWS credentials" => match environment.aws_credentials() {
            Some(source) => here(source),
            None => missing("neither variables nor a file"),
        },
        other => program(&[other]),
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
    let mut command = Command::new(program);
    let mut child =
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    for _ in 0..500 {
        if child.try_wait().ok()?.is_some() {
            let output = child.wait_with_output().ok().filter(|output| output.status.success())?;
            return Some(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().ok()?;
    child.wait().ok()?;
    None
}
