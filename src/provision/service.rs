//! The service: socket and service units enabled and active, and the app healthy over HTTP.

use std::time::Duration;

use anyhow::Result;

use crate::app::{App, Bind};
use crate::host::View;
use crate::layout::{self, ManagedFile};

use super::agent::not_running;
use super::release::FirstRelease;
use super::{About, Changes, Check, CheckContext, Finding, Fix, StepId};

pub(super) struct Units<'a>(pub(super) &'a App);
pub(super) struct Healthy<'a>(pub(super) &'a App);

/// Where the app's socket unit, as it is installed, has it listen; `None` without one.
///
/// # Errors
/// When the unit cannot be read.
pub fn installed_bind(view: &View, app: &App) -> Result<Option<Bind>> {
    let unit = ManagedFile::SocketUnit.path(app);
    Ok(view
        .read_text(&unit)?
        .and_then(|text| Bind::of_socket_unit(&text)))
}

/// Whether the socket still listens where it did before its unit was changed.
fn has_to_move(view: &View, app: &App) -> Result<bool> {
    let bind = installed_bind(view, app)?;
    let listens = view.listens(bind.as_ref().unwrap_or(&app.bind))?;
    Ok(listens == Some(false))
}

impl Check for Units<'_> {
    fn about(&self) -> About {
        About::new(StepId::GunicornRunning, layout::service_unit(&self.0.name))
    }

    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let (view, name) = (context.view, &self.0.name);
        let follows = "enabled and started with the first release";
        for unit in [layout::socket_unit(name), layout::service_unit(name)] {
            return Ok(
                match not_running(view, &unit, (StepId::GunicornService, follows))? {
                    None => continue,
                    // A connection before the first release would put the socket in trigger-limit-hit for good.
                    Some(Finding::Differs { .. }) if view.stat(&self.0.current())?.is_none() => {
                        Finding::blocked(StepId::AppRelease, follows)
                    }
                    Some(finding) => finding,
                },
            );
        }
        if view.stat(&self.0.current())?.is_some() && has_to_move(view, self.0)? {
            let what = format!("the socket does not listen on {}", self.0.bind);
            return Ok(Finding::differs(what));
        }
        Ok(Finding::ok("enabled and active"))
    }
}

impl Fix for Units<'_> {
    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        let view = changes.context().view;
        let socket = layout::socket_unit(&self.0.name);
        if view.unit(&socket)?.is_active() && has_to_move(view, self.0)? {
            // systemd starts no socket of a service that runs, so that both stop first.
            changes.stop(&layout::service_unit(&self.0.name))?;
            changes.stop(&socket)?;
        }
        // The socket first: after a crash loop it has failed, and the service needs it.
        changes.unit(&layout::socket_unit(&self.0.name))?;
        changes.unit(&layout::service_unit(&self.0.name))
    }
}

impl Check for Healthy<'_> {
    fn about(&self) -> About {
        let (path, bind) = (&self.0.health_path, &self.0.bind);
        About::new(StepId::AppHealthy, format!("GET {path} on {bind}"))
    }

    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let (app, view) = (self.0, context.view);
        let follows = format!("requested with Host: {}", app.health_host);
        if view.stat(&app.current())?.is_none() {
            return Ok(Finding::blocked(StepId::AppRelease, follows));
        }
        // Whoever answers at another address is not the app.
        if let Some(bind) = installed_bind(view, app)?.filter(|bind| *bind != app.bind) {
            let why = format!(
                "the socket unit listens on {bind}, the settings say {}",
                app.bind
            );
            return Ok(Finding::blocked(StepId::GunicornSocket, why));
        }
        // While the socket is inactive nothing can answer; the other step reports that.
        if has_to_move(view, app)? || !view.unit(&layout::socket_unit(&app.name))?.is_active() {
            return Ok(Finding::blocked(StepId::GunicornRunning, follows));
        }
        let request = format!("GET {} on {}", app.health_path, app.bind);
        let unit = layout::service_unit(&app.name);
        let log = format!("sudo journalctl -u {unit} -n 200");
        // If the release has to be redeployed anyway, applying fixes this too.
        let unhealthy = |why: String| -> Result<Finding> {
            Ok(if FirstRelease(app).check(context)?.is_satisfied() {
                Finding::manual(why, log.clone())
            } else {
                Finding::differs(why)
            })
        };
        let limit = Duration::from_secs(app.limits.health_timeout);
        Ok(match view.health(app, &app.bind, limit) {
            Ok(answer) if answer.is_healthy => {
                let took = answer.took.as_millis();
                Finding::Ok(format!("{request} → {answer} in {took} ms"))
            }
            Ok(answer) if answer.status == 400 => Finding::manual(
                format!(
                    "{request} → 400: the Host header {} is probably not in ALLOWED_HOSTS",
                    app.health_host
                ),
                format!("sudo pullpray init {} --health-host NAME", app.name),
            ),
            Ok(answer) => unhealthy(format!("{request} → {answer}"))?,
            Err(error) => unhealthy(format!("{request}: {error}"))?,
        })
    }
}

impl Fix for Healthy<'_> {
    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        changes.restart_app(self.0)
    }
}
