//! What an app on this server is: answers come in as text, an [`App`] comes out.
//!
//! Pure: nothing here reads a file, asks the system or knows the time. What has to be known about
//! the server to work out a default comes in as [`Facts`].

mod answers;
mod bind;
mod defaults;
pub mod environment;
#[cfg(test)]
mod fuzz;
mod invalid;
mod names;
mod repo_url;
mod resolve;
mod schedule;
mod settings;
mod tag;
mod track;
mod window;

pub use answers::{Answers, NAMES, RawAnswer};
pub use bind::Bind;
pub use defaults::{Facts, OtherApp};
pub use invalid::Invalid;
pub use names::{
    AbsPath, AccountName, AppName, Branch, Fingerprint, HealthHost, HealthPath, Module, SharedPath,
    Wsgi,
};
pub use repo_url::RepoUrl;
pub use resolve::Problem;
pub use schedule::Schedule;
pub use settings::{FORMAT, Settings, SettingsError};
pub use tag::{TagPattern, matches as glob_matches};
pub use track::{CommitId, Track};
pub use window::Window;

use std::path::PathBuf;

/// One application on this server: every answer, validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its name on this server.
    pub name: AppName,
    /// The repository.
    pub repo: RepoUrl,
    /// What of it is followed.
    pub track: Track,
    /// The WSGI callable; `None` until the repository could be read, for then it is found there.
    pub wsgi: Option<Wsgi>,
    /// `DJANGO_SETTINGS_MODULE`; `None` leaves it to manage.py and wsgi.py.
    pub settings: Option<Module>,
    /// The account that runs the app, polls and deploys.
    pub user: AccountName,
    /// The group that owns the tree and may restart the units.
    pub group: AccountName,
    /// A person's account that becomes a member of the group.
    pub operator: Option<AccountName>,
    /// Releases, shared files and virtual environments.
    pub project_dir: AbsPath,
    /// What the web server hands out as static files.
    pub static_dir: AbsPath,
    /// Where gunicorn's socket listens.
    pub bind: Bind,
    /// gunicorn's worker processes.
    pub workers: u16,
    /// What is asked to learn whether the app is healthy.
    pub health_path: HealthPath,
    /// With which `Host` header.
    pub health_host: HealthHost,
    /// When cron polls.
    pub schedule: Schedule,
    /// The git host's key, as a fingerprint.
    pub host_key: Fingerprint,
    /// The interpreter that virtual environments are made with.
    pub python: AbsPath,
    /// What outlives releases.
    pub shared_paths: Vec<SharedPath>,
    /// What a poll may use, what it lets through and when it gives up.
    pub limits: Limits,
    /// The installed program, which units and cron start.
    pub program: PathBuf,
    /// systemctl's real path, which sudo compares.
    pub systemctl: PathBuf,
}

/// What a poll may use, what it lets through and when it gives up; keys of the settings file, not questions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Successful releases that are kept, the live one among them; at least 2, to have one to go
    /// back to.
    pub keep: usize,
    /// How often one commit is tried before it is quarantined.
    pub attempts: u32,
    /// Seconds that the deploy script may take.
    pub deploy_timeout: u64,
    /// Seconds within which the restarted app must be healthy.
    pub health_timeout: u64,
    /// Whether a commit is deployed that the live one is no ancestor of: the branch was rewritten,
    /// or went back.
    pub allow_rewind: bool,
    /// When deployments may begin; at any time if there is none.
    pub deploy_window: Option<Window>,
    /// The list of those who must have signed what is deployed; nobody has to if there is none.
    pub signed_by: Option<AbsPath>,
    /// How large one file of the repository may be, in MiB.
    pub max_file: u64,
    /// How much a fetch may bring, and a release's tree may have, in MiB.
    pub max_size: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            keep: 5,
            attempts: 3,
            deploy_timeout: 900,
            health_timeout: 30,
            allow_rewind: true,
            deploy_window: None,
            signed_by: None,
            // What GitHub lets in, and four times the largest repository that it recommends ("Repository limits").
            max_file: 100,
            max_size: 4096,
        }
    }
}
