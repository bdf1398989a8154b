//! Prompts for one line of text, with and without cursor movement, and choices that are
//! answered with a line.

use std::io::{self, BufRead as _};

use console::{Key, Term, measure_text_width};

use super::PromptError;
use super::layout::{Colour, Layout, wrap};
use super::line_edit::{Edit, LineEdit};
use super::signals::wait_for_input;
use super::tty::{self, Modes, Screen};
use crate::text::{for_terminal, lines_for_terminal};

/// The minimum room beside the label, in columns; with less, the answer gets its own row.
const MIN_INPUT: usize = 24;

/// A prompt for one line.
pub(super) struct Prompt<'a> {
    pub(super) label: &'a str,
    pub(super) default: Option<&'a str>,
    pub(super) help: Option<&'a str>,
    /// Why the last answer was rejected.
    pub(super) error: Option<&'a str>,
    /// The initial content of the line.
    pub(super) typed: &'a str,
}

impl Prompt<'_> {
    /// Prompts and returns the input, trimmed. Erases the prompt where possible: the
    /// caller prints the answer.
    pub(super) fn ask(&self, screen: Screen) -> Result<String, PromptError> {
        let layout = screen.layout();
        let mut above = Vec::new();
        if let Some(help) = self.help.filter(|help| !help.is_empty()) {
            let lines = layout.text(&indent(help));
            above.extend(lines.iter().map(|line| layout.paint(Colour::Dim, line)));
        }
        if let Some(error) = self.error {
            let sign = if layout.symbols { "✗" } else { "!" };
            let lines = layout.text(&format!("  {sign} {}", lines_for_terminal(error)));
            above.extend(lines.iter().map(|line| layout.paint(Colour::Red, line)));
        }
        let label = for_terminal(self.label);
        let default = self
            .default
            .filter(|text| !text.is_empty())
            .map(for_terminal);
        if !screen.cursor_moves {
            let default = default.map(|text| format!(" [{text}]")).unwrap_or_default();
            above.push(format!("{label}{default}: "));
            tty::write(&above.join("\n"));
            return read_cooked();
        }
        let width = layout.width.unwrap_or(usize::MAX);
        let padded = Layout::label(&label);
        let shown_default = default.map(|text| format!("[{text}] ")).unwrap_or_default();
        let needed = measure_text_width(&padded) + measure_text_width(&shown_default);
        let (head, head_width) = if needed + MIN_INPUT <= width {
            (layout.paint(Colour::Bold, &padded) + &shown_default, needed)
        } else {
            let question = format!("{label} {shown_default}");
            let lines = wrap(question.trim_end(), width, 2);
            above.extend(lines.iter().map(|line| layout.paint(Colour::Bold, line)));
            ("  > ".to_owned(), 4)
        };
        let printed_at = tty::size();
        if !above.is_empty() {
            tty::print(&above);
        }
        let answer = self.edit(screen, &head, head_width)?;
        tty::write("\r\x1b[2K");
        screen.erase(&above, printed_at);
        Ok(answer)
    }

    fn edit(&self, screen: Screen, head: &str, head_width: usize) -> Result<String, PromptError> {
        let _modes = Modes::by_key();
        let term = Term::stdout();
        let more = if screen.layout().symbols { '…' } else { '<' };
        let mut line = LineEdit::new(self.typed);
        loop {
            let room = tty::size().1.saturating_sub(head_width).max(4);
            let (shown, cursor) = line.view(room, more);
            let shown = for_terminal(&shown);
            // Reprint the head, then move back from the end to the cursor.
            let back = measure_text_width(&shown).saturating_sub(cursor);
            let back = if back > 0 {
                format!("\x1b[{back}D")
            } else {
                String::new()
            };
            tty::write(&format!("\r\x1b[2K{head}{shown}{back}"));
            match next_key(&term).inspect_err(|_| tty::write("\n"))? {
                Key::Enter => return Ok(line.text().trim().to_owned()),
                Key::Char('\x04') if line.is_empty() => {
                    tty::write("\n");
                    return Err(PromptError::Interrupted);
                }
                key => {
                    if let Some(edit) = edit_of(&key) {
                        line.apply(edit);
                    }
                }
            }
        }
    }
}

/// Prompts for the number of one of `options`, for terminals without cursor movement or
/// with too few rows.
pub(super) fn number_of(
    screen: Screen,
    prompt: &str,
    options: &[&str],
    default: usize,
) -> Result<usize, PromptError> {
    let digits = options.len().to_string().len();
    let layout = screen.layout();
    let mut lines = layout.text(prompt);
    for (i, option) in options.iter().enumerate() {
        lines.extend(layout.text(&format!("  {:>digits$}  {}", i + 1, for_terminal(option))));
    }
    tty::print(&lines);
    let default_number = (default + 1).to_string();
    let expected = format!("a number from 1 to {}", options.len());
    let mut error = None;
    let mut typed = String::new();
    loop {
        let default = Some(default_number.as_str());
        let question = Prompt {
            label: "Number",
            default,
            help: None,
            error,
            typed: &typed,
        };
        typed = question.ask(screen)?;
        let answer = if typed.is_empty() {
            &default_number
        } else {
            &typed
        };
        match answer.parse::<usize>() {
            Ok(number) if (1..=options.len()).contains(&number) => return Ok(number - 1),
            _ => error = Some(expected.as_str()),
        }
    }
}

/// Prompts for the word yes or no, for terminals without cursor movement.
pub(super) fn yes_or_no(screen: Screen, prompt: &str, default: bool) -> Result<bool, PromptError> {
    let label = format!("{prompt} (yes/no)");
    let default_word = Some(if default { "yes" } else { "no" });
    let mut error = None;
    loop {
        let question = Prompt {
            label: &label,
            default: default_word,
            help: None,
            error,
            typed: "",
        };
        match question.ask(screen)?.to_lowercase().as_str() {
            "" => return Ok(default),
            "y" | "yes" => return Ok(true),
            "n" | "no" => return Ok(false),
            _ => error = Some("yes or no"),
        }
    }
}

/// Waits with [`wait_for_input`] first: `console` alone could miss a signal.
fn next_key(term: &Term) -> Result<Key, PromptError> {
    wait_for_input()?;
    Ok(term.read_key()?)
}

fn edit_of(key: &Key) -> Option<Edit> {
    Some(match *key {
        Key::Backspace => Edit::Backspace,
        Key::ArrowLeft | Key::Char('\x02') => Edit::Left,
        Key::ArrowRight | Key::Char('\x06') => Edit::Right,
        Key::Home => Edit::Home,
        Key::End => Edit::End,
        Key::Del | Key::Char('\x04') => Edit::Delete,
        Key::Char('\x15') => Edit::ClearBefore,
        Key::Char('\x0b') => Edit::ClearAfter,
        Key::Char('\x17') => Edit::ClearWord,
        Key::Tab => Edit::Insert(' '),
        // Ignore characters that would be escaped (`^A`, `<U+202E>`): no answer needs them,
        // and pasted text often contains zero width spaces.
        Key::Char(c) if for_terminal(c.encode_utf8(&mut [0; 4])).chars().eq([c]) => Edit::Insert(c),
        _ => return None,
    })
}

/// Prompts for a line that is not shown.
///
/// # Errors
/// When the terminal fails, or the user interrupts.
pub fn secret(prompt: &str) -> Result<String, PromptError> {
    super::signals::install_signal_handlers()?;
    // Before the prompt: whoever sees it may type.
    let modes = tty::Modes::quiet();
    tty::drop_type_ahead();
    tty::write(&format!("{} ", for_terminal(prompt)));
    let line = read_cooked();
    drop(modes);
    tty::write("\n");
    line
}

/// Reads a line in the terminal's canonical mode. `read_line` would retry after EINTR.
fn read_cooked() -> Result<String, PromptError> {
    let mut bytes = Vec::new();
    loop {
        wait_for_input()?;
        let mut stdin = io::stdin().lock();
        let chunk = stdin.fill_buf()?;
        if chunk.is_empty() {
            // Ctrl-D, or the terminal hung up.
            return Err(PromptError::Interrupted);
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(chunk.len(), |at| at + 1);
        bytes.extend_from_slice(&chunk[..used]);
        stdin.consume(used);
        if end.is_some() {
            return Ok(String::from_utf8_lossy(&bytes).trim().to_owned());
        }
    }
}

fn indent(text: &str) -> String {
    text.lines()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_only_printable_keys() {
        assert_eq!(edit_of(&Key::Char('ä')), Some(Edit::Insert('ä')));
        assert_eq!(edit_of(&Key::Char('\x1a')), None);
        assert_eq!(edit_of(&Key::Char('\u{200b}')), None);
        assert_eq!(edit_of(&Key::Escape), None);
        assert_eq!(edit_of(&Key::Char('\x17')), Some(Edit::ClearWord));
    }
}
