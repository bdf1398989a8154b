//! Output and prompts. All output of an interactive command goes through [`Ui`], so
//! that the same command runs at a terminal ([`Terminal`]), unattended ([`Plain`])
//! and in a test (a [`Plain`] over a `Vec<u8>`).
//!
//! Callers pass plain text. Colour, symbols, wrapping and the escaping of control
//! characters happen here; escape codes in a string are printed as `^[[31m`.

mod conversation;
mod layout;
mod line_edit;
mod out;
mod plain;
mod prompts;
mod signals;
mod terminal;
mod tty;

use std::{fmt, io};

pub use layout::wrap;
pub use out::stderr_width;
pub use out::{json_for_terminal, stderr, stdout};
pub use plain::Plain;

pub use prompts::secret;
pub use signals::{install_signal_handlers, interrupted, sleep};
pub use terminal::{Terminal, is_interactive};

/// The user interface for this run: a [`Terminal`] if [`is_interactive`], otherwise (or
/// if `unattended`, with `--yes`) a [`Plain`] on stdout.
#[must_use]
pub fn open(unattended: bool) -> Box<dyn Ui> {
    if unattended || !is_interactive() {
        Box::new(Plain::new(io::stdout()))
    } else {
        Box::new(Terminal::new())
    }
}

/// The user interface of a command.
///
/// Printing cannot fail: a closed pipe must not stop an installation half way, so
/// write errors are ignored. Prompts can fail, see [`PromptError`].
pub trait Ui {
    /// Prints plain text of one or several lines; `""` prints an empty line. Wraps
    /// long lines at spaces, under their text column. Use [`block`](Ui::block) for
    /// text to be copied.
    fn say(&mut self, text: &str);

    /// Prints the heading of a section.
    fn heading(&mut self, text: &str);

    /// Prints secondary information, dimmed.
    fn note(&mut self, text: &str);

    /// Prints a warning as `warning: …`.
    fn warn(&mut self, text: &str);

    /// Prompts for one line of text and returns it trimmed. Enter alone answers with the
    /// default, or `""` without one. `check` validates the answer (also the default and
    /// `""`); on an error the message is shown and the prompt repeated with the rejected
    /// text in place.
    ///
    /// # Errors
    /// [`PromptError`] without a terminal, on an I/O error, or when the user interrupts.
    fn text(
        &mut self,
        question: &Question,
        check: &dyn Fn(&str) -> Result<(), String>,
    ) -> Result<String, PromptError>;

    /// Prompts for one of `options` and returns its index; Enter alone chooses `default`.
    /// Discards keys typed before the prompt appeared.
    ///
    /// # Errors
    /// [`PromptError`]; also when `options` is empty.
    fn choose(
        &mut self,
        prompt: &str,
        options: &[&str],
        default: usize,
    ) -> Result<usize, PromptError>;

    /// Prompts for yes or no. Needs Enter, and discards keys typed before the prompt
    /// appeared, so that an early Enter confirms nothing.
    ///
    /// # Errors
    /// [`PromptError`] without a terminal, on an I/O error, or when the user interrupts.
    fn confirm(&mut self, prompt: &str, default: bool) -> Result<bool, PromptError>;

    /// Confirms an irreversible action: true only if the user types `expected`. Prompts
    /// once; any other answer is a no. The prompt should name the text to type.
    ///
    /// # Errors
    /// [`PromptError`] without a terminal, on an I/O error, or when the user interrupts.
    fn type_to_confirm(&mut self, prompt: &str, expected: &str) -> Result<bool, PromptError>;

    /// Starts a step: shows its title with a spinner until [`done`](Ui::done).
    fn begin(&mut self, title: &str);

    /// Shows what the current step is doing or waiting for. Without a terminal, each new
    /// note is printed as a line, so leave counters out.
    fn update(&mut self, note: &str);

    /// Ends the current step: its final line replaces the spinner. Works without
    /// [`begin`](Ui::begin) for instant steps. `detail` must state the outcome; the
    /// mark only repeats it.
    fn done(&mut self, mark: Mark, title: &str, detail: &str);

    /// Prints lines to be copied (a public key, a command): indented by four, never
    /// wrapped, never coloured.
    fn block(&mut self, text: &str);

    /// Prints the rows of a plan in aligned columns.
    fn plan(&mut self, rows: &[PlanRow]);

    /// Prints a unified diff of `path`.
    fn diff(&mut self, path: &str, unified: &str);
}

/// A question for one line of text.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// The label, without colon or question mark: `Branch`.
    pub prompt: String,
    /// The answer for Enter alone.
    pub default: Option<String>,
    /// One or two sentences, shown above the open prompt.
    pub help: Option<String>,
    /// How an answer is printed once it is given, if it may have a secret.
    pub shown: Option<fn(&str) -> String>,
}

/// The outcome of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The step made a change, or passed.
    Ok,
    /// Nothing to change.
    Unchanged,
    /// The step failed.
    Failed,
    /// The step waits for the user or another system.
    Waiting,
    /// The step was skipped.
    Skipped,
}

/// One line of a plan.
#[derive(Debug, Clone)]
pub struct PlanRow {
    /// `+` created, `~` changed, `=` unchanged, `-` removed.
    pub mark: char,
    /// The kind of resource: `user`, `file`.
    pub kind: String,
    /// Its name or path.
    pub what: String,
    /// Details.
    pub detail: String,
}

/// Why a prompt failed.
#[derive(Debug)]
pub enum PromptError {
    /// Ctrl-C, Ctrl-D on an empty line, SIGINT, SIGTERM or SIGHUP. The caller prints how to
    /// continue and exits with 130.
    Interrupted,
    /// No terminal. The caller names the missing flags.
    NotATerminal,
    /// The terminal could not be read or written.
    Io(io::Error),
}

impl fmt::Display for PromptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupted => f.write_str("interrupted"),
            Self::NotATerminal => f.write_str("there is no terminal to ask on"),
            Self::Io(_) => f.write_str("cannot read from or write to the terminal"),
        }
    }
}

impl std::error::Error for PromptError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(cause) => Some(cause),
            Self::Interrupted | Self::NotATerminal => None,
        }
    }
}

impl From<io::Error> for PromptError {
    fn from(cause: io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::Interrupted => Self::Interrupted,
            io::ErrorKind::NotConnected => Self::NotATerminal,
            // When a terminal hangs up, SIGHUP and end of file arrive together in any order.
            _ if interrupted() => Self::Interrupted,
            _ => Self::Io(cause),
        }
    }
}
