//! Findings that somebody has looked at and lives with.

use globset::{Glob, GlobMatcher};

use super::finding::{Finding, Problem, Rule, Severity};

/// One allowance of the configuration.
#[derive(Debug, Clone)]
pub struct Allowance {
    /// The rule it is about.
    pub rule: Rule,
    /// The files it is about; all of them, and findings about none, without a pattern.
    pub files: Option<FilePattern>,
    /// Why it is all right.
    pub reason: String,
}

/// A glob pattern over paths relative to the artifact: `**/tests/**`.
#[derive(Debug, Clone)]
pub struct FilePattern {
    text: String,
    matcher: GlobMatcher,
}

impl FilePattern {
    /// Reads a pattern.
    pub fn new(text: &str) -> Result<Self, globset::Error> {
        Ok(Self { text: text.to_owned(), matcher: Glob::new(text)?.compile_matcher() })
    }
}

impl PartialEq for Allowance {
    fn eq(&self, other: &Self) -> bool {
        let text = |allowance: &Self| allowance.files.as_ref().map(|files| files.text.clone());
        self.rule == other.rule && self.reason == other.reason && text(self) == text(other)
    }
}

impl Eq for Allowance {}

impl Allowance {
    fn matches(&self, finding: &Finding) -> bool {
        let file = || finding.file.as_deref().unwrap_or_default();
        finding.rule() == self.rule && self.files.as_ref().is_none_or(|files| files.matcher.is_match(file()))
    }
}

/// What is left, and what is allowed with its reason. An allowance that matches nothing becomes a note.
pub fn apply(findings: Vec<Finding>, allowances: &[Allowance]) -> (Vec<Finding>, Vec<(Finding, String)>) {
    let mut used = vec![false; allowances.len()];
    let (mut kept, mut allowed) = (Vec::new(), Vec::new());
    for finding in findings {
        match allowances.iter().position(|allowance| allowance.matches(&finding)) {
            Some(at) => {
                used[at] = true;
                allowed.push((finding, allowances[at].reason.clone()));
            }
            None => kept.push(finding),
        }
    }
    let unused = allowances.iter().zip(used).filter(|(_, used)| !used).map(|(allowance, _)| Finding {
        severity: Severity::Note,
        artifact: String::new(),
        file: None,
        at: None,
        package: None,
        problem: Problem::AllowanceUnused {
            rule: allowance.rule.id().to_owned(),
            files: allowance.files.as_ref().map(|files| files.text.clone()),
            reason: allowance.reason.clone(),
        },
    });
    kept.extend(unused);
    (kept, allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rule: Problem, file: &str) -> Finding {
        Finding {
            severity: Severity::Error,
            artifact: String::new(),
            file: Some(file.to_owned()),
            at: None,
            package: None,
            problem: rule,
        }
    }

    #[test]
    fn by_rule_and_file() {
        let stack = || found(Problem::NativeExecutableStack, "python/a/x.so");
        let texts = || found(Problem::NativeTextRelocations, "python/b/y.so");
        let allow = |rule, files: Option<&str>| Allowance {
            rule,
            files: files.map(|text| FilePattern::new(text).unwrap()),
            reason: "looked at".to_owned(),
        };
        let shown = |allowances: &[Allowance]| {
            let (kept, allowed) = apply(vec![stack(), texts()], allowances);
            let ids = |findings: &mut dyn Iterator<Item = &Finding>| {
                findings.map(|finding| finding.rule().id()).collect::<Vec<_>>().join(" ")
            };
            (ids(&mut kept.iter()), ids(&mut allowed.iter().map(|(finding, _)| finding)))
        };
        let pair = |kept: &str, allowed: &str| (kept.to_owned(), allowed.to_owned());
        let both = "native-executable-stack native-text-relocations";
        assert_eq!(shown(&[]), pair(both, ""));
        let stack_rule = Rule::NativeExecutableStack;
        assert_eq!(shown(&[allow(stack_rule, None)]), pair("native-text-relocations", "native-executable-stack"));
        assert_eq!(shown(&[allow(stack_rule, Some("python/a/**"))]).1, "native-executable-stack");
        let unused = format!("{both} allowance-unused");
        assert_eq!(shown(&[allow(stack_rule, Some("python/b/**"))]), pair(&unused, ""));
    }
}
