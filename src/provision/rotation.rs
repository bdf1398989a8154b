//! Deploy key rotation: generates the next key, and switches to it once the git host accepts it.
//!
//! Interrupted at any point, one of the two keys works: the files that exist are the state, there is no
//! separate marker. The ssh alias always names both public halves, and an agent that starts while both
//! private keys exist gets both.
//!
//! | private | `.next` | `.next.pub` | |
//! |---|---|---|---|
//! | old | | | settled |
//! | old | new | maybe | next key waiting for access |
//! | new | | new | switched; the alias's second line selects the key |
//! | new | | | settled |

use anyhow::{Context, Result, anyhow};

use crate::app::{App, AppName};
use crate::git::{self, WriteAccess};
use crate::host::View;
use crate::layout;

use super::key_pair::{ensure, fingerprint, parse_public, private_key, public_line};
use super::{Changes, StepId, repo};

/// Progress of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// No rotation in progress.
    None,
    /// The next key is generated but not in use.
    Begun,
    /// The next key is in use; leftover files remain.
    Switched,
}

/// What the git host lets the next key do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextKeyAccess {
    /// Read the repository, and not push as far as can be verified: the tip of the branch.
    ReadOnly(String),
    /// Nothing yet: the host's answer.
    Denied(String),
    /// Read and push.
    Writable,
}

/// Determines the progress from the key files.
///
/// # Errors
/// When the key directory cannot be read.
pub fn rotation(view: &View, app: &AppName) -> Result<Rotation> {
    Ok(if view.stat(&layout::next_private_key(app))?.is_some() {
        Rotation::Begun
    } else if view.stat(&layout::next_public_key(app))?.is_some() {
        Rotation::Switched
    } else {
        Rotation::None
    })
}

/// Public key line and fingerprint of the next key, which is generated if it does not exist.
///
/// # Errors
/// When it cannot be generated or read.
pub fn next_key(changes: &mut Changes<'_>, app: &App) -> Result<(String, String)> {
    changes.enter(StepId::KeyDeploy);
    let private = layout::next_private_key(&app.name);
    let public = layout::next_public_key(&app.name);
    // The date distinguishes the two keys on the git host's page.
    let now = changes.context().view.clock().now();
    let date = now.format(" %Y-%m-%d").to_string();
    ensure(changes, app, &private, &public, &date)?;
    let text = changes.context().view.read_text(&public)?;
    parse_public(&text.with_context(|| format!("{} does not exist", public.display()))?)
}

/// Tests the next key alone against the git host.
///
/// # Errors
/// When the git host cannot be reached.
pub fn next_key_access(view: &View, app: &App) -> Result<NextKeyAccess> {
    let key = layout::next_private_key(&app.name);
    // Only root can read it, so ssh runs as root, with root's configuration. It cannot use the current key:
    // only the agent has it, and IdentityAgent=none disables the agent.
    let mut remote = repo::remote(view, app)?
        .ok_or_else(|| anyhow!("{} is missing", app.ssh_config().display()))?;
    remote.run_as = None;
    let file = format!("IdentityFile={}", key.display());
    let alone = ["IdentityAgent=none".to_owned(), file];
    remote.options.splice(..0, alone);
    let words = match git::describe_readable(&remote, &app.track) {
        Ok(words) => words,
        Err(error) if error.kind().is_no_access() => {
            return Ok(NextKeyAccess::Denied(error.to_string()));
        }
        Err(error) => return Err(repo::unreachable(app, &error)),
    };
    let words = words.as_deref().unwrap_or("the repository");
    Ok(match git::write_access(&remote) {
        Ok(WriteAccess::Writable) => NextKeyAccess::Writable,
        Ok(WriteAccess::ReadOnly(_)) => {
            NextKeyAccess::ReadOnly(format!("reads {words}; push is refused"))
        }
        Ok(WriteAccess::Unproven(why)) => NextKeyAccess::ReadOnly(format!(
            "reads {words}; could not verify that push is refused: {why}"
        )),
        Err(error) => return Err(repo::unreachable(app, &error)),
    })
}

/// Replaces the deploy key with the next key, or resumes an interrupted switch.
///
/// # Errors
/// When a file cannot be renamed or written; one of the two keys is then still in use.
pub fn switch_key(changes: &mut Changes<'_>, app: &App) -> Result<()> {
    changes.enter(StepId::KeyDeploy);
    let next = layout::next_private_key(&app.name);
    if let Some(key) = private_key(changes.context().view, &next)? {
        let private = layout::private_key(&app.name);
        changes.replace_with(&next, &private, &fingerprint(&key))?;
    }
    finish(changes, app)
}

/// Writes the public half of the current key and removes leftover files.
pub(super) fn finish(changes: &mut Changes<'_>, app: &App) -> Result<()> {
    let private = layout::private_key(&app.name);
    let key = private_key(changes.context().view, &private)?;
    let key = key.with_context(|| format!("{} does not exist", private.display()))?;
    let (path, line) = (layout::public_key(&app.name), public_line(&key)?);
    changes.file(&path, line.as_bytes(), 0o644, (0, 0))?;
    match rotation(changes.context().view, &app.name)? {
        Rotation::Switched => changes.remove_created(&layout::next_public_key(&app.name)),
        Rotation::None | Rotation::Begun => Ok(()),
    }
}
