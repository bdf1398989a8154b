//! What was reported of an app's state, and what could not be delivered yet: the file of `deploy::notices`.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A deployment failed, or a process that runs by the clock; the site is up.
    Failed,
    /// A deployment failed, and the site could not be restored.
    Down,
    /// A commit was refused.
    Refused,
    /// The git host could not be reached for some polls in a row.
    Unreachable,
    /// What was wrong is over; or something was found broken and restored.
    Recovered,
    /// A release went live.
    Live,
    /// Somebody asked for a test.
    Test,
}

impl Event {
    /// As JSON spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Down => "down",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Recovered => "recovered",
            Self::Live => "live",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A message about an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What happened.
    pub event: Event,
    /// The app.
    pub app: String,
    /// The server's name.
    pub server: String,
    /// The commit that it is about, 40 hexadecimal digits.
    pub commit: Option<String>,
    /// The commit that is live.
    pub live: Option<String>,
    /// When.
    pub time: DateTime<Utc>,
    /// Whether it was reported before and lasts.
    pub reminder: bool,
    /// One line: the subject of a mail.
    pub title: String,
    /// The lines below it.
    pub body: String,
}

/// A state that somebody has to end, and that was reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Which.
    pub event: Event,
    /// When it was reported last.
    pub reported: DateTime<Utc>,
}

/// A notice that a channel did not take yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undelivered {
    /// SHA-256 of the channel's address, which is a secret.
    pub channel: String,
    /// The notice.
    pub notice: Notice,
    /// How often it was tried.
    pub tries: u32,
    /// When it is tried again.
    pub next: DateTime<Utc>,
    /// Why it failed.
    pub why: String,
}

/// The state of an app's notices. The file exists only while there is something in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notices {
    /// What is wrong, if something is.
    pub trouble: Option<Trouble>,
    /// When something was reported that was found broken and restored at once.
    #[serde(default)]
    pub restored: Option<DateTime<Utc>>,
    /// Oldest first.
    pub undelivered: Vec<Undelivered>,
}
