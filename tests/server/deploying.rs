//! Successful deployments under load, and failed deployments that keep the live release.

use anyhow::{Result, ensure};

use crate::lab::{Lab, Output, Release, Repository, Todo, WebServer};

const SETTINGS: &str = include_str!("project/todo/settings.py");
const VIEWS: &str = include_str!("project/items/views.py");
const WSGI: &str = include_str!("project/todo/wsgi.py");

/// todo live, with a short health check timeout.
fn live(lab: &Lab) -> Result<Todo> {
    let todo = Todo::live(lab, Release::Bookworm)?;
    set(&todo.web, "health_timeout = .*", "health_timeout = 8")?;
    Ok(todo)
}

fn set(web: &WebServer, from: &str, to: &str) -> Result<()> {
    web.run(&format!(
        "sed -i 's|^{from}|{to}|' /etc/pullpray/todo.toml && grep -qxF '{to}' /etc/pullpray/todo.toml"
    ))?
    .ok()?;
    Ok(())
}

/// A poll fails while visitors request the page without pause; no request fails.
fn fails_without_visible_effect(web: &WebServer, version: &str) -> Result<Output> {
    let (poll, load) = web.under_load("/", || web.run("pullpray poll todo")?.exits(1))?;
    ensure!(
        load.failed.is_empty() && load.requests > 0,
        "{load:?}\n{poll}"
    );
    ensure!(web.page("/")?.shows(version), "{version} stays");
    poll.says("is still live")?
        .says("\n  log   /var/lib/pullpray/todo/log/")?;
    let log = poll
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("  log   "))
        .unwrap_or_default();
    web.run(&format!("test -f {log}"))?.ok()?;
    Ok(poll)
}

fn deploys(web: &WebServer, repo: &Repository, version: &str) -> Result<()> {
    repo.push(version)?;
    let (_, load) = web.under_load("/", || web.run("pullpray poll todo")?.ok())?;
    ensure!(load.failed.is_empty() && load.requests > 0, "{load:?}");
    ensure!(web.page("/")?.shows(version));
    Ok(())
}

#[test]
fn a_failed_build_never_goes_live() -> Result<()> {
    let lab = Lab::new("build")?;
    let Todo { repo, web, .. } = live(&lab)?;
    deploys(&web, &repo, "version two")?;

    repo.commit("Break the settings", &[("todo/settings.py", "def (")])?;
    fails_without_visible_effect(&web, "version two")?
        .says("\"Break the settings\" failed: the deploy script exited with")?
        .says("  | SyntaxError: invalid syntax")?;
    web.run("pullpray poll todo")?.ok()?.silent()?;

    let migration = "from django.db import migrations\n\n\ndef fail(apps, editor):\n    raise ValueError('no such luck')\n\n\nclass Migration(migrations.Migration):\n    dependencies = [('items', '0001_initial')]\n    operations = [migrations.RunPython(fail)]\n";
    repo.commit(
        "Migrate badly",
        &[
            ("todo/settings.py", SETTINGS),
            ("items/migrations/0002_bad.py", migration),
        ],
    )?;
    fails_without_visible_effect(&web, "version two")?.says("  | ValueError: no such luck")?;

    repo.run("git rm -q items/migrations/0002_bad.py && mkdir .venv && touch .venv/x && git add -f .venv && git commit -qm 'Track .venv' && git push -q")?;
    fails_without_visible_effect(&web, "version two")?.says("the repository tracks .venv")?;

    let in_the_tree = SETTINGS.replace("Path(os.environ[\"PULLPRAY_SHARED\"])", "BASE_DIR");
    repo.run("git rm -rq --cached .venv && rm -r .venv")?;
    repo.commit(
        "Database in the tree",
        &[("todo/settings.py", &in_the_tree)],
    )?;
    fails_without_visible_effect(&web, "version two")?
        .says("would write into the release")?
        .says("todo.sqlite3 (DATABASES[\"default\"])")?
        .says("pullpray init todo --shared-paths todo.sqlite3")?;

    repo.commit("Back to good", &[("todo/settings.py", SETTINGS)])?;
    deploys(&web, &repo, "version three")?;
    Ok(())
}

const MIGRATION: &str = "from django.db import migrations\nclass Migration(migrations.Migration):\n    dependencies = [('items', '0001_initial')]\n    operations = [migrations.RunSQL('SELECT 1', 'SELECT 1')]\n";

#[test]
fn an_unhealthy_release_is_rolled_back() -> Result<()> {
    let lab = Lab::new("unhealthy")?;
    let Todo { repo, web, .. } = live(&lab)?;

    let started = "systemctl show -P ExecMainStartTimestampMonotonic gunicorn.todo.service";
    let since = web.run(started)?.ok()?.stdout.clone();
    repo.commit(
        "Fail at the start",
        &[("todo/wsgi.py", "raise RuntimeError('only at the start')\n")],
    )?;
    web.run("pullpray poll todo")?
        .exits(1)?
        .says("health check failed before switching")?
        .says("is still live")?
        .says("  | RuntimeError: only at the start\n")?;

    let failing = VIEWS.replace(
        "    return render",
        "    raise ValueError('unhealthy')\n    return render",
    );
    repo.commit(
        "Answer with 500",
        &[
            ("todo/wsgi.py", WSGI),
            ("items/views.py", &failing),
            ("items/migrations/0002_more.py", MIGRATION),
        ],
    )?;
    web.run("pullpray poll todo")?
        .exits(1)?
        .says("  note  migrations stay applied: items.0002_more\n")?
        .says("health check failed before switching: GET / on /run/gunicorn.todo.trial/trial.sock (Host: localhost) → 500")?
        .says("is still live")?;
    ensure!(web.page("/")?.shows("version one"));
    ensure!(
        web.run(started)?.ok()?.stdout == since,
        "the live release was never touched"
    );
    let left = "ls /var/www/projects/todo/next /run/gunicorn.todo.trial";
    web.run(left)?.exits(2)?;

    // Healthy in the trial, unhealthy when live.
    let alone = format!(
        "import os\nif 'PULLPRAY_TRIAL' not in os.environ:\n    raise RuntimeError('only when it is live')\n{WSGI}"
    );
    repo.commit(
        "Fail when live",
        &[("todo/wsgi.py", &alone), ("items/views.py", VIEWS)],
    )?;
    web.run("pullpray poll todo")?
        .exits(1)?
        .says("failed: health check failed")?
        .says("is still live")?
        .says("  | RuntimeError: only when it is live\n")?;
    ensure!(web.page("/")?.shows("version one"));
    ensure!(web.run(started)?.ok()?.stdout != since);
    repo.commit("Healthy again", &[("todo/wsgi.py", WSGI)])?;

    let strict = SETTINGS.replace("\"localhost,127.0.0.1,todo.example\"", "\"todo.example\"");
    repo.commit(
        "Allow one host",
        &[("items/views.py", VIEWS), ("todo/settings.py", &strict)],
    )?;
    web.run("pullpray poll todo")?
        .exits(1)?
        .says("→ 400; is localhost in the project's ALLOWED_HOSTS? health_host in the settings is the hostname that is sent")?;
    ensure!(web.page("/")?.shows("version one"));
    // The suggested fix works: a change of settings allows another attempt.
    set(&web, "health_host = .*", "health_host = \"todo.example\"")?;
    web.run("pullpray poll todo")?
        .ok()?
        .says("\"Allow one host\" live after")?;
    ensure!(web.page_of("todo.example", "/")?.shows("version one"));
    Ok(())
}

#[test]
fn shared_paths_are_linked_and_old_releases_removed() -> Result<()> {
    let lab = Lab::new("shared")?;
    let Todo { repo, web, .. } = live(&lab)?;
    // A new answer reaches the live commit at once.
    web.run("pullpray init todo --shared-paths media/ --yes && test -L /var/www/projects/todo/current/media && pullpray doctor todo --offline")?
        .ok()?;
    ensure!(web.page("/")?.shows("version one"));
    set(
        &web,
        "shared_paths = .*",
        "shared_paths = [\"data/list.txt\", \"media/\"]",
    )?;
    set(&web, "keep = .*", "keep = 2")?;
    repo.push("version two")?;
    fails_without_visible_effect(&web, "version one")?
        .says("/var/www/projects/todo/shared/data/list.txt is missing: the settings list data/list.txt under shared_paths")?;
    web.run_as(
        "gunicorn",
        "mkdir /var/www/projects/todo/shared/data && echo one >/var/www/projects/todo/shared/data/list.txt",
    )?
    .ok()?;
    web.run("pullpray poll todo --now")?.ok()?;
    web.run_as(
        "gunicorn",
        "cd /var/www/projects/todo/current && cat data/list.txt && echo x >media/upload && stat -c '%a %G' ../../shared/media",
    )?
    .ok()?
    .says("one\n")?
    .says("2770 gunicorn")?;

    for version in ["version three", "version four", "version five"] {
        deploys(&web, &repo, version)?;
    }
    let count = "cd /var/www/projects/todo && ls releases | wc -l && ls venvs | wc -l && cat current/media/upload current/data/list.txt";
    ensure!(
        web.run(count)?.ok()?.stdout == "2\n1\nx\none\n",
        "{}",
        web.run(count)?.ok()?
    );
    Ok(())
}

#[test]
fn a_deploy_script_leaves_nothing_behind() -> Result<()> {
    let lab = Lab::new("script")?;
    let Todo { repo, web, .. } = live(&lab)?;
    let more = "sleep 4241 &\nsetsid sleep 4242 &\n(setsid setsid sleep 4243 &) &\nyes flood | head -c 1000000000\necho the end\n";
    web.run(&format!(
        "printf '%s' '{more}' >>/opt/git_pollers/todo/deploy.sh"
    ))?
    .ok()?;
    deploys(&web, &repo, "version two")?;
    web.run("pgrep -af 'sleep 424'")?.exits(1)?;
    let log = web
        .run("cd /var/lib/pullpray/todo/log && f=$(ls | tail -1) && stat -c %s $f && tail -5 $f")?
        .ok()?;
    let size: u64 = log.stdout.lines().next().unwrap_or_default().parse()?;
    ensure!(size < 5_000_000 && size > 1_000_000, "{log}");
    log.says("the end")?;

    // A script that never ends is stopped, with every process that it started.
    set(&web, "deploy_timeout = .*", "deploy_timeout = 3")?;
    web.run("printf 'sleep 4244 & sleep 4245\n' >/opt/git_pollers/todo/deploy.sh; sed -i '1i #!/bin/sh' /opt/git_pollers/todo/deploy.sh")?
        .ok()?;
    repo.push("version three")?;
    fails_without_visible_effect(&web, "version two")?
        .says("did not end within 3 s and was stopped")?;
    web.run("pgrep -af 'sleep 424'")?.exits(1)?;
    Ok(())
}
