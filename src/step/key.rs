//! The deploy key: made once, root's alone, never overwritten.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey};
use zeroize::Zeroizing;

use crate::app::{App, AppName, paths};
use crate::render;
use crate::server::View;

use super::rotation::{self, Rotation, rotation};
use super::{Changes, Finding, Look, Row, Step};

pub(super) struct DeployKey<'a>(pub(super) &'a App);

/// The public half of an app's deploy key, as one line to paste; `None` before it is made.
///
/// # Errors
/// When it cannot be read or is no key.
pub fn public_key(view: &View, app: &AppName) -> Result<Option<(String, String)>> {
    let path = paths::public_key(app);
    let Some(text) = view.read_text(&path)? else {
        return Ok(None);
    };
    parse_public(&text)
        .map(Some)
        .with_context(|| format!("failed to read {}", path.display()))
}

impl Step for DeployKey<'_> {
    fn id(&self) -> &'static str {
        "key.deploy"
    }
    fn title(&self) -> String {
        "deploy key".to_owned()
    }
    fn row(&self) -> Row {
        Row {
            kind: "key",
            what: paths::private_key(&self.0.name).display().to_string(),
        }
    }

    fn check(&self, look: &Look<'_>) -> Result<Finding> {
        let path = paths::private_key(&self.0.name);
        let Some(stat) = look.view.stat(&path)? else {
            return Ok(Finding::Absent(
                "ed25519, 0600 root; its public half goes to the git host".to_owned(),
            ));
        };
        if (stat.uid, stat.gid, stat.mode) != (0, 0, 0o600) {
            return Ok(Finding::Differs(
                format!(
                    "is {:04o} {}:{}, should be 0600 root",
                    stat.mode,
                    look.view.user_name(stat.uid),
                    look.view.group_name(stat.gid)
                ),
                None,
            ));
        }
        let public = public_key(look.view, &self.0.name);
        let text = Zeroizing::new(look.view.read(&path)?.unwrap_or_default());
        let private = match PrivateKey::from_openssh(text.as_slice()) {
            Ok(key) if !key.is_encrypted() && key.algorithm() == Algorithm::Ed25519 => key,
            _ => {
                return Ok(Finding::Broken(
                    format!(
                        "{} is not an ed25519 key without a passphrase",
                        path.display()
                    ),
                    format!(
                        "it is never overwritten; if nothing needs it: sudo mv {0} {0}.old",
                        path.display()
                    ),
                ));
            }
        };
        let fingerprint = private.fingerprint(HashAlg::Sha256).to_string();
        match public {
            Ok(Some((_, theirs))) if theirs == fingerprint => {}
            _ => {
                return Ok(Finding::Differs(
                    "its public half is missing or another key's".to_owned(),
                    None,
                ));
            }
        }
        let public = paths::public_key(&self.0.name);
        if look
            .view
            .stat(&public)?
            .is_some_and(|stat| stat.mode != 0o644 || stat.uid != 0)
        {
            return Ok(Finding::Differs(
                "its public half should be 0644 root".to_owned(),
                None,
            ));
        }
        let name = &self.0.name;
        Ok(match rotation(look.view, name)? {
            Rotation::None => Finding::Holds(format!("ed25519 {fingerprint}")),
            Rotation::Begun => Finding::Warns(
                format!("ed25519 {fingerprint}, and the next key waits to take its place"),
                format!(
                    "sudo pullpray key {name} --rotate  # or, to keep the old one: sudo rm {} {}",
                    paths::next_private_key(name).display(),
                    paths::next_public_key(name).display()
                ),
            ),
            Rotation::Switched => Finding::Differs(
                "was rotated, and what is left over of that is not cleared away".to_owned(),
                None,
            ),
        })
    }

    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        let name = &self.0.name;
        make(
            changes,
            self.0,
            &paths::private_key(name),
            &paths::public_key(name),
            "",
        )?;
        if rotation(changes.server(), name)? == Rotation::Switched {
            rotation::finish(changes, self.0)?;
        }
        Ok(())
    }
}

/// Makes a pair of keys, titled as the app's with something that tells it from others. A private key that is there is kept; its owner, its mode and its public
/// half are mended.
pub(super) fn make(
    changes: &mut Changes<'_>,
    app: &App,
    private: &Path,
    public: &Path,
    distinct: &str,
) -> Result<()> {
    let old = changes.server().read(private)?.map(Zeroizing::new);
    let key = if let Some(text) = &old {
        PrivateKey::from_openssh(text.as_slice())
            .with_context(|| format!("{} is not a private key", private.display()))?
    } else {
        let hostname = nix::unistd::gethostname().context("failed to learn this server's name")?;
        let mut key =
            PrivateKey::random(&mut OsRng, Algorithm::Ed25519).context("failed to make a key")?;
        let title = render::key_title(app, &hostname.to_string_lossy());
        key.set_comment(format!("{title}{distinct}"));
        key
    };
    if old.is_some() {
        changes.adopt_file(private)?;
        changes.server().restore_mode(private, 0, 0, 0o600)?;
    } else {
        let text = key
            .to_openssh(LineEnding::LF)
            .context("failed to write the key down")?;
        // The receipt holds the public half's fingerprint in the place of a digest of the secret.
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        changes.new_file(private, text.as_bytes(), 0o600, &fingerprint)?;
    }
    changes.file(public, public_line(&key)?.as_bytes(), 0o644, (0, 0))
}

/// The public half as a file has it.
pub(super) fn public_line(key: &PrivateKey) -> Result<String> {
    let mut line = key
        .public_key()
        .to_openssh()
        .map_err(|error| anyhow!("failed to write the public key down: {error}"))?;
    line.push('\n');
    Ok(line)
}

/// One line to paste, and the fingerprint.
pub(super) fn parse_public(text: &str) -> Result<(String, String)> {
    let line = text.trim().to_owned();
    let key = PublicKey::from_openssh(&line).context("it is not a public key")?;
    Ok((line, key.fingerprint(HashAlg::Sha256).to_string()))
}
