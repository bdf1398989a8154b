//! Hooks: a backup before each migration, as in the README, and the way back to one; and what tells of a poll's report.

use anyhow::{Context, Result, ensure};

use crate::lab::{Lab, Release, Todo, WebServer};

const README: &str = include_str!("../../README.md");
const HOOK: &str = "/etc/pullpray/hooks/todo/before-migrate";
const POSTGRESQL: &str =
    "\nDATABASES = {'default': {'ENGINE': 'django.db.backends.postgresql', 'NAME': 'todo'}}\n";

/// The block of shell in the README that has these words.
fn recipe(words: &str) -> Result<&'static str> {
    let mut blocks = README.split("```sh\n").skip(1);
    let block = blocks.find(|block| {
        block
            .split("```")
            .next()
            .is_some_and(|it| it.contains(words))
    });
    let block = block.with_context(|| format!("no block with {words}"))?;
    Ok(block.split("```").next().unwrap_or_default())
}

/// A migration on another one that runs a statement.
fn migration(after: &str, statement: &str) -> String {
    format!(
        "from django.db import migrations\n\n\nclass Migration(migrations.Migration):\n    dependencies = [('items', '{after}')]\n    operations = [migrations.RunSQL(\"{statement}\", '')]\n"
    )
}

fn backups(web: &WebServer) -> Result<Vec<String>> {
    let list = web
        .run("ls /var/www/projects/todo/shared/backups")?
        .ok()?
        .stdout;
    Ok(list.lines().map(str::to_owned).collect())
}

/// Deploys migrations with the recipe in place; `rows` prints the rows of the table `noted`.
fn backed_up(todo: &Todo, recipe_of: &str, rows: &str) -> Result<()> {
    let (web, repo) = (&todo.web, &todo.repo);
    let create = migration("0001_initial", "CREATE TABLE noted (text varchar(20))");
    repo.commit("A table", &[("items/migrations/0002_noted.py", &create)])?;
    web.run("mkdir -p /etc/pullpray/hooks/todo")?.ok()?;
    web.write(HOOK, recipe(recipe_of)?)?;
    web.run("pullpray poll todo")?.exits(1)?.says(&format!(
        "the hook {HOOK} is not executable: sudo chmod 755 {HOOK}"
    ))?;
    web.run(&format!("chmod 755 {HOOK}; pullpray poll todo --now"))?
        .ok()?
        .says("live after")?
        .says("before-migrate: backup /var/www/projects/todo/shared/backups/")?;
    ensure!(backups(web)?.len() == 1);
    // Nothing is due: no backup.
    repo.push("version two")?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    ensure!(backups(web)?.len() == 1);
    let insert = migration("0002_noted", "INSERT INTO noted VALUES ('kept')");
    repo.commit("A row", &[("items/migrations/0003_row.py", &insert)])?;
    web.run("pullpray poll todo")?
        .ok()?
        .says("before-migrate: backup ")?;
    // A hook that fails stops the deployment before the database is changed.
    let drop = migration("0003_row", "DELETE FROM noted");
    let fails = migration("0004_drop", "nonsense");
    repo.commit("Lose them", &[("items/migrations/0004_drop.py", &drop)])?;
    web.run(&format!("cp {HOOK} /root/hook; printf '#!/bin/sh\\necho the disk is full; exit 3\\n' >{HOOK}; pullpray poll todo"))?
        .exits(1)?
        .says(&format!("the hook {HOOK} exited with status 3; nothing of todo was changed"))?
        .says("the disk is full")?;
    web.run(rows)?.says("kept")?;
    web.run(&format!("cp /root/hook {HOOK}"))?.ok()?;
    repo.commit(
        "Fail after it",
        &[("items/migrations/0005_fails.py", &fails)],
    )?;
    web.run("pullpray poll todo")?
        .exits(1)?
        .says("migrations stay applied: items.0004_drop; before-migrate: backup ")?;
    web.run("pullpray status todo --history")?
        .ok()?
        .says("before-migrate: backup ")?;
    let without = web.run(rows)?.ok()?.stdout;
    ensure!(!without.contains("kept"), "{without}");
    // The way back.
    let last = backups(web)?.pop().context("no backup")?;
    let (time, ending) = last.split_once('.').context("no ending")?;
    let line = recipe("pg_restore")?
        .lines()
        .find(|line| line.contains(&format!("TIME.{ending}")));
    let line = line.context("no such recipe")?.replace("TIME", time);
    web.run(&line)?.ok()?;
    web.run(rows)?.says("kept")?;
    // And on: without the two migrations, whose data is as before them.
    repo.run("git rm -q items/migrations/0004_drop.py items/migrations/0005_fails.py && git commit -qm 'Keep them' && git push -q")?;
    repo.push("version three")?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    ensure!(web.page("/")?.shows("version three"));
    // The hooks are not the app's to see.
    web.run("pullpray run todo -- ls /etc/pullpray/hooks")?
        .exits(2)?;
    web.run(&format!("chown gunicorn {HOOK}"))?.ok()?;
    repo.commit(
        "More",
        &[(
            "items/migrations/0004_more.py",
            &migration("0003_row", "SELECT 1"),
        )],
    )?;
    web.run("pullpray poll todo")?
        .exits(1)?
        .says("only root may be able to modify the hook")?;
    Ok(())
}

#[test]
fn sqlite_is_backed_up_before_a_migration_and_restored() -> Result<()> {
    let lab = Lab::new("sqlite")?;
    let todo = Todo::live(&lab, Release::Bookworm)?;
    let rows = "python3 -c 'import sqlite3; print(sqlite3.connect(\"/var/www/projects/todo/shared/todo.sqlite3\").execute(\"select * from noted\").fetchall())'";
    backed_up(&todo, "[ -s ", rows)
}

#[test]
fn postgresql_is_backed_up_before_a_migration_and_restored() -> Result<()> {
    let lab = Lab::new("pg")?;
    let todo = Todo::with_services(&lab, Release::Bookworm)?;
    todo.make_live()?;
    let (web, repo) = (&todo.web, &todo.repo);
    web.run("runuser -u postgres -- createuser gunicorn && runuser -u postgres -- createdb --owner gunicorn todo")?
        .ok()?;
    let settings = format!("{}{POSTGRESQL}", include_str!("project/todo/settings.py"));
    repo.commit("Use PostgreSQL", &[("todo/settings.py", &settings)])?;
    web.run("pullpray poll todo")?.ok()?;
    backed_up(
        &todo,
        "pg_dump",
        "runuser -u gunicorn -- psql todo -c 'select * from noted'",
    )
}

#[test]
fn hooks_tell_what_a_poll_reports_and_change_nothing() -> Result<()> {
    let lab = Lab::new("tell")?;
    let todo = Todo::live(&lab, Release::Bookworm)?;
    let (web, repo) = (&todo.web, &todo.repo);
    let said = "/var/www/projects/todo/shared/said";
    let tell =
        format!("#!/bin/sh\n{{ id -un; echo \"$PULLPRAY_MESSAGE\"; cat; echo; env; }} >>{said}\n");
    web.run("mkdir -p /etc/pullpray/hooks/todo; echo SECRET_KEY=hush >>/etc/pullpray/todo.env")?
        .ok()?;
    for event in ["live", "failed", "todo/recovered"] {
        web.write(&format!("/etc/pullpray/hooks/{event}"), &tell)?;
    }
    web.run("chmod -R +x /etc/pullpray/hooks")?.ok()?;
    web.run("pullpray poll todo")?.ok()?.silent()?;
    web.run(&format!("ls {said}"))?.exits(2)?;
    let commit = repo.push("version two")?;
    web.run("pullpray poll todo")?.ok()?;
    web.run(&format!("cat {said}; rm {said}"))?
        .says("gunicorn\ntodo: ")?
        .says("live after")?
        .says("\"event\":\"live\"")?
        .says(&format!("\"commit\":\"{}\"", commit.trim()))
        .and_then(|out| {
            ensure!(!out.stdout.contains("hush"), "{out:?}");
            Ok(())
        })?;
    repo.commit(
        "Break it",
        &[("todo/wsgi.py", "raise RuntimeError('no luck')\n")],
    )?;
    web.run("pullpray poll todo")?.exits(1)?;
    web.run(&format!("cat {said}; rm {said}"))?
        .says("\"event\":\"failed\"")?
        .says("no luck")?;
    // One that fails, or is not root's, changes nothing about how the poll ends.
    let wsgi = include_str!("project/todo/wsgi.py");
    repo.commit(
        "Repair it",
        &[("todo/wsgi.py", wsgi), ("VERSION", "version three\n")],
    )?;
    web.write(
        "/etc/pullpray/hooks/todo/live",
        "#!/bin/sh\necho nobody there >&2; exit 7\n",
    )?;
    web.run("chmod +x /etc/pullpray/hooks/todo/live; pullpray poll todo")?
        .ok()?
        .says("live after")?
        .says("the hook /etc/pullpray/hooks/todo/live failed: live exited with status 7: nobody there")?;
    repo.push("version four")?;
    web.run("chown gunicorn /etc/pullpray/hooks/todo/live; pullpray poll todo")?
        .ok()?
        .says("live after")?
        .says("only root may be able to modify the hook")?;
    web.run("rm /var/www/projects/todo/current; pullpray poll todo")?
        .ok()?;
    web.run(&format!("cat {said}"))?
        .says("\"event\":\"recovered\"")?;
    ensure!(web.page("/")?.shows("version four"));
    Ok(())
}

#[test]
fn hooks_run_around_a_switch_and_can_stop_it() -> Result<()> {
    let lab = Lab::new("around")?;
    let todo = Todo::live(&lab, Release::Bookworm)?;
    let (web, repo) = (&todo.web, &todo.repo);
    let said = "/var/www/projects/todo/shared/said";
    let tells = format!(
        "#!/bin/sh\necho \"$PULLPRAY_EVENT $(cat /var/www/projects/todo/current/VERSION)\" >>{said}\n"
    );
    web.run("mkdir -p /etc/pullpray/hooks")?.ok()?;
    for event in ["before-switch", "after-switch"] {
        web.write(&format!("/etc/pullpray/hooks/{event}"), &tells)?;
    }
    web.run("chmod +x /etc/pullpray/hooks/*")?.ok()?;
    repo.push("version two")?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    let heard = |expected: &str| -> Result<()> {
        let out = web.run(&format!("cat {said}; rm {said}"))?.ok()?;
        ensure!(out.stdout == expected, "{out:?}");
        Ok(())
    };
    heard("before-switch version one\nafter-switch version two\n")?;
    web.run("pullpray rollback todo && pullpray resume todo")?
        .ok()?;
    heard("before-switch version two\nafter-switch version one\n")?;
    // One that fails stops the switch, and what is live was never touched.
    let started = "systemctl show -P ExecMainStartTimestampMonotonic gunicorn.todo.service";
    let since = web.run(started)?.ok()?.stdout;
    web.run("sed -i '2i echo no balancer >&2; exit 7' /etc/pullpray/hooks/before-switch")?
        .ok()?;
    repo.push("version three")?;
    web.run("pullpray poll todo")?
        .exits(1)?
        .says("the hook /etc/pullpray/hooks/before-switch failed: before-switch exited with status 7: no balancer")?
        .says("is still live")?;
    ensure!(web.run(started)?.ok()?.stdout == since);
    ensure!(web.page("/")?.shows("version one"));
    heard("after-switch version one\n")?;
    web.run("sed -i 2d /etc/pullpray/hooks/before-switch; pullpray poll todo --now")?
        .ok()?
        .says("live after")?;
    heard("before-switch version one\nafter-switch version three\n")?;
    web.run("echo 'echo still drained >&2; exit 8' >>/etc/pullpray/hooks/after-switch")?
        .ok()?;
    repo.push("version four")?;
    web.run("pullpray poll todo")?
        .ok()?
        .says("live after")?
        .says("after-switch exited with status 8: still drained")?;

    // Settings that were changed by hand, until init carries them out.
    let note = "the settings are newer than units that differ from them: sudo pullpray init todo";
    web.run("sleep 1; sed -i 's/^workers = .*/workers = 3/' /etc/pullpray/todo.toml; pullpray status todo")?
        .ok()?
        .says(note)?;
    let out = web.run("pullpray init todo --yes && pullpray status todo")?;
    ensure!(!out.ok()?.stdout.contains(note));
    // At most 1.2, in tenths (systemd-analyze(1), "security").
    web.run("for unit in gunicorn.todo gunicorn.todo.bridge; do systemd-analyze security $unit.service --no-pager --threshold=12 >/dev/null || exit 9; done")?
        .ok()?;
    Ok(())
}
