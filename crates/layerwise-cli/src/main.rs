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
    let environment = env::Environment::of_this_process();
    if let Some((code, said)) = environment.part() {
        if let Some(said) = said {
            ui::to_stderr(&format!("{said}\n"));
        }
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    if environment.is_terraform_provider() {
        return exit::guarded(|| commands::terraform::serve(&environment));
    }
    exit::guarded(|| {
        let cli = match args::parse(environment.arguments()) {
            Ok(cli) => cli,
            Err(error) => return exit::Code::of_usage(&error),
        };
        commands::run(cli, &environment)
    })
}
