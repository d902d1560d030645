//! The compiler shim: layerwise under the names `cc`, `g++`, `ar`, `pkg-config` …, first on PATH of every build.
//!
//! It calls zig for the target, whoever calls it and however; leaves out what zig's linker does not know and what
//! would bring the host in; and writes down every call, so that a failure can be explained and a wheel judged.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use fs_err as fs;
use serde::{Deserialize, Serialize};

/// Changes when the rules below do: a wheel built by other rules is built again.
pub const RULES: u32 = 2;

/// What a shim is told, in a file named by the variable `LAYERWISE_SHIM`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    /// The zig to call.
    pub zig: PathBuf,
    /// For what: `x86_64-linux-gnu.2.26`.
    pub target: String,
    /// The machine this runs on, for programs that a build runs itself.
    pub host: String,
    /// Directories whose headers and libraries may be used; all others are of the host.
    pub roots: Vec<PathBuf>,
    /// What a declared prefix has.
    #[serde(default)]
    pub prefix: Option<Prefix>,
    /// The build's directory, which is written as `/build` into what is compiled.
    pub map: Option<String>,
    /// Where calls are written down.
    pub log: PathBuf,
    /// Why nothing may be compiled, if so.
    pub refuse: Option<String>,
}

/// What a declared prefix has, as the build sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Prefix {
    /// Headers.
    pub headers: PathBuf,
    /// Directories of libraries.
    pub libraries: Vec<PathBuf>,
    /// Programs such as `pg_config`.
    pub programs: PathBuf,
    /// A pkg-config that knows it.
    pub pkg_config: PathBuf,
}

/// One call, as a line of JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct Call {
    /// The name it was called by.
    pub name: String,
    /// Where.
    pub dir: String,
    /// What was left out or changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
    /// What zig was called with.
    pub args: Vec<String>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A C compiler for the target, which is a linker too.
    Cc,
    /// A C++ compiler for the target.
    Cxx,
    /// A C compiler for this machine.
    HostCc,
    /// A C++ compiler for this machine.
    HostCxx,
    /// `ar`.
    Ar,
    /// `ranlib`.
    Ranlib,
    /// `strip`: what zig links is stripped already.
    Strip,
    /// A linker by itself.
    Ld,
    /// `pkg-config`: no library of the host is there.
    PkgConfig,
    /// `pg_config` and its kin.
    LibraryConfig,
    /// A compiler of another language.
    Other,
}

/// The names that builds call, for the directory that comes first on PATH.
pub const NAMES: &[&str] = &[
    "cc",
    "gcc",
    "clang",
    "c99",
    "c++",
    "g++",
    "clang++",
    "hostcc",
    "hostc++",
    "ar",
    "gcc-ar",
    "llvm-ar",
    "ranlib",
    "gcc-ranlib",
    "strip",
    "ld",
    "ld.lld",
    "ld.gold",
    "ld.bfd",
    "pkg-config",
    "pkgconf",
    "pg_config",
    "mysql_config",
    "mariadb_config",
    "xml2-config",
    "xslt-config",
    "curl-config",
    "freetype-config",
    "libpng-config",
    "pcre-config",
    "krb5-config",
    "gdal-config",
    "icu-config",
    "nc-config",
    "sdl2-config",
    "net-snmp-config",
];

/// The names of other compilers, which stand there only where nothing may be compiled.
pub const REFUSED_NAMES: &[&str] = &["cargo", "rustc", "gfortran", "go"];

/// What a program's name stands for; with a prefix (`x86_64-linux-gnu-gcc`) or a version (`gcc-12`) too.
pub fn role(name: &str) -> Option<Role> {
    let plain = name.rsplit_once('-').filter(|(_, end)| end.bytes().all(|c| c.is_ascii_digit() || c == b'.'));
    let plain = plain.map_or(name, |(stem, _)| stem);
    let is = |word: &str| plain == word || plain.strip_suffix(word).is_some_and(|prefix| prefix.ends_with('-'));
    let any = |words: &[&str]| words.iter().any(|word| is(word));
    Some(match plain {
        "hostcc" => Role::HostCc,
        "hostc++" => Role::HostCxx,
        _ if REFUSED_NAMES.contains(&plain) => Role::Other,
        _ if any(&["c++", "g++", "clang++"]) => Role::Cxx,
        _ if any(&["cc", "gcc", "clang", "c99"]) => Role::Cc,
        _ if any(&["ranlib"]) => Role::Ranlib,
        _ if any(&["ar"]) => Role::Ar,
        _ if any(&["strip"]) => Role::Strip,
        _ if any(&["pkg-config", "pkgconf"]) => Role::PkgConfig,
        _ if plain.ends_with("-config") || plain.ends_with("_config") => Role::LibraryConfig,
        // Not all of `ld.*`: `ld.so` is no linker.
        _ if any(&["ld", "lld", "ld.lld", "ld.gold", "ld.bfd", "ld.mold"]) => Role::Ld,
        _ => return None,
    })
}

/// What a compiler is called with instead.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Translated {
    /// The arguments for zig, without `cc -target …`.
    pub args: Vec<String>,
    /// What was left out or changed.
    pub dropped: Vec<String>,
    /// The output is no file (`/dev/null`): zig would replace it by one.
    pub no_output: bool,
    /// Why the call cannot be made.
    pub refused: Option<String>,
}

/// Options of zig's linker with a value that it does not know, or that would bring the host in.
const LINKER_WITH_VALUE: &[&str] = &[
    "-rpath-link",
    "-Map",
    "--dynamic-list",
    "--exclude-libs",
    "--dependency-file",
    "-plugin-opt",
    "--unresolved-symbols",
    "--icf",
    "--wrap",
    "-Ttext",
    "--defsym",
];
const LINKER_ALONE: &[&str] = &[
    "-Bsymbolic-functions",
    "--fatal-warnings",
    "--no-fatal-warnings",
    "--no-undefined-version",
    "--add-needed",
    "--no-add-needed",
    "--copy-dt-needed-entries",
    "--no-copy-dt-needed-entries",
    "--as-needed-lto",
];
const LINKER_Z: &[&str] = &["nodlopen", "start-stop-gc", "nostart-stop-gc", "pack-relative-relocs"];

/// Turns the arguments of a gcc or clang into those of `zig cc`. `is_special` tells whether a path is there and is
/// no regular file.
pub fn translate(args: &[String], config: &Config, is_special: &dyn Fn(&str) -> bool) -> Translated {
    let mut out = Translated::default();
    let is_foreign = |path: &str| {
        let path = Path::new(path);
        path.is_absolute() && !config.roots.iter().any(|root| path.starts_with(root))
    };
    let mut rest = args.iter();
    let mut links = true;
    let mut files = 0;
    while let Some(arg) = rest.next() {
        if matches!(
            arg.as_str(),
            "-c" | "-S" | "-E" | "-M" | "-MM" | "-fsyntax-only" | "-v" | "--version" | "-dumpversion" | "-dumpmachine"
        ) || arg.starts_with("-print-")
        {
            links = false;
        }
        files += usize::from(!arg.starts_with('-'));
        match arg.as_str() {
            "-I" | "-L" | "-isystem" | "-idirafter" | "-B" | "-iquote" => match rest.next() {
                Some(path) if is_foreign(path) || arg == "-B" => out.dropped.push(format!("{arg} {path}")),
                path => out.args.extend(std::iter::once(arg).chain(path).cloned()),
            },
            "-target" | "--sysroot" | "-isysroot" => {
                out.dropped.push(format!("{arg} {}", rest.next().map_or("", String::as_str)));
            }
            "-fopenmp" => {
                out.refused = Some("OpenMP (-fopenmp) is not there for the Lambda target".to_owned());
            }
            "-lgcc_s" => {
                out.dropped.push(arg.clone());
                out.args.push("-lunwind".to_owned());
            }
            "-march=native" | "-mtune=native" | "-mcpu=native" => out.dropped.push(arg.clone()),
            "-o" => {
                let path = rest.next().cloned().unwrap_or_default();
                if is_special(&path) {
                    out.no_output = true;
                    out.dropped.push(format!("-o {path}"));
                } else {
                    out.args.extend([arg.clone(), path]);
                }
            }
            _ if arg.strip_prefix("-o").is_some_and(is_special) => {
                out.no_output = true;
                out.dropped.push(arg.clone());
            }
            _ if ["-I", "-L", "-isystem"].iter().any(|flag| arg.strip_prefix(flag).is_some_and(is_foreign)) => {
                out.dropped.push(arg.clone());
            }
            _ if ["-fuse-ld=", "--target=", "-B/", "--sysroot="].iter().any(|flag| arg.starts_with(flag)) => {
                out.dropped.push(arg.clone());
            }
            _ if arg.starts_with("-march=") || arg.starts_with("-mcpu=") || arg.starts_with("-mtune=") => {
                let changed = cpu(arg);
                if changed != *arg {
                    out.dropped.push(arg.clone());
                }
                out.args.push(changed);
            }
            // A host's library by its path, found by whatever configure script.
            _ if is_host_library(arg) && is_foreign(arg) => out.dropped.push(arg.clone()),
            _ => match arg.strip_prefix("-Wl,") {
                Some(options) => {
                    let kept = linker(options, &mut out.dropped);
                    if !kept.is_empty() {
                        out.args.push(format!("-Wl,{}", kept.join(",")));
                    }
                }
                None => out.args.push(arg.clone()),
            },
        }
    }
    if let Some(prefix) = &config.prefix
        && files > 0
    {
        // Behind what the package says of itself.
        out.args.extend(["-isystem".to_owned(), prefix.headers.display().to_string()]);
        if links {
            out.args.extend(prefix.libraries.iter().map(|dir| format!("-L{}", dir.display())));
        }
    }
    if links && files > 0 {
        out.args.push("-s".to_owned());
    }
    // zig's plain x86_64 forbids 512-bit registers even where a function asks for AVX-512; this allows them, there
    // alone. (Where it links it would make its runtimes anew for this other processor.)
    let chooses = |arg: &String| arg.starts_with("-march=") || arg.starts_with("-mcpu=");
    if !links && files > 0 && config.target.starts_with("x86_64") && !out.args.iter().any(chooses) {
        out.args.insert(0, "-mcpu=x86_64+evex512".to_owned());
    }
    out
}

fn is_host_library(arg: &str) -> bool {
    !arg.starts_with('-') && (arg.ends_with(".so") || arg.contains(".so.") || arg.ends_with(".a"))
}

/// What of `-Wl,…` is kept.
fn linker(options: &str, dropped: &mut Vec<String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut parts = options.split(',');
    while let Some(part) = parts.next() {
        let key = part.split('=').next().unwrap_or(part);
        let within = |path: &str| path.starts_with("$ORIGIN");
        match key {
            "-rpath" | "--rpath" | "-R" => {
                let value = match part.split_once('=') {
                    Some((_, value)) => value,
                    None => parts.next().unwrap_or_default(),
                };
                if within(value) {
                    kept.extend(["-rpath".to_owned(), value.to_owned()]);
                } else {
                    dropped.push(format!("-Wl,{part},{value}"));
                }
            }
            _ if part.starts_with("-R") && !within(&part[2..]) => dropped.push(format!("-Wl,{part}")),
            _ if LINKER_WITH_VALUE.contains(&key) => {
                let value = if part.contains('=') { None } else { parts.next() };
                dropped.push(format!("-Wl,{}", std::iter::once(part).chain(value).collect::<Vec<_>>().join(",")));
            }
            _ if LINKER_ALONE.contains(&part)
                || part.starts_with("--warn-")
                || part.starts_with("--no-warn-")
                || part.starts_with("--fix-cortex-")
                || part.strip_prefix("-O").is_some_and(|level| level.len() == 1) =>
            {
                dropped.push(format!("-Wl,{part}"));
            }
            "-z" => match parts.next() {
                Some(value) if LINKER_Z.contains(&value) => dropped.push(format!("-Wl,-z,{value}")),
                value => kept.extend(std::iter::once("-z").chain(value).map(str::to_owned)),
            },
            _ => kept.push(part.to_owned()),
        }
    }
    kept
}

/// gcc's words for processors in zig's: `-march=armv8-a+crc` → `-mcpu=generic+crc`, `x86-64-v3` → `x86_64_v3`.
fn cpu(arg: &str) -> String {
    let (_, value) = arg.split_once('=').unwrap_or(("", arg));
    if value.starts_with("armv8") || value.starts_with("armv9") {
        let (_, features) = value.split_once('+').unwrap_or(("", ""));
        let named = features.split('+').filter(|one| !one.is_empty()).map(|one| match one {
            "fp16" => "+fullfp16".to_owned(),
            "simd" => "+neon".to_owned(),
            other => format!("+{}", other.replace('-', "_")),
        });
        return format!("-mcpu=generic{}", named.collect::<String>());
    }
    if arg.starts_with("-mtune=") || !value.contains('-') {
        return arg.to_owned();
    }
    format!("-mcpu={}", value.replace('-', "_"))
}

/// `ar`'s operation without `T`: zig's linker cannot read thin archives.
fn ar(args: &[String]) -> Vec<String> {
    let mut args = args.to_vec();
    if let Some(operation) = args.first_mut().filter(|operation| !operation.starts_with("--")) {
        *operation = operation.replace('T', "");
    }
    args.retain(|arg| arg != "--thin");
    args
}

/// The words of a response file (`@file`), as gcc reads them.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut begun) = (Vec::new(), String::new(), None, false);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', _) => {
                word.extend(chars.next());
                begun = true;
            }
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => (quote, begun) = (Some(c), true),
            (c, None) if c.is_whitespace() => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            (c, _) => {
                word.push(c);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

/// Plays the part that `name` stands for; returns the exit code, and what to say on stderr.
///
/// # Errors
/// Where the configuration cannot be read or zig cannot be started.
pub fn run(name: &str, args: &[OsString], config: &Path, dir: &Path) -> std::io::Result<(i32, Option<String>)> {
    let config: Config = serde_json::from_slice(&fs::read(config)?)?;
    let role = role(name).ok_or_else(|| std::io::Error::other(format!("{name}: not a name of the shim")))?;
    let mut texts: Vec<String> = Vec::new();
    for arg in args {
        let arg = arg.to_string_lossy().into_owned();
        match arg.strip_prefix('@').and_then(|file| fs::read_to_string(dir.join(file)).ok()) {
            Some(text) => texts.extend(words(&text)),
            None => texts.push(arg),
        }
    }
    let log = |args: &[String], dropped: Vec<String>, refused: Option<String>| {
        let dir = dir.display().to_string();
        let call = Call { name: name.to_owned(), dir, dropped, args: args.to_vec(), refused };
        let line = format!("{}\n", serde_json::to_string(&call)?);
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&config.log)?;
        file.write_all(line.as_bytes())
    };
    let asks = texts.iter().all(|arg| arg.starts_with("--version") || arg == "-v" || arg == "-dumpversion");
    if let Some(why) = config.refuse.as_ref().filter(|_| !matches!(role, Role::PkgConfig | Role::LibraryConfig)) {
        // A build may ask which compiler there is and not use it.
        let refused = (!asks).then(|| why.clone());
        log(&texts, Vec::new(), refused)?;
        return Ok((1, Some(format!("layerwise: {why}"))));
    }
    let zig = |subcommand: &str| {
        let mut command = Command::new(&config.zig);
        command.arg(subcommand);
        command
    };
    let (mut command, scratch) = match role {
        Role::Ar | Role::Ranlib => {
            let (subcommand, args) = if role == Role::Ar { ("ar", ar(&texts)) } else { ("ranlib", texts) };
            log(&args, Vec::new(), None)?;
            let mut command = zig(subcommand);
            command.args(args);
            (command, None)
        }
        Role::Ld => {
            let mut dropped = Vec::new();
            let kept = linker(&texts.join(","), &mut dropped);
            log(&kept, dropped, None)?;
            let mut command = zig("ld.lld");
            command.args(kept);
            (command, None)
        }
        Role::Strip => {
            log(&texts, Vec::new(), None)?;
            return Ok((0, None));
        }
        Role::PkgConfig if let Some(prefix) = &config.prefix => {
            log(&texts, Vec::new(), None)?;
            let mut command = Command::new(&prefix.pkg_config);
            command.arg("--define-prefix").args(texts);
            (command, None)
        }
        Role::LibraryConfig
            if let Some(prefix) = &config.prefix
                && prefix.programs.join(name).is_file() =>
        {
            log(&texts, Vec::new(), None)?;
            let mut command = Command::new(prefix.programs.join(name));
            command.args(texts);
            (command, None)
        }
        Role::PkgConfig | Role::LibraryConfig | Role::Other => {
            let what = texts.iter().rfind(|arg| !arg.starts_with('-')).map(String::as_str).unwrap_or_default();
            log(&texts, Vec::new(), None)?;
            let said = format!("layerwise: {name} {what}: libraries of this machine are not for the Lambda target");
            return Ok((1, Some(said)));
        }
        Role::Cc | Role::Cxx | Role::HostCc | Role::HostCxx => {
            let special = |path: &str| fs::metadata(dir.join(path)).is_ok_and(|about| !about.is_file());
            let host = matches!(role, Role::HostCc | Role::HostCxx);
            let of_role = match host {
                true => Config { prefix: None, target: config.host.clone(), ..config.clone() },
                false => config.clone(),
            };
            let Translated { mut args, dropped, no_output, refused } = translate(&texts, &of_role, &special);
            log(&args, dropped, refused.clone())?;
            if let Some(why) = refused {
                return Ok((1, Some(format!("layerwise: error: {why}"))));
            }
            let scratch = if no_output {
                let dir = tempfile::tempdir()?;
                args.extend(["-o".to_owned(), dir.path().join("out").display().to_string()]);
                Some(dir)
            } else {
                None
            };
            let mut command = zig(if matches!(role, Role::Cxx | Role::HostCxx) { "c++" } else { "cc" });
            command.arg("-target").arg(&of_role.target);
            // Without optimisation zig would add traps, and a runtime for them.
            command.arg("-fno-sanitize=undefined");
            if let Some(map) = &config.map {
                command.arg(format!("-ffile-prefix-map={map}=/build"));
            }
            command.args(args);
            (command, scratch)
        }
    };
    let status = command.status()?;
    drop(scratch);
    Ok((status.code().unwrap_or(1), None))
}

/// The name that a program was called by.
pub fn called_as(argv0: &OsStr) -> Option<&str> {
    Path::new(argv0).file_name()?.to_str()
}

/// The calls that were written down.
pub fn calls(log: &Path) -> Vec<Call> {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &str, dropped: &str) {
        let config = Config {
            zig: "/zig".into(),
            target: "x86_64-linux-gnu.2.26".to_owned(),
            host: "x86_64-linux-gnu.2.17".to_owned(),
            roots: vec!["/build".into()],
            prefix: None,
            map: None,
            log: "/log".into(),
            refuse: None,
        };
        let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let mut made = translate(&args, &config, &|path| path == "/dev/null");
        let compiles = ["-c ", "-E "].iter().any(|flag| line.starts_with(flag));
        if compiles && !["-march=h", "-march=a", "-march=x"].iter().any(|flag| line.contains(flag)) {
            assert_eq!(made.args.remove(0), "-mcpu=x86_64+evex512", "{line}");
        }
        assert_eq!((made.args.join(" ").as_str(), made.dropped.join("; ").as_str()), (expected, dropped), "{line}");
        assert_eq!(made.no_output, line.contains("/dev/null"));
    }

    #[test]
    fn what_is_of_the_host_is_left_out() {
        check("-c -I/usr/include -I include -I/build/x a.c", "-c -I include -I/build/x a.c", "-I/usr/include");
        check("-c -isystem /usr/include -I /opt/x a.c", "-c a.c", "-isystem /usr/include; -I /opt/x");
        check("-shared a.o -L/root/.pyenv/lib -L. -lz", "-shared a.o -L. -lz -s", "-L/root/.pyenv/lib");
        check("-shared a.o /usr/lib/libz.so.1 libb.a", "-shared a.o libb.a -s", "/usr/lib/libz.so.1");
        check("-c -march=native -mtune=generic a.c", "-c -mtune=generic a.c", "-march=native");
    }

    #[test]
    fn what_zig_does_not_know_is_left_out_or_translated() {
        check(
            "a.o -Wl,-O1,-Bsymbolic-functions,-z,now,-z,nodlopen",
            "a.o -Wl,-z,now -s",
            "-Wl,-O1; -Wl,-Bsymbolic-functions; -Wl,-z,nodlopen",
        );
        check(
            "a.o -Wl,-rpath,/usr/lib -Wl,-rpath=$ORIGIN/../x",
            "a.o -Wl,-rpath,$ORIGIN/../x -s",
            "-Wl,-rpath,/usr/lib",
        );
        check(
            "a.o -Wl,--exclude-libs,ALL -Wl,--version-script=x",
            "a.o -Wl,--version-script=x -s",
            "-Wl,--exclude-libs,ALL",
        );
        check("-c -march=armv8-a+crc+fp16 a.c", "-c -mcpu=generic+crc+fullfp16 a.c", "-march=armv8-a+crc+fp16");
        check("-c -march=x86-64-v3 a.c", "-c -mcpu=x86_64_v3 a.c", "-march=x86-64-v3");
        check("-c -march=haswell a.c", "-c -march=haswell a.c", "");
        check("a.o -lgcc_s -fuse-ld=gold", "a.o -lunwind -s", "-lgcc_s; -fuse-ld=gold");
    }

    #[test]
    fn devices_are_not_replaced_by_files() {
        check("-E a.c -o /dev/null", "-E a.c", "-o /dev/null");
        check("-E a.c -o/dev/null", "-E a.c", "-o/dev/null");
    }

    #[test]
    fn names() {
        for (name, expected) in [
            ("cc", Some(Role::Cc)),
            ("x86_64-linux-gnu-gcc-12", Some(Role::Cc)),
            ("aarch64-linux-gnu-g++", Some(Role::Cxx)),
            ("clang-14", Some(Role::Cc)),
            ("gcc-ar", Some(Role::Ar)),
            ("ld.gold", Some(Role::Ld)),
            ("pkg-config", Some(Role::PkgConfig)),
            ("pg_config", Some(Role::LibraryConfig)),
            ("hostcc", Some(Role::HostCc)),
            ("cargo", Some(Role::Other)),
            ("ld.so", None),
            ("ld-linux-x86-64.so.2", None),
            ("tar", None),
            ("python3.11", None),
            ("layerwise", None),
        ] {
            assert_eq!(role(name), expected, "{name}");
        }
        for name in NAMES.iter().chain(REFUSED_NAMES) {
            assert!(role(name).is_some(), "{name}");
        }
    }

    #[test]
    fn thin_archives_and_response_files() {
        let args = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(ar(&args("csrDT x.a T.o")), args("csrD x.a T.o"));
        assert_eq!(words("-o a\\ b 'c d'\n\"e\\\"f\" ''"), ["-o", "a b", "c d", "e\"f", ""]);
    }
}
