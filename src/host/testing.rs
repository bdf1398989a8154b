//! A server for tests: real files and programs below a temporary root, and small fakes for what is neither.
//!
//! [`TestServer::kill_at`] ends the test's run before its n-th change, as SIGKILL would: by unwinding, so that nothing
//! after it runs except destructors, and locks are released.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Result, bail};
use chrono::{DateTime, Utc};

use super::{
    Account, AccountChange, Accounts, Clock, GroupEntry, Http, HttpError, Outside, Response,
    Server, UnitState, Units, View, effective_uid,
};
use crate::app::{Bind, HealthHost, HealthPath};

/// Counts the changes of a server, and unwinds before one of them.
#[derive(Debug, Default)]
pub struct Instants {
    count: AtomicUsize,
    /// The number of the change that does not happen any more, from 1; 0: all happen.
    kill_at: AtomicUsize,
    log: Mutex<Vec<String>>,
}

/// The payload with which a killed run unwinds: the change that it did not make.
#[derive(Debug)]
pub struct Killed(pub String);

impl Instants {
    /// Called before every change.
    pub fn pass(&self, what: &str) {
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let kill_at = self.kill_at.load(Ordering::Relaxed);
        if kill_at != 0 && number >= kill_at {
            resume_unwind(Box::new(Killed(what.to_owned())));
        }
        lock(&self.log).push(what.to_owned());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Destructors of a killed run may have panicked while they held it.
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A server below a temporary root, which is removed when this is dropped.
#[derive(Debug)]
pub struct TestServer {
    /// The handle for the code under test.
    pub server: Server,
    /// Its units.
    pub units: Arc<FakeUnits>,
    /// Its answers over HTTP.
    pub http: Arc<FakeHttp>,
    /// Its users and groups.
    pub accounts: Arc<FakeAccounts>,
    /// Its clock: it starts at [`START`] and advances only by sleeping.
    pub clock: Clock,
    dir: tempfile::TempDir,
    instants: Arc<Instants>,
}

/// The time at which a test server's clock starts.
pub const START: &str = "2026-11-23T10:00:00Z";

impl TestServer {
    /// An empty server.
    pub fn new() -> Result<Self> {
        // In memory: nothing is synced to a disk.
        let memory = Path::new("/dev/shm");
        let mut dir = tempfile::Builder::new();
        let dir = dir.prefix("pullpray-").tempdir_in(if memory.is_dir() {
            memory
        } else {
            Path::new("/tmp")
        })?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let instants: Arc<Instants> = Arc::default();
        let clock = Clock::fixed(START.parse::<DateTime<Utc>>()?);
        let units = Arc::new(FakeUnits {
            root: dir.path().to_owned(),
            instants: Arc::clone(&instants),
            state: Mutex::default(),
        });
        let http = Arc::new(FakeHttp(Mutex::new(Box::new(|_| {
            Err(HttpError::Refused("Connection refused".to_owned()))
        }))));
        let accounts = Arc::new(FakeAccounts {
            instants: Arc::clone(&instants),
            state: Mutex::default(),
        });
        let server = Server {
            view: View {
                root: dir.path().to_owned(),
                outside: Outside {
                    units: Arc::<FakeUnits>::clone(&units),
                    http: Arc::<FakeHttp>::clone(&http),
                    accounts: Arc::<FakeAccounts>::clone(&accounts),
                    clock: clock.clone(),
                    instants: Arc::clone(&instants),
                },
            },
        };
        Ok(Self {
            server,
            units,
            http,
            accounts,
            clock,
            dir,
            instants,
        })
    }

    /// The temporary directory that is the server's `/`.
    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// Where a path of the server really is.
    pub fn real(&self, path: impl AsRef<Path>) -> PathBuf {
        self.server.real(path.as_ref())
    }

    /// Puts a file there, with its parent directories, unannounced.
    pub fn put(&self, path: impl AsRef<Path>, content: &str, mode: u32) -> Result<()> {
        let real = self.real(path);
        fs::create_dir_all(real.parent().unwrap_or(self.root()))?;
        fs::write(&real, content)?;
        Ok(fs::set_permissions(
            &real,
            fs::Permissions::from_mode(mode),
        )?)
    }

    /// Puts a program there: a shell script.
    pub fn put_program(&self, path: impl AsRef<Path>, script: &str) -> Result<()> {
        self.put(path, &format!("#!/bin/sh\n{script}\n"), 0o755)
    }

    /// Makes a program of this machine available on the server.
    pub fn link_program(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let real = self.real(path);
        fs::create_dir_all(real.parent().unwrap_or(self.root()))?;
        Ok(std::os::unix::fs::symlink(path, real)?)
    }

    /// The changes made since the last call of this or of [`Self::kill_at`].
    pub fn changes(&self) -> Vec<String> {
        self.instants.count.store(0, Ordering::Relaxed);
        std::mem::take(&mut lock(&self.instants.log))
    }

    /// Runs it, killed before its n-th change (from 1). Returns its result, or `None` if it was killed.
    pub fn kill_at<T>(&self, number: usize, run: impl FnOnce() -> T) -> Option<T> {
        self.changes();
        self.instants.kill_at.store(number, Ordering::Relaxed);
        let ended = catch_unwind(AssertUnwindSafe(run));
        self.instants.kill_at.store(0, Ordering::Relaxed);
        match ended {
            Ok(result) => Some(result),
            Err(payload) if payload.is::<Killed>() => None,
            Err(payload) => resume_unwind(payload),
        }
    }
}

/// A table of units. Starting one records what its watched link points to, which is the release that it then runs.
#[derive(Debug)]
pub struct FakeUnits {
    root: PathBuf,
    instants: Arc<Instants>,
    state: Mutex<UnitTable>,
}

/// The units of a [`FakeUnits`].
#[derive(Debug, Default)]
pub struct UnitTable {
    /// By name; a unit with a file in /etc/systemd/system is loaded even if it is not here.
    pub units: BTreeMap<String, UnitState>,
    /// Units that fail when they are started.
    pub crashing: BTreeSet<String>,
    /// The link that a unit resolves when it starts, below the root.
    pub watched: BTreeMap<String, PathBuf>,
    /// What a unit's watched link pointed to when it was started last.
    pub runs: BTreeMap<String, PathBuf>,
    /// Every command, as systemctl gets it; with `sudo ` in front if it came through sudo.
    pub commands: Vec<String>,
    /// The last lines of units in the journal.
    pub logs: BTreeMap<String, String>,
    started: u32,
}

impl FakeUnits {
    /// The table, to inspect and to change.
    pub fn table(&self) -> MutexGuard<'_, UnitTable> {
        lock(&self.state)
    }

    /// Whether the unit runs.
    pub fn is_active(&self, unit: &str) -> bool {
        self.table()
            .units
            .get(unit)
            .is_some_and(UnitState::is_active)
    }

    fn mark(&self, unit: &str) -> PathBuf {
        self.root
            .join("run/systemd/units")
            .join(format!("invocation:{unit}"))
    }
}

impl UnitTable {
    fn start(&mut self, root: &Path, unit: &str) -> bool {
        self.started += 1;
        let link = self.watched.get(unit);
        let runs =
            link.and_then(|link| fs::read_link(root.join(link.strip_prefix("/").ok()?)).ok());
        let lost = link.is_some() && runs.is_none();
        if let Some(runs) = runs {
            self.runs.insert(unit.to_owned(), runs);
        }
        let failed = lost || self.crashing.contains(unit);
        let state = self.units.entry(unit.to_owned()).or_default();
        state.main_pid = if failed { 0 } else { self.started };
        state.active = if failed { "failed" } else { "active" }.to_owned();
        state.result = if failed { "exit-code" } else { "success" }.to_owned();
        !failed
    }
}

impl Units for FakeUnits {
    fn version(&self) -> Result<Option<String>> {
        Ok(Some("252".to_owned()))
    }

    fn show(&self, unit: &str) -> Result<UnitState> {
        let file = self.root.join("etc/systemd/system").join(unit);
        let known = self.table().units.get(unit).cloned();
        let load = if known.is_some() || file.exists() {
            "loaded"
        } else {
            "not-found"
        };
        let mut state = known.unwrap_or_default();
        for (field, value) in [(&mut state.load, load), (&mut state.active, "inactive")] {
            if field.is_empty() {
                value.clone_into(field);
            }
        }
        if state.result.is_empty() {
            "success".clone_into(&mut state.result);
        }
        Ok(state)
    }

    fn log(&self, unit: &str, _lines: u32) -> String {
        self.table().logs.get(unit).cloned().unwrap_or_default()
    }

    fn control(&self, arguments: &[&str], sudo: Option<&Path>) -> Result<()> {
        let line = format!(
            "{}{}",
            if sudo.is_some() { "sudo " } else { "" },
            arguments.join(" ")
        );
        self.instants.pass(&format!("systemctl {line}"));
        self.table().commands.push(line);
        let (Some(verb), Some(unit)) = (arguments.first(), arguments.last()) else {
            bail!("systemctl without arguments");
        };
        if *verb == "daemon-reload" {
            return Ok(());
        }
        if self.show(unit)?.load == "not-found" {
            bail!("Unit {unit} not found.");
        }
        let mut table = self.table();
        let state = table.units.entry((*unit).to_owned()).or_default();
        let mut started = true;
        match *verb {
            "enable" => "enabled".clone_into(&mut state.enabled),
            "disable" => "disabled".clone_into(&mut state.enabled),
            "reset-failed" if state.active == "failed" => "inactive".clone_into(&mut state.active),
            "start" if state.is_active() => {}
            "start" | "restart" => started = table.start(&self.root, unit),
            _ => {}
        }
        if *verb == "stop" || arguments.contains(&"--now") {
            let state = table.units.entry((*unit).to_owned()).or_default();
            "inactive".clone_into(&mut state.active);
            state.main_pid = 0;
        }
        let active = table.units.get(*unit).is_some_and(UnitState::is_active);
        drop(table);
        // systemd keeps this link exactly while the unit runs.
        let mark = self.mark(unit);
        drop(fs::remove_file(&mark));
        if active {
            fs::create_dir_all(mark.parent().unwrap_or(&self.root))?;
            std::os::unix::fs::symlink("0123456789abcdef", &mark)?;
        }
        if !started {
            bail!("Job for {unit} failed.");
        }
        Ok(())
    }
}

/// A request: where, path, host.
pub type Request<'a> = (&'a Bind, &'a HealthPath, &'a HealthHost);
type Answer = dyn Fn(Request<'_>) -> Result<u16, HttpError> + Send;

/// An app that answers as told; at first nothing answers.
pub struct FakeHttp(Mutex<Box<Answer>>);

impl fmt::Debug for FakeHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeHttp")
    }
}

impl FakeHttp {
    /// How requests are answered from now on: with this status code, or this error.
    pub fn answer(&self, answer: impl Fn(Request<'_>) -> Result<u16, HttpError> + Send + 'static) {
        *lock(&self.0) = Box::new(answer);
    }
}

impl Http for FakeHttp {
    fn get(
        &self,
        bind: &Bind,
        path: &HealthPath,
        host: &HealthHost,
        _patience: Duration,
    ) -> Result<Response, HttpError> {
        let status = (lock(&self.0))((bind, path, host))?;
        let took = Duration::from_millis(3);
        Ok(Response { status, took })
    }
}

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
                table
                    .users
                    .push((account, super::accounts::COMMENT.to_owned()));
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
