//! The APIs toward the function: the Runtime API and the Extensions API, one server for each environment. It only
//! translates: what comes in goes to the environment's task as a [`Message`], answers come back from there.
//!
//! Sources: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>,
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>.

use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use super::{ErrorBody, Outcome, PAYLOAD};

/// Work for the runtime.
#[derive(Debug)]
pub(super) struct Delivery {
    pub request: String,
    pub payload: Bytes,
    /// Milliseconds since 1970.
    pub deadline: u64,
    pub arn: String,
    /// JSON, where the client sent some.
    pub context: Option<String>,
}

/// What the function's side says.
#[derive(Debug)]
pub(super) enum Message {
    /// The runtime asks for work.
    Next(oneshot::Sender<Delivery>),
    /// The runtime answers; the answer is whether it is taken.
    Answered(String, Outcome, oneshot::Sender<bool>),
    /// The runtime's answer is too large, by this many bytes.
    TooLarge(String, oneshot::Sender<bool>),
    /// The runtime cannot start.
    InitFailed(ErrorBody),
    /// An extension is there: its name, the events it wants; the answer is its id.
    Register(String, Vec<String>, oneshot::Sender<String>),
    /// An extension asks for an event.
    Event(String, oneshot::Sender<serde_json::Value>),
    /// An extension gives up.
    ExtensionFailed(String, String),
    /// An extension, by its id, subscribes to telemetry; the answer is why it cannot.
    Subscribe(String, Bytes, oneshot::Sender<Result<(), String>>),
}

/// Serves until dropped.
pub(super) async fn serve(listener: TcpListener, to: mpsc::Sender<Message>, function: Arc<super::Function>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        drop(stream.set_nodelay(true));
        let (to, function) = (to.clone(), Arc::clone(&function));
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| {
                let (to, function) = (to.clone(), Arc::clone(&function));
                async move { Ok::<_, Infallible>(answer(request, &to, &function).await) }
            });
            // The function went away: nobody is left to tell.
            drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

type Answer = Response<Full<Bytes>>;

async fn answer(request: Request<Incoming>, to: &mpsc::Sender<Message>, function: &super::Function) -> Answer {
    let (parts, body) = request.into_parts();
    // Only what runs in the environment names us so; a web page's script does not.
    if let Err(why) = super::api::admitted(&parts.headers, &[]) {
        return error(StatusCode::FORBIDDEN, "Forbidden", why);
    }
    let path = parts.uri.path().to_owned();
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let body = |limit: usize| async move { Limited::new(body, limit).collect().await.map(|body| body.to_bytes()) };
    let gone = || error(StatusCode::FORBIDDEN, "InvalidRequestID", "the environment has ended");
    match (&parts.method, segments.as_slice()) {
        (&Method::GET, ["2018-06-01", "runtime", "invocation", "next"]) => {
            let (reply, work) = oneshot::channel();
            if to.send(Message::Next(reply)).await.is_err() {
                return gone();
            }
            work.await.map_or_else(|_| gone(), |work| deliver(&work))
        }
        (&Method::POST, ["2018-06-01", "runtime", "invocation", id, kind @ ("response" | "error")]) => {
            let (reply, taken) = oneshot::channel();
            let id = (*id).to_owned();
            let kind_header = header("lambda-runtime-function-error-type");
            let message = match body(PAYLOAD).await {
                Ok(bytes) if *kind == "response" => Message::Answered(id, Outcome::Success(bytes.to_vec()), reply),
                Ok(bytes) => {
                    let failed = Outcome::Failed(ErrorBody::sent(&bytes, kind_header.as_deref()).json());
                    Message::Answered(id, failed, reply)
                }
                Err(failed) if failed.is::<LengthLimitError>() => Message::TooLarge(id, reply),
                Err(_) => return error(StatusCode::BAD_REQUEST, "InvalidRequest", "the body broke off"),
            };
            let too_large = matches!(message, Message::TooLarge(..));
            if to.send(message).await.is_err() {
                return gone();
            }
            match taken.await {
                Ok(true) if too_large => {
                    error(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", &too_large_words())
                }
                Ok(true) => status(StatusCode::ACCEPTED, &json!({ "status": "OK" })),
                _ => error(StatusCode::BAD_REQUEST, "InvalidRequestID", "Invalid request ID"),
            }
        }
        (&Method::POST, ["2018-06-01", "runtime", "init", "error"]) => {
            let bytes = body(PAYLOAD).await.unwrap_or_default();
            let failed = ErrorBody::sent(&bytes, header("lambda-runtime-function-error-type").as_deref());
            drop(to.send(Message::InitFailed(failed)).await);
            status(StatusCode::ACCEPTED, &json!({ "status": "OK" }))
        }
        (&Method::POST, ["2020-01-01", "extension", "register"]) => {
            let name = header("lambda-extension-name").unwrap_or_default();
            let bytes = body(64 << 10).await.unwrap_or_default();
            let wanted: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let events = wanted["events"].as_array().into_iter().flatten().filter_map(|event| event.as_str());
            let events = events.map(str::to_owned).collect();
            let (reply, id) = oneshot::channel();
            if to.send(Message::Register(name, events, reply)).await.is_err() {
                return gone();
            }
            let Ok(id) = id.await else { return gone() };
            let about = json!({
                "functionName": function.name,
                "functionVersion": "$LATEST",
                "handler": function.handler,
                "accountId": super::ACCOUNT,
            });
            with_header(status(StatusCode::OK, &about), "lambda-extension-identifier", &id)
        }
        (&Method::GET, ["2020-01-01", "extension", "event", "next"]) => {
            let id = header("lambda-extension-identifier").unwrap_or_default();
            let (reply, event) = oneshot::channel();
            if to.send(Message::Event(id.clone(), reply)).await.is_err() {
                return gone();
            }
            match event.await {
                Ok(event) => with_header(status(StatusCode::OK, &event), "lambda-extension-event-identifier", &id),
                Err(_) => error(StatusCode::FORBIDDEN, "Extension.UnknownExtensionIdentifier", "it is not registered"),
            }
        }
        (&Method::POST, ["2020-01-01", "extension", "init" | "exit", "error"]) => {
            let id = header("lambda-extension-identifier").unwrap_or_default();
            let kind = header("lambda-extension-function-error-type").unwrap_or_else(|| "Extension.Unknown".to_owned());
            drop(to.send(Message::ExtensionFailed(id, kind)).await);
            status(StatusCode::ACCEPTED, &json!({ "status": "OK" }))
        }
        (&Method::PUT, ["2022-07-01", "telemetry"]) => {
            let id = header("lambda-extension-identifier").unwrap_or_default();
            let bytes = body(64 << 10).await.unwrap_or_default();
            let (reply, subscribed) = oneshot::channel();
            if to.send(Message::Subscribe(id, bytes, reply)).await.is_err() {
                return gone();
            }
            match subscribed.await {
                Ok(Ok(())) => status(StatusCode::OK, &json!("OK")),
                Ok(Err(why)) => error(StatusCode::BAD_REQUEST, "ValidationError", &why),
                Err(_) => error(StatusCode::FORBIDDEN, "Extension.UnknownExtensionIdentifier", "it is not registered"),
            }
        }
        // As AWS's own emulator answers.
        (&Method::PUT, ["2020-08-15", "logs"]) => error(
            StatusCode::ACCEPTED,
            "Logs.NotSupported",
            "the local Lambda has the Telemetry API, not the older Logs API",
        ),
        _ => error(StatusCode::NOT_FOUND, "NotFound", "there is no such path"),
    }
}

/// The words that Lambda has for an answer that is too large.
pub(super) fn too_large_words() -> String {
    format!("Exceeded maximum allowed payload size ({PAYLOAD} bytes).")
}

fn deliver(work: &Delivery) -> Answer {
    let mut answer = Response::new(Full::new(work.payload.clone()));
    let deadline = work.deadline.to_string();
    let trace = format!("Root=1-00000000-{};Sampled=0", work.request.replace('-', "").get(..24).unwrap_or_default());
    let mut headers = vec![
        ("content-type", "application/json"),
        ("lambda-runtime-aws-request-id", work.request.as_str()),
        ("lambda-runtime-deadline-ms", &deadline),
        ("lambda-runtime-invoked-function-arn", &work.arn),
        ("lambda-runtime-trace-id", &trace),
    ];
    if let Some(context) = &work.context {
        headers.push(("lambda-runtime-client-context", context));
    }
    for (name, value) in headers {
        answer = with_header(answer, name, value);
    }
    answer
}

fn with_header(mut answer: Answer, name: &'static str, value: &str) -> Answer {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
    answer
}

fn status(status: StatusCode, body: &serde_json::Value) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body.to_string())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn error(code: StatusCode, kind: &str, message: &str) -> Answer {
    status(code, &json!({ "errorType": kind, "errorMessage": message }))
}
