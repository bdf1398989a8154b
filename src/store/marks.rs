//! Whether the app's data is where it was put, or an empty mount point stands in its place.
//!
//! After a reboot with a disk that was not mounted, the directory below is there, is empty, and may be the
//! app's to write: migrations would make a new database, and the site would look well. So what was filled once
//! bears a mark, and root keeps a copy of it outside. Whoever is about to change something compares.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::app::{App, AppName};
use crate::host::{Kind, Server, View};
use crate::layout;

/// The directories that bear the mark.
#[must_use]
pub fn dirs(app: &App) -> [PathBuf; 2] {
    [app.shared(), layout::state(&app.name)]
}

/// Whether the app's directories, and no others, were marked.
///
/// # Errors
/// When root's copy cannot be read.
pub fn is_marked(view: &View, app: &App) -> Result<bool> {
    let known = view.read_text(&layout::data(&app.name))?;
    Ok(known.is_some_and(|known| known.lines().skip(1).map(Path::new).eq(dirs(app))))
}

/// Marks the app's directories; gives what root's copy is to say, which comes last.
///
/// # Errors
/// When one cannot be written to.
pub fn mark(server: &Server, app: &App, owner: (u32, u32)) -> Result<String> {
    let id = server.read_text(Path::new("/proc/sys/kernel/random/uuid"))?;
    let mut text = id.context("the kernel gives no random number (proc is not mounted)")?;
    for dir in dirs(app) {
        text.push_str(&format!("{}\n", dir.display()));
    }
    for dir in dirs(app) {
        server.write_in(&dir, layout::MARK, text.as_bytes(), 0o644, owner)?;
    }
    Ok(text)
}

/// A marked directory that is not what was marked, why, and what to do; `None` if all are, or none was.
///
/// # Errors
/// When that cannot be told.
pub fn lost(view: &View, app: &AppName) -> Result<Option<(PathBuf, String, String)>> {
    let copy = layout::data(app);
    let Some(known) = view.read_text(&copy)? else {
        return Ok(None);
    };
    for dir in known.lines().skip(1).map(Path::new) {
        let mark = dir.join(layout::MARK);
        let there = view.stat_target(dir)?.map(|stat| stat.kind) == Some(Kind::Directory)
            && view.stat(&mark)?.map(|stat| stat.kind) == Some(Kind::File)
            && view.read_untrusted(&mark)?.as_deref() == Some(&known);
        if !there {
            let owned = dir.to_owned();
            let (dir, mark, copy) = (dir.display(), mark.display(), copy.display());
            return Ok(Some((
                owned,
                format!(
                    "{dir} is not the directory that holds what is {app}'s ({mark} is not there, or another): is a disk not mounted? Until it is back nothing is deployed, made or mended here"
                ),
                format!(
                    "findmnt --target {dir}; sudo mount --all  # if the data is lost for good, or was put there by hand, and {app} is to go on with what is there: sudo rm {copy} && sudo pullpray doctor {app} --fix --only project.directories"
                ),
            )));
        }
    }
    Ok(None)
}

/// Makes sure of it before anything is changed.
///
/// # Errors
/// When a marked directory is not what was marked.
pub fn there(view: &View, app: &AppName) -> Result<()> {
    match lost(view, app)? {
        Some((_, why, hint)) => bail!("{why}\nhint: {hint}"),
        None => Ok(()),
    }
}
