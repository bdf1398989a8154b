//! Formats lines: columns, wrapping, marks, colour. Pure functions of text;
//! [`Plain`](super::Plain) and [`Terminal`](super::Terminal) differ in the three fields of [`Layout`].

use std::borrow::Cow;

use console::measure_text_width as width_of;

use super::{Mark, PlanRow};
use crate::text::{for_terminal, lines_for_terminal};

/// Width of the title column of steps, in terminal columns.
const TITLE: usize = 28;
/// Width of the label column of answered questions, in terminal columns.
const LABEL: usize = 30;
/// The minimum width of the right column; with less room it moves below.
const MIN_DETAIL: usize = 24;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Cyan,
}

/// What the output supports.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// The width in columns; `None` never wraps.
    pub(super) width: Option<usize>,
    /// Whether to use symbols outside ASCII.
    pub(super) symbols: bool,
    pub(super) colour: bool,
}

impl Layout {
    pub(super) fn paint(&self, colour: Colour, text: &str) -> String {
        if !self.colour || text.is_empty() {
            return text.to_owned();
        }
        let code = match colour {
            Colour::Bold => 1,
            Colour::Dim => 2,
            Colour::Red => 31,
            Colour::Green => 32,
            Colour::Yellow => 33,
            Colour::Cyan => 36,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Wraps each line of the text, with continuation lines under its text column.
    pub(super) fn text(&self, text: &str) -> Vec<String> {
        let text = lines_for_terminal(text);
        if text.is_empty() {
            return vec![String::new()];
        }
        text.lines().flat_map(|line| self.wrap_line(line)).collect()
    }

    fn wrap_line(&self, line: &str) -> Vec<String> {
        // The width of a tab depends on its column, which `width_of` cannot know;
        // `block` and `diff` keep tabs.
        let line = line.replace('\t', "    ");
        let room = self.width.unwrap_or(usize::MAX);
        let indent = line.len() - line.trim_start().len();
        // In `  undo      pullpray remove APP`, wrap under the second column.
        let gap = line.trim().rfind("  ").map(|gap| indent + gap + 2);
        let hang = match gap.map(|end| width_of(&line[..end])) {
            None => indent,
            Some(column) if column + MIN_DETAIL <= room => column,
            Some(_) => indent + 2,
        };
        wrap(line.trim_end(), room, hang)
    }

    /// `title` in a column with `detail` beside it, or below if there is no room.
    /// `before` (plain text) precedes the title.
    fn columns(&self, before: &str, title: &str, column: usize, detail: &str) -> Vec<String> {
        let room = self.width.unwrap_or(usize::MAX);
        let small = width_of(before) + 2;
        let head = format!("{before}{title}");
        if detail.is_empty() {
            return wrap(&head, room, small);
        }
        let start = width_of(before) + column + 1;
        let gap = start.saturating_sub(width_of(&head)).max(2);
        let fits_beside = start + MIN_DETAIL <= room
            || width_of(&head) + gap + width_of(detail) <= room && !detail.contains('\n');
        let mut lines = detail.lines();
        let first = lines.next().unwrap_or_default();
        let mut out;
        if fits_beside && width_of(&head) + gap + MIN_DETAIL.min(width_of(first)) <= room {
            let line = format!("{head}{}{first}", " ".repeat(gap));
            // A word too long for the column (a fingerprint, a path) would be broken
            // by the terminal; it is more likely to fit with the small indent.
            let longest = first.split(' ').map(width_of).max().unwrap_or(0);
            let hang = if start + longest <= room {
                start
            } else {
                small
            };
            out = wrap(&line, room, hang);
        } else {
            out = wrap(&head, room, small);
            out.extend(indented(first, small, room));
        }
        for line in lines {
            let indent = if start + MIN_DETAIL <= room {
                start
            } else {
                small
            };
            out.extend(indented(line, indent, room));
        }
        out
    }

    /// The final line of a step.
    pub(super) fn step(&self, mark: Mark, title: &str, detail: &str) -> Vec<String> {
        let title = for_terminal(title);
        let detail = lines_for_terminal(detail);
        let (symbol, colour) = self.mark(mark);
        let before = if self.symbols {
            format!("  {symbol} ")
        } else {
            format!("  {symbol:<4} ")
        };
        let lines = self.columns(&before, &title, TITLE, &in_words(mark, &detail));
        self.paint_first(lines, symbol, colour)
    }

    fn mark(&self, mark: Mark) -> (&'static str, Colour) {
        match (mark, self.symbols) {
            (Mark::Ok, true) => ("✓", Colour::Green),
            (Mark::Ok, false) => ("ok", Colour::Green),
            (Mark::Unchanged, true) => ("✓", Colour::Dim),
            (Mark::Unchanged, false) => ("ok", Colour::Dim),
            (Mark::Failed, true) => ("✗", Colour::Red),
            (Mark::Failed, false) => ("FAIL", Colour::Red),
            (Mark::Waiting, true) => ("…", Colour::Yellow),
            (Mark::Waiting, false) => ("...", Colour::Yellow),
            (Mark::Skipped, true) => ("-", Colour::Dim),
            (Mark::Skipped, false) => ("skip", Colour::Dim),
        }
    }

    /// The lines of a running step without its spinner, which the caller prints two
    /// columns in.
    pub(super) fn running(&self, title: &str, note: &str) -> String {
        let title = for_terminal(title);
        let note = for_terminal(note);
        // Leave the last column free: the terminal would wrap a full line to two rows,
        // and the spinner would redraw only one.
        let narrower = Layout {
            width: self.width.map(|w| w.saturating_sub(1)),
            ..*self
        };
        let before = if self.symbols { "    " } else { "       " };
        let lines = narrower.columns(before, &title, TITLE, &note);
        let text = lines.join("\n");
        text.get(before.len()..).unwrap_or_default().to_owned()
    }

    /// An answered question.
    pub(super) fn answer(&self, prompt: &str, answer: &str) -> Vec<String> {
        self.columns("", &for_terminal(prompt), LABEL, &for_terminal(answer))
    }

    /// The label of an open question, padded as in [`Self::answer`].
    pub(super) fn label(prompt: &str) -> String {
        let pad = (LABEL + 1).saturating_sub(width_of(prompt)).max(2);
        format!("{prompt}{}", " ".repeat(pad))
    }

    pub(super) fn plan(&self, rows: &[PlanRow]) -> Vec<String> {
        let clean: Vec<(String, String)> = rows
            .iter()
            .map(|row| (for_terminal(&row.kind), for_terminal(&row.what)))
            .collect();
        let widest = |texts: &mut dyn Iterator<Item = &String>| texts.map(|t| width_of(t)).max();
        let kinds = widest(&mut clean.iter().map(|(kind, _)| kind)).unwrap_or(0);
        let things = widest(&mut clean.iter().map(|(_, what)| what)).unwrap_or(0);
        // One very long path must not move every detail to the next line.
        let things = things.min(self.width.map_or(usize::MAX, |w| w / 2));
        let mut out = Vec::new();
        for (row, (kind, what)) in rows.iter().zip(&clean) {
            let symbol = for_terminal(&row.mark.to_string());
            let pad = " ".repeat(kinds - width_of(kind));
            let left = format!("{kind}{pad} {what}");
            let lines = self.columns(
                &format!("  {symbol} "),
                &left,
                kinds + 1 + things + 1,
                &lines_for_terminal(&row.detail),
            );
            let colour = match row.mark {
                '+' => Colour::Green,
                '~' => Colour::Yellow,
                '-' => Colour::Red,
                _ => Colour::Dim,
            };
            out.extend(self.paint_first(lines, &symbol, colour));
        }
        out
    }

    pub(super) fn diff(&self, path: &str, unified: &str) -> Vec<String> {
        let mut out = self.text(&format!("  {path}"));
        let unified = lines_for_terminal(unified);
        // Before the first hunk `---` and `+++` name files; inside a hunk, a removed
        // line may start with `--`.
        let mut in_hunk = false;
        for line in unified.lines() {
            in_hunk = in_hunk || line.starts_with("@@");
            out.push(match line.chars().next() {
                Some('+') if in_hunk => self.paint(Colour::Green, line),
                Some('-') if in_hunk => self.paint(Colour::Red, line),
                _ => line.to_owned(),
            });
        }
        out
    }

    /// Colours the symbol at the start of the first line.
    fn paint_first(&self, mut lines: Vec<String>, symbol: &str, colour: Colour) -> Vec<String> {
        if let Some(first) = lines.first_mut() {
            *first = first.replacen(symbol, &self.paint(colour, symbol), 1);
        }
        lines
    }
}

/// The lines of a block for copying: indented, control characters escaped, not wrapped.
pub(super) fn block(text: &str) -> Vec<String> {
    lines_for_terminal(text)
        .lines()
        .map(|line| {
            if line.is_empty() {
                String::new()
            } else {
                format!("    {line}")
            }
        })
        .collect()
}

/// Adds the outcome to `detail` if it is not stated there: the mark alone is not enough.
fn in_words(mark: Mark, detail: &str) -> String {
    let (word, required) = match mark {
        Mark::Ok => ("done", false),
        Mark::Unchanged => ("unchanged", false),
        Mark::Failed => ("failed", true),
        Mark::Waiting => ("waiting", false),
        Mark::Skipped => ("skipped", true),
    };
    if detail.is_empty() {
        word.to_owned()
    } else if required && !detail.to_lowercase().contains(&word[..4]) {
        format!("{word}: {detail}")
    } else {
        detail.to_owned()
    }
}

fn indented(text: &str, indent: usize, room: usize) -> Vec<String> {
    wrap(&format!("{}{text}", " ".repeat(indent)), room, indent)
}

/// Wraps `line` at spaces to `room` columns, with an indent of `hang` from the second line on. A word that is too long
/// stays whole, for the terminal to wrap, so that it can be copied.
pub fn wrap(line: &str, room: usize, hang: usize) -> Vec<String> {
    let indent = " ".repeat(hang);
    let options = textwrap::Options::new(room)
        .break_words(false)
        .word_separator(textwrap::WordSeparator::AsciiSpace)
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
        .wrap_algorithm(textwrap::WrapAlgorithm::FirstFit)
        .subsequent_indent(&indent);
    let lines = textwrap::wrap(line, options);
    lines.into_iter().map(Cow::into_owned).collect()
}

#[cfg(test)]
mod tests;
