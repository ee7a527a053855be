//! Plain HTTP beside the WebSockets: what a request shows, what is answered.

mod body;
mod event_stream;
mod proxies;
mod request;
mod response;

pub(crate) use body::Taking;
pub use body::{BodyPart, Upload};
pub(crate) use event_stream::Places;
pub use event_stream::{EventStream, MAX_STREAM_TOPICS};
pub use hioload_protocol::handshake::Refusal;
pub(crate) use proxies::Proxies;
pub use request::Request;
pub use response::Response;
