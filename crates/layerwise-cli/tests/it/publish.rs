//! Publishing: against an AWS in process that fails as told, and against moto, read back with the real `aws`.

use layerwise_aws::Action;
use layerwise_testkit::{Aws, Cli, Index, Member, RawZip, Served, moto, wheel};
use serde_json::Value;

use super::{archive, json, layerwise, real_index::skipped, words};

const REGION: &str = "eu-west-1";

fn index() -> Served {
    ["1.0", "2.0"]
        .into_iter()
        .fold(Index::new(), |index, version| {
            index.wheel(wheel("alpha", version).file("alpha.py", format!("V = '{version}'\n")).build())
        })
        .serve()
}

/// `layerwise` with credentials, and AWS at `url`.
fn cli(served: &Served, url: &str, line: &str) -> Cli {
    layerwise(served, line)
        .env("AWS_ENDPOINT_URL", url)
        .env("AWS_ACCESS_KEY_ID", "testing")
        .env("AWS_SECRET_ACCESS_KEY", "testing")
}

fn publish(version: &str, rest: &str) -> Vec<String> {
    words(&format!("publish -p alpha=={version} --runtime python3.13 --name demo {rest}"))
}

/// One failure: what AWS answers, always, to requests of a kind; the exit code and words of the error.
#[track_caller]
fn fails(at: (&str, &str, &str), answer: (u16, &str, &str), code: i32, expected: &[&str]) {
    let (served, aws) = (index(), Aws::serve());
    let _ = aws.refuse(at, answer, usize::MAX);
    let args = publish("1.0", "--region eu-west-1 --share public");
    let run = cli(&served, aws.url(), "").args(args).run().failure(code);
    for words in expected {
        assert!(run.stderr.contains(words), "{words}: {run}");
    }
    assert!(run.stderr.contains("this continues"), "{run}");
}

/// Where a request is seen by the fake: its method, and a part of its path.
fn place(action: Action) -> (&'static str, &'static str) {
    match action {
        Action::ListLayerVersions => ("GET", "/versions?"),
        Action::GetLayerVersion => ("GET", "/versions/1"),
        Action::GetLayerVersionPolicy => ("GET", "/policy"),
        Action::PublishLayerVersion => ("POST", "/layers/demo/versions"),
        Action::AddLayerVersionPermission => ("POST", "/policy"),
        Action::DeleteLayerVersion => ("DELETE", "/versions/"),
        Action::ListFunctions => ("GET", "/functions/?"),
        Action::GetFunctionConfiguration => ("GET", "/configuration"),
        Action::UpdateFunctionConfiguration => ("PUT", "/configuration"),
        Action::InvokeFunction => ("POST", "/invocations"),
        Action::FilterLogEvents => ("POST", ""),
        Action::ListBucket | Action::GetObject => ("HEAD", "/zips"),
        Action::PutObject => ("POST", "/zips/"),
        Action::AbortMultipartUpload => ("DELETE", "/zips/"),
    }
}

/// What a command that comes to this request is, in an account in which `demo` has version 1 and the function `f` uses it;
/// and, where it is refused, what is done all the same (a line of stdout), or nothing.
fn commands(action: Action) -> Vec<(String, Option<&'static str>)> {
    const DONE: &str = "published  arn:aws:lambda:eu-west-1:123456789012:layer:demo:2";
    let publish =
        |rest: &str| format!("publish -p alpha==2.0 --runtime python3.13 --name demo --region eu-west-1 {rest}");
    let same = "publish -p alpha==1.0 --runtime python3.13 --name demo --region eu-west-1 --share public";
    let promote = "promote arn:aws:lambda:eu-west-1:123456789012:layer:demo:1 --to-region us-east-1";
    let one = |line: String, done| vec![(line, done)];
    match action {
        Action::ListLayerVersions => vec![(publish(""), None), (promote.to_owned(), None)],
        Action::GetLayerVersion => vec![(publish(""), None), (promote.to_owned(), None)],
        Action::GetLayerVersionPolicy => one(same.to_owned(), None),
        Action::PublishLayerVersion => vec![(publish(""), None), (promote.to_owned(), None)],
        Action::AddLayerVersionPermission => one(publish("--share public"), Some(DONE)),
        Action::DeleteLayerVersion => one(publish("--prune 1"), Some(DONE)),
        Action::ListFunctions => one(publish("--prune 1"), None),
        Action::GetFunctionConfiguration => {
            let logs = "logs f --region eu-west-1".to_owned();
            vec![
                (publish("--update-function f"), None),
                (logs, None),
                ("publish --rollback receipt.json".to_owned(), None),
            ]
        }
        Action::UpdateFunctionConfiguration => {
            vec![(publish("--update-function f"), Some(DONE)), ("publish --rollback receipt.json".to_owned(), None)]
        }
        Action::InvokeFunction => one("invoke f --remote --region eu-west-1".to_owned(), None),
        Action::FilterLogEvents => one("logs f --region eu-west-1".to_owned(), None),
        Action::PutObject => one(publish("--bucket zips --by-reference"), None),
        // Whoever may write to a bucket need not be allowed to look into it.
        Action::ListBucket | Action::GetObject | Action::AbortMultipartUpload => Vec::new(),
    }
}

/// Access denied on each single request of each command: which one, what to allow, and what is done all the same.
#[test]
fn refusals_say_what_to_allow() {
    let served = index();
    let receipt = serde_json::json!({ "version": 1, "layers": [{ "regions": [{ "region": REGION, "done": [{
        "done": "updated", "function": "f", "before": ["arn:aws:lambda:eu-west-1:123456789012:layer:demo:9"],
        "after": ["arn:aws:lambda:eu-west-1:123456789012:layer:demo:1"],
    }] }] }] });
    for action in Action::ALL {
        for (line, done) in commands(*action) {
            let aws = Aws::serve();
            let cli = cli(&served, aws.url(), "").file("receipt.json", receipt.to_string());
            let cli = cli.args(publish("1.0", "--region eu-west-1 -q"));
            let _run = cli.run().success();
            let _ = aws.function("f", &["arn:aws:lambda:eu-west-1:123456789012:layer:demo:1"], false);
            let (method, path) = place(*action);
            let denied = (403, "AccessDeniedException", "User: arn:aws:iam::1:user/me is not authorized");
            let _ = aws.refuse((method, path, ""), denied, usize::MAX);
            let run = cli.args(words(&line)).run().failure(11);
            for expected in
                [&format!("AWS does not allow {action} on "), "is not authorized", &format!("allows `{action}` on `")]
            {
                assert!(run.stderr.contains(expected), "{action}: {expected}: {run}");
            }
            let said = run.stdout.lines().filter(|line| line.contains("published  "));
            assert_eq!(said.map(str::trim).collect::<Vec<_>>(), Vec::from_iter(done), "{action}: {run}");
            let versions = 1 + usize::from(done.is_some());
            assert_eq!(aws.versions(REGION, "demo") + aws.versions("us-east-1", "demo"), versions, "{action}: {run}");
            if line.starts_with("publish -p") || line.starts_with("promote arn") && *action != Action::GetLayerVersion {
                assert!(run.stderr.contains("0 of 1 were done"), "{action}: {run}");
            }
        }
    }
    // A bucket that may only be written to will do.
    for action in [Action::ListBucket, Action::GetObject] {
        let aws = Aws::serve();
        let (method, path) = place(action);
        let _ = aws.refuse((method, path, ""), (403, "AccessDenied", "no"), usize::MAX);
        let args = publish("1.0", "--region eu-west-1 --bucket zips --by-reference");
        // The fake keeps no versions, which is found out after the upload.
        let run = cli(&served, aws.url(), "").args(args).run().failure(11);
        assert!(run.stdout.contains("uploaded   s3://zips/"), "{action}: {run}");
    }
}

/// Throttled and failing for ever, at each request: what it was, that it may be tried again, and what is done all the same.
#[test]
fn failures_that_stay_at_each_request() {
    const TEST: &str = "failures_that_stay_at_each_request";
    if std::env::var_os("LAYERWISE_SLOW_TESTS").is_none() {
        return skipped(TEST, "LAYERWISE_SLOW_TESTS is not set");
    }
    let served = index();
    for (status, code, says) in
        [(429, "TooManyRequestsException", "AWS throttles"), (500, "ServiceException", "AWS failed at")]
    {
        std::thread::scope(|scope| {
            for action in Action::ALL {
                let served = &served;
                scope.spawn(move || {
                    for (line, _) in commands(*action).into_iter().filter(|(line, _)| !line.contains("--rollback")) {
                        let aws = Aws::serve();
                        let cli = cli(served, aws.url(), "").args(publish("1.0", "--region eu-west-1 -q"));
                        let _run = cli.run().success();
                        let _ = aws.function("f", &["arn:aws:lambda:eu-west-1:123456789012:layer:demo:1"], false);
                        let (method, path) = place(*action);
                        let _ = aws.refuse((method, path, ""), (status, code, "oh"), usize::MAX);
                        let run = cli.args(words(&line)).run().failure(11);
                        assert!(run.stderr.contains(&format!("{says} {action} on ")), "{run}");
                        assert!(run.stderr.contains("try again later"), "{run}");
                    }
                });
            }
        });
    }
}

#[test]
fn a_function_in_aws_is_invoked() {
    let (served, aws) = (index(), Aws::serve());
    let _ = aws.function("f", &[], false);
    let with = |line: &str| cli(&served, aws.url(), line);
    let run = with("invoke f --remote --region eu-west-1 --payload {\"a\":1}").run().success();
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("{\"a\":1}\n", "START\nEND\n"));
    let run =
        with("invoke arn:aws:lambda:eu-west-1:123456789012:function:f --remote --payload \"fail\"").run().failure(12);
    assert_eq!(run.stdout, "\"fail\"\n");
    let run = with("logs f --region eu-west-1 --since 1d").run().success();
    assert!(run.stdout.contains("a line"), "{run}");
}

#[test]
fn credentials_that_are_not_valid() {
    let list = ("GET", "/versions", "");
    fails(list, (403, "ExpiredTokenException", "The security token is expired"), 11, &["not valid", "aws sso login"]);
    fails(list, (403, "UnrecognizedClientException", "The security token is invalid"), 11, &["not valid", "region"]);
    let (served, aws) = (index(), Aws::serve());
    let without = layerwise(&served, "").env("AWS_ENDPOINT_URL", aws.url()).env("AWS_EC2_METADATA_DISABLED", "true");
    let run = without.args(publish("1.0", "--region eu-west-1")).run().failure(11);
    assert!(run.stderr.contains("no AWS credentials for eu-west-1"), "{run}");
    assert!(aws.requests().is_empty(), "nothing is sent that is not signed");
    let run = cli(&served, aws.url(), "").args(publish("1.0", "")).run().failure(2);
    assert!(run.stderr.contains("no AWS region is named"), "{run}");
    let run = cli(&served, aws.url(), "").args(publish("1.0", "--region Ireland")).run().failure(2);
    assert!(run.stderr.contains("is not the name of an AWS region"), "{run}");
}

#[test]
fn passing_failures_pass() {
    let (served, aws) = (index(), Aws::serve());
    let versions = "/layers/demo/versions";
    let _ = aws.refuse(("GET", versions, ""), (429, "TooManyRequestsException", "slowly"), 2);
    let _ = aws.refuse(("POST", versions, ""), (429, "TooManyRequestsException", "slowly"), 1);
    let _ = aws.refuse(("POST", versions, ""), (500, "ServiceException", "oh"), 1);
    let _run = cli(&served, aws.url(), "").args(publish("1.0", "--region eu-west-1")).run().success();
    assert_eq!(aws.versions(REGION, "demo"), 1);
}

/// What was done is not seen everywhere at once: it is waited for.
#[test]
fn what_is_not_seen_yet_is_waited_for() {
    let (served, aws) = (index(), Aws::serve());
    let unseen = (404, "ResourceNotFoundException", "not yet");
    let _ = aws.refuse(("GET", "/versions/1", ""), unseen, 2);
    let _ = aws.refuse(("POST", "/policy", ""), unseen, 2);
    let run = cli(&served, aws.url(), "").args(publish("1.0", "--region eu-west-1 --share public")).run().success();
    assert!(run.stdout.contains("layer:demo:1") && run.stdout.contains("shared     with public"), "{run}");
    let seen = |method: &str, part: &str| {
        let fits = |one: &&layerwise_testkit::Request| one.method == method && one.path.contains(part);
        aws.requests().iter().filter(fits).count()
    };
    assert_eq!((seen("GET", "/versions/1"), seen("POST", "/policy"), aws.versions(REGION, "demo")), (3, 3, 1));
}

/// By reference: the object and its version, instead of the bytes.
#[test]
fn a_version_may_refer_to_the_bucket() {
    let (served, aws) = (index(), Aws::serve());
    let _ = aws.keep_versions();
    let args = publish("1.0", "--region eu-west-1 --bucket zips-{region} --prefix layers --by-reference");
    let cli = cli(&served, aws.url(), "").args(args);
    let _run = cli.run().success();
    let zip = fs_err::read(cli.project().join("dist/demo-python3.13-x86_64.zip")).unwrap();
    let is = |request: &&layerwise_testkit::Request| request.path.ends_with("/layers/demo/versions");
    let body = aws.requests().iter().find(is).map(|request| request.body.clone()).unwrap();
    let content = &serde_json::from_slice::<Value>(&body).unwrap()["Content"];
    let expected = serde_json::json!({
        "S3Bucket": "zips-eu-west-1", "S3Key": format!("layers/{}.zip", layerwise_testkit::sha256(&zip)),
        "S3ObjectVersion": "v1", "S3ObjectStorageMode": "REFERENCE",
    });
    assert_eq!(content, &expected);
    assert_eq!(aws.versions(REGION, "demo"), 1);
}

/// From one account to another: each is asked with its own credentials.
#[test]
fn promoted_to_another_account() {
    let (served, aws) = (index(), Aws::serve());
    let cli = layerwise(&served, "").env("AWS_ENDPOINT_URL", aws.url()).env("AWS_EC2_METADATA_DISABLED", "true");
    fs_err::create_dir_all(cli.home().join(".aws")).unwrap();
    let keys =
        ["stage", "live"].map(|name| format!("[{name}]\naws_access_key_id = {name}key\naws_secret_access_key = s\n"));
    fs_err::write(cli.home().join(".aws/credentials"), keys.concat()).unwrap();
    let cli = cli.args(publish("1.0", "--region eu-west-1 --profile stage --receipt receipt.json"));
    let _run = cli.run().success();
    let before = aws.requests().len();
    let line = "promote receipt.json --profile stage --to-profile live --to-region us-east-1 --name demo-live";
    let cli = cli.args(words(line));
    let _run = cli.run().success();
    for request in aws.requests().iter().skip(before) {
        let signed = request.header("authorization").unwrap_or_default();
        let whose = if request.path.contains("demo-live") { "Credential=livekey/" } else { "Credential=stagekey/" };
        // The zip's own URL is signed in itself.
        assert!(
            signed.contains(whose) || request.path.starts_with("/zips/"),
            "{} {}: {signed}",
            request.method,
            request.path
        );
    }
    assert_eq!(aws.versions("us-east-1", "demo-live"), 1);
}

/// `logs --follow`: old lines once, then new ones, until it is stopped.
#[cfg(unix)]
#[test]
fn a_log_is_followed() {
    let (served, aws) = (index(), Aws::serve());
    let _ = aws.function("f", &[], false);
    let cli = cli(&served, aws.url(), "logs f --region eu-west-1 --since 1d --follow");
    let asked = || aws.requests().iter().filter(|request| request.method == "POST").count();
    let run = cli.interrupted_when(|| asked() >= 2).failure(130);
    assert_eq!(run.stdout.matches("a line").count(), 1, "{run}");
}

#[test]
fn failures_that_stay() {
    let list = ("GET", "/versions", "");
    fails(list, (429, "TooManyRequestsException", "slowly"), 11, &["AWS throttles", "try again later"]);
    fails(list, (503, "ServiceUnavailable", "oh"), 11, &["with status 503", "try again later"]);
}

/// The version was made, and what came after it failed: it is in the receipt all the same.
#[test]
fn a_version_that_cannot_be_looked_at_is_published() {
    let (served, aws) = (index(), Aws::serve());
    let _ = aws.refuse(("GET", "/versions/1", ""), (403, "AccessDeniedException", "not you"), 1);
    let args = publish("1.0", "--region eu-west-1 --share public --receipt receipt.json");
    let cli = cli(&served, aws.url(), "").args(args);
    let run = cli.run().failure(11);
    assert!(run.stdout.contains("published  arn:aws:lambda:eu-west-1:123456789012:layer:demo:1"), "{run}");
    assert!(!run.stdout.contains("not done:  publish") && run.stdout.contains("not done:  share it"), "{run}");
    let receipt: Value = serde_json::from_slice(&fs_err::read(cli.project().join("receipt.json")).unwrap()).unwrap();
    assert_eq!(receipt["layers"][0]["regions"][0]["layer_version"], 1);
    // What it says continues, and publishes nothing again.
    let _run = cli.run().success();
    assert_eq!(aws.versions(REGION, "demo"), 1);
}

/// The version is there, but nobody told us: it is found, not published twice.
#[test]
fn a_lost_answer_is_no_second_version() {
    let (served, aws) = (index(), Aws::serve());
    let _ = aws.lose("POST", "/layers/demo/versions");
    let run = cli(&served, aws.url(), "").args(publish("1.0", "--region eu-west-1")).run().success();
    assert!(run.stdout.contains("layer:demo:1"), "{run}");
    assert_eq!(aws.versions(REGION, "demo"), 1);
}

#[test]
fn three_of_four_regions() {
    let (served, aws) = (index(), Aws::serve());
    let _ = aws.refuse(("POST", "/versions", "sa-east-1"), (403, "AccessDeniedException", "not here"), 1);
    let regions = "--region eu-west-1 --region us-east-1 --region sa-east-1 --region eu-north-1";
    let line = publish("1.0", &format!("{regions} --json --receipt receipt.json"));
    let cli = cli(&served, aws.url(), "").args(line);
    let run = cli.run().failure(11);
    let document = json(&run);
    super::cli::documented(&document);
    let regions = document["layers"][0]["regions"].as_array().unwrap();
    let ok: Vec<(&str, bool)> =
        regions.iter().map(|one| (one["region"].as_str().unwrap(), one["ok"] == true)).collect();
    assert_eq!(ok, [("eu-west-1", true), ("us-east-1", true), ("sa-east-1", false), ("eu-north-1", true)]);
    let receipt = fs_err::read_to_string(cli.project().join("receipt.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&receipt).unwrap(), document);
    let command = run.stderr.lines().last().unwrap().trim().to_owned();
    assert!(run.stderr.contains("3 of 4 were done"), "{run}");
    assert!(command.starts_with("layerwise publish -p alpha==1.0"), "{command}");
    // What it says to run does the rest, and only that.
    let run = cli.args(words(command.strip_prefix("layerwise ").unwrap())).run().success();
    assert_eq!(json(&run)["ok"], true);
    for region in ["eu-west-1", "us-east-1", "sa-east-1", "eu-north-1"] {
        assert_eq!(aws.versions(region, "demo"), 1, "{region}");
    }
}

#[test]
fn buckets_that_do_not_do() {
    let (served, aws) = (index(), Aws::serve());
    let with = |line: &str| cli(&served, aws.url(), "").args(publish("1.0", line)).run().failure(11);
    let run = with("--region us-east-1 --bucket zips --by-reference");
    assert!(run.stderr.contains("the bucket `zips` is in eu-west-1; Lambda in us-east-1"), "{run}");
    let run = with("--region eu-west-1 --bucket zips --by-reference");
    assert!(run.stderr.contains("keeps no versions"), "{run}");
    assert!(run.stdout.contains("not done:  publish a version that refers to S3"), "{run}");
    // What is there is said to be there.
    assert!(run.stdout.contains("uploaded   s3://zips/"), "{run}");
    assert_eq!(aws.versions("us-east-1", "demo") + aws.versions(REGION, "demo"), 0);
}

/// What is forced is not published again where it is done.
#[test]
fn a_forced_part_that_failed() {
    let (served, aws) = (index(), Aws::serve());
    let _ = aws.refuse(("POST", "/versions", "us-east-1"), (403, "AccessDeniedException", "not here"), 1);
    let line = publish("1.0", "--region eu-west-1 --region=us-east-1 --force");
    let cli = cli(&served, aws.url(), "").args(line);
    let run = cli.run().failure(11);
    let command = run.stderr.lines().last().unwrap().trim();
    assert!(command.ends_with("--force --region us-east-1"), "{command}");
    let _run = cli.args(words(command.strip_prefix("layerwise ").unwrap())).run().success();
    assert_eq!((aws.versions(REGION, "demo"), aws.versions("us-east-1", "demo")), (1, 1));
}

#[test]
fn a_function_that_does_not_take_it_gets_the_old_one_back() {
    let (served, aws) = (index(), Aws::serve());
    let _run = cli(&served, aws.url(), "").args(publish("1.0", "--region eu-west-1")).run().success();
    let before =
        ["arn:aws:lambda:eu-west-1:999999999999:layer:other:4", "arn:aws:lambda:eu-west-1:123456789012:layer:demo:1"];
    let _ = aws.function("f", &before, true);
    let args = publish("2.0", "--region eu-west-1 --update-function f --prune 1");
    let cli = cli(&served, aws.url(), "").args(args);
    let run = cli.run().failure(11);
    assert!(run.stderr.contains("the layers do not fit; it has its former layers again"), "{run}");
    assert!(run.stdout.contains("published  arn:aws:lambda:eu-west-1:123456789012:layer:demo:2"), "{run}");
    assert!(run.stdout.contains("not done:  update the function f"), "{run}");
    assert!(run.stdout.contains("not done:  delete arn:"), "{run}");
    assert_eq!(aws.layers_of("f"), before);
    // The next time it works, and publishes nothing.
    let _run = cli.run().success();
    assert_eq!(aws.layers_of("f"), [before[0], "arn:aws:lambda:eu-west-1:123456789012:layer:demo:2"]);
    assert_eq!(aws.numbers(REGION, "demo"), [2]);
    let _ = aws.function("g", &before[..1], false);
    let run = cli.args(publish("2.0", "--region eu-west-1 --update-function g")).run().failure(2);
    assert!(run.stderr.contains("the function `g` does not use the layer `demo`"), "{run}");
}

/// An update of a function is over when it is live, not when it is accepted.
#[test]
fn an_update_is_waited_for() {
    let (served, aws) = (index(), Aws::serve());
    let arn = |version: u32| format!("arn:aws:lambda:eu-west-1:123456789012:layer:demo:{version}");
    let cli = cli(&served, aws.url(), "").args(publish("1.0", "--region eu-west-1"));
    let _run = cli.run().success();
    let _ = aws.function("f", &[&arn(1)], false).take_looks(3);
    let cli = cli.args(publish("2.0", "--region eu-west-1 --update-function f"));
    let run = cli.run().success();
    assert!(run.stdout.contains("updated    the function f"), "{run}");
    let requests = aws.requests();
    let changed = requests.iter().position(|request| request.method == "PUT").unwrap();
    let looked = requests[changed..].iter().filter(|one| one.path.ends_with("/configuration") && one.method == "GET");
    assert_eq!((looked.count(), aws.layers_of("f")), (4, vec![arn(2)]));
}

/// One region has published, neither answers any more: at Ctrl-C both are said.
#[cfg(unix)]
#[test]
fn stopped_in_the_middle() {
    let (served, aws) = (index(), Aws::serve());
    let _ = aws.silence(("POST", "/versions", "us-east-1"));
    let line = publish("1.0", "--region eu-west-1 --region us-east-1 --share public --receipt receipt.json");
    let cli = cli(&served, aws.url(), "").args(line);
    // Sharing is the last step: neither region comes to its end.
    let _ = aws.silence(("POST", "/policy", REGION));
    let shared = || aws.requests().iter().any(|request| request.path.ends_with("/policy"));
    let run = cli.interrupted_when(|| shared() && aws.versions("us-east-1", "demo") == 1).failure(130);
    assert!(run.stdout.contains("published  arn:aws:lambda:eu-west-1:123456789012:layer:demo:1"), "{run}");
    assert!(run.stdout.contains("not done:  stopped: the step under way may or may not have been done"), "{run}");
    assert!(run.stderr.contains("0 of 2 were done"), "{run}");
    let receipt: Value = serde_json::from_slice(&fs_err::read(cli.project().join("receipt.json")).unwrap()).unwrap();
    let regions = &receipt["layers"][0]["regions"];
    assert_eq!(
        (&receipt["ok"], &regions[0]["layer_version"], &regions[1]["arn"]),
        (&false.into(), &1.into(), &Value::Null)
    );
}

/// Parts that have been sent would be paid for until somebody removes them.
#[cfg(unix)]
#[test]
fn stopped_while_uploading() {
    let (served, aws) = (index(), Aws::serve());
    let _ = aws.silence(("PUT", "/zips/", ""));
    let line = publish("1.0", "--region eu-west-1 --bucket zips --by-reference");
    let sent = |method: &str| aws.requests().iter().any(|request| request.method == method);
    let run = cli(&served, aws.url(), "").args(line).interrupted_when(|| sent("PUT")).failure(130);
    assert!(run.stderr.contains("0 of 1 were done"), "{run}");
    assert!(sent("DELETE"), "the upload is given up: {run}");
}

/// Slow without optimisation: with `LAYERWISE_SLOW_TESTS`.
#[test]
fn more_than_50_mb() {
    const TEST: &str = "more_than_50_mb";
    if std::env::var_os("LAYERWISE_SLOW_TESTS").is_none() {
        return skipped(TEST, "LAYERWISE_SLOW_TESTS is not set");
    }
    let (served, aws) = (index(), Aws::serve());
    let zip = archive_of(51 << 20);
    let with = |line: &str| {
        let line = format!("publish big.zip --name demo --runtime python3.13 {line}");
        cli(&served, aws.url(), &line).file("big.zip", &zip)
    };
    let run = with("--region eu-west-1").run().failure(2);
    assert!(run.stderr.contains("Lambda takes at most 52428800 in a request"), "{run}");
    assert!(run.stderr.contains("--bucket"), "{run}");
    let cli = with("--region eu-west-1 --bucket zips --prefix layers");
    let run = cli.run().success();
    let key = format!("zips/layers/{}.zip", layerwise_testkit::sha256(&zip));
    assert!(run.stdout.contains(&format!("uploaded   s3://{key}")), "{run}");
    assert_eq!(aws.versions(REGION, "demo"), 1);
    // The object is used again, the parts are not sent again.
    let before = aws.requests().iter().filter(|request| request.method == "PUT").count();
    let again = "publish big.zip --name other --runtime python3.13 --region eu-west-1 --bucket zips --prefix layers";
    let run = cli.args(words(again)).run().success();
    assert!(run.stdout.contains(&format!("was there already: s3://{key}")), "{run}");
    assert_eq!(aws.requests().iter().filter(|request| request.method == "PUT").count(), before);
}

/// A layer's zip of about this size.
fn archive_of(bytes: usize) -> Vec<u8> {
    let package = super::noise(bytes);
    RawZip::new().member(Member::new("python/data.bin", &package).stored()).bytes()
}

#[test]
fn what_cannot_be_meant() {
    let (served, aws) = (index(), Aws::serve());
    for (rest, expected) in [
        ("--layer-name a.b", "makes no layer names"),
        ("--share everybody", "is neither an account"),
        ("--runtime python3.12", "would be published twice"),
        ("--by-reference", "needs a bucket"),
    ] {
        let line = publish("1.0", &format!("--region eu-west-1 {rest}"));
        let run = cli(&served, aws.url(), "").args(line).run().failure(2);
        assert!(run.stderr.contains(expected), "{rest}: {run}");
    }
    assert!(aws.requests().is_empty());
}

/// The whole way, against moto.
#[test]
fn the_life_of_a_layer() {
    const TEST: &str = "the_life_of_a_layer";
    if std::env::var_os("LAYERWISE_SLOW_TESTS").is_none() {
        return skipped(TEST, "LAYERWISE_SLOW_TESTS is not set");
    }
    let (served, moto) = (index(), moto());
    let cli = cli(&served, moto.url(), "").env("AWS_REGION", REGION);
    let versions = |layer: &str| {
        let found = moto.aws(&["lambda", "list-layer-versions", "--region", REGION, "--layer-name", layer]);
        let all = found["LayerVersions"].as_array().unwrap().iter().map(|one| one["Version"].as_u64().unwrap());
        all.collect::<Vec<_>>()
    };
    let cli = cli.args(publish("1.0", "--license MIT --share 111122223333 -q"));
    for _ in 0..2 {
        let _run = cli.run().success();
        assert_eq!(versions("demo"), [1], "the same bytes are published once");
    }
    let found =
        moto.aws(&["lambda", "get-layer-version", "--region", REGION, "--layer-name", "demo", "--version-number", "1"]);
    assert_eq!((&found["LicenseInfo"], &found["CompatibleRuntimes"][0]), (&"MIT".into(), &"python3.13".into()));
    let zip = cli.project().join("dist/demo-python3.13-x86_64.zip");
    assert_eq!(moto.get(found["Content"]["Location"].as_str().unwrap()), fs_err::read(&zip).unwrap());
    let policy = moto.aws(&[
        "lambda",
        "get-layer-version-policy",
        "--region",
        REGION,
        "--layer-name",
        "demo",
        "--version-number",
        "1",
    ]);
    assert!(policy["Policy"].as_str().unwrap().contains("111122223333"), "{policy}");

    // A function with our layer, and another that is none of our business.
    let role = moto.aws(&[
        "iam",
        "create-role",
        "--region",
        "us-east-1",
        "--role-name",
        "r",
        "--assume-role-policy-document",
        "{}",
    ]);
    let cli = cli.args(words("publish -p alpha==1.0 --runtime python3.13 --name other -q"));
    let _run = cli.run().success();
    let arn = |name: &str, version: u32| format!("arn:aws:lambda:{REGION}:123456789012:layer:{name}:{version}");
    let code = format!("fileb://{}", zip.display());
    let role = role["Role"]["Arn"].as_str().unwrap();
    let _created = moto.aws(&[
        "lambda",
        "create-function",
        "--region",
        REGION,
        "--function-name",
        "f",
        "--runtime",
        "python3.13",
        "--role",
        role,
        "--handler",
        "index.handler",
        "--zip-file",
        &code,
        "--layers",
        &arn("other", 1),
        &arn("demo", 1),
    ]);
    let layers = || {
        let found = moto.aws(&["lambda", "get-function-configuration", "--region", REGION, "--function-name", "f"]);
        let all = found["Layers"].as_array().unwrap().iter().map(|layer| layer["Arn"].as_str().unwrap().to_owned());
        all.collect::<Vec<_>>()
    };
    let cli = cli.args(publish("2.0", "--update-function f --prune 1 --receipt receipt.json"));
    let run = cli.run().success();
    assert!(run.stdout.contains("demo:1: used by f:$LATEST"), "{run}");
    assert_eq!(layers(), [arn("other", 1), arn("demo", 2)]);
    let cli = cli.args(words("publish --rollback receipt.json"));
    let _run = cli.run().success();
    assert_eq!(layers(), [arn("other", 1), arn("demo", 1)]);

    let cli = cli.args(words("promote receipt.json --to-region us-east-1 --name demo-stable -q"));
    let _run = cli.run().success();
    let promoted = moto.aws(&[
        "lambda",
        "get-layer-version",
        "--region",
        "us-east-1",
        "--layer-name",
        "demo-stable",
        "--version-number",
        "1",
    ]);
    let built = fs_err::read(&zip).unwrap();
    assert_eq!(moto.get(promoted["Content"]["Location"].as_str().unwrap()), built);
    assert!(archive::names(&zip).iter().any(|name| name == "python/alpha.py"));

    let cli = cli.args(publish("1.0", "--prune 1 -q"));
    let _run = cli.run().success();
    assert_eq!(versions("demo"), [3, 1], "the second is gone, the first is used");
}
