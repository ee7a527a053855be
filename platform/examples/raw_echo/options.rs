//! The command line.

use std::io;
use std::net::{SocketAddr, TcpListener};

use hioload_platform::limits;
use socket2::{Domain, Socket, Type};

/// Connections that may wait to be accepted: a storm opens many at once.
const BACKLOG: i32 = 4096;

/// The most buffers a ring of them has.
const MAX_BUFFERS: u16 = 1 << 15;

/// What the server is to be.
pub(crate) struct Options {
    /// How it asks the kernel.
    pub(crate) api: Api,
    /// Returns bytes to all others instead of to who sent them.
    pub(crate) fan_out: bool,
    /// Bytes of one read.
    pub(crate) buffer: usize,
    /// Buffers of all connections together; a power of two.
    pub(crate) buffers: u16,
    listen: SocketAddr,
}

/// How the server asks the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    Uring,
    Epoll,
}

impl Options {
    /// Reads the arguments, without the program's name.
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let api = match args.next().as_deref() {
            Some("uring") => Api::Uring,
            Some("epoll") => Api::Epoll,
            other => return Err(format!("uring or epoll, not {other:?}")),
        };
        let fan_out = match args.next().as_deref() {
            Some("echo") => false,
            Some("broadcast") if api == Api::Uring => true,
            other => return Err(format!("echo, or with uring broadcast, not {other:?}")),
        };
        let mut options = Self {
            api,
            fan_out,
            buffer: 16 << 10,
            buffers: 1024,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        while let Some(name) = args.next() {
            let value = args.next().unwrap_or_default();
            let wrong = || format!("{name} {value:?} is wrong");
            match name.as_str() {
                "--listen" => options.listen = value.parse().map_err(|_| wrong())?,
                "--buffer" => {
                    let bytes = value
                        .parse()
                        .ok()
                        .filter(|bytes| (1..=1 << 24).contains(bytes));
                    options.buffer = bytes.ok_or_else(wrong)?;
                }
                "--buffers" => {
                    let count = value
                        .parse()
                        .ok()
                        .filter(|count: &u16| count.is_power_of_two() && *count <= MAX_BUFFERS);
                    options.buffers = count.ok_or_else(wrong)?;
                }
                _ => return Err(format!("no such option: {name}")),
            }
        }
        Ok(options)
    }

    /// A listening socket whose connections send without delay.
    pub(crate) fn listen(&self) -> io::Result<TcpListener> {
        // As far as it goes; who comes later is not accepted.
        drop(limits::raise_nofile(u64::MAX));
        let socket = Socket::new(Domain::for_address(self.listen), Type::STREAM, None)?;
        socket.set_tcp_nodelay(true)?;
        socket.bind(&self.listen.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    }
}
