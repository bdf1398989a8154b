//! Extracts signatures of commits and tags, and their payloads (gitformat-signature(5)).
//!
//! A commit's signature is in its header `gpgsig`, and signs the commit without that header. A tag's signature is at
//! the end of its message, and signs everything before it. This module does not verify signatures.

use git2::{ErrorCode, ObjectType, Oid};

use super::{Mirror, MirrorError};

/// First lines of signatures: OpenPGP, X.509 and ssh (git's gpg-interface.c).
const HEADERS: [&[u8]; 4] = [
    b"-----BEGIN PGP SIGNATURE-----",
    b"-----BEGIN PGP MESSAGE-----",
    b"-----BEGIN SIGNED MESSAGE-----",
    b"-----BEGIN SSH SIGNATURE-----",
];

/// A commit or tag, with its signature if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Armoured signature; `None` if there is none.
    pub signature: Option<Vec<u8>>,
    /// Signed bytes.
    pub payload: Vec<u8>,
    /// Time of the commit or tag according to the object, in seconds since 1970 (UTC).
    pub time: Option<i64>,
    /// Name in the tag object; `None` for a commit.
    pub tag: Option<String>,
}

impl Mirror {
    /// Returns a commit with its signature.
    ///
    /// # Errors
    /// The commit is unknown or unreadable.
    pub fn signed_commit(&self, oid: Oid) -> Result<Signed, MirrorError> {
        let time = Some(self.find_commit(oid)?.time().seconds());
        let (signature, payload) = match self.repo.extract_signature(&oid, None) {
            Ok((signature, payload)) => (Some(signature.to_vec()), payload.to_vec()),
            Err(error) if error.code() == ErrorCode::NotFound => (None, Vec::new()),
            Err(error) => return Err(error.into()),
        };
        Ok(Signed {
            signature,
            payload,
            time,
            tag: None,
        })
    }

    /// Returns an annotated tag with its signature; `None` if the object is not a tag.
    ///
    /// # Errors
    /// The object is unknown or unreadable.
    pub fn signed_tag(&self, oid: Oid) -> Result<Option<Signed>, MirrorError> {
        let odb = self.repo.odb()?;
        let object = odb.read(oid)?;
        if object.kind() != ObjectType::Tag {
            return Ok(None);
        }
        let tag = self.repo.find_tag(oid)?;
        let data = object.data();
        let start = signature_at(data);
        Ok(Some(Signed {
            signature: (start < data.len()).then(|| data[start..].to_vec()),
            payload: data[..start].to_vec(),
            time: tag.tagger().map(|tagger| tagger.when().seconds()),
            tag: Some(String::from_utf8_lossy(tag.name_bytes()).into_owned()),
        }))
    }
}

/// Returns the offset of a tag's signature, which starts at the last header line (git's parse_signed_buffer()); the
/// length of `data` if there is none.
fn signature_at(data: &[u8]) -> usize {
    let mut start = data.len();
    let mut at = 0;
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        if HEADERS.iter().any(|mark| line.starts_with(mark)) {
            start = at;
        }
        at += line.len();
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_of_a_tag_starts_at_the_last_header() {
        let text = b"tag v1\n\nsays -----BEGIN SSH SIGNATURE-----\n-----BEGIN PGP MESSAGE-----\nx\n-----BEGIN SSH SIGNATURE-----\nU1\n";
        let at = signature_at(text);
        assert!(text[at..].ends_with(b"-----BEGIN SSH SIGNATURE-----\nU1\n"));
        assert_eq!(text.len() - at, 33);
        assert_eq!(signature_at(b"tag v1\n\nmessage\n"), 16);
        assert_eq!(signature_at(b""), 0);
    }
}
