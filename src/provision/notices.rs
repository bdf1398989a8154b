//! Whether somebody hears of a failure.

use std::path::Path;

use anyhow::Result;

use crate::app::{App, Means};
use crate::host::{SENDMAIL, View};
use crate::layout;
use crate::state::notices::Notices as State;
use crate::text::{first_columns, for_terminal};

use super::{About, Check, CheckContext, Finding, Problem, StepId};

pub(super) struct Notices<'a>(pub(super) &'a App);

/// Says if nobody hears of a failure.
#[must_use]
pub fn nobody_hears(app: &App) -> Option<String> {
    app.notify.is_empty().then(|| {
        format!(
            "nobody would hear of a failure: sudo pullpray init {} --notify ops@example.org",
            app.name
        )
    })
}

/// What could not be delivered, in a line; `None` if everything was.
#[must_use]
pub fn undelivered(view: &View, app: &App) -> Option<String> {
    let state = State::load(view, &app.name);
    let last = state.undelivered.last()?;
    let (count, why) = (state.undelivered.len(), for_terminal(&last.why));
    let why = first_columns(why.lines().next().unwrap_or_default(), 200);
    Some(match count {
        1 => format!("a notice could not be delivered yet: {why}"),
        _ => format!("{count} notices could not be delivered yet, the last one: {why}"),
    })
}

/// The program that this server lacks to send a notice.
///
/// # Errors
/// When the server cannot be examined.
pub fn lacks_program(view: &View, app: &App) -> Result<Option<Problem>> {
    let uses = |means| app.notify.iter().any(|channel| channel.means() == means);
    if uses(Means::Mail) && view.stat_target(Path::new(SENDMAIL))?.is_none() {
        return Ok(Some(Problem::new(
            format!("no mail can be sent: this server has no {SENDMAIL}"),
            "sudo apt-get install msmtp-mta && sudoedit /etc/msmtprc  # names your mail server: man msmtp",
        )));
    }
    let lacks = uses(Means::Apprise) && view.which("apprise").is_none();
    Ok(lacks.then(|| {
        Problem::new(
            "apprise, which some of the addresses are for, is not installed",
            "sudo apt-get install apprise",
        )
    }))
}

impl Check for Notices<'_> {
    fn about(&self) -> About {
        About::new(
            StepId::NotifyChannels,
            layout::settings(&self.0.name).display(),
        )
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let (app, view) = (self.0, context.view);
        if let Some(why) = nobody_hears(app) {
            return Ok(Finding::Ok(why));
        }
        if let Some(problem) = lacks_program(view, app)? {
            return Ok(Finding::Warning(problem));
        }
        if let Some(why) = undelivered(view, app) {
            let test = format!("sudo pullpray notify {} --test", app.name);
            return Ok(Finding::warning(why, test));
        }
        let shown: Vec<String> = app.notify.iter().map(ToString::to_string).collect();
        Ok(Finding::Ok(shown.join(", ")))
    }
}
