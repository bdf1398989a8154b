//! What only doctor checks: what goes wrong later on a server that init set up correctly.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::world::World;
use crate::host::UnitState;
use crate::layout;
use crate::provision::{Finding, StepId};
use crate::state::ledger::{Ledger, Release};
use crate::state::remote::{RemoteErrorKind, RemoteFailure};

fn world() -> Result<World> {
    let world = World::new()?;
    world.init()?;
    // systemd reads User= from the units.
    let mut table = world.server.units.table();
    for unit in layout::units(&world.app.name) {
        let state = table.units.entry(unit.clone()).or_default();
        if !unit.ends_with(".socket") {
            state.user = "gunicorn".to_owned();
        }
        if state.load.is_empty() {
            state.load = "loaded".to_owned();
        }
    }
    drop(table);
    Ok(world)
}

fn expect(world: &World, id: StepId, right: fn(&Finding) -> bool, text: &str) -> Result<String> {
    let finding = world.find(id)?;
    ensure!(
        right(&finding) && finding.summary().contains(text),
        "{id}: {finding:?}"
    );
    Ok(match finding {
        Finding::Warning(problem) | Finding::ManualFix(problem) => problem.remedy,
        _ => String::new(),
    })
}

fn ok(finding: &Finding) -> bool {
    matches!(finding, Finding::Ok(_))
}
fn warning(finding: &Finding) -> bool {
    matches!(finding, Finding::Warning(_))
}
fn manual(finding: &Finding) -> bool {
    matches!(finding, Finding::ManualFix(_))
}
fn blocked(finding: &Finding) -> bool {
    matches!(finding, Finding::Blocked { .. })
}

/// Stores a ledger with these polls.
fn polled(world: &World, run: impl FnOnce(&mut Ledger)) -> Result<()> {
    let mut ledger = Ledger::default();
    run(&mut ledger);
    let path = world.server.real(layout::ledger(&world.app.name));
    Ok(fs::write(path, serde_json::to_string(&ledger)?)?)
}

#[test]
fn after_init_every_monitor_is_satisfied() -> Result<()> {
    let world = world()?;
    for id in [
        StepId::AppReceipt,
        StepId::ProjectOwnership,
        StepId::AuditRoot,
        StepId::UnitsDropIns,
        StepId::SshHostKeyShown,
        StepId::RepoOnly,
        StepId::ServerSpace,
        StepId::ServerClock,
        StepId::PollRecent,
    ] {
        expect(&world, id, ok, "")?;
    }
    Ok(())
}

#[test]
fn a_schedule_that_does_not_work_is_found() -> Result<()> {
    let world = world()?;
    // Files of the test are younger than its clock: cron's entry is as old as the clock.
    let answered = |by_cron: Option<&str>, by_hand: Option<&str>| -> Result<()> {
        polled(&world, |_| {})?;
        (world.server).answered(&world.app.name, true, by_cron)?;
        (world.server).answered(&world.app.name, false, by_hand)
    };
    expect(
        &world,
        StepId::PollRecent,
        ok,
        "ago; cron polls every 5 minutes",
    )?;
    answered(None, None)?;
    let remedy = expect(&world, StepId::PollRecent, warning, "no poll yet")?;
    assert_eq!(remedy, "sudo pullpray poll todo -v");
    answered(None, Some("2026-11-23T09:59:00Z"))?;
    expect(
        &world,
        StepId::PollRecent,
        |f| matches!(f, Finding::Unknown(_)),
        "by hand; cron polls",
    )?;
    answered(Some("2026-11-23T10:03:00Z"), None)?;
    expect(
        &world,
        StepId::PollRecent,
        blocked,
        "which is in the future",
    )?;
    expect(
        &world,
        StepId::ServerClock,
        warning,
        "the clock was set back, or was ahead then",
    )?;
    let why = || RemoteFailure::new(RemoteErrorKind::Disconnected, "Connection refused");
    polled(&world, |ledger| {
        for time in ["2026-11-23T09:50:00Z", "2026-11-23T09:55:00Z"] {
            ledger.unreachable(time.to_owned(), true, why(), 3);
        }
    })?;
    let text = "Connection refused, 2 polls in a row, since 2026-11-23T09:50:00Z";
    expect(&world, StepId::PollRecent, manual, text)?;
    fs::write(world.server.real(layout::ledger(&world.app.name)), "{")?;
    for id in [StepId::PollRecent, StepId::ServerClock] {
        expect(&world, id, blocked, "its ledger is damaged")?;
    }
    // Hours after both the last poll and the writing of cron's entry, none has come.
    answered(Some("2026-11-23T10:00:00Z"), None)?;
    let cron = fs::metadata(world.server.real(world.app.cron()))?.mtime();
    let late = u64::try_from((cron - world.server.clock.now().timestamp()).max(0))? + 7200;
    world.server.clock.sleep(Duration::from_secs(late));
    let remedy = expect(
        &world,
        StepId::PollRecent,
        manual,
        "cron has started no poll since",
    )?;
    // A deployment that runs for hours holds the lock; one that was killed explains nothing.
    polled(&world, |ledger| {
        ledger.begin(Release {
            id: "20261123-100000-aaaaaaa".into(),
            commit: "a".repeat(40),
            subject: "Begin".into(),
            since: "2026-11-23T10:00:00Z".into(),
            venv: String::new(),
        });
    })?;
    expect(&world, StepId::PollRecent, manual, "has started no poll")?;
    let running = world.server.server.lock(&layout::state(&world.app.name))?;
    expect(&world, StepId::PollRecent, ok, "ago")?;
    drop(running);
    assert!(remedy.starts_with(
        "sudo journalctl -t cron -t CRON -t crond -t CROND -g 'gunicorn|pullpray-todo'"
    ));
    Ok(())
}

#[test]
fn a_clock_that_nothing_sets_is_found() -> Result<()> {
    let world = world()?;
    for (script, right, text) in [
        (
            "echo NTP=yes; echo NTPSynchronized=no",
            warning as fn(&Finding) -> bool,
            "has not synchronised the clock",
        ),
        (
            "echo NTP=no; echo NTPSynchronized=no",
            ok,
            "no time service enabled",
        ),
        (
            "echo NTP=no; echo NTPSynchronized=yes",
            ok,
            ", synchronised",
        ),
    ] {
        world.put_program("/usr/bin/timedatectl", script)?;
        expect(&world, StepId::ServerClock, right, text)?;
    }
    Ok(())
}

#[test]
fn owners_in_the_trees_are_repaired_and_links_are_not_followed() -> Result<()> {
    let world = world()?;
    let shared = world.server.real(world.app.shared());
    chown(shared.join("db"), Some(0), Some(0))?;
    fs::create_dir(shared.join("media"))?;
    fs::set_permissions(shared.join("media"), fs::Permissions::from_mode(0o700))?;
    world.server.put("/etc/secret", "x", 0o600)?;
    symlink(world.server.real("/etc/secret"), shared.join("link"))?;
    let state = world.server.real(layout::state(&world.app.name));
    fs::create_dir_all(state.join("mirror.git/objects"))?;
    chown(state.join("ledger.json"), Some(0), None)?;
    fs::set_permissions(state.join("mirror.git"), fs::Permissions::from_mode(0o500))?;
    let finding = world.find(StepId::ProjectOwnership)?;
    assert!(
        matches!(&finding, Finding::Differs { what, .. } if what.contains("6 of ") && what.contains("/shared/db (root:root 0644)")),
        "{finding:?}"
    );
    world.fix(StepId::ProjectOwnership)?;
    let user = world.server.server.user("gunicorn").context("no account")?;
    for name in ["db", "media", "link"] {
        assert_eq!(
            fs::symlink_metadata(shared.join(name))?.uid(),
            user.uid,
            "{name}"
        );
    }
    assert_eq!(fs::metadata(shared.join("media"))?.mode() & 0o7777, 0o2770);
    for name in ["ledger.json", "mirror.git", "mirror.git/objects"] {
        assert_eq!(fs::metadata(state.join(name))?.uid(), user.uid, "{name}");
    }
    assert_eq!(
        fs::metadata(state.join("mirror.git"))?.mode() & 0o777,
        0o700
    );
    assert_eq!(fs::metadata(world.server.real("/etc/secret"))?.uid(), 0);
    Ok(())
}

#[test]
fn ways_to_root_and_to_the_key_are_found() -> Result<()> {
    let world = world()?;
    let name = &world.app.name;
    let chmod = |path: &std::path::Path, mode| {
        fs::set_permissions(world.server.real(path), fs::Permissions::from_mode(mode))
    };
    let environment = world.app.environment_file();
    chmod(&environment, 0o660)?;
    let remedy = expect(
        &world,
        StepId::AuditRoot,
        manual,
        "/etc/pullpray/todo.env (systemd reads it as root)",
    )?;
    assert_eq!(
        remedy,
        "sudo chown root /etc/pullpray/todo.env && sudo chmod go-w /etc/pullpray/todo.env"
    );
    chmod(&environment, 0o640)?;
    chown(world.server.real(layout::SETTINGS_DIR), Some(1000), None)?;
    expect(
        &world,
        StepId::AuditRoot,
        manual,
        "/etc/pullpray can be modified by users other than root",
    )?;
    chown(world.server.real(layout::SETTINGS_DIR), Some(0), None)?;
    let key = layout::private_key(name);
    chmod(&key, 0o640)?;
    expect(
        &world,
        StepId::AuditRoot,
        manual,
        "the private deploy key, can be read by users other than root",
    )?;
    chmod(&key, 0o600)?;
    let service = layout::service_unit(name);
    world
        .server
        .units
        .table()
        .units
        .entry(service.clone())
        .or_default()
        .user
        .clear();
    expect(
        &world,
        StepId::AuditRoot,
        manual,
        "gunicorn.todo.service runs as root, not as gunicorn",
    )?;
    let drop_in = "/etc/systemd/system/gunicorn.todo.service.d/override.conf".to_owned();
    world.server.units.table().units.insert(
        service,
        UnitState {
            load: "loaded".to_owned(),
            user: "gunicorn".to_owned(),
            drop_ins: vec![drop_in],
            ..UnitState::default()
        },
    );
    let remedy = expect(
        &world,
        StepId::UnitsDropIns,
        warning,
        "override.conf overrides unit settings",
    )?;
    assert!(remedy.starts_with("systemctl cat gunicorn.todo.service"));
    Ok(())
}

#[test]
fn a_key_that_opens_more_is_found() -> Result<()> {
    let (world, other) = World::new()?.beside("blog")?;
    world.init()?;
    // The neighbour's settings name its repository, which is tried.
    let refs = world.server.real("/usr/share/refs").display().to_string();
    let ssh = |greeting: &str, blog: &str| {
        let text = format!(
            "for last; do :; done\ncase \"$last\" in *upload*blog*) {blog};; *upload*) cat {refs}; exec cat >/dev/null;; esac\necho '{greeting}'"
        );
        world.put_program("/usr/bin/ssh", &text)
    };
    let open = format!("cat {refs}; exec cat >/dev/null");
    let refused = "echo 'ERROR: Repository not found.' >&2; exit 1";
    ssh("Hi acme/todo! You have", refused)?;
    expect(
        &world,
        StepId::RepoOnly,
        ok,
        "github.com identifies it as acme/todo",
    )?;
    ssh("no words", refused)?;
    let finding = world.find(StepId::RepoOnly)?;
    assert!(matches!(finding, Finding::Unknown(_)), "{finding:?}");
    let settings = crate::render::settings(&other)?;
    world
        .server
        .put(layout::settings(&other.name), &settings, 0o644)?;
    expect(&world, StepId::RepoOnly, ok, "refused by acme/blog")?;
    ssh("Hi ada! You have", refused)?;
    expect(
        &world,
        StepId::RepoOnly,
        manual,
        "identifies the key as ada's",
    )?;
    ssh("no words", &open)?;
    let remedy = expect(
        &world,
        StepId::RepoOnly,
        warning,
        "it also opens acme/blog, the repository of blog",
    )?;
    assert_eq!(remedy, "sudo pullpray key todo --rotate");
    // A refusal in words that are not known is one too, and what another account opens is not asked for.
    ssh("no words", "echo 'not yours' >&2; exit 1")?;
    expect(&world, StepId::RepoOnly, ok, "refused by acme/blog")?;
    let path = layout::settings(&other.name);
    let foreign = settings.replace("git@github.com", "ann@github.com");
    world.server.put(path, &foreign, 0o644)?;
    ssh("no words", "echo 'Connection refused' >&2; exit 255")?;
    let finding = world.find(StepId::RepoOnly)?;
    assert!(matches!(finding, Finding::Unknown(_)), "{finding:?}");
    Ok(())
}

#[test]
fn an_unreadable_receipt_is_no_sign_of_a_problem() -> Result<()> {
    use crate::provision::CheckContext;
    use crate::state::receipt::Receipt;
    let world = world()?;
    let context = CheckContext {
        view: world.server.server.view(),
        receipt: &Receipt::unreadable(&world.app.name),
        overwrite: false,
        offline: true,
    };
    let found = world.step(StepId::AppReceipt)?.check(&context)?;
    assert_eq!(found, Finding::Unknown("only root can read it".to_owned()));
    let found = world.step(StepId::AccountGroup)?.check(&context)?;
    assert!(found.summary().starts_with("gid "), "{found:?}");
    Ok(())
}

#[test]
fn space_is_measured_once_there_is_a_directory() -> Result<()> {
    let world = World::new()?;
    expect(
        &world,
        StepId::ServerSpace,
        blocked,
        "/var/www/projects/todo does not exist",
    )?;
    world.init()?;
    expect(&world, StepId::ServerSpace, ok, "MiB")?;
    Ok(())
}
