//! Becomes a process of a release: `pullpray exec`, in the unit's sandbox.

use std::fs::File;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Error, Result};

/// Characters with which a shell does more than start one program.
const SHELL: &[char] = &[';', '&', '|', '<', '>', '(', ')', '{', '}', '`', '#', '\n'];

/// Replaces this process by a command of the release in the current directory; returns why that failed.
#[must_use]
pub fn become_process(command: &str) -> Error {
    let release = match std::env::current_dir() {
        Ok(release) => release,
        Err(error) => return Error::new(error).context("failed to find the current directory"),
    };
    let inherited = std::env::var("PATH").unwrap_or_default();
    let programs = release.join(".venv/bin");
    let commit = std::fs::read_to_string(".pullpray-commit").unwrap_or_default();
    let error = Command::new("/bin/sh")
        .args(["-c", &in_shell(command)])
        .env("PATH", format!("{}:{inherited}", programs.display()))
        .env("VIRTUAL_ENV", release.join(".venv"))
        .env("PULLPRAY_COMMIT", commit.trim())
        .exec();
    Error::new(error).context("failed to start /bin/sh")
}

/// The program replaces the shell, so that it gets systemd's signals. `env` takes assignments before it.
fn in_shell(command: &str) -> String {
    if command.contains(SHELL) {
        command.to_owned()
    } else {
        format!("exec env {command}")
    }
}

/// Reads at most so many bytes of a file.
///
/// # Errors
/// When it cannot be opened or read.
pub fn read_bounded(path: &Path, most: u64) -> Result<String> {
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(|| format!("failed to open {}", path.display()))?;
    file.take(most).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_program_replaces_the_shell() {
        for (command, expected) in [
            ("celery -A todo worker", "exec env celery -A todo worker"),
            ("A=1 python x.py \"$B\"", "exec env A=1 python x.py \"$B\""),
            ("cd x && python y.py", "cd x && python y.py"),
        ] {
            assert_eq!(in_shell(command), expected);
        }
    }
}
