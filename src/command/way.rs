//! How ssh reaches the git host: tried before anything depends on it. Where port 22 is closed, the address that the host
//! has for port 443.

use anyhow::Result;

use crate::app::{Answers, Proxy, RepoUrl, masked};
use crate::host::{HostKey, View};
use crate::provision;
use crate::ui::{Mark, Question, Ui};

/// Whether the host has another address, and nobody has said which one to use.
pub(super) fn may_differ(repo: &RepoUrl, answers: &Answers) -> bool {
    repo.over_443().is_some() && answers.ssh_host.is_none()
}

/// Finds the way to a host that has two addresses, without questions.
///
/// # Errors
/// When neither answers.
pub(super) fn find(ui: &mut dyn Ui, view: &View, answers: &mut Answers) -> Result<()> {
    let repo = answers.get("repo").and_then(|text| text.parse().ok());
    if let Some(repo) = repo.filter(|repo| may_differ(repo, answers)) {
        first_key(ui, view, &repo, answers)?;
    }
    ui.update("");
    Ok(())
}

/// The first key that the host shows. If only its other address answers, the answers name that from now on.
///
/// # Errors
/// When it shows none.
pub(super) fn first_key(
    ui: &mut dyn Ui,
    view: &View,
    repo: &RepoUrl,
    answers: &mut Answers,
) -> Result<HostKey> {
    let host = repo.host();
    ui.begin(&format!("fetching the host key of {host}"));
    let error = match provision::first_host_key(view, repo, answers) {
        Ok(key) => return Ok(key),
        Err(error) => error,
    };
    let Some(other) = repo.over_443().filter(|_| may_differ(repo, answers)) else {
        return Err(error);
    };
    ui.begin(&format!("fetching the host key of {other}"));
    let mut over = answers.clone();
    over.set("ssh_host", other);
    let Ok(key) = provision::first_host_key(view, repo, &over) else {
        let port = repo.port();
        return Err(error.context(format!("neither {host}:{port} nor {other} can be reached")));
    };
    *answers = over;
    ui.done(
        Mark::Ok,
        &format!("{host} over {other}"),
        &format!(
            "port {} does not answer, so ssh_host is {other}",
            repo.port()
        ),
    );
    Ok(key)
}

/// Asks for a proxy or a jump host; proposes the proxy that this server uses already.
///
/// # Errors
/// When the user interrupts.
pub(super) fn ask(ui: &mut dyn Ui, view: &View, answers: &mut Answers) -> Result<()> {
    let known = view.known_proxy();
    let shown = known.as_ref().map(|(proxy, _)| proxy.to_string());
    let found = known
        .as_ref()
        .map(|(_, found)| format!("; {found} names this one"));
    let question = Question {
        prompt: "Proxy or jump host".to_owned(),
        default: shown.clone(),
        help: Some(format!(
            "http://user:password@proxy:3128, socks5://…, or user@jump.host{}",
            found.unwrap_or_default()
        )),
        shown: Some(masked),
    };
    let meant = |text: &str| match &known {
        Some((known, _)) if shown.as_deref() == Some(text) => known.setting().to_owned(),
        _ => text.to_owned(),
    };
    let text = ui.text(&question, &|text| {
        let proxy = meant(text).parse::<Proxy>();
        proxy.map(drop).map_err(|invalid| invalid.to_string())
    })?;
    answers.set("proxy", &meant(&text));
    Ok(())
}
