//! Two apps on one server with default settings: neither can access the other.

use anyhow::{Context, Result, ensure};

use crate::lab::{Access, Lab, Release, Todo, WebServer};

/// Commands that must fail for notes, both as its account and inside its sandbox.
const ATTEMPTS: &[&str] = &[
    "cat /etc/pullpray/todo.env",
    "echo x >>/etc/pullpray/todo.toml",
    "echo x >>/etc/cron.d/pullpray-todo",
    "touch /opt/git_pollers/todo/x",
    "touch /var/www/projects/todo/shared/x",
    "touch /var/www/projects/todo/current/x",
    "touch /var/www/projects/todo/current/manage.py",
    "ln -s /tmp /var/www/projects/todo/next",
    "touch /www/static/todo/x",
    "cat /var/lib/pullpray/todo/ledger.json",
    "touch /var/lib/pullpray/todo/mirror.git/HEAD",
    "ls /var/lib/pullpray/todo/log",
    "sudo -n /usr/bin/systemctl restart gunicorn.todo.service",
    "sudo -n /usr/bin/systemctl stop gunicorn.todo.trial.service",
    "systemctl restart gunicorn.todo.service",
    "SSH_AUTH_SOCK=/run/ssh-agent.todo/agent.sock ssh-add -L",
    "cat /etc/ssh-agent-service/deploy-keys/todo_ed25519",
    "kill -0 $(cat /var/www/projects/notes/shared/pid)",
    "cat /proc/$(cat /var/www/projects/notes/shared/pid)/environ",
    "pullpray rollback todo",
    "pullpray pause todo",
    "pullpray poll todo",
    "pullpray init todo --yes",
    "cat /var/www/projects/todo/current/manage.py",
    "cat /var/www/projects/todo/shared/todo.sqlite3",
    "ls /var/www/projects/todo/shared",
];
/// Indices of the attempts that succeed for todo's own account, to prove that the commands work.
const OWN: &[usize] = &[0, 4, 5, 6, 9, 10, 11, 12, 15, 23, 24, 25];

fn second_app(todo: &Todo) -> Result<()> {
    let Todo { host, web, .. } = todo;
    let notes = host.repository("acme/notes")?;
    notes.commit(
        "Run attempts",
        &[("items/views.py", include_str!("inside/attempts.py"))],
    )?;
    let init = host.init(
        &notes,
        "--app notes --schedule '0 0 1 1 *' --health-path /healthz",
    )?;
    web.run(&init)?.exits(3)?;
    host.allow_key(&notes, &web.deploy_key("notes")?, Access::ReadOnly)?;
    web.run("echo ALLOWED_HOSTS=localhost,notes.example >>/etc/pullpray/notes.env")?
        .ok()?;
    web.run(&init)?.ok()?;
    web.nginx_site("notes", "127.0.0.1:8001")
}

fn todo_s_files(web: &WebServer) -> Result<Vec<String>> {
    web.listing(&[
        "/etc/pullpray",
        "/etc/cron.d",
        "/opt",
        "/var/www/projects/todo",
        "/www/static/todo",
    ])
}

#[test]
fn apps_cannot_access_each_other() -> Result<()> {
    let lab = Lab::new("beside")?;
    let todo = Todo::live(&lab, Release::Bookworm)?;
    second_app(&todo)?;
    let Todo { repo, web, .. } = &todo;
    let listed = web.run("getent group gunicorn gunicorn-notes | cut -d: -f1,4")?;
    ensure!(
        listed.ok()?.stdout == "gunicorn:\ngunicorn-notes:\n",
        "a group for each, without members"
    );
    let attempts = "/var/www/projects/notes/shared/attempts";
    web.run("systemctl show -P MainPID gunicorn.todo.service >/var/www/projects/notes/shared/pid")?
        .ok()?;
    web.write(attempts, &(ATTEMPTS.join("\n") + "\n"))?;
    let before = todo_s_files(web)?;

    let mut worked = Vec::new();
    for attempt in ATTEMPTS {
        if web.run_as("gunicorn-notes", attempt)?.status == 0 {
            worked.push(format!("as the account: {attempt}"));
        }
    }
    let answer = web.page_of("notes.example", "/?attempts=1")?;
    for attempt in ATTEMPTS {
        let line = answer
            .body
            .lines()
            .find(|line| {
                line.split_once(' ')
                    .is_some_and(|(_, rest)| rest == *attempt)
            })
            .with_context(|| format!("{attempt} was not tried: {answer:#?}"))?;
        if line.starts_with("0 ") {
            worked.push(format!("in the sandbox: {attempt}"));
        }
    }
    ensure!(worked.is_empty(), "{worked:#?}");
    ensure!(before == todo_s_files(web)?, "todo is unchanged");

    for attempt in OWN.iter().filter_map(|number| ATTEMPTS.get(*number)) {
        web.run_as("gunicorn", attempt)?
            .ok()
            .with_context(|| (*attempt).to_owned())?;
    }
    web.run_as(
        "gunicorn",
        "rm /var/www/projects/todo/shared/x /var/www/projects/todo/current/x",
    )?
    .ok()?;
    repo.push("version two")?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    ensure!(web.page("/")?.shows("version two"));

    // doctor reports an account that is a member of the other app's group, and how to remove it.
    web.run("gpasswd --add gunicorn-notes gunicorn")?.ok()?;
    web.run("pullpray doctor todo --offline")?
        .exits(1)?
        .says("gunicorn-notes, which runs notes, is a member of gunicorn")?
        .says("sudo gpasswd --delete gunicorn-notes gunicorn")?;
    web.run("gpasswd --delete gunicorn-notes gunicorn")?.ok()?;
    web.run("pullpray doctor todo --offline")?.ok()?;
    Ok(())
}

/// An administrator's ssh configuration in a file that sorts before ours.
const HOSTILE: &str = "Host *\n    StrictHostKeyChecking no\n    UserKnownHostsFile /dev/null\n    ControlMaster auto\n    \
    ControlPath /tmp/%r@%h\n    ControlPersist 60\n    RemoteCommand echo no\n    PermitLocalCommand yes\n    \
    LocalCommand touch /tmp/local\n    SessionType none\n    StdinNull yes\n    ForkAfterAuthentication yes\n    \
    PubkeyAuthentication no\n";

#[test]
fn other_ssh_config_files_have_no_effect() -> Result<()> {
    let lab = Lab::new("sshfiles")?;
    let todo = Todo::live(&lab, Release::Bookworm)?;
    second_app(&todo)?;
    let Todo { host, repo, web } = &todo;
    web.write("/etc/ssh/ssh_config.d/00-company.conf", HOSTILE)?;
    repo.push("version two")?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    ensure!(web.page("/")?.shows("version two"));
    web.run("ls /tmp/local")?.exits(2)?;
    web.run("pullpray poll notes --verbose")?
        .ok()?
        .says("up to date")?;

    // Each app has its own pinned host key, independent of the other app.
    web.run("rm /etc/ssh-agent-service/notes.known_hosts")?
        .ok()?;
    repo.push("version three")?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;

    host.change_host_key()?;
    repo.push("version four")?;
    web.run("pullpray poll todo")?.exits(3)?;
    ensure!(
        web.page("/")?.shows("version three"),
        "nothing is deployed from a host with a different key"
    );
    Ok(())
}

/// The app cannot start for twenty seconds after a reboot while visitors request it, as with a late database.
#[test]
fn an_app_that_cannot_start_for_a_while_recovers_by_itself() -> Result<()> {
    let lab = Lab::new("late")?;
    let Todo {
        repo,
        web,
        host: _host,
    } = Todo::live(&lab, Release::Bookworm)?;
    web.run("mv /var/www/projects/todo/current /var/www/projects/todo/away")?
        .ok()?;
    web.shut_down()?;
    web.boot_again()?;
    web.run(
        "for n in $(seq 200); do curl -s -m 0.2 -o /dev/null http://127.0.0.1:8000/; \
             [ $(systemctl show -P NRestarts gunicorn.todo.service) -ge 8 ] && exit; done; exit 9",
    )?
    .ok()?;
    web.run("mv /var/www/projects/todo/away /var/www/projects/todo/current")?
        .ok()?;
    web.wait_for_page("/", "version one", 10)?;
    repo.push("version two")?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    ensure!(web.page("/")?.shows("version two"));
    Ok(())
}
