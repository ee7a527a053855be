//! What happened: a digest of everything, and the latest in words.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use super::op::{Failure, Tag};
use super::world::{DriverId, EndId};
use crate::clock::Nanos;

/// Entries kept to explain a failure; older ones live on in the digest alone.
const KEPT: usize = 512;

/// Something that happened.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) enum Happening {
    Bytes {
        to: EndId,
        len: usize,
    },
    Fin {
        to: EndId,
    },
    Reset {
        to: EndId,
    },
    Syn {
        from: EndId,
        attempt: u32,
    },
    Answer {
        to: EndId,
        ok: bool,
    },
    GaveUp {
        end: EndId,
    },
    Gone {
        end: EndId,
    },
    Closed {
        end: EndId,
    },
    Completed {
        driver: DriverId,
        tag: Tag,
        outcome: Result<usize, Failure>,
    },
    PeerWrote {
        end: EndId,
        len: usize,
    },
    PeerRead {
        end: EndId,
        len: usize,
    },
}

#[derive(Debug, Default)]
pub(super) struct Trace {
    digest: Fnv,
    kept: VecDeque<(Nanos, Happening)>,
}

impl Trace {
    pub(super) fn note(&mut self, at: Nanos, what: Happening) {
        (at, what).hash(&mut self.digest);
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back((at, what));
    }

    /// Equal for equal histories.
    pub(super) fn digest(&self) -> u64 {
        self.digest.finish()
    }

    /// The latest, oldest first.
    pub(super) fn latest(&self) -> Vec<String> {
        let entry = |(at, what): &(Nanos, Happening)| format!("{at:>12} {what:?}");
        self.kept.iter().map(entry).collect()
    }
}

/// FNV-1a: the same on every run, unlike the standard library's hasher.
#[derive(Debug)]
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
