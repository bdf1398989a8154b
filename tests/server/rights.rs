//! Permissions of the deploy user, the running app and an operator.

use anyhow::{Context, Result, ensure};

use crate::lab::{Access, Lab, Output, Release, Todo, WebServer};

/// Reaches the agent from a sandbox that hides it but has no user namespace.
const LEAVE: &str = "systemd-run --quiet --wait --uid=gunicorn -p InaccessiblePaths=/run/ssh-agent.todo \
    -p ProtectProc=invisible -p NoNewPrivileges=yes \
    test -S /proc/$(systemctl show -P MainPID outside)/root/run/ssh-agent.todo/agent.sock";
const SOCKET: &str = "/run/ssh-agent.todo/agent.sock";

fn as_deploy_user(web: &WebServer, command: &str, status: i32) -> Result<Output> {
    web.run_as("gunicorn", command)?.exits(status)
}

#[test]
fn the_deploy_user_can_use_but_not_read_the_key() -> Result<()> {
    let lab = Lab::new("key")?;
    for release in [Release::Bookworm, Release::Trixie] {
        let Todo {
            web, host: _host, ..
        } = Todo::live(&lab, release)?;
        let key = web.deploy_key("todo")?;
        let agent = "$(systemctl show -P MainPID ssh-agent.todo.service)";

        as_deploy_user(
            &web,
            "cat /etc/ssh-agent-service/deploy-keys/todo_ed25519",
            1,
        )?
        .says("Permission denied")?;
        for file in ["mem", "environ", "maps"] {
            as_deploy_user(&web, &format!("head -c 1 /proc/{agent}/{file}"), 1)?
                .says("Permission denied")?;
        }
        let pid = web.run(&format!("echo {agent}"))?.ok()?.stdout;
        let refused = "attach Operation not permitted\nseize Operation not permitted\n";
        let traced = |pid: &str| -> Result<String> {
            let out = web.python_as("gunicorn", "ptrace", &[pid.trim()])?.ok()?;
            Ok(out.stdout)
        };
        ensure!(traced(&pid)? == refused, "{}", traced(&pid)?);
        let other = web
            .run("systemd-run --quiet --uid=gunicorn --unit=open sleep 60; systemctl show -P MainPID open")?
            .ok()?
            .stdout;
        ensure!(
            traced(&other)?.contains("seize ok"),
            "the test is able to trace: {}",
            traced(&other)?
        );
        let held = as_deploy_user(&web, &format!("SSH_AUTH_SOCK={SOCKET} ssh-add -L"), 0)?;
        ensure!(held.stdout == key, "only the public half: {held}");
        as_deploy_user(&web, "ssh -T githost-repo-todo", 1)?.says("Hi acme/todo!")?;
        web.run_as("nobody", &format!("SSH_AUTH_SOCK={SOCKET} ssh-add -L"))?
            .exits(2)?;
    }
    Ok(())
}

#[test]
fn the_account_can_restart_only_the_apps_own_units() -> Result<()> {
    let lab = Lab::new("sudo")?;
    for release in [Release::Bookworm, Release::Trixie] {
        let Todo {
            web, host: _host, ..
        } = Todo::live(&lab, release)?;
        let started = "systemctl show -P ExecMainStartTimestampMonotonic gunicorn.todo.service";
        let before = web.run(started)?.ok()?.stdout;
        for permitted in [
            "systemctl restart gunicorn.todo.service",
            "/usr/bin/systemctl restart gunicorn.todo.service",
            "systemctl reset-failed gunicorn.todo.socket gunicorn.todo.service",
        ] {
            as_deploy_user(&web, &format!("sudo -n {permitted}"), 0)?.silent()?;
        }
        ensure!(
            web.run(started)?.ok()?.stdout != before,
            "it was really restarted"
        );
        as_deploy_user(&web, "sudo -n -l systemctl restart gunicorn.todo.socket", 0)?;
        for refused in [
            "systemctl restart ssh",
            "systemctl restart ssh.service",
            "systemctl restart cron",
            "systemctl restart gunicorn.todo",
            "systemctl restart ssh-agent.todo.service",
            "systemctl stop gunicorn.todo.service",
            "systemctl start gunicorn.todo.trial.service",
            "systemctl restart gunicorn.todo.service ssh.service",
            "systemctl restart gunicorn.todo.service --root=/tmp",
            "systemctl --now restart gunicorn.todo.service",
            "systemctl edit gunicorn.todo.service",
            "systemctl",
            "-u nobody systemctl restart gunicorn.todo.service",
            "-s",
            "pullpray init todo",
        ] {
            as_deploy_user(&web, &format!("sudo -n {refused}"), 1)
                .with_context(|| format!("{refused} must be refused"))?
                .says("sudo:")?;
        }
        web.run_as("nobody", "sudo -n systemctl restart gunicorn.todo.service")?
            .exits(1)?;
    }
    Ok(())
}

#[test]
fn systemd_sudo_and_ssh_accept_the_generated_files() -> Result<()> {
    let lab = Lab::new("valid")?;
    for release in [Release::Bookworm, Release::Trixie] {
        let Todo {
            web, host: _host, ..
        } = Todo::live(&lab, release)?;
        // The trial's link exists only during a trial.
        web.run("cd /var/www/projects/todo && ln -s current next && trap 'rm next' EXIT; systemd-analyze verify --recursive-errors=no /etc/systemd/system/gunicorn.todo.service /etc/systemd/system/gunicorn.todo.trial.service /etc/systemd/system/gunicorn.todo.socket /etc/systemd/system/ssh-agent.todo.service")?
            .ok()?
            .silent()?;
        let level = web
            .run("systemd-analyze security --no-pager gunicorn.todo.service | sed -n 's/.*exposure level for .*: \\([0-9.]*\\) .*/\\1/p'")?
            .ok()?
            .stdout;
        ensure!(
            level.trim().parse::<f64>().context(level.clone())? <= 1.2,
            "exposed: {level}"
        );
        web.run("visudo -c -O -P && visudo -c -O -P -f /etc/sudoers.d/pullpray-todo")?
            .ok()?
            .says("/etc/sudoers.d/pullpray-todo: parsed OK")?;

        let alias = as_deploy_user(&web, "ssh -G githost-repo-todo", 0)?;
        for line in [
            "hostname githost",
            "user git",
            "port 22",
            "identitiesonly yes",
            &format!("identityagent {SOCKET}"),
            "identityfile /etc/ssh-agent-service/deploy-keys/todo_ed25519.pub",
            "userknownhostsfile /etc/ssh-agent-service/todo.known_hosts",
            "stricthostkeychecking true",
            "batchmode yes",
        ] {
            ensure!(
                alias.stdout.lines().any(|is| is == line),
                "{line:?} was expected: {alias}"
            );
        }
        let plain = web.run("ssh -G githost | grep -i identityagent")?;
        ensure!(
            plain.status == 1,
            "only the alias uses the agent: {plain:?}"
        );
        web.run("systemctl is-enabled gunicorn.todo.socket gunicorn.todo.service ssh-agent.todo.service && systemctl --failed --quiet")?
            .ok()?;
        ensure!(
            web.run("systemctl --failed --quiet --no-legend")?
                .ok()?
                .stdout
                .is_empty()
        );
    }
    Ok(())
}

#[test]
fn the_running_app_writes_only_to_shared() -> Result<()> {
    let lab = Lab::new("sandbox")?;
    for release in [Release::Bookworm, Release::Trixie] {
        let Todo { repo, web, .. } = Todo::live(&lab, release)?;
        repo.commit(
            "Print what the app can do",
            &[("items/views.py", include_str!("inside/probe.py"))],
        )?;
        web.run("pullpray poll todo")?.ok()?;
        // A process outside the sandbox, like a poll; a sandbox without PrivateUsers can enter its root.
        web.run("systemd-run --quiet --uid=gunicorn --unit=outside sleep 300; [ -S /run/dbus/system_bus_socket ]")?
            .ok()?;
        web.run(LEAVE)?
            .ok()
            .context("the escape works without PrivateUsers")?;
        let answer = web.page("/?probe=1")?;
        let can: Vec<&str> = answer
            .body
            .lines()
            .filter_map(|line| line.strip_prefix("can "))
            .collect();
        ensure!(
            can == [
                "make a file in shared",
                "make a directory in shared",
                "make a temporary file"
            ],
            "{answer:#?}"
        );
        ensure!(answer.body.lines().count() == 16, "{answer:#?}");

        let made = "cd /var/www/projects/todo/shared; stat -c '%A %U %G' by-the-app dir-by-the-app";
        ensure!(
            web.run(made)?.ok()?.stdout
                == "-rw-rw---- gunicorn gunicorn\ndrwxrws--- gunicorn gunicorn\n",
            "{}",
            web.run(made)?.ok()?
        );
        web.run("ls /tmp/by-the-app")?.exits(2)?;
    }
    Ok(())
}

#[test]
fn an_operator_edits_shared_files_without_more_sudo_rights() -> Result<()> {
    let lab = Lab::new("ann")?;
    let Todo { host, repo, web } = Todo::before_init(&lab, Release::Bookworm)?;
    web.run("useradd --create-home ann && useradd --create-home bob")?
        .ok()?;
    let init = host.init(&repo, "--app todo --operator ann")?;
    web.run(&init)?.exits(3)?;
    host.allow_key(&repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    web.run(&init)?.ok()?.says("ann is a member of gunicorn")?;

    let edit = "cd /var/www/projects/todo/shared && umask 0002 && mkdir -p media && touch media/x && cat /etc/pullpray/todo.env";
    web.run_as("ann", edit)?.ok()?;
    web.run_as("gunicorn", "echo more >/var/www/projects/todo/shared/media/x && rm -r /var/www/projects/todo/shared/media")?
        .ok()?;
    for person in ["ann", "bob"] {
        web.run_as(person, "sudo -n systemctl restart gunicorn.todo.service")?
            .exits(1)?;
    }
    web.run_as("bob", edit)?.exits(1)?;
    web.run_as("bob", "cat /etc/pullpray/todo.env")?.exits(1)?;
    web.run_as("ann", "cat /etc/ssh-agent-service/deploy-keys/todo_ed25519")?
        .exits(1)?;
    Ok(())
}
