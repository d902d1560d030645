//! A package index in process: PEP 503 (HTML), PEP 691 (JSON), PEP 700 (sizes and times), PEP 658 (metadata files),
//! with faults on order.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::http::{Delivery, Request, Response, Server, listen};
use crate::{Sdist, Wheel, normalized};

const JSON: &str = "application/vnd.pypi.simple.v1+json";
const LOGIN: &str = "<!doctype html><html><head><title>Log in</title></head><body>Please log in</body></html>";

/// What can go wrong on the way. A fault is used up by a request that it fits; without [`Fault::times`] it never is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Answers with this status.
    Status(u16),
    /// Answers 429 with `Retry-After`.
    TooManyRequests {
        /// In seconds.
        retry_after: u32,
    },
    /// Announces the whole body, sends so many bytes of it, and closes.
    CutBody {
        /// Counted from the body's start.
        after_bytes: usize,
    },
    /// Sends the body at this speed.
    Slow {
        /// Sent in tenths of a second.
        bytes_per_second: usize,
    },
    /// Sends so many bytes of the body, and then nothing more, on an open connection.
    Stall {
        /// Counted from the body's start.
        after_bytes: usize,
    },
    /// Answers 200 with an HTML log-in page.
    Html,
    /// Answers with one bit in the middle of the body turned.
    WrongBytes,
    /// Resets the connection.
    Reset,
    /// Ignores `Range`: 200 with the whole body.
    NoRange,
    /// Answers 302 to the same path on the second host, which serves it without asking for credentials.
    Redirect,
    /// Answers 302 to the same path on the same host.
    RedirectLoop,
}

impl Fault {
    /// Only for the first `count` requests that it fits.
    pub fn times(self, count: usize) -> FaultRule {
        FaultRule::from(self).times(count)
    }

    /// Only for paths that hold `pattern`; a `*` in it stands for anything.
    pub fn on(self, pattern: &str) -> FaultRule {
        FaultRule::from(self).on(pattern)
    }
}

/// A [`Fault`] with the paths it is for and how often it strikes.
#[derive(Debug, Clone)]
pub struct FaultRule {
    fault: Fault,
    pattern: String,
    left: Option<usize>,
}

impl From<Fault> for FaultRule {
    fn from(fault: Fault) -> Self {
        Self { fault, pattern: String::new(), left: None }
    }
}

impl FaultRule {
    /// See [`Fault::times`].
    #[must_use]
    pub fn times(self, count: usize) -> Self {
        Self { left: Some(count), ..self }
    }

    /// See [`Fault::on`].
    #[must_use]
    pub fn on(self, pattern: &str) -> Self {
        Self { pattern: pattern.to_owned(), ..self }
    }

    fn fits(&self, request: &Request) -> bool {
        // A redirect's target serves, or it would not be one.
        let here = !request.other_host || self.fault != Fault::Redirect;
        let mut rest = Some(request.path.as_str());
        for part in self.pattern.split('*') {
            rest = rest.and_then(|text| text.split_once(part)).map(|(_, rest)| rest);
        }
        here && rest.is_some()
    }
}

/// One file of the index.
#[derive(Debug, Clone)]
struct File {
    project: String,
    version: String,
    filename: String,
    sha256: String,
    size: usize,
    /// `None`: listed only.
    bytes: Option<Vec<u8>>,
    metadata: String,
    requires_python: Option<String>,
    uploaded: String,
}

/// A package index to be served. It speaks JSON and HTML, as asked for, with hashes, metadata files and absolute
/// URLs of files, unless told otherwise.
#[derive(Debug, Clone)]
#[must_use]
pub struct Index {
    files: Vec<File>,
    html_only: bool,
    hashes: bool,
    core_metadata: bool,
    relative: bool,
    other_host: bool,
    auth: Option<String>,
    yanked: Vec<(String, String, String)>,
    faults: Vec<FaultRule>,
}

impl Default for Index {
    fn default() -> Self {
        Self::new()
    }
}

impl Index {
    /// An empty index.
    pub fn new() -> Self {
        Self {
            files: Vec::new(),
            html_only: false,
            hashes: true,
            core_metadata: true,
            relative: false,
            other_host: false,
            auth: None,
            yanked: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// Adds a wheel.
    pub fn wheel(mut self, wheel: Wheel) -> Self {
        let Wheel { filename, bytes, sha256, name, version, metadata, requires_python } = wheel;
        self.add(&name, version, filename, metadata);
        self.last(|file| {
            *file = File { sha256, size: bytes.len(), bytes: Some(bytes), requires_python, ..file.clone() }
        })
    }

    /// Adds an sdist.
    pub fn sdist(mut self, sdist: Sdist) -> Self {
        let Sdist { filename, bytes, sha256, name, version, metadata, requires_python } = sdist;
        self.add(&name, version, filename, metadata);
        self.last(|file| {
            *file = File { sha256, size: bytes.len(), bytes: Some(bytes), requires_python, ..file.clone() }
        })
    }

    /// Lists a file by name only, with a size and a hash: it resolves (its metadata, without requirements, is
    /// served) but its download is a 404.
    pub fn listing_only(mut self, filename: &str) -> Self {
        let (name, version) = match filename.strip_suffix(".tar.gz") {
            Some(stem) => stem.rsplit_once('-'),
            None => filename.split_once('-').map(|(name, rest)| (name, rest.split('-').next().unwrap_or(rest))),
        }
        .expect("a file name with a name and a version");
        let metadata = crate::wheel::metadata(name, version, None, &[], &[]);
        let (name, version) = (name.to_owned(), version.to_owned());
        self.add(&name, version, filename.to_owned(), metadata);
        self
    }

    /// Sets `requires-python` in the list, for the file added last (the metadata stays as it is).
    pub fn requires_python(self, specifier: &str) -> Self {
        self.last(|file| file.requires_python = Some(specifier.to_owned()))
    }

    /// Sets the time of upload (RFC 3339) of the file added last; 2024-01-01T00:00:00Z otherwise.
    pub fn uploaded(self, time: &str) -> Self {
        self.last(|file| time.clone_into(&mut file.uploaded))
    }

    /// Lists a hash that is not the file's, for the file added last.
    pub fn wrong_hash(self) -> Self {
        self.last(|file| file.sha256 = crate::sha256(file.sha256.as_bytes()))
    }

    /// Answers HTML to everybody.
    pub fn html_only(self) -> Self {
        Self { html_only: true, ..self }
    }

    /// Lists no hashes.
    pub fn without_hashes(self) -> Self {
        Self { hashes: false, ..self }
    }

    /// Whether PEP 658 metadata files are listed and served (they are by default).
    pub fn core_metadata(self, served: bool) -> Self {
        Self { core_metadata: served, ..self }
    }

    /// Lists relative URLs of files.
    pub fn relative_urls(self) -> Self {
        Self { relative: true, ..self }
    }

    /// Serves files on a second host (`localhost` and another port, not `127.0.0.1`), which asks for no
    /// credentials.
    pub fn files_on_other_host(self) -> Self {
        Self { other_host: true, ..self }
    }

    /// Answers 401 to every request of the first host without these credentials (HTTP Basic).
    pub fn requires_auth(self, user: &str, password: &str) -> Self {
        Self { auth: Some(format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))), ..self }
    }

    /// Yanks a version (PEP 592), with the reason "broken".
    pub fn yanked(self, name: &str, version: &str) -> Self {
        self.yanked_because(name, version, "broken")
    }

    /// Yanks a version with a reason, which may be empty.
    pub fn yanked_because(mut self, name: &str, version: &str, reason: &str) -> Self {
        self.yanked.push((normalized(name), version.to_owned(), reason.to_owned()));
        self
    }

    /// Adds a fault; of several that fit, the one added first strikes.
    pub fn fault(mut self, rule: impl Into<FaultRule>) -> Self {
        self.faults.push(rule.into());
        self
    }

    /// Serves on loopback until the result is dropped.
    pub fn serve(self) -> Served {
        let (listener, other_listener) = (listen(), listen());
        let port = |listener: &std::net::TcpListener| listener.local_addr().expect("a bound listener has one").port();
        let log = Arc::default();
        let state = Arc::new(State {
            faults: Mutex::new(self.faults.clone()),
            index: self,
            host: format!("http://127.0.0.1:{}", port(&listener)),
            other_host: format!("http://localhost:{}", port(&other_listener)),
        });
        let servers = [(listener, false), (other_listener, true)].map(|(listener, other)| {
            let state = Arc::clone(&state);
            Server::start(listener, other, Arc::clone(&log), Box::new(move |request| state.answer(request)))
        });
        Served { state, log, _servers: servers }
    }

    fn add(&mut self, name: &str, version: String, filename: String, metadata: String) {
        self.files.push(File {
            project: normalized(name),
            version,
            sha256: crate::sha256(filename.as_bytes()),
            filename,
            size: 1_000_000,
            bytes: None,
            metadata,
            requires_python: None,
            uploaded: "2024-01-01T00:00:00Z".to_owned(),
        });
    }

    fn last(mut self, change: impl FnOnce(&mut File)) -> Self {
        change(self.files.last_mut().expect("a file was added before"));
        self
    }
}

/// An [`Index`] being served; dropped, it closes every connection.
#[must_use]
pub struct Served {
    state: Arc<State>,
    log: Arc<Mutex<Vec<Request>>>,
    _servers: [Server; 2],
}

impl Served {
    /// The simple API's root, `http://127.0.0.1:PORT/simple/`.
    pub fn url(&self) -> String {
        format!("{}/simple/", self.state.host)
    }

    /// The same, with credentials in it.
    pub fn url_with(&self, user: &str, password: &str) -> String {
        self.url().replacen("http://", &format!("http://{user}:{password}@"), 1)
    }

    /// A page that links to every file, for `--find-links`.
    pub fn links_url(&self) -> String {
        format!("{}/links/", self.state.host)
    }

    /// Where a file is served (on the first host).
    pub fn file_url(&self, filename: &str) -> String {
        format!("{}/files/{filename}", self.state.host)
    }

    /// `http://127.0.0.1:PORT`, without a path.
    pub fn host(&self) -> &str {
        &self.state.host
    }

    /// `http://localhost:PORT` of the second host.
    pub fn other_host(&self) -> &str {
        &self.state.other_host
    }

    /// All requests so far, of both hosts, in the order answered.
    pub fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many requests had a path that holds `part`.
    pub fn count(&self, part: &str) -> usize {
        self.requests().iter().filter(|request| request.path.contains(part)).count()
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Adds a fault from now on.
    pub fn fault(&self, rule: impl Into<FaultRule>) {
        self.state.faults.lock().unwrap_or_else(PoisonError::into_inner).push(rule.into());
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.state.faults.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

struct State {
    index: Index,
    faults: Mutex<Vec<FaultRule>>,
    host: String,
    other_host: String,
}

impl State {
    fn answer(&self, request: &Request) -> Response {
        let fault = self.strike(request);
        let mut response = match fault {
            Some(Fault::Status(status)) => return Response::text(status, "a fault made to order"),
            Some(Fault::TooManyRequests { retry_after }) => {
                return Response::text(429, "too many requests").header("Retry-After", retry_after.to_string());
            }
            Some(Fault::Html) => return Response::new(200, "text/html; charset=utf-8", LOGIN),
            Some(Fault::Redirect) => return Response::redirect(302, self.other_host.clone() + &request.path),
            Some(Fault::RedirectLoop) => return Response::redirect(302, request.path.clone()),
            _ => self.honest(request, fault != Some(Fault::NoRange)),
        };
        match fault {
            Some(Fault::CutBody { after_bytes }) => response.delivery = Delivery::Cut(after_bytes),
            Some(Fault::Slow { bytes_per_second }) => response.delivery = Delivery::Slow(bytes_per_second),
            Some(Fault::Stall { after_bytes }) => response.delivery = Delivery::Stall(after_bytes),
            Some(Fault::Reset) => response.delivery = Delivery::Reset,
            Some(Fault::WrongBytes) => {
                let middle = response.body.len() / 2;
                if let Some(byte) = response.body.get_mut(middle) {
                    *byte ^= 1;
                }
            }
            _ => {}
        }
        response
    }

    /// The fault for this request, used up by one.
    fn strike(&self, request: &Request) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let rule = faults.iter_mut().find(|rule| rule.left != Some(0) && rule.fits(request))?;
        rule.left = rule.left.map(|left| left - 1);
        Some(rule.fault.clone())
    }

    fn honest(&self, request: &Request, ranges: bool) -> Response {
        if let Some(auth) = &self.index.auth
            && !request.other_host
            && request.header("authorization") != Some(auth)
        {
            return Response::text(401, "who are you?").header("WWW-Authenticate", "Basic realm=\"testkit\"");
        }
        if request.method != "GET" && request.method != "HEAD" {
            return Response::text(405, "only GET and HEAD");
        }
        let path = request.path.split('?').next().unwrap_or_default();
        let response = if let Some(filename) = path.strip_prefix("/files/") {
            return self.file(&unescaped(filename), request, ranges);
        } else if path == "/links/" {
            Some(Response::new(200, "text/html; charset=utf-8", self.html(None)))
        } else {
            path.strip_prefix("/simple/").and_then(|path| self.page(path, request))
        };
        match response {
            Some(response) if response.status == 200 => cached(response, "max-age=600", request),
            Some(response) => response,
            None => Response::text(404, "not found"),
        }
    }

    /// `""` is the list of projects, `name/` a project.
    fn page(&self, path: &str, request: &Request) -> Option<Response> {
        let json = !self.index.html_only
            && request
                .header("accept")
                .is_some_and(|accept| accept.contains(JSON) || accept.contains("simple.latest+json"));
        let projects: BTreeSet<&str> = self.index.files.iter().map(|file| file.project.as_str()).collect();
        if path.is_empty() {
            return Some(if json {
                let projects: Vec<Value> = projects.iter().map(|name| json!({ "name": name })).collect();
                json_page(&json!({ "meta": { "api-version": "1.1" }, "projects": projects }))
            } else {
                let links: String =
                    projects.iter().map(|name| format!("<a href=\"{name}/\">{name}</a><br>\n")).collect();
                Response::new(200, "text/html; charset=utf-8", html_page(&links))
            });
        }
        let name = normalized(path.trim_end_matches('/'));
        if !projects.contains(name.as_str()) {
            return None;
        }
        if path != format!("{name}/") {
            return Some(Response::redirect(301, format!("/simple/{name}/")));
        }
        Some(if json {
            json_page(&self.json(&name))
        } else {
            Response::new(200, "text/html; charset=utf-8", self.html(Some(&name)))
        })
    }

    fn json(&self, project: &str) -> Value {
        let of: Vec<&File> = self.index.files.iter().filter(|file| file.project == project).collect();
        let versions: BTreeSet<&str> = of.iter().map(|file| file.version.as_str()).collect();
        let files: Vec<Value> = of
            .iter()
            .map(|file| {
                let metadata = match self.metadata_sha256(file) {
                    Some(sha256) => json!({ "sha256": sha256 }),
                    None => json!(false),
                };
                json!({
                    "filename": file.filename,
                    "url": self.url(file, true),
                    "hashes": if self.index.hashes { json!({ "sha256": file.sha256 }) } else { json!({}) },
                    "requires-python": file.requires_python,
                    "core-metadata": metadata,
                    "data-dist-info-metadata": metadata,
                    "size": file.size,
                    "upload-time": file.uploaded,
                    "yanked": self.yanked(file).map_or(json!(false), |reason| json!(reason)),
                })
            })
            .collect();
        json!({
            "meta": { "api-version": "1.1" },
            "name": project,
            "versions": versions,
            "files": files,
        })
    }

    fn html(&self, project: Option<&str>) -> String {
        let mut links = String::new();
        for file in self.index.files.iter().filter(|file| project.is_none_or(|project| file.project == project)) {
            let mut attributes = String::new();
            let mut attribute = |name: &str, value: &str| {
                write!(attributes, " {name}=\"{}\"", escaped(value)).expect("a String takes every byte");
            };
            if let Some(specifier) = &file.requires_python {
                attribute("data-requires-python", specifier);
            }
            if let Some(sha256) = self.metadata_sha256(file) {
                attribute("data-core-metadata", &format!("sha256={sha256}"));
                attribute("data-dist-info-metadata", &format!("sha256={sha256}"));
            }
            if let Some(reason) = self.yanked(file) {
                attribute("data-yanked", reason);
            }
            let mut url = self.url(file, project.is_some());
            if self.index.hashes {
                url += &format!("#sha256={}", file.sha256);
            }
            writeln!(links, "<a href=\"{}\"{attributes}>{}</a><br>", escaped(&url), escaped(&file.filename))
                .expect("a String takes every byte");
        }
        html_page(&links)
    }

    fn file(&self, path: &str, request: &Request, ranges: bool) -> Response {
        let find = |filename: &str| self.index.files.iter().find(|file| file.filename == filename);
        let (body, content_type) = match (path.strip_suffix(".metadata").and_then(find), find(path)) {
            (Some(file), _) if self.metadata_sha256(file).is_some() => (file.metadata.as_bytes(), "text/plain"),
            (_, Some(File { bytes: Some(bytes), .. })) => (bytes.as_slice(), "application/octet-stream"),
            _ => return Response::text(404, "not found"),
        };
        let whole = Response::new(200, content_type, body);
        if !ranges {
            return whole;
        }
        let response = cached(whole.header("Accept-Ranges", "bytes"), "max-age=365000000, immutable", request);
        let etag = etag(body);
        let unchanged = request.header("if-range").is_none_or(|condition| condition == etag);
        match request.header("range").and_then(|range| range.strip_prefix("bytes=")) {
            Some(range) if response.status == 200 && unchanged => part(response, range),
            _ => response,
        }
    }

    fn url(&self, file: &File, from_project: bool) -> String {
        let path = format!("files/{}", file.filename.replace('+', "%2B"));
        if self.index.other_host {
            format!("{}/{path}", self.other_host)
        } else if self.index.relative {
            format!("{}{path}", if from_project { "../../" } else { "../" })
        } else {
            format!("{}/{path}", self.host)
        }
    }

    fn yanked(&self, file: &File) -> Option<&str> {
        let found =
            self.index.yanked.iter().find(|(name, version, _)| *name == file.project && *version == file.version);
        found.map(|(_, _, reason)| reason.as_str())
    }

    fn metadata_sha256(&self, file: &File) -> Option<String> {
        let served = self.index.core_metadata && file.filename.ends_with(".whl");
        served.then(|| crate::sha256(file.metadata.as_bytes()))
    }
}

fn json_page(value: &Value) -> Response {
    Response::new(200, JSON, value.to_string())
}

fn html_page(links: &str) -> String {
    format!(
        "<!doctype html>\n<html><head><meta name=\"pypi:repository-version\" content=\"1.1\"></head><body>\n{links}</body></html>\n"
    )
}

fn etag(body: &[u8]) -> String {
    format!("\"{}\"", &crate::sha256(body)[..16])
}

/// With `ETag` and `Cache-Control`; 304 where the client has it.
fn cached(response: Response, control: &str, request: &Request) -> Response {
    let etag = etag(&response.body);
    let known = request.header("if-none-match").is_some_and(|value| value.contains(&etag));
    let mut response = response.header("ETag", etag).header("Cache-Control", control);
    if known {
        response.status = 304;
        response.body.clear();
    }
    response
}

/// One range of bytes: `5-9`, `5-`, `-5`. Several are answered with the whole, which HTTP allows.
fn part(mut response: Response, range: &str) -> Response {
    let size = response.body.len();
    let Some((first, last)) = range.split_once('-') else { return response };
    let (start, end) = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(start), Ok(last)) => (start, last.saturating_add(1).min(size)),
        (Ok(start), Err(_)) if last.is_empty() => (start, size),
        (Err(_), Ok(length)) if first.is_empty() => (size.saturating_sub(length), size),
        _ => return response,
    };
    if start >= end {
        return Response::text(416, "no such bytes").header("Content-Range", format!("bytes */{size}"));
    }
    response.body = response.body[start..end].to_vec();
    response.status = 206;
    response.header("Content-Range", format!("bytes {start}-{}/{size}", end - 1))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Only the one escape that file names need.
fn unescaped(text: &str) -> String {
    text.replace("%2B", "+").replace("%2b", "+")
}
