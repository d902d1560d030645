//! What a person or a program sees. Stdout is data; everything else goes to stderr.

pub(crate) mod bars;
pub(crate) mod consent;
pub(crate) mod error;
pub(crate) mod findings;
pub(crate) mod human;
pub(crate) mod json;

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use layerwise::event::{Event, Events as _};

use crate::args::{Color, Global};
use crate::env::Environment;
use bars::Reporter;
use error::Failure;
use human::Page;

/// Where everything that is said goes through.
pub(crate) struct Ui {
    /// How stdout looks.
    pub(crate) page: Page,
    error_page: Page,
    quiet: bool,
    reporter: Arc<Reporter>,
}

impl Ui {
    pub(crate) fn new(global: &Global, environment: &Environment) -> Self {
        let color = |terminal| match global.color {
            Color::Auto => environment.wants_color(terminal),
            Color::Always => true,
            Color::Never => false,
        };
        let columns = environment.text("COLUMNS").and_then(|text| text.parse().ok());
        let columns = columns.or_else(|| environment.stdout_is_terminal.then(terminal_width).flatten());
        let page = |color| Page {
            color,
            width: columns.unwrap_or(100).clamp(40, 120),
            all: global.verbose,
            dir: environment.dir.clone(),
        };
        let error_page = page(color(environment.stderr_is_terminal));
        let bars = environment.stderr_is_terminal && !environment.is_dumb() && !global.quiet;
        Self {
            page: page(color(environment.stdout_is_terminal)),
            reporter: Arc::new(Reporter::new(bars, global, error_page.color)),
            error_page,
            quiet: global.quiet,
        }
    }

    /// The reader of the library's events.
    pub(crate) fn events(&self) -> Arc<Reporter> {
        Arc::clone(&self.reporter)
    }

    /// Whoever may allow what changes this machine; `said` by a flag already.
    pub(crate) fn consent(&self, said: bool, environment: &Environment) -> Arc<consent::Answer> {
        consent::Answer::new(said, environment, Some(self.events()))
    }

    /// The answer of a command, on stdout. Not printed with `-q` when it is only for people.
    pub(crate) fn summary(&self, text: &str) -> io::Result<()> {
        if self.quiet { Ok(()) } else { self.data(text) }
    }

    /// Data somebody asked for, on stdout. A reader who has gone away is no error.
    pub(crate) fn data(&self, text: &str) -> io::Result<()> {
        self.reporter.finish();
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }

    /// Something odd, on stderr.
    pub(crate) fn warning(&self, text: &str) {
        self.reporter.emit(Event::Warning { text });
    }

    /// Something for `-v`, on stderr.
    pub(crate) fn detail(&self, text: &str) {
        self.reporter.emit(Event::Detail { text });
    }

    /// Every warning so far.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.reporter.warnings()
    }

    /// Something to know about a good result, on stderr.
    pub(crate) fn note(&self, text: &str) {
        self.reporter.note(text);
    }

    /// A failure, on stderr.
    pub(crate) fn failure(&self, failure: &Failure) {
        self.reporter.finish();
        to_stderr(&error::render(failure, &self.error_page));
    }
}

/// The one door to stderr besides the bars; a closed stderr is nobody's problem.
pub(crate) fn to_stderr(text: &str) {
    io::stderr().lock().write_all(text.as_bytes()).ok();
}

/// The door to stdout for the one line that Terraform waits for.
pub(crate) fn to_stdout(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// `path` as seen from `dir`.
pub(crate) fn relative(path: &Path, dir: &Path) -> String {
    path.strip_prefix(dir).unwrap_or(path).display().to_string()
}

fn terminal_width() -> Option<usize> {
    terminal_size::terminal_size().map(|(terminal_size::Width(columns), _)| usize::from(columns))
}
