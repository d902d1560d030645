//! Why a container, or a build in one, failed: from what programs really say. Pure.

use super::super::why::{self, Cause};

/// What is the matter with docker or podman.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Its daemon, or its virtual machine, does not run or cannot be reached.
    NotRunning,
    /// The user may not talk to its daemon.
    NoPermission,
    /// There is no such image, or its name is none.
    NoSuchImage,
    /// The registry does not give it to this user.
    Denied,
    /// The registry has given too much already.
    RateLimited,
    /// The registry cannot be reached.
    Registry,
    /// The image is not there for the architecture.
    NoArchitecture,
    /// This machine does not run programs of the image's architecture.
    WrongArchitecture,
    /// Its disk is full.
    DiskFull,
    /// The image has no Python of the runtime's version.
    NoPython,
    /// A path was changed on the way, or a directory cannot be mounted. layerwise names none, so it can only be an
    /// option of the program's own configuration.
    Mount,
    /// Containers of ordinary users are not possible here.
    Namespaces,
    /// The program that starts containers fails.
    Runtime,
    /// The container was killed.
    Killed,
    /// It took too long to answer.
    Silent,
    /// Something else.
    Unknown,
}

impl Trouble {
    /// Those that a user can do something about, in the order of how often they are met.
    pub const ALL: [Self; 14] = [
        Self::NotRunning,
        Self::NoPermission,
        Self::Registry,
        Self::NoSuchImage,
        Self::Denied,
        Self::RateLimited,
        Self::NoArchitecture,
        Self::WrongArchitecture,
        Self::DiskFull,
        Self::Killed,
        Self::Namespaces,
        Self::Runtime,
        Self::Mount,
        Self::Silent,
    ];
}

/// What programs say, what it means; the first that is found counts. Messages of docker 20.10 to 29 and podman 4 and 5
/// on Linux, macOS and Windows.
const SAYINGS: &[(Trouble, &[&str])] = &[
    (Trouble::NoPermission, &["permission denied while trying to connect", "docker.sock: connect: permission denied"]),
    (Trouble::NoPermission, &["podman.sock: connect: permission denied", "docker_engine: Access is denied"]),
    (
        Trouble::NotRunning,
        &[
            "Cannot connect to the Docker daemon",
            "docker daemon is not running",
            "failed to connect to the docker API",
            "error during connect",
            "unable to resolve docker endpoint",
            "Cannot connect to Podman",
            "unable to connect to Podman",
            "Docker Desktop is not running",
        ],
    ),
    (Trouble::DiskFull, &["no space left on device", "No space left on device", "disk quota exceeded"]),
    (Trouble::WrongArchitecture, &["exec format error", "Exec format error"]),
    (
        Trouble::NoArchitecture,
        &["no matching manifest for", "no image found in image index for", "does not match the specified platform"],
    ),
    (Trouble::RateLimited, &["toomanyrequests", "You have reached your pull rate limit", "429 Too Many Requests"]),
    (
        Trouble::Denied,
        &[
            "pull access denied",
            "requested access to the resource is denied",
            ": denied",
            "unauthorized",
            "authentication required",
            "no basic auth credentials",
            "403 Forbidden",
        ],
    ),
    (
        Trouble::NoSuchImage,
        &[
            "manifest unknown",
            "manifest for ",
            "name unknown",
            "No such image",
            "image not known",
            "invalid reference format",
            "repository name must be lowercase",
            "short-name",
            "StatusCode: 404",
        ],
    ),
    (
        Trouble::Registry,
        &[
            "no such host",
            "pinging container registry",
            "Temporary failure in name resolution",
            "server misbehaving",
            "network is unreachable",
            "TLS handshake timeout",
            "i/o timeout",
            "Client.Timeout exceeded",
            "request canceled while waiting for connection",
            "connect: connection refused",
            "x509:",
        ],
    ),
    (
        Trouble::Mount,
        &[
            "mounts denied",
            "is not shared from the host",
            "invalid mount config",
            "invalid volume specification",
            "error while creating mount source path",
            "C:/Program Files/Git/",
        ],
    ),
    (
        Trouble::Namespaces,
        &[
            "newuidmap",
            "newgidmap",
            "cannot set up namespace",
            "cannot clone: Operation not permitted",
            "user namespaces are not enabled",
            "potentially insufficient UIDs or GIDs",
            "cannot re-exec process",
        ],
    ),
    (Trouble::NoPython, &["executable file not found in $PATH", "not found in $PATH: No such file or directory"]),
    (Trouble::Runtime, &["OCI runtime", "crun:", "runc:", "setrlimit", "cgroup"]),
];

/// What docker or podman failed with, from its exit code and what it said, and the line that says it.
pub fn trouble(code: Option<i32>, said: &str) -> (Trouble, String) {
    for (trouble, markers) in SAYINGS {
        // podman says first that it tries once more, as a warning.
        let found = said.lines().rev().find(|line| markers.iter().any(|marker| line.contains(marker)));
        if let Some(line) = found {
            return (*trouble, tidy(line));
        }
    }
    let line = said.lines().rev().find(|line| line.to_lowercase().contains("error"));
    let line = line.or_else(|| said.lines().rfind(|line| !line.trim().is_empty())).map(tidy).unwrap_or_default();
    match code {
        Some(137) => (Trouble::Killed, line),
        _ => (Trouble::Unknown, line),
    }
}

/// Packages by a header of theirs, on Amazon Linux and on Debian.
const PACKAGES: &[(&str, &str, &str)] = &[
    ("Python.h", "python3-devel", "python3-dev"),
    ("ffi.h", "libffi-devel", "libffi-dev"),
    ("yaml.h", "libyaml-devel", "libyaml-dev"),
    ("libpq-fe.h", "libpq-devel (Amazon Linux 2: postgresql-devel)", "libpq-dev"),
    ("mysql.h", "mariadb-connector-c-devel (Amazon Linux 2: mariadb-devel)", "default-libmysqlclient-dev"),
    ("libxml/", "libxml2-devel and libxslt-devel", "libxml2-dev and libxslt1-dev"),
    ("libxslt/", "libxslt-devel", "libxslt1-dev"),
    ("openssl/", "openssl-devel", "libssl-dev"),
    ("zlib.h", "zlib-devel", "zlib1g-dev"),
    ("jpeglib.h", "libjpeg-turbo-devel", "libjpeg-dev"),
    ("ft2build.h", "freetype-devel", "libfreetype-dev"),
    ("curl/", "libcurl-devel", "libcurl4-openssl-dev"),
    ("sqlite3.h", "sqlite-devel", "libsqlite3-dev"),
    ("lzma.h", "xz-devel", "liblzma-dev"),
    ("bzlib.h", "bzip2-devel", "libbz2-dev"),
    ("gmp.h", "gmp-devel", "libgmp-dev"),
    ("ldap.h", "openldap-devel", "libldap-dev"),
    ("krb5.h", "krb5-devel", "libkrb5-dev"),
    ("sql.h", "unixODBC-devel", "unixodbc-dev"),
];

/// The first line of a build's log that says what went wrong, and what is known about it.
pub fn cause(log: &str) -> Option<Cause> {
    // What is said of a library that is not there speaks of zig's target: here only the line counts.
    log.lines().find_map(known).or_else(|| why::cause(log).map(|cause| Cause { hint: None, ..cause }))
}

/// The line in which a package manager says why it failed.
pub fn of_install(said: &str) -> Option<Cause> {
    const MARKERS: &[&str] = &[
        "Unable to locate package",
        "No match for argument",
        "No package ",
        "unable to select packages",
        "ERROR:",
        "E: ",
        "rror:",
    ];
    let line = MARKERS.iter().find_map(|marker| said.lines().find(|line| line.contains(marker)));
    let line = line.or_else(|| said.lines().rfind(|line| !line.trim().is_empty()))?;
    Some(Cause { line: tidy(line), hint: None, library: false })
}

fn known(line: &str) -> Option<Cause> {
    let found = |hint: String| Some(Cause { line: tidy(line), hint: Some(hint), library: false });
    let install = |amazon: &str, debian: &str| {
        format!("install it in the image with `--system-package`: {amazon}, on Debian {debian}")
    };
    // gcc's words, then clang's.
    let missing = line.split_once("fatal error: ").map(|(_, rest)| rest);
    let header = missing.and_then(|rest| {
        let gcc = rest.strip_suffix(": No such file or directory");
        gcc.or_else(|| rest.strip_prefix('\'')?.strip_suffix("' file not found"))
    });
    if let Some(header) = header {
        let package = PACKAGES.iter().find(|(known, ..)| {
            header == *known
                || header.ends_with(&format!("/{known}"))
                || known.ends_with('/') && header.starts_with(known)
        });
        return found(match package {
            Some((_, amazon, debian)) => install(amazon, debian),
            None => format!("`{header}` is of a library: install its package in the image with `--system-package`"),
        });
    }
    if line.contains("pg_config executable not found") {
        return found(install("libpq-devel (Amazon Linux 2: postgresql-devel)", "libpq-dev"));
    }
    if line.contains("Specify MYSQLCLIENT_CFLAGS") {
        return found(install(
            "mariadb-connector-c-devel (Amazon Linux 2: mariadb-devel)",
            "default-libmysqlclient-dev",
        ));
    }
    if line.contains("libxml2 and libxslt development packages") {
        return found(install("libxml2-devel and libxslt-devel", "libxml2-dev and libxslt1-dev"));
    }
    if let Some((_, library)) = line.split_once("cannot find -l") {
        let name: String = library.chars().take_while(|c| c.is_ascii_alphanumeric() || "+-._".contains(*c)).collect();
        return found(format!("install the library `{name}` in the image with `--system-package`"));
    }
    let compilers = ["gcc", "cc", "g++", "c++", "x86_64-linux-gnu-gcc", "aarch64-linux-gnu-gcc"];
    let no_compiler = compilers.iter().any(|name| {
        line.contains(&format!("command '{name}' failed: No such file or directory"))
            || line.contains(&format!("{name}: command not found"))
            || line.contains(&format!("linker `{name}` not found"))
            || line.contains(&format!("unable to execute '{name}'"))
    });
    if no_compiler || line.contains("Unknown compiler(s)") || line.contains("No CMAKE_C_COMPILER could be found") {
        return found(
            "the image has no compiler: `--system-package gcc` (for C++ also gcc-c++, on Debian g++)".to_owned(),
        );
    }
    if line.contains("can't find Rust compiler") || line.contains("cargo: command not found") {
        return found("the image has no Rust: `--system-package cargo`, or another image".to_owned());
    }
    let network =
        ["Could not resolve host", "Temporary failure in name resolution", "dns error", "Network is unreachable"];
    if network.iter().any(|marker| line.contains(marker)) {
        return found("it wants the network while it is built, which builds here do not have".to_owned());
    }
    if line.contains("No space left on device") {
        return found("the disk of docker or podman is full: `docker system prune`, `podman system prune`".to_owned());
    }
    if line.contains("Killed signal terminated program") || line.contains("killed by signal 9") {
        return found("it was killed, most likely for want of memory: give docker or podman more".to_owned());
    }
    None
}

/// A line for people: no control characters, not too long.
fn tidy(line: &str) -> String {
    line.trim().chars().filter(|c| !c.is_control()).take(400).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: i32, said: &str, expected: Trouble) {
        let (trouble, line) = trouble(Some(code), said);
        assert_eq!(trouble, expected, "{said}");
        assert!(said.contains(&line) && !line.is_empty(), "{line}");
    }

    /// Said by docker 28.2.2 and podman 4.3.1 on Debian 12, where nothing else is noted.
    #[test]
    fn what_docker_and_podman_really_say() {
        let not_running =
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?\n";
        check(1, not_running, Trouble::NotRunning);
        check(
            1,
            "error during connect: Get \"http://nohost.invalid:2375/v1.50/containers/json\": dial tcp: lookup nohost.invalid on 10.255.255.53:53: no such host\n",
            Trouble::NotRunning,
        );
        check(
            1,
            "Failed to initialize: unable to resolve docker endpoint: context \"nope\": context not found: open /root/.docker/contexts/meta/ca37/meta.json: no such file or directory\n",
            Trouble::NotRunning,
        );
        check(
            1,
            "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Get \"http://%2Fvar%2Frun%2Fdocker.sock/v1.50/containers/json\": dial unix /var/run/docker.sock: connect: permission denied\n",
            Trouble::NoPermission,
        );
        // docker 29 and Docker Desktop on Windows and macOS, as their documentation and issues quote them.
        check(
            1,
            "failed to connect to the docker API at unix:///var/run/docker.sock; check if the path is correct and if the daemon is running: dial unix /var/run/docker.sock: connect: no such file or directory",
            Trouble::NotRunning,
        );
        check(
            1,
            "error during connect: this error may indicate that the docker daemon is not running: Get \"http://%2F%2F.%2Fpipe%2Fdocker_engine/v1.24/containers/json\": open //./pipe/docker_engine: The system cannot find the file specified.",
            Trouble::NotRunning,
        );
        check(
            125,
            "Cannot connect to Podman. Please verify your connection to the Linux system using `podman system connection list`, or try `podman machine init` and `podman machine start` to manage a new Linux VM\nError: unable to connect to Podman socket: failed to connect: dial tcp 127.0.0.1:50000: connect: connection refused",
            Trouble::NotRunning,
        );

        check(
            125,
            "Trying to pull public.ecr.aws/sam/build-python3.12:latest-x86_64...\nError: initializing source docker://public.ecr.aws/sam/build-python3.12:latest-x86_64: pinging container registry public.ecr.aws: Get \"https://public.ecr.aws/v2/\": dial tcp: lookup public.ecr.aws on 10.255.255.53:53: no such host\n",
            Trouble::Registry,
        );
        check(
            125,
            "time=\"2026-11-25T11:03:11Z\" level=warning msg=\"Failed, retrying in 1s ... (1/3). Error: initializing source docker://localhost:1/none:latest\"\nError: initializing source docker://localhost:1/none:latest: pinging container registry localhost:1: Get \"https://localhost:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused\n",
            Trouble::Registry,
        );
        check(125, "Error: invalid reference format", Trouble::NoSuchImage);
        check(125, "Error: inspecting object: nosuch: image not known", Trouble::NoSuchImage);
        check(
            127,
            "Error: runc: runc create failed: unable to start container process: exec: \"python3.12\": executable file not found in $PATH: OCI runtime attempted to invoke a command that was not found\n",
            Trouble::NoPython,
        );
        check(
            127,
            "Error: crun: executable file `python3.12` not found in $PATH: No such file or directory: OCI runtime attempted to invoke a command that was not found",
            Trouble::NoPython,
        );
        // Of a registry on this machine that refuses, as the distribution specification has it.
        let podman = "Error: initializing source docker://127.0.0.1:5001/x/image:latest: reading manifest latest in 127.0.0.1:5001/x/image: ";
        for (error, expected) in [
            ("manifest unknown", Trouble::NoSuchImage),
            ("name unknown", Trouble::NoSuchImage),
            ("unauthorized", Trouble::Denied),
            ("denied", Trouble::Denied),
            ("toomanyrequests: You have reached your pull rate limit.", Trouble::RateLimited),
        ] {
            check(1, &format!("Error response from daemon: {error}\n"), expected);
            check(125, &format!("{podman}{error}\n"), expected);
        }
        check(1, "no matching manifest for linux/amd64 in the manifest list entries", Trouble::NoArchitecture);
        check(
            125,
            "Error: choosing an image from manifest list docker://127.0.0.1:5001/x/image:latest: no image found in image index for architecture amd64, variant \"\", OS linux",
            Trouble::NoArchitecture,
        );
        // From docker's and the registries' documentation.
        check(
            1,
            "Error response from daemon: manifest for public.ecr.aws/sam/build-python3.99:latest not found: manifest unknown: Requested image not found",
            Trouble::NoSuchImage,
        );
        check(
            1,
            "Error response from daemon: pull access denied for secret/image, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
            Trouble::Denied,
        );
        check(
            1,
            "Error response from daemon: toomanyrequests: You have reached your pull rate limit.",
            Trouble::RateLimited,
        );
        check(1, "no matching manifest for linux/arm64/v8 in the manifest list entries", Trouble::NoArchitecture);
        check(1, "exec /usr/bin/python3.11: exec format error", Trouble::WrongArchitecture);
        check(
            125,
            "docker: Error response from daemon: mkdir /var/lib/docker/overlay2/x: no space left on device.",
            Trouble::DiskFull,
        );
        // The seed's, of a script that mounts.
        check(
            125,
            "docker: Error response from daemon: invalid mount config for type bind: C:/Program Files/Git/var/task",
            Trouble::Mount,
        );
        check(
            126,
            "Error: crun: setrlimit `RLIMIT_NOFILE`: Operation not permitted: OCI permission denied",
            Trouble::Runtime,
        );
        check(125, "Error: cannot set up namespace using \"/usr/bin/newuidmap\": exit status 1", Trouble::Namespaces);
        check(137, "x", Trouble::Killed);
        check(1, "something else", Trouble::Unknown);
        assert_eq!(trouble(None, ""), (Trouble::Unknown, String::new()));
    }

    #[track_caller]
    fn build(log: &str, hint: &str) {
        let cause = cause(log).unwrap();
        assert!(cause.hint.clone().unwrap_or_default().contains(hint), "{cause:?}");
    }

    #[test]
    fn what_compilers_of_images_say() {
        build("./psycopg/psycopg.h:35:10: fatal error: libpq-fe.h: No such file or directory", "libpq-dev");
        build("a.c:1:10: fatal error: 'ffi.h' file not found", "libffi-devel");
        build("a.c:1:10: fatal error: mysql/mysql.h: No such file or directory", "mariadb");
        build("a.c:1:10: fatal error: nobody.h: No such file or directory", "`nobody.h` is of a library");
        build("/usr/bin/ld: cannot find -lpq: No such file or directory", "`pq`");
        build("error: command 'gcc' failed: No such file or directory", "--system-package gcc");
        build("error: linker `cc` not found", "--system-package gcc");
        build("error: can't find Rust compiler", "--system-package cargo");
        build("fatal: unable to access 'https://github.com/': Could not resolve host: github.com", "network");
        build("gcc: fatal error: Killed signal terminated program cc1plus", "memory");
        assert_eq!(cause("a.c:3: error: expected ';'").unwrap().hint, None);
    }
}
