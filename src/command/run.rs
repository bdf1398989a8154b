//! `pullpray run APP -- COMMAND`: a command as the app, in its sandbox, and `pullpray logs APP`.

use std::ffi::OsString;
use std::io::Write;

use anyhow::{Result, anyhow};

use crate::app::{App, AppName};
use crate::error::{WithHint, usage};
use crate::exit::Exit;
use crate::host::{Server, effective_uid, is_member};
use crate::text::for_terminal;
use crate::{layout, render, ui};

use super::load;

/// Groups whose members may read the journal (journalctl(1)).
const READERS: [&str; 3] = ["systemd-journal", "adm", "wheel"];

pub(super) fn run(server: &Server, name: &AppName, words: &[OsString]) -> Result<Exit> {
    if effective_uid() != 0 {
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        return Err(
            usage("systemd starts the command in the app's sandbox for root only")
                .hint(format!("sudo pullpray run {name} -- {}", words.join(" "))),
        );
    }
    let app = load(server, name)?;
    if server.stat(&app.current())?.is_none() {
        return Err(anyhow!("nothing of {name} is live yet")
            .hint(format!("sudo pullpray poll {name} --now")));
    }
    let unit = layout::run_unit(name, server.process_id());
    let mut arguments: Vec<OsString> = ["--quiet", "--wait", "--collect", "--service-type=exec"]
        .map(OsString::from)
        .to_vec();
    // A terminal of its own only if all of it is one: a pipe gets the bytes as they are.
    let terminal = ui::is_interactive();
    arguments.push(if terminal { "--pty" } else { "--pipe" }.into());
    arguments.push(format!("--unit={unit}").into());
    for property in render::sandbox(&app)? {
        arguments.push(format!("--property={property}").into());
    }
    arguments.push("--".into());
    arguments.push((&app.program).into());
    arguments.extend(["exec", name.as_str(), "--"].map(OsString::from));
    arguments.extend(words.iter().cloned());
    ui::install_signal_handlers()?;
    if ui::interrupted() {
        return Ok(Exit::Interrupted);
    }
    let ended = server.run_here("systemd-run", &arguments)?;
    // Ctrl-C ends systemd-run, not what it started.
    if server.unit(&unit)?.active != "inactive" {
        server.stop(&unit)?;
    }
    Ok(match ended.code() {
        Some(code) => Exit::OfCommand(u8::try_from(code).unwrap_or(1)),
        None => Exit::Interrupted,
    })
}

pub(super) fn logs(
    server: &Server,
    name: &AppName,
    (process, follow, lines): (Option<&str>, bool, u32),
) -> Result<Exit> {
    let app = load(server, name)?;
    let readers = READERS.iter().filter_map(|group| server.group(group));
    let readers: Vec<u32> = readers.map(|group| group.gid).collect();
    if effective_uid() != 0 && !is_member(&readers) {
        return Err(usage(format!(
            "this login may not read the journal, as root and the group {} may",
            READERS[0]
        ))
        .hint(format!("sudo pullpray logs {name}")));
    }
    let mut arguments = vec![
        "--no-pager".to_owned(),
        "--output=short-iso".to_owned(),
        format!("--lines={lines}"),
    ];
    if follow {
        arguments.push("--follow".to_owned());
    }
    let units = units(&app, process)?;
    arguments.extend(units.iter().map(|unit| format!("--unit={unit}")));
    Err(server.become_program("journalctl", &arguments))
}

/// The units whose lines are shown.
fn units(app: &App, process: Option<&str>) -> Result<Vec<String>> {
    let name = &app.name;
    let web = [
        layout::service_unit(name),
        layout::bridge_unit(name),
        layout::trial_unit(name),
    ];
    match process {
        None => Ok((web.into_iter().chain(app.process_units()))
            .chain(app.timed_units())
            .collect()),
        Some("web") => Ok(web.to_vec()),
        Some(text) => {
            let all = || app.processes.iter().chain(app.limits.timers.keys());
            let found = all().find(|process| process.as_str() == text);
            let found = found.ok_or_else(|| {
                let names = all().map(ToString::to_string);
                let names: Vec<String> = ["web".to_owned()].into_iter().chain(names).collect();
                usage(format!(
                    "{name} runs no process {:?}; it runs {}",
                    for_terminal(text),
                    names.join(", ")
                ))
            })?;
            Ok(vec![layout::process_unit(name, found)])
        }
    }
}

/// Prints the log of the last deployment.
pub(super) fn deploy_log(server: &Server, name: &AppName) -> Result<Exit> {
    let app = load(server, name)?;
    let dir = layout::logs(&app.name);
    let mut names = server.list(&dir)?;
    // They begin with the time.
    names.retain(|name| name.to_string_lossy().ends_with(".log"));
    names.sort();
    let last = names.pop();
    let last =
        last.ok_or_else(|| anyhow!("{name} was never deployed; {} is empty", dir.display()))?;
    let path = dir.join(last);
    let text = server.read_untrusted(&path)?.unwrap_or_default();
    let mut out = ui::stdout();
    writeln!(out, "{}:", path.display())?;
    for line in text.lines() {
        writeln!(out, "{}", for_terminal(line))?;
    }
    Ok(Exit::Success)
}
