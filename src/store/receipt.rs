//! The receipt's file: only appended, and synced before the change that the line describes.

use std::path::Path;

use anyhow::Result;

use crate::app::AppName;
use crate::host::{Kind, Server, View};
use crate::layout;
use crate::state::receipt::{Change, Entry, Receipt, parse};
use crate::state::stamp;

impl Receipt {
    /// Reads an app's receipt; it is empty if init never began. Of a damaged one, the readable entries.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load(view: &View, app: &AppName) -> Result<Self> {
        let path = layout::receipt(app);
        let is_file = view.stat(&path)?.is_none_or(|stat| stat.kind == Kind::File);
        let bytes = if is_file { view.read(&path)? } else { None };
        let (entries, whole) = parse(&String::from_utf8_lossy(&bytes.unwrap_or_default()));
        Ok(Self {
            path,
            entries,
            readable: true,
            damaged: !is_file || !whole,
        })
    }

    /// The receipt for an account that may not read it: empty.
    #[must_use]
    pub fn unreadable(app: &AppName) -> Self {
        Self {
            path: layout::receipt(app),
            entries: Vec::new(),
            readable: false,
            damaged: false,
        }
    }

    /// Moves a damaged receipt aside, and writes its readable lines in its place.
    ///
    /// # Errors
    /// When it cannot be renamed or written.
    pub fn repair(&mut self, server: &Server) -> Result<()> {
        if !self.damaged {
            return Ok(());
        }
        let mut aside = self.path.clone().into_os_string();
        aside.push(format!(".damaged-{}", stamp(server.clock().now())));
        server.rename(&self.path, Path::new(&aside))?;
        let mut text = String::new();
        for entry in &self.entries {
            text.push_str(&serde_json::to_string(entry)?);
            text.push('\n');
        }
        server.write(&self.path, text.as_bytes(), 0o600, None)?;
        self.damaged = false;
        Ok(())
    }

    /// Records a change before it is made, unless it is recorded already.
    ///
    /// # Errors
    /// When it cannot be written; the change must not be made then.
    pub fn announce(&mut self, server: &Server, step: &str, change: Change) -> Result<()> {
        if self.records(&change) {
            return Ok(());
        }
        let entry = Entry {
            time: stamp(server.clock().now()),
            step: step.to_owned(),
            change,
        };
        self.append(server, entry)
    }

    /// Takes over a record of an app that is being removed, unless its own one of the same object is older: whoever
    /// recorded it first knows what was there before.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn inherit(&mut self, server: &Server, entry: &Entry) -> Result<()> {
        let own = self.latest(&entry.change);
        if own.is_some_and(|own| own.time < entry.time || own.change == entry.change) {
            return Ok(());
        }
        self.append(server, entry.clone())
    }

    fn append(&mut self, server: &Server, entry: Entry) -> Result<()> {
        server.append(&self.path, &serde_json::to_string(&entry)?, 0o600)?;
        self.entries.push(entry);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::receipt::Before;

    fn change(path: &str, before: Before, sha256: &str) -> Change {
        Change::File {
            path: path.into(),
            before,
            sha256: sha256.into(),
        }
    }

    #[test]
    fn recorded_changes_are_loaded_again() -> Result<()> {
        let root = tempfile::tempdir()?;
        std::fs::create_dir_all(root.path().join("var/lib/pullpray/receipts"))?;
        let server = Server::at(root.path());
        let app: AppName = "todo".parse()?;

        let mut receipt = Receipt::load(&server, &app)?;
        receipt.announce(&server, "sudoers", change("/a", Before::Created, "1"))?;
        receipt.announce(&server, "sudoers", change("/a", Before::Created, "1"))?;
        receipt.announce(
            &server,
            "sudoers",
            change("/b", Before::Replaced("/old".into()), "2"),
        )?;
        let again = Receipt::load(&server, &app)?;
        assert_eq!(again.entries(), receipt.entries());
        assert_eq!(again.entries().len(), 2);
        assert!(again.wrote(Path::new("/a"), "1") && !again.wrote(Path::new("/a"), "2"));
        assert_eq!(
            again.before(Path::new("/b")),
            Some(&Before::Replaced("/old".into()))
        );
        Ok(())
    }
}
