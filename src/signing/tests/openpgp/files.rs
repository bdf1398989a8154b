//! The files of `signed_by`.

use super::*;
use crate::host::effective_uid;

/// What GitHub sends for an account without a key.
const NO_KEYS: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----\nNote: This user hasn't uploaded any GPG keys.\n\n\n=twTO\n-----END PGP PUBLIC KEY BLOCK-----\n";

#[test]
fn the_content_of_a_file_says_what_it_is() -> Result<()> {
    if effective_uid() != 0 {
        return Ok(());
    }
    let lab = Lab::new()?;
    let ssh = format!("sue {}\n", lab.repo.key("sue", "ed25519", "256")?);
    let mut signed = Vec::new();
    for name in ["ann@x", "bob@x", "joe@x"] {
        let key = lab.key(name, "rsa2048", "default", "never")?;
        let commit = lab.repo.armoured(&lab.detached(name)?)?;
        signed.push((commit, format!("{name}, OpenPGP key {key}")));
    }
    signed.insert(0, (lab.repo.signed("sue")?, "sue".to_owned()));
    let armoured = |name| lab.gpg(SIGNED, &["--armor", "--export", name], "");
    let server = lab.repo.server();
    fs::create_dir_all(lab.repo.path("root/etc"))?;
    let read = |files: &[(&str, &[u8])]| -> Result<Trust> {
        let mut paths = Vec::new();
        for (name, content) in files {
            fs::write(lab.repo.path("root/etc").join(name), content)?;
            paths.push(format!("/etc/{name}").parse()?);
        }
        Ok(Trust::read(&server, &paths))
    };
    let accepted = |trust: &Trust| -> Result<Vec<bool>> {
        let mut accepted = Vec::new();
        for (commit, who) in &signed {
            let read = || lab.repo.signed_object(*commit, *commit, "main");
            let signature = trust.verify(&server, read)?;
            assert!(signature == trusted(who) || !matches!(signature, Signature::Trusted(_)));
            accepted.push(signature == trusted(who));
        }
        Ok(accepted)
    };
    // Two blocks, with text around them and a header within, as web pages show them.
    let bob = armoured("bob@x")?.replacen("-\n", "-\nComment: of Bob\n", 1);
    let blocks = format!(
        "Keys:\n{bob}\n\n{}",
        armoured("joe@x")?.replace('\n', "\r\n")
    );
    let ring = lab.export(&["ann@x"])?;
    let three: [(&str, &[u8]); 3] = [
        ("a", ssh.as_bytes()),
        ("b", &ring),
        ("c", blocks.as_bytes()),
    ];
    let all = read(&three)?;
    assert_eq!(accepted(&all)?, [true; 4]);
    assert!(all.has_keyring());
    for (number, file) in three.iter().enumerate() {
        let one = read(&[*file])?;
        let expected = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]][number].map(|it| it == 1);
        assert_eq!(accepted(&one)?, expected);
        assert_eq!(one.has_keyring(), number > 0);
        assert_ne!(one.text(), all.text());
    }

    let secret = lab.gpg(SIGNED, &["--armor", "--export-secret-keys", "ann@x"], "")?;
    let keybox = fs::read(lab.repo.path(".gnupg/pubring.kbx"))?;
    for (content, words) in [
        (
            NO_KEYS.as_bytes(),
            "/etc/b is not a readable block of public OpenPGP keys",
        ),
        (
            bob.replace("\n=", "\n").as_bytes(),
            "is not a readable block",
        ),
        (
            bob.replace("-----END", "---END").as_bytes(),
            "is not a readable block",
        ),
        (secret.as_bytes(), "is not a readable block"),
        (lab.detached("ann@x")?.as_bytes(), "is not a readable block"),
        (
            &keybox,
            "/etc/b is neither a list of allowed signers nor an OpenPGP keyring",
        ),
        (&ring[1..], "nor an OpenPGP keyring"),
    ] {
        let trust = read(&[("a", ssh.as_bytes()), ("b", content)])?;
        refused(&trust.preliminary(), words);
        assert_eq!(accepted(&trust)?, [false; 4]);
    }
    // gpgv refuses a keyring that is damaged further on.
    assert_eq!(
        accepted(&read(&[("b", &ring[..ring.len() / 3])])?)?,
        [false; 4]
    );
    Ok(())
}
