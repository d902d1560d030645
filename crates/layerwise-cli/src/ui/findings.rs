//! The words for findings: what is the matter, what Lambda would say, and the way out. `docs/findings.md` is made from
//! this file.

use layerwise::audit::finding::{Absent, Format, Link, Miss, Mode, Recorded, Root, Stale, Unused, Use};
use layerwise::audit::{Finding, Problem, Rule};
use layerwise::model::{Runtime, Target};

use super::human::size;

/// A finding in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Words {
    /// What is the matter, one sentence without a full stop.
    pub(crate) text: String,
    /// What Lambda would say, where it would say something.
    pub(crate) lambda: Option<String>,
    /// What to do about it.
    pub(crate) way_out: String,
}

/// The words for a finding; `handler` is the function's, where it is known.
pub(crate) fn words(finding: &Finding, target: Target, handler: Option<&str>) -> Words {
    let runtime = target.runtime.name.as_str();
    let at = finding.at.as_deref().unwrap_or_default();
    let package = finding.package.as_ref().map_or("the package", |name| name.as_str());
    let handler_module = handler.and_then(|handler| handler.rsplit_once('.')).map(|(module, _)| module);
    let import_error = |why: &str| {
        let unable =
            handler_module.map_or_else(|| "…".to_owned(), |module| format!("Unable to import module '{module}'"));
        Some(format!("Runtime.ImportModuleError: {unable}: {why}"))
    };
    let rebuild = |what: &str| format!("take a wheel that is made for {what}: `layerwise build` does");
    let (text, lambda, way_out) = match &finding.problem {
        Problem::NativeFormat { is, .. } => {
            let (what, says) = match is {
                Format::MachO => ("a macOS library", "invalid ELF header"),
                Format::Pe => ("a Windows library", "invalid ELF header"),
                Format::LfsPointer => ("a Git LFS pointer, not the file itself", "invalid ELF header"),
                Format::Empty => ("empty", "file too short"),
                Format::Text => ("text, not a Linux library", "invalid ELF header"),
                Format::Unknown => ("not a Linux library", "invalid ELF header"),
            };
            let way_out = match is {
                Format::LfsPointer => "run `git lfs pull` before packing".to_owned(),
                _ => rebuild("Linux"),
            };
            (format!("it is {what}"), import_error(&format!("{at}: {says}")), way_out)
        }
        Problem::NativeDamaged { what } => (
            format!("the loader would refuse it: {what}"),
            import_error(&format!("{at}: {what}")),
            "get the file again; was it cut off or changed after it was built?".to_owned(),
        ),
        Problem::NativeArchitecture { is, target: wanted, .. } => (
            format!("it is for {is}, the function is {wanted}"),
            import_error(&format!("{at}: cannot open shared object file: No such file or directory")),
            rebuild(&format!("{wanted} (`--arch {wanted}`)")),
        ),
        Problem::NativeGlibc { version, library, has } if version == "GLIBC_PRIVATE" => (
            format!(
                "it uses private parts of {library} ({version}), which change with every release; {runtime} has glibc {has}"
            ),
            None,
            format!("ask the makers of {package} for a wheel without them, or take another version"),
        ),
        Problem::NativeGlibc { version, library, has } => (
            format!("it needs {version} of {library}, {runtime} has glibc {has}"),
            import_error(&format!("/lib64/{library}: version `{version}' not found (required by {at})")),
            format!(
                "take a wheel of {package} for {} or older (`layerwise build` does), or a runtime with a newer glibc",
                manylinux(has, target)
            ),
        ),
        Problem::NativeSymbolVersion { version, library, has, newer_images_have_it: true } => (
            format!(
                "it needs {version} of {library}; images of Amazon Linux 2023 have had it since 2025-03, the managed runtime is only known to have {has}"
            ),
            None,
            "try it on Lambda before you rely on it, or take a wheel that was built with an older compiler".to_owned(),
        ),
        Problem::NativeSymbolVersion { version, library, has, .. } => (
            format!("it needs {version} of {library}, {runtime} has {has}"),
            import_error(&format!("/lib64/{library}: version `{version}' not found (required by {at})")),
            format!("take a wheel of {package} that was built with an older compiler, or a newer runtime"),
        ),
        Problem::NativeMusl { library } => (
            format!("it is made for musl (Alpine): it needs {library}"),
            import_error(&format!("{library}: cannot open shared object file: No such file or directory")),
            rebuild("glibc (manylinux, not musllinux)"),
        ),
        Problem::NativeLibraryMissing { library, usage, bundled_elsewhere, known } => {
            let mut text = format!("it needs {library}, which is neither in the artifact nor on Lambda");
            match known {
                Some(Absent::InBaseImage) => text += " (AWS's public base image has it, the managed runtime does not)",
                Some(Absent::WhiteListed) => text += " (although manylinux wheels may count on it)",
                None => {}
            }
            if *bundled_elsewhere {
                text += "; a copy with a hash in its name is here, for another file";
            }
            text += match usage {
                Use::Certain => "",
                Use::Guarded => "; it is imported only when asked for",
                Use::Loose => "; nothing imports it, it may be opened by path",
            };
            let says = format!("{library}: cannot open shared object file: No such file or directory");
            (text, import_error(&says), without_library(library, package))
        }
        Problem::NativeLibraryUnreachable { library, at: found } => (
            format!(
                "it needs {library}, which is at {found}, where the loader does not look (its own RPATH, LD_LIBRARY_PATH, /opt/lib)"
            ),
            import_error(&format!("{library}: cannot open shared object file: No such file or directory")),
            format!("fine if {package} loads {library} itself first; else put it into `lib/` of the layer"),
        ),
        Problem::NativeLibraryIncidental { library } if library.starts_with("libpython") => (
            format!(
                "it is linked to {library}: the managed runtime keeps it in /var/lang/lib, which AWS does not promise"
            ),
            None,
            format!("take another wheel of {package}: extension modules need no libpython (PEP 513)"),
        ),
        Problem::NativeLibraryIncidental { library } => (
            format!("it needs {library}, which has been seen on {runtime} but is promised nowhere"),
            None,
            format!(
                "take a wheel of {package} that brings {library} itself, or try it on Lambda before you rely on it"
            ),
        ),
        Problem::NativeLibraryShadowed { library, bundled, system } => (
            format!("it needs {library} and does not get {bundled}: the loader finds {system} first"),
            None,
            format!(
                "if {package} needs its own copy, it has to be found by an RPATH (not a RUNPATH) or to have a name of its own, as `auditwheel repair` gives it"
            ),
        ),
        Problem::NativeSymbolMissing { symbols, more, usage, python } => {
            let names = listed(symbols, *more);
            let mut text = format!(
                "it needs {names}, which nothing provides: no file here, no library it needs, neither the Python nor the glibc of {runtime}"
            );
            text += match usage {
                Use::Certain => "",
                _ => "; it is loaded only when asked for",
            };
            let first = symbols.first().map(String::as_str).unwrap_or_default();
            let way_out = if *python {
                rebuild(&format!("Python 3.{}", target.runtime.minor))
            } else {
                format!(
                    "take a wheel of {package} that was built against glibc {} or older; a wheel's tag does not show this",
                    target.runtime.glibc
                )
            };
            (text, import_error(&format!("{at}: undefined symbol: {first}")), way_out)
        }
        Problem::NativeInstructions { level, has } => (
            format!("it says that it needs {level}; Lambda's processors promise {has}"),
            Some("Runtime.ExitError: Runtime exited with error: signal: illegal instruction".to_owned()),
            format!("take a wheel of {package} that chooses its instructions when it runs"),
        ),
        Problem::NativeExecutableStack => (
            "it asks for an executable stack, which makes the whole process's stacks executable".to_owned(),
            None,
            "works today; newer C libraries refuse it: tell its makers (`-z noexecstack`)".to_owned(),
        ),
        Problem::NativeTextRelocations => (
            "it has text relocations: the loader has to make its code writable".to_owned(),
            None,
            "works today; tell its makers to compile with `-fPIC`".to_owned(),
        ),
        Problem::NativeBuildPath { path } => (
            format!("it looks for libraries in {path}, a directory of the machine it was built on"),
            None,
            "harmless as long as what it needs is found elsewhere".to_owned(),
        ),
        Problem::AbiMismatch { suffix, wants, module, otherwise_there } => {
            let text = format!(
                "{runtime} on {} does not see `{module}` in it: its name ends in `{suffix}`, not in `{wants}`",
                target.architecture
            );
            if *otherwise_there {
                (format!("{text}; `{module}` is there in another file"), None, "dead weight: `exclude` it".to_owned())
            } else {
                let says = format!("No module named '{module}'");
                (text, import_error(&says), rebuild(&format!("{runtime} {}", target.architecture)))
            }
        }
        Problem::AbiUnmarked { module } => (
            format!("nothing in its name says which Python `{module}` is for"),
            None,
            "fine if it was built for this runtime".to_owned(),
        ),
        Problem::WheelTag { tags, compiled } => {
            let shown = listed(tags.get(..3).unwrap_or(tags), tags.len().saturating_sub(3));
            let what = if *compiled { "" } else { " (nothing in it is compiled)" };
            (
                format!(
                    "{package} was installed from a wheel for {shown}{what}, which does not fit {runtime} {}",
                    target.architecture
                ),
                None,
                rebuild(&format!("{runtime} {}", target.architecture)),
            )
        }
        Problem::WheelTagUntrue { tag, version, example } => (
            format!("the wheel's tag promises {tag}, but {example} needs {version}"),
            None,
            "fine here; on a system as old as the tag promises it would not load".to_owned(),
        ),
        Problem::WheelFallback { tag } => (
            format!(
                "{package} is a wheel for {tag} with nothing compiled in it: was its compiled part left out when it was built?"
            ),
            None,
            format!("compare with the wheels of {package} on the index; the slow pure-Python code will be used"),
        ),
        Problem::ImportMissing { module, line, chain, why } => {
            let by = by(finding, *line, chain);
            let says = import_error(&format!("No module named '{module}'"));
            match why {
                Miss::Setuptools => (
                    format!("`{module}` is part of setuptools, which {runtime} does not bring; {by}"),
                    says,
                    "add `setuptools<81` to the requirements, or take a newer version of what imports it".to_owned(),
                ),
                Miss::OtherSystem => (
                    format!("`{module}` exists on other operating systems only; {by}"),
                    says,
                    "that code is not for Linux".to_owned(),
                ),
                Miss::Later { since } => (
                    format!("`{module}` came with Python 3.{since}; {by}"),
                    says,
                    format!("take python3.{since}, or an older version of what imports it"),
                ),
                Miss::Submodule => (
                    format!("`{module}` is not in the `{}` that is here; {by}", top(module)),
                    says,
                    "is another version of that package wanted, or was a part of it left out?".to_owned(),
                ),
                Miss::Nowhere | Miss::Unloadable => (
                    format!("`{module}` is neither here nor in {runtime}; {by}"),
                    says,
                    format!(
                        "add the package that brings `{}` to the requirements, or name its layer with `--layer`",
                        top(module)
                    ),
                ),
            }
        }
        Problem::ImportRemoved { module, line, chain, last, replacement } => (
            format!(
                "`{module}` left the standard library: Python 3.{last} is the last that has it; {}",
                by(finding, *line, chain)
            ),
            import_error(&format!("No module named '{module}'")),
            match replacement {
                Some(replacement) => format!("{replacement}, or take a newer version of what imports it"),
                None => "take a newer version of what imports it".to_owned(),
            },
        ),
        Problem::PythonSyntax { line, message, .. } => {
            let place = if *line == 0 { String::new() } else { format!("line {line}: ") };
            (
                format!("{runtime} cannot read it: {place}{message}"),
                Some(format!(
                    "Runtime.UserCodeSyntaxError: Syntax error in module '{}': {message} ({}, line {line})",
                    handler_module.unwrap_or("…"),
                    file_name(at)
                )),
                format!("take a version of {package} for this Python; files that nothing imports do no harm"),
            )
        }
        Problem::PythonUnread { why } => {
            (format!("it was not looked into: {why}"), None, "what it imports is not known".to_owned())
        }
        Problem::Handler { error_type, message, .. } => (
            message.clone(),
            Some(format!("{error_type}: {message}")),
            "a handler is `file.function`, the file at the top of the function's package or of a layer".to_owned(),
        ),
        Problem::RequirementMissing { requirement, by } => (
            format!("{by} requires {requirement}, which is neither here nor in {runtime}"),
            import_error("No module named …"),
            "add it, or name the layer that has it with `--layer`".to_owned(),
        ),
        Problem::RequirementVersion { requirement, by, found, from_runtime } => {
            let whose = if *from_runtime { format!("{runtime} brings") } else { "here is".to_owned() };
            (
                format!("{by} requires {requirement}, {whose} {found}"),
                None,
                "resolve the requirements together: `layerwise build` does".to_owned(),
            )
        }
        Problem::RequiresPython { specifier } => (
            format!("{package} says that it is for Python {specifier}; {runtime} is {}", target.runtime.python),
            None,
            format!("take a version of {package} for this Python"),
        ),
        Problem::DistributionTwice { versions } => (
            match versions.as_slice() {
                [one] => format!("{package} {one} is here twice"),
                many => format!("{package} is here in several versions: {}", many.join(", ")),
            },
            None,
            "their files are mixed: build the artifact anew from nothing, or leave one layer out".to_owned(),
        ),
        Problem::SdkSplit { here, from_runtime, conflict } => {
            let split = format!(
                "of the AWS SDK only {} here, the rest is {runtime}'s ({})",
                are(here),
                from_runtime.join(", ")
            );
            (
                match conflict {
                    Some(conflict) => format!("{split}, and they do not go together: {conflict}"),
                    None => format!("{split}, which AWS changes without notice"),
                },
                None,
                "bring boto3, botocore and s3transfer together, or none of them (`--exclude-runtime-packages`)"
                    .to_owned(),
            )
        }
        Problem::Record { what: Recorded::Changed, more } => (
            format!("its bytes are not those that {package} installed{}", and_more(*more)),
            None,
            "changed after it was installed (stripped? patched?): build the artifact anew if you did not mean to"
                .to_owned(),
        ),
        Problem::Record { what: Recorded::Missing, more } => (
            format!(
                "{} of the files that {package} installed {} not here",
                more + 1,
                if *more == 0 { "is" } else { "are" }
            ),
            None,
            "fine if they were left out on purpose".to_owned(),
        ),
        Problem::OwnedTwice { other } => (
            format!("both {other} and {package} bring it; the one installed last won"),
            None,
            "drop one of the two packages".to_owned(),
        ),
        Problem::LayoutRoot { what } => {
            let (text, way_out) = match what {
                Root::Wrapped { folder } => (
                    format!("everything is in a folder `{folder}/`: Python looks in `python/` at the top of a layer"),
                    format!("zip the contents of `{folder}`, not `{folder}` itself"),
                ),
                Root::Bare => (
                    "packages are at the top: Python looks in `python/` of a layer".to_owned(),
                    "put them into a folder `python/`; if this is a function's package, say `--as function`".to_owned(),
                ),
                Root::Nested { zip } => {
                    (format!("it is a zip that holds a zip: `{zip}`"), format!("upload `{zip}` itself"))
                }
                Root::Nothing => (
                    "there is nothing in it that Lambda would use: no `python/`, `lib/`, `bin/` or `extensions/`"
                        .to_owned(),
                    "put packages into a folder `python/`".to_owned(),
                ),
                Root::FunctionWrapped { folder } => (
                    format!("everything is in a folder `{folder}/`: the handler's file has to be at the top"),
                    format!("zip the contents of `{folder}`, or call the handler `{folder}/….handler`"),
                ),
            };
            (text, import_error("No module named …"), way_out)
        }
        Problem::LayoutUnused { directory, why } => {
            let text = match why {
                Unused::OtherPython => format!(
                    "`{directory}` is for another Python: {runtime} looks in `python/lib/python3.{}/site-packages` and `python`",
                    target.runtime.minor
                ),
                Unused::Lib64 => format!(
                    "`{directory}` is on no path: a virtual environment puts compiled packages there on Red Hat's systems"
                ),
                Unused::Venv => format!("`{directory}` is on no path: is a virtual environment packed as a whole?"),
            };
            (
                text,
                import_error("No module named …"),
                "install with `--target python`, not `--prefix` or into a virtual environment".to_owned(),
            )
        }
        Problem::StdlibShadowed { module } => (
            format!("it hides `{module}` of the standard library: layers and function come first on Lambda's path"),
            None,
            match &finding.package {
                Some(package) => format!("rename it, or drop the package that brings it ({package})"),
                None => "rename it".to_owned(),
            },
        ),
        Problem::PthFile { runs, adds } => (
            match runs {
                Some(line) => format!("it is run at every cold start: `{}`", clipped(line)),
                None => format!("it adds to the path: {}", listed(adds, 0)),
            },
            None,
            "leave it out if nothing needs it; a path of another machine leads nowhere (an editable install?)"
                .to_owned(),
        ),
        Problem::BytecodeUseless { why, files } => {
            let why = match why {
                Stale::Timestamp => "remembers another time of its source than the artifact has",
                Stale::OtherPython => "is of another Python",
            };
            (
                format!(
                    "bytecode in {} {why}: it is compiled again at every cold start, as the file system is read-only",
                    counted(*files, "file")
                ),
                None,
                "leave `__pycache__` out, or compile with `--invalidation-mode unchecked-hash`".to_owned(),
            )
        }
        Problem::ZipMember { what } => (
            format!("it {what}"),
            Some("InvalidParameterValueException: Could not unzip uploaded file. Please check your file, then try to upload again.".to_owned()),
            "make the zip anew with another tool".to_owned(),
        ),
        Problem::CaseCollision { other } => (
            format!("its name and `{other}` differ in upper and lower case only"),
            None,
            "fine on Lambda; on macOS and Windows one of the two is lost".to_owned(),
        ),
        Problem::Symlink { target: to, what } => (
            match what {
                Link::Escapes => format!("it leads out of the artifact, to `{to}`"),
                Link::Dangling => format!("it leads to `{to}`, which is not there"),
            },
            None,
            "put the file itself there".to_owned(),
        ),
        Problem::FileMode { mode, what } => match what {
            Mode::Unreadable => (
                format!("its mode is {mode}: the function's user may not read it"),
                Some(format!("PermissionError: [Errno 13] Permission denied: '{at}'")),
                "`chmod -R a+rX` before zipping".to_owned(),
            ),
            Mode::NotExecutable => (
                format!("its mode is {mode}: Lambda cannot start it as an extension"),
                Some("Extension.LaunchError".to_owned()),
                "`chmod a+x` before zipping".to_owned(),
            ),
        },
        Problem::FileTime { time, files } => (
            format!("no zip can hold its time of modification ({time}){}", and_more(files.saturating_sub(1))),
            None,
            "a zip holds times from 1980 to 2107: set SOURCE_DATE_EPOCH, or `touch` the files".to_owned(),
        ),
        Problem::LayerConflict { path, winner, loser, files } => (
            format!("{winner} replaces {} of {loser}, among them {path}", counted(*files, "file")),
            None,
            "build one layer of both, or take packages that both have out of one of them".to_owned(),
        ),
        Problem::LayerCount { layers } => (
            format!("{layers} layers; a function may have 5"),
            Some("InvalidParameterValueException: Cannot reference more than 5 layers.".to_owned()),
            "build one layer of several".to_owned(),
        ),
        Problem::SizeLimit { bytes, limit, largest } => {
            let largest: Vec<String> =
                largest.iter().take(5).map(|(name, bytes)| format!("{name} {}", size(*bytes))).collect();
            (
                format!(
                    "{} unzipped, function and layers together; Lambda takes {} ({})",
                    size(*bytes),
                    size(*limit),
                    largest.join(", ")
                ),
                Some(format!("InvalidParameterValueException: Unzipped size must be smaller than {limit} bytes")),
                "leave something out (`exclude`), drop a package, or make a container image".to_owned(),
            )
        }
        Problem::SizeUpload { bytes, limit } => (
            format!("{} zipped, more than the {} that Lambda takes directly", size(*bytes), size(*limit)),
            Some(format!("RequestEntityTooLargeException: Zipped size must be smaller than {limit} bytes")),
            "upload it through S3".to_owned(),
        ),
        Problem::PythonpathSet { value } => (
            format!("PYTHONPATH is set ({value}): Lambda then leaves the layers' directories off the path"),
            import_error("No module named …"),
            format!("unset it, or add /opt/python and /opt/python/lib/python3.{}/site-packages", target.runtime.minor),
        ),
        Problem::RunFailed { module, error_type, message, chain } => (
            format!("`import {module}` failed: {error_type}: {message}{}", along(chain)),
            lambda_of(error_type, message, handler.unwrap_or(module)),
            "see where it failed; the static findings may say why".to_owned(),
        ),
        Problem::RunCrashed { module, signal, last } => (
            format!(
                "`import {module}` killed Python with {signal}{}",
                last.as_ref().map(|last| format!(", while importing `{last}`")).unwrap_or_default()
            ),
            Some(format!("Runtime.ExitError: Runtime exited with error: signal: {signal}")),
            format!("take another version of {package}"),
        ),
        Problem::RunTimeout { module, seconds, last } => (
            format!(
                "`import {module}` did not end within {seconds} s{}",
                last.as_ref().map(|last| format!(", while importing `{last}`")).unwrap_or_default()
            ),
            Some("Sandbox.Timedout: Task timed out after … seconds".to_owned()),
            "does it wait for the network? Lambda's INIT has 10 s".to_owned(),
        ),
        Problem::RunLimited { why } => (why.clone(), None, "the static check stands by itself".to_owned()),
        Problem::AllowanceUnused { rule, files, reason } => (
            format!(
                "the allowance of `{rule}`{} (\"{reason}\") matches nothing",
                files.as_ref().map(|files| format!(" for `{files}`")).unwrap_or_default()
            ),
            None,
            "remove it from the configuration".to_owned(),
        ),
    };
    Words { text, lambda, way_out }
}

/// What awslambdaric makes of an exception at import.
fn lambda_of(error_type: &str, message: &str, module: &str) -> Option<String> {
    let module = module.rsplit_once('.').map_or(module, |(module, _)| module);
    Some(match error_type {
        "ImportError" | "ModuleNotFoundError" => {
            format!("Runtime.ImportModuleError: Unable to import module '{module}': {message}")
        }
        "SyntaxError" | "IndentationError" | "TabError" => {
            format!("Runtime.UserCodeSyntaxError: Syntax error in module '{module}': {message}")
        }
        other => format!("{other}: {message}"),
    })
}

fn manylinux(glibc: &str, target: Target) -> String {
    format!("manylinux_{}_{}", glibc.replace('.', "_"), target.architecture.machine())
}

/// What people do about libraries that are known to be missing on Lambda.
fn without_library(library: &str, package: &str) -> String {
    match library {
        // All that it needs beyond what Lambda has is for windows on a screen.
        _ if package.starts_with("opencv") && !package.ends_with("-headless") => {
            let headless =
                if package.contains("contrib") { "opencv-contrib-python-headless" } else { "opencv-python-headless" };
            format!("require {headless} instead of {package}")
        }
        "libpq.so.5" => "require psycopg2-binary or psycopg[binary], which bring libpq".to_owned(),
        "libmysqlclient.so.21" | "libmariadb.so.3" => "require PyMySQL or mysql-connector-python".to_owned(),
        "libcrypt.so.1" => format!(
            "put libcrypt.so.1 (from libxcrypt-compat) into `lib/` of the layer, or take a wheel of {package} that brings it"
        ),
        "libgomp.so.1" => {
            format!("put libgomp.so.1 into `lib/` of the layer, or take a wheel of {package} that brings it")
        }
        _ if library.starts_with("libcuda") || library.starts_with("libnvidia") || library.starts_with("libcu") => {
            format!("Lambda has no GPU: take a build of {package} for CPUs")
        }
        _ if library.starts_with("libpython") => format!("take a wheel of {package} for this runtime"),
        _ => format!("take a wheel of {package} that brings {library}, or put it into `lib/` of the layer"),
    }
}

/// `PIL/Image.py line 3 imports it (index.py → …)`.
fn by(finding: &Finding, line: u32, chain: &[String]) -> String {
    let file = finding.file.as_deref().unwrap_or_default();
    let mut text = format!("line {line} of {file} imports it");
    if chain.len() > 1 {
        let names: Vec<&str> = chain.iter().map(|at| file_below_root(at)).collect();
        text += &format!(" ({})", names.join(" → "));
    }
    text
}

fn along(chain: &[String]) -> String {
    if chain.is_empty() { String::new() } else { format!(" ({})", chain.join(" → ")) }
}

fn file_below_root(at: &str) -> &str {
    ["/var/task/", "/opt/python/", "/opt/"].iter().find_map(|root| at.strip_prefix(root)).unwrap_or(at)
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn top(module: &str) -> &str {
    module.split('.').next().unwrap_or(module)
}

fn listed(items: &[String], more: usize) -> String {
    let shown: Vec<String> = items.iter().map(|item| clipped(item)).collect();
    let rest = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{rest}", shown.join(", "))
}

/// Foreign text on one line of a terminal.
fn clipped(text: &str) -> String {
    const LONGEST: usize = 100;
    let plain: String = text.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
    if plain.chars().count() == LONGEST { format!("{plain}…") } else { plain }
}

fn and_more(more: usize) -> String {
    if more == 0 { String::new() } else { format!("; the same goes for {}", counted(more, "more file")) }
}

/// `a is`, `a and b are`, `a, b and c are`.
fn are(names: &[String]) -> String {
    match names {
        [all @ .., last] if !all.is_empty() => format!("{} and {last} are", all.join(", ")),
        names => format!("{} is", names.concat()),
    }
}

fn counted(number: usize, noun: &str) -> String {
    super::human::counted(number as u64, noun)
}

/// What a rule looks for and how bad it is, for `docs/findings.md`.
struct About {
    severity: &'static str,
    what: &'static str,
    way_out: &'static str,
}

const fn about(rule: Rule) -> About {
    const fn row(severity: &'static str, what: &'static str, way_out: &'static str) -> About {
        About { severity, what, way_out }
    }
    match rule {
        Rule::NativeFormat => row(
            "error where it is an extension module, else warning or note",
            "A file with a library's name that is no ELF file: of macOS or Windows, a Git LFS pointer, empty, text.",
            "Take a wheel for Linux; run `git lfs pull`.",
        ),
        Rule::NativeDamaged => row(
            "error if imported, else warning",
            "An ELF file that is cut off or contradicts itself, so that the loader refuses it.",
            "Get the file again.",
        ),
        Rule::NativeArchitecture => row(
            "error; note for spare binaries beside the right one; warning for extras",
            "A binary for another processor, word size or byte order than the function's.",
            "Build for the function's architecture (`--arch`).",
        ),
        Rule::NativeGlibc => row(
            "error (GLIBC_PRIVATE, extras: warning)",
            "A symbol version of glibc that the runtime does not have, `GLIBC_ABI_DT_RELR` included: Amazon Linux 2 (python3.11 and older) has 2.26, Amazon Linux 2023 has 2.34.",
            "A wheel with an older manylinux tag, or a newer runtime.",
        ),
        Rule::NativeSymbolVersion => row(
            "error; warning where only newer images have it, and for extras",
            "A symbol version of libstdc++ (GLIBCXX, CXXABI), libgcc (GCC) or zlib (ZLIB) that the runtime does not have.",
            "A wheel that was built with an older compiler, or that brings its own library.",
        ),
        Rule::NativeMusl => row(
            "error; warning for extras",
            "A binary for musl (Alpine Linux).",
            "A manylinux wheel instead of a musllinux one.",
        ),
        Rule::NativeLibraryMissing => row(
            "error if imported, else warning",
            "A needed library that is neither in the artifact where the loader looks (RPATH, RUNPATH, `$ORIGIN`, LD_LIBRARY_PATH with `/opt/lib`) nor in the managed runtime. AWS's public images and auditwheel's white list have more than Lambda has.",
            "A wheel that brings the library, a headless variant, or the library in `lib/` of the layer.",
        ),
        Rule::NativeLibraryUnreachable => row(
            "warning",
            "A needed library is in the artifact, but not where the loader looks. Some packages load it themselves first.",
            "Put it into `lib/`, or set an RPATH.",
        ),
        Rule::NativeLibraryIncidental => row(
            "warning",
            "A needed library that has been seen on the runtime without being promised.",
            "Bring it along.",
        ),
        Rule::NativeLibraryShadowed => row(
            "warning",
            "A bundled library with the name of one of the system's: `/opt/lib` and RUNPATH come after `/lib64`, so the system's is used.",
            "A name of its own, or an RPATH.",
        ),
        Rule::NativeSymbolMissing => row(
            "error if imported, else warning",
            "Undefined symbols without a version that neither the target's glibc, nor that Python's C API, nor any file of the artifact exports. Linkers let these pass, and auditwheel does not see them.",
            "A wheel built for this Python and this glibc.",
        ),
        Rule::NativeInstructions => row(
            "warning",
            "The file's GNU property says that it needs a newer x86-64 level than Lambda's processors have for certain.",
            "A wheel that chooses when it runs.",
        ),
        Rule::NativeExecutableStack => row("warning", "The file asks for an executable stack.", "Tell its makers."),
        Rule::NativeTextRelocations => row("warning", "The file has text relocations.", "Tell its makers."),
        Rule::NativeBuildPath => row("note", "An RPATH or RUNPATH of the machine it was built on.", "None needed."),
        Rule::AbiMismatch => row(
            "error; warning where its absence is caught or a condition decides, and for extras; note where the module is there otherwise",
            "An extension module for another Python version, processor or ABI (free-threaded, debug, PyPy): Python passes it over.",
            "A wheel for the runtime.",
        ),
        Rule::AbiUnmarked => row(
            "note",
            "An extension module whose name does not say which Python it is for.",
            "None needed if it was built for the runtime.",
        ),
        Rule::WheelTag => row(
            "warning; note where the files themselves fit",
            "The tags in the dist-info's `WHEEL` do not fit the target.",
            "A wheel for the target.",
        ),
        Rule::WheelTagUntrue => row(
            "note",
            "The files need a newer glibc than the wheel's tag promises.",
            "None needed on Lambda if nothing else is found.",
        ),
        Rule::WheelFallback => row(
            "warning",
            "A wheel with a platform tag and nothing compiled: a build that fell back to pure Python.",
            "Compare with the index's wheels.",
        ),
        Rule::ImportMissing => row(
            "error when reached from the handler, else note",
            "A module that is certainly imported and is neither in the artifacts, nor in that Python's standard library, nor among the runtime's packages. Imports in functions, under `try`/`except ImportError`, `TYPE_CHECKING` or for other systems count as optional.",
            "Add the package.",
        ),
        Rule::ImportRemoved => row(
            "error when reached from the handler, else note",
            "A module that this Python's standard library no longer has: distutils, imp, cgi, …",
            "A newer version of what imports it, or a replacement package.",
        ),
        Rule::PythonSyntax => row(
            "error if imported, else note",
            "Source that this Python cannot read: Python 2, a newer syntax, a wrong encoding.",
            "Another version of the package.",
        ),
        Rule::PythonUnread => {
            row("note", "Source that was not looked into: too large, nested too deep.", "None needed.")
        }
        Rule::Handler => row(
            "error",
            "The handler has no dot, names a built-in module, its file is not there, or that surely has no such function.",
            "`file.function`.",
        ),
        Rule::RequirementMissing => row(
            "error",
            "A `Requires-Dist` that applies to the target is met neither here nor by the runtime.",
            "Add it, or name its layer.",
        ),
        Rule::RequirementVersion => row(
            "warning",
            "A `Requires-Dist` is met in a version that it does not allow.",
            "Resolve all requirements together.",
        ),
        Rule::RequiresPython => row(
            "warning",
            "A distribution's `Requires-Python` leaves the runtime's Python out.",
            "Another version of it.",
        ),
        Rule::DistributionTwice => row(
            "warning; note for the same version",
            "Two dist-info directories of one distribution.",
            "Build anew from nothing.",
        ),
        Rule::SdkSplit => row(
            "error where the versions conflict and it is used, else warning",
            "Part of boto3, botocore and s3transfer is in the artifact, the rest is the runtime's.",
            "All of them or none.",
        ),
        Rule::Record => row(
            "warning for changed files, note for missing ones",
            "RECORD does not say what is there.",
            "Build anew if it was not meant.",
        ),
        Rule::OwnedTwice => row("warning", "Two distributions claim one file.", "Drop one."),
        Rule::LayoutRoot => row(
            "error; warning for a function in a folder",
            "Packages are not where Python looks: a wrapping folder, packages at the top of a layer, a zip in a zip.",
            "`python/` at the top.",
        ),
        Rule::LayoutUnused => row(
            "error; note beside the right directory; warning for a whole virtual environment",
            "`lib/python3.X` of another version, `lib64`, a virtual environment.",
            "`pip install --target python`.",
        ),
        Rule::StdlibShadowed => row(
            "error; warning for backports; note where it is harmless",
            "A top-level module with the name of one of the standard library's, which it hides.",
            "Rename it, drop the package.",
        ),
        Rule::PthFile => row(
            "warning if it runs code or leads out, else note",
            "A `.pth` file at the top of the path: Lambda's bootstrap processes it at every cold start.",
            "Leave it out if nothing needs it.",
        ),
        Rule::BytecodeUseless => row(
            "note",
            "Bytecode that never validates (timestamps under fixed dates) or is of another Python.",
            "Leave it out, or use unchecked hashes.",
        ),
        Rule::ZipMember => row(
            "error",
            "A member that is encrypted, damaged, twice there, has an unsafe name, or says different things in the zip's two places.",
            "Make the zip anew.",
        ),
        Rule::CaseCollision => {
            row("note", "Two paths that differ in upper and lower case only.", "None needed on Lambda.")
        }
        Rule::Symlink => row(
            "error if it leads out, warning if it leads nowhere",
            "A symbolic link that Lambda cannot follow.",
            "The file itself.",
        ),
        Rule::FileMode => row(
            "error",
            "A file that the function's user may not read, or an extension that may not be run.",
            "`chmod -R a+rX`.",
        ),
        Rule::FileTime => row("warning", "A time outside 1980 to 2107.", "SOURCE_DATE_EPOCH."),
        Rule::LayerConflict => row(
            "warning",
            "The same file from two layers with different bytes: the later one wins, file by file.",
            "One layer of both.",
        ),
        Rule::LayerCount => row("error", "More than 5 layers.", "Fewer layers."),
        Rule::SizeLimit => {
            row("error", "Function and layers are larger than 262,144,000 bytes unzipped.", "Leave something out.")
        }
        Rule::SizeUpload => row("note", "The zip is larger than 52,428,800 bytes.", "Upload through S3."),
        Rule::PythonpathSet => {
            row("warning", "The function sets PYTHONPATH, which takes the layers off the path.", "Unset it.")
        }
        Rule::RunFailed => row("error", "`--run`: an import raised an exception.", "See the chain."),
        Rule::RunCrashed => {
            row("error", "`--run`: an import killed Python with a signal.", "Another version of the package.")
        }
        Rule::RunTimeout => row("error", "`--run`: an import did not end in time.", "See what it waits for."),
        Rule::RunLimited => row(
            "note",
            "`--run` could not prove something: no Python for the target, no isolation, a package that only the runtime brings.",
            "None needed.",
        ),
        Rule::AllowanceUnused => row("note", "An allowance of the configuration that matches nothing.", "Remove it."),
    }
}

/// `docs/findings.md`.
pub(crate) fn documentation() -> String {
    let mut text = "# Findings\n\n\
        Made by `layerwise generate` from `crates/layerwise-cli/src/ui/findings.rs`. What `layerwise check` and the check \
        inside `layerwise build` look for. Names are stable. `build` refuses to hand over a layer with errors.\n\n\
        A finding that you have looked at is allowed in the configuration, with its reason; without `files` wherever it \
        is found:\n\n\
        ```toml\n[[allow]]\nfinding = \"native-executable-stack\"\nfiles = \"python/old/**\"\nreason = \"tried on Lambda, works\"\n```\n\n\
        \"Imported\" means: reached by imports that are certain (module level, not under a condition that fails on the \
        target), from the handler if one is named, else from any top-level module; or an extension module that no \
        import statement names.\n"
        .to_owned();
    for rule in Rule::ALL {
        let About { severity, what, way_out } = about(*rule);
        text += &format!("\n## {rule}\n\n{what}\n\n**How bad:** {severity}. **Way out:** {way_out}\n");
    }
    let mut runtimes: Vec<&Runtime> = Runtime::all().iter().filter(|runtime| runtime.blocked.is_none()).collect();
    runtimes.sort_by_key(|runtime| runtime.minor);
    text += "\n## What the runtimes have\n\n| runtime | system | highest symbol versions | x86-64 level |\n|---|---|---|---|\n";
    for runtime in runtimes {
        let symbols: Vec<String> =
            runtime.symbols.iter().map(|(family, version)| format!("{family}_{version}")).collect();
        text += &format!("| {} | {} | {} | {} |\n", runtime.name, runtime.os, symbols.join(", "), runtime.instructions);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use layerwise::audit::Severity;

    use super::*;

    /// One problem of each rule, and those whose words differ much.
    fn problems() -> Vec<Problem> {
        let text = str::to_owned;
        let texts = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        let chain = || texts(&["/var/task/index.py", "/opt/python/p/__init__.py"]);
        let missing = |library: &str, usage, known| Problem::NativeLibraryMissing {
            library: text(library),
            usage,
            bundled_elsewhere: usage == Use::Loose,
            known,
        };
        let import = |why| Problem::ImportMissing { module: text("q.r"), line: 3, chain: chain(), why };
        let root = |what| Problem::LayoutRoot { what };
        vec![
            Problem::NativeFormat { is: Format::MachO, module: Some(text("p.x")) },
            Problem::NativeFormat { is: Format::LfsPointer, module: None },
            Problem::NativeDamaged { what: text("file too short") },
            Problem::NativeArchitecture { is: text("arm64"), target: text("x86_64"), module: None },
            Problem::NativeGlibc { version: text("GLIBC_2.28"), library: text("libc.so.6"), has: text("2.26") },
            Problem::NativeGlibc { version: text("GLIBC_PRIVATE"), library: text("libc.so.6"), has: text("2.26") },
            Problem::NativeSymbolVersion {
                version: text("GLIBCXX_3.4.30"),
                library: text("libstdc++.so.6"),
                has: text("GLIBCXX_3.4.24"),
                newer_images_have_it: false,
            },
            Problem::NativeSymbolVersion {
                version: text("GLIBCXX_3.4.30"),
                library: text("libstdc++.so.6"),
                has: text("GLIBCXX_3.4.29"),
                newer_images_have_it: true,
            },
            Problem::NativeMusl { library: text("libc.musl-x86_64.so.1") },
            missing("libGL.so.1", Use::Certain, Some(Absent::WhiteListed)),
            missing("libcrypt.so.1", Use::Guarded, Some(Absent::InBaseImage)),
            missing("libq.so.1", Use::Loose, None),
            Problem::NativeLibraryUnreachable { library: text("libq.so.1"), at: text("/opt/python/q/libq.so.1") },
            Problem::NativeLibraryIncidental { library: text("libnsl.so.1") },
            Problem::NativeLibraryIncidental { library: text("libpython3.11.so.1.0") },
            Problem::NativeLibraryShadowed {
                library: text("libz.so.1"),
                bundled: text("/opt/lib/libz.so.1"),
                system: text("/lib64/libz.so.1"),
            },
            Problem::NativeSymbolMissing {
                symbols: texts(&["close_range", "getentropy"]),
                more: 2,
                usage: Use::Certain,
                python: false,
            },
            Problem::NativeSymbolMissing {
                symbols: texts(&["PyLong_AsInt"]),
                more: 0,
                usage: Use::Guarded,
                python: true,
            },
            Problem::NativeInstructions { level: text("x86-64-v4"), has: text("x86-64-v3") },
            Problem::NativeExecutableStack,
            Problem::NativeTextRelocations,
            Problem::NativeBuildPath { path: text("/build/lib") },
            Problem::AbiMismatch {
                suffix: text(".cpython-312-x86_64-linux-gnu.so"),
                wants: text(".cpython-311-x86_64-linux-gnu.so"),
                module: text("p.x"),
                otherwise_there: false,
            },
            Problem::AbiMismatch {
                suffix: text(".cpython-312-x86_64-linux-gnu.so"),
                wants: text(".cpython-311-x86_64-linux-gnu.so"),
                module: text("p.x"),
                otherwise_there: true,
            },
            Problem::AbiUnmarked { module: text("p.x") },
            Problem::WheelTag { tags: texts(&["cp312-cp312-manylinux_2_17_x86_64"]), compiled: true },
            Problem::WheelTagUntrue {
                tag: text("manylinux_2_17_x86_64"),
                version: text("GLIBC_2.25"),
                example: text("python/p/x.abi3.so"),
            },
            Problem::WheelFallback { tag: text("cp311-cp311-manylinux_2_17_x86_64") },
            import(Miss::Nowhere),
            import(Miss::Submodule),
            import(Miss::Setuptools),
            import(Miss::OtherSystem),
            import(Miss::Later { since: 12 }),
            Problem::ImportRemoved {
                module: text("imp"),
                line: 3,
                chain: chain(),
                last: 11,
                replacement: Some(text("use importlib")),
            },
            Problem::PythonSyntax { line: 3, message: text("invalid syntax"), module: Some(text("p.x")) },
            Problem::PythonUnread { why: text("it nests deeper than Python compiles") },
            Problem::Handler {
                handler: text("index.handler"),
                error_type: text("Runtime.ImportModuleError"),
                message: text("Unable to import module 'index': No module named 'index'"),
            },
            Problem::RequirementMissing { requirement: text("q>=2"), by: text("p 1.0") },
            Problem::RequirementVersion {
                requirement: text("q>=2"),
                by: text("p 1.0"),
                found: text("1.9"),
                from_runtime: false,
            },
            Problem::RequirementVersion {
                requirement: text("urllib3>=2"),
                by: text("p 1.0"),
                found: text("1.26.19"),
                from_runtime: true,
            },
            Problem::RequiresPython { specifier: text(">=3.12") },
            Problem::DistributionTwice { versions: texts(&["1.0", "2.0"]) },
            Problem::DistributionTwice { versions: texts(&["1.0"]) },
            Problem::SdkSplit {
                here: texts(&["boto3", "urllib3"]),
                from_runtime: texts(&["botocore 1.40.4"]),
                conflict: Some(text("boto3 1.44.8 requires botocore>=1.44.8, the runtime has botocore 1.40.4")),
            },
            Problem::SdkSplit { here: texts(&["boto3"]), from_runtime: texts(&["botocore 1.40.4"]), conflict: None },
            Problem::Record { what: Recorded::Changed, more: 2 },
            Problem::Record { what: Recorded::Missing, more: 0 },
            Problem::OwnedTwice { other: text("q") },
            root(Root::Wrapped { folder: text("layer") }),
            root(Root::Bare),
            root(Root::Nested { zip: text("layer.zip") }),
            root(Root::Nothing),
            root(Root::FunctionWrapped { folder: text("src") }),
            Problem::LayoutUnused { directory: text("python/lib/python3.12/site-packages"), why: Unused::OtherPython },
            Problem::LayoutUnused { directory: text("python/lib64/python3.11/site-packages"), why: Unused::Lib64 },
            Problem::LayoutUnused { directory: text(".venv/lib/python3.11/site-packages"), why: Unused::Venv },
            Problem::StdlibShadowed { module: text("typing") },
            Problem::PthFile { runs: Some(text("import os; os.system('x')")), adds: Vec::new() },
            Problem::PthFile { runs: None, adds: texts(&["/home/me/src"]) },
            Problem::BytecodeUseless { why: Stale::Timestamp, files: 1 },
            Problem::BytecodeUseless { why: Stale::OtherPython, files: 2 },
            Problem::ZipMember { what: text("stands in the archive twice") },
            Problem::CaseCollision { other: text("python/P/x.py") },
            Problem::Symlink { target: text("/etc/passwd"), what: Link::Escapes },
            Problem::Symlink { target: text("libq.so.1.2"), what: Link::Dangling },
            Problem::FileMode { mode: text("0600"), what: Mode::Unreadable },
            Problem::FileMode { mode: text("0644"), what: Mode::NotExecutable },
            Problem::FileTime { time: text("0 s since 1970"), files: 3 },
            Problem::LayerConflict {
                path: text("/opt/python/a.py"),
                winner: text("b.zip"),
                loser: text("a.zip"),
                files: 2,
            },
            Problem::LayerCount { layers: 6 },
            Problem::SizeLimit { bytes: 300_000_000, limit: 262_144_000, largest: vec![(text("p"), 250_000_000)] },
            Problem::SizeUpload { bytes: 60_000_000, limit: 52_428_800 },
            Problem::PythonpathSet { value: text("/var/task/lib") },
            Problem::RunFailed {
                module: text("p"),
                error_type: text("ModuleNotFoundError"),
                message: text("No module named 'q'"),
                chain: texts(&["/opt/python/p/__init__.py:3"]),
            },
            Problem::RunCrashed { module: text("p"), signal: text("segmentation fault"), last: Some(text("p.x")) },
            Problem::RunTimeout { module: text("p"), seconds: 30, last: None },
            Problem::RunLimited { why: text("no Python 3.11 is on this machine") },
            Problem::AllowanceUnused {
                rule: text("native-glibc"),
                files: Some(text("python/old/**")),
                reason: text("tried"),
            },
        ]
    }

    /// What a line about Lambda may begin with: error types of its runtime interface client, of its API, of Python.
    const SAYS: [&str; 12] = [
        "Runtime.ImportModuleError: Unable to import module 'index': ",
        "Runtime.UserCodeSyntaxError: Syntax error in module 'index': ",
        "Runtime.MalformedHandlerName: ",
        "Runtime.BuiltInModuleConflict: ",
        "Runtime.ExitError: Runtime exited with error: ",
        "Sandbox.Timedout: Task timed out after ",
        "Extension.LaunchError",
        "InvalidParameterValueException: Could not unzip uploaded file.",
        "InvalidParameterValueException: Unzipped size must be smaller than ",
        "InvalidParameterValueException: Cannot reference more than 5 layers.",
        "RequestEntityTooLargeException: ",
        "PermissionError: [Errno 13] Permission denied: ",
    ];

    /// Every sentence that a finding can be told in, for reading.
    #[test]
    fn every_rule_in_words() {
        let target = Target::new("python3.11", "x86_64", "2026-11-24").unwrap();
        let (mut shown, mut rules) = (String::new(), BTreeSet::new());
        for problem in problems() {
            let finding = Finding {
                severity: Severity::Error,
                artifact: "layer.zip".to_owned(),
                file: Some("python/p/x.abi3.so".to_owned()),
                at: Some("/opt/python/p/x.abi3.so".to_owned()),
                package: Some("p".parse().unwrap()),
                problem,
            };
            let Words { text, lambda, way_out } = words(&finding, target, Some("index.handler"));
            for sentence in [&text, &way_out] {
                assert!(!sentence.is_empty() && !sentence.ends_with(['.', ' ']), "{sentence}");
                assert!(!sentence.contains(char::is_control) && !sentence.contains("  "), "{sentence}");
            }
            if let Some(lambda) = &lambda {
                assert!(SAYS.iter().any(|start| lambda.starts_with(start)), "{lambda}");
            }
            let lambda = lambda.map(|says| format!("Lambda: {says}\n")).unwrap_or_default();
            shown += &format!("[{}] {text}\n{lambda}hint: {way_out}\n\n", finding.rule());
            rules.insert(finding.rule());
        }
        assert_eq!(rules, Rule::ALL.iter().copied().collect());
        insta::assert_snapshot!(shown);
    }

    #[test]
    fn a_way_out_for_libraries_that_people_miss() {
        for (library, package, expected) in [
            ("libGL.so.1", "opencv-python", "require opencv-python-headless instead of opencv-python"),
            ("libglib-2.0.so.0", "opencv-python", "require opencv-python-headless instead of opencv-python"),
            (
                "libGL.so.1",
                "opencv-contrib-python",
                "require opencv-contrib-python-headless instead of opencv-contrib-python",
            ),
            (
                "libq.so.1",
                "opencv-python-headless",
                "take a wheel of opencv-python-headless that brings libq.so.1, or put it into `lib/` of the layer",
            ),
        ] {
            assert_eq!(without_library(library, package), expected, "{library}");
        }
    }
}
