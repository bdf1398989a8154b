//! A run killed before each of its changes, every one: what it changed is recorded, the next run completes, and a
//! removal leaves nothing.

use anyhow::{Context, Result, ensure};

use super::state::{State, difference};
use super::world::World;
use crate::provision::StepId;

/// How many tests share the instants of a run, so that they run beside each other.
const SHARES: usize = 2;

fn world() -> Result<World> {
    Ok(World {
        only_fixes: true,
        ..World::new()?
    })
}

/// Without the step that starts a third of all programs; to a removal, its file is like any other.
fn frugal_world() -> Result<World> {
    Ok(World {
        without: Some(StepId::SudoRule),
        ..world()?
    })
}

/// Runs `check`, which returns whether the run was killed, for the instants of one share until it is not any more.
fn each_instant(share: usize, check: impl Fn(usize) -> Result<bool>) -> Result<()> {
    let mut instants = 0;
    for number in (1 + share..).step_by(SHARES) {
        if !check(number).with_context(|| format!("killed before change {number}"))? {
            break;
        }
        instants += 1;
    }
    ensure!(instants > 20, "only {instants} instants");
    Ok(())
}

fn same(is: &State, was: &State) -> Result<()> {
    let difference = difference(is, was);
    ensure!(difference.is_empty(), "{difference:#?}");
    Ok(())
}

/// A killed init, then another, then a removal.
fn init_is_completed(share: usize) -> Result<()> {
    each_instant(share, |number| {
        let world = world()?;
        let before = world.state()?;
        let killed = world.server.kill_at(number, || world.init()).is_none();
        let unrecorded = world.unrecorded(&before.0)?;
        ensure!(unrecorded.is_empty(), "not recorded: {unrecorded:?}");
        world.init()?;
        let kept = world.remove()?;
        ensure!(kept.is_empty(), "{kept:?}");
        same(&world.state()?, &before)?;
        Ok(killed)
    })
}

/// A killed init, then a removal at once.
fn init_is_undone(share: usize) -> Result<()> {
    each_instant(share, |number| {
        let world = frugal_world()?;
        let before = world.state()?;
        let killed = world.server.kill_at(number, || world.init()).is_none();
        let kept = world.remove()?;
        ensure!(kept.is_empty(), "{kept:?}");
        same(&world.state()?, &before)?;
        Ok(killed)
    })
}

/// A killed removal, then another.
fn removal_is_completed(share: usize) -> Result<()> {
    each_instant(share, |number| {
        let world = frugal_world()?;
        let before = world.state()?;
        world.init()?;
        let killed = world.server.kill_at(number, || world.remove()).is_none();
        world.remove()?;
        same(&world.state()?, &before)?;
        Ok(killed)
    })
}

#[test]
fn a_killed_init_is_completed_at_odd_instants() -> Result<()> {
    init_is_completed(0)
}

#[test]
fn a_killed_init_is_completed_at_even_instants() -> Result<()> {
    init_is_completed(1)
}

#[test]
fn a_killed_init_is_undone_at_odd_instants() -> Result<()> {
    init_is_undone(0)
}

#[test]
fn a_killed_init_is_undone_at_even_instants() -> Result<()> {
    init_is_undone(1)
}

#[test]
fn a_killed_removal_is_completed_at_odd_instants() -> Result<()> {
    removal_is_completed(0)
}

#[test]
fn a_killed_removal_is_completed_at_even_instants() -> Result<()> {
    removal_is_completed(1)
}
