//! One requirement: PEP 508, or a path or URL as requirements files have them.

use std::collections::BTreeSet;

use pep508_rs::MarkerTree;
use url::Url;

use super::text::redact;
use super::{InputError, Origin, Requirement};
use crate::model::marker::check_letters;
use crate::model::specifier;
use crate::model::{PackageName, WheelName};

/// The parser of markers recurses on parentheses.
const MAX_NESTING: usize = 50;

impl Requirement {
    /// Checks `text` and finds its name.
    ///
    /// Source: <https://packaging.python.org/en/latest/specifications/dependency-specifiers/> and, for paths and URLs
    /// without a name, <https://pip.pypa.io/en/stable/reference/requirements-file-format/>.
    ///
    /// # Errors
    ///
    /// If the text is neither.
    pub fn parse(text: &str, origin: &Origin) -> Result<Self, InputError> {
        let text = text.trim();
        let wrong = |problem: String| InputError::Syntax { origin: origin.clone(), text: redact(text), problem };
        let requirement = |name| Self { text: text.to_owned(), name, hashes: BTreeSet::new(), origin: origin.clone() };
        let (head, marker) = split_marker(text);
        if let Some(marker) = marker {
            parse_marker(marker).map_err(|problem| wrong(format!("in its marker, {problem}")))?;
        }
        if let Some((name, place)) = split_direct(head) {
            let name = parse_named(name).map_err(wrong)?;
            if place.is_empty() {
                return Err(wrong("expected a URL or a path after `@`".to_owned()));
            }
            return Ok(requirement(Some(name)));
        }
        if is_place(head) {
            return Ok(requirement(name_of_place(head)));
        }
        parse_named(head).map(|name| requirement(Some(name))).map_err(wrong)
    }

    /// The same requirement where also `marker` holds.
    pub(super) fn and_marker(mut self, marker: &str) -> Self {
        self.text = match split_marker(&self.text) {
            (head, Some(own)) => format!("{head} ; ({own}) and ({marker})"),
            (head, None) => format!("{head} ; {marker}"),
        };
        self
    }

    /// `name[extra]`, without version, URL and marker; `None` for a path or URL without a name.
    pub(super) fn name_and_extras(&self) -> Option<&str> {
        self.name.as_ref()?;
        let head = split_marker(&self.text).0;
        if let Some((name, _)) = split_direct(head) {
            return Some(name);
        }
        let end = head.find(|c: char| "<>=!~(".contains(c)).unwrap_or(head.len());
        (!is_place(head)).then(|| head[..end].trim())
    }

    /// Whether the text itself says where the package is.
    pub(super) fn is_direct(&self) -> bool {
        let head = split_marker(&self.text).0;
        split_direct(head).is_some() || is_place(head)
    }
}

/// The text before the marker, and the marker. In a URL only ` ;` begins one.
pub(super) fn split_marker(text: &str) -> (&str, Option<&str>) {
    let direct = split_direct(text).is_some() || is_place(text);
    let found = if direct { text.find(" ;").map(|at| (at, at + 2)) } else { text.find(';').map(|at| (at, at + 1)) };
    match found {
        Some((end, start)) => (text[..end].trim(), Some(text[start..].trim())),
        None => (text.trim(), None),
    }
}

/// `name[extra]` and the rest of `name[extra] @ rest`.
fn split_direct(text: &str) -> Option<(&str, &str)> {
    let (name, place) = text.split_once('@')?;
    let bare = match name.split_once('[') {
        Some((bare, extras)) => extras.trim_end().ends_with(']').then_some(bare)?,
        None => name,
    };
    let is_name = bare.trim().chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    (is_name && !bare.trim().is_empty()).then(|| (name.trim(), place.trim()))
}

/// Whether the text, up to its first blank, is a path or a URL.
fn is_place(text: &str) -> bool {
    let head = text.split_whitespace().next().unwrap_or_default();
    let archive = [".whl", ".tar.gz", ".zip", ".tar.bz2", ".tgz"];
    let file = head.split(['[', '#']).next().unwrap_or_default();
    head.starts_with('.') || head.contains(['/', '\\']) || archive.iter().any(|end| file.ends_with(end))
}

/// The name that a URL or path shows: a wheel's, or `#egg=name`.
fn name_of_place(place: &str) -> Option<PackageName> {
    if let Some((_, egg)) = place.split_once("#egg=").or_else(|| place.split_once("&egg=")) {
        return egg.split(['&', '[']).next()?.parse().ok();
    }
    let file = place.split(['#', '?']).next()?.rsplit(['/', '\\']).next()?;
    file.parse::<WheelName>().ok().map(|wheel| wheel.name)
}

/// Checks `name[extra]>=1` and gives the name.
fn parse_named(text: &str) -> Result<PackageName, String> {
    let parsed = specifier::parse(text).map_err(|error| match error {
        specifier::InvalidSpecifier::Name(error) => error.to_string(),
        specifier::InvalidSpecifier::Other(message) => explain(text, &message),
    })?;
    parsed.name.to_string().parse().map_err(|_| format!("`{}` is no package name", parsed.name))
}

/// What is wrong with `text`, in one line.
fn explain(text: &str, message: &str) -> String {
    let message = message.lines().next().unwrap_or_default();
    let operator: String =
        text.chars().skip_while(|c| !"<>=!~".contains(*c)).take_while(|c| "<>=!~".contains(*c)).collect();
    let meant = match operator.as_str() {
        "=" => Some("=="),
        "=>" => Some(">="),
        "=<" => Some("<="),
        "~" => Some("~="),
        "!" => Some("!="),
        _ => None,
    };
    match meant {
        Some(meant) => format!("there is no operator `{operator}`: did you mean `{meant}`?"),
        None => format!("expected a requirement such as `name>=1.2`, a URL or a path: {}", lower_first(message)),
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

/// Parses a marker; the error is half a sentence.
pub(super) fn parse_marker(text: &str) -> Result<MarkerTree, String> {
    if text.matches('(').count() > MAX_NESTING {
        return Err(format!("more than {MAX_NESTING} parentheses"));
    }
    check_letters(text)?;
    MarkerTree::parse_str::<Url>(text)
        .map_err(|error| lower_first(error.message.to_string().lines().next().unwrap_or_default()))
}
