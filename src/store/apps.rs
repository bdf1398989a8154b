//! The apps on this server, and the facts that defaults depend on: ports, other apps, who ran sudo.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::app::{AccountName, AppName, Bind, Facts, OtherApp, RepoUrl, Settings};
use crate::layout;

use crate::host::View;

/// The program's path if no package installed it.
const INSTALLED: &str = "/usr/local/bin/pullpray";

impl View {
    /// The machine's id (machine-id(5)); empty if it has none.
    #[must_use]
    pub fn machine_id(&self) -> String {
        let text = self.read_text(Path::new("/etc/machine-id")).ok().flatten();
        text.map_or_else(String::new, |text| text.trim().to_owned())
    }

    /// The apps on this server: those with a settings file.
    ///
    /// # Errors
    /// When the settings directory cannot be listed.
    pub fn apps(&self) -> Result<Vec<AppName>> {
        let names = self.list(Path::new(layout::SETTINGS_DIR))?;
        Ok(names
            .iter()
            .filter_map(|name| name.to_str()?.strip_suffix(".toml")?.parse().ok())
            .collect())
    }

    /// Apps that have state but no settings file.
    ///
    /// # Errors
    /// When a directory cannot be listed.
    pub fn lost_apps(&self) -> Result<Vec<AppName>> {
        let apps = self.apps()?;
        let names = self.list(Path::new(layout::STATE_DIR))?;
        let names = names.iter().filter_map(|name| name.to_str()?.parse().ok());
        Ok(names.filter(|name| !apps.contains(name)).collect())
    }

    /// The facts that an app's defaults depend on.
    ///
    /// # Errors
    /// When /proc or the settings directory cannot be read.
    pub fn facts(&self, sudo_user: Option<&str>) -> Result<Facts> {
        let mut facts = Facts {
            operator: sudo_user
                .filter(|name| *name != "root")
                .and_then(|name| name.parse().ok()),
            processors: std::thread::available_parallelism()
                .map_or(1, |n| u16::try_from(n.get()).unwrap_or(u16::MAX)),
            ports: self.listening_ports()?,
            host_key_algorithms: self.host_key_algorithms(),
            systemctl: self
                .which("systemctl")
                .unwrap_or_else(|| "/usr/bin/systemctl".into()),
            machine: self.machine_id(),
            no_cron: !self.has_cron(),
            ..Facts::default()
        };
        for app in self.apps()? {
            // An unreadable settings file is that app's problem, not this one's.
            let Some(settings) = self
                .read_text(&layout::settings(&app))
                .ok()
                .flatten()
                .and_then(|text| Settings::parse(&text).ok())
            else {
                continue;
            };
            if let Some(Ok(bind)) = settings.answers.get("bind").map(str::parse::<Bind>) {
                facts.ports.extend(bind.port());
            }
            let answer = |name| settings.answers.get(name);
            let notify = answer("notify").filter(|text| !text.trim().is_empty());
            facts.notify = facts.notify.or_else(|| notify.map(str::to_owned));
            if let Some(user) = answer("user").and_then(|text| text.parse::<AccountName>().ok()) {
                let group = answer("group").unwrap_or(user.as_str()).parse();
                let Ok(group) = group.or_else(|_| user.as_str().parse()) else {
                    continue;
                };
                let repo = answer("repo").and_then(|text| text.parse::<RepoUrl>().ok());
                let key = answer("host_key").and_then(|text| text.parse().ok());
                let dirs = ["project_dir", "static_dir"];
                let dirs = dirs.iter().filter_map(|name| settings.answers.get(name));
                facts.others.push(OtherApp {
                    dirs: dirs.map(PathBuf::from).collect(),
                    host_key: repo.map(|repo| repo.known_hosts_name()).zip(key),
                    name: app,
                    group,
                    user,
                });
            }
        }
        let own = self.own_program()?;
        facts.program = match self.first_untrusted(&own)? {
            None => own,
            Some(_) => INSTALLED.into(),
        };
        Ok(facts)
    }

    /// Whether something listens there; `None` if the system does not say.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn listens(&self, bind: &Bind) -> Result<Option<bool>> {
        let tables: &[&str] = match bind {
            Bind::Tcp(_) => &["/proc/net/tcp", "/proc/net/tcp6"],
            Bind::Unix(_) => &["/proc/net/unix"],
        };
        let mut known = None;
        for table in tables {
            let Some(text) = self.read_text(Path::new(table))? else {
                continue;
            };
            let found = match bind {
                Bind::Tcp(address) => parse_listeners(&text).any(|found| found == *address),
                Bind::Unix(path) => {
                    let path = path.to_string();
                    text.lines()
                        .any(|line| line.split(' ').next_back() == Some(&path))
                }
            };
            known = Some(known.unwrap_or(false) || found);
        }
        Ok(known)
    }

    /// The TCP ports in use on this server (/proc/net/tcp, state 0A: LISTEN).
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn listening_ports(&self) -> Result<Vec<u16>> {
        let mut ports = Vec::new();
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            let text = self.read_text(Path::new(table))?.unwrap_or_default();
            ports.extend(parse_ports(&text));
        }
        ports.sort_unstable();
        ports.dedup();
        Ok(ports)
    }
}

fn parse_ports(text: &str) -> Vec<u16> {
    parse_listeners(text)
        .map(|address| address.port())
        .collect()
}

fn parse_listeners(text: &str) -> impl Iterator<Item = SocketAddr> {
    text.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (address, port) = fields.next()?.rsplit_once(':')?;
        let state = fields.nth(1)?;
        let port = u16::from_str_radix(port, 16).ok()?;
        // Words of 32 bits, each in the byte order of this machine.
        let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok();
        let address = if address.len() == 8 {
            SocketAddr::from((word(0)?.to_ne_bytes(), port))
        } else {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?].map(u32::to_ne_bytes);
            let mut bytes = [0_u8; 16];
            bytes.copy_from_slice(words.as_flattened());
            SocketAddr::from((bytes, port))
        };
        (state == "0A").then_some(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_ports_are_parsed() {
        let text = "  sl  local_address rem_address   st tx_queue\n   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000\n   1: 0100007F:1F41 0100007F:9999 01 0:0\n";
        assert_eq!(parse_ports(text), [8000]);
        let address = |text| parse_listeners(text).next().map(|found| found.to_string());
        assert_eq!(address(text).as_deref(), Some("127.0.0.1:8000"));
        let text = "head\n   0: 00000000000000000000000001000000:1F40 0:0 0A 0:0\n";
        assert_eq!(address(text).as_deref(), Some("[::1]:8000"));
    }
}
