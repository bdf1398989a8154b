//! The account that a program runs as. Root drops its privileges whenever it acts for an app, in a child (`spawn.rs`)
//! and never in this process, which may have a terminal.

use std::path::PathBuf;
use std::sync::OnceLock;

use nix::unistd::{User, geteuid};

/// An account to run a program as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Id of its primary group.
    pub gid: u32,
    /// Ids of all its groups, including the primary one.
    pub groups: Vec<u32>,
    /// Home directory; it need not exist.
    pub home: PathBuf,
}

/// The effective user id of this process.
#[must_use]
pub fn effective_uid() -> u32 {
    geteuid().as_raw()
}

/// Whether this process is in one of these groups.
#[must_use]
pub fn is_member(groups: &[u32]) -> bool {
    let own = nix::unistd::getgroups().unwrap_or_default();
    let primary = nix::unistd::getegid();
    (own.into_iter().chain([primary])).any(|gid| groups.contains(&gid.as_raw()))
}

/// The account of this process, for a child's environment; without its groups.
#[must_use]
pub fn current_identity() -> Option<Identity> {
    // Asked once: a lookup may be a request to a directory service.
    static OWN: OnceLock<Option<Identity>> = OnceLock::new();
    let look_up = || {
        let user = User::from_uid(geteuid()).ok().flatten()?;
        Some(Identity {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            groups: Vec::new(),
            home: user.dir,
        })
    };
    OWN.get_or_init(look_up).clone()
}

impl super::Server {
    /// Sets the umask of this process.
    pub fn set_umask(&self, mask: u32) {
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(mask));
    }
}
