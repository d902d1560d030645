//! The `layerwise` command.

mod args;
mod commands;
mod env;
mod exit;
mod generate;
mod settings;
mod ui;

use std::process::ExitCode;

fn main() -> ExitCode {
    exit::guarded(|| {
        let environment = env::Environment::of_this_process();
        let cli = match args::parse(environment.arguments()) {
            Ok(cli) => cli,
            Err(error) => return exit::Code::of_usage(&error),
        };
        commands::run(cli, &environment)
    })
}
