//! compio-ws.

#![forbid(unsafe_code)]

use std::error::Error;

use compio::net::{TcpListener, TcpStream};
use compio_ws::accept_async;
use compio_ws::tungstenite::Message;
use hioload_bench_peers::{Options, announce};

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::plain_echo()?;
    compio::runtime::Runtime::new()?.block_on(async {
        let listener = TcpListener::bind(options.listen).await?;
        announce(listener.local_addr()?);
        loop {
            // One connection's failure is not the server's.
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            compio::runtime::spawn(async move { drop(echo(stream).await) }).detach();
        }
    })
}

async fn echo(stream: TcpStream) -> Result<(), Box<dyn Error>> {
    let mut socket = accept_async(stream).await?;
    loop {
        match socket.read().await? {
            message @ (Message::Text(_) | Message::Binary(_)) => socket.send(message).await?,
            Message::Close(_) => return Ok(socket.close(None).await?),
            _ => {}
        }
    }
}
