//! The newest of what is followed, as the remote shows it.

use git2::Oid;

use super::{Remote, RemoteError, refs, tip};
use crate::app::Track;

/// What the remote has of what is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    /// For people: `main`, `v1.2.3`, the first digits of a commit.
    pub name: String,
    /// What to fetch: `refs/heads/main`. `None`: the commit, by its id.
    pub reference: Option<String>,
    /// What the reference points at: the commit, or an annotated tag that leads to it.
    pub object: Oid,
    /// The commit.
    pub commit: Oid,
}

/// Asks the remote for the newest of what is followed; `None` if it has nothing of the kind.
///
/// A branch is asked for by its name, tags by what all their names begin with. A commit is named by the
/// settings already: nothing is asked, and only fetching it tells whether it is there.
///
/// # Errors
/// As [`tip()`].
pub fn newest(remote: &Remote, track: &Track) -> Result<Option<Newest>, RemoteError> {
    match track {
        Track::Branch(branch) => {
            let reference = format!("refs/heads/{branch}");
            let commit = tip(remote, &reference)?;
            Ok(commit.map(|commit| Newest {
                name: branch.to_string(),
                reference: Some(reference),
                object: commit,
                commit,
            }))
        }
        Track::Tag(pattern) => {
            const TAGS: &str = "refs/tags/";
            let found = refs(remote, &format!("{TAGS}{}", pattern.prefix()))?;
            let names = found
                .iter()
                .filter_map(|(name, ..)| name.strip_prefix(TAGS));
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
            }))
        }
        Track::Commit(commit) => {
            let oid = Oid::from_str(commit.as_str()).map_err(|_| {
                RemoteError::Invalid(format!("{commit} is not the name of a commit"))
            })?;
            Ok(Some(Newest {
                name: commit.short().to_owned(),
                reference: None,
                object: oid,
                commit: oid,
            }))
        }
    }
}

/// Asks the remote what can be read of what is followed: `main at 1234567`; `None` if it has nothing of
/// the kind. This asks in any case: where the settings name a commit, with what every repository has.
///
/// # Errors
/// As [`tip()`].
pub fn reads(remote: &Remote, track: &Track) -> Result<Option<String>, RemoteError> {
    let Some(newest) = newest(remote, track)? else {
        return Ok(None);
    };
    if newest.reference.is_none() {
        tip(remote, "HEAD")?;
        return Ok(Some(format!("the repository of {}", newest.name)));
    }
    let commit = newest.commit.to_string();
    Ok(Some(format!(
        "{} at {}",
        newest.name,
        crate::text::short(&commit)
    )))
}
