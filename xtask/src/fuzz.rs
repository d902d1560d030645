//! `cargo xtask fuzz`: every fuzz target for a minute each, from a seed corpus.

use std::process::{Command, Stdio};

use crate::{root, run as call, say, seeds};

const SECONDS: u64 = 60;

/// libFuzzer's own options: an input that takes this long, or this much memory, is a finding.
const LIMITS: [&str; 4] = ["-max_len=65536", "-timeout=5", "-rss_limit_mb=1024", "-print_final_stats=1"];

const MISSING: &str = "cargo-fuzz is not installed: `cargo install cargo-fuzz --locked`, then again";

/// `--seconds N` (60) for each of the targets that are named, all without names. The input of a
/// finding is left below `fuzz/artifacts`, and fails the whole.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let (seconds, wanted) = arguments(args)?;
    let known = targets(&root().join("fuzz/fuzz_targets")).map_err(|error| format!("no fuzz targets: {error}"))?;
    if let Some(name) = wanted.iter().find(|name| !known.contains(name)) {
        return Err(format!("`{name}` is no fuzz target: there are {}", known.join(", ")));
    }
    let version =
        Command::new("cargo").args(["fuzz", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !version.is_ok_and(|status| status.success()) {
        return Err(MISSING.to_owned());
    }
    let corpus = root().join("fuzz/corpus");
    seeds::write(&corpus).map_err(|error| format!("failed to write seeds: {error}"))?;
    let time = format!("-max_total_time={seconds}");
    let names = if wanted.is_empty() { &known } else { &wanted };
    let mut found = Vec::new();
    for name in names {
        // Sanitizers need a nightly compiler and look for what only unsafe code does, which is forbidden here. The
        // variable lets a stable compiler take cargo-fuzz's flags.
        let run = ["fuzz", "run", "--sanitizer", "none", name, "--", &time];
        if let Err(failed) = call("cargo", &[&run[..], &LIMITS].concat(), &[("RUSTC_BOOTSTRAP", "1")]) {
            found.push(failed);
        }
    }
    if !found.is_empty() {
        return Err(found.join("\n"));
    }
    say(&format!("\nno findings in {}", names.join(", ")));
    Ok(())
}

fn arguments(args: &[String]) -> Result<(u64, Vec<String>), String> {
    let (mut seconds, mut names) = (SECONDS, Vec::new());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--seconds" {
            let number = args.next().and_then(|text| text.parse().ok());
            seconds = number.ok_or("--seconds needs a number")?;
        } else {
            names.push(arg.clone());
        }
    }
    Ok((seconds, names))
}

/// The targets, by their files.
fn targets(dir: &std::path::Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs_err::read_dir(dir)? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}
