"""Imports foreign modules one after another, each in a fresh process that sees a file system like Lambda's.

Runs as `python -I -S -B -u -c <this text>`, in the target's Python or, when that one is emulated, in another. Standard
input and output speak lines of JSON: first the settings (`Settings` in `process.rs`), then one request a line, answered
by one report a line. The end of the input ends everything: a process of ours never outlives layerwise.

    W, the worker: user and network namespace        (this program)
    └─ P, one for each request: gathers output, gives up on what does not answer
       └─ I, the first process of a PID namespace: builds the root, enforces the time limit, kills what is left
          └─ D, `driver.py` in the target's Python, under /var/lang: imports the module

What the kernel refuses is done without, step by step, and said in the report. Only what every Python from 3.9 on has
is used; `ctypes` may be missing.
"""

import errno
import fcntl
import json
import marshal
import os
import resource
import select
import signal
import struct
import sys
import time

try:
    import ctypes

    LIBC = ctypes.CDLL(None, use_errno=True)
except Exception:  # No _ctypes in this Python, or one that does not load.
    ctypes = LIBC = None

# <linux/sched.h>, <linux/mount.h>, <linux/prctl.h>
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_NOATIME, MS_NODIRATIME, MS_BIND, MS_REC, MS_PRIVATE, MS_RELATIME = 1024, 2048, 4096, 16384, 1 << 18, 1 << 21
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 24, 36, 38
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

# The user that functions run as (seen on Lambda: sbx_user1051). Any number but 0 does: the kernel then takes away, at
# exec, the rights that we have inside our own namespaces.
USER, GROUP = 993, 990
PASSWD = b"root:x:0:0:root:/root:/bin/bash\nsbx_user1051:x:993:990::/home/sbx_user1051:/sbin/nologin\n"

NOTES_SIZE = 1 << 20  # also in driver.py and process.rs
TAIL = 64 << 10  # of what a module prints, this much is kept
KEPT_PLACES = ("usr", "lib", "lib32", "lib64", "libx32", "bin", "sbin", "etc", "nix", "gnu")
LANG = "/var/lang"
QEMU, SYSROOT = "/run/layerwise/qemu", "/run/layerwise/sysroot"


def called(result):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def unshare(flags):
    if LIBC is None:
        raise OSError(errno.ENOSYS, "this Python has no ctypes")
    called(LIBC.unshare(flags))


def prctl(option, value):
    """Best effort: each of its uses only narrows what a module can do."""
    if LIBC is not None:
        LIBC.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))


def mount(source, target, kind, flags, options=None):
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind, options)]
    try:
        called(LIBC.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]))
    except OSError as error:
        raise OSError(error.errno, error.strerror, target) from None


def bind(source, target):
    """With what is mounted below: inside a user namespace the kernel insists on it."""
    mount(source, target, None, MS_BIND | MS_REC)


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def enter():
    """Leaves the host's user and network namespaces. Returns what was refused: name → why."""
    refused = {}
    user, group = os.geteuid(), os.getegid()
    without = ""
    try:
        unshare(CLONE_NEWUSER)
        write("/proc/self/setgroups", "deny")
        write("/proc/self/uid_map", f"{USER} {user} 1")
        write("/proc/self/gid_map", f"{GROUP} {group} 1")
    except OSError as error:
        without = f", as was a user namespace ({error.strerror})"
    try:
        unshare(CLONE_NEWNET)
        raise_loopback()
    except OSError as error:
        refused["network"] = f"a network namespace was refused ({error.strerror}){without}"
    return refused


def raise_loopback():
    """127.0.0.1 is there on Lambda, and is nobody's here."""
    try:
        import _socket

        flags = struct.pack("16sH14x", b"lo", 0x1 | 0x40)  # IFF_UP, IFF_RUNNING
        fcntl.ioctl(_socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM), 0x8914, flags)  # SIOCSIFFLAGS
    except (ImportError, OSError):
        pass  # A little less like Lambda; nothing is open that should be shut.


class Root:
    """The file system a function sees, built on a directory of the host and then made the root."""

    def __init__(self, settings):
        self.new = settings["scratch"] + "/root"
        self.artifact = settings["root"]
        self.qemu, self.sysroot = settings["qemu"], settings["sysroot"]
        self.executable, self.prefix, self.minor = settings["executable"], settings["prefix"], settings["minor"]

    def bind(self, source, place):
        target = self.new + place
        if os.path.isdir(source):
            os.makedirs(target, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
        bind(source, target)

    def tmpfs(self, place, options):
        os.makedirs(self.new + place, exist_ok=True)
        mount("tmpfs", self.new + place, "tmpfs", MS_NOSUID | MS_NODEV, options)

    def build(self):
        if LIBC is None:
            raise OSError(errno.ENOSYS, "this Python has no ctypes")
        if os.uname().machine not in SYS_PIVOT_ROOT:
            raise OSError(errno.ENOSYS, "pivot_root is not known for this machine")
        if not self.executable.startswith(self.prefix + "/"):
            raise OSError(errno.ENOENT, f"{self.executable} is not below its own prefix {self.prefix}")
        unshare(CLONE_NEWNS)
        mount(None, "/", None, MS_REC | MS_PRIVATE)
        self.tmpfs("", "mode=0755")
        for name in KEPT_PLACES:
            if os.path.islink("/" + name):
                os.symlink(os.readlink("/" + name), f"{self.new}/{name}")
            elif os.path.isdir("/" + name):
                self.bind("/" + name, "/" + name)
        self.devices()
        self.processes()
        self.user()
        # A Python finds its library by where it itself is: so this one has the very paths of Lambda's.
        self.bind(self.prefix, LANG)
        site_packages = f"{LANG}/lib/python3.{self.minor}/site-packages"
        if os.path.isdir(self.new + site_packages):
            self.tmpfs(site_packages, "mode=0755")
        for place in ("/opt", "/var/task"):
            if os.path.isdir(self.artifact + place):
                self.bind(self.artifact + place, place)
            else:
                os.makedirs(self.new + place)
        os.makedirs(self.new + "/var/runtime")
        if self.qemu is not None:
            self.bind(self.qemu, QEMU)
        if self.sysroot is not None:
            self.bind(self.sysroot, SYSROOT)
        self.tmpfs("/tmp", "mode=1777,size=512m")
        return [LANG + self.executable[len(self.prefix) :]]

    def devices(self):
        """No terminal, and no /dev/shm: Lambda has none either (`multiprocessing.Lock()` fails there)."""
        for name in ("null", "zero", "full", "random", "urandom"):
            self.bind("/dev/" + name, "/dev/" + name)
        os.symlink("/proc/self/fd", self.new + "/dev/fd")
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            os.symlink(f"/proc/self/fd/{number}", f"{self.new}/dev/{name}")

    def processes(self):
        os.mkdir(self.new + "/proc")
        try:
            mount("proc", self.new + "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        except OSError:  # In a container, or without a PID namespace: the host's.
            bind("/proc", self.new + "/proc")

    def user(self):
        """`getpass.getuser()` and the like find the user that they find on Lambda."""
        if os.path.isfile(self.new + "/etc/passwd"):
            passwd = self.new + "/run/layerwise/passwd"
            os.makedirs(os.path.dirname(passwd))
            with open(passwd, "wb") as file:
                file.write(PASSWD)
            bind(passwd, self.new + "/etc/passwd")

    def make_read_only(self):
        """Everything but /tmp and /proc. Returns why something stays writable, or None."""
        why = None
        for place, options in list(mounts_below(self.new)):
            if place[len(self.new) :].startswith(("/tmp", "/proc")):
                continue
            try:
                mount(None, place, None, MS_BIND | MS_REMOUNT | MS_RDONLY | options)
            except OSError as error:
                why = f"{place[len(self.new) :] or '/'} stays writable ({error.strerror})"
        return why

    def enter(self):
        os.chdir(self.new)
        number = SYS_PIVOT_ROOT[os.uname().machine]
        # The old root lands on the new one and is taken off it: see pivot_root(2), `pivot_root(".", ".")`.
        called(LIBC.syscall(ctypes.c_long(number), b".", b"."))
        called(LIBC.umount2(b".", MNT_DETACH))
        os.chdir("/")

    def leave(self):
        if LIBC is not None:
            LIBC.umount2(os.fsencode(self.new), MNT_DETACH)


def mounts_below(root):
    """Mount points at or below `root`, each with the flags that a remount has to repeat."""
    flags = {
        "nosuid": MS_NOSUID,
        "nodev": MS_NODEV,
        "noexec": MS_NOEXEC,
        "noatime": MS_NOATIME,
        "nodiratime": MS_NODIRATIME,
        "relatime": MS_RELATIME,
    }
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file.read().splitlines():
            fields = line.split(b" ")
            place = fields[4].decode("latin-1")
            for escape in ("\\040", "\\011", "\\012", "\\134"):
                place = place.replace(escape, chr(int(escape[1:], 8)))
            place = os.fsdecode(place.encode("latin-1"))
            if place == root or place.startswith(root + "/"):
                yield place, sum(flags.get(option, 0) for option in fields[5].decode().split(","))


def scratch_file(settings):
    """A nameless file to share with the processes below."""
    path = f"{settings['scratch']}/{os.getpid()}-{time.monotonic_ns()}"
    number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.unlink(path)
    return number


def environment(settings, real):
    """What D starts with: Lambda's variables, with paths that are right here."""
    variables = dict(settings["env"])
    # The host's own libraries are Lambda's /lib64: they come before those of the artifact.
    machine = settings["machine"]
    host = ["/lib64", "/usr/lib64", f"/lib/{machine}-linux-gnu", f"/usr/lib/{machine}-linux-gnu"]
    search = []
    for place in variables.get("LD_LIBRARY_PATH", "").split(":"):
        search += host if place == "/lib64" else [place]
    if not real:
        variables["LAMBDA_TASK_ROOT"] = variables["PWD"] = task_root(settings)
        search = [at(settings, place) for place in search]
    return variables, ":".join(search)


def at(settings, place):
    """Where a path of Lambda is when the root is the host's."""
    for moved in ("/opt", "/var/task"):
        if place == moved or place.startswith(moved + "/"):
            return settings["root"] + place
    return place


def task_root(settings):
    task = settings["root"] + "/var/task"
    return task if os.path.isdir(task) else settings["scratch"] + "/task"


def run_init(settings, request, real, shared):
    """What I does; never returns. Writes its part of the report to `shared.status`."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM})
    first = os.getpid() == 1
    if not first:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
    refused = {}
    command, cwd = [settings["executable"]], task_root(settings)
    prefix, sysroot = settings["qemu"], settings["sysroot"]
    if real:
        root = Root(settings)
        try:
            command = root.build()
            why = root.make_read_only()
            root.enter()
            cwd, prefix, sysroot = "/var/task", QEMU, SYSROOT
            if why is not None:
                refused["read_only"] = why
        except OSError as error:
            root.leave()
            real = False
            # The path is one of ours under a name made up for this run: it says nothing to the reader.
            why = f"a file system of its own was refused ({error.strerror})"
            refused["real_paths"] = refused["read_only"] = why
    if settings["qemu"] is not None:
        command = [prefix] + (["-L", sysroot] if settings["sysroot"] is not None else []) + command
    variables, search = environment(settings, real)
    told = {
        "env": variables,
        "opt": "/opt" if real else settings["root"] + "/opt",
        "lang": LANG if real else None,
        "notes": shared.notes,
        "trace": shared.trace,
        "handler": request["handler"],
        "name": request["name"],
    }
    command += ["-I", "-S", "-B", "-u", "-c", settings["driver"], marshal.dumps(told, 2).hex()]
    variables = dict(variables, LD_LIBRARY_PATH=search)
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            become_driver(command, variables, cwd, shared)
        finally:
            os._exit(127)
    for number in (shared.out[1], shared.err[1]):
        os.close(number)
    status = wait_for(child, began + settings["limit"])
    seconds = time.monotonic() - began
    kill_the_rest(first)
    report = {"status": status, "seconds": seconds, "refused": refused, "real": real}
    os.write(shared.status[1], json.dumps(report).encode())
    os._exit(0)


def become_driver(command, variables, cwd, shared):
    os.setsid()
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    for capability in range(64):  # Counts where no user namespace is: at exec, root keeps only what is in this set.
        prctl(PR_CAPBSET_DROP, capability)
    for limit, value in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, 1024)):
        try:
            resource.setrlimit(limit, (value, value))
        except (OSError, ValueError):
            pass
    os.dup2(os.open("/dev/null", os.O_RDWR), 0)
    os.dup2(shared.out[1], 1)
    os.dup2(shared.err[1], 2)
    for number in (shared.notes, shared.trace):
        os.set_inheritable(number, True)
    os.chdir(cwd)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    try:
        os.execve(command[0], command, variables)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())


def wait_for(child, deadline):
    """Until `child` ends or its time does: ["exited", code], ["killed", signal] or ["time", 0]."""
    timed_out = False
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            break
        if pid != 0:
            continue  # An orphan that came to us.
        left = deadline - time.monotonic()
        if left > 0:
            caught = signal.sigtimedwait({signal.SIGCHLD, signal.SIGTERM}, left)
            if caught is None or caught.si_signo != signal.SIGTERM:
                continue
        if not timed_out:
            timed_out = True
            os.kill(child, signal.SIGABRT)  # faulthandler writes down where it hangs, and ends it
            deadline = time.monotonic() + 1
        else:
            os.kill(child, signal.SIGKILL)
            deadline = time.monotonic() + 60
    if timed_out:
        return ["time", 0]
    if os.WIFSIGNALED(status):
        return ["killed", os.WTERMSIG(status)]
    return ["exited", os.WEXITSTATUS(status)]


def kill_the_rest(first):
    """What the module started and left behind, also in sessions of its own."""
    if first:
        try:
            os.kill(-1, signal.SIGKILL)  # only what is in our PID namespace
        except OSError:
            pass
        return
    for _ in range(100):  # A process that is killed leaves its children to us, the next round's.
        try:
            with open(f"/proc/self/task/{os.getpid()}/children") as file:
                children = [int(word) for word in file.read().split()]
        except OSError:
            return
        if not children:
            return
        for child in children:
            os.kill(child, signal.SIGKILL)
        for child in children:
            os.waitpid(child, 0)


class Shared:
    """What the processes of one request have in common."""

    def __init__(self, settings):
        self.notes, self.trace = scratch_file(settings), scratch_file(settings)
        os.ftruncate(self.notes, NOTES_SIZE)
        self.out, self.err, self.status = os.pipe(), os.pipe(), os.pipe()


def examine(settings, request, real):
    """What P does: runs I, and returns the report."""
    refused = {}
    try:
        unshare(CLONE_NEWPID)
    except OSError as error:
        refused["processes"] = f"a PID namespace was refused ({error.strerror})"
    shared = Shared(settings)
    init = os.fork()
    if init == 0:
        try:
            run_init(settings, request, real, shared)
        except BaseException as error:
            os.write(shared.status[1], json.dumps({"broken": f"{type(error).__name__}: {error}"}).encode())
        finally:
            os._exit(1)
    for pair in (shared.out, shared.err, shared.status):
        os.close(pair[1])
    texts, ended = gather(settings, shared, init)
    report = {"status": ["killed", signal.SIGKILL], "real": real}
    if texts[shared.status[0]]:
        report = json.loads(texts[shared.status[0]])
    elif not os.WIFSIGNALED(ended):  # Where there is no PID namespace, the module can kill it.
        report = {"broken": "the first process ended without a word"}
    report.setdefault("refused", {}).update(refused)
    report["stdout"] = texts[shared.out[0]].decode("utf-8", "replace")
    report["stderr"] = texts[shared.err[0]].decode("utf-8", "replace")
    report["trace"] = os.pread(shared.trace, TAIL, 0).decode("utf-8", "replace")
    notes = os.pread(shared.notes, NOTES_SIZE, 0)
    report["started"] = notes[:1] == b"1"
    report["last"] = notes[1:1024].split(b"\0")[0].decode("utf-8", "replace") or None
    report["result"] = notes[1024:].split(b"\0")[0].decode("utf-8", "replace") or None
    return report


def gather(settings, shared, init):
    """Reads until I is gone: the last `TAIL` bytes by descriptor, and how it ended."""
    texts = {pair[0]: b"" for pair in (shared.out, shared.err, shared.status)}
    poll = select.poll()
    for number in texts:
        os.set_blocking(number, False)
        poll.register(number, select.POLLIN)
    poll.register(0, 0)  # Standard input: its end is layerwise's.
    deadline = time.monotonic() + settings["limit"] + 30  # I keeps the limit itself; this is for when it cannot.
    while True:
        ready = poll.poll(max(0, deadline - time.monotonic()) * 1000)
        if not ready or any(number == 0 for number, _ in ready):
            os.kill(init, signal.SIGTERM)
            time.sleep(0.2)
            os.kill(init, signal.SIGKILL)
            if ready:
                os._exit(1)
            break
        for number, _ in ready:
            if read_some(texts, number) == b"":
                poll.unregister(number)
                if number == shared.status[0]:
                    _, ended = os.waitpid(init, 0)
                    # All processes are dead, and what they wrote is there: what a pipe holds, and no more.
                    for other in texts:
                        for _ in range(64):
                            if not read_some(texts, other):
                                break
                    return texts, ended
    return texts, os.waitpid(init, 0)[1]


def read_some(texts, number):
    try:
        chunk = os.read(number, TAIL)
    except BlockingIOError:
        return None
    texts[number] = (texts[number] + chunk)[-TAIL:]
    return chunk


def in_child(action):
    """The value of `action()`, computed in a child process of its own."""
    read, written = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            text = json.dumps(action()).encode()
            while text:
                text = text[os.write(written, text) :]
            os._exit(0)
        finally:
            os._exit(1)
    os.close(written)
    text = b""
    while True:
        chunk = os.read(read, 1 << 16)
        if not chunk:
            break
        text += chunk
    os.close(read)
    os.waitpid(child, 0)
    return json.loads(text or '{"broken": "the process of the request ended without a word"}')


def main():
    settings = json.loads(sys.stdin.readline())
    refused = enter()
    real = settings["real_paths"]
    if not real:
        refused["real_paths"] = refused["read_only"] = "it was not asked for"
    for line in sys.stdin:
        request = json.loads(line)
        report = in_child(lambda: examine(settings, request, real))
        if real and not report.get("started") and report.get("real"):
            # Not the module's fault: it was never reached. So for all that follow, too.
            real = False
            words = report["stderr"].strip().splitlines()[-1:] or ["it says nothing"]
            why = f"this Python does not start under {LANG}: {words[0]}"
            refused["real_paths"] = refused["read_only"] = why
            report = in_child(lambda: examine(settings, request, real))
        report["refused"] = dict(report.get("refused", {}), **refused)
        sys.stdout.write(json.dumps(report) + "\n")
        sys.stdout.flush()


main()
