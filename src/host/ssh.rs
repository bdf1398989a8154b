//! The effective configuration of the ssh client, and the host keys of git hosts.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ssh_key::{HashAlg, PublicKey};

use super::{Identity, View};

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
        let output = self
            .command("ssh")
            .args(["-G", "--", alias])
            .run_as(run_as)
            .run()?;
        let mut options: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in output.stdout.lines() {
            if let Some((name, value)) = line.split_once(' ') {
                options
                    .entry(name.to_ascii_lowercase())
                    .or_default()
                    .push(value.to_owned());
            }
        }
        Ok(options)
    }

    /// Returns a host's public keys, ed25519 before ecdsa before rsa (ssh-keyscan prints them in the order of
    /// arrival).
    ///
    /// # Errors
    /// When the host cannot be reached or sends no key.
    pub fn scan_host_keys(&self, host: &str, port: u16) -> Result<Vec<HostKey>> {
        let output = self
            .command("ssh-keyscan")
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
        let mut keys: Vec<HostKey> = output
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
                &output
                    .stderr
                    .lines()
                    .filter(|l| !l.starts_with('#'))
                    .collect::<Vec<_>>()
                    .join("\n"),
                2,
            );
            let why = if why.is_empty() {
                String::new()
            } else {
                format!(": {why}")
            };
            bail!("no SSH server answered on {host} port {port}{why}");
        }
        Ok(keys)
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
    fn the_published_key_of_github_has_its_published_fingerprint() -> Result<()> {
        let url: crate::app::RepoUrl = "git@github.com:a/b.git".parse()?;
        let published = url.published_host_key().map(|f| f.to_string());
        assert_eq!(published, Some(HostKey::parse(KEY)?.fingerprint));
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
