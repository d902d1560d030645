//! The local Lambda, with the real runtime interface client from the package index, over real HTTP.
//!
//! Answers and words are those of Lambda, as awslambdaric 4.2.2 and the platform give them.

#![cfg(target_os = "linux")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use layerwise_testkit::{Cli, Member, RawZip};
use serde_json::{Value, json};

use super::real_index::{real, skipped};

/// A server, killed when dropped.
struct Serving {
    child: Child,
    port: u16,
    /// What it has printed since.
    printed: Arc<Mutex<String>>,
    _cli: Cli,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// An answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// `Runtime.ExitError: …`, or the result.
    fn outcome(&self) -> String {
        let Ok(body) = serde_json::from_str::<Value>(&self.body) else { return self.body.clone() };
        match (self.header("x-amz-function-error"), body.get("errorType")) {
            (Some("Unhandled"), Some(kind)) => {
                format!("{}: {}", kind.as_str().unwrap_or_default(), body["errorMessage"].as_str().unwrap_or_default())
            }
            _ => body.to_string(),
        }
    }
}

impl Serving {
    /// Serves the project of `cli`; `None`, said aloud, where this machine cannot.
    fn start(test: &str, cli: Cli, more: &[&str]) -> Option<Self> {
        if layerwise_testkit::python(11).is_none() {
            skipped(test, "no Python 3.11 here to run functions with");
            return None;
        }
        let python = layerwise_testkit::python(11).unwrap();
        let mut command = cli.command();
        command.args(["serve", "--port", "0", "--python"]).arg(python).args(more);
        Some(Self::spawn(command, cli))
    }

    /// The same, where no namespaces are to be had: in a user namespace that allows no other.
    fn start_open(test: &str, cli: Cli, more: &[&str]) -> Option<Self> {
        let Some(python) = layerwise_testkit::python(11) else {
            skipped(test, "no Python 3.11 here to run functions with");
            return None;
        };
        const REFUSE: &str = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
        let possible = Command::new("/usr/bin/unshare").args(["--user", "--map-root-user", "true"]).status();
        if !possible.is_ok_and(|status| status.success()) {
            skipped(test, "no unshare here, or no user namespaces to refuse");
            return None;
        }
        let inner = cli.command();
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["--user", "--map-root-user", "/bin/sh", "-c", REFUSE, "sh"]).arg(inner.get_program());
        command.args(["serve", "--port", "0", "--python"]).arg(python).args(more).env_clear();
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(cli.project());
        Some(Self::spawn(command, cli))
    }

    fn spawn(mut command: Command, cli: Cli) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = loop {
            let line = lines.next().expect("it serves").unwrap();
            if let Some(port) = line.strip_prefix("serving at http://127.0.0.1:") {
                break port.parse().unwrap();
            }
        };
        let printed = Arc::new(Mutex::new(String::new()));
        let into = Arc::clone(&printed);
        thread::spawn(move || lines.for_each(|line| *into.lock().unwrap() += &(line.unwrap_or_default() + "\n")));
        Self { child, port, printed, _cli: cli }
    }

    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        send(self.port, method, path, headers, body)
    }

    fn invoke(&self, function: &str, payload: &str) -> Answer {
        let path = format!("/2015-03-31/functions/{function}/invocations");
        self.send("POST", &path, &[("x-amz-log-type", "Tail")], payload.as_bytes())
    }

    fn logs(&self, operation: &str, request: &Value) -> Value {
        let target = format!("Logs_20140328.{operation}");
        self.send("POST", "/", &[("x-amz-target", &target)], request.to_string().as_bytes()).json()
    }

    /// The log of a function.
    fn log(&self, function: &str) -> String {
        let found = self.logs("FilterLogEvents", &json!({ "logGroupName": format!("/aws/lambda/{function}") }));
        let events = found["events"].as_array().unwrap().iter();
        events.map(|event| event["message"].as_str().unwrap().to_owned()).collect()
    }

    /// The processes below the server: number, and what it runs.
    fn processes(&self) -> Vec<(u32, String)> {
        let mut found = Vec::new();
        let mut waiting = vec![self.child.id()];
        while let Some(parent) = waiting.pop() {
            let output = Command::new("pgrep").args(["-a", "-P", &parent.to_string()]).output().unwrap();
            for line in String::from_utf8_lossy(&output.stdout).lines() {
                let (number, command) = line.split_once(' ').unwrap_or((line, ""));
                let number = number.parse().unwrap();
                waiting.push(number);
                found.push((number, command.to_owned()));
            }
        }
        found
    }
}

/// Whether an answer has as many bytes as it says.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    length.is_some_and(|length| answer.len() >= end + 4 + length)
}

/// One request on a connection of its own.
fn send(port: u16, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let host = format!("127.0.0.1:{port}");
    let host = headers.iter().find(|(name, _)| *name == "host").map_or(host.as_str(), |(_, value)| value);
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers.iter().filter(|(name, _)| *name != "host") {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    // It may answer and close before it has read all.
    stream.write_all(body).ok();
    let mut bytes = Vec::new();
    let mut piece = [0; 64 << 10];
    // Not everybody closes the connection when asked to.
    while !is_whole(&bytes) {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, headers: head.to_owned(), body: body.to_owned() }
}

const INDEX: &str = r#"
import os, signal, sys, time
def ok(event, context): return event
def raises(event, context): raise ValueError("no")
def exits(event, context): sys.exit(3)
def leaves(event, context): os._exit(0)
def crashes(event, context): os.kill(os.getpid(), signal.SIGSEGV); time.sleep(9)
def forks(event, context):
    for _ in range(5):
        if os.fork() == 0: time.sleep(1000)
    time.sleep(1000)
def answers(event, context):
    http = event["requestContext"]["http"]
    words = [http["method"], event["rawPath"], event["rawQueryString"], str(event.get("body"))]
    return {"statusCode": 201, "cookies": ["a=1"], "body": " ".join(words)}
def where(event, context): return os.environ["AWS_LAMBDA_RUNTIME_API"]
def detaches(event, context):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.execvp("sleep", ["sleep", event["mark"]])
        os._exit(0)
    os.wait()
    if event.get("stay"): time.sleep(1000)
def divides(event, context):
    for _ in range(3):
        if os.fork() == 0:
            kept = b"x" * 60_000_000
            time.sleep(1000)
    time.sleep(1000)
def peaks(event, context): len(b"x" * 70_000_000)
def floods(event, context):
    while True: print("x" * 999)
def prints(event, context):
    for _ in range(10000): print("x" * 9999)
def large(event, context): return "x" * 7_000_000
def a_set(event, context): return {1}
def sleeps(event, context): time.sleep(event.get("for", 100)); return "awake"
def opens(event, context):
    kept = []
    for _ in range(2000): kept.append(open("/dev/null"))
def stays(event, context): signal.signal(signal.SIGTERM, signal.SIG_IGN)
def grows(event, context):
    kept = []
    while True: kept.append(bytearray(10_000_000)); time.sleep(0.01)
def writes(event, context):
    def tried(path):
        try: open(path, "w").close()
        except OSError as error: return error.strerror
        return "written"
    return [tried(path) for path in ("/var/task/a", "/opt/a", "/a", "/proc/sys/kernel/core_pattern", "/tmp/a")]
def sees(event, context):
    return [sys.path[:5], [os.environ.get(name) for name in ("LANG", "LC_CTYPE", "SHLVL", "_AWS_XRAY_DAEMON_PORT")], os.environ["LAMBDA_TASK_ROOT"], os.environ["AWS_EXECUTION_ENV"], os.getcwd(),
            "HOME" in os.environ, context.function_name, context.memory_limit_in_mb, os.path.exists("/dev/shm")]
def told(event, context): print("INFO one"); print("ERROR two"); return context.client_context and context.client_context.custom
"#;

/// Function → file.handler of a project with all of them.
const FUNCTIONS: [(&str, &str); 31] = [
    ("ok", "index.ok"),
    ("raises", "index.raises"),
    ("exits", "index.exits"),
    ("leaves", "index.leaves"),
    ("crashes", "index.crashes"),
    ("forks", "index.forks"),
    ("answers", "index.answers"),
    ("where", "index.where"),
    ("detaches", "index.detaches"),
    ("divides", "index.divides"),
    ("peaks", "index.peaks"),
    ("floods", "index.floods"),
    ("prints", "index.prints"),
    ("large", "index.large"),
    ("a_set", "index.a_set"),
    ("sleeps", "index.sleeps"),
    ("opens", "index.opens"),
    ("stays", "index.stays"),
    ("grows", "index.grows"),
    ("writes", "index.writes"),
    ("sees", "index.sees"),
    ("told", "index.told"),
    ("import-missing", "missing.h"),
    ("syntax", "syntax.h"),
    ("raises-at-import", "raising.h"),
    ("exits-at-import", "exiting.h"),
    ("no-attribute", "index.gone"),
    ("builtin", "sys.exit"),
    ("no-module", "gone.h"),
    ("a-library", "library.h"),
    ("in-a-folder", "folder/inner.h"),
];

fn project(test: &str) -> Option<Cli> {
    let mut config = "runtime = 'python3.11'\n".to_owned();
    for (name, handler) in FUNCTIONS {
        config += &format!("[function.{name}]\ncode = 'src'\nhandler = '{handler}'\ntimeout = 2\n");
    }
    let cli = real(test)?.file("layerwise.toml", config).file("src/index.py", INDEX);
    let cli = cli.file("src/missing.py", "import not_there\n").file("src/syntax.py", "def h(:\n");
    let cli =
        cli.file("src/raising.py", "raise OSError('at import')\n").file("src/exiting.py", "import sys\nsys.exit(4)\n");
    let cli = cli.file("src/library.py", "import ctypes\nctypes.CDLL('libnot.so.1')\n");
    Some(cli.file("src/folder/inner.py", "def h(event, context):\n    return 'inner'\n"))
}

/// Every row of lambda-facts 4.2, and every row of the issue's bad input.
#[test]
fn answers_are_lambdas() {
    let Some(cli) = project("answers_are_lambdas") else { return };
    let Some(serving) = Serving::start("answers_are_lambdas", cli, &["--concurrency", "4"]) else { return };
    let check = |function: &str, payload: &str, expected: &str| {
        let answer = serving.invoke(function, payload);
        let request = answer.header("x-amzn-requestid").unwrap_or_default().to_owned();
        assert_eq!(answer.outcome().replace(&request, "ID"), expected, "{function}");
    };
    check("ok", "{\"a\":1}", "{\"a\":1}");
    check("ok", "", "{}");
    check("in-a-folder", "{}", "\"inner\"");
    check("raises", "{}", "ValueError: no");
    check(
        "a_set",
        "{}",
        "Runtime.MarshalError: Unable to marshal response: Object of type set is not JSON serializable",
    );
    check(
        "import-missing",
        "{}",
        "Runtime.ImportModuleError: Unable to import module 'missing': No module named 'not_there'",
    );
    check("no-module", "{}", "Runtime.ImportModuleError: Unable to import module 'gone': No module named 'gone'");
    check("no-attribute", "{}", "Runtime.HandlerNotFound: Handler 'gone' missing on module 'index'");
    check("builtin", "{}", "Runtime.BuiltInModuleConflict: Cannot use built-in module sys as a handler module");
    check("raises-at-import", "{}", "OSError: at import");
    check("a-library", "{}", "OSError: libnot.so.1: cannot open shared object file: No such file or directory");
    let syntax = serving.invoke("syntax", "{}").outcome();
    assert!(syntax.starts_with("Runtime.UserCodeSyntaxError: Syntax error in module 'syntax': "), "{syntax}");
    let exit = |said: &str| format!("Runtime.ExitError: RequestId: ID Error: Runtime exited {said}");
    check("exits", "{}", &exit("with error: exit status 3"));
    check("exits-at-import", "{}", &exit("with error: exit status 4"));
    check("leaves", "{}", &exit("without providing a reason"));
    check("crashes", "{}", &exit("with error: signal: segmentation fault"));
    check("grows", "{}", &exit("with error: signal: killed"));
    let timeout = "Sandbox.Timedout: RequestId: ID Error: Task timed out after 2.00 seconds";
    check("sleeps", "{}", timeout);
    check("forks", "{}", timeout);
    check("floods", "{}", timeout);
    check("divides", "{}", &exit("with error: signal: killed"));
    check("opens", "{}", "OSError: [Errno 24] Too many open files: '/dev/null'");
    let large =
        "Function.ResponseSizeTooLarge: Response payload size exceeded maximum allowed payload size (6291556 bytes).";
    check("large", "{}", large);
    // The log has Lambda's lines, and what the check knows.
    let log = serving.log("import-missing");
    for part in [
        "INIT_REPORT Init Duration: ",
        "Error Type: Runtime.ImportModuleError",
        "layerwise: import-missing: `not_there`",
    ] {
        assert!(log.contains(part), "{part}\n{log}");
    }
    assert_eq!(log.matches("INIT_REPORT").count(), 2, "the start is tried again\n{log}");
    let log = serving.log("no-attribute");
    assert!(log.contains("layerwise: handler: Handler 'gone' missing on module 'index'"), "{log}");
    assert!(serving.log("sleeps").contains("Task timed out after 2.00 seconds"), "{}", serving.log("sleeps"));
    check("prints", "{}", "null");
    check("stays", "{}", "null");
    check("writes", "{}", &format!("[{}\"written\"]", "\"Read-only file system\",".repeat(4)));
    let path = "[\"/var/task\",\"/opt/python/lib/python3.11/site-packages\",\"/opt/python\",\
                \"/var/lang/lib/python3.11/site-packages\",\"/var/runtime\"]";
    let names = "[\"en_US.UTF-8\",null,\"0\",\"2000\"]";
    check(
        "sees",
        "{}",
        &format!("[{path},{names},\"/var/task\",\"AWS_Lambda_python3.11\",\"/var/task\",false,\"sees\",\"128\",false]"),
    );
    // After all that, it works as before.
    check("ok", "{\"a\":2}", "{\"a\":2}");

    // The newest lines are kept, whoever wrote them.
    assert!(serving.log("prints").len() < 16 << 20, "logs are bounded");
}

#[test]
fn the_api_is_lambdas() {
    let Some(cli) = project("the_api_is_lambdas") else { return };
    let Some(serving) = Serving::start("the_api_is_lambdas", cli, &[]) else { return };
    let invocations = "/2015-03-31/functions/ok/invocations";
    let check = |answer: &Answer, status: u16, kind: &str, part: &str| {
        assert_eq!(
            (answer.status, answer.header("x-amzn-errortype").unwrap_or_default()),
            (status, kind),
            "{answer:?}"
        );
        assert!(answer.body.contains(part), "{answer:?}");
    };
    let gone = serving.invoke("gone", "{}");
    check(
        &gone,
        404,
        "ResourceNotFoundException",
        "Function not found: arn:aws:lambda:us-east-1:000000000000:function:gone",
    );
    check(
        &serving.invoke("ok", "no JSON"),
        400,
        "InvalidRequestContentException",
        "Could not parse request body into json",
    );
    let huge = format!("\"{}\"", "x".repeat(6_300_000));
    check(
        &serving.invoke("ok", &huge),
        413,
        "RequestEntityTooLargeException",
        "Request must be smaller than 6291556 bytes",
    );
    check(
        &serving.send("POST", &format!("{invocations}?Qualifier=7"), &[], b"{}"),
        404,
        "ResourceNotFoundException",
        "function:ok:7",
    );
    check(&serving.send("POST", &format!("{invocations}?Qualifier=%24LATEST"), &[], b"{}"), 200, "", "{}");
    let arn = "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Aok/invocations";
    check(&serving.send("POST", arn, &[], b"[1]"), 200, "", "[1]");
    check(&serving.send("POST", invocations, &[("x-amz-invocation-type", "DryRun")], b"{}"), 204, "", "");
    check(
        &serving.send("POST", invocations, &[("x-amz-invocation-type", "Nothing")], b"{}"),
        400,
        "InvalidParameterValueException",
        "",
    );
    check(&serving.send("GET", "/nothing", &[], b""), 404, "UnknownOperationException", "");

    // Who may come in.
    check(&serving.send("POST", invocations, &[("host", "evil.example")], b"{}"), 403, "AccessDeniedException", "");
    check(
        &serving.send("POST", invocations, &[("origin", "http://evil.example")], b"{}"),
        403,
        "AccessDeniedException",
        "",
    );
    check(&serving.send("POST", invocations, &[("authorization", "nonsense")], b"{}"), 200, "", "{}");

    let functions = serving.send("GET", "/2015-03-31/functions/", &[], b"").json();
    assert_eq!(functions["Functions"].as_array().unwrap().len(), FUNCTIONS.len());
    let one = serving.send("GET", "/2015-03-31/functions/ok/configuration", &[], b"").json();
    assert_eq!(
        (&one["Handler"], &one["Timeout"], &one["Runtime"]),
        (&json!("index.ok"), &json!(2), &json!("python3.11"))
    );

    // The log's tail, and the client's context.
    let context = BASE64_STANDARD.encode(r#"{"custom":{"a":"b"},"env":{},"client":{}}"#);
    let headers = [("x-amz-log-type", "Tail"), ("x-amz-client-context", context.as_str())];
    let told = serving.send("POST", "/2015-03-31/functions/told/invocations", &headers, b"{}");
    assert_eq!(told.body, "{\"a\": \"b\"}");
    let tail = BASE64_STANDARD.decode(told.header("x-amz-log-result").unwrap()).unwrap();
    let tail = String::from_utf8(tail).unwrap();
    let places: Vec<_> = ["START RequestId: ", "INFO one\n", "ERROR two\n", "END RequestId: ", "REPORT RequestId: "]
        .iter()
        .map(|part| tail.find(part))
        .collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{tail}");

    // The function's URL, in both forms.
    let url = serving.send("PUT", "/url/answers/a/b?x=1", &[("content-type", "text/plain")], b"hi");
    assert_eq!((url.status, url.body.as_str(), url.header("set-cookie")), (201, "PUT /a/b x=1 hi", Some("a=1")));
    let config = serving.send("GET", "/2021-10-31/functions/answers/url", &[], b"").json();
    let url = format!("http://answers.lambda-url.localhost:{}/", serving.port);
    assert_eq!(config["FunctionUrl"], url.as_str());
    let host = [("host", url.trim_start_matches("http://").trim_end_matches('/'))];
    assert_eq!(serving.send("GET", "/c", &host, b"").body, "GET /c  None");
    assert_eq!(serving.send("GET", "/url/raises/", &[], b"").status, 502);
    assert_eq!(serving.send("GET", "/url/gone/", &[], b"").status, 404);
    assert_eq!(serving.send("GET", "/url/ok/", &[("origin", "http://evil.example")], b"").status, 403);

    // What `aws logs` asks for.
    let group = json!({ "logGroupName": "/aws/lambda/told", "filterPattern": "ERROR" });
    let found = serving.logs("FilterLogEvents", &group);
    let messages: Vec<&Value> = found["events"].as_array().unwrap().iter().map(|event| &event["message"]).collect();
    assert_eq!(messages, ["ERROR two\n"]);
    let streams = serving.logs("DescribeLogStreams", &group);
    let stream = streams["logStreams"][0]["logStreamName"].as_str().unwrap().to_owned();
    let all = serving.logs(
        "GetLogEvents",
        &json!({ "logGroupName": "/aws/lambda/told", "logStreamName": stream, "startFromHead": true }),
    );
    assert!(all["events"][0]["message"].as_str().unwrap().starts_with("INIT_START Runtime Version: python:3.11"));
    let unknown = serving.logs("FilterLogEvents", &json!({ "logGroupName": "/aws/lambda/gone" }));
    assert_eq!(unknown["__type"], "ResourceNotFoundException");

    // The page, and what it lives on.
    assert!(serving.send("GET", "/", &[], b"").body.contains("<title>layerwise serve</title>"));
    assert!(serving.send("GET", "/layerwise/samples", &[], b"").json()["s3"]["Records"].is_array());

    // An asynchronous invocation that fails is tried three times.
    let event =
        serving.send("POST", "/2015-03-31/functions/raises/invocations", &[("x-amz-invocation-type", "Event")], b"{}");
    assert_eq!(event.status, 202);
    let began = Instant::now();
    let id = event.header("x-amzn-requestid").expect("the answer has the request's id").to_owned();
    // All tries have the id of the answer.
    while serving.log("raises").matches(&format!("START RequestId: {id} ")).count() < 3 {
        assert!(began.elapsed() < Duration::from_secs(30), "{}", serving.log("raises"));
        thread::sleep(Duration::from_millis(100));
    }

    // Not without bound: 32 MiB of events may wait.
    let megabyte = format!("{{\"for\": 1.9, \"x\": \"{}\"}}", "x".repeat(1_000_000));
    let send = || {
        let path = "/2015-03-31/functions/sleeps/invocations";
        serving.send("POST", path, &[("x-amz-invocation-type", "Event")], megabyte.as_bytes())
    };
    let answers: Vec<Answer> = (0..60).map(|_| send()).collect();
    assert!(answers[..32].iter().all(|answer| answer.status == 202), "{answers:?}");
    check(answers.last().unwrap(), 429, "TooManyRequestsException", "Rate Exceeded.");
}

#[test]
fn edits_are_there_at_the_next_invocation() {
    let Some(cli) = project("edits_are_there_at_the_next_invocation") else { return };
    let source = cli.project().join("src/index.py");
    let config = cli.project().join("layerwise.toml");
    let Some(serving) = Serving::start("edits_are_there_at_the_next_invocation", cli, &[]) else { return };
    assert_eq!(serving.invoke("ok", "{}").outcome(), "{}");
    thread::sleep(Duration::from_millis(200));
    fs_err::write(
        &source,
        INDEX.replace("def ok(event, context): return event", "def ok(event, context): return 'edited'"),
    )
    .unwrap();
    assert_eq!(serving.invoke("ok", "{}").outcome(), "\"edited\"");
    thread::sleep(Duration::from_millis(200));
    // What cannot be built leaves the former one up.
    let good = fs_err::read_to_string(&config).unwrap();
    fs_err::write(&config, format!("{good}layers = ['gone']\n")).unwrap();
    assert_eq!(serving.invoke("ok", "{}").outcome(), "\"edited\"");
    thread::sleep(Duration::from_millis(200));
    fs_err::write(&config, good.replace("'index.ok'", "'index.a_set'")).unwrap();
    assert!(serving.invoke("ok", "{}").outcome().starts_with("Runtime.MarshalError"));
}

#[test]
fn counts_add_up_and_nothing_is_left() {
    let Some(cli) = project("counts_add_up_and_nothing_is_left") else { return };
    let Some(mut serving) = Serving::start("counts_add_up_and_nothing_is_left", cli, &["--concurrency", "10"]) else {
        return;
    };
    let many = if std::env::var_os("LAYERWISE_SLOW_TESTS").is_some() { 1000 } else { 60 };
    let statuses: Vec<u16> = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..many).map(|_| scope.spawn(|| serving.invoke("sleeps", "{\"for\": 0.5}").status)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let count = |status: u16| statuses.iter().filter(|one| **one == status).count();
    assert_eq!(count(200) + count(429), many, "{statuses:?}");
    assert!(count(200) >= 10 && count(429) > 0, "{statuses:?}");
    let reports = serving.log("sleeps").matches("REPORT RequestId").count();
    assert_eq!(reports, count(200), "one REPORT for each that ran");
    let calls = if many == 1000 { 10_000 } else { 200 };
    for number in 0..calls {
        assert_eq!(serving.invoke("ok", &number.to_string()).body, number.to_string());
    }

    let busy = || serving.processes().into_iter().filter(|(_, command)| command.contains("bootstrap.py"));
    // The function is killed in the midst of an invocation: that one fails, the next one has a new environment.
    thread::scope(|scope| {
        let invoked = scope.spawn(|| serving.invoke("sleeps", "{\"for\": 1.9}").outcome());
        thread::sleep(Duration::from_millis(700));
        for (number, _) in busy() {
            Command::new("kill").args(["-9", &number.to_string()]).status().unwrap();
        }
        let outcome = invoked.join().unwrap();
        assert!(outcome.ends_with("Error: Runtime exited with error: signal: killed"), "{outcome}");
    });
    assert_eq!(serving.invoke("ok", "1").body, "1");

    // The server is killed in the midst of an invocation: nothing of it stays.
    let port = serving.port;
    let invoked = thread::spawn(move || {
        let path = "/2015-03-31/functions/sleeps/invocations";
        let sent = std::panic::catch_unwind(|| send(port, "POST", path, &[], b"{\"for\": 1.9}"));
        sent.map_or(0, |answer| answer.status)
    });
    thread::sleep(Duration::from_millis(700));
    let processes = serving.processes();
    assert!(processes.iter().any(|(_, command)| command.contains("bootstrap.py")), "{processes:?}");
    serving.child.kill().unwrap();
    serving.child.wait().unwrap();
    assert_eq!(invoked.join().unwrap(), 0, "there was no answer");
    let began = Instant::now();
    let alive =
        |(number, _): &(u32, String)| std::path::Path::new("/proc").join(number.to_string()).join("exe").exists();
    while processes.iter().any(alive) {
        assert!(began.elapsed() < Duration::from_secs(5), "{processes:?} are still alive");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Numbers of processes with this in their command line, wherever they hang.
fn marked(mark: &str) -> Vec<u32> {
    let output = Command::new("pgrep").args(["-f", &format!("^sleep {mark}")]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().map(|number| number.parse().unwrap()).collect()
}

#[track_caller]
fn wait_until(what: &str, seconds: u64, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < Duration::from_secs(seconds), "{what}: not after {seconds} s");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Without namespaces: what a function starts does not stay, memory is bounded, and the log says what differs.
#[test]
fn without_namespaces() {
    const TEST: &str = "without_namespaces";
    let Some(cli) = project(TEST) else { return };
    let Some(mut serving) = Serving::start_open(TEST, cli, &["--concurrency", "4"]) else { return };
    assert_eq!(serving.invoke("ok", "{\"a\":1}").outcome(), "{\"a\":1}");
    let log = serving.log("ok");
    assert!(log.contains("layerwise: namespaces are not to be had here: paths and files are this machine's"), "{log}");
    assert!(log.contains("layerwise: failed to make namespaces: "), "{log}");
    assert!(!log.contains("INIT_REPORT"), "it has not failed to start\n{log}");

    // A child that has left its parent, its session and SIGTERM behind it ends with the environment all the same.
    let mark = |number: u32| format!("{}.{number}", 700_000 + std::process::id());
    let payload = |number: u32, stay: bool| json!({ "mark": mark(number), "stay": stay }).to_string();
    let answer = serving.invoke("detaches", &payload(1, true)).outcome();
    assert!(answer.ends_with("Task timed out after 2.00 seconds"), "{answer}");
    wait_until("the orphan of a timeout is gone", 5, || marked(&mark(1)).is_empty());
    assert!(serving.invoke("forks", "{}").outcome().ends_with("Task timed out after 2.00 seconds"));
    wait_until("its children are gone", 5, || {
        serving.processes().iter().filter(|(_, command)| command.contains("bootstrap.py")).count() == 1
    });

    // The whole tree counts.
    let killed = "Error: Runtime exited with error: signal: killed";
    for function in ["grows", "divides"] {
        let answer = serving.invoke(function, "{}").outcome();
        assert!(answer.starts_with("Runtime.ExitError") && answer.ends_with(killed), "{function}: {answer}");
    }
    serving.invoke("peaks", "{}");
    let log = serving.log("peaks");
    let most: u64 = log.rsplit_once("Max Memory Used: ").unwrap().1.split(' ').next().unwrap().parse().unwrap();
    assert!((67..128).contains(&most), "a peak that has passed counts\n{log}");

    // The keeper itself is killed.
    thread::scope(|scope| {
        let invoked = scope.spawn(|| serving.invoke("detaches", &payload(3, true)).outcome());
        wait_until("it has detached", 5, || marked(&mark(3)).len() == 1);
        let keepers: Vec<_> =
            serving.processes().into_iter().filter(|(_, command)| command.contains("__lambda-keeper")).collect();
        assert!(!keepers.is_empty());
        for (number, _) in keepers {
            Command::new("kill").args(["-9", &number.to_string()]).status().unwrap();
        }
        let outcome = invoked.join().unwrap();
        assert!(outcome.ends_with("Runtime exited with error: signal: killed"), "{outcome}");
    });
    wait_until("what it kept is gone", 5, || marked(&mark(3)).is_empty());

    // The server is killed: the runtime, and what it has left behind, end with it.
    assert_eq!(serving.invoke("detaches", &payload(2, false)).outcome(), "null");
    assert_eq!(marked(&mark(2)).len(), 1, "it lives as long as its environment");
    let processes = serving.processes();
    assert!(processes.iter().any(|(_, command)| command.contains("bootstrap.py")), "{processes:?}");
    serving.child.kill().unwrap();
    serving.child.wait().unwrap();
    let alive = |(number, _): &(u32, String)| std::path::Path::new(&format!("/proc/{number}/exe")).exists();
    wait_until("nothing is left", 5, || !processes.iter().any(alive) && marked(&mark(2)).is_empty());
}

/// An extension that subscribes to telemetry and writes down what it gets.
const EXTENSION: &str = r#"#!/usr/bin/env python3
import http.server, json, os, socket, sys, threading, time, urllib.error, urllib.request
API = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"]
FILE = os.environ.get("TMPDIR", "/tmp") + "/telemetry"
got = []
class Listener(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        got.extend(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        with open(FILE + ".new", "w") as file: json.dump(got, file)
        os.replace(FILE + ".new", FILE)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *args): pass
try: at = (socket.gethostbyname("sandbox.localdomain"), 4243)
except OSError: at = ("0.0.0.0", 0)
server = http.server.HTTPServer(at, Listener)
threading.Thread(target=server.serve_forever, daemon=True).start()
def call(method, path, body=None, **headers):
    headers = {key.replace("_", "-"): value for key, value in headers.items()}
    data = json.dumps(body).encode() if body else None
    return urllib.request.urlopen(urllib.request.Request(API + path, data, headers, method=method))
def subscribe(uri):
    try:
        call("PUT", "/2022-07-01/telemetry", {
            "schemaVersion": "2022-12-13", "types": ["platform", "function", "extension"],
            "buffering": {"maxItems": 1000, "maxBytes": 262144, "timeoutMs": 25},
            "destination": {"protocol": "HTTP", "URI": uri}}, Lambda_Extension_Identifier=ID)
        return 200
    except urllib.error.HTTPError as error: return error.code
answer = call("POST", "/2020-01-01/extension/register", {"events": ["INVOKE", "SHUTDOWN"]}, Lambda_Extension_Name="watcher")
ID = answer.headers["Lambda-Extension-Identifier"]
print("extension: subscribed", subscribe("http://evil.example:80"), subscribe(f"http://sandbox.localdomain:{server.server_port}/x"),
      "_HANDLER" in os.environ, flush=True)
while True:
    event = json.load(call("GET", "/2020-01-01/extension/event/next", Lambda_Extension_Identifier=ID))
    if event["eventType"] == "SHUTDOWN":
        left = event["deadlineMs"] - time.time() * 1000
        print("extension: SHUTDOWN", event["shutdownReason"], 1000 < left <= 2000, flush=True)
        break
"#;

const WATCHED: &str = r#"
import json, os, signal, sys, time
def stop(*_):
    print("the function has got SIGTERM")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
def h(event, context):
    print("from the function")
    if "exit" in event: os._exit(event["exit"])
    time.sleep(event.get("for", 0))
    try: return json.load(open(os.environ.get("TMPDIR", "/tmp") + "/telemetry"))
    except FileNotFoundError: return []
"#;

/// A project whose function `watched` has the extension.
fn watched(test: &str) -> Option<Cli> {
    let config = "runtime = 'python3.11'\n[function.watched]\ncode = 'src'\nhandler = 'index.h'\ntimeout = 3\n\
                  layers = ['./watcher.zip']\n";
    let layer = RawZip::new().member(Member::new("extensions/watcher", EXTENSION).mode(0o100_755));
    let cli = real(test)?.file("layerwise.toml", config).file("src/index.py", WATCHED);
    Some(cli.file("watcher.zip", layer.bytes()))
}

/// Invokes until the extension has been sent an event for which `wanted` says so; all that it was sent.
#[track_caller]
fn telemetry(serving: &Serving, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    let mut got = Vec::new();
    wait_until("telemetry", 20, || {
        let answer = serving.invoke("watched", "{}");
        got = answer.json().as_array().unwrap_or_else(|| panic!("{answer:?}\n{}", serving.log("watched"))).clone();
        got.iter().any(&wanted)
    });
    got
}

/// An external extension gets telemetry, and hears of each end, as on Lambda.
#[test]
fn extensions_are_lambdas() {
    const TEST: &str = "extensions_are_lambdas";
    let Some(cli) = watched(TEST) else { return };
    let source = cli.project().join("src/index.py");
    let Some(mut serving) = Serving::start(TEST, cli, &[]) else { return };
    // Two environments at once: each has its own `sandbox.localdomain`.
    thread::scope(|scope| {
        let both = [0, 1].map(|_| scope.spawn(|| serving.invoke("watched", "{\"for\": 1}")));
        for answer in both {
            assert_eq!(answer.join().unwrap().status, 200);
        }
    });
    let got = telemetry(&serving, |event| event["type"] == "platform.report");
    let types: Vec<&str> = got.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let first = |kind: &str| {
        let at = types.iter().position(|one| *one == kind).unwrap_or_else(|| panic!("no {kind}: {types:?}"));
        (at, &got[at]["record"])
    };
    let order = [
        "platform.initStart",
        "platform.telemetrySubscription",
        "platform.extension",
        "platform.initRuntimeDone",
        "platform.initReport",
        "platform.start",
        "function",
        "platform.runtimeDone",
        "platform.report",
    ];
    assert!(order.map(|kind| first(kind).0).is_sorted(), "{types:?}");
    assert_eq!(first("function").1, "from the function");
    assert_eq!(first("extension").1, "extension: subscribed 400 200 False");
    assert_eq!(
        first("platform.extension").1,
        &json!({ "name": "watcher", "state": "Ready", "events": ["INVOKE", "SHUTDOWN"] })
    );
    let start = first("platform.start").1;
    let report = first("platform.report").1;
    assert_eq!((&start["requestId"], &report["status"]), (&report["requestId"], &json!("success")));
    let metrics = &report["metrics"];
    assert!(metrics["durationMs"].as_f64() > Some(900.0) && metrics["initDurationMs"].is_number(), "{report}");
    assert!(first("platform.runtimeDone").1["metrics"]["producedBytes"].is_number());
    let log = serving.log("watched");
    for line in [
        "EXTENSION\tName: watcher\tState: Ready\tEvents: [INVOKE, SHUTDOWN]\n",
        "TELEMETRY\tName: watcher\tState: Subscribed\tTypes: [platform, function, extension]\n",
    ] {
        assert!(log.contains(line), "{log}");
    }

    // Why it ends.
    let told = |reason: &str| {
        let line = format!("extension: SHUTDOWN {reason} True\n");
        wait_until(&line, 5, || serving.log("watched").contains(&line));
    };
    let timeout = serving.invoke("watched", "{\"for\": 100}").outcome();
    assert!(timeout.ends_with("Task timed out after 3.00 seconds"), "{timeout}");
    told("timeout");
    let exit = serving.invoke("watched", "{\"exit\": 3}").outcome();
    assert!(exit.ends_with("Runtime exited with error: exit status 3"), "{exit}");
    told("failure");
    serving.invoke("watched", "{}");
    fs_err::write(&source, format!("{WATCHED}# edited\n")).unwrap();
    thread::sleep(Duration::from_millis(200));
    serving.invoke("watched", "{}");
    told("spindown");

    // Ctrl-C in the midst of an invocation: the function hears of it, and then the extension.
    let port = serving.port;
    let invoked = thread::spawn(move || {
        send(port, "POST", "/2015-03-31/functions/watched/invocations", &[], b"{\"for\": 2}").outcome()
    });
    thread::sleep(Duration::from_millis(700));
    let processes = serving.processes();
    serving.printed.lock().unwrap().clear();
    let began = Instant::now();
    Command::new("kill").args(["-INT", &serving.child.id().to_string()]).status().unwrap();
    assert_eq!(serving.child.wait().unwrap().code(), Some(130));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let answer = invoked.join().unwrap();
    assert!(answer.contains("the local Lambda was stopped") || answer.is_empty(), "{answer}");
    let printed = || serving.printed.lock().unwrap().clone();
    wait_until("the end is seen", 5, || printed().contains("extension: SHUTDOWN spindown True"));
    let [function, extension] =
        ["the function has got SIGTERM", "extension: SHUTDOWN"].map(|part| printed().find(part));
    assert!(function.is_some() && function < extension, "{}", printed());
    assert!(!processes.iter().any(|(number, _)| std::path::Path::new(&format!("/proc/{number}/exe")).exists()));
}

/// The same where there are no namespaces.
#[test]
fn extensions_without_namespaces() {
    const TEST: &str = "extensions_without_namespaces";
    let Some(cli) = watched(TEST) else { return };
    let source = cli.project().join("src/index.py");
    let Some(serving) = Serving::start_open(TEST, cli, &["--concurrency", "1"]) else { return };
    let got = telemetry(&serving, |event| event["type"] == "platform.report");
    assert!(got.iter().any(|event| event["type"] == "extension"), "{got:?}");
    fs_err::write(&source, format!("{WATCHED}# edited\n")).unwrap();
    thread::sleep(Duration::from_millis(200));
    serving.invoke("watched", "{}");
    wait_until("it hears of the end", 5, || serving.log("watched").contains("extension: SHUTDOWN spindown True"));
}

/// What a function's own API refuses: who is not in the environment.
#[test]
fn the_runtime_api_is_the_environments() {
    const TEST: &str = "the_runtime_api_is_the_environments";
    let Some(cli) = project(TEST) else { return };
    let Some(serving) = Serving::start(TEST, cli, &["--function", "where"]) else { return };
    let address = serving.invoke("where", "{}").json();
    let port = address.as_str().unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
    let register =
        |headers: &[(&str, &str)]| send(port, "POST", "/2020-01-01/extension/register", headers, b"{}").status;
    assert_eq!(register(&[("host", "evil.example")]), 403);
    assert_eq!(register(&[("origin", "http://evil.example")]), 403);
    assert_eq!(register(&[]), 200);
}

#[test]
fn one_shot() {
    let Some(cli) = project("one_shot") else { return };
    let Some(python) = layerwise_testkit::python(11) else {
        skipped("one_shot", "no Python 3.11 here to run functions with");
        return;
    };
    let invoke = |cli: Cli, words: &[&str]| {
        let words = ["invoke"].iter().chain(words).map(|word| (*word).to_owned());
        let cli = cli.args(words.chain(["--python".to_owned(), python.display().to_string()]));
        let run = cli.run();
        (cli, run)
    };
    let (cli, run) = invoke(cli, &["ok", "--payload", "{\"a\": 1}"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "{\"a\": 1}\n"), "{run}");
    assert!(run.stderr.contains("START RequestId: ") && run.stderr.contains("REPORT RequestId: "), "{run}");
    let (cli, run) = invoke(cli, &["ok", "--event", "s3"]);
    assert!(run.stdout.contains("\"aws:s3\""), "{run}");
    let (cli, run) = invoke(cli, &["raises"]);
    assert_eq!(run.code, Some(12), "{run}");
    assert!(run.stdout.contains("ValueError"), "{run}");
    let (cli, run) = invoke(cli, &["ok", "--payload", "no JSON"]);
    assert_eq!(run.code, Some(2), "{run}");
    let (_cli, run) = invoke(cli, &["gone"]);
    assert_eq!(run.code, Some(2), "{run}");
    assert!(run.stderr.contains("there is no function `gone`"), "{run}");
}

/// A Python without `site-packages`: that of Debian, and Debian's of arm64 through qemu-user.
#[test]
fn one_shot_with_debians_python() {
    const TEST: &str = "one_shot_with_debians_python";
    let arm64 = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/arm64-python/usr/bin/python3.11");
    for (python, architecture, machine) in
        [("/usr/bin/python3.11".into(), "x86_64", "x86_64"), (arm64, "arm64", "aarch64")]
    {
        let emulated = architecture == "arm64" && !std::path::Path::new("/usr/bin/qemu-aarch64-static").exists();
        if !python.exists() || emulated || cfg!(not(all(target_os = "linux", target_arch = "x86_64"))) {
            skipped(TEST, &format!("nothing here runs a Python 3.11 of Debian for {architecture}"));
            continue;
        }
        let config = format!(
            "architecture = '{architecture}'\nruntime = 'python3.11'\n[function.says]\ncode = 'src'\nhandler = 'index.says'\n"
        );
        let code = "import platform\ndef says(event, context):\n    return platform.machine()\n";
        let Some(cli) = real(TEST) else { return };
        let cli = cli.file("layerwise.toml", config).file("src/index.py", code).path("/usr/bin");
        let run = cli.args(["invoke", "says", "--python", &python.display().to_string()]).run().success();
        assert_eq!(run.stdout, format!("\"{machine}\"\n"), "{run}");
    }
}

/// AWS is what answers as AWS does: the local Lambda itself.
#[test]
fn one_shot_on_aws() {
    const TEST: &str = "one_shot_on_aws";
    let Some(cli) = project(TEST) else { return };
    let Some(serving) = Serving::start(TEST, cli, &[]) else { return };
    let invoke = |words: &[&str]| {
        let cli = Cli::new(env!("CARGO_BIN_EXE_layerwise")).args(["invoke"].iter().chain(words));
        let cli = cli.env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", serving.port));
        cli.env("AWS_ACCESS_KEY_ID", "k").env("AWS_SECRET_ACCESS_KEY", "s").run()
    };
    let run = invoke(&["told", "--remote", "--region", "eu-west-1", "--payload", "{\"a\": 1}"]).success();
    assert_eq!(run.stdout, "null\n", "{run}");
    let parts =
        ["START RequestId: ", "INFO one\n", "ERROR two\n", "REPORT RequestId: "].map(|part| run.stderr.find(part));
    assert!(parts.iter().all(Option::is_some) && parts.is_sorted(), "{run}");
    let run = invoke(&["ok", "--remote", "--region", "eu-west-1", "--event", "sqs"]).success();
    assert!(run.stdout.contains("\"aws:sqs\""), "{run}");
    let run = invoke(&["raises", "--remote", "--region", "eu-west-1"]).failure(12);
    assert!(run.stdout.contains("\"errorType\": \"ValueError\""), "{run}");
    let run = invoke(&["arn:aws:lambda:eu-west-1:000000000000:function:gone", "--remote"]).failure(11);
    assert!(run.stderr.contains("Function not found: "), "{run}");
    let _run = invoke(&["ok", "--region", "eu-west-1"]).failure(2);
}

#[test]
fn the_port_is_taken() {
    let Some(cli) = project("the_port_is_taken") else { return };
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let run = cli.args(["serve", "--port", &port]).run();
    assert_eq!(run.code, Some(8), "{run}");
    assert!(run.stderr.contains("another program is there"), "{run}");
}

/// The page, in a real browser: an invocation is made by clicking, and is seen.
#[test]
fn the_page_in_chromium() {
    const TEST: &str = "the_page_in_chromium";
    let started = Command::new("chromedriver").args(["--port=0"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let Ok(mut driver) = started else {
        skipped(TEST, "no chromedriver here (Debian: chromium-driver)");
        return;
    };
    let Some(cli) = project(TEST) else { return };
    let Some(serving) = Serving::start(TEST, cli, &["--function", "ok"]) else { return };
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let port = lines
        .find_map(|line| {
            line.unwrap().rsplit_once("successfully on port ")?.1.trim_end_matches('.').parse::<u16>().ok()
        })
        .expect("chromedriver says its port");
    let call = |method: &str, path: &str, body: &Value| {
        let headers = [("content-type", "application/json"), ("host", "localhost")];
        send(port, method, path, &headers, body.to_string().as_bytes()).json()["value"].clone()
    };
    let arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"];
    let options = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": { "args": arguments } } } });
    let session = call("POST", "/session", &options);
    let session = format!("/session/{}", session["sessionId"].as_str().expect("a session"));
    call("POST", &format!("{session}/url"), &json!({ "url": format!("http://127.0.0.1:{}/", serving.port) }));
    let text = |id: &str| {
        let script = format!("return document.getElementById('{id}').textContent");
        let value = call("POST", &format!("{session}/execute/sync"), &json!({ "script": script, "args": [] }));
        value.as_str().unwrap_or_default().to_owned()
    };
    let wait = |id: &str, part: &str| {
        let began = Instant::now();
        while !text(id).contains(part) {
            assert!(began.elapsed() < Duration::from_secs(60), "#{id} has no {part:?}: {:?}", text(id));
            thread::sleep(Duration::from_millis(100));
        }
    };
    wait("functions", "index.ok");
    wait("link", "live");
    let button = call("POST", &format!("{session}/element"), &json!({ "using": "css selector", "value": "#invoke" }));
    let button =
        button.as_object().and_then(|found| found.values().next()?.as_str().map(str::to_owned)).expect("a button");
    call("POST", &format!("{session}/element/{button}/click"), &json!({}));
    wait("outcome", "succeeded");
    wait("answer", "\"test\": true");
    wait("invocations", "ok");
    wait("logs", "REPORT RequestId: ");
    call("DELETE", &session, &json!({}));
    driver.kill().unwrap();
    driver.wait().unwrap();
}
