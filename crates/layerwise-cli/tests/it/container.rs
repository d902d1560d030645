//! Building in a container: with a real podman and the image that `xtask/container-image.sh` makes (slow tests), and with
//! what every machine can show: no program, and a real docker client without its daemon.

#![cfg(target_os = "linux")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use layerwise_testkit::{Cli, Index, Sdist, Served, sdist};

use super::{files_below, json, layerwise, sha256_of, words};

const LINE: &str = "build -p native --compile native --engine container --runtime python3.11 --name demo -o demo.zip";

/// A backend that calls gcc, after something else; what that finds out becomes the module `report`.
fn native(before: &str) -> Sdist {
    let before: String = before.lines().map(|line| format!("    {line}\n")).collect();
    let backend = format!(
        "import json, os, pathlib, socket, subprocess, sys, time, zipfile\n\
         def build_wheel(out, config_settings=None, metadata_directory=None):\n    \
             report = {{}}\n{before}    \
             pathlib.Path('a.c').write_text('int native(void) {{ return 1; }}')\n    \
             subprocess.run(['gcc', '-shared', '-fPIC', 'a.c', '-o', 'a.so'], check=True)\n    \
             name, info = 'native-1.0-cp311-cp311-linux_x86_64.whl', 'native-1.0.dist-info/'\n    \
             with zipfile.ZipFile(os.path.join(out, name), 'w') as z:\n        \
                 z.write('a.so', 'native.cpython-311-x86_64-linux-gnu.so')\n        \
                 z.writestr('report.py', json.dumps(report, sort_keys=True))\n        \
                 z.writestr(info + 'METADATA', 'Metadata-Version: 2.2\\nName: native\\nVersion: 1.0\\n')\n        \
                 z.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: false\\nTag: cp311-cp311-linux_x86_64\\n')\n        \
                 z.writestr(info + 'RECORD', '')\n    \
             return name\n"
    );
    sdist("native", "1.0").file("backend.py", backend).build()
}

fn skipped(why: &str) {
    drop(writeln!(std::io::stderr(), "SKIPPED: {why}"));
}

/// A podman of the tests' own, by its configuration files.
struct Podman(PathBuf);

impl Podman {
    /// `None`, said aloud, where slow tests are not wanted or the image was not made.
    #[expect(clippy::disallowed_methods, reason = "the switch for slow tests")]
    fn find() -> Option<Self> {
        if std::env::var("LAYERWISE_SLOW_TESTS").is_err() {
            skipped("building in containers takes a minute: set LAYERWISE_SLOW_TESTS=1");
            return None;
        }
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/container-image");
        let Ok(dir) = dir.canonicalize() else {
            skipped("there is no image to build in: run xtask/container-image.sh");
            return None;
        };
        Some(Self(dir))
    }

    fn variables(&self) -> [(&'static str, PathBuf); 2] {
        [("CONTAINERS_CONF", self.0.join("containers.conf")), ("CONTAINERS_STORAGE_CONF", self.0.join("storage.conf"))]
    }

    fn with(&self, mut cli: Cli) -> Cli {
        for (key, value) in self.variables() {
            cli = cli.env(key, value);
        }
        cli.path("/usr/bin").path("/usr/sbin").path("/bin").env("LAYERWISE_TEST", "1")
    }

    /// Waits until what is there now has gone; other tests' containers go, too.
    #[track_caller]
    fn all_go(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let now = self.containers();
        while self.containers().iter().any(|name| now.contains(name)) {
            assert!(Instant::now() < deadline, "{now:?} stay");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Names of the containers of builds.
    fn containers(&self) -> Vec<String> {
        let mut command = Command::new("podman");
        command.args(["ps", "--all", "--filter", "label=layerwise", "--format", "{{.Names}}"]);
        let output = command.envs(self.variables()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }
}

/// A build of `package` with podman; `None`, said aloud, where that is not possible.
fn build(package: Sdist, line: &str) -> Option<(Podman, Cli, Served)> {
    let podman = Podman::find()?;
    let served = Index::new().sdist(package).serve();
    let cli = podman.with(layerwise(&served, &format!("{line} --container-program podman")));
    Some((podman, cli, served))
}

#[test]
fn a_build_sees_its_sources_and_nothing_else_and_is_the_same_every_time() {
    let before = "\
        try:\n    \
            socket.create_connection(('127.0.0.1', 1), 1)\n    \
            report['network'] = True\n\
        except OSError as error:\n    \
            report['network'] = error.errno != 101 and len(os.listdir('/sys/class/net')) > 1\n\
        report['user'] = os.getuid()\n\
        report['rights'] = [l.split()[1] for l in open('/proc/self/status') if l.startswith('CapEff')]\n\
        report['secrets'] = sorted(k for k in os.environ if 'SECRET' in k or 'LAYERWISE' in k)\n\
        report['cwd'] = os.getcwd()\n\
        own = ('/proc', '/sys', '/dev', '/etc/hosts', '/etc/hostname', '/etc/resolv.conf', '/run/.containerenv')\n\
        report['mounts'] = [m for m in (l.split()[4] for l in open('/proc/self/mountinfo')) if not m.startswith(own) and m != '/']\n\
        report['time'] = os.environ['SOURCE_DATE_EPOCH']";
    let Some((podman, cli, _served)) = build(native(before), LINE) else { return };
    let cli = cli.env("AWS_SECRET_ACCESS_KEY", "hidden");
    let first = cli.run().success();
    let sha256 = sha256_of(&first);
    let members = super::archive::read(&cli.project().join("demo.zip"));
    let report = members.iter().find(|member| member.name == "python/report.py").unwrap().text().to_owned();
    let expected = serde_json::json!({
        "network": false, "user": 1000, "rights": ["0000000000000000"], "secrets": [], "cwd": "/build/src",
        "mounts": [], "time": "315532800",
    });
    assert_eq!(serde_json::from_str::<serde_json::Value>(&report).unwrap(), expected);
    assert!(members.iter().any(|member| member.name == "python/native.cpython-311-x86_64-linux-gnu.so"));
    let records = files_below(&cli.cache().join("built-v1"));
    let record = records.iter().find(|name| name.ends_with(".json") && !name.starts_with("chosen-")).unwrap();
    let record: serde_json::Value =
        serde_json::from_slice(&fs_err::read(cli.cache().join("built-v1").join(record)).unwrap()).unwrap();
    let container = &record["provenance"]["container"];
    assert_eq!(container["image"], "public.ecr.aws/sam/build-python3.11:latest-x86_64");
    assert!(container["id"].as_str().unwrap().starts_with("sha256:"), "{record}");
    podman.all_go();

    // From the cache: with no program at all, and with nothing of podman in sight.
    let cli_bin = cli.project().parent().unwrap().join("bin");
    let offline = cli.args(words(&format!("{LINE} --offline --json"))).env("PATH", cli_bin);
    assert_eq!(json(&offline.run().success())["layers"][0]["sha256"], sha256.as_str());
    // Elsewhere: the same bytes.
    let Some((_, other, _served)) = build(native(before), LINE) else { return };
    assert_eq!(sha256_of(&other.run().success()), sha256);
}

#[test]
fn settings_of_one_build_reach_it() {
    let before = "\
        report['settings'] = config_settings\n\
        report['variables'] = {k: os.environ[k] for k in ('CFLAGS', 'ONE', 'MAKEFLAGS', 'TWO') if k in os.environ}";
    let Some((_podman, cli, _served)) = build(native(before), LINE) else { return };
    let table = "\
        [compile.native]\n\
        prefix = 'there'\n\
        config-settings = { args = ['-Da=1', '-Db={prefix}'] }\n\
        environment = { CFLAGS = '-O1', ONE = '1', MAKEFLAGS = '-j1', TWO = '{prefix}/lib' }\n";
    let cli = cli.file("layerwise.toml", table);
    let run = cli.run().success();
    assert!(run.stderr.contains("warning: `prefix` of native is of no use in a container"), "{run}");
    let members = super::archive::read(&cli.project().join("demo.zip"));
    let report = members.iter().find(|member| member.name == "python/report.py").unwrap().text().to_owned();
    let expected = serde_json::json!({
        "settings": {"args": ["-Da=1"]}, "variables": {"CFLAGS": "-O1", "ONE": "1", "MAKEFLAGS": "-j1"},
    });
    assert_eq!(serde_json::from_str::<serde_json::Value>(&report).unwrap(), expected);
}

/// A package in Rust with a crate of the real registry: the image's cargo fetches it, and compiles without network.
#[test]
fn rust_in_a_container() {
    const TEST: &str = "rust_in_a_container";
    let Some(podman) = Podman::find() else { return };
    let image = "public.ecr.aws/sam/build-python3.13:latest-x86_64";
    let mut has = Command::new("podman");
    has.args(["run", "--rm", "--network", "none", image, "cargo", "--version"]).envs(podman.variables());
    if !has.output().is_ok_and(|output| output.status.success()) {
        return super::real_index::skipped(TEST, "there is no image with cargo: run xtask/container-image.sh");
    }
    let Some(cli) = super::real_index::real(TEST) else { return };
    let package = sdist("native", "1.0")
        .file(
            "pyproject.toml",
            "[project]\nname='native'\nversion='1.0'\n[build-system]\nrequires=['setuptools-rust==1.12.0']\n\
             build-backend='backend'\nbackend-path=['.']\n",
        )
        .file(
            "Cargo.toml",
            "[package]\nname = 'native'\nversion = '1.0.0'\nedition = '2021'\n[lib]\ncrate-type = ['cdylib']\n\
             [dependencies]\nitoa = '=1.0.15'\n",
        )
        .file(
            "src/lib.rs",
            "#[no_mangle]\npub extern \"C\" fn PyInit_native() -> usize { itoa::Buffer::new().format(7u8).len() }\n",
        )
        .file(
            "backend.py",
            "import os, subprocess, zipfile\n\
             def build_wheel(out, config_settings=None, metadata_directory=None):\n    \
                 subprocess.run(['cargo', 'build', '--release'], check=True)\n    \
                 name, info = 'native-1.0-cp313-cp313-linux_x86_64.whl', 'native-1.0.dist-info/'\n    \
                 with zipfile.ZipFile(os.path.join(out, name), 'w') as z:\n        \
                     z.write('target/release/libnative.so', 'native.cpython-313-x86_64-linux-gnu.so')\n        \
                     z.writestr(info + 'METADATA', 'Metadata-Version: 2.2\\nName: native\\nVersion: 1.0\\n')\n        \
                     z.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: false\\nTag: cp313-cp313-linux_x86_64\\n')\n        \
                     z.writestr(info + 'RECORD', '')\n    \
                 return name\n",
        )
        .build();
    let line = "build -p ./native-1.0.tar.gz --compile native --engine container --container-program podman \
        --runtime python3.13 --name demo -o demo.zip";
    let cli = podman.with(cli).file(&package.filename, &package.bytes).args(words(line));
    let first = cli.run().success();
    let names = super::archive::names(&cli.project().join("demo.zip"));
    assert!(names.contains(&"python/native.cpython-313-x86_64-linux-gnu.so".to_owned()), "{names:?}");
    let records = files_below(&cli.cache().join("built-v1"));
    let chosen = records.iter().find(|name| name.starts_with("chosen-")).unwrap();
    let chosen = fs_err::read_to_string(cli.cache().join("built-v1").join(chosen)).unwrap();
    assert!(chosen.contains("\"rust\": \"rustc 1.") && chosen.contains("setuptools-rust==1.12.0"), "{chosen}");
    podman.all_go();
    assert_eq!(sha256_of(&cli.run().success()), sha256_of(&first));
}

#[test]
fn what_compiles_is_refused_until_it_is_allowed() {
    let line = LINE.replace("--compile native ", "");
    for call in ["gcc", "/usr/bin/gcc"] {
        let package = native(&format!("subprocess.run([{call:?}, '-c', 'a.c'])"));
        let Some((_, cli, _served)) = build(package, &line) else { return };
        let run = cli.run().failure(4);
        assert!(run.stderr.contains("hint: `--compile native` allows it"), "{run}");
        assert!(!files_below(&cli.cache().join("built-v1")).iter().any(|name| name.ends_with(".json")));
    }
}

#[test]
fn failures_are_told_and_leave_no_container() {
    let check = |package: Sdist, line: &str, code: i32, expected: &[&str]| {
        let Some((podman, cli, _served)) = build(package, line) else { return };
        let run = cli.run().failure(code);
        for expected in expected {
            assert!(run.stderr.contains(expected), "{expected}\n{run}");
        }
        podman.all_go();
        assert!(!files_below(&cli.cache().join("built-v1")).iter().any(|name| name.ends_with(".json")));
        assert_eq!(files_below(&cli.cache().join("builds-v1")), Vec::<String>::new());
    };
    let header = native(
        "pathlib.Path('b.c').write_text('#include <libpq-fe.h>')\nsubprocess.run(['gcc', '-c', 'b.c'], check=True)",
    );
    check(header, LINE, 10, &["libpq-fe.h: No such file or directory", "`--system-package`", "libpq-dev"]);
    let calls = native(
        "subprocess.run(['python3', '-c', 'import urllib.request as u; u.urlopen(\"http://pypi.org\")'], check=True)",
    );
    check(calls, LINE, 10, &["it wants the network while it is built"]);
    check(native("print('x' * 50_000_000)\nsys.exit('error: too much')"), LINE, 10, &["failed to build"]);
    check(native("return '../../../../etc/passwd'"), LINE, 10, &["cannot be used"]);
    check(native("os.symlink('/etc/shadow', os.path.join(out, 'x'))\nreturn 'x'"), LINE, 10, &["cannot be used"]);
    let other = "build -p native --compile native --engine container --runtime python3.12 --name demo -o demo.zip \
        --image public.ecr.aws/sam/build-python3.11:latest-{architecture}";
    check(native(""), other, 10, &["has no Python 3.12 (its python3 is 3.11."]);
    let missing = format!("{LINE} --offline --image localhost/nobody/has:this");
    let Some((_, cli, _served)) = build(native(""), &missing.replace(" --offline", "")) else { return };
    let run = cli.run();
    assert!(matches!(run.code, Some(2 | 5)), "{run}");
    assert!(run.stderr.contains("localhost/nobody/has:this"), "{run}");
}

/// However layerwise ends, its container ends too.
#[test]
fn killed_while_building() {
    for signal in ["KILL", "INT", "TERM"] {
        let sleeps = native("print('asleep', flush=True)\ntime.sleep(600)");
        let Some((podman, cli, _served)) = build(sleeps, LINE) else { return };
        let mut child = cli.command().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let log = cli.cache().join("logs-v1/native-python3.11-x86_64.log");
        let deadline = Instant::now() + Duration::from_secs(60);
        while !fs_err::read_to_string(&log).unwrap_or_default().contains("asleep") {
            assert!(Instant::now() < deadline, "the build did not begin");
            std::thread::sleep(Duration::from_millis(50));
        }
        let prefix = format!("layerwise-{}-", child.id());
        let own = || podman.containers().into_iter().filter(|name| name.starts_with(&prefix)).count();
        assert_eq!(own(), 1);
        let kill = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let _status = child.wait().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while own() > 0 {
            assert!(Instant::now() < deadline, "the container lives on after {signal}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn no_program_and_no_daemon() {
    let served = Index::new().sdist(native("")).serve();
    let run = layerwise(&served, LINE).run().failure(8);
    assert!(run.stderr.contains("building in a container needs docker or podman, and there is none on PATH"), "{run}");
    assert!(run.stderr.contains("hint: or build without a container: `--engine zig`"), "{run}");

    let docker =
        ["/usr/local/bin", "/usr/bin"].iter().map(|dir| Path::new(dir).join("docker")).find(|path| path.exists());
    let Some(docker) = docker else { return skipped("there is no docker client on this machine") };
    let cli = layerwise(&served, &format!("{LINE} --container-program docker"));
    let nowhere = format!("unix://{}/docker.sock", cli.home().display());
    let run = cli.path(docker.parent().unwrap()).env("DOCKER_HOST", nowhere).run().failure(8);
    assert!(run.stderr.contains("docker is installed, but does not answer: "), "{run}");
    assert!(run.stderr.contains("hint: start it: Docker Desktop, or `sudo systemctl start docker`"), "{run}");
}
