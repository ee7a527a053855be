//! Which pages may use the service.

use crate::app::Upgrade;
use crate::http::{Refusal, Request, Response};
use crate::router::chain::{Middleware, Next};

/// Refuses upgrades, and requests with effects (all but `GET`, `HEAD` and
/// `OPTIONS`), that pages of foreign origins let a browser send: 403.
///
/// Browsers always send `Origin` with an upgrade (RFC 6455 section 4.1), and
/// nothing else keeps a foreign page from using its visitor's cookies. Other
/// programs send what they like, so this protects users, not the service; a
/// request without `Origin` passes unless [`required`](Self::required).
#[derive(Clone, Debug, Default)]
pub struct OriginCheck {
    allowed: Vec<String>,
    same_origin: bool,
    required: bool,
}

impl OriginCheck {
    /// Allows no origin yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Allows an origin: scheme, host, and the port unless it is the scheme's
    /// own, such as `https://example.com`. Case does not matter.
    #[must_use]
    pub fn allow(mut self, origin: &str) -> Self {
        self.allowed.push(normal(origin));
        self
    }

    /// Allows pages from the host and port that the request's `Host` names,
    /// over either scheme: whether TLS ends before this server is not visible.
    #[must_use]
    pub fn same_origin(mut self) -> Self {
        self.same_origin = true;
        self
    }

    /// Refuses requests without an origin, too.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    fn admits(&self, origin: Option<&str>, host: Option<&str>) -> bool {
        let Some(origin) = origin else {
            return !self.required;
        };
        let origin = normal(origin);
        if self.allowed.contains(&origin) {
            return true;
        }
        let (Some(host), Some((scheme, authority))) = (host, origin.split_once("://")) else {
            return false;
        };
        let known = scheme == "http" || scheme == "https";
        self.same_origin && known && authority == without_port(scheme, &host.to_ascii_lowercase())
    }

    /// Whether a request comes from where it may, for apps that ask outside of a
    /// router.
    #[must_use]
    pub fn passes(&self, request: &Request<'_>) -> bool {
        self.admits(request.header("origin"), request.header("host"))
    }
}

/// Lower case, and without the port if it is the scheme's own.
fn normal(origin: &str) -> String {
    let origin = origin.trim_end_matches('/').to_ascii_lowercase();
    match origin.split_once("://") {
        Some((scheme, authority)) => format!("{scheme}://{}", without_port(scheme, authority)),
        None => origin,
    }
}

fn without_port<'a>(scheme: &str, authority: &'a str) -> &'a str {
    let port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return authority,
    };
    authority.strip_suffix(port).unwrap_or(authority)
}

impl Middleware for OriginCheck {
    fn upgrade(&mut self, request: &Request<'_>, next: Next<'_>) -> Upgrade {
        if self.passes(request) {
            next.upgrade(request)
        } else {
            Refusal::Forbidden.into()
        }
    }

    fn http(&mut self, request: &Request<'_>, next: Next<'_>) -> Response {
        let safe = matches!(request.method(), "GET" | "HEAD" | "OPTIONS");
        if safe || self.passes(request) {
            next.http(request)
        } else {
            Response::text(403, "not allowed from this origin\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_allowed_and_own_origins_pass() {
        let listed = OriginCheck::new().allow("https://Example.com:443");
        let own = OriginCheck::new().same_origin();
        for (check, origin, host, passes) in [
            (&listed, "https://example.com", "a", true),
            (&listed, "https://example.com:8443", "a", false),
            (&listed, "http://example.com", "a", false),
            (&listed, "https://example.com.evil", "a", false),
            (&listed, "https://a", "a", false),
            (&own, "https://a.example", "A.example", true),
            (&own, "https://a.example", "a.example:443", true),
            (&own, "http://a.example:8000", "a.example:8000", true),
            (&own, "http://a.example:8001", "a.example:8000", false),
            (&own, "http://[::1]:8000", "[::1]:8000", true),
            (&own, "null", "a.example", false),
            (&own, "file://", "", false),
            (&own, "https://b.example", "a.example", false),
        ] {
            assert_eq!(
                check.admits(Some(origin), Some(host)),
                passes,
                "{origin} at {host}"
            );
        }
        assert!(own.admits(None, Some("a")));
        assert!(!own.clone().required().admits(None, Some("a")));
        assert!(!own.admits(Some("http://a"), None));
    }
}
