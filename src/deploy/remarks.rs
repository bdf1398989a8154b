//! What is remarkable about a commit that is deployed.

use crate::app::{App, Track};
use crate::layout;
use crate::state::ledger::Release;
use crate::text::{for_terminal, short};

use super::fetch::Code;
use super::processes;
use super::session::Session;

/// All remarks on a commit.
pub(super) fn on(
    session: &Session<'_>,
    code: &Code,
    live: Option<&Release>,
) -> anyhow::Result<Option<String>> {
    Ok(join(&[
        rewritten(session.app, code, live),
        code.new_submodules(live)?,
        uncompiled_translations(session, code, live)?,
        processes::remark(session, code, live.map(|live| live.commit.as_str()))?,
        drop_ins(session)?,
    ]))
}

/// A remark on translations that nobody compiles, if the live commit had none: gettext reads only .mo files, and without
/// one the page is in English.
fn uncompiled_translations(
    session: &Session<'_>,
    code: &Code,
    live: Option<&Release>,
) -> anyhow::Result<Option<String>> {
    let found = code.uncompiled(code.info.oid)?;
    let live = live.and_then(|live| live.commit.parse().ok());
    let known = live.is_some_and(|oid| code.uncompiled(oid).is_ok_and(|found| !found.is_empty()));
    let Some(first) = found.first().filter(|_| !known) else {
        return Ok(None);
    };
    let path = session.app.deploy_script();
    let script = session.server.read(&path)?.unwrap_or_default();
    if String::from_utf8_lossy(&script).contains("compilemessages") {
        return Ok(None);
    }
    Ok(Some(format!(
        "{} has no .mo beside it, and Django reads only that (commit the .mo files, or call compilemessages in {})",
        for_terminal(&first.display().to_string()),
        path.display()
    )))
}

/// A remark on an administrator's drop-ins of the service, without which its other instances would not be like it.
fn drop_ins(session: &Session<'_>) -> anyhow::Result<Option<String>> {
    let (server, app) = (session.server, session.app);
    let service = server.unit(&layout::service_unit(&app.name))?;
    let mut commands = Vec::new();
    for unit in [
        layout::trial_unit(&app.name),
        layout::bridge_unit(&app.name),
    ] {
        let has = server.unit(&unit)?.drop_ins;
        let lacks = service.drop_ins.iter().filter(|file| !has.contains(file));
        let lacks: Vec<&str> = lacks.map(String::as_str).collect();
        if service.drop_ins.len() > has.len() {
            // systemd 252 follows links to the files, not to their directory.
            let dir = layout::unit_file(&format!("{unit}.d"));
            let (dir, lacks) = (dir.display(), lacks.join(" "));
            commands.push(format!(
                "sudo mkdir -p {dir} && sudo ln -sf -t {dir} {lacks}"
            ));
        }
    }
    Ok((!commands.is_empty()).then(|| {
        format!(
            "the service has drop-ins that the instances beside it lack, so these do not run; to have them there too: {} && sudo systemctl daemon-reload",
            commands.join(" && ")
        )
    }))
}

/// A remark on a commit whose history does not contain the live commit.
fn rewritten(app: &App, code: &Code, live: Option<&Release>) -> Option<String> {
    let live = live.filter(|_| code.descends == Some(false))?;
    let live = short(&live.commit);
    Some(match &app.track {
        // The next version may come from another branch: nothing was rewritten then.
        Track::Tag(_) => format!("{live} is not an ancestor of {}", short(&code.commit)),
        _ => format!("history was rewritten: {live} is not an ancestor"),
    })
}

/// Joins remarks into one.
pub(super) fn join(notes: &[Option<String>]) -> Option<String> {
    let notes: Vec<&str> = notes.iter().flatten().map(String::as_str).collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}
