//! Real packages of the real index in artifacts that people make by hand or with other tools: `check` says of each what
//! is true of it. Only with `LAYERWISE_SLOW_TESTS`; where the index cannot be reached they say that they are skipped.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use layerwise_testkit::{Cli, Run};
use serde_json::Value;

use super::real_index::{EXAMPLE, real, skipped};
use super::{json, words};

/// What this machine needs to reach the world, in a project of its own. `None` where it is not asked for or cannot be.
fn project(test: &str) -> Option<Cli> {
    std::env::var_os("LAYERWISE_SLOW_TESTS").and_then(|_| real(test))
}

/// `uv pip install --target`, wheels only, whatever the target makes of them.
#[track_caller]
fn install(cli: &Cli, minor: u8, platform: &str, to: &str, requirements: &[&str]) {
    let mut command = Command::new(layerwise_testkit::uv());
    command.args(["pip", "install", "--quiet", "--no-config", "--only-binary", ":all:", "--target", to]);
    command.args(["--python-platform", platform, "--python-version", &format!("3.{minor}")]);
    let output = command.args(requirements).current_dir(cli.project()).output().unwrap();
    assert!(output.status.success(), "{requirements:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Zips `what` of the project by Python's zipfile.
#[track_caller]
fn zip(cli: &Cli, python: &Path, dir: &str, what: &[&str]) {
    let zip = cli.project().join("made.zip");
    let mut command = Command::new(python);
    command.args(["-m", "zipfile", "-c"]).arg(zip).args(what).current_dir(cli.project().join(dir));
    assert!(command.status().unwrap().success());
}

/// `severity id package`, each once.
#[track_caller]
fn verdicts(run: &Run) -> BTreeSet<String> {
    let document = json(run);
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let findings = document["targets"][0]["findings"].as_array().unwrap();
    findings
        .iter()
        .map(|one| format!("{} {} {}", text(&one["severity"]), text(&one["id"]), text(&one["package"])))
        .collect()
}

#[track_caller]
fn check(cli: Cli, line: &str, expected: &[&str]) -> Cli {
    let cli = cli.args(words(&format!("check {line} --json")));
    let run = cli.run();
    assert_eq!(verdicts(&run), expected.iter().map(|line| (*line).to_owned()).collect(), "{line}\n{run}");
    let failed = expected.iter().any(|line| line.starts_with("error"));
    assert_eq!(run.code, Some(if failed { 9 } else { 0 }), "{run}");
    cli
}

/// Whether a Python of this machine fails to import the module from the artifact, too.
#[track_caller]
fn fails_to_import(cli: Cli, line: &str, module: &str) {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return;
    }
    let run = cli.args(words(&format!("check {line} --run --json"))).run();
    let document = json(&run);
    let findings = document["targets"][0]["findings"].as_array().unwrap();
    let failed = |one: &Value| {
        one["id"] == "run-failed"
            && one["text"].as_str().is_some_and(|text| text.starts_with(&format!("`import {module}` ")))
    };
    let limited = findings.iter().any(|one| one["id"] == "run-limited");
    assert!(limited || findings.iter().any(failed), "{run}");
}

const LINUX: &str = "x86_64-manylinux2014";

/// Every compiled file that needs a glibc which Amazon Linux 2 does not have, as binutils say, and no other.
#[test]
fn wheels_for_a_newer_linux() {
    let test = "wheels_for_a_newer_linux";
    let Some(cli) = project(test) else { return };
    let Some(python) = layerwise_testkit::python(11) else { return skipped(test, "there is no Python 3.11") };
    let cli = cli.file("requirements.txt", EXAMPLE);
    install(&cli, 11, "x86_64-unknown-linux-gnu", "python", &["--requirements", "requirements.txt"]);
    zip(&cli, &python, "", &["python"]);
    let mut expected = BTreeSet::new();
    for file in super::files_below(&cli.project().join("python")) {
        let said =
            Command::new("readelf").args(["-V", "--wide"]).arg(cli.project().join("python").join(&file)).output();
        let Ok(said) = said else { return skipped(test, "there is no readelf") };
        let said = String::from_utf8_lossy(&said.stdout);
        // `0x0010:   Name: GLIBC_2.28  Flags: none  Version: 4` of what is needed; `WEAK` does not count.
        let needs = |line: &str| {
            let version = line.split_once("Name: GLIBC_2.")?.1.split_once("  Flags: none  Version:")?.0;
            version.split('.').next()?.parse::<u32>().ok()
        };
        if said.lines().filter_map(needs).any(|minor| minor > 26) {
            expected.insert(format!("python/{file}"));
        }
    }
    assert!(!expected.is_empty(), "today's wheels fit: take other requirements");
    let run = cli.args(words("check made.zip --runtime python3.11 --json")).run().failure(9);
    let document = json(&run);
    let findings = document["targets"][0]["findings"].as_array().unwrap().iter();
    let glibc = findings.filter(|one| one["id"] == "native-glibc");
    let found: BTreeSet<String> = glibc.map(|one| one["file"].as_str().unwrap().to_owned()).collect();
    assert_eq!(found, expected);
}

/// What `sam build`, serverless-python-requirements, Terraform's Lambda module and Pants make: everything at the root.
#[test]
fn packages_beside_the_handler() {
    let test = "packages_beside_the_handler";
    let Some(cli) = project(test) else { return };
    let Some(python) = layerwise_testkit::python(11) else { return skipped(test, "there is no Python 3.11") };
    let handler = "import charset_normalizer, jinja2\nimport yaml\n\ndef handler(event, context): ...\n";
    let cli = cli.file("function/app.py", handler);
    let wanted =
        ["charset-normalizer==3.4.2", "pyyaml==6.0.2", "jinja2==3.1.6", "markupsafe==3.0.2", "pydantic-core==2.33.2"];
    install(&cli, 11, LINUX, "function", &wanted);
    zip(&cli, &python, "function", &["."]);
    let cli = check(cli, "function --runtime python3.11 --handler app.handler", &[]);
    let cli = check(cli, "made.zip --runtime python3.11 --handler app.handler", &[]);
    let cli = check(cli, "made.zip --runtime python3.11", &[]);
    let elsewhere = [
        "error abi-mismatch pydantic-core",
        "note abi-mismatch charset-normalizer",
        "warning abi-mismatch markupsafe",
        "warning abi-mismatch pyyaml",
        "warning wheel-tag charset-normalizer",
        "warning wheel-tag markupsafe",
        "warning wheel-tag pydantic-core",
        "warning wheel-tag pyyaml",
    ];
    let cli = check(cli, "made.zip --runtime python3.13 --handler app.handler", &elsewhere);
    let cli = check(cli, "made.zip --runtime python3.11 --handler main.handler", &["error handler -"]);
    // The folder around it was zipped, too.
    zip(&cli, &python, "", &["function"]);
    let run = cli.args(words("check made.zip --as function --runtime python3.11 --handler app.handler --json")).run();
    let found = verdicts(&run.failure(9));
    // Every import misses then; those are notes, as nothing leads to them from the handler.
    let told: Vec<&String> = found.iter().filter(|line| !line.starts_with("note import-missing")).collect();
    assert_eq!(told, ["error handler -", "warning layout-root -"]);
}

#[test]
fn a_wheel_for_another_python() {
    let Some(cli) = project("a_wheel_for_another_python") else { return };
    install(&cli, 12, LINUX, "layer/python", &["markupsafe==3.0.2", "pydantic-core==2.33.2"]);
    let expected = [
        "error abi-mismatch pydantic-core",
        // It has the same in Python.
        "warning abi-mismatch markupsafe",
        "warning wheel-tag markupsafe",
        "warning wheel-tag pydantic-core",
    ];
    let cli = check(cli, "layer --runtime python3.11", &expected);
    let cli = check(cli, "layer --runtime python3.12", &[]);
    fails_to_import(cli, "layer --runtime python3.11", "pydantic_core");
}

#[test]
fn libraries_that_lambda_lacks() {
    let Some(cli) = project("libraries_that_lambda_lacks") else { return };
    install(&cli, 11, LINUX, "gl/python", &["opencv-python==4.11.0.86", "numpy==1.26.4"]);
    install(&cli, 11, LINUX, "expat/python", &["pyuwsgi==2.0.21"]);
    let cli = check(
        cli,
        "gl --runtime python3.11",
        &[
            "error native-library-missing opencv-python",
            "note bytecode-useless -",
            "warning native-library-missing opencv-python",
        ],
    );
    let run = cli.run();
    for library in ["libGL.so.1", "libgthread-2.0.so.0"] {
        assert!(run.stdout.contains(&format!("it needs {library}, which is neither")), "{run}");
    }
    assert!(run.stdout.contains("require opencv-python-headless instead of opencv-python"), "{run}");
    // `uwsgi` is a module of the server's own.
    let expat = ["error native-library-missing pyuwsgi", "note import-missing pyuwsgi"];
    let cli = check(cli, "expat --runtime python3.11", &expat);
    assert!(cli.run().stdout.contains("it needs libexpat.so.1, which is neither"));
}

#[test]
fn an_sdk_in_two_halves() {
    let Some(cli) = project("an_sdk_in_two_halves") else { return };
    install(&cli, 9, LINUX, "layer/python", &["--no-deps", "boto3==1.40.4", "urllib3==2.5.0"]);
    // Its botocore takes urllib3 2 from Python 3.10 on.
    let cli = check(cli, "layer --runtime python3.11", &["warning sdk-split boto3"]);
    let cli = check(cli, "layer --runtime python3.9", &["error sdk-split boto3"]);
    assert!(cli.run().stdout.contains("here is urllib3 2.5.0"));
}

#[test]
fn backports_that_hide_the_standard_library() {
    let Some(cli) = project("backports_that_hide_the_standard_library") else { return };
    install(&cli, 11, LINUX, "layer/python", &["typing==3.7.4.1", "enum34==1.1.10"]);
    let cli =
        check(cli, "layer --runtime python3.11", &["error stdlib-shadowed enum34", "error stdlib-shadowed typing"]);
    fails_to_import(cli, "layer --runtime python3.11", "enum");
}

#[test]
fn wheels_for_a_mac() {
    let Some(cli) = project("wheels_for_a_mac") else { return };
    install(&cli, 11, "aarch64-apple-darwin", "layer/python", &["markupsafe==3.0.2", "orjson==3.10.18"]);
    let expected = [
        "error abi-mismatch orjson",
        "warning abi-mismatch markupsafe",
        "warning wheel-tag markupsafe",
        "warning wheel-tag orjson",
    ];
    let cli = check(cli, "layer --runtime python3.11 --arch arm64", &expected);
    let cli = check(cli, "layer --runtime python3.11", &expected);
    fails_to_import(cli, "layer --runtime python3.11", "orjson");
}

/// Python passes `_cffi_backend` over, and `import cffi` works all the same: it fails in the first call, or in the
/// compiled code of another package. So `--run` sees nothing.
#[test]
fn a_backend_of_another_python() {
    let Some(cli) = project("a_backend_of_another_python") else { return };
    install(&cli, 12, LINUX, "layer/python", &["cffi==1.17.1"]);
    install(&cli, 11, LINUX, "layer/python", &["--no-deps", "cryptography==41.0.7"]);
    drop(check(cli, "layer --runtime python3.11", &["error abi-mismatch cffi", "warning wheel-tag cffi"]));
}
