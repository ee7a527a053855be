//! One file, and the answers it gives.

use std::fmt::Write;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha1::{Digest, Sha1};

use crate::http::{Request, Response};

/// A file in memory.
#[derive(Debug)]
pub(super) struct Document {
    content_type: &'static str,
    /// With its quotes.
    etag: String,
    /// In whole seconds, as HTTP has them.
    modified: SystemTime,
    bytes: Box<[u8]>,
}

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// All: there is none, or it is to be ignored (RFC 9110 section 14.2).
    All,
    Part(Range<usize>),
    Unsatisfiable,
}

impl Document {
    pub(super) fn new(name: &str, bytes: Vec<u8>, modified: SystemTime) -> Self {
        let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut etag = String::from("\"");
        for byte in Sha1::digest(&bytes).iter().take(16) {
            let _infallible = write!(etag, "{byte:02x}");
        }
        etag.push('"');
        Self {
            content_type: content_type(name),
            etag,
            modified: UNIX_EPOCH + Duration::from_secs(since.as_secs()),
            bytes: bytes.into(),
        }
    }

    pub(super) fn answer(&self, request: &Request<'_>) -> Response {
        if self.is_known(request) {
            return self.describe(Response::text(304, ""));
        }
        // A range means nothing to other methods.
        let range = request.header("range");
        let asked = range.filter(|_| request.method() == "GET" && self.may_be_cut(request));
        match asked.map_or(Asked::All, |range| parse(range, self.bytes.len())) {
            Asked::All => self.describe(Response::ok(self.content_type, self.bytes.to_vec())),
            Asked::Part(range) => {
                let cut = format!(
                    "bytes {}-{}/{}",
                    range.start,
                    range.end - 1,
                    self.bytes.len()
                );
                let part = Response::ok(self.content_type, self.bytes[range].to_vec());
                self.describe(part.with_status(206))
                    .header("Content-Range", cut)
            }
            Asked::Unsatisfiable => Response::text(416, "no such range\n")
                .header("Content-Range", format!("bytes */{}", self.bytes.len())),
        }
    }

    fn describe(&self, response: Response) -> Response {
        response
            .header("ETag", self.etag.clone())
            .header("Last-Modified", httpdate::fmt_http_date(self.modified))
            .header("Accept-Ranges", "bytes")
            .header("X-Content-Type-Options", "nosniff")
    }

    /// The client has it already (RFC 9110 section 13.2.2): `If-None-Match`
    /// decides, where there is one.
    fn is_known(&self, request: &Request<'_>) -> bool {
        if let Some(tags) = request.header("if-none-match") {
            let mut tags = tags.split(',').map(str::trim);
            return tags.any(|tag| tag == "*" || tag.trim_start_matches("W/") == self.etag);
        }
        let since = request.header("if-modified-since");
        let since = since.and_then(|date| httpdate::parse_http_date(date).ok());
        since.is_some_and(|since| self.modified <= since)
    }

    /// The client's parts are of this very content (RFC 9110 section 13.1.5).
    fn may_be_cut(&self, request: &Request<'_>) -> bool {
        match request.header("if-range") {
            None => true,
            Some(tag) if tag.contains('"') => tag == self.etag,
            Some(date) => httpdate::parse_http_date(date).is_ok_and(|date| date == self.modified),
        }
    }
}

/// What is malformed, in other units or in several parts is ignored.
fn parse(header: &str, len: usize) -> Asked {
    let Some((first, last)) = header
        .strip_prefix("bytes=")
        .filter(|set| !set.contains(','))
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Asked::All;
    };
    let number = |digits: &str| {
        let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        // More than fits is beyond every file.
        valid.then(|| digits.parse().unwrap_or(usize::MAX))
    };
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(len),
        (Some(first), None) if last.is_empty() => first..len,
        (None, Some(suffix)) if first.is_empty() => len.saturating_sub(suffix)..len,
        _ => return Asked::All,
    };
    if range.is_empty() {
        Asked::Unsatisfiable
    } else {
        Asked::Part(range)
    }
}

fn content_type(name: &str) -> &'static str {
    match mime_guess::from_path(name).first_raw() {
        None => "application/octet-stream",
        Some("text/html") => "text/html; charset=utf-8",
        Some("text/css") => "text/css; charset=utf-8",
        Some("text/plain") => "text/plain; charset=utf-8",
        Some("text/javascript" | "application/javascript") => "text/javascript; charset=utf-8",
        Some("text/csv") => "text/csv; charset=utf-8",
        Some("text/markdown") => "text/markdown; charset=utf-8",
        Some(other) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_a_part_of_the_file_or_of_nothing() {
        for (header, expected) in [
            ("bytes=0-0", Asked::Part(0..1)),
            ("bytes=2-5", Asked::Part(2..6)),
            ("bytes=2-", Asked::Part(2..10)),
            ("bytes=2-100", Asked::Part(2..10)),
            ("bytes=-3", Asked::Part(7..10)),
            ("bytes=-100", Asked::Part(0..10)),
            ("bytes=0-99999999999999999999999", Asked::Part(0..10)),
            ("bytes=10-", Asked::Unsatisfiable),
            ("bytes=99999999999999999999999-", Asked::Unsatisfiable),
            ("bytes=-0", Asked::Unsatisfiable),
            ("bytes=5-2", Asked::All),
            ("bytes=0-1,3-4", Asked::All),
            ("bytes=-", Asked::All),
            ("bytes=a-b", Asked::All),
            ("bytes=+1-2", Asked::All),
            ("lines=0-1", Asked::All),
        ] {
            assert_eq!(parse(header, 10), expected, "{header}");
        }
        assert_eq!(parse("bytes=0-", 0), Asked::Unsatisfiable);
    }

    #[test]
    fn types_follow_extensions() {
        assert_eq!(content_type("a/b.html"), "text/html; charset=utf-8");
        assert_eq!(content_type("app.js"), "text/javascript; charset=utf-8");
        assert_eq!(content_type("x.PNG"), "image/png");
        assert_eq!(content_type("font.woff2"), "font/woff2");
        assert_eq!(content_type("unknown"), "application/octet-stream");
    }
}
