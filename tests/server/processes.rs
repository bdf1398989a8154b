//! What runs beside web: Celery's worker and beat with Redis, by the repository's Procfile.

use anyhow::{Result, ensure};

use crate::lab::{Access, Lab, Release, Todo, WebServer};

const PROCFILE: &str = "web: gunicorn todo.wsgi\n\
     worker: celery --app todo.tasks worker --loglevel info --concurrency 1\n\
     beat: celery --app todo.tasks beat --schedule /tmp/beat --pidfile=\n\
     other: sleep 1d\n";
/// A task writes which version ran it.
const TASKS: &str = "import os
import time
from pathlib import Path

from celery import Celery

shared = Path(os.environ['PULLPRAY_SHARED'])
version = Path('VERSION').read_text().strip()
app = Celery('todo', broker='redis://127.0.0.1/0')
app.conf.update(task_acks_late=True, task_ignore_result=True, worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    beat_schedule={'tick': {'task': 'todo.tasks.note', 'schedule': 10.0, 'args': ['tick', 0]}})


@app.task
def note(name, seconds):
    time.sleep(seconds)
    with open(shared / f'ran-{name}', 'a') as file:
        file.write(version + '\\n')
";
const CALL: &str = "pullpray run todo -- celery --app todo.tasks call todo.tasks.note --args";

/// Waits until these lines were written by tasks of this name.
fn ran(web: &WebServer, name: &str, expected: &str) -> Result<()> {
    let file = format!("/var/www/projects/todo/shared/ran-{name}");
    let wait = format!(
        "for n in $(seq 300); do [ \"$(sort {file} 2>/dev/null)\" = '{expected}' ] && exit; sleep 0.1; done; cat {file}; journalctl -u pullpray.todo.worker -n 40 --no-pager; redis-cli llen celery; redis-cli hlen unacked; exit 9"
    );
    web.run(&wait)?.ok().map(drop)
}

fn call(web: &WebServer, name: &str, seconds: u32) -> Result<()> {
    let call = format!("{CALL} '[\"{name}\", {seconds}]'");
    web.run(&call)?.ok().map(drop)
}

/// Each process runs from the live release.
fn all_run(web: &WebServer, names: &[&str]) -> Result<()> {
    let live = web
        .run("readlink -f /var/www/projects/todo/current")?
        .ok()?
        .stdout;
    for name in names {
        let cwd = format!(
            "readlink -f /proc/$(systemctl show -P MainPID pullpray.todo.{name}.service)/cwd"
        );
        let cwd = web.run(&cwd)?.ok()?.stdout;
        ensure!(cwd == live, "{name}: {cwd} instead of {live}");
    }
    Ok(())
}

#[test]
fn celery_s_worker_and_beat_belong_to_the_release() -> Result<()> {
    let lab = Lab::new("celery")?;
    let todo = Todo::with_services(&lab, Release::Bookworm)?;
    let Todo { host, repo, web } = &todo;
    web.run("systemctl start redis-server")?.ok()?;
    repo.commit(
        "Run tasks",
        &[("Procfile", PROCFILE), ("todo/tasks.py", TASKS)],
    )?;
    let init = todo.init("--schedule '0 0 1 1 *' --workers 2 --processes worker,beat")?;
    web.run(&init)?.exits(3)?;
    host.allow_key(repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    web.run(&init)?.ok()?.says("processes beside web")?;
    all_run(web, &["worker", "beat"])?;
    web.run("pullpray doctor todo --strict")?
        .ok()?
        .says("process.running")?
        .says("worker, beat")?;
    // At most 1.5, in tenths (systemd-analyze(1), "security").
    web.run("for process in worker beat; do systemd-analyze security pullpray.todo.$process.service --no-pager --threshold=15 >/dev/null || exit 9; done")?
        .ok()?;
    call(web, "first", 0)?;
    ran(web, "first", "version one")?;

    // A worker finishes its task; what the broker still has is run by the new code.
    call(web, "kept", 60)?;
    for _ in 0..5 {
        call(web, "kept", 0)?;
    }
    let more = format!(
        "{PROCFILE}extra: sleep 1d
"
    );
    repo.commit(
        "Have one more",
        &[
            (
                "VERSION",
                "version two
",
            ),
            ("Procfile", &more),
        ],
    )?;
    web.run_for(300, "pullpray poll todo")?
        .ok()?
        .says("live after")?
        .says("nobody runs extra of the Procfile")?;
    all_run(web, &["worker", "beat"])?;
    let file = "/var/www/projects/todo/shared/ran-kept";
    web.run_for(300, &format!("for n in $(seq 1500); do [ \"$(wc -l <{file})\" = 6 ] && exit; sleep 0.1; done; cat {file}; journalctl -u pullpray.todo.worker -n 40 --no-pager; redis-cli llen celery; redis-cli hlen unacked; exit 9"))?
        .ok()?;
    web.run(&format!("tail -n 1 {file}"))?.says("version two")?;
    call(web, "second", 0)?;
    ran(web, "second", "version two")?;

    // A worker that dies at once takes web with it, to the previous release.
    let dies = format!("raise RuntimeError('no queue today')\n{TASKS}");
    repo.commit(
        "Break the worker",
        &[("todo/tasks.py", &dies), ("VERSION", "version three\n")],
    )?;
    web.run("pullpray poll todo")?
        .exits(1)?
        .says("pullpray.todo.")?
        .says("no queue today")?;
    ensure!(web.page("/")?.shows("version two"));
    all_run(web, &["worker", "beat"])?;
    call(web, "third", 0)?;
    ran(web, "third", "version two")?;

    // A name that the Procfile lacks.
    repo.commit(
        "Drop beat",
        &[("todo/tasks.py", TASKS), ("Procfile", "worker: sleep 1d\n")],
    )?;
    web.run("pullpray poll todo")?
        .exits(1)?
        .says("the settings run beat, and Procfile names worker")?;
    web.run("pullpray poll todo")?.ok()?.silent()?;
    all_run(web, &["worker", "beat"])?;
    repo.commit(
        "Bring it back",
        &[("Procfile", PROCFILE), ("VERSION", "version four\n")],
    )?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    web.run("pullpray rollback todo")?
        .ok()?
        .says("is live again")?;
    all_run(web, &["worker", "beat"])?;
    call(web, "fourth", 0)?;
    ran(web, "fourth", "version two")?;
    web.run("pullpray resume todo")?.ok()?;

    leave_the_settings_and_the_server(&todo)
}

/// One that leaves the settings leaves the server; the other goes on, and is started again by a fix.
fn leave_the_settings_and_the_server(todo: &Todo) -> Result<()> {
    let (web, repo) = (&todo.web, &todo.repo);
    web.run("pullpray init todo --processes worker --yes")?
        .ok()?;
    web.run(
        "systemctl list-units --all --plain --no-legend 'pullpray.todo.*'; ls /etc/systemd/system",
    )?
    .says("pullpray.todo.worker.service")
    .and_then(|out| {
        ensure!(!out.stdout.contains("beat"), "{out:?}");
        Ok(())
    })?;
    web.run("pullpray status todo --check")?
        .ok()?
        .says("  beside    worker active\n")?;
    web.run("systemctl stop pullpray.todo.worker; pullpray status todo --check")?
        .exits(1)?
        .says("worker inactive")?;
    web.run("pullpray doctor todo")?
        .exits(1)?
        .says("process.running")?;
    web.run("pullpray doctor todo --fix --yes")?.ok()?;
    all_run(web, &["worker"])?;
    repo.push("version five")?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    ensure!(web.page("/")?.shows("version five"));
    web.run("pullpray remove todo --yes")?.ok()?;
    web.run(
        "ls /etc/systemd/system /etc/systemd/system/*.wants | grep pullpray.todo; pgrep -f celery",
    )?
    .exits(1)?;
    Ok(())
}

#[test]
fn limits_apply_to_each_unit_and_a_killed_process_is_named() -> Result<()> {
    let lab = Lab::new("limits")?;
    let todo = Todo::live(&lab, Release::Bookworm)?;
    let (web, repo) = (&todo.web, &todo.repo);
    repo.commit("Have a worker", &[("Procfile", "worker: exec sleep 1d\n")])?;
    web.run("pullpray poll todo")?.ok()?.says(
        "nobody runs worker of the Procfile (to run it: sudo pullpray init todo --processes NAMES)",
    )?;
    web.run("set -e; mkdir /srv/media; chown gunicorn /srv/media; cd /etc/pullpray; printf 'memory = 200\\ncpu = 150\\ntasks = 50\\nprocesses = [\"worker\"]\\nwritable = [\"/srv/media\"]\\n' >new; grep -vE '^(processes|writable) = ' todo.toml >>new; mv new todo.toml; pullpray init todo --yes")?
        .ok()?;
    for unit in [
        "gunicorn.todo",
        "gunicorn.todo.bridge",
        "gunicorn.todo.trial",
        "pullpray.todo.worker",
    ] {
        web.run(&format!("systemctl show -P MemoryMax -P TasksMax -P CPUQuotaPerSecUSec -P OOMPolicy {unit}.service"))?
            .says("209715200\n")?
            .says("50\n")?
            .says("1.500000s\n")?
            .says("continue\n")?;
    }
    web.run("pullpray doctor todo --strict && pullpray run todo -- sh -c 'touch /srv/media/x && id -un'")?
        .ok()?
        .says("gunicorn")?;
    // What the kernel does to one that exceeds its memory (servers of the tests have no memory controller): the release is
    // taken back, and nothing else is killed.
    let before = web
        .run("systemctl show -P NRestarts gunicorn.todo.service")?
        .ok()?
        .stdout;
    let eats = "worker: kill -9 $$\n";
    repo.commit("Eat", &[("Procfile", eats), ("VERSION", "version two\n")])?;
    web.run("pullpray poll todo")?
        .exits(1)?
        .says("pullpray.todo.worker.service does not stay up (signal)")?;
    ensure!(web.page("/")?.shows("version one"));
    let after = web
        .run("systemctl show -P NRestarts gunicorn.todo.service")?
        .ok()?
        .stdout;
    ensure!(before == after, "{before} {after}");
    all_run(web, &["worker"])?;
    // The administrator's Procfile counts instead of the repository's, at once: the commit is not refused any more.
    repo.commit(
        "Drop it",
        &[("Procfile", "other: x\n"), ("VERSION", "version three\n")],
    )?;
    web.run("pullpray poll todo")?
        .exits(1)?
        .says("Procfile names other")?;
    web.write("/etc/pullpray/todo.Procfile", "worker: sleep 1d\n")?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    all_run(web, &["worker"])?;
    web.run("rm /etc/pullpray/todo.Procfile")?.ok()?;
    // A unit cannot be changed by a commit: the command is an account's, in its sandbox.
    let attack =
        "worker: id -u >$PULLPRAY_SHARED/who; touch /etc/attacked; sudo -n true; sleep 1d\n";
    repo.commit(
        "Attack",
        &[("Procfile", attack), ("VERSION", "version four\n")],
    )?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    web.run("cat /var/www/projects/todo/shared/who; id -u gunicorn; ls /etc/attacked")?
        .exits(2)
        .and_then(|out| {
            let ids: Vec<&str> = out.stdout.lines().collect();
            ensure!(ids.len() == 2 && ids[0] == ids[1], "{ids:?}");
            Ok(())
        })?;
    ensure!(web.page("/")?.shows("version four"));
    // Without any: none is left.
    web.run("pullpray init todo --processes '' --yes && pullpray doctor todo")?
        .ok()?
        .says("process.running        none")?;
    web.run("systemctl list-units --all --no-legend 'pullpray.todo.*'; ls /etc/systemd/system | grep pullpray.todo")?
        .exits(1)?
        .silent()
        .map(drop)
}
