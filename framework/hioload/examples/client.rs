//! Dials, sends lines, prints as many answers; without lines, all that comes.
//!
//! ```sh
//! cargo run --release -p hioload --example echo_app &
//! cargo run --release -p hioload --example client -- ws://127.0.0.1:8000/ hello world
//! ```

#![allow(clippy::print_stdout, reason = "printing is its purpose")]

use std::sync::Arc;

use hioload::client::{Client, Dial, DialError};
use hioload::{App, Close, CloseCode, Conn, Message, Turn};

struct Sender {
    dial: Arc<Dial>,
    lines: Vec<String>,
}

impl App for Sender {
    type State = ();

    fn started(&mut self, turn: &mut Turn<'_, ()>) {
        turn.connect(&self.dial, 0).expect("one dial fits");
    }

    fn open(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        for line in &self.lines {
            conn.send(line);
        }
    }

    fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
        println!("{}", String::from_utf8_lossy(message.payload()));
        if self.lines.pop().is_some() && self.lines.is_empty() {
            conn.close(CloseCode::NORMAL, "");
        }
    }

    fn close(&mut self, conn: &mut Conn<'_>, (): &mut (), _close: &Close<'_>) {
        conn.stop_server();
    }

    fn dial_failed(&mut self, turn: &mut Turn<'_, ()>, _key: u64, error: &DialError) {
        eprintln!("{error}");
        turn.stop_server();
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let url = args.next().unwrap_or("ws://127.0.0.1:8000/".into());
    let (dial, lines) = (Arc::new(Dial::new(&url)?), args.collect::<Vec<_>>());
    let sender = move |_: &_| Sender {
        dial: dial.clone(),
        lines: lines.clone(),
    };
    Ok(Client::new().start(sender)?.join()?)
}
