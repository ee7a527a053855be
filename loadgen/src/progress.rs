//! The live line on standard error.

use std::io::{IsTerminal as _, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use hioload_platform::Nanos;

use crate::control::Control;
use crate::report::{count, rate_number};
use crate::settings::Settings;

/// Plain lines appear this often when standard error is not a terminal.
const LINE: Nanos = 1_000_000_000;

/// What a run is doing, once a second as lines or ten times a second on a
/// terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    connections: usize,
    warmup: Nanos,
    duration: Nanos,
    last_line: Nanos,
    last: Seen,
}

/// Counts at the last look.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    at: Nanos,
    sent: u64,
    received: u64,
    rates: (f64, f64),
}

impl Progress {
    /// For a run that is about to begin.
    pub(crate) fn new(settings: &Settings) -> Self {
        let bar = (!settings.quiet && stderr().is_terminal()).then(|| {
            let target = ProgressDrawTarget::stderr_with_hz(10);
            let bar = ProgressBar::with_draw_target(None, target);
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self {
            bar,
            quiet: settings.quiet,
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
        let message = self.message(control, now);
        if let Some(bar) = &self.bar {
            bar.set_message(message);
            bar.tick();
        } else {
            self.last_line = now;
            eprintln!("{message}");
        }
    }

    /// Removes the live line.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Updates the rates, at most twice a second so that they can be read.
    fn look(&mut self, control: &Control, now: Nanos) {
        let elapsed = now.saturating_sub(self.last.at);
        if elapsed < LINE / 2 {
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
        };
    }

    fn message(&self, control: &Control, now: Nanos) -> String {
        let open = control.sum(|live| &live.open);
        let Some(start) = control.start() else {
            return format!(
                "connecting  {} of {} open",
                count(open),
                count(self.connections as u64)
            );
        };
        let elapsed = now.saturating_sub(start);
        let phase = if elapsed < self.warmup {
            "warming up".into()
        } else if elapsed < self.warmup + self.duration {
            let measured = (elapsed - self.warmup) / 1_000_000_000;
            format!(
                "measuring {measured}/{} s",
                self.duration.div_ceil(1_000_000_000)
            )
        } else {
            "finishing".into()
        };
        let faults = match control.sum(|live| &live.faults) {
            0 => String::new(),
            faults => format!("  {} ERRORS", count(faults)),
        };
        let (sent, received) = self.last.rates;
        format!(
            "{phase}  {} open  sent {}/s  received {}/s{faults}",
            count(open),
            rate_number(sent.round()),
            rate_number(received.round())
        )
    }
}
