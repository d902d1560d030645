//! `layerwise check`: would this artifact work on Lambda?

use layerwise::audit::{Report, Severity};
use layerwise::error::Kind;
use layerwise::pipeline;

use super::Context;
use crate::args::CheckArgs;
use crate::exit::Code;
use crate::settings;
use crate::ui::error::Failure;
use crate::ui::{human, json};

pub(super) fn run(args: &CheckArgs, context: &Context<'_>) -> Result<Code, Failure> {
    match reports(args, context) {
        Ok(reports) => {
            let bad = |report: &Report| {
                report.has_errors() || args.strict && report.count(Severity::Warning) > 0
            };
            let ok = !reports.iter().any(bad);
            let label = args.artifact.display().to_string();
            let handler = args.handler.as_deref();
            let text = if args.json {
                json::check(&label, &reports, handler, ok, &context.ui.warnings())
            } else {
                let texts: Vec<String> =
                    reports.iter().map(|report| human::report(&label, report, handler, &context.ui.page)).collect();
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

fn reports(args: &CheckArgs, context: &Context<'_>) -> Result<Vec<Report>, Failure> {
    let today = context.today();
    let (check, targets) = settings::check(args, context.environment, &today)?;
    for warning in targets.iter().filter_map(|target| target.warning(&today)) {
        context.ui.warning(&warning);
    }
    Ok(pipeline::check(&check, &targets, settings::threads())?)
}
