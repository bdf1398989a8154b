//! Tests of tag patterns.

use super::*;
use proptest::prelude::*;

fn highest<'a>(pattern: &str, names: &[&'a str]) -> Option<&'a str> {
    let pattern: TagPattern = pattern.parse().unwrap();
    let selected = pattern.highest(names.iter().copied());
    assert_eq!(
        selected,
        pattern.highest(names.iter().rev().copied()),
        "the result depends on the order of the list"
    );
    selected
}

#[test]
fn selects_the_highest_version_not_the_last_by_name() {
    let tags = [
        "v1.9.0",
        "v1.10.0",
        "v1.2.3",
        "v2.0.0-rc.1",
        "vnext",
        "nightly",
    ];
    assert_eq!(highest("v*", &tags), Some("v1.10.0"));
    assert_eq!(highest("*", &tags), Some("v1.10.0"));
    assert_eq!(highest("v1.2.*", &tags), Some("v1.2.3"));
    assert_eq!(highest("v1.*", &tags), Some("v1.10.0"));
    assert_eq!(highest("v1.?.*", &tags), Some("v1.9.0"));
    assert_eq!(highest("x*", &tags), None);
    assert_eq!(highest("v*", &[]), None);
    assert_eq!(highest("v1*", &["v10.2.3", "v1.9.9"]), Some("v10.2.3"));
    assert_eq!(highest("*", &["1.0.0", "v0.9.0"]), Some("1.0.0"));
}

#[test]
fn strips_prefixes() {
    assert_eq!(
        highest("release-*", &["release-1.0.0", "release-v1.2.0", "v9.0.0"]),
        Some("release-v1.2.0")
    );
    assert_eq!(
        highest("todo/v*", &["todo/v1.0.0", "todo/v1.0.1", "blog/v2.0.0"]),
        Some("todo/v1.0.1")
    );
    assert_eq!(
        highest("py3-v*", &["py3-v1.0.0", "py3-v1.1.0"]),
        Some("py3-v1.1.0")
    );
}

#[test]
fn numbers_are_compared_part_by_part_however_many_there_are() {
    for (pattern, ascending) in [
        (
            "2026.*",
            &["2026.9.30", "2026.10.11", "2026.12.01", "2026.12.01.2"][..],
        ),
        ("*", &["2025.12", "2026.1", "2026.10.11"]),
        (
            "v*",
            &["v1.2.0", "v1.3", "v1.3.0.1", "v01.10", "v3", "v20261011"],
        ),
        ("v1.*", &["v1.1.2.3", "v1.1.10", "v1.2"]),
        ("release-*", &["release-9", "release-10", "release-2026.1"]),
        ("2026-*", &["2026-9-30", "2026-10-11", "2026-10-11.2"]),
        ("rel/*", &["rel/2025-12-31", "rel/2026-01-01"]),
        ("py3.1-*", &["py3.1-1.1", "py3.1-1.2.0", "py3.1-1.10"]),
        ("py3-v*", &["py3-v1.9", "py3-v1.10"]),
    ] {
        for pair in ascending.windows(2) {
            assert_eq!(highest(pattern, pair), Some(pair[1]), "{pattern}: {pair:?}");
        }
    }
}

#[test]
fn what_matches_and_is_never_selected_is_listed_with_its_reason() {
    let pre = "is a pre-release, which the pattern does not select";
    let not = "is not a version";
    let tags = [
        ("v1.2.0", None),
        ("v1.3", None),
        ("w1.0.0", None),
        ("v1.3-foo", Some(pre)),
        ("v2.0.0-rc.1", Some(pre)),
        ("v1.3rc1", Some(not)),
        ("vnext", Some(not)),
        ("v1..2", Some(not)),
        ("v1.", Some(not)),
        ("v99999999999999999999.1", Some(not)),
    ];
    let expected: Vec<(&str, &str)> = tags
        .iter()
        .filter_map(|(name, why)| Some((*name, (*why)?)))
        .collect();
    let names = || tags.iter().map(|(name, _)| *name);
    let skipped = |pattern: &str| pattern.parse::<TagPattern>().unwrap().skipped(names());
    assert_eq!(skipped("v*"), expected);
    assert_eq!(skipped("vnext"), []);
}

#[test]
fn selects_pre_releases_only_if_the_pattern_allows_them() {
    let tags = [
        "v1.0.0",
        "v1.1.0-rc.2",
        "v1.1.0-rc.10",
        "v1.1.0-beta",
        "v2.0.0-rc.1",
    ];
    assert_eq!(highest("v*", &tags), Some("v1.0.0"));
    assert_eq!(highest("v*-rc*", &tags), Some("v2.0.0-rc.1"));
    assert_eq!(highest("v1.1.0-*", &tags), Some("v1.1.0-rc.10"));
    assert_eq!(
        highest("rel-*", &["rel-1.0.0", "rel-1.1.0-rc.1"]),
        Some("rel-1.0.0"),
        "a dash before the version does not allow pre-releases"
    );
}

#[test]
fn follows_the_precedence_of_semver_org() {
    // Section 11 of the specification, in its own examples.
    let order = [
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
    ];
    for pair in order.windows(2) {
        assert_eq!(highest("*-*", pair), Some(pair[1]));
    }
    assert_eq!(
        highest("*", &["1.0.0", "2.0.0", "2.1.0", "2.1.1"]),
        Some("2.1.1")
    );
    // Equal precedence: always selects the same one.
    assert_eq!(
        highest("*", &["v1.0.0", "1.0.0", "1.0.0+b", "1.0.0+a"]),
        Some("1.0.0+b")
    );
}

#[test]
fn a_pattern_without_wildcards_names_one_tag() {
    assert_eq!(
        highest("production", &["production", "v1.0.0"]),
        Some("production")
    );
    assert_eq!(
        highest("v1.0.0-rc.1", &["v1.0.0-rc.1"]),
        Some("v1.0.0-rc.1")
    );
    assert_eq!(highest("production", &["production2"]), None);
}

#[test]
fn refuses_malformed_patterns() {
    for bad in [
        "",
        "v *",
        "refs/tags/v*",
        "v[0-9]*",
        "-v*",
        "v..*",
        "v\n*",
        "$(x)",
        "v~*",
    ] {
        assert!(bad.parse::<TagPattern>().is_err(), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn the_selected_tag_matches_and_is_in_the_list(
        pattern in "[v1.*?-]{1,6}", names in prop::collection::vec("v?[0-2]\\.[0-2]\\.[0-2](-a)?", 0..6)
    ) {
        let Ok(pattern) = pattern.parse::<TagPattern>() else { return Ok(()) };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if let Some(found) = pattern.highest(names.iter().copied()) {
            prop_assert!(names.contains(&found) && matches(pattern.as_str(), found));
            prop_assert!(found.starts_with(pattern.prefix()));
            // It is still selected when it is the only one.
            prop_assert_eq!(pattern.highest([found]), Some(found));
        }
    }

    #[test]
    fn a_name_matches_itself_and_patterns_made_from_it(name in "\\PC{0,12}", at in 0usize..13) {
        prop_assert!(matches("*", &name) && matches("**", &name));
        let name = name.replace(['*', '?'], "x");
        prop_assert!(matches(&name, &name));
        let head: String = name.chars().take(at).collect();
        let tail: String = name.chars().skip(at + 1).collect();
        let pattern = format!("{head}*{tail}");
        prop_assert!(matches(&pattern, &name));
        if name.chars().count() > at {
            let pattern = format!("{head}?{tail}");
            prop_assert!(matches(&pattern, &name));
        }
    }
}
