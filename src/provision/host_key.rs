//! The git host's key, pinned in the app's own known_hosts file.
//!
//! A key is pinned only if its fingerprint was given or confirmed, and a changed key is never accepted
//! automatically: the fingerprint in the settings decides.

use anyhow::{Context, Result, anyhow, bail};

use crate::app::{Answers, App, AppName, Proxy, RepoUrl, SshHost};
use crate::error::WithHint;
use crate::git;
use crate::host::{GitHost, HostKey, View, effective_uid};
use crate::layout;
use crate::render;
use crate::report;

use super::finding::wrong_owner;
use super::{About, Changes, Check, CheckContext, Finding, Fix, StepId};

pub(super) struct PinnedHostKey<'a>(pub(super) &'a App);

/// The keys that the git host shows on the way that polls take, up to the one in the settings.
pub(super) fn host_keys(view: &View, app: &App) -> Result<Vec<HostKey>> {
    let user = app.user.as_str();
    // Before the alias there is no agent either, and a jump host may want the key in it: root asks then.
    let known = effective_uid() == 0
        && view.user(user).is_some()
        && view.stat(&app.ssh_config())?.is_some();
    let account = known.then(|| view.identity(user)).transpose()?;
    let host = GitHost {
        alias: &app.ssh_alias(),
        name: app.ssh_place().0,
        port: app.ssh_place().1,
        options: render::ssh_arguments(app),
        run_as: account.as_ref(),
        proxy: app.proxy.as_ref(),
    };
    let shown = view.host_keys(&host, Some(app.host_key.as_str()));
    let saved = view.stat(&layout::settings(&app.name))?.map(|_| &app.name);
    shown.map_err(|error| explained(view, error, &app.repo, app.ssh_place(), saved))
}

/// The first key that the host of a repository shows, before there is an app.
///
/// # Errors
/// When the host shows none.
pub fn first_host_key(view: &View, repo: &RepoUrl, answers: &Answers) -> Result<HostKey> {
    let proxy: Option<Proxy> = answers.get("proxy").and_then(|text| text.parse().ok());
    let other: Option<SshHost> = answers.get("ssh_host").and_then(|text| text.parse().ok());
    let place = match &other {
        Some(other) => (other.host.as_str(), other.port),
        None => (repo.host(), repo.port()),
    };
    let program = view.own_program()?;
    let host = GitHost {
        alias: repo.host(),
        name: place.0,
        port: place.1,
        options: render::ssh_arguments_for(repo, proxy.as_ref(), other.as_ref(), &program),
        run_as: None,
        proxy: proxy.as_ref(),
    };
    let keys = view.host_keys(&host, None);
    let keys = keys.map_err(|error| explained(view, error, repo, place, None))?;
    keys.into_iter().next().context("no host key")
}

/// What a proxy answers, or what to check if a git host shows no key.
fn explained(
    view: &View,
    error: anyhow::Error,
    repo: &RepoUrl,
    place: (&str, u16),
    app: Option<&AppName>,
) -> anyhow::Error {
    let words = error.to_string();
    let kind = git::kind_of(&words);
    if !kind.is_of_proxy() {
        let proxy = view.known_proxy();
        let proxy = proxy.map(|(proxy, found)| format!("; {found} names {proxy}"));
        return error.hint(way_to(repo, place) + &proxy.unwrap_or_default());
    }
    let own = report::remote::own_words(&words);
    anyhow!("could not reach {}: {own}", repo.host())
        .hint(report::remote::proxy_hint(kind, repo, place, app))
}

/// What to check if a git host shows no key.
fn way_to(repo: &RepoUrl, (host, port): (&str, u16)) -> String {
    if repo.may_be_alias() {
        return format!(
            "if {host} is an alias in your ssh_config, write what it stands for (ssh -G {host}): the app's account does not read your ssh_config; through a jump host or proxy: --proxy"
        );
    }
    format!(
        "check the name, and that this server may connect to it: ssh-keyscan -p {port} {host}; through a jump host or proxy: --proxy"
    )
}

impl PinnedHostKey<'_> {
    /// The key that the host presents, if it has the fingerprint in the settings.
    pub(super) fn presented(&self, context: &CheckContext<'_>) -> Result<HostKey> {
        let (repo, wanted) = (&self.0.repo, self.0.host_key.as_str());
        let keys = host_keys(context.view, self.0)?;
        if let Some(key) = keys.iter().find(|key| key.fingerprint == wanted) {
            return Ok(key.clone());
        }
        let presented: Vec<String> = keys
            .iter()
            .map(|key| format!("{} ({})", key.fingerprint, key.algorithm()))
            .collect();
        bail!(
            "{} presents an unexpected host key: expected {wanted}, got {}. The fingerprint was mistyped, the host has a new key, or somebody intercepts the connection. Once you have verified the new key: sudo pullpray init {} --host-key {}",
            repo.host(),
            presented.join(", "),
            self.0.name,
            keys.first().map_or("SHA256:…", |key| &key.fingerprint),
        )
    }
}

impl Check for PinnedHostKey<'_> {
    fn about(&self) -> About {
        let path = layout::known_hosts(&self.0.name);
        About {
            title: format!("host key of {}", self.0.repo.host()),
            ..About::new(StepId::SshHostKey, path.display())
        }
    }

    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let path = layout::known_hosts(&self.0.name);
        let wanted = self.0.host_key.as_str();
        let name = self.0.repo.known_hosts_name();
        let text = context.view.read_text(&path)?.unwrap_or_default();
        let pinned = context.view.pinned_host_keys(&text, &name);
        if pinned.iter().any(|key| key.fingerprint == wanted) {
            let stat = context.view.stat(&path)?;
            let wrong = stat.and_then(|stat| wrong_owner(context.view, &stat, 0, 0o644));
            return Ok(wrong.map_or_else(|| Finding::ok(wanted), Finding::differs));
        }
        let other = (pinned.first())
            .map(|key| format!("{} is pinned, the settings say {wanted}", key.fingerprint));
        if context.offline {
            let why = other.unwrap_or_else(|| format!("no key is pinned for {name}"));
            let (app, id) = (&self.0.name, self.id());
            let remedy = format!("sudo pullpray doctor {app} --fix --only {id}");
            return Ok(Finding::manual(why, remedy));
        }
        // Scan now, so that a wrong fingerprint or an unreachable host stops init before any change.
        let presented = self.presented(context)?;
        let (algorithm, fingerprint) = (presented.algorithm(), &presented.fingerprint);
        Ok(match other {
            Some(what) => Finding::differs(what),
            None => Finding::Absent(format!("adds one line: {algorithm} {fingerprint}")),
        })
    }
}

impl Fix for PinnedHostKey<'_> {
    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        let path = layout::known_hosts(&self.0.name);
        let key = self.presented(&changes.context())?;
        let line = render::known_hosts_line(self.0, &key.key);
        let name = self.0.repo.known_hosts_name();
        let view = changes.context().view;
        let old = view.read_text(&path)?.unwrap_or_default();
        // Drop lines that pin another key of this host; keep everything else.
        let mut text: String = old
            .lines()
            .filter(|line| view.pinned_host_keys(line, &name).is_empty())
            .flat_map(|line| [line, "\n"])
            .collect();
        text.push_str(&line);
        text.push('\n');
        changes.line(&path, &line, &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_a_dot_may_be_an_alias() -> Result<()> {
        for (url, words) in [
            ("work:acme/todo.git", "ssh -G work"),
            ("ssh://git@git.corp:2222/x", "ssh-keyscan -p 2222 git.corp"),
        ] {
            let repo: RepoUrl = url.parse()?;
            let hint = way_to(&repo, (repo.host(), repo.port()));
            assert!(hint.contains(words), "{hint}");
        }
        Ok(())
    }
}
