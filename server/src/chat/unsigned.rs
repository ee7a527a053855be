//! Tokens that nobody signed, for servers on which nobody needs one.

use jsonwebtoken::dangerous::insecure_decode;

use super::token::ConnectionClaims;

/// What a client says about itself in the form of a token, whose signature and
/// end are not looked at. `None`: it says nothing that could be read.
pub(super) fn claims(token: &str) -> Option<ConnectionClaims> {
    if token.is_empty() {
        return None;
    }
    match insecure_decode(token) {
        Ok(token) => Some(token.claims),
        Err(error) => {
            tracing::debug!(%error, "a token that nobody needs can not be read");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_says_is_believed_and_what_is_no_token_says_nothing() {
        // {"alg":"HS256"}, {"sub":"Ada","info":{"name":"Ada"}}, and no signature.
        let token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJBZGEiLCJpbmZvIjp7Im5hbWUiOiJBZGEifX0.";
        let said = claims(token).expect("claims");
        assert_eq!(said.sub, "Ada");
        assert_eq!(said.info.expect("an info").get(), r#"{"name":"Ada"}"#);
        for other in ["", "a", "a.b.c", "eyJhbGciOiJIUzI1NiJ9.e30"] {
            assert!(claims(other).is_none(), "{other}");
        }
    }
}
