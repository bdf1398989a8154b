//! A second init: it leaves finished steps untouched, to the inode and the second, and keeps an
//! administrator's changes.

use anyhow::{Result, ensure};

use crate::lab::{Access, Lab, Release, TOUCHED, Todo, WebServer};

/// Every path with inode and times, to detect even a rewrite of the same content.
fn traces(web: &WebServer) -> Result<Vec<String>> {
    let find = format!(
        "find {} -printf '%p %i %T@ %C@\\n' | sort",
        TOUCHED.join(" ")
    );
    let out = web.run(&find)?.ok()?;
    Ok(out.stdout.lines().map(str::to_owned).collect())
}

/// Paths that differ between two listings.
fn changed(before: &[String], after: &[String]) -> Vec<String> {
    let mut paths: Vec<String> = after
        .iter()
        .filter(|line| !before.contains(line))
        .chain(before.iter().filter(|line| !after.contains(line)))
        .filter_map(|line| line.split(' ').next().map(str::to_owned))
        .collect();
    paths.sort();
    paths.dedup();
    paths
}

#[test]
fn a_second_init_changes_nothing() -> Result<()> {
    let lab = Lab::new("again")?;
    for release in [Release::Bookworm, Release::Trixie] {
        let todo = Todo::live(&lab, release)?;
        let Todo { web, .. } = &todo;
        // The app opens its database for writing, which copies it to the overlay with a new inode.
        web.page("/")?;
        let before = traces(web)?;
        ensure!(before.len() > 500, "only {} paths", before.len());
        let started = "systemctl show -P ActiveEnterTimestampMonotonic gunicorn.todo.service gunicorn.todo.socket ssh-agent.todo.service cron";
        let since = web.run(started)?.ok()?.stdout;
        for init in [
            "pullpray init todo --yes".to_owned(),
            todo.init("--schedule '0 0 1 1 *'")?,
            "pullpray init todo --yes --dry-run".to_owned(),
            "pullpray init todo --yes --overwrite".to_owned(),
        ] {
            web.run(&init)?.ok()?.says("nothing to change")?;
            let touched = changed(&before, &traces(web)?);
            ensure!(touched.is_empty(), "{init}: {touched:#?}");
        }
        ensure!(
            web.run(started)?.ok()?.stdout == since,
            "nothing was restarted"
        );
    }
    Ok(())
}

#[test]
fn another_schedule_changes_the_settings_and_the_cron_entry() -> Result<()> {
    let lab = Lab::new("schedule")?;
    let Todo {
        web, host: _host, ..
    } = Todo::live(&lab, Release::Bookworm)?;
    let before = web.listing(TOUCHED)?;
    web.run("pullpray init todo --yes --schedule 10")?.ok()?;
    ensure!(
        changed(&before, &web.listing(TOUCHED)?)
            == [
                "/etc/cron.d/pullpray-todo",
                "/etc/pullpray/todo.toml",
                "/var/lib/pullpray/receipts/todo.jsonl",
                "/var/lib/pullpray/receipts/todo.toml",
            ],
        "{:#?}",
        changed(&before, &web.listing(TOUCHED)?)
    );
    ensure!(
        web.read("/etc/cron.d/pullpray-todo")?
            .contains("/10 * * * * gunicorn ")
    );
    web.run("pullpray init todo --yes")?
        .ok()?
        .says("nothing to change")?;
    Ok(())
}

#[test]
fn local_changes_are_kept_until_overwritten() -> Result<()> {
    let lab = Lab::new("admin")?;
    let Todo {
        web, host: _host, ..
    } = Todo::live(&lab, Release::Bookworm)?;
    let (cron, unit) = (
        "/etc/cron.d/pullpray-todo",
        "/etc/systemd/system/gunicorn.todo.service",
    );
    let (script, environment) = ("/opt/git_pollers/todo/deploy.sh", "/etc/pullpray/todo.env");
    let editable = [script, environment];
    for path in [cron, unit, script, environment] {
        web.run(&format!("echo '# by ann' >>{path}"))?.ok()?;
    }
    web.run("systemctl daemon-reload")?.ok()?;

    let edited = web.listing(TOUCHED)?;
    let kept = web.run("pullpray init todo --yes")?.ok()?;
    for path in [cron, unit, script] {
        kept.says(&format!("{path}: modified locally, left as is"))?;
    }
    ensure!(
        !kept.stdout.contains(environment),
        "the environment file belongs to the administrator: {kept}"
    );
    ensure!(changed(&edited, &web.listing(TOUCHED)?).is_empty());
    // Changing another setting does not overwrite the edited file either.
    web.run("pullpray init todo --yes --workers 4")?
        .exits(1)?
        .says("not all of it is carried out")?;
    ensure!(web.read(unit)?.ends_with("# by ann\n"));

    web.run("pullpray init todo --yes --overwrite")?.ok()?;
    for path in [cron, unit] {
        ensure!(!web.read(path)?.contains("by ann"), "{path}");
        let backup = path.trim_start_matches('/').replace('/', "!");
        web.run(&format!(
            "grep -c 'by ann' '/var/lib/pullpray/receipts/todo.replaced/{backup}.'*"
        ))?
        .ok()?;
    }
    for path in editable {
        ensure!(web.read(path)?.ends_with("# by ann\n"), "{path}");
    }
    ensure!(web.read(unit)?.contains("--workers 4\n"));
    ensure!(web.page("/")?.shows("version one"));
    web.run("pullpray init todo --yes")?
        .ok()?
        .says("nothing to change")?;
    Ok(())
}

#[test]
fn init_repairs_damage() -> Result<()> {
    let lab = Lab::new("fix")?;
    let Todo {
        web, host: _host, ..
    } = Todo::live(&lab, Release::Bookworm)?;
    let whole = web.listing(TOUCHED)?;
    for harm in [
        "rm /etc/sudoers.d/pullpray-todo /etc/cron.d/pullpray-todo",
        "rm /etc/systemd/system/gunicorn.todo.socket",
        "chmod 777 /etc/sudoers.d/pullpray-todo /etc/pullpray/todo.env",
        "chmod 644 /etc/ssh-agent-service/deploy-keys/todo_ed25519",
        "rm /etc/ssh-agent-service/deploy-keys/todo_ed25519.pub",
        "systemctl disable --now ssh-agent.todo.service gunicorn.todo.service",
        "chmod 755 /var/www/projects/todo/shared; chown root /var/www/projects/todo/releases",
        "SSH_AUTH_SOCK=/run/ssh-agent.todo/agent.sock ssh-add -D",
        "rm /etc/ssh-agent-service/todo.known_hosts",
    ] {
        web.run(harm)?.ok()?;
        web.run("pullpray init todo --yes")?.ok()?;
        let differs = changed(&whole, &web.listing(TOUCHED)?);
        ensure!(
            differs
                .iter()
                .all(|path| path.ends_with("/receipts/todo.jsonl")),
            "{harm}: {differs:#?}"
        );
        web.run("pullpray init todo --yes")?
            .ok()?
            .says("nothing to change")?;
    }
    ensure!(web.page("/")?.shows("version one"));
    Ok(())
}

#[test]
fn another_address_and_number_of_workers_are_carried_out() -> Result<()> {
    let lab = Lab::new("answers")?;
    let Todo {
        host: _host, web, ..
    } = Todo::live(&lab, Release::Bookworm)?;
    // nginx answers there, and answers well.
    web.run("pullpray init todo --yes --bind 127.0.0.1:80")?
        .exits(1)?
        .says("127.0.0.1:80 is already in use")?;
    web.run("pullpray init todo --yes --bind 127.0.0.1:8017")?
        .ok()?
        .says("todo is live")?;
    web.run("curl -sf -H 'Host: localhost' http://127.0.0.1:8017/ && ! ss -ltn | grep -q 127.0.0.1:8000")?
        .ok()?
        .says("version one")?;

    web.run("pullpray init todo --yes --workers 4")?.ok()?;
    web.run("sleep 2; pgrep -u gunicorn -fc -- '-m gunicorn todo.wsgi'")?
        .ok()?
        .says("5")?;

    let unit = "/etc/systemd/system/gunicorn.todo.service";
    web.run(&format!(
        "sed -i 's/--workers 4/--workers 1/' {unit} && systemctl daemon-reload && pullpray init todo --yes --workers 3"
    ))?
    .exits(1)?
    .says("not all of it is carried out")?
    .says("sudo pullpray init todo --overwrite")?;
    web.run("pullpray init todo --yes --overwrite")?.ok()?;

    // The socket stays where its unit says, until init moves it.
    web.run("sed -i s/8017/8018/ /etc/pullpray/todo.toml && pullpray redeploy todo")?
        .ok()?;
    web.run("pullpray init todo --yes")?.ok()?;
    web.run("curl -sf -H 'Host: localhost' http://127.0.0.1:8018/")?
        .ok()?
        .says("version one")?;
    Ok(())
}

#[test]
fn account_group_directories_and_repository_can_be_changed() -> Result<()> {
    let lab = Lab::new("changes")?;
    let Todo { host, repo, web } = Todo::live(&lab, Release::Bookworm)?;
    for answer in [
        "--group hosting",
        "--user runner",
        "--project-dir /srv/apps/todo",
        "--static-dir /srv/static/todo",
    ] {
        if answer.starts_with("--project-dir") {
            let init = format!("pullpray init todo --yes {answer}");
            let copy = "systemctl stop gunicorn.todo.socket gunicorn.todo.service && sudo mkdir -p /srv/apps/todo && sudo cp -a /var/www/projects/todo/shared /srv/apps/todo/shared";
            web.run(&init)?
                .exits(1)?
                .says("the data of todo is in /var/www/projects/todo/shared")?
                .says(copy)?;
            web.run(copy)?.ok()?;
        }
        web.run_for(300, &format!("pullpray init todo --yes {answer}"))?
            .ok()?
            .says("todo is live")?;
        repo.push(answer.trim_start_matches("--"))?;
        web.run_for(300, "pullpray poll todo")?.ok()?;
        ensure!(web.page("/")?.shows(answer.trim_start_matches("--")));
        web.run("pullpray doctor todo")?.ok()?;
    }
    let other = host.repository("acme/other")?;
    web.run("pullpray init todo --yes --repo git@githost:acme/other.git --wait 0")?
        .exits(3)?;
    // The host's keys open one repository each.
    host.forget_keys()?;
    host.allow_key(&other, &web.deploy_key("todo")?, Access::ReadOnly)?;
    web.run_for(300, "pullpray init todo --yes")?.ok()?;
    other.push("from the other repository")?;
    web.run_for(300, "pullpray poll todo")?.ok()?;
    ensure!(web.page("/")?.shows("from the other repository"));
    Ok(())
}
