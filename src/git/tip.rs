//! Lists references of a remote, as cheaply as the remote allows.
//!
//! With protocol v2 and one ref-prefix the response takes a few kilobytes however many references there are; ssh's
//! handshake takes most of the time. A plain sshd does not pass `GIT_PROTOCOL` on and sends all references in v0,
//! which are read as a stream and not collected. A prefix also matches longer names (`main`, `main2`), and a host may
//! ignore it, so names are always compared here.

use git2::Oid;

use super::launch::Program;
use super::pktline::{Decoder, LONGEST, Malformed, Packet, encode};
use super::ssh::Session;
use super::{RemoteError, SshRemote, remote_error::sanitize};

/// Most bytes of a response: half a million references. Without a limit a hostile host could keep a poll reading for
/// ever, or fill its memory.
const MAX_BYTES: u64 = 32 * 1024 * 1024;
/// Longest name of a reference, in bytes; longer ones are ignored, because messages and records contain the name.
const MAX_NAME: usize = 255;

/// A reference: name, object that it points to, and for an annotated tag the commit.
pub type FoundRef = (String, Oid, Option<Oid>);

/// Returns the commit that `reference` (`refs/heads/main`, `refs/tags/v1`) points to on the remote; `None` if the
/// remote has no reference with exactly that name. An annotated tag is peeled to its commit, so the result equals what
/// [`super::Mirror::fetch`] returns.
///
/// # Errors
/// When the request fails; a missing reference is not an error.
pub fn tip(remote: &SshRemote, reference: &str) -> Result<Option<Oid>, RemoteError> {
    Ok(tip_and_words(remote, reference)?.0)
}

/// As [`tip`], with what the host or ssh wrote beside the response.
///
/// # Errors
/// As [`tip`].
pub(super) fn tip_and_words(
    remote: &SshRemote,
    reference: &str,
) -> Result<(Option<Oid>, String), RemoteError> {
    if !git2::Reference::is_valid_name(reference) {
        return Err(RemoteError::Invalid(format!(
            "{reference:?} is not the name of a reference"
        )));
    }
    let mut found = None;
    let words = list_refs(remote, reference, &mut |name, oid, peeled| {
        if name == reference.as_bytes() {
            found = Some(peeled.unwrap_or(oid));
        }
    })?;
    Ok((found, words))
}

/// Returns all references whose names start with `prefix` (`refs/tags/`), in the remote's order, except names that are
/// not UTF-8 or too long. Only matching references take memory.
///
/// # Errors
/// As [`tip`].
pub fn refs(remote: &SshRemote, prefix: &str) -> Result<Vec<FoundRef>, RemoteError> {
    if prefix.chars().any(|c| c.is_control() || c == ' ') {
        return Err(RemoteError::Invalid(format!(
            "{prefix:?} is not the start of a reference name"
        )));
    }
    let mut found = Vec::new();
    list_refs(remote, prefix, &mut |name, oid, peeled| {
        if name.len() <= MAX_NAME
            && let Ok(name) = std::str::from_utf8(name)
        {
            found.push((name.to_owned(), oid, peeled));
        }
    })?;
    Ok(found)
}

/// Called for each reference whose name starts with the prefix.
type OnRef<'a> = dyn FnMut(&[u8], Oid, Option<Oid>) + 'a;

/// Lists references, and returns what the host or ssh wrote beside the response.
fn list_refs(
    remote: &SshRemote,
    prefix: &str,
    on_ref: &mut OnRef<'_>,
) -> Result<String, RemoteError> {
    let mut talk = Conversation::open(remote, Program::UploadPack { v2: true })?;
    match talk.line()? {
        Some(line) if line == b"version 2" => list_refs_v2(&mut talk, prefix, on_ref)?,
        Some(line) => {
            let first = line.to_vec();
            read_v0(&mut talk, &first, prefix.as_bytes(), on_ref)?;
        }
        // An empty repository, of a server that advertises nothing.
        None => {}
    }
    Ok(talk.finish())
}

fn list_refs_v2(
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
            b"object-format" => return Err(unsupported_hash(value)),
            _ => {}
        }
    }
    if !lists {
        return Err(RemoteError::Protocol(
            "the host offers protocol version 2 without ls-refs".into(),
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
        let (id, rest) = cut(line, b' ').ok_or_else(|| unexpected(line))?;
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

/// Reads a listing in v0 or v1: lines `ID NAME`, the first with capabilities after a NUL; `ID NAME^{}` after an
/// annotated tag is the object that it points to.
fn read_v0(
    talk: &mut Conversation,
    first: &[u8],
    prefix: &[u8],
    on_ref: &mut OnRef<'_>,
) -> Result<(), RemoteError> {
    let mut pending: Option<(Vec<u8>, Oid)> = None;
    let mut line = (first != b"version 1").then(|| first.to_vec());
    loop {
        if line.is_none() {
            line = talk.line()?.map(<[u8]>::to_vec);
        }
        let Some(text) = line.take() else { break };
        let text = cut(&text, 0).map_or(text.as_slice(), |(before, _)| before);
        let (id, name) = cut(text, b' ').ok_or_else(|| unexpected(text))?;
        if id == b"shallow" {
            continue;
        }
        let oid = object_id(id)?;
        if let Some((tag, tag_oid)) = pending.take() {
            let peeled = (name.strip_suffix(b"^{}") == Some(&tag)).then_some(oid);
            on_ref(&tag, tag_oid, peeled);
        }
        // `^{}` cannot be part of a name; an empty repository sends `capabilities^{}`.
        if name.starts_with(prefix) && !name.ends_with(b"^{}") {
            pending = Some((name.to_vec(), oid));
        }
    }
    if let Some((name, oid)) = pending {
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
        return Err(unsupported_hash(b"sha256"));
    }
    // from_str alone would accept an abbreviation.
    let text = std::str::from_utf8(hex)
        .ok()
        .filter(|text| text.len() == 40);
    text.and_then(|text| Oid::from_str(text).ok())
        .ok_or_else(|| unexpected(hex))
}

fn unsupported_hash(name: &[u8]) -> RemoteError {
    let name = sanitize(name);
    RemoteError::Protocol(format!(
        "the repository's object format is {name:?}; only sha1 is supported"
    ))
}

fn unexpected(line: &[u8]) -> RemoteError {
    let line = sanitize(&line[..line.len().min(80)]);
    RemoteError::Protocol(format!("unexpected line {line:?}"))
}

/// A session that reads packets.
pub(super) struct Conversation {
    /// For writing.
    pub(super) session: Session,
    decoder: Decoder,
    bytes: u64,
}

impl Conversation {
    /// Starts the program on the host.
    pub(super) fn open(remote: &SshRemote, program: Program) -> Result<Self, RemoteError> {
        let session = Session::open(remote, program)?;
        Ok(Self {
            session,
            decoder: Decoder::default(),
            bytes: 0,
        })
    }

    /// Reads the next packet.
    ///
    /// # Errors
    /// When the session fails, or ends; with the message of ssh or of the host.
    pub(super) fn packet(&mut self) -> Result<Packet<'_>, RemoteError> {
        while !self.decoder.ready().map_err(|bad| malformed(&bad))? {
            let mut piece = [0; 16 * 1024];
            let count = self.session.read(&mut piece)?;
            if count == 0 {
                let partial = self.decoder.is_partial();
                return Err(match self.session.failure() {
                    RemoteError::Protocol(_) if partial => {
                        RemoteError::Protocol("the response ends in the middle of a packet".into())
                    }
                    error => error,
                });
            }
            self.bytes += count as u64;
            if self.bytes > MAX_BYTES {
                return Err(RemoteError::Protocol(format!(
                    "the response is longer than {MAX_BYTES} bytes"
                )));
            }
            self.decoder.push(&piece[..count]);
        }
        let taken = self.decoder.take().map_err(|bad| malformed(&bad))?;
        taken.ok_or_else(|| RemoteError::Protocol("incomplete packet".into()))
    }

    /// Reads the next line without its line end; `None` at the end of the list.
    ///
    /// # Errors
    /// As [`Self::packet`]; `ERR …` is [`RemoteError::Refused`].
    fn line(&mut self) -> Result<Option<&[u8]>, RemoteError> {
        match self.packet()? {
            Packet::Flush => Ok(None),
            Packet::Delim | Packet::End => Err(RemoteError::Protocol(
                "a special packet instead of a line".into(),
            )),
            Packet::Data(data) => {
                if let Some(message) = data.strip_prefix(b"ERR ") {
                    return Err(RemoteError::Refused {
                        message: sanitize(message),
                    });
                }
                Ok(Some(data.strip_suffix(b"\n").unwrap_or(data)))
            }
        }
    }

    /// Ends the session as git does, with a flush packet. The response is complete, so errors are ignored. Returns
    /// what stands on stderr.
    pub(super) fn finish(mut self) -> String {
        let _ = self.session.write(b"0000");
        self.session.close();
        self.session.stderr_text()
    }
}

fn malformed(bad: &Malformed) -> RemoteError {
    RemoteError::Protocol(match bad {
        Malformed::Length(found) => {
            let text = sanitize(found);
            let line = text.lines().next().unwrap_or_default();
            format!(
                "the host sent {line:?} instead of git's protocol (does a login script print something?)"
            )
        }
        Malformed::Oversized(length) => {
            format!("a packet of {length} bytes; git allows {LONGEST}")
        }
    })
}
