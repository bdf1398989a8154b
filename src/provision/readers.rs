//! The programs that read the files of an app: what each requires before, and what it says afterwards.

use std::path::Path;

use anyhow::{Result, bail};

use crate::app::App;
use crate::host::{UnitState, View, effective_uid};
use crate::layout::{self, ManagedFile};
use crate::render;

use super::{Changes, Problem, sudo_list};

/// The program that reads a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// None that could be asked.
    Nobody,
    Shell,
    Ssh,
    Systemd,
    Sudo,
    Cron,
}

impl Reader {
    pub(super) fn of(file: ManagedFile) -> Self {
        match file {
            ManagedFile::SshConfig => Self::Ssh,
            ManagedFile::AgentUnit | ManagedFile::SocketUnit => Self::Systemd,
            ManagedFile::OwnSocketUnit | ManagedFile::BridgeSocketUnit => Self::Systemd,
            ManagedFile::BridgeUnit | ManagedFile::ProcessTarget => Self::Systemd,
            ManagedFile::ServiceUnit | ManagedFile::TrialUnit => Self::Systemd,
            ManagedFile::PollService | ManagedFile::PollTimer => Self::Systemd,
            ManagedFile::Sudoers => Self::Sudo,
            ManagedFile::Cron => Self::Cron,
            ManagedFile::DeployScript => Self::Shell,
            ManagedFile::Environment | ManagedFile::Settings => Self::Nobody,
            ManagedFile::KnownHosts | ManagedFile::DataMark => Self::Nobody,
        }
    }

    /// What it lacks to read a file that is not written yet.
    pub(super) fn lacks(self, view: &View) -> Result<Option<Problem>> {
        match self {
            Self::Ssh => missing_include(view),
            Self::Cron if view.has_systemd()? => verify_cron(view),
            Self::Sudo => {
                let complaints = self.complaints(view)?;
                let broken = !complaints.is_empty() && !view.sudo_works()?;
                Ok(broken.then(|| {
                    let why = format!("sudo itself does not work: {complaints}");
                    Problem::new(why, "visudo -c  # as root; names the file and its line")
                }))
            }
            _ => Ok(None),
        }
    }

    /// What the plan adds about a file that is not written yet.
    pub(super) fn remark(self, view: &View) -> String {
        match self.complaints(view) {
            Ok(text) if !text.is_empty() => format!("; about other files, {text}"),
            _ => String::new(),
        }
    }

    /// Its complaints about its configuration as a whole. Those from before a change are not about pullpray's file.
    pub(super) fn complaints(self, view: &View) -> Result<String> {
        match self {
            Self::Sudo if effective_uid() == 0 => view.sudoers_complaints(None),
            _ => Ok(String::new()),
        }
    }

    /// Why a file with this content does nothing, if hardening tools do that to files of its kind.
    pub(super) fn disabled(self, content: &[u8]) -> Option<&'static str> {
        let text = String::from_utf8_lossy(content);
        let mut rules = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'));
        (self == Self::Sudo && !rules.any(|line| line.contains("NOPASSWD:"))).then_some(
            "NOPASSWD: is missing, so no deployment can restart the app; a hardening tool that removes it must exclude this file",
        )
    }

    /// Validates new content before it is in place.
    pub(super) fn validate(self, changes: &Changes<'_>, content: &[u8]) -> Result<()> {
        match self {
            Self::Sudo => changes.validate_sudoers(content),
            Self::Systemd => {
                let text = String::from_utf8_lossy(content);
                let when = text
                    .lines()
                    .find_map(|line| line.strip_prefix("OnCalendar="));
                match when {
                    Some(when) if !changes.context().view.understands_time(when)? => bail!(
                        "systemd does not understand the time of a timer, {when:?} (systemd.time(7)); to try one: systemd-analyze calendar '{when}'"
                    ),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// Makes it read what was written.
    pub(super) fn reload(self, changes: &Changes<'_>, before: &str) -> Result<()> {
        match self {
            Self::Systemd => changes.reload_units(),
            // Errors such as duplicate aliases only show in the whole configuration.
            Self::Sudo => {
                let text = self.complaints(changes.context().view)?;
                let mut complaints = text.split(" / ").filter(|line| !line.is_empty());
                if complaints.all(|line| before.split(" / ").any(|old| old == line)) {
                    return Ok(());
                }
                bail!("the sudo configuration as a whole is invalid: {text}")
            }
            _ => Ok(()),
        }
    }

    /// Why it ignores the file until it is rewritten.
    pub(super) fn ignores(self, view: &View, path: &Path) -> Result<Option<String>> {
        let complaint = match self {
            Self::Cron => view.cron_complaint(path)?,
            _ => None,
        };
        let says = |why| format!("cron ignores it until it is rewritten; cron logged: {why}");
        Ok(complaint.map(says))
    }

    /// Why it does not accept the file that is in place.
    pub(super) fn rejects(self, view: &View, app: &App, path: &Path) -> Result<Option<Problem>> {
        match self {
            Self::Nobody => Ok(None),
            Self::Shell => windows_line_ends(view, path),
            Self::Ssh => verify_alias(view, app),
            Self::Systemd => verify_unit(
                view,
                &path.file_name().unwrap_or_default().to_string_lossy(),
            ),
            Self::Sudo => verify_sudo(view, app),
            Self::Cron => verify_cron(view),
        }
    }
}

fn verify_cron(view: &View) -> Result<Option<Problem>> {
    let Some((unit, state)) = view.cron_unit()? else {
        return Ok(Some(Problem::new(
            "cron is not running or not enabled at boot, so nothing polls",
            "sudo systemctl enable --now cron",
        )));
    };
    Ok(confined(unit, &state))
}

/// Why no deployment that a unit starts can succeed, if its settings forbid it.
pub(super) fn confined(unit: &str, state: &UnitState) -> Option<Problem> {
    let setting = state.confines.first()?;
    // A poll's service ends by itself.
    let restart = if unit.starts_with("pullpray-") {
        String::new()
    } else {
        format!(" && sudo systemctl restart {unit}")
    };
    let dir = format!("/etc/systemd/system/{unit}.d");
    Some(Problem::new(
        format!(
            "{unit} runs with {}, so no deployment that it starts can succeed ({})",
            state.confines.join(" and "),
            state.drop_ins.join(", ")
        ),
        format!(
            "sudo mkdir -p {dir} && printf '[Service]\\n{setting}=no\\n' | sudo tee {dir}/zz-{setting}.conf && sudo systemctl daemon-reload{restart}"
        ),
    ))
}

/// With a carriage return before each line end, no shell runs a script.
fn windows_line_ends(view: &View, script: &Path) -> Result<Option<Problem>> {
    let text = view.read(script)?.unwrap_or_default();
    let script = script.display();
    Ok(text.windows(2).any(|pair| pair == b"\r\n").then(|| {
        Problem::new(
            format!("{script} has Windows line ends (CRLF), with which no shell runs it"),
            format!("sudo sed -i 's/\\r$//' {script}"),
        )
    }))
}

fn verify_unit(view: &View, unit: &str) -> Result<Option<Problem>> {
    let state = view.unit(unit)?;
    Ok(match state.load.as_str() {
        "loaded" if !state.needs_reload => None,
        "loaded" => Some(Problem::new(
            format!("{unit} changed on disk and systemd has not reloaded it"),
            "sudo systemctl daemon-reload",
        )),
        other => Some(Problem::new(
            format!("systemd reports {unit} as {other}"),
            format!("systemctl status {unit}"),
        )),
    })
}

/// Verifies the effective options with `ssh -G`: an Include after a Host block that does not match is silently
/// ignored, so reading the file itself would prove nothing.
fn verify_alias(view: &View, app: &App) -> Result<Option<Problem>> {
    let alias = app.ssh_alias();
    // Root can read what the account cannot.
    let reader = view.identity(app.user.as_str()).ok();
    let reader = reader.filter(|_| effective_uid() == 0);
    let options = match view.ssh_effective(&alias, reader.as_ref()) {
        Ok(options) => options,
        Err(error) => {
            return Ok(Some(Problem::new(
                format!("{}'s ssh cannot use its configuration: {error:#}", app.user),
                format!("sudo -u {} ssh -G {alias}", app.user),
            )));
        }
    };
    let socket = layout::agent_socket(&app.name).display().to_string();
    let known_hosts = layout::known_hosts(&app.name).display().to_string();
    let wanted = [
        ("identitiesonly", "yes"),
        ("identityagent", &socket),
        ("userknownhostsfile", &known_hosts),
        ("stricthostkeychecking", "true"),
        ("batchmode", "yes"),
        ("user", app.repo.user()),
    ];
    let is = |name: &str| {
        options
            .get(name)
            .map_or_else(String::new, |is| is.join(" "))
    };
    let Some((name, value)) = wanted.into_iter().find(|(name, value)| is(name) != *value) else {
        return Ok(None);
    };
    if let Some(problem) = missing_include(view)? {
        return Ok(Some(problem));
    }
    let is = is(name);
    Ok(Some(Problem::new(
        format!(
            "ssh uses {name} = {is:?} for {alias}, not {value:?}: another ssh configuration file takes precedence"
        ),
        format!(
            "ssh -vG {alias} 2>&1 | grep -i 'applying\\|reading'  # the Include in /etc/ssh/ssh_config must come before any Host"
        ),
    )))
}

/// `None` if ssh_config includes the directory of drop-ins before its first block; otherwise why not, and a command.
fn missing_include(view: &View) -> Result<Option<Problem>> {
    let (dir, file) = (layout::SSH_CONFIG_DIR, "/etc/ssh/ssh_config");
    let text = view.read_text(Path::new(file))?.unwrap_or_default();
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
        format!(" && echo '{line}' | sudo tee {file}")
    } else {
        format!(" && sudo sed -i '1i {line}' {file}")
    };
    Ok(Some(Problem::new(
        format!(
            "ssh does not read {dir}: the directory must exist, and {file} must include it before any Host"
        ),
        format!("sudo install -d -m 0755 {dir}{include}"),
    )))
}

/// Verifies the rule by running sudo as the deploy user, whatever the files say.
fn verify_sudo(view: &View, app: &App) -> Result<Option<Problem>> {
    if view.user(app.user.as_str()).is_none() {
        return Ok(None);
    }
    let (user, identity) = (&app.user, view.identity(app.user.as_str())?);
    let mut rules = None;
    for words in render::permitted(app) {
        let (command, words) = (words.join(" "), words.iter().map(String::as_str));
        if let Some(said) = view.sudo_refusal(&identity, &words.collect::<Vec<_>>())? {
            let said = if said.is_empty() {
                said
            } else {
                format!(": {said}")
            };
            return Ok(Some(Problem::new(
                format!("sudo does not let {user} run \"{command}\" without a password{said}"),
                format!(
                    "sudo visudo -c; sudo grep -rnE 'includedir|requiretty' /etc/sudoers /etc/sudoers.d; sudo chage -l {user}; ls /etc/nologin  # must include /etc/sudoers.d; if the account has expired: sudo chage -E -1 {user}; /etc/nologin stops sudo too"
                ),
            )));
        }
        let rules = match &mut rules {
            Some(rules) => rules,
            none => none.insert(view.sudo_rules(&identity)?),
        };
        if let Some(rule) = sudo_list::rule_requiring_password(rules, &command) {
            let file = app.sudoers();
            return Ok(Some(Problem::new(
                format!(
                    "sudo asks {user} for a password before \"{command}\": a later rule overrides pullpray's ({rule})"
                ),
                format!(
                    "sudo grep -rnE '{user}|%|ALL' /etc/sudoers /etc/sudoers.d  # that rule must not apply to {user}, must set NOPASSWD:, or must come before {}",
                    file.display()
                ),
            )));
        }
    }
    Ok(None)
}
