//! Refuses banned words in code and documents.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::layers::sources;

/// Banned as whole words; split in two, so that this file passes its own test.
const BANNED: [(&str, &str); 14] = [
    ("to", "ld"),
    ("unto", "ld"),
    ("ast", "ray"),
    ("straight", "en"),
    ("i", "ll"),
    ("me", "nd"),
    ("men", "ded"),
    ("vouch", "ed"),
    ("de", "ed"),
    ("fare", "well"),
    ("he", "ir"),
    ("be", "falls"),
    ("so-", "manieth"),
    ("the release ", "before"),
];

/// Whether `text` contains `word` as a whole word; an underscore ends a word.
fn stands_in(text: &str, word: &str) -> bool {
    let bound = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    text.match_indices(word).any(|(at, _)| {
        bound(text[..at].chars().next_back()) && bound(text[at + word.len()..].chars().next())
    })
}

#[test]
fn no_file_uses_banned_words() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for part in [
        "src",
        "templates",
        "tests",
        "README.md",
        "CHANGELOG.md",
        ".ci",
        ".clippy.toml",
    ] {
        for file in sources(&root.join(part))? {
            let Ok(text) = fs::read_to_string(&file) else {
                continue;
            };
            for (number, line) in text.lines().enumerate() {
                // Camel case is words too: `NotFound`.
                let mut words = String::new();
                for c in line.chars() {
                    if c.is_uppercase() && words.ends_with(char::is_lowercase) {
                        words.push(' ');
                    }
                    words.extend(c.to_lowercase());
                }
                for (first, second) in BANNED {
                    if stands_in(&words, &format!("{first}{second}")) {
                        let at = file.strip_prefix(root)?.display();
                        found.push(format!("{at}:{}: {first}{second}", number + 1));
                    }
                }
            }
        }
    }
    assert!(
        found.is_empty(),
        "{} places:\n{}",
        found.len(),
        found.join("\n")
    );
    Ok(())
}

#[test]
fn whole_words_are_found_and_no_others() {
    for (text, word, expected) in [
        ("it was tolled", "toll", false),
        ("a toll.", "toll", true),
        ("toll_road", "toll", true),
        ("extoll", "toll", false),
    ] {
        assert_eq!(stands_in(text, word), expected, "{text}");
    }
}
