//! What systemd reads.

use super::*;

fn one(text: &str) -> Vec<(String, String)> {
    parse(text.as_bytes(), Dialect::Since254).unwrap_or_default()
}
fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

#[test]
fn plain_and_quoted_values() {
    assert_eq!(
        one("A=1\nB = two words  \n"),
        pairs(&[("A", "1"), ("B", "two words")])
    );
    assert_eq!(
        one("A='a b'\nB=\"c\\\"d\"\nC=\n"),
        pairs(&[("A", "a b"), ("B", "c\"d"), ("C", "")])
    );
    assert_eq!(one("A=\"two\nlines\""), pairs(&[("A", "two\nlines")]));
    assert_eq!(one("A=x#y\n"), pairs(&[("A", "x#y")]));
    assert_eq!(one("A=\"\\n\"\n"), pairs(&[("A", "\\n")]));
}

#[test]
fn comments_continuations_and_invalid_lines() {
    assert_eq!(one("# A=1\n;B=2\nC=3"), pairs(&[("C", "3")]));
    assert_eq!(one("A=1\\\n2\n"), pairs(&[("A", "12")]));
    assert_eq!(one("A=1 \\\n\n"), pairs(&[("A", "1 ")]));
    assert_eq!(one("A=1 \\\n \n"), pairs(&[("A", "1 ")]));
    assert_eq!(one("nonsense\nA=1\n"), pairs(&[("A", "1")]));
    assert_eq!(one("1A=1\nA-B=2\nexport C=3\n"), pairs(&[]));
    assert_eq!(one("A=1\nA=2\n"), pairs(&[("A", "2")]));
}

#[test]
fn ignored_and_misread_lines_are_listed_with_their_number() {
    let read = |text: &str| misread(text.as_bytes(), Dialect::Since254).unwrap();
    for (text, line, word) in [
        ("A=1\nexport SECRET_KEY=\"x\"\nB=2", 2, "\"export\""),
        ("export\tA=1", 1, "\"export\""),
        ("\r\nset A=1\r\n", 2, "\"set\""),
        ("declare -x A=1", 1, "space"),
        ("MY KEY=1", 1, "space"),
        ("\u{feff}A=1\nB=2", 1, "byte order mark"),
        ("A=1\n\n  nonsense\nB=2\n", 3, "not an assignment"),
        ("A=1\nnonsense", 2, "not an assignment"),
        ("1A=1", 1, "digit"),
        ("# c\nA-B=1", 2, "other characters"),
        ("Ä=1", 1, "other characters"),
        ("=1", 1, "not an assignment"),
        ("A=1\nB=\"x\nC=3\nD=4", 2, "never closed"),
        ("A='x\nB=2", 1, "never closed"),
        ("A=\"x\nB=\"y\"\nC=3", 1, "later line"),
    ] {
        let found = read(text);
        assert!(
            matches!(found[..], [m] if m.line == line && m.why.contains(word)),
            "{text:?}: {found:?}"
        );
    }
    for good in [
        "",
        "A=1\r\n# export B=1\r\n",
        "A = 1\nB= '2'\n",
        "KEY=\"-----BEGIN\nabc==\n-----END\"\nB=it's\n",
        "A=1\\\n2\nB=\"x\" 'y'\n",
    ] {
        assert_eq!(read(good), [], "{good:?}");
    }
    // Nothing of the content is repeated.
    let text = format!("{}", read("export SECRET=s3\nhidden\n")[1]);
    assert_eq!(text, "line 2 is not an assignment: write NAME=value");
}

#[test]
fn a_backslash_continues_a_comment_before_254_only() {
    let text = b"# C:\\path\\\nA=1\nB=2\n";
    assert_eq!(
        parse(text, Dialect::Since254),
        Ok(pairs(&[("A", "1"), ("B", "2")]))
    );
    assert_eq!(parse(text, Dialect::Before254), Ok(pairs(&[("B", "2")])));
}

#[test]
fn only_assignments_must_be_utf8() {
    let read = |text: &[u8]| parse(text, Dialect::Since254);
    assert_eq!(read(b"# gr\xfcn\n\xfc\nA=1"), Ok(pairs(&[("A", "1")])));
    for refused in [
        &b"A=\xfc\n"[..],
        b"\xfc=1\n",
        b"A-B=\xfc",
        b"A=\0",
        b"A=\xef\xbf\xbe",
    ] {
        assert!(read(refused).is_err(), "{refused:?}");
    }
}

#[test]
fn a_variable_is_set_in_its_place_and_read_back() {
    let text = "# keys\nA=1\nB='two\nlines'\n; x\nA=3 \\\n 4\nC=5";
    for value in [
        "",
        "plain",
        "a b",
        "\"q\" 'r'",
        "$x `y` \\z",
        "two\nlines\n",
        " #",
    ] {
        for dialect in [Dialect::Before254, Dialect::Since254] {
            let Ok(new) = set(text, "A", value, dialect) else {
                panic!("{value:?}");
            };
            let found = parse(new.as_bytes(), dialect).unwrap_or_default();
            assert!(found.contains(&("A".to_owned(), value.to_owned())), "{new}");
            assert!(
                found.contains(&("B".to_owned(), "two\nlines".to_owned())),
                "{new}"
            );
            assert!(new.starts_with("# keys\nB='two\nlines'\n; x\nA="), "{new}");
            assert_eq!(new.matches("A=").count(), 1, "{new}");
        }
    }
    let added = set("C=5", "D", "6", Dialect::Since254);
    assert!(added.is_ok_and(|text| text == "C=5\nD=\"6\"\n"));
    for name in ["", "2X", "A B", "export A", "A-B", "A=B"] {
        assert!(set("", name, "x", Dialect::Since254).is_err(), "{name}");
    }
    assert!(set("", "A", "\0", Dialect::Since254).is_err());
}
