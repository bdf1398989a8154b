//! A site that is down, though there is nothing to deploy.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::{Site, report, unreachable};
use crate::deploy::control;
use crate::exit::Exit;
use crate::report::PollOutcome;

fn found(outcome: &PollOutcome) -> Option<&str> {
    match outcome {
        PollOutcome::Recovered(recovery, _) => Some(&recovery.found),
        PollOutcome::Redeployed(found, ..) => Some(found),
        _ => None,
    }
}

#[test]
fn a_crashed_service_is_restarted_also_during_an_outage() -> Result<()> {
    let site = Site::live()?;
    site.remote.fail_with(Some(unreachable()));
    site.systemctl("stop", &site.service())?;
    let outcome = site.poll()?;
    assert_eq!(found(&outcome), Some("gunicorn.todo.service had stopped"));
    site.settled("two")?;
    ensure!(found(&site.poll()?).is_none(), "nothing is left to do");
    Ok(())
}

#[test]
fn a_unit_in_a_crash_loop_is_reset() -> Result<()> {
    let site = Site::live()?;
    site.systemctl("stop", &site.service())?;
    let socket = crate::layout::socket_unit(&site.app.name);
    site.systemctl("stop", &socket)?;
    site.test.units.table().crashing.insert(site.service());
    let outcome = site.poll()?;
    let (text, exit) = report(&site, &outcome);
    ensure!(exit == Exit::RestoreFailed, "{text}");
    let commands = site.test.units.table().commands.join("\n");
    ensure!(
        commands.contains("reset-failed") && commands.contains(&format!("restart {socket}")),
        "{commands}"
    );
    site.test.units.table().crashing.clear();
    site.poll_now()?;
    site.settled("two")
}

#[test]
fn an_attempt_to_start_a_crashing_service_is_not_taken_for_a_running_one() -> Result<()> {
    let site = Site::live()?;
    // Between two attempts systemd removes its mark; during one it is there. gunicorn reports that it has started before
    // it imports the app, so an attempt that will fail may be active, too.
    let attempt = |active: &str, restarts| {
        if let Some(state) = site.test.units.table().units.get_mut(&site.service()) {
            active.clone_into(&mut state.active);
            state.restarts = restarts;
        }
    };
    attempt("activating", 0);
    ensure!(
        found(&site.poll()?).is_none(),
        "its first start is left alone"
    );
    attempt("active", 1);
    ensure!(
        found(&site.poll()?).is_none(),
        "it crashed once, and is healthy again"
    );
    for active in ["activating", "active"] {
        attempt(active, 3);
        let live = site.dir_of(&site.live_release()?);
        fs::write(live.join("unhealthy"), "")?;
        let outcome = site.poll()?;
        ensure!(
            found(&outcome).is_some_and(|it| it.starts_with("gunicorn.todo.service crashed")),
            "{active}: {outcome:?}"
        );
        // Deployed again, it is healthy.
        attempt("active", 0);
        site.settled("two")?;
    }
    Ok(())
}

#[test]
fn a_lost_release_is_deployed_again_even_while_paused() -> Result<()> {
    let site = Site::live()?;
    site.with_poll(|poll| control::pause(poll, "ann", "holidays"))?;
    fs::remove_dir_all(site.dir_of(&site.live_release()?))?;
    let outcome = site.poll()?;
    ensure!(
        found(&outcome).is_some_and(|found| found.ends_with(" was gone")),
        "{outcome:?}"
    );
    site.settled("two")?;
    let ledger = site.ledger()?;
    assert!(ledger.pause().is_some());
    let previous = ledger.previous().context("the previous release is kept")?;
    assert_eq!(previous.subject, "one");
    Ok(())
}

#[test]
fn an_unhealthy_service_is_noticed_by_a_person_and_deployed_again() -> Result<()> {
    let site = Site::live()?;
    let dir = site.dir_of(&site.live_release()?);
    fs::write(dir.join("unhealthy"), "")?;
    ensure!(
        found(&site.poll()?).is_none(),
        "cron's polls send no request"
    );
    let outcome = site.poll_now()?;
    ensure!(
        found(&outcome).is_some_and(
            |it| it.starts_with("gunicorn.todo.service was unhealthy, and after a restart: ")
        ),
        "{outcome:?}"
    );
    site.settled("two")
}

#[test]
fn what_was_stopped_on_purpose_stays_down() -> Result<()> {
    let site = Site::live()?;
    site.systemctl("disable", &site.service())?;
    site.systemctl("stop", &site.service())?;
    ensure!(found(&site.poll()?).is_none(), "disabled");
    site.systemctl("enable", &site.service())?;
    site.with_poll(|poll| control::pause(poll, "ann", "maintenance"))?;
    ensure!(found(&site.poll()?).is_none(), "paused");
    ensure!(found(&site.poll_now()?).is_some(), "--now");
    site.settled("two")
}

#[test]
fn a_redeployment_that_failed_backs_off_and_is_forgiven() -> Result<()> {
    let site = Site::live()?;
    let live = site.live_release()?.commit;
    site.test.put_program(site.app.deploy_script(), "exit 1")?;
    fs::remove_dir_all(site.dir_of(&site.live_release()?))?;
    let outcome = site.poll()?;
    ensure!(report(&site, &outcome).1 != Exit::Success, "{outcome:?}");
    let tries = |site: &Site| site.ledger().map(|it| it.failure(&live).map(|it| it.tries));
    assert_eq!(tries(&site)?, Some(1));
    ensure!(
        found(&site.poll()?).is_none(),
        "its next attempt is not due"
    );
    assert_eq!(tries(&site)?, Some(1));
    // Another script is another try.
    site.test
        .put_program(site.app.deploy_script(), super::DEPLOY)?;
    ensure!(found(&site.poll()?).is_some());
    site.settled("two")?;
    assert_eq!(tries(&site)?, None);
    Ok(())
}

#[test]
fn a_live_commit_that_works_again_is_forgiven() -> Result<()> {
    let site = Site::live()?;
    let live = site.live_release()?.commit;
    site.test.put_program(site.app.deploy_script(), "exit 1")?;
    let outcome = site.with_poll(control::redeploy)?;
    ensure!(matches!(outcome, PollOutcome::Failed(_)), "{outcome:?}");
    ensure!(site.ledger()?.failure(&live).is_some());
    site.poll()?;
    assert_eq!(site.ledger()?.failure(&live), None);
    site.settled("two")
}
