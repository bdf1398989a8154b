//! Taking a change back, by what the receipt says of it and nothing else.

use std::path::Path;

use anyhow::Result;

use crate::record::receipt::{Before, Change, Receipt};
use crate::server::{Kind, Server, sha256};

/// What became of a change that was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undone {
    /// It is gone, or as it was before.
    Gone(String),
    /// It stays, and why.
    Stays(String),
}

/// Takes one change back. What is gone already is fine; what was there before pullpray stays or
/// comes back; what somebody changed since, or still uses, stays.
///
/// # Errors
/// When it is there, is ours, and cannot be removed.
pub fn undo(server: &Server, receipt: &Receipt, change: &Change) -> Result<Undone> {
    let gone = |what: &str| Ok(Undone::Gone(what.to_owned()));
    let stays = |why: String| Ok(Undone::Stays(why));
    match change {
        Change::File { path, before, .. } => undo_file(server, receipt, path, before),
        Change::Line { path, line } => {
            let Some(text) = server.read_text(path)? else {
                return gone("was gone already");
            };
            let rest: String = text
                .split_inclusive('\n')
                .filter(|l| l.trim_end_matches('\n') != line)
                .collect();
            if rest.trim().is_empty() {
                server.remove_file(path)?;
            } else if rest != text {
                server.write(path, rest.as_bytes(), 0o644, Some((0, 0)))?;
            }
            gone("line removed")
        }
        Change::Directory { path, before } => match before {
            Before::Created if server.remove_empty_dir(path)? => gone("removed"),
            Before::Created => stays("still holds something".to_owned()),
            _ => stays("was there before".to_owned()),
        },
        Change::Group { name, before } => match before {
            Before::Created if server.group(name).is_none() => gone("was gone already"),
            Before::Created => {
                server.remove_group(name)?;
                gone("removed")
            }
            _ => stays("was there before".to_owned()),
        },
        Change::User { name, before } => match (before, server.user(name)) {
            (Before::Created, None) => gone("was gone already"),
            (Before::Created, Some(user)) => {
                let running = server.processes_of(user.uid)?.len();
                if running > 0 {
                    return stays(format!("{running} of its processes still run"));
                }
                server.remove_user(name)?;
                gone("removed")
            }
            _ => stays("was there before".to_owned()),
        },
        Change::Member {
            user,
            group,
            before,
        } => match (before, server.user(user), server.group(group)) {
            (Before::Created, Some(who), Some(of)) if server.is_member(&who, &of) => {
                server.remove_member(user, group)?;
                gone("removed")
            }
            (Before::Created, ..) => gone("was gone already"),
            _ => stays("was there before".to_owned()),
        },
        Change::Unit { name } => {
            if server.unit(name)?.load == "not-found" {
                return gone("was gone already");
            }
            server.disable_now(name)?;
            gone("stopped and disabled")
        }
        Change::Release { path } => stays(format!("{} is the app's own", path.display())),
    }
}

fn undo_file(server: &Server, receipt: &Receipt, path: &Path, before: &Before) -> Result<Undone> {
    if *before == Before::Adopted {
        return Ok(Undone::Stays("was there before".to_owned()));
    }
    let Some(stat) = server.stat(path)? else {
        return Ok(Undone::Gone("was gone already".to_owned()));
    };
    let ours = stat.kind == Kind::File
        && receipt.wrote(path, &sha256(&server.read(path)?.unwrap_or_default()));
    if !ours {
        return Ok(Undone::Stays("was changed since".to_owned()));
    }
    if let Before::Replaced(backup) = before
        && let Some(old) = server.stat(backup)?
    {
        let content = server.read(backup)?.unwrap_or_default();
        server.write(path, &content, old.mode, Some((old.uid, old.gid)))?;
        return Ok(Undone::Gone(
            "the file that was there before is back".to_owned(),
        ));
    }
    server.remove_file(path)?;
    Ok(Undone::Gone("removed".to_owned()))
}
