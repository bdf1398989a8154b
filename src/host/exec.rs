//! Becomes a process of a release (`pullpray exec`, in the unit's sandbox), and runs programs on this terminal.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Error, Result, bail};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::Server;

/// Characters with which a shell does more than start one program.
const SHELL: &[char] = &[';', '&', '|', '<', '>', '(', ')', '{', '}', '`', '#', '\n'];

/// gunicorn's own backlog would lower systemd's (listen(2)).
const GUNICORN: &str = "--backlog 4096 --graceful-timeout 30";

/// What to become.
#[derive(Debug)]
pub enum Becomes<'a> {
    /// A line of a Procfile, read by a shell.
    Line(&'a str),
    /// gunicorn, on systemd's socket or its own: it takes the socket that it is given, wherever its arguments say to
    /// listen.
    Gunicorn {
        /// Assignments to variables, in a shell's syntax.
        before: &'a [&'a str],
        /// Its arguments, in a shell's syntax.
        arguments: &'a str,
        /// The socket.
        listen: Option<&'a Path>,
        /// Its workers.
        workers: u16,
        /// Whether it has no other number of them, whatever the arguments say.
        exactly: bool,
    },
    /// A program and its arguments.
    Program(&'a [OsString]),
}

/// Replaces this process by a command of the release in the current directory; returns why that failed.
#[must_use]
pub fn become_process(what: &Becomes<'_>) -> Error {
    let release = match std::env::current_dir() {
        Ok(release) => release,
        Err(error) => return Error::new(error).context("failed to find the current directory"),
    };
    let inherited = std::env::var("PATH").unwrap_or_default();
    // The project may be below its top.
    let commit = |dir: &&Path| dir.join(".pullpray-commit").exists();
    let release = release.ancestors().find(commit).unwrap_or(&release);
    let programs = release.join(".venv/bin");
    let commit = std::fs::read_to_string(release.join(".pullpray-commit")).unwrap_or_default();
    let mut command = Command::new("/bin/sh");
    match what {
        Becomes::Line(line) => command.args(["-c", &in_shell(line)]),
        Becomes::Gunicorn {
            before,
            arguments,
            listen,
            workers,
            exactly,
        } => {
            if let Some(path) = listen
                && let Err(error) = give_socket(path, &mut command)
            {
                return error.context(format!("failed to listen on {}", path.display()));
            }
            let more = std::env::var("GUNICORN_CMD_ARGS").unwrap_or_default();
            let first = format!("{GUNICORN} --workers {workers} {more}");
            command.env("GUNICORN_CMD_ARGS", first);
            command.env("WEB_CONCURRENCY", workers.to_string());
            let last = if *exactly {
                format!(" --workers {workers}")
            } else {
                String::new()
            };
            // Lines for Heroku say --bind 0.0.0.0:$PORT.
            command.env("PORT", std::env::var("PORT").unwrap_or("8000".to_owned()));
            // The release's interpreter, not the gunicorn script: its shebang names another one.
            let program = format!("{}/python -m gunicorn", programs.display());
            let before = before.join(" ");
            command.args([
                "-c",
                &format!("exec env {before} {program} {arguments}{last}"),
            ])
        }
        // systemd takes the end by SIGINT for success; a shell that outlives it reports 130.
        Becomes::Program(words) => {
            let script = "trap : INT; \"$@\"; exit $?";
            command.args(["-c", script, "sh"]).args(*words)
        }
    };
    let error = command
        .env("PATH", format!("{}:{inherited}", programs.display()))
        .env("VIRTUAL_ENV", release.join(".venv"))
        .env("PULLPRAY_COMMIT", commit.trim())
        .exec();
    Error::new(error).context("failed to start /bin/sh")
}

/// Listens there, and passes the socket on as systemd does (sd_listen_fds(3)).
fn give_socket(path: &Path, command: &mut Command) -> Result<()> {
    let socket = OwnedFd::from(UnixListener::bind(path)?);
    // systemd started this process with the three standard ones, and nothing else is open.
    if socket.as_raw_fd() != 3 {
        bail!("descriptor 3 is in use");
    }
    fcntl(&socket, FcntlArg::F_SETFD(FdFlag::empty()))?;
    // Stays open: the program that replaces this process has it.
    let _ = socket.into_raw_fd();
    let pid = std::process::id().to_string();
    command.env("LISTEN_FDS", "1").env("LISTEN_PID", pid);
    Ok(())
}

/// The program replaces the shell, so that it gets systemd's signals. `env` takes assignments before it.
fn in_shell(command: &str) -> String {
    if command.contains(SHELL) || command.starts_with("exec ") {
        command.to_owned()
    } else {
        format!("exec env {command}")
    }
}

impl Server {
    /// The id of this process.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        std::process::id()
    }

    /// Runs a program of the administrator's with this input and these variables, as the account of this process.
    ///
    /// # Errors
    /// How it failed, with the last lines of its output.
    pub fn run_hook(
        &self,
        hook: &Path,
        input: &[u8],
        variables: &[(&str, &str)],
        deadline: Duration,
    ) -> Result<()> {
        let mut command = self.command(hook).stdin(input)?.deadline(deadline);
        for (name, value) in variables {
            command = command.env(name, value);
        }
        command.run().map(drop)
    }

    /// Runs a program on this terminal, or with the standard input and output of this process, and waits for it. A signal
    /// from the terminal is for the program.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run_here<T: AsRef<OsStr>>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = T>,
    ) -> Result<ExitStatus> {
        let status = Command::new(program).args(arguments).status();
        status.with_context(|| format!("failed to start {program}"))
    }

    /// Replaces this process by a program; returns why that failed.
    #[must_use]
    pub fn become_program<T: AsRef<OsStr>>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = T>,
    ) -> Error {
        let error = Command::new(program).args(arguments).exec();
        Error::new(error).context(format!("failed to start {program}"))
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
            ("exec sleep 1", "exec sleep 1"),
        ] {
            assert_eq!(in_shell(command), expected);
        }
    }
}
