//! The app's units, steered through sudo as the deploy user may, and what they wrote last.

use anyhow::Result;

use crate::app::{App, paths};
use crate::host::Server;
use crate::render::Deed;

use super::Poll;

/// Restarts the service, with the arguments that the sudoers drop-in permits. After a crash loop
/// both units refuse to start until their failure is forgotten: then socket first, then service.
pub(super) fn restart(server: &Server, app: &App) -> Result<()> {
    let run = |deed: Deed| sudo(server, app, deed);
    let listening = server.unit(&paths::socket_unit(&app.name))?.is_active();
    let Err(error) = run(Deed::RestartService) else {
        return Ok(());
    };
    if listening && server.unit(&paths::service_unit(&app.name))?.result == "success" {
        return Err(error);
    }
    run(Deed::ForgetFailure)?;
    run(Deed::RestartSocket)?;
    run(Deed::RestartService)
}

/// Has systemd do one of the things that the sudoers drop-in permits.
pub(super) fn sudo(server: &Server, app: &App, deed: Deed) -> Result<()> {
    let arguments = deed.arguments(app);
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
