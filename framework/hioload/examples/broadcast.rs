//! Rooms: what one client sends, all others on the same path receive, whatever
//! shard they are on.

use hioload::{App, Conn, Message, Request, Server, Upgrade};

struct Rooms;

impl App for Rooms {
    type State = String;

    fn upgrade(&mut self, request: &Request<'_>, room: &mut String) -> Upgrade {
        *room = request.path().to_owned();
        Upgrade::accept()
    }

    fn open(&mut self, conn: &mut Conn<'_>, room: &mut String) {
        conn.subscribe(room);
    }

    fn message(&mut self, conn: &mut Conn<'_>, room: &mut String, message: Message<'_>) {
        conn.publish(room, message);
    }
}

fn main() -> hioload::Result<()> {
    Server::bind("127.0.0.1:8000").run(|_shard| Rooms)
}
