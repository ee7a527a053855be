//! Connecting, with a source address and a timeout.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use io_uring::types::Timespec;
use io_uring::{opcode, squeue, types};
use socket2::SockAddr;

use super::UringDriver;
use super::complete::Completion;
use super::ring;
use super::table::{Flags, Role};
use super::tag::{Kind, Tag};
use crate::driver::{Connect, Event, Token};
use crate::error::DriverError;
use crate::socket::{self, Socket};

/// The memory of a connect in flight. Boxed: the kernel holds its address.
#[derive(Debug)]
pub(super) struct ConnectOp {
    addr: SockAddr,
    timeout: Timespec,
}

impl UringDriver {
    pub(super) fn start_connect(&mut self, target: &Connect) -> Result<Token, DriverError> {
        self.table.check_room()?;
        let fd = OwnedFd::from(socket::open_client(target)?);
        let raw = types::Fd(fd.as_raw_fd());
        let token = self.table.attach(Role::Connecting, fd)?;
        let op = ConnectOp {
            addr: target.addr.into(),
            timeout: ring::timespec(target.timeout),
        };
        let op = self
            .connects
            .entry(token)
            .insert_entry(Box::new(op))
            .into_mut();
        let connect = opcode::Connect::new(raw, op.addr.as_ptr().cast(), op.addr.len())
            .build()
            .flags(squeue::Flags::IO_LINK)
            .user_data(Tag::new(Kind::Connect, token).bits());
        let timeout = opcode::LinkTimeout::new(&raw const op.timeout)
            .build()
            .user_data(Tag::new(Kind::ConnectTimeout, token).bits());
        if let Some(entry) = self.table.get_mut(token) {
            entry.ops += 2;
        }
        // SAFETY: the boxed address and timeout stay in `connects` until the
        // connect has completed; the kernel copied the timeout before.
        unsafe { self.ring.push_linked(connect, timeout) };
        Ok(token)
    }

    pub(super) fn connect_completed(
        &mut self,
        token: Token,
        completion: Completion,
        events: &mut Vec<Event<Socket>>,
    ) {
        self.connects.remove(&token);
        let Some(entry) = self.table.get_mut(token) else {
            return;
        };
        let closing = entry.has(Flags::CLOSING);
        let outcome = match completion.result {
            0.. => {
                entry.role = Role::Stream;
                Ok(())
            }
            // Cancelled by `close`, or else by the linked timeout.
            code if code == -libc::ECANCELED && closing => Err(socket::cancelled()),
            code if code == -libc::ECANCELED => Err(io::Error::from(io::ErrorKind::TimedOut)),
            code => Err(io::Error::from_raw_os_error(-code)),
        };
        let connected = outcome.is_ok();
        events.push(Event::Connected { token, outcome });
        if connected {
            // A receive may have been asked for while it was connecting.
            self.arm_recv(token);
        }
    }
}
