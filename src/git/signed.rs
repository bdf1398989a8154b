//! Signatures as git keeps them, beside what they were made of.
//!
//! A commit's lies in its header `gpgsig`, and was made of the commit without that header. A tag's
//! stands at the end of its message, and was made of everything before it (gitformat-signature(5)).
//! Whose they are and what they are worth is not decided here.

use git2::{ErrorCode, ObjectType, Oid};

use super::{Mirror, MirrorError};

/// With what a line begins a signature: OpenPGP, X.509 and ssh, as git's gpg-interface.c knows them.
const BEGINNINGS: [&[u8]; 4] = [
    b"-----BEGIN PGP SIGNATURE-----",
    b"-----BEGIN PGP MESSAGE-----",
    b"-----BEGIN SIGNED MESSAGE-----",
    b"-----BEGIN SSH SIGNATURE-----",
];

/// An object that somebody may have signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The signature, armoured; `None` if there is none.
    pub signature: Option<Vec<u8>>,
    /// What it was made of.
    pub payload: Vec<u8>,
    /// When it was committed or tagged, as the object says: seconds since 1970, UTC.
    pub time: Option<i64>,
    /// What a tag calls itself; `None` for a commit.
    pub tag: Option<String>,
}

impl Mirror {
    /// A commit with its signature.
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

    /// An annotated tag with its signature; `None` if the object is no tag.
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
        let begin = signature_at(data);
        Ok(Some(Signed {
            signature: (begin < data.len()).then(|| data[begin..].to_vec()),
            payload: data[..begin].to_vec(),
            time: tag.tagger().map(|tagger| tagger.when().seconds()),
            tag: Some(String::from_utf8_lossy(tag.name_bytes()).into_owned()),
        }))
    }
}

/// Where the signature of a tag begins: at the last line that begins one, as git's parse_signed_buffer()
/// has it. The end if there is none.
fn signature_at(data: &[u8]) -> usize {
    let mut begin = data.len();
    let mut at = 0;
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        if BEGINNINGS.iter().any(|mark| line.starts_with(mark)) {
            begin = at;
        }
        at += line.len();
    }
    begin
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_s_signature_begins_at_the_last_mark() {
        let text = b"tag v1\n\nsays -----BEGIN SSH SIGNATURE-----\n-----BEGIN PGP MESSAGE-----\nx\n-----BEGIN SSH SIGNATURE-----\nU1\n";
        let at = signature_at(text);
        assert!(text[at..].ends_with(b"-----BEGIN SSH SIGNATURE-----\nU1\n"));
        assert_eq!(text.len() - at, 33);
        assert_eq!(signature_at(b"tag v1\n\nmessage\n"), 16);
        assert_eq!(signature_at(b""), 0);
    }
}
