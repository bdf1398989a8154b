//! The app's units: restarted through sudo, as the drop-in permits, and what they wrote to the journal.

use std::time::Duration;

use anyhow::Result;

use crate::app::{App, ProcessName};
use crate::host::Server;
use crate::layout;
use crate::render::SudoCommand;

use super::{Poll, causes};

/// How often a service that says no error is asked for its output, and the time between two questions.
pub(super) const PATIENCE: u32 = 12;
const BETWEEN: Duration = Duration::from_millis(500);

/// Restarts the service, with exactly the arguments that the sudoers drop-in permits. After a crash loop both units
/// refuse to start until `reset-failed`; then the socket starts first, then the service.
pub(super) fn restart(server: &Server, app: &App) -> Result<()> {
    let run = |command: SudoCommand| sudo(server, app, command);
    let listening = server.unit(&layout::socket_unit(&app.name))?.is_active();
    let Err(error) = run(SudoCommand::RestartService) else {
        return Ok(());
    };
    if listening && server.unit(&layout::service_unit(&app.name))?.result == "success" {
        return Err(error);
    }
    run(SudoCommand::ForgetFailure)?;
    run(SudoCommand::RestartSocket)?;
    run(SudoCommand::RestartService)
}

/// Whether the service has drop-ins that another instance of it lacks.
pub(super) fn has_own_drop_ins(server: &Server, app: &App, instance: &str) -> Result<bool> {
    let service = server.unit(&layout::service_unit(&app.name))?;
    Ok(service.drop_ins.len() != server.unit(instance)?.drop_ins.len())
}

/// Runs one of the commands that the sudoers drop-in permits.
pub(super) fn sudo(server: &Server, app: &App, command: SudoCommand) -> Result<()> {
    let arguments = command.arguments(app);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    server.sudo_systemctl(&app.systemctl, &arguments)
}

/// Proves before a deployment that sudo lets the account control its units: stops the trial, which does not run. When
/// sudo refuses, because of a setting or the account's state, that is this server's fault and no try of the commit's.
pub(super) fn prove_sudo(server: &Server, app: &App) -> Result<()> {
    sudo(server, app, SudoCommand::StopTrial)
}

/// What a unit wrote since its last start. Not every account may read the journal (journalctl(1)), so sudo permits to
/// show the unit with its lines. A service that is started again and again has said nothing at the beginning of each
/// start: it is asked until it names an error, at most so often.
pub(super) fn output_of(poll: &Poll<'_>, command: SudoCommand, at_most: u32) -> String {
    let arguments = command.arguments(poll.app);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut said = String::new();
    for number in 1..=at_most {
        let shown = poll.server.sudo_status(&poll.app.systemctl, &arguments);
        let lines = shown.split_once("\n\n").map_or("", |(_, lines)| lines);
        if !lines.trim().is_empty() {
            lines.clone_into(&mut said);
        }
        if number == at_most || causes::names_an_error(&said) {
            break;
        }
        poll.clock.sleep(BETWEEN);
    }
    if said.is_empty() {
        let unit = arguments.last().copied().unwrap_or_default();
        return format!("the app's own output: sudo journalctl -u {unit} -n 200");
    }
    said
}

/// What the processes beside web wrote since that time, in seconds since 1970, or one of them.
pub(super) fn output_of_processes(
    poll: &Poll<'_>,
    since: i64,
    one: Option<&ProcessName>,
) -> String {
    let command = SudoCommand::ShowProcesses;
    let arguments = command.arguments(poll.app);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let program = command.program(poll.app);
    // Its name is its SyslogIdentifier= (systemd.exec(5)).
    let by = one.map_or_else(String::new, |name| format!(" {name}["));
    lines_since(&poll.server.sudo_status(&program, &arguments), since, &by)
}

/// The messages of programs, without those of systemd, in lines such as `1732725312.123456 web celery[12]: ready`.
fn lines_since(shown: &str, since: i64, by: &str) -> String {
    let message = |line: &str| {
        let (time, rest) = line.split_once(' ')?;
        let seconds: i64 = time.split('.').next()?.parse().ok()?;
        let (who, message) = rest.split_once(": ")?;
        let by_systemd = who.contains(" systemd[");
        (seconds >= since && !by_systemd && who.contains(by)).then(|| message.to_owned())
    };
    let lines: Vec<String> = shown.lines().filter_map(message).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_processes_wrote_comes_without_systemd_s_lines() {
        let shown = "99.1 web x[1]: old\n100.0 web systemd[1]: Started x.\n100.5 web x[2]: Error: a: b\n-- Boot --\n";
        assert_eq!(lines_since(shown, 100, ""), "Error: a: b");
        assert_eq!(lines_since(shown, 0, " x["), "old\nError: a: b");
        assert_eq!(lines_since(shown, 0, " y["), "");
    }
}
