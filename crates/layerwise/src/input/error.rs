//! What can be wrong with a project's files and settings.

use std::path::PathBuf;

use super::Origin;
use crate::error::{Explain, Kind};

/// Reading the inputs failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// A directory without any dependency file.
    #[error("no dependency file found in `{}`", dir.display())]
    NothingFound {
        /// Where we looked.
        dir: PathBuf,
        /// What is there instead, and what to do with it.
        hints: Vec<String>,
    },
    /// A file that was asked for cannot be read.
    #[error("failed to read `{file}`{}", named_in.as_ref().map(|origin| format!(", which {origin} asks for")).unwrap_or_default())]
    Read {
        /// The file as the user knows it.
        file: String,
        /// The line that names the file, where it was not the user.
        named_in: Option<Origin>,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A file is not text as we take it.
    #[error("failed to read `{file}`: {problem}")]
    NotText {
        /// The file.
        file: String,
        /// What it is instead.
        problem: String,
    },
    /// A line is no requirement and no option.
    #[error("{origin}: `{text}`: {problem}")]
    Syntax {
        /// Where it stands.
        origin: Origin,
        /// The text, without secrets.
        text: String,
        /// What is expected.
        problem: String,
    },
    /// A file does not follow its format.
    #[error("{origin}: {problem}")]
    Format {
        /// The file, with the line where known.
        origin: Origin,
        /// What is wrong.
        problem: String,
        /// The way out, if there is a special one.
        hint: Option<String>,
    },
    /// Something valid that layerwise does not do.
    #[error("{origin}: {what}")]
    Unsupported {
        /// Where it stands.
        origin: Origin,
        /// What it is.
        what: String,
        /// What to do instead.
        hint: String,
    },
    /// Files or groups that include each other in a circle.
    #[error("{origin}: `{what}` includes itself")]
    Cycle {
        /// The line that closes the circle.
        origin: Origin,
        /// The file or group.
        what: String,
    },
    /// There is nothing to install.
    #[error("`{file}` names no packages")]
    Empty {
        /// The file or files.
        file: String,
        /// The way out, if there is a special one.
        hint: Option<String>,
    },
    /// An extra or a dependency group that the project does not have.
    #[error("`{file}` has no {what} `{name}`")]
    Unknown {
        /// The file.
        file: String,
        /// `extra` or `dependency group`.
        what: &'static str,
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A lock together with something else.
    #[error("`{lock}` is a lock and cannot be combined with {other}")]
    Mixed {
        /// The lock.
        lock: String,
        /// What stands beside it.
        other: String,
    },
    /// An environment variable or a configuration file with a value that cannot be used.
    #[error("{place}: {problem}")]
    Setting {
        /// The variable or the file with its key.
        place: String,
        /// What is wrong; never shows the value of a URL with credentials.
        problem: String,
    },
}

impl Explain for InputError {
    fn kind(&self) -> Kind {
        match self {
            Self::Unknown { .. } | Self::Mixed { .. } | Self::Setting { .. } => Kind::Usage,
            Self::Syntax { origin, .. } if origin.line == 0 => Kind::Usage,
            _ => Kind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NothingFound { hints, .. } => hints.clone(),
            Self::Read { source, named_in, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                vec![match named_in {
                    Some(_) => "a relative path counts from the file that names it".to_owned(),
                    None => "check the spelling, or leave `-r` out to have the project's file found".to_owned(),
                }]
            }
            Self::NotText { .. } => vec!["save the file as UTF-8".to_owned()],
            Self::Format { hint, .. } | Self::Empty { hint, .. } => hint.iter().cloned().collect(),
            Self::Unsupported { hint, .. } => vec![hint.clone()],
            Self::Unknown { what, known, .. } if known.is_empty() => vec![format!("it has no {what} at all")],
            Self::Unknown { known, .. } => vec![format!("there is {}", known.join(", "))],
            Self::Mixed { .. } => vec!["name the lock alone".to_owned()],
            _ => Vec::new(),
        }
    }
}
