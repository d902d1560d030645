//! What a Python source file imports when it is imported: facts that no target is needed for.

mod condition;
mod decode;
mod nesting;

use std::collections::HashSet;

use ruff_python_ast::token::{Token, TokenKind};
use ruff_python_ast::visitor::{self, Visitor};
use ruff_python_ast::{
    ElifElseClause, ExceptHandler, ExceptHandlerExceptHandler, Expr, ExprCall, MatchCase, Mod, PythonVersion, Stmt,
    StmtIf, StmtImportFrom, StmtTry, StmtWith,
};
use ruff_python_parser::{Mode, ParseOptions, Parsed, UnsupportedSyntaxErrorKind, parse_unchecked};
use serde::{Deserialize, Serialize};

use condition::{Minors, Verdict, integer, last_name, verdict};
use nesting::Nesting;

/// Larger files are not looked into, in bytes. Those that people write are smaller; those that programs write hold data.
pub const LARGEST_SOURCE: usize = 1 << 20;

/// Where more levels of syntax than these could nest, the tokens are looked at before the parser is let at them: it needs
/// up to 2 KiB of stack for each, which it asks for piece by piece and without limit.
const UNSEEN_LEVELS: usize = 32 << 10;

/// Stack for a level of a syntax tree, in bytes: to take it apart takes up to 180, without optimisation 430.
const LEVEL: usize = if cfg!(debug_assertions) { 512 } else { 256 };

/// Stack for everything else, in bytes.
const STACK: usize = 384 << 10;

/// The parser tells of syntax that is newer. One less than what any target has, for what it believes to be in 3.9, but
/// CPython has only in 3.10.
const OLDEST: PythonVersion = PythonVersion::PY38;

/// What a Python source file does when it is imported.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PythonFacts {
    /// What it imports, in the order of the source, each once.
    pub imports: Vec<Import>,
    /// It has a hand in how modules are found (`sys.path`, `sys.modules`, `__path__`, import hooks …): that a module
    /// is not where it should be proves nothing about what lies below this one.
    pub machinery: bool,
    /// It has a `__getattr__` of its own (PEP 562): it may have names that nobody sees in its source.
    pub dynamic_attributes: bool,
    /// The first minor version of Python 3 that knows its syntax, where 3.9 does not.
    pub needs_minor: Option<u8>,
    /// Why it could not be looked into, or not fully.
    pub problem: Option<Problem>,
    /// Every name that stands in it, other than behind a dot, hashed and sorted. `None`: not known, or names may come
    /// about that do not stand in it (`from x import *`, `globals()`, `exec` …). Not kept in the cache: it is asked for
    /// the handler's module only, which no wheel brings.
    #[serde(skip)]
    pub names: Option<Vec<u32>>,
}

impl PythonFacts {
    /// Whether the module surely has no global of this name once it is imported. What merely stands in it may be one.
    pub fn never_binds(&self, name: &str) -> bool {
        // Words that the lexer may take for keywords, and what Python may normalize.
        let plain =
            name.is_ascii() && !matches!(name, "match" | "case" | "type" | "lazy" | "_") && !name.starts_with("__");
        let sure = plain && self.problem.is_none() && !self.dynamic_attributes;
        sure && self.names.as_ref().is_some_and(|names| names.binary_search(&hash(name.as_bytes())).is_err())
    }
}

/// Two names with one hash only make that nothing is said of one of them.
#[expect(clippy::cast_possible_truncation, reason = "a part of a hash is a hash")]
fn hash(name: &[u8]) -> u32 {
    xxhash_rust::xxh3::xxh3_64(name) as u32
}

/// One module that is imported.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Import {
    /// `a.b`; empty in `from . import x`.
    pub module: String,
    /// How many dots are before it.
    pub level: u8,
    /// What is wanted of it: the names of `from a.b import c, d`, or `*`. Empty for `import a.b`.
    pub names: Vec<String>,
    /// How certain it is.
    pub when: When,
    /// From 1: where its statement begins, or the name in its call.
    pub line: u32,
}

/// How certain an import is, on Linux under CPython.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum When {
    /// It runs whenever the file is imported by Python 3.minor with `from <= minor < until`, and a failure is not caught.
    Always {
        /// The first minor version.
        from: u8,
        /// The first for which it is not certain any more; 255 where there is none.
        until: u8,
    },
    /// It may run, or may fail without harm.
    Guarded,
    /// It runs when a function is called, and a failure is not caught there.
    Deferred,
}

/// Why a file could not be looked into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Problem {
    /// No Python can compile it. What could be read of it all the same is in the imports, none of it as certain.
    Syntax {
        /// From 1; the last one where only the end tells.
        line: u32,
        /// What is wrong there; no full stop, no control characters.
        message: String,
    },
    /// It is in an encoding that source files cannot be in, or that we do not know.
    Encoding {
        /// Its name, as the file declares it.
        name: String,
    },
    /// It is larger than [`LARGEST_SOURCE`].
    TooLarge,
    /// It nests deeper than CPython compiles: brackets, blocks, or operators in a row.
    TooDeep,
}

/// Looks into a source file. Never fails: what is wrong with it is part of the answer.
///
/// Any content of [`LARGEST_SOURCE`] bytes takes well below a second, and at most about 150 MB.
pub fn facts(bytes: &[u8]) -> PythonFacts {
    look(bytes, true)
}

/// The same without [`PythonFacts::names`], which cost time and memory: for files that hold no handler.
pub fn facts_without_names(bytes: &[u8]) -> PythonFacts {
    look(bytes, false)
}

fn look(bytes: &[u8], with_names: bool) -> PythonFacts {
    let failed = |problem| PythonFacts { problem: Some(problem), ..PythonFacts::default() };
    if bytes.len() > LARGEST_SOURCE {
        return failed(Problem::TooLarge);
    }
    let text = match decode::decode(bytes) {
        Ok(text) => text,
        Err(problem) => return failed(problem),
    };
    let levels = levels_at_most(&text);
    if levels > UNSEEN_LEVELS {
        let nesting = Nesting::of(&text);
        if nesting.is_too_deep() {
            return failed(Problem::TooDeep);
        }
        if nesting.unfinished {
            let message = "a bracket, a string or a `lambda` is not finished".to_owned();
            return failed(Problem::Syntax { line: line(text.as_bytes(), text.len()), message });
        }
    }
    // The parser sees to the stack that it needs to go down, but a tree needs some for each level to be dropped as well:
    // at the end, and in the parser where it gives a part up. To reserve it costs little: only what is used is memory.
    let stack = STACK + LEVEL * levels;
    stacker::maybe_grow(stack, stack, || {
        let parsed = parse_unchecked(&text, ParseOptions::from(Mode::Module).with_target_version(OLDEST));
        let mut facts = read(&text, &parsed, with_names);
        if facts.problem.is_some() {
            facts.imports.iter_mut().for_each(|import| import.when = When::Guarded);
        }
        each_once(&mut facts.imports);
        facts
    })
}

fn each_once(imports: &mut Vec<Import>) {
    let mut seen = HashSet::new();
    let keys = imports.iter().map(|import| (&import.module, import.level, &import.names, import.when));
    let mut first = keys.map(|key| seen.insert(key)).collect::<Vec<bool>>().into_iter();
    imports.retain(|_| first.next().unwrap_or_default());
}

/// How many levels of syntax a text can have at most: one for each of these signs, and one for each word.
fn levels_at_most(text: &str) -> usize {
    /// `not `, the shortest word that makes a level, in bytes.
    const WORD: usize = 4;
    const SIGNS: [u8; 16] = *b"([{.+-*/%@&|^~<>";
    // Without short cuts and in small sums, so that it is compiled to a few instructions for many bytes.
    let is_sign = |byte: u8| SIGNS.iter().fold(false, |is, sign| is | (byte == *sign));
    let signs = |chunk: &[u8]| usize::from(chunk.iter().map(|byte| u8::from(is_sign(*byte))).sum::<u8>());
    text.as_bytes().chunks(u8::MAX.into()).map(signs).sum::<usize>() + text.len() / WORD
}

/// The line in which the byte at `offset` is, from 1. Lines end as Python's do.
fn line(text: &[u8], offset: usize) -> u32 {
    let before = text.get(..offset).unwrap_or(text);
    u32::try_from(line_ends(before)).map_or(u32::MAX, |ends| ends.saturating_add(1))
}

fn line_ends(text: &[u8]) -> usize {
    let count = |wanted| text.iter().filter(|byte| **byte == wanted).count();
    let carriage_returns = count(b'\r');
    let both = if carriage_returns == 0 { 0 } else { text.windows(2).filter(|pair| pair == b"\r\n").count() };
    count(b'\n') + carriage_returns - both
}

fn read(text: &str, parsed: &Parsed<Mod>, with_names: bool) -> PythonFacts {
    let names = names(text, parsed.tokens(), with_names);
    let mut walk = Walk {
        found: Vec::new(),
        dynamic_attributes: false,
        machinery: names.machinery,
        calls: names.import_calls,
        import_module: false,
        place: Place::Module,
        matches: false,
    };
    if let Mod::Module(module) = parsed.syntax() {
        walk.block(&module.body, Reach::CERTAIN);
    }
    walk.found.sort_by_key(|found| found.0);

    let mut imports = Vec::with_capacity(walk.found.len());
    let (mut at, mut current) = (0, 1);
    for (offset, import) in walk.found {
        let between = text.as_bytes().get(at..offset).unwrap_or_default();
        current += u32::try_from(line_ends(between)).unwrap_or(u32::MAX);
        at = offset;
        imports.push(Import { line: current, ..import });
    }
    let (needs_minor, removed) = versions(parsed);
    let first_error = parsed.errors().iter().min_by_key(|error| error.location.start());
    let first_error = first_error.map(|error| (error.location.start().to_usize(), error.error.to_string()));
    let first_error = first_error.into_iter().chain(removed).min_by_key(|(offset, _)| *offset);
    PythonFacts {
        imports,
        machinery: walk.machinery,
        dynamic_attributes: walk.dynamic_attributes,
        names: names.standing,
        needs_minor: needs_minor.max(walk.matches.then_some(10)),
        problem: first_error.map(|(offset, message)| Problem::Syntax {
            line: line(text.as_bytes(), offset),
            message: message.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
        }),
    }
}

/// What the names in a file tell.
struct Names {
    machinery: bool,
    /// There may be calls of `import_module` or `__import__`.
    import_calls: bool,
    /// See [`PythonFacts::names`].
    standing: Option<Vec<u32>>,
}

fn names(text: &str, tokens: &[Token], with_names: bool) -> Names {
    let name = |token: &Token| match token.as_tuple() {
        (TokenKind::Name, range) => text.as_bytes().get(range.start().to_usize()..range.end().to_usize()),
        _ => None,
    };
    let mut names = Names { machinery: false, import_calls: false, standing: None };
    let (mut standing, mut sure) = (Vec::new(), with_names);
    for (at, token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| tokens.get(before)).map(Token::kind);
        // `from x import *`
        sure &= !(token.kind() == TokenKind::Star && before == Some(TokenKind::Import));
        if let Some(name) = name(token) {
            sure = sure && !makes_names(name);
            if sure && before != Some(TokenKind::Dot) {
                standing.push(hash(name));
            }
        }
        match name(token) {
            Some(b"sys" | b"_sys") => {
                if let Some([dot, attribute]) = tokens.get(at + 1..at + 3)
                    && dot.kind() == TokenKind::Dot
                {
                    names.machinery |= name(attribute).is_some_and(is_import_state);
                }
            }
            Some(b"import_module" | b"__import__") => names.import_calls = true,
            // Whose mention is enough.
            Some(
                b"__path__"
                | b"meta_path"
                | b"path_hooks"
                | b"extend_path"
                | b"addsitedir"
                | b"declare_namespace"
                | b"MetaPathFinder"
                | b"PathEntryFinder"
                | b"PathFinder"
                | b"FileFinder"
                | b"LazyLoader"
                | b"SourceFileLoader"
                | b"ExtensionFileLoader"
                | b"spec_from_loader"
                | b"spec_from_file_location"
                | b"module_from_spec"
                | b"zipimporter",
            ) => names.machinery = true,
            _ => {}
        }
    }
    standing.sort_unstable();
    standing.dedup();
    standing.shrink_to_fit();
    names.standing = sure.then_some(standing);
    names
}

/// Whose mention means that a module may get names that do not stand in it.
fn makes_names(name: &[u8]) -> bool {
    matches!(
        name,
        b"globals"
            | b"locals"
            | b"vars"
            | b"exec"
            | b"eval"
            | b"compile"
            | b"setattr"
            | b"__setattr__"
            | b"__dict__"
            | b"__builtins__"
            | b"builtins"
            | b"f_globals"
            | b"f_locals"
            | b"_getframe"
            | b"currentframe"
            | b"execfile"
            | b"runpy"
            | b"inject"
            | b"__getattr__"
            | b"__class__"
            | b"modules"
    )
}

/// Of `sys`: what decides where modules come from.
fn is_import_state(name: &[u8]) -> bool {
    matches!(name, b"path" | b"modules" | b"meta_path" | b"path_hooks" | b"path_importer_cache")
}

/// The first minor version that has all the syntax, and what no later version has any more.
fn versions(parsed: &Parsed<Mod>) -> (Option<u8>, Option<(usize, String)>) {
    use UnsupportedSyntaxErrorKind as Kind;
    let (mut needs, mut removed) = (None, None);
    for error in parsed.unsupported_syntax_errors() {
        let minor = match error.kind {
            Kind::Match | Kind::UnparenthesizedNamedExpr(_) => 10,
            Kind::ExceptStar | Kind::StarExpressionInIndex | Kind::StarAnnotation => 11,
            Kind::TypeParameterList | Kind::TypeAliasStatement | Kind::Pep701FString(_) => 12,
            Kind::TypeParamDefault => 13,
            Kind::TemplateStrings | Kind::UnparenthesizedExceptionTypes => 14,
            Kind::LazyImportStatement | Kind::UnpackingInComprehension(_) => 15,
            Kind::ParenthesizedKeywordArgumentName => {
                removed = removed.or_else(|| Some((error.range.start().to_usize(), error.to_string())));
                continue;
            }
            // All targets have these.
            Kind::Walrus
            | Kind::StarTuple(_)
            | Kind::RelaxedDecorator(_)
            | Kind::PositionalOnlyParameter
            | Kind::ParenthesizedContextManager
            | Kind::UnparenthesizedUnpackInFor => continue,
        };
        needs = needs.max(Some(minor));
    }
    (needs, removed)
}

/// Of an import that is certain on more ranges of minor versions than these, certainty is not told: `!= (3, 8)` has two.
const MOST_RANGES: usize = 2;

/// On which minor versions a statement is reached.
#[derive(Debug, Clone, Copy)]
struct Reach {
    /// Whenever the file is imported.
    certain: Minors,
    /// Perhaps; on the others it is known not to be. Holds `certain`.
    possible: Minors,
    /// Something around it swallows an `ImportError`.
    caught: bool,
}

impl Reach {
    const CERTAIN: Self = Self { certain: Minors::ALL, possible: Minors::ALL, caught: false };

    fn guarded(self) -> Self {
        Self { certain: Minors::NONE, ..self }
    }

    fn caught(self) -> Self {
        Self { caught: true, ..self.guarded() }
    }

    fn uncertain_on(self, minors: Minors) -> Self {
        Self { certain: self.certain.without(minors), ..self }
    }

    fn without(self, minors: Minors) -> Self {
        Self { certain: self.certain.without(minors), possible: self.possible.without(minors), ..self }
    }

    /// Where a condition holds, and where it does not.
    fn split(self, verdict: Verdict) -> (Self, Self) {
        let Self { certain, possible, caught } = self;
        let holds = Self { certain: certain.and(verdict.yes), possible: possible.without(verdict.no), caught };
        let fails = Self { certain: certain.and(verdict.no), possible: possible.without(verdict.yes), caught };
        (holds, fails)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Module,
    Class,
    Function,
}

/// A walk through the statements of a file.
struct Walk {
    /// With the offset of the statement.
    found: Vec<(usize, Import)>,
    dynamic_attributes: bool,
    machinery: bool,
    /// There may be calls that import.
    calls: bool,
    /// The name `import_module` is importlib's: others have functions of that name which do something else.
    import_module: bool,
    place: Place,
    /// There is a `match` statement. The parser does not tell of `match (a): …`.
    matches: bool,
}

impl Walk {
    /// Returns the minor versions on which control never gets to the end of the block, in this and the next methods.
    fn block(&mut self, body: &[Stmt], reach: Reach) -> Minors {
        let mut ended = Minors::NONE;
        for statement in body {
            let reach = reach.without(ended);
            if reach.possible.is_empty() {
                break;
            }
            ended = ended.or(self.statement(statement, reach));
        }
        ended
    }

    fn statement(&mut self, statement: &Stmt, reach: Reach) -> Minors {
        if self.calls {
            Calls { walk: self, reach, depth: DEEPEST_CALL }.visit_stmt(statement);
        }
        match statement {
            Stmt::Import(import) => {
                let reach = if import.is_lazy { reach.guarded() } else { reach };
                for alias in &import.names {
                    self.import((alias.name.as_str(), 0), &[], reach, import.range.start().to_usize());
                }
                Minors::NONE
            }
            Stmt::ImportFrom(import) => {
                self.import_from(import, reach);
                Minors::NONE
            }
            Stmt::If(statement) => self.if_statement(statement, reach),
            Stmt::Try(statement) => self.try_statement(statement, reach),
            Stmt::With(statement) if statement.items.iter().all(|item| never_swallows(&item.context_expr)) => {
                self.block(&statement.body, reach)
            }
            Stmt::With(StmtWith { body, .. }) => {
                self.block(body, reach.caught());
                Minors::NONE
            }
            Stmt::For(statement) => {
                self.block(&statement.body, reach.guarded());
                self.block(&statement.orelse, reach.guarded());
                Minors::NONE
            }
            Stmt::While(statement) => {
                self.block(&statement.body, reach.guarded());
                self.block(&statement.orelse, reach.guarded());
                Minors::NONE
            }
            Stmt::Match(statement) => {
                self.matches = true;
                for case in &statement.cases {
                    self.block(&case.body, reach.guarded());
                }
                Minors::NONE
            }
            Stmt::FunctionDef(function) => {
                self.dynamic_attributes |= self.place == Place::Module && function.name.as_str() == "__getattr__";
                self.import_module &= function.name.as_str() != "import_module";
                self.within(Place::Function, |walk| walk.block(&function.body, reach.guarded()));
                Minors::NONE
            }
            Stmt::ClassDef(class) => {
                let place = if self.place == Place::Module { Place::Class } else { self.place };
                self.within(place, |walk| walk.block(&class.body, reach))
            }
            Stmt::Assign(assignment) => {
                self.dynamic_attributes |= self.place == Place::Module && assignment.targets.iter().any(gives_getattr);
                Minors::NONE
            }
            Stmt::Raise(_) => reach.possible,
            Stmt::Expr(expression) if leaves(&expression.value) => reach.possible,
            _ => Minors::NONE,
        }
    }

    fn within<T>(&mut self, place: Place, walk: impl FnOnce(&mut Self) -> T) -> T {
        let around = std::mem::replace(&mut self.place, place);
        let result = walk(self);
        self.place = around;
        result
    }

    fn import_from(&mut self, import: &StmtImportFrom, reach: Reach) {
        let module = import.module.as_ref().map_or("", |module| module.as_str());
        if module == "__future__" && import.level == 0 {
            return;
        }
        let reach = if import.is_lazy { reach.guarded() } else { reach };
        for alias in &import.names {
            match alias.asname.as_ref().unwrap_or(&alias.name).as_str() {
                "__getattr__" => self.dynamic_attributes |= self.place == Place::Module,
                "import_module" => self.import_module = module == "importlib" && import.level == 0,
                _ => {}
            }
        }
        self.machinery |= module == "sys" && import.names.iter().any(|name| is_import_state(name.name.as_bytes()));
        let names = import.names.iter().map(|alias| alias.name.as_str()).filter(|name| !name.is_empty());
        let names: Vec<String> = names.map(str::to_owned).collect();
        if names.is_empty() {
            return;
        }
        let level = u8::try_from(import.level).unwrap_or(u8::MAX);
        self.import((module, level), &names, reach, import.range.start().to_usize());
    }

    fn import(&mut self, (module, level): (&str, u8), names: &[String], reach: Reach, offset: usize) {
        // Where the syntax is wrong, a part of a name may be missing.
        let nothing = module.is_empty() && level > 0;
        if !nothing && module.split('.').any(str::is_empty) {
            return;
        }
        let import = |when| Import { module: module.to_owned(), level, names: names.to_vec(), when, line: 0 };
        let ranges = reach.certain.ranges();
        let certain = if ranges.len() > MOST_RANGES { &[] } else { ranges.as_slice() };
        for &(from, until) in certain {
            self.found.push((offset, import(When::Always { from, until })));
        }
        let too_many = certain.len() < ranges.len();
        if too_many || !reach.possible.without(reach.certain).is_empty() {
            let deferred = self.place == Place::Function && !reach.caught && !too_many;
            self.found.push((offset, import(if deferred { When::Deferred } else { When::Guarded })));
        }
    }

    fn if_statement(&mut self, statement: &StmtIf, reach: Reach) -> Minors {
        let (holds, mut rest) = reach.split(verdict(&statement.test));
        let mut passed = holds.possible.without(self.block(&statement.body, holds));
        for ElifElseClause { test, body, .. } in &statement.elif_else_clauses {
            let (holds, fails) = match test {
                Some(test) => rest.split(verdict(test)),
                None => (rest, rest.without(Minors::ALL)),
            };
            passed = passed.or(holds.possible.without(self.block(body, holds)));
            rest = fails;
        }
        reach.possible.without(passed.or(rest.possible))
    }

    fn try_statement(&mut self, statement: &StmtTry, reach: Reach) -> Minors {
        let (mut misses, mut others, mut ended) = (Minors::NONE, Minors::NONE, reach.possible);
        for ExceptHandler::ExceptHandler(handler) in &statement.handlers {
            let handler_ended = self.block(&handler.body, reach.guarded());
            let swallows = reach.possible.without(handler_ended);
            if may_catch_import_error(handler) {
                misses = misses.or(swallows);
            } else {
                others = others.or(swallows);
            }
            ended = ended.and(handler_ended);
        }
        // What a handler swallows may have been raised by any statement, and then those after it did not run.
        let body = Reach { caught: reach.caught || !misses.is_empty(), ..reach.uncertain_on(misses) };
        let (first, rest) = match &*statement.body {
            [first @ (Stmt::Import(_) | Stmt::ImportFrom(_)), rest @ ..] => (std::slice::from_ref(first), rest),
            all => (&[] as &[Stmt], all),
        };
        self.block(first, body);
        let mut body_ended = self.block(rest, body.uncertain_on(others));
        let orelse = reach.uncertain_on(misses.or(others)).without(body_ended);
        body_ended = body_ended.or(self.block(&statement.orelse, orelse));
        ended.and(body_ended).or(self.block(&statement.finalbody, reach))
    }
}

/// Whether an exception from the body surely gets out. Others may swallow it: `contextlib.suppress`, optuna's
/// `try_import`.
fn never_swallows(manager: &Expr) -> bool {
    matches!(manager, Expr::Call(call) if last_name(&call.func) == Some("catch_warnings"))
}

/// Whether the handler is one for `ImportError`, or could be.
fn may_catch_import_error(handler: &ExceptHandlerExceptHandler) -> bool {
    /// Python's own exceptions that neither `ImportError` nor `ModuleNotFoundError` is one of.
    const OTHERS: &[&str] = &[
        "ArithmeticError",
        "AssertionError",
        "AttributeError",
        "EOFError",
        "EnvironmentError",
        "FileNotFoundError",
        "IOError",
        "IndexError",
        "KeyError",
        "KeyboardInterrupt",
        "LookupError",
        "NameError",
        "NotImplementedError",
        "OSError",
        "OverflowError",
        "PermissionError",
        "RuntimeError",
        "StopIteration",
        "SyntaxError",
        "SystemError",
        "SystemExit",
        "TypeError",
        "UnicodeDecodeError",
        "UnicodeEncodeError",
        "UnicodeError",
        "ValueError",
        "ZeroDivisionError",
    ];
    let is_other = |expr: &Expr| matches!(expr, Expr::Name(name) if OTHERS.contains(&name.id.as_str()));
    match handler.type_.as_deref() {
        None => true,
        Some(Expr::Tuple(tuple)) => !tuple.elts.iter().all(is_other),
        Some(expr) => !is_other(expr),
    }
}

/// `sys.exit()` and its like.
fn leaves(expr: &Expr) -> bool {
    let Expr::Call(call) = expr else { return false };
    match &*call.func {
        Expr::Name(name) => matches!(name.id.as_str(), "exit" | "quit"),
        Expr::Attribute(attribute) => matches!(
            (last_name(&attribute.value), attribute.attr.as_str()),
            (Some("sys"), "exit") | (Some("os"), "_exit" | "abort")
        ),
        _ => false,
    }
}

/// Whether an assignment to this gives the module a `__getattr__`.
fn gives_getattr(target: &Expr) -> bool {
    let is = |expr: &Expr| matches!(expr, Expr::Name(name) if name.id.as_str() == "__getattr__");
    match target {
        Expr::Tuple(tuple) => tuple.elts.iter().any(is),
        Expr::List(list) => list.elts.iter().any(is),
        expr => is(expr),
    }
}

/// Calls that import are not looked for deeper in an expression.
const DEEPEST_CALL: usize = 50;

/// A walk through the expressions of one statement, for calls that import.
struct Calls<'walk> {
    walk: &'walk mut Walk,
    reach: Reach,
    depth: usize,
}

impl Calls<'_> {
    fn at(&mut self, reach: Reach, expr: &Expr) {
        let around = std::mem::replace(&mut self.reach, reach);
        self.visit_expr(expr);
        self.reach = around;
    }
}

impl<'a> Visitor<'a> for Calls<'_> {
    fn visit_expr(&mut self, expr: &'a Expr) {
        let Some(depth) = self.depth.checked_sub(1) else { return };
        self.depth = depth;
        match expr {
            Expr::BoolOp(operation) => {
                let mut reach = self.reach;
                for value in &operation.values {
                    self.at(reach, value);
                    let (holds, fails) = reach.split(verdict(value));
                    reach = if operation.op.is_or() { fails } else { holds };
                }
            }
            Expr::If(choice) => {
                self.visit_expr(&choice.test);
                let (holds, fails) = self.reach.split(verdict(&choice.test));
                self.at(holds, &choice.body);
                self.at(fails, &choice.orelse);
            }
            Expr::Lambda(_) | Expr::ListComp(_) | Expr::SetComp(_) | Expr::DictComp(_) | Expr::Generator(_) => {
                let around = self.reach;
                self.reach = around.guarded();
                visitor::walk_expr(self, expr);
                self.reach = around;
            }
            Expr::Call(call) => {
                if let Some((module, level, offset)) = imported_by(call, self.walk.import_module) {
                    self.walk.import((module, level), &[], self.reach, offset);
                }
                visitor::walk_expr(self, expr);
            }
            _ => visitor::walk_expr(self, expr),
        }
        self.depth += 1;
    }

    // Not run, or not always, or a matter of `Walk`.
    fn visit_annotation(&mut self, _: &'a Expr) {}
    fn visit_type_params(&mut self, _: &'a ruff_python_ast::TypeParams) {}
    fn visit_body(&mut self, _: &'a [Stmt]) {}
    fn visit_elif_else_clause(&mut self, _: &'a ElifElseClause) {}
    fn visit_except_handler(&mut self, _: &'a ExceptHandler) {}
    fn visit_match_case(&mut self, _: &'a MatchCase) {}
}

/// The module that `importlib.import_module("…")` or `__import__("…")` imports, its dots, and where it is named.
fn imported_by(call: &ExprCall, import_module: bool) -> Option<(&str, u8, usize)> {
    let function = match &*call.func {
        Expr::Name(name) => name.id.as_str(),
        Expr::Attribute(attribute) => match (&*attribute.value, attribute.attr.as_str()) {
            (Expr::Name(module), name) if module.id.trim_start_matches('_') == "importlib" => name,
            (Expr::Name(module), name @ "__import__") if module.id.as_str() == "builtins" => name,
            _ => return None,
        },
        _ => return None,
    };
    let known = match function {
        "import_module" => import_module || call.func.is_attribute_expr(),
        name => name == "__import__",
    };
    if !known {
        return None;
    }
    let argument = |position: usize, name: &str| call.arguments.find_argument_value(name, position);
    let Expr::StringLiteral(literal) = argument(0, "name")? else { return None };
    let name = literal.value.to_str();
    let module = name.trim_start_matches('.');
    let is_name = |part: &str| !part.is_empty() && part.chars().all(|c| c == '_' || c.is_alphanumeric());
    if !module.split('.').all(is_name) {
        return None;
    }
    let dots = u8::try_from(name.len() - module.len()).ok()?;
    let level = match (function, dots) {
        ("import_module", 0) => 0,
        ("import_module", _) => match argument(1, "package")? {
            Expr::Name(name) if matches!(name.id.as_str(), "__name__" | "__package__") => dots,
            _ => return None,
        },
        (_, 0) => match argument(4, "level") {
            None => 0,
            Some(level) => u8::try_from(integer(level)?).ok()?,
        },
        _ => return None,
    };
    Some((module, level, literal.range.start().to_usize()))
}

#[cfg(test)]
mod tests;
