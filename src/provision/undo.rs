//! Undoes recorded changes. The receipt alone decides what may be removed.

use std::cmp::Reverse;
use std::path::Path;

use anyhow::{Context, Result};
use ssh_key::{HashAlg, PrivateKey};
use zeroize::Zeroizing;

use crate::app::{AppName, RepoUrl, Settings};
use crate::host::{Account, AccountChange, Kind, Server};
use crate::layout;
use crate::state::receipt::{Before, Change, Receipt};
use crate::state::sha256;

/// Outcome of undoing a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undone {
    /// Removed, or restored to its previous state.
    Removed(String),
    /// Kept: the reason.
    Kept(String),
}

/// Undoes one change. Pre-existing items are kept or restored; items that were modified since or are still in
/// use are kept; items that no longer exist count as removed.
///
/// # Errors
/// When an item that pullpray created cannot be removed.
pub fn undo(
    server: &Server,
    receipt: &Receipt,
    app: &AppName,
    change: &Change,
    purge: bool,
) -> Result<Undone> {
    let removed = |what: &str| Ok(Undone::Removed(what.to_owned()));
    let kept = |why: String| Ok(Undone::Kept(why));
    if let Change::File { path, .. } | Change::Line { path, .. } = change {
        server.remove_leftover(path)?;
    }
    match change {
        Change::File { path, before, .. } => undo_file(server, receipt, path, before, purge),
        Change::Line { path, line } => {
            let Some(text) = server.read_text(path)? else {
                return removed("already gone");
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
            removed("line removed")
        }
        Change::Directory { path, before, was } => match (before, was) {
            (Before::Created, _) if is_replaced(server, path)? => {
                server.remove_any(path)?;
                removed("removed what had replaced it")
            }
            (Before::Created, _) if server.remove_empty_dir(path)? => removed("removed"),
            (Before::Created, _) => kept("is not empty".to_owned()),
            (_, Some(was)) if server.restore_dir(path, was.uid, was.gid, was.mode)? => {
                removed(&format!(
                    "kept, restored to {}",
                    server.owned(was.uid, was.gid, was.mode)
                ))
            }
            _ => kept("existed before pullpray".to_owned()),
        },
        Change::Group { .. } | Change::User { .. } if owns_data(server, receipt)? => {
            kept("owns the app's data".to_owned())
        }
        Change::Group { name, before } => match before {
            Before::Created if server.group(name).is_none() => removed("already gone"),
            Before::Created => {
                server.change_accounts(AccountChange::RemoveGroup(name))?;
                removed("removed")
            }
            _ => kept("existed before pullpray".to_owned()),
        },
        Change::User { name, before } => match (before, server.user(name)) {
            (Before::Created, None) => removed("already gone"),
            (Before::Created, Some(user)) => {
                server.end_account(&user)?;
                server.change_accounts(AccountChange::RemoveUser(name))?;
                removed("removed")
            }
            _ => kept("existed before pullpray".to_owned()),
        },
        Change::Member {
            user,
            group,
            before,
        } => match (before, server.user(user), server.group(group)) {
            (Before::Created, Some(who), Some(of)) if server.is_member(&who, &of) => {
                server.change_accounts(AccountChange::RemoveMember(user, group))?;
                removed("removed")
            }
            (Before::Created, ..) => removed("already gone"),
            _ => kept("existed before pullpray".to_owned()),
        },
        Change::Unit { name } => {
            if server.unit(name)?.load == "not-found" {
                return removed("already gone");
            }
            server.disable_now(name)?;
            // A failed unit would stay listed without a file: ssh-agent always exits non-zero.
            drop(server.reset_failed(name));
            removed("stopped and disabled")
        }
        Change::Release { path, static_dir } => {
            undo_release(server, receipt, app, path, static_dir, purge)
        }
    }
}

/// Whether the path is not a directory although the receipt says so, in a parent that root does not own.
fn is_replaced(server: &Server, path: &Path) -> Result<bool> {
    let (Some(stat), Some(dir)) = (server.stat(path)?, path.parent()) else {
        return Ok(false);
    };
    Ok(stat.kind != Kind::Directory && server.stat(dir)?.is_some_and(|dir| dir.uid != 0))
}

/// Whether an app's shared directory contains anything; a link there is not data.
fn has_data(server: &Server, shared: &Path) -> Result<bool> {
    let stat = server.stat(shared)?;
    Ok(stat.is_some_and(|stat| stat.kind == Kind::Directory) && !server.list(shared)?.is_empty())
}

/// Whether the app's data still exists. Its owner is then kept: otherwise the files would belong to the next
/// account that gets the uid.
fn owns_data(server: &Server, receipt: &Receipt) -> Result<bool> {
    for entry in receipt.entries() {
        if let Change::Release { path, .. } = &entry.change
            && has_data(server, &path.join("shared"))?
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
        return Ok(Undone::Kept("existed before pullpray".to_owned()));
    }
    let Some(stat) = server.stat(path)? else {
        return Ok(Undone::Removed("already gone".to_owned()));
    };
    if stat.kind != Kind::File {
        return Ok(Undone::Kept("is no longer a file".to_owned()));
    }
    if !purge && !is_what_we_wrote(server, receipt, path)? {
        return Ok(Undone::Kept(
            "was modified since; --purge removes it too".to_owned(),
        ));
    }
    if let Before::Replaced(backup) = before
        && let Some(old) = server.stat(backup)?
    {
        let content = server.read(backup)?.unwrap_or_default();
        server.write(path, &content, old.mode, Some((old.uid, old.gid)))?;
        return Ok(Undone::Removed("restored the previous file".to_owned()));
    }
    server.remove_file(path)?;
    Ok(Undone::Removed("removed".to_owned()))
}

fn is_what_we_wrote(server: &Server, receipt: &Receipt, path: &Path) -> Result<bool> {
    let bytes = Zeroizing::new(server.read(path)?.unwrap_or_default());
    if receipt.wrote(path, &sha256(&bytes)) {
        return Ok(true);
    }
    // For a private key the receipt stores the public half's fingerprint, not a digest of the secret.
    let key = PrivateKey::from_openssh(bytes.as_slice());
    Ok(key.is_ok_and(|key| receipt.wrote(path, &key.fingerprint(HashAlg::Sha256).to_string())))
}

/// Removes what the app created in its directories; its data only with `purge`.
fn undo_release(
    server: &Server,
    receipt: &Receipt,
    app: &AppName,
    project: &Path,
    static_dir: &Path,
    purge: bool,
) -> Result<Undone> {
    let ours = |path: &Path| receipt.owns_contents(path);
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
    // The state directory also contains caches of the deploy script's tools, whose HOME it is.
    trees.extend([static_dir.to_owned(), layout::logs(app), state]);
    for tree in trees.iter().filter(|tree| ours(tree)) {
        server.empty_tree(tree)?;
    }
    // Files that the account created beside them would otherwise belong to the next account with its uid.
    let account = created_account(server, receipt);
    for name in server.list(project)? {
        let path = project.join(&name);
        let owned = server
            .stat(&path)?
            .is_some_and(|stat| Some(stat.uid) == account.as_ref().map(|a| a.uid));
        if owned && !trees.contains(&path) && path != shared {
            server.remove_any(&path)?;
        }
    }
    if has_data(server, &shared)? {
        return Ok(Undone::Removed(format!(
            "removed; the app's data is kept in {}",
            shared.display()
        )));
    }
    Ok(Undone::Removed("removed".to_owned()))
}

/// The account that pullpray created for the app, if it still exists.
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

/// Ends the processes of the app's account before its directories are removed, so that they cannot fill them again.
/// Does nothing for a pre-existing account: its other processes are not the app's.
///
/// # Errors
/// When a process keeps running.
pub fn end_account(server: &Server, receipt: &Receipt, others: &[AppName]) -> Result<()> {
    let Some(user) = created_account(server, receipt) else {
        return Ok(());
    };
    let created = Change::User {
        name: user.name.clone(),
        before: Before::Created,
    };
    if !is_shared(server, &created, others)? {
        server.end_account(&user)?;
    }
    Ok(())
}

/// The changes of a receipt, each once, in the order of removal: units first so that nothing runs any more,
/// then files, accounts, and directories, deepest first.
#[must_use]
pub fn in_order_of_removal(receipt: &Receipt) -> Vec<&Change> {
    // The last record of an item counts: an adopted directory may have been handed over when the app that
    // created it was removed.
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
        |(_, change)| !matches!(change, Change::Directory { path, .. } if contains_receipt(path)),
    );
    // Restore ownership of pre-existing directories before the account's uid becomes free.
    let place = |change: &Change| match change {
        Change::Directory { was: Some(_), .. } => 7,
        other => other.key().0 * 2,
    };
    last.sort_by_key(|(number, change)| (place(change), Reverse(depth(change)), Reverse(*number)));
    last.into_iter().map(|(_, change)| change).collect()
}

/// Whether it is one of the two directories that contain the receipt, which are removed after it.
fn contains_receipt(path: &Path) -> bool {
    path == Path::new(layout::STATE_DIR) || path == Path::new(layout::RECEIPTS_DIR)
}

/// Whether another app needs what this change created. Directories are only removed if empty, so of them only the
/// adopted common ones are checked.
///
/// # Errors
/// When another app's settings cannot be read.
pub fn is_shared(server: &Server, change: &Change, others: &[AppName]) -> Result<bool> {
    for other in others {
        let path = layout::settings(other);
        let Some(text) = server.read_text(&path)? else {
            continue;
        };
        let settings = Settings::parse(&text)
            .with_context(|| format!("failed to read the settings in {}", path.display()))?;
        let has = |name: &str, value: &str| settings.answers.get(name) == Some(value);
        let needed = match change {
            Change::Group { name, .. } => has("group", name),
            Change::User { name, .. } => has("user", name),
            Change::Member { user, group, .. } => {
                has("group", group) && (has("user", user) || has("operator", user))
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
            } => layout::SHARED_DIRS.iter().any(|dir| path == Path::new(dir)),
            _ => false,
        };
        if needed {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes the receipt, its backups, and the then empty directories.
///
/// # Errors
/// When one of them cannot be removed.
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

/// Removes pullpray's own directories if they are empty.
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
