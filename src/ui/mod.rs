//! Asking and telling. Everything a person sees of an interactive command goes
//! through [`Ui`], so that the same command runs at a terminal ([`Terminal`]),
//! unattended ([`Plain`]) and in a test (a [`Plain`] over a `Vec<u8>`).
//!
//! Callers hand over plain words. Colour, symbols, wrapping and the cleaning of
//! control characters happen here; strings with escape codes in them would come
//! out as visible `^[[31m`.

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

pub use out::{json_for_terminal, stderr, stdout};
pub use plain::Plain;

pub use signals::{interrupted, sleep};
pub use terminal::{Terminal, is_interactive};

/// The voice for this run: a [`Terminal`] when a person sits at one, otherwise
/// (or when `unattended`, the `--yes` of a command) a [`Plain`] on stdout.
#[must_use]
pub fn open(unattended: bool) -> Box<dyn Ui> {
    if unattended || !is_interactive() {
        Box::new(Plain::new(io::stdout()))
    } else {
        Box::new(Terminal::new())
    }
}

/// One conversation with the person (or the log) in front of the command.
///
/// Telling cannot fail: a closed pipe must not stop an installation half way, so
/// write errors are dropped. Asking can, see [`PromptError`].
pub trait Ui {
    /// Prints plain text, one line or several; `""` prints an empty line. Lines
    /// too long for the terminal are wrapped at a space, under the text column
    /// they belong to. Use [`block`](Ui::block) for what people will copy.
    fn say(&mut self, text: &str);

    /// Prints a line that starts a section.
    fn heading(&mut self, text: &str);

    /// Prints something of lesser weight: a reason, where to read on.
    fn note(&mut self, text: &str);

    /// Prints something that does not stop the work, as `warning: …`.
    fn warn(&mut self, text: &str);

    /// Asks for one line of text. The answer comes back trimmed; Enter alone
    /// gives the default, or `""` where there is none. `check` decides (also
    /// about the default and about `""`); what it returns as an error is shown
    /// and the question is asked again with the rejected text still in place.
    ///
    /// # Errors
    /// [`PromptError`] when nobody can answer, or somebody interrupted.
    fn text(
        &mut self,
        question: &Question,
        check: &dyn Fn(&str) -> Result<(), String>,
    ) -> Result<String, PromptError>;

    /// Asks for one of `options` and returns its index; `default` is the one
    /// that Enter takes. Keys typed before the question appeared are dropped.
    ///
    /// # Errors
    /// [`PromptError`]; also when `options` is empty.
    fn choose(
        &mut self,
        prompt: &str,
        options: &[&str],
        default: usize,
    ) -> Result<usize, PromptError>;

    /// Asks yes or no. Only Enter decides, and keys typed before the question
    /// appeared are dropped, so that an impatient Enter agrees to nothing.
    ///
    /// # Errors
    /// [`PromptError`] when nobody can answer, or somebody interrupted.
    fn confirm(&mut self, prompt: &str, default: bool) -> Result<bool, PromptError>;

    /// For what cannot be undone: true only if `expected` was typed out. Asked
    /// once; anything else, also nothing, is a no. The prompt should say what
    /// is to be typed.
    ///
    /// # Errors
    /// [`PromptError`] when nobody can answer, or somebody interrupted.
    fn type_to_confirm(&mut self, prompt: &str, expected: &str) -> Result<bool, PromptError>;

    /// A step starts: a spinner with its title, until [`done`](Ui::done).
    fn begin(&mut self, title: &str);

    /// What the current step is doing or waiting for, beside its title. Off a
    /// terminal each new note is a line, so keep running numbers out of it.
    fn update(&mut self, note: &str);

    /// The current step is over: its final line replaces the spinner. Works
    /// without [`begin`](Ui::begin) for steps that take no time. The outcome
    /// must be in the words of `detail`, the mark only repeats it.
    fn done(&mut self, mark: Mark, title: &str, detail: &str);

    /// Prints lines for copying (a public key, a command): indented by four,
    /// never wrapped, never coloured; above the spinner if one runs.
    fn block(&mut self, text: &str);

    /// Prints the rows of a plan in aligned columns.
    fn plan(&mut self, rows: &[PlanRow]);

    /// Prints a unified diff of `path`.
    fn diff(&mut self, path: &str, unified: &str);
}

/// A question for one line of text.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// What is asked for, as a label: `Branch`. No colon, no question mark.
    pub prompt: String,
    /// What Enter alone answers.
    pub default: Option<String>,
    /// A sentence or two shown above the question while it is open.
    pub help: Option<String>,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It was made so.
    Ok,
    /// It was so already.
    Unchanged,
    /// It could not be made so.
    Failed,
    /// It is up to somebody else now.
    Waiting,
    /// It was left out.
    Skipped,
}

/// One line of a plan.
#[derive(Debug, Clone)]
pub struct PlanRow {
    /// `+` made, `~` changed, `=` there already, `-` removed.
    pub mark: char,
    /// What sort of thing: `user`, `file`.
    pub kind: String,
    /// Which one: a name or a path.
    pub what: String,
    /// What about it.
    pub detail: String,
}

/// Why a question got no answer.
#[derive(Debug)]
pub enum PromptError {
    /// Ctrl-C, Ctrl-D on an empty line, SIGINT, SIGTERM or SIGHUP: restore,
    /// say how to go on, exit with 130.
    Interrupted,
    /// There is nobody to ask: name the flags that would have answered.
    NotATerminal,
    /// The terminal could not be read or written.
    Io(io::Error),
}

impl fmt::Display for PromptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupted => f.write_str("interrupted"),
            Self::NotATerminal => f.write_str("there is no terminal to ask on"),
            Self::Io(_) => f.write_str("failed to ask at the terminal"),
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
            // A terminal that was hung up says SIGHUP and end of file at the
            // same moment; which one is noticed first is chance.
            _ if interrupted() => Self::Interrupted,
            _ => Self::Io(cause),
        }
    }
}
