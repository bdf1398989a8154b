//! Parses `EnvironmentFile=` syntax exactly as systemd does.
//!
//! The deploy script must see the variables that the service will see, so this follows the state
//! machine that systemd.exec(5) describes under `EnvironmentFile=`: quotes, backslashes,
//! continued lines, comments with `#` or `;`, white space around the value cut off outside
//! quotes, and later assignments winning. tests/server/environment.rs compares it with what a booted
//! systemd passes to a service.
//!
//! A file that systemd rejects as a whole, so that the service does not start, is rejected here too.

use std::fmt;

use super::Invalid;

/// How systemd's versions differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Up to 253, a comment that ends in a backslash continues on the next line.
    Before254,
    /// Since 254, a comment ends with its line.
    Since254,
}

/// A line that systemd ignores, or reads in another way than it looks. It names no content: that may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misread {
    /// The line's number, from 1.
    pub line: usize,
    /// What is wrong with it, and what to write: a sentence without subject and full stop.
    pub why: &'static str,
}

impl fmt::Display for Misread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} {}", self.line, self.why)
    }
}

/// The assignments of the file, in file order; the last assignment to a name wins.
///
/// Lines that systemd would skip with a warning are skipped; [`misread`] lists them.
///
/// # Errors
/// When an assignment is not UTF-8 text.
pub fn parse(text: &[u8], dialect: Dialect) -> Result<Vec<(String, String)>, Invalid> {
    read(text, dialect).map(|machine| machine.found)
}

/// The lines of the file that systemd ignores or misreads, in file order. The app would run without them, with
/// the defaults of its settings.
///
/// # Errors
/// As [`parse`].
pub fn misread(text: &[u8], dialect: Dialect) -> Result<Vec<Misread>, Invalid> {
    read(text, dialect).map(|machine| machine.misread)
}

fn read(text: &[u8], dialect: Dialect) -> Result<Machine, Invalid> {
    let mut machine = Machine {
        line: 1,
        ..Machine::default()
    };
    for &c in text {
        machine.feed(c, dialect)?;
        machine.line += usize::from(c == b'\n');
    }
    machine.finish()?;
    Ok(machine)
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
    found: Vec<(String, String)>,
    misread: Vec<Misread>,
    /// Each assignment's name, and its first and last line.
    spans: Vec<(String, usize, usize)>,
    state: State,
    /// The line being read, from 1.
    line: usize,
    /// The lines in which the assignment begins, and its last quote.
    begin: usize,
    quote: usize,
    key: Vec<u8>,
    value: Vec<u8>,
    /// The length of `value` without trailing white space, which is cut off.
    solid: usize,
}

/// The characters that systemd unescapes inside double quotes.
const SHELL_NEED_ESCAPE: [char; 4] = ['"', '\\', '`', '$'];
const WHITESPACE: &[u8] = b" \t\n\r";

impl Machine {
    fn feed(&mut self, c: u8, dialect: Dialect) -> Result<(), Invalid> {
        let newline = matches!(c, b'\n' | b'\r');
        let blank = WHITESPACE.contains(&c);
        match self.state {
            State::PreKey => match c {
                b'#' | b';' => self.state = State::Comment,
                _ if blank => {}
                _ => {
                    self.state = State::Key;
                    self.begin = self.line;
                    self.key.push(c);
                }
            },
            State::Key => match c {
                _ if newline => self.skip("is not an assignment: write NAME=value"),
                b'=' => {
                    self.state = State::PreValue;
                    self.solid = 0;
                }
                _ => self.key.push(c),
            },
            State::PreValue | State::Value => match c {
                _ if newline => self.assign()?,
                b'\'' | b'"' if self.state == State::PreValue => {
                    self.state = if c == b'"' {
                        State::Double
                    } else {
                        State::Single
                    };
                    self.quote = self.line;
                }
                b'\\' => {
                    self.state = State::ValueEscape;
                    // White space before a backslash stays, even at the end of the line.
                    self.solid = self.value.len();
                }
                _ if blank && self.state == State::PreValue => {}
                _ => {
                    if self.state == State::PreValue && self.quote != 0 && self.quote < self.line {
                        self.report(self.quote, "has a quote that ends in a later line, before more text: is one missing?");
                    }
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
                    _ if SHELL_NEED_ESCAPE.contains(&char::from(c)) => self.push(c),
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

    fn report(&mut self, line: usize, why: &'static str) {
        self.misread.push(Misread { line, why });
    }

    /// Ends an assignment that systemd ignores.
    fn skip(&mut self, why: &'static str) {
        self.report(self.begin, why);
        self.reset();
    }

    fn reset(&mut self) {
        *self = Self {
            line: self.line,
            found: std::mem::take(&mut self.found),
            misread: std::mem::take(&mut self.misread),
            spans: std::mem::take(&mut self.spans),
            ..Self::default()
        };
    }

    fn assign(&mut self) -> Result<(), Invalid> {
        self.value.truncate(self.solid);
        while self.key.last().is_some_and(|c| WHITESPACE.contains(c)) {
            self.key.pop();
        }
        let (key, value) = (text(&self.key), text(&self.value));
        let (Some(key), Some(value)) = (key, value) else {
            return Err(Invalid::new(format!(
                "an assignment that ends near line {} is not UTF-8 text",
                self.line
            )));
        };
        if let Some(why) = refused(&key) {
            self.skip(why);
            return Ok(());
        }
        self.spans.push((key.clone(), self.begin, self.line));
        self.reset();
        self.found.retain(|(name, _)| *name != key);
        self.found.push((key, value));
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Invalid> {
        match self.state {
            State::PreKey | State::Comment | State::CommentEscape => return Ok(()),
            State::Key => self.skip("is not an assignment: write NAME=value"),
            State::Single | State::Double | State::DoubleEscape => {
                self.report(
                    self.quote,
                    "has a quote that is never closed: all that follows is part of the value",
                );
                self.assign()?;
            }
            _ => self.assign()?,
        }
        Ok(())
    }
}

/// Why systemd ignores an assignment to this name; `None` if it does not.
fn refused(name: &str) -> Option<&'static str> {
    let mut words = name.split_whitespace();
    let command = words.next().unwrap_or_default();
    Some(if name.starts_with('\u{feff}') {
        "begins with a byte order mark: save the file as UTF-8 without one"
    } else if words.next().is_some() {
        match command {
            "export" => "begins with \"export\", which is a shell's: write NAME=value",
            "set" => "begins with \"set\", which is a shell's: write NAME=value",
            _ => "has a space in the name: write NAME=value",
        }
    } else if name.starts_with(|c: char| c.is_ascii_digit()) {
        "has a name that begins with a digit, which systemd ignores"
    } else if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        "has a name with other characters than A-Z, a-z, 0-9 and _, which systemd ignores"
    } else {
        return None;
    })
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

/// Sets a variable: where it is assigned last, else at the end; other lines stay as they are.
///
/// # Errors
/// When systemd would ignore the name, or reject the file with this value.
pub fn set(file: &str, name: &str, value: &str, dialect: Dialect) -> Result<String, Invalid> {
    let valid = name.split_whitespace().count() == 1 && refused(name).is_none();
    if !valid {
        let why = format!("{name:?} is no name of a variable: A-Z, a-z, 0-9 and _, no digit first");
        return Err(Invalid::new(why));
    }
    if text(value.as_bytes()).is_none() {
        return Err(Invalid::new(
            "the value has a character that systemd does not accept",
        ));
    }
    let mut quoted = String::new();
    for c in value.chars() {
        if SHELL_NEED_ESCAPE.contains(&c) {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    let line = format!("{name}=\"{quoted}\"\n");
    let spans = read(file.as_bytes(), dialect)?.spans;
    let mut spans: Vec<_> = spans.into_iter().filter(|(key, ..)| key == name).collect();
    let last = spans.pop();
    let mut new = String::new();
    for (at, text) in file.split_inclusive('\n').enumerate() {
        let is = |(_, first, end): &(String, usize, usize)| (*first..=*end).contains(&(at + 1));
        if last.as_ref().is_some_and(is) {
            if last.as_ref().is_some_and(|(_, first, _)| *first == at + 1) {
                new.push_str(&line);
            }
        } else if !spans.iter().any(is) {
            new.push_str(text);
        }
    }
    if last.is_none() {
        if !new.is_empty() && !new.ends_with('\n') {
            new.push('\n');
        }
        new.push_str(&line);
    }
    Ok(new)
}

#[cfg(test)]
mod tests;
