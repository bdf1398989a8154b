//! Parses `EnvironmentFile=` syntax exactly as systemd does.
//!
//! The deploy script must see the variables that the service will see, so this follows the state
//! machine that systemd.exec(5) describes under `EnvironmentFile=`: quotes, backslashes,
//! continued lines, comments with `#` or `;`, white space around the value cut off outside
//! quotes, and later assignments winning. tests/server/environment.rs compares it with what a booted
//! systemd passes to a service.
//!
//! A file that systemd rejects as a whole, so that the service does not start, is rejected here too.

use super::Invalid;

/// How systemd's versions differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Up to 253, a comment that ends in a backslash continues on the next line.
    Before254,
    /// Since 254, a comment ends with its line.
    Since254,
}

/// The assignments of the file, in file order; the last assignment to a name wins.
///
/// Lines that systemd would skip with a warning are skipped.
///
/// # Errors
/// When an assignment is not UTF-8 text.
pub fn parse(text: &[u8], dialect: Dialect) -> Result<Vec<(String, String)>, Invalid> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut machine = Machine::default();
    for &c in text {
        machine.feed(c, dialect, &mut found)?;
    }
    machine.finish(&mut found)?;
    Ok(found)
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    PreKey,
    Key,
    PreValue,
    Value,
    ValueEscape,
    Single,
    Double,
    DoubleEscape,
    Comment,
    CommentEscape,
}

#[derive(Debug, Default)]
struct Machine {
    state: State,
    line: usize,
    key: Vec<u8>,
    value: Vec<u8>,
    /// The length of `value` without trailing white space, which is cut off.
    solid: usize,
}

const WHITESPACE: &[u8] = b" \t\n\r";

impl Machine {
    fn feed(
        &mut self,
        c: u8,
        dialect: Dialect,
        found: &mut Vec<(String, String)>,
    ) -> Result<(), Invalid> {
        self.line += usize::from(c == b'\n');
        let newline = matches!(c, b'\n' | b'\r');
        let blank = WHITESPACE.contains(&c);
        match self.state {
            State::PreKey => match c {
                b'#' | b';' => self.state = State::Comment,
                _ if blank => {}
                _ => {
                    self.state = State::Key;
                    self.key.push(c);
                }
            },
            State::Key => match c {
                _ if newline => self.reset(),
                b'=' => {
                    self.state = State::PreValue;
                    self.solid = 0;
                }
                _ => self.key.push(c),
            },
            State::PreValue | State::Value => match c {
                _ if newline => self.assign(found)?,
                b'\'' if self.state == State::PreValue => self.state = State::Single,
                b'"' if self.state == State::PreValue => self.state = State::Double,
                b'\\' => {
                    self.state = State::ValueEscape;
                    // White space before a backslash stays, even at the end of the line.
                    self.solid = self.value.len();
                }
                _ if blank && self.state == State::PreValue => {}
                _ => {
                    self.state = State::Value;
                    self.value.push(c);
                    if !blank {
                        self.solid = self.value.len();
                    }
                }
            },
            State::ValueEscape => {
                self.state = State::Value;
                if !newline {
                    self.push(c);
                }
            }
            State::Single => match c {
                b'\'' => self.state = State::PreValue,
                _ => self.push(c),
            },
            State::Double => match c {
                b'"' => self.state = State::PreValue,
                b'\\' => self.state = State::DoubleEscape,
                _ => self.push(c),
            },
            State::DoubleEscape => {
                self.state = State::Double;
                match c {
                    // The characters that systemd unescapes inside double quotes (SHELL_NEED_ESCAPE).
                    b'"' | b'\\' | b'`' | b'$' => self.push(c),
                    b'\n' => {}
                    _ => {
                        self.push(b'\\');
                        self.push(c);
                    }
                }
            }
            State::Comment => match c {
                b'\\' => self.state = State::CommentEscape,
                _ if newline => self.state = State::PreKey,
                _ => {}
            },
            State::CommentEscape => {
                self.state = if newline && dialect == Dialect::Since254 {
                    State::PreKey
                } else {
                    State::Comment
                };
            }
        }
        Ok(())
    }

    fn push(&mut self, c: u8) {
        self.value.push(c);
        self.solid = self.value.len();
    }

    fn reset(&mut self) {
        *self = Self {
            line: self.line,
            ..Self::default()
        };
    }

    fn assign(&mut self, found: &mut Vec<(String, String)>) -> Result<(), Invalid> {
        self.value.truncate(self.solid);
        while self.key.last().is_some_and(|c| WHITESPACE.contains(c)) {
            self.key.pop();
        }
        let (key, value) = (text(&self.key), text(&self.value));
        let (Some(key), Some(value)) = (key, value) else {
            return Err(Invalid::new(format!(
                "an assignment that ends near line {} is not UTF-8 text",
                self.line.max(1)
            )));
        };
        self.reset();
        let good = !key.starts_with(|c: char| c.is_ascii_digit())
            && !key.is_empty()
            && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if good {
            found.retain(|(name, _)| *name != key);
            found.push((key, value));
        }
        Ok(())
    }

    fn finish(mut self, found: &mut Vec<(String, String)>) -> Result<(), Invalid> {
        if matches!(
            self.state,
            State::PreKey | State::Key | State::Comment | State::CommentEscape
        ) {
            return Ok(());
        }
        self.assign(found)
    }
}

/// Text as systemd accepts it: UTF-8 without NUL and without Unicode's noncharacters.
fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let refused = |c: char| {
        let c = u32::from(c);
        c == 0 || (0xfdd0..=0xfdef).contains(&c) || c & 0xfffe == 0xfffe
    };
    (!text.contains(refused)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Vec<(String, String)> {
        parse(text.as_bytes(), Dialect::Since254).unwrap_or_default()
    }
    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn plain_and_quoted_values() {
        assert_eq!(
            one("A=1\nB = two words  \n"),
            pairs(&[("A", "1"), ("B", "two words")])
        );
        assert_eq!(
            one("A='a b'\nB=\"c\\\"d\"\nC=\n"),
            pairs(&[("A", "a b"), ("B", "c\"d"), ("C", "")])
        );
        assert_eq!(one("A=\"two\nlines\""), pairs(&[("A", "two\nlines")]));
        assert_eq!(one("A=x#y\n"), pairs(&[("A", "x#y")]));
        assert_eq!(one("A=\"\\n\"\n"), pairs(&[("A", "\\n")]));
    }

    #[test]
    fn comments_continuations_and_invalid_lines() {
        assert_eq!(one("# A=1\n;B=2\nC=3"), pairs(&[("C", "3")]));
        assert_eq!(one("A=1\\\n2\n"), pairs(&[("A", "12")]));
        assert_eq!(one("A=1 \\\n\n"), pairs(&[("A", "1 ")]));
        assert_eq!(one("A=1 \\\n \n"), pairs(&[("A", "1 ")]));
        assert_eq!(one("nonsense\nA=1\n"), pairs(&[("A", "1")]));
        assert_eq!(one("1A=1\nA-B=2\nexport C=3\n"), pairs(&[]));
        assert_eq!(one("A=1\nA=2\n"), pairs(&[("A", "2")]));
    }

    #[test]
    fn a_backslash_continues_a_comment_before_254_only() {
        let text = b"# C:\\path\\\nA=1\nB=2\n";
        assert_eq!(
            parse(text, Dialect::Since254),
            Ok(pairs(&[("A", "1"), ("B", "2")]))
        );
        assert_eq!(parse(text, Dialect::Before254), Ok(pairs(&[("B", "2")])));
    }

    #[test]
    fn only_assignments_must_be_utf8() {
        let read = |text: &[u8]| parse(text, Dialect::Since254);
        assert_eq!(read(b"# gr\xfcn\n\xfc\nA=1"), Ok(pairs(&[("A", "1")])));
        for refused in [
            &b"A=\xfc\n"[..],
            b"\xfc=1\n",
            b"A-B=\xfc",
            b"A=\0",
            b"A=\xef\xbf\xbe",
        ] {
            assert!(read(refused).is_err(), "{refused:?}");
        }
    }
}
