//! Tag patterns, and the highest version among the tags that match.

use std::fmt;
use std::str::FromStr;

use semver::{BuildMetadata, Prerelease};

use super::{Branch, Invalid};

/// A pattern of tag names: `v*`. `*` matches any characters, including none and `/`; `?` matches one.
///
/// It selects the matching tag with the highest version: numbers are compared part by part, however many there are
/// (`v1.3`, `2026.12.01`, `2026-12-01`), pre-releases by the precedence of semver.org. The version follows the part
/// of the pattern before its first wildcard (`v`, `release-`, `todo/v`), or begins inside that part (`v1.*`); a `v`
/// before the version is skipped. Tags without a version are skipped, and so are pre-releases (`v2.0.0-rc.1`), unless
/// the pattern has a `-` in the version part: `v*-rc*`, `v2.0.0-*`. [`TagPattern::skipped`] lists them.
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
        // At equal precedence, build metadata and then the name decide, so that two such tags are not deployed in turns.
        names
            .filter_map(|name| Some((self.version(name).ok()?, name)))
            .max()
            .map(|(_, name)| name)
    }

    /// The matching tags that are never selected, each with the reason: `is not a version`.
    #[must_use]
    pub fn skipped<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Vec<(&'a str, &'static str)> {
        names
            .into_iter()
            .filter(|name| !self.names_one() && matches(&self.0, name))
            .filter_map(|name| Some((name, self.version(name).err()?)))
            .collect()
    }

    /// The version of a matching tag, or why it has none to compare.
    fn version(&self, name: &str) -> Result<Version, &'static str> {
        let prefix = self.prefix();
        let inside = (0..prefix.len())
            .filter(|at| prefix.is_char_boundary(*at) && begins_number(&prefix[..*at]))
            .find_map(|at| {
                let version = Version::parse(&name[at..])?;
                // `py3-` in `py3-v*` is not the beginning of a version, `1.0.0-` and `2026-` are.
                let begun = prefix[at..]
                    .bytes()
                    .all(|c| c == b'.' || c.is_ascii_digit());
                (begun || version.parts > 2 || version.dated).then(|| (version, &self.0[at..]))
            });
        let behind = || {
            let rest = name.get(prefix.len()..)?;
            let rest = match rest.strip_prefix('v') {
                Some(rest) => rest,
                None if begins_number(prefix) => rest,
                None => return None,
            };
            Some((Version::parse(rest)?, &self.0[prefix.len()..]))
        };
        let (version, pattern) = inside.or_else(behind).ok_or("is not a version")?;
        if version.pre.is_empty() || pattern.contains('-') {
            return Ok(version);
        }
        Err("is a pre-release, which the pattern does not select")
    }
}

/// A version of one or more numbers, compared by its fields in their order.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    /// Without trailing zeros: 1.3 equals 1.3.0.
    numbers: Vec<u64>,
    pre: Prerelease,
    build: BuildMetadata,
    /// How many numbers were written.
    parts: usize,
    /// Whether it is a date with dashes.
    dated: bool,
}

impl Version {
    /// `1.3`, `2026.12.01-rc.1+build`, `2026-12-01`; a single number has no pre-release.
    fn parse(text: &str) -> Option<Self> {
        let (text, build) = text.split_once('+').unwrap_or((text, ""));
        let year = text.split('-').next().is_some_and(|year| year.len() == 4);
        let dated = year && text.contains('-') && numbers(text).is_some();
        let (core, pre) = match text.split_once('-') {
            Some(parts) if !dated => parts,
            _ => (text, ""),
        };
        let mut numbers = numbers(core)?;
        let parts = numbers.len();
        while numbers.last() == Some(&0) {
            numbers.pop();
        }
        (parts > 1 || !text.contains('-')).then_some(Self {
            numbers,
            pre: Prerelease::new(pre).ok()?,
            build: BuildMetadata::new(build).ok()?,
            parts,
            dated,
        })
    }
}

fn numbers(text: &str) -> Option<Vec<u64>> {
    let number = |part: &str| {
        let digits = part.bytes().all(|c| c.is_ascii_digit());
        digits.then(|| part.parse().ok()).flatten()
    };
    text.split(['-', '.']).map(number).collect()
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
mod tests;
