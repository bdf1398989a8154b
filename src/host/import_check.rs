//! Verifies a virtual environment by importing the app in it, as the app's account, instead of trusting its name or
//! a marker file.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::app::App;
use crate::host::View;

/// Imports in the release what the unit will import, and checks where it came from: code of another release is old,
/// and disappears when that release is removed.
const PROOF: &str = "import importlib, os, sys
project, release, releases, *modules = sys.argv[1:]
os.chdir(project)
for module in modules:
    importlib.import_module(module)
gunicorn = sys.modules['gunicorn']
if getattr(gunicorn, 'version_info', (99,)) < (20, 1):
    sys.exit(f'gunicorn {gunicorn.__version__} is too old for the service, which needs 20.1 or later')
for module in list(sys.modules.values()):
    path = os.path.realpath(getattr(module, '__file__', None) or '/')
    inside = [path.startswith(os.path.realpath(dir) + '/') for dir in (release, releases)]
    if inside == [False, True]:
        sys.exit(f'{module.__name__} comes from another release: {path}')
";

/// Returns why an environment cannot serve a release; `None` if its interpreter imports gunicorn and the app's module
/// there. Only root and the app's account can check it.
///
/// # Errors
/// When the app has no account, or its environment file cannot be read.
pub fn broken(view: &View, app: &App, release: &Path, venv: &Path) -> Result<Option<String>> {
    let python = venv.join("bin/python");
    if view.stat_target(&python)?.is_none() {
        return Ok(Some(format!(
            "{} does not point to an interpreter",
            python.display()
        )));
    }
    let wsgi = app.wsgi.as_ref().map(crate::app::Wsgi::target);
    let module = wsgi.as_deref().and_then(|target| target.split(':').next());
    let mut command = view
        .command(&python)
        .args(["-B", "-c", PROOF])
        .args([&app.code_dir(release), release, &app.releases()])
        .arg("gunicorn.app.wsgiapp")
        .args(module)
        .env("LC_ALL", "C.UTF-8")
        .env("PULLPRAY_APP", app.name.as_str())
        .env("PULLPRAY_SHARED", app.shared())
        .env("STATIC_ROOT", release.join(".static"))
        .run_as(Some(&view.identity(app.user.as_str())?))
        .deadline(Duration::from_secs(120));
    if let Some(settings) = &app.settings {
        command = command.env("DJANGO_SETTINGS_MODULE", settings.as_str());
    }
    for (name, value) in view.environment(&app.environment_file())? {
        command = command.env(name, value);
    }
    let why = match command.outcome() {
        Ok(outcome) if outcome.success() => return Ok(None),
        Ok(outcome) => {
            let last = outcome.stderr.trim().lines().last().unwrap_or_default();
            format!("{}: {}", outcome.ended, last.trim())
        }
        Err(error) => format!("{error:#}"),
    };
    Ok(Some(format!("{} {why}", python.display())))
}
