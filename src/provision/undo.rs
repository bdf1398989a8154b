//! How each recorded change is undone: [`Change::reversal`] decides it, for the plan of `remove` and for the removal.
//!
//! Items that were modified since or are still in use are kept; items that no longer exist count as removed.

use std::path::Path;

use anyhow::Result;
use zeroize::Zeroizing;

use crate::app::Settings;
use crate::host::{AccountChange, Kind, Server};
use crate::layout::{self, Project};
use crate::state::receipt::{Before, Change, Receipt, Was};
use crate::state::sha256;

use super::Removal;
use super::changes::backup_name;
use super::key_pair::{fingerprint, private_key};

/// How the copies of modified files that `remove` removes begin; those of replaced files never do.
pub(super) const REMOVED: &str = "removed.";

/// Outcome of undoing a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undone {
    /// Removed, or restored to its previous state.
    Removed(String),
    /// Kept: the reason.
    Kept(String),
}

impl Undone {
    fn removed(what: impl Into<String>) -> Result<Self> {
        Ok(Self::Removed(what.into()))
    }
    fn kept(why: impl Into<String>) -> Result<Self> {
        Ok(Self::Kept(why.into()))
    }
    fn gone() -> Result<Self> {
        Self::removed("already gone")
    }
}

/// How a change is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reversal<'c> {
    /// It existed before, and stays.
    Keep,
    /// The directory existed before: its owner and mode are restored.
    RestoreDirectory(&'c Path, Was),
    /// The file existed before: it is restored from the backup.
    RestoreFile(&'c Path, &'c Path),
    /// The file is removed.
    RemoveFile(&'c Path),
    /// The line is removed from the file, and the file if nothing is left.
    RemoveLine(&'c Path, &'c str),
    /// The directory is removed if it is empty.
    RemoveDirectory(&'c Path),
    /// The group is removed.
    RemoveGroup(&'c str),
    /// The account is removed, after its processes have ended.
    RemoveUser(&'c str),
    /// The user is removed from the group.
    RemoveMember(&'c str, &'c str),
    /// The unit is stopped and disabled.
    StopUnit(&'c str),
    /// What the app wrote into its project directory, static directory and state is removed.
    EmptyProject(&'c Path, &'c Path),
}

impl Change {
    /// How it is undone.
    #[must_use]
    pub fn reversal(&self) -> Reversal<'_> {
        let adopted = self
            .before()
            .is_some_and(|before| *before == Before::Adopted);
        match self {
            Self::Directory { path, was, .. } => match was {
                Some(was) => Reversal::RestoreDirectory(path, *was),
                None if adopted => Reversal::Keep,
                None => Reversal::RemoveDirectory(path),
            },
            _ if adopted => Reversal::Keep,
            Self::File { path, before, .. } => match before {
                Before::Replaced(backup) => Reversal::RestoreFile(path, backup),
                Before::Created | Before::Adopted => Reversal::RemoveFile(path),
            },
            Self::Line { path, line } => Reversal::RemoveLine(path, line),
            Self::Group { name, .. } => Reversal::RemoveGroup(name),
            Self::User { name, .. } => Reversal::RemoveUser(name),
            Self::Member { user, group, .. } => Reversal::RemoveMember(user, group),
            Self::Unit { name } => Reversal::StopUnit(name),
            Self::Release { path, static_dir } => Reversal::EmptyProject(path, static_dir),
        }
    }

    /// What it changed, for people: the kind, and its name or path.
    #[must_use]
    pub fn subject(&self) -> (&'static str, String) {
        match self {
            Self::File { path, .. } => ("file", path.display().to_string()),
            Self::Line { path, .. } => ("line", path.display().to_string()),
            Self::Directory { path, .. } => ("dir", path.display().to_string()),
            Self::Group { name, .. } => ("group", name.clone()),
            Self::User { name, .. } => ("user", name.clone()),
            Self::Member { user, group, .. } => ("member", format!("{user} of {group}")),
            Self::Unit { name } => ("unit", name.clone()),
            Self::Release { path, .. } => ("app", path.display().to_string()),
        }
    }

    /// Whether an app with these settings needs what this created. Directories are only removed if empty, so of them
    /// only the adopted common ones count.
    pub(super) fn is_needed_by(&self, settings: &Settings, program: &Path) -> bool {
        let has = |name: &str, value: &str| settings.answers.get(name) == Some(value);
        match self {
            Self::Group { name, .. } => has("group", name),
            Self::User { name, .. } => has("user", name),
            Self::Member { user, group, .. } => {
                has("group", group) && (has("user", user) || has("operator", user))
            }
            Self::File { path, .. } => {
                path.file_name() == program.file_name() && path.starts_with("/usr")
            }
            Self::Directory { path, was, .. } => {
                was.is_some() && layout::SHARED_DIRS.iter().any(|dir| path == Path::new(dir))
            }
            // The host key is in a file of its own for each app.
            Self::Line { .. } | Self::Unit { .. } | Self::Release { .. } => false,
        }
    }
}

impl Reversal<'_> {
    /// Its line in the plan: `=` stays, `~` changes, `-` goes; and the details.
    #[must_use]
    pub fn describe(self, purge: bool) -> (char, &'static str) {
        match self {
            Self::Keep => ('=', "existed before, and stays"),
            Self::RestoreDirectory(..) => (
                '=',
                "existed before, and stays, with its earlier owner and mode",
            ),
            Self::RestoreFile(..) => ('~', "the earlier file is restored"),
            Self::EmptyProject(..) if purge => (
                '-',
                "releases, environments, static files, mirror, logs, and shared/ with the app's data",
            ),
            Self::EmptyProject(..) => (
                '-',
                "releases, environments, static files, mirror, logs; shared/ with the app's data stays",
            ),
            Self::RemoveDirectory(_) => ('-', "if it is empty"),
            Self::RemoveFile(_) | Self::RemoveLine(..) | Self::StopUnit(_) => ('-', ""),
            Self::RemoveGroup(_) | Self::RemoveUser(_) | Self::RemoveMember(..) => ('-', ""),
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// When an item that pullpray created cannot be removed.
    pub(super) fn perform(self, removal: &Removal<'_>) -> Result<Undone> {
        let server = removal.server;
        match self {
            Self::Keep => Undone::kept("existed before pullpray"),
            Self::RestoreDirectory(path, was) => {
                if !server.restore_dir(path, was.uid, was.gid, was.mode)? {
                    return Undone::kept("existed before pullpray");
                }
                let owned = server.owned(was.uid, was.gid, was.mode);
                Undone::removed(format!("kept, restored to {owned}"))
            }
            Self::RestoreFile(path, backup) => remove_file(removal, path, Some(backup)),
            Self::RemoveFile(path) => remove_file(removal, path, None),
            Self::RemoveLine(path, line) => remove_line(server, path, line),
            Self::RemoveDirectory(path) if is_replaced(server, path)? => {
                server.remove_any(path)?;
                Undone::removed("removed what had replaced it")
            }
            Self::RemoveDirectory(path) if server.remove_empty_dir(path)? => {
                Undone::removed("removed")
            }
            Self::RemoveDirectory(path) => {
                // Otherwise it would belong to the next account that gets the id. An adopted account is only away.
                let created = |change: &Change| {
                    matches!(change, Change::User { .. })
                        && change.before() == Some(&Before::Created)
                };
                if let Some(stat) = server.stat(path)?
                    && server.user_name(stat.uid) == stat.uid.to_string()
                    && (removal.receipt.entries().iter()).any(|entry| created(&entry.change))
                {
                    server.restore_dir(path, 0, 0, stat.mode)?;
                }
                Undone::kept("is not empty")
            }
            // Otherwise the files would belong to the next account that gets the id.
            Self::RemoveGroup(_) | Self::RemoveUser(_) if removal.keeps_data()? => {
                Undone::kept("owns the app's data")
            }
            Self::RemoveGroup(name) => {
                if server.group(name).is_none() {
                    return Undone::gone();
                }
                server.change_accounts(AccountChange::RemoveGroup(name))?;
                Undone::removed("removed")
            }
            Self::RemoveUser(name) => {
                let Some(user) = server.user(name) else {
                    return Undone::gone();
                };
                server.end_account(&user)?;
                server.change_accounts(AccountChange::RemoveUser(name))?;
                Undone::removed("removed")
            }
            Self::RemoveMember(user, group) => match (server.user(user), server.group(group)) {
                (Some(who), Some(of)) if server.is_member(&who, &of) => {
                    server.change_accounts(AccountChange::RemoveMember(user, group))?;
                    Undone::removed("removed")
                }
                _ => Undone::gone(),
            },
            Self::StopUnit(name) => {
                if server.unit(name)?.load == "not-found" {
                    return Undone::gone();
                }
                server.disable_now(name)?;
                // A failed unit would stay listed without a file: ssh-agent always exits non-zero.
                drop(server.reset_failed(name));
                Undone::removed("stopped and disabled")
            }
            Self::EmptyProject(path, static_dir) => {
                empty_project(removal, Project(path), static_dir)
            }
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

fn remove_line(server: &Server, path: &Path, line: &str) -> Result<Undone> {
    let Some(text) = server.read_text(path)? else {
        return Undone::gone();
    };
    let lines = text.split_inclusive('\n');
    let rest: String = (lines.filter(|l| l.trim_end_matches('\n') != line)).collect();
    if rest.trim().is_empty() {
        server.remove_file(path)?;
    } else if rest != text {
        server.write(path, rest.as_bytes(), 0o644, Some((0, 0)))?;
    }
    Undone::removed("line removed")
}

fn remove_file(removal: &Removal<'_>, path: &Path, backup: Option<&Path>) -> Result<Undone> {
    let server = removal.server;
    let Some(stat) = server.stat(path)? else {
        return Undone::gone();
    };
    if stat.kind != Kind::File {
        return Undone::kept("is no longer a file");
    }
    if !removal.purge && !is_what_we_wrote(server, removal.receipt, path)? {
        if !layout::works_by_itself(path) {
            return Undone::kept("was modified since; --purge removes it too");
        }
        let (content, copies) = (
            server.read(path)?.unwrap_or_default(),
            layout::backups(removal.app),
        );
        server.make_dir(&copies, 0, 0, 0o700)?;
        let name = backup_name(path, &sha256(&content));
        let copy = copies.join(format!("{REMOVED}{name}"));
        server.write(&copy, &content, stat.mode, Some((stat.uid, stat.gid)))?;
        server.remove_file(path)?;
        let copy = copy.display();
        return Undone::removed(format!(
            "removed; it was modified, and --purge removes the copy {copy}, too"
        ));
    }
    if let Some(backup) = backup
        && let Some(old) = server.stat(backup)?
    {
        let content = server.read(backup)?.unwrap_or_default();
        server.write(path, &content, old.mode, Some((old.uid, old.gid)))?;
        return Undone::removed("restored the previous file");
    }
    server.remove_file(path)?;
    Undone::removed("removed")
}

fn is_what_we_wrote(server: &Server, receipt: &Receipt, path: &Path) -> Result<bool> {
    let bytes = Zeroizing::new(server.read(path)?.unwrap_or_default());
    if receipt.wrote(path, &sha256(&bytes)) {
        return Ok(true);
    }
    // A private key is recorded by its fingerprint.
    let key = private_key(server, path).ok().flatten();
    Ok(key.is_some_and(|key| receipt.wrote(path, &fingerprint(&key))))
}

/// Removes what the app created in its directories; its data only with `purge`.
fn empty_project(removal: &Removal<'_>, project: Project<'_>, statics: &Path) -> Result<Undone> {
    let (server, app) = (removal.server, removal.app);
    let (state, shared) = (layout::state(app), project.shared());
    let links = [project.current(), project.next()];
    for path in links
        .into_iter()
        .chain([layout::mirror(app), layout::ledger(app)])
    {
        server.remove_any(&path)?;
    }
    for dir in [&state, &shared] {
        if server
            .stat(dir)?
            .is_some_and(|stat| stat.kind == Kind::Directory)
        {
            server.remove_any(&dir.join(layout::MARK))?;
        }
    }
    let mut trees = vec![project.releases(), project.venvs()];
    if removal.purge {
        trees.push(shared.clone());
    }
    // The state directory also contains caches of the deploy script's tools, whose HOME it is.
    trees.extend([statics.to_owned(), layout::logs(app), state]);
    for tree in trees
        .iter()
        .filter(|tree| removal.receipt.owns_contents(tree))
    {
        server.empty_tree(tree)?;
    }
    // Files that the account created beside them would otherwise belong to the next account with its uid.
    let uid = removal.created_account().map(|account| account.uid);
    for name in server.list(project.0)? {
        let path = project.0.join(&name);
        let owned = server
            .stat(&path)?
            .is_some_and(|stat| Some(stat.uid) == uid);
        if owned && !trees.contains(&path) && path != shared {
            server.remove_any(&path)?;
        }
    }
    if has_data(server, &shared)? {
        let shared = shared.display();
        return Undone::removed(format!("removed; the app's data is kept in {shared}"));
    }
    Undone::removed("removed")
}

/// Whether an app's shared directory contains anything; a link there is not data.
pub(super) fn has_data(server: &Server, shared: &Path) -> Result<bool> {
    let stat = server.stat(shared)?;
    Ok(stat.is_some_and(|stat| stat.kind == Kind::Directory) && !server.list(shared)?.is_empty())
}
