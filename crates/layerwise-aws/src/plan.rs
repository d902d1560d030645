//! What an account has and what is wanted → the steps between. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use layerwise::config::LayerName;
use layerwise::model::Sha256;
use layerwise::model::limits::{DIRECT_UPLOAD_BYTES, UNZIPPED_BYTES};

use crate::error::AwsError;

/// The longest description of a layer version, in characters.
///
/// Source: <https://docs.aws.amazon.com/lambda/latest/api/API_PublishLayerVersion.html>.
pub const DESCRIPTION_CHARS: usize = 256;

/// The longest licence text, in characters; same source.
pub const LICENCE_CHARS: usize = 512;

/// The bytes to publish: a zip on disk that is known to be sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Where it is.
    pub path: PathBuf,
    /// Of its bytes: AWS's `CodeSha256`.
    pub sha256: Sha256,
    /// Its size.
    pub zipped_bytes: u64,
    /// Sum of the unpacked files.
    pub unzipped_bytes: u64,
}

/// What a layer should be like in each region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The layer's name.
    pub name: LayerName,
    /// `CompatibleRuntimes`: `python3.13`. AWS takes at most 15.
    pub runtimes: Vec<String>,
    /// `CompatibleArchitectures`: `x86_64`, `arm64`.
    pub architectures: Vec<String>,
    /// Clipped to [`DESCRIPTION_CHARS`] when it is sent.
    pub description: Option<String>,
    /// An SPDX expression, a URL or a text; clipped to [`LICENCE_CHARS`].
    pub licence: Option<String>,
    /// Who else may use it.
    pub share: Vec<Share>,
    /// Where zips go that are too large for the request itself.
    pub storage: Option<Storage>,
    /// Publish even what is already there.
    pub force: bool,
    /// How many versions to keep; `None` deletes nothing.
    pub keep: Option<usize>,
    /// Functions whose configuration should name the new version.
    pub functions: Vec<String>,
}

impl Wanted {
    /// A layer of this name, and nothing else wanted.
    pub fn new(name: LayerName) -> Self {
        Self {
            name,
            runtimes: Vec::new(),
            architectures: Vec::new(),
            description: None,
            licence: None,
            share: Vec::new(),
            storage: None,
            force: false,
            keep: None,
            functions: Vec::new(),
        }
    }
}

/// A place in S3 for zips.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// The bucket; it must be in the layer's region. `{region}` is replaced.
    pub bucket: String,
    /// Before the key's `<sha256>.zip`, without a `/` at the end; may be empty.
    pub prefix: String,
    /// Lambda reads the object where it is (`S3ObjectStorageMode: REFERENCE`) instead of copying it. Needs a bucket
    /// with versioning that Lambda may read; also for small zips.
    pub reference: bool,
}

impl Storage {
    /// The bucket in `region`.
    pub fn bucket_in(&self, region: &str) -> String {
        self.bucket.replace("{region}", region)
    }

    /// Where bytes with this digest are.
    pub fn key(&self, sha256: Sha256) -> String {
        let prefix = self.prefix.trim_matches('/');
        if prefix.is_empty() { format!("{sha256}.zip") } else { format!("{prefix}/{sha256}.zip") }
    }
}

/// Who may use a layer version besides the account it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Share {
    /// An account: 12 digits.
    Account(String),
    /// Everybody in an organisation: `o-` and 10 to 32 letters and digits.
    Organisation(String),
    /// Everybody.
    Public,
}

impl Share {
    /// The name of its statement in the version's policy; the same wish has the same name.
    pub fn statement(&self) -> String {
        match self {
            Self::Account(id) => format!("layerwise-account-{id}"),
            Self::Organisation(id) => format!("layerwise-organisation-{id}"),
            Self::Public => "layerwise-public".to_owned(),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(id) | Self::Organisation(id) => f.write_str(id),
            Self::Public => f.write_str("public"),
        }
    }
}

/// The text names nobody to share with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is neither an account (12 digits), nor an organisation (`o-…`), nor `public`", .0.escape_debug())]
pub struct InvalidShare(pub String);

impl FromStr for Share {
    type Err = InvalidShare;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let organisation = text.strip_prefix("o-").filter(|id| {
            (10..=32).contains(&id.len()) && id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        });
        if text == "public" {
            Ok(Self::Public)
        } else if text.len() == 12 && text.chars().all(|c| c.is_ascii_digit()) {
            Ok(Self::Account(text.to_owned()))
        } else if organisation.is_some() {
            Ok(Self::Organisation(text.to_owned()))
        } else {
            Err(InvalidShare(text.to_owned()))
        }
    }
}

/// The ARN of a layer version: `arn:aws:lambda:eu-west-1:123456789012:layer:demo:3`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerArn {
    text: String,
    /// Bytes of `text` before the `:` of the version.
    layer: usize,
    version: u64,
}

/// The text is not the ARN of a layer version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not the ARN of a layer version (arn:aws:lambda:REGION:ACCOUNT:layer:NAME:VERSION)", .0.escape_debug())]
pub struct InvalidLayerArn(pub String);

impl LayerArn {
    /// The ARN without its version: which layer.
    pub fn layer(&self) -> &str {
        self.text.get(..self.layer).unwrap_or(&self.text)
    }

    /// The version.
    pub fn version(&self) -> u64 {
        self.version
    }

    fn part(&self, index: usize) -> &str {
        self.text.split(':').nth(index).unwrap_or_default()
    }

    /// `eu-west-1`.
    pub fn region(&self) -> &str {
        self.part(3)
    }

    /// `demo`.
    pub fn name(&self) -> &str {
        self.part(6)
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for LayerArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for LayerArn {
    type Err = InvalidLayerArn;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidLayerArn(text.to_owned());
        let parts: Vec<&str> = text.split(':').collect();
        let ["arn", partition, "lambda", region, account, "layer", name, version] = parts.as_slice() else {
            return Err(invalid());
        };
        let version_number = version.parse().ok().filter(|number| *number > 0).ok_or_else(invalid)?;
        let digits = account.len() == 12 && account.chars().all(|c| c.is_ascii_digit());
        if !partition.starts_with("aws") || region.is_empty() || !digits || name.parse::<LayerName>().is_err() {
            return Err(invalid());
        }
        Ok(Self { text: text.to_owned(), layer: text.len() - version.len() - 1, version: version_number })
    }
}

/// What one region has now, as far as [`Wanted`] needs to know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// The region.
    pub region: String,
    /// The versions there are, newest first.
    pub versions: Vec<LayerArn>,
    /// What the newest one's bytes are.
    pub newest_sha256: Option<Sha256>,
    /// Names of the statements in the newest one's policy.
    pub newest_statements: Vec<String>,
    /// Functions that use a version, by version: `name:$LATEST`, `name:7`.
    pub used: BTreeMap<u64, Vec<String>>,
    /// The functions to update, with the ARNs of their layers in their order.
    pub functions: Vec<(String, Vec<String>)>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing to publish: the newest version has these bytes.
    Keep {
        /// The version.
        arn: LayerArn,
    },
    /// Bring the zip to S3, unless the object is already there.
    Upload {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
    },
    /// Publish a version.
    Publish {
        /// From S3 (bucket and key), or in the request.
        from: Option<(String, String)>,
        /// By reference instead of by copy.
        reference: bool,
    },
    /// Let somebody use the version.
    Share(Share),
    /// Put the version in the place of another version of the layer in a function's configuration.
    Update {
        /// The function.
        function: String,
        /// Its layers as they are.
        before: Vec<String>,
    },
    /// Delete an old version.
    Delete {
        /// The version.
        arn: LayerArn,
    },
    /// An old version stays because functions use it.
    Spare {
        /// The version.
        arn: LayerArn,
        /// The functions.
        used_by: Vec<String>,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep { arn } => write!(f, "keep {arn}: it has these bytes"),
            Self::Upload { bucket, key } => write!(f, "upload to s3://{bucket}/{key}, unless it is there"),
            Self::Publish { from: Some(_), reference: true } => f.write_str("publish a version that refers to S3"),
            Self::Publish { from: Some(_), .. } => f.write_str("publish a version from S3"),
            Self::Publish { from: None, .. } => f.write_str("publish a version"),
            Self::Share(share) => write!(f, "share it with {share}"),
            Self::Update { function, .. } => write!(f, "update the function {function}"),
            Self::Delete { arn } => write!(f, "delete {arn}"),
            Self::Spare { arn, used_by } => write!(f, "keep {arn}: {} uses it", used_by.join(", ")),
        }
    }
}

/// The steps from what a region has to what is wanted.
///
/// # Errors
/// Limits of Lambda that no step could get around, and functions that do not use the layer.
pub fn plan(wanted: &Wanted, artifact: &Artifact, held: &Held) -> Result<Vec<Step>, AwsError> {
    if artifact.unzipped_bytes > UNZIPPED_BYTES {
        return Err(AwsError::TooLarge { unzipped_bytes: artifact.unzipped_bytes });
    }
    let mut steps = Vec::new();
    let newest = held.versions.first();
    let same = newest.filter(|_| held.newest_sha256 == Some(artifact.sha256) && !wanted.force);
    match (same, &wanted.storage) {
        (Some(arn), _) => steps.push(Step::Keep { arn: arn.clone() }),
        (None, Some(storage)) if storage.reference || artifact.zipped_bytes > DIRECT_UPLOAD_BYTES => {
            let (bucket, key) = (storage.bucket_in(&held.region), storage.key(artifact.sha256));
            steps.push(Step::Upload { bucket: bucket.clone(), key: key.clone() });
            steps.push(Step::Publish { from: Some((bucket, key)), reference: storage.reference });
        }
        (None, None) if artifact.zipped_bytes > DIRECT_UPLOAD_BYTES => {
            return Err(AwsError::NoBucket { zipped_bytes: artifact.zipped_bytes });
        }
        (None, _) => steps.push(Step::Publish { from: None, reference: false }),
    }
    let new = usize::from(same.is_none());
    for share in &wanted.share {
        if new == 1 || !held.newest_statements.contains(&share.statement()) {
            steps.push(Step::Share(share.clone()));
        }
    }
    for (function, layers) in &held.functions {
        let before = layers.clone();
        let ours = layers.iter().find(|arn| of_layer(arn, wanted.name.as_str()));
        let Some(ours) = ours else {
            return Err(AwsError::NotItsLayer { function: function.clone(), layer: wanted.name.to_string() });
        };
        if same.is_none_or(|arn| arn.as_str() != ours) {
            steps.push(Step::Update { function: function.clone(), before });
        }
    }
    // A version that a function uses now stays, even if the function is updated above: that is the way back.
    for arn in held.versions.iter().skip(wanted.keep.map_or(usize::MAX, |keep| keep.max(1) - new)) {
        let step = match held.used.get(&arn.version()) {
            Some(used_by) => Step::Spare { arn: arn.clone(), used_by: used_by.clone() },
            None => Step::Delete { arn: arn.clone() },
        };
        steps.push(step);
    }
    Ok(steps)
}

/// Whether a version's ARN is of the layer with this name.
fn of_layer(arn: &str, name: &str) -> bool {
    arn.parse::<LayerArn>().is_ok_and(|arn| arn.name() == name)
}

/// A function's layers with `new` in the place of the other version of the same layer; the rest as it is.
/// `None` where no version of it is there.
pub fn swapped(layers: &[String], new: &LayerArn) -> Option<Vec<String>> {
    let is_ours = |arn: &String| arn.parse::<LayerArn>().is_ok_and(|arn| arn.layer() == new.layer());
    layers
        .iter()
        .any(is_ours)
        .then(|| layers.iter().map(|arn| if is_ours(arn) { new.to_string() } else { arn.clone() }).collect())
}

/// The first `most` characters; whether any were cut off.
pub fn clipped(text: &str, most: usize) -> (String, bool) {
    if text.chars().count() <= most {
        return (text.to_owned(), false);
    }
    (text.chars().take(most.saturating_sub(1)).chain(['…']).collect(), true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arn(version: u64) -> LayerArn {
        format!("arn:aws:lambda:eu-west-1:123456789012:layer:demo:{version}").parse().unwrap()
    }

    fn artifact(zipped_bytes: u64) -> Artifact {
        Artifact { path: "a.zip".into(), sha256: Sha256::of(b"new"), zipped_bytes, unzipped_bytes: 1000 }
    }

    fn wanted() -> Wanted {
        Wanted::new("demo".parse().unwrap())
    }

    fn held(versions: &[u64]) -> Held {
        Held {
            region: "eu-west-1".to_owned(),
            versions: versions.iter().copied().map(arn).collect(),
            newest_sha256: (!versions.is_empty()).then(|| Sha256::of(b"old")),
            ..Held::default()
        }
    }

    #[track_caller]
    fn check(wanted: &Wanted, artifact: &Artifact, held: &Held, expected: &[&str]) {
        let steps = plan(wanted, artifact, held).map(|steps| steps.iter().map(Step::to_string).collect());
        let lines: Vec<String> = steps.unwrap_or_else(|error| vec![format!("error: {error}")]);
        assert_eq!(lines, expected);
    }

    #[test]
    fn what_is_published() {
        let same = Held { newest_sha256: Some(Sha256::of(b"new")), ..held(&[3, 2]) };
        check(&wanted(), &artifact(10), &held(&[]), &["publish a version"]);
        check(&wanted(), &artifact(10), &held(&[3, 2]), &["publish a version"]);
        let keep = format!("keep {}: it has these bytes", arn(3));
        check(&wanted(), &artifact(10), &same, &[&keep]);
        check(&wanted(), &artifact(60 << 20), &same, &[&keep]);
        check(&Wanted { force: true, ..wanted() }, &artifact(10), &same, &["publish a version"]);
    }

    #[test]
    fn large_ones_go_through_s3() {
        let storage = Storage { bucket: "b-{region}".to_owned(), prefix: "l/".to_owned(), reference: false };
        let with = Wanted { storage: Some(storage.clone()), ..wanted() };
        let upload = format!("upload to s3://b-eu-west-1/l/{}.zip, unless it is there", Sha256::of(b"new"));
        check(&with, &artifact(DIRECT_UPLOAD_BYTES), &held(&[]), &["publish a version"]);
        check(&with, &artifact(DIRECT_UPLOAD_BYTES + 1), &held(&[]), &[&upload, "publish a version from S3"]);
        let by_reference = Wanted { storage: Some(Storage { reference: true, ..storage }), ..wanted() };
        check(&by_reference, &artifact(10), &held(&[]), &[&upload, "publish a version that refers to S3"]);
        let refused = ["error: the zip is 52428801 bytes; Lambda takes at most 52428800 in a request"];
        check(&wanted(), &artifact(DIRECT_UPLOAD_BYTES + 1), &held(&[]), &refused);
        let huge = Artifact { unzipped_bytes: UNZIPPED_BYTES + 1, ..artifact(10) };
        let refused = ["error: the layer is 262144001 bytes unzipped; Lambda takes at most 262144000"];
        check(&with, &huge, &held(&[]), &refused);
    }

    #[test]
    fn shares_are_given_once_for_each_version() {
        let with = Wanted { share: vec![Share::Account("1".repeat(12)), Share::Public], ..wanted() };
        let all = ["publish a version", "share it with 111111111111", "share it with public"];
        check(&with, &artifact(10), &held(&[1]), &all);
        let same = Held {
            newest_sha256: Some(Sha256::of(b"new")),
            newest_statements: vec!["layerwise-public".to_owned()],
            ..held(&[1])
        };
        let keep = format!("keep {}: it has these bytes", arn(1));
        check(&with, &artifact(10), &same, &[&keep, "share it with 111111111111"]);
    }

    #[test]
    fn pruning_spares_what_is_used() {
        let with = Wanted { keep: Some(2), ..wanted() };
        let used = Held { used: BTreeMap::from([(4, vec!["f:7".to_owned()])]), ..held(&[5, 4, 2, 1]) };
        let (spared, two, one) =
            (format!("keep {}: f:7 uses it", arn(4)), format!("delete {}", arn(2)), format!("delete {}", arn(1)));
        check(&with, &artifact(10), &used, &["publish a version", &spared, &two, &one]);
        let same = Held { newest_sha256: Some(Sha256::of(b"new")), ..used.clone() };
        let keep = format!("keep {}: it has these bytes", arn(5));
        check(&with, &artifact(10), &same, &[&keep, &two, &one]);
        // The one just published is never deleted.
        let none = Wanted { keep: Some(0), ..wanted() };
        check(&none, &artifact(10), &held(&[1]), &["publish a version", &one]);
        check(&wanted(), &artifact(10), &used, &["publish a version"]);
    }

    #[test]
    fn functions_are_updated_where_they_have_another_version() {
        let other = "arn:aws:lambda:eu-west-1:999999999999:layer:other:1".to_owned();
        let with = |layers: Vec<String>, held: Held| Held { functions: vec![("f".to_owned(), layers)], ..held };
        let same = Held { newest_sha256: Some(Sha256::of(b"new")), ..held(&[3, 2]) };
        let keep = format!("keep {}: it has these bytes", arn(3));
        let layers = |version| vec![other.clone(), arn(version).to_string()];
        check(&wanted(), &artifact(10), &with(layers(2), same.clone()), &[&keep, "update the function f"]);
        check(&wanted(), &artifact(10), &with(layers(3), same), &[&keep]);
        check(&wanted(), &artifact(10), &with(layers(3), held(&[3])), &["publish a version", "update the function f"]);
        let refused = ["error: the function `f` does not use the layer `demo`"];
        check(&wanted(), &artifact(10), &with(vec![other.clone()], held(&[3])), &refused);
        assert_eq!(swapped(&layers(2), &arn(4)), Some(layers(4)));
        assert_eq!(swapped(&[other], &arn(4)), None);
    }

    #[test]
    fn arns() {
        let good = arn(3);
        assert_eq!((good.layer(), good.version()), ("arn:aws:lambda:eu-west-1:123456789012:layer:demo", 3));
        assert_eq!((good.region(), good.name()), ("eu-west-1", "demo"));
        for bad in [
            "",
            "arn:aws:lambda:eu-west-1:123456789012:layer:demo",
            "arn:aws:lambda:eu-west-1:123456789012:layer:demo:0",
            "arn:aws:lambda:eu-west-1:123456789012:layer:demo:x",
            "arn:aws:lambda:eu-west-1:123:layer:demo:1",
            "arn:aws:lambda:eu-west-1:123456789012:function:demo:1",
            "arn:aws:lambda:eu-west-1:123456789012:layer:d.mo:1",
            "arn:aws:lambda:eu-west-1:123456789012:layer:demo:1:2",
        ] {
            assert!(bad.parse::<LayerArn>().is_err(), "{bad}");
        }
    }

    #[test]
    fn whom_to_share_with() {
        assert_eq!("public".parse(), Ok(Share::Public));
        assert_eq!("123456789012".parse(), Ok(Share::Account("123456789012".to_owned())));
        assert_eq!("o-a1b2c3d4e5".parse(), Ok(Share::Organisation("o-a1b2c3d4e5".to_owned())));
        for bad in ["", "everybody", "12345678901", "o-short", "o-A1b2c3d4e5", "*"] {
            assert!(bad.parse::<Share>().is_err(), "{bad}");
        }
    }

    #[test]
    fn long_texts_are_clipped() {
        assert_eq!(clipped("äö", 2), ("äö".to_owned(), false));
        assert_eq!(clipped("äöü", 2), ("ä…".to_owned(), true));
    }
}
