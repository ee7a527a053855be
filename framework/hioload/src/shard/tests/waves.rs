//! A stop closes WebSockets in waves, and serves meanwhile who came before.

use std::io::Write;

use super::{Client, MS, SECOND, Shard, silent};
use crate::config::Config;

/// How many were told to leave so far.
fn told(shard: &Shard) -> usize {
    let close = |bytes: &[u8]| bytes.first() == Some(&0x88);
    let wires = shard.wires.iter();
    wires.filter(|wire| close(&wire.bytes)).count()
}

fn open(shard: &mut Shard, count: usize) -> Vec<Client> {
    (0..count).map(|_| Client::open(shard, "/echo")).collect()
}

#[test]
fn few_are_closed_at_once_and_many_over_the_spread() {
    for (count, expected) in [
        (256, vec![256]),
        (300, vec![256, 300]),
        // 20 waves would be too small.
        (2000, (1..=8).map(|wave| (wave * 256).min(2000)).collect()),
        (6000, (1..=20).map(|wave| wave * 300).collect()),
    ] {
        let mut shard = Shard::new(&silent());
        let _clients = open(&mut shard, count);
        shard.core.stop(false, None);
        shard.turn();
        for (wave, expected) in expected.into_iter().enumerate() {
            assert_eq!(told(&shard), expected, "wave {wave} of {count}");
            shard.advance(250 * MS);
        }
    }
}

#[test]
fn a_wave_is_bounded_per_turn() {
    let mut shard = Shard::new(&Config {
        drain_waves: 1,
        ..silent()
    });
    let _clients = open(&mut shard, 5000);
    shard.core.stop(false, None);
    // What the stop itself told, and the rest of its turn.
    shard.turn();
    assert_eq!(told(&shard), 2048);
    assert_eq!(shard.core.next_deadline(), Some(shard.now), "at once");
    shard.turn();
    assert_eq!(told(&shard), 3072);
    shard.advance(1);
    assert_eq!(told(&shard), 5000);
}

#[test]
fn no_spread_and_half_of_a_short_drain_are_kept() {
    let mut shard = Shard::new(&Config {
        drain_spread: std::time::Duration::ZERO,
        ..silent()
    });
    let _clients = open(&mut shard, 600);
    shard.core.stop(false, None);
    shard.turn();
    assert_eq!(told(&shard), 600);

    let mut shard = Shard::new(&silent());
    let _clients = open(&mut shard, 5120);
    shard.core.stop(false, Some(2 * SECOND));
    shard.advance(SECOND - 1);
    assert_eq!(told(&shard), 5120, "20 waves in half of two seconds");
    // Asked again, it can only be earlier.
    shard.core.stop(false, Some(9 * SECOND));
    shard.core.stop(false, Some(1500 * MS));
    shard.advance(501 * MS);
    assert!(shard.core.is_drained());
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

fn text(shard: &Shard, wire: usize) -> String {
    String::from_utf8_lossy(&shard.wires[wire].bytes).into_owned()
}

#[test]
fn a_request_under_way_has_its_last_answer() {
    let mut shard = Shard::new(&silent());
    let half = shard.accept();
    shard.feed(half, &GET[..7]);
    let idle = shard.accept();
    shard.feed(idle, GET);
    assert!(!text(&shard, idle.index()).contains("Connection: close"));
    shard.core.stop(false, None);
    shard.turn();
    assert!(shard.wire(idle).shut, "between two requests");
    assert!(!shard.wire(half).shut);
    shard.feed(half, &GET[7..]);
    let answer = text(&shard, half.index());
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    assert!(answer.contains("Connection: close"), "{answer}");
    assert!(shard.wire(half).shut);
}

#[test]
fn after_a_plain_stop_nobody_is_upgraded_and_after_a_hand_over_everybody() {
    let mut shard = Shard::new(&silent());
    let late = shard.accept();
    shard.feed(late, &GET[..7]);
    shard.core.stop(false, None);
    shard.turn();
    let mut rest = GET[7..GET.len() - 2].to_vec();
    rest.write_all(
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .unwrap();
    shard.feed(late, &rest);
    assert!(text(&shard, late.index()).starts_with("HTTP/1.1 503"));
    let refused = shard.accept();
    assert!(text(&shard, refused.index()).starts_with("HTTP/1.1 503"));

    let mut shard = Shard::new(&silent());
    let before = shard.accept();
    shard.core.stop(true, None);
    shard.turn();
    assert!(!shard.wire(before).shut, "its request is under way");
    // Accepted after the hand-over, by a request of the kernel that was.
    let mut late = Client::open(&mut shard, "/echo");
    late.send(&mut shard, b"?");
    assert_eq!(late.messages(&mut shard), 1);
    shard.advance(SECOND - 1);
    assert_eq!(late.close_code(&mut shard), None);
    shard.advance(1);
    assert_eq!(late.close_code(&mut shard), Some(1001));
}
