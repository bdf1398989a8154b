//! The facts about a server that defaults depend on.

use std::path::PathBuf;

use super::{AccountName, AppName, Bind, Fingerprint, GroupName, RepoUrl, Schedule};

/// Another app on this server, from its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherApp {
    /// Its name.
    pub name: AppName,
    /// The account that runs it.
    pub user: AccountName,
    /// The group that may read and write its files.
    pub group: GroupName,
    /// Its own directories.
    pub dirs: Vec<PathBuf>,
    /// The name of its git host in known_hosts, and the key that was confirmed for it.
    pub host_key: Option<(String, Fingerprint)>,
}

/// The results of the survey that defaults depend on.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The user who ran sudo; `None` without sudo, or if that is root.
    pub operator: Option<AccountName>,
    /// Ports in use, or assigned in another app's settings.
    pub ports: Vec<u16>,
    /// Other apps on this server.
    pub others: Vec<OtherApp>,
    /// Where another app reports failures, as an answer.
    pub notify: Option<String>,
    /// ssh's `HostKeyAlgorithms` on this server, separated by commas; empty if they are unknown.
    pub host_key_algorithms: String,
    /// The machine's id (machine-id(5)); empty if it has none.
    pub machine: String,
    /// Whether it is known that this server has no cron.
    pub no_cron: bool,
    /// The number of processors.
    pub processors: u16,
    /// The installed program.
    pub program: PathBuf,
    /// systemctl's path.
    pub systemctl: PathBuf,
}

impl Facts {
    /// The suggested account: `gunicorn` for the first app, a separate one for every other app, since
    /// apps that share an account can read each other's data.
    #[must_use]
    pub fn account(&self, app: &AppName) -> String {
        if self
            .others
            .iter()
            .any(|other| other.name != *app && other.user.as_str() == "gunicorn")
        {
            let own = format!("gunicorn-{app}");
            own.chars().take(32).collect()
        } else {
            "gunicorn".to_owned()
        }
    }

    /// The host key that the other apps of this repository's host use: it was confirmed before, and is not asked for
    /// again. `None` if they differ.
    #[must_use]
    pub fn host_key(&self, repo: &RepoUrl) -> Option<&Fingerprint> {
        let host = repo.known_hosts_name();
        let mut keys = self
            .others
            .iter()
            .filter_map(|other| other.host_key.as_ref())
            .filter(|(name, _)| *name == host)
            .map(|(_, key)| key);
        let first = keys.next()?;
        keys.all(|key| key == first).then_some(first)
    }

    /// The next free address.
    #[must_use]
    pub fn bind(&self) -> Bind {
        Bind::next_free(&self.ports)
    }

    /// The number of workers that gunicorn's manual recommends ("How Many Workers?"), capped: on a
    /// large machine that would waste memory on a small site.
    #[must_use]
    pub fn workers(&self) -> u16 {
        self.processors
            .saturating_mul(2)
            .saturating_add(1)
            .clamp(2, 9)
    }

    /// The default schedule: every five minutes.
    #[must_use]
    pub fn schedule() -> &'static str {
        "*/5 * * * *"
    }

    /// [`Facts::schedule`] in words.
    #[must_use]
    pub fn schedule_words() -> String {
        Self::schedule()
            .parse::<Schedule>()
            .map_or_else(|_| String::new(), |s| s.words())
    }
}
