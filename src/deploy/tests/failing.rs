//! Deployments that fail, in each of their stages.

use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};

use super::{Site, failure, report};
use crate::decide::Verdict;
use crate::exit::Exit;
use crate::layout;
use crate::report::PollOutcome;
use crate::state::history::{Outcome, Stage};

#[test]
fn a_failing_script_uses_up_its_attempts() -> Result<()> {
    let site = Site::live()?;
    let words = "echo '  Applying items.0002_colour... OK'; echo no such column; exit 3";
    let commit = site.commit("three", &[("script", words)])?;
    for attempt in 1..=3 {
        let outcome = site.poll_now_or_by_cron(attempt)?;
        let (text, exit) = report(&site, &outcome);
        let failed = failure(&outcome)?;
        assert_eq!((failed.tries, exit), (attempt, Exit::Failed));
        assert_eq!(failed.why, "the deploy script exited with status 3");
        assert_eq!(
            failed.last_lines.last().map(String::as_str),
            Some("no such column")
        );
        ensure!(
            text.contains("is still live\n") && text.contains("| no such column"),
            "{text}"
        );
        ensure!(
            text.contains("note  migrations stay applied: items.0002_colour\n"),
            "{text}"
        );
        site.settled("two")?;
        let ledger = site.ledger()?;
        let known = ledger.failure(&commit).context("no failure")?;
        assert_eq!((known.tries, known.stage), (attempt, Stage::Script));
        // Five minutes later it is not due.
        let waits = site.poll()?;
        ensure!(
            matches!(waits, PollOutcome::Skipped(Verdict::Waiting(_))),
            "{waits:?}"
        );
    }
    for _ in 0..300 {
        let waits = site.poll()?;
        ensure!(
            matches!(waits, PollOutcome::Skipped(Verdict::Waiting(_))),
            "{waits:?}"
        );
    }
    let status = serde_json::to_value(site.ledger()?)?;
    assert_eq!(status["failures"][0]["stage"], "script");
    assert_eq!(status["history"][2]["outcome"]["failed"]["stage"], "script");
    let log = site.ledger()?.history().deployments()[2].log.clone();
    ensure!(log.is_some_and(|log| site.test.real(log).exists()));
    site.deploys("four")?;
    assert_eq!(site.ledger()?.failures(), [], "it is no longer the tip");
    // The same when another commit fails after it.
    for version in ["five", "six"] {
        site.commit(version, &[("script", "exit 1")])?;
        site.poll()?;
    }
    assert_eq!(site.ledger()?.failures().len(), 1);
    Ok(())
}

impl Site {
    /// Polls until the next attempt is due.
    fn poll_now_or_by_cron(&self, attempt: u32) -> Result<PollOutcome> {
        for _ in 0..1 << attempt {
            let outcome = self.poll()?;
            if !matches!(outcome, PollOutcome::Skipped(_)) {
                return Ok(outcome);
            }
        }
        anyhow::bail!("attempt {attempt} is never due")
    }
}

/// Deploys a commit with these files; returns the failure, which the ledger must have in the same stage.
pub(super) fn fails(site: &Site, files: &[(&str, &str)]) -> Result<(Stage, String, Vec<String>)> {
    let commit = site.commit("bad", files)?;
    let outcome = site.poll()?;
    let failed = failure(&outcome)?;
    let ledger = site.ledger()?;
    let known = ledger.failure(&commit).context("no failure is recorded")?;
    let last = ledger.history().deployments().last().map(|it| &it.outcome);
    let (stage, why) = (known.stage, failed.why.clone());
    let expected = Outcome::Failed {
        stage,
        why: why.clone(),
    };
    ensure!(last == Some(&expected) && known.why == why, "{last:?}");
    Ok((stage, why, failed.last_lines.clone()))
}

#[test]
fn a_migration_that_was_cut_off_waits_for_a_person() -> Result<()> {
    let site = Site::with_settings("migrate_timeout = 1\n")?;
    site.deploys("one")?;
    let slow = "printf 'Running migrations:\\n  Applying items.0001_x... OK\\n  Applying items.0002_y...'; exec sleep 60";
    let script = format!(
        "# phases: build migrate\nif [ $1 = migrate ]; then {slow}; fi\n{}",
        super::DEPLOY
    );
    site.test.put_program(site.app.deploy_script(), &script)?;
    let (stage, why, _) = fails(&site, &[])?;
    assert_eq!(stage, Stage::CutMigration);
    assert_eq!(
        why,
        "the migration items.0002_y was cut off: the deploy script did not end within 1 s and was stopped in its migrate phase; the time limit is migrate_timeout in /etc/pullpray/todo.toml"
    );
    for _ in 0..9 {
        let outcome = site.poll()?;
        ensure!(matches!(outcome, PollOutcome::Skipped(_)), "{outcome:?}");
    }
    let (text, _) = report(&site, &site.poll_now()?);
    assert!(
        text.contains("giving up after 1 attempt;") && text.contains("sudo pullpray retry todo"),
        "{text}"
    );
    Ok(())
}

#[test]
fn every_stage_that_fails_is_recorded_and_changes_nothing() -> Result<()> {
    let site = Site::live()?;
    let venv = "../../venvs/${PULLPRAY_VENV##*/}";
    let gone = format!("rm -rf {venv}");
    let broken = format!(": >{venv}/broken");
    let new = ("requirements.txt", "django\n");
    let media = "echo \"[[\\\"MEDIA_ROOT\\\",\\\"$PULLPRAY_RELEASE/media\\\",true]]\" >writes";
    for (files, stage, words) in [
        (
            vec![(".venv", "")],
            Stage::Environment,
            "the repository tracks .venv",
        ),
        (
            vec![new, ("script", gone.as_str())],
            Stage::Environment,
            "created no virtual environment at /var/www",
        ),
        (
            vec![new, ("script", broken.as_str())],
            Stage::Environment,
            "cannot be served from the environment that the deploy script created: /var/www/projects/todo/venvs/",
        ),
        (
            vec![("script", "cd ..; rm -rf \"${PULLPRAY_RELEASE##*/}\"")],
            Stage::Script,
            "the deploy script removed its own release",
        ),
        (
            vec![("script", "kill -9 $$")],
            Stage::Script,
            "the deploy script was killed by",
        ),
        (
            vec![("script", media)],
            Stage::Writes,
            "the app would write into the release, which is read-only and replaced by the next one: media (MEDIA_ROOT)",
        ),
        (
            vec![("writes", "nonsense")],
            Stage::Writes,
            "failed to find out where the app writes: Python",
        ),
        (
            vec![("script", "printf 'SQLite format 3\\0' >db.sqlite3")],
            Stage::Writes,
            "migrate created the database db.sqlite3 inside the release",
        ),
        (
            vec![("unhealthy", "")],
            Stage::Trial,
            "health check failed before switching: GET / on /run/gunicorn.todo.trial/",
        ),
        (
            vec![("unhealthy-live", "")],
            Stage::Health,
            "health check failed in a second instance, before the restart: GET / on /run/gunicorn.todo.bridge.sock (Host: todo.example.org) → 503",
        ),
        (
            vec![("unhealthy-alone", "")],
            Stage::Health,
            "health check failed: GET / on /run/gunicorn.todo.own.sock (Host: todo.example.org) → 503",
        ),
    ] {
        let (found, why, _) = fails(&site, &files)?;
        ensure!(found == stage && why.contains(words), "{found:?}: {why}");
        site.settled("two").with_context(|| why)?;
    }
    Ok(())
}

#[test]
fn an_unhealthy_release_reports_what_its_unit_wrote() -> Result<()> {
    let site = Site::live()?;
    let trial = layout::trial_unit(&site.app.name);
    site.test
        .units
        .table()
        .logs
        .insert(trial, "ImportError: no module\nWorker failed".to_owned());
    let (_, _, lines) = fails(&site, &[("unhealthy-in-trial", "")])?;
    assert_eq!(lines, ["ImportError: no module", "Worker failed"]);
    for (file, unit) in [
        ("unhealthy-live", "gunicorn.todo.bridge.service"),
        ("unhealthy-alone", "gunicorn.todo.service"),
    ] {
        let (_, _, lines) = fails(&site, &[(file, "")])?;
        let words = format!("the app's own output: sudo journalctl -u {unit} -n 200");
        assert_eq!(lines, [words]);
    }
    Ok(())
}

#[test]
fn drop_ins_that_the_trial_lacks_skip_it() -> Result<()> {
    let site = Site::live()?;
    let service = site.service();
    if let Some(unit) = site.test.units.table().units.get_mut(&service) {
        unit.drop_ins = vec!["/etc/systemd/system/x.conf".to_owned()];
    }
    let (stage, ..) = fails(&site, &[("unhealthy", "")])?;
    assert_eq!(stage, Stage::Health);
    site.settled("two")
}

#[test]
fn a_release_that_cannot_be_restored_is_reported_and_restored_later() -> Result<()> {
    let site = Site::live()?;
    let live = site.live_release()?;
    site.test.put(
        site.app.releases().join(&live.id).join("unhealthy"),
        "",
        0o644,
    )?;
    site.commit("three", &[("unhealthy-live", "")])?;
    let outcome = site.poll()?;
    let (text, exit) = report(&site, &outcome);
    // The live commit itself was deployed again then, from the mirror.
    let PollOutcome::Redeployed(_, first, second) = &outcome else {
        anyhow::bail!("{outcome:?}");
    };
    let failed = failure(first)?;
    ensure!(failed.restore_error.is_some(), "{failed:?}");
    ensure!(
        text.contains("COULD NOT BE RESTORED: health check failed"),
        "{text}"
    );
    ensure!(
        matches!(**second, PollOutcome::Deployed { .. }),
        "{second:?}"
    );
    assert_eq!(exit, Exit::Failed);
    site.settled("two")
}

#[test]
fn nothing_can_be_restored_while_everything_is_unhealthy() -> Result<()> {
    let site = Site::live()?;
    site.test.http.answer(|_| Ok(500));
    site.test.clock.sleep(std::time::Duration::from_secs(1));
    let outcome = site.poll_now()?;
    let (text, exit) = report(&site, &outcome);
    ensure!(exit == Exit::RestoreFailed, "{exit:?}: {text}");
    let ledger = site.ledger()?;
    assert!(ledger.in_progress().is_none() && ledger.failures().len() == 1);
    Ok(())
}

#[test]
fn an_unhealthy_first_release_leaves_nothing_live() -> Result<()> {
    let site = Site::new()?;
    let (stage, ..) = fails(&site, &[("unhealthy-live", "")])?;
    assert_eq!(stage, Stage::Health);
    let (ledger, server) = (site.ledger()?, &site.test.server);
    assert!(ledger.live().is_none() && ledger.in_progress().is_none());
    assert_eq!(server.read_link(&site.app.current())?, None);
    assert!(site.names(&site.app.releases())?.is_empty());
    site.deploys("two")
}

#[test]
fn a_stage_that_hits_an_error_of_the_server_is_recorded() -> Result<()> {
    let site = Site::live()?;
    // The place where the new link is staged is taken.
    let staged = site.app.project_dir.as_path().join(".current.pullpray-new");
    std::fs::create_dir(site.test.real(&staged))?;
    let (stage, why, _) = fails(&site, &[])?;
    ensure!(
        stage == Stage::Activate && why.contains("failed to point"),
        "{why}"
    );
    std::fs::remove_dir(site.test.real(&staged))?;
    site.settled("two")
}

#[test]
fn a_deployment_that_cannot_be_recorded_does_not_begin() -> Result<()> {
    let site = Site::live()?;
    let commit = site.commit("three", &[])?;
    let releases = site.names(&site.app.releases())?;
    let blocked = layout::state(&site.app.name).join(".ledger.json.pullpray-new");
    std::fs::create_dir(site.test.real(&blocked))?;
    let error = site.poll().err().context("it was recorded")?;
    ensure!(format!("{error:#}").contains("failed to write /var/lib/pullpray/todo/ledger.json"));
    std::fs::remove_dir(site.test.real(&blocked))?;
    assert_eq!(site.names(&site.app.releases())?, releases);
    assert_eq!(site.ledger()?.failure(&commit), None);
    site.poll()?;
    site.settled("three")
}

/// Its file system may be mounted noexec, for which a missing mode bit stands here.
#[test]
fn the_deploy_script_is_run_by_its_interpreter() -> Result<()> {
    let site = Site::live()?;
    let script = site.test.real(site.app.deploy_script());
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o644))?;
    site.deploys("three")?;
    let text = std::fs::read_to_string(&script)?;
    std::fs::write(&script, text.replace('\n', "\r\n"))?;
    site.commit("four", &[])?;
    let failed = site.poll()?;
    let why = &failure(&failed)?.why;
    ensure!(why.contains("Windows line ends (CRLF)"), "{why}");
    site.settled("three")
}

#[test]
fn the_next_attempt_uses_the_environment_of_the_last() -> Result<()> {
    let site = Site::with_settings("attempts = 2\n")?;
    site.commit("one", &[("unhealthy", ""), ("requirements.txt", "x\n")])?;
    let built = || -> Result<usize> { Ok(site.names(&site.app.venvs())?.len()) };
    failure(&site.poll()?)?;
    assert_eq!(built()?, 1);
    // A poll in between prunes nothing of it.
    site.poll()?;
    assert_eq!(built()?, 1);
    // It has no attempt left.
    for _ in 0..6 {
        site.poll()?;
    }
    assert_eq!(built()?, 0);
    Ok(())
}
