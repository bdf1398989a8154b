//! The server, its accounts, and the directories of the app.

use super::*;

#[test]
fn directories_are_repaired_and_links_in_their_place_are_not_followed() -> Result<()> {
    let world = world()?;
    let before = world.state()?;
    let app = &world.app;
    let real = |path: PathBuf| world.server.real(path);
    for (path, kind, sabotage) in [
        (
            app.releases(),
            "differs",
            (|path| chmod(path, 0o755)) as Sabotage,
        ),
        (app.shared(), "differs", |path| {
            Ok(chown(path, Some(0), Some(0))?)
        }),
        (layout::KEYS_DIR.into(), "differs", |path| {
            chmod(path, 0o777)
        }),
        (app.poller_dir(), "differs", |path| {
            Ok(chown(path, Some(1000), None)?)
        }),
    ] {
        sabotage(&real(path.clone()))?;
        let text = format!("{} ", path.display());
        expect(&world, StepId::ProjectDirectories, kind, &text)?;
        world.fix(StepId::ProjectDirectories)?;
        assert_eq!(difference(&world.state()?, &before), [""; 0], "{text}");
    }
    let venvs = real(app.venvs());
    fs::rename(&venvs, venvs.with_extension("was"))?;
    expect(
        &world,
        StepId::ProjectDirectories,
        "absent",
        "2770 gunicorn:gunicorn, 1 in total",
    )?;
    world.server.put(app.venvs(), "", 0o644)?;
    expect(
        &world,
        StepId::ProjectDirectories,
        "manual",
        "venvs exists and is not a directory",
    )?;
    fs::remove_file(&venvs)?;
    symlink("/etc", &venvs)?;
    expect(
        &world,
        StepId::ProjectDirectories,
        "manual",
        "venvs exists and is not a directory",
    )?;
    assert!(world.fix(StepId::ProjectDirectories).is_err());
    // Without root's copy, the directories are marked again; a missing mark means a missing disk.
    fs::remove_file(&venvs)?;
    fs::rename(venvs.with_extension("was"), &venvs)?;
    fs::remove_file(real(layout::data(&app.name)))?;
    expect(&world, StepId::ProjectDirectories, "absent", "1 in total")?;
    world.fix(StepId::ProjectDirectories)?;
    fs::write(real(app.shared().join(layout::MARK)), "another disk")?;
    expect(
        &world,
        StepId::ProjectDirectories,
        "manual",
        "does not hold the data of todo",
    )?;
    Ok(())
}

#[test]
fn a_parent_that_others_could_replace_is_refused() -> Result<()> {
    let world = World::new()?;
    let parent = world.server.real("/var/www");
    fs::create_dir_all(&parent)?;
    chmod(&parent, 0o777)?;
    expect(
        &world,
        StepId::ProjectDirectories,
        "manual",
        "/var/www can be modified by everybody",
    )?;
    chmod(&parent, 0o755)?;
    let project = world.app.project_dir.as_path();
    world.server.put(project.join("theirs"), "", 0o644)?;
    expect(
        &world,
        StepId::ProjectDirectories,
        "manual",
        "is not empty and does not belong to the app: it contains theirs",
    )?;
    Ok(())
}

#[test]
fn accounts_differ_from_those_that_existed_before() -> Result<()> {
    let world = World::new()?;
    world.server.accounts.add("gunicorn", 1500, 1500);
    expect(&world, StepId::AccountGroup, "ok", "pre-existing, gid 1500")?;
    expect(&world, StepId::AccountUser, "ok", "pre-existing, uid 1500")?;
    for group in &mut world.server.accounts.table().groups {
        if group.name == "gunicorn" {
            group.members = ["ann", "bob", "carl", "gunicorn"].map(str::to_owned).into();
        }
    }
    expect(
        &world,
        StepId::ProjectDirectories,
        "absent",
        "; 2 other members of gunicorn can read todo's settings",
    )?;
    world.init()?;
    // Its directory service is gone: another account of that name would get its files.
    let mut table = world.server.accounts.table();
    table.users.retain(|(user, _)| user.name != "gunicorn");
    table.groups.retain(|group| group.name != "gunicorn");
    drop(table);
    for id in [StepId::AccountGroup, StepId::AccountUser] {
        expect(
            &world,
            id,
            "manual",
            "existed before pullpray and is now unknown to this server",
        )?;
        assert!(world.fix(id).is_err());
    }
    expect(
        &world,
        StepId::AccountMembership,
        "blocked",
        "added to gunicorn",
    )?;
    expect(
        &world,
        StepId::AppEnvironment,
        "blocked",
        "its group gunicorn does not exist yet",
    )?;
    expect(
        &world,
        StepId::ProjectOwnership,
        "blocked",
        "the account does not exist",
    )?;
    world
        .server
        .accounts
        .table()
        .users
        .retain(|(user, _)| user.name != "ann");
    expect(
        &world,
        StepId::AccountOperator,
        "manual",
        "there is no user ann",
    )?;
    Ok(())
}

#[test]
fn privileged_accounts_and_expired_ones_are_found() -> Result<()> {
    let world = world()?;
    for (days, kind, text) in [
        (-1, "manual", "has expired"),
        (10, "warning", "expires in 10 days"),
        (31, "ok", "uid"),
    ] {
        let day = world.server.clock.now().timestamp() / 86_400 + days;
        world.server.put(
            "/etc/shadow",
            &format!("gunicorn:!:1:0:99999:7::{day}:\n"),
            0o640,
        )?;
        expect(&world, StepId::AccountUser, kind, text)?;
    }
    let mut table = world.server.accounts.table();
    table.groups.push(crate::host::GroupEntry {
        name: "docker".to_owned(),
        gid: 990,
        members: vec!["gunicorn".to_owned()],
    });
    drop(table);
    expect(
        &world,
        StepId::AccountUser,
        "manual",
        "is a member of docker, a privileged group",
    )?;
    let mut table = world.server.accounts.table();
    for (user, _) in table
        .users
        .iter_mut()
        .filter(|(user, _)| user.name == "gunicorn")
    {
        user.uid = 0;
    }
    drop(table);
    expect(
        &world,
        StepId::AccountUser,
        "manual",
        "is an alias of root (uid 0)",
    )?;
    Ok(())
}

#[test]
fn a_server_that_lacks_something_is_refused() -> Result<()> {
    let world = World::new()?;
    let bin = |name: &str| world.server.real(format!("/usr/bin/{name}"));
    fs::rename(bin("visudo"), bin("visudo.was"))?;
    let finding = expect(
        &world,
        StepId::ServerRequirements,
        "manual",
        "missing: visudo",
    )?;
    let Finding::ManualFix(problem) = finding else {
        unreachable!()
    };
    assert_eq!(problem.remedy, "sudo apt-get install sudo");
    fs::rename(bin("visudo.was"), bin("visudo"))?;
    fs::remove_dir(world.server.real("/run/systemd/system"))?;
    expect(
        &world,
        StepId::ServerRequirements,
        "manual",
        "systemd is not running",
    )?;
    fs::create_dir(world.server.real("/run/systemd/system"))?;
    world.server.put(
        "/proc/net/tcp",
        "  sl  local\n   0: 0100007F:1F40 00000000:0000 0A 0:0\n",
        0o444,
    )?;
    expect(
        &world,
        StepId::AppAddress,
        "manual",
        "127.0.0.1:8000 is already in use",
    )?;
    let own = world.server.real(std::env::current_exe()?);
    chmod(&own, 0o700)?;
    expect(
        &world,
        StepId::ServerProgram,
        "differs",
        "has mode 0700, but cron must execute it as gunicorn",
    )?;
    world.fix(StepId::ServerProgram)?;
    chmod(&own, 0o757)?;
    expect(
        &world,
        StepId::ServerProgram,
        "manual",
        "can be modified by users other than root",
    )?;
    chmod(&own, 0o755)?;
    let dir = own.parent().context("no parent")?;
    chmod(dir, 0o750)?;
    expect(
        &world,
        StepId::ServerProgram,
        "manual",
        "so gunicorn cannot reach",
    )?;
    chmod(dir, 0o755)?;
    world.server.accounts.add("gunicorn", 1500, 1500);
    world.put_program(
        &std::env::current_exe()?.display().to_string(),
        "echo noexec >&2; exit 3",
    )?;
    expect(
        &world,
        StepId::ServerProgram,
        "manual",
        "gunicorn cannot execute",
    )?;
    Ok(())
}

#[test]
fn what_the_account_cannot_reach_is_named_before_anything_changes() -> Result<()> {
    let world = World::new()?;
    fs::create_dir_all(world.server.real("/var/www"))?;
    world
        .server
        .put("/etc/hosts", "127.0.0.1 localhost\n", 0o644)?;
    world
        .server
        .put("/etc/ssh/ssh_config.d/other.conf", "", 0o644)?;
    let refused = |path: &str, mode, text: &str, remedy: &str| {
        let real = world.server.real(path);
        let before = fs::metadata(&real)?.permissions();
        chmod(&real, mode)?;
        let text = format!("gunicorn cannot {text}");
        let finding = expect(&world, StepId::ServerRequirements, "manual", &text)?;
        ensure!(
            matches!(&finding, Finding::ManualFix(problem) if problem.remedy == format!("sudo chmod {remedy} {path}")),
            "{finding:?}"
        );
        fs::set_permissions(&real, before)?;
        expect(&world, StepId::ServerRequirements, "ok", "systemd").map(drop)
    };
    let all = |existing: bool| {
        let needs = if existing {
            "/opt/git_pollers/todo"
        } else {
            ""
        };
        refused(
            "/opt",
            0o700,
            &format!("enter /opt (root:root 0700), and needs {needs}"),
            "o+x",
        )?;
        refused(
            "/var/www",
            0o750,
            "enter /var/www (root:root 0750), and needs",
            "o+x",
        )?;
        refused(
            "/etc/ssh/ssh_config.d",
            0o700,
            "list /etc/ssh/ssh_config.d (root",
            "o+rx",
        )?;
        refused(
            "/etc/ssh/ssh_config.d/other.conf",
            0o600,
            "read /etc/ssh/ssh_c",
            "o+r",
        )?;
        refused(
            "/etc/ssh/ssh_config",
            0o600,
            "read /etc/ssh/ssh_config (root",
            "o+r",
        )?;
        refused(
            "/usr/bin/ssh",
            0o750,
            "execute /usr/bin/ssh (root:root 0750)",
            "o+rx",
        )?;
        refused(
            "/etc/hosts",
            0o640,
            "read /etc/hosts (root:root 0640)",
            "o+r",
        )
    };
    all(false)?;
    world.init()?;
    all(true)?;
    // Its group, or it alone, may enter: that is enough. What pullpray owns, it repairs.
    let gid = world
        .server
        .server
        .group("gunicorn")
        .context("no group")?
        .gid;
    let uid = world.server.server.user("gunicorn").context("no user")?.uid;
    for (mode, owner, group) in [(0o750, 0, gid), (0o500, uid, 0)] {
        let opt = world.server.real("/opt");
        chown(&opt, Some(owner), Some(group))?;
        chmod(&opt, mode)?;
        expect(&world, StepId::ServerRequirements, "ok", "systemd")?;
    }
    chmod(&world.server.real(layout::AGENT_DIR), 0o700)?;
    expect(&world, StepId::ServerRequirements, "ok", "systemd")?;
    expect(
        &world,
        StepId::ProjectDirectories,
        "differs",
        "ssh-agent-service ",
    )?;
    Ok(())
}

#[test]
fn a_server_that_cannot_resolve_its_own_name_is_warned_of() -> Result<()> {
    let world = World::new()?;
    world.put_program("/usr/bin/getent", "exit 2")?;
    let unresolved = "cannot resolve its own name web";
    expect(&world, StepId::ServerRequirements, "warning", unresolved)?;
    world
        .server
        .put("/etc/hosts", "127.0.1.1 web.example.org web\n", 0o644)?;
    expect(&world, StepId::ServerRequirements, "ok", "systemd")?;
    Ok(())
}
