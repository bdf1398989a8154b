//! What goes wrong later, on a server that was right once: facts that doctor looks at and that
//! init has no reason to make.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use chrono::{DateTime, TimeDelta, Utc};

use crate::app::{App, paths};
use crate::record::ledger::Ledger;
use crate::server::{Clock, Drift, Kind};

use super::{Changes, Finding, Look, Row, Step};

struct RecentPoll<'a>(&'a App);
struct Space<'a>(&'a App);
struct DropIns<'a>(&'a App);
struct ShownHostKey<'a>(&'a App);
struct Ownership<'a>(&'a App);
struct NoWayToRoot<'a>(&'a App);

/// The facts that doctor looks at beside the steps.
#[must_use]
pub fn watches(app: &App) -> Vec<Box<dyn Step + '_>> {
    vec![
        Box::new(Ownership(app)),
        Box::new(NoWayToRoot(app)),
        Box::new(DropIns(app)),
        Box::new(ShownHostKey(app)),
        Box::new(Space(app)),
        Box::new(RecentPoll(app)),
    ]
}

impl Step for RecentPoll<'_> {
    fn id(&self) -> &'static str {
        "poll.recent"
    }
    fn title(&self) -> String {
        "last poll".to_owned()
    }
    fn row(&self) -> Row {
        Row {
            kind: "poll",
            what: self.0.schedule.words(),
        }
    }
    fn check(&self, look: &Look<'_>) -> Result<Finding> {
        let ledger = Ledger::load(look.view, &self.0.name)?;
        if let Some(silence) = &ledger.silence {
            return Ok(Finding::Broken(
                format!(
                    "{} polls in a row could not ask the git host, since {}: {}",
                    silence.polls, silence.since, silence.why
                ),
                format!("sudo pullpray poll {} -v", self.0.name),
            ));
        }
        let clock = Clock::system();
        let last = ledger
            .last_check
            .as_deref()
            .and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        let Some(last) = last.map(|time| time.with_timezone(&Utc)) else {
            return Ok(Finding::Warns(
                "there was no poll yet".to_owned(),
                format!("sudo pullpray poll {} -v", self.0.name),
            ));
        };
        let ago = clock.now() - last;
        let hint = "systemctl status cron; date".to_owned();
        if ago < TimeDelta::minutes(-2) {
            return Ok(Finding::Warns(
                format!(
                    "the last poll was at {last}, which is still to come: the clock was set back"
                ),
                hint,
            ));
        }
        // Twice the longest pause: one poll may have been at work while the next was due.
        let pause = self
            .0
            .schedule
            .longest_pause(&clock.local())
            .unwrap_or(TimeDelta::days(366));
        let words = format!(
            "{} ago; cron polls {}",
            spoken(ago),
            self.0.schedule.words()
        );
        Ok(if ago > pause * 2 + TimeDelta::minutes(5) {
            Finding::Warns(words, hint)
        } else {
            Finding::Holds(words)
        })
    }
    fn apply(&self, _: &mut Changes<'_>) -> Result<()> {
        Err(anyhow!("cron polls, or somebody by hand"))
    }
}

/// A span of time as people say it.
#[must_use]
pub fn spoken(span: TimeDelta) -> String {
    let (count, unit) = match span.num_seconds().max(0) {
        seconds @ 0..120 => (seconds, "second"),
        seconds @ 120..7_200 => (seconds / 60, "minute"),
        seconds @ 7_200..172_800 => (seconds / 3_600, "hour"),
        seconds => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// Below this a release can hardly be built: a small virtual environment with Django.
const LEAST_BYTES: u64 = 256 * 1024 * 1024;
const LEAST_FILES: u64 = 10_000;

impl Step for Space<'_> {
    fn id(&self) -> &'static str {
        "server.space"
    }
    fn title(&self) -> String {
        "disk space".to_owned()
    }
    fn row(&self) -> Row {
        Row {
            kind: "disk",
            what: self.0.project_dir.to_string(),
        }
    }
    fn check(&self, look: &Look<'_>) -> Result<Finding> {
        let mut words = Vec::new();
        for dir in [
            self.0.project_dir.as_path().to_owned(),
            paths::state(&self.0.name),
        ] {
            if look.view.stat(&dir)?.is_none() {
                return Ok(Finding::Waits(
                    "project.directories",
                    format!("{} is not there", dir.display()),
                ));
            }
            let (bytes, files) = look.view.free_space(&dir)?;
            // Some file systems count no inodes and say 0 of 0.
            let few = files > 0 && files < LEAST_FILES;
            let text = format!(
                "{} MiB and {files} inodes free at {}",
                bytes / 1024 / 1024,
                dir.display()
            );
            if bytes < LEAST_BYTES || few {
                return Ok(Finding::Warns(
                    text,
                    format!("df -h {0}; df -i {0}; du -xsh {0}/*", dir.display()),
                ));
            }
            words.push(text);
        }
        Ok(Finding::Holds(words.swap_remove(0)))
    }
    fn apply(&self, _: &mut Changes<'_>) -> Result<()> {
        Err(anyhow!(
            "only somebody who knows what is on the disk can make room"
        ))
    }
}

impl Step for DropIns<'_> {
    fn id(&self) -> &'static str {
        "units.drop_ins"
    }
    fn title(&self) -> String {
        "units as they were written".to_owned()
    }
    fn row(&self) -> Row {
        Row {
            kind: "unit",
            what: paths::service_unit(&self.0.name),
        }
    }
    fn check(&self, look: &Look<'_>) -> Result<Finding> {
        let name = &self.0.name;
        let mut found = Vec::new();
        for unit in [
            paths::agent_unit(name),
            paths::socket_unit(name),
            paths::service_unit(name),
        ] {
            found.extend(look.view.unit(&unit)?.drop_ins);
        }
        Ok(match found.first() {
            None => Finding::Holds("no drop-in changes them".to_owned()),
            Some(first) => Finding::Warns(
                format!("{} changes what the units do", found.join(", ")),
                format!("it is the administrator's, and stays; to see it: cat {first}"),
            ),
        })
    }
    fn apply(&self, _: &mut Changes<'_>) -> Result<()> {
        Err(anyhow!("drop-ins are the administrator's"))
    }
}

impl Step for ShownHostKey<'_> {
    fn id(&self) -> &'static str {
        "ssh.host_key_shown"
    }
    fn title(&self) -> String {
        format!("{} shows its pinned key", self.0.repo.host())
    }
    fn row(&self) -> Row {
        Row {
            kind: "access",
            what: self.0.repo.host().to_owned(),
        }
    }
    fn asks_network(&self) -> bool {
        true
    }
    fn check(&self, look: &Look<'_>) -> Result<Finding> {
        let (repo, wanted) = (&self.0.repo, self.0.host_key.as_str());
        let keys = look.view.scan_host_keys(repo.host(), repo.port())?;
        if keys.iter().any(|key| key.fingerprint == wanted) {
            return Ok(Finding::Holds(wanted.to_owned()));
        }
        let shown = keys
            .first()
            .map_or_else(String::new, |key| key.fingerprint.clone());
        Ok(Finding::Broken(
            format!(
                "{} shows {shown} where {wanted} is pinned: its key was changed, or somebody stands in between",
                repo.host()
            ),
            format!(
                "once you know that the new key is right: sudo pullpray init {} --host-key {shown}",
                self.0.name
            ),
        ))
    }
    fn apply(&self, _: &mut Changes<'_>) -> Result<()> {
        Err(anyhow!("a changed host key is never accepted unasked"))
    }
}

impl Ownership<'_> {
    fn trees(&self) -> [PathBuf; 4] {
        let app = self.0;
        [
            app.releases(),
            app.shared(),
            app.venvs(),
            app.static_dir.as_path().to_owned(),
        ]
    }
}

impl Step for Ownership<'_> {
    fn id(&self) -> &'static str {
        "project.ownership"
    }
    fn title(&self) -> String {
        "owner and setgid in the tree".to_owned()
    }
    fn row(&self) -> Row {
        Row {
            kind: "dirs",
            what: self.0.project_dir.to_string(),
        }
    }
    fn check(&self, look: &Look<'_>) -> Result<Finding> {
        let app = self.0;
        let (Some(user), Some(group)) = (
            look.view.user(app.user.as_str()),
            look.view.group(app.group.as_str()),
        ) else {
            return Ok(Finding::Waits(
                "account.user",
                "the account is missing".to_owned(),
            ));
        };
        let mut all = Drift::default();
        for tree in self.trees() {
            all.add(look.view.drift(&tree, user.uid, group.gid)?);
        }
        Ok(match all.first.first() {
            None => Finding::Holds(format!(
                "{} entries are {}:{}",
                all.seen, app.user, app.group
            )),
            Some(_) => Finding::Differs(
                format!(
                    "{} of {} entries have another owner or group, or lost their setgid bit, first: {}",
                    all.count,
                    all.seen,
                    all.first.join(", ")
                ),
                None,
            ),
        })
    }
    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        let app = self.0;
        let server = changes.server();
        let user = server
            .user(app.user.as_str())
            .ok_or_else(|| anyhow!("there is no user {}", app.user))?;
        let group = server
            .group(app.group.as_str())
            .ok_or_else(|| anyhow!("there is no group {}", app.group))?;
        for tree in self.trees() {
            server.own_tree(&tree, user.uid, group.gid)?;
        }
        Ok(())
    }
}

impl Step for NoWayToRoot<'_> {
    fn id(&self) -> &'static str {
        "audit.root"
    }
    fn title(&self) -> String {
        "no way to root or to the key".to_owned()
    }
    fn row(&self) -> Row {
        Row {
            kind: "audit",
            what: "what root reads and starts".to_owned(),
        }
    }
    fn check(&self, look: &Look<'_>) -> Result<Finding> {
        let app = self.0;
        let name = &app.name;
        let read_by_root: [(PathBuf, &str); 11] = [
            (app.program.clone(), "root's units and cron start it"),
            (paths::settings(name), "it says as whom and where root acts"),
            (app.environment_file(), "systemd reads it as root"),
            (app.deploy_script(), "polls start it"),
            (
                paths::unit_file(&paths::agent_unit(name)),
                "systemd starts what it says as root",
            ),
            (
                paths::unit_file(&paths::socket_unit(name)),
                "systemd obeys it",
            ),
            (
                paths::unit_file(&paths::service_unit(name)),
                "systemd obeys it",
            ),
            (app.cron(), "cron starts what it says as whom it says"),
            (app.sudoers(), "sudo obeys it"),
            (app.ssh_config(), "ssh obeys it, root's too"),
            (paths::KNOWN_HOSTS.into(), "it says which hosts are trusted"),
        ];
        let mut ways = Vec::new();
        let mut looked = 0;
        for (path, why) in read_by_root {
            // Nothing is read from what is not there, nor from /dev/null, where a masked unit leads:
            // that one others may write to, and must.
            if look
                .view
                .stat_target(&path)?
                .is_none_or(|stat| stat.kind == Kind::Other)
            {
                continue;
            }
            looked += 1;
            // The environment file alone belongs to the app's group, to read it.
            if let Some(part) = look.view.first_changeable(&path)? {
                ways.push((part, format!("{} ({why})", path.display())));
            }
        }
        let key = paths::private_key(name);
        if let Some(stat) = look.view.stat(&key)?
            && (stat.uid != 0 || stat.mode & 0o077 != 0)
        {
            ways.push((key.clone(), "it is the private deploy key".to_owned()));
        }
        Ok(match ways.first() {
            None => Finding::Holds(format!(
                "{looked} files and the ways to them are root's alone to change"
            )),
            Some((part, _)) => {
                let all: Vec<String> = ways
                    .iter()
                    .map(|(part, what)| {
                        let can = if *part == key { "read" } else { "changed" };
                        format!(
                            "{} can be {can} by others than root: {what}",
                            part.display()
                        )
                    })
                    .collect();
                Finding::Broken(all.join("; "), mend(part, &key))
            }
        })
    }
    fn apply(&self, _: &mut Changes<'_>) -> Result<()> {
        Err(anyhow!(
            "who may change what is the administrator's decision"
        ))
    }
}

/// An ACL shows in the group's bits, which are its mask, and goes with them.
fn mend(path: &Path, key: &Path) -> String {
    let mode = if path == key { "go=" } else { "go-w" };
    format!(
        "sudo chown root {0} && sudo chmod {mode} {0}",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_spoken() {
        assert_eq!(spoken(TimeDelta::seconds(1)), "1 second");
        assert_eq!(spoken(TimeDelta::minutes(3)), "3 minutes");
        assert_eq!(spoken(TimeDelta::hours(3)), "3 hours");
        assert_eq!(spoken(TimeDelta::days(3)), "3 days");
    }
}
