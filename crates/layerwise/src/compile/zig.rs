//! The compiler: a pinned zig from the package index, and its cache of compiled C and C++ runtimes for a target.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use fs_err as fs;
use serde::Deserialize;

use super::CompileError;
use crate::event::{Event, Stage};
use crate::input::IndexOptions;
use crate::io::{Bucket, Io, make_executable};
use crate::model::Target;
use crate::resolve::pinned::PinnedWheel;
use crate::wheel;

#[derive(Deserialize)]
struct Pinned {
    version: String,
    wheels: BTreeMap<String, PinnedWheel>,
}

/// Part of the program: a test reads it, so it cannot fail to parse in a release.
static PINNED: LazyLock<Pinned> =
    LazyLock::new(|| toml::from_str(include_str!("zig.toml")).expect("zig.toml is tested"));

/// A zig that can be called.
#[derive(Debug, Clone)]
pub(super) struct Zig {
    /// Its directory: the program `zig` and its `lib`.
    pub dir: PathBuf,
}

/// The version that is provided.
pub(super) fn version() -> &'static str {
    &PINNED.version
}

/// zig's word for a target: `x86_64-linux-gnu.2.26`.
pub(super) fn triple(target: Target) -> String {
    format!("{}-linux-gnu.{}", target.architecture.machine(), target.runtime.glibc)
}

impl Zig {
    /// The program.
    pub(super) fn program(&self) -> PathBuf {
        self.dir.join("zig")
    }

    /// The pinned zig, from the cache or the package index.
    pub(super) async fn find(io: &Arc<Io>, indexes: &IndexOptions) -> Result<Self, CompileError> {
        let host = format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH);
        let pinned = PINNED.wheels.get(&host).ok_or(CompileError::NoZig { host: host.clone() })?;
        let key = format!("zig-{}-{host}", PINNED.version);
        let dir = io.cache.path(Bucket::Toolchains, &key);
        if io.cache.is_unit(Bucket::Toolchains, &key) {
            io.cache.touch_unit(Bucket::Toolchains, &key, io.now());
            return Ok(Self { dir });
        }
        let item = format!("zig {}", PINNED.version);
        io.emit(Event::Started { stage: Stage::Provision, item: &item, bytes: None });
        let provided = Self::provide(io, indexes, pinned, &key).await;
        io.emit(Event::Finished { stage: Stage::Provision, item: &item });
        provided.map(|()| Self { dir })
    }

    async fn provide(
        io: &Arc<Io>,
        indexes: &IndexOptions,
        pinned: &PinnedWheel,
        key: &str,
    ) -> Result<(), CompileError> {
        let cached = pinned.get(indexes, io).await?;
        let (io, key) = (Arc::clone(io), key.to_owned());
        let unpacked = tokio::task::spawn_blocking(move || {
            let aside = io.cache.unit_aside(Bucket::Toolchains)?;
            unpack(&cached.path, &cached.index, aside.path()).map_err(|source| CompileError::Provide {
                what: "zig",
                path: aside.path().to_owned(),
                source,
            })?;
            io.cache.place_unit(aside, Bucket::Toolchains, &key)?;
            // It is 90 MB, and unpacked now.
            Ok(io.evict_wheel(cached.sha256)?)
        });
        unpacked.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    /// A cache of zig's own that already holds the C runtime of `triple` (and with `cxx` the C++ runtime): making
    /// them takes seconds to half a minute, and zig is known to stumble when several links make them at once.
    pub(super) async fn warm(&self, io: &Arc<Io>, triple: &str, cxx: bool) -> Result<PathBuf, CompileError> {
        let key = format!("zig-cache-{}-{triple}-{}", PINNED.version, if cxx { "cxx" } else { "c" });
        let dir = io.cache.path(Bucket::Toolchains, &key);
        if io.cache.is_unit(Bucket::Toolchains, &key) {
            io.cache.touch_unit(Bucket::Toolchains, &key, io.now());
            return Ok(dir);
        }
        let item = format!("{} runtime for {triple}", if cxx { "C++" } else { "C" });
        io.emit(Event::Started { stage: Stage::Provision, item: &item, bytes: None });
        let made = self.make_warm(io, triple, cxx, &key).await;
        io.emit(Event::Finished { stage: Stage::Provision, item: &item });
        made.map(|()| dir)
    }

    async fn make_warm(&self, io: &Arc<Io>, triple: &str, cxx: bool, key: &str) -> Result<(), CompileError> {
        let aside = io.cache.unit_aside(Bucket::Toolchains)?;
        let failed = |source| CompileError::Provide { what: "zig's cache", path: aside.path().to_owned(), source };
        let work = tempfile::tempdir().map_err(failed)?;
        let sources: &[(&str, &str, &str)] = &[
            (
                "cc",
                "a.c",
                "#include <stdio.h>\n#include <math.h>\nint f(double x){return printf(\"%f\", pow(x, x));}\n",
            ),
            (
                "c++",
                "a.cc",
                "#include <stdexcept>\n#include <string>\nvoid f(){throw std::runtime_error(std::string(9,'a'));}\n",
            ),
        ];
        for (command, file, text) in sources.iter().take(if cxx { 2 } else { 1 }) {
            let source = work.path().join(file);
            fs::write(&source, text).map_err(failed)?;
            let mut zig = tokio::process::Command::new(self.program());
            zig.arg(command).args(["-target", triple, "-shared", "-fPIC", "-g0", "-fno-sanitize=undefined"]);
            // As the shim links: with symbols the runtime would be made once more.
            zig.args(["-O2", "-s"]).arg(&source).arg("-o").arg(work.path().join("a.so"));
            zig.env_clear().env("HOME", work.path()).env("PATH", "/usr/bin:/bin").kill_on_drop(true);
            zig.env("ZIG_GLOBAL_CACHE_DIR", aside.path()).env("ZIG_LOCAL_CACHE_DIR", aside.path());
            zig.current_dir(work.path()).stdin(std::process::Stdio::null());
            let output = zig.output().await.map_err(failed)?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                return Err(CompileError::ZigFails { triple: triple.to_owned(), said });
            }
        }
        Ok(io.cache.place_unit(aside, Bucket::Toolchains, key)?)
    }
}

/// Unpacks the members below `ziglang/`.
fn unpack(path: &Path, index: &wheel::WheelIndex, dir: &Path) -> std::io::Result<()> {
    let mut file = BufReader::new(fs::File::open(path)?);
    for member in &index.members {
        // Names in an index are relative and safe. The documentation is not needed.
        let Some(name) = member.name.strip_prefix("ziglang/").filter(|name| !name.starts_with("doc/")) else {
            continue;
        };
        let to = dir.join(name);
        fs::create_dir_all(to.parent().unwrap_or(dir))?;
        let mut out = std::io::BufWriter::new(fs::File::create(&to)?);
        wheel::extract(&mut file, member, &mut out).map_err(std::io::Error::other)?;
        std::io::Write::flush(&mut out)?;
        if member.executable || name == "zig" {
            make_executable(&to)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WheelName;

    #[test]
    fn the_pins_parse_and_name_one_version() {
        assert_eq!(PINNED.wheels.len(), 4);
        for (host, pinned) in &PINNED.wheels {
            let wheel: WheelName = pinned.name.parse().unwrap();
            assert_eq!(wheel.version.to_string(), PINNED.version, "{host}");
        }
        let target = Target::new("python3.11", "arm64", "2026-11-24").unwrap();
        assert_eq!(triple(target), "aarch64-linux-gnu.2.26");
    }
}
