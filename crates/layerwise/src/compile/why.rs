//! Why a build failed: the first real error of its log, and what is known about it. Pure.

/// What is known of a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The line of the log that says it.
    pub line: String,
    /// What to do, if that is known.
    pub hint: Option<String>,
    /// What is missing is a library.
    pub library: bool,
}

/// Libraries by a header of theirs: what they are, and a way around where there is one.
const LIBRARIES: &[(&str, &str, &str)] = &[
    ("ffi.h", "libffi", ""),
    ("yaml.h", "libyaml", ""),
    ("libpq-fe.h", "libpq", "`psycopg2-binary` or `psycopg[binary]` bring it along"),
    ("mysql.h", "libmysqlclient", "`PyMySQL` needs no library"),
    ("libxml/", "libxml2 and libxslt", "an older release of the package has a wheel that brings them along"),
    ("libxslt/", "libxml2 and libxslt", "an older release of the package has a wheel that brings them along"),
    ("openssl/", "OpenSSL", "an older release of the package has a wheel that brings it along"),
    ("zlib.h", "zlib", ""),
    ("jpeglib.h", "libjpeg", "an older release of the package has a wheel that brings it along"),
    ("ft2build.h", "FreeType", ""),
    ("png.h", "libpng", ""),
    ("hdf5.h", "HDF5", ""),
    ("curl/curl.h", "libcurl", ""),
    ("sqlite3.h", "SQLite", ""),
    ("lzma.h", "liblzma", ""),
    ("bzlib.h", "libbz2", ""),
    ("snappy-c.h", "Snappy", ""),
    ("gmp.h", "GMP", ""),
    ("sodium.h", "libsodium", ""),
    ("zmq.h", "ZeroMQ", ""),
    ("geos_c.h", "GEOS", ""),
    ("proj.h", "PROJ", ""),
    ("krb5.h", "Kerberos", ""),
    ("ldap.h", "OpenLDAP", ""),
    ("sql.h", "unixODBC", ""),
    ("librdkafka/", "librdkafka", ""),
];

/// Tools that a build may call without asking for them, and what asks for each.
const TOOLS: &[(&str, &str)] =
    &[("cargo", "setuptools-rust"), ("cmake", "cmake"), ("ninja", "ninja"), ("swig", "swig"), ("cython", "cython")];

/// The first line of `log` that says what went wrong, and what is known about it.
pub fn cause(log: &str) -> Option<Cause> {
    log.lines().find_map(known).or_else(|| {
        let line =
            log.lines().find(|line| is_error(line)).or_else(|| log.lines().rfind(|line| !line.trim().is_empty()))?;
        Some(Cause { line: tidy(line), hint: None, library: false })
    })
}

fn known(line: &str) -> Option<Cause> {
    let found = |hint: String| Some(Cause { line: tidy(line), hint: Some(hint), library: false });
    let library = |name: &str, way: &str| {
        let way = if way.is_empty() { String::new() } else { format!("; {way}") };
        let hint = format!(
            "it needs {name}, which is not there for the Lambda target (libraries of this machine would not run there){way}"
        );
        Some(Cause { line: tidy(line), hint: Some(hint), library: true })
    };
    if let Some(header) = between(line, "fatal error: '", "' file not found") {
        if header == "Python.h" {
            return found(
                "the headers of Python are missing: install the `-dev` or `-devel` package of the Python that builds"
                    .to_owned(),
            );
        }
        return match LIBRARIES
            .iter()
            .find(|(known, ..)| header == *known || known.ends_with('/') && header.starts_with(known))
        {
            Some((_, name, way)) => library(name, way),
            None => Some(Cause {
                line: tidy(line),
                hint: Some(format!("the header `{header}` is of a library that is not there for the Lambda target")),
                library: true,
            }),
        };
    }
    for marker in ["unable to find dynamic system library '", "unable to find static system library '"] {
        if let Some(name) = between(line, marker, "'") {
            return library(&format!("the library `{name}`"), "");
        }
    }
    const OLDER: &str = "an older release of the package has a wheel that brings it along";
    // pillow's words.
    if let Some(name) = between(line, "The headers or library files could not be found for ", ",") {
        return library(&format!("the library `{name}`"), OLDER);
    }
    if line.contains("failed to run custom build command for `openssl-sys") {
        return library("OpenSSL", OLDER);
    }
    // Other programs of this kind many packages ask for, and do without.
    if line.contains("layerwise: pg_config ") || line.contains("pg_config executable not found") {
        return library("libpq", "`psycopg2-binary` or `psycopg[binary]` bring it along");
    }
    if line.contains("layerwise: mysql_config ") || line.contains("Specify MYSQLCLIENT_CFLAGS") {
        return library("libmysqlclient", "`PyMySQL` needs no library");
    }
    if line.contains("libxml2 and libxslt development packages") {
        return library("libxml2 and libxslt", "an older release of the package has a wheel that brings them along");
    }
    // In the words of a shell and of Python.
    let missed = line.contains("sh: ") && line.ends_with(": not found")
        || line.starts_with("FileNotFoundError") && line.contains("No such file or directory");
    let words = |c: char| c.is_whitespace() || "':".contains(c);
    if let Some((tool, asks)) = TOOLS.iter().find(|(tool, _)| missed && line.split(words).any(|word| word == *tool)) {
        return found(format!(
            "its build calls `{tool}` and does not ask for it: `build-requires = [\"{asks}\"]` in its table `[compile.NAME]` does"
        ));
    }
    if line.contains("error: OpenMP (-fopenmp)") {
        return found("OpenMP's library is not there for the Lambda target".to_owned());
    }
    if line.contains("target may not be installed") || line.contains("can't find crate for `std`") {
        return found("Rust's standard library for the target is missing: `rustup target add aarch64-unknown-linux-gnu` (or x86_64)".to_owned());
    }
    if line.contains("Could not resolve host")
        || line.contains("Temporary failure in name resolution")
        || line.contains("Name or service not known")
        || line.contains("dns error")
    {
        return found("it wants the network while it is built, which builds here do not have".to_owned());
    }
    if line.contains("No space left on device") {
        return found("the disk is full: free some space, or run `layerwise cache prune`".to_owned());
    }
    if line.contains("rustc ") && line.contains("is not supported by the following package") {
        return found("a newer Rust is needed: `rustup update`".to_owned());
    }
    None
}

fn is_error(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    let marks = ["error:", "error[", "fatal:", "cmake error", "error at "];
    let noise = ["werror", "0 errors", "error: subprocess-exited", "error: command '", "in target triple"];
    marks.iter().any(|mark| lower.contains(mark)) && !noise.iter().any(|noise| lower.contains(noise))
}

fn between<'a>(line: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(start)?;
    Some(rest.split_once(end)?.0)
}

/// A line for people: no control characters, not too long.
fn tidy(line: &str) -> String {
    line.trim().chars().filter(|c| !c.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(log: &str, line: &str, hint: &str) {
        let cause = cause(log).unwrap();
        assert_eq!(cause.line, line);
        assert!(cause.hint.clone().unwrap_or_default().contains(hint), "{cause:?}");
    }

    #[test]
    fn known_causes() {
        check(
            "x\nc/a.c:15:10: fatal error: 'ffi.h' file not found\n",
            "c/a.c:15:10: fatal error: 'ffi.h' file not found",
            "libffi",
        );
        check(
            "a.c:1:2: fatal error: 'libxml/x.h' file not found",
            "a.c:1:2: fatal error: 'libxml/x.h' file not found",
            "libxslt",
        );
        check(
            "error: unable to find dynamic system library 'crypt' using",
            "error: unable to find dynamic system library 'crypt' using",
            "`crypt`",
        );
        check(
            "layerwise: pg_config : libraries of this machine are",
            "layerwise: pg_config : libraries of this machine are",
            "psycopg2-binary",
        );
        check(
            "error[E0463]: can't find crate for `std`",
            "error[E0463]: can't find crate for `std`",
            "rustup target add",
        );
    }

    #[test]
    fn libraries_in_the_words_of_packages() {
        let pillow = "The headers or library files could not be found for zlib,";
        check(&format!("pkg-config zlib\n\n{pillow}\na required dependency"), pillow, "it needs the library `zlib`");
        let cryptography = "error: failed to run custom build command for `openssl-sys v0.9.117`";
        check(cryptography, cryptography, "it needs OpenSSL");
    }

    #[test]
    fn a_tool_that_was_not_asked_for() {
        check("./build.sh: 25: cmake: not found", "./build.sh: 25: cmake: not found", "`build-requires = [\"cmake\"]`");
        check("/bin/sh: 1: ninja: not found", "/bin/sh: 1: ninja: not found", "`build-requires = [\"ninja\"]`");
        let python = "FileNotFoundError: [Errno 2] No such file or directory: 'cargo'";
        check(python, python, "`build-requires = [\"setuptools-rust\"]`");
        // What is looked for and not missed.
        check("checking for cmake... not found\nerror: other", "error: other", "");
    }

    #[test]
    fn otherwise_the_first_error_and_at_last_the_last_line() {
        check(
            "cc -Werror a.c\na.c:3:1: error: expected ';'\nerror: command 'cc' failed",
            "a.c:3:1: error: expected ';'",
            "",
        );
        check("one\n  two\u{1b}[0m \n\n", "two[0m", "");
        assert_eq!(cause(""), None);
    }
}
