//! When to ping a silent peer, and when to give it up.
//!
//! All times are nanoseconds of one monotonic clock that the caller reads. The
//! state is lazy: hearing from the peer stores a time and nothing else, so the
//! timer need not be moved with each message; [`Keepalive::poll`] works the
//! deadline out when the timer fires.

/// When a peer counts as silent. All durations in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepaliveConfig {
    /// Ping after hearing nothing for this long. `None` or zero: never.
    pub ping_interval: Option<u64>,
    /// How long after a ping to hear anything before the peer counts as dead.
    pub pong_timeout: u64,
    /// Close after hearing nothing at all for this long. Any byte counts, so a
    /// peer that answers pings is not idle if pings come more often than this.
    /// `None` or zero: never.
    pub idle_timeout: Option<u64>,
}

impl Default for KeepaliveConfig {
    /// A ping after 30 seconds, below the 60 seconds after which common proxies
    /// cut silent connections; 20 seconds to answer it; no idle timeout.
    fn default() -> Self {
        const SECOND: u64 = 1_000_000_000;
        Self {
            ping_interval: Some(30 * SECOND),
            pong_timeout: 20 * SECOND,
            idle_timeout: None,
        }
    }
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepaliveAction {
    /// Nothing; poll again at this time.
    Wait(u64),
    /// Send a ping; poll again at this time.
    Ping(u64),
    /// The peer left a ping unanswered: the transport is dead.
    PongTimeout,
    /// The peer was silent for the idle timeout: close.
    IdleTimeout,
    /// Neither pings nor an idle timeout are configured; no need to poll again.
    Disabled,
}

/// The keep-alive state of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    last_received: u64,
    /// When the last ping was sent, [`NO_PING`] before the first. It is
    /// unanswered while `last_received` is earlier.
    ping_sent_at: u64,
}

/// No ping was sent yet. A monotonic clock does not get there in 584 years.
const NO_PING: u64 = u64::MAX;

impl Keepalive {
    /// A connection established at `now`.
    pub fn new(now: u64) -> Self {
        Self {
            last_received: now,
            ping_sent_at: NO_PING,
        }
    }

    /// Bytes came from the peer, of whatever kind.
    #[inline]
    pub fn heard(&mut self, now: u64) {
        self.last_received = now;
    }

    /// What to do at `now`; call it at the time that the previous call gave,
    /// or earlier or later. Deadlines never lie in the past.
    pub fn poll(&mut self, now: u64, config: &KeepaliveConfig) -> KeepaliveAction {
        let idle = config.idle_timeout.filter(|&timeout| timeout != 0);
        let idle_at = idle.map(|timeout| self.last_received.saturating_add(timeout));
        if idle_at.is_some_and(|at| now >= at) {
            return KeepaliveAction::IdleTimeout;
        }
        let earliest = |at: u64| at.min(idle_at.unwrap_or(u64::MAX));
        let Some(interval) = config.ping_interval.filter(|&interval| interval != 0) else {
            return idle_at.map_or(KeepaliveAction::Disabled, KeepaliveAction::Wait);
        };
        if self.awaits_pong() {
            let dead_at = self.ping_sent_at.saturating_add(config.pong_timeout);
            return if now >= dead_at {
                KeepaliveAction::PongTimeout
            } else {
                KeepaliveAction::Wait(earliest(dead_at))
            };
        }
        let ping_at = self.last_received.saturating_add(interval);
        if now < ping_at {
            return KeepaliveAction::Wait(earliest(ping_at));
        }
        self.ping_sent_at = now;
        KeepaliveAction::Ping(earliest(now.saturating_add(config.pong_timeout)))
    }

    fn awaits_pong(&self) -> bool {
        self.ping_sent_at != NO_PING && self.last_received < self.ping_sent_at
    }
}

#[cfg(test)]
mod tests {
    use super::KeepaliveAction::{Disabled, IdleTimeout, Ping, PongTimeout, Wait};
    use super::*;

    fn config(ping: u64, pong: u64, idle: u64) -> KeepaliveConfig {
        KeepaliveConfig {
            ping_interval: Some(ping),
            pong_timeout: pong,
            idle_timeout: Some(idle),
        }
    }

    #[test]
    fn a_silent_peer_is_pinged_once_and_then_given_up() {
        let config = config(100, 30, 0);
        let mut keepalive = Keepalive::new(1000);
        assert_eq!(keepalive.poll(1000, &config), Wait(1100));
        assert_eq!(keepalive.poll(1099, &config), Wait(1100));
        assert_eq!(keepalive.poll(1100, &config), Ping(1130));
        assert_eq!(keepalive.poll(1129, &config), Wait(1130));
        assert_eq!(keepalive.poll(1130, &config), PongTimeout);
    }

    #[test]
    fn a_peer_that_answers_pings_stays() {
        let config = config(100, 30, 140);
        let mut keepalive = Keepalive::new(0);
        let mut now = 0;
        let mut pings = 0;
        while now < 100_000 {
            match keepalive.poll(now, &config) {
                Wait(at) => now = at,
                Ping(at) => {
                    pings += 1;
                    keepalive.heard(now + 20);
                    now = at;
                }
                other => panic!("{other:?} at {now}"),
            }
        }
        assert!((800..=1000).contains(&pings), "{pings} pings");
    }

    #[test]
    fn a_peer_that_talks_is_never_pinged() {
        let config = config(100, 30, 500);
        let mut keepalive = Keepalive::new(0);
        for now in (0..10_000).step_by(50) {
            keepalive.heard(now);
            assert_eq!(keepalive.poll(now, &config), Wait(now + 100));
        }
    }

    #[test]
    fn an_answer_in_the_instant_of_the_ping_counts() {
        let config = config(100, 30, 0);
        let mut keepalive = Keepalive::new(0);
        assert_eq!(keepalive.poll(100, &config), Ping(130));
        keepalive.heard(100);
        assert_eq!(keepalive.poll(130, &config), Wait(200));
    }

    #[test]
    fn the_idle_timeout_closes_a_silent_peer_with_and_without_pings() {
        let silent = KeepaliveConfig {
            ping_interval: None,
            ..config(0, 0, 60)
        };
        let mut keepalive = Keepalive::new(0);
        assert_eq!(keepalive.poll(0, &silent), Wait(60));
        keepalive.heard(10);
        assert_eq!(keepalive.poll(60, &silent), Wait(70));
        assert_eq!(keepalive.poll(70, &silent), IdleTimeout);

        let mut keepalive = Keepalive::new(0);
        let both = config(50, 100, 60);
        assert_eq!(keepalive.poll(50, &both), Ping(60));
        assert_eq!(keepalive.poll(60, &both), IdleTimeout);
    }

    #[test]
    fn nothing_configured_needs_no_timer() {
        let off = KeepaliveConfig {
            ping_interval: None,
            pong_timeout: 0,
            idle_timeout: None,
        };
        assert_eq!(Keepalive::new(5).poll(9, &off), Disabled);
        assert_eq!(Keepalive::new(5).poll(9, &config(0, 0, 0)), Disabled);
    }

    #[test]
    fn a_poll_that_comes_late_pings_before_it_gives_up() {
        let config = config(100, 30, 0);
        let mut keepalive = Keepalive::new(0);
        assert_eq!(keepalive.poll(5000, &config), Ping(5030));
        assert_eq!(keepalive.poll(u64::MAX - 1, &config), PongTimeout);
    }
}
