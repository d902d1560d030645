//! Building from source distributions that bring their own build backend: what a build may see and do, and what
//! comes of it when it misbehaves. (Real compilers are in `real_index.rs`.)

#![cfg(target_os = "linux")]

use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use layerwise_testkit::{Cli, Index, Sdist, python, sdist};

use super::{archive, files_below, json, layerwise, sha256_of};

/// The kit's backend with something to do first, whose answer becomes the module `report`.
fn backend(before: &str) -> String {
    format!(
        "import json, os, pathlib, subprocess, sys, time, zipfile\n\
         def build_wheel(out, config_settings=None, metadata_directory=None):\n    \
             report = {{}}\n{}\n    \
             name = 'hostile-1.0-py3-none-any.whl'\n    \
             info = 'hostile-1.0.dist-info/'\n    \
             with zipfile.ZipFile(os.path.join(out, name), 'w') as z:\n        \
                 z.writestr('report.py', json.dumps(report, indent=1, sort_keys=True))\n        \
                 z.writestr(info + 'METADATA', 'Metadata-Version: 2.2\\nName: hostile\\nVersion: 1.0\\n')\n        \
                 z.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n        \
                 z.writestr(info + 'RECORD', '')\n    \
             return name\n",
        before.lines().map(|line| format!("    {line}\n")).collect::<String>()
    )
}

fn hostile(before: &str) -> Sdist {
    sdist("hostile", "1.0").file("backend.py", backend(before)).build()
}

/// A build of `package` alone; `None`, said aloud, where this machine has no Python for it.
fn build(index: Index, package: &str) -> Option<(Cli, layerwise_testkit::Served)> {
    let Some(python) = python(13) else {
        drop(writeln!(std::io::stderr(), "SKIPPED: no Python 3.13 to build with"));
        return None;
    };
    let served = index.serve();
    let cli = layerwise(&served, &format!("build -p {package} --runtime python3.13 --name demo -o demo.zip"));
    Some((cli.path(python.parent().unwrap()), served))
}

/// What the hostile backend saw; `None`, said aloud, where builds cannot be walled in here.
fn report(before: &str) -> Option<serde_json::Value> {
    let (cli, _served) = build(Index::new().sdist(hostile(before)), "hostile")?;
    let secret = cli.home().join("secret");
    fs_err::write(&secret, "token").unwrap();
    let cli = cli.env("AWS_SECRET_ACCESS_KEY", "hidden");
    drop(cli.run().success());
    assert!(fs_err::read_to_string(&secret).unwrap() == "token");
    let records = files_below(&cli.cache().join("built-v1"));
    let record = records.iter().find(|name| !name.starts_with("chosen-")).unwrap();
    let record = fs_err::read_to_string(cli.cache().join("built-v1").join(record)).unwrap();
    if !record.contains("\"Ok\": null") {
        drop(writeln!(std::io::stderr(), "SKIPPED: builds are not isolated on this machine: {record}"));
        return None;
    }
    Some(serde_json::from_str(&content(&cli, "python/report.py")).unwrap())
}

/// One file of the zip that was built.
#[track_caller]
fn content(cli: &Cli, path: &str) -> String {
    let members = archive::read(&cli.project().join("demo.zip"));
    members.iter().find(|member| member.name == path).unwrap().text().to_owned()
}

#[test]
fn a_pure_one_is_built_and_cached() {
    let pure = || sdist("pure", "1.0").file("src/pure.py", "x = 1\n").requires("dep").build();
    let dep = || layerwise_testkit::wheel("dep", "1").file("dep.py", "").build();
    let Some((cli, _served)) = build(Index::new().sdist(pure()).wheel(dep()), "pure") else { return };
    let first = cli.run().success();
    assert!(first.stderr.contains("pure 1.0 is built from source: it has no wheels"), "{first}");
    let sha256 = sha256_of(&first);
    assert_eq!((content(&cli, "python/pure.py").as_str(), content(&cli, "python/dep.py").as_str()), ("x = 1\n", ""));
    // From the cache, with nothing that could build.
    let cached = cli.args(super::words("build -p pure --runtime python3.13 --name demo -o demo.zip --offline --json"));
    let again = cached.run().success();
    assert_eq!(json(&again)["layers"][0]["sha256"], sha256.as_str());
    // Elsewhere: the same bytes.
    let Some((other, _served)) = build(Index::new().sdist(pure()).wheel(dep()), "pure") else { return };
    assert_eq!(sha256_of(&other.run().success()), sha256);
}

/// A package that is never built to the same bytes twice.
fn random(requires: &str, before: &str) -> Sdist {
    let project = format!(
        "[project]\nname='hostile'\nversion='1.0'\n\
         [build-system]\nrequires=['{requires}']\nbuild-backend='backend'\nbackend-path=['.']\n"
    );
    let before = format!("report['random'] = os.urandom(8).hex()\n{before}");
    sdist("hostile", "1.0").file("backend.py", backend(&before)).file("pyproject.toml", project).build()
}

/// Builds it with `line`; what it says of `tool`, and its random number.
#[track_caller]
fn built(cli: Cli, line: &str) -> (Cli, String, String) {
    let cli = cli.args(super::words(line));
    drop(cli.run().success());
    let report: serde_json::Value = serde_json::from_str(&content(&cli, "python/report.py")).unwrap();
    let text = |key: &str| report[key].as_str().unwrap_or_default().to_owned();
    (cli, text("tool"), text("random"))
}

#[test]
fn a_built_wheel_is_known_by_what_its_build_required() {
    let index = |version: &str| {
        let tool = layerwise_testkit::wheel("tool", version).file("tool.py", format!("version = '{version}'\n"));
        Index::new().sdist(random("tool", "import tool\nreport['tool'] = tool.version")).wheel(tool.build()).serve()
    };
    let (first, second) = (index("1.0"), index("2.0"));
    let Some((cli, _served)) = build(Index::new(), "hostile") else { return };
    let line = |served: &layerwise_testkit::Served, more: &str| {
        format!("build -p hostile --runtime python3.13 --name demo -o demo.zip --default-index {} {more}", served.url())
    };
    let (cli, tool, one) = built(cli, &line(&first, ""));
    assert_eq!(tool, "1.0");
    // A newer release alone changes nothing, unless that is wanted.
    let (cli, tool, again) = built(cli, &line(&second, ""));
    assert_eq!((tool.as_str(), &again), ("1.0", &one));
    let (cli, tool, two) = built(cli, &line(&second, "--refresh"));
    assert_eq!(tool, "2.0");
    let (cli, _, again) = built(cli, &line(&second, ""));
    assert_eq!(again, two);
    // With what there was before, the wheel is there, too; nothing is built that has been.
    let (cli, _, again) = built(cli, &line(&second, "--refresh"));
    assert_eq!(again, two);
    let (_cli, tool, again) = built(cli, &line(&first, "--refresh"));
    assert_eq!((tool.as_str(), &again), ("1.0", &one));
}

/// Stand-ins for a toolchain of rustup in `dir`: they say what they are asked for, and rustup gets what it is told to.
fn rust(dir: &std::path::Path, version: &str) {
    let root = dir.join("toolchains/stable-x86_64-unknown-linux-gnu");
    let std = |triple: &str| root.join("lib/rustlib").join(triple).join("lib");
    fs_err::create_dir_all(std("x86_64-unknown-linux-gnu")).unwrap();
    fs_err::write(root.join("lib/rustlib/multirust-channel-manifest.toml"), "").unwrap();
    let rustc = format!("case $1 in --print) echo {} ;; *) echo rustc {version} ;; esac", root.display());
    let rustup = format!(
        "echo \"$@\" >> {0}/rustup.log\n[ -e {0}/no-network ] && echo 'error: could not download' >&2 && exit 1\n\
         mkdir -p {1}",
        dir.display(),
        std("aarch64-unknown-linux-gnu").display()
    );
    for (name, text) in [("rustc", rustc), ("cargo", String::new()), ("rustup", rustup)] {
        let path = dir.join(name);
        fs_err::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs_err::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
}

/// Runs it with somebody at a terminal who answers; whether it went well, and what was on the screen.
fn on_terminal(cli: &Cli, answer: &str) -> (bool, String) {
    let own = cli.command();
    let words: Vec<_> =
        [own.get_program()].into_iter().chain(own.get_args()).map(|word| word.to_str().unwrap()).collect();
    let mut command = std::process::Command::new("script");
    command.args(["-qefc", &words.join(" "), "/dev/null"]).current_dir(cli.project()).env("TERM", "xterm");
    command.envs(own.get_envs().filter_map(|(key, value)| Some((key, value?))));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The real index gives zig, which is there before anything is compiled, and setuptools-rust.
#[test]
fn rust_is_asked_for_and_remembered() {
    const TEST: &str = "rust_is_asked_for_and_remembered";
    let skipped = super::real_index::skipped;
    if std::env::var_os("LAYERWISE_SLOW_TESTS").is_none() {
        return skipped(TEST, "LAYERWISE_SLOW_TESTS is not set");
    }
    let Some(python) = python(11) else { return skipped(TEST, "there is no Python 3.11") };
    let Some(cli) = super::real_index::real(TEST) else { return };
    let bin = cli.home().join("rust");
    let package = random("setuptools-rust==1.12.0", "");
    let cli = cli.path(&bin).path(python.parent().unwrap()).path("/usr/bin").path("/bin");
    let cli = cli.file(&package.filename, &package.bytes).timeout(Duration::from_secs(600));
    let line =
        format!("build -p ./{} --compile hostile --runtime python3.11 --name demo -o demo.zip", package.filename);

    // Another Rust is another wheel; none at all is no reason to do without.
    rust(&bin, "1.90.0");
    let (cli, _, one) = built(cli, &line);
    let (cli, _, again) = built(cli, &line);
    assert_eq!(again, one);
    rust(&bin, "1.91.0");
    let (cli, _, other) = built(cli, &line);
    assert_ne!(other, one);
    rust(&bin, "1.90.0");
    let (cli, _, again) = built(cli, &line);
    assert_eq!(again, one);
    let hidden = bin.with_extension("hidden");
    fs_err::rename(&bin, &hidden).unwrap();
    let (cli, _, again) = built(cli, &line);
    assert_eq!(again, one);
    fs_err::rename(&hidden, &bin).unwrap();

    // A target that it lacks is added by rustup, if that may be.
    let asked = || fs_err::read_to_string(bin.join("rustup.log")).unwrap_or_default();
    let words = "target add --toolchain stable-x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu\n";
    let line = format!("{line} --arch arm64");
    let cli = cli.args(super::words(&line));
    let run = cli.run().failure(10);
    assert!(run.stderr.contains("rustc 1.90.0 has no standard library for aarch64-unknown-linux-gnu"), "{run}");
    assert!(run.stderr.contains("`--add-rust-targets`, which lets layerwise do that"), "{run}");
    let (well, said) = on_terminal(&cli, "n\n");
    assert!(!well && said.contains("hostile is written in Rust, and rustc 1.90.0 has no standard library"), "{said}");
    assert!(said.contains(&format!("Run `rustup {}`? [y/N]", words.trim())), "{said}");
    assert_eq!(asked(), "");
    fs_err::write(bin.join("no-network"), "").unwrap();
    let (well, said) = on_terminal(&cli, "y\n");
    assert!(!well && said.contains("failed: error: could not download"), "{said}");
    assert_eq!(asked(), words);
    fs_err::remove_file(bin.join("no-network")).unwrap();
    let (_cli, _, random) = built(cli, &format!("{line} --add-rust-targets"));
    assert!(!random.is_empty());
    assert_eq!(asked(), words.repeat(2));
}

#[test]
fn a_build_sees_neither_network_nor_home_nor_secrets_and_writes_nowhere() {
    let seen = report(
        "import socket\n\
         def tries(what):\n    \
             try:\n        \
                 what()\n        \
                 return True\n    \
             except OSError:\n        \
                 return False\n\
         report['network'] = tries(lambda: socket.create_connection(('127.0.0.1', 1), 1)) or len(os.listdir('/sys/class/net')) if os.path.exists('/sys') else 0\n\
         report['secrets'] = sorted(k for k in os.environ if 'AWS' in k)\n\
         report['home'] = os.environ['HOME']\n\
         report['homes'] = os.path.exists('/home') or os.path.exists('/root/secret')\n\
         report['writes'] = [p for p in ['/usr/x', '/etc/x', '/x', '/bin/x'] if tries(lambda: open(p, 'w'))]\n\
         numbers = ['/proc/sys/kernel/core_pattern', '/proc/sys/kernel/pid_max', '/proc/sys/vm/swappiness']\n\
         numbers += ['/proc/irq/default_smp_affinity', '/proc/sysrq-trigger']\n\
         report['machine'] = [p for p in numbers if tries(lambda: os.close(os.open(p, os.O_WRONLY)))]\n\
         report['machine'] += [p for p in ['/proc/keys', '/proc/kpagecount', '/proc/interrupts'] if tries(lambda: open(p, 'rb').read(1)) and open(p, 'rb').read(1)]\n\
         report['user'] = os.getuid()\n\
         report['cwd'] = os.getcwd()\n\
         report['processes'] = len([p for p in os.listdir('/proc') if p.isdigit()])\n\
         report['headers'] = os.listdir('/usr/include')\n\
         import multiprocessing\n\
         report['locks'] = tries(multiprocessing.Lock)\n\
         report['null'] = os.path.exists('/dev/null') and not os.path.isfile('/dev/null')",
    );
    let Some(seen) = seen else { return };
    let expected = serde_json::json!({
        "network": 0, "secrets": [], "home": "/build/home", "homes": false, "writes": [], "user": 1000,
        "cwd": "/build/src", "machine": [], "processes": 1, "headers": [], "locks": true, "null": true,
    });
    assert_eq!(seen, expected);
}

#[test]
fn python_speaks_for_the_target() {
    let seen = report(
        "import platform, sysconfig\n\
         report['machine'] = [platform.machine(), os.uname().machine, sysconfig.get_platform()]\n\
         report['suffix'] = sysconfig.get_config_var('EXT_SUFFIX')\n\
         report['cc'] = sysconfig.get_config_var('CC')\n\
         report['glibc'] = platform.libc_ver()[1]\n\
         report['include'] = sysconfig.get_path('include').startswith('/build/python')\n\
         report['host'] = [v for v in map(str, sysconfig.get_config_vars().values()) if '-Wl,-rpath' in v or '-L/' in v]",
    );
    let Some(seen) = seen else { return };
    let expected = serde_json::json!({
        "machine": ["x86_64", "x86_64", "linux-x86_64"], "suffix": ".cpython-313-x86_64-linux-gnu.so",
        "cc": "/build/shim/cc", "glibc": "2.34", "include": true, "host": [],
    });
    assert_eq!(seen, expected);
}

#[test]
fn what_compiles_is_refused_until_it_is_allowed() {
    for call in ["cc -c a.c", "/usr/bin/cc -c a.c", "cargo build"] {
        let calls = format!("subprocess.run({call:?}, shell=True)");
        let Some((cli, _served)) = build(Index::new().sdist(hostile(&calls)), "hostile") else { return };
        let run = cli.run();
        if call.starts_with('/') && run.code == Some(0) {
            continue; // No compiler there, or no walls to put the shim in its place.
        }
        let run = run.failure(4);
        assert!(run.stderr.contains("`hostile-1.0.tar.gz` has parts to compile"), "{run}");
        assert!(run.stderr.contains("hint: `--compile hostile` allows it"), "{run}");
        assert!(files_below(&cli.cache().join("built-v1")).is_empty());
    }
}

#[test]
fn failures_are_told_and_leave_nothing() {
    let check = |before: &str, expected: &[&str]| {
        let Some((cli, _served)) = build(Index::new().sdist(hostile(before)), "hostile") else { return };
        let run = cli.run().failure(10);
        for expected in expected {
            assert!(run.stderr.contains(expected), "{expected}\n{run}");
        }
        assert_eq!(files_below(&cli.cache().join("built-v1")), Vec::<String>::new());
        assert_eq!(files_below(&cli.cache().join("builds-v1")), Vec::<String>::new());
        let log = cli.cache().join("logs-v1/hostile-python3.13-x86_64.log");
        assert!(fs_err::metadata(log).unwrap().len() < 17 << 20);
    };
    check(
        "sys.exit('a.c:1:1: fatal error: \\'ffi.h\\' file not found')",
        &["it needs libffi", "the whole log is in `"],
    );
    check("print('x' * 100_000_000)\nsys.exit('error: too much')", &["failed to build `hostile-1.0.tar.gz`"]);
    check("open('/build/src/../../evil', 'w')", &["failed to build `hostile-1.0.tar.gz`"]);
    check("return '../../../../etc/passwd'", &["what `hostile-1.0.tar.gz` was built to cannot be used"]);
    check("return None", &["what `hostile-1.0.tar.gz` was built to cannot be used"]);
}

/// Processes without end: there is a limit, and all of them go with the build. (Thousands of them: with
/// `LAYERWISE_SLOW_TESTS`.)
#[test]
fn a_build_that_forks_forever() {
    if std::env::var_os("LAYERWISE_SLOW_TESTS").is_none() {
        return super::real_index::skipped("a_build_that_forks_forever", "LAYERWISE_SLOW_TESTS is not set");
    }
    let forks = "for n in range(20000):\n    \
                     try:\n        \
                         if os.fork() == 0: time.sleep(600)\n    \
                     except OSError as error:\n        \
                         sys.exit(f'error: {n} processes: {error.strerror}')";
    let Some((cli, _served)) = build(Index::new().sdist(hostile(forks)), "hostile") else { return };
    let run = cli.run().failure(10);
    let processes = run.stderr.split("error: ").find_map(|text| text.split_once(" processes: ")).unwrap().0;
    if !(3000..=4096).contains(&processes.parse::<u32>().unwrap()) {
        // Without walls the limit is the user's own.
        assert!(run.stderr.contains("is built without isolation"), "{run}");
    }
    // Those that see this build's directory; other tests have builds of their own.
    let ours = cli.cache().parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    let left = || {
        let processes = fs_err::read_dir("/proc").unwrap().flatten();
        let mounts = processes.filter_map(|entry| fs_err::read_to_string(entry.path().join("mountinfo")).ok());
        mounts.filter(|mounts| mounts.contains(&ours)).count()
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while left() > 0 {
        assert!(Instant::now() < deadline, "{} processes are left", left());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(files_below(&cli.cache().join("built-v1")).is_empty());
}

/// The disk is full in the middle of it: said, nothing is kept, and with room again it goes on.
#[test]
fn the_disk_is_full_while_building() {
    let fills = "with open('ballast', 'wb') as f:\n    for _ in range(200): f.write(b'x' * (1 << 20))\n    f.flush()";
    let Some((cli, _served)) = build(Index::new().sdist(hostile(fills)), "hostile") else { return };
    fs_err::create_dir_all(cli.cache()).unwrap();
    let plain = cli.command();
    let mut command = std::process::Command::new("/usr/bin/unshare");
    // A small file system for the cache, that nobody else sees; and then a larger one.
    let script = "mount -t tmpfs -o size=100m tmpfs \"$LAYERWISE_CACHE_DIR\" || exit 99\n\
        \"$@\"; echo code $?; find \"$LAYERWISE_CACHE_DIR\"/built-v1 \"$LAYERWISE_CACHE_DIR\"/builds-v1 -type f\n\
        mount -o remount,size=900m \"$LAYERWISE_CACHE_DIR\" || exit 99\n\
        \"$@\" >/dev/null; echo code $?";
    command.args(["-Urm", "/bin/sh", "-c", script, "sh"]).arg(plain.get_program()).args(plain.get_args());
    command.env_clear().envs(plain.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let path = command.get_envs().find(|(key, _)| *key == "PATH").unwrap().1.unwrap().to_owned();
    let mut path: Vec<_> = std::env::split_paths(&path).collect();
    path.extend(["/usr/bin".into(), "/bin".into()]);
    command.env("PATH", std::env::join_paths(path).unwrap()).current_dir(cli.project()).stdin(Stdio::null());
    let output = command.output().unwrap();
    if output.status.code() == Some(99) || String::from_utf8_lossy(&output.stderr).contains("unshare failed") {
        return super::real_index::skipped("the_disk_is_full_while_building", "nothing can be mounted here");
    }
    let (said, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(said, "code 10\ncode 0\n", "{stderr}");
    assert!(stderr.contains("No space left on device") && stderr.contains("the disk is full"), "{stderr}");
}

/// What a build leaves running is stopped with it, and what is killed leaves nothing in the cache.
#[test]
fn killed_while_building() {
    let sleeps = "subprocess.Popen(['sleep', '76543'])\ntime.sleep(600)";
    let Some((cli, _served)) = build(Index::new().sdist(hostile(sleeps)), "hostile") else { return };
    let mut child = cli.command().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let running = || {
        let processes = fs_err::read_dir("/proc").unwrap().flatten();
        processes
            .filter_map(|entry| fs_err::read(entry.path().join("cmdline")).ok())
            .any(|line| line == b"sleep\x0076543\0")
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while !running() {
        assert!(Instant::now() < deadline, "the build did not begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    let _status = child.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while running() {
        assert!(Instant::now() < deadline, "the build lives on");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(files_below(&cli.cache().join("built-v1")).is_empty());
}

#[test]
fn a_directory_and_a_file_of_this_machine_are_built() {
    let Some((cli, _served)) = build(Index::new(), "./libs/common") else { return };
    let common = sdist("common", "1.0").file("src/common.py", "x = 1\n").build();
    let project = "[project]\nname='common'\nversion='1.0'\n\
        [build-system]\nrequires=[]\nbuild-backend='backend'\nbackend-path=['.']\n";
    let unpacked = cli.project().join("libs/common");
    fs_err::create_dir_all(unpacked.join("src")).unwrap();
    let archive = cli.project().join("libs").join(&common.filename);
    fs_err::write(&archive, &common.bytes).unwrap();
    for (path, text) in [("pyproject.toml", project), ("PKG-INFO", &common.metadata), ("src/common.py", "x = 2\n")] {
        fs_err::write(unpacked.join(path), text).unwrap();
    }
    fs_err::write(unpacked.join("backend.py"), layerwise_testkit::BACKEND).unwrap();
    drop(cli.run().success());
    assert_eq!(content(&cli, "python/common.py"), "x = 2\n");
    // Another content is another wheel.
    fs_err::write(unpacked.join("src/common.py"), "x = 3\n").unwrap();
    drop(cli.run().success());
    assert_eq!(content(&cli, "python/common.py"), "x = 3\n");
    let line = format!("build -p ./libs/{} --runtime python3.13 --name demo -o demo.zip", common.filename);
    let cli = cli.args(super::words(&line));
    drop(cli.run().success());
    assert_eq!(content(&cli, "python/common.py"), "x = 1\n");
}

/// git, in `dir`, with nothing of the user's.
fn git(dir: &std::path::Path, line: &str) {
    let mut command = std::process::Command::new("git");
    command.args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]);
    command.args(super::words(line)).current_dir(dir).env("GIT_CONFIG_GLOBAL", "/dev/null").stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(output.status.success(), "git {line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What was asked for by a branch stays at its commit once it is locked.
#[test]
fn a_commit_of_a_repository_is_built() {
    let Some((cli, _served)) = build(Index::new(), "x") else { return };
    if std::process::Command::new("git").arg("--version").output().is_err() {
        drop(writeln!(std::io::stderr(), "SKIPPED: no git here"));
        return;
    }
    let repository = cli.home().join("repository");
    let package = repository.join("packages/common");
    fs_err::create_dir_all(package.join("src")).unwrap();
    let project = "[project]\nname='common'\nversion='1.0'\n\
        [build-system]\nrequires=[]\nbuild-backend='backend'\nbackend-path=['.']\n";
    let metadata = sdist("common", "1.0").build().metadata;
    for (path, text) in [("pyproject.toml", project), ("PKG-INFO", &metadata), ("src/common.py", "x = 1\n")] {
        fs_err::write(package.join(path), text).unwrap();
    }
    fs_err::write(package.join("backend.py"), layerwise_testkit::BACKEND).unwrap();
    git(&repository, "init --quiet");
    git(&repository, "add .");
    git(&repository, "commit --quiet -m one");
    let requirement = format!("common @ git+file://{}@main#subdirectory=packages/common\n", repository.display());
    fs_err::write(cli.project().join("requirements.txt"), requirement).unwrap();
    let line = "--runtime python3.13 --name demo";
    let cli = cli.path(std::path::Path::new("/usr/bin"));
    let lock = cli.args(super::words(&format!("lock {line}")));
    drop(lock.run().success());
    let locked = fs_err::read_to_string(lock.project().join("pylock.demo-python313-x86_64.toml")).unwrap();
    assert!(locked.contains("requested-revision = \"main\", commit-id = \""), "{locked}");
    fs_err::write(package.join("src/common.py"), "x = 2\n").unwrap();
    git(&repository, "commit --quiet -a -m two");
    let cli = lock.args(super::words(&format!("build --locked {line} -o demo.zip")));
    drop(cli.run().success());
    assert_eq!(content(&cli, "python/common.py"), "x = 1\n");
    // The repository may go: the commit is in the cache.
    fs_err::remove_dir_all(&repository).unwrap();
    fs_err::remove_dir_all(cli.cache().join("built-v1")).unwrap();
    drop(cli.run().success());
    assert_eq!(content(&cli, "python/common.py"), "x = 1\n");
    fs_err::remove_dir_all(cli.cache().join("git-v1")).unwrap();
    fs_err::remove_dir_all(cli.cache().join("built-v1")).unwrap();
    let gone = cli.run().failure(5);
    assert!(gone.stderr.contains("failed to fetch commit"), "{gone}");
}
