//! A list of users and groups instead of the system's.

use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Result, bail};

use super::super::accounts::COMMENT;
use super::super::{Account, AccountChange, Accounts, GroupEntry, effective_uid};
use super::{Instants, lock};

/// A list of users and groups. As root they get ids of their own, otherwise those of this process.
#[derive(Debug)]
pub struct FakeAccounts {
    instants: Arc<Instants>,
    state: Mutex<AccountTable>,
}

/// The users and groups of a [`FakeAccounts`].
#[derive(Debug, Default)]
pub struct AccountTable {
    /// Users with their comments.
    pub users: Vec<(Account, String)>,
    /// Groups.
    pub groups: Vec<GroupEntry>,
    made: u32,
}

impl FakeAccounts {
    pub(super) fn new(instants: &Arc<Instants>) -> Self {
        Self {
            instants: Arc::clone(instants),
            state: Mutex::default(),
        }
    }

    /// The table, to inspect and to change.
    pub fn table(&self) -> MutexGuard<'_, AccountTable> {
        lock(&self.state)
    }

    /// Adds a user with a primary group of the same name, unannounced; these are its ids.
    pub fn add(&self, name: &str, uid: u32, gid: u32) {
        let mut table = self.table();
        if !table.groups.iter().any(|group| group.name == name) {
            table.groups.push(GroupEntry {
                name: name.to_owned(),
                gid,
                members: Vec::new(),
            });
        }
        let account = Account {
            name: name.to_owned(),
            uid,
            gid,
            home: "/nonexistent".into(),
            shell: "/usr/sbin/nologin".into(),
        };
        table.users.push((account, String::new()));
    }
}

impl AccountTable {
    fn next_id(&mut self, own: u32) -> u32 {
        self.made += 1;
        if effective_uid() == 0 {
            61_000 + self.made
        } else {
            own
        }
    }
}

impl Accounts for FakeAccounts {
    fn user(&self, name: &str) -> Option<Account> {
        let table = self.table();
        let found = table.users.iter().find(|(user, _)| user.name == name);
        found.map(|(user, _)| user.clone())
    }

    fn user_by_id(&self, uid: u32) -> Option<Account> {
        let table = self.table();
        let found = table.users.iter().find(|(user, _)| user.uid == uid);
        found.map(|(user, _)| user.clone())
    }

    fn comment(&self, name: &str) -> Option<String> {
        let table = self.table();
        let found = table.users.iter().find(|(user, _)| user.name == name);
        found.map(|(_, comment)| comment.clone())
    }

    fn group(&self, name: &str) -> Option<GroupEntry> {
        let table = self.table();
        table
            .groups
            .iter()
            .find(|group| group.name == name)
            .cloned()
    }

    fn group_by_id(&self, gid: u32) -> Option<GroupEntry> {
        self.table()
            .groups
            .iter()
            .find(|group| group.gid == gid)
            .cloned()
    }

    fn groups_of(&self, user: &Account) -> Result<Vec<u32>> {
        let table = self.table();
        let of = table.groups.iter();
        let of = of.filter(|group| group.gid == user.gid || group.members.contains(&user.name));
        Ok(of.map(|group| group.gid).collect())
    }

    fn change(&self, change: &AccountChange<'_>) -> Result<()> {
        self.instants.pass(&format!("{change:?}"));
        let mut table = self.table();
        match *change {
            AccountChange::AddGroup(name) => {
                let gid = table.next_id(nix::unistd::getegid().as_raw());
                table.groups.push(GroupEntry {
                    name: name.to_owned(),
                    gid,
                    members: Vec::new(),
                });
            }
            AccountChange::AddUser(name, group) => {
                let Some(gid) = table.groups.iter().find(|g| g.name == group).map(|g| g.gid) else {
                    bail!("group '{group}' does not exist");
                };
                let account = Account {
                    name: name.to_owned(),
                    uid: table.next_id(effective_uid()),
                    gid,
                    home: "/nonexistent".into(),
                    shell: "/usr/sbin/nologin".into(),
                };
                table.users.push((account, COMMENT.to_owned()));
            }
            AccountChange::AddMember(user, group) => {
                for known in table.groups.iter_mut().filter(|known| known.name == group) {
                    known.members.push(user.to_owned());
                }
            }
            AccountChange::RemoveMember(user, group) => {
                for known in table.groups.iter_mut().filter(|known| known.name == group) {
                    known.members.retain(|member| member != user);
                }
            }
            AccountChange::RemoveUser(name) => table.users.retain(|(user, _)| user.name != name),
            AccountChange::RemoveGroup(name) => table.groups.retain(|group| group.name != name),
        }
        Ok(())
    }
}
