//! Implements [`Ui`] for [`Terminal`] with lines, prompts and a spinner.

use std::io;

use console::measure_text_width;

use super::layout::{self, Colour};
use super::prompts::{Prompt, number_of, yes_or_no};
use super::terminal::{HOW_TO_CHOOSE, Step, Terminal};
use super::tty::{self, drop_type_ahead};
use super::{Mark, PlanRow, PromptError, Question, Ui};
use crate::text::for_terminal;

impl Ui for Terminal {
    fn say(&mut self, text: &str) {
        self.lines(&self.screen.layout().text(text));
    }

    fn heading(&mut self, text: &str) {
        self.painted(Colour::Bold, text);
    }

    fn note(&mut self, text: &str) {
        self.painted(Colour::Dim, text);
    }

    fn warn(&mut self, text: &str) {
        let layout = self.screen.layout();
        let mut lines = layout.text(&format!("warning: {text}"));
        lines[0] = lines[0].replacen("warning:", &layout.paint(Colour::Yellow, "warning:"), 1);
        self.lines(&lines);
    }

    fn text(
        &mut self,
        question: &Question,
        check: &dyn Fn(&str) -> Result<(), String>,
    ) -> Result<String, PromptError> {
        self.prepare_prompt()?;
        let mut error = None;
        let mut typed = String::new();
        loop {
            let prompt = Prompt {
                label: &question.prompt,
                default: question.default.as_deref(),
                help: question.help.as_deref(),
                error: error.as_deref(),
                typed: &typed,
            };
            typed = prompt.ask(self.screen)?;
            let default = question.default.as_deref().unwrap_or_default();
            let answer = if typed.is_empty() {
                default
            } else {
                typed.as_str()
            };
            match check(answer) {
                Ok(()) => {
                    let shown = question.shown.map(|shown| shown(answer));
                    let shown = shown.as_deref().unwrap_or(answer);
                    self.print_answer(&question.prompt, shown);
                    return Ok(answer.to_owned());
                }
                Err(why) => error = Some(why),
            }
        }
    }

    fn choose(
        &mut self,
        prompt: &str,
        options: &[&str],
        default: usize,
    ) -> Result<usize, PromptError> {
        self.prepare_prompt()?;
        if options.is_empty() {
            return Err(PromptError::Io(io::Error::other(
                "no options to choose from",
            )));
        }
        let default = default.min(options.len() - 1);
        drop_type_ahead();
        let (height, width) = tty::size();
        // The prompt library miscounts the rows of the list when an option wraps.
        let fits = options
            .iter()
            .all(|option| measure_text_width(&for_terminal(option)) + 5 < width);
        if !self.screen.cursor_moves || !fits || options.len() + 4 > height {
            let chosen = number_of(self.screen, prompt, options, default)?;
            self.print_answer(prompt, options[chosen]);
            return Ok(chosen);
        }
        let printed_at = tty::size();
        let (above, label) = self.split_prompt(&for_terminal(prompt), HOW_TO_CHOOSE.len());
        let items: Vec<String> = options.iter().map(|option| for_terminal(option)).collect();
        let chosen = self.select(label, &items, default)?;
        self.screen.erase(&above, printed_at);
        self.print_answer(prompt, options[chosen]);
        Ok(chosen)
    }

    fn confirm(&mut self, prompt: &str, default: bool) -> Result<bool, PromptError> {
        self.prepare_prompt()?;
        drop_type_ahead();
        if !self.screen.cursor_moves {
            return yes_or_no(self.screen, prompt, default);
        }
        let printed_at = tty::size();
        let (above, label) = self.split_prompt(&for_terminal(prompt), "(y/n) yes ".len());
        let yes = self.confirm_by_key(label, default)?;
        self.screen.erase(&above, printed_at);
        self.print_answer(prompt, if yes { "yes" } else { "no" });
        Ok(yes)
    }

    fn type_to_confirm(&mut self, prompt: &str, expected: &str) -> Result<bool, PromptError> {
        self.prepare_prompt()?;
        drop_type_ahead();
        let question = Prompt {
            label: prompt,
            default: None,
            help: None,
            error: None,
            typed: "",
        };
        let answer = question.ask(self.screen)?;
        self.print_answer(prompt, &answer);
        Ok(!expected.is_empty() && answer == expected)
    }

    fn begin(&mut self, title: &str) {
        self.hide_step();
        self.step = Some(Step::new(title));
        self.show_step();
    }

    fn update(&mut self, note: &str) {
        let Some(step) = &mut self.step else { return };
        let is_new = step.note != note;
        note.clone_into(&mut step.note);
        let title = step.title.clone();
        if !self.screen.cursor_moves && is_new {
            self.lines(&self.screen.layout().step(Mark::Waiting, &title, note));
        }
        self.show_step();
    }

    fn done(&mut self, mark: Mark, title: &str, detail: &str) {
        self.hide_step();
        self.step = None;
        self.lines(&self.screen.layout().step(mark, title, detail));
    }

    fn block(&mut self, text: &str) {
        self.lines(&layout::block(text));
    }

    fn plan(&mut self, rows: &[PlanRow]) {
        self.lines(&self.screen.layout().plan(rows));
    }

    fn diff(&mut self, path: &str, unified: &str) {
        self.lines(&self.screen.layout().diff(path, unified));
    }
}
