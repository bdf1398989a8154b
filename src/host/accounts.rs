//! Users and groups: looked up through the system's own databases, made with its own tools.

use std::path::{Path, PathBuf};

use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use users::os::unix::{GroupExt, UserExt};

use super::{Command, Identity, Server, View};

/// What the accounts that pullpray makes say of themselves.
pub const COMMENT: &str = "runs web apps, made by pullpray";

/// A user of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Name.
    pub name: String,
    /// Number.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Home directory.
    pub home: PathBuf,
    /// Login shell.
    pub shell: PathBuf,
}

/// A group of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupEntry {
    /// Name.
    pub name: String,
    /// Number.
    pub gid: u32,
    /// Members that the group's own entry lists.
    pub members: Vec<String>,
}

impl View {
    /// The user of that name.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<Account> {
        users::get_user_by_name(name).map(|user| account(&user))
    }

    /// Whether pullpray made the user, by what it says of itself.
    #[must_use]
    pub fn made_here(&self, name: &str) -> bool {
        let user = nix::unistd::User::from_name(name).ok().flatten();
        user.is_some_and(|user| user.gecos.to_bytes() == COMMENT.as_bytes())
    }

    /// The group of that name.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<GroupEntry> {
        users::get_group_by_name(name).map(|group| GroupEntry {
            name: group.name().to_string_lossy().into_owned(),
            gid: group.gid(),
            members: group
                .members()
                .iter()
                .map(|member| member.to_string_lossy().into_owned())
                .collect(),
        })
    }

    /// In how many days PAM shuts an account of this server out (below 0: it does already), and the option of
    /// chage(1) that ends that. Passwords age also where nobody has one. Only root can see it.
    ///
    /// # Errors
    /// When /etc/shadow cannot be read.
    pub fn expires(&self, name: &str, today: i64) -> Result<Option<(i64, &'static str)>> {
        let text = self.read_text(Path::new("/etc/shadow"))?;
        Ok(expiry(&text.unwrap_or_default(), name, today))
    }

    /// The user's name, or the number where nobody has it.
    #[must_use]
    pub fn user_name(&self, uid: u32) -> String {
        users::get_user_by_uid(uid).map_or_else(|| uid.to_string(), |user| account(&user).name)
    }

    /// The group's name, or the number where nobody has it.
    #[must_use]
    pub fn group_name(&self, gid: u32) -> String {
        users::get_group_by_gid(gid).map_or_else(
            || gid.to_string(),
            |group| group.name().to_string_lossy().into_owned(),
        )
    }

    /// Owner, group and mode in words: `root:root 0755`.
    #[must_use]
    pub fn owned(&self, uid: u32, gid: u32, mode: u32) -> String {
        let (user, group) = (self.user_name(uid), self.group_name(gid));
        format!("{user}:{group} {mode:04o}")
    }

    /// Whether the user is in the group, by its primary group or as a listed member.
    #[must_use]
    pub fn is_member(&self, user: &Account, group: &GroupEntry) -> bool {
        user.gid == group.gid || group.members.contains(&user.name)
    }

    /// Everything that is needed to be that user.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn identity(&self, name: &str) -> Result<Identity> {
        let Some(user) = self.user(name) else {
            bail!("there is no user {name}");
        };
        let groups = users::get_user_groups(name, user.gid)
            .with_context(|| format!("failed to list the groups of {name}"))?;
        let mut groups: Vec<u32> = groups.iter().map(users::Group::gid).collect();
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

    /// The user that this process is.
    #[must_use]
    pub fn current_user(&self) -> Option<Account> {
        users::get_user_by_uid(users::get_effective_uid()).map(|user| account(&user))
    }

    /// Processes of that user, as numbers.
    ///
    /// # Errors
    /// When /proc cannot be listed.
    pub fn processes_of(&self, uid: u32) -> Result<Vec<u32>> {
        let mut found = Vec::new();
        for name in self.list(Path::new("/proc"))? {
            let Some(pid) = name.to_str().and_then(|n| n.parse::<u32>().ok()) else {
                continue;
            };
            // A process may end while we look. Who owns its directory would not tell: of one that is setgid,
            // as ssh-agent is, that is root (proc(5)).
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
    /// Makes a system group.
    ///
    /// # Errors
    /// What groupadd says.
    pub fn add_group(&self, name: &str) -> Result<()> {
        tool("groupadd")
            .args(["--system", "--", name])
            .run()
            .map(drop)
    }

    /// Makes a system account that nobody can log in to, with that primary group.
    ///
    /// # Errors
    /// What useradd says.
    pub fn add_user(&self, name: &str, group: &str, home: &Path, comment: &str) -> Result<()> {
        tool("useradd")
            .args([
                "--system",
                "--no-create-home",
                "--shell",
                "/usr/sbin/nologin",
            ])
            .args(["--gid", group, "--comment", comment, "--home-dir"])
            .arg(home)
            .args(["--", name])
            .run()
            .map(drop)
    }

    /// Makes a user a member of a group.
    ///
    /// # Errors
    /// What gpasswd says.
    pub fn add_member(&self, user: &str, group: &str) -> Result<()> {
        tool("gpasswd").args(["--add", user, group]).run().map(drop)
    }

    /// Takes a user out of a group.
    ///
    /// # Errors
    /// What gpasswd says.
    pub fn remove_member(&self, user: &str, group: &str) -> Result<()> {
        tool("gpasswd")
            .args(["--delete", user, group])
            .run()
            .map(drop)
    }

    /// Ends everything that an account runs, and removes what would start something again: its crontab, its
    /// at jobs, that it lingers (loginctl(1)).
    ///
    /// # Errors
    /// When something of it cannot be removed, or still runs after ten seconds.
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
            // Its own service manager, if it has one, would start anew what is killed.
            drop(self.stop(&format!("user@{}.service", user.uid)));
            for pid in running {
                let pid = Pid::from_raw(i32::try_from(pid)?);
                // One that is gone already is as good.
                let _gone = kill(pid, Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("processes of {} still run", user.name)
    }

    /// Removes a user, not its files.
    ///
    /// # Errors
    /// What usermod or userdel say.
    pub fn remove_user(&self, name: &str) -> Result<()> {
        // userdel also deletes a group that is called like the user (USERGROUPS_ENAB, login.defs(5)), even one
        // that was there before the user. Which group goes is ours to say. The home goes from the entry too,
        // because usermod would hand what is in it over to the other group.
        tool("usermod")
            .args(["--home", "/nonexistent", "--gid", "nogroup", "--", name])
            .run()?;
        tool("userdel").args(["--", name]).run().map(drop)
    }

    /// Removes a group.
    ///
    /// # Errors
    /// What groupdel says.
    pub fn remove_group(&self, name: &str) -> Result<()> {
        tool("groupdel").args(["--", name]).run().map(drop)
    }
}

/// A program that changes the account databases: it locks them and writes them beside first, and
/// goes on with that even if this process is killed.
fn tool(program: &str) -> Command {
    Command::new(program).survives()
}

/// The first of the ends that shadow(5) knows, as pam_unix(8) counts them.
fn expiry(shadow: &str, name: &str, today: i64) -> Option<(i64, &'static str)> {
    let mut lines = shadow.lines().map(|line| line.split(':'));
    let fields: Vec<&str> = lines
        .find(|fields| fields.clone().next() == Some(name))?
        .collect();
    let days = |at: usize| fields.get(at).and_then(|text| text.parse::<i64>().ok());
    let aged = match (days(2), days(4)) {
        (Some(0), _) => Some((-1, "--lastday \"$(date +%F)\"")),
        (Some(changed), Some(most)) if changed <= today => {
            Some((changed + most - today, "--maxdays -1"))
        }
        _ => None,
    };
    let expired = days(7).map(|last| (last - today, "--expiredate -1"));
    aged.into_iter().chain(expired).min()
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
    fn accounts_end_as_pam_counts() {
        let of = |fields: &str| expiry(&format!("ann:!:1:::::\nbob:!:{fields}\n"), "bob", 100);
        assert_eq!(of("90::::::"), None, "as useradd --system makes it");
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
