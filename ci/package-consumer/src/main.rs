//! A service as somebody outside the workspace writes it, and a client that
//! uses it: an echo, a room, then the end. `ci/package` compares what it prints.

#![forbid(unsafe_code)]

mod service;
mod visitor;

use std::sync::mpsc;

use hioload::Server;
use hioload::client::Client;

use service::Service;
use visitor::{Dials, Visitor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::bind("127.0.0.1:0")
        .shards(2)
        .start(|_shard| Service)?;
    let dials = Dials::to(server.addrs()[0])?;
    let (tell, told) = mpsc::channel();
    let client = Client::new().start(move |_shard| Visitor::new(dials.clone(), tell.clone()))?;
    client.join()?;
    server.stop()?;
    for line in told {
        println!("{}", line?);
    }
    Ok(())
}
