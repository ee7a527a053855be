//! The client: has its words echoed, then listens to a room while a second
//! connection of its own speaks there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use hioload::client::{Accepted, Dial, DialError, TargetError};
use hioload::{App, Close, CloseCode, Conn, Message, Nanos, Turn};

/// All of it takes milliseconds.
const DEADLINE: Nanos = 30_000_000_000;

/// What there is to dial, shared by shards.
#[derive(Clone)]
pub struct Dials {
    echo: Arc<Dial>,
    room: Arc<Dial>,
}

impl Dials {
    pub fn to(server: SocketAddr) -> Result<Self, TargetError> {
        Ok(Self {
            echo: Arc::new(Dial::new(&format!("ws://{server}/echo"))?),
            room: Arc::new(Dial::new(&format!("ws://{server}/room"))?),
        })
    }
}

/// What a connection is for; its number is the key it is dialled with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Role {
    #[default]
    Echo = 0,
    Listener = 1,
    Speaker = 2,
}

impl Role {
    fn of(key: u64) -> Self {
        match key {
            0 => Self::Echo,
            1 => Self::Listener,
            _ => Self::Speaker,
        }
    }
}

pub struct Visitor {
    dials: Dials,
    tell: Sender<Result<String, String>>,
}

/// The role of a connection.
#[derive(Default)]
pub struct State(Role);

impl Visitor {
    pub fn new(dials: Dials, tell: Sender<Result<String, String>>) -> Self {
        Self { dials, tell }
    }

    /// Nobody reads before the end, so it cannot be too late to tell.
    fn tell(&self, line: Result<String, String>) {
        self.tell.send(line).expect("main waits for the end");
    }
}

impl App for Visitor {
    type State = State;

    fn started(&mut self, turn: &mut Turn<'_, State>) {
        turn.schedule(DEADLINE, 0).expect("one timer fits");
        turn.connect(&self.dials.echo, Role::Echo as u64)
            .expect("one dial fits");
    }

    fn connected(&mut self, accepted: &Accepted<'_>, state: &mut State) {
        *state = State(Role::of(accepted.key()));
    }

    fn open(&mut self, conn: &mut Conn<'_>, state: &mut State) {
        match state.0 {
            Role::Echo => {
                conn.send("hello");
            }
            Role::Listener => {}
            Role::Speaker => {
                conn.send("news");
            }
        }
    }

    fn message(&mut self, conn: &mut Conn<'_>, state: &mut State, message: Message<'_>) {
        let text = message.as_text().unwrap_or("(not text)");
        match (state.0, text) {
            (Role::Echo, _) => {
                self.tell(Ok(format!("echo: {text}")));
                conn.close(CloseCode::NORMAL, "");
                conn.connect(&self.dials.room, Role::Listener as u64)
                    .expect("one dial fits");
            }
            // It is subscribed: now somebody may speak.
            (Role::Listener, "welcome") => conn
                .connect(&self.dials.room, Role::Speaker as u64)
                .expect("one dial fits"),
            (Role::Listener, _) => {
                self.tell(Ok(format!("room: {text}")));
                conn.stop_server();
            }
            (Role::Speaker, _) => {}
        }
    }

    fn close(&mut self, _conn: &mut Conn<'_>, state: &mut State, close: &Close<'_>) {
        if state.0 == Role::Echo {
            self.tell(Ok(format!("closed: {}", close.code)));
        }
    }

    fn dial_failed(&mut self, turn: &mut Turn<'_, State>, key: u64, error: &DialError) {
        self.tell(Err(format!("{:?}: {error}", Role::of(key))));
        turn.stop_server();
    }

    fn timer(&mut self, turn: &mut Turn<'_, State>, _key: u64) {
        self.tell(Err("nothing came in time".into()));
        turn.stop_server();
    }
}
