//! Killed at any moment, interrupted, and many at once: the old zip or the right one, never anything between.

#![cfg(unix)]

use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use layerwise_testkit::{Cli, Fault, sha256};

use super::{BUILD, demo, files_below, layerwise, left_in, sha256_of};

/// With `LAYERWISE_SLOW_TESTS` as many as the contract says.
fn times(quick: u32, slow: u32) -> u32 {
    if std::env::var_os("LAYERWISE_SLOW_TESTS").is_some() { slow } else { quick }
}

fn start(cli: &Cli, more: &[&str]) -> Child {
    let mut command = cli.command();
    command.args(more).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[track_caller]
fn succeeded(child: Child) {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn zip_sha256(path: &Path) -> String {
    sha256(&fs_err::read(path).unwrap())
}

#[test]
fn killed_at_any_moment() {
    let served = demo().serve();
    let cli = layerwise(&served, BUILD);
    let began = Instant::now();
    let right = sha256_of(&cli.run().success());
    let whole = began.elapsed();
    let zip = cli.project().join("demo.zip");
    let count = times(10, 50);
    for moment in 0..count {
        // Half of them with nothing cached, half with what the killed ones before left.
        if moment % 2 == 0 {
            fs_err::remove_dir_all(cli.cache()).unwrap();
        }
        if moment % 3 == 0 {
            fs_err::remove_file(&zip).ok();
        }
        let mut child = start(&cli, &[]);
        sleep(whole * moment / count);
        child.kill().unwrap();
        let _status = child.wait().unwrap();
        if zip.exists() {
            assert_eq!(zip_sha256(&zip), right, "killed at {moment}/{count}");
        }
        if moment % 2 == 1 {
            assert_eq!(sha256_of(&cli.run().success()), right, "after a kill at {moment}/{count}");
            assert_eq!(zip_sha256(&zip), right);
        }
    }
    assert_eq!(sha256_of(&cli.run().success()), right);
}

#[test]
fn many_at_once_on_one_cache() {
    let served = demo().serve();
    let cli = layerwise(&served, "build -p alpha --runtime python3.13 --name demo");
    let count = times(8, 16);
    let names: Vec<String> = (0..count).map(|number| format!("{number}.zip")).collect();
    let children: Vec<Child> = names.iter().map(|name| start(&cli, &["-o", name])).collect();
    children.into_iter().for_each(succeeded);
    let digests: std::collections::BTreeSet<String> =
        names.iter().map(|name| zip_sha256(&cli.project().join(name))).collect();
    assert_eq!(digests.len(), 1);
    assert_eq!(left_in(&cli).len(), count as usize, "{:?}", left_in(&cli));
    let wheels = files_below(&cli.cache().join("wheels-v1"));
    assert_eq!(wheels.len(), 4, "two wheels, two indexes, nothing aside: {wheels:?}");
}

#[test]
fn two_into_one_output() {
    let served = demo().serve();
    let cli = layerwise(&served, BUILD);
    let right = sha256_of(&cli.run().success());
    for _ in 0..3 {
        let children = [start(&cli, &[]), start(&cli, &[]), start(&cli, &[])];
        children.into_iter().for_each(succeeded);
        assert_eq!(zip_sha256(&cli.project().join("demo.zip")), right);
        assert_eq!(left_in(&cli), ["demo.zip"]);
    }
}

/// Sends the signal while the wheel is under way.
fn interrupted(signal: &str) -> (Option<i32>, Cli) {
    let served = demo().fault(Fault::Slow { bytes_per_second: 10_000 }.on("/files/alpha*.whl")).core_metadata(false);
    let served = served.serve();
    let cli = layerwise(&served, BUILD).file("demo.zip", "old");
    let child = start(&cli, &[]);
    let deadline = Instant::now() + Duration::from_secs(20);
    while served.count(".whl") == 0
        && Instant::now() < deadline
        && files_below(&cli.cache().join("wheels-v1")).is_empty()
    {
        sleep(Duration::from_millis(10));
    }
    sleep(Duration::from_millis(200));
    let killed = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let began = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(began.elapsed() < Duration::from_secs(4), "it went on for {:?}", began.elapsed());
    (output.status.code(), cli)
}

#[test]
fn interrupted_by_the_user_or_the_system() {
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let (got, cli) = interrupted(signal);
        assert_eq!(got, Some(code));
        assert_eq!(left_in(&cli), ["demo.zip"]);
        assert_eq!(fs_err::read_to_string(cli.project().join("demo.zip")).unwrap(), "old");
        let wheels = files_below(&cli.cache().join("wheels-v1"));
        assert!(wheels.is_empty(), "{wheels:?}");
    }
}
