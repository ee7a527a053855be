//! Graceful stop of a shard: waves, and who is served meanwhile.

use std::collections::VecDeque;

use hioload_platform::{Nanos, Token};

use super::chain::Stage;
use super::core::ShardCore;
use super::link::Flags;
use super::slab::Entry;
use crate::app::{App, Conn};
use crate::client::DialError;

/// Connections told to close per turn, so that a wave does not hold up who is
/// still served; the rest of it makes the next turn start at once.
const PER_TURN: usize = 1024;

/// A wave is no smaller than this, see
/// [`Config::drain_waves`](crate::Config::drain_waves): as many new connections
/// as a shard accepts within a few milliseconds.
const LEAST_WAVE: usize = 256;

/// What a WebSocket that opened after the hand-over has until it is closed: its
/// client has a question under way, which may be answered yet.
const LATE: Nanos = 1_000_000_000;

/// And of the time that is left at most this part: a short drain is one that
/// others wait for.
const LATE_PART: Nanos = 8;

/// Whether, and how, the shard is stopping.
#[derive(Debug, Default)]
pub(crate) enum Stopping {
    #[default]
    Running,
    /// Connections end in waves.
    Draining(Box<Drain>),
    /// The time is over, everything was told to close.
    Forced,
}

/// A stop under way.
#[derive(Debug)]
pub(crate) struct Drain {
    began: Nanos,
    /// When connections that are left are cut.
    deadline: Nanos,
    /// A successor accepts; who came before it is served here.
    serves: bool,
    /// Not yet told.
    left: Vec<Token>,
    wave: usize,
    interval: Nanos,
    /// When the next wave begins.
    next: Nanos,
    /// Of the current wave not yet told.
    rest: usize,
    /// Opened meanwhile, and when to close them, the first first; bounded by
    /// the connections there are.
    late: VecDeque<(Nanos, Token)>,
}

impl Stopping {
    pub(super) fn is_stopping(&self) -> bool {
        !matches!(self, Self::Running)
    }

    /// Whether nobody new is served.
    pub(super) fn refuses(&self) -> bool {
        match self {
            Self::Running => false,
            Self::Draining(drain) => !drain.serves,
            Self::Forced => true,
        }
    }

    /// When there is something to do.
    pub(super) fn deadline(&self, now: Nanos) -> Option<Nanos> {
        let Self::Draining(drain) = self else {
            return None;
        };
        let wave =
            (!drain.left.is_empty()).then_some(if drain.rest > 0 { now } else { drain.next });
        let late = drain.late.front().map(|&(due, _)| due);
        [Some(drain.deadline), wave, late]
            .into_iter()
            .flatten()
            .min()
    }

    /// A WebSocket opened: it is closed too, when it has been heard.
    pub(super) fn opened(&mut self, token: Token, now: Nanos) {
        if let Self::Draining(drain) = self {
            let time = LATE.min(drain.deadline.saturating_sub(now) / LATE_PART);
            drain.late.push_back((now.saturating_add(time), token));
        }
    }
}

impl Drain {
    /// Who is to be told now, at most [`PER_TURN`].
    fn take_due(&mut self, now: Nanos) -> Vec<Token> {
        if self.rest == 0 && self.next <= now {
            self.rest = self.wave;
            self.next = now.saturating_add(self.interval);
        }
        let told = self.rest.min(self.left.len()).min(PER_TURN);
        self.rest -= told;
        let mut due = self.left.split_off(self.left.len() - told);
        while due.len() < PER_TURN
            && let Some(&(when, token)) = self.late.front()
            && when <= now
        {
            self.late.pop_front();
            due.push(token);
        }
        due
    }
}

impl<A: App> ShardCore<A> {
    /// Closes every WebSocket with the code the app says for it, lets what is queued leave,
    /// and ends the rest, in waves. Connections that are not gone by the drain
    /// deadline are cut.
    ///
    /// `serves`: a successor accepts, and no connection is refused. `within`:
    /// instead of the configured time; asked again, it can only be less.
    pub(crate) fn stop(&mut self, serves: bool, within: Option<Nanos>) {
        let within = within.unwrap_or(self.cx.rules.drain_timeout);
        match &mut self.stopping {
            Stopping::Running => {}
            Stopping::Draining(drain) => {
                drain.deadline = drain.deadline.min(drain.began.saturating_add(within));
                return;
            }
            Stopping::Forced => return,
        }
        let now = self.cx.now;
        let left = self.slab.tokens();
        let waves = usize::from(self.cx.rules.drain_waves);
        let spread = self.cx.rules.drain_spread.min(within / 2);
        let wave = if spread == 0 {
            left.len()
        } else {
            left.len().div_ceil(waves)
        };
        self.stopping = Stopping::Draining(Box::new(Drain {
            began: now,
            deadline: now.saturating_add(within),
            serves,
            wave: wave.max(LEAST_WAVE),
            interval: spread / Nanos::from(self.cx.rules.drain_waves),
            next: now,
            rest: 0,
            late: VecDeque::new(),
            left: left.clone(),
        }));
        // What is not open yet need not wait for its wave.
        for token in left {
            self.dial_failed(token, &DialError::Stopping);
            self.with(token, |link, cx| {
                if matches!(link.stage, Stage::Draining)
                    && link.is(Flags::OUTBOUND)
                    && !link.is(Flags::CLOSING)
                {
                    link.abort(cx);
                }
            });
        }
        self.drain_on();
    }

    /// Tells the connections whose time has come, or cuts all that are left.
    pub(super) fn drain_on(&mut self) {
        let Stopping::Draining(drain) = &mut self.stopping else {
            return;
        };
        if drain.deadline <= self.cx.now {
            let left = self.slab.len();
            if left > 0 {
                tracing::warn!(
                    shard = self.cx.shard,
                    left,
                    "the drain deadline cuts connections"
                );
            }
            return self.force_stop();
        }
        let serves = drain.serves;
        for token in drain.take_due(self.cx.now) {
            self.say_farewell(token);
            self.with(token, |link, cx| match &link.stage {
                // What it was about to ask goes to another server.
                Stage::Http(_)
                    if link.is_between_requests() && (link.was_answered() || !serves) =>
                {
                    link.finish(cx);
                }
                // A request is under way, or will be at once: it has its
                // answer, if it comes in time.
                Stage::Http(_) => link.arm(cx.now.saturating_add(cx.rules.close_timeout), cx),
                Stage::Stream(_) => link.finish(cx),
                Stage::WebSocket(_) | Stage::Messages(_) | Stage::Draining | Stage::Dialling(_) => {
                }
            });
        }
    }

    /// Closes a connection of the app that is not closing, as the app says.
    fn say_farewell(&mut self, token: Token) {
        let Some(Entry { link, state }) = self.slab.get(token) else {
            return;
        };
        let is_apps = matches!(link.stage, Stage::WebSocket(_) | Stage::Messages(_));
        if is_apps && !link.is(Flags::CLOSING) {
            let (code, reason) = self.app.stopping(state);
            let cx = &mut self.cx;
            Conn { link, cx }.close(code, reason);
        }
    }

    /// Whether every connection is gone.
    pub(crate) fn is_drained(&self) -> bool {
        self.slab.len() == 0
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_stopping()
    }

    /// Cuts everything now.
    pub(crate) fn force_stop(&mut self) {
        self.stopping = Stopping::Forced;
        for token in self.slab.tokens() {
            self.lost(token);
        }
    }
}
