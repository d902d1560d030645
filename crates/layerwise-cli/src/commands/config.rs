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
    for cell in matrix(&project.layers, &project.dir, &context.today())? {
        let output = relative(&cell.output, &context.environment.dir);
        text += &format!("{} for {} -> {output}\n", cell.layer.name, cell.target);
    }
    context.answer(&text)
}
