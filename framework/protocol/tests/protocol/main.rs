//! The promises of the protocol core, through its public API only.

mod assembly;
mod close;
mod endpoint;
mod handshake;
mod interop;
mod pair;
mod vectors;
mod violations;
