//! Function URLs: an HTTP request as an event in payload format 2.0, and a function's answer as an HTTP response. Pure.
//!
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html>.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{StatusCode, http};
use serde_json::{Value, json};

/// The part of a host name behind the function's: `api.lambda-url.localhost`.
pub(super) const DOMAIN: &str = ".lambda-url.localhost";

/// The function that a `Host` header names.
pub(super) fn function_of(headers: &HeaderMap) -> Option<&str> {
    let host = headers.get(HOST)?.to_str().ok()?;
    host.rsplit_once(':').map_or(host, |(name, _)| name).strip_suffix(DOMAIN)
}

/// The event of a request. `path`: what is behind the function; `now`: milliseconds since 1970.
pub(super) fn event(parts: &http::request::Parts, path: &str, body: &[u8], (id, now): (&str, u64)) -> Value {
    let text = |name: HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut headers: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in parts.headers.iter().filter(|(name, _)| **name != COOKIE) {
        append(&mut headers, name.as_str(), &String::from_utf8_lossy(value.as_bytes()));
    }
    let cookies: Vec<&str> = parts.headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).collect();
    let cookies: Vec<&str> = cookies.iter().flat_map(|line| line.split(';')).map(str::trim).collect();
    let query = parts.uri.query().unwrap_or_default();
    let mut parameters: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        append(&mut parameters, name.into_owned(), &value);
    }
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    let domain = text(HOST);
    let mut event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": decoded,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": domain.split('.').next(),
            "domainName": domain,
            "domainPrefix": domain.split('.').next(),
            "http": {
                "method": parts.method.as_str(),
                "path": decoded,
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": text(USER_AGENT),
            },
            "requestId": id,
            "routeKey": "$default",
            "stage": "$default",
            "time": super::logs::iso(now),
            "timeEpoch": now,
        },
        "isBase64Encoded": false,
    });
    if !cookies.is_empty() {
        event["cookies"] = json!(cookies);
    }
    if !parameters.is_empty() {
        event["queryStringParameters"] = json!(parameters);
    }
    if !body.is_empty() {
        let kind = text(CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_text = kind.starts_with("text/")
            || matches!(kind.as_str(), "application/json" | "application/xml" | "application/javascript");
        match std::str::from_utf8(body).ok().filter(|_| is_text) {
            Some(text) => event["body"] = text.into(),
            None => {
                event["body"] = BASE64_STANDARD.encode(body).into();
                event["isBase64Encoded"] = true.into();
            }
        }
    }
    event
}

/// Values of one name are joined by commas.
fn append<K: Ord>(values: &mut BTreeMap<K, String>, name: K, value: &str) {
    let all = values.entry(name).or_default();
    if !all.is_empty() {
        all.push(',');
    }
    all.push_str(value);
}

/// A response, of what a function answered; `None`: it is none.
pub(super) fn response(answer: &[u8]) -> Option<(StatusCode, HeaderMap, Vec<u8>)> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let body = match &answer["body"] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let Some(status) = answer.get("statusCode") else {
        let body = answer.as_str().map_or_else(|| answer.to_string(), str::to_owned);
        return Some((StatusCode::OK, headers, body.into_bytes()));
    };
    let status = status.as_u64().or_else(|| status.as_str()?.parse().ok());
    let status = StatusCode::from_u16(u16::try_from(status?).ok()?).ok().filter(|status| status.as_u16() >= 200)?;
    let scalar = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    for (name, value) in answer["headers"].as_object().into_iter().flatten() {
        let (name, value) = (HeaderName::try_from(name).ok()?, HeaderValue::try_from(scalar(value)).ok()?);
        // Those are the connection's.
        if !matches!(name.as_str(), "connection" | "content-length" | "transfer-encoding" | "keep-alive" | "upgrade") {
            headers.insert(name, value);
        }
    }
    for cookie in answer["cookies"].as_array().into_iter().flatten() {
        headers.append("set-cookie", HeaderValue::try_from(scalar(cookie)).ok()?);
    }
    let body = match answer["isBase64Encoded"] {
        Value::Bool(true) => BASE64_STANDARD.decode(body).ok()?,
        _ => body.into_bytes(),
    };
    Some((status, headers, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_become_events() {
        let request = http::Request::put("/url/f/a%20b?x=1&y=2&x=3")
            .header("host", "f.lambda-url.localhost:9000")
            .header("cookie", "a=1; b=2")
            .header("x-many", "1")
            .header("x-many", "2")
            .header("content-type", "application/json; charset=utf-8")
            .body(())
            .unwrap();
        let (parts, ()) = request.into_parts();
        assert_eq!(function_of(&parts.headers), Some("f"));
        let made = event(&parts, "/a%20b", b"{}", ("id", 0));
        assert_eq!(made["rawPath"], "/a b");
        assert_eq!(made["rawQueryString"], "x=1&y=2&x=3");
        assert_eq!(made["queryStringParameters"], json!({ "x": "1,3", "y": "2" }));
        assert_eq!((&made["cookies"], &made["headers"]["x-many"]), (&json!(["a=1", "b=2"]), &json!("1,2")));
        assert_eq!(made["requestContext"]["http"]["method"], "PUT");
        assert_eq!((&made["body"], &made["isBase64Encoded"]), (&json!("{}"), &json!(false)));
        let binary = event(&parts, "/", b"\xff", ("id", 0));
        assert_eq!((&binary["body"], &binary["isBase64Encoded"]), (&json!("/w=="), &json!(true)));
        assert_eq!(event(&parts, "/", b"", ("id", 0)).get("body"), None);
    }

    #[test]
    fn answers_become_responses() {
        let check = |answer: Value, status: u16, kind: &str, body: &str| {
            let (got, headers, bytes) = response(answer.to_string().as_bytes()).unwrap();
            assert_eq!((got.as_u16(), String::from_utf8(bytes).unwrap().as_str()), (status, body), "{answer}");
            assert_eq!(headers[CONTENT_TYPE], kind, "{answer}");
        };
        check(json!("hello"), 200, "application/json", "hello");
        check(json!({ "a": 1 }), 200, "application/json", "{\"a\":1}");
        check(json!(null), 200, "application/json", "null");
        let made = json!({ "statusCode": 201, "headers": { "Content-Type": "text/html" }, "body": "<p>" });
        check(made, 201, "text/html", "<p>");
        check(json!({ "statusCode": 200, "isBase64Encoded": true, "body": "aGk=" }), 200, "application/json", "hi");
        let cookies = json!({ "statusCode": 204, "cookies": ["a=1", "b=2"], "headers": { "content-length": "7" } });
        let (_, headers, _) = response(cookies.to_string().as_bytes()).unwrap();
        assert_eq!((headers.get_all("set-cookie").iter().count(), headers.contains_key("content-length")), (2, false));
        for wrong in [
            json!({ "statusCode": "x" }),
            json!({ "statusCode": 100 }),
            json!({ "statusCode": 200, "headers": { "a\nb": "c" } }),
            json!({ "statusCode": 200, "isBase64Encoded": true, "body": "%" }),
        ] {
            assert!(response(wrong.to_string().as_bytes()).is_none(), "{wrong}");
        }
    }
}
