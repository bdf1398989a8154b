//! The words of this field, and none of a private dialect.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::layers::sources;

/// Banned as whole words; written in two halves, so that this file may be read too.
const BANNED: [(&str, &str); 14] = [
    ("to", "ld"),
    ("unto", "ld"),
    ("ast", "ray"),
    ("straight", "en"),
    ("i", "ll"),
    ("me", "nd"),
    ("mend", "ed"),
    ("vouch", "ed"),
    ("de", "ed"),
    ("fare", "well"),
    ("he", "ir"),
    ("be", "falls"),
    ("so-", "manieth"),
    ("the release ", "before"),
];

/// Where a word stands alone: not a part of another, nor of an identifier's longer word.
fn stands_in(text: &str, word: &str) -> bool {
    let bound = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    text.match_indices(word).any(|(at, _)| {
        bound(text[..at].chars().next_back()) && bound(text[at + word.len()..].chars().next())
    })
}

#[test]
fn no_file_speaks_the_dialect() -> Result<()> {
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
                // Camel case is words too: `NotTold`.
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
