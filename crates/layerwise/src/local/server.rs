//! Functions that can be invoked: which environment gets an invocation, and the task that each environment is.
//!
//! What an environment does next is `environment.rs`'s to say; here processes, sockets and the clock become its inputs,
//! and its actions become processes, answers and log lines.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::process::{ChildStderr, ChildStdout};
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot, watch};

use super::environment::{self, Action, Exit, Extensions, Input, State};
use super::launch::{self, Launched, Told, Walls};
use super::logs::{Logs, Numbers, Record, Splitter, Words, milliseconds};
use super::queue::Queue;
use super::runtime_api::{self, Delivery, Message};
use super::telemetry::{self, Source, Subscription};
use super::{ErrorBody, Event, Function, Limits, Outcome, Settings};
use crate::model::Sha256;

/// An invocation to be made.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The event.
    pub payload: Bytes,
    /// The client context, JSON.
    pub context: Option<String>,
    /// Its id; a new one where there is none. All tries of an asynchronous invocation have one.
    pub id: Option<String>,
}

/// What an invocation came to.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The request's id.
    pub request: String,
    /// The result, or the error.
    pub outcome: Outcome,
    /// The last lines of the log, at most 4 KB.
    pub tail: Vec<u8>,
}

/// An invocation was not made.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// There is no such function.
    #[error("there is no function `{0}`")]
    NoFunction(String),
    /// All environments are busy.
    #[error("all {0} environments are busy")]
    Throttled(usize),
    /// Too much waits to be invoked asynchronously.
    #[error("too many events wait")]
    QueueFull,
    /// The environment could not be made.
    #[error("failed to start an environment")]
    Start(#[source] std::io::Error),
    /// The server ends.
    #[error("the local Lambda is being stopped")]
    Stopped,
}

/// The most of a log that an answer carries, in bytes.
///
/// Source: <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>, `LogType`.
const TAIL: usize = 4096;
/// How often the memory of a busy environment is looked at.
const WATCH: Duration = Duration::from_millis(100);
/// How long environments may take to end when the server does: their grace, and what killing takes.
const STOP: Duration = Duration::from_secs(6);
/// Events that wait for whoever is slow to look at them.
const EVENTS: usize = 1024;
/// What of a line those see who watch, in bytes; the log has all of it.
const SHOWN: usize = 16 << 10;
/// The start's limit.
const INIT: Duration = Duration::from_secs(10);

/// Functions that can be invoked. Clones are the same server.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    settings: Settings,
    functions: Mutex<BTreeMap<String, Slot>>,
    logs: Mutex<Logs>,
    queue: Mutex<Queue>,
    /// What happens, for whoever shows it.
    events: broadcast::Sender<Arc<Event>>,
    began: Instant,
    numbers: AtomicU64,
    stopped: watch::Sender<bool>,
    /// Environments that are not gone yet.
    alive: watch::Sender<usize>,
    /// Namespaces were refused: it need not be tried again.
    open: AtomicBool,
}

/// A function and its environments.
struct Slot {
    function: Arc<Function>,
    /// Counts changes of the function.
    generation: u64,
    idle: Vec<mpsc::Sender<Job>>,
    environments: usize,
    /// As many asynchronous invocations as there may be environments; the others wait their turn.
    turns: Arc<Semaphore>,
}

/// An invocation on its way to an environment.
struct Job {
    request: String,
    payload: Bytes,
    context: Option<String>,
    reply: oneshot::Sender<Answer>,
}

/// A line as those see it who watch.
fn clipped(line: &Arc<str>) -> Arc<str> {
    if line.len() <= SHOWN {
        return Arc::clone(line);
    }
    format!("{}…\n", line.get(..line.floor_char_boundary(SHOWN)).unwrap_or_default()).into()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// A server without functions.
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(Inner {
            settings,
            functions: Mutex::default(),
            logs: Mutex::default(),
            queue: Mutex::default(),
            events: broadcast::Sender::new(EVENTS),
            began: Instant::now(),
            numbers: AtomicU64::new(0),
            stopped: watch::Sender::new(false),
            alive: watch::Sender::new(0),
            open: AtomicBool::new(false),
        }))
    }

    /// Puts a function in its place. Its next invocation uses it; invocations under way end with what was there before.
    pub fn put(&self, function: Function) {
        let name = function.name.clone();
        locked(&self.0.logs).add_group(function.log_group().into());
        let function = Arc::new(function);
        let again = {
            let mut functions = locked(&self.0.functions);
            let before = functions.remove(&name);
            let generation = before.as_ref().map_or(0, |slot| slot.generation + 1);
            let environments = before.as_ref().map_or(0, |slot| slot.environments);
            let again = before.is_some();
            let fresh = || Arc::new(Semaphore::new(self.0.settings.concurrency));
            let turns = before.map_or_else(fresh, |slot| slot.turns);
            // Dropping what idle environments listen to ends them.
            functions.insert(name.clone(), Slot { function, generation, idle: Vec::new(), environments, turns });
            again
        };
        self.tell(Event::Function { function: name, again });
    }

    /// Says that a change could not be made.
    pub fn reload_failed(&self, function: &str, error: &str) {
        self.tell(Event::ReloadFailed { function: function.to_owned(), error: error.to_owned() });
    }

    /// The functions, by name.
    pub fn functions(&self) -> Vec<Arc<Function>> {
        locked(&self.0.functions).values().map(|slot| Arc::clone(&slot.function)).collect()
    }

    /// The function of this name.
    pub fn function(&self, name: &str) -> Option<Arc<Function>> {
        locked(&self.0.functions).get(name).map(|slot| Arc::clone(&slot.function))
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.0.events.subscribe()
    }

    pub(super) fn logs(&self) -> MutexGuard<'_, Logs> {
        locked(&self.0.logs)
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    fn tell(&self, event: Event) {
        // Nobody may be listening.
        drop(self.0.events.send(Arc::new(event)));
    }

    fn now(&self) -> Duration {
        self.0.began.elapsed()
    }

    /// Milliseconds since 1970.
    pub(super) fn clock(&self) -> u64 {
        let now = (self.0.settings.clock)().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
    }

    /// An id like those of requests: the form of a version 4 UUID, made of a counter and the time.
    pub(super) fn id(&self) -> String {
        let number = self.0.numbers.fetch_add(1, Ordering::Relaxed);
        let seed = format!("{number} {} {}", self.clock(), std::process::id());
        let text = Sha256::of(seed.as_bytes()).to_string();
        let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
        format!("{}-{}-4{}-a{}-{}", part(0, 8), part(8, 12), part(12, 15), part(15, 18), part(18, 30))
    }

    /// Invokes a function and waits for its answer.
    ///
    /// # Errors
    /// There is no such function; too many invocations at once; no environment can be made.
    pub async fn invoke(&self, name: &str, request: Request) -> Result<Answer, InvokeError> {
        let (reply, answer) = oneshot::channel();
        let id = request.id.unwrap_or_else(|| self.id());
        let mut job = Job { request: id, payload: request.payload, context: request.context, reply };
        if *self.0.stopped.borrow() {
            return Err(InvokeError::Stopped);
        }
        let fresh = loop {
            let idle = {
                let mut functions = locked(&self.0.functions);
                let slot = functions.get_mut(name).ok_or_else(|| InvokeError::NoFunction(name.to_owned()))?;
                match slot.idle.pop() {
                    Some(idle) => idle,
                    None if slot.environments >= self.0.settings.concurrency => {
                        return Err(InvokeError::Throttled(self.0.settings.concurrency));
                    }
                    None => {
                        slot.environments += 1;
                        break (Arc::clone(&slot.function), slot.generation);
                    }
                }
            };
            match idle.try_send(job) {
                Ok(()) => return answer.await.map_err(|_| InvokeError::Stopped),
                // It has just ended.
                Err(mpsc::error::TrySendError::Closed(back) | mpsc::error::TrySendError::Full(back)) => job = back,
            }
        };
        let (function, generation) = fresh;
        self.start(function, generation, job).await.map_err(InvokeError::Start)?;
        answer.await.map_err(|_| InvokeError::Stopped)
    }

    /// Has a function invoked asynchronously: up to three times, when it is its turn. Returns the request's id.
    ///
    /// # Errors
    /// There is no such function; too much waits already.
    pub(super) fn enqueue(&self, name: &str, request: Request) -> Result<String, InvokeError> {
        let turns = locked(&self.0.functions).get(name).map(|slot| Arc::clone(&slot.turns));
        let turns = turns.ok_or_else(|| InvokeError::NoFunction(name.to_owned()))?;
        let size = request.payload.len();
        if !locked(&self.0.queue).enter(size) {
            return Err(InvokeError::QueueFull);
        }
        let id = request.id.unwrap_or_else(|| self.id());
        let request = Request { id: Some(id.clone()), ..request };
        let (server, name) = (self.clone(), name.to_owned());
        tokio::spawn(async move {
            server.invoke_in_turn(&name, &request, &turns).await;
            locked(&server.0.queue).leave(size);
        });
        Ok(id)
    }

    async fn invoke_in_turn(&self, name: &str, request: &Request, turns: &Semaphore) {
        let mut waits = self.0.settings.retries.into_iter();
        loop {
            let Ok(turn) = turns.acquire().await else { return };
            match self.invoke(name, request.clone()).await {
                Ok(Answer { outcome: Outcome::Success(_), .. }) => return,
                Ok(_) => {
                    drop(turn);
                    let Some(wait) = waits.next() else { return };
                    tokio::time::sleep(wait).await;
                }
                // Those who wait for their answers have all environments.
                Err(InvokeError::Throttled(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
                Err(_) => return,
            }
        }
    }

    /// Makes an environment for a first job.
    async fn start(&self, function: Arc<Function>, generation: u64, job: Job) -> std::io::Result<()> {
        let place = async {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            let runtime_api = listener.local_addr()?.to_string();
            let number = self.0.numbers.fetch_add(1, Ordering::Relaxed);
            let scratch = self.0.settings.scratch.join(format!("environment-{number}"));
            fs_err::create_dir_all(&scratch)?;
            Ok::<_, std::io::Error>((listener, runtime_api, address_of(number), scratch))
        };
        let (listener, runtime_api, address, scratch) = match place.await {
            Ok(place) => place,
            Err(error) => {
                self.release(&function.name);
                return Err(error);
            }
        };
        let (to, messages) = mpsc::channel(16);
        let api = tokio::spawn(runtime_api::serve(listener, to, Arc::clone(&function)));
        let day = super::logs::iso(self.clock()).get(..10).unwrap_or_default().replace('-', "/");
        let id = self.id().replace('-', "");
        let stream: Arc<str> = format!("{day}/[$LATEST]{id}").into();
        self.0.alive.send_modify(|alive| *alive += 1);
        let (jobs_to, jobs) = mpsc::channel(1);
        let limits = Limits { init: INIT, timeout: function.timeout, extensions: Extensions::None };
        let group: Arc<str> = function.log_group().into();
        let task = Environment {
            server: self.clone(),
            starting: true,
            expected: launch::extensions(&function),
            function,
            generation,
            limits,
            group,
            stream,
            runtime_api,
            address,
            scratch,
            messages,
            jobs,
            jobs_to,
            job: None,
            process: None,
            runtime: None,
            extensions: BTreeMap::new(),
            early: Vec::new(),
            memory: Memory::default(),
            tail: VecDeque::new(),
        };
        tokio::spawn(async move {
            task.run(job).await;
            api.abort();
        });
        Ok(())
    }

    /// An environment is gone.
    fn release(&self, function: &str) {
        if let Some(slot) = locked(&self.0.functions).get_mut(function) {
            slot.environments = slot.environments.saturating_sub(1);
        }
    }

    /// Ends all environments, and waits for it.
    pub async fn stop(&self) {
        self.0.stopped.send_replace(true);
        let mut alive = self.0.alive.subscribe();
        // Each is killed after its grace.
        drop(tokio::time::timeout(STOP, alive.wait_for(|alive| *alive == 0)).await);
    }
}

/// An extension that has registered.
struct Extension {
    name: String,
    events: Vec<String>,
    waiting: Option<oneshot::Sender<serde_json::Value>>,
    /// What it is to be told when it asks next.
    shutdown: Option<serde_json::Value>,
    telemetry: Option<Subscription>,
}

impl Extension {
    fn wants(&self, event: &str) -> bool {
        self.events.iter().any(|one| one == event)
    }

    /// Tells it of its end, if it wants to know and waits for it.
    fn told(&mut self) {
        if self.wants("SHUTDOWN")
            && let (Some(_), Some(_)) = (&self.waiting, &self.shutdown)
            && let (Some(waiting), Some(event)) = (self.waiting.take(), self.shutdown.take())
        {
            drop(waiting.send(event));
        }
    }
}

/// The processes of an environment.
struct Process {
    launched: Launched,
    stdout: ChildStdout,
    stderr: ChildStderr,
    out: Splitter,
    err: Splitter,
    extensions: Splitter,
    /// The runtime's end has been heard of.
    told: bool,
    /// It was killed for this.
    killed: Option<Exit>,
}

/// Where something was written.
#[derive(Clone, Copy)]
enum From {
    Out,
    Err,
    Extensions,
}

/// A loopback address of an environment's own, for what listens in it.
fn address_of(number: u64) -> String {
    // Not the first nor the last of a network: some programs take those for special.
    let (high, middle, low) = (64 + (number / 60_000) % 64, (number / 240) % 250, 10 + number % 240);
    format!("127.{high}.{middle}.{low}")
}

/// One environment's task.
struct Environment {
    server: Server,
    function: Arc<Function>,
    generation: u64,
    limits: Limits,
    group: Arc<str>,
    stream: Arc<str>,
    /// Address and port of its Runtime API.
    runtime_api: String,
    /// The loopback address that is its own.
    address: String,
    scratch: PathBuf,
    messages: mpsc::Receiver<Message>,
    jobs: mpsc::Receiver<Job>,
    jobs_to: mpsc::Sender<Job>,
    /// The job under way.
    job: Option<Job>,
    process: Option<Process>,
    /// The runtime waits for work.
    runtime: Option<oneshot::Sender<Delivery>>,
    extensions: BTreeMap<String, Extension>,
    /// External extensions, which are to register.
    expected: Vec<String>,
    /// What was told while the environment starts, for extensions that subscribe then.
    early: Vec<(Source, String)>,
    /// There may be extensions that have not subscribed yet.
    starting: bool,
    memory: Memory,
    /// The last bytes of the log of the job under way.
    tail: VecDeque<u8>,
}

/// The end of an invocation; see [`Action::Finish`].
struct Finish {
    work: String,
    outcome: Outcome,
    duration: Duration,
    init: Option<Duration>,
    status: Option<(&'static str, String)>,
}

impl Environment {
    async fn run(mut self, job: Job) {
        let mut stopped = self.server.0.stopped.subscribe();
        self.say(|words, function| vec![words.init_start(&function.target.runtime.name)]);
        let (mut state, actions) = environment::start(job.request.clone(), self.server.now());
        self.job = Some(job);
        self.act(actions, true).await;
        let mut idle = false;
        while state != State::Ended {
            let is_ready = state == State::Ready;
            let input = if is_ready && !idle && !self.to_pool() {
                // The function has changed meanwhile.
                Some(Input::Shutdown)
            } else {
                self.next(&state, &mut stopped).await
            };
            idle = is_ready;
            let Some(input) = input else { continue };
            let starting = matches!(state, State::Init { .. });
            if let (State::Init { began, again, failure: None, .. }, Input::Ready) = (&state, &input) {
                self.started(self.server.now().saturating_sub(*began), *again);
            }
            let (next, actions) = environment::step(state, input, self.server.now(), &self.limits);
            state = next;
            self.act(actions, starting).await;
        }
        self.server.release(&self.function.name);
        drop(fs_err::remove_dir_all(&self.scratch));
        self.server.0.alive.send_modify(|alive| *alive -= 1);
    }

    /// Puts this environment among those that wait for work; false if its function is no more.
    fn to_pool(&self) -> bool {
        let mut functions = locked(&self.server.0.functions);
        match functions.get_mut(&self.function.name) {
            Some(slot) if slot.generation == self.generation => {
                slot.idle.push(self.jobs_to.clone());
                true
            }
            _ => false,
        }
    }

    /// Whether the function is still the one this environment is of.
    fn is_current(&self) -> bool {
        let functions = locked(&self.server.0.functions);
        functions.get(&self.function.name).is_some_and(|slot| slot.generation == self.generation)
    }

    /// The start has succeeded.
    fn started(&mut self, took: Duration, again: bool) {
        let ready: Vec<_> = self.extensions.values().map(|one| (one.name.clone(), one.events.clone())).collect();
        self.say(|words, _| ready.iter().map(|(name, events)| words.extension(name, "Ready", events, None)).collect());
        self.say(|words, _| words.init_report(took, if again { "invoke" } else { "init" }, None));
        (self.starting, self.early) = (false, Vec::new());
    }

    async fn next(&mut self, state: &State, stopped: &mut watch::Receiver<bool>) -> Option<Input> {
        let began = self.server.0.began;
        let alarm = environment::alarm(state, &self.limits).map(|at| began + at);
        let busy = matches!(state, State::Busy { .. } | State::Init { .. });
        let idle = *state == State::Ready;
        let now = Instant::now();
        // First of all: what writes without end must not hold time up.
        if alarm.is_some_and(|at| at <= now) {
            return Some(Input::Tick);
        }
        let mut watch_at = busy.then(|| self.memory.due(now));
        if watch_at.is_some_and(|at| at <= now) {
            self.watch_memory();
            watch_at = Some(now + WATCH);
        }
        let wake = [alarm, watch_at, idle.then(|| now + WATCH * 5)].into_iter().flatten().min();
        let sleep = async move {
            match wake {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let mut buffers = ([0u8; 16 << 10], [0u8; 16 << 10], [0u8; 16 << 10]);
        enum Read {
            Message(Option<Message>),
            Job(Option<Job>),
            Written(From, usize),
            Told(Told),
            Exited(std::io::Result<std::process::ExitStatus>),
            Woken,
            Stopped,
        }
        let live = busy || idle;
        let read = match &mut self.process {
            Some(process) => {
                let Launched { child, control, extension_log, .. } = &mut process.launched;
                let extensions = async {
                    match extension_log {
                        Some(log) => log.read(&mut buffers.2).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    _ = stopped.wait_for(|stopped| *stopped), if live => Read::Stopped,
                    Ok(count) = process.stdout.read(&mut buffers.0), if !process.out.is_closed() => {
                        Read::Written(From::Out, count)
                    }
                    Ok(count) = process.stderr.read(&mut buffers.1), if !process.err.is_closed() => {
                        Read::Written(From::Err, count)
                    }
                    Ok(count) = extensions => Read::Written(From::Extensions, count),
                    message = self.messages.recv() => Read::Message(message),
                    told = control.told() => Read::Told(told),
                    job = self.jobs.recv(), if idle => Read::Job(job),
                    ended = child.wait() => Read::Exited(ended),
                    () = sleep => Read::Woken,
                }
            }
            None => Read::Exited(Err(std::io::ErrorKind::NotFound.into())),
        };
        match read {
            Read::Written(from, count) => {
                let buffer = match from {
                    From::Out => &buffers.0,
                    From::Err => &buffers.1,
                    From::Extensions => &buffers.2,
                };
                self.written(buffer.get(..count).unwrap_or_default(), from);
            }
            Read::Message(Some(message)) => return self.hear(message),
            Read::Message(None) | Read::Job(None) => {}
            Read::Job(Some(job)) => {
                let request = job.request.clone();
                self.job = Some(job);
                self.tail.clear();
                return Some(Input::Work(request));
            }
            Read::Told(Told::Runtime(exit)) => {
                self.drain();
                self.runtime = None;
                let process = self.process.as_mut()?;
                process.told = true;
                return Some(Input::Exited(process.killed.unwrap_or(exit)));
            }
            Read::Told(Told::Lost(name, kind, said)) => {
                self.drain();
                if live {
                    self.say(|words, _| vec![words.extension(&name, "Failed", &[], Some(kind))]);
                }
                return Some(Input::ExtensionLost(kind, said));
            }
            Read::Exited(ended) => return self.exited(ended.ok(), *state == State::Ready),
            Read::Stopped => return Some(Input::Shutdown),
            Read::Woken if idle && !self.is_current() => return Some(Input::Shutdown),
            Read::Woken => {}
        }
        None
    }

    /// The processes are gone: how the first one ended.
    fn exited(&mut self, ended: Option<std::process::ExitStatus>, was_ready: bool) -> Option<Input> {
        self.drain();
        let Some(mut process) = self.process.take() else { return Some(Input::Gone(Exit::Code(1))) };
        let mut last = Vec::new();
        process.out.finish(|line| last.push((line, Source::Function)));
        process.err.finish(|line| last.push((line, Source::Function)));
        process.extensions.finish(|line| last.push((line, Source::Extension)));
        for (line, source) in last {
            self.print(line, source);
        }
        (self.runtime, self.extensions) = (None, BTreeMap::new());
        (self.starting, self.early) = (true, Vec::new());
        self.limits.extensions = Extensions::None;
        let Some(ended) = ended else { return Some(Input::Gone(Exit::Code(1))) };
        // The walls themselves could not be built.
        let refused = process.launched.walls == Walls::Rooted && !process.told && !was_ready;
        if refused && ended.code() == Some(125) {
            self.server.0.open.store(true, Ordering::Relaxed);
            self.launch();
            return None;
        }
        Some(Input::Gone(process.killed.unwrap_or_else(|| process.launched.exit(ended, &self.runtime_api))))
    }

    /// What the function's side said, as an input, if it is one.
    fn hear(&mut self, message: Message) -> Option<Input> {
        match message {
            Message::Next(reply) => {
                self.runtime = Some(reply);
                self.ready()
            }
            Message::Answered(id, outcome, taken) => {
                let right = self.job.as_ref().is_some_and(|job| job.request == id);
                taken.send(right).ok();
                right.then_some(Input::Answered(outcome))
            }
            Message::TooLarge(id, taken) => {
                let right = self.job.as_ref().is_some_and(|job| job.request == id);
                taken.send(right).ok();
                let failed = ErrorBody {
                    error_type: "Function.ResponseSizeTooLarge".to_owned(),
                    message: format!(
                        "Response payload size exceeded maximum allowed payload size ({} bytes).",
                        super::PAYLOAD
                    ),
                    sent: None,
                };
                right.then(|| Input::Answered(Outcome::Failed(failed.json())))
            }
            Message::InitFailed(failed) => Some(Input::InitFailed(failed)),
            Message::Register(name, events, reply) => {
                /// Source: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>.
                const MOST: usize = 10;
                if self.extensions.len() >= MOST {
                    return None;
                }
                let id = self.server.id();
                let kind = if self.expected.contains(&name) { Extensions::External } else { Extensions::Internal };
                self.limits.extensions = self.limits.extensions.max(kind);
                self.extensions
                    .insert(id.clone(), Extension { name, events, waiting: None, shutdown: None, telemetry: None });
                drop(reply.send(id));
                None
            }
            Message::Event(id, reply) => {
                let extension = self.extensions.get_mut(&id)?;
                extension.waiting = Some(reply);
                extension.told();
                self.ready()
            }
            Message::Subscribe(id, body, reply) => {
                let extension = self.extensions.get_mut(&id)?;
                let wanted = match telemetry::parse(&body) {
                    Ok(wanted) => wanted,
                    Err(why) => {
                        drop(reply.send(Err(why)));
                        return None;
                    }
                };
                let rooted = self.process.as_ref().is_some_and(|process| process.launched.walls == Walls::Rooted);
                let own = self.address.parse().ok().filter(|_| rooted);
                let host = own.unwrap_or(std::net::Ipv4Addr::LOCALHOST.into());
                let types: Vec<&str> = wanted.types.iter().map(|one| one.word()).collect();
                let server = self.server.clone();
                let subscription = Subscription::start(wanted, host, move || super::logs::iso(server.clock()));
                self.early.iter().for_each(|(source, event)| subscription.push(*source, event));
                extension.telemetry = Some(subscription);
                let name = extension.name.clone();
                self.say(|words, _| vec![words.subscribed(&name, &types)]);
                drop(reply.send(Ok(())));
                None
            }
            Message::ExtensionFailed(id, kind) => {
                let extension = self.extensions.get(&id);
                let (name, events) = extension.map(|one| (one.name.clone(), one.events.clone())).unwrap_or_default();
                self.say(|words, _| vec![words.extension(&name, "Failed", &events, Some(&kind))]);
                let failed = ErrorBody { error_type: kind.clone(), message: "exit code 0".to_owned(), sent: None };
                Some(Input::InitFailed(failed))
            }
        }
    }

    /// The environment is ready when the runtime and all extensions wait.
    fn ready(&self) -> Option<Input> {
        let registered = |name: &String| self.extensions.values().any(|extension| extension.name == *name);
        let all = self.expected.iter().all(registered)
            && self.extensions.values().all(|extension| extension.waiting.is_some() || extension.events.is_empty());
        (self.runtime.is_some() && all).then_some(Input::Ready)
    }

    /// `starting`: the environment has not been ready.
    async fn act(&mut self, actions: Vec<Action>, starting: bool) {
        for action in actions {
            match action {
                Action::Start => self.launch(),
                Action::Deliver(work, deadline) => self.deliver(&work, deadline),
                Action::Kill => self.kill(),
                Action::Terminate => self.process.iter().for_each(|process| process.launched.terminate()),
                Action::KillRuntime => self.process.iter().for_each(|process| process.launched.kill_runtime()),
                Action::TellExtensions(reason, until) => self.tell_extensions(reason, until),
                Action::LogStart(work) => {
                    let function = self.function.name.clone();
                    self.server.tell(Event::Started { function, request: work.clone() });
                    self.say(|words, _| vec![words.start(&work)]);
                }
                Action::LogInit(took, phase, kind) => {
                    self.drain();
                    self.say(|words, _| words.init_report(took, phase, Some(&kind)));
                }
                Action::LogPlatform(line) => {
                    self.drain();
                    let at = super::logs::iso(self.server.clock());
                    let line = line.strip_prefix("RequestId: ").unwrap_or(&line).replacen(" Error:", "", 1);
                    self.log(format!("{at} {line}\n\n"));
                }
                Action::Finish { work, outcome, duration, init, status } => {
                    self.drain();
                    self.finish(Finish { work, outcome, duration, init, status }, starting).await;
                }
            }
        }
    }

    fn launch(&mut self) {
        let settings = &self.server.0.settings;
        let place = launch::Place {
            program: &settings.program,
            scratch: &self.scratch,
            runtime_api: &self.runtime_api,
            address: &self.address,
            stream: &self.stream,
            surroundings: &settings.surroundings,
            isolate: !self.server.0.open.load(Ordering::Relaxed),
        };
        let launched = launch::launch(&self.function, &place);
        match launched {
            Ok(mut launched) => {
                let child = &mut launched.child;
                let (number, stdout, stderr) = (child.id(), child.stdout.take(), child.stderr.take());
                let (Some(stdout), Some(stderr)) = (stdout, stderr) else { return };
                let walls = launched.walls;
                if walls != Walls::Rooted {
                    self.log(format!("layerwise: namespaces are not to be had here: {}\n", launch::DIFFERENCES));
                }
                if walls == Walls::None {
                    let lacks =
                        "extensions are not started, memory is not watched, and what a function starts may stay";
                    self.log(format!("layerwise: {lacks}\n"));
                }
                self.memory = Memory { root: number, own: walls.own(), ..Memory::default() };
                self.process = Some(Process {
                    launched,
                    stdout,
                    stderr,
                    out: Splitter::default(),
                    err: Splitter::default(),
                    extensions: Splitter::default(),
                    told: false,
                    killed: None,
                });
            }
            // Noticed as the end of a process that never was.
            Err(error) => self.log(format!("layerwise: failed to start the function: {error}\n")),
        }
    }

    fn deliver(&mut self, work: &str, deadline: environment::Moment) {
        let Some(job) = &self.job else { return };
        let left = deadline.saturating_sub(self.server.now());
        let deadline = self.server.clock() + u64::try_from(left.as_millis()).unwrap_or_default();
        let arn = self.function.arn();
        for extension in self.extensions.values_mut().filter(|one| one.wants("INVOKE")) {
            if let Some(waiting) = extension.waiting.take() {
                drop(waiting.send(serde_json::json!({
                    "eventType": "INVOKE",
                    "deadlineMs": deadline,
                    "requestId": work,
                    "invokedFunctionArn": arn,
                    "tracing": { "type": "X-Amzn-Trace-Id", "value": "Root=1-0-0;Sampled=0" },
                })));
            }
        }
        if let Some(runtime) = self.runtime.take() {
            let (payload, context) = (job.payload.clone(), job.context.clone());
            drop(runtime.send(Delivery { request: work.to_owned(), payload, deadline, arn, context }));
        }
    }

    fn kill(&mut self) {
        if let Some(process) = &mut self.process {
            process.launched.kill();
        }
    }

    fn tell_extensions(&mut self, reason: environment::Reason, until: environment::Moment) {
        let left = until.saturating_sub(self.server.now());
        let deadline = self.server.clock() + u64::try_from(left.as_millis()).unwrap_or_default();
        let event = serde_json::json!({
            "eventType": "SHUTDOWN",
            "shutdownReason": reason.word(),
            "deadlineMs": deadline,
        });
        for extension in self.extensions.values_mut() {
            extension.telemetry.iter().for_each(Subscription::hurry);
            extension.shutdown = Some(event.clone());
            extension.told();
        }
    }

    /// Reads what the processes have written by now.
    fn drain(&mut self) {
        use std::future::Future as _;
        use std::pin::pin;
        let mut buffer = [0u8; 16 << 10];
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        // A process that writes without end must not hold us.
        for _ in 0..256 {
            let Some(process) = &mut self.process else { return };
            let mut got = None;
            if !process.out.is_closed()
                && let std::task::Poll::Ready(Ok(count)) = pin!(process.stdout.read(&mut buffer)).poll(&mut context)
            {
                got = Some((count, From::Out));
            } else if !process.err.is_closed()
                && let std::task::Poll::Ready(Ok(count)) = pin!(process.stderr.read(&mut buffer)).poll(&mut context)
            {
                got = Some((count, From::Err));
            } else if let Some(log) = &mut process.launched.extension_log
                && let std::task::Poll::Ready(Ok(count)) = pin!(log.read(&mut buffer)).poll(&mut context)
            {
                got = Some((count, From::Extensions));
            }
            let Some((count, from)) = got else { return };
            self.written(buffer.get(..count).unwrap_or_default(), from);
        }
    }

    fn written(&mut self, bytes: &[u8], from: From) {
        let Some(process) = &mut self.process else { return };
        let splitter = match from {
            From::Out => &mut process.out,
            From::Err => &mut process.err,
            From::Extensions => &mut process.extensions,
        };
        let mut lines = Vec::new();
        if bytes.is_empty() {
            splitter.close(|line| lines.push(line));
        } else {
            splitter.feed(bytes, |line| lines.push(line));
        }
        let source = if matches!(from, From::Extensions) { Source::Extension } else { Source::Function };
        for line in lines {
            self.print(line, source);
        }
    }

    /// Writes what the platform itself tells.
    fn say(&mut self, records: impl FnOnce(Words, &Function) -> Vec<Record>) {
        let now = self.server.clock();
        let words = Words { json: self.function.logs_json(), now };
        for Record { kind, record, line } in records(words, &self.function) {
            self.tell_of(Source::Platform, || telemetry::event(&super::logs::iso(now), kind, &record));
            if let Some(line) = line {
                self.log(line);
            }
        }
    }

    /// Writes a line that the function or an extension has printed.
    fn print(&mut self, line: String, source: Source) {
        let (now, json) = (self.server.clock(), self.function.logs_json());
        self.tell_of(source, || {
            let text = line.trim_end_matches('\n');
            let object = json.then(|| serde_json::from_str(text).ok()).flatten().filter(serde_json::Value::is_object);
            telemetry::event(&super::logs::iso(now), source.word(), &object.unwrap_or_else(|| text.into()))
        });
        self.log(line);
    }

    /// Tells those who subscribed, or may yet.
    fn tell_of(&mut self, source: Source, event: impl FnOnce() -> String) {
        /// Of a start that says more, who subscribes late misses the rest.
        const EARLY: usize = 256;
        let keep = self.starting && self.early.len() < EARLY;
        let mut subscriptions = self.extensions.values().filter_map(|one| one.telemetry.as_ref()).peekable();
        if !keep && subscriptions.peek().is_none() {
            return;
        }
        let event = event();
        subscriptions.for_each(|subscription| subscription.push(source, &event));
        if keep {
            self.early.push((source, event));
        }
    }

    fn log(&mut self, line: String) {
        let at = self.server.clock();
        if self.job.is_some() {
            self.tail.extend(line.as_bytes());
            let over = self.tail.len().saturating_sub(TAIL);
            drop(self.tail.drain(..over));
        }
        let message: Arc<str> = line.into();
        let shown = Event::Log { function: self.function.name.clone(), at, message: clipped(&message) };
        self.server.tell(shown);
        self.server.logs().push(&self.group, &self.stream, at, message);
    }

    fn watch_memory(&mut self) {
        let used = self.memory.look();
        if used > u64::from(self.function.memory) << 20 {
            if let Some(process) = &mut self.process {
                process.killed = Some(Exit::Memory);
            }
            self.kill();
        }
    }

    /// Writes the end of an invocation down and answers. `starting`: the environment has never been ready.
    async fn finish(&mut self, finish: Finish, starting: bool) {
        let Finish { work, outcome, duration, init, status } = finish;
        let max_memory = (self.memory.most() >> 20).max(1);
        let error = match &outcome {
            Outcome::Success(_) => None,
            Outcome::Failed(body) => {
                let read: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
                let text = |key: &str| read[key].as_str().unwrap_or_default().to_owned();
                Some((text("errorType"), text("errorMessage")))
            }
        };
        let produced = match &outcome {
            Outcome::Success(body) | Outcome::Failed(body) => body.len(),
        };
        let numbers = Numbers {
            produced,
            request: &work,
            duration,
            init,
            memory: self.function.memory,
            max_memory,
            status: status.as_ref().map(|(word, kind)| (*word, kind.as_str())),
        };
        self.say(|words, _| words.report(&numbers));
        if error.is_some() && starting {
            for line in (self.server.0.settings.explain)(self.function.name.clone()).await {
                self.log(format!("{line}\n"));
            }
        }
        let Some(job) = self.job.take() else { return };
        let tail = std::mem::take(&mut self.tail).into();
        // Before the answer: whoever has it may ask for the next at once.
        let event = Event::Finished {
            function: self.function.name.clone(),
            request: work.clone(),
            milliseconds: milliseconds(duration),
            init_milliseconds: init.map(milliseconds),
            memory: max_memory,
            error,
        };
        self.server.tell(event);
        drop(job.reply.send(Answer { request: work, outcome, tail }));
    }
}

/// The memory of an environment's processes: their resident sets, looked at now and then.
#[derive(Debug, Default)]
struct Memory {
    root: Option<u32>,
    /// How many processes of layerwise's own are above the environment's.
    own: u32,
    most: u64,
    last: Option<Instant>,
}

/// What was seen so short a time ago is still true.
#[cfg(target_os = "linux")]
const FRESH: Duration = Duration::from_millis(10);

impl Memory {
    /// When it is to be looked at again.
    fn due(&self, now: Instant) -> Instant {
        self.last.map_or(now, |last| last + WATCH)
    }

    /// The most that was used, in bytes; looks again unless that was just done.
    #[cfg(target_os = "linux")]
    fn most(&mut self) -> u64 {
        if self.last.is_none_or(|last| last.elapsed() >= FRESH) {
            self.look();
        }
        self.most
    }

    /// What is used now, in bytes; at least the most that one process alone has ever used.
    #[cfg(target_os = "linux")]
    fn look(&mut self) -> u64 {
        use super::processes::{below, resident};
        let Some(root) = self.root else { return 0 };
        self.last = Some(Instant::now());
        let environments = below(root).into_iter().filter(|(_, depth)| *depth >= self.own);
        let sizes: Vec<(u64, u64)> = environments.map(|(process, _)| resident(process)).collect();
        let now: u64 = sizes.iter().map(|(now, _)| now).sum();
        let used = sizes.iter().map(|(_, most)| *most).max().unwrap_or(0).max(now);
        self.most = self.most.max(used);
        used
    }

    #[cfg(not(target_os = "linux"))]
    fn most(&mut self) -> u64 {
        self.look()
    }

    #[cfg(not(target_os = "linux"))]
    fn look(&mut self) -> u64 {
        let _ = (self.root, self.own, self.most);
        self.last = Some(Instant::now());
        0
    }
}
