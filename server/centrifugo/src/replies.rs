//! Messages on their way into one frame.

use std::fmt::Write;

use serde::Serialize;

use crate::code::{Error, Failure};
use crate::encoding::{Encoding, Frame, Unwritable};
use crate::protobuf::{Encode, Writer, error};
use crate::reply::{Answer, Push};

/// The server's ping: an empty message, which is answered by one.
#[must_use]
pub fn ping(encoding: Encoding) -> Frame<'static> {
    match encoding {
        Encoding::Json => Frame::Text("{}"),
        Encoding::Protobuf => Frame::Binary(&[0]),
    }
}

/// Replies and pushes for one client, in its encoding and one frame.
#[derive(Debug)]
pub struct Replies {
    frame: Written,
    outcome: Result<(), Unwritable>,
}

#[derive(Debug)]
enum Written {
    Json(String),
    Protobuf(Writer),
}

impl Replies {
    /// An empty frame.
    #[must_use]
    pub fn new(encoding: Encoding) -> Self {
        Self {
            frame: match encoding {
                Encoding::Json => Written::Json(String::new()),
                Encoding::Protobuf => Written::Protobuf(Writer::default()),
            },
            outcome: Ok(()),
        }
    }

    /// Adds the result of a command.
    pub fn answer(&mut self, id: u32, answer: &Answer<'_>) {
        let written = match &mut self.frame {
            // An object with one field, the name of what was asked for.
            Written::Json(lines) => json(answer).map(|answer| {
                line(lines, format_args!("{{\"id\":{id},{}", &answer[1..]));
            }),
            Written::Protobuf(out) => out.framed(|out| (id, answer).encode(out)),
        };
        self.outcome = self.outcome.and(written);
    }

    /// Adds why a command failed.
    pub fn error(&mut self, id: u32, why: Error) {
        self.failure(id, &Failure::from(why));
    }

    /// Adds why a command failed, in words that need not be the server's.
    pub fn failure(&mut self, id: u32, why: &Failure<'_>) {
        let written = match &mut self.frame {
            Written::Json(lines) => json(why).map(|error| {
                line(lines, format_args!("{{\"id\":{id},\"error\":{error}}}"));
            }),
            Written::Protobuf(out) => error(out, id, why),
        };
        self.outcome = self.outcome.and(written);
    }

    /// Adds a push about a channel; about the connection with an empty name.
    pub fn push(&mut self, channel: &str, what: Push<'_>) {
        let written = match &mut self.frame {
            Written::Json(lines) => json_push(lines, channel, what),
            Written::Protobuf(out) => out.framed(|out| (channel, what).encode(out)),
        };
        self.outcome = self.outcome.and(written);
    }

    /// The frame; `None` when there is nothing to say.
    ///
    /// # Errors
    /// [`Unwritable`]: something of it.
    pub fn frame(&self) -> Result<Option<Frame<'_>>, Unwritable> {
        self.outcome?;
        Ok(match &self.frame {
            Written::Json(lines) => (!lines.is_empty()).then_some(Frame::Text(lines)),
            Written::Protobuf(out) => (!out.is_empty()).then(|| Frame::Binary(out.as_bytes())),
        })
    }
}

fn line(lines: &mut String, line: std::fmt::Arguments<'_>) {
    if !lines.is_empty() {
        lines.push('\n');
    }
    lines.write_fmt(line).expect("a string takes everything");
}

fn json_push(lines: &mut String, channel: &str, what: Push<'_>) -> Result<(), Unwritable> {
    let (name, value) = match what {
        Push::Pub { body, offset, form } => ("pub", body.json(offset, form)?),
        Push::Join(info) => ("join", format!("{{\"info\":{info}}}").into()),
        Push::Leave(info) => ("leave", format!("{{\"info\":{info}}}").into()),
        Push::Subscribe(told) => ("subscribe", json(told)?.into()),
        Push::Unsubscribe(why) => {
            let (code, reason) = why.parts();
            ("unsubscribe", json(&Ended { code, reason })?.into())
        }
        Push::Message(data) => ("message", format!("{{\"data\":{}}}", data.json()?).into()),
        Push::Disconnect { code, reason } => {
            let code = code.into();
            ("disconnect", json(&Ended { code, reason })?.into())
        }
        Push::Refresh(until) => ("refresh", json(&until)?.into()),
    };
    if channel.is_empty() {
        line(lines, format_args!("{{\"push\":{{\"{name}\":{value}}}}}"));
    } else {
        let channel = json(channel)?;
        line(
            lines,
            format_args!("{{\"push\":{{\"channel\":{channel},\"{name}\":{value}}}}}"),
        );
    }
    Ok(())
}

#[derive(Serialize)]
struct Ended<'a> {
    code: u32,
    reason: &'a str,
}

fn json(value: &(impl Serialize + ?Sized)) -> Result<String, Unwritable> {
    serde_json::to_string(value).map_err(|_not| Unwritable)
}

#[cfg(test)]
mod tests;
