//! A run sees nothing of this machine, and its text is the same on every one.

#![cfg(unix)]

use layerwise_testkit::{Cli, Index};

fn shell(script: &str) -> Cli {
    Cli::new("/bin/sh").args(["-c", script])
}

#[test]
fn the_environment_is_the_kits() {
    let run = shell("/usr/bin/env").env("EXTRA", "1").run().success();
    let mut names: Vec<&str> = run.stdout.lines().filter_map(|line| line.split('=').next()).collect();
    names.retain(|name| !["PWD", "SHLVL", "_", "OLDPWD"].contains(name)); // the shell's own
    names.sort_unstable();
    let expected = "COLUMNS EXTRA HOME LAYERWISE_CACHE_DIR LAYERWISE_TODAY LC_ALL NO_COLOR PATH TEMP TMP TMPDIR TZ UV_CACHE_DIR \
                    UV_PYTHON_DOWNLOADS USERPROFILE";
    let mut expected: Vec<&str> = expected.split_whitespace().collect();
    expected.sort_unstable();
    assert_eq!(names, expected);
}

#[test]
fn uv_and_nothing_else_is_on_path() {
    let _run = shell("uv --version").run().success();
    let _run = shell("ls").run().failure(127);
    let _run = shell("uv --version").without_uv().run().failure(127);
}

#[test]
fn text() {
    let served = Index::new().serve();
    let cli =
        shell("echo in $PWD, cache $LAYERWISE_CACHE_DIR, took 1.5s; echo $UV_DEFAULT_INDEX >&2; exit 3").index(&served);
    let expected = "exit: 3\n----- stdout -----\nin [DIR], cache [TMP]/cache, took [TIME]\n\
                    \n----- stderr -----\nhttp://127.0.0.1:[PORT]/simple/\n";
    assert_eq!(cli.run().text(), expected);
    assert_eq!(cli.run().failure(3).text(), expected, "a second run in the same place");
}

#[test]
fn stdin_and_files() {
    let run = shell("read line; echo $line; read line < a/b.txt; echo $line")
        .stdin("typed\n")
        .file("a/b.txt", "written\n")
        .run();
    assert_eq!(run.success().stdout, "typed\nwritten\n");
}
