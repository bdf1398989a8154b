//! From a fresh server to an application that follows its repository, as visitors see it.

use anyhow::{Result, ensure};

use crate::lab::{Access, Lab, Release, Todo};

#[test]
fn bookworm_goes_live_and_follows_pushes() -> Result<()> {
    goes_live_and_follows_pushes(Release::Bookworm)
}

#[test]
fn trixie_goes_live_and_follows_pushes() -> Result<()> {
    goes_live_and_follows_pushes(Release::Trixie)
}

fn goes_live_and_follows_pushes(release: Release) -> Result<()> {
    let lab = Lab::new("live")?;
    let Todo { host, repo, web } = Todo::before_init(&lab, release)?;
    let init = host.init(&repo, "--app todo --schedule 1")?;

    let waiting = web.run(&init)?.exits(3)?;
    let key = web.deploy_key("todo")?;
    waiting
        .says(key.trim())?
        .says("Add this key to acme/todo on githost")?
        .says("pullpray init todo")?;
    ensure!(
        web.run("ls /etc/cron.d/pullpray-todo")?.status == 2,
        "no polls before the repository is accessible"
    );
    host.allow_key(&repo, &key, Access::ReadOnly)?;
    web.run("pullpray init todo --yes")?
        .ok()?
        .says("todo is live at")?;
    ensure!(web.page("/")?.shows("version one"));
    ensure!(
        web.page("/static/items/todo.css")?.shows("line-through"),
        "static files of the app"
    );

    web.fast_cron(20)?;
    let commit = repo.push("version two")?;
    web.wait_for_page("/", "version two", 60)?;
    // The second instance may have shown it: until the poll ends, the service restarts.
    web.run("flock /var/lib/pullpray/todo true")?.ok()?;
    let environ = "tr '\\0' '\\n' </proc/$(systemctl show -P MainPID gunicorn.todo.service)/environ | grep ^PULLPRAY_ | sort";
    let environ = web.run(environ)?.ok()?.stdout;
    ensure!(
        environ.contains(&format!("PULLPRAY_COMMIT={commit}\n")) && !environ.contains("TRIAL"),
        "{environ}"
    );

    // A second app with another repository, and defaults otherwise.
    let notes = host.repository("acme/notes")?;
    let init = host.init(&notes, "--app notes --schedule 1")?;
    web.run(&init)?.exits(3)?;
    host.allow_key(&notes, &web.deploy_key("notes")?, Access::ReadOnly)?;
    web.run("echo ALLOWED_HOSTS=localhost,notes.example >>/etc/pullpray/notes.env")?
        .ok()?;
    web.run(&init)?.ok()?.says("notes is live at")?;
    web.nginx_site("notes", "127.0.0.1:8001")?;
    ensure!(web.page_of("notes.example", "/")?.shows("version one"));
    ensure!(
        web.page("/")?.shows("version two"),
        "the first app is unaffected"
    );
    for (app, account) in [("todo", "gunicorn"), ("notes", "gunicorn-notes")] {
        web.run(&format!(
            "ps -o user:20= -p $(systemctl show -P MainPID gunicorn.{app}.service)"
        ))?
        .ok()?
        .says(&format!("{account}\n"))?;
    }
    web.run_as(
        "gunicorn-notes",
        "SSH_AUTH_SOCK=/run/ssh-agent.todo/agent.sock ssh-add -L",
    )?
    .exits(2)?;
    notes.push("version two of the notes")?;
    web.wait_for_page_of("notes.example", "/", "version two of the notes", 60)?;
    ensure!(web.page("/")?.body.contains(">version two<"));
    Ok(())
}

#[test]
fn a_poll_with_nothing_new_makes_one_request_and_is_silent() -> Result<()> {
    let lab = Lab::new("idle")?;
    let Todo { host, repo, web } = Todo::live(&lab, Release::Bookworm)?;

    host.forget_requests()?;
    web.run("pullpray poll todo")?.ok()?.silent()?;
    ensure!(host.requests()? == ["acme/todo upload-pack version=2"]);
    web.run_as("gunicorn", "pullpray poll todo")?
        .ok()?
        .silent()?;
    ensure!(host.requests()?.len() == 2, "{:?}", host.requests()?);

    web.run_as("nobody", "pullpray poll todo")?
        .exits(2)?
        .says("root can read /etc/pullpray/todo.toml\n  hint: sudo pullpray poll todo")?;
    web.run("pullpray poll notes")?
        .exits(2)?
        .says("there is no app notes on this server (there are: todo)")?;
    ensure!(host.requests()?.len() == 2, "refused before any request");

    // As README describes, another key exchange for every app.
    web.write(
        "/etc/ssh/ssh_config.d/10-kex.conf",
        "Host *-repo-*\n    KexAlgorithms curve25519-sha256\n",
    )?;
    web.run("ssh -G githost-repo-todo | grep -x 'kexalgorithms curve25519-sha256' && pullpray poll todo")?
        .ok()?;

    // Both the account and root can deploy, and neither leaves files that the other cannot replace.
    for (who, version) in [("gunicorn", "version two"), ("root", "version three")] {
        repo.push(version)?;
        web.run_as(who, "pullpray poll todo")?
            .ok()?
            .says(&format!("\"{version}\" live after"))?;
        ensure!(web.page("/")?.shows(version));
    }
    web.run("find /var/lib/pullpray/todo /var/www/projects/todo -uid 0")?
        .ok()?
        .silent()?;
    Ok(())
}

#[test]
fn a_host_without_protocol_v2_is_followed() -> Result<()> {
    let lab = Lab::new("old")?;
    let Todo { host, repo, web } = Todo::live(&lab, Release::Trixie)?;
    host.without_protocol_v2()?;
    host.forget_requests()?;

    web.run("pullpray poll todo")?.ok()?.silent()?;
    ensure!(host.requests()? == ["acme/todo upload-pack -"]);
    repo.push("version two")?;
    web.run("pullpray poll todo")?
        .ok()?
        .says("\"version two\" live after")?;
    ensure!(web.page("/")?.shows("version two"));
    Ok(())
}

#[test]
fn an_app_on_a_unix_socket_is_served_and_survives_a_reboot() -> Result<()> {
    let lab = Lab::new("unix")?;
    let Todo { host, repo, web } = Todo::before_init(&lab, Release::Bookworm)?;
    let socket = "/run/todo-app/gunicorn.sock";
    web.nginx_site("todo", socket)?;
    let init = host.init(&repo, &format!("--app todo --bind {socket}"))?;
    web.run(&init)?.exits(3)?;
    host.allow_key(&repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    web.run(&init)?.ok()?;
    ensure!(web.page("/")?.shows("version one"));
    web.run("ss -ltn | grep :8000")?.exits(1)?;

    web.shut_down()?;
    web.boot_again()?;
    web.wait_for_page("/", "version one", 30)?;
    repo.push("version two")?;
    web.run_as("gunicorn", "pullpray poll todo")?
        .ok()?
        .says("\"version two\" live after")?;
    ensure!(web.page("/")?.shows("version two"));
    web.run("pullpray init todo --yes")?
        .ok()?
        .says("nothing to change")?;
    Ok(())
}
