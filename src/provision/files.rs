//! The files of an app, each with its verification by the program that reads it.

use std::path::Path;

use anyhow::{Result, anyhow};

use super::sudo_list;
use crate::app::App;
use crate::host::{Server, View};
use crate::layout::{self, ManagedFile};
use crate::render;

use super::StepId;
use super::file::{Content, FileStep};

fn rendered(text: Result<String>) -> Result<String, (StepId, String)> {
    text.map_err(|error| {
        (
            StepId::ServerProgram,
            format!("failed to render the template: {error:#}"),
        )
    })
}

fn file<'a>(
    id: StepId,
    title: &'static str,
    app: &App,
    file: ManagedFile,
    text: Result<String>,
) -> FileStep<'a> {
    FileStep {
        id,
        title,
        path: file.path(app),
        content: rendered(text),
        kind: Content::Ours,
        mode: file.mode(),
        group: None,
        needs: None,
        before: None,
        after: None,
        ignored: None,
        verify: None,
    }
}

pub(super) fn ssh_alias(app: &App) -> FileStep<'_> {
    FileStep {
        needs: Some(Box::new(missing_include)),
        verify: Some(Box::new(|view| verify_alias(view, app))),
        ..file(
            StepId::SshAlias,
            "ssh alias",
            app,
            ManagedFile::SshConfig,
            render::ssh_config(app),
        )
    }
}

/// Verifies the effective options with `ssh -G`: an Include after a Host block that does not match is silently
/// ignored, so reading the file itself would prove nothing.
fn verify_alias(view: &View, app: &App) -> Result<Option<(String, String)>> {
    let options = view.ssh_effective(&app.ssh_alias(), None)?;
    let wanted = [
        ("identitiesonly", "yes".to_owned()),
        (
            "identityagent",
            layout::agent_socket(&app.name).display().to_string(),
        ),
        (
            "userknownhostsfile",
            layout::known_hosts(&app.name).display().to_string(),
        ),
        ("stricthostkeychecking", "true".to_owned()),
        ("batchmode", "yes".to_owned()),
        ("user", app.repo.user().to_owned()),
    ];
    for (name, value) in wanted {
        let is = options
            .get(name)
            .map(|values| values.join(" "))
            .unwrap_or_default();
        if is != value {
            if let Some(problem) = missing_include(view)? {
                return Ok(Some(problem));
            }
            return Ok(Some((
                format!(
                    "ssh uses {name} = {is:?} for {}, not {value:?}: another ssh configuration file takes precedence",
                    app.ssh_alias()
                ),
                format!(
                    "ssh -vG {} 2>&1 | grep -i 'applying\\|reading'  # the Include in /etc/ssh/ssh_config must come before any Host",
                    app.ssh_alias()
                ),
            )));
        }
    }
    Ok(None)
}

/// `None` if ssh_config includes the directory of drop-ins before its first block; otherwise why not, and a command.
fn missing_include(view: &View) -> Result<Option<(String, String)>> {
    let (dir, file) = (layout::SSH_CONFIG_DIR, Path::new("/etc/ssh/ssh_config"));
    let text = view.read_text(file)?.unwrap_or_default();
    let words = |line: &str| line.trim().replace('=', " ").to_ascii_lowercase();
    let included = (text.lines().map(words))
        .take_while(|line| !line.starts_with("host ") && !line.starts_with("match "))
        .any(|line| line.starts_with("include ") && line.contains("ssh_config.d/"));
    if included && view.stat_target(Path::new(dir))?.is_some() {
        return Ok(None);
    }
    let line = format!("Include {dir}/*.conf");
    let include = if included {
        String::new()
    } else if text.is_empty() {
        format!(" && echo '{line}' | sudo tee {}", file.display())
    } else {
        format!(" && sudo sed -i '1i {line}' {}", file.display())
    };
    Ok(Some((
        format!(
            "ssh does not read {dir}: the directory must exist, and {} must include it before any Host",
            file.display()
        ),
        format!("sudo install -d -m 0755 {dir}{include}"),
    )))
}

pub(super) fn agent_unit(app: &App) -> FileStep<'_> {
    unit(
        StepId::AgentUnit,
        "agent unit",
        app,
        ManagedFile::AgentUnit,
        layout::agent_unit(&app.name),
        render::agent_service(app),
    )
}

pub(super) fn gunicorn_socket(app: &App) -> FileStep<'_> {
    unit(
        StepId::GunicornSocket,
        "gunicorn socket unit",
        app,
        ManagedFile::SocketUnit,
        layout::socket_unit(&app.name),
        render::gunicorn_socket(app),
    )
}

pub(super) fn gunicorn_service(app: &App) -> FileStep<'_> {
    needs_wsgi(
        app,
        unit(
            StepId::GunicornService,
            "gunicorn service unit",
            app,
            ManagedFile::ServiceUnit,
            layout::service_unit(&app.name),
            render::gunicorn_service(app),
        ),
    )
}

pub(super) fn gunicorn_trial(app: &App) -> FileStep<'_> {
    needs_wsgi(
        app,
        unit(
            StepId::GunicornTrial,
            "trial unit",
            app,
            ManagedFile::TrialUnit,
            layout::trial_unit(&app.name),
            render::gunicorn_trial(app),
        ),
    )
}

fn needs_wsgi<'a>(app: &App, mut step: FileStep<'a>) -> FileStep<'a> {
    if app.wsgi.is_none() {
        step.content = Err((
            StepId::RepoAccess,
            "0644 root; the WSGI module is read from the repository".to_owned(),
        ));
    }
    step
}

fn unit<'a>(
    id: StepId,
    title: &'static str,
    app: &App,
    file: ManagedFile,
    unit: String,
    text: Result<String>,
) -> FileStep<'a> {
    FileStep {
        after: Some(Box::new(Server::reload_units)),
        verify: Some(Box::new(move |view| {
            let state = view.unit(&unit)?;
            Ok(match state.load.as_str() {
                "loaded" if !state.needs_reload => None,
                "loaded" => Some((
                    format!("{unit} changed on disk and systemd has not reloaded it"),
                    "sudo systemctl daemon-reload".to_owned(),
                )),
                other => Some((
                    format!("systemd reports {unit} as {other}"),
                    format!("systemctl status {unit}"),
                )),
            })
        })),
        ..self::file(id, title, app, file, text)
    }
}

pub(super) fn sudoers(app: &App) -> FileStep<'_> {
    FileStep {
        before: Some(Box::new(|server, bytes| {
            // visudo checks owner and mode too, so the candidate gets them, in a directory that sudo
            // does not read.
            let candidate = Path::new(layout::SUDOERS_CANDIDATE);
            server.write(candidate, bytes, 0o440, Some((0, 0)))?;
            let complaints = server.sudoers_complaints(Some(candidate));
            server.remove_file(candidate)?;
            match complaints? {
                text if text.is_empty() => Ok(()),
                text => Err(anyhow!("visudo rejects the new file: {text}")),
            }
        })),
        // Errors such as duplicate aliases only show in the whole configuration.
        after: Some(Box::new(|server| {
            match server.sudoers_complaints(None)? {
                text if text.is_empty() => Ok(()),
                text => Err(anyhow!(
                    "the sudo configuration as a whole is invalid: {text}"
                )),
            }
        })),
        verify: Some(Box::new(|view| verify_sudo(view, app))),
        ..file(
            StepId::SudoRule,
            "sudoers drop-in",
            app,
            ManagedFile::Sudoers,
            render::sudoers(app),
        )
    }
}

/// Verifies the rule by running sudo as the deploy user, whatever the files say.
fn verify_sudo(view: &View, app: &App) -> Result<Option<(String, String)>> {
    if view.user(app.user.as_str()).is_none() {
        return Ok(None);
    }
    let user = view.identity(app.user.as_str())?;
    let mut rules = None;
    for arguments in render::permitted(app) {
        let mut words = vec![app.systemctl.to_string_lossy().into_owned()];
        words.extend(arguments);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if !view.sudo_allows(&user, &words)? {
            return Ok(Some((
                format!(
                    "sudo does not let {} run \"{}\" without a password",
                    app.user,
                    words.join(" ")
                ),
                format!(
                    "sudo visudo -c; sudo grep -n includedir /etc/sudoers; sudo chage -l {0}  # must include /etc/sudoers.d; if the account has expired: sudo chage -E -1 {0}",
                    app.user
                ),
            )));
        }
        let rules = match &mut rules {
            Some(rules) => rules,
            none => none.insert(view.sudo_rules(&user)?),
        };
        let words = words.join(" ");
        if let Some(rule) = sudo_list::rule_requiring_password(rules, &words) {
            return Ok(Some((
                format!(
                    "sudo asks {} for a password before \"{words}\": a later rule overrides pullpray's ({rule})",
                    app.user
                ),
                format!(
                    "sudo grep -rnE '{}|%|ALL' /etc/sudoers /etc/sudoers.d  # that rule must not apply to {0}, must set NOPASSWD:, or must come before {}",
                    app.user,
                    app.sudoers().display()
                ),
            )));
        }
    }
    Ok(None)
}

pub(super) fn environment(app: &App) -> FileStep<'_> {
    FileStep {
        kind: Content::WrittenOnce,
        group: Some(app.group.as_str()),
        ..file(
            StepId::AppEnvironment,
            "environment file",
            app,
            ManagedFile::Environment,
            render::environment(app),
        )
    }
}

pub(super) fn deploy_script(app: &App) -> FileStep<'_> {
    FileStep {
        kind: Content::WrittenOnce,
        ..file(
            StepId::DeployScript,
            "deploy script",
            app,
            ManagedFile::DeployScript,
            render::deploy_script(app),
        )
    }
}

pub(super) fn cron(app: &App) -> FileStep<'_> {
    FileStep {
        ignored: Some(Box::new(|view| {
            let complaint = view.cron_complaint(&app.cron())?;
            Ok(complaint
                .map(|why| format!("cron ignores it until it is rewritten; cron logged: {why}")))
        })),
        verify: Some(Box::new(|view| {
            Ok(if view.cron_runs()? {
                None
            } else {
                Some((
                    "cron is not running or not enabled at boot, so nothing polls".to_owned(),
                    "sudo systemctl enable --now cron".to_owned(),
                ))
            })
        })),
        ..file(
            StepId::ScheduleCron,
            "schedule",
            app,
            ManagedFile::Cron,
            render::cron(app),
        )
    }
}
