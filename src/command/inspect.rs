//! `pullpray inspect APP`: run by init, gives up root, prints JSON, or creates an empty file in shared/.

use std::io::Write;

use anyhow::Result;

use crate::app::{AppName, SharedPath};
use crate::deploy;
use crate::exit::Exit;
use crate::host::Server;
use crate::ui;

use super::{as_app_account, load};

pub(super) fn run(
    server: &Server,
    name: &AppName,
    start_empty: Option<&SharedPath>,
) -> Result<Exit> {
    let app = load(server, name)?;
    if let Some(exit) = as_app_account(server, &app)? {
        return Ok(exit);
    }
    if let Some(path) = start_empty {
        deploy::start_empty(server, &app, path)?;
        return Ok(Exit::Success);
    }
    let remote = deploy::remote(server, &app);
    let found = deploy::inspect(&deploy::Poll::by_hand(server, &app, &remote))?;
    let json = ui::json_for_terminal(&serde_json::to_string(&found)?);
    writeln!(ui::stdout(), "{json}")?;
    Ok(Exit::Success)
}
