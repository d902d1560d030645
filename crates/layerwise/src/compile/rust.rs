//! Rust for packages that want it: the user's own toolchain, looked at, and the crates, fetched before the build.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use fs_err as fs;
use tokio::process::Command;

use super::CompileError;
use super::plan::rust_triple;
use crate::event::{Event, Stage};
use crate::io::{Io, blocking};
use crate::model::Target;

/// A Rust toolchain.
#[derive(Debug, Clone)]
pub(super) struct Rust {
    /// The program.
    pub cargo: PathBuf,
    /// The compiler.
    pub rustc: PathBuf,
    /// Directories that both need.
    pub directories: Vec<PathBuf>,
    /// `rustc --version`.
    pub version: String,
}

impl Rust {
    /// The user's cargo and rustc, without the stand-ins of rustup: those would obey a `rust-toolchain.toml` of the
    /// package and want the network.
    pub(super) async fn find(target: Target, package: &str, dir: &Path, io: &Io) -> Result<Self, CompileError> {
        let missing = || CompileError::NoCargo { package: package.to_owned() };
        let programs = &io.settings.programs;
        let rustc = programs.rustc.clone().or(programs.path_rustc.clone()).ok_or_else(missing)?;
        let sysroot = PathBuf::from(ask(&rustc, &["--print", "sysroot"], dir).await.ok_or_else(missing)?);
        let version = version(io).await.ok_or_else(missing)?;
        let mut directories = vec![sysroot.clone()];
        let own = |name: &str| Some(sysroot.join("bin").join(name)).filter(|path| path.is_file());
        let mut cargo = own("cargo");
        if cargo.is_none()
            && let Some(other) = &programs.path_rustc
        {
            let other = ask(other, &["--print", "sysroot"], dir).await.map(PathBuf::from);
            cargo = other.as_ref().map(|root| root.join("bin/cargo")).filter(|path| path.is_file());
            directories.extend(other);
        }
        let cargo = cargo.or_else(|| programs.cargo.clone()).ok_or_else(missing)?;
        let real = match &programs.rustc {
            Some(chosen) => chosen.clone(),
            None => own("rustc").unwrap_or(rustc),
        };
        directories.extend([&cargo, &real].iter().filter_map(|path| path.parent()).map(Path::to_owned));
        let triple = rust_triple(target.architecture.machine());
        let std = sysroot.join("lib/rustlib").join(&triple).join("lib");
        if !std.is_dir() {
            let asks = rustup(&sysroot, &triple, io);
            let why = format!("{package} is written in Rust, and {version} has no standard library for {triple}.");
            let added = match &asks {
                Some(command) => command.run(&why, package, io).await?,
                None => false,
            };
            if !added || !std.is_dir() {
                return Err(CompileError::NoRustStd { triple, version, rustup: asks.is_some() });
            }
        }
        Ok(Self { cargo, rustc: real, directories, version })
    }

    /// Fetches the crates that the package in `dir/package` wants to `dir/vendor`, and writes cargo's configuration so that
    /// they are taken from there; the build calls `dir` `seen`.
    pub(super) async fn vendor(
        &self,
        package: &Path,
        (dir, seen): (&Path, &str),
        log: &Path,
        io: &Io,
    ) -> Result<(), CompileError> {
        let manifests = manifests(&dir.join(package));
        let home = dir.join("cargo");
        let failed = |source| CompileError::Prepare { what: "Rust's crates", source };
        fs::create_dir_all(&home).map_err(failed)?;
        let Some((first, more)) = manifests.split_first() else { return Ok(()) };
        let mut command = Command::new(&self.cargo);
        command.env_clear().envs(io.settings.child_env.iter().map(|(key, value)| (key, value)));
        command.env("RUSTC", &self.rustc).env("CARGO_TERM_COLOR", "never").env_remove("RUSTFLAGS");
        command.args(["vendor", "--versioned-dirs", "--manifest-path"]).arg(first);
        for manifest in more {
            command.arg("--sync").arg(manifest);
        }
        if io.offline() {
            command.arg("--offline");
        }
        command.arg(dir.join("vendor")).current_dir(dir).stdin(Stdio::null()).kill_on_drop(true);
        // The cache may be below somebody's Cargo workspace, which these would be taken for members of. The build itself
        // sees nothing above.
        let mut plain = Vec::new();
        for manifest in &manifests {
            let text = fs::read_to_string(manifest).map_err(failed)?;
            if !text.contains("[workspace") {
                fs::write(manifest, format!("{text}\n[workspace]\n")).map_err(failed)?;
                plain.push((manifest, text));
            }
        }
        let output = command.output().await.map_err(failed)?;
        for (manifest, text) in plain {
            fs::write(manifest, text).map_err(failed)?;
        }
        drop(fs::write(log, [output.stderr.as_slice(), b"\n"].concat()));
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(CompileError::Crates { said });
        }
        let config = String::from_utf8_lossy(&output.stdout);
        let config = config.replace(&dir.display().to_string(), seen);
        fs::write(home.join("config.toml"), config).map_err(failed)
    }
}

/// What the rustc says of itself that would be used now; `None` where there is none. It is asked once.
pub(super) async fn version(io: &Io) -> Option<String> {
    let programs = &io.settings.programs;
    let rustc = programs.rustc.as_ref().or(programs.path_rustc.as_ref())?;
    let version = io.rustc_version.get_or_init(|| ask(rustc, &["--version"], &io.settings.cache_dir));
    version.await.clone()
}

/// What a program says on standard output.
async fn ask(program: &Path, question: &[&str], dir: &Path) -> Option<String> {
    let mut command = Command::new(program);
    command.args(question).current_dir(dir).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A command that gets rustup to add a target.
struct Rustup {
    program: PathBuf,
    words: [String; 5],
}

/// How rustup adds a target to the toolchain at `sysroot`, where it is one of rustup's own and may be got.
fn rustup(sysroot: &Path, triple: &str, io: &Io) -> Option<Rustup> {
    let program = io.settings.programs.rustup.clone().filter(|_| !io.offline())?;
    // Of which channel it is; toolchains that were only linked to have none, and rustup leaves them alone.
    let manifest = sysroot.join("lib/rustlib/multirust-channel-manifest.toml");
    let toolchain = sysroot.file_name()?.to_str().filter(|_| manifest.is_file())?;
    Some(Rustup { program, words: ["target", "add", "--toolchain", toolchain, triple].map(str::to_owned) })
}

impl Rustup {
    /// Runs it, if the user allows that; whether it was run.
    async fn run(&self, why: &str, package: &str, io: &Io) -> Result<bool, CompileError> {
        let text = format!("rustup {}", self.words.join(" "));
        let (consent, asked, why) = (io.settings.consent.clone(), text.clone(), why.to_owned());
        if !blocking(move || consent.allows(&asked, &why)).await {
            return Ok(false);
        }
        let item = format!("Rust for {package}");
        io.emit(Event::Started { stage: Stage::Provision, item: &item, bytes: None });
        let mut command = Command::new(&self.program);
        command.args(&self.words).env_clear().envs(io.settings.child_env.iter().map(|(key, value)| (key, value)));
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
        io.emit(Event::Finished { stage: Stage::Provision, item: &item });
        let output = output.map_err(|source| CompileError::Prepare { what: "Rust", source })?;
        if output.status.success() {
            return Ok(true);
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(CompileError::Rustup { command: text, said })
    }
}

/// The `Cargo.toml` files that are not below another one's directory, sorted.
pub(super) fn manifests(src: &Path) -> Vec<PathBuf> {
    let mut found = BTreeSet::new();
    let mut dirs = vec![(src.to_owned(), 0)];
    while let Some((dir, depth)) = dirs.pop() {
        let manifest = dir.join("Cargo.toml");
        if manifest.is_file() {
            found.insert(manifest);
            continue;
        }
        if depth < 4 {
            let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
            let real = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            dirs.extend(real.map(|entry| (entry.path(), depth + 1)));
        }
    }
    found.into_iter().collect()
}
