//! The pages and what they are made of, all in the binary. They ask nobody else
//! for anything, and run no script but their own.

use hioload::Response;

use crate::chat::Identity;

/// What a page is made of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Asset {
    pub(crate) path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

macro_rules! asset {
    ($path:literal, $content_type:expr) => {
        asset!($path, $content_type, $path)
    };
    ($path:literal, $content_type:expr, $file:literal) => {
        Asset {
            path: $path,
            content_type: $content_type,
            bytes: include_bytes!(concat!("page", $file)),
        }
    };
}

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

pub(crate) static CHAT: Asset = asset!("/", HTML, "/chat.html");
pub(crate) static ADMIN: Asset = asset!("/admin", HTML, "/admin.html");

pub(crate) static ASSETS: [Asset; 10] = [
    asset!("/assets/base.css", STYLE),
    asset!("/assets/chat.css", STYLE),
    asset!("/assets/admin.css", STYLE),
    asset!("/assets/dom.js", SCRIPT),
    asset!("/assets/client.js", SCRIPT),
    asset!("/assets/room.js", SCRIPT),
    asset!("/assets/view.js", SCRIPT),
    asset!("/assets/chat.js", SCRIPT),
    asset!("/assets/plot.js", SCRIPT),
    asset!("/assets/admin.js", SCRIPT),
];

/// Where the chat page learns how it says who its user is.
pub(crate) const IDENTITY: &str = "/assets/identity.json";

/// Only this server's own files, and sockets to it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

impl Asset {
    pub(crate) fn answer(&self) -> Response {
        Response::ok(self.content_type, self.bytes)
            .header("Content-Security-Policy", POLICY)
            .header("X-Content-Type-Options", "nosniff")
            .header("Referrer-Policy", "no-referrer")
            .header("Cache-Control", "no-cache")
    }
}

pub(crate) fn identity(identity: Identity) -> Response {
    let told = match identity {
        Identity::Claimed => &br#"{"identity":"claimed"}"#[..],
        Identity::Optional => br#"{"identity":"optional"}"#,
        Identity::Token => br#"{"identity":"token"}"#,
        Identity::Nobody => br#"{"identity":"nobody"}"#,
    };
    Response::ok("application/json", told).header("Cache-Control", "no-store")
}
