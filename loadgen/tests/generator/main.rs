//! The generator as a process against real sockets: what it promises about
//! servers that behave, servers that do not, and runs that can not be.

mod broadcast;
mod echo;
mod refusals;
mod secure;
mod server;
