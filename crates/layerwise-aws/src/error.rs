//! What can go wrong with an account: what we were doing to what, and what to allow or change.

use std::fmt;
use std::time::Duration;

use layerwise::error::{Explain, Kind};
use layerwise::model::Sha256;
use layerwise::model::limits::{DIRECT_UPLOAD_BYTES, UNZIPPED_BYTES};

macro_rules! actions {
    ($($variant:ident = $name:literal: $about:literal,)*) => {
        /// Everything that this crate asks of AWS, by IAM's names: what a caller's policy has to allow.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Action {
            $(#[doc = $about] $variant,)*
        }

        impl Action {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// `lambda:PublishLayerVersion`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

actions! {
    ListLayerVersions = "lambda:ListLayerVersions": "Which versions a layer has.",
    GetLayerVersion = "lambda:GetLayerVersion": "A version, and where its zip is.",
    GetLayerVersionPolicy = "lambda:GetLayerVersionPolicy": "Who may use a version.",
    PublishLayerVersion = "lambda:PublishLayerVersion": "A new version.",
    AddLayerVersionPermission = "lambda:AddLayerVersionPermission": "Somebody may use a version.",
    DeleteLayerVersion = "lambda:DeleteLayerVersion": "A version goes.",
    ListFunctions = "lambda:ListFunctions": "Which functions there are, and their layers.",
    GetFunctionConfiguration = "lambda:GetFunctionConfiguration": "A function's layers, and whether they are live.",
    UpdateFunctionConfiguration = "lambda:UpdateFunctionConfiguration": "A function gets other layers.",
    InvokeFunction = "lambda:InvokeFunction": "A function runs.",
    FilterLogEvents = "logs:FilterLogEvents": "Lines of a log.",
    ListBucket = "s3:ListBucket": "Whether a bucket is there, and where.",
    GetObject = "s3:GetObject": "Whether a zip is there already.",
    PutObject = "s3:PutObject": "A zip is uploaded.",
    AbortMultipartUpload = "s3:AbortMultipartUpload": "An upload is given up.",
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One request to AWS, as IAM sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The IAM action.
    pub action: Action,
    /// The resource of the action, an ARN with `*` for what we do not know.
    pub resource: String,
    /// The region asked.
    pub region: String,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {} in {}", self.action, self.resource, self.region)
    }
}

/// Something that AWS, or the way there, did not let us do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AwsError {
    /// No region anywhere.
    #[error("no AWS region is named")]
    NoRegion,
    /// Not one of AWS's region names.
    #[error("`{}` is not the name of an AWS region", .0.escape_debug())]
    InvalidRegion(String),
    /// Not what Lambda calls a layer; the words say what is.
    #[error("{0}")]
    InvalidLayerName(String),
    /// Nothing to sign requests with.
    #[error("no AWS credentials for {region}: {message}")]
    NoCredentials {
        /// The region that was to be asked.
        region: String,
        /// Who was asked for credentials, and what they said.
        message: String,
    },
    /// The credentials are no longer, or not at all, valid.
    #[error("the AWS credentials are not valid ({code}): {message}")]
    BadCredentials {
        /// AWS's word: `ExpiredTokenException`.
        code: String,
        /// AWS's sentence.
        message: String,
        /// Whether they were valid once.
        expired: bool,
    },
    /// No permission.
    #[error("AWS does not allow {call}: {message}")]
    Denied {
        /// What was asked.
        call: Call,
        /// AWS's sentence.
        message: String,
    },
    /// Too many requests, even after waiting.
    #[error("AWS throttles {call}: {message}")]
    Throttled {
        /// What was asked.
        call: Call,
        /// AWS's sentence.
        message: String,
    },
    /// AWS failed, even after trying again.
    #[error("AWS failed at {call} with status {status}: {message}")]
    Unavailable {
        /// What was asked.
        call: Call,
        /// 500 or above.
        status: u16,
        /// AWS's sentence.
        message: String,
    },
    /// No answer.
    #[error("failed to reach AWS for {call}: {message}")]
    Unreached {
        /// What was asked.
        call: Call,
        /// What the network said.
        message: String,
    },
    /// It is not there.
    #[error("AWS finds nothing for {call}: {message}")]
    NotFound {
        /// What was asked.
        call: Call,
        /// AWS's sentence.
        message: String,
    },
    /// There is no such layer version.
    #[error("the layer version {arn} is not there")]
    NoSuchVersion {
        /// The version.
        arn: String,
    },
    /// Anything else that AWS said no to.
    #[error("AWS refuses {call} ({code}): {message}")]
    Refused {
        /// What was asked.
        call: Call,
        /// AWS's word: `InvalidParameterValueException`.
        code: String,
        /// AWS's sentence.
        message: String,
    },
    /// Lambda reads only buckets of its own region.
    #[error("the bucket `{bucket}` is in {bucket_region}; Lambda in {region} reads only buckets of {region}")]
    BucketElsewhere {
        /// The bucket.
        bucket: String,
        /// Where it is.
        bucket_region: String,
        /// Where the layer is to be.
        region: String,
    },
    /// `REFERENCE` needs a version to refer to.
    #[error("the bucket `{bucket}` keeps no versions, which storing by reference needs")]
    BucketUnversioned {
        /// The bucket.
        bucket: String,
    },
    /// Too large for a request, and no bucket given.
    #[error("the zip is {zipped_bytes} bytes; Lambda takes at most {DIRECT_UPLOAD_BYTES} in a request")]
    NoBucket {
        /// Its size.
        zipped_bytes: u64,
    },
    /// More than Lambda takes at all.
    #[error("the layer is {unzipped_bytes} bytes unzipped; Lambda takes at most {UNZIPPED_BYTES}")]
    TooLarge {
        /// Its size.
        unzipped_bytes: u64,
    },
    /// The function does not use the layer.
    #[error("the function `{function}` does not use the layer `{layer}`")]
    NotItsLayer {
        /// The function.
        function: String,
        /// The layer's name.
        layer: String,
    },
    /// A function did not take its new configuration; `restored` says what came of the old one.
    #[error("the update of the function `{function}` failed: {reason}; {restored}")]
    UpdateFailed {
        /// The function.
        function: String,
        /// `LastUpdateStatusReason`, or what kept us from asking.
        reason: String,
        /// What state it is in now, a sentence.
        restored: String,
    },
    /// Bytes that are not what they should be.
    #[error("{what} has the sha256 {found}, expected {expected}")]
    Bytes {
        /// The zip or the layer version.
        what: String,
        /// As we know it.
        expected: Sha256,
        /// As it is.
        found: String,
    },
    /// The zip cannot be read.
    #[error("failed to read `{path}`: {message}")]
    Read {
        /// Where it is.
        path: String,
        /// What the system said.
        message: String,
    },
    /// Something did not come about in the time given.
    #[error("{what} is not there after {} seconds", after.as_secs())]
    TooLong {
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
    },
}

impl Explain for AwsError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoRegion
            | Self::InvalidRegion(_)
            | Self::InvalidLayerName(_)
            | Self::NoBucket { .. }
            | Self::NotItsLayer { .. } => Kind::Usage,
            Self::Unreached { .. } => Kind::Network,
            Self::TooLarge { .. } => Kind::Limit,
            Self::Bytes { .. } => Kind::Integrity,
            Self::Read { .. } => Kind::System,
            _ => Kind::Aws,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::NoRegion => "pass `--region`, or set AWS_REGION, or name a region in the profile".to_owned(),
            Self::InvalidRegion(_) => "regions look like `eu-west-1`".to_owned(),
            Self::NoCredentials { .. } => {
                "run `aws sso login`, name a profile with `--profile`, or set AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY"
                    .to_owned()
            }
            Self::BadCredentials { expired: true, .. } => {
                "get new ones, with `aws sso login` or from whoever issued them; what was done before stays done, \
                 and the same command continues"
                    .to_owned()
            }
            Self::BadCredentials { expired: false, .. } => {
                "check the profile, and that the account has the region enabled".to_owned()
            }
            Self::Denied { call, .. } => {
                format!("the caller needs a policy that allows `{}` on `{}`", call.action, call.resource)
            }
            Self::NotFound { call, .. } if call.action == Action::FilterLogEvents => {
                "a function's log group comes with its first invocation; `--follow` waits for it".to_owned()
            }
            Self::Throttled { .. } | Self::Unavailable { .. } => {
                "try again later: what is already there is not published again".to_owned()
            }
            Self::Unreached { call, .. } => {
                format!("check the network, proxies, AWS_ENDPOINT_URL, and that the region `{}` exists", call.region)
            }
            Self::BucketElsewhere { region, .. } => {
                format!("give a bucket in {region}; `{{region}}` in the bucket's name is replaced")
            }
            Self::BucketUnversioned { bucket } => {
                format!("`aws s3api put-bucket-versioning --bucket {bucket} --versioning-configuration Status=Enabled`")
            }
            Self::NoBucket { .. } => {
                "give a bucket in the layer's region with `--bucket`, or as `bucket` under `[publish]`".to_owned()
            }
            Self::TooLarge { .. } => "the largest packages are listed by `layerwise build`".to_owned(),
            Self::NotItsLayer { function, .. } => {
                format!("add the layer to `{function}` once by hand; after that it is kept up to date")
            }
            _ => return Vec::new(),
        };
        vec![hint]
    }
}

impl AwsError {
    /// What an answer of AWS means: its status, its error code (`AccessDeniedException`) and its sentence.
    pub(crate) fn of_answer(call: Call, status: u16, code: &str, message: &str) -> Self {
        let (code, message) = (code.to_owned(), clean(message));
        match code.as_str() {
            "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => {
                Self::BadCredentials { code, message, expired: true }
            }
            "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "InvalidSignatureException"
            | "IncompleteSignature"
            | "InvalidToken"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException" => Self::BadCredentials { code, message, expired: false },
            "TooManyRequestsException"
            | "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "RequestThrottled"
            | "RequestLimitExceeded"
            | "SlowDown" => Self::Throttled { call, message },
            _ if status == 429 => Self::Throttled { call, message },
            "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" => Self::Denied { call, message },
            _ if status == 403 => Self::Denied { call, message },
            _ if status == 404 => Self::NotFound { call, message },
            _ if status >= 500 => Self::Unavailable { call, status, message },
            _ => Self::Refused { call, code, message },
        }
    }

    /// Whether the same request may succeed if it is sent again soon.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Throttled { .. } | Self::Unavailable { .. } | Self::Unreached { .. })
    }
}

/// A sentence from afar, on one line and of bounded length.
pub(crate) fn clean(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(600).collect();
    match text.trim() {
        "" => "no message".to_owned(),
        text => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, code: &str, kind: Kind, starts: &str) {
        let call = Call {
            action: Action::PublishLayerVersion,
            resource: "arn:aws:lambda:eu-west-1:*:layer:demo".to_owned(),
            region: "eu-west-1".to_owned(),
        };
        let error = AwsError::of_answer(call, status, code, "said\nso");
        assert_eq!((error.kind(), error.to_string().starts_with(starts)), (kind, true), "{error}");
        assert!(error.to_string().ends_with("said so"), "{error}");
    }

    #[test]
    fn what_answers_mean() {
        check(403, "AccessDeniedException", Kind::Aws, "AWS does not allow lambda:PublishLayerVersion on arn:");
        check(403, "ExpiredTokenException", Kind::Aws, "the AWS credentials are not valid (ExpiredTokenException)");
        check(403, "UnrecognizedClientException", Kind::Aws, "the AWS credentials are not valid (Unrecog");
        check(403, "SignatureDoesNotMatch", Kind::Aws, "the AWS credentials are not valid (Signature");
        check(403, "", Kind::Aws, "AWS does not allow");
        check(429, "TooManyRequestsException", Kind::Aws, "AWS throttles lambda:PublishLayerVersion");
        check(400, "ThrottlingException", Kind::Aws, "AWS throttles");
        check(503, "SlowDown", Kind::Aws, "AWS throttles");
        check(500, "ServiceException", Kind::Aws, "AWS failed at lambda:PublishLayerVersion");
        check(404, "ResourceNotFoundException", Kind::Aws, "AWS finds nothing for lambda:PublishLayerVersion on");
        check(400, "InvalidParameterValueException", Kind::Aws, "AWS refuses lambda:PublishLayerVersion");
    }

    #[test]
    fn a_denial_names_what_to_allow() {
        let call = Call { action: Action::ListLayerVersions, resource: "*".to_owned(), region: "eu-west-1".to_owned() };
        let error = AwsError::of_answer(call, 403, "AccessDenied", "");
        assert_eq!(error.hints(), ["the caller needs a policy that allows `lambda:ListLayerVersions` on `*`"]);
    }
}
