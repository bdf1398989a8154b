//! A removal by the whole receipt: its order, and that it leaves the server as it was.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use anyhow::{Context, Result};

use super::state::difference;
use super::world::World;
use crate::layout;
use crate::provision::{Changes, Finding, Removal, StepId, receipt_problem};
use crate::state::receipt::{Change, Receipt};

#[test]
fn removal_goes_from_what_runs_to_what_contains() -> Result<()> {
    let world = World::new()?;
    fs::create_dir_all(world.server.real("/www/static/todo"))?;
    world.init()?;
    let receipt = world.receipt()?;
    let removal = Removal {
        server: &world.server.server,
        receipt: &receipt,
        app: &world.app.name,
        others: &[],
        purge: false,
    };
    let changes = removal.changes();
    let kinds: Vec<&str> = changes.iter().map(|change| change.subject().0).collect();
    let mut order = kinds.clone();
    order.dedup();
    // The adopted directory is given back while the account still has its id.
    assert_eq!(
        order,
        [
            "unit", "file", "line", "app", "dir", "member", "user", "group", "dir"
        ]
    );
    let dirs: Vec<_> = (changes.iter())
        .filter_map(|change| match change {
            Change::Directory {
                path, was: None, ..
            } => Some(path.components().count()),
            _ => None,
        })
        .collect();
    assert!(dirs.is_sorted_by(|deep, less| deep >= less), "{dirs:?}");
    // Each object once, and not the directories that contain the receipt.
    for (at, change) in changes.iter().enumerate() {
        assert!(
            changes[..at]
                .iter()
                .all(|earlier| earlier.key() != change.key())
        );
        assert!(!change.key().1.ends_with("/receipts") && change.key().1 != layout::STATE_DIR);
    }
    Ok(())
}

#[test]
fn data_and_its_owner_stay_without_purge() -> Result<()> {
    let mut world = World::new()?;
    world.init()?;
    let before = world.state()?;
    world.purge = false;
    let kept = world.remove()?;
    let reasons: Vec<(&str, &str)> = kept
        .iter()
        .map(|(what, why)| (what.as_str(), why.as_str()))
        .collect();
    assert_eq!(
        reasons,
        [
            ("user gunicorn", "owns the app's data"),
            ("group gunicorn", "owns the app's data"),
            ("dir /var/www/projects/todo/shared", "is not empty"),
            ("dir /var/www/projects/todo", "is not empty"),
            ("dir /var/www/projects", "is not empty"),
            ("dir /var/www", "is not empty"),
        ]
    );
    let data = world.app.shared().join("db");
    assert_eq!(fs::read_to_string(world.server.real(&data))?, "data\n");
    assert!(!world.server.real(world.app.releases()).exists());
    // Set up again, the app has its data.
    world.init()?;
    assert_eq!(world.state()?.1, before.1);
    assert_eq!(fs::read_to_string(world.server.real(&data))?, "data\n");
    Ok(())
}

#[test]
fn what_works_by_itself_goes_even_if_modified_and_the_rest_stays_recorded() -> Result<()> {
    let mut world = World::new()?;
    world.init()?;
    let edited = |path: &std::path::Path, mode| -> Result<()> {
        let text = fs::read_to_string(world.server.real(path))?;
        world.server.put(path, &format!("{text}# by ann\n"), mode)
    };
    let (cron, sudoers, script) = (
        world.app.cron(),
        world.app.sudoers(),
        world.app.deploy_script(),
    );
    edited(&cron, 0o644)?;
    edited(&sudoers, 0o440)?;
    edited(&script, 0o755)?;
    world.purge = false;
    let kept = world.remove()?;
    let modified = |(_, why): &&(String, String)| why.starts_with("was modified");
    assert_eq!(kept.iter().filter(modified).count(), 1, "{kept:?}");
    assert!(!world.server.real(&cron).exists() && !world.server.real(&sudoers).exists());
    assert!(world.server.real(&script).exists());
    assert!(
        !world
            .server
            .real(layout::settings_copy(&world.app.name))
            .exists()
    );
    let copies = fs::read_dir(world.server.real(layout::backups(&world.app.name)))?;
    let copies: Vec<_> = copies.collect::<Result<_, _>>()?;
    assert_eq!(copies.len(), 2);
    for copy in copies {
        assert!(fs::read_to_string(copy.path())?.ends_with("# by ann\n"));
    }
    // Also on a server on which it was removed before.
    world.remove()?;
    world.purge = true;
    world.purge_and_compare()
}

#[test]
fn what_existed_before_is_as_it_was() -> Result<()> {
    let mut world = World::new()?;
    // A directory with another owner, a group, an account, a file in the place of one of ours.
    let project = world.app.project_dir.as_path().to_owned();
    fs::create_dir_all(world.server.real(&project))?;
    chown(world.server.real(&project), None, Some(1000))?;
    world.server.accounts.add("gunicorn", 1500, 1500);
    world
        .server
        .put(layout::public_key(&world.app.name), "not a key\n", 0o604)?;
    let before = world.state()?;
    world.init()?;
    world.purge = false;
    fs::remove_file(world.server.real(world.app.shared().join("db")))?;
    let kept = world.remove()?;
    assert!(
        kept.iter().all(|(_, why)| why == "is not empty"),
        "{kept:?}"
    );
    assert_eq!(difference(&world.state()?, &before), [""; 0]);
    Ok(())
}

#[test]
fn other_files_of_the_account_go_with_it() -> Result<()> {
    let world = World::new()?;
    world.init()?;
    let project = world.app.project_dir.as_path();
    let uid = world
        .server
        .server
        .user("gunicorn")
        .context("no account")?
        .uid;
    world.server.put(project.join("core"), "x", 0o600)?;
    chown(world.server.real(project.join("core")), Some(uid), None)?;
    world
        .server
        .put("/var/spool/cron/crontabs/gunicorn", "* * * * * x\n", 0o600)?;
    let kept = world.remove()?;
    assert!(kept.is_empty(), "{kept:?}");
    assert!(
        !world
            .server
            .real("/var/spool/cron/crontabs/gunicorn")
            .exists()
    );
    assert!(!world.server.real(project).exists());
    Ok(())
}

#[test]
fn a_lost_receipt_is_rebuilt_and_still_removes_what_init_created() -> Result<()> {
    let world = World::new()?;
    let before = world.state()?;
    world.init()?;
    let path = layout::receipt(&world.app.name);
    fs::write(world.server.real(&path), "")?;
    let problem = receipt_problem(&world.server.server, &world.receipt()?, &world.app)?;
    assert!(problem.is_some_and(|why| why.contains("was truncated or lost: it does not record")));
    assert!(world.remove().is_err());
    world.fix(StepId::AppReceipt)?;
    let kept = world.remove()?;
    // It cannot know what existed before: the group and what the administrator chose stay.
    let stays = ["dir /var/www/projects/todo", "dir /www/static/todo"];
    assert!(
        kept.iter().all(|(what, _)| !stays.contains(&what.as_str())),
        "{kept:?}"
    );
    let (files, _, units) = world.state()?;
    let left: Vec<_> = files
        .keys()
        .filter(|path| !before.0.contains_key(*path))
        .collect();
    let parents = [
        "opt/git_pollers",
        "var/www",
        "var/www/projects",
        "var/www/projects/todo",
        "www",
        "www/static",
        "www/static/todo",
    ];
    assert_eq!(left, parents.map(Path::new));
    assert_eq!(units, before.2);
    assert!(world.server.server.user("gunicorn").is_none());
    Ok(())
}

#[test]
fn a_damaged_receipt_is_set_aside_and_stops_a_removal() -> Result<()> {
    let world = World::new()?;
    world.init()?;
    let path = world.server.real(layout::receipt(&world.app.name));
    let text = fs::read_to_string(&path)?;
    fs::write(&path, format!("{{\"what\":1}}\n{text}"))?;
    assert!(world.receipt()?.is_damaged());
    assert!(world.remove().is_err());
    let Finding::Differs { what, .. } = world.find(StepId::AppReceipt)? else {
        panic!("it is not found");
    };
    assert!(what.ends_with("todo.jsonl is damaged"));
    world.fix(StepId::AppReceipt)?;
    let receipt = world.receipt()?;
    assert!(!receipt.is_damaged());
    let aside =
        |name: &std::ffi::OsString| name.to_string_lossy().starts_with("todo.jsonl.damaged-");
    let names = world.server.server.list(Path::new(layout::RECEIPTS_DIR))?;
    assert!(names.iter().any(aside));
    world.purge_and_compare()
}

#[test]
fn nothing_is_removed_below_an_empty_mount_point() -> Result<()> {
    let world = World::new()?;
    world.init()?;
    fs::remove_file(world.server.real(world.app.shared().join(layout::MARK)))?;
    world.server.changes();
    let refused = world.remove();
    assert!(refused.is_err_and(|error| error.to_string().contains("does not hold the data")));
    assert_eq!(world.server.changes(), [""; 0]);
    Ok(())
}

#[test]
fn an_app_that_was_never_set_up_leaves_nothing() -> Result<()> {
    let world = World::new()?;
    let before = world.state()?;
    let mut receipt = Receipt::load(&world.server.server, &world.app.name)?;
    Changes::begin(&world.server.server, &mut receipt, &world.app.name, false)?;
    world.server.put(layout::SUDOERS_CANDIDATE, "half", 0o440)?;
    world.remove()?;
    assert_eq!(difference(&world.state()?, &before), [""; 0]);
    Ok(())
}
