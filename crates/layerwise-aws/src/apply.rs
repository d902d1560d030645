//! Steps → done. Small on purpose: what to do is decided in `plan.rs`, how to say it to AWS is in `client.rs`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use layerwise::model::Sha256;
use serde::{Deserialize, Serialize};

use crate::client::{Client, Content, Published};
use crate::error::AwsError;
use crate::plan::{Artifact, Held, LayerArn, Share, Step, Wanted, plan, swapped};

/// How long to wait for AWS: for what was done to be seen, and for functions to be updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// The first pause between two looks; it doubles up to 5 seconds.
    pub pause: Duration,
    /// The longest time for one thing to come about.
    pub limit: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { pause: Duration::from_millis(200), limit: Duration::from_secs(300) }
    }
}

impl Patience {
    /// The pauses, until the time is over.
    fn pauses(self) -> impl Iterator<Item = Duration> {
        let started = Instant::now();
        let mut next = self.pause;
        std::iter::from_fn(move || {
            let pause = next;
            next = (next * 2).min(Duration::from_secs(5));
            (started.elapsed() + pause <= self.limit).then_some(pause)
        })
    }
}

/// Something that has been done and stays done, whatever comes after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "done", rename_all = "snake_case")]
pub enum Done {
    /// The newest version had these bytes already.
    Kept {
        /// The version.
        arn: String,
    },
    /// The zip is in S3.
    Uploaded {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// Whether it was there before.
        reused: bool,
    },
    /// A new version is there.
    Published {
        /// The version.
        arn: String,
    },
    /// Somebody else may use it.
    Shared {
        /// The version.
        arn: String,
        /// With whom.
        with: String,
    },
    /// A function uses it.
    Updated {
        /// The function.
        function: String,
        /// Its layers before.
        before: Vec<String>,
        /// Its layers now.
        after: Vec<String>,
    },
    /// An old version is gone.
    Deleted {
        /// The version.
        arn: String,
    },
    /// An old version stays, because functions use it.
    Spared {
        /// The version.
        arn: String,
        /// The functions.
        used_by: Vec<String>,
    },
}

/// One region, after its steps: all that was done, and what stopped the rest.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The region.
    pub region: String,
    /// The version that has the bytes, once there is one.
    pub arn: Option<LayerArn>,
    /// In order.
    pub done: Vec<Done>,
    /// Steps that were not tried, or failed, as sentences.
    pub left: Vec<String>,
    /// What went wrong.
    pub error: Option<AwsError>,
}

/// Looks at what a region has, as far as `wanted` needs it. Changes nothing.
///
/// # Errors
/// Whatever AWS says.
pub async fn look(client: &Client, wanted: &Wanted) -> Result<Held, AwsError> {
    let name = wanted.name.as_str();
    let versions = client.versions(name, wanted.keep.is_none()).await?;
    let mut held = Held { region: client.region().to_owned(), versions, ..Held::default() };
    if let Some(newest) = held.versions.first()
        && let Some(found) = client.version(name, newest.version()).await?
    {
        held.newest_sha256 = found.sha256;
        if !wanted.share.is_empty() {
            held.newest_statements = client.statements(name, newest.version()).await?;
        }
    }
    if wanted.keep.is_some() && !held.versions.is_empty() {
        for (function, layers) in client.functions().await? {
            for arn in layers.iter().filter_map(|arn| arn.parse::<LayerArn>().ok()) {
                if held.versions.contains(&arn) {
                    held.used.entry(arn.version()).or_default().push(function.clone());
                }
            }
        }
    }
    for function in &wanted.functions {
        held.functions.push((function.clone(), client.function(function).await?.layers));
    }
    Ok(held)
}

/// Publishes `artifact` as `wanted`, in this client's region: looks, plans, does. `heard` is told of each thing when it
/// is done, so that nothing is forgotten when the future is dropped.
pub async fn publish(
    client: &Client,
    wanted: &Wanted,
    artifact: &Artifact,
    patience: Patience,
    heard: &(dyn Fn(&str, &Done) + Send + Sync),
) -> Outcome {
    let region = client.region().to_owned();
    let mut outcome = Outcome { region, arn: None, done: Vec::new(), left: Vec::new(), error: None };
    let steps = match look(client, wanted).await.and_then(|held| plan(wanted, artifact, &held)) {
        Ok(steps) => steps,
        Err(error) => return Outcome { error: Some(error), ..outcome },
    };
    let mut run = Run { client, wanted, artifact, patience, arn: None, published: None, object_version: None };
    let mut steps = steps.iter();
    while let Some(step) = steps.next() {
        let ended = run.step(step).await;
        // A version that was made and could then not be looked at is there all the same.
        let published = run.published.take().map(|arn| Done::Published { arn: arn.to_string() });
        let (done, error) = match ended {
            Ok(done) => (Some(done), None),
            Err(error) => (published, Some(error)),
        };
        if let Some(error) = error {
            let failed = done.is_none().then_some(step);
            outcome.left = failed.into_iter().chain(steps.by_ref()).map(Step::to_string).collect();
            outcome.error = Some(error);
        }
        if let Some(done) = done {
            heard(&outcome.region, &done);
            outcome.done.push(done);
        }
    }
    outcome.arn = run.arn;
    outcome
}

/// The state of one region's steps.
struct Run<'a> {
    client: &'a Client,
    wanted: &'a Wanted,
    artifact: &'a Artifact,
    patience: Patience,
    arn: Option<LayerArn>,
    /// Made by the step under way.
    published: Option<LayerArn>,
    object_version: Option<String>,
}

impl Run<'_> {
    async fn step(&mut self, step: &Step) -> Result<Done, AwsError> {
        Ok(match step {
            Step::Keep { arn } => {
                self.arn = Some(arn.clone());
                Done::Kept { arn: arn.to_string() }
            }
            Step::Upload { bucket, key } => {
                let object = self.client.upload(bucket, key, self.artifact).await?;
                self.object_version = object.version;
                Done::Uploaded { bucket: bucket.clone(), key: key.clone(), reused: object.reused }
            }
            Step::Publish { from, reference } => {
                let content = match from {
                    // Only now: that the object is there has to be said.
                    Some((bucket, _)) if *reference && self.object_version.is_none() => {
                        return Err(AwsError::BucketUnversioned { bucket: bucket.clone() });
                    }
                    Some((bucket, key)) => Content::S3 {
                        bucket: bucket.clone(),
                        key: key.clone(),
                        version: self.object_version.clone(),
                        reference: *reference,
                    },
                    None => Content::Zip(read(self.artifact).await?),
                };
                let published = self.publish(content).await?;
                let arn = published.arn.clone();
                (self.arn, self.published) = (Some(arn.clone()), Some(arn.clone()));
                self.same_bytes(&published)?;
                self.seen(&arn).await?;
                Done::Published { arn: arn.to_string() }
            }
            Step::Share(share) => {
                let arn = self.arn()?;
                self.share(&arn, share).await?;
                Done::Shared { arn: arn.to_string(), with: share.to_string() }
            }
            Step::Update { function, before } => {
                let arn = self.arn()?;
                let Some(after) = swapped(before, &arn) else {
                    let (function, layer) = (function.clone(), arn.layer().to_owned());
                    return Err(AwsError::NotItsLayer { function, layer });
                };
                update(self.client, function, before, &after, self.patience).await?;
                Done::Updated { function: function.clone(), before: before.clone(), after }
            }
            Step::Delete { arn } => {
                self.client.delete(arn.name(), arn.version()).await?;
                Done::Deleted { arn: arn.to_string() }
            }
            Step::Spare { arn, used_by } => Done::Spared { arn: arn.to_string(), used_by: used_by.clone() },
        })
    }

    fn arn(&self) -> Result<LayerArn, AwsError> {
        self.arn.clone().ok_or_else(|| AwsError::TooLong {
            what: format!("a version of `{}`", self.wanted.name),
            after: Duration::ZERO,
        })
    }

    /// Publishes once, whatever the network does: a request whose answer was lost may have been carried out, so it is
    /// looked for before another one is sent.
    async fn publish(&self, content: Content) -> Result<Published, AwsError> {
        let name = self.wanted.name.as_str();
        let content = Arc::new(content);
        let before = self.client.versions(name, true).await?.first().map_or(0, LayerArn::version);
        let mut pauses = self.patience.pauses();
        let mut tries = 0;
        loop {
            tries += 1;
            let error = match self.client.publish(self.wanted, &content).await {
                Ok(published) => return Ok(published),
                Err(error) => error,
            };
            if !error.is_passing() || tries >= 5 {
                return Err(error);
            }
            let Some(pause) = pauses.next() else { return Err(error) };
            tokio::time::sleep(pause).await;
            if !matches!(error, AwsError::Throttled { .. })
                && let Some(newest) = self.client.versions(name, true).await?.into_iter().next()
                && newest.version() > before
                && let Some(found) = self.client.version(name, newest.version()).await?
                && found.sha256 == Some(self.artifact.sha256)
            {
                return Ok(found);
            }
        }
    }

    fn same_bytes(&self, published: &Published) -> Result<(), AwsError> {
        if published.sha256 == Some(self.artifact.sha256) {
            return Ok(());
        }
        Err(AwsError::Bytes {
            what: published.arn.to_string(),
            expected: self.artifact.sha256,
            found: published.sha256.map_or_else(|| "nothing".to_owned(), |sha256| sha256.to_string()),
        })
    }

    /// Waits until everybody sees the version.
    async fn seen(&self, arn: &LayerArn) -> Result<(), AwsError> {
        for pause in std::iter::once(Duration::ZERO).chain(self.patience.pauses()) {
            tokio::time::sleep(pause).await;
            if self.client.version(arn.name(), arn.version()).await?.is_some() {
                return Ok(());
            }
        }
        Err(AwsError::TooLong { what: arn.to_string(), after: self.patience.limit })
    }

    async fn share(&self, arn: &LayerArn, share: &Share) -> Result<(), AwsError> {
        let mut pauses = self.patience.pauses();
        loop {
            match self.client.share(arn.name(), arn.version(), share).await {
                // Not everybody has seen the new version yet.
                Err(error @ AwsError::NotFound { .. }) => match pauses.next() {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Err(error),
                },
                ended => return ended,
            }
        }
    }
}

/// The artifact's bytes, which must still be those that were checked.
async fn read(artifact: &Artifact) -> Result<Vec<u8>, AwsError> {
    let path = artifact.path.clone();
    let failed = |message: String| AwsError::Read { path: artifact.path.display().to_string(), message };
    let bytes = tokio::task::spawn_blocking(move || fs_err::read(path)).await;
    let bytes = bytes.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
    let found = Sha256::of(&bytes);
    if found != artifact.sha256 {
        let what = artifact.path.display().to_string();
        return Err(AwsError::Bytes { what, expected: artifact.sha256, found: found.to_string() });
    }
    Ok(bytes)
}

/// Gives a function the layers `after` and waits until the change is live. If it fails, the function gets `before`
/// back.
///
/// # Errors
/// Before anything is changed, whatever AWS says; afterwards [`AwsError::UpdateFailed`], which says what the function
/// has now.
pub async fn update(
    client: &Client,
    function: &str,
    before: &[String],
    after: &[String],
    patience: Patience,
) -> Result<(), AwsError> {
    let ready = settled(client, function, patience).await?;
    if ready.layers != before {
        let reason = "somebody else has changed its layers meanwhile".to_owned();
        let restored = "it was left as it is".to_owned();
        return Err(AwsError::UpdateFailed { function: function.to_owned(), reason, restored });
    }
    client.set_layers(function, after, ready.revision.as_deref()).await?;
    let reason = match settled(client, function, patience).await {
        Ok(state) if !state.failed => return Ok(()),
        Ok(state) => state.reason.unwrap_or_else(|| "LastUpdateStatus is Failed".to_owned()),
        Err(error) => error.to_string(),
    };
    let restored = match client.set_layers(function, before, None).await {
        Ok(()) => match settled(client, function, patience).await {
            Ok(state) if !state.failed => "it has its former layers again".to_owned(),
            Ok(_) => "its former layers were put back, but that failed too".to_owned(),
            Err(error) => format!("its former layers were put back, but whether that is live is not known: {error}"),
        },
        Err(error) => format!("its former layers could not be put back: {error}"),
    };
    Err(AwsError::UpdateFailed { function: function.to_owned(), reason, restored })
}

/// Waits until no update of the function is under way.
async fn settled(
    client: &Client,
    function: &str,
    patience: Patience,
) -> Result<crate::client::FunctionState, AwsError> {
    for pause in std::iter::once(Duration::ZERO).chain(patience.pauses()) {
        tokio::time::sleep(pause).await;
        let state = client.function(function).await?;
        if !state.in_progress {
            return Ok(state);
        }
    }
    Err(AwsError::TooLong { what: format!("the update of the function `{function}`"), after: patience.limit })
}
