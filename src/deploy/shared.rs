//! Persistent paths: linked from shared/ into each release.

use std::path::Path;

use anyhow::{Result, bail};

use crate::app::SharedPath;
use crate::host::{Kind, Server};

use super::Poll;
use super::static_files::entries;

/// Links a persistent path from shared/ into a release. What the repository tracks in such a directory is copied there
/// first, unless the app has a file of that name.
pub(super) fn link(poll: &Poll<'_>, release: &Path, path: &SharedPath) -> Result<()> {
    let (server, shared) = (poll.server, poll.app.shared());
    let target = shared.join(path.path());
    if path.is_directory() {
        server.make_own_dirs(&target)?;
    } else if server.stat_target(&target)?.is_none() {
        bail!(
            "{} is missing: the settings list {path} under shared_paths, and an empty one is never created in its place. Put it there, or, to start with an empty file: sudo -u \"$(stat -c %U {})\" touch {}",
            target.display(),
            shared.display(),
            target.display()
        );
    }
    let link = release.join(path.path());
    if let Some(parent) = link.parent() {
        server.make_own_dirs(parent)?;
    }
    match server.stat(&link)?.map(|stat| stat.kind) {
        Some(Kind::Directory) => {
            let (copied, links) = copy_missing(server, &link, &target)?;
            let to = target.display();
            if copied > 0 {
                poll.progress(&format!("copied to {to} what is tracked there: {copied}"));
            }
            if links > 0 {
                poll.progress(&format!("not copied to {to}, being links: {links}"));
            }
            server.remove_tree(&link)?;
        }
        Some(_) => server.remove_file(&link)?,
        None => {}
    }
    server.switch_link(&link, &target)
}

/// Copies the files below a directory that are missing in another; returns their number, and that of
/// links. Those are left out, since their targets are relative to the release, and what would be below a link or a file of the app's.
fn copy_missing(server: &Server, from: &Path, to: &Path) -> Result<(usize, usize)> {
    let is_dir = |path: &Path| {
        let stat = server.stat(&to.join(path)).ok().flatten();
        stat.is_some_and(|stat| stat.kind == Kind::Directory)
    };
    let (mut copied, mut links) = (0, 0);
    for (path, kind) in entries(server, from)? {
        let mut parents = path.ancestors().skip(1);
        if !parents.all(|part| part.as_os_str().is_empty() || is_dir(part)) {
            continue;
        }
        let target = to.join(&path);
        if server.stat(&target)?.is_some() {
            continue;
        }
        match kind {
            Kind::Directory => server.make_own_dirs(&target)?,
            Kind::File => {
                let content = server.read(&from.join(&path))?.unwrap_or_default();
                server.write_new(&target, &content, 0o664, None)?;
                copied += 1;
            }
            Kind::Link => links += 1,
            _ => {}
        }
    }
    Ok((copied, links))
}
