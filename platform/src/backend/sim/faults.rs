//! What may go wrong, how likely, and how often it did.

use crate::clock::Nanos;

/// One thing that may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Fault {
    /// A parcel on the network or a completion arrives late, by up to
    /// [`Faults::longest_delay`].
    Delay,
    /// A completion overtakes those of other sockets, never those of its own.
    Reorder,
    /// A receive delivers only a part of what is there.
    PartialRead,
    /// A send completes with only a part taken.
    ShortSend,
    /// A receive ends for want of a buffer although there is one.
    PoolExhausted,
    /// A connection is reset instead of carrying bytes.
    Reset,
    /// A peer is silently gone when it next writes: nothing it is sent is ever
    /// acknowledged.
    HalfOpen,
    /// Accepting fails with `ECONNABORTED`; the connection is gone.
    AcceptAborted,
    /// Accepting fails with `EMFILE`; the connection waits.
    AcceptStarved,
    /// A wake arrives late, by up to [`Faults::longest_delay`].
    WakeDelay,
    /// A peer has a window of some hundred bytes and opens it late.
    SlowReader,
    /// A connect is refused although somebody listens.
    ConnectRefused,
    /// A connect gets no answer, ever.
    ConnectSilent,
    /// A completion for a socket closed before comes late.
    Stale,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Delay,
        Self::Reorder,
        Self::PartialRead,
        Self::ShortSend,
        Self::PoolExhausted,
        Self::Reset,
        Self::HalfOpen,
        Self::AcceptAborted,
        Self::AcceptStarved,
        Self::WakeDelay,
        Self::SlowReader,
        Self::ConnectRefused,
        Self::ConnectSilent,
        Self::Stale,
    ];
}

/// The probability of each [`Fault`], rolled every time it could happen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Faults {
    probabilities: [f64; Fault::ALL.len()],
    /// The longest delay of [`Fault::Delay`] and [`Fault::WakeDelay`], in
    /// nanoseconds.
    pub longest_delay: Nanos,
}

impl Faults {
    /// Nothing goes wrong.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            probabilities: [0.0; Fault::ALL.len()],
            longest_delay: 5_000_000,
        }
    }

    /// Everything goes wrong now and then, yet most connections live to say
    /// some hundred things.
    #[must_use]
    pub const fn rough() -> Self {
        Self::none()
            .with(Fault::Delay, 0.1)
            .with(Fault::Reorder, 0.1)
            .with(Fault::PartialRead, 0.15)
            .with(Fault::ShortSend, 0.15)
            .with(Fault::PoolExhausted, 0.05)
            .with(Fault::Reset, 0.002)
            .with(Fault::HalfOpen, 0.002)
            .with(Fault::AcceptAborted, 0.05)
            .with(Fault::AcceptStarved, 0.05)
            .with(Fault::WakeDelay, 0.1)
            .with(Fault::SlowReader, 0.05)
            .with(Fault::ConnectRefused, 0.02)
            .with(Fault::ConnectSilent, 0.01)
            .with(Fault::Stale, 0.2)
    }

    /// The same with another probability for `fault`.
    #[must_use]
    pub const fn with(mut self, fault: Fault, probability: f64) -> Self {
        self.probabilities[fault as usize] = probability;
        self
    }

    /// The probability of `fault`.
    #[must_use]
    pub const fn probability(&self, fault: Fault) -> f64 {
        self.probabilities[fault as usize]
    }
}

/// How often each [`Fault`] happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts([u64; Fault::ALL.len()]);

impl FaultCounts {
    /// How often `fault` happened.
    #[must_use]
    pub const fn of(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }

    /// Those that did not happen.
    pub fn missing(&self) -> impl Iterator<Item = Fault> + '_ {
        Fault::ALL.into_iter().filter(|&fault| self.of(fault) == 0)
    }

    pub(super) fn add(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }
}

const _: () = {
    let mut index = 0;
    while index < Fault::ALL.len() {
        assert!(Fault::ALL[index] as usize == index, "the list is in order");
        index += 1;
    }
};
