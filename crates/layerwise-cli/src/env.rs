//! Everything layerwise takes from its surroundings: environment variables, the clock, the working directory, the
//! programs on PATH, the user's configuration files of uv, pip and netrc. Nothing else reads these.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use layerwise::input::{ConfigFile, InputError, Surroundings, project_config};
use layerwise::io::Programs;
use layerwise::model::ContainerProgram;

/// The variables layerwise itself reads, and what for; `docs/environment.md` is made from this table.
pub(crate) const VARIABLES: &[(&str, &str)] = &[
    ("LAYERWISE_CACHE_DIR", "Where the cache is; `--cache-dir` wins."),
    ("LAYERWISE_RUNTIME", "The runtimes to build for, separated by commas; `--runtime` wins, the configuration loses."),
    ("LAYERWISE_ARCHITECTURE", "The architectures, separated by commas; `--arch` wins, the configuration loses."),
    ("LAYERWISE_OFFLINE", "Use only what is in the cache, when it is `1` or `true`; so does `UV_OFFLINE`."),
    (
        "LAYERWISE_ADD_RUST_TARGETS",
        "Let `rustup target add` get what Rust lacks for the target, when it is `1` or `true`; so does `--add-rust-targets`.",
    ),
    ("LAYERWISE_UV", "The `uv` to run, instead of the one on PATH."),
    (
        "LAYERWISE_TODAY",
        "Another day than the present one, for the runtimes' dates (`2027-07-01`): what will it say then?",
    ),
    ("NO_COLOR", "No colours, when it is not empty (<https://no-color.org>); `--color` wins."),
    ("CLICOLOR_FORCE", "Colours even without a terminal, when it is neither empty nor `0`."),
    ("TERM", "`dumb` means no colours and no progress bars."),
    ("COLUMNS", "The width of summaries when stdout is no terminal."),
    (
        "UV_*",
        "Index settings and credentials as uv reads them (`UV_DEFAULT_INDEX`, `UV_INDEX`, `UV_INDEX_<NAME>_USERNAME`, …).",
    ),
    ("UV_CONFIG_FILE, UV_NO_CONFIG", "Which of uv's configuration files are read, as uv does."),
    ("UV_CONCURRENT_DOWNLOADS", "Downloads at once (16)."),
    ("UV_HTTP_TIMEOUT", "Seconds a server may stay silent (30)."),
    ("PIP_*", "Index settings as pip reads them (`PIP_INDEX_URL`, `PIP_EXTRA_INDEX_URL`, …); uv's win."),
    ("PIP_CONFIG_FILE, VIRTUAL_ENV", "Where pip's configuration files are."),
    ("PIP_CERT, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE", "Certificates (PEM) to trust besides the system's."),
    ("SSL_CERT_FILE, SSL_CERT_DIR", "The system's certificates, on systems where OpenSSL's are used."),
    ("HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY", "Proxies, in either case."),
    (
        "PYENV_ROOT, UV_PYTHON_INSTALL_DIR, XDG_DATA_HOME",
        "Where Pythons for `check --run` are looked for besides PATH.",
    ),
    ("NETRC", "The netrc file, instead of `~/.netrc`."),
    (
        "AWS_*",
        "Who and where we are in AWS, as the AWS SDK reads them (`AWS_PROFILE`, `AWS_ACCESS_KEY_ID`, `AWS_REGION`, \
         `AWS_ENDPOINT_URL`, …), for `publish`, `promote`, `logs` and `invoke --remote`.",
    ),
    (
        "PATH",
        "Where `uv`, `keyring`, Pythons, `cargo`, `rustc`, `rustup`, `qemu`, `docker` and `podman` are looked for.",
    ),
    (
        "DOCKER_HOST, DOCKER_CONTEXT, CONTAINER_HOST",
        "Which docker or podman builds with `--engine container` go to; the programs read them themselves.",
    ),
    ("RUSTC", "The Rust compiler for packages that are compiled, instead of the one on PATH."),
    (
        "TF_PLUGIN_MAGIC_COOKIE, PLUGIN_PROTOCOL_VERSIONS, PLUGIN_CLIENT_CERT, PLUGIN_UNIX_SOCKET_DIR",
        "Set by Terraform for the provider that it starts.",
    ),
    ("LAYERWISE_SHIM", "Set by layerwise itself for the compilers that builds call."),
    ("HOME, XDG_CACHE_HOME, XDG_CONFIG_HOME, XDG_CONFIG_DIRS", "Where caches and configuration files are."),
    ("USERPROFILE, LOCALAPPDATA, APPDATA, ALLUSERSPROFILE, PATHEXT", "The same, on Windows."),
];

/// A snapshot of the surroundings. No `Debug`: variables hold secrets.
#[derive(Clone)]
pub(crate) struct Environment {
    arguments: Vec<OsString>,
    variables: BTreeMap<OsString, OsString>,
    /// The working directory; `.` where the system cannot say.
    pub(crate) dir: PathBuf,
    /// The present.
    pub(crate) now: SystemTime,
    /// This program.
    program: Option<PathBuf>,
    /// Whether stdout is a terminal.
    pub(crate) stdout_is_terminal: bool,
    /// Whether stderr is a terminal.
    pub(crate) stderr_is_terminal: bool,
    /// Whether somebody can answer.
    pub(crate) stdin_is_terminal: bool,
}

impl Environment {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the surroundings")]
    pub(crate) fn of_this_process() -> Self {
        Self {
            arguments: std::env::args_os().collect(),
            variables: std::env::vars_os().collect(),
            dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
            program: std::env::current_exe().ok(),
            now: SystemTime::now(),
            stdout_is_terminal: std::io::stdout().is_terminal(),
            stderr_is_terminal: std::io::stderr().is_terminal(),
            stdin_is_terminal: std::io::stdin().is_terminal(),
        }
    }

    #[cfg(test)]
    pub(crate) fn of(variables: &[(&str, &str)], dir: &Path) -> Self {
        Self {
            arguments: Vec::new(),
            variables: variables.iter().map(|(key, value)| (key.into(), value.into())).collect(),
            dir: dir.to_owned(),
            program: None,
            // 2026-11-24
            now: SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_795_478_400),
            stdout_is_terminal: false,
            stderr_is_terminal: false,
            stdin_is_terminal: false,
        }
    }

    /// The part that layerwise plays for itself, where this process is one of those: a compiler's name, or the walls
    /// around a build. Its exit code, and what to say.
    pub(crate) fn part(&self) -> Option<(i32, Option<String>)> {
        use layerwise::compile::{sandbox, shim};
        use layerwise::local::launch;
        let (argv0, args) = self.arguments.split_first()?;
        if let (Some(config), Some(name)) = (self.path("LAYERWISE_SHIM"), shim::called_as(argv0))
            && shim::role(name).is_some()
        {
            return Some(match shim::run(name, args, &config, &self.dir) {
                Ok(ended) => ended,
                Err(error) => (1, Some(format!("layerwise: {name}: {error}"))),
            });
        }
        if let Some((stage, rest)) = args.split_first()
            && [launch::OUTER, launch::INNER, launch::KEEPER].iter().any(|own| stage == own)
        {
            let run = launch::run(stage.to_str()?, rest, self.program.as_deref()?);
            return Some(run.map_or_else(|error| (125, Some(format!("layerwise: {error}"))), |code| (code, None)));
        }
        let (stage, rest) =
            args.split_first().filter(|(first, _)| *first == sandbox::OUTER || *first == sandbox::INNER)?;
        let run = sandbox::run(stage.to_str()?, rest, self.program.as_deref()?);
        Some(run.map_or_else(|error| (125, Some(error.to_string())), |code| (code, None)))
    }

    /// Whether this program goes by the name of a Terraform provider.
    pub(crate) fn is_terraform_provider(&self) -> bool {
        let name = self.arguments.first().and_then(|argv0| Path::new(argv0).file_name());
        name.is_some_and(|name| name.to_string_lossy().starts_with("terraform-provider-"))
    }

    /// This program's file.
    pub(crate) fn program(&self) -> Option<&Path> {
        self.program.as_deref()
    }

    /// Where Terraform looks for plugins of this user:
    /// <https://developer.hashicorp.com/terraform/cli/config/config-file#implied-local-mirror-directories>.
    pub(crate) fn terraform_plugins(&self) -> Option<PathBuf> {
        if cfg!(windows) {
            return Some(self.path("APPDATA")?.join("terraform.d").join("plugins"));
        }
        Some(self.home()?.join(".terraform.d").join("plugins"))
    }

    /// What a local function gets of this environment: who we are to AWS, where, and at which endpoints. A profile
    /// would need files that a function does not see.
    pub(crate) fn for_functions(&self) -> Vec<(String, String)> {
        const NAMES: [&str; 5] =
            ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"];
        let mut found: Vec<(String, String)> = self
            .all_text()
            .into_iter()
            .filter(|(name, _)| NAMES.contains(&name.as_str()) || name.starts_with("AWS_ENDPOINT_URL"))
            .collect();
        let has = |name: &str, found: &[(String, String)]| found.iter().any(|(key, _)| key == name);
        // Keys without a session token are whole; ours would spoil them.
        if has("AWS_ACCESS_KEY_ID", &found) && !has("AWS_SESSION_TOKEN", &found) {
            found.push(("AWS_SESSION_TOKEN".to_owned(), String::new()));
        }
        found
    }

    /// The clock, for requests that are signed with the time they are sent.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the surroundings")]
    pub(crate) fn clock() -> SystemTime {
        SystemTime::now()
    }

    pub(crate) fn arguments(&self) -> impl Iterator<Item = OsString> + use<> {
        self.arguments.clone().into_iter()
    }

    /// A variable that is set and not empty.
    fn os(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// A variable that is set, not empty, and text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.os(name)?.to_str()
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.os(name).map(PathBuf::from)
    }

    /// A variable that says yes.
    pub(crate) fn yes(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| matches!(value.to_lowercase().as_str(), "1" | "true" | "yes" | "on"))
    }

    /// The values of a variable, separated by commas or spaces.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        text.split([',', ' ']).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    /// What child processes get.
    pub(crate) fn for_children(&self) -> Vec<(OsString, OsString)> {
        self.variables.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Every variable that is text: requirements files may name any of them, `${TOKEN}`.
    pub(crate) fn all_text(&self) -> BTreeMap<String, String> {
        let pair = |(key, value): (&OsString, &OsString)| Some((key.to_str()?.to_owned(), value.to_str()?.to_owned()));
        self.variables.iter().filter_map(pair).collect()
    }

    /// Whether to write colours to stdout or stderr (`terminal`: whether it is one).
    pub(crate) fn wants_color(&self, terminal: bool) -> bool {
        if self.os("NO_COLOR").is_some() {
            return false;
        }
        let forced = self.text("CLICOLOR_FORCE").is_some_and(|value| value != "0");
        forced || (terminal && !self.is_dumb())
    }

    /// Whether the terminal can only print lines.
    pub(crate) fn is_dumb(&self) -> bool {
        self.text("TERM") == Some("dumb")
    }

    fn home(&self) -> Option<PathBuf> {
        self.path("HOME").or_else(|| self.path("USERPROFILE"))
    }

    fn user_config(&self) -> Option<PathBuf> {
        self.path("XDG_CONFIG_HOME")
            .filter(|path| path.is_absolute())
            .or_else(|| if cfg!(windows) { self.path("APPDATA") } else { Some(self.home()?.join(".config")) })
    }

    fn system_configs(&self) -> Vec<PathBuf> {
        match self.os("XDG_CONFIG_DIRS") {
            _ if cfg!(windows) => Vec::new(),
            Some(dirs) => std::env::split_paths(dirs).filter(|dir| dir.is_absolute()).collect(),
            None => vec![PathBuf::from("/etc/xdg")],
        }
    }

    /// Where the cache is when no flag says so: the conventions of each system.
    pub(crate) fn cache_dir(&self) -> Option<PathBuf> {
        if let Some(dir) = self.path("LAYERWISE_CACHE_DIR") {
            return Some(self.dir.join(dir));
        }
        // The XDG specification: relative paths are invalid and to be ignored.
        if let Some(dir) = self.path("XDG_CACHE_HOME").filter(|path| path.is_absolute()) {
            return Some(dir.join("layerwise"));
        }
        if cfg!(windows) {
            return Some(self.path("LOCALAPPDATA")?.join("layerwise").join("cache"));
        }
        let home = self.home()?;
        Some(home.join(if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" }).join("layerwise"))
    }

    /// The first program with this name on PATH.
    pub(crate) fn find_program(&self, name: &str) -> Option<PathBuf> {
        let names: Vec<String> = if cfg!(windows) {
            let extensions = self.text("PATHEXT").unwrap_or(".EXE");
            extensions.split(';').map(|extension| format!("{name}{extension}")).collect()
        } else {
            vec![name.to_owned()]
        };
        let dirs = std::env::split_paths(self.os("PATH")?);
        // An empty entry means the working directory, which may be anybody's: skipped.
        let dirs = dirs.filter(|dir| dir.is_absolute());
        dirs.flat_map(|dir| names.iter().map(move |name| dir.join(name)).collect::<Vec<_>>()).find(|p| is_program(p))
    }

    /// The `uv` to run.
    pub(crate) fn uv(&self) -> Option<PathBuf> {
        self.path("LAYERWISE_UV").map(|path| self.dir.join(path)).or_else(|| self.find_program("uv"))
    }

    /// Where AWS credentials would come from; not what they are.
    pub(crate) fn aws_credentials(&self) -> Option<String> {
        for name in
            ["AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"]
        {
            if self.os(name).is_some() {
                return Some(format!("the variable {name}"));
            }
        }
        let files = ["credentials", "config"].map(|name| self.home().map(|home| home.join(".aws").join(name)));
        files.into_iter().flatten().find(|path| path.is_file()).map(|path| path.display().to_string())
    }

    /// What building from source uses.
    pub(crate) fn programs(&self) -> Programs {
        let rustc = self.path("RUSTC").map(|path| self.dir.join(path));
        let path_rustc = self.find_program("rustc");
        let pythons = self.pythons_by_minor();
        Programs {
            layerwise: self.program.clone(),
            pythons: MINORS.map(|minor| (minor, with_these_first(&pythons, &[minor]))).collect(),
            cargo: self.find_program("cargo"),
            path_rustc,
            rustc,
            rustup: self.find_program("rustup"),
            containers: self.containers(),
            git: self.find_program("git"),
            jobs: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        }
    }

    /// Programs on PATH that run containers, in the order in which they are tried.
    pub(crate) fn containers(&self) -> Vec<(ContainerProgram, PathBuf)> {
        let here = |program: ContainerProgram| Some((program, self.find_program(program.name())?));
        ContainerProgram::ALL.into_iter().filter_map(here).collect()
    }

    /// Where Pythons of these minor versions may be, and behind them any other: PATH, pyenv, uv.
    pub(crate) fn pythons(&self, minors: &[u8]) -> Vec<PathBuf> {
        with_these_first(&self.pythons_by_minor(), minors)
    }

    fn pythons_by_minor(&self) -> BTreeMap<u8, Vec<PathBuf>> {
        let home = self.home();
        let pyenv = self.path("PYENV_ROOT").or_else(|| Some(home.as_ref()?.join(".pyenv")));
        let data = self.path("XDG_DATA_HOME").or_else(|| Some(home.as_ref()?.join(".local/share")));
        let uv = self.path("UV_PYTHON_INSTALL_DIR").or_else(|| Some(data?.join("uv/python")));
        let entries = |dir: Option<PathBuf>| -> Vec<PathBuf> {
            let entries = dir.into_iter().flat_map(fs_err::read_dir).flatten().flatten();
            let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            paths.sort();
            paths
        };
        let (pyenv, uv) = (entries(pyenv.map(|root| root.join("versions"))), entries(uv));
        let of_minor = |minor: u8| {
            let program = format!("python3.{minor}");
            let installed = |entries: &[PathBuf], prefix: String| -> Vec<PathBuf> {
                let is_named =
                    |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix));
                entries.iter().filter(|path| is_named(path)).map(|path| path.join("bin").join(&program)).collect()
            };
            let mut found = Vec::from_iter(self.find_program(&program));
            found.extend(installed(&pyenv, format!("3.{minor}.")));
            found.extend(installed(&uv, format!("cpython-3.{minor}.")));
            found
        };
        MINORS.map(|minor| (minor, of_minor(minor))).collect()
    }

    /// Programs that run programs of another architecture.
    pub(crate) fn emulators(&self) -> Vec<PathBuf> {
        let names = ["qemu-aarch64-static", "qemu-aarch64", "qemu-x86_64-static", "qemu-x86_64"];
        // Those of this machine's own architecture are of no use.
        let own = format!("qemu-{}", std::env::consts::ARCH);
        names.iter().filter(|name| !name.starts_with(&own)).filter_map(|name| self.find_program(name)).collect()
    }

    /// What says where packages come from, for the project in `dir`.
    pub(crate) fn surroundings(&self, dir: &Path) -> Result<Surroundings, InputError> {
        Ok(Surroundings {
            env: self.all_text(),
            uv_config: self.uv_config(dir)?,
            pip_config: self.pip_config(),
            dir: self.dir.clone(),
        })
    }

    /// uv's configuration files, the one that wins first:
    /// <https://docs.astral.sh/uv/concepts/configuration-files/>.
    fn uv_config(&self, project: &Path) -> Result<Vec<ConfigFile>, InputError> {
        if self.yes("UV_NO_CONFIG") {
            return Ok(Vec::new());
        }
        if let Some(file) = self.path("UV_CONFIG_FILE") {
            return Ok(read(&self.dir.join(file)).into_iter().collect());
        }
        let mut system: Vec<PathBuf> = self.system_configs().iter().map(|dir| dir.join("uv/uv.toml")).collect();
        system.push(PathBuf::from("/etc/uv/uv.toml"));
        let system = if cfg!(windows) { None } else { system.iter().find_map(|path| read(path)) };
        let user = self.user_config().and_then(|dir| read(&dir.join("uv").join("uv.toml")));
        let project = project_config(&self.dir.join(project))?;
        Ok([project, user, system].into_iter().flatten().collect())
    }

    /// pip's configuration files, the one that wins first:
    /// <https://pip.pypa.io/en/stable/topics/configuration/>.
    fn pip_config(&self) -> Vec<ConfigFile> {
        let explicit = self.path("PIP_CONFIG_FILE");
        if explicit.as_deref().is_some_and(|path| path == Path::new(if cfg!(windows) { "nul" } else { "/dev/null" })) {
            return Vec::new();
        }
        let file = if cfg!(windows) { "pip.ini" } else { "pip.conf" };
        let mut paths: Vec<PathBuf> = self.system_configs().iter().map(|dir| dir.join("pip").join(file)).collect();
        if cfg!(windows) {
            paths.extend(self.path("ALLUSERSPROFILE").map(|dir| dir.join("pip").join(file)));
        } else {
            paths.push(PathBuf::from("/etc/pip.conf"));
        }
        if let Some(home) = self.home() {
            paths.push(home.join(if cfg!(windows) { "pip" } else { ".pip" }).join(file));
            if cfg!(target_os = "macos") {
                paths.push(home.join("Library/Application Support/pip").join(file));
            }
        }
        paths.extend(self.user_config().map(|dir| dir.join("pip").join(file)));
        paths.extend(self.path("VIRTUAL_ENV").map(|dir| dir.join(file)));
        paths.extend(explicit.map(|path| self.dir.join(path)));
        paths.iter().rev().filter_map(|path| read(path)).collect()
    }

    /// The user's netrc.
    pub(crate) fn netrc(&self) -> Option<ConfigFile> {
        let explicit = self.path("NETRC").map(|path| self.dir.join(path));
        explicit.or_else(|| Some(self.home()?.join(".netrc"))).and_then(|path| read(&path))
    }

    /// Certificates to trust besides the system's.
    pub(crate) fn ca_files(&self) -> Vec<PathBuf> {
        let names = ["PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];
        let paths = names.iter().filter_map(|name| self.path(name)).map(|path| self.dir.join(path));
        paths.filter(|path| path.is_file()).collect()
    }
}

/// The minor versions of Python 3 that are looked for.
const MINORS: std::ops::RangeInclusive<u8> = 9..=15;

/// Those of `minors`, and behind them the others, the newest first.
fn with_these_first(by_minor: &BTreeMap<u8, Vec<PathBuf>>, minors: &[u8]) -> Vec<PathBuf> {
    let others = by_minor.keys().rev().filter(|minor| !minors.contains(minor));
    minors.iter().chain(others).filter_map(|minor| by_minor.get(minor)).flatten().cloned().collect()
}

/// A file that is not there, or cannot be read, has nothing to say, as for uv and pip.
fn read(path: &Path) -> Option<ConfigFile> {
    let text = fs_err::read_to_string(path).ok()?;
    Some(ConfigFile { path: path.to_owned(), text })
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs_err::metadata(path).is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(path: &Path) -> bool {
    path.is_file()
}

/// `docs/environment.md`.
pub(crate) fn documentation() -> String {
    let mut text = "# Environment variables\n\n\
        Made by `layerwise generate` from `crates/layerwise-cli/src/env.rs`, the only file that reads the environment.\n\
        A flag wins over a variable, a variable over the configuration, the configuration over a default.\n\n\
        | variable | meaning |\n|---|---|\n"
        .to_owned();
    for (name, meaning) in VARIABLES {
        let names: Vec<String> = name.split(", ").map(|name| format!("`{name}`")).collect();
        text += &format!("| {} | {meaning} |\n", names.join(", "));
    }
    text
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[track_caller]
    fn cache(variables: &[(&str, &str)], expected: &str) {
        let dir = Environment::of(variables, Path::new("/work")).cache_dir();
        assert_eq!(dir.as_deref(), Some(Path::new(expected)));
    }

    #[test]
    fn the_cache_follows_the_conventions() {
        cache(&[("HOME", "/h")], "/h/.cache/layerwise");
        cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")], "/x/layerwise");
        cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "relative")], "/h/.cache/layerwise");
        cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x"), ("LAYERWISE_CACHE_DIR", "c")], "/work/c");
        cache(&[("HOME", "/h"), ("LAYERWISE_CACHE_DIR", "")], "/h/.cache/layerwise");
        assert_eq!(Environment::of(&[], Path::new("/work")).cache_dir(), None);
    }

    #[test]
    fn colours() {
        let wants =
            |variables: &[(&str, &str)], terminal| Environment::of(variables, Path::new("/")).wants_color(terminal);
        assert!(wants(&[], true));
        assert!(!wants(&[], false));
        assert!(!wants(&[("NO_COLOR", "1")], true));
        assert!(wants(&[("NO_COLOR", "")], true));
        assert!(wants(&[("CLICOLOR_FORCE", "1")], false));
        assert!(!wants(&[("TERM", "dumb")], true));
    }

    #[test]
    fn configuration_files_in_order_of_strength() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_str().unwrap();
        for (path, text) in [
            ("home/.pip/pip.conf", "legacy"),
            ("home/.config/pip/pip.conf", "user"),
            ("venv/pip.conf", "site"),
            ("home/.config/uv/uv.toml", "user"),
            ("project/uv.toml", "project"),
            ("home/.netrc", "netrc"),
        ] {
            let path = dir.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        let (home, venv) = (format!("{root}/home"), format!("{root}/venv"));
        let variables = [("HOME", home.as_str()), ("VIRTUAL_ENV", venv.as_str()), ("XDG_CONFIG_DIRS", "/nowhere")];
        let environment = Environment::of(&variables, dir.path());
        let texts = |files: Vec<ConfigFile>| files.into_iter().map(|file| file.text).collect::<Vec<_>>();
        assert!(texts(environment.pip_config()).starts_with(&["site".into(), "user".into(), "legacy".into()]));
        assert!(
            texts(environment.uv_config(Path::new("project/sub")).unwrap())
                .starts_with(&["project".into(), "user".into()])
        );
        assert_eq!(environment.netrc().unwrap().text, "netrc");
        let off = [("HOME", home.as_str()), ("PIP_CONFIG_FILE", "/dev/null"), ("UV_NO_CONFIG", "1")];
        let environment = Environment::of(&off, dir.path());
        assert!(environment.pip_config().is_empty() && environment.uv_config(Path::new("project")).unwrap().is_empty());
    }
}
