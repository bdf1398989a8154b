//! The operators' commands.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::Site;
use crate::decide::Verdict;
use crate::deploy::control::{self, RollbackOutcome};
use crate::layout;
use crate::report::PollOutcome;
use crate::state::history::Outcome;

fn rollback(site: &Site, to: Option<&str>) -> Result<RollbackOutcome> {
    site.with_poll(|poll| control::rollback(poll, to, "ann"))
}

fn pause(site: &Site) -> Result<String> {
    let ledger = site.ledger()?;
    Ok(ledger.pause().context("not paused")?.why.clone())
}

#[test]
fn paused_deployments_wait_until_they_are_resumed() -> Result<()> {
    let site = Site::live()?;
    site.with_poll(|poll| control::pause(poll, "ann", "holidays"))?;
    site.commit("three", &[])?;
    let outcome = site.poll()?;
    ensure!(matches!(&outcome, PollOutcome::Skipped(Verdict::Paused(pause)) if pause.by == "ann"));
    site.settled("two")?;
    let ended = site.with_poll(control::resume)?;
    assert_eq!(
        ended.map(|(pause, _)| pause.why).as_deref(),
        Some("holidays")
    );
    assert_eq!(site.with_poll(control::resume)?, None);
    site.poll()?;
    site.settled("three")
}

#[test]
fn a_failed_commit_is_retried_at_once() -> Result<()> {
    let site = Site::live()?;
    assert_eq!(site.with_poll(control::retry)?, 0);
    site.commit("three", &[("script", "[ -e ../../shared/ready ]")])?;
    site.poll()?;
    site.test.put(site.app.shared().join("ready"), "", 0o644)?;
    ensure!(matches!(
        site.poll()?,
        PollOutcome::Skipped(Verdict::Waiting(_))
    ));
    assert_eq!(site.with_poll(control::retry)?, 1);
    site.poll()?;
    site.settled("three")
}

#[test]
fn a_redeployment_is_a_new_release_of_the_same_commit() -> Result<()> {
    let site = Site::new()?;
    let error = site
        .with_poll(control::redeploy)
        .err()
        .context("nothing is live")?;
    assert_eq!(
        error.to_string(),
        "nothing of todo is live yet, so there is nothing to redeploy"
    );
    for version in ["one", "two"] {
        site.deploys(version)?;
    }
    let before = site.ledger()?;
    let outcome = site.with_poll(control::redeploy)?;
    let (text, _) = super::report(&site, &outcome);
    ensure!(text.starts_with("todo: again "), "{text}");
    site.settled("two")?;
    let after = site.ledger()?;
    assert_eq!(after.previous(), before.previous());
    ensure!(after.live().map(|r| &r.id) != before.live().map(|r| &r.id));
    Ok(())
}

#[test]
fn a_rollback_and_back_again() -> Result<()> {
    let site = Site::live()?;
    let (one, two) = (site.ledger()?.releases()[0].clone(), site.live_release()?);
    let outcome = rollback(&site, None)?;
    ensure!(
        matches!(&outcome, RollbackOutcome::To(release) if release.id == one.id),
        "{outcome:?}"
    );
    site.settled("one")?;
    let why = format!(
        "rolled back from {} to {}",
        &two.commit[..7],
        &one.commit[..7]
    );
    assert_eq!(pause(&site)?, why);
    let ledger = site.ledger()?;
    assert_eq!(ledger.previous(), None, "what was left is not offered");
    let last = ledger.history().deployments().last().map(|it| &it.outcome);
    assert_eq!(last, Some(&Outcome::RolledBack));
    rollback(&site, Some(&two.commit[..7]))?;
    site.settled("two")?;
    assert_eq!(site.ledger()?.failures(), [], "one was good");
    rollback(&site, Some(&one.id))?;
    site.settled("one")
}

#[test]
fn a_second_rollback_goes_further_back_and_nothing_returns_by_itself() -> Result<()> {
    let mut site = Site::new()?;
    site.app.limits.keep = 3;
    for version in ["one", "two"] {
        site.deploys(version)?;
    }
    site.deploys("three")?;
    let three = site.live_release()?;
    for version in ["two", "one"] {
        rollback(&site, None)?;
        site.settled(version)?;
    }
    let error = rollback(&site, None).err().context("it went forward")?;
    let (text, hints) = (error.to_string(), crate::error::hints(&error));
    ensure!(
        text.contains(&format!(
            "{} ({}, rolled back)",
            &three.commit[..7],
            three.id
        )),
        "{text}"
    );
    ensure!(
        hints
            .iter()
            .any(|it| it.contains("sudo pullpray rollback todo ")),
        "{hints:?}"
    );
    let left = site.with_poll(control::resume)?.and_then(|(_, left)| left);
    ensure!(left.is_some());
    for outcome in [site.poll()?, site.poll_now()?] {
        ensure!(
            matches!(&outcome, PollOutcome::Skipped(Verdict::Waiting(it)) if it.is_rollback()),
            "{outcome:?}"
        );
    }
    site.settled("one")?;
    // A change of settings is no new commit; an operator may want it after all.
    site.test.put(site.app.environment_file(), "A=1\n", 0o640)?;
    site.poll()?;
    site.settled("one")?;
    site.with_poll(control::retry)?;
    site.poll()?;
    site.settled("three")?;
    site.deploys("four")
}

#[test]
fn a_rollback_needs_a_release() -> Result<()> {
    let site = Site::new()?;
    let error = |to| {
        rollback(&site, to)
            .err()
            .map(|error| error.to_string())
            .context("it worked")
    };
    assert_eq!(
        error(None)?,
        "nothing of todo is live yet, so there is nothing to roll back to"
    );
    site.deploys("one")?;
    assert_eq!(
        error(None)?,
        "there is no release to roll back to; there is none on this server"
    );
    site.deploys("two")?;
    let one = site.ledger()?.releases()[0].clone();
    assert_eq!(
        error(Some("nonsense"))?,
        format!(
            "there is no release \"nonsense\" to roll back to; there are: {} ({})",
            &one.commit[..7],
            one.id
        )
    );
    let live = site.live_release()?;
    ensure!(
        error(Some(&live.id))?.starts_with("there is no release"),
        "what is live is no target"
    );
    fs::remove_dir_all(site.dir_of(&one))?;
    ensure!(error(None)?.ends_with("there is none on this server"));
    assert!(site.ledger()?.pause().is_none(), "nothing happened");
    Ok(())
}

#[test]
fn a_rollback_to_an_unhealthy_release_restores_what_was_live() -> Result<()> {
    for (file, words) in [
        ("unhealthy-in-trial", "GET / on /run/gunicorn.todo.trial/"),
        (
            "unhealthy-live",
            "health check failed in a second instance, before the restart: GET / on /run/gunicorn.todo.bridge.sock",
        ),
        (
            "unhealthy-alone",
            "health check failed: GET / on /run/gunicorn.todo.own.sock",
        ),
    ] {
        let site = Site::live()?;
        let one = site.ledger()?.releases()[0].clone();
        fs::write(site.dir_of(&one).join(file), "")?;
        let outcome = rollback(&site, None)?;
        let RollbackOutcome::Failed {
            why,
            restore_error: None,
        } = &outcome
        else {
            anyhow::bail!("{outcome:?}");
        };
        ensure!(why.starts_with(words), "{why}");
        ensure!(pause(&site)?.ends_with(" failed"));
        site.settled("two")?;
    }
    Ok(())
}

#[test]
fn a_rollback_that_cannot_be_undone_says_so() -> Result<()> {
    let site = Site::live()?;
    let one = site.ledger()?.releases()[0].clone();
    for release in [&one, &site.live_release()?] {
        fs::write(site.dir_of(release).join("unhealthy-live"), "")?;
    }
    let outcome = rollback(&site, None)?;
    ensure!(
        matches!(
            &outcome,
            RollbackOutcome::Failed {
                restore_error: Some(_),
                ..
            }
        ),
        "{outcome:?}"
    );
    Ok(())
}

#[test]
fn a_release_whose_environment_is_broken_is_built_again() -> Result<()> {
    let site = Site::live()?;
    site.commit("three", &[("requirements.txt", "django\n")])?;
    site.poll()?;
    site.settled("three")?;
    let two = site.ledger()?.releases()[0].clone();
    site.test
        .put(site.app.venvs().join(&two.venv).join("broken"), "", 0o644)?;
    let outcome = rollback(&site, None)?;
    let RollbackOutcome::To(release) = &outcome else {
        anyhow::bail!("{outcome:?}");
    };
    ensure!(release.commit == two.commit && release.id != two.id);
    ensure!(pause(&site)?.starts_with("rolled back from "));
    site.settled("two")
}

#[test]
fn a_release_that_cannot_be_built_again_is_not_rolled_back_to() -> Result<()> {
    let site = Site::live()?;
    let one = site.ledger()?.releases()[0].clone();
    site.test
        .put(site.app.venvs().join(&one.venv).join("broken"), "", 0o644)?;
    site.test.put_program(site.app.deploy_script(), "exit 1")?;
    let outcome = rollback(&site, None)?;
    ensure!(
        matches!(
            &outcome,
            RollbackOutcome::Failed {
                restore_error: None,
                ..
            }
        ),
        "{outcome:?}"
    );
    ensure!(pause(&site)?.ends_with(" failed"));
    // Its commit is in no mirror and on no git host any more.
    site.with_poll(control::resume)?;
    fs::remove_dir_all(site.test.real(layout::mirror(&site.app.name)))?;
    site.remote.fail_with(Some(super::unreachable()));
    let error = rollback(&site, None).err().context("it was rolled back")?;
    ensure!(
        format!("{error:#}").contains("could not be deployed again"),
        "{error:#}"
    );
    ensure!(pause(&site)?.ends_with(" failed"));
    assert_eq!(site.shows()?, "two");
    Ok(())
}

#[test]
fn commands_wait_for_a_poll_and_give_up() -> Result<()> {
    let site = Site::live()?;
    let held = site.test.server.lock(&layout::state(&site.app.name))?;
    let error = site
        .with_poll(control::retry)
        .err()
        .context("it is locked")?;
    assert_eq!(error.to_string(), "a poll of todo is running");
    drop(held);
    site.with_poll(control::retry)?;
    Ok(())
}
