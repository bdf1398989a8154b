//! HTTP requests to the app, at its listen address.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::app::{Bind, HealthHost};

/// The app's response.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Time until the end of the header.
    pub took: Duration,
    /// Where it redirects to.
    pub location: Option<String>,
}

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpError {
    /// The connection failed; the system's error.
    Refused(String),
    /// No response within this time.
    TimedOut(Duration),
    /// The response is not HTTP, or the connection was closed before a response.
    Broken(String),
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => write!(f, "connection failed: {why}"),
            Self::TimedOut(after) => write!(f, "no response within {:.0} s", after.as_secs_f64()),
            Self::Broken(why) => write!(f, "no HTTP response: {why}"),
        }
    }
}

impl std::error::Error for HttpError {}

trait Stream: Read + Write {
    fn limit(&self, left: Duration) -> std::io::Result<()>;
}
impl Stream for TcpStream {
    fn limit(&self, left: Duration) -> std::io::Result<()> {
        self.set_read_timeout(Some(left))?;
        self.set_write_timeout(Some(left))
    }
}
impl Stream for UnixStream {
    fn limit(&self, left: Duration) -> std::io::Result<()> {
        self.set_read_timeout(Some(left))?;
        self.set_write_timeout(Some(left))
    }
}

/// The app's listen address, as seen by a visitor; in tests an app with set answers.
pub trait Http: fmt::Debug + Send + Sync {
    /// Sends `GET path` with that Host header, as a proxy that was asked with https if `https`, and reads the header
    /// of the response.
    ///
    /// # Errors
    /// [`HttpError`] if there is no response within `patience`.
    fn get(
        &self,
        bind: &Bind,
        path: &str,
        host: &HealthHost,
        https: bool,
        patience: Duration,
    ) -> Result<Response, HttpError>;
}

/// Connections over TCP and Unix sockets.
#[derive(Debug)]
pub(super) struct Sockets;

impl Http for Sockets {
    fn get(
        &self,
        bind: &Bind,
        path: &str,
        host: &HealthHost,
        https: bool,
        patience: Duration,
    ) -> Result<Response, HttpError> {
        let started = Instant::now();
        let refused = |error: std::io::Error| HttpError::Refused(error.to_string());
        let stream: Box<dyn Stream> = match bind {
            // An app that listens on all addresses is reached on the loopback address.
            Bind::Tcp(address) => {
                let mut address = *address;
                if address.ip().is_unspecified() {
                    address.set_ip(match address {
                        std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                        std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
                    });
                }
                Box::new(TcpStream::connect_timeout(&address, patience).map_err(refused)?)
            }
            Bind::Unix(path) => Box::new(connect(path.as_path(), patience)?),
        };
        request(stream, path, host, https, started, patience)
    }
}

/// Connects to a Unix socket whose backlog may be full: a blocking connect(2) would wait without limit, a
/// non-blocking one returns EAGAIN (unix(7)).
fn connect(path: &Path, patience: Duration) -> Result<UnixStream, HttpError> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
    let refused = |errno: Errno| HttpError::Refused(std::io::Error::from(errno).to_string());
    let address = UnixAddr::new(path).map_err(refused)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let until = Instant::now() + patience;
    loop {
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(refused)?;
        match connect(socket.as_raw_fd(), &address) {
            Ok(()) => {
                let stream = UnixStream::from(socket);
                stream
                    .set_nonblocking(false)
                    .map_err(|error| HttpError::Refused(error.to_string()))?;
                return Ok(stream);
            }
            Err(Errno::EAGAIN) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(Errno::EAGAIN) => return Err(HttpError::TimedOut(patience)),
            Err(errno) => return Err(refused(errno)),
        }
    }
}

fn request(
    mut stream: Box<dyn Stream>,
    path: &str,
    host: &HealthHost,
    https: bool,
    started: Instant,
    patience: Duration,
) -> Result<Response, HttpError> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => HttpError::TimedOut(patience),
        _ => HttpError::Broken(error.to_string()),
    };
    let left = |started: Instant| {
        patience
            .checked_sub(started.elapsed())
            .filter(|d| !d.is_zero())
            .ok_or(HttpError::TimedOut(patience))
    };
    stream.limit(left(started)?).map_err(failed)?;
    let proxied = if https {
        "X-Forwarded-Proto: https\r\n"
    } else {
        ""
    };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\n{proxied}User-Agent: pullpray/{} (health)\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut head = Vec::new();
    let mut piece = [0_u8; 4096];
    loop {
        stream.limit(left(started)?).map_err(failed)?;
        let count = stream.read(&mut piece).map_err(failed)?;
        if count == 0 {
            return Err(HttpError::Broken(
                "the connection was closed before a response".to_owned(),
            ));
        }
        head.extend_from_slice(&piece[..count]);
        let mut headers = [httparse::EMPTY_HEADER; 100];
        let mut response = httparse::Response::new(&mut headers);
        match response.parse(&head) {
            Ok(httparse::Status::Complete(_)) => {
                let status = response.code.unwrap_or(0);
                let location = headers
                    .iter()
                    .find(|header| header.name.eq_ignore_ascii_case("location"))
                    .and_then(|header| std::str::from_utf8(header.value).ok())
                    .filter(|to| to.len() <= 1024 && to.bytes().all(|b| b.is_ascii_graphic()))
                    .map(str::to_owned);
                return Ok(Response {
                    status,
                    took: started.elapsed(),
                    location,
                });
            }
            Ok(httparse::Status::Partial) if head.len() < 64 * 1024 => {}
            Ok(httparse::Status::Partial) => {
                return Err(HttpError::Broken("a header of more than 64 KiB".to_owned()));
            }
            Err(error) => return Err(HttpError::Broken(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn response_to(
        text: &'static str,
        patience: Duration,
    ) -> anyhow::Result<Result<Response, HttpError>> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let bind = Bind::Tcp(listener.local_addr()?);
        let server = std::thread::spawn(move || -> std::io::Result<Vec<u8>> {
            let (mut stream, _) = listener.accept()?;
            let mut question = vec![0; 1024];
            let count = stream.read(&mut question)?;
            question.truncate(count);
            stream.write_all(text.as_bytes())?;
            if text.is_empty() {
                std::thread::sleep(Duration::from_millis(300));
            }
            Ok(question)
        });
        let host = "www.example.org".parse()?;
        let answer = Sockets.get(&bind, "/h?a=1", &host, false, patience);
        let question = server
            .join()
            .map_err(|_| anyhow::anyhow!("the server panicked"))??;
        assert!(question.starts_with(b"GET /h?a=1 HTTP/1.1\r\nHost: www.example.org\r\n"));
        Ok(answer)
    }

    #[test]
    fn connecting_to_a_full_backlog_times_out() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("sock");
        let _never_accepts = std::os::unix::net::UnixListener::bind(&path)?;
        let patience = Duration::from_millis(100);
        let started = Instant::now();
        let mut full = Vec::new();
        let error = loop {
            match connect(&path, patience) {
                Ok(stream) => full.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(error, HttpError::TimedOut(patience));
        assert!(started.elapsed() < Duration::from_secs(10) && full.len() < 10_000);
        Ok(())
    }

    #[test]
    fn responses_are_parsed() -> anyhow::Result<()> {
        let second = Duration::from_secs(5);
        assert_eq!(
            response_to("HTTP/1.1 204 No Content\r\n\r\n", second)?.map(|r| r.status),
            Ok(204)
        );
        assert!(matches!(
            response_to("SSH-2.0-OpenSSH\r\n", second)?,
            Err(HttpError::Broken(_))
        ));
        assert!(matches!(
            response_to("HTTP/1.1 20", second)?,
            Err(HttpError::Broken(_))
        ));
        assert!(matches!(
            response_to("", Duration::from_millis(100))?,
            Err(HttpError::TimedOut(_))
        ));
        Ok(())
    }
}
