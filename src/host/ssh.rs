//! The ssh client's configuration as ssh itself understands it, and host keys as hosts show them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ssh_key::{HashAlg, PublicKey};

use super::{Command, Identity, View};

/// A host's public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKey {
    /// Algorithm and key in base64, as known_hosts writes them.
    pub key: String,
    /// `SHA256:…`.
    pub fingerprint: String,
}

impl HostKey {
    /// Reads `ssh-ed25519 AAAA…`, with or without a comment.
    ///
    /// # Errors
    /// When it is no public key.
    pub fn parse(text: &str) -> Result<Self> {
        let words: Vec<&str> = text.split_whitespace().take(2).collect();
        let key = words.join(" ");
        let public = PublicKey::from_openssh(&key)
            .with_context(|| format!("{key:?} is not a public key"))?;
        Ok(Self {
            key,
            fingerprint: public.fingerprint(HashAlg::Sha256).to_string(),
        })
    }

    /// The algorithm: `ssh-ed25519`.
    #[must_use]
    pub fn algorithm(&self) -> &str {
        self.key.split(' ').next().unwrap_or_default()
    }
}

/// The keys that a known_hosts file lists for a host. Only plain names are looked for: the file
/// is ours, and hashed names would hide from the administrator what is pinned.
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
    /// The keys that the text of a known_hosts file lists for a host.
    #[must_use]
    pub fn pinned_host_keys(&self, text: &str, host: &str) -> Vec<HostKey> {
        pinned(text, host)
    }

    /// The configuration that ssh would use for an alias, all files considered (`ssh -G`): option
    /// in lower case, its values.
    ///
    /// # Errors
    /// When ssh finds the configuration unreadable.
    pub fn ssh_effective(
        &self,
        alias: &str,
        run_as: Option<&Identity>,
    ) -> Result<BTreeMap<String, Vec<String>>> {
        let said = Command::new("ssh")
            .args(["-G", "--", alias])
            .run_as(run_as)
            .run()?;
        let mut options: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in said.stdout.lines() {
            if let Some((name, value)) = line.split_once(' ') {
                options
                    .entry(name.to_ascii_lowercase())
                    .or_default()
                    .push(value.to_owned());
            }
        }
        Ok(options)
    }

    /// The keys that a host shows to anyone who asks, ed25519 before ecdsa before rsa:
    /// ssh-keyscan prints them in the order in which the answers came.
    ///
    /// # Errors
    /// When it cannot be reached or shows none.
    pub fn scan_host_keys(&self, host: &str, port: u16) -> Result<Vec<HostKey>> {
        let said = Command::new("ssh-keyscan")
            .args([
                "-T",
                "10",
                "-p",
                &port.to_string(),
                "-t",
                "ed25519,ecdsa,rsa",
                "--",
                host,
            ])
            .deadline(Duration::from_secs(45))
            .outcome()?;
        let mut keys: Vec<HostKey> = said
            .stdout
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once(' '))
            .filter_map(|(_, key)| HostKey::parse(key).ok())
            .collect();
        keys.sort_by_key(|key| match key.algorithm() {
            "ssh-ed25519" => 0,
            "ssh-rsa" => 2,
            _ => 1,
        });
        if keys.is_empty() {
            let why = super::command::last_lines(
                &said
                    .stderr
                    .lines()
                    .filter(|l| !l.starts_with('#'))
                    .collect::<Vec<_>>()
                    .join("\n"),
                2,
            );
            let why = if why.is_empty() {
                "it did not answer as an ssh server".to_owned()
            } else {
                why
            };
            bail!("{host} port {port} showed no host key: {why}");
        }
        Ok(keys)
    }

    /// What a host says to somebody who asks for nothing, as that user. `options` count before ssh's files.
    ///
    /// # Errors
    /// When ssh cannot be started or does not end.
    pub fn ssh_greeting(
        &self,
        alias: &str,
        options: &[String],
        run_as: Option<&Identity>,
    ) -> Result<String> {
        let said = Command::new("ssh")
            .args(options.iter().flat_map(|option| ["-o", option]))
            .args(["-T", "--", alias])
            .run_as(run_as)
            .deadline(Duration::from_secs(30))
            .outcome()?;
        Ok(format!("{}\n{}", said.stdout, said.stderr))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";

    #[test]
    fn github_s_published_key_has_its_published_fingerprint() -> Result<()> {
        let url: crate::app::RepoUrl = "git@github.com:a/b.git".parse()?;
        let published = url.published_host_key().map(|f| f.to_string());
        assert_eq!(published, Some(HostKey::parse(KEY)?.fingerprint));
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
