//! Typed → meant. The only place that knows who wins: flag, then environment, then file, then default.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use layerwise::assemble::Layout;
use layerwise::audit::{Allowance, Role};
use layerwise::config::{
    Config, ConfigError, FunctionSpec, InputSpec, InvalidLayerName, LayerSpec, OutputTemplate, Texts, current_runtimes,
    matrix,
};
use layerwise::error::{Explain, Kind};
use layerwise::event::{Consent, Events};
use layerwise::input::{Credentials, FindLinks, Index, IndexOptions};
use layerwise::io::IoSettings;
use layerwise::model::compile::InvalidSystemPackage;
use layerwise::model::date;
use layerwise::model::name::InvalidPackageName;
use layerwise::model::target::TargetError;
use layerwise::model::{Architecture, ContainerProgram, Runtime, Target};
use layerwise::pipeline::{Candidate, Check, Running};
use layerwise::prove::Search;
use url::Url;

use crate::args::{BuildArgs, CheckArgs, ContainerProgramName, EngineName, IndexArgs, InputArgs, LayoutName, RoleName};
use crate::env::Environment;

/// What was typed cannot be meant.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("`{}` is not a directory", .0.display())]
    NoDirectory(PathBuf),
    #[error("failed to read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Name(#[from] InvalidLayerName),
    #[error(transparent)]
    Package(#[from] InvalidPackageName),
    #[error(transparent)]
    SystemPackage(#[from] InvalidSystemPackage),
    #[error("`{0}` is of no use to the engine zig")]
    OfContainer(&'static str),
    #[error("`--name` names one layer, but the configuration has {0}")]
    NameOfMany(usize),
    #[error("no runtime is named to check for")]
    NoRuntimeToCheck(Vec<String>),
    #[error("`{0}` is not a URL of a package index")]
    IndexUrl(String),
    #[error("no directory for Terraform's plugins: HOME is not set")]
    NoPluginDir,
    #[error("no directory for the cache: neither LAYERWISE_CACHE_DIR nor HOME is set")]
    NoCacheDir,
}

impl Explain for SettingsError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoDirectory(_) | Self::Read { .. } => Kind::Input,
            Self::NoCacheDir | Self::NoPluginDir => Kind::System,
            _ => Kind::Usage,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NoDirectory(path) if path.is_file() => {
                vec![format!("pass a file with `-r {}`", path.display())]
            }
            Self::Config(error) => error.hints(),
            Self::Target(_) => vec!["`layerwise targets` lists the runtimes and architectures".to_owned()],
            Self::NameOfMany(_) => vec!["pick layers with `--layer NAME`".to_owned()],
            Self::IndexUrl(_) => vec!["write it as `https://host/simple`, or `name=https://host/simple`".to_owned()],
            Self::NoRuntimeToCheck(current) => vec![format!("pass `--runtime` with one of {}", current.join(", "))],
            Self::NoPluginDir => vec!["pass `--dir DIR`".to_owned()],
            Self::OfContainer(_) => vec!["add `--engine container`".to_owned()],
            Self::NoCacheDir => vec!["pass `--cache-dir DIR`".to_owned()],
            _ => Vec::new(),
        }
    }
}

/// A project with its layers, flags and variables applied.
#[derive(Debug)]
pub(crate) struct Project {
    /// Its directory, absolute.
    pub(crate) dir: PathBuf,
    /// What to make.
    pub(crate) layers: Vec<LayerSpec>,
    /// The functions to make, each with its targets.
    pub(crate) functions: Vec<(FunctionSpec, Vec<(&'static Runtime, Architecture)>)>,
    /// What is odd about the configuration.
    pub(crate) warnings: Vec<String>,
}

/// What the flags of `build` and `lock` mean for the project in their directory. `lock` has no `build`.
pub(crate) fn project(
    input: &InputArgs,
    build: Option<&BuildArgs>,
    environment: &Environment,
) -> Result<Project, SettingsError> {
    let dir = if input.dir == Path::new(".") { environment.dir.clone() } else { environment.dir.join(&input.dir) };
    if !dir.is_dir() {
        return Err(SettingsError::NoDirectory(input.dir.clone()));
    }
    let config = config(&dir)?;
    let given = !input.requirements.is_empty() || !input.packages.is_empty();
    // Functions are the configuration's: whoever builds something else, or a part, does not mean them.
    let all = !given && input.layers.is_empty() && input.name.is_none();
    let functions = match build {
        Some(build) if all => config.select_functions(&build.functions)?,
        _ => Vec::new(),
    };
    let used: Vec<String> = match build {
        Some(build) if !build.functions.is_empty() => functions.iter().flat_map(FunctionSpec::layer_names).collect(),
        _ => input.layers.clone(),
    };
    let without_layers = build.is_some_and(|build| !build.functions.is_empty()) && used.is_empty();
    let mut layers = match (given, without_layers) {
        (true, _) => vec![config.defaults.clone()],
        (false, true) => Vec::new(),
        (false, false) if !functions.is_empty() && !config.named => Vec::new(),
        (false, false) => config.select(&used)?,
    };
    if given {
        layers[0].input = InputSpec::Given {
            files: input.requirements.iter().map(|file| environment.dir.join(file)).collect(),
            packages: input.packages.clone(),
        };
    }
    if let Some(name) = &input.name {
        let name = name.parse()?;
        match layers.as_mut_slice() {
            [only] => only.name = name,
            many => return Err(SettingsError::NameOfMany(many.len())),
        }
    }

    let runtimes = first(&input.runtimes, || environment.list("LAYERWISE_RUNTIME"));
    let runtimes = runtimes.iter().map(|name| Runtime::find(name)).collect::<Result<Vec<_>, _>>()?;
    let architectures = first(&input.architectures, || environment.list("LAYERWISE_ARCHITECTURE"));
    let architectures = architectures.iter().map(|name| architecture(name)).collect::<Result<Vec<_>, _>>()?;
    for layer in &mut layers {
        if !runtimes.is_empty() {
            layer.runtimes = unique(&runtimes);
        }
        if !architectures.is_empty() {
            layer.architectures = unique(&architectures);
        }
        if !input.extras.is_empty() {
            layer.extras = input.extras.iter().cloned().collect();
        }
        if !input.groups.is_empty() {
            layer.groups = input.groups.iter().cloned().collect();
        }
        let names = input.compile.iter().map(|name| name.parse()).collect::<Result<Vec<_>, _>>()?;
        layer.compile.names.extend(names);
        layer.compile.all |= input.compile_all;
        engine(input, layer)?;
        if let Some(build) = build {
            apply(build, layer, environment)?;
        }
    }
    let functions = functions.into_iter().map(|function| {
        let runtimes = if runtimes.is_empty() { function.runtime.into_iter().collect() } else { unique(&runtimes) };
        if runtimes.is_empty() {
            return Err(ConfigError::FunctionRuntime(function.name.to_string()));
        }
        let own = [function.architecture];
        let architectures = if architectures.is_empty() { &own[..] } else { &architectures };
        let targets = runtimes.iter().flat_map(|runtime| architectures.iter().map(move |one| (*runtime, *one)));
        Ok((function, targets.collect()))
    });
    let functions = functions.collect::<Result<_, _>>()?;
    Ok(Project { dir, layers, functions, warnings: config.warnings })
}

/// With what is compiled.
fn engine(input: &InputArgs, layer: &mut LayerSpec) -> Result<(), SettingsError> {
    if let Some(engine) = input.engine {
        layer.in_container = engine == EngineName::Container;
    }
    let given = [
        ("--image", input.image.is_some()),
        ("--system-package", !input.system_packages.is_empty()),
        ("--container-program", input.container_program.is_some()),
    ];
    if let Some((flag, _)) = given.iter().find(|(_, given)| *given && !layer.in_container) {
        return Err(SettingsError::OfContainer(flag));
    }
    let container = &mut layer.container;
    if let Some(image) = &input.image {
        container.image = Some(image.clone());
    }
    let packages = input.system_packages.iter().map(|name| name.parse()).collect::<Result<Vec<_>, _>>()?;
    container.system_packages.extend(packages);
    if let Some(program) = input.container_program {
        container.program = Some(match program {
            ContainerProgramName::Docker => ContainerProgram::Docker,
            ContainerProgramName::Podman => ContainerProgram::Podman,
        });
    }
    Ok(())
}

fn apply(build: &BuildArgs, layer: &mut LayerSpec, environment: &Environment) -> Result<(), SettingsError> {
    match build.layout {
        Some(LayoutName::Python) => layer.assemble.layout = Layout::Python,
        Some(LayoutName::SitePackages) => layer.assemble.layout = Layout::SitePackages,
        None => {}
    }
    if !build.excludes.is_empty() {
        layer.assemble.excludes.clone_from(&build.excludes);
    }
    layer.exclude_runtime_packages |= build.exclude_runtime_packages;
    if let Some(output) = &build.output {
        let is_directory = !output.is_empty() && environment.dir.join(output).is_dir() && !output.ends_with('/');
        let text = if is_directory { format!("{output}/") } else { output.clone() };
        layer.output = OutputTemplate::new(&environment.dir, &text)?;
    }
    Ok(())
}

/// What `check` is to judge, and for what.
pub(crate) fn check(
    args: &CheckArgs,
    environment: &Environment,
    today: &str,
) -> Result<(Check, Vec<Target>), SettingsError> {
    let absolute = environment.dir.join(&args.artifact);
    let config = config(&environment.dir)?;
    let own = built_by(&absolute, environment, today);
    let runtimes = first(&args.runtimes, || environment.list("LAYERWISE_RUNTIME"));
    let mut runtimes = runtimes.iter().map(|name| Runtime::find(name)).collect::<Result<Vec<_>, _>>()?;
    if runtimes.is_empty() {
        runtimes = own.as_ref().map_or_else(|| config.defaults.runtimes.clone(), |(target, _)| vec![target.runtime]);
    }
    let architectures = first(&args.architectures, || environment.list("LAYERWISE_ARCHITECTURE"));
    let mut architectures = architectures.iter().map(|name| architecture(name)).collect::<Result<Vec<_>, _>>()?;
    if architectures.is_empty() {
        architectures =
            own.as_ref().map_or_else(|| config.defaults.architectures.clone(), |(target, _)| vec![target.architecture]);
    }
    if runtimes.is_empty() {
        return Err(SettingsError::NoRuntimeToCheck(current_runtimes(today)));
    }
    let mut targets = Vec::new();
    for runtime in unique(&runtimes) {
        for architecture in unique(&architectures) {
            targets.push(Target::new(&runtime.name, architecture.aws(), today)?);
        }
    }
    let candidate =
        |path: &PathBuf, role| Candidate { path: environment.dir.join(path), label: path.display().to_string(), role };
    let role = args.role.map(|role| match role {
        RoleName::Function => Role::Function,
        RoleName::Layer => Role::Layer,
    });
    let mut artifacts = vec![candidate(&args.artifact, role)];
    artifacts.extend(args.layers.iter().map(|layer| candidate(layer, Some(Role::Layer))));
    Ok((
        Check {
            artifacts,
            handler: args.handler.clone(),
            pythonpath: args.pythonpath.clone(),
            allow: own.map_or(config.defaults.allow, |(_, allow)| allow),
            threads: threads(),
            run: args.run.then(|| Running {
                search: search(args.python.as_deref(), &targets, environment),
                time_limit: Duration::from_secs(args.time_limit.clamp(1, 3600)),
            }),
        },
        targets,
    ))
}

/// Where Pythons for `targets` may be: the one that was named first.
pub(crate) fn search(python: Option<&Path>, targets: &[Target], environment: &Environment) -> Search {
    let minors: Vec<u8> = targets.iter().map(|target| target.runtime.minor).collect();
    let named = python.map(|path| environment.dir.join(path));
    Search {
        candidates: named.into_iter().chain(environment.pythons(&unique(&minors))).collect(),
        emulators: environment.emulators(),
        env: environment.for_children(),
    }
}

/// For what a project here, or in a directory above the artifact, builds it, and with which allowances.
fn built_by(artifact: &Path, environment: &Environment, today: &str) -> Option<(Target, Vec<Allowance>)> {
    // `dist/` in the project's directory is usual; much deeper nobody looks for it.
    const LEVELS: usize = 4;
    let above = artifact.ancestors().skip(1).take(LEVELS).map(Path::to_owned);
    std::iter::once(environment.dir.clone()).chain(above).find_map(|dir| {
        let config = config(&dir).ok()?;
        let cells = matrix(&config.layers, &dir, today).ok()?;
        let own = cells.iter().find(|cell| cell.output == artifact)?;
        Some((own.target, own.layer.allow.clone()))
    })
}

/// How many threads there are for work of our own.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

/// The configuration of the project in `dir`.
pub(crate) fn config(dir: &Path) -> Result<Config, SettingsError> {
    let read = |name: &str| match fs_err::read_to_string(dir.join(name)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SettingsError::Read { path: dir.join(name), source }),
    };
    let (pyproject, layerwise) = (read("pyproject.toml")?, read("layerwise.toml")?);
    let texts = Texts { pyproject: pyproject.as_deref(), layerwise: layerwise.as_deref() };
    Ok(Config::read(texts, dir)?)
}

/// Where the cache is.
pub(crate) fn cache_dir(flag: Option<&Path>, environment: &Environment) -> Result<PathBuf, SettingsError> {
    let flag = flag.map(|dir| environment.dir.join(dir));
    flag.or_else(|| environment.cache_dir()).ok_or(SettingsError::NoCacheDir)
}

/// What the library needs to know of this machine, where no flag says otherwise.
pub(crate) fn io(
    environment: &Environment,
    cache_dir: Option<&Path>,
    events: Arc<dyn Events>,
    consent: Arc<dyn Consent>,
) -> Result<IoSettings, SettingsError> {
    Ok(IoSettings {
        cache_dir: self::cache_dir(cache_dir, environment)?,
        offline: offline_here(environment),
        refresh: false,
        now: environment.now,
        uv: environment.uv(),
        child_env: environment.for_children(),
        netrc: environment.netrc().map(|file| file.text),
        ca_files: environment.ca_files(),
        programs: environment.programs(),
        keyring: environment.find_program("keyring"),
        concurrency: concurrency(environment),
        http_timeout: http_timeout(environment),
        events,
        consent,
    })
}

/// Whether the environment says that only the cache may be used.
fn offline_here(environment: &Environment) -> bool {
    environment.yes("LAYERWISE_OFFLINE") || environment.yes("UV_OFFLINE")
}

/// Whether only the cache may be used.
pub(crate) fn offline(flags: &IndexArgs, environment: &Environment) -> bool {
    flags.offline || offline_here(environment)
}

/// Downloads at once.
fn concurrency(environment: &Environment) -> usize {
    let number = environment.text("UV_CONCURRENT_DOWNLOADS").and_then(|text| text.parse().ok());
    number.unwrap_or(16).clamp(1, 256)
}

/// How long a server may stay silent.
fn http_timeout(environment: &Environment) -> Duration {
    let seconds = environment.text("UV_HTTP_TIMEOUT").and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(30).clamp(1, 3600))
}

/// The index options of the command line.
pub(crate) fn indexes(flags: &IndexArgs, environment: &Environment) -> Result<IndexOptions, SettingsError> {
    let default_index = flags.default_index.as_deref().map(index).transpose()?;
    let extra = flags.indexes.iter().map(|text| index(text)).collect::<Result<_, _>>()?;
    let find_links = flags.find_links.iter().map(|text| self::find_links(text, environment));
    Ok(IndexOptions {
        default_index,
        extra,
        find_links: find_links.collect(),
        no_index: flags.no_index,
        ..IndexOptions::default()
    })
}

fn index(text: &str) -> Result<Index, SettingsError> {
    // `name=https://…`, as uv has it; an `=` inside a URL comes after its colon.
    let (name, url) = match text.split_once('=') {
        Some((name, url)) if !name.contains(':') => (Some(name.to_owned()), url),
        _ => (None, text),
    };
    let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https" | "file"));
    // The text may hold a password: only what stands behind it is shown.
    let shown = || text.rsplit_once('@').map_or(text, |(_, host)| host).to_owned();
    let mut url = url.ok_or_else(|| SettingsError::IndexUrl(shown()))?;
    let credentials = Credentials::take(&mut url);
    Ok(Index { name, url, credentials, explicit: false })
}

fn find_links(text: &str, environment: &Environment) -> FindLinks {
    match Url::parse(text) {
        Ok(mut url) if matches!(url.scheme(), "http" | "https") => {
            let credentials = Credentials::take(&mut url);
            FindLinks::Page(url, credentials)
        }
        Ok(url) if url.scheme() == "file" => {
            FindLinks::Dir(url.to_file_path().unwrap_or_else(|()| environment.dir.join(text)))
        }
        _ => FindLinks::Dir(environment.dir.join(text)),
    }
}

/// The present day, or the one that is to be played, `YYYY-MM-DD`.
pub(crate) fn today(environment: &Environment) -> String {
    environment.text("LAYERWISE_TODAY").map_or_else(|| day(environment.now), str::to_owned)
}

/// The day of `now`, `YYYY-MM-DD` in UTC.
fn day(now: SystemTime) -> String {
    date::day(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs())
}

fn architecture(name: &str) -> Result<Architecture, TargetError> {
    Architecture::parse(name).ok_or_else(|| TargetError::UnknownArchitecture(name.to_owned()))
}

fn first(flags: &[String], otherwise: impl FnOnce() -> Vec<String>) -> Vec<String> {
    if flags.is_empty() { otherwise() } else { flags.to_vec() }
}

fn unique<T: Copy + PartialEq>(items: &[T]) -> Vec<T> {
    let mut kept = Vec::new();
    for item in items {
        if !kept.contains(item) {
            kept.push(*item);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Command, parse};

    fn project_of(line: &str, file: &str, variables: &[(&str, &str)]) -> Result<Vec<LayerSpec>, String> {
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join("layerwise.toml"), file).unwrap();
        let words = ["layerwise", "build"].into_iter().chain(line.split_whitespace()).map(Into::into);
        let Command::Build(build) = parse(words).unwrap().command else { panic!("not build") };
        let environment = Environment::of(variables, dir.path());
        let project = project(&build.input, Some(&build), &environment).map_err(|error| error.to_string())?;
        Ok(project.layers)
    }

    #[track_caller]
    fn runtimes(line: &str, file: &str, variables: &[(&str, &str)], expected: &[&str]) {
        let layers = project_of(line, file, variables).unwrap();
        let names: Vec<&str> = layers[0].runtimes.iter().map(|runtime| runtime.name.as_str()).collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn flag_then_environment_then_file_then_default() {
        let file = "runtime = 'python3.9'";
        let variables = [("LAYERWISE_RUNTIME", "python3.10, python3.11")];
        runtimes("--runtime 3.12 --runtime python3.12", file, &variables, &["python3.12"]);
        runtimes("", file, &variables, &["python3.10", "python3.11"]);
        runtimes("", file, &[], &["python3.9"]);
        runtimes("", "", &[], &[]);
    }

    #[test]
    fn flags_replace_what_the_file_says() {
        let file = "runtime = 'python3.11'\nexclude = ['a']\n[layer.x]\nexclude = ['b']\n[layer.y]\n";
        let layers = project_of("--exclude c --layout site-packages", file, &[]).unwrap();
        assert_eq!(layers.len(), 2);
        assert!(layers.iter().all(|layer| layer.assemble.excludes == ["c"]));
        assert!(layers.iter().all(|layer| layer.assemble.layout == Layout::SitePackages));
        let layers = project_of("-p requests -r a.txt --name z", file, &[]).unwrap();
        assert_eq!((layers.len(), layers[0].name.as_str()), (1, "z"));
        assert_eq!(layers[0].assemble.excludes, ["a"]);
        assert!(
            matches!(&layers[0].input, InputSpec::Given { files, packages } if files.len() == 1 && packages == &["requests"])
        );
        assert_eq!(project_of("--layer y", file, &[]).unwrap().len(), 1);
    }

    #[test]
    fn engines() {
        use layerwise::model::{Container, Engine};
        let engine = |line: &str, file: &str| project_of(line, file, &[]).map(|layers| layers[0].engine());
        let container = |packages: &[&str]| Container {
            system_packages: packages.iter().map(|name| name.parse().unwrap()).collect(),
            ..Container::default()
        };
        let file = "engine = 'container'\nsystem-packages = ['a']\n";
        assert_eq!(engine("", ""), Ok(Engine::Zig));
        assert_eq!(engine("", file), Ok(Engine::Container(container(&["a"]))));
        assert_eq!(engine("--system-package b", file), Ok(Engine::Container(container(&["a", "b"]))));
        assert_eq!(engine("--engine zig", file), Ok(Engine::Zig));
        let own = Container {
            image: Some("me/it".to_owned()),
            program: Some(ContainerProgram::Podman),
            ..Container::default()
        };
        let line = "--engine container --image me/it --container-program podman";
        assert_eq!(engine(line, ""), Ok(Engine::Container(own)));
        assert_eq!(engine("--image x", "").unwrap_err(), "`--image` is of no use to the engine zig");
        assert!(engine("--engine container --system-package=-y", "").unwrap_err().contains("not the name"));
        assert!(engine("", "system-packages = ['a b']").unwrap_err().contains("not the name"));
    }

    #[test]
    fn what_cannot_be_meant() {
        let named = "[layer.web]\n[layer.ml]\n";
        let refused = |line: &str, file: &str| project_of(line, file, &[]).unwrap_err();
        assert_eq!(refused("--layer wbe", named), "there is no layer `wbe`");
        assert_eq!(refused("--name a", named), "`--name` names one layer, but the configuration has 2");
        assert_eq!(refused("nowhere", ""), "`nowhere` is not a directory");
        assert_eq!(refused("--arch mips", ""), "`mips` is not an architecture of AWS Lambda (x86_64, arm64)");
        assert!(refused("--name a.b", "").contains("is not a layer name"));
        assert!(refused("-o {x}.zip", "").contains("unknown placeholder `{x}`"));
    }

    #[test]
    fn index_urls_lose_their_credentials() {
        let found = index("corp=https://me%40x:p%2Bss+w@host/simple?a=b").unwrap();
        assert_eq!((found.name.as_deref(), found.url.as_str()), (Some("corp"), "https://host/simple?a=b"));
        let credentials = found.credentials.unwrap();
        assert_eq!(credentials.username, "me@x");
        assert_eq!(credentials.password.unwrap().expose(), "p+ss+w");
        assert!(index("https://host/simple?a=b").unwrap().name.is_none());
        let error = index("ftp://user:secret@host/").unwrap_err().to_string();
        assert_eq!(error, "`host/` is not a URL of a package index");
    }

    #[test]
    fn days() {
        let at = |seconds| day(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01");
        assert_eq!(at(951_782_400), "2000-02-29");
        assert_eq!(at(1_795_478_400), "2026-11-24");
        assert_eq!(at(4_107_542_399), "2100-02-28");
        assert_eq!(at(4_107_542_400), "2100-03-01");
    }
}
