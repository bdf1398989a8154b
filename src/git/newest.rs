//! The newest commit of the tracked branch or tags on the remote.

use git2::Oid;

use super::tip::tip_and_words;
use super::{RemoteError, SshRemote, refs, tip};
use crate::app::{TagPattern, Track};

/// The newest tracked commit on the remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    /// Display name: `main`, `v1.2.3`, or an abbreviated commit id.
    pub name: String,
    /// Reference to fetch, such as `refs/heads/main`; `None` means to fetch the commit by id.
    pub reference: Option<String>,
    /// Object that the reference points to: the commit, or an annotated tag.
    pub object: Oid,
    /// The commit.
    pub commit: Oid,
    /// Tags that match the pattern and are never selected, each in a sentence: `vnext matches v* and is not a version`.
    pub skipped: Vec<String>,
}

/// Queries the newest tracked commit; `None` if the remote has no such branch or tag.
///
/// A branch is listed by its name, tags by their common prefix. If the settings track a commit, there is no request:
/// only fetching it shows whether it exists.
///
/// # Errors
/// As [`tip()`].
pub fn newest(remote: &SshRemote, track: &Track) -> Result<Option<Newest>, RemoteError> {
    match track {
        Track::Branch(branch) => {
            let reference = format!("refs/heads/{branch}");
            let commit = tip(remote, &reference)?;
            Ok(commit.map(|commit| Newest {
                name: branch.to_string(),
                reference: Some(reference),
                object: commit,
                commit,
                skipped: Vec::new(),
            }))
        }
        Track::Tag(pattern) => {
            const TAGS: &str = "refs/tags/";
            let found = refs(remote, &format!("{TAGS}{}", pattern.prefix()))?;
            let names = found
                .iter()
                .filter_map(|(name, ..)| name.strip_prefix(TAGS));
            let skipped = skipped(pattern, names.clone());
            let Some(name) = pattern.highest(names) else {
                return Ok(None);
            };
            let tag = found
                .iter()
                .find(|(full, ..)| full.strip_prefix(TAGS) == Some(name));
            Ok(tag.map(|(reference, object, peeled)| Newest {
                name: name.to_owned(),
                reference: Some(reference.clone()),
                object: *object,
                commit: peeled.unwrap_or(*object),
                skipped,
            }))
        }
        Track::Commit(commit) => {
            let oid = Oid::from_str(commit.as_str())
                .map_err(|_| RemoteError::Invalid(format!("{commit} is not a commit id")))?;
            Ok(Some(Newest {
                name: commit.short().to_owned(),
                reference: None,
                object: oid,
                commit: oid,
                skipped: Vec::new(),
            }))
        }
    }
}

/// The matching tags that are never selected, each in a sentence.
pub(super) fn skipped<'a>(
    pattern: &TagPattern,
    names: impl IntoIterator<Item = &'a str>,
) -> Vec<String> {
    let skipped = pattern.skipped(names).into_iter();
    let sentence = |(name, why)| format!("{name} matches {pattern} and {why}");
    skipped.map(sentence).collect()
}

/// The names of the branches, in the remote's order.
///
/// # Errors
/// As [`tip()`].
pub fn branches(remote: &SshRemote) -> Result<Vec<String>, RemoteError> {
    const PREFIX: &str = "refs/heads/";
    let found = refs(remote, PREFIX)?.into_iter();
    Ok(found
        .filter_map(|(name, ..)| Some(name.strip_prefix(PREFIX)?.to_owned()))
        .collect())
}

/// Checks read access and describes what the remote has, such as `main at 1234567`; `None` if it has no such branch or
/// tag. It always contacts the remote: if the settings track a commit, it lists `HEAD`.
///
/// # Errors
/// As [`tip()`].
pub fn describe_readable(remote: &SshRemote, track: &Track) -> Result<Option<String>, RemoteError> {
    if let Track::Branch(branch) = track {
        let (commit, words) = tip_and_words(remote, &format!("refs/heads/{branch}"))?;
        // Hosts redirect to a repository that was renamed, and say so here only.
        let moved = |line: &&str| ["moved", "renamed"].iter().any(|word| line.contains(word));
        let moved = words.lines().find(moved);
        let moved = moved.map_or_else(String::new, |line| format!("; the host says: {line}"));
        return Ok(commit.map(|commit| {
            let commit = commit.to_string();
            format!("{branch} at {}{moved}", crate::text::short(&commit))
        }));
    }
    let Some(newest) = newest(remote, track)? else {
        return Ok(None);
    };
    if newest.reference.is_none() {
        tip(remote, "HEAD")?;
        return Ok(Some(format!("the repository of {}", newest.name)));
    }
    let commit = newest.commit.to_string();
    let skipped = match newest.skipped.as_slice() {
        [] => String::new(),
        [tag] => format!("; {tag}"),
        [tag, others @ ..] => format!("; {tag} and {} more are never selected", others.len()),
    };
    Ok(Some(format!(
        "{} at {}{skipped}",
        newest.name,
        crate::text::short(&commit)
    )))
}
