//! Which of this machine's Pythons can stand in for the target's.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use fs_err as fs;
use object::elf::FileHeader64;
use object::read::elf::{FileHeader as _, ProgramHeader as _};
use object::{Endianness, elf};

use super::process::command;
use super::{Emulator, Python};
use crate::error::{Explain, Kind};
use crate::model::target::Glibc;
use crate::model::{Architecture, Target};

/// Where to look. The caller knows the environment; here nothing is guessed.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// Interpreters to ask, best first: what the user named, `pythonX.Y` on PATH (a pyenv shim is fine), what pyenv
    /// and uv have installed.
    pub candidates: Vec<PathBuf>,
    /// Programs that run the other architecture's: `qemu-aarch64-static`, `qemu-aarch64`; best first.
    pub emulators: Vec<PathBuf>,
    /// The environment that candidates are asked in: a shim needs PATH and HOME.
    pub env: Vec<(OsString, OsString)>,
}

/// There is no Python for the target here.
#[derive(Debug, thiserror::Error)]
#[error("found no Python 3.{} for {} on this machine", target.runtime.minor, target.architecture)]
pub struct NoPython {
    /// What was looked for.
    pub target: Target,
    /// What was looked at, and why it does not do.
    pub tried: Vec<(PathBuf, Unfit)>,
}

/// Why an interpreter cannot stand in for the target's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is not there, does not start, or does not answer.
    #[error("does not run: {0}")]
    Broken(String),
    /// Not the target's minor version: what it is.
    #[error("is Python {0}")]
    Version(String),
    /// PyPy or another.
    #[error("is {0}, not CPython")]
    Implementation(String),
    /// Without GIL, or a debug build: extension modules for Lambda do not load. Its ABI flags.
    #[error("has another ABI (`{0}`)")]
    Abi(String),
    /// Made for another processor: which.
    #[error("is for {0}")]
    Machine(String),
    /// Not on glibc: extension modules for Lambda do not load.
    #[error("does not run on glibc")]
    Libc,
}

impl Explain for NoPython {
    fn kind(&self) -> Kind {
        Kind::System
    }

    fn hints(&self) -> Vec<String> {
        let minor = self.target.runtime.minor;
        if self.target.architecture == host() {
            vec![format!("`uv python install 3.{minor}` installs one, and so does `pyenv install 3.{minor}`")]
        } else {
            let machine = self.target.architecture.machine();
            vec![format!("another architecture needs `qemu-{machine}-static` and a Python 3.{minor} for {machine}")]
        }
    }
}

/// What a candidate is asked. Tabs between, as no answer has one.
const QUESTION: &str = r#"
import os, sys
def libc():
    try:
        return os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, OSError, ValueError):
        return None
machine = os.uname().machine if sys.maxsize > 2**32 else "32-bit " + os.uname().machine
print("layerwise", sys.implementation.name, ".".join(map(str, sys.version_info[:3])), sys.abiflags, machine,
      libc() or "", os.path.realpath(sys.executable), sys.base_prefix, sep="\t")
"#;

/// How long a candidate may think: an emulated one, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The first candidate that is of the target's minor version and architecture. Each is asked itself; one of another
/// architecture than this machine's through the first emulator that is there, or straight away where there is none
/// (the kernel may know one: binfmt_misc).
pub async fn find(target: Target, search: &Search) -> Result<Python, NoPython> {
    let mut tried = Vec::new();
    for candidate in &search.candidates {
        if tried.iter().any(|(path, _)| path == candidate) {
            continue;
        }
        match examine(target, candidate, search).await {
            Ok(python) => return Ok(python),
            Err(unfit) => tried.push((candidate.clone(), unfit)),
        }
    }
    Err(NoPython { target, tried })
}

async fn examine(target: Target, candidate: &Path, search: &Search) -> Result<Python, Unfit> {
    let broken = |error: std::io::Error| Unfit::Broken(error.to_string());
    let path = std::path::absolute(candidate).map_err(broken)?;
    let mut emulator = None;
    if let Some(made_for) = made_for(&path).map_err(broken)? {
        if made_for.architecture != Some(target.architecture) {
            let machine = made_for.architecture.map_or("another machine", Architecture::machine);
            return Err(Unfit::Machine(machine.to_owned()));
        }
        if target.architecture != host()
            && let Some(program) = search.emulators.iter().find(|program| program.is_file())
        {
            emulator = Some(Emulator { program: program.clone(), sysroot: sysroot(&path, &made_for.interpreter) });
        }
    }
    let answer = ask(&path, emulator.as_ref(), search).await?;
    judge(target, &answer)?;
    let helper = if emulator.is_some() { helper(search).await } else { None };
    let Answer { version, machine, glibc, executable, prefix, .. } = answer;
    let glibc = glibc.ok_or(Unfit::Libc)?;
    Ok(Python { path: executable, prefix, version, minor: target.runtime.minor, machine, glibc, emulator, helper })
}

/// What a candidate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    implementation: String,
    version: String,
    flags: String,
    machine: String,
    glibc: Option<Glibc>,
    executable: PathBuf,
    prefix: PathBuf,
}

async fn ask(path: &Path, emulator: Option<&Emulator>, search: &Search) -> Result<Answer, Unfit> {
    let broken = |error: std::io::Error| Unfit::Broken(error.to_string());
    let mut command = command(path, emulator);
    command.args(["-I", "-S", "-B", "-c", QUESTION]).env_clear().envs(search.env.iter().cloned());
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output.map_err(|_| Unfit::Broken("no answer".to_owned()))?.map_err(broken)?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().find_map(answer).ok_or_else(|| {
        let words = String::from_utf8_lossy(&output.stderr);
        Unfit::Broken(words.trim().lines().next_back().unwrap_or("it says nothing").to_owned())
    })
}

fn answer(line: &str) -> Option<Answer> {
    let fields: Vec<&str> = line.strip_prefix("layerwise\t")?.split('\t').collect();
    let [implementation, version, flags, machine, libc, executable, prefix] = fields.as_slice() else { return None };
    let glibc = libc.strip_prefix("glibc ").and_then(|version| version.split_once('.'));
    Some(Answer {
        implementation: (*implementation).to_owned(),
        version: (*version).to_owned(),
        flags: (*flags).to_owned(),
        machine: (*machine).to_owned(),
        glibc: glibc.and_then(|(major, minor)| Some(Glibc(major.parse().ok()?, minor.parse().ok()?))),
        executable: executable.into(),
        prefix: prefix.into(),
    })
}

/// Whether a candidate that says this of itself can stand in for the target's.
fn judge(target: Target, answer: &Answer) -> Result<(), Unfit> {
    if minor(&answer.version) != Some(target.runtime.minor) {
        return Err(Unfit::Version(answer.version.clone()));
    }
    if answer.implementation != "cpython" {
        return Err(Unfit::Implementation(answer.implementation.clone()));
    }
    if !answer.flags.is_empty() {
        return Err(Unfit::Abi(answer.flags.clone()));
    }
    if answer.machine != target.architecture.machine() {
        return Err(Unfit::Machine(answer.machine.clone()));
    }
    if answer.glibc.is_none() {
        return Err(Unfit::Libc);
    }
    Ok(())
}

fn minor(version: &str) -> Option<u8> {
    version.strip_prefix("3.")?.split('.').next()?.parse().ok()
}

/// A Python of this machine's own architecture, for what need not be emulated and, for the kernel's part in it, had
/// better not be: qemu is more than one thread, and from those the kernel takes no new user namespace.
async fn helper(search: &Search) -> Option<PathBuf> {
    for candidate in &search.candidates {
        let Ok(path) = std::path::absolute(candidate) else { continue };
        let Ok(made_for) = made_for(&path) else { continue };
        if made_for.is_some_and(|made_for| made_for.architecture != Some(host())) {
            continue;
        }
        let Ok(answer) = ask(&path, None, search).await else { continue };
        let new_enough = minor(&answer.version).is_some_and(|minor| minor >= 9);
        if new_enough && answer.implementation == "cpython" && answer.machine == host().machine() {
            return Some(answer.executable);
        }
    }
    None
}

/// The processor of this machine.
fn host() -> Architecture {
    if cfg!(target_arch = "aarch64") { Architecture::Arm64 } else { Architecture::X86_64 }
}

struct MadeFor {
    /// `None`: none of Lambda's.
    architecture: Option<Architecture>,
    /// The dynamic loader's path.
    interpreter: String,
}

/// What an executable is made for; `None` where it is no ELF file (a pyenv shim is a shell script).
fn made_for(path: &Path) -> std::io::Result<Option<MadeFor>> {
    let mut start = Vec::new();
    fs::File::open(path)?.take(64 << 10).read_to_end(&mut start)?;
    if !start.starts_with(&elf::ELFMAG) {
        return Ok(None);
    }
    let none = MadeFor { architecture: None, interpreter: String::new() };
    let Ok(header) = FileHeader64::<Endianness>::parse(start.as_slice()) else {
        return Ok(Some(none)); // 32-bit
    };
    let Ok(endian) = header.endian() else { return Ok(Some(none)) };
    let architecture = match header.e_machine(endian) {
        elf::EM_X86_64 => Some(Architecture::X86_64),
        elf::EM_AARCH64 => Some(Architecture::Arm64),
        _ => None,
    };
    let segments = header.program_headers(endian, start.as_slice()).unwrap_or_default();
    let interpreter = segments.iter().find_map(|segment| segment.interpreter(endian, start.as_slice()).ok()?);
    let interpreter = String::from_utf8_lossy(interpreter.unwrap_or_default()).into_owned();
    Ok(Some(MadeFor { architecture, interpreter }))
}

/// The directory above `path` under which the loader it asks for is found: its own root, as unpacked packages of
/// another architecture have one. `None` where that is this machine's root.
fn sysroot(path: &Path, interpreter: &str) -> Option<PathBuf> {
    let relative = interpreter.strip_prefix('/')?;
    let below = |directory: &&Path| directory.parent().is_some() && directory.join(relative).symlink_metadata().is_ok();
    path.ancestors().skip(1).find(below).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(target: (&str, &str), said: &str, expected: &str) {
        let target = Target::new(target.0, target.1, "2026-11-24").unwrap();
        let answer = answer(&format!("layerwise\t{}", said.replace(',', "\t"))).unwrap();
        let judged = judge(target, &answer).map_or_else(|unfit| unfit.to_string(), |()| "fits".to_owned());
        assert_eq!(judged, expected, "{said}");
    }

    #[test]
    fn answers() {
        let x86 = ("python3.11", "x86_64");
        check(x86, "cpython,3.11.7,,x86_64,glibc 2.36,/p/bin/python,/p", "fits");
        check(x86, "cpython,3.12.1,,x86_64,glibc 2.36,/p/bin/python,/p", "is Python 3.12.1");
        check(x86, "cpython,2.7.18,,x86_64,glibc 2.36,/p/bin/python,/p", "is Python 2.7.18");
        check(x86, "pypy,3.11.7,,x86_64,glibc 2.36,/p/bin/python,/p", "is pypy, not CPython");
        check(x86, "cpython,3.11.7,d,x86_64,glibc 2.36,/p/bin/python,/p", "has another ABI (`d`)");
        check(("python3.13", "x86_64"), "cpython,3.13.0,t,x86_64,glibc 2.36,/p/bin/python,/p", "has another ABI (`t`)");
        check(x86, "cpython,3.11.7,,aarch64,glibc 2.36,/p/bin/python,/p", "is for aarch64");
        check(x86, "cpython,3.11.7,,32-bit x86_64,glibc 2.36,/p/bin/python,/p", "is for 32-bit x86_64");
        check(("python3.11", "arm64"), "cpython,3.11.7,,aarch64,glibc 2.36,/p/bin/python,/p", "fits");
        check(x86, "cpython,3.11.7,,x86_64,,/p/bin/python,/p", "does not run on glibc");
        assert_eq!(answer("layerwise\tcpython\t3.11.7"), None);
        assert_eq!(answer("Python 3.11.7"), None);
    }

    #[test]
    fn sysroots() {
        let root = tempfile::tempdir().unwrap();
        let (lib, bin) = (root.path().join("lib"), root.path().join("usr/bin"));
        fs::create_dir_all(&lib).unwrap();
        fs::create_dir_all(&bin).unwrap();
        let python = bin.join("python3.11");
        assert_eq!(sysroot(&python, "/lib/ld-layerwise.so.1"), None);
        fs::write(lib.join("ld-layerwise.so.1"), "").unwrap();
        assert_eq!(sysroot(&python, "/lib/ld-layerwise.so.1"), Some(root.path().to_owned()));
        assert_eq!(sysroot(&python, "ld-layerwise.so.1"), None);
        assert_eq!(sysroot(&python, ""), None);
    }

    #[test]
    fn what_programs_are_made_for() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let check = |bytes: &[u8], expected: Option<Option<Architecture>>| {
            fs::write(file.path(), bytes).unwrap();
            let found = made_for(file.path()).unwrap();
            assert_eq!(found.map(|found| found.architecture), expected, "{bytes:?}");
        };
        check(b"#!/bin/sh", None);
        check(b"", None);
        check(b"\x7fELF", Some(None));
        let mut header = [0u8; 64];
        header[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (header[6], header[52]) = (1, 64);
        for (machine, expected) in [(62, Some(Architecture::X86_64)), (183, Some(Architecture::Arm64)), (243, None)] {
            header[18] = machine;
            check(&header, Some(expected));
        }
        // Program headers far outside the file.
        (header[18], header[33], header[54], header[56]) = (62, 0xff, 56, 0xff);
        check(&header, Some(Some(Architecture::X86_64)));
    }
}
