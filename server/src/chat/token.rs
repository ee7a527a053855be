//! Tokens: who a client is and what it may, signed by the application.
//!
//! A token names its key (`kid`), or is tried with each key of its algorithm
//! that has no name. A key is only ever used for the algorithm that its own type
//! is for, whatever a token says.

mod claims;
#[cfg(test)]
mod tests;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header};
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::config::{ClientTable, TokenKey, TokenKeys};
pub(crate) use claims::now;
pub(super) use claims::{ConnectionClaims, Expiry, SubClaims, SubscriptionClaims};

/// Verifies tokens.
pub(crate) struct Verifier {
    keys: Vec<Checking>,
}

/// A key, and what else a token by it has to be.
struct Checking {
    key: TokenKey,
    validation: Validation,
}

/// What clients are told of a token that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It was good once.
    Expired,
    /// It is not ours, or not for this.
    Invalid,
}

/// Why a token is refused, for those who make it.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum Fault {
    #[error("it is no JWT: {0}")]
    Malformed(String),
    #[error("its algorithm is none of HS256, RS256 and ES256: {0}")]
    Algorithm(String),
    #[error("it is signed with {0:?}, and there is no key for that algorithm")]
    NoKey(Algorithm),
    #[error("it is signed with {said:?}, but the key {kid:?} that it names is for {expected:?}")]
    OtherAlgorithm {
        said: Algorithm,
        kid: String,
        expected: Algorithm,
    },
    #[error("its signature is by none of the {0} keys tried")]
    Signature(usize),
    #[error("it is not valid yet (nbf)")]
    NotYet,
    #[error("its iss is not client.token_issuer")]
    Issuer,
    #[error("its aud is not client.token_audience")]
    Audience,
    #[error("it has no {0}, which the settings ask for")]
    Missing(String),
    #[error("its claims are wrong: {0}")]
    Claims(String),
    #[error("it is for a subscription (it has a channel), not for a connection")]
    OfSubscription,
    #[error("it is for another user")]
    OtherUser,
    #[error("it is for another channel")]
    OtherChannel,
    #[error("it has expired")]
    Expired,
}

/// A token that is good, and by which key.
pub(crate) struct Checked {
    pub(crate) algorithm: Algorithm,
    /// Where the key is from.
    pub(crate) key: String,
    pub(crate) user: String,
    /// Of a subscription's token.
    pub(crate) channel: Option<String>,
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        tracing::debug!(%fault, "a token is refused");
        match fault {
            Fault::Expired => Self::Expired,
            _ => Self::Invalid,
        }
    }
}

impl Verifier {
    /// `None`: there are no keys.
    pub(crate) fn new(keys: &TokenKeys, client: &ClientTable) -> Option<Self> {
        let checking = |key: &TokenKey| Checking {
            validation: validation(key.algorithm, client),
            key: key.clone(),
        };
        let keys: Vec<_> = keys.iter().map(checking).collect();
        (!keys.is_empty()).then_some(Self { keys })
    }

    pub(super) fn connection(&self, token: &str) -> Result<(ConnectionClaims, Expiry), Refused> {
        let (claims, _): (ConnectionClaims, _) = self.claims(token)?;
        let expiry = claims.expiry()?;
        Ok((claims, expiry))
    }

    /// A token for this user's subscription to this channel.
    pub(super) fn subscription(
        &self,
        token: &str,
        user: &str,
        channel: &str,
    ) -> Result<(SubscriptionClaims, Expiry), Refused> {
        let (claims, _): (SubscriptionClaims, _) = self.claims(token)?;
        if claims.sub != user {
            return Err(Fault::OtherUser.into());
        }
        if claims.channel != channel {
            return Err(Fault::OtherChannel.into());
        }
        let expiry = claims.expiry()?;
        Ok((claims, expiry))
    }

    /// Whether a token would be taken for what it seems to be for.
    pub(crate) fn check(&self, token: &str) -> Result<Checked, Fault> {
        let (claims, key) = self.claims::<serde_json::Value>(token)?;
        let (user, channel) = if claims.get("channel").is_some() {
            let (claims, _): (SubscriptionClaims, _) = self.claims(token)?;
            claims.expiry()?;
            (claims.sub, Some(claims.channel))
        } else {
            let (claims, _): (ConnectionClaims, _) = self.claims(token)?;
            claims.expiry()?;
            (claims.sub, None)
        };
        Ok(Checked {
            algorithm: key.algorithm,
            key: key.name.clone(),
            user,
            channel,
        })
    }

    fn claims<T: DeserializeOwned>(&self, token: &str) -> Result<(T, &TokenKey), Fault> {
        let header = decode_header(token).map_err(|error| match error.kind() {
            ErrorKind::Json(cause) if cause.to_string().contains("variant") => {
                Fault::Algorithm(cause.to_string())
            }
            _ => Fault::Malformed(error.to_string()),
        })?;
        let mut tried = 0;
        for Checking { key, validation } in self.candidates(&header)? {
            match decode::<T>(token, &key.key, validation) {
                Ok(token) => return Ok((token.claims, key)),
                Err(error) if *error.kind() == ErrorKind::InvalidSignature => tried += 1,
                Err(error) => return Err(fault(&error)),
            }
        }
        Err(Fault::Signature(tried))
    }

    /// The keys that a token may be by: that of its `kid`, or those without one.
    fn candidates(&self, header: &Header) -> Result<Vec<&Checking>, Fault> {
        let named = header.kid.as_ref().and_then(|kid| {
            let of = |one: &&Checking| one.key.kid.as_ref() == Some(kid);
            self.keys.iter().find(of).map(|one| (kid, one))
        });
        if let Some((kid, one)) = named {
            return if one.key.algorithm == header.alg {
                Ok(vec![one])
            } else {
                Err(Fault::OtherAlgorithm {
                    said: header.alg,
                    kid: kid.clone(),
                    expected: one.key.algorithm,
                })
            };
        }
        let fits = |one: &&Checking| one.key.kid.is_none() && one.key.algorithm == header.alg;
        let found: Vec<_> = self.keys.iter().filter(fits).collect();
        if found.is_empty() {
            return Err(Fault::NoKey(header.alg));
        }
        Ok(found)
    }
}

fn validation(algorithm: Algorithm, client: &ClientTable) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.leeway = 0;
    validation.validate_nbf = true;
    // A token may be for ever; whether it has ended is decided by `Expiry`,
    // with all that follows from it.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    if !client.token_audience.is_empty() {
        validation.validate_aud = true;
        validation.set_audience(&[&client.token_audience]);
        validation.required_spec_claims.insert("aud".into());
    }
    if !client.token_issuer.is_empty() {
        validation.set_issuer(&[&client.token_issuer]);
        validation.required_spec_claims.insert("iss".into());
    }
    validation
}

fn fault(error: &jsonwebtoken::errors::Error) -> Fault {
    match error.kind() {
        ErrorKind::ImmatureSignature => Fault::NotYet,
        ErrorKind::InvalidIssuer => Fault::Issuer,
        ErrorKind::InvalidAudience => Fault::Audience,
        ErrorKind::MissingRequiredClaim(claim) => Fault::Missing(claim.clone()),
        ErrorKind::Json(cause) => Fault::Claims(cause.to_string()),
        ErrorKind::InvalidClaimFormat(claim) => Fault::Claims(format!("{claim} is no number")),
        _ => Fault::Malformed(error.to_string()),
    }
}
