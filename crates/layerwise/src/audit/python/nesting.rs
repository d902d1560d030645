//! How deep a file nests, learnt from its tokens alone.
//!
//! Taking a syntax tree apart needs stack for each of its levels, and so does the parser. CPython has limits of its own,
//! so whatever is deeper than those is not worth a look.

use ruff_python_ast::token::TokenKind;

/// CPython's `MAXLEVEL`.
const MOST_BRACKETS: usize = 200;
/// CPython's `MAXINDENT`, less one.
const MOST_BLOCKS: usize = 99;
/// CPython 3.13 gives up at 9,997 operators in a row, earlier versions at 3,000.
const MOST_LEVELS: usize = 10_000;

/// Upper bounds of how deep something nests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Nesting {
    /// Levels of expressions in one another.
    pub(super) levels: usize,
    /// Blocks in one another.
    pub(super) blocks: usize,
    /// Brackets and f-strings in one another.
    brackets: usize,
}

impl Nesting {
    pub(super) fn of(tokens: impl Iterator<Item = TokenKind>) -> Self {
        let mut scan = Scan {
            nesting: Self { levels: 0, blocks: 0, brackets: 0 },
            brackets: vec![],
            top: Level::default(),
            blocks: 0,
        };
        tokens.for_each(|kind| scan.token(kind));
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
    /// The same, for those which reach beyond a comma: `lambda a, b: lambda c, d: …`.
    words: usize,
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
        self.before.max(self.words + self.operators + self.inner)
    }
}

struct Scan {
    nesting: Nesting,
    /// What is around the innermost pair of brackets, and how each opened.
    brackets: Vec<(Level, TokenKind)>,
    /// In the innermost pair of brackets.
    top: Level,
    blocks: usize,
}

impl Scan {
    fn token(&mut self, kind: TokenKind) {
        use TokenKind as T;
        match kind {
            T::Name | T::Int | T::Float | T::Complex | T::String | T::Comment | T::NonLogicalNewline => {}
            T::FStringMiddle | T::TStringMiddle | T::True | T::False | T::None | T::Ellipsis | T::EndOfFile => {}
            T::Lpar | T::Lsqb | T::Lbrace | T::FStringStart | T::TStringStart => {
                self.top.operators += 1;
                self.brackets.push((std::mem::take(&mut self.top), kind));
                self.nesting.brackets = self.nesting.brackets.max(self.brackets.len());
            }
            T::Rpar => self.close(T::Lpar),
            T::Rsqb => self.close(T::Lsqb),
            T::Rbrace => self.close(T::Lbrace),
            T::FStringEnd => self.close(T::FStringStart),
            T::TStringEnd => self.close(T::TStringStart),
            T::Comma => self.top.comma(),
            T::Lambda | T::Yield => {
                self.top.words += self.top.operators + 1;
                self.top.operators = 0;
            }
            T::Newline => self.end_of_statement(),
            T::Semi if self.brackets.is_empty() => self.end_of_statement(),
            T::Indent => {
                self.blocks += 1;
                self.nesting.blocks = self.nesting.blocks.max(self.blocks);
            }
            T::Dedent => self.blocks = self.blocks.saturating_sub(1),
            _ => self.top.operators += 1,
        }
    }

    /// A bracket that closes another kind than the innermost is an error, from which the parser recovers as it likes:
    /// then the innermost stays open here, which is the deeper way to see it.
    fn close(&mut self, opener: TokenKind) {
        if let Some((around, _)) = self.brackets.pop_if(|(_, kind)| *kind == opener) {
            self.leave(around);
        }
    }

    fn leave(&mut self, around: Level) {
        let depth = self.top.depth();
        self.top = around;
        self.top.inner = self.top.inner.max(depth);
    }

    fn end_of_statement(&mut self) {
        while let Some((around, _)) = self.brackets.pop() {
            self.leave(around);
        }
        self.nesting.levels = self.nesting.levels.max(self.top.depth());
        self.top = Level::default();
    }
}
