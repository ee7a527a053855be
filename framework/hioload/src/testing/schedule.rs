//! Who acts next, and how time passes.

use std::time::Duration;

use hioload_platform::Nanos;
use hioload_platform::clock::nanos;

use super::journal::Entry;
use super::simulation::Simulated;
use super::stuck::Stuck;
use crate::app::App;

/// Steps without time passing that can be no honest work: a turn takes up to
/// 1024 events, and no test of a few hundred connections makes work for a
/// hundred thousand turns at once.
const STILL: u32 = 100_000;

/// How long a stall lasts at most: a time slice of the system's scheduler.
const LONGEST_STALL: usize = 3_000_000;

/// Somebody who has something to do.
#[derive(Clone, Copy, Debug)]
enum Actor {
    Shard(usize),
    Client(usize),
    Worker,
}

impl<A: App> Simulated<A> {
    /// One step: somebody who has something to do does it, or time passes to
    /// what is due next, but not beyond `until`. False when nothing is left to
    /// do by then; it is `until` then.
    ///
    /// # Errors
    /// [`Stuck::Still`] when time should have passed long ago, and
    /// [`Stuck::Driver`].
    pub fn step(&mut self, until: Nanos) -> Result<bool, Stuck> {
        self.workshop.begin(self.net.now(), &self.net);
        let actors = self.actors();
        if actors.is_empty() {
            let due = self.due().filter(|&due| due <= until);
            self.pass(due.unwrap_or(until));
            return Ok(due.is_some());
        }
        self.still += 1;
        if self.still > STILL {
            return Err(Stuck::Still {
                at: self.now(),
                steps: self.still,
            });
        }
        if self.stalls > 0.0 && self.is_stalled() {
            let now = self.now();
            self.journal.note(now, Entry::Stall);
            let stall = now + 1 + self.choose(LONGEST_STALL) as Nanos;
            self.pass(stall.min(until));
        } else {
            self.act(actors[self.choose(actors.len())])?;
        }
        Ok(self.now() < until || !self.actors().is_empty())
    }

    /// Runs for a while.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn run_for(&mut self, time: Duration) -> Result<(), Stuck> {
        let until = self.now().saturating_add(nanos(time));
        while self.step(until)? {}
        Ok(())
    }

    /// Runs until `met` says so; it is asked before every step.
    ///
    /// # Errors
    /// [`Stuck::Unmet`] when it has not said so within that time of the
    /// simulation's clock, and as [`step`](Self::step).
    pub fn run_until(
        &mut self,
        within: Duration,
        mut met: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), Stuck> {
        let until = self.now().saturating_add(nanos(within));
        while !met(self) {
            if !self.step(until)? {
                let at = self.now();
                return if met(self) {
                    Ok(())
                } else {
                    Err(Stuck::Unmet { at, within })
                };
            }
        }
        Ok(())
    }

    /// Those who have something to do now.
    fn actors(&self) -> Vec<Actor> {
        let now = self.now();
        let shards = self.shards.iter().enumerate().filter_map(|(index, shard)| {
            let due = shard.as_ref()?.next_time()?;
            (due <= now).then_some(Actor::Shard(index))
        });
        let clients = self
            .clients
            .iter()
            .enumerate()
            .filter_map(|(index, client)| client.is_ready(now).then_some(Actor::Client(index)));
        let ended = self.workshop.next_time().filter(|&end| end <= now);
        let worker = ended.map(|_| Actor::Worker);
        shards.chain(clients).chain(worker).collect()
    }

    fn act(&mut self, actor: Actor) -> Result<(), Stuck> {
        let now = self.now();
        match actor {
            Actor::Client(client) => {
                self.clients[client].act(now);
                self.note_seen(client);
            }
            Actor::Worker => {
                self.journal.note(now, Entry::Worked);
                self.workshop.finish_one();
            }
            Actor::Shard(shard) => {
                self.journal.note(now, Entry::Turn { shard });
                let Some(running) = &mut self.shards[shard] else {
                    return Ok(());
                };
                running.turn()?;
                if running.is_over() {
                    self.journal.note(now, Entry::Over { shard });
                    self.residue.lost_buffers += running.lost_buffers() as u64;
                    let (core, driver) = running.parts();
                    self.residue.add_shard(core, &driver);
                    self.shards[shard] = None;
                    self.handle.end(shard);
                }
            }
        }
        Ok(())
    }

    /// When something is due, if nobody acts before.
    fn due(&self) -> Option<Nanos> {
        let now = self.now();
        let shards = self
            .shards
            .iter()
            .flatten()
            .filter_map(|shard| shard.next_time());
        let clients = self
            .clients
            .iter()
            .filter_map(|client| client.next_time(now));
        shards
            .chain(clients)
            .chain(self.net.next_event_time())
            .chain(self.workshop.next_time())
            .min()
    }

    fn pass(&mut self, until: Nanos) {
        let before = self.now();
        self.net.advance_to(until.max(before));
        if self.now() > before {
            self.still = 0;
        }
    }

    fn is_stalled(&self) -> bool {
        // The upper 53 bits are exact in a float.
        let unit = (self.net.bits() >> 11) as f64 / (1u64 << 53) as f64;
        unit < self.stalls
    }
}
