//! The outcomes of the engine, with steps whose findings are written down.

use std::cell::RefCell;

use anyhow::{Result, anyhow, bail};

use super::world::World;
use crate::error;
use crate::provision::{
    About, Changes, Check, CheckContext, Converged, Finding, Fix, Step, StepId, converge, plan,
};

/// Finds one after the other; `applied` counts.
struct Scripted {
    findings: RefCell<Vec<Result<Finding>>>,
    fails: bool,
}

impl Check for Scripted {
    fn about(&self) -> About {
        About::new(StepId::AccountGroup, "web")
    }
    fn check(&self, _: &CheckContext<'_>) -> Result<Finding> {
        self.findings.borrow_mut().remove(0)
    }
}

impl Fix for Scripted {
    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        if self.fails {
            bail!("disk full");
        }
        changes.group("applied")
    }
}

fn scripted(findings: Vec<Result<Finding>>, fails: bool) -> Scripted {
    Scripted {
        findings: RefCell::new(findings),
        fails,
    }
}

/// What converging ends with, and whether it applied.
fn outcome(world: &World, step: &Step<'_>) -> Result<(Result<Converged>, bool)> {
    let mut receipt = world.receipt()?;
    let server = &world.server.server;
    let mut changes = Changes::begin(server, &mut receipt, &world.app.name, false)?;
    let converged = converge(step, &mut changes);
    let applied = world.server.server.group("applied").is_some();
    world.server.accounts.table().groups.clear();
    Ok((converged, applied))
}

#[test]
fn what_is_satisfied_is_not_applied() -> Result<()> {
    let world = World::new()?;
    let diff = "-a\n+b\n".to_owned();
    for finding in [
        Finding::ok("web"),
        Finding::LocallyModified {
            what: "modified".to_owned(),
            diff,
        },
        Finding::Unproven("silence".to_owned()),
        Finding::Unknown("nothing says so".to_owned()),
        Finding::warning("soon", "df"),
    ] {
        assert!(finding.is_satisfied());
        let step = Step::Fix(Box::new(scripted(vec![Ok(finding.clone())], false)));
        let (converged, applied) = outcome(&world, &step)?;
        assert_eq!(converged?, Converged::Unchanged(finding));
        assert!(!applied);
    }
    Ok(())
}

#[test]
fn what_apply_cannot_bring_about_ends_with_the_reason_and_the_command() -> Result<()> {
    let world = World::new()?;
    for (finding, text, hints) in [
        (
            Finding::manual("is masked", "unmask"),
            "is masked",
            vec!["unmask".to_owned()],
        ),
        (
            Finding::blocked(StepId::AccountUser, "needs it"),
            "blocked by account.user (needs it)",
            vec![],
        ),
    ] {
        let step = Step::Fix(Box::new(scripted(vec![Ok(finding)], false)));
        let (converged, applied) = outcome(&world, &step)?;
        let error = converged.err().ok_or_else(|| anyhow!("it converged"))?;
        assert_eq!(
            (error.to_string().as_str(), error::hints(&error), applied),
            (text, hints, false)
        );
    }
    let waits = Finding::AwaitsAccess("Permission denied".to_owned());
    let step = Step::Fix(Box::new(scripted(vec![Ok(waits)], false)));
    let (converged, applied) = outcome(&world, &step)?;
    assert_eq!(
        converged?,
        Converged::AwaitsAccess("Permission denied".to_owned())
    );
    assert!(!applied);
    Ok(())
}

#[test]
fn only_a_second_check_proves_that_apply_worked() -> Result<()> {
    let world = World::new()?;
    let absent = || Ok(Finding::absent("0644 root"));
    for (second, text) in [
        (absent(), "applied, but still missing (0644 root)"),
        (
            Ok(Finding::differs("content differs")),
            "applied, but still wrong: content differs",
        ),
        (Ok(Finding::manual("is masked", "unmask")), "is masked"),
        (
            Ok(Finding::blocked(StepId::AccountUser, "needs it")),
            "applied, but still wrong: needs it",
        ),
        (
            Err(anyhow!("EIO")),
            "applied, but the check afterwards failed: EIO",
        ),
    ] {
        let step = Step::Fix(Box::new(scripted(vec![absent(), second], false)));
        let (converged, applied) = outcome(&world, &step)?;
        let error = converged.err().ok_or_else(|| anyhow!("it converged"))?;
        assert_eq!((format!("{error:#}").as_str(), applied), (text, true));
    }
    let step = Step::Fix(Box::new(scripted(
        vec![absent(), Ok(Finding::ok("gid 7"))],
        false,
    )));
    let (converged, applied) = outcome(&world, &step)?;
    assert_eq!(converged?, Converged::Changed(Finding::ok("gid 7")));
    assert!(applied);
    Ok(())
}

#[test]
fn a_check_or_an_apply_that_fails_changes_nothing_more() -> Result<()> {
    let world = World::new()?;
    let step = Step::Fix(Box::new(scripted(vec![Err(anyhow!("EIO"))], false)));
    let (converged, applied) = outcome(&world, &step)?;
    assert!(converged.is_err_and(|error| error.to_string() == "EIO") && !applied);
    let step = Step::Fix(Box::new(scripted(vec![Ok(Finding::absent("web"))], true)));
    let (converged, _) = outcome(&world, &step)?;
    assert!(converged.is_err_and(|error| error.to_string() == "disk full"));
    // A check alone has nothing to apply.
    let step = Step::Check(Box::new(scripted(vec![Ok(Finding::absent("web"))], false)));
    assert!(step.fix().is_none());
    let (converged, applied) = outcome(&world, &step)?;
    let text = "group web cannot be fixed automatically";
    assert!(converged.is_err_and(|error| error.to_string() == text) && !applied);
    Ok(())
}

#[test]
fn a_plan_checks_everything_and_applies_nothing() -> Result<()> {
    let world = World::new()?;
    let receipt = world.receipt()?;
    let context = CheckContext {
        view: world.server.server.view(),
        receipt: &receipt,
        overwrite: false,
        offline: false,
    };
    let steps = [
        Step::Fix(Box::new(scripted(vec![Ok(Finding::absent("web"))], false))),
        Step::Check(Box::new(scripted(vec![Err(anyhow!("EIO"))], false))),
    ];
    let planned = plan(&steps, &context);
    assert!(matches!(planned[0].finding, Ok(Finding::Absent(_))));
    assert!(planned[1].finding.is_err() && planned[1].step.title() == "group web");
    let about = planned[0].step.about();
    assert!(about.creates() && !planned[0].step.needs_network());
    assert_eq!(about.what, "web");
    assert_eq!(world.server.changes(), [""; 0]);
    Ok(())
}
