//! A connection through a proxy, for ssh: HTTP's CONNECT (RFC 9110, section 9.3.6) with Basic authentication, or SOCKS 5
//! (RFC 1928) with user and password (RFC 1929). The proxy resolves the host's name.
//!
//! The sentences of its errors are what [`crate::git::RemoteError`] knows them by.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use base64ct::{Base64, Encoding};

use super::View;
use crate::app::ProxyAddress;

/// How long the proxy may take to connect. ssh waits for 15 s (`ConnectTimeout`), and would not say who is slow.
const HANDSHAKE: Duration = Duration::from_secs(12);
/// Most bytes of the header of an answer.
const MOST: usize = 16 * 1024;

impl View {
    /// Connects to a host through a proxy, and copies standard input and output until the far end closes.
    ///
    /// # Errors
    /// In one sentence, without the password.
    pub fn tunnel(&self, proxy: &ProxyAddress, host: &str, port: u16) -> Result<()> {
        let (stream, first) = open(proxy, host, port, HANDSHAKE)?;
        // Unbuffered: nothing may wait for the end of a line.
        let input = std::fs::File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let output = std::fs::File::from(io::stdout().as_fd().try_clone_to_owned()?);
        copy(stream, &first, input, output)
    }
}

/// The end of the input is passed on, and the far end may still answer; when it closes, nothing more is to come, though
/// the input stays open.
fn copy(
    stream: TcpStream,
    first: &[u8],
    mut input: impl Read + Send + 'static,
    mut output: impl Write,
) -> Result<()> {
    let (mut from, mut to) = (stream.try_clone()?, stream);
    std::thread::spawn(move || {
        // An error means that the far end is gone, which the other direction finds out.
        drop(relay(&mut input, &mut to));
        drop(to.shutdown(Shutdown::Write));
    });
    output.write_all(first)?;
    relay(&mut from, &mut output)?;
    Ok(())
}

/// Not `io::copy`, which uses splice(2): while that waits for the socket it locks the pipe, and ssh, which reads its
/// first line byte by byte, waits for both.
fn relay(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        match from.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(&bytes[..count])?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A dialogue with a proxy that must be over in time.
struct Dialogue<'a> {
    proxy: &'a ProxyAddress,
    stream: TcpStream,
    until: Instant,
}

/// Returns the connection, and what the far end has sent already.
fn open(
    proxy: &ProxyAddress,
    host: &str,
    port: u16,
    patience: Duration,
) -> Result<(TcpStream, Vec<u8>)> {
    let until = Instant::now() + patience;
    let mut dialogue = Dialogue {
        proxy,
        stream: reach(proxy, patience, until)?,
        until,
    };
    let first = if proxy.socks {
        dialogue.socks(host, port).map(|()| Vec::new())
    } else {
        dialogue.connect(host, port)
    };
    let first = first.map_err(|error| match error.downcast::<io::Error>() {
        Ok(error) if is_late(&error) => late(proxy, patience),
        Ok(error) => anyhow!("cannot reach the proxy {proxy}: {error}"),
        Err(error) => error,
    })?;
    dialogue.stream.set_read_timeout(None)?;
    dialogue.stream.set_write_timeout(None)?;
    Ok((dialogue.stream, first))
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn late(proxy: &ProxyAddress, patience: Duration) -> anyhow::Error {
    anyhow!(
        "no answer from the proxy {proxy} within {} s",
        patience.as_secs()
    )
}

fn reach(proxy: &ProxyAddress, patience: Duration, until: Instant) -> Result<TcpStream> {
    let unreachable = || format!("cannot reach the proxy {proxy}");
    let place = (proxy.host.as_str(), proxy.port);
    let addresses: Vec<_> = place.to_socket_addrs().with_context(unreachable)?.collect();
    let mut last = anyhow!("its name has no address");
    for (tried, address) in addresses.iter().enumerate() {
        // An address that does not answer leaves time for the others.
        let left = until.saturating_duration_since(Instant::now());
        let left = left / u32::try_from(addresses.len() - tried)?;
        match TcpStream::connect_timeout(address, left.max(Duration::from_millis(1))) {
            Ok(stream) => return Ok(stream),
            Err(error) if is_late(&error) => last = late(proxy, patience),
            Err(error) => last = anyhow!("{}: {error}", unreachable()),
        }
    }
    Err(last)
}

impl Dialogue<'_> {
    /// Leaves the rest of the time to the next operation.
    fn limit(&self) -> io::Result<()> {
        let left = self.until.saturating_duration_since(Instant::now());
        let left = Some(left).filter(|left| !left.is_zero());
        let left = left.ok_or(ErrorKind::TimedOut)?;
        self.stream.set_read_timeout(Some(left))?;
        self.stream.set_write_timeout(Some(left))
    }

    fn say(&mut self, bytes: &[u8]) -> Result<()> {
        self.limit()?;
        Ok(self.stream.write_all(bytes)?)
    }

    /// Reads what is there, at most so many bytes.
    fn hear(&mut self, most: usize) -> Result<Vec<u8>> {
        self.limit()?;
        let mut bytes = vec![0; most];
        let count = self.stream.read(&mut bytes)?;
        if count == 0 {
            return Err(
                io::Error::new(ErrorKind::UnexpectedEof, "it closed the connection").into(),
            );
        }
        bytes.truncate(count);
        Ok(bytes)
    }

    fn hear_exactly<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = Vec::new();
        while bytes.len() < N {
            bytes.extend(self.hear(N - bytes.len())?);
        }
        Ok(std::array::from_fn(|at| bytes[at]))
    }

    fn wrong_password(&self) -> anyhow::Error {
        let which = if self.proxy.login.is_some() {
            "wrong"
        } else {
            "no"
        };
        anyhow!("{which} password for the proxy {}", self.proxy)
    }

    fn connect(&mut self, host: &str, port: u16) -> Result<Vec<u8>> {
        let place = if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
        let login = self.proxy.login.as_ref().map(|(user, password)| {
            let login = Base64::encode_string(format!("{user}:{password}").as_bytes());
            format!("Proxy-Authorization: Basic {login}\r\n")
        });
        let login = login.unwrap_or_default();
        self.say(format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{login}\r\n").as_bytes())?;
        let mut answer = Vec::new();
        let end = loop {
            answer.extend(self.hear(4096)?);
            let begins = answer.len().min(7);
            if answer[..begins] != b"HTTP/1."[..begins] || answer.len() > MOST {
                bail!("{} is no HTTP proxy", self.proxy);
            }
            if let Some(end) = answer.windows(4).position(|part| part == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let line = String::from_utf8_lossy(&answer);
        let line = line.lines().next().unwrap_or_default();
        let status = line.split_once(' ').map_or("", |(_, rest)| rest).trim();
        match status.get(..3).unwrap_or_default() {
            code if code.starts_with('2') => Ok(answer.split_off(end)),
            "407" => Err(self.wrong_password()),
            _ => bail!(
                "{place} is refused by the proxy {}, which answers {status}",
                self.proxy
            ),
        }
    }

    fn socks(&mut self, host: &str, port: u16) -> Result<()> {
        let login = self.proxy.login.clone();
        self.say(if login.is_some() {
            &[5, 2, 0, 2]
        } else {
            &[5, 1, 0]
        })?;
        match (self.hear_exactly::<2>()?, login) {
            ([5, 0], _) => {}
            ([5, 2], Some((user, password))) => {
                let mut words = vec![1];
                for word in [&user, &password] {
                    words.push(u8::try_from(word.len())?);
                    words.extend(word.bytes());
                }
                self.say(&words)?;
                if self.hear_exactly::<2>()?[1] != 0 {
                    return Err(self.wrong_password());
                }
            }
            ([5, 2 | 0xff], _) => return Err(self.wrong_password()),
            _ => bail!("{} is no SOCKS 5 proxy", self.proxy),
        }
        let mut request = vec![5, 1, 0, 3, u8::try_from(host.len())?];
        request.extend(host.bytes());
        request.extend(port.to_be_bytes());
        self.say(&request)?;
        let [version, reply, _, kind] = self.hear_exactly::<4>()?;
        // (RFC 1928, section 6)
        let why = match (version, reply) {
            (5, 0) => "",
            (5, 2) => "its rules do not permit it",
            (5, 3 | 4 | 6) => "it does not reach it",
            (5, 5) => "the connection was refused",
            (5, _) => "it could not connect",
            _ => bail!("{} is no SOCKS 5 proxy", self.proxy),
        };
        if !why.is_empty() {
            bail!(
                "{host}:{port} is refused by the proxy {}: {why}",
                self.proxy
            );
        }
        let mut left = 2 + match kind {
            1 => 4,
            4 => 16,
            _ => usize::from(self.hear_exactly::<1>()?[0]),
        };
        while left > 0 {
            left -= self.hear(left)?.len();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
