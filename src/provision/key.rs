//! The deploy key: made once, root's alone, never overwritten.

use anyhow::Result;
use ssh_key::{Algorithm, HashAlg, PrivateKey};
use zeroize::Zeroizing;

use crate::app::App;
use crate::host::AgentKey;
use crate::layout;
use crate::render;

use super::agent;
use super::key_pair::{make, public_key};
use super::rotation::{self, Rotation, rotation};
use super::{Changes, CheckContext, Finding, PlanItem, Step, StepId};

pub(super) struct DeployKey<'a>(pub(super) &'a App);

impl DeployKey<'_> {
    /// The deploy key as the agent holds it: the one of the public half, or what bears the app's title.
    fn held(&self, context: &CheckContext<'_>) -> Result<Option<AgentKey>> {
        let public = public_key(context.view, &self.0.name).ok().flatten();
        let title = render::key_title(self.0, "");
        let mut held = agent::loaded_keys(context, self.0)?.into_iter();
        Ok(held.find(|key| match &public {
            Some((_, its)) => key.fingerprint == *its,
            None => key.comment.starts_with(&title),
        }))
    }

    /// With its file gone, the key is in the agent alone. Another one would be unknown to the git host, and the agent
    /// would be started anew with it. ssh finds it there by its public half, which the agent shows.
    fn left_with_the_agent(&self, context: &CheckContext<'_>) -> Result<Option<Finding>> {
        let name = &self.0.name;
        Ok(
            match (self.held(context)?, public_key(context.view, name)) {
                (None, _) => None,
                (Some(_), Ok(Some(_))) => Some(Finding::ManualFix(
                    format!(
                        "{} is gone, and the agent holds the key as long as it runs: polls go on until then, and nobody gets it out of there",
                        layout::private_key(name).display()
                    ),
                    format!("sudo pullpray key {name} --rotate"),
                )),
                (Some(_), _) => Some(Finding::Differs(
                    "is in the agent alone, and its public half is missing".to_owned(),
                    None,
                )),
            },
        )
    }
}

impl Step for DeployKey<'_> {
    fn id(&self) -> StepId {
        StepId::KeyDeploy
    }
    fn title(&self) -> String {
        "deploy key".to_owned()
    }
    fn plan_item(&self) -> PlanItem {
        PlanItem {
            kind: "key",
            what: layout::private_key(&self.0.name).display().to_string(),
        }
    }

    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let path = layout::private_key(&self.0.name);
        let Some(stat) = context.view.stat(&path)? else {
            if let Some(finding) = self.left_with_the_agent(context)? {
                return Ok(finding);
            }
            return Ok(Finding::Absent(
                "ed25519, 0600 root; its public half goes to the git host".to_owned(),
            ));
        };
        if (stat.uid, stat.gid, stat.mode) != (0, 0, 0o600) {
            return Ok(Finding::Differs(
                format!(
                    "is {:04o} {}:{}, should be 0600 root",
                    stat.mode,
                    context.view.user_name(stat.uid),
                    context.view.group_name(stat.gid)
                ),
                None,
            ));
        }
        let public = public_key(context.view, &self.0.name);
        let text = Zeroizing::new(context.view.read(&path)?.unwrap_or_default());
        let private = match PrivateKey::from_openssh(text.as_slice()) {
            Ok(key) if !key.is_encrypted() && key.algorithm() == Algorithm::Ed25519 => key,
            _ => {
                return Ok(Finding::ManualFix(
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
        let public = layout::public_key(&self.0.name);
        if context
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
        Ok(match rotation(context.view, name)? {
            Rotation::None => Finding::Ok(format!("ed25519 {fingerprint}")),
            Rotation::Begun => Finding::Warning(
                format!("ed25519 {fingerprint}, and the next key waits to take its place"),
                format!(
                    "sudo pullpray key {name} --rotate  # or, to keep the old one: sudo rm {} {}",
                    layout::next_private_key(name).display(),
                    layout::next_public_key(name).display()
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
        if changes.server().stat(&layout::private_key(name))?.is_none()
            && let Some(key) = self.held(&changes.context())?
        {
            let line = format!("{} pullpray {name}\n", key.public);
            return changes.file(&layout::public_key(name), line.as_bytes(), 0o644, (0, 0));
        }
        make(
            changes,
            self.0,
            &layout::private_key(name),
            &layout::public_key(name),
            "",
        )?;
        if rotation(changes.server(), name)? == Rotation::Switched {
            rotation::finish(changes, self.0)?;
        }
        Ok(())
    }
}
