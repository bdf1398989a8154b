//! `pullpray tunnel HOST PORT`: run by ssh, as the `ProxyCommand` of an app's alias. The proxy's address may have a
//! password, so it comes from the settings, which only root and the app's account can read, or from the environment of a
//! process of theirs, but never from a command line.

use anyhow::{Result, anyhow};

use crate::app::{AppName, PROXY_VARIABLE, Proxy};
use crate::exit::Exit;
use crate::host::Server;

use super::settings;

pub(super) fn run(server: &Server, app: Option<&AppName>, to: (&str, u16)) -> Result<Exit> {
    let given = std::env::var(PROXY_VARIABLE).ok();
    let saved = || settings(server, app?).transpose();
    let text = match given.filter(|text| !text.is_empty()) {
        Some(text) => Some(text),
        None => saved()
            .transpose()?
            .and_then(|saved| saved.answers.get("proxy").map(str::to_owned)),
    };
    let proxy = text.map(|text| text.parse::<Proxy>()).transpose();
    let proxy = proxy.map_err(|invalid| anyhow!("the proxy {invalid}"))?;
    let address = proxy.as_ref().and_then(Proxy::address);
    let address = address.ok_or_else(|| anyhow!("the settings name no proxy"))?;
    server.tunnel(address, to.0, to.1)?;
    Ok(Exit::Success)
}
