//! `cargo xtask check`: all that CI runs.

use crate::run as call;

/// Without `--fast` also the slow tests (50 kills instead of 10, 16 builds at once). Format, clippy with warnings as errors, tests (those that generated files are compared by are among them), docs.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let fast = args.iter().any(|arg| arg == "--fast");
    call("cargo", &["fmt", "--all", "--check"], &[])?;
    call("cargo", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"], &[])?;
    // The same test command whatever is installed: nextest is faster for some, but not on every machine.
    let slow: &[(&str, &str)] = if fast { &[] } else { &[("LAYERWISE_SLOW_TESTS", "1")] };
    call("cargo", &["test", "--workspace", "--quiet"], &[&[("INSTA_UPDATE", "no")], slow].concat())?;
    if !fast {
        call("cargo", &["doc", "--workspace", "--no-deps", "--quiet"], &[("RUSTDOCFLAGS", "--deny warnings")])?;
    }
    Ok(())
}
