//! Git's packet framing (gitprotocol-common(5)), without I/O.
//!
//! A packet is four hexadecimal digits (its length, including the digits) and the data. Lengths 0, 1 and 2 are special
//! packets. A remote whose login shell prints a greeting sends text instead, so an invalid length keeps the bytes that
//! were received for the error message.

/// Longest packet that git sends, including its four digits.
pub(super) const LONGEST: usize = 65520;

/// One packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet<'a> {
    /// A line or a chunk of data.
    Data(&'a [u8]),
    /// `0000`: the end of a list.
    Flush,
    /// `0001`: the end of a section (v2).
    Delim,
    /// `0002`: the end of an answer (v2, stateless).
    End,
}

/// Why bytes are not a packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// The four bytes are not a length; the bytes received, shortened.
    Length(Vec<u8>),
    /// Longer than git allows.
    Oversized(usize),
}

/// Splits a stream of bytes into packets.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    buffer: Vec<u8>,
    start: usize,
}

impl Decoder {
    /// Adds received bytes. Memory is bounded by one packet and one read, as long as the caller takes every complete
    /// packet before it pushes again.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether the buffer contains an incomplete packet.
    pub(super) fn is_partial(&self) -> bool {
        self.start < self.buffer.len()
    }

    /// If the next packet is complete, its size, and its length field.
    fn complete(&self) -> Result<Option<(usize, usize)>, Malformed> {
        let pending = &self.buffer[self.start..];
        let Some(head) = pending.first_chunk::<4>() else {
            return Ok(None);
        };
        let bad = || Malformed::Length(pending[..pending.len().min(80)].to_vec());
        let length = head.iter().try_fold(0usize, |sum, digit| {
            let value = char::from(*digit).to_digit(16)?;
            Some(sum * 16 + usize::try_from(value).ok()?)
        });
        match length.ok_or_else(bad)? {
            mark @ 0..=2 => Ok(Some((4, mark))),
            3 => Err(bad()),
            long if long > LONGEST => Err(Malformed::Oversized(long)),
            length => Ok((pending.len() >= length).then_some((length, length))),
        }
    }

    /// Whether a complete packet is available.
    pub(super) fn ready(&self) -> Result<bool, Malformed> {
        Ok(self.complete()?.is_some())
    }

    /// Takes the next packet; `None` if it is incomplete.
    pub(super) fn take(&mut self) -> Result<Option<Packet<'_>>, Malformed> {
        let Some((size, length)) = self.complete()? else {
            return Ok(None);
        };
        let data = self.start + 4..self.start + size;
        self.start += size;
        Ok(Some(match length {
            0 => Packet::Flush,
            1 => Packet::Delim,
            2 => Packet::End,
            _ => Packet::Data(&self.buffer[data]),
        }))
    }
}

/// Appends `line` as one packet. Our lines are far shorter than [`LONGEST`].
pub(super) fn encode(out: &mut Vec<u8>, line: &[u8]) {
    out.extend_from_slice(format!("{:04x}", line.len() + 4).as_bytes());
    out.extend_from_slice(line);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoder(bytes: &[u8]) -> Decoder {
        let mut decoder = Decoder::default();
        decoder.push(bytes);
        decoder
    }

    #[test]
    fn packets_and_special_packets() {
        let mut d = decoder(b"0009hello0000000100020004");
        for expected in [
            Packet::Data(b"hello"),
            Packet::Flush,
            Packet::Delim,
            Packet::End,
            Packet::Data(b""),
        ] {
            assert_eq!(d.take(), Ok(Some(expected)));
        }
        assert_eq!(d.take(), Ok(None));
        assert!(!d.is_partial());
    }

    #[test]
    fn packets_do_not_depend_on_chunk_boundaries() {
        let whole = b"0009hello00000006hi";
        for cut in 0..=whole.len() {
            let mut d = Decoder::default();
            let mut seen = Vec::new();
            for part in [&whole[..cut], &whole[cut..]] {
                d.push(part);
                while let Ok(Some(packet)) = d.take() {
                    seen.push(format!("{packet:?}"));
                }
            }
            assert_eq!(seen.len(), 3, "cut at {cut}");
        }
    }

    #[test]
    fn an_invalid_length_keeps_the_bytes_received() {
        let Err(Malformed::Length(found)) = decoder(b"Welcome to this host\n").take() else {
            panic!("a greeting is not a packet");
        };
        assert!(found.starts_with(b"Welcome to"));
        assert!(matches!(decoder(b"0003").take(), Err(Malformed::Length(_))));
        assert!(matches!(
            decoder(b"+00a1").take(),
            Err(Malformed::Length(_))
        ));
        assert!(matches!(
            decoder(b"\xff\xff\xff\xff").take(),
            Err(Malformed::Length(_))
        ));
    }

    #[test]
    fn oversized_packets_are_refused_before_they_are_buffered() {
        assert_eq!(decoder(b"fff1").take(), Err(Malformed::Oversized(0xfff1)));
        assert_eq!(decoder(b"fff0").take(), Ok(None));
    }

    #[test]
    fn truncated_packets_stay_incomplete() {
        let mut d = decoder(b"0009hel");
        assert_eq!(d.take(), Ok(None));
        assert_eq!(d.ready(), Ok(false));
        assert!(d.is_partial());
    }

    #[test]
    fn encoded_packets_can_be_decoded() {
        let mut out = Vec::new();
        encode(&mut out, b"command=ls-refs\n");
        assert_eq!(out, b"0014command=ls-refs\n");
        assert_eq!(
            decoder(&out).take(),
            Ok(Some(Packet::Data(b"command=ls-refs\n")))
        );
    }
}
