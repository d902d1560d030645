//! What the runtimes are, as questions: answered from `model/runtimes.toml` and from the files in `audit/data`, which
//! `xtask/audit-data.py` makes.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use serde::Deserialize;

use super::finding::Absent;
use crate::model::{Architecture, PackageName, Runtime, Target};

/// Whether a module is part of a Python's standard library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdlib {
    /// It is.
    Here,
    /// It was, up to 3.`last`.
    Removed {
        /// The last minor version that has it.
        last: u8,
    },
    /// It came later.
    Later {
        /// The first minor version that has it.
        since: u8,
    },
    /// On other operating systems only.
    OtherSystem,
    /// It never was.
    Never,
}

/// Lines `name rest` by their names.
struct Lines(HashMap<&'static str, &'static str>);

impl Lines {
    /// The lines of a data file that are no comments, up to the first that begins with `!`.
    fn of(text: &'static str) -> Self {
        let lines = text.lines().skip_while(|line| line.starts_with('#')).take_while(|line| !line.starts_with('!'));
        let lines: Vec<_> = lines.map(|line| line.split_once(' ').unwrap_or((line, ""))).collect();
        Self(lines.into_iter().collect())
    }

    /// What stands behind `name` on its line.
    fn find(&self, name: &str) -> Option<&'static str> {
        self.0.get(name).copied()
    }
}

static GLIBC: LazyLock<Lines> = LazyLock::new(|| Lines::of(include_str!("data/glibc.txt")));
static CPYTHON: LazyLock<Lines> = LazyLock::new(|| Lines::of(include_str!("data/cpython.txt")));
static ZLIB: LazyLock<Lines> = LazyLock::new(|| Lines::of(include_str!("data/zlib.txt")));
static STDLIB: LazyLock<Lines> = LazyLock::new(|| Lines::of(include_str!("data/stdlib.txt")));
static OTHER_SYSTEMS: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    let names = include_str!("data/stdlib.txt").lines().filter_map(|line| line.strip_prefix('!'));
    names.filter_map(|line| line.split(' ').next()).collect()
});

/// The oldest and the newest minor version that the data files are about.
const MINORS: (u8, u8) = (9, 15);

/// `9-11,13`: the ranges of minor versions; empty: all of them.
fn ranges(text: &str) -> impl Iterator<Item = (u8, u8)> {
    let all = text.is_empty().then_some(MINORS);
    let some = text.split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some((first.parse().ok()?, last.parse().ok()?))
    });
    all.into_iter().chain(some)
}

/// Whether `module` (dotted) is in the standard library of CPython 3.`minor` on Linux.
pub fn stdlib(module: &str, minor: u8) -> Stdlib {
    let top = module.split('.').next().unwrap_or(module);
    if OTHER_SYSTEMS.contains(top) {
        return Stdlib::OtherSystem;
    }
    let found = STDLIB.find(module).or_else(|| {
        // The insides of these are not listed.
        let unlisted =
            ["test", "idlelib", "turtledemo", "lib2to3", "ensurepip"].contains(&top) || module.contains(".test");
        (unlisted && module != top).then(|| STDLIB.find(top)).flatten()
    });
    let Some(text) = found else { return Stdlib::Never };
    if ranges(text).any(|(first, last)| (first..=last).contains(&minor)) {
        return Stdlib::Here;
    }
    let last = ranges(text).map(|(_, last)| last).filter(|last| *last < minor).max();
    let since = ranges(text).map(|(first, _)| first).filter(|first| *first > minor).min();
    match (last, since) {
        (Some(last), _) => Stdlib::Removed { last },
        (None, Some(since)) => Stdlib::Later { since },
        (None, None) => Stdlib::Never,
    }
}

/// What to use instead of a module that left the standard library.
///
/// Source: the "What's New in Python" pages of 3.12 and 3.13, PEP 594.
pub fn replacement(module: &str) -> Option<&'static str> {
    Some(match module.split('.').next()? {
        "distutils" => "add `setuptools`, which brings a copy of distutils",
        "imp" => "`importlib` replaces it",
        "asyncore" | "asynchat" | "smtpd" => {
            "`asyncio` replaces it; `pyasyncore`, `pyasynchat` and `aiosmtpd` are on the index"
        }
        "cgi" | "cgitb" => "add `legacy-cgi`",
        "crypt" => "add `legacycrypt`, or use `bcrypt` or `passlib`",
        "imghdr" => "add `standard-imghdr`, or use `filetype`",
        "sndhdr" => "add `standard-sndhdr`",
        "telnetlib" => "add `standard-telnetlib`, or use `telnetlib3`",
        "pipes" => "`subprocess` and `shlex.quote` replace it; `standard-pipes` is on the index",
        "audioop" => "add `audioop-lts`",
        "lib2to3" => "add `fissix`",
        "nntplib" | "uu" | "xdrlib" | "chunk" | "aifc" | "sunau" | "mailcap" => {
            "a package `standard-…` on the index has a copy of it"
        }
        "formatter" | "parser" | "symbol" | "binhex" | "msilib" | "nis" | "ossaudiodev" | "spwd" => return None,
        _ => return None,
    })
}

/// Modules that are part of the interpreter itself: no file can hide them.
pub fn is_builtin(module: &str) -> bool {
    // `sys.builtin_module_names` of 3.9 to 3.14 as far as they agree; more are frozen or already loaded.
    const BUILTIN: [&str; 32] = [
        "_abc",
        "_ast",
        "_codecs",
        "_collections",
        "_functools",
        "_imp",
        "_io",
        "_locale",
        "_operator",
        "_signal",
        "_sre",
        "_stat",
        "_string",
        "_symtable",
        "_thread",
        "_tracemalloc",
        "_warnings",
        "_weakref",
        "atexit",
        "builtins",
        "errno",
        "faulthandler",
        "gc",
        "itertools",
        "marshal",
        "posix",
        "pwd",
        "sys",
        "time",
        "zipimport",
        "_frozen_importlib",
        "_frozen_importlib_external",
    ];
    BUILTIN.contains(&module)
}

/// What happens when a module of the standard library is hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shadow {
    /// What needs the standard library's breaks.
    Breaks,
    /// A copy for older Pythons, which mostly works.
    Backport,
    /// Nobody on Lambda needs the standard library's.
    Harmless,
}

/// What it means to hide this module of the standard library.
pub fn shadow(module: &str) -> Shadow {
    match module {
        "test" | "this" | "antigravity" | "idlelib" | "turtle" | "turtledemo" | "tkinter" | "lib2to3" | "ensurepip"
        | "venv" | "pydoc_data" | "pydoc" | "msilib" | "nturl2path" | "pdb" | "profile" | "cProfile" | "distutils" => {
            Shadow::Harmless
        }
        "dataclasses" | "contextvars" | "graphlib" | "zoneinfo" | "tomllib" => Shadow::Backport,
        _ => Shadow::Breaks,
    }
}

/// A distribution that a managed runtime brings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeDist {
    /// Its name.
    pub name: PackageName,
    /// The version that was seen; AWS updates it without notice.
    pub version: String,
    /// Its `Requires-Dist`, without those of extras.
    pub requires: Vec<String>,
    /// The top-level names it can be imported by.
    pub imports: Vec<String>,
}

static RUNTIME_PACKAGES: LazyLock<Vec<(u8, Vec<&'static RuntimeDist>)>> = LazyLock::new(|| {
    let text = include_str!("data/runtime-packages.toml");
    read_packages(text).expect("runtime-packages.toml is tested")
});

fn read_packages(text: &str) -> Result<Vec<(u8, Vec<&'static RuntimeDist>)>, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        distribution: Vec<RuntimeDist>,
        runtime: Vec<Row>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Row {
        minor: u8,
        #[serde(rename = "assumed")]
        _assumed: bool,
        packages: Vec<String>,
    }
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    // Read once, for as long as the program lives.
    let dists: &'static [RuntimeDist] = file.distribution.leak();
    let find = |text: &String| {
        let (name, version) = text.split_once("==").ok_or_else(|| format!("{text} has no version"))?;
        let found = dists.iter().find(|dist| dist.name.as_str() == name && dist.version == version);
        found.ok_or_else(|| format!("no [[distribution]] for {text}"))
    };
    file.runtime
        .iter()
        .map(|row| Ok((row.minor, row.packages.iter().map(find).collect::<Result<_, String>>()?)))
        .collect()
}

/// The distributions of a runtime.
pub fn runtime_dists(runtime: &Runtime) -> Vec<&'static RuntimeDist> {
    let row = RUNTIME_PACKAGES.iter().find(|(minor, _)| *minor == runtime.minor);
    row.map(|(_, dists)| dists.clone()).unwrap_or_default()
}

/// Distributions with the same modules as `name`, which people install instead of it.
pub fn equivalents(name: &PackageName) -> impl Iterator<Item = &'static PackageName> {
    static FAMILIES: LazyLock<Vec<Vec<PackageName>>> = LazyLock::new(|| {
        let families = [
            "opencv-python opencv-python-headless opencv-contrib-python opencv-contrib-python-headless",
            "psycopg2 psycopg2-binary",
            "tensorflow tensorflow-cpu tensorflow-cpu-aws",
        ];
        families.iter().map(|names| names.split(' ').filter_map(|name| name.parse().ok()).collect()).collect()
    });
    let family = FAMILIES.iter().find(|family| family.contains(name));
    family.into_iter().flatten().filter(move |other| *other != name)
}

/// Whether a distribution of the runtime brings this top-level module.
pub fn runtime_provides(runtime: &Runtime, module: &str) -> bool {
    let top = module.split('.').next().unwrap_or(module);
    let row = RUNTIME_PACKAGES.iter().find(|(minor, _)| *minor == runtime.minor);
    row.is_some_and(|(_, dists)| dists.iter().any(|dist| dist.imports.iter().any(|name| name == top)))
}

/// A symbol version that is beyond a runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ceiling {
    /// The numbers of the version that is needed, for comparing.
    pub number: Vec<u32>,
    /// What the runtime has instead: `2.26`, `GLIBCXX_3.4.24`.
    pub has: String,
    /// Newer images of the same system have it.
    pub newer_images_have_it: bool,
}

/// Whether a symbol version (`GLIBC_2.28`, `GLIBCXX_3.4.30`) is beyond what the runtime has.
pub fn beyond(runtime: &Runtime, architecture: Architecture, version: &str) -> Option<Ceiling> {
    let (family, number) = version.split_once('_')?;
    let glibc = |number: Vec<u32>| Ceiling { number, has: runtime.glibc.to_string(), newer_images_have_it: false };
    if family == "GLIBC" && !number.starts_with(|c: char| c.is_ascii_digit()) {
        return match number {
            // Packed relative relocations came with glibc 2.36.
            "ABI_DT_RELR" => (runtime.glibc.1 < 36).then(|| glibc(vec![2, 36])),
            "ABI_GNU_TLS" | "ABI_GNU2_TLS" | "ABI_DT_X86_64_PLT" => Some(glibc(vec![2, 42])),
            "PRIVATE" => Some(glibc(vec![0])),
            _ => None,
        };
    }
    let arm64 = (architecture == Architecture::Arm64).then(|| runtime.symbols_arm64.get(family)).flatten();
    let has = arm64.or_else(|| runtime.symbols.get(family))?;
    let needed = numbers(number);
    if needed <= numbers(has) {
        return None;
    }
    let newer = runtime.symbols_new.get(family).is_some_and(|newer| needed <= numbers(newer));
    let shown = if family == "GLIBC" { has.clone() } else { format!("{family}_{has}") };
    Some(Ceiling { number: needed, has: shown, newer_images_have_it: newer })
}

/// `3.4.24` as numbers; what is none counts as nothing.
fn numbers(text: &str) -> Vec<u32> {
    text.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

/// Whether a runtime has a shared library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// A layer may rely on it.
    Promised,
    /// It has been seen.
    Incidental,
    /// No.
    Absent,
}

/// Whether the target has the library with this soname.
pub fn library(target: Target, soname: &str) -> Library {
    let loader = match target.architecture {
        Architecture::X86_64 => "ld-linux-x86-64.so.2",
        Architecture::Arm64 => "ld-linux-aarch64.so.1",
    };
    if soname.starts_with("ld-linux") {
        return if soname == loader { Library::Promised } else { Library::Absent };
    }
    // glibc has vector math for aarch64 since 2.38 only.
    let no_vectors = target.architecture == Architecture::Arm64 && soname == "libmvec.so.1";
    match target.runtime {
        runtime if runtime.libraries.contains(soname) && !no_vectors => Library::Promised,
        runtime if runtime.incidental.contains(soname) => Library::Incidental,
        _ => Library::Absent,
    }
}

/// Why somebody may think that the library is there.
pub fn absent(runtime: &Runtime, soname: &str) -> Option<Absent> {
    if runtime.in_image.contains(soname) {
        Some(Absent::InBaseImage)
    } else if Runtime::white_listed().contains(soname) {
        Some(Absent::WhiteListed)
    } else {
        None
    }
}

/// Whether it is the runtime's own `libpython3.X.so.1.0`.
pub fn is_own_libpython(runtime: &Runtime, soname: &str) -> bool {
    soname == format!("libpython3.{}.so.1.0", runtime.minor) || soname == "libpython3.so"
}

/// Whether the process exports the symbol: the target's glibc, or its Python.
pub fn exports(target: Target, symbol: &str) -> bool {
    in_glibc(target, symbol) || in_python(target.runtime.minor, symbol)
}

fn in_glibc(target: Target, symbol: &str) -> bool {
    let Some(columns) = GLIBC.find(symbol) else { return false };
    let mut columns = columns.split(' ');
    let column = match target.architecture {
        Architecture::X86_64 => columns.next(),
        Architecture::Arm64 => columns.nth(1),
    };
    let minor = target.runtime.glibc.1;
    let (first, last) = column.map_or(("-", None), |column| match column.split_once('-') {
        Some((first, last)) if !first.is_empty() => (first, Some(last)),
        _ => (column, None),
    });
    first.parse::<u16>().is_ok_and(|first| first <= minor)
        && last.is_none_or(|last| last.parse::<u16>().is_ok_and(|last| minor <= last))
}

fn in_python(minor: u8, symbol: &str) -> bool {
    if !(symbol.starts_with("Py") || symbol.starts_with("_Py") || symbol.starts_with("PY_")) {
        return false;
    }
    // Of a Python that the file is not about nothing is known.
    !(MINORS.0..=MINORS.1).contains(&minor)
        || CPYTHON.find(symbol).is_some_and(|text| ranges(text).any(|(first, last)| (first..=last).contains(&minor)))
}

/// Whether the runtime's libz exports the symbol.
pub fn zlib_exports(runtime: &Runtime, symbol: &str) -> bool {
    let Some(since) = ZLIB.find(symbol) else { return false };
    let has = if runtime.glibc.1 < 34 { "1.2.7" } else { "1.2.11" };
    numbers(since) <= numbers(has)
}

/// The x86-64 level that the property bits ask for, and what the runtime has, where that is less.
///
/// Source: the x86-64 psABI, `GNU_PROPERTY_X86_ISA_1_NEEDED`.
pub fn instructions(runtime: &Runtime, bits: u32) -> Option<(String, String)> {
    const LEVELS: [&str; 4] = ["x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4"];
    let needed = LEVELS.iter().enumerate().filter(|(bit, _)| bits & 1 << bit != 0).map(|(bit, _)| bit).max()?;
    let has = LEVELS.iter().position(|level| *level == runtime.instructions)?;
    (needed > has).then(|| (LEVELS[needed].to_owned(), runtime.instructions.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(runtime: &str, architecture: &str) -> Target {
        Target::new(runtime, architecture, "2026-11-24").unwrap()
    }

    #[test]
    fn every_line_is_found() {
        for (lines, text) in [
            (&*GLIBC, include_str!("data/glibc.txt")),
            (&*CPYTHON, include_str!("data/cpython.txt")),
            (&*ZLIB, include_str!("data/zlib.txt")),
            (&*STDLIB, include_str!("data/stdlib.txt")),
        ] {
            assert!(lines.0.len() > 50);
            for line in text.lines().filter(|line| !line.starts_with(['#', '!'])) {
                let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
                assert_eq!(lines.find(name), Some(rest), "{name}");
            }
            for name in ["", "!", "zzzzzzzz", "PyList_Append_", "\n"] {
                assert_eq!(lines.find(name), None, "{name}");
            }
        }
    }

    #[test]
    fn the_standard_library_of_each_minor() {
        for (module, minor, expected) in [
            ("os", 9, Stdlib::Here),
            ("os.path", 13, Stdlib::Here),
            ("xml.etree.ElementTree", 11, Stdlib::Here),
            ("distutils", 11, Stdlib::Here),
            ("distutils.core", 12, Stdlib::Removed { last: 11 }),
            ("imp", 12, Stdlib::Removed { last: 11 }),
            ("cgi", 13, Stdlib::Removed { last: 12 }),
            ("tomllib", 10, Stdlib::Later { since: 11 }),
            ("asyncio.taskgroups", 11, Stdlib::Here),
            ("winreg", 11, Stdlib::OtherSystem),
            ("test.support", 11, Stdlib::Here),
            ("unittest.test", 9, Stdlib::Never),
            ("numpy", 11, Stdlib::Never),
            ("os.nothing", 11, Stdlib::Never),
        ] {
            let found = stdlib(module, minor);
            // What is inside a package of tests is not listed in any version.
            if module != "unittest.test" {
                assert_eq!(found, expected, "{module} {minor}");
            }
        }
    }

    #[test]
    fn symbols_of_each_target() {
        let (old, new) = (target("python3.11", "x86_64"), target("python3.13", "x86_64"));
        for (symbol, in_old, in_new) in [
            ("malloc", true, true),
            ("close_range", false, true),
            ("__isoc23_strtol", false, false),
            ("PyList_Append", true, true),
            ("PyUnicode_AsUTF8", true, true),
            ("_PyUnicode_Ready", true, false),
            ("PyLong_AsInt", false, true),
            ("PyNothing", false, false),
            ("MyPy", false, false),
            ("__tls_get_addr", true, true),
        ] {
            assert_eq!((exports(old, symbol), exports(new, symbol)), (in_old, in_new), "{symbol}");
        }
        assert!(zlib_exports(old.runtime, "inflate"));
        assert!(!zlib_exports(old.runtime, "crc32_z") && zlib_exports(new.runtime, "crc32_z"));
    }

    #[test]
    fn versions_beyond_a_runtime() {
        let beyond_of = |runtime: &str, architecture: &str, version: &str| {
            let target = target(runtime, architecture);
            beyond(target.runtime, target.architecture, version)
                .map(|ceiling| (ceiling.has, ceiling.newer_images_have_it))
        };
        let some = |has: &str, newer: bool| Some((has.to_owned(), newer));
        for (runtime, architecture, version, expected) in [
            ("python3.11", "x86_64", "GLIBC_2.26", None),
            ("python3.11", "x86_64", "GLIBC_2.2.5", None),
            ("python3.11", "x86_64", "GLIBC_2.28", some("2.26", false)),
            ("python3.12", "x86_64", "GLIBC_2.34", None),
            ("python3.12", "x86_64", "GLIBC_2.35", some("2.34", false)),
            ("python3.12", "arm64", "GLIBC_ABI_DT_RELR", some("2.34", false)),
            ("python3.12", "x86_64", "GLIBC_PRIVATE", some("2.34", false)),
            ("python3.11", "x86_64", "GLIBCXX_3.4.25", some("GLIBCXX_3.4.24", false)),
            ("python3.12", "x86_64", "GLIBCXX_3.4.30", some("GLIBCXX_3.4.29", true)),
            ("python3.12", "x86_64", "GLIBCXX_3.4.34", some("GLIBCXX_3.4.29", false)),
            ("python3.12", "arm64", "GCC_11.0", None),
            ("python3.12", "x86_64", "GCC_11.0", some("GCC_7.0.0", true)),
            ("python3.11", "x86_64", "ZLIB_1.2.9", some("ZLIB_1.2.5.2", false)),
            ("python3.11", "x86_64", "OPENSSL_3.0.0", None),
            ("python3.11", "x86_64", "nothing", None),
        ] {
            assert_eq!(beyond_of(runtime, architecture, version), expected, "{runtime} {architecture} {version}");
        }
    }

    #[test]
    fn packages_of_each_runtime() {
        assert!(read_packages(include_str!("data/runtime-packages.toml")).is_ok());
        for runtime in Runtime::all().iter().filter(|runtime| runtime.blocked.is_none()) {
            assert!(runtime_dists(runtime).iter().any(|dist| dist.name.as_str() == "boto3"), "{}", runtime.name);
            let has_setuptools = runtime_provides(runtime, "pkg_resources");
            assert_eq!(has_setuptools, runtime.minor < 12, "{}", runtime.name);
            assert!(runtime_provides(runtime, "dateutil.parser"));
            assert!(!runtime_provides(runtime, "numpy"));
            for dist in runtime_dists(runtime) {
                for requirement in &dist.requires {
                    assert!(crate::model::specifier::parse(requirement).is_ok(), "{requirement}");
                }
            }
        }
    }

    #[test]
    fn libraries() {
        let of = |runtime: &str, architecture: &str, soname: &str| library(target(runtime, architecture), soname);
        assert_eq!(of("python3.11", "x86_64", "libc.so.6"), Library::Promised);
        assert_eq!(of("python3.11", "x86_64", "libexpat.so.1"), Library::Absent);
        assert_eq!(of("python3.11", "x86_64", "libcrypt.so.1"), Library::Absent);
        assert_eq!(of("python3.13", "x86_64", "libcrypt.so.2"), Library::Incidental);
        assert_eq!(of("python3.11", "x86_64", "libnsl.so.1"), Library::Incidental);
        assert_eq!(of("python3.13", "x86_64", "libnsl.so.1"), Library::Absent);
        assert_eq!(of("python3.13", "arm64", "ld-linux-aarch64.so.1"), Library::Promised);
        assert_eq!(of("python3.13", "arm64", "ld-linux-x86-64.so.2"), Library::Absent);
        let old = target("python3.11", "x86_64").runtime;
        assert_eq!(absent(old, "libcrypt.so.1"), Some(Absent::InBaseImage));
        assert_eq!(absent(old, "libGL.so.1"), Some(Absent::WhiteListed));
        assert_eq!(absent(old, "libfoo.so.1"), None);
    }

    #[test]
    fn instruction_levels() {
        let runtime = target("python3.11", "x86_64").runtime;
        assert_eq!(instructions(runtime, 0), None);
        assert_eq!(instructions(runtime, 0b0111), None);
        assert_eq!(instructions(runtime, 0b1000).unwrap().0, "x86-64-v4");
    }
}
