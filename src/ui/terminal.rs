//! The terminal as a place to ask and tell at: what dialoguer and indicatif do
//! for us, and putting everything back. The only file that names the two; the
//! conversation itself is in `conversation.rs`.
//!
//! Everything goes to stdout: [`is_interactive`] has made sure that all three
//! streams are terminals, and one stream keeps one order.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use console::{Term, measure_text_width};
use dialoguer::theme::Theme;
use dialoguer::{Confirm, Select};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::layout::{Colour, Layout};
use super::signals::{install_signal_handlers, interrupted, repeating_signals};
use super::tty::{self, Modes, Screen};
use super::{Mark, PromptError};

/// Stands beside the prompt of a choice.
pub(super) const HOW_TO_CHOOSE: &str = "arrow keys, then Enter";

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(120);

/// Whether a person sits at all of stdin, stdout and stderr. dialoguer looks at
/// stderr alone and opens /dev/tty for the answers, so `yes | pullpray init`
/// would wait for ever.
#[must_use]
pub fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal() && io::stderr().is_terminal()
}

/// Questions and progress at a terminal. Make it only if [`is_interactive`]; keep
/// it until the end of the command: dropping it restores the terminal.
#[derive(Debug)]
pub struct Terminal {
    pub(super) screen: Screen,
    pub(super) step: Option<Step>,
    // Declared last, so dropped last: after the spinner's own change of modes.
    _modes: Modes,
}

#[derive(Debug)]
pub(super) struct Step {
    pub(super) title: String,
    pub(super) note: String,
    /// None on a dumb terminal, and while a question is open.
    spinner: Option<Spinner>,
}

#[derive(Debug)]
struct Spinner {
    bar: ProgressBar,
    _modes: Modes,
}

impl Default for Terminal {
    fn default() -> Self {
        Self::new()
    }
}

impl Terminal {
    /// Remembers the modes of the terminal and [installs the signal
    /// handlers](super::signals::install_signal_handlers): without them a signal would
    /// end the process before the modes are put back.
    #[must_use]
    pub fn new() -> Self {
        let screen = Screen::from_env();
        // If the system refuses, signals do what they do by default.
        let _ = install_signal_handlers();
        console::set_colors_enabled(screen.layout().colour);
        Self {
            screen,
            step: None,
            _modes: Modes::keep(),
        }
    }

    /// Prints lines, above the spinner if one runs.
    pub(super) fn lines(&self, lines: &[String]) {
        match self.spinner() {
            Some(spinner) => spinner.bar.suspend(|| tty::print(lines)),
            None => tty::print(lines),
        }
    }

    pub(super) fn painted(&self, colour: Colour, text: &str) {
        let layout = self.screen.layout();
        let lines = layout.text(text);
        self.lines(
            &lines
                .iter()
                .map(|line| layout.paint(colour, line))
                .collect::<Vec<_>>(),
        );
    }

    fn spinner(&self) -> Option<&Spinner> {
        self.step.as_ref()?.spinner.as_ref()
    }

    /// Shows the current step as it is now.
    pub(super) fn show_step(&mut self) {
        let layout = self.screen.layout();
        let Some(step) = &mut self.step else { return };
        let message = layout.running(&step.title, &step.note);
        if !self.screen.moves {
            return;
        }
        match &step.spinner {
            Some(spinner) => spinner.bar.set_message(message),
            None => step.spinner = Some(Spinner::start(layout, message)),
        }
    }

    /// Takes the spinner away, the terminal's modes with it; the step goes on.
    pub(super) fn hide_step(&mut self) {
        if let Some(spinner) = self.step.as_mut().and_then(|step| step.spinner.take()) {
            spinner.bar.finish_and_clear();
        }
    }

    /// Gets ready for a question.
    pub(super) fn before_asking(&mut self) -> Result<(), PromptError> {
        if !is_interactive() {
            return Err(PromptError::NotATerminal);
        }
        if interrupted() {
            return Err(PromptError::Interrupted);
        }
        self.hide_step();
        Ok(())
    }

    pub(super) fn answered(&self, prompt: &str, answer: &str) {
        if self.screen.moves {
            tty::print(&self.screen.layout().answer(prompt, answer));
        }
    }

    /// Prints the prompt of a key-driven question as far as it does not fit on
    /// one row with `room` more columns; dialoguer redraws only that row.
    pub(super) fn split_prompt(&self, prompt: &str, room: usize) -> (Vec<String>, String) {
        let layout = self.screen.layout();
        let label = Layout::label(prompt);
        if measure_text_width(&label) + room < layout.width.unwrap_or(usize::MAX) {
            return (Vec::new(), label);
        }
        let lines = layout.text(prompt);
        let above: Vec<String> = lines
            .iter()
            .map(|line| layout.paint(Colour::Bold, line))
            .collect();
        tty::print(&above);
        (above, "  ".to_owned())
    }

    /// Runs a dialoguer question. On any error the cursor may be hidden still.
    fn by_key<T>(
        &self,
        ask: impl FnOnce(&Term, &CheckContext) -> dialoguer::Result<T>,
    ) -> Result<T, PromptError> {
        let look = CheckContext(self.screen.layout());
        let modes = Modes::by_key();
        let answer = repeating_signals(|| ask(&Term::stdout(), &look));
        drop(modes);
        if interrupted() || answer.is_err() {
            tty::write("\x1b[?25h\n");
        }
        if interrupted() {
            return Err(PromptError::Interrupted);
        }
        answer.map_err(|dialoguer::Error::IO(cause)| cause.into())
    }

    /// Lets one of `items` be picked with the arrow keys.
    pub(super) fn select(
        &self,
        prompt: String,
        items: &[String],
        default: usize,
    ) -> Result<usize, PromptError> {
        self.by_key(|term, look| {
            Select::with_theme(look)
                .with_prompt(prompt)
                .items(items)
                .default(default)
                .report(false)
                .interact_on(term)
        })
    }

    /// Lets y or n be picked, and Enter decide.
    pub(super) fn yes_by_key(&self, prompt: String, default: bool) -> Result<bool, PromptError> {
        self.by_key(|term, look| {
            Confirm::with_theme(look)
                .with_prompt(prompt)
                .default(default)
                .wait_for_newline(true)
                .report(false)
                .interact_on(term)
        })
    }
}

impl Step {
    pub(super) fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            note: String::new(),
            spinner: None,
        }
    }
}

impl Spinner {
    fn start(layout: Layout, message: String) -> Self {
        let (template, ticks) = if layout.symbols {
            ("  {spinner} {msg}", "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ")
        } else {
            ("  {spinner}    {msg}", r"|/-\ ")
        };
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.tick_chars(ticks));
        }
        let modes = Modes::quiet();
        bar.set_message(message);
        bar.enable_steady_tick(TICK);
        Self { bar, _modes: modes }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.hide_step();
        // A step left open was cut short: where it stopped must stay to be seen.
        if let Some(step) = self.step.take() {
            self.lines(
                &self
                    .screen
                    .layout()
                    .step(Mark::Waiting, &step.title, "not finished"),
            );
        }
        if self.screen.moves {
            tty::write("\x1b[?25h");
        }
    }
}

/// How dialoguer's questions look: like ours.
struct CheckContext(Layout);

impl Theme for CheckContext {
    fn format_confirm_prompt(
        &self,
        f: &mut dyn fmt::Write,
        prompt: &str,
        chosen: Option<bool>,
    ) -> fmt::Result {
        let word = chosen.map_or("", |yes| if yes { "yes" } else { "no" });
        write!(
            f,
            "{}(y/n) {}",
            self.0.paint(Colour::Bold, prompt),
            self.0.paint(Colour::Cyan, word)
        )
    }

    fn format_select_prompt(&self, f: &mut dyn fmt::Write, prompt: &str) -> fmt::Result {
        let prompt = self.0.paint(Colour::Bold, prompt);
        write!(f, "{prompt}{}", self.0.paint(Colour::Dim, HOW_TO_CHOOSE))
    }

    fn format_select_prompt_item(
        &self,
        f: &mut dyn fmt::Write,
        text: &str,
        active: bool,
    ) -> fmt::Result {
        if active {
            write!(f, "  > {}", self.0.paint(Colour::Cyan, text))
        } else {
            write!(f, "    {text}")
        }
    }
}
