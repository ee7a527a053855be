//! Every masking loop against the definition.

use super::*;

type Path = fn(&mut [u8], [u8; 4]);

/// Every path that this CPU can run, with its name.
fn paths() -> Vec<(&'static str, Path)> {
    let mut paths: Vec<(&'static str, Path)> = vec![("scalar", scalar_path), ("chosen", apply)];
    #[cfg(target_arch = "x86_64")]
    {
        paths.push(("sse2", x86_64::sse2));
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: AVX2 was detected just above.
            paths.push(("avx2", |data, key| unsafe { x86_64::avx2(data, key) }));
        }
    }
    #[cfg(target_arch = "aarch64")]
    paths.push(("neon", aarch64::apply));
    paths
}

#[test]
fn text_is_what_the_standard_library_says_it_is() {
    let long = "κόσμε, ".repeat(40);
    for valid in [
        "",
        "a",
        "short",
        &"x".repeat(64),
        &"x".repeat(65),
        "é",
        &long,
    ] {
        let mut bytes = valid.as_bytes().to_vec();
        assert_eq!(text(&mut bytes), Ok(valid));
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x80;
            let copy = bytes.clone();
            let expected = std::str::from_utf8(&copy).ok();
            assert_eq!(text(&mut bytes).ok(), expected, "{at}");
            assert_eq!(bytes, copy);
        }
    }
}

fn scalar_path(data: &mut [u8], key: [u8; 4]) {
    let _ascii = scalar::apply(data, key);
}

/// Each byte of each length in its turn is the one that is no ASCII.
#[test]
fn masking_sees_every_byte_that_is_no_ascii() {
    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    for len in 0..=200 {
        let mut ascii = vec![0x7F; len];
        byte_by_byte(&mut ascii, KEY);
        assert!(scalar::apply(&mut ascii.clone(), KEY), "{len}");
        for at in 0..len {
            let mut bytes = ascii.clone();
            bytes[at] ^= 0x80;
            assert!(!scalar::apply(&mut bytes, KEY), "{at} of {len}");
        }
    }
}

#[test]
fn what_is_masked_is_text_only_if_it_is_ascii() {
    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let long = "κόσμε, ".repeat(20);
    for valid in ["", "a", "short", "é", &"x".repeat(200), &long] {
        for len in (0..=valid.len()).filter(|&len| valid.is_char_boundary(len)) {
            let plain = &valid.as_bytes()[..len];
            for changed in 0..=len {
                let mut plain = plain.to_vec();
                if let Some(byte) = plain.get_mut(changed) {
                    *byte ^= 0x80;
                }
                let mut bytes = plain.clone();
                byte_by_byte(&mut bytes, KEY);
                let expected = std::str::from_utf8(&plain).ok();
                let expected = expected.filter(|text| text.is_ascii());
                assert_eq!(masked_ascii(&mut bytes, KEY).ok(), expected);
                assert_eq!(bytes, plain, "unmasked in either case");
            }
        }
    }
}

fn byte_by_byte(data: &mut [u8], key: [u8; 4]) {
    for (i, byte) in data.iter_mut().enumerate() {
        *byte ^= key[i % 4];
    }
}

/// All lengths 0..=4096; each with several of the alignments 0..64 (every
/// pair of length modulo 64 and alignment occurs) and all four offsets.
#[test]
fn every_path_equals_the_definition() {
    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let source: Vec<u8> = (0..4096 + 64u32).map(|i| (i * 31 % 251) as u8).collect();
    let paths = paths();
    for len in 0..=4096usize {
        let offset = (len / 64) % 4;
        let key = std::array::from_fn(|i| KEY[(i + offset) % 4]);
        // 64 lengths share a value of len / 64, 64 of those walk all alignments.
        let alignment = (len / 64 * 7 + len % 64) % 64;
        let mut expected = source[alignment..alignment + len].to_vec();
        byte_by_byte(&mut expected, key);
        for (name, path) in &paths {
            let mut actual = source.clone();
            path(&mut actual[alignment..alignment + len], key);
            assert_eq!(
                &actual[alignment..alignment + len],
                expected,
                "{name} len {len}"
            );
            assert_eq!(
                actual[..alignment],
                source[..alignment],
                "{name} wrote before"
            );
            assert_eq!(
                actual[alignment + len..],
                source[alignment + len..],
                "{name} after"
            );
        }
    }
    for len in 0..=200usize {
        for alignment in 0..64usize {
            let mut expected = source[alignment..alignment + len].to_vec();
            byte_by_byte(&mut expected, KEY);
            for (name, path) in &paths {
                let mut actual = source.clone();
                path(&mut actual[alignment..alignment + len], KEY);
                assert_eq!(
                    &actual[alignment..alignment + len],
                    expected,
                    "{name} len {len}"
                );
            }
        }
    }
}

/// All lengths 0..=4096 at all alignments 0..64. Each slice ends where its
/// allocation does, and one of each length begins there, so that a sanitizer
/// sees a path that touches a byte more, whatever it does with it.
#[test]
fn no_path_leaves_an_allocation() {
    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    const BEFORE: [u8; 64] = [0x5a; 64];
    let source: Vec<u8> = (0..4096u32).map(|i| (i * 31 % 251) as u8).collect();
    let mut expected = source.clone();
    byte_by_byte(&mut expected, KEY);
    let mut paths = paths();
    paths.retain(|(name, _)| *name != "chosen"); // one of the others
    for before in 0..BEFORE.len() {
        for len in 0..=source.len() {
            for (name, path) in &paths {
                let parts = [&BEFORE[..before], &source[..len]];
                let mut bytes = parts.concat().into_boxed_slice();
                path(&mut bytes[before..], KEY);
                let kept = bytes[..before] == BEFORE[..before];
                assert!(kept, "{name} wrote before, len {len} at {before}");
                let masked = bytes[before..] == expected[..len];
                assert!(masked, "{name} len {len} at {before}");
            }
        }
    }
}
