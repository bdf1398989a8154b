//! The table of signatures and keyrings.

use std::collections::BTreeSet;

use super::*;

/// What git accepts and pullpray refuses: digests for which two contents with the same digest can be found, or may be
/// soon. A host signs what others wrote.
const STRICTER: &[&str] = &["RIPEMD-160", "SHA-1"];

struct Table {
    lab: Lab,
    accepted: usize,
    refused: usize,
    stricter: BTreeSet<&'static str>,
    disagree: Vec<String>,
}

impl Table {
    /// Compares the verdicts about a commit with this signature.
    fn row(&mut self, case: &'static str, signature: &str, keyring: &[u8]) -> Result<()> {
        let commit = self.lab.repo.armoured(signature)?;
        let git = self.lab.git_trusts("verify-commit", commit, keyring)?;
        let ours = self.lab.verified(commit, commit, "main", keyring)?;
        match (git, &ours) {
            (true, Signature::Trusted(_)) => self.accepted += 1,
            (false, Signature::Refused(_)) => self.refused += 1,
            (true, Signature::Refused(_)) if STRICTER.contains(&case) => {
                self.stricter.insert(case);
            }
            _ => self.disagree.push(format!("{case}: git {git}, {ours:?}")),
        }
        Ok(())
    }

    /// A row about a key that signs, with only this key in the keyring.
    fn key(&mut self, case: &'static str, name: &str) -> Result<()> {
        let signature = self.lab.detached(name)?;
        self.row(case, &signature, &self.lab.export(&[name])?)
    }
}

#[test]
fn openpgp_signatures_count_as_they_do_for_git() -> Result<()> {
    let mut table = Table {
        lab: Lab::new()?,
        accepted: 0,
        refused: 0,
        stricter: BTreeSet::new(),
        disagree: Vec::new(),
    };
    let ring = keys(&mut table)?;
    signatures(&mut table, &ring)?;
    armour(&mut table, &ring)?;
    subkeys(&mut table)?;
    unusable(&mut table)?;
    revoked(&mut table)?;
    assert!(table.disagree.is_empty(), "{:#?}", table.disagree);
    assert_eq!(table.stricter.into_iter().collect::<Vec<_>>(), STRICTER);
    let (accepted, refused) = (table.accepted, table.refused);
    assert!(accepted >= 23 && refused >= 34, "{accepted} {refused}");
    Ok(())
}

/// Kinds of keys; returns a keyring of some.
fn keys(table: &mut Table) -> Result<Vec<u8>> {
    for (name, algorithm) in [
        ("ann@x", "ed25519"),
        ("rsa@x", "rsa2048"),
        ("nist@x", "nistp256"),
        ("dsa@x", "dsa2048"),
        ("eve@x", "ed25519"),
    ] {
        table.lab.key(name, algorithm, "default", "never")?;
        table.key(algorithm, name)?;
    }
    let weak = ["--cert-digest-algo", "SHA1", "--quick-generate-key"];
    let weak = [&weak[..], &["old@x", "rsa2048", "default", "never"]].concat();
    table.lab.gpg(MADE, &weak, "")?;
    table.key("a key that certifies itself with SHA-1", "old@x")?;

    let ring = table.lab.export(&["ann@x", "rsa@x", "nist@x", "dsa@x"])?;
    for (case, name) in [
        ("the first key of several", "ann@x"),
        ("the last key of several", "dsa@x"),
        ("a foreign key", "eve@x"),
    ] {
        table.row(case, &table.lab.detached(name)?, &ring)?;
    }
    Ok(ring)
}

/// What gpg can be made to sign, and with what.
fn signatures(table: &mut Table, ring: &[u8]) -> Result<()> {
    for (case, options) in [
        ("text mode", &["-b", "--textmode", "-u", "ann@x"][..]),
        ("MD5", &["-b", "--digest-algo", "MD5", "-u", "rsa@x"]),
        ("SHA-1", &["-b", "--digest-algo", "SHA1", "-u", "rsa@x"]),
        (
            "RIPEMD-160",
            &["-b", "--digest-algo", "RIPEMD160", "-u", "rsa@x"],
        ),
        ("SHA-224", &["-b", "--digest-algo", "SHA224", "-u", "rsa@x"]),
        ("SHA-512", &["-b", "--digest-algo", "SHA512", "-u", "rsa@x"]),
        (
            "a notation",
            &["-b", "--sig-notation", "a@x=GOODSIG 1 x", "-u", "ann@x"],
        ),
        (
            "an expired signature",
            &["-b", "--default-sig-expire", "1d", "-u", "ann@x"],
        ),
        ("two signers", &["-b", "-u", "ann@x", "-u", "rsa@x"]),
        ("a foreign key last", &["-b", "-u", "ann@x", "-u", "eve@x"]),
        ("a foreign key first", &["-b", "-u", "eve@x", "-u", "ann@x"]),
        ("a message", &["-s", "-u", "ann@x"]),
        (
            "a message without compression",
            &["-s", "-z0", "-u", "ann@x"],
        ),
        ("a message without a signature", &["--store", "-z0"]),
        ("clear text", &["--clearsign", "-u", "ann@x"]),
    ] {
        table.row(case, &table.lab.sign(options)?, ring)?;
    }
    let accepted = table.accepted;
    table.row("leading zeros", &padded(&table.lab)?, ring)?;
    assert_eq!(table.accepted, accepted + 1);
    let payload = table.lab.repo.payload()?;
    for (case, time, content) in [
        ("another payload", SIGNED, format!("{payload}x")),
        ("no final newline", SIGNED, payload.trim_end().to_owned()),
        ("made in the future", "20400101T000000", payload),
    ] {
        let options = ["--armor", "-b", "-u", "ann@x"];
        let signature = table.lab.gpg(time, &options, &content)?;
        table.row(case, &signature, ring)?;
    }
    Ok(())
}

/// A signature whose number has leading zeros, as most of GitHub's have: sqv refuses it.
fn padded(lab: &Lab) -> Result<String> {
    let payload = lab.repo.payload()?;
    for second in 10..60 {
        let time = format!("20230301T0000{second}");
        let sign = ["--output", "padded", "-b", "-u", "rsa@x"];
        lab.gpg(&time, &sign, &payload)?;
        let mut bytes = fs::read(lab.repo.path("padded"))?;
        // 2048 bits, after their count, end it.
        let count = bytes.len() - 258;
        if bytes[count] == 7 {
            bytes[count..count + 2].copy_from_slice(&2048_u16.to_be_bytes());
            fs::write(lab.repo.path("padded"), &bytes)?;
            let text = lab.gpg(SIGNED, &["--output", "-", "--enarmor", "padded"], "")?;
            return Ok(text.replace("ARMORED FILE", "SIGNATURE"));
        }
    }
    anyhow::bail!("each has its first bit set")
}

/// The text around a signature.
fn armour(table: &mut Table, ring: &[u8]) -> Result<()> {
    let ann = table.lab.detached("ann@x")?;
    let eve = table.lab.detached("eve@x")?;
    let rsa = table.lab.detached("rsa@x")?;
    let (_, body) = ann.split_once("-----\n").context("no header")?;
    let (body, _) = body.split_once("-----END").context("no end")?;
    let (unchecked, _) = body.rsplit_once("\n=").context("no checksum")?;
    let armoured = |kind: &str, body: &str| {
        format!("-----BEGIN PGP {kind}-----\n{body}-----END PGP {kind}-----\n")
    };
    let message = table.lab.sign(&["-s", "-u", "ann@x"])?;
    let ssh = "-----BEGIN SSH SIGNATURE-----\nU1NI\n-----END SSH SIGNATURE-----\n";
    for (case, signature) in [
        (
            "a message as a signature",
            message.replace("MESSAGE", "SIGNATURE"),
        ),
        ("a signature as a message", armoured("MESSAGE", body)),
        ("as a key", armoured("PUBLIC KEY BLOCK", body)),
        (
            "a comment",
            armoured("SIGNATURE", &format!("Comment: x\n{body}")),
        ),
        ("two blocks", format!("{ann}{rsa}")),
        ("twice the same", format!("{ann}{ann}")),
        ("a foreign block first", format!("{eve}{ann}")),
        ("a foreign block last", format!("{ann}{eve}")),
        ("text first", format!("x\n{ann}")),
        ("text last", format!("{ann}x\n")),
        ("an ssh block first", format!("{ssh}{ann}")),
        ("an ssh block last", format!("{ann}{ssh}")),
        ("CRLF", ann.replace('\n', "\r\n")),
        ("no end", format!("-----BEGIN PGP SIGNATURE-----\n{body}")),
        (
            "a wrong checksum",
            armoured("SIGNATURE", &format!("{unchecked}\n=AAAA\n")),
        ),
        (
            "no checksum",
            armoured("SIGNATURE", &format!("{unchecked}\n")),
        ),
        (
            "cut off",
            armoured("SIGNATURE", &format!("{}\n", &body[..body.len() / 2])),
        ),
        ("garbage", armoured("SIGNATURE", "\nZ2FyYmFnZQ==\n")),
        ("nothing", armoured("SIGNATURE", "\n")),
    ] {
        table.row(case, &signature, ring)?;
    }
    Ok(())
}

/// Subkeys, and keys that expired after they signed.
fn subkeys(table: &mut Table) -> Result<()> {
    const EARLY: &str = "20230601T000000";
    table.lab.key("exp@x", "ed25519", "default", EARLY)?;
    table.key("an expired key", "exp@x")?;
    for (case, name, subkey, primary) in [
        ("a subkey", "sub@x", "never", "never"),
        ("an expired subkey", "subexp@x", EARLY, "never"),
        ("a subkey of an expired key", "mainexp@x", "never", EARLY),
    ] {
        let primary = table.lab.key(name, "ed25519", "cert", primary)?;
        let add = ["--quick-add-key", &primary, "ed25519", "sign", subkey];
        table.lab.gpg(MADE, &add, "")?;
        table.key(case, name)?;
    }
    Ok(())
}

/// Keys that may not sign any more.
fn unusable(table: &mut Table) -> Result<()> {
    let whole = table.lab.key("use@x", "rsa2048", "sign,cert", "never")?;
    let primary = table.lab.key("subuse@x", "rsa2048", "cert", "never")?;
    let add = ["--quick-add-key", &primary, "rsa2048", "sign,encr", "never"];
    table.lab.gpg(MADE, &add, "")?;
    for (case, name, key, select) in [
        ("a key that may not sign", "use@x", &whole, ""),
        (
            "a subkey that may not sign",
            "subuse@x",
            &primary,
            "key 1\n",
        ),
    ] {
        let signature = table.lab.detached(name)?;
        table.row("before", &signature, &table.lab.export(&[name])?)?;
        let commands = format!("{select}change-usage\nS\nQ\nsave\n");
        table.lab.converse(&["--edit-key", key], &commands)?;
        table.row(case, &signature, &table.lab.export(&[name])?)?;
    }
    Ok(())
}

/// Keys that were revoked after they signed, for each reason.
fn revoked(table: &mut Table) -> Result<()> {
    for (case, name, reason) in [
        ("a revoked key", "rev@x", "0"),
        ("a compromised key", "comp@x", "1"),
        ("a superseded key", "sup@x", "2"),
        ("a retired key", "ret@x", "3"),
    ] {
        let key = table.lab.key(name, "ed25519", "default", "never")?;
        let signature = table.lab.detached(name)?;
        let answers = format!("y\n{reason}\n\ny\n");
        let revocation = table.lab.converse(&["--gen-revoke", &key], &answers)?;
        table.lab.gpg(SIGNED, &["--import"], &revocation)?;
        table.row(case, &signature, &table.lab.export(&[name])?)?;
    }
    Ok(())
}
