//! How each change is undone.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::Path;

use anyhow::{Context, Result};

use super::world::World;
use crate::layout;
use crate::provision::{Changes, Removal, Removed, Undone};
use crate::state::receipt::{Before, Change, Was};
use crate::state::sha256;

/// Undoes one change of a receipt that lists just this one, and perhaps others.
fn undo(world: &World, change: &Change, purge: bool) -> Result<Undone> {
    let receipt = world.receipt()?;
    let removal = Removal {
        server: &world.server.server,
        receipt: &receipt,
        app: &world.app.name,
        others: &[],
        purge,
    };
    match removal.undo(change)? {
        Removed::Undone(undone) => Ok(undone),
        Removed::NeededBy(other) => panic!("needed by {other}"),
    }
}

fn removed(what: &str) -> Undone {
    Undone::Removed(what.to_owned())
}

fn kept(why: &str) -> Undone {
    Undone::Kept(why.to_owned())
}

/// Records changes by making them.
fn change(world: &World, run: impl FnOnce(&mut Changes<'_>) -> Result<()>) -> Result<()> {
    let mut receipt = world.receipt()?;
    run(&mut Changes::begin(
        &world.server.server,
        &mut receipt,
        &world.app.name,
        false,
    )?)
}

fn file(path: &str, before: Before) -> Change {
    Change::File {
        path: path.into(),
        before,
        sha256: String::new(),
    }
}

fn directory(path: &str, was: Option<Was>) -> Change {
    Change::Directory {
        path: path.into(),
        before: was.map_or(Before::Created, |_| Before::Adopted),
        was,
    }
}

#[test]
fn a_created_file_is_removed_unless_somebody_modified_it() -> Result<()> {
    let world = World::new()?;
    let (path, created) = (Path::new("/etc/x"), file("/etc/x", Before::Created));
    let write =
        |content: &[u8]| change(&world, |changes| changes.file(path, content, 0o644, (0, 0)));
    write(b"one")?;
    write(b"two")?;
    assert_eq!(undo(&world, &created, false)?, removed("removed"));
    assert_eq!(undo(&world, &created, false)?, removed("already gone"));
    // An earlier content of ours is ours, too.
    world.server.put(path, "one", 0o644)?;
    assert_eq!(undo(&world, &created, false)?, removed("removed"));
    world.server.put(path, "theirs", 0o644)?;
    assert_eq!(
        undo(&world, &created, false)?,
        kept("was modified since; --purge removes it too")
    );
    assert_eq!(undo(&world, &created, true)?, removed("removed"));
    fs::create_dir(world.server.real(path))?;
    assert_eq!(undo(&world, &created, true)?, kept("is no longer a file"));
    Ok(())
}

#[test]
fn what_a_killed_write_left_is_removed_with_its_target() -> Result<()> {
    let world = World::new()?;
    world.server.put("/etc/.x.pullpray-new", "half", 0o600)?;
    assert_eq!(
        undo(&world, &file("/etc/x", Before::Created), false)?,
        removed("already gone")
    );
    world.server.put("/etc/.y.pullpray-new", "half", 0o600)?;
    assert_eq!(
        undo(&world, &file("/etc/y", Before::Adopted), false)?,
        kept("existed before pullpray")
    );
    assert!(!world.server.real("/etc/.x.pullpray-new").exists());
    assert!(!world.server.real("/etc/.y.pullpray-new").exists());
    Ok(())
}

#[test]
fn a_replaced_file_is_restored_with_owner_and_mode() -> Result<()> {
    let world = World::new()?;
    let path = Path::new("/etc/x");
    world.server.put(path, "before", 0o640)?;
    chown(world.server.real(path), Some(5), Some(6))?;
    change(&world, |changes| changes.file(path, b"ours", 0o600, (0, 0)))?;
    let replaced = (world.receipt()?.before(path).cloned()).context("no record")?;
    assert_eq!(
        undo(&world, &file("/etc/x", replaced.clone()), false)?,
        removed("restored the previous file")
    );
    let meta = fs::metadata(world.server.real(path))?;
    assert_eq!(
        (meta.mode() & 0o7777, meta.uid(), meta.gid()),
        (0o640, 5, 6)
    );
    assert_eq!(fs::read_to_string(world.server.real(path))?, "before");
    // Without its backup it is just removed.
    change(&world, |changes| changes.file(path, b"ours", 0o600, (0, 0)))?;
    fs::remove_dir_all(world.server.real(layout::backups(&world.app.name)))?;
    assert_eq!(
        undo(&world, &file("/etc/x", replaced), false)?,
        removed("removed")
    );
    Ok(())
}

#[test]
fn a_private_key_is_recognised_by_its_fingerprint() -> Result<()> {
    let world = World::new()?;
    world.init()?;
    let key = layout::private_key(&world.app.name);
    let receipt = world.receipt()?;
    let entry = (receipt.entries().iter().rev())
        .find(|entry| matches!(&entry.change, Change::File { path, .. } if *path == key))
        .context("it is not recorded")?;
    let Change::File {
        sha256: recorded, ..
    } = &entry.change
    else {
        panic!("{entry:?}");
    };
    let text = fs::read(world.server.real(&key))?;
    assert!(recorded.starts_with("SHA256:") && *recorded != sha256(&text));
    assert_eq!(undo(&world, &entry.change, false)?, removed("removed"));
    Ok(())
}

#[test]
fn a_line_is_removed_and_the_file_with_the_last_one() -> Result<()> {
    let world = World::new()?;
    let line = |line: &str| Change::Line {
        path: "/etc/hosts".into(),
        line: line.to_owned(),
    };
    assert_eq!(undo(&world, &line("b"), false)?, removed("already gone"));
    world.server.put("/etc/hosts", "a\nb\nab\n", 0o644)?;
    assert_eq!(undo(&world, &line("b"), false)?, removed("line removed"));
    assert_eq!(
        fs::read_to_string(world.server.real("/etc/hosts"))?,
        "a\nab\n"
    );
    assert_eq!(undo(&world, &line("b"), false)?, removed("line removed"));
    assert_eq!(
        fs::read_to_string(world.server.real("/etc/hosts"))?,
        "a\nab\n"
    );
    undo(&world, &line("a"), false)?;
    undo(&world, &line("ab"), false)?;
    assert!(!world.server.real("/etc/hosts").exists());
    Ok(())
}

#[test]
fn a_created_directory_is_removed_only_if_it_is_empty() -> Result<()> {
    let world = World::new()?;
    let created = directory("/srv/x", None);
    fs::create_dir_all(world.server.real("/srv/x"))?;
    world.server.put("/srv/x/file", "", 0o644)?;
    // No number of an account that init created and that is gone keeps it; one that was there before may only be away.
    for (before, after) in [(1000, 1000), (4242, 4242), (4242, 0)] {
        if after == 0 {
            world.init()?;
        }
        chown(world.server.real("/srv/x"), Some(before), None)?;
        assert_eq!(undo(&world, &created, true)?, kept("is not empty"));
        let owner = fs::metadata(world.server.real("/srv/x"))?.uid();
        assert_eq!(owner, after);
    }
    fs::remove_file(world.server.real("/srv/x/file"))?;
    assert_eq!(undo(&world, &created, false)?, removed("removed"));
    assert_eq!(undo(&world, &created, false)?, removed("removed"));
    // The app's account may put something else in its place, in a directory of its own.
    chown(world.server.real("/srv"), Some(7), Some(7))?;
    symlink("/etc", world.server.real("/srv/x"))?;
    assert_eq!(
        undo(&world, &created, false)?,
        removed("removed what had replaced it")
    );
    assert!(world.server.real("/etc").exists());
    assert!(fs::symlink_metadata(world.server.real("/srv/x")).is_err());
    Ok(())
}

#[test]
fn an_adopted_directory_gets_its_owner_and_mode_back() -> Result<()> {
    let world = World::new()?;
    let was = Was {
        uid: 0,
        gid: 1000,
        mode: 0o711,
        empty: true,
    };
    fs::create_dir_all(world.server.real("/srv/x"))?;
    chown(world.server.real("/srv/x"), Some(7), Some(7))?;
    let adopted = directory("/srv/x", Some(was));
    assert_eq!(
        undo(&world, &adopted, true)?,
        removed("kept, restored to root:ann 0711")
    );
    let meta = fs::metadata(world.server.real("/srv/x"))?;
    assert_eq!(
        (meta.mode() & 0o7777, meta.uid(), meta.gid()),
        (0o711, 0, 1000)
    );
    fs::remove_dir(world.server.real("/srv/x"))?;
    assert_eq!(
        undo(&world, &adopted, true)?,
        kept("existed before pullpray")
    );
    Ok(())
}

#[test]
fn accounts_that_existed_before_stay_and_created_ones_go() -> Result<()> {
    let world = World::new()?;
    let user = |before| Change::User {
        name: "web".to_owned(),
        before,
    };
    let group = |before| Change::Group {
        name: "web".to_owned(),
        before,
    };
    let member = |before| Change::Member {
        user: "ann".to_owned(),
        group: "web".to_owned(),
        before,
    };
    change(&world, |changes| {
        changes.group("web")?;
        changes.user("web", "web")?;
        changes.member("ann", "web")
    })?;
    for adopted in [
        user(Before::Adopted),
        group(Before::Adopted),
        member(Before::Adopted),
    ] {
        assert_eq!(
            undo(&world, &adopted, true)?,
            kept("existed before pullpray")
        );
    }
    let server = &world.server.server;
    for created in [
        member(Before::Created),
        user(Before::Created),
        group(Before::Created),
    ] {
        assert_eq!(undo(&world, &created, false)?, removed("removed"));
        assert_eq!(undo(&world, &created, false)?, removed("already gone"));
    }
    assert!(server.user("web").is_none() && server.group("web").is_none());
    assert!(server.user("ann").is_some() && server.group("ann").is_some());
    Ok(())
}

#[test]
fn a_unit_is_stopped_and_disabled() -> Result<()> {
    let world = World::new()?;
    let unit = Change::Unit {
        name: "x.service".to_owned(),
    };
    assert_eq!(undo(&world, &unit, false)?, removed("already gone"));
    world
        .server
        .put("/etc/systemd/system/x.service", "[Service]\n", 0o644)?;
    change(&world, |changes| changes.unit("x.service"))?;
    assert!(world.server.units.is_active("x.service"));
    assert_eq!(undo(&world, &unit, false)?, removed("stopped and disabled"));
    assert!(!world.server.units.is_active("x.service"));
    Ok(())
}

#[test]
fn the_plan_says_what_happens() -> Result<()> {
    let world = World::new()?;
    let was = Was {
        uid: 0,
        gid: 0,
        mode: 0o755,
        empty: true,
    };
    let (project, statics) = (Path::new("/srv/x"), Path::new("/srv/s"));
    let release = Change::Release {
        path: project.into(),
        static_dir: statics.into(),
    };
    for (change, mark, detail) in [
        (file("/x", Before::Created), '-', ""),
        (
            file("/x", Before::Adopted),
            '=',
            "existed before, and stays",
        ),
        (
            file("/x", Before::Replaced("/y".into())),
            '~',
            "the earlier file is restored",
        ),
        (directory("/x", None), '-', "if it is empty"),
        (
            directory("/x", Some(was)),
            '=',
            "existed before, and stays, with its earlier owner and mode",
        ),
        (
            release.clone(),
            '-',
            "releases, environments, static files, mirror, logs; shared/ with the app's data stays",
        ),
    ] {
        assert_eq!(change.reversal().describe(false), (mark, detail));
    }
    let purged =
        "releases, environments, static files, mirror, logs, and shared/ with the app's data";
    assert_eq!(release.reversal().describe(true), ('-', purged));
    // What the plan keeps is kept.
    world.server.put("/x", "x", 0o600)?;
    assert_eq!(
        undo(&world, &file("/x", Before::Adopted), true)?,
        kept("existed before pullpray")
    );
    Ok(())
}
