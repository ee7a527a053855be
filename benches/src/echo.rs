//! A server's work for an echo without its sockets, by several libraries:
//! parse, unmask, validate, hand out, encode.
//!
//! Each call of [`Echo::echo`] is one arrival of bytes, which every side copies
//! once from the wire to where it reads, and one batch of answers in memory.
//! fastwebsockets and soketto are asynchronous: the stream in memory is always
//! ready, so a future is polled once by hand, without a runtime. soketto does not
//! validate text; its caller does, with the standard library, as its API for
//! sending text demands.

mod arrival;
mod async_peers;
mod ours;
mod tungstenite;

pub use arrival::Arrival;
pub use async_peers::{Fastwebsockets, Soketto};
pub use ours::Ours;
pub use tungstenite::Tungstenite;

/// One server's end of one connection.
pub trait Echo {
    /// The bytes arrive, and every message in them is answered.
    fn echo(&mut self);

    /// Bytes of the answers of the last call.
    fn answered(&self) -> usize;
}

#[cfg(test)]
mod tests {
    use hioload_protocol::Kind;

    use super::*;
    use crate::ascii;

    #[test]
    fn every_side_answers_everything_every_time() {
        for kind in [Kind::Text, Kind::Binary] {
            let arrival = Arrival::new(kind, ascii(300).as_bytes(), 5);
            let sides: [Box<dyn Echo>; 4] = [
                Box::new(Ours::new(&arrival)),
                Box::new(Tungstenite::new(&arrival, Tungstenite::small())),
                Box::new(Fastwebsockets::new(&arrival)),
                Box::new(Soketto::new(&arrival)),
            ];
            for mut side in sides {
                for _ in 0..3 {
                    side.echo();
                    // Unmasked, with headers of four bytes.
                    assert_eq!(side.answered(), 5 * 304);
                }
            }
        }
    }

    #[test]
    fn compressed_messages_come_back_compressed() {
        let text = ascii(1 << 10);
        let plain = Arrival::new(Kind::Text, text.as_bytes(), 1);
        let arrival = Arrival::compressed(Kind::Text, text.as_bytes(), 1);
        assert!(arrival.wire().len() < plain.wire().len() / 2);
        let mut server = Ours::new(&arrival);
        for _ in 0..3 {
            server.echo();
            assert!(server.answered() > 0 && server.answered() <= arrival.wire().len());
        }
    }
}
