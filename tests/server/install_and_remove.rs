//! remove removes exactly what init created.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use crate::lab::{Access, Lab, Release, Todo, WebServer};

/// Lists every file with kind, owner, mode and size, except files of systemd and logrotate, logs, caches and backups of the
/// account databases; and all accounts and units.
const EVERYTHING: &str = "find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp \
    -o -path /root -o -path /var/log -o -path /var/cache -o -path /var/tmp -o -path /var/lib/systemd \
    -o -path /var/lib/nginx -o -path /var/lib/logrotate -o -path /etc/machine-id -o -path '/etc/*-' -o -path /etc/.pwd.lock \
    -o -name __pycache__ \\) -prune -o -type f -printf '%p %m %U:%G %s\\n' -o -printf '%p %y %m %U:%G %l\\n' \
    | sort; getent passwd; getent group; getent gshadow; systemctl list-unit-files --no-legend | sort";
/// Directories whose content is compared, too.
const READ: &[&str] = &["/etc", "/opt", "/usr/local", "/var/www", "/var/spool"];

pub fn everything(web: &WebServer) -> Result<Vec<String>> {
    let out = web.run(EVERYTHING)?.ok()?;
    let known = ["/etc/machine-id ", "/etc/.pwd.lock "];
    let mut lines: Vec<String> = out.stdout.lines().map(str::to_owned).collect();
    lines.extend(web.listing(READ)?.into_iter().filter(|line| {
        let path = line.split(' ').next().unwrap_or_default();
        !path.ends_with('-')
            && !line.contains("__pycache__")
            && !known.iter().any(|k| line.starts_with(k))
    }));
    Ok(lines)
}

pub fn assert_same(before: &[String], after: &[String], what: &str) -> Result<()> {
    let (before, after): (BTreeSet<_>, BTreeSet<_>) =
        (before.iter().collect(), after.iter().collect());
    let new: Vec<_> = after.difference(&before).collect();
    let gone: Vec<_> = before.difference(&after).collect();
    ensure!(
        new.is_empty() && gone.is_empty(),
        "{what}; new: {new:#?}, gone: {gone:#?}"
    );
    Ok(())
}

pub const REMOVE: &str = "pullpray remove todo --yes --purge";

fn live(todo: &Todo) -> Result<()> {
    let init = todo.init("--schedule '0 0 1 1 *'")?;
    todo.web.run(&init)?.exits(3)?;
    let key = todo.web.deploy_key("todo")?;
    todo.host.allow_key(&todo.repo, &key, Access::ReadOnly)?;
    todo.web.run(&init)?.ok()?;
    Ok(())
}

fn install_and_remove(release: Release) -> Result<()> {
    let lab = Lab::new("back")?;
    let todo = Todo::before_init(&lab, release)?;
    let web = &todo.web;
    let before = everything(web)?;
    ensure!(before.len() > 5_000, "{} lines", before.len());
    live(&todo)?;
    web.run("pullpray remove todo")?
        .exits(2)?
        .says("--yes removes without asking")?;
    web.run_as("nobody", REMOVE)?.exits(2)?.says("needs root")?;
    ensure!(web.page("/")?.shows("version one"), "not yet");

    web.run(REMOVE)?.ok()?.says("todo is removed")?;
    assert_same(&before, &everything(web)?, "one app, installed and removed")?;
    web.run(REMOVE)?.ok()?.says("nothing of todo")?;
    web.run("systemctl list-units --all --no-legend '*todo*'")?
        .ok()?
        .silent()?;

    // Install again on the same server, and remove it without the data.
    live(&todo)?;
    web.run("echo 'kept' >/var/www/projects/todo/shared/data; chown gunicorn:gunicorn /var/www/projects/todo/shared/data; echo '# by ann' | tee -a /etc/cron.d/pullpray-todo /etc/sudoers.d/pullpray-todo >>/opt/git_pollers/todo/deploy.sh")?
        .ok()?;
    web.run("pullpray remove todo --yes")?
        .ok()?
        .says("was modified since; --purge removes it too")?
        .says("it was modified, and --purge removes the copy /var/lib/pullpray/receipts/todo.replaced/")?
        .says("sudo pullpray remove todo --purge")?;
    web.run("stat -c %U:%G /var/www/projects/todo/shared/data; tail -n 1 /opt/git_pollers/todo/deploy.sh; ls /var/www/projects/todo /etc/pullpray")?
        .says("gunicorn:gunicorn\n# by ann\n")?
        .says("/var/www/projects/todo:\nshared\n")?;
    web.run("systemctl list-unit-files --no-legend '*todo*'; ls /etc/cron.d /etc/sudoers.d | grep pullpray")?
        .exits(1)?
        .silent()?;
    web.run(REMOVE)?.ok()?;
    assert_same(&before, &everything(web)?, "one app, removed with its data")?;
    Ok(())
}

#[test]
fn bookworm_is_restored_when_the_app_is_removed() -> Result<()> {
    install_and_remove(Release::Bookworm)
}

#[test]
fn trixie_is_restored_when_the_app_is_removed() -> Result<()> {
    install_and_remove(Release::Trixie)
}

#[test]
fn removing_an_app_keeps_the_other_app_and_existing_files() -> Result<()> {
    let lab = Lab::new("other")?;
    let todo = Todo::before_init(&lab, Release::Bookworm)?;
    let Todo { host, web, .. } = &todo;
    // Created by an administrator before init; pullpray must not remove it.
    web.run(
        "set -e; groupadd --gid 4242 --system gunicorn; mkdir -p /www/static /etc/ssh-agent-service; \
         echo 'other.example ssh-ed25519 AAAA' >/etc/ssh-agent-service/known_hosts; \
         echo '# by ann' >/etc/cron.d/pullpray-todo; chmod 600 /etc/cron.d/pullpray-todo; \
         useradd --system --no-create-home gunicorn-notes",
    )?
    .ok()?;
    let before = everything(web)?;
    web.run(&todo.init("--schedule '0 0 1 1 *' --overwrite")?)?
        .exits(3)?;
    host.allow_key(&todo.repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    web.run(&todo.init("--schedule '0 0 1 1 *' --overwrite")?)?
        .ok()?;
    ensure!(
        web.read("/etc/cron.d/pullpray-todo")?.contains("poll todo"),
        "overwritten"
    );

    let notes = host.repository("acme/notes")?;
    web.nginx_site("notes", "127.0.0.1:8001")?;
    let with_site = web.read("/etc/nginx/sites-enabled/notes")?;
    let init = host.init(
        &notes,
        "--app notes --schedule '0 0 1 1 *' --health-host localhost",
    )?;
    web.run(&init)?.exits(3)?;
    host.allow_key(&notes, &web.deploy_key("notes")?, Access::ReadOnly)?;
    web.run("echo ALLOWED_HOSTS=localhost,notes.example >>/etc/pullpray/notes.env")?
        .ok()?;
    web.run(&init)?.ok()?;

    web.run(REMOVE)?.ok()?.says("stays: notes needs it")?;
    ensure!(
        web.page_of("notes.example", "/")?.shows("version one"),
        "alive"
    );
    web.run("pullpray doctor --strict")?.ok()?.says("notes: ")?;
    notes.push("version two")?;
    web.run("pullpray poll notes")?.ok()?.says("live after")?;
    ensure!(
        web.read("/etc/cron.d/pullpray-todo")? == "# by ann\n",
        "back again"
    );

    web.run("pullpray remove notes --yes --purge")?.ok()?;
    web.run("rm /etc/nginx/sites-enabled/notes")?.ok()?;
    ensure!(!with_site.is_empty());
    assert_same(
        &before,
        &everything(web)?,
        "two apps, installed and removed",
    )
}

/// The deploy user plants links to root's files wherever it can write.
const PLANT: &str = "cd /var/www/projects/todo; ln -s /etc releases/x; ln -s /etc/shadow shared/x; ln -s /etc venvs/x; \
    ln -s /etc /www/static/todo/x; ln -s /etc/shadow /var/lib/pullpray/todo/log/x; ln -s /etc /var/lib/pullpray/todo/x";

/// Directories and files that the deploy user replaces with a link, one at a time.
const REPLACE: &[(&str, &str)] = &[
    ("/var/www/projects/todo/releases", "/etc"),
    ("/var/www/projects/todo/shared", "/etc"),
    ("/var/www/projects/todo/venvs", "/etc/ssh"),
    ("/var/lib/pullpray/todo/log", "/etc"),
    ("/var/lib/pullpray/todo/mirror.git", "/etc"),
    ("/var/lib/pullpray/todo/ledger.json", "/etc/shadow"),
    ("/var/www/projects/todo/current", "/etc"),
];

#[test]
fn links_planted_by_the_deploy_user_are_never_followed() -> Result<()> {
    let lab = Lab::new("planted")?;
    let todo = Todo::live(&lab, Release::Bookworm)?;
    let Todo { repo, web, .. } = &todo;
    // Several commands below wait in vain for a healthy app.
    web.run("sed -i 's/^health_timeout = .*/health_timeout = 5/' /etc/pullpray/todo.toml")?
        .ok()?;
    let places = ["/etc", "/usr/local", "/opt"];
    let before = web.listing(&places)?;
    let untouched = |what: &str| assert_same(&before, &web.listing(&places)?, what);
    web.run_as("gunicorn", PLANT)?.ok()?;
    for command in ["doctor todo --fix --yes", "init todo --yes", "poll todo"] {
        drop(web.run(&format!("pullpray {command}"))?);
        untouched(command)?;
    }
    for (number, (path, target)) in REPLACE.iter().enumerate() {
        web.run_as(
            "gunicorn",
            &format!("mv {path} {path}.was && ln -s {target} {path}"),
        )?
        .ok()?;
        repo.push(&format!("version for {number}"))?;
        for command in ["doctor todo --fix --yes", "init todo --yes", "poll todo"] {
            // Whatever they print, they end, and root's files are unchanged.
            drop(web.run(&format!("timeout 90 pullpray {command}"))?);
            untouched(&format!("{path} points to {target}: {command}"))?;
        }
        web.run_as(
            "gunicorn",
            &format!("rm -rf {path} && mv {path}.was {path}"),
        )?
        .ok()?;
    }
    for (path, target) in REPLACE {
        web.run_as(
            "gunicorn",
            &format!("rm -rf {path}.was; mv {path} {path}.was; ln -sfn {target} {path}"),
        )?
        .ok()?;
    }
    let etc = |listing: Vec<String>| -> Vec<String> {
        let ours = [
            "pullpray",
            "todo",
            "gunicorn",
            "ssh-agent-service",
            "git_pollers",
        ];
        listing
            .into_iter()
            .filter(|line| !ours.iter().any(|word| line.contains(word)))
            .filter(|line| !line.starts_with("/etc/group") && !line.starts_with("/etc/passwd"))
            .filter(|line| !line.starts_with("/etc/shadow") && !line.starts_with("/etc/gshadow"))
            .filter(|line| !line.contains(" dir "))
            .collect()
    };
    drop(web.run(REMOVE)?);
    assert_same(&etc(before), &etc(web.listing(&places)?), "remove")?;
    web.run("getent shadow root && id www-data")?.ok()?;
    Ok(())
}
