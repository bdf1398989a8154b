//! The daily verbs: run, logs and env, at a terminal, through pipes and without root.

use anyhow::{Result, ensure};

use crate::lab::{Lab, Release, Todo, WebServer};

const ENVIRONMENT: &str = "/etc/pullpray/todo.env";

fn nothing_left(web: &WebServer) -> Result<()> {
    web.run(
        "systemctl list-units --all --no-legend 'pullpray-run*'; ls /run | grep pullpray; true",
    )?
    .silent()
    .map(drop)
}

/// What the site's process has in this variable.
fn variable(web: &WebServer, name: &str) -> Result<String> {
    let command = format!(
        "tr '\\0' '\\n' </proc/$(systemctl show -P MainPID gunicorn.todo)/environ | sed -n '/^{name}=/,/^[A-Z_]*=/p' | sed '1s/^{name}=//;1!{{/^[A-Z_]*=/d}}'"
    );
    Ok(web.run(&command)?.ok()?.stdout)
}

#[test]
fn a_command_runs_as_the_app() -> Result<()> {
    let lab = Lab::new("run")?;
    let todo = Todo::live(&lab, Release::Bookworm)?;
    let web = &todo.web;
    web.run("echo 'GREETING=\"a $b\"' >>/etc/pullpray/todo.env")?
        .ok()?;
    let code = "import os, sys; print(os.environ['GREETING'], os.environ['PULLPRAY_COMMIT'][:7], os.getcwd(), sys.executable)";
    let live = web
        .run("readlink -f /var/www/projects/todo/current")?
        .ok()?
        .stdout;
    let live = live.trim();
    web.run(&format!("pullpray run todo -- python -c \"{code}\""))?
        .ok()?
        .says("a $b ")?
        .says(&format!(" {live} {live}/.venv/bin/python"))?;
    // The sandbox of the app, and no way to the deploy key's agent.
    web.run("pullpray run todo -- sh -c 'id -un; touch x; ls /run/ssh-agent.todo; touch $PULLPRAY_SHARED/y && echo written'")?
        .ok()?
        .says("gunicorn\nwritten\n")?
        .says("Read-only file system")?
        .says("ssh-agent.todo")?;
    web.run("printf 'one\\ntwo\\n' | pullpray run todo -- python -c 'import sys; print(len(sys.stdin.read()))' | sed s/^/got:/")?
        .ok()?
        .says("got:8\n")?;
    for (command, status) in [
        ("sh -c 'exit 7'", 7),
        ("no-such-program", 127),
        ("false", 1),
    ] {
        web.run(&format!("pullpray run todo -- {command}"))?
            .exits(status)?;
    }
    let mut terminal = web.terminal("pullpray run todo -- python -c \"print(input('name? '))\"")?;
    terminal.sees("name? ")?;
    terminal.presses("zoe\r")?;
    terminal.sees("zoe\r\nzoe")?;
    ensure!(terminal.ends()?.0 == 0);
    for command in ["sleep 1000", "sleep 1000 | cat"] {
        let mut terminal =
            web.terminal(&format!("pullpray run todo -- {command}; echo ended $?"))?;
        web.run(
            "for n in $(seq 100); do pgrep -x sleep -u gunicorn && exit; sleep 0.1; done; exit 9",
        )?
        .ok()?;
        terminal.presses("\x03")?;
        terminal.ends()?;
        web.run(
            "for n in $(seq 100); do pgrep -x sleep -u gunicorn || exit 0; sleep 0.1; done; exit 9",
        )?
        .ok()?;
    }
    nothing_left(web)?;
    web.run_as("gunicorn", "pullpray run todo -- python manage.py shell")?
        .exits(2)?
        .says("sudo pullpray run todo -- python manage.py shell")?;
    web.run("pullpray logs todo -n 3 && pullpray logs todo --process web -n 1")?
        .ok()?
        .says("Booting worker")?;
    web.run("pullpray logs todo --deploy")?
        .ok()?
        .says("/var/lib/pullpray/todo/log/")?
        .says("Running migrations")?;
    web.run("pullpray logs todo --process beat")?
        .exits(2)?
        .says("it runs web")?;
    web.run("useradd --groups gunicorn zoe")?.ok()?;
    web.run_as("zoe", "pullpray logs todo")?
        .exits(2)?
        .says("sudo pullpray logs todo")?;
    web.run("usermod --append --groups systemd-journal zoe")?
        .ok()?;
    web.run_as("zoe", "pullpray logs todo -n 3")?
        .ok()?
        .says("Booting worker")?;
    Ok(())
}

#[test]
fn a_variable_is_set_and_the_app_restarted_with_it() -> Result<()> {
    let lab = Lab::new("env")?;
    let todo = Todo::live(&lab, Release::Bookworm)?;
    let web = &todo.web;
    let value = "it's \"two\"\n$lines `x` \\ #";
    web.write("/root/value", value)?;
    web.run("sleep 2; pullpray env todo set GREETING </root/value")?
        .ok()?
        .says("is changed")?
        .says("sudo pullpray restart todo")?;
    ensure!(!web.read(ENVIRONMENT)?.contains("it's \"two\""));
    let newer = "the environment was changed since the app started: sudo pullpray restart todo";
    web.run("pullpray status todo")?.ok()?.says(newer)?;
    web.run("pullpray restart todo")?.ok()?;
    let status = web.run("pullpray status todo")?.ok()?.stdout;
    ensure!(!status.contains(newer), "{status}");
    ensure!(
        variable(web, "GREETING")?.trim_end() == value.trim_end(),
        "{}",
        variable(web, "GREETING")?
    );
    web.run("pullpray env todo set GREETING </root/value")?
        .ok()?
        .says("nothing changed")?;
    web.run("stat -c '%a %U:%G' /etc/pullpray/todo.env /etc/pullpray/todo.env.previous")?
        .says("640 root:gunicorn\n600 root:root\n")?;
    // At a terminal it is not shown, and the restart is offered.
    let mut terminal = web.terminal("pullpray env todo set TOKEN; echo ended $?")?;
    terminal.sees("not shown")?;
    terminal.presses("s3cret$\r")?;
    terminal.sees("Restart the app")?;
    terminal.presses("\r")?;
    terminal.sees("is restarted")?;
    terminal.sees("ended 0")?;
    let shown = terminal.ends()?.1;
    ensure!(!shown.contains("s3cret"), "{shown}");
    ensure!(variable(web, "TOKEN")? == "s3cret$\n");
    let before = web.read(ENVIRONMENT)?;
    let mut terminal = web.terminal("pullpray env todo set TOKEN; echo ended $?")?;
    terminal.sees("not shown")?;
    terminal.presses("other\x03")?;
    terminal.sees("ended 130")?;
    // An editor that leaves nonsense: asked again, and nothing is changed by a no.
    let mut terminal =
        web.terminal("EDITOR='sed -i 1iexport' pullpray env todo edit; echo ended $?")?;
    terminal.sees("line 1 is not an assignment")?;
    terminal.sees("Edit it again?")?;
    terminal.presses("n\r")?;
    terminal.sees("ended 1")?;
    ensure!(web.read(ENVIRONMENT)? == before);
    let mut terminal =
        web.terminal("EDITOR='sed -i s/s3cret/changed/' pullpray env todo edit; echo ended $?")?;
    terminal.sees("Restart the app")?;
    terminal.presses("n\r")?;
    terminal.sees("ended 0")?;
    ensure!(web.read(ENVIRONMENT)?.contains("changed"));
    for name in ["1X", "A-B", "'A B'"] {
        web.run(&format!("pullpray env todo set {name} </root/value"))?
            .exits(2)?
            .says("no name of a variable")?;
    }
    web.run_as("gunicorn", "pullpray env todo set TOKEN </etc/hostname")?
        .exits(2)?
        .says("sudo pullpray env todo set TOKEN")?;
    nothing_left(web)?;
    todo.repo.push("version two")?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    ensure!(web.page("/")?.shows("version two"));
    web.run("pullpray remove todo --yes --purge; ls /etc/pullpray")?
        .ok()?;
    web.run("ls /etc/pullpray/todo.env.previous")?.exits(2)?;
    Ok(())
}
