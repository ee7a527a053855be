//! Uploads larger than memory: while a part is written, its sender is not read.
//!
//! ```sh
//! cargo run --release -p hioload --example upload
//! curl -T film.mp4 http://127.0.0.1:8000     # stored in the working directory
//! ```

use std::{fs, io::Write, path::PathBuf};

use hioload::http::{BodyPart, Upload};
use hioload::{App, Conn, Message, Request, Response, Server};

/// The folder, and the name that this shard gives its next upload.
pub(crate) struct Store(pub(crate) PathBuf, pub(crate) usize, pub(crate) u64);

impl App for Store {
    type State = (PathBuf, PathBuf);

    fn upload(&mut self, request: &Request<'_>, paths: &mut Self::State) -> Upload {
        let name = request.path().trim_start_matches('/');
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || name.starts_with('.') || !name.bytes().all(plain) {
            return Upload::answer(Response::text(400, "PUT a plain name\n"));
        }
        self.2 += 1;
        let part = format!(".{}-{}-{}", std::process::id(), self.1, self.2);
        *paths = (self.0.join(part), self.0.join(name));
        Upload::stream(1 << 40)
    }

    fn body(&mut self, conn: &mut Conn<'_>, paths: &mut Self::State, part: BodyPart<'_>) {
        let (ends, aborted) = (part == BodyPart::End, part == BodyPart::Aborted);
        let (path, whole, bytes) = (paths.0.clone(), paths.1.clone(), part.bytes().to_vec());
        let write = move |_: &_| match fs::File::options().create(true).append(true).open(&path) {
            _ if aborted => fs::remove_file(path),
            Ok(_) if ends => fs::rename(path, whole),
            file => file?.write_all(&bytes),
        };
        conn.pause();
        let accepted = conn.offload(write, move |conn, written| match written {
            Ok(Ok(())) if ends => drop(conn.answer(Response::text(201, "stored\n"))),
            Ok(Ok(())) => conn.resume(),
            _ => drop(conn.answer(Response::text(500, "not stored\n"))),
        });
        if accepted.is_err() {
            conn.answer(Response::text(503, "busy\n"));
        }
    }

    fn message(&mut self, _: &mut Conn<'_>, _: &mut Self::State, _: Message<'_>) {}
}

fn main() -> hioload::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    Server::bind(addr).run_with(
        |shard| Store(".".into(), shard.index(), 0),
        |running| eprintln!("listening on {}", running.addrs()[0]),
    )
}
