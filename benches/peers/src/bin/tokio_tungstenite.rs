//! tokio-tungstenite.

#![forbid(unsafe_code)]

use std::error::Error;
use std::future::ready;

use futures_util::StreamExt as _;
use hioload_bench_peers::hub::{Hub, echo};
use hioload_bench_peers::serve::{Peer, serve};
use hioload_bench_peers::{Mode, Options};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::Message;

#[derive(Clone)]
struct Tungstenite {
    mode: Mode,
    hub: Hub<Message>,
}

impl Peer for Tungstenite {
    async fn connection<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Ok(socket) = tokio_tungstenite::accept_async(stream).await else {
            return;
        };
        let (write, read) = socket.split();
        let read = read
            .filter_map(|message| ready(message.ok()))
            .filter(|message| ready(message.is_binary() || message.is_text()));
        match self.mode {
            Mode::Echo => echo(read, write).await,
            Mode::Broadcast => self.hub.join(read, write).await,
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse()?;
    if options.deflate {
        return Err("tokio-tungstenite has no permessage-deflate".into());
    }
    let peer = Tungstenite {
        mode: options.mode,
        hub: Hub::default(),
    };
    serve(&options, peer)
}
