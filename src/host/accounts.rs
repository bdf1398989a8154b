//! Users and groups: looked up in the system's databases, changed with the system's tools.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use users::os::unix::{GroupExt, UserExt};

use super::{Command, Identity, Server, View};

/// Comment (GECOS) of the accounts that pullpray creates.
pub const COMMENT: &str = "runs web apps, made by pullpray";

/// A user account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Id of the primary group.
    pub gid: u32,
    /// Home directory.
    pub home: PathBuf,
    /// Login shell.
    pub shell: PathBuf,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupEntry {
    /// Name.
    pub name: String,
    /// Group id.
    pub gid: u32,
    /// Members listed in the group's entry.
    pub members: Vec<String>,
}

/// The system's users and groups; in tests a list.
pub trait Accounts: fmt::Debug + Send + Sync {
    /// The user with that name.
    fn user(&self, name: &str) -> Option<Account>;
    /// The user with that id.
    fn user_by_id(&self, uid: u32) -> Option<Account>;
    /// The user's comment (GECOS).
    fn comment(&self, name: &str) -> Option<String>;
    /// The group with that name.
    fn group(&self, name: &str) -> Option<GroupEntry>;
    /// The group with that id.
    fn group_by_id(&self, gid: u32) -> Option<GroupEntry>;
    /// The ids of all groups of a user.
    ///
    /// # Errors
    /// When they cannot be listed.
    fn groups_of(&self, user: &Account) -> Result<Vec<u32>>;
    /// Changes the databases.
    ///
    /// # Errors
    /// When the system's tool fails.
    fn change(&self, change: &AccountChange<'_>) -> Result<()>;
}

/// A change of users and groups.
#[derive(Debug, Clone, Copy)]
pub enum AccountChange<'a> {
    /// Creates a system group.
    AddGroup(&'a str),
    /// Creates a system account without a home and a login shell: its name and primary group.
    AddUser(&'a str, &'a str),
    /// Adds a user to a group.
    AddMember(&'a str, &'a str),
    /// Removes a user from a group.
    RemoveMember(&'a str, &'a str),
    /// Removes a user but not its files.
    RemoveUser(&'a str),
    /// Removes a group.
    RemoveGroup(&'a str),
}

/// The databases of this machine (nsswitch.conf(5)), changed with the tools of shadow.
#[derive(Debug)]
pub(super) struct Databases;

impl Accounts for Databases {
    fn user(&self, name: &str) -> Option<Account> {
        users::get_user_by_name(name).map(|user| account(&user))
    }

    fn user_by_id(&self, uid: u32) -> Option<Account> {
        users::get_user_by_uid(uid).map(|user| account(&user))
    }

    fn comment(&self, name: &str) -> Option<String> {
        let user = nix::unistd::User::from_name(name).ok().flatten()?;
        user.gecos.into_string().ok()
    }

    fn group(&self, name: &str) -> Option<GroupEntry> {
        users::get_group_by_name(name).map(|group| entry(&group))
    }

    fn group_by_id(&self, gid: u32) -> Option<GroupEntry> {
        users::get_group_by_gid(gid).map(|group| entry(&group))
    }

    fn groups_of(&self, user: &Account) -> Result<Vec<u32>> {
        let groups = users::get_user_groups(&user.name, user.gid)
            .with_context(|| format!("failed to list the groups of {}", user.name))?;
        Ok(groups.iter().map(users::Group::gid).collect())
    }

    fn change(&self, change: &AccountChange<'_>) -> Result<()> {
        let run = |arguments: &[&str]| {
            // It takes the databases' lock files, so it runs to its end even if this process is killed.
            let command = Command::new(arguments[0]).args(&arguments[1..]);
            command.survives().run().map(drop)
        };
        match *change {
            AccountChange::AddGroup(name) => run(&["groupadd", "--system", "--", name]),
            AccountChange::AddUser(name, group) => run(&[
                "useradd",
                "--system",
                "--no-create-home",
                "--shell=/usr/sbin/nologin",
                "--home-dir=/nonexistent",
                "--comment",
                COMMENT,
                "--gid",
                group,
                "--",
                name,
            ]),
            AccountChange::AddMember(user, group) => run(&["gpasswd", "--add", user, group]),
            AccountChange::RemoveMember(user, group) => run(&["gpasswd", "--delete", user, group]),
            AccountChange::RemoveUser(name) => {
                // userdel also deletes the group with the user's name (USERGROUPS_ENAB, login.defs(5)), even if it
                // existed before the user; so the primary group is changed first. The home is changed too, because
                // usermod would change the group of the files in it.
                run(&[
                    "usermod",
                    "--home=/nonexistent",
                    "--gid=nogroup",
                    "--",
                    name,
                ])?;
                run(&["userdel", "--", name])
            }
            AccountChange::RemoveGroup(name) => run(&["groupdel", "--", name]),
        }
    }
}

impl View {
    /// Returns the user with that name.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<Account> {
        self.outside.accounts.user(name)
    }

    /// Whether pullpray created the user, according to its comment.
    #[must_use]
    pub fn created_by_pullpray(&self, name: &str) -> bool {
        self.outside.accounts.comment(name).as_deref() == Some(COMMENT)
    }

    /// Returns the group with that name.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<GroupEntry> {
        self.outside.accounts.group(name)
    }

    /// Returns in how many days PAM locks an account (negative: it is locked), and the option of chage(1) that
    /// prevents this. Passwords age even in accounts without one. Only root can read this.
    ///
    /// # Errors
    /// When /etc/shadow cannot be read.
    pub fn expires(&self, name: &str, today: i64) -> Result<Option<(i64, &'static str)>> {
        let text = self.read_text(Path::new("/etc/shadow"))?;
        Ok(expiry(&text.unwrap_or_default(), name, today))
    }

    /// Returns the user's name, or the id if there is no such user.
    #[must_use]
    pub fn user_name(&self, uid: u32) -> String {
        let user = self.outside.accounts.user_by_id(uid);
        user.map_or_else(|| uid.to_string(), |user| user.name)
    }

    /// Returns the group's name, or the id if there is no such group.
    #[must_use]
    pub fn group_name(&self, gid: u32) -> String {
        let group = self.outside.accounts.group_by_id(gid);
        group.map_or_else(|| gid.to_string(), |group| group.name)
    }

    /// Formats owner, group and mode: `root:root 0755`.
    #[must_use]
    pub fn owned(&self, uid: u32, gid: u32, mode: u32) -> String {
        let (user, group) = (self.user_name(uid), self.group_name(gid));
        format!("{user}:{group} {mode:04o}")
    }

    /// Whether the group is the user's primary group or lists the user as a member.
    #[must_use]
    pub fn is_member(&self, user: &Account, group: &GroupEntry) -> bool {
        user.gid == group.gid || group.members.contains(&user.name)
    }

    /// Returns what is needed to run a program as that user.
    ///
    /// # Errors
    /// When the user does not exist.
    pub fn identity(&self, name: &str) -> Result<Identity> {
        let Some(user) = self.user(name) else {
            bail!("there is no user {name}");
        };
        let mut groups = self.outside.accounts.groups_of(&user)?;
        if !groups.contains(&user.gid) {
            groups.push(user.gid);
        }
        Ok(Identity {
            name: user.name,
            uid: user.uid,
            gid: user.gid,
            groups,
            home: user.home,
        })
    }

    /// Returns the user that this process runs as.
    #[must_use]
    pub fn current_user(&self) -> Option<Account> {
        self.outside.accounts.user_by_id(super::effective_uid())
    }

    /// Returns the ids of the user's processes.
    ///
    /// # Errors
    /// When /proc cannot be listed.
    pub fn processes_of(&self, uid: u32) -> Result<Vec<u32>> {
        let mut found = Vec::new();
        for name in self.list(Path::new("/proc"))? {
            let Some(pid) = name.to_str().and_then(|n| n.parse::<u32>().ok()) else {
                continue;
            };
            // A process may exit meanwhile. The owner of its directory is not reliable: for a setgid program
            // such as ssh-agent it is root (proc(5)).
            let status = self.read_text(&Path::new("/proc").join(&name).join("status"));
            let status = status.ok().flatten().unwrap_or_default();
            let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
            let is = |text: &str| text.parse() == Ok(uid);
            if uids.is_some_and(|uids| uids.split_whitespace().any(is)) {
                found.push(pid);
            }
        }
        Ok(found)
    }
}

impl Server {
    /// Changes users and groups.
    ///
    /// # Errors
    /// When the system's tool fails.
    pub fn change_accounts(&self, change: AccountChange<'_>) -> Result<()> {
        self.outside.accounts.change(&change)
    }

    /// Kills all processes of an account, and removes what could start new ones: its crontab, its at jobs, and
    /// lingering (loginctl(1)).
    ///
    /// # Errors
    /// When one of these cannot be removed, or a process still runs after ten seconds.
    pub fn end_account(&self, user: &Account) -> Result<()> {
        let starters = [
            Path::new("/var/spool/cron/crontabs").join(&user.name),
            Path::new("/var/lib/systemd/linger").join(&user.name),
        ];
        let jobs = Path::new("/var/spool/cron/atjobs");
        for _ in 0..1000 {
            for path in &starters {
                self.remove_any(path)?;
            }
            for job in self.list(jobs)? {
                let job = jobs.join(job);
                if self.stat(&job)?.is_some_and(|stat| stat.uid == user.uid) {
                    self.remove_any(&job)?;
                }
            }
            let running = self.processes_of(user.uid)?;
            if running.is_empty() {
                return Ok(());
            }
            // Its own service manager, if it has one, would restart killed services.
            drop(self.stop(&format!("user@{}.service", user.uid)));
            for pid in running {
                let pid = Pid::from_raw(i32::try_from(pid)?);
                // It may have exited already.
                let _gone = kill(pid, Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("processes of {} still run", user.name)
    }
}

/// The earliest expiry in an entry of shadow(5), calculated as pam_unix(8) does.
fn expiry(shadow: &str, name: &str, today: i64) -> Option<(i64, &'static str)> {
    let mut lines = shadow.lines().map(|line| line.split(':'));
    let fields: Vec<&str> = lines
        .find(|fields| fields.clone().next() == Some(name))?
        .collect();
    let days = |at: usize| fields.get(at).and_then(|text| text.parse::<i64>().ok());
    let password = match (days(2), days(4)) {
        (Some(0), _) => Some((-1, "--lastday \"$(date +%F)\"")),
        (Some(changed), Some(most)) if changed <= today => {
            Some((changed + most - today, "--maxdays -1"))
        }
        _ => None,
    };
    let account = days(7).map(|last| (last - today, "--expiredate -1"));
    password.into_iter().chain(account).min()
}

fn entry(group: &users::Group) -> GroupEntry {
    let members = group.members().iter();
    GroupEntry {
        name: group.name().to_string_lossy().into_owned(),
        gid: group.gid(),
        members: members
            .map(|member| member.to_string_lossy().into_owned())
            .collect(),
    }
}

fn account(user: &users::User) -> Account {
    Account {
        name: user.name().to_string_lossy().into_owned(),
        uid: user.uid(),
        gid: user.primary_group_id(),
        home: user.home_dir().to_owned(),
        shell: user.shell().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_matches_pam() {
        let of = |fields: &str| expiry(&format!("ann:!:1:::::\nbob:!:{fields}\n"), "bob", 100);
        assert_eq!(of("90::::::"), None, "as useradd --system creates it");
        assert_eq!(of("90:0:99999:7:::"), Some((99_989, "--maxdays -1")));
        assert_eq!(
            of("10:0:90:7:::"),
            Some((0, "--maxdays -1")),
            "the last day"
        );
        assert_eq!(of("9:0:90:7:::"), Some((-1, "--maxdays -1")));
        assert_eq!(of("0:::::: ").map(|(days, _)| days), Some(-1));
        assert_eq!(of("90:0:90:7::99:"), Some((-1, "--expiredate -1")));
        assert_eq!(of(":::::: "), None);
        assert_eq!(expiry("ann:!:1:::::", "bob", 100), None);
    }
}
