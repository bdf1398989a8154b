//! Deployments in process: real files, a real mirror and small scripts below a temporary root; units and HTTP are fakes
//! whose health depends on the release that a unit was started on.

mod bridging;
mod control;
mod deploying;
mod failing;
mod keep_live;
mod killed;
mod pruning;
mod rebuilding;
mod recovering;
mod refusing;
mod shared;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use git2::build::TreeUpdateBuilder;
use git2::{FileMode, Oid, Repository, Signature, Time};

use super::Poll;
use crate::app::{App, AppName, Facts, Settings};
use crate::exit::Exit;
use crate::git::RemoteError;
use crate::git::testing::LocalRemote;
use crate::host::testing::TestServer;
use crate::host::{HttpError, UnitState, effective_uid};
use crate::layout;
use crate::report::{FailureReport, PollOutcome};
use crate::state::ledger::{Ledger, Release};

const SETTINGS: &str = "format = 1\n\
    repo = \"git@git.example.org:acme/todo.git\"\n\
    wsgi = \"todo.wsgi:application\"\n\
    settings = \"todo.settings\"\n\
    user = \"gunicorn\"\n\
    group = \"gunicorn\"\n\
    project_dir = \"/var/www/projects/todo\"\n\
    static_dir = \"/www/static/todo\"\n\
    bind = \"127.0.0.1:8000\"\n\
    health_host = \"todo.example.org\"\n\
    host_key = \"SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"\n\
    python = \"/usr/bin/python3\"\n\
    keep = 2\n\
    health_timeout = 2\n";

/// What the deploy script does is up to the commit: its file `script` runs in it.
const DEPLOY: &str = "venv=../../venvs/${PULLPRAY_VENV##*/}\n\
    if [ \"$PULLPRAY_VENV_STATE\" = new ]; then\n\
        mkdir -p \"$venv/bin\" && ln -s ../../../../../../../usr/bin/python3 \"$venv/bin/python\"\n\
    fi\n\
    mkdir .static && cp version .static/version\n\
    echo \"building $(cat version)\"\n\
    if [ -e script ]; then . ./script; fi";

/// Python, as far as deployments need it: its version, where the app writes, and whether the app can be imported.
const PYTHON: &str = "case $1 in\n\
    -I) echo CPython 3.11.2 ;;\n\
    -c) if [ -e writes ]; then cat writes; else echo '[]'; fi >.pullpray-writes.json ;;\n\
    *) if [ -e \"${0%/bin/python}/broken\" ]; then echo 'ImportError: no gunicorn' >&2; exit 1; fi ;;\n\
    esac";

/// While this exists, visitors reach the app only once its socket is restarted.
pub(super) const LOST_SOCKET: &str = "/srv/lost-socket";

fn facts() -> Facts {
    Facts {
        processors: 1,
        program: "/usr/local/bin/pullpray".into(),
        systemctl: "/usr/bin/systemctl".into(),
        ..Facts::default()
    }
}

/// A server with an app, and its repository on a git host.
pub(super) struct Site {
    pub(super) test: TestServer,
    pub(super) app: App,
    pub(super) remote: LocalRemote,
    pub(super) said: Mutex<Vec<String>>,
    repo: Repository,
}

impl Site {
    /// An app that was never deployed, with these lines added to its settings.
    pub(super) fn with_settings(more: &str) -> Result<Self> {
        let test = TestServer::new()?;
        let settings = format!("{SETTINGS}{more}");
        let name: AppName = "todo".parse()?;
        let app = Settings::parse(&settings)
            .map_err(|error| anyhow!("{error}"))?
            .app(&name, &facts())
            .map_err(|problems| anyhow!("{problems:?}"))?;
        test.accounts
            .add("gunicorn", effective_uid(), effective_uid());
        test.put(layout::settings(&name), &settings, 0o644)?;
        test.put_program(app.deploy_script(), DEPLOY)?;
        test.put_program("/usr/bin/python3", PYTHON)?;
        for dir in [
            layout::logs(&name),
            app.releases(),
            app.shared(),
            app.venvs(),
            app.static_dir.as_path().to_owned(),
        ] {
            fs::create_dir_all(test.real(dir))?;
        }
        for unit in layout::units(&name) {
            test.put(layout::unit_file(&unit), "", 0o644)?;
        }
        let (service, trial) = (layout::service_unit(&name), layout::trial_unit(&name));
        let bridge = layout::bridge_unit(&name);
        {
            let mut table = test.units.table();
            let enabled = |active: &str| UnitState {
                enabled: "enabled".to_owned(),
                active: active.to_owned(),
                ..UnitState::default()
            };
            table.units.insert(service.clone(), enabled("inactive"));
            let socket = layout::socket_unit(&name);
            table.units.insert(socket, enabled("active"));
            table.watched.insert(service.clone(), app.current());
            table.watched.insert(trial.clone(), app.next());
            table.watched.insert(bridge.clone(), app.current());
        }
        let (units, project) = (test.units.clone(), test.real(app.project_dir.as_path()));
        let at = |path: PathBuf| path.display().to_string();
        let (socket, lost) = (layout::socket_unit(&name), test.real(LOST_SOCKET));
        let own = [
            (at(layout::trial_socket(&name)), trial.clone()),
            (at(layout::bridge_socket(&name)), bridge.clone()),
            (at(layout::own_socket(&name)), service.clone()),
        ];
        test.http.answer(move |(bind, _, _)| {
            // Visitors are answered by whichever of the two instances runs.
            let bind = bind.to_string();
            let known = own.iter().find(|(at, _)| *at == bind);
            let unit = known.map_or_else(
                || {
                    if units.is_active(&service) {
                        &service
                    } else {
                        &bridge
                    }
                },
                |(_, unit)| unit,
            );
            let in_trial = *unit == trial;
            let refused = || HttpError::Refused("Connection refused".to_owned());
            // A socket that systemd has lost, until it restarts it.
            let restart = |line: &String| *line == format!("sudo restart {socket}");
            let lost = lost.exists() && !units.table().commands.iter().any(restart);
            if !units.is_active(unit) || known.is_none() && lost {
                return Err(refused());
            }
            let release = units.table().runs.get(unit).cloned().ok_or_else(refused)?;
            let release = project.join(release);
            let has = |name| release.join(name).exists();
            Ok(match () {
                () if !has("version") => 500,
                () if has("unhealthy") || in_trial && has("unhealthy-in-trial") => 500,
                () if !in_trial && has("unhealthy-live") => 503,
                () if *unit == service && has("unhealthy-alone") => 503,
                () if *unit == bridge && has("unhealthy-bridge") => 503,
                // Until the bridge has been started once.
                () if *unit == service
                    && has("unhealthy-next")
                    && units.table().runs.contains_key(&bridge) =>
                {
                    503
                }
                () => 200,
            })
        });
        let path = test.real("/srv/todo.git");
        let repo = Repository::init_bare(&path)?;
        Ok(Self {
            test,
            app,
            remote: LocalRemote::new(path),
            said: Mutex::default(),
            repo,
        })
    }

    /// An app that was never deployed.
    pub(super) fn new() -> Result<Self> {
        Self::with_settings("")
    }

    /// An app whose versions `one` and `two` were deployed.
    pub(super) fn live() -> Result<Self> {
        let site = Self::new()?;
        for version in ["one", "two"] {
            site.deploys(version)?;
        }
        Ok(site)
    }

    /// Commits a version with these files beside it; `NAME@` is a link. Returns the commit.
    pub(super) fn commit(&self, version: &str, files: &[(&str, &str)]) -> Result<String> {
        let tip = self.repo.find_reference("refs/heads/main");
        let parent = tip.and_then(|tip| tip.peel_to_commit()).ok();
        self.commit_onto(parent.map(|parent| parent.id()), version, files)
    }

    /// Commits a version with that parent, which may rewrite history.
    pub(super) fn commit_onto(
        &self,
        parent: Option<Oid>,
        version: &str,
        files: &[(&str, &str)],
    ) -> Result<String> {
        let mut tree = TreeUpdateBuilder::new();
        for (name, text) in files.iter().chain(&[("version", version)]) {
            let (name, mode) = match name.strip_suffix('@') {
                Some(link) => (link, FileMode::Link),
                None => (*name, FileMode::Blob),
            };
            tree.upsert(name, self.repo.blob(text.as_bytes())?, mode);
        }
        let empty = self.repo.find_tree(self.repo.treebuilder(None)?.write()?)?;
        let tree = self
            .repo
            .find_tree(tree.create_updated(&self.repo, &empty)?)?;
        let ann = Signature::new("Ann", "ann@example.org", &Time::new(1_700_000_000, 0))?;
        let parent = parent.map(|id| self.repo.find_commit(id)).transpose()?;
        let parents: Vec<_> = parent.iter().collect();
        let commit = self
            .repo
            .commit(None, &ann, &ann, version, &tree, &parents)?;
        self.repo
            .reference("refs/heads/main", commit, true, "commit")?;
        Ok(commit.to_string())
    }

    /// Calls it with a poll by cron, five minutes after the last.
    pub(super) fn with_poll<T>(&self, run: impl FnOnce(&Poll<'_>) -> T) -> T {
        self.test.clock.sleep(Duration::from_secs(300));
        run(&Poll {
            server: &self.test.server,
            app: &self.app,
            clock: &self.test.clock,
            remote: &self.remote,
            now: false,
            by_cron: true,
            progress: &|text| self.said.lock().expect("no panic").push(text.to_owned()),
        })
    }

    pub(super) fn poll(&self) -> Result<PollOutcome> {
        self.with_poll(super::poll)
    }

    /// A poll by a person, who does not wait.
    pub(super) fn poll_now(&self) -> Result<PollOutcome> {
        self.with_poll(|poll| {
            super::poll(&Poll {
                now: true,
                by_cron: false,
                ..*poll
            })
        })
    }

    /// Commits a version and polls: it must go live.
    pub(super) fn deploys(&self, version: &str) -> Result<()> {
        self.commit(version, &[])?;
        let outcome = self.poll()?;
        ensure!(
            matches!(outcome, PollOutcome::Deployed { .. }),
            "{version}: {outcome:?}"
        );
        self.settled(version)
    }

    pub(super) fn ledger(&self) -> Result<Ledger> {
        Ledger::load(&self.test.server, &self.app.name)
    }

    /// The live release of the ledger.
    pub(super) fn live_release(&self) -> Result<Release> {
        self.ledger()?.live().cloned().context("nothing is live")
    }

    pub(super) fn dir_of(&self, release: &Release) -> PathBuf {
        self.test.real(self.app.releases().join(&release.id))
    }

    pub(super) fn service(&self) -> String {
        layout::service_unit(&self.app.name)
    }

    /// The version that visitors get; an error if the app does not run or is unhealthy.
    pub(super) fn shows(&self) -> Result<String> {
        let (server, app) = (&self.test.server, &self.app);
        let patience = Duration::from_secs(1);
        let status = server
            .health(app, &app.bind, patience)
            .map_err(|error| anyhow!("{error}"))?
            .status;
        ensure!(status == 200, "the app answers {status}");
        let runs = self.test.units.table().runs.get(&self.service()).cloned();
        let release = self.test.real(
            self.app
                .project_dir
                .as_path()
                .join(runs.context("nothing runs")?),
        );
        Ok(fs::read_to_string(release.join("version"))?)
    }

    /// Runs systemctl as an administrator would.
    pub(super) fn systemctl(&self, verb: &str, unit: &str) -> Result<()> {
        let systemctl = Path::new("/usr/bin/systemctl");
        self.test.server.sudo_systemctl(systemctl, &[verb, unit])
    }

    pub(super) fn names(&self, dir: &Path) -> Result<BTreeSet<String>> {
        let names = self.test.server.list(dir)?;
        let names = names.iter().map(|name| name.to_string_lossy().into_owned());
        Ok(names.collect())
    }

    /// Checks that exactly this version is live, on the disk and in the ledger, and that nothing else is left.
    pub(super) fn settled(&self, version: &str) -> Result<()> {
        let (ledger, app) = (self.ledger()?, &self.app);
        let live = ledger.live().context("nothing is live")?;
        ensure!(ledger.in_progress().is_none(), "still in progress");
        let current = self.test.server.read_link(&app.current())?;
        let link = layout::release_link(&live.id);
        ensure!(current.as_ref() == Some(&link), "current is {current:?}");
        ensure!(self.shows()? == version, "visitors get {}", self.shows()?);
        let runs = self.test.units.table().runs.get(&self.service()).cloned();
        ensure!(runs.as_ref() == Some(&link), "{runs:?} runs");
        let published =
            fs::read_to_string(self.test.real(app.static_dir.as_path().join("version")))?;
        ensure!(published == version, "static files are of {published}");
        let of = |of: fn(&Release) -> &String| ledger.releases().iter().map(of).cloned().collect();
        let (ids, venvs): (BTreeSet<String>, BTreeSet<String>) = (of(|r| &r.id), of(|r| &r.venv));
        ensure!(ids.len() == ledger.releases().len(), "a release twice");
        ensure!(ids.contains(&live.id), "the live release is not listed");
        ensure!(ids.len() <= app.limits.keep + 1, "{ids:?} are kept");
        let commits: BTreeSet<_> = ledger.releases().iter().map(|r| &r.commit).collect();
        ensure!(commits.len() == ids.len(), "a commit twice");
        for (dir, known) in [(app.releases(), ids), (app.venvs(), venvs)] {
            let found = self.names(&dir)?;
            ensure!(
                found == known,
                "{} has {found:?}, not {known:?}",
                dir.display()
            );
        }
        for unit in [
            layout::trial_unit(&app.name),
            layout::bridge_unit(&app.name),
        ] {
            ensure!(!self.test.units.is_active(&unit), "{unit} runs");
        }
        let mut expected = vec!["current", "releases", "shared", "venvs"];
        let found = self.names(app.project_dir.as_path())?;
        ensure!(found.iter().eq(expected), "the project has {found:?}");
        expected = vec!["ledger.json", "log", "mirror.git"];
        let mut found = self.names(&layout::state(&app.name))?;
        found.retain(|name| !name.starts_with("answered-by-"));
        ensure!(found.iter().eq(expected), "the state has {found:?}");
        Ok(())
    }
}

/// An error of a git host that does not answer.
pub(super) fn unreachable() -> RemoteError {
    RemoteError::TimedOut {
        idle: Duration::from_secs(60),
    }
}

/// What a poll reports, and its exit code.
pub(super) fn report(site: &Site, outcome: &PollOutcome) -> (String, Exit) {
    crate::report::poll::render(&site.app, outcome, false)
}

/// A failed deployment's report.
pub(super) fn failure(outcome: &PollOutcome) -> Result<&FailureReport> {
    match outcome {
        PollOutcome::Failed(report) => Ok(report),
        other => Err(anyhow!("{other:?}")),
    }
}
