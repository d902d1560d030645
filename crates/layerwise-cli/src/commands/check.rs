//! `layerwise check`: would this artifact work on Lambda?

use layerwise::audit::Severity;
use layerwise::error::Kind;
use layerwise::pipeline::{self, Checked};

use super::Context;
use crate::args::CheckArgs;
use crate::exit::{self, Code};
use crate::settings;
use crate::ui::error::Failure;
use crate::ui::{human, json};

pub(super) fn run(args: &CheckArgs, context: &Context<'_>) -> Result<Code, Failure> {
    match check(args, context) {
        Ok(Err(stopped)) => Ok(stopped),
        Ok(Ok(checked)) => {
            let bad = |checked: &Checked| {
                checked.report.has_errors() || args.strict && checked.report.count(Severity::Warning) > 0
            };
            let ok = !checked.iter().any(bad);
            let label = args.artifact.display().to_string();
            let handler = args.handler.as_deref();
            let text = if args.json {
                json::check(&label, &checked, handler, ok, &context.ui.warnings())
            } else {
                let page = &context.ui.page;
                let texts: Vec<String> =
                    checked.iter().map(|checked| human::checked(&label, checked, handler, page)).collect();
                texts.join("\n")
            };
            let written = if args.json { context.ui.data(&text) } else { context.ui.summary(&text) };
            written.map_err(|error| Failure::system("failed to write to stdout", &error))?;
            Ok(if ok { Code::Success } else { Code::Failed(Kind::Findings) })
        }
        Err(failure) if args.json => {
            context.ui.failure(&failure);
            context.answer(&json::check_failed(&failure, &context.ui.warnings()))?;
            Ok(failure.code())
        }
        Err(failure) => Err(failure),
    }
}

/// Or how the process was stopped meanwhile.
fn check(args: &CheckArgs, context: &Context<'_>) -> Result<Result<Vec<Checked>, Code>, Failure> {
    let today = context.today();
    let (check, targets) = settings::check(args, context.environment, &today)?;
    for warning in targets.iter().filter_map(|target| target.warning(&today)) {
        context.ui.warning(&warning);
    }
    let events = context.ui.events();
    let mut result = None;
    let work = async {
        result = Some(pipeline::check(&check, &targets, events.as_ref()).await);
        Code::Success
    };
    let code = exit::block_on(work).map_err(|error| Failure::system("failed to start", &error))?;
    match result {
        Some(checked) => Ok(Ok(checked?)),
        None => Ok(Err(code)),
    }
}
