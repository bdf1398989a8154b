//! The receipt: what init created, adopted or replaced, a line each, written before it is done.
//!
//! One JSON object a line, only ever added to and synced before the change it announces. A line
//! cut off by a power failure is the last one, and its change did not happen. The receipt alone
//! says what may be removed: what was there before is never in it as created.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What was there before a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Before {
    /// Nothing: it is ours.
    Created,
    /// It was there as it should be, and is left alone for good.
    Adopted,
    /// It was there and different; where the old one is kept.
    Replaced(PathBuf),
}

/// A directory as it was before it was adopted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Was {
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its permission bits.
    pub mode: u32,
    /// Whether nothing was in it, so that all that is in it later is the app's.
    pub empty: bool,
}

/// One change of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Change {
    /// A file was written.
    File {
        /// Where.
        path: PathBuf,
        /// What was there.
        before: Before,
        /// The SHA-256 of what was written, to know later whether it is still that.
        sha256: String,
    },
    /// A line was added to a file that others write too.
    Line {
        /// The file.
        path: PathBuf,
        /// The line without its end.
        line: String,
    },
    /// A directory.
    Directory {
        /// Where.
        path: PathBuf,
        /// What was there.
        before: Before,
        /// As what it was there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        was: Option<Was>,
    },
    /// A group.
    Group {
        /// Its name.
        name: String,
        /// What was there.
        before: Before,
    },
    /// A user.
    User {
        /// Its name.
        name: String,
        /// What was there.
        before: Before,
    },
    /// A membership.
    Member {
        /// Who.
        user: String,
        /// Of what.
        group: String,
        /// What was there.
        before: Before,
    },
    /// A unit was enabled and started.
    Unit {
        /// Its name.
        name: String,
    },
    /// The app itself began to live in its directories.
    Release {
        /// The project directory.
        path: PathBuf,
        /// Where its static files are published.
        static_dir: PathBuf,
    },
}

impl Change {
    /// What it is about, whatever was done with it: a rank in the order of removal, and a name.
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
    /// When, RFC 3339.
    pub time: String,
    /// The step that did it.
    pub step: String,
    /// What it did.
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
    /// Whether it could be read, so that what it does not say was not done.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.readable
    }

    /// Whether there is something in it, or in its place, that pullpray did not write.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.damaged
    }

    /// Whether it says anything of what the change is about.
    #[must_use]
    pub fn speaks_of(&self, change: &Change) -> bool {
        let key = change.key();
        self.entries.iter().any(|entry| entry.change.key() == key)
    }

    /// Its lines, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether a file's content is what pullpray wrote at some time.
    #[must_use]
    pub fn wrote(&self, path: &Path, sha256: &str) -> bool {
        self.entries.iter().any(|entry| {
            matches!(&entry.change, Change::File { path: at, before, sha256: wrote }
                if at == path && *before != Before::Adopted && wrote == sha256)
        })
    }

    /// Whether all that is in a directory came with the app: it was made for it, or adopted empty.
    #[must_use]
    pub fn filled(&self, path: &Path) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|entry| {
            matches!(&entry.change, Change::Directory { path: at, before, was }
                if at == path && (*before == Before::Created || was.is_some_and(|was| was.empty)))
        })
    }

    /// What was there before pullpray came, by the first line that speaks of the file.
    #[must_use]
    pub fn before(&self, path: &Path) -> Option<&Before> {
        self.entries.iter().find_map(|entry| match &entry.change {
            Change::File {
                path: at, before, ..
            }
            | Change::Directory {
                path: at, before, ..
            } if at == path => Some(before),
            _ => None,
        })
    }
}

/// The lines that can be read, and whether those are all.
pub(crate) fn parse(text: &str) -> (Vec<Entry>, bool) {
    let (mut entries, mut whole) = (Vec::new(), true);
    for line in text.split_inclusive('\n') {
        // Without its end the line was being written when the power went: its change was never
        // begun, for the change waits until the line is on the disk.
        let Some(line) = line.strip_suffix('\n') else {
            break;
        };
        if line.trim().is_empty() {
            continue;
        }
        match serde_json::from_str(line) {
            Ok(entry) => entries.push(entry),
            // A line that a crash cut off and a later run went on after.
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
    fn a_line_cut_off_is_a_change_that_did_not_happen() {
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
