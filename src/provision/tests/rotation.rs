//! The rotation of the deploy key: whenever it is killed, one of the two keys works, and it can be finished.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::world::World;
use crate::layout;
use crate::provision::{
    Changes, NextKeyAccess, Rotation, StepId, converge, next_key, next_key_access, public_key,
    rotation, switch_key,
};

fn world() -> Result<World> {
    let world = World {
        only_fixes: true,
        ..World::new()?
    };
    world.init()?;
    Ok(world)
}

fn with<T>(world: &World, run: impl FnOnce(&mut Changes<'_>) -> Result<T>) -> Result<T> {
    let mut receipt = world.receipt()?;
    let server = &world.server.server;
    run(&mut Changes::begin(
        server,
        &mut receipt,
        &world.app.name,
        false,
    )?)
}

fn progress(world: &World) -> Result<Rotation> {
    rotation(&world.server.server, &world.app.name)
}

/// Rotates as `key --rotate` does.
fn rotate(world: &World) -> Result<()> {
    with(world, |changes| {
        if rotation(changes.context().view, &world.app.name)? != Rotation::Switched {
            next_key(changes, &world.app)?;
        }
        switch_key(changes, &world.app)?;
        for id in [StepId::KeyDeploy, StepId::AgentKey] {
            converge(&world.step(id)?, changes)?;
        }
        Ok(())
    })
}

#[test]
fn the_next_key_is_kept_until_it_replaces_the_old_one() -> Result<()> {
    let world = world()?;
    let name = &world.app.name;
    let server = &world.server.server;
    let (_, old) = public_key(server, name)?.context("no key")?;
    assert_eq!(progress(&world)?, Rotation::None);
    let (line, next) = with(&world, |changes| next_key(changes, &world.app))?;
    assert_eq!(progress(&world)?, Rotation::Begun);
    // The title distinguishes the two keys on the git host's page.
    assert!(line.ends_with(" 2026-11-23") && next != old, "{line}");
    let again = with(&world, |changes| next_key(changes, &world.app))?;
    assert_eq!(again, (line, next.clone()));
    assert_eq!(public_key(server, name)?.map(|(_, key)| key), Some(old));
    with(&world, |changes| switch_key(changes, &world.app))?;
    assert_eq!(progress(&world)?, Rotation::None);
    assert_eq!(public_key(server, name)?.map(|(_, key)| key), Some(next));
    world.purge_and_compare()
}

#[test]
fn the_next_key_is_tried_alone() -> Result<()> {
    let world = world()?;
    with(&world, |changes| next_key(changes, &world.app))?;
    let server = &world.server.server;
    let found = || next_key_access(server, &world.app);
    let granted = NextKeyAccess::ReadOnly("reads main at 1234567; push is refused".to_owned());
    assert_eq!(found()?, granted);
    // ssh gets this key, and no agent.
    let log = world.server.real("/tmp/ssh");
    fs::create_dir_all(world.server.real("/tmp"))?;
    let refused = "echo 'git@github.com: Permission denied (publickey).' >&2; exit 255";
    let script = format!("echo \"$*\" >{}; {refused}", log.display());
    world.put_program("/usr/bin/ssh", &script)?;
    let NextKeyAccess::Denied(why) = found()? else {
        panic!("it was granted");
    };
    assert!(why.contains("Permission denied"), "{why}");
    let arguments = fs::read_to_string(&log)?;
    assert!(
        arguments.contains("-o IdentityAgent=none -o IdentityFile="),
        "{arguments}"
    );
    assert!(arguments.contains("todo_ed25519.next"), "{arguments}");
    world.put_program("/usr/bin/ssh", "echo 'Connection refused' >&2; exit 255")?;
    assert!(found().is_err());
    Ok(())
}

#[test]
fn a_killed_rotation_is_finished_by_the_next() -> Result<()> {
    for number in 1.. {
        let world = world()?;
        let name = &world.app.name;
        let private = world.server.real(layout::private_key(name));
        let old = fs::read(&private)?;
        let killed = world.server.kill_at(number, || rotate(&world)).is_none();
        let context = || format!("killed before change {number}");
        // The deploy key is the old one or the next, whole.
        let key = fs::read(&private)?;
        let next = fs::read(world.server.real(layout::next_private_key(name))).ok();
        ensure!(key == old || next.is_none(), "{}", context());
        rotate(&world).with_context(context)?;
        ensure!(progress(&world)? == Rotation::None, "{}", context());
        ensure!(fs::read(&private)? != old, "{}", context());
        world.purge_and_compare().with_context(context)?;
        if !killed {
            break;
        }
    }
    Ok(())
}
