//! `layerwise logs`: the log of a function in AWS, as it is written.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use layerwise::error::Kind;
use layerwise_aws::client::LogLine;
use layerwise_aws::{AwsError, Client};
use serde_json::json;

use super::Context;
use super::publish::client_settings;
use crate::args::LogsArgs;
use crate::env::Environment;
use crate::exit::{self, Code};
use crate::ui::error::Failure;

/// Between two looks for new lines.
const PAUSE: Duration = Duration::from_secs(2);
/// CloudWatch may show a line later than its time says: looks overlap by this much.
const OVERLAP: Duration = Duration::from_secs(30);

pub(super) fn run(args: &LogsArgs, context: &Context<'_>) -> Result<Code, Failure> {
    let since = ago(&args.since).ok_or_else(|| Failure {
        kind: Kind::Usage,
        message: format!("`{}` is not a time: write `30s`, `10m`, `2h` or `1d`", args.since),
        ..Failure::bug()
    })?;
    let mut failed = None;
    let code = exit::block_on(async {
        match follow(args, since, context).await {
            Ok(()) => Code::Success,
            Err(failure) => {
                let code = failure.code();
                failed = Some(failure);
                code
            }
        }
    });
    match failed {
        Some(failure) => Err(failure),
        None => code.map_err(|error| Failure::system("failed to start", &error)),
    }
}

async fn follow(args: &LogsArgs, since: Duration, context: &Context<'_>) -> Result<(), Failure> {
    let client = connect(&args.function, (args.region.as_deref(), args.profile.as_deref()), context).await?;
    let group = client.function(&args.function).await?.log_group;
    let mut from = millis(Environment::clock()) - i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    let mut seen: BTreeSet<(i64, String)> = BTreeSet::new();
    loop {
        let lines = match client.log_lines(&group, from).await {
            // The group comes with the first invocation.
            Err(AwsError::NotFound { .. }) if args.follow => Vec::new(),
            other => other?,
        };
        for line in lines {
            if seen.insert((line.at, line.id.clone())) {
                let text = if args.json { document(&line) } else { plain(&line) };
                context.ui.data(&text).map_err(|error| Failure::system("failed to write to stdout", &error))?;
            }
        }
        if !args.follow {
            return Ok(());
        }
        if let Some((newest, _)) = seen.last() {
            from = from.max(newest - i64::try_from(OVERLAP.as_millis()).unwrap_or(0));
            seen.retain(|(at, _)| *at >= from);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// AWS in the region (and of the profile) that was asked for, or else that of the function's ARN.
pub(super) async fn connect(
    function: &str,
    (region, profile): (Option<&str>, Option<&str>),
    context: &Context<'_>,
) -> Result<Client, AwsError> {
    let settings = client_settings(profile, context.environment);
    // `arn:aws:lambda:REGION:…`
    let of_arn = function.strip_prefix("arn:").and_then(|rest| rest.split(':').nth(2));
    Client::connect(region.or(of_arn), &settings).await
}

/// The function's own words; what could move a terminal's cursor is taken out.
fn plain(line: &LogLine) -> String {
    harmless(&line.text)
}

/// What a function has written, without what could move a terminal's cursor.
pub(super) fn harmless(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
    format!("{}\n", text.trim_end_matches('\n'))
}

fn document(line: &LogLine) -> String {
    let value = json!({ "version": crate::ui::json::VERSION, "at": line.at, "stream": line.stream, "text": line.text });
    format!("{value}\n")
}

fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// `10m` as a duration.
fn ago(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let number: u64 = text.get(..text.len() - 1)?.parse().ok()?;
    (number <= 100_000).then(|| Duration::from_secs(number * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(ago("10m"), Some(Duration::from_secs(600)));
        assert_eq!(ago("1d"), Some(Duration::from_secs(86_400)));
        for bad in ["", "m", "10", "-1m", "1w", "1é", "999999999h"] {
            assert_eq!(ago(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_log_cannot_move_the_cursor() {
        let line = LogLine { id: String::new(), at: 0, stream: String::new(), text: "a\u{1b}[2Jb\r\n\tc\n".to_owned() };
        assert_eq!(plain(&line), "a[2Jb\n\tc\n");
    }
}
