//! `pullpray completions SHELL`: a script for the shell, on standard output.

use std::io::Write;

use anyhow::Result;
use clap_complete::{generate, shells};

use crate::cli::{self, Shell};
use crate::exit::Exit;
use crate::ui;

pub(super) fn run(shell: Shell) -> Result<Exit> {
    let mut command = cli::documented();
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
