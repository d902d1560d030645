//! The log lines of the functions, the newest of each: bounded in bytes. And the platform's own lines, in Lambda's words.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::model::date;

/// The most bytes of lines that are kept, over all functions. Beyond it the function with the most loses its oldest: one
/// that prints without end does not drive out what others have said.
const KEPT: usize = 2 << 20;
/// What a line costs besides its text, in bytes.
const LINE_COST: usize = 96;
/// The longest line: what is longer is broken, as CloudWatch Logs breaks it.
pub(super) const LONGEST_LINE: usize = 256 << 10;

/// One line.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// Counts up over all lines.
    pub id: u64,
    /// Milliseconds since 1970.
    pub at: u64,
    /// The log stream: one environment's.
    pub stream: Arc<str>,
    /// The text, with its newline.
    pub message: Arc<str>,
}

/// The streams of a group by name: first and last moment of each.
pub(super) type Streams = BTreeMap<Arc<str>, (u64, u64)>;

/// The lines of a log group.
#[derive(Debug, Default)]
struct Group {
    lines: VecDeque<Line>,
    bytes: usize,
    streams: Streams,
}

impl Group {
    fn drop_oldest(&mut self) -> usize {
        let Some(oldest) = self.lines.pop_front() else { return 0 };
        // A stream without lines is forgotten, too: there may be as many as there were timeouts.
        if self.streams.get(&oldest.stream).is_some_and(|(_, last)| *last <= oldest.at)
            && self.lines.front().is_none_or(|line| line.stream != oldest.stream)
        {
            self.streams.remove(&oldest.stream);
        }
        let cost = oldest.message.len() + LINE_COST;
        self.bytes -= cost;
        // A ring that was large once need not stay so.
        if self.lines.len() * 4 < self.lines.capacity() {
            self.lines.shrink_to(self.lines.len() * 2);
        }
        cost
    }
}

/// All lines that are kept.
#[derive(Debug, Default)]
pub(super) struct Logs {
    groups: BTreeMap<Arc<str>, Group>,
    bytes: usize,
    next: u64,
}

impl Logs {
    /// Makes a group known before it has lines.
    pub(super) fn add_group(&mut self, group: Arc<str>) {
        self.groups.entry(group).or_default();
    }

    pub(super) fn push(&mut self, group: &Arc<str>, stream: &Arc<str>, at: u64, message: Arc<str>) {
        let cost = message.len() + LINE_COST;
        let group = self.groups.entry(Arc::clone(group)).or_default();
        group.streams.entry(Arc::clone(stream)).or_insert((at, at)).1 = at;
        group.lines.push_back(Line { id: self.next, at, stream: Arc::clone(stream), message });
        group.bytes += cost;
        self.bytes += cost;
        self.next += 1;
        while self.bytes > KEPT {
            let Some(largest) = self.groups.values_mut().max_by_key(|group| group.bytes) else { break };
            self.bytes -= largest.drop_oldest();
        }
    }

    /// The lines of a group from number `from` on.
    pub(super) fn from(&self, group: &str, from: u64) -> impl Iterator<Item = &Line> {
        let lines = self.groups.get(group).map(|group| &group.lines);
        lines.into_iter().flat_map(move |lines| lines.range(lines.partition_point(|line| line.id < from)..))
    }

    /// The groups.
    pub(super) fn groups(&self) -> impl Iterator<Item = &Arc<str>> {
        self.groups.keys()
    }

    /// The streams of a group with their first and last moments; `None`: there is no such group.
    pub(super) fn streams(&self, group: &str) -> Option<&Streams> {
        self.groups.get(group).map(|group| &group.streams)
    }
}

/// Takes whole lines out of what a process wrote; the rest waits for more.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    rest: Vec<u8>,
    closed: bool,
}

impl Splitter {
    pub(super) fn feed(&mut self, bytes: &[u8], mut line: impl FnMut(String)) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (head, tail) = rest.split_at(end + 1);
            self.rest.extend_from_slice(head);
            line(String::from_utf8_lossy(&std::mem::take(&mut self.rest)).into_owned());
            rest = tail;
        }
        self.rest.extend_from_slice(rest);
        while self.rest.len() >= LONGEST_LINE {
            let tail = self.rest.split_off(LONGEST_LINE);
            line(String::from_utf8_lossy(&std::mem::replace(&mut self.rest, tail)).into_owned());
        }
    }

    pub(super) fn finish(&mut self, mut line: impl FnMut(String)) {
        if !self.rest.is_empty() {
            line(String::from_utf8_lossy(&std::mem::take(&mut self.rest)).into_owned());
        }
    }

    /// Nothing more will come.
    pub(super) fn close(&mut self, line: impl FnMut(String)) {
        self.closed = true;
        self.finish(line);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }
}

/// What a REPORT tells.
#[derive(Debug, Clone)]
pub(super) struct Numbers<'a> {
    pub request: &'a str,
    pub duration: Duration,
    pub init: Option<Duration>,
    pub memory: u32,
    pub max_memory: u64,
    pub status: Option<(&'a str, &'a str)>,
    pub produced: usize,
}

/// The platform's lines, as text or as JSON.
///
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html> for the JSON.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    pub json: bool,
    /// Milliseconds since 1970.
    pub now: u64,
}

/// Something the platform tells of.
#[derive(Debug)]
pub(super) struct Record {
    /// `platform.start`.
    pub kind: &'static str,
    pub record: serde_json::Value,
    /// The line in the log, where it stands in one.
    pub line: Option<String>,
}

impl Words {
    /// `text` is the line of a log that is not JSON.
    fn record(self, kind: &'static str, record: serde_json::Value, text: String) -> Record {
        let line = match self.json {
            true => format!("{}\n", json!({ "time": iso(self.now), "type": kind, "record": record })),
            false => text,
        };
        Record { kind, record, line: Some(line) }
    }

    pub(super) fn init_start(self, runtime: &str) -> Record {
        let version = runtime.replacen("python", "python:", 1) + ".local";
        let arn = format!("arn:aws:lambda:{}::runtime:local", super::REGION);
        let text = format!("INIT_START Runtime Version: {version}\tRuntime Version ARN: {arn}\n");
        self.record(
            "platform.initStart",
            json!({ "initializationType": "on-demand", "phase": "init", "runtimeVersion": version, "runtimeVersionArn": arn }),
            text,
        )
    }

    /// The end of a start, with the type of error where it failed. A start that succeeded has no line.
    pub(super) fn init_report(self, took: Duration, phase: &str, error_type: Option<&str>) -> Vec<Record> {
        let status = match error_type {
            None => "success",
            Some(super::ErrorBody::TIMEOUT) => "timeout",
            Some(_) => "error",
        };
        let took = milliseconds(took);
        let mut done = json!({ "initializationType": "on-demand", "phase": phase, "status": status });
        if let Some(error_type) = error_type {
            done["errorType"] = error_type.into();
        }
        let mut report = done.clone();
        report["metrics"] = json!({ "durationMs": took });
        let done = Record { kind: "platform.initRuntimeDone", record: done, line: None };
        let text = match (status, error_type) {
            ("error", Some(kind)) => {
                format!("INIT_REPORT Init Duration: {took:.2} ms\tPhase: {phase}\tStatus: error\tError Type: {kind}\n")
            }
            _ => format!("INIT_REPORT Init Duration: {took:.2} ms\tPhase: {phase}\tStatus: {status}\n"),
        };
        let report = self.record("platform.initReport", report, text);
        vec![done, if error_type.is_some() { report } else { Record { line: None, ..report } }]
    }

    pub(super) fn start(self, request: &str) -> Record {
        let text = format!("START RequestId: {request} Version: $LATEST\n");
        self.record("platform.start", json!({ "requestId": request, "version": "$LATEST" }), text)
    }

    /// An extension is ready, or failed.
    pub(super) fn extension(self, name: &str, state: &str, events: &[String], error_type: Option<&str>) -> Record {
        let mut record = json!({ "name": name, "state": state, "events": events });
        let mut text = format!("EXTENSION\tName: {name}\tState: {state}\tEvents: [{}]", events.join(", "));
        if let Some(kind) = error_type {
            record["errorType"] = kind.into();
            text += &format!("\tError Type: {kind}");
        }
        self.record("platform.extension", record, text + "\n")
    }

    /// An extension subscribed to telemetry.
    pub(super) fn subscribed(self, name: &str, types: &[&str]) -> Record {
        let text = format!("TELEMETRY\tName: {name}\tState: Subscribed\tTypes: [{}]\n", types.join(", "));
        self.record(
            "platform.telemetrySubscription",
            json!({ "name": name, "state": "Subscribed", "types": types }),
            text,
        )
    }

    /// END and REPORT. `produced`: the bytes of the answer.
    pub(super) fn report(self, numbers: &Numbers<'_>) -> Vec<Record> {
        let Numbers { request, duration, init, memory, max_memory, status, produced } = numbers;
        let billed = milliseconds(*duration + init.unwrap_or_default()).ceil();
        let took = milliseconds(*duration);
        let mut metrics = json!({ "durationMs": took, "billedDurationMs": billed, "memorySizeMB": memory, "maxMemoryUsedMB": max_memory });
        if let Some(init) = init {
            metrics["initDurationMs"] = milliseconds(*init).into();
        }
        let (word, kind) = status.map_or(("success", None), |(word, kind)| (word, Some(kind)));
        let mut done = json!({ "requestId": request, "status": word, "metrics": { "durationMs": took, "producedBytes": produced } });
        let mut record = json!({ "requestId": request, "metrics": metrics, "status": word });
        if let Some(kind) = kind {
            done["errorType"] = kind.into();
            record["errorType"] = kind.into();
        }
        let mut report = format!(
            "REPORT RequestId: {request}\tDuration: {took:.2} ms\tBilled Duration: {billed} ms\tMemory Size: {memory} MB\tMax Memory Used: {max_memory} MB\t"
        );
        if let Some(init) = init {
            report += &format!("Init Duration: {:.2} ms\t", milliseconds(*init));
        }
        match status {
            Some(("timeout", _)) => report += "Status: timeout",
            Some((word, kind)) => report += &format!("Status: {word}\tError Type: {kind}"),
            None => {}
        }
        let end = format!("END RequestId: {request}\n");
        vec![self.record("platform.runtimeDone", done, end), self.record("platform.report", record, report + "\n")]
    }
}

pub(super) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}

/// `2026-11-25T11:30:00.123Z` of milliseconds since 1970.
pub(super) fn iso(at: u64) -> String {
    let (seconds, millis) = (at / 1000, at % 1000);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z", date::day(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso(1_795_606_200_123), "2026-11-25T11:30:00.123Z");
        assert_eq!(iso(951_782_399_999), "2000-02-28T23:59:59.999Z");
    }

    #[test]
    fn lines_are_whole_and_bounded() {
        let mut splitter = Splitter::default();
        let mut lines = Vec::new();
        for part in ["a", "b\nc\n\nd", "e"] {
            splitter.feed(part.as_bytes(), |line| lines.push(line));
        }
        assert_eq!(lines, ["ab\n", "c\n", "\n"]);
        splitter.finish(|line| lines.push(line));
        assert_eq!(lines.last().unwrap(), "de");
        let mut sizes = Vec::new();
        splitter.feed(&vec![b'x'; 2 * LONGEST_LINE + 5], |line| sizes.push(line.len()));
        splitter.finish(|line| sizes.push(line.len()));
        assert_eq!(sizes, [LONGEST_LINE, LONGEST_LINE, 5]);
    }

    #[test]
    fn the_oldest_of_whoever_has_most_go_first() {
        let [quiet, loud, one, two]: [Arc<str>; 4] = ["quiet".into(), "loud".into(), "1".into(), "2".into()];
        let mut logs = Logs::default();
        logs.push(&quiet, &one, 1, "first\n".into());
        logs.push(&loud, &one, 1, "first\n".into());
        for at in 0..100 {
            logs.push(&loud, &two, at, "x".repeat(100_000).into());
        }
        assert!(logs.bytes <= KEPT);
        let kept: Vec<u64> = logs.from("loud", 0).map(|line| line.id).collect();
        assert_eq!((kept.len(), kept.last()), (20, Some(&101)));
        assert_eq!(logs.streams("loud").unwrap().keys().map(|stream| &**stream).collect::<Vec<_>>(), ["2"]);
        assert_eq!(logs.from("loud", 101).count(), 1);
        assert_eq!(logs.from("quiet", 0).count(), 1, "what others say does not matter");
        // What is kept is shared among those who talk.
        for at in 0..100 {
            logs.push(&quiet, &one, at, "x".repeat(100_000).into());
        }
        let counts = ["loud", "quiet"].map(|group| logs.from(group, 0).count());
        assert!(counts.iter().all(|count| (10..=11).contains(count)), "{counts:?}");
    }

    #[test]
    fn words() {
        let numbers = Numbers {
            request: "r",
            duration: Duration::from_micros(3014),
            init: Some(Duration::from_micros(110_100)),
            memory: 128,
            max_memory: 36,
            status: None,
            produced: 2,
        };
        let lines = |records: Vec<Record>| records.into_iter().filter_map(|record| record.line).collect::<String>();
        let text = Words { json: false, now: 0 };
        assert_eq!(text.start("r").line.unwrap(), "START RequestId: r Version: $LATEST\n");
        assert_eq!(
            lines(text.report(&numbers)),
            "END RequestId: r\nREPORT RequestId: r\tDuration: 3.01 ms\tBilled Duration: 114 ms\tMemory Size: 128 MB\tMax Memory Used: 36 MB\tInit Duration: 110.10 ms\t\n"
        );
        let failed = Numbers { status: Some(("error", "Runtime.ExitError")), init: None, ..numbers.clone() };
        assert!(
            lines(text.report(&failed))
                .ends_with("Max Memory Used: 36 MB\tStatus: error\tError Type: Runtime.ExitError\n")
        );
        let timeout = Numbers { status: Some(("timeout", "Sandbox.Timedout")), ..failed };
        assert!(lines(text.report(&timeout)).ends_with("\tStatus: timeout\n"));
        assert_eq!(
            lines(text.init_report(Duration::from_micros(5030), "init", Some("Runtime.ExitError"))),
            "INIT_REPORT Init Duration: 5.03 ms\tPhase: init\tStatus: error\tError Type: Runtime.ExitError\n"
        );
        assert_eq!(
            lines(text.init_report(Duration::ZERO, "init", None)),
            "",
            "a start that succeeded is told in REPORT"
        );
        let json = Words { json: true, now: 0 }.report(&numbers);
        let record: serde_json::Value = serde_json::from_str(json[1].line.as_ref().unwrap()).unwrap();
        assert_eq!(record["type"], "platform.report");
        assert_eq!(record["record"]["metrics"]["initDurationMs"], 110.1);
    }
}
