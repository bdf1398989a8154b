//! Output without a terminal: cron, a pipe, a script with `--yes`, a test.
//!
//! ASCII marks, no colour, no wrapping, one line per step, so that grep works.

use std::io::Write;

use super::layout::{self, Layout};
use super::{Mark, PlanRow, PromptError, Question, Ui};

const LAYOUT: Layout = Layout {
    width: None,
    symbols: false,
    colour: false,
};

/// Prints plain lines to a writer; every prompt fails with [`PromptError::NotATerminal`].
#[derive(Debug)]
pub struct Plain<W: Write> {
    out: W,
    title: String,
    note: String,
}

impl<W: Write> Plain<W> {
    /// Writes to `out`; in a test, `&mut buffer`.
    pub fn new(out: W) -> Self {
        Self {
            out,
            title: String::new(),
            note: String::new(),
        }
    }

    fn lines(&mut self, lines: &[String]) {
        for line in lines {
            // A closed pipe must not stop an installation half way.
            let _ = writeln!(self.out, "{line}");
        }
        let _ = self.out.flush();
    }
}

impl<W: Write> Ui for Plain<W> {
    fn say(&mut self, text: &str) {
        self.lines(&LAYOUT.text(text));
    }

    fn heading(&mut self, text: &str) {
        self.say(text);
    }

    fn note(&mut self, text: &str) {
        self.say(text);
    }

    fn warn(&mut self, text: &str) {
        self.say(&format!("warning: {text}"));
    }

    fn text(
        &mut self,
        _question: &Question,
        _check: &dyn Fn(&str) -> Result<(), String>,
    ) -> Result<String, PromptError> {
        Err(PromptError::NotATerminal)
    }

    fn choose(&mut self, _: &str, _: &[&str], _: usize) -> Result<usize, PromptError> {
        Err(PromptError::NotATerminal)
    }

    fn confirm(&mut self, _prompt: &str, _default: bool) -> Result<bool, PromptError> {
        Err(PromptError::NotATerminal)
    }

    fn type_to_confirm(&mut self, _prompt: &str, _expected: &str) -> Result<bool, PromptError> {
        Err(PromptError::NotATerminal)
    }

    fn begin(&mut self, title: &str) {
        title.clone_into(&mut self.title);
        self.note.clear();
    }

    fn update(&mut self, note: &str) {
        // Do not repeat a note in the log.
        if self.note != note {
            note.clone_into(&mut self.note);
            self.lines(&LAYOUT.step(Mark::Waiting, &self.title, note));
        }
    }

    fn done(&mut self, mark: Mark, title: &str, detail: &str) {
        self.title.clear();
        self.note.clear();
        self.lines(&LAYOUT.step(mark, title, detail));
    }

    fn block(&mut self, text: &str) {
        self.lines(&layout::block(text));
    }

    fn plan(&mut self, rows: &[PlanRow]) {
        self.lines(&LAYOUT.plan(rows));
    }

    fn diff(&mut self, path: &str, unified: &str) {
        self.lines(&LAYOUT.diff(path, unified));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(print: impl Fn(&mut dyn Ui)) -> String {
        let mut output = Vec::new();
        print(&mut Plain::new(&mut output));
        String::from_utf8_lossy(&output).into_owned()
    }

    #[test]
    fn prints_an_unattended_run() {
        let output = printed(|ui| {
            ui.heading("pullpray: deploying todo");
            ui.say("");
            ui.begin("group hosted_apps");
            ui.done(Mark::Unchanged, "group hosted_apps", "exists (gid 1003)");
            ui.done(Mark::Ok, "deploy key", "ed25519");
            ui.block("ssh-ed25519 AAAA pullpray todo@web1");
            ui.begin("repository");
            ui.update("waiting for access");
            ui.update("waiting for access");
            ui.done(Mark::Failed, "repository", "permission denied");
            ui.warn("the key was kept");
            ui.note("log: /var/log/x");
        });
        assert_eq!(
            output,
            "\
pullpray: deploying todo

  ok   group hosted_apps            exists (gid 1003)
  ok   deploy key                   ed25519
    ssh-ed25519 AAAA pullpray todo@web1
  ...  repository                   waiting for access
  FAIL repository                   failed: permission denied
warning: the key was kept
log: /var/log/x
"
        );
    }

    #[test]
    fn prints_one_line_per_step_of_any_length() {
        let output = printed(|ui| ui.done(Mark::Ok, "step", &"word ".repeat(100)));
        assert_eq!(output.lines().count(), 1);
    }

    #[test]
    fn escapes_untrusted_text() {
        let output = printed(|ui| ui.done(Mark::Ok, "release", "4f1c2aa \"\x1b[2J\u{202e}\""));
        assert_eq!(
            output,
            "  ok   release                      4f1c2aa \"^[[2J<U+202E>\"\n"
        );
    }

    #[test]
    fn every_prompt_fails() {
        let mut ui = Plain::new(Vec::new());
        let question = Question {
            default: Some("main".into()),
            ..Question::default()
        };
        assert!(matches!(
            ui.text(&question, &|_| Ok(())),
            Err(PromptError::NotATerminal)
        ));
        assert!(matches!(
            ui.choose("?", &["a"], 0),
            Err(PromptError::NotATerminal)
        ));
        assert!(matches!(
            ui.confirm("?", true),
            Err(PromptError::NotATerminal)
        ));
        assert!(matches!(
            ui.type_to_confirm("?", "x"),
            Err(PromptError::NotATerminal)
        ));
    }

    #[test]
    fn ignores_a_closed_pipe() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
        }
        Plain::new(Closed).say("nobody reads this");
    }
}
