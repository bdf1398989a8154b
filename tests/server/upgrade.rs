//! An upgrade of the distribution under a live app: Debian 12's files on Debian 13, where the interpreter of the
//! app's environment no longer exists.

use anyhow::{Result, ensure};

use crate::lab::{Lab, Release, Todo};

/// Paths that an upgrade does not change.
const KEPT: &str = "etc/pullpray etc/cron.d etc/sudoers.d etc/ssh/ssh_config.d etc/ssh-agent-service \
    $(cd / && find etc/systemd/system -name '*todo*') opt/git_pollers var/www/projects www/static var/lib/pullpray";

const DROP_INS: &str = "/run/systemd/system/gunicorn.todo.service.d";
const WHEELS: &str = "/srv/wheels";
/// Creates data that must survive the upgrade.
const KEEP: &str = "import sqlite3; sqlite3.connect('/var/www/projects/todo/shared/todo.sqlite3').execute('create table kept (x)')";

#[test]
fn a_live_app_survives_an_upgrade_of_the_distribution() -> Result<()> {
    let lab = Lab::new("upgrade")?;
    let Todo {
        repo,
        web,
        host: _host,
    } = Todo::live(&lab, Release::Bookworm)?;
    web.script("wheels", &[WHEELS])?.ok()?;
    web.run(&format!(
        "printf 'PIP_NO_INDEX=1\\nPIP_FIND_LINKS={WHEELS}\\n' >>/etc/pullpray/todo.env"
    ))?
    .ok()?;
    repo.commit("Require", &[("requirements.txt", "Django\ngunicorn\n")])?;
    web.run_for(300, "pullpray poll todo")?
        .ok()?
        .says("live after")?;
    web.run_as("gunicorn", &format!("python3 -c \"{KEEP}\""))?
        .ok()?;
    // Python 3.13 does not read site-packages below lib/python3.11.
    let packed = web
        .run(&format!(
            "tar -C / -cz --exclude site-packages {KEPT} | base64"
        ))?
        .ok()?
        .stdout;
    web.shut_down()?;

    let web = lab.web_server(Release::Trixie)?;
    web.nginx_site("todo", "127.0.0.1:8000")?;
    web.script("wheels", &[WHEELS])?.ok()?;
    web.write("/root/packed", &packed)?;
    // Uids and gids may differ on this server; tar maps owners by name.
    web.run(
        "groupadd --system gunicorn && useradd --system --gid gunicorn --no-create-home --shell /usr/sbin/nologin gunicorn \
         && base64 -d /root/packed | tar -C / -xzp",
    )?
    .ok()?;
    web.shut_down()?;
    web.boot_again()?;
    web.run("! curl -fs -m 3 -o /dev/null http://127.0.0.1:8000/")?
        .ok()?;
    web.run("pullpray doctor todo --offline")?
        .exits(1)?
        .says("cannot run in its virtual environment")?;

    // The poll comes during an attempt to start it, which looks like a running service.
    web.run(&format!(
        "set -e; mkdir -p {DROP_INS}; printf '[Service]\\nExecStartPre=/bin/sleep 5\\n' >{DROP_INS}/slow.conf; \
         systemctl daemon-reload; until [ $(systemctl show -P SubState gunicorn.todo.service) = start-pre ]; do sleep 0.2; done; \
         test -L /run/systemd/units/invocation:gunicorn.todo.service"
    ))?
    .ok()?;
    web.run_for(300, "pullpray poll todo")?
        .ok()?
        .says("deploying its commit again")?;
    web.run(&format!("rm -r {DROP_INS} && systemctl daemon-reload"))?
        .ok()?;
    ensure!(web.page("/")?.shows("version one"));
    web.run("readlink /var/www/projects/todo/current/.venv")?
        .ok()?
        .says("/py3.13-")?;
    web.run_as("gunicorn", &format!("python3 -c \"{KEEP}\""))?
        .exits(1)?
        .says("table kept already exists")?;
    web.run("pullpray doctor todo --offline")?.ok()?;
    repo.push("version two")?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    ensure!(web.page("/")?.shows("version two"));
    web.run("pullpray poll todo")?.ok()?.silent()?;
    Ok(())
}
