//! The network: one client, credentials by server, retries, and no secret in any message.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, Response, StatusCode};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use url::Url;

use super::IoSettings;
use crate::error::{Explain, Kind};
use crate::input::{Credentials, FindLinks, IndexOptions, Netrc, Secret};

/// A URL as it may be shown: without user, password, query and fragment.
#[derive(Clone, PartialEq, Eq)]
pub struct SafeUrl(Url);

impl From<&Url> for SafeUrl {
    fn from(url: &Url) -> Self {
        let mut url = url.clone();
        drop(Credentials::take(&mut url));
        if url.query().is_some() {
            url.set_query(Some("…"));
        }
        url.set_fragment(None);
        Self(url)
    }
}

impl fmt::Display for SafeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.as_str().replace("%E2%80%A6", "…"))
    }
}

impl fmt::Debug for SafeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A request failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Nothing may be asked of the network.
    #[error("{url} is not in the cache, and the network may not be used (offline)")]
    Offline {
        /// What was wanted.
        url: SafeUrl,
    },
    /// The server answered with a failure.
    #[error("{url} answered {status}")]
    Status {
        /// What was asked.
        url: SafeUrl,
        /// The HTTP status.
        status: u16,
    },
    /// No answer, or a broken one.
    #[error("failed to read {url}")]
    Transport {
        /// What was asked.
        url: SafeUrl,
        /// What went wrong.
        #[source]
        source: reqwest::Error,
    },
    /// Fewer bytes than announced.
    #[error("{url} ended after {got} of {expected} bytes")]
    Short {
        /// What was asked.
        url: SafeUrl,
        /// Bytes that came.
        got: u64,
        /// Bytes that should have come.
        expected: u64,
    },
    /// More bytes than could be right.
    #[error("{url} is larger than {limit} bytes")]
    TooLarge {
        /// What was asked.
        url: SafeUrl,
        /// The most that is accepted.
        limit: u64,
    },
    /// A certificate file cannot be used.
    #[error("failed to read certificates from `{}`", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The TLS library cannot be set up.
    #[error("failed to set up TLS")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What all our HTTP clients have in common: TLS by ring, the system's certificates and those in `extra_roots` (PEM
/// files), the system's proxies, our name.
///
/// # Errors
/// A certificate file that cannot be read.
pub fn client_builder(extra_roots: &[PathBuf]) -> Result<reqwest::ClientBuilder, HttpError> {
    let mut roots: Vec<CertificateDer<'static>> = Vec::new();
    for path in extra_roots {
        let error = |source| HttpError::Certificates { path: path.clone(), source };
        for certificate in CertificateDer::pem_file_iter(path).map_err(error)? {
            roots.push(certificate.map_err(error)?);
        }
    }
    let tls = |error: rustls::Error| HttpError::Tls(error.into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = rustls_platform_verifier::Verifier::new_with_extra_roots(roots, provider.clone()).map_err(tls)?;
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let client = Client::builder().tls_backend_preconfigured(config).http2_adaptive_window(true);
    Ok(client.user_agent(concat!("layerwise/", env!("CARGO_PKG_VERSION"))))
}

impl HttpError {
    /// Whether asking again may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            Self::Transport { source, .. } => !source.is_builder() && !source.is_redirect(),
            Self::Short { .. } => true,
            _ => false,
        }
    }
}

impl Explain for HttpError {
    fn kind(&self) -> Kind {
        match self {
            Self::Certificates { .. } => Kind::Usage,
            _ => Kind::Network,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Offline { .. } => "run once without `--offline`",
            Self::Status { status: 401 | 403, .. } => {
                "give credentials in the index URL, in ~/.netrc, in UV_INDEX_<NAME>_USERNAME and _PASSWORD, or by keyring"
            }
            Self::Status { status: 404 | 410, .. } => {
                "it is gone from there: run `layerwise lock` again, or check the URL"
            }
            Self::Status { status: 407, .. } => "give credentials in HTTPS_PROXY",
            Self::Status { .. } | Self::Short { .. } => "the server is having trouble: try again later",
            Self::Transport { source, .. } if is_tls(source) => {
                "if a proxy re-signs TLS, point SSL_CERT_FILE at its certificate"
            }
            Self::Transport { .. } => "check the network and the index URL; behind a proxy, set HTTPS_PROXY",
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}

fn is_tls(error: &reqwest::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("certificate") {
            return true;
        }
        cause = error.source();
    }
    false
}

/// One thing to ask for.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Of what.
    pub url: &'a Url,
    /// Media types that are understood.
    pub accept: &'static str,
    /// First byte wanted, and the last one (inclusive) if not all.
    pub range: Option<(u64, Option<u64>)>,
    /// The ETag of what is in the cache.
    pub etag: Option<String>,
}

impl<'a> Request<'a> {
    /// All of `url`, whatever its type.
    pub fn new(url: &'a Url) -> Self {
        Self { url, accept: "*/*", range: None, etag: None }
    }
}

/// A whole answer in memory.
#[derive(Debug)]
pub struct Body {
    /// The HTTP status: 200, 206 or 304.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// Where it came from in the end, after redirects.
    pub url: Url,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// The network.
pub struct Http {
    client: OnceLock<Client>,
    extra_roots: Vec<PathBuf>,
    timeout: Duration,
    offline: bool,
    /// Credentials by `scheme://host:port`.
    realms: Mutex<HashMap<String, Credentials>>,
    /// By host name.
    netrc: Netrc,
    keyring: Option<Keyring>,
    ask_keyring: AtomicBool,
}

struct Keyring {
    program: PathBuf,
    env: Vec<(std::ffi::OsString, std::ffi::OsString)>,
}

/// Tries for one request before giving up.
const TRIES: u32 = 4;

impl Http {
    /// Makes the client's settings; the client itself (it loads the system's certificates) is made when it is
    /// first needed, which in a warm build is never.
    pub fn new(settings: &IoSettings) -> Self {
        Self {
            client: OnceLock::new(),
            extra_roots: settings.ca_files.clone(),
            timeout: settings.http_timeout,
            offline: settings.offline,
            realms: Mutex::default(),
            netrc: settings.netrc.as_deref().map(Netrc::parse).unwrap_or_default(),
            keyring: settings.keyring.clone().map(|program| Keyring { program, env: settings.child_env.clone() }),
            ask_keyring: AtomicBool::new(false),
        }
    }

    /// Remembers the credentials of indexes, for their pages and for the files on the same servers, and whether the
    /// keyring may be asked.
    pub fn know(&self, options: &IndexOptions) {
        let indexes = options.default_index.iter().chain(&options.extra).chain(options.index_of.values());
        for (url, credentials) in indexes.filter_map(|index| Some((&index.url, index.credentials.as_ref()?))) {
            self.know_realm(url, credentials.clone());
        }
        for place in &options.find_links {
            if let FindLinks::Page(url, Some(credentials)) = place {
                self.know_realm(url, credentials.clone());
            }
        }
        if options.keyring {
            self.ask_keyring.store(true, Ordering::Relaxed);
        }
    }

    /// Remembers credentials for the server of `url`.
    pub fn know_realm(&self, url: &Url, credentials: Credentials) {
        self.realms.lock().expect("no code panics while holding the lock").insert(realm(url), credentials);
    }

    fn client(&self) -> Result<&Client, HttpError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let made = self.make_client()?;
        Ok(self.client.get_or_init(|| made))
    }

    fn make_client(&self) -> Result<Client, HttpError> {
        client_builder(&self.extra_roots)?
            .connect_timeout(Duration::from_secs(10).min(self.timeout))
            .read_timeout(self.timeout)
            .build()
            .map_err(|error| HttpError::Tls(error.into()))
    }

    /// Asks once. A status other than 200, 206, 304 (and 416) is an error.
    pub async fn send(&self, request: &Request<'_>) -> Result<Response, HttpError> {
        let url = request.url;
        if self.offline {
            return Err(HttpError::Offline { url: url.into() });
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(request.accept));
        if let Some((first, last)) = request.range {
            let last = last.map(|last| last.to_string()).unwrap_or_default();
            if let Ok(value) = HeaderValue::from_str(&format!("bytes={first}-{last}")) {
                headers.insert(reqwest::header::RANGE, value);
            }
            // A range of a compressed body would be a range of other bytes.
            headers.insert(reqwest::header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if let Some(Ok(etag)) = request.etag.as_deref().map(HeaderValue::from_str) {
            headers.insert(reqwest::header::IF_NONE_MATCH, etag);
        }
        if let Some(value) = self.authorization(url).await {
            headers.insert(AUTHORIZATION, value);
        }
        let mut plain = url.clone();
        drop(Credentials::take(&mut plain));
        let sent = self.client()?.request(Method::GET, plain).headers(headers).send().await;
        let response = sent.map_err(|source| HttpError::Transport { url: url.into(), source: source.without_url() })?;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            StatusCode::NOT_MODIFIED if request.etag.is_some() => Ok(response),
            StatusCode::RANGE_NOT_SATISFIABLE if request.range.is_some() => Ok(response),
            status => {
                if let Some(wait) = retry_after(response.headers()).filter(|_| status.as_u16() == 429) {
                    tokio::time::sleep(wait).await;
                }
                Err(HttpError::Status { url: url.into(), status: status.as_u16() })
            }
        }
    }

    /// A whole answer of at most `limit` bytes, asked for again on transient failures.
    pub async fn bytes(&self, request: &Request<'_>, limit: u64) -> Result<Body, HttpError> {
        let mut failures = 0;
        loop {
            match self.bytes_once(request, limit).await {
                Err(error) if error.is_transient() && failures + 1 < TRIES => {
                    failures += 1;
                    backoff(failures).await;
                }
                result => return result,
            }
        }
    }

    async fn bytes_once(&self, request: &Request<'_>, limit: u64) -> Result<Body, HttpError> {
        let mut response = self.send(request).await?;
        let mut bytes = Vec::new();
        let transport =
            |source: reqwest::Error| HttpError::Transport { url: request.url.into(), source: source.without_url() };
        while let Some(chunk) = response.chunk().await.map_err(transport)? {
            if bytes.len() as u64 + chunk.len() as u64 > limit {
                return Err(HttpError::TooLarge { url: request.url.into(), limit });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Body { status: response.status(), headers: response.headers().clone(), url: response.url().clone(), bytes })
    }

    async fn authorization(&self, url: &Url) -> Option<HeaderValue> {
        use base64::Engine as _;
        let credentials = self.credentials(url).await?;
        let password = credentials.password.as_ref().map_or("", Secret::expose);
        let pair = format!("{}:{password}", credentials.username);
        let mut value =
            HeaderValue::from_str(&format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// From the URL itself, the index on the same server, netrc, or the keyring, in this order.
    async fn credentials(&self, url: &Url) -> Option<Credentials> {
        let realm = realm(url);
        let known = self.realms.lock().expect("no code panics while holding the lock").get(&realm).cloned();
        if let Some(known) = &known
            && known.password.is_some()
        {
            return Some(known.clone());
        }
        if let Some(found) = self.netrc.for_host(url.host_str()?) {
            return Some(found.clone());
        }
        let keyring = self.keyring.as_ref().filter(|_| self.ask_keyring.load(Ordering::Relaxed));
        let (Some(known), Some(keyring)) = (&known, keyring) else { return known };
        for service in [realm.as_str(), url.host_str()?] {
            if let Some(password) = keyring.ask(service, &known.username).await {
                let credentials =
                    Credentials { username: known.username.clone(), password: Some(Secret::new(password)) };
                self.know_realm(url, credentials.clone());
                return Some(credentials);
            }
        }
        Some(known.clone())
    }
}

impl Keyring {
    /// `keyring get SERVICE USERNAME`, as pip and uv call it.
    async fn ask(&self, service: &str, username: &str) -> Option<String> {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(["get", service, username]).env_clear().envs(self.env.iter().cloned()).kill_on_drop(true);
        command.stdin(std::process::Stdio::null());
        let output = command.output().await.ok().filter(|output| output.status.success())?;
        let password = String::from_utf8(output.stdout).ok()?.trim_end_matches(['\r', '\n']).to_owned();
        (!password.is_empty()).then_some(password)
    }
}

/// Waits before try number `failures` + 1: 0.2 s, 0.4 s, 0.8 s, …
pub async fn backoff(failures: u32) {
    tokio::time::sleep(Duration::from_millis(100 << failures.min(6))).await;
}

/// What a server asks for in `Retry-After`, in seconds, at most ten.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(10)))
}

fn realm(url: &Url) -> String {
    format!(
        "{}://{}:{}",
        url.scheme(),
        url.host_str().unwrap_or_default(),
        url.port_or_known_default().unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_without_secrets() {
        let url = "https://user:pass@host/simple/a.whl?X-Amz-Signature=abc#sha256=1".parse().unwrap();
        assert_eq!(SafeUrl::from(&url).to_string(), "https://host/simple/a.whl?…");
    }
}
