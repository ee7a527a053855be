//! When to ping a silent peer, and when to give it up.
//!
//! All times are nanoseconds of one monotonic clock that the caller reads. The
//! state is lazy: hearing from the peer stores a time and nothing else, so the
//! timer need not be moved with each message; [`Keepalive::poll`] works the
//! deadline out when the timer fires, up to 17 milliseconds late.

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

/// The keep-alive state of one connection: two times in ticks of 2^24 nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    last_received: u32,
    /// When the last ping was sent. It is unanswered while `last_received` is
    /// earlier.
    ping_sent_at: u32,
}

// Every connection has this.
const _: () = assert!(size_of::<Keepalive>() == 8);

/// Times are kept in ticks of 2^24 nanoseconds, 17 milliseconds, and rounded up:
/// what follows from them comes late by less than a tick and never early. A ping
/// is in a later tick than what was heard before it, for it is due after the end
/// of that tick.
const TICK: u64 = 1 << 24;

/// The tick that begins at `now` or next. They wrap after 2.3 years.
fn tick(now: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "they wrap")]
    let ticks = now.div_ceil(TICK) as u32;
    ticks
}

/// Ticks from `then` to `now`. More than a year is none: so old is nothing that
/// is polled now and then.
fn elapsed(then: u32, now: u32) -> u64 {
    let ticks = now.wrapping_sub(then);
    if ticks > u32::MAX / 2 {
        0
    } else {
        u64::from(ticks)
    }
}

impl Keepalive {
    /// A connection established at `now`.
    pub fn new(now: u64) -> Self {
        let now = tick(now);
        Self {
            last_received: now,
            ping_sent_at: now,
        }
    }

    /// Bytes came from the peer, of whatever kind.
    #[inline]
    pub fn heard(&mut self, now: u64) {
        self.last_received = tick(now);
    }

    /// What to do at `now`; call it at the time that the previous call gave,
    /// or earlier or later. Deadlines never lie in the past.
    pub fn poll(&mut self, now: u64, config: &KeepaliveConfig) -> KeepaliveAction {
        let tick = tick(now);
        let silent = elapsed(self.last_received, tick);
        let pinged = elapsed(self.ping_sent_at, tick);
        let ago = |ticks: u64| {
            now.div_ceil(TICK)
                .saturating_sub(ticks)
                .saturating_mul(TICK)
        };
        let idle = config.idle_timeout.filter(|&timeout| timeout != 0);
        let idle_at = idle.map(|timeout| ago(silent).saturating_add(timeout));
        if idle_at.is_some_and(|at| now >= at) {
            return KeepaliveAction::IdleTimeout;
        }
        let earliest = |at: u64| at.min(idle_at.unwrap_or(u64::MAX));
        let Some(interval) = config.ping_interval.filter(|&interval| interval != 0) else {
            return idle_at.map_or(KeepaliveAction::Disabled, KeepaliveAction::Wait);
        };
        if pinged < silent {
            let dead_at = ago(pinged).saturating_add(config.pong_timeout);
            return if now >= dead_at {
                KeepaliveAction::PongTimeout
            } else {
                KeepaliveAction::Wait(earliest(dead_at))
            };
        }
        // An old ping is never taken for a new one when ticks wrap.
        self.ping_sent_at = self.last_received;
        let ping_at = ago(silent).saturating_add(interval);
        if now < ping_at {
            return KeepaliveAction::Wait(earliest(ping_at));
        }
        self.ping_sent_at = tick;
        let dead_at = ago(0).saturating_add(config.pong_timeout);
        KeepaliveAction::Ping(earliest(dead_at))
    }
}

#[cfg(test)]
mod tests {
    use super::KeepaliveAction::{Disabled, IdleTimeout, Ping, PongTimeout, Wait};
    use super::*;

    fn config(ping: u64, pong: u64, idle: u64) -> KeepaliveConfig {
        KeepaliveConfig {
            ping_interval: Some(ping * TICK),
            pong_timeout: pong * TICK,
            idle_timeout: Some(idle * TICK),
        }
    }

    #[test]
    fn a_silent_peer_is_pinged_once_and_then_given_up() {
        let config = config(100, 30, 0);
        let mut keepalive = Keepalive::new(1000 * TICK);
        assert_eq!(keepalive.poll(1000 * TICK, &config), Wait(1100 * TICK));
        assert_eq!(keepalive.poll(1099 * TICK, &config), Wait(1100 * TICK));
        assert_eq!(keepalive.poll(1100 * TICK, &config), Ping(1130 * TICK));
        assert_eq!(keepalive.poll(1129 * TICK, &config), Wait(1130 * TICK));
        assert_eq!(keepalive.poll(1130 * TICK, &config), PongTimeout);
    }

    #[test]
    fn a_peer_that_answers_pings_stays() {
        let config = config(100, 30, 140);
        let mut keepalive = Keepalive::new(0);
        let mut now = 0;
        let mut pings = 0;
        while now < 100_000 * TICK {
            match keepalive.poll(now, &config) {
                Wait(at) => now = at,
                Ping(at) => {
                    pings += 1;
                    keepalive.heard(now + 20 * TICK);
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
        for now in (0..10_000).step_by(50).map(|ticks| ticks * TICK) {
            keepalive.heard(now);
            assert_eq!(keepalive.poll(now, &config), Wait(now + 100 * TICK));
        }
    }

    #[test]
    fn an_answer_in_the_instant_of_the_ping_counts() {
        let config = config(100, 30, 0);
        let mut keepalive = Keepalive::new(0);
        assert_eq!(keepalive.poll(100 * TICK, &config), Ping(130 * TICK));
        keepalive.heard(100 * TICK);
        assert_eq!(keepalive.poll(130 * TICK, &config), Wait(200 * TICK));
    }

    #[test]
    fn the_idle_timeout_closes_a_silent_peer_with_and_without_pings() {
        let silent = KeepaliveConfig {
            ping_interval: None,
            ..config(0, 0, 60)
        };
        let mut keepalive = Keepalive::new(0);
        assert_eq!(keepalive.poll(0, &silent), Wait(60 * TICK));
        keepalive.heard(10 * TICK);
        assert_eq!(keepalive.poll(60 * TICK, &silent), Wait(70 * TICK));
        assert_eq!(keepalive.poll(70 * TICK, &silent), IdleTimeout);

        let mut keepalive = Keepalive::new(0);
        let both = config(50, 100, 60);
        assert_eq!(keepalive.poll(50 * TICK, &both), Ping(60 * TICK));
        assert_eq!(keepalive.poll(60 * TICK, &both), IdleTimeout);
    }

    #[test]
    fn nothing_configured_needs_no_timer() {
        let off = KeepaliveConfig {
            ping_interval: None,
            pong_timeout: 0,
            idle_timeout: None,
        };
        assert_eq!(Keepalive::new(5 * TICK).poll(9 * TICK, &off), Disabled);
        assert_eq!(
            Keepalive::new(5 * TICK).poll(9 * TICK, &config(0, 0, 0)),
            Disabled
        );
    }

    #[test]
    fn a_poll_that_comes_late_pings_before_it_gives_up() {
        let config = config(100, 30, 0);
        let mut keepalive = Keepalive::new(0);
        assert_eq!(keepalive.poll(5000 * TICK, &config), Ping(5030 * TICK));
        assert_eq!(keepalive.poll(1_000_000 * TICK, &config), PongTimeout);
    }

    #[test]
    fn deadlines_come_late_by_less_than_a_tick_and_never_early() {
        let ms = 1_000_000;
        for interval in [1, 1000, 10 * ms, 40 * ms, 30_000 * ms] {
            let config = KeepaliveConfig {
                ping_interval: Some(interval),
                pong_timeout: interval,
                idle_timeout: None,
            };
            for start in (0..3 * TICK).step_by(1_000_003) {
                let mut keepalive = Keepalive::new(start);
                let Wait(at) = keepalive.poll(start, &config) else {
                    panic!("too early");
                };
                assert!((start + interval..start + interval + TICK).contains(&at));
                let Ping(dead) = keepalive.poll(at, &config) else {
                    panic!("it is due");
                };
                assert!((at + interval..at + interval + TICK).contains(&dead));
                let mut heard = keepalive;
                heard.heard(at);
                assert!(matches!(heard.poll(at, &config), Wait(_)), "it answered");
                assert_eq!(keepalive.poll(dead - 1, &config), Wait(dead));
                assert_eq!(keepalive.poll(dead, &config), PongTimeout);
            }
        }
    }

    #[test]
    fn ticks_wrap() {
        let config = config(100, 30, 0);
        let start = (1 << 32) * TICK - 50 * TICK;
        let mut keepalive = Keepalive::new(start);
        let mut now = start;
        for _ in 0..10 {
            assert_eq!(keepalive.poll(now, &config), Wait(now + 100 * TICK));
            now += 100 * TICK;
            assert_eq!(keepalive.poll(now, &config), Ping(now + 30 * TICK));
            now += 5 * TICK;
            keepalive.heard(now);
        }
    }
}
