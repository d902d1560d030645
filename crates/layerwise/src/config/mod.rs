//! Text → layers. Pure: the caller reads the files and knows the flags.
//!
//! `layerwise.toml` and `[tool.layerwise]` of `pyproject.toml` have the same keys; see `file.rs` for them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::assemble::{self, Layout};
use crate::audit::allow::FilePattern;
use crate::audit::{Allowance, Rule};
use crate::model::{
    Architecture, BuildSettings, CompilePolicy, Container, ContainerProgram, Engine, ExtraFile, Runtime, Target,
};

mod error;
mod file;
mod function;

use error::SourceFile;
pub use error::{ConfigError, Place};
use file::{
    AllowTable, Compile, ContainerProgramName, EngineName, LayoutName, OneOrMany, PublishTable, StorageName, Table,
};
pub use function::{Dependencies, FunctionName, FunctionSpec, InvalidFunctionName, LayerRef};

/// The name of an AWS Lambda layer: 1 to 140 ASCII letters, digits, `-` and `_`.
///
/// Source: <https://docs.aws.amazon.com/lambda/latest/api/API_PublishLayerVersion.html>.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerName(String);

/// The text is not a layer's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a layer name: use 1 to 140 ASCII letters, digits, `-` and `_`", .0.escape_debug())]
pub struct InvalidLayerName(pub String);

impl LayerName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The nearest layer name to a project's or a directory's: other characters become `-`.
    pub fn from_project(name: &str) -> Self {
        let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
        let text: String = name.trim().chars().take(140).map(allowed).collect();
        let text = text.trim_matches('-');
        Self(if text.is_empty() { "layer" } else { text }.to_owned())
    }
}

impl FromStr for LayerName {
    type Err = InvalidLayerName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let valid = (1..=140).contains(&text.len()) && text.chars().all(allowed);
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidLayerName(text.to_owned())) }
    }
}

impl fmt::Display for LayerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The texts a project's configuration may stand in.
#[derive(Debug, Clone, Copy, Default)]
pub struct Texts<'a> {
    /// `pyproject.toml`.
    pub pyproject: Option<&'a str>,
    /// `layerwise.toml`.
    pub layerwise: Option<&'a str>,
}

/// A project's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The name of the project: `[project].name`, else the directory's.
    pub project_name: LayerName,
    /// What every layer starts from.
    pub defaults: LayerSpec,
    /// The layers by name; never empty.
    pub layers: Vec<LayerSpec>,
    /// The functions, in the order of the file.
    pub functions: Vec<FunctionSpec>,
    /// How layers are published.
    pub publish: PublishSpec,
    /// Whether `[layer.NAME]` tables name them.
    pub named: bool,
    /// Sentences about keys that mean nothing.
    pub warnings: Vec<String>,
}

/// One layer, with defaults applied: makes one artifact for each runtime and architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerSpec {
    /// Its name.
    pub name: LayerName,
    /// What goes in.
    pub input: InputSpec,
    /// Extras of the project.
    pub extras: BTreeSet<String>,
    /// Dependency groups of the project.
    pub groups: BTreeSet<String>,
    /// For which runtimes; may be empty, then the caller has to know.
    pub runtimes: Vec<&'static Runtime>,
    /// For which architectures; never empty.
    pub architectures: Vec<Architecture>,
    /// How to assemble.
    pub assemble: assemble::Options,
    /// Leave out the AWS SDK packages that the runtime brings.
    pub exclude_runtime_packages: bool,
    /// What may be compiled where no wheel fits.
    pub compile: CompilePolicy,
    /// Whether packages are compiled in a container.
    pub in_container: bool,
    /// The container, where they are.
    pub container: Container,
    /// Where artifacts go.
    pub output: OutputTemplate,
    /// Findings of the check that are lived with.
    pub allow: Vec<Allowance>,
    /// Files that no package brings.
    pub files: Vec<ExtraFile>,
    /// Variables that a function with this layer needs.
    pub environment: BTreeMap<String, String>,
}

impl LayerSpec {
    /// With what packages are compiled.
    pub fn engine(&self) -> Engine {
        if self.in_container { Engine::Container(self.container.clone()) } else { Engine::Zig }
    }
}

/// `[publish]`: how layers are published, in the words of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublishSpec {
    /// Where to; may be empty, then the caller has to know.
    pub regions: Vec<String>,
    /// AWS's profile.
    pub profile: Option<String>,
    /// The layer's name in AWS.
    pub name: PublishedName,
    /// The bucket for large zips.
    pub bucket: Option<String>,
    /// What keys in the bucket start with.
    pub prefix: String,
    /// Whether Lambda reads the zip in the bucket for good, instead of copying it.
    pub reference: bool,
    /// Who else may use the layer.
    pub share: Vec<String>,
    /// Of the versions.
    pub description: Option<String>,
    /// Of the versions.
    pub licence: Option<String>,
    /// How many versions to keep.
    pub keep: Option<usize>,
}

/// What a layer is called in AWS, with `{name}`, `{runtime}` and `{architecture}` to be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedName(String);

impl Default for PublishedName {
    fn default() -> Self {
        Self("{name}".to_owned())
    }
}

impl PublishedName {
    /// Checks the placeholders of `text`, and that names come of it.
    pub fn new(text: &str) -> Result<Self, ConfigError> {
        let template = OutputTemplate::new(Path::new(""), text)?;
        let name = Self(template.text);
        let sample = name.0.replace("{name}", "n").replace("{runtime}", "r").replace("{architecture}", "a");
        match sample.parse::<LayerName>() {
            Ok(_) => Ok(name),
            Err(_) => Err(ConfigError::PublishedName(text.to_owned())),
        }
    }

    /// The name of one artifact's layer. A dot, as in `python3.13`, becomes `-`.
    pub fn name(&self, layer: &str, target: &Target) -> Result<LayerName, InvalidLayerName> {
        let runtime = target.runtime.name.replace('.', "-");
        let text = self.0.replace("{name}", layer).replace("{runtime}", &runtime);
        text.replace("{architecture}", target.architecture.aws()).parse()
    }

    /// Whether `{name}` stands in it.
    pub fn needs_name(&self) -> bool {
        self.0.contains("{name}")
    }
}

/// Where a layer's dependencies stand. Paths are absolute, or relative to what the caller gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputSpec {
    /// The dependency file is to be found in this directory.
    Discover(PathBuf),
    /// Requirements files and bare requirements.
    Given {
        /// `requirements.txt`.
        files: Vec<PathBuf>,
        /// `requests>=2`.
        packages: Vec<String>,
    },
}

/// A path with `{name}`, `{runtime}` and `{architecture}` in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputTemplate {
    /// What a relative path counts from.
    dir: PathBuf,
    text: String,
}

impl OutputTemplate {
    /// Where artifacts go when nobody says.
    pub const DEFAULT: &'static str = "dist/{name}-{runtime}-{architecture}.zip";
    /// The file's name when only a directory is given.
    const FILE: &'static str = "{name}-{runtime}-{architecture}.zip";

    /// Checks the placeholders of `text`; relative paths count from `dir`. A text that ends in `/` is a directory.
    pub fn new(dir: &Path, text: &str) -> Result<Self, ConfigError> {
        let text = if text.ends_with(['/', '\\']) || text.is_empty() {
            format!("{text}{}", Self::FILE)
        } else {
            text.to_owned()
        };
        let mut rest = text.as_str();
        while let Some((_, after)) = rest.split_once('{') {
            let (placeholder, after) = after.split_once('}').unwrap_or((after, ""));
            if !["name", "runtime", "architecture"].contains(&placeholder) {
                return Err(ConfigError::Placeholder { placeholder: placeholder.to_owned(), template: text.clone() });
            }
            rest = after;
        }
        Ok(Self { dir: dir.to_owned(), text })
    }

    /// The path of one artifact.
    pub fn path(&self, name: &str, target: &Target) -> PathBuf {
        let text = self.text.replace("{name}", name);
        let text = text.replace("{runtime}", &target.runtime.name);
        self.dir.join(text.replace("{architecture}", target.architecture.aws()))
    }
}

/// One artifact of the matrix layers × runtimes × architectures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell<'a> {
    /// The layer.
    pub layer: &'a LayerSpec,
    /// The target.
    pub target: Target,
    /// Where the zip goes.
    pub output: PathBuf,
    /// Where the lock is, or would be: `pylock.<name>-python311-x86_64.toml` (PEP 751 allows no dot in the name).
    pub lock_file: PathBuf,
}

/// The matrix layers × runtimes × architectures, in that order. `dir` is where locks are, `today` (`YYYY-MM-DD`)
/// decides which runtimes AWS still takes.
pub fn matrix<'a>(layers: &'a [LayerSpec], dir: &Path, today: &str) -> Result<Vec<Cell<'a>>, ConfigError> {
    let mut cells: Vec<Cell<'a>> = Vec::new();
    let mut outputs: BTreeMap<PathBuf, String> = BTreeMap::new();
    for layer in layers {
        if layer.runtimes.is_empty() {
            return Err(ConfigError::NoRuntime { layer: layer.name.to_string(), current: current_runtimes(today) });
        }
        for runtime in &layer.runtimes {
            for architecture in &layer.architectures {
                let target = Target::new(&runtime.name, architecture.aws(), today)?;
                if !runtime.architectures.contains(architecture) {
                    return Err(ConfigError::NotOn {
                        runtime: runtime.name.clone(),
                        architecture: architecture.to_string(),
                    });
                }
                let output = layer.output.path(layer.name.as_str(), &target);
                let what = format!("`{}` on {target}", layer.name);
                if let Some(first) = outputs.insert(output.clone(), what.clone()) {
                    let path = output.display().to_string();
                    return Err(ConfigError::SameOutput { path, first, second: what });
                }
                let slug = format!("{}-python3{}-{architecture}", layer.name, runtime.minor);
                cells.push(Cell { layer, target, output, lock_file: dir.join(format!("pylock.{slug}.toml")) });
            }
        }
    }
    Ok(cells)
}

/// The runtimes that AWS supports on `today` (`YYYY-MM-DD`) and that are no preview, oldest first.
pub fn current_runtimes(today: &str) -> Vec<String> {
    let current = |runtime: &&Runtime| {
        !runtime.preview
            && runtime.blocked.is_none()
            && runtime.deprecated.as_ref().is_none_or(|day| today < day.as_str())
    };
    Runtime::all().iter().filter(current).map(|runtime| runtime.name.clone()).collect()
}

impl Config {
    /// Reads the configuration of the project in `dir`; without any there is one layer with defaults.
    pub fn read(texts: Texts<'_>, dir: &Path) -> Result<Self, ConfigError> {
        let pyproject = SourceFile { name: "pyproject.toml", text: texts.pyproject.unwrap_or_default() };
        let layerwise = SourceFile { name: "layerwise.toml", text: texts.layerwise.unwrap_or_default() };
        let project_root = parse(&pyproject)?;
        let layerwise_root = parse(&layerwise)?;
        let name = inside(&project_root, &["project", "name"]).and_then(|name| name.get_ref().as_str());
        let directory = || dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let project_name = LayerName::from_project(&name.map_or_else(directory, str::to_owned));
        let tool = inside(&project_root, &["tool", "layerwise"]);
        match (tool, texts.layerwise) {
            (Some(_), Some(_)) => {
                Err(ConfigError::Two("layerwise.toml".to_owned(), "[tool.layerwise] of pyproject.toml".to_owned()))
            }
            (Some(tool), None) => match tool.get_ref().as_table() {
                Some(table) => Reader { source: &pyproject, dir }.read(table, tool.span(), project_name),
                None => Err(pyproject.error(&tool.span(), "`tool.layerwise` has to be a table")),
            },
            (None, _) => {
                let span = layerwise_root.span();
                Reader { source: &layerwise, dir }.read(layerwise_root.get_ref(), span, project_name)
            }
        }
    }

    /// The functions with these names, in the configuration's order; all of them when `names` is empty.
    pub fn select_functions(&self, names: &[String]) -> Result<Vec<FunctionSpec>, ConfigError> {
        for name in names {
            if !self.functions.iter().any(|function| function.name.as_str() == name) {
                let known = self.functions.iter().map(|function| function.name.to_string()).collect();
                return Err(ConfigError::NoSuchFunction { name: name.clone(), known });
            }
        }
        let wanted =
            |function: &&FunctionSpec| names.is_empty() || names.iter().any(|name| name == function.name.as_str());
        Ok(self.functions.iter().filter(wanted).cloned().collect())
    }

    /// The layers with these names, in the configuration's order; all of them when `names` is empty.
    pub fn select(&self, names: &[String]) -> Result<Vec<LayerSpec>, ConfigError> {
        let known = || self.layers.iter().map(|layer| layer.name.to_string()).collect();
        for name in names {
            if !self.layers.iter().any(|layer| layer.name.as_str() == name) {
                return Err(ConfigError::NoSuchLayer { name: name.clone(), known: known() });
            }
        }
        let wanted = |layer: &&LayerSpec| names.is_empty() || names.iter().any(|name| name == layer.name.as_str());
        Ok(self.layers.iter().filter(wanted).cloned().collect())
    }
}

/// The JSON schema of the configuration, as committed in `schema/layerwise.schema.json`.
pub fn schema() -> String {
    let mut schema = schemars::schema_for!(file::File).to_value();
    without_null(&mut schema);
    format!("{schema:#}\n")
}

/// TOML has no null: an optional key is left out, never null.
fn without_null(schema: &mut serde_json::Value) {
    if let Some(fields) = schema.as_object_mut() {
        if fields.get("default").is_some_and(serde_json::Value::is_null) {
            fields.remove("default");
        }
        if let Some(serde_json::Value::Array(types)) = fields.get_mut("type") {
            types.retain(|name| name != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                fields.insert("type".to_owned(), only);
            }
        }
        if let Some(serde_json::Value::Array(choices)) = fields.get_mut("anyOf") {
            choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
            if let [serde_json::Value::Object(only)] = choices.as_slice() {
                let only = only.clone();
                fields.remove("anyOf");
                fields.extend(only);
            }
        }
        fields.values_mut().for_each(without_null);
    } else if let Some(items) = schema.as_array_mut() {
        items.iter_mut().for_each(without_null);
    }
}

fn parse<'a>(source: &SourceFile<'a>) -> Result<Spanned<DeTable<'a>>, ConfigError> {
    DeTable::parse(source.text).map_err(|error| described(source, &error))
}

fn described(source: &SourceFile<'_>, error: &toml::de::Error) -> ConfigError {
    source.error(&error.span().unwrap_or(0..0), error.message().trim().replace('\n', ", "))
}

fn inside<'t, 'a>(table: &'t Spanned<DeTable<'a>>, path: &[&str]) -> Option<&'t Spanned<DeValue<'a>>> {
    let (first, rest) = path.split_first()?;
    let mut value = table.get_ref().get(*first)?;
    for key in rest {
        value = value.get_ref().as_table()?.get(*key)?;
    }
    Some(value)
}

/// Turns tables into layers.
struct Reader<'a> {
    source: &'a SourceFile<'a>,
    dir: &'a Path,
}

impl Reader<'_> {
    fn read(
        &self,
        table: &DeTable<'_>,
        span: std::ops::Range<usize>,
        project_name: LayerName,
    ) -> Result<Config, ConfigError> {
        let mut warnings = Vec::new();
        let mut top_keys = known_keys::<Table>();
        top_keys.extend(["layer", "function", "publish"].map(str::to_owned));
        self.warn_of_unknown(table, &top_keys, &mut warnings);
        let start = LayerSpec {
            name: project_name.clone(),
            input: InputSpec::Discover(self.dir.to_owned()),
            extras: BTreeSet::new(),
            groups: BTreeSet::new(),
            runtimes: Vec::new(),
            architectures: vec![Architecture::X86_64],
            assemble: assemble::Options::default(),
            exclude_runtime_packages: false,
            compile: CompilePolicy::default(),
            in_container: false,
            container: Container::default(),
            output: OutputTemplate::new(self.dir, OutputTemplate::DEFAULT)?,
            allow: Vec::new(),
            files: Vec::new(),
            environment: BTreeMap::new(),
        };
        let defaults = self.layer(table, span, start)?;
        let mut layers = Vec::new();
        if let Some(named) = table.get("layer") {
            let Some(named) = named.get_ref().as_table() else {
                return Err(self.source.error(&named.span(), "`layer` has to be a table of layers: `[layer.NAME]`"));
            };
            for (key, value) in named {
                let name = key.get_ref().parse::<LayerName>();
                let name = name.map_err(|error| self.source.error(&key.span(), error.to_string()))?;
                let Some(table) = value.get_ref().as_table() else {
                    return Err(self.source.error(&value.span(), format!("`layer.{name}` has to be a table")));
                };
                self.warn_of_unknown(table, &known_keys::<Table>(), &mut warnings);
                layers
                    .push((key.span().start, self.layer(table, value.span(), LayerSpec { name, ..defaults.clone() })?));
            }
        }
        // In the order of the file, whatever order the parser keeps.
        layers.sort_by_key(|(start, _)| *start);
        let mut layers: Vec<LayerSpec> = layers.into_iter().map(|(_, layer)| layer).collect();
        let named = !layers.is_empty();
        if !named {
            layers.push(defaults.clone());
        }
        let functions = self.functions(table, &layers, &mut warnings)?;
        let publish = self.publish(table, &mut warnings)?;
        Ok(Config { project_name, defaults, layers, functions, publish, named, warnings })
    }

    fn publish(&self, table: &DeTable<'_>, warnings: &mut Vec<String>) -> Result<PublishSpec, ConfigError> {
        let Some(value) = table.get("publish") else { return Ok(PublishSpec::default()) };
        let Some(table) = value.get_ref().as_table() else {
            return Err(self.source.error(&value.span(), "`publish` has to be a table"));
        };
        self.warn_of_unknown(table, &known_keys::<PublishTable>(), warnings);
        let deserializer = serde::de::IntoDeserializer::into_deserializer(Spanned::new(value.span(), table.clone()));
        let table = PublishTable::deserialize(deserializer).map_err(|error| described(self.source, &error))?;
        let name = table.name.as_ref().map(|name| {
            let at = |error: ConfigError| self.source.error(&name.span(), error.to_string());
            PublishedName::new(name.get_ref()).map_err(at)
        });
        Ok(PublishSpec {
            regions: table.regions,
            profile: table.profile,
            name: name.transpose()?.unwrap_or_default(),
            bucket: table.bucket,
            prefix: table.prefix.unwrap_or_default(),
            reference: table.storage == StorageName::Reference,
            share: table.share,
            description: table.description,
            licence: table.license,
            keep: table.keep.and_then(|keep| usize::try_from(keep.get()).ok()),
        })
    }

    /// What `table` says, over what `base` says.
    fn layer(
        &self,
        table: &DeTable<'_>,
        span: std::ops::Range<usize>,
        base: LayerSpec,
    ) -> Result<LayerSpec, ConfigError> {
        let deserializer = serde::de::IntoDeserializer::into_deserializer(Spanned::new(span, table.clone()));
        let table = Table::deserialize(deserializer).map_err(|error| described(self.source, &error))?;
        let mut layer = base;
        if let Some(input) = self.input(&table)? {
            layer.input = input;
        }
        if let Some(extras) = table.extras {
            layer.extras = extras.into_iter().collect();
        }
        if let Some(groups) = table.groups {
            layer.groups = groups.into_iter().collect();
        }
        if let Some(runtimes) = self.one_or_many("runtime", table.runtime, table.runtimes, find_runtime)? {
            layer.runtimes = runtimes;
        }
        let architectures =
            self.one_or_many("architecture", table.architecture, table.architectures, find_architecture)?;
        if let Some(architectures) = architectures {
            layer.architectures = architectures;
        }
        if let Some(layout) = table.layout {
            layer.assemble.layout = match layout {
                LayoutName::Python => Layout::Python,
                LayoutName::SitePackages => Layout::SitePackages,
            };
        }
        if let Some(exclude) = table.exclude {
            layer.assemble.excludes = exclude;
        }
        if let Some(exclude) = table.exclude_runtime_packages {
            layer.exclude_runtime_packages = exclude;
        }
        if let Some(compile) = table.compile {
            let span = compile.span();
            let named = |name: &str| {
                name.parse().map_err(|error: crate::model::name::InvalidPackageName| {
                    self.source.error(&span, error.to_string())
                })
            };
            let tables = match compile.into_inner() {
                Compile::Names(names) => names.into_iter().map(|name| (name, None)).collect::<Vec<_>>(),
                Compile::Settings(tables) => {
                    tables.into_iter().map(|(name, table)| (name, Some(table))).collect::<Vec<_>>()
                }
            };
            layer.compile.names = tables.iter().map(|(name, _)| named(name)).collect::<Result<_, _>>()?;
            for (name, table) in tables.into_iter().filter_map(|(name, table)| Some((name, table?))) {
                let values = |value| match value {
                    OneOrMany::One(one) => vec![one],
                    OneOrMany::Many(many) => many,
                };
                let settings = BuildSettings {
                    prefix: table.prefix.map(|prefix| self.dir.join(prefix)),
                    build_requires: table.build_requires,
                    config_settings: table.config_settings.into_iter().map(|(k, value)| (k, values(value))).collect(),
                    environment: table.environment,
                };
                layer.compile.settings.insert(named(&name)?, settings);
            }
        }
        if let Some(all) = table.compile_all {
            layer.compile.all = all;
        }
        if let Some(engine) = table.engine {
            layer.in_container = matches!(engine, EngineName::Container);
        }
        if let Some(image) = table.image {
            layer.container.image = Some(image);
        }
        if let Some(packages) = table.system_packages {
            let names = packages.get_ref().iter().map(|name| name.parse()).collect::<Result<_, _>>();
            layer.container.system_packages = names.map_err(|error: crate::model::compile::InvalidSystemPackage| {
                self.source.error(&packages.span(), error.to_string())
            })?;
        }
        if let Some(program) = table.container_program {
            layer.container.program = Some(match program {
                ContainerProgramName::Docker => ContainerProgram::Docker,
                ContainerProgramName::Podman => ContainerProgram::Podman,
            });
        }
        if let Some(allow) = table.allow {
            layer.allow = allow.into_iter().map(|table| self.allowance(table)).collect::<Result<_, _>>()?;
        }
        if let Some(files) = table.files {
            layer.files = files.into_iter().map(|table| self.extra_file(table)).collect::<Result<_, _>>()?;
        }
        if let Some(environment) = table.environment {
            layer.environment = environment;
        }
        if let Some(output) = table.output {
            layer.output = self.output(&output)?;
        }
        Ok(layer)
    }

    fn output(&self, output: &Spanned<String>) -> Result<OutputTemplate, ConfigError> {
        OutputTemplate::new(self.dir, output.get_ref()).map_err(|error| {
            let hint = crate::error::Explain::hints(&error).join("; ");
            self.source.error(&output.span(), error.to_string()).with_hint(hint)
        })
    }

    fn allowance(&self, table: AllowTable) -> Result<Allowance, ConfigError> {
        let id = table.finding.get_ref();
        let rule = Rule::of_id(id).ok_or_else(|| {
            let error = self.source.error(&table.finding.span(), format!("there is no finding `{id}`"));
            match nearest(id, Rule::ALL.iter().map(|rule| rule.id())) {
                Some(near) => error.with_hint(format!("did you mean `{near}`?")),
                None => error.with_hint("`docs/findings.md` lists them"),
            }
        })?;
        let pattern = |text: &Spanned<String>| {
            FilePattern::new(text.get_ref()).map_err(|error| self.source.error(&text.span(), error.to_string()))
        };
        let files = table.files.as_ref().map(pattern).transpose()?;
        Ok(Allowance { rule, files, reason: table.reason })
    }

    fn input(&self, table: &Table) -> Result<Option<InputSpec>, ConfigError> {
        let given = table.requirements.as_ref().or(table.packages.as_ref());
        if let (Some(project), Some(_)) = (&table.project, given) {
            let what = "a layer has either a `project` or `requirements` and `packages`";
            return Err(self.source.error(&project.span(), what));
        }
        if let Some(project) = &table.project {
            return Ok(Some(InputSpec::Discover(self.dir.join(project.get_ref()))));
        }
        if let Some(empty) = given.filter(|list| list.get_ref().is_empty()) {
            return Err(self.source.error(&empty.span(), "the list is empty"));
        }
        let list = |list: &Option<Spanned<Vec<String>>>| list.iter().flat_map(|list| list.get_ref().clone()).collect();
        let files: Vec<String> = list(&table.requirements);
        Ok(given.map(|_| InputSpec::Given {
            files: files.iter().map(|file| self.dir.join(file)).collect(),
            packages: list(&table.packages),
        }))
    }

    /// The values of a key that has a singular and a plural form.
    fn one_or_many<T: PartialEq>(
        &self,
        key: &str,
        one: Option<Spanned<String>>,
        many: Option<Spanned<Vec<Spanned<String>>>>,
        find: impl Fn(&str) -> Result<T, (String, Option<String>)>,
    ) -> Result<Option<Vec<T>>, ConfigError> {
        let values = match (one, many) {
            (None, None) => return Ok(None),
            (Some(_), Some(many)) => {
                let what = format!("`{key}` and `{key}s` cannot both be there");
                return Err(self.source.error(&many.span(), what).with_hint(format!("keep `{key}s`")));
            }
            (None, Some(many)) if many.get_ref().is_empty() => {
                return Err(self.source.error(&many.span(), "the list is empty"));
            }
            (Some(one), None) => vec![one],
            (None, Some(many)) => many.into_inner(),
        };
        let mut found = Vec::new();
        for value in values {
            let item = find(value.get_ref()).map_err(|(what, hint)| {
                let error = self.source.error(&value.span(), what);
                hint.into_iter().fold(error, ConfigError::with_hint)
            })?;
            if found.contains(&item) {
                return Err(self.source.error(&value.span(), format!("`{}` is there twice", value.get_ref())));
            }
            found.push(item);
        }
        Ok(Some(found))
    }

    fn warn_of_unknown(&self, table: &DeTable<'_>, known: &[String], warnings: &mut Vec<String>) {
        let mut unknown: Vec<_> = table.keys().filter(|key| !known.iter().any(|k| k == key.get_ref())).collect();
        unknown.sort_by_key(|key| key.span().start);
        for key in unknown {
            let name = key.get_ref();
            let place = self.source.place(key.span().start);
            let near = nearest(name, known.iter().map(String::as_str));
            let near = near.map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default();
            warnings.push(format!("{place}: unknown key `{}` is ignored{near}", name.escape_debug()));
        }
    }
}

fn find_runtime(name: &str) -> Result<&'static Runtime, (String, Option<String>)> {
    Runtime::find(name).map_err(|error| {
        let names = Runtime::all().iter().map(|runtime| runtime.name.as_str());
        (error.to_string(), nearest(name, names).map(|near| format!("did you mean `{near}`?")))
    })
}

fn find_architecture(name: &str) -> Result<Architecture, (String, Option<String>)> {
    Architecture::parse(name)
        .ok_or_else(|| (crate::model::target::TargetError::UnknownArchitecture(name.to_owned()).to_string(), None))
}

/// The keys of a table, from the schema, so that there is one list of them.
fn known_keys<T: schemars::JsonSchema>() -> Vec<String> {
    let schema = schemars::schema_for!(T);
    let properties = schema.get("properties").and_then(|properties| properties.as_object());
    properties.into_iter().flat_map(|properties| properties.keys().cloned()).collect()
}

/// The candidate that is a typing error away from `text`, if one is.
pub(crate) fn nearest<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if text.len() > 64 {
        return None;
    }
    let wanted = text.to_lowercase().replace('_', "-");
    let near = candidates.map(|candidate| (distance(&wanted, candidate), candidate)).min_by_key(|(far, _)| *far);
    near.filter(|(far, candidate)| *far <= candidate.len().max(3) / 3).map(|(_, candidate)| candidate)
}

/// The number of letters to insert, remove or change to get from one text to the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in to.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests;
