//! Which accounts, groups, directories and paths an app may use: one set of rules for flags, variables, files,
//! the wizard and doctor.
//!
//! init makes the app's account the owner of what it is given. Anything that others own, read or trust would
//! then belong to the app, and through `/etc` or `/usr` the whole server.

mod paths;

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::app::{App, AppName, OtherApp, Settings};
use crate::host::{Account, GroupEntry, View};
use crate::layout;
use crate::state::receipt::{Change, Receipt};

use super::Problem;

/// Groups whose members have privileges that an app must not have: read root's files, write to disks, become
/// root. Debian's groups, and those of common packages.
const PRIVILEGED: &str = "root adm admin sudo wheel staff shadow disk kmem tty docker lxd incus incus-admin libvirt kvm \
    podman systemd-journal systemd-network ssl-cert _ssh ssh crontab operator backup netdev input \
    video nogroup nobody";

/// Ids below 1000 are for system accounts (login.defs(5), `UID_MIN`), below 100 allocated by Debian (Policy 9.2.2).
const FIRST_LOGIN_ID: u32 = 1000;
const FIRST_DYNAMIC_ID: u32 = 100;
/// Id of nobody and nogroup.
const NOBODY: u32 = 65534;

/// Looks up an answer by its name.
pub type AnswerLookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Why the app cannot use an answer, and a command with one that it can use; `None` if it can.
///
/// # Errors
/// When the server's state cannot be read.
pub fn ineligible(view: &View, answers: AnswerLookup<'_>, name: &str) -> Result<Option<Problem>> {
    let given = |name: &str| answers(name).filter(|text| !text.is_empty());
    let (Some(app), Some(text)) = (given("app").and_then(|app| app.parse().ok()), given(name))
    else {
        return Ok(None);
    };
    let settings = view.read_text(&layout::settings(&app)).ok().flatten();
    let rules = Rules {
        receipt: Receipt::load(view, &app).unwrap_or_else(|_| Receipt::unreadable(&app)),
        saved: settings.and_then(|text| Settings::parse(&text).ok()),
        user: given("user").unwrap_or_default(),
        project: given("project_dir").map(PathBuf::from),
        view,
        app,
    };
    let (app, path) = (&rules.app, Path::new(&text));
    let (why, instead) = match name {
        "user" => (rules.user(&text)?, format!("gunicorn-{app}")),
        "group" => (rules.group(&text)?, rules.user.clone()),
        "operator" => (rules.operator(&text)?, "''".to_owned()),
        "project_dir" => (
            rules.directory(name, path)?,
            format!("/var/www/projects/{app}"),
        ),
        "static_dir" => (rules.directory(name, path)?, format!("/www/static/{app}")),
        "bind" => (rules.socket(&text)?, format!("/run/{app}.sock")),
        "python" => (rules.python(path)?, "/usr/bin/python3".to_owned()),
        _ => (None, String::new()),
    };
    let flag = name.replace('_', "-");
    let remedy = format!("sudo pullpray init {app} --{flag} {instead}");
    Ok(why.map(|why| Problem::new(why, remedy)))
}

/// The answers that produce an app.
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

struct Rules<'a> {
    view: &'a View,
    app: AppName,
    receipt: Receipt,
    saved: Option<Settings>,
    user: String,
    project: Option<PathBuf>,
}

impl Rules<'_> {
    /// Whether the saved settings have this value: its content is not checked again.
    fn is_saved(&self, name: &str, text: &str) -> bool {
        let saved = self.saved.as_ref();
        saved.is_some_and(|saved| saved.answers.get(name) == Some(text))
    }

    /// Another app on this server that fits.
    fn other(&self, fits: impl Fn(&OtherApp) -> bool) -> Result<Option<OtherApp>> {
        let mut others = self.view.facts(None)?.others.into_iter();
        Ok(others.find(|other| other.name != self.app && fits(other)))
    }

    fn user(&self, name: &str) -> Result<Option<String>> {
        if let Some(OtherApp { name: other, .. }) = self.other(|app| app.user.as_str() == name)? {
            return Ok(Some(format!(
                "{other} runs as {name}: each app could read and modify the other's files"
            )));
        }
        let Some(user) = self.view.user(name) else {
            return Ok(None);
        };
        if user.uid == 0 {
            return Ok(Some(format!("the user {name} is an alias of root (uid 0)")));
        }
        let created = Change::created_user(name);
        let ours = self.is_saved("user", name) || self.receipt.records(&created);
        if user.uid == NOBODY
            || (user.uid < FIRST_LOGIN_ID && !ours && self.is_package_account(&user)?)
        {
            return Ok(Some(format!(
                "the user {name} is a system account (uid {}) that pullpray did not create",
                user.uid
            )));
        }
        let mut groups = (PRIVILEGED.split(' ')).filter_map(|group| self.view.group(group));
        // nogroup, the primary group of some packages' accounts, grants nothing.
        let privileged =
            groups.find(|group| group.gid != NOBODY && self.view.is_member(&user, group));
        Ok(privileged.map(|group| {
            let group = group.name;
            format!("the user {name} is a member of {group}, a privileged group")
        }))
    }

    /// Whether a system account belongs to a package: one that an administrator created for the app has no
    /// process yet, and no existing home outside the directories for apps.
    fn is_package_account(&self, user: &Account) -> Result<bool> {
        let for_apps = ["/home", "/opt", "/srv", "/var/www"];
        let home = !for_apps.iter().any(|dir| user.home.starts_with(dir))
            && user.name != self.app.as_str()
            && self.view.stat(&user.home)?.is_some();
        Ok(user.uid < FIRST_DYNAMIC_ID
            || user.name.starts_with('_')
            || user.name.starts_with("systemd-")
            || home
            || !self.view.processes_of(user.uid)?.is_empty())
    }

    fn group(&self, name: &str) -> Result<Option<String>> {
        if let Some(other) = self.other(|app| app.group.as_str() == name)? {
            return Ok(Some(format!(
                "{}, which runs as {}, also uses the group {name}: each app could read and modify the other's files",
                other.name, other.user
            )));
        }
        let group = self.view.group(name);
        let gid = group.as_ref().map(|group| group.gid);
        if PRIVILEGED.split(' ').any(|group| group == name) || gid == Some(0) || gid == Some(NOBODY)
        {
            let gid = gid.map_or_else(String::new, |gid| format!(" (gid {gid})"));
            return Ok(Some(format!("the group {name} is privileged{gid}")));
        }
        Ok(group.and_then(|group| self.foreign_group(&group)))
    }

    fn foreign_group(&self, group: &GroupEntry) -> Option<String> {
        let name = &group.name;
        let person = self.view.user(name);
        let private = person.is_some_and(|person| person.gid == group.gid);
        // That of the account that init created for this app before goes with it.
        let ours = self.receipt.records(&Change::created_user(name));
        if private && *name != self.user && !ours {
            return Some(format!(
                "the group {name} is the private group of the user {name}, whose files the app could read and modify"
            ));
        }
        let created = Change::created_group(name);
        // The private group of the app's account, without other members, is safe.
        let unshared = group.members.iter().all(|member| *member == self.user);
        let ours =
            self.receipt.records(&created) || (private && unshared) || !self.receipt.is_readable();
        (group.gid < FIRST_LOGIN_ID && !ours).then(|| {
            format!(
                "the group {name} is a system group (gid {}) that pullpray did not create",
                group.gid
            )
        })
    }

    fn operator(&self, name: &str) -> Result<Option<String>> {
        if let Some(OtherApp { name: other, .. }) = self.other(|app| app.user.as_str() == name)? {
            return Ok(Some(format!(
                "{name} runs {other}, which could then read and modify this app's files"
            )));
        }
        let user = self.view.user(name);
        let system = user.filter(|u| (1..FIRST_DYNAMIC_ID).contains(&u.uid) || u.uid == NOBODY);
        Ok(
            system
                .map(|user| format!("{name} is a system account (uid {}), not a login", user.uid)),
        )
    }
}
