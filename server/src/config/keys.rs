//! The keys that tokens are verified with: a secret, public keys, a key set.
//!
//! A key is for one algorithm, which follows from what the key is and never from
//! what a token says.

use std::fmt;
use std::path::{Path, PathBuf};

use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, crypto};
use thiserror::Error;

use super::chat::Secret;

/// Public keys and keys of a set at most: a token without a `kid` is tried with
/// each of its algorithm.
const MAX_KEYS: usize = 16;

/// Bits of an RSA key: fewer are factored, more are slow for every client.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// A point on P-256, uncompressed.
const P256_POINT: usize = 65;

/// A key can not be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum KeyError {
    #[error("{setting}: cannot read {}: {cause}", path.display())]
    Read {
        setting: &'static str,
        path: PathBuf,
        cause: String,
    },
    #[error(
        "{setting}: {} holds a private key; give its public half, such as the output of: openssl \
         pkey -in FILE -pubout",
        path.display()
    )]
    Private {
        setting: &'static str,
        path: PathBuf,
    },
    #[error(
        "client.token_public_keys: {} is no key that is possible: RSA of 2048 to 4096 bits (RS256) \
         or EC on the curve P-256 (ES256), as a PUBLIC KEY in PEM",
        .0.display()
    )]
    Pem(PathBuf),
    #[error("client.token_jwks: {} is no JSON Web Key Set: {cause}", path.display())]
    Set { path: PathBuf, cause: String },
    #[error("client.token_jwks: {}: key {number} has no kid, by which tokens name it", path.display())]
    NoKid { path: PathBuf, number: usize },
    #[error("client.token_jwks: {}: the kid {kid:?} is there twice", path.display())]
    Twice { path: PathBuf, kid: String },
    #[error(
        "client.token_jwks: {}: the key {kid:?} is not what it says, or too weak: RSA of 2048 to \
         4096 bits or EC on the curve P-256 are possible",
        path.display()
    )]
    Broken { path: PathBuf, kid: String },
    #[error(
        "client.token_jwks: {} has no key for RS256 or ES256 (kty RSA, or EC with crv P-256)",
        .0.display()
    )]
    NoneUsable(PathBuf),
    #[error("{setting} has {count} keys; at most {MAX_KEYS} are possible")]
    TooMany { setting: &'static str, count: usize },
}

/// What tokens are verified with. Never printed but by name.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct TokenKeys {
    keys: Vec<TokenKey>,
    /// Keys of the set that are for something else.
    passed_over: usize,
}

/// A key and what it is for.
#[derive(Clone)]
pub(crate) struct TokenKey {
    /// Where it is from, for people.
    pub(crate) name: String,
    pub(crate) algorithm: Algorithm,
    /// Tokens that say this are for this key alone.
    pub(crate) kid: Option<String>,
    pub(crate) key: DecodingKey,
}

impl PartialEq for TokenKey {
    fn eq(&self, other: &Self) -> bool {
        let said = |key: &Self| (key.name.clone(), key.algorithm, key.kid.clone());
        said(self) == said(other) && material(&self.key) == material(&other.key)
    }
}

impl Eq for TokenKey {}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.keys).finish()
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} by {}", self.algorithm, self.name)
    }
}

impl TokenKeys {
    /// Reads the files that the settings name.
    pub(super) fn read(
        secret: &Secret,
        public: &[PathBuf],
        set: Option<&Path>,
    ) -> Result<Self, KeyError> {
        let mut all = Self::default();
        all.keys.extend(secret.bytes().map(|bytes| TokenKey {
            name: "client.token_secret".into(),
            algorithm: Algorithm::HS256,
            kid: None,
            key: DecodingKey::from_secret(bytes),
        }));
        bounded("client.token_public_keys", public.len())?;
        for path in public {
            all.keys.push(pem(path)?);
        }
        if let Some(path) = set {
            all.add_set(path)?;
        }
        Ok(all)
    }

    fn add_set(&mut self, path: &Path) -> Result<(), KeyError> {
        let text = text("client.token_jwks", path)?;
        let wrong = |error: serde_json::Error| KeyError::Set {
            path: path.into(),
            cause: error.to_string(),
        };
        let set: JwkSet = serde_json::from_str(&text).map_err(wrong)?;
        bounded("client.token_jwks", set.keys.len())?;
        // The set is parsed without what must not be in it.
        let raw: serde_json::Value = serde_json::from_str(&text).map_err(wrong)?;
        let raw = raw["keys"].as_array().map_or(&[][..], Vec::as_slice);
        if raw.iter().any(|key| key.get("d").is_some()) {
            return Err(KeyError::Private {
                setting: "client.token_jwks",
                path: path.into(),
            });
        }
        let before = self.keys.len();
        for (index, jwk) in set.keys.iter().enumerate() {
            let Some(algorithm) = algorithm(jwk) else {
                self.passed_over += 1;
                continue;
            };
            let Some(kid) = jwk.common.key_id.clone() else {
                return Err(KeyError::NoKid {
                    path: path.into(),
                    number: index + 1,
                });
            };
            if self.keys.iter().any(|key| key.kid.as_ref() == Some(&kid)) {
                let path = path.into();
                return Err(KeyError::Twice { path, kid });
            }
            let key = DecodingKey::from_jwk(jwk).ok();
            let Some(key) = key.filter(|key| is_sound(key, algorithm)) else {
                let path = path.into();
                return Err(KeyError::Broken { path, kid });
            };
            self.keys.push(TokenKey {
                name: format!("{}, kid {kid:?}", path.display()),
                algorithm,
                kid: Some(kid),
                key,
            });
        }
        if self.keys.len() == before {
            return Err(KeyError::NoneUsable(path.into()));
        }
        Ok(())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &TokenKey> {
        self.keys.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Keys of the set that are not for RS256 or ES256.
    pub(crate) fn passed_over(&self) -> usize {
        self.passed_over
    }
}

fn bounded(setting: &'static str, count: usize) -> Result<(), KeyError> {
    if count > MAX_KEYS {
        return Err(KeyError::TooMany { setting, count });
    }
    Ok(())
}

fn text(setting: &'static str, path: &Path) -> Result<String, KeyError> {
    std::fs::read_to_string(path).map_err(|error| KeyError::Read {
        setting,
        path: path.into(),
        cause: error.to_string(),
    })
}

fn pem(path: &Path) -> Result<TokenKey, KeyError> {
    let setting = "client.token_public_keys";
    let text = text(setting, path)?;
    if text.contains("PRIVATE KEY") {
        return Err(KeyError::Private {
            setting,
            path: path.into(),
        });
    }
    let ec = DecodingKey::from_ec_pem(text.as_bytes()).map(|key| (Algorithm::ES256, key));
    let rsa = || DecodingKey::from_rsa_pem(text.as_bytes()).map(|key| (Algorithm::RS256, key));
    let found = ec.or_else(|_| rsa()).ok();
    let Some((algorithm, key)) = found.filter(|(algorithm, key)| is_sound(key, *algorithm)) else {
        return Err(KeyError::Pem(path.into()));
    };
    Ok(TokenKey {
        name: path.display().to_string(),
        algorithm,
        kid: None,
        key,
    })
}

/// What a key of a set is for. `None`: not for signatures that are verified
/// here. Secrets have no place in a file of public keys.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    let common = &jwk.common;
    let is_for_signatures = common
        .public_key_use
        .as_ref()
        .is_none_or(|for_what| *for_what == PublicKeyUse::Signature)
        && common
            .key_operations
            .as_ref()
            .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    let (by_type, as_said) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        _ => return None,
    };
    let agrees = common.key_algorithm.is_none_or(|said| said == as_said);
    (is_for_signatures && agrees).then_some(by_type)
}

fn material(key: &DecodingKey) -> (&[u8], &[u8]) {
    match key.kind() {
        DecodingKeyKind::SecretOrDer(bytes) => (bytes, &[]),
        DecodingKeyKind::RsaModulusExponent { n, e } => (n, e),
    }
}

/// Whether signatures can be verified with it.
fn is_sound(key: &DecodingKey, algorithm: Algorithm) -> bool {
    match (algorithm, key.kind()) {
        (Algorithm::ES256, DecodingKeyKind::SecretOrDer(point)) => {
            // A point that is not on the curve is found by its use.
            point.len() == P256_POINT && crypto::verify("", b"", key, algorithm).is_ok()
        }
        (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
            RSA_BITS.contains(&bits(n)) && (1..=4).contains(&e.len())
        }
        (Algorithm::RS256, DecodingKeyKind::SecretOrDer(der)) => {
            modulus(der).is_some_and(|n| RSA_BITS.contains(&bits(n)))
        }
        _ => false,
    }
}

fn bits(number: &[u8]) -> usize {
    let leading = number.iter().take_while(|byte| **byte == 0).count();
    let number = &number[leading..];
    let first = number.first().map_or(0, |byte| byte.leading_zeros());
    number.len() * 8 - first as usize
}

/// The modulus of an `RSAPublicKey` (RFC 8017 A.1.1): a sequence that begins
/// with that integer.
fn modulus(der: &[u8]) -> Option<&[u8]> {
    let sequence = der_value(der, 0x30)?;
    der_value(sequence, 0x02)
}

/// The value at the beginning of DER, if it has this tag.
fn der_value(der: &[u8], tag: u8) -> Option<&[u8]> {
    let [first, len, rest @ ..] = der else {
        return None;
    };
    if *first != tag {
        return None;
    }
    let (len, rest) = match *len {
        short @ 0..=0x7f => (usize::from(short), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => {
            let [high, low, rest @ ..] = rest else {
                return None;
            };
            (usize::from(u16::from_be_bytes([*high, *low])), rest)
        }
        _ => return None,
    };
    rest.get(..len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/keys")
            .join(name)
    }

    fn public(name: &str) -> Result<TokenKeys, KeyError> {
        TokenKeys::read(&Secret::default(), &[file(name)], None)
    }

    #[test]
    fn a_public_key_is_for_the_one_algorithm_of_its_type() {
        let key = |name| public(name).unwrap().keys[0].algorithm;
        assert_eq!(key("rsa.pub.pem"), Algorithm::RS256);
        assert_eq!(key("ec.pub.pem"), Algorithm::ES256);
    }

    #[test]
    fn keys_that_are_private_weak_or_of_another_type_are_refused() {
        for (name, named) in [
            ("rsa.pem", "holds a private key"),
            ("ec.pem", "holds a private key"),
            ("rsa1024.pub.pem", "2048 to 4096 bits"),
            ("ec384.pub.pem", "P-256"),
            ("jwks.json", "PUBLIC KEY in PEM"),
            ("none.pem", "cannot read"),
        ] {
            let error = public(name).unwrap_err().to_string();
            assert!(error.contains(named), "{name}: {error}");
            assert!(error.contains(name), "{error}");
        }
    }

    fn set(text: &str) -> Result<TokenKeys, KeyError> {
        let name = format!("hioload-jwks-{:?}", std::thread::current().id());
        let path = std::env::temp_dir().join(format!("{name}-{}.json", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let read = TokenKeys::read(&Secret::default(), &[], Some(&path));
        std::fs::remove_file(&path).unwrap();
        read
    }

    #[test]
    fn a_set_gives_its_keys_for_signatures_by_kid_and_passes_over_the_rest() {
        let path = file("jwks.json");
        let keys = TokenKeys::read(&Secret::default(), &[], Some(&path)).unwrap();
        let said: Vec<_> = keys
            .iter()
            .map(|key| (key.kid.as_deref().unwrap(), key.algorithm))
            .collect();
        assert_eq!(
            said,
            [("rsa-1", Algorithm::RS256), ("ec-1", Algorithm::ES256)]
        );
        assert_eq!(keys.passed_over(), 1);
    }

    #[test]
    fn a_set_that_can_not_be_used_as_it_is_is_refused_with_the_reason() {
        let good = std::fs::read_to_string(file("jwks.json")).unwrap();
        for (text, named) in [
            ("[".to_owned(), "no JSON Web Key Set"),
            ("{}".to_owned(), "no JSON Web Key Set"),
            (r#"{"keys":[]}"#.to_owned(), "no key for RS256 or ES256"),
            (
                r#"{"keys":[{"kty":"oct","k":"c2VjcmV0","kid":"a"}]}"#.to_owned(),
                "no key for RS256 or ES256",
            ),
            (
                good.replace("\"RS256\"", "\"PS256\"")
                    .replace("P-256", "P-384"),
                "no key",
            ),
            (good.replace("\"kid\": \"rsa-1\",", ""), "key 1 has no kid"),
            (good.replace("ec-1", "rsa-1"), "\"rsa-1\" is there twice"),
            (
                good.replace("\"y\": \"", "\"y\": \"AA"),
                "\"ec-1\" is not what it says",
            ),
            (
                good.replace("\"kty\": \"EC\",", "\"kty\": \"EC\", \"d\": \"x\","),
                "private key",
            ),
        ] {
            let error = set(&text).unwrap_err().to_string();
            assert!(error.contains(named), "{named}: {error}");
        }
    }

    #[test]
    fn keys_are_printed_by_name_alone() {
        let secret: Secret = serde_json::from_str("\"a secret that nobody sees\"").unwrap();
        let keys = TokenKeys::read(&secret, &[file("ec.pub.pem")], None).unwrap();
        let printed = format!("{keys:?}");
        assert!(
            printed.starts_with("[HS256 by client.token_secret, ES256 by "),
            "{printed}"
        );
        assert!(!printed.contains("nobody sees"), "{printed}");
    }
}
