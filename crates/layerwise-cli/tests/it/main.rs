//! The real binary with a real uv, against a package index in process.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests too, which clippy does not see")]

mod archive;
mod bytes;
mod check;
mod cli;
mod compile;
mod container;
mod crash;
mod fetch;
mod function;
mod lock;
mod publish;
mod real_failures;
mod real_index;
mod resolve;
mod serve;
mod silent;
#[cfg(target_os = "linux")]
mod terraform;

use layerwise_testkit::{Cli, Index, Run, Served, Wheel, elf, wheel};
use serde_json::Value;

/// `layerwise` with these words and this default index.
fn layerwise(served: &Served, line: &str) -> Cli {
    Cli::new(env!("CARGO_BIN_EXE_layerwise")).index(served).args(words(line))
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// A project that builds one layer of a few kinds of files.
const BUILD: &str = "build -p alpha --runtime python3.13 --name demo -o demo.zip";

/// Writes the lock that [`BUILD`] uses.
const LOCK: &str = "lock -p alpha --runtime python3.13 --name demo";

/// What [`BUILD`] asks for: `alpha`, which requires `beta`.
fn demo() -> Index {
    Index::new().wheel(alpha()).wheel(beta())
}

fn alpha() -> Wheel {
    wheel("alpha", "1.0")
        .tags("cp313-cp313-manylinux_2_17_x86_64")
        .file("alpha/__init__.py", "import beta\n")
        .file("alpha/native.so", [elf().bytes(), noise(60_000)].concat())
        .entry_point("console", "alpha = alpha:main")
        .requires("beta>=2")
        .build()
}

fn beta() -> Wheel {
    wheel("beta", "2.0").file("beta.py", "VERSION = 2\n".repeat(200)).build()
}

/// Bytes that hardly compress, always the same.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let byte = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(byte).collect()
}

/// The document on stdout, which must be one and nothing else.
#[track_caller]
fn json(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}\n{run}"))
}

/// The zip's sha256 as the run tells it.
#[track_caller]
fn sha256_of(run: &Run) -> String {
    let line = run.stdout.lines().find_map(|line| line.trim().strip_prefix("sha256"));
    line.unwrap_or_else(|| panic!("no sha256\n{run}")).trim().to_owned()
}

/// Files anywhere below `dir`, relative, sorted.
fn files_below(dir: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs_err::read_dir(&next).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => dirs.push(entry.path()),
                _ => found.push(entry.path().strip_prefix(dir).expect("below it").display().to_string()),
            }
        }
    }
    found.sort();
    found
}

/// What stands in the project's directory after a run.
fn left_in(cli: &Cli) -> Vec<String> {
    files_below(cli.project())
}
