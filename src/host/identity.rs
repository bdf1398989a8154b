//! Who acts: root gives up root wherever it acts for the app, in a child (`spawn.rs`) and never in this
//! process, which may have a terminal.

use std::path::PathBuf;

use nix::unistd::{User, geteuid};

/// Somebody to be while acting for the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The account's name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
    /// All its groups, the primary one among them.
    pub groups: Vec<u32>,
    /// Its home directory, which need not exist.
    pub home: PathBuf,
}

/// The user this process acts as.
#[must_use]
pub fn effective_uid() -> u32 {
    geteuid().as_raw()
}

/// The account that this process acts as, as far as a child's environment needs it.
#[must_use]
pub fn current_identity() -> Option<Identity> {
    let user = User::from_uid(geteuid()).ok().flatten()?;
    Some(Identity {
        name: user.name,
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
        groups: Vec::new(),
        home: user.dir,
    })
}

impl super::Server {
    /// Sets which permission bits new files of this process do not get.
    pub fn set_umask(&self, mask: u32) {
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(mask));
    }
}
