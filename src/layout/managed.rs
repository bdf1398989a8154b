//! The files of an app that root, or something that root starts, reads.

use std::path::PathBuf;

use super::{
    agent_unit, bridge_socket_unit, bridge_unit, data, known_hosts, own_socket_unit, poll_units,
    process_target, procfile, service_unit, settings, socket_unit, trial_unit, unit_file,
};
use crate::app::App;

/// A row per file: its mode, its path, and why only root may modify it.
macro_rules! managed_files {
    ($($(#[$doc:meta])+ $name:ident $mode:literal $path:expr, $reason:literal;)+) => {
        /// A file that pullpray writes for an app; root owns it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ManagedFile {
            $($(#[$doc])+ $name,)+
        }

        impl ManagedFile {
            const ALL: &[Self] = &[$(Self::$name),+];

            fn row(self) -> (u32, fn(&App) -> PathBuf, &'static str) {
                match self {
                    $(Self::$name => ($mode, $path, $reason),)+
                }
            }
        }
    };
}

managed_files! {
    /// The settings.
    Settings 0o644 |app| settings(&app.name), "it sets the accounts and paths that root uses";
    /// The app's environment.
    Environment 0o640 App::environment_file, "systemd reads it as root";
    /// The administrator's deploy script.
    DeployScript 0o755 App::deploy_script, "polls run it";
    /// The unit of the ssh agent.
    AgentUnit 0o644 |app| unit_file(&agent_unit(&app.name)), "systemd runs its commands as root";
    /// gunicorn's socket unit.
    SocketUnit 0o644 |app| unit_file(&socket_unit(&app.name)), "systemd applies it";
    /// The unit of the service's own socket.
    OwnSocketUnit 0o644 |app| unit_file(&own_socket_unit(&app.name)), "systemd applies it";
    /// The unit of the bridge's own socket.
    BridgeSocketUnit 0o644 |app| unit_file(&bridge_socket_unit(&app.name)), "systemd applies it";
    /// The unit of the second instance during a switch.
    BridgeUnit 0o644 |app| unit_file(&bridge_unit(&app.name)), "systemd applies it";
    /// gunicorn's service unit.
    ServiceUnit 0o644 |app| unit_file(&service_unit(&app.name)), "systemd applies it";
    /// The unit that tries a new release.
    TrialUnit 0o644 |app| unit_file(&trial_unit(&app.name)), "systemd applies it";
    /// The target of the processes beside web.
    ProcessTarget 0o644 |app| unit_file(&process_target(&app.name)), "systemd applies it";
    /// The cron entry.
    Cron 0o644 App::cron, "cron runs its command as any user";
    /// The service of a poll that a timer starts.
    PollService 0o644 |app| unit_file(&poll_units(&app.name)[0]), "systemd applies it";
    /// The timer of the polls.
    PollTimer 0o644 |app| unit_file(&poll_units(&app.name)[1]), "systemd applies it";
    /// The sudoers drop-in.
    Sudoers 0o440 App::sudoers, "sudo applies it";
    /// The ssh client's drop-in.
    SshConfig 0o644 App::ssh_config, "ssh applies it, also for root";
    /// The pinned host key.
    KnownHosts 0o644 |app| known_hosts(&app.name), "it lists the trusted host keys";
    /// Root's copy of the data mark.
    DataMark 0o644 |app| data(&app.name), "it identifies the disk with the app's data";
}

impl ManagedFile {
    /// Its path.
    #[must_use]
    pub fn path(self, app: &App) -> PathBuf {
        self.row().1(app)
    }

    /// Its mode.
    #[must_use]
    pub fn mode(self) -> u32 {
        self.row().0
    }
}

/// Every path that root, or something that root starts, reads for an app, and why only root may modify it.
#[must_use]
pub fn read_by_root(app: &App) -> Vec<(PathBuf, &'static str)> {
    let mut paths = vec![(app.program.clone(), "root's units and cron run it")];
    let files = ManagedFile::ALL.iter().map(|file| file.row());
    paths.extend(files.map(|(_, path, reason)| (path(app), reason)));
    let units = app
        .process_units()
        .chain(app.timed_units())
        .chain(app.timer_units());
    paths.extend(units.map(|unit| (unit_file(&unit), "systemd applies it")));
    if !app.processes.is_empty() || !app.limits.timers.is_empty() {
        let reason = "it sets what the app's processes run";
        paths.push((procfile(&app.name), reason));
    }
    paths.push((PathBuf::from("/usr/local/sbin"), "first in root's PATH"));
    let credentials = app.limits.credentials.values();
    paths
        .extend(credentials.map(|it| (it.path.as_path().to_owned(), "it has a secret of the app")));
    for signers in &app.limits.signed_by {
        let reason = "it lists whose commits are deployed";
        paths.push((signers.as_path().to_owned(), reason));
    }
    paths
}
