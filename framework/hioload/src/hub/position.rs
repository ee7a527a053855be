//! Where in an ordered topic something stands.

use crate::app::Prepared;

/// The life of an ordered topic in which its offsets grow. Another one begins
/// when the server starts, and when the topic was forgotten for want of memory:
/// what a client knows of offsets means nothing then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

/// The place of a message in its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// In which life of the topic.
    pub epoch: Epoch,
    /// The first message of an epoch has 1, each next one more.
    pub offset: u64,
}

/// Where a subscription to an ordered topic begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Position {
    /// With what is published from now on; in a hub that
    /// [retains](super::Hub::retain_last), with the last message.
    #[default]
    Now,
    /// After this message: what came later is given from the history, if all
    /// of it is still there and fits into half of
    /// [`backpressure_limit`](crate::Config::backpressure_limit). Otherwise as
    /// `Now`.
    After(Place),
    /// With the latest messages, so many at most, as far as they are kept and
    /// fit.
    Latest(usize),
}

/// How a subscription to an ordered topic begins. What is replayed follows,
/// then what is published from then on, without a gap and none twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The place of the last message published before. Offset 0: none was.
    pub place: Place,
    /// Whether nothing is missing after the place that was asked for:
    /// [`Position::After`] was met. Always false for others.
    pub recovered: bool,
    /// Messages replayed before the live ones.
    pub replayed: usize,
}

/// Messages of a topic's history: what [`TurnHub::past`](super::TurnHub::past)
/// finds.
#[derive(Clone, Debug)]
pub struct Past {
    /// The place of the last message published; offset 0: none was.
    pub place: Place,
    /// Messages with their offsets, oldest first.
    pub messages: Vec<(u64, Prepared)>,
}
