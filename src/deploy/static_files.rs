//! The release's static files, published for the web server.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::host::{Kind, Server};

use super::build::STATIC;

/// Copies the release's static files to the web server's directory: each beside its target, then renamed over
/// it. Nothing is removed, so that pages served before the switch still find their files.
pub(super) fn publish(server: &Server, from: &Path, to: &Path) -> Result<()> {
    let mut queue: Vec<PathBuf> = vec![PathBuf::new()];
    if server.stat(from)?.is_some() {
        server.publish_dir(from)?;
    }
    while let Some(part) = queue.pop() {
        for name in server.list(&from.join(&part))? {
            let path = part.join(&name);
            let source = from.join(&path);
            match server.stat(&source)?.map(|stat| stat.kind) {
                Some(Kind::Directory) => {
                    // The source too: a project that sets modes itself drops the setgid bit.
                    server.publish_dir(&source)?;
                    server.publish_dir(&to.join(&path))?;
                    queue.push(path);
                }
                Some(Kind::File) => server.publish_file(&source, &to.join(&path))?,
                _ => {}
            }
        }
    }
    Ok(())
}

/// A remark on static files that are symbolic links. They are not published: the web server would read their
/// targets with its own rights.
pub(super) fn unpublished_links(server: &Server, release: &Path) -> Result<Option<String>> {
    const SHOWN: usize = 5;
    let from = release.join(STATIC);
    let mut links = Vec::new();
    let mut queue: Vec<PathBuf> = vec![PathBuf::new()];
    while let Some(part) = queue.pop() {
        for name in server.list(&from.join(&part))? {
            let path = part.join(&name);
            match server.stat(&from.join(&path))?.map(|stat| stat.kind) {
                Some(Kind::Directory) => queue.push(path),
                Some(Kind::Link) => links.push(path.display().to_string()),
                _ => {}
            }
        }
    }
    links.sort();
    let more = links.len().saturating_sub(SHOWN);
    links.truncate(SHOWN);
    let more = (more > 0).then(|| format!(" and {more} more"));
    Ok((!links.is_empty()).then(|| {
        format!(
            "static files that are links are not published: {}{}",
            links.join(", "),
            more.unwrap_or_default()
        )
    }))
}
