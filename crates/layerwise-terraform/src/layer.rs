//! `layerwise_layer`: a layer's zip on this machine, for whoever publishes it with another provider.
//!
//! What a plan says follows from one comparison: the digest of the inputs in the state with that of the inputs now. If
//! they are equal, all outputs stay as they are, known, and nothing that uses them changes; a zip that is missing is
//! made again from the lock that the state keeps. If they are not, the outputs are known after apply (or, with
//! `build_at = "plan"`, now).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use layerwise::audit::Severity;
use layerwise::error::{Explain, Kind};
use layerwise::input::{InputError, Source, Wanted, from_given};
use layerwise::io::Io;
use layerwise::model::Sha256;
use layerwise::pipeline::{self, Built, Job, LockPolicy};
use layerwise_aws::AwsError;

use crate::Host;
use crate::account::Account;
use crate::diagnostics::{At, Diagnostics};
use crate::function::{self, FunctionWish};
use crate::inputs::{self, Wish};
use crate::layer_version;
use crate::schema::{Attribute, Block, Mode, Type};
use crate::value::{Object, Value, is_null, text, yes};

pub(crate) const OUTPUT_PATH: Attribute = Attribute {
    name: "output_path",
    kind: Type::String,
    mode: Mode::Required,
    about: "Where the zip goes. Relative to Terraform's working directory; an absolute path would differ between \
            checkouts, and replace what uses it.",
};

/// What is made.
pub(crate) const OUTPUTS: &[Attribute] = &[
    Attribute { name: "id", kind: Type::String, mode: Mode::Computed, about: "The same as `output_path`." },
    Attribute {
        name: "path",
        kind: Type::String,
        mode: Mode::Computed,
        about: "The same as `output_path`; known at plan.",
    },
    Attribute { name: "sha256", kind: Type::String, mode: Mode::Computed, about: "Of the zip, in hexadecimal." },
    Attribute {
        name: "source_code_hash",
        kind: Type::String,
        mode: Mode::Computed,
        about: "The same in base64, as `source_code_hash` of `aws_lambda_layer_version` and AWS's `CodeSha256` have it.",
    },
    ZIPPED_BYTES,
    UNZIPPED_BYTES,
    PACKAGES,
    Attribute {
        name: "input_digest",
        kind: Type::String,
        mode: Mode::Computed,
        about: "Of everything that decides the zip's bytes: requirements (not their order or comments), runtime, \
                architecture, options. The layer is built anew when it changes.",
    },
];

pub(crate) const ZIPPED_BYTES: Attribute =
    Attribute { name: "zipped_bytes", kind: Type::Number, mode: Mode::Computed, about: "The zip's size." };
pub(crate) const UNZIPPED_BYTES: Attribute = Attribute {
    name: "unzipped_bytes",
    kind: Type::Number,
    mode: Mode::Computed,
    about: "The size of the files in it.",
};
pub(crate) const PACKAGES: Attribute = Attribute {
    name: "packages",
    kind: Type::StringMap,
    mode: Mode::Computed,
    about: "The packages inside, each with its version.",
};

/// What only the resource has.
pub(crate) const KEPT: &[Attribute] = &[
    Attribute {
        name: "build_at",
        kind: Type::String,
        mode: Mode::Optional,
        about: "`apply` (the default): a changed layer's hash is known after apply. `plan`: it is built while planning, \
                so the plan shows its hash; every requirement should then be pinned with its hash.",
    },
    Attribute {
        name: "materialized",
        kind: Type::Bool,
        mode: Mode::Computed,
        about: "Whether the zip is there. A zip that is missing, after a fresh checkout say, is made again, byte for \
                byte, and changes nothing else.",
    },
];

/// The resource.
pub(crate) const RESOURCE: Block = Block {
    name: "layerwise_layer",
    about: "Builds a layer's zip. For publishing it with `aws_lambda_layer_version` of hashicorp/aws.",
    attributes: &[inputs::ATTRIBUTES, &[OUTPUT_PATH], KEPT, OUTPUTS],
    example: r#"
resource "layerwise_layer" "deps" {
  requirements_file = "requirements.txt"
  runtime           = "python3.12"
  architecture      = "arm64"
  output_path       = "build/deps.zip"
}

resource "aws_lambda_layer_version" "deps" {
  layer_name               = "deps"
  filename                 = layerwise_layer.deps.path
  source_code_hash         = layerwise_layer.deps.source_code_hash
  compatible_runtimes      = [layerwise_layer.deps.runtime]
  compatible_architectures = [layerwise_layer.deps.architecture]

  lifecycle {
    create_before_destroy = true
  }
}
"#,
    import: Some(
        "By the path of a zip. The next apply builds it anew from the configuration.\n\n\
         ```shell\nterraform import layerwise_layer.deps build/deps.zip\n```",
    ),
};

/// The data source.
pub(crate) const DATA_SOURCE: Block = Block {
    name: "layerwise_layer",
    about: "Builds a layer's zip whenever Terraform reads it. Only where plan and apply run on the same machine with \
            the same files, and with pinned requirements: a saved plan that is applied elsewhere does not find the \
            zip. Otherwise use the resource of the same name.",
    attributes: &[inputs::ATTRIBUTES, &[OUTPUT_PATH], OUTPUTS],
    example: r#"
data "layerwise_layer" "deps" {
  requirements_file = "pylock.deps-python312-arm64.toml"
  runtime           = "python3.12"
  architecture      = "arm64"
  output_path       = "build/deps.zip"
}
"#,
    import: None,
};

/// The zip while it is made.
const ZIP: &str = "layer.zip";

/// Gives the world for building, on demand.
pub(crate) type World = dyn Fn() -> Result<Arc<Io>, LayerError> + Send + Sync;

/// What one call works with.
#[derive(Clone, Copy)]
pub(crate) struct Shop<'a> {
    pub(crate) host: &'a Host,
    pub(crate) io: &'a World,
    pub(crate) account: &'a Account,
    /// Of the type.
    pub(crate) block: &'static Block,
}

/// What a zip is to be made of.
enum Recipe {
    Layer(Box<Wish>),
    Function(FunctionWish),
}

impl Recipe {
    /// What the attributes mean now; `None` if something of them is not known yet, or wrong.
    fn read(shop: Shop<'_>, object: &Object, diagnostics: &mut Diagnostics) -> Option<Self> {
        if shop.block.name == function::RESOURCE.name {
            return function::wish(shop.host, object, diagnostics).map(Self::Function);
        }
        inputs::wish(shop.host, object, diagnostics).map(|wish| Self::Layer(Box::new(wish)))
    }

    fn digest(&self) -> String {
        match self {
            Self::Layer(wish) => wish.digest.to_string(),
            Self::Function(wish) => wish.digest.to_string(),
        }
    }

    /// Makes the zip as [`ZIP`] in `scratch`; and the lock it was built of.
    async fn make(
        &self,
        shop: Shop<'_>,
        object: &Object,
        lock: &[u8],
        scratch: &Path,
    ) -> Result<(Built, Vec<u8>), LayerError> {
        let io = (shop.io)()?;
        match self {
            Self::Layer(wish) => make(io, (wish, object), lock, scratch).await,
            Self::Function(wish) => {
                let built = function::make(shop, &io, (wish, object), scratch.join(ZIP)).await?;
                Ok((built, Vec::new()))
            }
        }
    }
}

/// The zip is not what it has to be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayerError {
    #[error(transparent)]
    Pipeline(#[from] pipeline::Error),
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    Aws(#[from] AwsError),
    #[error("failed to {what} `{}`", path.display())]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the layer came out different: sha256 {built} was built, {expected} was expected")]
    Different { built: Sha256, expected: String },
}

impl Explain for LayerError {
    fn kind(&self) -> Kind {
        match self {
            Self::Pipeline(error) => error.kind(),
            Self::Input(error) => error.kind(),
            Self::Aws(error) => error.kind(),
            Self::File { .. } => Kind::System,
            Self::Different { .. } => Kind::Integrity,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Pipeline(error) => error.hints(),
            Self::Input(error) => error.hints(),
            Self::Aws(error) => error.hints(),
            Self::File { .. } => Vec::new(),
            Self::Different { .. } => vec![
                "pin what is required with hashes (`layerwise lock`), so that every machine builds the same".to_owned(),
                "`terraform apply -replace=…` takes what can be built now".to_owned(),
            ],
        }
    }
}

pub(crate) fn validate(host: &Host, block: &Block, object: &Object, diagnostics: &mut Diagnostics) {
    if block.name == function::RESOURCE.name {
        inputs::validate_target(host, object, diagnostics);
    } else {
        inputs::validate(host, object, diagnostics);
    }
    if block.name == layer_version::RESOURCE.name {
        layer_version::validate(object, diagnostics);
    }
    if let Some(other) = text(object, "build_at").filter(|at| !["plan", "apply"].contains(at)) {
        let summary = format!("`{other}` is no time to build at");
        diagnostics.error(summary, "`build_at` is `plan` or `apply`.", &At::Attribute("build_at"));
    }
}

/// What the state says, set right by what is on disk.
pub(crate) async fn read(host: &Host, mut state: Object) -> Object {
    let there = match text(&state, "path") {
        Some(path) => sha256_of(host.dir.join(path)).await,
        None => None,
    };
    let there = there.is_some_and(|sha256| text(&state, "sha256") == Some(&sha256.to_string()));
    state.insert("materialized".to_owned(), Value::Bool(there));
    state
}

async fn sha256_of(path: PathBuf) -> Option<Sha256> {
    // A layer's zip is at most 250 MB, and as a rule much smaller.
    let read = tokio::task::spawn_blocking(move || fs_err::read(path).ok().map(|bytes| Sha256::of(&bytes)));
    read.await.ok().flatten()
}

/// What is to become of the resource; and what apply needs to know for it: the lock, where there is one already.
pub(crate) async fn plan(
    shop: Shop<'_>,
    (prior, private): (Option<&Object>, Vec<u8>),
    (config, mut planned): (&Object, Object),
    diagnostics: &mut Diagnostics,
) -> (Object, Vec<u8>) {
    set_default(config, &mut planned);
    let recipe = Recipe::read(shop, &planned, diagnostics);
    if diagnostics.failed() {
        return (planned, private);
    }
    let output = planned.get("output_path").cloned().unwrap_or(Value::Null);
    planned.insert("id".to_owned(), output.clone());
    planned.insert("path".to_owned(), output);
    planned.insert("materialized".to_owned(), Value::Bool(true));
    let digest = recipe.as_ref().map(Recipe::digest);
    let was = prior.and_then(|prior| text(prior, "input_digest"));
    if digest.is_some() && was == digest.as_deref() {
        return (planned, private);
    }
    planned.insert("input_digest".to_owned(), digest.map_or(Value::Unknown, Value::from));
    if let (Some("plan"), Some(recipe)) = (text(&planned, "build_at"), &recipe) {
        let made = async {
            let scratch = scratch(&shop.host.temp_dir)?;
            recipe.make(shop, &planned, &[], scratch.path()).await
        };
        match made.await {
            Ok((built, lock)) => {
                warn(shop.host, &built, &planned, diagnostics);
                set_built(&mut planned, &built);
                return (planned, lock);
            }
            Err(error) => tell(shop.host, &error, &planned, diagnostics),
        }
    }
    for name in ["sha256", "source_code_hash", "zipped_bytes", "unzipped_bytes", "packages"] {
        planned.insert(name.to_owned(), Value::Unknown);
    }
    (planned, Vec::new())
}

/// The architecture is ours to choose where the configuration does not: also when it did before.
pub(crate) fn set_default(config: &Object, planned: &mut Object) {
    if is_null(config, "architecture") {
        planned.insert("architecture".to_owned(), "x86_64".into());
    }
}

/// Makes the zip as planned. `None` if that failed.
pub(crate) async fn apply(
    shop: Shop<'_>,
    prior: Option<&Object>,
    (mut planned, private): (Object, Vec<u8>),
    diagnostics: &mut Diagnostics,
) -> Option<(Object, Vec<u8>)> {
    let host = shop.host;
    let recipe = Recipe::read(shop, &planned, diagnostics)?;
    let digest = recipe.digest();
    if text(&planned, "input_digest").is_some_and(|planned| planned != digest) {
        let summary = "what goes into the layer changed between plan and apply";
        diagnostics.error(summary, "hint: plan again", &inputs::source(&planned));
        return None;
    }
    let made = async {
        let output = host.dir.join(text(&planned, "output_path").unwrap_or_default());
        let dir = output.parent().unwrap_or(&host.dir);
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| LayerError::File { what, path, source }
        };
        fs_err::create_dir_all(dir).map_err(failed("make", dir))?;
        // Beside its place, so that what was expected is compared before anything is replaced.
        let scratch = scratch(dir)?;
        let (built, lock) = recipe.make(shop, &planned, &private, scratch.path()).await?;
        if let Some(expected) = text(&planned, "sha256").filter(|expected| *expected != built.sha256.to_string()) {
            return Err(LayerError::Different { built: built.sha256, expected: expected.to_owned() });
        }
        fs_err::rename(scratch.path().join(ZIP), &output).map_err(failed("write", &output))?;
        Ok((built, lock))
    };
    let (built, lock) = match made.await {
        Ok(made) => made,
        Err(error) => {
            tell(host, &error, &planned, diagnostics);
            return None;
        }
    };
    if let Some(prior) = prior.filter(|prior| text(prior, "path") != text(&planned, "path")) {
        destroy(host, prior).await;
    }
    warn(host, &built, &planned, diagnostics);
    set_built(&mut planned, &built);
    planned.insert("input_digest".to_owned(), digest.into());
    Some((planned, lock))
}

/// Removes the zip, if it is still ours.
pub(crate) async fn destroy(host: &Host, state: &Object) {
    let Some(path) = text(state, "path").map(|path| host.dir.join(path)) else { return };
    let own = sha256_of(path.clone()).await.map(|sha256| sha256.to_string());
    if own.is_some() && own.as_deref() == text(state, "sha256") {
        // Not there any more is what was wanted.
        fs_err::remove_file(path).ok();
    }
}

/// The state of a zip that somebody has made.
pub(crate) async fn import(host: &Host, block: &Block, path: &str, diagnostics: &mut Diagnostics) -> Option<Object> {
    let Some(sha256) = sha256_of(host.dir.join(path)).await else {
        let summary = format!("failed to read the zip `{path}`");
        diagnostics.error(summary, "hint: a layer is imported by the path of its zip", &At::Nothing);
        return None;
    };
    let mut state = block.empty();
    for name in ["id", "path", "output_path"] {
        state.insert(name.to_owned(), path.into());
    }
    state.insert("sha256".to_owned(), sha256.to_string().into());
    state.insert("source_code_hash".to_owned(), sha256.base64().into());
    state.insert("materialized".to_owned(), Value::Bool(true));
    Some(state)
}

/// What the data source says.
pub(crate) async fn data(shop: Shop<'_>, config: Object, diagnostics: &mut Diagnostics) -> Option<Object> {
    let mut planned = config.clone();
    set_default(&config, &mut planned);
    let output = planned.get("output_path").cloned().unwrap_or(Value::Null);
    planned.insert("id".to_owned(), output.clone());
    planned.insert("path".to_owned(), output);
    let (mut done, _) = apply(shop, None, (planned, Vec::new()), diagnostics).await?;
    done.retain(|name, _| DATA_SOURCE.attributes().any(|attribute| attribute.name == name));
    Some(done)
}

pub(crate) fn scratch(dir: &Path) -> Result<tempfile::TempDir, LayerError> {
    let made = tempfile::Builder::new().prefix(".layerwise-").tempdir_in(dir);
    made.map_err(|source| LayerError::File { what: "write to", path: dir.to_owned(), source })
}

/// Builds the layer as [`ZIP`] in `scratch`, of the versions in `lock` where there is one; the lock it was built of.
pub(crate) async fn make(
    io: Arc<Io>,
    (wish, object): (&Wish, &Object),
    lock: &[u8],
    scratch: &Path,
) -> Result<(Built, Vec<u8>), LayerError> {
    let slug = format!("pylock.layer-{}.toml", wish.target.slug().replace('.', ""));
    let lock_file = scratch.join(slug);
    let mut job = Job {
        name: wish.layer.name.to_string(),
        target: wish.target,
        inputs: wish.inputs.clone(),
        lock_file: wish.lock_file.clone().unwrap_or_else(|| lock_file.clone()),
        assemble: wish.layer.assemble.clone(),
        exclude_runtime_packages: wish.layer.exclude_runtime_packages,
        output: scratch.join(ZIP),
        check: yes(object, "check", true),
        allow: wish.layer.allow.clone(),
        engine: wish.layer.engine(),
        files: wish.layer.files.clone(),
        environment: wish.layer.environment.clone(),
    };
    // What is pinned by a file of the project needs no second lock.
    let open = matches!(job.inputs.source, Source::Open { .. }) && wish.lock_file.is_none();
    let failed = |source| LayerError::File { what: "write", path: lock_file.clone(), source };
    if open && !lock.is_empty() {
        fs_err::write(&lock_file, lock).map_err(failed)?;
        let none = |_: &str| None;
        let indexes = std::mem::take(&mut job.inputs.indexes);
        let compile = job.inputs.compile.clone();
        job.inputs =
            from_given(&job.inputs.dir, std::slice::from_ref(&lock_file), &[], &Wanted::default(), &none)?.inputs;
        job.inputs.indexes = indexes;
        job.inputs.compile = compile;
        job.lock_file = scratch.join("none");
        let built = pipeline::build(&job, LockPolicy::Use, &io).await?;
        return Ok((built, lock.to_owned()));
    }
    if !open {
        return Ok((pipeline::build(&job, LockPolicy::Use, &io).await?, Vec::new()));
    }
    pipeline::lock(&job, &io).await?;
    let text = fs_err::read(&lock_file).map_err(failed)?;
    let built = pipeline::build(&job, LockPolicy::Use, &io).await?;
    // Paths in a lock count from where it is; those of the scratch directory mean nothing elsewhere.
    let portable = !String::from_utf8_lossy(&text).contains("path = ");
    Ok((built, if portable { text } else { Vec::new() }))
}

fn set_built(object: &mut Object, built: &Built) {
    for (name, value) in [
        ("sha256", built.sha256.to_string().into()),
        ("source_code_hash", built.sha256.base64().into()),
        ("zipped_bytes", built.zipped_bytes.into()),
        ("unzipped_bytes", built.unzipped_bytes.into()),
        ("packages", packages(built)),
    ] {
        object.insert(name.to_owned(), value);
    }
}

/// What is inside, by name.
pub(crate) fn packages(built: &Built) -> Value {
    Value::Map(built.packages.iter().map(|one| (one.name.clone(), one.version.as_str().into())).collect())
}

/// Findings that did not stop the layer.
pub(crate) fn warn(host: &Host, built: &Built, object: &Object, diagnostics: &mut Diagnostics) {
    let findings = built.report.iter().flat_map(|report| &report.findings);
    for finding in findings.filter(|finding| finding.severity == Severity::Warning) {
        let at = finding
            .package
            .as_ref()
            .map_or_else(|| inputs::source(object), |name| inputs::source_of(object, name.as_str()));
        let summary = format!("{} ({})", finding.file.as_deref().unwrap_or(&finding.artifact), finding.rule());
        diagnostics.warning(summary, (host.words)(finding, built.target), &at);
    }
}

/// Says why there is no layer, at the attribute that is the reason.
pub(crate) fn tell(host: &Host, error: &LayerError, object: &Object, diagnostics: &mut Diagnostics) {
    match error {
        LayerError::Pipeline(pipeline::Error::Findings { report, .. }) => {
            for finding in report.findings.iter().filter(|finding| finding.severity == Severity::Error) {
                let package = finding.package.as_ref();
                let at =
                    package.map_or_else(|| inputs::source(object), |name| inputs::source_of(object, name.as_str()));
                let file = finding.file.as_deref().unwrap_or(&finding.artifact);
                let summary = format!("the layer would not work on {}: {file} ({})", report.target, finding.rule());
                let hint = "hint: a finding that you have looked at can be allowed, with `project` and `allow` in its \
                            layerwise.toml; `check = false` builds it all the same";
                diagnostics.error(summary, format!("{}\n{hint}", (host.words)(finding, report.target)), &at);
            }
        }
        LayerError::File { .. } => diagnostics.explained(error, &At::Attribute("output_path")),
        // A function asks AWS only for its layers.
        LayerError::Aws(_) => diagnostics.explained(error, &At::Attribute("layers")),
        _ => diagnostics.explained(error, &inputs::source(object)),
    }
}
