//! A git host like the public ones: one deploy key per repository, read-only by default, no shell access.

use std::ops::Deref;
use std::sync::Arc;

use anyhow::{Context, Result};

use super::tool::TESTS;
use super::{READY, Server};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    ReadOnly,
    ReadWrite,
}

impl Access {
    fn word(self) -> &'static str {
        match self {
            Self::ReadOnly => "ro",
            Self::ReadWrite => "rw",
        }
    }
}

/// `githost` on the LAN: `git@githost:acme/todo.git`.
pub struct GitHost {
    server: Arc<Server>,
}

impl Deref for GitHost {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl GitHost {
    pub(super) fn install(server: Server) -> Result<Self> {
        server.copy(
            &format!("{TESTS}/inside/repo-shell"),
            "/usr/local/bin/repo-shell",
        )?;
        server.script("git-host", &[])?.ok()?;
        Ok(Self::from_image(server))
    }

    /// From an image that is a git host already.
    pub(super) fn from_image(server: Server) -> Self {
        Self {
            server: Arc::new(server),
        }
    }

    /// Creates the bare repository `name` (`acme/todo`) whose branch main contains tests/server/project.
    pub fn repository(&self, name: &str) -> Result<Repository> {
        if name != READY {
            self.create_repository(name)?;
        }
        Ok(Repository {
            server: Arc::clone(&self.server),
            name: name.to_owned(),
        })
    }

    pub(super) fn create_repository(&self, name: &str) -> Result<()> {
        let work = format!("/home/git/work/{name}");
        self.copy(&format!("{TESTS}/project"), &work)?;
        self.run("chown -R git:git /home/git/work")?.ok()?;
        self.script_as("git", "repository", &[name])?.ok()?;
        Ok(())
    }

    /// Gives a public key (a line of `ssh-keygen`) access to one repository.
    pub fn allow_key(&self, repo: &Repository, public_key: &str, access: Access) -> Result<()> {
        let command = format!("/usr/local/bin/repo-shell {} {}", repo.name, access.word());
        let line = format!("command=\"{command}\",restrict {}", public_key.trim());
        self.run(&format!("echo '{line}' >>/home/git/.ssh/authorized_keys"))?
            .ok()?;
        Ok(())
    }

    /// Revokes the access of all keys.
    pub fn forget_keys(&self) -> Result<()> {
        self.run("truncate -s 0 /home/git/.ssh/authorized_keys")?
            .ok()?;
        Ok(())
    }

    /// The command line of an unattended init with defaults wherever possible, with `more`
    /// appended.
    pub fn init(&self, repo: &Repository, more: &str) -> Result<String> {
        Ok(format!(
            "pullpray init --yes --repo {} --host-key {} {more}",
            repo.url(),
            self.fingerprint()?
        ))
    }

    /// `SHA256:…` of the ed25519 host key.
    pub fn fingerprint(&self) -> Result<String> {
        let out = self
            .run("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")?
            .ok()?;
        let words: Vec<&str> = out.stdout.split(' ').collect();
        words
            .get(1)
            .map(|&word| word.to_owned())
            .context("ssh-keygen gave no fingerprint")
    }

    /// Replaces the host keys, as a reinstallation does.
    pub fn change_host_key(&self) -> Result<()> {
        let new = "for kind in ed25519 ecdsa; do rm -f /etc/ssh/ssh_host_${kind}_key*; \
                   ssh-keygen -q -t $kind -N '' -C '' -f /etc/ssh/ssh_host_${kind}_key; done; systemctl restart ssh";
        self.run(&format!("set -e; {new}"))?.ok()?;
        Ok(())
    }

    /// Makes sshd reject `GIT_PROTOCOL`, as old hosts do, so that git uses protocol version 0.
    pub fn without_protocol_v2(&self) -> Result<()> {
        self.run("sed -i '/^AcceptEnv/d' /etc/ssh/sshd_config /etc/ssh/sshd_config.d/git.conf; systemctl restart ssh")?
            .ok()?;
        Ok(())
    }

    /// Refuses new connections; existing ones continue.
    pub fn stop_sshd(&self) -> Result<()> {
        self.run("systemctl stop ssh")?.ok()?;
        Ok(())
    }

    pub fn start_sshd(&self) -> Result<()> {
        self.run("systemctl start ssh")?.ok()?;
        Ok(())
    }

    /// Requests so far, one per line: `acme/todo upload-pack version=2`.
    pub fn requests(&self) -> Result<Vec<String>> {
        Ok(self
            .read("/home/git/requests")?
            .lines()
            .map(str::to_owned)
            .collect())
    }

    pub fn forget_requests(&self) -> Result<()> {
        self.run("truncate -s 0 /home/git/requests")?.ok()?;
        Ok(())
    }
}

/// A repository and a developer's work tree.
pub struct Repository {
    server: Arc<Server>,
    name: String,
}

impl Repository {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `git@githost:acme/todo.git`
    pub fn url(&self) -> String {
        format!("git@githost:{}.git", self.name)
    }

    /// Pushes a version that shows on the page; returns its commit.
    pub fn push(&self, version: &str) -> Result<String> {
        self.commit(version, &[("VERSION", &format!("{version}\n"))])
    }

    /// Commits and pushes files (path in the repository, content); returns the commit.
    pub fn commit(&self, message: &str, files: &[(&str, &str)]) -> Result<String> {
        for (path, content) in files {
            self.server.write_as(
                "git",
                &format!("/home/git/work/{}/{path}", self.name),
                content,
            )?;
        }
        let out = self
            .server
            .script_as("git", "publish", &[&self.name, message])?
            .ok()?;
        Ok(out.stdout.trim().to_owned())
    }

    /// Runs shell commands in the work tree as the developer: `git rm -q x && git commit -qm y && git push -q`.
    pub fn run(&self, command: &str) -> Result<String> {
        let command = format!("set -e; cd /home/git/work/{}; {command}", self.name);
        Ok(self.server.run_as("git", &command)?.ok()?.stdout)
    }

    /// Removes the last commit with a force-push; returns the new tip.
    pub fn rewind(&self) -> Result<String> {
        self.run("git reset -q --hard HEAD~1; git push -q --force")?;
        self.tip()
    }

    pub fn tip(&self) -> Result<String> {
        Ok(self.run("git rev-parse HEAD")?.trim().to_owned())
    }
}
