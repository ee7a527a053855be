//! What calls are answered.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use hioload::Response;
use hioload::hub::Place;
use hioload_centrifugo::{Empty, Error};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Call, Method, Step};
use crate::chat::VERSION;
use crate::chat::rules::ServerInfo;
use crate::chat::subscribe::written;

/// What became of a part.
#[derive(Clone, Debug)]
pub(super) enum Done {
    /// There is nothing to say.
    Nothing,
    /// Written JSON.
    Result(Box<RawValue>),
    Failed(Error),
    /// Clients by channel, on one shard.
    Channels(BTreeMap<Box<str>, usize>),
    Info(Info),
}

/// What one shard has.
#[derive(Clone, Debug)]
pub(super) struct Info {
    pub(super) clients: usize,
    pub(super) users: HashSet<Arc<str>>,
    /// On all shards.
    pub(super) channels: usize,
    pub(super) server: ServerInfo,
}

/// Where a publication is.
#[derive(Debug, Serialize)]
struct Published {
    offset: u64,
    epoch: String,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome<'a> {
    Result(&'a RawValue),
    Error { code: u32, message: &'static str },
}

impl Done {
    pub(super) fn result(result: &impl Serialize) -> Self {
        serde_json::value::to_raw_value(result).map_or(Self::Failed(Error::Internal), Self::Result)
    }
}

impl Done {
    /// What was published has this place.
    pub(super) fn published(place: Option<Place>) -> Self {
        place.map_or(Self::Nothing, |place| {
            Self::result(&Published {
                offset: place.offset,
                epoch: written(place.epoch),
            })
        })
    }
}

impl From<Error> for Outcome<'_> {
    fn from(error: Error) -> Self {
        Self::Error {
            code: error.code(),
            message: error.message(),
        }
    }
}

impl Call {
    /// The answer, once all is done.
    pub(super) fn answer(&self) -> Response {
        if self.method != Method::Batch {
            return match self.steps.first().map(Step::outcome) {
                Some(Ok(result)) => respond(&Outcome::Result(&result)),
                Some(Err(error)) => failed(error),
                None => failed(Error::Internal),
            };
        }
        // As Centrifugo writes it, not inside of a result.
        let replies = self.steps.iter().map(|step| match step.outcome() {
            Ok(result) => BTreeMap::from([(step.method.name(), result)]),
            Err(error) => {
                let (code, message) = (error.code(), error.message());
                let error = json!({ "code": code, "message": message });
                BTreeMap::from([("error", json_of(&error))])
            }
        });
        let replies: Vec<_> = replies.collect();
        respond(&BTreeMap::from([("replies", replies)]))
    }
}

impl Step {
    /// What it came to, once all parts are done.
    fn outcome(&self) -> Result<Box<RawValue>, Error> {
        if let Some(error) = self.refused {
            return Err(error);
        }
        let nothing = json_of(&Empty {});
        let outcome = |part: &Option<Done>| match part {
            Some(Done::Failed(error)) => Err(*error),
            Some(Done::Result(result)) => Ok(result.clone()),
            _ => Ok(nothing.clone()),
        };
        if self.method == Method::Broadcast {
            let outcomes: Vec<_> = self.parts.iter().map(outcome).collect();
            let responses: Vec<Outcome<'_>> = outcomes
                .iter()
                .map(|one| match one {
                    Ok(result) => Outcome::Result(result),
                    Err(error) => (*error).into(),
                })
                .collect();
            return Ok(json_of(&BTreeMap::from([("responses", responses)])));
        }
        let failed = |part: &Option<Done>| match part {
            Some(Done::Failed(error)) => Some(*error),
            _ => None,
        };
        if let Some(error) = self.parts.iter().find_map(failed) {
            return Err(error);
        }
        match self.method {
            Method::Channels => Ok(json_of(&self.all_channels())),
            Method::Info => Ok(json_of(&self.all_info())),
            _ => self.parts.first().map_or(Ok(nothing.clone()), outcome),
        }
    }

    fn all_channels(&self) -> Value {
        let mut all: BTreeMap<&str, usize> = BTreeMap::new();
        for part in self.parts.iter().flatten() {
            if let Done::Channels(channels) = part {
                for (channel, clients) in channels {
                    *all.entry(channel).or_default() += clients;
                }
            }
        }
        let told = all
            .into_iter()
            .map(|(name, clients)| (name.to_owned(), json!({ "num_clients": clients })));
        json!({ "channels": told.collect::<serde_json::Map<_, _>>() })
    }

    fn all_info(&self) -> Value {
        let infos = self.parts.iter().flatten().filter_map(|part| match part {
            Done::Info(info) => Some(info),
            _ => None,
        });
        let (mut clients, mut channels, mut users, mut server) = (0, 0, HashSet::new(), None);
        for info in infos {
            clients += info.clients;
            channels = info.channels;
            users.extend(info.users.iter());
            server = Some(&info.server);
        }
        json!({ "nodes": [{
            "uid": server.map(|server| &*server.uid),
            "name": "hioload-server",
            "version": VERSION,
            "num_clients": clients,
            "num_users": users.len(),
            "num_channels": channels,
            "uptime": server.map(|server| server.uptime),
        }] })
    }
}

fn json_of(value: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("names, numbers and written JSON")
}

/// A call that failed. As Centrifugo does, HTTP calls it a success.
pub(super) fn failed(error: Error) -> Response {
    respond(&Outcome::from(error))
}

fn respond(outcome: &impl Serialize) -> Response {
    let body = serde_json::to_vec(outcome).expect("names, numbers and written JSON");
    Response::ok("application/json", body).header("Cache-Control", "no-store")
}

/// What was sent is no call.
pub(super) fn malformed(error: &serde_json::Error) -> Response {
    let body = format!("the body is not what this method takes: {error}\n");
    Response::ok("text/plain; charset=utf-8", body.into_bytes()).with_status(400)
}
