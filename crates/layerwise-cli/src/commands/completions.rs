//! `layerwise completions SHELL`.

use clap_complete::Shell;

use super::Context;
use crate::exit::Code;
use crate::ui::error::Failure;

pub(super) fn run(shell: Shell, context: &Context<'_>) -> Result<Code, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut crate::args::command(), "layerwise", &mut script);
    context.answer(&String::from_utf8_lossy(&script))
}
