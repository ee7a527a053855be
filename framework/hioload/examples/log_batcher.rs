//! Collects lines in `lines.log`: once 64 KiB wait, each 100 ms, and at the stop.
//!
//! ```sh
//! cargo run --release -p hioload --example log_batcher
//! cargo run --release -p hioload --example client -- ws://127.0.0.1:8000/ hello world     # Ctrl-C
//! ```

use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fs::File, io::Write};

use hioload::{App, CloseCode, Conn, Message, Server, Turn, offload::Job, timer::Timer};

pub(crate) type Lines = (Mutex<Vec<u8>>, Mutex<File>);
pub(crate) struct Log(pub(crate) Arc<Lines>, pub(crate) Option<Timer>);

/// Whoever has the file takes all that waits: lines stay in order.
fn write((waiting, file): &Lines) -> std::io::Result<()> {
    let mut file = file.lock().expect("no panic");
    let lines = std::mem::take(&mut *waiting.lock().expect("no panic"));
    file.write_all(&lines)
}

impl App for Log {
    type State = ();

    fn started(&mut self, turn: &mut Turn<'_, ()>) {
        let lines = self.0.clone();
        let tick = move |turn: &mut Turn<'_, ()>| {
            let lines = lines.clone();
            let _refused = turn.offload_job(Job::fallible(move |_| write(&lines)), |_, _| {});
        };
        self.1 = turn.every(Duration::from_millis(100), tick).ok();
    }

    fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
        let mut waiting = self.0.0.lock().expect("no panic");
        if waiting.len() > 8 << 20 {
            return conn.close(CloseCode::TRY_AGAIN, "the disk is too slow");
        }
        waiting.extend([message.payload(), b"\n"].concat());
        if waiting.len() >= 64 << 10 {
            self.1.map(|timer| conn.rearm(timer, Duration::ZERO));
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addr = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    let mut options = File::options();
    let file = options.create(true).append(true).open("lines.log")?;
    let lines: Arc<Lines> = Arc::new((Mutex::default(), Mutex::new(file)));
    let shared = lines.clone();
    Server::bind(addr).run_with(
        move |_shard| Log(shared.clone(), None),
        |running| eprintln!("listening on {}", running.addrs()[0]),
    )?;
    Ok(write(&lines)?)
}
