//! The configuration of an app: parses answers (text) into an [`App`].
//!
//! Pure: nothing here reads a file, queries the system or reads the clock. Defaults that depend on
//! the server are computed from [`Facts`].

mod answers;
mod bind;
mod channel;
mod defaults;
mod django;
mod django_settings;
pub mod environment;
#[cfg(test)]
mod fuzz;
mod invalid;
mod likeness;
mod names;
mod procfile;
mod proxy;
mod repo_url;
mod resolve;
mod schedule;
mod settings;
mod tag;
mod track;
mod window;

pub use answers::{ANSWERS, Answer, Answers, RawAnswer, for_shell, is_python_version};
pub use bind::Bind;
pub use channel::{Channel, Heartbeat, Means, masked};
pub use defaults::{Facts, OtherApp};
pub use django::settings_modules;
pub use django_settings::{DjangoSettings, read_settings};
pub use invalid::Invalid;
pub use likeness::{is_like, likeliest_first};
pub use names::{
    AbsPath, AccountName, AppName, Branch, Fingerprint, GroupName, HealthHost, HealthPath, Module,
    SharedPath, Wsgi,
};
pub use procfile::{Calendar, MAX_PROCFILE, PROCFILE, ProcessName, Procfile, Web};
pub use proxy::{PROXY_VARIABLE, Proxy, ProxyAddress, SshHost};
pub use repo_url::RepoUrl;
pub use resolve::Problem;
pub use schedule::Schedule;
pub use settings::{FORMAT, Settings, SettingsError};
pub use tag::{TagPattern, matches as glob_matches};
pub use track::{CommitId, Track};
pub use window::Window;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// One app on this server: every answer, validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its name on this server.
    pub name: AppName,
    /// The repository.
    pub repo: RepoUrl,
    /// The branch, tag pattern or commit to deploy.
    pub track: Track,
    /// The directory of the repository that has manage.py, the Procfile and the dependencies; `None`: the top.
    pub subdir: Option<SharedPath>,
    /// The WSGI callable; `None` to detect it in the repository once that is readable.
    pub wsgi: Option<Wsgi>,
    /// `DJANGO_SETTINGS_MODULE`; `None` leaves it to manage.py and wsgi.py.
    pub settings: Option<Module>,
    /// The account that runs the app, polls and deploys.
    pub user: AccountName,
    /// The group that owns the tree and may restart the units.
    pub group: GroupName,
    /// A person's login that is added to the group.
    pub operator: Option<AccountName>,
    /// The directory of releases, shared files and virtual environments.
    pub project_dir: AbsPath,
    /// The directory from which the web server serves static files.
    pub static_dir: AbsPath,
    /// The listen address of gunicorn's socket.
    pub bind: Bind,
    /// gunicorn's worker processes.
    pub workers: u16,
    /// The path of the health check.
    pub health_path: HealthPath,
    /// The `Host` header of the health check.
    pub health_host: HealthHost,
    /// When polls start, and by what.
    pub schedule: Schedule,
    /// The git host's key, as a fingerprint.
    pub host_key: Fingerprint,
    /// How ssh reaches the git host; `None` for directly, or as ssh's own configuration says.
    pub proxy: Option<Proxy>,
    /// Another address of the git host's ssh.
    pub ssh_host: Option<SshHost>,
    /// The Python interpreter for virtual environments.
    pub python: AbsPath,
    /// Files and directories shared between releases.
    pub shared_paths: Vec<SharedPath>,
    /// The processes that run beside web, with the commands of the release's Procfile.
    pub processes: Vec<ProcessName>,
    /// Where failures are reported.
    pub notify: Vec<Channel>,
    /// The limits of a poll.
    pub limits: Limits,
    /// The installed program, which units and cron start.
    pub program: PathBuf,
    /// systemctl's real path, which sudo compares.
    pub systemctl: PathBuf,
}

impl App {
    /// Where the git host's ssh is.
    #[must_use]
    pub fn ssh_place(&self) -> (&str, u16) {
        match &self.ssh_host {
            Some(other) => (&other.host, other.port),
            None => (self.repo.host(), self.repo.port()),
        }
    }
}

/// A file with a secret, which only root can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The file.
    pub path: AbsPath,
    /// Whether systemd decrypts it (systemd-creds(1)).
    pub encrypted: bool,
}

/// The limits of a poll. They are keys of the settings file; init does not prompt for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How many successful releases to keep, including the live one; at least 2, to have one to
    /// roll back to.
    pub keep: usize,
    /// The number of attempts per commit before it is quarantined.
    pub attempts: u32,
    /// The timeout of the deploy script's build phase, in seconds.
    pub deploy_timeout: u64,
    /// The timeout of its migrate phase, in seconds.
    pub migrate_timeout: u64,
    /// How long the restarted app may take to become healthy, in seconds.
    pub health_timeout: u64,
    /// How much memory must be available for a second instance during a switch, in MiB; `None`: what the running one
    /// uses.
    pub bridge_memory: Option<u64>,
    /// How much memory each of the app's units may use, in MiB; `None` for no limit.
    pub memory: Option<u64>,
    /// How much of one processor each may use, in percent; 200 is two processors.
    pub cpu: Option<u32>,
    /// How many processes and threads each may have.
    pub tasks: Option<u32>,
    /// Directories that the app may write to, besides shared/.
    pub writable: Vec<AbsPath>,
    /// Files with secrets that systemd hands to the app's units, by name.
    pub credentials: BTreeMap<String, Credential>,
    /// Processes that run by the clock, and when.
    pub timers: BTreeMap<ProcessName, Calendar>,
    /// A commit that changes nothing below these paths is not deployed; empty for all.
    pub paths: Vec<SharedPath>,
    /// Whether a deployment is reported, too.
    pub notify_live: bool,
    /// What is requested after each poll that did its duty.
    pub heartbeat: Option<Heartbeat>,
    /// The command that tests a release before it can go live; run by sh.
    pub tests: Option<String>,
    /// The memory that each process of it may have, in MiB.
    pub tests_memory: u64,
    /// Its timeout, in seconds.
    pub tests_timeout: u64,
    /// Status codes of a healthy app, besides 200 to 299.
    pub health_status: Vec<u16>,
    /// Whether to deploy a commit that does not descend from the live one, after a force-push.
    pub allow_rewind: bool,
    /// When deployments may start; `None` for any time.
    pub deploy_window: Option<Window>,
    /// The files that list the allowed signers of deployed commits; empty if no signature is required.
    pub signed_by: Vec<AbsPath>,
    /// Filters of .gitattributes whose files are deployed as stored.
    pub accept_filters: Vec<String>,
    /// The maximum size of one file of the repository, in MiB.
    pub max_file: u64,
    /// The maximum size of a fetch, and of a release's tree, in MiB.
    pub max_size: u64,
}

impl Limits {
    /// How long the whole deploy script may run, in seconds.
    #[must_use]
    pub fn script_timeout(&self) -> u64 {
        self.deploy_timeout.saturating_add(self.migrate_timeout)
    }

    /// How long to wait for a poll that deploys: until its script has reached the limits, and its release is healthy.
    #[must_use]
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.script_timeout().saturating_add(900))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            keep: 5,
            attempts: 3,
            deploy_timeout: 900,
            // A migration that is cut off may leave the database half changed.
            migrate_timeout: 6 * 3600,
            health_timeout: 30,
            bridge_memory: None,
            memory: None,
            cpu: None,
            tasks: None,
            writable: Vec::new(),
            credentials: BTreeMap::new(),
            timers: BTreeMap::new(),
            paths: Vec::new(),
            notify_live: false,
            heartbeat: None,
            tests: None,
            tests_memory: 1024,
            tests_timeout: 600,
            health_status: Vec::new(),
            allow_rewind: true,
            deploy_window: None,
            signed_by: Vec::new(),
            accept_filters: Vec::new(),
            // GitHub's file size limit, and four times the largest repository that it recommends ("Repository limits").
            max_file: 100,
            max_size: 4096,
        }
    }
}
