//! The service: socket and service units enabled and active, and the app healthy over HTTP.

use std::time::Duration;

use anyhow::Result;

use crate::app::App;
use crate::layout;

use super::release::FirstRelease;
use super::{About, Changes, Check, CheckContext, Finding, Fix, Problem, StepId};

pub(super) struct Units<'a>(pub(super) &'a App);
pub(super) struct Healthy<'a>(pub(super) &'a App);

impl Check for Units<'_> {
    fn about(&self) -> About {
        About::new(StepId::GunicornRunning, layout::service_unit(&self.0.name))
    }

    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let name = &self.0.name;
        let mut inactive = None;
        for unit in [layout::socket_unit(name), layout::service_unit(name)] {
            let state = context.view.unit(&unit)?;
            match state.load.as_str() {
                "masked" => {
                    return Ok(Problem::masked(&unit).into());
                }
                "not-found" => {
                    return Ok(Finding::blocked(
                        StepId::GunicornService,
                        "enabled and started with the first release",
                    ));
                }
                _ => {}
            }
            if !state.is_active() || !state.is_enabled() {
                inactive = Some(format!("{unit} is {} and {}", state.active, state.enabled));
                break;
            }
        }
        Ok(match inactive {
            // A connection before the first release would put the socket in trigger-limit-hit for good.
            Some(_) if context.view.stat(&self.0.current())?.is_none() => Finding::blocked(
                StepId::AppRelease,
                "enabled and started with the first release",
            ),
            Some(why) => Finding::differs(why),
            None => Finding::ok("enabled and active"),
        })
    }
}

impl Fix for Units<'_> {
    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        // The socket first: after a crash loop it has failed, and the service needs it.
        changes.unit(&layout::socket_unit(&self.0.name))?;
        changes.unit(&layout::service_unit(&self.0.name))
    }
}

impl Check for Healthy<'_> {
    fn about(&self) -> About {
        About::new(
            StepId::AppHealthy,
            format!("GET {} on {}", self.0.health_path, self.0.bind),
        )
    }

    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let app = self.0;
        if context.view.stat(&app.current())?.is_none() {
            return Ok(Finding::blocked(
                StepId::AppRelease,
                format!("requested with Host: {}", app.health_host),
            ));
        }
        // While the socket is inactive nothing can answer; the other step reports that.
        if !context
            .view
            .unit(&layout::socket_unit(&app.name))?
            .is_active()
        {
            return Ok(Finding::blocked(
                StepId::GunicornRunning,
                format!("requested with Host: {}", app.health_host),
            ));
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
        Ok(
            match context.view.http_get(
                &app.bind,
                &app.health_path,
                &app.health_host,
                Duration::from_secs(app.limits.health_timeout),
            ) {
                Ok(answer) if (200..400).contains(&answer.status) => Finding::Ok(format!(
                    "{request} → {} in {} ms",
                    answer.status,
                    answer.took.as_millis()
                )),
                Ok(answer) if answer.status == 400 => Finding::manual(
                    format!(
                        "{request} → 400: the Host header {} is probably not in ALLOWED_HOSTS",
                        app.health_host
                    ),
                    format!("pullpray init {} --health-host NAME", app.name),
                ),
                Ok(answer) => unhealthy(format!("{request} → {}", answer.status))?,
                Err(error) => unhealthy(format!("{request}: {error}"))?,
            },
        )
    }
}

impl Fix for Healthy<'_> {
    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        changes.restart(&layout::service_unit(&self.0.name))
    }
}
