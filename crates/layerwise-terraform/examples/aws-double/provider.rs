//! The types, and what becomes of them.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use layerwise::model::Sha256;
use prost::Message;

use crate::Host;
use crate::diagnostics::{At, Diagnostics, attribute};
use crate::value::{Object, Value, is_null, text, yes};
use crate::wire;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Status {
    Ok = 0,
    InvalidArgument = 3,
    Unimplemented = 12,
    Internal = 13,
}

type Answer = Result<Vec<u8>, (Status, String)>;

/// A resource's type. Of an attribute: `!` required, `?` optional, `~` optional and computed, `=` computed; then `#` a number,
/// `*` a set of strings, `^` a list of strings, `%` a map of strings, `+` a boolean; `$` another value replaces the resource.
struct Kind {
    name: &'static str,
    attributes: &'static str,
    /// Blocks: name, attributes.
    blocks: &'static [(&'static str, &'static str)],
    /// `{name}` stands for an attribute, `{count}` for how many there have been.
    arn: &'static str,
    id: &'static str,
}

const KINDS: &[Kind] = &[
    Kind {
        name: "aws_lambda_layer_version",
        attributes: "!$layer_name ?$*compatible_architectures ?$*compatible_runtimes ?$description ?$filename \
                     ?$license_info ?$s3_bucket ?$s3_key ~$source_code_hash ?+skip_destroy =version =layer_arn",
        blocks: &[],
        arn: "arn:aws:lambda:us-east-1:123456789012:layer:{layer_name}:{count}",
        id: "{arn}",
    },
    Kind {
        name: "aws_lambda_function",
        attributes: "!$function_name !role ?filename ~source_code_hash ?handler ?runtime ~^architectures ?^layers \
                     ?#timeout ?#memory_size =last_modified =version",
        blocks: &[("environment", "?%variables")],
        arn: "arn:aws:lambda:us-east-1:123456789012:function:{function_name}",
        id: "{function_name}",
    },
    Kind {
        name: "aws_cloudwatch_log_group",
        attributes: "~$name ?#retention_in_days",
        blocks: &[],
        arn: "arn:aws:logs:us-east-1:123456789012:log-group:{name}",
        id: "{name}",
    },
    Kind {
        name: "aws_iam_role",
        attributes: "~$name !assume_role_policy",
        blocks: &[],
        arn: "arn:aws:iam::123456789012:role/{name}",
        id: "{name}",
    },
    Kind {
        name: "aws_iam_role_policy",
        attributes: "~$name !$role !policy",
        blocks: &[],
        arn: "",
        id: "{role}:{name}",
    },
    Kind {
        name: "aws_s3_bucket",
        attributes: "~$bucket ?+force_destroy =region",
        blocks: &[],
        arn: "arn:aws:s3:::{bucket}",
        id: "{bucket}",
    },
    Kind {
        name: "aws_lambda_permission",
        attributes: "~$statement_id !$action !$function_name !$principal ?$source_arn",
        blocks: &[],
        arn: "",
        id: "{statement_id}",
    },
    Kind {
        name: "aws_s3_bucket_notification",
        attributes: "!$bucket",
        blocks: &[("lambda_function", "!^events ?filter_prefix ?filter_suffix ~id ?lambda_function_arn")],
        arn: "",
        id: "{bucket}",
    },
];

/// One attribute of the notation above.
struct Attribute {
    name: &'static str,
    wire: wire::Attribute,
    replaces: bool,
}

fn attributes(notation: &'static str) -> impl Iterator<Item = Attribute> {
    notation.split_whitespace().map(|word| {
        let name = word.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
        let has = |sign: &[char]| word.starts_with(sign) || word[..word.len() - name.len()].contains(sign);
        let kind = match () {
            () if has(&['#']) => r#""number""#,
            () if has(&['*']) => r#"["set","string"]"#,
            () if has(&['^']) => r#"["list","string"]"#,
            () if has(&['%']) => r#"["map","string"]"#,
            () if has(&['+']) => r#""bool""#,
            () => r#""string""#,
        };
        let wire = wire::Attribute {
            name: name.to_owned(),
            type_json: kind.into(),
            required: has(&['!']),
            optional: has(&['?', '~']),
            computed: has(&['~', '=']),
            ..Default::default()
        };
        Attribute { name, wire, replaces: has(&['$']) }
    })
}

impl Kind {
    fn attributes(&self) -> impl Iterator<Item = Attribute> {
        let arn = if self.arn.is_empty() { "~id" } else { "~id =arn" };
        attributes(self.attributes).chain(attributes(arn))
    }
}

/// A block with blocks in it: our own provider has none.
#[derive(Clone, PartialEq, Message)]
struct Block {
    #[prost(message, repeated, tag = "2")]
    attributes: Vec<wire::Attribute>,
    #[prost(message, repeated, tag = "3")]
    blocks: Vec<Nested>,
}

#[derive(Clone, PartialEq, Message)]
struct Nested {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    block: Option<Block>,
    /// 3: a list.
    #[prost(int32, tag = "3")]
    nesting: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Schema {
    #[prost(message, optional, tag = "2")]
    block: Option<Block>,
}

#[derive(Clone, PartialEq, Message)]
struct AllSchemas {
    #[prost(message, optional, tag = "1")]
    provider: Option<Schema>,
    #[prost(map = "string, message", tag = "2")]
    resources: HashMap<String, Schema>,
}

pub(crate) struct Provider {
    dir: PathBuf,
    journal: Option<PathBuf>,
}

impl Provider {
    pub(crate) fn new(host: Host) -> Self {
        Self { journal: host.variables.get("AWS_DOUBLE_JOURNAL").map(PathBuf::from), dir: host.dir }
    }

    pub(crate) async fn call(&self, path: &str, message: Bytes) -> Answer {
        match path.strip_prefix("/tfplugin6.Provider/").unwrap_or_default() {
            "GetProviderSchema" => Ok(schemas().encode_to_vec()),
            "ValidateProviderConfig"
            | "ConfigureProvider"
            | "ValidateResourceConfig"
            | "ValidateDataResourceConfig"
            | "GetFunctions"
            | "StopProvider" => Ok(Vec::new()),
            "UpgradeResourceState" => {
                let request: wire::UpgradeRequest = decode(message)?;
                let json = request.raw_state.unwrap_or_default().json;
                let state = Some(wire::DynamicValue { msgpack: Vec::new(), json });
                Ok(wire::StateResponse { state, diagnostics: Vec::new() }.encode_to_vec())
            }
            "ReadResource" => {
                let request: wire::ReadRequest = decode(message)?;
                let response = wire::ReadResponse { new_state: request.current_state, ..Default::default() };
                Ok(response.encode_to_vec())
            }
            "PlanResourceChange" => plan(&decode(message)?),
            "ApplyResourceChange" => self.apply(&decode(message)?),
            method => Err((Status::Unimplemented, format!("{method} is not implemented"))),
        }
    }

    fn apply(&self, request: &wire::ApplyRequest) -> Answer {
        let kind = kind(&request.type_name)?;
        let (prior, planned) = (object(request.prior_state.as_ref())?, object(request.planned_state.as_ref())?);
        let mut diagnostics = Diagnostics::default();
        let what = match (&prior, &planned) {
            (None, _) => "create",
            (Some(_), Some(_)) => "update",
            (Some(state), None) if yes(state, "skip_destroy", false) => "forget",
            (Some(_), None) => "destroy",
        };
        let made = planned.clone().map(|mut state| {
            self.look_at_file(&mut state, &mut diagnostics);
            let count = self.count(kind.name);
            let arn = filled(kind.arn, &state, count);
            if !kind.arn.is_empty() && state.get("arn") == Some(&Value::Unknown) {
                state.insert("arn".to_owned(), arn.into());
            }
            for (name, value) in [("version", count.to_string()), ("id", filled(kind.id, &state, count))] {
                if state.get(name) == Some(&Value::Unknown) {
                    state.insert(name.to_owned(), value.into());
                }
            }
            for value in state.values_mut() {
                settle(value);
            }
            state
        });
        let new_state = if diagnostics.failed() { prior.clone() } else { made };
        if !diagnostics.failed() {
            let of = new_state.as_ref().or(prior.as_ref()).and_then(|state| text(state, "id")).unwrap_or_default();
            self.write(&format!("{what} {} {of}", kind.name)).map_err(|error| (Status::Internal, error.to_string()))?;
        }
        let response =
            wire::ApplyResponse { new_state: dynamic(new_state), private: Vec::new(), diagnostics: diagnostics.0 };
        Ok(response.encode_to_vec())
    }

    /// The zip has to be there, and to be the one that was planned.
    fn look_at_file(&self, state: &mut Object, diagnostics: &mut Diagnostics) {
        let Some(file) = text(state, "filename").map(str::to_owned) else { return };
        let at = At::Attribute("filename");
        match fs_err::read(self.dir.join(&file)) {
            Err(error) => diagnostics.error(format!("reading ZIP file ({file}): {error}"), "", &at),
            Ok(bytes) => {
                let digest = STANDARD.encode(Sha256::of(&bytes).as_bytes());
                match text(state, "source_code_hash") {
                    Some(expected) if expected != digest => {
                        diagnostics.error(format!("{file} is {digest}, planned was {expected}"), "", &at);
                    }
                    _ => drop(state.insert("source_code_hash".to_owned(), digest.into())),
                }
            }
        }
    }

    /// How many of this type have been made, this one included.
    fn count(&self, kind: &str) -> usize {
        let text = self.journal.as_ref().and_then(|path| fs_err::read_to_string(path).ok()).unwrap_or_default();
        text.lines().filter(|line| line.starts_with(&format!("create {kind} "))).count() + 1
    }

    fn write(&self, line: &str) -> std::io::Result<()> {
        let Some(path) = &self.journal else { return Ok(()) };
        // One write, so that lines of several resources do not mix.
        std::fs::OpenOptions::new().create(true).append(true).open(path)?.write_all(format!("{line}\n").as_bytes())
    }
}

/// What is still unknown becomes something.
fn settle(value: &mut Value) {
    match value {
        Value::Unknown => *value = "double".into(),
        Value::List(items) => items.iter_mut().for_each(settle),
        Value::Map(items) => items.values_mut().for_each(settle),
        _ => {}
    }
}

fn filled(pattern: &str, state: &Object, count: usize) -> String {
    let mut all = pattern.replace("{count}", &count.to_string());
    for (name, value) in state {
        all = all.replace(&format!("{{{name}}}"), value.as_str().unwrap_or("double"));
    }
    all
}

fn plan(request: &wire::PlanRequest) -> Answer {
    let kind = kind(&request.type_name)?;
    let (prior, proposed) = (object(request.prior_state.as_ref())?, object(request.proposed_new_state.as_ref())?);
    let Some(mut planned) = proposed else {
        return Ok(wire::PlanResponse { planned_state: dynamic(None), ..Default::default() }.encode_to_vec());
    };
    let differs = |name: &str, prior: &Object| prior.get(name) != planned.get(name);
    let forces = |prior: &Object| -> Vec<&'static str> {
        kind.attributes().filter(|one| one.replaces && differs(one.name, prior)).map(|one| one.name).collect()
    };
    let replaced = prior.as_ref().map(forces).unwrap_or_default();
    if prior.is_none() || !replaced.is_empty() {
        for attribute in kind.attributes().filter(|attribute| attribute.wire.computed) {
            if !attribute.wire.optional || is_null(&planned, attribute.name) {
                planned.insert(attribute.name.to_owned(), Value::Unknown);
            }
        }
        unknown_ids(kind, &mut planned);
    }
    let response = wire::PlanResponse {
        planned_state: dynamic(Some(planned)),
        requires_replace: replaced.into_iter().map(attribute).collect(),
        ..Default::default()
    };
    Ok(response.encode_to_vec())
}

/// Of what is computed in blocks.
fn unknown_ids(kind: &Kind, planned: &mut Object) {
    for (name, notation) in kind.blocks {
        let Some(Value::List(blocks)) = planned.get_mut(*name) else { continue };
        for block in blocks {
            let Value::Map(block) = block else { continue };
            for attribute in attributes(notation).filter(|one| one.wire.computed) {
                if is_null(block, attribute.name) {
                    block.insert(attribute.name.to_owned(), Value::Unknown);
                }
            }
        }
    }
}

fn schemas() -> AllSchemas {
    let block = |notation: &'static str| Block {
        attributes: attributes(notation).map(|attribute| attribute.wire).collect(),
        blocks: Vec::new(),
    };
    let schema = |kind: &Kind| {
        let nested = |(name, notation): &(&str, &'static str)| Nested {
            name: (*name).to_owned(),
            block: Some(block(notation)),
            nesting: 3,
        };
        let attributes = kind.attributes().map(|attribute| attribute.wire).collect();
        Schema { block: Some(Block { attributes, blocks: kind.blocks.iter().map(nested).collect() }) }
    };
    AllSchemas {
        provider: Some(Schema { block: Some(block("?region ?profile")) }),
        resources: KINDS.iter().map(|kind| (kind.name.to_owned(), schema(kind))).collect(),
    }
}

fn kind(name: &str) -> Result<&'static Kind, (Status, String)> {
    KINDS.iter().find(|kind| kind.name == name).ok_or_else(|| (Status::InvalidArgument, format!("no type `{name}`")))
}

fn decode<T: Message + Default>(message: Bytes) -> Result<T, (Status, String)> {
    T::decode(message).map_err(|error| (Status::InvalidArgument, error.to_string()))
}

fn object(value: Option<&wire::DynamicValue>) -> Result<Option<Object>, (Status, String)> {
    match value.map(|value| Value::decode(&value.msgpack)) {
        None | Some(Ok(Value::Null)) => Ok(None),
        Some(Ok(Value::Map(object))) => Ok(Some(object)),
        Some(_) => Err((Status::InvalidArgument, "a value that is no object".to_owned())),
    }
}

fn dynamic(object: Option<Object>) -> Option<wire::DynamicValue> {
    let value = object.map_or(Value::Null, Value::Map);
    Some(wire::DynamicValue { msgpack: value.encode(), json: Vec::new() })
}
