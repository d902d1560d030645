//! One file for each command; each is thin: the work is the library's, the words are `ui`'s.

mod build;
mod cache;
mod check;
mod completions;
mod config;
pub(crate) mod doctor;
mod local;
mod lock;
mod logs;
mod man;
mod promote;
mod publish;
mod targets;
pub(crate) mod terraform;

use crate::args::{Cli, Command};
use crate::env::Environment;
use crate::exit::Code;
use crate::ui::Ui;
use crate::ui::error::Failure;

/// What a command needs besides its arguments.
pub(crate) struct Context<'a> {
    pub(crate) environment: &'a Environment,
    pub(crate) cache_dir: Option<std::path::PathBuf>,
    pub(crate) ui: Ui,
}

impl Context<'_> {
    /// The present day, `YYYY-MM-DD`.
    pub(crate) fn today(&self) -> String {
        crate::settings::today(self.environment)
    }

    /// The ending of a command that prints `text` on stdout.
    pub(crate) fn answer(&self, text: &str) -> Result<Code, Failure> {
        self.ui.data(text).map_err(|error| Failure::system("failed to write to stdout", &error))?;
        Ok(Code::Success)
    }
}

pub(crate) fn run(cli: Cli, environment: &Environment) -> Code {
    let context =
        Context { environment, ui: Ui::new(&cli.global, environment), cache_dir: cli.global.cache_dir.clone() };
    let done = match cli.command {
        Command::Build(args) => build::run(&args, &context),
        Command::Check(args) => check::run(&args, &context),
        Command::Serve(args) => local::serve(&args, &context),
        Command::Invoke(args) => local::invoke(&args, &context),
        Command::Lock(args) => lock::run(&args, &context),
        Command::Publish(args) => publish::run(&args, &context),
        Command::Promote(args) => promote::run(&args, &context),
        Command::Logs(args) => logs::run(&args, &context),
        Command::Cache(command) => cache::run(&command, &context),
        Command::Terraform(command) => terraform::run(&command, &context),
        Command::Doctor(args) => doctor::run(&args, &context),
        Command::Targets(args) => targets::run(&args, &context),
        Command::Config(command) => config::run(&command, &context),
        Command::Completions { shell } => completions::run(shell, &context),
        Command::Man { dir } => man::run(dir.as_deref(), &context),
        Command::Generate { root } => crate::generate::run(&root),
    };
    done.unwrap_or_else(|failure| {
        context.ui.failure(&failure);
        failure.code()
    })
}
