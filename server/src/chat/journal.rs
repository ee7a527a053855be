//! Publications that are written to the store before anybody sees them.
//!
//! A channel's home numbers a publication, has it written, and sends it on once
//! the store says that it is safe; only then is whoever published it answered.
//! So nobody has seen an offset that a restart gives a second time.

use std::collections::VecDeque;
use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use hioload::hub::{Epoch, HubId, Place, Restore, Restored};
use hioload::{Handle, Message, PostError, Prepared, Turn};
use hioload_centrifugo::Error;
use hioload_store::{Refused, Store};

use super::Chat;
use crate::config::ChatSettings;
use crate::site::{Service, Site};

/// Between two tries to tell a shard whose inbox is full.
const BREATH: Duration = Duration::from_millis(1);

/// The store as one shard sees it, and what waits for it here.
#[derive(Default)]
pub(crate) struct Journal {
    store: Option<Store>,
    /// The numbers that namespaces have in the store, by their place in the
    /// settings.
    kept: Vec<Option<usize>>,
    /// Told by the store.
    shard: usize,
    /// In the order of the store's numbers; bounded by its queue.
    waiting: VecDeque<Waiting>,
}

/// Hears what became of a publication.
type Told = Box<dyn FnOnce(Result<Option<Place>, Error>)>;

/// A publication as hubs carry it: text by those who speak JSON, bytes by the
/// others.
#[derive(Debug)]
pub(super) enum Carried {
    Text(String),
    Bytes(Vec<u8>),
}

impl Carried {
    pub(super) fn message(&self) -> Message<'_> {
        match self {
            Self::Text(text) => Message::text(text),
            Self::Bytes(bytes) => Message::binary(bytes),
        }
    }

    /// As the store has it. JSON begins with a brace, base64 never does.
    fn stored(self) -> Arc<str> {
        match self {
            Self::Text(text) => text.into(),
            Self::Bytes(bytes) => BASE64_STANDARD.encode(bytes).into(),
        }
    }
}

/// What [`Carried::stored`] was made of.
fn restored(stored: &str) -> Prepared {
    match BASE64_STANDARD.decode(stored) {
        Ok(bytes) => Prepared::new(Message::binary(&bytes)),
        Err(_json) => Prepared::new(Message::text(stored)),
    }
}

struct Waiting {
    seq: u64,
    hub: HubId,
    channel: Arc<str>,
    /// `None`: what is kept of the channel is to be forgotten.
    publication: Option<(Place, Arc<str>)>,
    tell: Told,
}

impl Journal {
    pub(crate) fn new(store: Option<Store>, settings: &ChatSettings, shard: usize) -> Self {
        let number = |name: &str| store.as_ref()?.namespace(name);
        let namespaces = settings.namespaces.iter();
        Self {
            kept: namespaces.map(|one| number(&one.name)).collect(),
            store,
            shard,
            waiting: VecDeque::new(),
        }
    }

    /// Whether publications of a namespace are written to the store.
    pub(super) fn keeps(&self, namespace: usize) -> bool {
        self.kept[namespace].is_some()
    }

    fn kept(&self, namespace: usize) -> Result<(&Store, usize), Error> {
        let kept = self.store.as_ref().zip(self.kept[namespace]);
        kept.ok_or(Error::Internal)
    }
}

impl Chat {
    /// Publishes at the channel's home, which is here; `tell` hears of it once
    /// it is safe, or that it can not be.
    pub(super) fn publish_safely(
        &mut self,
        turn: &mut Turn<'_, Service>,
        namespace: usize,
        channel: &str,
        body: Carried,
        tell: impl FnOnce(Result<Option<Place>, Error>) + 'static,
    ) {
        let hub = self.hubs[namespace];
        let Some(place) = turn.hub(hub).reserve(channel) else {
            return tell(Err(Error::Internal));
        };
        let (channel, body): (Arc<str>, _) = (channel.into(), body.stored());
        let at = (place.epoch.0, place.offset);
        let journal = &mut self.journal;
        let taken = journal.kept(namespace).and_then(|(store, number)| {
            let taken = store.append(journal.shard, number, &channel, at, &body);
            taken.map_err(refused)
        });
        match taken {
            Ok(seq) => journal.waiting.push_back(Waiting {
                seq,
                hub,
                channel,
                publication: Some((place, body)),
                tell: Box::new(tell),
            }),
            Err(error) => {
                turn.hub(hub).release(&channel);
                tell(Err(error));
            }
        }
    }

    /// Forgets what is kept of a channel whose home is here, in the store too.
    pub(super) fn forget_safely(
        &mut self,
        namespace: usize,
        channel: &str,
        tell: impl FnOnce(Result<Option<Place>, Error>) + 'static,
    ) {
        let hub = self.hubs[namespace];
        let channel: Arc<str> = channel.into();
        let journal = &mut self.journal;
        let taken = journal.kept(namespace).and_then(|(store, number)| {
            let taken = store.forget(journal.shard, number, &channel);
            taken.map_err(refused)
        });
        match taken {
            Ok(seq) => journal.waiting.push_back(Waiting {
                seq,
                hub,
                channel,
                publication: None,
                tell: Box::new(tell),
            }),
            Err(error) => tell(Err(error)),
        }
    }

    /// The store has written all up to a number.
    fn written_up_to(&mut self, turn: &mut Turn<'_, Service>, seq: u64) {
        let waiting = &mut self.journal.waiting;
        while let Some(first) = waiting.pop_front_if(|first| first.seq <= seq) {
            let mut hub = turn.hub(first.hub);
            let place = first.publication.map(|(place, body)| {
                hub.publish_at(&first.channel, restored(&body).message(), place);
                place
            });
            if place.is_none() {
                hub.forget_past(&first.channel);
            }
            (first.tell)(Ok(place));
        }
    }
}

/// What a refusal is to whoever publishes: it may come again.
fn refused(why: Refused) -> Error {
    tracing::debug!(%why, "a publication is refused");
    match why {
        Refused::Full => Error::TooManyRequests,
        _ => Error::Internal,
    }
}

/// Has the store tell the shards what it has written.
#[expect(
    clippy::disallowed_methods,
    reason = "the store's own thread may wait for a shard that is behind"
)]
pub(crate) fn listen(store: &Store, handle: Handle) {
    store.listen(move |shard, seq| {
        let post = || {
            handle.post::<Site, _>(shard, move |site: &mut Site, turn| {
                site.chat().written_up_to(turn, seq);
            })
        };
        while post() == Err(PostError::Full) {
            std::thread::sleep(BREATH);
        }
    });
}

/// What a namespace's hub begins with.
pub(crate) struct FromStore {
    pub(crate) store: Store,
    pub(crate) namespace: usize,
}

impl Restore for FromStore {
    fn restore(
        &self,
        is_home: &dyn Fn(&str) -> bool,
        found: &mut dyn FnMut(Restored<'_>),
    ) -> Result<(), Box<dyn StdError + Send + Sync>> {
        self.store.read(self.namespace, is_home, &mut |stored| {
            let messages = stored.publications.iter();
            let messages = messages
                .map(|(left, body)| (*left, restored(body)))
                .collect();
            found(Restored {
                topic: &stored.channel,
                place: Place {
                    epoch: Epoch(stored.epoch),
                    offset: stored.offset,
                },
                messages,
            });
        })?;
        Ok(())
    }
}
