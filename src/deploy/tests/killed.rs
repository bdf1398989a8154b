//! Polls and rollbacks killed before each of their changes.

use anyhow::{Context, Result, ensure};

use super::Site;
use crate::deploy::control;
use crate::report::PollOutcome;

/// Polls until nothing is left to do: at most three times.
fn settle(site: &Site, version: &str) -> Result<()> {
    let mut last = Ok(());
    for _ in 0..3 {
        let outcome = site.poll();
        last = site
            .settled(version)
            .with_context(|| format!("{outcome:?}"));
        if last.is_ok() {
            break;
        }
    }
    last
}

/// The site is served completely, by this or that version.
fn serves(site: &Site, versions: &[&str]) -> Result<()> {
    let shown = site.shows()?;
    ensure!(versions.contains(&shown.as_str()), "visitors get {shown}");
    Ok(())
}

/// Kills deployments of commits with these files at every instant; `live` says whether such a commit goes live.
fn deployments_killed_everywhere(files: &[(&str, &str)], live: bool) -> Result<usize> {
    let site = Site::live()?;
    let mut old = "two".to_owned();
    for number in 1.. {
        let new = format!("at {number}");
        site.commit(&new, files)?;
        let ended = site.test.kill_at(number, || site.poll());
        let done = ended.is_some();
        let at = || format!("killed at {number} before {:?}", site.test.changes().last());
        if live {
            serves(&site, &[&old, &new]).with_context(at)?;
        }
        settle(&site, if live { &new } else { &old }).with_context(at)?;
        old = format!("after {number}");
        site.deploys(&old).with_context(at)?;
        if done {
            return Ok(number);
        }
    }
    unreachable!("a deployment ends")
}

#[test]
fn a_deployment_killed_at_every_instant_is_repeated() -> Result<()> {
    let instants = deployments_killed_everywhere(&[], true)?;
    ensure!(instants > 30, "{instants} instants");
    Ok(())
}

#[test]
fn a_deployment_whose_script_fails_killed_at_every_instant_changes_nothing() -> Result<()> {
    let instants = deployments_killed_everywhere(&[("script", "exit 3")], false)?;
    ensure!(instants > 15, "{instants} instants");
    Ok(())
}

#[test]
fn a_deployment_that_fails_its_trial_killed_at_every_instant_changes_nothing() -> Result<()> {
    let instants = deployments_killed_everywhere(&[("unhealthy-in-trial", "")], false)?;
    ensure!(instants > 20, "{instants} instants");
    Ok(())
}

#[test]
fn a_deployment_that_is_restored_killed_at_every_instant_ends_at_the_old_release() -> Result<()> {
    let instants = deployments_killed_everywhere(&[("unhealthy-live", "")], false)?;
    ensure!(instants > 35, "{instants} instants");
    Ok(())
}

#[test]
fn a_first_deployment_killed_at_every_instant_is_repeated() -> Result<()> {
    for number in 1.. {
        let site = Site::new()?;
        site.commit("one", &[])?;
        let done = (site.test.kill_at(number, || site.poll())).is_some();
        settle(&site, "one")
            .and_then(|()| site.deploys("two"))
            .with_context(|| format!("killed at {number}"))?;
        if done {
            ensure!(number > 30, "{number} instants");
            return Ok(());
        }
    }
    Ok(())
}

#[test]
fn a_rollback_killed_at_every_instant_ends_at_one_of_both() -> Result<()> {
    let site = Site::live()?;
    let mut shown = ("two".to_owned(), "one".to_owned());
    for number in 1.. {
        let ended = (site.test).kill_at(number, || {
            site.with_poll(|poll| control::rollback(poll, None, "ann"))
        });
        let at = || format!("killed at {number}");
        serves(&site, &[&shown.0, &shown.1]).with_context(at)?;
        let (back, stayed) = (settle(&site, &shown.1), settle(&site, &shown.0));
        back.or(stayed).with_context(at)?;
        let paused = site.ledger()?.pause().is_some();
        ensure!(paused || site.shows()? == shown.0, "{}: not paused", at());
        // Paused, so that the next poll does not deploy what somebody wanted to leave.
        let newest = format!("after {number}");
        site.commit(&newest, &[])?;
        if paused {
            ensure!(matches!(site.poll()?, PollOutcome::Skipped(_)), "{}", at());
            site.with_poll(control::resume)?;
        }
        shown = (newest.clone(), site.shows()?);
        let outcome = site.poll()?;
        site.settled(&newest)
            .with_context(|| format!("{}: {outcome:?}", at()))?;
        if ended.is_some() {
            ensure!(number > 10, "{number} instants");
            return Ok(());
        }
    }
    Ok(())
}

#[test]
fn a_recovery_killed_at_every_instant_is_repeated() -> Result<()> {
    // Killed before the service is restarted: `current` points to a release that is not live.
    let site = Site::live()?;
    site.test.changes();
    site.deploys("three")?;
    let restart = format!("systemctl sudo restart {}", site.service());
    let restart = site.test.changes().iter().position(|it| *it == restart);
    let restart = restart.context("it was restarted")? + 1;
    let mut old = "three".to_owned();
    for number in 1.. {
        site.commit(&format!("at {number}"), &[("unhealthy-live", "")])?;
        let killed = site.test.kill_at(restart, || site.poll()).is_none();
        let current = site.test.server.read_link(&site.app.current())?;
        let live = crate::layout::release_link(&site.live_release()?.id);
        ensure!(killed && current != Some(live), "killed too early");
        // No attempt at the commit: it is only recovered from.
        site.remote.fail_with(Some(super::unreachable()));
        let done = site.test.kill_at(number, || site.poll()).is_some();
        site.remote.fail_with(None);
        // The release that `current` points to is there, whether it is the old one already or not yet.
        let current = site.test.real(site.app.current());
        ensure!(current.exists(), "killed at {number}: current is dangling");
        settle(&site, &old).with_context(|| format!("killed at {number}"))?;
        old = format!("after {number}");
        site.deploys(&old)?;
        if done {
            return Ok(());
        }
    }
    Ok(())
}
