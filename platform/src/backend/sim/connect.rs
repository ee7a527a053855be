//! Connecting, with a source address and a timeout.

use std::io;

use super::SimDriver;
use super::endpoint::Holder;
use super::op::{Completion, Descriptor, Kind, Request, Tag};
use super::socket::SimSocket;
use super::table::Role;
use crate::driver::{Connect, Event, Token};
use crate::error::DriverError;

impl SimDriver {
    pub(super) fn start_connect(&mut self, target: &Connect) -> Result<Token, DriverError> {
        self.table.check_room()?;
        let (source, addr) = (target.source, target.addr);
        let end = self
            .net
            .with(|world| world.start_connect(source, addr, Holder::Socket))
            .map_err(|error| DriverError::system("bind", error))?;
        let token = self
            .table
            .attach(Role::Connecting, Some(Descriptor::End(end)))?;
        let tag = Tag::new(Kind::Connect, token);
        let timeout = target.timeout;
        self.push(token, Request::Connect { end, tag, timeout });
        Ok(token)
    }

    pub(super) fn connect_completed(
        &mut self,
        token: Token,
        completion: &Completion,
        events: &mut Vec<Event<SimSocket>>,
    ) {
        let Some(entry) = self.table.get_mut(token) else {
            return;
        };
        let outcome = completion.outcome.map(|_| ()).map_err(io::Error::from);
        let connected = outcome.is_ok();
        if connected {
            entry.role = Role::Stream;
        }
        events.push(Event::Connected { token, outcome });
        if connected {
            // A receive may have been asked for while it was connecting.
            self.arm_recv(token);
        }
    }
}
