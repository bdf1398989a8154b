//! Data marks: whether the app's data directories are the real ones, or an empty mount point.
//!
//! After a reboot without a disk that should be mounted, the directory below exists, is empty, and may be writable:
//! migrations would create a new database, and the site would look healthy. So each data directory has a mark file,
//! root keeps a copy outside, and everything that changes something compares them first.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use crate::app::{App, AppName};
use crate::error::WithHint;
use crate::host::{Kind, Server, View};
use crate::layout;

/// The directories with a mark file.
#[must_use]
pub fn dirs(app: &App) -> [PathBuf; 2] {
    [app.shared(), layout::state(&app.name)]
}

/// Whether exactly the app's directories are marked.
///
/// # Errors
/// When root's copy cannot be read.
pub fn is_marked(view: &View, app: &App) -> Result<bool> {
    let known = view.read_text(&layout::data(&app.name))?;
    Ok(known.is_some_and(|known| known.lines().skip(1).map(Path::new).eq(dirs(app))))
}

/// Whether a directory has the mark that root's copy says.
fn has_mark(view: &View, dir: &Path, known: &str) -> Result<bool> {
    let mark = dir.join(layout::MARK);
    Ok(
        view.stat_target(dir)?.map(|stat| stat.kind) == Some(Kind::Directory)
            && view.stat(&mark)?.map(|stat| stat.kind) == Some(Kind::File)
            && view.read_untrusted(&mark)?.as_deref() == Some(known),
    )
}

/// Checks the mark of the directory that the app writes to, before the app starts.
///
/// # Errors
/// When it is missing, or root's copy is.
pub fn ensure_shared(view: &View, app: &AppName) -> Result<()> {
    let copy = layout::data(app);
    let known = view.read_text(&copy)?.unwrap_or_default();
    let dir = Path::new(known.lines().nth(1).unwrap_or_default());
    if !has_mark(view, dir, &known)? {
        let dir = dir.display();
        bail!(
            "{dir} does not have the mark of {}: is a disk not mounted?",
            copy.display()
        );
    }
    Ok(())
}

/// The directory that has the app's data, according to root's copy.
///
/// # Errors
/// When root's copy cannot be read.
pub fn shared(view: &View, app: &AppName) -> Result<Option<PathBuf>> {
    let known = view.read_text(&layout::data(app))?;
    Ok(known.and_then(|known| known.lines().nth(1).map(PathBuf::from)))
}

/// Marks the app's directories; returns the content for root's copy, which is written last.
///
/// # Errors
/// When a mark cannot be written.
pub fn mark(server: &Server, app: &App, owner: (u32, u32)) -> Result<String> {
    let id = server.read_text(Path::new("/proc/sys/kernel/random/uuid"))?;
    let mut text = id.context("failed to read /proc/sys/kernel/random/uuid: is proc mounted?")?;
    for dir in dirs(app) {
        text.push_str(&format!("{}\n", dir.display()));
    }
    for dir in dirs(app) {
        server.write_in(&dir, layout::MARK, text.as_bytes(), 0o644, owner)?;
    }
    Ok(text)
}

/// A directory that lacks its mark, why, and what to do; `None` if all have theirs, or none was marked.
///
/// # Errors
/// When a mark cannot be read.
pub fn missing(view: &View, app: &AppName) -> Result<Option<(PathBuf, String, String)>> {
    let copy = layout::data(app);
    let Some(known) = view.read_text(&copy)? else {
        return Ok(None);
    };
    for dir in known.lines().skip(1).map(Path::new) {
        let mark = dir.join(layout::MARK);
        if !has_mark(view, dir, &known)? {
            let owned = dir.to_owned();
            let (dir, mark, copy) = (dir.display(), mark.display(), copy.display());
            return Ok(Some((
                owned,
                format!(
                    "{dir} does not hold the data of {app} ({mark} is missing or different): is a disk not mounted? Until it is back, pullpray changes nothing for {app}"
                ),
                format!(
                    "findmnt --target {dir}; sudo mount --all  # if the data is lost for good, or was copied there by hand, and {app} should use what is there now: sudo rm {copy} && sudo pullpray doctor {app} --fix --only project.directories"
                ),
            )));
        }
    }
    Ok(None)
}

/// Checks the marks before anything changes.
///
/// # Errors
/// When a directory lacks its mark.
pub fn ensure_present(view: &View, app: &AppName) -> Result<()> {
    match missing(view, app)? {
        Some((_, why, hint)) => Err(anyhow!(why).hint(hint)),
        None => Ok(()),
    }
}
