//! `layerwise targets`: the runtimes of the data file.

use layerwise::model::Runtime;

use super::Context;
use crate::args::TargetsArgs;
use crate::exit::Code;
use crate::ui::error::Failure;
use crate::ui::{human, json};

pub(super) fn run(args: &TargetsArgs, context: &Context<'_>) -> Result<Code, Failure> {
    let (runtimes, today) = (Runtime::all(), context.today());
    context.answer(&if args.json {
        json::targets(runtimes, &today)
    } else {
        human::targets(runtimes, &today, &context.ui.page)
    })
}
