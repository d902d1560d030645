//! The one endpoint: the part of Lambda's API that a client needs, the path of AWS's emulator, CloudWatch Logs
//! (`logs_api.rs`), and a page with what happens. It only translates.
//!
//! Source: <https://docs.aws.amazon.com/lambda/latest/api/API_Operations.html>.

use std::convert::Infallible;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::broadcast::error::RecvError;

use super::server::{Answer, InvokeError, Request, Server};
use super::{Function, Outcome, PAYLOAD, logs_api};

type Body = BoxBody<Bytes, Infallible>;

/// An error in AWS's form.
#[derive(Debug)]
pub(super) struct ApiError {
    pub status: u16,
    /// `ResourceNotFoundException`.
    pub kind: &'static str,
    pub message: String,
}

/// Serves until dropped.
pub async fn serve(listener: TcpListener, server: Server) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Too many files are open: others will be closed.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        drop(stream.set_nodelay(true));
        let server = server.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| {
                let server = server.clone();
                async move { Ok::<_, Infallible>(answer(request, &server).await) }
            });
            // The client went away: nobody is left to tell.
            drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn answer(request: hyper::Request<Incoming>, server: &Server) -> Response<Body> {
    let (parts, body) = request.into_parts();
    if let Err(why) = admitted(&parts.headers, &server.settings().hosts) {
        let error = ApiError { status: 403, kind: "AccessDeniedException", message: why.to_owned() };
        return refuse(&error);
    }
    if let Some(name) = super::url::function_of(&parts.headers) {
        let name = name.to_owned();
        return by_url(&name, parts.uri.path().to_owned().as_str(), (parts, body), server).await;
    }
    if let Some((name, path)) =
        parts.uri.path().strip_prefix("/url/").map(|rest| rest.split_once('/').unwrap_or((rest, "")))
    {
        let (name, path) = (name.to_owned(), format!("/{path}"));
        return by_url(&name, &path, (parts, body), server).await;
    }
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let path = parts.uri.path().trim_end_matches('/');
    let segments: Vec<String> = path
        .split('/')
        .skip(1)
        .map(|part| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned())
        .collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match (&parts.method, segments.as_slice()) {
        (&Method::GET, [] | [""]) => page("text/html; charset=utf-8", include_str!("page.html")),
        (&Method::GET, ["layerwise", "page.js"]) => page("text/javascript; charset=utf-8", include_str!("page.js")),
        (&Method::GET, ["layerwise", "samples"]) => json_text(server.settings().samples.clone()),
        (&Method::GET, ["layerwise", "events"]) => events(server),
        (&Method::POST, [] | [""]) => {
            let target = header("x-amz-target").unwrap_or_default().to_owned();
            match whole(body, 1 << 20).await {
                Ok(bytes) => match logs_api::answer(&target, &bytes, server) {
                    Ok(found) => with(json_text(found.to_string()), "content-type", "application/x-amz-json-1.1"),
                    Err(error) => logs_refused(&error),
                },
                Err(error) => refuse(&error),
            }
        }
        (&Method::POST, ["2015-03-31", "functions", name, "invocations"]) => {
            let payload = match whole(body, PAYLOAD).await {
                Ok(payload) => payload,
                Err(error) => return refuse(&error),
            };
            let name = match find(server, name, parts.uri.query()) {
                Ok(function) => function.name.clone(),
                Err(error) => return refuse(&error),
            };
            let kind = header("x-amz-invocation-type").unwrap_or("RequestResponse");
            let context = header("x-amz-client-context").and_then(|text| BASE64_STANDARD.decode(text).ok());
            let context = context.and_then(|bytes| String::from_utf8(bytes).ok());
            let wants_log = header("x-amz-log-type") == Some("Tail");
            invoke(server, &name, kind, Request { payload, context, id: None }, wants_log).await
        }
        (&Method::GET, ["2015-03-31", "functions"]) => {
            let functions: Vec<Value> = server.functions().iter().map(|function| configuration(function)).collect();
            json_text(json!({ "Functions": functions }).to_string())
        }
        (&Method::GET, ["2015-03-31", "functions", name, rest @ ..]) => {
            let function = match find(server, name, parts.uri.query()) {
                Ok(function) => function,
                Err(error) => return refuse(&error),
            };
            match rest {
                ["configuration"] => json_text(configuration(&function).to_string()),
                [] => json_text(
                    json!({
                        "Configuration": configuration(&function),
                        "Code": { "RepositoryType": "layerwise", "Location": format!("file://{}", function.code.display()) },
                        "Tags": {},
                    })
                    .to_string(),
                ),
                _ => refuse(&unknown()),
            }
        }
        (&Method::GET, ["2021-10-31", "functions", name, "url"]) => match find(server, name, parts.uri.query()) {
            Ok(function) => json_text(url_config(&function, header("host").unwrap_or_default()).to_string()),
            Err(error) => refuse(&error),
        },
        (&Method::GET, ["2018-10-31", "layers"]) => json_text(layers(server).to_string()),
        (&Method::GET, ["2018-10-31", "layers", name, "versions"]) => {
            let all = layers(server);
            let of_name = all["Layers"].as_array().into_iter().flatten().filter(|layer| layer["LayerName"] == **name);
            let versions: Vec<Value> = of_name.map(|layer| layer["LatestMatchingVersion"].clone()).collect();
            json_text(json!({ "LayerVersions": versions }).to_string())
        }
        _ => refuse(&unknown()),
    }
}

fn unknown() -> ApiError {
    let message = "the local Lambda does not have this operation".to_owned();
    ApiError { status: 404, kind: "UnknownOperationException", message }
}

/// Whether a request may come in: it names this machine, and no other page's script sent it (DNS rebinding, CSRF).
pub(super) fn admitted(headers: &HeaderMap, hosts: &[String]) -> Result<(), &'static str> {
    let known = |authority: &str| {
        let host = match authority.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
        };
        matches!(host, "localhost" | "127.0.0.1" | "::1")
            || host.ends_with(".localhost")
            || hosts.iter().any(|one| one == "*" || one == host)
    };
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if !text(HOST).is_some_and(known) {
        return Err("the Host header names another machine (`--host-name` admits it)");
    }
    match text(ORIGIN) {
        None => Ok(()),
        Some(origin) if origin.split_once("://").is_some_and(|(_, authority)| Some(authority) == text(HOST)) => Ok(()),
        Some(_) => Err("a page of another origin may not use this endpoint"),
    }
}

async fn whole(body: Incoming, limit: usize) -> Result<Bytes, ApiError> {
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError {
            status: 413,
            kind: "RequestEntityTooLargeException",
            message: format!("Request must be smaller than {limit} bytes for the InvokeFunction operation"),
        }),
        Err(_) => Err(ApiError {
            status: 400,
            kind: "InvalidRequestContentException",
            message: "the body broke off".to_owned(),
        }),
    }
}

/// The function by name, `name:$LATEST`, or ARN; `function` alone is the emulator's name for the only one.
fn find(server: &Server, name: &str, query: Option<&str>) -> Result<std::sync::Arc<Function>, ApiError> {
    let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let asked = pairs.into_iter().find(|(key, _)| key == "Qualifier").map(|(_, value)| value.into_owned());
    let short = match name.split(':').collect::<Vec<_>>().as_slice() {
        ["arn", _, "lambda", _, _, "function", rest @ ..] | ["function", rest @ ..] if !rest.is_empty() => {
            rest.join(":")
        }
        [_, "function", rest @ ..] if !rest.is_empty() => rest.join(":"),
        _ => name.to_owned(),
    };
    let (short, own) = match short.split_once(':') {
        Some((short, own)) => (short.to_owned(), Some(own.to_owned())),
        None => (short, None),
    };
    let qualifier = own.or(asked).filter(|qualifier| qualifier != "$LATEST");
    let found = server.function(&short).or_else(|| {
        let all = server.functions();
        (short == "function" && all.len() == 1).then(|| all.into_iter().next()).flatten()
    });
    match (found, qualifier) {
        (Some(function), None) => Ok(function),
        (_, qualifier) => {
            let suffix = qualifier.map(|qualifier| format!(":{qualifier}")).unwrap_or_default();
            let message = format!("Function not found: {}{suffix}", super::arn(&short));
            Err(ApiError { status: 404, kind: "ResourceNotFoundException", message })
        }
    }
}

async fn invoke(server: &Server, name: &str, kind: &str, request: Request, wants_log: bool) -> Response<Body> {
    if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&request.payload)
        && !request.payload.is_empty()
    {
        let message = format!("Could not parse request body into json: {error}");
        return refuse(&ApiError { status: 400, kind: "InvalidRequestContentException", message });
    }
    let request = match request.payload.is_empty() {
        true => Request { payload: Bytes::from_static(b"{}"), ..request },
        false => request,
    };
    (server.settings().refresh)().await;
    match kind {
        "DryRun" => empty(StatusCode::NO_CONTENT),
        "Event" if request.payload.len() > 1 << 20 => refuse(&ApiError {
            status: 413,
            kind: "RequestEntityTooLargeException",
            message: "Request must be smaller than 1048576 bytes for the InvokeFunction operation".to_owned(),
        }),
        "Event" => match server.enqueue(name, request) {
            Ok(id) => with(empty(StatusCode::ACCEPTED), "x-amzn-requestid", &id),
            Err(error) => refuse(&invoke_error(&error)),
        },
        "RequestResponse" => match server.invoke(name, request).await {
            Ok(answer) => answered(answer, wants_log),
            Err(error) => refuse(&invoke_error(&error)),
        },
        other => refuse(&ApiError {
            status: 400,
            kind: "InvalidParameterValueException",
            message: format!("`{}` is not an invocation type", other.escape_debug()),
        }),
    }
}

/// A request to a function's URL.
async fn by_url(
    name: &str,
    path: &str,
    (parts, body): (hyper::http::request::Parts, Incoming),
    server: &Server,
) -> Response<Body> {
    let function = match find(server, name, None) {
        Ok(function) => function.name.clone(),
        Err(error) => return refuse(&error),
    };
    let body = match whole(body, PAYLOAD).await {
        Ok(body) => body,
        Err(error) => return refuse(&error),
    };
    let id = server.id();
    let event = super::url::event(&parts, path, &body, (&id, server.clock()));
    let request = Request { payload: event.to_string().into(), context: None, id: Some(id) };
    (server.settings().refresh)().await;
    let answer = match server.invoke(&function, request).await {
        Ok(answer) => answer,
        Err(error) => return refuse(&invoke_error(&error)),
    };
    let made = match &answer.outcome {
        Outcome::Success(body) => super::url::response(body),
        Outcome::Failed(_) => None,
    };
    // Why is in the log.
    let failed = || (StatusCode::BAD_GATEWAY, HeaderMap::new(), b"Internal Server Error".to_vec());
    let (status, headers, body) = made.unwrap_or_else(failed);
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    with(response, "x-amzn-requestid", &answer.request)
}

fn answered(answer: Answer, wants_log: bool) -> Response<Body> {
    let (body, failed) = match answer.outcome {
        Outcome::Success(body) => (body, false),
        Outcome::Failed(body) => (body, true),
    };
    let mut response = Response::new(full(body));
    response = with(response, "content-type", "application/json");
    response = with(response, "x-amzn-requestid", &answer.request);
    response = with(response, "x-amz-executed-version", "$LATEST");
    if failed {
        response = with(response, "x-amz-function-error", "Unhandled");
    }
    if wants_log {
        response = with(response, "x-amz-log-result", &BASE64_STANDARD.encode(answer.tail));
    }
    response
}

fn invoke_error(error: &InvokeError) -> ApiError {
    let message = error.to_string();
    match error {
        InvokeError::NoFunction(name) => {
            let message = format!("Function not found: {}", super::arn(name));
            ApiError { status: 404, kind: "ResourceNotFoundException", message }
        }
        InvokeError::Throttled(_) | InvokeError::QueueFull => {
            ApiError { status: 429, kind: "TooManyRequestsException", message: "Rate Exceeded.".to_owned() }
        }
        InvokeError::Start(source) => {
            ApiError { status: 500, kind: "ServiceException", message: format!("{message}: {source}") }
        }
        InvokeError::Stopped => ApiError { status: 503, kind: "ServiceException", message },
    }
}

/// Source: <https://docs.aws.amazon.com/lambda/latest/api/API_FunctionConfiguration.html>.
fn configuration(function: &Function) -> Value {
    let layers: Vec<Value> =
        function.layers.iter().map(|layer| json!({ "Arn": layer_arn(&layer.name), "CodeSize": layer.size })).collect();
    json!({
        "FunctionName": function.name,
        "FunctionArn": function.arn(),
        "Runtime": function.target.runtime.name,
        "Role": format!("arn:aws:iam::{}:role/local", super::ACCOUNT),
        "Handler": function.handler,
        "CodeSize": function.code_size,
        "CodeSha256": function.code_sha256,
        "Description": "",
        "Timeout": function.timeout.as_secs(),
        "MemorySize": function.memory,
        "LastModified": "1970-01-01T00:00:00.000+0000",
        "Version": "$LATEST",
        "Environment": { "Variables": function.environment },
        "Layers": layers,
        "PackageType": "Zip",
        "Architectures": [function.target.architecture.aws()],
        "EphemeralStorage": { "Size": 512 },
        "State": "Active",
        "LastUpdateStatus": "Successful",
        "LoggingConfig": {
            "LogFormat": if function.logs_json() { "JSON" } else { "Text" },
            "LogGroup": function.log_group(),
        },
    })
}

/// Source: <https://docs.aws.amazon.com/lambda/latest/api/API_GetFunctionUrlConfig.html>.
fn url_config(function: &Function, host: &str) -> Value {
    let port = host.rsplit_once(':').map(|(_, port)| format!(":{port}")).unwrap_or_default();
    json!({
        "FunctionUrl": format!("http://{}{}{port}/", function.name, super::url::DOMAIN),
        "FunctionArn": function.arn(),
        "AuthType": "NONE",
        "InvokeMode": "BUFFERED",
        "CreationTime": "1970-01-01T00:00:00Z",
        "LastModifiedTime": "1970-01-01T00:00:00Z",
    })
}

fn layer_arn(name: &str) -> String {
    format!("arn:aws:lambda:{}:{}:layer:{name}:1", super::REGION, super::ACCOUNT)
}

fn layers(server: &Server) -> Value {
    let functions = server.functions();
    let mut seen = std::collections::BTreeMap::new();
    for function in &functions {
        for layer in &function.layers {
            let arn = layer_arn(&layer.name);
            let version = json!({
                "LayerVersionArn": arn,
                "Version": 1,
                "CompatibleRuntimes": [function.target.runtime.name],
                "CompatibleArchitectures": [function.target.architecture.aws()],
            });
            let layer_arn = arn.trim_end_matches(":1");
            seen.insert(
                layer.name.clone(),
                json!({ "LayerName": layer.name, "LayerArn": layer_arn, "LatestMatchingVersion": version }),
            );
        }
    }
    json!({ "Layers": seen.into_values().collect::<Vec<_>>() })
}

/// What happens, as it happens (server-sent events), one JSON object each.
fn events(server: &Server) -> Response<Body> {
    let (to, from) = tokio::sync::mpsc::channel::<Bytes>(256);
    let mut events = server.events();
    tokio::spawn(async move {
        loop {
            let event = match events.recv().await {
                Ok(event) => event,
                // A page that cannot keep up misses some.
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            };
            let text = serde_json::to_string(&*event).unwrap_or_default();
            if to.send(Bytes::from(format!("data: {text}\n\n"))).await.is_err() {
                return;
            }
        }
    });
    let mut response = Response::new(BodyExt::boxed(Pieces(from)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert("cache-control", HeaderValue::from_static("no-store"));
    response
}

/// A body whose pieces come one after the other, until whoever sends them ends.
struct Pieces(tokio::sync::mpsc::Receiver<Bytes>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}

fn full(bytes: impl Into<Bytes>) -> Body {
    BodyExt::boxed(Full::new(bytes.into()))
}

fn page(kind: &'static str, text: &'static str) -> Response<Body> {
    let mut response = with(Response::new(full(text)), "content-type", kind);
    // Nothing from elsewhere is loaded or run.
    let policy = "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:";
    response.headers_mut().insert("content-security-policy", HeaderValue::from_static(policy));
    with(with(response, "x-content-type-options", "nosniff"), "cache-control", "no-store")
}

fn json_text(text: String) -> Response<Body> {
    with(Response::new(full(text)), "content-type", "application/json")
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = status;
    response
}

fn with(mut response: Response<Body>, name: &'static str, value: &str) -> Response<Body> {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
    response
}

/// Lambda's form of an error: its kind is a header.
fn refuse(error: &ApiError) -> Response<Body> {
    let mut body = json!({ "message": error.message, "Message": error.message, "Type": "User" });
    if error.status == 429 {
        body["Reason"] = "ConcurrentInvocationLimitExceeded".into();
    }
    let mut response = json_text(body.to_string());
    *response.status_mut() = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    with(response, "x-amzn-errortype", error.kind)
}

/// CloudWatch Logs' form of an error: its kind is in the body.
fn logs_refused(error: &ApiError) -> Response<Body> {
    let mut response = json_text(json!({ "__type": error.kind, "message": error.message }).to_string());
    *response.status_mut() = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
    with(response, "content-type", "application/x-amz-json-1.1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: &str, origin: Option<&str>, hosts: &[&str], admitted_: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        assert_eq!(admitted(&headers, &hosts).is_ok(), admitted_, "{host} {origin:?}");
    }

    #[test]
    fn who_may_come_in() {
        check("127.0.0.1:8080", None, &[], true);
        check("localhost:8080", None, &[], true);
        check("[::1]:8080", None, &[], true);
        check("f.localhost:1", None, &[], true);
        check("evil.example:8080", None, &[], false);
        check("127.0.0.1.evil.example", None, &[], false);
        check("box.lan:8080", None, &["box.lan"], true);
        check("box.lan:8080", None, &["*"], true);
        check("127.0.0.1:8080", Some("http://127.0.0.1:8080"), &[], true);
        check("127.0.0.1:8080", Some("http://evil.example"), &[], false);
        check("127.0.0.1:8080", Some("http://127.0.0.1:9"), &[], false);
        check("127.0.0.1:8080", Some("null"), &[], false);
        assert!(admitted(&HeaderMap::new(), &[]).is_err());
    }
}
