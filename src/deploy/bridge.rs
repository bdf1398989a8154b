//! The bridge: a second instance of the app on the same socket, which serves while the service restarts.
//!
//! A restart fails no request, since systemd keeps the socket, but lets every one wait until the app has started: with an
//! import of 3 s, 3.3 s and more, and at 500 requests a second nginx's own connections ran out meanwhile (Debian 12).
//! With a second instance the longest took 10 to 26 ms. Two services may have the same socket (systemd.service(5),
//! `Sockets=`); each listens on one of its own beside it, where its health is asked without guessing who answered. The
//! service stays the instance that lives: its name, journal and drop-ins are the administrator's.

use std::fmt;

use anyhow::Result;

use crate::app::Bind;
use crate::host::Running;
use crate::layout;
use crate::render::SudoCommand;

use super::health::{is_healthy, wait_until_healthy};
use super::service::sudo;
use super::{Poll, service};

/// The bridge was unhealthy; the service was not touched.
#[derive(Debug)]
pub(super) struct Unhealthy;

impl fmt::Display for Unhealthy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("health check failed in a second instance, before the restart")
    }
}

impl std::error::Error for Unhealthy {}

/// The socket on which the service alone answers.
pub(super) fn own_bind(poll: &Poll<'_>) -> Result<Bind> {
    let path = layout::own_socket(&poll.app.name);
    Ok(format!("unix:{}", path.display()).parse()?)
}

/// Starts the bridge on the release that `current` points to, and waits until it is healthy; `false` if the service has
/// to restart without it, which is said.
///
/// # Errors
/// [`Unhealthy`], with why; it still runs then, so that what it wrote can be shown.
pub(super) fn start(poll: &Poll<'_>) -> Result<bool> {
    if let Some(why) = hindrance(poll)? {
        if !why.is_empty() {
            poll.progress(&format!("requests wait while the service restarts: {why}"));
        }
        return Ok(false);
    }
    poll.progress("starting a second instance");
    let (server, app) = (poll.server, poll.app);
    if let Err(error) = sudo(server, app, SudoCommand::RestartBridge) {
        poll.progress(&format!(
            "requests wait while the service restarts: {error:#}"
        ));
        return Ok(false);
    }
    let path = layout::bridge_socket(&app.name);
    let bind: Bind = format!("unix:{}", path.display()).parse()?;
    wait_until_healthy(poll, &layout::bridge_unit(&app.name), &bind)
        .map_err(|error| error.context(Unhealthy))?;
    Ok(true)
}

/// Why no second instance is started; empty if the first one serves nobody anyway.
fn hindrance(poll: &Poll<'_>) -> Result<Option<String>> {
    let (server, app) = (poll.server, poll.app);
    let service = server.unit(&layout::service_unit(&app.name))?;
    if !service.is_active() || !is_healthy(poll, &own_bind(poll)?) {
        return Ok(Some(String::new()));
    }
    if service::has_own_drop_ins(server, app, &layout::bridge_unit(&app.name))? {
        return Ok(Some("the service has drop-ins of its own".to_owned()));
    }
    let own = app.limits.bridge_memory.map(|mib| mib << 20);
    let needed = own.or(service.memory).unwrap_or(0);
    let available = server.available_memory()?;
    Ok(available.filter(|free| *free < needed).map(|free| {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        format!(
            "a second instance needs {} MiB of memory, and {} MiB are available (bridge_memory in the settings)",
            mib(needed),
            mib(free)
        )
    }))
}

/// Stops it, also one that a killed poll left, and the socket of one that crashed: a connection would start it again.
pub(super) fn stop(poll: &Poll<'_>) -> Result<()> {
    let (server, name) = (poll.server, &poll.app.name);
    let listens = server.stat(&layout::bridge_socket(name))?.is_some();
    if listens || server.running(&layout::bridge_unit(name))? != Running::No {
        sudo(server, poll.app, SudoCommand::StopBridge)?;
    }
    Ok(())
}
