//! Fuzzes the parsers of untrusted files and names. tests/long runs many more cases of each.

use proptest::prelude::*;

use super::TagPattern;
use super::environment::{self, Dialect};

/// Bytes with a meaning to the parser, mixed with arbitrary ones.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "A=", "\\", "\n", "\r", "\"", "'", "#", ";", " ", "=", "\0", "é", "$", "\\\n",
    ]);
    let part = prop_oneof![
        4 => known.prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn parses_any_environment_file(text in text()) {
        for dialect in [Dialect::Before254, Dialect::Since254] {
            let Ok(found) = environment::parse(&text, dialect) else { continue };
            for (at, (name, value)) in found.iter().enumerate() {
                prop_assert!(!name.is_empty() && !name.contains(['=', '\0', '\n']), "{name:?}");
                prop_assert!(name.len() + value.len() <= text.len());
                prop_assert!(found[..at].iter().all(|(other, _)| other != name));
            }
        }
    }

    #[test]
    fn compares_any_tags(pattern in "\\PC{0,20}", names in prop::collection::vec("\\PC{0,300}|v[0-9]{1,40}(\\.[0-9]{1,30}){0,4}[-+a-z.0-9]{0,9}", 0..8)) {
        for pattern in [pattern.as_str(), "*", "v*", "v*-*"] {
            let Ok(pattern) = pattern.parse::<TagPattern>() else { continue };
            if let Some(found) = pattern.highest(names.iter().map(String::as_str)) {
                prop_assert!(names.iter().any(|name| name == found));
            }
        }
    }
}
