//! Signatures of fetched commits and tags, verified against the list of allowed signers.
//!
//! [`Trust::read`] and [`SignedObject::read`] read, [`verify`] is pure.
//!
//! A signed tag covers its name and its commit. So for an annotated tag that is signed, its signature decides, and its
//! own name must be the name it was found under: a compromised git host could offer an old signed tag under a new name.
//! For a tag without a signature, the commit's decides.
//!
//! A key must be valid at the time that the commit or tag states, as `git verify-commit` passes it to ssh-keygen
//! (`-Overify-time`); otherwise every commit would lose its signature when its author's key expires. The signer chooses
//! that time. So `valid-before` retires the key of an honest owner; a stolen key must be removed from the list, since a
//! thief can backdate commits.

use std::path::Path;

use anyhow::Result;
use chrono::{DateTime, FixedOffset, Local};
use ssh_key::{Algorithm, HashAlg, PublicKey, SshSig};

use crate::git::{Mirror, MirrorError, Signed};
use crate::host::View;

#[cfg(test)]
mod fuzz;
mod signers;

pub use signers::Signers;

use crate::decide::Signature;

/// The namespace that git signs in (gitformat-signature(5)).
const NAMESPACE: &str = "git";

/// Who may sign, by the settings.
#[derive(Debug, Clone)]
pub enum Trust {
    /// No signature is required.
    Anybody,
    /// The signers of this list; with its text.
    Listed(Signers, String),
    /// The list cannot be used, so nothing is accepted; why.
    Nobody(String),
}

/// A fetched commit, and the tag that points to it.
#[derive(Debug, Clone)]
pub struct SignedObject {
    /// The annotated tag, with the name it was found under.
    tag: Option<(Signed, String)>,
    commit: Signed,
}

impl SignedObject {
    /// Reads the commit and its tag, if there is one, from the mirror.
    pub fn read(
        mirror: &Mirror,
        commit: git2::Oid,
        object: git2::Oid,
        name: &str,
    ) -> Result<Self, MirrorError> {
        let tag = mirror.signed_tag(object)?;
        Ok(Self {
            tag: tag.map(|tag| (tag, name.to_owned())),
            commit: mirror.signed_commit(commit)?,
        })
    }
}

impl Trust {
    /// Reads the list, if the settings name one. One that others than root can modify is not used: it would let them
    /// sign for anybody.
    pub fn read(view: &View, list: Option<&Path>) -> Self {
        let Some(list) = list else {
            return Self::Anybody;
        };
        match read(view, list) {
            Ok((signers, text)) => Self::Listed(signers, text),
            Err(why) => Self::Nobody(why),
        }
    }

    /// The list's text, or the error; to notice a change.
    pub fn text(&self) -> &str {
        match self {
            Self::Anybody => "",
            Self::Listed(_, text) | Self::Nobody(text) => text,
        }
    }

    /// The signature check before the fetch.
    pub fn preliminary(&self) -> Signature {
        match self {
            Self::Anybody | Self::Listed(..) => Signature::NotChecked,
            Self::Nobody(why) => Signature::Refused(why.clone()),
        }
    }

    /// Verifies the fetched object, which is read only if a signature is required.
    pub fn verify(&self, fetched: impl FnOnce() -> Result<SignedObject>) -> Result<Signature> {
        Ok(match self {
            Self::Listed(signers, _) => verify(&fetched()?, signers, local),
            Self::Anybody | Self::Nobody(_) => self.preliminary(),
        })
    }
}

/// Verifies an object. `local` converts Unix time to this server's local time.
fn verify(
    object: &SignedObject,
    signers: &Signers,
    local: impl Fn(i64) -> Option<DateTime<FixedOffset>>,
) -> Signature {
    let signed_tag = object.tag.as_ref();
    let principals = match signed_tag.filter(|(tag, _)| tag.signature.is_some()) {
        Some((tag, name)) if tag.tag.as_ref() != Some(name) => Err(format!(
            "the tag {name} is signed as {:?}: it was renamed",
            tag.tag.as_deref().unwrap_or_default()
        )),
        Some((tag, name)) => {
            signer(tag, signers, local).map_err(|why| format!("the tag {name} {why}"))
        }
        None => signer(&object.commit, signers, local).map_err(|why| match &object.tag {
            Some((_, name)) => format!("the tag {name} is not signed, and the commit {why}"),
            None => format!("the commit {why}"),
        }),
    };
    match principals {
        Ok(principals) => Signature::Trusted(principals),
        Err(why) => Signature::Refused(why),
    }
}

/// Converts Unix time to local time.
fn local(seconds: i64) -> Option<DateTime<FixedOffset>> {
    let time = DateTime::from_timestamp(seconds, 0)?;
    Some(time.with_timezone(&Local).fixed_offset())
}

/// The list and its text, or why it cannot be used.
fn read(view: &View, list: &Path) -> Result<(Signers, String), String> {
    let path = list.display();
    match view.stat_target(list) {
        Ok(Some(_)) => {}
        Ok(None) => return Err(format!("the list of allowed signers, {path}, is missing")),
        Err(error) => return Err(format!("{error:#}")),
    }
    match view.first_changeable(list) {
        Ok(None) => {}
        Ok(Some(part)) => {
            return Err(format!(
                "{path} lists the allowed signers, but not only root can modify {0}: sudo chown root {0} && sudo chmod go-w {0}",
                part.display()
            ));
        }
        Err(error) => return Err(format!("{error:#}")),
    }
    let text = match view.read_text(list) {
        Ok(text) => text.unwrap_or_default(),
        Err(error) => {
            return Err(format!(
                "{error:#}; polls run as the app's account: sudo chmod a+r {path}"
            ));
        }
    };
    let signers = Signers::parse(&text)
        .map_err(|why| format!("the list of allowed signers, {path}, is invalid: {why}"))?;
    Ok((signers, text))
}

/// The principals that signed it, or why there are none, as the rest of a sentence after "the commit".
fn signer(
    signed: &Signed,
    signers: &Signers,
    local: impl Fn(i64) -> Option<DateTime<FixedOffset>>,
) -> Result<String, String> {
    let Some(armoured) = &signed.signature else {
        return Err("is not signed".to_owned());
    };
    let begins = |mark: &str| armoured.starts_with(mark.as_bytes());
    if begins("-----BEGIN PGP ") {
        return Err("is signed with OpenPGP, but pullpray accepts SSH signatures only".to_owned());
    }
    if begins("-----BEGIN SIGNED MESSAGE-----") {
        return Err("is signed with X.509, but pullpray accepts SSH signatures only".to_owned());
    }
    let signature = SshSig::from_pem(armoured).map_err(|error| {
        format!("has a signature that cannot be read ({error}; certificates are not supported)")
    })?;
    let key = signature.public_key();
    let fingerprint = key.fingerprint(HashAlg::Sha256);
    if !signers.lists(key) {
        let authorities = match signers.authorities() {
            0 => "",
            _ => " (certificate authorities are not supported)",
        };
        return Err(format!(
            "is signed with the key {fingerprint}, which is not in the list of allowed signers{authorities}"
        ));
    }
    if signature.namespace() != NAMESPACE {
        return Err(format!(
            "has a signature for {:?}, not for {NAMESPACE:?}",
            signature.namespace()
        ));
    }
    // Without a hash it would be ssh-rsa's SHA-1, which OpenSSH rejects.
    if signature.algorithm() == (Algorithm::Rsa { hash: None }) {
        return Err("is signed with SHA-1, which is not secure".to_owned());
    }
    PublicKey::from(key.clone())
        .verify(NAMESPACE, &signed.payload, &signature)
        .map_err(|_| {
            format!(
                "does not match its signature by the key {fingerprint}: one of them was altered"
            )
        })?;
    let at = signed
        .time
        .and_then(local)
        .ok_or("is signed but has no readable date")?;
    signers
        .who(key, NAMESPACE, at)
        .map(str::to_owned)
        .map_err(|why| {
            format!(
                "is signed at {}, and {why}",
                at.format("%Y-%m-%d %H:%M %:z")
            )
        })
}

#[cfg(test)]
mod tests;
