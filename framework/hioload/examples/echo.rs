//! The smallest service: every message comes back.

use hioload::{App, Conn, Message, Server};

struct Echo;

impl App for Echo {
    type State = ();
    fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
        conn.send(message);
    }
}

fn main() -> hioload::Result<()> {
    Server::bind("127.0.0.1:8000").run(|_shard| Echo)
}
