//! A backend whose failed syncs can be made good.
//!
//! After an fsync that failed, the kernel may call pages clean that never
//! reached the disk, and the next fsync succeeds without them. What was written
//! since the last success is therefore kept, and written again before the next
//! try.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use crate::stats::Stats;

/// Bytes kept at most; beyond them the disk is asked at once.
const KEPT: usize = 64 << 20;

/// What was written since the last success, whatever was opened since.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unsynced(Arc<Mutex<Writes>>);

#[derive(Debug, Default)]
struct Writes {
    writes: Vec<(u64, Vec<u8>)>,
    bytes: usize,
    /// Something of it failed.
    failed: bool,
}

/// A backend that writes again what a failed sync may have lost.
#[derive(Debug)]
pub(crate) struct Rewriting<B> {
    inner: B,
    unsynced: Unsynced,
    stats: Arc<Stats>,
}

impl<B: StorageBackend> Rewriting<B> {
    pub(crate) fn new(inner: B, unsynced: Unsynced, stats: Arc<Stats>) -> Self {
        Self {
            inner,
            unsynced,
            stats,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Writes> {
        let lock = self.unsynced.0.lock();
        lock.unwrap_or_else(PoisonError::into_inner)
    }

    fn sync(&self, kept: &mut Writes) -> io::Result<()> {
        if std::mem::replace(&mut kept.failed, true) {
            for (offset, data) in &kept.writes {
                self.inner.write(*offset, data)?;
            }
        }
        self.inner.sync_data()?;
        self.stats.fsyncs.add(1);
        *kept = Writes::default();
        Ok(())
    }
}

impl<B: StorageBackend> StorageBackend for Rewriting<B> {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync(&mut self.lock())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut kept = self.lock();
        if kept.bytes + data.len() > KEPT {
            self.sync(&mut kept)?;
        }
        kept.bytes += data.len();
        kept.writes.push((offset, data.to_vec()));
        let written = self.inner.write(offset, data);
        kept.failed |= written.is_err();
        written
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }
}
