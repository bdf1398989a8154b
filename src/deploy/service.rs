//! The app's units, steered through sudo as the deploy user may, and what they wrote last.

use anyhow::Result;

use crate::app::App;
use crate::host::Server;
use crate::layout;
use crate::render::SudoCommand;

use super::Poll;

/// Restarts the service, with the arguments that the sudoers drop-in permits. After a crash loop
/// both units refuse to start until their failure is forgotten: then socket first, then service.
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

/// Has systemd do one of the things that the sudoers drop-in permits.
pub(super) fn sudo(server: &Server, app: &App, command: SudoCommand) -> Result<()> {
    let arguments = command.arguments(app);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    server.sudo_systemctl(&app.systemctl, &arguments)
}

/// What a unit wrote last.
pub(super) fn last_words(poll: &Poll<'_>, unit: &str) -> Vec<String> {
    let log = poll.server.unit_log(unit, 10);
    if log.is_empty() {
        // The journal is not every account's to read (journalctl(1)).
        return vec![format!(
            "what the app said: sudo journalctl -u {unit} -n 200"
        )];
    }
    log.lines().map(str::to_owned).collect()
}
