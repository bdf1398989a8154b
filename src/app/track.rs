//! What to deploy: a branch, the highest version among tags, or one commit.

use std::fmt;
use std::str::FromStr;

use super::{Branch, Invalid, TagPattern};

/// The ref or commit of the repository to deploy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Track {
    /// The head of a branch.
    Branch(Branch),
    /// The highest version among the tags that match a pattern.
    Tag(TagPattern),
    /// One pinned commit.
    Commit(CommitId),
}

impl Track {
    /// The branch; `None` for a tag pattern or commit.
    #[must_use]
    pub fn branch(&self) -> Option<&Branch> {
        match self {
            Self::Branch(branch) => Some(branch),
            _ => None,
        }
    }
    /// The tag pattern; `None` for a branch or commit.
    #[must_use]
    pub fn tag(&self) -> Option<&TagPattern> {
        match self {
            Self::Tag(pattern) => Some(pattern),
            _ => None,
        }
    }
    /// The commit; `None` for a branch or tag pattern.
    #[must_use]
    pub fn commit(&self) -> Option<&CommitId> {
        match self {
            Self::Commit(commit) => Some(commit),
            _ => None,
        }
    }
    /// The error for a repository without it: `has no branch main`.
    #[must_use]
    pub fn missing(&self) -> String {
        match self {
            Self::Branch(branch) => format!("has no branch {branch}"),
            Self::Tag(tag) if tag.names_one() => format!("has no tag {tag}"),
            Self::Tag(tag) => format!("has no version tag that matches {tag}"),
            Self::Commit(commit) => format!("has no commit {commit}"),
        }
    }
    /// The flag of init that changes it.
    #[must_use]
    pub fn flag(&self) -> &'static str {
        match self {
            Self::Branch(_) => "--branch NAME",
            Self::Tag(_) => "--tag PATTERN",
            Self::Commit(_) => "--commit ID",
        }
    }
    /// What is deployed automatically, in words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Branch(branch) => {
                format!("commits pushed to {branch} are deployed automatically")
            }
            Self::Tag(tag) if tag.names_one() => {
                format!("the commit of the tag {tag} is deployed automatically")
            }
            Self::Tag(tag) => {
                format!("the highest version among the tags {tag} is deployed automatically")
            }
            Self::Commit(commit) => format!("{} stays live; pushes are ignored", commit.short()),
        }
    }
}

impl fmt::Display for Track {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Branch(branch) => branch.fmt(f),
            Self::Tag(pattern) => pattern.fmt(f),
            Self::Commit(commit) => f.write_str(commit.short()),
        }
    }
}

/// A full commit ID: 40 hexadecimal digits. Abbreviations can become ambiguous.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitId(String);

impl CommitId {
    /// All 40 digits, lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// The first seven digits.
    #[must_use]
    pub fn short(&self) -> &str {
        crate::text::short(&self.0)
    }
}

impl FromStr for CommitId {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let text = text.trim().to_ascii_lowercase();
        if text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(Self(text));
        }
        Err(Invalid::new(format!("{text:?} is not a full commit ID"))
            .hint("all 40 digits, as `git rev-parse HEAD` prints them"))
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{Answers, Facts, Limits};

    fn answers(pairs: &[(&str, &str)]) -> Answers {
        let mut answers = Answers::default();
        for (name, text) in pairs {
            answers.set(name, text);
        }
        answers
    }

    #[test]
    fn a_commit_id_has_all_40_digits() {
        let full = "0123456789ABCDEF0123456789abcdef01234567";
        assert!(
            full.parse::<CommitId>()
                .is_ok_and(|id| id.as_str() == full.to_lowercase())
        );
        for bad in [
            "",
            "abc1234",
            "HEAD",
            &full[1..],
            &format!("{full}0"),
            "0123456789abcdefg",
        ] {
            assert!(bad.parse::<CommitId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn accepts_only_one_of_branch_tag_and_commit() {
        let parsed = |pairs: &[(&str, &str)]| {
            let mut given = answers(pairs);
            given.set("repo", "git@github.com:acme/todo.git");
            given
                .parse(&Facts::default(), Limits::default())
                .map(|app| app.track.to_string())
                .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let commit = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(parsed(&[]), Ok("main".into()));
        assert_eq!(parsed(&[("branch", "stable")]), Ok("stable".into()));
        assert_eq!(parsed(&[("branch", ""), ("tag", "v*")]), Ok("v*".into()));
        assert_eq!(parsed(&[("commit", commit)]), Ok("0123456".into()));
        assert_eq!(
            parsed(&[("branch", "main"), ("tag", "v*")]),
            Err(vec![
                "--tag and branch exclude each other; give only one of branch, tag and commit"
                    .into()
            ])
        );
        let error = parsed(&[("tag", "v*"), ("commit", commit)]).err();
        assert!(error.is_some_and(|e| e[0].starts_with("--commit and tag exclude each other")));
        let error = parsed(&[("commit", "abc1234")]).err();
        assert!(error.is_some_and(|e| e[0].contains("all 40 digits")));
    }

    #[test]
    fn a_given_tag_replaces_the_saved_branch() {
        let saved = answers(&[("branch", "main"), ("workers", "3")]);
        let merged = answers(&[("tag", "v*")]).or(saved.clone());
        assert_eq!(
            (merged.get("branch"), merged.get("tag")),
            (None, Some("v*"))
        );
        assert_eq!(merged.get("workers"), Some("3"));
        assert_eq!(answers(&[]).or(saved).get("branch"), Some("main"));
    }
}
