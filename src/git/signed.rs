//! Extracts signatures of commits and tags, and their payloads (gitformat-signature(5)).
//!
//! A commit's signature is in its header `gpgsig`, and signs the commit without that header. A tag's signature is at
//! the end of its message, and signs everything before it. This module does not verify signatures.

use git2::{ObjectType, Oid};

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
        let odb = self.repo.odb()?;
        let (signature, payload) = split_commit(odb.read(oid)?.data());
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

/// Returns the signature of a commit, and what it covers: the commit without the headers whose names begin with `gpgsig`
/// (git's parse_buffer_signed_by_header()). libgit2's function would also find a signature in the message.
fn split_commit(data: &[u8]) -> (Option<Vec<u8>>, Vec<u8>) {
    let end = data.windows(2).position(|pair| pair == b"\n\n");
    let (headers, message) = data.split_at(end.map_or(data.len(), |end| end + 1));
    let (mut signature, mut payload) = (None::<Vec<u8>>, Vec::new());
    let (mut ours, mut others) = (false, false);
    for line in headers.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_prefix(b"gpgsig ");
        // A line that begins with a space continues a header.
        let continues = line.strip_prefix(b" ");
        if continues.is_none() {
            ours = text.is_some();
            others = !ours && line.starts_with(b"gpgsig");
        }
        match text.or(continues) {
            Some(text) if ours => signature.get_or_insert_default().extend(text),
            _ if others => {}
            _ => payload.extend(line),
        }
    }
    payload.extend(message);
    (signature, payload)
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
    fn the_signature_of_a_commit_is_a_header() {
        let split = |text: &str| {
            let (signature, payload) = split_commit(text.as_bytes());
            let text = |bytes| String::from_utf8(bytes).unwrap();
            (signature.map(text), text(payload))
        };
        let plain = "tree 1\ncommitter Ann\nx y\n z\n\nm\n\ngpgsig no\n no\n";
        assert_eq!(split(plain), (None, plain.into()));
        let signed = plain.replace("x y", "gpgsig one\n two\n \nx y");
        assert_eq!(split(&signed), (Some("one\ntwo\n\n".into()), plain.into()));
        let others = signed.replace("x y", "gpgsig-sha256 a\n b\ngpgsig2\n c\nx y");
        assert_eq!(split(&others), split(&signed));
        let twice = signed.replace("x y", "gpgsig three\nx y");
        assert_eq!(split(&twice).0.as_deref(), Some("one\ntwo\n\nthree\n"));
        let bare = "tree 1\ngpgsig one\ngpgsig\n two\n";
        assert_eq!(split(bare), (Some("one\n".into()), "tree 1\n".into()));
        assert_eq!(split(""), (None, String::new()));
    }

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
