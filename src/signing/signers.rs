//! The files of `signed_by`: lists of allowed signers for ssh, and OpenPGP keyrings. The content says which it is.

use std::path::Path;

use base64ct::{Base64, Encoding};

use crate::app::AbsPath;
use crate::host::{Kind, View};
use crate::state::sha256;

/// A line that starts like this is not from a list of allowed signers.
const ARMOUR: &str = "-----BEGIN PGP ";

/// Larger files are refused: every poll reads them.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Who may sign.
#[derive(Debug, Clone, Default)]
pub struct Signers {
    /// The lists of allowed signers, joined: each of their lines counts by itself.
    pub(super) ssh: String,
    /// The OpenPGP keyrings, in binary form.
    pub(super) openpgp: Vec<Vec<u8>>,
    /// The digests of all files.
    pub(super) digests: String,
}

impl Signers {
    /// Reads these files, or says why one cannot be used.
    pub(super) fn read(view: &View, files: &[AbsPath]) -> Result<Self, String> {
        let mut signers = Self::default();
        for file in files {
            let file = file.as_path();
            let bytes = read(view, file)?;
            signers.digests += &sha256(&bytes);
            match String::from_utf8(bytes) {
                Ok(text) if text.lines().any(|line| line.starts_with(ARMOUR)) => {
                    let keyring = dearmoured(&text).filter(|bytes| is_keyring(bytes));
                    signers.openpgp.push(keyring.ok_or_else(|| {
                        format!(
                            "{0} is not a readable block of public OpenPGP keys; to see why: gpg --dearmor <{0} | gpg --show-keys",
                            file.display()
                        )
                    })?);
                }
                Ok(text) => signers.ssh += &(text + "\n"),
                Err(error) if is_keyring(error.as_bytes()) => {
                    signers.openpgp.push(error.into_bytes());
                }
                Err(_) => {
                    return Err(format!(
                        "{} is neither a list of allowed signers nor an OpenPGP keyring; this writes one: gpg --export KEY",
                        file.display()
                    ));
                }
            }
        }
        Ok(signers)
    }
}

/// The content of a file, or why it cannot be used.
fn read(view: &View, file: &Path) -> Result<Vec<u8>, String> {
    let path = file.display();
    let stat = match view.stat_target(file) {
        Ok(Some(stat)) => stat,
        Ok(None) => return Err(format!("the file of allowed signers, {path}, is missing")),
        Err(error) => return Err(format!("{error:#}")),
    };
    match view.first_changeable(file) {
        Ok(None) => {}
        Ok(Some(part)) => {
            return Err(format!(
                "{path} lists the allowed signers, but not only root can modify {0}: sudo chown root {0} && sudo chmod go-w {0}",
                part.display()
            ));
        }
        Err(error) => return Err(format!("{error:#}")),
    }
    if stat.kind != Kind::File || stat.size > MAX_BYTES {
        return Err(format!("{path} is not a regular file of at most 16 MiB"));
    }
    match view.read(file) {
        Ok(bytes) => Ok(bytes.unwrap_or_default()),
        Err(error) => Err(format!(
            "{error:#}; polls run as the app's account: sudo chmod a+r {path}"
        )),
    }
}

/// Whether it starts with a public key: packet tag 6, in the old or the new format (RFC 9580, section 4.2).
fn is_keyring(bytes: &[u8]) -> bool {
    matches!(bytes.first(), Some(0x98..=0x9b | 0xc6))
}

/// The content of all blocks of public keys, since gpgv does not read them; `None` if one is damaged. The checksum is
/// not needed: every key signs itself.
fn dearmoured(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for block in text.split("-----BEGIN PGP PUBLIC KEY BLOCK-----").skip(1) {
        let (block, _) = block.split_once("-----END PGP PUBLIC KEY BLOCK-----")?;
        // Headers up to an empty line, base64, and the checksum.
        let lines = block.lines().map(str::trim).skip(1);
        let base64 = lines.skip_while(|line| !line.is_empty());
        let base64: String = base64.take_while(|line| !line.starts_with('=')).collect();
        bytes.extend(Base64::decode_vec(&base64).ok()?);
    }
    Some(bytes)
}
