//! The receipt: everything that init creates, adopts or replaces, one entry per line, written before the change.
//!
//! One JSON object per line, only appended, and synced before its change. A line truncated by a power failure is the
//! last one, and its change did not happen. `remove` removes only what the receipt lists as created.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The state before a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Before {
    /// It did not exist; pullpray created it.
    Created,
    /// It existed as needed; pullpray never changes or removes it.
    Adopted,
    /// It existed and differed; the path of the backup.
    Replaced(PathBuf),
}

/// A directory's attributes before it was adopted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Was {
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its permission bits.
    pub mode: u32,
    /// Whether it was empty, so that everything in it later belongs to the app.
    pub empty: bool,
}

/// One change to the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Change {
    /// A file was written.
    File {
        /// Its path.
        path: PathBuf,
        /// The state before.
        before: Before,
        /// The SHA-256 of the new content, to notice later modifications.
        sha256: String,
    },
    /// A line was added to a file that pullpray does not own.
    Line {
        /// The file.
        path: PathBuf,
        /// The line, without its newline.
        line: String,
    },
    /// A directory was created or adopted.
    Directory {
        /// Its path.
        path: PathBuf,
        /// The state before.
        before: Before,
        /// Its attributes before it was adopted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        was: Option<Was>,
    },
    /// A group was created or adopted.
    Group {
        /// Its name.
        name: String,
        /// The state before.
        before: Before,
    },
    /// A user was created or adopted.
    User {
        /// Its name.
        name: String,
        /// The state before.
        before: Before,
    },
    /// A user was added to a group.
    Member {
        /// The user.
        user: String,
        /// The group.
        group: String,
        /// The state before.
        before: Before,
    },
    /// A unit was enabled and started.
    Unit {
        /// Its name.
        name: String,
    },
    /// The app's first deployment began.
    Release {
        /// The project directory.
        path: PathBuf,
        /// The directory of its published static files.
        static_dir: PathBuf,
    },
}

impl Change {
    /// A file that is written.
    #[must_use]
    pub fn file(path: &Path, before: Before, sha256: impl Into<String>) -> Self {
        let (path, sha256) = (path.to_owned(), sha256.into());
        Self::File {
            path,
            before,
            sha256,
        }
    }
    /// A group that pullpray creates.
    #[must_use]
    pub fn created_group(name: &str) -> Self {
        let (name, before) = (name.to_owned(), Before::Created);
        Self::Group { name, before }
    }
    /// A user that pullpray creates.
    #[must_use]
    pub fn created_user(name: &str) -> Self {
        let (name, before) = (name.to_owned(), Before::Created);
        Self::User { name, before }
    }

    /// The state before, if it is of a kind that can have existed before.
    #[must_use]
    pub fn before(&self) -> Option<&Before> {
        match self {
            Self::File { before, .. } | Self::Directory { before, .. } => Some(before),
            Self::Group { before, .. } | Self::User { before, .. } => Some(before),
            Self::Member { before, .. } => Some(before),
            Self::Line { .. } | Self::Unit { .. } | Self::Release { .. } => None,
        }
    }

    /// The object that it changes, as a rank in the order of removal and a name.
    #[must_use]
    pub fn key(&self) -> (u8, String) {
        match self {
            Self::Unit { name } => (0, name.clone()),
            Self::File { path, .. } => (1, path.display().to_string()),
            Self::Line { path, line } => (2, format!("{} {line}", path.display())),
            Self::Release { path, .. } => (3, path.display().to_string()),
            Self::Member { user, group, .. } => (4, format!("{user} {group}")),
            Self::User { name, .. } => (5, name.clone()),
            Self::Group { name, .. } => (6, name.clone()),
            Self::Directory { path, .. } => (7, path.display().to_string()),
        }
    }
}

/// A line of the receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The time, RFC 3339.
    pub time: String,
    /// The id of the step.
    pub step: String,
    /// The change.
    #[serde(flatten)]
    pub change: Change,
}

/// The receipt of one app.
#[derive(Debug, Clone)]
pub struct Receipt {
    pub(crate) path: PathBuf,
    pub(crate) entries: Vec<Entry>,
    pub(crate) readable: bool,
    pub(crate) damaged: bool,
}

impl Receipt {
    /// Whether it could be read, so that a change it does not list was not made.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.readable
    }

    /// Whether it contains, or was replaced by, something that pullpray did not write.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.damaged
    }

    /// Whether it lists a change to the same object.
    #[must_use]
    pub fn mentions(&self, change: &Change) -> bool {
        self.latest(change).is_some()
    }

    /// The last entry of a change to the same object.
    #[must_use]
    pub fn latest(&self, change: &Change) -> Option<&Entry> {
        let key = change.key();
        self.entries.iter().rev().find(|e| e.change.key() == key)
    }

    /// Whether it lists exactly this change.
    #[must_use]
    pub fn records(&self, change: &Change) -> bool {
        self.entries.iter().any(|entry| entry.change == *change)
    }

    /// Its entries, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether pullpray once wrote this content to the file.
    #[must_use]
    pub fn wrote(&self, path: &Path, sha256: &str) -> bool {
        self.entries.iter().any(|entry| {
            matches!(&entry.change, Change::File { path: at, before, sha256: wrote }
                if at == path && *before != Before::Adopted && wrote == sha256)
        })
    }

    /// Whether everything in a directory belongs to the app: it was created, or adopted empty.
    #[must_use]
    pub fn owns_contents(&self, path: &Path) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|entry| {
            matches!(&entry.change, Change::Directory { path: at, before, was }
                if at == path && (*before == Before::Created || was.is_some_and(|was| was.empty)))
        })
    }

    /// The state of a file or directory before pullpray's first change to it.
    #[must_use]
    pub fn before(&self, path: &Path) -> Option<&Before> {
        self.entries.iter().find_map(|entry| match &entry.change {
            Change::File { path: at, .. } | Change::Directory { path: at, .. } if at == path => {
                entry.change.before()
            }
            _ => None,
        })
    }
}

/// The readable entries, and whether no line is damaged.
pub(crate) fn parse(text: &str) -> (Vec<Entry>, bool) {
    let (mut entries, mut whole) = (Vec::new(), true);
    for line in text.split_inclusive('\n') {
        // A line without its newline was truncated by a power failure. Its change never began: that waits for the
        // line to be on the disk.
        let Some(line) = line.strip_suffix('\n') else {
            break;
        };
        if line.trim().is_empty() {
            continue;
        }
        match serde_json::from_str(line) {
            Ok(entry) => entries.push(entry),
            // Truncated by a crash; a later run appended after it.
            Err(error) if error.is_eof() => {}
            Err(_) => whole = false,
        }
    }
    (entries, whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truncated_line_is_a_change_that_did_not_happen() {
        let whole = r#"{"time":"t","step":"s","kind":"group","name":"g","before":"created"}"#;
        for text in [
            format!("{whole}\n{}", &whole[..20]),
            format!("{}\n{whole}\n", &whole[..20]),
        ] {
            let (entries, all) = parse(&text);
            assert!(entries.len() == 1 && all);
        }
        let (entries, all) = parse(&format!("{{\"time\":1}}\n{whole}\n"));
        assert!(entries.len() == 1 && !all);
    }
}
