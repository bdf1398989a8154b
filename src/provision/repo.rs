//! The repository: the deploy key can read it and cannot write to it.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::app::{App, Track};
use crate::error::WithHint;
use crate::exit::Exit;
use crate::git::{self, RemoteError, SshRemote, WriteAccess};
use crate::host::View;
use crate::render;
use crate::report;
use crate::state::remote::RemoteErrorKind;
use crate::text::for_terminal;

use super::agent::has_deploy_key;
use super::host_key::PinnedHostKey;
use super::key_pair::public_key;
use super::{About, Check, CheckContext, Finding, StepId};

pub(super) struct Access<'a>(pub(super) &'a App);
pub(super) struct ReadOnly<'a>(pub(super) &'a App);

/// The remote as the app's account reaches it; `None` while the account or the ssh alias is missing.
pub(super) fn remote(view: &View, app: &App) -> Result<Option<SshRemote>> {
    if view.user(app.user.as_str()).is_none() || view.stat(&app.ssh_config())?.is_none() {
        return Ok(None);
    }
    Ok(Some(SshRemote {
        host: app.ssh_alias(),
        path: app.repo.path().to_owned(),
        run_as: Some(view.identity(app.user.as_str())?),
        ssh: view.real(Path::new("/usr/bin/ssh")),
        options: render::ssh_arguments(app),
        // The settings may still have another one.
        proxy: app.proxy.clone(),
        idle: Duration::from_secs(30),
        whole: git::QUERY_TIMEOUT,
        most: git::MAX_QUERY_BYTES,
        preempted_by: None,
    }))
}

/// The remote with the deploy key; `None` while something that it needs is missing.
pub(super) fn usable(context: &CheckContext<'_>, app: &App) -> Result<Option<SshRemote>> {
    let remote = remote(context.view, app)?;
    let ready = remote.is_some() && has_deploy_key(context, app)?;
    Ok(remote.filter(|_| ready))
}

pub(super) fn unreachable(app: &App, error: &RemoteError) -> anyhow::Error {
    let failed = report::remote::error(app, &error.failure());
    if error.kind().is_unreachable() {
        return failed.ends(Exit::Unreachable);
    }
    failed
}

/// The branches of the repository that can be read; empty if the one to follow is among them, or if it is a tag or a
/// commit.
///
/// # Errors
/// When the host cannot be asked.
pub fn other_branches(context: &CheckContext<'_>, app: &App) -> Result<Vec<String>> {
    let (Track::Branch(branch), Some(remote)) = (&app.track, usable(context, app)?) else {
        return Ok(Vec::new());
    };
    let names = git::branches(&remote).map_err(|error| unreachable(app, &error))?;
    let missing = !names.iter().any(|name| name == branch.as_str());
    Ok(names.into_iter().filter(|_| missing).collect())
}

/// `, but develop and master`; at most five, since a repository can have thousands.
fn named(branches: &[String]) -> String {
    const MOST: usize = 5;
    let shown: Vec<String> = (branches.iter().take(MOST))
        .map(|name| for_terminal(name))
        .collect();
    match branches.len().saturating_sub(MOST) {
        _ if shown.is_empty() => String::new(),
        0 => format!(", but {}", shown.join(", ")),
        more => format!(", but {} and {more} more", shown.join(", ")),
    }
}

impl Check for Access<'_> {
    fn about(&self) -> About {
        About::new(StepId::RepoAccess, &self.0.repo)
    }

    fn needs_network(&self) -> bool {
        true
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let app = self.0;
        let host = app.repo.host();
        let Some(remote) = remote(context.view, app)? else {
            let why = format!("read with the deploy key once it is added on {host}");
            return Ok(Finding::blocked(StepId::SshAlias, why));
        };
        if !has_deploy_key(context, app)? {
            let why = "read with the key in the agent";
            return Ok(Finding::blocked(StepId::AgentKey, why));
        }
        match git::describe_readable(&remote, &app.track) {
            Ok(Some(words)) => Ok(Finding::Ok(format!("reads {words}"))),
            Ok(None) => Ok(Finding::manual(
                format!(
                    "the repository can be read and {}{}",
                    app.track.missing(),
                    named(&other_branches(context, app)?)
                ),
                format!("sudo pullpray init {} {}", app.name, app.track.flag()),
            )),
            Err(error) if error.kind().is_no_access() => {
                Ok(Finding::AwaitsAccess(error.to_string()))
            }
            Err(error) => match error.kind() {
                // An error with both fingerprints instead of ssh's banner, unless the host presents the key in
                // the settings and only the pinned one differs or is missing.
                RemoteErrorKind::HostKey => PinnedHostKey(app)
                    .presented(context)
                    .map(|_| Finding::blocked(StepId::SshHostKey, "read once it is pinned")),
                _ => Err(unreachable(app, &error)),
            },
        }
    }
}

impl Check for ReadOnly<'_> {
    fn about(&self) -> About {
        About::new(StepId::RepoReadOnly, "push is refused")
    }

    fn needs_network(&self) -> bool {
        true
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let app = self.0;
        let host = app.repo.host();
        let blocked = || Finding::blocked(StepId::RepoAccess, "verified by a test push");
        let Some(remote) = usable(context, app)? else {
            return Ok(blocked());
        };
        match git::write_access(&remote) {
            Ok(WriteAccess::ReadOnly(_)) => {
                Ok(Finding::Ok(format!("{host} refuses to let it push")))
            }
            Ok(WriteAccess::Writable) => {
                let (name, repo, page) = (&app.name, app.repo.slug(), app.repo.deploy_key_page());
                let plain = match (&page, public_key(context.view, name)?) {
                    (None, Some((key, _))) => {
                        let line = render::authorized_keys_line(app, &key);
                        format!("; on a plain sshd, its line in authorized_keys: {line}")
                    }
                    _ => String::new(),
                };
                let page = page.map_or_else(|| host.to_owned(), |(page, _)| page);
                Ok(Finding::manual(
                    format!(
                        "the deploy key can push to {repo}: whoever breaks into this server could change the code"
                    ),
                    format!(
                        "sudo pullpray init {name}  # after removing the key at {page} and adding it again without write access{plain}"
                    ),
                ))
            }
            Ok(WriteAccess::Unproven(words)) => {
                Ok(Finding::Unproven(format!("could not be verified: {words}")))
            }
            Err(error)
                if error.kind().is_no_access() || error.kind() == RemoteErrorKind::HostKey =>
            {
                Ok(blocked())
            }
            Err(error) => Err(unreachable(app, &error)),
        }
    }
}
