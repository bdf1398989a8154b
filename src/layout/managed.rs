//! The files of an app that root, or something that root starts, reads.

use std::path::PathBuf;

use super::{
    agent_unit, data, known_hosts, service_unit, settings, socket_unit, trial_unit, unit_file,
};
use crate::app::App;

/// A file that pullpray writes for an app; root owns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManagedFile {
    /// `/etc/pullpray/APP.toml`.
    Settings,
    /// The app's environment.
    Environment,
    /// The administrator's deploy script.
    DeployScript,
    /// The unit of the ssh agent.
    AgentUnit,
    /// gunicorn's socket unit.
    SocketUnit,
    /// gunicorn's service unit.
    ServiceUnit,
    /// The unit that tries a new release.
    TrialUnit,
    /// The cron entry.
    Cron,
    /// The sudoers drop-in.
    Sudoers,
    /// The ssh client's drop-in.
    SshConfig,
    /// The pinned host key.
    KnownHosts,
    /// Root's copy of the data mark.
    DataMark,
}

impl ManagedFile {
    const ALL: [Self; 12] = [
        Self::Settings,
        Self::Environment,
        Self::DeployScript,
        Self::AgentUnit,
        Self::SocketUnit,
        Self::ServiceUnit,
        Self::TrialUnit,
        Self::Cron,
        Self::Sudoers,
        Self::SshConfig,
        Self::KnownHosts,
        Self::DataMark,
    ];

    /// Its path.
    #[must_use]
    pub fn path(self, app: &App) -> PathBuf {
        self.row(app).0
    }

    /// Its mode.
    #[must_use]
    pub fn mode(self) -> u32 {
        match self {
            Self::Sudoers => 0o440,
            Self::Environment => 0o640,
            Self::DeployScript => 0o755,
            _ => 0o644,
        }
    }

    /// Its path, and why only root may modify it.
    fn row(self, app: &App) -> (PathBuf, &'static str) {
        let name = &app.name;
        match self {
            Self::Settings => (
                settings(name),
                "it sets the accounts and paths that root uses",
            ),
            Self::Environment => (app.environment_file(), "systemd reads it as root"),
            Self::DeployScript => (app.deploy_script(), "polls run it"),
            Self::AgentUnit => (
                unit_file(&agent_unit(name)),
                "systemd runs its commands as root",
            ),
            Self::SocketUnit => (unit_file(&socket_unit(name)), "systemd applies it"),
            Self::ServiceUnit => (unit_file(&service_unit(name)), "systemd applies it"),
            Self::TrialUnit => (unit_file(&trial_unit(name)), "systemd applies it"),
            Self::Cron => (app.cron(), "cron runs its command as any user"),
            Self::Sudoers => (app.sudoers(), "sudo applies it"),
            Self::SshConfig => (app.ssh_config(), "ssh applies it, also for root"),
            Self::KnownHosts => (known_hosts(name), "it lists the trusted host keys"),
            Self::DataMark => (data(name), "it identifies the disk with the app's data"),
        }
    }
}

/// Every path that root, or something that root starts, reads for an app, and why only root may modify it.
#[must_use]
pub fn read_by_root(app: &App) -> Vec<(PathBuf, &'static str)> {
    let mut paths = vec![(app.program.clone(), "root's units and cron run it")];
    paths.extend(ManagedFile::ALL.map(|file| file.row(app)));
    paths.push((PathBuf::from("/usr/local/sbin"), "first in root's PATH"));
    if let Some(signers) = &app.limits.signed_by {
        let reason = "it lists whose commits are deployed";
        paths.push((signers.as_path().to_owned(), reason));
    }
    paths
}
