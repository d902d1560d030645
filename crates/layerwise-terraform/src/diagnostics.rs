//! What the user is told, and what Terraform's log is told.

use layerwise::error::Explain;
use layerwise::event::{Event, Events, Stage};

use crate::wire::{AttributePath, Diagnostic, Selector, Step};

/// Where a diagnostic points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum At {
    Nothing,
    Attribute(&'static str),
    /// An element of a list.
    Element(&'static str, usize),
}

impl At {
    fn path(&self) -> Option<AttributePath> {
        let step = |selector| Step { selector: Some(selector) };
        match self {
            Self::Nothing => None,
            Self::Attribute(name) => Some(attribute(name)),
            Self::Element(name, index) => {
                let mut path = attribute(name);
                path.steps.push(step(Selector::Index(i64::try_from(*index).unwrap_or(i64::MAX))));
                Some(path)
            }
        }
    }
}

/// The path of an attribute.
pub(crate) fn attribute(name: &str) -> AttributePath {
    AttributePath { steps: vec![Step { selector: Some(Selector::Attribute(name.to_owned())) }] }
}

/// What was said during one call.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics(pub(crate) Vec<Diagnostic>);

impl Diagnostics {
    pub(crate) fn error(&mut self, summary: impl Into<String>, detail: impl Into<String>, at: &At) {
        self.add(1, summary.into(), detail.into(), at);
    }

    pub(crate) fn warning(&mut self, summary: impl Into<String>, detail: impl Into<String>, at: &At) {
        self.add(2, summary.into(), detail.into(), at);
    }

    /// An error of the library with its causes and hints.
    pub(crate) fn explained(&mut self, error: &dyn Explain, at: &At) {
        let (mut detail, mut last) = (String::new(), error.to_string());
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !last.ends_with(&text) {
                detail += &format!("caused by: {text}\n");
                last = text;
            }
            source = cause.source();
        }
        for hint in error.hints() {
            detail += &format!("hint: {hint}\n");
        }
        self.error(error.to_string(), detail.trim_end(), at);
    }

    pub(crate) fn failed(&self) -> bool {
        self.0.iter().any(|one| one.severity == 1)
    }

    fn add(&mut self, severity: i32, summary: String, detail: String, at: &At) {
        self.0.push(Diagnostic { severity, summary, detail, attribute: at.path() });
    }
}

/// A line that Terraform puts into its log under this level (`TF_LOG_PROVIDER=info`).
///
/// Source: <https://github.com/hashicorp/go-plugin/blob/main/log_entry.go>.
pub(crate) fn log_line(level: &str, message: &str) -> String {
    serde_json::json!({ "@level": level, "@message": message, "@module": "layerwise" }).to_string()
}

/// Progress, for the log: a provider has no other way to say something before it is done.
pub(crate) struct Log(pub(crate) fn(&str));

impl Events for Log {
    fn emit(&self, event: Event<'_>) {
        let line = match event {
            Event::Started { stage, item, .. } => {
                let what = match stage {
                    Stage::Provision => "getting",
                    Stage::Resolve => "choosing versions for",
                    Stage::Fetch => "downloading",
                    Stage::Compile => "building",
                    Stage::Pack => "packing",
                    Stage::Run => "running",
                };
                log_line("info", &format!("{what} {item}"))
            }
            Event::Line { item, text, .. } => log_line("debug", &format!("{item}: {text}")),
            Event::Warning { text } => log_line("warn", text),
            Event::Detail { text } => log_line("debug", text),
            _ => return,
        };
        (self.0)(&line);
    }
}
