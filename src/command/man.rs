//! `pullpray man DIR`: the manual pages, made from the command line's own words.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use clap::Command;
use clap_mangen::Man;

use crate::exit::Exit;
use crate::host::Server;
use crate::ui;

pub(super) fn run(server: &Server, dir: &Path) -> Result<Exit> {
    let absolute =
        std::path::absolute(dir).with_context(|| format!("failed to find {}", dir.display()))?;
    server.make_own_dirs(&absolute)?;
    let mut command = super::completions::documented().disable_help_subcommand(true);
    command.build();
    let verbs = command.get_subcommands().cloned().collect::<Vec<_>>();
    let also: Vec<String> = verbs.iter().map(page_of).collect();
    let pages = 1 + verbs.len();
    write(server, &absolute, command, &also)?;
    for verb in verbs {
        write(server, &absolute, verb, &["pullpray".to_owned()])?;
    }
    writeln!(
        ui::stdout(),
        "{pages} pages in {}; look: man -l {}",
        dir.display(),
        dir.join("pullpray.1").display()
    )?;
    Ok(Exit::Success)
}

/// `pullpray-poll`
fn page_of(command: &Command) -> String {
    command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
        .to_owned()
}

/// Writes one page, which names the others at its end.
fn write(server: &Server, dir: &Path, command: Command, also: &[String]) -> Result<()> {
    let name = page_of(&command);
    let man = Man::new(command)
        // None, so that the same program always writes the same pages; an empty one would be left out,
        // and what follows it taken for the date.
        .date(" ")
        .source(concat!("pullpray ", env!("CARGO_PKG_VERSION")))
        .manual("pullpray");
    let mut page = Vec::new();
    man.render(&mut page)
        .with_context(|| format!("failed to make the page of {name}"))?;
    let page = String::from_utf8(page).with_context(|| format!("the page of {name}"))?;
    // What follows the options in the help is, first of all, the exit codes.
    let mut page = page.replace(".SH EXTRA\n", ".SH \"EXIT STATUS\"\n");
    page.push_str(".SH \"SEE ALSO\"\n");
    let also: Vec<String> = also
        .iter()
        .map(|other| format!("\\fB{}\\fR(1)", other.replace('-', "\\-")))
        .collect();
    page.push_str(&also.join(", "));
    page.push('\n');
    let path = dir.join(format!("{name}.1"));
    server.write(&path, page.as_bytes(), 0o644, None)
}
