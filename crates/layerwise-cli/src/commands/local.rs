//! `layerwise serve` and `layerwise invoke`: the project's functions, built and run on this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use layerwise::artifact;
use layerwise::audit::Severity;
use layerwise::config::{Dependencies, FunctionSpec, LayerRef};
use layerwise::error::{Explain as _, Kind};
use layerwise::io::{Bucket, Io};
use layerwise::local::{self, Event, Function, Layer, Outcome, Request, Server, Settings};
use layerwise::model::{Sha256, Target};
use layerwise::pipeline::{self, Built, FunctionJob, LockPolicy};
use layerwise::prove;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, oneshot};

use super::Context;
use super::build::{Done, Ended, Prepared, at_once, failure, function_job, layer_of, prepare};
use crate::args::{BuildArgs, EventName, InputArgs, InvokeArgs, LocalArgs, ServeArgs};
use crate::exit::{self, Code};
use crate::settings;
use crate::ui::error::Failure;
use crate::ui::findings::words;
use crate::ui::human;

/// Waits before the second and the third try of an asynchronous invocation; AWS waits one and two minutes.
const RETRIES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];
/// How long what the files were like is believed.
const BELIEVED: Duration = Duration::from_millis(100);

pub(super) fn serve(args: &ServeArgs, context: &Context<'_>) -> Result<Code, Failure> {
    let build = build_args(&args.dir, &args.functions, &args.local);
    run(context, async |scratch: &Path| {
        let listener = listen((args.host, args.port).into()).map_err(|error| {
            let failure = Failure::system(&format!("failed to listen at {}:{}", args.host, args.port), &error);
            match error.kind() {
                std::io::ErrorKind::AddrInUse => Failure {
                    hints: vec!["another program is there: `--port 0` takes a free one".to_owned()],
                    ..failure
                },
                _ => failure,
            }
        })?;
        let address = listener.local_addr().map_err(|error| Failure::system("failed to listen", &error))?;
        let mut project = Project::new(&build, &args.local, context, scratch);
        let (server, mut asked) = server(context, scratch, usize::from(args.concurrency), args.host_name.clone());
        let functions = project.load(None).await?;
        if functions.is_empty() {
            return Err(no_functions());
        }
        let page = &context.ui.page;
        let mut text = String::new();
        for function in &functions {
            text += &format!("{}\n", human::served(function, page));
        }
        for function in functions {
            server.put(function);
        }
        let url = format!("http://{address}");
        context.ui.events().finish();
        let shown = format!("{text}\n{}\n", human::endpoint(&url, page));
        context.ui.data(&shown).map_err(|error| Failure::system("failed to write to stdout", &error))?;
        if !address.ip().is_loopback() {
            context.ui.warning("whoever reaches this address can run the functions");
        }
        let serving = tokio::spawn(local::serve(listener, server.clone()));
        let mut events = server.events();
        let show = |event: &Event| {
            if let Some(line) = human::happened(event, page) {
                // Whoever has closed stdout does not want to see it.
                drop(context.ui.summary(&line));
            }
        };
        let code = loop {
            tokio::select! {
                code = exit::stopped() => break code,
                Some(asked) = asked.recv() => project.answer(asked, &server).await,
                event = events.recv() => {
                    event.iter().for_each(|event| show(event));
                }
            }
        };
        // What extensions and runtimes say at their end is seen, too.
        let mut stopping = std::pin::pin!(server.stop());
        loop {
            tokio::select! {
                () = &mut stopping => break,
                Ok(event) = events.recv() => show(&event),
            }
        }
        while let Ok(event) = events.try_recv() {
            show(&event);
        }
        serving.abort();
        Ok(code)
    })
}

pub(super) fn invoke(args: &InvokeArgs, context: &Context<'_>) -> Result<Code, Failure> {
    let payload = payload(args, context)?;
    if args.remote {
        return invoke_remote(args, payload, context);
    }
    let build = build_args(&args.dir, std::slice::from_ref(&args.name), &args.local);
    run(context, async |scratch: &Path| {
        let mut project = Project::new(&build, &args.local, context, scratch);
        let (server, mut asked) = server(context, scratch, 1, Vec::new());
        for function in project.load(None).await? {
            server.put(function);
        }
        context.ui.events().finish();
        let mut events = server.events();
        let request = Request { payload: payload.into(), ..Request::default() };
        let mut invoked = std::pin::pin!(server.invoke(&args.name, request));
        let log = |event: Result<Arc<Event>, RecvError>| match event {
            Ok(event) => {
                if let Event::Log { message, .. } = &*event {
                    crate::ui::to_stderr(message);
                }
            }
            Err(RecvError::Lagged(missed)) => {
                crate::ui::to_stderr(&format!("layerwise: {missed} lines came too fast to be shown\n"));
            }
            Err(RecvError::Closed) => {}
        };
        let answer = loop {
            tokio::select! {
                answer = &mut invoked => break answer,
                code = exit::stopped() => {
                    server.stop().await;
                    return Ok(code);
                }
                Some(asked) = asked.recv() => project.answer(asked, &server).await,
                event = events.recv() => log(event),
            }
        };
        while let Ok(event) = events.try_recv() {
            log(Ok(event));
        }
        server.stop().await;
        // What extensions say at their end.
        while let Ok(event) = events.try_recv() {
            log(Ok(event));
        }
        let answer =
            answer.map_err(|error| Failure::system("failed to invoke the function", &std::io::Error::other(error)))?;
        let (body, code) = match answer.outcome {
            Outcome::Success(body) => (body, Code::Success),
            Outcome::Failed(body) => (body, Code::Failed(Kind::Function)),
        };
        context.answer(&format!("{}\n", String::from_utf8_lossy(&body)))?;
        Ok(code)
    })
}

/// The same on AWS: the answer on stdout, the end of the log on stderr.
fn invoke_remote(args: &InvokeArgs, payload: Vec<u8>, context: &Context<'_>) -> Result<Code, Failure> {
    let mut result = Err(Failure::bug());
    let ended = exit::block_on(async {
        result = async {
            let at = (args.region.as_deref(), args.profile.as_deref());
            let client = super::logs::connect(&args.name, at, context).await?;
            let invoked = client.invoke(&args.name, payload).await?;
            crate::ui::to_stderr(&super::logs::harmless(&invoked.log));
            context.answer(&format!("{}\n", String::from_utf8_lossy(&invoked.payload)))?;
            Ok(if invoked.error.is_some() { Code::Failed(Kind::Function) } else { Code::Success })
        }
        .await;
        match &result {
            Ok(code) => *code,
            Err(failure) => failure.code(),
        }
    });
    match ended.map_err(|error| Failure::system("failed to start", &error))? {
        // What was under way has no result.
        code @ (Code::Interrupted | Code::Terminated) => Ok(code),
        _ => result,
    }
}

/// A thousand clients may come at one moment: they wait to be accepted instead of being turned away.
fn listen(address: std::net::SocketAddr) -> std::io::Result<TcpListener> {
    const WAITING: u32 = 4096;
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As `TcpListener::bind` does: a server that has just ended does not hold its port.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING)
}

/// Runs `work` with a directory of its own, and to its end.
fn run(context: &Context<'_>, work: impl AsyncFnOnce(&Path) -> Result<Code, Failure>) -> Result<Code, Failure> {
    let scratch = tempfile::Builder::new().prefix("layerwise-").tempdir();
    let scratch = scratch.map_err(|error| Failure::system("failed to make a temporary directory", &error))?;
    let mut result = Err(Failure::bug());
    let ended = exit::block_on_to_the_end(async {
        result = work(scratch.path()).await;
        Code::Success
    });
    context.ui.events().finish();
    ended.map_err(|error| Failure::system("failed to start", &error))?;
    result
}

fn build_args(dir: &Path, functions: &[String], local: &LocalArgs) -> BuildArgs {
    let input = InputArgs {
        dir: dir.to_owned(),
        compile: local.compile.clone(),
        indexes: local.indexes.clone(),
        ..InputArgs::default()
    };
    // What would not work is to be seen as Lambda shows it.
    BuildArgs { input, functions: functions.to_vec(), no_check: true, ..BuildArgs::default() }
}

fn no_functions() -> Failure {
    Failure {
        kind: Kind::Usage,
        message: "the configuration has no functions".to_owned(),
        causes: Vec::new(),
        hints: vec!["write `[function.NAME]` with `code` and `handler` into layerwise.toml".to_owned()],
        details: None,
    }
}

fn payload(args: &InvokeArgs, context: &Context<'_>) -> Result<Vec<u8>, Failure> {
    let read = |path: &Path| -> std::io::Result<Vec<u8>> {
        if path == Path::new("-") {
            let mut bytes = Vec::new();
            std::io::stdin().lock().read_to_end(&mut bytes)?;
            return Ok(bytes);
        }
        fs_err::read(context.environment.dir.join(path))
    };
    let payload = match (&args.payload, &args.payload_file, args.event) {
        (Some(text), ..) => text.clone().into_bytes(),
        (_, Some(path), _) => read(path).map_err(|error| Failure::system("failed to read the payload", &error))?,
        (_, _, Some(event)) => sample(event).as_bytes().to_vec(),
        _ => b"{}".to_vec(),
    };
    match serde_json::from_slice::<serde_json::Value>(&payload) {
        Ok(_) => Ok(payload),
        Err(error) => Err(Failure {
            kind: Kind::Usage,
            message: "the payload is not JSON".to_owned(),
            causes: vec![error.to_string()],
            hints: Vec::new(),
            details: None,
        }),
    }
}

/// Sample events, in AWS's own forms.
fn sample(event: EventName) -> &'static str {
    match event {
        EventName::S3 => include_str!("../events/s3.json"),
        EventName::Sqs => include_str!("../events/sqs.json"),
        EventName::Eventbridge => include_str!("../events/eventbridge.json"),
        EventName::ApigwV1 => include_str!("../events/apigw-v1.json"),
        EventName::ApigwV2 => include_str!("../events/apigw-v2.json"),
    }
}

fn samples() -> String {
    use clap::ValueEnum as _;
    let all = EventName::value_variants().iter().filter_map(|event| {
        let value: serde_json::Value = serde_json::from_str(sample(*event)).ok()?;
        Some((event.to_possible_value()?.get_name().to_owned(), value))
    });
    serde_json::Value::Object(all.collect()).to_string()
}

/// What the server asks of whoever knows the project.
enum Asked {
    /// Have files changed?
    Refresh(oneshot::Sender<()>),
    /// Why does it not start?
    Explain(String, oneshot::Sender<Vec<String>>),
}

fn server(
    context: &Context<'_>,
    scratch: &Path,
    concurrency: usize,
    hosts: Vec<String>,
) -> (Server, mpsc::Receiver<Asked>) {
    let (ask, asked) = mpsc::channel(64);
    let explain = ask.clone();
    let settings = Settings {
        concurrency,
        program: context.environment.program().unwrap_or(Path::new("layerwise")).to_owned(),
        scratch: scratch.to_owned(),
        retries: RETRIES,
        surroundings: context.environment.for_functions(),
        clock: Arc::new(crate::env::Environment::clock),
        explain: Arc::new(move |function| {
            let ask = explain.clone();
            Box::pin(async move {
                let (reply, lines) = oneshot::channel();
                drop(ask.send(Asked::Explain(function, reply)).await);
                lines.await.unwrap_or_default()
            })
        }),
        refresh: Arc::new(move || {
            let ask = ask.clone();
            Box::pin(async move {
                let (reply, done) = oneshot::channel();
                drop(ask.send(Asked::Refresh(reply)).await);
                drop(done.await);
            })
        }),
        hosts,
        samples: samples(),
    };
    (Server::new(settings), asked)
}

/// The project's functions, and what their files were like when they were built.
struct Project<'a> {
    build: &'a BuildArgs,
    local: &'a LocalArgs,
    context: &'a Context<'a>,
    scratch: &'a Path,
    /// Counts directories of code.
    number: usize,
    jobs: BTreeMap<String, FunctionJob>,
    /// Directories of the functions' code.
    code: BTreeSet<PathBuf>,
    io: Option<Arc<Io>>,
    looked: Instant,
    seen: Sha256,
}

impl<'a> Project<'a> {
    fn new(build: &'a BuildArgs, local: &'a LocalArgs, context: &'a Context<'a>, scratch: &'a Path) -> Self {
        let (jobs, io, seen) = (BTreeMap::new(), None, Sha256::of(b""));
        Self {
            build,
            local,
            context,
            scratch,
            number: 0,
            jobs,
            code: BTreeSet::new(),
            io,
            looked: Instant::now(),
            seen,
        }
    }

    /// Builds all functions; those that `known` has unchanged are left out.
    async fn load(&mut self, known: Option<&Server>) -> Result<Vec<Function>, Failure> {
        // Before anything is read: what changes meanwhile is noticed later.
        self.seen = self.fingerprint();
        let Prepared { jobs, functions, io } = prepare(&self.build.input, Some(self.build), self.context)?;
        self.code = functions.iter().map(|(spec, _)| spec.code.clone()).collect();
        self.seen = self.fingerprint();
        let outputs = self.scratch.join("layers");
        let jobs = jobs.into_iter().map(|(name, target, job)| {
            let to_scratch = |job: Arc<pipeline::Job>| {
                let output = outputs.join(format!("{name}-{}.zip", target.architecture));
                Arc::new(pipeline::Job { output, ..(*job).clone() })
            };
            let job = job.map(to_scratch);
            (name, target, job)
        });
        let jobs: Vec<_> = jobs.collect();
        let page = self.context.ui.page.clone();
        let work = move |job: Arc<pipeline::Job>, io: Arc<Io>| {
            let page = page.clone();
            async move {
                let built = pipeline::build(&job, LockPolicy::Use, &io).await;
                let built = built.map_err(|error| failure(error, None, &page))?;
                Ok(Done {
                    notes: human::notes(&built),
                    json: serde_json::Value::Null,
                    text: Box::new(|_| String::new()),
                    built: Some(built),
                })
            }
        };
        let mut layers = at_once(&jobs, &io, &work).await;
        if let Some(at) = layers.iter().position(|(.., result)| result.is_err()) {
            let (name, target, result) = layers.swap_remove(at);
            let mut failure = result.err().unwrap_or_else(Failure::bug);
            failure.message = format!("`{name}` for {target}: {}", failure.message);
            return Err(failure);
        }
        let mut made = Vec::new();
        for (spec, target) in functions {
            let output = self.scratch.join(format!("{}.zip", spec.name));
            let job = function_job(&spec, target, &layers, (output, false))?;
            let built =
                pipeline::function(&job, &io).await.map_err(|error| failure(error, None, &self.context.ui.page))?;
            self.jobs.insert(job.name.clone(), job);
            let zips = layer_zips(&spec, target, &layers);
            let before = known.and_then(|server| server.function(spec.name.as_str()));
            let function = self.function(&spec, built, zips, &io).await?;
            let same = before.is_some_and(|before| {
                before.code_sha256 == function.code_sha256
                    && before.opt == function.opt
                    && before.environment == function.environment
                    && (before.timeout, before.memory, &before.handler)
                        == (function.timeout, function.memory, &function.handler)
            });
            if !same {
                made.push(function);
            }
        }
        self.io = Some(io);
        self.looked = Instant::now();
        Ok(made)
    }

    async fn function(
        &mut self,
        spec: &FunctionSpec,
        built: Built,
        zips: Vec<(Layer, PathBuf)>,
        io: &Arc<Io>,
    ) -> Result<Function, Failure> {
        let target = built.target;
        self.number += 1;
        // A copy: what the function sees does not change under its feet, and has only what goes to Lambda.
        let code = self.scratch.join(format!("code-{}", self.number));
        unpack(&built.output, &code)?;
        let opt = match zips.as_slice() {
            [] => None,
            zips if spec.dependencies == Dependencies::Layer => Some(unpacked(zips, io)?),
            _ => None,
        };
        let environment = self.context.environment;
        let search = settings::search(self.local.python.as_deref(), &[target], environment);
        let python = prove::find(target, &search).await.map_err(|none| Failure {
            kind: none.kind(),
            message: none.to_string(),
            causes: none.tried.iter().map(|(path, why)| format!("{} {why}", path.display())).collect(),
            hints: none.hints(),
            details: None,
        })?;
        let indexes = settings::indexes(&self.local.indexes, environment)?;
        let indexes = layerwise::input::layered(
            indexes,
            layerwise::input::IndexOptions::default(),
            &environment.surroundings(&environment.dir)?,
        )?;
        let runtime = local::provide(target, &indexes, io).await?;
        Ok(Function {
            name: spec.name.to_string(),
            handler: spec.handler.clone(),
            target,
            timeout: Duration::from_secs(spec.timeout.into()),
            memory: spec.memory,
            environment: built.environment,
            code,
            opt,
            layers: zips.into_iter().map(|(layer, _)| layer).collect(),
            code_sha256: built.sha256.base64(),
            code_size: built.zipped_bytes,
            python,
            runtime,
        })
    }

    async fn answer(&mut self, asked: Asked, server: &Server) {
        match asked {
            Asked::Refresh(done) => {
                if self.looked.elapsed() >= BELIEVED {
                    self.looked = Instant::now();
                    if self.fingerprint() != self.seen {
                        self.reload(server).await;
                    }
                }
                // Who asked may have gone away.
                done.send(()).ok();
            }
            Asked::Explain(name, reply) => drop(reply.send(self.explain(&name).await)),
        }
    }

    async fn reload(&mut self, server: &Server) {
        match self.load(Some(server)).await {
            Ok(functions) => {
                for function in functions {
                    server.put(function);
                }
            }
            Err(failure) => {
                for function in server.functions() {
                    server.reload_failed(&function.name, &failure.message);
                }
                self.context.ui.failure(&failure);
            }
        }
        self.context.ui.events().finish();
    }

    /// What the check says of a function that does not start.
    async fn explain(&self, name: &str) -> Vec<String> {
        let (Some(job), Some(io)) = (self.jobs.get(name), &self.io) else { return Vec::new() };
        let job = FunctionJob { check: true, output: self.scratch.join("explained.zip"), ..job.clone() };
        let report = match pipeline::function(&job, io).await {
            Err(pipeline::Error::Findings { report, .. }) => *report,
            _ => return Vec::new(),
        };
        let found = report.findings.iter().filter(|finding| finding.severity == Severity::Error);
        let lines = found.take(5).flat_map(|finding| {
            let words = words(finding, job.target, Some(&job.handler));
            let way_out = Some(words.way_out).filter(|way| !way.is_empty());
            let way_out = way_out.map(|way| format!("layerwise: way out: {way}"));
            std::iter::once(format!("layerwise: {}: {}", finding.rule().id(), words.text)).chain(way_out)
        });
        lines.collect()
    }

    /// What the project's files and the functions' code are like: names, sizes, times.
    fn fingerprint(&self) -> Sha256 {
        let dir = self.context.environment.dir.join(&self.build.input.dir);
        let mut text = String::new();
        let mut note = |path: &Path| {
            if let Ok(about) = fs_err::metadata(path) {
                let time = about.modified().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
                text += &format!("{} {} {:?}\n", path.display(), about.len(), time);
            }
        };
        let mut files: Vec<PathBuf> =
            fs_err::read_dir(&dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        files.sort();
        files.iter().filter(|path| path.is_file()).for_each(|path| note(path));
        for directory in &self.code {
            for path in code_files(directory) {
                note(&path);
            }
        }
        Sha256::of(text.as_bytes())
    }
}

/// The files of a directory of code, as far as they may matter.
fn code_files(dir: &Path) -> Vec<PathBuf> {
    /// No function's own code has more.
    const MOST: usize = 20_000;
    const NEVER: [&str; 6] = [".git", ".venv", "venv", "__pycache__", "node_modules", ".terraform"];
    let mut found = Vec::new();
    let mut directories = vec![dir.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs_err::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if !NEVER.iter().any(|name| entry.file_name() == *name) {
                    directories.push(entry.path());
                }
            } else {
                found.push(entry.path());
            }
            if found.len() >= MOST {
                return found;
            }
        }
    }
    found.sort();
    found
}

/// The layers of a function with their zips, in order.
fn layer_zips(spec: &FunctionSpec, target: Target, layers: &[Ended]) -> Vec<(Layer, PathBuf)> {
    let one = |layer: &LayerRef| match layer {
        LayerRef::Path(path) => {
            let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let size = fs_err::metadata(path).map_or(0, |about| about.len());
            Some((Layer { name, size, sha256: String::new() }, path.clone()))
        }
        LayerRef::Named(name) => {
            let built = layer_of(name, target, layers)?.as_ref().ok()?.built.as_ref()?;
            let (size, sha256) = (built.zipped_bytes, built.sha256.base64());
            Some((Layer { name: name.clone(), size, sha256 }, built.output.clone()))
        }
    };
    spec.layers.iter().filter_map(one).collect()
}

/// Layers unpacked over each other, in the cache.
fn unpacked(zips: &[(Layer, PathBuf)], io: &Io) -> Result<PathBuf, Failure> {
    let mut identity = String::new();
    for (layer, path) in zips {
        // What somebody else has made is known by what its file is like.
        let about = fs_err::metadata(path).map_err(|error| Failure::system("failed to read a layer", &error))?;
        let own = (!layer.sha256.is_empty()).then(|| layer.sha256.clone());
        identity += &own.unwrap_or_else(|| format!("{} {} {:?}", path.display(), about.len(), about.modified().ok()));
        identity.push('\n');
    }
    let key = Sha256::of(identity.as_bytes()).to_string();
    if !io.cache.is_unit(Bucket::Unpacked, &key) {
        let aside = io.cache.unit_aside(Bucket::Unpacked)?;
        for (_, path) in zips {
            unpack(path, aside.path())?;
        }
        io.cache.place_unit(aside, Bucket::Unpacked, &key)?;
    }
    io.cache.touch_unit(Bucket::Unpacked, &key, io.now());
    Ok(io.cache.path(Bucket::Unpacked, &key))
}

fn unpack(zip: &Path, to: &Path) -> Result<(), Failure> {
    let read = artifact::read(zip, &zip.display().to_string(), 2, None)?;
    fs_err::create_dir_all(to).map_err(|error| Failure::system("failed to unpack", &error))?;
    Ok(artifact::unpack(&read, zip, to)?)
}
