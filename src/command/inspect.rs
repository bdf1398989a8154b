//! `pullpray inspect APP`: run by init, gives up root, prints JSON.

use std::io::Write;

use anyhow::Result;

use crate::app::AppName;
use crate::deploy;
use crate::exit::Exit;
use crate::host::Server;
use crate::ui;

use super::{as_app_account, load};

pub(super) fn run(server: &Server, name: &AppName) -> Result<Exit> {
    let app = load(server, name)?;
    if let Some(exit) = as_app_account(server, &app)? {
        return Ok(exit);
    }
    let remote = deploy::remote(server, &app);
    let found = deploy::inspect(&deploy::Poll::by_hand(server, &app, &remote))?;
    let json = ui::json_for_terminal(&serde_json::to_string(&found)?);
    writeln!(ui::stdout(), "{json}")?;
    Ok(Exit::Success)
}
