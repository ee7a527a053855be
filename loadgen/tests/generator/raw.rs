//! Servers that know no WebSocket and return the bytes they get.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use crate::server::run;

/// Returns what it reads, with the last byte of each read changed by `change`;
/// its threads end with the test process.
fn start(change: u8) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    buffer[read - 1] ^= change;
                    if stream.write_all(&buffer[..read]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    addr
}

#[test]
fn frames_that_return_as_they_were_sent_pass() {
    let addr = start(0);
    for load in ["--depth 3", "--rate 500", "--depth 2 --size 0..70k"] {
        run(&format!(
            "echo --raw --connections 4 {load} --url ws://{addr}/"
        ))
        .assert_clean();
    }
}

#[test]
fn frames_that_return_changed_do_not() {
    let addr = start(1);
    let ran = run(&format!("echo --raw --connections 4 --url ws://{addr}/"));
    assert!(ran.error("corrupted") > 0);
}
