//! The view on loopback: an index that shows uv only what fits the target.
//!
//! uv talks to nobody else about packages, so it needs no credentials of the real indexes and leaves no trace of
//! them. The path begins with a random token: other users of the machine cannot use our credentials through it.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::metadata::{self, Prepare};
use super::page::{self, File};
use super::upstream::{Upstream, UpstreamError};
use super::view::{Project, Sources, view};
use crate::io::{Io, Wanted, WheelsError};
use crate::model::tag::Tags;
use crate::model::{PackageName, Sha256, WheelName};

/// Something the view could not do for uv; it is the true cause of uv's failure.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A page.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// A wheel's metadata.
    #[error("failed to read the metadata of `{wheel}`")]
    Metadata {
        /// The wheel.
        wheel: String,
        /// What went wrong.
        #[source]
        source: metadata::MetadataError,
    },
}

impl crate::error::Explain for ServeError {
    fn kind(&self) -> crate::error::Kind {
        match self {
            Self::Upstream(error) => error.kind(),
            Self::Metadata { source, .. } => source.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Upstream(error) => error.hints(),
            Self::Metadata { source, .. } => source.hints(),
        }
    }
}

/// All that was learnt while uv asked.
#[derive(Debug, Default)]
pub struct Learnt {
    /// The projects uv asked for; `None`: no index knows it.
    pub projects: BTreeMap<PackageName, Option<Arc<Project>>>,
    /// The `METADATA` of the wheels uv looked at, by file name.
    pub metadata: HashMap<String, Arc<str>>,
    /// Digests that the index did not tell and that were computed, by file name.
    pub digests: HashMap<String, Sha256>,
    /// What failed, first first.
    pub failures: Vec<ServeError>,
    files: Vec<Shown>,
}

/// A file as uv is shown it.
#[derive(Debug, Clone)]
enum Shown {
    Wheel(WheelName, File),
    /// A source distribution, shown as the wheel it would become: so uv never builds anything. `kin` is the nearest
    /// of the release's own wheels, which has the same metadata.
    Source {
        wheel: WheelName,
        file: File,
        kin: Option<Box<(WheelName, File)>>,
    },
}

impl Shown {
    fn file(&self) -> &File {
        let (Self::Wheel(_, file) | Self::Source { file, .. }) = self;
        file
    }
}

type Pages = HashMap<PackageName, Arc<tokio::sync::OnceCell<Option<Bytes>>>>;

struct State {
    io: Arc<Io>,
    upstream: Upstream,
    show: Show,
    token: String,
    pages: Mutex<Pages>,
    learnt: Mutex<Learnt>,
}

/// What is shown.
enum Show {
    /// What fits a target, with metadata only.
    Fitting(Box<Fitting>),
    /// All wheels, with their bytes.
    Whole,
}

struct Fitting {
    tags: Tags,
    sources: Sources,
    prepare: Arc<Prepare>,
}

/// A running view. It stops when dropped.
pub struct Server {
    state: Arc<State>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Starts the view of `upstream` for the target of `tags`, with `sources` where no wheel fits; `prepare` gets the
    /// metadata of those that do not tell it.
    pub async fn start(
        io: Arc<Io>,
        upstream: Upstream,
        tags: Tags,
        sources: Sources,
        prepare: Arc<Prepare>,
    ) -> std::io::Result<Self> {
        Self::serve(io, upstream, Show::Fitting(Box::new(Fitting { tags, sources, prepare }))).await
    }

    /// Starts an index of all wheels of `upstream`, for build environments on this machine.
    pub async fn start_whole(io: Arc<Io>, upstream: Upstream) -> std::io::Result<Self> {
        Self::serve(io, upstream, Show::Whole).await
    }

    async fn serve(io: Arc<Io>, upstream: Upstream, show: Show) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            io,
            upstream,
            show,
            token: random_token()?,
            pages: Mutex::default(),
            learnt: Mutex::default(),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&state)));
        Ok(Self { state, address, task })
    }

    /// The root of the index to give to uv.
    pub fn index_url(&self) -> String {
        format!("http://{}/{}/simple/", self.address, self.state.token)
    }

    /// The real file behind a URL that the view handed out.
    pub fn real_file(&self, learnt: &Learnt, url: &str) -> Option<File> {
        let rest = url.strip_prefix(&format!("http://{}/{}/files/", self.address, self.state.token))?;
        let id: usize = rest.split('/').next()?.parse().ok()?;
        learnt.files.get(id).map(|shown| shown.file().clone())
    }

    /// Looks at, or takes, what was learnt.
    pub fn learnt<T>(&self, read: impl FnOnce(&mut Learnt) -> T) -> T {
        self.state.learnt(read)
    }

    /// Where packages come from, for messages.
    pub fn describe(&self) -> String {
        self.state.upstream.describe()
    }
}

/// 128 bits of the system's random source, in hexadecimal digits.
fn random_token() -> std::io::Result<String> {
    let mut bytes = [0u8; 16];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| std::io::Error::other("the system's random source failed"))?;
    Ok(Sha256::of(&bytes).to_string()[..32].to_owned())
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        // Failing to set it only costs time.
        drop(stream.set_nodelay(true));
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let service = hyper::service::service_fn(move |request| {
                let state = Arc::clone(&state);
                async move { Ok::<_, Infallible>(state.answer(&request).await) }
            });
            // A client that goes away is not our failure.
            drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
        while connections.try_join_next().is_some() {}
    }
}

impl State {
    fn learnt<T>(&self, read: impl FnOnce(&mut Learnt) -> T) -> T {
        read(&mut self.learnt.lock().expect("no code panics while holding the lock"))
    }

    async fn answer(self: &Arc<Self>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        let known = path.strip_prefix('/').and_then(|path| path.strip_prefix(self.token.as_str()));
        let Some(path) = known.filter(|_| matches!(*request.method(), Method::GET | Method::HEAD)) else {
            return status(StatusCode::NOT_FOUND);
        };
        if let Some(name) = path.strip_prefix("/simple/") {
            return match name.trim_end_matches('/').parse() {
                Ok(name) => self.page(name).await,
                Err(_) => status(StatusCode::NOT_FOUND),
            };
        }
        let file = path.strip_prefix("/files/").and_then(|rest| {
            let (id, name) = rest.split_once('/')?;
            let shown = self.learnt(|learnt| learnt.files.get(id.parse::<usize>().ok()?).cloned())?;
            Some((shown, name.ends_with(".metadata")))
        });
        match file {
            Some((shown, true)) => self.metadata(shown).await,
            Some((Shown::Wheel(wheel, file), false)) if matches!(self.show, Show::Whole) => {
                self.bytes(&wheel, &file).await
            }
            // uv reads metadata only; a whole file would be asked for here if it could not read that.
            _ => status(StatusCode::NOT_FOUND),
        }
    }

    async fn page(self: &Arc<Self>, name: PackageName) -> Response<Full<Bytes>> {
        let cell =
            self.pages.lock().expect("no code panics while holding the lock").entry(name.clone()).or_default().clone();
        let made = cell
            .get_or_try_init(|| async {
                let files = self.upstream.files(&name).await?;
                Ok::<_, UpstreamError>(self.show(&name, files))
            })
            .await;
        match made {
            Ok(Some(body)) => response(page::JSON, body.clone()),
            Ok(None) => status(StatusCode::NOT_FOUND),
            Err(error) => {
                self.learnt(|learnt| learnt.failures.push(error.into()));
                // A status that uv does not ask again for: we have done that.
                status(StatusCode::BAD_REQUEST)
            }
        }
    }

    /// Judges the files and renders what is left.
    fn show(&self, name: &PackageName, files: Option<Vec<File>>) -> Option<Bytes> {
        let Some(files) = files else {
            self.learnt(|learnt| learnt.projects.insert(name.clone(), None));
            return None;
        };
        let project = Arc::new(match &self.show {
            Show::Fitting(fitting) => view(name, files, &fitting.tags, &fitting.sources),
            Show::Whole => whole(name, files),
        });
        let mut shown = Vec::new();
        self.learnt(|learnt| {
            let wheels = project.releases.values().flat_map(|release| &release.fitting);
            let wheels = wheels.map(|(_, wheel, file)| Shown::Wheel(wheel.clone(), file.clone()));
            let built = project.releases.iter().filter_map(|(version, release)| as_wheel(name, version, release));
            let offered: Vec<Shown> = wheels.chain(built).collect();
            {
                for offer in offered {
                    let id = learnt.files.len();
                    let (Shown::Wheel(wheel, file) | Shown::Source { wheel, file, .. }) = &offer;
                    // Without any, uv would read the whole wheel for its lock: this one stands in until ours is known
                    // (`Learnt::digests`), which it is as soon as uv has asked for the metadata.
                    let sha256 = file.sha256.unwrap_or_else(|| Sha256::of(file.filename.as_bytes()));
                    let mut entry = serde_json::json!({
                        "filename": wheel.text,
                        "url": format!("/{}/files/{id}/{}", self.token, wheel.text.replace('+', "%2B")),
                        "hashes": { "sha256": sha256 },
                        "requires-python": file.requires_python,
                        "size": file.size,
                        "yanked": file.yanked.as_ref().map_or(serde_json::Value::Bool(false), |why| {
                            if why.is_empty() { serde_json::Value::Bool(true) } else { why.as_str().into() }
                        }),
                        "core-metadata": true,
                        "upload-time": file.upload_time,
                    });
                    // HTML tells neither size nor time. uv refuses a null where a key may be missing.
                    entry.as_object_mut().expect("made above").retain(|_, value| !value.is_null());
                    shown.push(entry);
                    learnt.files.push(offer);
                }
            }
            learnt.projects.insert(name.clone(), Some(project));
        });
        let page = serde_json::json!({ "meta": { "api-version": "1.1" }, "name": name.as_str(), "files": shown });
        Some(Bytes::from(page.to_string()))
    }

    /// A whole wheel, which is in the cache afterwards.
    async fn bytes(&self, wheel: &WheelName, file: &File) -> Response<Full<Bytes>> {
        let local = file.url.to_file_path().ok().filter(|_| file.url.scheme() == "file");
        let read = match local {
            Some(path) => tokio::fs::read(path).await,
            None => {
                let wanted = Wanted { name: wheel, url: &file.url, sha256: file.sha256, size: file.size };
                match self.io.wheel(wanted).await {
                    Ok(cached) => tokio::fs::read(cached.path).await,
                    Err(source) => {
                        let (wheel, source) = (wheel.text.clone(), metadata::MetadataError::Wheel(source));
                        self.learnt(|learnt| learnt.failures.push(ServeError::Metadata { wheel, source }));
                        return status(StatusCode::BAD_REQUEST);
                    }
                }
            }
        };
        read.map_or_else(|_| status(StatusCode::NOT_FOUND), |bytes| response("application/octet-stream", bytes.into()))
    }

    async fn metadata(self: &Arc<Self>, shown: Shown) -> Response<Full<Bytes>> {
        let (found, file) = match &shown {
            Shown::Wheel(wheel, file) => (metadata::read(&self.io, wheel, file).await, file),
            Shown::Source { wheel, file, kin } => {
                let source = metadata::Source { wheel, file, kin: kin.as_deref() };
                let Show::Fitting(fitting) = &self.show else { return status(StatusCode::NOT_FOUND) };
                (metadata::of_source(&self.io, source, fitting.prepare.as_ref()).await, file)
            }
        };
        match found {
            Ok(found) => {
                let body = Bytes::copy_from_slice(found.text.as_bytes());
                self.learnt(|learnt| {
                    if file.sha256.is_none() {
                        learnt.digests.insert(file.filename.clone(), found.sha256);
                    }
                    learnt.metadata.insert(file.filename.clone(), found.text);
                });
                response("application/octet-stream", body)
            }
            // A broken wheel is uv's to pass over, as it does with one from any index; but it is remembered.
            Err(source) => {
                let wheel = match &shown {
                    Shown::Wheel(wheel, _) => wheel.text.clone(),
                    Shown::Source { file, .. } => file.filename.clone(),
                };
                self.learnt(|learnt| learnt.failures.push(ServeError::Metadata { wheel, source }));
                status(StatusCode::BAD_REQUEST)
            }
        }
    }
}

/// All wheels of a project, unjudged: uv judges for the machine it runs on.
fn whole(name: &PackageName, files: Vec<File>) -> Project {
    let mut project = Project::default();
    for file in files {
        let Ok(wheel) = file.filename.parse::<WheelName>() else { continue };
        if wheel.name == *name {
            project.releases.entry(wheel.version.clone()).or_default().fitting.push((0, wheel, file));
        }
    }
    project
}

/// The release's source distribution as the wheel it would become, if it may be chosen.
fn as_wheel(name: &PackageName, version: &pep440_rs::Version, release: &super::view::Release) -> Option<Shown> {
    let file = release.sdist.clone().filter(|_| release.from_source)?;
    let wheel = format!("{}-{version}-py3-none-any.whl", name.as_str().replace('-', "_")).parse().ok()?;
    let of_linux =
        |wheel: &WheelName| wheel.is_any_platform() || wheel.platforms.iter().any(|tag| tag.contains("linux"));
    let kin = release.misfits.iter().filter(|(_, wheel, _)| of_linux(wheel)).min_by(|a, b| a.0.cmp(&b.0));
    Some(Shown::Source { wheel, file, kin: kin.map(|(_, wheel, file)| Box::new((wheel.clone(), file.clone()))) })
}

fn response(content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    let headers = response.headers_mut();
    headers.insert(hyper::header::CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    // Port and token change with every run: uv must not keep what it will never ask for again.
    headers.insert(hyper::header::CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-store"));
    response
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

impl From<WheelsError> for metadata::MetadataError {
    fn from(error: WheelsError) -> Self {
        Self::Wheel(error)
    }
}
