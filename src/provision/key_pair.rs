//! Generates and reads ssh key pairs: the deploy key, or the next one during a rotation.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey};
use zeroize::Zeroizing;

use crate::app::{App, AppName};
use crate::host::View;
use crate::layout;
use crate::render;

use super::Changes;

/// Public key line and fingerprint of an app's deploy key; `None` before it is generated.
///
/// # Errors
/// When the file cannot be read or is not a public key.
pub fn public_key(view: &View, app: &AppName) -> Result<Option<(String, String)>> {
    let path = layout::public_key(app);
    let Some(text) = view.read_text(&path)? else {
        return Ok(None);
    };
    parse_public(&text)
        .map(Some)
        .with_context(|| format!("failed to read {}", path.display()))
}

/// A private key; `None` if the file does not exist.
///
/// # Errors
/// When the file cannot be read or is not a private key.
pub(super) fn private_key(view: &View, path: &Path) -> Result<Option<PrivateKey>> {
    let Some(text) = view.read(path)?.map(Zeroizing::new) else {
        return Ok(None);
    };
    let key = PrivateKey::from_openssh(text.as_slice()).map_err(anyhow::Error::msg);
    key.map(Some)
        .with_context(|| format!("{} is not a private key", path.display()))
}

/// `SHA256:…` of the public half, which the receipt stores instead of a digest of the secret.
pub(super) fn fingerprint(key: &PrivateKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// Whether the deploy key is an RSA key, and not ed25519: the git host accepts no other, or ssh's policy on this server.
pub(super) fn needs_rsa(view: &View, app: &App) -> bool {
    app.repo.needs_rsa_key() || !view.ssh_uses_ed25519()
}

/// `ed25519` or `rsa`.
pub(super) fn name_of(rsa: bool) -> &'static str {
    if rsa { "rsa" } else { "ed25519" }
}

/// Generates a key pair whose comment is the app's key title plus `suffix`. An existing private key is kept; its
/// owner, mode and public half are restored.
pub(super) fn ensure(
    changes: &mut Changes<'_>,
    app: &App,
    private: &Path,
    public: &Path,
    suffix: &str,
) -> Result<()> {
    let key = if let Some(key) = private_key(changes.context().view, private)? {
        changes.adopt(private, (0, 0), 0o600)?;
        key
    } else {
        let hostname = (changes.context().view)
            .read_text(Path::new("/proc/sys/kernel/hostname"))?
            .context("failed to read the hostname: is proc mounted?")?;
        let title = render::key_title(app, hostname.trim_end());
        let comment = format!("{title}{suffix}");
        let key = if needs_rsa(changes.context().view, app) {
            changes.generate_rsa_key(&comment)?
        } else {
            let mut key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519)
                .map_err(anyhow::Error::msg)
                .context("failed to generate a key")?;
            key.set_comment(comment);
            key
        };
        let text = key.to_openssh(LineEnding::LF).map_err(anyhow::Error::msg);
        let text = text.context("failed to encode the key")?;
        changes.new_file(private, text.as_bytes(), 0o600, &fingerprint(&key))?;
        key
    };
    changes.file(public, public_line(&key)?.as_bytes(), 0o644, (0, 0))
}

/// Content of the public key file.
pub(super) fn public_line(key: &PrivateKey) -> Result<String> {
    let mut line = key
        .public_key()
        .to_openssh()
        .map_err(|error| anyhow!("failed to encode the public key: {error}"))?;
    line.push('\n');
    Ok(line)
}

/// Public key line and fingerprint.
pub(super) fn parse_public(text: &str) -> Result<(String, String)> {
    let line = text.trim().to_owned();
    let key = PublicKey::from_openssh(&line)
        .map_err(anyhow::Error::msg)
        .context("not a public key")?;
    Ok((line, key.fingerprint(HashAlg::Sha256).to_string()))
}
