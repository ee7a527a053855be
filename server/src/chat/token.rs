//! Tokens: who a client is and what it may, signed by the application.

use std::time::{SystemTime, UNIX_EPOCH};

use hioload_centrifugo::Until;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// Seconds that something granted may last at most: a year, lest a token by
/// mistake overflows what counts time.
const MAX_TTL: u64 = 365 * 24 * 3600;

/// Verifies tokens, HS256.
pub(super) struct Verifier {
    key: DecodingKey,
    validation: Validation,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It was good once.
    Expired,
    /// It is not ours, or not for this.
    Invalid,
}

/// What the token of a connection says.
#[derive(Debug, Deserialize)]
pub(super) struct ConnectionClaims {
    /// The user; empty: nobody in particular.
    #[serde(default)]
    pub(super) sub: String,
    /// Seconds of the Unix clock.
    pub(super) exp: Option<u64>,
    /// Told to others.
    pub(super) info: Option<Box<RawValue>>,
    /// What the server subscribes the client to.
    #[serde(default)]
    pub(super) channels: Vec<String>,
    /// A subscription's token says this; such a token lets nobody in.
    channel: Option<String>,
}

/// What the token of a subscription says.
#[derive(Debug, Deserialize)]
pub(super) struct SubscriptionClaims {
    /// The user it is for.
    #[serde(default)]
    pub(super) sub: String,
    /// The channel it is for.
    pub(super) channel: String,
    /// Seconds of the Unix clock.
    pub(super) exp: Option<u64>,
    /// Told to others in the channel.
    pub(super) info: Option<Box<RawValue>>,
}

/// When something granted ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Expiry {
    /// Seconds from now; `None`: never.
    pub(super) ttl: Option<u64>,
}

impl Expiry {
    /// Of a claim. `Err`: it has ended.
    pub(super) fn of(exp: Option<u64>) -> Result<Self, Refused> {
        let Some(exp) = exp else {
            return Ok(Self::default());
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs());
        match exp.checked_sub(now) {
            None | Some(0) => Err(Refused::Expired),
            Some(ttl) => Ok(Self {
                ttl: Some(ttl.min(MAX_TTL)),
            }),
        }
    }

    /// As clients are told.
    pub(super) fn until(self) -> Until {
        Until {
            expires: self.ttl.is_some(),
            ttl: u32::try_from(self.ttl.unwrap_or(0)).unwrap_or(u32::MAX),
        }
    }
}

impl Verifier {
    pub(super) fn new(secret: &[u8]) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.validate_nbf = true;
        validation.validate_aud = false;
        // A token may be for ever; whether it has ended is decided by `Expiry`,
        // with all that follows from it.
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        Self {
            key: DecodingKey::from_secret(secret),
            validation,
        }
    }

    pub(super) fn connection(&self, token: &str) -> Result<(ConnectionClaims, Expiry), Refused> {
        let claims: ConnectionClaims = self.claims(token)?;
        if claims.channel.is_some() {
            return Err(Refused::Invalid);
        }
        let expiry = Expiry::of(claims.exp)?;
        Ok((claims, expiry))
    }

    /// A token for this user's subscription to this channel.
    pub(super) fn subscription(
        &self,
        token: &str,
        user: &str,
        channel: &str,
    ) -> Result<(SubscriptionClaims, Expiry), Refused> {
        let claims: SubscriptionClaims = self.claims(token)?;
        if claims.sub != user || claims.channel != channel {
            return Err(Refused::Invalid);
        }
        let expiry = Expiry::of(claims.exp)?;
        Ok((claims, expiry))
    }

    fn claims<T: DeserializeOwned>(&self, token: &str) -> Result<T, Refused> {
        let decoded = decode::<T>(token, &self.key, &self.validation);
        decoded
            .map(|token| token.claims)
            .map_err(|error| match error.kind() {
                ErrorKind::ExpiredSignature => Refused::Expired,
                _ => Refused::Invalid,
            })
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &[u8] = b"sixteen bytes or more";

    fn signed(claims: &Value) -> String {
        encode(
            &Header::default(),
            claims,
            &EncodingKey::from_secret(SECRET),
        )
        .unwrap()
    }

    #[test]
    fn a_token_says_who_it_is_and_until_when() {
        let verifier = Verifier::new(SECRET);
        let token = signed(&json!({
            "sub": "42", "exp": 4_102_444_800_u64, "info": { "name": "Ann" }, "channels": ["a"],
        }));
        let (claims, expiry) = verifier.connection(&token).unwrap();
        assert_eq!(
            (&*claims.sub, &claims.channels[..]),
            ("42", &["a".to_owned()][..])
        );
        assert_eq!(claims.info.unwrap().get(), r#"{"name":"Ann"}"#);
        assert_eq!(expiry.ttl, Some(MAX_TTL));
        let (nobody, never) = verifier.connection(&signed(&json!({}))).unwrap();
        assert_eq!((&*nobody.sub, never.until()), ("", Until::default()));
    }

    #[test]
    fn what_is_over_is_told_from_what_is_not_ours() {
        let verifier = Verifier::new(SECRET);
        let refused = |token: &str| verifier.connection(token).unwrap_err();
        assert_eq!(refused(&signed(&json!({ "exp": 1 }))), Refused::Expired);
        let good = signed(&json!({ "sub": "42" }));
        let other = Verifier::new(b"another secret entirely");
        assert_eq!(other.connection(&good).unwrap_err(), Refused::Invalid);
        // {"alg":"none"}, and the same claims without a signature.
        let claims = good.split('.').nth(1).unwrap();
        let none = format!("eyJhbGciOiJub25lIn0.{claims}.");
        for bad in ["", "x", &none, &signed(&json!({ "channel": "c" }))] {
            assert_eq!(refused(bad), Refused::Invalid, "{bad}");
        }
        assert_eq!(
            refused(&signed(&json!({ "exp": "soon" }))),
            Refused::Invalid
        );
        assert_eq!(
            refused(&signed(&json!({ "nbf": 4_102_444_800_u64 }))),
            Refused::Invalid
        );
    }

    #[test]
    fn a_subscription_token_is_for_one_user_and_channel() {
        let verifier = Verifier::new(SECRET);
        let token = signed(&json!({ "sub": "42", "channel": "$a" }));
        assert!(verifier.subscription(&token, "42", "$a").is_ok());
        for (user, channel) in [("41", "$a"), ("42", "$b"), ("", "$a")] {
            let refused = verifier.subscription(&token, user, channel).unwrap_err();
            assert_eq!(refused, Refused::Invalid);
        }
    }
}
