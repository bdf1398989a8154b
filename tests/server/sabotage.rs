//! doctor finds each sabotage, names it, and fixes it or prints how to fix it.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::lab::{Access, Lab, Release, TOUCHED, Todo, WebServer};
use crate::sabotages::{ACCOUNTS_AND_FILES, KEYS_AND_SSH, TREE_AND_SETTINGS, UNITS};

/// One way to break the server.
pub struct Sabotage {
    /// Shell commands that root runs.
    pub harm: &'static str,
    /// Exactly the checks that fail; with a prefix `warn:` or `error:` for other results.
    pub finds: &'static str,
    pub then: Then,
}

pub enum Then {
    /// `doctor --fix --yes` fixes it.
    Fixed,
    /// The same, but only without `--offline`.
    FixedOnline,
    /// doctor prints this, and the command that it suggests fixes it.
    Remedy(&'static str),
    /// doctor prints this message; the second command undoes the damage.
    Says(&'static str, &'static str),
}

/// Output of `doctor --json`, validated against its schema.
struct Report(Value);

impl Report {
    fn parse(text: &str) -> Result<Self> {
        let schema = serde_json::from_str(include_str!("../project/doctor.schema.json"))?;
        let report = serde_json::from_str(text).with_context(|| format!("not JSON: {text}"))?;
        let problems: Vec<String> = jsonschema::draft202012::new(&schema)?
            .iter_errors(&report)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        ensure!(problems.is_empty(), "{problems:#?}");
        Ok(Self(report))
    }

    fn checks(&self) -> impl Iterator<Item = &Value> {
        self.0["checks"].as_array().into_iter().flatten()
    }

    /// The checks that are not ok, in the notation of [`Sabotage::finds`].
    fn found(&self) -> BTreeSet<String> {
        self.checks()
            .filter_map(|check| match (word(check, "status"), word(check, "id")) {
                ("ok" | "skip", _) => None,
                ("fail", id) => Some(id.to_owned()),
                (status, id) => Some(format!("{status}:{id}")),
            })
            .collect()
    }

    /// Their messages.
    fn words(&self) -> String {
        let bad = |check: &&Value| !matches!(word(check, "status"), "ok" | "skip");
        let say = |check| format!("{}: {}", word(check, "id"), word(check, "message"));
        self.checks()
            .filter(bad)
            .map(say)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// The suggested command of the check whose message contains `words`.
    fn remedy(&self, words: &str) -> Result<&str> {
        self.checks()
            .find(|check| word(check, "message").contains(words))
            .and_then(|check| check["remediation"][0].as_str())
            .with_context(|| format!("no check prints {words:?} with a command: {:#}", self.0))
    }
}

fn word<'a>(check: &'a Value, field: &str) -> &'a str {
    check[field].as_str().unwrap_or_default()
}

fn doctor(web: &WebServer, more: &str) -> Result<Report> {
    let output = web.run(&format!("pullpray doctor todo --json {more}"))?;
    let report = Report::parse(&output.stdout).with_context(|| format!("{}", *output))?;
    let found = report.found();
    let status = match () {
        () if found.iter().any(|id| !id.contains(':')) => 1,
        () if found.iter().any(|id| id.starts_with("error:")) => 3,
        () => 0,
    };
    ensure!(output.status == status, "{found:?} and {}", output.status);
    Ok(report)
}

/// Files are unchanged, except logs, records and the account databases.
fn same_files(web: &WebServer, before: &[String]) -> Result<()> {
    const WORK: [&str; 7] = [
        "/var/lib/pullpray/receipts",
        "/var/lib/pullpray/todo/log/",
        "/var/lib/pullpray/todo/ledger.json",
        "/etc/group",
        "/etc/gshadow",
        "/etc/passwd",
        "/etc/shadow",
    ];
    let remembered = |line: &&String| {
        !WORK.iter().any(|path| line.starts_with(path)) && !line.contains("__pycache__")
    };
    let now = web.listing(TOUCHED)?;
    let differs: Vec<_> = now
        .iter()
        .filter(|line| !before.contains(line))
        .chain(before.iter().filter(|line| !now.contains(line)))
        .filter(remembered)
        .collect();
    ensure!(differs.is_empty(), "files are not as before: {differs:#?}");
    Ok(())
}

fn check_sabotage(web: &WebServer, before: &[String], sabotage: &Sabotage) -> Result<()> {
    web.run(&format!("set -e; {}", sabotage.harm))?.ok()?;
    let report = doctor(web, "--offline")?;
    let expected: BTreeSet<String> = sabotage
        .finds
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    ensure!(
        report.found() == expected,
        "found {:?}, not {expected:?}\n{}",
        report.found(),
        report.words()
    );
    let fix = "pullpray doctor todo --fix --yes --offline --strict";
    match sabotage.then {
        Then::Fixed => {
            web.run(fix)?.ok()?;
        }
        Then::FixedOnline => {
            web.run(fix)?.exits(1)?;
            web.run("pullpray doctor todo --fix --yes --strict")?.ok()?;
        }
        Then::Remedy(words) => {
            let remedy = report.remedy(words)?;
            web.run(fix)?.exits(1)?.says(words)?.says(remedy)?;
            web.run(remedy)?.ok()?;
            web.run("pullpray doctor todo --offline --strict")?.ok()?;
        }
        Then::Says(words, undo) => {
            let output = web.run(fix)?;
            ensure!(output.status != 0, "{}", *output);
            output.says(words)?;
            web.run(&format!("set -e; {undo}"))?.ok()?;
            // Fixes what undoing the damage does not restore.
            web.run(fix)?.ok()?;
        }
    }
    same_files(web, before)
}

/// After which sabotages a poll deploys a new commit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Deploy {
    Last,
    Each,
}

pub fn check_table(name: &str, sabotages: &[Sabotage], deploy: Deploy) -> Result<()> {
    let lab = Lab::new(name)?;
    let Todo {
        host: _host,
        repo,
        web,
    } = Todo::live(&lab, Release::Bookworm)?;
    let mut before = web.listing(TOUCHED)?;
    for (number, sabotage) in (1..).zip(sabotages) {
        check_sabotage(&web, &before, sabotage).with_context(|| sabotage.harm)?;
        if deploy == Deploy::Each || number == sabotages.len() {
            let version = format!("version after {number}");
            repo.push(&version)?;
            let poll = web.run("pullpray poll todo")?;
            poll.ok().with_context(|| sabotage.harm)?;
            ensure!(web.page("/")?.shows(&version), "{}", sabotage.harm);
            before = web.listing(TOUCHED)?;
        }
    }
    let report = doctor(&web, "")?;
    ensure!(report.found().is_empty(), "{:#?}", report.found());
    Ok(())
}

#[test]
fn broken_accounts_and_files_are_found_and_fixed() -> Result<()> {
    check_table("files", ACCOUNTS_AND_FILES, Deploy::Last)
}

#[test]
fn broken_keys_and_ssh_are_found_and_fixed() -> Result<()> {
    check_table("keys", KEYS_AND_SSH, Deploy::Last)
}

#[test]
fn broken_units_are_found_and_fixed() -> Result<()> {
    check_table("units", UNITS, Deploy::Last)
}

#[test]
fn a_broken_tree_and_settings_are_found_and_fixed() -> Result<()> {
    check_table("tree", TREE_AND_SETTINGS, Deploy::Last)
}

/// Runs one check and expects it to fail with these words.
fn finds(web: &WebServer, id: &str, words: &str) -> Result<()> {
    let report = doctor(web, &format!("--only {}", id.trim_start_matches("error:")))?;
    ensure!(report.found() == [id.to_owned()].into(), "{:#}", report.0);
    let found = report.checks().any(|check| {
        word(check, "message").contains(words)
            || check["remediation"][0]
                .as_str()
                .is_some_and(|r| r.contains(words))
    });
    ensure!(found, "{words}: {:#}", report.0);
    Ok(())
}

#[test]
fn problems_at_the_git_host_are_found() -> Result<()> {
    let lab = Lab::new("asked")?;
    let Todo { host, repo, web } = Todo::live(&lab, Release::Bookworm)?;
    let key = web.deploy_key("todo")?;
    ensure!(doctor(&web, "")?.found().is_empty());

    host.forget_keys()?;
    finds(&web, "repo.access", "does not accept the deploy key")?;
    host.allow_key(&repo, &key, Access::ReadWrite)?;
    finds(&web, "repo.read_only", "can push to acme/todo")?;
    web.run("pullpray doctor todo --fix --yes --only repo.read_only")?
        .exits(1)?
        .says("adding it again without write access")?;
    host.forget_keys()?;
    host.allow_key(&repo, &key, Access::ReadOnly)?;

    host.stop_sshd()?;
    for id in ["repo.access", "repo.read_only", "ssh.host_key_shown"] {
        finds(&web, &format!("error:{id}"), "githost")?;
    }
    web.run("pullpray doctor todo --offline --strict")?.ok()?;
    host.start_sshd()?;

    web.run("rm /etc/ssh-agent-service/todo.known_hosts")?
        .ok()?;
    let report = doctor(&web, "")?;
    ensure!(report.found().contains("ssh.host_key"), "{:#}", report.0);
    web.run("pullpray doctor todo --fix --yes --strict")?.ok()?;

    host.change_host_key()?;
    finds(&web, "ssh.host_key_shown", "its key has changed")?;
    let new = host.fingerprint()?;
    finds(&web, "ssh.host_key_shown", &format!("--host-key {new}"))?;
    web.run("pullpray doctor todo --fix --yes")?.exits(1)?;
    ensure!(
        !doctor(&web, "")?.found().is_empty(),
        "never accepted automatically"
    );
    web.run(&format!("pullpray init todo --yes --host-key {new}"))?
        .ok()?;
    ensure!(doctor(&web, "")?.found().is_empty());
    Ok(())
}

#[test]
fn doctor_works_unprivileged_and_keeps_local_changes() -> Result<()> {
    let lab = Lab::new("sees")?;
    let Todo {
        host: _host, web, ..
    } = Todo::live(&lab, Release::Bookworm)?;
    let hidden = [
        "error:key.deploy failed to read /etc/ssh-agent-service/deploy-keys/todo_ed25519",
        "error:sudo.rule failed to read /etc/sudoers.d/pullpray-todo",
    ];
    for (user, finds) in [("gunicorn", &hidden[..])] {
        let output = web.run_as(user, "pullpray doctor todo --json")?.exits(3)?;
        let report = Report::parse(&output.stdout)?;
        let ids: BTreeSet<String> = finds
            .iter()
            .filter_map(|line| line.split(' ').next().map(str::to_owned))
            .collect();
        ensure!(report.found() == ids, "{user}: {output}");
        for line in finds {
            output.says(line.split_once(' ').context("words")?.1)?;
        }
    }
    web.run_as("nobody", "pullpray doctor todo --offline")?
        .exits(3)?
        .says("error only root can check app.settings\n        fix: sudo pullpray doctor todo")?;
    let output = web
        .run_as("gunicorn", "pullpray doctor todo --offline")?
        .exits(3)?;
    output.says("error only root can check ")?;
    for id in ["key.deploy", "sudo.rule"] {
        output.says(id)?;
    }
    ensure!(!output.stdout.contains("Permission denied"), "{output}");
    web.run_as("gunicorn", "pullpray doctor todo --fix --yes")?
        .exits(2)?
        .says("only root can fix")?;
    web.run("pullpray doctor todo --only nonsense")?
        .exits(2)?
        .says("there is no check nonsense")?;

    // Checking changes nothing.
    web.changes_nothing("pullpray doctor todo --strict")?.ok()?;

    let (cron, script) = (
        "/etc/cron.d/pullpray-todo",
        "/opt/git_pollers/todo/deploy.sh",
    );
    for path in [cron, script] {
        web.run(&format!("echo '# by ann' >>{path}"))?.ok()?;
    }
    web.changes_nothing("pullpray doctor todo --fix --yes --strict")?
        .ok()?
        .says("modified locally, left as is")?
        .says("# by ann")?;
    ensure!(doctor(&web, "--offline")?.found().is_empty());
    web.run("pullpray doctor todo --fix --yes --overwrite --strict")?
        .ok()?;
    ensure!(!web.read(cron)?.contains("by ann"));
    ensure!(
        web.read(script)?.contains("by ann"),
        "the deploy script is never overwritten"
    );

    // An unhealthy app and a wrong setting: doctor reports the app's answer.
    web.run("sed -i 's/^health_host.*/health_host = \"evil.example\"/' /etc/pullpray/todo.toml")?
        .ok()?;
    finds(&web, "app.healthy", "ALLOWED_HOSTS")?;
    Ok(())
}
