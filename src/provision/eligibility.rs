//! Which accounts, groups, directories and paths can be an app's: one judgement for flags, variables, files,
//! the wizard and doctor.
//!
//! init gives what it is told to the app's account. Whatever somebody else reads, owns or trusts would with
//! that be the app's, and through `/etc` or `/usr` the whole server.

mod paths;

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::app::{App, AppName, Settings};
use crate::host::{Account, GroupEntry, View};
use crate::layout;
use crate::state::receipt::{Before, Change, Receipt};

/// Groups whose members may do more than the app's account is to: read what only root reads, write to disks,
/// become root. Debian's, and what common packages bring.
const PRIVILEGED: &str = "root adm admin sudo wheel staff shadow disk kmem tty docker lxd incus incus-admin libvirt kvm \
    podman systemd-journal systemd-network ssl-cert _ssh ssh crontab operator backup netdev input \
    video nogroup nobody";

/// Numbers below are the system's (login.defs(5), `UID_MIN`), below 100 Debian's own (Policy 9.2.2).
const PEOPLE: u32 = 1000;
const DEBIANS: u32 = 100;
/// nobody and nogroup.
const NOBODY: u32 = 65534;

/// An answer by its name, as it was given or would be.
pub type RawAnswer<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Why an answer cannot be the app's, and the command that gives one that can; `None` if it can be.
///
/// # Errors
/// When the server cannot be looked at.
pub fn ineligible(
    view: &View,
    said: RawAnswer<'_>,
    name: &str,
) -> Result<Option<(String, String)>> {
    let given = |name: &str| said(name).filter(|text| !text.is_empty());
    let (Some(app), Some(text)) = (given("app").and_then(|app| app.parse().ok()), given(name))
    else {
        return Ok(None);
    };
    let settings = view.read_text(&layout::settings(&app)).ok().flatten();
    let judge = Judge {
        receipt: Receipt::load(view, &app).unwrap_or_else(|_| Receipt::unreadable(&app)),
        saved: settings.and_then(|text| Settings::parse(&text).ok()),
        user: given("user").unwrap_or_default(),
        project: given("project_dir").map(PathBuf::from),
        view,
        app,
    };
    let app = &judge.app;
    let (why, instead) = match name {
        "user" => (judge.user(&text)?, format!("gunicorn-{app}")),
        "group" => (judge.group(&text)?, judge.user.clone()),
        "operator" => (judge.operator(&text)?, "''".to_owned()),
        "project_dir" => (
            judge.directory(name, Path::new(&text))?,
            format!("/var/www/projects/{app}"),
        ),
        "static_dir" => (
            judge.directory(name, Path::new(&text))?,
            format!("/www/static/{app}"),
        ),
        "bind" => (judge.socket(&text)?, format!("/run/{app}.sock")),
        "python" => (
            judge.python(Path::new(&text))?,
            "/usr/bin/python3".to_owned(),
        ),
        _ => (None, String::new()),
    };
    let flag = name.replace('_', "-");
    Ok(why.map(|why| (why, format!("sudo pullpray init {app} --{flag} {instead}"))))
}

/// The answers that an app was made from.
pub(super) fn answers_of(app: &App) -> impl Fn(&str) -> Option<String> {
    |name| {
        Some(match name {
            "app" => app.name.to_string(),
            "user" => app.user.to_string(),
            "group" => app.group.to_string(),
            "operator" => app.operator.as_ref()?.to_string(),
            "project_dir" => app.project_dir.to_string(),
            "static_dir" => app.static_dir.to_string(),
            "bind" => app.bind.to_string(),
            "python" => app.python.to_string(),
            _ => return None,
        })
    }
}

struct Judge<'a> {
    view: &'a View,
    app: AppName,
    receipt: Receipt,
    saved: Option<Settings>,
    user: String,
    project: Option<PathBuf>,
}

impl Judge<'_> {
    /// Whether the app has it already: what it has is not judged anew by what is in it.
    fn has(&self, name: &str, text: &str) -> bool {
        let saved = self.saved.as_ref();
        saved.is_some_and(|saved| saved.answers.get(name) == Some(text))
    }

    fn made(&self, change: &Change) -> bool {
        let mut entries = self.receipt.entries().iter();
        entries.any(|entry| entry.change == *change)
    }

    fn user(&self, name: &str) -> Result<Option<String>> {
        for other in self.view.facts(None)?.others {
            if other.name != self.app && other.user.as_str() == name {
                return Ok(Some(format!(
                    "{} runs as {name}: each could read and change what is the other's",
                    other.name
                )));
            }
        }
        let Some(user) = self.view.user(name) else {
            return Ok(None);
        };
        if user.uid == 0 {
            return Ok(Some(format!(
                "the user {name} is root under another name (uid 0)"
            )));
        }
        let created = Change::User {
            name: name.to_owned(),
            before: Before::Created,
        };
        let ours = self.has("user", name) || self.made(&created);
        if user.uid == NOBODY || (user.uid < PEOPLE && !ours && self.is_somebody(&user)?) {
            return Ok(Some(format!(
                "the user {name} is the system's (uid {}), and not this app's",
                user.uid
            )));
        }
        let groups = PRIVILEGED
            .split(' ')
            .filter_map(|group| self.view.group(group));
        // A package's account may have nogroup for its own: with it nobody may do more.
        let mut more =
            groups.filter(|group| group.gid != NOBODY && self.view.is_member(&user, group));
        if let Some(group) = more.next() {
            return Ok(Some(format!(
                "the user {name} is a member of {}, and may do more than an app is to",
                group.name
            )));
        }
        Ok(None)
    }

    /// Whether a system account is that of a package: one that an administrator made for the app has no
    /// process yet, and no home among those of daemons.
    fn is_somebody(&self, user: &Account) -> Result<bool> {
        let for_apps = ["/home", "/opt", "/srv", "/var/www"];
        let home = !for_apps.iter().any(|dir| user.home.starts_with(dir))
            && user.name != self.app.as_str()
            && self.view.stat(&user.home)?.is_some();
        Ok(user.uid < DEBIANS
            || user.name.starts_with('_')
            || user.name.starts_with("systemd-")
            || home
            || !self.view.processes_of(user.uid)?.is_empty())
    }

    fn group(&self, name: &str) -> Result<Option<String>> {
        for other in self.view.facts(None)?.others {
            if other.name != self.app && other.group.as_str() == name {
                return Ok(Some(format!(
                    "{} has the group {name} too, and runs as {}: each could read and change what is the other's",
                    other.name, other.user
                )));
            }
        }
        let group = self.view.group(name);
        let gid = group.as_ref().map(|group| group.gid);
        if PRIVILEGED.split(' ').any(|group| group == name) || gid == Some(0) || gid == Some(NOBODY)
        {
            let gid = gid.map_or_else(String::new, |gid| format!(" (gid {gid})"));
            return Ok(Some(format!(
                "the group {name} may do more than an app is to{gid}"
            )));
        }
        Ok(group.and_then(|group| self.is_somebodys(&group)))
    }

    fn is_somebodys(&self, group: &GroupEntry) -> Option<String> {
        let name = &group.name;
        let person = self.view.user(name);
        let private = person.is_some_and(|person| person.gid == group.gid);
        if private && *name != self.user {
            return Some(format!(
                "the group {name} is that of the user {name}, whose files the app could then read and change"
            ));
        }
        let created = Change::Group {
            name: name.clone(),
            before: Before::Created,
        };
        // A group that came with the account, and has nobody else in it, is as good as ours.
        let alone = group.members.iter().all(|member| *member == self.user);
        let ours = self.made(&created) || (private && alone) || !self.receipt.is_readable();
        (group.gid < PEOPLE && !ours).then(|| {
            format!(
                "the group {name} is the system's (gid {}), and not this app's",
                group.gid
            )
        })
    }

    fn operator(&self, name: &str) -> Result<Option<String>> {
        for other in self.view.facts(None)?.others {
            if other.name != self.app && other.user.as_str() == name {
                return Ok(Some(format!(
                    "{name} runs {}, which could then read and change what is this app's",
                    other.name
                )));
            }
        }
        let user = self.view.user(name);
        let systems = user.filter(|u| (1..DEBIANS).contains(&u.uid) || u.uid == NOBODY);
        Ok(systems.map(|user| {
            format!(
                "{name} is a system account (uid {}) and nobody's login",
                user.uid
            )
        }))
    }
}
