//! The only way steps change the server: each change is recorded in the receipt before it is made.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::app::{App, AppName};
use crate::host::{AccountChange, Kind, Server, Stat};
use crate::layout;
use crate::state::receipt::{Before, Change, Receipt, Was};
use crate::state::sha256;
use crate::store::marks;

use super::{CheckContext, StepId};

/// File name of the backup of a file with this content.
pub(super) fn backup_name(path: &Path, sha: &str) -> String {
    let name = path.strip_prefix("/").unwrap_or(path);
    let name = name.display().to_string().replace('/', "!");
    format!("{name}.{}", sha.get(..12).unwrap_or(sha))
}

/// Write access to the server that records every change in the receipt first.
#[derive(Debug)]
pub struct Changes<'a> {
    pub(super) server: &'a Server,
    pub(super) receipt: &'a mut Receipt,
    pub(super) app: &'a AppName,
    step: StepId,
    overwrite: bool,
    offline: bool,
}

impl<'a> Changes<'a> {
    /// Creates the receipts directory if necessary.
    ///
    /// # Errors
    /// When it cannot be created, or the disk with the app's data is missing.
    pub fn begin(
        server: &'a Server,
        receipt: &'a mut Receipt,
        app: &'a AppName,
        overwrite: bool,
    ) -> Result<Self> {
        let mut changes = Self {
            server,
            receipt,
            app,
            step: StepId::ProjectDirectories,
            overwrite,
            offline: false,
        };
        marks::ensure_present(server, app)?;
        // Only these two are created before they are announced: they contain the receipt.
        let dirs = [(layout::STATE_DIR, 0o755), (layout::RECEIPTS_DIR, 0o700)];
        let mut made = Vec::new();
        for (dir, mode) in dirs {
            let path = Path::new(dir);
            let existed = server.stat(path)?.is_some();
            if !existed {
                server.make_dir(path, 0, 0, mode)?;
            }
            made.push((path.to_owned(), existed));
        }
        if made
            .iter()
            .any(|(path, existed)| !existed && path.ends_with("receipts"))
        {
            for (path, existed) in made {
                let before = if existed {
                    Before::Adopted
                } else {
                    Before::Created
                };
                let was = None;
                changes.announce(Change::Directory { path, before, was })?;
            }
        }
        Ok(changes)
    }

    /// Forbids network requests in checks from here on.
    pub fn set_offline(&mut self) {
        self.offline = true;
    }

    /// Sets the step to which the receipt attributes the following changes.
    pub fn enter(&mut self, step: StepId) {
        self.step = step;
    }

    /// Read-only context for checks.
    #[must_use]
    pub fn context(&self) -> CheckContext<'_> {
        CheckContext {
            view: self.server.view(),
            receipt: self.receipt,

            overwrite: self.overwrite,
            offline: self.offline,
        }
    }

    fn announce(&mut self, change: Change) -> Result<()> {
        self.receipt
            .announce(self.server, self.step.as_str(), change)
    }

    /// Writes a file atomically. Content that pullpray did not write is backed up first.
    ///
    /// # Errors
    /// When it cannot be written, or the path exists and is not a file.
    pub fn file(
        &mut self,
        path: &Path,
        content: &[u8],
        mode: u32,
        owner: (u32, u32),
    ) -> Result<()> {
        let before = self.before(path)?;
        self.announce(Change::file(path, before, sha256(content)))?;
        self.server.write(path, content, mode, Some(owner))
    }

    /// Writes a file that must not exist yet.
    ///
    /// # Errors
    /// When it exists, or cannot be written.
    pub fn new_file(&mut self, path: &Path, content: &[u8], mode: u32, sha: &str) -> Result<()> {
        if self.server.stat(path)?.is_some() {
            bail!("{} exists and is never overwritten", path.display());
        }
        self.announce(Change::file(path, Before::Created, sha))?;
        self.server.write_new(path, content, mode, Some((0, 0)))
    }

    /// Renames a recorded file over another one.
    ///
    /// # Errors
    /// When the rename fails.
    pub fn replace_with(&mut self, from: &Path, to: &Path, sha: &str) -> Result<()> {
        let before = match self.receipt.before(to) {
            Some(before) if *before != Before::Adopted => before.clone(),
            // Restored when the app is removed.
            _ => self.before(to)?,
        };
        self.announce(Change::file(to, before, sha))?;
        self.server.rename(from, to)
    }

    /// Installs this program where other accounts can execute it.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn program(&mut self, from: &Path, to: &Path) -> Result<()> {
        let bytes = self.server.read(from)?;
        let bytes = bytes.with_context(|| format!("{} does not exist", from.display()))?;
        self.file(to, &bytes, 0o755, (0, 0))
    }

    /// What the path holds before a write; backs it up if pullpray did not write it.
    fn before(&self, path: &Path) -> Result<Before> {
        // Its first record still applies, also if it was deleted since.
        let first = self.receipt.before(path).cloned();
        let Some(stat) = self.server.stat(path)? else {
            return Ok(first.unwrap_or(Before::Created));
        };
        if stat.kind != Kind::File {
            bail!("{} exists and is not a file", path.display());
        }
        let content = self.server.read(path)?.unwrap_or_default();
        if self.receipt.wrote(path, &sha256(&content)) {
            return Ok(first.unwrap_or(Before::Created));
        }
        let backups = layout::backups(self.app);
        self.server.make_dir(&backups, 0, 0, 0o700)?;
        let backup = backups.join(backup_name(path, &sha256(&content)));
        self.server
            .write(&backup, &content, stat.mode, Some((stat.uid, stat.gid)))?;
        // A file that pullpray created is removed even if modified, as there is a backup; a pre-existing
        // one is restored.
        Ok(match first {
            None | Some(Before::Adopted) => Before::Replaced(backup),
            Some(first) => first,
        })
    }

    /// Sets a damaged receipt aside and writes a new one from its readable entries and the given traces.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn renew_receipt(&mut self, traces: Vec<Change>) -> Result<()> {
        self.receipt.repair(self.server)?;
        for change in traces {
            if !self.receipt.mentions(&change) {
                self.announce(change)?;
            }
        }
        Ok(())
    }

    /// Records that a file existed before pullpray, and sets its owner and mode.
    ///
    /// # Errors
    /// When the receipt cannot be written, or the file cannot be changed.
    pub fn adopt(&mut self, path: &Path, (uid, gid): (u32, u32), mode: u32) -> Result<()> {
        self.record_adopted(path)?;
        self.server.restore_mode(path, uid, gid, mode)
    }

    /// Writes a file's own content again, with this owner and mode: it loses its other hard links, and cron reads it
    /// again.
    ///
    /// # Errors
    /// When the receipt or the file cannot be written.
    pub fn rewrite(&mut self, path: &Path, is: &[u8], mode: u32, owner: (u32, u32)) -> Result<()> {
        self.record_adopted(path)?;
        self.server.write(path, is, mode, Some(owner))
    }

    /// Removes a file of pullpray's that is not needed any more; one that was modified is backed up first. Its record
    /// stays, for which it then is already gone.
    ///
    /// # Errors
    /// When it is not a file, or cannot be removed.
    pub fn retire(&mut self, path: &Path) -> Result<()> {
        self.before(path)?;
        self.server.remove_file(path)
    }

    fn record_adopted(&mut self, path: &Path) -> Result<()> {
        if self.receipt.before(path).is_some() {
            return Ok(());
        }
        self.announce(Change::file(path, Before::Adopted, ""))
    }

    /// Writes the settings file, and root's copy of it, which restores a damaged one. The copy needs no record: it is
    /// beside the receipt, and is removed with it.
    ///
    /// # Errors
    /// When one of them cannot be written.
    pub fn settings(&mut self, path: &Path, text: &str, mode: u32, gid: u32) -> Result<()> {
        self.file(path, text.as_bytes(), mode, (0, gid))?;
        let copy = layout::settings_copy(self.app);
        (self.server).write(&copy, text.as_bytes(), 0o600, Some((0, 0)))
    }

    /// Marks the directories with the app's data. The marks need no record of their own: they are in directories whose
    /// content [`Changes::release`] records; root's copy is recorded.
    ///
    /// # Errors
    /// When a mark cannot be written.
    pub fn mark(&mut self, app: &App, owner: (u32, u32)) -> Result<()> {
        let copy = marks::mark(self.server, app, owner)?;
        self.file(&layout::data(self.app), copy.as_bytes(), 0o644, (0, 0))
    }

    /// Creates a directory, or sets the owner and mode of an existing one.
    ///
    /// # Errors
    /// When that fails.
    pub fn directory(&mut self, path: &Path, owner: (u32, u32), mode: u32) -> Result<()> {
        if self.receipt.before(path).is_none() {
            let empty = self.server.is_empty_dir(path);
            let was = match self.server.stat(path)? {
                Some(Stat { uid, gid, mode, .. }) => Some(Was {
                    uid,
                    gid,
                    mode,
                    empty: empty?,
                }),
                None => None,
            };
            self.announce(Change::Directory {
                path: path.into(),
                before: was.map_or(Before::Created, |_| Before::Adopted),
                was,
            })?;
        }
        self.server.make_dir(path, owner.0, owner.1, mode)
    }

    /// Adds a line to a shared file, which is created if missing; `text` is its new content.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn line(&mut self, path: &Path, line: &str, text: &str) -> Result<()> {
        self.announce(Change::Line {
            path: path.into(),
            line: line.into(),
        })?;
        self.server
            .write(path, text.as_bytes(), 0o644, Some((0, 0)))
    }

    /// Creates a system group.
    ///
    /// # Errors
    /// When groupadd fails.
    pub fn group(&mut self, name: &str) -> Result<()> {
        self.announce(Change::created_group(name))?;
        self.server.change_accounts(AccountChange::AddGroup(name))
    }

    /// Creates a system account.
    ///
    /// # Errors
    /// When useradd fails.
    pub fn user(&mut self, name: &str, group: &str) -> Result<()> {
        self.announce(Change::created_user(name))?;
        self.server
            .change_accounts(AccountChange::AddUser(name, group))
    }

    /// Adds a user to a group.
    ///
    /// # Errors
    /// When gpasswd fails.
    pub fn member(&mut self, user: &str, group: &str) -> Result<()> {
        self.announce(Change::Member {
            user: user.into(),
            group: group.into(),
            before: Before::Created,
        })?;
        self.server
            .change_accounts(AccountChange::AddMember(user, group))
    }

    /// Enables and starts a unit.
    ///
    /// # Errors
    /// When systemctl fails.
    pub fn unit(&mut self, name: &str) -> Result<()> {
        self.announce(Change::Unit { name: name.into() })?;
        self.server.enable_now(name)
    }

    /// Enables a unit, which starts with the first release.
    ///
    /// # Errors
    /// When systemctl fails.
    pub fn enable(&mut self, name: &str) -> Result<()> {
        self.announce(Change::Unit { name: name.into() })?;
        self.server.enable(name)
    }

    /// Records a unit that another one starts.
    ///
    /// # Errors
    /// When the receipt cannot be written.
    pub fn record_unit(&mut self, name: &str) -> Result<()> {
        self.announce(Change::Unit { name: name.into() })
    }

    /// Records that the app writes to its directories from now on: releases, mirror, ledger, logs.
    ///
    /// # Errors
    /// When the receipt cannot be written.
    pub fn release(&mut self, path: &Path, static_dir: &Path) -> Result<()> {
        self.announce(Change::Release {
            path: path.into(),
            static_dir: static_dir.into(),
        })
    }
}
