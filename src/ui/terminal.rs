//! Prompts and spinners with dialoguer and indicatif, and restoring the terminal. Only
//! this file uses the two crates; `conversation.rs` implements [`Ui`](super::Ui).
//!
//! All output goes to stdout, to keep its order; [`is_interactive`] ensures that all three
//! streams are terminals.

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

/// The hint beside the prompt of a choice.
pub(super) const HOW_TO_CHOOSE: &str = "arrow keys, then Enter";

/// The interval between frames of the spinner.
const TICK: Duration = Duration::from_millis(120);

/// Whether stdin, stdout and stderr are all terminals. dialoguer checks only stderr and
/// reads answers from /dev/tty, so `yes | pullpray init` would wait forever.
#[must_use]
pub fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal() && io::stderr().is_terminal()
}

/// Prompts and progress at a terminal. Create it only if [`is_interactive`], and keep it
/// until the end of the command: dropping it restores the terminal.
#[derive(Debug)]
pub struct Terminal {
    pub(super) screen: Screen,
    pub(super) step: Option<Step>,
    // Declared last, so dropped last: after the modes of the spinner.
    _modes: Modes,
}

#[derive(Debug)]
pub(super) struct Step {
    pub(super) title: String,
    pub(super) note: String,
    /// `None` on a dumb terminal, and while a prompt is open.
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
    /// Saves the modes of the terminal and [installs the signal
    /// handlers](super::signals::install_signal_handlers): without them a signal would
    /// end the process before the modes are restored.
    #[must_use]
    pub fn new() -> Self {
        let screen = Screen::from_env();
        // Without handlers, signals keep their default action.
        let _ = install_signal_handlers();
        console::set_colors_enabled(screen.layout().colour);
        Self {
            screen,
            step: None,
            _modes: Modes::save(),
        }
    }

    /// Prints lines, above the spinner if there is one.
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

    /// Shows or updates the current step.
    pub(super) fn show_step(&mut self) {
        let layout = self.screen.layout();
        let Some(step) = &mut self.step else { return };
        let message = layout.running(&step.title, &step.note);
        if !self.screen.cursor_moves {
            return;
        }
        match &step.spinner {
            Some(spinner) => spinner.bar.set_message(message),
            None => step.spinner = Some(Spinner::start(layout, message)),
        }
    }

    /// Removes the spinner and restores its modes; the step continues.
    pub(super) fn hide_step(&mut self) {
        if let Some(spinner) = self.step.as_mut().and_then(|step| step.spinner.take()) {
            spinner.bar.finish_and_clear();
        }
    }

    /// Checks that a prompt is possible, and hides the spinner.
    pub(super) fn prepare_prompt(&mut self) -> Result<(), PromptError> {
        if !is_interactive() {
            return Err(PromptError::NotATerminal);
        }
        if interrupted() {
            return Err(PromptError::Interrupted);
        }
        self.hide_step();
        Ok(())
    }

    pub(super) fn print_answer(&self, prompt: &str, answer: &str) {
        if self.screen.cursor_moves {
            tty::print(&self.screen.layout().answer(prompt, answer));
        }
    }

    /// If the prompt and `room` more columns do not fit on one row, prints the prompt
    /// above: dialoguer redraws only one row. Returns the printed lines and the label.
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

    /// Runs a dialoguer prompt. On an error, shows the cursor again.
    fn by_key<T>(
        &self,
        prompt: impl FnOnce(&Term, &PromptTheme) -> dialoguer::Result<T>,
    ) -> Result<T, PromptError> {
        let theme = PromptTheme(self.screen.layout());
        let modes = Modes::by_key();
        let answer = repeating_signals(|| prompt(&Term::stdout(), &theme));
        drop(modes);
        if interrupted() || answer.is_err() {
            tty::write("\x1b[?25h\n");
        }
        if interrupted() {
            return Err(PromptError::Interrupted);
        }
        answer.map_err(|dialoguer::Error::IO(cause)| cause.into())
    }

    /// Prompts for one of `items` with the arrow keys.
    pub(super) fn select(
        &self,
        prompt: String,
        items: &[String],
        default: usize,
    ) -> Result<usize, PromptError> {
        self.by_key(|term, theme| {
            Select::with_theme(theme)
                .with_prompt(prompt)
                .items(items)
                .default(default)
                .report(false)
                .interact_on(term)
        })
    }

    /// Prompts for y or n, confirmed with Enter.
    pub(super) fn confirm_by_key(
        &self,
        prompt: String,
        default: bool,
    ) -> Result<bool, PromptError> {
        self.by_key(|term, theme| {
            Confirm::with_theme(theme)
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
        // An open step was interrupted: keep it visible.
        if let Some(step) = self.step.take() {
            self.lines(
                &self
                    .screen
                    .layout()
                    .step(Mark::Waiting, &step.title, "not finished"),
            );
        }
        if self.screen.cursor_moves {
            tty::write("\x1b[?25h");
        }
    }
}

/// Makes dialoguer's prompts look like the others.
struct PromptTheme(Layout);

impl Theme for PromptTheme {
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
