//! Checks of the git host that only doctor runs: its host key, and what the deploy key opens.

use anyhow::Result;

use crate::app::{App, AppName, RepoUrl, Settings};
use crate::git;
use crate::host::View;
use crate::layout;
use crate::state::remote::RemoteErrorKind;

use super::host_key::host_keys;
use super::{About, Check, CheckContext, Finding, StepId, repo};

pub(super) struct PresentedHostKey<'a>(pub(super) &'a App);
pub(super) struct OnlyThisRepository<'a>(pub(super) &'a App);

impl Check for PresentedHostKey<'_> {
    fn about(&self) -> About {
        About::new(StepId::SshHostKeyShown, self.0.repo.host())
    }
    fn needs_network(&self) -> bool {
        true
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let (repo, wanted) = (&self.0.repo, self.0.host_key.as_str());
        let keys = host_keys(context.view, self.0)?;
        if keys.iter().any(|key| key.fingerprint == wanted) {
            return Ok(Finding::Ok(wanted.to_owned()));
        }
        let (host, app) = (repo.host(), &self.0.name);
        let shown = keys.first().map_or("", |key| &key.fingerprint);
        Ok(Finding::manual(
            format!(
                "{host} presents {shown}, but {wanted} is pinned: its key has changed, or somebody intercepts the connection"
            ),
            format!(
                "sudo pullpray init {app} --host-key {shown}  # once you have verified this key"
            ),
        ))
    }
}

/// What the host's greeting says the key belongs to.
#[derive(Debug, PartialEq, Eq)]
enum Greeting {
    /// A repository: a deploy key.
    Repository(String),
    /// An account: the key opens all that the account can read.
    Account(String),
    /// The greeting does not say.
    Unknown,
}

/// Parses a greeting. GitHub (and compatible hosts) greets a deploy key with `Hi owner/repository!` and an
/// account's key with `Hi name!`; GitLab greets an account with `Welcome to GitLab, @name!` (both measured).
fn parse_greeting(words: &str) -> Greeting {
    for line in words.lines() {
        let after = |start| line.trim().strip_prefix(start)?.split_once('!');
        if let Some((name, _)) = after("Hi ") {
            let name = name.trim().to_owned();
            return if name.contains('/') {
                Greeting::Repository(name)
            } else {
                Greeting::Account(name)
            };
        }
        if let Some((name, _)) = after("Welcome to GitLab, @") {
            return Greeting::Account(name.to_owned());
        }
    }
    Greeting::Unknown
}

/// Repositories of this server's other apps on the same host: the ones to try without guessing names.
fn neighbours(view: &View, app: &App) -> Result<Vec<(AppName, RepoUrl)>> {
    let mut found = Vec::new();
    for name in view.apps()? {
        let text = view
            .read_text(&layout::settings(&name))?
            .unwrap_or_default();
        let repo = Settings::parse(&text)
            .ok()
            .and_then(|settings| settings.answers.get("repo")?.parse::<RepoUrl>().ok());
        if let Some(repo) = repo
            && repo.known_hosts_name() == app.repo.known_hosts_name()
            && repo.user() == app.repo.user()
            && repo.slug() != app.repo.slug()
        {
            found.push((name, repo));
        }
    }
    Ok(found)
}

impl Check for OnlyThisRepository<'_> {
    fn about(&self) -> About {
        About::new(StepId::RepoOnly, &self.0.repo)
    }
    fn needs_network(&self) -> bool {
        true
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let app = self.0;
        let blocked = || Finding::blocked(StepId::RepoAccess, "needs the deploy key");
        let Some(remote) = repo::usable(context, app)? else {
            return Ok(blocked());
        };
        let mut refused = Vec::new();
        for (other, url) in neighbours(context.view, app)? {
            let there = git::SshRemote {
                path: url.path().to_owned(),
                ..remote.clone()
            };
            match git::tip(&there, "HEAD") {
                Ok(_) => {
                    return Ok(Finding::warning(
                        format!(
                            "it also opens {}, the repository of {other}: unless that is public, the key is not limited to {}",
                            url.slug(),
                            app.repo.slug()
                        ),
                        format!("sudo pullpray key {} --rotate", app.name),
                    ));
                }
                Err(error) if error.kind() == RemoteErrorKind::HostKey => return Ok(blocked()),
                // Whatever its words: the host was reached and opened nothing.
                Err(git::RemoteError::Refused { .. }) => refused.push(url.slug().to_owned()),
                Err(error) if error.kind().is_no_access() => refused.push(url.slug().to_owned()),
                Err(error) => return Err(repo::unreachable(app, &error)),
            }
        }
        let (alias, options) = (app.ssh_alias(), &remote.options);
        let greeting = (context.view).ssh_greeting(&alias, options, remote.run_as.as_ref())?;
        Ok(match parse_greeting(&greeting) {
            Greeting::Account(name) => Finding::manual(
                format!(
                    "{} identifies the key as {name}'s, so it opens all that {name} can read: add it to the repository as a deploy key instead",
                    app.repo.host()
                ),
                format!("sudo pullpray key {} --rotate", app.name),
            ),
            Greeting::Repository(name) => {
                Finding::Ok(format!("{} identifies it as {name}", app.repo.host()))
            }
            Greeting::Unknown if refused.is_empty() => Finding::Unknown(format!(
                "{} does not say whose key it is, and no other app on this server has a repository to try",
                app.repo.host()
            )),
            Greeting::Unknown => Finding::Ok(format!("refused by {}", refused.join(", "))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_greetings() {
        let hi = |name: &str| format!("motd\nHi {name}! You've successfully authenticated, but");
        assert_eq!(
            parse_greeting(&hi("acme/todo")),
            Greeting::Repository("acme/todo".to_owned())
        );
        assert_eq!(
            parse_greeting(&hi("ada")),
            Greeting::Account("ada".to_owned())
        );
        assert_eq!(
            parse_greeting("Welcome to GitLab, @ada!"),
            Greeting::Account("ada".to_owned())
        );
        assert_eq!(
            parse_greeting("Welcome to GitLab, Anonymous!"),
            Greeting::Unknown
        );
        assert_eq!(parse_greeting("Permission denied"), Greeting::Unknown);
    }
}
