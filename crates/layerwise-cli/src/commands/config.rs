//! `layerwise config {check,schema}`.

use layerwise::config::matrix;

use super::Context;
use crate::args::{ConfigCommand, InputArgs};
use crate::exit::Code;
use crate::settings;
use crate::ui::error::Failure;
use crate::ui::relative;

pub(super) fn run(command: &ConfigCommand, context: &Context<'_>) -> Result<Code, Failure> {
    let dir = match command {
        ConfigCommand::Schema => return context.answer(&layerwise::config::schema()),
        ConfigCommand::Check { dir } => dir,
    };
    let input = InputArgs { dir: dir.clone(), ..InputArgs::default() };
    let project = settings::project(&input, None, context.environment)?;
    for warning in &project.warnings {
        context.ui.warning(warning);
    }
    let mut text = String::new();
    // No runtime is no mistake here: a flag or a variable may name it.
    let (complete, without): (Vec<_>, Vec<_>) =
        project.layers.into_iter().partition(|layer| !layer.runtimes.is_empty());
    for layer in without {
        text += &format!("{}: no runtime; `build` needs `--runtime`\n", layer.name);
    }
    for cell in matrix(&complete, &project.dir, &context.today())? {
        let output = relative(&cell.output, &context.environment.dir);
        text += &format!("{} for {} -> {output}\n", cell.layer.name, cell.target);
    }
    context.answer(&text)
}
