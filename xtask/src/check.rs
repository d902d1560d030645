//! `cargo xtask check`: all that CI runs.

use crate::run as call;

/// Format, clippy with warnings as errors, tests (those that generated files are compared by are among them), docs.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let fast = args.iter().any(|arg| arg == "--fast");
    call("cargo", &["fmt", "--all", "--check"], &[])?;
    call("cargo", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"], &[])?;
    // The same test command whatever is installed: nextest is faster for some, but not on every machine.
    call("cargo", &["test", "--workspace", "--quiet"], &[("INSTA_UPDATE", "no")])?;
    if !fast {
        call("cargo", &["doc", "--workspace", "--no-deps", "--quiet"], &[("RUSTDOCFLAGS", "--deny warnings")])?;
    }
    Ok(())
}
