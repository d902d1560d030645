//! CloudWatch Logs, as far as `aws logs tail` and its kin need it.
//!
//! Source: <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_Operations.html>.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::api::ApiError;
use super::logs::Logs;
use super::pattern::Pattern;
use super::server::Server;

/// What a request may say; each operation uses some of it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Asked {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    log_group_name_prefix: Option<String>,
    log_stream_name: Option<String>,
    log_stream_names: Option<Vec<String>>,
    log_stream_name_prefix: Option<String>,
    /// Milliseconds since 1970.
    start_time: Option<u64>,
    end_time: Option<u64>,
    filter_pattern: Option<String>,
    next_token: Option<String>,
    limit: Option<usize>,
    start_from_head: Option<bool>,
}

/// The most events of one answer.
const MOST: usize = 10_000;
/// The most bytes of one answer.
const LARGEST: usize = 1 << 20;

/// The answer to the operation in `X-Amz-Target`.
pub(super) fn answer(target: &str, body: &[u8], server: &Server) -> Result<Value, ApiError> {
    let invalid = |message: String| ApiError { status: 400, kind: "InvalidParameterException", message };
    let asked: Asked = match body.is_empty() {
        true => Asked::default(),
        false => serde_json::from_slice(body).map_err(|error| invalid(error.to_string()))?,
    };
    let logs = server.logs();
    let logs: &Logs = &logs;
    match target.strip_prefix("Logs_20140328.") {
        Some("FilterLogEvents") => filter(&asked, logs),
        Some("GetLogEvents") => events(&asked, logs),
        Some("DescribeLogGroups") => {
            let prefix = asked.log_group_name_prefix.as_deref().unwrap_or_default();
            let named = logs.groups().filter(|name| name.starts_with(prefix));
            let groups: Vec<Value> = named
                .map(|name| json!({ "logGroupName": &**name, "arn": group_arn(name), "creationTime": 0 }))
                .collect();
            Ok(json!({ "logGroups": groups }))
        }
        Some("DescribeLogStreams") => {
            let group = group(&asked)?;
            let streams = logs.streams(&group).ok_or_else(no_group)?;
            let prefix = asked.log_stream_name_prefix.as_deref().unwrap_or_default();
            let named = streams.iter().filter(|(name, _)| name.starts_with(prefix));
            let mut found: Vec<(u64, Value)> = named
                .map(|(name, (first, last))| {
                    let about = json!({
                        "logStreamName": &**name,
                        "arn": format!("{}:log-stream:{name}", group_arn(&group)),
                        "creationTime": first,
                        "firstEventTimestamp": first,
                        "lastEventTimestamp": last,
                        "lastIngestionTime": last,
                    });
                    (*last, about)
                })
                .collect();
            found.sort_by_key(|(last, _)| std::cmp::Reverse(*last));
            let limit = asked.limit.unwrap_or(50);
            Ok(json!({ "logStreams": found.into_iter().take(limit).map(|(_, about)| about).collect::<Vec<_>>() }))
        }
        _ => Err(ApiError {
            status: 400,
            kind: "UnknownOperationException",
            message: "the local CloudWatch Logs does not have this operation".to_owned(),
        }),
    }
}

fn group_arn(name: &str) -> String {
    format!("arn:aws:logs:{}:{}:log-group:{name}", super::REGION, super::ACCOUNT)
}

fn no_group() -> ApiError {
    let message = "The specified log group does not exist.".to_owned();
    ApiError { status: 400, kind: "ResourceNotFoundException", message }
}

/// By name or by ARN.
fn group(asked: &Asked) -> Result<String, ApiError> {
    let given = asked.log_group_name.as_deref().or(asked.log_group_identifier.as_deref()).ok_or_else(no_group)?;
    let name = given.split_once(":log-group:").map_or(given, |(_, name)| name);
    Ok(name.trim_end_matches(":*").to_owned())
}

fn filter(asked: &Asked, logs: &Logs) -> Result<Value, ApiError> {
    let group = group(asked)?;
    if logs.streams(&group).is_none() {
        return Err(no_group());
    }
    let pattern = Pattern::parse(asked.filter_pattern.as_deref().unwrap_or_default());
    let pattern = pattern.map_err(|error| ApiError {
        status: 400,
        kind: "InvalidParameterException",
        message: error.to_string(),
    })?;
    let from = token(asked.next_token.as_deref());
    let wanted_stream = |stream: &Arc<str>| {
        let prefix = asked.log_stream_name_prefix.as_deref().unwrap_or_default();
        let named = asked.log_stream_names.as_ref().is_none_or(|names| names.iter().any(|name| **name == **stream));
        named && stream.starts_with(prefix)
    };
    let most = asked.limit.unwrap_or(MOST).min(MOST);
    let (mut found, mut bytes, mut next) = (Vec::new(), 0, None);
    for line in logs.from(&group, from) {
        let inside =
            asked.start_time.is_none_or(|start| line.at >= start) && asked.end_time.is_none_or(|end| line.at <= end);
        if !inside || !wanted_stream(&line.stream) || !pattern.matches(&line.message) {
            continue;
        }
        if found.len() >= most || bytes > LARGEST {
            next = Some(line.id.to_string());
            break;
        }
        bytes += line.message.len();
        found.push(json!({
            "logStreamName": &*line.stream,
            "timestamp": line.at,
            "message": &*line.message,
            "ingestionTime": line.at,
            "eventId": format!("{:020}", line.id),
        }));
    }
    let mut answer = json!({ "events": found, "searchedLogStreams": [] });
    if let Some(next) = next {
        answer["nextToken"] = next.into();
    }
    Ok(answer)
}

fn events(asked: &Asked, logs: &Logs) -> Result<Value, ApiError> {
    let group = group(asked)?;
    let stream = asked.log_stream_name.as_deref().unwrap_or_default();
    let known = logs.streams(&group).ok_or_else(no_group)?.keys().any(|name| **name == *stream);
    if !known {
        let message = "The specified log stream does not exist.".to_owned();
        return Err(ApiError { status: 400, kind: "ResourceNotFoundException", message });
    }
    let direction = asked.next_token.as_deref().map(|text| text.split_once('/').unwrap_or(("f", text)));
    let inside =
        |at: u64| asked.start_time.is_none_or(|start| at >= start) && asked.end_time.is_none_or(|end| at < end);
    let own: Vec<_> = logs.from(&group, 0).filter(|line| *line.stream == *stream && inside(line.at)).collect();
    let most = asked.limit.unwrap_or(MOST).min(MOST);
    let chosen: Vec<_> = match direction {
        Some(("b", at)) => {
            let before: Vec<_> = own.into_iter().filter(|line| line.id < token(Some(at))).collect();
            before.iter().copied().skip(before.len().saturating_sub(most)).collect()
        }
        Some((_, at)) => own.into_iter().filter(|line| line.id >= token(Some(at))).take(most).collect(),
        None if asked.start_from_head == Some(true) => own.into_iter().take(most).collect(),
        None => own.iter().copied().skip(own.len().saturating_sub(most)).collect(),
    };
    let given = asked.next_token.clone();
    let back =
        chosen.first().map(|line| format!("b/{}", line.id)).or_else(|| given.clone()).unwrap_or("b/0".to_owned());
    // At the end the token stays the same: so clients know.
    let forward = chosen.last().map(|line| format!("f/{}", line.id + 1)).or(given).unwrap_or("f/0".to_owned());
    let found: Vec<Value> = chosen
        .iter()
        .map(|line| json!({ "timestamp": line.at, "message": &*line.message, "ingestionTime": line.at }))
        .collect();
    Ok(json!({ "events": found, "nextBackwardToken": back, "nextForwardToken": forward }))
}

fn token(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}
