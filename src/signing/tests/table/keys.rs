//! Kinds of keys, and certificates.

use super::*;

pub(super) fn keys(table: &mut Table) -> Result<()> {
    let stranger = table.repo.key("stranger", "ed25519", "256")?;
    for (kind, bits) in [
        ("ed25519", "256"),
        ("ecdsa", "256"),
        ("ecdsa", "384"),
        ("ecdsa", "521"),
        ("rsa", "1024"),
        ("rsa", "2048"),
        ("rsa", "3072"),
    ] {
        let name = format!("key-{kind}{bits}");
        let list = format!("ann@x {}", table.repo.key(&name, kind, bits)?);
        let payload = table.repo.payload()?;
        let signature = table.repo.sign(&name, &["-n", "git"], &payload)?;
        let good = table.repo.armoured(&signature)?;
        assert!(table.commit(&name, good, &list)?);
        let others = format!("ann@x {stranger}");
        assert!(!table.commit(&format!("{name} unlisted"), good, &others)?);
        let altered = table
            .repo
            .sign(&name, &["-n", "git"], &format!("{payload}!"))?;
        let altered = table.repo.armoured(&altered)?;
        assert!(!table.commit(&format!("{name} of another content"), altered, &list)?);
        let mut lines: Vec<&str> = signature.lines().collect();
        let at = lines.len() - 3;
        let swapped: String = lines[at].chars().rev().collect();
        lines[at] = &swapped;
        let damaged = table.repo.armoured(&lines.join("\n"))?;
        assert!(!table.commit(&format!("{name} damaged"), damaged, &list)?);
    }
    Ok(())
}

/// Made with openssl, whose private keys were thrown away: a hardware key signs SHA-256 of its application, flags, a
/// counter, and SHA-256 of the content (OpenSSH's PROTOCOL.u2f); ssh-keygen does not sign with SHA-1.
pub(super) fn made_elsewhere(table: &mut Table) -> Result<()> {
    let sk = include_str!("../made/sk-ed25519.pub");
    let sk_ecdsa = include_str!("../made/sk-ecdsa.pub");
    let rsa = include_str!("../made/rsa.pub");
    for (case, accepted, key, signature) in [
        (
            "hardware key",
            true,
            sk,
            include_str!("../made/sk-ed25519.sig"),
        ),
        (
            "hardware key that nobody touched",
            true,
            sk,
            include_str!("../made/sk-ed25519-untouched.sig"),
        ),
        (
            "hardware key, ecdsa",
            true,
            sk_ecdsa,
            include_str!("../made/sk-ecdsa.sig"),
        ),
        (
            "another hardware key",
            false,
            sk_ecdsa,
            include_str!("../made/sk-ed25519.sig"),
        ),
        (
            "rsa with SHA-256",
            true,
            rsa,
            include_str!("../made/rsa-sha256.sig"),
        ),
        (
            "rsa with SHA-1",
            false,
            rsa,
            include_str!("../made/rsa-sha1.sig"),
        ),
    ] {
        let commit = table.repo.armoured(signature)?;
        let list = format!("ann@x {key}");
        assert_eq!(table.commit(case, commit, &list)?, accepted, "{case}");
        if case == "rsa with SHA-1" {
            refused(
                &table.repo.verified(commit, &list)?,
                "unsupported RSA signature algorithm ssh-rsa",
            );
        }
    }
    let (head, message) = table.repo.parts()?;
    let altered = table.repo.object_of(
        &head,
        &message.replace("unsigned", "evil"),
        include_str!("../made/sk-ed25519.sig"),
    )?;
    assert!(!table.commit("hardware key, altered", altered, &format!("ann@x {sk}"))?);
    Ok(())
}

pub(super) fn certificates(table: &mut Table) -> Result<()> {
    let ca = table.repo.key("ca", "ed25519", "256")?;
    let other = table.repo.key("other-ca", "rsa", "2048")?;
    let plain = table.repo.key("certified", "ed25519", "256")?;
    let payload = table.repo.payload()?;
    let certified = |ca: &str, options: &[&str]| {
        let arguments = [&["-q", "-s", ca, "-I", "id"], options, &["certified.pub"]].concat();
        table.repo.run("ssh-keygen", &arguments, "")?;
        let signature = table
            .repo
            .sign("certified-cert.pub", &["-n", "git"], &payload)?;
        table.repo.armoured(&signature)
    };
    // The commits are dated 2023-11-14; the certificate expired long before today.
    let valid: &[&str] = &["-n", "ann@x,bob@x", "-V", "20231101:20231201"];
    let good = certified("ca", valid)?;
    let by_rsa = certified("other-ca", valid)?;
    let expired = certified("ca", &["-n", "ann@x", "-V", "20230101:20230201"])?;
    let not_yet = certified("ca", &["-n", "ann@x", "-V", "20240101:20990101"])?;
    let forever = certified("ca", &["-n", "ann@x"])?;
    let nobody = certified("ca", &[])?;
    let host = certified("ca", &["-h", "-n", "ann@x"])?;
    let forced = certified("ca", &["-n", "ann@x", "-O", "force-command=id"])?;
    let critical = certified("ca", &["-n", "ann@x", "-O", "critical:x=y"])?;
    let several = certified("ca", &["-n", "-x,$(id),* ,ann@x"])?;
    let list = format!("ann@x cert-authority {ca}");
    for (case, accepted, commit) in [
        ("certificate", true, good),
        ("certificate by another authority", false, by_rsa),
        ("certificate that had expired", false, expired),
        ("certificate that is not yet valid", false, not_yet),
        ("certificate without an end", true, forever),
        ("certificate with odd principals", true, several),
    ] {
        assert_eq!(table.commit(case, commit, &list)?, accepted, "{case}");
    }
    assert_eq!(table.repo.verified(good, &list)?, trusted("ann@x"));
    refused(&table.repo.verified(expired, &list)?, "does not permit: ");
    // Here ssh-keygen's rules count, whatever they are.
    table.commit("certificate for every principal", nobody, &list)?;
    table.commit("certificate of a host", host, &list)?;
    table.commit("certificate with a command", forced, &list)?;
    table.commit("certificate with a critical option", critical, &list)?;
    table.commit("odd principals", several, &format!("* cert-authority {ca}"))?;
    table.lists(
        true,
        good,
        &[
            ("the second principal", format!("bob@x cert-authority {ca}")),
            ("principals by pattern", format!("*@x cert-authority {ca}")),
            ("any principal", format!("* cert-authority {ca}")),
            (
                "an authority for git",
                format!("*@x cert-authority,namespaces=\"git\" {ca}"),
            ),
            (
                "two authorities",
                format!("* cert-authority {other}\n* cert-authority {ca}"),
            ),
        ],
    )?;
    table.lists(
        false,
        good,
        &[
            ("no authority", format!("ann@x {ca}")),
            ("the key without its certificate", format!("ann@x {plain}")),
            ("another principal", format!("eve@x cert-authority {ca}")),
            (
                "not this principal",
                format!("*,!ann@x,!bob@x cert-authority {ca}"),
            ),
            (
                "an authority for files",
                format!("* cert-authority,namespaces=\"file\" {ca}"),
            ),
            (
                "an authority until 2022",
                format!("* cert-authority,valid-before=\"20220101\" {ca}"),
            ),
        ],
    )?;
    table.lists(
        true,
        by_rsa,
        &[("an rsa authority", format!("* cert-authority {other}"))],
    )
}
