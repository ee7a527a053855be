//! Ordered topics: one order for all, and a beginning without gap or
//! duplicate.

use std::collections::BTreeMap;

use super::{ByTopic, Verdict};

/// What all clients together know of one ordered topic.
#[derive(Debug, Default)]
pub(super) struct Order {
    epoch: Option<u64>,
    /// Publisher and number of each message, by offset.
    messages: BTreeMap<u64, (usize, u32)>,
}

impl Order {
    fn agrees_on_epoch(&mut self, epoch: u64) -> Verdict {
        match *self.epoch.get_or_insert(epoch) {
            known if known == epoch => Ok(()),
            known => Err(format!("others know epoch {known}")),
        }
    }

    fn agrees_on_message(&mut self, offset: u64, message: (usize, u32)) -> Verdict {
        match *self.messages.entry(offset).or_insert(message) {
            known if known == message => Ok(()),
            known => Err(format!("others know {known:?} there")),
        }
    }
}

/// Where a client asked to begin.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wish {
    Now,
    Latest(u64),
    After { epoch: u64, offset: u64 },
}

/// A client's ordered subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Follows(ByTopic<Follow>);

/// A subscription, and what is remembered of it when it has ended.
#[derive(Debug, Default)]
struct Follow {
    /// What was asked for; until it has begun.
    wish: Option<Wish>,
    /// The offset that must come next, once it has begun.
    next: Option<u64>,
    ending: bool,
    epoch: u64,
    /// The last offset heard or said.
    last: u64,
    /// By publisher: the last number heard since it began.
    numbers: BTreeMap<usize, u32>,
}

/// A message as it was delivered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed<'a> {
    pub(crate) topic: &'a str,
    pub(crate) epoch: u64,
    pub(crate) offset: u64,
    pub(crate) publisher: usize,
    pub(crate) number: u32,
}

/// A beginning as it was told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun<'a> {
    pub(crate) topic: &'a str,
    pub(crate) epoch: u64,
    pub(crate) offset: u64,
    pub(crate) recovered: bool,
    pub(crate) replayed: u64,
}

/// What the server keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keeps {
    pub(crate) size: u64,
    /// Whether a replay may be too large for a connection.
    pub(crate) tight: bool,
}

impl Follows {
    /// It asks for a subscription; false when it has one.
    pub(crate) fn ask(&mut self, topic: &str, wish: Wish) -> bool {
        let follow = self.0.entry(topic.to_owned()).or_default();
        let free = follow.wish.is_none() && follow.next.is_none();
        if free {
            follow.wish = Some(wish);
        }
        free
    }

    /// Where it could go on.
    pub(crate) fn resume(&self, topic: &str) -> Option<Wish> {
        let follow = self.0.get(topic).filter(|follow| follow.epoch != 0)?;
        Some(Wish::After {
            epoch: follow.epoch,
            offset: follow.last,
        })
    }

    /// It ends a subscription; false when it has none to end.
    pub(crate) fn end(&mut self, topic: &str) -> bool {
        let Some(follow) = self.0.get_mut(topic) else {
            return false;
        };
        let has = follow.wish.is_some() || follow.next.is_some();
        has && !std::mem::replace(&mut follow.ending, true)
    }

    /// The end was acknowledged.
    pub(super) fn ended(&mut self, topic: &str) {
        if let Some(follow) = self.0.get_mut(topic) {
            follow.wish = None;
            follow.next = None;
            follow.ending = false;
            follow.numbers.clear();
        }
    }

    pub(super) fn begun(&mut self, begun: Begun<'_>, keeps: Keeps, order: &mut Order) -> Verdict {
        order.agrees_on_epoch(begun.epoch)?;
        let follow = self.0.get_mut(begun.topic);
        let wish = follow.as_ref().and_then(|follow| follow.wish);
        let (Some(follow), Some(wish)) = (follow, wish) else {
            return Err("it asked for none".to_owned());
        };
        if begun.offset < follow.last {
            return Err(format!("it had heard {}", follow.last));
        }
        if begun.replayed > keeps.size || begun.replayed > begun.offset {
            return Err(format!("{} are kept", keeps.size));
        }
        match wish {
            Wish::Now if begun.replayed > 0 => return Err("it asked for none of them".to_owned()),
            Wish::Latest(count) if begun.replayed > count => {
                return Err(format!("it asked for {count}"));
            }
            Wish::After { epoch, offset } => {
                let missed = begun.offset.saturating_sub(offset);
                let possible = epoch == begun.epoch && missed <= keeps.size;
                if begun.recovered && (!possible || begun.replayed != missed) {
                    return Err(format!("it missed {missed}"));
                }
                if possible && !begun.recovered && !keeps.tight {
                    return Err(format!("the {missed} it missed are kept"));
                }
            }
            Wish::Now | Wish::Latest(_) if begun.recovered => {
                return Err("it lost nothing".to_owned());
            }
            Wish::Now | Wish::Latest(_) => {}
        }
        follow.wish = None;
        follow.epoch = begun.epoch;
        follow.last = begun.offset - begun.replayed;
        follow.next = Some(follow.last + 1);
        Ok(())
    }

    pub(super) fn delivered(&mut self, placed: Placed<'_>, order: &mut Order) -> Verdict {
        order.agrees_on_epoch(placed.epoch)?;
        order.agrees_on_message(placed.offset, (placed.publisher, placed.number))?;
        let follow = self.0.get_mut(placed.topic);
        let Some((follow, next)) = follow.and_then(|follow| {
            let next = follow.next?;
            Some((follow, next))
        }) else {
            return Err("it is not subscribed".to_owned());
        };
        if placed.offset != next {
            return Err(format!("{next} comes next"));
        }
        follow.next = Some(next + 1);
        follow.last = next;
        let before = follow.numbers.insert(placed.publisher, placed.number);
        match before {
            Some(before) if before + 1 != placed.number => {
                Err(format!("after number {before} of that publisher"))
            }
            _ => Ok(()),
        }
    }

    /// Topics of which it has not heard `published` messages yet.
    pub(super) fn owed(&self, published: impl Fn(&str) -> u64) -> Vec<String> {
        let mut owed = Vec::new();
        for (topic, follow) in &self.0 {
            if follow.ending {
                continue;
            }
            if follow.wish.is_some() {
                owed.push(format!("the beginning of {topic}"));
            }
            let published = published(topic);
            if let Some(next) = follow.next.filter(|&next| next <= published) {
                owed.push(format!("{topic} from {next} to {published}"));
            }
        }
        owed
    }
}
