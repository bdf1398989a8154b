//! What the git host shows: facts that doctor asks it for beside the steps.

use anyhow::{Result, anyhow};

use crate::app::{App, AppName, RepoUrl, Settings};
use crate::git;
use crate::host::View;
use crate::layout;

use super::{Changes, CheckContext, Finding, PlanItem, Step, StepId, repo};

pub(super) struct PresentedHostKey<'a>(pub(super) &'a App);
pub(super) struct OnlyThisRepository<'a>(pub(super) &'a App);

impl Step for PresentedHostKey<'_> {
    fn id(&self) -> StepId {
        StepId::SshHostKeyShown
    }
    fn title(&self) -> String {
        format!("{} shows its pinned key", self.0.repo.host())
    }
    fn plan_item(&self) -> PlanItem {
        PlanItem {
            kind: "access",
            what: self.0.repo.host().to_owned(),
        }
    }
    fn needs_network(&self) -> bool {
        true
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let (repo, wanted) = (&self.0.repo, self.0.host_key.as_str());
        let keys = context.view.scan_host_keys(repo.host(), repo.port())?;
        if keys.iter().any(|key| key.fingerprint == wanted) {
            return Ok(Finding::Ok(wanted.to_owned()));
        }
        let shown = keys
            .first()
            .map_or_else(String::new, |key| key.fingerprint.clone());
        Ok(Finding::ManualFix(
            format!(
                "{} shows {shown} where {wanted} is pinned: its key was changed, or somebody stands in between",
                repo.host()
            ),
            format!(
                "sudo pullpray init {} --host-key {shown}  # once you know that this key is right",
                self.0.name
            ),
        ))
    }
    fn apply(&self, _: &mut Changes<'_>) -> Result<()> {
        Err(anyhow!("a changed host key is never accepted unasked"))
    }
}

/// Whom the host takes the key for, by its greeting.
#[derive(Debug, PartialEq, Eq)]
enum Greeted {
    /// A repository: it is a deploy key.
    Repository(String),
    /// An account, with all that this may read.
    Account(String),
    /// It does not say.
    Nobody,
}

/// GitHub (and what imitates it) greets a deploy key as `Hi owner/repository!` and a person's as
/// `Hi name!`; GitLab greets a person as `Welcome to GitLab, @name!` (both measured).
fn greeted(words: &str) -> Greeted {
    for line in words.lines() {
        if let Some((name, _)) = line
            .trim()
            .strip_prefix("Hi ")
            .and_then(|rest| rest.split_once('!'))
        {
            let name = name.trim().to_owned();
            return if name.contains('/') {
                Greeted::Repository(name)
            } else {
                Greeted::Account(name)
            };
        }
        if let Some((name, _)) = line
            .trim()
            .strip_prefix("Welcome to GitLab, @")
            .and_then(|rest| rest.split_once('!'))
        {
            return Greeted::Account(name.to_owned());
        }
    }
    Greeted::Nobody
}

/// Repositories of other apps of this server on the same host: what a key that opens too much
/// would open, and what can be tried without guessing names.
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
            && repo.slug() != app.repo.slug()
        {
            found.push((name, repo));
        }
    }
    Ok(found)
}

impl Step for OnlyThisRepository<'_> {
    fn id(&self) -> StepId {
        StepId::RepoOnly
    }
    fn title(&self) -> String {
        "key opens this repository only".to_owned()
    }
    fn plan_item(&self) -> PlanItem {
        PlanItem {
            kind: "access",
            what: self.0.repo.to_string(),
        }
    }
    fn needs_network(&self) -> bool {
        true
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let app = self.0;
        let waits = || Finding::Blocked(StepId::RepoAccess, "asked with the deploy key".to_owned());
        let Some(remote) = repo::remote(context.view, app)? else {
            return Ok(waits());
        };
        if !super::agent::has_deploy_key(context, app)? {
            return Ok(waits());
        }
        let mut refused = Vec::new();
        for (other, repo) in neighbours(context.view, app)? {
            let there = git::Remote {
                path: repo.path().to_owned(),
                ..remote.clone()
            };
            match git::tip(&there, "HEAD") {
                Ok(_) => {
                    return Ok(Finding::Warning(
                        format!(
                            "it opens {} too, the repository of {other}: unless everybody may read that, this is not a deploy key of {} alone",
                            repo.slug(),
                            app.repo.slug()
                        ),
                        format!("sudo pullpray key {} --rotate", app.name),
                    ));
                }
                Err(error) if error.kind() == git::RemoteErrorKind::HostKey => return Ok(waits()),
                Err(error)
                    if matches!(
                        error.kind(),
                        git::RemoteErrorKind::Permission | git::RemoteErrorKind::NoRepository
                    ) =>
                {
                    refused.push(repo.slug().to_owned());
                }
                Err(error) => return Err(anyhow!("could not ask {}: {error}", repo.host())),
            }
        }
        let identity = context.view.identity(app.user.as_str())?;
        let greeting =
            context
                .view
                .ssh_greeting(&app.ssh_alias(), &remote.options, Some(&identity))?;
        Ok(match greeted(&greeting) {
            Greeted::Account(name) => Finding::ManualFix(
                format!(
                    "{} takes the key for {name}, so it opens all that {name} may read: it belongs to the repository, as a deploy key",
                    app.repo.host()
                ),
                format!("sudo pullpray key {} --rotate", app.name),
            ),
            Greeted::Repository(name) => {
                Finding::Ok(format!("{} takes it for {name}", app.repo.host()))
            }
            Greeted::Nobody if refused.is_empty() => Finding::Unknown(format!(
                "{} does not say whose key it is, and no other app here has a repository to try",
                app.repo.host()
            )),
            Greeted::Nobody => Finding::Ok(format!("it is refused at {}", refused.join(", "))),
        })
    }
    fn apply(&self, _: &mut Changes<'_>) -> Result<()> {
        Err(anyhow!(
            "only {} can say what a key opens",
            self.0.repo.host()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings_are_understood() {
        let hi = |name: &str| format!("motd\nHi {name}! You've successfully authenticated, but");
        assert_eq!(
            greeted(&hi("acme/todo")),
            Greeted::Repository("acme/todo".to_owned())
        );
        assert_eq!(greeted(&hi("ada")), Greeted::Account("ada".to_owned()));
        assert_eq!(
            greeted("Welcome to GitLab, @ada!"),
            Greeted::Account("ada".to_owned())
        );
        assert_eq!(greeted("Welcome to GitLab, Anonymous!"), Greeted::Nobody);
        assert_eq!(greeted("Permission denied"), Greeted::Nobody);
    }
}
