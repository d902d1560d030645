//! `cargo xtask source-builds`: packages built from their source distributions, whether they have wheels or not, for
//! each target; looked at by `auditwheel`, imported and exercised by a real Python (arm64 through qemu-user).
//!
//! Each row is kept in a file of its own, so that a run goes on where another ended: `target/source-builds/rows`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use fs_err as fs;
use pep440_rs::{Version, VersionSpecifiers};
use serde_json::{Value, json};

use crate::survey::{self, TARGETS, Target, decide, page};
use crate::{root, say, verdicts};

const USAGE: &str = "usage: cargo xtask source-builds [--binary PATH] [--rustc-arm64 PATH] [--again] [--report] [NAME…]

Without names: all packages. Rows that are there are kept, unless --again; --report only writes docs/source-builds.md
from what is there. --rustc-arm64 names a rustc that has the standard library of arm64. Needs curl, python3 with venv,
Pythons 3.11 and 3.13 with headers, and for running arm64 qemu-user and what xtask/arm64-python.sh makes.";

/// A package to be built.
struct Package {
    name: &'static str,
    /// What it is made of and by.
    kind: &'static str,
    /// What it needs at run time, as wheels.
    needs: &'static [&'static str],
    /// What shows that its compiled parts work; raises if they do not.
    exercise: &'static str,
    /// Its settings in `layerwise.toml`.
    settings: &'static str,
}

const fn package(name: &'static str, kind: &'static str, exercise: &'static str) -> Package {
    Package { name, kind, needs: &[], exercise, settings: "" }
}

/// Those that take long are last.
#[rustfmt::skip]
const PACKAGES: &[Package] = &[
    package("markupsafe", "C, setuptools", "from markupsafe import _speedups, escape; assert str(escape('<a>')) == '&lt;a&gt;'"),
    package("simplejson", "C, setuptools", "from simplejson import _speedups; import simplejson; assert simplejson.loads('[1, 2.5]') == [1, 2.5]"),
    package("psutil", "C, setuptools, abi3", "import psutil; assert psutil.virtual_memory().total > 0"),
    package("regex", "C, setuptools", "import regex; assert regex.match(r'\\p{Lu}+', 'ÄB').group() == 'ÄB'"),
    package("wrapt", "C, setuptools", "import wrapt, wrapt._wrappers; assert wrapt.ObjectProxy(3) + 1 == 4"),
    package("multidict", "C, setuptools", "import multidict._multidict as m; assert m.MultiDict([('a', 1)]).getall('a') == [1]"),
    package("bitarray", "C, setuptools", "import bitarray; assert bitarray.bitarray('1011').count() == 3"),
    package("xxhash", "C, setuptools", "import xxhash; assert xxhash.xxh64(b'').hexdigest() == 'ef46db3751d8e999'"),
    package("lz4", "C, setuptools", "import lz4.frame as f; assert f.decompress(f.compress(b'a' * 999)) == b'a' * 999"),
    package("zstandard", "C and CFFI, setuptools", "import zstandard as z; assert z.backend == 'cext' and z.decompress(z.compress(b'a' * 999)) == b'a' * 999"),
    package("ujson", "C++, setuptools", "import ujson; assert ujson.dumps({'a': 1.5}) == '{\"a\":1.5}'"),
    package("greenlet", "C++ with assembler, setuptools", "import greenlet; g = greenlet.greenlet(lambda x: x + 1); assert g.switch(1) == 2"),
    package("kiwisolver", "C++, setuptools and cppy", "import kiwisolver as k; v = k.Variable('v'); s = k.Solver(); s.addConstraint(v == 3); s.updateVariables(); assert v.value() == 3\ntry: s.addConstraint(v == 4); raise SystemExit('no exception')\nexcept k.UnsatisfiableConstraint: pass"),
    package("msgpack", "Cython, setuptools", "from msgpack import _cmsgpack; import msgpack; assert msgpack.unpackb(msgpack.packb([1, 'a'])) == [1, 'a']"),
    package("frozenlist", "Cython, own backend over setuptools", "from frozenlist import _frozenlist; f = _frozenlist.FrozenList([1]); f.freeze(); assert f.frozen"),
    package("propcache", "Cython, own backend over setuptools", "from propcache import _helpers_c"),
    Package {
        needs: &["cffi", "pycparser"],
        ..package("argon2-cffi-bindings", "CFFI, setuptools", "from _argon2_cffi_bindings import ffi, lib; assert lib.ARGON2_VERSION_13 == 0x13")
    },
    Package {
        needs: &["cffi", "pycparser"],
        ..package("pynacl", "CFFI, autoconf (libsodium within)", "from nacl.secret import SecretBox; b = SecretBox(b'k' * 32); assert b.decrypt(b.encrypt(b'a')) == b'a'")
    },
    package("bcrypt", "Rust, setuptools-rust", "import bcrypt; h = bcrypt.hashpw(b'a', bcrypt.gensalt(4)); assert bcrypt.checkpw(b'a', h)"),
    Package {
        needs: &["regex", "requests", "charset-normalizer", "idna", "urllib3", "certifi"],
        ..package("tiktoken", "Rust, setuptools-rust", "import tiktoken._tiktoken as t; e = t.CoreBPE({bytes([i]): i for i in range(256)}, {}, r'\\w+|\\s+'); assert e.encode_ordinary('ab c') == [97, 98, 32, 99]")
    },
    package("cbor2", "Rust, setuptools-rust", "import cbor2; assert cbor2.loads(cbor2.dumps({'a': [1, 2.5]})) == {'a': [1, 2.5]}"),
    package("orjson", "Rust with C, maturin", "import orjson; assert orjson.dumps({'a': 1.5}) == b'{\"a\":1.5}'"),
    package("rpds-py", "Rust, maturin", "import rpds; assert rpds.HashTrieMap({'a': 1}).insert('b', 2)['b'] == 2"),
    package("pyyaml", "Cython, optional libyaml", "import yaml._yaml"),
    package("cffi", "C, needs libffi", "import _cffi_backend"),
    package("lxml", "Cython, needs libxml2 and libxslt", "import lxml.etree"),
    package("mysqlclient", "C, needs libmysqlclient", "import MySQLdb._mysql"),
    package("psycopg2", "C, needs libpq", "import psycopg2"),
    package("pillow", "C, needs libjpeg", "import PIL._imaging"),
    package("cryptography", "Rust with C, maturin, needs OpenSSL", "import cryptography.hazmat.bindings._rust"),
    package("sentencepiece", "C++, CMake", "import sentencepiece._sentencepiece"),
    package("snowflake-connector-python", "Cython C++ and Rust, setuptools", "import snowflake.connector"),
    Package {
        needs: &["typing-extensions"],
        ..package("pydantic-core", "Rust, maturin", "from pydantic_core import SchemaValidator; assert SchemaValidator({'type': 'int'}).validate_python('3') == 3")
    },
    Package {
        needs: &["rapidfuzz"],
        ..package("levenshtein", "Cython C++, scikit-build-core, CMake", "from Levenshtein import levenshtein_cpp as l; assert l.distance('abc', 'abd') == 1")
    },
    Package {
        needs: &["numpy"],
        ..package("contourpy", "C++ (pybind11), Meson", "import contourpy; assert contourpy.contour_generator(z=[[0, 1], [1, 2]]).lines(0.5)")
    },
    Package {
        needs: &["greenlet", "zope-event", "zope-interface", "setuptools"],
        ..package("gevent", "Cython, CFFI, autoconf (libev, c-ares within)", "import gevent, gevent.resolver.cares, gevent.libev.corecext; assert gevent.spawn(lambda: 3).get() == 3")
    },
    package("rapidfuzz", "Cython C++, scikit-build-core, CMake, processor dispatch", "from rapidfuzz import fuzz_cpp; assert fuzz_cpp.ratio('abc', 'abc') == 100"),
    Package {
        settings: "[compile.numpy]\nconfig-settings = { setup-args = [\"-Dallow-noblas=true\", \"-Dblas=none\", \"-Dlapack=none\"] }\n",
        ..package("numpy", "C, C++, Cython, Meson, processor dispatch", "import numpy as n; assert (n.arange(6).reshape(2, 3) @ n.ones(3)).sum() == 15")
    },
];

/// The longest that one build may take, in seconds.
const LIMIT: &str = "3600";

/// Runs it.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let (mut binary, mut rustc, mut again, mut only_report) = (None, None, false, false);
    let mut names = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--binary" => binary = Some(PathBuf::from(args.next().ok_or(USAGE)?)),
            "--rustc-arm64" => rustc = Some(PathBuf::from(args.next().ok_or(USAGE)?)),
            "--again" => again = true,
            "--report" => only_report = true,
            name if !name.starts_with('-') => names.push(name.to_owned()),
            _ => return Err(USAGE.to_owned()),
        }
    }
    let directory = root().join("target/source-builds");
    fs::create_dir_all(directory.join("rows")).map_err(|error| error.to_string())?;
    if !only_report {
        let layerwise = binary.map_or_else(survey::built, Ok)?;
        let auditwheel = verdicts::auditwheel(&directory.join("venv"))?;
        let place = Place { directory: directory.clone(), layerwise, auditwheel, rustc };
        let wanted = |package: &&Package| names.is_empty() || names.iter().any(|name| name == package.name);
        for package in PACKAGES.iter().filter(wanted) {
            for target in &TARGETS {
                let file = directory.join("rows").join(format!("{}.json", stem(package, target)));
                if file.exists() && !again {
                    continue;
                }
                let row = place.row(package, target)?;
                say(&format!("{}: {row}", stem(package, target)));
                fs::write(file, format!("{row:#}\n")).map_err(|error| error.to_string())?;
            }
        }
    }
    let report = report(&directory.join("rows"))?;
    fs::write(root().join("docs/source-builds.md"), report).map_err(|error| error.to_string())
}

fn stem(package: &Package, target: &Target) -> String {
    format!("{}-{}-{}", package.name, target.runtime, target.architecture)
}

/// Where everything is.
struct Place {
    directory: PathBuf,
    layerwise: PathBuf,
    auditwheel: PathBuf,
    rustc: Option<PathBuf>,
}

impl Place {
    /// Builds one package for one target, and looks at what came of it.
    fn row(&self, package: &Package, target: &Target) -> Result<Value, String> {
        let project = self.directory.join("projects").join(stem(package, target));
        drop(fs::remove_dir_all(&project));
        fs::create_dir_all(&project).map_err(|error| error.to_string())?;
        let (version, lock) = lock(package, target)?;
        let mut row = json!({ "version": version, "built": false, "exercised": "" });
        fs::write(project.join("pylock.toml"), lock).map_err(|error| error.to_string())?;
        if !package.settings.is_empty() {
            fs::write(project.join("layerwise.toml"), package.settings).map_err(|error| error.to_string())?;
        }
        let zip = project.join("layer.zip");
        let mut command = Command::new("timeout");
        command.args([LIMIT, "sh"]);
        // The shell tells the processor time of all that it waited for.
        command.args(["-c", "\"$@\"; code=$?; times > times; exit $code", "sh"]).arg(&self.layerwise);
        command.arg("build").args(["--json", "--name", "layer", "--compile", package.name]);
        command.args(["--runtime", target.runtime, "--arch", target.architecture, "-o"]).arg(&zip);
        command.arg(&project).env("LAYERWISE_CACHE_DIR", self.directory.join("cache")).current_dir(&project);
        if let (Some(rustc), "arm64") = (&self.rustc, target.architecture) {
            command.env("RUSTC", rustc);
        }
        let started = Instant::now();
        let output = output(&mut command)?;
        row["seconds"] = json!(started.elapsed().as_secs_f64());
        row["processor_seconds"] = json!(processor_seconds(&project.join("times")));
        if !output.status.success() {
            row["why"] = json!(words(&String::from_utf8_lossy(&output.stderr)));
            return Ok(row);
        }
        row["built"] = json!(true);
        let document: Value = serde_json::from_slice(&output.stdout).map_err(|error| format!("its JSON: {error}"))?;
        let packages = document["layers"][0]["packages"].as_array().cloned().unwrap_or_default();
        let of_package = packages.iter().find(|one| one["name"] == package.name).cloned().unwrap_or_default();
        let (wheel, sha256) = (text(&of_package, "wheel"), text(&of_package, "sha256"));
        let copy = project.join(wheel);
        fs::copy(self.directory.join(format!("cache/wheels-v1/{sha256}.whl")), &copy)
            .map_err(|error| error.to_string())?;
        row["wheel"] = json!(wheel);
        let mut command = Command::new(&self.auditwheel);
        command.args(["show", "--json", "--ldpaths", ""]).arg(&copy);
        let shown: Value = serde_json::from_slice(&self::output(&mut command)?.stdout).unwrap_or_default();
        row["auditwheel"] = shown["overall_tag"].clone();
        row["symbols"] = json!(highest(&shown["versioned_symbols"]));
        row["exercised"] = json!(self.exercise(package, target, &project, &zip)?);
        Ok(row)
    }

    /// `yes`, or why not.
    fn exercise(&self, package: &Package, target: &Target, project: &Path, zip: &Path) -> Result<String, String> {
        let layer = project.join("layer");
        let unpack = "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])";
        let unpacked = output(Command::new("python3").args(["-c", unpack]).arg(zip).arg(&layer))?;
        if !unpacked.status.success() {
            return Err(String::from_utf8_lossy(&unpacked.stderr).into_owned());
        }
        let mut command = match target.architecture {
            "arm64" => {
                let name = if target.minor == 11 {
                    "arm64-python".to_owned()
                } else {
                    format!("arm64-python3.{}", target.minor)
                };
                let sysroot = root().join("target").join(name);
                let python = sysroot.join(format!("usr/bin/python3.{}", target.minor));
                if !python.exists() {
                    return Ok(format!("not run: no arm64 Python 3.{} here", target.minor));
                }
                let mut command = Command::new("qemu-aarch64-static");
                command.arg("-L").arg(&sysroot).arg(python).env("PYTHONHOME", sysroot.join("usr"));
                command
            }
            _ => match layerwise_testkit::python(u8::try_from(target.minor).unwrap_or_default()) {
                Some(python) => Command::new(python),
                None => return Ok(format!("not run: no Python 3.{} here", target.minor)),
            },
        };
        command.args(["-B", "-s", "-c", package.exercise]).env("PYTHONPATH", layer.join("python"));
        let output = output(&mut command)?;
        if output.status.success() {
            return Ok("yes".to_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it crashed");
        Ok(format!("no: {last}"))
    }
}

fn output(command: &mut Command) -> Result<Output, String> {
    let program = command.get_program().to_owned();
    let output = command.stdin(Stdio::null()).output();
    output.map_err(|error| format!("failed to run `{}`: {error}", program.display()))
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_default()
}

/// The newest source distribution, and a lock with nothing but it and wheels of what it needs.
fn lock(package: &Package, target: &Target) -> Result<(String, String), String> {
    const INDEX: &str = "https://pypi.org/simple";
    let entry = |file: &Value| {
        format!(
            "{{ name = {}, url = {}, hashes = {{ sha256 = {} }} }}",
            file["filename"], file["url"], file["hashes"]["sha256"]
        )
    };
    let mut lock = "lock-version = \"1.0\"\ncreated-by = \"xtask\"\n".to_owned();
    let own = page(package.name, INDEX)?;
    let (version, file) = newest_source(&own, target).ok_or("it has no source distribution")?;
    put(
        &mut lock,
        &format!("[[packages]]\nname = \"{}\"\nversion = \"{version}\"\nsdist = {}\n", package.name, entry(file)),
    );
    for need in package.needs {
        let page = page(need, INDEX)?;
        let (version, wheel) = decide(&page, target).ok_or_else(|| format!("{need} has no wheel"))?;
        let files = page["files"].as_array().map(Vec::as_slice).unwrap_or_default();
        let file = files.iter().find(|file| file["filename"] == wheel.as_str()).ok_or("the index changed")?;
        put(
            &mut lock,
            &format!("[[packages]]\nname = \"{need}\"\nversion = \"{version}\"\nwheels = [{}]\n", entry(file)),
        );
    }
    Ok((version.to_string(), lock))
}

fn newest_source<'p>(page: &'p Value, target: &Target) -> Option<(Version, &'p Value)> {
    let python: Version = target.python.parse().ok()?;
    let files = page["files"].as_array().map(Vec::as_slice).unwrap_or_default();
    let candidates = files.iter().filter_map(|file| {
        let version: Version = text(file, "filename").strip_suffix(".tar.gz")?.rsplit_once('-')?.1.parse().ok()?;
        let admits = file["requires-python"].as_str().and_then(|text| text.parse::<VersionSpecifiers>().ok());
        let yanked = !matches!(file["yanked"], Value::Null | Value::Bool(false));
        let fits = admits.is_none_or(|admits| admits.contains(&python));
        (fits && !yanked && !version.any_prerelease()).then_some((version, file))
    });
    candidates.max_by(|a, b| a.0.cmp(&b.0))
}

/// User and system time of a shell's children: the last line of what `times` prints, `0m1.2s 0m0.3s`.
fn processor_seconds(file: &Path) -> Option<f64> {
    let text = fs::read_to_string(file).ok()?;
    let parts = text.lines().last()?.split_whitespace().map(|one| {
        let (minutes, seconds) = one.strip_suffix('s')?.split_once('m')?;
        Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
    });
    parts.sum()
}

/// The highest version that is asked of each library: `GLIBC_2.25`.
fn highest(symbols: &Value) -> Vec<String> {
    let mut highest = std::collections::BTreeMap::<String, Vec<u64>>::new();
    for symbol in
        symbols.as_object().into_iter().flat_map(|all| all.values()).flat_map(|list| list.as_array()).flatten()
    {
        let Some((family, version)) = symbol.as_str().and_then(|symbol| symbol.rsplit_once('_')) else { continue };
        let Ok(version) = version.split('.').map(str::parse).collect::<Result<Vec<u64>, _>>() else { continue };
        let best = highest.entry(family.to_owned()).or_default();
        *best = best.clone().max(version);
    }
    let shown = |(family, version): (String, Vec<u64>)| {
        format!("{family}_{}", version.iter().map(u64::to_string).collect::<Vec<_>>().join("."))
    };
    highest.into_iter().map(shown).collect()
}

/// The error and the first hint, on one line.
fn words(stderr: &str) -> String {
    let lines: Vec<&str> = stderr.lines().map(str::trim).collect();
    let error = lines.iter().position(|line| line.starts_with("error"));
    let hint = lines.iter().find(|line| line.starts_with("hint") && !line.contains("whole log"));
    let error = error.map_or_else(|| lines.last().copied().unwrap_or_default(), |at| lines[at]);
    std::iter::once(error).chain(hint.copied()).collect::<Vec<_>>().join(" — ").replace('|', "\\|")
}

fn report(rows: &Path) -> Result<String, String> {
    let mut table = String::new();
    let (mut cases, mut built, mut exercised, mut missing) = (0, 0, 0, 0);
    for package in PACKAGES {
        for target in &TARGETS {
            let Ok(bytes) = fs::read(rows.join(format!("{}.json", stem(package, target)))) else {
                missing += 1;
                continue;
            };
            let row: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
            cases += 1;
            let is_built = row["built"] == true;
            built += usize::from(is_built);
            exercised += usize::from(row["exercised"] == "yes");
            let symbols = row["symbols"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let symbols = symbols.collect::<Vec<_>>().join(", ");
            let outcome = if is_built { "yes".to_owned() } else { format!("**no**: {}", text(&row, "why")) };
            let seconds = |field: &str| row[field].as_f64().map_or("?".to_owned(), |seconds| format!("{seconds:.0}"));
            put(
                &mut table,
                &format!(
                    "| {} {} | {} | {} {} | {outcome} | {symbols} | {} | {} | {} / {} |\n",
                    package.name,
                    text(&row, "version"),
                    package.kind,
                    target.runtime.trim_start_matches("python"),
                    target.architecture,
                    text(&row, "auditwheel").trim_start_matches("manylinux_"),
                    text(&row, "exercised"),
                    seconds("seconds"),
                    seconds("processor_seconds"),
                ),
            );
        }
    }
    Ok(format!(
        "# Packages built from source\n\n\
         Written by `cargo xtask source-builds`: the newest source distribution of each package, built by `layerwise build\n\
         --compile` for python3.11 (glibc 2.26) and python3.13 (glibc 2.34) on x86_64, although most have wheels. *Symbols* and\n\
         *auditwheel* are what `auditwheel show` says of the wheel. *Exercised*: its compiled parts imported and used by a\n\
         CPython of that minor version; arm64 by Debian's, through qemu-user (a Graviton was not at hand). *Time* in seconds: on\n\
         the wall, and of the processor; two cores that had other work, so the wall says little. The first C++ package of a\n\
         target makes the C++ runtime too (about 35 s of the processor). Sources and build requirements are fetched within it.\n\n\
         {} packages, {cases} cases: {built} built, {} not; {exercised} exercised{}.\n\n\
         | package | kind | target | built | symbols | auditwheel | exercised | time |\n|---|---|---|---|---|---|---|---|\n{table}",
        PACKAGES.len(),
        cases - built,
        if missing == 0 { String::new() } else { format!("; {missing} cases were not tried") },
    ))
}

fn put(text: &mut String, more: &str) {
    text.write_str(more).expect("a string takes all");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_symbols() {
        let symbols = json!({ "libc.so.6": ["GLIBC_2.4", "GLIBC_2.14", "GLIBC_PRIVATE"], "libstdc++.so.6": ["GLIBCXX_3.4.9", "GLIBCXX_3.4"] });
        assert_eq!(highest(&symbols), ["GLIBC_2.14", "GLIBCXX_3.4.9"]);
    }

    #[test]
    fn the_newest_source_that_the_python_admits() {
        let file = |name: &str, python: &str| json!({ "filename": name, "requires-python": python, "yanked": false });
        let page = json!({ "files": [file("a-1.9.tar.gz", ">=3.8"), file("a-1.10.tar.gz", ">=3.8"), file("a-2.0.tar.gz", ">=3.12"), file("a-3.0rc1.tar.gz", ">=3.8")] });
        let version = |target: &Target| newest_source(&page, target).map(|(version, _)| version.to_string());
        assert_eq!(TARGETS.iter().map(version).collect::<Option<Vec<_>>>().unwrap(), ["1.10", "1.10", "2.0", "2.0"]);
    }

    #[test]
    fn words_of_a_failure() {
        let stderr = "note: x\nerror: failed to build `a`: b | c\nhint: the whole log is in `x`\nhint: do this\n";
        assert_eq!(words(stderr), "error: failed to build `a`: b \\| c — hint: do this");
    }
}
