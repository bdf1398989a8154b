//! Other accounts can read only what the web server serves.

use anyhow::{Context, Result, ensure};

use crate::lab::{Lab, Release, Todo};

/// Commands that only the app's own account may run successfully.
const CLOSED: &[&str] = &[
    "cat /var/www/projects/todo/current/manage.py",
    "cat /var/www/projects/todo/shared/todo.sqlite3",
    "ls /var/www/projects/todo",
    "ls /var/www/projects/todo/releases",
    "ls /var/www/projects/todo/shared",
    "cat /var/www/projects/todo/current/.venv/pyvenv.cfg",
    "cat /etc/pullpray/todo.env",
    "cat /var/lib/pullpray/todo/ledger.json",
    "cat /var/lib/pullpray/todo/mirror.git/HEAD",
    "cat /var/lib/pullpray/todo/log/*",
];

/// A project with restrictive file modes that accepts uploads.
const SETTINGS: &str =
    "\nFILE_UPLOAD_PERMISSIONS = 0o600\nFILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o700\n";
const UPLOADS: &str = "\nMEDIA_ROOT = BASE_DIR / 'media'\n";
const VIEWS: &str = r#"
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.http import HttpResponse


def healthz(request):
    return HttpResponse("ok\n", content_type="text/plain")


def page(request):
    if "upload" in request.GET:
        default_storage.save(request.GET["upload"], ContentFile(b"uploaded\n"))
    return HttpResponse("version two\n", content_type="text/plain")
"#;

#[test]
fn others_can_read_only_what_the_web_server_serves() -> Result<()> {
    let lab = Lab::new("readers")?;
    let todo = Todo::live(&lab, Release::Bookworm)?;
    let Todo { repo, web, .. } = &todo;
    let settings = include_str!("project/todo/settings.py");
    repo.commit(
        "Keep files to itself",
        &[("todo/settings.py", &format!("{settings}{SETTINGS}"))],
    )?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    for attempt in CLOSED {
        web.run_as("gunicorn", attempt)?
            .ok()
            .with_context(|| format!("its own account: {attempt}"))?;
        for other in ["nobody", "www-data"] {
            web.run_as(other, attempt)?
                .says("Permission denied")
                .with_context(|| format!("{other}: {attempt}"))?;
        }
    }
    ensure!(
        web.page("/static/items/todo.css")?.status == 200,
        "nginx reads static files"
    );
    web.run("find /www/static/todo -type f ! -perm 644 -o -type d ! -perm 2775")?
        .ok()?
        .silent()?;

    // Uploads: follows the README's instructions.
    repo.commit(
        "Take uploads",
        &[
            ("todo/settings.py", &format!("{settings}{UPLOADS}")),
            ("items/views.py", VIEWS),
        ],
    )?;
    web.run("sed -i 's#^shared_paths = .*#shared_paths = [\"media/\"]#' /etc/pullpray/todo.toml && pullpray poll todo")?
        .ok()?
        .says("live after")?;
    let readme = include_str!("../../README.md");
    let location = readme
        .lines()
        .find(|line| line.starts_with("location /media/"))
        .context("the README has no location for media")?;
    let commands: Vec<&str> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("# setfacl "))
        .collect();
    ensure!(commands.len() == 2, "{commands:?}");
    web.run(&format!(
        "sed -i '/location \\/static/i {location}' /etc/nginx/sites-enabled/todo && systemctl restart nginx"
    ))?
    .ok()?;
    web.run("curl -s -o /dev/null 'http://127.0.0.1:8000/?upload=before.txt'")?
        .ok()?;
    ensure!(web.page("/media/before.txt")?.status == 403);
    for command in commands {
        web.run(&format!("setfacl {command}"))?.ok()?;
    }
    web.run("curl -s -o /dev/null 'http://127.0.0.1:8000/?upload=2026/11/after.txt'")?
        .ok()?;
    for path in ["/media/before.txt", "/media/2026/11/after.txt"] {
        let page = web.page(path)?;
        ensure!(page.shows("uploaded"), "{path}: {page:#?}");
    }
    for attempt in CLOSED {
        web.run_as("www-data", attempt)?
            .says("Permission denied")
            .context(*attempt)?;
    }
    web.run("pullpray doctor todo --offline")?.ok()?;
    repo.commit(
        "Go on",
        &[("items/views.py", &VIEWS.replace("two", "three"))],
    )?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    ensure!(web.page("/")?.shows("version three"));
    ensure!(web.page("/media/before.txt")?.shows("uploaded"));
    Ok(())
}

/// The account can change the interpreter in the settings: doctor reports it, and root never runs it, not even
/// for its version.
#[test]
fn root_runs_no_interpreter_that_others_can_change() -> Result<()> {
    let lab = Lab::new("python")?;
    let Todo {
        repo,
        web,
        host: _host,
    } = Todo::live(&lab, Release::Bookworm)?;
    let python = "/var/www/projects/todo/shared/python3";
    web.write_as(
        "gunicorn",
        python,
        "#!/bin/sh\nid -u >>/tmp/who-started-it; exec /usr/bin/python3 \"$@\"\n",
    )?;
    web.run(&format!(
        "chmod 755 {python} && sed -i 's#^python = .*#python = \"{python}\"#' /etc/pullpray/todo.toml && grep -q {python} /etc/pullpray/todo.toml"
    ))?
    .ok()?;
    for command in [
        "doctor todo --offline",
        "doctor todo --fix --yes",
        "init todo --yes",
    ] {
        web.run(&format!("pullpray {command}"))?
            .exits(1)?
            .says("can be modified by users other than root")?;
    }
    web.run("pullpray status todo; ! grep -qx 0 /tmp/who-started-it")?
        .ok()?;
    web.run("sed -i 's#^python = .*#python = \"/usr/bin/python3\"#' /etc/pullpray/todo.toml")?
        .ok()?;
    repo.push("version two")?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    ensure!(web.page("/")?.shows("version two"));
    web.run("pullpray doctor todo --offline")?.ok()?;
    Ok(())
}

/// A wrapper owned by root could start a program that others can change, so only the account runs the interpreter.
#[test]
fn the_interpreter_runs_only_as_the_account() -> Result<()> {
    let lab = Lab::new("wrapper")?;
    let Todo {
        repo,
        web,
        host: _host,
    } = Todo::live(&lab, Release::Bookworm)?;
    let python = "/usr/local/bin/wrapped-python";
    web.write(
        python,
        "#!/bin/sh\nid -u >>/tmp/started-by; exec /usr/bin/python3 \"$@\"\n",
    )?;
    web.run(&format!(
        "chmod 755 {python} && touch /tmp/started-by && chown gunicorn /tmp/started-by && sed -i 's#^python = .*#python = \"{python}\"#' /etc/pullpray/todo.toml"
    ))?
    .ok()?;
    web.run("pullpray doctor todo --offline")?.ok()?;
    repo.push("version two")?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    web.run(
        "pullpray doctor todo --fix --yes && pullpray init todo --yes && pullpray status todo",
    )?
    .ok()?;
    let uid = web.run("id -u gunicorn")?.ok()?.stdout;
    let by = web.run("sort -u /tmp/started-by")?.ok()?.stdout;
    ensure!(by == uid, "started by {by}");
    ensure!(web.page("/")?.shows("version two"));

    // Directories in root's PATH must not be writable by others.
    web.run("chmod 2777 /usr/local/sbin")?.ok()?;
    web.run("pullpray doctor todo --offline")?
        .exits(1)?
        .says("/usr/local/sbin can be modified by users other than root")?;
    Ok(())
}
