//! Renders the files of an app from the templates in templates/, one per file.
//!
//! Pure: no input or output.

use std::path::Path;

use anyhow::Result;
use askama::Template;

use crate::app::{App, AppName, Proxy, RepoUrl, SshHost};
use crate::layout;

/// Declares templates, each with its computed fields and a render function.
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
            /// When askama fails to render; no case is known.
            pub fn $function(app: &App) -> Result<String> {
                let value = |make: fn(&App) -> $name<'_>| make(app).render();
                // askama drops a template's last newline, and cron ignores a file without one.
                Ok(value(|app| $name { app, $($field: $value(app)),* })? + "\n")
            }
        )+
    };
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn runtime(app: &App) -> String {
    layout::agent_runtime(&app.name)
}
fn agent_socket(app: &App) -> String {
    text(&layout::agent_socket(&app.name))
}
fn shared(app: &App) -> String {
    text(&app.shared())
}

/// The command of the tests as a string of TOML.
fn tests(app: &App) -> Option<String> {
    let tests = app.limits.tests.clone()?;
    Some(toml::Value::from(tests).to_string())
}

/// The lines of the settings with credentials, or examples.
fn credentials(app: &App) -> String {
    let mut lines = String::new();
    for (key, encrypted, example) in [
        ("credentials", false, "/etc/credstore"),
        ("credentials_encrypted", true, "/etc/credstore.encrypted"),
    ] {
        let all = app.limits.credentials.iter();
        let entries: Vec<String> = all
            .filter(|(_, it)| it.encrypted == encrypted)
            .map(|(name, it)| format!("{name} = \"{}\"", it.path))
            .collect();
        let line = match entries.join(", ") {
            none if none.is_empty() => {
                format!(
                    "# {key} = {{ secret = \"{example}/{}.secret\" }}\n",
                    app.name
                )
            }
            entries => format!("{key} = {{ {entries} }}\n"),
        };
        lines.push_str(&line);
    }
    lines
}

fn wants(app: &App) -> String {
    app.process_units().collect::<Vec<_>>().join(" ")
}

/// Options of ssh_config(5) for this app, with their values. They are in the alias, for people, and on the command
/// line of every ssh that pullpray runs: the first value wins, so a `Host *` in a file that sorts earlier could
/// otherwise disable host key pinning, select another key, share another app's connection, or hide ssh's messages.
/// `HostName`, `Port` and the proxy stay open to such a file unless the settings say them: the host key is looked up by
/// its alias.
#[must_use]
pub fn ssh_options(app: &App) -> Vec<(&'static str, String)> {
    let own = [
        ("IdentityFile", text(&layout::public_key(&app.name))),
        // Exists only during a rotation.
        ("IdentityFile", text(&layout::next_public_key(&app.name))),
        ("IdentityAgent", text(&layout::agent_socket(&app.name))),
        ("UserKnownHostsFile", text(&layout::known_hosts(&app.name))),
        ("HostKeyAlias", app.repo.known_hosts_name()),
        ("User", app.repo.user().to_owned()),
    ];
    let fixed = FIXED_SSH_OPTIONS.map(|(name, value)| (name, value.to_owned()));
    let way = way(
        app.proxy.as_ref(),
        app.ssh_host.as_ref(),
        &app.program,
        Some(&app.name),
    );
    own.into_iter().chain(fixed).chain(way).collect()
}

/// The options for a proxy and for another address of the host.
fn way(
    proxy: Option<&Proxy>,
    host: Option<&SshHost>,
    program: &Path,
    app: Option<&AppName>,
) -> Vec<(&'static str, String)> {
    let place = host.map(|it| [("HostName", it.host.clone()), ("Port", it.port.to_string())]);
    let proxy = proxy.map(|proxy| proxy.option(program, app));
    place.into_iter().flatten().chain(proxy).collect()
}

/// The ssh options that are the same for every app.
const FIXED_SSH_OPTIONS: [(&str, &str); 29] = [
    ("IdentitiesOnly", "yes"),
    ("PubkeyAuthentication", "yes"),
    ("PreferredAuthentications", "publickey"),
    ("GlobalKnownHostsFile", "none"),
    ("KnownHostsCommand", "none"),
    ("StrictHostKeyChecking", "yes"),
    ("VerifyHostKeyDNS", "no"),
    ("CanonicalizeHostname", "no"),
    ("NoHostAuthenticationForLocalhost", "no"),
    ("UpdateHostKeys", "no"),
    ("BatchMode", "yes"),
    ("ControlMaster", "no"),
    ("ControlPath", "none"),
    ("RemoteCommand", "none"),
    ("PermitLocalCommand", "no"),
    ("SessionType", "default"),
    ("ForkAfterAuthentication", "no"),
    ("StdinNull", "no"),
    ("RequestTTY", "no"),
    ("ForwardAgent", "no"),
    ("ForwardX11", "no"),
    ("ClearAllForwardings", "yes"),
    ("Tunnel", "no"),
    ("AddKeysToAgent", "no"),
    ("PKCS11Provider", "none"),
    ("LogLevel", "INFO"),
    ("ConnectTimeout", "15"),
    ("ServerAliveInterval", "15"),
    ("ServerAliveCountMax", "3"),
];

/// The ssh options, each as an argument of `ssh -o`.
#[must_use]
pub fn ssh_arguments(app: &App) -> Vec<String> {
    let options = ssh_options(app).into_iter();
    options
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

/// The arguments of `ssh -o` for a repository's host before there is an app.
#[must_use]
pub fn ssh_arguments_for(
    repo: &RepoUrl,
    proxy: Option<&Proxy>,
    host: Option<&SshHost>,
    program: &Path,
) -> Vec<String> {
    let fixed = FIXED_SSH_OPTIONS.map(|(name, value)| format!("{name}={value}"));
    let user = format!("User={}", repo.user());
    let way = way(proxy, host, program, None).into_iter();
    let way = way.map(|(name, value)| format!("{name}={value}"));
    fixed.into_iter().chain([user]).chain(way).collect()
}

mod gunicorn;
mod process;
mod sudo;

pub use sudo::{SudoCommand, permitted};

pub use process::{process_service, process_timer, sandbox};

pub use gunicorn::{
    bridge, bridge_socket, gunicorn_service, gunicorn_socket, gunicorn_trial, own_socket,
};

templates! {
    "sudoers" Sudoers { commands: Vec<String> = sudo::commands } sudoers
        /// The sudoers drop-in.
    "cron" Cron {} cron
        /// The cron entry.
    "poll.service" PollService {} poll_service
        /// The service of a poll that a timer starts.
    "poll.timer" PollTimer {
        every: u64 = |app: &App| app.schedule.timer().unwrap_or_default()
    } poll_timer
        /// The timer of the polls.
    "ssh_config" SshConfig {
        alias: String = App::ssh_alias,
        options: Vec<(&'static str, String)> = ssh_options
    } ssh_config
        /// The ssh client drop-in.
    "ssh-agent.service" AgentService {
        runtime: String = runtime,
        agent_socket: String = agent_socket,
        cron: String = |app: &App| text(&app.cron())
    } agent_service
        /// The agent unit.
    "process.target" ProcessTarget { wants: String = wants } process_target
        /// The target of the processes beside web.
    "settings.toml" SettingsFile { credentials: String = credentials, tests: Option<String> = tests } settings
        /// The settings file.
    "environment.env" EnvironmentFile {} environment
        /// The initial environment file.
    "deploy.sh" DeployScript { shared: String = shared } deploy_script
        /// The initial deploy script.
}

/// A line of known_hosts.
#[must_use]
pub fn known_hosts_line(app: &App, key: &str) -> String {
    format!("{} {key}", app.repo.known_hosts_name())
}

/// A line of authorized_keys(5) that lets the deploy key read the repository and nothing else, for a host that is a
/// plain sshd.
#[must_use]
pub fn authorized_keys_line(app: &App, key: &str) -> String {
    let path = app.repo.path();
    format!("restrict,command=\"git-upload-pack '{path}'\" {key}")
}

/// Title of the deploy key. It contains the hostname, because some hosts identify keys by title, so that two
/// servers would overwrite each other's key.
#[must_use]
pub fn key_title(app: &App, hostname: &str) -> String {
    format!("pullpray {}@{hostname}", app.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{Answers, Facts, Limits, Settings};

    fn app(more: &[(&str, &str)]) -> Result<App> {
        let mut answers = Answers::default();
        answers.set("repo", "git@github.com:acme/todo.git");
        answers.set("wsgi", "todo.wsgi");
        answers.set("settings", "todo.settings");
        for (name, text) in more {
            answers.set(name, text);
        }
        let facts = Facts {
            processors: 2,
            program: "/usr/local/bin/pullpray".into(),
            systemctl: "/usr/bin/systemctl".into(),
            ..Facts::default()
        };
        answers
            .parse(&facts, Limits::default())
            .map_err(|problems| anyhow::anyhow!("{problems:?}"))
    }

    #[test]
    fn files_end_with_one_newline_and_start_with_text() -> Result<()> {
        for app in [
            app(&[])?,
            app(&[
                ("bind", "/run/todo.sock"),
                ("operator", "ann"),
                ("shared_paths", "db.sqlite3,media/"),
            ])?,
        ] {
            for render in [
                sudoers,
                cron,
                poll_service,
                poll_timer,
                ssh_config,
                agent_service,
                gunicorn_socket,
                gunicorn_service,
                settings,
                environment,
                deploy_script,
            ] {
                let text = render(&app)?;
                assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{text}");
                assert!(!text.starts_with('\n'), "{text}");
            }
        }
        Ok(())
    }

    use crate::app::Credential;

    #[test]
    fn rendered_settings_parse_to_the_same_app() -> Result<()> {
        for more in [
            &[][..],
            &[
                ("bind", "/run/todo.sock"),
                ("operator", "ann"),
                ("shared_paths", "db.sqlite3,media/"),
                ("schedule", "0 7 * * mon-fri"),
                ("tag", "release-?.*"),
                ("proxy", "nc -X connect -x proxy:3128 %h %p # '$x'"),
            ],
            &[
                ("proxy", "http://me:s3cret%2C$x@proxy:3128"),
                ("ssh_host", "ssh.github.com:443"),
            ],
            &[
                ("commit", "0123456789abcdef0123456789abcdef01234567"),
                ("schedule", "90s"),
            ],
        ] {
            let mut app = app(more)?;
            if !more.is_empty() {
                app.limits.allow_rewind = false;
                app.subdir = Some("backend/".parse()?);
                app.limits.paths = vec!["backend/".parse()?, "lib".parse()?];
                app.limits.timers = [("tick".parse()?, "Mon *-*-* 03:00".parse()?)].into();
                app.limits.credentials = ["one", "two", "three"]
                    .map(|name| {
                        let path = "/etc/credstore/x".parse().expect("a path");
                        let encrypted = name == "two";
                        (name.to_owned(), Credential { path, encrypted })
                    })
                    .into();
                app.limits.signed_by = vec!["/etc/a.signers".parse()?, "/etc/b.gpg".parse()?];
                app.limits.deploy_window = Some("Mon,Fri 22:00-05:00, Sun 1:00-2:00".parse()?);
            }
            let facts = Facts {
                program: app.program.clone(),
                systemctl: app.systemctl.clone(),
                ..Facts::default()
            };
            let again = Settings::parse(&settings(&app)?)?.app(&app.name, &facts);
            assert_eq!(
                again.map_err(|problems| anyhow::anyhow!("{problems:?}"))?,
                app
            );
        }
        Ok(())
    }

    #[test]
    fn sudoers_permits_exactly_the_commands_of_a_poll() -> Result<()> {
        let text = sudoers(&app(&[])?)?;
        let rule: String = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .collect::<Vec<_>>()
            .join("\n");
        assert_eq!(
            rule,
            "Defaults:gunicorn !requiretty, listpw=never\ngunicorn ALL=(root) NOPASSWD: /usr/bin/systemctl restart gunicorn.todo.service, \\\n    /usr/bin/systemctl restart gunicorn.todo.socket, \\\n    /usr/bin/systemctl reset-failed gunicorn.todo.socket gunicorn.todo.service, \\\n    /usr/bin/systemctl restart gunicorn.todo.bridge.service, \\\n    /usr/bin/systemctl stop gunicorn.todo.bridge.socket gunicorn.todo.bridge.service, \\\n    /usr/bin/systemctl restart gunicorn.todo.trial.service, \\\n    /usr/bin/systemctl stop gunicorn.todo.trial.service, \\\n    /usr/bin/systemctl status --no-pager -n 200 -o cat gunicorn.todo.service, \\\n    /usr/bin/systemctl status --no-pager -n 200 -o cat gunicorn.todo.bridge.service, \\\n    /usr/bin/systemctl status --no-pager -n 200 -o cat gunicorn.todo.trial.service"
        );
        Ok(())
    }
}
