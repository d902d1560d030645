//! Programs of a build: run to their end, with a limit on time and on what is kept of their output.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use fs_err as fs;
use std::io::{Read as _, Write as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::event::{Event, Stage};
use crate::io::Io;

/// The most that is kept of a build's output, in bytes.
const LARGEST_LOG: usize = 16 << 20;
/// The longest line that is told.
const LONGEST_LINE: usize = 400;

/// How a program ended.
pub(super) enum Ended {
    /// By itself.
    Exit(ExitStatus),
    /// It took too long, and was stopped.
    TimedOut,
}

/// How a program is talked to.
pub(super) struct Talk<'a> {
    /// The file whose bytes it gets.
    pub input: &'a Path,
    /// The file for what it answers.
    pub output: &'a Path,
    /// The most that it may answer, in bytes.
    pub most: u64,
    /// How long it may run.
    pub limit: Duration,
}

/// Runs `command` with the bytes of a file on standard input, which stays open as long as it runs, and keeps what it
/// answers on standard output in another file. What it says on standard error goes where [`run`] puts it.
///
/// # Errors
/// What the system says, where it cannot be started, its answer cannot be kept, or is too long.
pub(super) async fn run_piped(
    mut command: Command,
    talk: &Talk<'_>,
    log: &Path,
    item: &str,
    io: &Io,
) -> std::io::Result<Ended> {
    let (mut input, mut answer) = (fs::File::open(talk.input)?, fs::File::create(talk.output)?);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    #[cfg(unix)]
    command.process_group(0);
    let mut child = command.spawn()?;
    let group = Group(child.id());
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let keeper = tokio::sync::Mutex::new(Keeper::open(log)?);
    let work = async {
        let feed = async {
            let mut stdin = stdin?;
            let mut buffer = vec![0; 256 << 10];
            loop {
                let count = input.read(&mut buffer).ok().filter(|count| *count > 0);
                let Some(count) = count else { return Some(stdin) };
                // Whoever ended before it had read everything says why.
                stdin.write_all(&buffer[..count]).await.ok()?;
            }
        };
        let take = async {
            let Some(mut stdout) = stdout else { return Ok(()) };
            let (mut buffer, mut left) = (vec![0; 256 << 10], talk.most);
            loop {
                let count = stdout.read(&mut buffer).await?;
                if count == 0 {
                    return answer.flush();
                }
                left = left.checked_sub(count as u64).ok_or_else(|| std::io::Error::other("it answers too much"))?;
                answer.write_all(&buffer[..count])?;
            }
        };
        // The program may end while it is still fed: then feeding fails, and ends too.
        let (_open, taken, kept) = tokio::join!(feed, take, keep(stderr, &keeper, item, io));
        taken.and(kept)?;
        child.wait().await
    };
    let ended = tokio::time::timeout(talk.limit, work).await;
    drop(group);
    match ended {
        Ok(status) => status.map(Ended::Exit),
        Err(_) => Ok(Ended::TimedOut),
    }
}

/// Runs `command`, appends what it says to the file at `log` and tells its last line as that of `item`.
///
/// # Errors
/// What the system says, where it cannot be started or its output cannot be kept.
pub(super) async fn run(
    mut command: Command,
    log: &Path,
    limit: Duration,
    item: &str,
    io: &Io,
) -> std::io::Result<Ended> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    #[cfg(unix)]
    command.process_group(0);
    let mut child = command.spawn()?;
    let group = Group(child.id());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let keeper = tokio::sync::Mutex::new(Keeper::open(log)?);
    let work = async {
        let (out, err) = tokio::join!(keep(stdout, &keeper, item, io), keep(stderr, &keeper, item, io));
        out.and(err)?;
        child.wait().await
    };
    let ended = tokio::time::timeout(limit, work).await;
    // What it left running in the background goes too.
    drop(group);
    match ended {
        Ok(status) => status.map(Ended::Exit),
        Err(_) => Ok(Ended::TimedOut),
    }
}

/// A process group, which is killed when this is dropped.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        #[cfg(target_os = "linux")]
        if let Some(id) = self.0.and_then(|id| i32::try_from(id).ok()) {
            // It is gone already, most of the time.
            nix::sys::signal::killpg(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGKILL).ok();
        }
    }
}

struct Keeper {
    file: fs::File,
    kept: usize,
    told: Option<Instant>,
}

impl Keeper {
    fn open(log: &Path) -> std::io::Result<Self> {
        let file = fs::OpenOptions::new().create(true).append(true).open(log)?;
        let kept = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        Ok(Self { file, kept, told: None })
    }
}

async fn keep(
    pipe: Option<impl AsyncRead + Unpin>,
    keeper: &tokio::sync::Mutex<Keeper>,
    item: &str,
    io: &Io,
) -> std::io::Result<()> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    let mut buffer = vec![0; 32 << 10];
    loop {
        let count = pipe.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let mut keeper = keeper.lock().await;
        let room = LARGEST_LOG.saturating_sub(keeper.kept);
        if room > 0 {
            keeper.file.write_all(&buffer[..count.min(room)])?;
            if count > room {
                keeper.file.write_all(b"\n[layerwise: the rest is not kept]\n")?;
            }
        }
        keeper.kept = keeper.kept.saturating_add(count);
        if keeper.told.is_none_or(|told| told.elapsed() > Duration::from_millis(100)) {
            let text = String::from_utf8_lossy(&buffer[..count]);
            if let Some(line) = text.lines().rev().map(str::trim).find(|line| !line.is_empty()) {
                let line: String = line.chars().take(LONGEST_LINE).collect();
                io.emit(Event::Line { stage: Stage::Compile, item, text: &line });
                keeper.told = Some(Instant::now());
            }
        }
    }
}
