//! async-tungstenite on glommio.

#![forbid(unsafe_code)]

use std::error::Error;

use async_tungstenite::accept_async;
use futures_util::StreamExt as _;
use glommio::net::{TcpListener, TcpStream};
use glommio::{LocalExecutorBuilder, Placement};
use hioload_bench_peers::{Options, announce};

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::plain_echo()?;
    let serving = LocalExecutorBuilder::new(Placement::Unbound).spawn(move || async move {
        let listener = TcpListener::bind(options.listen).map_err(|error| error.to_string())?;
        announce(listener.local_addr().map_err(|error| error.to_string())?);
        loop {
            // One connection's failure is not the server's.
            let Ok(stream) = listener.accept().await else {
                continue;
            };
            glommio::spawn_local(async move { drop(echo(stream).await) }).detach();
        }
        #[expect(unreachable_code, reason = "names the type of the error")]
        Ok::<(), String>(())
    });
    let served = serving.map_err(|error| error.to_string())?;
    Ok(served.join().map_err(|error| error.to_string())??)
}

async fn echo(stream: TcpStream) -> Result<(), Box<dyn Error>> {
    stream
        .set_nodelay(true)
        .map_err(|error| error.to_string())?;
    let mut socket = accept_async(stream).await?;
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}
