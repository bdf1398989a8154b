//! The operations of `Changes`: what they record, what they refuse, and that nothing happens before its record.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::world::World;
use crate::host::Kind;
use crate::layout;
use crate::provision::Changes;
use crate::state::receipt::{Before, Change, Was};
use crate::state::sha256;

/// Runs an operation on the receipt of the app.
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

/// The last recorded change.
fn last(world: &World) -> Result<Change> {
    let receipt = world.receipt()?;
    let entry = receipt.entries().last().context("nothing is recorded")?;
    Ok(entry.change.clone())
}

fn before(world: &World, path: &str) -> Result<Option<Before>> {
    Ok(world.receipt()?.before(Path::new(path)).cloned())
}

#[test]
fn the_receipt_has_its_own_directories_recorded_first() -> Result<()> {
    let world = World::new()?;
    with(&world, |_| Ok(()))?;
    let receipt = world.receipt()?;
    let recorded: Vec<_> = receipt
        .entries()
        .iter()
        .map(|entry| entry.change.clone())
        .collect();
    let directory = |path: &str| Change::Directory {
        path: path.into(),
        before: Before::Created,
        was: None,
    };
    assert_eq!(
        recorded,
        [
            directory(layout::STATE_DIR),
            directory(layout::RECEIPTS_DIR)
        ]
    );
    let stat = world.server.server.stat(Path::new(layout::RECEIPTS_DIR))?;
    assert_eq!(stat.map(|stat| stat.mode), Some(0o700));
    Ok(())
}

#[test]
fn a_file_is_created_then_rewritten_and_stays_created() -> Result<()> {
    let world = World::new()?;
    let path = Path::new("/etc/new");
    with(&world, |changes| changes.file(path, b"one", 0o640, (0, 7)))?;
    assert_eq!(before(&world, "/etc/new")?, Some(Before::Created));
    with(&world, |changes| changes.file(path, b"two", 0o600, (0, 0)))?;
    assert_eq!(before(&world, "/etc/new")?, Some(Before::Created));
    assert!(world.receipt()?.wrote(path, &sha256(b"two")));
    // Somebody else's content is backed up, although the file is ours.
    world.server.put(path, "theirs", 0o604)?;
    with(&world, |changes| {
        changes.file(path, b"three", 0o600, (0, 0))
    })?;
    let backups = layout::backups(&world.app.name);
    let names = world.server.server.list(&backups)?;
    assert_eq!(names.len(), 1);
    let backup = world.server.real(backups.join(&names[0]));
    assert_eq!(fs::read_to_string(&backup)?, "theirs");
    assert_eq!(fs::metadata(&backup)?.mode() & 0o7777, 0o604);
    assert!(matches!(
        last(&world)?,
        Change::File {
            before: Before::Created,
            ..
        }
    ));
    // Deleted: the first record still says what was there before.
    fs::remove_file(world.server.real(path))?;
    with(&world, |changes| changes.file(path, b"four", 0o600, (0, 0)))?;
    assert!(matches!(
        last(&world)?,
        Change::File {
            before: Before::Created,
            ..
        }
    ));
    Ok(())
}

#[test]
fn what_was_there_before_is_backed_up_once() -> Result<()> {
    let world = World::new()?;
    let path = Path::new("/etc/old");
    world.server.put(path, "before", 0o640)?;
    chown(world.server.real(path), Some(5), Some(6))?;
    with(&world, |changes| changes.file(path, b"ours", 0o600, (0, 0)))?;
    let first = before(&world, "/etc/old")?;
    let Some(Before::Replaced(backup)) = &first else {
        panic!("{first:?}");
    };
    let meta = fs::metadata(world.server.real(backup))?;
    assert_eq!(
        (meta.mode() & 0o7777, meta.uid(), meta.gid()),
        (0o640, 5, 6)
    );
    with(&world, |changes| {
        changes.file(path, b"ours, too", 0o600, (0, 0))
    })?;
    world.server.put(path, "modified", 0o600)?;
    with(&world, |changes| {
        changes.file(path, b"again", 0o600, (0, 0))
    })?;
    assert_eq!(before(&world, "/etc/old")?, first);
    assert!(
        matches!(last(&world)?, Change::File { before: Before::Replaced(to), .. } if to == *backup)
    );
    Ok(())
}

#[test]
fn what_is_not_a_file_is_never_replaced() -> Result<()> {
    let world = World::new()?;
    fs::create_dir(world.server.real("/etc/dir"))?;
    symlink("nowhere", world.server.real("/etc/link"))?;
    for path in ["/etc/dir", "/etc/link"] {
        let written = with(&world, |changes| {
            changes.file(Path::new(path), b"x", 0o600, (0, 0))
        });
        assert!(written.is_err_and(|error| error.to_string() == format!("{path} exists and is not a file")));
        assert_eq!(before(&world, path)?, None);
    }
    world.server.put("/etc/there", "x", 0o600)?;
    let path = Path::new("/etc/there");
    let written = with(&world, |changes| changes.new_file(path, b"x", 0o600, "sha"));
    assert!(written.is_err_and(|error| error.to_string().ends_with("is never overwritten")));
    assert_eq!(before(&world, "/etc/there")?, None);
    Ok(())
}

#[test]
fn an_adopted_file_keeps_its_content() -> Result<()> {
    let world = World::new()?;
    world.server.put("/etc/a", "a", 0o666)?;
    world.server.put("/etc/b", "b", 0o666)?;
    fs::hard_link(world.server.real("/etc/b"), world.server.real("/etc/c"))?;
    with(&world, |changes| {
        changes.adopt(Path::new("/etc/a"), (0, 0), 0o600)
    })?;
    with(&world, |changes| {
        changes.rewrite(Path::new("/etc/b"), b"b", 0o600, (0, 0))
    })?;
    for path in ["/etc/a", "/etc/b"] {
        assert_eq!(before(&world, path)?, Some(Before::Adopted));
        let meta = fs::metadata(world.server.real(path))?;
        assert_eq!((meta.mode() & 0o7777, meta.nlink()), (0o600, 1));
    }
    let refused = with(&world, |changes| {
        changes.remove_created(Path::new("/etc/a"))
    });
    assert!(refused.is_err_and(|error| error.to_string() == "/etc/a existed before pullpray"));
    // What pullpray wrote is not adopted later.
    with(&world, |changes| {
        changes.file(Path::new("/etc/d"), b"d", 0o600, (0, 0))
    })?;
    with(&world, |changes| {
        changes.adopt(Path::new("/etc/d"), (0, 0), 0o644)
    })?;
    assert_eq!(before(&world, "/etc/d")?, Some(Before::Created));
    with(&world, |changes| {
        changes.remove_created(Path::new("/etc/d"))
    })?;
    assert!(world.server.server.stat(Path::new("/etc/d"))?.is_none());
    Ok(())
}

#[test]
fn a_rejected_write_is_put_back() -> Result<()> {
    let world = World::new()?;
    let path = Path::new("/etc/a");
    world.server.put(path, "before", 0o644)?;
    with(&world, |changes| {
        changes.file(path, b"rejected", 0o600, (0, 0))?;
        changes.put_back(path, Some(b"before"), 0o644, (0, 0))
    })?;
    assert_eq!(fs::read_to_string(world.server.real(path))?, "before");
    with(&world, |changes| {
        changes.file(Path::new("/etc/b"), b"rejected", 0o600, (0, 0))?;
        changes.put_back(Path::new("/etc/b"), None, 0o644, (0, 0))
    })?;
    assert!(world.server.server.stat(Path::new("/etc/b"))?.is_none());
    Ok(())
}

#[test]
fn a_directory_is_recorded_with_what_it_was() -> Result<()> {
    let world = World::new()?;
    for dir in ["/srv/empty", "/srv/full/x"] {
        fs::create_dir_all(world.server.real(dir))?;
    }
    chown(world.server.real("/srv/empty"), Some(3), Some(4))?;
    for dir in ["/srv/empty", "/srv/full", "/srv/new"] {
        with(&world, |changes| {
            changes.directory(Path::new(dir), (1, 2), 0o2770)
        })?;
        let stat = world
            .server
            .server
            .stat(Path::new(dir))?
            .context("it is missing")?;
        assert_eq!(
            (stat.kind, stat.uid, stat.gid, stat.mode),
            (Kind::Directory, 1, 2, 0o2770)
        );
        // A second time changes no record.
        with(&world, |changes| {
            changes.directory(Path::new(dir), (1, 2), 0o2775)
        })?;
    }
    let receipt = world.receipt()?;
    let was: Vec<_> = (receipt.entries().iter())
        .filter_map(|entry| match &entry.change {
            Change::Directory { path, was, .. } if path.starts_with("/srv") => Some(*was),
            _ => None,
        })
        .collect();
    let was_before = |uid, gid, empty| {
        Some(Was {
            uid,
            gid,
            mode: 0o755,
            empty,
        })
    };
    assert_eq!(was, [was_before(3, 4, true), was_before(0, 0, false), None]);
    assert!(
        receipt.owns_contents(Path::new("/srv/empty"))
            && receipt.owns_contents(Path::new("/srv/new"))
    );
    assert!(!receipt.owns_contents(Path::new("/srv/full")));
    Ok(())
}

/// An operation, by its name.
type Operation = (&'static str, fn(&mut Changes<'_>) -> Result<()>);

#[test]
fn nothing_is_changed_before_its_record() -> Result<()> {
    let operations: &[Operation] = &[
        ("file", |changes| {
            changes.file(Path::new("/etc/x"), b"x", 0o600, (0, 0))
        }),
        ("replaced", |changes| {
            changes.file(Path::new("/etc/old"), b"x", 0o600, (0, 0))
        }),
        ("new_file", |changes| {
            changes.new_file(Path::new("/etc/x"), b"x", 0o600, "sha")
        }),
        ("adopt", |changes| {
            changes.adopt(Path::new("/etc/old"), (0, 0), 0o600)
        }),
        ("rewrite", |changes| {
            changes.rewrite(Path::new("/etc/old"), b"old", 0o600, (0, 0))
        }),
        ("directory", |changes| {
            changes.directory(Path::new("/srv/x"), (1, 2), 0o2770)
        }),
        ("line", |changes| {
            changes.line(Path::new("/etc/x"), "a", "a\n")
        }),
        ("replace_with", |changes| {
            changes.file(Path::new("/etc/next"), b"x", 0o600, (0, 0))?;
            changes.replace_with(Path::new("/etc/next"), Path::new("/etc/old"), "sha")
        }),
        ("program", |changes| {
            changes.program(Path::new("/etc/old"), Path::new("/usr/local/bin/x"))
        }),
        ("settings", |changes| {
            changes.settings(Path::new("/etc/x.toml"), "a = 1\n", 0o640, 0)
        }),
        ("unit", |changes| changes.unit("x.service")),
        ("accounts", |changes| {
            changes.group("web")?;
            changes.user("web", "web")?;
            changes.member("ann", "web")
        }),
        ("sudoers", |changes| changes.validate_sudoers(b"x")),
    ];
    for (name, run) in operations {
        for number in 1.. {
            let world = World::new()?;
            world.server.put("/etc/old", "old", 0o644)?;
            world
                .server
                .put("/etc/systemd/system/x.service", "[Service]\n", 0o644)?;
            fs::create_dir_all(world.server.real("/srv"))?;
            with(&world, |_| Ok(()))?;
            let (files, accounts, units) = world.state()?;
            let ended = world.server.kill_at(number, || with(&world, run));
            let context = || format!("{name}, killed before change {number}");
            let unrecorded = world.unrecorded(&files)?;
            ensure!(unrecorded.is_empty(), "{}: {unrecorded:?}", context());
            let (_, accounts_now, units_now) = world.state()?;
            let receipt = world.receipt()?;
            let recorded = |kind| {
                receipt
                    .entries()
                    .iter()
                    .any(|entry| entry.change.subject().0 == kind)
            };
            ensure!(
                accounts_now == accounts || recorded("group"),
                "{}",
                context()
            );
            ensure!(units_now == units || recorded("unit"), "{}", context());
            if let Some(result) = ended {
                result.with_context(context)?;
                break;
            }
        }
    }
    Ok(())
}

#[test]
fn a_missing_disk_stops_every_change() -> Result<()> {
    let world = World::new()?;
    world.init()?;
    let mark = world.app.shared().join(layout::MARK);
    fs::remove_file(world.server.real(&mark))?;
    world.server.changes();
    let refused = with(&world, |_| Ok(()));
    let text = "does not hold the data of todo";
    assert!(refused.is_err_and(|error| error.to_string().contains(text)));
    assert_eq!(world.server.changes(), [""; 0]);
    Ok(())
}
