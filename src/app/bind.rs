//! The listen address.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use super::{AbsPath, Invalid};

/// The address of the app's socket unit: `127.0.0.1:8000`, or the path of a unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bind {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A unix socket, readable by the web server's group.
    Unix(AbsPath),
}

impl Bind {
    /// The TCP port; `None` for a unix socket.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(address) => Some(address.port()),
            Self::Unix(_) => None,
        }
    }

    /// Where a socket unit listens, from its text.
    #[must_use]
    pub fn of_socket_unit(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix("ListenStream=")?.parse().ok())
    }

    /// The first loopback port from 8000 on that is not in `taken`.
    #[must_use]
    pub fn next_free(taken: &[u16]) -> Self {
        let port = (8000..=u16::MAX)
            .find(|port| !taken.contains(port))
            .unwrap_or(8000);
        Self::Tcp(SocketAddr::from(([127, 0, 0, 1], port)))
    }
}

impl FromStr for Bind {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        if let Some(path) = text.strip_prefix("unix:") {
            return Self::unix(path);
        }
        if text.starts_with('/') {
            return Self::unix(text);
        }
        if let Ok(port) = text.strip_prefix(':').unwrap_or(text).parse::<u16>() {
            return Self::tcp(SocketAddr::from(([127, 0, 0, 1], port)));
        }
        let address = text.replacen("localhost:", "127.0.0.1:", 1);
        match address.parse::<SocketAddr>() {
            Ok(address) => Self::tcp(address),
            Err(_) => Err(
                Invalid::new(format!("{text:?} is not an address to listen on"))
                    .hint("for example 127.0.0.1:8000, or /run/todo.sock"),
            ),
        }
    }
}

impl Bind {
    fn tcp(address: SocketAddr) -> Result<Self, Invalid> {
        if address.port() == 0 {
            return Err(Invalid::new(
                "port 0 would pick a different port at every start",
            ));
        }
        Ok(Self::Tcp(address))
    }
    fn unix(path: &str) -> Result<Self, Invalid> {
        // unix(7): sun_path holds 108 bytes with the final NUL.
        if path.len() > 107 {
            return Err(Invalid::new(
                "the path of a unix socket has at most 107 bytes",
            ));
        }
        Ok(Self::Unix(path.parse()?))
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_addresses() {
        let parsed = |text: &str| text.parse::<Bind>().map(|b| b.to_string()).ok();
        assert_eq!(parsed("8000").as_deref(), Some("127.0.0.1:8000"));
        assert_eq!(parsed("localhost:8001").as_deref(), Some("127.0.0.1:8001"));
        assert_eq!(parsed("[::1]:8000").as_deref(), Some("[::1]:8000"));
        assert_eq!(parsed("unix:/run/x.sock").as_deref(), Some("/run/x.sock"));
        for bad in [
            "",
            "0",
            "127.0.0.1:0",
            "70000",
            "todo",
            "/a b",
            "example.org:80",
        ] {
            assert_eq!(parsed(bad), None, "{bad:?} should be refused");
        }
    }

    #[test]
    fn picks_the_first_free_port() {
        assert_eq!(Bind::next_free(&[8000, 8001, 8003]).port(), Some(8002));
    }
}
