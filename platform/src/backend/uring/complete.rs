//! What the kernel reported, and whom it concerns.

use std::os::fd::{FromRawFd, OwnedFd};

use io_uring::cqueue;

use super::UringDriver;
use super::tag::{Kind, Tag};
use crate::driver::Event;
use crate::socket::Socket;

/// One completion.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    pub(super) tag: Tag,
    /// The result of the system call: negative is an error number.
    pub(super) result: i32,
    flags: u32,
}

impl Completion {
    pub(super) fn read(entry: &cqueue::Entry) -> Self {
        Self {
            tag: Tag::from_bits(entry.user_data()),
            result: entry.result(),
            flags: entry.flags(),
        }
    }

    /// Whether the request will complete again. When it will not it is over
    /// and, if it was multishot, must be armed again.
    pub(super) fn more(self) -> bool {
        cqueue::more(self.flags)
    }

    /// The receive buffer it carries.
    pub(super) fn buffer(self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }

    /// Whether it is the second completion of a zero-copy send.
    pub(super) fn notification(self) -> bool {
        cqueue::notif(self.flags)
    }
}

impl UringDriver {
    /// Hands a completion to whom it concerns: at most one event.
    pub(super) fn complete(&mut self, completion: Completion, events: &mut Vec<Event<Socket>>) {
        let Some(kind) = completion.tag.kind() else {
            self.stats.stale += 1;
            return;
        };
        // `Rung` answers a request of another ring.
        if kind != Kind::Rung && !completion.more() {
            self.ring.finished();
        }
        match kind {
            Kind::Rung => self.rung(events),
            Kind::Doorbell => self.doorbell_rang(completion, events),
            Kind::Ring => self.ring_delivered(completion),
            Kind::SendZc => self.zero_copy_completed(completion, events),
            Kind::Sweep => {}
            _ => self.complete_slot(kind, completion, events),
        }
    }

    fn complete_slot(
        &mut self,
        kind: Kind,
        completion: Completion,
        events: &mut Vec<Event<Socket>>,
    ) {
        let token = completion.tag.token();
        let Some(entry) = self.table.get_mut(token) else {
            self.discard(kind, completion);
            return;
        };
        if !completion.more() {
            debug_assert!(entry.ops > 0, "{token:?}: more completions than requests");
            entry.ops = entry.ops.saturating_sub(1);
        }
        match kind {
            Kind::Accept => self.accept_completed(token, completion, events),
            Kind::Recv => self.recv_completed(token, completion, events),
            Kind::Send => self.send_completed(token, completion, events),
            Kind::Connect => self.connect_completed(token, completion, events),
            Kind::Poll => self.poll_completed(token, completion, events),
            Kind::CancelAll | Kind::CancelOne => self.cancel_completed(token, kind, completion),
            Kind::Close => return self.close_completed(token, completion, events),
            Kind::ConnectTimeout
            | Kind::SendZc
            | Kind::Doorbell
            | Kind::Ring
            | Kind::Rung
            | Kind::Sweep => {}
        }
        self.settle(token);
    }

    /// A completion for an earlier occupant of its slot: what it carries is
    /// given back, the rest ignored.
    fn discard(&mut self, kind: Kind, completion: Completion) {
        self.stats.stale += 1;
        if kind == Kind::Recv {
            drop(self.received(completion.tag.token(), completion));
        }
        if kind == Kind::Accept && completion.result >= 0 {
            // SAFETY: the kernel made this descriptor for us alone.
            drop(unsafe { OwnedFd::from_raw_fd(completion.result) });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::mem::MaybeUninit;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::IntoRawFd;

    use super::super::config::{RecvMode, UringConfig};
    use super::super::ring::{Block, CHUNK};
    use super::*;
    use crate::driver::{Driver, Token};

    const BUFFERS: u16 = 2;
    const SIZE: usize = 256;

    fn driver(recv_mode: RecvMode) -> UringDriver {
        let config = UringConfig {
            recv_buffers: BUFFERS,
            recv_buffers_max: BUFFERS,
            recv_buffer_size: SIZE,
            recv_mode,
            ..UringConfig::default()
        };
        UringDriver::open(config).expect("io_uring is available")
    }

    fn pair(driver: &mut UringDriver) -> (Token, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
        let addr = listener
            .local_addr()
            .expect("a bound listener has an address");
        let peer = TcpStream::connect(addr).expect("the backlog has room");
        let (stream, _) = listener.accept().expect("a connection waits");
        (
            driver
                .adopt(Socket::from(stream))
                .expect("room for a socket"),
            peer,
        )
    }

    /// The next completion, not yet handed to anybody.
    fn intercept(driver: &mut UringDriver) -> Completion {
        let mut chunk = [const { MaybeUninit::uninit() }; CHUNK];
        loop {
            if let [entry] = driver.ring.take(&mut chunk, 1) {
                return Completion::read(entry);
            }
            driver
                .ring
                .enter(Block::For(1_000_000_000))
                .expect("the ring works");
        }
    }

    #[test]
    fn a_stale_receive_gives_its_buffer_back_once() {
        for mode in [RecvMode::Plain, RecvMode::Incremental] {
            let mut driver = driver(mode);
            let (token, mut peer) = pair(&mut driver);
            driver.recv_start(token);
            let mut events = Vec::new();
            // Twice what the pool holds: one buffer lost or doubled would show.
            let rounds = 4 * usize::from(BUFFERS);
            for round in 1..=rounds as u64 {
                peer.write_all(&[1; SIZE / 2]).expect("the socket buffers");
                let mut completion = intercept(&mut driver);
                assert!(completion.buffer().is_some(), "{completion:?}");
                let earlier = Token::new(token.slot(), token.generation() + 1);
                completion.tag = Tag::new(Kind::Recv, earlier);
                driver.complete(completion, &mut events);
                assert!(events.is_empty(), "nobody hears of it: {events:?}");
                assert_eq!((driver.stats.stale, driver.stats().leases_out), (round, 0));
                driver.restock();
            }
            peer.write_all(&[2; SIZE / 2]).expect("the socket buffers");
            driver.wait(None, &mut events).expect("the driver goes on");
            match &events[..] {
                [Event::Received { lease, .. }] => assert_eq!(lease[..], [2; SIZE / 2]),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_stale_accept_closes_its_socket() {
        let mut driver = driver(RecvMode::Plain);
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let tag = Tag::new(Kind::Accept, Token::new(0, 7));
        // As if the completion were one of several: no request of ours ends.
        let more = 1 << 1;
        let result = OwnedFd::from(writer).into_raw_fd();
        let mut events = Vec::new();
        driver.complete(
            Completion {
                tag,
                result,
                flags: more,
            },
            &mut events,
        );
        assert!(events.is_empty());
        let end = std::io::Read::read(&mut &reader, &mut [0; 1]).expect("a pipe can be read");
        assert_eq!(
            (end, driver.stats.stale),
            (0, 1),
            "the only writer is closed"
        );
    }

    #[test]
    fn foreign_bits_are_counted_and_ignored() {
        let mut driver = driver(RecvMode::Plain);
        let mut events = Vec::new();
        for bits in [0, u64::MAX] {
            let completion = Completion {
                tag: Tag::from_bits(bits),
                result: 0,
                flags: 0,
            };
            driver.complete(completion, &mut events);
        }
        assert!(events.is_empty());
        assert_eq!(driver.stats.stale, 2);
    }
}
