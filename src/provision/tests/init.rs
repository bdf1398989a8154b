//! The list, applied to a server that has nothing of the app.

use std::fs;

use anyhow::Result;

use super::state::difference;
use super::world::World;
use crate::layout;
use crate::provision::{CheckContext, Converged, Finding, Fix, StepId, list, monitors, plan};

#[test]
fn init_sets_everything_up_and_a_second_run_changes_nothing() -> Result<()> {
    let world = World::new()?;
    for (id, converged) in world.init()? {
        let changed = matches!(converged, Converged::Changed(Finding::Ok(_)));
        let checked = matches!(converged, Converged::Unchanged(Finding::Ok(_)));
        assert!(changed || checked, "{id}: {converged:?}");
    }
    let before = world.state()?;
    world.server.changes();
    for (id, converged) in world.init()? {
        assert!(
            matches!(converged, Converged::Unchanged(Finding::Ok(_))),
            "{id}: {converged:?}"
        );
    }
    assert_eq!(world.server.changes(), [""; 0]);
    assert_eq!(difference(&world.state()?, &before), [""; 0]);
    Ok(())
}

#[test]
fn checking_an_empty_server_changes_nothing_and_says_what_follows() -> Result<()> {
    let world = World::new()?;
    let receipt = world.receipt()?;
    let context = CheckContext {
        view: world.server.server.view(),
        receipt: &receipt,
        overwrite: false,
        offline: false,
    };
    let before = world.state()?;
    let steps: Vec<_> = list(&world.app)
        .into_iter()
        .chain(monitors(&world.app))
        .collect();
    for planned in plan(&steps, &context) {
        let finding = planned.finding?;
        let expected = match planned.step.id() {
            StepId::ServerRequirements | StepId::AppAddress | StepId::ServerProgram => "ok",
            StepId::AccountMembership | StepId::AccountOperator => "blocked",
            StepId::AgentKey | StepId::RepoAccess | StepId::RepoReadOnly => "blocked",
            StepId::GunicornRunning | StepId::AppHealthy | StepId::RepoOnly => "blocked",
            StepId::ProjectOwnership | StepId::ServerSpace => "blocked",
            StepId::AppReceipt | StepId::AuditRoot | StepId::UnitsDropIns => "ok",
            StepId::SshHostKeyShown | StepId::ServerClock => "ok",
            StepId::PollRecent => "warning",
            StepId::ServerConnections | StepId::ProcessRunning | StepId::NotifyChannels => "ok",
            _ => "absent",
        };
        let is = match finding {
            Finding::Ok(_) => "ok",
            Finding::Blocked { .. } => "blocked",
            Finding::Absent(_) => "absent",
            Finding::Warning(_) => "warning",
            _ => "another finding",
        };
        assert_eq!(is, expected, "{}: {finding:?}", planned.step.id());
    }
    assert_eq!(world.server.changes(), [""; 0]);
    assert_eq!(difference(&world.state()?, &before), [""; 0]);
    Ok(())
}

#[test]
fn previews_are_what_apply_writes() -> Result<()> {
    let world = World::new()?;
    world.init()?;
    let mut texts = 0;
    for step in list(&world.app) {
        if let Some((path, text)) = step.fix().and_then(Fix::preview) {
            assert_eq!(fs::read_to_string(world.server.real(&path))?, text);
            assert_eq!(step.about().what, path.display().to_string());
            texts += 1;
        }
    }
    assert_eq!(texts, 13);
    Ok(())
}

#[test]
fn what_only_the_repository_can_say_blocks_three_steps() -> Result<()> {
    let mut world = World::new()?;
    world.app.wsgi = None;
    for id in [
        StepId::GunicornService,
        StepId::GunicornTrial,
        StepId::AppRelease,
    ] {
        let Finding::Blocked { on, .. } = world.find(id)? else {
            panic!("{id} is not blocked");
        };
        assert_eq!(on, StepId::RepoAccess);
    }
    assert!(
        world
            .step(StepId::GunicornTrial)?
            .fix()
            .and_then(Fix::preview)
            .is_none()
    );
    Ok(())
}

#[test]
fn a_failed_first_deployment_leaves_its_units_stopped_and_the_next_try_to_cron() -> Result<()> {
    let world = World::new()?;
    let own = std::env::current_exe()?.display().to_string();
    world.put_program(
        &own,
        "[ \"$1\" = --version ] || { echo it is unhealthy; exit 1; }",
    )?;
    let error = world.init().err().map(|error| format!("{error:#}"));
    let text = "app.release: pullpray poll --now todo exited with status 1\nit is unhealthy\n";
    assert_eq!(error.as_deref(), Some(text));
    let name = &world.app.name;
    for unit in [layout::socket_unit(name), layout::service_unit(name)] {
        assert!(!world.server.units.is_active(&unit));
        // The next try is cron's, and what it makes live starts at boot.
        assert!(
            world.server.server.view().unit(&unit)?.is_enabled(),
            "{unit}"
        );
    }
    assert!(matches!(world.find(StepId::ScheduleCron)?, Finding::Ok(_)));
    // Deployments are paused: the poll ends well, and nothing is live.
    world.put_program(&own, "exit 0")?;
    let error = world.init().err().map(|error| format!("{error:#}"));
    assert!(error.is_some_and(|text| text.contains("ended without a release")));
    world.purge_and_compare()
}

#[test]
fn a_program_that_others_could_modify_is_copied() -> Result<()> {
    let mut world = World::new()?;
    let own = std::env::current_exe()?;
    world.app.program = "/usr/local/bin/pullpray".into();
    assert!(matches!(
        world.find(StepId::ServerProgram)?,
        Finding::Absent(_)
    ));
    let before = world.state()?;
    world.fix(StepId::ServerProgram)?;
    let (copy, original) = (
        world.server.real(&world.app.program),
        world.server.real(&own),
    );
    assert_eq!(fs::read(&copy)?, fs::read(&original)?);
    // Running a newer one updates it.
    world.put_program(&own.display().to_string(), "exit 0 # newer")?;
    assert!(matches!(
        world.find(StepId::ServerProgram)?,
        Finding::Differs { .. }
    ));
    world.fix(StepId::ServerProgram)?;
    assert_eq!(fs::read(&copy)?, fs::read(&original)?);
    world.remove()?;
    assert_eq!(world.state()?.1, before.1);
    assert!(!copy.exists());
    Ok(())
}
