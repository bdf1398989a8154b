//! Standard output and error for everything that does not go through [`Ui`](super::Ui): escapes control and
//! deceptive characters. It keeps line ends, so callers must pass untrusted text through
//! [`for_terminal`](crate::text::for_terminal) first.

use std::fmt::Write as _;
use std::io::{self, Write};

use crate::text::{is_deceptive, lines_for_terminal};

/// A writer that escapes what is unsafe for a terminal.
#[derive(Debug)]
pub struct Safe<W> {
    to: W,
    /// The first bytes of an incomplete UTF-8 character.
    partial: Vec<u8>,
}

impl<W> Safe<W> {
    /// Writes to `to`.
    pub fn new(to: W) -> Self {
        Self {
            to,
            partial: Vec::new(),
        }
    }
}

/// Standard output.
#[must_use]
pub fn stdout() -> Safe<io::Stdout> {
    Safe::new(io::stdout())
}

/// Standard error.
#[must_use]
pub fn stderr() -> Safe<io::Stderr> {
    Safe::new(io::stderr())
}

/// The width of standard error in columns; `None` if it is no terminal.
#[must_use]
pub fn stderr_width() -> Option<usize> {
    let size = console::Term::stderr().size_checked();
    size.map(|(_, columns)| columns.into())
}

impl<W: Write> Write for Safe<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.partial.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.partial) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.partial.len(),
        };
        let text: Vec<u8> = self.partial.drain(..whole).collect();
        let text = lines_for_terminal(&String::from_utf8_lossy(&text));
        self.to.write_all(text.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Escapes deceptive characters in JSON, without changing its meaning: they occur in strings only.
#[must_use]
pub fn json_for_terminal(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c == '\u{7f}' || is_deceptive(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_text_however_it_is_split() -> io::Result<()> {
        let text = "a → \x1b[2J\u{9b}2J\u{202e}\x7f\r 日本\n".as_bytes();
        for size in 1..=text.len() {
            let mut out = Vec::new();
            let mut safe = Safe::new(&mut out);
            for part in text.chunks(size) {
                safe.write_all(part)?;
            }
            assert_eq!(
                String::from_utf8_lossy(&out),
                "a → ^[[2J<U+009B>2J<U+202E>^?^M 日本\n"
            );
        }
        let mut out = Vec::new();
        Safe::new(&mut out).write_all(b"a\x9b2J\xffb")?;
        assert_eq!(String::from_utf8_lossy(&out), "a\u{fffd}2J\u{fffd}b");
        Ok(())
    }

    #[test]
    fn escaped_json_keeps_its_meaning() -> serde_json::Result<()> {
        let text = "a\x1b\u{9b}\u{202e}\u{e0001}\x7f\n→";
        let json = json_for_terminal(&serde_json::to_string(text)?);
        assert!(json.chars().all(|c| !c.is_control() && !is_deceptive(c)));
        assert_eq!(serde_json::from_str::<String>(&json)?, text);
        Ok(())
    }
}
