//! A git host as the big ones are: one key a repository, read-only unless said otherwise, no shell.

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
    pub(super) fn on(server: Server) -> Result<Self> {
        server.copy(
            &format!("{TESTS}/inside/repo-shell"),
            "/usr/local/bin/repo-shell",
        )?;
        server.script("git-host", &[])?.ok()?;
        Ok(Self::ready(server))
    }

    /// From an image that is a git host already.
    pub(super) fn ready(server: Server) -> Self {
        Self {
            server: Arc::new(server),
        }
    }

    /// `name` is `acme/todo`: a bare repository whose branch main holds tests/server/project.
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

    /// Lets a public key (a line of `ssh-keygen`) into one repository.
    pub fn allow_key(&self, repo: &Repository, public_key: &str, access: Access) -> Result<()> {
        let command = format!("/usr/local/bin/repo-shell {} {}", repo.name, access.word());
        let line = format!("command=\"{command}\",restrict {}", public_key.trim());
        self.run(&format!("echo '{line}' >>/home/git/.ssh/authorized_keys"))?
            .ok()?;
        Ok(())
    }

    /// No key opens anything any more.
    pub fn forget_keys(&self) -> Result<()> {
        self.run("truncate -s 0 /home/git/.ssh/authorized_keys")?
            .ok()?;
        Ok(())
    }

    /// The command line of an unattended init that leaves everything it can to defaults; `more` is
    /// added to it.
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

    /// A host that was set up anew: other host keys from the next connection on.
    pub fn change_host_key(&self) -> Result<()> {
        let new = "for kind in ed25519 ecdsa; do rm -f /etc/ssh/ssh_host_${kind}_key*; \
                   ssh-keygen -q -t $kind -N '' -C '' -f /etc/ssh/ssh_host_${kind}_key; done; systemctl restart ssh";
        self.run(&format!("set -e; {new}"))?.ok()?;
        Ok(())
    }

    /// An old host: it does not let `GIT_PROTOCOL` through, so git speaks version 0.
    pub fn without_protocol_v2(&self) -> Result<()> {
        self.run("sed -i '/^AcceptEnv/d' /etc/ssh/sshd_config /etc/ssh/sshd_config.d/git.conf; systemctl restart ssh")?
            .ok()?;
        Ok(())
    }

    /// Connections are refused. Those that exist go on.
    pub fn stop_sshd(&self) -> Result<()> {
        self.run("systemctl stop ssh")?.ok()?;
        Ok(())
    }

    pub fn start_sshd(&self) -> Result<()> {
        self.run("systemctl start ssh")?.ok()?;
        Ok(())
    }

    /// What was asked by keys so far, a line each: `acme/todo upload-pack version=2`.
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

/// A repository and somebody's work tree of it, from which they push.
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

    /// A version that shows on the page; gives its commit.
    pub fn push(&self, version: &str) -> Result<String> {
        self.commit(version, &[("VERSION", &format!("{version}\n"))])
    }

    /// Files (path in the repository, content) in one commit, pushed; gives the commit.
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

    /// Shell commands in the work tree, as who pushes: `git rm -q x && git commit -qm y && git push -q`.
    pub fn run(&self, command: &str) -> Result<String> {
        let command = format!("set -e; cd /home/git/work/{}; {command}", self.name);
        Ok(self.server.run_as("git", &command)?.ok()?.stdout)
    }

    /// Takes the last commit back, as a force-push does; gives the commit that is the tip now.
    pub fn rewind(&self) -> Result<String> {
        self.run("git reset -q --hard HEAD~1; git push -q --force")?;
        self.tip()
    }

    pub fn tip(&self) -> Result<String> {
        Ok(self.run("git rev-parse HEAD")?.trim().to_owned())
    }
}
