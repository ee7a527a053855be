//! Deltas in the format of Fossil, which SDKs call `fossil`: what makes one text
//! of another one, as copies of its parts and what is new.
//!
//! The format is described in
//! <https://fossil-scm.org/home/doc/trunk/www/delta_format.wiki>: the length of
//! the result and a line break; `LENGTH@OFFSET,` for each part that is copied
//! and `LENGTH:` before bytes that are new; at the end the result's checksum and
//! `;`. Numbers have digits of six bits.

/// Bytes that a delta is made of, or leads to, at most: all clients of a shard wait
/// while it is made. At this size that is 0.1 ms where a few values of a document
/// change, and not a millisecond for bytes that are chosen to take long.
pub const MAX_DELTA: usize = 64 << 10;

/// Bytes of the source that are looked for together.
const BLOCK: usize = 16;

/// Bytes that are worth a copy, which takes nine at most and ends the insert
/// before it.
const MIN_COPY: usize = 12;

/// Blocks that are compared for one place at most, which bounds the time for
/// sources whose blocks are all alike.
const MAX_TRIES: usize = 4;

/// A copy of so many bytes is not compared with others.
const LONG_COPY: usize = 256;

/// Bytes after which, where nothing is alike, every second place is looked at, and
/// after as many again every third: long parts are found still.
const HASTE: usize = 512;

const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~";

/// What makes `to` of `from`; `None` if that would not be shorter than `to`, or
/// one of them is longer than [`MAX_DELTA`]. With `text`, both are UTF-8, and so
/// is the delta.
#[must_use]
pub(crate) fn delta(from: &[u8], to: &[u8], text: bool) -> Option<Vec<u8>> {
    if from.len().max(to.len()) > MAX_DELTA {
        return None;
    }
    let blocks = Blocks::of(from);
    let mut out = Vec::with_capacity(to.len().min(256));
    number(&mut out, to.len());
    out.push(b'\n');
    // All before `done` is in the delta; `lead` is where its last copy ended.
    let (mut done, mut lead, mut at) = (0, 0, 0);
    while at < to.len() && out.len() + at - done < to.len() {
        let ahead = lead + at - done;
        let Some(copy) = blocks.find(to, done, at, ahead, text) else {
            at += 1 + (at - done) / HASTE;
            continue;
        };
        insert(&mut out, &to[done..copy.to]);
        number(&mut out, copy.length);
        out.push(b'@');
        number(&mut out, copy.from);
        out.push(b',');
        done = copy.to + copy.length;
        lead = copy.from + copy.length;
        at = done;
    }
    insert(&mut out, &to[done..]);
    number(&mut out, checksum(to) as usize);
    out.push(b';');
    (out.len() < to.len()).then_some(out)
}

/// Bytes of the source that are in the target too.
#[derive(Clone, Copy)]
struct Copy {
    from: usize,
    to: usize,
    length: usize,
}

/// The blocks of a source, by what they hold.
struct Blocks<'a> {
    from: &'a [u8],
    /// By hash: one more than the number of the first block.
    first: Vec<u16>,
    /// By block: one more than the number of the next one of its hash.
    next: Vec<u16>,
    shift: u32,
}

// The number of a block, and one more, is a `u16`.
const _: () = assert!(MAX_DELTA / BLOCK < u16::MAX as usize);

impl<'a> Blocks<'a> {
    fn of(from: &'a [u8]) -> Self {
        let count = from.len() / BLOCK;
        let places = (2 * count).next_power_of_two().max(2);
        let mut blocks = Self {
            from,
            first: vec![0; places],
            next: vec![0; count],
            shift: u64::BITS - places.trailing_zeros(),
        };
        for index in (0..count).rev() {
            let Some(hash) = blocks.hash(from, index * BLOCK) else {
                continue;
            };
            let after = u16::try_from(index + 1).unwrap_or(0);
            blocks.next[index] = std::mem::replace(&mut blocks.first[hash], after);
        }
        blocks
    }

    /// Of the block at a place; `None`: there are not so many bytes.
    fn hash(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let (low, high) = bytes.get(at..at + BLOCK)?.split_first_chunk::<8>()?;
        let high = u64::from_le_bytes(*high.first_chunk::<8>()?);
        let mixed = u64::from_le_bytes(*low).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ high;
        let hash = mixed.wrapping_mul(0xd6e8_feb8_6659_fd93) >> self.shift;
        usize::try_from(hash).ok()
    }

    /// The longest part of the source that is found in the target at `at`, and
    /// before it back to `done`. `ahead` is where it would be if nothing but
    /// bytes were replaced.
    fn find(&self, to: &[u8], done: usize, at: usize, ahead: usize, text: bool) -> Option<Copy> {
        let mut best = (ahead <= self.from.len())
            .then(|| self.extend(to, done, at, ahead, text))
            .flatten();
        let Some(hash) = self.hash(to, at) else {
            return best;
        };
        let mut block = self.first[hash];
        for _ in 0..MAX_TRIES {
            let long = best.is_some_and(|copy| copy.length >= LONG_COPY);
            let Some(index) = usize::from(block).checked_sub(1).filter(|_| !long) else {
                break;
            };
            block = self.next[index];
            let copy = self.extend(to, done, at, index * BLOCK, text);
            best = copy.into_iter().chain(best).max_by_key(|one| one.length);
        }
        best
    }

    /// As much as is alike around two places, if that is worth a copy.
    fn extend(&self, to: &[u8], done: usize, at: usize, from: usize, text: bool) -> Option<Copy> {
        let alike = |(a, b): &(&u8, &u8)| a == b;
        let after = alike_at_first(&self.from[from..], &to[at..]);
        if after == 0 {
            return None;
        }
        let before = self.from[..from].iter().rev();
        let before = before.zip(to[done..at].iter().rev());
        let before = before.take_while(alike).count();
        let (mut begin, mut end) = (at - before, at + after);
        if text {
            while begin < end && is_within(to, begin) {
                begin += 1;
            }
            while begin < end && is_within(to, end) {
                end -= 1;
            }
        }
        let length = end - begin;
        (length >= MIN_COPY && end > at).then_some(Copy {
            from: from + begin - at,
            to: begin,
            length,
        })
    }
}

/// How many bytes at the beginning are the same.
fn alike_at_first(one: &[u8], other: &[u8]) -> usize {
    let blocks = one.chunks_exact(BLOCK).zip(other.chunks_exact(BLOCK));
    let whole = BLOCK * blocks.take_while(|(a, b)| a == b).count();
    let rest = one[whole..].iter().zip(&other[whole..]);
    whole + rest.take_while(|(a, b)| a == b).count()
}

/// Whether a place is inside of a character.
fn is_within(text: &[u8], at: usize) -> bool {
    text.get(at).is_some_and(|byte| byte & 0xc0 == 0x80)
}

fn insert(out: &mut Vec<u8>, bytes: &[u8]) {
    if !bytes.is_empty() {
        number(out, bytes.len());
        out.push(b':');
        out.extend_from_slice(bytes);
    }
}

fn number(out: &mut Vec<u8>, value: usize) {
    let digits = (usize::BITS - value.leading_zeros()).div_ceil(6).max(1);
    for place in (0..digits).rev() {
        out.push(DIGITS[value >> (6 * place) & 63]);
    }
}

/// The sum of all words of 32 bits, the last one filled up with zeros.
fn checksum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks(4).map(|chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        u32::from_be_bytes(word)
    });
    words.fold(0, u32::wrapping_add)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;

    fn read(delta: &mut &[u8]) -> usize {
        let mut value = 0;
        while let Some((byte, rest)) = delta.split_first()
            && let Some(digit) = DIGITS.iter().position(|known| known == byte)
        {
            value = value << 6 | digit;
            *delta = rest;
        }
        value
    }

    fn take<'d>(delta: &mut &'d [u8], count: usize) -> &'d [u8] {
        let (taken, rest) = delta.split_at(count);
        *delta = rest;
        taken
    }

    /// What SDKs do.
    pub(crate) fn applied(from: &[u8], mut delta: &[u8]) -> Vec<u8> {
        let delta = &mut delta;
        let length = read(delta);
        assert_eq!(take(delta, 1), b"\n");
        let mut out = Vec::new();
        loop {
            let count = read(delta);
            match take(delta, 1) {
                b"@" => {
                    let offset = read(delta);
                    assert_eq!(take(delta, 1), b",");
                    out.extend_from_slice(&from[offset..offset + count]);
                }
                b":" => out.extend_from_slice(take(delta, count)),
                b";" => {
                    assert_eq!(count, checksum(&out) as usize);
                    assert_eq!(out.len(), length);
                    assert!(delta.is_empty());
                    return out;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// What the delta is, which leads where it should.
    fn made(from: &str, to: &str) -> Option<String> {
        let delta = delta(from.as_bytes(), to.as_bytes(), true)?;
        assert_eq!(applied(from.as_bytes(), &delta), to.as_bytes());
        Some(String::from_utf8(delta).expect("of texts it is one"))
    }

    #[test]
    fn what_is_alike_is_copied_and_what_is_new_is_there() {
        let from = r#"{"price":1001,"name":"a name","open":true}"#;
        let to = r#"{"price":1002,"name":"a name","open":true}"#;
        assert_eq!(
            made(from, to).unwrap(),
            format!("f\nC@0,1:2T@D,{};", sum(to))
        );
        assert_eq!(made(to, to).unwrap(), format!("f\nf@0,{};", sum(to)));
        assert_eq!(made("", to), None);
        assert_eq!(made(from, ""), None);
        assert_eq!(made(from, "7"), None);
        assert_eq!(made(&from.repeat(2000), to), None);
    }

    fn sum(text: &str) -> String {
        let mut out = Vec::new();
        number(&mut out, checksum(text.as_bytes()) as usize);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_and_sums_are_those_of_the_format() {
        for (value, digits) in [(0, "0"), (9, "9"), (63, "~"), (64, "10"), (4096, "100")] {
            let mut out = Vec::new();
            number(&mut out, value);
            assert_eq!(out, digits.as_bytes());
        }
        assert_eq!(checksum(b""), 0);
        assert_eq!(checksum(b"\x01\x02\x03\x04\xff"), 0x0002_0304);
    }

    #[test]
    fn what_moves_is_found_where_it_was() {
        let parts: Vec<String> = (0..40)
            .map(|n| format!("part {} of a text; ", 7_919 * n * n))
            .collect();
        let from = parts.concat();
        let turned: String = parts.iter().rev().map(String::as_str).collect();
        let delta = made(&from, &turned).unwrap();
        assert!(delta.len() < from.len() * 3 / 4, "{}", delta.len());
        let longer = format!(
            "at the beginning {}and at the end",
            from.replace(" 3167600 ", " another ")
        );
        assert!(made(&from, &longer).unwrap().len() < 80);
    }

    #[test]
    fn characters_are_not_taken_apart() {
        // They differ in a part of a character alone.
        let from = format!("[{}\"\u{e9}\",{}]", "1,".repeat(20), "2,".repeat(20));
        let to = from.replace('\u{e9}', "\u{ea}");
        assert!(made(&from, &to).unwrap().contains('\u{ea}'));
        let from = "\u{1f600}\u{1f601}".repeat(30);
        let to = "\u{1f601}\u{1f602}\u{1f600}".repeat(30);
        made(&from, &to);
    }

    #[test]
    fn sources_that_are_all_alike_do_not_take_for_ever() {
        let began = Instant::now();
        let zeros = vec![0; MAX_DELTA];
        let mut almost = zeros.clone();
        for place in almost.iter_mut().step_by(15) {
            *place = 1;
        }
        for (from, to) in [(&zeros, &almost), (&almost, &zeros), (&almost, &almost)] {
            if let Some(delta) = delta(from, to, false) {
                assert_eq!(applied(from, &delta), *to);
            }
        }
        assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
        assert_eq!(delta(&zeros, &vec![0; MAX_DELTA + 1], false), None);
    }

    /// Some edits of a text.
    fn edited() -> impl Strategy<Value = (String, String)> {
        let edit = (any::<prop::sample::Index>(), 0..40_usize, "\\PC{0,20}");
        ("\\PC{0,400}", prop::collection::vec(edit, 0..6)).prop_map(|(from, edits)| {
            let mut to: Vec<char> = from.chars().collect();
            for (at, gone, new) in edits {
                let at = at.index(to.len() + 1);
                let end = (at + gone).min(to.len());
                to.splice(at..end, new.chars());
            }
            (from, to.into_iter().collect())
        })
    }

    proptest! {
        #[test]
        fn a_delta_of_texts_leads_to_the_target((from, to) in edited()) {
            made(&from, &to);
        }

        #[test]
        fn a_delta_of_bytes_leads_to_the_target(
            from in prop::collection::vec(0..4_u8, 0..2000),
            to in prop::collection::vec(0..4_u8, 0..2000),
            shared in 0..2000_usize,
        ) {
            let mut to = to;
            to.extend_from_slice(&from[shared.min(from.len())..]);
            if let Some(delta) = delta(&from, &to, false) {
                prop_assert_eq!(applied(&from, &delta), to);
            }
        }
    }
}
