//! Asks ssh-keygen about signatures, with the arguments that git passes (gpg-interface.c, verify_ssh_signed_buffer()),
//! and for the keys that `ssh_key` does not generate.

use std::path::Path;

use anyhow::{Context, Result, bail};
use chrono::{DateTime, Local};
use ssh_key::PrivateKey;
use zeroize::Zeroizing;

use super::command::DESCRIPTORS;
use super::{Command, Server, View};

/// The namespace that git signs in (gitformat-signature(5)).
const NAMESPACE: &str = "git";

/// A signature, and what decides beside the signed content.
#[derive(Debug, Clone, Copy)]
pub struct SshSignature<'a> {
    /// The armoured signature.
    pub armoured: &'a [u8],
    /// The text of the list of allowed signers.
    pub list: &'a str,
    /// When it was made, according to the commit or tag: in seconds since 1970 (UTC).
    pub time: i64,
}

/// What ssh-keygen prints if its exit status is 0, or else its reasons, with a colon before them if there are any.
pub type Answer = Result<String, String>;

impl SshSignature<'_> {
    /// The time as ssh-keygen reads it: in local time, like the list's, as versions before OpenSSH 9.1 know no other.
    /// Empty, which it refuses, if there is no such time.
    fn time(&self) -> String {
        DateTime::from_timestamp(self.time, 0).map_or_else(String::new, |time| {
            let time = time.with_timezone(&Local);
            time.format("%Y%m%d%H%M%S").to_string()
        })
    }
}

impl View {
    /// The principals that the list permits to use the key of a signature at that time, one per line. Whether the
    /// signature is valid is not checked.
    ///
    /// # Errors
    /// When ssh-keygen cannot be run, or ignores the time, as before OpenSSH 8.7.
    pub fn find_principals(&self, signature: &SshSignature<'_>) -> Result<Answer> {
        let find = |time: &str| {
            let command = self
                .ssh_keygen("find-principals", signature, time)?
                .arg("-f");
            answer(command.file(signature.list.as_bytes())?)
        };
        let found = find(&signature.time())?;
        if found.is_ok() && find("never")?.is_ok() {
            bail!("ssh-keygen is too old: signatures require OpenSSH 8.7");
        }
        Ok(found)
    }

    /// Verifies that a principal of the list signed this content.
    ///
    /// # Errors
    /// When ssh-keygen cannot be run.
    pub fn verify_signature(
        &self,
        signature: &SshSignature<'_>,
        content: &[u8],
        principal: &str,
    ) -> Result<Answer> {
        let command = self
            .ssh_keygen("verify", signature, &signature.time())?
            .args(["-n", NAMESPACE, "-I", principal, "-f"])
            .file(signature.list.as_bytes())?;
        answer(command.stdin(content)?)
    }

    /// Verifies that somebody signed this content; returns the fingerprint of the key.
    ///
    /// # Errors
    /// When ssh-keygen cannot be run.
    pub fn check_signature(&self, signature: &SshSignature<'_>, content: &[u8]) -> Result<Answer> {
        let command = self.ssh_keygen("check-novalidate", signature, &signature.time())?;
        let answer = answer(command.args(["-n", NAMESPACE]).stdin(content)?)?;
        // Good "git" signature with ED25519 key SHA256:…
        Ok(answer.map(|text| {
            text.trim()
                .rsplit(' ')
                .next()
                .unwrap_or_default()
                .to_owned()
        }))
    }

    fn ssh_keygen(
        &self,
        operation: &str,
        signature: &SshSignature<'_>,
        time: &str,
    ) -> Result<Command> {
        let command = self
            .command("ssh-keygen")
            .args(["-Y", operation])
            .arg(format!("-Overify-time={time}"))
            .arg("-s")
            .file(signature.armoured)?;
        // What is local time here must be so there.
        Ok(match std::env::var_os("TZ") {
            Some(zone) => command.env("TZ", zone),
            None => command,
        })
    }
}

impl Server {
    /// Generates an RSA key of 4096 bits, through a file at this path that only root can read and that is removed again.
    ///
    /// # Errors
    /// When ssh-keygen fails, or the file cannot be read or removed.
    pub fn generate_rsa_key(&self, staged: &Path, comment: &str) -> Result<PrivateKey> {
        let mut public = staged.as_os_str().to_owned();
        public.push(".pub");
        let public = Path::new(&public);
        // Left by a killed run; ssh-keygen would ask whether to overwrite it.
        self.remove_file(staged)?;
        self.remove_file(public)?;
        let mut command = self.command("ssh-keygen");
        command = command.args([
            "-q", "-t", "rsa", "-b", "4096", "-N", "", "-C", comment, "-f",
        ]);
        let run = command.arg(self.real(staged)).run();
        let text = self.read(staged)?.map(Zeroizing::new).unwrap_or_default();
        self.remove_file(staged)?;
        self.remove_file(public)?;
        run?;
        PrivateKey::from_openssh(text.as_slice())
            .map_err(anyhow::Error::msg)
            .context("ssh-keygen wrote no private key")
    }
}

fn answer(command: Command) -> Result<Answer> {
    let outcome = command.outcome()?;
    match outcome.code {
        Some(0) => return Ok(Ok(outcome.stdout)),
        Some(_) => {}
        None => bail!(outcome.failure()),
    }
    let mut reasons = String::new();
    for line in outcome.stderr.lines() {
        if line == "No principal matched." {
            continue;
        }
        reasons.push_str(if reasons.is_empty() { ": " } else { "; " });
        // Of these files, ssh-keygen names only the list.
        match line
            .strip_prefix(DESCRIPTORS)
            .and_then(|line| line.split_once(':'))
        {
            Some((_, line)) => reasons.extend(["line ", line]),
            None => reasons.push_str(line),
        }
    }
    Ok(Err(reasons))
}
