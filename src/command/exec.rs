//! `pullpray exec APP NAME`, and `pullpray exec APP -- COMMAND`: run by a unit, as the app's account in its sandbox, in
//! the release.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};

use crate::app::{
    AppName, MAX_PROCFILE, PROCFILE, ProcessName, Procfile, Web as ProcfileWeb, Wsgi,
};
use crate::exit::Exit;
use crate::host::{Becomes, Server, become_process, read_bounded};
use crate::layout;
use crate::store::marks;

/// Web, as its unit says.
pub(super) struct Web<'a> {
    /// What it serves, unless the Procfile says it.
    pub(super) wsgi: &'a Wsgi,
    /// Its socket; `None` for systemd's.
    pub(super) listen: Option<&'a Path>,
    pub(super) workers: u16,
    /// Whether it is an instance beside the service.
    pub(super) beside: bool,
}

/// Replaces this process by the command; returns only if that fails.
pub(super) fn run(
    server: &Server,
    name: &AppName,
    process: Option<&ProcessName>,
    web: Option<&Web<'_>>,
    words: &[OsString],
) -> Result<Exit> {
    // Fails, and is tried again by systemd, while the disk with the app's data is not mounted.
    marks::ensure_shared(server, name)?;
    if !words.is_empty() {
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
    if let Some(web) = web {
        let target = web.wsgi.target();
        let (before, arguments) = match procfile.web() {
            None => (Vec::new(), target.as_str()),
            Some(ProcfileWeb::Gunicorn { before, arguments }) => (before, arguments),
            Some(ProcfileWeb::Other(line)) => {
                bail!("web in {file} does not start gunicorn: {line}")
            }
        };
        return Err(become_process(&Becomes::Gunicorn {
            before: &before,
            arguments,
            listen: web.listen,
            workers: web.workers,
            exactly: web.beside || arguments == target,
        }));
    }
    let process = process.context("no process is named")?;
    let command = procfile.command(process.as_str());
    let command = command.ok_or_else(|| anyhow!("{file} has no line \"{process}: COMMAND\""))?;
    Err(become_process(&Becomes::Line(command)))
}
