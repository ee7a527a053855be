//! A store as the chat sees it.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redb::StorageBackend;

use crate::disk::Disk;
use crate::error::{OpenError, Refused, Unwritten};
use crate::ledger::{Ledger, Stored};
use crate::options::{Options, Sync};
use crate::queue::{Entry, Queue, What};
use crate::rewriting::{Rewriting, Unsynced};
use crate::stats::Stats;
use crate::writer::{Ended, Shared, Writer, now};

/// A store that is open. Cheap to clone; [`close`](Self::close) it in the end.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    options: Options,
    ledger: Shared,
    queue: Arc<Queue>,
    stats: Arc<Stats>,
    listeners: Arc<Listeners>,
    /// Before the start.
    writer: Mutex<Option<Box<dyn FnOnce() -> Ended + Send>>>,
    thread: Mutex<Option<JoinHandle<Ended>>>,
}

/// Hears up to which number the entries of a lane are safe.
type Listener = Box<dyn Fn(usize, u64) + Send + std::marker::Sync>;

/// Who hears what is safe.
#[derive(Default)]
pub(crate) struct Listeners(OnceLock<Listener>);

impl Listeners {
    pub(crate) fn tell(&self, lane: usize, seq: u64) {
        if let Some(listener) = self.0.get() {
            listener(lane, seq);
        }
    }
}

impl Store {
    /// Opens a file, or makes one. What is appended waits until it is
    /// [started](Self::start).
    ///
    /// # Errors
    /// [`OpenError`]: it is damaged, in use, or not ours to write.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let disk = Disk::open(&options.path)?;
        Self::open_on(move || Ok(disk.clone()), options)
    }

    /// As [`open`](Self::open), on whatever `medium` gives: it is called again
    /// after an error, once what it gave before was closed.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_on<B, M>(mut medium: M, options: Options) -> Result<Self, OpenError>
    where
        B: StorageBackend,
        M: FnMut() -> io::Result<B> + Send + 'static,
    {
        let stats = Arc::new(Stats::default());
        let unsynced = Unsynced::default();
        let failed = |cause| OpenError::of(&options.path, cause);
        let backend = medium().map_err(|error| failed(error.into()))?;
        let backend = Rewriting::new(backend, unsynced.clone(), Arc::clone(&stats));
        let ledger = Ledger::open(backend, true).map_err(failed)?;
        ledger.prepare(&options, matches!(options.sync, Sync::Interval(_)))?;
        stats.kept_bytes.set(ledger.bytes());
        let ledger: Shared = Arc::new(RwLock::new(Some(ledger)));
        let queue = Queue::new(options.queue, options.queue_bytes, Arc::clone(&stats));
        let queue = Arc::new(queue);
        let listeners = Arc::new(Listeners::default());
        let writer = Writer {
            options: options.clone(),
            ledger: Arc::clone(&ledger),
            queue: Arc::clone(&queue),
            stats: Arc::clone(&stats),
            listeners: Arc::clone(&listeners),
            medium,
            unsynced,
            loose: Vec::new(),
            applied: 0,
            synced: Instant::now(),
        };
        let end = CloseAtEnd(Arc::clone(&queue));
        let writer = Box::new(move || {
            let _end = end;
            writer.run()
        });
        Ok(Self(Arc::new(Inner {
            options,
            ledger,
            queue,
            stats,
            listeners,
            writer: Mutex::new(Some(writer)),
            thread: Mutex::new(None),
        })))
    }

    /// Starts the thread that writes, with the CPUs and signals of the one that
    /// calls. Does nothing the second time.
    ///
    /// # Errors
    /// [`OpenError::Thread`]
    pub fn start(&self) -> Result<(), OpenError> {
        let Some(writer) = taken(&self.0.writer) else {
            return Ok(());
        };
        let thread = std::thread::Builder::new().name("store".into());
        let thread = thread.spawn(writer).map_err(OpenError::Thread)?;
        *self.0.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    /// Who hears that all entries of a lane up to a number are safe. It is
    /// called by the thread that writes, for each batch; only the first one
    /// given is.
    pub fn listen(&self, listener: impl Fn(usize, u64) + Send + std::marker::Sync + 'static) {
        let _first = self.0.listeners.0.set(Box::new(listener));
    }

    /// The number of a namespace that is kept.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<usize> {
        let mut namespaces = self.0.options.namespaces.iter();
        namespaces.position(|kept| kept.name == name)
    }

    /// Has a publication written; its number. Never blocks for the disk.
    /// Offsets of a channel grow by one.
    ///
    /// # Errors
    /// [`Refused`]: it will not be written.
    pub fn append(
        &self,
        lane: usize,
        namespace: usize,
        channel: &Arc<str>,
        (epoch, offset): (u64, u64),
        body: &Arc<str>,
    ) -> Result<u64, Refused> {
        let what = What::Publication {
            epoch,
            offset,
            at: now(),
            body: Arc::clone(body),
        };
        self.push(lane, namespace, channel, what)
    }

    /// Has the publications of a channel removed; its position stays.
    ///
    /// # Errors
    /// [`Refused`]: they stay.
    pub fn forget(
        &self,
        lane: usize,
        namespace: usize,
        channel: &Arc<str>,
    ) -> Result<u64, Refused> {
        self.push(lane, namespace, channel, What::Forget)
    }

    fn push(
        &self,
        lane: usize,
        namespace: usize,
        channel: &Arc<str>,
        what: What,
    ) -> Result<u64, Refused> {
        self.0.queue.push(Entry {
            seq: 0,
            lane,
            namespace,
            channel: Arc::clone(channel),
            what,
        })
    }

    /// Gives `found` the channels of a namespace that are `wanted`. For the
    /// start: it reads the disk, and nothing is written meanwhile.
    ///
    /// # Errors
    /// It can not be read.
    ///
    /// # Panics
    /// When there is no such namespace.
    pub fn read(
        &self,
        namespace: usize,
        wanted: &dyn Fn(&str) -> bool,
        found: &mut dyn FnMut(Stored),
    ) -> Result<(), OpenError> {
        let Inner {
            options, ledger, ..
        } = &*self.0;
        let kept = &options.namespaces[namespace];
        let ledger = ledger.read().unwrap_or_else(PoisonError::into_inner);
        let failed = |cause| OpenError::of(&options.path, cause);
        let ledger = ledger
            .as_ref()
            .ok_or_else(|| failed(io::Error::other("an error was met before").into()))?;
        ledger
            .read(&kept.name, kept.size, now(), wanted, found)
            .map_err(failed)
    }

    /// What it has done, in the Prometheus text format.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.0.stats.render()
    }

    /// Takes nothing more, and waits until all is written, but no longer than
    /// `patience` if the disk fails.
    ///
    /// # Errors
    /// [`Unwritten`]: some of what was taken is lost.
    pub fn close(&self, patience: Duration) -> Result<(), Unwritten> {
        self.0.queue.close(Instant::now() + patience);
        let panicked = |_| Err("the thread that writes panicked".into());
        let ended = match (taken(&self.0.thread), taken(&self.0.writer)) {
            (Some(thread), _) => thread.join().unwrap_or_else(panicked),
            (None, Some(writer)) => writer(),
            (None, None) => return Ok(()),
        };
        // Whoever opens the file next finds it closed.
        *self
            .0
            .ledger
            .write()
            .unwrap_or_else(PoisonError::into_inner) = None;
        ended.map_err(|cause| Unwritten {
            count: self.0.queue.left(),
            cause,
        })
    }
}

fn taken<T>(from: &Mutex<Option<T>>) -> Option<T> {
    from.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.0.options.path)
            .finish_non_exhaustive()
    }
}

/// A thread that ends, for whatever reason, takes nothing more.
struct CloseAtEnd(Arc<Queue>);

impl Drop for CloseAtEnd {
    fn drop(&mut self) {
        self.0.close(Instant::now());
    }
}

impl OpenError {
    /// What an error of the database means to whoever runs the server.
    pub(crate) fn of(path: &Path, cause: redb::Error) -> Self {
        let path = path.into();
        match cause {
            redb::Error::Corrupted(cause) => Self::Corrupt { path, cause },
            redb::Error::RepairAborted | redb::Error::UpgradeRequired(_) => Self::Corrupt {
                path,
                cause: cause.to_string(),
            },
            redb::Error::Io(source) if source.kind() == io::ErrorKind::InvalidData => {
                Self::Corrupt {
                    path,
                    cause: source.to_string(),
                }
            }
            redb::Error::Io(source) => Self::Io { path, source },
            cause => Self::Failed { path, cause },
        }
    }
}
