//! Progress on stderr: bars on a terminal, lines elsewhere (warnings always, details with `-v`).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use layerwise::event::{Event, Events, Stage};

use super::human::Page;
use crate::args::Global;

/// Downloads shown one by one; the rest is in the overall bar.
const LINES: usize = 6;

/// Reads the library's events.
pub(crate) struct Reporter {
    bars: Option<MultiProgress>,
    page: Page,
    quiet: bool,
    verbose: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    items: HashMap<(Stage, String), Item>,
    overall: Option<ProgressBar>,
    downloads: u64,
    finished: u64,
    lines: usize,
    /// Sentences already said: two targets of one layer often have the same to say.
    said: std::collections::HashSet<String>,
    warnings: Vec<String>,
}

fn target() -> ProgressDrawTarget {
    ProgressDrawTarget::stderr_with_hz(12)
}

struct Item {
    bar: Option<ProgressBar>,
    /// Bytes announced and not yet counted as done.
    rest: u64,
}

impl Reporter {
    pub(crate) fn new(bars: bool, global: &Global, color: bool) -> Self {
        let page = Page { color, width: 80, all: false, dir: std::path::PathBuf::new() };
        Self {
            bars: bars.then(|| MultiProgress::with_draw_target(target())),
            page,
            quiet: global.quiet,
            verbose: global.verbose,
            state: Mutex::default(),
        }
    }

    /// Removes the bars; a new event brings them back.
    pub(crate) fn finish(&self) {
        let mut state = self.state();
        let bars = state.items.drain().filter_map(|(_, item)| item.bar).collect::<Vec<_>>();
        for bar in bars.into_iter().chain(state.overall.take()) {
            bar.finish_and_clear();
        }
        state.lines = 0;
        if let Some(bars) = &self.bars {
            bars.clear().ok();
        }
    }

    /// Does `work` while no bar is drawn. They are hidden, not held up: others go on working.
    pub(crate) fn without_bars<T>(&self, work: impl FnOnce() -> T) -> T {
        let Some(bars) = &self.bars else { return work() };
        bars.clear().ok();
        bars.set_draw_target(ProgressDrawTarget::hidden());
        let done = work();
        bars.set_draw_target(target());
        done
    }

    /// Says something about a good result, once.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            self.say(&format!("{} {text}", self.page.cyan("note:")));
        }
    }

    /// Every warning so far, for the JSON document.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.state().warnings.clone()
    }

    fn warned(&self, text: &str) {
        let mut state = self.state();
        if !state.warnings.iter().any(|known| known == text) {
            state.warnings.push(text.to_owned());
        }
        drop(state);
        if !self.quiet {
            self.say(&format!("{} {text}", self.page.yellow("warning:")));
        }
    }

    fn say(&self, line: &str) {
        if !self.state().said.insert(line.to_owned()) {
            return;
        }
        match &self.bars {
            Some(bars) => bars.suspend(|| super::to_stderr(&format!("{line}\n"))),
            None => super::to_stderr(&format!("{line}\n")),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Bars are decoration: a panic elsewhere must not become a second one here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn started(&self, stage: Stage, item: &str, bytes: Option<u64>) {
        let Some(bars) = &self.bars else { return };
        let mut state = self.state();
        let rest = bytes.unwrap_or(0);
        let bar = if stage == Stage::Fetch {
            state.downloads += 1;
            let overall = state.overall.get_or_insert_with(|| {
                bars.add(ProgressBar::new(0).with_style(style(
                    "  {msg:<24} [{bar:24}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}",
                )))
            });
            overall.inc_length(rest);
            let overall = overall.clone();
            overall.set_message(format!("fetch {}/{}", state.finished, state.downloads));
            (state.lines < LINES).then(|| {
                state.lines += 1;
                let line = style("    {msg:.dim} {binary_bytes:.dim}");
                bars.add(ProgressBar::new(rest).with_style(line).with_message(short(item)))
            })
        } else {
            let bar = ProgressBar::new_spinner().with_style(style("  {spinner} {msg}"));
            let bar = bars.add(bar.with_message(format!("{} {}", verb(stage), short(item))));
            bar.enable_steady_tick(Duration::from_millis(100));
            Some(bar)
        };
        state.items.insert((stage, item.to_owned()), Item { bar, rest });
    }

    fn advanced(&self, stage: Stage, item: &str, bytes: u64) {
        if self.bars.is_none() {
            return;
        }
        let mut state = self.state();
        let Some(found) = state.items.get_mut(&(stage, item.to_owned())) else { return };
        let unannounced = bytes.saturating_sub(found.rest);
        found.rest = found.rest.saturating_sub(bytes);
        if let Some(bar) = &found.bar {
            bar.inc(bytes);
        }
        if let Some(overall) = state.overall.as_ref().filter(|_| stage == Stage::Fetch) {
            overall.inc_length(unannounced);
            overall.inc(bytes);
        }
    }

    fn line(&self, stage: Stage, item: &str, text: &str) {
        if self.verbose && self.bars.is_none() {
            super::to_stderr(&format!("{}\n", self.page.dim(&format!("  {item}: {}", short(text)))));
        }
        let state = self.state();
        if let Some(bar) = state.items.get(&(stage, item.to_owned())).and_then(|found| found.bar.as_ref()) {
            bar.set_message(format!("{} {}: {}", verb(stage), short(item), short(text)));
        }
    }

    fn finished(&self, stage: Stage, item: &str) {
        if self.bars.is_none() {
            return;
        }
        let mut state = self.state();
        let Some(found) = state.items.remove(&(stage, item.to_owned())) else { return };
        if let Some(bar) = found.bar {
            bar.finish_and_clear();
            if stage == Stage::Fetch {
                state.lines -= 1;
            }
        }
        if stage == Stage::Fetch {
            state.finished += 1;
            let message = format!("fetch {}/{}", state.finished, state.downloads);
            if let Some(overall) = &state.overall {
                overall.inc(found.rest);
                overall.set_message(message);
            }
        }
    }
}

impl Events for Reporter {
    fn emit(&self, event: Event<'_>) {
        match event {
            Event::Started { stage, item, bytes } => self.started(stage, item, bytes),
            Event::Advanced { stage, item, bytes } => self.advanced(stage, item, bytes),
            Event::Line { stage, item, text } => self.line(stage, item, text),
            Event::Finished { stage, item } => self.finished(stage, item),
            Event::Warning { text } => self.warned(text),
            Event::Detail { text } if self.verbose => self.say(&self.page.dim(text)),
            _ => {}
        }
    }
}

const fn verb(stage: Stage) -> &'static str {
    match stage {
        Stage::Provision => "get",
        Stage::Resolve => "resolve",
        Stage::Fetch => "fetch",
        Stage::Compile => "compile",
        Stage::Pack => "pack",
        Stage::Run => "import for",
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("the templates are constants, and tests use them all");
    style.progress_chars("=> ").tick_chars("-\\|/ ")
}

fn short(item: &str) -> String {
    item.chars().filter(|c| !c.is_control()).take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden() -> Reporter {
        let reporter = Reporter::new(true, &Global::default(), false);
        if let Some(bars) = &reporter.bars {
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
        reporter
    }

    #[test]
    fn bytes_add_up_whatever_was_announced() {
        let reporter = hidden();
        let stage = Stage::Fetch;
        for index in 0..10 {
            let bytes = (index % 2 == 0).then_some(100);
            reporter.emit(Event::Started { stage, item: &format!("{index}.whl"), bytes });
        }
        for index in 0..10 {
            reporter.emit(Event::Advanced { stage, item: &format!("{index}.whl"), bytes: 60 });
        }
        let overall = reporter.state().overall.clone().unwrap();
        assert_eq!((overall.position(), overall.length()), (600, Some(800)));
        for index in 0..10 {
            reporter.emit(Event::Finished { stage, item: &format!("{index}.whl") });
        }
        assert_eq!((overall.position(), overall.length()), (800, Some(800)));
        assert_eq!(overall.message(), "fetch 10/10");
        assert!(reporter.state().items.is_empty());
        assert_eq!(reporter.state().lines, 0);
    }

    #[test]
    fn every_stage_has_a_spinner_and_unknown_items_do_no_harm() {
        let reporter = hidden();
        for stage in [Stage::Provision, Stage::Resolve, Stage::Compile, Stage::Pack, Stage::Run] {
            reporter.emit(Event::Finished { stage, item: "never started" });
            reporter.emit(Event::Started { stage, item: "layer", bytes: None });
            reporter.emit(Event::Advanced { stage, item: "layer", bytes: u64::MAX });
            reporter.emit(Event::Line { stage, item: "layer", text: "cc -c \u{1b}[2Ja.c" });
        }
        reporter.finish();
        assert!(reporter.state().items.is_empty());
    }
}
