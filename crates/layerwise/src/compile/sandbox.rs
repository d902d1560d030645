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
pub(crate) mod linux {
    use std::ffi::OsString;
    use std::io;
    use std::os::unix::process::CommandExt as _;
    use std::os::unix::process::ExitStatusExt as _;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use fs_err as fs;
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    use nix::sched::{CloneFlags, unshare};
    use nix::sys::prctl::set_pdeathsig;
    use nix::sys::resource::{Resource, setrlimit};
    use nix::sys::signal::Signal;
    use nix::sys::statvfs::{FsFlags, statvfs};
    use nix::unistd::{getgid, getuid, pivot_root};

    use super::{INNER, ROOT, Spec};

    /// The user a build is, everywhere.
    const USER: u32 = 1000;
    /// Processes and threads a build may have.
    const MOST_PROCESSES: u64 = 4096;

    /// The first process: makes the namespaces and waits for the one inside.
    pub(super) fn outer(exe: &Path, args: &[OsString]) -> io::Result<i32> {
        set_pdeathsig(Signal::SIGKILL)?;
        let (uid, gid) = (getuid(), getgid());
        unshare(
            CloneFlags::CLONE_NEWUSER
                | CloneFlags::CLONE_NEWNS
                | CloneFlags::CLONE_NEWPID
                | CloneFlags::CLONE_NEWNET
                | CloneFlags::CLONE_NEWIPC
                | CloneFlags::CLONE_NEWUTS,
        )?;
        map_user(0, uid.as_raw(), gid.as_raw())?;
        // The credentials have changed, which cleared it.
        set_pdeathsig(Signal::SIGKILL)?;
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
        set_pdeathsig(Signal::SIGKILL)?;
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        let root = &spec.mount_point;
        mount(Some("tmpfs"), root, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=755"))?;
        let within = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));

        let mut shown = system_directories();
        for path in &shown {
            show(path, &within(path), true)?;
        }
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
        fs::create_dir_all(within(Path::new("/dev/shm")))?;
        for device in ["null", "zero", "full", "random", "urandom"] {
            let path = Path::new("/dev").join(device);
            show(&path, &within(&path), false)?;
        }
        for (link, target) in [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
            fs::os::unix::fs::symlink(target, within(Path::new("/dev")).join(link))?;
        }
        let etc = within(Path::new("/etc"));
        fs::create_dir_all(&etc)?;
        fs::write(etc.join("passwd"), "build:x:1000:1000::/build/home:/bin/sh\n")?;
        fs::write(etc.join("group"), "build:x:1000:\n")?;
        show(&spec.dir, &within(Path::new(ROOT)), false)?;
        for (at, what) in &spec.binds {
            show(what, &within(at), true)?;
        }
        let proc = within(Path::new("/proc"));
        fs::create_dir_all(&proc)?;
        let closed = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("proc"), &proc, Some("proc"), closed, none)?;

        let old = root.join(".old");
        fs::create_dir_all(&old)?;
        pivot_root(root, &old)?;
        nix::unistd::chdir("/")?;
        umount2("/.old", MntFlags::MNT_DETACH)?;
        fs::remove_dir("/.old")?;
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(none, "/", none, flags, Some("mode=755"))?;
        nix::unistd::sethostname("build")?;

        unshare(CloneFlags::CLONE_NEWUSER)?;
        map_user(USER, 0, 0)?;
        setrlimit(Resource::RLIMIT_NPROC, MOST_PROCESSES, MOST_PROCESSES)?;
        setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
        set_pdeathsig(Signal::SIGKILL)?;
        Ok(())
    }

    /// One user and one group, inside and outside.
    pub(crate) fn map_user(inside: u32, uid: u32, gid: u32) -> io::Result<()> {
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("{inside} {uid} 1"))?;
        fs::write("/proc/self/gid_map", format!("{inside} {gid} 1"))
    }

    /// Where programs and libraries of the system are. Links (`/bin` → `usr/bin`) are shown as what they point to.
    pub(crate) fn system_directories() -> Vec<PathBuf> {
        let names = [
            "/usr",
            "/bin",
            "/sbin",
            "/lib",
            "/lib32",
            "/lib64",
            "/libx32",
            "/nix",
            "/gnu",
            "/etc/alternatives",
            "/etc/ld.so.cache",
            "/etc/ld.so.conf",
            "/etc/ld.so.conf.d",
        ];
        names.iter().map(PathBuf::from).filter(|path| path.exists()).collect()
    }

    /// Makes the place for a file or directory, and binds it there.
    pub(crate) fn show(what: &Path, at: &Path, read_only: bool) -> io::Result<()> {
        if what.is_dir() {
            fs::create_dir_all(at)?;
        } else {
            fs::create_dir_all(at.parent().unwrap_or(at))?;
            drop(fs::File::create(at)?);
        }
        bind(what, at, read_only)
    }

    pub(crate) fn bind(what: &Path, at: &Path, read_only: bool) -> io::Result<()> {
        let none: Option<&str> = None;
        mount(Some(what), at, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)?;
        if read_only {
            // What the mount forbids already must be said again: who is not the system's root cannot lift it.
            let kept = statvfs(at)?.flags();
            let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID;
            for (has, flag) in [
                (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
                (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
                (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
                (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
                (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
            ] {
                if kept.contains(has) {
                    flags |= flag;
                }
            }
            mount(none, at, none, flags, none)?;
        }
        Ok(())
    }
}
