//! Every rule, through the audit's one door: artifacts made to order in, findings as lines out.

use layerwise_testkit::elf;

use super::facts::{Content, Look};
use super::*;
use crate::model::Sha256;

/// One file of an artifact to audit.
struct Made {
    path: String,
    bytes: Vec<u8>,
    size: u64,
    mode: Option<u32>,
    link: Option<String>,
    modified: Modified,
    content: Content,
}

fn file(path: &str, bytes: impl AsRef<[u8]>) -> Made {
    let bytes = bytes.as_ref().to_vec();
    let mut look = Look::new(path);
    look.take(&bytes);
    let content = look.content();
    let size = bytes.len() as u64;
    Made { path: path.to_owned(), bytes, size, mode: Some(0o644), link: None, modified: Modified::Unknown, content }
}

fn link(path: &str, to: &str) -> Made {
    Made { link: Some(to.to_owned()), content: Content::Opaque, ..file(path, to) }
}

impl Made {
    fn mode(self, mode: u32) -> Self {
        Self { mode: Some(mode), ..self }
    }

    fn modified(self, modified: Modified) -> Self {
        Self { modified, ..self }
    }
}

/// What is audited, and for what.
struct Case {
    artifacts: Vec<(Role, Vec<Made>)>,
    handler: Option<&'static str>,
    pythonpath: Option<&'static str>,
    runtime: &'static str,
    architecture: &'static str,
    is_wheel: bool,
}

fn layer(files: Vec<Made>) -> Case {
    Case {
        artifacts: vec![(Role::Layer, files)],
        handler: None,
        pythonpath: None,
        runtime: "python3.11",
        architecture: "x86_64",
        is_wheel: false,
    }
}

/// A function whose handler is there.
fn function(handler: &'static str, files: Vec<Made>) -> Case {
    let with_handler = |made: Made| match made.path.rsplit('/').next() {
        Some("index.py" | "mod.py") => file(&made.path, [&made.bytes[..], b"\nhandler = f = None\n"].concat()),
        _ => made,
    };
    bare_function(handler, files.into_iter().map(with_handler).collect())
}

fn bare_function(handler: &'static str, files: Vec<Made>) -> Case {
    Case { artifacts: vec![(Role::Function, files)], handler: Some(handler), ..layer(Vec::new()) }
}

impl Case {
    fn and_layer(mut self, files: Vec<Made>) -> Self {
        self.artifacts.push((Role::Layer, files));
        self
    }

    fn on(self, runtime: &'static str, architecture: &'static str) -> Self {
        Self { runtime, architecture, ..self }
    }

    fn report(mut self) -> Report {
        for (_, files) in &mut self.artifacts {
            files.sort_by(|a, b| a.path.cmp(&b.path));
        }
        let artifacts = self.artifacts.iter().enumerate().map(|(index, (role, files))| Artifact {
            label: format!("{}{index}", if *role == Role::Layer { "layer" } else { "function" }),
            role: *role,
            zipped_bytes: None,
            files: files
                .iter()
                .map(|made| File {
                    path: &made.path,
                    size: made.size,
                    mode: made.mode,
                    link: made.link.as_deref(),
                    modified: made.modified,
                    sha256: made.link.is_none().then(|| Sha256::of(&made.bytes)),
                    content: &made.content,
                    owner: None,
                })
                .collect(),
            strange: &[],
            is_wheel: self.is_wheel,
        });
        let subject = Subject { artifacts: artifacts.collect(), handler: self.handler, pythonpath: self.pythonpath };
        audit(&subject, Target::new(self.runtime, self.architecture, "2026-11-24").unwrap())
    }
}

/// Findings as `severity rule [package] file`, the two words that matter most behind.
#[track_caller]
fn check(case: Case, expected: &[&str]) {
    let report = case.report();
    let shown: Vec<String> = report
        .findings
        .iter()
        .map(|finding| {
            let package = finding.package.as_ref().map(|name| format!(" [{name}]")).unwrap_or_default();
            let file = finding.file.as_ref().map(|file| format!(" {file}")).unwrap_or_default();
            format!("{} {}{package}{file}", finding.severity.word(), finding.rule())
        })
        .collect();
    assert_eq!(shown, expected, "\n{:#?}", report.findings);
}

/// The one finding's problem.
#[track_caller]
fn problem(case: Case) -> Problem {
    let mut findings = case.report().findings;
    assert_eq!(findings.len(), 1, "{findings:#?}");
    findings.remove(0).problem
}

/// A layer whose package `p` has this binary and imports it.
fn with_module(binary: Vec<u8>) -> Vec<Made> {
    vec![file("python/p/__init__.py", "from . import x"), file("python/p/x.abi3.so", binary)]
}

/// A distribution's dist-info.
fn dist(name: &str, version: &str, more: &str) -> Made {
    let text = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}\n");
    file(&format!("python/{}-{version}.dist-info/METADATA", name.replace('-', "_")), text)
}

const X: &str = "python/p/x.abi3.so";

#[test]
fn what_works_is_clean() {
    let binary = elf().needs("libc.so.6").needs_version("libc.so.6", "GLIBC_2.26").undefined("PyLong_FromLong");
    check(layer(with_module(binary.exports("PyInit_x").bytes())), &[]);
    check(function("index.handler", vec![file("index.py", "import os, boto3\n")]), &[]);
    check(layer(vec![file("extensions/agent", elf().executable().bytes()).mode(0o755)]), &[]);
}

#[test]
fn symbol_versions() {
    let needs = |library: &str, version: &str| {
        with_module(elf().needs(library).needs_version(library, version).exports("PyInit_x").bytes())
    };
    let glibc = |version| layer(needs("libc.so.6", version));
    let found = |rule: &str| format!("{rule} {X}");
    for (case, expected) in [
        (glibc("GLIBC_2.27"), "error native-glibc"),
        (glibc("GLIBC_2.28").on("python3.12", "x86_64"), ""),
        (glibc("GLIBC_2.35").on("python3.12", "x86_64"), "error native-glibc"),
        (glibc("GLIBC_ABI_DT_RELR").on("python3.13", "x86_64"), "error native-glibc"),
        (glibc("GLIBC_PRIVATE"), "warning native-glibc"),
        (layer(needs("libstdc++.so.6", "GLIBCXX_3.4.24")), ""),
        (layer(needs("libstdc++.so.6", "GLIBCXX_3.4.25")), "error native-symbol-version"),
        (layer(needs("libstdc++.so.6", "CXXABI_1.3.13")), "error native-symbol-version"),
        (layer(needs("libgcc_s.so.1", "GCC_14.0.0")), "error native-symbol-version"),
        (layer(needs("libz.so.1", "ZLIB_1.2.9")), "error native-symbol-version"),
        (layer(needs("libstdc++.so.6", "GLIBCXX_3.4.30")).on("python3.13", "x86_64"), "warning native-symbol-version"),
    ] {
        let expected: Vec<String> = (!expected.is_empty()).then(|| found(expected)).into_iter().collect();
        check(case, &expected.iter().map(String::as_str).collect::<Vec<_>>());
    }
    check(layer(with_module(elf().relr().exports("PyInit_x").bytes())), &[&found("error native-glibc")]);
    // Only the highest of a family is told; a weak one does not count; of a bundled library the versions are its own.
    let many =
        elf().needs("libc.so.6").needs_version("libc.so.6", "GLIBC_2.28").needs_version("libc.so.6", "GLIBC_2.34");
    assert!(
        matches!(problem(layer(with_module(many.bytes()))), Problem::NativeGlibc { version, .. } if version == "GLIBC_2.34")
    );
    check(layer(with_module(elf().needs("libc.so.6").weak_version("libc.so.6", "GLIBC_2.30").bytes())), &[]);
    let own = elf().needs("libstdc++.so.6").needs_version("libstdc++.so.6", "GLIBCXX_3.4.30").rpath("$ORIGIN/../libs");
    let mut files = with_module(own.bytes());
    files.push(file("python/libs/libstdc++.so.6", elf().soname("libstdc++.so.6").bytes()));
    check(layer(files), &[]);
}

#[test]
fn other_machines() {
    use layerwise_testkit::Machine;
    let arm = || elf().machine(Machine::Aarch64).exports("PyInit_x").bytes();
    check(layer(with_module(arm())), &[&format!("error native-architecture {X}")]);
    check(layer(with_module(arm())).on("python3.11", "arm64"), &[]);
    check(layer(with_module(elf().class32().bytes())), &[&format!("error native-architecture {X}")]);
    // A package that carries the libraries of all systems and picks one.
    let spare = |extra: Vec<Made>| {
        let mut files = vec![dist("p", "1", ""), file("python/p/__init__.py", ""), file("python/p/arm.so.1", arm())];
        files.extend(extra);
        layer(files)
    };
    check(spare(vec![file("python/p/intel.so.1", elf().bytes())]), &["note native-architecture [p] python/p/arm.so.1"]);
    check(spare(Vec::new()), &["error native-architecture [p] python/p/arm.so.1"]);
}

#[test]
fn extras_of_a_wheel_for_any_system() {
    use layerwise_testkit::Machine;
    // As debugpy is: the wheel says that it works anywhere, and nothing imports what is compiled.
    let with = |tag: &str, init: &str, path: &str, bytes: Vec<u8>| {
        let wheel = file("python/p-1.dist-info/WHEEL", format!("Wheel-Version: 1.0\nTag: {tag}\n"));
        layer(vec![dist("p", "1", ""), wheel, file("python/p/__init__.py", init), file(path, bytes)])
    };
    let new = || elf().needs("libc.so.6").needs_version("libc.so.6", "GLIBC_2.34");
    let (any, linux) = ("py3-none-any", "py3-none-manylinux_2_17_x86_64");
    let (attach, pyd) = ("python/p/attach.so.1", "python/p/x.cp39-win_amd64.pyd");
    check(with(any, "", attach, new().bytes()), &["warning native-glibc [p] python/p/attach.so.1"]);
    let arm = || elf().machine(Machine::Aarch64).bytes();
    check(with(any, "", attach, arm()), &["warning native-architecture [p] python/p/attach.so.1"]);
    check(with(linux, "", attach, arm()), &["error native-architecture [p] python/p/attach.so.1"]);
    let musl = elf().needs("libc.musl-x86_64.so.1").bytes();
    check(with(any, "", attach, musl), &["warning native-musl [p] python/p/attach.so.1"]);
    check(with(any, "", attach, elf().relr().bytes()), &["warning native-glibc [p] python/p/attach.so.1"]);
    check(
        with(linux, "", attach, new().bytes()),
        &["error native-glibc [p] python/p/attach.so.1", "note wheel-tag-untrue [p] python/p-1.dist-info/WHEEL"],
    );
    // A module of another system only: nothing on Linux can need it, unless it is imported.
    let windows = || b"MZ\x90\0\x03\0".to_vec();
    check(with(any, "", pyd, windows()), &["warning abi-mismatch [p] python/p/x.cp39-win_amd64.pyd"]);
    check(with(any, "from . import x", pyd, windows()), &["error abi-mismatch [p] python/p/x.cp39-win_amd64.pyd"]);
    // An extension module is found by Python, whatever the tag says.
    check(with(any, "", X, new().exports("PyInit_x").bytes()), &[&format!("error native-glibc [p] {X}")]);
}

#[test]
fn not_for_linux() {
    let found = |what: &str| format!("{what} native-format {X}");
    for bytes in
        [&b"\xcf\xfa\xed\xfe\x07\0\0\x01"[..], b"MZ\x90\0\x03\0", b"", b"version https://git-lfs.github.com/spec/v1\n"]
    {
        check(layer(with_module(bytes.to_vec())), &[&found("error")]);
    }
    check(layer(with_module(b"\x7fELF\x02\x01\x01".to_vec())), &[&format!("error native-damaged {X}")]);
    check(layer(vec![file("python/p/libx.so", "INPUT(libx.so.1)")]), &["note native-format python/p/libx.so"]);
    let mac = |init: &str| layer(vec![file("python/p/__init__.py", init), file("python/p/x.so", "\u{1}\u{2}")]);
    check(mac(""), &["warning native-format python/p/x.so"]);
    check(mac("from .x import f"), &["error native-format python/p/x.so", "note import-missing python/p/__init__.py"]);
    check(layer(vec![file("python/p/lib.dylib", "\u{1}"), file("python/p/a.py", "")]), &[]);
    let musl = elf().needs("libc.musl-x86_64.so.1").bytes();
    check(layer(with_module(musl)), &[&format!("error native-musl {X}")]);
}

#[test]
fn libraries() {
    let needs = |library: &str| elf().needs(library).exports("PyInit_x");
    let missing = |severity: &str| format!("{severity} native-library-missing {X}");
    check(layer(with_module(needs("libGL.so.1").bytes())), &[&missing("error")]);
    check(layer(with_module(needs("libexpat.so.1").bytes())), &[&missing("error")]);
    check(layer(with_module(needs("libcrypt.so.1").bytes())).on("python3.13", "x86_64"), &[&missing("error")]);
    check(
        layer(with_module(needs("libcrypt.so.2").bytes())).on("python3.13", "x86_64"),
        &[&format!("warning native-library-incidental {X}")],
    );
    check(
        layer(with_module(needs("libpython3.11.so.1.0").bytes())),
        &[&format!("warning native-library-incidental {X}")],
    );
    check(layer(with_module(needs("libpython3.12.so.1.0").bytes())), &[&missing("error")]);

    let beside = |binary: Vec<u8>, at: &str| {
        let mut files = with_module(binary);
        files.push(file(at, elf().soname("libq.so.1").bytes()));
        layer(files)
    };
    let q = || needs("libq.so.1");
    check(beside(q().rpath("$ORIGIN/../p.libs").bytes(), "python/p.libs/libq.so.1"), &[]);
    check(beside(q().runpath("${ORIGIN}/../p.libs").bytes(), "python/p.libs/libq.so.1"), &[]);
    check(beside(q().bytes(), "lib/libq.so.1"), &[]);
    check(beside(q().bytes(), "python/p.libs/libq.so.1"), &[&format!("warning native-library-unreachable {X}")]);
    // A DT_RPATH is handed on to what is needed; a DT_RUNPATH is not, and turns an own DT_RPATH off.
    let chain = |binary: Vec<u8>| {
        let mut files = with_module(binary);
        files.push(file("python/libs/libq.so.1", elf().needs("libr.so.1").bytes()));
        files.push(file("python/libs/libr.so.1", elf().bytes()));
        layer(files)
    };
    check(chain(q().rpath("$ORIGIN/../libs").bytes()), &[]);
    check(chain(q().runpath("$ORIGIN/../libs").bytes()), &["warning native-library-unreachable python/libs/libq.so.1"]);
    // A plugin hands on, too, whatever the order of the names.
    let plugin = elf().needs("liba.so.1").rpath("$ORIGIN/../libs").bytes();
    check(
        layer(vec![
            file("python/p/__init__.py", ""),
            file("python/p/plugin.so.1", plugin),
            file("python/libs/liba.so.1", elf().needs("libb.so.1").bytes()),
            file("python/libs/libb.so.1", elf().needs("libc-1.so.1").bytes()),
            file("python/libs/libc-1.so.1", elf().bytes()),
        ]),
        &[],
    );
    // The system's comes before RUNPATH and /opt/lib, not before RPATH.
    let z = |binary: Vec<u8>| {
        let mut files = with_module(binary);
        files.push(file("python/libs/libz.so.1", elf().bytes()));
        layer(files)
    };
    check(z(needs("libz.so.1").rpath("$ORIGIN/../libs").bytes()), &[]);
    check(z(needs("libz.so.1").runpath("$ORIGIN/../libs").bytes()), &[&format!("warning native-library-shadowed {X}")]);
    // Through a link, as sonames often are.
    let mut files = with_module(q().rpath("$ORIGIN/../libs").bytes());
    files.extend([link("python/libs/libq.so.1", "libq.so.1.2"), file("python/libs/libq.so.1.2", elf().bytes())]);
    check(layer(files), &[]);
    check(
        layer(with_module(needs("libz.so.1").rpath("/build/lib").bytes())),
        &[&format!("note native-build-path {X}")],
    );
}

#[test]
fn how_a_library_is_used_decides() {
    let gl = || elf().needs("libGL.so.1").exports("PyInit_x").bytes();
    let with_init = |init: &str| layer(vec![file("python/p/__init__.py", init), file(X, gl())]);
    let found = |severity: &str| format!("{severity} native-library-missing {X}");
    check(with_init("from . import x"), &[&found("error")]);
    check(with_init("from .x import f"), &[&found("error")]);
    check(with_init("try:\n    from . import x\nexcept ImportError:\n    x = None\n"), &[&found("warning")]);
    check(with_init("def f():\n    from . import x\n"), &[&found("warning")]);
    // Named nowhere: code imports it.
    check(with_init("import importlib\n"), &[&found("error")]);
    // A plugin: no module, needed by none.
    let plugin = elf().needs("libGL.so.1").bytes();
    check(
        layer(vec![file("python/p/__init__.py", ""), file("python/p/plugins/libqxcb.so", plugin)]),
        &["warning native-library-missing python/p/plugins/libqxcb.so"],
    );
}

#[test]
fn the_one_library_of_a_wheel() {
    // As lightgbm is: no extension module, one library that Python opens by path.
    let with = |tag: &str, more: Vec<Made>| {
        let wheel = file("python/p-1.dist-info/WHEEL", format!("Wheel-Version: 1.0\nTag: {tag}\n"));
        let library = elf().needs("libgomp.so.1").needs("libq.so.1").rpath("$ORIGIN").bytes();
        let grafted = file("python/p/libq.so.1", elf().soname("libq.so.1").bytes());
        let mut files = vec![dist("p", "1", ""), wheel, file("python/p/__init__.py", "import ctypes"), grafted];
        files.push(file("python/p/lib_p.so", library));
        files.extend(more);
        layer(files)
    };
    let found = |severity: &str| format!("{severity} native-library-missing [p] python/p/lib_p.so");
    let (any, linux) = ("py3-none-any", "py3-none-manylinux_2_17_x86_64");
    check(with(linux, Vec::new()), &[&found("error")]);
    check(with(any, Vec::new()), &[&found("warning")]);
    // One of several may be a plugin, and so may one beside extension modules.
    check(with(linux, vec![file("python/p/plugin.so", elf().bytes())]), &[&found("warning")]);
    let module = || elf().exports("PyInit_x").bytes();
    check(with(linux, vec![file(X, module())]), &[&found("warning")]);
}

#[test]
fn undefined_symbols() {
    let undefined = |name: &str| with_module(elf().needs("libc.so.6").undefined(name).exports("PyInit_x").bytes());
    let found = || format!("error native-symbol-missing {X}");
    check(layer(undefined("close_range")), &[&found()]);
    check(layer(undefined("close_range")).on("python3.13", "x86_64"), &[]);
    check(layer(undefined("__isoc23_strtol")).on("python3.13", "x86_64"), &[&found()]);
    check(layer(undefined("__kmpc_fork_call")), &[&found()]);
    check(layer(undefined("_PyUnicode_Ready")), &[]);
    check(layer(undefined("_PyUnicode_Ready")).on("python3.12", "x86_64"), &[&found()]);
    check(layer(undefined("inflate")), &[&found()]);
    let zlib = elf().needs("libz.so.1").undefined("inflate").undefined("crc32_z").exports("PyInit_x");
    assert!(
        matches!(problem(layer(with_module(zlib.bytes()))), Problem::NativeSymbolMissing { symbols, .. } if symbols == ["crc32_z"])
    );
    let cpp = elf().needs("libstdc++.so.6").undefined("_ZNSt3mapD1Ev").exports("PyInit_x");
    check(layer(with_module(cpp.bytes())), &[]);
    check(layer(with_module(elf().weak_undefined("__gmon_start__").bytes())), &[]);
    check(
        layer(with_module(elf().needs("libc.so.6").undefined_versioned("newer", "libc.so.6", "GLIBC_2.17").bytes())),
        &[],
    );
    // Another file of the artifact exports it.
    let mut files = undefined("mine");
    files.push(file("python/p/libmine.so", elf().exports("mine").bytes()));
    check(layer(files), &[]);
    // With a library missing, nobody knows what it would have exported.
    let both = elf().needs("libGL.so.1").undefined("glBegin").exports("PyInit_x");
    check(layer(with_module(both.bytes())), &[&format!("error native-library-missing {X}")]);
}

#[test]
fn marks_on_binaries() {
    check(layer(with_module(elf().exec_stack().bytes())), &[&format!("warning native-executable-stack {X}")]);
    check(layer(with_module(elf().text_relocations().bytes())), &[&format!("warning native-text-relocations {X}")]);
    check(layer(with_module(elf().isa_needed(0b0100).bytes())), &[]);
    check(layer(with_module(elf().isa_needed(0b1000).bytes())), &[&format!("warning native-instructions {X}")]);
}

#[test]
fn abi_of_extension_modules() {
    let named = |name: &str, init: &str| {
        vec![file("python/p/__init__.py", init), file(&format!("python/p/{name}"), elf().exports("PyInit_x").bytes())]
    };
    let certain = "from . import x";
    for suffix in [
        "cpython-312-x86_64-linux-gnu.so",
        "cpython-311-aarch64-linux-gnu.so",
        "cpython-311t-x86_64-linux-gnu.so",
        "cpython-311d-x86_64-linux-gnu.so",
        "cpython-311-x86_64-linux-musl.so",
        "cpython-311-darwin.so",
        "pypy310-pp73-x86_64-linux-gnu.so",
        "abi3t.so",
        "cp311-win_amd64.pyd",
        "pyd",
    ] {
        let name = format!("x.{suffix}");
        check(layer(named(&name, certain)), &[&format!("error abi-mismatch python/p/{name}")]);
    }
    check(layer(named("x.cpython-311-x86_64-linux-gnu.so", certain)), &[]);
    check(layer(named("x.so", certain)), &["note abi-unmarked python/p/x.so"]);
    check(layer(named("x.nothing.so", "")), &[]);
    let other = "x.cpython-312-x86_64-linux-gnu.so";
    let caught = "try:\n    from . import x\nexcept ImportError:\n    pass\n";
    check(layer(named(other, caught)), &[&format!("warning abi-mismatch python/p/{other}")]);
    let mut both = named(other, certain);
    both.push(file("python/p/x.py", ""));
    check(layer(both), &[&format!("note abi-mismatch python/p/{other}")]);
    // Called for in a function, as cffi does; and where the one that needs it is optional itself, as in PyYAML.
    check(layer(named(other, "def f():\n    from . import x\n")), &[&format!("error abi-mismatch python/p/{other}")]);
    let mut optional = named(other, "try:\n    from .c import *\nexcept ImportError:\n    pass\n");
    optional.push(file("python/p/c.py", "from p.x import f\n"));
    check(layer(optional), &[&format!("warning abi-mismatch python/p/{other}")]);
    let unsure = named(other, "if flag:\n    from . import x\n");
    check(layer(unsure), &[&format!("warning abi-mismatch python/p/{other}")]);
    // mypyc's modules have one for all beside them, and their sources.
    let mut compiled = named(other, certain);
    compiled.push(file("python/p/x.py", ""));
    compiled.push(file("python/p/x__mypyc.cpython-312-x86_64-linux-gnu.so", elf().bytes()));
    check(layer(compiled), &[&format!("note abi-mismatch python/p/{other}")]);
    // Of what it would have loaded nothing is said.
    let mut libraries = vec![file("python/p/__init__.py", "from . import x")];
    let module = elf().needs("libq.so.1").rpath("$ORIGIN/../libs");
    libraries.push(file(&format!("python/p/{other}"), module.bytes()));
    libraries.push(file("python/libs/libq.so.1", elf().needs("libr.so.1").bytes()));
    libraries.push(file("python/libs/libr.so.1", elf().bytes()));
    check(layer(libraries), &[&format!("error abi-mismatch python/p/{other}")]);
    // A lone module at the top.
    let lone = "_cffi_backend.cpython-310-x86_64-linux-gnu.so";
    check(layer(vec![file(&format!("python/{lone}"), elf().bytes())]), &[&format!("error abi-mismatch python/{lone}")]);
}

#[test]
fn imports_from_the_handler() {
    let index = |text: &str| function("index.handler", vec![file("index.py", text)]);
    let missing = ["error import-missing index.py"];
    check(index("import requests"), &missing);
    check(index("import os.path, json, xml.etree.ElementTree, boto3, dateutil.parser, test.support"), &[]);
    check(index("try:\n    import requests\nexcept ImportError:\n    requests = None"), &[]);
    check(index("def handler(e, c):\n    import requests"), &[]);
    check(index("import sys\nif sys.version_info >= (3, 12):\n    import requests"), &[]);
    check(index("import sys\nif sys.version_info < (3, 12):\n    import requests"), &missing);
    check(index("import sys\nif sys.platform == 'win32':\n    import winreg"), &[]);
    check(index("import winreg"), &missing);
    check(index("import tomllib"), &[]);
    check(index("import tomllib").on("python3.10", "x86_64"), &missing);
    check(index("import distutils.core"), &[]);
    check(index("import distutils.core").on("python3.12", "x86_64"), &["error import-removed index.py"]);
    check(index("import cgi").on("python3.13", "x86_64"), &["error import-removed index.py"]);
    check(index("import pkg_resources"), &[]);
    check(index("import pkg_resources").on("python3.12", "x86_64"), &missing);
    // Through a layer, with the way there.
    let through = function("index.handler", vec![file("index.py", "import a")])
        .and_layer(vec![file("python/a/__init__.py", "from . import b"), file("python/a/b.py", "import c")]);
    let Problem::ImportMissing { module, chain, line, .. } = problem(through) else { panic!() };
    assert_eq!((module.as_str(), line), ("c", 1));
    assert_eq!(chain, ["/var/task/index.py", "/opt/python/a/__init__.py", "/opt/python/a/b.py"]);
}

#[test]
fn submodules_and_what_makes_them_uncertain() {
    let with =
        |index: &str, files: Vec<Made>| function("index.handler", vec![file("index.py", index)]).and_layer(files);
    let a = |init: &str| vec![file("python/a/__init__.py", init), file("python/a/b.py", "")];
    check(with("import a.b", a("")), &[]);
    check(with("import a.c", a("")), &["error import-missing index.py"]);
    check(with("from a import c", a("")), &[]);
    check(with("from a.c import d", a("")), &["error import-missing index.py"]);
    check(with("import a.c", a("import sys\nsys.modules['a.c'] = sys")), &[]);
    check(with("import a.c", a("__path__ = []")), &[]);
    check(with("import n.x", vec![file("python/n/x.py", "")]), &[]);
    check(with("import n.y", vec![file("python/n/x.py", "")]), &["error import-missing index.py"]);
    check(
        with("import x.y", vec![file("python/x.so", elf().exports("PyInit_x").bytes())]),
        &["note abi-unmarked python/x.so"],
    );
    // site-packages of the runtime's version comes before python/; of another version it is not seen.
    check(with("import a", vec![file("python/lib/python3.11/site-packages/a.py", "")]), &[]);
    check(
        with("import a", vec![file("python/lib/python3.12/site-packages/a.py", "")]),
        &["error import-missing index.py", "error layout-unused"],
    );
}

#[test]
fn what_is_at_the_top() {
    let files = ["python/a.py", "python/b/__init__.py", "python/b/c.py", "python/n/d/__init__.py", "python/n/e.py"];
    let more = ["python/bin/tool.py", "python/share/f/__init__.py", "python/__main__.py", "index.py"];
    let made = files.iter().chain(&more).map(|path| file(path, "")).collect();
    assert_eq!(layer(made).report().modules, ["a", "b", "n.d"]);
}

#[test]
fn imports_of_a_layer_alone() {
    check(layer(vec![file("python/a/__init__.py", "import b")]), &["note import-missing python/a/__init__.py"]);
    // Nothing imports the tests.
    check(layer(vec![file("python/a/__init__.py", ""), file("python/a/tests.py", "import pytest")]), &[]);
    let twice = vec![file("python/a/__init__.py", "import b\nfrom . import c"), file("python/a/c.py", "import b")];
    check(layer(twice), &["note import-missing python/a/__init__.py"]);
}

#[test]
fn handlers() {
    let with = |handler: &'static str| function(handler, vec![file("index.py", ""), file("pkg/mod.py", "")]);
    for handler in ["index.handler", "pkg/mod.f", "pkg.mod.f", "boto3.client"] {
        check(with(handler), &[]);
    }
    let error = |handler| match problem(with(handler)) {
        Problem::Handler { error_type, message, .. } => format!("{error_type}: {message}"),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        error("handler"),
        "Runtime.MalformedHandlerName: Bad handler 'handler': not enough values to unpack (expected 2, got 1)"
    );
    assert_eq!(error("sys.exit"), "Runtime.BuiltInModuleConflict: Cannot use built-in module sys as a handler module");
    assert_eq!(error("app.handler"), "Runtime.ImportModuleError: Unable to import module 'app': No module named 'app'");
}

/// That a handler is missing is said only where it is certain.
#[test]
fn handlers_that_are_missing() {
    let with = |handler: &'static str, text: &str| {
        bare_function(handler, vec![file("index.py", text), file("pkg/__init__.py", text), file("pkg/sub.py", "")])
    };
    let missing = |text: &str| match problem(with("index.handler", text)) {
        Problem::Handler { error_type, message, .. } => {
            assert_eq!(
                (error_type.as_str(), message.as_str()),
                ("Runtime.HandlerNotFound", "Handler 'handler' missing on module 'index'")
            );
        }
        other => panic!("{other:?}"),
    };
    missing("");
    missing("def lambda_handler(event, context):\n    return event\n");
    missing("import os\nclass A:\n    def f(self): self.handler = os.handler\n");
    missing("# handler\nx = 'handler'\n");
    missing("import sys\nsys.path.append('lib')\n");
    for has in [
        "def handler(event, context): pass",
        "async def handler(event, context): pass",
        "class handler: pass",
        "handler = lambda event, context: 1",
        "app, handler = 1, 2",
        "from os import getcwd as handler",
        "if (handler := 1): pass",
        "def f():\n    global handler\n    handler = 1\nf()",
        "try: pass\nexcept Exception as handler: pass",
        "from os.path import *",
        "globals()['handler'] = 1",
        "import sys\nsetattr(sys.modules[__name__], 'handler', 1)",
        "exec('handler = 1')",
        "def __getattr__(name): return 1",
    ] {
        check(with("index.handler", has), &[]);
    }
    check(with("pkg.sub", ""), &[]);
    // What is known of its name only is not judged.
    check(with("index.match", ""), &[]);
}

#[test]
fn source_that_python_cannot_read() {
    let with = |text: &[u8]| function("index.handler", vec![file("index.py", text)]);
    check(with(b"print 'x'"), &["error python-syntax index.py"]);
    check(with(b"x = '\xe4'"), &["error python-syntax index.py"]);
    check(with(b"# coding: latin-1\nx = '\xe4'"), &[]);
    check(with(b"type X = int"), &["error python-syntax index.py"]);
    check(with(b"type X = int").on("python3.12", "x86_64"), &[]);
    check(with(b"match x:\n    case 1: pass\n").on("python3.9", "x86_64"), &["error python-syntax index.py"]);
    check(
        layer(vec![file("python/a/__init__.py", ""), file("python/a/old.py", "print 'x'")]),
        &["note python-syntax python/a/old.py"],
    );
    let large = format!("x = 1\n{}", "#".repeat(python::LARGEST_SOURCE));
    check(with(large.as_bytes()), &["note python-unread index.py"]);
}

#[test]
fn requirements() {
    let a = |requires: &str| dist("a", "1.0", requires);
    let found = |what: &str| format!("{what} [a] python/a-1.0.dist-info/METADATA");
    let missing = found("error requirement-missing");
    check(layer(vec![a("Requires-Dist: b")]), &[&missing]);
    check(layer(vec![a("Requires-Dist: b>=2"), dist("b", "2.1", "")]), &[]);
    check(layer(vec![a("Requires-Dist: B.c"), dist("b-c", "2.1", "")]), &[]);
    check(layer(vec![a("Requires-Dist: b>=2"), dist("b", "1", "")]), &[&found("warning requirement-version")]);
    check(layer(vec![a("Requires-Dist: b; sys_platform == 'win32'")]), &[]);
    check(layer(vec![a("Requires-Dist: b; platform_machine == 'aarch64'")]).on("python3.11", "arm64"), &[&missing]);
    check(layer(vec![a("Requires-Dist: b; extra == 'x'")]), &[]);
    // The runtime brings it, in a version that is known.
    check(layer(vec![a("Requires-Dist: six")]), &[]);
    check(layer(vec![a("Requires-Dist: urllib3>=2")]), &[&found("warning requirement-version")]);
    // The same modules under another name.
    check(layer(vec![a("Requires-Dist: opencv-python>=4"), dist("opencv-python-headless", "4.9", "")]), &[]);
    // An extra that is asked for has requirements of its own.
    let b = || dist("b", "1", "Requires-Dist: c; extra == 'x'");
    check(layer(vec![a("Requires-Dist: b[x]"), b()]), &["error requirement-missing [b] python/b-1.dist-info/METADATA"]);
    check(layer(vec![a("Requires-Dist: b"), b()]), &[]);
    check(layer(vec![a("Requires-Python: >=3.12")]), &[&found("warning requires-python")]);
    check(layer(vec![a("Requires-Python: >=3.8")]), &[]);
    check(Case { is_wheel: true, ..layer(vec![a("Requires-Dist: b")]) }, &[]);
    check(
        layer(vec![a(""), dist("a", "2.0", "")]),
        &["warning distribution-twice [a] python/a-2.0.dist-info/METADATA"],
    );
}

#[test]
fn the_sdk_is_one_set() {
    let split = |severity: &str, dist: &str| format!("{severity} sdk-split [{dist}]");
    let shown = |case: Case| -> Vec<String> {
        let findings = case.report().findings;
        let split = findings.iter().filter(|finding| finding.rule() == Rule::SdkSplit);
        split
            .map(|finding| format!("{} sdk-split [{}]", finding.severity.word(), finding.package.as_ref().unwrap()))
            .collect()
    };
    let boto3 = || dist("boto3", "1.34.0", "Requires-Dist: botocore (<1.35.0,>=1.34.0)");
    let whole = || vec![boto3(), dist("botocore", "1.34.162", ""), dist("s3transfer", "0.9.0", "")];
    assert!(shown(layer(whole())).is_empty());
    assert_eq!(shown(layer(vec![boto3()])), [split("error", "boto3")]);
    let near = dist("boto3", "1.40.4", "Requires-Dist: botocore<1.41,>=1.40.4");
    assert_eq!(shown(layer(vec![near])), [split("warning", "boto3")]);
    // urllib3 2 beside the runtime's botocore: python3.10 and later can work with it.
    let urllib3 = || dist("urllib3", "2.5.0", "");
    assert!(shown(layer(vec![urllib3()])).is_empty());
    let used = vec![urllib3(), file("python/a.py", "import boto3")];
    assert_eq!(shown(layer(used).on("python3.9", "x86_64")), [split("error", "urllib3")]);
    assert_eq!(shown(layer(vec![urllib3()]).on("python3.9", "x86_64")), [split("warning", "urllib3")]);
}

#[test]
fn wheels_and_their_tags() {
    let wheel = |tags: &[&str], binary: Option<Vec<u8>>| {
        let text: String = tags.iter().map(|tag| format!("Tag: {tag}\n")).collect();
        let mut files = vec![
            dist("p", "1", ""),
            file("python/p-1.dist-info/WHEEL", format!("Wheel-Version: 1.0\n{text}")),
            file("python/p/__init__.py", ""),
        ];
        files.extend(binary.map(|binary| file("python/p/x.abi3.so", binary)));
        layer(files)
    };
    let needs =
        |version: &str| Some(elf().needs("libc.so.6").needs_version("libc.so.6", version).exports("PyInit_x").bytes());
    let at = "[p] python/p-1.dist-info/WHEEL";
    check(wheel(&["py3-none-any"], None), &[]);
    check(wheel(&["cp311-abi3-manylinux_2_17_x86_64"], needs("GLIBC_2.17")), &[]);
    check(wheel(&["cp311-abi3-linux_x86_64"], needs("GLIBC_2.17")), &[]);
    check(wheel(&["cp312-cp312-manylinux_2_17_x86_64"], needs("GLIBC_2.17")), &[&format!("warning wheel-tag {at}")]);
    check(wheel(&["cp311-abi3-manylinux_2_28_x86_64"], needs("GLIBC_2.17")), &[&format!("note wheel-tag {at}")]);
    check(wheel(&["cp311-abi3-manylinux_2_17_x86_64"], needs("GLIBC_2.25")), &[&format!("note wheel-tag-untrue {at}")]);
    check(wheel(&["cp311-abi3-manylinux_2_17_x86_64"], None), &[&format!("warning wheel-fallback {at}")]);
    // Not for Linux, but compiled.
    let mac = Some(b"\xcf\xfa\xed\xfe\x07\0\0\x01".to_vec());
    let found = ["error native-format [p] python/p/x.abi3.so", &format!("warning wheel-tag {at}")];
    check(wheel(&["cp311-cp311-macosx_11_0_arm64"], mac), &found);
}

#[test]
fn record() {
    let recorded = |lines: &[(&str, &str)]| {
        let line = |(path, text): &(&str, &str)| {
            format!("{path},sha256={},{}\n", Sha256::of(text.as_bytes()).record_base64(), text.len())
        };
        lines.iter().map(line).collect::<String>()
    };
    let with = |record: String| {
        layer(vec![
            dist("p", "1", ""),
            file("python/p-1.dist-info/RECORD", record),
            file("python/p/__init__.py", "x = 1"),
        ])
    };
    check(with(recorded(&[("p/__init__.py", "x = 1")])), &[]);
    check(with(recorded(&[("p/__init__.py", "x = 2")])), &["warning record [p] python/p/__init__.py"]);
    check(
        with(recorded(&[("p/__init__.py", "x = 1"), ("p/gone.py", "")])),
        &["note record [p] python/p-1.dist-info/RECORD"],
    );
    check(with(recorded(&[("../../bin/p", ""), ("p/__pycache__/x.pyc", "")])), &[]);
    let mine = recorded(&[("p/__init__.py", "x = 1")]);
    let two = layer(vec![
        dist("p", "1", ""),
        file("python/p-1.dist-info/RECORD", &mine),
        dist("q", "1", ""),
        file("python/q-1.dist-info/RECORD", &mine),
        file("python/p/__init__.py", "x = 1"),
    ]);
    check(two, &["warning owned-twice [q] python/p/__init__.py"]);
}

#[test]
fn roots() {
    let root = |case: Case| match problem(case) {
        Problem::LayoutRoot { what } => what,
        other => panic!("{other:?}"),
    };
    let wrapped = Root::Wrapped { folder: "layer".to_owned() };
    use finding::Root;
    assert_eq!(root(layer(vec![file("layer/python/a.py", "")])), wrapped);
    assert_eq!(root(layer(vec![file("a.py", ""), file("b/__init__.py", "")])), Root::Bare);
    assert_eq!(root(layer(vec![file("six-1.dist-info/METADATA", "Name: six")])), Root::Bare);
    assert_eq!(root(layer(vec![file("layer.zip", "PK\u{3}\u{4}")])), Root::Nested { zip: "layer.zip".to_owned() });
    assert_eq!(root(layer(vec![file("notes.txt", "")])), Root::Nothing);
    check(layer(vec![file("lib/libq.so.1", elf().bytes()), file("bin/tool", "#!/bin/sh")]), &[]);
    let inner = vec![file("src/index.py", "")];
    check(function("index.handler", inner), &["error handler", "warning layout-root"]);
    check(function("src/index.handler", vec![file("src/index.py", "")]), &["warning layout-root"]);
    check(layer(vec![file("python/lib64/python3.11/site-packages/a.py", "")]), &["error layout-unused"]);
    let several = vec![
        file("python/lib/python3.11/site-packages/a.py", ""),
        file("python/lib/python3.12/site-packages/a.py", ""),
    ];
    check(layer(several), &["note layout-unused"]);
    let venv = vec![file("index.py", ""), file(".venv/lib/python3.11/site-packages/a.py", "")];
    check(function("index.handler", venv), &["warning layout-unused"]);
}

#[test]
fn names_that_hide_the_standard_library() {
    let with = |path: &str| layer(vec![file(path, "")]);
    check(with("python/typing.py"), &["error stdlib-shadowed python/typing.py"]);
    check(with("python/concurrent/__init__.py"), &["error stdlib-shadowed python/concurrent/__init__.py"]);
    check(with("python/dataclasses.py"), &["warning stdlib-shadowed python/dataclasses.py"]);
    check(with("python/test/__init__.py"), &["note stdlib-shadowed python/test/__init__.py"]);
    check(with("python/test/helpers.py"), &[]);
    check(with("python/tomllib.py").on("python3.10", "x86_64"), &[]);
    check(with("python/imp.py").on("python3.12", "x86_64"), &[]);
    check(with("python/sys.py"), &[]);
    check(with("python/__main__.py"), &[]);
}

#[test]
fn pth_files() {
    let with = |path: &str, text: &str| layer(vec![file("python/a.py", ""), file(path, text)]);
    check(with("python/a.pth", "import os; os.system('x')"), &["warning pth-file python/a.pth"]);
    check(with("python/distutils-precedence.pth", "import os"), &["note pth-file python/distutils-precedence.pth"]);
    check(with("python/a.pth", "./lib"), &["note pth-file python/a.pth"]);
    check(with("python/__editable__.a.pth", "/home/me/a/src"), &["warning pth-file python/__editable__.a.pth"]);
    check(with("python/sub/a.pth", "import os"), &[]);
}

#[test]
fn bytecode() {
    let pyc = |magic: u16, flags: u32, time: u32| {
        let mut bytes = magic.to_le_bytes().to_vec();
        bytes.extend(b"\r\n");
        bytes.extend(flags.to_le_bytes());
        bytes.extend(time.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        bytes
    };
    let with = |bytes: Vec<u8>| {
        let source = file("python/a.py", "").modified(Modified::Dos(1 << 21 | 1 << 16));
        layer(vec![source, file("python/__pycache__/a.cpython-311.pyc", bytes)])
    };
    let found = ["note bytecode-useless python/__pycache__/a.cpython-311.pyc"];
    check(with(pyc(3495, 0, 1_700_000_000)), &found);
    check(with(pyc(3495, 0, 315_532_800)), &[]);
    check(with(pyc(3495, 1, 0)), &[]);
    check(with(pyc(3531, 1, 0)), &found);
}

#[test]
fn modes_times_links_and_names() {
    let a = || file("python/a.py", "");
    let one = |made: Made| layer(vec![a(), made]);
    check(one(file("python/b.py", "").mode(0o600)), &["error file-mode python/b.py"]);
    check(one(file("extensions/x", "").mode(0o644)), &["error file-mode extensions/x"]);
    check(one(file("python/b.py", "").modified(Modified::Dos(0))), &["warning file-time python/b.py"]);
    check(one(file("python/b.py", "").modified(Modified::Unix(0))), &["warning file-time python/b.py"]);
    check(one(file("python/A.py", "")), &["note case-collision python/a.py"]);
    check(one(link("python/b.py", "a.py")), &[]);
    check(one(link("python/b", "../python")), &[]);
    check(one(link("python/b.py", "c.py")), &["warning symlink python/b.py"]);
    check(one(link("python/b.py", "/etc/passwd")), &["error symlink python/b.py"]);
    check(one(link("python/b.py", "../../../etc/passwd")), &["error symlink python/b.py"]);
    check(
        layer(vec![a(), link("python/x", "y"), link("python/y", "x")]),
        &["warning symlink python/x", "warning symlink python/y"],
    );
}

#[test]
fn layers_over_layers() {
    let two = |first: &str, second: &str| {
        layer(vec![file("python/a.py", first)]).and_layer(vec![file("python/a.py", second)])
    };
    check(two("x = 1", "x = 1"), &[]);
    let Problem::LayerConflict { winner, loser, path, files } = problem(two("x = 1", "x = 2")) else { panic!() };
    assert_eq!((winner.as_str(), loser.as_str(), path.as_str(), files), ("layer1", "layer0", "/opt/python/a.py", 1));
    let many = (0..6).fold(function("index.handler", vec![file("index.py", "")]), |case, at| {
        case.and_layer(vec![file(&format!("python/m{at}.py"), "")])
    });
    check(many, &["error layer-count"]);
    let lost = Case {
        pythonpath: Some("/var/task/lib"),
        ..function("index.handler", vec![file("index.py", "import a")]).and_layer(vec![file("python/a.py", "")])
    };
    check(lost, &["error import-missing index.py", "warning pythonpath-set"]);
}

#[test]
fn size_counts_everything() {
    let mut case = layer(vec![file("python/a.py", "")]);
    let data = |at| Made { size: 90_000_000, ..file(&format!("python/data{at}"), "") };
    case.artifacts[0].1.extend((0..3).map(data));
    let report = case.report();
    assert_eq!(report.unzipped_bytes, 270_000_000);
    assert!(matches!(&report.findings[0].problem, Problem::SizeLimit { bytes: 270_000_000, limit: 262_144_000, .. }));
    assert_eq!(report.sizes[0], ("data0".to_owned(), 90_000_000));
}

#[test]
fn allowed_findings_are_kept_apart() {
    let mut report = layer(with_module(elf().exec_stack().bytes())).report();
    let allowance = Allowance { rule: Rule::NativeExecutableStack, files: None, reason: "tried".to_owned() };
    report.allow(&[allowance]);
    assert!(report.findings.is_empty());
    assert_eq!(report.allowed.len(), 1);
}
