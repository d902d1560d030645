//! How deep a file nests, learnt from its tokens alone: the parser's memory grows with it.
//!
//! CPython has limits of its own, so whatever is deeper than those is not worth a look.

use ruff_python_ast::token::TokenKind;
use ruff_python_parser::{Mode, lexer};

/// CPython's `MAXLEVEL`.
const MOST_BRACKETS: usize = 200;
/// CPython's `MAXINDENT`, less one.
const MOST_BLOCKS: usize = 99;
/// CPython 3.13 gives up at 9,997 operators in a row, earlier versions at 3,000.
const MOST_LEVELS: usize = 10_000;

/// Upper bounds of how deep something nests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Nesting {
    /// Expressions in one another.
    levels: usize,
    /// Blocks in one another.
    blocks: usize,
    /// Brackets and f-strings in one another.
    brackets: usize,
    /// A statement ends with an open bracket, or with a `lambda` without a colon: a syntax error, after which the parser
    /// may see other tokens than these, and nest what is not nested here.
    pub(super) unfinished: bool,
}

impl Nesting {
    pub(super) fn of(text: &str) -> Self {
        let mut scan = Scan {
            nesting: Self { levels: 0, blocks: 0, brackets: 0, unfinished: false },
            around: Vec::new(),
            top: Level::default(),
            blocks: 0,
        };
        let mut lexer = lexer::lex(text, Mode::Module);
        loop {
            let kind = lexer.next_token();
            if kind.is_eof() {
                break;
            }
            scan.token(kind);
        }
        scan.end_of_statement();
        scan.nesting
    }

    /// No CPython compiles this.
    pub(super) const fn is_too_deep(self) -> bool {
        self.levels > MOST_LEVELS || self.brackets > MOST_BRACKETS || self.blocks > MOST_BLOCKS
    }
}

/// Between two brackets.
#[derive(Default)]
struct Level {
    /// Tokens since the last comma each of which may put what is before it, or after it, one level deeper.
    operators: usize,
    /// The same, for those which reach beyond a comma: the parser takes `yield a, yield b` for one in another.
    yields: usize,
    /// How many times `lambda` without its colon: commas are between parameters then.
    lambdas: usize,
    /// The deepest pair of brackets since the last comma.
    inner: usize,
    /// The deepest before the last comma.
    before: usize,
}

impl Level {
    fn comma(&mut self) {
        self.before = self.depth();
        self.operators = 0;
        self.inner = 0;
    }

    fn depth(&self) -> usize {
        self.before.max(self.yields + self.operators + self.inner)
    }
}

struct Scan {
    nesting: Nesting,
    /// What is around the innermost pair of brackets, and how each opened.
    around: Vec<(Level, TokenKind)>,
    /// In the innermost pair of brackets.
    top: Level,
    blocks: usize,
}

impl Scan {
    fn token(&mut self, kind: TokenKind) {
        use TokenKind as T;
        match kind {
            T::Name | T::Int | T::Float | T::Complex | T::String | T::Comment | T::NonLogicalNewline => {}
            T::FStringMiddle | T::TStringMiddle | T::True | T::False | T::None | T::Ellipsis => {}
            T::Lpar | T::Lsqb | T::Lbrace | T::FStringStart | T::TStringStart => {
                self.top.operators += 1;
                self.around.push((std::mem::take(&mut self.top), kind));
                self.nesting.brackets = self.nesting.brackets.max(self.around.len());
            }
            T::Rpar => self.close(T::Lpar),
            T::Rsqb => self.close(T::Lsqb),
            T::Rbrace => self.close(T::Lbrace),
            T::FStringEnd => self.close(T::FStringStart),
            T::TStringEnd => self.close(T::TStringStart),
            T::Comma if self.top.lambdas == 0 => self.top.comma(),
            T::Lambda => {
                self.top.operators += 1;
                self.top.lambdas += 1;
            }
            T::Yield => self.top.yields += std::mem::take(&mut self.top.operators) + 1,
            T::Colon => {
                self.top.operators += 1;
                self.top.lambdas = self.top.lambdas.saturating_sub(1);
            }
            T::Newline => self.end_of_statement(),
            T::Semi if self.around.is_empty() => self.end_of_statement(),
            T::Indent => {
                self.blocks += 1;
                self.nesting.blocks = self.nesting.blocks.max(self.blocks);
            }
            T::Dedent => self.blocks = self.blocks.saturating_sub(1),
            _ => self.top.operators += 1,
        }
    }

    /// One that closes another kind than the innermost is an error: then the innermost stays open.
    fn close(&mut self, opener: TokenKind) {
        if let Some((around, _)) = self.around.pop_if(|(_, kind)| *kind == opener) {
            self.leave(around);
        }
    }

    fn leave(&mut self, around: Level) {
        let inner = std::mem::replace(&mut self.top, around);
        self.nesting.unfinished |= inner.lambdas > 0;
        self.top.inner = self.top.inner.max(inner.depth());
    }

    fn end_of_statement(&mut self) {
        self.nesting.unfinished |= !self.around.is_empty();
        while let Some((around, _)) = self.around.pop() {
            self.leave(around);
        }
        self.nesting.unfinished |= self.top.lambdas > 0;
        self.nesting.levels = self.nesting.levels.max(self.top.depth());
        self.top = Level::default();
    }
}
