//! How Terraform and a provider meet, and part: go-plugin's protocol, over hyper.
//!
//! Terraform starts us with a cookie and its certificate in the environment; we answer with one line on stdout that
//! has our socket and our certificate. Both sides then insist on exactly the certificate they were told.
//!
//! Source: <https://github.com/hashicorp/go-plugin/blob/main/docs/internals.md>.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use layerwise::error::{Explain, Kind};
use p521::ecdsa::signature::Verifier as _;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, PrivatePkcs8KeyDer, SignatureVerificationAlgorithm,
    UnixTime, alg_id,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::Host;
use crate::provider::{Provider, Status};

/// What Terraform puts into the environment of every provider it starts; no secret, only a sign.
const COOKIE: (&str, &str) =
    ("TF_PLUGIN_MAGIC_COOKIE", "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2");
/// The longest path of a socket that Linux and macOS both take.
const SOCKET_PATH: usize = 103;
/// The largest message taken. States of layers are a few kilobytes.
const MESSAGE: usize = 64 << 20;
/// How long nobody may be connected, after somebody was.
const LONELY: Duration = Duration::from_secs(2);
/// How long the last answer may take to leave.
const LAST_WORDS: Duration = Duration::from_millis(50);
/// How often to look whether Terraform still runs.
const LOOK: Duration = Duration::from_millis(500);

/// The provider cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A person started it.
    #[error("this is the Terraform provider of layerwise, which Terraform starts by itself")]
    ByHand,
    /// An older Terraform.
    #[error("this Terraform speaks plugin protocol {0}, the provider speaks 6")]
    Protocol(String),
    /// Without a certificate anybody on this machine could give us orders.
    #[error("Terraform announced no certificate (PLUGIN_CLIENT_CERT)")]
    NoCertificate,
    /// What it announced is none.
    #[error("the certificate that Terraform announced cannot be read")]
    Certificate(#[source] rustls::pki_types::pem::Error),
    /// Ours could not be made.
    #[error("failed to make a certificate")]
    OwnCertificate(#[source] rcgen::Error),
    /// TLS could not be set up.
    #[error("failed to set up TLS")]
    Tls(#[source] rustls::Error),
    /// No socket, or no stdout.
    #[error("failed to {what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Explain for ServeError {
    fn kind(&self) -> Kind {
        match self {
            Self::ByHand => Kind::Usage,
            Self::Protocol(_) | Self::NoCertificate | Self::Certificate(_) => Kind::Input,
            Self::OwnCertificate(_) | Self::Tls(_) => Kind::Internal,
            Self::Io { .. } => Kind::System,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::ByHand => vec![
                "`layerwise terraform install` puts it where `terraform init` finds it".to_owned(),
                "call the program `layerwise` to use it from the command line".to_owned(),
            ],
            Self::Protocol(_) => vec!["use Terraform 1.6 or newer".to_owned()],
            Self::NoCertificate => vec!["unset TF_DISABLE_PLUGIN_TLS".to_owned()],
            _ => Vec::new(),
        }
    }
}

/// Whether the environment says that Terraform started this process.
pub fn started_by_terraform(host: &Host) -> bool {
    host.variables.get(COOKIE.0).is_some_and(|value| value == COOKIE.1)
}

/// Serves Terraform until it says that it is done, or is gone.
///
/// # Errors
///
/// If Terraform did not start us, or the socket, the certificate or the handshake fail.
pub async fn serve(host: Host) -> Result<(), ServeError> {
    if !started_by_terraform(&host) {
        return Err(ServeError::ByHand);
    }
    let versions = host.variables.get("PLUGIN_PROTOCOL_VERSIONS").cloned().unwrap_or_else(|| "6".to_owned());
    if !versions.split(',').any(|version| version.trim() == "6") {
        return Err(ServeError::Protocol(versions));
    }
    let pem = host.variables.get("PLUGIN_CLIENT_CERT").filter(|pem| !pem.is_empty());
    let pem = pem.ok_or(ServeError::NoCertificate)?;
    let client = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(ServeError::Certificate)?;
    let (acceptor, certificate) = tls(client)?;
    let socket_dir = host.variables.get("PLUGIN_UNIX_SOCKET_DIR").filter(|dir| !dir.is_empty());
    let socket_dir = socket_dir.map_or_else(|| host.temp_dir.clone(), |dir| host.dir.join(dir));
    let failed = |what| move |source| ServeError::Io { what, source };
    let listener = Listener::new(&socket_dir).await.map_err(failed("make a socket"))?;
    let parent = parent();
    // Ctrl-C reaches the whole process group. Terraform then tells us what it wants; dying, or losing uv or a compiler
    // that works for us, would lose what we are just making. So: a group of our own, and deaf, where that fails.
    #[cfg(unix)]
    nix::unistd::setpgid(nix::unistd::Pid::from_raw(0), nix::unistd::Pid::from_raw(0)).ok();
    tokio::spawn(async { while tokio::signal::ctrl_c().await.is_ok() {} });
    let (say, log) = (host.say, host.log);
    let (stop, mut stopped) = watch::channel(false);
    let provider = Arc::new(Provider::new(host));
    let served = Served { provider, stop: Arc::new(stop), log };
    say(&format!("1|6|{}|grpc|{certificate}", listener.address())).map_err(failed("write the handshake"))?;

    let mut connections: JoinSet<bool> = JoinSet::new();
    let mut had_one = false;
    let mut look = tokio::time::interval(LOOK);
    loop {
        let alone = had_one && connections.is_empty();
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => break,
            () = tokio::time::sleep(LONELY), if alone => break,
            Some(ended) = connections.join_next() => had_one |= ended.unwrap_or(false),
            _ = look.tick(), if !alone => if self::parent() != parent { break },
            accepted = listener.accept() => match accepted {
                Ok(stream) => { connections.spawn(connection(stream, acceptor.clone(), served.clone())); }
                // Too many open files, say: the one connection that counts is there already, or comes again.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
        }
    }
    // The answer to `Shutdown` has to leave: Terraform hangs up when it has it. It starts a provider three times for a plan,
    // and waits for its end each time.
    let hung_up = async { while connections.join_next().await.is_some() {} };
    tokio::time::timeout(LAST_WORDS, hung_up).await.ok();
    Ok(())
}

/// The process that started this one; another one once that is gone.
#[cfg(unix)]
fn parent() -> Option<u32> {
    Some(std::os::unix::process::parent_id())
}

#[cfg(not(unix))]
fn parent() -> Option<u32> {
    None
}

/// A stream of either kind.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

enum Listener {
    /// In a directory of its own that only this user may enter.
    #[cfg(unix)]
    Unix(tokio::net::UnixListener, tempfile::TempDir),
    Tcp(tokio::net::TcpListener, u16),
}

impl Listener {
    async fn new(dir: &Path) -> io::Result<Self> {
        #[cfg(unix)]
        {
            let own = tempfile::Builder::new().prefix("layerwise-").tempdir_in(dir)?;
            let path = own.path().join("tf");
            if path.as_os_str().len() <= SOCKET_PATH && path.to_str().is_some_and(|path| !path.contains('|')) {
                return Ok(Self::Unix(tokio::net::UnixListener::bind(&path)?, own));
            }
        }
        #[cfg(not(unix))]
        let _ = (dir, SOCKET_PATH);
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        Ok(Self::Tcp(listener, port))
    }

    fn address(&self) -> String {
        match self {
            #[cfg(unix)]
            Self::Unix(_, own) => format!("unix|{}", own.path().join("tf").display()),
            Self::Tcp(_, port) => format!("tcp|127.0.0.1:{port}"),
        }
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            #[cfg(unix)]
            Self::Unix(listener, _) => Box::new(listener.accept().await?.0),
            Self::Tcp(listener, _) => Box::new(listener.accept().await?.0),
        })
    }
}

/// ECDSA on P-521, which Terraform's certificates use and ring does not know.
#[derive(Debug)]
struct P521;

impl SignatureVerificationAlgorithm for P521 {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P521
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA512
    }

    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(key).map_err(|_| InvalidSignature)?;
        let signature = p521::ecdsa::DerSignature::try_from(signature).map_err(|_| InvalidSignature)?;
        key.verify(message, &signature).map_err(|_| InvalidSignature)
    }
}

/// Lets in whoever holds the key of exactly this certificate. It is no chain: Terraform makes a CA certificate and
/// uses it as it is.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    ring: WebPkiSupportedAlgorithms,
}

impl Pinned {
    const P521: WebPkiSupportedAlgorithms =
        WebPkiSupportedAlgorithms { all: &[&P521], mapping: &[(SignatureScheme::ECDSA_NISTP521_SHA512, &[&P521])] };

    fn algorithms(&self, signed: &DigitallySignedStruct) -> &WebPkiSupportedAlgorithms {
        if signed.scheme == SignatureScheme::ECDSA_NISTP521_SHA512 { &Self::P521 } else { &self.ring }
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if *certificate == self.certificate {
            return Ok(ClientCertVerified::assertion());
        }
        Err(rustls::Error::InvalidCertificate(rustls::CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, self.algorithms(signed))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, self.algorithms(signed))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.ring.supported_schemes();
        schemes.push(SignatureScheme::ECDSA_NISTP521_SHA512);
        schemes
    }
}

/// TLS 1.3 that lets in `client` alone, and our own certificate (DER, in base64 without padding).
fn tls(client: CertificateDer<'static>) -> Result<(TlsAcceptor, String), ServeError> {
    let crypto: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    let key = rcgen::KeyPair::generate().map_err(ServeError::OwnCertificate)?;
    let parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).map_err(ServeError::OwnCertificate)?;
    let own = parameters.self_signed(&key).map_err(ServeError::OwnCertificate)?;
    let pinned = Pinned { certificate: client, ring: crypto.signature_verification_algorithms };
    let config = rustls::ServerConfig::builder_with_provider(crypto)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(ServeError::Tls)?
        .with_client_cert_verifier(Arc::new(pinned))
        .with_single_cert(vec![own.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into());
    let mut config = config.map_err(ServeError::Tls)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok((TlsAcceptor::from(Arc::new(config)), STANDARD_NO_PAD.encode(own.der())))
}

/// What every connection shares.
#[derive(Clone)]
struct Served {
    provider: Arc<Provider>,
    stop: Arc<watch::Sender<bool>>,
    log: fn(&str),
}

/// Serves one connection to its end; whether it was let in.
async fn connection(stream: Box<dyn Stream>, acceptor: TlsAcceptor, served: Served) -> bool {
    let tls = match acceptor.accept(stream).await {
        Ok(tls) => tls,
        Err(error) => {
            (served.log)(&crate::diagnostics::log_line("warn", &format!("refused a connection: {error}")));
            return false;
        }
    };
    let service = hyper::service::service_fn(move |request| {
        let served = served.clone();
        async move { Ok::<_, Infallible>(answer(request, served).await) }
    });
    let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    // However it ends, it ended.
    http.serve_connection(TokioIo::new(tls), service).await.ok();
    true
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// One gRPC call.
async fn answer(request: Request<Incoming>, served: Served) -> Response<Body> {
    let path = request.uri().path().to_owned();
    match path.as_str() {
        // Streams that carry nothing stay open until the end: <https://github.com/hashicorp/go-plugin/tree/main/internal/plugin>.
        "/plugin.GRPCStdio/StreamStdio" | "/plugin.GRPCBroker/StartStream" => {
            let mut stopped = served.stop.subscribe();
            let end = async move {
                stopped.wait_for(|stopped| *stopped).await.ok();
                Some(Ok(trailers(Status::Ok, "")))
            };
            return response(Full::new(Bytes::new()).with_trailers(end).boxed_unsync());
        }
        "/plugin.GRPCController/Shutdown" => {
            served.stop.send_replace(true);
            return reply(Ok(Vec::new()));
        }
        _ => {}
    }
    let body = match Limited::new(request.into_body(), MESSAGE).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return reply(Err((Status::Internal, error.to_string()))),
    };
    let Some(message) = unframed(&body) else {
        return reply(Err((Status::Internal, "this is no gRPC message".to_owned())));
    };
    let (provider, message) = (served.provider, body.slice_ref(message));
    // A task of its own: a panic ends the call, not the connection.
    let call = tokio::spawn(async move { provider.call(&path, message).await });
    reply(call.await.unwrap_or_else(|_| Err((Status::Internal, "this is a bug in layerwise".to_owned()))))
}

/// The message in a gRPC frame: a byte that says it is not compressed, its length in four bytes, itself.
///
/// Source: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.
fn unframed(body: &[u8]) -> Option<&[u8]> {
    let (head, message) = body.split_first_chunk::<5>()?;
    let [compressed, length @ ..] = *head;
    let whole = usize::try_from(u32::from_be_bytes(length)).ok()? == message.len();
    (compressed == 0 && whole).then_some(message)
}

fn framed(message: &[u8]) -> Option<Bytes> {
    let length = u32::try_from(message.len()).ok()?;
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(length);
    frame.put_slice(message);
    Some(frame.freeze())
}

fn reply(result: Result<Vec<u8>, (Status, String)>) -> Response<Body> {
    let (frame, end) = match result {
        Ok(message) => match framed(&message) {
            Some(frame) => (frame, trailers(Status::Ok, "")),
            None => (Bytes::new(), trailers(Status::Internal, "the answer is too long")),
        },
        Err((status, message)) => (Bytes::new(), trailers(status, &message)),
    };
    response(Full::new(frame).with_trailers(async move { Some(Ok(end)) }).boxed_unsync())
}

fn response(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

fn trailers(status: Status, message: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", HeaderValue::from(status as u16));
    let plain: String = message.chars().map(|c| if (' '..='~').contains(&c) && c != '%' { c } else { ' ' }).collect();
    if let Ok(value) = HeaderValue::from_str(&plain) {
        headers.insert("grpc-message", value);
    }
    headers
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;
    use tokio_rustls::TlsConnector;

    use super::*;

    #[test]
    fn frames() {
        let message = framed(b"hello").unwrap();
        assert_eq!(&message[..], b"\0\0\0\0\x05hello");
        assert_eq!(unframed(&message), Some(&b"hello"[..]));
        for wrong in [&b""[..], b"\0\0\0\0", b"\0\0\0\0\x06hello", b"\0\0\0\0\x04hello", b"\x01\0\0\0\x05hello"] {
            assert_eq!(unframed(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn what_is_said_of_a_failure_is_one_line() {
        let headers = trailers(Status::Internal, "100 %\nno\u{e4}");
        assert_eq!(
            (headers["grpc-status"].as_bytes(), headers["grpc-message"].as_bytes()),
            (&b"13"[..], &b"100   no "[..])
        );
    }

    /// A certificate and its key, of the kind that ring can make.
    fn identity() -> (CertificateDer<'static>, PrivatePkcs8KeyDer<'static>) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.der().clone(), key.serialize_der().into())
    }

    /// Whether a client with this identity is let in where `pinned` is expected.
    async fn let_in(
        pinned: &CertificateDer<'static>,
        client: Option<(CertificateDer<'static>, PrivatePkcs8KeyDer<'static>)>,
    ) -> bool {
        let (acceptor, own) = tls(pinned.clone()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(STANDARD_NO_PAD.decode(own).unwrap().into()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let config = match client {
            Some((certificate, key)) => {
                // Not `with_client_auth_cert`, which refuses a key of another certificate.
                let key = ring::sign::any_supported_type(&key.into()).unwrap();
                let identity = rustls::sign::CertifiedKey::new(vec![certificate], key);
                config.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(identity)))
            }
            None => config.with_no_client_auth(),
        };
        let (here, there) = tokio::io::duplex(1 << 16);
        let connector = TlsConnector::from(Arc::new(config));
        let client = connector.connect(ServerName::try_from("localhost").unwrap(), here);
        let (server, _client) = tokio::join!(acceptor.accept(there), client);
        server.is_ok()
    }

    #[tokio::test]
    async fn only_the_certificate_that_was_announced_is_let_in() {
        let (announced, key) = identity();
        assert!(let_in(&announced, Some((announced.clone(), key.clone_key()))).await);
        assert!(!let_in(&announced, None).await, "no certificate");
        assert!(!let_in(&announced, Some(identity())).await, "another certificate");
        let (_, other_key) = identity();
        assert!(!let_in(&announced, Some((announced.clone(), other_key))).await, "the certificate without its key");
    }

    /// Made by `openssl ecparam -name secp521r1 -genkey`, `openssl dgst -sha512 -sign` over `layerwise`.
    #[test]
    fn signatures_on_p521() {
        let hex = |text: &str| -> Vec<u8> {
            let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
            text.as_bytes().chunks(2).map(byte).collect()
        };
        let key = hex(KEY);
        let mut signature = hex(SIGNATURE);
        assert!(P521.verify_signature(&key, b"layerwise", &signature).is_ok());
        assert!(P521.verify_signature(&key, b"layerwisE", &signature).is_err());
        assert!(P521.verify_signature(&key[1..], b"layerwise", &signature).is_err());
        *signature.last_mut().unwrap() ^= 1;
        assert!(P521.verify_signature(&key, b"layerwise", &signature).is_err());
    }

    const KEY: &str = "040122f83fc4a11ce740c24ac1078ecc441ffec72086ffe921281e957c13aadf0a7803812023b3d870926edd33ef16ffa369668c3f5d8014b869432947feb17568a58e0035425c818dc9b1ffe17311f302f6b2927483fd6d0fbf930cc5e59a70ce91ab915f2b01a0f3b6f0080a89b842b1ec3d7c359f360bbd6525e6c0e90f2f29f38d9a16";
    const SIGNATURE: &str = "3081870242010b6b6662e6ccd41fdcca8e922e5810c84123a22858a2a33ee1018f5651d4f51457839130f7a1fa8895aa4d99c72206cad62e9ec466460c003738d179b96b52112d02417e1402a723a2482981bbc7ecc97bc03256862d4cf3c5bdb33909590e7787eaed5ff622bf1071751cb69f0bafe9c7dd0b5b5708af04a9f5a957f827b6ef078326c0";
}
