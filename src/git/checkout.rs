//! Writing a commit's files into a release.
//!
//! The result is what `git checkout` writes: line ends as .gitattributes say, executable
//! bits, links. That needs a little care with libgit2. Checking out a tree from a bare
//! repository into a target directory ignores the tree's own .gitattributes; they are read
//! only with a working directory, or from an index on the disk. With the index filled
//! *before* the checkout they hold for every file, also for those that are written before
//! the .gitattributes beside them. And its files are 0644 and 0755 before the umask, where
//! git's are 0666 and 0777.
//!
//! Nothing of git is left in the release: the index is in the mirror, and there is no `.git`.
//! Not done, because libgit2 cannot: filters that run programs (LFS) and
//! `working-tree-encoding`; the stored bytes are written. Nor is the release synced to the
//! disk here.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use git2::build::CheckoutBuilder;
use git2::{Index, Oid, Repository};

use super::mirror_error::trying;
use super::{Mirror, MirrorError, leftovers};

impl Mirror {
    /// Writes the files of a commit into `dir`, an absolute path of an existing and empty
    /// directory. Submodules become empty directories ([`Mirror::submodules`] names them).
    ///
    /// # Errors
    /// The directory is not empty or not absolute, the commit is unknown or damaged, the disk
    /// is full. What has been written by then stays.
    pub fn checkout(&self, oid: Oid, dir: &Path) -> Result<(), MirrorError> {
        let tree = self.find_commit(oid)?.tree_id();
        let refuse = |kind, text| trying("checking out into", dir)(std::io::Error::new(kind, text));
        if !dir.is_absolute() {
            return Err(refuse(
                std::io::ErrorKind::InvalidInput,
                "the path is not absolute",
            ));
        }
        let mut present = fs::read_dir(dir).map_err(trying("reading", dir))?;
        if present.next().is_some() {
            return Err(refuse(
                std::io::ErrorKind::DirectoryNotEmpty,
                "the directory is not empty",
            ));
        }
        let index_path = self.path.join("checkout.index");
        leftovers::remove(&index_path)?;
        leftovers::remove(&self.path.join("checkout.index.lock"))?;

        // A handle of its own: it gets a working directory, and the mirror must stay bare.
        let repo = Repository::open_bare(&self.path)?;
        repo.set_workdir(dir, false)?;
        let mut index = Index::open(&index_path)?;
        repo.set_index(&mut index)?;
        let tree = repo.find_tree(tree)?;
        index.read_tree(&tree)?;
        index.write()?;
        let mut options = CheckoutBuilder::new();
        options.force().update_index(true).dir_perm(0o777);
        repo.checkout_tree(tree.as_object(), Some(&mut options))?;
        open_to_umask(&index, dir)?;
        leftovers::remove(&index_path)?;
        match dir.join(".git").symlink_metadata() {
            Ok(_) => Err(refuse(
                std::io::ErrorKind::AlreadyExists,
                "a .git came with the files",
            )),
            Err(_) => Ok(()),
        }
    }
}

/// Gives files the modes that git would have given them, where the umask leaves group or
/// others the right to write (002 is what lets an app's group work together).
fn open_to_umask(index: &Index, dir: &Path) -> Result<(), MirrorError> {
    let umask = umask();
    if umask & 0o022 == 0o022 {
        return Ok(());
    }
    for entry in index.iter() {
        let mode = match entry.mode {
            0o100_644 => 0o666,
            0o100_755 => 0o777,
            _ => continue,
        };
        let path = dir.join(OsStr::from_bytes(&entry.path));
        fs::set_permissions(&path, Permissions::from_mode(mode & !umask))
            .map_err(trying("chmod", &path))?;
    }
    Ok(())
}

/// The umask, without setting it even for a moment as umask(2) would have it: other threads
/// create files too. Unknown counts as 022.
fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|text| u32::from_str_radix(text.trim(), 8).ok())
        .unwrap_or(0o022)
}
