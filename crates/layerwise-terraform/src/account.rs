//! Which AWS account: the provider's settings, and one client for each region.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use layerwise_aws::{AwsError, Client};

use crate::Host;
use crate::schema::{Attribute, Mode, Type};
use crate::value::{Object, Value};

/// The provider's own settings.
pub(crate) const ATTRIBUTES: &[Attribute] = &[
    Attribute {
        name: "region",
        kind: Type::String,
        mode: Mode::Optional,
        about: "The AWS region of layers that name none. Otherwise it is `AWS_REGION`'s, or that of the profile.",
    },
    Attribute {
        name: "profile",
        kind: Type::String,
        mode: Mode::Optional,
        about: "The profile of `~/.aws/config` whose credentials to use, instead of `AWS_PROFILE`. Keys in the \
                environment, SSO, roles, web identity and credential processes work as in every AWS SDK.",
    },
    Attribute {
        name: "endpoint_url",
        kind: Type::String,
        mode: Mode::Optional,
        about: "Where AWS is, instead of `AWS_ENDPOINT_URL`: `http://127.0.0.1:5000` of a test server.",
    },
];

/// What a setting of the provider is for a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Region {
    /// This one.
    Named(String),
    /// The provider's is only known after apply.
    Unknown,
}

/// The account that the provider was told to use.
#[derive(Default)]
pub(crate) struct Account {
    settings: Mutex<Object>,
    clients: tokio::sync::Mutex<BTreeMap<Option<String>, Arc<Client>>>,
    /// Versions that became a resource's during this run, by their ARNs. With `create_before_destroy` the new object may
    /// turn out to be the very version that the old one was; it must not be deleted with it.
    taken: Mutex<BTreeSet<String>>,
}

impl Account {
    /// Takes over what the `provider` block says.
    pub(crate) fn configure(&self, settings: Object) {
        *self.settings.lock().expect("no code panics while holding the lock") = settings;
    }

    fn setting(&self, name: &str) -> Value {
        let settings = self.settings.lock().expect("no code panics while holding the lock");
        settings.get(name).cloned().unwrap_or(Value::Null)
    }

    /// Whether it is known already who to ask: settings may come from resources that are not there yet.
    pub(crate) fn is_known(&self) -> bool {
        ["profile", "endpoint_url"].iter().all(|name| self.setting(name).is_known())
    }

    /// A client for `region`, or for the provider's.
    pub(crate) async fn client(&self, host: &Host, region: Option<&str>) -> Result<Arc<Client>, AwsError> {
        let named = |name| self.setting(name).as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let region = region.map(str::to_owned).or_else(|| named("region"));
        let mut clients = self.clients.lock().await;
        if let Some(client) = clients.get(&region) {
            return Ok(Arc::clone(client));
        }
        let mut settings = host.aws.clone();
        settings.profile = named("profile");
        settings.endpoint = named("endpoint_url");
        let client = Arc::new(Client::connect(region.as_deref(), &settings).await?);
        clients.insert(region, Arc::clone(&client));
        Ok(client)
    }

    /// The region of a layer whose configuration says `own`.
    pub(crate) async fn region(&self, host: &Host, own: &Value) -> Result<Region, AwsError> {
        match own {
            Value::String(name) => return Ok(Region::Named(name.clone())),
            Value::Unknown => return Ok(Region::Unknown),
            _ => {}
        }
        if !self.is_known() || !self.setting("region").is_known() {
            return Ok(Region::Unknown);
        }
        Ok(Region::Named(self.client(host, None).await?.region().to_owned()))
    }

    pub(crate) fn take(&self, arn: &str) {
        self.taken.lock().expect("no code panics while holding the lock").insert(arn.to_owned());
    }

    pub(crate) fn is_taken(&self, arn: &str) -> bool {
        self.taken.lock().expect("no code panics while holding the lock").contains(arn)
    }
}
