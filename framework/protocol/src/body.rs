//! The body of an HTTP/1.1 request: counted or chunked (RFC 9112 sections 6.3
//! and 7.1).
//!
//! Strict where leniency lets two parsers on one path disagree about where the
//! next request begins: sizes are hexadecimal digits and nothing else, lines
//! end with CR LF, and each chunk's data is followed by one.

use std::ops::Range;

use crate::handshake::{Refusal, is_token_byte};

/// Digits of a chunk's size: as many as a `u64` has, leading zeros included.
const MAX_DIGITS: u8 = 16;

/// Bytes of one chunk's extensions, which are dropped: enough for a signature
/// of each chunk.
const MAX_EXTENSION: u16 = 256;

/// Bytes of the trailer section, which is dropped: as much as a common head.
const MAX_TRAILERS: u16 = 8 << 10;

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// `Content-Length`: so many bytes.
    Counted(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// Decodes one body, however it is cut into reads. Holds none of it.
#[derive(Clone, Debug)]
pub struct BodyDecoder {
    state: State,
    /// Data that may still come.
    room: u64,
    /// Bytes of the current line that count against its limit.
    line: u16,
}

/// What became of some input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the input that are dealt with; at least one, unless the input
    /// is empty or the body is over.
    pub consumed: usize,
    /// Where in the input data of the body is; often empty.
    pub data: Range<usize>,
    /// The body is over; what follows `consumed` belongs to the next request.
    pub done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Counted(u64),
    Size {
        digits: u8,
        size: u64,
    },
    /// White space between a size and its extensions.
    SizeSpace(u64),
    Extension(u64),
    SizeEnd(u64),
    Data(u64),
    DataCr,
    DataLf,
    /// The start of a line of the trailer section.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerEnd,
    LastEnd,
    Done,
    Failed(Refusal),
}

impl BodyDecoder {
    /// For a body of at most `limit` bytes of data.
    ///
    /// # Errors
    /// [`Refusal::PayloadTooLarge`] when the length is known to be more.
    pub fn new(length: BodyLength, limit: u64) -> Result<Self, Refusal> {
        let state = match length {
            BodyLength::Counted(length) if length > limit => return Err(Refusal::PayloadTooLarge),
            BodyLength::Counted(0) => State::Done,
            BodyLength::Counted(length) => State::Counted(length),
            BodyLength::Chunked => State::Size { digits: 0, size: 0 },
        };
        Ok(Self {
            state,
            room: limit,
            line: 0,
        })
    }

    /// Whether the body is over.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Bytes of data that may still come, at most.
    #[must_use]
    pub fn left(&self) -> u64 {
        match self.state {
            State::Counted(left) => left,
            State::Data(left) => left + self.room,
            State::Done | State::Failed(_) => 0,
            _ => self.room,
        }
    }

    /// Takes input up to the next end of data, or all of it. Call again with
    /// the rest until it is [`done`](Decoded::done).
    ///
    /// # Errors
    /// [`Refusal::PayloadTooLarge`] when a chunk would go beyond the limit,
    /// [`Refusal::BadRequest`] when the coding is malformed; the same again on
    /// each later call. What follows cannot be understood any more.
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, Refusal> {
        let mut at = 0;
        let mut data = 0..0;
        while at < input.len() && data.is_empty() {
            match self.state {
                State::Counted(left) => {
                    data = piece(at, input.len(), left);
                    at = data.end;
                    let left = left - data.len() as u64;
                    self.state = match left {
                        0 => State::Done,
                        left => State::Counted(left),
                    };
                }
                State::Data(left) => {
                    data = piece(at, input.len(), left);
                    at = data.end;
                    let left = left - data.len() as u64;
                    self.state = match left {
                        0 => State::DataCr,
                        left => State::Data(left),
                    };
                }
                State::Done => break,
                State::Failed(refusal) => return Err(refusal),
                _ => {
                    self.state = match self.step(input[at]) {
                        Ok(state) => state,
                        Err(refusal) => {
                            self.state = State::Failed(refusal);
                            return Err(refusal);
                        }
                    };
                    at += 1;
                }
            }
        }
        Ok(Decoded {
            consumed: at,
            data,
            done: self.is_done(),
        })
    }

    /// One byte that is no data.
    fn step(&mut self, byte: u8) -> Result<State, Refusal> {
        let bad = Refusal::BadRequest;
        match (self.state, byte) {
            (State::Size { digits, size }, _) if byte.is_ascii_hexdigit() => {
                self.digit(digits, size, byte)
            }
            (State::Size { digits: 0, .. }, _) => Err(bad("malformed chunk size")),
            (State::Size { size, .. } | State::Extension(size), b'\r') => Ok(State::SizeEnd(size)),
            (State::Size { size, .. } | State::SizeSpace(size), b' ' | b'\t') => {
                self.count(MAX_EXTENSION, bad("chunk extensions are too long"))?;
                Ok(State::SizeSpace(size))
            }
            (State::Size { size, .. } | State::SizeSpace(size), b';') => Ok(State::Extension(size)),
            (State::Size { .. } | State::SizeSpace(_), _) => Err(bad("malformed chunk size")),
            (State::Extension(size), _) if is_text(byte) => {
                self.count(MAX_EXTENSION, bad("chunk extensions are too long"))?;
                Ok(State::Extension(size))
            }
            (State::Extension(_), _) => Err(bad("malformed chunk extension")),
            (State::SizeEnd(size), b'\n') => {
                self.line = 0;
                self.room -= size;
                Ok(match size {
                    0 => State::Trailer,
                    size => State::Data(size),
                })
            }
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size { digits: 0, size: 0 }),
            (State::DataCr | State::DataLf, _) => Err(bad("no line end after a chunk")),
            (State::Trailer, b'\r') => Ok(State::LastEnd),
            (State::LastEnd, b'\n') => Ok(State::Done),
            (State::TrailerEnd, b'\n') => Ok(State::Trailer),
            (State::Trailer | State::TrailerName, _) if is_token_byte(byte) => {
                self.trailer(State::TrailerName)
            }
            (State::TrailerName, b':') => self.trailer(State::TrailerValue),
            (State::TrailerValue, b'\r') => self.trailer(State::TrailerEnd),
            (State::TrailerValue, _) if is_text(byte) => self.trailer(State::TrailerValue),
            (State::Trailer | State::TrailerName | State::TrailerValue, _) => {
                Err(bad("malformed trailer"))
            }
            _ => Err(bad("line end is not CR LF")),
        }
    }

    fn digit(&self, digits: u8, size: u64, byte: u8) -> Result<State, Refusal> {
        if digits == MAX_DIGITS {
            return Err(Refusal::BadRequest("malformed chunk size"));
        }
        let digit = char::from(byte).to_digit(16).unwrap_or(0);
        let size = size
            .checked_mul(16)
            .map(|size| size | u64::from(digit))
            .filter(|&size| size <= self.room)
            .ok_or(Refusal::PayloadTooLarge)?;
        let digits = digits + 1;
        Ok(State::Size { digits, size })
    }

    fn trailer(&mut self, next: State) -> Result<State, Refusal> {
        self.count(MAX_TRAILERS, Refusal::HeadersTooLarge)?;
        Ok(next)
    }

    fn count(&mut self, most: u16, refusal: Refusal) -> Result<(), Refusal> {
        self.line += 1;
        if self.line > most {
            Err(refusal)
        } else {
            Ok(())
        }
    }
}

/// At most `left` bytes from `at` on.
fn piece(at: usize, end: usize, left: u64) -> Range<usize> {
    let there = end - at;
    let taken = usize::try_from(left).map_or(there, |left| left.min(there));
    at..at + taken
}

/// What a field value or an extension consists of (RFC 9110 section 5.5).
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}
