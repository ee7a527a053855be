//! Random numbers from a printed seed.

use std::time::{SystemTime, UNIX_EPOCH};

/// SplitMix64 (Steele, Lea, Flood 2014): small, and every seed is a good one.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// From `HIOLOAD_TEST_SEED`, to repeat a run, else from the clock; prints it.
    pub(crate) fn from_environment() -> Self {
        let given = std::env::var("HIOLOAD_TEST_SEED").ok();
        let seed = given.map_or_else(clock, |text| text.parse().expect("a seed is a number"));
        eprintln!("HIOLOAD_TEST_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// True once in `n`.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// Log-uniform between 0 and 2^`bits`: all magnitudes are as likely.
    pub(crate) fn magnitude(&mut self, bits: u32) -> usize {
        let bits = self.below(bits as usize + 1);
        let top = 1 << bits;
        self.between(top / 2, top)
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.next().to_le_bytes()).take(len / 8 + 1);
        let mut bytes: Vec<u8> = words.flatten().collect();
        bytes.truncate(len);
        bytes
    }

    /// Text of at least `len` bytes whose characters take one to four.
    pub(crate) fn text(&mut self, len: usize) -> String {
        const ALPHABET: [char; 12] = [
            'a',
            'Z',
            '0',
            ' ',
            '\n',
            '\0',
            'é',
            'ß',
            '世',
            '\u{FFFF}',
            '😀',
            '\u{10FFFF}',
        ];
        let mut text = String::with_capacity(len + 4);
        while text.len() < len {
            text.push(*self.pick(&ALPHABET));
        }
        text
    }
}

fn clock() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    u64::from(now.subsec_nanos()) ^ now.as_secs() << 30
}
