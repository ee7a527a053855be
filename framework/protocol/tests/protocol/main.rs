//! The promises of the protocol core, through its public API only.

#![expect(clippy::too_many_lines, reason = "tables of cases are read whole")]

mod assembly;
mod body;
mod close;
mod deflate;
mod endpoint;
mod event_stream;
mod fuzz;
mod handshake;
mod interop;
mod negotiation;
mod pair;
mod vectors;
mod violations;
