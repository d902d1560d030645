//! layerwise's dealings with an AWS account: layers are published, promoted to other regions and accounts, and pruned;
//! functions are given new layers, invoked, and their logs read.
//!
//! Who we are and where (profiles, SSO, roles, regions, endpoints) is the business of the AWS SDK (`aws-config`), and so
//! is signing (`aws-sigv4`). The dozen requests themselves are written here, in `client.rs`: the SDK's crates for Lambda,
//! S3 and CloudWatch Logs are 600,000 lines, and compiling them takes about two minutes of one core.
//!
//! ```text
//!  Wanted + Artifact + Held (what the account has) ──► plan ──► steps ──► apply ──► Outcome
//! ```
//!
//! ```no_run
//! # async fn publish() -> Result<(), layerwise_aws::AwsError> {
//! # let (artifact, now) = todo!();
//! use layerwise_aws::{Client, Patience, Settings, Wanted, publish};
//!
//! let settings = Settings { profile: None, endpoint: None, ca_files: Vec::new(), now };
//! let client = Client::connect(Some("eu-west-1"), &settings).await?;
//! let wanted = Wanted { runtimes: vec!["python3.13".to_owned()], ..Wanted::new("demo".parse().unwrap()) };
//! let outcome = publish(&client, &wanted, &artifact, Patience::default(), &|_, _| {}).await;
//! println!("{:?} {:?}", outcome.arn, outcome.error);
//! # Ok(())
//! # }
//! ```

pub mod apply;
pub mod client;
pub mod error;
mod http;
pub mod plan;

pub use apply::{Done, Outcome, Patience, look, publish};
pub use client::{Client, Settings};
pub use error::{Action, AwsError};
pub use plan::{Artifact, LayerArn, Share, Step, Storage, Wanted, plan};
