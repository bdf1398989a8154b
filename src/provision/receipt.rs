//! The check of the receipt itself. A lost or damaged one is set aside and rebuilt from its readable entries and the
//! state of the server.
//!
//! The rebuilt receipt cannot know what existed before pullpray: items with the app's name count as created by pullpray;
//! the group, memberships and directories chosen by the administrator count as pre-existing and are kept.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::app::App;
use crate::host::View;
use crate::layout;
use crate::state::receipt::{Before, Change, Receipt, Was};
use crate::state::sha256;

use super::changes::backup_name;
use super::key_pair::{fingerprint, private_key};
use super::{About, Changes, Check, CheckContext, Finding, Fix, StepId, list};

pub(super) struct IntactReceipt<'a>(pub(super) &'a App);

/// What is wrong with an app's receipt; `None` if nothing is.
///
/// # Errors
/// When the server's state cannot be read.
pub fn receipt_problem(view: &View, receipt: &Receipt, app: &App) -> Result<Option<String>> {
    let path = layout::receipt(&app.name);
    let path = path.display();
    if receipt.is_damaged() {
        return Ok(Some(format!("{path} is damaged")));
    }
    // Only items that exist as soon as they are announced and that nobody else creates.
    let [cron, timer] = app.schedulers();
    let by_name = [cron, timer, app.sudoers(), app.ssh_config()];
    let lacks = (traces(view, app)?.into_iter())
        .filter(|change| match change {
            Change::File { path, .. } => by_name.contains(path),
            Change::Release { .. } | Change::Unit { .. } => true,
            _ => false,
        })
        .find(|change| !receipt.mentions(change));
    Ok(lacks.map(|change| {
        format!(
            "{path} was truncated or lost: it does not record {}, which init created",
            change.key().1
        )
    }))
}

/// The changes that the receipt of an installed app must record.
fn traces(view: &View, app: &App) -> Result<Vec<Change>> {
    let name = &app.name;
    let mut changes = Vec::new();
    let there = |path: &Path| Ok::<_, anyhow::Error>(view.stat(path)?.is_some());
    if there(&app.releases())? {
        changes.push(Change::Release {
            path: app.project_dir.as_path().into(),
            static_dir: app.static_dir.as_path().into(),
        });
    }
    let dirs = [layout::SETTINGS_DIR, layout::AGENT_DIR, layout::KEYS_DIR].map(PathBuf::from);
    let its = [app.poller_dir(), layout::state(name), layout::logs(name)];
    let inside = [app.releases(), app.shared(), app.venvs()];
    let created = dirs.into_iter().chain(its).chain(inside);
    // They were empty before: init refuses other directories.
    let empty = Was {
        uid: 0,
        gid: 0,
        mode: 0o755,
        empty: true,
    };
    let chosen = [&app.project_dir, &app.static_dir].map(|dir| dir.as_path().to_owned());
    let chosen = chosen.map(|dir| (dir, Before::Adopted, Some(empty)));
    for (path, before, was) in created
        .map(|dir| (dir, Before::Created, None))
        .chain(chosen)
    {
        if there(&path)? {
            changes.push(Change::Directory { path, before, was });
        }
    }
    if view.created_by_pullpray(app.user.as_str()) {
        changes.push(Change::created_user(app.user.as_str()));
    }
    let backups = layout::backups(name);
    let kept = view.list(&backups)?;
    for (path, sha256) in written(view, app)? {
        if there(&path)? {
            let backup = (kept.iter()).find(|kept| {
                let kept = kept.to_string_lossy();
                kept.starts_with(&backup_name(&path, ""))
            });
            let before = backup.map_or(Before::Created, |b| Before::Replaced(backups.join(b)));
            changes.push(Change::file(&path, before, sha256));
        }
    }
    let path = layout::known_hosts(name);
    for line in view.read_text(&path)?.unwrap_or_default().lines() {
        let line = line.to_owned();
        let path = path.clone();
        changes.push(Change::Line { path, line });
    }
    for unit in (layout::units(name).into_iter()).chain(app.poll_units()) {
        if view.unit(&unit)?.is_enabled() {
            changes.push(Change::Unit { name: unit });
        }
    }
    Ok(changes)
}

/// The files of the app, with the digest of what pullpray wrote: modified ones are still removed only with --purge.
fn written(view: &View, app: &App) -> Result<Vec<(PathBuf, String)>> {
    let name = &app.name;
    let mut written: Vec<(PathBuf, String)> = Vec::new();
    for step in list(app) {
        if let Some((path, text)) = step.fix().and_then(Fix::preview) {
            written.push((path, sha256(text.as_bytes())));
        }
    }
    // The scheduler that the settings do not name yet.
    for path in app.schedulers() {
        if !written.iter().any(|(known, _)| *known == path) {
            written.push((path, String::new()));
        }
    }
    // The settings are what init wrote last, also if the administrator changed them since.
    let (settings, copy) = (
        layout::settings(name),
        view.read(&layout::settings_copy(name))?,
    );
    written.retain(|(path, _)| *path != settings);
    written.push((settings, sha256(&copy.unwrap_or_default())));
    for path in [
        layout::data(name),
        layout::public_key(name),
        layout::next_public_key(name),
    ] {
        let sha = sha256(&view.read(&path)?.unwrap_or_default());
        written.push((path, sha));
    }
    for path in [layout::private_key(name), layout::next_private_key(name)] {
        let key = private_key(view, &path).ok().flatten();
        written.push((path, key.as_ref().map(fingerprint).unwrap_or_default()));
    }
    Ok(written)
}

impl Check for IntactReceipt<'_> {
    fn about(&self) -> About {
        About::new(StepId::AppReceipt, layout::receipt(&self.0.name).display())
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        if !context.receipt.is_readable() {
            return Ok(Finding::Unknown("only root can read it".to_owned()));
        }
        Ok(
            match receipt_problem(context.view, context.receipt, self.0)? {
                Some(why) => Finding::differs(why),
                None => Finding::ok("records what init created"),
            },
        )
    }
}

impl Fix for IntactReceipt<'_> {
    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        let traces = traces(changes.context().view, self.0)?;
        changes.renew_receipt(traces)
    }
}
