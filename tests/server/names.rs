//! init without an app's name derives it from the repository: that creates a new app or repeats an unchanged init,
//! and never changes an existing app.

use anyhow::{Result, ensure};

use crate::faults::{poll_is_silent, push_and_deploy};
use crate::lab::{Lab, Release, Todo, key};

#[test]
fn an_inferred_name_never_changes_an_app() -> Result<()> {
    let lab = Lab::new("inferred")?;
    let todo = Todo::live(&lab, Release::Bookworm)?;
    let Todo { host, repo, web } = &todo;
    repo.run("git checkout -q -b staging && echo staging >VERSION && git commit -qam Staging && git push -q origin staging && git checkout -q main")?;

    let staging = host.init(repo, "--branch staging")?;
    web.changes_nothing(&staging)?
        .exits(2)?
        .says("the app todo exists already and follows main of git@githost:acme/todo.git")?
        .says("hint: to change it: sudo pullpray init todo --branch staging\n")?
        .says("hint: to create another app: --app NAME")?;
    web.changes_nothing(&format!("PULLPRAY_TAG='v*' {}", host.init(repo, "")?))?
        .exits(2)?
        .says("sudo pullpray init todo --tag 'v*'\n")?;
    web.changes_nothing(&host.init(repo, "--workers 3")?)?
        .exits(2)?
        .says("sudo pullpray init todo --workers 3\n")?;
    poll_is_silent(web)?;
    ensure!(web.page("/")?.shows("version one"));

    // The same init again continues, like one that waited for its key.
    web.changes_nothing(&host.init(repo, "--branch main --workers 2")?)?
        .ok()?
        .says("nothing to change")?;
    // Accepting the derived name in the wizard does not change the app either.
    let mut person = web.terminal(&format!(
        "NO_COLOR=1 pullpray init --host-key {}",
        host.fingerprint()?
    ))?;
    person.answers("Repository to deploy", &repo.url())?;
    person.answers("Branch", "staging")?;
    person.answers("Name of the app", "")?;
    person.reads("follows main")?;
    person.presses(key::CTRL_C)?;
    person.ends()?;
    push_and_deploy(web, repo, "version two")?;

    // With an explicit name, init changes the app.
    web.run("pullpray init todo --branch staging --yes")?.ok()?;
    web.run("pullpray poll todo")?.ok()?;
    ensure!(web.page("/")?.shows("staging"));
    Ok(())
}
