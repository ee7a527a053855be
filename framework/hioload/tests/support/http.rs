//! A blocking HTTP/1.1 client that sends what it is told to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::client::dial;

/// A response.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Reads one response with its body, and not a byte more.
    pub(crate) fn read(stream: &mut TcpStream) -> Self {
        let mut answer = Self::read_head(stream);
        let length = answer.header("content-length").unwrap_or("0");
        answer.body = vec![0; length.parse().expect("a length is a number")];
        stream.read_exact(&mut answer.body).expect("a whole body");
        answer
    }

    /// Reads a response's head.
    pub(crate) fn read_head(stream: &mut impl Read) -> Self {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            let read = stream.read(&mut byte).expect("the server answers");
            assert_ne!(
                read,
                0,
                "closed in a head: {:?}",
                String::from_utf8_lossy(&head)
            );
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("a head is text");
        let status = head
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3));
        let status = status.and_then(|digits| digits.parse().ok());
        Self {
            status: status.expect("a status line"),
            head,
            body: Vec::new(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut named = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.trim())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a text body")
    }
}

/// Sends `request` as it is and reads the answer; the server closes after it.
pub(crate) fn exchange(addr: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = dial(addr);
    stream
        .write_all(request)
        .expect("the server takes the request");
    let answer = Answer::read(&mut stream);
    expect_eof(&mut stream);
    answer
}

/// One GET on a connection of its own.
pub(crate) fn get(addr: SocketAddr, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    exchange(addr, request.as_bytes())
}

/// Nothing more comes, and the server has ended.
pub(crate) fn expect_eof(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("an orderly end");
    assert!(
        rest.is_empty(),
        "{:?} after the answer",
        String::from_utf8_lossy(&rest)
    );
}

/// A valid upgrade request.
pub(crate) fn upgrade(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\n\
         Host: localhost\r\n\
         Upgrade: websocket\r\n\
         Connection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\n\
         \r\n"
    )
}
