//! What every error of the library can answer: what kind it is, and what to do next.

/// The kind of a failure. It decides the process's exit code; see `docs/exit-codes.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The command line or the configuration is wrong.
    Usage,
    /// A file of the project is missing or wrong.
    Input,
    /// No set of wheels satisfies the requirements on this target.
    Resolution,
    /// The network or a server failed.
    Network,
    /// Bytes are not what they should be: a hash, a zip, a conflict of two wheels.
    Integrity,
    /// The artifact is beyond Lambda's limits.
    Limit,
    /// A wheel could not be built from its source.
    Compile,
    /// The artifact would not work on Lambda.
    Findings,
    /// A function that was invoked failed.
    Function,
    /// AWS refused: credentials, permissions, throttling, its own failures.
    Aws,
    /// This machine failed us: disk full, no permission, a program missing.
    System,
    /// A bug of layerwise.
    Internal,
}

/// An error that can explain itself.
pub trait Explain: std::error::Error {
    /// What kind of failure it is.
    fn kind(&self) -> Kind;

    /// What the reader can do next, in their words; may be empty.
    fn hints(&self) -> Vec<String> {
        Vec::new()
    }
}

/// `error`, then each of its causes, joined with `: `.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text += ": ";
            text += &cause_text;
        }
        source = cause.source();
    }
    text
}
