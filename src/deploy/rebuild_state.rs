//! State that cannot be used, or is gone: what is there is set aside and never thrown away, and what polls need is
//! made anew from what the server shows: the releases, where `current` leads, the mirror.

use std::path::{Path, PathBuf};

use anyhow::Result;
use chrono::NaiveDateTime;

use crate::git::{self, Mirror};
use crate::host::Kind;
use crate::layout;
use crate::state::Damaged;
use crate::state::ledger::{Ledger, Pause, Release};
use crate::state::stamp;

use super::build::{BEGUN, COMPLETE};
use super::{Poll, fetch, remote};

/// Sets aside what stands in the place of a link or of the ledger and is not that; gives what is to be told of it.
pub(super) fn rebuild(poll: &Poll<'_>) -> Result<Option<String>> {
    let (server, app) = (poll.server, poll.app);
    let mut said = Vec::new();
    for link in [app.current(), app.next()] {
        if server.stat(&link)?.is_some_and(|s| s.kind != Kind::Link) {
            let kept = move_away(poll, &link)?;
            said.push(format!("{} was not a link{kept}", link.display()));
        }
    }
    let path = layout::ledger(&app.name);
    let stat = server.stat(&path)?;
    let was = match Ledger::load(server, &app.name) {
        Err(error) if error.is::<Damaged>() => {
            // Its account wrote it, and this is its account: nothing is gained by a file of impossible size.
            let small = stat.is_some_and(|s| s.kind == Kind::File && s.size < 1024 * 1024);
            let bytes = if small { server.read(&path)? } else { None };
            String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
        }
        Err(error) => return Err(error),
        Ok(_) if stat.is_some() || server.list(&app.releases())?.is_empty() => {
            return Ok((!said.is_empty()).then(|| said.join("; ")));
        }
        // A release is never begun before it is in the ledger.
        Ok(_) => String::new(),
    };
    let (ledger, known) = made_anew(poll, &was)?;
    let mut words = if stat.is_some() {
        format!("{} was damaged{}", path.display(), move_away(poll, &path)?)
    } else {
        format!("{} was gone", path.display())
    };
    words.push_str(", and was made anew from what is on this server");
    ledger.store(server, &app.name)?;
    if let Some(hold) = &ledger.pause {
        words.push_str(&format!(
            "; held ({}) until: pullpray resume {}",
            hold.why, app.name
        ));
    } else if !known {
        words.push_str(&format!(
            "; if polls were held, that is not known any more: pullpray pause {}",
            app.name
        ));
    }
    said.push(words);
    Ok(Some(said.join("; ")))
}

/// Gives it another name beside its own; tells which.
fn move_away(poll: &Poll<'_>, path: &Path) -> Result<String> {
    let mut kept = path.as_os_str().to_owned();
    kept.push(format!(".damaged-{}", poll.clock.now().format(BEGUN)));
    let mut free = PathBuf::from(&kept);
    for number in 2.. {
        if poll.server.stat(&free)?.is_none() {
            break;
        }
        free = PathBuf::from(format!("{}-{number}", kept.display()));
    }
    poll.server.rename(path, &free)?;
    Ok(format!(" and is kept as {}", free.display()))
}

/// The ledger by what is left of it and what the server shows; and whether it is known if polls were held.
fn made_anew(poll: &Poll<'_>, was: &str) -> Result<(Ledger, bool)> {
    let (server, app) = (poll.server, poll.app);
    let (mut ledger, parsed) = Ledger::left_of(was);
    let leads = server.stat(&app.current())?.is_some();
    let current = if leads {
        server.read_link(&app.current())?
    } else {
        ledger.live.take().map(|live| live.id.into())
    };
    let current = current.as_deref().and_then(Path::file_name);
    let releases = releases(poll)?;
    let live = (releases.iter())
        .position(|release| current == Some(release.id.as_ref()))
        .or(releases.len().checked_sub(1));
    ledger.live = live.map(|at| releases[at].clone());
    ledger.previous = live.and_then(|at| releases.get(at.checked_sub(1)?).cloned());
    // Whoever went back wanted to leave what is newer.
    let newer = live.is_some_and(|at| at + 1 < releases.len());
    ledger.releases = releases;
    let why = match () {
        () if parsed || ledger.pause.is_some() => None,
        () if was.contains("\"pause\": {") => Some("it was held before its ledger was damaged"),
        () if newer => Some("a newer release than the live one is there, as after a rollback"),
        () => None,
    };
    ledger.pause = ledger.pause.take().or(why.map(|why| Pause {
        by: "pullpray".to_owned(),
        since: stamp(poll.clock.now()),
        why: why.to_owned(),
    }));
    Ok((ledger, parsed))
}

/// The releases on the disk, oldest first, that were built to the end. Their commits are looked up in the mirror;
/// one that lost them is fetched anew.
fn releases(poll: &Poll<'_>) -> Result<Vec<Release>> {
    let (server, app) = (poll.server, poll.app);
    let mut found = Vec::new();
    for name in server.list(&app.releases())? {
        let Some(id) = name.to_str() else { continue };
        let mut parts = id.splitn(3, '-');
        let time = NaiveDateTime::parse_from_str(parts.next().unwrap_or_default(), BEGUN);
        let (Ok(time), Some(digits)) = (time, parts.next()) else {
            continue;
        };
        let venv = server.link_target(&app.releases().join(id).join(".venv"))?;
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
    let looked_up = |releases: &mut Vec<Release>| {
        let mirror = Mirror::open_or_init(&path).ok();
        for release in releases.iter_mut() {
            let found = mirror.as_ref().and_then(|m| m.by_digits(&release.commit));
            if let Some(info) = found {
                release.commit = info.oid.to_string();
                release.subject = info.subject;
            }
        }
        releases.iter().all(|release| release.commit.len() == 40)
    };
    if !looked_up(&mut found) {
        let newest = git::newest(&remote(app), &app.track)
            .map_err(|error| anyhow::anyhow!(super::why_not_asked(app, &error)))?;
        if let Some(newest) = newest {
            fetch::fetch(server, app, &newest, None).map_err(|error| match error {
                fetch::FetchError::Remote(why) | fetch::FetchError::Unfit(why) => {
                    anyhow::anyhow!(why)
                }
                fetch::FetchError::GaveWay => {
                    anyhow::anyhow!("another command works on {}", app.name)
                }
                fetch::FetchError::Here(error) => error,
            })?;
        }
        looked_up(&mut found);
    }
    // One that is in no history any more has no other name than these digits.
    for release in &mut found {
        release.commit = format!("{:0<40}", release.commit);
    }
    Ok(found)
}
