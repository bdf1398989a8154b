//! Damaged or missing state: it is moved aside, never deleted, and rebuilt from the server: the releases, `current`,
//! the mirror.

use std::path::Path;

use anyhow::Result;
use chrono::NaiveDateTime;

use crate::git::Mirror;
use crate::host::{Kind, Lock};
use crate::layout;
use crate::report;
use crate::state::Damaged;
use crate::state::ledger::{Ledger, Release};
use crate::state::stamp;

use super::build::{COMPLETE, STAMP};
use super::session::Session;
use super::{Poll, fetch, free_name};

/// Opens a session; damaged state is moved aside and rebuilt first. Returns also what was done, if anything was.
pub(super) fn open<'a>(poll: &'a Poll<'a>, lock: Lock) -> Result<(Session<'a>, Option<String>)> {
    let (server, app) = (poll.server, poll.app);
    let mut done = Vec::new();
    for link in [app.current(), app.next()] {
        if server.stat(&link)?.is_some_and(|s| s.kind != Kind::Link) {
            let kept = move_away(poll, &link)?;
            done.push(format!("{} was not a link{kept}", link.display()));
        }
    }
    let path = layout::ledger(&app.name);
    let stat = server.stat(&path)?;
    let was = match Ledger::load(server, &app.name) {
        Err(error) if error.is::<Damaged>() => {
            // A ledger of that size was never written by a poll.
            let small = stat.is_some_and(|s| s.kind == Kind::File && s.size < 1024 * 1024);
            let bytes = if small { server.read(&path)? } else { None };
            String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
        }
        Err(error) => return Err(error),
        Ok(ledger) if stat.is_some() || server.list(&app.releases())?.is_empty() => {
            let done = (!done.is_empty()).then(|| done.join("; "));
            return Ok((Session::with_stored(poll, lock, ledger), done));
        }
        // The ledger names a release before its directory is created.
        Ok(_) => String::new(),
    };
    let current = match server.stat(&app.current())? {
        Some(_) => server.read_link(&app.current())?,
        None => None,
    };
    let current = current.as_deref().and_then(Path::file_name);
    let current = current.map(|name| name.to_string_lossy());
    let now = stamp(poll.clock.now());
    let (ledger, known) = Ledger::rebuilt(&was, releases(poll)?, current.as_deref(), now);
    let mut words = if stat.is_some() {
        format!("{} was damaged{}", path.display(), move_away(poll, &path)?)
    } else {
        format!("{} was missing", path.display())
    };
    words.push_str(", and was rebuilt from what is on this server");
    if let Some(pause) = ledger.pause() {
        words.push_str(&format!(
            "; paused ({}) until: pullpray resume {}",
            pause.why, app.name
        ));
    } else if !known {
        words.push_str(&format!(
            "; whether deployments were paused is unknown: pullpray pause {}",
            app.name
        ));
    }
    done.push(words);
    let session = Session::with_rebuilt(poll, lock, ledger)?;
    Ok((session, Some(done.join("; "))))
}

/// Renames it; returns the new name, as a part of a sentence.
fn move_away(poll: &Poll<'_>, path: &Path) -> Result<String> {
    let now = poll.clock.now().format(STAMP);
    let kept = format!("{}.damaged-{now}", path.display());
    let kept = free_name(&kept, |name| {
        Ok(poll.server.stat(Path::new(name))?.is_some())
    })?;
    poll.server.rename(path, Path::new(&kept))?;
    Ok(format!(" and is kept as {kept}"))
}

/// The complete releases on the disk, oldest first. Their commits are resolved in the mirror, which is fetched again if
/// it lacks them.
fn releases(poll: &Poll<'_>) -> Result<Vec<Release>> {
    let (server, app) = (poll.server, poll.app);
    let mut found = Vec::new();
    for name in server.list(&app.releases())? {
        let Some(id) = name.to_str() else { continue };
        let mut parts = id.splitn(3, '-');
        let time = NaiveDateTime::parse_from_str(parts.next().unwrap_or_default(), STAMP);
        let (Ok(time), Some(digits)) = (time, parts.next()) else {
            continue;
        };
        // A checkout that was killed has no link yet.
        let venv = server.link_target(&app.releases().join(id).join(".venv"));
        let venv = venv.ok().flatten();
        let Some(venv) = venv.as_deref().and_then(Path::file_name) else {
            continue;
        };
        if server
            .stat(&app.venvs().join(venv).join(COMPLETE))?
            .is_some()
        {
            found.push(Release {
                id: id.to_owned(),
                commit: digits.to_owned(),
                subject: String::new(),
                since: stamp(time.and_utc()),
                venv: venv.to_string_lossy().into_owned(),
            });
        }
    }
    let path = layout::mirror(&app.name);
    let resolve = |releases: &mut Vec<Release>| {
        let mirror = Mirror::on(server, &path).ok();
        for release in releases.iter_mut() {
            let found = mirror.as_ref().and_then(|m| m.by_digits(&release.commit));
            if let Some(info) = found {
                release.commit = info.oid.to_string();
                release.subject = info.subject;
            }
        }
        releases.iter().all(|release| release.commit.len() == 40)
    };
    if !resolve(&mut found) {
        let newest = (poll.remote)
            .newest(&app.track)
            .map_err(|error| report::remote::error(app, &error.failure()))?;
        if let Some(newest) = newest {
            fetch::fetch(poll, &newest, None).map_err(|error| error.into_error(app))?;
        }
        resolve(&mut found);
    }
    // A commit that is in no history any more keeps these digits as its name.
    for release in &mut found {
        release.commit = format!("{:0<40}", release.commit);
    }
    Ok(found)
}
