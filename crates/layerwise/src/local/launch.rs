//! The processes of an execution environment.
//!
//! On Linux they see a root like Lambda's: `/var/task` and `/opt` at their places and read-only, a `/tmp` of their own,
//! Python under `/var/lang`, no other process. layerwise calls itself for this, twice, as a build does
//! (`compile/sandbox.rs`): the first process makes the namespaces; the second is the first process in them, starts
//! extensions and the runtime, and ends when the runtime does. Nothing outlives it: the kernel kills what is in its
//! namespace. When layerwise closes the second process's standard input, all are sent SIGTERM.
//!
//! Where namespaces are refused, or there are none, the runtime is started as it is; the environment's log says so.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};

use super::Function;
use super::environment::Exit;

/// The hidden commands that are the two processes.
pub const OUTER: &str = "__lambda";
/// See [`OUTER`].
pub const INNER: &str = "__lambda-inner";

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
    /// Programs of `/opt/extensions`.
    extensions: Vec<String>,
    /// The emulator and the root of the other architecture.
    emulator: Option<(PathBuf, Option<PathBuf>)>,
    command: Vec<String>,
    environment: BTreeMap<String, String>,
    /// Where the second process writes how the runtime ended.
    status: PathBuf,
}

/// A started environment.
pub(super) struct Launched {
    pub child: Child,
    /// Its root is like Lambda's.
    pub isolated: bool,
    status: PathBuf,
}

/// MB of `/tmp`: Lambda's default.
const TMP: u32 = 512;

/// The programs in `/opt/extensions`.
pub(super) fn extensions(function: &Function) -> Vec<String> {
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
    /// Its log stream.
    pub stream: &'a str,
    /// Variables before the function's own.
    pub surroundings: &'a [(String, String)],
    /// With a root like Lambda's.
    pub isolate: bool,
}

/// Starts the processes of `function`.
pub(super) fn launch(function: &Function, place: &Place<'_>) -> std::io::Result<Launched> {
    let Place { program, scratch, isolate, .. } = *place;
    let mount_point = scratch.join("root");
    fs_err::create_dir_all(&mount_point)?;
    let status = scratch.join("status");
    drop(fs_err::remove_file(&status));
    let isolated = isolate && cfg!(target_os = "linux");
    let mut environment = environment(function, place, isolated);
    let python = &function.python;
    let inside = python.path.strip_prefix(&python.prefix).unwrap_or(&python.path);
    let interpreter = if isolated { Path::new("/var/lang").join(inside) } else { python.path.clone() };
    let bootstrap =
        if isolated { "/var/runtime/bootstrap.py".into() } else { function.runtime.dir.join("bootstrap.py") };
    let mut words: Vec<String> = Vec::new();
    if let Some(emulator) = &python.emulator {
        words.push(if isolated { "/run/layerwise/qemu".to_owned() } else { emulator.program.display().to_string() });
        if let Some(sysroot) = &emulator.sysroot {
            let at = if isolated { "/run/layerwise/sysroot".to_owned() } else { sysroot.display().to_string() };
            words.extend(["-L".to_owned(), at]);
        }
    }
    words.extend([interpreter.display().to_string(), "-u".to_owned(), bootstrap.display().to_string()]);
    if let Some(wrapper) = environment.get("AWS_LAMBDA_EXEC_WRAPPER") {
        words.insert(0, wrapper.clone());
    }
    let mut command;
    if isolated {
        let spec = Spec {
            mount_point,
            code: function.code.clone(),
            opt: function.opt.clone(),
            lang: python.prefix.clone(),
            runtime: function.runtime.dir.clone(),
            minor: function.target.runtime.minor,
            tmp: TMP,
            extensions: extensions(function),
            emulator: python.emulator.as_ref().map(|one| (one.program.clone(), one.sysroot.clone())),
            command: words,
            environment,
            status: status.clone(),
        };
        let spec_file = scratch.join("spec.json");
        fs_err::write(&spec_file, serde_json::to_vec(&spec)?)?;
        command = Command::new(program);
        command.arg(OUTER).arg(spec_file).env_clear();
    } else {
        environment.insert("_LAYERWISE_OPT".to_owned(), opt_here(function));
        environment.insert("TMPDIR".to_owned(), scratch.display().to_string());
        let (first, rest) = words.split_first().expect("there is at least the interpreter");
        command = Command::new(first);
        command.args(rest).env_clear().envs(environment).current_dir(&function.code);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    Ok(Launched { child: command.spawn()?, isolated, status })
}

fn opt_here(function: &Function) -> String {
    function.opt.as_ref().map_or_else(|| "/opt".to_owned(), |opt| opt.display().to_string())
}

impl Launched {
    /// How the runtime ended, once the child has.
    pub(super) fn exit(&self, ended: std::process::ExitStatus) -> Exit {
        let told = fs_err::read_to_string(&self.status).unwrap_or_default();
        let number = |text: &str| text.trim().parse::<i32>().ok();
        if let Some(code) = told.strip_prefix("code ").and_then(number) {
            return Exit::Code(code);
        }
        if let Some(signal) = told.strip_prefix("signal ").and_then(number) {
            return Exit::Signal(signal);
        }
        #[cfg(unix)]
        if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&ended) {
            return Exit::Signal(signal);
        }
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
    let site_packages = if isolated {
        format!("/var/lang/lib/python3.{}/site-packages", function.target.runtime.minor)
    } else {
        format!("{runtime}/site-packages")
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
    let fixed: [(&str, &str); 24] = [
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
        ("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR"),
        ("LAMBDA_RUNTIME_DIR", &runtime),
        ("LAMBDA_TASK_ROOT", &task),
        ("LANG", "en_US.UTF-8"),
        ("LC_CTYPE", "C.UTF-8"),
        ("LD_LIBRARY_PATH", &libraries),
        ("PATH", "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin"),
        ("PWD", &task),
        ("TZ", ":UTC"),
    ];
    let mut environment: BTreeMap<String, String> =
        fixed.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    environment.extend(place.surroundings.iter().cloned());
    environment.extend(function.environment.clone());
    environment
}

/// Is one of the two processes; `args`: the file with the [`Spec`].
///
/// # Errors
/// The kernel refuses namespaces or mounts; the program cannot be started.
#[cfg(target_os = "linux")]
pub fn run(stage: &str, args: &[std::ffi::OsString], exe: &Path) -> std::io::Result<i32> {
    let odd = || std::io::Error::other("not called as layerwise calls itself");
    let [spec_file] = args else { return Err(odd()) };
    match stage {
        OUTER => linux::outer(exe, spec_file),
        INNER => linux::inner(&serde_json::from_slice(&fs_err::read(spec_file)?)?),
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
    use std::ffi::OsString;
    use std::io::{self, Read as _, Write as _};
    use std::path::Path;
    use std::process::{Command, Stdio};

    use fs_err as fs;
    use nix::mount::{MsFlags, mount};
    use nix::sched::CloneFlags;
    use nix::sys::resource::Resource;
    use nix::sys::signal::{Signal, kill};
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::Pid;

    use super::{INNER, Spec};
    use crate::namespaces::{become_user, begin_root, bind, devices, enter, finish_root, show, within};

    /// The user that functions run as on Lambda (`sbx_user1051`).
    const USER: u32 = 993;
    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nsbx_user1051:x:993:990::/home/sbx_user1051:/sbin/nologin\n";
    /// Open files, and processes and threads.
    ///
    /// Source: <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>.
    const MOST: u64 = 1024;

    pub(super) fn outer(exe: &Path, spec_file: &OsString) -> io::Result<i32> {
        enter(CloneFlags::empty())?;
        let status = Command::new(exe).arg(INNER).arg(spec_file).status()?;
        Ok(status.code().unwrap_or(1))
    }

    pub(super) fn inner(spec: &Spec) -> io::Result<i32> {
        // Opened while its place is still there.
        let mut status = fs::File::create(&spec.status)?;
        prepare(spec)?;
        let start = |words: &[String]| -> io::Result<u32> {
            let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
            let mut command = Command::new(program);
            command.args(arguments).env_clear().envs(&spec.environment).current_dir("/var/task");
            Ok(command.stdin(Stdio::null()).spawn()?.id())
        };
        for name in &spec.extensions {
            if let Err(error) = start(&[format!("/opt/extensions/{name}")]) {
                writeln!(io::stderr(), "EXTENSION\tName: {name}\tState: LaunchError\tError: {error}")?;
                write!(status, "code 1")?;
                return Ok(1);
            }
        }
        let runtime = match start(&spec.command) {
            Ok(pid) => pid,
            Err(error) => {
                writeln!(io::stderr(), "failed to start {}: {error}", spec.command.join(" "))?;
                // As a shell would: not there, or not to be executed.
                let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
                write!(status, "code {code}")?;
                return Ok(code);
            }
        };
        // The end of our standard input: all are asked to end.
        std::thread::spawn(|| {
            drop(io::stdin().read_to_end(&mut Vec::new()));
            // There may be nobody left.
            kill(Pid::from_raw(-1), Signal::SIGTERM).ok();
        });
        loop {
            // Orphans are ours, too.
            match waitpid(None, None).map_err(io::Error::from)? {
                WaitStatus::Exited(pid, code) if pid.as_raw().unsigned_abs() == runtime => {
                    write!(status, "code {code}")?;
                    return Ok(code);
                }
                WaitStatus::Signaled(pid, signal, _) if pid.as_raw().unsigned_abs() == runtime => {
                    write!(status, "signal {}", signal as i32)?;
                    return Ok(1);
                }
                _ => {}
            }
        }
    }

    fn prepare(spec: &Spec) -> io::Result<()> {
        let root = &spec.mount_point;
        begin_root(root)?;
        let within = |path: &str| within(root, Path::new(path));
        for name in ["resolv.conf", "hosts", "nsswitch.conf", "ssl", "pki", "ca-certificates", "localtime"] {
            let path = Path::new("/etc").join(name);
            if path.exists() {
                show(&path, &within("/etc").join(name), true)?;
            }
        }
        fs::create_dir_all(within("/etc"))?;
        fs::write(within("/etc/passwd"), PASSWD)?;
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
        finish_root(root)?;
        become_user(USER, &[(Resource::RLIMIT_NOFILE, MOST), (Resource::RLIMIT_NPROC, MOST)])
    }
}
