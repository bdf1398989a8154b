//! A git host in a temporary directory.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use git2::Oid;

use crate::git::SshRemote;

/// Fake ssh: runs the command with a shell, as sshd does.
pub(super) const RUN: &str = "for last; do :; done\nexec sh -c \"$last\"\n";
/// The same, for a host that does not accept `GIT_PROTOCOL`.
pub(super) const RUN_V0: &str = "unset GIT_PROTOCOL\nfor last; do :; done\nexec sh -c \"$last\"\n";

/// A repository with a working directory (`work`), its bare copy on the host (`repo.git`), and a fake ssh.
pub(super) struct Host {
    pub(super) dir: tempfile::TempDir,
}

impl Host {
    /// Creates a host with one commit on `main`.
    pub(super) fn new() -> Result<Self> {
        let host = Self {
            dir: tempfile::tempdir()?,
        };
        host.git(".", &["init", "-q", "--bare", "-b", "main", "repo.git"])?;
        host.git(".", &["init", "-q", "-b", "main", "work"])?;
        host.git("work", &["remote", "add", "origin", "../repo.git"])?;
        host.commit("README", "one")?;
        host.script(RUN)?;
        Ok(host)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn git(&self, at: &str, args: &[&str]) -> Result<String> {
        let output = Command::new("git")
            .args(args)
            .current_dir(self.path(at))
            .env_clear()
            .env("PATH", env::var("PATH")?)
            .env("HOME", self.dir.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .envs([
                ("GIT_AUTHOR_NAME", "Ann"),
                ("GIT_AUTHOR_EMAIL", "ann@example.org"),
            ])
            .envs([
                ("GIT_COMMITTER_NAME", "Ann"),
                ("GIT_COMMITTER_EMAIL", "ann@example.org"),
            ])
            .env("GIT_AUTHOR_DATE", "1700000000 +0000")
            .env("GIT_COMMITTER_DATE", "1700000000 +0000")
            .output()?;
        ensure!(
            output.status.success(),
            "git {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    pub(super) fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.path("work").join(name);
        fs::create_dir_all(path.parent().context("no parent")?)?;
        Ok(fs::write(path, content)?)
    }

    /// Commits everything and pushes it.
    pub(super) fn push(&self, message: &str) -> Result<Oid> {
        self.git("work", &["add", "-A"])?;
        self.git("work", &["commit", "-q", "--allow-empty", "-m", message])?;
        self.git("work", &["push", "-q", "--force", "origin", "HEAD:main"])?;
        Ok(Oid::from_str(&self.git("work", &["rev-parse", "HEAD"])?)?)
    }

    pub(super) fn commit(&self, file: &str, content: &str) -> Result<Oid> {
        self.write(file, content.as_bytes())?;
        self.push(content)
    }

    /// Writes the fake ssh.
    pub(super) fn script(&self, body: &str) -> Result<()> {
        // Written by another process: if this one had it open for writing, a child that another test is forking could
        // still have it open, and exec would fail with "text file busy".
        let mut install = Command::new("install")
            .args(["-m", "755", "/dev/stdin"])
            .arg(self.path("ssh"))
            .stdin(Stdio::piped())
            .spawn()?;
        let mut stdin = install.stdin.take().context("no stdin")?;
        stdin.write_all(format!("#!/bin/sh\n{body}").as_bytes())?;
        drop(stdin);
        ensure!(install.wait()?.success(), "failed to write the fake ssh");
        Ok(())
    }

    pub(super) fn remote(&self) -> SshRemote {
        SshRemote {
            host: "host-repo-app".into(),
            path: self.path("repo.git").display().to_string(),
            run_as: None,
            ssh: self.path("ssh"),
            options: Vec::new(),
            proxy: None,
            idle: Duration::from_secs(20),
            whole: super::super::QUERY_TIMEOUT,
            most: super::super::MAX_QUERY_BYTES,
            preempted_by: None,
        }
    }

    pub(super) fn remote_at(&self, path: &Path) -> SshRemote {
        SshRemote {
            path: path.display().to_string(),
            ..self.remote()
        }
    }

    pub(super) fn impatient(&self) -> SshRemote {
        SshRemote {
            idle: Duration::from_millis(300),
            ..self.remote()
        }
    }
}

/// Bytes that cannot be compressed.
pub(super) fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// Whether this process exits within five seconds.
pub(super) fn is_dead(pid: &str) -> bool {
    let stat = format!("/proc/{}/stat", pid.trim());
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(5) {
        if !fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}
