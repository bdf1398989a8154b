//! Signatures by the real git and ssh-keygen, compared with the verdict of git itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};

use super::*;
use crate::host::{Server, effective_uid};

mod repository;

use repository::{Repo, refused, trusted, utc};

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
        let signers = Signers::parse(&list).map_err(anyhow::Error::msg)?;
        let signed_object = repo.signed_object(commit, object, &tag)?;
        assert_eq!(
            verify(&signed_object, &signers, utc),
            trusted("ann@x"),
            "{name}"
        );
        assert!(repo.git_trusts("verify-tag", object, &list)?, "{name}");
    }
    Ok(())
}

#[test]
fn every_other_signature_is_refused_with_its_own_reason() -> Result<()> {
    let repo = Repo::new()?;
    let list = format!("ann@x {}", repo.key("ann", "ed25519", "256")?);
    let fingerprint = repo.run("ssh-keygen", &["-lf", "ann.pub"], "")?;
    let fingerprint = fingerprint.split(' ').nth(1).unwrap_or_default();
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
        ("SSH SIGNATURE", "has a signature that cannot be read"),
        ("WEDDING", "has a signature that cannot be read"),
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
        "has a signature for \"file\", not for \"git\"",
    )?;
    refuses(
        repo.armoured(&sign("git", &format!("{payload}x"))?)?,
        &format!("does not match its signature by the key {fingerprint}"),
    )?;

    // A signed commit whose message somebody changed.
    let signed = repo.signed("ann")?.to_string();
    let text = repo.run("git", &["-C", "work", "cat-file", "commit", &signed], "")?;
    let altered = repo.object("commit", &text.replace("body", "evil"))?;
    refuses(altered, "one of them was altered")?;
    let parent = text.replace("author Ann", "author Eve");
    refuses(repo.object("commit", &parent)?, "one of them was altered")?;
    // Two signatures: the first is read, and the second was not signed.
    let (_, signature) = text.split_once("gpgsig ").context("not signed")?;
    let (signature, _) = signature.split_once("\n\n").context("no message")?;
    let twice = text.replacen("gpgsig ", &format!("gpgsig {signature}\ngpgsig "), 1);
    refused(
        &repo.verified(repo.object("commit", &twice)?, &list)?,
        "one of them was altered",
    );
    Ok(())
}

#[test]
fn a_key_counts_at_the_time_of_the_commit() -> Result<()> {
    let repo = Repo::new()?;
    let key = repo.key("ann", "ed25519", "256")?;
    let commit = repo.signed("ann")?;
    // Committed on 2023-11-14 at 22:13:20 UTC, long before now.
    for (options, words) in [
        ("valid-before=\"20231114221320Z\"", ""),
        ("valid-after=\"20231114221320Z\"", ""),
        ("valid-after=\"20231114Z\",valid-before=\"20231115Z\"", ""),
        (
            "valid-before=\"20231114221319Z\"",
            "was valid only until 20231114221319Z",
        ),
        (
            "valid-after=\"20231114221321Z\"",
            "is valid only from 20231114221321Z on",
        ),
        (
            "valid-after=\"20240101Z\"",
            "is signed at 2023-11-14 22:13 +00:00, and the key of ann",
        ),
        ("namespaces=\"git\"", ""),
        (
            "namespaces=\"file\"",
            "may sign for \"file\" and not for \"git\"",
        ),
    ] {
        let list = format!("ann {options} {key}");
        let signature = repo.verified(commit, &list)?;
        assert_eq!(
            matches!(signature, Signature::Trusted(_)),
            repo.git_trusts("verify-commit", commit, &list)?,
            "git disagrees about {options}"
        );
        match words {
            "" => assert_eq!(signature, trusted("ann"), "{options}"),
            words => refused(&signature, words),
        }
    }
    Ok(())
}

#[test]
fn a_signed_tag_takes_precedence_and_must_keep_its_name() -> Result<()> {
    let repo = Repo::new()?;
    let list = format!("ann@x {}", repo.key("ann", "ed25519", "256")?);
    repo.key("eve", "ed25519", "256")?;
    let signers = Signers::parse(&list).map_err(anyhow::Error::msg)?;
    let verified = |commit: &str, tag: &str, name: &str| -> Result<Signature> {
        let signed_object = repo.signed_object(repo.id(commit)?, repo.id(tag)?, name)?;
        Ok(verify(&signed_object, &signers, utc))
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
    let signed_object = repo.signed_object(repo.id("HEAD")?, moved, "v1.0.0")?;
    refused(
        &verify(&signed_object, &signers, utc),
        "the tag v1.0.0 does not match its signature",
    );
    Ok(())
}

#[test]
fn a_list_that_others_can_modify_accepts_nothing() -> Result<()> {
    let repo = Repo::new()?;
    let key = repo.key("ann", "ed25519", "256")?;
    let server = Server::at(&repo.path("root"));
    fs::create_dir_all(repo.path("root/etc/pullpray"))?;
    let (list, file) = (
        Path::new("/etc/pullpray/todo.signers"),
        repo.path("root/etc/pullpray/todo.signers"),
    );
    let read = || Trust::read(&server, Some(list));
    let mode = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode));
    assert!(matches!(Trust::read(&server, None), Trust::Anybody));
    refused(&read().preliminary(), "is missing");
    fs::write(&file, format!("ann {key}\n"))?;
    mode(0o664)?;
    refused(
        &read().preliminary(),
        "not only root can modify /etc/pullpray/todo.signers: sudo chown root",
    );
    // The judgement needs nothing fetched then.
    assert!(matches!(
        read().verify(|| anyhow::bail!("was read"))?,
        Signature::Refused(_)
    ));
    mode(0o644)?;
    if effective_uid() != 0 {
        refused(&read().preliminary(), "not only root can modify");
        return Ok(());
    }
    let Trust::Listed(signers, text) = read() else {
        anyhow::bail!("{:?}", read());
    };
    assert_eq!(
        (Ok(signers), text.as_str()),
        (Signers::parse(&text), read().text())
    );
    let commit = repo.signed("ann")?;
    let signature = read().verify(|| repo.signed_object(commit, commit, "main"))?;
    assert_eq!(signature, trusted("ann"));
    let signature = Trust::Anybody.verify(|| anyhow::bail!("was read"))?;
    assert_eq!(signature, Signature::NotChecked);

    fs::write(&file, "# nobody\n")?;
    refused(&read().preliminary(), "is invalid: it is empty");
    fs::write(&file, "ann ssh-ed25519\n")?;
    refused(&read().preliminary(), "is invalid: line 1: it has no key");
    fs::write(&file, b"ann \xff\n")?;
    refused(&read().preliminary(), "is not UTF-8");
    fs::remove_file(&file)?;
    fs::create_dir(&file)?;
    refused(
        &read().preliminary(),
        "failed to read /etc/pullpray/todo.signers",
    );
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
