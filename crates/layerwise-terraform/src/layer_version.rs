//! `layerwise_layer_version`: a layer built, checked and published in one, with no file to hand over.
//!
//! A version is immutable. So whatever alters its bytes (the digest of the inputs) or its words (name, region,
//! description, licence) asks for another version, and everything else changes nothing in AWS.

use layerwise::config::LayerName;
use layerwise::error::Explain as _;
use layerwise::pipeline::Built;
use layerwise_aws::client::Published;
use layerwise_aws::plan::{DESCRIPTION_CHARS, LICENCE_CHARS, clipped};
use layerwise_aws::{Artifact, AwsError, Client, Done, LayerArn, Outcome, Patience, Storage, Wanted};

use crate::account::Region;
use crate::diagnostics::{At, Diagnostics, log_line};
use crate::inputs::{self, Wish};
use crate::layer::{self, LayerError, Shop};
use crate::schema::{Attribute, Block, Mode, Type};
use crate::value::{Object, Value, is_null, text, yes};

const ATTRIBUTES: &[Attribute] = &[
    Attribute {
        name: "layer_name",
        kind: Type::String,
        mode: Mode::Required,
        about: "The layer's name in AWS: 1 to 140 letters, digits, `-` and `_`.",
    },
    Attribute {
        name: "description",
        kind: Type::String,
        mode: Mode::Optional,
        about: "AWS takes at most 256 characters; the rest is cut off.",
    },
    Attribute {
        name: "license",
        kind: Type::String,
        mode: Mode::Optional,
        about: "An SPDX expression, a URL or a text, of at most 512 characters.",
    },
    Attribute {
        name: "region",
        kind: Type::String,
        mode: Mode::Default,
        about: "The AWS region. Otherwise it is the provider's.",
    },
    Attribute {
        name: "bucket",
        kind: Type::String,
        mode: Mode::Optional,
        about: "The S3 bucket, in the layer's region, that zips of more than 50 MB go through. `{region}` is replaced.",
    },
    Attribute {
        name: "prefix",
        kind: Type::String,
        mode: Mode::Optional,
        about: "Before the object's key, which is the zip's digest.",
    },
    Attribute {
        name: "by_reference",
        kind: Type::Bool,
        mode: Mode::Optional,
        about: "Lambda reads the object in `bucket` instead of copying it (`S3ObjectStorageMode: REFERENCE`). The \
                bucket has to keep versions.",
    },
    Attribute {
        name: "skip_destroy",
        kind: Type::Bool,
        mode: Mode::Optional,
        about: "Leave versions in AWS that are replaced or destroyed here.",
    },
    Attribute {
        name: "build_at",
        kind: Type::String,
        mode: Mode::Optional,
        about: "`apply` (the default), or `plan`: a changed layer is built while planning, so what is wrong with it is \
                said before anything is changed; every requirement should then be pinned with its hash.",
    },
];

/// What is only known once the version is there.
const OUTPUTS: &[Attribute] = &[
    Attribute { name: "id", kind: Type::String, mode: Mode::Computed, about: "The same as `arn`." },
    Attribute {
        name: "arn",
        kind: Type::String,
        mode: Mode::Computed,
        about: "Of the version: what `layers` of a function takes.",
    },
    Attribute { name: "layer_arn", kind: Type::String, mode: Mode::Computed, about: "Of the layer, without version." },
    Attribute { name: "version", kind: Type::Number, mode: Mode::Computed, about: "The version's number." },
    Attribute {
        name: "code_sha256",
        kind: Type::String,
        mode: Mode::Computed,
        about: "Of the zip, in base64: AWS's `CodeSha256`.",
    },
    layer::ZIPPED_BYTES,
    layer::UNZIPPED_BYTES,
    layer::PACKAGES,
];

const DIGEST: &[Attribute] = &[Attribute {
    name: "input_digest",
    kind: Type::String,
    mode: Mode::Computed,
    about: "Of everything that decides the zip's bytes: requirements (not their order or comments), runtime, \
            architecture, options. A new version is published when it changes.",
}];

/// The resource.
pub(crate) const RESOURCE: Block = Block {
    name: "layerwise_layer_version",
    about: "Builds a layer, checks it, and publishes it to AWS Lambda. Nothing has to be there before, and no file is \
            left behind: a plan made on one machine can be applied on another. A version that already has the same \
            bytes and the same words is taken over, not published again; one that somebody has deleted is published \
            again.",
    attributes: &[inputs::ATTRIBUTES, ATTRIBUTES, DIGEST, OUTPUTS],
    example: r#"
resource "layerwise_layer_version" "deps" {
  layer_name        = "deps"
  requirements_file = "requirements.txt"
  runtime           = "python3.12"
  architecture      = "arm64"

  # Functions use the old version until they have the new one; and if the build fails, nothing is lost.
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_lambda_function" "index" {
  function_name = "index"
  role          = aws_iam_role.index.arn
  filename      = "function.zip"
  handler       = "index.handler"
  runtime       = layerwise_layer_version.deps.runtime
  architectures = [layerwise_layer_version.deps.architecture]
  layers        = [layerwise_layer_version.deps.arn]
}
"#,
    import: Some(
        "By the version's ARN. The next plan builds the layer to see whether it has the same bytes: if so, the version \
         stays; if not, the plan says that it will be replaced.\n\n\
         ```shell\nterraform import layerwise_layer_version.deps \
         arn:aws:lambda:eu-west-1:123456789012:layer:deps:3\n```",
    ),
};

/// What a version is identified by besides its bytes: no request changes it.
const WORDS: [&str; 4] = ["layer_name", "region", "description", "license"];

pub(crate) fn validate(object: &Object, diagnostics: &mut Diagnostics) {
    for (name, most) in [("description", DESCRIPTION_CHARS), ("license", LICENCE_CHARS)] {
        if text(object, name).is_some_and(|text| clipped(text, most).1) {
            let summary = format!("`{name}` is cut off after {most} characters, which is all that AWS takes");
            diagnostics.warning(summary, "", &At::Attribute(name));
        }
    }
    if let Some(Err(error)) = text(object, "layer_name").map(str::parse::<LayerName>) {
        diagnostics.error(error.to_string(), "", &At::Attribute("layer_name"));
    }
    if yes(object, "by_reference", false) && is_null(object, "bucket") {
        let detail = "hint: name one that keeps versions with `bucket`";
        diagnostics.error("storing by reference needs a bucket", detail, &At::Attribute("by_reference"));
    }
}

/// What is to become of the resource, and which attributes make another version necessary.
pub(crate) async fn plan(
    shop: Shop<'_>,
    prior: Option<&Object>,
    (config, mut planned): (&Object, Object),
    diagnostics: &mut Diagnostics,
) -> (Object, Vec<&'static str>) {
    layer::set_default(config, &mut planned);
    let wish = inputs::wish(shop.host, &planned, diagnostics);
    let region = shop.account.region(shop.host, config.get("region").unwrap_or(&Value::Null)).await;
    match region {
        Ok(Region::Named(name)) => planned.insert("region".to_owned(), name.into()),
        Ok(Region::Unknown) => planned.insert("region".to_owned(), Value::Unknown),
        Err(error) => {
            refused(&error, &[], diagnostics);
            None
        }
    };
    if diagnostics.failed() {
        return (planned, Vec::new());
    }
    let digest = wish.as_ref().map_or(Value::Unknown, |wish| wish.digest.to_string().into());
    planned.insert("input_digest".to_owned(), digest);

    let differs = |prior: &Object, name: &str| prior.get(name) != planned.get(name);
    let mut replaced: Vec<&'static str> = Vec::new();
    let mut built = None;
    if let Some(prior) = prior {
        replaced.extend(WORDS.iter().filter(|name| differs(prior, name)));
        if is_null(prior, "input_digest") && wish.is_some() {
            // Imported: what it was made of nobody knows, so only its bytes can tell.
            let about = ["runtime", "architecture"].into_iter();
            replaced.extend(about.filter(|name| !is_null(prior, name) && differs(prior, name)));
            if let Some(wish) = &wish {
                built = build_now(shop, wish, &planned, diagnostics).await;
            }
            if built.as_ref().is_none_or(|built| text(prior, "code_sha256") != Some(&built.sha256.base64())) {
                replaced.push("input_digest");
            }
        } else if differs(prior, "input_digest") {
            replaced.push("input_digest");
            replaced.extend(inputs::ATTRIBUTES.iter().map(|one| one.name).filter(|name| differs(prior, name)));
        }
    }
    let is_new = prior.is_none() || !replaced.is_empty();
    if let (true, None, Some("plan"), Some(wish)) = (is_new, &built, text(&planned, "build_at"), &wish) {
        built = build_now(shop, wish, &planned, diagnostics).await;
    }
    if is_new {
        planned.extend(OUTPUTS.iter().map(|output| (output.name.to_owned(), Value::Unknown)));
    }
    if let Some(built) = &built {
        set_built(&mut planned, built);
    }
    (planned, replaced)
}

/// Builds while planning; what is wrong is said.
async fn build_now(shop: Shop<'_>, wish: &Wish, object: &Object, diagnostics: &mut Diagnostics) -> Option<Built> {
    let made = async {
        let scratch = layer::scratch(&shop.host.temp_dir)?;
        Ok(layer::make((shop.io)()?, (wish, object), &[], scratch.path()).await?.0)
    };
    match made.await {
        Ok(built) => {
            layer::warn(shop.host, &built, object, diagnostics);
            Some(built)
        }
        Err(error) => {
            tell(shop, &error, object, diagnostics);
            None
        }
    }
}

/// Makes the version as planned. `None` if there is none; a version that is there in spite of an error is in the state.
pub(crate) async fn apply(
    shop: Shop<'_>,
    prior: Option<&Object>,
    mut planned: Object,
    diagnostics: &mut Diagnostics,
) -> Option<Object> {
    if prior.is_some() {
        // Whatever needs another version replaces; the rest is only of interest here.
        return Some(planned);
    }
    let wish = inputs::wish(shop.host, &planned, diagnostics)?;
    let digest = wish.digest.to_string();
    if text(&planned, "input_digest").is_some_and(|planned| planned != digest) {
        let summary = "what goes into the layer changed between plan and apply";
        diagnostics.error(summary, "hint: plan again", &inputs::source(&planned));
        return None;
    }
    let scratch = match layer::scratch(&shop.host.temp_dir) {
        Ok(scratch) => scratch,
        Err(error) => {
            tell(shop, &error, &planned, diagnostics);
            return None;
        }
    };
    let made = async {
        let built = layer::make((shop.io)()?, (&wish, &planned), &[], scratch.path()).await?.0;
        match text(&planned, "code_sha256") {
            Some(expected) if expected != built.sha256.base64() => {
                Err(LayerError::Different { built: built.sha256, expected: expected.to_owned() })
            }
            _ => Ok(built),
        }
    };
    let built = match made.await {
        Ok(built) => built,
        Err(error) => {
            tell(shop, &error, &planned, diagnostics);
            return None;
        }
    };
    let outcome = match publish(shop, &built, &planned).await {
        Ok(outcome) => outcome,
        Err(error) => {
            refused(&error, &[], diagnostics);
            return None;
        }
    };
    if let Some(error) = &outcome.error {
        refused(error, &outcome.done, diagnostics);
    }
    let arn = outcome.arn?;
    shop.account.take(arn.as_str());
    layer::warn(shop.host, &built, &planned, diagnostics);
    set_built(&mut planned, &built);
    set_arn(&mut planned, &arn);
    planned.insert("input_digest".to_owned(), digest.into());
    Some(planned)
}

/// Publishes, unless the newest version is this one already.
async fn publish(shop: Shop<'_>, built: &Built, planned: &Object) -> Result<Outcome, AwsError> {
    let client = shop.account.client(shop.host, text(planned, "region")).await?;
    let artifact = Artifact {
        path: built.output.clone(),
        sha256: built.sha256,
        zipped_bytes: built.zipped_bytes,
        unzipped_bytes: built.unzipped_bytes,
    };
    let mut wanted = wanted(built, planned)?;
    // The same bytes under other words are another version.
    wanted.force = match newest(&client, &wanted).await? {
        Some(newest) => !has_words(&newest, &wanted),
        None => false,
    };
    Ok(layerwise_aws::publish(&client, &wanted, &artifact, Patience::default(), &|_, _| {}).await)
}

fn wanted(built: &Built, planned: &Object) -> Result<Wanted, AwsError> {
    // `validate` has looked at it, unless it was not known then.
    let name = text(planned, "layer_name").unwrap_or_default().parse::<LayerName>();
    let mut wanted = Wanted::new(name.map_err(|error| AwsError::InvalidLayerName(error.to_string()))?);
    let words = |name: &str, most: usize| text(planned, name).map(|text| clipped(text, most).0);
    wanted.runtimes = vec![built.target.runtime.name.clone()];
    wanted.architectures = vec![built.target.architecture.aws().to_owned()];
    wanted.description = words("description", DESCRIPTION_CHARS);
    wanted.licence = words("license", LICENCE_CHARS);
    wanted.storage = text(planned, "bucket").map(|bucket| Storage {
        bucket: bucket.to_owned(),
        prefix: text(planned, "prefix").unwrap_or_default().to_owned(),
        reference: yes(planned, "by_reference", false),
    });
    Ok(wanted)
}

async fn newest(client: &Client, wanted: &Wanted) -> Result<Option<Published>, AwsError> {
    let name = wanted.name.as_str();
    match client.versions(name, true).await?.first() {
        Some(arn) => client.version(name, arn.version()).await,
        None => Ok(None),
    }
}

fn has_words(version: &Published, wanted: &Wanted) -> bool {
    (version.description.as_str(), &version.licence) == (wanted.description.as_deref().unwrap_or(""), &wanted.licence)
        && version.runtimes == wanted.runtimes
        && version.architectures == wanted.architectures
}

/// What AWS has of it; `None` where it is gone.
pub(crate) async fn read(shop: Shop<'_>, state: Object, diagnostics: &mut Diagnostics) -> Option<Object> {
    let Some(arn) = arn_of(&state).filter(|_| shop.account.is_known()) else { return Some(state) };
    match found(shop, &arn).await {
        Ok(found) => {
            // The number of a version is never used again, so these are always the bytes of then.
            found.map(|_| state)
        }
        Err(error) => {
            refused(&error, &[], diagnostics);
            Some(state)
        }
    }
}

async fn found(shop: Shop<'_>, arn: &LayerArn) -> Result<Option<Published>, AwsError> {
    let client = shop.account.client(shop.host, Some(arn.region())).await?;
    // By ARN: in another account it is not "gone", but not ours to see.
    client.version(arn.layer(), arn.version()).await
}

/// Deletes the version, unless it is to stay. Whether it is gone, as far as we are concerned.
pub(crate) async fn destroy(shop: Shop<'_>, state: &Object, diagnostics: &mut Diagnostics) -> bool {
    let Some(arn) = arn_of(state).filter(|_| !yes(state, "skip_destroy", false)) else { return true };
    if shop.account.is_taken(arn.as_str()) {
        (shop.host.log)(&log_line("info", &format!("{arn} stays: its replacement has the same bytes")));
        return true;
    }
    let deleted = async {
        let client = shop.account.client(shop.host, Some(arn.region())).await?;
        client.delete(arn.layer(), arn.version()).await
    };
    deleted.await.map_err(|error| refused(&error, &[], diagnostics)).is_ok()
}

/// The state of a version that somebody has published.
pub(crate) async fn import(shop: Shop<'_>, id: &str, diagnostics: &mut Diagnostics) -> Option<Object> {
    let Ok(arn) = id.parse::<LayerArn>() else {
        let hint = "hint: a layer version is imported by its ARN, arn:aws:lambda:REGION:ACCOUNT:layer:NAME:VERSION";
        diagnostics.error(format!("`{id}` is not the ARN of a layer version"), hint, &At::Nothing);
        return None;
    };
    let version = match found(shop, &arn).await {
        Ok(Some(version)) => version,
        Ok(None) => {
            refused(&AwsError::NoSuchVersion { arn: arn.to_string() }, &[], diagnostics);
            return None;
        }
        Err(error) => {
            refused(&error, &[], diagnostics);
            return None;
        }
    };
    let mut state = RESOURCE.empty();
    let only = |list: &[String]| match list {
        [one] => one.as_str().into(),
        _ => Value::Null,
    };
    let words = |text: &str| if text.is_empty() { Value::Null } else { text.into() };
    for (name, value) in [
        ("layer_name", arn.name().into()),
        ("region", arn.region().into()),
        ("runtime", only(&version.runtimes)),
        ("architecture", only(&version.architectures)),
        ("description", words(&version.description)),
        ("license", words(version.licence.as_deref().unwrap_or_default())),
        ("code_sha256", version.sha256.map_or(Value::Null, |sha256| sha256.base64().into())),
        ("zipped_bytes", version.zipped_bytes.into()),
    ] {
        state.insert(name.to_owned(), value);
    }
    set_arn(&mut state, &arn);
    Some(state)
}

fn arn_of(state: &Object) -> Option<LayerArn> {
    text(state, "arn")?.parse().ok()
}

fn set_arn(object: &mut Object, arn: &LayerArn) {
    for (name, value) in [
        ("id", arn.as_str().into()),
        ("arn", arn.as_str().into()),
        ("layer_arn", arn.layer().into()),
        ("version", arn.version().into()),
        ("region", arn.region().into()),
    ] {
        object.insert(name.to_owned(), value);
    }
}

fn set_built(object: &mut Object, built: &Built) {
    for (name, value) in [
        ("code_sha256", built.sha256.base64().into()),
        ("zipped_bytes", built.zipped_bytes.into()),
        ("unzipped_bytes", built.unzipped_bytes.into()),
        ("packages", layer::packages(built)),
    ] {
        object.insert(name.to_owned(), value);
    }
}

fn tell(shop: Shop<'_>, error: &LayerError, object: &Object, diagnostics: &mut Diagnostics) {
    match error {
        // There is no attribute for where it is built.
        LayerError::File { .. } => diagnostics.explained(error, &At::Nothing),
        _ => layer::tell(shop.host, error, object, diagnostics),
    }
}

/// Says what AWS did not let us do, at the attribute that could change it; and what has been done all the same.
fn refused(error: &AwsError, done: &[Done], diagnostics: &mut Diagnostics) {
    let at = match error {
        AwsError::NoRegion | AwsError::InvalidRegion(_) => At::Attribute("region"),
        AwsError::NoBucket { .. } | AwsError::BucketElsewhere { .. } | AwsError::BucketUnversioned { .. } => {
            At::Attribute("bucket")
        }
        AwsError::InvalidLayerName(_) => At::Attribute("layer_name"),
        _ => At::Nothing,
    };
    // The library's hints speak of flags; here they are attributes.
    let hints = match error {
        AwsError::NoRegion => vec!["set `region` here or in the `provider` block, or AWS_REGION".to_owned()],
        AwsError::NoBucket { .. } => vec!["name a bucket in the layer's region with `bucket`".to_owned()],
        AwsError::NoCredentials { .. } => vec![
            "run `aws sso login`, set `profile` in the `provider` block, or AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY"
                .to_owned(),
        ],
        error => error.hints(),
    };
    let mut detail = String::new();
    for done in done {
        detail += &match done {
            Done::Uploaded { bucket, key, .. } => format!("done: the zip is at s3://{bucket}/{key}\n"),
            Done::Published { arn } => format!("done: {arn} is published; the next apply replaces it\n"),
            _ => continue,
        };
    }
    detail.extend(hints.iter().map(|hint| format!("hint: {hint}\n")));
    diagnostics.error(error.to_string(), detail.trim_end(), &at);
}
