//! A raw TCP echo on tokio-uring: it sends back the bytes that it reads.

#![forbid(unsafe_code)]

use std::error::Error;
use std::io;

use hioload_bench_peers::{Options, announce};
use tokio_uring::buf::BoundedBuf as _;
use tokio_uring::net::{TcpListener, TcpStream};

/// Bytes of one read.
const BUFFER: usize = 32 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::plain_echo()?;
    tokio_uring::start(async {
        let listener = TcpListener::bind(options.listen)?;
        announce(listener.local_addr()?);
        loop {
            // One connection's failure is not the server's.
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            tokio_uring::spawn(async move { drop(echo(stream).await) });
        }
    })
}

async fn echo(stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let (read, filled) = stream.read(buffer).await;
        let read = read?;
        if read == 0 {
            return Ok(());
        }
        let (written, slice) = stream.write_all(filled.slice(..read)).await;
        written?;
        buffer = slice.into_inner();
    }
}
