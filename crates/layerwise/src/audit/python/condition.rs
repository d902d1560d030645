//! What is known of a condition before the program runs: that Python is CPython 3 on Linux, that nobody checks types,
//! that the file is imported and not run, and for each minor version what `sys.version_info` says.

use std::cell::Cell;
use std::cmp::Ordering;

use ruff_python_ast::{BoolOp, CmpOp, Expr, ExprCall, ExprCompare, ExprSubscript, Number, UnaryOp};

/// A set of minor versions of Python 3. The last stands for itself and all later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Minors(u32);

impl Minors {
    pub(super) const NONE: Self = Self(0);
    pub(super) const ALL: Self = Self(u32::MAX);
    const LAST: u8 = 31;

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The set as ranges `from <= minor < until`, ascending.
    pub(super) fn ranges(self) -> Vec<(u8, u8)> {
        let mut ranges: Vec<(u8, u8)> = Vec::new();
        for minor in (0..=Self::LAST).filter(|minor| self.0 & (1 << minor) != 0) {
            let until = if minor == Self::LAST { u8::MAX } else { minor + 1 };
            match ranges.last_mut() {
                Some(last) if last.1 == minor => last.1 = until,
                _ => ranges.push((minor, until)),
            }
        }
        ranges
    }
}

/// On which minor versions a condition is true, and on which false; nothing is known of it on the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) yes: Minors,
    pub(super) no: Minors,
}

pub(super) fn verdict(condition: &Expr) -> Verdict {
    let mut verdict = Verdict { yes: Minors::NONE, no: Minors::NONE };
    let mut note = |answer, minors| match answer {
        Some(true) => verdict.yes = verdict.yes.or(minors),
        Some(false) => verdict.no = verdict.no.or(minors),
        None => {}
    };
    let python = Python { minor: 0, asked: Cell::new(false) };
    let answer = python.truth(condition, DEEPEST);
    if !python.asked.get() {
        note(answer, Minors::ALL);
        return verdict;
    }
    for minor in 0..=Minors::LAST {
        let python = Python { minor, asked: Cell::new(false) };
        note(python.truth(condition, DEEPEST), Minors(1 << minor));
    }
    verdict
}

/// Conditions that nest deeper are not looked into.
const DEEPEST: usize = 20;

/// CPython on Linux, of one minor version.
struct Python {
    minor: u8,
    /// Whether the answer depended on the version.
    asked: Cell<bool>,
}

/// What is known of a value.
enum Value {
    Int(i64),
    /// `open`: more characters follow, at least one, and nobody knows which.
    Text {
        known: String,
        open: bool,
    },
    /// `open`: more items follow, at least one, and nobody knows which.
    Tuple {
        items: Vec<Value>,
        open: bool,
    },
    /// `sys.hexversion`: 0x03, the minor version, and two bytes that nobody knows.
    Hexversion,
}

impl Value {
    fn text(known: impl Into<String>) -> Self {
        Self::Text { known: known.into(), open: false }
    }
}

impl Python {
    fn minor(&self) -> u8 {
        self.asked.set(true);
        self.minor
    }

    fn truth(&self, expr: &Expr, depth: usize) -> Option<bool> {
        let depth = depth.checked_sub(1)?;
        match expr {
            Expr::BooleanLiteral(literal) => Some(literal.value),
            Expr::NoneLiteral(_) => Some(false),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) => match self.value(expr, depth)? {
                Value::Int(number) => Some(number != 0),
                Value::Text { known, .. } => Some(!known.is_empty()),
                Value::Tuple { .. } | Value::Hexversion => None,
            },
            Expr::Named(named) => self.truth(&named.value, depth),
            Expr::UnaryOp(unary) if unary.op == UnaryOp::Not => self.truth(&unary.operand, depth).map(|yes| !yes),
            Expr::BoolOp(operation) => {
                // One operand that decides is enough, even after some of which nothing is known.
                let decides = operation.op == BoolOp::Or;
                let mut unknown = false;
                for value in &operation.values {
                    match self.truth(value, depth) {
                        Some(yes) if yes == decides => return Some(decides),
                        Some(_) => {}
                        None => unknown = true,
                    }
                }
                (!unknown).then_some(!decides)
            }
            Expr::Name(_) | Expr::Attribute(_) => match last_name(expr)? {
                "TYPE_CHECKING" | "PY2" => Some(false),
                "PY3" => Some(true),
                _ => None,
            },
            Expr::Compare(compare) => self.comparison(compare, depth),
            Expr::Call(call) => self.call_truth(call, depth),
            _ => None,
        }
    }

    fn call_truth(&self, call: &ExprCall, depth: usize) -> Option<bool> {
        let Expr::Attribute(method) = &*call.func else { return None };
        let [argument] = &*call.arguments.args else { return None };
        let Value::Text { known, open } = self.value(&method.value, depth)? else { return None };
        let wanted = match self.value(argument, depth)? {
            Value::Tuple { items, open: false } => items,
            text => vec![text],
        };
        let mut unknown = false;
        for wanted in wanted {
            let Value::Text { known: wanted, open: false } = wanted else { return None };
            match method.attr.as_str() {
                "startswith" if known.starts_with(&wanted) => return Some(true),
                "startswith" => unknown |= open && wanted.starts_with(&known),
                "endswith" if !open && known.ends_with(&wanted) => return Some(true),
                "endswith" => unknown |= open,
                _ => return None,
            }
        }
        (!unknown).then_some(false)
    }

    /// `a < b < c` is `a < b and b < c`.
    fn comparison(&self, compare: &ExprCompare, depth: usize) -> Option<bool> {
        let mut left = &*compare.left;
        let mut unknown = false;
        for (operator, right) in compare.ops.iter().zip(&compare.comparators) {
            match self.compare(left, *operator, right, depth) {
                Some(true) => {}
                Some(false) => return Some(false),
                None => unknown = true,
            }
            left = right;
        }
        (!unknown).then_some(true)
    }

    fn compare(&self, left: &Expr, operator: CmpOp, right: &Expr, depth: usize) -> Option<bool> {
        if is_name(left, "__name__") && is_text(right, "__main__")
            || is_name(right, "__name__") && is_text(left, "__main__")
        {
            return match operator {
                CmpOp::Eq => Some(false),
                CmpOp::NotEq => Some(true),
                _ => None,
            };
        }
        let (left, right) = (self.value(left, depth)?, self.value(right, depth)?);
        match operator {
            CmpOp::Eq | CmpOp::Is => self.order(&left, &right).map(Ordering::is_eq),
            CmpOp::NotEq | CmpOp::IsNot => self.order(&left, &right).map(Ordering::is_ne),
            CmpOp::Lt => self.order(&left, &right).map(Ordering::is_lt),
            CmpOp::LtE => self.order(&left, &right).map(Ordering::is_le),
            CmpOp::Gt => self.order(&left, &right).map(Ordering::is_gt),
            CmpOp::GtE => self.order(&left, &right).map(Ordering::is_ge),
            CmpOp::In => self.contains(&right, &left),
            CmpOp::NotIn => self.contains(&right, &left).map(|yes| !yes),
        }
    }

    fn contains(&self, container: &Value, wanted: &Value) -> Option<bool> {
        match (container, wanted) {
            (Value::Text { known, open }, Value::Text { known: wanted, open: false }) => {
                if known.contains(wanted.as_str()) { Some(true) } else { (!open).then_some(false) }
            }
            (Value::Tuple { items, open: false }, wanted) => {
                let mut unknown = false;
                for item in items {
                    match self.order(item, wanted) {
                        Some(Ordering::Equal) => return Some(true),
                        Some(_) => {}
                        None => unknown = true,
                    }
                }
                (!unknown).then_some(false)
            }
            _ => None,
        }
    }

    fn order(&self, left: &Value, right: &Value) -> Option<Ordering> {
        match (left, right) {
            (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
            (Value::Text { known: left, open: left_open }, Value::Text { known: right, open: right_open }) => {
                match left.bytes().zip(right.bytes()).find(|(left, right)| left != right) {
                    Some((left, right)) => Some(left.cmp(&right)),
                    None => rest_order((left.len(), *left_open), (right.len(), *right_open)),
                }
            }
            (Value::Tuple { items: left, open: left_open }, Value::Tuple { items: right, open: right_open }) => {
                for (left, right) in left.iter().zip(right) {
                    match self.order(left, right)? {
                        Ordering::Equal => {}
                        other => return Some(other),
                    }
                }
                // Nothing in a version is less than 0: 3.8.x is later than `(3, 8, 0)`, whatever x.
                let zeros =
                    |items: &[Value], from: usize| items.iter().skip(from).all(|item| matches!(item, Value::Int(0)));
                match (left_open, right_open) {
                    (true, false) if zeros(right, left.len()) => Some(Ordering::Greater),
                    (false, true) if zeros(left, right.len()) => Some(Ordering::Less),
                    _ => rest_order((left.len(), *left_open), (right.len(), *right_open)),
                }
            }
            (Value::Hexversion, Value::Int(number)) => {
                let bytes = u32::try_from(*number).ok()?.to_be_bytes();
                let right = Value::Tuple { items: bytes.map(|byte| Value::Int(byte.into())).into(), open: false };
                self.order(&self.version_info(), &right)
            }
            (Value::Int(_), Value::Hexversion) => self.order(right, left).map(Ordering::reverse),
            _ => None,
        }
    }

    fn value(&self, expr: &Expr, depth: usize) -> Option<Value> {
        let depth = depth.checked_sub(1)?;
        match expr {
            Expr::NumberLiteral(literal) => match &literal.value {
                Number::Int(number) => number.as_i64().map(Value::Int),
                Number::Float(_) | Number::Complex { .. } => None,
            },
            Expr::StringLiteral(literal) => Some(Value::text(literal.value.to_str())),
            Expr::Tuple(tuple) => self.values(&tuple.elts, depth),
            Expr::List(list) => self.values(&list.elts, depth),
            Expr::Set(set) => self.values(&set.elts, depth),
            Expr::Attribute(attribute) => match (module(&attribute.value), attribute.attr.as_str()) {
                (Some("os"), "name") => Some(Value::text("posix")),
                (Some("sys"), "platform") => Some(Value::text("linux")),
                (Some("sys"), "version_info") => Some(self.version_info()),
                (Some("sys"), "version") => Some(self.version()),
                (Some("sys"), "hexversion") => Some(Value::Hexversion),
                (None, "name") if last_name(&attribute.value) == Some("implementation") => Some(Value::text("cpython")),
                (None, "major") => self.item(&attribute.value, 0, depth),
                (None, "minor") => self.item(&attribute.value, 1, depth),
                _ => None,
            },
            Expr::Subscript(subscript) => self.subscript(subscript, depth),
            Expr::Call(call) if call.arguments.args.is_empty() && call.arguments.keywords.is_empty() => {
                let Expr::Attribute(function) = &*call.func else { return None };
                match (module(&function.value), function.attr.as_str()) {
                    (Some("platform"), "system") => Some(Value::text("Linux")),
                    (Some("platform"), "python_implementation") => Some(Value::text("CPython")),
                    (Some("platform"), "python_version") => Some(self.version()),
                    (None, "lower") => match self.value(&function.value, depth)? {
                        Value::Text { known, open } => Some(Value::Text { known: known.to_ascii_lowercase(), open }),
                        _ => None,
                    },
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn values(&self, items: &[Expr], depth: usize) -> Option<Value> {
        const MOST: usize = 32;
        let items = (items.len() <= MOST).then_some(items)?;
        let items = items.iter().map(|item| self.value(item, depth)).collect::<Option<Vec<Value>>>()?;
        Some(Value::Tuple { items, open: false })
    }

    fn item(&self, tuple: &Expr, index: usize, depth: usize) -> Option<Value> {
        match self.value(tuple, depth)? {
            Value::Tuple { items, .. } => items.into_iter().nth(index),
            Value::Text { known, .. } => known.get(index..=index).map(Value::text),
            Value::Int(_) | Value::Hexversion => None,
        }
    }

    fn subscript(&self, subscript: &ExprSubscript, depth: usize) -> Option<Value> {
        let Expr::Slice(slice) = &*subscript.slice else {
            return self.item(&subscript.value, integer(&subscript.slice)?, depth);
        };
        if slice.step.is_some() || slice.lower.as_ref().is_some_and(|lower| integer(lower) != Some(0)) {
            return None;
        }
        let end = integer(slice.upper.as_ref()?)?;
        match self.value(&subscript.value, depth)? {
            Value::Text { known, open } if end <= known.len() || open => Some(Value::Text {
                open: end > known.len(),
                known: known.get(..end).map(str::to_owned).unwrap_or(known),
            }),
            Value::Tuple { mut items, open } if end <= items.len() || open => {
                let open = end > items.len();
                items.truncate(end);
                Some(Value::Tuple { items, open })
            }
            _ => None,
        }
    }

    fn version_info(&self) -> Value {
        Value::Tuple { items: vec![Value::Int(3), Value::Int(self.minor().into())], open: true }
    }

    fn version(&self) -> Value {
        Value::Text { known: format!("3.{}.", self.minor()), open: true }
    }
}

/// Of two sequences whose known parts are equal as far as the shorter goes: their lengths, and whether they are open.
fn rest_order((left, left_open): (usize, bool), (right, right_open): (usize, bool)) -> Option<Ordering> {
    match left.cmp(&right) {
        Ordering::Less if left_open => None,
        Ordering::Greater if right_open => None,
        Ordering::Equal if left_open && right_open => None,
        Ordering::Equal => Some(left_open.cmp(&right_open)),
        other => Some(other),
    }
}

/// A literal that is one and not negative.
pub(super) fn integer(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::NumberLiteral(literal) => match &literal.value {
            Number::Int(number) => number.as_usize(),
            Number::Float(_) | Number::Complex { .. } => None,
        },
        _ => None,
    }
}

/// `sys`, also where it was imported as `_sys`.
fn module(expr: &Expr) -> Option<&'static str> {
    match expr {
        Expr::Name(name) => {
            ["sys", "os", "platform"].into_iter().find(|module| name.id.trim_start_matches('_') == *module)
        }
        _ => None,
    }
}

/// `c` of `a.b.c`, and of `c`.
pub(super) fn last_name(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Name(name) => Some(name.id.as_str()),
        Expr::Attribute(attribute) => Some(attribute.attr.as_str()),
        _ => None,
    }
}

fn is_name(expr: &Expr, name: &str) -> bool {
    matches!(expr, Expr::Name(found) if found.id.as_str() == name)
}

fn is_text(expr: &Expr, text: &str) -> bool {
    matches!(expr, Expr::StringLiteral(literal) if literal.value.to_str() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `yes`, `no`, `?`, or the minor versions on which it is true; `?` where nothing is known of some.
    #[track_caller]
    fn check(condition: &str, expected: &str) {
        let parsed = ruff_python_parser::parse_expression(condition).unwrap();
        let verdict = verdict(parsed.expr());
        let shown = if verdict.yes == Minors::ALL {
            "yes".to_owned()
        } else if verdict.no == Minors::ALL {
            "no".to_owned()
        } else {
            let mut shown: Vec<String> =
                verdict.yes.ranges().iter().map(|(from, until)| format!("{from}..{until}")).collect();
            if verdict.yes.or(verdict.no) != Minors::ALL {
                shown.push("?".to_owned());
            }
            shown.join(" ")
        };
        assert_eq!(shown, expected, "{condition}");
    }

    #[test]
    fn constants() {
        for yes in ["True", "1", "'x'", "not 0", "not TYPE_CHECKING", "six.PY3", "PY3", "(x := 1)", "not None"] {
            check(yes, "yes");
        }
        for no in ["False", "0", "None", "''", "TYPE_CHECKING", "typing.TYPE_CHECKING", "t.TYPE_CHECKING", "six.PY2"] {
            check(no, "no");
        }
        for unknown in
            ["x", "x.y", "x()", "1.5", "__debug__", "[1]", "os.environ.get('x')", "x == 1", "0x1ffffffffffffffff"]
        {
            check(unknown, "?");
        }
        check(&format!("{}True", "not ".repeat(30)), "?");
    }

    #[test]
    fn how_it_is_run() {
        check("__name__ == '__main__'", "no");
        check("'__main__' == __name__", "no");
        check("__name__ != '__main__'", "yes");
        check("__name__ == 'x'", "?");
        check("__name__ in ('__main__', 'x')", "?");
    }

    #[test]
    fn logic() {
        check("TYPE_CHECKING or x", "?");
        check("TYPE_CHECKING and x", "no");
        check("x and TYPE_CHECKING", "no");
        check("x or PY3", "yes");
        check("not (x and False)", "yes");
        check("sys.version_info >= (3, 8) and x", "?");
        check("sys.version_info >= (3, 8) or x", "8..255 ?");
    }

    #[test]
    fn platforms() {
        for yes in [
            "sys.platform == 'linux'",
            "_sys.platform != 'win32'",
            "sys.platform.startswith('linux')",
            "sys.platform.startswith(('win', 'lin'))",
            "sys.platform in ('linux', 'linux2')",
            "sys.platform not in {'win32', 'cygwin'}",
            "'win' not in sys.platform",
            "sys.platform[:3] != 'win'",
            "os.name == 'posix'",
            "'nt' != os.name",
            "platform.system() == 'Linux'",
            "platform.system().lower() == 'linux'",
            "platform.python_implementation() == 'CPython'",
            "sys.implementation.name == 'cpython'",
        ] {
            check(yes, "yes");
        }
        for no in [
            "sys.platform == 'win32'",
            "sys.platform in ['darwin', 'win32']",
            "os.name in ('nt',)",
            "os.name == 'nt' and x",
            "platform.system() == 'Windows' or sys.platform.startswith('win')",
            "sys.platform.endswith('bsd')",
        ] {
            check(no, "no");
        }
        for unknown in
            ["sys.platform == x", "sys.platform in x", "platform.machine() == 'x86_64'", "sys.maxsize > 2**32"]
        {
            check(unknown, "?");
        }
    }

    #[test]
    fn versions() {
        check("sys.version_info >= (3,)", "yes");
        check("sys.version_info > (3, 0)", "yes");
        check("sys.version_info < (3, 0)", "no");
        check("sys.version_info[0] < 3", "no");
        check("sys.version_info[0] == 2", "no");
        check("sys.version_info.major >= 3", "yes");
        check("sys.version_info >= (3, 8)", "8..255");
        check("(3, 8) <= sys.version_info", "8..255");
        check("sys.version_info > (3, 8)", "8..255");
        check("sys.version_info <= (3, 8)", "0..8");
        check("sys.version_info[:2] <= (3, 8)", "0..9");
        check("sys.version_info[0:2] == (3, 8)", "8..9");
        check("sys.version_info == (3, 8)", "no");
        check("sys.version_info[:2] != (3, 8)", "0..8 9..255");
        check("sys.version_info[:2] in ((3, 8), (3, 10))", "8..9 10..11");
        check("(3, 7) <= sys.version_info < (3, 9)", "7..9");
        check("sys.version_info >= (3, 8, 0)", "8..255");
        check("(3, 8, 0) >= sys.version_info", "0..8");
        check("sys.version_info >= (3, 8, 2)", "9..255 ?");
        check("sys.version_info[:3] >= (3, 8, 2)", "9..255 ?");
        check("sys.version_info < (3, 8, 2, 'final', 0)", "0..8 ?");
        check("sys.version_info[1] >= 10", "10..255");
        check("sys.version_info.major == 3 and sys.version_info.minor > 9", "10..255");
        check("not sys.version_info >= (3, 8)", "0..8");
        check("sys.hexversion >= 0x030800f0", "9..255 ?");
        check("0x03080000 > sys.hexversion", "0..8");
        check("sys.version_info >= (3, x)", "?");
        check("sys.version_info[5] == 1", "?");
    }

    #[test]
    fn versions_as_text() {
        check("sys.version[0] == '3'", "yes");
        check("sys.version < '3'", "no");
        check("sys.version >= '3'", "yes");
        check("sys.version.startswith('2')", "no");
        check("sys.version.startswith('3.8.')", "8..9");
        check("sys.version.startswith('3.8.1')", "?");
        // As Python sees it: "3.1" is what 3.10 begins with.
        check("sys.version[:3] >= '3.8'", "8..10");
        check("platform.python_version() >= '3.9'", "9..10");
        check("platform.python_version().startswith('2.')", "no");
    }
}
