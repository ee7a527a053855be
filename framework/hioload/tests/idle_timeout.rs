//! A silent peer is ended within its bound; one that answers pings stays.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use hioload::{Config, Echo};
use hioload_protocol::frame::OpCode;
use support::client::{Client, Seen, dial, frame};
use support::wait::until_equal;
use support::{Serving, config};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// How much later than due something may happen on a busy test machine.
const LATE: Duration = ms(1500);

fn timeouts(idle: Option<u64>, ping: Option<u64>, pong: u64) -> Config {
    Config {
        idle_timeout: idle.map(ms),
        ping_interval: ping.map(ms),
        pong_timeout: ms(pong),
        ..config()
    }
}

fn assert_within(took: Duration, due: Duration) {
    assert!(took >= due, "{took:?} is before {due:?}");
    assert!(took < due + LATE, "{took:?} is long after {due:?}");
}

#[test]
fn a_silent_client_is_closed_within_the_idle_timeout() {
    let serving = Serving::start(timeouts(Some(400), None, 100), |_| Echo);
    let before = Instant::now();
    let mut clients: Vec<_> = (0..6)
        .map(|_| Client::connect(serving.addr(), "/"))
        .collect();
    for client in &mut clients {
        client.expect_end(1001);
    }
    assert_within(before.elapsed(), ms(400));
    drop(clients);
    serving.wait_until_idle();
    assert_eq!(serving.metrics().closes().get("1001"), Some(&6));
    serving.stop();
}

#[test]
fn each_message_starts_the_idle_timeout_anew() {
    let serving = Serving::start(timeouts(Some(800), None, 100), |_| Echo);
    let mut client = Client::connect(serving.addr(), "/");
    for n in 0..8 {
        assert_eq!(client.poll(ms(200)), None, "silence while it is not idle");
        client.check_echo(&n.to_string());
    }
    let before = Instant::now();
    client.check_echo("the last word");
    client.expect_end(1001);
    assert_within(before.elapsed(), ms(800));
    serving.cut();
}

#[test]
fn answers_to_pings_keep_a_client() {
    let serving = Serving::start(timeouts(Some(900), Some(100), 700), |_| Echo);
    let mut client = Client::connect(serving.addr(), "/");
    let until = Instant::now() + ms(2500);
    let mut pings = 0;
    while Instant::now() < until {
        match client.poll(ms(1500)) {
            Some(Seen::Ping(_)) => pings += 1,
            seen => panic!("{seen:?} instead of a ping"),
        }
    }
    assert!(
        (3..=25).contains(&pings),
        "{pings} pings in 2.5 s, one per 100 ms of silence"
    );
    client.check_echo("still here");
    serving.cut();
}

#[test]
fn an_independent_client_answers_pings_and_stays() {
    let serving = Serving::start(timeouts(Some(900), Some(100), 700), |_| Echo);
    let url = format!("ws://{}/", serving.addr());
    let (mut socket, _) = tungstenite::client(url, dial(serving.addr())).expect("a handshake");
    let until = Instant::now() + ms(2000);
    while Instant::now() < until {
        assert!(socket.read().expect("a ping").is_ping());
        socket.flush().expect("its pong");
    }
    socket.send("still here".into()).expect("sent");
    let echo = std::iter::repeat_with(|| socket.read().expect("an echo")).find(|m| m.is_text());
    assert_eq!(
        echo.expect("an echo").into_text().expect("text"),
        "still here"
    );
    serving.cut();
}

#[test]
fn a_client_that_never_answers_pings_is_ended() {
    let serving = Serving::start(timeouts(None, Some(200), 300), |_| Echo);
    let before = Instant::now();
    let mut client = Client::connect(serving.addr(), "/");
    client.mute();
    assert!(matches!(client.next(), Seen::Ping(_)));
    let end = client.next();
    assert!(
        matches!(end, Seen::Eof | Seen::Reset),
        "{end:?}: who is gone gets no Close frame"
    );
    assert_within(before.elapsed(), ms(500));
    serving.wait_until_idle();
    assert_eq!(serving.metrics().closes().get("1006"), Some(&1));
    serving.stop();
}

/// Nothing is read from it any more, so it cannot be heard: that it takes
/// nothing either shows that it is gone.
#[test]
fn a_client_that_is_paused_and_takes_nothing_is_ended() {
    let config = Config {
        backpressure_limit: 64 << 10,
        ..timeouts(None, Some(200), 300)
    };
    let serving = Serving::start(config, |_| Echo);
    let client = Client::connect_narrow(serving.addr(), "/");
    let messages = frame(true, OpCode::Binary, &[7; 60_000]).repeat(1000);
    let mut writer = client.writer();
    // Fails when the server ends the connection.
    let writer = std::thread::spawn(move || writer.write_all(&messages));
    serving.wait_for_backpressure("paused", 1);
    serving.wait_until_idle();
    writer
        .join()
        .expect("no panic")
        .expect_err("60 MB are more than the kernel takes");
    assert_eq!(serving.metrics().closes().get("1006"), Some(&1));
    serving.stop();
}

/// The idle timeout alone ends a client whose kernel still takes bytes.
#[test]
fn unanswered_pings_do_not_postpone_the_idle_timeout() {
    let serving = Serving::start(timeouts(Some(500), Some(200), 10_000), |_| Echo);
    let before = Instant::now();
    let mut client = Client::connect(serving.addr(), "/");
    client.mute();
    assert_eq!(client.expect_close(), 1001);
    assert_within(before.elapsed(), ms(500));
    serving.cut();
}

#[test]
fn without_timeouts_a_silent_client_stays() {
    let serving = Serving::start(config(), |_| Echo);
    let mut client = Client::connect(serving.addr(), "/");
    assert_eq!(client.poll(ms(1500)), None);
    client.check_echo("still here");
    serving.cut();
}

/// Half a message is not silence, a stalled one is.
#[test]
fn a_message_that_stalls_is_silence() {
    let serving = Serving::start(timeouts(Some(400), None, 100), |_| Echo);
    let mut client = Client::connect(serving.addr(), "/");
    let before = Instant::now();
    // Announces 100 bytes and sends two.
    client.raw(&[0x82, 0x80 | 100, 0, 0, 0, 0, 1, 2]);
    assert_eq!(client.expect_close(), 1001);
    assert_within(before.elapsed(), ms(400));
    serving.cut();
}

/// Who never sends a request is not kept either.
#[test]
fn a_connection_without_a_request_ends_with_the_handshake_timeout() {
    let config = Config {
        handshake_timeout: ms(300),
        ..config()
    };
    let serving = Serving::start(config, |_| Echo);
    let before = Instant::now();
    let mut silent = dial(serving.addr());
    until_equal("accepted", &1, || serving.metrics().sockets());
    let end = silent.read(&mut [0; 64]);
    assert_eq!(end.expect("an orderly end"), 0);
    assert_within(before.elapsed(), ms(300));
    serving.wait_until_idle();
    serving.stop();
}
