//! A Python of the target's minor version on this machine, and what it says of itself.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;
use tokio::process::Command;

use super::CompileError;
use crate::event::{Event, Stage};
use crate::io::Io;
use crate::model::Target;
use crate::resolve::uv::Uv;

/// A Python that builds run on.
#[derive(Debug, Clone)]
pub(super) struct Python {
    /// The interpreter itself, not a stand-in of pyenv.
    pub program: PathBuf,
}

/// What `describe.py` tells.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Described {
    /// Its full version.
    pub version: String,
    /// Where it is installed.
    pub base: PathBuf,
    /// Where its compiled parts are.
    pub exec_base: PathBuf,
}

const DESCRIBE: &str = include_str!("describe.py");

impl Python {
    /// One on this machine, or one that uv has or gets.
    pub(super) async fn find(target: Target, uv: &Uv, io: &Io) -> Result<Self, CompileError> {
        let minor = target.runtime.minor;
        for candidate in io.settings.programs.pythons.get(&minor).into_iter().flatten() {
            if let Some(program) = real(candidate, minor).await {
                return Ok(Self { program });
            }
        }
        let version = format!("3.{minor}");
        if let Some(found) = uv.find_python(&version, io).await
            && let Some(program) = real(&found, minor).await
        {
            return Ok(Self { program });
        }
        let missing = |said: String| CompileError::NoPython { version: version.clone(), said };
        if io.offline() {
            return Err(missing("only the cache may be used".to_owned()));
        }
        let item = format!("python {version}");
        io.emit(Event::Started { stage: Stage::Provision, item: &item, bytes: None });
        let installed = uv.install_python(&version, io).await;
        io.emit(Event::Finished { stage: Stage::Provision, item: &item });
        installed.map_err(missing)?;
        let found = uv.find_python(&version, io).await.ok_or_else(|| missing("uv did not install one".to_owned()))?;
        Ok(Self { program: found })
    }

    /// Writes the description of the target to `dir/python`; `seen` is what the build calls `dir`.
    pub(super) async fn describe(&self, dir: &Path, seen: &str, target: Target) -> Result<Described, CompileError> {
        let out = dir.join("python");
        let mut command = Command::new(&self.program);
        command.args(["-I", "-c", DESCRIBE]).arg(&out).arg(seen).arg(target.architecture.machine());
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.map_err(|source| CompileError::Prepare { what: "Python", source })?;
        let described = serde_json::from_slice(&output.stdout).ok().filter(|_| output.status.success());
        described.ok_or_else(|| CompileError::Describe {
            python: self.program.clone(),
            said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }
}

/// The interpreter behind a program that may be a stand-in, if it is of this minor version and has its headers.
async fn real(program: &Path, minor: u8) -> Option<PathBuf> {
    const ASK: &str = "import os, sys, sysconfig; print(sys.version_info[1], \
        os.path.exists(sysconfig.get_config_h_filename()), sys.executable)";
    let mut command = Command::new(program);
    command.args(["-I", "-c", ASK]).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut parts = text.trim().splitn(3, ' ');
    let fits = parts.next()? == minor.to_string() && parts.next()? == "True";
    fits.then(|| parts.next().map(PathBuf::from))?
}
