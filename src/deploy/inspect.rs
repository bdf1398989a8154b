//! Inspects the repository for the answers of init that only it can give.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use crate::app::{
    App, PROCFILE, ProcessName, Procfile, SharedPath, Web, Wsgi, read_settings, settings_modules,
};
use crate::git::MirrorError;
use crate::host::{Locked, Server};
use crate::layout;
use crate::report;

use super::fetch::{self, Code, FetchError};
use super::{Poll, no_reference, writes};

/// What was found in the repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// The inspected commit.
    pub commit: String,
    /// Its first line.
    pub subject: String,
    /// Where the project is, if not at the top: directories with a manage.py. What else was found is in the first.
    pub subdirs: Vec<String>,
    /// WSGI modules, the likeliest first, each with the settings modules that production may use.
    pub wsgi: Vec<(String, Vec<String>)>,
    /// The settings modules that manage.py names.
    pub manage_settings: Vec<String>,
    /// What each settings module says.
    pub settings: Vec<SettingsFound>,
    /// The processes of its Procfile that can run beside web.
    pub processes: Vec<String>,
    /// Whether the project has a manage.py.
    pub manage: bool,
}

/// What a settings module says, as far as its text tells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsFound {
    /// Its name.
    pub module: String,
    /// Whether `DEBUG` is on.
    pub debug: bool,
    /// `ALLOWED_HOSTS`; `None` if the text does not tell.
    pub hosts: Option<Vec<String>>,
    /// The paths to share for sqlite files inside the release, and whether git tracks the file.
    pub databases: Vec<(String, bool)>,
}

/// Fetches the followed commit and inspects it.
///
/// # Errors
/// When it cannot be fetched or read, or a poll is running.
pub fn inspect(poll: &Poll<'_>) -> Result<Inspection> {
    let (server, app) = (poll.server, poll.app);
    let Locked::Held(_lock) = server.lock(&layout::state(&app.name))? else {
        bail!("a poll of {} is running", app.name);
    };
    let newest = (poll.remote)
        .newest(&app.track)
        .map_err(|error| error.failure())
        .and_then(|newest| newest.ok_or_else(no_reference))
        .map_err(|failure| report::remote::error(app, &failure))?;
    let found = fetch::fetch_complete(poll, &newest)
        .and_then(|mut code| code.read(poll, |code| look_at(app, code)));
    found.map_err(|error| match error {
        FetchError::Unfit(why) => anyhow!("{} cannot be deployed: {why}", newest.name),
        error => error.into_error(app),
    })
}

/// Reads the commit's files; fails if one of them is damaged in the mirror.
fn look_at(app: &App, code: &Code) -> Result<Inspection> {
    let oid = code.info.oid;
    let files: Vec<PathBuf> = code
        .mirror
        .blobs(oid, &|_| true)?
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    let known = app.subdir.is_some() || app.wsgi.is_some();
    let subdirs = if known { Vec::new() } else { projects(&files) };
    let project = match subdirs.first() {
        Some(subdir) => PathBuf::from(subdir),
        None => app.code_dir(Path::new("")),
    };
    let damaged = RefCell::new(None);
    let read = |path: &Path| -> Option<String> {
        let content = match code.mirror.read_file(oid, &project.join(path)) {
            Ok(content) => content?,
            Err(error @ (MirrorError::Damaged(_) | MirrorError::Missing(_))) => {
                damaged.replace(Some(error));
                return None;
            }
            // A path that no file has, such as that of a module without a name.
            Err(_) => return None,
        };
        Some(String::from_utf8_lossy(&content).into_owned())
    };
    let names: Vec<String> = files
        .iter()
        .filter_map(|path| {
            path.strip_prefix(&project)
                .ok()?
                .to_str()
                .map(str::to_owned)
        })
        .collect();
    let procfile = Procfile::parse(&read(Path::new(PROCFILE)).unwrap_or_default());
    let manage = read(Path::new("manage.py"));
    let in_use = |wsgi: &str| -> Vec<String> {
        let module = wsgi.split(':').next().unwrap_or_default();
        let text = read(&PathBuf::from(module.replace('.', "/")).with_extension("py"));
        let (wsgi, manage) = (text.unwrap_or_default(), manage.as_deref());
        let found = settings_modules(&wsgi, manage.unwrap_or_default());
        found.iter().map(ToString::to_string).collect()
    };
    let manage_settings = in_use("");
    // What a line of the Procfile says is not guessed.
    let mut wsgi = match of_web(&procfile, &names) {
        Some(wsgi) => vec![wsgi],
        None => wsgi_modules(&names, manage_settings.first().map(String::as_str)),
    };
    wsgi.extend(app.wsgi.as_ref().map(ToString::to_string));
    let wsgi: Vec<(String, Vec<String>)> = wsgi
        .into_iter()
        .map(|wsgi| (wsgi.clone(), in_use(&wsgi)))
        .collect();
    let modules: BTreeSet<String> = (wsgi.iter().flat_map(|(_, settings)| settings))
        .chain(&manage_settings)
        .cloned()
        .chain(app.settings.as_ref().map(ToString::to_string))
        .collect();
    let settings = modules.into_iter().filter_map(|module| {
        let found = read_settings(&module, &read)?;
        let databases = found.databases.into_iter();
        let databases = databases.map(|path| project.join(path));
        let databases = databases.filter_map(|path| writes::file_to_share(path, &files));
        Some(SettingsFound {
            module,
            debug: found.debug,
            hosts: found.hosts,
            databases: databases
                .map(|(path, tracked)| (path.to_string(), tracked))
                .collect(),
        })
    });
    let inspection = Inspection {
        commit: code.commit.clone(),
        subject: code.info.subject.clone(),
        subdirs,
        settings: settings.collect(),
        processes: (procfile.beside_web())
            .filter(|name| name.parse::<ProcessName>().is_ok())
            .map(str::to_owned)
            .collect(),
        wsgi,
        manage: manage.is_some_and(|text| !text.is_empty()),
        manage_settings,
    };
    match damaged.into_inner() {
        Some(error) => Err(error.into()),
        None => Ok(inspection),
    }
}

/// Creates an empty file in shared/, as the app's account; leaves one that exists.
///
/// # Errors
/// When it cannot be created.
pub fn start_empty(server: &Server, app: &App, path: &SharedPath) -> Result<()> {
    let path = app.shared().join(path.path());
    if server.stat(&path)?.is_some() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        server.make_own_dirs(parent)?;
    }
    server.write_new(&path, b"", 0o660, None)
}

/// The directories with a manage.py, the shallowest first; none if one is at the top.
fn projects(files: &[PathBuf]) -> Vec<String> {
    let manage = files.iter().filter(|path| path.ends_with("manage.py"));
    let dirs = manage.filter_map(|path| path.parent()?.to_str());
    let mut dirs: Vec<&str> = dirs
        .filter(|dir| dir.parse::<SharedPath>().is_ok() || dir.is_empty())
        .collect();
    if dirs.contains(&"") {
        return Vec::new();
    }
    dirs.sort_by_key(|dir| (dir.matches('/').count(), *dir));
    dirs.into_iter().map(str::to_owned).collect()
}

/// The callable that the Procfile's line `web` names, if the repository has its module.
fn of_web(procfile: &Procfile, files: &[String]) -> Option<String> {
    let Some(Web::Gunicorn { arguments, .. }) = procfile.web() else {
        return None;
    };
    let mut found = arguments.split_whitespace().filter_map(|word| {
        let wsgi: Wsgi = word.trim_matches(['"', '\'']).parse().ok()?;
        let wsgi = wsgi.to_string();
        let module = wsgi.split(':').next()?.replace('.', "/");
        let is = |file: &String| {
            *file == format!("{module}.py") || *file == format!("{module}/__init__.py")
        };
        files.iter().any(is).then_some(wsgi)
    });
    found.next()
}

/// Modules named wsgi.py, the one beside the settings first, then the shallowest.
fn wsgi_modules(files: &[String], settings: Option<&str>) -> Vec<String> {
    let beside = settings
        .and_then(|module| module.split('.').next())
        .unwrap_or_default();
    let mut found: Vec<(bool, usize, String)> = files
        .iter()
        .filter(|path| path.as_str() == "wsgi.py" || path.ends_with("/wsgi.py"))
        .filter_map(|path| {
            let module = path.strip_suffix(".py")?.replace('/', ".");
            let wsgi: Wsgi = module.parse().ok()?;
            Some((
                module.split('.').next() != Some(beside),
                module.split('.').count(),
                wsgi.to_string(),
            ))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, _, module)| module).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projects_below_the_top_are_found() {
        for (files, expected) in [
            (vec!["manage.py", "examples/manage.py"], vec![]),
            (vec!["backend/manage.py", "front/x.js"], vec!["backend"]),
            (
                vec![
                    "z/manage.py",
                    "a/b/manage.py",
                    "../manage.py",
                    "b/manage.pyc",
                ],
                vec!["z", "a/b"],
            ),
            (vec!["app.py"], vec![]),
        ] {
            let files: Vec<PathBuf> = files.into_iter().map(PathBuf::from).collect();
            assert_eq!(projects(&files), expected, "{files:?}");
        }
    }

    #[test]
    fn the_likeliest_wsgi_module_comes_first() {
        let files = [
            "lib/x/wsgi.py",
            "other/wsgi.py",
            "todo/wsgi.py",
            "my-dir/wsgi.py",
            "todo/notwsgi.py",
        ]
        .map(str::to_owned);
        assert_eq!(
            wsgi_modules(&files, Some("todo.settings")),
            ["todo.wsgi", "other.wsgi", "lib.x.wsgi"]
        );
        assert_eq!(wsgi_modules(&["wsgi.py".to_owned()], None), ["wsgi"]);
    }
}
