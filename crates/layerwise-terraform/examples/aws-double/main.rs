//! A double of hashicorp/aws for tests: the schema of version 6 for what our example's module uses, and no AWS behind it.
//! It proves how a module is wired (which file is read when, what is replaced and in which order), not what AWS does.
//! Attributes are those of the npm package @cdktn/provider-aws 25.7.0, which is generated from aws 6.66.0; the rest of each
//! resource's attributes is left out.
//!
//! What it is asked to do is written, line by line, to the file that `AWS_DOUBLE_JOURNAL` names. It speaks to Terraform
//! through the same files as our provider.

#![expect(dead_code, reason = "the files it shares with our provider have more than it uses")]
#![expect(unreachable_pub, reason = "in a library these are public")]

#[path = "../../src/diagnostics.rs"]
mod diagnostics;
#[path = "../../src/plugin.rs"]
mod plugin;
mod provider;
#[path = "../../src/value.rs"]
mod value;
#[path = "../../src/wire.rs"]
mod wire;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

/// What `plugin.rs` needs to know of the process.
pub struct Host {
    dir: PathBuf,
    temp_dir: PathBuf,
    variables: BTreeMap<String, String>,
    say: fn(&str) -> std::io::Result<()>,
    log: fn(&str),
}

#[expect(clippy::disallowed_methods, reason = "a program of its own")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let host = Host {
        dir: std::env::current_dir()?,
        temp_dir: std::env::temp_dir(),
        variables: std::env::vars().collect(),
        say: |line| writeln!(std::io::stdout(), "{line}"),
        log: |line| drop(writeln!(std::io::stderr(), "{line}")),
    };
    tokio::runtime::Runtime::new()?.block_on(plugin::serve(host))?;
    Ok(())
}
