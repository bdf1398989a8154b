//! Taking a change back, by what the receipt says of it and nothing else.

use std::cmp::Reverse;
use std::path::Path;

use anyhow::{Context, Result};
use ssh_key::{HashAlg, PrivateKey};
use zeroize::Zeroizing;

use crate::app::{AppName, RepoUrl, Settings};
use crate::host::{Account, Kind, Server};
use crate::layout;
use crate::state::receipt::{Before, Change, Receipt};
use crate::state::sha256;

/// What became of a change that was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undone {
    /// It is gone, or as it was before.
    Removed(String),
    /// It stays, and why.
    Kept(String),
}

/// Takes one change back. What is gone already is fine; what was there before pullpray stays or
/// comes back; what somebody changed since, or still uses, stays.
///
/// # Errors
/// When it is there, is ours, and cannot be removed.
pub fn undo(
    server: &Server,
    receipt: &Receipt,
    app: &AppName,
    change: &Change,
    purge: bool,
) -> Result<Undone> {
    let gone = |what: &str| Ok(Undone::Removed(what.to_owned()));
    let stays = |why: String| Ok(Undone::Kept(why));
    if let Change::File { path, .. } | Change::Line { path, .. } = change {
        server.remove_leftover(path)?;
    }
    match change {
        Change::File { path, before, .. } => undo_file(server, receipt, path, before, purge),
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
        Change::Directory { path, before, was } => match (before, was) {
            (Before::Created, _) if is_planted(server, path)? => {
                server.remove_any(path)?;
                gone("removed, what was in its place")
            }
            (Before::Created, _) if server.remove_empty_dir(path)? => gone("removed"),
            (Before::Created, _) => stays("still holds something".to_owned()),
            (_, Some(was)) if server.restore_dir(path, was.uid, was.gid, was.mode)? => {
                gone(&format!(
                    "stays, and is {} again",
                    server.owned(was.uid, was.gid, was.mode)
                ))
            }
            _ => stays("was there before".to_owned()),
        },
        Change::Group { .. } | Change::User { .. } if owns_data(server, receipt)? => {
            stays("owns the app's data".to_owned())
        }
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
                server.end_account(&user)?;
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
            // One that failed would be listed, without a file, for ever: ssh-agent always ends so.
            drop(server.reset_failed(name));
            gone("stopped and disabled")
        }
        Change::Release { path, static_dir } => {
            undo_release(server, receipt, app, path, static_dir, purge)
        }
    }
}

/// Whether something else stands in the place of a directory, in one where others than root put what they like.
fn is_planted(server: &Server, path: &Path) -> Result<bool> {
    let (Some(stat), Some(dir)) = (server.stat(path)?, path.parent()) else {
        return Ok(false);
    };
    Ok(stat.kind != Kind::Directory && server.stat(dir)?.is_some_and(|dir| dir.uid != 0))
}

/// Whether an app's shared directory holds something; a link there is nobody's data.
fn holds_data(server: &Server, shared: &Path) -> Result<bool> {
    let stat = server.stat(shared)?;
    Ok(stat.is_some_and(|stat| stat.kind == Kind::Directory) && !server.list(shared)?.is_empty())
}

/// Whether the app's data is still there. Its owner then stays: files of a number that nobody has
/// would fall to whoever is given it next.
fn owns_data(server: &Server, receipt: &Receipt) -> Result<bool> {
    for entry in receipt.entries() {
        if let Change::Release { path, .. } = &entry.change
            && holds_data(server, &path.join("shared"))?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn undo_file(
    server: &Server,
    receipt: &Receipt,
    path: &Path,
    before: &Before,
    purge: bool,
) -> Result<Undone> {
    if *before == Before::Adopted {
        return Ok(Undone::Kept("was there before".to_owned()));
    }
    let Some(stat) = server.stat(path)? else {
        return Ok(Undone::Removed("was gone already".to_owned()));
    };
    if stat.kind != Kind::File {
        return Ok(Undone::Kept("is not a file any more".to_owned()));
    }
    if !purge && !is_what_we_wrote(server, receipt, path)? {
        return Ok(Undone::Kept(
            "was changed since; --purge takes it too".to_owned(),
        ));
    }
    if let Before::Replaced(backup) = before
        && let Some(old) = server.stat(backup)?
    {
        let content = server.read(backup)?.unwrap_or_default();
        server.write(path, &content, old.mode, Some((old.uid, old.gid)))?;
        return Ok(Undone::Removed("what was there before is back".to_owned()));
    }
    server.remove_file(path)?;
    Ok(Undone::Removed("removed".to_owned()))
}

fn is_what_we_wrote(server: &Server, receipt: &Receipt, path: &Path) -> Result<bool> {
    let bytes = Zeroizing::new(server.read(path)?.unwrap_or_default());
    if receipt.wrote(path, &sha256(&bytes)) {
        return Ok(true);
    }
    // Of a private key the receipt holds the public half's fingerprint, not a digest of the secret.
    let key = PrivateKey::from_openssh(bytes.as_slice());
    Ok(key.is_ok_and(|key| receipt.wrote(path, &key.fingerprint(HashAlg::Sha256).to_string())))
}

/// What the app itself made in its directories goes; its data stays unless it is asked for.
fn undo_release(
    server: &Server,
    receipt: &Receipt,
    app: &AppName,
    project: &Path,
    static_dir: &Path,
    purge: bool,
) -> Result<Undone> {
    let ours = |path: &Path| receipt.filled(path);
    let (state, shared) = (layout::state(app), project.join("shared"));
    for path in [
        project.join("current"),
        project.join("next"),
        layout::mirror(app),
        layout::ledger(app),
    ] {
        server.remove_any(&path)?;
    }
    for dir in [&state, &shared] {
        let stat = server.stat(dir)?;
        if stat.is_some_and(|stat| stat.kind == Kind::Directory) {
            server.remove_any(&dir.join(layout::MARK))?;
        }
    }
    let mut trees = vec![project.join("releases"), project.join("venvs")];
    if purge {
        trees.push(shared.clone());
    }
    // In the state, also caches that the deploy script's tools left in their home.
    trees.extend([static_dir.to_owned(), layout::logs(app), state]);
    for tree in trees.iter().filter(|tree| ours(tree)) {
        server.empty_tree(tree)?;
    }
    // What the account put beside them would be nobody's, and then the next one's of its number.
    let account = created_account(server, receipt);
    for name in server.list(project)? {
        let path = project.join(&name);
        let its = server
            .stat(&path)?
            .is_some_and(|stat| Some(stat.uid) == account.as_ref().map(|a| a.uid));
        if its && !trees.contains(&path) && path != shared {
            server.remove_any(&path)?;
        }
    }
    if holds_data(server, &shared)? {
        return Ok(Undone::Removed(format!(
            "removed; the app's data stays in {}",
            shared.display()
        )));
    }
    Ok(Undone::Removed("removed".to_owned()))
}

/// The account that was made for the app, if it is still there.
fn created_account(server: &Server, receipt: &Receipt) -> Option<Account> {
    receipt
        .entries()
        .iter()
        .find_map(|entry| match &entry.change {
            Change::User {
                name,
                before: Before::Created,
            } => server.user(name),
            _ => None,
        })
}

/// Ends what the app's account runs, before its directories go: it could fill them again. Only an account that was
/// made for the app is the app's alone; what one that was there before does is not ours to end.
///
/// # Errors
/// When something of it goes on.
pub fn end_account(server: &Server, receipt: &Receipt, others: &[AppName]) -> Result<()> {
    let Some(user) = created_account(server, receipt) else {
        return Ok(());
    };
    let made = Change::User {
        name: user.name.clone(),
        before: Before::Created,
    };
    if !is_shared(server, &made, others)? {
        server.end_account(&user)?;
    }
    Ok(())
}

/// The changes of a receipt, each once, in the order in which they are taken back: units first,
/// that nothing runs any more, then files, then accounts, directories last and the deepest first.
#[must_use]
pub fn in_order_of_removal(receipt: &Receipt) -> Vec<&Change> {
    // The last word on a thing counts: a directory that was adopted for this app and handed over
    // when the app that made it went.
    let mut last: Vec<(usize, &Change)> = Vec::new();
    for (number, entry) in receipt.entries().iter().enumerate() {
        last.retain(|(_, known)| known.key() != entry.change.key());
        last.push((number, &entry.change));
    }
    let depth = |change: &Change| match change {
        Change::Directory { path, .. } => path.components().count(),
        _ => 0,
    };
    last.retain(
        |(_, change)| !matches!(change, Change::Directory { path, .. } if is_ours_alone(path)),
    );
    // What was there before goes back to whom it was before the account's number is free.
    let place = |change: &Change| match change {
        Change::Directory { was: Some(_), .. } => 7,
        other => other.key().0 * 2,
    };
    last.sort_by_key(|(number, change)| (place(change), Reverse(depth(change)), Reverse(*number)));
    last.into_iter().map(|(_, change)| change).collect()
}

/// The two directories that hold the receipt itself, and go after it.
fn is_ours_alone(path: &Path) -> bool {
    path == Path::new(layout::STATE_DIR) || path == Path::new(layout::RECEIPTS_DIR)
}

/// Whether another app needs what this change made. Of a directory that was made it is found out by what is in it.
///
/// # Errors
/// When another app's settings cannot be read: then nothing is known to be free.
pub fn is_shared(server: &Server, change: &Change, others: &[AppName]) -> Result<bool> {
    for other in others {
        let path = layout::settings(other);
        let Some(text) = server.read_text(&path)? else {
            continue;
        };
        let settings =
            Settings::parse(&text).with_context(|| format!("{} cannot be used", path.display()))?;
        let says = |name: &str, value: &str| settings.answers.get(name) == Some(value);
        let needed = match change {
            Change::Group { name, .. } => says("group", name),
            Change::User { name, .. } => says("user", name),
            Change::Member { user, group, .. } => {
                says("group", group) && (says("user", user) || says("operator", user))
            }
            Change::Line { line, .. } => settings
                .answers
                .get("repo")
                .and_then(|repo| repo.parse::<RepoUrl>().ok())
                .is_some_and(|repo| line.starts_with(&format!("{} ", repo.known_hosts_name()))),
            Change::File { path, .. } => {
                path.file_name() == server.own_program()?.file_name() && path.starts_with("/usr")
            }
            Change::Directory {
                path, was: Some(_), ..
            } => layout::OF_ALL.iter().any(|dir| path == Path::new(dir)),
            _ => false,
        };
        if needed {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes the receipt itself away, with its backups, and the directories that only held receipts.
///
/// # Errors
/// When something of it cannot be removed.
pub fn close_receipt(server: &Server, app: &AppName) -> Result<()> {
    server.remove_tree(&layout::backups(app))?;
    for file in [layout::settings_copy(app), layout::receipt(app)] {
        server.remove_leftover(&file)?;
        server.remove_file(&file)?;
    }
    let dir = Path::new(layout::RECEIPTS_DIR);
    let aside = format!("{app}.jsonl.damaged-");
    for name in server.list(dir)? {
        if name.to_string_lossy().starts_with(&aside) {
            server.remove_file(&dir.join(name))?;
        }
    }
    remove_empty_remains(server)
}

/// Removes pullpray's own directories once nothing is in them.
///
/// # Errors
/// When they cannot be removed.
pub fn remove_empty_remains(server: &Server) -> Result<()> {
    if server.stat(Path::new(layout::RECEIPTS_DIR))?.is_some() {
        let candidate = Path::new(layout::SUDOERS_CANDIDATE);
        server.remove_leftover(candidate)?;
        server.remove_file(candidate)?;
    }
    for dir in [layout::RECEIPTS_DIR, layout::STATE_DIR] {
        if !server.remove_empty_dir(Path::new(dir))? {
            break;
        }
    }
    Ok(())
}
