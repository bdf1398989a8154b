//! The state of a server, to be compared.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::world::World;
use crate::host::UnitState;
use crate::layout;
use crate::state::receipt::Change;

/// What is at a path: mode, owner, group and content, or the target of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    pub(super) content: String,
}

/// Files, accounts, and running or enabled units.
pub(super) type State = (BTreeMap<PathBuf, Entry>, String, Vec<String>);

impl World {
    /// Everything that an app must not leave behind: files, accounts, running or enabled units.
    pub(super) fn state(&self) -> Result<State> {
        let table = self.server.accounts.table();
        let accounts = format!("{:?} {:?}", table.users, table.groups);
        drop(table);
        let table = self.server.units.table();
        let on = |state: &UnitState| state.is_active() || state.is_enabled();
        let units = table.units.iter().filter(|(_, state)| on(state));
        let units = units.map(|(name, _)| name.clone()).collect();
        Ok((tree(self.server.root())?, accounts, units))
    }

    /// Paths that differ from an earlier state although the receipt does not say so.
    pub(super) fn unrecorded(&self, before: &BTreeMap<PathBuf, Entry>) -> Result<Vec<PathBuf>> {
        let receipt = self.receipt()?;
        let recorded = |path: &Path| {
            // What a killed write leaves beside its target is removed with it.
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let target = name
                .strip_prefix('.')
                .and_then(|name| name.strip_suffix(".pullpray-new"));
            let target = target.map_or_else(|| path.to_owned(), |name| path.with_file_name(name));
            receipt.entries().iter().any(|entry| match &entry.change {
                Change::File { path, .. } | Change::Line { path, .. } => *path == target,
                Change::Directory { path, .. } => *path == target,
                Change::Release { path, static_dir } => {
                    target.starts_with(path) || target.starts_with(static_dir)
                }
                _ => false,
            })
        };
        let now = tree(self.server.root())?;
        let changed = now
            .iter()
            .filter(|(path, entry)| before.get(*path) != Some(entry));
        let gone = before.keys().filter(|path| !now.contains_key(*path));
        let paths = changed
            .map(|(path, _)| path)
            .chain(gone)
            .map(|path| Path::new("/").join(path));
        Ok(paths
            // The receipt cannot record the directories that contain it before they exist.
            .filter(|path| {
                !path.starts_with(layout::RECEIPTS_DIR) && path != Path::new(layout::STATE_DIR)
            })
            .filter(|path| !path.starts_with("/run/systemd/units"))
            .filter(|path| {
                !path.starts_with(layout::state(&self.app.name))
                    || !recorded(&layout::state(&self.app.name))
            })
            .filter(|path| !recorded(path))
            .collect())
    }
}

/// What differs between two states of a server.
pub(super) fn difference(is: &State, was: &State) -> Vec<String> {
    let paths = is.0.keys().chain(was.0.keys());
    let differing = paths.filter(|path| is.0.get(*path) != was.0.get(*path));
    let mut found: Vec<String> = differing
        .map(|path| {
            format!(
                "{}: {:?}, was {:?}",
                path.display(),
                is.0.get(path),
                was.0.get(path)
            )
        })
        .collect();
    if (&is.1, &is.2) != (&was.1, &was.2) {
        found.push(format!("{:?}, was {:?}", (&is.1, &is.2), (&was.1, &was.2)));
    }
    found
}

/// Everything below a directory.
pub(super) fn tree(root: &Path) -> Result<BTreeMap<PathBuf, Entry>> {
    let mut found = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let meta = fs::symlink_metadata(&path)?;
        let kind = meta.file_type();
        let content = if kind.is_dir() {
            for entry in fs::read_dir(&path)? {
                pending.push(entry?.path());
            }
            String::new()
        } else if kind.is_symlink() {
            fs::read_link(&path)?.display().to_string()
        } else if kind.is_socket() {
            "socket".to_owned()
        } else {
            String::from_utf8_lossy(&fs::read(&path)?).into_owned()
        };
        let entry = Entry {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            content,
        };
        found.insert(path.strip_prefix(root)?.to_owned(), entry);
    }
    Ok(found)
}
