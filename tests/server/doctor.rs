//! doctor's complete output, and init --dry-run.

use anyhow::{Result, ensure};

use crate::lab::{Access, Lab, Release, Todo};

/// Compares a text with the snapshot of this name, without values that differ from server to server.
fn assert_matches_snapshot(name: &str, text: &str) {
    insta::with_settings!({
        prepend_module_to_snapshot => false,
        omit_expression => true,
        filters => vec![
            (r"SHA256:[A-Za-z0-9+/]{43}", "SHA256:…"),
            (r"\b[0-9a-f]{40}\b", "(commit)"),
            (r"(reads main at |app.release +)[0-9a-f]{7}", "$1(short)"),
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "(time)"),
            (r"\d{4}-\d\d-\d\d \d\d:\d\d [A-Z0-9+:]+", "(time)"),
            (r"\d{8}T\d{6}-", "(time)-"),
            (r"\d+ (second|minute|hour)s? ago", "(while) ago"),
            (r"\d+ ms", "(some) ms"),
            (r"\d+ MiB and \d+ inodes", "(some) MiB and (some) inodes"),
            (r"(gid|uid) \d+", "$1 (number)"),
            (r"\d+ entries", "(many) entries"),
            (r"systemd \d+, Python [0-9.]+", "systemd (version), Python (version)"),
            // Clock synchronisation depends on the machine that runs the server.
            (r"(\(time\)), (no time service enabled|synchronised)", "$1, kept"),
            ("\"version\": \"[0-9.]+\"", "\"version\": \"(version)\""),
        ],
    }, {
        insta::assert_snapshot!(name, text);
    });
}

#[test]
fn doctor_s_output_matches_the_snapshots() -> Result<()> {
    let lab = Lab::new("prints")?;
    let todo = Todo::live(&lab, Release::Bookworm)?;
    let web = &todo.web;
    assert_matches_snapshot(
        "healthy",
        &web.run("pullpray doctor todo --strict")?.ok()?.stdout,
    );
    assert_matches_snapshot("list", &web.run("pullpray doctor --list")?.ok()?.stdout);
    assert_matches_snapshot(
        "as_the_deploy_user",
        &web.run_as("gunicorn", "pullpray doctor todo")?
            .exits(3)?
            .stdout,
    );
    web.run(
        "set -e; rm /etc/cron.d/pullpray-todo; chmod 666 /etc/pullpray/todo.env; chown root /var/www/projects/todo/shared; \
         systemctl stop ssh-agent.todo; sed -i s/^User=.*/User=root/ /etc/systemd/system/gunicorn.todo.service; \
         mkdir /etc/systemd/system/gunicorn.todo.service.d; \
         printf '[Service]\\nNice=5\\n' >/etc/systemd/system/gunicorn.todo.service.d/n.conf; systemctl daemon-reload",
    )?
    .ok()?;
    assert_matches_snapshot("broken", &web.run("pullpray doctor todo")?.exits(1)?.stdout);
    assert_matches_snapshot(
        "broken_json",
        &web.run("pullpray doctor todo --json --offline --only schedule.cron --only gunicorn.service --only account.user")?
            .exits(1)?
            .stdout,
    );
    web.run("sed -i s/^User=.*/User=gunicorn/ /etc/systemd/system/gunicorn.todo.service; systemctl daemon-reload")?
        .ok()?;
    assert_matches_snapshot(
        "fixed",
        &web.run("pullpray doctor todo --fix --yes")?.ok()?.stdout,
    );
    web.write("/etc/pullpray/notes.toml", "format = 1\nnonsense\n")?;
    assert_matches_snapshot(
        "nonsense",
        &web.run("pullpray doctor notes todo --offline --only schedule.cron")?
            .exits(1)?
            .stdout,
    );
    Ok(())
}

#[test]
fn a_dry_run_shows_everything_and_changes_nothing() -> Result<()> {
    let lab = Lab::new("dry")?;
    let todo = Todo::before_init(&lab, Release::Bookworm)?;
    let web = &todo.web;
    let init = todo.init("--schedule '0 0 1 1 *'")?;
    let dry = format!("{init} --dry-run");
    // On a fresh server: every file, every account, every unit; as root, and without root what an
    // unprivileged user can find out.
    let fresh = web.changes_nothing(&dry)?.exits(1)?;
    for part in [
        "user   gunicorn",
        "group  gunicorn",
        "unit   gunicorn.todo.service",
        "key    /etc/ssh-agent-service/deploy-keys/todo_ed25519",
        "+++ /etc/pullpray/todo.toml (pullpray)",
        "+++ /etc/sudoers.d/pullpray-todo (pullpray)",
        "+++ /etc/cron.d/pullpray-todo (pullpray)",
        "+++ /etc/systemd/system/gunicorn.todo.socket (pullpray)",
        "+++ /etc/systemd/system/ssh-agent.todo.service (pullpray)",
        "+++ /etc/ssh/ssh_config.d/pullpray-todo.conf (pullpray)",
        "+++ /opt/git_pollers/todo/deploy.sh (pullpray)",
        "+gunicorn ALL=(root) NOPASSWD:",
    ] {
        fresh.says(part)?;
    }
    let whole = web.listing(crate::lab::TOUCHED)?;
    web.run_as("nobody", &dry)?
        .exits(1)?
        .says("+++ /etc/cron.d/pullpray-todo (pullpray)")?;
    web.run_as("nobody", &init)?
        .exits(2)?
        .says("pullpray init --dry-run")?;
    ensure!(whole == web.listing(crate::lab::TOUCHED)?);

    web.run(&init)?.exits(3)?;
    todo.host
        .allow_key(&todo.repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    web.run(&init)?.ok()?;
    web.changes_nothing(&dry)?.ok()?.says("nothing to change")?;
    // The settings, which may have secrets, are not everybody's to read.
    web.run_as("nobody", &dry)?
        .exits(2)?
        .says("root can read /etc/pullpray/todo.toml")?
        .says("--schedule '0 0 1 1 *' --dry-run")?;
    // Without root the key and sudo's files are unreadable: exit code 3, neither 0 nor 1.
    web.run_as("gunicorn", &dry)?
        .exits(3)?
        .says("key.deploy: failed to read")?
        .says("sudo pullpray init --dry-run")?;

    // On a server that drifted, and with a changed setting.
    web.run(
        "set -e; rm /etc/cron.d/pullpray-todo; chmod 600 /etc/ssh/ssh_config.d/pullpray-todo.conf",
    )?
    .ok()?;
    let drifted = web.changes_nothing(&dry)?.exits(1)?;
    drifted
        .says("+++ /etc/cron.d/pullpray-todo (pullpray)")?
        .says("is 0600 root:root, should be 0644 root")?;
    ensure!(!drifted.stdout.contains("+++ /etc/sudoers.d"), "{drifted}");
    web.run("pullpray doctor todo --fix --yes --offline")?
        .ok()?;
    web.changes_nothing("pullpray init todo --workers 3 --yes --dry-run")?
        .exits(1)?
        .says("+workers = 3")?
        .says("/etc/systemd/system/gunicorn.todo.service")?;
    Ok(())
}
