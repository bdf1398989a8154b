//! The edge: arguments, the real server, what is printed, how it ends.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use pullpray::cli::Cli;
use pullpray::command;
use pullpray::exit::{Exit, UsageError};
use pullpray::host::Server;
use pullpray::ui;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // It repeats the arguments, which came from anywhere.
        Err(error) if error.use_stderr() => {
            drop(write!(ui::stderr(), "{}", error.render()));
            return Exit::Usage.into();
        }
        Err(error) => error.exit(),
    };
    let exit = match command::run(cli, &Server::real()) {
        Ok(exit) => exit,
        Err(error) => {
            if matches!(
                error.downcast_ref::<ui::AskError>(),
                Some(ui::AskError::Interrupted)
            ) {
                return Exit::Interrupted.into();
            }
            let usage = error.downcast_ref::<UsageError>().is_some();
            // Nobody is left to tell if even this cannot be written.
            drop(write!(ui::stderr(), "{}", shown(&error)));
            if usage { Exit::Usage } else { Exit::Failed }
        }
    };
    exit.into()
}

/// `error:` and what failed, each cause on a line of its own, hints last.
fn shown(error: &anyhow::Error) -> String {
    let mut lines = String::new();
    let mut hints = String::new();
    for (number, cause) in error.chain().enumerate() {
        let before = if number == 0 { "error: " } else { "  -> " };
        for (line_number, line) in cause.to_string().lines().enumerate() {
            if let Some(hint) = line.strip_prefix("hint: ") {
                hints.push_str(&format!("  hint: {}\n", ui::for_terminal(hint)));
                continue;
            }
            let before = if line_number == 0 { before } else { "     " };
            lines.push_str(&format!("{before}{}\n", ui::for_terminal(line)));
        }
    }
    lines + &hints
}
