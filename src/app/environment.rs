//! `EnvironmentFile=` syntax, read exactly as systemd reads it.
//!
//! The deploy script must see the variables that the service will see, so this follows the state
//! machine that systemd.exec(5) describes under `EnvironmentFile=`: quotes, backslashes,
//! continued lines, comments with `#` or `;`, white space around the value cut off outside
//! quotes, and later assignments winning. It was compared with what a booted systemd hands to a
//! service (tests/server/environment.rs).
//!
//! In one case systemd's versions differ: a comment that ends in a backslash took the next line with
//! it until 253, as here, and no longer does since 254.

/// What the file assigns, in its order; of two assignments to one name the later is kept.
///
/// Lines that systemd would skip with a warning are skipped.
#[must_use]
pub fn parse(text: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut machine = Machine::default();
    for c in text.chars() {
        machine.feed(c, &mut found);
    }
    machine.finish(&mut found);
    found
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
    key: String,
    value: String,
    /// How much of `value` ends outside white space: what follows is cut off.
    solid: usize,
}

const WHITESPACE: [char; 4] = [' ', '\t', '\n', '\r'];

impl Machine {
    fn feed(&mut self, c: char, found: &mut Vec<(String, String)>) {
        let newline = matches!(c, '\n' | '\r');
        let blank = WHITESPACE.contains(&c);
        match self.state {
            State::PreKey => match c {
                '#' | ';' => self.state = State::Comment,
                _ if blank => {}
                _ => {
                    self.state = State::Key;
                    self.key.push(c);
                }
            },
            State::Key => match c {
                _ if newline => self.reset(),
                '=' => {
                    self.state = State::PreValue;
                    self.solid = 0;
                }
                _ => self.key.push(c),
            },
            State::PreValue | State::Value => match c {
                _ if newline => self.assign(found),
                '\'' if self.state == State::PreValue => self.state = State::Single,
                '"' if self.state == State::PreValue => self.state = State::Double,
                '\\' => {
                    self.state = State::ValueEscape;
                    // White space before it stays, even if nothing but the end of the line follows.
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
                    self.keep(c);
                }
            }
            State::Single => match c {
                '\'' => self.state = State::PreValue,
                _ => self.keep(c),
            },
            State::Double => match c {
                '"' => self.state = State::PreValue,
                '\\' => self.state = State::DoubleEscape,
                _ => self.keep(c),
            },
            State::DoubleEscape => {
                self.state = State::Double;
                match c {
                    // The characters that systemd unescapes inside double quotes (SHELL_NEED_ESCAPE).
                    '"' | '\\' | '`' | '$' => self.keep(c),
                    '\n' => {}
                    _ => {
                        self.keep('\\');
                        self.keep(c);
                    }
                }
            }
            State::Comment => match c {
                '\\' => self.state = State::CommentEscape,
                _ if newline => self.state = State::PreKey,
                _ => {}
            },
            State::CommentEscape => self.state = State::Comment,
        }
    }

    fn keep(&mut self, c: char) {
        self.value.push(c);
        self.solid = self.value.len();
    }

    fn reset(&mut self) {
        *self = Self::default();
    }

    fn assign(&mut self, found: &mut Vec<(String, String)>) {
        self.value.truncate(self.solid);
        let key = self.key.trim_end_matches(WHITESPACE).to_owned();
        let value = std::mem::take(&mut self.value);
        self.reset();
        let good = !key.starts_with(|c: char| c.is_ascii_digit())
            && !key.is_empty()
            && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if good {
            found.retain(|(name, _)| *name != key);
            found.push((key, value));
        }
    }

    fn finish(mut self, found: &mut Vec<(String, String)>) {
        if !matches!(
            self.state,
            State::PreKey | State::Key | State::Comment | State::CommentEscape
        ) {
            self.assign(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Vec<(String, String)> {
        parse(text)
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
    fn comments_continuations_and_nonsense() {
        assert_eq!(one("# A=1\n;B=2\nC=3"), pairs(&[("C", "3")]));
        assert_eq!(one("A=1\\\n2\n"), pairs(&[("A", "12")]));
        assert_eq!(one("A=1 \\\n\n"), pairs(&[("A", "1 ")]));
        assert_eq!(one("A=1 \\\n \n"), pairs(&[("A", "1 ")]));
        assert_eq!(one("nonsense\nA=1\n"), pairs(&[("A", "1")]));
        assert_eq!(one("1A=1\nA-B=2\nexport C=3\n"), pairs(&[]));
        assert_eq!(one("A=1\nA=2\n"), pairs(&[("A", "2")]));
    }
}
