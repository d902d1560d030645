//! `layerwise check`, and the check inside `build`: the real binary on artifacts made to order.

use std::time::{Duration, Instant};

use layerwise_testkit::{Cli, Index, Member, RawZip, Run, WheelBuilder, elf, wheel};
use serde_json::Value;

use super::cli::documented;
use super::{json, layerwise, left_in, words};

/// `layerwise` in a project with these files.
fn with(files: &[(&str, &[u8])], line: &str) -> Cli {
    let cli = Cli::new(env!("CARGO_BIN_EXE_layerwise")).args(words(line));
    files.iter().fold(cli, |cli, (path, bytes)| cli.file(path, bytes))
}

fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    members.iter().fold(RawZip::new(), |zip, (name, bytes)| zip.member(Member::new(*name, *bytes))).bytes()
}

/// `id file` of each finding of the first target.
#[track_caller]
fn found(run: &Run) -> Vec<String> {
    let document = json(run);
    documented(&document);
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let findings = document["targets"][0]["findings"].as_array().unwrap();
    findings.iter().map(|finding| format!("{} {}", text(&finding["id"]), text(&finding["file"]))).collect()
}

/// A package whose extension module needs this version of glibc, whatever its tag says.
fn native(version: &str) -> WheelBuilder {
    let binary = elf().needs("libc.so.6").needs_version("libc.so.6", version).undefined("PyList_New");
    wheel("native", "1.0")
        .tags("cp311-cp311-manylinux_2_17_x86_64")
        .file("native/__init__.py", "from native._core import run\n")
        .file("native/_core.cpython-311-x86_64-linux-gnu.so", binary.exports("PyInit__core").bytes())
}

const BUILD: &str = "build -p native --runtime python3.11 --name demo -o demo.zip";

#[test]
fn a_layer_that_cannot_work_is_not_handed_over() {
    let served = Index::new().wheel(native("GLIBC_2.34").build()).serve();
    let cli = layerwise(&served, BUILD);
    let run = cli.run().failure(9);
    insta::assert_snapshot!(run.text());
    assert!(left_in(&cli).is_empty(), "{:?}", left_in(&cli));

    let run = layerwise(&served, &format!("{BUILD} --no-check")).run().success();
    assert!(run.stdout.contains("not checked (--no-check)"), "{run}");

    let allowed = "[[allow]]\nfinding = 'native-glibc'\nfiles = 'python/native/*.so'\nreason = 'own runtime'\n\
        [[allow]]\nfinding = 'wheel-tag-untrue'\nreason = 'known'\n";
    let run = layerwise(&served, BUILD).file("layerwise.toml", allowed).run().success();
    assert!(run.stdout.contains("2 allowed"), "{run}");
}

#[test]
fn a_layer_that_works_says_so() {
    let served = Index::new().wheel(native("GLIBC_2.17").build()).serve();
    let run = layerwise(&served, BUILD).run().success();
    assert!(run.stdout.contains("check         clean"), "{run}");
    let run = layerwise(&served, &format!("{BUILD} --json")).run().success();
    let document = json(&run);
    documented(&document);
    assert_eq!(document["layers"][0]["check"]["ok"], true, "{run}");
}

/// Runtime, architecture and allowances come from the configuration where the artifact is one of the project's.
#[test]
fn an_artifact_of_the_project() {
    let served = Index::new().wheel(native("GLIBC_2.17").build()).serve();
    let config = "runtime = 'python3.11'\noutput = 'dist/demo.zip'\npackages = ['native']\n";
    let cli = layerwise(&served, "build").file("layerwise.toml", config);
    drop(cli.run().success());
    let checked = |line: &str| {
        let mut again = Cli::new(env!("CARGO_BIN_EXE_layerwise")).args(words(line)).file("layerwise.toml", config);
        again = again.file("dist/demo.zip", fs_err::read(cli.project().join("dist/demo.zip")).unwrap());
        again.run()
    };
    let run = checked("check dist/demo.zip").success();
    assert!(run.stdout.starts_with("dist/demo.zip for python3.11 x86_64: clean\n"), "{run}");
    let run = checked("check dist/demo.zip --arch arm64 --json").failure(9);
    assert_eq!(found(&run)[0], "abi-mismatch python/native/_core.cpython-311-x86_64-linux-gnu.so");
}

#[test]
fn a_function_with_its_layers() {
    let function = zip(&[("index.py", b"import native, helper\nhandler = native.f\n")]);
    let first = zip(&[("python/helper.py", b"x = 1\n")]);
    let second = zip(&[("python/helper.py", b"x = 2\n"), ("python/native/__init__.py", b"import absent\n")]);
    let files = [("function.zip", &function[..]), ("a.zip", &first), ("b.zip", &second)];
    let line = "check function.zip --layer a.zip --layer b.zip --handler index.handler --runtime python3.13";
    let run = with(&files, line).run().failure(9);
    insta::assert_snapshot!(run.text());
    let run = with(&files, &format!("{line} --json")).run().failure(9);
    assert_eq!(found(&run), ["import-missing python/native/__init__.py", "layer-conflict python/helper.py"]);
    let run = with(&files, &line.replace("index.handler", "index.lambda_handler")).run().failure(9);
    let said = "Lambda: Runtime.HandlerNotFound: Handler 'lambda_handler' missing on module 'index'";
    assert!(run.stdout.contains(said) && run.stdout.contains("2 errors"), "{run}");
    let run = with(&files, "check function.zip --handler index.handler --runtime python3.13 --json").run().failure(9);
    assert_eq!(found(&run), ["import-missing index.py"; 2]);
}

#[test]
fn a_wheel_and_a_folder() {
    let built = native("GLIBC_2.28").build();
    let name = built.filename.as_str();
    let run = with(&[(name, &built.bytes)], &format!("check {name} --runtime python3.11 --json")).run().failure(9);
    assert_eq!(found(&run)[0], "native-glibc python/native/_core.cpython-311-x86_64-linux-gnu.so");
    let run = with(&[(name, &built.bytes)], &format!("check {name} --runtime python3.12 --json")).run().failure(9);
    assert_eq!(found(&run)[0], "abi-mismatch python/native/_core.cpython-311-x86_64-linux-gnu.so");
    let folder = [("layer/python/typing.py", &b"x = 1\n"[..])];
    let run = with(&folder, "check layer --runtime python3.13 --json").run().failure(9);
    assert_eq!(found(&run), ["stdlib-shadowed python/typing.py"]);
}

#[test]
fn warnings_fail_only_when_asked() {
    let stack = elf().exec_stack().exports("PyInit_x").bytes();
    let layer = zip(&[("python/x.abi3.so", &stack)]);
    let files = [("layer.zip", &layer[..])];
    let run = with(&files, "check layer.zip --runtime python3.13").run().success();
    assert!(run.stdout.contains("warning [native-executable-stack]"), "{run}");
    let run = with(&files, "check layer.zip --runtime python3.13 --strict").run().failure(9);
    assert!(run.stdout.contains("1 warning"), "{run}");
    let run = with(&files, "check layer.zip --runtime python3.13 --quiet").run().success();
    assert!(run.stdout.is_empty(), "{run}");
}

#[test]
fn what_cannot_be_checked() {
    let zip = zip(&[("python/a.py", b"")]);
    let files = [("a.zip", &zip[..]), ("text.zip", b"this is no zip at all"), ("half.zip", &zip[..zip.len() / 2])];
    for (line, code, message) in [
        ("check a.zip", 2, "no runtime is named to check for"),
        ("check a.zip --runtime python9", 2, "runtime"),
        ("check none.zip --runtime python3.13", 3, "failed to read"),
        ("check text.zip --runtime python3.13", 6, "it is not a zip archive, or its end is missing"),
        ("check half.zip --runtime python3.13", 6, "it is not a zip archive, or its end is missing"),
    ] {
        let run = with(&files, line).run().failure(code);
        assert!(run.stderr.contains(message) || code == 2, "{run}");
        let run = with(&files, &format!("{line} --json")).run().failure(code);
        let document = json(&run);
        documented(&document);
        assert_eq!(document["ok"], false, "{run}");
    }
}

/// Foreign bytes: a finding or a clear error each, in bounded time.
#[test]
fn hostile_artifacts() {
    let started = Instant::now();
    let many =
        (0..60_000).fold(RawZip::new(), |zip, at| zip.member(Member::new(format!("python/m{at}.py"), "import os")));
    let many = many.bytes();
    let run = with(&[("a.zip", &many)], "check a.zip --runtime python3.13 --json").run().success();
    assert_eq!(json(&run)["targets"][0]["files"], 60_000);

    let bomb = RawZip::new().member(Member::zeros("python/a.py", 64)).member(Member::zeros("python/b.so", 64)).bytes();
    let run = with(&[("a.zip", &bomb)], "check a.zip --runtime python3.13 --json").run();
    assert!(matches!(run.code, Some(0 | 9)), "{run}");

    let deep = format!("x = {}{}", "(".repeat(100_000), ")".repeat(100_000));
    let long = format!("x = '{}'", "x".repeat(10 << 20));
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("python/deep.py", deep.into_bytes()),
        ("python/long.py", long.into_bytes()),
        ("python/chain.py", format!("x = 1{}", "+1".repeat(200_000)).into_bytes()),
        ("python/utf16.py", vec![0xff, 0xfe, b'x', 0]),
        ("python/broken.py", b"def f(:\n".to_vec()),
        ("python/cut.abi3.so", elf().bytes()[..70].to_vec()),
        ("python/x-1.dist-info/METADATA", vec![b'('; 100_000]),
        ("python/x-1.dist-info/RECORD", vec![b','; 100_000]),
    ];
    let members: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let run = with(&[("a.zip", &zip(&members))], "check a.zip --runtime python3.13 --json").run().failure(9);
    let found = found(&run);
    for expected in [
        "native-damaged python/cut.abi3.so",
        "python-syntax python/broken.py",
        "python-unread python/deep.py",
        "python-unread python/long.py",
    ] {
        assert!(found.iter().any(|finding| finding == expected), "{expected}\n{run}");
    }
    assert!(started.elapsed() < Duration::from_secs(120), "{:?}", started.elapsed());
}
