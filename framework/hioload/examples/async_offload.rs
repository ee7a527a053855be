//! An async handler per connection. A client sends a number and gets its prime
//! factors; what takes long is awaited while threads beside the shard do it.
//!
//! ```sh
//! cargo run --release -p hioload --example async_offload
//! cargo run --release -p hioload --example client -- ws://127.0.0.1:8000/ 1001 4294967291
//! ```

use std::time::Duration;

use hioload::Server;
use hioload::offload::{Cancel, Job};
use hioload::task::{self, WebSocket};

/// Ends early when nobody waits for it any more.
fn factors(mut n: u64, cancel: &Cancel) -> Vec<String> {
    let mut found = Vec::new();
    let mut divisor = 2;
    while n > 1 && !cancel.is_cancelled() {
        if divisor * divisor > n {
            divisor = n;
        }
        while n.is_multiple_of(divisor) {
            n /= divisor;
            found.push(divisor.to_string());
        }
        divisor += 1;
    }
    found
}

pub(crate) async fn serve(mut ws: WebSocket) -> task::Result {
    while let Some(message) = ws.recv().await {
        let Some(Ok(n)) = message.as_text().map(str::parse::<u32>) else {
            ws.send("a number, please").await?;
            continue;
        };
        let job = Job::new(move |cancel| factors(n.into(), cancel));
        let answer = match task::offload_job(job.timeout(Duration::from_secs(10))).await {
            Ok(factors) => format!("{n} = {}", factors.join(" * ")),
            Err(error) => format!("{n}: {error}"),
        };
        ws.send(answer).await?;
    }
    Ok(())
}

fn main() -> hioload::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    Server::bind(addr).run_with(
        |_shard| task::service(serve),
        |running| eprintln!("listening on {}", running.addrs()[0]),
    )
}
