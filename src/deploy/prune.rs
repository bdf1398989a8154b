//! Pruning: releases, virtual environments, logs and the mirror stay bounded.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;
use chrono::NaiveDateTime;

use crate::git::{Mirror, MirrorError};
use crate::layout;
use crate::state::ledger::{Ledger, Release};

use super::build::STAMP;
use super::session::Session;
use super::static_files::withdraw;
use super::{Poll, dependencies};

/// How many logs are kept.
const LOGS: usize = 50;

/// Whether there are releases or virtual environments that no kept release needs.
pub(super) fn is_due(poll: &Poll<'_>, ledger: &Ledger) -> Result<bool> {
    let known = |name: &OsString, others: &BTreeSet<String>| {
        let is = |text: &str| name.to_str() == Some(text);
        let mut kept = ledger.releases().iter();
        kept.any(|release| is(&release.id) || is(&release.venv)) || others.iter().any(|id| is(id))
    };
    for (dir, ours) in [
        (poll.app.releases(), is_release as fn(&OsString) -> bool),
        (poll.app.venvs(), is_environment),
    ] {
        let mut names = poll.server.list(&dir)?;
        names.retain(|name| ours(name) && !known(name, &BTreeSet::new()));
        if !names.is_empty() {
            let imported = imported(poll, ledger.releases())?;
            if !names.iter().all(|name| known(name, &imported)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Whether deployments give releases such names: the time and the commit. Others are not pullpray's, and stay.
fn is_release(name: &OsString) -> bool {
    let name = name.to_str().and_then(|name| name.split_once('-'));
    name.is_some_and(|(time, _)| NaiveDateTime::parse_from_str(time, STAMP).is_ok())
}

/// Whether deployments give environments such names: the version of Python and a digest. Others stay.
fn is_environment(name: &OsString) -> bool {
    let name = name.to_str().and_then(|name| name.strip_prefix("py"));
    name.is_some_and(|name| {
        name.starts_with(|first: char| first.is_ascii_digit()) && name.contains('-')
    })
}

/// Releases that the environments of kept releases import code from.
fn imported(poll: &Poll<'_>, kept: &[Release]) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for release in kept.iter().filter(|release| !release.venv.is_empty()) {
        let venv = poll.app.venvs().join(&release.venv);
        found.extend(dependencies::imports_from(poll.server, poll.app, &venv)?);
    }
    Ok(found)
}

/// Removes what no kept release needs; the next poll removes what cannot be removed now.
pub(super) fn try_prune(session: &mut Session<'_>, spared: &str) {
    if let Err(error) = prune(session, spared) {
        session.progress(&format!("old releases could not be removed: {error:#}"));
    }
}

/// Removes what no kept release needs, except the environment of this name. The live and the previous release are
/// always kept: deleting the code of a running gunicorn kills it at its next fork.
pub(super) fn prune(session: &mut Session<'_>, spared: &str) -> Result<()> {
    let (server, app) = (session.server, session.app);
    session.record(|ledger| ledger.pruned(app.limits.keep))?;
    let kept = session.ledger().releases();
    let current = server.read_link(&app.current())?;
    let current = current
        .as_deref()
        .and_then(|path| path.file_name())
        .map(ToOwned::to_owned);
    let mut ids = imported(session, kept)?;
    ids.extend(kept.iter().map(|release| release.id.clone()));
    // An error with one does not stop the others.
    let mut result = Ok(());
    let (stay, go): (Vec<OsString>, Vec<OsString>) = (server.list(&app.releases())?.into_iter())
        .partition(|name| {
            name.to_str().is_some_and(|name| ids.contains(name))
                || Some(name) == current.as_ref()
                || !is_release(name)
        });
    let dirs = |names: Vec<OsString>| names.into_iter().map(|name| app.releases().join(name));
    let stay: Vec<PathBuf> = dirs(stay).collect();
    for release in dirs(go) {
        // First, since only the release says which files were its own.
        let withdrawn = withdraw(server, &release, &stay, app.static_dir.as_path());
        result = result.and(withdrawn).and(server.remove_tree(&release));
    }
    let mut venvs: BTreeSet<&str> = kept.iter().map(|release| release.venv.as_str()).collect();
    venvs.insert(spared);
    for name in server.list(&app.venvs())? {
        if is_environment(&name) && !name.to_str().is_some_and(|name| venvs.contains(name)) {
            result = result.and(server.remove_tree(&app.venvs().join(&name)));
        }
    }
    let logs = server.list(&layout::logs(&app.name))?;
    for name in logs.iter().take(logs.len().saturating_sub(LOGS)) {
        server.remove_file(&layout::logs(&app.name).join(name))?;
    }
    let keep: Vec<crate::git::Oid> = kept
        .iter()
        .filter_map(|release| release.commit.parse().ok())
        .collect();
    let mirror = Mirror::on(server, &layout::mirror(&app.name))?;
    match mirror.compact(&keep) {
        Ok(_) => {}
        // An object of the history is lost or does not fit into memory: the next fetch brings a new mirror.
        Err(MirrorError::LimitExceeded(_) | MirrorError::Damaged(_)) => {
            server.remove_tree(&layout::mirror(&app.name))?;
        }
        Err(error) => return Err(error.into()),
    }
    result
}
