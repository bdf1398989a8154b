//! Signatures of fetched commits and tags, verified against the list of allowed signers by ssh-keygen, as git does it. So
//! whatever ssh-keygen verifies is supported, certificates and hardware keys too, and a list means what it means to git:
//! each valid line permits a key, and ssh-keygen skips an invalid one. Its exit status decides; its words are only quoted
//! as the reason of a refusal.
//!
//! A signed tag covers its name and its commit. So for an annotated tag that is signed, its signature decides, and its
//! own name must be the name it was found under: a compromised git host could offer an old signed tag under a new name.
//! For a tag without a signature, the commit's decides.
//!
//! A key or certificate must be valid at the time that the commit or tag states (`-Overify-time`), as for
//! `git verify-commit`; otherwise every commit would lose its signature when its author's key expires. The signer chooses
//! that time. So `valid-before` retires the key of an honest owner; a stolen key must be removed from the list, since a
//! thief can backdate commits.

use std::path::Path;

use anyhow::Result;

use crate::decide::Signature;
use crate::git::{Mirror, MirrorError, Oid, Signed};
use crate::host::{SshSignature, View};

/// Who may sign, by the settings.
#[derive(Debug, Clone)]
pub enum Trust {
    /// No signature is required.
    Anybody,
    /// The signers of the list with this text.
    Listed(String),
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
    /// Reads the list, if the settings name one. One that others than root can modify is not used: it would let them
    /// sign for anybody.
    pub fn read(view: &View, list: Option<&Path>) -> Self {
        let Some(list) = list else {
            return Self::Anybody;
        };
        match read(view, list) {
            Ok(text) => Self::Listed(text),
            Err(why) => Self::Nobody(why),
        }
    }

    /// The list's text, or the error; to notice a change.
    pub fn text(&self) -> &str {
        match self {
            Self::Anybody => "",
            Self::Listed(text) | Self::Nobody(text) => text,
        }
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
    /// When it cannot be read, or ssh-keygen cannot be run or is too old.
    pub fn verify(
        &self,
        view: &View,
        fetched: impl FnOnce() -> Result<SignedObject>,
    ) -> Result<Signature> {
        match self {
            Self::Listed(list) => verify(view, &fetched()?, list),
            Self::Anybody | Self::Nobody(_) => Ok(self.preliminary()),
        }
    }
}

/// Verifies an object.
fn verify(view: &View, object: &SignedObject, list: &str) -> Result<Signature> {
    let judge = |signed| signer(view, signed, list);
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

/// The text of the list, or why it cannot be used.
fn read(view: &View, list: &Path) -> Result<String, String> {
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
    match view.read_text(list) {
        Ok(text) => Ok(text.unwrap_or_default()),
        Err(error) => Err(format!(
            "{error:#}; polls run as the app's account: sudo chmod a+r {path}"
        )),
    }
}

/// The principal that signed it, or why there is none, as the rest of a sentence after "the commit".
fn signer(view: &View, signed: &Signed, list: &str) -> Result<Result<String, String>> {
    let Some(armoured) = &signed.signature else {
        return Ok(Err("is not signed".to_owned()));
    };
    for (mark, format) in [("PGP ", "OpenPGP"), ("SIGNED MESSAGE-----", "X.509")] {
        if armoured.starts_with(format!("-----BEGIN {mark}").as_bytes()) {
            return Ok(Err(format!(
                "is signed with {format}, but pullpray accepts SSH signatures only"
            )));
        }
    }
    let Some(time) = signed.time else {
        return Ok(Err("is signed but has no readable date".to_owned()));
    };
    let signature = SshSignature {
        armoured,
        list,
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
