//! What the peers of the benchmarks share: their command line, and for those on
//! tokio the accept loop, the two ways to write, and a fan-out.
//!
//! They are servers as their authors' examples write them, on one thread. Every
//! one takes the same arguments ([`Options`]) and prints `listening on ADDRESS`
//! when it is ready.

#![forbid(unsafe_code)]

#[cfg(feature = "tokio")]
pub mod batched;
#[cfg(feature = "tokio")]
pub mod hub;
#[cfg(feature = "tokio")]
pub mod serve;

use std::net::SocketAddr;
use std::path::PathBuf;

/// The most bytes of a message that a peer is asked to take.
pub const MAX_MESSAGE: usize = 16 << 20;

/// What a peer is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens; port 0 by default.
    pub listen: SocketAddr,
    /// What it does with messages.
    pub mode: Mode,
    /// Writes once for all messages that arrived together, not for each.
    pub batched: bool,
    /// Accepts permessage-deflate.
    pub deflate: bool,
    /// Certificate chain and key, in PEM files.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// What a peer does with messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Sends each back.
    Echo,
    /// Sends each to all other connections.
    Broadcast,
}

impl Options {
    /// Reads the command line: `MODE [--listen ADDR] [--batched] [--deflate]
    /// [--tls CERT KEY]`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse() -> Result<Self, String> {
        let mut args = std::env::args().skip(1);
        let mode = match args.next().as_deref() {
            Some("echo") => Mode::Echo,
            Some("broadcast") => Mode::Broadcast,
            other => return Err(format!("the mode is echo or broadcast, not {other:?}")),
        };
        let mut options = Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            mode,
            batched: false,
            deflate: false,
            tls: None,
        };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--batched" => options.batched = true,
                "--deflate" => options.deflate = true,
                "--listen" => {
                    let text = args.next().unwrap_or_default();
                    options.listen = text
                        .parse()
                        .map_err(|error| format!("{text:?} is no address: {error}"))?;
                }
                "--tls" => match (args.next(), args.next()) {
                    (Some(certificate), Some(key)) => {
                        options.tls = Some((certificate.into(), key.into()));
                    }
                    _ => return Err("--tls needs a certificate and a key".into()),
                },
                _ => return Err(format!("no such option: {arg}")),
            }
        }
        Ok(options)
    }

    /// As [`parse`](Self::parse), for a peer that only echoes, in plain TCP and
    /// once per message.
    ///
    /// # Errors
    /// What is wrong with the command line, or that the peer cannot do it.
    pub fn plain_echo() -> Result<Self, String> {
        let options = Self::parse()?;
        if options.mode != Mode::Echo || options.batched || options.deflate || options.tls.is_some()
        {
            return Err("this peer only echoes, uncompressed and in plain TCP".into());
        }
        Ok(options)
    }
}

/// Says where the peer listens, for whoever started it.
pub fn announce(addr: SocketAddr) {
    println!("listening on {addr}");
}
