//! Accounts: the app's group and user, and the group memberships of the user and the operator.
//!
//! A pre-existing user or group is adopted with its own id, shell and home; it is never modified and
//! never deleted.

use anyhow::Result;

use crate::app::{App, Settings};
use crate::layout;
use crate::state::receipt::{Change, Receipt};

use crate::host::{GroupEntry, effective_uid};

use super::eligibility::{answers_of, ineligible};
use super::{About, Changes, Check, CheckContext, Finding, Fix, Problem, StepId};

pub(super) struct Group<'a>(pub(super) &'a App);
pub(super) struct User<'a>(pub(super) &'a App);
pub(super) struct Membership<'a> {
    pub(super) app: &'a App,
    pub(super) user: &'a str,
    pub(super) id: StepId,
}

/// A note that the user or group is pre-existing, unless the receipt records that pullpray created it.
fn origin(receipt: &Receipt, change: &Change) -> &'static str {
    if !receipt.is_readable() || receipt.records(change) {
        ""
    } else {
        "pre-existing, "
    }
}

/// Finding for a pre-existing user or group of the app that this server no longer knows, most often because a
/// directory service is unavailable. Creating one of that name would hand the app's files to another account.
fn missing(
    context: &CheckContext<'_>,
    app: &App,
    (answer, base): (&str, &str),
    change: &Change,
) -> Result<Option<Finding>> {
    if origin(context.receipt, change).is_empty() {
        return Ok(None);
    }
    let saved = context.view.read_text(&layout::settings(&app.name))?;
    let saved = saved.and_then(|text| Settings::parse(&text).ok());
    let Some(name) = saved.and_then(|saved| saved.answers.get(answer).map(str::to_owned)) else {
        return Ok(None);
    };
    let app = &app.name;
    Ok((name == change.key().1).then(|| {
        Finding::manual(
            format!(
                "the {answer} {name} existed before pullpray and is now unknown to this server: is its directory service unavailable? pullpray does not create another one under that name"
            ),
            format!(
                "getent {base} {name}; systemctl --failed  # if it was deleted: sudo pullpray init {app} --{answer} ANOTHER"
            ),
        )
    }))
}

/// Finding for an account that has expired or expires within 30 days: PAM then refuses it, and cron runs nothing as
/// it and only logs that in the journal.
fn expiry(context: &CheckContext<'_>, name: &str) -> Result<Option<Finding>> {
    if effective_uid() != 0 {
        return Ok(None);
    }
    let today = context.view.clock().now().timestamp() / 86_400;
    let found = context.view.expires(name, today)?;
    Ok(found.filter(|(days, _)| *days < 30).map(|(days, option)| {
        let remedy = format!("sudo chage {option} {name}");
        if days < 0 {
            let why = format!("the account {name} has expired (chage --list {name}): cron does not run its jobs");
            return Finding::manual(why, remedy);
        }
        let why = format!("the account {name} expires in {days} days (chage --list {name}): cron will then not run its jobs");
        Finding::warning(why, remedy)
    }))
}

impl Group<'_> {
    /// Another app's account that is a member of the group: why that is wrong, and the command that fixes it.
    fn foreign_member(
        &self,
        context: &CheckContext<'_>,
        group: &GroupEntry,
    ) -> Result<Option<Problem>> {
        let app = self.0;
        let mut others = context.view.facts(None)?.others.into_iter();
        let foreign = others.find(|other| {
            let mut members = group.members.iter();
            other.name != app.name
                && other.user != app.user
                && members.any(|name| name == other.user.as_str())
        });
        Ok(foreign.map(|other| {
            let (user, group) = (&other.user, &app.group);
            Problem::new(
                format!(
                    "{user}, which runs {}, is a member of {group}: it can read and modify the files of {}",
                    other.name, app.name
                ),
                format!("sudo gpasswd --delete {user} {group}"),
            )
        }))
    }
}

impl Check for Group<'_> {
    fn about(&self) -> About {
        About::new(StepId::AccountGroup, &self.0.group)
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let name = self.0.group.to_string();
        if let Some(problem) = ineligible(context.view, &answers_of(self.0), "group")? {
            return Ok(problem.into());
        }
        let created = Change::created_group(&name);
        Ok(match context.view.group(&name) {
            Some(group) => {
                let origin = origin(context.receipt, &created);
                let found = self.foreign_member(context, &group)?.map(Finding::from);
                found.unwrap_or_else(|| Finding::Ok(format!("{origin}gid {}", group.gid)))
            }
            None => missing(context, self.0, ("group", "group"), &created)?
                .unwrap_or_else(|| Finding::absent("system group")),
        })
    }
}

impl Fix for Group<'_> {
    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        changes.group(self.0.group.as_str())
    }
}

impl Check for User<'_> {
    fn about(&self) -> About {
        About::new(StepId::AccountUser, &self.0.user)
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let name = self.0.user.to_string();
        if let Some(problem) = ineligible(context.view, &answers_of(self.0), "user")? {
            return Ok(problem.into());
        }
        let created = Change::created_user(&name);
        Ok(match context.view.user(&name) {
            Some(user) => {
                let origin = origin(context.receipt, &created);
                expiry(context, &user.name)?
                    .unwrap_or_else(|| Finding::Ok(format!("{origin}uid {}", user.uid)))
            }
            None => missing(context, self.0, ("user", "passwd"), &created)?
                .unwrap_or_else(|| Finding::absent("system account, /usr/sbin/nologin")),
        })
    }
}

impl Fix for User<'_> {
    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        changes.user(self.0.user.as_str(), self.0.group.as_str())
    }
}

impl Check for Membership<'_> {
    fn about(&self) -> About {
        let (user, group) = (self.user, &self.app.group);
        About {
            title: format!("{user} in {group}"),
            ..About::new(self.id, format!("{user} of {group}"))
        }
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let follows = format!("added to {}", self.app.group);
        let Some(user) = context.view.user(self.user) else {
            // An earlier step creates the app's account; pullpray never creates a person's.
            if self.user == self.app.user.as_str() {
                return Ok(Finding::blocked(StepId::AccountUser, follows));
            }
            let app = &self.app.name;
            return Ok(Finding::manual(
                format!("there is no user {}", self.user),
                format!("sudo pullpray init {app} --operator ''  # or name an existing account"),
            ));
        };
        if self.id == StepId::AccountOperator
            && let Some(problem) = ineligible(context.view, &answers_of(self.app), "operator")?
        {
            return Ok(problem.into());
        }
        let Some(group) = context.view.group(self.app.group.as_str()) else {
            return Ok(Finding::blocked(StepId::AccountGroup, follows));
        };
        Ok(if context.view.is_member(&user, &group) {
            Finding::ok("member")
        } else {
            Finding::absent("added; takes effect at the next login")
        })
    }
}

impl Fix for Membership<'_> {
    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        changes.member(self.user, self.app.group.as_str())
    }
}
