//! Dependency specifiers: `name[extra]>=1 ; marker`.
//!
//! Source: <https://packaging.python.org/en/latest/specifications/dependency-specifiers/> (PEP 508).

use url::Url;

use super::PackageName;
use super::marker::{check_letters, is_too_deep};
use super::name::InvalidPackageName;

/// A parsed specifier. (Not with pep508_rs's `VerbatimUrl`: that reads environment variables.)
pub type Specifier = pep508_rs::Requirement<Url>;

/// The text is no specifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpecifier {
    /// Its name, or the name of an extra.
    #[error(transparent)]
    Name(InvalidPackageName),
    /// Anything else, in the parser's words.
    #[error("{0}")]
    Other(String),
}

/// Parses a specifier.
pub fn parse(text: &str) -> Result<Specifier, InvalidSpecifier> {
    check_names(text)?;
    if is_too_deep(text) {
        return Err(InvalidSpecifier::Other("too many parentheses".to_owned()));
    }
    let marker = text.split_once(';').map_or("", |(_, marker)| marker);
    check_letters(marker).map_err(|why| InvalidSpecifier::Other(format!("its marker cannot be read: {why}")))?;
    // Only the message: `Display` of the error slices the text and may panic.
    text.parse().map_err(|error: pep508_rs::Pep508Error<Url>| InvalidSpecifier::Other(error.message.to_string()))
}

/// Names and extras that end with a separator; pep508_rs 0.9.2 panics on these (`expect` in its `parse_name`).
fn check_names(text: &str) -> Result<(), InvalidSpecifier> {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c)).unwrap_or(text.len());
    let extras = text[end..].trim_start().strip_prefix('[').and_then(|rest| rest.split(']').next());
    let extras = extras.into_iter().flat_map(|extras| extras.split(',').map(str::trim));
    for name in std::iter::once(&text[..end]).chain(extras).filter(|name| !name.is_empty()) {
        name.parse::<PackageName>().map_err(InvalidSpecifier::Name)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_parser_would_panic_on() {
        for text in ["a-==1", "a[b-]", " a_ >1", "a[b, c.]"] {
            assert!(matches!(parse(text), Err(InvalidSpecifier::Name(_))), "{text}");
        }
        for text in ["a===== 1", "a; os_name == 'posix' é", "a @ https://h/a.whl ; python_version < '3.10'\u{fffd}"] {
            assert!(matches!(parse(text), Err(InvalidSpecifier::Other(_))), "{text}");
        }
        assert!(parse("a @ https://h/é.whl ; python_version < '3.10'").is_ok());
        assert_eq!(parse("A_b[c]>=1").unwrap().name.to_string(), "a-b");
    }
}
