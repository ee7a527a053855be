//! A new configuration reaches the connections that are there; a refused one
//! changes nothing.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hioload::control::{Agreed, Fresh, ReloadError};
use hioload::testing::{Seen as Simulated, Simulation};
use hioload::{Config, DeflateConfig, Echo, Fault, Handle, Server};
use support::client::Client;
use support::http::get;
use support::{Serving, config};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_larger_message_limit_counts_for_connections_that_are_there() {
    let small = Config {
        max_message: 1000,
        ..config()
    };
    let serving = Serving::start(small.clone(), |_| Echo);
    let mut there: Vec<_> = (0..8)
        .map(|_| Client::connect(serving.addr(), "/"))
        .collect();
    let mut early = Client::connect(serving.addr(), "/");
    early.text(&"x".repeat(5000));
    assert_eq!(early.expect_close(), 1009);
    let large = Config {
        max_message: 10_000,
        ..small
    };
    let reloaded = serving.handle().reload(large).expect("nobody refuses");
    assert_eq!(reloaded.to_string(), "max_message 1000 -> 10000");
    assert_eq!(serving.handle().config().max_message, 10_000);
    for client in &mut there {
        client.check_echo(&"x".repeat(5000));
        client.text(&"x".repeat(10_001));
        assert_eq!(client.expect_close(), 1009);
    }
    serving.cut();
}

#[test]
fn an_idle_timeout_that_is_switched_on_ends_who_is_silent_already() {
    let serving = Serving::start(config(), |_| Echo);
    let mut there: Vec<_> = (0..4)
        .map(|_| Client::connect(serving.addr(), "/"))
        .collect();
    let strict = Config {
        idle_timeout: Some(Duration::from_millis(300)),
        ..config()
    };
    serving.handle().reload(strict).expect("nobody refuses");
    for client in &mut there {
        client.expect_end(1001);
    }
    serving.cut();
}

/// On virtual time, to the nanosecond and for more connections than one turn
/// looks at.
#[test]
fn silence_is_judged_by_the_new_rules_from_the_next_turns_on() {
    let start = Config {
        shards: 1,
        idle_timeout: None,
        ping_interval: None,
        ..Config::default()
    };
    let mut server = Simulation::new(1)
        .config(start.clone())
        .start(|_| Echo)
        .expect("it starts");
    let clients: Vec<_> = (0..1100).map(|_| server.connect("/")).collect();
    server.run_for(10 * SECOND).expect("it goes on");
    let idle = Config {
        idle_timeout: Some(15 * SECOND),
        ..start.clone()
    };
    server.handle().reload(idle).expect("nobody refuses");
    server.run_for(4 * SECOND).expect("it goes on");
    assert_eq!(server.handle().metrics().connections(), 1100);
    server.run_for(2 * SECOND).expect("it goes on");
    assert_eq!(server.handle().metrics().connections(), 0);
    for client in clients {
        let client = server.client(client);
        assert_eq!(client.next(), Some(Simulated::Open));
        assert!(matches!(client.next(), Some(Simulated::Closed(1001, _))));
    }
    // And off again.
    let stays = server.connect("/");
    server.run_for(SECOND).expect("it goes on");
    server.handle().reload(start).expect("nobody refuses");
    server.run_for(100 * SECOND).expect("it goes on");
    assert!(server.client(stays).is_open());
}

#[test]
fn what_needs_a_restart_is_named_and_nothing_changes() {
    let serving = Serving::start(config(), |_| Echo);
    let handle = serving.handle();
    let other = Config {
        shards: 3,
        recv_buffers: 32,
        max_message: 5000,
        ..config()
    };
    let error = handle.reload(other).expect_err("shards are threads");
    assert!(matches!(&error, ReloadError::NeedsRestart(fields) if fields.len() == 2));
    let text = error.to_string();
    for part in ["shards 2 -> 3", "recv_buffers 16 -> 32", "needs a restart"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains("max_message"), "{text}");
    assert_eq!(handle.config().max_message, config().max_message);
    serving.stop();
}

#[test]
fn a_configuration_that_contradicts_itself_is_refused_by_field() {
    let serving = Serving::start(config(), |_| Echo);
    let handle = serving.handle();
    let late_ping = Config {
        idle_timeout: Some(10 * SECOND),
        ping_interval: Some(10 * SECOND),
        ..config()
    };
    let more_than_all = Config {
        backpressure_limit: 2000,
        send_memory: 1999,
        ..config()
    };
    let zero = Config {
        close_timeout: Duration::ZERO,
        ..config()
    };
    for (config, named) in [
        (late_ping, ["ping_interval", "idle_timeout"]),
        (more_than_all, ["backpressure_limit", "send_memory"]),
        (zero, ["close_timeout", "zero"]),
    ] {
        let error = handle.reload(config).expect_err("it can not work");
        assert_eq!(error.fault(), Fault::Config);
        let text = error.to_string();
        assert!(named.iter().all(|name| text.contains(name)), "{text}");
    }
    assert_eq!(handle.config().close_timeout, config().close_timeout);
    serving.stop();
}

#[test]
fn connections_beyond_a_lowered_limit_stay_and_new_ones_are_refused() {
    let limit = |max_connections| Config {
        max_connections,
        ..config()
    };
    let serving = Serving::start(limit(20), |_| Echo);
    let mut there: Vec<_> = (0..3)
        .map(|_| Client::connect(serving.addr(), "/"))
        .collect();
    serving.handle().reload(limit(3)).expect("nobody refuses");
    assert_eq!(get(serving.addr(), "/").status, 503);
    for client in &mut there {
        client.check_echo("still here");
    }
    let error = serving.handle().reload(limit(21)).expect_err("too many");
    assert!(error.to_string().contains("max_connections 3 -> 21"));
    serving.handle().reload(limit(20)).expect("as at the start");
    Client::connect(serving.addr(), "/").check_echo("room again");
    serving.cut();
}

/// A hook that agrees does nothing as long as another one may refuse.
#[test]
fn a_veto_keeps_everything_as_it_was() {
    let applied = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&applied);
    let server = Server::bind("127.0.0.1:0")
        .config(config())
        .on_reload(move |_, _| {
            let count = Arc::clone(&count);
            Ok::<_, String>(Agreed::then(move || {
                count.fetch_add(1, Ordering::SeqCst);
            }))
        })
        .on_reload(|old, new| {
            if new.max_message < old.max_message {
                return Err("clients were promised more");
            }
            Ok(Agreed::as_it_is())
        });
    let running = server.start(|_| Echo).expect("it starts");
    let handle = running.handle();
    let with = |max_message| Config {
        max_message,
        ..config()
    };
    let error = handle.reload(with(1000)).expect_err("a veto");
    assert_eq!(error.fault(), Fault::App);
    assert!(error.to_string().contains("clients were promised more"));
    assert_eq!(applied.load(Ordering::SeqCst), 0);
    assert_eq!(handle.config().max_message, config().max_message);
    handle.reload(with(2 << 20)).expect("nobody refuses");
    assert_eq!(applied.load(Ordering::SeqCst), 1);
    running.stop().expect("no shard failed");
}

#[test]
fn a_source_is_read_again_with_what_it_changes_beside() {
    let level = Arc::new(AtomicUsize::new(1));
    let reads = AtomicUsize::new(0);
    let shared = Arc::clone(&level);
    let server = Server::bind("127.0.0.1:0")
        .config(config())
        .reload_from(move || {
            let read = reads.fetch_add(1, Ordering::SeqCst);
            let next = Config {
                // The second is refused.
                max_message: [2000, 1, 3000][read],
                ..config()
            };
            if read == 3 {
                return Err("gone");
            }
            let level = Arc::clone(&shared);
            Ok(Fresh::new(next).change("level", "1", "2", move || {
                level.fetch_add(1, Ordering::SeqCst);
            }))
        });
    let running = server.start(|_| Echo).expect("it starts");
    let handle = running.handle();
    let reloaded = handle.reread().expect("nobody refuses");
    assert_eq!(
        reloaded.to_string(),
        "level 1 -> 2, max_message 1048576 -> 2000"
    );
    handle.reread().expect_err("a limit of one byte");
    let seen = (level.load(Ordering::SeqCst), handle.config().max_message);
    assert_eq!(seen, (2, 2000));
    handle.reread().expect("nobody refuses");
    assert_eq!(level.load(Ordering::SeqCst), 3);
    running.stop().expect("no shard failed");
}

/// It would wait for itself for ever.
#[test]
fn a_hook_that_reloads_is_refused() {
    let own: Arc<OnceLock<Handle>> = Arc::default();
    let inside = Arc::clone(&own);
    let server = Server::bind("127.0.0.1:0")
        .config(config())
        .on_reload(move |_, new| {
            let handle = inside.get().ok_or("not set")?;
            match handle.reload(new.clone()) {
                Err(ReloadError::Busy) => Ok(Agreed::as_it_is()),
                _ => Err("the reload in the reload was not refused"),
            }
        });
    let running = server.start(|_| Echo).expect("it starts");
    own.set(running.handle()).expect("set once");
    running
        .handle()
        .reload(config())
        .expect("it says so itself");
    running.stop().expect("no shard failed");
}

/// Whatever the window that new ones agree on.
#[test]
fn connections_keep_their_compression_while_the_window_grows() {
    let with = |window_bits: Option<u8>| Config {
        deflate: window_bits.map(|window_bits| DeflateConfig {
            window_bits,
            ..DeflateConfig::default()
        }),
        ..Config::default()
    };
    let mut server = Simulation::new(5)
        .config(with(Some(9)))
        .start(|_| Echo)
        .expect("it starts");
    let offer = DeflateConfig::default();
    let old = server.connect_with("/", Some(&offer));
    server.run_for(SECOND).expect("it goes on");
    // Refers back further than 512 bytes, if it may.
    let noise: String = (0..2000_u32)
        .map(|n| char::from(b'a' + (n.wrapping_mul(n) >> 5).to_le_bytes()[0] % 26))
        .collect();
    let text = noise.repeat(3);
    for config in [with(None), with(Some(15)), with(Some(12))] {
        server.handle().reload(config).expect("nobody refuses");
        let new = server.connect_with("/", Some(&offer));
        server.run_for(SECOND).expect("it goes on");
        assert_eq!(server.client(new).next(), Some(Simulated::Open));
        for client in [old, new] {
            while server.client(client).next().is_some() {}
            server.client(client).text(&text);
            server.run_for(SECOND).expect("it goes on");
            let echo = Simulated::Text(text.clone());
            assert_eq!(server.client(client).next(), Some(echo));
        }
    }
}
