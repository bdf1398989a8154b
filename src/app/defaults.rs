//! What must be known about a server to work out defaults for it.

use std::path::PathBuf;

use super::{AccountName, AppName, Bind, Schedule};

/// Another app of this server, as its settings say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherApp {
    /// Its name.
    pub name: AppName,
    /// The account that runs it.
    pub user: AccountName,
    /// The group that may read and write what is its.
    pub group: AccountName,
    /// Its own directories.
    pub dirs: Vec<PathBuf>,
}

/// What the survey found that a default depends on.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Who called sudo, if somebody did and it is not root.
    pub operator: Option<AccountName>,
    /// Ports that something listens on, or that another app's settings name.
    pub ports: Vec<u16>,
    /// Other apps of this server.
    pub others: Vec<OtherApp>,
    /// Processors.
    pub processors: u16,
    /// The installed program.
    pub program: PathBuf,
    /// systemctl's path.
    pub systemctl: PathBuf,
}

impl Facts {
    /// The account to recommend: `gunicorn` for the first app, one of its own for every further
    /// app, since apps that share an account can read each other's data.
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

    /// The next free address.
    #[must_use]
    pub fn bind(&self) -> Bind {
        Bind::next_free(&self.ports)
    }

    /// gunicorn's own recommendation (its manual, "How Many Workers?"), bounded: on a large
    /// machine it would spend memory that a small site never needs.
    #[must_use]
    pub fn workers(&self) -> u16 {
        self.processors
            .saturating_mul(2)
            .saturating_add(1)
            .clamp(2, 9)
    }

    /// Every five minutes.
    #[must_use]
    pub fn schedule() -> &'static str {
        "*/5 * * * *"
    }

    /// The words for [`Facts::schedule`].
    #[must_use]
    pub fn schedule_words() -> String {
        Self::schedule()
            .parse::<Schedule>()
            .map_or_else(|_| String::new(), |s| s.words())
    }
}
