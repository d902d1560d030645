//! The kit's own proof: a real uv takes the index for a real one, and each fault is what it says.

#![expect(clippy::unwrap_used, reason = "a test's helpers are tests too")]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use layerwise_testkit::{Fault, Index, Member, Served, sdist, uv, wheel};

/// Sends one request and reads until the server closes.
fn ask(served: &Served, method: &str, path: &str, headers: &str) -> std::io::Result<(String, Vec<u8>)> {
    ask_host(served.host(), method, path, headers)
}

fn ask_host(host: &str, method: &str, path: &str, headers: &str) -> std::io::Result<(String, Vec<u8>)> {
    let mut stream = TcpStream::connect(host.trim_start_matches("http://"))?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    stream.write_all(format!("{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    Ok((head, answer[end + 4..].to_vec()))
}

fn get(served: &Served, path: &str) -> (String, Vec<u8>) {
    ask(served, "GET", path, "").unwrap()
}

fn demo() -> Index {
    let main = wheel("Demo.Main", "1.0")
        .tags("py3-none-any")
        .file("demo_main/__init__.py", "import demo_part\n")
        .entry_point("console", "demo = demo_main:main")
        .data("scripts/demo-script", "#!python\nprint('hi')\n")
        .member(Member::new("demo_main/streamed.txt", "streamed".repeat(100)).streamed())
        .requires("demo-part>=1")
        .requires_python(">=3.8")
        .build();
    Index::new()
        .wheel(main)
        .wheel(wheel("demo-part", "1.0").file("demo_part.py", "old = True\n").build())
        .wheel(wheel("demo-part", "1.1").file("demo_part.py", "old = False\n").build())
        .wheel(wheel("demo-part", "2.0").file("demo_part.py", "broken\n").build())
        .listing_only("demo_part-3.0-cp27-cp27m-win32.whl")
        .sdist(sdist("demo-source", "0.1").file("src/demo_source.py", "x = 1\n").build())
        .yanked("demo-part", "2.0")
}

/// Installs with the real uv; returns the names in the target directory, or uv's words.
fn install(url: &str, arguments: &[&str]) -> Result<Vec<String>, String> {
    let target = tempfile::tempdir().unwrap();
    let output = Command::new(uv())
        .args(["pip", "install", "--no-cache", "--no-config", "--no-progress", "--target"])
        .arg(target.path().join("site"))
        .args(["--python-version", "3.11", "--default-index", url])
        .args(arguments)
        .env_remove("UV_INDEX_URL")
        .env_remove("UV_DEFAULT_INDEX")
        .env_remove("UV_EXTRA_INDEX_URL")
        .env_remove("UV_INDEX")
        .env("UV_HTTP_TIMEOUT", "5")
        .output()
        .unwrap();
    if !output.status.success() {
        return Err(String::from_utf8(output.stderr).unwrap());
    }
    let mut names: Vec<String> = fs_err::read_dir(target.path().join("site"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    Ok(names)
}

const INSTALLED: [&str; 5] = ["bin", "demo_main", "demo_main-1.0.dist-info", "demo_part-1.1.dist-info", "demo_part.py"];

#[test]
fn uv_installs_from_every_kind_of_index() {
    let check = |index: Index| {
        let served = index.serve();
        assert_eq!(install(&served.url(), &["demo-main"]).unwrap(), INSTALLED);
    };
    check(demo());
    check(demo().html_only());
    check(demo().relative_urls());
    check(demo().html_only().relative_urls().core_metadata(false));
    check(demo().without_hashes());
    check(demo().files_on_other_host());
}

#[test]
fn uv_finds_links() {
    let served = demo().serve();
    let links = served.links_url();
    assert_eq!(
        install("http://127.0.0.1:1/", &["--no-index", "--find-links", &links, "demo-main", "demo-part<2"]).unwrap(),
        INSTALLED
    );
}

#[test]
fn uv_builds_the_sdist() {
    let served = demo().serve();
    let found = install(&served.url(), &["demo-source"]).unwrap();
    assert_eq!(found, ["demo_source-0.1.dist-info", "demo_source.py"]);
}

#[test]
fn uv_refuses_a_wrong_hash() {
    let served = Index::new().wheel(wheel("a", "1").file("a.py", "").build()).wrong_hash().serve();
    let error = install(&served.url(), &["a"]).unwrap_err();
    assert!(error.contains("Hash mismatch"), "{error}");
}

#[test]
fn credentials_open_the_index_and_stay_on_its_host() {
    let served = demo().requires_auth("me", "secret").files_on_other_host().serve();
    let error = install(&served.url(), &["demo-main"]).unwrap_err();
    assert!(error.contains("401"), "{error}");
    served.forget_requests();
    assert_eq!(install(&served.url_with("me", "secret"), &["demo-main"]).unwrap(), INSTALLED);
    let (other, own): (Vec<_>, Vec<_>) = served.requests().into_iter().partition(|request| request.other_host);
    assert!(own.iter().any(|request| request.header("authorization").is_some()));
    assert!(!other.is_empty());
    assert!(other.iter().all(|request| request.header("authorization").is_none()));
}

#[test]
fn pages() {
    let served = demo().serve();
    let json = "Accept: application/vnd.pypi.simple.v1+json\r\n";
    let (head, body) = ask(&served, "GET", "/simple/demo-part/", json).unwrap();
    assert!(head.contains("Content-Type: application/vnd.pypi.simple.v1+json"), "{head}");
    let page: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(page["versions"], serde_json::json!(["1.0", "1.1", "2.0", "3.0"]));
    assert_eq!(page["files"][2]["yanked"], "broken");
    assert_eq!(page["files"][1]["yanked"], false);
    let url = page["files"][1]["url"].as_str().unwrap();
    assert_eq!(url, served.file_url("demo_part-1.1-py3-none-any.whl"));
    let (_, file) = get(&served, url.strip_prefix(served.host()).unwrap());
    assert_eq!(page["files"][1]["hashes"]["sha256"], layerwise_testkit::sha256(&file));
    assert_eq!(page["files"][1]["size"], file.len());

    let (head, _) = get(&served, "/simple/demo-part/");
    assert!(head.contains("Content-Type: text/html"), "{head}");
    let check = |path: &str, status: &str| {
        let (head, _) = get(&served, path);
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {head}");
    };
    check("/simple/Demo_Part/", "301");
    check("/simple/demo-part", "301");
    check("/simple/unknown/", "404");
    check("/files/demo_part-3.0-cp27-cp27m-win32.whl", "404");
    check("/files/demo_part-3.0-cp27-cp27m-win32.whl.metadata", "200");
    assert_eq!(served.count("unknown"), 1);
    assert_eq!(served.requests().iter().filter(|request| request.status == 301).count(), 2);
}

#[test]
fn ranges_and_validators() {
    let served = Index::new().wheel(wheel("a", "1").file("a.py", "a".repeat(5000)).build()).serve();
    let path = "/files/a-1-py3-none-any.whl";
    let (head, whole) = get(&served, path);
    let etag = head.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap().to_owned();
    let check = |headers: &str, status: &str, body: &[u8]| {
        let (head, found) = ask(&served, "GET", path, headers).unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{headers}: {head}");
        assert_eq!(found, body, "{headers}");
    };
    check("Range: bytes=10-19\r\n", "206", &whole[10..20]);
    check("Range: bytes=10-\r\n", "206", &whole[10..]);
    check("Range: bytes=-7\r\n", "206", &whole[whole.len() - 7..]);
    check("Range: bytes=0-99999999\r\n", "206", &whole);
    check("Range: bytes=99999999-\r\n", "416", b"no such bytes");
    check(&format!("Range: bytes=10-\r\nIf-Range: {etag}\r\n"), "206", &whole[10..]);
    check("Range: bytes=10-\r\nIf-Range: \"other\"\r\n", "200", &whole);
    check(&format!("If-None-Match: {etag}\r\n"), "304", b"");
    let (head, body) = ask(&served, "HEAD", path, "").unwrap();
    assert!(head.contains(&format!("Content-Length: {}", whole.len())), "{head}");
    assert!(body.is_empty());
}

#[test]
fn connections_are_kept() {
    let served = demo().serve();
    let mut stream = TcpStream::connect(served.host().trim_start_matches("http://")).unwrap();
    for _ in 0..3 {
        stream.write_all(b"HEAD /simple/ HTTP/1.1\r\n\r\n").unwrap();
        let mut answer = [0; 4096];
        let length = stream.read(&mut answer).unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
    }
    drop(served);
    assert_eq!(stream.read(&mut [0; 10]).unwrap(), 0);
}

#[test]
fn faults() {
    let path = "/files/a-1-py3-none-any.whl";
    let index = || Index::new().wheel(wheel("a", "1").file("a.py", "a".repeat(5000)).build());
    let (_, whole) = get(&index().serve(), path);
    let with = |fault: Fault| index().fault(fault.on("/files/*.whl").times(1)).serve();
    let status = |fault: Fault| {
        let served = with(fault);
        let (head, _) = get(&served, path);
        assert_eq!(get(&served, path).1, whole, "the fault is over");
        head
    };
    assert!(status(Fault::Status(500)).starts_with("HTTP/1.1 500"));
    assert!(status(Fault::TooManyRequests { retry_after: 3 }).contains("\r\nRetry-After: 3"));
    assert!(status(Fault::RedirectLoop).contains(&format!("\r\nLocation: {path}")));

    let served = with(Fault::CutBody { after_bytes: 7 });
    let (head, body) = get(&served, path);
    assert!(head.contains(&format!("Content-Length: {}", whole.len())));
    assert_eq!(body, whole[..7]);

    let stalled = ask(&with(Fault::Stall { after_bytes: 7 }), "GET", path, "").unwrap_err();
    assert!(matches!(stalled.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{stalled}");

    let reset = ask(&with(Fault::Reset), "GET", path, "").unwrap_err();
    assert_eq!(reset.kind(), ErrorKind::ConnectionReset);

    let (head, body) = get(&with(Fault::Html), path);
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/html"), "{head}");
    assert!(body.starts_with(b"<!doctype html>"));

    let (_, body) = get(&with(Fault::WrongBytes), path);
    assert_eq!(body.iter().zip(&whole).filter(|(a, b)| a != b).count(), 1);
    assert_eq!(body.len(), whole.len());

    let (head, body) = ask(&with(Fault::NoRange), "GET", path, "Range: bytes=5-\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(body, whole);

    let served = with(Fault::Redirect);
    let (head, _) = get(&served, path);
    assert!(head.contains(&format!("\r\nLocation: {}{path}", served.other_host())), "{head}");
    let (_, body) = ask_host(&served.other_host().replace("localhost", "127.0.0.1"), "GET", path, "").unwrap();
    assert_eq!(body, whole);

    let begin = std::time::Instant::now();
    let (_, body) = get(&with(Fault::Slow { bytes_per_second: whole.len() * 3 }), path);
    assert_eq!(body, whole);
    assert!(begin.elapsed() > Duration::from_millis(250), "{:?}", begin.elapsed());
}

#[test]
fn faults_strike_where_and_as_often_as_told() {
    let served = demo().fault(Fault::Status(503).on("/simple/demo-*")).fault(Fault::Status(500).times(2)).serve();
    let status = |path: &str| get(&served, path).0[9..12].to_owned();
    assert_eq!(status("/simple/demo-part/"), "503");
    assert_eq!(status("/simple/demo-part/"), "503");
    assert_eq!(status("/simple/"), "500");
    assert_eq!(status("/simple/"), "500");
    assert_eq!(status("/simple/"), "200");
    served.heal();
    assert_eq!(status("/simple/demo-part/"), "200");
}
