//! Publications made last, whose memory the next ones are made of.

use std::collections::VecDeque;
use std::sync::Arc;

use hioload_platform::Token;

use super::encoded::Encoded;
use super::options::HubId;
use super::publication::Publication;
use crate::app::Message;

/// Publications kept. Frames that are copied to their subscribers are free
/// again at once, those sent by reference or on other shards a turn or two
/// later.
const KEPT: usize = 16;

/// Messages up to this size are kept: what arrives within one receive buffer.
/// With [`KEPT`] it bounds what a shard holds, 1 MiB.
const KEPT_BYTES: usize = 64 << 10;

/// The last publications of a shard, oldest first. One that nobody else holds
/// any more becomes the next, so that a steady stream of them allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Recent(VecDeque<Arc<Publication>>);

/// What a publication is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) hub: HubId,
    pub(crate) topic: &'a str,
    /// The topic's name where this shard has it already.
    pub(crate) name: Option<&'a Arc<str>>,
    pub(crate) message: Message<'a>,
    pub(crate) except: Option<(usize, Token)>,
}

impl Recent {
    /// A publication without a place.
    pub(crate) fn publication(&mut self, parts: &Parts<'_>) -> Arc<Publication> {
        if parts.message.payload().len() > KEPT_BYTES {
            return Arc::new(parts.make());
        }
        let renewed = self.0.pop_front().and_then(|mut oldest| {
            if parts.renew(&mut oldest) {
                return Some(oldest);
            }
            // Somebody holds it. Where there is room it is looked at again;
            // else it makes room for what may be free earlier.
            if self.0.len() + 1 < KEPT {
                self.0.push_front(oldest);
            }
            None
        });
        let publication = renewed.unwrap_or_else(|| Arc::new(parts.make()));
        self.0.push_back(Arc::clone(&publication));
        publication
    }
}

impl Parts<'_> {
    fn make(&self) -> Publication {
        Publication {
            hub: self.hub,
            topic: self.name.map_or_else(|| self.topic.into(), Arc::clone),
            encoded: Encoded::new(self.message),
            place: None,
            except: self.except,
        }
    }

    /// Whether `used` was free to become this.
    fn renew(&self, used: &mut Arc<Publication>) -> bool {
        let Some(publication) = Arc::get_mut(used) else {
            return false;
        };
        if !publication.encoded.renew(self.message) {
            return false;
        }
        if let Some(name) = self.name {
            publication.topic = Arc::clone(name);
        } else if &*publication.topic != self.topic {
            publication.topic = self.topic.into();
        }
        publication.hub = self.hub;
        publication.place = None;
        publication.except = self.except;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(recent: &mut Recent, text: &str) -> Arc<Publication> {
        recent.publication(&Parts {
            hub: HubId::DEFAULT,
            topic: "t",
            name: None,
            message: Message::text(text),
            except: None,
        })
    }

    #[test]
    fn one_that_is_over_becomes_the_next() {
        let mut recent = Recent::default();
        let first = Arc::as_ptr(&publish(&mut recent, "1"));
        let second = publish(&mut recent, "2");
        assert_eq!(Arc::as_ptr(&second), first);
        assert_eq!(second.encoded.message(), Message::text("2"));
        assert_eq!(recent.0.len(), 1);
    }

    #[test]
    fn what_somebody_holds_stays_as_it_is() {
        let mut recent = Recent::default();
        let held: Vec<_> = (0..3 * KEPT)
            .map(|n| publish(&mut recent, &n.to_string()))
            .collect();
        for (n, publication) in held.iter().enumerate() {
            assert_eq!(publication.encoded.message(), Message::text(&n.to_string()));
        }
        assert_eq!(recent.0.len(), KEPT);
        let kept = publish(&mut recent, "kept").encoded.clone();
        drop(held);
        for n in 0..3 * KEPT {
            publish(&mut recent, &n.to_string());
        }
        assert_eq!(kept.message(), Message::text("kept"));
    }

    #[test]
    fn large_ones_are_not_kept() {
        let mut recent = Recent::default();
        publish(&mut recent, &"x".repeat(KEPT_BYTES + 1));
        assert!(recent.0.is_empty());
    }
}
