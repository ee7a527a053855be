//! How much a connection may ask for: a token bucket for each kind of command.
//! What is beyond it is refused (111); a client that goes on is disconnected.

use hioload::Nanos;
use hioload_centrifugo::{Disconnect, Error, Request};

use crate::config::{Rate, RatesTable};

/// A connection's buckets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rates {
    publish: Bucket,
    subscribe: Bucket,
    read: Bucket,
    rpc: Bucket,
    other: Bucket,
    refused: Bucket,
    errors: Bucket,
}

/// A bucket, as the time when it is full again.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    full_at: Nanos,
}

impl Bucket {
    /// Takes one out; whether there was one.
    fn take(&mut self, rate: Rate, now: Nanos) -> bool {
        let Some((each, span)) = rate.nanos() else {
            return true;
        };
        let full_at = self.full_at.max(now).saturating_add(each);
        let was_there = full_at - now <= span;
        if was_there {
            self.full_at = full_at;
        }
        was_there
    }
}

impl Rates {
    /// Whether a command is done, or refused. An `Err` ends the connection.
    pub(super) fn admit(
        &mut self,
        request: &Request<'_>,
        rates: &RatesTable,
        now: Nanos,
    ) -> Result<Result<(), Error>, Disconnect> {
        let (bucket, rate) = match request {
            Request::Publish(_) => (&mut self.publish, rates.publish),
            Request::Subscribe(_) => (&mut self.subscribe, rates.subscribe),
            Request::History(_) | Request::Presence(_) | Request::PresenceStats(_) => {
                (&mut self.read, rates.read)
            }
            Request::Rpc(_) | Request::Send(_) => (&mut self.rpc, rates.rpc),
            Request::Unsubscribe(_)
            | Request::Refresh(_)
            | Request::SubRefresh(_)
            | Request::Ping => (&mut self.other, rates.other),
            // Each is possible once, or once in the ping's interval.
            Request::Connect(_) | Request::Pong => return Ok(Ok(())),
        };
        if bucket.take(rate, now) {
            return Ok(Ok(()));
        }
        if self.refused.take(rates.refused, now) {
            return Ok(Err(Error::TooManyRequests));
        }
        Err(Disconnect::TooManyRequests)
    }

    /// A command has failed. An `Err` ends the connection.
    pub(super) fn failed(&mut self, rates: &RatesTable, now: Nanos) -> Result<(), Disconnect> {
        if self.errors.take(rates.errors, now) {
            Ok(())
        } else {
            Err(Disconnect::TooManyErrors)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    fn rate(text: &str) -> Rate {
        Rate::try_from(text.to_owned()).unwrap()
    }

    /// How many of these many at once are taken.
    fn taken(bucket: &mut Bucket, rate: Rate, now: Nanos, tries: usize) -> usize {
        (0..tries).filter(|_| bucket.take(rate, now)).count()
    }

    #[test]
    fn a_bucket_holds_its_count_and_fills_evenly() {
        let rate = rate("10/5s");
        let mut bucket = Bucket::default();
        let begin = 77 * SECOND;
        assert_eq!(taken(&mut bucket, rate, begin, 20), 10);
        assert_eq!(taken(&mut bucket, rate, begin + SECOND / 2 - 1, 5), 0);
        assert_eq!(taken(&mut bucket, rate, begin + SECOND / 2, 5), 1);
        assert_eq!(taken(&mut bucket, rate, begin + 2 * SECOND, 5), 3);
        assert_eq!(taken(&mut bucket, rate, begin + 100 * SECOND, 20), 10);
        assert_eq!(taken(&mut bucket, self::rate("off"), begin, 1000), 1000);
    }

    #[test]
    fn kinds_have_buckets_of_their_own_and_going_on_ends_the_connection() {
        let rates = RatesTable {
            other: rate("2/1h"),
            refused: rate("3/1h"),
            errors: rate("1/1h"),
            ..RatesTable::default()
        };
        let mut client = Rates::default();
        let ping = || Request::Ping;
        for _ in 0..2 {
            assert_eq!(client.admit(&ping(), &rates, 5), Ok(Ok(())));
        }
        for _ in 0..3 {
            let refused = client.admit(&ping(), &rates, 5);
            assert_eq!(refused, Ok(Err(Error::TooManyRequests)));
            assert_eq!(client.admit(&Request::Pong, &rates, 5), Ok(Ok(())));
        }
        let closed = client.admit(&ping(), &rates, 5);
        assert_eq!(closed, Err(Disconnect::TooManyRequests));
        assert_eq!(client.failed(&rates, 5), Ok(()));
        assert_eq!(client.failed(&rates, 5), Err(Disconnect::TooManyErrors));
    }
}
