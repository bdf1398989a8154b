//! The one way to standard output and error beside the conversations: whatever is written, no control character
//! and nothing that misleads comes out. It cannot tell a line's end from one inside somebody's text: that is
//! [`for_terminal`](crate::text::for_terminal)'s, at each text.

use std::fmt::Write as _;
use std::io::{self, Write};

use crate::text::{lines_for_terminal, misleads};

/// A writer that makes safe for a terminal what is written to it.
#[derive(Debug)]
pub struct Safe<W> {
    to: W,
    /// The beginning of a character whose end has not come yet.
    rest: Vec<u8>,
}

impl<W> Safe<W> {
    /// Writes to `to`.
    pub fn new(to: W) -> Self {
        Self {
            to,
            rest: Vec::new(),
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

impl<W: Write> Write for Safe<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.rest.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.rest) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.rest.len(),
        };
        let text: Vec<u8> = self.rest.drain(..whole).collect();
        let text = lines_for_terminal(&String::from_utf8_lossy(&text));
        self.to.write_all(text.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// JSON that means the same and is safe to print: such characters stand in its strings only, escaped.
#[must_use]
pub fn json_for_terminal(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c == '\u{7f}' || misleads(c) {
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
    fn nothing_raw_comes_out_however_it_is_cut() -> io::Result<()> {
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
    fn json_stays_the_same_json() -> serde_json::Result<()> {
        let text = "a\x1b\u{9b}\u{202e}\u{e0001}\x7f\n→";
        let json = json_for_terminal(&serde_json::to_string(text)?);
        assert!(json.chars().all(|c| !c.is_control() && !misleads(c)));
        assert_eq!(serde_json::from_str::<String>(&json)?, text);
        Ok(())
    }
}
