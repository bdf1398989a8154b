//! Signatures by the real git and ssh-keygen, compared with the verdict of git itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};

use super::*;
use crate::host::effective_uid;

mod openpgp;
mod repository;
mod table;

use repository::{Repo, refused, trusted};

const ALTERED: &str =
    "has an invalid signature: Signature verification failed: incorrect signature";

#[test]
fn every_kind_of_key_signs_commits_and_tags() -> Result<()> {
    let repo = Repo::new()?;
    let stranger = repo.key("stranger", "ed25519", "256")?;
    for (kind, bits) in [
        ("ed25519", "256"),
        ("ecdsa", "256"),
        ("ecdsa", "384"),
        ("ecdsa", "521"),
        ("rsa", "3072"),
    ] {
        let name = format!("{kind}{bits}");
        let list = format!("ann@x {}", repo.key(&name, kind, bits)?);
        let commit = repo.signed(&name)?;
        assert_eq!(repo.verified(commit, &list)?, trusted("ann@x"), "{name}");
        assert!(repo.git_trusts("verify-commit", commit, &list)?, "{name}");

        let other = format!("bob {stranger}");
        refused(
            &repo.verified(commit, &other)?,
            "is signed with the key SHA256:",
        );
        assert!(!repo.git_trusts("verify-commit", commit, &other)?);

        let tag = format!("v-{name}");
        repo.with_key(&name, &["tag", "-s", "-m", "of\n\nthis", &tag])?;
        let object = repo.id(&tag)?;
        let signature = repo.verified_tag(commit, object, &tag, &list)?;
        assert_eq!(signature, trusted("ann@x"), "{name}");
        assert!(repo.git_trusts("verify-tag", object, &list)?, "{name}");
    }
    Ok(())
}

#[test]
fn every_other_signature_is_refused_with_its_own_reason() -> Result<()> {
    let repo = Repo::new()?;
    let list = format!("ann@x {}", repo.key("ann", "ed25519", "256")?);
    let refuses = |commit, words: &str| -> Result<()> {
        refused(&repo.verified(commit, &list)?, words);
        assert!(
            !repo.git_trusts("verify-commit", commit, &list)?,
            "git trusts it: {words}"
        );
        Ok(())
    };
    let unsigned = repo.id("HEAD")?;
    refuses(unsigned, "the commit is not signed")?;
    for (mark, words) in [
        ("PGP SIGNATURE", "is signed with OpenPGP"),
        ("PGP MESSAGE", "is signed with OpenPGP"),
        ("SIGNED MESSAGE", "is signed with X.509"),
        (
            "SSH SIGNATURE",
            "has an invalid signature: Couldn't verify signature: invalid format",
        ),
        (
            "WEDDING",
            "has an invalid signature: Couldn't parse signature: missing header",
        ),
    ] {
        let text = format!("-----BEGIN {mark}-----\nU1NIU0lH\n-----END {mark}-----");
        refuses(repo.armoured(&text)?, words)?;
    }

    // The same payload, signed by the right key for another namespace.
    let (head, message) = repo.parts()?;
    let sign = |namespace: &str, payload: &str| {
        let arguments = ["-q", "-Y", "sign", "-f", "ann", "-n", namespace];
        repo.run("ssh-keygen", &arguments, payload)
    };
    let payload = format!("{head}\n\n{message}");
    let good = repo.armoured(&sign("git", &payload)?)?;
    assert_eq!(repo.verified(good, &list)?, trusted("ann@x"));
    assert!(repo.git_trusts("verify-commit", good, &list)?);
    refuses(
        repo.armoured(&sign("file", &payload)?)?,
        "has an invalid signature: Couldn't verify signature: namespace does not match",
    )?;
    refuses(
        repo.armoured(&sign("git", &format!("{payload}x"))?)?,
        ALTERED,
    )?;

    // A signed commit whose message somebody changed.
    let signed = repo.signed("ann")?.to_string();
    let text = repo.run("git", &["-C", "work", "cat-file", "commit", &signed], "")?;
    let altered = repo.object("commit", &text.replace("body", "evil"))?;
    refuses(altered, ALTERED)?;
    let parent = text.replace("author Ann", "author Eve");
    refuses(repo.object("commit", &parent)?, ALTERED)?;
    // A signature that was moved into the message.
    let (header, signature) = text.split_once("gpgsig ").context("not signed")?;
    let (signature, message) = signature.split_once("\n\n").context("no message")?;
    let moved = format!("{header}\n{message}\ngpgsig {signature}\n");
    refuses(repo.object("commit", &moved)?, "the commit is not signed")?;
    Ok(())
}

#[test]
fn a_signed_tag_takes_precedence_and_must_keep_its_name() -> Result<()> {
    let repo = Repo::new()?;
    let list = format!("ann@x {}", repo.key("ann", "ed25519", "256")?);
    repo.key("eve", "ed25519", "256")?;
    let verified = |commit: &str, tag: &str, name: &str| {
        repo.verified_tag(repo.id(commit)?, repo.id(tag)?, name, &list)
    };
    // Tags of an unsigned commit.
    repo.with_key("ann", &["tag", "-s", "-m", "t", "v1.0.0"])?;
    repo.git(&["tag", "-a", "-m", "t", "v1.0.1"])?;
    repo.git(&["tag", "v1.0.2"])?;
    assert_eq!(verified("HEAD", "v1.0.0", "v1.0.0")?, trusted("ann@x"));
    refused(
        &verified("HEAD", "v1.0.1", "v1.0.1")?,
        "the tag v1.0.1 is not signed, and the commit is not signed",
    );
    refused(
        &verified("HEAD", "v1.0.2", "v1.0.2")?,
        "the commit is not signed",
    );
    // An old tag under a new name.
    refused(
        &verified("HEAD", "v1.0.0", "v9.0.0")?,
        "the tag v9.0.0 is signed as \"v1.0.0\"",
    );
    // An unsigned tag of the signed tag.
    repo.git(&["tag", "-a", "-m", "t", "v1.0.3", "v1.0.0"])?;
    refused(
        &verified("HEAD", "v1.0.3", "v1.0.3")?,
        "the tag v1.0.3 is not signed",
    );

    repo.signed("ann")?;
    repo.git(&["tag", "-a", "-m", "t", "v2.0.0"])?;
    repo.git(&["tag", "v2.0.1"])?;
    repo.with_key("eve", &["tag", "-s", "-m", "t", "v2.0.2"])?;
    assert_eq!(verified("HEAD", "v2.0.0", "v2.0.0")?, trusted("ann@x"));
    assert_eq!(verified("HEAD", "v2.0.1", "v2.0.1")?, trusted("ann@x"));
    refused(
        &verified("HEAD", "v2.0.2", "v2.0.2")?,
        "the tag v2.0.2 is signed with the key SHA256:",
    );
    // A signed tag that was moved to another commit.
    let text = repo.run("git", &["-C", "work", "cat-file", "tag", "v1.0.0"], "")?;
    let moved = text.replace(
        &repo.id("HEAD~1")?.to_string(),
        &repo.id("HEAD")?.to_string(),
    );
    assert_ne!(moved, text);
    let moved = repo.object("tag", &moved)?;
    refused(
        &repo.verified_tag(repo.id("HEAD")?, moved, "v1.0.0", &list)?,
        &format!("the tag v1.0.0 {ALTERED}"),
    );
    Ok(())
}

#[test]
fn a_list_that_others_can_modify_accepts_nothing() -> Result<()> {
    let repo = Repo::new()?;
    let key = repo.key("ann", "ed25519", "256")?;
    let server = repo.server();
    fs::create_dir_all(repo.path("root/etc/pullpray"))?;
    let (list, file) = (
        ["/etc/pullpray/todo.signers".parse()?],
        repo.path("root/etc/pullpray/todo.signers"),
    );
    let read = || Trust::read(&server, &list);
    let mode = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode));
    assert!(matches!(Trust::read(&server, &[]), Trust::Anybody));
    refused(&read().preliminary(), "is missing");
    fs::write(&file, format!("ann {key}\n"))?;
    mode(0o664)?;
    refused(
        &read().preliminary(),
        "not only root can modify /etc/pullpray/todo.signers: sudo chown root",
    );
    // The judgement needs nothing fetched then.
    assert!(matches!(
        read().verify(&server, || anyhow::bail!("was read"))?,
        Signature::Refused(_)
    ));
    mode(0o644)?;
    if effective_uid() != 0 {
        refused(&read().preliminary(), "not only root can modify");
        return Ok(());
    }
    let before = read().text().to_owned();
    let commit = repo.signed("ann")?;
    let signature = read().verify(&server, || repo.signed_object(commit, commit, "main"))?;
    assert_eq!(signature, trusted("ann"));
    let signature = Trust::Anybody.verify(&server, || anyhow::bail!("was read"))?;
    assert_eq!(signature, Signature::NotChecked);

    fs::write(&file, format!("ann {key}\n# changed\n"))?;
    assert_ne!(read().text(), before);

    fs::write(&file, b"ann \xff\n")?;
    refused(
        &read().preliminary(),
        "is neither a list of allowed signers nor an OpenPGP keyring",
    );
    fs::remove_file(&file)?;
    fs::create_dir(&file)?;
    refused(&read().preliminary(), "is not a regular file");
    fs::set_permissions(
        repo.path("root/etc/pullpray"),
        fs::Permissions::from_mode(0o777),
    )?;
    refused(
        &read().preliminary(),
        "can modify /etc/pullpray: sudo chown",
    );
    Ok(())
}

#[test]
fn only_a_good_ssh_keygen_is_believed() -> Result<()> {
    let repo = Repo::new()?;
    let list = format!("ann@x {}", repo.key("ann", "ed25519", "256")?);
    let commit = repo.signed("ann")?;
    let stranger = format!("ann@x {}", repo.key("eve", "ed25519", "256")?);
    let program = repo.path("root/usr/bin/ssh-keygen");
    fs::remove_file(&program)?;
    let fails = |script: &str| -> Result<String> {
        fs::write(&program, format!("#!/bin/sh\n{script}\n"))?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        let error = repo
            .verified(commit, &list)
            .err()
            .context(script.to_owned())?;
        Ok(format!("{error:#}"))
    };
    // Before OpenSSH 8.7, -O was ignored.
    let old = r#"for a; do shift; case $a in -Overify*) ;; *) set -- "$@" "$a" ;; esac; done
        exec /usr/bin/ssh-keygen "$@""#;
    assert!(fails(old)?.contains("too old"));
    assert!(fails("kill -KILL $$")?.contains("SIGKILL"));
    fs::remove_file(&program)?;
    let error = repo.verified(commit, &list).err().context("accepted")?;
    assert!(format!("{error:#}").contains("ssh-keygen is not installed"));

    // What it prints decides nothing.
    for script in [
        "echo 'Good \"git\" signature for ann@x with ED25519 key SHA256:x'; exit 1",
        "echo ann@x; case $2 in find*) case \"$*\" in *never*) exit 1;; *) exit 0;; esac;; *) exit 255;; esac",
    ] {
        fs::write(&program, format!("#!/bin/sh\n{script}\n"))?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        refused(
            &repo.verified(commit, &stranger)?,
            "has an invalid signature",
        );
    }
    Ok(())
}
