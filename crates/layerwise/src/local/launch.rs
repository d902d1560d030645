//! The processes of an execution environment.
//!
//! On Linux they see a root like Lambda's: `/var/task` and `/opt` at their places and read-only, a `/tmp` of their own,
//! Python under `/var/lang`, no other process. layerwise calls itself for this, twice, as a build does
//! (`compile/sandbox.rs`): the first process makes the namespaces; the second is the first process in them, and keeps
//! what it starts: the extensions and the runtime. Nothing outlives it: the kernel kills what is in its namespace.
//!
//! Where namespaces are refused, one process of layerwise, the keeper, starts the same programs in the host's file
//! system. Orphans become its children, so that it finds and kills all that is left; the environment's log says what differs.
//! Elsewhere than on Linux the runtime is started as it is.
//!
//! Whoever keeps is talked to through its standard input, a socket: a byte asks it to end or kill the runtime, the end of
//! the stream to kill all. So nothing stays when layerwise is killed. Back come lines: how the runtime and extensions ended.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::{Deserialize, Serialize};
#[cfg(not(unix))]
use tokio::io::{DuplexStream as Line, DuplexStream as Pipe};
#[cfg(unix)]
use tokio::net::{UnixStream as Line, unix::pipe::Receiver as Pipe};
use tokio::process::{Child, Command};

use super::Function;
use super::environment::Exit;

/// The hidden command that makes namespaces.
pub const OUTER: &str = "__lambda";
/// The first process in them.
pub const INNER: &str = "__lambda-inner";
/// What starts the programs where there are no namespaces.
pub const KEEPER: &str = "__lambda-keeper";

/// What is different in the fallback; said in the log of each environment.
pub(super) const DIFFERENCES: &str = "paths and files are this machine's, nothing is read-only, other processes can be \
     seen, the user is the one who serves, and `sandbox.localdomain` is not known";

/// What the two processes are told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    /// An empty directory to mount on.
    mount_point: PathBuf,
    code: PathBuf,
    opt: Option<PathBuf>,
    /// Python's prefix.
    lang: PathBuf,
    /// The runtime's files.
    runtime: PathBuf,
    minor: u8,
    /// MB of `/tmp`.
    tmp: u32,
    /// Who starts this: it must not have ended when the first process has bound its life to it.
    parent: u32,
    /// The environment's own address of the host, for `sandbox.localdomain`.
    address: String,
    /// Programs of `/opt/extensions`: name and file.
    extensions: Vec<(String, String)>,
    /// A FIFO for what extensions write.
    extension_log: PathBuf,
    /// The emulator and the root of the other architecture.
    emulator: Option<(PathBuf, Option<PathBuf>)>,
    command: Vec<String>,
    environment: BTreeMap<String, String>,
    /// Where the programs start.
    directory: PathBuf,
}

/// How much the processes of an environment are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Walls {
    /// A root like Lambda's, in namespaces.
    Rooted,
    /// A keeper finds and kills what they start.
    Kept,
    /// The runtime is a child like any.
    None,
}

impl Walls {
    /// How many processes of layerwise's own there are above the environment's, below it.
    pub(super) const fn own(self) -> u32 {
        match self {
            Self::Rooted => 2,
            Self::Kept => 1,
            Self::None => 0,
        }
    }
}

/// A started environment.
pub(super) struct Launched {
    pub child: Child,
    pub walls: Walls,
    pub control: Control,
    /// What extensions write.
    pub extension_log: Option<Pipe>,
}

/// What whoever keeps an environment tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The runtime ended.
    Runtime(Exit),
    /// An extension ended or could not be started: its name, the type of error, what to say.
    Lost(String, &'static str, String),
}

/// The line to whoever keeps an environment.
#[derive(Default)]
pub(super) struct Control {
    line: Option<Line>,
    heard: Vec<u8>,
}

/// Asks the runtime to end.
const TERMINATE: u8 = b'T';
/// Kills the runtime.
const KILL: u8 = b'K';

impl Control {
    /// What is told next; never, where nobody tells. Nothing is lost when this is not waited for.
    pub(super) async fn told(&mut self) -> Told {
        use tokio::io::AsyncReadExt as _;
        loop {
            while let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.heard.drain(..=end).collect();
                if let Some(told) = parse(String::from_utf8_lossy(&line).trim_end()) {
                    return told;
                }
            }
            let Some(line) = &mut self.line else { return std::future::pending().await };
            if !matches!(line.read_buf(&mut self.heard).await, Ok(1..)) {
                self.line = None;
            }
        }
    }

    /// Sends one byte. Who has ended does not need it.
    fn send(&self, byte: u8) {
        #[cfg(unix)]
        if let Some(line) = &self.line {
            drop(line.try_write(&[byte]));
        }
        #[cfg(not(unix))]
        let _ = byte;
    }
}

fn parse(line: &str) -> Option<Told> {
    let parts: Vec<&str> = line.splitn(4, '\t').collect();
    match parts.as_slice() {
        ["runtime", "code", code] => Some(Told::Runtime(Exit::Code(code.parse().ok()?))),
        ["runtime", "signal", signal] => Some(Told::Runtime(Exit::Signal(signal.parse().ok()?))),
        ["crashed", name, said] => Some(Told::Lost((*name).to_owned(), "Extension.Crash", (*said).to_owned())),
        ["unstarted", name, said] => Some(Told::Lost((*name).to_owned(), "Extension.LaunchError", (*said).to_owned())),
        _ => None,
    }
}

/// MB of `/tmp`: Lambda's default.
const TMP: u32 = 512;

/// The programs in `/opt/extensions` that are started.
pub(super) fn extensions(function: &Function) -> Vec<String> {
    if !cfg!(target_os = "linux") {
        return Vec::new();
    }
    let entries = function.opt.iter().flat_map(|opt| fs_err::read_dir(opt.join("extensions"))).flatten().flatten();
    let files = entries.filter(|entry| entry.metadata().is_ok_and(|about| about.is_file()));
    let mut names: Vec<String> = files.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Where and how the processes of an environment are started.
pub(super) struct Place<'a> {
    /// layerwise itself.
    pub program: &'a Path,
    /// A directory of the environment's own.
    pub scratch: &'a Path,
    /// Address and port of its Runtime API.
    pub runtime_api: &'a str,
    /// Its own address.
    pub address: &'a str,
    /// Its log stream.
    pub stream: &'a str,
    /// Variables before the function's own.
    pub surroundings: &'a [(String, String)],
    /// With a root like Lambda's, where there can be one.
    pub isolate: bool,
}

/// Starts the processes of `function`.
pub(super) fn launch(function: &Function, place: &Place<'_>) -> std::io::Result<Launched> {
    let walls = match place.isolate {
        _ if !cfg!(target_os = "linux") => Walls::None,
        true => Walls::Rooted,
        false => Walls::Kept,
    };
    let rooted = walls == Walls::Rooted;
    let mut environment = environment(function, place, rooted);
    let python = &function.python;
    let inside = python.path.strip_prefix(&python.prefix).unwrap_or(&python.path);
    let interpreter = if rooted { Path::new("/var/lang").join(inside) } else { python.path.clone() };
    let bootstrap = if rooted { "/var/runtime/bootstrap.py".into() } else { function.runtime.dir.join("bootstrap.py") };
    let mut words: Vec<String> = Vec::new();
    if let Some(emulator) = &python.emulator {
        words.push(if rooted { "/run/layerwise/qemu".to_owned() } else { emulator.program.display().to_string() });
        if let Some(sysroot) = &emulator.sysroot {
            let at = if rooted { "/run/layerwise/sysroot".to_owned() } else { sysroot.display().to_string() };
            words.extend(["-L".to_owned(), at]);
        }
    }
    words.extend([interpreter.display().to_string(), "-u".to_owned(), bootstrap.display().to_string()]);
    if let Some(wrapper) = environment.get("AWS_LAMBDA_EXEC_WRAPPER") {
        words.insert(0, wrapper.clone());
    }
    if !rooted {
        environment.insert("_LAYERWISE_OPT".to_owned(), opt_here(function));
        let tmp = place.scratch.join("tmp");
        fs_err::create_dir_all(&tmp)?;
        environment.insert("TMPDIR".to_owned(), tmp.display().to_string());
    }
    if walls == Walls::None {
        let (first, rest) = words.split_first().expect("there is at least the interpreter");
        let mut command = Command::new(first);
        command.args(rest).env_clear().envs(environment).current_dir(&function.code).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        return Ok(Launched { child: command.spawn()?, walls, control: Control::default(), extension_log: None });
    }
    let opt = if rooted { "/opt".to_owned() } else { opt_here(function) };
    let extensions: Vec<_> =
        extensions(function).into_iter().map(|name| (name.clone(), format!("{opt}/extensions/{name}"))).collect();
    let mount_point = place.scratch.join("root");
    fs_err::create_dir_all(&mount_point)?;
    let spec = Spec {
        mount_point,
        code: function.code.clone(),
        opt: function.opt.clone(),
        lang: python.prefix.clone(),
        runtime: function.runtime.dir.clone(),
        minor: function.target.runtime.minor,
        tmp: TMP,
        parent: std::process::id(),
        address: place.address.to_owned(),
        extensions,
        extension_log: place.scratch.join("extensions"),
        emulator: python.emulator.as_ref().map(|one| (one.program.clone(), one.sysroot.clone())),
        command: words,
        environment,
        directory: if rooted { "/var/task".into() } else { function.code.clone() },
    };
    kept(&spec, walls, place)
}

/// Starts whoever keeps the programs of `spec`.
#[cfg(target_os = "linux")]
fn kept(spec: &Spec, walls: Walls, place: &Place<'_>) -> std::io::Result<Launched> {
    let spec_file = place.scratch.join("spec.json");
    fs_err::write(&spec_file, serde_json::to_vec(spec)?)?;
    let extension_log = match spec.extensions.is_empty() {
        true => None,
        false => {
            drop(fs_err::remove_file(&spec.extension_log));
            nix::unistd::mkfifo(&spec.extension_log, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR)?;
            // Written to by us as well, so that it never ends.
            let mut options = tokio::net::unix::pipe::OpenOptions::new();
            Some(options.read_write(true).open_receiver(&spec.extension_log)?)
        }
    };
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let mut command = Command::new(place.program);
    command.arg(if walls == Walls::Rooted { OUTER } else { KEEPER }).arg(spec_file).env_clear();
    // Ctrl-C goes to the terminal's whole group: it must not reach what is to be ended in order.
    command.process_group(0);
    command.stdin(std::os::fd::OwnedFd::from(theirs)).stdout(Stdio::piped()).stderr(Stdio::piped());
    let control = Control { line: Some(Line::from_std(ours)?), heard: Vec::new() };
    Ok(Launched { child: command.spawn()?, walls, control, extension_log })
}

#[cfg(not(target_os = "linux"))]
fn kept(_: &Spec, _: Walls, _: &Place<'_>) -> std::io::Result<Launched> {
    Err(std::io::ErrorKind::Unsupported.into())
}

fn opt_here(function: &Function) -> String {
    function.opt.as_ref().map_or_else(|| "/opt".to_owned(), |opt| opt.display().to_string())
}

impl Launched {
    /// Asks the runtime to end (SIGTERM).
    pub(super) fn terminate(&self) {
        self.control.send(TERMINATE);
    }

    /// Kills the runtime; extensions stay.
    pub(super) fn kill_runtime(&self) {
        self.control.send(KILL);
    }

    /// Kills all.
    pub(super) fn kill(&mut self) {
        self.control.line = None;
        // The keeper itself has to stay until it has killed all others.
        if self.walls != Walls::Kept {
            drop(self.child.start_kill());
        }
    }

    /// How the first process ended. `runtime_api`: the environment's.
    pub(super) fn exit(&self, ended: std::process::ExitStatus, runtime_api: &str) -> Exit {
        #[cfg(unix)]
        if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&ended) {
            #[cfg(target_os = "linux")]
            if self.walls == Walls::Kept {
                linux::end_forsaken(runtime_api);
            }
            return Exit::Signal(signal);
        }
        let _ = runtime_api;
        Exit::Code(ended.code().unwrap_or(1))
    }
}

/// The variables of the managed runtime, then the function's own.
///
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>; values as on Lambda.
fn environment(function: &Function, place: &Place<'_>, isolated: bool) -> BTreeMap<String, String> {
    let machine = function.target.architecture.machine();
    let task = if isolated { "/var/task".to_owned() } else { function.code.display().to_string() };
    let runtime = if isolated { "/var/runtime".to_owned() } else { function.runtime.dir.display().to_string() };
    let own = format!("lib/python3.{}/site-packages", function.target.runtime.minor);
    // Debian's Python has none, where the client could be.
    let site_packages = match isolated && function.python.prefix.join(&own).is_dir() {
        true => format!("/var/lang/{own}"),
        false => format!("{runtime}/site-packages"),
    };
    let opt = if isolated { "/opt".to_owned() } else { opt_here(function) };
    // The host's own libraries are Lambda's /lib64.
    let libraries = format!(
        "/var/lang/lib:/lib64:/usr/lib64:/lib/{machine}-linux-gnu:/usr/lib/{machine}-linux-gnu:\
         {runtime}:{runtime}/lib:{task}:{task}/lib:{opt}/lib"
    );
    let name = &function.name;
    let memory = function.memory.to_string();
    let group = function.log_group();
    let execution = format!("AWS_Lambda_{}", function.target.runtime.name);
    let fixed: [(&str, &str); 27] = [
        ("_HANDLER", &function.handler),
        ("_LAYERWISE_RUNTIME", &site_packages),
        ("AWS_ACCESS_KEY_ID", "layerwise"),
        ("AWS_SECRET_ACCESS_KEY", "layerwise"),
        ("AWS_SESSION_TOKEN", "layerwise"),
        ("AWS_DEFAULT_REGION", super::REGION),
        ("AWS_REGION", super::REGION),
        ("AWS_EXECUTION_ENV", &execution),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &memory),
        ("AWS_LAMBDA_FUNCTION_NAME", name),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", &group),
        ("AWS_LAMBDA_LOG_STREAM_NAME", place.stream),
        ("AWS_LAMBDA_RUNTIME_API", place.runtime_api),
        // Lambda's is 169.254.100.1; what is sent to this one does not leave the machine.
        ("AWS_XRAY_DAEMON_ADDRESS", "127.0.0.1:2000"),
        ("_AWS_XRAY_DAEMON_ADDRESS", "127.0.0.1"),
        ("_AWS_XRAY_DAEMON_PORT", "2000"),
        ("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR"),
        ("LAMBDA_RUNTIME_DIR", &runtime),
        ("LAMBDA_TASK_ROOT", &task),
        ("LANG", "en_US.UTF-8"),
        ("LD_LIBRARY_PATH", &libraries),
        ("PATH", "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin"),
        ("PWD", &task),
        ("SHLVL", "0"),
        ("TZ", ":UTC"),
    ];
    let mut environment: BTreeMap<String, String> =
        fixed.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    if function.target.runtime.minor >= 12 {
        environment.insert("LC_CTYPE".to_owned(), "C.UTF-8".to_owned());
    }
    environment.extend(place.surroundings.iter().cloned());
    environment.extend(function.environment.clone());
    environment
}

/// Is one of the processes that keep an environment; `args`: the file with the [`Spec`].
///
/// # Errors
/// The kernel refuses namespaces or mounts; the program cannot be started.
#[cfg(target_os = "linux")]
pub fn run(stage: &str, args: &[std::ffi::OsString], exe: &Path) -> std::io::Result<i32> {
    let odd = || std::io::Error::other("not called as layerwise calls itself");
    let [spec_file] = args else { return Err(odd()) };
    let spec: Spec = serde_json::from_slice(&fs_err::read(spec_file)?)?;
    match stage {
        OUTER => linux::outer(exe, spec_file, &spec),
        INNER => linux::inner(&spec),
        KEEPER => linux::keeper(&spec),
        _ => Err(odd()),
    }
}

/// There are no namespaces here.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn run(_: &str, _: &[std::ffi::OsString], _: &Path) -> std::io::Result<i32> {
    Err(std::io::Error::from(std::io::ErrorKind::Unsupported))
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;
    use std::ffi::OsString;
    use std::fs::File;
    use std::io::{self, Read as _, Write as _};
    use std::os::fd::AsFd as _;
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::thread;
    use std::time::Duration;

    use fs_err as fs;
    use nix::errno::Errno;
    use nix::mount::{MsFlags, mount};
    use nix::sched::CloneFlags;
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    use nix::sys::signal::{Signal, kill};
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::Pid;

    use super::super::processes;
    use super::{KILL, Spec, TERMINATE};
    use crate::namespaces::{become_user, begin_root, bind, devices, enter, finish_root, show, within};

    /// The user that functions run as on Lambda (`sbx_user1051`).
    const USER: u32 = 993;
    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nsbx_user1051:x:993:990::/home/sbx_user1051:/sbin/nologin\n";
    /// Open files, and processes and threads.
    ///
    /// Source: <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>.
    const MOST: u64 = 1024;

    pub(super) fn outer(exe: &Path, spec_file: &OsString, spec: &Spec) -> io::Result<i32> {
        enter(CloneFlags::empty()).map_err(|error| io::Error::other(format!("failed to make namespaces: {error}")))?;
        // It may have ended before our life was bound to its: then nobody would end us.
        if nix::unistd::getppid().as_raw().unsigned_abs() != spec.parent {
            return Ok(1);
        }
        let status = Command::new(exe).arg(super::INNER).arg(spec_file).status()?;
        Ok(status.code().unwrap_or(1))
    }

    pub(super) fn inner(spec: &Spec) -> io::Result<i32> {
        let log = extension_log(spec)?;
        prepare(spec)?;
        // All that we may signal is in our namespace, and not we.
        keep(spec, log, || {
            // There may be nobody left.
            kill(Pid::from_raw(-1), Signal::SIGKILL).ok();
        })
    }

    /// Where there are no namespaces. A process whose parent ends becomes our child, so all of them stay below us.
    pub(super) fn keeper(spec: &Spec) -> io::Result<i32> {
        nix::sys::prctl::set_child_subreaper(true)?;
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, MOST.min(hard), MOST.min(hard))?;
        setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
        keep(spec, extension_log(spec)?, || {
            for (process, _) in processes::below(std::process::id()) {
                if let Ok(number) = i32::try_from(process) {
                    // It may have ended by now.
                    kill(Pid::from_raw(number), Signal::SIGKILL).ok();
                }
            }
        })
    }

    /// A keeper that was killed itself could not end what it kept. Those that were started for the environment have the
    /// address of its Runtime API among their variables.
    pub(super) fn end_forsaken(runtime_api: &str) {
        /// Who forks meanwhile is found in the next round.
        const ROUNDS: u32 = 20;
        let variable = format!("AWS_LAMBDA_RUNTIME_API={runtime_api}");
        for _ in 0..ROUNDS {
            let found = processes::with_variable(&variable);
            if found.is_empty() {
                return;
            }
            for process in found.into_iter().filter_map(|process| i32::try_from(process).ok()) {
                // It may have ended by now.
                kill(Pid::from_raw(process), Signal::SIGKILL).ok();
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Opened while its place is still there.
    fn extension_log(spec: &Spec) -> io::Result<Option<File>> {
        let open = || File::options().write(true).open(&spec.extension_log);
        (!spec.extensions.is_empty()).then(open).transpose()
    }

    /// Starts the extensions and the runtime, tells how they end, and ends when nothing that they started is left.
    fn keep(spec: &Spec, log: Option<File>, kill_all: fn()) -> io::Result<i32> {
        let mut line = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let mut orders = line.try_clone()?;
        // Kills again and again: who forks faster than he is killed comes to an end, too.
        let end = move || {
            thread::spawn(move || {
                let mut pause = Duration::from_millis(1);
                loop {
                    kill_all();
                    thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(50));
                }
            });
        };
        let mut extensions: BTreeMap<i32, &str> = BTreeMap::new();
        for (name, path) in &spec.extensions {
            let mut command = Command::new(path);
            command.env_clear().current_dir(&spec.directory).stdin(Stdio::null());
            command.envs(spec.environment.iter().filter(|(name, _)| !NOT_FOR_EXTENSIONS.contains(&name.as_str())));
            if let Some(log) = &log {
                command.stdout(log.try_clone()?).stderr(log.try_clone()?);
            }
            match command.spawn() {
                Ok(child) => drop(extensions.insert(Pid::from_raw(child.id().cast_signed()).as_raw(), name)),
                Err(error) => {
                    writeln!(line, "unstarted\t{name}\tfork/exec {path}: {error}")?;
                    end();
                }
            }
        }
        // Theirs alone.
        drop(log);
        let (program, arguments) = spec.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(&spec.environment).current_dir(&spec.directory).stdin(Stdio::null());
        let runtime = match command.spawn() {
            Ok(child) => child.id().cast_signed(),
            Err(error) => {
                writeln!(io::stderr(), "failed to start {}: {error}", spec.command.join(" "))?;
                // As a shell would: not there, or not to be executed.
                writeln!(line, "runtime\tcode\t{}", if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 })?;
                end();
                0
            }
        };
        thread::spawn(move || {
            let mut order = [0];
            while let Ok(1) = orders.read(&mut order) {
                let signal = match order {
                    [TERMINATE] => Signal::SIGTERM,
                    [KILL] => Signal::SIGKILL,
                    _ => continue,
                };
                if runtime != 0 {
                    // It may have ended by now.
                    kill(Pid::from_raw(runtime), signal).ok();
                }
            }
            end();
        });
        let (mut running, mut ending) = (runtime != 0, false);
        loop {
            // Orphans are ours, too.
            let ended = match waitpid(None, None) {
                Ok(WaitStatus::Exited(process, code)) => (process.as_raw(), format!("code\t{code}"), code),
                Ok(WaitStatus::Signaled(process, signal, _)) => {
                    (process.as_raw(), format!("signal\t{}", signal as i32), 128 + signal as i32)
                }
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(_) => return Ok(0),
            };
            // Who listens may be gone; then all are killed soon.
            if ended.0 == runtime {
                running = false;
                writeln!(line, "runtime\t{}", ended.1).ok();
            } else if let Some(name) = extensions.remove(&ended.0) {
                writeln!(line, "crashed\t{name}\texit code {}", ended.2).ok();
            }
            if !running && extensions.is_empty() && !ending {
                ending = true;
                end();
            }
        }
    }

    /// What the runtime has and extensions do not.
    ///
    /// Source: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>, "Environment variables".
    const NOT_FOR_EXTENSIONS: [&str; 12] = [
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_XRAY_CONTEXT_MISSING",
        "AWS_XRAY_DAEMON_ADDRESS",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
        "_AWS_XRAY_DAEMON_ADDRESS",
        "_AWS_XRAY_DAEMON_PORT",
        "_HANDLER",
        "_LAYERWISE_OPT",
        "_LAYERWISE_RUNTIME",
    ];

    fn prepare(spec: &Spec) -> io::Result<()> {
        let root = &spec.mount_point;
        begin_root(root)?;
        let within = |path: &str| within(root, Path::new(path));
        for name in ["resolv.conf", "nsswitch.conf", "ssl", "pki", "ca-certificates", "localtime"] {
            let path = Path::new("/etc").join(name);
            if path.exists() {
                show(&path, &within("/etc").join(name), true)?;
            }
        }
        fs::create_dir_all(within("/etc"))?;
        fs::write(within("/etc/passwd"), PASSWD)?;
        // The name that extensions listen at, as on Lambda; an address of its own, so that environments do not collide.
        let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
        fs::write(within("/etc/hosts"), format!("{hosts}\n{} sandbox.localdomain sandbox\n", spec.address))?;
        // No /dev/shm: Lambda has none.
        devices(root)?;
        show(&spec.lang, &within("/var/lang"), true)?;
        let site_packages = within(&format!("/var/lang/lib/python3.{}/site-packages", spec.minor));
        if site_packages.is_dir() {
            bind(&spec.runtime.join("site-packages"), &site_packages, true)?;
        }
        show(&spec.runtime, &within("/var/runtime"), true)?;
        show(&spec.code, &within("/var/task"), true)?;
        match &spec.opt {
            Some(opt) => show(opt, &within("/opt"), true)?,
            None => fs::create_dir_all(within("/opt"))?,
        }
        if let Some((program, sysroot)) = &spec.emulator {
            show(program, &within("/run/layerwise/qemu"), true)?;
            if let Some(sysroot) = sysroot {
                show(sysroot, &within("/run/layerwise/sysroot"), true)?;
            }
        }
        fs::create_dir_all(within("/tmp"))?;
        let size = format!("mode=1777,size={}m", spec.tmp);
        let closed = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("tmpfs"), &within("/tmp"), Some("tmpfs"), closed, Some(size.as_str()))?;
        finish_root(root, MOST)?;
        become_user(USER, &[(Resource::RLIMIT_NOFILE, MOST), (Resource::RLIMIT_NPROC, MOST)])
    }
}
