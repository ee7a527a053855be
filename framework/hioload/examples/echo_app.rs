//! Every message comes back: the app that the crate brings along.
//!
//! ```sh
//! cargo run --release -p hioload --example echo_app
//! cargo run --release -p hioload --example client -- ws://127.0.0.1:8000/ hello world
//! ```

use hioload::{Echo, Server};

fn main() -> hioload::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    Server::bind(addr).run_with(
        |_shard| Echo,
        |running| eprintln!("listening on {}", running.addrs()[0]),
    )
}
