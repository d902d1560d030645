//! The Terraform provider inside layerwise: plugin protocol 6, spoken without generated code.
//!
//! `plugin.rs` is how Terraform and a provider meet (cookie, certificates, socket, end), `wire.rs` the messages,
//! `value.rs` the values in them, `schema.rs` what our types look like, `provider.rs` which call goes where, and
//! `layer.rs` what a layer's zip is to Terraform, `layer_version.rs` what a published layer is. `install.rs` puts the program where `terraform init` finds it.
//!
//! Like the library, this crate reads no environment and prints nothing: all of that is in [`Host`].

mod account;
mod diagnostics;
mod function;
mod inputs;
pub mod install;
mod layer;
mod layer_version;
mod plugin;
mod provider;
mod schema;
mod value;
mod wire;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use layerwise::audit::Finding;
use layerwise::input::{InputError, Surroundings};
use layerwise::io::IoSettings;
use layerwise::model::Target;

pub use plugin::{ServeError, serve, started_by_terraform};

/// What says where packages come from, for the project in a directory.
pub type Around = dyn Fn(&Path) -> Result<Surroundings, InputError> + Send + Sync;

/// What the provider needs to know of the process it runs in.
pub struct Host {
    /// The working directory: Terraform's, so relative paths count from there.
    pub dir: PathBuf,
    /// Where temporary files go.
    pub temp_dir: PathBuf,
    /// The present day, `YYYY-MM-DD`.
    pub today: String,
    /// The environment, as far as it is text; Terraform tells a provider in it how to meet.
    pub variables: BTreeMap<String, String>,
    /// For the library; its events are replaced by lines of Terraform's log.
    pub io: IoSettings,
    /// For AWS; profile and endpoint are the configuration's to say.
    pub aws: layerwise_aws::Settings,
    /// Where packages come from, for a project in a directory.
    pub surroundings: Box<Around>,
    /// A finding in words: what is the matter, and what to do about it.
    pub words: fn(&Finding, Target) -> String,
    /// Writes one line to stdout: the handshake.
    pub say: fn(&str) -> std::io::Result<()>,
    /// Writes one line to stderr: Terraform's log.
    pub log: fn(&str),
}

/// The pages of the documentation by their paths, in the format of Terraform's registry.
pub fn documentation() -> Vec<(String, String)> {
    provider::CATALOGUE.pages()
}
