//! The mirror's files: removes what a killed process left behind, and syncs packs before references point to them.
//!
//! libgit2 writes packs under temporary names and locks references with `.lock` files. After a kill both remain, and
//! the locks block every later fetch. Its indexer renames the index *before* the pack, so a kill in between leaves an
//! index without a pack.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use super::MirrorError;
use super::mirror_error::trying;

/// Directory in the mirror for a new pack; opening the mirror removes it if a killed process left it.
pub(super) const STAGING_DIR: &str = "compact.new";

/// Removes what a killed process left. Does not follow links.
pub(super) fn remove_leftovers(mirror: &Path) -> Result<(), MirrorError> {
    remove_locks(mirror, false)?;
    remove_locks(&mirror.join("refs"), true)?;
    let _ = fs::remove_dir_all(mirror.join(STAGING_DIR));
    let packs = pack_dir(mirror);
    let names = pack_files(mirror)?;
    for name in &names {
        let path = Path::new(name);
        let other = match path.extension().and_then(OsStr::to_str) {
            Some("idx") => Some(path.with_extension("pack")),
            Some("pack") => Some(path.with_extension("idx")),
            _ => None,
        };
        let complete = other.is_some_and(|other| names.contains(other.as_os_str()));
        if !complete {
            remove(&packs.join(name))?;
        }
    }
    // Temporary names of loose objects: objects/tmp_object_git2_ and six letters.
    for (path, is_dir) in entries(&mirror.join("objects"))? {
        let temporary = path
            .file_name()
            .is_some_and(|n| n.as_encoded_bytes().starts_with(b"tmp_"));
        if temporary && !is_dir {
            remove(&path)?;
        }
    }
    Ok(())
}

fn remove_locks(dir: &Path, deep: bool) -> Result<(), MirrorError> {
    for (path, is_dir) in entries(dir)? {
        if is_dir && deep {
            remove_locks(&path, deep)?;
        } else if !is_dir && path.extension() == Some(OsStr::new("lock")) {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Lists paths, and whether they are directories (links are not). A missing directory has none: libgit2 decides
/// whether that is damage.
fn entries(dir: &Path) -> Result<Vec<(PathBuf, bool)>, MirrorError> {
    let list = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        list => list.map_err(trying("reading", dir))?,
    };
    list.map(|entry| entry.and_then(|e| Ok((e.path(), e.file_type()?.is_dir()))))
        .collect::<Result<_, _>>()
        .map_err(trying("reading", dir))
}

/// The directory of packs.
pub(super) fn pack_dir(mirror: &Path) -> PathBuf {
    mirror.join("objects/pack")
}

/// The names of all files in the directory of packs.
pub(super) fn pack_files(mirror: &Path) -> Result<BTreeSet<OsString>, MirrorError> {
    let names = entries(&pack_dir(mirror))?;
    Ok(names
        .into_iter()
        .filter_map(|(path, _)| path.file_name().map(OsStr::to_owned))
        .collect())
}

/// Syncs the packs that are not in `before`, then their directory.
pub(super) fn sync_new_packs(
    mirror: &Path,
    before: &BTreeSet<OsString>,
) -> Result<(), MirrorError> {
    let dir = pack_dir(mirror);
    let now = pack_files(mirror)?;
    for name in now.difference(before) {
        sync(&dir.join(name))?;
    }
    sync(&dir)
}

/// Syncs a file, or the entries of a directory.
pub(super) fn sync(path: &Path) -> Result<(), MirrorError> {
    crate::host::sync_path(path).map_err(trying("syncing", path))
}

/// Removes a file; a missing file is not an error.
pub(super) fn remove(path: &Path) -> Result<(), MirrorError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(trying("removing", path)(error))
        }
        _ => Ok(()),
    }
}
