//! Where everything of an app lives on the server: each path is written here once.

use std::path::{Path, PathBuf};

use crate::app::{App, AppName};

pub mod reserved;

/// Directory of the settings and environment files of all apps.
pub const SETTINGS_DIR: &str = "/etc/pullpray";
/// Directory of the deploy scripts, a directory an app.
pub const POLLERS_DIR: &str = "/opt/git_pollers";
/// Directory of what the agents need: keys and pinned host keys.
pub const AGENT_DIR: &str = "/etc/ssh-agent-service";
/// Where deploy keys live; only root looks inside the private ones.
pub const KEYS_DIR: &str = "/etc/ssh-agent-service/deploy-keys";
/// Where every app has its mirror, ledger and logs.
pub const STATE_DIR: &str = "/var/lib/pullpray";
/// Those of the directories that all apps have in common.
pub const OF_ALL: [&str; 4] = [SETTINGS_DIR, AGENT_DIR, KEYS_DIR, STATE_DIR];
/// What init did, an app a file.
pub const RECEIPTS_DIR: &str = "/var/lib/pullpray/receipts";
/// The name of the mark in the directories that hold an app's data.
pub const MARK: &str = ".pullpray";
/// Where a sudoers drop-in is checked before sudo can see it.
pub const SUDOERS_CANDIDATE: &str = "/var/lib/pullpray/receipts/.sudoers-candidate";
/// Drop-ins of the ssh client's configuration, included by Debian's ssh_config.
pub const SSH_CONFIG_DIR: &str = "/etc/ssh/ssh_config.d";
/// Units of the administrator (systemd.unit(5), table "Load path").
pub const UNITS_DIR: &str = "/etc/systemd/system";

/// The settings file of an app.
#[must_use]
pub fn settings(app: &AppName) -> PathBuf {
    Path::new(SETTINGS_DIR).join(format!("{app}.toml"))
}
/// The host key that is pinned for an app. Each has a file of its own: in a shared one the app that was set up
/// last would decide which key of the host the others trust.
#[must_use]
pub fn known_hosts(app: &AppName) -> PathBuf {
    Path::new(AGENT_DIR).join(format!("{app}.known_hosts"))
}
/// Root's copy of the mark that the directories of the app's data bear.
#[must_use]
pub fn data(app: &AppName) -> PathBuf {
    Path::new(SETTINGS_DIR).join(format!("{app}.data"))
}
/// What cron's polls told already of the app's data: it goes with a reboot, and is none of what may be away.
#[must_use]
pub fn outage_reported(app: &AppName) -> PathBuf {
    Path::new("/run/lock").join(format!("pullpray.{app}"))
}
/// The receipt of an app.
#[must_use]
pub fn receipt(app: &AppName) -> PathBuf {
    Path::new(RECEIPTS_DIR).join(format!("{app}.jsonl"))
}
/// Backups of what init replaced for an app.
#[must_use]
pub fn backups(app: &AppName) -> PathBuf {
    Path::new(RECEIPTS_DIR).join(format!("{app}.replaced"))
}
/// The settings of an app as init wrote them last.
#[must_use]
pub fn settings_copy(app: &AppName) -> PathBuf {
    Path::new(RECEIPTS_DIR).join(format!("{app}.toml"))
}
/// Mirror, ledger and logs of an app; a poll holds its lock.
#[must_use]
pub fn state(app: &AppName) -> PathBuf {
    Path::new(STATE_DIR).join(app.as_str())
}
/// Where `current` leads, seen from the project directory.
#[must_use]
pub fn release_link(id: &str) -> PathBuf {
    Path::new("releases").join(id)
}
/// What was deployed, what failed, what is held.
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
/// The unit of the agent that holds the deploy key.
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
/// The private deploy key.
#[must_use]
pub fn private_key(app: &AppName) -> PathBuf {
    Path::new(KEYS_DIR).join(format!("{app}_ed25519"))
}
/// The public half, which the ssh client needs to name the key.
#[must_use]
pub fn public_key(app: &AppName) -> PathBuf {
    Path::new(KEYS_DIR).join(format!("{app}_ed25519.pub"))
}
/// The private key that takes the deploy key's place once the git host knows it.
#[must_use]
pub fn next_private_key(app: &AppName) -> PathBuf {
    Path::new(KEYS_DIR).join(format!("{app}_ed25519.next"))
}
/// Its public half.
#[must_use]
pub fn next_public_key(app: &AppName) -> PathBuf {
    Path::new(KEYS_DIR).join(format!("{app}_ed25519.next.pub"))
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
/// The unit in which a new release is tried.
#[must_use]
pub fn trial_unit(app: &AppName) -> String {
    format!("gunicorn.{app}.trial.service")
}
/// The name of the trial's directory under /run.
#[must_use]
pub fn trial_runtime(app: &AppName) -> String {
    format!("gunicorn.{app}.trial")
}
/// Where a release that is tried listens.
#[must_use]
pub fn trial_socket(app: &AppName) -> PathBuf {
    Path::new("/run")
        .join(trial_runtime(app))
        .join("trial.sock")
}
/// Where a unit's file lies.
#[must_use]
pub fn unit_file(unit: &str) -> PathBuf {
    Path::new(UNITS_DIR).join(unit)
}

/// Every file that root, or something that root starts, reads for an app, and why only root may modify it.
#[must_use]
pub fn read_by_root(app: &App) -> Vec<(PathBuf, &'static str)> {
    let name = &app.name;
    let mut files = vec![
        (app.program.clone(), "root's units and cron start it"),
        (settings(name), "it says as whom and where root acts"),
        (app.environment_file(), "systemd reads it as root"),
        (app.deploy_script(), "polls start it"),
        (
            unit_file(&agent_unit(name)),
            "systemd starts what it says as root",
        ),
        (unit_file(&socket_unit(name)), "systemd obeys it"),
        (unit_file(&service_unit(name)), "systemd obeys it"),
        (unit_file(&trial_unit(name)), "systemd obeys it"),
        (app.cron(), "cron starts what it says as whom it says"),
        (app.sudoers(), "sudo obeys it"),
        (app.ssh_config(), "ssh obeys it, root's too"),
        (known_hosts(name), "it says which hosts are trusted"),
        (data(name), "it says which disk holds the app's data"),
        (
            PathBuf::from("/usr/local/sbin"),
            "root looks for programs there first",
        ),
    ];
    if let Some(signers) = &app.limits.signed_by {
        files.push((
            signers.as_path().to_owned(),
            "it says whose commits are deployed",
        ));
    }
    files
}

impl App {
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
    /// The administrator's deploy script.
    #[must_use]
    pub fn deploy_script(&self) -> PathBuf {
        self.poller_dir().join("deploy.sh")
    }
    /// The ssh client's drop-in.
    #[must_use]
    pub fn ssh_config(&self) -> PathBuf {
        Path::new(SSH_CONFIG_DIR).join(format!("pullpray-{}.conf", self.name))
    }
    /// The ssh alias: `github.com-repo-todo`.
    #[must_use]
    pub fn ssh_alias(&self) -> String {
        format!("{}-repo-{}", self.repo.host(), self.name)
    }
    /// The sudoers drop-in. Its name has no dot: sudo ignores files with one (sudoers(5)).
    #[must_use]
    pub fn sudoers(&self) -> PathBuf {
        Path::new("/etc/sudoers.d").join(format!("pullpray-{}", self.name))
    }
    /// The cron entry. Its name has no dot either: cron(8), "run-parts" names.
    #[must_use]
    pub fn cron(&self) -> PathBuf {
        Path::new("/etc/cron.d").join(format!("pullpray-{}", self.name))
    }
    /// The link to the live release.
    #[must_use]
    pub fn current(&self) -> PathBuf {
        self.project_dir.as_path().join("current")
    }
    /// The link to a release that is tried; it is there only meanwhile.
    #[must_use]
    pub fn next(&self) -> PathBuf {
        self.project_dir.as_path().join("next")
    }
    /// The releases.
    #[must_use]
    pub fn releases(&self) -> PathBuf {
        self.project_dir.as_path().join("releases")
    }
    /// What outlives releases.
    #[must_use]
    pub fn shared(&self) -> PathBuf {
        self.project_dir.as_path().join("shared")
    }
    /// The virtual environments.
    #[must_use]
    pub fn venvs(&self) -> PathBuf {
        self.project_dir.as_path().join("venvs")
    }
}
