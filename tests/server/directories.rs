//! Accounts, groups, directories and paths that init accepts or refuses for an app, and what remove does with them.

use anyhow::{Result, ensure};

use crate::install_and_remove::{assert_same, everything};
use crate::lab::{Access, Lab, Release, Terminal, Todo, key};
use crate::wizard::is_refused;

/// Accounts and directories on the server before the tests, besides the app todo.
const SETTING: &str = "set -e; useradd --create-home ann; useradd --create-home bob; usermod -aG adm bob; \
    useradd --system --home-dir /var/lib/postgresql --create-home --shell /bin/bash postgres; \
    useradd --non-unique --uid 0 --no-create-home toor; \
    groupadd --system docker; groupadd --system geeks; groupadd --gid 1500 team; \
    mkdir -p /srv/site /srv/mine /srv/ann /srv/open /srv/filled/sub /srv/theirs /var/lib/package; \
    echo x >/srv/site/index.html; echo x >/srv/filled/sub/x; echo x >/var/lib/package/x; echo x >/srv/file; \
    chown ann /srv/ann; chmod 1777 /srv/open; echo x >/srv/theirs/x; mkdir /srv/theirs/shared; chown -R ann /srv/theirs; \
    ln -s /etc /srv/link; ln -s /nowhere /srv/dangling; ln -s /srv/mine /srv/mine-too; \
    install -o ann /usr/bin/python3 /srv/python3";

/// Invalid options of init, and a part of the error message.
const BAD: &[(&str, &str)] = &[
    // System directories, their children and their parents.
    ("--project-dir /", "--project-dir"),
    ("--project-dir /etc", "/etc is a system directory"),
    ("--project-dir /etc/", "/etc is a system directory"),
    ("--project-dir /etc/notes", "/etc/notes is below /etc"),
    ("--project-dir /etc/../srv/notes", "--project-dir"),
    ("--project-dir /usr", "/usr is a system directory"),
    ("--project-dir /usr/local/lib/notes", "is below /usr"),
    ("--project-dir /run", "/run is a system directory"),
    ("--project-dir /var", "/var is a system directory"),
    (
        "--project-dir /var/run/notes",
        "/var/run/notes is below /var",
    ),
    ("--project-dir /var/spool/cron/crontabs", "is below /var"),
    (
        "--project-dir /var/lib",
        "/var/lib is a common parent directory",
    ),
    (
        "--project-dir /var/lib/systemd/linger",
        "is below /var/lib/systemd",
    ),
    (
        "--project-dir /var/lib/pullpray/notes",
        "is below /var/lib/pullpray",
    ),
    ("--project-dir /var/lib/package", "it contains x"),
    (
        "--project-dir /var/lib/package/notes",
        "/var/lib/package belongs to a package",
    ),
    ("--project-dir /home", "/home is a system directory"),
    ("--project-dir /home/ann/notes", "is below /home"),
    ("--project-dir /root", "/root is a system directory"),
    ("--project-dir /boot", "/boot is a system directory"),
    ("--project-dir /bin", "/bin is a system directory"),
    ("--project-dir /tmp/notes", "is below /tmp"),
    ("--project-dir /opt", "/opt is a common parent directory"),
    (
        "--project-dir /opt/git_pollers/notes",
        "is below /opt/git_pollers",
    ),
    ("--project-dir /srv", "/srv is a common parent directory"),
    (
        "--project-dir /var/www",
        "/var/www is a common parent directory",
    ),
    (
        "--project-dir /var/www/projects",
        "is a common parent directory",
    ),
    ("--static-dir /etc", "/etc is a system directory"),
    ("--static-dir /usr/share/nginx/html", "is below /usr"),
    ("--static-dir /var/www/html", "/var/www/html is not empty"),
    ("--static-dir /www/static", "is a common parent directory"),
    // Directories of another app.
    ("--project-dir /var/www/projects/todo", "of the app todo"),
    (
        "--project-dir /var/www/projects/todo/shared/notes",
        "of the app todo",
    ),
    ("--static-dir /www/static/todo", "of the app todo"),
    ("--static-dir /www/static/todo/notes", "of the app todo"),
    (
        "--static-dir /var/www/projects/todo/current",
        "/var/www/projects/todo/current is",
    ),
    // Nested directories.
    (
        "--project-dir /srv/notes --static-dir /srv/notes",
        "overlap",
    ),
    (
        "--project-dir /srv/notes --static-dir /srv/notes/static",
        "overlap",
    ),
    (
        "--project-dir /srv/notes/code --static-dir /srv/notes",
        "overlap",
    ),
    // Non-empty directories, other users' directories, links, files.
    (
        "--project-dir /srv/site",
        "/srv/site is not empty and does not belong to the app: it contains index.html",
    ),
    ("--static-dir /srv/filled", "it contains sub"),
    (
        "--project-dir /srv/theirs",
        "/srv/theirs is not empty and belongs to ann",
    ),
    (
        "--project-dir /srv/ann/notes",
        "/srv/ann can be modified by ann",
    ),
    (
        "--static-dir /srv/ann/notes/static",
        "/srv/ann can be modified by ann",
    ),
    (
        "--project-dir /srv/open/notes",
        "/srv/open can be modified by everybody",
    ),
    ("--project-dir /srv/link", "/etc is a system directory"),
    ("--project-dir /srv/link/notes", "/etc/notes is below /etc"),
    ("--static-dir /srv/mine-too", "/srv/mine-too is a link"),
    (
        "--project-dir /srv/dangling/notes",
        "/srv/dangling exists and is not a directory",
    ),
    (
        "--project-dir /srv/file",
        "/srv/file exists and is not a directory",
    ),
    (
        "--project-dir /srv/file/notes",
        "/srv/file exists and is not a directory",
    ),
    // Groups.
    ("--group root", "--group root"),
    ("--group sudo", "the group sudo is privileged"),
    ("--group shadow", "the group shadow is privileged"),
    ("--group disk", "the group disk is privileged"),
    ("--group docker", "the group docker is privileged"),
    ("--group lxd", "the group lxd is privileged"),
    ("--group nogroup", "the group nogroup is privileged"),
    ("--group geeks", "the group geeks is a system group"),
    (
        "--group www-data",
        "the group www-data is the private group of the user www-data",
    ),
    (
        "--group ann",
        "the group ann is the private group of the user ann",
    ),
    ("--group gunicorn", "also uses the group gunicorn"),
    // Accounts.
    ("--user root", "root cannot run an app"),
    ("--user toor", "is an alias of root"),
    ("--user daemon", "the user daemon is a system account"),
    ("--user www-data", "the user www-data is a system account"),
    ("--user nobody", "the user nobody is a system account"),
    ("--user _apt", "the user _apt is a system account"),
    (
        "--user messagebus",
        "the user messagebus is a system account",
    ),
    ("--user postgres", "the user postgres is a system account"),
    ("--user bob", "the user bob is a member of adm"),
    ("--user gunicorn", "todo runs as gunicorn"),
    ("--operator www-data", "www-data is a system account"),
    ("--operator gunicorn", "gunicorn runs todo"),
    // Paths.
    ("--bind /etc/notes.sock", "/etc/notes.sock is in /etc"),
    ("--bind /tmp/notes.sock", "is in /tmp"),
    (
        "--bind /srv/ann/notes.sock",
        "/srv/ann can be modified by ann",
    ),
    ("--bind /srv/link/notes.sock", "is in /etc"),
    (
        "--bind /var/www/projects/todo/notes.sock",
        "can be modified by gunicorn",
    ),
    (
        "--python /srv/python3",
        "/srv/python3 can be modified by users other than root",
    ),
];

#[test]
fn property_of_others_is_refused_by_flags_file_and_wizard() -> Result<()> {
    let lab = Lab::new("places")?;
    let Todo { host, web, .. } = Todo::live(&lab, Release::Bookworm)?;
    web.run(SETTING)?.ok()?;
    let notes = host.repository("acme/notes")?;
    let init = host.init(&notes, "--app notes")?;
    let before = everything(&web)?;
    ensure!(BAD.len() >= 40);
    let mut wrong = Vec::new();
    for (options, says) in BAD {
        let out = web.run(&format!("{init} {options}"))?;
        if ![1, 2].contains(&out.status) || !out.stderr.contains(says) {
            wrong.push(format!("{options} is to say {says}: {}", out.stderr));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));

    for (name, text, says) in [
        ("project_dir", "/etc", "/etc is a system directory"),
        ("static_dir", "/srv/site", "it contains index.html"),
        ("project_dir", "/srv/link/notes", "/etc/notes is below /etc"),
        ("group", "docker", "the group docker is privileged"),
        ("user", "postgres", "the user postgres is a system account"),
        ("operator", "www-data", "www-data is a system account"),
        (
            "bind",
            "/srv/ann/notes.sock",
            "/srv/ann can be modified by ann",
        ),
        (
            "python",
            "/srv/python3",
            "can be modified by users other than root",
        ),
    ] {
        web.run(&format!("echo '{name} = \"{text}\"' >/run/answers"))?
            .ok()?;
        let out = web
            .run(&format!("{init} --answers /run/answers"))?
            .exits(1)?;
        out.says(says)?;
        web.run(&format!("PULLPRAY_{}={text} {init}", name.to_uppercase()))?
            .exits(1)?
            .says(says)?;
    }
    wizard(web.terminal("NO_COLOR=1 pullpray init")?, &notes.url())?;
    assert_same(&before, &everything(&web)?, "refused, all of them")
}

/// The wizard repeats a question after an invalid answer, and continues after a valid one.
fn wizard(mut person: Terminal, url: &str) -> Result<()> {
    person.answers("Repository to deploy", url)?;
    for question in ["Branch", "Name of the app", "WSGI module"] {
        person.answers(question, "")?;
    }
    for (question, bad, says) in [
        ("Account it runs as", "postgres", "is a system account"),
        ("Group of the hosted apps", "docker", "is privileged"),
        ("Your login", "www-data", "is a system account"),
        ("App directory", "/etc/", "/etc is a system directory"),
        (
            "Static files directory",
            "/srv/site",
            "it contains index.html",
        ),
    ] {
        is_refused(&mut person, question, bad, says)?;
        person.presses(key::ENTER)?;
    }
    person.answers("Persistent files", "")?;
    is_refused(
        &mut person,
        "Listen address",
        "/srv/ann/x.sock",
        "can be modified by ann",
    )?;
    person.presses(key::CTRL_C)?;
    person.ends()?;
    Ok(())
}

/// Created by an administrator before init: an empty directory, the root of a file system, an account.
const BEFORE: &str = "set -e; useradd --system --no-create-home --home-dir /nonexistent runner; \
    mkdir -p /srv/todo /srv/static; chmod 0751 /srv/todo; chown ann:games /srv/static; chmod 2750 /srv/static; \
    mkdir -m 700 /srv/static/lost+found";

#[test]
fn existing_directories_are_restored_when_the_app_is_removed() -> Result<()> {
    let lab = Lab::new("adopted")?;
    let todo = Todo::before_init(&lab, Release::Bookworm)?;
    let Todo { host, repo, web } = &todo;
    web.run("useradd --create-home ann")?.ok()?;
    web.run(BEFORE)?.ok()?;
    let before = everything(web)?;
    let init = todo.init(
        "--user runner --project-dir /srv/todo --static-dir /srv/static --schedule '0 0 1 1 *'",
    )?;
    let plan = web.run(&init)?.exits(3)?;
    plan.says("/srv/todo root:root 0751 → runner:runner 27")?
        .says("/srv/static ann:games 2750 → runner:runner 27")?;
    host.allow_key(repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    web.run(&init)?.ok()?;
    web.run("ls /srv/static/items /srv/todo/current/ && pullpray doctor todo")?
        .ok()?;
    repo.push("version two")?;
    web.run("pullpray poll todo")?.ok()?;
    ensure!(web.page("/")?.shows("version two"));
    // init may run again although the directories are no longer empty: they belong to the app now.
    web.run(&init)?.ok()?;
    web.run("pullpray remove todo --yes --purge")?
        .ok()?
        .says("kept, restored to ann:games 2750")?;
    assert_same(&before, &everything(web)?, "existing directories")
}

/// What the account leaves behind for remove: files in place of directories and vice versa, without permissions.
const LITTER: &str = "cd /var/www/projects/todo; mv current was; mkdir -p current/a next/b; touch current/a/x; \
    rm -rf releases venvs; echo x >releases; ln -s /etc venvs; mkfifo pipe; mkdir -m 0 shut; ln -s /etc/passwd link; \
    mv shared own; ln -s /etc shared; \
    rm -rf /www/static/todo/*; ln -s /etc /www/static/todo/etc; mkdir -p /www/static/todo/a/b; chmod 0 /www/static/todo/a; \
    cd /var/lib/pullpray/todo; rm -rf log mirror.git ledger.json; ln -s /etc log; echo x >mirror.git; mkdir ledger.json; \
    touch ledger.json/x; chmod 0 ledger.json; ln -s /root more; \
    echo '* * * * * touch /tmp/by-cron' | crontab -";
/// Processes that it leaves running: one ignores signals, one is not dumpable, one keeps starting others.
const RUNNING: &str = "setsid sh -c 'trap \"\" TERM HUP INT; while :; do sleep 1; done' </dev/null >/dev/null 2>&1 & \
    ssh-agent >/dev/null; setsid sh -c 'while :; do setsid sleep 60 & sleep 0.05; done' </dev/null >/dev/null 2>&1 &";

#[test]
fn remove_succeeds_whatever_the_account_left() -> Result<()> {
    let lab = Lab::new("litter")?;
    let todo = Todo::before_init(&lab, Release::Bookworm)?;
    let Todo { host, repo, web } = &todo;
    let before = everything(web)?;
    let init = todo.init("--schedule '0 0 1 1 *'")?;
    web.run(&init)?.exits(3)?;
    host.allow_key(repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    web.run(&init)?.ok()?;
    web.run_as("gunicorn", LITTER)?.ok()?;
    web.run_as("gunicorn", RUNNING)?.ok()?;
    web.run("touch /var/lib/systemd/linger/gunicorn 2>/dev/null || (mkdir /var/lib/systemd/linger && touch /var/lib/systemd/linger/gunicorn); ls /var/spool/cron/crontabs/gunicorn")?
        .ok()?;
    let running = "ps --no-headers -o pid,user,args -u";
    let uid = web.run("id -u gunicorn")?.ok()?.stdout.trim().to_owned();
    ensure!(web.run(&format!("{running} {uid}"))?.stdout.lines().count() > 4);

    web.run("pullpray remove todo --yes --purge")?
        .ok()?
        .says("todo is removed")?;
    web.run(&format!("{running} {uid}"))?.exits(1)?;
    web.run("ls /var/lib/systemd/linger/gunicorn")?.exits(2)?;
    assert_same(&before, &everything(web)?, "leftovers of the account")
}

#[test]
fn an_existing_account_keeps_its_processes() -> Result<()> {
    let lab = Lab::new("keeps")?;
    let todo = Todo::before_init(&lab, Release::Bookworm)?;
    let Todo { host, repo, web } = &todo;
    web.run("useradd --create-home runner")?.ok()?;
    let init = todo.init("--user runner --schedule '0 0 1 1 *'")?;
    web.run(&init)?.exits(3)?;
    host.allow_key(repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    web.run(&init)?.ok()?;
    web.run_as(
        "runner",
        "echo '* * * * * true' | crontab -; setsid sleep 600 </dev/null >/dev/null 2>&1 &",
    )?
    .ok()?;
    web.run("pullpray remove todo --yes --purge")?.ok()?;
    web.run("crontab -lu runner && pgrep -u runner sleep && ! ls /var/www/projects/todo")?
        .ok()?;
    Ok(())
}
