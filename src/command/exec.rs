//! `pullpray exec APP NAME`, and `pullpray exec APP -- COMMAND`: run by the unit of a process, as the app's account in its sandbox, in the release.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Result, anyhow};

use crate::app::{AppName, MAX_PROCFILE, PROCFILE, ProcessName, Procfile};
use crate::exit::Exit;
use crate::host::{Becomes, Server, become_process, read_bounded};
use crate::layout;

/// Replaces this process by the command; returns only if that fails.
pub(super) fn run(
    server: &Server,
    name: &AppName,
    process: Option<&ProcessName>,
    words: &[OsString],
) -> Result<Exit> {
    let Some(process) = process else {
        return Err(become_process(&Becomes::Program(words)));
    };
    let own = layout::procfile(name);
    let (file, text) = if let Some(text) = server.read_text(&own)? {
        (own.as_path(), text)
    } else {
        let file = Path::new(PROCFILE);
        (file, read_bounded(file, MAX_PROCFILE)?)
    };
    let procfile = Procfile::parse(&text);
    let command = procfile.command(process.as_str());
    let file = file.display();
    let command = command.ok_or_else(|| anyhow!("{file} has no line \"{process}: COMMAND\""))?;
    Err(become_process(&Becomes::Line(command)))
}
