//! What clients do: anything, at any time.

use std::time::Duration;

use hioload::CloseCode;

use crate::model::{Due, Fate, Verdict, Wanted, Wish, in_order, pad};
use crate::swarm::Swarm;

/// Topics in use: few, so that they are shared, on every shard.
const TOPICS: [&str; 3] = ["news", "news/a", "$x"];

/// Filters that match one, some or all of them.
const FILTERS: [&str; 4] = ["news/#", "+", "#", "news/+"];

impl Swarm {
    /// Somebody does something.
    pub(crate) fn deed(&mut self) -> Verdict {
        let fresh = self.clients() < self.plan.clients;
        let rate = if self.plan.churns { 3 } else { 8 };
        if fresh && (self.clients() < 3 || self.one_in(rate)) {
            let deflates = self.one_in(4);
            self.connect(deflates);
            return Ok(());
        }
        if self.plan.starves && self.one_in(30) {
            let more = u32::try_from(self.below(3)).expect("a small number");
            self.server
                .limit_sockets(self.random.chance(0.5).then_some(more));
            return Ok(());
        }
        let talking = self.model.talking();
        if talking.is_empty() {
            return Ok(());
        }
        let name = talking[self.below(talking.len())];
        let deeds = if self.plan.churns { 60 } else { 40 };
        match self.below(deeds) {
            0..7 => self.echo(name),
            7 => self.stream(name)?,
            8 => self.dial(name),
            9..12 => self.echo_binary(name),
            12..17 => self.subscribe(name),
            17..19 => self.unsubscribe(name),
            19..30 => self.publish(name),
            30..32 => self.ping(name),
            32..34 => self.set_timer(name),
            34..36 => self.change_pace(name),
            36..38 => self.ask_for_the_end(name),
            _ => self.end(name),
        }
        Ok(())
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.random.below(n) == 0
    }

    fn below(&mut self, n: usize) -> usize {
        self.random.index(n)
    }

    fn topic(&mut self) -> &'static str {
        TOPICS[self.below(TOPICS.len())]
    }

    fn say(&mut self, name: usize, text: &str, due: Due) {
        self.client(name).text(text);
        self.model.person(name).due.push_back(due);
    }

    /// One message or a burst, more than is kept for one that reads slowly.
    fn echo(&mut self, name: usize) {
        let burst = if self.one_in(6) { 10 } else { 1 };
        for _ in 0..burst {
            self.echo_one(name);
        }
    }

    /// Messages one after the other, while what came before is dealt with.
    fn stream(&mut self, name: usize) -> Verdict {
        for _ in 0..20 {
            self.echo_one(name);
            let pause = Duration::from_micros(self.random.below(200));
            self.pass(pause)?;
            if !self.model.person(name).is_talking() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn echo_one(&mut self, name: usize) {
        let number = self.model.person(name).number();
        let long = match self.below(10) {
            0 => 6000,
            1..4 => 700,
            _ => 20,
        };
        let len = self.below(long);
        let text = format!("e {number} {}", "é".repeat(len / 2));
        self.say(name, &text, Due::Text(text.clone()));
    }

    fn echo_binary(&mut self, name: usize) {
        let number = self.model.person(name).number();
        let len = self.below(3000);
        let bytes: Vec<u8> = (0..len)
            .map(|at| (at * 31 + name + number as usize).to_le_bytes()[0])
            .collect();
        self.client(name).binary(&bytes);
        self.model.person(name).due.push_back(Due::Binary(bytes));
    }

    fn ping(&mut self, name: usize) {
        let payload = self.model.person(name).number().to_le_bytes().to_vec();
        self.client(name).ping(&payload);
        self.model.person(name).due.push_back(Due::Pong(payload));
    }

    /// Says what is answered with the same.
    fn say_same(&mut self, name: usize, text: &str) {
        self.say(name, text, Due::Text(text.to_owned()));
    }

    fn subscribe(&mut self, name: usize) {
        if self.one_in(2) {
            return self.follow(name);
        }
        let (verb, wanted) = self.wanted();
        if self.model.person(name).subscribe(&Wanted::of(verb, wanted)) {
            self.say_same(name, &format!("{verb} {wanted}"));
        }
    }

    fn unsubscribe(&mut self, name: usize) {
        if self.one_in(2) {
            let topic = self.topic();
            if self.model.person(name).follows.end(topic) {
                self.say_same(name, &format!("ou {topic}"));
            }
            return;
        }
        let (verb, wanted) = self.wanted();
        if self
            .model
            .person(name)
            .unsubscribe(&Wanted::of(verb, wanted))
        {
            let verb = if verb == "f" { "g" } else { "u" };
            self.say_same(name, &format!("{verb} {wanted}"));
        }
    }

    /// A topic or a filter, with the verb of its subscription.
    fn wanted(&mut self) -> (&'static str, &'static str) {
        if self.one_in(3) {
            ("f", FILTERS[self.below(FILTERS.len())])
        } else {
            ("s", self.topic())
        }
    }

    /// Subscribes to an ordered topic, if it can where it left.
    fn follow(&mut self, name: usize) {
        let topic = self.topic();
        let count = self.random.below(30);
        let fresh = if self.one_in(2) {
            Wish::Now
        } else {
            Wish::Latest(count)
        };
        let person = self.model.person(name);
        let wish = person.follows.resume(topic).unwrap_or(fresh);
        if !person.follows.ask(topic, wish) {
            return;
        }
        let position = match wish {
            Wish::Now => "now".to_owned(),
            Wish::Latest(count) => format!("latest {count}"),
            Wish::After { epoch, offset } => format!("after {epoch} {offset}"),
        };
        self.say_same(name, &format!("os {topic} {position}"));
    }

    /// One message or a burst, which finds a small inbox full.
    fn publish(&mut self, name: usize) {
        let topic = self.topic();
        let (verb, counted) = if self.one_in(2) {
            ("op", in_order(topic))
        } else {
            ("p", topic.to_owned())
        };
        let burst = if self.one_in(3) { 12 } else { 1 };
        for _ in 0..=self.below(burst) {
            let number = self.model.person(name).publish(&counted);
            let text = format!("{verb} {topic} {number} {}", pad(name, number));
            self.say(name, &text, Due::Text(format!("{verb} {topic} {number}")));
        }
    }

    fn dial(&mut self, name: usize) {
        self.client(name).text("d");
    }

    fn set_timer(&mut self, name: usize) {
        let number = self.model.person(name).number();
        let delay = self.random.below(400);
        let earliest = self.server.now() + delay * 1_000_000;
        self.client(name).text(&format!("t {delay} {number}"));
        self.model.person(name).timers.insert(number, earliest);
    }

    /// A client that reads slowly, or not, may be given up from then on, if the
    /// server is set to look for such.
    fn change_pace(&mut self, name: usize) {
        self.model.person(name).excused |= self.plan.is_impatient();
        let bytes = 1 + self.below(500);
        let every = Duration::from_micros(self.random.below(10_000));
        match self.below(3) {
            0 => self.client(name).read_nothing(),
            1 => self.client(name).read_slowly(bytes, every),
            _ => self.client(name).read_freely(),
        }
    }

    fn ask_for_the_end(&mut self, name: usize) {
        if self.one_in(2) {
            self.say(name, "c 4000", Due::Closed(4000));
        } else {
            self.say(name, "x", Due::End);
        }
        self.model.person(name).fate = Some(Fate::Asks);
    }

    fn end(&mut self, name: usize) {
        let fate = match self.below(6) {
            0 => {
                self.client(name).close(CloseCode(3001), "enough");
                Fate::Closes(3001)
            }
            1 => {
                self.client(name).half_close();
                Fate::HalfCloses
            }
            2 => {
                // A reserved opcode, unmasked.
                self.client(name).raw(&[0x83, 0x00]);
                Fate::Garbage
            }
            3 => {
                self.client(name).leave();
                Fate::Leaves
            }
            4 => {
                self.client(name).reset();
                Fate::Leaves
            }
            _ => {
                self.client(name).vanish();
                self.vanished += 1;
                Fate::Leaves
            }
        };
        self.model.person(name).fate = Some(fate);
    }
}
