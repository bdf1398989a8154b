//! A line editor that scrolls horizontally in one row.
//!
//! The prompt library's input redraws incorrectly when prompt and answer reach the right margin
//! (it clears only the last row, and Backspace at the margin clears the row above), as a
//! repository address does at 80 columns. This one never wraps.

use console::measure_text_width;

/// An editing command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edit {
    Insert(char),
    Backspace,
    Delete,
    Left,
    Right,
    Home,
    End,
    /// Ctrl-U: everything before the cursor.
    ClearBefore,
    /// Ctrl-K: everything from the cursor to the end.
    ClearAfter,
    /// Ctrl-W: the word before the cursor.
    ClearWord,
}

/// The text and the cursor position.
#[derive(Debug, Default)]
pub(super) struct LineEdit {
    chars: Vec<char>,
    at: usize,
    /// Whether the first inserted character replaces the text.
    replace: bool,
}

impl LineEdit {
    /// Starts with a text, the refused answer: what is typed or pasted at once replaces it, after any other key it is
    /// edited.
    pub(super) fn new(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        Self {
            at: chars.len(),
            chars,
            replace: true,
        }
    }

    pub(super) fn text(&self) -> String {
        self.chars.iter().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chars.is_empty()
    }

    pub(super) fn apply(&mut self, edit: Edit) {
        if std::mem::take(&mut self.replace) && matches!(edit, Edit::Insert(_)) {
            self.at = self.chars.len();
            self.clear_from(0);
        }
        match edit {
            Edit::Insert(c) => {
                self.chars.insert(self.at, c);
                self.at += 1;
            }
            Edit::Backspace => self.clear_from(self.at.saturating_sub(1)),
            Edit::Delete if self.at < self.chars.len() => {
                self.chars.remove(self.at);
            }
            Edit::Delete => {}
            Edit::Left => self.at = self.at.saturating_sub(1),
            Edit::Right => self.at = (self.at + 1).min(self.chars.len()),
            Edit::Home => self.at = 0,
            Edit::End => self.at = self.chars.len(),
            Edit::ClearBefore => self.clear_from(0),
            Edit::ClearAfter => self.chars.truncate(self.at),
            Edit::ClearWord => {
                let before = &self.chars[..self.at];
                let word_end = before
                    .iter()
                    .rposition(|c| *c != ' ')
                    .map_or(0, |last| last + 1);
                let word = before[..word_end].iter().rposition(|c| *c == ' ');
                self.clear_from(word.map_or(0, |space| space + 1));
            }
        }
    }

    fn clear_from(&mut self, start: usize) {
        self.chars.drain(start..self.at);
        self.at = start;
    }

    /// The visible part in `room` columns, and the column of the cursor in it. A truncated
    /// side ends in `more`; one column is left for a cursor at the end.
    pub(super) fn view(&self, room: usize, more: char) -> (String, usize) {
        let width = |chars: &[char]| chars.iter().map(|c| char_width(*c)).sum::<usize>();
        if width(&self.chars) < room {
            return (self.text(), width(&self.chars[..self.at]));
        }
        let mut start = 0;
        while start < self.at && width(&self.chars[start..self.at]) + 3 > room {
            start += 1;
        }
        let mut shown = String::new();
        if start > 0 {
            shown.push(more);
        }
        let cursor = usize::from(start > 0) + width(&self.chars[start..self.at]);
        let mut used = usize::from(start > 0);
        for (i, c) in self.chars.iter().enumerate().skip(start) {
            let is_last = i + 1 == self.chars.len();
            if used + char_width(*c) + usize::from(!is_last) >= room {
                shown.push(more);
                break;
            }
            shown.push(*c);
            used += char_width(*c);
        }
        (shown, cursor)
    }
}

fn char_width(c: char) -> usize {
    measure_text_width(c.encode_utf8(&mut [0; 4]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(start: &str, edits: &[Edit]) -> (String, usize) {
        let mut line = LineEdit::new(start);
        for edit in edits {
            line.apply(*edit);
        }
        (line.text(), line.at)
    }

    #[test]
    fn edits_at_the_cursor() {
        use Edit::{Backspace, Delete, End, Home, Insert, Left, Right};
        assert_eq!(
            typed("man", &[Home, Right, Right, Insert('i')]),
            ("main".into(), 3)
        );
        assert_eq!(typed("mainx", &[Backspace]), ("main".into(), 4));
        assert_eq!(typed("xmain", &[Home, Delete, End]), ("main".into(), 4));
        assert_eq!(
            typed("", &[Backspace, Delete, Left, Right]),
            (String::new(), 0)
        );
    }

    #[test]
    fn a_pasted_correction_replaces_the_refused_answer() {
        use Edit::{End, Insert};
        let pasted = [Insert('n'), Insert('e'), Insert('w')];
        assert_eq!(typed("refused", &pasted), ("new".into(), 3));
        assert_eq!(typed("new", &[End, Insert('s')]), ("news".into(), 4));
    }

    #[test]
    fn clears_lines_and_words() {
        use Edit::{ClearAfter, ClearBefore, ClearWord, Left};
        assert_eq!(typed("one two  ", &[ClearWord]), ("one ".into(), 4));
        assert_eq!(typed("one", &[ClearWord, ClearWord]), (String::new(), 0));
        assert_eq!(typed("abc", &[Left, ClearBefore]), ("c".into(), 0));
        assert_eq!(typed("abc", &[Left, ClearAfter]), ("ab".into(), 2));
    }

    #[test]
    fn shows_short_lines_in_full() {
        assert_eq!(LineEdit::new("main").view(10, '…'), ("main".into(), 4));
    }

    #[test]
    fn long_lines_scroll_and_never_reach_the_margin() {
        let mut line = LineEdit::new("abcdefghijklmnop");
        assert_eq!(line.view(8, '…'), ("…lmnop".into(), 6));
        line.apply(Edit::Home);
        assert_eq!(line.view(8, '…'), ("abcdef…".into(), 0));
        for _ in 0..16 {
            let (shown, cursor) = line.view(8, '…');
            assert!(
                measure_text_width(&shown) < 8 && cursor < 8,
                "{shown} {cursor}"
            );
            line.apply(Edit::Right);
        }
    }

    #[test]
    fn wide_characters_take_two_columns() {
        let (shown, cursor) = LineEdit::new("日本語日本語").view(8, '…');
        assert_eq!((shown.as_str(), cursor), ("…本語", 5));
    }
}
