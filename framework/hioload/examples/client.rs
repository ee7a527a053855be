//! Dials a server, sends lines, prints what comes back, ends.
//!
//! ```sh
//! cargo run --release -p hioload-server &
//! cargo run --release -p hioload --example client -- ws://127.0.0.1:8000/echo hello world
//! ```

#![allow(clippy::print_stdout, reason = "printing is its purpose")]

use std::sync::Arc;

use hioload::client::{Client, Dial, DialError};
use hioload::{App, CloseCode, Conn, Message, Turn};

struct Sender {
    dial: Arc<Dial>,
    lines: Vec<String>,
}

impl App for Sender {
    /// Answers that are still awaited.
    type State = usize;

    fn started(&mut self, turn: &mut Turn<'_, usize>) {
        turn.connect(&self.dial, 0).expect("one dial fits");
    }

    fn open(&mut self, conn: &mut Conn<'_>, awaited: &mut usize) {
        for line in &self.lines {
            conn.send(line.as_str());
        }
        *awaited = self.lines.len();
    }

    fn message(&mut self, conn: &mut Conn<'_>, awaited: &mut usize, message: Message<'_>) {
        println!("{}", String::from_utf8_lossy(message.payload()));
        *awaited = awaited.saturating_sub(1);
        if *awaited == 0 {
            conn.close(CloseCode::NORMAL, "");
            conn.stop_server();
        }
    }

    fn dial_failed(&mut self, turn: &mut Turn<'_, usize>, _key: u64, error: &DialError) {
        eprintln!("{error}");
        turn.stop_server();
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let url = args.next().unwrap_or("ws://127.0.0.1:8000/echo".into());
    let dial = Arc::new(Dial::new(&url)?);
    let lines: Vec<String> = args.collect();
    let app = move |_: &_| Sender {
        dial: Arc::clone(&dial),
        lines: lines.clone(),
    };
    Client::new().start(app)?.join()?;
    Ok(())
}
