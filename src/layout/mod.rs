//! Paths of an app on the server: each is defined here once.

use std::path::{Path, PathBuf};

use crate::app::{App, AppName, ProcessName};

mod managed;
mod polls;
pub mod reserved;

pub use managed::{ManagedFile, read_by_root};
pub use polls::poll_units;

/// Directory of the settings and environment files of all apps.
pub const SETTINGS_DIR: &str = "/etc/pullpray";
/// Directory of the administrator's hooks: EVENT for all apps, or APP/EVENT.
pub const HOOKS_DIR: &str = "/etc/pullpray/hooks";
/// Directory of the deploy scripts, one directory per app.
pub const POLLERS_DIR: &str = "/opt/git_pollers";
/// Directory of the agents' files: deploy keys and pinned host keys.
pub const AGENT_DIR: &str = "/etc/ssh-agent-service";
/// Directory of the deploy keys; only root can read the private ones.
pub const KEYS_DIR: &str = "/etc/ssh-agent-service/deploy-keys";
/// Directory of the apps' mirrors, ledgers and logs.
pub const STATE_DIR: &str = "/var/lib/pullpray";
/// The directories that all apps share.
pub const SHARED_DIRS: [&str; 4] = [SETTINGS_DIR, AGENT_DIR, KEYS_DIR, STATE_DIR];
/// Directory of the receipts, one file per app.
pub const RECEIPTS_DIR: &str = "/var/lib/pullpray/receipts";
/// File name of the mark in the directories with an app's data.
pub const MARK: &str = ".pullpray";
/// Path at which a sudoers drop-in is validated before sudo reads it.
pub const SUDOERS_CANDIDATE: &str = "/var/lib/pullpray/receipts/.sudoers-candidate";
/// Directory of ssh client drop-ins, which Debian's ssh_config includes.
pub const SSH_CONFIG_DIR: &str = "/etc/ssh/ssh_config.d";
/// Directory of the administrator's units (systemd.unit(5), "Unit File Load Path").
pub const UNITS_DIR: &str = "/etc/systemd/system";

/// The settings file of an app.
#[must_use]
pub fn settings(app: &AppName) -> PathBuf {
    Path::new(SETTINGS_DIR).join(format!("{app}.toml"))
}
/// The known_hosts file of an app. Each app has its own: in a shared file the app set up last would decide which
/// host key the others trust.
#[must_use]
pub fn known_hosts(app: &AppName) -> PathBuf {
    Path::new(AGENT_DIR).join(format!("{app}.known_hosts"))
}
/// Root's copy of the mark in the app's data directories.
#[must_use]
pub fn data(app: &AppName) -> PathBuf {
    Path::new(SETTINGS_DIR).join(format!("{app}.data"))
}
/// The digest of the error that cron's polls have reported. A reboot clears it, and its disk is never the missing one.
#[must_use]
pub fn error_reported(app: &AppName) -> PathBuf {
    Path::new("/run/lock").join(format!("pullpray.{app}"))
}
/// What was reported of the app's state, while that cannot be written to the disk.
#[must_use]
pub fn notices_of_this_boot(app: &AppName) -> PathBuf {
    Path::new("/run/lock").join(format!("pullpray.{app}.notices"))
}
/// The receipt of an app: the record of what init changed.
#[must_use]
pub fn receipt(app: &AppName) -> PathBuf {
    Path::new(RECEIPTS_DIR).join(format!("{app}.jsonl"))
}
/// Backups of what init replaced for an app.
#[must_use]
pub fn backups(app: &AppName) -> PathBuf {
    Path::new(RECEIPTS_DIR).join(format!("{app}.replaced"))
}
/// Whether cron, sudo, systemd or ssh apply a file as long as it is there, without pullpray.
#[must_use]
pub fn works_by_itself(path: &Path) -> bool {
    ["/etc/cron.d", "/etc/sudoers.d", UNITS_DIR, SSH_CONFIG_DIR]
        .iter()
        .any(|dir| path.starts_with(dir))
}
/// Copy of the settings as init last wrote them.
#[must_use]
pub fn settings_copy(app: &AppName) -> PathBuf {
    Path::new(RECEIPTS_DIR).join(format!("{app}.toml"))
}
/// Directory of an app's mirror, ledger and logs; a poll locks it.
#[must_use]
pub fn state(app: &AppName) -> PathBuf {
    Path::new(STATE_DIR).join(app.as_str())
}
/// Target of `current`, relative to the project directory.
#[must_use]
pub fn release_link(id: &str) -> PathBuf {
    Path::new("releases").join(id)
}
/// The ledger: what was deployed, what failed, whether deployments are paused.
#[must_use]
pub fn ledger(app: &AppName) -> PathBuf {
    state(app).join("ledger.json")
}
/// The bare local repository.
#[must_use]
pub fn mirror(app: &AppName) -> PathBuf {
    state(app).join("mirror.git")
}
/// The logs of deployments.
#[must_use]
pub fn logs(app: &AppName) -> PathBuf {
    state(app).join("log")
}
/// What was reported of the app's state, and what could not be delivered yet.
#[must_use]
pub fn notices(app: &AppName) -> PathBuf {
    state(app).join("notices.json")
}
/// A directory that is locked while notices are sent.
#[must_use]
pub fn notices_lock(app: &AppName) -> PathBuf {
    state(app).join("notices")
}
/// An empty file whose time of modification is that of the last heartbeat.
#[must_use]
pub fn heartbeat(app: &AppName) -> PathBuf {
    state(app).join("heartbeat")
}
/// The unit of the app's ssh-agent.
#[must_use]
pub fn agent_unit(app: &AppName) -> String {
    format!("ssh-agent.{app}.service")
}
/// The name of the agent's directory under /run.
#[must_use]
pub fn agent_runtime(app: &AppName) -> String {
    format!("ssh-agent.{app}")
}
/// The agent's socket.
#[must_use]
pub fn agent_socket(app: &AppName) -> PathBuf {
    Path::new("/run")
        .join(agent_runtime(app))
        .join("agent.sock")
}
/// The private deploy key. The name is the same for an RSA key.
#[must_use]
pub fn private_key(app: &AppName) -> PathBuf {
    Path::new(KEYS_DIR).join(format!("{app}_ed25519"))
}
/// Where ssh-keygen writes a key that pullpray then moves to its place; `.pub` is added to it.
#[must_use]
pub fn generated_key(app: &AppName) -> PathBuf {
    Path::new("/run").join(format!("pullpray-{app}-key"))
}
/// The public half, with which the ssh client selects the key.
#[must_use]
pub fn public_key(app: &AppName) -> PathBuf {
    Path::new(KEYS_DIR).join(format!("{app}_ed25519.pub"))
}
/// The private key that replaces the deploy key during a rotation.
#[must_use]
pub fn next_private_key(app: &AppName) -> PathBuf {
    Path::new(KEYS_DIR).join(format!("{app}_ed25519.next"))
}
/// Its public half.
#[must_use]
pub fn next_public_key(app: &AppName) -> PathBuf {
    Path::new(KEYS_DIR).join(format!("{app}_ed25519.next.pub"))
}
/// An empty file whose time of modification is that of the git host's last answer, to a poll by the scheduler, cron or a timer, or by hand.
#[must_use]
pub fn answered(app: &AppName, by_cron: bool) -> PathBuf {
    let whose = if by_cron { "cron" } else { "hand" };
    state(app).join(format!("answered-by-{whose}"))
}
/// gunicorn's socket unit.
#[must_use]
pub fn socket_unit(app: &AppName) -> String {
    format!("gunicorn.{app}.socket")
}
/// gunicorn's service unit.
#[must_use]
pub fn service_unit(app: &AppName) -> String {
    format!("gunicorn.{app}.service")
}
/// The unit that runs a new release for its health check before activation.
#[must_use]
pub fn trial_unit(app: &AppName) -> String {
    format!("gunicorn.{app}.trial.service")
}
/// The name of the trial's directory under /run.
#[must_use]
pub fn trial_runtime(app: &AppName) -> String {
    format!("gunicorn.{app}.trial")
}
/// The second instance that serves on the app's socket while the service restarts.
#[must_use]
pub fn bridge_unit(app: &AppName) -> String {
    format!("gunicorn.{app}.bridge.service")
}
/// The socket on which the bridge alone answers.
#[must_use]
pub fn bridge_socket_unit(app: &AppName) -> String {
    format!("gunicorn.{app}.bridge.socket")
}
/// The socket on which the service alone answers, also while the bridge serves.
#[must_use]
pub fn own_socket_unit(app: &AppName) -> String {
    format!("gunicorn.{app}.own.socket")
}
/// The unit of a process that runs beside web.
#[must_use]
pub fn process_unit(app: &AppName, process: &ProcessName) -> String {
    format!("pullpray.{app}.{process}.service")
}
/// The unit that starts a process by the clock.
#[must_use]
pub fn timer_unit(app: &AppName, process: &ProcessName) -> String {
    format!("pullpray.{app}.{process}.timer")
}
/// A directory in /run that the process of a timer may write to.
#[must_use]
pub fn timer_runtime(app: &AppName, process: &ProcessName) -> String {
    format!("pullpray.{app}.{process}")
}
/// What the last run of a timer's process left there if it failed.
#[must_use]
pub fn timer_failure(app: &AppName, process: &ProcessName) -> PathBuf {
    Path::new("/run")
        .join(timer_runtime(app, process))
        .join("failed")
}
/// The target with which all processes of an app start, restart and stop.
#[must_use]
pub fn process_target(app: &AppName) -> String {
    format!("pullpray.{app}.target")
}
/// The unit of a command that a person runs as the app.
#[must_use]
pub fn run_unit(app: &AppName, number: u32) -> String {
    format!("pullpray-run-{app}-{number}.service")
}
/// The environment file before its last change.
#[must_use]
pub fn previous_environment(app: &AppName) -> PathBuf {
    Path::new(SETTINGS_DIR).join(format!("{app}.env.previous"))
}
/// Where the environment file is edited.
#[must_use]
pub fn edited_environment(app: &AppName) -> PathBuf {
    Path::new("/run").join(format!("pullpray-{app}.env"))
}
/// The administrator's Procfile, which counts instead of the repository's.
#[must_use]
pub fn procfile(app: &AppName) -> PathBuf {
    Path::new(SETTINGS_DIR).join(format!("{app}.Procfile"))
}
/// The units of an app: agent, socket, service and its own socket, bridge and its own socket, trial.
#[must_use]
pub fn units(app: &AppName) -> [String; 7] {
    [
        agent_unit(app),
        socket_unit(app),
        own_socket_unit(app),
        service_unit(app),
        bridge_socket_unit(app),
        bridge_unit(app),
        trial_unit(app),
    ]
}
/// Where [`own_socket_unit`] listens. Only the app's account can connect to it.
#[must_use]
pub fn own_socket(app: &AppName) -> PathBuf {
    PathBuf::from(format!("/run/gunicorn.{app}.own.sock"))
}
/// Where [`bridge_socket_unit`] listens. Only the app's account can connect to it.
#[must_use]
pub fn bridge_socket(app: &AppName) -> PathBuf {
    PathBuf::from(format!("/run/gunicorn.{app}.bridge.sock"))
}
/// The socket of the trial unit.
#[must_use]
pub fn trial_socket(app: &AppName) -> PathBuf {
    Path::new("/run")
        .join(trial_runtime(app))
        .join("trial.sock")
}
/// Path of a unit file.
#[must_use]
pub fn unit_file(unit: &str) -> PathBuf {
    Path::new(UNITS_DIR).join(unit)
}

impl App {
    /// The units of its processes beside web.
    pub fn process_units(&self) -> impl Iterator<Item = String> {
        let names = self.processes.iter();
        names.map(|process| process_unit(&self.name, process))
    }
    /// The services of its timers.
    pub fn timed_units(&self) -> impl Iterator<Item = String> {
        let names = self.limits.timers.keys();
        names.map(|process| process_unit(&self.name, process))
    }
    /// Its timers.
    pub fn timer_units(&self) -> impl Iterator<Item = String> {
        let names = self.limits.timers.keys();
        names.map(|process| timer_unit(&self.name, process))
    }
    /// The environment file.
    #[must_use]
    pub fn environment_file(&self) -> PathBuf {
        Path::new(SETTINGS_DIR).join(format!("{}.env", self.name))
    }
    /// The directory of the deploy script.
    #[must_use]
    pub fn poller_dir(&self) -> PathBuf {
        Path::new(POLLERS_DIR).join(self.name.as_str())
    }
    /// The deploy script, edited by the administrator.
    #[must_use]
    pub fn deploy_script(&self) -> PathBuf {
        self.poller_dir().join("deploy.sh")
    }
    /// The ssh client's drop-in.
    #[must_use]
    pub fn ssh_config(&self) -> PathBuf {
        Path::new(SSH_CONFIG_DIR).join(format!("pullpray-{}.conf", self.name))
    }
    /// The ssh alias, as in `github.com-repo-todo`.
    #[must_use]
    pub fn ssh_alias(&self) -> String {
        format!("{}-repo-{}", self.repo.host(), self.name)
    }
    /// The sudoers drop-in. Its name has no dot: sudo ignores files with one (sudoers(5)).
    #[must_use]
    pub fn sudoers(&self) -> PathBuf {
        Path::new("/etc/sudoers.d").join(format!("pullpray-{}", self.name))
    }
    /// The cron entry. Its name has no dot either: cron(8) requires run-parts names.
    #[must_use]
    pub fn cron(&self) -> PathBuf {
        Path::new("/etc/cron.d").join(format!("pullpray-{}", self.name))
    }
    /// The project directory.
    #[must_use]
    pub fn project(&self) -> Project<'_> {
        Project(self.project_dir.as_path())
    }
    /// The link to the live release.
    #[must_use]
    pub fn current(&self) -> PathBuf {
        self.project().current()
    }
    /// The link to a release during its trial; it does not exist otherwise.
    #[must_use]
    pub fn next(&self) -> PathBuf {
        self.project().next()
    }
    /// The directory of a release with manage.py, where the app's code runs.
    #[must_use]
    pub fn code_dir(&self, release: &Path) -> PathBuf {
        let subdir = self.subdir.as_ref();
        subdir.map_or_else(|| release.to_owned(), |subdir| release.join(subdir.path()))
    }

    /// Directory of the releases.
    #[must_use]
    pub fn releases(&self) -> PathBuf {
        self.project().releases()
    }
    /// Directory of the persistent files, shared between releases.
    #[must_use]
    pub fn shared(&self) -> PathBuf {
        self.project().shared()
    }
    /// Directory of the virtual environments.
    #[must_use]
    pub fn venvs(&self) -> PathBuf {
        self.project().venvs()
    }
}

/// A project directory, also of an app whose settings are gone: what is in it.
#[derive(Debug, Clone, Copy)]
pub struct Project<'a>(pub &'a Path);

macro_rules! entries {
    ($($name:ident)+) => {
        impl Project<'_> {
            $(#[doc = concat!("Its `", stringify!($name), "`; see [`App`].")]
            #[must_use]
            pub fn $name(self) -> PathBuf {
                self.0.join(stringify!($name))
            })+
        }
    };
}

entries! { current next releases shared venvs }
