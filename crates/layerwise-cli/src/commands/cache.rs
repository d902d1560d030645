//! `layerwise cache {dir,size,prune,clean}`.

use std::time::Duration;

use layerwise::io::Cache;
use layerwise::io::cache::Usage;

use super::Context;
use crate::args::CacheCommand;
use crate::exit::Code;
use crate::settings;
use crate::ui::error::Failure;
use crate::ui::{human, json};

pub(super) fn run(command: &CacheCommand, context: &Context<'_>) -> Result<Code, Failure> {
    let dir = settings::cache_dir(context.cache_dir.as_deref(), context.environment)?;
    let removed = match command {
        CacheCommand::Dir => return context.answer(&format!("{}\n", dir.display())),
        CacheCommand::Size { json } => {
            let usage = Cache::open(&dir)?.usage()?;
            let buckets: Vec<(&str, u64, u64)> =
                usage.iter().map(|(bucket, usage)| (bucket.dir(), usage.files, usage.bytes)).collect();
            return context.answer(&if *json { json::cache(&dir, &buckets) } else { human::cache(&buckets) });
        }
        CacheCommand::Prune { older_than } => {
            let age = Duration::from_secs(u64::from(*older_than) * 24 * 60 * 60);
            Cache::open(&dir)?.prune(context.environment.now, age)?
        }
        CacheCommand::Clean => Cache::open(&dir)?.clean()?,
    };
    let Usage { files, bytes } = removed;
    let text = format!("removed {}, {}\n", human::counted(files, "file"), human::size(bytes));
    context.ui.summary(&text).map_err(|error| Failure::system("failed to write to stdout", &error))?;
    Ok(Code::Success)
}
