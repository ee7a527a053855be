//! The shadow model: what each client is owed, and whether it was given that.
//!
//! Per connection: every answer exactly once and in the order of what was
//! said. Per connection, topic and publisher: what was published, in order and
//! none twice, without a gap from the acknowledgement of the subscription on,
//! whatever filters match it. Per ordered topic: every offset from the beginning
//! that was told on, in one order for all clients.
//! Or the connection died, for a reason the model knows of.

mod ordered;
mod person;

use std::collections::BTreeMap;

use hioload::Nanos;
use hioload::testing::{End, Seen};

use ordered::{Begun, Order, Placed};
pub(crate) use ordered::{Keeps, Wish};
pub(crate) use person::{Due, Fate, Person, Wanted};

/// What may be said to be wrong.
pub(crate) type Verdict = Result<(), String>;

/// What the server may rightly do to a client, beside serving it.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each excuses something else")]
pub(crate) struct Excuses {
    /// Close it because it reads too slowly.
    pub(crate) tight: bool,
    /// Give up, at an end, what a slow network has not taken.
    pub(crate) slow: bool,
    /// Lose it to a fault that kills; as many as such faults happen.
    pub(crate) deadly: bool,
    /// Never hear of it.
    pub(crate) lost: bool,
    /// Close it because it is silent.
    pub(crate) idles: bool,
}

/// All clients of a run, by name.
#[derive(Debug)]
pub(crate) struct Model {
    people: Vec<Person>,
    orders: ByTopic<Order>,
    keeps: Keeps,
    pub(crate) excuses: Excuses,
    /// Whether the server was asked to stop.
    pub(crate) stopping: bool,
    /// Connections that ended without a reason of their own.
    pub(crate) unexplained: Vec<String>,
    /// Deliveries checked.
    pub(crate) delivered: u64,
    /// Answers checked.
    pub(crate) answered: u64,
}

impl Model {
    pub(crate) fn new(excuses: Excuses, keeps: Keeps) -> Self {
        Self {
            people: Vec::new(),
            orders: ByTopic::new(),
            keeps,
            excuses,
            stopping: false,
            unexplained: Vec::new(),
            delivered: 0,
            answered: 0,
        }
    }

    /// A new client; its name.
    pub(crate) fn add(&mut self) -> usize {
        self.people.push(Person::default());
        self.people.len() - 1
    }

    pub(crate) fn person(&mut self, name: usize) -> &mut Person {
        &mut self.people[name]
    }

    pub(crate) fn people(&self) -> &[Person] {
        &self.people
    }

    /// A client saw something.
    pub(crate) fn saw(&mut self, name: usize, now: Nanos, what: Seen) -> Verdict {
        let seen = format!("{what:?}");
        self.judge(name, now, what)
            .map_err(|wrong| format!("client {name} saw {seen:.120}: {wrong}"))
    }

    fn judge(&mut self, name: usize, now: Nanos, what: Seen) -> Verdict {
        let person = &mut self.people[name];
        if person.is_over() {
            return Err("after the end".to_owned());
        }
        if person.closed && !matches!(what, Seen::Ended(_)) {
            return Err("after the Close frame".to_owned());
        }
        match what {
            Seen::Open => {
                person.opened = true;
                Ok(())
            }
            Seen::Text(text) => match text.split_once(' ') {
                Some(("m", rest)) => self.delivery(name, rest),
                Some(("o", rest)) => self.placed(name, rest),
                Some(("+", rest)) => self.begun(name, rest),
                Some(("t", number)) => self.people[name].timer(number, now),
                _ => self.answer(name, &Due::Text(text)),
            },
            Seen::Binary(bytes) => self.answer(name, &Due::Binary(bytes)),
            Seen::Pong(bytes) => self.answer(name, &Due::Pong(bytes)),
            Seen::Ping(_) => Ok(()),
            Seen::Closed(code, reason) => self.closed(name, code, &reason),
            Seen::Ended(end) => self.ended(name, end),
        }
    }

    fn answer(&mut self, name: usize, what: &Due) -> Verdict {
        let person = &mut self.people[name];
        let due = person.due.pop_front();
        if due.as_ref() != Some(what) {
            return Err(format!("it was owed {:.120}", format!("{due:?}")));
        }
        self.answered += 1;
        if let Due::Text(text) = what {
            self.acknowledged(name, text);
        }
        Ok(())
    }

    /// What an answer means for what comes later.
    fn acknowledged(&mut self, name: usize, text: &str) {
        let mut words = text.split(' ');
        let (Some(verb), Some(topic)) = (words.next(), words.next()) else {
            return;
        };
        match verb {
            "s" | "f" => {
                let mut from = BTreeMap::new();
                for (publisher, person) in self.people.iter().enumerate() {
                    for (topic, publishes) in &person.publishes {
                        from.insert((topic.clone(), publisher), publishes.sent);
                    }
                }
                self.people[name].subscribed(&Wanted::of(verb, topic), from);
            }
            "u" => self.people[name].unsubscribed(&Wanted::of("s", topic)),
            "g" => self.people[name].unsubscribed(&Wanted::of("f", topic)),
            "p" => self.people[name].publish_taken(topic),
            "op" => self.people[name].publish_taken(&in_order(topic)),
            "ou" => self.people[name].follows.ended(topic),
            _ => {}
        }
    }

    fn delivery(&mut self, name: usize, rest: &str) -> Verdict {
        let (topic, message) = rest.split_once(' ').ok_or("it is cut")?;
        let (publisher, number) = self.published(topic, message)?;
        if publisher == name {
            return Err("it published that itself".to_owned());
        }
        self.delivered += 1;
        self.people[name].delivered(topic, publisher, number)
    }

    /// Whose message it is, and its number.
    fn published(&self, topic: &str, message: &str) -> Result<(usize, u32), String> {
        let words: Vec<&str> = message.splitn(3, ' ').collect();
        let [publisher, number, pad] = words[..] else {
            return Err("it is cut".to_owned());
        };
        let parsed = (publisher.parse::<usize>(), number.parse::<u32>());
        let (Ok(publisher), Ok(number)) = parsed else {
            return Err("it is garbled".to_owned());
        };
        let sent = self
            .people
            .get(publisher)
            .map(|person| person.published(topic).sent);
        if sent.is_none_or(|sent| number >= sent) || pad != self::pad(publisher, number) {
            return Err("nobody published that".to_owned());
        }
        Ok((publisher, number))
    }

    /// A message of an ordered topic.
    fn placed(&mut self, name: usize, rest: &str) -> Verdict {
        let words: Vec<&str> = rest.splitn(4, ' ').collect();
        let [topic, epoch, offset, message] = words[..] else {
            return Err("it is cut".to_owned());
        };
        let (publisher, number) = self.published(&in_order(topic), message)?;
        let placed = Placed {
            topic,
            epoch: parsed(epoch)?,
            offset: parsed(offset)?,
            publisher,
            number,
        };
        self.delivered += 1;
        let order = self.orders.entry(topic.to_owned()).or_default();
        self.people[name].follows.delivered(placed, order)
    }

    /// An ordered subscription begins.
    fn begun(&mut self, name: usize, rest: &str) -> Verdict {
        let words: Vec<&str> = rest.split(' ').collect();
        let [topic, epoch, offset, recovered, replayed] = words[..] else {
            return Err("it is cut".to_owned());
        };
        let begun = Begun {
            topic,
            epoch: parsed(epoch)?,
            offset: parsed(offset)?,
            recovered: recovered == "true",
            replayed: parsed(replayed)?,
        };
        let order = self.orders.entry(topic.to_owned()).or_default();
        self.people[name].follows.begun(begun, self.keeps, order)
    }

    fn closed(&mut self, name: usize, code: u16, reason: &str) -> Verdict {
        let person = &mut self.people[name];
        person.closed = true;
        let asked = person.due.front() == Some(&Due::Closed(code));
        let excused = match (code, reason) {
            (1001, "the server is stopping") => self.stopping,
            (1001, "idle for too long") => self.excuses.idles,
            (1008 | 1013, "reads too slowly") => self.excuses.tight,
            _ => asked || person.fate == Some(Fate::Garbage),
        };
        match person.fate {
            // The echo of its own Close frame: answers come before it.
            Some(Fate::Closes(own)) if own == code => match person.due.front() {
                Some(due) if !excused => Err(format!("it was owed {:.120}", format!("{due:?}"))),
                _ => Ok(()),
            },
            _ if excused => {
                person.fate.get_or_insert(Fate::Closed);
                Ok(())
            }
            _ => Err("nobody closed it".to_owned()),
        }
    }

    fn ended(&mut self, name: usize, end: End) -> Verdict {
        let person = &mut self.people[name];
        // One that asks for a WebSocket while the server stops is told so.
        let late = |why: &str| self.stopping && why.contains("503");
        let wrong = matches!(&end, End::Wrong(why) if !late(why));
        let patient = !self.excuses.slow && !person.excused && !self.stopping && !person.closed;
        let unanswered = person.fate == Some(Fate::HalfCloses)
            && end == End::Eof
            && patient
            && !person.due.is_empty();
        // Closed for reading too slowly, and too slow to hear of it.
        let choked = self.excuses.tight && self.excuses.slow;
        let reason = person.fate.is_some() || person.excused || self.stopping || choked;
        if !reason || wrong || unanswered {
            let owed = person.due.len();
            let (fate, excused) = (person.fate, person.excused);
            let death = format!(
                "client {name} ended ({end:?}), owed {owed}, fate {fate:?}, excused {excused}"
            );
            if !self.excuses.deadly {
                return Err(death);
            }
            self.unexplained.push(death);
        }
        self.people[name].end = Some(end);
        if wrong {
            return Err("the server is wrong".to_owned());
        }
        Ok(())
    }

    /// What clients that are alive and read are still owed.
    pub(crate) fn owed(&self) -> Vec<String> {
        let mut owed = Vec::new();
        for (name, person) in self.people.iter().enumerate() {
            if person.is_over() || person.closed || person.excused || person.fate.is_some() {
                continue;
            }
            if !person.opened {
                // One whose request is lost asks for minutes.
                if !self.excuses.lost {
                    owed.push(format!("client {name}: a WebSocket"));
                }
                continue;
            }
            if let Some(due) = person.due.front() {
                owed.push(format!("client {name}: {:.120}", format!("{due:?}")));
            }
            let timers = person.timers.keys();
            owed.extend(timers.map(|number| format!("client {name}: timer {number}")));
            let published = |topic: &str| {
                let taken = |other: &Person| u64::from(other.published(&in_order(topic)).taken);
                self.people.iter().map(taken).sum()
            };
            let follows = person.follows.owed(published);
            owed.extend(follows.iter().map(|owed| format!("client {name}: {owed}")));
            for (publisher, other) in self.people.iter().enumerate() {
                for (topic, published) in &other.publishes {
                    let heard = person.heard_until(topic, publisher);
                    if publisher != name && heard.is_some_and(|heard| heard < published.taken) {
                        owed.push(format!(
                            "client {name}: {topic} {publisher} {heard:?} of {}",
                            published.taken
                        ));
                    }
                }
            }
        }
        owed
    }

    /// Clients that may say something.
    pub(crate) fn talking(&self) -> Vec<usize> {
        let people = self.people.iter().enumerate();
        let talking = people.filter(|(_, person)| person.is_talking());
        talking.map(|(name, _)| name).collect()
    }

    /// Clients whose connection the server should have.
    pub(crate) fn alive(&self) -> usize {
        let alive = |person: &&Person| !person.is_over();
        self.people.iter().filter(alive).count()
    }
}

/// What is published to an ordered topic is counted under this name, which no
/// filter matches.
pub(crate) fn in_order(topic: &str) -> String {
    format!("$in order/{topic}")
}

fn parsed(text: &str) -> Result<u64, String> {
    let parsed = text.parse();
    parsed.map_err(|_| "it is garbled".to_owned())
}

/// What follows a message's number: it says whose it is and differs in length.
pub(crate) fn pad(publisher: usize, number: u32) -> String {
    let number = usize::try_from(number).expect("a small number");
    let long = (publisher * 7 + number * 13) % 40;
    let len = if long == 0 { 1500 } else { long * 3 };
    let letter = char::from(b'a' + u8::try_from((publisher + number) % 26).expect("a letter"));
    std::iter::repeat_n(letter, len).collect()
}

/// Numbers by topic.
pub(crate) type ByTopic<T> = BTreeMap<String, T>;
