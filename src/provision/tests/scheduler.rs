//! What starts the polls: cron or a timer, and at each moment at least one of them.

use std::fs;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};

use super::world::World;
use crate::host::UnitState;
use crate::layout;
use crate::provision::{Converged, Finding, StepId};

const CRON: &str = "0 3 * * *";

fn set(world: &mut World, schedule: &str) -> Result<()> {
    world.app.schedule = schedule.parse().map_err(|error| anyhow!("{error}"))?;
    Ok(())
}

fn world(schedule: &str) -> Result<World> {
    let mut world = World {
        only_fixes: true,
        ..World::new()?
    };
    set(&mut world, schedule)?;
    Ok(world)
}

/// Whether cron polls, and whether the timer does, now and after the next boot.
fn who_polls(world: &World) -> (bool, bool) {
    let [service, timer] = layout::poll_units(&world.app.name);
    let real = |unit: &str| world.server.real(layout::unit_file(unit)).exists();
    let on = |state: &UnitState| state.is_active() && state.is_enabled();
    let works = real(&service) && world.server.units.table().units.get(&timer).is_some_and(on);
    let cron = world.server.real(world.app.cron()).exists();
    (cron, works && real(&timer))
}

fn files(world: &World) -> usize {
    let units = layout::poll_units(&world.app.name).map(|unit| layout::unit_file(&unit));
    let files = units.into_iter().chain([world.app.cron()]);
    files
        .filter(|path| world.server.real(path).exists())
        .count()
}

#[test]
fn a_timer_is_set_up_kept_running_and_removed() -> Result<()> {
    let world = world("30s")?;
    world.init()?;
    assert_eq!((who_polls(&world), files(&world)), ((false, true), 2));
    world.server.changes();
    world.init()?;
    assert_eq!(world.server.changes(), [""; 0]);
    let [service, timer] = layout::poll_units(&world.app.name);
    let text = fs::read_to_string(world.server.real(layout::unit_file(&service)))?;
    assert!(
        text.contains("User=gunicorn\n") && text.contains(" poll todo\n"),
        "{text}"
    );
    let text = fs::read_to_string(world.server.real(layout::unit_file(&timer)))?;
    assert!(text.contains("OnUnitActiveSec=30s\n"), "{text}");

    for (harm, says) in [
        ("stop", "is inactive, so nothing polls"),
        ("disable", "would not start at boot"),
    ] {
        let mut table = world.server.units.table();
        let state = table.units.entry(timer.clone()).or_default();
        match harm {
            "stop" => state.active = "inactive".to_owned(),
            _ => state.enabled = "disabled".to_owned(),
        }
        drop(table);
        let found = world.find(StepId::ScheduleTimer)?;
        let last = list_last(&world)?;
        ensure!(last.summary().contains(says), "{harm}: {found:?} {last:?}");
        world.init()?;
        assert_eq!(who_polls(&world), (false, true), "{harm}");
    }
    let mut table = world.server.units.table();
    let state = table.units.entry(service.clone()).or_default();
    state.confines = vec!["NoNewPrivileges".to_owned()];
    drop(table);
    let Finding::ManualFix(problem) = list_last(&world)? else {
        panic!("a confined service is not found");
    };
    assert!(
        problem
            .why
            .contains("so no deployment that it starts can succeed")
    );
    world.purge_and_compare()
}

/// What the last step of the schedule finds.
fn list_last(world: &World) -> Result<Finding> {
    let receipt = world.receipt()?;
    let context = crate::provision::CheckContext {
        view: world.server.server.view(),
        receipt: &receipt,
        overwrite: false,
        offline: false,
    };
    let ids = [StepId::ScheduleTimer, StepId::ScheduleCron];
    let steps = crate::provision::list(&world.app);
    let last = steps.iter().rfind(|step| ids.contains(&step.id()));
    last.ok_or_else(|| anyhow!("no step"))?.check(&context)
}

#[test]
fn another_interval_is_a_restart_of_the_timer_and_of_no_poll() -> Result<()> {
    let mut world = world("30s")?;
    world.init()?;
    world.server.units.table().commands.clear();
    set(&mut world, "10s")?;
    world.init()?;
    let commands = world.server.units.table().commands.join("\n");
    assert!(
        commands.contains("restart -- pullpray-poll.todo.timer"),
        "{commands}"
    );
    assert!(
        !commands.contains("pullpray-poll.todo.service"),
        "{commands}"
    );
    Ok(())
}

/// Killed before each change, one scheduler polls; the next run leaves the one that the settings name.
fn changed(from: &str, to: &str) -> Result<()> {
    for number in 1.. {
        let mut world = world(from)?;
        world.init()?;
        set(&mut world, to)?;
        let killed = world.server.kill_at(number, || world.init()).is_none();
        let (cron, timer) = who_polls(&world);
        ensure!(
            cron || timer,
            "killed before change {number}: nothing polls"
        );
        for (id, converged) in world.init()? {
            let well = matches!(
                converged,
                Converged::Unchanged(Finding::Ok(_)) | Converged::Changed(Finding::Ok(_))
            );
            ensure!(well, "{id}: {converged:?}");
        }
        let by_timer = world.app.schedule.timer().is_some();
        assert_eq!(
            who_polls(&world),
            (!by_timer, by_timer),
            "before change {number}"
        );
        assert_eq!(
            files(&world),
            1 + usize::from(by_timer),
            "before change {number}"
        );
        world.purge_and_compare()?;
        if !killed {
            ensure!(number > 4, "only {number} instants");
            break;
        }
    }
    Ok(())
}

#[test]
fn from_cron_to_a_timer_at_each_moment_one_of_them_polls() -> Result<()> {
    changed(CRON, "10s")
}

#[test]
fn from_a_timer_to_cron_at_each_moment_one_of_them_polls() -> Result<()> {
    changed("10s", CRON)
}

#[test]
fn fields_need_cron_and_a_timer_does_not() -> Result<()> {
    let mut world = world(CRON)?;
    fs::remove_file(world.server.real("/usr/bin/cron"))?;
    world.server.units.table().units.clear();
    let Finding::ManualFix(problem) = list_last(&world)? else {
        panic!("no problem");
    };
    assert_eq!(
        problem.why,
        "polls at \"0 3 * * *\" need cron, which is not installed"
    );
    assert!(
        problem
            .remedy
            .ends_with("sudo pullpray init todo --schedule 5m")
    );
    set(&mut world, "5m")?;
    let Finding::Absent(what) = list_last(&world)? else {
        panic!("not absent");
    };
    assert_eq!(what, "0644 root, polls every 5 minutes; there is no cron");
    assert!(world.server.server.facts(None)?.no_cron);
    for daemon in [
        "/usr/sbin/crond",
        "/usr/lib/systemd/system-generators/systemd-crontab-generator",
    ] {
        world.server.put_program(daemon, "")?;
        assert!(!world.server.server.facts(None)?.no_cron, "{daemon}");
        fs::remove_file(world.server.real(daemon))?;
    }
    Ok(())
}

#[test]
fn a_timer_that_starts_no_polls_is_found() -> Result<()> {
    let world = World {
        only_fixes: false,
        ..world("30s")?
    };
    world.init()?;
    let found = world.find(StepId::PollRecent)?;
    assert!(
        found
            .summary()
            .ends_with("ago; a timer polls every 30 seconds"),
        "{found:?}"
    );
    world
        .server
        .clock
        .sleep(Duration::from_secs(400 * 24 * 3600));
    let Finding::ManualFix(problem) = world.find(StepId::PollRecent)? else {
        panic!("not found");
    };
    assert!(
        problem
            .why
            .starts_with("the timer has started no poll since ")
    );
    assert!(
        problem
            .remedy
            .contains("sudo journalctl -u 'pullpray-poll.todo.*'")
    );
    Ok(())
}
