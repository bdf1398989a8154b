//! Text from elsewhere (commit subjects, branch names, what a git host answers)
//! made safe to print. A commit subject may hold an escape sequence that retitles
//! the window, overwrites the line above or reverses the reading direction.
//!
//! Bad characters are shown, not dropped: what is odd should look odd. Doing it
//! twice changes nothing more, so callers need not know who did it first.

use std::fmt::Write as _;

use chrono::TimeDelta;

/// One line: control characters in caret notation (`^[`), line ends as `\n`,
/// invisible and direction-changing characters as `<U+202E>`, tabs as a space.
#[must_use]
pub fn for_terminal(text: &str) -> String {
    clean(text, false)
}

/// The same for text of several lines: line ends and tabs stay, `\r\n` becomes
/// `\n`.
#[must_use]
pub fn lines_for_terminal(text: &str) -> String {
    clean(&text.replace("\r\n", "\n"), true)
}

/// The first seven digits of a commit, as git abbreviates it.
#[must_use]
pub fn short(commit: &str) -> &str {
    commit.get(..7).unwrap_or(commit)
}

/// A span of time in words: `3 minutes`. Negative spans count as 0.
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
            _ if misleads(c) => {
                // Writing to a String cannot fail.
                let _ = write!(out, "<U+{:04X}>", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out
}

/// Characters that a terminal does not show as themselves. The joiners U+200C and
/// U+200D are let through: emoji and several scripts need them.
pub fn misleads(c: char) -> bool {
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
    fn ordinary_text_stays() {
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
    fn escape_sequences_are_shown() {
        assert_eq!(for_terminal("\x1b[31mred\x1b[0m"), "^[[31mred^[[0m");
        assert_eq!(for_terminal("\x1b]0;title\x07"), "^[]0;title^G");
        assert_eq!(for_terminal("\u{9b}2J"), "<U+009B>2J");
    }

    #[test]
    fn nothing_moves_the_cursor() {
        assert_eq!(for_terminal("fine\rEVIL"), "fine^MEVIL");
        assert_eq!(for_terminal("a\x08b\x7fc\0"), "a^Hb^?c^@");
        assert_eq!(for_terminal("subject\n  ✓ faked"), "subject\\n  ✓ faked");
        assert_eq!(for_terminal("a\tb"), "a b");
    }

    #[test]
    fn direction_cannot_be_changed() {
        assert_eq!(for_terminal("a\u{202e}b\u{2066}c"), "a<U+202E>b<U+2066>c");
        assert_eq!(for_terminal("pay\u{200b}pal"), "pay<U+200B>pal");
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(lines_for_terminal("a\r\n\tb\nc\x1b"), "a\n\tb\nc^[");
        assert_eq!(lines_for_terminal("50%\r100%"), "50%^M100%");
    }

    #[test]
    fn twice_is_once() {
        let bad = "\x1b[1m\r\n\t\u{202e}\u{9b}\x7f";
        assert_eq!(for_terminal(&for_terminal(bad)), for_terminal(bad));
        assert_eq!(
            lines_for_terminal(&lines_for_terminal(bad)),
            lines_for_terminal(bad)
        );
    }

    #[test]
    fn spans_are_in_words() {
        assert_eq!(duration(TimeDelta::seconds(1)), "1 second");
        assert_eq!(duration(TimeDelta::minutes(3)), "3 minutes");
        assert_eq!(duration(TimeDelta::hours(3)), "3 hours");
        assert_eq!(duration(TimeDelta::days(3)), "3 days");
    }
}
