//! Summaries for people. They read well without colour; tables give way on narrow terminals.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::commands::doctor::{Found, Health};
use anstyle::{AnsiColor, Style};
use layerwise::audit::{Finding, Problem, Report, Severity};
use layerwise::local::{Event, Function};
use layerwise::model::limits::{DIRECT_UPLOAD_BYTES, UNZIPPED_BYTES};
use layerwise::model::{Lock, Note, Runtime, Target};
use layerwise::pipeline::{Built, BuiltPackage, Checked, LockUse};
use layerwise::prove::End;

use super::findings::{Words, words};

/// How a stream is written to.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    /// With colours.
    pub(crate) color: bool,
    /// Columns there are.
    pub(crate) width: usize,
    /// Every row of long tables (`-v`).
    pub(crate) all: bool,
    /// What paths are shown relative to.
    pub(crate) dir: PathBuf,
}

impl Page {
    /// For whoever is no terminal.
    pub(crate) fn bare(dir: PathBuf) -> Self {
        Self { color: false, width: 100, all: false, dir }
    }

    #[cfg(test)]
    pub(crate) fn plain(width: usize) -> Self {
        Self { color: false, width, all: false, dir: PathBuf::from("/work") }
    }

    fn styled(&self, style: Style, text: &str) -> String {
        if self.color { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    pub(crate) fn bold(&self, text: &str) -> String {
        self.styled(Style::new().bold(), text)
    }

    pub(crate) fn dim(&self, text: &str) -> String {
        self.styled(Style::new().dimmed(), text)
    }

    pub(crate) fn red(&self, text: &str) -> String {
        self.styled(AnsiColor::Red.on_default().bold(), text)
    }

    pub(crate) fn yellow(&self, text: &str) -> String {
        self.styled(AnsiColor::Yellow.on_default().bold(), text)
    }

    pub(crate) fn green(&self, text: &str) -> String {
        self.styled(AnsiColor::Green.on_default().bold(), text)
    }

    pub(crate) fn cyan(&self, text: &str) -> String {
        self.styled(AnsiColor::Cyan.on_default().bold(), text)
    }
}

/// More packages than this are not all shown without `-v`.
const ROWS: usize = 30;

/// What was built, as a person likes to read it.
pub(crate) fn built(built: &Built, page: &Page) -> String {
    let mut text = format!("{} for {}\n\n", page.bold(&built.name), page.bold(&built.target.to_string()));
    if !built.packages.is_empty() {
        text += &packages(built, page);
        text += "\n";
    }
    let row = |name: &str, value: &str| format!("  {}{value}\n", page.dim(&format!("{name:<14}")));
    let share = percent(built.unzipped_bytes, UNZIPPED_BYTES);
    let unzipped = format!(
        "{} in {}, {share} of Lambda's {}",
        size(built.unzipped_bytes),
        counted(built.files as u64, "file"),
        size(UNZIPPED_BYTES)
    );
    text += &row("unzipped", &unzipped);
    text += &row("zipped", &size(built.zipped_bytes));
    text += &row("sha256", &built.sha256.to_string());
    text += &row("CodeSha256", &built.sha256.base64());
    text += &row("", &page.dim("(source_code_hash in Terraform)"));
    if built.lock != LockUse::None {
        text += &row("versions", lock_use(built.lock));
    }
    // Of a function the files are its code: nobody needs a list of that.
    if built.lock != LockUse::None {
        for (index, file) in built.extras.iter().take(if page.all { usize::MAX } else { 5 }).enumerate() {
            let name = if index == 0 { "extra files" } else { "" };
            text += &row(name, &format!("{} ({})", file.path, size(file.unzipped_bytes)));
        }
    }
    for (index, (variable, value)) in built.environment.iter().enumerate() {
        text += &row(if index == 0 { "environment" } else { "" }, &format!("{variable}={value}"));
    }
    text += &row("check", &verdict(built.report.as_ref()));
    text += &row("time", &timings(built));
    text += &format!("\n{} {}\n", page.green("built"), super::relative(&built.output, &page.dir));
    text
}

/// A function that is served.
pub(crate) fn served(function: &Function, page: &Page) -> String {
    let layers: Vec<&str> = function.layers.iter().map(|layer| layer.name.as_str()).collect();
    let with = if layers.is_empty() { String::new() } else { format!(", layers {}", layers.join(", ")) };
    let emulated = if function.python.emulator.is_some() { ", emulated" } else { "" };
    format!(
        "{}  {}, {} (Python {}{emulated}), {} MB, {} s{with}",
        page.bold(&function.name),
        function.handler,
        function.target,
        function.python.version,
        function.memory,
        function.timeout.as_secs(),
    )
}

/// Where functions are served.
pub(crate) fn endpoint(url: &str, page: &Page) -> String {
    format!(
        "{} {url}\n{}",
        page.green("serving at"),
        page.dim(&format!("aws lambda invoke --endpoint-url {url} …   Ctrl-C ends it"))
    )
}

/// What happened in the local Lambda, as a line; what the log says anyway is not said.
pub(crate) fn happened(event: &Event, page: &Page) -> Option<String> {
    Some(match event {
        Event::Function { again: false, .. } | Event::Started { .. } => return None,
        Event::Function { function, .. } => format!("{} {function}\n", page.cyan("reloaded")),
        Event::ReloadFailed { function, error } => {
            format!("{} {function}, the former one stays: {error}\n", page.red("not reloaded"))
        }
        Event::Finished { function, milliseconds, init_milliseconds, memory, error, .. } => {
            let start = init_milliseconds.map(|init| format!(", start {init:.0} ms")).unwrap_or_default();
            match error {
                None => format!("{} {function} in {milliseconds:.1} ms, {memory} MB{start}\n", page.green("done")),
                Some((kind, message)) => {
                    format!(
                        "{} {function} after {milliseconds:.1} ms: {kind}: {}\n",
                        page.red("failed"),
                        clip(message, 200)
                    )
                }
            }
        }
        // A terminal is not driven by what a function prints.
        Event::Log { message, .. } => {
            let line: String =
                message.trim_end().chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect();
            format!("{}\n", page.dim(&line))
        }
    })
}

/// `clean`, `2 warnings, 1 note`, or that nobody looked.
fn verdict(report: Option<&Report>) -> String {
    match report {
        None => "not checked (--no-check)".to_owned(),
        Some(report) => counts(report),
    }
}

/// `1 error, 2 warnings, 3 notes`; what is not there is not said.
fn counts(report: &Report) -> String {
    let mut parts: Vec<String> = [Severity::Error, Severity::Warning, Severity::Note]
        .into_iter()
        .map(|severity| (report.count(severity) as u64, severity.word()))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| counted(count, word))
        .collect();
    if !report.allowed.is_empty() {
        parts.push(format!("{} allowed", report.allowed.len()));
    }
    if parts.is_empty() { "clean".to_owned() } else { parts.join(", ") }
}

/// What `check` found.
pub(crate) fn checked(label: &str, checked: &Checked, handler: Option<&str>, page: &Page) -> String {
    let mut text = report(label, &checked.report, handler, page);
    if let Some(proof) = &checked.proof {
        let imported = proof.outcomes.iter().filter(|outcome| outcome.end == End::Imported).count();
        let python = &proof.python;
        let emulated = if python.emulator.is_some() { ", emulated" } else { "" };
        text += &format!(
            "  {}{imported} of {} with Python {} ({}{emulated})\n",
            page.dim("imported  "),
            counted(proof.outcomes.len() as u64, "module"),
            python.version,
            python.machine
        );
    }
    text
}

/// The report of an audit.
fn report(label: &str, report: &Report, handler: Option<&str>, page: &Page) -> String {
    let mut text = format!("{} for {}: {}\n", page.bold(label), page.bold(&report.target.to_string()), counts(report));
    let found = findings(report, handler, Severity::Note, page);
    if !found.is_empty() {
        text += &format!("\n{found}");
    }
    let share = percent(report.unzipped_bytes, UNZIPPED_BYTES);
    let files = counted(report.files as u64, "file");
    text += &format!(
        "\n  {}{} in {files}, {share} of Lambda's {}\n",
        page.dim("unzipped  "),
        size(report.unzipped_bytes),
        size(UNZIPPED_BYTES)
    );
    let shown = if page.all { report.sizes.len() } else { 5 };
    let largest: Vec<String> =
        report.sizes.iter().take(shown).map(|(name, bytes)| format!("{} {}", clip(name, 40), size(*bytes))).collect();
    if !largest.is_empty() {
        text += &format!("  {}{}\n", page.dim("largest   "), largest.join(", "));
    }
    text
}

/// Findings as blocks, those alike in one; down to `least`.
pub(crate) fn findings(report: &Report, handler: Option<&str>, least: Severity, page: &Page) -> String {
    let mut text = String::new();
    let mut groups: Vec<Vec<&Finding>> = Vec::new();
    for finding in report.findings.iter().filter(|finding| finding.severity <= least) {
        let alike = |other: &Finding| {
            let key = |finding: &Finding| {
                (finding.severity, finding.rule(), finding.package.clone(), finding.artifact.clone())
            };
            key(other) == key(finding)
        };
        match groups.last_mut().filter(|group| alike(group[0]) && !page.all) {
            Some(group) => group.push(finding),
            None => groups.push(vec![finding]),
        }
    }
    for group in groups {
        let (first, more) = (group[0], group.len() - 1);
        let Words { text: what, lambda, way_out } = words(first, report.target, handler);
        let word = match first.severity {
            Severity::Error => page.red("error"),
            Severity::Warning => page.yellow("warning"),
            Severity::Note => page.cyan("note"),
        };
        let package = first.package.as_ref().map(|name| format!(" {}", page.bold(name.as_str()))).unwrap_or_default();
        let place = match (&first.file, first.artifact.as_str()) {
            (Some(file), _) => Some(printable(file)),
            (None, "") => None,
            (None, artifact) => Some(artifact.to_owned()),
        };
        text += &format!("{word} {}{package}\n", page.dim(&format!("[{}]", first.rule())));
        if let Some(place) = place {
            let more = if more == 0 { String::new() } else { format!(" and {more} more (-v: all)") };
            text += &format!("  {place}{more}\n");
        }
        text += &format!("  {}\n", printable(&what));
        if let Some(others) = other_libraries(&group) {
            text += &format!("  also missing: {}\n", printable(&others));
        }
        if first.severity == Severity::Note {
            continue;
        }
        if let Some(lambda) = lambda {
            text += &format!("  {} {}\n", page.dim("Lambda:"), printable(&lambda));
        }
        text += &format!("  {} {}\n", page.cyan("hint:"), printable(&way_out));
    }
    text
}

/// What else those that are alike need, where the first does not say it.
fn other_libraries(group: &[&Finding]) -> Option<String> {
    let library = |finding: &Finding| match &finding.problem {
        Problem::NativeLibraryMissing { library, .. } => Some(library.clone()),
        _ => None,
    };
    let first = library(group.first()?)?;
    let mut others: BTreeSet<String> = group.iter().filter_map(|finding| library(finding)).collect();
    others.remove(&first);
    (!others.is_empty()).then(|| others.into_iter().collect::<Vec<_>>().join(", "))
}

/// Foreign text for a terminal: no control characters.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Sentences about a good result.
pub(crate) fn notes(built: &Built) -> Vec<String> {
    let mut sentences: Vec<String> = built.notes.iter().map(note).collect();
    if built.lock == LockUse::Stale {
        sentences.push("the committed lock is of other inputs and was not used; `layerwise lock` renews it".to_owned());
    }
    let warnings = built.report.iter().flat_map(|report| &report.findings);
    for finding in warnings.filter(|finding| finding.severity == Severity::Warning) {
        let file = finding.file.as_ref().map(|file| format!("{file}: ")).unwrap_or_default();
        let text = words(finding, built.target, None).text;
        sentences.push(printable(&format!("[{}] {file}{text}", finding.rule())));
    }
    if built.zipped_bytes > DIRECT_UPLOAD_BYTES {
        sentences.push(format!(
            "the zip is larger than {}, which Lambda takes directly: upload it through S3",
            size(DIRECT_UPLOAD_BYTES)
        ));
    }
    sentences
}

/// One surprising choice, as a sentence.
pub(crate) fn note(note: &Note) -> String {
    match note {
        Note::PassedOver { name, taken, newest, reason, fits_runtime, compilable } => {
            let available = fits_runtime.as_ref().map(|runtime| format!("; {newest} is available on {runtime}"));
            let compile = compilable.then(|| format!("; `--compile {name}` builds {newest} from source"));
            let ways = [available, compile].into_iter().flatten().collect::<String>();
            format!("{name} {newest} skipped: {reason}; {taken} used{ways}")
        }
        Note::FromSource { name, version, reason, nearest_wheel } => {
            let nearest = nearest_wheel.as_ref().map(|nearest| format!("; {nearest} has a wheel that fits"));
            format!("{name} {version} is built from source: {reason}{}", nearest.unwrap_or_default())
        }
        Note::PureFallback { name, version, reason } => {
            format!("{name} {version} is the pure-Python wheel, though it has compiled ones: {reason}")
        }
        Note::Prerelease { name, version } => {
            format!("{name} {version} is a pre-release: no stable release fits")
        }
    }
}

/// What to cut from an artifact that is too large: the largest packages, until the rest would fit.
pub(crate) fn what_to_cut(unzipped_bytes: u64, packages: &[BuiltPackage]) -> String {
    let excess = unzipped_bytes.saturating_sub(UNZIPPED_BYTES);
    let (is, may_be) = (size(unzipped_bytes), size(UNZIPPED_BYTES));
    let mut text = format!("  It is {is} and may be {may_be}: {} have to go. The largest packages:\n", size(excess));
    let mut table = Table::new(&[Align::Left, Align::Left, Align::Right, Align::Right, Align::Left]);
    let mut sum = 0;
    for package in packages {
        let enough_before = sum >= excess;
        if enough_before && table.rows.len() >= 5 || table.rows.len() >= ROWS {
            break;
        }
        sum += package.unzipped_bytes;
        let mark = if sum >= excess && !enough_before { "fits without the packages down to here" } else { "" };
        table.row(vec![
            clip(&package.name, 40),
            clip(&package.version, 20),
            size(package.unzipped_bytes),
            percent(package.unzipped_bytes, unzipped_bytes),
            mark.to_owned(),
        ]);
    }
    text += &table.render("    ", |_, line| line.to_owned());
    text
}

fn packages(built: &Built, page: &Page) -> String {
    let narrow = page.width < 64;
    let mut columns = vec![Align::Left, Align::Left, Align::Right, Align::Right];
    let mut header = vec!["package", "version", "unzipped", "share"];
    if !narrow {
        columns.extend([Align::Right, Align::Right]);
        header.extend(["zipped", "share"]);
    }
    // What the other columns need at most: version, two sizes and two shares with their gaps.
    let name_width = page.width.saturating_sub(if narrow { 36 } else { 52 }).clamp(10, 48);
    let mut table = Table::new(&columns);
    table.row(header.into_iter().map(str::to_owned).collect());
    let shown = if page.all || built.packages.len() <= ROWS { built.packages.len() } else { ROWS - 5 };
    let (large, small) = built.packages.split_at(shown);
    let cells = |name: String, version: String, package: (u64, u64)| {
        let mut cells = vec![name, version, size(package.0), percent(package.0, built.unzipped_bytes)];
        if !narrow {
            cells.extend([size(package.1), percent(package.1, built.zipped_bytes)]);
        }
        cells
    };
    for package in large {
        let sizes = (package.unzipped_bytes, package.zipped_bytes);
        table.row(cells(clip(&package.name, name_width), clip(&package.version, 16), sizes));
    }
    if !small.is_empty() {
        let sum = |part: fn(&BuiltPackage) -> u64| small.iter().map(part).sum();
        let sizes = (sum(|package| package.unzipped_bytes), sum(|package| package.zipped_bytes));
        table.row(cells(format!("{} smaller ones", small.len()), "(-v: all)".to_owned(), sizes));
    }
    table.render("  ", |index, line| if index == 0 { page.dim(line) } else { line.to_owned() })
}

fn timings(built: &Built) -> String {
    let timings = built.timings;
    let parts = [
        ("resolve", timings.resolve),
        ("fetch", timings.fetch),
        ("compile", timings.compile),
        ("assemble", timings.assemble),
        ("check", timings.audit),
        ("pack", timings.pack),
    ];
    let done = parts.iter().filter(|(name, time)| *name != "compile" || !time.is_zero());
    let named: Vec<String> = done.map(|(name, time)| format!("{name} {}", seconds(*time))).collect();
    let total: Duration = parts.iter().map(|(_, time)| *time).sum();
    format!("{}: {}", seconds(total), named.join(", "))
}

const fn lock_use(lock: LockUse) -> &'static str {
    match lock {
        LockUse::None => "none",
        LockUse::Resolved => "resolved now; `layerwise lock` writes them down",
        LockUse::Stale => "resolved now: the committed lock is of other inputs",
        LockUse::Locked => "from the lock",
    }
}

/// A table of the runtimes, for `layerwise targets`.
pub(crate) fn targets(runtimes: &[Runtime], today: &str, page: &Page) -> String {
    let narrow = page.width < 90;
    let mut columns = vec![Align::Left, Align::Left, Align::Left, Align::Left];
    let mut header = vec!["runtime", "status", "glibc", "deprecated"];
    if !narrow {
        columns.extend([Align::Left; 3]);
        header.splice(2..2, ["system"]);
        header.extend(["no updates", "architectures"]);
    }
    let mut table = Table::new(&columns);
    table.row(header.into_iter().map(str::to_owned).collect());
    for runtime in runtimes {
        let day = |day: &Option<String>| day.clone().unwrap_or_else(|| "-".to_owned());
        let mut cells = vec![
            runtime.name.clone(),
            status(runtime, today).to_owned(),
            runtime.glibc.to_string(),
            day(&runtime.deprecated),
        ];
        if !narrow {
            cells.insert(2, runtime.os.clone());
            let architectures: Vec<&str> =
                runtime.architectures.iter().map(|architecture| architecture.aws()).collect();
            cells.extend([day(&runtime.block_update), architectures.join(", ")]);
        }
        table.row(cells);
    }
    table.render("", |index, line| if index == 0 { page.dim(line) } else { line.to_owned() })
}

/// What a machine has and lacks, for `layerwise doctor`.
pub(crate) fn doctor(found: &[Found], page: &Page) -> String {
    let mut text = String::new();
    for Found { thing, health, detail, get } in found {
        let mark = match health {
            Health::Here => page.green("here   "),
            Health::Missing => page.yellow("missing"),
            Health::Broken => page.red("broken "),
        };
        text += &format!("{mark}  {:<16}  {}\n", thing.name, clip(detail, 300));
        if *health != Health::Here {
            text += &format!("{:27}for {}\n{:27}{}\n", "", thing.what_for, "", page.dim(get));
        }
    }
    text
}

/// What each bucket of the cache holds, for `layerwise cache size`: name, files, bytes.
pub(crate) fn cache(buckets: &[(&str, u64, u64)]) -> String {
    let mut table = Table::new(&[Align::Left, Align::Right, Align::Right]);
    for (name, files, bytes) in buckets {
        table.row(vec![(*name).to_owned(), counted(*files, "file"), size(*bytes)]);
    }
    let sum = |part: fn(&(&str, u64, u64)) -> u64| buckets.iter().map(part).sum();
    table.row(vec!["total".to_owned(), counted(sum(|bucket| bucket.1), "file"), size(sum(|bucket| bucket.2))]);
    table.render("", |_, line| line.to_owned())
}

/// A resolution without an artifact, for `build --dry-run`.
pub(crate) fn planned(layer: &str, target: &Target, lock: &Lock, page: &Page) -> String {
    let mut table = Table::new(&[Align::Left, Align::Left, Align::Right]);
    let wheels = lock.packages.iter().map(|pin| (&pin.name, &pin.version, pin.size, ""));
    let sources = lock.sources.iter().map(|pin| (&pin.name, &pin.version, pin.size, "  from source"));
    let mut packages: Vec<_> = wheels.chain(sources).collect();
    packages.sort_by_key(|(name, ..)| *name);
    for (name, version, bytes, how) in packages {
        let bytes = bytes.map(size).unwrap_or_default();
        table.row(vec![name.to_string(), version.to_string(), format!("{bytes}{how}")]);
    }
    let table = table.render("  ", |_, line| line.to_owned());
    let count = counted(lock.len() as u64, "package");
    format!("{} for {}: {count}\n\n{table}", page.bold(layer), page.bold(&target.to_string()))
}

/// What AWS and layerwise make of a runtime on `today`.
pub(crate) fn status(runtime: &Runtime, today: &str) -> &'static str {
    let past = |day: &Option<String>| day.as_ref().is_some_and(|day| today >= day.as_str());
    if runtime.blocked.is_some() || past(&runtime.block_update) {
        "blocked"
    } else if runtime.preview {
        "preview"
    } else if past(&runtime.deprecated) {
        "deprecated"
    } else {
        "current"
    }
}

/// `1 file`, `2,648 files`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", thousands(number))
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `38.1 MiB`: AWS's limits are round in these units.
pub(crate) fn size(bytes: u64) -> String {
    const KIB: u64 = 1024;
    const MIB: u64 = KIB * 1024;
    const GIB: u64 = MIB * 1024;
    let (unit, name) = match bytes {
        GIB.. => (GIB, "GiB"),
        MIB.. => (MIB, "MiB"),
        KIB.. => (KIB, "KiB"),
        _ => return format!("{bytes} B"),
    };
    // Whole arithmetic: tenths, rounded down, so that nothing beyond a limit looks as if it were at it.
    format!("{}.{} {name}", bytes / unit, (bytes % unit) * 10 / unit)
}

fn percent(part: u64, whole: u64) -> String {
    let tenths = u128::from(part) * 1000 / u128::from(whole.max(1));
    if tenths < 100 { format!("{}.{}%", tenths / 10, tenths % 10) } else { format!("{}%", tenths / 10) }
}

fn seconds(time: Duration) -> String {
    let millis = time.as_millis();
    if millis < 1000 { format!("{millis} ms") } else { format!("{:.1} s", time.as_secs_f64()) }
}

fn clip(text: &str, width: usize) -> String {
    // Names and versions are ASCII by their grammar.
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width - 1).collect();
    kept + "…"
}

#[derive(Debug, Clone, Copy)]
enum Align {
    Left,
    Right,
}

struct Table<'a> {
    columns: &'a [Align],
    rows: Vec<Vec<String>>,
}

impl<'a> Table<'a> {
    fn new(columns: &'a [Align]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// One line for each row; `style` gets the line's number and its text.
    fn render(&self, indent: &str, style: impl Fn(usize, &str) -> String) -> String {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        for (index, row) in self.rows.iter().enumerate() {
            let cells = row.iter().zip(&widths).zip(self.columns).map(|((cell, width), align)| match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            text += &format!("{indent}{}\n", style(index, line.trim_end()));
        }
        text
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use layerwise::model::Sha256;
    use layerwise::pipeline::Timings;

    pub(crate) fn sample(sizes: &[(&str, &str, u64)]) -> Built {
        let package = |(name, version, unzipped): &(&str, &str, u64)| BuiltPackage {
            name: (*name).to_owned(),
            version: (*version).to_owned(),
            wheel: format!("{name}-{version}-py3-none-any.whl"),
            sha256: Sha256::of(name.as_bytes()),
            unzipped_bytes: *unzipped,
            zipped_bytes: unzipped / 3,
        };
        let packages: Vec<BuiltPackage> = sizes.iter().map(package).collect();
        Built {
            name: "document-processor".to_owned(),
            target: Target::new("python3.11", "x86_64", "2026-11-24").unwrap(),
            output: PathBuf::from("/work/dist/document-processor-python3.11-x86_64.zip"),
            sha256: Sha256::of(b"zip"),
            zipped_bytes: packages.iter().map(|package| package.zipped_bytes).sum(),
            unzipped_bytes: packages.iter().map(|package| package.unzipped_bytes).sum(),
            files: 2648,
            packages,
            notes: vec![Note::PassedOver {
                name: "tiktoken".parse().unwrap(),
                taken: "0.11.0".to_owned(),
                newest: "0.14.0".to_owned(),
                reason: "its cp311 wheels need glibc 2.28, python3.11 has 2.26".to_owned(),
                fits_runtime: Some("python3.12".to_owned()),
                compilable: true,
            }],
            lock: LockUse::Resolved,
            extras: Vec::new(),
            environment: std::collections::BTreeMap::new(),
            contents: None,
            report: None,
            timings: Timings {
                resolve: Duration::from_millis(640),
                fetch: Duration::from_millis(1200),
                compile: Duration::ZERO,
                assemble: Duration::from_millis(9),
                audit: Duration::from_millis(3),
                pack: Duration::from_millis(70),
            },
        }
    }

    const SEED: &[(&str, &str, u64)] = &[
        ("botocore", "1.34.162", 82_000_000),
        ("cryptography", "45.0.1", 11_000_000),
        ("typing-extensions-with-a-very-long-name-that-does-not-fit", "4.12.2", 120_000),
        ("six", "1.17.0", 900),
    ];

    #[test]
    fn a_summary() {
        insta::assert_snapshot!(built(&sample(SEED), &Page::plain(80)), @r#"
            document-processor for python3.11 x86_64

              package                       version    unzipped  share    zipped  share
              botocore                      1.34.162   78.2 MiB    88%  26.0 MiB    88%
              cryptography                  45.0.1     10.4 MiB    11%   3.4 MiB    11%
              typing-extensions-with-a-ve…  4.12.2    117.1 KiB   0.1%  39.0 KiB   0.1%
              six                           1.17.0        900 B   0.0%     300 B   0.0%

              unzipped      88.8 MiB in 2,648 files, 35% of Lambda's 250.0 MiB
              zipped        29.6 MiB
              sha256        4a70fe9aa6436e02c2dea340fbd1e352e4ef2d8ce6ca52ad25d4b95471fc8bf2
              CodeSha256    SnD+mqZDbgLC3qNA+9HjUuTvLYzmylKtJdS5VHH8i/I=
                            (source_code_hash in Terraform)
              versions      resolved now; `layerwise lock` writes them down
              check         not checked (--no-check)
              time          1.9 s: resolve 640 ms, fetch 1.2 s, assemble 9 ms, check 3 ms, pack 70 ms

            built dist/document-processor-python3.11-x86_64.zip
        "#);
    }

    #[test]
    fn a_summary_on_a_narrow_terminal() {
        let text = built(&sample(SEED), &Page::plain(50));
        let table: Vec<&str> = text.lines().skip(2).take(5).collect();
        assert!(table.iter().all(|line| line.chars().count() <= 50), "{table:#?}");
        insta::assert_snapshot!(table.join("\n"), @r#"
            package         version    unzipped  share
            botocore        1.34.162   78.2 MiB    88%
            cryptography    45.0.1     10.4 MiB    11%
            typing-extens…  4.12.2    117.1 KiB   0.1%
            six             1.17.0        900 B   0.0%
        "#);
    }

    #[test]
    fn many_packages_are_summed_up_unless_all_are_wanted() {
        let sizes: Vec<(&str, &str, u64)> = (0..40).map(|_| ("a", "1", 1 << 20)).collect();
        let text = built(&sample(&sizes), &Page::plain(80));
        assert!(text.contains("15 smaller ones  (-v: all)  15.0 MiB    37%    4.9 MiB    37%"), "{text}");
        let text = built(&sample(&sizes), &Page { all: true, ..Page::plain(80) });
        assert_eq!(text.matches("1.0 MiB").count(), 40);
    }

    #[test]
    fn sentences() {
        let mut built = sample(SEED);
        built.zipped_bytes = DIRECT_UPLOAD_BYTES + 1;
        built.notes.push(Note::PureFallback {
            name: "msgpack".parse().unwrap(),
            version: "1.0".to_owned(),
            reason: "its cp311 wheels are for macOS only".to_owned(),
        });
        built.notes.push(Note::Prerelease { name: "x".parse().unwrap(), version: "1.0rc1".to_owned() });
        built.lock = LockUse::Stale;
        insta::assert_snapshot!(notes(&built).join("\n"), @r#"
            tiktoken 0.14.0 skipped: its cp311 wheels need glibc 2.28, python3.11 has 2.26; 0.11.0 used; 0.14.0 is available on python3.12; `--compile tiktoken` builds 0.14.0 from source
            msgpack 1.0 is the pure-Python wheel, though it has compiled ones: its cp311 wheels are for macOS only
            x 1.0rc1 is a pre-release: no stable release fits
            the committed lock is of other inputs and was not used; `layerwise lock` renews it
            the zip is larger than 50.0 MiB, which Lambda takes directly: upload it through S3
        "#);
    }

    #[test]
    fn what_to_cut_stops_where_it_fits() {
        let sizes = [
            ("pyarrow", "18.0.0", 140_000_000),
            ("scipy", "1.14.1", 100_000_000),
            ("pandas", "2.2.3", 60_000_000),
            ("numpy", "2.1.3", 50_000_000),
            ("pytz", "2024.2", 1_000_000),
            ("six", "1.17.0", 40_000),
        ];
        let built = sample(&sizes);
        insta::assert_snapshot!(what_to_cut(built.unzipped_bytes, &built.packages), @r#"
            It is 334.7 MiB and may be 250.0 MiB: 84.7 MiB have to go. The largest packages:
              pyarrow  18.0.0  133.5 MiB   39%  fits without the packages down to here
              scipy    1.14.1   95.3 MiB   28%
              pandas   2.2.3    57.2 MiB   17%
              numpy    2.1.3    47.6 MiB   14%
              pytz     2024.2  976.5 KiB  0.2%
        "#);
    }

    #[test]
    fn the_runtimes() {
        insta::assert_snapshot!(targets(Runtime::all(), "2026-11-24", &Page::plain(100)), @r#"
            runtime     status      system             glibc  deprecated  no updates  architectures
            python3.7   blocked     Amazon Linux 2     2.26   2023-12-04  -
            python3.8   blocked     Amazon Linux 2     2.26   2024-10-14  2027-03-03  x86_64, arm64
            python3.9   deprecated  Amazon Linux 2     2.26   2025-12-15  2027-03-03  x86_64, arm64
            python3.10  deprecated  Amazon Linux 2     2.26   2026-10-31  2027-03-03  x86_64, arm64
            python3.11  current     Amazon Linux 2     2.26   2027-06-30  2027-08-31  x86_64, arm64
            python3.12  current     Amazon Linux 2023  2.34   2028-10-31  2029-01-10  x86_64, arm64
            python3.13  current     Amazon Linux 2023  2.34   2029-06-30  2029-08-31  x86_64, arm64
            python3.14  current     Amazon Linux 2023  2.34   2029-06-30  2029-08-31  x86_64, arm64
            python3.15  preview     Amazon Linux 2023  2.34   -           -           x86_64, arm64
        "#);
    }

    #[test]
    fn numbers() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (UNZIPPED_BYTES, "250.0 MiB"),
            (UNZIPPED_BYTES - 1, "249.9 MiB"),
            (5 << 30, "5.0 GiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(percent(0, 0), "0.0%");
        assert_eq!(percent(99, 1000), "9.9%");
        assert_eq!(percent(u64::MAX, u64::MAX), "100%");
        assert_eq!(counted(1, "file"), "1 file");
        assert_eq!(counted(1_234_567, "file"), "1,234,567 files");
    }
}
