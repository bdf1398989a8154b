//! Copying files to a directory from which nginx serves them.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result};

use super::write::staging_path;
use super::{Kind, Server};

/// Mode of a directory of published files.
pub const PUBLISHED_DIR: u32 = 0o2775;
/// Mode of a published file.
const PUBLISHED_FILE: u32 = 0o644;

impl Server {
    /// Creates a directory of published files, whatever the umask. An existing one only gets the mode.
    ///
    /// # Errors
    /// When it cannot be created, or belongs to another user.
    pub fn publish_dir(&self, path: &Path) -> Result<()> {
        let failed = || format!("failed to create {}", path.display());
        self.make_own_dirs(path)?;
        open_to_others(&self.changing(path), PUBLISHED_DIR).with_context(failed)
    }

    /// Copies a file with one atomic rename. Within one file system the copy is a hard link and takes no
    /// space. A copy that is already there stays. The copy is world-readable, whatever the mode of the source
    /// (`FILE_UPLOAD_PERMISSIONS`, a storage class).
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn publish_file(&self, from: &Path, to: &Path) -> Result<()> {
        let failed = || format!("failed to publish {}", to.display());
        let (real_from, real_to) = (self.real(from), self.changing(to));
        // Even if there is nothing to copy: a killed run may have left it.
        let staged = staging_path(&real_to)?;
        match fs::remove_file(&staged) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(failed);
            }
            _ => {}
        }
        let source = fs::metadata(&real_from).with_context(failed)?;
        if let Ok(there) = fs::symlink_metadata(&real_to)
            && there.dev() == source.dev()
            && there.ino() == source.ino()
        {
            return open_to_others(&real_to, PUBLISHED_FILE).with_context(failed);
        }
        if fs::hard_link(&real_from, &staged).is_err() {
            fs::copy(&real_from, &staged).with_context(failed)?;
        }
        open_to_others(&staged, PUBLISHED_FILE).with_context(failed)?;
        fs::rename(&staged, self.changing(to)).with_context(failed)
    }
}

impl Server {
    /// Removes a published copy of a file, if it still is one.
    ///
    /// # Errors
    /// When it cannot be read or removed.
    pub fn withdraw_file(&self, from: &Path, published: &Path) -> Result<()> {
        let (Some(source), Some(copy)) = (self.stat(from)?, self.stat(published)?) else {
            return Ok(());
        };
        let same = copy.kind == Kind::File
            && source.size == copy.size
            && self.read(from)? == self.read(published)?;
        if same {
            self.remove_file(published)
        } else {
            Ok(())
        }
    }
}

/// Sets the mode of a published file or directory. If it belongs to another user, its mode cannot be set; that is
/// fine as long as others have the same access.
fn open_to_others(path: &Path, mode: u32) -> std::io::Result<()> {
    let is = fs::metadata(path)?.mode() & 0o7777;
    if is == mode {
        return Ok(());
    }
    match fs::set_permissions(path, fs::Permissions::from_mode(mode)) {
        Err(_) if is & 0o007 == mode & 0o007 => Ok(()),
        done => done,
    }
}
