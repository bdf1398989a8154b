//! Disk space for a release, checked before anything of it is written: a disk that fills up halfway also stops the
//! database and everything else on it.
//!
//! Too little space is a refusal, not a failure: it uses no attempt, since space does not free itself. It is reported
//! once and checked again by each poll.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::host::Size;
use crate::layout;
use crate::state::ledger::Release;
use crate::state::refusal::{Scarce, Why};

use super::Poll;
use super::dependencies;
use super::fetch::Code;

/// The log of a deployment is bounded, the ledger small.
const RECORDS: Size = Size {
    files: 20,
    bytes: 8 * 1024 * 1024,
};

/// A directory, what a release will write there, and what is free.
#[derive(Debug, Clone)]
struct Place {
    dir: PathBuf,
    needed: Size,
    free_bytes: u64,
    /// `None` where inodes are not counted.
    free_files: Option<u64>,
}

/// The first directory with too little of something.
fn lacking(places: &[Place]) -> Option<Why> {
    let short = |place: &Place, what, needed, free| {
        let dir = place.dir.clone();
        (free < needed).then_some(Why::NoRoom {
            dir,
            what,
            needed,
            free,
        })
    };
    places.iter().find_map(|place| {
        let Size { files, bytes } = place.needed;
        short(place, Scarce::Bytes, bytes, place.free_bytes).or_else(|| {
            let free = place.free_files?;
            short(place, Scarce::Inodes, files, free)
        })
    })
}

/// Why there is not enough space for this commit, if there is not.
pub(super) fn shortage(
    poll: &Poll<'_>,
    code: &Code,
    live: Option<&Release>,
) -> Result<Option<Why>> {
    let (server, app) = (poll.server, poll.app);
    for dir in [&app.project_dir, &app.static_dir] {
        // The first release may create the directory of static files.
        if server.stat_target(dir.as_path())?.is_some() && server.is_read_only(dir.as_path())? {
            let dir = dir.as_path().to_owned();
            return Ok(Some(Why::ReadOnly { dir }));
        }
    }
    let oid = code.info.oid;
    let mirror = &code.mirror;
    let tree = mirror.size(oid)?;
    let environment = match live.filter(|live| !live.venv.is_empty()) {
        Some(live) => {
            let files = |oid| mirror.blobs(oid, &dependencies::may_determine_environment);
            let before = live.commit.parse().ok().and_then(|oid| files(oid).ok());
            let venv = app.venvs().join(&live.venv);
            let changed = before != Some(files(oid)?)
                || !dependencies::imports_from(server, app, &venv)?.is_empty();
            changed.then(|| server.tree_size(&venv)).transpose()?
        }
        None => None,
    };
    let place = |dir: &Path, needed| -> Result<Place> {
        let (free_bytes, free_files) = server.free_space(dir)?;
        Ok(Place {
            dir: dir.to_owned(),
            needed,
            free_bytes,
            free_files,
        })
    };
    Ok(lacking(&[
        place(app.project_dir.as_path(), tree.of_a_release(environment))?,
        place(&layout::state(&app.name), RECORDS)?,
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn place(bytes: u64, free_bytes: u64, free_files: Option<u64>) -> Place {
        Place {
            dir: "/here".into(),
            needed: Size { files: 10, bytes }.of_a_release(None),
            free_bytes,
            free_files,
        }
    }

    #[test]
    fn one_byte_too_few_is_refused() {
        let exactly = place(MIB, 0, None).needed.bytes;
        assert_eq!(lacking(&[place(MIB, exactly, None)]), None);
        assert_eq!(
            lacking(&[place(MIB, exactly - 1, None)]),
            Some(Why::NoRoom {
                dir: "/here".into(),
                what: Scarce::Bytes,
                needed: exactly,
                free: exactly - 1,
            })
        );
    }

    #[test]
    fn inodes_are_compared_where_they_are_counted() {
        let plenty = u64::MAX;
        assert_eq!(lacking(&[place(0, plenty, Some(1010))]), None);
        let why = lacking(&[place(0, plenty, None), place(0, plenty, Some(1009))]);
        assert!(matches!(
            why,
            Some(Why::NoRoom {
                what: Scarce::Inodes,
                needed: 1010,
                free: 1009,
                ..
            })
        ));
    }
}
