//! A disk in memory that loses power: what was not synced is gone then, or
//! there in part.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use hioload_store::StorageBackend;

/// What a disk writes as a whole.
const PAGE: usize = 4096;

/// Numbers from a seed (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }
}

#[derive(Debug)]
enum Unsynced {
    Write(usize, Vec<u8>),
    Length(usize),
}

#[derive(Debug, Default)]
struct State {
    /// What survives for certain.
    synced: Vec<u8>,
    /// What is read.
    seen: Vec<u8>,
    unsynced: Vec<Unsynced>,
    /// Writes and syncs until the power goes.
    left: Option<u64>,
    dead: bool,
    /// Syncs that fail from now on, after which the kernel calls their pages
    /// clean all the same.
    failing: u64,
    /// Syncs that wait.
    syncs: u64,
}

/// Cheap to clone: the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Platter(Arc<Mutex<State>>);

impl Platter {
    fn of(image: Vec<u8>) -> Self {
        let state = State {
            synced: image.clone(),
            seen: image,
            ..State::default()
        };
        Self(Arc::new(Mutex::new(state)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic")
    }

    /// The power goes after so many writes and syncs.
    pub(crate) fn cut_after(&self, operations: u64) {
        self.lock().left = Some(operations);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.lock().dead
    }

    pub(crate) fn cut_now(&self) {
        self.lock().dead = true;
    }

    /// The next syncs fail.
    pub(crate) fn fail_syncs(&self, count: u64) {
        self.lock().failing = count;
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// The disk as it is found when the power is back: of what was not synced,
    /// each page with its luck, or nothing.
    pub(crate) fn after_power_loss(&self, random: &mut Random) -> Self {
        let state = self.lock();
        assert!(state.dead, "the power is on");
        let mut image = state.synced.clone();
        if random.below(3) == 0 {
            return Self::of(image);
        }
        for one in &state.unsynced {
            match one {
                Unsynced::Length(length) => {
                    if random.below(2) == 0 {
                        image.resize(*length, 0);
                    }
                }
                Unsynced::Write(offset, data) => {
                    let mut at = 0;
                    while at < data.len() {
                        let end = data.len().min(at + PAGE - (offset + at) % PAGE);
                        if random.below(2) == 0 {
                            write(&mut image, offset + at, &data[at..end]);
                        }
                        at = end;
                    }
                }
            }
        }
        Self::of(image)
    }
}

fn write(image: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(data);
}

impl State {
    /// One more operation; the power may go.
    fn step(&mut self) -> io::Result<()> {
        if self.left == Some(0) {
            self.dead = true;
        }
        self.left = self.left.map(|left| left.saturating_sub(1));
        if self.dead {
            return Err(io::Error::other("the power is gone"));
        }
        Ok(())
    }
}

fn size(offset: u64) -> usize {
    usize::try_from(offset).expect("small")
}

impl StorageBackend for Platter {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.lock();
        let from = size(offset);
        let bytes = state.seen.get(from..from + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.lock();
        state.step()?;
        state.seen.resize(size(len), 0);
        state.unsynced.push(Unsynced::Length(size(len)));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.step()?;
        state.syncs += 1;
        let unsynced = std::mem::take(&mut state.unsynced);
        if state.failing > 0 {
            state.failing -= 1;
            return Err(io::Error::other("the disk has a bad day"));
        }
        for one in unsynced {
            match one {
                Unsynced::Write(offset, data) => write(&mut state.synced, offset, &data),
                Unsynced::Length(length) => state.synced.resize(length, 0),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        state.step()?;
        write(&mut state.seen, size(offset), data);
        let data = data.to_vec();
        state.unsynced.push(Unsynced::Write(size(offset), data));
        Ok(())
    }
}
