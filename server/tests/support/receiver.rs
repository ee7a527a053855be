//! A receiver of webhooks, and a mail server: real sockets, scripted answers.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::wait::{PATIENCE, until};

/// A connection, with TLS or without.
trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// How connections begin.
#[derive(Clone)]
pub(crate) enum Tls {
    None,
    /// At once.
    From(Arc<ServerConfig>),
    /// When a mail's sender asks for it, and before it says who it is.
    Upgraded(Arc<ServerConfig>),
}

fn encrypted(config: &Arc<ServerConfig>, stream: TcpStream) -> Box<dyn Stream> {
    let connection = ServerConnection::new(config.clone()).expect("a configuration");
    Box::new(StreamOwned::new(connection, stream))
}

/// What came in, and what is answered; shared by the threads of a server.
struct Shared<T, A> {
    came: Mutex<Vec<T>>,
    /// For what comes next; then the usual answer.
    answers: Mutex<VecDeque<A>>,
    /// While it is shut nobody is answered.
    gate: Mutex<bool>,
    opened: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T, A> Shared<T, A> {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            came: Mutex::default(),
            answers: Mutex::default(),
            gate: Mutex::new(true),
            opened: Condvar::new(),
        })
    }

    fn pass(&self) {
        let open = lock(&self.gate);
        let waited = self.opened.wait_while(open, |open| !*open);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

/// Serves each connection on a thread, which ends with the test's process.
fn serve(serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let addr = listener.local_addr().expect("an address");
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        }
    });
    addr
}

/// A server of a test.
pub(crate) struct Scripted<T, A> {
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared<T, A>>,
}

impl<T: Clone, A> Scripted<T, A> {
    /// What the next ones are answered.
    pub(crate) fn answer(&self, answers: impl IntoIterator<Item = A>) {
        lock(&self.shared.answers).extend(answers);
    }

    /// Answers nobody any more.
    pub(crate) fn shut(&self) {
        *lock(&self.shared.gate) = false;
    }

    pub(crate) fn open(&self) {
        *lock(&self.shared.gate) = true;
        self.shared.opened.notify_all();
    }

    pub(crate) fn all(&self) -> Vec<T> {
        lock(&self.shared.came).clone()
    }

    /// Everything, once it is so much.
    pub(crate) fn at_least(&self, count: usize) -> Vec<T> {
        until("what is received", || match self.all().len() {
            have if have < count => Err(format!("{have} of {count}")),
            _ => Ok(()),
        });
        self.all()
    }
}

/// A request with its body.
#[derive(Clone, Debug)]
pub(crate) struct Posted {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Posted {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(one, _)| one.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    }
}

/// How a request is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    Status(u16),
    /// 429, with the seconds of peace that it asks for.
    Peace(u32),
    /// The connection ends instead.
    None,
}

/// A receiver of webhooks.
pub(crate) type Receiver = Scripted<Posted, Answer>;

impl Receiver {
    pub(crate) fn start() -> Self {
        Self::start_with(Tls::None)
    }

    pub(crate) fn start_with(tls: Tls) -> Self {
        let shared = Shared::new();
        let threads = Arc::clone(&shared);
        let addr = serve(move |stream| match &tls {
            Tls::None => Self::serve(&threads, stream),
            Tls::From(config) | Tls::Upgraded(config) => {
                Self::serve(&threads, encrypted(config, stream))
            }
        });
        Self { addr, shared }
    }

    fn serve(shared: &Shared<Posted, Answer>, stream: impl Stream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if stream.read_line(&mut head)? == 0 {
                    return Ok(());
                }
            }
            let mut posted = Posted {
                head,
                body: String::new(),
            };
            let length = posted.header("content-length").expect("a length");
            let mut body = vec![0; length.parse().expect("a number")];
            stream.read_exact(&mut body)?;
            posted.body = String::from_utf8(body).expect("text");
            lock(&shared.came).push(posted);
            shared.pass();
            let answer = lock(&shared.answers).pop_front();
            let (status, more) = match answer.unwrap_or(Answer::Status(200)) {
                Answer::Status(status) => (status, String::new()),
                Answer::Peace(seconds) => (429, format!("Retry-After: {seconds}\r\n")),
                Answer::None => return Ok(()),
            };
            let answer = format!("HTTP/1.1 {status} X\r\n{more}Content-Length: 2\r\n\r\nok");
            stream.get_mut().write_all(answer.as_bytes())?;
            stream.get_mut().flush()?;
        }
    }
}

/// A mail as the server was given it.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    /// The parameters of the commands.
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) data: String,
    /// What the client said to be let in, if anything.
    pub(crate) auth: Option<String>,
}

impl Mail {
    /// Its text, as it was written.
    pub(crate) fn text(&self) -> &str {
        self.data.split_once("\r\n\r\n").expect("a body").1
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let head = self.data.split_once("\r\n\r\n").expect("a body").0;
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(one, _)| one.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    }
}

/// A mail server; its answers are those to RCPT TO.
pub(crate) type MailServer = Scripted<Mail, &'static str>;

impl MailServer {
    pub(crate) fn start() -> Self {
        Self::start_with(Tls::None)
    }

    pub(crate) fn start_with(tls: Tls) -> Self {
        let shared = Shared::new();
        let threads = Arc::clone(&shared);
        let addr = serve(move |stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            threads.pass();
            match &tls {
                Tls::From(config) => Dialogue::new(encrypted(config, stream), true)
                    .greet()?
                    .go_on(&threads)
                    .map(drop),
                Tls::None => Dialogue::new(stream, true)
                    .greet()?
                    .go_on(&threads)
                    .map(drop),
                Tls::Upgraded(config) => {
                    let begun = Dialogue::new(stream, false).greet()?;
                    match begun.go_on(&threads)? {
                        Some(stream) => Dialogue::new(encrypted(config, stream), true)
                            .go_on(&threads)
                            .map(drop),
                        None => Ok(()),
                    }
                }
            }
        });
        Self { addr, shared }
    }
}

/// What a client and the mail server say.
struct Dialogue<S> {
    stream: BufReader<S>,
    /// Whether mails are taken; else TLS comes first.
    takes: bool,
    from: String,
    to: Vec<String>,
    auth: Option<String>,
}

impl<S: Stream> Dialogue<S> {
    fn new(stream: S, takes: bool) -> Self {
        Self {
            stream: BufReader::new(stream),
            takes,
            from: String::new(),
            to: Vec::new(),
            auth: None,
        }
    }

    fn greet(mut self) -> io::Result<Self> {
        self.say("220 test ESMTP")?;
        Ok(self)
    }

    fn say(&mut self, answer: &str) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(format!("{answer}\r\n").as_bytes())?;
        stream.flush()
    }

    /// `None`: the client has gone.
    fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line)?;
        Ok((read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned()))
    }

    /// The stream is given back when TLS is to begin on it.
    fn go_on(mut self, shared: &Shared<Mail, &'static str>) -> io::Result<Option<S>> {
        while let Some(line) = self.line()? {
            let verb = line.split(' ').next().unwrap_or_default();
            let answer = match (&*verb.to_ascii_uppercase(), self.takes) {
                ("EHLO", true) => "250-test\r\n250-8BITMIME\r\n250 AUTH PLAIN",
                ("EHLO", false) => "250-test\r\n250 STARTTLS",
                ("STARTTLS", false) => {
                    self.say("220 begin")?;
                    return Ok(Some(self.stream.into_inner()));
                }
                ("AUTH", true) => {
                    self.auth = Some(line);
                    "235 welcome"
                }
                ("MAIL", true) => {
                    self.from = line;
                    self.to.clear();
                    "250 go on"
                }
                ("RCPT", true) => {
                    shared.pass();
                    let answer = lock(&shared.answers).pop_front().unwrap_or("250 go on");
                    if answer.starts_with('2') {
                        self.to.push(line);
                    }
                    answer
                }
                ("DATA", true) => {
                    let mail = self.mail()?;
                    lock(&shared.came).push(mail);
                    "250 taken"
                }
                ("RSET" | "NOOP", _) => "250 done",
                ("QUIT", _) => {
                    self.say("221 bye")?;
                    return Ok(None);
                }
                _ => "500 what?",
            };
            self.say(answer)?;
        }
        Ok(None)
    }

    fn mail(&mut self) -> io::Result<Mail> {
        self.say("354 go on")?;
        let mut data = String::new();
        while let Some(line) = self.line()?.filter(|line| line != ".") {
            data.push_str(line.strip_prefix('.').unwrap_or(&line));
            data.push_str("\r\n");
        }
        Ok(Mail {
            from: self.from.clone(),
            to: self.to.clone(),
            data,
            auth: self.auth.clone(),
        })
    }
}
