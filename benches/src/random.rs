//! Numbers that are the same in every run.

/// Marsaglia's xorshift64: a nanosecond per number, so that choosing a timer
/// costs little beside what is measured.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator in its one initial state.
    #[must_use]
    pub fn new() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }

    /// A number in `0..bound`, of 32 bits at most.
    pub fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The high word of the product is below `bound` (Lemire's reduction).
        let product = (self.0 >> 32) * u64::from(bound);
        u32::try_from(product >> 32).unwrap_or(0)
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}
