//! Inspects the repository for the answers of init that only it can give.

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use crate::app::{Module, Wsgi};
use crate::host::Locked;
use crate::layout;
use crate::report;

use super::fetch::{self, FetchError};
use super::{Poll, no_reference};

/// What was found in the repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// The inspected commit.
    pub commit: String,
    /// Its first line.
    pub subject: String,
    /// WSGI modules, the likeliest first.
    pub wsgi: Vec<String>,
    /// The settings module that manage.py names.
    pub settings: Option<String>,
    /// Whether manage.py is at the top level, where the deploy script expects it.
    pub manage: bool,
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
    let code = fetch::fetch_complete(poll, &newest).map_err(|error| match error {
        FetchError::Unfit(why) => anyhow!("{} cannot be deployed: {why}", newest.name),
        error => error.into_error(app),
    })?;
    let oid = code.info.oid;
    let read = |path: &Path| -> Result<String> {
        let bytes = code.mirror.read_file(oid, path)?;
        Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
    };
    let wsgi = |path: &Path| path.file_name() == Some("wsgi.py".as_ref());
    let files = code.mirror.blobs(oid, &wsgi)?;
    let manage = read(Path::new("manage.py"))?;
    let settings = settings_module(&manage);
    let files: Vec<String> = files
        .iter()
        .filter_map(|(path, _)| path.to_str().map(str::to_owned))
        .collect();
    Ok(Inspection {
        commit: code.commit.clone(),
        subject: code.info.subject.clone(),
        wsgi: wsgi_modules(&files, settings.as_deref()),
        manage: !manage.is_empty(),
        settings,
    })
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

/// `os.environ.setdefault("DJANGO_SETTINGS_MODULE", "todo.settings")`, as Django writes it.
fn settings_module(manage: &str) -> Option<String> {
    let rest = &manage[manage.find("DJANGO_SETTINGS_MODULE")?..];
    let rest = rest.split_once(['"', '\''])?.1;
    let value = rest.split(['"', '\'']).nth(1)?;
    value
        .parse::<Module>()
        .ok()
        .map(|module| module.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_module_is_found() {
        let manage =
            "import os\n    os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'todo.settings')\n";
        assert_eq!(settings_module(manage).as_deref(), Some("todo.settings"));
        assert_eq!(
            settings_module("os.environ.setdefault(\"DJANGO_SETTINGS_MODULE\",\n  \"a.b\")")
                .as_deref(),
            Some("a.b")
        );
        assert_eq!(settings_module("print(1)"), None);
        assert_eq!(settings_module("DJANGO_SETTINGS_MODULE = $(rm -rf)"), None);
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
