//! `gen-token`: a token as an application would sign it, to try things out.

use std::process::ExitCode;

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Map, Value, json};

use super::{Outcome, with_config};
use crate::announce;
use crate::chat::now;
use crate::cli::GenToken;
use crate::config::{ClientTable, Settings};

pub(super) fn run(asked: &GenToken) -> Outcome {
    let settings = Settings::load(&with_config(asked.config.as_deref()))?;
    let client = &settings.chat.client;
    let Some(secret) = client.token_secret.bytes() else {
        return Err(
            "there is no client.token_secret to sign with; give --config FILE with one, or the \
             variable HIOLOAD_CLIENT_TOKEN_SECRET (tokens by private keys are your application's \
             to make)"
                .into(),
        );
    };
    let claims = claims(asked, client)?;
    let key = EncodingKey::from_secret(secret);
    announce(&encode(&Header::default(), &claims, &key)?);
    Ok(ExitCode::SUCCESS)
}

fn claims(asked: &GenToken, client: &ClientTable) -> Result<Map<String, Value>, String> {
    let mut claims = Map::new();
    let mut say = |claim: &str, value: Value| claims.insert(claim.to_owned(), value);
    let now = now();
    say("sub", json!(asked.user));
    say("iat", json!(now));
    if !asked.ttl.is_zero() {
        // A part of a second is no reason for a token that has expired.
        say("exp", json!(now + asked.ttl.as_secs().max(1)));
    }
    if let Some(channel) = &asked.channel {
        say("channel", json!(channel));
    }
    if let Some(info) = &asked.info {
        let info = serde_json::from_str(info);
        say(
            "info",
            info.map_err(|error| format!("--info is no JSON: {error}"))?,
        );
    }
    for (claim, value) in [
        ("iss", &client.token_issuer),
        ("aud", &client.token_audience),
    ] {
        if !value.is_empty() {
            say(claim, json!(value));
        }
    }
    Ok(claims)
}
