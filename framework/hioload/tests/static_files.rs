//! Files are served as HTTP has it, and nothing but the directory's files.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use hioload::Router;
use hioload::router::{Files, FilesError};
use support::client::dial;
use support::http::{Answer, expect_eof};
use support::{Serving, config};

/// A directory that goes with its test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hioload-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(&path, content).expect("written");
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _kept = fs::remove_dir_all(&self.0);
    }
}

fn site(dir: &Path) -> Serving {
    let files = Files::load(dir).expect("loads").cache_control("no-cache");
    Serving::start(config(), move |_| {
        Router::new()
            .files("/", &files)
            .group("/sub", |sub| sub.files("/assets/", &files))
    })
}

fn ask(server: &Serving, method: &str, path: &str, headers: &str) -> Answer {
    let mut stream = dial(server.addr());
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).expect("taken");
    if method == "HEAD" {
        let head = Answer::read_head(&mut stream);
        expect_eof(&mut stream);
        return head;
    }
    let answer = Answer::read(&mut stream);
    expect_eof(&mut stream);
    answer
}

#[test]
fn files_are_found_by_name_with_their_type() {
    let dir = Dir::new("found");
    dir.write("index.html", b"<p>home");
    dir.write("js/app.js", b"go()");
    dir.write("docs/index.html", b"<p>docs");
    dir.write("with space.txt", b"spaced");
    dir.write("empty.bin", b"");
    let server = site(&dir.0);
    for (path, body, kind) in [
        ("/", "<p>home", "text/html; charset=utf-8"),
        ("/index.html", "<p>home", "text/html; charset=utf-8"),
        ("/js/app.js", "go()", "text/javascript; charset=utf-8"),
        ("/docs/", "<p>docs", "text/html; charset=utf-8"),
        (
            "/with%20space.txt?v=2",
            "spaced",
            "text/plain; charset=utf-8",
        ),
        ("/empty.bin", "", "application/octet-stream"),
        ("/sub/assets/", "<p>home", "text/html; charset=utf-8"),
        (
            "/sub/assets/js/app.js",
            "go()",
            "text/javascript; charset=utf-8",
        ),
    ] {
        let answer = ask(&server, "GET", path, "");
        assert_eq!((answer.status, answer.text()), (200, body), "{path}");
        assert_eq!(answer.header("content-type"), Some(kind), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let head = ask(&server, "HEAD", path, "");
        let length = body.len().to_string();
        assert_eq!(head.header("content-length"), Some(&*length), "{path}");
    }
    for path in ["/js", "/js/", "/docs", "/none", "/index.html/"] {
        assert_eq!(ask(&server, "GET", path, "").status, 404, "{path}");
    }
    server.stop();
}

#[test]
fn what_the_client_has_is_not_sent_again() {
    let dir = Dir::new("known");
    dir.write("a.txt", b"content");
    let server = site(&dir.0);
    let first = ask(&server, "GET", "/a.txt", "");
    let etag = first.header("etag").expect("a tag").to_owned();
    let date = first.header("last-modified").expect("a date").to_owned();
    for (headers, status) in [
        (format!("If-None-Match: {etag}\r\n"), 304),
        (format!("If-None-Match: \"x\", W/{etag}\r\n"), 304),
        ("If-None-Match: *\r\n".to_owned(), 304),
        ("If-None-Match: \"x\"\r\n".to_owned(), 200),
        (format!("If-Modified-Since: {date}\r\n"), 304),
        (
            "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n".to_owned(),
            200,
        ),
        ("If-Modified-Since: yesterday\r\n".to_owned(), 200),
        (
            format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {date}\r\n"),
            200,
        ),
    ] {
        let answer = ask(&server, "GET", "/a.txt", &headers);
        assert_eq!(answer.status, status, "{headers}");
        assert_eq!(answer.header("etag"), Some(&*etag), "{headers}");
        let body = if status == 200 { "content" } else { "" };
        assert_eq!(answer.text(), body, "{headers}");
    }
    server.stop();
}

#[test]
fn a_range_is_a_part_if_the_file_is_still_the_same() {
    let dir = Dir::new("range");
    dir.write("digits", b"0123456789");
    let server = site(&dir.0);
    let etag = ask(&server, "HEAD", "/digits", "");
    let etag = etag.header("etag").expect("a tag");
    for (headers, status, body, range) in [
        ("Range: bytes=2-4\r\n", 206, "234", Some("bytes 2-4/10")),
        ("Range: bytes=-2\r\n", 206, "89", Some("bytes 8-9/10")),
        (
            "Range: bytes=10-\r\n",
            416,
            "no such range\n",
            Some("bytes */10"),
        ),
        ("Range: bytes=0-1,4-5\r\n", 200, "0123456789", None),
        (
            &format!("Range: bytes=7-\r\nIf-Range: {etag}\r\n"),
            206,
            "789",
            Some("bytes 7-9/10"),
        ),
        (
            "Range: bytes=7-\r\nIf-Range: \"old\"\r\n",
            200,
            "0123456789",
            None,
        ),
    ] {
        let answer = ask(&server, "GET", "/digits", headers);
        assert_eq!((answer.status, answer.text()), (status, body), "{headers}");
        assert_eq!(answer.header("content-range"), range, "{headers}");
    }
    let head = ask(&server, "HEAD", "/digits", "Range: bytes=2-4\r\n");
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("10"))
    );
    server.stop();
}

#[test]
fn no_path_leads_out_of_the_directory() {
    let dir = Dir::new("outside");
    dir.write("secret.txt", b"secret");
    let inside = dir.write("site/inside.txt", b"inside");
    dir.write("site/.env", b"secret");
    dir.write("site/.git/config", b"secret");
    dir.write("site/.well-known/security.txt", b"contact");
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        symlink("../secret.txt", dir.0.join("site/link.txt")).expect("a link");
        symlink("..", dir.0.join("site/up")).expect("a link");
        symlink(&inside, dir.0.join("site/same.txt")).expect("a link");
    }
    let server = site(&dir.0.join("site"));
    for path in [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/..%5csecret.txt",
        "//secret.txt",
        "/./inside.txt",
        "/x/../inside.txt",
        "/.env",
        "/.git/config",
        "/link.txt",
        "/up/secret.txt",
        "/up/site/inside.txt",
        "/inside.txt%00",
    ] {
        let answer = ask(&server, "GET", path, "");
        assert!([400, 404].contains(&answer.status), "{path}: {answer:?}");
    }
    assert_eq!(ask(&server, "GET", "/inside.txt", "").text(), "inside");
    let known = ask(&server, "GET", "/.well-known/security.txt", "");
    assert_eq!(known.text(), "contact");
    if cfg!(unix) {
        assert_eq!(ask(&server, "GET", "/same.txt", "").text(), "inside");
    }
    server.stop();
    assert!(inside.exists());
}

#[test]
fn too_much_and_nothing_are_refused_by_name() {
    let dir = Dir::new("limit");
    dir.write("a.bin", &[0; 600]);
    dir.write("b.bin", &[0; 600]);
    assert_eq!(Files::load_up_to(&dir.0, 1200).expect("fits").len(), 2);
    let error = Files::load_up_to(&dir.0, 1199).expect_err("too much");
    assert!(matches!(error, FilesError::TooLarge { .. }), "{error}");
    let error = Files::load(dir.0.join("none")).expect_err("nothing there");
    assert!(error.to_string().contains("none"), "{error}");
}
