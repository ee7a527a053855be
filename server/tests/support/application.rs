//! An application that the server asks over HTTP, and which says what a test
//! wants it to.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::wait::PATIENCE;

/// A request of the server.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    /// By their names in small letters.
    pub(crate) headers: BTreeMap<String, String>,
    /// Null without a body.
    pub(crate) body: Value,
}

/// What the application answers: a status and a body.
#[derive(Clone, Debug)]
pub(crate) struct Answer(pub(crate) u16, pub(crate) Vec<u8>);

impl Answer {
    pub(crate) fn result(result: &Value) -> Self {
        Self::of(&json!({ "result": result }))
    }

    pub(crate) fn error(code: u32) -> Self {
        Self::of(&json!({ "error": { "code": code, "message": "the application says no" } }))
    }

    pub(crate) fn disconnect(code: u16) -> Self {
        Self::of(&json!({ "disconnect": { "code": code, "reason": "the application says bye" } }))
    }

    pub(crate) fn of(body: &Value) -> Self {
        Self(200, body.to_string().into_bytes())
    }

    pub(crate) fn status(status: u16) -> Self {
        Self(status, b"{}".to_vec())
    }
}

/// A connection, with TLS or without.
trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// Answers of it, each on a thread of its own, so that they may wait.
type Script = dyn Fn(&Asked) -> Answer + Send + Sync;

/// The application, which ends with its test.
pub(crate) struct Application {
    pub(crate) addr: SocketAddr,
    seen: Arc<Mutex<Vec<Asked>>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Application {
    pub(crate) fn start(script: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        Self::serving(script, |stream| Some(Box::new(stream)))
    }

    /// The same over TLS, as `localhost`.
    pub(crate) fn start_tls(
        tls: Arc<ServerConfig>,
        script: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::serving(script, move |stream| {
            let session = ServerConnection::new(Arc::clone(&tls)).ok()?;
            Some(Box::new(StreamOwned::new(session, stream)))
        })
    }

    fn serving(
        script: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
        wrap: impl Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        let (seen, ends) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let script: Arc<Script> = Arc::new(script);
        let (told, over) = (Arc::clone(&seen), Arc::clone(&ends));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let (script, told) = (Arc::clone(&script), Arc::clone(&told));
                let _slow = stream.set_read_timeout(Some(PATIENCE));
                let Some(stream) = wrap(stream) else { continue };
                // It ends with the connection, which the server closes.
                std::thread::spawn(move || serve(stream, &told, &*script));
            }
        });
        Self {
            addr,
            seen,
            ends,
            thread: Some(thread),
        }
    }

    /// Where the server is to ask.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}/app/{{event}}", self.addr)
    }

    /// All that it was asked.
    pub(crate) fn seen(&self) -> Vec<Asked> {
        self.seen.lock().expect("no test fails there").clone()
    }

    /// What it was asked about an event.
    pub(crate) fn about(&self, event: &str) -> Vec<Asked> {
        let path = format!("/app/{event}");
        let seen = self.seen().into_iter();
        seen.filter(|asked| asked.path == path).collect()
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        let _woken = TcpStream::connect(self.addr);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// Answers the requests of a connection.
fn serve(stream: Box<dyn Stream>, told: &Mutex<Vec<Asked>>, script: &Script) {
    let mut reader = BufReader::new(stream);
    while let Some(asked) = read(&mut reader) {
        told.lock()
            .expect("no test fails there")
            .push(asked.clone());
        let Answer(status, body) = script(&asked);
        let head = format!(
            "HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let answer = [head.as_bytes(), &body].concat();
        if reader.get_mut().write_all(&answer).is_err() {
            return;
        }
    }
}

/// The next request; `None` at the end.
fn read(reader: &mut BufReader<Box<dyn Stream>>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length");
    let length = length.map_or(0, |length| length.parse().expect("a length"));
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked {
        path,
        headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    })
}

/// An address where nobody listens, and nobody else can.
pub(crate) struct Nobody(socket2::Socket);

impl Nobody {
    pub(crate) fn new() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.expect("a socket");
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        socket.bind(&any.into()).expect("a port");
        Self(socket)
    }

    pub(crate) fn endpoint(&self) -> String {
        let addr = self.0.local_addr().expect("an address");
        let addr = addr.as_socket().expect("of the internet");
        format!("http://{addr}/app/{{event}}")
    }
}

/// Holds answers back until it is opened.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn open(&self) {
        *self.0.0.lock().expect("no test fails there") = true;
        self.0.1.notify_all();
    }

    pub(crate) fn pass(&self) {
        let is_open = self.0.0.lock().expect("no test fails there");
        let waited = self
            .0
            .1
            .wait_timeout_while(is_open, PATIENCE, |open| !*open);
        drop(waited);
    }
}
