//! A server on which an app can be set up: programs that answer, a git host, an agent.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use super::agent::Agent;
use crate::app::{App, Facts, Settings};
use crate::host::UnitState;
use crate::host::testing::{START, TestServer};
use crate::layout;
use crate::provision::{
    Changes, CheckContext, Converged, Finding, Removal, Removed, Step, StepId, Undone, converge,
    list, monitors, receipt_problem,
};
use crate::state::history::{Deployment, Outcome, Tenths};
use crate::state::ledger::{Ledger, Release};
use crate::state::receipt::Receipt;
use crate::store::marks;
use anyhow::{Context, Result, anyhow, bail, ensure};

/// GitHub's key, which is published, so that it needs no confirmation.
const HOST_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
const COMMIT: &str = "1234567890123456789012345678901234567890";

/// A server and an app that is to be set up on it.
pub(super) struct World {
    /// First, so that they end before the directory with their sockets.
    pub(super) agents: Vec<Agent>,
    pub(super) server: TestServer,
    pub(super) app: App,
    /// Only steps that can write, for tests that run the list many times.
    pub(super) only_fixes: bool,
    /// A step that is left out.
    pub(super) without: Option<StepId>,
    pub(super) purge: bool,
}

fn packet(line: &str) -> String {
    format!("{:04x}{line}", line.len() + 4)
}

impl World {
    pub(super) fn new() -> Result<Self> {
        Self::named("todo")
    }

    pub(super) fn named(name: &str) -> Result<Self> {
        let server = TestServer::new()?;
        let mut world = Self {
            agents: Vec::new(),
            app: app(&server, name, "")?,
            server,
            only_fixes: false,
            without: None,
            purge: true,
        };
        world.furnish()?;
        world.agents.push(Agent::serve(&world.server, &world.app)?);
        Ok(world)
    }

    /// A second app on the same server.
    pub(super) fn beside(mut self, name: &str) -> Result<(Self, App)> {
        let own = format!(
            "user = \"gunicorn-{name}\"\ngroup = \"gunicorn-{name}\"\nbind = \"/run/{name}.sock\"\n"
        );
        let other = app(&self.server, name, &own)?;
        self.agents.push(Agent::serve(&self.server, &other)?);
        Ok((self, other))
    }

    /// Everything that a server has before init.
    fn furnish(&self) -> Result<()> {
        let root = self.server.root();
        for dir in [
            "etc/sudoers.d",
            "etc/cron.d",
            "etc/ssh/ssh_config.d",
            "etc/systemd/system",
            "run/systemd/system",
            "run/systemd/units",
            "run/lock",
            "usr/bin",
            "usr/local/bin",
            "usr/local/sbin",
            "var/lib",
            "opt",
        ] {
            fs::create_dir_all(root.join(dir))?;
        }
        for silent in [
            "systemctl",
            "journalctl",
            "sudo",
            "visudo",
            "cron",
            "ssh-agent",
            "useradd",
            "groupadd",
            "gpasswd",
            "python3",
        ] {
            symlink("/usr/bin/true", root.join("usr/bin").join(silent))?;
        }
        let put = |path: &str, text: &str| self.server.put(path, text, 0o644);
        put(
            "/etc/ssh/ssh_config",
            "Include /etc/ssh/ssh_config.d/*.conf\n",
        )?;
        put("/proc/sys/kernel/hostname", "web\n")?;
        put("/proc/sys/net/core/somaxconn", "4096\n")?;
        put(
            "/proc/sys/kernel/random/uuid",
            "6b7f7c40-5b0c-4c1f-a3cd-6ba3e3c7a2a1\n",
        )?;
        put(
            "/usr/share/refs",
            &[
                &packet("version 2\n"),
                &packet("ls-refs\n"),
                "0000",
                &packet(&format!("{COMMIT} refs/heads/main\n")),
                "0000",
            ]
            .concat(),
        )?;
        put(
            "/usr/share/host-key",
            &format!("pullpray-host-key {HOST_KEY}\n"),
        )?;
        put("/usr/share/ledger.json", &deployed()?)?;
        let own = std::env::current_exe()?;
        let root = root.display();
        self.put_programs(&[
            (
                "/usr/bin/ssh",
                format!(
                    "for last; do :; done\nname=${{last##*-repo-}}\ncase \"$last\" in\n\
                     git-upload*) cat {root}/usr/share/refs; exec cat >/dev/null;;\n\
                     git-receive*) echo 'ERROR: The key you are authenticating with has been marked as read only.' >&2; exit 1;;\n\
                     esac\ncase \"$*\" in *KnownHostsCommand=/bin/sh*) cat {root}/usr/share/host-key >&2; exit 255;; *'-G '*) ;; \
                     *) exec echo \"Hi acme/$name! You have\";; esac\n\
                     echo \"hostkeyalgorithms ssh-ed25519\nidentitiesonly yes\nidentityagent /run/ssh-agent.$name/agent.sock\n\
                     userknownhostsfile {}/$name.known_hosts\nstricthostkeychecking true\nbatchmode yes\nuser git\"",
                    layout::AGENT_DIR
                ),
            ),
            (
                "/usr/bin/timedatectl",
                "echo NTP=yes; echo NTPSynchronized=yes".to_owned(),
            ),
            // A poll that deploys at once.
            (
                &own.display().to_string(),
                format!(
                    "case $1 in poll|redeploy) ;; restart) echo $* >>{root}/usr/share/restarts; [ ! -e {root}/usr/share/unhealthy ]; exit;; *) exit 0;; esac\nset -e\nfor name; do :; done\n\
                     cd {root}/var/www/projects/$name\nledger={root}/var/lib/pullpray/$name/ledger.json\n\
                     cp {root}/usr/share/ledger.json $ledger\n\
                     touch -d {START} ${{ledger%/*}}/answered-by-cron\n\
                     mkdir -p releases/first venvs/v/bin\nln -sf /usr/bin/true venvs/v/bin/python\n\
                     ln -sfn releases/first current\necho data >shared/db\nchmod -R g+rwxs releases/first venvs/v\n\
                     chown -hR $(stat -c %u:%g releases) releases venvs current shared $ledger ${{ledger%/*}}/answered-by-cron"
                ),
            ),
        ])?;
        self.server.accounts.add("root", 0, 0);
        self.server.accounts.add("nobody", 65534, 65534);
        self.server.accounts.add("ann", 1000, 1000);
        let cron = UnitState {
            load: "loaded".to_owned(),
            active: "active".to_owned(),
            enabled: "enabled".to_owned(),
            ..UnitState::default()
        };
        let mut table = self.server.units.table();
        table.units.insert("cron.service".to_owned(), cron);
        drop(table);
        self.server.http.answer(|_| Ok(200));
        Ok(())
    }

    /// Copied into place by another process: if this one had a file open for writing, a child that another test is
    /// forking could still have it open, and exec would fail with "text file busy".
    fn put_programs(&self, programs: &[(&str, String)]) -> Result<()> {
        let staged = tempfile::tempdir_in("/dev/shm")?;
        for (path, text) in programs {
            let file = staged.path().join(path.trim_start_matches('/'));
            fs::create_dir_all(file.parent().context("no parent")?)?;
            fs::write(&file, format!("#!/bin/sh\n{text}\n"))?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        }
        let mut copy = Command::new("cp");
        copy.arg("-rT").args([staged.path(), self.server.root()]);
        copy.args(["--preserve=mode", "--no-preserve=ownership"]);
        // The root keeps its own mode.
        fs::set_permissions(staged.path(), fs::Permissions::from_mode(0o755))?;
        ensure!(copy.status()?.success(), "the programs could not be copied");
        Ok(())
    }

    /// Replaces a program of the server.
    pub(super) fn put_program(&self, path: &str, text: &str) -> Result<()> {
        drop(fs::remove_file(self.server.real(path)));
        self.put_programs(&[(path, text.to_owned())])
    }

    pub(super) fn receipt(&self) -> Result<Receipt> {
        Receipt::load(&self.server.server, &self.app.name)
    }

    /// Applies the list as init does.
    pub(super) fn init(&self) -> Result<Vec<(StepId, Converged)>> {
        self.init_app(&self.app)
    }

    pub(super) fn init_app(&self, app: &App) -> Result<Vec<(StepId, Converged)>> {
        let mut receipt = Receipt::load(&self.server.server, &app.name)?;
        let steps = list(app).into_iter();
        steps
            .filter(|step| !self.only_fixes || step.fix().is_some())
            .filter(|step| self.without != Some(step.id()))
            .map(|step| {
                let mut changes =
                    Changes::begin(&self.server.server, &mut receipt, &app.name, false)?;
                let converged = converge(&step, &mut changes);
                Ok((step.id(), converged.with_context(|| step.id().to_string())?))
            })
            .collect()
    }

    /// What a check finds.
    pub(super) fn find(&self, id: StepId) -> Result<Finding> {
        self.look(id, false, false)
    }

    pub(super) fn look(&self, id: StepId, overwrite: bool, offline: bool) -> Result<Finding> {
        let receipt = self.receipt()?;
        let context = CheckContext {
            view: self.server.server.view(),
            receipt: &receipt,
            overwrite,
            offline,
        };
        self.step(id)?.check(&context)
    }

    pub(super) fn step(&self, id: StepId) -> Result<Step<'_>> {
        let steps = list(&self.app).into_iter().chain(monitors(&self.app));
        let mut found = steps.filter(|step| step.id() == id);
        found.next().with_context(|| format!("no step {id}"))
    }

    /// Applies one step.
    pub(super) fn fix(&self, id: StepId) -> Result<Converged> {
        let mut receipt = self.receipt()?;
        let server = &self.server.server;
        let mut changes = Changes::begin(server, &mut receipt, &self.app.name, false)?;
        converge(&self.step(id)?, &mut changes)
    }

    /// Removes the app as `remove` does; what stays, with the reason.
    pub(super) fn remove(&self) -> Result<Vec<(String, String)>> {
        self.remove_app(&self.app, &[])
    }

    pub(super) fn remove_app(&self, app: &App, others: &[&App]) -> Result<Vec<(String, String)>> {
        let server = &self.server.server;
        if let Some((dir, why, _)) = marks::missing(server, &app.name)?
            && server
                .stat(&dir)?
                .is_none_or(|stat| stat.kind == crate::host::Kind::Directory)
        {
            bail!("{why}");
        }
        let receipt = Receipt::load(server, &app.name)?;
        ensure!(!receipt.is_damaged());
        if server.stat(&layout::settings(&app.name))?.is_some()
            && let Some(why) = receipt_problem(server, &receipt, app)?
        {
            bail!("{why}");
        }
        let others: Vec<_> = others.iter().map(|other| other.name.clone()).collect();
        let removal = Removal {
            server,
            receipt: &receipt,
            app: &app.name,
            others: &others,
            purge: self.purge,
        };
        if receipt.entries().is_empty() {
            crate::provision::remove_empty_remains(server)?;
            return Ok(Vec::new());
        }
        let mut kept = Vec::new();
        for change in removal.changes() {
            let (kind, what) = change.subject();
            match removal.undo(change)? {
                Removed::Undone(Undone::Removed(_)) => {}
                Removed::Undone(Undone::Kept(why)) => kept.push((format!("{kind} {what}"), why)),
                Removed::NeededBy(other) => {
                    kept.push((format!("{kind} {what}"), other.to_string()));
                }
            }
        }
        removal.finish()?;
        Ok(kept)
    }

    /// Removes the app with its data: nothing of it is left.
    pub(super) fn purge_and_compare(&self) -> Result<()> {
        let kept = self.remove()?;
        ensure!(kept.is_empty(), "{kept:?}");
        let (files, accounts, units) = self.state()?;
        let fresh = Self::new()?.state()?;
        let paths: Vec<_> = files.keys().collect();
        ensure!(paths == fresh.0.keys().collect::<Vec<_>>(), "{paths:?}");
        ensure!((accounts, units) == (fresh.1, fresh.2));
        Ok(())
    }
}

fn app(server: &TestServer, name: &str, more: &str) -> Result<App> {
    let text = format!(
        "format = 1\nrepo = \"git@github.com:acme/{name}.git\"\nbranch = \"main\"\noperator = \"ann\"\n\
         wsgi = \"{name}.wsgi:application\"\nsettings = \"{name}.settings\"\nhealth_host = \"{name}.example.org\"\n{more}"
    );
    let settings = Settings::parse(&text)?;
    let facts = Facts {
        program: std::env::current_exe()?,
        systemctl: "/usr/bin/systemctl".into(),
        processors: 2,
        no_cron: false,
        ..server.server.facts(None)?
    };
    let name = name.parse().map_err(|error| anyhow!("{error}"))?;
    settings.app(&name, &facts).map_err(|problems| {
        anyhow!(
            "{}",
            problems.iter().map(ToString::to_string).collect::<String>()
        )
    })
}

/// The ledger after the first deployment.
fn deployed() -> Result<String> {
    let mut ledger = Ledger::default();
    let release = Release {
        id: "first".to_owned(),
        commit: COMMIT.to_owned(),
        subject: "First".to_owned(),
        since: START.to_owned(),
        venv: "v".to_owned(),
    };
    let deployment = Deployment {
        log: None,
        commit: COMMIT.to_owned(),
        subject: "First".to_owned(),
        at: START.to_owned(),
        took: Tenths(12),
        outcome: Outcome::Live,
        note: None,
        parts: std::collections::BTreeMap::new(),
    };
    ledger.went_live(release, deployment);
    Ok(serde_json::to_string(&ledger)?)
}
