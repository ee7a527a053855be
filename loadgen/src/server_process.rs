//! What a local server process costs: CPU over the measurement, memory at its
//! landmarks, and both over time.

#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod linux;

use std::time::Duration;

use hioload_platform::Nanos;

use crate::control::Control;
use crate::settings::Settings;

#[cfg(not(target_os = "linux"))]
use elsewhere as imp;
#[cfg(target_os = "linux")]
use linux as imp;

/// The first distance of two samples over time.
const INTERVAL: Nanos = 1_000_000_000;

/// Samples kept over time; when there are more, every second one goes and the
/// distance doubles.
const MAX_SAMPLES: usize = 600;

/// What a process has used since its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// When it was read.
    pub(crate) at: Nanos,
    /// CPU time of all its threads, also of those that have ended.
    pub(crate) cpu: Nanos,
    /// The kernel's estimate of how much of it was in user mode, in ticks.
    pub(crate) user_ticks: u64,
    /// And in the kernel.
    pub(crate) system_ticks: u64,
    /// Bytes resident, off by some pages per CPU.
    pub(crate) resident: u64,
    /// Its threads.
    pub(crate) threads: u64,
}

/// Resident bytes, exact where the kernel lets us count them. None: unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Before the first connection.
    pub(crate) before: Option<u64>,
    /// With all connections open, before the first message.
    pub(crate) open: Option<u64>,
    /// When the measurement ended.
    pub(crate) end: Option<u64>,
    /// When all connections were closed.
    pub(crate) closed: Option<u64>,
}

/// CPU time within the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Used {
    /// Between the two readings.
    pub(crate) length: Nanos,
    /// Exact.
    pub(crate) cpu: Nanos,
    /// The split of `cpu` by the kernel's ticks: user and system. None when
    /// there was no tick.
    pub(crate) split: Option<(Nanos, Nanos)>,
}

/// What was seen of a server process.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Its number.
    pub(crate) pid: u32,
    /// What the kernel calls it.
    pub(crate) name: String,
    /// At the landmarks.
    pub(crate) memory: Memory,
    /// None when it ended too early, or the measurement never began.
    pub(crate) used: Option<Used>,
    /// Its threads when last seen.
    pub(crate) threads: u64,
    /// When the measurement began; the times of `samples` are to be seen
    /// against it.
    pub(crate) from: Nanos,
    /// Over the measurement, at most [`MAX_SAMPLES`] and one.
    pub(crate) samples: Vec<Reading>,
    /// What there is to say about it.
    pub(crate) note: Option<String>,
}

/// Watches a server process through a run, from the main thread.
#[derive(Debug)]
struct Watch {
    process: imp::Process,
    seen: Seen,
    from: Option<Reading>,
    to: Option<Reading>,
    distance: Nanos,
    gone: bool,
}

/// The times of a run that matter here.
#[derive(Clone, Copy, Debug)]
struct Times {
    from: Nanos,
    to: Nanos,
}

impl Watch {
    /// Finds the process and looks at its memory, before connecting.
    ///
    /// # Errors
    /// When there is no such process, or no way to see it.
    fn begin(pid: u32) -> Result<Self, String> {
        let process =
            imp::Process::find(pid).map_err(|error| format!("--server-pid {pid}: {error}"))?;
        let memory = Memory {
            before: process.resident(),
            ..Memory::default()
        };
        Ok(Self {
            seen: Seen {
                pid,
                name: process.name().to_owned(),
                memory,
                used: None,
                threads: 0,
                from: 0,
                samples: Vec::new(),
                note: None,
            },
            process,
            from: None,
            to: None,
            distance: INTERVAL,
            gone: false,
        })
    }

    /// How long after `now` the next look is due, if one is.
    fn due_in(&self, phases: &Phases<'_>, now: Nanos) -> Option<Nanos> {
        let times = phases.times()?;
        let next = match (self.from, self.to) {
            _ if self.gone => return None,
            (_, Some(_)) => return None,
            (None, _) => times.from,
            (Some(_), None) => self.next_sample().min(times.to),
        };
        Some(next.saturating_sub(now))
    }

    /// Looks at the process if it is time to.
    fn look(&mut self, phases: &Phases<'_>, now: Nanos) {
        let Some(times) = phases.times().filter(|_| !self.gone) else {
            return;
        };
        if self.seen.memory.open.is_none() {
            self.seen.memory.open = self.process.resident();
        }
        let over = now >= times.to || phases.control.stopped() || phases.control.measured();
        if self.from.is_none() && now >= times.from && !over {
            self.from = self.read(now, times);
            self.seen.from = now;
            self.seen.samples.extend(self.from);
        } else if self.from.is_some() && self.to.is_none() && over {
            self.to = self.read(now, times);
            self.seen.samples.extend(self.to);
            self.seen.memory.end = self.process.resident();
        } else if self.from.is_some() && self.to.is_none() && now >= self.next_sample() {
            let sample = self.read(now, times);
            self.seen.samples.extend(sample);
            self.thin();
        }
    }

    /// What was seen, after all connections were closed.
    fn end(mut self) -> Seen {
        if !self.gone {
            self.seen.memory.closed = self.process.resident();
        }
        self.seen.used = self.from.zip(self.to).map(|(from, to)| used(from, to));
        self.seen
    }

    fn next_sample(&self) -> Nanos {
        let count = self.seen.samples.len() as u64;
        self.seen.from.saturating_add(count * self.distance)
    }

    fn read(&mut self, now: Nanos, times: Times) -> Option<Reading> {
        match self.process.read(now) {
            Ok(reading) => {
                self.seen.threads = reading.threads;
                Some(reading)
            }
            Err(why) => {
                self.gone = true;
                let after = now.saturating_sub(times.from) as f64 / 1e9;
                self.seen.note = Some(format!(
                    "{why}, seen {after:.1} s after the measurement began; its CPU time is unknown"
                ));
                None
            }
        }
    }

    fn thin(&mut self) {
        if self.seen.samples.len() <= MAX_SAMPLES {
            return;
        }
        let mut index = 0;
        self.seen.samples.retain(|_| {
            index += 1;
            index % 2 == 1
        });
        self.distance *= 2;
    }
}

/// Watches the server of a run, if that is asked for.
#[derive(Debug)]
pub(crate) struct Watcher {
    watch: Option<Watch>,
    warmup: Nanos,
    duration: Nanos,
}

impl Watcher {
    /// Begins before connecting. Of processes that share a run, the one that
    /// started the others watches.
    ///
    /// # Errors
    /// When there is no such process, or no way to see it.
    pub(crate) fn begin(settings: &Settings) -> Result<Self, String> {
        let pid = settings.reporting.server_pid;
        let pid = pid.filter(|_| settings.part.is_none());
        Ok(Self {
            watch: pid.map(Watch::begin).transpose()?,
            warmup: settings.warmup,
            duration: settings.duration,
        })
    }

    /// How long to wait at most until the next look, and at most so long.
    pub(crate) fn interval(&self, control: &Control, now: Nanos, most: Duration) -> Duration {
        let watch = self.watch.as_ref();
        let due = watch.and_then(|watch| watch.due_in(&self.phases(control), now));
        due.map_or(most, |due| most.min(Duration::from_nanos(due)))
    }

    /// Looks at the server if it is time to.
    pub(crate) fn look(&mut self, control: &Control, now: Nanos) {
        let phases = self.phases(control);
        if let Some(watch) = &mut self.watch {
            watch.look(&phases, now);
        }
    }

    /// What was seen, after all connections were closed.
    pub(crate) fn end(self) -> Option<Seen> {
        self.watch.map(Watch::end)
    }

    fn phases<'a>(&self, control: &'a Control) -> Phases<'a> {
        Phases {
            control,
            warmup: self.warmup,
            duration: self.duration,
        }
    }
}

/// When a run measures.
#[derive(Clone, Copy, Debug)]
struct Phases<'a> {
    /// Tells when sending starts and whether the measurement is over.
    control: &'a Control,
    /// From the start of sending to the measurement.
    warmup: Nanos,
    /// The measurement, if nothing ends it before.
    duration: Nanos,
}

impl Phases<'_> {
    fn times(&self) -> Option<Times> {
        let from = self.control.start()?.saturating_add(self.warmup);
        Some(Times {
            from,
            to: from.saturating_add(self.duration),
        })
    }
}

fn used(from: Reading, to: Reading) -> Used {
    let cpu = to.cpu.saturating_sub(from.cpu);
    let user = to.user_ticks.saturating_sub(from.user_ticks);
    let ticks = user + to.system_ticks.saturating_sub(from.system_ticks);
    let split = (ticks > 0).then(|| {
        let user = u128::from(cpu) * u128::from(user) / u128::from(ticks);
        let user = u64::try_from(user).unwrap_or(cpu);
        (user, cpu - user)
    });
    Used {
        length: to.at.saturating_sub(from.at),
        cpu,
        split,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(at: Nanos, cpu: Nanos, user_ticks: u64, system_ticks: u64) -> Reading {
        Reading {
            at,
            cpu,
            user_ticks,
            system_ticks,
            resident: 0,
            threads: 1,
        }
    }

    #[test]
    fn the_exact_sum_is_split_by_ticks() {
        let spent = used(reading(5, 1_000, 10, 10), reading(105, 4_000, 12, 14));
        assert_eq!((spent.length, spent.cpu), (100, 3_000));
        assert_eq!(spent.split, Some((1_000, 2_000)));
    }

    #[test]
    fn without_a_tick_the_split_is_unknown() {
        let spent = used(reading(0, 1_000, 10, 10), reading(100, 1_900, 10, 10));
        assert_eq!((spent.cpu, spent.split), (900, None));
    }

    #[cfg(target_os = "linux")]
    mod on_linux {
        use super::super::*;
        use crate::rooms::Rooms;

        const SECOND: Nanos = 1_000_000_000;

        fn phases(control: &Control) -> Phases<'_> {
            Phases {
                control,
                warmup: SECOND,
                duration: 2_000 * SECOND,
            }
        }

        fn begin() -> Watch {
            Watch::begin(std::process::id()).expect("this process exists")
        }

        #[test]
        fn a_run_is_seen_from_its_landmarks() {
            let control = Control::new(1, 0, Rooms::new(0, 0));
            let (phases, mut watch) = (phases(&control), begin());
            watch.look(&phases, SECOND);
            assert_eq!(watch.due_in(&phases, SECOND), None);
            control.start_at(5 * SECOND);
            watch.look(&phases, 5 * SECOND);
            assert_eq!(watch.due_in(&phases, 5 * SECOND), Some(SECOND));
            watch.look(&phases, 6 * SECOND);
            assert_eq!(watch.due_in(&phases, 6 * SECOND), Some(SECOND));
            control.stop();
            watch.look(&phases, 9 * SECOND);
            assert_eq!(watch.due_in(&phases, 9 * SECOND), None);
            let seen = watch.end();
            assert_eq!(seen.used.map(|used| used.length), Some(3 * SECOND));
            let Memory {
                before,
                open,
                end,
                closed,
            } = seen.memory;
            assert!(
                [before, open, end, closed]
                    .iter()
                    .all(|at| at.is_some_and(|at| at > 4096))
            );
            assert!(seen.threads > 0 && seen.note.is_none(), "{seen:?}");
        }

        #[test]
        fn samples_over_time_are_bounded_and_evenly_spaced() {
            let control = Control::new(1, 0, Rooms::new(0, 0));
            let (phases, mut watch) = (phases(&control), begin());
            control.start_at(0);
            for second in 0..1_900 {
                watch.look(&phases, second * SECOND);
            }
            let samples = &watch.seen.samples;
            assert!(samples.len() <= MAX_SAMPLES, "{}", samples.len());
            assert!(samples.len() > MAX_SAMPLES / 2 - 2, "{}", samples.len());
            let steps: Vec<_> = samples
                .windows(2)
                .map(|two| two[1].at - two[0].at)
                .collect();
            assert!(steps.iter().all(|&step| step == steps[0]), "{steps:?}");
        }

        #[test]
        fn a_run_that_ends_before_its_measurement_has_no_cpu_time() {
            let control = Control::new(1, 0, Rooms::new(0, 0));
            let (phases, mut watch) = (phases(&control), begin());
            control.start_at(0);
            control.stop();
            watch.look(&phases, SECOND / 2);
            watch.look(&phases, 3 * SECOND);
            assert_eq!(watch.end().used, None);
        }
    }
}
