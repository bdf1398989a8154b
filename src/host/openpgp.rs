//! Asks gpgv about OpenPGP signatures. Not sqv, which Debian 13 has in its place: it refuses most signatures of GitHub,
//! whose numbers have leading zeros ("Malformed MPI").

use anyhow::{Result, bail};

use super::View;
use super::command::last_lines;
use super::ssh_keygen::Answer;

/// The status lines that say how a signature is, of which git accepts exactly one, `GOODSIG` (gpg-interface.c); and
/// what gpgv does not say in words.
const VERDICTS: [(&str, &str); 6] = [
    ("GOODSIG", ""),
    ("BADSIG", ""),
    ("ERRSIG", ""),
    ("EXPSIG", ""),
    ("EXPKEYSIG", " / the key has expired"),
    ("REVKEYSIG", " / the key is revoked"),
];

/// SHA-1 and RIPEMD-160 (RFC 9580, section 9.5), which git accepts. Who can let a signer sign a harmless commit could show
/// the signature with another one.
const SHORT_DIGESTS: [&str; 2] = ["2", "3"];

impl View {
    /// Verifies that a key of these keyrings, and of no others, signed this content; returns its user id and the
    /// fingerprint of its primary key, or the reasons.
    ///
    /// # Errors
    /// When gpgv is not installed or cannot be run.
    pub fn verify_openpgp(
        &self,
        keyrings: &[Vec<u8>],
        armoured: &[u8],
        content: &[u8],
    ) -> Result<Answer> {
        if self.which("gpgv").is_none() {
            bail!(
                "gpgv is not installed, which verifies OpenPGP signatures: sudo apt-get install gpgv"
            );
        }
        // Without a home directory it reads nothing of the account's.
        let mut command =
            self.command("gpgv")
                .args(["--homedir", "/nonexistent", "--status-fd", "1"]);
        for keyring in keyrings {
            command = command.arg("--keyring").file(keyring)?;
        }
        let outcome = command.file(armoured)?.file(content)?.outcome()?;
        let lines = outcome
            .stdout
            .lines()
            .filter_map(|line| line.strip_prefix("[GNUPG:] ")?.split_once(' '));
        let find = |wanted| lines.clone().find(|(word, _)| *word == wanted);
        let verdicts = lines.clone().filter_map(|(found, _)| {
            let mut known = VERDICTS.iter();
            known.find(|(word, _)| *word == found)
        });
        let verdicts: Vec<_> = verdicts.collect();
        // GOODSIG KEY USER…
        let user = find("GOODSIG").and_then(|(_, rest)| rest.split_once(' '));
        // The eighth of VALIDSIG is the digest, the tenth the primary key.
        let valid: Vec<&str> =
            find("VALIDSIG").map_or(Vec::new(), |(_, rest)| rest.split(' ').collect());
        Ok(match (outcome.code, &verdicts[..], user, &valid[..]) {
            (None, ..) => bail!(outcome.failure()),
            (_, [_, _, ..], ..) => Err("there is more than one".to_owned()),
            (Some(0), [_], Some((_, user)), [_, _, _, _, _, _, _, digest, _, key]) => {
                if SHORT_DIGESTS.contains(digest) {
                    Err("its digest is SHA-1 or RIPEMD-160".to_owned())
                } else {
                    Ok(format!("{user}, OpenPGP key {key}"))
                }
            }
            _ => {
                let note = verdicts.first().map_or("", |(_, note)| note);
                Err(last_lines(&outcome.stderr.replace("gpgv: ", ""), 4) + note)
            }
        })
    }
}
