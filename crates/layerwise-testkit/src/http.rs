//! A small HTTP/1.1 server on threads: its own, to have every byte and every fault in hand.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A request as the server saw it.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `HEAD`.
    pub method: String,
    /// The path and the query, as sent.
    pub path: String,
    /// In the order sent; names in lower case.
    pub headers: Vec<(String, String)>,
    /// Whether it came to the second host ([`crate::Index::files_on_other_host`], [`crate::Fault::Redirect`]).
    pub other_host: bool,
    /// The status answered; 0 if the connection was broken off instead.
    pub status: u16,
    /// Its body, up to a gigabyte.
    pub body: Vec<u8>,
}

impl Request {
    /// The first header of that name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What to answer. `Content-Length` is added.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) delivery: Delivery,
}

impl Response {
    pub(crate) fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("Content-Type", content_type.to_owned())];
        Self { status, headers, body: body.into(), delivery: Delivery::Whole }
    }

    pub(crate) fn text(status: u16, text: &str) -> Self {
        Self::new(status, "text/plain", text)
    }

    pub(crate) fn redirect(status: u16, location: String) -> Self {
        Self::text(status, "elsewhere").header("Location", location)
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// How the body goes over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    Whole,
    /// Closes after so many bytes of the body.
    Cut(usize),
    /// So many bytes a second.
    Slow(usize),
    /// Sends nothing more after so many bytes, and keeps the connection.
    Stall(usize),
    /// Resets the connection instead of an answer.
    Reset,
}

pub(crate) type Handler = dyn Fn(&Request) -> Response + Send + Sync;

/// A running server; it ends, with all its connections, when dropped.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<thread::JoinHandle<()>>,
}

struct Shared {
    handler: Box<Handler>,
    log: Arc<Mutex<Vec<Request>>>,
    other_host: bool,
    stopped: AtomicBool,
    connections: Mutex<HashMap<usize, TcpStream>>,
}

pub(crate) fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("loopback has a free port")
}

impl Server {
    pub(crate) fn start(
        listener: TcpListener,
        other_host: bool,
        log: Arc<Mutex<Vec<Request>>>,
        handler: Box<Handler>,
    ) -> Self {
        let address = listener.local_addr().expect("a bound listener has an address");
        let connections = Mutex::default();
        let shared = Arc::new(Shared { handler, log, other_host, stopped: AtomicBool::new(false), connections });
        let accepting = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for (id, stream) in listener.incoming().map_while(Result::ok).enumerate() {
                    if shared.stopped.load(Ordering::SeqCst) {
                        break;
                    }
                    let Ok(clone) = stream.try_clone() else { continue };
                    shared.connections.lock().expect("no handler panics").insert(id, clone);
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || {
                        // An error means that the client went away, which is its right.
                        drop(shared.converse(&stream));
                        // The last handle is dropped here, which closes the connection.
                        shared.connections.lock().expect("no handler panics").remove(&id);
                    });
                }
            }
        });
        Self { address, shared, accepting: Some(accepting) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address)); // wakes the accepting thread
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
        if let Ok(connections) = self.shared.connections.lock() {
            for connection in connections.values() {
                drop(connection.shutdown(Shutdown::Both));
            }
        }
    }
}

impl Shared {
    /// Answers request after request until one side closes.
    fn converse(&self, stream: &TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream);
        while let Some(mut request) = read_request(&mut reader, self.other_host)? {
            let response = (self.handler)(&request);
            request.status = if response.delivery == Delivery::Reset { 0 } else { response.status };
            let head = request.method == "HEAD";
            let close = request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
            self.log.lock().expect("no handler panics").push(request);
            let open = write_response(stream, response, head)?;
            if close || !open {
                break;
            }
        }
        Ok(())
    }
}

fn read_request(reader: &mut BufReader<&TcpStream>, other_host: bool) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request { method, path, headers, other_host, status: 0, body: Vec::new() };
    let length = request.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    reader.take(length.min(1 << 30)).read_to_end(&mut request.body)?;
    Ok(Some(request))
}

/// Whether the connection may be used again.
fn write_response(mut stream: &TcpStream, response: Response, head: bool) -> std::io::Result<bool> {
    let Response { status, headers, body, delivery } = response;
    if delivery == Delivery::Reset {
        // With a linger time of zero, closing sends RST.
        socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
        return Ok(false);
    }
    let mut out = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    for (name, value) in headers {
        out += &format!("{name}: {value}\r\n");
    }
    if status != 304 {
        out += &format!("Content-Length: {}\r\n", body.len());
    }
    out += "\r\n";
    stream.write_all(out.as_bytes())?;
    if head || status == 304 {
        return Ok(true);
    }
    match delivery {
        Delivery::Whole | Delivery::Reset => stream.write_all(&body)?,
        Delivery::Cut(after) => {
            stream.write_all(&body[..after.min(body.len())])?;
            return Ok(false);
        }
        Delivery::Stall(after) => {
            stream.write_all(&body[..after.min(body.len())])?;
            // Ends when the client gives up or the server is dropped.
            std::io::copy(&mut stream, &mut std::io::sink())?;
            return Ok(false);
        }
        Delivery::Slow(bytes_per_second) => {
            for chunk in body.chunks(bytes_per_second.div_ceil(10).max(1)) {
                stream.write_all(chunk)?;
                thread::sleep(Duration::from_millis(100));
            }
        }
    }
    Ok(true)
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "Status",
    }
}
