//! The terminal: its capabilities, its modes, and printing lines.

use std::env;
use std::io::{self, Write as _};

use console::{Term, measure_text_width};
use nix::sys::termios::{self, FlushArg, LocalFlags, SetArg, Termios};

use super::layout::Layout;

/// The capabilities of the terminal. Its size is queried each time, since it can change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    symbols: bool,
    colour: bool,
    /// Whether the cursor can be moved (not `TERM=dumb`).
    pub(super) cursor_moves: bool,
}

impl Screen {
    pub(super) fn from_env() -> Self {
        let term = env::var("TERM").unwrap_or_default();
        let cursor_moves = !matches!(term.as_str(), "" | "dumb");
        let no_colour = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        // The font of the Linux console has no check mark, whatever the locale.
        let symbols = term != "linux" && is_utf8(|name| env::var(name).ok());
        Self {
            symbols,
            colour: cursor_moves && !no_colour,
            cursor_moves,
        }
    }

    pub(super) fn layout(self) -> Layout {
        let width = Some(size().1);
        Layout {
            width,
            symbols: self.symbols,
            colour: self.colour,
        }
    }

    /// Erases `lines` right above the cursor, so that a prompt leaves only its answer. Does
    /// nothing if the terminal was resized or the lines have scrolled away: it would
    /// erase the wrong rows.
    pub(super) fn erase(self, lines: &[String], printed_at: (usize, usize)) {
        let (height, width) = size();
        let rows: usize = lines.iter().map(|line| rows_of(line, width)).sum();
        if self.cursor_moves && rows > 0 && rows < height && printed_at == (height, width) {
            write(&format!("\r\x1b[{rows}A\x1b[J"));
        }
    }
}

/// Rows and columns; 24 and 80 if the terminal reports none.
pub(super) fn size() -> (usize, usize) {
    let (rows, columns) = Term::stdout().size_checked().unwrap_or((24, 80));
    (usize::from(rows), usize::from(columns))
}

/// Prints whole lines.
pub(super) fn print(lines: &[String]) {
    let mut text = lines.join("\n");
    text.push('\n');
    write(&text);
}

/// Writes text as is. Ignores errors: a terminal that hangs up must not stop the work;
/// the next prompt fails.
pub(super) fn write(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

fn rows_of(line: &str, width: usize) -> usize {
    // The text contains only the colour codes of `Layout::paint`.
    let mut bare = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        bare.push_str(before);
        rest = after.split_once('m').map_or("", |(_, text)| text);
    }
    bare.push_str(rest);
    measure_text_width(&bare).div_ceil(width.max(1)).max(1)
}

/// As in setlocale(3): the first of the three variables that is set decides.
fn is_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| variable(name).filter(|value| !value.is_empty()))
        .unwrap_or_default()
        .to_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// Saved terminal modes, restored on drop.
#[derive(Debug)]
pub(super) struct Modes(Option<Termios>);

impl Modes {
    /// Saves the modes and changes nothing.
    pub(super) fn save() -> Self {
        Self(termios::tcgetattr(io::stdin()).ok())
    }

    /// Turns echo off, which would garble a spinner. Ctrl-C still sends SIGINT.
    pub(super) fn quiet() -> Self {
        Self::without(LocalFlags::ECHO)
    }

    /// Turns echo and line buffering off. `console` does this too, but per key: in between,
    /// the kernel would echo the rest of pasted text.
    pub(super) fn by_key() -> Self {
        Self::without(LocalFlags::ECHO | LocalFlags::ICANON)
    }

    fn without(flags: LocalFlags) -> Self {
        let before = Self::save();
        if let Some(modes) = &before.0 {
            let mut changed = modes.clone();
            changed.local_flags.remove(flags);
            // On failure the terminal keeps its modes, which works with some stray echo.
            let _ = termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &changed);
        }
        before
    }
}

impl Drop for Modes {
    fn drop(&mut self) {
        if let Some(modes) = &self.0 {
            let _ = termios::tcsetattr(io::stdin(), SetArg::TCSANOW, modes);
        }
    }
}

/// Discards keys typed before the prompt was on screen.
pub(super) fn drop_type_ahead() {
    let _ = termios::tcflush(io::stdin(), FlushArg::TCIFLUSH);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_locale_variable_that_is_set_decides() {
        let utf8 = |set: &[(&str, &str)]| {
            is_utf8(|name| {
                set.iter()
                    .find(|(n, _)| *n == name)
                    .map(|(_, v)| (*v).to_owned())
            })
        };
        assert!(utf8(&[("LANG", "de_DE.UTF-8")]));
        assert!(utf8(&[("LC_ALL", ""), ("LANG", "C.utf8")]));
        assert!(!utf8(&[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")]));
        assert!(!utf8(&[]));
    }

    #[test]
    fn rows_exclude_colour_codes() {
        assert_eq!(rows_of("", 10), 1);
        assert_eq!(rows_of("\x1b[31m0123456789\x1b[0m", 10), 1);
        assert_eq!(rows_of("\x1b[31m0123456789\x1b[0ma", 10), 2);
    }
}
