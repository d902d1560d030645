//! The Telemetry API: what an extension subscribes to, what waits to be sent to it, and the sending.
//!
//! Sources: <https://docs.aws.amazon.com/lambda/latest/dg/telemetry-api.html>,
//! <https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html>.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Who says what is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Platform,
    Function,
    Extension,
}

impl Source {
    /// The word in `types`.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Function => "function",
            Self::Extension => "extension",
        }
    }
}

/// What an extension asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub types: Vec<Source>,
    /// Where it listens.
    pub port: u16,
    path: String,
    /// The most events and bytes that make a batch, and how long the first of them waits.
    items: usize,
    bytes: usize,
    wait: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    #[serde(default)]
    types: Vec<String>,
    #[serde(default)]
    buffering: Buffering,
    destination: Destination,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Buffering {
    max_items: Option<u64>,
    max_bytes: Option<u64>,
    timeout_ms: Option<u64>,
}

#[derive(Deserialize)]
struct Destination {
    #[serde(default)]
    protocol: String,
    #[serde(alias = "uri", rename = "URI")]
    uri: String,
}

/// Reads a subscription; the error is what to answer.
pub(super) fn parse(body: &[u8]) -> Result<Wanted, String> {
    let body: Body = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let mut wrong = Vec::new();
    if body.destination.protocol != "HTTP" {
        wrong.push("the local Lambda delivers to the protocol HTTP only".to_owned());
    }
    let uri = url::Url::parse(&body.destination.uri).ok().filter(|uri| uri.scheme() == "http");
    let known =
        uri.as_ref().and_then(url::Url::host_str).is_some_and(|host| matches!(host, "sandbox.localdomain" | "sandbox"));
    if !known {
        wrong.push("URI host should be sandbox.localdomain or sandbox, its scheme http".to_owned());
    }
    // The parser takes off the port that is http's own.
    let own = body.destination.uri.contains(":80").then_some(80);
    let port = uri.as_ref().and_then(url::Url::port).or(own);
    if port.is_none() {
        wrong.push("URI port is not provided".to_owned());
    }
    let all = [Source::Platform, Source::Function, Source::Extension];
    let types: Vec<Source> = all.into_iter().filter(|one| body.types.iter().any(|name| name == one.word())).collect();
    if types.is_empty() {
        wrong.push("types should not be empty".to_owned());
    }
    if let Some(odd) = body.types.iter().find(|name| !all.iter().any(|one| *name == one.word())) {
        wrong.push(format!("`{}` is not a type", odd.escape_debug()));
    }
    let mut number = |name: &str, given: Option<u64>, usual: u64, least: u64, most: u64| {
        let value = given.unwrap_or(usual);
        if !(least..=most).contains(&value) {
            wrong.push(format!("{name} should be from {least} to {most}"));
        }
        value
    };
    let items = number("maxItems", body.buffering.max_items, 10_000, 1000, 10_000);
    let bytes = number("maxBytes", body.buffering.max_bytes, 262_144, 262_144, 1_048_576);
    let wait = number("timeoutMs", body.buffering.timeout_ms, 1000, 25, 30_000);
    match (wrong.is_empty(), uri, port) {
        (true, Some(uri), Some(port)) => Ok(Wanted {
            types,
            port,
            path: uri.path().to_owned(),
            items: usize::try_from(items).unwrap_or(usize::MAX),
            bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
            wait: Duration::from_millis(wait),
        }),
        _ => Err(wrong.join("; ")),
    }
}

/// One event, as sent.
pub(super) fn event(time: &str, kind: &str, record: &serde_json::Value) -> String {
    json!({ "time": time, "type": kind, "record": record }).to_string()
}

/// What waits to be sent. Bounded: what an extension does not take in time is dropped, and it is told so.
#[derive(Debug)]
struct Buffer {
    items: usize,
    bytes: usize,
    wait: Duration,
    waiting: VecDeque<String>,
    size: usize,
    /// When the first of those came that wait.
    since: Option<Instant>,
    /// Events and bytes that were dropped.
    dropped: (usize, usize),
    /// No more waiting for more.
    hurry: bool,
}

impl Buffer {
    fn new(wanted: &Wanted) -> Self {
        let (waiting, dropped) = (VecDeque::new(), (0, 0));
        let Wanted { items, bytes, wait, .. } = *wanted;
        Self { items, bytes, wait, waiting, size: 0, since: None, dropped, hurry: false }
    }

    /// Twice what makes a batch may wait: one on its way, and the next.
    fn push(&mut self, event: &str, now: Instant) {
        let room = self.waiting.len() < 2 * self.items && self.size + event.len() <= 2 * self.bytes;
        if !room && !self.waiting.is_empty() {
            self.lost(1, event.len());
            return;
        }
        self.size += event.len();
        self.waiting.push_back(event.to_owned());
        self.since.get_or_insert(now);
    }

    fn lost(&mut self, events: usize, bytes: usize) {
        self.dropped = (self.dropped.0 + events, self.dropped.1 + bytes);
    }

    /// When a batch is to be sent.
    fn due(&self, now: Instant) -> Option<Instant> {
        let full = self.waiting.len() >= self.items || self.size >= self.bytes;
        let since = self.since?;
        Some(if full || self.hurry { now } else { since + self.wait })
    }

    /// The next batch, if it is time: how many events and bytes, and the JSON.
    fn take(&mut self, now: Instant, time: &str) -> Option<(usize, usize, String)> {
        if self.due(now).is_none_or(|due| due > now) {
            return None;
        }
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let (events, lost) = std::mem::take(&mut self.dropped);
        if events > 0 {
            let reason = "Consumer seems to have fallen behind as it has not acknowledged receipt of logs.";
            let record = json!({ "reason": reason, "droppedRecords": events, "droppedBytes": lost });
            batch.push(event(time, "platform.logsDropped", &record));
        }
        let mut count = 0;
        while count < self.items
            && (count == 0 || bytes < self.bytes)
            && let Some(next) = self.waiting.pop_front()
        {
            bytes += next.len();
            count += 1;
            batch.push(next);
        }
        self.size -= bytes;
        self.since = (!self.waiting.is_empty()).then_some(now);
        Some((count, bytes, format!("[{}]", batch.join(","))))
    }
}

/// A subscription; it ends when dropped.
pub(super) struct Subscription {
    types: Vec<Source>,
    shared: Arc<Shared>,
    sending: tokio::task::AbortHandle,
}

struct Shared {
    buffer: Mutex<Buffer>,
    /// There may be something to send.
    changed: Notify,
}

impl Shared {
    fn buffer(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.sending.abort();
    }
}

impl Subscription {
    /// Sends what is `wanted` to where the extension listens at `host`. `clock` gives the time of an event.
    pub(super) fn start(wanted: Wanted, host: std::net::IpAddr, clock: impl Fn() -> String + Send + 'static) -> Self {
        let shared = Arc::new(Shared { buffer: Mutex::new(Buffer::new(&wanted)), changed: Notify::new() });
        let types = wanted.types.clone();
        let to = SocketAddr::new(host, wanted.port);
        let sending = tokio::spawn(send_all(Arc::clone(&shared), to, wanted.path, clock)).abort_handle();
        Self { types, shared, sending }
    }

    /// Something was said.
    pub(super) fn push(&self, source: Source, event: &str) {
        if self.types.contains(&source) {
            self.shared.buffer().push(event, Instant::now());
            self.shared.changed.notify_one();
        }
    }

    /// Sends at once what waits, and what comes from now on.
    pub(super) fn hurry(&self) {
        self.shared.buffer().hurry = true;
        self.shared.changed.notify_one();
    }
}

async fn send_all(shared: Arc<Shared>, to: SocketAddr, path: String, clock: impl Fn() -> String) {
    /// How often a batch is tried. Each wait is twice the one before.
    const TRIES: u32 = 5;
    loop {
        let due = shared.buffer().due(Instant::now());
        let later = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shared.changed.notified() => {}
            () = later => {}
        }
        let batch = shared.buffer().take(Instant::now(), &clock());
        let Some((events, bytes, body)) = batch else { continue };
        let body = Bytes::from(body);
        let mut sent = false;
        for number in 0..TRIES {
            sent = post(to, &path, body.clone()).await;
            if sent {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25 << number)).await;
        }
        if !sent {
            shared.buffer().lost(events, bytes);
        }
    }
}

/// Whether the extension took it.
async fn post(to: SocketAddr, path: &str, body: Bytes) -> bool {
    const PATIENCE: Duration = Duration::from_secs(2);
    let request = hyper::Request::post(path)
        .header("host", format!("sandbox.localdomain:{}", to.port()))
        .header("content-type", "application/json")
        .body(Full::new(body));
    let Ok(request) = request else { return false };
    let sent = async {
        let stream = TcpStream::connect(to).await.ok()?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        let connection = tokio::spawn(connection);
        let answer = sender.send_request(request).await.ok()?;
        let taken = answer.status().is_success();
        // It is not read further than needed: the extension's bytes are foreign.
        drop(Limited::new(answer.into_body(), 64 << 10).collect().await);
        connection.abort();
        Some(taken)
    };
    matches!(tokio::time::timeout(PATIENCE, sent).await, Ok(Some(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(types: &str, uri: &str, buffering: &str) -> Result<Wanted, String> {
        let text = format!(
            r#"{{"schemaVersion": "2022-12-13", "types": {types}, "destination": {{"protocol": "HTTP", "URI": "{uri}"}}{buffering}}}"#
        );
        parse(text.as_bytes())
    }

    #[test]
    fn subscriptions() {
        let all = r#"["extension", "platform", "function"]"#;
        let wanted = subscription(all, "http://sandbox.localdomain:4243/logs", "").unwrap();
        assert_eq!(wanted.types, [Source::Platform, Source::Function, Source::Extension]);
        assert_eq!((wanted.port, wanted.path.as_str()), (4243, "/logs"));
        assert_eq!((wanted.items, wanted.bytes, wanted.wait.as_millis()), (10_000, 262_144, 1000));
        let own = r#", "buffering": {"maxItems": 1000, "maxBytes": 300000, "timeoutMs": 25}"#;
        let wanted = subscription(all, "http://sandbox:80", own).unwrap();
        assert_eq!((wanted.port, wanted.items, wanted.bytes, wanted.wait.as_millis()), (80, 1000, 300_000, 25));
        assert_eq!(
            subscription("[]", "http://sandbox.localdomain", "").unwrap_err(),
            "URI port is not provided; types should not be empty"
        );
        for (uri, buffering) in [
            ("http://example.com:80", ""),
            ("https://sandbox:443", ""),
            ("http://sandbox:1", r#", "buffering": {"maxItems": 1}"#),
            ("http://sandbox:1", r#", "buffering": {"timeoutMs": 30001}"#),
        ] {
            assert!(subscription(all, uri, buffering).is_err(), "{uri} {buffering}");
        }
        assert!(subscription(r#"["logs"]"#, "http://sandbox:1", "").is_err());
        assert!(parse(b"[]").is_err());
    }

    #[test]
    fn batches() {
        let began = Instant::now();
        let at = |millis: u64| began + Duration::from_millis(millis);
        let wanted =
            subscription(r#"["function"]"#, "http://sandbox:1", r#", "buffering": {"maxItems": 1000}"#).unwrap();
        let mut buffer = Buffer::new(&wanted);
        assert_eq!(buffer.due(began), None);
        buffer.push("1", at(0));
        buffer.push("2", at(500));
        assert_eq!((buffer.due(at(500)), buffer.take(at(999), "")), (Some(at(1000)), None));
        assert_eq!(buffer.take(at(1000), ""), Some((2, 2, "[1,2]".to_owned())));
        assert_eq!((buffer.due(at(2000)), buffer.take(at(2000), "")), (None, None));
        // Full before its time.
        (0..1000).for_each(|_| buffer.push("3", at(3000)));
        assert_eq!(buffer.take(at(3001), "").map(|(count, ..)| count), Some(1000));
        // Not without bound; what is lost is told first.
        (0..2005).for_each(|_| buffer.push("4", at(4000)));
        let (count, _, body) = buffer.take(at(4001), "now").unwrap();
        let events: Vec<serde_json::Value> = serde_json::from_str(&body).unwrap();
        assert_eq!((count, events.len()), (1000, 1001));
        assert_eq!(
            (&events[0]["type"], &events[0]["record"]["droppedRecords"]),
            (&json!("platform.logsDropped"), &json!(5))
        );
        let large = "5".repeat(200_000);
        (0..10).for_each(|_| buffer.push(&large, at(5000)));
        assert!(buffer.size <= 2 * 262_144 && buffer.dropped.0 > 0, "{}", buffer.size);
        // In a hurry.
        buffer.hurry = true;
        while buffer.take(at(5000), "").is_some() {}
        assert_eq!((buffer.size, buffer.waiting.len()), (0, 0));
    }
}
