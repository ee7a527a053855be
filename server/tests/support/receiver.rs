//! A receiver of webhooks, and a mail server: real sockets, scripted answers.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::wait::{PATIENCE, until};

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
fn serve(serve: impl Fn(TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> SocketAddr {
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
        let shared = Shared::new();
        let threads = Arc::clone(&shared);
        let addr = serve(move |stream| Self::serve(&threads, stream));
        Self { addr, shared }
    }

    fn serve(shared: &Shared<Posted, Answer>, stream: TcpStream) -> std::io::Result<()> {
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head)? == 0 {
                    return Ok(());
                }
            }
            let mut posted = Posted {
                head,
                body: String::new(),
            };
            let length = posted.header("content-length").expect("a length");
            let mut body = vec![0; length.parse().expect("a number")];
            reader.read_exact(&mut body)?;
            posted.body = String::from_utf8(body).expect("text");
            lock(&shared.came).push(posted);
            shared.pass();
            let answer = lock(&shared.answers).pop_front();
            let (status, more) = match answer.unwrap_or(Answer::Status(200)) {
                Answer::Status(status) => (status, String::new()),
                Answer::Peace(seconds) => (429, format!("Retry-After: {seconds}\r\n")),
                Answer::None => return Ok(()),
            };
            write!(
                writer,
                "HTTP/1.1 {status} X\r\n{more}Content-Length: 2\r\n\r\nok"
            )?;
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
        let shared = Shared::new();
        let threads = Arc::clone(&shared);
        let addr = serve(move |stream| Self::serve(&threads, stream));
        Self { addr, shared }
    }

    fn serve(shared: &Shared<Mail, &'static str>, stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut writer = stream.try_clone()?;
        let mut lines = BufReader::new(stream).lines();
        let (mut from, mut to, mut auth) = (String::new(), Vec::new(), None);
        shared.pass();
        writer.write_all(b"220 test ESMTP\r\n")?;
        while let Some(line) = lines.next() {
            let line = line?;
            let verb = line.split(' ').next().unwrap_or_default();
            let answer = match &*verb.to_ascii_uppercase() {
                "EHLO" => "250-test\r\n250-8BITMIME\r\n250 AUTH PLAIN",
                "AUTH" => {
                    auth = Some(line);
                    "235 welcome"
                }
                "MAIL" => {
                    from = line;
                    to.clear();
                    "250 go on"
                }
                "RCPT" => {
                    let answer = lock(&shared.answers).pop_front().unwrap_or("250 go on");
                    if answer.starts_with('2') {
                        to.push(line);
                    }
                    answer
                }
                "DATA" => {
                    writer.write_all(b"354 go on\r\n")?;
                    let mut data = String::new();
                    for line in lines.by_ref() {
                        let line = line?;
                        if line == "." {
                            break;
                        }
                        data.push_str(line.strip_prefix('.').unwrap_or(&line));
                        data.push_str("\r\n");
                    }
                    lock(&shared.came).push(Mail {
                        from: from.clone(),
                        to: to.clone(),
                        data,
                        auth: auth.clone(),
                    });
                    "250 taken"
                }
                "RSET" | "NOOP" => "250 done",
                "QUIT" => {
                    writer.write_all(b"221 bye\r\n")?;
                    return Ok(());
                }
                _ => "500 what?",
            };
            write!(writer, "{answer}\r\n")?;
        }
        Ok(())
    }
}
