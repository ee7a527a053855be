//! Connections that are not read from for a while.

use super::*;

impl Client {
    /// A message as it comes over the wire.
    fn wire(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.protocol
            .send(Kind::Binary, payload, &mut self.resources, &mut bytes)
            .unwrap();
        bytes
    }
}

/// The driver's stream stops a turn after the pause, so one turn may bring the
/// end of the pause and, after it, bytes of the stream.
#[test]
fn bytes_that_come_with_the_end_of_a_pause_do_not_overtake_those_held() {
    let mut shard = Shard::new(&Config {
        backpressure_limit: 4096,
        backpressure: Backpressure::PauseReading,
        ..silent()
    });
    let mut client = Client::open(&mut shard, "/echo");
    let token = client.token;
    shard.wires[token.index()].stuck = true;
    client.send(&mut shard, &[1; 3000]);
    assert!(!shard.wire(token).receiving, "it is paused");
    client.send(&mut shard, &[2; 30]);
    let mut third = client.wire(&[3; 30]);

    let wire = &mut shard.wires[token.index()];
    wire.stuck = false;
    let sent = std::mem::take(&mut wire.in_flight);
    shard.core.sent(token, &Ok(sent));
    shard.core.received(token, &mut third);
    shard.turn();

    let mut input = std::mem::take(&mut shard.wires[token.index()].bytes);
    let (mut at, mut echoes) = (0, Vec::new());
    while at < input.len() {
        let rest = &mut input[at..];
        let received = client
            .protocol
            .receive(rest, &mut client.resources, &mut Vec::new());
        if let Some(Event::Message { payload, .. }) = &received.event {
            echoes.push(payload.bytes(rest)[0]);
        }
        at += received.consumed;
    }
    assert_eq!(echoes, [1, 2, 3]);
}
