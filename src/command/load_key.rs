//! `pullpray load-key APP`: run by the agent's unit, as root.

use anyhow::{Result, anyhow};

use crate::app::AppName;
use crate::error::usage;
use crate::exit::Exit;
use crate::host::{Server, effective_uid, hand_over_key};
use crate::layout;

use super::load;

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
    // In the middle of a rotation both: whichever the git host knows, it works.
    let mut keys = vec![layout::private_key(name)];
    let next = layout::next_private_key(name);
    if server.stat(&next)?.is_some() {
        keys.push(next);
    }
    hand_over_key(
        server,
        &layout::agent_unit(name),
        &layout::agent_socket(name),
        &keys,
        &user,
    )?;
    Ok(Exit::Success)
}
