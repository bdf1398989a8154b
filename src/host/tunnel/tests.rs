use std::net::TcpListener;
use std::thread::JoinHandle;

use super::*;
use crate::app::Proxy;

/// A proxy that hears and says what `dialogue` says, in turns, and then echoes.
fn proxy(dialogue: &[(&[u8], &[u8])]) -> Result<(u16, JoinHandle<Result<()>>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let owned = |(heard, said): &(&[u8], &[u8])| (heard.to_vec(), said.to_vec());
    let dialogue: Vec<_> = dialogue.iter().map(owned).collect();
    let serve = move || {
        let (mut stream, _) = listener.accept()?;
        for (heard, said) in dialogue {
            let mut bytes = vec![0; heard.len()];
            stream.read_exact(&mut bytes)?;
            assert_eq!(
                String::from_utf8_lossy(&bytes),
                String::from_utf8_lossy(&heard)
            );
            // In pieces, as a network may deliver it.
            for piece in said.chunks(7) {
                stream.write_all(piece)?;
                stream.flush()?;
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest)?;
        // Half closed: the other direction still goes.
        stream.write_all(&rest)?;
        Ok(())
    };
    Ok((port, std::thread::spawn(serve)))
}

fn address(text: &str) -> Result<ProxyAddress> {
    let proxy: Proxy = text.parse()?;
    proxy.address().cloned().context("no address")
}

const PATIENCE: Duration = Duration::from_millis(400);

/// Opens, and sends a word to and fro; what arrived, or the error with the port as PORT.
fn through(scheme: &str, dialogue: &[(&[u8], &[u8])]) -> Result<String> {
    let (port, server) = proxy(dialogue)?;
    let opened = open(
        &address(&format!("{scheme}127.0.0.1:{port}"))?,
        "git.host",
        22,
        PATIENCE,
    );
    let answer = match opened {
        Ok((stream, first)) => {
            let mut output = Vec::new();
            copy(stream, &first, &b"to and fro"[..], &mut output)?;
            String::from_utf8(output)?
        }
        Err(error) => format!("{error:#}").replace(&port.to_string(), "PORT"),
    };
    server.join().expect("no panic").or_else(|error| {
        // The client may go away in the middle.
        let broken = error.downcast_ref::<io::Error>().map(io::Error::kind);
        let gone = [
            ErrorKind::BrokenPipe,
            ErrorKind::ConnectionReset,
            ErrorKind::UnexpectedEof,
        ];
        if broken.is_some_and(|kind| gone.contains(&kind)) {
            Ok(())
        } else {
            Err(error)
        }
    })?;
    Ok(answer)
}

const CONNECT: &[u8] = b"CONNECT git.host:22 HTTP/1.1\r\nHost: git.host:22\r\n\r\n";

#[test]
fn http_proxies_connect_or_say_why_not() -> Result<()> {
    let with_login: &[u8] = b"CONNECT git.host:22 HTTP/1.1\r\nHost: git.host:22\r\n\
        Proxy-Authorization: Basic bWU6czMsY3JldA==\r\n\r\n";
    assert_eq!(
        through(
            "http://",
            &[(CONNECT, b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\nSSH-2.0-x\n")]
        )?,
        "SSH-2.0-x\nto and fro"
    );
    let dialogue: &[(&[u8], &[u8])] = &[(with_login, &b"HTTP/1.0 200 \r\n\r\n"[..])];
    assert_eq!(through("http://me:s3%2Ccret@", dialogue)?, "to and fro");
    for (answer, error) in [
        (
            &b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"[..],
            "no password for the proxy http://127.0.0.1:PORT",
        ),
        (
            b"HTTP/1.1 403 Forbidden\r\n\r\n",
            "git.host:22 is refused by the proxy http://127.0.0.1:PORT, which answers 403 Forbidden",
        ),
        (
            b"SSH-2.0-OpenSSH_9.2\r\n",
            "http://127.0.0.1:PORT is no HTTP proxy",
        ),
        (
            b"HTTP/1.1 200 OK\r\nno end",
            "no answer from the proxy http://127.0.0.1:PORT within 0 s",
        ),
        (
            b"",
            "no answer from the proxy http://127.0.0.1:PORT within 0 s",
        ),
    ] {
        let dialogue: &[(&[u8], &[u8])] = &[(CONNECT, answer)];
        assert_eq!(through("http://", dialogue)?, error);
    }
    let dialogue: &[(&[u8], &[u8])] = &[(with_login, &b"HTTP/1.1 407 No\r\n\r\n"[..])];
    assert_eq!(
        through("http://me:s3%2Ccret@", dialogue)?,
        "wrong password for the proxy http://127.0.0.1:PORT"
    );
    // An answer without end, and no proxy at all.
    let endless = format!(
        "HTTP/1.1 200 OK
{}",
        "x".repeat(2 * MOST)
    );
    let dialogue: &[(&[u8], &[u8])] = &[(CONNECT, endless.as_bytes())];
    let (port, server) = proxy(dialogue)?;
    let error = open(
        &address(&format!("http://127.0.0.1:{port}"))?,
        "git.host",
        22,
        Duration::from_secs(60),
    )
    .map(drop);
    assert_eq!(
        error.map_err(|error| error.to_string()),
        Err(format!("http://127.0.0.1:{port} is no HTTP proxy"))
    );
    drop(server);
    let closed = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let error = open(
        &address(&format!("http://127.0.0.1:{closed}"))?,
        "git.host",
        22,
        PATIENCE,
    )
    .map(drop);
    let error = error.map_err(|error| format!("{error:#}"));
    assert_eq!(
        error,
        Err(format!(
            "cannot reach the proxy http://127.0.0.1:{closed}: Connection refused (os error 111)"
        ))
    );
    Ok(())
}

#[test]
fn socks_proxies_connect_or_say_why_not() -> Result<()> {
    const PLAIN: &[u8] = &[5, 1, 0];
    const LOGIN: &[u8] = &[5, 2, 0, 2];
    const WORDS: &[u8] = b"\x01\x02me\x06s3cret";
    const REQUEST: &[u8] = b"\x05\x01\x00\x03\x08git.host\x00\x16";
    const REACHED: &[u8] = &[5, 0, 0, 1, 10, 0, 0, 1, 0, 22];
    for (scheme, dialogue, answer) in [
        (
            "socks5://",
            &[(PLAIN, &[5, 0][..]), (REQUEST, REACHED)][..],
            "to and fro",
        ),
        (
            "socks5://me:s3cret@",
            &[
                (LOGIN, &[5, 2][..]),
                (WORDS, &[1, 0]),
                (REQUEST, b"\x05\x00\x00\x03\x03abc\x00\x16"),
            ],
            "to and fro",
        ),
        (
            "socks5://me:s3cret@",
            &[(LOGIN, &[5, 2][..]), (WORDS, &[1, 1])],
            "wrong password for the proxy socks5://127.0.0.1:PORT",
        ),
        (
            "socks5://",
            &[(PLAIN, &[5, 0xff][..])],
            "no password for the proxy socks5://127.0.0.1:PORT",
        ),
        (
            "socks5://",
            &[
                (PLAIN, &[5, 0][..]),
                (REQUEST, &[5, 2, 0, 1, 0, 0, 0, 0, 0, 0]),
            ],
            "git.host:22 is refused by the proxy socks5://127.0.0.1:PORT: its rules do not permit it",
        ),
        (
            "socks5://",
            &[(PLAIN, &b"HTTP/1.1 400 Bad Request\r\n"[..])],
            "socks5://127.0.0.1:PORT is no SOCKS 5 proxy",
        ),
    ] {
        assert_eq!(through(scheme, dialogue)?, answer);
    }
    Ok(())
}
