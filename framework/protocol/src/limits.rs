//! What a peer may make this endpoint hold.

/// Limits on incoming messages. Exceeding one fails the connection with 1009.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest message in bytes, all its fragments together. Checked
    /// against the announced length as soon as a frame header is read.
    pub max_message: usize,
    /// The most frames one message may consist of.
    ///
    /// `max_message` already bounds fragments that carry data; this bounds
    /// empty ones, which would otherwise keep a message open, and the parser
    /// busy, for ever. The default leaves room for 4 MiB in pieces of 64 bytes
    /// (65,536 frames), the finest cut in the Autobahn suite, twice over.
    pub max_fragments: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message: 1 << 20,
            max_fragments: 1 << 17,
        }
    }
}
