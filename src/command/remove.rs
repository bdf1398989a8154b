//! `pullpray remove APP`: removes everything init created, from its receipt.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use crate::app::AppName;
use crate::cli;
use crate::error::{self, WithHint, usage};
use crate::exit::Exit;
use crate::host::{Kind, Locked, Server, effective_uid};
use crate::layout;
use crate::provision::{self, Removal, Removed, Undone};
use crate::state::receipt::{Change, Receipt};
use crate::store::marks;
use crate::ui::{self, Mark, PlanRow, Ui};

use super::load;

pub(super) fn run(server: &Server, arguments: &cli::Remove) -> Result<Exit> {
    let name = &arguments.app;
    let again = format!("sudo pullpray remove {name}");
    if effective_uid() != 0 {
        return Err(usage("remove removes what root created, so it needs root").hint(again));
    }
    // Without its data, remove would report that nothing is left. Something that the account put in the place of a
    // directory does not count: it could otherwise prevent the removal.
    if let Some((dir, why, hint)) = marks::missing(server, name)?
        && server
            .stat(&dir)?
            .is_none_or(|stat| stat.kind == Kind::Directory)
    {
        return Err(anyhow!(why).hint(hint));
    }
    let receipt = Receipt::load(server, name)?;
    // What the receipt lacks would stay.
    let lacks = match load(server, name) {
        Ok(app) => provision::receipt_problem(server, &receipt, &app)?,
        Err(_) => (receipt.is_damaged()).then(|| format!("the receipt of {name} is damaged")),
    };
    if let Some(why) = lacks {
        let fix = format!("sudo pullpray doctor {name} --fix --only app.receipt");
        return Err(anyhow!(why).hint(fix));
    }
    let mut ui = ui::open(arguments.yes);
    if receipt.entries().is_empty() {
        if server.apps()?.contains(name) {
            bail!(
                "there is no receipt of {name} ({}), so what init created is unknown",
                layout::receipt(name).display()
            );
        }
        provision::remove_empty_remains(server)?;
        ui.say(&format!("There is nothing of {name} on this server."));
        return Ok(Exit::Success);
    }
    let others: Vec<AppName> = others(server, name)?;
    let removal = Removal {
        server,
        receipt: &receipt,
        app: name,
        others: &others,
        purge: arguments.purge,
    };
    ui.heading(&format!("Removes {name} from this server"));
    let rows: Vec<PlanRow> = (removal.changes().into_iter())
        .map(|change| row(change, arguments.purge))
        .collect();
    ui.plan(&rows);
    if !arguments.yes {
        if !ui::is_interactive() {
            return Err(
                usage("there is no terminal to ask on").hint("--yes removes without asking")
            );
        }
        if !ui.type_to_confirm("Type the app's name to go on", name.as_str())? {
            ui.say("Nothing was changed.");
            return Ok(Exit::Success);
        }
    }
    remove_all(ui.as_mut(), &removal)
}

/// Other apps that have a receipt: they inherit what was created for all of them.
fn others(server: &Server, name: &AppName) -> Result<Vec<AppName>> {
    let names = server.list(std::path::Path::new(layout::RECEIPTS_DIR))?;
    Ok(names
        .iter()
        .filter_map(|file| file.to_str()?.strip_suffix(".jsonl")?.parse().ok())
        .filter(|other| other != name)
        .collect())
}

fn row(change: &Change, purge: bool) -> PlanRow {
    let (kind, what) = change.subject();
    let (mark, detail) = change.reversal().describe(purge);
    PlanRow {
        mark,
        kind: kind.to_owned(),
        what,
        detail: detail.to_owned(),
    }
}

fn remove_all(ui: &mut dyn Ui, removal: &Removal<'_>) -> Result<Exit> {
    let (server, name) = (removal.server, removal.app);
    // No poll may run or start while the directories are removed.
    let _lock = match server.stat(&layout::state(name))? {
        // A poll with nothing new takes less, and a timer may start one at any time.
        Some(_) => match server.lock_in_time(&layout::state(name), Duration::from_secs(5))? {
            Locked::Held(lock) => Some(lock),
            Locked::Elsewhere => {
                return Err(anyhow!("a poll of {name} is running").hint(format!(
                    "wait for it, then: sudo pullpray remove {name}; who holds {}: sudo lslocks",
                    layout::state(name).display()
                )));
            }
        },
        None => None,
    };
    let changes = removal.changes();
    let mut failed = 0;
    for change in &changes {
        let (kind, what) = change.subject();
        let (mark, text) = match removal.undo(change) {
            Ok(Removed::NeededBy(other)) => (Mark::Unchanged, format!("stays: {other} needs it")),
            Ok(Removed::Undone(Undone::Removed(what))) => (Mark::Ok, what),
            Ok(Removed::Undone(Undone::Kept(why))) => (Mark::Unchanged, format!("stays: {why}")),
            Err(error) => {
                failed += 1;
                (Mark::Failed, error::in_one_line(&error))
            }
        };
        ui.done(mark, &format!("{kind} {what}"), &text);
    }
    if failed > 0 {
        return Err(anyhow!(
            "{failed} of {} could not be removed; the receipt stays",
            changes.len()
        )
        .hint(format!("sudo pullpray remove {name}")));
    }
    let all = removal.finish()?;
    ui.say("");
    if !all {
        ui.say(&format!(
            "What stays is still recorded, and removed with: sudo pullpray remove {name} --purge"
        ));
    }
    ui.say(&format!(
        "{name} is removed. Delete its deploy key in the repository's settings on the git host, too."
    ));
    Ok(Exit::Success)
}
