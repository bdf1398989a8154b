//! Checks out a commit's files into a release.
//!
//! The result equals that of `git checkout`: line ends as in .gitattributes, executable bits, links. libgit2 differs
//! in two ways. When it checks out a tree from a bare repository into a target directory, it ignores the tree's own
//! .gitattributes; it reads them only with a working directory, or from an index on disk. If the index is filled
//! *before* the checkout, they apply to every file, even to those written before the .gitattributes next to them. And
//! it creates files with modes 0644 and 0755 before the umask, git with 0666 and 0777.
//!
//! The release contains no files of git: the index is in the mirror, and there is no `.git`. libgit2 supports neither
//! filters that run programs (LFS) nor `working-tree-encoding`; the stored bytes are written ([`Mirror::unfiltered`]). The release is not synced
//! to disk here.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::panic::resume_unwind;
use std::path::Path;
use std::thread;

use git2::build::CheckoutBuilder;
use git2::{ErrorClass, Index, Oid, Repository};

use super::mirror_error::{damaged, trying};
use super::{Mirror, MirrorError, leftovers};

/// Threads that write files. Two took half of the time of one (20,000 files, 2 processors).
const MOST_THREADS: usize = 4;

/// Fewer files are not worth a thread.
const LEAST_FILES: usize = 500;

impl Mirror {
    /// Writes the files of a commit into `dir`, the absolute path of an existing empty directory. Submodules become
    /// empty directories ([`Mirror::submodules`] lists them).
    ///
    /// # Errors
    /// When the directory is not empty or its path not absolute, the commit is unknown, or the disk is full;
    /// [`MirrorError::Damaged`] or [`MirrorError::Missing`] if the mirror does not have it as it should.
    /// Files written before the error stay.
    pub fn checkout(&self, oid: Oid, dir: &Path) -> Result<(), MirrorError> {
        let dir = &*self.server.changing(dir);
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

        let mut index = Index::open(&index_path)?;
        index.read_tree(&self.repo.find_tree(tree)?)?;
        index.write()?;
        let checkout = Checkout {
            mirror: &self.path,
            index: &index_path,
            tree,
            dir,
            // Looking for the attributes of each file takes a fifth of the time (20,000 files).
            filters: !self.attributes(oid)?.is_empty(),
        };
        let paths: Vec<_> = index.iter().map(|entry| entry.path).collect();
        checkout.write(&paths)?;
        apply_umask(&index, dir)?;
        leftovers::remove(&index_path)?;
        match dir.join(".git").symlink_metadata() {
            Ok(_) => Err(refuse(
                std::io::ErrorKind::AlreadyExists,
                "the commit contains a .git",
            )),
            Err(_) => Ok(()),
        }
    }
}

/// What the threads of a checkout share.
struct Checkout<'a> {
    mirror: &'a Path,
    index: &'a Path,
    tree: Oid,
    dir: &'a Path,
    filters: bool,
}

impl Checkout<'_> {
    /// Writes the files in as many threads as there are processors, at most [`MOST_THREADS`].
    fn write(&self, paths: &[Vec<u8>]) -> Result<(), MirrorError> {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let each = paths.len().div_ceil(threads.min(MOST_THREADS));
        thread::scope(|scope| {
            let parts = paths.chunks(each.max(LEAST_FILES));
            let running: Vec<_> = parts
                .map(|part| scope.spawn(|| self.write_part(part)))
                .collect();
            running
                .into_iter()
                .try_for_each(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
        })
    }

    fn write_part(&self, paths: &[Vec<u8>]) -> Result<(), MirrorError> {
        // A handle of its own: it gets a working directory, and the mirror must stay bare.
        let repo = Repository::open_bare(self.mirror)?;
        repo.set_workdir(self.dir, false)?;
        repo.set_index(&mut Index::open(self.index)?)?;
        let mut options = CheckoutBuilder::new();
        options.force().update_index(false).dir_perm(0o777);
        options.disable_filters(!self.filters);
        options.disable_pathspec_match(true);
        for path in paths {
            options.path(&path[..]);
        }
        let tree = repo.find_tree(self.tree)?;
        repo.checkout_tree(tree.as_object(), Some(&mut options))
            .map_err(|error| match error.class() {
                // Of this class are refused paths too, which come from the commit.
                ErrorClass::Invalid if error.message().contains("delta") => damaged("", &error),
                _ => error.into(),
            })
    }
}

/// Gives files the modes that git would give them, if the umask allows group or others to write (002 lets an app's
/// group share files).
fn apply_umask(index: &Index, dir: &Path) -> Result<(), MirrorError> {
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

/// Reads the umask without setting it, as umask(2) would require: other threads create files too. 022 if unknown.
fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|text| u32::from_str_radix(text.trim(), 8).ok())
        .unwrap_or(0o022)
}
