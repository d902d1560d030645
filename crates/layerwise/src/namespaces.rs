//! Namespaces that layerwise makes for the walls around builds (`compile`) and functions (`local`): two processes of its
//! own, of which the first makes the namespaces and the second builds a root, and gives up its privileges.

use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{getgid, getuid, pivot_root};

const CLOSED: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);
const NONE: Option<&str> = None;

/// Makes namespaces of users, mounts, processes, IPC and host names, and `more`, in which this process is root. Its next
/// child is the first process in them. It ends when its parent does.
pub(crate) fn enter(more: CloneFlags) -> io::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    let (uid, gid) = (getuid(), getgid());
    unshare(
        CloneFlags::CLONE_NEWUSER
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS
            | more,
    )?;
    map_user(0, uid.as_raw(), gid.as_raw())?;
    // The credentials have changed, which cleared it.
    Ok(set_pdeathsig(Signal::SIGKILL)?)
}

/// Begins a new root at `root`, an empty directory, with the programs and libraries of the system. Returns what of them
/// is there.
pub(crate) fn begin_root(root: &Path) -> io::Result<Vec<PathBuf>> {
    set_pdeathsig(Signal::SIGKILL)?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
    mount(Some("tmpfs"), root, Some("tmpfs"), CLOSED, Some("mode=755"))?;
    let shown = system_directories();
    for path in &shown {
        show(path, &within(root, path), true)?;
    }
    Ok(shown)
}

/// Where `path` of the new root is until it becomes the root.
pub(crate) fn within(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Puts `/dev` into a new root: what every program may expect, without `/dev/shm`.
pub(crate) fn devices(root: &Path) -> io::Result<()> {
    let dev = within(root, Path::new("/dev"));
    fs::create_dir_all(&dev)?;
    for device in ["null", "zero", "full", "random", "urandom"] {
        show(&Path::new("/dev").join(device), &dev.join(device), false)?;
    }
    for (link, target) in [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        fs::os::unix::fs::symlink(target, dev.join(link))?;
    }
    Ok(())
}

/// What of `/proc` is the whole machine's and can be written to by whoever is root outside, in whatever namespaces: a
/// `core_pattern` is a program that the machine's root runs. (What runc makes read-only, and a few more.)
const SETTINGS_OF_THE_MACHINE: [&str; 9] =
    ["bus", "driver", "dynamic_debug", "fs", "irq", "mtrr", "sys", "sysrq-trigger", "tty"];
/// What of `/proc` tells of the whole machine what is nobody's business. (What runc hides, and a few more.)
const SECRETS_OF_THE_MACHINE: [&str; 16] = [
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "keys",
    "kmsg",
    "kpagecgroup",
    "kpagecount",
    "kpageflags",
    "latency_stats",
    "sched_debug",
    "scsi",
    "slabinfo",
    "timer_list",
    "timer_stats",
    "vmallocinfo",
];

/// Makes `root` the root, read-only, with `/proc` of the new namespace; the old one is gone. There are at most
/// `most_processes` processes and threads in it.
pub(crate) fn finish_root(root: &Path, most_processes: u64) -> io::Result<()> {
    let proc = within(root, Path::new("/proc"));
    fs::create_dir_all(&proc)?;
    mount(Some("proc"), &proc, Some("proc"), CLOSED | MsFlags::MS_NOEXEC, NONE)?;
    limit_processes(&proc, most_processes)?;
    for path in SETTINGS_OF_THE_MACHINE.iter().map(|name| proc.join(name)).filter(|path| path.exists()) {
        bind(&path, &path, true)?;
    }
    for path in SECRETS_OF_THE_MACHINE.iter().map(|name| proc.join(name)).filter(|path| path.exists()) {
        if path.is_dir() {
            mount(Some("tmpfs"), &path, Some("tmpfs"), CLOSED | MsFlags::MS_RDONLY, Some("mode=755"))?;
        } else {
            bind(Path::new("/dev/null"), &path, true)?;
        }
    }
    let old = root.join(".old");
    fs::create_dir_all(&old)?;
    pivot_root(root, &old)?;
    nix::unistd::chdir("/")?;
    umount2("/.old", MntFlags::MNT_DETACH)?;
    fs::remove_dir("/.old")?;
    Ok(mount(NONE, "/", NONE, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | CLOSED, Some("mode=755"))?)
}

/// Allows at most `most` processes and threads in this namespace, whoever the user is: `RLIMIT_NPROC` is not heeded for
/// who is root outside. From Linux 6.14 on; before, the number is one for the whole machine and is left alone.
fn limit_processes(proc: &Path, most: u64) -> io::Result<()> {
    let release = fs::read_to_string(proc.join("sys/kernel/osrelease"))?;
    match is_own_limit(&release) {
        true => fs::write(proc.join("sys/kernel/pid_max"), most.to_string()),
        false => Ok(()),
    }
}

/// Whether a kernel of this release has a `pid_max` for each namespace of processes (pid_namespaces(7)).
fn is_own_limit(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    numbers.next().zip(numbers.next()).is_some_and(|version| version >= (6, 14))
}

/// Becomes the user `user`, who can do nothing to the namespaces, with these limits and no core dumps.
pub(crate) fn become_user(user: u32, limits: &[(Resource, u64)]) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWUSER)?;
    map_user(user, 0, 0)?;
    for (resource, most) in limits.iter().chain(&[(Resource::RLIMIT_CORE, 0)]) {
        setrlimit(*resource, *most, *most)?;
    }
    Ok(set_pdeathsig(Signal::SIGKILL)?)
}

/// One user and one group, inside and outside.
fn map_user(inside: u32, uid: u32, gid: u32) -> io::Result<()> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{inside} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{inside} {gid} 1"))
}

/// Where programs and libraries of the system are. Links (`/bin` → `usr/bin`) are shown as what they point to.
fn system_directories() -> Vec<PathBuf> {
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

/// Shows a file or directory at a place that is there.
pub(crate) fn bind(what: &Path, at: &Path, read_only: bool) -> io::Result<()> {
    mount(Some(what), at, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)?;
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
        mount(NONE, at, NONE, flags, NONE)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::is_own_limit;

    #[test]
    fn kernels_with_a_limit_of_processes_for_each_namespace() {
        for (release, expected) in [
            ("6.18.44-fc-v669\n", true),
            ("6.14.0", true),
            ("7.0", true),
            ("6.8.0-60-generic", false),
            ("5.15.167.4-microsoft-standard-WSL2", false),
            ("", false),
        ] {
            assert_eq!(is_own_limit(release), expected, "{release}");
        }
    }
}
