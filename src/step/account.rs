//! Accounts: the group of the app, the user that runs this one, the operator's membership.
//!
//! One of that name may exist with another number, shell or home: it is adopted as it is, said so,
//! never changed and never deleted.

use anyhow::Result;

use crate::app::App;
use crate::record::receipt::{Before, Change, Receipt};
use crate::server::GroupEntry;

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

/// Groups whose members may do more than the app's account is to: read what only root reads, write to disks,
/// become root. Debian's, and what common packages bring.
const PRIVILEGED: [&str; 28] = [
    "root",
    "adm",
    "admin",
    "sudo",
    "wheel",
    "staff",
    "shadow",
    "disk",
    "kmem",
    "tty",
    "docker",
    "lxd",
    "incus",
    "incus-admin",
    "libvirt",
    "kvm",
    "podman",
    "systemd-journal",
    "systemd-network",
    "ssl-cert",
    "_ssh",
    "ssh",
    "crontab",
    "operator",
    "backup",
    "netdev",
    "input",
    "video",
];

impl Group<'_> {
    /// Why a group that exists cannot be this app's, and what to do.
    fn refused(&self, look: &Look<'_>, group: &GroupEntry) -> Option<(String, String)> {
        let (app, name) = (self.0, self.0.group.as_str());
        let remedy = || format!("sudo pullpray init {} --group {}", app.name, app.user);
        if group.gid == 0 || PRIVILEGED.contains(&name) {
            return Some((
                format!(
                    "the group {name} may do more than an app is to (gid {})",
                    group.gid
                ),
                remedy(),
            ));
        }
        let ours = Change::Group {
            name: name.to_owned(),
            before: Before::Created,
        };
        // A group that came with the account, and has nobody else in it, is as good as ours.
        let account = look.view.user(app.user.as_str());
        let private = account.is_some_and(|user| user.gid == group.gid && user.name == name)
            && group
                .members
                .iter()
                .all(|member| member == app.user.as_str());
        let made = look
            .receipt
            .entries()
            .iter()
            .any(|entry| entry.change == ours);
        (group.gid < 1000 && !made && !private && look.receipt.is_readable()).then(|| {
            (
                format!(
                    "the group {name} is the system's (gid {}), and not this app's",
                    group.gid
                ),
                remedy(),
            )
        })
    }

    /// The other app that would share everything with this one through the group, and what to do.
    fn shared(&self, look: &Look<'_>) -> Result<Option<(String, String)>> {
        let app = self.0;
        let members = look
            .view
            .group(app.group.as_str())
            .map(|group| group.members);
        for other in look.view.facts(None)?.others {
            if other.name == app.name || other.user == app.user {
                continue;
            }
            if other.group == app.group {
                return Ok(Some((
                    format!(
                        "{} has the group {} too, and runs as {}: each could read and change what is the other's",
                        other.name, app.group, other.user
                    ),
                    format!("sudo pullpray init {} --group {}", app.name, app.user),
                )));
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
            Some(group) if self.refused(look, &group).is_some() => {
                let (why, remedy) = self.refused(look, &group).unwrap_or_default();
                Finding::Broken(why, remedy)
            }
            Some(_) if self.shared(look)?.is_some() => {
                let (why, remedy) = self.shared(look)?.unwrap_or_default();
                Finding::Broken(why, remedy)
            }
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
