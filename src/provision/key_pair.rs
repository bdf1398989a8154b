//! A pair of ssh keys on this server: made, read, and its public half written down. Whose it is, the
//! deploy key or the next one, is the caller's to say.

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

/// The public half of an app's deploy key, as one line to paste; `None` before it is made.
///
/// # Errors
/// When it cannot be read or is no key.
pub fn public_key(view: &View, app: &AppName) -> Result<Option<(String, String)>> {
    let path = layout::public_key(app);
    let Some(text) = view.read_text(&path)? else {
        return Ok(None);
    };
    parse_public(&text)
        .map(Some)
        .with_context(|| format!("failed to read {}", path.display()))
}

/// Makes a pair of keys, titled as the app's with something that tells it from others. A private key
/// that is there is kept; its owner, its mode and its public half are mended.
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
