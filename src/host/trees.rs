//! Trees of files, read without following links.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::dirs::directory_bits;
use super::files::LOST_AND_FOUND;
use super::{Kind, Stat, View};

/// Entries of a tree with the wrong owner, group or mode.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drift {
    /// Number of checked entries.
    pub seen: usize,
    /// Number of wrong entries.
    pub count: usize,
    /// Paths of the first three.
    pub first: Vec<String>,
}

impl Drift {
    /// Adds the result for another tree.
    pub fn add(&mut self, other: Self) {
        self.seen += other.seen;
        self.count += other.count;
        self.first.extend(other.first);
        self.first.truncate(3);
    }
}

/// Size of a tree of files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Number of files and links.
    pub files: u64,
    /// Total bytes, before filters (line ends) and without rounding to blocks.
    pub bytes: u64,
}

/// What a file takes beyond its bytes, at most: a partial block.
const BLOCK: u64 = 4096;
/// For what is unknown beforehand: collected static files, bytecode, a growing database.
const MARGIN: Size = Size {
    files: 1000,
    bytes: 32 * 1024 * 1024,
};
impl Size {
    /// What has to be free before a release is built: for this tree, a new environment if it needs one (estimated from
    /// the last), and a margin.
    #[must_use]
    pub fn of_a_release(self, environment: Option<Self>) -> Self {
        let environment = environment.unwrap_or_default();
        let files = self.files.saturating_add(environment.files);
        let blocks = files.saturating_mul(BLOCK);
        let bytes = self.bytes.saturating_add(environment.bytes);
        Self {
            files: files.saturating_add(MARGIN.files),
            bytes: bytes.saturating_add(blocks).saturating_add(MARGIN.bytes),
        }
    }
}

impl View {
    /// Visits every entry of a tree, parents first. `visit` returns whether to look below a directory.
    fn walk(&self, root: &Path, visit: &mut dyn FnMut(&Path, &Stat) -> bool) -> Result<()> {
        let mut pending = vec![root.to_owned()];
        while let Some(path) = pending.pop() {
            // `None`: removed meanwhile.
            if let Some(stat) = self.stat(&path)?
                && visit(&path, &stat)
                && stat.kind == Kind::Directory
            {
                let names = self.list(&path)?.into_iter().rev();
                pending.extend(names.map(|name| path.join(name)));
            }
        }
        Ok(())
    }

    /// Finds entries of a tree that do not belong to this user and group, and directories without setgid or group
    /// access; without a group, directories that their owner cannot use. Does not follow links.
    ///
    /// # Errors
    /// When a part of the tree cannot be read.
    pub fn drift(&self, path: &Path, uid: u32, gid: Option<u32>) -> Result<Drift> {
        let mut drift = Drift::default();
        self.walk(path, &mut |path, stat| {
            if stat.uid == 0 && path.ends_with(LOST_AND_FOUND) {
                return false;
            }
            drift.seen += 1;
            let directory = stat.kind == Kind::Directory;
            let bits = directory_bits(gid);
            if stat.uid != uid
                || gid.is_some_and(|gid| stat.gid != gid)
                || (directory && stat.mode & bits != bits)
            {
                drift.count += 1;
                if drift.first.len() < 3 {
                    let is = self.owned(stat.uid, stat.gid, stat.mode);
                    drift.first.push(format!("{} ({is})", path.display()));
                }
            }
            true
        })?;
        Ok(drift)
    }

    /// Returns the disk usage of a tree: number of files and directories, and bytes of their blocks.
    ///
    /// # Errors
    /// When a part of it cannot be read.
    pub fn tree_size(&self, path: &Path) -> Result<Size> {
        let mut size = Size::default();
        self.walk(path, &mut |_, stat| {
            size.files += 1;
            size.bytes += stat.allocated;
            true
        })?;
        Ok(size)
    }

    /// The regular files of a tree that were modified after this time (seconds since 1970), relative to it, sorted;
    /// without Python's bytecode. Does not follow links.
    ///
    /// # Errors
    /// When a part of the tree cannot be read.
    pub fn modified_after(&self, root: &Path, time: i64) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        self.walk(root, &mut |path, stat| {
            let bytecode = path.ends_with("__pycache__");
            if stat.kind == Kind::File
                && stat.modified > time
                && let Ok(path) = path.strip_prefix(root)
            {
                found.push(path.to_owned());
            }
            !bytecode
        })?;
        found.sort();
        Ok(found)
    }

    /// Whether new entries of a directory get the permissions of an ACL instead of the umask's (acl(5)).
    #[must_use]
    pub fn has_default_acl(&self, dir: &Path) -> bool {
        xattr::get(self.real(dir), "system.posix_acl_default").is_ok_and(|acl| acl.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn a_default_acl_is_seen() -> Result<()> {
        let test = crate::host::testing::TestServer::new()?;
        let view = test.server.view();
        let dir = Path::new("/");
        assert!(!view.has_default_acl(dir) && !view.has_default_acl(Path::new("/nowhere")));
        // Version 2, then owner rwx, group r-x, others nothing (linux/posix_acl_xattr.h).
        let entry = |tag: u16, permissions: u16| {
            let entry = [tag.to_le_bytes(), permissions.to_le_bytes()].concat();
            [entry, vec![0xff; 4]].concat()
        };
        let acl = [
            2u32.to_le_bytes().to_vec(),
            entry(1, 7),
            entry(4, 5),
            entry(0x20, 0),
        ]
        .concat();
        xattr::set(test.root(), "system.posix_acl_default", &acl)?;
        assert!(view.has_default_acl(dir));
        Ok(())
    }

    #[test]
    fn the_environment_counts_only_if_it_is_created_again() {
        let tree = Size {
            files: 100,
            bytes: 5 * MIB,
        };
        let environment = Size {
            files: 3000,
            bytes: 90 * MIB,
        };
        let without = tree.of_a_release(None);
        assert_eq!(without.bytes, 5 * MIB + 100 * BLOCK + MARGIN.bytes);
        let with = tree.of_a_release(Some(environment));
        assert_eq!(with.files - without.files, 3000);
        assert_eq!(with.bytes - without.bytes, 90 * MIB + 3000 * BLOCK);
        let all = Size {
            files: u64::MAX,
            bytes: u64::MAX,
        };
        assert_eq!(all.of_a_release(Some(all)), all, "no size wraps around");
    }
}
