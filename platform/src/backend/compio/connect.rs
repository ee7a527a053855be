//! Connecting, with a source address and a timeout.

use std::io;

use compio_driver::{AsRawFd, Key, PushEntry, SharedFd};

use super::CompioDriver;
use super::finished::{Kind, Tag};
use super::system::{self, ConnectOp};
use super::table::Role;
use crate::clock::Nanos;
use crate::driver::{Connect, Event, Token};
use crate::error::DriverError;
use crate::socket;
use crate::socket::Socket;

/// A connect in flight.
#[derive(Debug)]
pub(super) struct Connecting {
    pub(super) key: Key<ConnectOp>,
    deadline: Nanos,
    timed_out: bool,
}

impl CompioDriver {
    pub(super) fn start_connect(&mut self, target: &Connect) -> Result<Token, DriverError> {
        self.table.check_room()?;
        let client = socket::open_client(target)?;
        system::prepare_connect(&client, target)
            .map_err(|error| DriverError::system("bind", error))?;
        client
            .set_nonblocking(true)
            .map_err(|error| DriverError::system("making a socket non-blocking", error))?;
        let fd = SharedFd::new(system::Owned::from(client));
        self.proactor
            .attach(fd.as_raw_fd())
            .map_err(|error| DriverError::system("attaching a socket", error))?;
        let token = self.insert(Role::Connecting, fd.clone())?;
        let op = ConnectOp::new(fd, target.addr.into());
        let deadline = self.clock.now().saturating_add(target.timeout);
        match self.submit(op, Tag::new(Kind::Connect, token)) {
            PushEntry::Pending(key) => {
                let connecting = Connecting {
                    key,
                    deadline,
                    timed_out: false,
                };
                self.connects.insert(token, connecting);
                self.connect_deadlines.insert((deadline, token));
            }
            PushEntry::Ready(over) => {
                let event = self.connected(token, over.0, over.1, false);
                self.backlog.push_back(event);
            }
        }
        Ok(token)
    }

    /// Cancels the connects whose time is up.
    pub(super) fn expire_connects(&mut self) {
        let now = self.clock.now();
        while let Some(&(deadline, token)) = self.connect_deadlines.first()
            && deadline <= now
        {
            self.connect_deadlines.pop_first();
            if let Some(connecting) = self.connects.get_mut(&token) {
                connecting.timed_out = true;
                let cancel = self.proactor.register_cancel(&connecting.key);
                self.proactor.cancel_token(cancel);
            }
        }
    }

    pub(super) fn connect_finished(&mut self, token: Token) -> Option<Event<Socket>> {
        let Connecting {
            key,
            deadline,
            timed_out,
        } = self.connects.remove(&token)?;
        self.connect_deadlines.remove(&(deadline, token));
        let (result, op) = self.result(key)?;
        Some(self.connected(token, result, op, timed_out))
    }

    fn connected(
        &mut self,
        token: Token,
        result: io::Result<usize>,
        op: ConnectOp,
        timed_out: bool,
    ) -> Event<Socket> {
        let closing = self.table.open_mut(token).is_none();
        let outcome = match result.and_then(|_| system::finish_connect(&op)) {
            Ok(()) => {
                if let Some(entry) = self.table.get_mut(token) {
                    entry.role = Role::Stream;
                }
                Ok(())
            }
            Err(_) if closing => Err(socket::cancelled()),
            Err(_) if timed_out => Err(io::ErrorKind::TimedOut.into()),
            Err(error) => Err(system::socket_error(error)),
        };
        drop(op);
        // A receive may have been asked for while it was connecting.
        self.arm_recv(token);
        Event::Connected { token, outcome }
    }
}
