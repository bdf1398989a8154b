//! The deploy key: generated once, readable by root only, never overwritten.

use anyhow::Result;
use ssh_key::Algorithm;

use crate::app::App;
use crate::host::AgentKey;
use crate::layout;
use crate::render;

use super::agent;
use super::finding::wrong_owner;
use super::key_pair::{ensure, fingerprint, name_of, needs_rsa, private_key, public_key};
use super::rotation::{self, Rotation, rotation};
use super::{About, Changes, Check, CheckContext, Finding, Fix, StepId};

pub(super) struct DeployKey<'a>(pub(super) &'a App);

impl DeployKey<'_> {
    /// The deploy key loaded in the agent: the one that matches the public key file, or has the app's key title.
    fn loaded(&self, context: &CheckContext<'_>) -> Result<Option<AgentKey>> {
        let public = public_key(context.view, &self.0.name).ok().flatten();
        let title = render::key_title(self.0, "");
        let mut keys = agent::loaded_keys(context, self.0)?.into_iter();
        Ok(keys.find(|key| match &public {
            Some((_, fingerprint)) => key.fingerprint == *fingerprint,
            None => key.comment.starts_with(&title),
        }))
    }

    /// Finding for a key whose file is missing but which is still loaded in the agent. A new key would restart the agent and
    /// be unknown to the git host. ssh can still select the loaded one by its public half.
    fn only_in_agent(&self, context: &CheckContext<'_>) -> Result<Option<Finding>> {
        let name = &self.0.name;
        if self.loaded(context)?.is_none() {
            return Ok(None);
        }
        let Ok(Some(_)) = public_key(context.view, name) else {
            let what = "is only in the agent, and its public half is missing";
            return Ok(Some(Finding::differs(what)));
        };
        let path = layout::private_key(name);
        Ok(Some(Finding::manual(
            format!(
                "{} does not exist: only the agent still has the key, which cannot be exported. Polls work until the agent stops",
                path.display()
            ),
            format!("sudo pullpray key {name} --rotate"),
        )))
    }
}

impl Check for DeployKey<'_> {
    fn about(&self) -> About {
        let path = layout::private_key(&self.0.name);
        About::new(StepId::KeyDeploy, path.display())
    }

    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let path = layout::private_key(&self.0.name);
        let Some(stat) = context.view.stat(&path)? else {
            if let Some(finding) = self.only_in_agent(context)? {
                return Ok(finding);
            }
            let kind = name_of(needs_rsa(context.view, self.0));
            return Ok(Finding::Absent(format!(
                "{kind}, 0600 root; add its public half on the git host"
            )));
        };
        if let Some(what) = wrong_owner(context.view, &stat, 0, 0o600) {
            return Ok(Finding::differs(what));
        }
        let (rsa, fingerprint) = match private_key(context.view, &path) {
            // Only root can read it: unknown, not broken.
            Err(error) if error.is::<std::io::Error>() => return Err(error),
            Ok(Some(key))
                if matches!(key.algorithm(), Algorithm::Ed25519 | Algorithm::Rsa { .. })
                    && !key.is_encrypted() =>
            {
                (key.algorithm() != Algorithm::Ed25519, fingerprint(&key))
            }
            _ => {
                let path = path.display();
                return Ok(Finding::manual(
                    format!("{path} is not an unencrypted ed25519 or rsa key"),
                    format!(
                        "sudo mv {path} {path}.old  # if nothing needs it; pullpray never overwrites it"
                    ),
                ));
            }
        };
        let public = public_key(context.view, &self.0.name).ok().flatten();
        if public.is_none_or(|(_, found)| found != fingerprint) {
            let what = "its public half is missing or does not match";
            return Ok(Finding::differs(what));
        }
        let public = context.view.stat(&layout::public_key(&self.0.name))?;
        if public.is_some_and(|stat| stat.mode != 0o644 || stat.uid != 0) {
            return Ok(Finding::differs("its public half should be 0644 root"));
        }
        let (name, kind) = (&self.0.name, name_of(rsa));
        Ok(match rotation(context.view, name)? {
            // No failure: the settings and the alias, which the rotation needs, come from later steps of the same plan.
            Rotation::None if !rsa && needs_rsa(context.view, self.0) => {
                let who = if self.0.repo.needs_rsa_key() {
                    format!("{} accepts", self.0.repo.host())
                } else {
                    "ssh's PubkeyAcceptedAlgorithms accept".to_owned()
                };
                let way = format!("sudo pullpray key {name} --rotate  # makes an RSA key");
                Finding::warning(format!("{who} no ed25519 key such as {fingerprint}"), way)
            }
            Rotation::None => Finding::Ok(format!("{kind} {fingerprint}")),
            Rotation::Begun => Finding::warning(
                format!("{kind} {fingerprint}; a rotation to the next key has begun"),
                format!(
                    "sudo pullpray key {name} --rotate  # to cancel and keep the old key: sudo rm {} {}",
                    layout::next_private_key(name).display(),
                    layout::next_public_key(name).display()
                ),
            ),
            Rotation::Switched => {
                Finding::differs("was rotated, and leftover files need cleaning up")
            }
        })
    }
}

impl Fix for DeployKey<'_> {
    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        let name = &self.0.name;
        let context = changes.context();
        if context.view.stat(&layout::private_key(name))?.is_none()
            && let Some(key) = self.loaded(&context)?
        {
            let line = format!("{} pullpray {name}\n", key.public);
            return changes.file(&layout::public_key(name), line.as_bytes(), 0o644, (0, 0));
        }
        let (private, public) = (layout::private_key(name), layout::public_key(name));
        ensure(changes, self.0, &private, &public, "")?;
        if rotation(changes.context().view, name)? == Rotation::Switched {
            rotation::finish(changes, self.0)?;
        }
        Ok(())
    }
}
