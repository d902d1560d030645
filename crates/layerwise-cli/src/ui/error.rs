//! A failure as a value, and as lines: what failed, why, and what to do next.

use layerwise::error::{Explain, Kind};

use super::human::Page;
use crate::exit::Code;

/// An error that has been asked everything it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    /// What failed; the causes, nearest first.
    pub(crate) message: String,
    pub(crate) causes: Vec<String>,
    pub(crate) hints: Vec<String>,
    /// A table that goes between the message and the hints.
    pub(crate) details: Option<String>,
}

impl Failure {
    pub(crate) fn code(&self) -> Code {
        Code::Failed(self.kind)
    }

    /// A job that ended without a result: it panicked, and the panic has been told.
    pub(crate) fn bug() -> Self {
        Self {
            kind: Kind::Internal,
            message: "this is a bug in layerwise".to_owned(),
            causes: Vec::new(),
            hints: Vec::new(),
            details: None,
        }
    }

    /// A failure to write to stdout or to start the runtime.
    pub(crate) fn system(message: &str, error: &std::io::Error) -> Self {
        Self {
            kind: Kind::System,
            message: message.to_owned(),
            causes: vec![error.to_string()],
            hints: Vec::new(),
            details: None,
        }
    }
}

impl<E: Explain> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut causes = Vec::new();
        let mut last = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Transparent variants and libraries that print their own source would say everything twice.
            if !last.ends_with(&text) {
                causes.push(text.clone());
                last = text;
            }
            source = cause.source();
        }
        // The first says what of ours failed, the last two what the world said; layers of libraries between say
        // nothing.
        if causes.len() > 3 {
            causes.drain(1..causes.len() - 2);
        }
        Self { kind: error.kind(), message: error.to_string(), causes, hints: error.hints(), details: None }
    }
}

/// The lines for stderr.
pub(crate) fn render(failure: &Failure, page: &Page) -> String {
    let mut text = format!("{} {}\n", page.red("error:"), indented(&failure.message, 2));
    for cause in &failure.causes {
        text += &format!("  {} {}\n", page.dim("caused by:"), indented(cause, 4));
    }
    text += failure.details.as_deref().unwrap_or_default();
    for hint in &failure.hints {
        text += &format!("{} {}\n", page.cyan("hint:"), indented(hint, 2));
    }
    text
}

fn indented(text: &str, columns: usize) -> String {
    text.trim_end().replace('\n', &format!("\n{}", " ".repeat(columns)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("failed to download `six`")]
    struct Outer(#[source] Middle);

    #[derive(Debug, thiserror::Error)]
    #[error("the server went away: reset")]
    struct Middle(#[source] std::io::Error);

    impl Explain for Outer {
        fn kind(&self) -> Kind {
            Kind::Network
        }

        fn hints(&self) -> Vec<String> {
            vec!["try again later".to_owned(), "or pass `--offline`\nwith a warm cache".to_owned()]
        }
    }

    #[test]
    fn an_error_says_what_why_and_what_next() {
        let failure = Failure::from(Outer(Middle(std::io::Error::other("reset"))));
        assert_eq!(failure.code().number(), 5);
        insta::assert_snapshot!(render(&failure, &Page::plain(80)), @r#"
            error: failed to download `six`
              caused by: the server went away: reset
            hint: try again later
            hint: or pass `--offline`
              with a warm cache
        "#);
    }

    #[test]
    fn colours_only_where_wanted() {
        let failure = Failure::from(Outer(Middle(std::io::Error::other("reset"))));
        let page = Page { color: true, ..Page::plain(80) };
        assert!(render(&failure, &page).starts_with("\u{1b}[1m\u{1b}[31merror:\u{1b}[0m failed"));
    }
}
