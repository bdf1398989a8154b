//! Where the running app writes, by its own settings. The release is read-only in the sandbox and replaced by the next
//! one, so an app that writes there is refused before it goes live.
//!
//! One process imports the WSGI module as gunicorn does and reads Django's settings. The answer comes in a file, since
//! the project may print on standard output; the account's code wrote that file, so reading it is bounded and follows
//! no link. Paths are compared after links are resolved: a shared path lies in shared/.
//!
//! What is tolerated, and why:
//! - an empty MEDIA_ROOT: Django's default; a project without uploads never writes there. One that is
//!   set is refused even if it does not exist yet: the first upload would be the one that is lost.
//! - a sqlite file that is opened read-only (`file:…?mode=ro` or `immutable=1`), as data that comes with the
//!   code may be. Being tracked is not enough: the rows of one that is opened for writing are lost.
//! - file sessions without SESSION_FILE_PATH: they lie in /tmp, which is the unit's own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::bail;
use serde::Deserialize;

use crate::app::{App, SharedPath};
use crate::host::{Kind, Log, ScriptRunner, Server};
use crate::state::history::Stage;

use super::Poll;
use super::build::STATIC;
use super::ended::{At, StageError};
use super::fetch::Code;
use super::static_files::publish;

const PROBE: &str = include_str!("writes.py");
/// More entries than any project has.
const MOST: usize = 100;

/// The setting, the path it names, and whether that is a directory.
#[derive(Debug, Deserialize)]
struct Written(String, PathBuf, bool);

/// The setting of a directory from which static files are published.
const STATIC_ROOT: &str = "STATIC_ROOT";

/// Refuses a release whose app would write into it. Static files that were collected elsewhere in the release, in a
/// STATIC_ROOT that the project sets itself, come to where they are published from.
pub(super) fn refuse_writes(
    poll: &Poll<'_>,
    release: &Path,
    mut python: ScriptRunner,
    log: &mut Log,
    code: &Code,
) -> Result<(), StageError> {
    let (server, app) = (poll.server, poll.app);
    let answer = release.join(".pullpray-writes.json");
    server.remove_file(&answer).at(Stage::Writes)?;
    let Some(wsgi) = app.wsgi.as_ref().map(ToString::to_string) else {
        // Without a WSGI module there is no service.
        return Ok(());
    };
    let module = wsgi.split(':').next().unwrap_or_default();
    python.arguments = vec!["-c".into(), PROBE.into(), (&answer).into(), module.into()];
    python.set("PYTHONDONTWRITEBYTECODE", "1");
    let outcome = python.run(server, log).at(Stage::Writes)?;
    let found: Option<Vec<Written>> = match server.read_untrusted(&answer).at(Stage::Writes)? {
        Some(text) => serde_json::from_str(&text).ok(),
        None => None,
    };
    let Some(found) = found.filter(|found| outcome.success && found.len() <= MOST) else {
        let why = format!(
            "failed to find out where the app writes: Python {}",
            outcome.ended
        );
        return Err(StageError::new(Stage::Writes, why).with_output(&outcome.output));
    };
    server.remove_file(&answer).at(Stage::Writes)?;
    // An unresolvable path contains nothing.
    let resolved = server.link_target(release).ok().flatten();
    let release = resolved.unwrap_or_else(|| release.to_owned());
    let lost: Vec<Written> = found
        .into_iter()
        .filter_map(|Written(setting, path, directory)| {
            let path = path.strip_prefix(&release).ok()?.to_owned();
            Some(Written(setting, path, directory))
        })
        .collect();
    let (collected, lost): (Vec<Written>, Vec<Written>) = lost
        .into_iter()
        .partition(|written| written.0 == STATIC_ROOT);
    for Written(_, path, _) in collected {
        if path != Path::new(STATIC) && !path.as_os_str().is_empty() {
            let collected = release.join(STATIC);
            server.make_own_dirs(&collected).at(Stage::Writes)?;
            publish(server, &release.join(path), &collected).at(Stage::Writes)?;
        }
    }
    if lost.is_empty() {
        return Ok(());
    }
    let tracked: Vec<PathBuf> = code
        .mirror
        .blobs(code.info.oid, &|_| true)
        .map_err(anyhow::Error::from)
        .at(Stage::Writes)?
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    let (why, last_lines) = refusal(app.name.as_str(), &app.shared_paths, &lost, &tracked);
    Err(StageError::new(Stage::Writes, why).with_lines(last_lines))
}

/// The error and the lines of its fix: one command with all paths, including those that are shared already.
fn refusal(
    app: &str,
    shared: &[SharedPath],
    lost: &[Written],
    tracked: &[PathBuf],
) -> (String, Vec<String>) {
    let named: Vec<String> = lost
        .iter()
        .map(|Written(setting, path, _)| format!("{} ({setting})", path.display()))
        .collect();
    let why = format!(
        "the app would write into the release, which is read-only and replaced by the next one: {}",
        named.join(", ")
    );
    let elsewhere = "have the settings name a place below os.environ[\"PULLPRAY_SHARED\"]";
    let new: Option<Vec<SharedPath>> = lost.iter().map(|lost| to_share(lost, tracked)).collect();
    let Some(new) = new else {
        return (why, vec![elsewhere.to_owned()]);
    };
    let kept: BTreeSet<String> = new
        .iter()
        .filter(|path| holds_files(Path::new(path.path()), tracked))
        .map(ToString::to_string)
        .collect();
    let all: BTreeSet<String> = shared.iter().chain(&new).map(ToString::to_string).collect();
    let outer: Vec<&str> = all
        .iter()
        .filter(|path| {
            !all.iter()
                .any(|other| other != *path && other.ends_with('/') && path.starts_with(other))
        })
        .map(String::as_str)
        .collect();
    let mut fix = vec![
        format!("{elsewhere}, or share it between releases:"),
        format!(
            "sudo pullpray init {app} --shared-paths {}",
            outer.join(",")
        ),
    ];
    if !kept.is_empty() {
        let kept: Vec<String> = kept.into_iter().collect();
        fix.push(format!(
            "git tracks files in {}: copy them into shared/ first, or the app misses them",
            kept.join(", ")
        ));
    }
    (why, fix)
}

/// The path to share: for a file its directory, because sqlite and log rotation create more beside it, unless git
/// tracks files there.
fn to_share(Written(_, path, directory): &Written, tracked: &[PathBuf]) -> Option<SharedPath> {
    let parent = path.parent().filter(|parent| {
        !directory && !parent.as_os_str().is_empty() && !holds_files(parent, tracked)
    });
    let text = match parent {
        Some(parent) => format!("{}/", parent.to_str()?),
        None if *directory => format!("{}/", path.to_str()?),
        None => path.to_str()?.to_owned(),
    };
    text.parse().ok()
}

/// The path to share for a file at `path`, and whether git tracks it.
pub(super) fn file_to_share(path: PathBuf, tracked: &[PathBuf]) -> Option<(SharedPath, bool)> {
    let is_tracked = tracked.contains(&path);
    let path = to_share(&Written(String::new(), path, false), tracked)?;
    Some((path, is_tracked))
}

/// Whether git tracks files there, except those that keep an empty directory.
fn holds_files(path: &Path, tracked: &[PathBuf]) -> bool {
    tracked.iter().any(|file| {
        file.starts_with(path)
            && !matches!(
                file.file_name().and_then(|name| name.to_str()),
                Some(".gitkeep" | ".keep" | ".gitignore")
            )
    })
}

/// Refuses a database inside the release: the next commit would start with an empty one.
pub(super) fn refuse_new_databases(
    server: &Server,
    (app, release): (&App, &Path),
    code: &Code,
) -> anyhow::Result<()> {
    let inside = app.code_dir(Path::new(""));
    let tracked = code
        .mirror
        .blobs(code.info.oid, &|path| path.parent() == Some(&inside))?;
    for name in server.list(&app.code_dir(release))? {
        let name = inside.join(name);
        let path = release.join(&name);
        let file = server
            .stat(&path)?
            .is_some_and(|stat| stat.kind == Kind::File);
        if file
            && !tracked.iter().any(|(path, _)| *path == name)
            && server.begins_with(&path, b"SQLite format 3\0")?
        {
            let name = name.display();
            bail!(
                "migrate created the database {name} inside the release, and it would be lost with it: list it as shared_paths = [\"{name}\"] in the settings, or read its directory from os.environ[\"PULLPRAY_SHARED\"]"
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fix(lost: &[(&str, bool)], shared: &str, tracked: &[&str]) -> String {
        let lost: Vec<Written> = lost
            .iter()
            .map(|(path, directory)| Written("X".to_owned(), path.into(), *directory))
            .collect();
        let tracked: Vec<PathBuf> = tracked.iter().map(PathBuf::from).collect();
        let shared: Vec<SharedPath> = shared.split(',').filter_map(|p| p.parse().ok()).collect();
        refusal("todo", &shared, &lost, &tracked).1.join("\n")
    }

    #[test]
    fn one_command_shares_all_paths_and_no_code() {
        let text = fix(
            &[
                ("data/db.sqlite3", false),
                ("media", true),
                ("data/logs/x", false),
            ],
            "kept/",
            &["data/.gitkeep"],
        );
        assert!(
            text.ends_with("pullpray init todo --shared-paths data/,kept/,media/"),
            "{text}"
        );
        let text = fix(&[("todo/db.sqlite3", false)], "", &["todo/settings.py"]);
        assert!(text.ends_with("--shared-paths todo/db.sqlite3"), "{text}");
        let text = fix(&[("media", true)], "", &["media/a.png"]);
        assert!(text.contains("copy them into shared/ first"), "{text}");
        // The release itself cannot be a link.
        assert!(!fix(&[("", true)], "", &[]).contains("--shared-paths"));
    }
}
