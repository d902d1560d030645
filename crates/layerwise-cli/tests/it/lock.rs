//! `layerwise lock`, and what `build` does with what it wrote.

use std::process::Command;

use layerwise_testkit::{Cli, Index, Served, python, uv, wheel};

use super::archive;
use super::{json, layerwise, left_in, words};

const FILE: &str = "pylock.demo-python311-x86_64.toml";
const LOCK: &str = "lock --runtime python3.11 --name demo";
const BUILD: &str = "build --runtime python3.11 --name demo -o demo.zip";

/// A project whose newest `a` does not fit, locked.
fn locked() -> (Served, Cli) {
    let served = Index::new()
        .wheel(wheel("a", "1.0").tags("cp311-cp311-manylinux_2_17_x86_64").file("a.py", "").requires("b").build())
        .wheel(wheel("a", "2.0").tags("cp311-cp311-manylinux_2_28_x86_64").build())
        .wheel(wheel("b", "1.0").file("b.py", "").build())
        .serve();
    let cli = layerwise(&served, LOCK).file("requirements.txt", "a  # the one\n");
    let _locked = cli.run().success();
    served.forget_requests();
    (served, cli.args(words(BUILD)))
}

#[test]
fn the_lock_is_readable_and_names_real_places() {
    let (served, cli) = locked();
    let text = fs_err::read_to_string(cli.project().join(FILE)).unwrap();
    let digits = |word: &str| word.len() == 64 && word.chars().all(|c| c.is_ascii_hexdigit());
    let shown: Vec<String> = text
        .replace(served.host(), "[INDEX]")
        .split('"')
        .map(|part| if digits(part) { "[SHA256]".to_owned() } else { part.to_owned() })
        .collect();
    // Sizes depend on the compressor that the kit is built with.
    let shown = shown.join("\"");
    let mut parts = shown.split(", size = ");
    let first = parts.next().unwrap().to_owned();
    let shown = parts.fold(first, |text, part| text + ", size = [SIZE]" + part.trim_start_matches(char::is_numeric));
    insta::assert_snapshot!(shown, @r###"
        # Made by layerwise for python3.11 x86_64; to be committed. `layerwise lock` makes it anew.
        lock-version = "1.0"
        environments = ["sys_platform == 'linux' and platform_machine == 'x86_64' and python_version == '3.11'"]
        requires-python = "==3.11.*"
        created-by = "layerwise"

        [[packages]]
        name = "a"
        version = "1.0"
        wheels = [{ name = "a-1.0-cp311-cp311-manylinux_2_17_x86_64.whl", url = "[INDEX]/files/a-1.0-cp311-cp311-manylinux_2_17_x86_64.whl", size = [SIZE], hashes = { sha256 = "[SHA256]" } }]

        [[packages]]
        name = "b"
        version = "1.0"
        wheels = [{ name = "b-1.0-py3-none-any.whl", url = "[INDEX]/files/b-1.0-py3-none-any.whl", size = [SIZE], hashes = { sha256 = "[SHA256]" } }]

        [tool.layerwise]
        inputs = "[SHA256]"

        [[tool.layerwise.notes]]
        kind = "passed-over"
        name = "a"
        taken = "1.0"
        newest = "2.0"
        reason = "its cp311 wheels for x86_64 need glibc 2.28, python3.11 has 2.26"
    "###);
}

#[test]
fn others_can_read_the_lock() {
    let (_served, cli) = locked();
    let text = fs_err::read_to_string(cli.project().join(FILE)).unwrap();
    let lock: toml::Table = text.parse().unwrap();
    // PEP 751: these must be there.
    assert_eq!(lock["lock-version"].as_str(), Some("1.0"));
    assert_eq!(lock["created-by"].as_str(), Some("layerwise"));
    for package in lock["packages"].as_array().unwrap() {
        let [wheel] = package["wheels"].as_array().unwrap().as_slice() else { panic!("{package}") };
        assert!(wheel["url"].is_str() && wheel["name"].is_str());
        assert_eq!(wheel["hashes"]["sha256"].as_str().unwrap().len(), 64);
    }
    let Some(python) = python(11) else { return eprintln!("skipped: no python3.11 here") };
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return eprintln!("skipped: the lock is for Linux on x86_64");
    }
    let mut command = Command::new(uv());
    command.args(["pip", "install", "--dry-run", "--no-config", "--target", "t", "--python"]).arg(python);
    command.args(["-r", FILE]).current_dir(cli.project()).env("UV_CACHE_DIR", cli.cache().join("of-another-uv"));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("Would install 2 packages"), "{said}");
}

#[test]
fn build_takes_the_lock_and_asks_nobody_for_versions() {
    let (served, cli) = locked();
    let run = cli.run().success();
    assert!(run.stdout.contains("from the lock"), "{run}");
    let asked: Vec<String> = served.requests().into_iter().map(|request| request.path).collect();
    assert!(asked.iter().all(|path| path.ends_with(".whl")) && asked.len() == 2, "{asked:?}");
    assert!(run.stderr.contains("a 2.0 skipped: its cp311 wheels for x86_64 need glibc 2.28"), "said again: {run}");
    served.forget_requests();
    let _again = cli.run().success();
    assert!(served.requests().is_empty());
}

#[test]
fn a_lock_needs_no_uv() {
    let (_served, cli) = locked();
    let _run = cli.without_uv().run().success();
}

#[test]
fn locking_again_changes_nothing() {
    let (_served, cli) = locked();
    let run = cli.args(words(LOCK)).run().success();
    insta::assert_snapshot!(run.text(), @r###"
        exit: 0
        ----- stdout -----
        unchanged pylock.demo-python311-x86_64.toml: 2 packages for python3.11 x86_64

        ----- stderr -----
        note: a 2.0 skipped: its cp311 wheels for x86_64 need glibc 2.28, python3.11 has 2.26; 1.0 used
    "###);
}

#[test]
fn comments_and_order_are_no_change() {
    let (_served, cli) = locked();
    let cli = cli.file("requirements.txt", "# a comment\n\na\n").args(words(&format!("{BUILD} --locked")));
    let _run = cli.run().success();
}

#[test]
fn a_stale_lock_is_resolved_anew_with_a_warning() {
    let (_served, cli) = locked();
    let cli = cli.file("requirements.txt", "a<2\n");
    let run = cli.run().success();
    assert!(run.stderr.contains("the committed lock is of other inputs and was not used"), "{run}");
    let run = cli.args(words(&format!("{BUILD} --json"))).run().success();
    assert_eq!(json(&run)["layers"][0]["lock"], "stale");
}

#[test]
fn locked_insists() {
    let (served, cli) = locked();
    let cli = cli.file("requirements.txt", "a<2\n").args(words(&format!("{BUILD} --locked")));
    insta::assert_snapshot!(cli.run().text(), @r###"
        exit: 3
        ----- stdout -----

        ----- stderr -----
        error: the lock `[DIR]/pylock.demo-python311-x86_64.toml` is not of requirements.txt as it is now
        hint: run `layerwise lock` again and commit the change
    "###);
    fs_err::remove_file(cli.project().join(FILE)).unwrap();
    insta::assert_snapshot!(cli.run().text(), @r###"
        exit: 3
        ----- stdout -----

        ----- stderr -----
        error: there is no lock for python3.11 x86_64 at `[DIR]/pylock.demo-python311-x86_64.toml`
        hint: run `layerwise lock` and commit what it writes
    "###);
    let cli = cli.args(words(&format!("{LOCK} --check")));
    insta::assert_snapshot!(cli.run().text(), @r###"
        exit: 3
        ----- stdout -----

        ----- stderr -----
        error: there is no lock for python3.11 x86_64 at `[DIR]/pylock.demo-python311-x86_64.toml`
        hint: run `layerwise lock` and commit what it writes
    "###);
    assert_eq!(left_in(&cli), ["requirements.txt"]);
    assert!(served.requests().is_empty());
}

#[test]
fn the_lock_of_another_target_is_not_used() {
    let (_served, cli) = locked();
    let own = fs_err::read_to_string(cli.project().join(FILE)).unwrap();
    let other = "pylock.demo-python312-x86_64.toml";
    let cli = cli.file(other, &own);
    let line = BUILD.replace("3.11", "3.12");
    let cli = cli.args(words(&format!("{line} --locked")));
    let run = cli.run().failure(3);
    assert!(run.stderr.contains(other), "{run}");
    assert!(run.stderr.contains("hint: run `layerwise lock` again"), "{run}");
}

#[test]
fn a_lock_that_is_no_lock() {
    let (_served, cli) = locked();
    let cli = cli.file(FILE, "<<<<<<< HEAD\n");
    let run = cli.run().failure(3);
    assert!(run.stderr.lines().count() <= 5 && run.stderr.contains(FILE), "{run}");
}

#[test]
fn one_lock_for_each_target() {
    let served = Index::new().wheel(wheel("a", "1.0").file("a.py", "").build()).serve();
    let line = "lock --runtime python3.12 --runtime python3.13 --arch x86_64 --arch arm64 --name demo --json";
    let cli = layerwise(&served, line).file("requirements.txt", "a\n");
    let document = json(&cli.run().success());
    assert_eq!(document["layers"].as_array().unwrap().len(), 4);
    let mut expected = vec!["requirements.txt".to_owned()];
    for target in ["python312-arm64", "python312-x86_64", "python313-arm64", "python313-x86_64"] {
        expected.push(format!("pylock.demo-{target}.toml"));
    }
    expected.sort();
    assert_eq!(left_in(&cli), expected);
}

#[test]
fn an_index_without_digests_gives_a_lock_with_digests() {
    let a = wheel("a", "1.0").file("a.py", "").build();
    let sha256 = a.sha256.clone();
    let served = Index::new().wheel(a).html_only().without_hashes().core_metadata(false).serve();
    let cli = layerwise(&served, LOCK).file("requirements.txt", "a\n");
    let _locked = cli.run().success();
    let text = fs_err::read_to_string(cli.project().join(FILE)).unwrap();
    assert!(text.contains(&sha256), "{text}");
    let cli = cli.args(words(BUILD));
    let _built = cli.run().success();
    assert_eq!(archive::text(&cli.project().join("demo.zip"), "python/a.py"), "");
}

#[test]
fn hashes_in_the_requirements_are_kept_to() {
    let a = wheel("a", "1.0").file("a.py", "").build();
    let sha256 = a.sha256.clone();
    let served = Index::new().wheel(a).serve();
    let line = |digest: &str| format!("a==1.0 --hash=sha256:{digest}\n");
    let cli = layerwise(&served, BUILD).file("requirements.txt", line(&sha256));
    let _built = cli.run().success();
    let wrong = "0".repeat(64);
    let run = cli.file("requirements.txt", line(&wrong)).run().failure(6);
    assert!(run.stderr.contains(&wrong) && run.stderr.contains(&sha256), "expected and got: {run}");
    assert!(run.stderr.contains("requirements.txt:1"), "{run}");
    assert!(run.stderr.contains(&served.file_url("a-1.0-py3-none-any.whl")), "from where: {run}");
}
