//! The files of an app, each with what is asked of the program that reads it.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};

use super::sudo_list;
use crate::app::{App, Facts, Settings};
use crate::host::{Kind, Server, View};
use crate::layout;
use crate::render;

use super::file::{Content, FileStep};
use super::{Changes, CheckContext, Finding, PlanItem, Step, StepId};

fn rendered(text: Result<String>) -> Result<String, (StepId, String)> {
    text.map_err(|error| {
        (
            StepId::ServerProgram,
            format!("the template is broken: {error:#}"),
        )
    })
}

fn file<'a>(
    id: StepId,
    title: &'static str,
    path: impl AsRef<Path>,
    text: Result<String>,
) -> FileStep<'a> {
    FileStep {
        id,
        title,
        path: path.as_ref().to_owned(),
        content: rendered(text),
        kind: Content::Ours,
        mode: 0o644,
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
        needs: Some(Box::new(no_drop_ins)),
        verify: Some(Box::new(|view| verify_alias(view, app))),
        ..file(
            StepId::SshAlias,
            "ssh alias",
            app.ssh_config(),
            render::ssh_config(app),
        )
    }
}

/// What ssh makes of the alias, all its files considered: an Include after a Host that does not
/// match is silently scoped to it, so reading our own file would prove nothing.
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
            if let Some(unread) = no_drop_ins(view)? {
                return Ok(Some(unread));
            }
            return Ok(Some((
                format!(
                    "ssh uses {name} = {is:?} for {}, not {value:?}: another file of the ssh configuration comes first",
                    app.ssh_alias()
                ),
                format!(
                    "ssh -vG {} 2>&1 | grep -i 'applying\\|reading'  # the Include in /etc/ssh/ssh_config must stand before any Host",
                    app.ssh_alias()
                ),
            )));
        }
    }
    Ok(None)
}

/// Whether ssh's own file includes the directory of drop-ins, before the first of its blocks; else why not, and what
/// to do.
fn no_drop_ins(view: &View) -> Result<Option<(String, String)>> {
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
            "ssh does not read {dir}: it must be there, and the Include in {} must stand before any Host",
            file.display()
        ),
        format!("sudo install -d -m 0755 {dir}{include}"),
    )))
}

pub(super) fn agent_unit(app: &App) -> FileStep<'_> {
    unit(
        StepId::AgentUnit,
        "agent unit",
        &layout::agent_unit(&app.name),
        render::agent_service(app),
    )
}

pub(super) fn gunicorn_socket(app: &App) -> FileStep<'_> {
    unit(
        StepId::GunicornSocket,
        "gunicorn socket unit",
        &layout::socket_unit(&app.name),
        render::gunicorn_socket(app),
    )
}

pub(super) fn gunicorn_service(app: &App) -> FileStep<'_> {
    needs_wsgi(
        app,
        unit(
            StepId::GunicornService,
            "gunicorn service unit",
            &layout::service_unit(&app.name),
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
            &layout::trial_unit(&app.name),
            render::gunicorn_trial(app),
        ),
    )
}

fn needs_wsgi<'a>(app: &App, mut step: FileStep<'a>) -> FileStep<'a> {
    if app.wsgi.is_none() {
        step.content = Err((
            StepId::RepoAccess,
            "0644 root; its WSGI module is looked up in the repository".to_owned(),
        ));
    }
    step
}

fn unit<'a>(id: StepId, title: &'static str, name: &str, text: Result<String>) -> FileStep<'a> {
    let unit = name.to_owned();
    FileStep {
        after: Some(Box::new(Server::reload_units)),
        verify: Some(Box::new(move |view| {
            let state = view.unit(&unit)?;
            Ok(match state.load.as_str() {
                "loaded" if !state.needs_reload => None,
                "loaded" => Some((
                    format!("systemd has not read {unit} again since it changed"),
                    "sudo systemctl daemon-reload".to_owned(),
                )),
                other => Some((
                    format!("systemd says of {unit}: {other}"),
                    format!("systemctl status {unit}"),
                )),
            })
        })),
        ..file(id, title, layout::unit_file(name), text)
    }
}

pub(super) fn sudoers(app: &App) -> FileStep<'_> {
    FileStep {
        mode: 0o440,
        before: Some(Box::new(|server, bytes| {
            // visudo looks at owner and mode too, so the candidate gets them, in a place where
            // sudo does not look.
            let candidate = Path::new(layout::SUDOERS_CANDIDATE);
            server.write(candidate, bytes, 0o440, Some((0, 0)))?;
            let complaints = server.sudoers_complaints(Some(candidate));
            server.remove_file(candidate)?;
            match complaints? {
                text if text.is_empty() => Ok(()),
                text => Err(anyhow!("visudo refuses the new file: {text}")),
            }
        })),
        // Duplicate aliases and the like only show in context.
        after: Some(Box::new(|server| {
            match server.sudoers_complaints(None)? {
                text if text.is_empty() => Ok(()),
                text => Err(anyhow!("sudo's configuration as a whole is broken: {text}")),
            }
        })),
        verify: Some(Box::new(|view| verify_sudo(view, app))),
        ..file(
            StepId::SudoRule,
            "sudoers drop-in",
            app.sudoers(),
            render::sudoers(app),
        )
    }
}

/// sudo itself is asked, as the deploy user: whether the rule works, whatever the files say.
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
                    "sudo visudo -c; sudo grep -n includedir /etc/sudoers; sudo chage -l {0}  # it must include /etc/sudoers.d; an account that expired: sudo chage -E -1 {0}",
                    app.user
                ),
            )));
        }
        let rules = match &mut rules {
            Some(rules) => rules,
            none => none.insert(view.sudo_rules(&user)?),
        };
        let words = words.join(" ");
        if let Some(rule) = sudo_list::wants_password(rules, &words) {
            return Ok(Some((
                format!(
                    "sudo asks {} for a password before \"{words}\": a rule that comes after pullpray's counts ({rule})",
                    app.user
                ),
                format!(
                    "sudo grep -rnE '{}|%|ALL' /etc/sudoers /etc/sudoers.d  # that rule must not be for {0}, say NOPASSWD:, or come before {}",
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
        mode: 0o640,
        group: Some(app.group.as_str()),
        ..file(
            StepId::AppEnvironment,
            "environment file",
            app.environment_file(),
            render::environment(app),
        )
    }
}

pub(super) fn deploy_script(app: &App) -> FileStep<'_> {
    FileStep {
        kind: Content::WrittenOnce,
        mode: 0o755,
        ..file(
            StepId::DeployScript,
            "deploy script",
            app.deploy_script(),
            render::deploy_script(app),
        )
    }
}

pub(super) fn cron(app: &App) -> FileStep<'_> {
    FileStep {
        ignored: Some(Box::new(|view| {
            let complaint = view.cron_complaint(&app.cron())?;
            Ok(complaint.map(|why| {
                format!("cron passes it over until it is written again; when it read it: {why}")
            }))
        })),
        verify: Some(Box::new(|view| {
            Ok(if view.cron_runs()? {
                None
            } else {
                Some((
                    "cron does not run, or not after the next boot, so nothing polls".to_owned(),
                    "sudo systemctl enable --now cron".to_owned(),
                ))
            })
        })),
        ..file(
            StepId::ScheduleCron,
            "schedule",
            app.cron(),
            render::cron(app),
        )
    }
}

/// The settings file: it holds as long as it says the same app, however it is laid out, so that
/// the administrator's comments and order stay.
pub(super) struct SettingsFile<'a>(pub(super) &'a App);

impl Step for SettingsFile<'_> {
    fn id(&self) -> StepId {
        StepId::AppSettings
    }
    fn title(&self) -> String {
        "settings file".to_owned()
    }
    fn plan_item(&self) -> PlanItem {
        PlanItem {
            kind: "file",
            what: layout::settings(&self.0.name).display().to_string(),
        }
    }

    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let path = layout::settings(&self.0.name);
        let Some(stat) = context.view.stat(&path)? else {
            return Ok(Finding::Absent("0644 root".to_owned()));
        };
        if stat.kind != Kind::File {
            return Ok(Finding::ManualFix(
                format!("{} is there and is not a file", path.display()),
                format!("sudo mv -T {0} {0}.was", path.display()),
            ));
        }
        if (stat.uid, stat.gid, stat.mode) != (0, 0, 0o644) {
            let is = format!(
                "{:04o} {}:{}",
                stat.mode,
                context.view.user_name(stat.uid),
                context.view.group_name(stat.gid)
            );
            return Ok(Finding::Differs(
                format!("is {is}, should be 0644 root"),
                None,
            ));
        }
        let text = context.view.read_text(&path)?.unwrap_or_default();
        if self.says_the_same(&text) {
            return Ok(Finding::Ok("0644 root".to_owned()));
        }
        let diff = super::file::unified(
            &path.display().to_string(),
            &text,
            &render::settings(self.0)?,
        );
        Ok(Finding::Differs(
            "says something else than was answered".to_owned(),
            Some(diff),
        ))
    }

    fn preview(&self, context: &CheckContext<'_>) -> Result<Option<(PathBuf, String)>> {
        let path = layout::settings(&self.0.name);
        let is = context.view.read_text(&path)?.unwrap_or_default();
        let diff =
            super::file::unified(&path.display().to_string(), &is, &render::settings(self.0)?);
        Ok(Some((path, diff)))
    }

    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        let path = layout::settings(&self.0.name);
        let old = changes.server().read_text(&path)?.unwrap_or_default();
        let text = if self.says_the_same(&old) {
            old
        } else {
            render::settings(self.0)?
        };
        if !self.says_the_same(&text) {
            bail!("the settings file that was rendered does not say what was answered");
        }
        changes.file(&path, text.as_bytes(), 0o644, (0, 0))?;
        // Nothing else says all of it.
        let copy = layout::settings_copy(&self.0.name);
        (changes.server()).write(&copy, text.as_bytes(), 0o600, Some((0, 0)))
    }
}

impl SettingsFile<'_> {
    fn says_the_same(&self, text: &str) -> bool {
        let Ok(settings) = Settings::parse(text) else {
            return false;
        };
        // What a file leaves out is worked out anew; here only what it says counts.
        let facts = Facts {
            program: self.0.program.clone(),
            systemctl: self.0.systemctl.clone(),
            ..Facts::default()
        };
        settings
            .app(&self.0.name, &facts)
            .is_ok_and(|app| app == *self.0)
    }
}
