//! Errors with hints: what the person at the keyboard can do about them, kept apart from the message until it is shown.
//!
//! The cause stays as it is: [`Error`] shows its message and its chain, so it adds no line of its own.

use std::fmt;

use anyhow::anyhow;

use crate::exit::Exit;

/// An error with what goes with it: how the command ends, and hints.
#[derive(Debug)]
pub struct Error {
    exit: Exit,
    cause: anyhow::Error,
    hints: Vec<String>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.source()
    }
}

/// Adds a hint to an error.
pub trait WithHint {
    /// Adds a command that fixes it, or a sentence without a full stop.
    #[must_use]
    fn hint(self, hint: impl Into<String>) -> Self;
    /// Lets the command end so.
    #[must_use]
    fn ends(self, exit: Exit) -> Self;
}

impl WithHint for anyhow::Error {
    fn hint(self, hint: impl Into<String>) -> Self {
        Error {
            exit: exit(&self),
            cause: self,
            hints: vec![hint.into()],
        }
        .into()
    }
    fn ends(self, exit: Exit) -> Self {
        Error {
            exit,
            cause: self,
            hints: Vec::new(),
        }
        .into()
    }
}

/// The error for invalid input, which ends with [`Exit::Usage`].
pub fn usage(message: impl Into<String>) -> anyhow::Error {
    anyhow!(message.into()).ends(Exit::Usage)
}

/// How a command ends that fails with this error: [`Exit::Failed`] unless something in the chain says otherwise.
pub fn exit(error: &anyhow::Error) -> Exit {
    carrier(error).map_or(Exit::Failed, |carrier| carrier.exit)
}

/// The hints along the chain, those of the cause first.
pub fn hints(error: &anyhow::Error) -> Vec<String> {
    carrier(error).map_or_else(Vec::new, |carrier| {
        let mut all = hints(&carrier.cause);
        all.extend_from_slice(&carrier.hints);
        all
    })
}

/// Message, causes and hints in one line: `why: cause; hint`.
pub fn in_one_line(error: &anyhow::Error) -> String {
    let mut parts = vec![format!("{error:#}")];
    parts.extend(hints(error));
    parts.join("; ")
}

/// The outermost [`Error`] of the chain; the inner ones are below its cause.
fn carrier(error: &anyhow::Error) -> Option<&Error> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> anyhow::Error {
        anyhow!("disk full").context("failed to write x")
    }

    #[test]
    fn hints_are_collected_along_the_chain_and_stay_out_of_the_text() {
        let error = failed()
            .hint("df -h")
            .hint("df -i")
            .context("the step failed")
            .hint("pullpray init");
        assert_eq!(hints(&error), ["df -h", "df -i", "pullpray init"]);
        let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
        assert_eq!(chain, ["the step failed", "failed to write x", "disk full"]);
        assert_eq!(
            in_one_line(&error),
            "the step failed: failed to write x: disk full; df -h; df -i; pullpray init"
        );
        assert_eq!(hints(&failed()), [""; 0]);
    }

    #[test]
    fn the_exit_code_outlasts_hints_and_context() {
        assert_eq!(exit(&failed().hint("df -h")), Exit::Failed);
        let error = usage("there is no app").hint("pullpray init").context("x");
        assert_eq!(exit(&error), Exit::Usage);
    }
}
