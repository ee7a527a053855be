//! The generator as a process against real sockets: what it promises about
//! servers that behave, servers that do not, and runs that can not be.

mod broadcast;
mod centrifugo;
mod chat;
mod connect;
mod echo;
mod find_max;
mod html;
mod idle;
mod mixed;
mod processes;
mod rates;
mod raw;
mod refusals;
mod schema;
mod secure;
mod series;
mod server;
mod server_process;
