//! `layerwise terraform {install,mirror}`, and this program as Terraform's provider.

use std::sync::Arc;
use std::time::Duration;

use layerwise::event::Silent;
use layerwise_terraform::install::{self, SOURCE, VERSION};
use layerwise_terraform::{Host, ServeError};

use super::Context;
use crate::args::TerraformCommand;
use crate::env::Environment;
use crate::exit::Code;
use crate::settings::{self, SettingsError};
use crate::ui::consent::Answer;
use crate::ui::error::{self, Failure};
use crate::ui::findings::{self, Words};
use crate::ui::human::Page;
use crate::ui::{to_stderr, to_stdout};

pub(super) fn run(command: &TerraformCommand, context: &Context<'_>) -> Result<Code, Failure> {
    let environment = context.environment;
    let program = environment.program().ok_or_else(Failure::bug)?;
    let path = match command {
        TerraformCommand::Install { dir } => {
            let dir = dir.as_ref().map(|dir| environment.dir.join(dir)).or_else(|| environment.terraform_plugins());
            install::install(program, &dir.ok_or(SettingsError::NoPluginDir)?)?
        }
        TerraformCommand::Mirror { dir } => install::mirror(program, &environment.dir.join(dir))?,
    };
    context.ui.detail(&format!("wrote {}", path.display()));
    context.answer(&format!(
        "terraform {{\n  required_providers {{\n    layerwise = {{\n      source  = \"{SOURCE}\"\n      version = \"{VERSION}\"\n    }}\n  }}\n}}\n"
    ))
}

/// Serves Terraform.
pub(crate) fn serve(environment: &Environment) -> Code {
    let ended = provide(environment);
    ended.err().map_or(Code::Success, |failure| {
        to_stderr(&error::render(&failure, &Page::bare(environment.dir.clone())));
        failure.code()
    })
}

fn provide(environment: &Environment) -> Result<(), Failure> {
    let surroundings = environment.clone();
    let host = Host {
        dir: environment.dir.clone(),
        temp_dir: std::env::temp_dir(),
        today: settings::today(environment),
        variables: environment.all_text(),
        io: settings::io(environment, None, Arc::new(Silent), Answer::new(false, environment, None))?,
        aws: super::publish::client_settings(None, environment),
        surroundings: Box::new(move |dir| surroundings.surroundings(dir)),
        words: |finding, target| {
            let Words { text, lambda, way_out } = findings::words(finding, target, None);
            let lambda = lambda.map(|says| format!("Lambda would say: {says}\n")).unwrap_or_default();
            format!("{text}\n{lambda}hint: {way_out}")
        },
        say: |line| to_stdout(&format!("{line}\n")),
        log: |line| to_stderr(&format!("{line}\n")),
    };
    if !layerwise_terraform::started_by_terraform(&host) {
        return Err(ServeError::ByHand.into());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::system("failed to start", &error))?;
    let ended = runtime.block_on(layerwise_terraform::serve(host));
    // Whatever still runs belongs to a Terraform that is gone; what it has written aside goes with it.
    runtime.shutdown_timeout(Duration::from_secs(2));
    Ok(ended?)
}
