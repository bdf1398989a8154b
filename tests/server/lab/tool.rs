//! Calls fresh-server.

use std::fmt;
use std::fs::File;
use std::io::{Seek, Write};
use std::ops::Deref;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

pub const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/server");
pub const TOOL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/server/fresh-server");

/// The directory of fresh-server's images and servers.
pub fn home() -> PathBuf {
    std::env::var_os("FRESH_HOME").map_or_else(|| "/var/tmp/fresh-server".into(), PathBuf::from)
}

/// Exit codes of fresh-server itself, not of the command.
const TOO_LONG: i32 = 124;
const TOOL_FAILED: i32 = 125;

/// A finished command whose exit code has not been checked yet. Its fields can be read.
#[derive(Debug)]
#[must_use = "check the exit code of the command: .ok()?, .exits(3)?"]
pub struct Unchecked(Output);

/// Output and exit code of a command.
#[derive(Debug)]
pub struct Output {
    pub command: String,
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Unchecked {
    pub fn ok(self) -> Result<Output> {
        self.exits(0)
    }

    pub fn exits(self, status: i32) -> Result<Output> {
        ensure!(self.status == status, "{status} was expected\n{}", self.0);
        Ok(self.0)
    }

    /// Sets the command line shown in error messages.
    pub fn called(mut self, command: String) -> Self {
        self.0.command = command;
        self
    }
}

impl Deref for Unchecked {
    type Target = Output;

    fn deref(&self) -> &Output {
        &self.0
    }
}

impl Output {
    /// Expects `text` on stdout or stderr.
    pub fn says(&self, text: &str) -> Result<&Self> {
        ensure!(
            self.stdout.contains(text) || self.stderr.contains(text),
            "{text:?} was expected\n{self}"
        );
        Ok(self)
    }

    /// Expects no output on stdout and stderr.
    pub fn silent(&self) -> Result<&Self> {
        ensure!(
            self.stdout.is_empty() && self.stderr.is_empty(),
            "no output was expected\n{self}"
        );
        Ok(self)
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "`{}` ended with {}", self.command, self.status)?;
        for (stream, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if text.is_empty() {
                writeln!(f, "--- no {stream}")?;
            } else {
                writeln!(f, "--- {stream}\n{}", text.trim_end())?;
            }
        }
        Ok(())
    }
}

/// Standard input of a call.
pub enum Input<'a> {
    Nothing,
    /// A script of tests/server/inside.
    Script(&'a str),
    Bytes(&'a [u8]),
}

impl Input<'_> {
    fn open(self) -> Result<Stdio> {
        Ok(match self {
            Self::Nothing => Stdio::null(),
            Self::Script(name) => {
                let path = format!("{TESTS}/inside/{name}");
                File::open(&path)
                    .with_context(|| format!("failed to open {path}"))?
                    .into()
            }
            Self::Bytes(bytes) => {
                let mut file = tempfile::tempfile()?;
                file.write_all(bytes)?;
                file.rewind()?;
                file.into()
            }
        })
    }
}

/// Runs `fresh-server ARGS` for at most `seconds`. Fails if fresh-server itself fails or does not
/// end in time (a frozen server); a failed command inside is not an error.
pub fn fresh_server<S: AsRef<str>>(
    args: &[S],
    input: Input<'_>,
    seconds: u64,
) -> Result<Unchecked> {
    let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
    let out = Command::new("timeout")
        .args(["--kill-after=5", &seconds.to_string(), TOOL])
        .args(&args)
        .stdin(input.open()?)
        .output()
        .context("failed to run fresh-server")?;
    let output = Output {
        command: args.join(" "),
        status: out
            .status
            .code()
            .unwrap_or_else(|| 128 + out.status.signal().unwrap_or_default()),
        stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
    };
    match output.status {
        TOO_LONG => bail!("took longer than {seconds} s\n{output}"),
        TOOL_FAILED => bail!("fresh-server failed\n{output}"),
        _ => Ok(Unchecked(output)),
    }
}
