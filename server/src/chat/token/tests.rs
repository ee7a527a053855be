//! Tokens that are taken, and those that are not.

use std::path::{Path, PathBuf};

use hioload_centrifugo::Until;
use jsonwebtoken::{EncodingKey, encode};
use serde_json::{Value, json};

use super::*;
use crate::config::testing::chat;

const SECRET: &str = "sixteen bytes or more";

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/keys")
        .join(name)
}

fn private(name: &str) -> EncodingKey {
    let pem = std::fs::read(file(name)).unwrap();
    if name == "rsa.pem" {
        EncodingKey::from_rsa_pem(&pem).unwrap()
    } else {
        EncodingKey::from_ec_pem(&pem).unwrap()
    }
}

/// A verifier as `[client]` says.
fn verifier(client: &str) -> Verifier {
    let settings = chat(&format!("[client]\n{client}"));
    Verifier::new(&settings.keys, &settings.client).unwrap()
}

fn with_secret() -> Verifier {
    verifier(&format!("token_secret = '{SECRET}'"))
}

fn signed_by(algorithm: Algorithm, kid: Option<&str>, key: &EncodingKey, claims: &Value) -> String {
    let mut header = Header::new(algorithm);
    header.kid = kid.map(Into::into);
    encode(&header, claims, key).unwrap()
}

fn signed(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    signed_by(Algorithm::HS256, None, &key, claims)
}

fn fault_of(verifier: &Verifier, token: &str) -> Fault {
    verifier.check(token).err().expect("a fault")
}

#[test]
fn a_token_says_who_it_is_and_until_when() {
    let verifier = with_secret();
    let token = signed(&json!({
        "sub": "42", "exp": 4_102_444_800_u64, "info": { "name": "Ann" }, "channels": ["a", "b"],
        "subs": { "b": { "info": { "role": 1 } }, "c": {} },
    }));
    let (mut claims, expiry) = verifier.connection(&token).unwrap();
    assert_eq!(&*claims.sub, "42");
    let subscriptions = claims.subscriptions();
    let names: Vec<_> = subscriptions.keys().map(|name| &**name).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let info = subscriptions["b"].info.as_ref().unwrap();
    assert_eq!(info.get(), r#"{"role":1}"#);
    assert_eq!(claims.info.unwrap().get(), r#"{"name":"Ann"}"#);
    assert_eq!(expiry.ttl, Some(365 * 24 * 3600));
    let (nobody, never) = verifier.connection(&signed(&json!({}))).unwrap();
    assert_eq!((&*nobody.sub, never.until()), ("", Until::default()));
}

#[test]
fn what_is_granted_may_last_longer_than_the_token_is_good() {
    let verifier = with_secret();
    let far = 4_102_444_800_u64;
    let until = |claims: Value| verifier.connection(&signed(&claims)).map(|(_, e)| e.ttl);
    assert_eq!(until(json!({ "exp": far, "expire_at": 0 })), Ok(None));
    let soon = until(json!({ "exp": far, "expire_at": now() + 100 })).unwrap();
    assert!((90..=100).contains(&soon.unwrap()), "{soon:?}");
    assert_eq!(
        until(json!({ "exp": 1, "expire_at": far })),
        Err(Refused::Expired)
    );
    assert_eq!(
        until(json!({ "exp": far, "expire_at": 1 })),
        Err(Refused::Expired)
    );
}

#[test]
fn what_is_over_is_told_from_what_is_not_ours() {
    let verifier = with_secret();
    let refused = |token: &str| verifier.connection(token).unwrap_err();
    assert_eq!(refused(&signed(&json!({ "exp": 1 }))), Refused::Expired);
    let good = signed(&json!({ "sub": "42" }));
    let other = self::verifier("token_secret = 'another secret entirely'");
    assert_eq!(other.connection(&good).unwrap_err(), Refused::Invalid);
    // {"alg":"none"}, and the same claims without a signature.
    let claims = good.split('.').nth(1).unwrap();
    let none = format!("eyJhbGciOiJub25lIn0.{claims}.");
    assert!(matches!(fault_of(&verifier, &none), Fault::Algorithm(_)));
    for bad in ["", "x", &none, &signed(&json!({ "channel": "c" }))] {
        assert_eq!(refused(bad), Refused::Invalid, "{bad}");
    }
    for claims in [
        json!({ "exp": "soon" }),
        json!({ "nbf": 4_102_444_800_u64 }),
        json!({ "subs": { "a": { "overrides": {} } } }),
        json!({ "subs": { "a": { "override": 1 } } }),
    ] {
        assert_eq!(refused(&signed(&claims)), Refused::Invalid, "{claims}");
    }
}

#[test]
fn a_subscription_token_is_for_one_user_and_channel() {
    let verifier = with_secret();
    let token = signed(&json!({ "sub": "42", "channel": "$a" }));
    assert!(verifier.subscription(&token, "42", "$a").is_ok());
    for (user, channel) in [("41", "$a"), ("42", "$b"), ("", "$a")] {
        let refused = verifier.subscription(&token, user, channel).unwrap_err();
        assert_eq!(refused, Refused::Invalid);
    }
}

#[test]
fn public_keys_verify_their_own_algorithm() {
    let public = verifier(&format!(
        "token_public_keys = [{:?}, {:?}]",
        file("rsa.pub.pem"),
        file("ec.pub.pem")
    ));
    let claims = json!({ "sub": "42" });
    for (algorithm, key) in [(Algorithm::RS256, "rsa.pem"), (Algorithm::ES256, "ec.pem")] {
        let token = signed_by(algorithm, None, &private(key), &claims);
        assert_eq!(public.check(&token).ok().unwrap().algorithm, algorithm);
        // A kid that nobody knows is no reason to refuse what a key signed.
        let named = signed_by(algorithm, Some("unknown"), &private(key), &claims);
        assert!(public.connection(&named).is_ok());
    }
    let other = signed_by(Algorithm::RS512, None, &private("rsa.pem"), &claims);
    assert_eq!(fault_of(&public, &other), Fault::NoKey(Algorithm::RS512));
}

/// The attack that has broken most verifiers: a public key taken for the secret
/// of an HMAC, since the token says so.
#[test]
fn a_public_key_is_no_secret_of_an_hmac() {
    for (setting, name) in [
        ("token_public_keys", "rsa.pub.pem"),
        ("token_jwks", "jwks.json"),
    ] {
        let value = match setting {
            "token_jwks" => format!("{:?}", file(name)),
            _ => format!("[{:?}]", file(name)),
        };
        let verifier = verifier(&format!("{setting} = {value}"));
        let secret = EncodingKey::from_secret(&std::fs::read(file(name)).unwrap());
        for kid in [None, Some("rsa-1"), Some("ec-1")] {
            let token = signed_by(Algorithm::HS256, kid, &secret, &json!({ "sub": "root" }));
            assert_eq!(verifier.connection(&token).unwrap_err(), Refused::Invalid);
        }
    }
}

#[test]
fn a_key_of_a_set_is_chosen_by_its_kid_and_for_its_algorithm_alone() {
    let set = verifier(&format!("token_jwks = {:?}", file("jwks.json")));
    let (rsa, ec) = (private("rsa.pem"), private("ec.pem"));
    let claims = json!({ "sub": "42" });
    let token = |algorithm, kid, key| signed_by(algorithm, kid, key, &claims);
    for good in [
        token(Algorithm::RS256, Some("rsa-1"), &rsa),
        token(Algorithm::ES256, Some("ec-1"), &ec),
    ] {
        assert_eq!(&*set.connection(&good).unwrap().0.sub, "42");
    }
    let wrong = token(Algorithm::RS256, Some("ec-1"), &rsa);
    let expected = Fault::OtherAlgorithm {
        said: Algorithm::RS256,
        kid: "ec-1".into(),
        expected: Algorithm::ES256,
    };
    assert_eq!(fault_of(&set, &wrong), expected);
    for kid in [None, Some("rsa-2")] {
        let fault = fault_of(&set, &token(Algorithm::RS256, kid, &rsa));
        assert_eq!(fault, Fault::NoKey(Algorithm::RS256), "{kid:?}");
    }
}

#[test]
fn an_issuer_and_an_audience_are_asked_for_when_they_are_set() {
    let verifier = verifier(&format!(
        "token_secret = '{SECRET}'\ntoken_issuer = 'https://a.example'\ntoken_audience = 'chat'"
    ));
    let fault = |claims: Value| verifier.check(&signed(&claims)).err();
    let iss = "https://a.example";
    assert_eq!(fault(json!({ "iss": iss, "aud": "chat" })), None);
    assert_eq!(fault(json!({ "iss": iss, "aud": ["other", "chat"] })), None);
    assert_eq!(
        fault(json!({ "iss": iss })),
        Some(Fault::Missing("aud".into()))
    );
    assert_eq!(
        fault(json!({ "aud": "chat" })),
        Some(Fault::Missing("iss".into()))
    );
    let other = json!({ "iss": "https://b.example", "aud": "chat" });
    assert_eq!(fault(other), Some(Fault::Issuer));
    assert_eq!(
        fault(json!({ "iss": iss, "aud": "x" })),
        Some(Fault::Audience)
    );
}
