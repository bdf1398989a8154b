//! Accounts: the group of the hosted apps, the user that runs this one, the operator's membership.
//!
//! One of that name may exist with another number, shell or home: it is adopted as it is, said so,
//! never changed and never deleted.

use anyhow::Result;

use crate::app::App;
use crate::record::receipt::{Before, Change, Receipt};

use super::{Changes, Finding, Look, Row, Step};

pub(super) struct Group<'a>(pub(super) &'a App);
pub(super) struct User<'a>(pub(super) &'a App);
pub(super) struct Membership<'a> {
    pub(super) app: &'a App,
    pub(super) user: &'a str,
    pub(super) id: &'static str,
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

impl Step for Group<'_> {
    fn id(&self) -> &'static str {
        "account.group"
    }
    fn title(&self) -> String {
        format!("group {}", self.0.group)
    }
    fn row(&self) -> Row {
        Row {
            kind: "group",
            what: self.0.group.to_string(),
        }
    }
    fn check(&self, look: &Look<'_>) -> Result<Finding> {
        let name = self.0.group.to_string();
        Ok(match look.view.group(&name) {
            Some(group) if group.gid == 0 => Finding::Broken(
                format!("the group {name} is root's own (gid 0)"),
                format!("sudo pullpray init {} --group hosted_apps", self.0.name),
            ),
            Some(group) => {
                let made = made(
                    look.receipt,
                    &Change::Group {
                        name,
                        before: Before::Created,
                    },
                );
                Finding::Holds(format!("{made}gid {}", group.gid))
            }
            None => Finding::Absent("system group".to_owned()),
        })
    }
    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        changes.group(self.0.group.as_str())
    }
}

impl Step for User<'_> {
    fn id(&self) -> &'static str {
        "account.user"
    }
    fn title(&self) -> String {
        format!("user {}", self.0.user)
    }
    fn row(&self) -> Row {
        Row {
            kind: "user",
            what: self.0.user.to_string(),
        }
    }
    fn check(&self, look: &Look<'_>) -> Result<Finding> {
        let name = self.0.user.to_string();
        Ok(match look.view.user(&name) {
            Some(user) if user.uid == 0 => Finding::Broken(
                format!("the user {name} is root under another name (uid 0)"),
                format!("sudo pullpray init {} --user gunicorn", self.0.name),
            ),
            Some(user) => {
                let made = made(
                    look.receipt,
                    &Change::User {
                        name,
                        before: Before::Created,
                    },
                );
                Finding::Holds(format!("{made}uid {}", user.uid))
            }
            None => Finding::Absent("system account, /usr/sbin/nologin".to_owned()),
        })
    }
    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        changes.user(self.0.user.as_str(), self.0.group.as_str())
    }
}

impl Step for Membership<'_> {
    fn id(&self) -> &'static str {
        self.id
    }
    fn title(&self) -> String {
        format!("{} in {}", self.user, self.app.group)
    }
    fn row(&self) -> Row {
        Row {
            kind: "member",
            what: format!("{} of {}", self.user, self.app.group),
        }
    }
    fn check(&self, look: &Look<'_>) -> Result<Finding> {
        let Some(user) = look.view.user(self.user) else {
            // The app's own account is made by an earlier step; a person's never.
            if self.user == self.app.user.as_str() {
                return Ok(Finding::Waits(
                    "account.user",
                    format!("becomes a member of {}", self.app.group),
                ));
            }
            return Ok(Finding::Broken(
                format!("there is no user {}", self.user),
                format!(
                    "sudo pullpray init {} --operator ''  # or with an account that exists",
                    self.app.name
                ),
            ));
        };
        let Some(group) = look.view.group(self.app.group.as_str()) else {
            return Ok(Finding::Waits(
                "account.group",
                format!("becomes a member of {}", self.app.group),
            ));
        };
        Ok(if look.view.is_member(&user, &group) {
            Finding::Holds("member".to_owned())
        } else {
            Finding::Absent("becomes a member, from the next login on".to_owned())
        })
    }
    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        changes.member(self.user, self.app.group.as_str())
    }
}
