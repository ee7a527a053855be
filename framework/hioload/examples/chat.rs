//! Chat rooms: who is in a room reads what the others there say, whatever
//! shard they are on, and who comes and goes.
//!
//! ```sh
//! cargo run --release -p hioload --example chat
//! cargo run --release -p hioload --example client -- ws://127.0.0.1:8000/rooms/tea/alice &
//! cargo run --release -p hioload --example client -- ws://127.0.0.1:8000/rooms/tea/bob 'good morning'
//! ```

use hioload::hub::HubId;
use hioload::{App, Close, Conn, Message, Request, Router, Server, Upgrade};

struct Chat;

#[derive(Default)]
struct Member {
    room: String,
    name: String,
}

impl App for Chat {
    type State = Member;

    fn upgrade(&mut self, request: &Request<'_>, member: &mut Member) -> Upgrade {
        member.room = request.param("room").unwrap_or_default().to_owned();
        member.name = request.param("name").unwrap_or_default().to_owned();
        Upgrade::accept()
    }

    fn open(&mut self, conn: &mut Conn<'_>, Member { room, name }: &mut Member) {
        conn.subscribe(room);
        let here = conn.hub(HubId::DEFAULT).subscribers(room);
        conn.publish_all(room, &format!("* {name} has joined, {here} here"));
    }

    fn message(&mut self, conn: &mut Conn<'_>, member: &mut Member, message: Message<'_>) {
        if let Some(text) = message.as_text() {
            conn.publish(&member.room, &format!("{}: {text}", member.name));
        }
    }

    fn close(&mut self, conn: &mut Conn<'_>, member: &mut Member, _close: &Close<'_>) {
        conn.publish(&member.room, &format!("* {} has left", member.name));
    }
}

pub(crate) fn routes() -> Router {
    Router::new().ws("/rooms/:room/:name", Chat)
}

fn main() -> hioload::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    Server::bind(addr).run_with(
        |_shard| routes(),
        |running| eprintln!("listening on {}", running.addrs()[0]),
    )
}
