//! Arbitrary responses instead of git's protocol. tests/long runs many more cases.

use std::fs;

use anyhow::Result;
use proptest::prelude::*;

use super::host::Host;
use crate::git::pktline::{Decoder, LONGEST};
use crate::git::refs;

/// Parts of responses, valid and invalid.
fn part() -> impl Strategy<Value = Vec<u8>> {
    let line = |text: String| format!("{:04x}{text}", text.len() + 4).into_bytes();
    prop_oneof![
        prop::sample::select(vec![
            "0000", "0001", "0002", "0003", "ffff", "0004", "fff0x", "000", "zzzz"
        ])
        .prop_map(|mark| mark.as_bytes().to_vec()),
        "(version [12]|ls-refs|object-format=sha(1|256)|ERR \\PC{0,20}|shallow [0-9a-f]{40})\n?"
            .prop_map(line),
        "[0-9a-f]{39,41} refs/(heads|tags)/\\PC{0,9}(\\^\\{\\})?( peeled:[0-9a-f]{39,40})?\n?"
            .prop_map(line),
        "[0-9a-f]{40} capabilities\\^\\{\\}\\x00\\PC{0,9}\n".prop_map(line),
        prop::collection::vec(any::<u8>(), 0..40),
    ]
}

fn answer() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(part(), 0..12).prop_map(|parts| parts.concat())
}

/// Collects packets until the end, or until bytes are not a packet (`false`).
fn packets(decoder: &mut Decoder, bytes: &[u8], seen: &mut Vec<String>) -> bool {
    decoder.push(bytes);
    loop {
        match decoder.take() {
            Ok(Some(packet)) => seen.push(format!("{packet:?}")),
            Ok(None) => return true,
            Err(bad) => {
                seen.push(format!("{bad:?}").chars().take(9).collect());
                return false;
            }
        }
    }
}

proptest! {
    #[test]
    fn packets_do_not_depend_on_chunk_boundaries(bytes in answer(), cut in any::<prop::sample::Index>()) {
        let mut whole = Vec::new();
        packets(&mut Decoder::default(), &bytes, &mut whole);
        let (one, other) = bytes.split_at(cut.index(bytes.len() + 1));
        let (mut decoder, mut parts) = (Decoder::default(), Vec::new());
        if packets(&mut decoder, one, &mut parts) {
            packets(&mut decoder, other, &mut parts);
        }
        prop_assert_eq!(whole, parts);
        prop_assert!(bytes.len() < LONGEST);
    }
}

#[test]
fn arbitrary_responses_give_valid_references_or_a_printable_error() -> Result<()> {
    let host = Host::new()?;
    let answer_path = host.path("answer");
    host.script(&format!("exec cat {}\n", answer_path.display()))?;
    let remote = host.remote();
    // Each case starts a process.
    let mut config = ProptestConfig::default();
    config.cases = config.cases.div_ceil(8);
    let mut runner = proptest::test_runner::TestRunner::new(config);
    runner.run(&answer(), |bytes| {
        fs::write(&answer_path, &bytes).map_err(|e| TestCaseError::fail(e.to_string()))?;
        match refs(&remote, "refs/tags/") {
            Ok(found) => {
                let right = |name: &String| name.starts_with("refs/tags/") && name.len() <= 255;
                prop_assert!(found.iter().all(|(name, ..)| right(name)));
            }
            Err(error) => {
                let message = error.to_string();
                prop_assert!(
                    !message.contains(|c: char| c.is_control() && c != '\n'),
                    "{message:?}"
                );
            }
        }
        Ok(())
    })?;
    Ok(())
}
