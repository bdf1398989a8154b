//! Git's framing, without any input or output.
//!
//! A packet is four hexadecimal digits (its length, the digits included) and the data.
//! Lengths 0, 1 and 2 are marks. A remote whose shell prints a greeting sends text instead,
//! which is why a bad length keeps the bytes that were found: they name the culprit.

/// The longest packet that git sends, its four digits included.
pub(super) const LONGEST: usize = 65520;

/// One packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet<'a> {
    /// A line or a piece of data, as it came.
    Data(&'a [u8]),
    /// `0000`: the end of a list.
    Flush,
    /// `0001`: the end of a section (v2).
    Delim,
    /// `0002`: the end of an answer (v2, stateless).
    End,
}

/// Not a packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// The four bytes are no length: what stands there instead, shortened.
    Length(Vec<u8>),
    /// Longer than git allows.
    Oversized(usize),
}

/// Bytes in, packets out.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    buffer: Vec<u8>,
    start: usize,
}

impl Decoder {
    /// Adds what has been read. Memory stays bounded as long as the caller takes every
    /// complete packet before it pushes again: one packet and one read.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Is a part of a packet waiting for its rest?
    pub(super) fn is_partial(&self) -> bool {
        self.start < self.buffer.len()
    }

    /// Is the next packet complete? Its length if so, and how much of it is data.
    fn complete(&self) -> Result<Option<(usize, usize)>, Malformed> {
        let waiting = &self.buffer[self.start..];
        let Some(head) = waiting.first_chunk::<4>() else {
            return Ok(None);
        };
        let bad = || Malformed::Length(waiting[..waiting.len().min(80)].to_vec());
        let length = head.iter().try_fold(0usize, |sum, digit| {
            let value = char::from(*digit).to_digit(16)?;
            Some(sum * 16 + usize::try_from(value).ok()?)
        });
        match length.ok_or_else(bad)? {
            mark @ 0..=2 => Ok(Some((4, mark))),
            3 => Err(bad()),
            long if long > LONGEST => Err(Malformed::Oversized(long)),
            length => Ok((waiting.len() >= length).then_some((length, length))),
        }
    }

    /// Is a packet ready to be taken?
    pub(super) fn ready(&self) -> Result<bool, Malformed> {
        Ok(self.complete()?.is_some())
    }

    /// Takes the next packet; `None` when it has not come whole yet.
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

/// Appends `line` as one packet. Lines are ours and short (a reference name at most), far
/// from [`LONGEST`].
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
    fn packets_and_marks() {
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
    fn every_cut_gives_the_same_packets() {
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
    fn garbage_names_what_it_found() {
        let Err(Malformed::Length(found)) = decoder(b"Welcome to this host\n").take() else {
            panic!("a greeting is no packet");
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
    fn oversized_is_refused_before_it_is_buffered() {
        assert_eq!(decoder(b"fff1").take(), Err(Malformed::Oversized(0xfff1)));
        assert_eq!(decoder(b"fff0").take(), Ok(None));
    }

    #[test]
    fn truncated_stays_partial() {
        let mut d = decoder(b"0009hel");
        assert_eq!(d.take(), Ok(None));
        assert_eq!(d.ready(), Ok(false));
        assert!(d.is_partial());
    }

    #[test]
    fn encode_is_read_back() {
        let mut out = Vec::new();
        encode(&mut out, b"command=ls-refs\n");
        assert_eq!(out, b"0014command=ls-refs\n");
        assert_eq!(
            decoder(&out).take(),
            Ok(Some(Packet::Data(b"command=ls-refs\n")))
        );
    }
}
