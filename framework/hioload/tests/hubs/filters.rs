//! Filters: MQTT's wildcards, once per message, on every shard.

use hioload::Config;
use hioload::hub::Hub;

use crate::service::{world, world_with};

#[test]
fn a_filter_hears_what_matches_from_every_shard() {
    let mut world = world(1, []);
    let clients = world.one_on_each();
    for (&client, filter) in clients.iter().zip(["sensors/+/temp", "sensors/#", "#"]) {
        let answer = world.ask(client, &format!("filter - {filter}"));
        assert_eq!(answer, ["Subscribed"]);
    }
    let speaker = clients[0];
    for (topic, hears) in [
        ("sensors/1/temp", [true, true, true]),
        ("sensors/1/wet", [false, true, true]),
        ("sensors", [false, true, true]),
        ("other/1/temp", [false, false, true]),
        ("$sensors/1", [false, false, false]),
        ("sensors/+/temp", [true, true, true]),
    ] {
        world.say(speaker, &format!("all - {topic} hello"));
        for (&client, hears) in clients.iter().zip(hears) {
            let expected: &[&str] = if hears { &["hello"] } else { &[] };
            assert_eq!(world.hear(client), expected, "{topic}");
        }
    }
    assert_eq!(world.ask(clients[2], "unfilter - #"), ["true"]);
    assert_eq!(world.ask(clients[2], "unfilter - #"), ["false"]);
    world.say(speaker, "pub - other/1/temp hello");
    assert!(world.hear(clients[2]).is_empty());
    world.end();
}

#[test]
fn a_message_that_matches_several_subscriptions_comes_once() {
    let mut world = world(2, [Hub::new("x").through_app(true)]);
    let clients = world.one_on_each();
    for hub in ["-", "x"] {
        for what in ["sub", "filter"] {
            world.ask(clients[0], &format!("{what} {hub} a/b"));
        }
        for filter in ["a/+", "a/#", "#", "+/+"] {
            world.ask(clients[0], &format!("filter {hub} {filter}"));
        }
        world.ask(clients[1], &format!("filter {hub} #"));
        world.say(clients[2], &format!("pub {hub} a/b one"));
        let one = if hub == "x" { "a/b 0 one" } else { "one" };
        assert_eq!(world.hear(clients[0]), [one]);
        assert_eq!(world.hear(clients[1]), [one]);
        world.say(clients[0], &format!("pub {hub} a/b two"));
        assert!(world.hear(clients[0]).is_empty(), "it said that itself");
    }
    world.end();
}

#[test]
fn subscriptions_may_change_while_a_message_is_delivered() {
    let mut world = world(5, [Hub::new("x").through_app(true)]);
    let clients = world.one_on_each();
    for what in ["sub x a/b", "filter x a/#"] {
        world.ask(clients[0], what);
    }
    for n in 0..2 {
        let expected: &[&str] = if n == 0 { &["a/b 0 move"] } else { &[] };
        world.say(clients[1], "pub x a/b move");
        assert_eq!(world.hear(clients[0]), expected);
    }
    world.say(clients[1], "pub x moved here");
    assert_eq!(world.hear(clients[0]), ["moved 0 here"]);
    world.end();
}

#[test]
fn a_plain_topic_may_be_any_string_and_one_hub_is_not_another() {
    let mut world = world(3, [Hub::new("other")]);
    let clients = world.one_on_each();
    for topic in ["+", "#", "a/#/b", "a+b", "", "é/#", "/"] {
        assert_eq!(
            world.ask(clients[0], &format!("sub - {topic}")),
            ["Subscribed"]
        );
        assert_eq!(
            world.ask(clients[1], &format!("sub other {topic}")),
            ["Subscribed"]
        );
        world.say(clients[2], &format!("pub - {topic} one"));
        world.say(clients[2], &format!("pub other {topic} two"));
        assert_eq!(world.hear(clients[0]), ["one"], "{topic}");
        assert_eq!(world.hear(clients[1]), ["two"], "{topic}");
    }
    world.end();
}

#[test]
fn too_many_too_long_and_malformed_are_refused_by_name() {
    let config = Config {
        max_subscriptions: 3,
        ..Config::default()
    };
    let mut world = world_with(4, config, [Hub::new("other").ordered(true)]);
    let client = world.one_on_each()[0];
    let long = "x".repeat(1025);
    assert_eq!(world.ask(client, &format!("sub - {long}")), ["TooLong"]);
    assert_eq!(
        world.ask(client, "filter - a/#/b"),
        ["BadFilter(Misplaced)"]
    );
    assert_eq!(world.ask(client, "sub - a"), ["Subscribed"]);
    assert_eq!(world.ask(client, "sub - a"), ["Already"]);
    assert_eq!(world.ask(client, "filter - a"), ["Subscribed"]);
    assert_eq!(world.ask(client, "sub other a")[0], "Asked");
    for one_more in ["sub - b", "sub other b", "filter - b"] {
        assert_eq!(world.ask(client, one_more), ["TooMany"]);
    }
    assert_eq!(world.ask(client, "unsub - a"), ["true"]);
    assert_eq!(world.ask(client, "sub - b"), ["Subscribed"]);
    world.end();
}
