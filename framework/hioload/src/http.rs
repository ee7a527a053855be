//! Plain HTTP beside the WebSockets: what a request shows, what is answered.

mod request;
mod response;

pub use hioload_protocol::handshake::Refusal;
pub use request::Request;
pub use response::Response;
