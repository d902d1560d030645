//! What a process left behind → what happened. Pure.

use std::time::Duration;

use serde::Deserialize;

use super::process::Report;
use super::{Answer, During, End, Outcome, Raised, Step, Subject};

/// The longest chain told of a crash, in steps.
const MOST_STEPS: usize = 64;

/// What `driver.py` writes when it comes to its end.
#[derive(Debug, Deserialize)]
struct Written {
    seconds: f64,
    during: Option<String>,
    #[serde(default)]
    raised: Vec<Raised>,
    answer: Option<(String, String)>,
    exit: Option<i32>,
}

/// The outcome that `report` tells of. `moved` is the directory that stood for Lambda's root, where it had to be named
/// by its own path: it is taken out of every text.
pub(super) fn read(subject: Subject, report: Report, limit: Duration, moved: Option<&str>) -> Outcome {
    let plain = |text: String| match moved {
        Some(root) => text.replace(root, ""),
        None => text,
    };
    // A module can scribble over what the driver wrote; then it is as if nothing had been written.
    let result: Option<Written> = report.result.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let seconds = result.as_ref().map_or(report.seconds, |result| result.seconds);
    let took = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let end = match result {
        Some(result) => ended(result, &plain),
        None => {
            let last_module = report.last;
            let chain = dumped(&plain(report.trace));
            match report.status {
                (how, _) if how == "time" => End::TimedOut { after: limit, last_module, chain },
                (how, signal) if how == "killed" => {
                    End::Crashed { signal, name: signal_words(signal).0, last_module, chain }
                }
                (_, code) => End::Exited { code, chain: Vec::new() },
            }
        }
    };
    Outcome { subject, took, end, stdout: plain(report.stdout), stderr: plain(report.stderr) }
}

fn ended(result: Written, plain: &impl Fn(String) -> String) -> End {
    let mut raised = result.raised;
    for one in &mut raised {
        one.message = plain(std::mem::take(&mut one.message));
        for step in &mut one.chain {
            step.file = plain(std::mem::take(&mut step.file));
        }
    }
    let during = match result.during.as_deref() {
        None => return End::Imported,
        Some("bootstrap") => During::Bootstrap,
        Some(_) => During::Import,
    };
    if let Some(code) = result.exit {
        let chain = raised.into_iter().next().map(|first| first.chain).unwrap_or_default();
        return End::Exited { code, chain };
    }
    // Nobody catches it on Lambda: the interpreter prints it and ends with 1.
    let answer =
        result.answer.map_or_else(|| exited(1), |(error_type, message)| Answer { error_type, message: plain(message) });
    let raised = if raised.is_empty() {
        let Answer { error_type, message } = answer.clone();
        vec![Raised { error_type, message, missing: None, chain: Vec::new() }]
    } else {
        raised
    };
    End::Failed { during, raised, answer }
}

/// What Lambda itself says of a process that is gone (and a request id, which there is none of here).
pub(super) fn exited(code: i32) -> Answer {
    let message = if code == 0 {
        "Runtime exited without providing a reason".to_owned()
    } else {
        format!("Runtime exited with error: exit status {code}")
    };
    Answer { error_type: "Runtime.ExitError".to_owned(), message }
}

/// The same, of one that a signal ended.
pub(super) fn crashed(signal: i32) -> Answer {
    let message = match signal_words(signal) {
        ("", _) => format!("Runtime exited with error: signal {signal}"),
        (_, words) => format!("Runtime exited with error: signal: {words}"),
    };
    Answer { error_type: "Runtime.ExitError".to_owned(), message }
}

/// A signal's name, and Lambda's words for it (those of the language Go). The numbers are the same on both of its
/// architectures.
fn signal_words(signal: i32) -> (&'static str, &'static str) {
    match signal {
        1 => ("SIGHUP", "hangup"),
        2 => ("SIGINT", "interrupt"),
        3 => ("SIGQUIT", "quit"),
        4 => ("SIGILL", "illegal instruction"),
        5 => ("SIGTRAP", "trace/breakpoint trap"),
        6 => ("SIGABRT", "aborted"),
        7 => ("SIGBUS", "bus error"),
        8 => ("SIGFPE", "floating point exception"),
        9 => ("SIGKILL", "killed"),
        10 => ("SIGUSR1", "user defined signal 1"),
        11 => ("SIGSEGV", "segmentation fault"),
        12 => ("SIGUSR2", "user defined signal 2"),
        13 => ("SIGPIPE", "broken pipe"),
        14 => ("SIGALRM", "alarm clock"),
        15 => ("SIGTERM", "terminated"),
        31 => ("SIGSYS", "bad system call"),
        _ => ("", ""),
    }
}

/// The steps in what faulthandler wrote of the thread it was in, outermost first.
///
/// ```text
/// Current thread 0x00007f4b2889f000 (most recent call first):
///   File "/opt/python/a.py", line 3 in <module>
/// ```
fn dumped(trace: &str) -> Vec<Step> {
    let mut lines = trace.lines().skip_while(|line| !line.starts_with("Current thread"));
    lines.next();
    let mut steps: Vec<Step> = lines.map_while(dumped_step).collect();
    steps.reverse();
    let of_ours = steps.iter().take_while(|step| step.file == "<string>" || of_importlib(&step.file)).count();
    steps.drain(..of_ours);
    steps.retain(|step| !of_importlib(&step.file));
    steps.truncate(MOST_STEPS);
    steps
}

fn dumped_step(line: &str) -> Option<Step> {
    let (file, rest) = line.strip_prefix("  File \"")?.rsplit_once("\", line ")?;
    let (line, function) = rest.split_once(" in ")?;
    let line = line.parse().unwrap_or(0);
    Some(Step { file: file.to_owned(), line, module: None, function: function.to_owned() })
}

fn of_importlib(file: &str) -> bool {
    file.starts_with("<frozen importlib") || file.ends_with("/importlib/__init__.py")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(result: Option<&str>, status: (&str, i32), trace: &str, expected: &str) {
        let report = Report {
            result: result.map(str::to_owned),
            status: (status.0.to_owned(), status.1),
            trace: trace.to_owned(),
            seconds: f64::NAN,
            ..Report::default()
        };
        let limit = Duration::from_secs(7);
        let outcome = read(Subject::Module("a".to_owned()), report, limit, Some("/root"));
        assert_eq!(format!("{:?}", outcome.end), expected);
    }

    #[test]
    fn what_is_believed() {
        let result = r#"{"seconds": 0.5, "during": null}"#;
        check(Some(result), ("exited", 0), "", "Imported");
        // It had ended well when it was killed.
        check(Some(result), ("killed", 9), "", "Imported");
        let zero = "Exited { code: 0, chain: [] }";
        for scribble in ["", "{}", "{\"seconds\": \"x\"}", "[[[[", r#"{"seconds": 1, "raised": [{"chain": [[1]]}]}"#] {
            check(Some(scribble), ("exited", 0), "", zero);
        }
        check(None, ("", 0), "", zero);
        check(Some(r#"{"seconds": -1e300}"#), ("exited", 0), "", "Imported");
        check(None, ("killed", 63), "", r#"Crashed { signal: 63, name: "", last_module: None, chain: [] }"#);
        check(
            Some(r#"{"seconds": 1, "during": "import", "answer": ["E", "no /root/opt/x"]}"#),
            ("exited", 0),
            "",
            "Failed { during: Import, raised: [Raised { error_type: \"E\", message: \"no /opt/x\", missing: None, \
             chain: [] }], answer: Answer { error_type: \"E\", message: \"no /opt/x\" } }",
        );
    }

    #[test]
    fn dumps() {
        let dump = "Fatal Python error: Segmentation fault\n\n\
                    Thread 0x1 (most recent call first):\n  File \"/t.py\", line 1 in run\n\n\
                    Current thread 0x2 [python] (most recent call first):\n  \
                    File \"<frozen importlib._bootstrap>\", line 241 in _call_with_frames_removed\n  \
                    File \"/root/opt/python/a \", line 3.py\", line 12 in f in g\n  \
                    File \"<string>\", line 1 in made\n  \
                    File \"/root/opt/python/b.py\", line ??? in <module>\n  \
                    File \"<frozen importlib._bootstrap>\", line 1 in _load\n  \
                    File \"/x/importlib/__init__.py\", line 1 in import_module\n  \
                    File \"<string>\", line 300 in main\n  \
                    File \"<string>\", line 310 in <module>\n\nExtension modules: a\n";
        let steps: Vec<String> = dumped(&dump.replace("/root", ""))
            .iter()
            .map(|step| format!("{}:{}:{}", step.file, step.line, step.function))
            .collect();
        let expected = ["/opt/python/b.py:0:<module>", "<string>:1:made", "/opt/python/a \", line 3.py:12:f in g"];
        assert_eq!(steps, expected);
        assert_eq!(dumped("Current thread"), []);
        assert_eq!(dumped("garbage\n  File"), []);
    }
}
