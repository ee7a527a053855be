//! The tables, and what is done to them in one transaction.

use std::time::Duration;

use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, StorageBackend, Table, TableDefinition,
    WriteTransaction,
};

use crate::error::OpenError;
use crate::options::Options;
use crate::queue::{Entry, What};

/// Of what is written; another one is not read.
const FORMAT: u64 = 1;

/// What a publication takes beside its bytes: its entries in two tables.
const PUBLICATION: u64 = 96;

/// What a channel takes beside its names.
const CHANNEL: u64 = 160;

/// Given up in one transaction at most, so that it stays short.
const TRIM: usize = 4096;

/// Memory for pages of the file.
const CACHE: usize = 16 << 20;

/// By namespace and name: number, epoch, last offset, when the last
/// publication expires.
const CHANNELS: TableDefinition<'_, (&str, &str), Channel> = TableDefinition::new("channels");

/// By the channel's number and offset: when it expires, and the publication.
const PUBLICATIONS: TableDefinition<'_, (u64, u64), (u64, &str)> =
    TableDefinition::new("publications");

/// What expires when, of which channel: a publication, or with the offset 0 the
/// channel itself, whose names are the value. A channel that was used since
/// then is put where it belongs once it is met.
const EXPIRY: TableDefinition<'_, (u64, u64, u64), (&str, &str)> = TableDefinition::new("expiry");

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const META_FORMAT: &str = "format";
/// The last number given to a channel.
const META_LAST: &str = "last channel";
const META_BYTES: &str = "bytes";
/// 1: what was told to be safe may be missing, unless the store was closed.
const META_LOOSE: &str = "loose";

/// Number, epoch, last offset, when the last publication expires.
type Channel = (u64, u64, u64, u64);

/// A channel as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its name.
    pub channel: String,
    /// Its epoch.
    pub epoch: u64,
    /// The last offset given.
    pub offset: u64,
    /// The latest publications, the last one with `offset`: how long each is
    /// still to be kept, and what it is.
    pub publications: Vec<(Duration, String)>,
}

/// The database and what is always at hand of it.
#[derive(Debug)]
pub(crate) struct Ledger {
    database: Database,
    counts: Counts,
}

#[derive(Clone, Copy, Debug)]
struct Counts {
    last: u64,
    bytes: u64,
}

/// What a transaction has come to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) expired: usize,
    pub(crate) bytes: u64,
}

impl Ledger {
    /// Opens a database, or makes one where there is nothing.
    pub(crate) fn open(backend: impl StorageBackend, check: bool) -> Result<Self, redb::Error> {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE);
        builder.set_check_integrity_on_open(check);
        let database = builder.create_with_backend(backend)?;
        let read = database.begin_read()?;
        let counts = match read.open_table(META) {
            Ok(meta) => {
                let number = |key| -> Result<u64, redb::Error> {
                    Ok(meta.get(key)?.map_or(0, |value| value.value()))
                };
                Counts {
                    last: number(META_LAST)?,
                    bytes: number(META_BYTES)?,
                }
            }
            Err(redb::TableError::TableDoesNotExist(_)) => Counts { last: 0, bytes: 0 },
            Err(error) => return Err(error.into()),
        };
        drop(read);
        Ok(Self { database, counts })
    }

    /// Bytes of what is kept.
    pub(crate) fn bytes(&self) -> u64 {
        self.counts.bytes
    }

    /// Makes the tables, and gives channels new epochs if what was told to be
    /// safe may have been lost. `loose`: it may be lost from now on.
    pub(crate) fn prepare(&self, options: &Options, loose: bool) -> Result<(), OpenError> {
        let failed = |cause| OpenError::of(&options.path, cause);
        let (found, write) = self.begin_prepare(loose).map_err(failed)?;
        if found != FORMAT {
            return Err(OpenError::Format {
                path: options.path.clone(),
                found,
                known: FORMAT,
            });
        }
        write.commit().map_err(|error| failed(error.into()))
    }

    fn begin_prepare(&self, loose: bool) -> Result<(u64, WriteTransaction), redb::Error> {
        let write = self.database.begin_write()?;
        let found;
        {
            let mut meta = write.open_table(META)?;
            let format = meta.get(META_FORMAT)?.map(|value| value.value());
            found = format.unwrap_or(FORMAT);
            let was_loose = meta
                .get(META_LOOSE)?
                .is_some_and(|value| value.value() != 0);
            meta.insert(META_FORMAT, found)?;
            meta.insert(META_LOOSE, u64::from(loose))?;
            let mut channels = write.open_table(CHANNELS)?;
            write.open_table(PUBLICATIONS)?;
            write.open_table(EXPIRY)?;
            if found == FORMAT && was_loose {
                renew_epochs(&mut channels)?;
            }
        }
        Ok((found, write))
    }

    /// Writes entries, and gives up what is too old or too much.
    pub(crate) fn write(
        &mut self,
        entries: &[Entry],
        options: &Options,
        now: u64,
        durability: Durability,
    ) -> Result<Done, redb::Error> {
        let mut write = self.database.begin_write()?;
        write.set_durability(durability)?;
        let mut counts = self.counts;
        let expired = Tables::open(&write, options, &mut counts)?.run(entries, now)?;
        {
            let mut meta = write.open_table(META)?;
            meta.insert(META_LAST, counts.last)?;
            meta.insert(META_BYTES, counts.bytes)?;
        }
        write.commit()?;
        self.counts = counts;
        Ok(Done {
            expired,
            bytes: counts.bytes,
        })
    }

    /// All that was told to be safe is.
    pub(crate) fn close(&self) -> Result<(), redb::Error> {
        let write = self.database.begin_write()?;
        write.open_table(META)?.insert(META_LOOSE, 0)?;
        write.commit()?;
        Ok(())
    }

    /// Whether something is to be given up.
    pub(crate) fn is_due(&self, now: u64, max_size: u64) -> Result<bool, redb::Error> {
        if self.counts.bytes > max_size {
            return Ok(true);
        }
        let expiry = self.database.begin_read()?.open_table(EXPIRY)?;
        let first = expiry.first()?;
        Ok(first.is_some_and(|(key, _)| key.value().0 <= now))
    }

    /// The channels of a namespace that are `wanted`, with what is to be kept
    /// of each.
    pub(crate) fn read(
        &self,
        namespace: &str,
        size: u64,
        now: u64,
        wanted: &dyn Fn(&str) -> bool,
        found: &mut dyn FnMut(Stored),
    ) -> Result<(), redb::Error> {
        let read = self.database.begin_read()?;
        let channels = read.open_table(CHANNELS)?;
        let publications = read.open_table(PUBLICATIONS)?;
        for entry in channels.range((namespace, "")..)? {
            let (key, value) = entry?;
            let (of, channel) = key.value();
            if of != namespace {
                break;
            }
            if !wanted(channel) {
                continue;
            }
            let (id, epoch, top, _) = value.value();
            let first = (top + 1).saturating_sub(size);
            let mut stored = Stored {
                channel: channel.into(),
                epoch,
                offset: top,
                publications: Vec::new(),
            };
            let mut next = None;
            for entry in publications.range((id, first)..=(id, top))? {
                let (key, value) = entry?;
                let offset = key.value().1;
                let (expires, body) = value.value();
                if next.is_some_and(|next| next != offset) {
                    stored.publications.clear();
                }
                next = Some(offset + 1);
                let left = Duration::from_millis(expires.saturating_sub(now));
                if !left.is_zero() {
                    stored.publications.push((left, body.into()));
                }
            }
            if next != Some(top + 1) {
                stored.publications.clear();
            }
            found(stored);
        }
        Ok(())
    }
}

/// The tables of a transaction.
struct Tables<'t> {
    channels: Table<'t, (&'static str, &'static str), Channel>,
    publications: Table<'t, (u64, u64), (u64, &'static str)>,
    expiry: Table<'t, (u64, u64, u64), (&'static str, &'static str)>,
    options: &'t Options,
    counts: &'t mut Counts,
}

impl<'t> Tables<'t> {
    fn open(
        write: &'t WriteTransaction,
        options: &'t Options,
        counts: &'t mut Counts,
    ) -> Result<Self, redb::Error> {
        Ok(Self {
            channels: write.open_table(CHANNELS)?,
            publications: write.open_table(PUBLICATIONS)?,
            expiry: write.open_table(EXPIRY)?,
            options,
            counts,
        })
    }

    /// How many were given up.
    fn run(mut self, entries: &[Entry], now: u64) -> Result<usize, redb::Error> {
        for entry in entries {
            self.apply(entry)?;
        }
        self.trim(now)
    }

    /// Writes an entry, unless that was done before.
    fn apply(&mut self, entry: &Entry) -> Result<(), redb::Error> {
        let kept = &self.options.namespaces[entry.namespace];
        let names = (&*kept.name, &*entry.channel);
        let found = self.channels.get(names)?.map(|value| value.value());
        match &entry.what {
            What::Forget => {
                if let Some((id, ..)) = found {
                    self.remove_up_to(id, u64::MAX)?;
                }
            }
            What::Publication {
                epoch,
                offset,
                at,
                body,
            } => {
                let known = match found {
                    Some(channel) => channel,
                    None => self.begin(names, *epoch, *at)?,
                };
                let (id, mut top, last) = (known.0, known.2, known.3);
                if known.1 != *epoch {
                    self.remove_up_to(id, u64::MAX)?;
                    top = 0;
                }
                if *offset <= top {
                    return Ok(());
                }
                // Not before the one before it, whatever the clock says: what
                // is kept has no gaps.
                let expires = at.saturating_add(millis(kept.ttl)).max(last);
                self.publications
                    .insert((id, *offset), (expires, &**body))?;
                self.expiry.insert((expires, id, *offset), ("", ""))?;
                self.counts.bytes += PUBLICATION + body.len() as u64;
                self.channels
                    .insert(names, (id, *epoch, *offset, expires))?;
                self.remove_up_to(id, offset.saturating_sub(kept.size))?;
            }
        }
        Ok(())
    }

    /// A channel that is not known.
    fn begin(&mut self, names: (&str, &str), epoch: u64, at: u64) -> Result<Channel, redb::Error> {
        self.counts.last += 1;
        let id = self.counts.last;
        let due = at.saturating_add(millis(self.options.position_ttl));
        self.expiry.insert((due, id, 0), names)?;
        self.counts.bytes += channel_bytes(names);
        Ok((id, epoch, 0, at))
    }

    /// Removes the publications of a channel up to an offset.
    fn remove_up_to(&mut self, id: u64, last: u64) -> Result<(), redb::Error> {
        loop {
            let mut range = self.publications.range((id, 0)..=(id, last))?;
            let Some(first) = range.next().transpose()? else {
                return Ok(());
            };
            let (offset, expires) = (first.0.value().1, first.1.value().0);
            drop((first, range));
            self.expiry.remove((expires, id, offset))?;
            self.remove(id, offset)?;
        }
    }

    fn remove(&mut self, id: u64, offset: u64) -> Result<(), redb::Error> {
        let removed = self.publications.remove((id, offset))?;
        if let Some(removed) = removed {
            let bytes = PUBLICATION + removed.value().1.len() as u64;
            self.counts.bytes = self.counts.bytes.saturating_sub(bytes);
        }
        Ok(())
    }

    /// Gives up what is too old, and what would expire first of what is too
    /// much; how many.
    fn trim(&mut self, now: u64) -> Result<usize, redb::Error> {
        let mut expired = 0;
        for _ in 0..TRIM {
            let Some(first) = self.expiry.first()? else {
                break;
            };
            let (expires, id, offset) = first.0.value();
            if expires > now && self.counts.bytes <= self.options.max_size {
                break;
            }
            let (namespace, channel) = first.1.value();
            let names = (namespace.to_owned(), channel.to_owned());
            drop(first);
            self.expiry.remove((expires, id, offset))?;
            if offset != 0 {
                self.remove(id, offset)?;
                expired += 1;
            } else if self.give_up((&names.0, &names.1), id, expires)? {
                expired += 1;
            }
        }
        Ok(expired)
    }

    /// Gives up a channel whose time has come; `false`: it was used since.
    fn give_up(&mut self, names: (&str, &str), id: u64, expires: u64) -> Result<bool, redb::Error> {
        let last = match self.channels.get(names)?.map(|value| value.value()) {
            Some((known, _, _, last)) if known == id => last,
            _ => return Ok(true),
        };
        let due = last.saturating_add(millis(self.options.position_ttl));
        if due > expires {
            self.expiry.insert((due, id, 0), names)?;
            return Ok(false);
        }
        self.remove_up_to(id, u64::MAX)?;
        self.channels.remove(names)?;
        let bytes = channel_bytes(names);
        self.counts.bytes = self.counts.bytes.saturating_sub(bytes);
        Ok(true)
    }
}

fn channel_bytes((namespace, channel): (&str, &str)) -> u64 {
    CHANNEL + 2 * (namespace.len() + channel.len()) as u64
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Offsets may be given a second time: under epochs nobody has seen they mean
/// something else.
fn renew_epochs(
    channels: &mut Table<'_, (&'static str, &'static str), Channel>,
) -> Result<(), redb::Error> {
    use std::hash::{BuildHasher, RandomState};
    let keys = RandomState::new();
    let mut all = Vec::new();
    for entry in channels.iter()? {
        let (key, value) = entry?;
        let (namespace, channel) = key.value();
        all.push((namespace.to_owned(), channel.to_owned(), value.value()));
    }
    for (namespace, channel, (id, _, top, last)) in all {
        let epoch = keys.hash_one(id);
        channels.insert((&*namespace, &*channel), (id, epoch, top, last))?;
    }
    Ok(())
}
