//! `pullpray load-key APP`: run by the agent's unit, as root.

use anyhow::{Result, anyhow};

use crate::app::{AppName, paths};
use crate::exit::Exit;
use crate::server::{Server, effective_uid, hand_over_key};

use super::{load, usage};

pub(super) fn run(server: &Server, name: &AppName) -> Result<Exit> {
    if effective_uid() != 0 {
        return Err(usage(
            "only root can hand the key over; the agent's unit does it",
        ));
    }
    let app = load(server, name)?;
    let user = server
        .user(app.user.as_str())
        .ok_or_else(|| anyhow!("there is no user {}", app.user))?;
    hand_over_key(
        server,
        &paths::agent_unit(name),
        &paths::agent_socket(name),
        &paths::private_key(name),
        &user,
    )?;
    Ok(Exit::Done)
}
