//! What a poll finds after one that was killed, or after a change by hand.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Context, Result, ensure};

use super::{Site, report, unreachable};
use crate::decide::Verdict;
use crate::exit::Exit;
use crate::layout;
use crate::report::{PollOutcome, Recovery};
use crate::state::history::Stage;

fn recovery(outcome: &PollOutcome) -> Result<&Recovery> {
    match outcome {
        PollOutcome::Recovered(recovery, _) => Ok(recovery),
        other => anyhow::bail!("{other:?}"),
    }
}

/// Kills a deployment of this commit before the first change after its checkout that this names.
fn killed_before(site: &Site, files: &[(&str, &str)], change: &str) -> Result<String> {
    site.commit("dry run", files)?;
    site.test.changes();
    site.poll()?;
    let changes = site.test.changes();
    let begun = changes.iter().position(|it| it.contains("/releases/"));
    let named = |(number, it): (usize, &String)| begun < Some(number) && it.ends_with(change);
    let instant = changes.iter().enumerate().position(named);
    let instant = instant.with_context(|| format!("{change} is not in {changes:?}"))? + 1;
    let commit = site.commit("killed", files)?;
    let ended = site.test.kill_at(instant, || site.poll());
    ensure!(ended.is_none() && site.ledger()?.in_progress().is_some());
    Ok(commit)
}

fn restart(site: &Site) -> String {
    format!("sudo restart {}", site.service())
}

#[test]
fn what_a_killed_poll_left_beside_the_ledger_goes_although_nothing_is_stored() -> Result<()> {
    let site = Site::live()?;
    let left = layout::state(&site.app.name).join(".ledger.json.pullpray-new");
    site.test.put(&left, "{", 0o640)?;
    site.test.changes();
    site.poll()?;
    ensure!(!site.test.real(&left).exists());
    let answered = layout::answered(&site.app.name, true);
    let changes = [left, answered].map(|path| path.display().to_string());
    assert_eq!(site.test.changes(), changes);
    site.deploys("after it")
}

#[test]
fn a_missing_link_is_restored() -> Result<()> {
    let site = Site::live()?;
    fs::remove_file(site.test.real(site.app.current()))?;
    site.remote.fail_with(Some(unreachable()));
    let outcome = site.poll()?;
    assert_eq!(
        recovery(&outcome)?.found,
        "/var/www/projects/todo/current was missing"
    );
    let (text, exit) = report(&site, &outcome);
    ensure!(
        text.contains("; restored ") && exit == Exit::Unreachable,
        "{exit:?} {text}"
    );
    site.settled("two")
}

#[test]
fn a_link_that_points_elsewhere_is_restored() -> Result<()> {
    let site = Site::live()?;
    let current = site.test.real(site.app.current());
    let other = site.ledger()?.releases()[0].id.clone();
    fs::remove_file(&current)?;
    symlink(layout::release_link(&other), &current)?;
    site.systemctl("restart", &site.service())?;
    assert_eq!(site.shows()?, "one");
    let outcome = site.poll()?;
    ensure!(
        recovery(&outcome)?
            .found
            .ends_with(&format!("current pointed to releases/{other}"))
    );
    site.settled("two")
}

#[test]
fn a_deployment_in_progress_is_ended_though_the_git_host_is_silent() -> Result<()> {
    let site = Site::live()?;
    let commit = killed_before(&site, &[("unhealthy-live", "")], "/next")?;
    site.remote.fail_with(Some(unreachable()));
    let outcome = site.poll()?;
    let found = format!("the poll that deployed {} was killed", &commit[..7]);
    assert_eq!(recovery(&outcome)?.found, found);
    site.settled("two")
}

#[test]
fn a_trial_that_was_left_running_is_ended() -> Result<()> {
    let site = Site::live()?;
    let trial = layout::trial_unit(&site.app.name);
    killed_before(
        &site,
        &[("unhealthy-live", "")],
        &format!("sudo stop {trial}"),
    )?;
    assert!(site.test.units.is_active(&trial));
    site.remote.fail_with(Some(unreachable()));
    recovery(&site.poll()?)?;
    site.settled("two")
}

#[test]
fn the_service_is_restarted_off_a_release_that_never_went_live() -> Result<()> {
    let site = Site::live()?;
    // The link is back already; the service still runs the new release.
    killed_before(&site, &[("unhealthy-alone", "")], &restart(&site))?;
    let bridge = layout::bridge_unit(&site.app.name);
    assert!(site.test.units.is_active(&bridge));
    site.systemctl("restart", &site.service())?;
    let current = site.test.real(site.app.current());
    fs::remove_file(&current)?;
    symlink(layout::release_link(&site.live_release()?.id), &current)?;
    ensure!(site.shows().is_err(), "the unhealthy release runs");
    site.remote.fail_with(Some(unreachable()));
    recovery(&site.poll()?)?;
    site.settled("two")
}

#[test]
fn a_commit_that_kills_its_polls_is_given_up() -> Result<()> {
    let site = Site::live()?;
    let commit = killed_before(&site, &[("unhealthy-live", "")], "/next")?;
    for _ in 0..2 {
        let ended = site.test.kill_at(20, || site.poll());
        ensure!(ended.is_none() && site.ledger()?.in_progress().is_some());
    }
    let outcome = site.poll()?;
    let (text, exit) = report(&site, &outcome);
    ensure!(
        exit == Exit::Failed && text.contains("giving up after 3 attempts"),
        "{text}"
    );
    let PollOutcome::Recovered(_, then) = &outcome else {
        anyhow::bail!("{outcome:?}");
    };
    ensure!(
        matches!(**then, PollOutcome::Skipped(Verdict::Waiting(_))),
        "{then:?}"
    );
    let ledger = site.ledger()?;
    let failure = ledger.failure(&commit).context("no failure")?;
    assert_eq!((failure.tries, failure.stage), (3, Stage::Killed));
    site.settled("two")?;
    site.deploys("three")
}

#[test]
fn a_restored_release_that_is_unhealthy_is_reported() -> Result<()> {
    let site = Site::live()?;
    killed_before(&site, &[("unhealthy-live", "")], &restart(&site))?;
    site.test.http.answer(|_| Ok(500));
    site.remote.fail_with(Some(unreachable()));
    // Whoever looks after the site restarts it, then deploys it again: both in vain.
    let outcome = site.poll()?;
    let (text, exit) = report(&site, &outcome);
    ensure!(
        text.contains("which is unhealthy: ") && exit == Exit::RestoreFailed,
        "{exit:?} {text}"
    );
    Ok(())
}

#[test]
fn while_the_ledger_cannot_be_written_the_service_is_not_restarted_by_each_poll() -> Result<()> {
    let site = Site::live()?;
    killed_before(&site, &[("unhealthy-live", "")], "/next")?;
    let blocked = layout::state(&site.app.name).join(".ledger.json.pullpray-new");
    fs::create_dir(site.test.real(&blocked))?;
    site.test.units.table().commands.clear();
    for _ in 0..2 {
        ensure!(site.poll().is_err());
    }
    let commands = site.test.units.table().commands.clone();
    ensure!(commands.is_empty(), "{commands:?}");
    fs::remove_dir(site.test.real(&blocked))?;
    site.remote.fail_with(Some(unreachable()));
    recovery(&site.poll()?)?;
    site.settled("two")
}

#[test]
fn nothing_is_recovered_where_nothing_is_live_or_the_release_is_gone() -> Result<()> {
    let site = Site::new()?;
    site.commit("one", &[("script", "exit 1")])?;
    site.poll()?;
    ensure!(matches!(site.poll()?, PollOutcome::Skipped(_)));
    let site = Site::live()?;
    fs::remove_dir_all(site.dir_of(&site.live_release()?))?;
    fs::remove_file(site.test.real(site.app.current()))?;
    ensure!(matches!(site.poll()?, PollOutcome::Redeployed(..)));
    site.settled("two")
}

#[test]
fn what_a_killed_rollback_staged_is_removed() -> Result<()> {
    let site = Site::live()?;
    for name in [".current.pullpray-new", ".next.pullpray-new", "next"] {
        let path = site.app.project_dir.as_path().join(name);
        symlink("releases/none", site.test.real(path))?;
    }
    let outcome = site.poll()?;
    ensure!(
        matches!(outcome, PollOutcome::Skipped(Verdict::UpToDate)),
        "{outcome:?}"
    );
    site.settled("two")
}
