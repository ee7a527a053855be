//! Ordered hubs: one order for all, a beginning without gap or duplicate.

use std::time::Duration;

use hioload::hub::{History, Hub};

use crate::service::{World, world};

fn kept(size: usize) -> Hub {
    Hub::new("x")
        .through_app(true)
        .history(History::new(size, Duration::from_secs(60)))
}

/// Topics with their homes on different shards.
fn topics(world: &World) -> Vec<String> {
    let handle = world.server.handle();
    let hub = handle.hub(handle.hub_id("x").expect("it is declared"));
    let on = |shard| {
        let names = (0..1000).map(|n| format!("t{n}"));
        names.into_iter().find(|topic| hub.home(topic) == shard)
    };
    (0..3)
        .map(|shard| on(shard).expect("one in a thousand"))
        .collect()
}

#[test]
fn all_subscribers_see_one_order_whoever_publishes_where() {
    for seed in 0..20 {
        let mut world = world(seed, [kept(10)]);
        let clients = world.one_on_each();
        for topic in topics(&world) {
            for &client in &clients {
                world.begin(client, &format!("sub x {topic}"));
            }
            for n in 0..20 {
                for (index, &client) in clients.iter().enumerate() {
                    world.say(client, &format!("all x {topic} {index}.{n}"));
                }
            }
            let first = world.hear(clients[0]);
            assert_eq!(first.len(), 60);
            for (heard, offset) in first.iter().zip(1..) {
                assert!(heard.starts_with(&format!("{topic} {offset} ")), "{heard}");
            }
            for &client in &clients[1..] {
                assert_eq!(world.hear(client), first, "seed {seed}");
            }
        }
        world.end();
    }
}

/// While others publish, somebody subscribes, leaves and comes back: it hears
/// every offset once.
#[test]
fn a_subscription_begins_and_goes_on_without_gap_or_duplicate() {
    for seed in 0..60u64 {
        let mut world = world(seed, [kept(1000)]);
        let clients = world.one_on_each();
        let topic = &topics(&world)[0];
        let (reader, writers) = (clients[world.server.choose(3)], [clients[0], clients[1]]);
        let (mut epoch, mut next): (Option<u64>, u64) = (None, 1);
        for round in 0..6 {
            for n in 0..4 {
                world.say(writers[n % 2], &format!("all x {topic} {round}.{n}"));
            }
            let what = match epoch {
                None => format!("latest x {topic} 1000"),
                Some(epoch) => format!("after x {topic} {epoch} {}", next - 1),
            };
            world.say(reader, &what);
            for n in 4..8 {
                world.say(writers[n % 2], &format!("all x {topic} {round}.{n}"));
            }
            let pause = world.server.choose(300) as u64;
            let ran = world.server.run_for(Duration::from_micros(pause));
            ran.expect("it goes on");
            world.say(reader, &format!("unsub x {topic}"));
            for heard in world.hear(reader) {
                if let Some(start) = heard.strip_prefix(&format!("+{topic} ")) {
                    let words: Vec<&str> = start.split(' ').collect();
                    assert!(epoch.is_none() || words[2] == "true", "{heard}");
                    epoch = words[0].parse().ok();
                } else if let Some(message) = heard.strip_prefix(&format!("{topic} ")) {
                    let offset = message.split(' ').next().and_then(|text| text.parse().ok());
                    assert_eq!(offset, Some(next), "seed {seed}: {heard}");
                    next += 1;
                }
            }
        }
        assert!(next > 20, "something was heard");
        world.end();
    }
}

#[test]
fn what_was_missed_is_recovered_or_said_to_be_lost() {
    let mut world = world(5, [kept(5)]);
    let clients = world.one_on_each();
    for topic in topics(&world) {
        let start = world.begin(clients[0], &format!("sub x {topic}"));
        assert_eq!((start.offset, start.recovered), (0, false));
        assert_eq!(world.ask(clients[0], &format!("unsub x {topic}")), ["true"]);
        for n in 1..=8 {
            world.say(clients[1], &format!("pub x {topic} m{n}"));
        }
        world.settle();
        for (after, recovered, offsets) in [
            (8, true, 9..9),
            (5, true, 6..9),
            (3, true, 4..9),
            (2, false, 9..9),
        ] {
            let epoch = start.epoch;
            let again = world.begin(clients[2], &format!("after x {topic} {epoch} {after}"));
            let expected: Vec<_> = offsets.map(|n| format!("{topic} {n} m{n}")).collect();
            assert_eq!((again.recovered, again.offset), (recovered, 8));
            assert_eq!(again.replay, expected);
            world.ask(clients[2], &format!("unsub x {topic}"));
        }
        let again = world.begin(clients[2], &format!("after x {topic} 1 8"));
        assert!(!again.recovered, "another epoch");
        world.ask(clients[2], &format!("unsub x {topic}"));
        let latest = world.begin(clients[2], &format!("latest x {topic} 2"));
        assert_eq!(
            latest.replay,
            [format!("{topic} 7 m7"), format!("{topic} 8 m8")]
        );
    }
    world.end();
}

#[test]
fn a_new_subscriber_gets_the_last_message_until_it_is_cleared() {
    let mut world = world(6, [Hub::new("last").retain_last(true)]);
    let clients = world.one_on_each();
    let handle = world.server.handle();
    let hub = handle.hub(handle.hub_id("last").expect("it is declared"));
    assert!(world.begin(clients[0], "sub last t").replay.is_empty());
    for text in ["one", "two"] {
        hub.publish("t", text).expect("there is room");
        assert_eq!(world.hear(clients[0]), [text]);
    }
    assert_eq!(world.begin(clients[1], "sub last t").replay, ["two"]);
    world.say(clients[2], "clear last t");
    world.settle();
    let start = world.begin(clients[2], "sub last t");
    assert_eq!((start.offset, start.replay), (2, vec![]));
    world.end();
}

#[test]
fn one_that_leaves_before_its_home_has_answered_hears_nothing() {
    for seed in 0..20 {
        let mut world = world(seed, [kept(10)]);
        let clients = world.one_on_each();
        let topic = &topics(&world)[0];
        world.say(clients[0], &format!("pub x {topic} m1"));
        world.settle();
        world.say(clients[1], &format!("latest x {topic} 9"));
        world.say(clients[1], &format!("unsub x {topic}"));
        world.say(clients[1], &format!("latest x {topic} 9"));
        let heard = world.hear(clients[1]);
        // On its home it was told of the first one.
        let answers: Vec<_> = heard.iter().filter(|said| !said.contains(topic)).collect();
        assert_eq!(answers, ["Asked", "true", "Asked"]);
        let last = heard.last().expect("it hears something");
        assert_eq!(*last, format!("{topic} 1 m1"));
        world.say(clients[2], &format!("latest x {topic} 9"));
        world.server.client(clients[2]).leave();
        world.settle();
        let handle = world.server.handle();
        let hub = handle.hub(handle.hub_id("x").expect("it is declared"));
        assert_eq!(hub.subscribers(topic), 1);
        world.end();
    }
}

#[test]
fn a_replay_ends_with_the_subscription_it_was_for() {
    let mut world = world(8, [kept(10)]);
    let clients = world.one_on_each();
    for topic in topics(&world) {
        for text in ["m1", "again", "m3"] {
            world.say(clients[0], &format!("pub x {topic} {text}"));
        }
        world.settle();
        let heard = world.ask(clients[1], &format!("latest x {topic} 9"));
        let [asked, first, m1, again, second] = &heard[..] else {
            panic!("{heard:?}");
        };
        assert_eq!(asked, "Asked");
        assert!(first.ends_with(" 3 false 3") && second.ends_with(" 3 false 0"));
        assert_eq!(*m1, format!("{topic} 1 m1"));
        assert_eq!(*again, format!("{topic} 2 again"));
        world.say(clients[0], &format!("pub x {topic} m4"));
        assert_eq!(world.hear(clients[1]), [format!("{topic} 4 m4")]);
    }
    world.end();
}

#[test]
fn a_filter_of_an_ordered_hub_is_given_places_from_now_on() {
    let mut world = world(7, [kept(10)]);
    let clients = world.one_on_each();
    world.say(clients[0], "pub x a/b before");
    world.settle();
    assert_eq!(world.ask(clients[1], "filter x a/#"), ["Subscribed"]);
    world.say(clients[0], "pub x a/b after");
    assert_eq!(world.hear(clients[1]), ["a/b 2 after"]);
    world.end();
}

#[test]
fn what_has_no_number_reaches_all_subscribers_and_is_not_kept() {
    let mut world = world(8, [kept(10)]);
    let clients = world.one_on_each();
    for topic in topics(&world) {
        for &client in &clients {
            world.begin(client, &format!("sub x {topic}"));
        }
        world.say(clients[0], &format!("all x {topic} m1"));
        world.settle();
        world.say(clients[1], &format!("loose x {topic} once"));
        world.settle();
        world.say(clients[2], &format!("all x {topic} m2"));
        for &client in &clients {
            let expected = ["1 m1", "0 once", "2 m2"].map(|heard| format!("{topic} {heard}"));
            assert_eq!(world.hear(client), expected);
        }
        world.ask(clients[0], &format!("unsub x {topic}"));
        let start = world.begin(clients[0], &format!("latest x {topic} 9"));
        let kept = [format!("{topic} 1 m1"), format!("{topic} 2 m2")];
        assert_eq!((start.offset, start.replay), (2, kept.to_vec()));
    }
    world.end();
}
