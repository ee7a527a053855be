//! What the fuzz targets run, on the committed corpora and on random input,
//! for machines without a fuzzer.

#[path = "../../fuzz/src/targets/mod.rs"]
#[expect(unreachable_pub, reason = "public in the crate of the fuzz targets")]
mod targets;

use std::path::Path;

use proptest::prelude::*;

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 8] = [
    ("frames", targets::frames),
    ("request", targets::request),
    ("response", targets::response),
    ("body", targets::body),
    ("deflate", targets::deflate),
    ("utf8", targets::utf8),
    ("proxy", targets::proxy),
    ("differential", targets::differential),
];

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(name);
    let entries = folder.read_dir().expect("a corpus for each target");
    let inputs: Vec<Vec<u8>> = entries
        .map(|entry| std::fs::read(entry.expect("readable").path()).expect("readable"))
        .collect();
    assert!(!inputs.is_empty(), "{folder:?} is empty");
    inputs
}

#[test]
fn the_corpora_keep_every_promise() {
    for (name, target) in TARGETS {
        for input in corpus(name) {
            target(&input);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_and_damaged_input_keeps_every_promise(
        random in proptest::collection::vec(any::<u8>(), 0..300),
        which in any::<proptest::sample::Index>(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        for (name, target) in TARGETS {
            target(&random);
            let corpus = corpus(name);
            let mut damaged = which.get(&corpus).clone();
            for (at, byte) in &damage {
                let at = at.index(damaged.len());
                damaged[at] = *byte;
            }
            target(&damaged);
        }
    }
}
