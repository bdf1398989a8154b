//! Files as they land on a server: an app goes in, text comes out.
//!
//! Pure. The templates lie in templates/, one a file, each readable as it will be there.

use std::path::{Path, PathBuf};

use anyhow::Result;
use askama::Template;

use crate::app::{App, Bind, paths};

/// Declares a template with the fields that are worked out for it.
macro_rules! templates {
    ($($file:literal $name:ident { $($field:ident: $kind:ty = $value:expr),* } $function:ident $(#[doc = $doc:literal])+)+) => {
        $(
            #[derive(Template)]
            #[template(path = $file, escape = "none", ext = "txt")]
            struct $name<'a> {
                app: &'a App,
                $($field: $kind,)*
            }

            $(#[doc = $doc])+
            ///
            /// # Errors
            /// When askama cannot render; none is known.
            pub fn $function(app: &App) -> Result<String> {
                let value = |make: fn(&App) -> $name<'_>| make(app).render();
                Ok(value(|app| $name { app, $($field: $value(app)),* })?)
            }
        )+
    };
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn runtime(app: &App) -> String {
    paths::agent_runtime(&app.name)
}
fn agent_socket(app: &App) -> String {
    text(&paths::agent_socket(&app.name))
}
fn shared(app: &App) -> String {
    text(&app.shared())
}
fn current(app: &App) -> String {
    text(&app.current())
}

/// The arguments of systemctl that the sudoers drop-in permits: what is rendered there and what a
/// poll runs are this one list.
#[must_use]
pub fn permitted(app: &App) -> Vec<Vec<String>> {
    let socket = paths::socket_unit(&app.name);
    let service = paths::service_unit(&app.name);
    let words = |verb: &str, units: &[&String]| {
        std::iter::once(verb.to_owned())
            .chain(units.iter().map(|unit| (*unit).clone()))
            .collect()
    };
    vec![
        words("restart", &[&service]),
        words("restart", &[&socket]),
        words("reset-failed", &[&socket, &service]),
    ]
}

fn commands(app: &App) -> Vec<String> {
    permitted(app)
        .iter()
        .map(|arguments| format!("{} {}", app.systemctl.display(), arguments.join(" ")))
        .collect()
}

templates! {
    "sudoers" Sudoers { commands: Vec<String> = commands } sudoers
        /// The sudoers drop-in.
    "cron" Cron {} cron
        /// The cron entry.
    "ssh_config" SshConfig {
        alias: String = App::ssh_alias,
        public_key: String = |app: &App| text(&paths::public_key(&app.name)),
        agent_socket: String = agent_socket,
        known_hosts: &'static str = |_: &App| paths::KNOWN_HOSTS
    } ssh_config
        /// The ssh client's drop-in.
    "ssh-agent.service" AgentService {
        runtime: String = runtime,
        agent_socket: String = agent_socket
    } agent_service
        /// The agent's unit.
    "gunicorn.socket" GunicornSocket {
        unix: bool = |app: &App| matches!(app.bind, Bind::Unix(_))
    } gunicorn_socket
        /// gunicorn's socket unit.
    "gunicorn.service" GunicornService {
        runtime: String = runtime,
        agent_dir: &'static str = |_: &App| paths::AGENT_DIR,
        current: String = current,
        shared: String = shared,
        environment: String = |app: &App| text(&app.environment_file()),
        wsgi: String = |app: &App| app.wsgi.as_ref().map(crate::app::Wsgi::target).unwrap_or_default()
    } gunicorn_service
        /// gunicorn's service unit; it needs the app's WSGI callable.
    "settings.toml" SettingsFile {} settings
        /// The settings file.
    "environment.env" EnvironmentFile {} environment
        /// The environment file as it begins.
    "deploy.sh" DeployScript { shared: String = shared } deploy_script
        /// The deploy script as it begins.
}

/// A line of known_hosts.
#[must_use]
pub fn known_hosts_line(app: &App, key: &str) -> String {
    format!("{} {key}", app.repo.known_hosts_name())
}

/// The title of the deploy key: two servers with the same title would overwrite each other on
/// hosts that know keys by their title.
#[must_use]
pub fn key_title(app: &App, hostname: &str) -> String {
    format!("pullpray {}@{hostname}", app.name)
}

/// Where a release lies.
#[must_use]
pub fn release_dir(app: &App, id: &str) -> PathBuf {
    app.releases().join(id)
}
