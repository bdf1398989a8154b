//! Being somebody else: root gives up root wherever it acts for the app.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use nix::unistd::{Gid, Uid, geteuid, getgroups, getuid, setgid, setgroups, setuid};

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

/// Turns this process into that user for good: groups, group, user, in the order in which each
/// step still has the right to the next (setuid(2), setgroups(2)).
///
/// # Errors
/// When the system refuses, or when root could be had back afterwards.
pub fn become_user(identity: &Identity) -> Result<()> {
    let groups: Vec<Gid> = identity.groups.iter().copied().map(Gid::from_raw).collect();
    let failed = || format!("failed to become {}", identity.name);
    setgroups(&groups).with_context(failed)?;
    setgid(Gid::from_raw(identity.gid)).with_context(failed)?;
    setuid(Uid::from_raw(identity.uid)).with_context(failed)?;
    // Trust nothing: a kernel or sandbox that ignored one of the calls would leave us root.
    let held = getgroups().with_context(failed)?;
    if getuid().as_raw() != identity.uid
        || held.iter().any(|group| !groups.contains(group))
        || (identity.uid != 0 && setuid(Uid::from_raw(0)).is_ok())
    {
        bail!("still root after becoming {}", identity.name);
    }
    Ok(())
}

impl super::Server {
    /// Sets which permission bits new files of this process do not get.
    pub fn set_umask(&self, mask: u32) {
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(mask));
    }
}
