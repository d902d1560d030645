//! One execution environment's life, as a pure function of (state, input). Time passes in as a value; what has to be
//! done comes out as values. Processes and sockets are `server.rs`'s.
//!
//! ```text
//!            ready for work            invocation           answered, ready for work
//!   Init ───────────────────► Ready ───────────────► Busy ───────────────────────► Ready
//!    │ fails: once more, as     ▲                      │ time is up, or the runtime ends
//!    │ a part of the invocation │                      ▼
//!    └──────────────────────────┘      Stopping (extensions hear of it) ──► Ending ──► Ended
//! ```
//!
//! Sources: <https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html>,
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html> for its end.

use std::time::Duration;

use super::{ErrorBody, Limits, Outcome};

/// A moment, counted from the server's start.
pub(super) type Moment = Duration;

/// What an environment is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// Its processes start; the runtime has not asked for work yet.
    Init {
        /// Since when.
        began: Moment,
        /// The first time is bounded by [`Limits::init`]; the second by the invocation's own time.
        again: bool,
        /// The invocation that it was started for.
        work: String,
        /// What the runtime said of its failure, before it ended.
        failure: Option<ErrorBody>,
    },
    /// The runtime waits for work.
    Ready,
    /// The runtime works.
    Busy {
        /// On what.
        work: String,
        /// Since when.
        began: Moment,
        /// When its time is up.
        deadline: Moment,
        /// How long the start took, where this is the first work.
        init: Option<Duration>,
        /// What the runtime answered; it may still have something to do before it asks for work again.
        outcome: Option<Outcome>,
    },
    /// It comes to an end: first the runtime, then the extensions.
    Stopping {
        /// Why.
        reason: Reason,
        /// When the runtime is killed that was asked to end; `None`: it is gone, and the extensions know.
        runtime: Option<Moment>,
        /// When all that is left is killed.
        until: Moment,
    },
    /// Its processes were killed; they have to be gone before they start again.
    Ending {
        /// The invocation that waits for a second start.
        restart: Option<String>,
    },
    /// Nothing of it is left.
    Ended,
}

/// What happened to an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    /// The runtime, and all extensions, asked for work.
    Ready,
    /// There is work for it.
    Work(String),
    /// The runtime answered.
    Answered(Outcome),
    /// The runtime said that it cannot start.
    InitFailed(ErrorBody),
    /// The runtime is gone; extensions may be there.
    Exited(Exit),
    /// An extension is gone, or could not be started: the type of error, and what is said.
    ExtensionLost(&'static str, String),
    /// No process is left. How the first one ended, in case the runtime's end was not heard of.
    Gone(Exit),
    /// Time passed.
    Tick,
    /// The server ends, or the function has changed.
    Shutdown,
}

/// Why an environment comes to an end, as extensions are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// It is not needed any more.
    Spindown,
    /// An invocation took too long.
    Timeout,
    /// The runtime ended by itself.
    Failure,
}

impl Reason {
    /// The word in `shutdownReason`.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Spindown => "spindown",
            Self::Timeout => "timeout",
            Self::Failure => "failure",
        }
    }
}

/// Which kind of extension has registered. It decides how much time there is at the end: without any the runtime is
/// killed at once.
///
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>, "Shutdown phase".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Extensions {
    /// None.
    None,
    /// Inside the runtime's process.
    Internal,
    /// A program in `/opt/extensions`.
    External,
}

impl Extensions {
    /// From the beginning of the end to SIGKILL.
    pub(super) const fn grace(self) -> Duration {
        Duration::from_millis(match self {
            Self::None => 0,
            Self::Internal => 500,
            Self::External => 2000,
        })
    }

    /// What of it is the runtime's, from SIGTERM to SIGKILL.
    const fn runtime_grace(self) -> Duration {
        Duration::from_millis(match self {
            Self::None => 0,
            Self::Internal => 500,
            Self::External => 300,
        })
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// With a code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// It took more memory than it may.
    Memory,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Start the processes.
    Start,
    /// Hand this work to the runtime, which waits for it; its time is up at the moment.
    Deliver(String, Moment),
    /// Kill all processes.
    Kill,
    /// Ask the runtime to end (SIGTERM).
    Terminate,
    /// Kill the runtime alone.
    KillRuntime,
    /// Send SHUTDOWN to the extensions that want it: why, and when they are killed.
    TellExtensions(Reason, Moment),
    /// Answer whoever invoked.
    Finish {
        /// The invocation.
        work: String,
        /// The answer.
        outcome: Outcome,
        /// How long it took.
        duration: Duration,
        /// How long the start took, where there was one.
        init: Option<Duration>,
        /// The word for the REPORT line: `timeout`, `error`.
        status: Option<(&'static str, String)>,
    },
    /// Write START.
    LogStart(String),
    /// Write INIT_REPORT: the start took so long, in this phase, and failed with this type of error.
    LogInit(Duration, &'static str, String),
    /// Write a line of the platform's own about an invocation.
    LogPlatform(String),
}

/// What an environment begins as, for this work.
pub(super) fn start(work: String, now: Moment) -> (State, Vec<Action>) {
    (State::Init { began: now, again: false, work, failure: None }, vec![Action::Start])
}

/// When an environment wants to hear [`Input::Tick`] next.
pub(super) fn alarm(state: &State, limits: &Limits) -> Option<Moment> {
    match state {
        State::Init { began, again: false, .. } => Some(*began + limits.init),
        State::Init { began, again: true, .. } => Some(*began + limits.timeout),
        State::Busy { deadline, .. } => Some(*deadline),
        State::Stopping { runtime, until, .. } => Some(runtime.unwrap_or(*until)),
        State::Ready | State::Ending { .. } | State::Ended => None,
    }
}

/// The next state, and what is to be done.
pub(super) fn step(state: State, input: Input, now: Moment, limits: &Limits) -> (State, Vec<Action>) {
    match (state, input) {
        (State::Init { began, again, work, failure: None }, Input::Ready) => {
            let init = (!again).then(|| now.saturating_sub(began));
            let mut actions = Vec::new();
            // A second start is a part of the invocation: START has been written, its time runs already.
            let began = if again { began } else { now };
            if !again {
                actions.push(Action::LogStart(work.clone()));
            }
            let deadline = began + limits.timeout;
            actions.push(Action::Deliver(work.clone(), deadline));
            (State::Busy { work, began, deadline, init, outcome: None }, actions)
        }
        (State::Init { began, again, work, failure: None }, Input::InitFailed(failure)) => {
            (State::Init { began, again, work, failure: Some(failure) }, Vec::new())
        }
        // The runtime's own end was not heard of.
        (state @ (State::Init { .. } | State::Ready | State::Busy { .. }), Input::Gone(exit)) => {
            let (state, mut actions) = step(state, Input::Exited(exit), now, limits);
            let (state, more) = step(state, Input::Gone(exit), now, limits);
            actions.extend(more);
            (state, actions)
        }
        (State::Init { began, again, work, failure }, Input::Exited(exit)) => {
            let failure = failure.unwrap_or_else(|| exit.error(&work));
            init_failed((began, again, work), &failure, now)
        }
        (State::Init { began, again, work, failure }, Input::ExtensionLost(kind, said)) => {
            let failure = failure.unwrap_or_else(|| ErrorBody::platform(kind, &work, &said));
            init_failed((began, again, work), &failure, now)
        }
        (state @ State::Init { .. }, Input::Tick) => match (alarm(&state, limits), state) {
            (Some(at), State::Init { began, again, work, failure }) if now >= at => {
                let failure =
                    failure.unwrap_or_else(|| timed_out(&work, if again { limits.timeout } else { limits.init }));
                init_failed((began, again, work), &failure, now)
            }
            (_, state) => (state, Vec::new()),
        },
        (State::Init { began, work, .. }, Input::Shutdown) => {
            let finish = failed(&work, &ErrorBody::shutdown(&work), now.saturating_sub(began), None, "error");
            killed(vec![finish])
        }
        (State::Ready, Input::Work(work)) => {
            let deadline = now + limits.timeout;
            let actions = vec![Action::LogStart(work.clone()), Action::Deliver(work.clone(), deadline)];
            (State::Busy { work, began: now, deadline, init: None, outcome: None }, actions)
        }
        (State::Ready, Input::Shutdown) => stopping(Reason::Spindown, Vec::new(), now, limits),
        (State::Ready, Input::Exited(_)) => stopping(Reason::Failure, Vec::new(), now, limits),
        (State::Ready, Input::ExtensionLost(..)) => killed(Vec::new()),
        (State::Busy { work, began, deadline, init, outcome: None }, Input::Answered(outcome)) => {
            (State::Busy { work, began, deadline, init, outcome: Some(outcome) }, Vec::new())
        }
        (State::Busy { work, began, init, outcome: Some(outcome), .. }, Input::Ready) => {
            let duration = now.saturating_sub(began);
            (State::Ready, vec![Action::Finish { work, outcome, duration, init, status: None }])
        }
        (State::Busy { work, began, init, outcome, .. }, Input::Exited(exit)) => {
            let failure = exit.error(&work);
            let finish = end((work, began, init, outcome), &failure, "error", now);
            stopping(Reason::Failure, finish, now, limits)
        }
        (State::Busy { work, began, init, outcome, .. }, Input::ExtensionLost(kind, said)) => {
            let failure = ErrorBody::platform(kind, &work, &said);
            killed(end((work, began, init, outcome), &failure, "error", now))
        }
        (State::Busy { work, began, deadline, init, outcome }, Input::Tick) if now >= deadline => {
            let failure = timed_out(&work, limits.timeout);
            stopping(Reason::Timeout, end((work, began, init, outcome), &failure, "timeout", now), now, limits)
        }
        (State::Busy { work, began, init, outcome, .. }, Input::Shutdown) => {
            let failure = ErrorBody::shutdown(&work);
            stopping(Reason::Spindown, end((work, began, init, outcome), &failure, "error", now), now, limits)
        }
        (State::Stopping { reason, runtime: Some(_), until }, Input::Exited(_)) => {
            runtime_gone(reason, until, Vec::new(), limits)
        }
        (State::Stopping { reason, runtime: Some(at), until }, Input::Tick) if now >= at => {
            runtime_gone(reason, until, vec![Action::KillRuntime], limits)
        }
        (State::Stopping { runtime: None, until, .. }, Input::Tick) if now >= until => killed(Vec::new()),
        (State::Stopping { .. } | State::Ending { restart: None }, Input::Gone(_)) => (State::Ended, Vec::new()),
        (State::Ending { restart: Some(work) }, Input::Gone(_)) => {
            (State::Init { began: now, again: true, work, failure: None }, vec![Action::Start])
        }
        (State::Ending { restart: Some(work) }, Input::Shutdown) => {
            let finish = failed(&work, &ErrorBody::shutdown(&work), Duration::ZERO, None, "error");
            (State::Ending { restart: None }, vec![finish])
        }
        // What comes late (an answer after the time was up) or twice changes nothing.
        (state, _) => (state, Vec::new()),
    }
}

/// After `actions` all is killed.
fn killed(mut actions: Vec<Action>) -> (State, Vec<Action>) {
    actions.push(Action::Kill);
    (State::Ending { restart: None }, actions)
}

/// The end of an environment begins, after `actions`.
fn stopping(reason: Reason, mut actions: Vec<Action>, now: Moment, limits: &Limits) -> (State, Vec<Action>) {
    let until = now + limits.extensions.grace();
    match (reason, limits.extensions) {
        (_, Extensions::None) | (Reason::Timeout | Reason::Failure, Extensions::Internal) => killed(actions),
        (Reason::Spindown, extensions) => {
            actions.push(Action::Terminate);
            (State::Stopping { reason, runtime: Some(now + extensions.runtime_grace()), until }, actions)
        }
        (Reason::Timeout, Extensions::External) => {
            actions.push(Action::KillRuntime);
            runtime_gone(reason, until, actions, limits)
        }
        (Reason::Failure, Extensions::External) => runtime_gone(reason, until, actions, limits),
    }
}

/// The runtime is gone; it is the extensions' turn, where there are some outside of it.
fn runtime_gone(reason: Reason, until: Moment, mut actions: Vec<Action>, limits: &Limits) -> (State, Vec<Action>) {
    if limits.extensions != Extensions::External {
        return killed(actions);
    }
    actions.push(Action::TellExtensions(reason, until));
    (State::Stopping { reason, runtime: None, until }, actions)
}

/// The end of work: what the runtime answered, where it did; else `failure`.
fn end(
    (work, began, init, outcome): (String, Moment, Option<Duration>, Option<Outcome>),
    failure: &ErrorBody,
    status: &'static str,
    now: Moment,
) -> Vec<Action> {
    let duration = now.saturating_sub(began);
    match outcome {
        Some(outcome) => vec![Action::Finish { work, outcome, duration, init, status: None }],
        None if status == "timeout" => {
            vec![Action::LogPlatform(failure.message.clone()), failed(&work, failure, duration, init, status)]
        }
        None => vec![failed(&work, failure, duration, init, status)],
    }
}

/// A start failed. The first time it is tried again, as a part of the invocation.
fn init_failed((began, again, work): (Moment, bool, String), failure: &ErrorBody, now: Moment) -> (State, Vec<Action>) {
    let took = now.saturating_sub(began);
    let phase = if again { "invoke" } else { "init" };
    let mut actions = vec![Action::LogInit(took, phase, failure.error_type.clone())];
    if again {
        let status = if failure.error_type == ErrorBody::TIMEOUT { "timeout" } else { "error" };
        if status == "timeout" {
            actions.push(Action::LogPlatform(failure.message.clone()));
        }
        actions.push(failed(&work, failure, took, None, status));
        return killed(actions);
    }
    actions.extend([Action::LogStart(work.clone()), Action::Kill]);
    (State::Ending { restart: Some(work) }, actions)
}

fn failed(work: &str, error: &ErrorBody, duration: Duration, init: Option<Duration>, status: &'static str) -> Action {
    let status = Some((status, error.error_type.clone()));
    Action::Finish { work: work.to_owned(), outcome: Outcome::Failed(error.json()), duration, init, status }
}

fn timed_out(work: &str, after: Duration) -> ErrorBody {
    ErrorBody::platform(ErrorBody::TIMEOUT, work, &format!("Task timed out after {:.2} seconds", after.as_secs_f64()))
}

impl Exit {
    /// What Lambda answers when the runtime ends in the midst of things.
    fn error(self, work: &str) -> ErrorBody {
        let said = match self {
            Self::Code(0) => {
                return ErrorBody::platform("Runtime.ExitError", work, "Runtime exited without providing a reason");
            }
            Self::Code(code) => format!("Runtime exited with error: exit status {code}"),
            Self::Memory => "Runtime exited with error: signal: killed".to_owned(),
            Self::Signal(signal) => format!("Runtime exited with error: signal: {}", signal_words(signal)),
        };
        ErrorBody::platform("Runtime.ExitError", work, &said)
    }
}

/// Go's words for a signal, which are Lambda's.
fn signal_words(signal: i32) -> String {
    let words = match signal {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        11 => "segmentation fault",
        13 => "broken pipe",
        15 => "terminated",
        other => return other.to_string(),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { init: Duration::from_secs(10), timeout: Duration::from_secs(3), extensions: Extensions::None };

    fn error() -> ErrorBody {
        ErrorBody { error_type: "Runtime.ImportModuleError".into(), message: "m".into(), sent: None }
    }

    fn short(action: &Action) -> String {
        match action {
            Action::Start => "start".into(),
            Action::Deliver(work, at) => format!("deliver {work} until {}", at.as_millis()),
            Action::Kill => "kill".into(),
            Action::Terminate => "terminate".into(),
            Action::KillRuntime => "kill runtime".into(),
            Action::TellExtensions(reason, until) => format!("SHUTDOWN {} until {}", reason.word(), until.as_millis()),
            Action::Finish { work, outcome, duration, init, status } => format!(
                "{} {work} {} ms{}{}",
                if matches!(outcome, Outcome::Success(_)) { "success" } else { "failed" },
                duration.as_millis(),
                init.map(|init| format!(" init {}", init.as_millis())).unwrap_or_default(),
                status.as_ref().map(|(word, kind)| format!(" {word} {kind}")).unwrap_or_default(),
            ),
            Action::LogStart(work) => format!("START {work}"),
            Action::LogInit(took, phase, kind) => format!("INIT_REPORT {} {phase} {kind}", took.as_millis()),
            Action::LogPlatform(line) => format!("say {line}"),
        }
    }

    /// Feeds inputs, each at its millisecond, to an environment that was started for `a` at 0.
    #[track_caller]
    fn check(inputs: &[(u64, Input)], expected: &[&str], end: &State) {
        check_with(Extensions::None, inputs, expected, end);
    }

    #[track_caller]
    fn check_with(extensions: Extensions, inputs: &[(u64, Input)], expected: &[&str], end: &State) {
        let limits = Limits { extensions, ..LIMITS };
        let (mut state, mut actions) = start("a".into(), Duration::ZERO);
        for (at, input) in inputs {
            let (next, more) = step(state, input.clone(), Duration::from_millis(*at), &limits);
            state = next;
            actions.extend(more);
        }
        let said: Vec<String> = actions.iter().map(short).collect();
        assert_eq!(said, expected);
        assert_eq!(state, *end);
    }

    #[test]
    fn lives() {
        let ok = || Input::Answered(Outcome::Success(b"1".to_vec()));
        let exit = |code| Input::Exited(Exit::Code(code));
        let gone = || Input::Gone(Exit::Signal(9));
        let ending = State::Ending { restart: None };
        let first = ["start", "START a", "deliver a until 3100", "success a 50 ms init 100"];
        let warm = [(100, Input::Ready), (140, ok()), (150, Input::Ready)];
        check(&warm, &first, &State::Ready);
        let again = [&warm[..], &[(500, Input::Work("b".into())), (600, ok()), (600, Input::Ready)]].concat();
        check(&again, &[&first[..], &["START b", "deliver b until 3500", "success b 100 ms"]].concat(), &State::Ready);
        // Time is up; what comes late counts no more.
        let late = [(0, Input::Ready), (2999, Input::Tick), (3000, Input::Tick), (3001, ok()), (3002, gone())];
        let said = "RequestId: a Error: Task timed out after 3.00 seconds";
        let timeout = [
            "start",
            "START a",
            "deliver a until 3000",
            &format!("say {said}"),
            "failed a 3000 ms init 0 timeout Sandbox.Timedout",
            "kill",
        ];
        check(&late, &timeout, &State::Ended);
        // The runtime goes, or all do.
        let crashed =
            ["start", "START a", "deliver a until 3000", "failed a 5 ms init 0 error Runtime.ExitError", "kill"];
        check(&[(0, Input::Ready), (5, Input::Exited(Exit::Signal(11)))], &crashed, &ending);
        check(&[(0, Input::Ready), (5, gone())], &crashed, &State::Ended);
        // An answer, then the process goes: the answer counts.
        let after = [(0, Input::Ready), (5, ok()), (6, exit(1)), (7, gone())];
        check(&after, &["start", "START a", "deliver a until 3000", "success a 6 ms init 0", "kill"], &State::Ended);
        // It cannot start, twice.
        let broken = [
            (7, Input::InitFailed(error())),
            (8, exit(1)),
            (9, gone()),
            (11, Input::InitFailed(error())),
            (13, exit(1)),
            (14, gone()),
        ];
        let kind = "Runtime.ImportModuleError";
        let twice = [
            "start",
            &format!("INIT_REPORT 8 init {kind}"),
            "START a",
            "kill",
            "start",
            &format!("INIT_REPORT 4 invoke {kind}"),
            &format!("failed a 4 ms error {kind}"),
            "kill",
        ];
        check(&broken, &twice, &State::Ended);
        // It cannot start once.
        let flaky = [(8, gone()), (20, Input::Ready), (30, ok()), (31, Input::Ready)];
        check(
            &flaky,
            &[
                "start",
                "INIT_REPORT 8 init Runtime.ExitError",
                "START a",
                "kill",
                "start",
                "deliver a until 3008",
                "success a 23 ms",
            ],
            &State::Ready,
        );
        // It does not come to an end with starting: 10 s, then the function's own time.
        let slow = [(10_000, Input::Tick), (10_001, gone()), (13_001, Input::Tick), (13_002, gone())];
        let said = "RequestId: a Error: Task timed out after 3.00 seconds";
        let hangs = [
            "start",
            "INIT_REPORT 10000 init Sandbox.Timedout",
            "START a",
            "kill",
            "start",
            "INIT_REPORT 3000 invoke Sandbox.Timedout",
            &format!("say {said}"),
            "failed a 3000 ms timeout Sandbox.Timedout",
            "kill",
        ];
        check(&slow, &hangs, &State::Ended);
        // The server ends: without extensions there is no grace.
        check(&[&warm[..], &[(200, Input::Shutdown)]].concat(), &[&first[..], &["kill"]].concat(), &ending);
        check(
            &[(0, Input::Ready), (1, Input::Shutdown), (2, gone())],
            &["start", "START a", "deliver a until 3000", "failed a 1 ms init 0 error Runtime.ExitError", "kill"],
            &State::Ended,
        );
        check(&[(1, Input::Shutdown)], &["start", "failed a 1 ms error Runtime.ExitError", "kill"], &ending);
    }

    /// The runtime has 300 of an environment's last 2,000 ms, or all 500.
    #[test]
    fn ends_with_extensions() {
        let exit = || Input::Exited(Exit::Signal(15));
        let gone = || Input::Gone(Exit::Code(0));
        let busy = ["start", "START a", "deliver a until 3000"];
        let stopped = "failed a 100 ms init 0 error Runtime.ExitError";
        let check = |extensions: Extensions, inputs: &[(u64, Input)], expected: &[&str], end: &State| {
            let inputs = [&[(0, Input::Ready)], inputs].concat();
            check_with(extensions, &inputs, &[&busy[..], expected].concat(), end);
        };
        // It ends when it is asked to; so do the extensions.
        check(
            Extensions::External,
            &[(100, Input::Shutdown), (150, exit()), (400, gone())],
            &[stopped, "terminate", "SHUTDOWN spindown until 2100"],
            &State::Ended,
        );
        // Nobody does. An extension that ends meanwhile is no accident.
        let nobody = [
            (100, Input::Shutdown),
            (399, Input::Tick),
            (400, Input::Tick),
            (401, exit()),
            (500, Input::ExtensionLost("Extension.Crash", "exit code 0".into())),
            (2099, Input::Tick),
            (2100, Input::Tick),
            (2101, gone()),
        ];
        check(
            Extensions::External,
            &nobody,
            &[stopped, "terminate", "kill runtime", "SHUTDOWN spindown until 2100", "kill"],
            &State::Ended,
        );
        check(
            Extensions::Internal,
            &[(100, Input::Shutdown), (599, Input::Tick), (600, Input::Tick), (601, gone())],
            &[stopped, "terminate", "kill runtime", "kill"],
            &State::Ended,
        );
        check(
            Extensions::Internal,
            &[(100, Input::Shutdown), (110, exit()), (111, gone())],
            &[stopped, "terminate", "kill"],
            &State::Ended,
        );
        let timeout = [
            "say RequestId: a Error: Task timed out after 3.00 seconds",
            "failed a 3000 ms init 0 timeout Sandbox.Timedout",
            "kill runtime",
            "SHUTDOWN timeout until 5000",
            "kill",
        ];
        check(
            Extensions::External,
            &[(3000, Input::Tick), (3001, exit()), (5000, Input::Tick), (5001, gone())],
            &timeout,
            &State::Ended,
        );
        check(
            Extensions::External,
            &[(100, exit()), (120, gone())],
            &[stopped, "SHUTDOWN failure until 2100"],
            &State::Ended,
        );
        check(
            Extensions::External,
            &[(100, Input::ExtensionLost("Extension.Crash", "exit code 1".into()))],
            &["failed a 100 ms init 0 error Extension.Crash", "kill"],
            &State::Ending { restart: None },
        );
    }

    #[test]
    fn words_of_exits() {
        let says = |exit: Exit, expected: &str| {
            let error = exit.error("r");
            assert_eq!((error.error_type.as_str(), error.message.as_str()), ("Runtime.ExitError", expected));
        };
        says(Exit::Code(0), "RequestId: r Error: Runtime exited without providing a reason");
        says(Exit::Code(3), "RequestId: r Error: Runtime exited with error: exit status 3");
        says(Exit::Signal(11), "RequestId: r Error: Runtime exited with error: signal: segmentation fault");
        says(Exit::Memory, "RequestId: r Error: Runtime exited with error: signal: killed");
    }
}
