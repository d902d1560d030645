//! What is wrong with a configuration, and where.

use std::ops::Range;

use crate::error::{Explain, Kind};

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Something at one place of one file.
    #[error("{place}: {what}\n{excerpt}")]
    At {
        /// Where, `layerwise.toml:3:11`.
        place: Place,
        /// What is wrong.
        what: String,
        /// The line, and a mark below the place.
        excerpt: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// Two files that both want to be the configuration.
    #[error("both {0} and {1} configure layerwise")]
    Two(String, String),
    /// A layer was asked for that is not there.
    #[error("there is no layer `{name}`")]
    NoSuchLayer {
        /// What was asked for.
        name: String,
        /// The layers there are.
        known: Vec<String>,
    },
    /// A function was asked for that is not there.
    #[error("there is no function `{name}`")]
    NoSuchFunction {
        /// What was asked for.
        name: String,
        /// The functions there are.
        known: Vec<String>,
    },
    /// No runtime, or several.
    #[error("no runtime is named for the function `{0}`")]
    FunctionRuntime(String),
    /// A function's layer is not made for the function's target.
    #[error("the function `{function}` is for {target}, but its layer `{layer}` is not built for that")]
    LayerTarget {
        /// The function.
        function: String,
        /// Its target.
        target: String,
        /// The layer.
        layer: String,
    },
    /// No runtime anywhere.
    #[error("no runtime is named for the layer `{layer}`")]
    NoRuntime {
        /// The layer.
        layer: String,
        /// Runtimes that AWS supports today, newest last.
        current: Vec<String>,
    },
    /// A runtime that cannot be a target.
    #[error(transparent)]
    Target(#[from] crate::model::target::TargetError),
    /// The runtime is not there on this architecture.
    #[error("{runtime} does not exist on {architecture}")]
    NotOn {
        /// The runtime.
        runtime: String,
        /// The architecture.
        architecture: String,
    },
    /// Two artifacts of one build would be written to one file.
    #[error("`{path}` would be written twice: for {first} and for {second}")]
    SameOutput {
        /// The file.
        path: String,
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// Not a name for layers in AWS.
    #[error("`{0}` makes no layer names: 1 to 140 ASCII letters, digits, `-` and `_`, and placeholders")]
    PublishedName(String),
    /// A placeholder that does not exist.
    #[error("`{template}` has the unknown placeholder `{{{placeholder}}}`")]
    Placeholder {
        /// The whole text.
        template: String,
        /// What stands between the braces.
        placeholder: String,
    },
}

impl Explain for ConfigError {
    fn kind(&self) -> Kind {
        Kind::Usage
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::At { hint, .. } => hint.iter().cloned().collect(),
            Self::Two(first, second) => vec![format!("move the settings of {second} to {first}")],
            Self::NoSuchLayer { name, known } => match super::nearest(name, known.iter().map(String::as_str)) {
                Some(near) => vec![format!("did you mean `{near}`?")],
                None if known.is_empty() => vec!["name layers with `[layer.NAME]` in layerwise.toml".to_owned()],
                None => vec![format!("the layers are {}", known.join(", "))],
            },
            Self::NoSuchFunction { name, known } => match super::nearest(name, known.iter().map(String::as_str)) {
                Some(near) => vec![format!("did you mean `{near}`?")],
                None if known.is_empty() => vec!["name functions with `[function.NAME]` in layerwise.toml".to_owned()],
                None => vec![format!("the functions are {}", known.join(", "))],
            },
            Self::FunctionRuntime(name) => {
                vec![format!("write `runtime` into `[function.{name}]`: its layers are for none, or for several")]
            }
            Self::LayerTarget { layer, .. } => {
                vec![format!("add the runtime and architecture to `[layer.{layer}]`, or change the function's")]
            }
            Self::NoRuntime { current, .. } => vec![
                format!("pass `--runtime` with one of {}", current.join(", ")),
                format!(
                    "or write `runtime = \"{}\"` into layerwise.toml",
                    current.last().map_or("python3.13", String::as_str)
                ),
            ],
            Self::Target(_) => vec!["`layerwise targets` lists the runtimes".to_owned()],
            Self::NotOn { .. } => vec!["`layerwise targets` lists the runtimes and their architectures".to_owned()],
            Self::SameOutput { .. } => {
                vec!["use `{name}`, `{runtime}` and `{architecture}` in the output's name".to_owned()]
            }
            Self::PublishedName(_) | Self::Placeholder { .. } => {
                vec!["there are `{name}`, `{runtime}` and `{architecture}`".to_owned()]
            }
        }
    }
}

/// A place in a file, counted from 1; columns count characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file as the user knows it.
    pub file: String,
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A file with its name, to turn byte ranges into places.
pub(super) struct SourceFile<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
}

impl SourceFile<'_> {
    pub(super) fn place(&self, at: usize) -> Place {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            file: self.name.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    pub(super) fn error(&self, span: &Range<usize>, what: impl Into<String>) -> ConfigError {
        let place = self.place(span.start);
        let line = self.text.lines().nth(place.line - 1).unwrap_or_default();
        // Of a long line only what is around the place; control characters would move the mark.
        let start = if line.chars().count() > 120 { (place.column - 1).saturating_sub(40) } else { 0 };
        let shown: String = line.chars().skip(start).take(120).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let indent = place.column - 1 - start;
        let rest = shown.chars().count().saturating_sub(indent).max(1);
        let marked = self.text.get(span.clone()).map_or(1, |text| text.chars().count()).clamp(1, rest);
        let number = place.line.to_string();
        let gutter = " ".repeat(number.len());
        let (indent, mark) = (" ".repeat(indent), "^".repeat(marked));
        let excerpt = format!("{number} | {shown}\n{gutter} | {indent}{mark}");
        ConfigError::At { place, what: what.into(), excerpt, hint: None }
    }
}

impl ConfigError {
    pub(super) fn with_hint(mut self, text: impl Into<String>) -> Self {
        if let Self::At { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }
}
