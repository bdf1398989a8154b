//! The files of root: whatever is wrong with them, and the programs that read them.

use super::*;

#[test]
fn files_of_root_are_repaired_whatever_is_wrong_with_them() -> Result<()> {
    let world = world()?;
    let before = world.state()?;
    let sabotages: &[(&str, Sabotage, &str)] = &[
        ("differs", |path| chmod(path, 0o666), "is 0666 root:"),
        (
            "differs",
            |path| Ok(chown(path, Some(1000), None)?),
            " ann:",
        ),
        (
            "differs",
            |path| Ok(chown(path, None, Some(1000))?),
            "root:ann, should be",
        ),
        (
            "differs",
            |path| Ok(fs::hard_link(path, path.with_file_name("linked"))?),
            "has 2 hard links",
        ),
        ("absent", |path| Ok(fs::remove_file(path)?), "root"),
    ];
    for (id, file) in [
        (StepId::ScheduleCron, ManagedFile::Cron),
        (StepId::SudoRule, ManagedFile::Sudoers),
        (StepId::SshAlias, ManagedFile::SshConfig),
        (StepId::AgentUnit, ManagedFile::AgentUnit),
        (StepId::GunicornTrial, ManagedFile::TrialUnit),
        (StepId::DeployScript, ManagedFile::DeployScript),
        (StepId::AppEnvironment, ManagedFile::Environment),
    ] {
        let path = world.server.real(file.path(&world.app));
        for (kind, sabotage, text) in sabotages {
            sabotage(&path).with_context(|| format!("{id}: {text}"))?;
            expect(&world, id, kind, text)?;
            world.fix(id)?;
            drop(fs::remove_file(path.with_file_name("linked")));
            assert_eq!(
                difference(&world.state()?, &before),
                [""; 0],
                "{id}: {text}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_modified_file_stays_and_one_of_an_earlier_version_is_replaced() -> Result<()> {
    let mut world = world()?;
    let path = ManagedFile::Cron.path(&world.app);
    let ours = fs::read_to_string(world.server.real(&path))?;
    world.server.put(&path, &format!("# mine\n{ours}"), 0o644)?;
    let Finding::LocallyModified { diff, .. } = world.find(StepId::ScheduleCron)? else {
        panic!("it is not found");
    };
    assert!(diff.contains("-# mine\n"));
    // Only its owner and mode are set.
    fs::set_permissions(world.server.real(&path), fs::Permissions::from_mode(0o600))?;
    let Finding::Differs { diff: None, .. } = world.find(StepId::ScheduleCron)? else {
        panic!("the mode is not found");
    };
    assert!(matches!(
        world.fix(StepId::ScheduleCron)?,
        Converged::Changed(Finding::LocallyModified { .. })
    ));
    assert!(fs::read_to_string(world.server.real(&path))?.starts_with("# mine\n"));
    let Finding::Differs { diff: Some(_), .. } = world.look(StepId::ScheduleCron, true, false)?
    else {
        panic!("--overwrite does not replace it");
    };
    // What pullpray wrote itself is replaced, as after a change of the settings.
    world.server.put(&path, &ours, 0o644)?;
    world.app.schedule = "*/7 * * * *"
        .parse()
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let Finding::Differs {
        what,
        diff: Some(diff),
    } = world.find(StepId::ScheduleCron)?
    else {
        panic!("the schedule is not found");
    };
    assert!(what == "content differs" && diff.contains("+*/7"));
    world.fix(StepId::ScheduleCron)?;
    assert!(fs::read_to_string(world.server.real(&path))?.contains("*/7"));
    Ok(())
}

#[test]
fn the_administrators_content_is_never_overwritten() -> Result<()> {
    let world = world()?;
    for (id, file, kind, words) in [
        (
            StepId::DeployScript,
            ManagedFile::DeployScript,
            "modified",
            "modified locally",
        ),
        (
            StepId::AppEnvironment,
            ManagedFile::Environment,
            "ok",
            "root",
        ),
    ] {
        let path = world.server.real(file.path(&world.app));
        fs::write(&path, "MINE=1\n")?;
        expect(&world, id, kind, words)?;
        chmod(&path, 0o666)?;
        expect(&world, id, "differs", "0666")?;
        world.fix(id)?;
        let (Finding::LocallyModified { .. } | Finding::Ok(_)) = world.look(id, true, false)?
        else {
            panic!("--overwrite would replace {}", path.display());
        };
        assert_eq!(fs::read_to_string(&path)?, "MINE=1\n");
    }
    let script = ManagedFile::DeployScript.path(&world.app);
    fs::write(world.server.real(&script), "#!/bin/sh\r\nset -eu\r\n")?;
    expect(
        &world,
        StepId::DeployScript,
        "manual",
        "has Windows line ends (CRLF)",
    )?;
    let environment = world.app.environment_file();
    fs::write(world.server.real(environment), "export KEY=secret\n")?;
    let id = StepId::AppEnvironment;
    expect(&world, id, "warning", "todo.env: line 1 begins with")?;
    Ok(())
}

#[test]
fn a_deploy_script_of_an_earlier_version_is_replaced() -> Result<()> {
    let world = world()?;
    let path = ManagedFile::DeployScript.path(&world.app);
    let ours = fs::read_to_string(world.server.real(&path))?;
    // As an earlier version wrote it.
    let old = "#!/bin/sh\npython manage.py migrate\n";
    let mut receipt = world.receipt()?;
    let mut changes = Changes::begin(&world.server.server, &mut receipt, &world.app.name, false)?;
    changes.file(&path, old.as_bytes(), 0o755, (0, 0))?;
    expect(&world, StepId::DeployScript, "differs", "content differs")?;
    world.fix(StepId::DeployScript)?;
    assert_eq!(fs::read_to_string(world.server.real(&path))?, ours);
    Ok(())
}

#[test]
fn what_is_not_a_file_needs_people() -> Result<()> {
    let world = world()?;
    let path = world.server.real(ManagedFile::TrialUnit.path(&world.app));
    fs::remove_file(&path)?;
    symlink("/dev/null", &path)?;
    expect(
        &world,
        StepId::GunicornTrial,
        "manual",
        "gunicorn.todo.trial.service is masked",
    )?;
    for make in [
        |path: &Path| symlink("elsewhere", path),
        |path: &Path| fs::create_dir(path),
    ] {
        fs::remove_file(&path)?;
        make(&path)?;
        let finding = expect(
            &world,
            StepId::GunicornTrial,
            "manual",
            "exists and is not a file",
        )?;
        let Finding::ManualFix(problem) = finding else {
            unreachable!()
        };
        assert!(
            problem
                .remedy
                .starts_with("sudo mv -T /etc/systemd/system/gunicorn.todo.trial.service")
        );
        assert!(world.fix(StepId::GunicornTrial).is_err());
    }
    let settings = world.server.real(layout::settings(&world.app.name));
    fs::remove_file(&settings)?;
    fs::create_dir(&settings)?;
    expect(
        &world,
        StepId::AppSettings,
        "manual",
        "exists and is not a file",
    )?;
    Ok(())
}

#[test]
fn a_program_that_rejects_a_file_has_it_reverted() -> Result<()> {
    let world = world()?;
    let path = world.server.real(ManagedFile::Sudoers.path(&world.app));
    let before = fs::read(&path)?;
    chmod(&path, 0o400)?;
    // visudo rejects the candidate: nothing is written.
    world.put_program(
        "/usr/bin/visudo",
        "[ $# = 1 ] || { echo no such alias; exit 1; }",
    )?;
    let error = world
        .fix(StepId::SudoRule)
        .err()
        .map(|error| error.to_string());
    assert!(
        error.is_some_and(|text| text.starts_with("visudo rejects the new file: ")
            && text.contains("no such alias"))
    );
    // visudo rejects the whole: what was there is back.
    let written = format!("[ \"$(stat -c %a {} 2>/dev/null)\" = 440 ]", path.display());
    let rejecting = format!(
        "[ $# != 1 ] || ! {written} || {{ echo theirs: bad mode; echo duplicate alias; exit 1; }}"
    );
    world.put_program("/usr/bin/visudo", &rejecting)?;
    let error = world
        .fix(StepId::SudoRule)
        .err()
        .map(|error| format!("{error:#}"));
    assert!(
        error.is_some_and(|text| text.contains("reverted") && text.contains("duplicate alias"))
    );
    assert_eq!(fs::read(&path)?, before);
    fs::remove_file(&path)?;
    assert!(world.fix(StepId::SudoRule).is_err());
    assert!(!path.exists());
    // What it says about another file is not about this one, unless sudo does not work either.
    world.put_program(
        "/usr/bin/visudo",
        "[ $# != 1 ] || { echo theirs: bad mode; exit 1; }",
    )?;
    expect(&world, StepId::SudoRule, "absent", "theirs: bad mode")?;
    let sudo = world.server.real("/usr/bin/sudo");
    fs::remove_file(&sudo)?;
    symlink("/usr/bin/false", &sudo)?;
    expect(
        &world,
        StepId::SudoRule,
        "manual",
        "sudo itself does not work: ",
    )?;
    fs::remove_file(&sudo)?;
    symlink("/usr/bin/true", &sudo)?;
    world.fix(StepId::SudoRule)?;
    assert_eq!(fs::read(&path)?, before);
    Ok(())
}

#[test]
fn a_sudo_rule_that_a_hardening_tool_disabled_is_restored() -> Result<()> {
    let world = world()?;
    let path = world.server.real(ManagedFile::Sudoers.path(&world.app));
    let ours = fs::read_to_string(&path)?;
    for disabled in [
        ours.replace("NOPASSWD:", "PASSWD:"),
        ours.replace("NOPASSWD: ", ""),
        ours.replace("gunicorn ALL", "#gunicorn ALL"),
    ] {
        fs::write(&path, disabled)?;
        let finding = expect(&world, StepId::SudoRule, "differs", "NOPASSWD: is missing")?;
        assert!(matches!(finding, Finding::Differs { diff: Some(_), .. }));
        world.fix(StepId::SudoRule)?;
        assert_eq!(fs::read_to_string(&path)?, ours);
    }
    fs::write(&path, format!("# mine\n{ours}"))?;
    expect(&world, StepId::SudoRule, "modified", "left as is")?;
    Ok(())
}

#[test]
fn the_programs_that_read_the_files_are_asked() -> Result<()> {
    let world = world()?;
    for (program, text, id, kind, found) in [
        (
            "ssh",
            "echo identitiesonly no",
            StepId::SshAlias,
            "manual",
            "ssh uses identitiesonly = \"no\"",
        ),
        (
            "sudo",
            "echo 'sudo: sorry, you must have a tty to run sudo' >&2; exit 1",
            StepId::SudoRule,
            "manual",
            "without a password: sudo: sorry, you must have a tty to run sudo",
        ),
        (
            "sudo",
            "printf 'User gunicorn may run:\\n\\nSudoers entry: /etc/sudoers.d/zz\\n    RunAsUsers: ALL\\n    Commands:\\n\\tALL\\n'",
            StepId::SudoRule,
            "manual",
            "a later rule overrides pullpray's (ALL in /etc/sudoers.d/zz)",
        ),
        (
            "journalctl",
            "echo '9999999999.000001 web cron[33]: Error: bad username; while reading /etc/cron.d/pullpray-todo'",
            StepId::ScheduleCron,
            "differs",
            "cron ignores it until it is rewritten; cron logged: Error: bad username",
        ),
    ] {
        let path = world.server.real(format!("/usr/bin/{program}"));
        let backup = path.with_extension("was");
        fs::rename(&path, &backup)?;
        world.put_program(&format!("/usr/bin/{program}"), text)?;
        expect(&world, id, kind, found)?;
        fs::rename(&backup, &path)?;
        expect(&world, id, "ok", "root")?;
    }
    world.server.put(
        "/etc/ssh/ssh_config",
        "Host *\nInclude /etc/ssh/ssh_config.d/*.conf\n",
        0o644,
    )?;
    fs::remove_file(world.server.real(world.app.ssh_config()))?;
    let finding = expect(
        &world,
        StepId::SshAlias,
        "manual",
        "ssh does not read /etc/ssh/ssh_config.d",
    )?;
    let Finding::ManualFix(problem) = finding else {
        unreachable!()
    };
    assert!(
        problem
            .remedy
            .contains("sed -i '1i Include /etc/ssh/ssh_config.d/*.conf'")
    );
    let set = |unit: &str, change: fn(&mut crate::host::UnitState)| {
        let mut table = world.server.units.table();
        change(table.units.entry(unit.to_owned()).or_default());
    };
    set("cron.service", |cron| cron.active = "inactive".to_owned());
    expect(
        &world,
        StepId::ScheduleCron,
        "manual",
        "cron is not running",
    )?;
    let trial = layout::trial_unit(&world.app.name);
    set(&trial, |unit| unit.needs_reload = true);
    expect(
        &world,
        StepId::GunicornTrial,
        "manual",
        "systemd has not reloaded it",
    )?;
    set(&trial, |unit| unit.load = "bad-setting".to_owned());
    expect(
        &world,
        StepId::GunicornTrial,
        "manual",
        "systemd reports gunicorn.todo.trial.service as bad-setting",
    )?;
    Ok(())
}
