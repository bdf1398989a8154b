//! The release's static files, published for the web server.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::host::{Kind, Server};

use super::build::STATIC;

/// Copies the release's static files to the web server's directory: each beside its target, then renamed over
/// it. Nothing is removed before [`withdraw`], so that pages served before the switch still find their files.
pub(super) fn publish(server: &Server, from: &Path, to: &Path) -> Result<()> {
    if server.stat(from)?.is_some() {
        server.publish_dir(from)?;
    }
    for (path, kind) in entries(server, from)? {
        let (source, target) = (from.join(&path), to.join(&path));
        match kind {
            Kind::Directory => {
                // The source too: a project that sets modes itself drops the setgid bit.
                server.publish_dir(&source)?;
                server.publish_dir(&target)?;
            }
            Kind::File => server.publish_file(&source, &target)?,
            _ => {}
        }
    }
    Ok(())
}

/// Removes the static files of a release from the web server's directory, except what one of the other releases has
/// too, and what somebody else put in their place.
pub(super) fn withdraw(
    server: &Server,
    of: &Path,
    others: &[PathBuf],
    published: &Path,
) -> Result<()> {
    let of = of.join(STATIC);
    for (path, kind) in entries(server, &of)?.iter().rev() {
        let mut kept = others.iter().map(|other| other.join(STATIC).join(path));
        if kept.any(|path| server.stat(&path).is_ok_and(|stat| stat.is_some())) {
            continue;
        }
        match kind {
            Kind::Directory => drop(server.remove_empty_dir(&published.join(path))?),
            Kind::File => server.withdraw_file(&of.join(path), &published.join(path))?,
            _ => {}
        }
    }
    Ok(())
}

/// What is below a directory, each directory before its content.
pub(super) fn entries(server: &Server, dir: &Path) -> Result<Vec<(PathBuf, Kind)>> {
    let mut found = Vec::new();
    let mut queue: Vec<PathBuf> = vec![PathBuf::new()];
    while let Some(part) = queue.pop() {
        for name in server.list(&dir.join(&part))? {
            let path = part.join(&name);
            let Some(stat) = server.stat(&dir.join(&path))? else {
                continue;
            };
            if stat.kind == Kind::Directory {
                queue.push(path.clone());
            }
            found.push((path, stat.kind));
        }
    }
    Ok(found)
}

/// A remark on static files that are symbolic links. They are not published: the web server would read their
/// targets with its own rights.
pub(super) fn unpublished_links(server: &Server, release: &Path) -> Result<Option<String>> {
    const SHOWN: usize = 5;
    let mut links: Vec<String> = entries(server, &release.join(STATIC))?
        .into_iter()
        .filter(|(_, kind)| *kind == Kind::Link)
        .map(|(path, _)| path.display().to_string())
        .collect();
    links.sort();
    let more = match links.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    links.truncate(SHOWN);
    let words = "static files that are links are not published: ";
    Ok((!links.is_empty()).then(|| format!("{words}{}{more}", links.join(", "))))
}
