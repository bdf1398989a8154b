//! Calling fresh-server, and what comes back.

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

/// Where fresh-server keeps its images and its servers.
pub fn home() -> PathBuf {
    std::env::var_os("FRESH_HOME").map_or_else(|| "/var/tmp/fresh-server".into(), PathBuf::from)
}

/// Exit codes of fresh-server that are not the command's own.
const TOO_LONG: i32 = 124;
const TOOL_FAILED: i32 = 125;

/// A command that ended, of which nothing was expected yet. Its fields can be read.
#[derive(Debug)]
#[must_use = "say what is expected of the command: .ok()?, .exits(3)?"]
pub struct Unchecked(Output);

/// What a command wrote and how it ended.
#[derive(Debug)]
pub struct Output {
    pub asked: String,
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

    /// For the message, when it is not what was expected.
    pub fn called(mut self, asked: String) -> Self {
        self.0.asked = asked;
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
    /// On stdout or stderr.
    pub fn says(&self, text: &str) -> Result<&Self> {
        ensure!(
            self.stdout.contains(text) || self.stderr.contains(text),
            "{text:?} was expected\n{self}"
        );
        Ok(self)
    }

    /// Neither on stdout nor on stderr.
    pub fn silent(&self) -> Result<&Self> {
        ensure!(
            self.stdout.is_empty() && self.stderr.is_empty(),
            "silence was expected\n{self}"
        );
        Ok(self)
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "`{}` ended with {}", self.asked, self.status)?;
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

/// What a call reads.
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

/// Runs `fresh-server ARGS` for at most `seconds`. The error is fresh-server's own failure, or no
/// answer in time (a frozen server); a command inside that fails is an `Unchecked` like any other.
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
        asked: args.join(" "),
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
