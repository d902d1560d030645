//! One account in one region: the requests we send, and what their answers mean.

use std::fmt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_credential_types::provider::error::CredentialsError;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4;
use aws_types::service_config::ServiceConfigKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use layerwise::model::Sha256;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode, utf8_percent_encode};
use reqwest::Method;
use serde_json::{Value, json};

use crate::error::{Action, AwsError, Call, clean};
use crate::plan::{Artifact, DESCRIPTION_CHARS, LICENCE_CHARS, LayerArn, Share, Wanted, clipped};

/// What stands unescaped in a segment of a path or a query (RFC 3986, as SigV4 wants it).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// The same with `/`, for keys of S3.
const KEY: &AsciiSet = &SEGMENT.remove(b'/');

/// The most that is read of an answer that is not a zip.
const ANSWER_BYTES: usize = 64 << 20;
/// The size of a part of a multipart upload; S3 wants at least 5 MiB.
const PART_BYTES: usize = 16 << 20;
/// Times a request is sent at most.
const TRIES: u32 = 5;

/// What a [`Client`] has to be told.
#[derive(Clone)]
pub struct Settings {
    /// The profile of `~/.aws/config`, instead of `AWS_PROFILE`.
    pub profile: Option<String>,
    /// Where every service is, instead of `AWS_ENDPOINT_URL` and what profiles say.
    pub endpoint: Option<String>,
    /// Certificates (PEM) to trust besides the system's.
    pub ca_files: Vec<PathBuf>,
    /// The clock: requests are signed with the time.
    pub now: fn() -> SystemTime,
}

/// An account in a region.
pub struct Client {
    http: reqwest::Client,
    config: SdkConfig,
    region: String,
    endpoint: Option<String>,
    now: fn() -> SystemTime,
    credentials: tokio::sync::Mutex<Option<Credentials>>,
    /// Multipart uploads under way: bucket, key, id.
    uploads: Mutex<Vec<(String, String, String)>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("region", &self.region).finish_non_exhaustive()
    }
}

/// A layer version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its ARN.
    pub arn: LayerArn,
    /// Of its bytes; `None` where AWS says nothing that could be one.
    pub sha256: Option<Sha256>,
    /// The size of its zip.
    pub zipped_bytes: u64,
    /// Where its zip is for ten minutes; a secret, since the URL is signed.
    location: String,
    /// As published.
    pub description: String,
    /// As published.
    pub licence: Option<String>,
    /// As published.
    pub runtimes: Vec<String>,
    /// As published.
    pub architectures: Vec<String>,
    /// ISO 8601.
    pub created: String,
}

/// The bytes of a layer version, for AWS.
pub(crate) enum Content {
    /// In the request.
    Zip(Vec<u8>),
    /// In S3.
    S3 { bucket: String, key: String, version: Option<String>, reference: bool },
}

/// An object in S3.
pub(crate) struct Object {
    pub(crate) version: Option<String>,
    pub(crate) reused: bool,
}

/// A function's configuration, as far as layers and logs go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionState {
    /// The ARNs of its layers in their order.
    pub layers: Vec<String>,
    /// Changes with every change of the function.
    pub revision: Option<String>,
    /// Whether a change of it is under way.
    pub in_progress: bool,
    /// Whether its last change failed.
    pub failed: bool,
    /// Why.
    pub reason: Option<String>,
    /// Where its logs go.
    pub log_group: String,
}

/// What a function answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoked {
    /// The answer.
    pub payload: Vec<u8>,
    /// `Handled` or `Unhandled`, if the function failed.
    pub error: Option<String>,
    /// The end of its log, at most 4 KiB.
    pub log: String,
    /// Which version ran.
    pub version: String,
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Unique in the log group.
    pub id: String,
    /// Milliseconds since 1970.
    pub at: i64,
    /// Which sandbox wrote it.
    pub stream: String,
    /// The text, as written.
    pub text: String,
}

/// A service, by the names it goes by.
struct Service {
    /// In host names and signatures.
    name: &'static str,
    /// In `[services]` of `~/.aws/config`, and behind `AWS_ENDPOINT_URL_`.
    id: &'static str,
}

const LAMBDA: Service = Service { name: "lambda", id: "lambda" };
const S3: Service = Service { name: "s3", id: "s3" };
const LOGS: Service = Service { name: "logs", id: "cloudwatch logs" };

/// A request to be signed.
struct Request {
    call: Call,
    service: &'static Service,
    method: Method,
    url: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Whether sending it again does no harm when an answer was lost.
    again: bool,
    timeout: Duration,
}

/// An answer that AWS was content with.
struct Answer {
    headers: reqwest::header::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<String> {
        Some(self.headers.get(name)?.to_str().ok()?.to_owned())
    }

    fn json(&self, call: &Call) -> Result<Value, AwsError> {
        serde_json::from_slice(&self.body).map_err(|error| AwsError::Refused {
            call: call.clone(),
            code: "an answer that is no JSON".to_owned(),
            message: error.to_string(),
        })
    }
}

impl Client {
    /// Finds out who we are and where; asks AWS nothing yet. Without a `region`, the environment's or the profile's.
    ///
    /// # Errors
    /// No region, or one that could not be in a host's name; certificates that cannot be read.
    pub async fn connect(region: Option<&str>, settings: &Settings) -> Result<Self, AwsError> {
        let builder = layerwise::io::http::client_builder(&settings.ca_files).map_err(|error| AwsError::Read {
            path: "certificates".to_owned(),
            message: layerwise::error::chain(&error),
        })?;
        // S3 redirects to the bucket's region, which is an error here: Lambda will not follow either.
        let http = builder.redirect(reqwest::redirect::Policy::none()).connect_timeout(Duration::from_secs(10)).build();
        let http = http.map_err(|error| AwsError::Read {
            path: "certificates".to_owned(),
            message: layerwise::error::chain(&error),
        })?;
        let mut loader =
            aws_config::defaults(BehaviorVersion::latest()).http_client(crate::http::adapter(http.clone()));
        if let Some(profile) = &settings.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(url) = &settings.endpoint {
            loader = loader.endpoint_url(url);
        }
        if let Some(region) = region {
            loader = loader.region(Region::new(region.to_owned()));
        }
        let config = loader.load().await;
        let region = config.region().map(|region| region.as_ref().to_owned());
        // An empty AWS_REGION is one to the SDK.
        let region = region.filter(|region| !region.is_empty()).ok_or(AwsError::NoRegion)?;
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !(region.contains('-') && region.len() < 40 && region.chars().all(allowed)) {
            return Err(AwsError::InvalidRegion(region));
        }
        Ok(Self {
            http,
            config,
            region,
            endpoint: settings.endpoint.clone(),
            now: settings.now,
            credentials: tokio::sync::Mutex::default(),
            uploads: Mutex::default(),
        })
    }

    /// The region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The versions of a layer, newest first; only the newest if `only_newest`. None where there is no such layer.
    ///
    /// # Errors
    /// Whatever AWS says.
    pub async fn versions(&self, layer: &str, only_newest: bool) -> Result<Vec<LayerArn>, AwsError> {
        let call = self.call(Action::ListLayerVersions, &format!("layer:{layer}"));
        let most = if only_newest { 1 } else { 50 };
        let path = format!("/2018-10-31/layers/{}/versions?MaxItems={most}", segment(layer));
        let pages = self.pages(&call, &path, "LayerVersions", only_newest).await;
        let found = match pages {
            Err(AwsError::NotFound { .. }) => Vec::new(),
            other => other?,
        };
        let mut arns: Vec<LayerArn> =
            found.iter().filter_map(|version| version["LayerVersionArn"].as_str()?.parse().ok()).collect();
        arns.sort_by_key(|arn| std::cmp::Reverse(arn.version()));
        Ok(arns)
    }

    /// A version of a layer (a name, or an ARN without version), if it is there.
    ///
    /// # Errors
    /// Whatever AWS says.
    pub async fn version(&self, layer: &str, version: u64) -> Result<Option<Published>, AwsError> {
        let name = layer.rsplit(':').next().unwrap_or(layer);
        let call = self.call(Action::GetLayerVersion, &format!("layer:{name}:{version}"));
        let path = format!("/2018-10-31/layers/{}/versions/{version}", segment(layer));
        match self.lambda(call.clone(), Method::GET, &path, None).await {
            Ok(answer) => Ok(Some(published(&answer.json(&call)?, &call)?)),
            Err(AwsError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The names of the statements in a version's policy.
    pub(crate) async fn statements(&self, layer: &str, version: u64) -> Result<Vec<String>, AwsError> {
        let call = self.call(Action::GetLayerVersionPolicy, &format!("layer:{layer}:{version}"));
        let path = format!("/2018-10-31/layers/{}/versions/{version}/policy", segment(layer));
        let answer = match self.lambda(call.clone(), Method::GET, &path, None).await {
            Err(AwsError::NotFound { .. }) => return Ok(Vec::new()),
            other => other?,
        };
        let document = answer.json(&call)?;
        // The policy is JSON in a string.
        let policy: Value = serde_json::from_str(document["Policy"].as_str().unwrap_or("null")).unwrap_or_default();
        let statements = policy["Statement"].as_array().into_iter().flatten();
        Ok(statements.filter_map(|statement| Some(statement["Sid"].as_str()?.to_owned())).collect())
    }

    /// Sends one request to publish; the caller knows whether another may be sent.
    pub(crate) async fn publish(&self, wanted: &Wanted, content: &Content) -> Result<Published, AwsError> {
        let call = self.call(Action::PublishLayerVersion, &format!("layer:{}", wanted.name));
        let path = format!("/2018-10-31/layers/{}/versions", segment(wanted.name.as_str()));
        let content = match content {
            Content::Zip(bytes) => json!({ "ZipFile": BASE64.encode(bytes) }),
            Content::S3 { bucket, key, version, reference } => {
                let mut content = json!({ "S3Bucket": bucket, "S3Key": key });
                if let Some(version) = version.as_ref().filter(|_| *reference) {
                    content["S3ObjectVersion"] = json!(version);
                    content["S3ObjectStorageMode"] = json!("REFERENCE");
                }
                content
            }
        };
        let mut body = json!({
            "Content": content,
            "CompatibleRuntimes": wanted.runtimes,
            "CompatibleArchitectures": wanted.architectures,
        });
        if let Some(text) = &wanted.description {
            body["Description"] = json!(clipped(text, DESCRIPTION_CHARS).0);
        }
        if let Some(text) = &wanted.licence {
            body["LicenseInfo"] = json!(clipped(text, LICENCE_CHARS).0);
        }
        let mut request = self.lambda_request(call.clone(), Method::POST, &path, Some(&body));
        request.again = false;
        request.timeout = Duration::from_secs(600);
        published(&self.send(&request).await?.json(&call)?, &call)
    }

    /// Lets somebody else use a version; that they already may is no error.
    pub(crate) async fn share(&self, layer: &str, version: u64, share: &Share) -> Result<(), AwsError> {
        let call = self.call(Action::AddLayerVersionPermission, &format!("layer:{layer}:{version}"));
        let path = format!("/2018-10-31/layers/{}/versions/{version}/policy", segment(layer));
        let mut body = json!({ "Action": "lambda:GetLayerVersion", "StatementId": share.statement() });
        body["Principal"] = match share {
            Share::Account(id) => json!(id),
            Share::Organisation(_) | Share::Public => json!("*"),
        };
        if let Share::Organisation(id) = share {
            body["OrganizationId"] = json!(id);
        }
        match self.lambda(call, Method::POST, &path, Some(&body)).await {
            Err(AwsError::Refused { code, .. }) if code == "ResourceConflictException" => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Deletes a version; that it is not there is no error.
    ///
    /// # Errors
    /// Whatever AWS says.
    pub async fn delete(&self, layer: &str, version: u64) -> Result<(), AwsError> {
        let call = self.call(Action::DeleteLayerVersion, &format!("layer:{layer}:{version}"));
        let path = format!("/2018-10-31/layers/{}/versions/{version}", segment(layer));
        match self.lambda(call, Method::DELETE, &path, None).await {
            Err(AwsError::NotFound { .. }) => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Every function of the region, with its published versions (`name:$LATEST`, `name:7`), and their layers' ARNs.
    ///
    /// # Errors
    /// Whatever AWS says.
    pub async fn functions(&self) -> Result<Vec<(String, Vec<String>)>, AwsError> {
        let mut call = self.call(Action::ListFunctions, "");
        "*".clone_into(&mut call.resource);
        let path = "/2015-03-31/functions/?FunctionVersion=ALL&MaxItems=50";
        let found = self.pages(&call, path, "Functions", false).await?;
        let one = |function: &Value| {
            let name = function["FunctionName"].as_str()?;
            let version = function["Version"].as_str().unwrap_or("$LATEST");
            Some((format!("{name}:{version}"), layers(function)))
        };
        Ok(found.iter().filter_map(one).collect())
    }

    /// A function's configuration.
    ///
    /// # Errors
    /// Whatever AWS says.
    pub async fn function(&self, name: &str) -> Result<FunctionState, AwsError> {
        let call = self.call(Action::GetFunctionConfiguration, &format!("function:{name}"));
        let path = format!("/2015-03-31/functions/{}/configuration", segment(name));
        let document = self.lambda(call.clone(), Method::GET, &path, None).await?.json(&call)?;
        let text = |key: &str| document[key].as_str().map(str::to_owned);
        let group = document["LoggingConfig"]["LogGroup"].as_str().map(str::to_owned);
        let function = text("FunctionName").unwrap_or_else(|| name.to_owned());
        Ok(FunctionState {
            layers: layers(&document),
            revision: text("RevisionId"),
            in_progress: text("LastUpdateStatus").as_deref() == Some("InProgress")
                || text("State").as_deref() == Some("Pending"),
            failed: text("LastUpdateStatus").as_deref() == Some("Failed"),
            reason: text("LastUpdateStatusReason").filter(|reason| !reason.is_empty()),
            log_group: group.unwrap_or_else(|| format!("/aws/lambda/{function}")),
        })
    }

    /// Gives a function these layers, unless its configuration is no longer `revision`.
    pub(crate) async fn set_layers(
        &self,
        name: &str,
        layers: &[String],
        revision: Option<&str>,
    ) -> Result<(), AwsError> {
        let call = self.call(Action::UpdateFunctionConfiguration, &format!("function:{name}"));
        let path = format!("/2015-03-31/functions/{}/configuration", segment(name));
        let mut body = json!({ "Layers": layers });
        if let Some(revision) = revision {
            body["RevisionId"] = json!(revision);
        }
        self.lambda(call, Method::PUT, &path, Some(&body)).await.map(|_| ())
    }

    /// Runs a function once and waits for its answer.
    ///
    /// # Errors
    /// Whatever AWS says; that the function itself fails is no error here.
    pub async fn invoke(&self, name: &str, payload: Vec<u8>) -> Result<Invoked, AwsError> {
        let call = self.call(Action::InvokeFunction, &format!("function:{name}"));
        let path = format!("/2015-03-31/functions/{}/invocations", segment(name));
        let mut request = self.lambda_request(call, Method::POST, &path, None);
        request.body = payload;
        request.headers = vec![("x-amz-invocation-type", "RequestResponse".into()), ("x-amz-log-type", "Tail".into())];
        request.again = false;
        // A function may run for 15 minutes.
        request.timeout = Duration::from_secs(16 * 60);
        let answer = self.send(&request).await?;
        let log = answer.header("x-amz-log-result").and_then(|text| BASE64.decode(text).ok()).unwrap_or_default();
        Ok(Invoked {
            error: answer.header("x-amz-function-error"),
            log: String::from_utf8_lossy(&log).into_owned(),
            version: answer.header("x-amz-executed-version").unwrap_or_else(|| "$LATEST".to_owned()),
            payload: answer.body,
        })
    }

    /// The lines of a log group from `since` (milliseconds since 1970) on, in order of time.
    ///
    /// # Errors
    /// Whatever AWS says; [`AwsError::NotFound`] where the group is not there (yet).
    pub async fn log_lines(&self, group: &str, since: i64) -> Result<Vec<LogLine>, AwsError> {
        let mut call = self.call(Action::FilterLogEvents, "");
        call.resource = format!("arn:{}:logs:{}:*:log-group:{group}:*", partition(&self.region).0, self.region);
        let mut lines = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut body = json!({ "logGroupName": group, "startTime": since });
            if let Some(token) = &token {
                body["nextToken"] = json!(token);
            }
            let answer = self
                .send(&Request {
                    call: call.clone(),
                    service: &LOGS,
                    method: Method::POST,
                    url: format!("{}/", self.endpoint(&LOGS).await),
                    headers: vec![
                        ("content-type", "application/x-amz-json-1.1".to_owned()),
                        ("x-amz-target", "Logs_20140328.FilterLogEvents".to_owned()),
                    ],
                    body: body.to_string().into_bytes(),
                    again: true,
                    timeout: Duration::from_secs(60),
                })
                .await;
            // JSON services say in a 400 what REST services say with a 404.
            let answer = match answer {
                Err(AwsError::Refused { call, code, message }) if code == "ResourceNotFoundException" => {
                    return Err(AwsError::NotFound { call, message });
                }
                other => other?.json(&call)?,
            };
            let line = |event: &Value| {
                Some(LogLine {
                    id: event["eventId"].as_str().unwrap_or_default().to_owned(),
                    at: event["timestamp"].as_i64()?,
                    stream: event["logStreamName"].as_str().unwrap_or_default().to_owned(),
                    text: event["message"].as_str()?.to_owned(),
                })
            };
            lines.extend(answer["events"].as_array().into_iter().flatten().filter_map(line));
            let next = answer["nextToken"].as_str().map(str::to_owned);
            if next.is_none() || next == token || lines.len() > 1_000_000 {
                break;
            }
            token = next;
        }
        lines.sort_by_key(|line| line.at);
        Ok(lines)
    }

    /// The zip of a layer version, whose digest is checked.
    ///
    /// # Errors
    /// Whatever AWS says; [`AwsError::Bytes`] if the bytes are not those of the version.
    pub async fn download(&self, version: &Published) -> Result<Vec<u8>, AwsError> {
        let call =
            self.call(Action::GetLayerVersion, &format!("layer:{}:{}", version.arn.name(), version.arn.version()));
        let unreached = |error: reqwest::Error| AwsError::Unreached {
            call: call.clone(),
            // The URL is a secret.
            message: layerwise::error::chain(&error.without_url()),
        };
        let response = self.http.get(&version.location).timeout(Duration::from_secs(600)).send().await;
        let response = response.map_err(unreached)?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(AwsError::of_answer(call, status, "", "the zip of the layer version could not be had"));
        }
        // 250 MiB unzipped is the most, and a zip may be a little more than what is inside.
        let bytes =
            body(response, 300 << 20).await.map_err(|message| AwsError::Unreached { call: call.clone(), message })?;
        let found = Sha256::of(&bytes);
        match version.sha256 {
            Some(expected) if expected == found => Ok(bytes),
            expected => Err(AwsError::Bytes {
                what: format!("the zip of {}", version.arn),
                expected: expected.unwrap_or(found),
                found: found.to_string(),
            }),
        }
    }

    /// Brings a zip to S3 in parts, unless an object of its size is already under its key.
    pub(crate) async fn upload(&self, bucket: &str, key: &str, artifact: &Artifact) -> Result<Object, AwsError> {
        self.bucket_is_here(bucket).await?;
        let head = self.s3_request(Action::GetObject, Method::HEAD, (bucket, key), "").await;
        match self.send(&head).await {
            Ok(answer) if answer.header("content-length").as_deref() == Some(&artifact.zipped_bytes.to_string()) => {
                return Ok(Object { version: object_version(&answer), reused: true });
            }
            // Without s3:ListBucket, what is not there is forbidden: S3 says so when the upload is, too.
            Ok(_) | Err(AwsError::NotFound { .. } | AwsError::Denied { .. }) => {}
            Err(error) => return Err(error),
        }
        let start = self.s3_request(Action::PutObject, Method::POST, (bucket, key), "uploads=").await;
        let started = self.send(&start).await?;
        let text = String::from_utf8_lossy(&started.body).into_owned();
        let id = element(&text, "UploadId").ok_or_else(|| AwsError::Refused {
            call: start.call.clone(),
            code: "an answer without UploadId".to_owned(),
            message: clean(&text),
        })?;
        let open = (bucket.to_owned(), key.to_owned(), id.clone());
        self.uploads.lock().expect("no code panics while holding the lock").push(open.clone());
        let ended = self.upload_parts(bucket, key, &id, artifact).await;
        if ended.is_err() {
            self.abort(&open).await;
        }
        self.uploads.lock().expect("no code panics while holding the lock").retain(|other| *other != open);
        Ok(Object { version: object_version(&ended?), reused: false })
    }

    /// Gives up the uploads that are under way, so that their parts are not kept and paid for: for Ctrl-C.
    pub async fn abort_uploads(&self) {
        let open = std::mem::take(&mut *self.uploads.lock().expect("no code panics while holding the lock"));
        for upload in &open {
            self.abort(upload).await;
        }
    }

    async fn abort(&self, (bucket, key, id): &(String, String, String)) {
        let query = format!("uploadId={}", segment(id));
        let request = self.s3_request(Action::AbortMultipartUpload, Method::DELETE, (bucket, key), &query).await;
        // Nothing depends on it: what is left is removed by the bucket's lifecycle rules, if there are any.
        self.send(&request).await.ok();
    }

    async fn upload_parts(&self, bucket: &str, key: &str, id: &str, artifact: &Artifact) -> Result<Answer, AwsError> {
        use std::io::Read as _;
        let failed = |error: std::io::Error| AwsError::Read {
            path: artifact.path.display().to_string(),
            message: error.to_string(),
        };
        let mut file = fs_err::File::open(&artifact.path).map_err(failed)?;
        let mut list = String::new();
        for number in 1.. {
            let mut part = Vec::new();
            let limit = u64::try_from(PART_BYTES).unwrap_or(u64::MAX);
            file.by_ref().take(limit).read_to_end(&mut part).map_err(failed)?;
            if part.is_empty() {
                break;
            }
            let query = format!("partNumber={number}&uploadId={}", segment(id));
            let mut request = self.s3_request(Action::PutObject, Method::PUT, (bucket, key), &query).await;
            request.body = part;
            request.timeout = Duration::from_secs(300);
            let etag = self.send(&request).await?.header("etag").unwrap_or_default();
            let etag = etag.replace('&', "&amp;").replace('<', "&lt;");
            list += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
        }
        let query = format!("uploadId={}", segment(id));
        let mut request = self.s3_request(Action::PutObject, Method::POST, (bucket, key), &query).await;
        request.body = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>").into_bytes();
        request.timeout = Duration::from_secs(300);
        let answer = self.send(&request).await?;
        // S3 may begin with status 200 and then fail.
        let text = String::from_utf8_lossy(&answer.body);
        match element(&text, "Code") {
            Some(code) if text.contains("<Error>") => {
                let message = element(&text, "Message").unwrap_or_default();
                Err(AwsError::of_answer(request.call, 500, &code, &message))
            }
            _ => Ok(answer),
        }
    }

    /// That the bucket is there and in this region.
    async fn bucket_is_here(&self, bucket: &str) -> Result<(), AwsError> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        let request = self.s3_request(Action::ListBucket, Method::HEAD, (bucket, ""), "").await;
        if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(allowed) {
            let (call, code) = (request.call, "InvalidBucketName".to_owned());
            return Err(AwsError::Refused { call, code, message: format!("`{bucket}` is not a bucket's name") });
        }
        let (headers, error) = match self.exchange(&request).await? {
            Ok(answer) => (answer.headers, None),
            Err((headers, error)) => (headers, Some(error)),
        };
        let region = headers.get("x-amz-bucket-region").and_then(|value| value.to_str().ok());
        match (region, error) {
            (Some(region), _) if region != self.region => Err(AwsError::BucketElsewhere {
                bucket: bucket.to_owned(),
                bucket_region: region.to_owned(),
                region: self.region.clone(),
            }),
            // Who may write to a bucket need not be allowed to list it.
            (_, None | Some(AwsError::Denied { .. })) => Ok(()),
            // The answer to HEAD has no words.
            (_, Some(AwsError::NotFound { call, .. })) => {
                Err(AwsError::NotFound { call, message: format!("there is no bucket `{bucket}`") })
            }
            (_, Some(error)) => Err(error),
        }
    }

    async fn s3_request(&self, action: Action, method: Method, (bucket, key): (&str, &str), query: &str) -> Request {
        let object = if key.is_empty() { bucket.to_owned() } else { format!("{bucket}/{key}") };
        let resource = format!("arn:{}:s3:::{object}", partition(&self.region).0);
        let endpoint = self.endpoint(&S3).await;
        let key = utf8_percent_encode(key, KEY);
        // The bucket stands in the host's name, unless that would not fit the certificate, or the host is not AWS's.
        let own = self.own_endpoint(&S3).await.is_some();
        let base = match endpoint.strip_prefix("https://") {
            Some(host) if !own && !bucket.contains('.') => format!("https://{bucket}.{host}/{key}"),
            _ if key.clone().next().is_none() => format!("{endpoint}/{bucket}"),
            _ => format!("{endpoint}/{bucket}/{key}"),
        };
        let url = if query.is_empty() { base } else { format!("{base}?{query}") };
        Request {
            call: Call { action, resource, region: self.region.clone() },
            service: &S3,
            method,
            url,
            headers: Vec::new(),
            body: Vec::new(),
            again: true,
            timeout: Duration::from_secs(60),
        }
    }

    fn call(&self, action: Action, resource: &str) -> Call {
        let resource = if resource.starts_with("function:arn:") {
            resource["function:".len()..].to_owned()
        } else {
            format!("arn:{}:lambda:{}:*:{resource}", partition(&self.region).0, self.region)
        };
        Call { action, resource, region: self.region.clone() }
    }

    /// All items of a list that comes in pages, or those of the first.
    async fn pages(&self, call: &Call, path: &str, key: &str, only_first: bool) -> Result<Vec<Value>, AwsError> {
        let mut items = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let next = marker.as_ref().map(|marker| format!("&Marker={}", segment(marker))).unwrap_or_default();
            let page = format!("{path}{next}");
            let mut document = self.lambda(call.clone(), Method::GET, &page, None).await?.json(call)?;
            if let Value::Array(found) = document[key].take() {
                items.extend(found);
            }
            let next = document["NextMarker"].as_str().filter(|next| !next.is_empty()).map(str::to_owned);
            // The second condition would be a bug of AWS, but an endless one.
            if only_first || next.is_none() || next == marker {
                return Ok(items);
            }
            marker = next;
        }
    }

    async fn lambda(&self, call: Call, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, AwsError> {
        let mut request = self.lambda_request(call, method, path, body);
        request.url = format!("{}{path}", self.endpoint(&LAMBDA).await);
        self.send(&request).await
    }

    /// Its URL still lacks the host.
    fn lambda_request(&self, call: Call, method: Method, path: &str, body: Option<&Value>) -> Request {
        Request {
            call,
            service: &LAMBDA,
            method,
            url: path.to_owned(),
            headers: vec![("content-type", "application/json".to_owned())],
            body: body.map(|body| body.to_string().into_bytes()).unwrap_or_default(),
            again: true,
            timeout: Duration::from_secs(60),
        }
    }

    /// Sends until AWS answers with something that is not passing, as the SDK's standard retry mode does: waiting
    /// longer each time.
    async fn send(&self, request: &Request) -> Result<Answer, AwsError> {
        let mut pause = Duration::from_millis(250);
        for tried in 1.. {
            let error = match self.exchange(request).await? {
                Ok(answer) => return Ok(answer),
                Err((_, error)) => error,
            };
            // A throttled request was not carried out.
            let may = request.again || matches!(error, AwsError::Throttled { .. });
            if tried >= TRIES || !may || !error.is_passing() {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(20));
        }
        unreachable!("the loop returns");
    }

    /// Signs and sends once. The outer error is ours; the inner one is AWS's or the network's, with what headers came.
    async fn exchange(
        &self,
        request: &Request,
    ) -> Result<Result<Answer, (reqwest::header::HeaderMap, AwsError)>, AwsError> {
        let url = match request.url.starts_with('/') {
            true => format!("{}{}", self.endpoint(request.service).await, request.url),
            false => request.url.clone(),
        };
        let signed = self.signed(request, &url).await?;
        let mut building = self.http.request(request.method.clone(), &url).timeout(request.timeout);
        for (name, value) in request.headers.iter().map(|(name, value)| (*name, value)) {
            building = building.header(name, value);
        }
        for (name, value) in signed {
            building = building.header(name, value);
        }
        let sent = building.body(request.body.clone()).send().await;
        let unreached = |message: String| {
            (reqwest::header::HeaderMap::new(), AwsError::Unreached { call: request.call.clone(), message })
        };
        let response = match sent {
            Ok(response) => response,
            Err(error) => return Ok(Err(unreached(layerwise::error::chain(&error.without_url())))),
        };
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = match body(response, ANSWER_BYTES).await {
            Ok(body) => body,
            Err(message) => return Ok(Err(unreached(message))),
        };
        if (200..300).contains(&status) {
            return Ok(Ok(Answer { headers, body }));
        }
        let (code, message) = refusal(&headers, &body);
        let error = AwsError::of_answer(request.call.clone(), status, &code, &message);
        Ok(Err((headers, error)))
    }

    /// The headers that SigV4 adds.
    async fn signed(&self, request: &Request, url: &str) -> Result<Vec<(String, String)>, AwsError> {
        let identity = self.credentials().await?.into();
        let mut settings = SigningSettings::default();
        if request.service.name == "s3" {
            // S3 signs paths as they are, and wants the body's digest.
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        }
        let refused = |message: String| AwsError::Refused {
            call: request.call.clone(),
            code: "it could not be signed".to_owned(),
            message,
        };
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(request.service.name)
            .time((self.now)())
            .settings(settings)
            .build()
            .map_err(|error| refused(error.to_string()))?
            .into();
        let headers = request.headers.iter().map(|(name, value)| (*name, value.as_str()));
        let signable = SignableRequest::new(request.method.as_str(), url, headers, SignableBody::Bytes(&request.body))
            .map_err(|error| refused(error.to_string()))?;
        let output = sign(signable, &params).map_err(|error| refused(layerwise::error::chain(&error)))?;
        let instructions = output.into_parts().0;
        Ok(instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    async fn credentials(&self) -> Result<Credentials, AwsError> {
        let mut kept = self.credentials.lock().await;
        let soon = (self.now)() + Duration::from_secs(300);
        if let Some(credentials) = kept.as_ref().filter(|kept| kept.expiry().is_none_or(|expiry| expiry > soon)) {
            return Ok(credentials.clone());
        }
        let none = |message: String| AwsError::NoCredentials { region: self.region.clone(), message };
        let provider = self.config.credentials_provider().ok_or_else(|| none("no provider".to_owned()))?;
        let credentials = provider.provide_credentials().await.map_err(|error| match &error {
            CredentialsError::CredentialsNotLoaded(_) => {
                none("neither the environment, nor a profile, nor the machine has any".to_owned())
            }
            error => none(clean(&layerwise::error::chain(error))),
        })?;
        Ok(kept.insert(credentials).clone())
    }

    /// The endpoint that we were told, or that the environment or the profile sets for a service, without a `/` at its
    /// end.
    async fn own_endpoint(&self, service: &Service) -> Option<String> {
        if let Some(url) = &self.endpoint {
            return Some(url.trim_end_matches('/').to_owned());
        }
        let key = ServiceConfigKey::builder().service_id(service.id).env("AWS_ENDPOINT_URL").profile("endpoint_url");
        let named = key.build().ok().and_then(|key| self.config.service_config()?.load_config(key));
        let url = named.or_else(|| self.config.endpoint_url().map(str::to_owned))?;
        Some(url.trim_end_matches('/').to_owned())
    }

    /// `https://lambda.eu-west-1.amazonaws.com`.
    async fn endpoint(&self, service: &Service) -> String {
        match self.own_endpoint(service).await {
            Some(url) => url,
            None => {
                let fips = self.config.use_fips().unwrap_or_default();
                let dual = self.config.use_dual_stack().unwrap_or_default();
                endpoint(service.name, &self.region, fips, dual)
            }
        }
    }
}

/// A service's public endpoint.
///
/// Source: <https://docs.aws.amazon.com/general/latest/gr/rande.html>.
fn endpoint(service: &str, region: &str, fips: bool, dual_stack: bool) -> String {
    let name = if fips { format!("{service}-fips") } else { service.to_owned() };
    let (_, suffix, dual_suffix) = partition(region);
    match (service, dual_stack) {
        ("s3", true) => format!("https://{name}.dualstack.{region}.{suffix}"),
        (_, true) => format!("https://{name}.{region}.{dual_suffix}"),
        (_, false) => format!("https://{name}.{region}.{suffix}"),
    }
}

/// A region's partition in ARNs, its DNS suffix, and that of dual-stack endpoints.
///
/// Source: `partitions.json` of botocore.
fn partition(region: &str) -> (&'static str, &'static str, &'static str) {
    const OTHERS: &[(&str, (&str, &str, &str))] = &[
        ("cn-", ("aws-cn", "amazonaws.com.cn", "api.amazonwebservices.com.cn")),
        ("us-gov-", ("aws-us-gov", "amazonaws.com", "api.aws")),
        ("us-iso-", ("aws-iso", "c2s.ic.gov", "api.aws.ic.gov")),
        ("us-isob-", ("aws-iso-b", "sc2s.sgov.gov", "api.aws.scloud")),
        ("eu-isoe-", ("aws-iso-e", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk")),
        ("us-isof-", ("aws-iso-f", "csp.hci.ic.gov", "api.aws.hci.ic.gov")),
        ("eusc-", ("aws-eusc", "amazonaws.eu", "api.amazonwebservices.eu")),
    ];
    let found = OTHERS.iter().find(|(prefix, _)| region.starts_with(prefix));
    found.map_or(("aws", "amazonaws.com", "api.aws"), |(_, partition)| *partition)
}

fn segment(text: &str) -> String {
    percent_encode(text.as_bytes(), SEGMENT).to_string()
}

/// A body of at most `limit` bytes, or why not.
async fn body(mut response: reqwest::Response, limit: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() > limit => {
                return Err(format!("the answer is longer than {limit} bytes"));
            }
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Ok(bytes),
            Err(error) => return Err(layerwise::error::chain(&error.without_url())),
        }
    }
}

/// The code and the sentence of an answer that is a refusal, whichever protocol it speaks.
fn refusal(headers: &reqwest::header::HeaderMap, body: &[u8]) -> (String, String) {
    let header = headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok());
    let text = String::from_utf8_lossy(body);
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    let field = |names: [&str; 2]| names.iter().find_map(|name| document[*name].as_str()).map(str::to_owned);
    let code = header
        .map(str::to_owned)
        .or_else(|| field(["__type", "code"]))
        .or_else(|| element(&text, "Code"))
        .unwrap_or_default();
    // `namespace#Code:http://…`
    let code = code.rsplit('#').next().and_then(|code| code.split(':').next()).unwrap_or_default().to_owned();
    let message = field(["message", "Message"]).or_else(|| element(&text, "Message"));
    (
        code,
        message.unwrap_or_else(|| {
            if document.is_null() && !text.contains('<') { text.into_owned() } else { String::new() }
        }),
    )
}

/// What stands in the first element of this name, in S3's simple XML.
fn element(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (inside, _) = rest.split_once(&format!("</{name}>"))?;
    let unescaped = inside.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
    Some(unescaped)
}

fn object_version(answer: &Answer) -> Option<String> {
    answer.header("x-amz-version-id").filter(|version| version != "null")
}

fn layers(function: &Value) -> Vec<String> {
    let layers = function["Layers"].as_array().into_iter().flatten();
    layers.filter_map(|layer| Some(layer["Arn"].as_str()?.to_owned())).collect()
}

fn published(document: &Value, call: &Call) -> Result<Published, AwsError> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let list = |value: &Value| value.as_array().into_iter().flatten().filter_map(text).collect();
    let arn = document["LayerVersionArn"].as_str().unwrap_or_default().parse().map_err(
        |error: crate::plan::InvalidLayerArn| AwsError::Refused {
            call: call.clone(),
            code: "an odd answer".to_owned(),
            message: clean(&error.to_string()),
        },
    )?;
    let content = &document["Content"];
    let digest = content["CodeSha256"].as_str().and_then(|text| BASE64.decode(text).ok());
    Ok(Published {
        arn,
        sha256: digest.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()).map(Sha256::from_bytes),
        zipped_bytes: content["CodeSize"].as_u64().unwrap_or_default(),
        location: text(&content["Location"]).unwrap_or_default(),
        description: text(&document["Description"]).unwrap_or_default(),
        licence: text(&document["LicenseInfo"]).filter(|text| !text.is_empty()),
        runtimes: list(&document["CompatibleRuntimes"]),
        architectures: list(&document["CompatibleArchitectures"]),
        created: text(&document["CreatedDate"]).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        let check = |service, region, fips, dual, expected: &str| {
            assert_eq!(endpoint(service, region, fips, dual), expected);
        };
        check("lambda", "eu-west-1", false, false, "https://lambda.eu-west-1.amazonaws.com");
        check("lambda", "cn-north-1", false, false, "https://lambda.cn-north-1.amazonaws.com.cn");
        check("lambda", "us-gov-west-1", true, false, "https://lambda-fips.us-gov-west-1.amazonaws.com");
        check("logs", "eu-west-1", false, true, "https://logs.eu-west-1.api.aws");
        check("s3", "eu-west-1", false, true, "https://s3.dualstack.eu-west-1.amazonaws.com");
        check("lambda", "eusc-de-east-1", false, false, "https://lambda.eusc-de-east-1.amazonaws.eu");
    }

    #[test]
    fn refusals_in_every_protocol() {
        let none = reqwest::header::HeaderMap::new();
        let check = |body: &str, code: &str, message: &str| {
            assert_eq!(refusal(&none, body.as_bytes()), (code.to_owned(), message.to_owned()));
        };
        check(r#"{"__type":"com.amazonaws#AccessDenied","message":"no"}"#, "AccessDenied", "no");
        check(r#"{"code":"X","Message":"no"}"#, "X", "no");
        check("<Error><Code>NoSuchBucket</Code><Message>a &lt;b&gt;</Message></Error>", "NoSuchBucket", "a <b>");
        check("Bad gateway", "", "Bad gateway");
        check("<html>Bad gateway", "", "");
        check("", "", "");
        let mut headers = reqwest::header::HeaderMap::new();
        headers.insert("x-amzn-errortype", "ResourceNotFoundException:http://x/".parse().unwrap());
        assert_eq!(refusal(&headers, b"{}").0, "ResourceNotFoundException");
    }
}
