use std::fmt::Write as _;

use super::*;

/// The imports, separated by `, `: `..a.b:c+d`, with `?` if guarded or deferred, `@8..12` if certain only there; then what else is known.
fn shown(facts: &PythonFacts) -> String {
    let mut parts = Vec::new();
    for import in &facts.imports {
        let mut part = format!("{}{}", ".".repeat(import.level.into()), import.module);
        if !import.names.is_empty() {
            write!(part, ":{}", import.names.join("+")).unwrap();
        }
        match import.when {
            When::Always { from: 0, until: u8::MAX } => {}
            When::Always { from, until: u8::MAX } => write!(part, "@{from}..").unwrap(),
            When::Always { from, until } => write!(part, "@{from}..{until}").unwrap(),
            When::Guarded | When::Deferred => part.push('?'),
        }
        parts.push(part);
    }
    let mut shown = parts.join(", ");
    for (is, what) in [(facts.machinery, "machinery"), (facts.dynamic_attributes, "getattr")] {
        if is {
            write!(shown, " | {what}").unwrap();
        }
    }
    if let Some(minor) = facts.needs_minor {
        write!(shown, " | 3.{minor}").unwrap();
    }
    match &facts.problem {
        None => {}
        Some(Problem::Syntax { line, message }) => write!(shown, " | line {line}: {message}").unwrap(),
        Some(problem) => write!(shown, " | {problem:?}").unwrap(),
    }
    shown
}

#[track_caller]
fn check(source: &str, expected: &str) {
    assert_eq!(shown(&facts(source.as_bytes())), expected, "{source}");
}

#[test]
fn import_statements() {
    check("", "");
    check("import a", "a");
    check("import a.b.c as d, e", "a.b.c, e");
    check("import a . b", "a.b");
    check("from a.b import c, d as e", "a.b:c+d");
    check("from a import (\n    b,  # type: ignore\n    c,\n)", "a:b+c");
    check("from a import *", "a:*");
    check("from . import a", ".:a");
    check("from .a import b", ".a:b");
    check("from ...a.b import c", "...a.b:c");
    check("from .... import a", "....:a");
    check("from __future__ import annotations\nimport a", "a");
    check("from .__future__ import a", ".__future__:a");
    check("import a; import b\nx = 1; import c", "a, b, c");
    check("import a  # type: ignore", "a");
    check("import ℌ", "H");
    check("'''\nimport a\n'''\n# import b\nx = 'import c'", "");
    check("class A:\n    import a\n    class B:\n        import b", "a, b");
    check(&format!("from {} import a", ".".repeat(300)), &format!("{}:a", ".".repeat(255)));
}

#[test]
fn each_once() {
    check("import a\nimport b\nimport a", "a, b");
    check("import a\ndef f():\n    import a\n    import a", "a, a?");
    check("from a import b\nfrom a import c\nimport a", "a:b, a:c, a");
}

#[test]
fn lines() {
    let lines =
        |source: &str| -> Vec<u32> { facts(source.as_bytes()).imports.iter().map(|import| import.line).collect() };
    assert_eq!(lines("import a\n\nfrom b import (\n  c,\n)\nimport d"), [1, 3, 6]);
    assert_eq!(lines("import a\r\nimport b\rimport c\n\r\nimport d"), [1, 2, 3, 5]);
    assert_eq!(lines("'''\n\n'''\ntry:\n    import a\nexcept X:\n    import b\nelse:\n    import c"), [5, 7, 9]);
    assert_eq!(lines("x = [\n    __import__(\n        'a'),\n]\nimport b"), [3, 5]);
}

#[test]
fn functions_are_lazy() {
    check("def f():\n    import a\n    class A:\n        import b", "a?, b?");
    check("async def f():\n    import a", "a?");
    check("class A:\n    def f(self):\n        import a\n    import b", "a?, b");
    check("def f():\n    if sys.version_info < (3,):\n        import a\n    else:\n        import b", "b?");
}

#[test]
fn conditions() {
    check("if x:\n    import a\nelif y:\n    import b\nelse:\n    import c\nimport d", "a?, b?, c?, d");
    check("if TYPE_CHECKING:\n    import a\nelse:\n    import b", "b");
    check("if not typing.TYPE_CHECKING:\n    import a", "a");
    check("if False:\n    import a\nelif x:\n    import b\nelif True:\n    import c\nelse:\n    import d", "b?, c?");
    check("if True:\n    import a\nelif x:\n    import b\nelse:\n    import c", "a");
    check("if __name__ == '__main__':\n    import a", "");
    check(
        "if sys.platform == 'win32':\n    import a\nelif os.name == 'posix':\n    import b\nelse:\n    import c",
        "b",
    );
    check("if six.PY2:\n    import a\nelse:\n    import b", "b");
    check("if sys.version_info >= (3, 11):\n    import a\nelse:\n    import b", "a@11.., b@0..11");
    check(
        "if sys.version_info < (3, 9):\n    import a\nelif sys.version_info < (3, 11):\n    import b\nelse:\n    import c",
        "a@0..9, b@9..11, c@11..",
    );
    check("if sys.version_info[:2] != (3, 8):\n    import a", "a@0..8, a@9..");
    check("if sys.version_info[1] in (1, 3, 5):\n    import a", "a?");
    check("if sys.version_info >= (3, 8) and x:\n    import a\nelse:\n    import b", "a?, b@0..8, b?");
    check(
        "if sys.version_info >= (3, 8):\n    if x:\n        import a\n    if sys.version_info < (3, 10):\n        import b",
        "a?, b@8..10",
    );
    check("if x:\n    if sys.version_info >= (3, 8):\n        import a", "a?");
}

#[test]
fn what_waits_for_a_call() {
    let check = |source: &str, expected: &[When]| {
        let found: Vec<When> = facts(source.as_bytes()).imports.iter().map(|import| import.when).collect();
        assert_eq!(found, expected, "{source}");
    };
    let (guarded, deferred) = (When::Guarded, When::Deferred);
    check("def f():\n    import a\n    if x:\n        import b", &[deferred, deferred]);
    check("class C:\n    def f(self):\n        import a", &[deferred]);
    check("def f():\n    try:\n        import a\n    except Exception:\n        import b", &[guarded, deferred]);
    check("def f():\n    try:\n        import a\n    except ImportError as e:\n        raise X from e", &[deferred]);
    check("def f():\n    with suppress(ImportError):\n        import a", &[guarded]);
    check("if x:\n    import a\ntry:\n    import b\nexcept ImportError:\n    import c", &[guarded; 3]);
}

#[test]
fn handlers() {
    let guarded = |handler: &str| check(&format!("try:\n    import a\n{handler}\nimport z"), "a?, z");
    guarded("except ImportError:\n    pass");
    guarded("except ModuleNotFoundError as e:\n    a = None");
    guarded("except Exception:\n    pass");
    guarded("except BaseException:\n    pass");
    guarded("except:\n    pass");
    guarded("except (AttributeError, ImportError):\n    pass");
    guarded("except builtins.ImportError:\n    pass");
    guarded("except import_errors:\n    pass");
    guarded("except ImportError:\n    if x:\n        raise");
    guarded("except ValueError:\n    pass\nexcept ImportError:\n    pass");
    guarded("except ImportError:\n    raise\nexcept Exception:\n    pass");

    let certain = |handler: &str| check(&format!("try:\n    import a\n{handler}\nimport z"), "a, z");
    certain("except ImportError as e:\n    raise ImportError('install a') from e");
    certain("except ImportError:\n    print('install a')\n    sys.exit(1)");
    certain("except ImportError:\n    if x:\n        raise\n    else:\n        raise SystemExit");
    certain("except ImportError:\n    try:\n        x()\n    finally:\n        raise");
    certain("except AttributeError:\n    pass");
    certain("except (OSError, ValueError):\n    pass");
    certain("finally:\n    pass");
}

#[test]
fn parts_of_try() {
    check(
        "try:\n    import a\nexcept ImportError:\n    import b\nelse:\n    import c\nfinally:\n    import d",
        "a?, b?, c?, d",
    );
    check("try:\n    import a\nexcept ImportError:\n    raise\nelse:\n    import c", "a, c");
    check(
        "try:\n    import a\nexcept ImportError:\n    try:\n        import b\n    except ImportError:\n        raise",
        "a?, b?",
    );
    check(
        "try:\n    try:\n        import a\n    except ImportError:\n        raise KeyError\nexcept KeyError:\n    pass",
        "a?",
    );
    check("try:\n    import a\nexcept* ImportError:\n    pass", "a? | 3.11");
    // What comes after something that may fail in a way that is handled.
    check("try:\n    x['y']\n    import a\nexcept KeyError:\n    pass\nelse:\n    import b", "a?, b?");
    check("try:\n    import a\n    import b\nexcept AttributeError:\n    pass", "a, b?");
    check("try:\n    x['y']\n    import a\nexcept KeyError:\n    raise", "a");
    check(
        "try:\n    if sys.version_info < (3, 9):\n        raise ImportError\n    import a\nexcept ImportError:\n    import b",
        "a?, b?",
    );
}

#[test]
fn blocks_that_may_not_run_or_may_swallow() {
    check("with suppress(ImportError):\n    import a", "a?");
    check("with contextlib.suppress(Exception), x():\n    import a", "a?");
    check("with try_import() as _imports:\n    import a", "a?");
    check("with warnings.catch_warnings():\n    warnings.simplefilter('ignore')\n    import a", "a");
    check("with catch_warnings(record=True), x:\n    import a", "a?");
    check("for x in y:\n    import a\nelse:\n    import b", "a?, b?");
    check("while x:\n    import a\nelse:\n    import b", "a?, b?");
    check("match x:\n    case 1:\n        import a\n    case _:\n        import b", "a?, b? | 3.10");
}

#[test]
fn what_is_not_reached() {
    check("import a\nraise ImportError\nimport b", "a");
    check("import a\nsys.exit()\nimport b", "a");
    check("if sys.version_info < (3, 10):\n    raise RuntimeError\nimport a", "a@10..");
    check("if sys.platform != 'linux':\n    raise ImportError\nimport a", "a");
    check("if sys.platform == 'linux':\n    raise ImportError('not here')\nimport a", "");
    check("if x:\n    raise ImportError\nimport a", "a");
    check("if x:\n    raise A\nelse:\n    raise B\nimport a", "");
    check("try:\n    raise A\nexcept A:\n    pass\nimport a", "a");
    check("try:\n    raise A\nfinally:\n    import a\nimport b", "a");
    check("try:\n    import a\nexcept ImportError:\n    raise\nelse:\n    raise X\nimport b", "a");
    check("class A:\n    raise X\nimport a", "");
    check("with x:\n    raise X\nimport a", "a");
    check("def f():\n    raise X\nimport a", "a");
}

#[test]
fn calls_that_import() {
    check("__import__('a.b')", "a.b");
    check("__import__('pkg_resources').declare_namespace(__name__)", "pkg_resources | machinery");
    check("x = importlib.import_module('a')", "a");
    check("x = importlib.import_module(name='a')", "a");
    check("x = f(*[importlib.import_module('a')], y=importlib.import_module('b'))", "a, b");
    check("importlib.import_module('.a', __name__)", ".a");
    check("importlib.import_module('..a.b', package=__package__)", "..a.b");
    check("__import__('a', globals(), locals(), ['b'], 1)", ".a");
    check("__import__('a', level=0, fromlist=['b'])", "a");
    check("from importlib import import_module\nimport_module('a')", "importlib:import_module, a");
    check("_importlib.import_module('a')", "a");
    check("builtins.__import__('a')", "a");
    for unknown in [
        "import_module('a')",
        "x.import_module('a')",
        "x.__import__('a')",
        "importlib.reload('a')",
        "importlib.import_module('.a')",
        "importlib.import_module('.a', 'b')",
        "importlib.import_module(x)",
        "importlib.import_module(f'a.{x}')",
        "importlib.import_module('a b')",
        "importlib.import_module('')",
        "importlib.import_module('a..b')",
        "__import__('.a')",
        "__import__('a', level=x)",
    ] {
        check(unknown, "");
    }
    check("x = lambda: importlib.import_module('a')", "a?");
    check("x = [importlib.import_module('a') for y in z]", "a?");
    check("x = y or importlib.import_module('a')", "a?");
    check("x = importlib.import_module('a') or importlib.import_module('b')", "a, b?");
    check("x = sys.version_info >= (3, 9) and importlib.import_module('a')", "a@9..");
    check("x = importlib.import_module('a') if TYPE_CHECKING else importlib.import_module('b')", "b");
    check(
        "def f(x=importlib.import_module('a')) -> importlib.import_module('b'):\n    importlib.import_module('c')",
        "a, c?",
    );
    check(
        "@importlib.import_module('a').b\nclass A(importlib.import_module('c').d):\n    x: importlib.import_module('e') = importlib.import_module('f')",
        "a, c, f",
    );
    // As in sympy.
    check("from x import import_module\nimport_module('a')", "x:import_module");
    check(
        "from importlib import import_module\ndef import_module(x): ...\nimport_module('a')",
        "importlib:import_module",
    );
    check("try:\n    importlib.import_module('a')\nexcept ImportError:\n    pass", "a?");
    check("if importlib.import_module('a').x:\n    pass", "a");
    check("for x in importlib.import_module('a').b:\n    pass", "a");
    check(&format!("{}importlib.import_module('a')", "-".repeat(100)), "");
}

#[test]
fn machinery() {
    for source in [
        "sys.path.insert(0, x)",
        "def f():\n    _sys.modules[__name__] = x",
        "x = sys.meta_path",
        "sys.path_hooks.append(x)",
        "__path__ = extend_path(__path__, __name__)",
        "site.addsitedir(x)",
        "class A(importlib.abc.MetaPathFinder): pass",
        "importlib.util.spec_from_file_location(x, y)",
    ] {
        check(source, " | machinery");
    }
    check("from sys import path, modules", "sys:path+modules | machinery");
    check("from pkgutil import extend_path", "pkgutil:extend_path | machinery");
    for source in ["sys.version", "x.path", "path", "sys.pathx", "'sys.path'", "# sys.path", "sys", "sys."] {
        assert!(!facts(source.as_bytes()).machinery, "{source}");
    }
}

#[test]
fn dynamic_attributes() {
    check("def __getattr__(name): ...", " | getattr");
    check("if not TYPE_CHECKING:\n    def __getattr__(name):\n        import a", "a? | getattr");
    check("__getattr__, __dir__, __all__ = lazy.attach(__name__)", " | getattr");
    check("__getattr__ = x", " | getattr");
    check("from .x import y as __getattr__", ".x:y | getattr");
    check("class A:\n    def __getattr__(self, name): ...", "");
    check("def f():\n    def __getattr__(self, name): ...", "");
    check("if TYPE_CHECKING:\n    def __getattr__(name): ...", "");
}

#[test]
fn newer_syntax() {
    check("import a\nwith (a, b): ...\n(x := 1)\ndef f(a, /): ...", "a");
    check("match x:\n    case 1: ...", " | 3.10");
    check("match (x):\n    case 1: ...", " | 3.10");
    check("x[y := 1]", " | 3.10");
    check("@x[1]\ndef f(): ...", "");
    check("try: ...\nexcept* X: ...", " | 3.11");
    check("x[*y]", " | 3.11");
    check("type X = int", " | 3.12");
    check("def f[T](): ...", " | 3.12");
    check("x = f'{'a'}'", " | 3.12");
    check("x = f\"{x['a']}\" f'{x}'", "");
    check("class A[T = int]: ...", " | 3.13");
    check("t'{x}'", " | 3.14");
    check("try: ...\nexcept A, B: ...", " | 3.14");
    check("import a\nlazy import b", "a, b? | 3.15");
    check("match x:\n    case 1: ...\ntype X = int", " | 3.12");
}

#[test]
fn what_is_not_python() {
    check(
        "import a\nprint 'x'\nimport b",
        "a?, b? | line 2: Simple statements must be separated by newlines or semicolons",
    );
    check("def f(:\nimport a", "a? | line 1: Expected a parameter or the end of the parameter list");
    check("import a\n\nx = (\n", "a? | line 4: unexpected EOF while parsing");
    check(
        "f((a)=1)",
        " | line 1: Cannot use parenthesized keyword argument name on Python 3.8 (syntax was removed in Python 3.8)",
    );
    check("import a.\nimport\nfrom import b\nfrom c import\nimport d", "d? | line 1: Expected an identifier");
    check("if x:\nimport a", "a? | line 2: Expected an indented block after `if` statement");
    check("x = \u{1b}[0m", " | line 1: Got unexpected token \u{fffd}");
    check("\0", " | line 1: source code string cannot contain null bytes");
    assert_eq!(
        shown(&facts(b"import a\n# \xe9")),
        " | line 2: Non-UTF-8 code starting with '\\xe9', but no encoding declared"
    );
    assert_eq!(shown(&facts(b"# coding: latin1\nimport a\nx = '\xe9'")), "a");
    assert_eq!(shown(&facts(b"\xef\xbb\xbfimport a")), "a");
}

/// What is found in `unit` repeated up to `bytes`, on a thread with less stack than any has.
fn repeated(start: &str, unit: &str, bytes: usize) -> String {
    let source = format!("import a\n{start}{}", unit.repeat(bytes / unit.len()));
    let thread = std::thread::Builder::new().stack_size(128 << 10);
    let facts = thread.spawn(move || facts(source.as_bytes())).unwrap().join().unwrap();
    shown(&PythonFacts { imports: facts.imports.into_iter().take(2).collect(), ..facts })
}

#[test]
fn too_deep() {
    for (start, unit) in [
        ("x", "+1"),
        ("x", ".b"),
        ("x", "()"),
        ("x", "[0]"),
        ("", "-"),
        ("", "not "),
        ("", "lambda: "),
        ("", "lambda a, b: "),
        ("", "lambda a=1, b=lambda: "),
        ("", "("),
        ("", "["),
        ("", "{1: "),
        ("", "f("),
        ("", "f'{"),
        ("", "x if y else "),
        ("", "await "),
        ("", "yield x, "),
        ("", "x ** "),
        ("", "[*x for x in "),
        ("match ", "["),
        ("match x:\n case ", "a."),
    ] {
        assert_eq!(repeated(start, unit, 200_000), " | TooDeep", "{unit}");
        // Not so deep that its tokens are looked at, which is then the parser's affair.
        let shown = repeated(start, unit, 20_000);
        assert!(shown.starts_with("a"), "{unit}: {shown}");
    }
    let staircase =
        |steps: usize| -> String { (0..steps).map(|step| format!("{}if x:\n", " ".repeat(step))).collect() };
    assert_eq!(repeated(&staircase(600), " ", 1), " | TooDeep");
    assert_eq!(repeated(&format!("{}{}pass", staircase(98), " ".repeat(98)), "\n", 1), "a");
}

#[test]
fn wide_is_not_deep() {
    for unit in ["x = [1, 2]\n", "x.y(z)\n", "def f(a): return -a\n", "lambda x: x + 1\n", "(a, b)[0]; "] {
        assert_eq!(repeated("", unit, 300_000), "a", "{unit}");
    }
    for unit in ["a, ", "(a.b, -c), ", "lambda x: x, ", "'a': {'b': [1]}, ", "f'{x!r}', ", "yield_, "] {
        assert_eq!(repeated("f(x", unit, 300_000).split(" | ").next(), Some(""), "{unit}");
        let source = format!("import a\nx = [{}]", unit.replace("'a': ", "").repeat(300_000 / unit.len()));
        assert_eq!(shown(&facts(source.as_bytes())), "a", "{unit}");
    }
}

#[test]
fn unfinished_and_large() {
    let message = "a bracket, a string or a `lambda` is not finished";
    assert_eq!(repeated("", "f(]\n", 200_000), format!(" | line 50002: {message}"));
    assert_eq!(repeated("", "lambda \n", 200_000), format!(" | line 25002: {message}"));
    // The parser takes the second `'''` for the end of the first.
    assert_eq!(repeated("f'''{'''\n", "(", 200_000), format!(" | line 3: {message}"));
}

#[test]
fn too_large() {
    check(&" ".repeat(LARGEST_SOURCE), "");
    check(&" ".repeat(LARGEST_SOURCE + 1), " | TooLarge");
}

#[test]
fn what_the_parser_gives_up() {
    // It reads what follows `match` as an expression, then finds that `match` is a name and drops it, on a stack of
    // whatever size.
    assert_eq!(repeated("", "match (", 30_000), "a? | line 2: unexpected EOF while parsing");
    assert_eq!(repeated("with (", "a.b(", 30_000), "a? | line 2: unexpected EOF while parsing");
}
