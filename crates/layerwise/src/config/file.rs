//! The shape of `layerwise.toml` and of `[tool.layerwise]`: what may stand there, not yet what it means.
//!
//! The doc comments of this file are the descriptions in `schema/layerwise.schema.json`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

/// Configuration of layerwise: `layerwise.toml`, or `[tool.layerwise]` in `pyproject.toml`.
///
/// Keys outside of `[layer.NAME]` are the defaults of every layer. Without any `[layer.NAME]` there is one layer,
/// named after the project.
#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(title = "layerwise")]
#[expect(dead_code, reason = "only the schema is made from it: flattening would lose the spans of values")]
pub(super) struct File {
    #[serde(flatten)]
    defaults: Table,
    /// The layers, by name: 1 to 140 ASCII letters, digits, `-` and `_`.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "pattern": "^[A-Za-z0-9_-]{1,140}$" }))]
    layer: BTreeMap<String, Table>,
    /// The functions, by name: 1 to 64 ASCII letters, digits, `-` and `_`.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "pattern": "^[A-Za-z0-9_-]{1,64}$" }))]
    function: BTreeMap<String, FunctionTable>,
    /// How layers are published.
    #[serde(default)]
    publish: PublishTable,
}

/// What `layerwise publish` does where no flag says otherwise.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct PublishTable {
    /// The regions to publish to: `eu-west-1`. Without any, the region of the AWS profile or environment.
    pub(super) regions: Vec<String>,
    /// The profile of `~/.aws/config`.
    pub(super) profile: Option<String>,
    /// The layer's name in AWS; `{name}`, `{runtime}` (with `-` for `.`) and `{architecture}` are replaced. The default
    /// is `{name}`.
    #[schemars(with = "Option<String>")]
    pub(super) name: Option<Spanned<String>>,
    /// The bucket for zips of more than 50 MB; it has to be in the layer's region. `{region}` is replaced.
    pub(super) bucket: Option<String>,
    /// What the key of an object in the bucket starts with, before `/<sha256>.zip`.
    pub(super) prefix: Option<String>,
    /// Whether Lambda copies the zip from the bucket, or reads it there for good.
    pub(super) storage: StorageName,
    /// Who else may use the layer: accounts (12 digits), organisations (`o-…`), or `public`.
    pub(super) share: Vec<String>,
    /// The description of the layer's versions; AWS takes 256 characters.
    pub(super) description: Option<String>,
    /// Their licence: an SPDX expression, a URL or a text of at most 512 characters.
    pub(super) license: Option<String>,
    /// How many versions are kept; older ones that no function uses are deleted. Without it, all are kept.
    pub(super) keep: Option<std::num::NonZeroU32>,
}

/// What becomes of a zip in the bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum StorageName {
    /// Lambda copies it, if it is too large for the request itself.
    #[default]
    Copy,
    /// Lambda reads it where it is (S3ObjectStorageMode REFERENCE); the bucket has to keep versions.
    Reference,
}

/// One layer, or the defaults of all.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct Table {
    /// Requirements files, relative to the project's directory. Without `requirements`, `packages` and `project`,
    /// the dependency file is found in the project's directory.
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) requirements: Option<Spanned<Vec<String>>>,
    /// Requirements in the words of PEP 508: `requests>=2`.
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) packages: Option<Spanned<Vec<String>>>,
    /// A directory whose dependency file is to be used, relative to the project's directory.
    #[schemars(with = "Option<String>")]
    pub(super) project: Option<Spanned<String>>,
    /// Extras of the project to include.
    pub(super) extras: Option<Vec<String>>,
    /// Dependency groups (PEP 735) of the project to include.
    pub(super) groups: Option<Vec<String>>,
    /// The Lambda runtime: `python3.13`.
    #[schemars(with = "Option<String>")]
    pub(super) runtime: Option<Spanned<String>>,
    /// Several Lambda runtimes; one artifact is made for each.
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) runtimes: Option<Spanned<Vec<Spanned<String>>>>,
    /// The architecture: `x86_64` (the default) or `arm64`.
    #[schemars(with = "Option<ArchitectureName>")]
    pub(super) architecture: Option<Spanned<String>>,
    /// Several architectures; one artifact is made for each.
    #[schemars(with = "Option<Vec<ArchitectureName>>")]
    pub(super) architectures: Option<Spanned<Vec<Spanned<String>>>>,
    /// Where packages stand inside the artifact.
    pub(super) layout: Option<LayoutName>,
    /// Glob patterns of paths to leave out, relative to the packages' root: `**/tests/**`.
    pub(super) exclude: Option<Vec<String>>,
    /// Leave out the AWS SDK packages that the runtime brings, as a whole.
    pub(super) exclude_runtime_packages: Option<bool>,
    /// Packages that may be compiled from their source distribution where no wheel fits: a list of names, or tables
    /// `[compile.NAME]` with settings of their builds.
    #[schemars(with = "Option<Compile>")]
    pub(super) compile: Option<Spanned<Compile>>,
    /// Compile whatever has no wheel that fits.
    pub(super) compile_all: Option<bool>,
    /// With what packages are compiled.
    pub(super) engine: Option<EngineName>,
    /// The image that the engine `container` compiles in; `{architecture}` in it becomes `x86_64` or `arm64`. The
    /// default is AWS's own build image of the runtime.
    pub(super) image: Option<String>,
    /// Packages of the image's distribution that the engine `container` installs first, with dnf, yum, apt-get or apk.
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) system_packages: Option<Spanned<Vec<String>>>,
    /// The program that the engine `container` runs; the default is whichever answers.
    pub(super) container_program: Option<ContainerProgramName>,
    /// Where the zip goes, relative to the project's directory; `{name}`, `{runtime}` and `{architecture}` are
    /// replaced. The default is `dist/{name}-{runtime}-{architecture}.zip`.
    #[schemars(with = "Option<String>")]
    pub(super) output: Option<Spanned<String>>,
    /// Findings of the check that are lived with, each with its reason.
    pub(super) allow: Option<Vec<AllowTable>>,
    /// Files that no package brings, such as those that a library would fetch when it runs.
    pub(super) files: Option<Vec<FileTable>>,
    /// Variables that a function with this layer needs: `TIKTOKEN_CACHE_DIR = "/opt/tiktoken"`.
    pub(super) environment: Option<BTreeMap<String, String>>,
}

/// Packages that may be compiled.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
pub(super) enum Compile {
    /// Their names.
    Names(Vec<String>),
    /// Their names, each with how it is built.
    Settings(BTreeMap<String, CompileTable>),
}

impl<'de> Deserialize<'de> for Compile {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> serde::de::Visitor<'de> for Either {
            type Value = Compile;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of packages, or tables `[compile.NAME]`")
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, list: A) -> Result<Compile, A::Error> {
                Vec::deserialize(serde::de::value::SeqAccessDeserializer::new(list)).map(Compile::Names)
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Compile, A::Error> {
                BTreeMap::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(Compile::Settings)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// How one package is built.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub(super) struct CompileTable {
    /// A directory with `include` and `lib` of libraries that were built for Lambda, relative to the project's
    /// directory; `{architecture}` in it becomes `x86_64` or `arm64`. What the wheel needs of it goes into the wheel.
    pub(super) prefix: Option<String>,
    /// What its build needs besides what it says itself: `["cmake", "setuptools<81"]`.
    pub(super) build_requires: Vec<String>,
    /// Settings for the build backend: `setup-args = ["-Dblas=none"]`. `{prefix}` becomes the prefix as the build sees
    /// it.
    pub(super) config_settings: BTreeMap<String, OneOrMany>,
    /// Variables of the build. `{prefix}` becomes the prefix as the build sees it.
    pub(super) environment: BTreeMap<String, String>,
}

/// A value, or several.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

/// A file that no package brings. It comes from one of `url`, `path`, or `package` with `member`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct FileTable {
    /// Where it goes, relative to `/opt`; with `unpack`, the directory that its files go to.
    #[schemars(with = "String")]
    pub(super) to: Spanned<String>,
    /// The sha256 of its bytes, in hexadecimal. Of an archive it is that of the archive.
    #[schemars(with = "Option<String>")]
    pub(super) sha256: Option<Spanned<String>>,
    /// Where it is on the web.
    #[schemars(with = "Option<String>")]
    pub(super) url: Option<Spanned<String>>,
    /// Where it is on this machine, relative to the project's directory.
    pub(super) path: Option<String>,
    /// The release whose wheel has it: `litellm==1.80.0`.
    #[schemars(with = "Option<String>")]
    pub(super) package: Option<Spanned<String>>,
    /// Its path in that wheel.
    pub(super) member: Option<String>,
    /// It is a zip, tar or tar.gz archive, and its files are wanted.
    #[serde(default)]
    pub(super) unpack: bool,
}

/// One function.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields)]
pub(super) struct FunctionTable {
    /// The directory of its code, relative to the project's directory.
    pub(super) code: String,
    /// `file.function`, in directories `directory/file.function`.
    #[schemars(with = "String")]
    pub(super) handler: Spanned<String>,
    /// Its layers in order: names of `[layer.NAME]`, or paths of zips and directories. The last one wins.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(super) layers: Vec<Spanned<String>>,
    /// The Lambda runtime; the configuration's where there is one only.
    #[schemars(with = "Option<String>")]
    pub(super) runtime: Option<Spanned<String>>,
    /// The architecture; the configuration's where there is one only.
    #[schemars(with = "Option<ArchitectureName>")]
    pub(super) architecture: Option<Spanned<String>>,
    /// How long an invocation may take, in seconds: 1 to 900.
    #[schemars(with = "Option<u32>", range(min = 1, max = 900))]
    pub(super) timeout: Option<Spanned<u32>>,
    /// Memory in MB: 128 to 10240.
    #[schemars(with = "Option<u32>", range(min = 128, max = 10240))]
    pub(super) memory: Option<Spanned<u32>>,
    /// Its variables, over those of its layers.
    #[serde(default)]
    pub(super) environment: BTreeMap<String, String>,
    /// Whether its layers stay layers, or go into its own zip.
    #[serde(default)]
    pub(super) dependencies: DependenciesName,
    /// Files to leave out, in the words of `.gitignore`, beside what `.gitignore` itself leaves out.
    #[serde(default)]
    pub(super) ignore: Vec<String>,
    /// Where its zip goes, relative to the project's directory; `{name}`, `{runtime}` and `{architecture}` are
    /// replaced. The default is `dist/{name}-{runtime}-{architecture}.zip`.
    #[schemars(with = "Option<String>")]
    pub(super) output: Option<Spanned<String>>,
}

/// Where a function's dependencies are.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum DependenciesName {
    /// In its layers.
    #[default]
    Layer,
    /// In its own zip, at the root.
    Package,
}

/// A finding that somebody has looked at and lives with.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct AllowTable {
    /// The finding's name, `native-executable-stack`; `docs/findings.md` lists them.
    #[schemars(with = "String")]
    pub(super) finding: Spanned<String>,
    /// Glob pattern of the files it is about, relative to the artifact: `python/old/**`. Without it, all.
    #[schemars(with = "Option<String>")]
    pub(super) files: Option<Spanned<String>>,
    /// Why it is all right.
    pub(super) reason: String,
}

/// With what packages are compiled.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum EngineName {
    /// A cross compiler on this machine.
    Zig,
    /// The compiler of an image, run by docker or podman.
    Container,
}

/// A program that runs containers.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ContainerProgramName {
    /// Docker.
    Docker,
    /// Podman.
    Podman,
}

/// Where packages stand.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum LayoutName {
    /// `python/`: any minor version of the runtime finds it.
    Python,
    /// `python/lib/python3.X/site-packages`: only that minor version finds it.
    SitePackages,
}

/// An architecture in AWS's words.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only the schema is made from it: names are checked against the data, with a position")]
pub(super) enum ArchitectureName {
    /// 64-bit Intel and AMD.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit Arm (Graviton).
    #[serde(rename = "arm64")]
    Arm64,
}
