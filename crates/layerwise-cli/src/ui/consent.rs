//! Asking before something outside the cache is changed.

use std::io::{self, BufRead as _, Read as _};
use std::sync::Arc;

use layerwise::event::Consent;

use super::bars::Reporter;
use crate::env::Environment;

/// No answer is longer, in bytes.
const LONGEST_ANSWER: u64 = 1 << 10;

/// What the user has said, or says when asked.
pub(crate) enum Answer {
    /// Said before.
    Given(bool),
    /// To be asked for, on the terminal that this writes to.
    Ask(Arc<Reporter>),
}

impl Answer {
    /// `said` by a flag; else by the environment; else whoever sits at the terminal is asked.
    pub(crate) fn new(said: bool, environment: &Environment, reporter: Option<Arc<Reporter>>) -> Arc<Self> {
        let said = said || environment.yes("LAYERWISE_ADD_RUST_TARGETS");
        let terminal = environment.stdin_is_terminal && environment.stderr_is_terminal;
        Arc::new(match reporter {
            Some(reporter) if !said && terminal => Self::Ask(reporter),
            _ => Self::Given(said),
        })
    }
}

impl Consent for Answer {
    fn allows(&self, command: &str, why: &str) -> bool {
        match self {
            Self::Given(answer) => *answer,
            Self::Ask(reporter) => reporter.without_bars(|| {
                super::to_stderr(&format!("{why}\nRun `{command}`? [y/N] "));
                let mut answer = String::new();
                let read = io::stdin().lock().take(LONGEST_ANSWER).read_line(&mut answer);
                read.is_ok() && is_yes(&answer)
            }),
        }
    }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_asked_where_nobody_can_answer() {
        let dir = std::path::Path::new(".");
        let allows = |said, variables: &[(&str, &str)]| {
            Answer::new(said, &Environment::of(variables, dir), None).allows("rustup", "why")
        };
        assert!(!allows(false, &[]));
        assert!(!allows(false, &[("LAYERWISE_ADD_RUST_TARGETS", "0")]));
        assert!(allows(false, &[("LAYERWISE_ADD_RUST_TARGETS", "1")]));
        assert!(allows(true, &[]));
    }

    #[test]
    fn answers() {
        for (answer, yes) in [("y\n", true), (" Yes \r\n", true), ("\n", false), ("", false), ("no\n", false)] {
            assert_eq!(is_yes(answer), yes, "{answer:?}");
        }
    }
}
