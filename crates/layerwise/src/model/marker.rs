//! Environment markers, evaluated for the target, never for the host.
//!
//! Sources: <https://packaging.python.org/en/latest/specifications/dependency-specifiers/#environment-markers>, and
//! PEP 751 for `extras` and `dependency_groups`.

use std::collections::BTreeSet;

use pep508_rs::{ExtraName, MarkerEnvironment, MarkerEnvironmentBuilder, MarkerTree};

use super::Target;

/// What a marker may ask about a target and about what is selected.
#[derive(Debug, Clone)]
pub struct Environment {
    markers: MarkerEnvironment,
    extras: BTreeSet<String>,
    groups: BTreeSet<String>,
}

/// The text is no marker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{marker}` is not an environment marker: {why}")]
pub struct InvalidMarker {
    /// The text.
    pub marker: String,
    /// What is wrong with it.
    pub why: String,
}

impl Environment {
    /// The environment of `target`, as CPython on Lambda answers it, with nothing selected.
    pub fn of(target: Target) -> Self {
        let full = target.runtime.python.to_string();
        let short = format!("3.{}", target.runtime.minor);
        let markers = MarkerEnvironment::try_from(MarkerEnvironmentBuilder {
            implementation_name: "cpython",
            implementation_version: &full,
            os_name: "posix",
            platform_machine: target.architecture.machine(),
            platform_python_implementation: "CPython",
            // Lambda's kernel is AWS's to change; no sane marker asks for it.
            platform_release: "",
            platform_system: "Linux",
            platform_version: "",
            python_full_version: &full,
            python_version: &short,
            sys_platform: "linux",
        })
        .expect("the data file's versions were parsed as versions");
        Self { markers, extras: BTreeSet::new(), groups: BTreeSet::new() }
    }

    /// The same with these extras and dependency groups selected.
    #[must_use]
    pub fn select(mut self, extras: &BTreeSet<String>, groups: &BTreeSet<String>) -> Self {
        let normal = |text: &String| text.to_lowercase().replace(['_', '.'], "-");
        self.extras = extras.iter().map(normal).collect();
        self.groups = groups.iter().map(normal).collect();
        self
    }

    /// Whether `marker` holds here.
    pub fn holds(&self, marker: &str) -> Result<bool, InvalidMarker> {
        if is_too_deep(marker) {
            return Err(InvalidMarker { marker: "((((…".to_owned(), why: "it has too many parentheses".to_owned() });
        }
        let plain = self.settle_selections(marker);
        check_letters(&plain).map_err(|why| InvalidMarker { marker: marker.to_owned(), why: why.to_owned() })?;
        let tree: MarkerTree = plain.parse().map_err(|error: pep508_rs::Pep508Error| InvalidMarker {
            marker: marker.to_owned(),
            why: error.message.to_string(),
        })?;
        Ok(self.holds_tree(&tree))
    }

    /// Whether an already parsed marker holds here.
    pub fn holds_tree(&self, tree: &MarkerTree) -> bool {
        let extras: Vec<ExtraName> = self.extras.iter().filter_map(|extra| extra.parse().ok()).collect();
        tree.evaluate(&self.markers, &extras)
    }

    /// PEP 751 adds `'x' in extras` and `'x' in dependency_groups`, which the marker parser does not know: what
    /// they say is known here, so they are replaced by a marker that always, or never, holds.
    fn settle_selections(&self, marker: &str) -> String {
        let mut rest = marker;
        let mut plain = String::new();
        while let Some(at) = rest.find(['\'', '"']) {
            let quote = &rest[at..=at];
            let Some(length) = rest[at + 1..].find(quote) else { break };
            let value = rest[at + 1..at + 1 + length].to_lowercase().replace(['_', '.'], "-");
            let after = &rest[at + length + 2..];
            let mut words = after.trim_start();
            let negated = words.strip_prefix("not ").map(|tail| words = tail.trim_start()).is_some();
            let selection = words.strip_prefix("in ").map(str::trim_start).and_then(|tail| {
                let among = |name: &str, set: &BTreeSet<String>| {
                    tail.strip_prefix(name).map(|tail| (set.contains(&value), tail))
                };
                among("extras", &self.extras).or_else(|| among("dependency_groups", &self.groups))
            });
            match selection {
                Some((selected, tail)) => {
                    plain += &rest[..at];
                    plain += if selected != negated { "python_version >= '0'" } else { "python_version < '0'" };
                    rest = tail;
                }
                None => {
                    plain += &rest[..at + length + 2];
                    rest = after;
                }
            }
        }
        plain + rest
    }
}

/// Whether a requirement or marker has more parentheses than anybody writes: its parser would exhaust the stack.
pub fn is_too_deep(text: &str) -> bool {
    text.matches('(').count() > 100
}

/// Refuses markers with other letters than ASCII's: pep508_rs 0.9.2 counts characters where it slices bytes (its
/// `Cursor::peek_while`), and panics. No variable has a value with such letters.
pub fn check_letters(marker: &str) -> Result<(), &'static str> {
    if marker.is_ascii() { Ok(()) } else { Err("it has other letters than those of ASCII") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_that_the_parser_would_panic_on() {
        let environment = Environment::of(Target::new("python3.11", "arm64", "2026-11-24").unwrap());
        for marker in ["os_name == 'posix' é", "os_name == 'posix'é", "os_name == 'é'"] {
            assert!(environment.holds(marker).is_err(), "{marker}");
        }
        assert_eq!(environment.holds("'é' in extras"), Ok(false));
    }

    #[test]
    fn deep_markers_do_not_exhaust_the_stack() {
        let environment = Environment::of(Target::new("python3.11", "arm64", "2026-11-24").unwrap());
        let nested = |depth: usize| format!("{}os_name == 'posix'{}", "(".repeat(depth), ")".repeat(depth));
        assert_eq!(environment.holds(&nested(100)), Ok(true));
        assert!(environment.holds(&nested(101)).is_err());
        assert!(environment.holds(&nested(100_000)).is_err());
        assert_eq!(environment.holds(&format!("{}os_name == 'posix'", "os_name == 'x' or ".repeat(3000))), Ok(true));
    }

    #[test]
    fn markers_are_the_targets() {
        let target = Target::new("python3.11", "arm64", "2026-11-24").unwrap();
        let groups = BTreeSet::from(["Dev_x".to_owned()]);
        let environment = Environment::of(target).select(&BTreeSet::new(), &groups);
        for (marker, holds) in [
            ("sys_platform == 'win32'", false),
            ("platform_machine == 'aarch64' and python_version >= '3.11'", true),
            ("python_full_version >= '3.11.8'", true),
            ("platform_python_implementation != 'PyPy'", true),
            ("extra == 'socks'", false),
            ("'dev-x' in dependency_groups and sys_platform == 'linux'", true),
            ("'dev-x' not in dependency_groups", false),
            ("sys_platform == 'win32' or \"a\" in extras", false),
            ("'linux' in sys_platform", true),
        ] {
            assert_eq!(environment.holds(marker).unwrap(), holds, "{marker}");
        }
        assert!(environment.holds("sys_platfrom == 'x'").is_err());
    }
}
