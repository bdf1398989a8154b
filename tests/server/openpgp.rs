//! Merges by a git host's button, which sign with the host's OpenPGP key.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::faults::{deploys, poll_is_silent};
use crate::lab::{GitHost, Lab, Release, Repository, Todo};

/// Keys of gpg on this machine.
struct Keys(tempfile::TempDir);

impl Drop for Keys {
    fn drop(&mut self) {
        let kill = ["--kill", "all"];
        drop(
            Command::new("gpgconf")
                .env("GNUPGHOME", self.0.path())
                .args(kill)
                .status(),
        );
    }
}

impl Keys {
    fn new() -> Result<Self> {
        let keys = Self(tempfile::tempdir()?);
        for user in ["GitHub <noreply@github.com>", "Eve <eve@example.org>"] {
            keys.gpg(&["--quick-generate-key", user, "rsa2048"], "")?;
        }
        Ok(keys)
    }

    fn gpg(&self, arguments: &[&str], input: &str) -> Result<String> {
        let file = self.0.path().join("input");
        fs::write(&file, input)?;
        let output = Command::new("gpg")
            .args(["-q", "--batch", "--pinentry-mode", "loopback"])
            .args(["--passphrase", "", "--armor"])
            .args(arguments)
            .env("GNUPGHOME", self.0.path())
            .stdin(Stdio::from(fs::File::open(&file)?))
            .output()?;
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "gpg {arguments:?}: {words}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Pushes a merge of a branch, signed with this key: in the form that GitHub gives its commits.
    fn merge(&self, host: &GitHost, repo: &Repository, key: &str, version: &str) -> Result<()> {
        repo.run(&format!(
            "git checkout -q -b side; echo '{version}' >VERSION; git commit -q -a -m side; git checkout -q main; \
             git -c user.name=GitHub -c user.email=noreply@github.com merge -q --no-ff -m '{version}' side; \
             git branch -q -D side"
        ))?;
        let payload = repo.run("git cat-file commit HEAD")?;
        let signature = self.gpg(&["-b", "-u", key], &payload)?;
        let (head, message) = payload.split_once("\n\n").context("no message")?;
        let signature = signature.replace('\n', "\n ");
        let object = format!("{head}\ngpgsig {signature}\n\n{message}");
        host.write("/tmp/object", &object)?;
        repo.run("git reset -q --hard $(git hash-object -w -t commit /tmp/object); git push -q")?;
        Ok(())
    }
}

/// Deploys merges of the host and commits of a developer, and refuses those of others. gpgv is installed.
fn only_the_host_and_developers_deploy(todo: &Todo) -> Result<()> {
    let Todo { host, repo, web } = todo;
    let keys = Keys::new()?;
    let ring = keys.gpg(&["--export", "noreply@github.com"], "")?;
    web.write("/etc/pullpray/github.gpg", &ring)?;
    let key =
        repo.run("ssh-keygen -q -t ed25519 -N '' -f /home/git/signing; cat /home/git/signing.pub")?;
    web.write("/etc/pullpray/todo.signers", &format!("ann {key}"))?;
    let files = "[\"/etc/pullpray/todo.signers\", \"/etc/pullpray/github.gpg\"]";
    web.run(&format!(
        "echo 'signed_by = {files}' >>/etc/pullpray/todo.toml"
    ))?
    .ok()?;
    poll_is_silent(web)?;

    let missing = "gpgv is not installed, which verifies OpenPGP signatures";
    web.run("mv /usr/bin/gpgv /usr/bin/gpgv.away")?.ok()?;
    web.run("pullpray doctor todo")?
        .exits(1)?
        .says(missing)?
        .says("sudo apt-get install gpgv")?;
    keys.merge(host, repo, "noreply@github.com", "version two")?;
    web.run("pullpray poll todo")?.exits(1)?.says(missing)?;
    web.run("mv /usr/bin/gpgv.away /usr/bin/gpgv")?.ok()?;
    deploys(web, "version two")?;
    web.run("pullpray doctor todo")?.ok()?;

    // The account's own keyring does not count.
    let foreign = keys.gpg(&["--export", "eve@example.org"], "")?;
    web.write("/tmp/eve.asc", &foreign)?;
    let home = "$(getent passwd gunicorn | cut -d: -f6)/.gnupg";
    web.run(&format!(
        "install -d -o gunicorn {home} && sed -n '/^$/,/^=/{{/^=/!p}}' /tmp/eve.asc | base64 -d >{home}/trustedkeys.gpg && chmod a+r {home}/trustedkeys.gpg"
    ))?
    .ok()?;
    keys.merge(host, repo, "eve@example.org", "version evil")?;
    web.run("pullpray poll todo")?
        .exits(1)?
        .says("the commit has no OpenPGP signature that the keyrings of signed_by permit: ")?
        .says("No public key")?
        .says("who may sign: /etc/pullpray/todo.signers, /etc/pullpray/github.gpg")?;
    poll_is_silent(web)?;

    let ssh = "-c gpg.format=ssh -c user.signingkey=/home/git/signing.pub";
    repo.run(&format!(
        "echo 'version three' >VERSION; git {ssh} commit -q -S -a -m 'version three'; git push -q"
    ))?;
    deploys(web, "version three")?;
    poll_is_silent(web)?;
    keys.merge(host, repo, "noreply@github.com", "version four")?;
    deploys(web, "version four")?;
    poll_is_silent(web)
}

#[test]
fn merges_that_the_host_signed_go_live() -> Result<()> {
    let lab = Lab::new("merges")?;
    only_the_host_and_developers_deploy(&Todo::live(&lab, Release::Bookworm)?)
}

#[test]
fn merges_that_the_host_signed_go_live_on_debian_13_with_gpgv() -> Result<()> {
    let lab = Lab::new("merges13")?;
    let todo = Todo::with_packages(&lab, Release::Trixie, "+gpgv")?;
    todo.make_live()?;
    only_the_host_and_developers_deploy(&todo)
}
