//! A request to stop drains: clients get 1001, those of the chat 3001, and the
//! exit code is 0. A second one
//! cuts what is left.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use hioload_protocol::frame::OpCode;
use support::Serving;
use support::client::{Client, Seen, dial, frame};
use support::http::{Answer, expect_eof};
use support::wait::until;

#[test]
fn a_request_to_stop_drains_and_exits_with_0() {
    let mut serving = Serving::start(&[]);
    let mut clients: Vec<_> = (0..20)
        .map(|n| Client::connect(serving.addr, ["/echo", "/broadcast/a"][n % 2]))
        .collect();
    clients[0].check_echo("before");
    // One that is between two requests.
    let mut plain = dial(serving.addr);
    plain
        .write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("taken");
    assert_eq!(Answer::read(&mut plain).status, 200);
    serving.process.ask_to_stop();
    for client in &mut clients {
        client.expect_end(1001);
    }
    expect_eof(&mut plain);
    drop((clients, plain));
    let ended = serving.process.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("stopping"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("ERROR"), "{}", ended.stderr);
}

#[test]
fn clients_of_the_chat_are_told_to_come_back() {
    let mut serving = Serving::start(&["--dev"]);
    let mut silent = Client::connect(serving.addr, "/connection/websocket");
    let mut chat = Client::connect(serving.addr, "/connection/websocket");
    chat.text(r#"{"id":1,"connect":{}}"#);
    chat.expect_text();
    let mut echo = Client::connect(serving.addr, "/echo");
    echo.check_echo("here");
    serving.process.ask_to_stop();
    for client in [&mut silent, &mut chat] {
        assert_eq!(client.message(), Seen::Closed(3001, "shutdown".into()));
    }
    echo.expect_end(1001);
    drop((silent, chat, echo));
    assert_eq!(serving.process.wait().status.code(), Some(0));
}

#[test]
fn an_independent_client_sees_the_stop() {
    let mut serving = Serving::start(&[]);
    let url = format!("ws://{}/echo", serving.addr);
    let (mut socket, _) = tungstenite::client(url, dial(serving.addr)).expect("a handshake");
    serving.process.ask_to_stop();
    let tungstenite::Message::Close(Some(close)) = socket.read().expect("a close") else {
        panic!("no Close frame with a code");
    };
    assert_eq!(u16::from(close.code), 1001);
    let end = socket.read().expect_err("the end");
    assert!(matches!(end, tungstenite::Error::ConnectionClosed), "{end}");
    drop(socket);
    assert_eq!(serving.process.wait().status.code(), Some(0));
}

/// What the server is about to send when the request comes still arrives.
#[test]
fn what_was_sent_before_the_request_arrives() {
    let message = vec![7; 1 << 20];
    let mut serving = Serving::start(&[]);
    let mut client = Client::connect_narrow(serving.addr, "/echo");
    // An answer to the close must not come between the writer's bytes.
    client.mute();
    let mut writer = client.writer();
    let messages = frame(true, OpCode::Binary, &message).repeat(12);
    let writer = std::thread::spawn(move || writer.write_all(&messages));
    // The kernel takes a few of the echoes. More than the answers to the
    // handshake and to this question: an echo.
    until("an echo waits", || {
        match serving.metric("hioload_send_bytes_pending") {
            bytes if bytes > 100_000 => Ok(()),
            bytes => Err(bytes),
        }
    });
    serving.process.ask_to_stop();
    until("refuses", || match TcpStream::connect(serving.addr) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        other => Err(other),
    });
    let mut echoes = 0;
    loop {
        match client.message() {
            Seen::Binary(echo) => assert!(echo == message, "echo {echoes} is whole"),
            Seen::Closed(code, _) => break assert_eq!(code, 1001),
            seen => panic!("{seen:?}"),
        }
        echoes += 1;
    }
    assert!(echoes > 0);
    writer
        .join()
        .expect("no panic")
        .expect("the server reads to the end");
    client.raw(&frame(true, OpCode::Close, &1001_u16.to_be_bytes()));
    assert_eq!(client.message(), Seen::Eof);
    drop(client);
    assert_eq!(serving.process.wait().status.code(), Some(0));
}

#[test]
fn a_second_request_cuts_what_is_left() {
    let file = std::env::temp_dir().join(format!("hioload-stop-{}.toml", std::process::id()));
    std::fs::write(&file, "[timeouts]\nclose = '60s'\ndrain = '60s'\n").expect("a file");
    let mut serving = Serving::start(&["--config", file.to_str().expect("text")]);
    let mut client = Client::connect(serving.addr, "/echo");
    client.mute();
    serving.process.ask_to_stop();
    assert_eq!(client.expect_close(), 1001);
    assert_eq!(
        client.poll(Duration::from_millis(500)),
        None,
        "it waits for the answer"
    );
    assert!(serving.process.is_running());
    let before = Instant::now();
    serving.process.ask_to_stop();
    let end = client.next();
    assert!(matches!(end, Seen::Eof | Seen::Reset), "{end:?}");
    assert_eq!(serving.process.wait().status.code(), Some(0));
    assert!(
        before.elapsed() < Duration::from_secs(10),
        "{:?}",
        before.elapsed()
    );
    std::fs::remove_file(file).expect("the file is still there");
}

#[test]
fn the_drain_timeout_ends_it_alone() {
    let mut serving = Serving::start(&["--drain-timeout", "300ms"]);
    let mut client = Client::connect(serving.addr, "/echo");
    client.mute();
    let before = Instant::now();
    serving.process.ask_to_stop();
    assert_eq!(client.expect_close(), 1001);
    assert_eq!(serving.process.wait().status.code(), Some(0));
    let took = before.elapsed();
    assert!(
        took >= Duration::from_millis(300) && took < Duration::from_secs(4),
        "{took:?}"
    );
}
