//! `check-token`: whether the server would take a token, and why not.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use jsonwebtoken::dangerous::insecure_decode_claims;
use serde_json::Value;

use super::{Outcome, WRONG, with_config};
use crate::announce;
use crate::chat::{Checked, Verifier, now};
use crate::config::Settings;

/// Bytes of a token at most: as many as a frame of commands may have.
const MAX_TOKEN: u64 = 64 << 10;

pub(super) fn run(token: &str, config: Option<&Path>) -> Outcome {
    let token = if token == "-" {
        from_input()?
    } else {
        token.to_owned()
    };
    let token = token.trim();
    let settings = Settings::load(&with_config(config))?;
    let chat = &settings.chat;
    let Some(verifier) = Verifier::new(&chat.keys, &chat.client) else {
        return Err("there is no key to check it with; give --config FILE with \
             client.token_secret, token_public_keys or token_jwks, or the variable \
             HIOLOAD_CLIENT_TOKEN_SECRET"
            .into());
    };
    let checked = verifier.check(token);
    let verdict = match &checked {
        Ok(checked) => said(checked),
        Err(fault) => format!("invalid: {fault}"),
    };
    announce(&verdict);
    if let Ok(claims) = insecure_decode_claims::<Value>(token) {
        announce(&expiry(claims.get("exp")));
        let trust = if checked.is_ok() {
            ""
        } else {
            " (not to be trusted)"
        };
        announce(&format!("claims{trust}: {claims:#}"));
    }
    Ok(match checked {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(WRONG),
    })
}

/// Arguments can be read by everybody on the machine; input can not.
fn from_input() -> Result<String, std::io::Error> {
    let mut token = String::new();
    let mut input = std::io::stdin().lock().take(MAX_TOKEN);
    input.read_to_string(&mut token)?;
    Ok(token)
}

fn said(checked: &Checked) -> String {
    let Checked {
        algorithm,
        key,
        user,
        channel,
    } = checked;
    let user = if user.is_empty() {
        "nobody in particular".to_owned()
    } else {
        format!("the user {user:?}")
    };
    let what = channel.as_ref().map_or_else(
        || "a connection".to_owned(),
        |channel| format!("a subscription to {channel:?}"),
    );
    format!("valid: for {what} of {user}, {algorithm:?} by {key}")
}

fn expiry(exp: Option<&Value>) -> String {
    let Some(exp) = exp else {
        return "expires: never".into();
    };
    let Some(exp) = exp.as_u64().filter(|exp| *exp < MAX_SECOND) else {
        return format!("expires: never as {exp}, which is no time (seconds of the Unix clock)");
    };
    let time = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(exp));
    let now = now();
    let span = |seconds| humantime::format_duration(Duration::from_secs(seconds));
    if exp > now {
        format!("expires: {time}, in {}", span(exp - now))
    } else {
        format!("expires: {time}, {} ago", span(now - exp))
    }
}

/// The year 9999 ends with it; times beyond it are not written.
const MAX_SECOND: u64 = 253_402_300_800;
