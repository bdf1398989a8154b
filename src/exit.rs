//! How a run of pullpray ends: one type, one number each, printed by the help.

use std::process::ExitCode;

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All is well, or there was nothing to do.
    Done,
    /// It failed; for a poll, the release before is live.
    Failed,
    /// The command line, the answers or the settings cannot be used.
    Usage,
    /// init waits for access to the repository; a poll could not ask the remote.
    Waiting,
    /// A deployment failed and the release before could not be brought back.
    NotBroughtBack,
    /// Ctrl-C or SIGTERM.
    Interrupted,
}

impl Exit {
    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Waiting => 3,
            Self::NotBroughtBack => 4,
            Self::Interrupted => 130,
        }
    }

    /// How a pullpray that was started by this one ended; what is none of its numbers, or a signal,
    /// is a failure.
    #[must_use]
    pub fn of(code: Option<i32>) -> Self {
        [
            Self::Done,
            Self::Usage,
            Self::Waiting,
            Self::NotBroughtBack,
            Self::Interrupted,
        ]
        .into_iter()
        .find(|exit| code == Some(i32::from(exit.code())))
        .unwrap_or(Self::Failed)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error of the person's input, which ends with [`Exit::Usage`].
#[derive(Debug)]
pub struct UsageError(pub String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_back() {
        for code in [0, 1, 2, 3, 4, 130] {
            assert_eq!(i32::from(Exit::of(Some(code)).code()), code);
        }
        assert_eq!(Exit::of(None), Exit::Failed);
        assert_eq!(Exit::of(Some(101)), Exit::Failed);
    }
}
