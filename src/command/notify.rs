//! `pullpray notify APP`: where failures are reported, and a test of it.

use std::io::Write;

use anyhow::{Result, anyhow};

use crate::app::{App, AppName};
use crate::deploy;
use crate::error::{WithHint, usage};
use crate::exit::Exit;
use crate::host::Server;
use crate::layout;
use crate::provision;
use crate::text::for_terminal;
use crate::ui;

use super::{as_app_account, load};

pub(super) fn run(server: &Server, name: &AppName, test: bool) -> Result<Exit> {
    let app = load(server, name)?;
    if let Some(exit) = as_app_account(server, &app)? {
        return Ok(exit);
    }
    if app.notify.is_empty() {
        return Err(usage(format!(
            "{name} reports failures to nobody: notify is empty in {}",
            layout::settings(name).display()
        ))
        .hint(format!(
            "sudo pullpray init {name} --notify ops@example.org"
        )));
    }
    if test {
        return send_test(server, &app);
    }
    let mut out = ui::stdout();
    for channel in &app.notify {
        writeln!(out, "{channel}")?;
    }
    if let Some(why) = provision::undelivered(server, &app) {
        writeln!(out, "{why}")?;
    }
    writeln!(out, "to test it: sudo pullpray notify {name} --test")?;
    Ok(Exit::Success)
}

/// Sends a test to each channel and prints what became of it.
fn send_test(server: &Server, app: &App) -> Result<Exit> {
    let mut failed = 0;
    for (channel, sent) in deploy::test_channels(server, app) {
        match sent {
            Ok(()) => writeln!(ui::stdout(), "{channel}: sent")?,
            Err(why) => {
                failed += 1;
                writeln!(ui::stdout(), "{channel}: FAILED: {}", for_terminal(&why))?;
            }
        }
    }
    if failed == 0 {
        return Ok(Exit::Success);
    }
    Err(anyhow!(
        "{failed} of {} messages could not be sent",
        app.notify.len()
    ))
}
