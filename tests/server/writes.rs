//! A release into which the app would write is refused until the path is shared; then the files are kept.

use anyhow::{Result, ensure};

use crate::lab::{Lab, Release, Todo, key};

const SETTINGS: &str = include_str!("project/todo/settings.py");

const DATABASE: &str = "DATABASES['default']['NAME'] = BASE_DIR / 'data' / 'db.sqlite3'\nprint('the settings print')\n";
const OTHERS: [(&str, &str, &str); 4] = [
    (
        "logs/app.log (LOGGING, handler \"file\")",
        "logs/",
        "LOGGING = {'version': 1, 'handlers': {'file': {'class': 'logging.FileHandler', 'filename': BASE_DIR / 'logs' / 'app.log'}}, 'root': {'handlers': ['file']}}\n",
    ),
    (
        "media (MEDIA_ROOT)",
        "media/",
        "MEDIA_ROOT = BASE_DIR / 'media'\n",
    ),
    (
        "cache (CACHES[\"default\"])",
        "cache/",
        "CACHES = {'default': {'BACKEND': 'django.core.cache.backends.filebased.FileBasedCache', 'LOCATION': BASE_DIR / 'cache'}}\n",
    ),
    (
        "sessions (SESSION_FILE_PATH)",
        "sessions/",
        "SESSION_ENGINE = 'django.contrib.sessions.backends.file'\nSESSION_FILE_PATH = BASE_DIR / 'sessions'\n",
    ),
];

#[test]
fn writes_into_the_release_are_refused_until_shared() -> Result<()> {
    let lab = Lab::new("writes")?;
    let Todo { repo, web, .. } = Todo::live(&lab, Release::Bookworm)?;
    let live = "readlink /var/www/projects/todo/current; systemctl show -P InvocationID gunicorn.todo.service; find /var/www/projects/todo/shared /var/www/projects/todo/static -type f -printf '%p %s\\n' 2>&1";
    let before = web.run(live)?.stdout.clone();

    let mut all = format!("{SETTINGS}{DATABASE}");
    let database = (
        "data/db.sqlite3 (DATABASES[\"default\"])",
        "data/",
        DATABASE,
    );
    for (named, shared, more) in [database].into_iter().chain(OTHERS) {
        if more != DATABASE {
            all.push_str(more);
        }
        repo.commit(
            named,
            &[
                ("todo/settings.py", &format!("{SETTINGS}{more}")),
                ("data/.gitkeep", ""),
                ("logs/.gitkeep", ""),
            ],
        )?;
        web.run("pullpray poll todo")?
            .exits(1)?
            .says(named)?
            .says(&format!(
                "sudo pullpray init todo --shared-paths {shared}\n"
            ))?
            .says("is still live")?;
        let now = web.run(live)?.stdout.clone();
        ensure!(before == now, "{named}\n{before}\n{now}");
    }

    repo.commit("All of it", &[("todo/settings.py", &all)])?;
    let refused = web.run("pullpray poll todo")?.exits(1)?;
    let command = refused
        .stdout
        .lines()
        .find_map(|line| line.trim_start_matches([' ', '|']).strip_prefix("sudo "))
        .unwrap_or_default();
    ensure!(
        command == "pullpray init todo --shared-paths cache/,data/,logs/,media/,sessions/",
        "{refused}"
    );
    let mut terminal = web.terminal(command)?;
    terminal.sees("Go on?")?;
    terminal.presses(key::ENTER)?;
    let (status, screen) = terminal.ends()?;
    ensure!(status == 0, "{screen}");
    repo.push("version two")?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    ensure!(web.page("/")?.shows("version two"));

    let put = "cd /var/www/projects/todo/current && touch media/upload cache/c sessions/s && python3 -c \"import sqlite3; c = sqlite3.connect('data/db.sqlite3'); c.execute('create table kept (x)'); c.commit()\"";
    web.run_as("gunicorn", put)?.ok()?;
    repo.push("version three")?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    ensure!(web.page("/")?.shows("version three"));
    web.run("cd /var/www/projects/todo/current && test -f media/upload && test -f cache/c && test -f sessions/s && test -f logs/app.log && python3 -c \"import sqlite3; sqlite3.connect('data/db.sqlite3').execute('select x from kept')\"")?
        .ok()?;
    Ok(())
}
