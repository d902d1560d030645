//! Real Pythons import real modules. A minor version that is not on this machine is said aloud and left out.
#![cfg(target_os = "linux")]

use std::net::TcpListener;
use std::path::Path;
use std::time::Instant;

use super::*;
use crate::model::Architecture;

/// A directory like Lambda's root with these files, and what is to be imported of it.
struct Trial {
    root: tempfile::TempDir,
    job: Job,
    python: Python,
}

impl Trial {
    /// `None` where there is no Python `3.<minor>`.
    fn new(minor: u8) -> Option<Self> {
        let target = Target::new(&format!("3.{minor}"), std::env::consts::ARCH, "2026-11-24").unwrap();
        let python = python(target)?;
        let root = tempfile::tempdir().unwrap();
        let job = Job {
            root: root.path().to_owned(),
            target,
            modules: Vec::new(),
            handler: None,
            env: vec![("MARK".to_owned(), root.path().display().to_string())],
            time_limit: Duration::from_secs(30),
            at_once: 2,
        };
        Some(Self { root, job, python })
    }

    fn file(self, path: &str, text: &str) -> Self {
        write(self.root.path(), path, text);
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.job.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What tells this run's processes from others.
    fn mark(&self) -> String {
        self.root.path().display().to_string()
    }

    fn import(mut self, modules: &[&str]) -> Proof {
        self.job.modules = modules.iter().map(|name| (*name).to_owned()).collect();
        block(run(&self.job, &self.python, |_| ())).unwrap()
    }

    /// The same, in two runs: an overloaded machine may be slow with all but the `hanging` ones.
    fn import_with_short_limit_for(mut self, hanging: &[&str], modules: &[&str]) -> Proof {
        let others: Vec<String> =
            modules.iter().filter(|name| !hanging.contains(name)).map(|name| (*name).to_owned()).collect();
        self.job.modules = others;
        let mut outcomes = block(run(&self.job, &self.python, |_| ())).unwrap().outcomes;
        self.job.time_limit = Duration::from_secs(2);
        let mut proof = self.import(hanging);
        outcomes.append(&mut proof.outcomes);
        Proof { outcomes, ..proof }
    }

    fn handler(mut self, handler: &str) -> String {
        self.job.handler = Some(handler.to_owned());
        show(&block(run(&self.job, &self.python, |_| ())).unwrap().outcomes[0])
    }

    /// The outcome of `code` as the module `probe` of the function.
    fn probe(self, code: &str) -> Outcome {
        self.file("var/task/probe.py", code).import(&["probe"]).outcomes.remove(0)
    }

    /// What `code` prints as a module of the function.
    fn printed(self, code: &str) -> String {
        let outcome = self.probe(code);
        assert_eq!(outcome.end, End::Imported, "{outcome:?}");
        outcome.stdout
    }
}

/// The Python that `find` finds for `target`, asked for once; where there is none, that is said.
fn python(target: Target) -> Option<Python> {
    static FOUND: std::sync::Mutex<BTreeMap<u8, Option<Python>>> = std::sync::Mutex::new(BTreeMap::new());
    let minor = target.runtime.minor;
    let find = || {
        let candidates: Vec<PathBuf> = layerwise_testkit::python(minor).into_iter().collect();
        let error = match block(find(target, &Search { candidates, ..Search::default() })) {
            Ok(python) => return Some(python),
            Err(error) => error,
        };
        eprintln!("SKIPPED for python3.{minor}: {error}: {:?}", error.tried);
        None
    };
    FOUND.lock().unwrap().entry(minor).or_insert_with(find).clone()
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn block<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(work)
}

fn places(chain: &[Step]) -> String {
    let places = chain.iter().map(|step| {
        let module = step.module.as_deref().unwrap_or("?");
        format!(" > {}:{} {module} {}", step.file, step.line, step.function)
    });
    places.collect()
}

/// An outcome as text: how it ended, the chain, what Lambda would say.
fn show(outcome: &Outcome) -> String {
    let answer = outcome.end.answer().map(|answer| format!("\n{answer}")).unwrap_or_default();
    let how = match &outcome.end {
        End::Imported => "imported".to_owned(),
        End::Failed { during, raised, .. } => {
            let during = if *during == During::Bootstrap { "bootstrap: " } else { "" };
            let raised: Vec<String> = raised
                .iter()
                .map(|one| {
                    let missing = one.missing.as_deref().map(|name| format!(" [{name}]")).unwrap_or_default();
                    format!("{}: {}{missing}{}", one.error_type, one.message, places(&one.chain))
                })
                .collect();
            format!("{during}{}", raised.join("\nfrom "))
        }
        End::Crashed { name, last_module, chain, .. } => {
            format!("{name} last {}{}", last_module.as_deref().unwrap_or("none"), places(chain))
        }
        End::TimedOut { last_module, chain, .. } => {
            format!("time last {}{}", last_module.as_deref().unwrap_or("none"), places(chain))
        }
        End::Exited { code, chain } => format!("exit {code}{}", places(chain)),
    };
    how + &answer
}

/// The minor versions of all Pythons that Lambda has and layerwise builds for.
const MINORS: [u8; 6] = [9, 10, 11, 12, 13, 14];

#[test]
fn every_end() {
    for minor in MINORS {
        let Some(mut trial) = Trial::new(minor) else { continue };
        trial.job.at_once = 4;
        let mut cases: Vec<(&str, String, &str)> = Vec::new();
        let mut case = |name, code: &str, expected| cases.push((name, code.to_owned(), expected));
        case("fine", "import json, email.message", "imported");
        case(
            "one",
            "import two",
            "ModuleNotFoundError: No module named 'nowhere' [nowhere] > /opt/python/one.py:1 one <module> > \
             /opt/python/two.py:2 two <module> > /opt/python/three.py:5 three <module> > \
             /opt/python/three.py:4 three inner\n\
             Runtime.ImportModuleError: Unable to import module 'one': No module named 'nowhere'",
        );
        case("two", "\nfrom three import x", "");
        case("three", "def inner():\n  import sys\n\n  import nowhere\ninner()", "");
        case(
            "syntax",
            "import syntax2",
            "SyntaxError: invalid syntax (syntax2.py, line 2) > /opt/python/syntax.py:1 syntax <module> > \
             /opt/python/syntax2.py:2 ? <module>\n\
             Runtime.UserCodeSyntaxError: Syntax error in module 'syntax': invalid syntax (syntax2.py, line 2)",
        );
        case("syntax2", "\nx = = 1", "");
        case(
            "own",
            "class Odd(Exception): pass\nraise Odd('what \"\u{1f600}\\udc80\\n')",
            "Odd: what \"\u{1f600}\u{fffd}\n > /opt/python/own.py:2 own <module>\nOdd: what \"\u{1f600}\u{fffd}\n",
        );
        case(
            "chained",
            "try:\n  import nowhere\nexcept ImportError as e:\n  raise ImportError('no numpy') from e",
            "ImportError: no numpy > /opt/python/chained.py:4 chained <module>\n\
             from ModuleNotFoundError: No module named 'nowhere' [nowhere] > /opt/python/chained.py:2 chained <module>\n\
             Runtime.ImportModuleError: Unable to import module 'chained': no numpy",
        );
        case(
            "mute",
            "class Mute(Exception):\n  def __str__(self): raise ValueError\nraise Mute()",
            "Mute: (its message cannot be had: __str__ fails) > /opt/python/mute.py:3 mute <module>\n\
             Mute: (its message cannot be had: __str__ fails)",
        );
        case(
            "interrupt",
            "raise KeyboardInterrupt",
            "KeyboardInterrupt:  > /opt/python/interrupt.py:1 interrupt <module>\n\
             Runtime.ExitError: Runtime exited with error: exit status 1",
        );
        case(
            "exits",
            "import sys\nsys.exit(3)",
            "exit 3 > /opt/python/exits.py:2 exits <module>\nRuntime.ExitError: Runtime exited with error: exit status 3",
        );
        case("quits", "quit()", "exit 0 > /opt/python/quits.py:1 quits <module>");
        case(
            "leaves",
            "import os\nos._exit(0)",
            "exit 0\nRuntime.ExitError: Runtime exited without providing a reason",
        );
        case("segfault", "import ctypes\ndef f(): ctypes.string_at(0)\nf()", "SIGSEGV last ");
        case(
            "abort",
            "import os\nos.abort()",
            "SIGABRT last abort > /opt/python/abort.py:2 ? <module>\n\
             Runtime.ExitError: Runtime exited with error: signal: aborted",
        );
        case(
            "kills",
            "import os\nos.kill(os.getpid(), 9)",
            "SIGKILL last kills\nRuntime.ExitError: Runtime exited with error: signal: killed",
        );
        case(
            "hangs",
            "import hangs2",
            "time last hangs2 > /opt/python/hangs.py:1 ? <module> > /opt/python/hangs2.py:2 ? <module>\n\
             Sandbox.Timedout: Task timed out after 2.00 seconds",
        );
        case("hangs2", "import time\ntime.sleep(1000)", "");
        case(
            "deaf",
            "import signal\nfor s in range(1, 65):\n  try: signal.signal(s, signal.SIG_IGN)\n  except: pass\n\
             while True: pass",
            "time last signal\nSandbox.Timedout: Task timed out after 2.00 seconds",
        );
        case("forks", "import os, time\nif os.fork() == 0: time.sleep(1000)", "imported");
        case("forks_back", "import os\nif os.fork() == 0: import json\nelse: os.wait()", "imported");
        case(
            "daemon",
            "import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0: time.sleep(1000)\n  os._exit(0)\nos.wait()",
            "imported",
        );
        case("loud", "import os\nfor _ in range(1600): os.write(1, b'x' * 65536)\nprint('end')", "imported");
        case("redirects", "import sys, io\nsys.stdout = sys.stderr = io.StringIO()\nprint('x')", "imported");
        case("blind", "import sys\nsys.stdout = sys.stderr = None", "imported");
        case("closes", "import os\nos.closerange(0, 4096)", "imported");
        case(
            "threads",
            "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()",
            "imported",
        );
        case("atexits", "import atexit, time\natexit.register(time.sleep, 1000)", "imported");
        case("forgets", "import sys\nsys.modules.clear()", "KeyError: 'forgets'\nKeyError: 'forgets'");
        case("no_finders", "import sys\nsys.meta_path.clear()\nsys.path.clear()", "imported");
        case("replaces", "import sys\nsys.modules[__name__] = 7", "imported");
        case(
            "breaks",
            "import os, builtins, json\nos._exit = os.getpid = os.write = json.dumps = None\n\
             builtins.str = builtins.isinstance = builtins.open = None",
            "imported",
        );
        case(
            "nowhere.at.all",
            "",
            "ModuleNotFoundError: No module named 'nowhere' [nowhere]\n\
             Runtime.ImportModuleError: Unable to import module 'nowhere.at.all': No module named 'nowhere'",
        );
        case("endless", "def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded");
        let mut names = Vec::new();
        for (name, code, expected) in &cases {
            if !name.contains('.') {
                write(trial.root.path(), &format!("opt/python/{name}.py"), code);
            }
            if !expected.is_empty() {
                names.push(*name);
            }
        }
        let (mark, began) = (trial.mark(), Instant::now());
        let proof = trial.import_with_short_limit_for(&["hangs", "deaf"], &names);
        let took = began.elapsed();
        assert_eq!(proof.outcomes.len(), names.len());
        let mut wrong = String::new();
        for outcome in &proof.outcomes {
            let name = outcome.subject.to_string();
            let expected = cases.iter().find(|case| case.0 == name).unwrap().2;
            let shown = show(outcome);
            let right = match name.as_str() {
                "endless" | "segfault" | "quits" => shown.starts_with(expected),
                _ => shown == expected,
            };
            if !right {
                wrong += &format!("--- 3.{minor} {name}:\n{shown}\n    instead of\n{expected}\n{}\n", outcome.stderr);
            }
        }
        assert!(wrong.is_empty(), "\n{wrong}");
        let of = |name: &str| proof.outcomes.iter().find(|outcome| outcome.subject.to_string() == name).unwrap();
        let End::Crashed { chain, .. } = &of("segfault").end else { panic!() };
        let at = "> /opt/python/segfault.py:3 ? <module> > /opt/python/segfault.py:2 ? f >";
        assert!(places(chain).contains(at), "3.{minor} {chain:?}");
        let End::Failed { raised, .. } = &of("endless").end else { panic!() };
        assert_eq!(raised[0].chain.len(), 64, "3.{minor}");
        assert_eq!(of("loud").stdout.len(), 64 << 10, "3.{minor}");
        assert!(of("loud").stdout.ends_with("xend\n"), "3.{minor}");
        assert!(took < Duration::from_secs(40), "3.{minor}: {took:?}");
        assert!(of("hangs").took >= Duration::from_secs(2) && of("hangs").took < Duration::from_secs(4));
        assert_eq!(leftover(&mark), [""; 0], "3.{minor}");
    }
}

/// Processes with this run's mark in their environment. Only modules and what they start have it.
fn leftover(mark: &str) -> Vec<String> {
    let mark = format!("MARK={mark}\0");
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let marked = processes.filter(|path| {
        let environ = fs::read(path.join("environ")).unwrap_or_default();
        environ.windows(mark.len()).any(|window| window == mark.as_bytes())
    });
    marked.map(|path| path.display().to_string()).collect()
}

#[test]
fn handlers() {
    let check = |handler: &str, expected: &str| {
        let Some(trial) = Trial::new(11) else { return };
        let trial = trial
            .file("var/task/app.py", "def go(event, context): pass")
            .file("var/task/a/b.py", "go = 1")
            .file("var/task/bad.py", "import os\nos.nothing")
            .file("var/task/lazy.py", "def __getattr__(name): raise RuntimeError(name)");
        assert_eq!(trial.handler(handler), expected, "{handler}");
    };
    check("app.go", "imported");
    check("a/b.go", "imported");
    check("a.b.go", "imported");
    check(
        "app.stop",
        "AttributeError: module 'app' has no attribute 'stop'\n\
         Runtime.HandlerNotFound: Handler 'stop' missing on module 'app'",
    );
    let bad = "Runtime.MalformedHandlerName: Bad handler 'app': not enough values to unpack (expected 2, got 1)";
    check("app", &format!("{bad}\n{bad}"));
    let builtin = "Runtime.BuiltInModuleConflict: Cannot use built-in module sys as a handler module";
    check("sys.exit", &format!("{builtin}\n{builtin}"));
    check(
        "a/c.go",
        "ModuleNotFoundError: No module named 'a.c' [a.c]\n\
         Runtime.ImportModuleError: Unable to import module 'a/c': No module named 'a.c'",
    );
    check(
        "bad.go",
        "AttributeError: module 'os' has no attribute 'nothing' > /var/task/bad.py:2 bad <module>\n\
         AttributeError: module 'os' has no attribute 'nothing'",
    );
    check("lazy.go", "RuntimeError: go > /var/task/lazy.py:1 lazy __getattr__\nRuntimeError: go");
    check(".go", "ValueError: Empty module name\nValueError: Empty module name");
}

/// What the kernel of this machine refuses is said; nothing of it may be claimed to be in force.
fn in_force(guard: &Guard, what: &str) -> bool {
    if let Guard::Missing(why) = guard {
        eprintln!("NOT TESTED: {what}: {why}");
    }
    *guard == Guard::InForce
}

#[test]
fn no_network() {
    let Some(trial) = Trial::new(11) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let code = format!("import socket\nsocket.create_connection(('127.0.0.1', {port}), 5)");
    let own = "import socket\na = socket.create_server(('127.0.0.1', 0))\nsocket.create_connection(a.getsockname(), 5)";
    let proof = trial
        .file("opt/python/calls.py", &code)
        .file("opt/python/calls_itself.py", own)
        .import(&["calls", "calls_itself"]);
    let connected = proof.outcomes[0].end == End::Imported;
    assert_eq!(connected, !in_force(&proof.isolation.network, "no network"), "{proof:?}");
    assert_eq!(proof.outcomes[1].end, End::Imported);
}

#[test]
fn only_tmp_can_be_written() {
    let Some(trial) = Trial::new(11) else { return };
    let outside = tempfile::tempdir().unwrap();
    let home = std::path::absolute(".").unwrap();
    let code = format!(
        "import os, sys\n\
         def refused(path):\n  \
           try: open(path, 'w')\n  \
           except OSError as e: return e.strerror\n  \
           return 'written'\n\
         for path in ['/opt/x', '/var/task/x', '/x', '/usr/x', '/etc/passwd', '/var/lang/x', '{0}/x', __file__]:\n  \
           print(path, refused(path))\n\
         open('/tmp/x', 'x').close()\n\
         print(os.path.exists('{1}'), os.listdir('/tmp'), os.listdir('/'), os.getcwd(), os.listdir('/opt'), sep='\\n')\n\
         import getpass; print(getpass.getuser(), os.path.expanduser('~'))\n\
         print(sys.executable)\n\
         import multiprocessing\n\
         try: multiprocessing.Lock()\n\
         except OSError: print('no lock')",
        outside.path().display(),
        home.display()
    );
    let proof = trial.file("var/task/probe.py", &code).file("opt/lib/x.so", "").import(&["probe"]);
    if !in_force(&proof.isolation.real_paths, "paths") || !in_force(&proof.isolation.read_only, "read-only") {
        return;
    }
    let read_only = "Read-only file system";
    let expected = format!(
        "/opt/x {read_only}\n/var/task/x {read_only}\n/x {read_only}\n/usr/x {read_only}\n/etc/passwd {read_only}\n\
         /var/lang/x {read_only}\n{}/x No such file or directory\n/var/task/probe.py {read_only}\n",
        outside.path().display()
    );
    let printed = &proof.outcomes[0].stdout;
    let rest = printed.strip_prefix(&expected).unwrap_or_else(|| panic!("{printed}{:?}", proof.outcomes[0]));
    let lines: Vec<&str> = rest.lines().collect();
    assert_eq!(lines[..2], ["False", "['x']"], "{printed}");
    for name in ["home", "root", "work", "mnt", "sys", "boot"] {
        assert!(!lines[2].contains(&format!("'{name}'")), "{printed}");
    }
    let user = "sbx_user1051 /home/sbx_user1051";
    assert_eq!(lines[3..], ["/var/task", "['lib']", user, "/var/lang/bin/python3.11", "no lock"], "{printed}");
    assert!(outside.path().read_dir().unwrap().next().is_none());
}

#[test]
fn each_has_a_tmp_of_its_own() {
    let Some(mut trial) = Trial::new(11) else { return };
    trial.job.at_once = 1;
    let code = "open('/tmp/x', 'x').close()";
    let proof = trial.file("opt/python/a.py", code).file("opt/python/b.py", code).import(&["a", "b"]);
    if in_force(&proof.isolation.real_paths, "a /tmp each") {
        assert!(proof.outcomes.iter().all(|outcome| outcome.end == End::Imported), "{proof:?}");
    }
}

/// What a function sees of its environment.
#[test]
fn the_environment_is_lambdas() {
    let code = "import os\nprint(os.environ.pop('PYTHONPATH'))\nfor k, v in sorted(os.environ.items()): print(k, v, sep='=')\n\
                import sys; print(sys.argv)";
    let check = |minor, differs: &str| {
        let Some(trial) = Trial::new(minor) else { return };
        let trial = trial.env("TABLE", "a=b").env("AWS_REGION", "eu-west-1");
        let mark = trial.mark();
        let expected = format!(
            "/var/runtime\nAWS_DEFAULT_REGION=us-east-1\nAWS_EXECUTION_ENV=AWS_Lambda_python3.{minor}\n\
             AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128\nAWS_LAMBDA_FUNCTION_NAME=layerwise-check\n\
             AWS_LAMBDA_FUNCTION_VERSION=$LATEST\nAWS_LAMBDA_INITIALIZATION_TYPE=on-demand\n\
             AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/layerwise-check\n\
             AWS_LAMBDA_LOG_STREAM_NAME=2026/01/01/[$LATEST]00000000000000000000000000000000\n\
             AWS_LAMBDA_RUNTIME_API=169.254.100.1:9001\nAWS_REGION=eu-west-1\nAWS_XRAY_CONTEXT_MISSING=LOG_ERROR\n\
             AWS_XRAY_DAEMON_ADDRESS=169.254.100.1:2000\nLAMBDA_RUNTIME_DIR=/var/runtime\nLAMBDA_TASK_ROOT=/var/task\n\
             LANG=en_US.UTF-8\n{differs}\
             LD_LIBRARY_PATH=/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib\n\
             MARK={mark}\n\
             PATH=/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin\nPWD=/var/task\nSHLVL=0\nTABLE=a=b\nTZ=:UTC\n\
             _AWS_XRAY_DAEMON_ADDRESS=169.254.100.1\n_AWS_XRAY_DAEMON_PORT=2000\n_HANDLER=lambda_function.lambda_handler\n\
             ['/var/runtime/bootstrap.py']\n"
        );
        assert_eq!(trial.printed(code), expected);
    };
    check(11, "");
    check(12, "LC_CTYPE=C.UTF-8\n");
}

#[test]
fn the_path_is_lambdas() {
    let check = |minor, pythonpath: Option<&str>, layer: bool, expected: &[&str]| {
        let Some(mut trial) = Trial::new(minor) else { return };
        if let Some(value) = pythonpath {
            trial = trial.env("PYTHONPATH", value);
        }
        if layer {
            trial = trial
                .file("opt/python/a.py", "")
                .file(&format!("opt/python/lib/python3.{minor}/site-packages/b.py"), "");
        }
        let printed = trial.printed("import sys; print(*sys.path, sep='\\n')");
        assert_eq!(printed.lines().collect::<Vec<_>>(), expected, "3.{minor} {pythonpath:?}");
    };
    // Seen on a live python3.13 without layers.
    check(
        13,
        None,
        false,
        &[
            "/var/task",
            "/opt/python/lib/python3.13/site-packages",
            "/opt/python",
            "/var/lang/lib/python3.13/site-packages",
            "/var/runtime",
            "/var/lang/lib/python313.zip",
            "/var/lang/lib/python3.13",
            "/var/lang/lib/python3.13/lib-dynload",
            "/var/lang/lib/python3.13/site-packages",
            "/opt/python/lib/python3.13/site-packages",
            "/opt/python",
        ],
    );
    check(
        10,
        None,
        true,
        &[
            "/var/task",
            "/opt/python/lib/python3.10/site-packages",
            "/opt/python",
            "/var/runtime",
            "/var/lang/lib/python310.zip",
            "/var/lang/lib/python3.10",
            "/var/lang/lib/python3.10/lib-dynload",
            "/var/lang/lib/python3.10/site-packages",
        ],
    );
    check(
        11,
        Some("/opt/mine:"),
        true,
        &[
            "/var/task",
            "/var/runtime",
            "/opt/mine",
            "/var/task",
            "/var/lang/lib/python311.zip",
            "/var/lang/lib/python3.11",
            "/var/lang/lib/python3.11/lib-dynload",
            "/var/lang/lib/python3.11/site-packages",
        ],
    );
}

#[test]
fn what_a_layer_may_do() {
    let check = |files: &[(&str, &str)], module: &str, expected: &str| {
        let Some(mut trial) = Trial::new(11) else { return };
        for (path, text) in files {
            trial = trial.file(path, text);
        }
        assert_eq!(show(&trial.import(&[module]).outcomes[0]), expected, "{files:?}");
    };
    let packages = "opt/python/lib/python3.11/site-packages";
    // A .pth file is executed, and adds places.
    check(
        &[("opt/python/x.pth", "import sys; sys.pth = 1\nmore\n"), ("opt/python/more/a.py", "import sys; sys.pth")],
        "a",
        "imported",
    );
    check(
        &[("opt/python/x.pth", "import sys; sys.exit(4)")],
        "json",
        "exit 4 > /opt/python/x.pth:1 ? <module>\nRuntime.ExitError: Runtime exited with error: exit status 4",
    );
    // Inside layers, site-packages come first.
    check(&[("opt/python/a.py", "1/0"), (&format!("{packages}/a.py"), "")], "a", "imported");
    check(&[("var/task/a.py", ""), (&format!("{packages}/a.py"), "1/0")], "a", "imported");
    // Parts of a namespace package come together from function and layer.
    check(
        &[("var/task/n/a.py", "import n.b, n.c"), ("opt/python/n/b.py", ""), (&format!("{packages}/n/c.py"), "")],
        "n.a",
        "imported",
    );
    // The standard library comes last.
    check(
        &[("opt/python/typing.py", "x = 1"), ("opt/python/a.py", "from typing import List")],
        "a",
        "ImportError: cannot import name 'List' from 'typing' (/opt/python/typing.py) > /opt/python/a.py:1 a <module>\n\
         Runtime.ImportModuleError: Unable to import module 'a': cannot import name 'List' from 'typing' \
         (/opt/python/typing.py)",
    );
    check(
        &[("opt/python/decimal.py", "import nothing"), ("opt/python/a.py", "")],
        "a",
        "bootstrap: ModuleNotFoundError: No module named 'nothing' [nothing] > /opt/python/decimal.py:1 decimal <module>\n\
         Runtime.ExitError: Runtime exited with error: exit status 1",
    );
    // What starting Python has loaded by then is not shadowed; what only we loaded is.
    check(&[("opt/python/os.py", "1/0"), ("opt/python/a.py", "import os")], "a", "imported");
    for ours in ["mmap", "ctypes", "select", "resource"] {
        check(
            &[(&format!("opt/python/{ours}.py"), "x = 1"), ("opt/python/a.py", &format!("import {ours}; {ours}.x"))],
            "a",
            "imported",
        );
    }
    // Nothing of this machine's packages is there, and nothing of the managed runtime's.
    for name in ["pip", "boto3"] {
        check(
            &[("opt/python/a.py", &format!("import {name}"))],
            "a",
            &format!(
                "ModuleNotFoundError: No module named '{name}' [{name}] > /opt/python/a.py:1 a <module>\n\
             Runtime.ImportModuleError: Unable to import module 'a': No module named '{name}'"
            ),
        );
    }
    // No layer, no function.
    check(&[], "json", "imported");
}

#[test]
fn a_library_that_only_opt_lib_has_is_found() {
    let Some(trial) = Trial::new(11) else { return };
    // Any library will do that the machine has and that is not loaded yet, under a name that it does not have.
    let source =
        ["/lib/x86_64-linux-gnu/libutil.so.1", "/lib64/libutil.so.1"].iter().find_map(|path| fs::read(path).ok());
    let Some(bytes) = source else { return };
    for place in ["opt/lib", "var/task/lib"] {
        let path = trial.root.path().join(place);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join(format!("lib{}.so.1", place.replace('/', "_"))), &bytes).unwrap();
    }
    let code = "import ctypes\nfor name in ['libopt_lib.so.1', 'libvar_task_lib.so.1']: ctypes.CDLL(name)\n\
                ctypes.CDLL('libnowhere.so.1')";
    let outcome = trial.probe(code);
    let expected = "OSError: libnowhere.so.1: cannot open shared object file: No such file or directory";
    assert!(show(&outcome).starts_with(expected), "{outcome:?}");
}

/// A Python for which the kernel refuses some namespaces; `None` where a way to arrange it is missing.
fn refusing(trial: &Trial, kinds: &str) -> Option<Python> {
    let script = trial.root.path().join("python");
    let python = trial.python.path.display();
    let text = format!(
        "#!/bin/sh\nexec unshare --user --map-root-user sh -c 'for kind in {kinds}; do \
         echo 0 > /proc/sys/user/max_${{kind}}_namespaces || exit 1; done; exec \"$0\" \"$@\"' {python} \"$@\"\n"
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let works = std::process::Command::new(&script).args(["-c", "pass"]).output();
    let works = works.is_ok_and(|output| output.status.success());
    in_force(
        &if works { Guard::InForce } else { Guard::Missing("`unshare --user` does not work".to_owned()) },
        &format!("refusal of {kinds}"),
    )
    .then(|| Python { helper: Some(script), ..trial.python.clone() })
}

#[test]
fn what_the_kernel_refuses_is_done_without_and_said() {
    let check = |kinds: &str, expected: [&str; 4]| {
        let Some(mut trial) = Trial::new(11) else { return };
        let Some(python) = refusing(&trial, kinds) else { return };
        trial.python = python;
        let mark = trial.mark();
        let proof = trial
            .file("opt/python/fine.py", "import three.deep")
            .file("opt/python/three/deep.py", "")
            .file("var/task/fails.py", "\nimport nothing")
            .file("opt/python/hangs.py", "import time\ntime.sleep(1000)")
            .file("opt/python/crashes.py", "import ctypes\nctypes.string_at(0)")
            .file("opt/python/forks.py", "import os, time\nif os.fork() == 0:\n  os.setsid()\n  time.sleep(1000)")
            .file(
                "opt/python/paths.py",
                "import os, sys\nprint(sys.path[0], os.environ['LAMBDA_TASK_ROOT'], os.getcwd())",
            )
            .import_with_short_limit_for(&["hangs"], &["fine", "fails", "crashes", "forks", "paths", "hangs"]);
        let shown: Vec<String> = proof.outcomes.iter().map(show).collect();
        assert_eq!(shown[0], "imported", "{kinds}");
        assert_eq!(
            shown[1],
            "ModuleNotFoundError: No module named 'nothing' [nothing] > /var/task/fails.py:2 fails <module>\n\
             Runtime.ImportModuleError: Unable to import module 'fails': No module named 'nothing'",
            "{kinds}"
        );
        assert!(shown[5].starts_with("time last hangs > /opt/python/hangs.py:2 ? <module>"), "{kinds}: {}", shown[5]);
        assert!(shown[2].starts_with("SIGSEGV last ") && shown[2].contains("/opt/python/crashes.py:2"), "{}", shown[2]);
        assert_eq!(shown[3], "imported", "{kinds}");
        assert_eq!(proof.outcomes[4].stdout, "/var/task /var/task /var/task\n", "{kinds}");
        let Isolation { network, read_only, real_paths, processes } = &proof.isolation;
        let guards = [network, read_only, real_paths, processes].map(|guard| match guard {
            Guard::InForce => "in force",
            Guard::Missing(why) => why,
        });
        assert_eq!(guards, expected, "{kinds}");
        assert_eq!(leftover(&mark), [""; 0], "{kinds}");
    };
    let root = "a file system of its own was refused (No space left on device)";
    let pid = "a PID namespace was refused (No space left on device)";
    check("user", ["in force"; 4]);
    check("net", ["a network namespace was refused (No space left on device)", "in force", "in force", "in force"]);
    check("mnt", ["in force", root, root, "in force"]);
    check("pid", ["in force", "in force", "in force", pid]);
    let network =
        "a network namespace was refused (No space left on device), as was a user namespace (No space left on device)";
    check("user net mnt pid", [network, root, root, pid]);
}

#[test]
fn a_python_that_cannot_be_moved_stays_where_it_is() {
    let check = |lib_is_elsewhere: bool, expected: &str| {
        let Some(mut trial) = Trial::new(11) else { return };
        let prefix = trial.root.path().join("prefix");
        fs::create_dir_all(prefix.join("bin")).unwrap();
        let executable = prefix.join("bin/python3.11");
        fs::copy(&trial.python.path, &executable).unwrap();
        std::os::unix::fs::symlink(trial.python.prefix.join("lib"), prefix.join("lib")).unwrap();
        trial.python.path = executable;
        if lib_is_elsewhere {
            trial.python.prefix = prefix;
        }
        let proof = trial.file("opt/python/a.py", "").file("opt/python/b.py", "").import(&["a", "b"]);
        assert!(proof.outcomes.iter().all(|outcome| outcome.end == End::Imported), "{proof:?}");
        let Guard::Missing(why) = &proof.isolation.real_paths else { panic!("{:?}", proof.isolation) };
        assert!(why.starts_with(expected), "{why}");
    };
    check(true, "this Python does not start under /var/lang: ");
    check(false, "a file system of its own was refused (");
}

#[test]
fn broken_pythons_are_an_error() {
    let Some(mut trial) = Trial::new(11) else { return };
    let mut check = |script: &str, expected: &str| {
        let path = trial.root.path().join("python");
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        trial.python.path = path;
        trial.python.prefix = "/nowhere".into();
        trial.job.modules = vec!["json".to_owned()];
        let error = block(run(&trial.job, &trial.python, |_| ())).unwrap_err();
        let shown = crate::error::chain(&error).replace(&trial.root.path().display().to_string(), "");
        assert_eq!(shown, expected);
    };
    check("#!/bin/sh\necho no such luck >&2", "`/python` does not import modules for us: no such luck");
    check("#!/bin/sh\ncat", "`/python` does not import modules for us: it said nothing");
    check("#!/nowhere", "failed to start `/python`: No such file or directory (os error 2)");
}

#[test]
fn dropping_the_future_ends_everything() {
    let Some(mut trial) = Trial::new(11) else { return };
    trial.job.modules = vec!["hangs".to_owned()];
    let code = "import os, time\nif os.fork() == 0: os.setsid()\ntime.sleep(1000)";
    let trial = trial.file("opt/python/hangs.py", code);
    let mark = trial.mark();
    block(async {
        let mut work = Box::pin(run(&trial.job, &trial.python, |_| ()));
        tokio::time::timeout(Duration::from_secs(3), &mut work).await.expect_err("it hangs");
        assert_eq!(leftover(&mark).len(), 2, "the module and its child");
    });
    let began = Instant::now();
    while !leftover(&mark).is_empty() {
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", leftover(&mark));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The workspace's `target` directory.
fn target_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().join("target")
}

/// An arm64 Python on this x86_64 machine, if `xtask/arm64-python.sh` has made one and qemu-user is installed.
fn arm64() -> Option<Trial> {
    if cfg!(not(target_arch = "x86_64")) {
        return None;
    }
    let x86 = Trial::new(11)?;
    let target = Target::new("python3.11", "arm64", "2026-11-24").unwrap();
    let places = ["/usr/bin", "/usr/local/bin"].map(PathBuf::from);
    let names = ["qemu-aarch64-static", "qemu-aarch64"];
    let search = Search {
        // The first one does not fit, and is passed over.
        candidates: vec![x86.python.path.clone(), target_dir().join("arm64-python/usr/bin/python3.11")],
        emulators: names.iter().flat_map(|name| places.iter().map(move |place| place.join(name))).collect(),
        env: Vec::new(),
    };
    match block(find(target, &search)) {
        Ok(python) => Some(Trial { job: Job { target, ..x86.job }, python, root: x86.root }),
        Err(error) => {
            eprintln!("SKIPPED for arm64: {error}: {:?} (see xtask/arm64-python.sh)", error.tried);
            None
        }
    }
}

#[test]
fn the_first_python_that_fits_is_found() {
    let Some(trial) = Trial::new(11) else { return };
    let target = trial.job.target;
    let real = trial.python.path.clone();
    let script = |name: &str, text: &str| {
        let path = trial.root.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        path
    };
    let says = |fields: &str| format!("#!/bin/sh\nprintf 'layerwise\\t{fields}\\n'");
    let search = |candidates: Vec<PathBuf>| Search {
        candidates,
        emulators: Vec::new(),
        env: vec![("REAL".into(), real.clone().into())],
    };
    let other = layerwise_testkit::python(12);
    let mut candidates = vec![
        trial.root.path().join("nowhere"),
        script("fails", "#!/bin/sh\necho 'pyenv: not found' >&2; exit 127"),
        script("mute", "#!/bin/sh\n"),
        script("text", "hello"),
        script("short", &says("cpython")),
        script("pypy", &says(&format!("pypy\\t3.11.7\\t\\t{}\\tglibc 2.36\\t/p\\t/p", std::env::consts::ARCH))),
    ];
    candidates.extend(other.clone());
    let error = block(find(target, &search(candidates.clone()))).unwrap_err();
    let why: Vec<String> = error.tried.iter().map(|(_, unfit)| unfit.to_string()).collect();
    assert!(why[0].starts_with("does not run: failed to open file") && why[0].ends_with("(os error 2)"), "{}", why[0]);
    assert_eq!(why[1..3], ["does not run: pyenv: not found", "does not run: it says nothing"]);
    assert_eq!(
        why[3..6],
        ["does not run: Exec format error (os error 8)", "does not run: it says nothing", "is pypy, not CPython"]
    );
    if other.is_some() {
        assert!(why[6].starts_with("is Python 3.12."), "{}", why[6]);
    }
    // A shim: what is behind it is found.
    candidates.push(script("shim", "#!/bin/sh\nexec \"$REAL\" \"$@\""));
    let found = block(find(target, &search(candidates.clone()))).unwrap();
    assert_eq!(found, trial.python);
    // The same for the other architecture.
    let other = if target.architecture == Architecture::X86_64 { "arm64" } else { "x86_64" };
    let target = Target::new("3.11", other, "2026-11-24").unwrap();
    let error = block(find(target, &search(vec![real.clone()]))).unwrap_err();
    assert_eq!(error.tried, [(real.clone(), Unfit::Machine(trial.python.machine.clone()))]);
    assert!(error.hints()[0].contains("qemu"));
}

#[test]
fn the_other_architecture_through_qemu() {
    let Some(trial) = arm64() else { return };
    assert_eq!((trial.python.machine.as_str(), trial.python.minor), ("aarch64", 11));
    let sysroot = target_dir().join("arm64-python");
    assert_eq!(trial.python.emulator.as_ref().unwrap().sysroot, Some(sysroot.clone()));
    // Extension modules of both architectures: those of the Pythons themselves.
    let arm64 = sysroot.join("usr/lib/python3.11/lib-dynload/audioop.cpython-311-aarch64-linux-gnu.so");
    let name = "audioop.cpython-311-x86_64-linux-gnu.so";
    let x86 = Trial::new(11).unwrap().python.path;
    let prefix = x86.parent().unwrap().parent().unwrap();
    let x86 = fs::read(prefix.join("lib/python3.11/lib-dynload").join(name)).expect("the usual layout");
    let root = trial.root.path().to_owned();
    let put = |path: &str, bytes: &[u8]| {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::write(root.join(path), bytes).unwrap();
    };
    put("opt/python/good/audioop.cpython-311-aarch64-linux-gnu.so", &fs::read(arm64).unwrap());
    put(&format!("opt/python/wrong/{name}"), &x86);
    put("opt/python/bare/audioop.so", &x86);
    let trial = trial
        .file("opt/python/crashes.py", "import ctypes\nctypes.string_at(0)")
        .file("opt/python/forks.py", "import os, time\nif os.fork() == 0:\n  os.setsid()\n  time.sleep(1000)")
        .file(
            "opt/python/paths.py",
            "import os, sys, platform\nprint(platform.machine(), sys.executable, os.getcwd(), sys.path)\n\
             try: open('/opt/x', 'w')\nexcept OSError as e: print(e.strerror)\nopen('/tmp/x', 'w')",
        );
    let mark = trial.mark();
    let proof = trial.import(&["good.audioop", "wrong.audioop", "bare.audioop", "crashes", "forks", "paths"]);
    let shown: Vec<String> = proof.outcomes.iter().map(show).collect();
    assert_eq!(shown[0], "imported");
    assert!(
        shown[1].starts_with("ModuleNotFoundError: No module named 'wrong.audioop' [wrong.audioop]"),
        "{}",
        shown[1]
    );
    // The loader's words; Lambda's would be the same but for the path of the machine that qemu stands for.
    assert_eq!(
        shown[2],
        "ImportError: /opt/python/bare/audioop.so: cannot open shared object file: No such file or directory\n\
         Runtime.ImportModuleError: Unable to import module 'bare.audioop': /opt/python/bare/audioop.so: \
         cannot open shared object file: No such file or directory"
    );
    assert!(shown[3].starts_with("SIGSEGV last ") && shown[3].contains("/opt/python/crashes.py:2"), "{}", shown[3]);
    assert_eq!(shown[4], "imported");
    if in_force(&proof.isolation.real_paths, "paths under qemu") {
        assert_eq!(
            proof.outcomes[5].stdout,
            "aarch64 /var/lang/bin/python3.11 /var/task ['/var/task', '/opt/python/lib/python3.11/site-packages', \
             '/opt/python', '/var/lang/lib/python3.11/site-packages', '/var/runtime', '/var/lang/lib/python311.zip', \
             '/var/lang/lib/python3.11', '/var/lang/lib/python3.11/lib-dynload', \
             '/var/lang/lib/python3.11/site-packages', '/opt/python/lib/python3.11/site-packages']\n\
             Read-only file system\n"
        );
    }
    assert_eq!(leftover(&mark), [""; 0]);
}
