//! OpenPGP signatures by the real gpg, judged by pullpray, and by git with a GNUPGHOME of the same keys: git's verdict is
//! the expected one.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use anyhow::{Context, Result};
use git2::Oid;

use super::repository::{Repo, refused, trusted};
use super::*;

mod files;
mod table;

/// When keys are made, and when they sign.
const MADE: &str = "20220101T000000";
const SIGNED: &str = "20230301T000000";

/// A repository, with gpg's home directory beside it.
struct Lab {
    repo: Repo,
}

impl Drop for Lab {
    fn drop(&mut self) {
        for home in [".gnupg", "judge"] {
            let arguments = ["--homedir", home, "--kill", "all"];
            drop(self.repo.run("gpgconf", &arguments, ""));
        }
    }
}

impl Lab {
    fn new() -> Result<Self> {
        let lab = Self { repo: Repo::new()? };
        symlink("/usr/bin/gpgv", lab.repo.path("root/usr/bin/gpgv"))?;
        // git asks a gpg that knows the keys of the keyring only.
        let home = lab.repo.path("judge");
        fs::create_dir(&home)?;
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700))?;
        let judge = format!("#!/bin/sh\nexec gpg --homedir {} \"$@\"\n", home.display());
        lab.program("judge.sh", &judge)?;
        Ok(lab)
    }

    fn program(&self, path: &str, text: &str) -> Result<()> {
        let path = self.repo.path(path);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    /// Runs gpg with the signers' keys, as if it were that time.
    fn gpg(&self, time: &str, arguments: &[&str], input: &str) -> Result<String> {
        let time = ["-q", "--batch", "--yes", "--faked-system-time", time];
        let secret = ["--pinentry-mode", "loopback", "--passphrase", ""];
        let arguments = [&time[..], &secret, arguments].concat();
        self.repo.run("gpg", &arguments, input)
    }

    /// Answers its questions.
    fn converse(&self, arguments: &[&str], answers: &str) -> Result<String> {
        let options = ["-q", "--no-tty", "--status-fd", "2", "--command-fd", "0"];
        let secret = ["--pinentry-mode", "loopback", "--passphrase", ""];
        let arguments = [&options[..], &secret, arguments].concat();
        self.repo.run("gpg", &arguments, answers)
    }

    /// Creates a key in 2022; returns its fingerprint.
    fn key(&self, name: &str, algorithm: &str, usage: &str, expires: &str) -> Result<String> {
        let arguments = ["--quick-generate-key", name, algorithm, usage, expires];
        self.gpg(MADE, &arguments, "")?;
        let keys = self.gpg(SIGNED, &["--with-colons", "--list-keys", name], "")?;
        let line = keys.lines().find(|line| line.starts_with("fpr:"));
        let line = line.context("no key")?.trim_matches(':');
        Ok(line.rsplit(':').next().context("no key")?.to_owned())
    }

    /// Signs what a signature of HEAD covers, in 2023.
    fn sign(&self, options: &[&str]) -> Result<String> {
        let arguments = [&["--armor"], options].concat();
        self.gpg(SIGNED, &arguments, &self.repo.payload()?)
    }

    /// A detached signature by this key.
    fn detached(&self, key: &str) -> Result<String> {
        self.sign(&["-b", "-u", key])
    }

    /// The keyring of these keys.
    fn export(&self, keys: &[&str]) -> Result<Vec<u8>> {
        let arguments = [&["--output", "exported", "--export"], keys].concat();
        self.gpg(SIGNED, &arguments, "")?;
        Ok(fs::read(self.repo.path("exported"))?)
    }

    /// Whether git accepts an object with these keys only.
    fn git_trusts(&self, verb: &str, object: Oid, keyring: &[u8]) -> Result<bool> {
        for file in ["judge/pubring.kbx", "judge/trustdb.gpg"] {
            drop(fs::remove_file(self.repo.path(file)));
        }
        fs::write(self.repo.path("keyring"), keyring)?;
        let import = ["-q", "--batch", "--import", "keyring"];
        self.repo.run("./judge.sh", &import, "")?;
        let program = format!("gpg.program={}", self.repo.path("judge.sh").display());
        let object = object.to_string();
        Ok(self.repo.git(&["-c", &program, verb, &object]).is_ok())
    }

    fn verified(&self, commit: Oid, tag: Oid, name: &str, keyring: &[u8]) -> Result<Signature> {
        let signers = Signers {
            openpgp: vec![keyring.to_owned()],
            ..Signers::default()
        };
        let object = self.repo.signed_object(commit, tag, name)?;
        verify(&self.repo.server(), &object, &signers)
    }
}

#[test]
fn openpgp_signs_tags_too() -> Result<()> {
    let lab = Lab::new()?;
    let key = lab.key("ann@x", "ed25519", "default", "never")?;
    lab.key("eve@x", "ed25519", "default", "never")?;
    let ann = trusted(&format!("ann@x, OpenPGP key {key}"));
    let (ring, eves) = (lab.export(&["ann@x"])?, lab.export(&["eve@x"])?);
    let head = lab.repo.id("HEAD")?;
    lab.repo
        .git(&["tag", "-s", "-u", "ann@x", "-m", "of\n\nthis", "v1"])?;
    let tag = lab.repo.id("v1")?;
    assert_eq!(lab.verified(head, tag, "v1", &ring)?, ann);
    assert!(lab.git_trusts("verify-tag", tag, &ring)?);
    refused(
        &lab.verified(head, tag, "v1", &eves)?,
        "the tag v1 has no OpenPGP signature that the keyrings of signed_by permit: ",
    );
    refused(
        &lab.verified(head, tag, "v2", &ring)?,
        "the tag v2 is signed as \"v1\"",
    );
    Ok(())
}

#[test]
fn only_a_good_gpgv_is_believed() -> Result<()> {
    let lab = Lab::new()?;
    lab.key("ann@x", "ed25519", "default", "never")?;
    let commit = lab.repo.armoured(&lab.detached("ann@x")?)?;
    let ring = lab.export(&["ann@x"])?;
    let verified = || lab.verified(commit, commit, "main", &ring);
    let path = "root/usr/bin/gpgv";
    fs::remove_file(lab.repo.path(path))?;
    let error = verified().err().context("accepted")?;
    assert_eq!(
        format!("{error:#}"),
        "gpgv is not installed, which verifies OpenPGP signatures: sudo apt-get install gpgv"
    );
    lab.program(path, "#!/bin/sh\nkill -KILL $$\n")?;
    let error = verified().err().context("accepted")?;
    assert!(format!("{error:#}").contains("SIGKILL"), "{error:#}");

    let (good, valid) = (
        "[GNUPG:] GOODSIG 1 ann@x",
        "[GNUPG:] VALIDSIG A 2023-03-01 1 0 4 0 22 8 00 B",
    );
    let says = |status: &str, exit: u8| {
        let script = format!("#!/bin/sh\ncat <<'END'\n{status}\nEND\nexit {exit}\n");
        lab.program(path, &script)?;
        verified()
    };
    let both = format!("{good}\n{valid}");
    assert_eq!(says(&both, 0)?, trusted("ann@x, OpenPGP key B"));
    for (status, exit) in [
        (&*both, 1),
        ("", 0),
        (good, 0),
        (valid, 0),
        (&both.replace("GOOD", "EXPKEY"), 0),
        (&both.replace("GOOD", "NEW"), 0),
        (&both.replace("[GNUPG:] ", ""), 0),
        (&both.replace(" 00 B", ""), 0),
        (&both.replace(" 22 8 ", " 22 2 "), 0),
        (&format!("{both}\n[GNUPG:] REVKEYSIG 2 eve"), 0),
    ] {
        refused(&says(status, exit)?, "has no OpenPGP signature");
    }
    Ok(())
}
