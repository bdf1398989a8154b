//! The commands that the app's account may run as root, and with which polls control its units.

use std::path::PathBuf;

use crate::app::App;
use crate::layout;

use super::text;

/// Without a pager, which could run commands as root, and without `=`, which sudoers(5) would want escaped.
const SHOW: &str = "status --no-pager -n 200 -o cat";

/// As `SHOW`. A process that is started again and again has a description without its lines most of the time.
const JOURNAL: &str = "--no-pager -q -n 500 -o short-unix";

fn of_unit(unit: String) -> [String; 2] {
    ["-u".to_owned(), unit]
}

/// A command that the app's account may run as root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SudoCommand {
    /// Restarts gunicorn.
    RestartService,
    /// Restarts the socket after a crash loop.
    RestartSocket,
    /// Resets the failed state of both units, in which they refuse to start.
    ForgetFailure,
    /// Starts the bridge, or starts it again.
    RestartBridge,
    /// Stops the bridge.
    StopBridge,
    /// Starts the trial unit with a new release.
    RestartTrial,
    /// Stops the trial unit.
    StopTrial,
    /// Restarts the processes beside web, and starts those that do not run.
    RestartProcesses,
    /// Stops the processes beside web.
    StopProcesses,
    /// Shows what the processes wrote.
    ShowProcesses,
    /// Shows the service with what it wrote since its last start.
    ShowService,
    /// Shows the bridge with what it wrote since its last start.
    ShowBridge,
    /// Shows the trial unit with what it wrote since its last start.
    ShowTrial,
}

impl SudoCommand {
    fn is_about_processes(self) -> bool {
        matches!(self, Self::RestartProcesses | Self::StopProcesses)
    }

    const ALL: [Self; 13] = [
        Self::RestartService,
        Self::RestartSocket,
        Self::ForgetFailure,
        Self::RestartBridge,
        Self::StopBridge,
        Self::RestartTrial,
        Self::StopTrial,
        Self::RestartProcesses,
        Self::StopProcesses,
        Self::ShowProcesses,
        Self::ShowService,
        Self::ShowBridge,
        Self::ShowTrial,
    ];

    /// systemctl, or journalctl beside it.
    #[must_use]
    pub fn program(self, app: &App) -> PathBuf {
        match self {
            Self::ShowProcesses => app.systemctl.with_file_name("journalctl"),
            _ => app.systemctl.clone(),
        }
    }

    /// Its arguments, as the sudoers drop-in permits and a poll runs them.
    #[must_use]
    pub fn arguments(self, app: &App) -> Vec<String> {
        let socket = layout::socket_unit(&app.name);
        let service = layout::service_unit(&app.name);
        let trial = layout::trial_unit(&app.name);
        let target = layout::process_target(&app.name);
        let bridge = layout::bridge_unit(&app.name);
        let bridge_socket = layout::bridge_socket_unit(&app.name);
        let (verb, units) = match self {
            Self::RestartService => ("restart", vec![service]),
            Self::RestartSocket => ("restart", vec![socket]),
            Self::ForgetFailure => ("reset-failed", vec![socket, service]),
            Self::RestartBridge => ("restart", vec![bridge]),
            Self::StopBridge => ("stop", vec![bridge_socket, bridge]),
            Self::RestartTrial => ("restart", vec![trial]),
            Self::StopTrial => ("stop", vec![trial]),
            Self::RestartProcesses => ("restart", vec![target]),
            Self::StopProcesses => ("stop", vec![target]),
            Self::ShowProcesses => {
                let units = app.process_units().chain(app.timed_units());
                (JOURNAL, units.flat_map(of_unit).collect())
            }
            Self::ShowService => (SHOW, vec![service]),
            Self::ShowBridge => (SHOW, vec![bridge]),
            Self::ShowTrial => (SHOW, vec![trial]),
        };
        let verb = verb.split(' ').map(str::to_owned);
        verb.chain(units).collect()
    }
}

/// The commands that the sudoers drop-in permits: programs with their arguments.
#[must_use]
pub fn permitted(app: &App) -> Vec<Vec<String>> {
    SudoCommand::ALL
        .iter()
        .filter(|command| match command {
            SudoCommand::ShowProcesses => {
                !app.processes.is_empty() || !app.limits.timers.is_empty()
            }
            command => !app.processes.is_empty() || !command.is_about_processes(),
        })
        .map(|command| {
            let program = text(&command.program(app));
            [vec![program], command.arguments(app)].concat()
        })
        .collect()
}

/// Each as a line of the drop-in.
pub(super) fn commands(app: &App) -> Vec<String> {
    permitted(app).iter().map(|words| words.join(" ")).collect()
}
