//! The live view on standard error.

use std::io::{IsTerminal as _, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use hioload_platform::Nanos;

use crate::control::Control;
use crate::report::{count, rate_number, time};
use crate::series::Spread;
use crate::settings::Settings;

const SECOND: Nanos = 1_000_000_000;

/// Plain lines appear this often when standard error is not a terminal: a log
/// is to show that the run goes on, not to be filled by it.
const LINE: Nanos = 3 * SECOND;

/// What a terminal shows: what goes on and how far, and below it how it goes.
const TEMPLATE: &str = "{spinner} {prefix} {bar:24}\n  {msg}";

/// What a run is doing: three lines on a terminal, unless it is one of several,
/// and a plain line every few seconds elsewhere.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    /// Which of several runs it is, before each line.
    prefix: String,
    connections: usize,
    warmup: Nanos,
    duration: Nanos,
    last_line: Nanos,
    last: Seen,
}

/// What was seen at the last look.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    at: Nanos,
    sent: u64,
    received: u64,
    /// Sent and received per second since the look before.
    rates: (f64, f64),
    /// Of what was received since the look before.
    latency: Option<Spread>,
}

/// What a run is at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stage {
    name: String,
    done: u64,
    whole: u64,
}

impl Progress {
    /// For a run that is about to begin.
    pub(crate) fn new(settings: &Settings) -> Self {
        let alone = settings.name.is_none();
        let bar = (!settings.quiet && alone && stderr().is_terminal()).then(|| {
            let target = ProgressDrawTarget::stderr_with_hz(10);
            let bar = ProgressBar::with_draw_target(Some(1), target);
            if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
                bar.set_style(style);
            }
            bar
        });
        Self {
            bar,
            quiet: settings.quiet,
            prefix: (settings.name.as_ref()).map_or_else(String::new, |name| format!("{name}: ")),
            connections: settings.connections(),
            warmup: settings.warmup,
            duration: settings.duration,
            last_line: 0,
            last: Seen::default(),
        }
    }

    /// How often [`show`](Self::show) is to be called.
    pub(crate) fn interval(&self) -> Duration {
        Duration::from_millis(if self.bar.is_some() { 100 } else { 250 })
    }

    /// Shows the state at `now`.
    pub(crate) fn show(&mut self, control: &Control, now: Nanos) {
        if self.quiet {
            return;
        }
        let line_due = now >= self.last_line + LINE;
        if self.bar.is_none() && !line_due {
            return;
        }
        self.look(control, now);
        let stage = self.stage(control, now);
        let state = self.state(control);
        if let Some(bar) = &self.bar {
            bar.set_prefix(stage.name);
            bar.set_length(stage.whole);
            bar.set_position(stage.done);
            bar.set_message(state.join("\n  "));
            bar.tick();
        } else {
            self.last_line = now;
            let (prefix, name) = (&self.prefix, stage.name);
            eprintln!("{prefix}{name}  {}", state.join("  "));
        }
    }

    /// Removes the live view.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Updates rates and latencies, at most once a second so that they can be
    /// read.
    fn look(&mut self, control: &Control, now: Nanos) {
        let elapsed = now.saturating_sub(self.last.at);
        if elapsed < SECOND {
            return;
        }
        let sent = control.sum(|live| &live.sent);
        let received = control.sum(|live| &live.received);
        let rate = |count: u64| count as f64 * 1e9 / elapsed as f64;
        let rates = (
            rate(sent.saturating_sub(self.last.sent)),
            rate(received.saturating_sub(self.last.received)),
        );
        self.last = Seen {
            at: now,
            sent,
            received,
            rates,
            latency: control.take_recent(),
        };
    }

    fn stage(&self, control: &Control, now: Nanos) -> Stage {
        let Some(start) = control.start() else {
            let (open, all) = (control.sum(|live| &live.open), self.connections as u64);
            return Stage {
                name: "connecting".into(),
                done: open.min(all),
                whole: all,
            };
        };
        let elapsed = now.saturating_sub(start);
        let measured = elapsed.saturating_sub(self.warmup).min(self.duration);
        let name = if now < start {
            "waiting".into()
        } else if elapsed < self.warmup {
            "warming up".into()
        } else if measured < self.duration && !control.stopped() {
            let whole = self.duration.div_ceil(SECOND);
            format!("measuring {}/{whole} s", measured / SECOND)
        } else {
            "finishing".into()
        };
        Stage {
            name,
            done: measured,
            whole: self.duration,
        }
    }

    /// How it goes, in lines short enough for any terminal.
    fn state(&self, control: &Control) -> Vec<String> {
        let open = count(control.sum(|live| &live.open));
        if control.start().is_none() {
            let all = count(self.connections as u64);
            return vec![format!("{open} of {all} open")];
        }
        let faults = match control.sum(|live| &live.faults) {
            0 => "no errors".into(),
            faults => format!("{} ERRORS", count(faults)),
        };
        let (sent, received) = self.last.rates;
        let (sent, received) = (rate_number(sent.round()), rate_number(received.round()));
        let counts = format!("{open} open  {faults}  sent {sent}/s  received {received}/s");
        let latency = self.last.latency.map(|latency| {
            let [p50, p99, max] = [latency.p50, latency.p99, latency.max].map(time);
            format!("p50 {p50}  p99 {p99}  max {max}")
        });
        std::iter::once(counts).chain(latency).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recent::Recording;
    use crate::rooms::Rooms;

    fn progress() -> Progress {
        Progress {
            bar: None,
            quiet: false,
            prefix: String::new(),
            connections: 20,
            warmup: SECOND,
            duration: 10 * SECOND,
            last_line: 0,
            last: Seen::default(),
        }
    }

    #[test]
    fn the_stage_follows_the_run() {
        let (control, progress) = (Control::new(1, 0, Rooms::new(0, 0)), progress());
        control.live(0).set(5, 0, 0, 0);
        let stage = |now| progress.stage(&control, now);
        assert_eq!(stage(SECOND).name, "connecting");
        assert_eq!(progress.state(&control), ["5 of 20 open"]);
        assert_eq!((stage(SECOND).done, stage(SECOND).whole), (5, 20));
        control.start_at(10 * SECOND);
        assert_eq!(stage(10 * SECOND).name, "warming up");
        assert_eq!(stage(14 * SECOND).name, "measuring 3/10 s");
        assert_eq!(stage(14 * SECOND).done, 3 * SECOND);
        assert_eq!(stage(30 * SECOND).name, "finishing");
        assert_eq!(stage(30 * SECOND).done, 10 * SECOND);
        control.stop();
        assert_eq!(stage(14 * SECOND).name, "finishing");
    }

    #[test]
    fn the_state_tells_the_last_interval() {
        let (control, mut progress) = (Control::new(1, 0, Rooms::new(0, 0)), progress());
        control.start_at(0);
        progress.look(&control, 10 * SECOND);
        let mut recording = Recording::new();
        (0..100).for_each(|_| recording.took(50));
        recording.hand_over(0, control.recent(0));
        control.live(0).set(20, 3_000, 2_000, 0);
        progress.look(&control, 12 * SECOND);
        assert_eq!(
            progress.state(&control),
            [
                "20 open  no errors  sent 1,500/s  received 1,000/s",
                "p50 50 ns  p99 50 ns  max 50 ns"
            ]
        );
        control.live(0).set(20, 3_000, 2_000, 7);
        progress.look(&control, 13 * SECOND);
        assert_eq!(
            progress.state(&control),
            ["20 open  7 ERRORS  sent 0/s  received 0/s"]
        );
    }
}
