//! Events in batches, posted to a receiver.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use uuid::Uuid;

use super::deliver::Tried;
use super::event::Event;
use super::sign::signature;
use crate::bridge;
use crate::config::Webhook;

/// Names a batch, the same one each time it is tried.
const DELIVERY: &str = "X-Hioload-Delivery";

/// By the secret, with the time of the try.
const SIGNATURE: &str = "X-Hioload-Signature";

/// Bytes of an answer that are read, so that its connection serves again; one
/// that is longer is cut off.
const MAX_ANSWER: usize = 16 << 10;

/// Posts to one receiver.
#[derive(Debug)]
pub(super) struct Poster {
    client: Client,
    settings: Webhook,
}

/// A request that is tried until it is answered well.
pub(super) struct Delivery {
    id: String,
    body: String,
}

impl Delivery {
    pub(super) fn new(events: &[Arc<Event>]) -> Self {
        let id = Uuid::new_v4().to_string();
        let written: Vec<_> = events.iter().map(|event| event.written()).collect();
        let (sent_at, written) = (since_1970().as_millis(), written.join(","));
        let body = format!("{{\"id\":\"{id}\",\"sent_at\":{sent_at},\"events\":[{written}]}}");
        Self { id, body }
    }
}

impl Poster {
    pub(super) fn new(settings: &Webhook) -> Result<Self, reqwest::Error> {
        bridge::provide_crypto();
        let mut builder = Client::builder()
            .user_agent(concat!("hioload-server/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(settings.sink.workers)
            .connect_timeout(settings.timeout)
            .timeout(settings.timeout);
        if settings.url.scheme() == "http" {
            // Nobody's certificate is looked at, so there need not be any.
            builder = builder.tls_certs_only([]);
        }
        Ok(Self {
            client: builder.build()?,
            settings: settings.clone(),
        })
    }

    pub(super) async fn post(&self, delivery: &Delivery) -> Tried {
        let mut request = self
            .client
            .post(self.settings.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(DELIVERY, &delivery.id)
            .body(delivery.body.clone());
        if let Some(secret) = self.settings.secret.bytes() {
            let now = since_1970().as_secs();
            let value = signature(secret, now, delivery.body.as_bytes());
            request = request.header(SIGNATURE, value);
        }
        match request.send().await {
            Ok(answer) => self.answered(answer).await,
            // The address may have a secret in it.
            Err(error) => Tried::NotYet {
                why: causes(&error.without_url()),
                after: None,
            },
        }
    }

    async fn answered(&self, mut answer: Response) -> Tried {
        let status = answer.status();
        let after = asked(answer.headers());
        let mut read = 0;
        while let Ok(Some(chunk)) = answer.chunk().await {
            read += chunk.len();
            if read > MAX_ANSWER {
                break;
            }
        }
        judged(status, after)
    }
}

fn judged(status: StatusCode, after: Option<Duration>) -> Tried {
    let why = format!("it answers {status}");
    let waits = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    if status.is_success() {
        Tried::Delivered
    } else if status.is_server_error() || waits.contains(&status) {
        Tried::NotYet { why, after }
    } else {
        Tried::Never(why)
    }
}

/// How long the receiver wants to have peace; a date is not understood.
fn asked(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse();
    seconds.ok().map(Duration::from_secs)
}

/// An error with what led to it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        said = format!("{said}: {cause}");
        next = cause.source();
    }
    said
}

fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::event::testing::event;
    use super::*;

    #[test]
    fn a_batch_is_one_object_with_its_events_in_order() {
        let delivery = Delivery::new(&[event(1, "{}"), event(2, "[3]")]);
        let body: serde_json::Value = serde_json::from_str(&delivery.body).unwrap();
        assert_eq!(body["id"], *delivery.id);
        assert!(body["sent_at"].as_u64().unwrap() > 1_700_000_000_000);
        let events = body["events"].as_array().unwrap();
        let ids: Vec<_> = events.iter().map(|event| &event["id"]).collect();
        assert_eq!(ids, ["run-1", "run-2"]);
        assert_eq!(events[1]["data"][0], 3);
    }

    #[test]
    fn only_what_may_change_is_tried_again() {
        for (status, again, delivered) in [
            (200, false, true),
            (204, false, true),
            (301, false, false),
            (400, false, false),
            (404, false, false),
            (408, true, false),
            (429, true, false),
            (500, true, false),
            (503, true, false),
        ] {
            let tried = judged(StatusCode::from_u16(status).unwrap(), None);
            let found = match tried {
                Tried::Delivered => (false, true),
                Tried::NotYet { .. } => (true, false),
                Tried::Never(_) => (false, false),
            };
            assert_eq!(found, (again, delivered), "{status}");
        }
    }

    #[test]
    fn a_wish_for_peace_is_a_number_of_seconds() {
        for (value, seconds) in [("7", Some(7)), ("soon", None), ("-1", None)] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
            assert_eq!(asked(&headers), seconds.map(Duration::from_secs), "{value}");
        }
        assert_eq!(asked(&HeaderMap::new()), None);
    }
}
