//! What hubs promise.

#![forbid(unsafe_code)]

mod counts;
mod crowds;
mod filters;
mod ordered;
mod policies;
mod service;
