//! The service: socket and service enabled and running, and the app healthy over HTTP.

use std::time::Duration;

use anyhow::Result;

use crate::app::App;
use crate::layout;

use super::release::FirstRelease;
use super::{Changes, CheckContext, Finding, PlanItem, Step, StepId};

pub(super) struct Units<'a>(pub(super) &'a App);
pub(super) struct Healthy<'a>(pub(super) &'a App);

impl Step for Units<'_> {
    fn id(&self) -> StepId {
        StepId::GunicornRunning
    }
    fn title(&self) -> String {
        "gunicorn runs".to_owned()
    }
    fn plan_item(&self) -> PlanItem {
        PlanItem {
            kind: "unit",
            what: layout::service_unit(&self.0.name),
        }
    }

    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let name = &self.0.name;
        let mut waiting = None;
        for unit in [layout::socket_unit(name), layout::service_unit(name)] {
            let state = context.view.unit(&unit)?;
            match state.load.as_str() {
                "masked" => {
                    return Ok(Finding::ManualFix(
                        format!("{unit} is masked"),
                        format!("sudo systemctl unmask {unit}"),
                    ));
                }
                "not-found" => {
                    return Ok(Finding::Blocked(
                        StepId::GunicornService,
                        "enabled and started once there is a release".to_owned(),
                    ));
                }
                _ => {}
            }
            if !state.is_active() || !state.is_enabled() {
                waiting = Some(format!("{unit} is {} and {}", state.active, state.enabled));
                break;
            }
        }
        Ok(match waiting {
            // A socket that is hit before there is a release ends in trigger-limit-hit for good.
            Some(_) if context.view.stat(&self.0.current())?.is_none() => Finding::Blocked(
                StepId::AppRelease,
                "enabled and started once there is a release".to_owned(),
            ),
            Some(why) => Finding::Differs(why, None),
            None => Finding::Ok("enabled and active".to_owned()),
        })
    }

    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        // The socket first: after a crash loop the service alone would not find it.
        changes.unit(&layout::socket_unit(&self.0.name))?;
        changes.unit(&layout::service_unit(&self.0.name))
    }
}

impl Step for Healthy<'_> {
    fn id(&self) -> StepId {
        StepId::AppHealthy
    }
    fn title(&self) -> String {
        "healthy".to_owned()
    }
    fn plan_item(&self) -> PlanItem {
        PlanItem {
            kind: "health",
            what: format!("GET {} on {}", self.0.health_path, self.0.bind),
        }
    }

    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let app = self.0;
        if context.view.stat(&app.current())?.is_none() {
            return Ok(Finding::Blocked(
                StepId::AppRelease,
                format!("asked with Host: {}", app.health_host),
            ));
        }
        // Before init started it again nobody can answer; that is the other step's to say.
        if !context
            .view
            .unit(&layout::socket_unit(&app.name))?
            .is_active()
        {
            return Ok(Finding::Blocked(
                StepId::GunicornRunning,
                format!("asked with Host: {}", app.health_host),
            ));
        }
        let question = format!("GET {} on {}", app.health_path, app.bind);
        let unit = layout::service_unit(&app.name);
        let log = format!("sudo journalctl -u {unit} -n 200");
        // Deployed again it will be another: nobody has to look at this one.
        let broken = |why: String| -> Result<Finding> {
            Ok(if FirstRelease(app).check(context)?.is_satisfied() {
                Finding::ManualFix(why, log.clone())
            } else {
                Finding::Differs(why, None)
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
                    "{question} → {} in {} ms",
                    answer.status,
                    answer.took.as_millis()
                )),
                Ok(answer) if answer.status == 400 => Finding::ManualFix(
                    format!(
                        "{question} → 400: the Host header {} is probably not in ALLOWED_HOSTS",
                        app.health_host
                    ),
                    format!("pullpray init {} --health-host NAME", app.name),
                ),
                Ok(answer) => broken(format!("{question} → {}", answer.status))?,
                Err(error) => broken(format!("{question}: {error}"))?,
            },
        )
    }

    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        changes
            .server()
            .restart(&layout::service_unit(&self.0.name))
    }
}
