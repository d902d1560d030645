//! Names of distributions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The normalised name of a distribution: lower case, runs of `-`, `_` and `.` as one `-`.
///
/// Source: <https://packaging.python.org/en/latest/specifications/name-normalization/>.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PackageName(String);

/// The text is no distribution's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a package name: use ASCII letters, digits, `-`, `_` and `.`, beginning and ending with a letter or digit"
)]
pub struct InvalidPackageName(pub String);

impl PackageName {
    /// The normalised text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PackageName {
    type Err = InvalidPackageName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidPackageName(text.to_owned());
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        if !edge(text.chars().next()) || !edge(text.chars().next_back()) {
            return Err(invalid());
        }
        let mut normal = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '-' | '_' | '.' if normal.ends_with('-') => {}
                '-' | '_' | '.' => normal.push('-'),
                c if c.is_ascii_alphanumeric() => normal.push(c.to_ascii_lowercase()),
                _ => return Err(invalid()),
            }
        }
        Ok(Self(normal))
    }
}

impl TryFrom<String> for PackageName {
    type Error = InvalidPackageName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PackageName> for String {
    fn from(name: PackageName) -> Self {
        name.0
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises() {
        assert_eq!("Typing._-Extensions".parse::<PackageName>().unwrap().as_str(), "typing-extensions");
        for bad in ["", "-a", "a-", "a b", "ä", "a/b"] {
            assert!(bad.parse::<PackageName>().is_err(), "{bad}");
        }
    }
}
