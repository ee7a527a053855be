//! The Protobuf encoding: the wire format, and the messages in it. The numbers
//! of their fields are those of the public `client.proto`.

mod decode;
mod encode;
mod reader;
mod writer;

pub use decode::protobuf_commands;
pub(crate) use decode::{Info, Written, emulated};
pub(crate) use encode::{Encode, error, published};
pub use reader::Garbled;
pub(crate) use writer::Writer;

/// A publication's field for its offset.
const OFFSET: u32 = 6;
