//! Lock → wheels in the cache, verified.

use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::io::{CachedWheel, Io, Wanted, WheelsError};
use crate::model::{Lock, Pin, WheelSource};

/// The places in the lock's list of what is not in the cache, largest first.
fn missing(packages: &[Pin], cached: &[Option<CachedWheel>]) -> Vec<usize> {
    let mut missing: Vec<usize> = (0..packages.len()).filter(|at| cached[*at].is_none()).collect();
    missing.sort_by_key(|at| std::cmp::Reverse(packages[*at].size));
    missing
}

/// Gets every wheel of the lock, in the lock's order. Relative paths count from `dir`.
pub async fn run(lock: &Lock, dir: &Path, io: &Arc<Io>) -> Result<Vec<CachedWheel>, WheelsError> {
    let packages = &lock.packages;
    let mut wheels: Vec<Option<CachedWheel>> =
        packages.iter().map(|pin| io.cached_wheel(&pin.wheel, pin.sha256)).collect::<Result<_, _>>()?;
    let mut tasks = JoinSet::new();
    for at in missing(packages, &wheels) {
        let (pin, io, dir) = (packages[at].clone(), Arc::clone(io), dir.to_owned());
        tasks.spawn(async move { get(&pin, &dir, &io).await.map(|wheel| (at, wheel)) });
    }
    while let Some(done) = tasks.join_next().await {
        // A panic of a task is ours; dropping the set on an error stops the other downloads.
        let (at, wheel) = done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
        wheels[at] = Some(wheel);
    }
    Ok(wheels.into_iter().flatten().collect())
}

async fn get(pin: &Pin, dir: &Path, io: &Arc<Io>) -> Result<CachedWheel, WheelsError> {
    match &pin.source {
        WheelSource::Url(url) => {
            let wanted = Wanted { name: &pin.wheel, url, sha256: Some(pin.sha256), size: pin.size };
            io.wheel(wanted).await
        }
        WheelSource::Path(path) => io.adopt_wheel(&pin.wheel, &dir.join(path), pin.sha256),
    }
}
