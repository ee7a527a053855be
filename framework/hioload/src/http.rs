//! Plain HTTP beside the WebSockets: what a request shows, what is answered.

mod body;
mod event_stream;
mod message_stream;
mod proxies;
mod request;
mod response;

pub(crate) use body::Taking;
pub use body::{BodyPart, Upload};
pub(crate) use event_stream::Places;
pub use event_stream::{EventStream, MAX_STREAM_TOPICS};
pub use hioload_protocol::handshake::Refusal;
pub(crate) use message_stream::Farewell;
pub use message_stream::{Framing, MessageStream};
pub(crate) use proxies::Proxies;
pub use request::Request;
pub(crate) use response::Following;
pub use response::Response;
