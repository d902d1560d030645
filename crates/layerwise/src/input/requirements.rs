//! Requirements files, as pip and uv take them.
//!
//! Source: <https://pip.pypa.io/en/stable/reference/requirements-file-format/>.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::text::{self, redact};
use super::{FindLinks, Index, IndexOptions, InputError, Origin, Requirement, Variables, shown};
use crate::model::Sha256;

/// What a set of requirements files says.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) requirements: Vec<Requirement>,
    pub(super) constraints: Vec<Requirement>,
    pub(super) indexes: IndexOptions,
    /// What the user should know.
    pub(super) warnings: Vec<String>,
    /// Options that mean nothing here.
    pub(super) details: Vec<String>,
    require_hashes: Option<Origin>,
}

/// One logical line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Statement {
    Requirement(Requirement),
    /// `-e`: as a layer is a copy, the same as the path itself.
    Editable(Requirement),
    Include(String),
    Constrain(String),
    IndexUrl(String),
    ExtraIndexUrl(String),
    FindLinks(String),
    NoIndex,
    RequireHashes,
    /// An option that would change what is installed if we followed it.
    Dropped(String),
    /// An option without a meaning here.
    Meaningless(String),
}

/// Files being read, to find circles and to read none twice.
struct Reader<'a> {
    dir: &'a Path,
    variables: Variables<'a>,
    open: Vec<PathBuf>,
    done: BTreeSet<(PathBuf, bool)>,
    collected: Collected,
}

/// Reads requirements files with everything they include. Paths in requirements count from `dir`, all others from the
/// file they stand in.
///
/// # Errors
///
/// For a file that cannot be read, a line that is neither requirement nor option, and a circle of includes.
pub(super) fn read(files: &[PathBuf], dir: &Path, variables: Variables<'_>) -> Result<Collected, InputError> {
    let mut reader =
        Reader { dir, variables, open: Vec::new(), done: BTreeSet::new(), collected: Collected::default() };
    for file in files {
        reader.file(&dir.join(file), false, None)?;
    }
    let mut collected = reader.collected;
    collected.indexes = IndexOptions::default().or(collected.indexes);
    let hashed = |r: &&Requirement| !r.hashes.is_empty();
    if let Some(because) = collected.require_hashes.as_ref().or_else(|| {
        // pip: one hash makes hashes a must for all.
        collected.requirements.iter().find(hashed).map(|r| &r.origin)
    }) {
        // A local directory cannot have a hash; a lock's hash may also stand in a constraint.
        let bare = collected.requirements.iter().find(|r| {
            let constrained =
                || collected.constraints.iter().filter(hashed).any(|c| c.name.is_some() && c.name == r.name);
            r.hashes.is_empty() && !constrained() && !r.is_direct()
        });
        if let Some(bare) = bare {
            return Err(InputError::Unsupported {
                origin: bare.origin.clone(),
                what: format!("`{}` has no `--hash=sha256:…`, but {because} makes hashes a must", redact(&bare.text)),
                hint: "`uv pip compile --generate-hashes` or `pip-compile --generate-hashes` writes all of them"
                    .to_owned(),
            });
        }
    }
    Ok(collected)
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, constraint: bool, named_in: Option<&Origin>) -> Result<(), InputError> {
        let file = shown(path, self.dir);
        let real = fs_err::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if self.open.contains(&real) {
            let origin = named_in.cloned().unwrap_or_else(|| Origin::file(&file));
            return Err(InputError::Cycle { origin, what: file });
        }
        if !self.done.insert((real.clone(), constraint)) {
            return Ok(());
        }
        let text = text::read(path, &file, named_in)?;
        let base = path.parent().unwrap_or(self.dir).to_owned();
        self.open.push(real);
        for (origin, statement) in parse(&text, &file, self.variables)? {
            self.statement(&base, constraint, &origin, statement)?;
        }
        self.open.pop();
        Ok(())
    }

    fn statement(
        &mut self,
        base: &Path,
        constraint: bool,
        origin: &Origin,
        statement: Statement,
    ) -> Result<(), InputError> {
        let at = |url: &str| {
            Index::parse(url, base).map_err(|problem| InputError::Syntax {
                origin: origin.clone(),
                text: redact(url),
                problem,
            })
        };
        let collected = &mut self.collected;
        match statement {
            Statement::Requirement(requirement) if constraint => collected.constraints.push(requirement),
            Statement::Requirement(requirement) => collected.requirements.push(requirement),
            Statement::Editable(requirement) => {
                let text = redact(&requirement.text);
                collected
                    .warnings
                    .push(format!("{origin}: `-e {text}` is packed as a copy, not as an editable install"));
                collected.requirements.push(requirement);
            }
            Statement::IndexUrl(url) => collected.indexes.default_index = Some(at(&url)?),
            Statement::ExtraIndexUrl(url) => collected.indexes.extra.push(at(&url)?),
            Statement::FindLinks(place) => {
                collected.indexes.find_links.push(
                    FindLinks::parse(&place, base).map_err(|problem| InputError::Syntax {
                        origin: origin.clone(),
                        text: redact(&place),
                        problem,
                    })?,
                );
            }
            Statement::NoIndex => collected.indexes.no_index = true,
            Statement::RequireHashes => collected.require_hashes = Some(origin.clone()),
            Statement::Dropped(what) => collected.warnings.push(format!("{origin}: {what}")),
            Statement::Meaningless(what) => collected.details.push(format!("{origin}: `{what}` has no meaning here")),
            Statement::Include(file) => {
                let path = local(base, &file, origin)?;
                // As in pip, `-r` inside a constraints file brings requirements.
                self.file(&path, false, Some(origin))?;
            }
            Statement::Constrain(file) => {
                let path = local(base, &file, origin)?;
                self.file(&path, true, Some(origin))?;
            }
        }
        Ok(())
    }
}

/// The path of an included file.
fn local(base: &Path, file: &str, origin: &Origin) -> Result<PathBuf, InputError> {
    let unsupported = |what: &str, hint: &str| InputError::Unsupported {
        origin: origin.clone(),
        what: format!("`{}` {what}", redact(file)),
        hint: hint.to_owned(),
    };
    if file.contains("://") {
        return Err(unsupported("is on the network", "download it and name the local file"));
    }
    if file.ends_with(".toml") || file.ends_with(".lock") {
        return Err(unsupported("is not a requirements file", "give it to layerwise by itself"));
    }
    Ok(base.join(file))
}

/// Parses the text of a requirements file.
pub(super) fn parse(text: &str, file: &str, variables: Variables<'_>) -> Result<Vec<(Origin, Statement)>, InputError> {
    let mut statements = Vec::new();
    for (line, raw) in logical_lines(text) {
        let origin = Origin { file: file.to_owned(), line };
        let text = expand(&raw, variables);
        if let Some(statement) = statement(&text, &raw, &origin)? {
            statements.push((origin, statement));
        }
    }
    Ok(statements)
}

/// Joins continued lines and takes comments off, exactly as pip's `req_file.py`; each with its first line's number.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let comment = comment_at(line);
        if let (Some(start), None) = (line.strip_suffix('\\'), comment) {
            open.get_or_insert_with(|| (number, String::new())).1 += start.trim_end_matches('\\');
            continue;
        }
        let (first, mut whole) = open.take().unwrap_or((number, String::new()));
        // The blank keeps `name\` and a following `# comment` apart.
        if comment.is_some() {
            whole.push(' ');
        }
        whole += line;
        lines.push((first, whole));
    }
    lines.extend(open);
    for (_, line) in &mut lines {
        if let Some(at) = comment_at(line) {
            line.truncate(at);
        }
        *line = line.trim().to_owned();
    }
    lines.retain(|(_, line)| !line.is_empty());
    lines
}

/// Where a comment begins: `#` at the line's start or after a blank.
fn comment_at(line: &str) -> Option<usize> {
    line.match_indices('#').map(|(at, _)| at).find(|&at| line[..at].chars().next_back().is_none_or(char::is_whitespace))
}

/// Puts values in for `${NAME}` (upper case, as pip); what is not set stays.
pub(super) fn expand(text: &str, variables: Variables<'_>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = rest.split_at(at);
        expanded += before;
        let name = after[2..].split('}').next().unwrap_or_default();
        let is_name =
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        let closed = after.as_bytes().get(2 + name.len()) == Some(&b'}');
        match is_name.then(|| variables(name)).flatten() {
            Some(value) if closed => {
                expanded += &value;
                rest = &after[name.len() + 3..];
            }
            _ => {
                expanded += "${";
                rest = &after[2..];
            }
        }
    }
    expanded + rest
}

/// Options that take a value, by their short and long names.
const WITH_VALUE: [(&str, &str); 17] = [
    ("-r", "--requirement"),
    ("-c", "--constraint"),
    ("-e", "--editable"),
    ("-i", "--index-url"),
    ("-f", "--find-links"),
    ("", "--pypi-url"),
    ("", "--extra-index-url"),
    ("", "--trusted-host"),
    ("", "--no-binary"),
    ("", "--only-binary"),
    ("", "--use-feature"),
    ("", "--hash"),
    ("-C", "--config-settings"),
    ("", "--config-setting"),
    ("", "--global-option"),
    ("", "--install-option"),
    ("", "--uploaded-prior-to"),
];

/// Splits options off: `(name, value)`, long names only.
fn options(text: &str) -> Result<Vec<(&'static str, String)>, String> {
    const ALONE: [&str; 5] = ["--no-index", "--pre", "--require-hashes", "--prefer-binary", "--always-unzip"];
    let mut words = words(text)?.into_iter();
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        if let Some(&name) = ALONE.iter().find(|&&name| name == word) {
            found.push((name, String::new()));
            continue;
        }
        let (name, value) = WITH_VALUE
            .iter()
            .find_map(|&(short, long)| {
                let value = match word.strip_prefix(long) {
                    Some("") => None,
                    Some(rest) if rest.starts_with('=') => Some(rest[1..].to_owned()),
                    _ if !short.is_empty() && !word.starts_with("--") => {
                        let rest = word.strip_prefix(short)?;
                        (!rest.is_empty()).then(|| rest.to_owned())
                    }
                    _ => return None,
                };
                Some((long, value))
            })
            .ok_or_else(|| format!("there is no option `{}`", redact(&word)))?;
        let value = value.or_else(|| words.next()).ok_or_else(|| format!("expected a value after `{name}`"))?;
        found.push((name, value));
    }
    Ok(found)
}

/// Splits at blanks, with quotes and backslashes as in a POSIX shell.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('\''), c) => word.get_or_insert_default().push(c),
            (_, '\\') => word.get_or_insert_default().extend(chars.next()),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if let Some(quote) = quote {
        return Err(format!("the quote {quote} is not closed"));
    }
    words.extend(word);
    Ok(words)
}

/// What a logical line says. `raw` is the line before variables were put in: it is what errors show.
fn statement(text: &str, raw: &str, origin: &Origin) -> Result<Option<Statement>, InputError> {
    let wrong = |problem: String| InputError::Syntax { origin: origin.clone(), text: redact(raw), problem };
    if !text.starts_with('-') {
        let (requirement, rest) = split_options(text);
        let mut requirement = Requirement::parse(requirement, origin).map_err(|error| match error {
            InputError::Syntax { problem, .. } => wrong(problem),
            other => other,
        })?;
        requirement.hashes = hashes(&options(rest).map_err(wrong)?).map_err(wrong)?;
        return Ok(Some(Statement::Requirement(requirement)));
    }
    let mut options = options(text).map_err(wrong)?;
    if options.len() > 1 && !matches!(options[0].0, "--editable") {
        return Err(wrong("expected one option a line".to_owned()));
    }
    let (name, value) = options.swap_remove(0);
    Ok(Some(match name {
        "--requirement" => Statement::Include(value),
        "--constraint" => Statement::Constrain(value),
        "--index-url" | "--pypi-url" => Statement::IndexUrl(value),
        "--extra-index-url" => Statement::ExtraIndexUrl(value),
        "--find-links" => Statement::FindLinks(value),
        "--no-index" => Statement::NoIndex,
        "--require-hashes" => Statement::RequireHashes,
        "--editable" => {
            // `-e dir` needs no `./`.
            let place =
                if value.contains(['/', '\\']) || value.starts_with('.') { value } else { format!("./{value}") };
            Statement::Editable(Requirement::parse(&place, origin)?)
        }
        "--pre" => Statement::Dropped(
            "`--pre` is not followed; a pre-release is taken where a requirement names one (`name>=2.0rc1`)".to_owned(),
        ),
        "--no-binary" if value != ":none:" => Statement::Dropped(format!(
            "`--no-binary {value}` is not followed: a wheel that fits the runtime exactly is taken"
        )),
        "--hash" => return Err(wrong("expected a requirement before `--hash`".to_owned())),
        "--prefer-binary" | "--always-unzip" => Statement::Meaningless(name.to_owned()),
        name => Statement::Meaningless(format!("{name} {}", redact(&value))),
    }))
}

/// A requirement and the options that follow it; as in pip, these begin at the first word with a `-`.
fn split_options(text: &str) -> (&str, &str) {
    let start = text.match_indices(char::is_whitespace).find_map(|(at, blank)| {
        let next = at + blank.len();
        text[next..].starts_with('-').then_some(next)
    });
    let (requirement, options) = text.split_at(start.unwrap_or(text.len()));
    (requirement.trim(), options)
}

/// The SHA-256 digests among a requirement's options.
fn hashes(options: &[(&str, String)]) -> Result<BTreeSet<Sha256>, String> {
    let given: Vec<&str> = options.iter().filter(|(name, _)| *name == "--hash").map(|(_, value)| &**value).collect();
    only_sha256(given.into_iter())
}

/// The SHA-256 digests among `algorithm:digest` texts; other algorithms are skipped if there is one.
pub(super) fn only_sha256<'a>(given: impl Iterator<Item = &'a str>) -> Result<BTreeSet<Sha256>, String> {
    let mut digests = BTreeSet::new();
    let mut other = None;
    for hash in given {
        match hash.split_once([':', '=']) {
            Some(("sha256", digest)) => {
                digests.insert(digest.parse().map_err(|error: crate::model::digest::InvalidSha256| error.to_string())?);
            }
            Some((algorithm, _)) => other = Some(algorithm),
            None => return Err(format!("expected a hash as `sha256:…`, got `{hash}`")),
        }
    }
    match other {
        Some(algorithm) if digests.is_empty() => Err(format!("only sha256 hashes are supported, got `{algorithm}`")),
        _ => Ok(digests),
    }
}
