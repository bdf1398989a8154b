//! Tag patterns, and the highest version among the tags that match.

use std::fmt;
use std::str::FromStr;

use semver::Version;

use super::{Branch, Invalid};

/// A pattern of tag names: `v*`. `*` matches any characters, including none and `/`; `?` matches one.
///
/// It selects the matching tag with the highest version, by the precedence of semver.org. The version
/// follows the part of the pattern before its first wildcard (`v`, `release-`, `todo/v`), or begins
/// inside that part (`v1.*`); a `v` before the version is skipped. Tags without a version are
/// ignored, and so are pre-releases (`v2.0.0-rc.1`), unless the pattern has a `-` in the version
/// part: `v*-rc*`, `v2.0.0-*`.
///
/// A pattern without wildcards names one tag, which need not be a version: `production`, moved to
/// the commit to deploy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagPattern(String);

impl TagPattern {
    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// The prefix of all matching tags, for the request to the git host.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.0.split(['*', '?']).next().unwrap_or_default()
    }
    /// Whether it has no wildcards and names one tag.
    #[must_use]
    pub fn names_one(&self) -> bool {
        self.prefix().len() == self.0.len()
    }

    /// The selected tag among these names.
    pub fn highest<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        let names = names.into_iter().filter(|name| matches(&self.0, name));
        if self.names_one() {
            return names.into_iter().next();
        }
        names
            .filter_map(|name| Some((self.version(name)?, name)))
            // At equal precedence, build metadata and then the name decide, so that two such tags
            // are not deployed in turns.
            .max_by(|(one, a), (other, b)| {
                one.cmp_precedence(other)
                    .then_with(|| one.cmp(other))
                    .then_with(|| a.cmp(b))
            })
            .map(|(_, name)| name)
    }

    /// The version of a matching tag.
    fn version(&self, name: &str) -> Option<Version> {
        let prefix = self.prefix();
        let inside = (0..prefix.len())
            .filter(|at| prefix.is_char_boundary(*at) && begins_number(&prefix[..*at]))
            .find_map(|at| Some((Version::parse(&name[at..]).ok()?, &self.0[at..])));
        let behind = || {
            let rest = name.get(prefix.len()..)?;
            let rest = match rest.strip_prefix('v') {
                Some(rest) => rest,
                None if begins_number(prefix) => rest,
                None => return None,
            };
            Some((Version::parse(rest).ok()?, &self.0[prefix.len()..]))
        };
        let (version, pattern) = inside.or_else(behind)?;
        (version.pre.is_empty() || pattern.contains('-')).then_some(version)
    }
}

/// Whether a version can begin after this text: not in the middle of a number or of another version.
fn begins_number(before: &str) -> bool {
    let before = before.strip_suffix('.').unwrap_or(before);
    !before.ends_with(|c: char| c.is_ascii_digit())
}

/// Whether a name matches a pattern with `*` and `?`, in at most quadratic time.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // The last star, and where its match ends in the name.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

impl FromStr for TagPattern {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        let refuse = || {
            Invalid::new(format!("{text:?} is not a tag pattern"))
                .hint("for example v*; * matches anything, ? one character")
        };
        if text.starts_with("refs/") {
            return Err(Invalid::new("must not start with refs/"));
        }
        // The rules of names apply, wildcards aside: other patterns could never match.
        let plain: String = text
            .chars()
            .map(|c| if matches!(c, '*' | '?') { 'x' } else { c })
            .collect();
        plain.parse::<Branch>().map_err(|_| refuse())?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for TagPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
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
            "v3",
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
        // Four numbers are not a version; the last three must not be parsed as one.
        assert_eq!(highest("v1.*", &["v1.1.2.3"]), None);
        assert_eq!(highest("v*", &["v01.2.3", "v1.2"]), None);
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
}
