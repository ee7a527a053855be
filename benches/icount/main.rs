//! Instructions that a server's work for an echo takes, from the bytes that
//! arrived to the bytes to be sent.
//!
//! Run by `ci/icount` under callgrind, which counts what happens within
//! [`measured`] alone and writes a file for each call of it. This prints the
//! calls in their order, each with the number of messages.

#![forbid(unsafe_code)]

mod shard;

use std::hint::black_box;
use std::io::{self, Write};

use hioload_benches::ascii;
use hioload_benches::echo::{Arrival, Echo, Fastwebsockets, Ours, Soketto, Tungstenite};
use hioload_protocol::Kind;

use shard::{Shard, task};

/// Bytes per message and messages per arrival.
const SHAPES: [(usize, usize); 4] = [(20, 1), (20, 16), (1 << 10, 1), (16 << 10, 1)];

/// Arrivals before counting: buffers reach the sizes that they keep.
const WARM_UP: usize = 20;

/// Arrivals that are counted. Each takes the same instructions, but for what is
/// done once in many.
const ROUNDS: usize = 200;

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for (kind, name) in [(Kind::Text, "text"), (Kind::Binary, "binary")] {
        for (len, messages) in SHAPES {
            let arrival = Arrival::new(kind, ascii(len).as_bytes(), messages);
            let shape = format!("{name}/{len}x{messages}");
            for (side, mut echo) in sides(&arrival) {
                count(&mut out, &format!("{side}/{shape}"), &arrival, &mut *echo)?;
            }
        }
    }
    for len in [1 << 10, 16 << 10] {
        let arrival = Arrival::compressed(Kind::Text, ascii(len).as_bytes(), 1);
        let case = format!("protocol/deflate/{len}x1");
        count(&mut out, &case, &arrival, &mut Ours::new(&arrival))?;
    }
    Ok(())
}

/// Ours, then the peers.
fn sides(arrival: &Arrival) -> [(&'static str, Box<dyn Echo>); 6] {
    let small = Tungstenite::small();
    [
        ("protocol", Box::new(Ours::new(arrival))),
        ("shard", Box::new(Shard::new(arrival, hioload::Echo))),
        ("task", Box::new(Shard::new(arrival, task()))),
        ("tungstenite", Box::new(Tungstenite::new(arrival, small))),
        ("fastwebsockets", Box::new(Fastwebsockets::new(arrival))),
        ("soketto", Box::new(Soketto::new(arrival))),
    ]
}

fn count(
    out: &mut impl Write,
    case: &str,
    arrival: &Arrival,
    echo: &mut dyn Echo,
) -> io::Result<()> {
    (0..WARM_UP).for_each(|_| echo.echo());
    assert!(echo.answered() > 0, "{case} answers");
    measured(echo);
    writeln!(out, "{case}\t{}", ROUNDS * arrival.messages())
}

/// What is counted, by its name.
#[inline(never)]
fn measured(echo: &mut dyn Echo) {
    for _ in 0..ROUNDS {
        black_box(&mut *echo).echo();
    }
}
