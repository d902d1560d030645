//! `[function.NAME]`: what Lambda runs, and with which layers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use pep440_rs::Version;
use serde::Deserialize as _;
use toml::Spanned;
use toml::de::DeTable;
use url::Url;

use super::file::{DependenciesName, FileTable, FunctionTable};
use super::{ConfigError, LayerSpec, OutputTemplate, Reader, described, find_architecture, find_runtime, nearest};
use crate::model::{Architecture, ExtraFile, LayerPath, Origin, PackageName, Runtime, Sha256};

/// The name of a Lambda function: 1 to 64 ASCII letters, digits, `-` and `_`.
///
/// Source: <https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html>.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FunctionName(String);

/// The text is not a function's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a function name: use 1 to 64 ASCII letters, digits, `-` and `_`", .0.escape_debug())]
pub struct InvalidFunctionName(pub String);

impl FunctionName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FunctionName {
    type Err = InvalidFunctionName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let valid = (1..=64).contains(&text.len()) && text.chars().all(allowed);
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidFunctionName(text.to_owned())) }
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionSpec {
    /// Its name.
    pub name: FunctionName,
    /// The directory of its code, absolute or relative to what the caller gave.
    pub code: PathBuf,
    /// `index.handler`.
    pub handler: String,
    /// Its layers in order; the last one wins.
    pub layers: Vec<LayerRef>,
    /// For which runtime; `None` where the configuration names none, or several.
    pub runtime: Option<&'static Runtime>,
    /// For which architecture.
    pub architecture: Architecture,
    /// How long an invocation may take, in seconds.
    pub timeout: u32,
    /// Memory in MB.
    pub memory: u32,
    /// Its own variables and those of its layers.
    pub environment: BTreeMap<String, String>,
    /// Where its dependencies are.
    pub dependencies: Dependencies,
    /// Files to leave out, in the words of `.gitignore`.
    pub ignore: Vec<String>,
    /// Where its zip goes.
    pub output: OutputTemplate,
}

impl FunctionSpec {
    /// The layers of the configuration that it uses.
    pub fn layer_names(&self) -> impl Iterator<Item = String> {
        self.layers.iter().filter_map(|layer| match layer {
            LayerRef::Named(name) => Some(name.clone()),
            LayerRef::Path(_) => None,
        })
    }
}

/// A layer that a function uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerRef {
    /// A layer of this configuration, by its name.
    Named(String),
    /// A zip or a directory that somebody has made.
    Path(PathBuf),
}

/// Where a function's dependencies are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dependencies {
    /// In its layers.
    Layer,
    /// In its own zip, at the root.
    Package,
}

/// What AWS allows, and takes where nobody says.
///
/// Source: <https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html>.
struct Limit {
    key: &'static str,
    default: u32,
    range: std::ops::RangeInclusive<u32>,
    unit: &'static str,
}

const SECONDS: Limit = Limit { key: "timeout", default: 3, range: 1..=900, unit: "seconds" };
const MEGABYTES: Limit = Limit { key: "memory", default: 128, range: 128..=10_240, unit: "MB" };

impl Reader<'_> {
    pub(super) fn functions(
        &self,
        table: &DeTable<'_>,
        layers: &[LayerSpec],
        warnings: &mut Vec<String>,
    ) -> Result<Vec<FunctionSpec>, ConfigError> {
        let Some(named) = table.get("function") else { return Ok(Vec::new()) };
        let Some(named) = named.get_ref().as_table() else {
            let what = "`function` has to be a table of functions: `[function.NAME]`";
            return Err(self.source.error(&named.span(), what));
        };
        let mut functions = Vec::new();
        for (key, value) in named {
            let name = key.get_ref().parse::<FunctionName>();
            let name = name.map_err(|error| self.source.error(&key.span(), error.to_string()))?;
            let Some(table) = value.get_ref().as_table() else {
                return Err(self.source.error(&value.span(), format!("`function.{name}` has to be a table")));
            };
            self.warn_of_unknown(table, &super::known_keys::<FunctionTable>(), warnings);
            let deserializer =
                serde::de::IntoDeserializer::into_deserializer(Spanned::new(value.span(), table.clone()));
            let read = FunctionTable::deserialize(deserializer).map_err(|error| described(self.source, &error))?;
            functions.push((key.span().start, self.function(name, read, layers)?));
        }
        functions.sort_by_key(|(start, _)| *start);
        Ok(functions.into_iter().map(|(_, function)| function).collect())
    }

    fn function(
        &self,
        name: FunctionName,
        table: FunctionTable,
        layers: &[LayerSpec],
    ) -> Result<FunctionSpec, ConfigError> {
        if !table.handler.get_ref().contains('.') {
            let what = format!("the handler `{}` has no dot", table.handler.get_ref().escape_debug());
            return Err(self.source.error(&table.handler.span(), what).with_hint("write it as `file.function`"));
        }
        let packaged = matches!(table.dependencies, DependenciesName::Package);
        let mut used = Vec::new();
        let mut environment = BTreeMap::new();
        let mut runtimes = BTreeSet::new();
        let mut architectures = BTreeSet::new();
        for layer in &table.layers {
            let text = layer.get_ref();
            if let Some(known) = layers.iter().find(|known| known.name.as_str() == text) {
                environment.extend(known.environment.clone());
                runtimes.extend(known.runtimes.iter().map(|runtime| runtime.name.as_str()));
                architectures.extend(known.architectures.iter().copied());
                used.push(LayerRef::Named(text.clone()));
            } else if packaged && text.contains(['/', '\\', '.']) {
                let what = "a function with its dependencies in its own zip can have layers of this configuration only";
                return Err(self.source.error(&layer.span(), what));
            } else if text.contains(['/', '\\', '.']) {
                used.push(LayerRef::Path(self.dir.join(text)));
            } else {
                let error = self.source.error(&layer.span(), format!("there is no layer `{}`", text.escape_debug()));
                let near = nearest(text, layers.iter().map(|layer| layer.name.as_str()));
                return Err(match near {
                    Some(near) => error.with_hint(format!("did you mean `{near}`?")),
                    None => error.with_hint("a path to a zip or a directory has a `/` or a `.` in it"),
                });
            }
        }
        // Without named layers, what the whole configuration is for.
        if runtimes.is_empty() {
            runtimes.extend(layers.iter().flat_map(|layer| &layer.runtimes).map(|runtime| runtime.name.as_str()));
        }
        if architectures.is_empty() {
            architectures.extend(layers.iter().flat_map(|layer| layer.architectures.iter().copied()));
        }
        let runtime = match &table.runtime {
            Some(runtime) => Some(find_runtime(runtime.get_ref()).map_err(|found| self.named(runtime, found))?),
            None => match runtimes.iter().collect::<Vec<_>>().as_slice() {
                [only] => Runtime::find(only).ok(),
                _ => None,
            },
        };
        let architecture = match &table.architecture {
            Some(name) => find_architecture(name.get_ref()).map_err(|found| self.named(name, found))?,
            None => match architectures.iter().collect::<Vec<_>>().as_slice() {
                [only] => **only,
                _ => Architecture::X86_64,
            },
        };
        environment.extend(table.environment);
        Ok(FunctionSpec {
            name,
            code: self.dir.join(table.code),
            handler: table.handler.into_inner(),
            layers: used,
            runtime,
            architecture,
            timeout: self.within(table.timeout, &SECONDS)?,
            memory: self.within(table.memory, &MEGABYTES)?,
            environment,
            dependencies: match table.dependencies {
                DependenciesName::Layer => Dependencies::Layer,
                DependenciesName::Package => Dependencies::Package,
            },
            ignore: table.ignore,
            output: match &table.output {
                Some(output) => self.output(output)?,
                None => OutputTemplate::new(self.dir, OutputTemplate::DEFAULT)?,
            },
        })
    }

    fn named(&self, value: &Spanned<String>, (what, hint): (String, Option<String>)) -> ConfigError {
        let error = self.source.error(&value.span(), what);
        hint.into_iter().fold(error, ConfigError::with_hint)
    }

    fn within(&self, value: Option<Spanned<u32>>, limit: &Limit) -> Result<u32, ConfigError> {
        let Some(value) = value else { return Ok(limit.default) };
        if limit.range.contains(value.get_ref()) {
            return Ok(*value.get_ref());
        }
        let (Limit { key, unit, .. }, from, to) = (limit, limit.range.start(), limit.range.end());
        Err(self.source.error(&value.span(), format!("`{key}` has to be {from} to {to} {unit}")))
    }

    pub(super) fn extra_file(&self, table: FileTable) -> Result<ExtraFile, ConfigError> {
        let at = table.to.span();
        let to = LayerPath::new(table.to.get_ref().trim_end_matches('/'));
        let to = to.map_err(|error| {
            self.source.error(&at, error.to_string()).with_hint("it counts from `/opt`: `tiktoken/9b5a…`")
        })?;
        let sha256 = table.sha256.map(|text| {
            let read = text.get_ref().trim().to_ascii_lowercase().parse::<Sha256>();
            read.map_err(|error| self.source.error(&text.span(), error.to_string()))
        });
        let origin = match (table.url, table.path, table.package, table.member) {
            (Some(url), None, None, None) => {
                let read = Url::parse(url.get_ref()).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
                let read = read.filter(|url| url.username().is_empty() && url.password().is_none());
                Origin::Url(read.ok_or_else(|| {
                    let what = "the `url` has to be one of http or https, without a password";
                    self.source.error(&url.span(), what).with_hint("passwords belong into ~/.netrc")
                })?)
            }
            (None, Some(path), None, None) => Origin::Path(self.dir.join(path)),
            (None, None, Some(package), Some(member)) => {
                let (name, version) = self.release(&package)?;
                Origin::Member { package: name, version, member }
            }
            _ => {
                let what = "a file comes from one of `url`, `path`, or `package` with `member`";
                return Err(self.source.error(&at, what));
            }
        };
        Ok(ExtraFile { to, sha256: sha256.transpose()?, origin, unpack: table.unpack })
    }

    /// `litellm==1.80.0`.
    fn release(&self, text: &Spanned<String>) -> Result<(PackageName, Version), ConfigError> {
        let wrong = || {
            let what = format!("`{}` does not name one release", text.get_ref().escape_debug());
            self.source.error(&text.span(), what).with_hint("write it as `name==1.2.3`")
        };
        let (name, version) = text.get_ref().split_once("==").ok_or_else(wrong)?;
        Ok((name.trim().parse().map_err(|_| wrong())?, version.trim().parse().map_err(|_| wrong())?))
    }
}
