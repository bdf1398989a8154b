//! Where a reference stands on the remote, asked as cheaply as the remote allows.
//!
//! Protocol v2 with one ref-prefix gets an answer of some kilobytes however many references
//! there are; most of its time is ssh's handshake. A plain sshd does not pass on
//! `GIT_PROTOCOL` and answers in v0 with everything it has: that is read as it comes and
//! never collected. A prefix also matches longer names (`main`, `main2`), and a host may
//! ignore it: names are always compared here.

use git2::Oid;

use super::launch::Program;
use super::pktline::{Decoder, LONGEST, Malformed, Packet, encode};
use super::ssh::Session;
use super::{Remote, RemoteError, remote_error::plain};

/// An answer longer than this is nobody's: half a million references. Without a limit a
/// hostile host could keep an unattended poll reading for ever, or fill its memory.
const MOST_BYTES: u64 = 32 * 1024 * 1024;
/// Names that are longer are left out: what is deployed is called by them in messages and records.
const LONGEST_NAME: usize = 255;

/// A reference: its name, what it points at, and for an annotated tag the commit behind it.
pub type FoundRef = (String, Oid, Option<Oid>);

/// The commit that `reference` (`refs/heads/main`, `refs/tags/v1`) points at on the remote;
/// `None` if the remote has no reference of exactly that name. An annotated tag is followed
/// to its commit, so the answer equals what [`super::Mirror::fetch`] returns.
///
/// # Errors
/// Whenever the remote could not be asked; never for a reference that is missing.
pub fn tip(remote: &Remote, reference: &str) -> Result<Option<Oid>, RemoteError> {
    if !git2::Reference::is_valid_name(reference) {
        return Err(RemoteError::Invalid(format!(
            "{reference:?} is not the name of a reference"
        )));
    }
    let mut found = None;
    ask(remote, reference, &mut |name, oid, peeled| {
        if name == reference.as_bytes() {
            found = Some(peeled.unwrap_or(oid));
        }
    })?;
    Ok(found)
}

/// All references whose names begin with `prefix` (`refs/tags/`), in the remote's order.
/// Names that are not UTF-8 are left out, and giant ones. Memory grows with the matching ones only.
///
/// # Errors
/// As [`tip`].
pub fn refs(remote: &Remote, prefix: &str) -> Result<Vec<FoundRef>, RemoteError> {
    if prefix.chars().any(|c| c.is_control() || c == ' ') {
        return Err(RemoteError::Invalid(format!(
            "{prefix:?} is not the beginning of a reference"
        )));
    }
    let mut found = Vec::new();
    ask(remote, prefix, &mut |name, oid, peeled| {
        if name.len() <= LONGEST_NAME
            && let Ok(name) = std::str::from_utf8(name)
        {
            found.push((name.to_owned(), oid, peeled));
        }
    })?;
    Ok(found)
}

/// Called for each reference whose name begins with the prefix.
type OnRef<'a> = dyn FnMut(&[u8], Oid, Option<Oid>) + 'a;

fn ask(remote: &Remote, prefix: &str, on_ref: &mut OnRef<'_>) -> Result<(), RemoteError> {
    let mut talk = Conversation::open(remote, Program::UploadPack { v2: true })?;
    match talk.line()? {
        Some(line) if line == b"version 2" => ask_v2(&mut talk, prefix, on_ref)?,
        Some(line) => {
            let first = line.to_vec();
            read_v0(&mut talk, &first, prefix.as_bytes(), on_ref)?;
        }
        // An empty repository of a server that advertises nothing at all.
        None => {}
    }
    talk.goodbye();
    Ok(())
}

fn ask_v2(
    talk: &mut Conversation,
    prefix: &str,
    on_ref: &mut OnRef<'_>,
) -> Result<(), RemoteError> {
    let (mut lists, mut format, mut agent) = (false, false, false);
    while let Some(line) = talk.line()? {
        let (key, value) = cut(line, b'=').unwrap_or((line, b""));
        match key {
            b"ls-refs" => lists = true,
            b"agent" => agent = true,
            b"object-format" if value == b"sha1" => format = true,
            b"object-format" => return Err(other_hash(value)),
            _ => {}
        }
    }
    if !lists {
        return Err(RemoteError::Protocol(
            "the host speaks version 2 without ls-refs".into(),
        ));
    }
    let mut request = Vec::new();
    encode(&mut request, b"command=ls-refs\n");
    if agent {
        encode(
            &mut request,
            concat!("agent=pullpray/", env!("CARGO_PKG_VERSION"), "\n").as_bytes(),
        );
    }
    if format {
        encode(&mut request, b"object-format=sha1\n");
    }
    request.extend_from_slice(b"0001");
    encode(&mut request, b"peel\n");
    encode(&mut request, format!("ref-prefix {prefix}\n").as_bytes());
    request.extend_from_slice(b"0000");
    talk.session.write(&request)?;

    while let Some(line) = talk.line()? {
        let (id, rest) = cut(line, b' ').ok_or_else(|| strange(line))?;
        let oid = object_id(id)?;
        let mut words = rest.split(|byte| *byte == b' ');
        let name = words.next().unwrap_or_default();
        let peeled = words
            .find_map(|word| word.strip_prefix(b"peeled:"))
            .map(object_id)
            .transpose()?;
        if name.starts_with(prefix.as_bytes()) {
            on_ref(name, oid, peeled);
        }
    }
    Ok(())
}

/// v0 and v1: `ID NAME`, the first with capabilities behind a NUL, and after an annotated
/// tag `ID NAME^{}` with what it points at.
fn read_v0(
    talk: &mut Conversation,
    first: &[u8],
    prefix: &[u8],
    on_ref: &mut OnRef<'_>,
) -> Result<(), RemoteError> {
    let mut waiting: Option<(Vec<u8>, Oid)> = None;
    let mut line = (first != b"version 1").then(|| first.to_vec());
    loop {
        if line.is_none() {
            line = talk.line()?.map(<[u8]>::to_vec);
        }
        let Some(text) = line.take() else { break };
        let text = cut(&text, 0).map_or(text.as_slice(), |(before, _)| before);
        let (id, name) = cut(text, b' ').ok_or_else(|| strange(text))?;
        if id == b"shallow" {
            continue;
        }
        let oid = object_id(id)?;
        if let Some((tag, tag_oid)) = waiting.take() {
            let peeled = (name.strip_suffix(b"^{}") == Some(&tag)).then_some(oid);
            on_ref(&tag, tag_oid, peeled);
        }
        // `^{}` is no part of a name, and an empty repository shows `capabilities^{}`.
        if name.starts_with(prefix) && !name.ends_with(b"^{}") {
            waiting = Some((name.to_vec(), oid));
        }
    }
    if let Some((name, oid)) = waiting {
        on_ref(&name, oid, None);
    }
    Ok(())
}

fn cut(line: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = line.iter().position(|byte| *byte == at)?;
    Some((&line[..place], &line[place + 1..]))
}

fn object_id(hex: &[u8]) -> Result<Oid, RemoteError> {
    if hex.len() == 64 && hex.iter().all(u8::is_ascii_hexdigit) {
        return Err(other_hash(b"sha256"));
    }
    // from_str alone would accept an abbreviation.
    let text = std::str::from_utf8(hex)
        .ok()
        .filter(|text| text.len() == 40);
    text.and_then(|text| Oid::from_str(text).ok())
        .ok_or_else(|| strange(hex))
}

fn other_hash(name: &[u8]) -> RemoteError {
    let name = plain(name);
    RemoteError::Protocol(format!(
        "the repository's object format is {name:?}; only sha1 is supported"
    ))
}

fn strange(line: &[u8]) -> RemoteError {
    let line = plain(&line[..line.len().min(80)]);
    RemoteError::Protocol(format!("a line that is none of git's: {line:?}"))
}

/// A session, packet by packet.
pub(super) struct Conversation {
    /// For writing.
    pub(super) session: Session,
    decoder: Decoder,
    bytes: u64,
}

impl Conversation {
    /// Starts the program on the host.
    pub(super) fn open(remote: &Remote, program: Program) -> Result<Self, RemoteError> {
        let session = Session::open(remote, program)?;
        Ok(Self {
            session,
            decoder: Decoder::default(),
            bytes: 0,
        })
    }

    /// The next packet.
    ///
    /// # Errors
    /// The end of the stream is one, with the words of ssh or of the host.
    pub(super) fn packet(&mut self) -> Result<Packet<'_>, RemoteError> {
        while !self.decoder.ready().map_err(|bad| malformed(&bad))? {
            let mut piece = [0; 16 * 1024];
            let count = self.session.read(&mut piece)?;
            if count == 0 {
                let partial = self.decoder.is_partial();
                return Err(match self.session.failure() {
                    RemoteError::Protocol(_) if partial => RemoteError::Protocol(
                        "the answer was cut off in the middle of a packet".into(),
                    ),
                    error => error,
                });
            }
            self.bytes += count as u64;
            if self.bytes > MOST_BYTES {
                return Err(RemoteError::Protocol(format!(
                    "the answer is longer than {MOST_BYTES} bytes"
                )));
            }
            self.decoder.push(&piece[..count]);
        }
        let taken = self.decoder.take().map_err(|bad| malformed(&bad))?;
        taken.ok_or_else(|| RemoteError::Protocol("half a packet".into()))
    }

    /// The next line without its line end; `None` at the end of the list.
    ///
    /// # Errors
    /// As [`Self::packet`]; `ERR …` is the remote's refusal.
    fn line(&mut self) -> Result<Option<&[u8]>, RemoteError> {
        match self.packet()? {
            Packet::Flush => Ok(None),
            Packet::Delim | Packet::End => {
                Err(RemoteError::Protocol("a mark where a line belongs".into()))
            }
            Packet::Data(data) => {
                if let Some(message) = data.strip_prefix(b"ERR ") {
                    return Err(RemoteError::Refused {
                        message: plain(message),
                    });
                }
                Ok(Some(data.strip_suffix(b"\n").unwrap_or(data)))
            }
        }
    }

    /// Ends the conversation as git does, with an empty request. The answer is complete, so
    /// nothing that happens now can spoil it.
    pub(super) fn goodbye(mut self) {
        let _ = self.session.write(b"0000");
        self.session.close();
    }
}

fn malformed(bad: &Malformed) -> RemoteError {
    RemoteError::Protocol(match bad {
        Malformed::Length(found) => {
            let text = plain(found);
            let line = text.lines().next().unwrap_or_default();
            format!("the host says {line:?} where git should speak (a login script that prints?)")
        }
        Malformed::Oversized(length) => {
            format!("a packet of {length} bytes, more than the {LONGEST} that git allows")
        }
    })
}
