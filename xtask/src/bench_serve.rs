//! The local Lambda's rows of `cargo xtask bench`: invocations against the runtime interface client's own floor, the first
//! answer, and the server's memory.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fs_err as fs;

/// A local Lambda under measurement; killed when dropped.
pub(crate) struct Serving {
    child: Child,
    port: u16,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Serving {
    /// Starts `serve` (a `layerwise serve --port 0 …`) and waits until it serves.
    pub(crate) fn start(mut serve: Command) -> Result<Self, String> {
        let mut child =
            serve.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().map_err(|error| error.to_string())?;
        let stdout = child.stdout.take().ok_or("it has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let port = loop {
            let line = lines.next().ok_or("it does not serve")?.map_err(|error| error.to_string())?;
            if let Some(port) = line.strip_prefix("serving at http://127.0.0.1:") {
                break port.parse().map_err(|_| "no port")?;
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, port })
    }

    /// Invokes `function` once.
    pub(crate) fn invoke(&self, function: &str) -> Result<(), String> {
        let mut client = Client::connect(self.port)?;
        client.invoke(function)
    }

    /// `count` invocations over `clients` connections: how many a second, and the median in milliseconds.
    pub(crate) fn many(&self, function: &str, clients: usize, count: usize) -> Result<(f64, f64), String> {
        let began = Instant::now();
        let times: Result<Vec<Vec<Duration>>, String> = std::thread::scope(|scope| {
            let one = || -> Result<Vec<Duration>, String> {
                let mut client = Client::connect(self.port)?;
                let call = |_| {
                    let began = Instant::now();
                    client.invoke(function).map(|()| began.elapsed())
                };
                (0..count / clients).map(call).collect()
            };
            let threads: Vec<_> = (0..clients).map(|_| scope.spawn(one)).collect();
            threads.into_iter().map(|thread| thread.join().map_err(|_| "a client panicked".to_owned())?).collect()
        });
        let mut times: Vec<Duration> = times?.concat();
        let a_second = times.len() as f64 / began.elapsed().as_secs_f64();
        times.sort();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        Ok((a_second, median.as_secs_f64() * 1000.0))
    }

    /// MiB that the server has in memory.
    pub(crate) fn memory(&self) -> Result<f64, String> {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.child.id())).map_err(|error| error.to_string())?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse().map_err(|_| "no number")?;
        Ok(kib / 1024.0)
    }
}

/// A connection that is kept.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    fn connect(port: u16) -> Result<Self, String> {
        let stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    fn invoke(&mut self, function: &str) -> Result<(), String> {
        let text = |error: std::io::Error| error.to_string();
        let request = format!(
            "POST /2015-03-31/functions/{function}/invocations HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        self.stream.write_all(request.as_bytes()).map_err(text)?;
        let answer = read_message(&mut self.stream, &mut self.buffer).map_err(text)?;
        if answer.starts_with("HTTP/1.1 200") && !answer.contains("x-amz-function-error") {
            Ok(())
        } else {
            Err(answer)
        }
    }
}

/// The head of the next HTTP message; its body is taken off, too.
fn read_message(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<String> {
    let mut piece = [0; 16 << 10];
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).to_lowercase().replace("http/1.1", "HTTP/1.1");
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
            let whole = end + 4 + length.unwrap_or(0);
            if buffer.len() >= whole {
                buffer.drain(..whole);
                return Ok(head);
            }
        }
        match stream.read(&mut piece)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => buffer.extend_from_slice(&piece[..count]),
        }
    }
}

/// How many invocations a second the runtime interface client manages with a Runtime API that does nothing else.
pub(crate) fn floor(python: &Path, runtime: &Path, code: &Path, count: usize) -> Result<f64, String> {
    let text = |error: std::io::Error| error.to_string();
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(text)?;
    let address = listener.local_addr().map_err(text)?.to_string();
    let mut child = Command::new(python)
        .arg("-u")
        .arg(runtime.join("bootstrap.py"))
        .env_clear()
        .envs([
            ("AWS_LAMBDA_RUNTIME_API", address.as_str()),
            ("_HANDLER", "index.handler"),
            ("LAMBDA_TASK_ROOT", &code.display().to_string()),
        ])
        .env("LAMBDA_RUNTIME_DIR", runtime)
        .env("_LAYERWISE_RUNTIME", runtime.join("site-packages"))
        .env("AWS_EXECUTION_ENV", "AWS_Lambda_python3.11")
        .stdout(Stdio::null())
        .spawn()
        .map_err(text)?;
    let served = serve_floor(&listener, count);
    child.kill().ok();
    child.wait().map_err(text)?;
    served.map_err(text)
}

fn serve_floor(listener: &TcpListener, count: usize) -> std::io::Result<f64> {
    let deadline = u64::MAX / 4;
    let next = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nlambda-runtime-aws-request-id: 1\r\n\
         lambda-runtime-deadline-ms: {deadline}\r\nlambda-runtime-invoked-function-arn: a\r\ncontent-length: 2\r\n\r\n{{}}"
    );
    let taken = "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
    let (mut answered, mut began) = (0, Instant::now());
    loop {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut buffer = Vec::new();
        while let Ok(head) = read_message(&mut stream, &mut buffer) {
            if head.starts_with("get ") {
                if answered == 0 {
                    began = Instant::now();
                }
                stream.write_all(next.as_bytes())?;
            } else {
                stream.write_all(taken.as_bytes())?;
                answered += 1;
                if answered == count {
                    return Ok(count as f64 / began.elapsed().as_secs_f64());
                }
            }
        }
    }
}

/// The directory of the runtime's files in a cache.
pub(crate) fn runtime_in(cache: &Path) -> Result<PathBuf, String> {
    let entries = fs::read_dir(cache.join("toolchains-v1")).map_err(|error| error.to_string())?;
    let found = entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("lambda-python3.11-")));
    found.ok_or_else(|| "the cache has no runtime".to_owned())
}
