//! Removes an app by its receipt, which alone decides what may be removed.

use std::cmp::Reverse;
use std::path::Path;

use anyhow::{Context, Result};

use crate::app::{AppName, Settings};
use crate::host::{Account, Server};
use crate::layout::{self, Project};
use crate::state::receipt::{Before, Change, Receipt};

use super::Undone;
use super::undo::{REMOVED, has_data};

/// The removal of an app.
#[derive(Debug, Clone, Copy)]
pub struct Removal<'a> {
    /// The server.
    pub server: &'a Server,
    /// The app's receipt.
    pub receipt: &'a Receipt,
    /// The app.
    pub app: &'a AppName,
    /// The other apps that have a receipt; the first inherits what was created for all.
    pub others: &'a [AppName],
    /// Whether the app's data and modified files are removed, too.
    pub purge: bool,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// It was undone, or kept.
    Undone(Undone),
    /// This other app needs it and has it in its receipt now.
    NeededBy(AppName),
}

impl<'a> Removal<'a> {
    /// The changes of the receipt, each once, in the order of removal: units first so that nothing runs any more,
    /// then files, accounts, and directories, deepest first.
    #[must_use]
    pub fn changes(&self) -> Vec<&'a Change> {
        // The last record of an item counts: an adopted directory may have been handed over when the app that
        // created it was removed.
        let mut last: Vec<(usize, &Change)> = Vec::new();
        for (number, entry) in self.receipt.entries().iter().enumerate() {
            last.retain(|(_, known)| known.key() != entry.change.key());
            last.push((number, &entry.change));
        }
        let depth = |change: &Change| match change {
            Change::Directory { path, .. } => path.components().count(),
            _ => 0,
        };
        // The two directories that contain the receipt are removed after it.
        last.retain(|(_, change)| {
            !matches!(change, Change::Directory { path, .. }
                if path == Path::new(layout::STATE_DIR) || path == Path::new(layout::RECEIPTS_DIR))
        });
        // Restore ownership of pre-existing directories before the account's uid becomes free.
        let place = |change: &Change| match change {
            Change::Directory { was: Some(_), .. } => 7,
            other => other.key().0 * 2,
        };
        last.sort_by_key(|(number, change)| {
            (place(change), Reverse(depth(change)), Reverse(*number))
        });
        last.into_iter().map(|(_, change)| change).collect()
    }

    /// Undoes one change, unless another app needs it.
    ///
    /// # Errors
    /// When an item that pullpray created cannot be removed, or another app's settings cannot be read.
    pub fn undo(&self, change: &Change) -> Result<Removed> {
        if let Some(other) = self.others.first()
            && self.is_shared(change)?
        {
            self.hand_over(change, other)?;
            return Ok(Removed::NeededBy(other.clone()));
        }
        match change {
            Change::File { path, .. } | Change::Line { path, .. } => {
                self.server.remove_leftover(path)?;
            }
            Change::Release { .. } => self.end_account()?,
            _ => {}
        }
        let undone = change.reversal().perform(self)?;
        // A directory that also holds another app's files: the last app removes it.
        if let (Undone::Kept(_), Some(other)) = (&undone, self.others.first())
            && let Change::Directory { before, .. } = change
            && *before == Before::Created
        {
            self.hand_over(change, other)?;
        }
        Ok(Removed::Undone(undone))
    }

    /// Removes the receipt, its backups, and the then empty directories. The receipt stays, and this returns `false`, if
    /// `purge` would remove more.
    ///
    /// # Errors
    /// When one of them cannot be removed.
    pub fn finish(&self) -> Result<bool> {
        let (server, app) = (self.server, self.app);
        server.reload_units()?;
        let copy = layout::settings_copy(app);
        server.remove_leftover(&copy)?;
        server.remove_file(&copy)?;
        if !self.purge && self.leaves_something()? {
            return Ok(false);
        }
        server.remove_file(&layout::previous_environment(app))?;
        server.remove_tree(&layout::backups(app))?;
        let receipt = layout::receipt(app);
        server.remove_leftover(&receipt)?;
        server.remove_file(&receipt)?;
        let dir = Path::new(layout::RECEIPTS_DIR);
        let aside = format!("{app}.jsonl.damaged-");
        for name in server.list(dir)? {
            if name.to_string_lossy().starts_with(&aside) {
                server.remove_file(&dir.join(name))?;
            }
        }
        remove_empty_remains(server)?;
        Ok(true)
    }

    /// Whether the app's data, a modified file of pullpray's, or a copy of one still exists.
    fn leaves_something(&self) -> Result<bool> {
        for change in self.changes() {
            if let Change::File { path, before, .. } = change
                && *before == Before::Created
                && self.server.stat(path)?.is_some()
                && !self.is_shared(change)?
            {
                return Ok(true);
            }
        }
        let copies = self.server.list(&layout::backups(self.app))?;
        let removed = |name: &std::ffi::OsString| name.to_string_lossy().starts_with(REMOVED);
        Ok(copies.iter().any(removed) || self.keeps_data()?)
    }

    fn hand_over(&self, change: &Change, to: &AppName) -> Result<()> {
        match self.receipt.latest(change) {
            Some(entry) => Receipt::load(self.server, to)?.inherit(self.server, entry),
            None => Ok(()),
        }
    }

    /// Whether another app needs what this change created.
    fn is_shared(&self, change: &Change) -> Result<bool> {
        let program = self.server.own_program()?;
        for other in self.others {
            let path = layout::settings(other);
            let Some(text) = self.server.read_text(&path)? else {
                continue;
            };
            let settings = Settings::parse(&text)
                .with_context(|| format!("failed to read the settings in {}", path.display()))?;
            if change.is_needed_by(&settings, &program) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The account that pullpray created for the app, if it still exists.
    pub(super) fn created_account(&self) -> Option<Account> {
        let created = self
            .receipt
            .entries()
            .iter()
            .find_map(|entry| match &entry.change {
                Change::User { name, before } if *before == Before::Created => Some(name),
                _ => None,
            });
        self.server.user(created?)
    }

    /// Ends the processes of the app's account before its directories are removed, so that they cannot fill them again.
    /// Does nothing for a pre-existing account: its other processes are not the app's.
    fn end_account(&self) -> Result<()> {
        let Some(user) = self.created_account() else {
            return Ok(());
        };
        if !self.is_shared(&Change::created_user(&user.name))? {
            self.server.end_account(&user)?;
        }
        Ok(())
    }

    /// Whether the app's data still exists.
    pub(super) fn keeps_data(&self) -> Result<bool> {
        for entry in self.receipt.entries() {
            if let Change::Release { path, .. } = &entry.change
                && has_data(self.server, &Project(path).shared())?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
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
