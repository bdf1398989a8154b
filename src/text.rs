//! Makes untrusted text (commit subjects, branch names, messages of a git host)
//! safe to print. A commit subject may contain an escape sequence that changes the
//! window title, overwrites the line above or reverses the reading direction.
//!
//! Unsafe characters are shown escaped, not dropped. The functions are idempotent,
//! so callers need not know whether a text is escaped already.

use std::fmt::Write as _;

use chrono::TimeDelta;

/// Makes one line safe: control characters in caret notation (`^[`), line ends as `\n`,
/// invisible and direction-changing characters as `<U+202E>`, tabs as a space.
#[must_use]
pub fn for_terminal(text: &str) -> String {
    clean(text, false)
}

/// As [`for_terminal`], for several lines: keeps line ends and tabs; `\r\n` becomes
/// `\n`.
#[must_use]
pub fn lines_for_terminal(text: &str) -> String {
    clean(&text.replace("\r\n", "\n"), true)
}

/// The first seven digits of a commit, as git abbreviates them.
#[must_use]
pub fn short(commit: &str) -> &str {
    commit.get(..7).unwrap_or(commit)
}

/// A line cut to this many characters, with `…` where it was longer.
#[must_use]
pub fn first_columns(line: &str, columns: usize) -> String {
    match line.char_indices().nth(columns) {
        Some(_) => line
            .chars()
            .take(columns.saturating_sub(1))
            .chain(['…'])
            .collect(),
        None => line.to_owned(),
    }
}

/// A duration in words: `3 minutes`. Negative durations count as 0.
#[must_use]
pub fn duration(span: TimeDelta) -> String {
    let (count, unit) = match span.num_seconds().max(0) {
        seconds @ 0..120 => (seconds, "second"),
        seconds @ 120..7_200 => (seconds / 60, "minute"),
        seconds @ 7_200..172_800 => (seconds / 3_600, "hour"),
        seconds => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

fn clean(text: &str, several_lines: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' if several_lines => out.push(c),
            '\n' => out.push_str("\\n"),
            '\t' => out.push(' '),
            '\u{7f}' => out.push_str("^?"),
            '\0'..='\u{1f}' => {
                out.push('^');
                // Caret notation: the control character plus 64, `^A` is 1.
                out.push(char::from(c as u8 ^ 0x40));
            }
            _ if is_deceptive(c) => {
                // Writing to a String cannot fail.
                let _ = write!(out, "<U+{:04X}>", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out
}

/// Whether a character is invisible or changes how a terminal shows its neighbours. The
/// joiners U+200C and U+200D are allowed: emoji and several scripts need them.
pub fn is_deceptive(c: char) -> bool {
    matches!(c,
        '\u{80}'..='\u{9f}'           // C1 controls: U+009B starts a sequence like ESC [
        | '\u{ad}'                    // soft hyphen
        | '\u{61c}'                   // Arabic letter mark
        | '\u{180e}'                  // Mongolian vowel separator
        | '\u{200b}'                  // zero width space
        | '\u{200e}' | '\u{200f}'     // direction marks
        | '\u{2028}' | '\u{2029}'     // line and paragraph separator
        | '\u{202a}'..='\u{202e}'     // direction embeddings and overrides
        | '\u{2060}'..='\u{206f}'     // word joiner, isolates, deprecated controls
        | '\u{feff}'                  // byte order mark
        | '\u{fff9}'..='\u{fffb}'     // interlinear annotation
        | '\u{e0000}'..='\u{e007f}'   // tags
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_ordinary_text() {
        for text in [
            "Fix login form",
            "Größe → 4 €",
            "日本語",
            "👩\u{200d}💻 tools",
            "",
        ] {
            assert_eq!(for_terminal(text), text);
        }
    }

    #[test]
    fn escapes_control_sequences() {
        assert_eq!(for_terminal("\x1b[31mred\x1b[0m"), "^[[31mred^[[0m");
        assert_eq!(for_terminal("\x1b]0;title\x07"), "^[]0;title^G");
        assert_eq!(for_terminal("\u{9b}2J"), "<U+009B>2J");
    }

    #[test]
    fn escapes_cursor_movement() {
        assert_eq!(for_terminal("fine\rEVIL"), "fine^MEVIL");
        assert_eq!(for_terminal("a\x08b\x7fc\0"), "a^Hb^?c^@");
        assert_eq!(for_terminal("subject\n  ✓ faked"), "subject\\n  ✓ faked");
        assert_eq!(for_terminal("a\tb"), "a b");
    }

    #[test]
    fn escapes_direction_changes() {
        assert_eq!(for_terminal("a\u{202e}b\u{2066}c"), "a<U+202E>b<U+2066>c");
        assert_eq!(for_terminal("pay\u{200b}pal"), "pay<U+200B>pal");
    }

    #[test]
    fn keeps_lines() {
        assert_eq!(lines_for_terminal("a\r\n\tb\nc\x1b"), "a\n\tb\nc^[");
        assert_eq!(lines_for_terminal("50%\r100%"), "50%^M100%");
    }

    #[test]
    fn is_idempotent() {
        let unsafe_text = "\x1b[1m\r\n\t\u{202e}\u{9b}\x7f";
        assert_eq!(
            for_terminal(&for_terminal(unsafe_text)),
            for_terminal(unsafe_text)
        );
        assert_eq!(
            lines_for_terminal(&lines_for_terminal(unsafe_text)),
            lines_for_terminal(unsafe_text)
        );
    }

    #[test]
    fn durations_in_words() {
        assert_eq!(duration(TimeDelta::seconds(1)), "1 second");
        assert_eq!(duration(TimeDelta::minutes(3)), "3 minutes");
        assert_eq!(duration(TimeDelta::hours(3)), "3 hours");
        assert_eq!(duration(TimeDelta::days(3)), "3 days");
    }
}
