//! The exit codes, each meaning with its name. The help and the manual pages list them.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done, or nothing to do.
    Success,
    /// 1: a step, a check or a deployment failed; the previous release is live.
    Failed,
    /// 1: `init --dry-run` would change something.
    ChangesPending,
    /// 2: the command line, the answers or the settings are not valid.
    Usage,
    /// 3: the git host does not accept the deploy key yet.
    AwaitingAccess,
    /// 3: a poll could not reach the git host.
    Unreachable,
    /// 3: something could not be checked.
    Unknown,
    /// 4: a deployment failed, and the previous release could not be restored.
    RestoreFailed,
    /// That of a command that `pullpray run` ran.
    OfCommand(u8),
    /// 130: Ctrl-C or SIGTERM (128 + SIGINT, as shells report it).
    Interrupted,
}

impl Exit {
    /// The exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed | Self::ChangesPending => 1,
            Self::Usage => 2,
            Self::AwaitingAccess | Self::Unreachable | Self::Unknown => 3,
            Self::RestoreFailed => 4,
            Self::OfCommand(code) => code,
            Self::Interrupted => 130,
        }
    }

    /// The meaning of a child's exit code; a signal, or a code that no pullpray returns, is a failure.
    /// Only polls run as children and end with 3.
    #[must_use]
    pub fn of_child(code: Option<i32>) -> Self {
        [
            Self::Success,
            Self::Usage,
            Self::Unreachable,
            Self::RestoreFailed,
            Self::Interrupted,
        ]
        .into_iter()
        .find(|exit| code == Some(i32::from(exit.code())))
        .unwrap_or(Self::Failed)
    }

    /// The more serious of two, by what is lost until somebody acts: the site, every later release, one
    /// release, one poll.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        let severity = |exit| match exit {
            Self::Success => 0,
            Self::AwaitingAccess | Self::Unreachable | Self::Unknown => 1,
            Self::Failed | Self::ChangesPending | Self::OfCommand(_) => 2,
            Self::Usage => 3,
            Self::RestoreFailed => 4,
            Self::Interrupted => 5,
        };
        if severity(other) > severity(self) {
            other
        } else {
            self
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_back() {
        for code in [0, 1, 2, 3, 4, 130] {
            assert_eq!(i32::from(Exit::of_child(Some(code)).code()), code);
        }
        assert_eq!(Exit::of_child(None), Exit::Failed);
        assert_eq!(Exit::of_child(Some(101)), Exit::Failed);
    }

    #[test]
    fn a_site_that_is_down_is_the_worst_and_an_unreachable_host_the_least() {
        use Exit::{Failed, RestoreFailed, Success, Unreachable, Usage};
        let order = [Success, Unreachable, Failed, Usage, RestoreFailed];
        for (at, exit) in order.into_iter().enumerate() {
            for better in &order[..at] {
                assert_eq!(exit.worse(*better), exit);
                assert_eq!(better.worse(exit), exit);
            }
        }
    }
}
