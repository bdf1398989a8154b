//! A repository with keys beside it, signed by git and ssh-keygen themselves.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use git2::Oid;

use super::super::*;
use crate::host::Server;

/// The time of all commits: 2023-11-14 22:13:20 UTC.
pub(super) const THEN: &str = "1700000000 +0000";

/// A repository, with signing keys beside it.
pub(super) struct Repo {
    pub(super) dir: tempfile::TempDir,
}

impl Repo {
    pub(super) fn new() -> Result<Self> {
        let repo = Self {
            dir: tempfile::tempdir()?,
        };
        fs::create_dir_all(repo.path("root/usr/bin"))?;
        symlink("/usr/bin/ssh-keygen", repo.path("root/usr/bin/ssh-keygen"))?;
        repo.run("git", &["init", "-q", "-b", "main", "work"], "")?;
        repo.git(&["commit", "-q", "--allow-empty", "-m", "unsigned"])?;
        Ok(repo)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn run(&self, program: &str, arguments: &[&str], input: &str) -> Result<String> {
        let file = self.path("input");
        fs::write(&file, input)?;
        let output = Command::new(program)
            .args(arguments)
            .current_dir(self.dir.path())
            .stdin(Stdio::from(fs::File::open(&file)?))
            .env_clear()
            .env("PATH", std::env::var("PATH")?)
            .envs(std::env::var_os("TZ").map(|zone| ("TZ", zone)))
            .env("HOME", self.dir.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "Ann")))
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "ann@x")))
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_DATE"), THEN)))
            .output()?;
        ensure!(
            output.status.success(),
            "{program} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    pub(super) fn git(&self, arguments: &[&str]) -> Result<String> {
        let arguments = [&["-C", "work"], arguments].concat();
        Ok(self.run("git", &arguments, "")?.trim().to_owned())
    }

    /// Creates a key; returns its public half.
    pub(super) fn key(&self, name: &str, kind: &str, bits: &str) -> Result<String> {
        let options = ["-q", "-N", "", "-C", "", "-t", kind, "-b", bits, "-f", name];
        self.run("ssh-keygen", &options, "")?;
        let public = fs::read_to_string(self.path(&format!("{name}.pub")))?;
        Ok(public.trim().to_owned())
    }

    pub(super) fn with_key(&self, key: &str, arguments: &[&str]) -> Result<String> {
        let key = format!("user.signingkey={}", self.path(key).display());
        self.git(&[&["-c", "gpg.format=ssh", "-c", &key], arguments].concat())
    }

    pub(super) fn id(&self, name: &str) -> Result<Oid> {
        Ok(Oid::from_str(&self.git(&["rev-parse", name])?)?)
    }

    /// Creates a commit signed with this key.
    pub(super) fn signed(&self, key: &str) -> Result<Oid> {
        self.with_key(
            key,
            &[
                "commit",
                "-q",
                "-S",
                "--allow-empty",
                "-m",
                "signed\n\nbody",
            ],
        )?;
        self.id("HEAD")
    }

    /// Writes an object from its raw text.
    pub(super) fn object(&self, kind: &str, text: &str) -> Result<Oid> {
        let arguments = [
            "-C",
            "work",
            "hash-object",
            "--literally",
            "-t",
            kind,
            "-w",
            "--stdin",
        ];
        Ok(Oid::from_str(self.run("git", &arguments, text)?.trim())?)
    }

    /// Writes a copy of HEAD with this signature.
    pub(super) fn armoured(&self, signature: &str) -> Result<Oid> {
        let (head, message) = self.parts()?;
        self.object_of(&head, &message, signature)
    }

    /// Writes a commit of these parts.
    pub(super) fn object_of(&self, head: &str, message: &str, signature: &str) -> Result<Oid> {
        let folded = signature.trim_end().replace('\n', "\n ");
        self.object("commit", &format!("{head}\ngpgsig {folded}\n\n{message}"))
    }

    /// What a signature of HEAD covers.
    pub(super) fn payload(&self) -> Result<String> {
        let (head, message) = self.parts()?;
        Ok(format!("{head}\n\n{message}"))
    }

    /// Signs a text with a key or certificate.
    pub(super) fn sign(&self, key: &str, options: &[&str], text: &str) -> Result<String> {
        let arguments = [&["-q", "-Y", "sign", "-f", key], options].concat();
        self.run("ssh-keygen", &arguments, text)
    }

    /// The header and message of HEAD, which is not signed.
    pub(super) fn parts(&self) -> Result<(String, String)> {
        let text = self.run("git", &["-C", "work", "cat-file", "commit", "HEAD"], "")?;
        let (head, message) = text.split_once("\n\n").context("no message")?;
        Ok((head.to_owned(), message.to_owned()))
    }

    pub(super) fn signed_object(
        &self,
        commit: Oid,
        object: Oid,
        name: &str,
    ) -> Result<SignedObject> {
        let mirror = Mirror::open_or_init(&self.path("work/.git"))?;
        Ok(SignedObject::read(&mirror, commit, object, name)?)
    }

    /// The server whose ssh-keygen is asked.
    pub(super) fn server(&self) -> Server {
        Server::at(&self.path("root"))
    }

    pub(super) fn verified(&self, commit: Oid, list: &str) -> Result<Signature> {
        self.verified_tag(commit, commit, "main", list)
    }

    pub(super) fn verified_tag(
        &self,
        commit: Oid,
        object: Oid,
        name: &str,
        list: &str,
    ) -> Result<Signature> {
        let signers = Signers {
            ssh: list.to_owned(),
            ..Signers::default()
        };
        let object = self.signed_object(commit, object, name)?;
        verify(&self.server(), &object, &signers)
    }

    /// Whether git accepts the same object with the same list.
    pub(super) fn git_trusts(&self, verb: &str, object: Oid, list: &str) -> Result<bool> {
        fs::write(self.path("list"), list)?;
        let file = format!("gpg.ssh.allowedSignersFile={}", self.path("list").display());
        let object = object.to_string();
        Ok(self.git(&["-c", &file, verb, &object]).is_ok())
    }
}

pub(super) fn trusted(who: &str) -> Signature {
    Signature::Trusted(who.to_owned())
}

#[track_caller]
pub(super) fn refused(signature: &Signature, words: &str) {
    assert!(
        matches!(signature, Signature::Refused(why) if why.contains(words)),
        "{words:?} is missing: {signature:?}"
    );
}
