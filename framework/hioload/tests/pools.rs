//! What `/metrics` and `Metrics::pools` say of the buffers is what happens.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use hioload::backend::Choice;
use hioload::{Config, Echo, Pool, PoolKind};

use support::client::Client;
use support::wait::until;
use support::{Serving, config};

fn serve(backend: Choice) -> Serving {
    let config = Config {
        shards: 1,
        backend,
        ..config()
    };
    Serving::start(config, |_| Echo)
}

fn receive(serving: &Serving) -> Pool {
    let pools = serving.metrics().pools();
    let of_kind = |pool: &Pool| pool.kind == PoolKind::Receive;
    pools.into_iter().find(of_kind).expect("one per shard")
}

fn send(serving: &Serving, size: u64) -> Pool {
    let pools = serving.metrics().pools();
    let of_size = |pool: &Pool| pool.kind == PoolKind::Send && pool.size == size;
    pools.into_iter().find(of_size).expect("a size class")
}

/// More connections than the receive pool has buffers at first send at once:
/// it grows, and says so.
fn a_receive_pool_begins_small_and_says_how_it_grows(backend: Choice) {
    let serving = serve(backend);
    let mut clients: Vec<_> = (0..200)
        .map(|_| Client::connect(serving.addr(), "/"))
        .collect();
    let idle = receive(&serving);
    assert!(idle.bytes <= 1 << 20, "{idle:?}");
    assert_eq!(idle.bytes, idle.buffers * idle.size, "{idle:?}");
    let payload = vec![7; 50_000];
    for _ in 0..5 {
        for client in &mut clients {
            client.binary(&payload);
        }
        for client in &mut clients {
            assert!(client.expect_binary() == payload);
        }
    }
    let busy = receive(&serving);
    assert!(busy.peak > 0 && busy.peak <= busy.buffers.max(idle.buffers << busy.grown));
    assert_eq!(busy.grown > 0, busy.buffers > idle.buffers, "{busy:?}");
    assert!(busy.exhausted >= busy.grown, "{busy:?}");
    until("nothing is in use", || match receive(&serving).in_use {
        0 | 1 => Ok(()),
        in_use => {
            // A turn tells.
            clients[0].check_echo("tell");
            Err(in_use)
        }
    });
    drop(clients);
    serving.wait_until_idle();
    serving.stop();
}

#[test]
fn a_receive_pool_begins_small_and_says_how_it_grows_on_the_first_choice() {
    a_receive_pool_begins_small_and_says_how_it_grows(Choice::Auto);
}

#[test]
fn a_receive_pool_begins_small_and_says_how_it_grows_on_the_fallback() {
    a_receive_pool_begins_small_and_says_how_it_grows(Choice::Compio);
}

#[test]
fn send_chunks_are_counted_by_class() {
    let serving = serve(Choice::Auto);
    let mut client = Client::connect(serving.addr(), "/");
    let before = (send(&serving, 1024).exhausted, send(&serving, 8192));
    client.binary(&[1; 5000]);
    client.expect_binary();
    client.check_echo("one more turn");
    let middle = send(&serving, 8192);
    assert_eq!(middle.exhausted, before.1.exhausted + 1, "{middle:?}");
    assert_eq!((middle.buffers, middle.bytes, middle.peak), (1, 8192, 1));
    assert!(send(&serving, 1024).exhausted >= before.0);
    for _ in 0..10 {
        client.binary(&[1; 5000]);
        client.expect_binary();
    }
    assert_eq!(send(&serving, 8192).exhausted, 1, "it is used again");
    client.close_and_wait();
    serving.stop();
}

#[test]
fn every_pool_is_a_line_with_shard_node_and_size() {
    let serving = Serving::start(config(), |_| Echo);
    let mut client = Client::connect(serving.addr(), "/");
    client.check_echo("hello");
    let text = serving.metrics().render();
    for pool in serving.metrics().pools() {
        let node = pool.node.map_or_else(String::new, |node| node.to_string());
        let size = match pool.size {
            0 => "larger".to_owned(),
            size => size.to_string(),
        };
        let kind = match pool.kind {
            PoolKind::Receive => "recv",
            PoolKind::Send => "send",
        };
        let labels = format!(
            "{{shard=\"{}\",node=\"{node}\",pool=\"{kind}\",size=\"{size}\"}} ",
            pool.shard
        );
        for name in [
            "buffers",
            "bytes",
            "in_use",
            "in_use_peak",
            "exhausted_total",
        ] {
            let line = format!("hioload_pool_{name}{labels}");
            assert!(text.contains(&line), "no {line} in {text}");
        }
    }
    client.close_and_wait();
    serving.stop();
}
