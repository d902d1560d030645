//! What several types share: the attributes that say what goes into a layer, and what they mean.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use layerwise::assemble::{self, Layout};
use layerwise::config::{Config, ConfigError, InputSpec, LayerSpec, Texts, matrix};
use layerwise::error::{Explain, Kind};
use layerwise::input::{IndexOptions, InputError, Inputs, Requirement, Source, Wanted, discover, from_given, layered};
use layerwise::model::name::InvalidPackageName;
use layerwise::model::target::TargetError;
use layerwise::model::{Architecture, Sha256, Target};
use layerwise::resolve;

use crate::Host;
use crate::diagnostics::{At, Diagnostics};
use crate::schema::{Attribute, Mode, Type};
use crate::value::{Object, Value, is_null, text, texts, yes};

/// Counts up when the same inputs give other bytes than before: then every layer is built anew.
pub(crate) const FORMAT: u32 = 1;

/// For which runtime.
pub(crate) const RUNTIME: Attribute =
    Attribute { name: "runtime", kind: Type::String, mode: Mode::Required, about: "The Lambda runtime: `python3.12`." };

/// For which architecture.
pub(crate) const ARCHITECTURE: Attribute = Attribute {
    name: "architecture",
    kind: Type::String,
    mode: Mode::Default,
    about: "`x86_64` (the default) or `arm64`.",
};

/// The attributes that say what goes in.
pub(crate) const ATTRIBUTES: &[Attribute] = &[
    Attribute {
        name: "requirements_file",
        kind: Type::String,
        mode: Mode::Optional,
        about: "The file with the dependencies: `requirements.txt`, `uv.lock`, `poetry.lock`, `Pipfile.lock`, \
                `pylock.toml` or `pyproject.toml`. Its content counts, not its comments. Exactly one of \
                `requirements_file`, `requirements` and `project` has to be there.",
    },
    Attribute {
        name: "requirements",
        kind: Type::Strings,
        mode: Mode::Optional,
        about: "The dependencies themselves: `[\"requests==2.32.3\"]`.",
    },
    Attribute {
        name: "project",
        kind: Type::String,
        mode: Mode::Optional,
        about: "A directory with a `layerwise.toml` or `pyproject.toml`. All that it says of the layer holds: \
                dependencies, committed lock, extra files, exclusions, allowances.",
    },
    Attribute {
        name: "layer",
        kind: Type::String,
        mode: Mode::Optional,
        about: "Which layer of `project`, where that has several.",
    },
    RUNTIME,
    ARCHITECTURE,
    Attribute {
        name: "exclude",
        kind: Type::Strings,
        mode: Mode::Optional,
        about: "Glob patterns of files to leave out: `**/tests/**`.",
    },
    Attribute {
        name: "exclude_runtime_packages",
        kind: Type::Bool,
        mode: Mode::Optional,
        about: "Leave out the AWS SDK packages that the runtime brings.",
    },
    Attribute {
        name: "compile",
        kind: Type::Strings,
        mode: Mode::Optional,
        about: "Packages that may be compiled where no wheel fits.",
    },
    Attribute {
        name: "check",
        kind: Type::Bool,
        mode: Mode::Optional,
        about: "Look whether the layer works on Lambda, and make none that does not. `true` if not set.",
    },
];

/// The attributes that can name the dependencies.
const SOURCES: [&str; 3] = ["requirements_file", "requirements", "project"];
/// The attribute with a function's code.
const CODE: &str = "code";

/// What a layer is to be made of.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) target: Target,
    pub(crate) inputs: Inputs,
    pub(crate) layer: LayerSpec,
    /// A lock that is committed with the project.
    pub(crate) lock_file: Option<PathBuf>,
    /// Of everything that decides what the layer's bytes are, and of nothing else.
    pub(crate) digest: Sha256,
}

/// The attributes do not say what goes in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WishError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Package(#[from] InvalidPackageName),
    #[error("failed to read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`{0}` has several layers, and `layer` does not say which")]
    Several(String),
}

impl Explain for WishError {
    fn kind(&self) -> Kind {
        match self {
            Self::Input(error) => error.kind(),
            _ => Kind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Input(error) => error.hints(),
            Self::Config(error) => error.hints(),
            Self::Target(_) => vec!["`layerwise targets` lists the runtimes and architectures".to_owned()],
            _ => Vec::new(),
        }
    }
}

impl WishError {
    fn at(&self, object: &Object) -> At {
        match self {
            Self::Target(TargetError::UnknownArchitecture(_)) => At::Attribute("architecture"),
            Self::Target(_) => At::Attribute("runtime"),
            Self::Package(_) => At::Attribute("compile"),
            Self::Several(_) => At::Attribute("layer"),
            _ => source(object),
        }
    }
}

/// The attribute that names the dependencies.
pub(crate) fn source(object: &Object) -> At {
    SOURCES.into_iter().chain([CODE]).find(|name| !is_null(object, name)).map_or(At::Nothing, At::Attribute)
}

/// The attribute that brought the package `name`: its own requirement, where the list has one.
pub(crate) fn source_of(object: &Object, name: &str) -> At {
    let named = |text: &String| {
        let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c))).unwrap_or(text.len());
        let text = text.get(..end).unwrap_or_default();
        text.parse::<layerwise::model::PackageName>().is_ok_and(|package| package.as_str() == name)
    };
    match texts(object, "requirements").iter().position(named) {
        Some(index) => At::Element("requirements", index),
        None => source(object),
    }
}

/// Looks for what cannot be right, as far as values are known.
pub(crate) fn validate(host: &Host, object: &Object, diagnostics: &mut Diagnostics) {
    let given: Vec<&str> = SOURCES.into_iter().filter(|name| !is_null(object, name)).collect();
    if given.len() != 1 {
        let at = given.last().map_or(At::Nothing, |name| At::Attribute(name));
        let detail = "Exactly one of `requirements_file`, `requirements` and `project` says what goes in.";
        let summary = if given.is_empty() { "nothing says what goes in" } else { "too many say what goes in" };
        diagnostics.error(summary, detail, &at);
    }
    if !is_null(object, "layer") && is_null(object, "project") {
        let detail = "`layer` picks a layer of the configuration in `project`.";
        diagnostics.error("`layer` without `project`", detail, &At::Attribute("layer"));
    }
    validate_target(host, object, diagnostics);
}

/// Looks whether there is such a target, as far as it is known.
pub(crate) fn validate_target(host: &Host, object: &Object, diagnostics: &mut Diagnostics) {
    if ["runtime", "architecture"].iter().all(|name| object.get(*name).is_none_or(Value::is_known))
        && let Some(target) = target_or_say(host, object, diagnostics)
        && let Some(warning) = target.warning(&host.today)
    {
        diagnostics.warning(warning, "", &At::Attribute("runtime"));
    }
}

/// The target; where there is none, that is said.
pub(crate) fn target_or_say(host: &Host, object: &Object, diagnostics: &mut Diagnostics) -> Option<Target> {
    let target = target(host, object).map_err(WishError::from);
    target.map_err(|error| diagnostics.explained(&error, &error.at(object))).ok()
}

fn target(host: &Host, object: &Object) -> Result<Target, TargetError> {
    let runtime = text(object, "runtime").unwrap_or_default();
    Target::new(runtime, text(object, "architecture").unwrap_or(Architecture::X86_64.aws()), &host.today)
}

/// What the attributes mean now; `None` if something of them is not known yet, or wrong.
pub(crate) fn wish(host: &Host, object: &Object, diagnostics: &mut Diagnostics) -> Option<Wish> {
    let unknown = |attribute: &&Attribute| object.get(attribute.name).is_some_and(|value| !value.is_known());
    if ATTRIBUTES.iter().any(|attribute| unknown(&attribute)) {
        return None;
    }
    match read(host, object, diagnostics) {
        Ok(wish) => Some(wish),
        Err(error) => {
            diagnostics.explained(&error, &error.at(object));
            None
        }
    }
}

fn read(host: &Host, object: &Object, diagnostics: &mut Diagnostics) -> Result<Wish, WishError> {
    let target = target(host, object)?;
    let project = text(object, "project").map(|dir| host.dir.join(dir));
    let dir = project.clone().unwrap_or_else(|| host.dir.clone());
    let config = match &project {
        Some(dir) => {
            let (pyproject, layerwise) = (config_file(dir, "pyproject.toml")?, config_file(dir, "layerwise.toml")?);
            Config::read(Texts { pyproject: pyproject.as_deref(), layerwise: layerwise.as_deref() }, dir)?
        }
        None => Config::read(Texts::default(), &dir)?,
    };
    let mut layer = match (text(object, "layer"), config.layers.as_slice()) {
        (Some(name), _) => config.select(&[name.to_owned()])?.into_iter().next(),
        (None, [only]) => Some(only.clone()),
        (None, _) => None,
    };
    let mut layer = layer.take().ok_or_else(|| WishError::Several(dir.display().to_string()))?;
    if project.is_none() {
        layer.input = InputSpec::Given {
            files: text(object, "requirements_file").map(|file| host.dir.join(file)).into_iter().collect(),
            packages: texts(object, "requirements"),
        };
    }
    layer.runtimes = vec![target.runtime];
    layer.architectures = vec![target.architecture];
    layer.assemble.excludes.extend(texts(object, "exclude"));
    layer.exclude_runtime_packages |= yes(object, "exclude_runtime_packages", false);
    for name in texts(object, "compile") {
        layer.compile.names.insert(name.parse()?);
    }
    let lock_file =
        matrix(std::slice::from_ref(&layer), &dir, &host.today)?.into_iter().next().map(|cell| cell.lock_file);
    let lock_file = lock_file.filter(|path| project.is_some() && path.is_file());
    let wanted = Wanted { extras: layer.extras.clone(), groups: layer.groups.clone() };
    let variables = |name: &str| host.variables.get(name).cloned();
    let found = match &layer.input {
        InputSpec::Discover(dir) => discover(dir, &wanted, &variables),
        InputSpec::Given { files, packages } => from_given(&dir, files, packages, &wanted, &variables),
    }?;
    for warning in found.warnings.iter().chain(&config.warnings) {
        diagnostics.warning(warning.as_str(), "", &source(object));
    }
    let mut inputs = found.inputs;
    inputs.compile = layer.compile.clone();
    let lock_text = match &lock_file {
        Some(path) => {
            let text = fs_err::read_to_string(path);
            Some(text.map_err(|source| WishError::Read { path: path.clone(), source })?)
        }
        None => None,
    };
    let digest = digest(&inputs, &layer, lock_text.as_deref(), target);
    inputs.indexes = layered(IndexOptions::default(), inputs.indexes, &(host.surroundings)(&inputs.dir)?)?;
    Ok(Wish { target, inputs, layer, lock_file, digest })
}

fn config_file(dir: &Path, name: &str) -> Result<Option<String>, WishError> {
    let path = dir.join(name);
    match fs_err::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(WishError::Read { path, source }),
    }
}

/// Of all that decides the bytes. Where packages come from is of the machine, not of the layer: index settings count
/// only where they stand in the dependency file itself.
fn digest(inputs: &Inputs, layer: &LayerSpec, lock: Option<&str>, target: Target) -> Sha256 {
    let mut inputs = inputs.clone();
    if let Source::Open { requirements, constraints } = &mut inputs.source {
        for list in [requirements, constraints] {
            list.iter_mut().for_each(spell_one_way);
            list.sort_by(|a, b| a.text.cmp(&b.text));
            list.dedup_by(|a, b| a.text == b.text && a.hashes == b.hashes);
        }
    }
    let mut text = format!("layerwise terraform {FORMAT}\n{}\n", resolve::identity(&inputs, target));
    let assemble::Options { layout, excludes } = &layer.assemble;
    let layout = match layout {
        Layout::Python => "python",
        Layout::SitePackages => "site-packages",
        Layout::Root => "root",
    };
    // Writing to a string cannot fail.
    writeln!(text, "{layout} {excludes:?} {}", layer.exclude_runtime_packages).ok();
    for file in &layer.files {
        let sha256 = file.sha256.map(|sha256| sha256.to_string()).unwrap_or_default();
        writeln!(text, "{:?} {sha256} {}", file.to.as_str(), file.unpack).ok();
    }
    if layer.in_container {
        // Which program runs it is of the machine.
        writeln!(text, "container {:?} {:?}", layer.container.image, layer.container.system_packages).ok();
    }
    if let Some(lock) = lock {
        writeln!(text, "{}", Sha256::of(lock.as_bytes())).ok();
    }
    Sha256::of(text.as_bytes())
}

/// `Idna == 3.7` and `idna==3.7` are one.
fn spell_one_way(requirement: &mut Requirement) {
    let Some(name) = &requirement.name else { return };
    let text = &requirement.text;
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c))).unwrap_or(text.len());
    let (head, rest) = text.split_at_checked(end).unwrap_or((text, ""));
    if head.parse().as_ref() == Ok(name) {
        // In a marker blanks separate words.
        let (version, marker) = rest.split_at_checked(rest.find(';').unwrap_or(rest.len())).unwrap_or((rest, ""));
        let version = if version.contains('@') { version.trim().to_owned() } else { version.replace(' ', "") };
        requirement.text = format!("{name}{version}{marker}");
    }
}

#[cfg(test)]
mod tests {
    use layerwise::input::Origin;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let origin = Origin { file: "requirements.txt".to_owned(), line: 1 };
        let mut requirement = Requirement::parse(text, &origin).unwrap();
        spell_one_way(&mut requirement);
        assert_eq!(requirement.text, expected);
    }

    #[test]
    fn a_requirement_is_spelled_one_way() {
        check("Idna == 3.7", "idna==3.7");
        check("typing_Extensions>=4,<5", "typing-extensions>=4,<5");
        check("a[b]==1 ; python_version < '3.9'", "a[b]==1; python_version < '3.9'");
        check("a @ https://example.com/a.whl", "a@ https://example.com/a.whl");
    }

    #[test]
    fn a_finding_stands_at_the_requirement_that_brought_it() {
        let list = ["idna==3.7", "PyYAML"].map(Value::from).to_vec();
        let object = Object::from([("requirements".to_owned(), Value::List(list))]);
        assert_eq!(source_of(&object, "pyyaml"), At::Element("requirements", 1));
        assert_eq!(source_of(&object, "other"), At::Attribute("requirements"));
    }
}
