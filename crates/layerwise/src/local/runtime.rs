//! What the managed runtime brings besides Python: the runtime interface client and the AWS SDK, from the package index.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use fs_err as fs;
use serde::Deserialize;

use crate::error::{Explain, Kind};
use crate::event::{Event, Stage};
use crate::input::IndexOptions;
use crate::io::{Bucket, CacheError, CachedWheel, Io, WheelsError, blocking};
use crate::model::{Sha256, Target};
use crate::resolve::UpstreamError;
use crate::resolve::pinned::{PinnedError, PinnedWheel};
use crate::wheel;

#[derive(Deserialize)]
struct Pinned {
    wheel: Vec<Pin>,
}

#[derive(Deserialize)]
struct Pin {
    minor: Option<u8>,
    machine: Option<String>,
    #[serde(flatten)]
    wheel: PinnedWheel,
}

/// Part of the program: a test reads it, so it cannot fail to parse in a release.
static PINNED: LazyLock<Pinned> =
    LazyLock::new(|| toml::from_str(include_str!("runtime.toml")).expect("runtime.toml is tested"));

/// Where the runtime's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeFiles {
    /// A directory with `bootstrap.py` and `site-packages`.
    pub dir: PathBuf,
}

/// The runtime's files are not to be had.
#[derive(Debug, thiserror::Error)]
pub enum ProvideError {
    /// The index does not have what is pinned.
    #[error("the package index has no `{0}`, which the local Lambda needs")]
    NotOnIndex(String),
    /// The index.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// A download.
    #[error(transparent)]
    Wheel(#[from] WheelsError),
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The cache's disk.
    #[error("failed to unpack the runtime's packages to `{}`", path.display())]
    Unpack {
        /// Where to.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl From<PinnedError> for ProvideError {
    fn from(error: PinnedError) -> Self {
        match error {
            PinnedError::NotOnIndex(wheel) => Self::NotOnIndex(wheel),
            PinnedError::Index(error) => error.into(),
            PinnedError::Wheel(error) => error.into(),
        }
    }
}

impl Explain for ProvideError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotOnIndex(_) => Kind::Network,
            Self::Upstream(error) => error.kind(),
            Self::Wheel(error) => error.kind(),
            Self::Cache(error) => error.kind(),
            Self::Unpack { .. } => Kind::System,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NotOnIndex(_) => vec!["use PyPI, or an index that mirrors it, once; the cache keeps them".to_owned()],
            Self::Upstream(error) => error.hints(),
            Self::Wheel(error) => error.hints(),
            Self::Cache(error) => error.hints(),
            Self::Unpack { .. } => Vec::new(),
        }
    }
}

const BOOTSTRAP: &str = include_str!("bootstrap.py");

/// The runtime's files for a target, from the cache or the package index.
///
/// # Errors
/// The index, the network, the cache.
pub async fn provide(target: Target, indexes: &IndexOptions, io: &Arc<Io>) -> Result<RuntimeFiles, ProvideError> {
    let pins = || PINNED.wheel.iter().filter(|pin| fits(pin, target));
    let all: String = pins().map(|pin| pin.wheel.sha256.to_string()).chain([BOOTSTRAP.to_owned()]).collect();
    let digest = Sha256::of(all.as_bytes()).to_string();
    let short = digest.get(..16).unwrap_or(&digest);
    let key = format!("lambda-{}-{}-{short}", target.runtime.name, target.architecture.machine());
    let dir = io.cache.path(Bucket::Toolchains, &key);
    if io.cache.is_unit(Bucket::Toolchains, &key) {
        io.cache.touch_unit(Bucket::Toolchains, &key, io.now());
        return Ok(RuntimeFiles { dir });
    }
    let item = format!("the runtime of {}", target.runtime.name);
    io.emit(Event::Started { stage: Stage::Provision, item: &item, bytes: None });
    let provided = fetch_and_unpack(pins().collect(), &key, indexes, io).await;
    io.emit(Event::Finished { stage: Stage::Provision, item: &item });
    provided.map(|()| RuntimeFiles { dir })
}

fn fits(pin: &Pin, target: Target) -> bool {
    pin.minor.is_none_or(|minor| minor == target.runtime.minor)
        && pin.machine.as_ref().is_none_or(|machine| machine == target.architecture.machine())
}

async fn fetch_and_unpack(
    pins: Vec<&Pin>,
    key: &str,
    indexes: &IndexOptions,
    io: &Arc<Io>,
) -> Result<(), ProvideError> {
    let mut wheels = Vec::new();
    for pin in pins {
        wheels.push(pin.wheel.get(indexes, io).await?);
    }
    let (io, key) = (Arc::clone(io), key.to_owned());
    blocking(move || {
        let aside = io.cache.unit_aside(Bucket::Toolchains)?;
        let failed = |source| ProvideError::Unpack { path: aside.path().to_owned(), source };
        for wheel in &wheels {
            unpack(wheel, &aside.path().join("site-packages")).map_err(failed)?;
        }
        fs::write(aside.path().join("bootstrap.py"), BOOTSTRAP).map_err(failed)?;
        io.cache.place_unit(aside, Bucket::Toolchains, &key)?;
        Ok(())
    })
    .await
}

fn unpack(wheel: &CachedWheel, dir: &Path) -> std::io::Result<()> {
    let mut file = BufReader::new(fs::File::open(&wheel.path)?);
    for member in &wheel.index.members {
        // Names in an index are relative and safe. What is in `.data` (scripts of botocore's kin) nobody needs here.
        if member.name.split('/').next().is_some_and(|top| top.ends_with(".data")) {
            continue;
        }
        let to = dir.join(&member.name);
        fs::create_dir_all(to.parent().unwrap_or(dir))?;
        let mut out = std::io::BufWriter::new(fs::File::create(&to)?);
        wheel::extract(&mut file, member, &mut out).map_err(std::io::Error::other)?;
        std::io::Write::flush(&mut out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Runtime;
    use crate::model::WheelName;

    #[test]
    fn each_runtime_has_its_client_on_each_architecture() {
        for runtime in Runtime::all().iter().filter(|runtime| runtime.blocked.is_none()) {
            for architecture in &runtime.architectures {
                let target = Target::new(&runtime.name, architecture.aws(), "2026-11-24").unwrap();
                let names: Vec<&str> =
                    PINNED.wheel.iter().filter(|pin| fits(pin, target)).map(|pin| pin.wheel.name.as_str()).collect();
                let clients: Vec<_> = names.iter().filter(|name| name.starts_with("awslambdaric-")).collect();
                assert_eq!(clients.len(), 1, "{target}: {names:?}");
                let wheel: WheelName = clients[0].parse().unwrap();
                let tag = format!("cp3{}", runtime.minor);
                assert!(
                    wheel.text.contains(&tag) && wheel.text.contains(architecture.machine()),
                    "{target}: {names:?}"
                );
            }
        }
    }
}
