//! The network, the cache and the disk at their worst.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use layerwise_testkit::{Cli, Fault, Index, Run, Served, uv, wheel};

use super::{BUILD, LOCK, demo, files_below, json, layerwise, left_in, sha256_of, words};

/// The sha256 of [`BUILD`]'s zip where nothing goes wrong.
fn right() -> &'static str {
    static RIGHT: OnceLock<String> = OnceLock::new();
    RIGHT.get_or_init(|| sha256_of(&layerwise(&demo().serve(), BUILD).run().success()))
}

/// `index` with a lock for what [`BUILD`] builds, and nothing in the cache but pages and metadata.
#[track_caller]
fn locked(index: Index) -> (Served, Cli) {
    let served = index.serve();
    let cli = layerwise(&served, LOCK);
    let _locked = cli.run().success();
    served.forget_requests();
    (served, cli.args(words(BUILD)))
}

/// The build gets the right bytes in spite of a fault of the index's pages and metadata.
#[track_caller]
fn resolves_in_spite_of(rule: layerwise_testkit::FaultRule) {
    let served = demo().fault(rule).serve();
    let run = layerwise(&served, BUILD).env("UV_HTTP_TIMEOUT", "1").run().success();
    assert_eq!(sha256_of(&run), right());
}

/// The build gets the right bytes in spite of faults of the wheel's server. Returns the statuses of all answers
/// for the wheel, those for ranges as `206 from N`.
#[track_caller]
fn fetches_in_spite_of(rules: Vec<layerwise_testkit::FaultRule>) -> Vec<String> {
    let (served, cli) = locked(demo());
    for rule in rules {
        served.fault(rule.on("/files/alpha"));
    }
    let run = cli.env("UV_HTTP_TIMEOUT", "1").run().success();
    assert_eq!(sha256_of(&run), right());
    let of_wheel = served.requests().into_iter().filter(|request| request.path.contains("/files/alpha"));
    let told = of_wheel.map(|request| match request.header("range") {
        Some(range) => format!("{} for {range}", request.status),
        None => request.status.to_string(),
    });
    told.collect()
}

/// What is said when the wheel cannot be had; nothing may be left of it.
#[track_caller]
fn fails_on(fault: Fault) -> String {
    let (served, cli) = locked(demo());
    served.fault(fault.on("/files/alpha"));
    let cli = cli.env("UV_HTTP_TIMEOUT", "1");
    let run = cli.run();
    assert_eq!(left_in(&cli), [LOCK_FILE], "{run}");
    let wheels = files_below(&cli.cache().join("wheels-v1"));
    assert!(wheels.iter().all(|file| !file.contains("tmp")), "{wheels:?}");
    served.heal();
    assert_eq!(sha256_of(&cli.run().success()), right(), "nothing wrong was kept");
    run.text()
}

const LOCK_FILE: &str = "pylock.demo-python313-x86_64.toml";

#[test]
fn transient_failures_of_pages_and_metadata() {
    for path in ["/simple/alpha/", ".metadata"] {
        resolves_in_spite_of(Fault::Status(500).times(2).on(path));
        resolves_in_spite_of(Fault::Status(503).times(1).on(path));
        resolves_in_spite_of(Fault::TooManyRequests { retry_after: 1 }.times(1).on(path));
        resolves_in_spite_of(Fault::Reset.times(2).on(path));
        resolves_in_spite_of(Fault::CutBody { after_bytes: 20 }.times(1).on(path));
        resolves_in_spite_of(Fault::Stall { after_bytes: 20 }.times(1).on(path));
    }
}

#[test]
fn transient_failures_of_a_wheels_server() {
    assert_eq!(fetches_in_spite_of(vec![]), ["200"]);
    assert_eq!(fetches_in_spite_of(vec![Fault::Status(500).times(2)]), ["500", "500", "200"]);
    assert_eq!(fetches_in_spite_of(vec![Fault::TooManyRequests { retry_after: 1 }.times(1)]), ["429", "200"]);
    assert_eq!(fetches_in_spite_of(vec![Fault::Reset.times(2)]).last().unwrap(), "200");
}

#[test]
fn a_body_cut_short_is_resumed() {
    let told = fetches_in_spite_of(vec![Fault::CutBody { after_bytes: 10_000 }.times(2)]);
    assert_eq!(told, ["200", "206 for bytes=10000-", "206 for bytes=20000-"]);
    let told = fetches_in_spite_of(vec![Fault::CutBody { after_bytes: 10_000 }.times(1), Fault::NoRange.into()]);
    assert_eq!(told, ["200", "200 for bytes=10000-"]);
}

#[test]
fn a_server_that_falls_silent_is_asked_again() {
    let told = fetches_in_spite_of(vec![Fault::Stall { after_bytes: 5_000 }.times(1)]);
    assert_eq!(told, ["200", "206 for bytes=5000-"]);
}

#[test]
fn a_resumed_body_that_does_not_fit_is_read_again_from_the_start() {
    let told = fetches_in_spite_of(vec![Fault::CutBody { after_bytes: 10_000 }.times(1), Fault::WrongBytes.times(1)]);
    assert_eq!(told, ["200", "206 for bytes=10000-", "200"]);
}

#[test]
fn a_server_that_stays_down() {
    insta::assert_snapshot!(fails_on(Fault::Status(500)), @r###"
        exit: 5
        ----- stdout -----

        ----- stderr -----
        error: failed to download `alpha-1.0-cp313-cp313-manylinux_2_17_x86_64.whl`
          caused by: http://127.0.0.1:[PORT]/files/alpha-1.0-cp313-cp313-manylinux_2_17_x86_64.whl answered 500
        hint: the server is having trouble: try again later
    "###);
    insta::assert_snapshot!(fails_on(Fault::Status(404)), @r###"
        exit: 5
        ----- stdout -----

        ----- stderr -----
        error: failed to download `alpha-1.0-cp313-cp313-manylinux_2_17_x86_64.whl`
          caused by: http://127.0.0.1:[PORT]/files/alpha-1.0-cp313-cp313-manylinux_2_17_x86_64.whl answered 404
        hint: it is gone from there: run `layerwise lock` again, or check the URL
    "###);
    insta::assert_snapshot!(fails_on(Fault::CutBody { after_bytes: 0 }), @r###"
        exit: 5
        ----- stdout -----

        ----- stderr -----
        error: failed to download `alpha-1.0-cp313-cp313-manylinux_2_17_x86_64.whl`
          caused by: failed to read http://127.0.0.1:[PORT]/files/alpha-1.0-cp313-cp313-manylinux_2_17_x86_64.whl
          caused by: error reading a body from connection
          caused by: end of file before message length reached
        hint: check the network and the index URL; behind a proxy, set HTTPS_PROXY
    "###);
}

#[test]
fn a_server_that_stays_silent() {
    insta::assert_snapshot!(fails_on(Fault::Stall { after_bytes: 0 }), @r###"
        exit: 5
        ----- stdout -----

        ----- stderr -----
        error: failed to download `alpha-1.0-cp313-cp313-manylinux_2_17_x86_64.whl`
          caused by: failed to read http://127.0.0.1:[PORT]/files/alpha-1.0-cp313-cp313-manylinux_2_17_x86_64.whl
          caused by: request or response body error
          caused by: operation timed out
        hint: check the network and the index URL; behind a proxy, set HTTPS_PROXY
    "###);
}

#[test]
fn other_bytes_than_promised() {
    let got = |text: String| {
        // The digests are those of wheels made by the kit: their lengths matter, not their digits.
        let digits = |word: &str| word.len() >= 64 && word[..64].chars().all(|c| c.is_ascii_hexdigit());
        let word = |word: &str| if digits(word) { format!("[SHA256]{}", &word[64..]) } else { word.to_owned() };
        text.split(' ').map(word).collect::<Vec<_>>().join(" ")
    };
    insta::assert_snapshot!(got(fails_on(Fault::WrongBytes)), @r###"
        exit: 6
        ----- stdout -----

        ----- stderr -----
        error: `alpha-1.0-cp313-cp313-manylinux_2_17_x86_64.whl` from http://127.0.0.1:[PORT]/files/alpha-1.0-cp313-cp313-manylinux_2_17_x86_64.whl is not the file that was promised: expected sha256 [SHA256], got [SHA256]
        hint: the file changed since it was locked, or was tampered with: compare with the index, then lock again
    "###);
    insta::assert_snapshot!(got(fails_on(Fault::Html)), @r###"
        exit: 6
        ----- stdout -----

        ----- stderr -----
        error: `alpha-1.0-cp313-cp313-manylinux_2_17_x86_64.whl` from http://127.0.0.1:[PORT]/files/alpha-1.0-cp313-cp313-manylinux_2_17_x86_64.whl is not the file that was promised: expected sha256 [SHA256], got [SHA256] (a web page)
        hint: the server sent a page instead of the file: is a login needed?
    "###);
}

#[test]
fn a_digest_that_the_index_has_wrong() {
    let index = Index::new().wheel(wheel("alpha", "1.0").file("alpha.py", "").build()).wrong_hash();
    let served = index.serve();
    let run = layerwise(&served, BUILD).run().failure(6);
    assert!(run.stderr.contains("expected sha256 ") && run.stderr.contains(", got "), "{run}");
    assert!(run.stderr.contains(&served.file_url("alpha-1.0-py3-none-any.whl")), "{run}");
}

#[test]
fn an_index_that_stays_down() {
    let failed = |rule: Fault| {
        let served = demo().fault(rule.on("/simple/")).serve();
        let cli = layerwise(&served, BUILD).env("UV_HTTP_TIMEOUT", "1");
        let text = cli.run().text();
        assert!(left_in(&cli).is_empty());
        text
    };
    insta::assert_snapshot!(failed(Fault::Status(500)), @r###"
        exit: 5
        ----- stdout -----

        ----- stderr -----
        error: failed to read the page of `alpha` from the index http://127.0.0.1:[PORT]/simple/
          caused by: http://127.0.0.1:[PORT]/simple/alpha/ answered 500
        hint: the server is having trouble: try again later
    "###);
    insta::assert_snapshot!(failed(Fault::Html), @r###"
        exit: 5
        ----- stdout -----

        ----- stderr -----
        error: failed to understand the page of `alpha` from the index http://127.0.0.1:[PORT]/simple/
          caused by: the index answered with a web page without package links, not with a package page
        hint: check that the index URL is that of a simple index (it often ends in `/simple/`)
    "###);
    insta::assert_snapshot!(failed(Fault::RedirectLoop), @r###"
        exit: 5
        ----- stdout -----

        ----- stderr -----
        error: failed to read the page of `alpha` from the index http://127.0.0.1:[PORT]/simple/
          caused by: failed to read http://127.0.0.1:[PORT]/simple/alpha/
          caused by: error following redirect
          caused by: too many redirects
        hint: check the network and the index URL; behind a proxy, set HTTPS_PROXY
    "###);
}

#[test]
fn nobody_listens() {
    let cli = {
        let served = demo().serve();
        layerwise(&served, BUILD)
    };
    let run = cli.run().failure(5);
    assert!(
        run.stderr.starts_with("error: failed to read the page of `alpha` from the index http://127.0.0.1:"),
        "{run}"
    );
    assert!(run.stderr.to_lowercase().contains("connection refused"), "{run}");
    assert!(
        run.stderr.ends_with("hint: check the network and the index URL; behind a proxy, set HTTPS_PROXY\n"),
        "{run}"
    );
}

#[test]
fn a_login_page_instead_of_metadata_is_not_kept() {
    let served = demo().fault(Fault::Html.on("alpha*.metadata")).serve();
    let cli = layerwise(&served, BUILD);
    let _run = cli.run();
    served.heal();
    assert_eq!(sha256_of(&cli.run().success()), right());
}

#[test]
fn metadata_that_was_promised_and_is_not_there_is_read_from_the_wheel() {
    resolves_in_spite_of(Fault::Status(404).on(".metadata"));
}

const PASSWORD: &str = "s3cr3t-and-more";

fn private() -> Index {
    demo().requires_auth("me", PASSWORD)
}

/// No form of the password stands anywhere: outputs, project, cache, temporary files, uv's arguments.
#[track_caller]
fn no_secret(cli: &Cli, runs: &[&Run], arguments: &str) {
    let base64 = "bWU6czNjcjN0LWFuZC1tb3Jl"; // me:s3cr3t-and-more
    let clean = |what: &str, text: &str| {
        assert!(!text.contains(PASSWORD) && !text.contains(base64), "the password is in {what}: {text}");
    };
    for run in runs {
        clean("stdout", &run.stdout);
        clean("stderr", &run.stderr);
    }
    clean("uv's arguments", arguments);
    let root = cli.project().parent().expect("below the kit's root").to_owned();
    for file in files_below(&root) {
        if file != "home/.netrc" && !file.starts_with("bin/") {
            let bytes = fs_err::read(root.join(&file)).unwrap();
            clean(&file, &String::from_utf8_lossy(&bytes));
        }
    }
}

/// A uv that notes how it was called.
fn noting_uv(cli: Cli) -> (Cli, PathBuf) {
    let log = cli.home().join("arguments");
    let script = format!("#!/bin/sh\necho \"$@\" >> '{}'\nexec '{}' \"$@\"\n", log.display(), uv().display());
    let program = cli.home().join("noting-uv");
    fs_err::write(&program, script).unwrap();
    #[cfg(unix)]
    fs_err::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    (cli.env("LAYERWISE_UV", program), log)
}

#[test]
fn credentials_are_missing() {
    let served = private().serve();
    insta::assert_snapshot!(layerwise(&served, BUILD).run().text(), @r###"
        exit: 5
        ----- stdout -----

        ----- stderr -----
        error: failed to read the page of `alpha` from the index http://127.0.0.1:[PORT]/simple/
          caused by: http://127.0.0.1:[PORT]/simple/alpha/ answered 401
        hint: give credentials in the index URL, in ~/.netrc, in UV_INDEX_<NAME>_USERNAME and _PASSWORD, or by keyring
    "###);
}

#[test]
#[cfg(unix)]
fn credentials_in_the_index_url() {
    for index in [private(), private().html_only().relative_urls(), private().core_metadata(false).without_hashes()] {
        let served = index.serve();
        let url = served.url_with("me", PASSWORD);
        let (cli, log) = noting_uv(layerwise(&served, &format!("{LOCK} -v --default-index {url}")));
        let lock = cli.run().success();
        let cli = cli.args(words(&format!("{BUILD} -v --default-index {url}")));
        let build = cli.run().success();
        let cli = cli.args(words(&format!("{BUILD} --json --default-index {url}")));
        assert_eq!(json(&cli.run())["layers"][0]["lock"], "locked");
        assert_eq!(sha256_of(&build), right());
        let arguments = fs_err::read_to_string(log).unwrap();
        assert!(arguments.contains("pip compile"), "{arguments}");
        assert!(!arguments.contains("http"), "nor the view's address: {arguments}");
        no_secret(&cli, &[&lock, &build], &arguments);
    }
}

#[test]
fn credentials_in_netrc() {
    let served = private().serve();
    let cli = layerwise(&served, &format!("{BUILD} -v"));
    let netrc = format!("machine other login you password no\nmachine 127.0.0.1\nlogin me\npassword {PASSWORD}\n");
    fs_err::write(cli.home().join(".netrc"), netrc).unwrap();
    let run = cli.run().success();
    assert_eq!(sha256_of(&run), right());
    no_secret(&cli, &[&run], "");
}

#[test]
fn credentials_in_variables_and_in_the_files_of_uv_and_pip() {
    let served = private().serve();
    let url = served.url_with("me", PASSWORD);
    let project = |line: &str| layerwise(&served, line).env("UV_DEFAULT_INDEX", "").file("requirements.txt", "alpha\n");
    let line = "build --runtime python3.13 --name demo -o demo.zip -v";
    let uv_toml = format!("[[index]]\nurl = \"{url}\"\ndefault = true\n");
    let named = format!("[[index]]\nname = \"corp\"\nurl = \"{}\"\ndefault = true\n", served.url());
    for cli in [
        project(line).env("UV_DEFAULT_INDEX", &url),
        project(line).env("PIP_INDEX_URL", &url),
        project(line).file("uv.toml", uv_toml),
        project(line)
            .file("uv.toml", named)
            .env("UV_INDEX_CORP_USERNAME", "me")
            .env("UV_INDEX_CORP_PASSWORD", PASSWORD),
        project(line).file("requirements.txt", "--index-url ${INDEX}\nalpha\n").env("INDEX", &url),
        project(line).file("pip.conf", format!("[global]\nindex-url = {url}\n")).env("PIP_CONFIG_FILE", "pip.conf"),
    ] {
        let run = cli.run().success();
        assert_eq!(sha256_of(&run), right());
        let lock = cli.args(words("lock --runtime python3.13 --name demo -v"));
        let locked = lock.run().success();
        for file in ["uv.toml", "pip.conf"] {
            fs_err::remove_file(lock.project().join(file)).ok();
        }
        no_secret(&lock, &[&run, &locked], "");
    }
}

#[test]
fn wrong_credentials_are_not_shown() {
    let served = demo().requires_auth("me", "another").serve();
    let cli = layerwise(&served, &format!("{BUILD} -v --json --default-index {}", served.url_with("me", PASSWORD)));
    let run = cli.run().failure(5);
    assert!(run.stderr.contains("401"), "{run}");
    no_secret(&cli, &[&run], "");
}

#[test]
fn credentials_go_to_their_own_server_only() {
    for index in [private().files_on_other_host(), private().fault(Fault::Redirect.on("/files/"))] {
        let served = index.serve();
        let line = format!("{BUILD} --default-index {}", served.url_with("me", PASSWORD));
        assert_eq!(sha256_of(&layerwise(&served, &line).run().success()), right());
        let (mut with, mut elsewhere) = (0, 0);
        for request in served.requests() {
            with += usize::from(request.header("authorization").is_some());
            elsewhere += usize::from(request.other_host);
            assert!(!request.other_host || request.header("authorization").is_none(), "{request:?}");
        }
        assert!(with > 0 && elsewhere > 0);
    }
}

#[test]
fn offline_with_everything_cached() {
    let served = demo().serve();
    let cli = layerwise(&served, BUILD);
    let _warm = cli.run().success();
    fs_err::remove_file(cli.project().join("demo.zip")).unwrap();
    served.forget_requests();
    let cli = cli.args(words(&format!("{BUILD} --offline")));
    assert_eq!(sha256_of(&cli.run().success()), right(), "without a lock");
    let cli = cli.args(words(&format!("{LOCK} --offline")));
    let _locked = cli.run().success();
    let cli = cli.args(words(&format!("{BUILD} --offline")));
    assert_eq!(sha256_of(&cli.run().success()), right(), "with a lock");
    let cli = cli.args(words(BUILD)).env("LAYERWISE_OFFLINE", "1");
    assert_eq!(sha256_of(&cli.run().success()), right(), "by the variable");
    assert!(served.requests().is_empty());
}

#[test]
fn offline_with_an_empty_cache() {
    let served = demo().serve();
    let run = layerwise(&served, &format!("{BUILD} --offline")).run();
    assert!(served.requests().is_empty());
    insta::assert_snapshot!(run.text(), @r###"
        exit: 5
        ----- stdout -----

        ----- stderr -----
        error: failed to read the page of `alpha` from the index http://127.0.0.1:[PORT]/simple/
          caused by: http://127.0.0.1:[PORT]/simple/alpha/ is not in the cache, and the network may not be used (offline)
        hint: run once without `--offline`
    "###);
    let (served, cli) = locked(demo());
    let run = cli.args(words(&format!("{BUILD} --offline"))).run().failure(5);
    assert!(served.requests().is_empty());
    assert!(run.stderr.contains(".whl is not in the cache, and the network may not be used (offline)"), "{run}");
}

/// A damaged cache gives the right bytes all the same.
#[track_caller]
fn heals(what: &str, damage: impl Fn(&mut Vec<u8>)) {
    let (served, cli) = locked(demo());
    let _warm = cli.run().success();
    let dir = cli.cache().join("wheels-v1");
    for file in files_below(&dir).iter().filter(|file| file.ends_with(what)) {
        let mut bytes = fs_err::read(dir.join(file)).unwrap();
        damage(&mut bytes);
        fs_err::write(dir.join(file), bytes).unwrap();
    }
    served.forget_requests();
    assert_eq!(sha256_of(&cli.run().success()), right());
    super::archive::read(&cli.project().join("demo.zip"));
    served.forget_requests();
    assert_eq!(sha256_of(&cli.run().success()), right(), "and again");
    assert!(served.requests().is_empty(), "the cache is whole again");
}

#[test]
fn a_cached_wheel_that_rots() {
    for place in 0..8 {
        heals(".whl", |bytes| {
            let at = 40 + place * (bytes.len() - 41) / 8;
            bytes[at] ^= 4;
        });
    }
}

#[test]
fn a_cached_wheel_that_is_cut_off() {
    heals(".whl", |bytes| bytes.truncate(bytes.len() / 2));
    heals(".whl", Vec::clear);
    heals(".whl", |bytes| bytes.extend_from_slice(b"more"));
}

#[test]
fn a_cached_index_that_rots() {
    for place in 0..6 {
        heals(".index", |bytes| {
            let at = place * (bytes.len() - 1) / 5;
            bytes[at] ^= 1;
        });
    }
    heals(".index", |bytes| bytes.truncate(bytes.len() / 2));
    heals(".index", Vec::clear);
    heals(".index", |bytes| bytes.fill(0xff));
}

#[test]
fn a_rotten_wheel_is_told_and_fetched_again() {
    let (served, cli) = locked(demo());
    let _warm = cli.run().success();
    let dir = cli.cache().join("wheels-v1");
    for file in files_below(&dir).iter().filter(|file| file.ends_with(".whl")) {
        let mut bytes = fs_err::read(dir.join(file)).unwrap();
        let content = 30 + usize::from(bytes[26]);
        bytes[content + 2] ^= 1;
        fs_err::write(dir.join(file), bytes).unwrap();
    }
    served.forget_requests();
    let run = cli.run().success();
    assert!(run.stderr.contains("in the cache is corrupt: getting it again"), "{run}");
    assert_eq!(served.count("/files/"), 2, "both wheels");
    assert_eq!(sha256_of(&run), right());
}

#[test]
fn a_cache_that_is_no_directory() {
    let served = demo().serve();
    let cli = layerwise(&served, BUILD).file("file", "");
    let place = cli.project().join("file");
    let cli = cli.env("LAYERWISE_CACHE_DIR", &place);
    insta::assert_snapshot!(cli.run().text(), @r###"
        exit: 8
        ----- stdout -----

        ----- stderr -----
        error: failed to write to the cache at `[DIR]/file/wheels-v1`
          caused by: failed to create directory `[DIR]/file/wheels-v1`: Not a directory (os error 20)
        hint: set LAYERWISE_CACHE_DIR or `--cache-dir` to a directory you can write to
    "###);
}

#[test]
fn a_bucket_that_is_no_directory() {
    let served = demo().serve();
    let cli = layerwise(&served, BUILD);
    fs_err::create_dir_all(cli.cache()).unwrap();
    fs_err::write(cli.cache().join("wheels-v1"), "").unwrap();
    let run = cli.run().failure(8);
    assert!(run.stderr.contains("hint: set LAYERWISE_CACHE_DIR"), "{run}");
}

#[test]
fn an_output_that_cannot_be_written() {
    let served = demo().serve();
    let cli = layerwise(&served, BUILD).file("file", "");
    let line = BUILD.replace("demo.zip", "file/demo.zip");
    let run = cli.args(words(&line)).run();
    insta::assert_snapshot!(run.text(), @r###"
        exit: 8
        ----- stdout -----

        ----- stderr -----
        error: failed to write `[DIR]/file/demo.zip`
          caused by: failed to create directory `[DIR]/file`: File exists (os error 17)
        hint: name another place with `--output`
    "###);
}

#[test]
fn a_slow_server_is_waited_for() {
    let (served, cli) = locked(demo());
    served.fault(Fault::Slow { bytes_per_second: 40_000 }.on("/files/alpha"));
    let run = cli.env("UV_HTTP_TIMEOUT", "1").timeout(Duration::from_secs(60)).run().success();
    assert_eq!(sha256_of(&run), right(), "longer than the timeout, but never silent");
}
