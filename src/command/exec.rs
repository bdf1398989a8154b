//! `pullpray exec APP NAME`, and `pullpray exec APP -- COMMAND`: run by a unit, as the app's account in its sandbox, in
//! the release.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Result, anyhow, bail};

use crate::app::{AppName, MAX_PROCFILE, PROCFILE, ProcessName, Procfile, Web, Wsgi};
use crate::exit::Exit;
use crate::host::{Becomes, Server, become_process, read_bounded};
use crate::layout;
use crate::store::marks;

/// A process beside web, or web and its socket.
type What<'a> = (Option<&'a ProcessName>, Option<&'a Wsgi>, Option<&'a Path>);

/// Replaces this process by the command; returns only if that fails.
pub(super) fn run(
    server: &Server,
    name: &AppName,
    (process, web, listen): What<'_>,
    words: &[OsString],
) -> Result<Exit> {
    // Fails, and is tried again by systemd, while the disk with the app's data is not mounted.
    marks::ensure_shared(server, name)?;
    if process.is_none() && web.is_none() {
        return Err(become_process(&Becomes::Program(words)));
    }
    let own = layout::procfile(name);
    let (file, text) = if let Some(text) = server.read_text(&own)? {
        (own.as_path(), text)
    } else {
        let file = Path::new(PROCFILE);
        let present = web.is_none() || server.stat(file)?.is_some();
        let text = present.then(|| read_bounded(file, MAX_PROCFILE));
        (file, text.transpose()?.unwrap_or_default())
    };
    let procfile = Procfile::parse(&text);
    let file = file.display();
    let Some(process) = process else {
        let target = web.map(Wsgi::target).unwrap_or_default();
        let (before, arguments) = match procfile.web() {
            None => (Vec::new(), target.as_str()),
            Some(Web::Gunicorn { before, arguments }) => (before, arguments),
            Some(Web::Other(line)) => bail!("web in {file} does not start gunicorn: {line}"),
        };
        return Err(become_process(&Becomes::Gunicorn {
            before: &before,
            arguments,
            listen,
        }));
    };
    let command = procfile.command(process.as_str());
    let command = command.ok_or_else(|| anyhow!("{file} has no line \"{process}: COMMAND\""))?;
    Err(become_process(&Becomes::Line(command)))
}
