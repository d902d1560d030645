//! AWS for tests: a small one in process, to have every fault in hand, and moto's server, which is somebody else's idea
//! of AWS.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use sha2::Digest as _;

use crate::http::{Delivery, Request, Response, Server, listen};
use crate::tools;

/// Lambda's layers and S3's uploads in process: enough to publish, and to fail as told.
#[must_use]
pub struct Aws {
    state: Arc<Mutex<State>>,
    log: Arc<Mutex<Vec<Request>>>,
    url: String,
    _server: Server,
}

#[derive(Default)]
struct State {
    /// By region and name: the versions in their order; `None` where one was deleted.
    layers: BTreeMap<(String, String), Vec<Option<Value>>>,
    /// Method, part of the path, region (empty: any), what to answer, how often.
    faults: Vec<(String, String, String, Answer, usize)>,
    /// Where every bucket is.
    bucket_region: String,
    /// Whether buckets keep versions.
    versioned: bool,
    /// By name: the layers, and whether the next change of them fails.
    functions: BTreeMap<String, (Vec<String>, bool, &'static str)>,
    /// How many looks at a function after a change find it still under way, and how many are left.
    looks: (usize, usize),
    objects: BTreeMap<String, Vec<u8>>,
    /// The zips of layer versions, by the paths where they can be had.
    zips: BTreeMap<String, Vec<u8>>,
    url: String,
    parts: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone)]
enum Answer {
    Refuse(u16, String, String),
    /// Does what was asked, and breaks the connection instead of answering.
    Lost,
    /// Does what was asked, and never answers.
    Silent,
}

impl Aws {
    /// An account with nothing in it; its buckets are in `eu-west-1`.
    pub fn serve() -> Self {
        let listener = listen();
        let url = format!("http://{}", listener.local_addr().expect("a bound listener has one"));
        let (state, log) = (Arc::new(Mutex::new(State { url: url.clone(), ..State::default() })), Arc::default());
        "eu-west-1".clone_into(&mut state.lock().expect("no test panics while holding it").bucket_region);
        let of_server = Arc::clone(&state);
        let server = Server::start(
            listener,
            false,
            Arc::clone(&log),
            Box::new(move |request| of_server.lock().expect("no handler panics").answer(request)),
        );
        Self { state, log, url, _server: server }
    }

    /// For `AWS_ENDPOINT_URL`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Refuses requests of this method whose path holds `path`, in `region` (empty: any), so many times.
    pub fn refuse(&self, (method, path, region): (&str, &str, &str), answer: (u16, &str, &str), times: usize) -> &Self {
        let answer = Answer::Refuse(answer.0, answer.1.to_owned(), answer.2.to_owned());
        self.fault((method, path, region), answer, times)
    }

    /// Carries out such a request once, but loses the answer.
    pub fn lose(&self, method: &str, path: &str) -> &Self {
        self.fault((method, path, ""), Answer::Lost, 1)
    }

    /// Carries out such requests in a region, but never answers.
    pub fn silence(&self, at: (&str, &str, &str)) -> &Self {
        self.fault(at, Answer::Silent, usize::MAX)
    }

    /// Buckets keep versions; there is only one of each object, `v1`.
    pub fn keep_versions(&self) -> &Self {
        self.state.lock().expect("no handler panics").versioned = true;
        self
    }

    /// There is a function with these layers, whose next change fails if `fails`.
    pub fn function(&self, name: &str, layers: &[&str], fails: bool) -> &Self {
        let layers = layers.iter().map(|arn| (*arn).to_owned()).collect();
        self.state.lock().expect("no handler panics").functions.insert(name.to_owned(), (layers, fails, "Successful"));
        self
    }

    /// A change of a function takes so many looks.
    pub fn take_looks(&self, count: usize) -> &Self {
        self.state.lock().expect("no handler panics").looks.0 = count;
        self
    }

    /// The layers that a function has.
    pub fn layers_of(&self, function: &str) -> Vec<String> {
        self.state.lock().expect("no handler panics").functions.get(function).map_or_else(Vec::new, |f| f.0.clone())
    }

    fn fault(&self, (method, path, region): (&str, &str, &str), answer: Answer, times: usize) -> &Self {
        let fault = (method.to_owned(), path.to_owned(), region.to_owned(), answer, times);
        self.state.lock().expect("no handler panics").faults.push(fault);
        self
    }

    /// How many versions a layer has.
    pub fn versions(&self, region: &str, layer: &str) -> usize {
        self.numbers(region, layer).len()
    }

    /// The numbers of the versions that a layer has.
    pub fn numbers(&self, region: &str, layer: &str) -> Vec<usize> {
        let state = self.state.lock().expect("no handler panics");
        let versions = state.layers.get(&(region.to_owned(), layer.to_owned())).map_or(&[][..], Vec::as_slice);
        versions.iter().enumerate().filter(|(_, version)| version.is_some()).map(|(index, _)| index + 1).collect()
    }

    /// Deletes a version, as somebody else would.
    pub fn delete(&self, region: &str, layer: &str, number: usize) -> &Self {
        let mut state = self.state.lock().expect("no handler panics");
        let versions = state.layers.entry((region.to_owned(), layer.to_owned())).or_default();
        versions[number - 1] = None;
        drop(state);
        self
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.log.lock().expect("no handler panics").clone()
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Response {
        // `AWS4-HMAC-SHA256 Credential=KEY/DAY/REGION/SERVICE/aws4_request, …`
        let scope = request.header("authorization").unwrap_or_default().to_owned();
        let mut scope = scope.split('/').skip(2).map(str::to_owned);
        let (region, service) = (scope.next().unwrap_or_default(), scope.next().unwrap_or_default());
        let fault = self.faults.iter_mut().find(|(method, path, at, _, times)| {
            *times > 0
                && *method == request.method
                && request.path.contains(path.as_str())
                && (at.is_empty() || *at == region)
        });
        let fault = fault.map(|(.., answer, times)| {
            *times -= 1;
            answer.clone()
        });
        match fault {
            Some(Answer::Refuse(status, code, message)) => refusal(&service, status, &code, &message),
            Some(Answer::Lost) => {
                let mut response = self.work(&service, &region, request);
                response.delivery = Delivery::Reset;
                response
            }
            Some(Answer::Silent) => {
                let mut response = self.work(&service, &region, request);
                response.delivery = Delivery::Stall(0);
                response
            }
            None => self.work(&service, &region, request),
        }
    }

    fn configuration(&mut self, name: &str, request: &Request) -> Response {
        let Some((layers, fails, status)) = self.functions.get_mut(name) else {
            return refusal("lambda", 404, "ResourceNotFoundException", "no such function");
        };
        if request.method == "PUT" {
            let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            let arns = body["Layers"].as_array().into_iter().flatten();
            *layers = arns.filter_map(|arn| Some(arn.as_str()?.to_owned())).collect();
            *status = if std::mem::take(fails) { "Failed" } else { "Successful" };
            self.looks.1 = self.looks.0;
        }
        let under_way = request.method == "GET" && self.looks.1 > 0;
        self.looks.1 -= usize::from(under_way);
        let status = if under_way { "InProgress" } else { *status };
        let layers: Vec<Value> = layers.iter().map(|arn| json!({ "Arn": arn })).collect();
        document(
            200,
            &json!({
                "FunctionName": name, "RevisionId": "r", "Layers": layers, "LastUpdateStatus": status,
                "LastUpdateStatusReason": "the layers do not fit",
            }),
        )
    }

    fn work(&mut self, service: &str, region: &str, request: &Request) -> Response {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        if let Some(zip) = self.zips.get(path) {
            return Response::new(200, "application/zip", zip.clone());
        }
        if service == "s3" {
            return self.s3(&request.method, path, query, &request.body);
        }
        if let Some(name) =
            path.strip_prefix("/2015-03-31/functions/").and_then(|rest| rest.strip_suffix("/configuration"))
        {
            return self.configuration(name, request);
        }
        if path.ends_with("/invocations") {
            // A function that answers with its event.
            let log = BASE64.encode("START\nEND\n");
            let body = String::from_utf8_lossy(&request.body).into_owned();
            let mut answer = Response::new(200, "application/json", body).header("x-amz-log-result", log);
            if request.body == br#""fail""# {
                answer = answer.header("x-amz-function-error", "Unhandled");
            }
            return answer;
        }
        if service == "logs" {
            // From beyond all times that are asked for.
            let event = json!({ "eventId": "1", "timestamp": 4_000_000_000_000_u64, "logStreamName": "s", "message": "a line" });
            return document(200, &json!({ "events": [event] }));
        }
        let Some(rest) = path.strip_prefix("/2018-10-31/layers/") else {
            return document(200, &json!({ "Functions": [] }));
        };
        let (name, rest) = rest.split_once("/versions").unwrap_or((rest, ""));
        // A name, or an ARN.
        let name = name.rsplit("%3A").next().unwrap_or(name);
        let versions = self.layers.entry((region.to_owned(), name.to_owned())).or_default();
        let number: Option<usize> = rest.trim_start_matches('/').parse().ok();
        match (request.method.as_str(), number) {
            ("GET", None) => {
                let all: Vec<&Value> = versions.iter().flatten().rev().collect();
                document(200, &json!({ "LayerVersions": all }))
            }
            ("GET", Some(number)) => match versions.get(number.wrapping_sub(1)) {
                Some(Some(version)) => document(200, version),
                _ => refusal("lambda", 404, "ResourceNotFoundException", "no such version"),
            },
            ("DELETE", Some(number)) => {
                if let Some(version) = versions.get_mut(number.wrapping_sub(1)) {
                    *version = None;
                }
                document(204, &Value::Null)
            }
            ("POST", None) if rest.is_empty() => {
                let mut body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
                let content = body["Content"].take();
                let bytes = match content["ZipFile"].as_str() {
                    Some(text) => BASE64.decode(text).unwrap_or_default(),
                    None => {
                        let part = |key: &str| content[key].as_str().unwrap_or_default();
                        let key = format!("/{}/{}", part("S3Bucket"), part("S3Key"));
                        self.objects.get(&key).cloned().unwrap_or_default()
                    }
                };
                let number = versions.len() + 1;
                body["LayerVersionArn"] = json!(format!("arn:aws:lambda:{region}:123456789012:layer:{name}:{number}"));
                body["Version"] = json!(number);
                let digest = BASE64.encode(sha2::Sha256::digest(&bytes));
                // In base64 there are `/` and `+`.
                let place = format!("/zips/{}", crate::sha256(&bytes));
                body["Content"] = json!({ "CodeSha256": digest, "CodeSize": bytes.len(), "Location": format!("{}{place}", self.url) });
                self.zips.insert(place, bytes);
                versions.push(Some(body.clone()));
                document(201, &body)
            }
            _ => document(201, &json!({})),
        }
    }

    fn s3(&mut self, method: &str, path: &str, query: &str, body: &[u8]) -> Response {
        let bucket = path.trim_matches('/').split('/').count() == 1;
        match method {
            "HEAD" if bucket => {
                let status = if bucket { 200 } else { 404 };
                Response::new(status, "application/xml", "").header("x-amz-bucket-region", self.bucket_region.clone())
            }
            "HEAD" => match self.objects.get(path) {
                Some(bytes) => Response::new(200, "application/zip", bytes.clone()),
                None => Response::new(404, "application/xml", ""),
            },
            "POST" if query.starts_with("uploads") => {
                self.parts.insert(path.to_owned(), Vec::new());
                Response::new(200, "application/xml", "<R><UploadId>u1</UploadId></R>")
            }
            "PUT" => {
                self.parts.entry(path.to_owned()).or_default().extend_from_slice(body);
                Response::new(200, "application/xml", "").header("ETag", "\"e\"")
            }
            "POST" => {
                let bytes = self.parts.remove(path).unwrap_or_default();
                self.objects.insert(path.to_owned(), bytes);
                let done = Response::new(200, "application/xml", "<CompleteMultipartUploadResult/>");
                if self.versioned { done.header("x-amz-version-id", "v1") } else { done }
            }
            _ => Response::new(204, "application/xml", ""),
        }
    }
}

fn document(status: u16, value: &Value) -> Response {
    Response::new(status, "application/json", value.to_string())
}

fn refusal(service: &str, status: u16, code: &str, message: &str) -> Response {
    if service == "s3" {
        let text = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
        return Response::new(status, "application/xml", text);
    }
    document(status, &json!({ "Message": message })).header("x-amzn-ErrorType", code)
}

/// A running moto server; it ends when dropped.
pub struct Moto {
    server: Child,
    url: String,
    aws: PathBuf,
}

impl Moto {
    /// For `AWS_ENDPOINT_URL`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs the real `aws` with these words, and reads its JSON (null, if it prints nothing).
    ///
    /// # Panics
    /// If it fails.
    pub fn aws(&self, words: &[&str]) -> Value {
        let mut command = Command::new(&self.aws);
        command.args(words).env("AWS_ENDPOINT_URL", &self.url).env("AWS_ACCESS_KEY_ID", "testing");
        command.env("AWS_SECRET_ACCESS_KEY", "testing").env("AWS_DEFAULT_OUTPUT", "json");
        let output = command.stdin(Stdio::null()).output().expect("the aws CLI is installed");
        assert!(output.status.success(), "aws {words:?}:\n{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// What is at a URL of this server, as curl gets it.
    ///
    /// # Panics
    /// If curl fails.
    pub fn get(&self, url: &str) -> Vec<u8> {
        let output = Command::new("curl").args(["-sSf", url]).output().expect("curl is there");
        assert!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

/// Starts moto's server on a free port. It and the `aws` CLI are installed from the package index into
/// `target/testkit-tools` (once).
///
/// # Panics
/// If that cannot be done.
pub fn moto() -> Moto {
    let bin = tools::aws_tools();
    let port = listen().local_addr().expect("a bound listener has one").port();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/moto_server.py");
    let mut command = Command::new(bin.join("python"));
    command.args([script, &port.to_string()]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let server = command.spawn().expect("Python is there");
    let moto = Moto { server, url: format!("http://127.0.0.1:{port}"), aws: bin.join("aws") };
    let started = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(started.elapsed() < Duration::from_secs(120), "moto does not start");
        std::thread::sleep(Duration::from_millis(100));
    }
    moto
}
