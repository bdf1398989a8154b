//! What is followed: a branch, the highest version among tags, or one commit.

use std::fmt;
use std::str::FromStr;

use super::{Branch, Invalid, TagPattern};

/// What of the repository goes live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Track {
    /// What was pushed to a branch.
    Branch(Branch),
    /// The highest version among the tags of a pattern.
    Tag(TagPattern),
    /// One commit, deployed once and never left.
    Commit(CommitId),
}

impl Track {
    /// The branch, if it is one.
    #[must_use]
    pub fn branch(&self) -> Option<&Branch> {
        match self {
            Self::Branch(branch) => Some(branch),
            _ => None,
        }
    }
    /// The pattern of tags, if it is one.
    #[must_use]
    pub fn tag(&self) -> Option<&TagPattern> {
        match self {
            Self::Tag(pattern) => Some(pattern),
            _ => None,
        }
    }
    /// The commit, if it is one.
    #[must_use]
    pub fn commit(&self) -> Option<&CommitId> {
        match self {
            Self::Commit(commit) => Some(commit),
            _ => None,
        }
    }
    /// What to say of a repository that has no such thing: `has no branch main`.
    #[must_use]
    pub fn missing(&self) -> String {
        match self {
            Self::Branch(branch) => format!("has no branch {branch}"),
            Self::Tag(tag) if tag.names_one() => format!("has no tag {tag}"),
            Self::Tag(tag) => format!("has no tag {tag} that is a version"),
            Self::Commit(commit) => format!("has no commit {commit}"),
        }
    }
    /// The flag of init that says something else.
    #[must_use]
    pub fn flag(&self) -> &'static str {
        match self {
            Self::Branch(_) => "--branch NAME",
            Self::Tag(_) => "--tag PATTERN",
            Self::Commit(_) => "--commit ID",
        }
    }
    /// What goes live by itself from now on, in words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Branch(branch) => format!("what is pushed to {branch} goes live by itself"),
            Self::Tag(tag) if tag.names_one() => {
                format!("where the tag {tag} is moved to goes live by itself")
            }
            Self::Tag(tag) => {
                format!("the highest version among the tags {tag} goes live by itself")
            }
            Self::Commit(commit) => format!("{} stays live, whatever is pushed", commit.short()),
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

/// A commit by its full name: 40 hexadecimal digits. An abbreviation may come to mean another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitId(String);

impl CommitId {
    /// All 40 digits, small letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// The first seven of them.
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
        Err(
            Invalid::new(format!("{text:?} is not the name of a commit"))
                .hint("all 40 digits, as `git rev-parse HEAD` prints them"),
        )
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
    fn a_commit_is_named_by_all_its_digits() {
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
    fn one_of_three_says_what_is_followed() {
        let parsed = |pairs: &[(&str, &str)]| {
            let mut said = answers(pairs);
            said.set("repo", "git@github.com:acme/todo.git");
            said.parse(&Facts::default(), Limits::default())
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
                "--tag and branch exclude each other; one of branch, tag and commit says what is followed".into()
            ])
        );
        let error = parsed(&[("tag", "v*"), ("commit", commit)]).err();
        assert!(error.is_some_and(|e| e[0].starts_with("--commit and tag exclude each other")));
        let error = parsed(&[("commit", "abc1234")]).err();
        assert!(error.is_some_and(|e| e[0].contains("all 40 digits")));
    }

    #[test]
    fn a_tag_that_was_said_replaces_the_branch_of_before() {
        let saved = answers(&[("branch", "main"), ("workers", "3")]);
        let said = answers(&[("tag", "v*")]).or(saved.clone());
        assert_eq!((said.get("branch"), said.get("tag")), (None, Some("v*")));
        assert_eq!(said.get("workers"), Some("3"));
        assert_eq!(answers(&[]).or(saved).get("branch"), Some("main"));
    }
}
