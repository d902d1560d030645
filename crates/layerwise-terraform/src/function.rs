//! `layerwise_function`: a function's own zip, from its code.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use layerwise::function;
use layerwise::io::Io;
use layerwise::model::{Sha256, Target};
use layerwise::pipeline::{self, Attached, Built, FunctionJob};
use layerwise_aws::{AwsError, LayerArn};

use crate::Host;
use crate::diagnostics::{At, Diagnostics};
use crate::inputs;
use crate::layer::{KEPT, LayerError, OUTPUT_PATH, OUTPUTS, Shop};
use crate::schema::{Attribute, Block, Mode, Type};
use crate::value::{Object, Value, text, texts, yes};

const ATTRIBUTES: &[Attribute] = &[
    Attribute {
        name: "code",
        kind: Type::String,
        mode: Mode::Required,
        about: "The directory of the function's code.",
    },
    Attribute {
        name: "handler",
        kind: Type::String,
        mode: Mode::Required,
        about: "`index.handler`: whether Lambda would find it, and what it imports, is looked at.",
    },
    Attribute {
        name: "layers",
        kind: Type::Strings,
        mode: Mode::Optional,
        about: "The function's layers in order: zips (`layerwise_layer.deps.path`), or versions \
                (`layerwise_layer_version.deps.arn`), which are downloaded for it. The function is judged with them; \
                they do not change its zip.",
    },
    Attribute {
        name: "ignore",
        kind: Type::Strings,
        mode: Mode::Optional,
        about: "What to leave out, in the words of `.gitignore`.",
    },
    inputs::RUNTIME,
    inputs::ARCHITECTURE,
    Attribute {
        name: "check",
        kind: Type::Bool,
        mode: Mode::Optional,
        about: "Look whether the function works on Lambda, and make no zip that does not. `true` if not set.",
    },
];

/// The resource.
pub(crate) const RESOURCE: Block = Block {
    name: "layerwise_function",
    about: "Builds a function's own zip from its code, and judges it together with its layers. For \
            `aws_lambda_function` of hashicorp/aws.",
    attributes: &[ATTRIBUTES, &[OUTPUT_PATH], KEPT, OUTPUTS],
    example: r#"
resource "layerwise_function" "index" {
  code        = "src"
  handler     = "index.handler"
  runtime     = "python3.12"
  layers      = [layerwise_layer_version.deps.arn]
  output_path = "build/function.zip"
}

resource "aws_lambda_function" "index" {
  function_name    = "index"
  role             = aws_iam_role.index.arn
  filename         = layerwise_function.index.path
  source_code_hash = layerwise_function.index.source_code_hash
  handler          = layerwise_function.index.handler
  runtime          = layerwise_function.index.runtime
  layers           = [layerwise_layer_version.deps.arn]
}
"#,
    import: Some(
        "By the path of a zip. The next apply builds it anew from the configuration.\n\n\
         ```shell\nterraform import layerwise_function.index build/function.zip\n```",
    ),
};

/// What a function's zip is to be made of.
#[derive(Debug)]
pub(crate) struct FunctionWish {
    target: Target,
    code: PathBuf,
    /// Of everything that decides the zip's bytes.
    pub(crate) digest: Sha256,
}

/// What the attributes mean now; `None` if something of them is not known yet, or wrong.
pub(crate) fn wish(host: &Host, object: &Object, diagnostics: &mut Diagnostics) -> Option<FunctionWish> {
    // Layers may be made in the same apply: their zips change nothing of this one.
    let decide = ["code", "ignore", "runtime", "architecture"];
    if decide.iter().any(|name| !object.get(*name).is_none_or(Value::is_known)) {
        return None;
    }
    let target = inputs::target_or_say(host, object, diagnostics)?;
    let code = host.dir.join(text(object, "code").unwrap_or_default());
    let found = function::code("function", &code, &texts(object, "ignore"));
    let found = found.map_err(|error| diagnostics.explained(&error, &At::Attribute("code"))).ok()?;
    let mut all = format!("layerwise terraform function {}\n", inputs::FORMAT);
    for file in &found.files.found {
        all += &format!("{:?} {} {}\n", file.to.as_str(), file.sha256, file.executable);
    }
    Some(FunctionWish { target, code, digest: Sha256::of(all.as_bytes()) })
}

/// Builds the zip at `output`; layers that are in AWS are downloaded beside it.
pub(crate) async fn make(
    shop: Shop<'_>,
    io: &Arc<Io>,
    (wish, object): (&FunctionWish, &Object),
    output: PathBuf,
) -> Result<Built, LayerError> {
    let mut layers = Vec::new();
    for (index, layer) in texts(object, "layers").iter().enumerate() {
        let path = match layer.parse::<LayerArn>() {
            Ok(arn) => {
                let path = output.with_file_name(format!("{}-{index}.zip", arn.name()));
                download(shop, &arn, &path).await?;
                path
            }
            Err(_) => shop.host.dir.join(layer),
        };
        layers.push(Attached::Path(path));
    }
    let job = FunctionJob {
        name: "function".to_owned(),
        target: wish.target,
        code: wish.code.clone(),
        ignore: texts(object, "ignore"),
        handler: text(object, "handler").unwrap_or_default().to_owned(),
        layers,
        packaged: false,
        environment: std::collections::BTreeMap::new(),
        output,
        check: yes(object, "check", true),
        allow: Vec::new(),
    };
    Ok(pipeline::function(&job, io).await?)
}

async fn download(shop: Shop<'_>, arn: &LayerArn, path: &Path) -> Result<(), LayerError> {
    let client = shop.account.client(shop.host, Some(arn.region())).await?;
    let version = client.version(arn.layer(), arn.version()).await?;
    let version = version.ok_or_else(|| AwsError::NoSuchVersion { arn: arn.to_string() })?;
    let bytes = client.download(&version).await?;
    fs_err::write(path, bytes).map_err(|source| LayerError::File { what: "write", path: path.to_owned(), source })
}
