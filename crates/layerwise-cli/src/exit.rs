//! How the process ends: the one table of exit codes, Ctrl-C, and panics.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Duration;

use layerwise::error::Kind;

/// A documented way to end. Codes are never reused; `docs/exit-codes.md` is made from this table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Success,
    Failed(Kind),
    Interrupted,
    Terminated,
}

impl Code {
    pub(crate) const ALL: [Self; 15] = [
        Self::Success,
        Self::Failed(Kind::Usage),
        Self::Failed(Kind::Input),
        Self::Failed(Kind::Resolution),
        Self::Failed(Kind::Network),
        Self::Failed(Kind::Integrity),
        Self::Failed(Kind::Limit),
        Self::Failed(Kind::System),
        Self::Failed(Kind::Compile),
        Self::Failed(Kind::Findings),
        Self::Failed(Kind::Function),
        Self::Failed(Kind::Aws),
        Self::Failed(Kind::Internal),
        Self::Interrupted,
        Self::Terminated,
    ];

    /// The number the shell sees.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed(Kind::Usage) => 2,
            Self::Failed(Kind::Input) => 3,
            Self::Failed(Kind::Resolution) => 4,
            Self::Failed(Kind::Network) => 5,
            Self::Failed(Kind::Integrity) => 6,
            Self::Failed(Kind::Limit) => 7,
            Self::Failed(Kind::System) => 8,
            Self::Failed(Kind::Compile) => 10,
            Self::Failed(Kind::Findings) => 9,
            Self::Failed(Kind::Function) => 12,
            Self::Failed(Kind::Aws) => 11,
            Self::Failed(_) => 70,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// The word in JSON documents.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed(Kind::Usage) => "usage",
            Self::Failed(Kind::Input) => "input",
            Self::Failed(Kind::Resolution) => "resolution",
            Self::Failed(Kind::Network) => "network",
            Self::Failed(Kind::Integrity) => "integrity",
            Self::Failed(Kind::Limit) => "limit",
            Self::Failed(Kind::System) => "system",
            Self::Failed(Kind::Compile) => "compile",
            Self::Failed(Kind::Findings) => "findings",
            Self::Failed(Kind::Function) => "function",
            Self::Failed(Kind::Aws) => "aws",
            Self::Failed(_) => "internal",
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
        }
    }

    const fn meaning(self) -> &'static str {
        match self {
            Self::Success => "Everything was done.",
            Self::Failed(Kind::Usage) => "The command line or the configuration is wrong.",
            Self::Failed(Kind::Input) => "A file of the project is missing or wrong.",
            Self::Failed(Kind::Resolution) => "No set of wheels satisfies the requirements on the target.",
            Self::Failed(Kind::Network) => "The network or a server failed.",
            Self::Failed(Kind::Integrity) => {
                "Bytes are not what they should be: a hash, a zip, two wheels with different files at one path."
            }
            Self::Failed(Kind::Limit) => "The artifact is beyond Lambda's limits.",
            Self::Failed(Kind::Compile) => "A wheel could not be built from its source.",
            Self::Failed(Kind::System) => "This machine failed: disk full, no permission, a program missing.",
            Self::Failed(Kind::Findings) => "The artifact would not work on Lambda; see [findings](findings.md).",
            Self::Failed(Kind::Function) => "The function that was invoked failed; its answer is on stdout.",
            Self::Failed(Kind::Aws) => {
                "AWS refused: credentials, permissions, throttling, a failure of its own, or of some regions or \
                 functions."
            }
            Self::Failed(_) => "A bug of layerwise.",
            Self::Interrupted => "Ctrl-C. Nothing half-written is left at the output's path.",
            Self::Terminated => "SIGTERM. Nothing half-written is left at the output's path.",
        }
    }

    /// Prints clap's message where it belongs; asking for help is no failure.
    pub(crate) fn of_usage(error: &clap::Error) -> Self {
        // A closed pipe is no failure.
        error.print().ok();
        if error.use_stderr() { Self::Failed(Kind::Usage) } else { Self::Success }
    }
}

/// `docs/exit-codes.md`.
pub(crate) fn documentation() -> String {
    let mut text = "# Exit codes\n\n\
        Made by `layerwise generate` from `crates/layerwise-cli/src/exit.rs`. Codes are never reused.\n\n\
        | code | `kind` in JSON | meaning |\n|---|---|---|\n"
        .to_owned();
    for code in Code::ALL {
        text += &format!("| {} | `{}` | {} |\n", code.number(), code.word(), code.meaning());
    }
    text += "\nWhen several artifacts are built and some fail, the others are still built, and the code is that of the \
        first failure in the order of the configuration.\n";
    text
}

/// Runs `body`; a panic becomes a short message and the code of a bug.
pub(crate) fn guarded(body: impl FnOnce() -> Code) -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|place| format!(" at {}:{}", place.file(), place.line())).unwrap_or_default();
        let payload = panic.payload();
        let what = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref().map(String::as_str));
        let what = what.unwrap_or("no message");
        crate::ui::to_stderr(&format!(
            "error: this is a bug in layerwise: {what}{place}\n\
             hint: please report it with the command line and this message: {}/issues\n",
            env!("CARGO_PKG_REPOSITORY")
        ));
    }));
    let code = catch_unwind(AssertUnwindSafe(body)).unwrap_or(Code::Failed(Kind::Internal));
    ExitCode::from(code.number())
}

/// Runs `work` to its end, or drops it at Ctrl-C or SIGTERM.
pub(crate) fn block_on(work: impl Future<Output = Code>) -> std::io::Result<Code> {
    block_on_to_the_end(async {
        tokio::select! {
            code = work => code,
            code = stopped() => code,
        }
    })
}

/// Runs `work`, which looks out for [`stopped`] itself.
pub(crate) fn block_on_to_the_end(work: impl Future<Output = Code>) -> std::io::Result<Code> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(work);
    // Files being written aside remove themselves when their writer ends; give writers a moment for that.
    runtime.shutdown_timeout(Duration::from_secs(2));
    Ok(code)
}

/// Comes at Ctrl-C or SIGTERM.
#[cfg(unix)]
pub(crate) async fn stopped() -> Code {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        Ok(()) = tokio::signal::ctrl_c() => Code::Interrupted,
        Some(()) = terminate.recv() => Code::Terminated,
        else => std::future::pending().await,
    }
}

/// Comes at Ctrl-C.
#[cfg(not(unix))]
pub(crate) async fn stopped() -> Code {
    match tokio::signal::ctrl_c().await {
        Ok(()) => Code::Interrupted,
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_words_are_distinct() {
        let numbers: std::collections::BTreeSet<u8> = Code::ALL.iter().map(|code| code.number()).collect();
        let words: std::collections::BTreeSet<&str> = Code::ALL.iter().map(|code| code.word()).collect();
        assert_eq!((numbers.len(), words.len()), (Code::ALL.len(), Code::ALL.len()));
    }
}
