//! One page, two ways to the same topic: it writes over a WebSocket and reads
//! server-sent events.
//!
//! ```sh
//! cargo run --release -p hioload --example sse     # open http://127.0.0.1:8000 twice
//! curl -N http://127.0.0.1:8000/events
//! ```

use std::time::Duration;

use hioload::hub::{History, Hub, HubId};
use hioload::{App, Conn, Message, Request, Response, Server};

const PAGE: &str = r#"<!doctype html>
<form><input autofocus placeholder="say something"></form><pre></pre>
<script>
  const socket = new WebSocket(`ws://${location.host}/`);
  const form = document.querySelector("form");
  form.onsubmit = (event) => {
    event.preventDefault();
    socket.send(form[0].value);
    form.reset();
  };
  new EventSource("/events").onmessage = (event) =>
    document.querySelector("pre").append(event.data + "\n");
</script>
"#;

pub(crate) struct Talk;

impl App for Talk {
    type State = ();

    fn http(&mut self, request: &Request<'_>) -> Response {
        match request.path() {
            "/" => Response::ok("text/html; charset=utf-8", PAGE.as_bytes()),
            // A browser that was away gets what it missed.
            "/events" => Response::sse().topic("talk").into(),
            _ => Response::not_found(),
        }
    }

    fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
        conn.hub(HubId::DEFAULT).publish("talk", message);
    }
}

/// The default hub, which keeps what was said.
pub(crate) fn hub() -> Hub {
    Hub::new("").history(History::new(100, Duration::from_secs(600)))
}

fn main() -> hioload::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    Server::bind(addr).hub(hub()).run_with(
        |_shard| Talk,
        |running| eprintln!("listening on {}", running.addrs()[0]),
    )
}
