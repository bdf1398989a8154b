//! The effective configuration of the ssh client, and the host keys of git hosts.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ssh_key::{HashAlg, PublicKey};

use super::{Command, Identity, View};
use crate::app::{PROXY_VARIABLE, Proxy};

/// A host's public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKey {
    /// Algorithm and base64 key, as in known_hosts.
    pub key: String,
    /// `SHA256:…`.
    pub fingerprint: String,
}

impl HostKey {
    /// Parses `ssh-ed25519 AAAA…`, with or without a comment.
    ///
    /// # Errors
    /// When it is not a public key.
    pub fn parse(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split_whitespace().take(2).collect();
        let key = parts.join(" ");
        let public = PublicKey::from_openssh(&key)
            .map_err(anyhow::Error::msg)
            .with_context(|| format!("{key:?} is not a public key"))?;
        Ok(Self {
            key,
            fingerprint: public.fingerprint(HashAlg::Sha256).to_string(),
        })
    }

    /// The algorithm, such as `ssh-ed25519`.
    #[must_use]
    pub fn algorithm(&self) -> &str {
        self.key.split(' ').next().unwrap_or_default()
    }
}

/// What `SHOW_KEY` prints before each key.
const SHOWN: &str = "pullpray-host-key ";

/// Prints the key of the host, as ssh_config(5) KnownHostsCommand, instead of a line that makes it known: ssh then ends
/// before it logs in, and unlike ssh-keyscan it has gone through any proxy to get there.
const SHOW_KEY: &str = "/bin/sh -c \"echo pullpray-host-key %t %K >&2\"";

/// A git host whose keys are not known yet.
#[derive(Debug)]
pub struct GitHost<'a> {
    /// The name to pass to ssh.
    pub alias: &'a str,
    /// What it stands for, unless ssh's configuration has another name for it.
    pub name: &'a str,
    /// Its port, unless ssh's configuration has another one.
    pub port: u16,
    /// Options (`-o`), which take precedence over ssh's configuration files.
    pub options: Vec<String>,
    /// The app's account; only root can change to it.
    pub run_as: Option<&'a Identity>,
    /// The proxy of the options, for `pullpray tunnel`.
    pub proxy: Option<&'a Proxy>,
}

fn effective(command: Command) -> Result<BTreeMap<String, Vec<String>>> {
    let output = command.outcome()?;
    if output.code != Some(0) {
        let why = super::command::last_lines(&output.stderr, 2);
        bail!("ssh rejects its configuration: {why}");
    }
    let mut options: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in output.stdout.lines() {
        if let Some((name, value)) = line.split_once(' ') {
            let values = options.entry(name.to_ascii_lowercase()).or_default();
            values.push(value.to_owned());
        }
    }
    Ok(options)
}

/// Returns the keys that the text of a known_hosts file lists for a host. It ignores hashed names: the file is
/// pullpray's own, and pinned hosts must be readable for the administrator.
#[must_use]
pub(super) fn pinned(text: &str, host: &str) -> Vec<HostKey> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with(['#', '@']))
        .filter_map(|line| line.trim().split_once(char::is_whitespace))
        .filter(|(names, _)| names.split(',').any(|name| name == host))
        .filter_map(|(_, key)| HostKey::parse(key).ok())
        .collect()
}

impl View {
    /// Returns the keys that the text of a known_hosts file lists for a host.
    #[must_use]
    pub fn pinned_host_keys(&self, text: &str, host: &str) -> Vec<HostKey> {
        pinned(text, host)
    }

    /// Returns the effective ssh configuration for an alias (`ssh -G`): option name in lower case, values.
    ///
    /// # Errors
    /// When ssh rejects the configuration.
    pub fn ssh_effective(
        &self,
        alias: &str,
        run_as: Option<&Identity>,
    ) -> Result<BTreeMap<String, Vec<String>>> {
        effective(self.command("ssh").args(["-G", "--", alias]).run_as(run_as))
    }

    /// Returns a host's public keys: ed25519 before ecdsa before rsa, as far as ssh's configuration permits them, up to
    /// the one with the fingerprint `wanted`, or only the first. Nothing is sent but the key exchange.
    ///
    /// # Errors
    /// When the host cannot be reached or shows no key that is permitted.
    pub fn host_keys(&self, host: &GitHost<'_>, wanted: Option<&str>) -> Result<Vec<HostKey>> {
        let GitHost { name, port, .. } = host;
        let settings = effective(self.ssh_to(host, &["-G".to_owned()]))?;
        let first = |name: &str| settings.get(name)?.first().map(String::as_str);
        let mut options = Vec::new();
        if first("hostname").is_none_or(|is| is == host.alias) {
            options.push(format!("-oHostName={name}"));
        }
        if first("port").is_none_or(|is| is == "22") {
            options.push(format!("-oPort={port}"));
        }
        options.push(format!("-oKnownHostsCommand={SHOW_KEY}"));
        let permitted = first("hostkeyalgorithms").unwrap_or_default();
        let mut keys = Vec::new();
        let mut stderr = format!("ssh's HostKeyAlgorithms are {permitted}");
        for family in ["ssh-ed25519", "ecdsa-sha2-", "rsa-sha2-"] {
            let algorithms: Vec<&str> = permitted
                .split(',')
                .filter(|name| name.starts_with(family) && !name.contains("-cert-"))
                .collect();
            if algorithms.is_empty() {
                continue;
            }
            let algorithms = format!("-oHostKeyAlgorithms={}", algorithms.join(","));
            let arguments = [&options[..], &[algorithms]].concat();
            let command = self.ssh_to(host, &arguments);
            stderr = command.deadline(Duration::from_secs(45)).outcome()?.stderr;
            let shown = stderr.lines().filter_map(|line| line.strip_prefix(SHOWN));
            let shown: Vec<HostKey> = shown.filter_map(|key| HostKey::parse(key).ok()).collect();
            let lacks_family = stderr.contains("no matching host key type found");
            let found = (shown.iter()).any(|key| wanted.is_none_or(|is| is == key.fingerprint));
            keys.extend(shown);
            if found || !lacks_family && keys.is_empty() {
                break;
            }
        }
        if keys.is_empty() {
            let why = super::command::last_lines(&stderr, 3);
            let colon = if why.is_empty() { "" } else { ": " };
            bail!("no SSH server answered on {name} port {port}{colon}{why}");
        }
        Ok(keys)
    }

    /// ssh's `HostKeyAlgorithms` for every host, without certificates; empty if ssh does not say.
    #[must_use]
    pub fn host_key_algorithms(&self) -> String {
        self.algorithms("hostkeyalgorithms")
    }

    /// Whether ssh's `PubkeyAcceptedAlgorithms` for every host permit ed25519 keys, which policies such as FIPS do not.
    #[must_use]
    pub fn ssh_uses_ed25519(&self) -> bool {
        let names = self.algorithms("pubkeyacceptedalgorithms");
        names.is_empty() || names.split(',').any(|name| name == "ssh-ed25519")
    }

    fn algorithms(&self, option: &str) -> String {
        let any = GitHost {
            alias: "any",
            name: "any",
            port: 22,
            options: Vec::new(),
            run_as: None,
            proxy: None,
        };
        let options = effective(self.ssh_to(&any, &["-G".to_owned()]));
        let names = options.ok().and_then(|mut options| options.remove(option));
        let names = names.unwrap_or_default().concat();
        let plain = names.split(',').filter(|name| !name.contains("-cert-"));
        plain.collect::<Vec<_>>().join(",")
    }

    /// A connection that trusts no key.
    fn ssh_to(&self, host: &GitHost<'_>, arguments: &[String]) -> Command {
        let system = Path::new("/etc/ssh/ssh_config");
        let mut command = self.command("ssh");
        // Without an account of the app: what every account reads, and nothing of whoever runs this.
        if host.run_as.is_none() {
            let exists = self.stat(system).ok().flatten().is_some();
            let file = if exists {
                self.real(system)
            } else {
                "none".into()
            };
            command = command.arg("-F").arg(file);
        }
        match host.proxy.filter(|proxy| proxy.address().is_some()) {
            // Its own deadline comes first: it says what does not answer.
            Some(proxy) => command = command.env(PROXY_VARIABLE, proxy.setting()),
            // In time for an attempt at another port.
            None => command = command.arg("-oConnectTimeout=8"),
        }
        command
            .args(arguments)
            .arg("-oUserKnownHostsFile=none")
            .args(host.options.iter().flat_map(|option| ["-o", option]))
            .args(["-T", "--", host.alias])
            .run_as(host.run_as)
    }

    /// Connects to a host as that user without a command and returns its output. `options` take precedence over
    /// ssh's configuration files.
    ///
    /// # Errors
    /// When ssh cannot be started or does not exit in time.
    pub fn ssh_greeting(
        &self,
        alias: &str,
        options: &[String],
        run_as: Option<&Identity>,
    ) -> Result<String> {
        let output = self
            .command("ssh")
            .args(options.iter().flat_map(|option| ["-o", option]))
            .args(["-T", "--", alias])
            .run_as(run_as)
            .deadline(Duration::from_secs(30))
            .outcome()?;
        Ok(format!("{}\n{}", output.stdout, output.stderr))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";

    #[test]
    fn published_keys_have_their_published_fingerprints() -> Result<()> {
        for (repo, permitted, key) in [
            ("git@github.com:a/b.git", "", KEY),
            (
                "git@github.com:a/b.git",
                "rsa-sha2-512,ecdsa-sha2-nistp256",
                "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg=",
            ),
            (
                "git@gitlab.com:a/b.git",
                "ssh-ed25519,rsa-sha2-512",
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAfuCHKVTjquxvt6CM6tdG4SLp1Btn/nOeHHE5UOzRdf",
            ),
            (
                "git@gitlab.com:a/b.git",
                "ecdsa-sha2-nistp256",
                "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBFSMqzJeV9rUzU4kWitGjeR4PWSa29SPqJ1fVkhtj3Hw9xjLVXVYrU9QlYWrOLXBpQ6KWjbjTDTdDkoohFzgbEY=",
            ),
            (
                "git@gitlab.com:a/b.git",
                "rsa-sha2-256",
                "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQCsj2bNKTBSpIYDEGk9KxsGh3mySTRgMtXL583qmBpzeQ+jqCMRgBqB98u3z++J1sKlXHWfM9dyhSevkMwSbhoR8XIq/U0tCNyokEi/ueaBMCvbcTHhO7FcwzY92WK4Yt0aGROY5qX2UKSeOvuP4D6TPqKF1onrSzH9bx9XUf2lEdWT/ia1NEKjunUqu1xOB/StKDHMoX4/OKyIzuS0q/T1zOATthvasJFoPrAjkohTyaDUz2LN5JoH839hViyEG82yB+MjcFV5MU3N1l1QL3cVUCh93xSaua1N85qivl+siMkPGbO5xR/En4iEY6K2XPASUEMaieWVNTRCtJ4S8H+9",
            ),
            (
                "git@bitbucket.org:a/b.git",
                "",
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIazEu89wgQZ4bqs3d63QSMzYVa0MuJ2e2gKTKqu+UUO",
            ),
            (
                "git@codeberg.org:a/b.git",
                "",
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIVIC02vnjFyL+I4RHfvIGNtOgJMe769VTF1VR4EB3ZB",
            ),
            (
                "git@codeberg.org:a/b.git",
                "ecdsa-sha2-nistp256",
                "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBL2pDxWr18SoiDJCGZ5LmxPygTlPu+cCKSkpqkvCyQzl5xmIMeKNdfdBpfbCGDPoZQghePzFZkKJNR/v9Win3Sc=",
            ),
            (
                "git@ssh.dev.azure.com:v3/a/b/c",
                "",
                "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQC7Hr1oTWqNqOlzGJOfGJ4NakVyIzf1rXYd4d7wo6jBlkLvCA4odBlL0mDUyZ0/QUfTTqeu+tm22gOsv+VrVTMk6vwRU75gY/y9ut5Mb3bR5BV58dKXyq9A9UeB5Cakehn5Zgm6x1mKoVyf+FFn26iYqXJRgzIZZcZ5V6hrE0Qg39kZm4az48o0AUbf6Sp4SLdvnuMa2sVNwHBboS7EJkm57XQPVU3/QpyNLHbWDdzwtrlS+ez30S3AdYhLKEOxAG8weOnyrtLJAUen9mTkol8oII1edf7mWWbWVf0nBmly21+nZcmCTISQBtdcyPaEno7fFQMDD26/s0lfKob4Kw8H",
            ),
        ] {
            let url: crate::app::RepoUrl = repo.parse()?;
            let published = url.published_host_key(permitted).map(|f| f.to_string());
            assert_eq!(published, Some(HostKey::parse(key)?.fingerprint), "{repo}");
        }
        let azure: crate::app::RepoUrl = "git@ssh.dev.azure.com:v3/a/b/c".parse()?;
        assert_eq!(azure.published_host_key("ssh-ed25519"), None);
        Ok(())
    }

    #[test]
    fn every_kind_of_key_has_the_fingerprint_that_ssh_keygen_prints() -> Result<()> {
        for (key, fingerprint) in [
            (
                "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBKlKZySr1WhExcPel+TcV4KUanGtfawOah9VmyWljK7VSonaoP0WriyJRAWtFbKEeeD+Mlvqr7QQSeVX4xPjQUw=",
                "SHA256:UWKIeS0znBpW3qj99f+tQugB/OvrgFcAUnL3jVBbwJM",
            ),
            (
                "ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBJPQkRBQOvG/Bo6VbfOpmOyKlLi9yt2MRKktUpokW4DmnUc/rCXhNwRacfxASftOgZD14c+GbRR8UnLTxCGt/9/VxH7pRoPgqZxxWaIKAczULDhE6NzpXln/Uiaob3urMw==",
                "SHA256:NNHk+mwHQdtcgtFY9T2Jsas/0XMS9Rm+wgYYVyVNf04",
            ),
            (
                "ecdsa-sha2-nistp521 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBACZwtlO7yp9lMwjE2600IoTpg8RH3JbSzqwNYVxcYV6e2YNxX0eNC4z+Fd156BscerztocHtikTFT1Oy1xO9KhfEAAOZMx6ekLkno0lNUZvmC0XDSgtr6eE95YW7AEr9BhY8HB1MaYiqi/pAqVxIIDatJHpwVoPMa1gzGVRWqdpTPNffg==",
                "SHA256:c8BnjtiTz98Jcbr0esKju8kyl98yEEGT/ZfabvJ+mC8",
            ),
            (
                "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDfSLi0nAG8xWISKJ55c98iz3Srk7TjNlBvQYqCnPKg23fTzbbMwso8YRA6B2rOS50AgV26744bFgxmBLbq4j85jhzUL+P+ziFYeRx0woXlW9tCr+Eu18hwjXi8p2rxAgc0OkT9siRmZi0HFsHFXcadpGRpdZ1xBtqC+TJomYmTdc9VxTSZTzAIVmg7c0i6vOz3lNhyAxdSaCq3ffDubDm+X3l6B9rDCP2p5RtU4A+goPv5m7SIfQi8vn4D7V2/zcUxoz1pV2yPvmD74c/r4ODeXfZlR5Zlv/C7V5HrvJT8ErWq1MumlXwQg6vQ7isO/3ewTkMPZ87f7vhWYlv26Nih",
                "SHA256:lBUE690nQPL6SP3TI9t/l70U1fLNxblVx0XCbBz3rKU",
            ),
        ] {
            assert_eq!(HostKey::parse(key)?.fingerprint, fingerprint, "{key}");
        }
        Ok(())
    }

    #[test]
    fn pinned_keys_are_found_by_exact_name() {
        let text = format!(
            "# ours\ngithub.com,gh\t{KEY}\n[h]:22  {KEY} c\n|1|x|y {KEY}\n@revoked github.com {KEY}\n"
        );
        assert_eq!(pinned(&text, "github.com").len(), 1);
        assert_eq!(pinned(&text, "[h]:22").len(), 1);
        assert_eq!(pinned(&text, "h").len(), 0);
    }
}
