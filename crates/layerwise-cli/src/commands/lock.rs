//! `layerwise lock`: choose versions once, for committing.

use std::sync::Arc;

use layerwise::io::Io;
use layerwise::pipeline::{Job, LockPolicy};
use serde_json::json;

use super::Context;
use super::build::{Done, each, pipeline};
use crate::args::LockArgs;
use crate::exit::Code;
use crate::ui::error::Failure;
use crate::ui::{human, json, relative};

pub(super) fn run(args: &LockArgs, context: &Context<'_>) -> Result<Code, Failure> {
    let check = args.check;
    each("lock", &args.input, None, context, move |job: Arc<Job>, io: Arc<Io>| async move {
        if check {
            // Insisting fails, with the reason, unless the lock is there and matches.
            let (lock, _) = pipeline::plan(&job, LockPolicy::Insist, &io).await?;
            let (path, packages) = (job.lock_file.clone(), lock.len() as u64);
            return Ok(Done {
                notes: Vec::new(),
                json: json!({ "path": path, "packages": packages, "changed": false }),
                text: Box::new(move |ui| {
                    let path = relative(&path, &ui.page.dir);
                    format!("{path} matches its inputs: {}\n", human::counted(packages, "package"))
                }),
                built: None,
            });
        }
        let locked = pipeline::lock(&job, &io).await?;
        Ok(Done {
            notes: locked.notes.iter().map(human::note).collect(),
            json: json!({
                "path": locked.path,
                "packages": locked.packages,
                "changed": locked.changed,
                "notes": json::notes(&locked.notes),
            }),
            text: Box::new(move |ui| {
                let verb = if locked.changed { "locked" } else { "unchanged" };
                let path = relative(&locked.path, &ui.page.dir);
                let packages = human::counted(locked.packages as u64, "package");
                format!("{} {path}: {packages} for {}\n", ui.page.green(verb), job.target)
            }),
            built: None,
        })
    })
}
