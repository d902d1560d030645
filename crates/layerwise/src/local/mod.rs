//! A local Lambda: functions served at one endpoint that the `aws` program and SDKs accept, each run by the real
//! runtime interface client in an execution environment like Lambda's.
//!
//! ```text
//!  aws, boto3 ──► api.rs, url.rs ──► server.rs ──► environment.rs (pure: state, input → state, actions)
//!                 logs_api.rs           │                 ▲
//!                    ▲                  ▼                 │
//!                 logs.rs ◄──────── launch.rs ──► awslambdaric ──► runtime_api.rs
//!                    └► telemetry.rs ──────────► extensions ──────────┘
//! ```
//!
//! `environment.rs` decides; `server.rs` only translates: HTTP requests, ends of processes and the clock into inputs,
//! actions into processes, answers and log lines. What differs from Lambda: the C library and `/usr/lib` are the
//! host's, there is no X-Ray, no SnapStart and no response streaming (the managed Python runtimes have none), waits
//! between the tries of an asynchronous invocation are seconds instead of minutes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::model::Target;
use crate::prove::Python;

mod api;
mod environment;
pub mod launch;
mod logs;
mod logs_api;
mod pattern;
#[cfg(target_os = "linux")]
mod processes;
mod queue;
mod runtime;
mod runtime_api;
mod server;
mod telemetry;
mod url;

pub use api::serve;
pub use runtime::{ProvideError, RuntimeFiles, provide};
pub use server::{Answer, InvokeError, Request, Server};

/// The account in every ARN here.
pub const ACCOUNT: &str = "000000000000";
/// The region in every ARN here.
pub const REGION: &str = "us-east-1";
/// The most bytes of a request or a response: 6 MiB and 100 bytes.
///
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>; the number is in its errors.
pub const PAYLOAD: usize = 6 * 1024 * 1024 + 100;

/// A function that is ready to run.
#[derive(Debug, Clone)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// `index.handler`.
    pub handler: String,
    /// Runtime and architecture.
    pub target: Target,
    /// How long an invocation may take.
    pub timeout: Duration,
    /// Memory in MB.
    pub memory: u32,
    /// Its own variables, and those of its layers.
    pub environment: BTreeMap<String, String>,
    /// What is at `/var/task`.
    pub code: PathBuf,
    /// What is at `/opt`: the layers, merged.
    pub opt: Option<PathBuf>,
    /// Its layers by name.
    pub layers: Vec<Layer>,
    /// The SHA-256 of its zip, in Base64.
    pub code_sha256: String,
    /// The size of its zip in bytes.
    pub code_size: u64,
    /// The Python that runs it.
    pub python: Python,
    /// What the managed runtime brings.
    pub runtime: RuntimeFiles,
}

/// A layer of a function, for lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// The size of its zip in bytes.
    pub size: u64,
    /// The SHA-256 of its zip, in Base64.
    pub sha256: String,
}

impl Function {
    /// The function's ARN.
    pub fn arn(&self) -> String {
        arn(&self.name)
    }

    /// Its log group.
    pub fn log_group(&self) -> String {
        format!("/aws/lambda/{}", self.name)
    }

    /// Whether the platform's own lines are JSON.
    fn logs_json(&self) -> bool {
        self.environment.get("AWS_LAMBDA_LOG_FORMAT").is_some_and(|format| format == "JSON")
    }
}

/// The ARN of a function of this name.
pub(crate) fn arn(name: &str) -> String {
    format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}")
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// The start of an environment.
    init: Duration,
    /// An invocation.
    timeout: Duration,
    /// Which kind has registered; it decides how long the end may take.
    extensions: environment::Extensions,
}

/// What a server is told.
#[derive(Clone)]
pub struct Settings {
    /// Environments of one function at once; more invocations than that are throttled.
    pub concurrency: usize,
    /// The program that is layerwise itself.
    pub program: PathBuf,
    /// A directory for scratch files.
    pub scratch: PathBuf,
    /// Waits before the second and the third try of an asynchronous invocation that failed.
    pub retries: [Duration; 2],
    /// Variables for all functions, before their own: credentials, endpoints, the region.
    pub surroundings: Vec<(String, String)>,
    /// The time of day.
    pub clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    /// What is known about a function whose start failed, line by line.
    pub explain: Arc<Explain>,
    /// Host names besides loopback's that requests may be for; `*` for any.
    pub hosts: Vec<String>,
    /// Called before an invocation: whoever watches the function's files may put a new one in its place.
    pub refresh: Arc<Refresh>,
    /// Sample events by name, JSON, for the page.
    pub samples: String,
}

/// See [`Settings::refresh`].
pub type Refresh = dyn Fn() -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

/// Tells, in lines, why the function of this name cannot start, and what to do.
pub type Explain = dyn Fn(String) -> std::pin::Pin<Box<dyn Future<Output = Vec<String>> + Send>> + Send + Sync;

/// What happens in a server, for whoever shows it.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    /// A function is there, or there anew.
    Function {
        /// Its name.
        function: String,
        /// Whether it was there before.
        again: bool,
    },
    /// A change could not be made; the function stays what it was.
    ReloadFailed {
        /// Its name.
        function: String,
        /// Why.
        error: String,
    },
    /// An invocation began.
    Started {
        /// The function.
        function: String,
        /// The request's id.
        request: String,
    },
    /// An invocation ended.
    Finished {
        /// The function.
        function: String,
        /// The request's id.
        request: String,
        /// How long it took.
        milliseconds: f64,
        /// How long the start took, where there was one.
        init_milliseconds: Option<f64>,
        /// The most memory the environment has used, in MB.
        memory: u64,
        /// The type and message of the error.
        error: Option<(String, String)>,
    },
    /// A line of a function's log, or of the platform's about it.
    Log {
        /// The function.
        function: String,
        /// Milliseconds since 1970.
        at: u64,
        /// The line; a very long one is cut here, not in the log.
        message: Arc<str>,
    },
}

/// What an invocation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The handler's result, as sent.
    Success(Vec<u8>),
    /// The function failed; the JSON that Lambda answers.
    Failed(Vec<u8>),
}

/// Lambda's answer when a function fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorBody {
    /// `Runtime.ImportModuleError`.
    pub error_type: String,
    /// What happened.
    pub message: String,
    /// The answer as the runtime sent it, where it did.
    pub sent: Option<Vec<u8>>,
}

impl ErrorBody {
    /// The type of error of an invocation that took too long.
    pub const TIMEOUT: &'static str = "Sandbox.Timedout";

    /// An error that the platform, not the runtime, tells of.
    pub fn platform(error_type: &str, request: &str, said: &str) -> Self {
        let message = format!("RequestId: {request} Error: {said}");
        Self { error_type: error_type.to_owned(), message, sent: None }
    }

    /// The runtime's own words. They are foreign: what is no JSON object becomes one.
    pub fn sent(body: &[u8], header: Option<&str>) -> Self {
        let read: Option<serde_json::Value> = serde_json::from_slice(body).ok();
        let text = |key: &str| read.as_ref()?.get(key)?.as_str().map(str::to_owned);
        let error_type = text("errorType").or_else(|| header.map(str::to_owned));
        Self {
            error_type: error_type.unwrap_or_else(|| "Runtime.Unknown".to_owned()),
            message: text("errorMessage").unwrap_or_default(),
            sent: read.filter(serde_json::Value::is_object).map(|_| body.to_vec()),
        }
    }

    /// The server ended meanwhile.
    pub(crate) fn shutdown(request: &str) -> Self {
        Self::platform("Runtime.ExitError", request, "the local Lambda was stopped, or the function was changed")
    }

    /// The answer's JSON.
    pub fn json(&self) -> Vec<u8> {
        if let Some(sent) = &self.sent {
            return sent.clone();
        }
        let body = serde_json::json!({ "errorType": self.error_type, "errorMessage": self.message });
        body.to_string().into_bytes()
    }
}
