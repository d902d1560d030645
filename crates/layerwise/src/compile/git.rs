//! The sources of a commit, fetched by the user's own git: with the user's keys and helpers, and never with a question.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use base64::Engine as _;
use tokio::process::Command;
use url::Url;

use super::CompileError;
use crate::event::{Event, Stage};
use crate::io::{Bucket, Io, SafeUrl};
use crate::model::{Commit, Sha256};

/// The repository at `commit`, with its history (for version numbers that are made of tags) and its submodules: from
/// the cache, else from `url`.
///
/// # Errors
/// Where there is no git, or where it fails.
pub(super) async fn checkout(package: &str, url: &Url, commit: &Commit, io: &Arc<Io>) -> Result<PathBuf, CompileError> {
    let key = format!("{}-{}", commit.id, &Sha256::of(url.as_str().as_bytes()).to_string()[..16]);
    let dir = io.cache.path(Bucket::Git, &key);
    if io.cache.is_unit(Bucket::Git, &key) {
        io.cache.touch_unit(Bucket::Git, &key, io.now());
        return Ok(dir.join("repository"));
    }
    let git = io.settings.programs.git.clone();
    let git = git.ok_or_else(|| CompileError::NoGit { package: package.to_owned() })?;
    let shown = SafeUrl::from(url).to_string();
    let failed = |said: String| CompileError::Git { url: shown.clone(), commit: commit.id.clone(), said };
    if io.offline() {
        return Err(failed("it is not in the cache, and only the cache may be used".to_owned()));
    }
    io.emit(Event::Started { stage: Stage::Fetch, item: &shown, bytes: None });
    let fetched = async {
        let aside = io.cache.unit_aside(Bucket::Git)?;
        let to = aside.path().join("repository");
        fetch(&Git { program: git, url, io }, commit, &to).await.map_err(failed)?;
        Ok(io.cache.place_unit(aside, Bucket::Git, &key)?)
    };
    let fetched: Result<(), CompileError> = fetched.await;
    io.emit(Event::Finished { stage: Stage::Fetch, item: &shown });
    fetched.map(|()| dir.join("repository"))
}

struct Git<'a> {
    program: PathBuf,
    url: &'a Url,
    io: &'a Io,
}

async fn fetch(git: &Git<'_>, commit: &Commit, to: &Path) -> Result<(), String> {
    // Without the files of other commits, where the server can do that.
    let mut clone = git.command(to.parent().unwrap_or(to));
    clone.args(["clone", "--quiet", "--no-checkout", "--filter=blob:none", "--"]).arg(git.url.as_str()).arg(to);
    run(&mut clone).await?;
    let checkout = || {
        let mut command = git.command(to);
        command.args(["checkout", "--quiet", "--detach", &commit.id]);
        command
    };
    if let Err(said) = run(&mut checkout()).await {
        // It may be on no branch and have no tag, as those of pull requests.
        let asked = run(git.command(to).args(["fetch", "--quiet", "origin", &commit.id])).await;
        asked.map_err(|_| said)?;
        run(&mut checkout()).await?;
    }
    if to.join(".gitmodules").is_file() {
        run(git.command(to).args(["submodule", "--quiet", "update", "--init", "--recursive"])).await?;
    }
    Ok(())
}

impl Git<'_> {
    fn command(&self, dir: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().envs(self.io.settings.child_env.iter().map(|(key, value)| (key, value)));
        // Of a repository that we may be called in, as by a hook of it.
        for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"] {
            command.env_remove(variable);
        }
        command.envs(self.io.git_env());
        // The progress of a large repository is of no use without a terminal; hooks of a template are not ours.
        command.args(["-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false"]);
        // Not among the arguments: those are for all users of the machine to see.
        if let Some(credentials) = self.io.of_repository(self.url) {
            let password = credentials.password.as_ref().map(crate::input::Secret::expose).unwrap_or_default();
            let both = format!("{}:{password}", credentials.username);
            let both = base64::engine::general_purpose::STANDARD.encode(both);
            command.env("GIT_CONFIG_COUNT", "1");
            command.env("GIT_CONFIG_KEY_0", format!("http.{}.extraHeader", self.url));
            command.env("GIT_CONFIG_VALUE_0", format!("Authorization: Basic {both}"));
        }
        command.current_dir(dir).stdin(Stdio::null()).kill_on_drop(true);
        command
    }
}

/// What git said, where it failed: its last lines, without the credentials that may stand in them.
async fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().await.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let fatal = lines.iter().find(|line| line.starts_with("fatal:") || line.starts_with("error:"));
    let said = fatal.or(lines.last()).copied().unwrap_or("it said nothing");
    Err(crate::input::redact(said))
}
