//! Which call of Terraform's goes where.

use std::future::Future;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use layerwise::io::Io;
use prost::Message;
use serde_json::Value as Json;

use crate::Host;
use crate::account::{self, Account};
use crate::diagnostics::{self, At, Diagnostics, Log};
use crate::function;
use crate::layer::{self, LayerError, Shop};
use crate::layer_version;
use crate::schema::{Block, Catalogue};
use crate::value::{Object, Value};
use crate::wire;

/// What there is.
pub(crate) const CATALOGUE: Catalogue = Catalogue {
    provider: Block {
        name: "layerwise",
        about: "Builds AWS Lambda layers for Python, without Docker, as part of `terraform apply`. The provider is \
                the program `layerwise` itself: `layerwise terraform install` puts it where `terraform init` finds \
                it. It reads the environment variables that layerwise reads; its own settings are for layers that it \
                publishes.",
        attributes: &[account::ATTRIBUTES],
        example: r#"
terraform {
  required_providers {
    layerwise = {
      source = "layerwise/layerwise"
    }
  }
}

provider "layerwise" {
  region = "eu-west-1"
}
"#,
        import: None,
    },
    resources: &[&layer_version::RESOURCE, &layer::RESOURCE, &function::RESOURCE],
    data_sources: &[&layer::DATA_SOURCE],
};

/// gRPC's status codes, as far as we use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Ok = 0,
    InvalidArgument = 3,
    Unimplemented = 12,
    Internal = 13,
}

type Answer = Result<Vec<u8>, (Status, String)>;

/// The provider, for the time of one Terraform command.
pub(crate) struct Provider {
    host: Arc<Host>,
    io: Arc<OnceLock<Arc<Io>>>,
    account: Arc<Account>,
}

impl Provider {
    pub(crate) fn new(mut host: Host) -> Self {
        host.io.events = Arc::new(Log(host.log));
        Self { host: Arc::new(host), io: Arc::default(), account: Arc::default() }
    }

    /// The world for building; made when first needed, since most plans need none.
    fn io(&self) -> impl Fn() -> Result<Arc<Io>, LayerError> + Send + Sync + use<> {
        let (cell, settings) = (Arc::clone(&self.io), self.host.io.clone());
        move || match cell.get() {
            Some(io) => Ok(Arc::clone(io)),
            None => {
                let io = Arc::new(Io::new(settings.clone()).map_err(layerwise::pipeline::Error::from)?);
                Ok(Arc::clone(cell.get_or_init(|| io)))
            }
        }
    }

    /// Answers one call, by its path.
    pub(crate) async fn call(&self, path: &str, message: Bytes) -> Answer {
        let Some(method) = path.strip_prefix("/tfplugin6.Provider/") else {
            return Err((Status::Unimplemented, format!("{path} is not implemented")));
        };
        match method {
            "GetProviderSchema" => Ok(CATALOGUE.wire().encode_to_vec()),
            "ValidateProviderConfig" => Ok(wire::DiagnosticsAt2::default().encode_to_vec()),
            "ConfigureProvider" => self.configure(&decode(message)?),
            "ValidateResourceConfig" | "ValidateDataResourceConfig" => self.validate(&decode(message)?),
            "UpgradeResourceState" => upgrade(decode(message)?),
            "ReadResource" => self.read(decode(message)?).await,
            "PlanResourceChange" => self.plan(decode(message)?).await,
            "ApplyResourceChange" => self.apply(decode(message)?).await,
            "ImportResourceState" => self.import(decode(message)?).await,
            "ReadDataSource" => self.data(decode(message)?).await,
            "GetFunctions" => Ok(wire::DiagnosticsAt2::default().encode_to_vec()),
            // Ctrl-C. What is being made takes seconds, and is worth more in the state than lost: it goes on.
            "StopProvider" => Ok(Vec::new()),
            _ => Err((Status::Unimplemented, format!("{method} is not implemented"))),
        }
    }

    fn configure(&self, request: &wire::ConfigureRequest) -> Answer {
        self.account.configure(object(request.config.as_ref())?.unwrap_or_default());
        Ok(wire::DiagnosticsAt1::default().encode_to_vec())
    }

    fn validate(&self, request: &wire::TypedConfig) -> Answer {
        let mut diagnostics = Diagnostics::default();
        if let Some(config) = object(request.config.as_ref())? {
            let block = CATALOGUE.resource(&request.type_name).unwrap_or(&layer::DATA_SOURCE);
            layer::validate(&self.host, block, &config, &mut diagnostics);
        }
        Ok(wire::DiagnosticsAt1 { diagnostics: diagnostics.0 }.encode_to_vec())
    }

    async fn read(&self, request: wire::ReadRequest) -> Answer {
        let block = known(&request.type_name)?;
        let state = object(request.current_state.as_ref())?;
        let Some(state) = state else {
            return Ok(wire::ReadResponse { new_state: dynamic(None), ..Default::default() }.encode_to_vec());
        };
        let (host, io, account, was) = (Arc::clone(&self.host), self.io(), Arc::clone(&self.account), state.clone());
        let work = async move {
            let mut diagnostics = Diagnostics::default();
            let state = if is_version(block) {
                let shop = Shop { host: &host, io: &io, account: &account, block };
                layer_version::read(shop, state, &mut diagnostics).await
            } else {
                Some(layer::read(&host, state).await)
            };
            (Some(state), diagnostics)
        };
        let (state, diagnostics) = guarded(work).await;
        let new_state = dynamic(state.unwrap_or(Some(was)));
        let diagnostics = diagnostics.0;
        Ok(wire::ReadResponse { new_state, diagnostics, private: request.private }.encode_to_vec())
    }

    async fn plan(&self, request: wire::PlanRequest) -> Answer {
        let block = known(&request.type_name)?;
        let (prior, config) = (object(request.prior_state.as_ref())?, object(request.config.as_ref())?);
        let Some(proposed) = object(request.proposed_new_state.as_ref())? else {
            // To be destroyed.
            let response = wire::PlanResponse {
                planned_state: dynamic(None),
                planned_private: request.prior_private,
                ..Default::default()
            };
            return Ok(response.encode_to_vec());
        };
        let (host, io, account) = (Arc::clone(&self.host), self.io(), Arc::clone(&self.account));
        let private = request.prior_private;
        let work = async move {
            let mut diagnostics = Diagnostics::default();
            let config = config.unwrap_or_default();
            let shop = Shop { host: &host, io: &io, account: &account, block };
            let (prior, wanted) = (prior.as_ref(), (&config, proposed));
            let planned = if is_version(block) {
                let (state, replaced) = layer_version::plan(shop, prior, wanted, &mut diagnostics).await;
                (state, private, replaced)
            } else {
                let (state, private) = layer::plan(shop, (prior, private), wanted, &mut diagnostics).await;
                (state, private, Vec::new())
            };
            (Some(planned), diagnostics)
        };
        let (planned, diagnostics) = guarded(work).await;
        let mut response = wire::PlanResponse { diagnostics: diagnostics.0, ..Default::default() };
        if let Some((state, private, replaced)) = planned {
            response.planned_state = dynamic(Some(state));
            response.planned_private = private;
            response.requires_replace = replaced.into_iter().map(diagnostics::attribute).collect();
        }
        Ok(response.encode_to_vec())
    }

    async fn apply(&self, request: wire::ApplyRequest) -> Answer {
        let block = known(&request.type_name)?;
        let prior = object(request.prior_state.as_ref())?;
        let planned = object(request.planned_state.as_ref())?;
        let (host, io, account) = (Arc::clone(&self.host), self.io(), Arc::clone(&self.account));
        let (was, private) = (prior.clone(), request.planned_private.clone());
        let work = async move {
            let mut diagnostics = Diagnostics::default();
            let shop = Shop { host: &host, io: &io, account: &account, block };
            let done = match (planned, &was) {
                (Some(planned), _) if is_version(block) => {
                    let done = layer_version::apply(shop, was.as_ref(), planned, &mut diagnostics).await;
                    done.map(|state| (Some(state), private))
                }
                (Some(planned), _) => {
                    let done = layer::apply(shop, was.as_ref(), (planned, private), &mut diagnostics).await;
                    done.map(|(state, lock)| (Some(state), lock))
                }
                (None, Some(was)) if is_version(block) => {
                    let gone = layer_version::destroy(shop, was, &mut diagnostics).await;
                    gone.then(|| (None, Vec::new()))
                }
                (None, Some(was)) => {
                    layer::destroy(&host, was).await;
                    Some((None, Vec::new()))
                }
                (None, None) => Some((None, Vec::new())),
            };
            (done, diagnostics)
        };
        let (done, diagnostics) = guarded(work).await;
        // What failed left things as they were.
        let (state, private) = done.unwrap_or((prior, request.planned_private));
        let response = wire::ApplyResponse { new_state: dynamic(state), private, diagnostics: diagnostics.0 };
        Ok(response.encode_to_vec())
    }

    async fn import(&self, request: wire::ImportRequest) -> Answer {
        let block = known(&request.type_name)?;
        let (host, io, account, id) = (Arc::clone(&self.host), self.io(), Arc::clone(&self.account), request.id);
        let work = async move {
            let mut diagnostics = Diagnostics::default();
            let state = if is_version(block) {
                let shop = Shop { host: &host, io: &io, account: &account, block };
                layer_version::import(shop, &id, &mut diagnostics).await
            } else {
                layer::import(&host, block, &id, &mut diagnostics).await
            };
            (state, diagnostics)
        };
        let (state, diagnostics) = guarded(work).await;
        let imported = state.map(|state| wire::Imported { type_name: request.type_name, state: dynamic(Some(state)) });
        let response = wire::ImportResponse { imported: imported.into_iter().collect(), diagnostics: diagnostics.0 };
        Ok(response.encode_to_vec())
    }

    async fn data(&self, request: wire::TypedConfig) -> Answer {
        let config = object(request.config.as_ref())?.unwrap_or_default();
        let (host, io, account) = (Arc::clone(&self.host), self.io(), Arc::clone(&self.account));
        let work = async move {
            let mut diagnostics = Diagnostics::default();
            let shop = Shop { host: &host, io: &io, account: &account, block: &layer::DATA_SOURCE };
            let done = layer::data(shop, config, &mut diagnostics).await;
            (done, diagnostics)
        };
        let (state, diagnostics) = guarded(work).await;
        Ok(wire::StateResponse { state: dynamic(state), diagnostics: diagnostics.0 }.encode_to_vec())
    }
}

fn is_version(block: &Block) -> bool {
    block.name == layer_version::RESOURCE.name
}

/// Does `work`; a panic in it becomes an error that the user sees, and the state stays what it was.
async fn guarded<T: Send + 'static>(
    work: impl Future<Output = (Option<T>, Diagnostics)> + Send + 'static,
) -> (Option<T>, Diagnostics) {
    tokio::spawn(work).await.unwrap_or_else(|_| {
        let mut diagnostics = Diagnostics::default();
        let detail = "Nothing was changed. Please report it, with the log that `TF_LOG_PROVIDER=debug` makes.";
        diagnostics.error("this is a bug in layerwise", detail, &At::Nothing);
        (None, diagnostics)
    })
}

fn decode<T: Message + Default>(message: Bytes) -> Result<T, (Status, String)> {
    T::decode(message).map_err(|error| (Status::InvalidArgument, error.to_string()))
}

/// The object in a message; `None` for null: there is no resource.
fn object(value: Option<&wire::DynamicValue>) -> Result<Option<Object>, (Status, String)> {
    let invalid = |text: String| (Status::InvalidArgument, text);
    match value {
        None => Ok(None),
        Some(value) if !value.json.is_empty() => Err(invalid("a value in JSON, not in MessagePack".to_owned())),
        Some(value) => match Value::decode(&value.msgpack) {
            Ok(Value::Null) => Ok(None),
            Ok(Value::Map(object)) => Ok(Some(object)),
            Ok(_) => Err(invalid("a value that is no object".to_owned())),
            Err(error) => Err(invalid(layerwise::error::chain(&error))),
        },
    }
}

fn dynamic(object: Option<Object>) -> Option<wire::DynamicValue> {
    let value = object.map_or(Value::Null, Value::Map);
    Some(wire::DynamicValue { msgpack: value.encode(), json: Vec::new() })
}

fn known(type_name: &str) -> Result<&'static Block, (Status, String)> {
    let unknown = || (Status::InvalidArgument, format!("there is no resource `{type_name}`"));
    CATALOGUE.resource(type_name).ok_or_else(unknown)
}

/// A state that another version wrote: what it knew and we do not is dropped, what we know and it did not is null.
fn upgrade(request: wire::UpgradeRequest) -> Answer {
    let block = known(&request.type_name)?;
    let json = request.raw_state.unwrap_or_default().json;
    let mut state: serde_json::Map<String, Json> =
        serde_json::from_slice(&json).map_err(|error| (Status::InvalidArgument, error.to_string()))?;
    state.retain(|name, _| block.attributes().any(|attribute| attribute.name == name));
    for attribute in block.attributes() {
        state.entry(attribute.name).or_insert(Json::Null);
    }
    let json = Json::Object(state).to_string().into_bytes();
    let state = Some(wire::DynamicValue { msgpack: Vec::new(), json });
    Ok(wire::StateResponse { state, diagnostics: Vec::new() }.encode_to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process in which asking where packages come from panics.
    fn host(dir: &std::path::Path) -> Host {
        let now = std::time::UNIX_EPOCH;
        Host {
            dir: dir.to_owned(),
            temp_dir: dir.to_owned(),
            today: "2026-11-25".to_owned(),
            variables: std::collections::BTreeMap::new(),
            io: layerwise::io::IoSettings {
                cache_dir: dir.join("cache"),
                offline: true,
                refresh: false,
                now,
                uv: None,
                child_env: Vec::new(),
                netrc: None,
                ca_files: Vec::new(),
                programs: layerwise::io::Programs::default(),
                keyring: None,
                concurrency: 1,
                http_timeout: std::time::Duration::from_secs(1),
                events: Arc::new(layerwise::event::Silent),
                consent: Arc::new(layerwise::event::Silent),
            },
            aws: layerwise_aws::Settings {
                profile: None,
                endpoint: None,
                ca_files: Vec::new(),
                now: || std::time::UNIX_EPOCH,
            },
            surroundings: Box::new(|_| panic!("on purpose")),
            words: |_, _| String::new(),
            say: |_| Ok(()),
            log: |_| {},
        }
    }

    #[tokio::test]
    async fn a_panic_in_a_handler_is_an_error_that_the_user_sees() {
        let dir = tempfile::tempdir().unwrap();
        let provider = Provider::new(host(dir.path()));
        for block in [&layer::RESOURCE, &layer_version::RESOURCE] {
            let mut config = block.empty();
            config.insert("requirements".to_owned(), Value::List(vec!["idna".into()]));
            for (name, value) in [("runtime", "python3.13"), ("output_path", "a.zip"), ("layer_name", "a")] {
                config.entry(name.to_owned()).and_modify(|at| *at = value.into());
            }
            let request = wire::PlanRequest {
                type_name: block.name.to_owned(),
                proposed_new_state: dynamic(Some(config.clone())),
                config: dynamic(Some(config)),
                ..Default::default()
            };
            let path = "/tfplugin6.Provider/PlanResourceChange";
            let answer = provider.call(path, request.encode_to_vec().into()).await.unwrap();
            let diagnostics = wire::PlanResponse::decode(answer.as_slice()).unwrap().diagnostics;
            assert_eq!(diagnostics[0].summary, "this is a bug in layerwise", "{diagnostics:?}");
        }
        // It goes on.
        let schema = provider.call("/tfplugin6.Provider/GetProviderSchema", Bytes::new()).await.unwrap();
        assert!(schema.len() > 1000);
    }

    #[test]
    fn a_state_of_another_version_keeps_what_is_known() {
        let json = br#"{"output_path":"a.zip","gone":1}"#.to_vec();
        let raw_state = Some(wire::RawState { json });
        let answer = upgrade(wire::UpgradeRequest { type_name: "layerwise_layer".to_owned(), raw_state }).unwrap();
        let state = wire::StateResponse::decode(&answer[..]).unwrap().state.unwrap();
        let state: Json = serde_json::from_slice(&state.json).unwrap();
        assert_eq!(state["output_path"], "a.zip");
        assert!(state["sha256"].is_null() && state.get("gone").is_none());
        assert_eq!(state.as_object().unwrap().len(), layer::RESOURCE.empty().len());
    }
}
