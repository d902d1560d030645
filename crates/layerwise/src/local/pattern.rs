//! Filter patterns of CloudWatch Logs, as far as they are used on the command line: terms, phrases, `?any`, `-none`,
//! and comparisons of JSON fields. Pure.
//!
//! Source: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html>.

use serde_json::Value;

/// What a line has to be like.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Pattern {
    /// Terms: all of these, any of these, none of these.
    Terms { all: Vec<String>, any: Vec<String>, none: Vec<String> },
    /// Comparisons of fields of a line that is JSON: one of the lists holds as a whole.
    Fields(Vec<Vec<Comparison>>),
}

/// `$.level = "ERROR"`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Comparison {
    path: Vec<String>,
    operator: Operator,
    value: String,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
}

/// The text is no pattern that is understood here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Invalid filter pattern: {0}")]
pub(super) struct InvalidPattern(String);

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let text = text.trim();
        if let Some(inner) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
            let alternatives = inner.split("||").map(|part| part.split("&&").map(comparison).collect());
            return Ok(Self::Fields(alternatives.collect::<Result<_, _>>()?));
        }
        if text.starts_with(['{', '[', '%']) {
            return Err(InvalidPattern(format!(
                "{text} (patterns of columns and regular expressions are not understood here)"
            )));
        }
        let (mut all, mut any, mut none) = (Vec::new(), Vec::new(), Vec::new());
        let mut rest = text;
        while !rest.is_empty() {
            let (list, after) = match rest.split_at_checked(1) {
                Some(("?", after)) => (&mut any, after),
                Some(("-", after)) => (&mut none, after),
                _ => (&mut all, rest),
            };
            let (term, after) = match after.strip_prefix('"') {
                Some(quoted) => {
                    quoted.split_once('"').ok_or_else(|| InvalidPattern(format!("{text} (a quote is not closed)")))?
                }
                None => after.split_once(char::is_whitespace).unwrap_or((after, "")),
            };
            list.push(term.to_owned());
            rest = after.trim_start();
        }
        Ok(Self::Terms { all, any, none })
    }

    pub(super) fn matches(&self, message: &str) -> bool {
        match self {
            Self::Terms { all, any, none } => {
                let has = |term: &String| message.contains(term.as_str());
                // Next to terms that have to be there, those of `?` count for nothing: so it is on AWS.
                let any = !all.is_empty() || any.is_empty() || any.iter().any(has);
                all.iter().all(has) && any && !none.iter().any(has)
            }
            Self::Fields(alternatives) => serde_json::from_str(message.trim())
                .is_ok_and(|line: Value| alternatives.iter().any(|list| list.iter().all(|one| one.holds(&line)))),
        }
    }
}

fn comparison(text: &str) -> Result<Comparison, InvalidPattern> {
    let text = text.trim().trim_start_matches('(').trim_end_matches(')').trim();
    let invalid = || InvalidPattern(text.to_owned());
    let operators = [
        ("!=", Operator::NotEqual),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::MoreOrEqual),
        ("=", Operator::Equal),
        ("<", Operator::Less),
        (">", Operator::More),
    ];
    let found = operators.iter().filter_map(|(word, operator)| Some((text.find(word)?, word, operator)));
    let (at, word, operator) =
        found.min_by_key(|(at, word, _)| (*at, std::cmp::Reverse(word.len()))).ok_or_else(invalid)?;
    let (path, value) = text.split_at_checked(at).ok_or_else(invalid)?;
    let path = path.trim().strip_prefix("$.").ok_or_else(invalid)?;
    let value = value.strip_prefix(word).unwrap_or(value).trim();
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    Ok(Comparison { path: path.split('.').map(str::to_owned).collect(), operator: *operator, value: value.to_owned() })
}

impl Comparison {
    fn holds(&self, line: &Value) -> bool {
        let found = self.path.iter().try_fold(line, |value, key| value.get(key));
        let Some(found) = found else { return false };
        let text = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
        let numbers = text.parse::<f64>().ok().zip(self.value.parse::<f64>().ok());
        let compares = |test: fn(f64, f64) -> bool| numbers.is_some_and(|(left, right)| test(left, right));
        match self.operator {
            Operator::Equal => like(&self.value, &text),
            Operator::NotEqual => !like(&self.value, &text),
            Operator::Less => compares(|a, b| a < b),
            Operator::LessOrEqual => compares(|a, b| a <= b),
            Operator::More => compares(|a, b| a > b),
            Operator::MoreOrEqual => compares(|a, b| a >= b),
        }
    }
}

/// `*` at either end stands for anything.
fn like(wanted: &str, text: &str) -> bool {
    match (wanted.strip_prefix('*'), wanted.strip_suffix('*')) {
        _ if wanted == "*" => true,
        (Some(end), None) => text.ends_with(end),
        (None, Some(start)) => text.starts_with(start),
        (Some(middle), Some(_)) => text.contains(middle.trim_end_matches('*')),
        (None, None) => text == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, message: &str, expected: bool) {
        assert_eq!(Pattern::parse(pattern).unwrap().matches(message), expected, "{pattern} on {message}");
    }

    #[test]
    fn patterns() {
        check("", "anything", true);
        check("ERROR", "an ERROR here", true);
        check("ERROR", "an error here", false);
        check("ERROR disk", "disk ERROR", true);
        check("ERROR disk", "ERROR", false);
        check("\"two words\"", "the two words", true);
        check("\"two words\"", "words two", false);
        check("?ERROR ?WARN", "WARN x", true);
        check("?ERROR ?WARN", "INFO x", false);
        check("x ?ERROR", "INFO x", true);
        check("ERROR -\"not this\"", "ERROR not this", false);
        check("ERROR -that", "ERROR this", true);
        let line = r#"{"level":"ERROR","n":5,"deep":{"er":"abc"},"yes":true}"#;
        check("{ $.level = \"ERROR\" }", line, true);
        check("{ $.level != \"ERROR\" }", line, false);
        check("{ $.n > 4 && $.n <= 5 }", line, true);
        check("{ $.n < 5 || $.deep.er = a* }", line, true);
        check("{ $.deep.er = *b* && $.yes = true }", line, true);
        check("{ $.missing = 1 }", line, false);
        check("{ $.n = 5 }", "no JSON", false);
        for bad in ["\"open", "{ $.a }", "{ a = 1 }", "[w1, w2]", "%re%", "{ $.a = 1"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }
}
