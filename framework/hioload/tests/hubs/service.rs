//! A service whose clients say what to do with hubs, and a way to talk to it.
//!
//! | a client says | and hears |
//! |---|---|
//! | `sub HUB TOPIC`, `filter HUB FILTER`, `after HUB TOPIC EPOCH OFFSET`, `latest HUB TOPIC N` | the outcome |
//! | `unsub HUB TOPIC`, `unfilter HUB FILTER` | whether it was subscribed |
//! | `pub HUB TOPIC TEXT`, `all HUB TOPIC TEXT` | nothing; subscribers hear TEXT |
//! | `loose HUB TOPIC TEXT` | nothing; subscribers hear TEXT without a number |
//! | `count HUB TOPIC` | subscribers here and everywhere |
//! | `clear HUB TOPIC` | nothing |
//! | `many HUB TOPIC N BYTES` | nothing; subscribers hear N messages of that size |
//! | `end` | the end |
//!
//! Changes of subscriptions are said as `+TOPIC ...` and `-TOPIC`. Hubs whose
//! name begins with `x` go through the app, which adds the place; `move` as a
//! message makes each receiver leave `a/b` and `a/#` for `moved`, `again` makes
//! it subscribe to the topic anew.

use std::time::Duration;

use hioload::hub::{Change, Changed, Delivery, Epoch, Hub, HubId, Place, Position};
use hioload::testing::{ClientId, Seen, Simulated, Simulation};
use hioload::{App, Close, Config, Conn, Handle, Kind, Message, PublishOutcome, Turn};

pub(crate) struct Service {
    handle: Handle,
    /// What the app heard of ends, in order.
    pub(crate) heard: Vec<String>,
}

impl Service {
    fn hub(&self, name: &str) -> HubId {
        let name = if name == "-" { "" } else { name };
        self.handle.hub_id(name).expect("a declared hub")
    }

    fn obey(&self, conn: &mut Conn<'_>, command: &str) {
        let mut words = command.splitn(4, ' ');
        let mut word = || words.next().unwrap_or_default();
        let (verb, hub, topic, rest) = (word(), word(), word(), word());
        if verb == "end" {
            return conn.terminate();
        }
        let mut hub = conn.hub(self.hub(hub));
        let number = |text: &str| text.parse::<u64>().expect("a number");
        let answer = match verb {
            "sub" => format!("{:?}", hub.subscribe(topic)),
            "after" => {
                let (epoch, offset) = rest.split_once(' ').expect("a place");
                let place = Place {
                    epoch: Epoch(number(epoch)),
                    offset: number(offset),
                };
                format!("{:?}", hub.subscribe_from(topic, Position::After(place)))
            }
            "latest" => {
                let count = usize::try_from(number(rest)).expect("a small number");
                format!("{:?}", hub.subscribe_from(topic, Position::Latest(count)))
            }
            "filter" => format!("{:?}", hub.subscribe_filter(topic)),
            "unsub" => hub.unsubscribe(topic).to_string(),
            "unfilter" => hub.unsubscribe_filter(topic).to_string(),
            "pub" => {
                assert_eq!(hub.publish(topic, rest), PublishOutcome::Published);
                return;
            }
            "all" => {
                assert_eq!(hub.publish_all(topic, rest), PublishOutcome::Published);
                return;
            }
            "count" => format!("{} {}", hub.subscribers_here(topic), hub.subscribers(topic)),
            "many" => {
                let (count, bytes) = rest.split_once(' ').expect("a number and a size");
                let bytes = usize::try_from(number(bytes)).expect("a small number");
                for n in 0..number(count) {
                    hub.publish(topic, format!("{n:bytes$}").as_str());
                }
                return;
            }
            "clear" => {
                let id = self.hub(command.split(' ').nth(1).unwrap_or_default());
                let cleared = self.handle.hub(id).clear_retained(topic);
                return cleared.expect("there is room");
            }
            "loose" => {
                let id = self.hub(command.split(' ').nth(1).unwrap_or_default());
                let (topic, rest) = (topic.to_owned(), rest.to_owned());
                let publish = move |_: &mut Self, turn: &mut Turn<'_, ()>| {
                    let told = turn.hub(id).publish_unnumbered(&topic, rest.as_str());
                    assert_eq!(told, PublishOutcome::Published);
                };
                let posted = self.handle.post::<Self, _>(conn.shard(), publish);
                return posted.expect("there is room");
            }
            verb => panic!("{verb:?} is no verb"),
        };
        conn.send(answer.as_str());
    }
}

impl App for Service {
    type State = ();

    fn open(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        conn.send(format!("shard {}", conn.shard()).as_str());
    }

    fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
        assert_eq!(message.kind(), Kind::Text);
        self.obey(conn, message.as_text().expect("text"));
    }

    fn deliver(&mut self, conn: &mut Conn<'_>, (): &mut (), delivery: &Delivery<'_>) {
        let place = delivery.place().map_or(0, |place| place.offset);
        let text = delivery.message().as_text().expect("text");
        conn.send(format!("{} {place} {text}", delivery.topic()).as_str());
        let mut hub = conn.hub(delivery.hub());
        match text {
            "move" => {
                hub.unsubscribe("a/b");
                hub.unsubscribe_filter("a/#");
                hub.subscribe("moved");
            }
            "again" => {
                hub.unsubscribe(delivery.topic());
                hub.subscribe(delivery.topic());
            }
            _ => {}
        }
    }

    fn subscription(&mut self, conn: &mut Conn<'_>, (): &mut (), change: &Change<'_>) {
        let topic = change.topic;
        let said = match change.what {
            Changed::Subscribed(Some(start)) => format!(
                "+{topic} {} {} {} {}",
                start.place.epoch.0, start.place.offset, start.recovered, start.replayed
            ),
            Changed::Subscribed(None) => format!("+{topic}"),
            Changed::Unsubscribed => format!("-{topic}"),
        };
        conn.send(said.as_str());
        self.heard.push(said);
    }

    fn close(&mut self, _conn: &mut Conn<'_>, (): &mut (), _close: &Close<'_>) {
        self.heard.push("close".to_owned());
    }
}

/// A server and its clients.
pub(crate) struct World {
    pub(crate) server: Simulated<Service>,
}

pub(crate) fn world(seed: u64, hubs: impl IntoIterator<Item = Hub>) -> World {
    world_with(seed, Config::default(), hubs)
}

pub(crate) fn world_with(seed: u64, config: Config, hubs: impl IntoIterator<Item = Hub>) -> World {
    let config = Config {
        shards: 3,
        ..config
    };
    let simulation = Simulation::new(seed).config(config);
    let simulation = hubs.into_iter().fold(simulation, Simulation::hub);
    let server = simulation.start(|shard| Service {
        handle: shard.handle(),
        heard: Vec::new(),
    });
    World {
        server: server.expect("it starts"),
    }
}

impl World {
    /// A new client on each shard, in their order.
    pub(crate) fn one_on_each(&mut self) -> Vec<ClientId> {
        let mut found = vec![None; 3];
        while found.contains(&None) {
            let client = self.server.connect("/");
            let shard = self.hear(client).concat();
            let shard: usize = shard["shard ".len()..].parse().expect("a shard");
            found[shard] = Some(client);
        }
        found.into_iter().flatten().collect()
    }

    /// Lets happen what there is to happen.
    pub(crate) fn settle(&mut self) {
        self.server
            .run_for(Duration::from_millis(10))
            .expect("it goes on");
    }

    pub(crate) fn say(&mut self, client: ClientId, what: &str) {
        self.server.client(client).text(what);
    }

    /// Says something and returns what is heard then.
    pub(crate) fn ask(&mut self, client: ClientId, what: &str) -> Vec<String> {
        self.say(client, what);
        self.hear(client)
    }

    /// What a client has heard since it was last asked, once all is said.
    pub(crate) fn hear(&mut self, client: ClientId) -> Vec<String> {
        self.settle();
        let mut heard = Vec::new();
        while let Some(seen) = self.server.client(client).next() {
            match seen {
                Seen::Text(text) => heard.push(text),
                Seen::Open => {}
                Seen::Closed(code, _) => heard.push(format!("closed {code}")),
                Seen::Ended(_) => heard.push("ended".to_owned()),
                other => panic!("{other:?}"),
            }
        }
        heard
    }

    /// Where a subscription began: epoch and offset, and the words after.
    pub(crate) fn begin(&mut self, client: ClientId, what: &str) -> Start {
        let heard = self.ask(client, what);
        Start::of(&heard)
    }

    pub(crate) fn end(mut self) {
        let residue = self.server.stop().expect("it stops");
        assert!(residue.is_nothing(), "{residue:?}");
    }
}

/// What a client hears of the beginning of an ordered subscription.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) epoch: u64,
    pub(crate) offset: u64,
    pub(crate) recovered: bool,
    /// What followed.
    pub(crate) replay: Vec<String>,
}

impl Start {
    fn of(heard: &[String]) -> Self {
        let [outcome, start, replay @ ..] = heard else {
            panic!("no beginning in {heard:?}");
        };
        assert_eq!(outcome, "Asked");
        let words: Vec<&str> = start.split(' ').skip(1).collect();
        let [epoch, offset, recovered, replayed] = words[..] else {
            panic!("{start:?} is no beginning");
        };
        assert_eq!(replayed.parse(), Ok(replay.len()), "{heard:?}");
        Self {
            epoch: epoch.parse().expect("an epoch"),
            offset: offset.parse().expect("an offset"),
            recovered: recovered == "true",
            replay: replay.to_vec(),
        }
    }
}
