//! How many subscribers there are, and who hears of changes.

use hioload::hub::{Hub, HubId};

use crate::service::world;

#[test]
fn subscribers_are_counted_on_all_shards() {
    let mut world = world(1, [Hub::new("homed").ordered(true)]);
    let clients = world.one_on_each();
    for hub in ["-", "homed"] {
        let id = world.server.handle().hub_id(hub.trim_matches('-'));
        let id = id.expect("a declared hub");
        let counts = world.server.handle().hub(id);
        for &client in &clients {
            world.ask(client, &format!("sub {hub} a"));
        }
        world.ask(clients[0], &format!("sub {hub} b"));
        assert_eq!((counts.subscribers("a"), counts.topics()), (3, 2));
        assert_eq!(world.ask(clients[1], &format!("count {hub} a")), ["1 3"]);
        assert_eq!(world.ask(clients[1], &format!("count {hub} b")), ["0 1"]);
        world.ask(clients[1], &format!("unsub {hub} a"));
        assert_eq!((counts.subscribers("a"), counts.topics()), (2, 2));
    }
    let default = world.server.handle().hub(HubId::DEFAULT);
    world.say(clients[0], "end");
    world.server.client(clients[2]).leave();
    world.settle();
    assert_eq!((default.subscribers("a"), default.topics()), (0, 0));
    assert_eq!(world.server.handle().hub_id("none"), None);
    world.end();
}

#[test]
fn an_app_that_asks_for_it_hears_of_every_change_the_last_ones_before_the_close() {
    let mut world = world(2, [Hub::new("told").report(true)]);
    let clients = world.one_on_each();
    let client = clients[0];
    assert_eq!(world.ask(client, "sub told a"), ["Subscribed", "+a"]);
    assert_eq!(world.ask(client, "sub told a"), ["Already"]);
    assert_eq!(world.ask(client, "filter told b/#"), ["Subscribed", "+b/#"]);
    assert_eq!(world.ask(client, "sub told c"), ["Subscribed", "+c"]);
    assert_eq!(world.ask(client, "sub - quiet"), ["Subscribed"]);
    assert_eq!(world.ask(client, "unsub told a"), ["true", "-a"]);
    world.server.client(client).leave();
    world.settle();
    let heard = &world.server.app(0).expect("it runs").heard;
    let mut last: Vec<_> = heard[heard.len() - 3..].to_vec();
    assert_eq!(last.pop().as_deref(), Some("close"));
    last.sort();
    assert_eq!(last, ["-b/#", "-c"]);
    world.end();
}
