//! `pullpray completions SHELL`: a script for the shell, on standard output.

use std::io::Write;

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::{generate, shells};

use crate::cli::{self, Shell};
use crate::exit::Exit;
use crate::ui;

pub(super) fn run(shell: Shell) -> Result<Exit> {
    let mut command = documented();
    // Into memory first: generate panics where it cannot write, into a closed pipe for example.
    let mut script = Vec::new();
    match shell {
        Shell::Bash => generate(shells::Bash, &mut command, "pullpray", &mut script),
        Shell::Zsh => generate(shells::Zsh, &mut command, "pullpray", &mut script),
        Shell::Fish => generate(shells::Fish, &mut command, "pullpray", &mut script),
    }
    ui::stdout().write_all(&script)?;
    Ok(Exit::Success)
}

/// The command line without its hidden verbs (which only pullpray calls), for completions and manual pages.
#[must_use]
pub(super) fn documented() -> clap::Command {
    let full = cli::Cli::command();
    let visible = full.get_subcommands().filter(|it| !it.is_hide_set());
    let visible: Vec<_> = visible.cloned().collect();
    // clap cannot remove a subcommand, so build the command again without the hidden ones.
    clap::Command::new("pullpray")
        .version(env!("CARGO_PKG_VERSION"))
        .about(full.get_about().cloned().unwrap_or_default())
        .propagate_version(true)
        .subcommand_required(true)
        .subcommands(visible)
}

#[test]
fn the_documented_command_line_is_valid() {
    documented().debug_assert();
}
