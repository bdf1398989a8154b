//! Rotating the deploy key: a next one beside it, and the switch once the git host knows that.
//!
//! Interrupted anywhere, one of the two works, without a marker of its own to go wrong: which files
//! are there says how far it came. The ssh alias names both public halves at all times, and an
//! agent that starts while both private keys are there is given both.
//!
//! | private | `.next` | `.next.pub` | |
//! |---|---|---|---|
//! | old | | | settled |
//! | old | new | maybe | the next key waits for access |
//! | new | | new | switched; the alias's second line names the key |
//! | new | | | settled |

use anyhow::{Context, Result, anyhow, bail};
use ssh_key::{HashAlg, PrivateKey};
use zeroize::Zeroizing;

use crate::app::{App, AppName};
use crate::git::{self, RemoteErrorKind, WriteAccess};
use crate::host::View;
use crate::layout;

use super::key_pair::{ensure, parse_public, public_line};
use super::{Changes, StepId, repo};

/// How far a rotation came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// None is under way.
    None,
    /// The next key is made and not in use.
    Begun,
    /// The next key is in place, and what is left over of it is not cleared away.
    Switched,
}

/// What the next key opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opens {
    /// The repository, for reading only as far as the host tells; where the branch stands.
    Repository(String),
    /// Nothing yet; the host's words.
    Nothing(String),
    /// The repository, and writing to it.
    Writing,
}

/// Looks how far it came.
///
/// # Errors
/// When the directory of the keys cannot be read.
pub fn rotation(view: &View, app: &AppName) -> Result<Rotation> {
    Ok(if view.stat(&layout::next_private_key(app))?.is_some() {
        Rotation::Begun
    } else if view.stat(&layout::next_public_key(app))?.is_some() {
        Rotation::Switched
    } else {
        Rotation::None
    })
}

/// The next key's public half as a line to paste, and its fingerprint; made if it is not there.
///
/// # Errors
/// When it cannot be made or read.
pub fn next_key(changes: &mut Changes<'_>, app: &App) -> Result<(String, String)> {
    changes.enter(StepId::KeyDeploy);
    let (private, public) = (
        layout::next_private_key(&app.name),
        layout::next_public_key(&app.name),
    );
    // On the git host's page the two must be told apart.
    let date = changes.clock().now().format(" %Y-%m-%d").to_string();
    ensure(changes, app, &private, &public, &date)?;
    let text = changes.server().read_text(&public)?;
    parse_public(&text.with_context(|| format!("{} is gone", public.display()))?)
}

/// Asks the git host with the next key and no other.
///
/// # Errors
/// When it could not be asked.
pub fn next_opens(view: &View, app: &App) -> Result<Opens> {
    let key = layout::next_private_key(&app.name);
    // Only root can read it, so ssh is root's here, with root's own configuration. The other key
    // cannot answer: its private half is in the agent alone, which is not asked.
    let mut remote = repo::remote(view, app)?
        .ok_or_else(|| anyhow!("{} is missing", app.ssh_config().display()))?;
    remote.run_as = None;
    remote.options.splice(
        ..0,
        [
            "IdentityAgent=none".to_owned(),
            format!("IdentityFile={}", key.display()),
        ],
    );
    let words = match git::reads(&remote, &app.track) {
        Ok(words) => words,
        Err(error)
            if matches!(
                error.kind(),
                RemoteErrorKind::Permission | RemoteErrorKind::NoRepository
            ) =>
        {
            return Ok(Opens::Nothing(error.to_string()));
        }
        Err(error) => bail!("could not ask {}: {error}", app.repo.host()),
    };
    let words = format!(
        "reads {}",
        words.unwrap_or_else(|| "the repository".to_owned())
    );
    Ok(match git::write_access(&remote) {
        Ok(WriteAccess::Writable) => Opens::Writing,
        Ok(WriteAccess::ReadOnly(_)) => Opens::Repository(format!("{words}; writing is refused")),
        Ok(WriteAccess::Unproven(why)) => Opens::Repository(format!(
            "{words}; that it cannot write is not proven: {why}"
        )),
        Err(error) => bail!("could not ask {}: {error}", app.repo.host()),
    })
}

/// Puts the next key in the deploy key's place, or goes on where that was interrupted.
///
/// # Errors
/// When a file cannot be moved or written; one of the two keys is then still in use.
pub fn switch(changes: &mut Changes<'_>, app: &App) -> Result<()> {
    changes.enter(StepId::KeyDeploy);
    let (private, next) = (
        layout::private_key(&app.name),
        layout::next_private_key(&app.name),
    );
    let text = changes.server().read(&next)?.map(Zeroizing::new);
    if let Some(text) = text {
        let key = PrivateKey::from_openssh(text.as_slice())
            .with_context(|| format!("{} is not a private key", next.display()))?;
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        changes.replace_with(&next, &private, &fingerprint)?;
    }
    finish(changes, app)
}

/// Writes the public half of the key that is in place and clears the rest away.
pub(super) fn finish(changes: &mut Changes<'_>, app: &App) -> Result<()> {
    let private = layout::private_key(&app.name);
    let text = changes.server().read(&private)?.map(Zeroizing::new);
    let text = text.with_context(|| format!("{} is gone", private.display()))?;
    let key = PrivateKey::from_openssh(text.as_slice())
        .with_context(|| format!("{} is not a private key", private.display()))?;
    changes.file(
        &layout::public_key(&app.name),
        public_line(&key)?.as_bytes(),
        0o644,
        (0, 0),
    )?;
    if changes
        .server()
        .stat(&layout::next_private_key(&app.name))?
        .is_none()
    {
        changes
            .server()
            .remove_file(&layout::next_public_key(&app.name))?;
    }
    Ok(())
}
