//! `pullpray env APP edit` and `set`: changes the environment file, checked as systemd reads it.

use std::io::{IsTerminal, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};

use crate::app::{App, AppName};
use crate::cli::EnvVerb;
use crate::error::{WithHint, usage};
use crate::exit::Exit;
use crate::host::{Server, effective_uid};
use crate::layout;
use crate::ui::{self, PromptError};

use super::load;

pub(super) fn run(server: &Server, name: &AppName, verb: &EnvVerb) -> Result<Exit> {
    if effective_uid() != 0 {
        let again = match verb {
            EnvVerb::Edit => "edit".to_owned(),
            EnvVerb::Set { name } => format!("set {name}"),
        };
        return Err(
            usage("the environment has secrets, which only root changes")
                .hint(format!("sudo pullpray env {name} {again}")),
        );
    }
    let app = load(server, name)?;
    let path = app.environment_file();
    let old = server.read_text(&path)?.ok_or_else(|| {
        anyhow!("{} does not exist", path.display())
            .hint(format!("sudo pullpray doctor {name} --fix"))
    })?;
    let new = match verb {
        EnvVerb::Edit => edit(server, &app, &old)?,
        EnvVerb::Set { name } => {
            let value = value(name)?;
            server
                .set_variable(&old, name, &value)
                .map_err(|invalid| usage(invalid.to_string()))?
        }
    };
    let mut out = ui::stdout();
    let Some(new) = Some(new).filter(|new| *new != old) else {
        writeln!(out, "{name}: nothing changed")?;
        return Ok(Exit::Success);
    };
    let group = server.group(app.group.as_str());
    let gid = group
        .with_context(|| format!("there is no group {}", app.group))?
        .gid;
    let previous = layout::previous_environment(name);
    server.write(&previous, old.as_bytes(), 0o600, Some((0, 0)))?;
    server.write(&path, new.as_bytes(), 0o640, Some((0, gid)))?;
    writeln!(
        out,
        "{name}: {} is changed; the last version is {}",
        path.display(),
        previous.display()
    )?;
    restart(server, &app)
}

/// The value: a line that is not shown, or what standard input has, without its last newline.
fn value(name: &str) -> Result<String> {
    if std::io::stdin().is_terminal() {
        return ui::secret(&format!("Value of {name} (not shown):")).map_err(interrupted);
    }
    let mut value = String::new();
    std::io::stdin()
        .read_to_string(&mut value)
        .context("the value on standard input is not UTF-8 text")?;
    if value.ends_with('\n') {
        value.pop();
    }
    Ok(value)
}

fn interrupted(error: PromptError) -> anyhow::Error {
    anyhow::Error::new(error)
}

/// Has the person edit the file until systemd would read it as it looks.
fn edit(server: &Server, app: &App, old: &str) -> Result<String> {
    if !ui::is_interactive() {
        return Err(usage("an editor needs a terminal")
            .hint(format!("sudo pullpray env {} set NAME <file", app.name)));
    }
    let path = layout::edited_environment(&app.name);
    server.write(&path, old.as_bytes(), 0o600, Some((0, 0)))?;
    let edited = edit_until_right(server, &path);
    server.remove_file(&path)?;
    edited
}

fn edit_until_right(server: &Server, path: &Path) -> Result<String> {
    let variable = |name: &str| {
        std::env::var(name)
            .ok()
            .filter(|text| !text.trim().is_empty())
    };
    let editor = ["SUDO_EDITOR", "VISUAL", "EDITOR"]
        .into_iter()
        .find_map(variable);
    let editor = editor.unwrap_or_else(|| "editor".to_owned());
    let mut ui = ui::open(false);
    loop {
        // As sudoedit does: the variable may have arguments.
        let script = format!("exec {editor} \"$1\"");
        let ended = server.run_here(
            "/bin/sh",
            ["-c", &script, "sh", &path.display().to_string()],
        )?;
        if !ended.success() {
            bail!("the editor {editor} failed; nothing was changed");
        }
        let wrong = match server.environment_misread(path) {
            Ok(None) => return Ok(server.read_text(path)?.unwrap_or_default()),
            Ok(Some(lines)) => lines,
            Err(error) => format!("{error:#}"),
        };
        ui.warn(&wrong);
        if !ui.confirm("Edit it again?", true)? {
            bail!("nothing was changed: {wrong}");
        }
    }
}

/// Offers to restart the app, which has read its environment at its start.
fn restart(server: &Server, app: &App) -> Result<Exit> {
    let name = app.name.as_str();
    if server.stat(&app.current())?.is_none() {
        return Ok(Exit::Success);
    }
    if ui::is_interactive() && ui::open(false).confirm("Restart the app with it now?", true)? {
        let program = app.program.display().to_string();
        let ended = server.run_here(&program, ["restart", name])?;
        return Ok(Exit::of_child(ended.code()));
    }
    writeln!(
        ui::stdout(),
        "  next  it is read at the next start: sudo pullpray restart {name}"
    )?;
    Ok(Exit::Success)
}
