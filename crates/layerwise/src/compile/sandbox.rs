//! The walls around a build: on Linux, namespaces of its own, in which it sees its sources, its build environment and
//! the toolchain, and nothing else: no network, no home, no other process, and always the same paths and user.
//!
//! layerwise calls itself for this, twice: the first process makes the namespaces, the second is the first process
//! in them, mounts what is to be seen, gives up its privileges and becomes the build.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Where a build sees its own directory.
pub const ROOT: &str = "/build";

/// The hidden commands that are these two processes.
pub const OUTER: &str = "__sandbox";
/// See [`OUTER`].
pub const INNER: &str = "__sandbox-inner";

/// What a build sees.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    /// The build's directory; seen as [`ROOT`], and writable.
    pub dir: PathBuf,
    /// An empty directory to mount on.
    pub mount_point: PathBuf,
    /// Files and directories that are seen where they are, and cannot be written to.
    pub read_only: Vec<PathBuf>,
    /// Directories that are seen elsewhere, and cannot be written to: where, and what.
    pub binds: Vec<(PathBuf, PathBuf)>,
    /// Files that show something else: where, and what.
    pub covers: Vec<(PathBuf, PathBuf)>,
    /// Directories that show nothing.
    pub empty: Vec<PathBuf>,
    /// The working directory, as the build sees it.
    pub cwd: PathBuf,
}

/// Becomes what comes after `--` in `args`, inside the walls.
///
/// # Errors
/// Returns only when it fails.
#[cfg(target_os = "linux")]
pub fn run(stage: &str, args: &[std::ffi::OsString], exe: &Path) -> std::io::Result<i32> {
    let odd = || std::io::Error::other("not called as layerwise calls itself");
    let [spec_file, dashes, program, arguments @ ..] = args else { return Err(odd()) };
    if dashes != "--" {
        return Err(odd());
    }
    let spec: Spec = serde_json::from_slice(&fs_err::read(spec_file)?)?;
    match stage {
        OUTER => linux::outer(exe, args),
        INNER => Err(linux::inner(&spec, program, arguments)),
        _ => Err(odd()),
    }
}

/// There are no such walls here.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn run(_: &str, _: &[std::ffi::OsString], _: &Path) -> std::io::Result<i32> {
    Err(std::io::Error::from(std::io::ErrorKind::Unsupported))
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::OsString;
    use std::io;
    use std::os::unix::process::CommandExt as _;
    use std::os::unix::process::ExitStatusExt as _;
    use std::path::Path;
    use std::process::Command;

    use fs_err as fs;
    use nix::mount::{MsFlags, mount};
    use nix::sched::CloneFlags;
    use nix::sys::resource::Resource;

    use super::{INNER, ROOT, Spec};
    use crate::namespaces::{become_user, begin_root, bind, devices, enter, finish_root, show, within};

    /// The user a build is, everywhere.
    const USER: u32 = 1000;
    /// Processes and threads a build may have.
    const MOST_PROCESSES: u64 = 4096;

    /// The first process: makes the namespaces and waits for the one inside.
    pub(super) fn outer(exe: &Path, args: &[OsString]) -> io::Result<i32> {
        enter(CloneFlags::CLONE_NEWNET)?;
        let status = Command::new(exe).arg(INNER).args(args).status()?;
        Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
    }

    /// The second process: mounts, gives up its privileges and becomes the program. Returns only an error.
    pub(super) fn inner(spec: &Spec, program: &OsString, arguments: &[OsString]) -> io::Error {
        match prepare(spec) {
            Ok(()) => Command::new(program).args(arguments).current_dir(&spec.cwd).exec(),
            Err(error) => error,
        }
    }

    fn prepare(spec: &Spec) -> io::Result<()> {
        let root = &spec.mount_point;
        let mut shown = begin_root(root)?;
        let within = |path: &Path| within(root, path);
        // First: what is to be seen may be below it.
        show(&spec.dir.join("tmp"), &within(Path::new("/tmp")), false)?;
        for path in &spec.read_only {
            // One below another is seen already.
            if path.exists() && !shown.iter().any(|other| path.starts_with(other)) {
                show(path, &within(path), true)?;
                shown.push(path.clone());
            }
        }
        for (at, what) in &spec.covers {
            if within(at).is_file() {
                bind(what, &within(at), true)?;
            }
        }
        for path in &spec.empty {
            if within(path).is_dir() {
                mount(Some("tmpfs"), &within(path), Some("tmpfs"), MsFlags::MS_RDONLY, Some("mode=755"))?;
            }
        }
        devices(root)?;
        // Locks between processes (`multiprocessing`, with which some `setup.py` compile) are files there.
        let shm = within(Path::new("/dev/shm"));
        fs::create_dir_all(&shm)?;
        let own = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("tmpfs"), &shm, Some("tmpfs"), own, Some("mode=1777,size=256m"))?;
        let etc = within(Path::new("/etc"));
        fs::create_dir_all(&etc)?;
        fs::write(etc.join("passwd"), "build:x:1000:1000::/build/home:/bin/sh\n")?;
        fs::write(etc.join("group"), "build:x:1000:\n")?;
        show(&spec.dir, &within(Path::new(ROOT)), false)?;
        for (at, what) in &spec.binds {
            show(what, &within(at), true)?;
        }
        finish_root(root, MOST_PROCESSES)?;
        nix::unistd::sethostname("build")?;
        become_user(USER, &[(Resource::RLIMIT_NPROC, MOST_PROCESSES)])
    }
}
