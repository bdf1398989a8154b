//! File systems: how they are mounted, and how full they are.

use std::path::Path;

use anyhow::{Context, Result};
use nix::sys::statvfs::{FsFlags, Statvfs, statvfs};

use super::View;

impl View {
    /// Whether the file system of a path is mounted read-only.
    ///
    /// # Errors
    /// When statvfs(3) fails.
    pub fn is_read_only(&self, path: &Path) -> Result<bool> {
        Ok(self.statvfs(path)?.flags().contains(FsFlags::ST_RDONLY))
    }

    /// Whether the file system of a file ignores setuid and setgid bits (mounted nosuid).
    ///
    /// # Errors
    /// When statvfs(3) fails.
    pub fn ignores_setgid(&self, path: &Path) -> Result<bool> {
        Ok(self.statvfs(path)?.flags().contains(FsFlags::ST_NOSUID))
    }

    /// Whether nothing can be executed or mapped as code from the file system of a path (mounted noexec).
    ///
    /// # Errors
    /// When statvfs(3) fails.
    pub fn is_noexec(&self, path: &Path) -> Result<bool> {
        Ok(self.statvfs(path)?.flags().contains(FsFlags::ST_NOEXEC))
    }

    fn statvfs(&self, path: &Path) -> Result<Statvfs> {
        statvfs(&self.real(path))
            .with_context(|| format!("failed to inspect the file system of {}", path.display()))
    }

    /// Returns the free bytes, and the free inodes, of a path's file system for ordinary users. The inodes are `None` if
    /// the file system does not count them.
    ///
    /// # Errors
    /// When statvfs(3) fails.
    pub fn free_space(&self, path: &Path) -> Result<(u64, Option<u64>)> {
        let stat = self.statvfs(path)?;
        Ok((
            stat.blocks_available() * stat.fragment_size(),
            (stat.files() > 0).then(|| stat.files_available()),
        ))
    }
}
