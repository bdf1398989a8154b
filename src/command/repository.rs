//! What only the repository can answer, once the deploy key reads it: the WSGI module, the settings, where the database
//! lies, the hostname of the health check. Each has a recommended answer, which an unattended run takes.

use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::app::{Answers, App, SharedPath};
use crate::deploy::{Inspection, SettingsFound};
use crate::error::WithHint;
use crate::text::{for_terminal, short};
use crate::ui::{self, Mark};

use super::apply::{Apply, go_on};

impl Apply<'_> {
    /// Completes the answers that only the repository can give.
    pub(super) fn ask_repository(&mut self, mut app: App) -> Result<App> {
        let title = "inspected repository";
        self.ui.begin(title);
        let found = self.inspect(&app).inspect_err(|error| {
            self.ui.done(Mark::Failed, title, &format!("{error:#}"));
        })?;
        let subject = for_terminal(&found.subject);
        self.ui.done(
            Mark::Ok,
            title,
            &format!("{} \"{subject}\"", short(&found.commit)),
        );
        self.subdir(&mut app, &found)?;
        if app.wsgi.is_none() {
            app.wsgi = Some(self.wsgi(&app, &found)?.parse()?);
        }
        let wsgi = app
            .wsgi
            .as_ref()
            .map_or_else(String::new, ToString::to_string);
        if app.settings.is_none() {
            app.settings = self.settings(&app, &wsgi, &found)?;
        }
        let settings = app
            .settings
            .as_ref()
            .map_or_else(|| "left to wsgi.py".to_owned(), ToString::to_string);
        self.ui.done(
            Mark::Ok,
            "WSGI module",
            &format!("{wsgi}, settings {settings}"),
        );
        if !found.manage {
            self.ui
                .note("There is no manage.py: nothing is migrated, no static files are collected.");
        }
        self.processes(&mut app, &found)?;
        let read = found.settings.iter().find(|read| read.module == settings);
        if let Some(read) = read {
            self.debug(&app, read)?;
            self.health_host(&mut app, read)?;
            for (path, tracked) in &read.databases {
                self.database(&mut app, path.parse()?, *tracked)?;
            }
        }
        Ok(app)
    }

    /// Takes the directory that has the project, if it is not at the top.
    fn subdir(&mut self, app: &mut App, found: &Inspection) -> Result<()> {
        match found.subdirs.as_slice() {
            [] => {}
            [only] => {
                app.subdir = Some(only.parse()?);
                let what = format!("in {}, which has manage.py", for_terminal(only));
                self.ui.done(Mark::Ok, "project", &what);
            }
            several => {
                let shown = several.iter().map(|dir| for_terminal(dir));
                let shown: Vec<String> = shown.collect();
                let go_on = go_on(app);
                return Err(anyhow!(
                    "the repository has several projects, each with a manage.py: {}",
                    shown.join(", ")
                )
                .hint(format!("{go_on} --subdir {}", shown.join(" | --subdir "))));
            }
        }
        Ok(())
    }

    /// Offers to run what the Procfile names beside web.
    fn processes(&mut self, app: &mut App, found: &Inspection) -> Result<()> {
        if !app.processes.is_empty() || found.processes.is_empty() {
            return Ok(());
        }
        let names = found.processes.join(",");
        let question = format!("Run {} of the Procfile too?", names.replace(',', ", "));
        if self.interactive && self.ui.confirm(&question, true)? {
            app.processes = (found.processes.iter())
                .map(|name| name.parse())
                .collect::<Result<_, _>>()?;
        } else {
            let command = format!("sudo pullpray init {} --processes {names}", app.name);
            self.ui.note(&format!(
                "The Procfile has more than web. To run it beside web: {command}"
            ));
        }
        Ok(())
    }

    fn inspect(&self, app: &App) -> Result<Inspection> {
        // Cron's poll of a first deployment that failed.
        let patience = Duration::from_secs(app.limits.deploy_timeout + 900);
        let state = crate::layout::state(&app.name);
        drop(self.server.lock_in_time(&state, patience)?);
        let text = self
            .server
            .run_inspect(&app.program, &[app.name.as_str()])?;
        Ok(serde_json::from_str(&text)?)
    }

    fn wsgi(&mut self, app: &App, found: &Inspection) -> Result<String> {
        let modules: Vec<&str> = found
            .wsgi
            .iter()
            .map(|(module, _)| module.as_str())
            .collect();
        match modules.as_slice() {
            [only] => Ok((*only).to_owned()),
            [] if !self.interactive => Err(anyhow!("there is no wsgi.py in the repository")
                .hint(format!("{} --wsgi MODULE:CALLABLE", go_on(app)))),
            several if !self.interactive => Err(anyhow!(
                "the repository has several WSGI modules: {}",
                several.join(", ")
            )
            .hint(format!(
                "{} --wsgi {}",
                go_on(app),
                several.join(" | --wsgi ")
            ))),
            several => {
                let help = if several.is_empty() {
                    "no wsgi.py was found in the repository".to_owned()
                } else {
                    format!("found: {}", several.join(", "))
                };
                self.text("WSGI module", several.first().copied(), help, "wsgi")
            }
        }
    }

    /// The settings module that migrate and gunicorn both use; `None` if neither wsgi.py nor manage.py names one.
    fn settings(
        &mut self,
        app: &App,
        wsgi: &str,
        found: &Inspection,
    ) -> Result<Option<crate::app::Module>> {
        let named = found.wsgi.iter().find(|(module, _)| module == wsgi);
        let modules = named.map_or(&found.manage_settings, |(_, modules)| modules);
        Ok(match modules.as_slice() {
            [] => None,
            [only] => Some(only.parse()?),
            several if !self.interactive => {
                return Err(anyhow!(
                    "{wsgi} may use several settings modules: {}",
                    several.join(", ")
                )
                .hint(format!(
                    "{} --settings {}",
                    go_on(app),
                    several.join(" | --settings ")
                )));
            }
            several => {
                let options: Vec<&str> = several.iter().map(String::as_str).collect();
                let chosen = self.ui.choose("Settings module", &options, 0)?;
                several
                    .get(chosen)
                    .map(|module| module.parse())
                    .transpose()?
            }
        })
    }

    fn debug(&mut self, app: &App, read: &SettingsFound) -> Result<()> {
        if !read.debug {
            return Ok(());
        }
        let module = &read.module;
        let why = format!(
            "{module} has DEBUG = True: every error shows visitors the code and the settings"
        );
        self.ui.warn(&why);
        if self.allow_debug
            || (self.interactive && self.ui.confirm("Deploy it nevertheless?", false)?)
        {
            return Ok(());
        }
        let go_on = go_on(app);
        Err(anyhow!(why)
            .hint(format!(
                "set DEBUG = False in {module} and push, or name other settings; then: {go_on}"
            ))
            .hint(format!("to deploy it nevertheless: {go_on} --allow-debug")))
    }

    /// The health check's hostname has to be one that Django answers.
    fn health_host(&mut self, app: &mut App, read: &SettingsFound) -> Result<()> {
        let Some(hosts) = &read.hosts else {
            return Ok(());
        };
        let current = app.health_host.to_string();
        if allows(hosts, &current, read.debug) {
            return Ok(());
        }
        let module = &read.module;
        let named = |host: &&String| {
            Answers::check_one("health_host", host.trim_start_matches('.')).is_ok()
        };
        let Some(host) = hosts
            .iter()
            .find(named)
            .map(|host| host.trim_start_matches('.'))
        else {
            return Err(anyhow!(
                "ALLOWED_HOSTS of {module} is empty: Django would answer every request with 400"
            )
            .hint(format!(
                "name the site's hostname there and push; then: {}",
                go_on(app)
            )));
        };
        let chosen = if self.interactive {
            let help = format!(
                "ALLOWED_HOSTS of {module}: {}; {current} would be answered with 400",
                hosts.join(", ")
            );
            self.text(
                "Hostname for the health check",
                Some(host),
                help,
                "health_host",
            )?
        } else {
            host.to_owned()
        };
        let detail = format!("{chosen}, from ALLOWED_HOSTS of {module}");
        self.ui
            .done(Mark::Ok, "hostname of the health check", &detail);
        app.health_host = chosen.parse()?;
        Ok(())
    }

    /// A sqlite file in the release would be read-only, and replaced with it.
    fn database(&mut self, app: &mut App, path: SharedPath, tracked: bool) -> Result<()> {
        let covers = |shared: &SharedPath| {
            let inside = path.path().strip_prefix(shared.path());
            *shared == path
                || (shared.is_directory() && inside.is_some_and(|rest| rest.starts_with('/')))
        };
        let target = app.shared().join(path.path());
        let view = self.server;
        if app.shared_paths.iter().any(covers) {
            return Ok(());
        }
        if view.stat(&target)?.is_none() {
            let (shown, user, group) = (target.display(), &app.user, &app.group);
            self.ui.note(&format!(
                "The database is {path} in the repository's tree: it would be read-only, and replaced by each release.{}",
                if tracked { " The rows in the one that git tracks would not be used." } else { "" }
            ));
            let options = [
                format!("keep it in {shown}, and start empty"),
                format!("keep it in {shown}, and I copy mine there first"),
                "elsewhere: I change the settings first".to_owned(),
            ];
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            let chosen = if self.interactive {
                self.ui
                    .choose("Where is the database to be?", &options, 0)?
            } else {
                0
            };
            let continues = format!("{} --shared-paths {}", go_on(app), with(app, &path));
            match chosen {
                0 if path.is_directory() => {}
                0 => {
                    let (name, path) = (app.name.as_str(), path.to_string());
                    let arguments = [name, "--start-empty", path.as_str()];
                    self.server.run_inspect(&app.program, &arguments)?;
                }
                1 => loop {
                    let mode = if path.is_directory() {
                        "2770 -d"
                    } else {
                        "660 YOUR-FILE"
                    };
                    self.ui.block(&format!(
                        "sudo install -o {user} -g {group} -m {mode} {shown}"
                    ));
                    if !self.ui.confirm("Is it there now?", true)? {
                        return Err(anyhow!("{shown} is not there yet")
                            .hint(format!("once it is: {continues}")));
                    }
                    if self.server.stat(&target)?.is_some() {
                        break;
                    }
                    self.ui.warn(&format!("{shown} does not exist"));
                },
                _ => {
                    return Err(anyhow!("the settings name {path} inside the release as the database")
                        .hint(format!("have them name a place below os.environ[\"PULLPRAY_SHARED\"], or a server, and push; then: {}", go_on(app))));
                }
            }
        }
        let detail = format!("{}, kept between releases", target.display());
        self.ui.done(Mark::Ok, "database", &detail);
        app.shared_paths.push(path);
        Ok(())
    }

    /// Asks for an answer.
    fn text(
        &mut self,
        prompt: &str,
        default: Option<&str>,
        help: String,
        name: &str,
    ) -> Result<String> {
        let question = ui::Question {
            prompt: prompt.to_owned(),
            default: default.map(str::to_owned),
            help: Some(help),
            shown: None,
        };
        Ok(self.ui.text(&question, &|text| {
            if text.is_empty() {
                return Err("an answer is required".to_owned());
            }
            Answers::check_one(name, text).map_err(|invalid| invalid.to_string())
        })?)
    }
}

/// The app's shared paths and one more, as a flag takes them.
fn with(app: &App, path: &SharedPath) -> String {
    let paths = app.shared_paths.iter().chain([path]);
    paths.map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Whether Django answers a hostname; with `DEBUG` and an empty list it answers localhost.
fn allows(hosts: &[String], host: &str, debug: bool) -> bool {
    let name = host.split(':').next().unwrap_or_default();
    let local = ["localhost", "127.0.0.1"].contains(&name) || name.ends_with(".localhost");
    (debug && hosts.is_empty() && local)
        || hosts.iter().any(|allowed| match allowed.strip_prefix('.') {
            Some(domain) => name == domain || name.ends_with(allowed.as_str()),
            None => allowed == "*" || allowed.eq_ignore_ascii_case(name),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostname_is_allowed_as_django_allows_it() {
        for (hosts, host, debug, expected) in [
            (&["www.example.org"][..], "localhost", false, false),
            (&["www.example.org"], "WWW.example.org", false, true),
            (&[".example.org"], "example.org", false, true),
            (&[".example.org"], "a.example.org", false, true),
            (&[".example.org"], "badexample.org", false, false),
            (&["*"], "localhost", false, true),
            (&[], "localhost", false, false),
            (&[], "localhost", true, true),
        ] {
            let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
            assert_eq!(allows(&hosts, host, debug), expected, "{hosts:?} {host}");
        }
    }
}
