//! The project's own commands: `cargo xtask <command>`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

mod survey;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let done = match command.as_str() {
        "survey" => survey::run(&rest),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            say(&message);
            ExitCode::FAILURE
        }
    }
}

const USAGE: &str = "usage: cargo xtask <command>

  survey [NAME…]   compare layerwise's choice of versions with one made straight from the index's file lists
";

/// The workspace's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in the workspace").to_owned()
}

#[expect(clippy::print_stderr, reason = "a developer's tool: it talks to its terminal")]
fn say(text: &str) {
    eprintln!("{text}");
}
