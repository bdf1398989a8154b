//! Signatures of fetched commits and tags, verified as git does it: those of ssh against the lists of allowed signers, by
//! ssh-keygen; those of OpenPGP against keyrings, by gpgv. So whatever ssh-keygen verifies is supported, certificates and
//! hardware keys too, and a list means what it means to git: each valid line permits a key, and ssh-keygen skips an
//! invalid one. Its exit status decides; its words are only quoted as the reason of a refusal.
//!
//! A signed tag covers its name and its commit. So for an annotated tag that is signed, its signature decides, and its
//! own name must be the name it was found under: a compromised git host could offer an old signed tag under a new name.
//! For a tag without a signature, the commit's decides.
//!
//! A key or certificate must be valid at the time that the commit or tag states (`-Overify-time`), as for
//! `git verify-commit`; otherwise every commit would lose its signature when its author's key expires. The signer chooses
//! that time. So `valid-before` retires the key of an honest owner; a stolen key must be removed from the list, since a
//! thief can backdate commits.
//!
//! An OpenPGP key counts with all that its keyring says of it: subkeys that may sign, expiry, revocation. As for
//! `git verify-commit`, gpgv's exit status and status lines decide: exactly one signature, by a key that is valid now.
//! So nothing counts any more that a key signed before it expired. Unlike git, pullpray refuses SHA-1 and RIPEMD-160.

use anyhow::Result;

use crate::app::AbsPath;
use crate::decide::Signature;
use crate::git::{Mirror, MirrorError, Oid, Signed};
use crate::host::{SshSignature, View};

mod signers;

use signers::Signers;

/// How OpenPGP signatures begin, and others do not (git's gpg-interface.c).
const OPENPGP: [&str; 2] = [
    "-----BEGIN PGP SIGNATURE-----",
    "-----BEGIN PGP MESSAGE-----",
];

/// Who may sign, by the settings.
#[derive(Debug, Clone)]
pub enum Trust {
    /// No signature is required.
    Anybody,
    /// The signers that the files of the settings list.
    Listed(Signers),
    /// A file cannot be used, so nothing is accepted; why.
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
        commit: Oid,
        object: Oid,
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
    /// Reads the files that the settings name, if any. One that others than root can modify is not used: it would let
    /// them sign for anybody.
    pub fn read(view: &View, files: &[AbsPath]) -> Self {
        if files.is_empty() {
            return Self::Anybody;
        }
        match Signers::read(view, files) {
            Ok(signers) => Self::Listed(signers),
            Err(why) => Self::Nobody(why),
        }
    }

    /// The digests of the files, or the error; to notice a change.
    pub fn text(&self) -> &str {
        match self {
            Self::Anybody => "",
            Self::Listed(signers) => &signers.digests,
            Self::Nobody(why) => why,
        }
    }

    /// Whether gpgv is needed to verify signatures.
    pub fn has_keyring(&self) -> bool {
        matches!(self, Self::Listed(signers) if !signers.openpgp.is_empty())
    }

    /// The signature check before the fetch.
    pub fn preliminary(&self) -> Signature {
        match self {
            Self::Anybody | Self::Listed(_) => Signature::NotChecked,
            Self::Nobody(why) => Signature::Refused(why.clone()),
        }
    }

    /// Verifies the fetched object, which is read only if a signature is required.
    ///
    /// # Errors
    /// When it cannot be read, or the program that verifies is missing, fails or is too old.
    pub fn verify(
        &self,
        view: &View,
        fetched: impl FnOnce() -> Result<SignedObject>,
    ) -> Result<Signature> {
        match self {
            Self::Listed(signers) => verify(view, &fetched()?, signers),
            Self::Anybody | Self::Nobody(_) => Ok(self.preliminary()),
        }
    }
}

/// Verifies an object.
fn verify(view: &View, object: &SignedObject, signers: &Signers) -> Result<Signature> {
    let judge = |signed| signer(view, signed, signers);
    let signed_tag = object.tag.as_ref();
    let principal = match signed_tag.filter(|(tag, _)| tag.signature.is_some()) {
        Some((tag, name)) if tag.tag.as_ref() != Some(name) => Err(format!(
            "the tag {name} is signed as {:?}: it was renamed",
            tag.tag.as_deref().unwrap_or_default()
        )),
        Some((tag, name)) => judge(tag)?.map_err(|why| format!("the tag {name} {why}")),
        None => judge(&object.commit)?.map_err(|why| match &object.tag {
            Some((_, name)) => format!("the tag {name} is not signed, and the commit {why}"),
            None => format!("the commit {why}"),
        }),
    };
    Ok(principal.map_or_else(Signature::Refused, Signature::Trusted))
}

/// The principal that signed it, or why there is none, as the rest of a sentence after "the commit".
fn signer(view: &View, signed: &Signed, signers: &Signers) -> Result<Result<String, String>> {
    let Some(armoured) = &signed.signature else {
        return Ok(Err("is not signed".to_owned()));
    };
    if armoured.starts_with(b"-----BEGIN SIGNED MESSAGE-----") {
        let why = "is signed with X.509, but pullpray accepts SSH and OpenPGP signatures only";
        return Ok(Err(why.to_owned()));
    }
    let is_openpgp = OPENPGP
        .iter()
        .any(|mark| armoured.starts_with(mark.as_bytes()));
    if is_openpgp && signers.openpgp.is_empty() {
        let why = "is signed with OpenPGP, but signed_by names no OpenPGP keyring";
        return Ok(Err(why.to_owned()));
    }
    if is_openpgp {
        let answer = view.verify_openpgp(&signers.openpgp, armoured, &signed.payload)?;
        return Ok(answer.map_err(|why| {
            format!("has no OpenPGP signature that the keyrings of signed_by permit: {why}")
        }));
    }
    let Some(time) = signed.time else {
        return Ok(Err("is signed but has no readable date".to_owned()));
    };
    let signature = SshSignature {
        armoured,
        list: &signers.ssh,
        time,
    };
    let mut denied = String::new();
    match view.find_principals(&signature)? {
        Ok(principals) => {
            for principal in principals.lines().filter(|line| !line.is_empty()) {
                match view.verify_signature(&signature, &signed.payload, principal)? {
                    Ok(_) => return Ok(Ok(principal.to_owned())),
                    Err(why) => denied = why,
                }
            }
        }
        Err(why) => denied = why,
    }
    Ok(Err(
        match view.check_signature(&signature, &signed.payload)? {
            Ok(key) => {
                format!(
                    "is signed with the key {key}, which the list of allowed signers does not permit{denied}"
                )
            }
            Err(why) => format!("has an invalid signature{why}"),
        },
    ))
}

#[cfg(test)]
mod tests;
