//! Our facts about real libraries of this machine against what `readelf` says of them.

#![expect(clippy::unwrap_used, reason = "a test's helpers are tests too")]

use std::path::{Path, PathBuf};
use std::process::Command;

use layerwise::audit::elf::{ElfFacts, facts, symbol_hash};

/// `readelf` with these options; `None` if there is none.
fn readelf(options: &[&str], path: &Path) -> Option<String> {
    let output = Command::new("readelf").env("LC_ALL", "C").args(options).arg("-W").arg(path).output().ok()?;
    assert!(output.status.success(), "{}: {output:?}", path.display());
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// In brackets, on the lines with this label.
fn bracketed(text: &str, label: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.split_once(label));
    lines.filter_map(|(_, rest)| Some(rest.split_once('[')?.1.rsplit_once(']')?.0.to_owned())).collect()
}

fn paths(text: &str, label: &str) -> Vec<String> {
    bracketed(text, label).iter().flat_map(|paths| paths.split(':')).map(str::to_owned).collect()
}

/// `GLIBC_2.14@libc.so.6`
fn versions(text: &str) -> Vec<String> {
    let (mut library, mut versions) = ("", Vec::new());
    let needs = text.lines().skip_while(|line| !line.starts_with("Version needs section"));
    for line in needs.take_while(|line| !line.is_empty()) {
        if let Some((_, rest)) = line.split_once("File: ") {
            library = rest.split("  Cnt:").next().unwrap();
        } else if let Some((_, rest)) = line.split_once("Name: ") {
            let (version, rest) = rest.split_once("  Flags: ").unwrap();
            let weak = if rest.contains("WEAK") { " weak" } else { "" };
            versions.push(format!("{version}@{library}{weak}"));
        }
    }
    versions
}

/// What is undefined without a version, and what is exported.
fn symbols(text: &str) -> (Vec<String>, Vec<u64>) {
    let (mut undefined, mut exports) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().filter(|word| !word.starts_with('[')).collect();
        let [number, _, _, _, bind, visibility, section, name, ..] = words.as_slice() else { continue };
        if number.trim_end_matches(':').parse::<u32>().is_err() || *bind == "LOCAL" {
            continue;
        }
        let (name, version) = name.split_once('@').map_or((*name, None), |(name, version)| (name, Some(version)));
        if *section != "UND" && !matches!(*visibility, "HIDDEN" | "INTERNAL") {
            exports.push(symbol_hash(name.as_bytes()));
        } else if *section == "UND" && *bind != "WEAK" && version.is_none() {
            undefined.push(name.to_owned());
        }
    }
    undefined.sort_unstable();
    undefined.dedup();
    exports.sort_unstable();
    exports.dedup();
    (undefined, exports)
}

fn check(path: &Path, facts: &ElfFacts) -> Option<()> {
    let dynamic = readelf(&["-d"], path)?;
    assert_eq!(facts.needed, bracketed(&dynamic, "Shared library:"));
    assert_eq!(facts.soname, bracketed(&dynamic, "Library soname:").pop());
    assert_eq!(facts.rpath, paths(&dynamic, "Library rpath:"));
    assert_eq!(facts.runpath, paths(&dynamic, "Library runpath:"));
    assert_eq!(facts.text_relocations, dynamic.contains("TEXTREL"));
    assert_eq!(facts.relr, dynamic.contains("(RELR)"));
    assert_eq!(facts.bind_now, dynamic.contains("BIND_NOW") || dynamic.contains("Flags: NOW"));
    let segments = readelf(&["-l"], path)?;
    let stack = segments.lines().find(|line| line.contains("GNU_STACK")).unwrap_or_default();
    assert_eq!(facts.executable_stack, stack.contains("RWE") || cfg!(target_arch = "x86_64") && stack.is_empty());
    assert_eq!(
        facts.interpreter,
        bracketed(&segments, "").pop().and_then(|text| Some(text.rsplit_once(": ")?.1.to_owned()))
    );
    let shown = facts
        .versions
        .iter()
        .map(|need| format!("{}@{}{}", need.version, need.library, if need.weak { " weak" } else { "" }));
    assert_eq!(shown.collect::<Vec<_>>(), versions(&readelf(&["-V"], path)?));
    let (undefined, exports) = symbols(&readelf(&["--dyn-syms"], path)?);
    assert_eq!(facts.undefined, undefined);
    assert!(facts.exports == exports, "{} exports, but readelf has {}", facts.exports.len(), exports.len());
    Some(())
}

#[test]
fn real_libraries() {
    let mut files = vec![std::env::current_exe().unwrap()];
    for directory in ["/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/lib64"] {
        for library in ["libc.so.6", "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1", "libz.so.1", "libcrypto.so.3"] {
            files.push(Path::new(directory).join(library));
        }
    }
    let pythons = (9..=13).filter_map(|minor| Some((minor, layerwise_testkit::python(minor)?)));
    files.extend(pythons.filter_map(|(minor, python)| {
        let library: PathBuf = python.parent()?.parent()?.join(format!("lib/libpython3.{minor}.so.1.0"));
        Some(library)
    }));
    for path in files.iter().filter(|path| path.is_file()) {
        let bytes = fs_err::read(path).unwrap();
        let facts = match facts(&bytes) {
            Ok(facts) => facts,
            Err(_) if !cfg!(target_os = "linux") => return eprintln!("skipped: not on Linux"),
            Err(error) => panic!("{}: {error}", path.display()),
        };
        println!("{}: {} exports", path.display(), facts.exports.len());
        if check(path, &facts).is_none() {
            return eprintln!("skipped: no readelf here");
        }
    }
}
