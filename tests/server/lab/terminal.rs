//! A simulated user at a terminal inside a server.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use expectrl::process::unix::WaitStatus;
use expectrl::session::OsSession;
use expectrl::{Eof, Expect, Needle, Regex};

/// Timeout for a text to appear.
const PATIENCE: Duration = Duration::from_secs(30);

/// Keys that are not characters.
pub mod key {
    pub const ENTER: &str = "\r";
    pub const ESCAPE: &str = "\x1b";
    pub const UP: &str = "\x1b[A";
    pub const DOWN: &str = "\x1b[B";
    pub const BACKSPACE: &str = "\x7f";
    pub const CTRL_C: &str = "\x03";
    pub const CTRL_D: &str = "\x04";
    /// Clears the input.
    pub const CTRL_U: &str = "\x15";
}

pub struct Terminal {
    /// For operations that this type does not offer.
    pub session: OsSession,
    command: String,
    seen: String,
}

impl Terminal {
    pub(super) fn open(process: Command, command: &str) -> Result<Self> {
        let mut session = OsSession::spawn(process)
            .with_context(|| format!("failed to open a terminal for {command}"))?;
        session.get_process_mut().set_window_size(80, 40)?;
        session.set_expect_timeout(Some(PATIENCE));
        Ok(Self {
            session,
            command: command.to_owned(),
            seen: String::new(),
        })
    }

    pub fn patience(&mut self, patience: Duration) {
        self.session.set_expect_timeout(Some(patience));
    }

    /// Waits for a text; returns the output up to its end.
    pub fn sees(&mut self, text: &str) -> Result<String> {
        self.wait_for(text, text)
    }

    /// Waits for a sentence, regardless of line breaks.
    pub fn reads(&mut self, sentence: &str) -> Result<String> {
        let words: Vec<String> = sentence
            .split_whitespace()
            .map(|word| {
                word.chars()
                    .map(|c| match c {
                        c if c.is_alphanumeric() || c == '_' => c.to_string(),
                        c => format!("\\x{{{:x}}}", c as u32),
                    })
                    .collect()
            })
            .collect();
        self.wait_for(Regex(&words.join("\\s+")), sentence)
    }

    pub fn sees_pattern(&mut self, pattern: &str) -> Result<String> {
        self.wait_for(Regex(pattern), pattern)
    }

    fn wait_for(&mut self, needle: impl Needle, called: &str) -> Result<String> {
        match self.session.expect(needle) {
            Ok(found) => {
                let matched = found.matches().next().unwrap_or_default();
                let new = String::from_utf8_lossy(&[found.before(), matched].concat()).into_owned();
                self.seen.push_str(&new);
                Ok(new)
            }
            Err(error) => {
                let mut rest = vec![0; 1 << 16];
                let size = self.session.try_read(&mut rest).unwrap_or(0);
                self.seen.push_str(&String::from_utf8_lossy(&rest[..size]));
                bail!(
                    "{}: {called:?} did not appear ({error}); the output was:\n{}",
                    self.command,
                    self.seen
                )
            }
        }
    }

    /// Types the text and presses Enter.
    pub fn types(&mut self, line: &str) -> Result<()> {
        self.presses(line)?;
        self.presses(key::ENTER)
    }

    /// Presses characters and `key`s, without Enter.
    pub fn presses(&mut self, keys: &str) -> Result<()> {
        self.session
            .send(keys)
            .with_context(|| format!("{}: failed to press {keys:?}", self.command))
    }

    /// Waits for the question and types the answer.
    pub fn answers(&mut self, question: &str, answer: &str) -> Result<()> {
        self.sees(question)?;
        self.types(answer)
    }

    /// Waits for the end; returns the exit code (128 + the signal's number) and the whole output.
    pub fn ends(mut self) -> Result<(i32, String)> {
        self.wait_for(Eof, "the end")?;
        let status = match self.session.get_process().wait()? {
            WaitStatus::Exited(_, code) => code,
            WaitStatus::Signaled(_, signal, _) => 128 + signal as i32,
            other => bail!("{}: ended as {other:?}", self.command),
        };
        Ok((status, self.seen))
    }
}
