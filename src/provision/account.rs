//! Accounts: the group of the app, the user that runs this one, the operator's membership.
//!
//! One of that name may exist with another number, shell or home: it is adopted as it is, said so,
//! never changed and never deleted.

use anyhow::Result;

use crate::app::{App, Settings};
use crate::layout;
use crate::state::receipt::{Before, Change, Receipt};

use crate::host::{Clock, effective_uid};

use super::eligibility::{answers_of, ineligible};
use super::{Changes, CheckContext, Finding, PlanItem, Step, StepId};

pub(super) struct Group<'a>(pub(super) &'a App);
pub(super) struct User<'a>(pub(super) &'a App);
pub(super) struct Membership<'a> {
    pub(super) app: &'a App,
    pub(super) user: &'a str,
    pub(super) id: StepId,
}

/// Whether the receipt says that pullpray made it.
fn made(receipt: &Receipt, change: &Change) -> &'static str {
    if !receipt.is_readable()
        || receipt
            .entries()
            .iter()
            .any(|entry| entry.change == *change)
    {
        ""
    } else {
        "was there, "
    }
}

/// What is said of an account or a group that the app has had, that pullpray did not make, and that this server
/// does not know any more: most often a directory service is away. One of that name that were made here would be
/// another, and be given all that is the app's.
fn away(
    context: &CheckContext<'_>,
    app: &App,
    (answer, base): (&str, &str),
    change: &Change,
) -> Result<Option<Finding>> {
    if made(context.receipt, change).is_empty() {
        return Ok(None);
    }
    let saved = context.view.read_text(&layout::settings(&app.name))?;
    let saved = saved.and_then(|text| Settings::parse(&text).ok());
    let Some(name) = saved.and_then(|saved| saved.answers.get(answer).map(str::to_owned)) else {
        return Ok(None);
    };
    let (Change::User { name: wanted, .. } | Change::Group { name: wanted, .. }) = change else {
        return Ok(None);
    };
    let app = &app.name;
    Ok((name == *wanted).then(|| {
        Finding::ManualFix(
            format!(
                "this server does not know the {answer} {name} any more, which was there before pullpray: is its directory service away? One made here would be another"
            ),
            format!(
                "getent {base} {name}; systemctl --failed  # if it is gone for good: sudo pullpray init {app} --{answer} ANOTHER"
            ),
        )
    }))
}

/// What is said of an account that PAM shuts out, now or soon: cron starts nothing as it, and says so only in the
/// journal.
fn expires(context: &CheckContext<'_>, name: &str) -> Result<Option<Finding>> {
    if effective_uid() != 0 {
        return Ok(None);
    }
    let today = Clock::system().now().timestamp() / 86_400;
    let found = context.view.expires(name, today)?;
    Ok(found.filter(|(days, _)| *days < 30).map(|(days, option)| {
        let remedy = format!("sudo chage {option} {name}");
        if days < 0 {
            let why = format!("the account {name} has expired (chage --list {name}): cron starts nothing as it");
            return Finding::ManualFix(why, remedy);
        }
        let why = format!("the account {name} expires in {days} days (chage --list {name}): cron starts nothing as it then");
        Finding::Warning(why, remedy)
    }))
}

impl Group<'_> {
    /// The other app whose account is a member of the group, and what to do.
    fn shared(&self, context: &CheckContext<'_>) -> Result<Option<(String, String)>> {
        let app = self.0;
        let members = context
            .view
            .group(app.group.as_str())
            .map(|group| group.members);
        for other in context.view.facts(None)?.others {
            if other.name == app.name || other.user == app.user {
                continue;
            }
            if members
                .iter()
                .flatten()
                .any(|name| name == other.user.as_str())
            {
                return Ok(Some((
                    format!(
                        "{}, which runs {}, is a member of {}: it could read and change what is {}'s",
                        other.user, other.name, app.group, app.name
                    ),
                    format!("sudo gpasswd --delete {} {}", other.user, app.group),
                )));
            }
        }
        Ok(None)
    }
}

impl Step for Group<'_> {
    fn id(&self) -> StepId {
        StepId::AccountGroup
    }
    fn title(&self) -> String {
        format!("group {}", self.0.group)
    }
    fn plan_item(&self) -> PlanItem {
        PlanItem {
            kind: "group",
            what: self.0.group.to_string(),
        }
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let name = self.0.group.to_string();
        if let Some((why, remedy)) = ineligible(context.view, &answers_of(self.0), "group")? {
            return Ok(Finding::ManualFix(why, remedy));
        }
        let created = Change::Group {
            name: name.clone(),
            before: Before::Created,
        };
        Ok(match context.view.group(&name) {
            Some(_) if self.shared(context)?.is_some() => {
                let (why, remedy) = self.shared(context)?.unwrap_or_default();
                Finding::ManualFix(why, remedy)
            }
            Some(group) => {
                let made = made(context.receipt, &created);
                Finding::Ok(format!("{made}gid {}", group.gid))
            }
            None => away(context, self.0, ("group", "group"), &created)?
                .unwrap_or_else(|| Finding::Absent("system group".to_owned())),
        })
    }
    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        changes.group(self.0.group.as_str())
    }
}

impl Step for User<'_> {
    fn id(&self) -> StepId {
        StepId::AccountUser
    }
    fn title(&self) -> String {
        format!("user {}", self.0.user)
    }
    fn plan_item(&self) -> PlanItem {
        PlanItem {
            kind: "user",
            what: self.0.user.to_string(),
        }
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let name = self.0.user.to_string();
        if let Some((why, remedy)) = ineligible(context.view, &answers_of(self.0), "user")? {
            return Ok(Finding::ManualFix(why, remedy));
        }
        let created = Change::User {
            name: name.clone(),
            before: Before::Created,
        };
        Ok(match context.view.user(&name) {
            Some(user) => {
                let made = made(context.receipt, &created);
                expires(context, &user.name)?
                    .unwrap_or_else(|| Finding::Ok(format!("{made}uid {}", user.uid)))
            }
            None => away(context, self.0, ("user", "passwd"), &created)?
                .unwrap_or_else(|| Finding::Absent("system account, /usr/sbin/nologin".to_owned())),
        })
    }
    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        changes.user(self.0.user.as_str(), self.0.group.as_str())
    }
}

impl Step for Membership<'_> {
    fn id(&self) -> StepId {
        self.id
    }
    fn title(&self) -> String {
        format!("{} in {}", self.user, self.app.group)
    }
    fn plan_item(&self) -> PlanItem {
        PlanItem {
            kind: "member",
            what: format!("{} of {}", self.user, self.app.group),
        }
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let Some(user) = context.view.user(self.user) else {
            // The app's own account is made by an earlier step; a person's never.
            if self.user == self.app.user.as_str() {
                return Ok(Finding::Blocked(
                    StepId::AccountUser,
                    format!("becomes a member of {}", self.app.group),
                ));
            }
            return Ok(Finding::ManualFix(
                format!("there is no user {}", self.user),
                format!(
                    "sudo pullpray init {} --operator ''  # or with an account that exists",
                    self.app.name
                ),
            ));
        };
        if self.id == StepId::AccountOperator
            && let Some((why, remedy)) =
                ineligible(context.view, &answers_of(self.app), "operator")?
        {
            return Ok(Finding::ManualFix(why, remedy));
        }
        let Some(group) = context.view.group(self.app.group.as_str()) else {
            return Ok(Finding::Blocked(
                StepId::AccountGroup,
                format!("becomes a member of {}", self.app.group),
            ));
        };
        Ok(if context.view.is_member(&user, &group) {
            Finding::Ok("member".to_owned())
        } else {
            Finding::Absent("becomes a member, from the next login on".to_owned())
        })
    }
    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        changes.member(self.user, self.app.group.as_str())
    }
}
