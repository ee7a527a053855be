//! Subscribers that read too slowly, and what they are given.

use hioload::hub::{Hub, Slow};
use hioload::testing::ClientId;
use hioload::{Backpressure, CloseCode, Config};

use crate::service::{World, world_with};

const SIZE: usize = 3000;

/// A server with a subscriber that reads nothing while 200 messages of a hub
/// come, and then all.
fn behind(slow: Slow, connections: Backpressure) -> (World, ClientId) {
    let config = Config {
        backpressure_limit: 64 << 10,
        backpressure: connections,
        ..Config::default()
    };
    let mut world = world_with(1, config, [Hub::new("h").slow(slow)]);
    let clients = world.one_on_each();
    assert_eq!(world.ask(clients[1], "sub h t"), ["Subscribed"]);
    assert_eq!(world.ask(clients[1], "sub h u"), ["Subscribed"]);
    world.server.client(clients[1]).read_nothing();
    for _ in 0..20 {
        world.say(clients[0], &format!("many h t 10 {SIZE}"));
        world.say(clients[0], &format!("many h u 10 {SIZE}"));
        world.settle();
    }
    world.say(clients[0], "pub h t last t");
    world.say(clients[0], "pub h u last u");
    world.settle();
    world.server.client(clients[1]).read_freely();
    (world, clients[1])
}

#[test]
fn it_misses_messages_and_lives() {
    let (mut world, slow) = behind(Slow::Drop, Backpressure::Close(CloseCode::TRY_AGAIN));
    let heard = world.hear(slow);
    assert!((20..300).contains(&heard.len()), "{}", heard.len());
    assert!(
        heard.iter().all(|text| text.len() == SIZE),
        "the first ones"
    );
    assert_eq!(world.ask(slow, "count h t"), ["1 1"], "it is served again");
    world.end();
}

#[test]
fn it_is_closed_with_the_hubs_code() {
    let (mut world, slow) = behind(Slow::Close(CloseCode::POLICY), Backpressure::Drop);
    let heard = world.hear(slow);
    assert!(
        heard.contains(&"closed 1008".to_owned()),
        "{:?}",
        heard.last()
    );
    world.end();
}

#[test]
fn its_connections_policy_holds_if_the_hub_has_none() {
    let closes = Backpressure::Close(CloseCode::TRY_AGAIN);
    let (mut world, slow) = behind(Slow::AsConnection, closes);
    assert!(world.hear(slow).contains(&"closed 1013".to_owned()));
    world.end();
}

#[test]
fn it_skips_to_the_latest_of_each_topic() {
    let closes = Backpressure::Close(CloseCode::TRY_AGAIN);
    let (mut world, slow) = behind(Slow::Latest, closes);
    let heard = world.hear(slow);
    assert!((20..300).contains(&heard.len()), "{}", heard.len());
    assert_eq!(heard[heard.len() - 2..], ["last t", "last u"]);
    assert_eq!(world.ask(slow, "count h t"), ["1 1"]);
    world.end();
}
