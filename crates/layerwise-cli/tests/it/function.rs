//! Functions' own zips, and files that no package brings.

use layerwise_testkit::{Cli, Index, Member, RawZip, Served, Wheel, sha256, wheel};

use super::archive::{names, text};
use super::{beta, json, layerwise, left_in};

/// The release that carries a file.
fn carrier(words: &str) -> Wheel {
    wheel("carrier", "1.0")
        .file("carrier/data/words.txt", words)
        .file("carrier/other.txt", super::noise(600_000))
        .build()
}

/// A project with the package `beta` in its layer, these lines of configuration, and a function that imports it.
fn project(served: &Served, config: &str) -> Cli {
    let base = "runtime = 'python3.13'\n[layer.base]\npackages = ['beta']\n";
    layerwise(served, "build --json")
        .file("layerwise.toml", format!("{base}{config}"))
        .file("src/index.py", "import beta\n\ndef handler(event, context):\n    return beta.VERSION\n")
}

const FUNCTION: &str = "[function.f]\ncode = 'src'\nhandler = 'index.handler'\nlayers = ['base']\n";

/// What `[[layer.base.files]]` says of one file.
fn file(to: &str, rest: &str, content: impl AsRef<[u8]>) -> String {
    format!("[[layer.base.files]]\nto = '{to}'\n{rest}\nsha256 = '{}'\n", sha256(content.as_ref()))
}

const LAYER_ZIP: &str = "dist/base-python3.13-x86_64.zip";
const FUNCTION_ZIP: &str = "dist/f-python3.13-x86_64.zip";

#[test]
fn a_file_out_of_a_wheel_needs_the_network_once_and_little_of_it() {
    let served = Index::new().wheel(beta()).wheel(carrier("one two")).serve();
    let member = "package = 'carrier==1.0'\nmember = 'carrier/data/words.txt'";
    let cli = project(&served, &file("data/words.txt", member, "one two"));
    let made = json(&cli.run().success());
    let layer = &made["layers"][0];
    assert_eq!(layer["extra_files"][0]["path"], "data/words.txt");
    assert_eq!(layer["extra_files"][0]["sha256"], sha256(b"one two"));
    assert_eq!(text(&cli.project().join(LAYER_ZIP), "data/words.txt"), "one two");
    let whole = |request: &layerwise_testkit::Request| {
        request.path.ends_with("carrier-1.0-py3-none-any.whl") && request.header("range").is_none()
    };
    assert!(!served.requests().iter().any(whole), "only parts of the wheel are asked for");
    let first = layer["sha256"].clone();
    served.forget_requests();
    let again = json(&cli.run().success());
    assert_eq!(again["layers"][0]["sha256"], first);
    assert_eq!(served.count("carrier"), 0, "the file is in the cache");
}

#[test]
fn files_from_the_web_from_here_and_out_of_archives() {
    let tar = tar_of(&[("en/a.txt", "A"), ("b.txt", "B")]);
    let served = Index::new().wheel(beta()).wheel(carrier("w")).serve();
    let web = served.file_url("carrier-1.0-py3-none-any.whl");
    let config = [
        file("here.txt", "path = 'own/here.txt'", "here"),
        file("web.whl", &format!("url = '{web}'"), &carrier("w").bytes),
        file("lang/", "path = 'own/lang.tar'\nunpack = true", &tar),
        file("wheel", "path = 'own/carrier.zip'\nunpack = true", &carrier("w").bytes),
    ];
    let cli = project(&served, &config.concat())
        .file("own/here.txt", "here")
        .file("own/lang.tar", &tar)
        .file("own/carrier.zip", &carrier("w").bytes);
    let _run = cli.run().success();
    let names = names(&cli.project().join(LAYER_ZIP));
    for expected in ["here.txt", "web.whl", "lang/b.txt", "lang/en/a.txt", "wheel/carrier/data/words.txt"] {
        assert!(names.iter().any(|name| name == expected), "{expected} in {names:?}");
    }
}

/// A plain tar.
fn tar_of(files: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, content) in files {
        let mut header = [0u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..107].copy_from_slice(b"0000644");
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].copy_from_slice(b"        ");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        out.extend(header);
        out.extend(content.as_bytes());
        out.extend(vec![0; content.len().next_multiple_of(512) - content.len()]);
    }
    out.extend([0; 1024]);
    out
}

/// The build fails with this exit code, says all of these, and makes nothing.
#[track_caller]
fn refused(config: &str, code: i32, expected: &[&str]) {
    let served = Index::new().wheel(beta()).wheel(carrier("w")).serve();
    let cli = project(&served, config).file("own/a.txt", "a").file("own/evil.tar", tar_of(&[("../evil", "x")]));
    let before = left_in(&cli);
    let run = cli.run();
    assert_eq!(run.code, Some(code), "{run}");
    for part in expected {
        assert!(run.stderr.contains(part), "{part}\n{run}");
    }
    assert_eq!(left_in(&cli), before, "{run}");
}

#[test]
fn files_that_are_not_what_was_promised() {
    let digest = sha256(b"a");
    let without = "[[layer.base.files]]\nto = 'a'\npath = 'own/a.txt'\n";
    refused(without, 2, &["has no sha256", &format!("write `sha256 = \"{digest}\"`")]);
    let other = sha256(b"b");
    let both = [format!("expected sha256 {other}, got {digest}")];
    refused(&file("a", "path = 'own/a.txt'", "b"), 6, &[&both[0]]);
    refused(&file("a", "path = 'own/gone.txt'", "b"), 3, &["failed to get `a`"]);
    let member = |version: &str, name: &str| format!("package = 'carrier=={version}'\nmember = '{name}'");
    refused(
        &file("a", &member("1.0", "carrier/gone"), "b"),
        3,
        &["`carrier-1.0-py3-none-any.whl` has no file `carrier/gone`"],
    );
    refused(&file("a", &member("2.0", "carrier/gone"), "b"), 3, &["there is no wheel of carrier 2.0"]);
    refused(&file("a", &member("1.0", "carrier/data/words.txt"), "b"), 6, &["is not the file that was promised"]);
    let evil = tar_of(&[("../evil", "x")]);
    refused(&file("a", "path = 'own/evil.tar'\nunpack = true", evil), 6, &["unsafe path, `../evil`"]);
    refused(&file("a", "path = 'own/a.txt'\nunpack = true", "a"), 6, &["failed to unpack `a`"]);
    let over = file("python/beta.py", "path = 'own/a.txt'", "a");
    refused(&over, 6, &["both bring `python/beta.py`"]);
}

/// Lambda's limit is for the function and its layers together, whoever made them.
#[test]
fn a_layer_that_somebody_has_made_counts() {
    let served = Index::new().wheel(beta()).serve();
    let zeros = |mebibytes| RawZip::new().member(Member::zeros("python/zeros", mebibytes)).bytes();
    let config = FUNCTION.replace("['base']", "['base', './other.zip']");
    let cli = project(&served, &config).file("other.zip", zeros(1));
    let _run = cli.run().success();
    let cli = cli.file("other.zip", zeros(250));
    let run = cli.run().failure(7);
    assert!(run.stderr.contains("bytes unzipped; Lambda takes at most 262144000"), "{run}");
    // The same as a directory.
    let config = FUNCTION.replace("['base']", "['./other']");
    let cli = project(&served, &config).file("other/python/zeros", "");
    let zeros = fs_err::OpenOptions::new().write(true).open(cli.project().join("other/python/zeros")).unwrap();
    zeros.set_len(250 << 20).unwrap();
    let _run = cli.run().failure(7);
}

#[test]
fn a_function_beside_its_layer() {
    let served = Index::new().wheel(beta()).serve();
    let config = format!("environment = {{ A = 'layer', B = '/opt/b' }}\n{FUNCTION}environment = {{ A = 'own' }}\n");
    let cli = project(&served, &config)
        .file("src/.gitignore", "*.log\n")
        .file("src/debug.log", "x")
        .file("src/.env", "SECRET=1")
        .file("src/__pycache__/index.pyc", "x");
    let run = cli.run().success();
    let made = json(&run);
    let function = &made["functions"][0];
    assert_eq!(names(&cli.project().join(FUNCTION_ZIP)), ["index.py"]);
    assert_eq!(function["environment"], serde_json::json!({ "A": "own", "B": "/opt/b" }));
    assert_eq!((&function["handler"], &function["layers"][0]), (&"index.handler".into(), &"base".into()));
    assert_eq!((&function["timeout"], &function["memory"]), (&3.into(), &128.into()));
    assert_eq!(function["check"]["findings"], serde_json::json!([]), "{run}");
    assert!(run.stderr.contains("`.env` looks like a secret and is left out"), "{run}");
    let again = json(&cli.run().success());
    assert_eq!(again["functions"][0]["sha256"], function["sha256"]);
}

#[test]
fn a_function_with_its_dependencies_inside() {
    let served = Index::new().wheel(beta()).serve();
    let config = format!(
        "environment = {{ B = '/opt/words.txt' }}\n{}{FUNCTION}dependencies = 'package'\n",
        file("words.txt", "path = 'own/a.txt'", "a")
    );
    let cli = project(&served, &config).file("own/a.txt", "a");
    let made = json(&cli.run().success());
    let names = names(&cli.project().join(FUNCTION_ZIP));
    for expected in ["index.py", "beta.py", "beta-2.0.dist-info/RECORD", "words.txt"] {
        assert!(names.iter().any(|name| name == expected), "{expected} in {names:?}");
    }
    assert_eq!(made["functions"][0]["environment"]["B"], "/var/task/words.txt");
}

#[test]
fn functions_that_would_not_work() {
    let missing = FUNCTION.replace("layers = ['base']", "");
    refused_function(&missing, 9, "No module named 'beta'");
    refused_function(&FUNCTION.replace("index.handler", "main.handler"), 9, "Unable to import module 'main'");
    refused_function(&FUNCTION.replace("'src'", "'gone'"), 3, "the code directory");
    refused_function(&format!("{FUNCTION}architecture = 'arm64'\n"), 2, "its layer `base` is not built for that");
    refused_function(&format!("{FUNCTION}output = 'dist/base-python3.13-x86_64.zip'\n"), 2, "would be written twice");
    refused_function(&format!("{FUNCTION}ignore = ['*']\n"), 3, "has no file to pack");
}

#[track_caller]
fn refused_function(config: &str, code: i32, expected: &str) {
    let served = Index::new().wheel(beta()).serve();
    let cli = project(&served, config);
    let run = cli.run();
    assert_eq!(run.code, Some(code), "{run}");
    assert!(run.stderr.contains(expected), "{expected}\n{run}");
    assert!(!cli.project().join(FUNCTION_ZIP).exists());
}

#[test]
fn only_one_function() {
    let served = Index::new().wheel(beta()).serve();
    let config = format!("[layer.other]\npackages = ['beta']\n{FUNCTION}[function.g]\ncode = 'src'\nhandler = 'a.b'\n");
    let cli = project(&served, &config).args(super::words("build --function f --json"));
    let made = json(&cli.run().success());
    let named = |key: &str| made[key].as_array().unwrap().iter().map(|row| row["name"].clone()).collect::<Vec<_>>();
    assert_eq!((named("layers"), named("functions")), (vec!["base".into()], vec!["f".into()]));
    let unknown = cli.args(super::words("build --function ff"));
    let run = unknown.run();
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("there is no function `ff`"), "{run}");
}
