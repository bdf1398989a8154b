//! How ssh reaches the git host: directly, through a jump host or a proxy, or at another address of it.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::names::host_name;
use super::{AppName, Invalid, masked};

/// The way of ssh to the git host. The address of a proxy may have a password: this prints it masked;
/// [`Proxy::setting`] has it whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    text: String,
    address: Option<ProxyAddress>,
}

/// A proxy that pullpray itself speaks to.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyAddress {
    /// Whether it speaks SOCKS 5 (RFC 1928), not HTTP's CONNECT (RFC 9110, section 9.3.6).
    pub socks: bool,
    /// Its host; an IPv6 address without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// User and password, decoded.
    pub login: Option<(String, String)>,
}

/// The variable that has the proxy for `pullpray tunnel` while no settings file has it.
pub const PROXY_VARIABLE: &str = "PULLPRAY_PROXY";

impl Proxy {
    /// As the settings file has it.
    #[must_use]
    pub fn setting(&self) -> &str {
        &self.text
    }

    /// The proxy, if pullpray itself speaks to it.
    #[must_use]
    pub fn address(&self) -> Option<&ProxyAddress> {
        self.address.as_ref()
    }

    /// The option of ssh_config(5). Anybody can read it: the address of a proxy is not in it, `program` finds it in the
    /// settings of the app.
    #[must_use]
    pub fn option(&self, program: &Path, app: Option<&AppName>) -> (&'static str, String) {
        if self.address.is_some() {
            let app = app.map(|app| format!(" --app {app}")).unwrap_or_default();
            let command = format!("{} tunnel %h %p{app}", program.display());
            return ("ProxyCommand", command);
        }
        let command = self.text.contains(' ');
        let name = if command { "ProxyCommand" } else { "ProxyJump" };
        (name, self.text.clone())
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Some(address) => address.fmt(f),
            None => f.write_str(&masked(&self.text)),
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ProxyAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.socks { "socks5" } else { "http" };
        let host = &self.host;
        if host.contains(':') {
            return write!(f, "{scheme}://[{host}]:{}", self.port);
        }
        write!(f, "{scheme}://{host}:{}", self.port)
    }
}

impl fmt::Debug for ProxyAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Proxy {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
        let word = scheme.chars().all(|c| c.is_ascii_alphanumeric());
        let address = if word && !scheme.is_empty() {
            Some(address(text)?)
        } else {
            jump_or_command(text)?;
            None
        };
        let text = text.to_owned();
        Ok(Self { text, address })
    }
}

fn jump_or_command(text: &str) -> Result<(), Invalid> {
    // Of a settings file in TOML, and of one line in ssh_config.
    let plain = |c: char| !c.is_control() && !matches!(c, '"' | '\\');
    let in_jump = |c: char| c.is_ascii_alphanumeric() || "._-@:[],".contains(c);
    if text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
        && text.chars().all(plain)
        && (text.contains(' ') || text.chars().all(in_jump))
    {
        return Ok(());
    }
    let text = masked(text);
    Err(
        Invalid::new(format!("{text:?} is neither a proxy nor a jump host"))
            .hint("for example http://proxy.example.org:3128 or jump@bastion.example.org:2222"),
    )
}

/// Parses an address. What is wrong with it is said without the text, which may have a password.
fn address(text: &str) -> Result<ProxyAddress, Invalid> {
    let refuse = |why: &str, hint: &str| Err(Invalid::new(why).hint(hint));
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let socks = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "socks5" | "socks5h" => true,
        _ => {
            return refuse(
                "names a proxy that is neither http:// nor socks5://",
                "for example http://user:password@proxy.example.org:3128",
            );
        }
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (login, place) = match rest.rsplit_once('@') {
        Some((login, place)) => (Some(login), place),
        None => (None, rest),
    };
    let plain = |c: char| c.is_ascii_graphic() && !"\"'`\\,/?#@".contains(c);
    let login = login.filter(|login| !login.is_empty()).map(|login| {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let known = login.chars().all(plain);
        known.then(|| Some((decoded(user)?, decoded(password)?)))?
    });
    if login == Some(None) {
        return refuse(
            "has a user or password with characters that an address may not have",
            "percent-encode them, for example %2C for a comma and %40 for @",
        );
    }
    match host_and_port(place, if socks { 1080 } else { 80 }) {
        Some((host, port)) => Ok(ProxyAddress {
            socks,
            host,
            port,
            login: login.flatten(),
        }),
        None => refuse(
            "is not the address of a proxy",
            "for example http://user:password@proxy.example.org:3128",
        ),
    }
}

/// `host`, `host:port` or `[::1]:port`; an IPv6 address is returned without brackets.
fn host_and_port(place: &str, default: u16) -> Option<(String, u16)> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, port)
        }
        None => place.split_at(place.find(':').unwrap_or(place.len())),
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default,
        port => port?.parse().ok().filter(|port| *port > 0)?,
    };
    (place.starts_with('[') || host_name(host)).then(|| (host.to_owned(), port))
}

/// Decodes `%40`; `None` for what is not UTF-8 or has a control character, which no proxy takes.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend(before.bytes());
        bytes.push(u8::from_str_radix(after.get(..2)?, 16).ok()?);
        rest = &after[2..];
    }
    bytes.extend(rest.bytes());
    let text = String::from_utf8(bytes).ok()?;
    // A field of RFC 1929 has at most 255 bytes.
    (text.len() < 256 && !text.contains(char::is_control)).then_some(text)
}

/// Another address of the git host's ssh: `ssh.github.com:443`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshHost {
    /// The name.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl FromStr for SshHost {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (host, port) = host_and_port(text.trim(), 443).ok_or_else(|| {
            Invalid::new(format!("{text:?} is not an address"))
                .hint("HOST:PORT, for example ssh.github.com:443")
        })?;
        Ok(Self { host, port })
    }
}

impl fmt::Display for SshHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_parsed_and_shown_without_its_password() -> Result<(), Invalid> {
        let login = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        for (text, socks, host, port, parsed) in [
            ("http://proxy:3128", false, "proxy", 3128, None),
            ("http://proxy/", false, "proxy", 80, None),
            (
                "HTTP://me:s3cret@proxy.corp:3128/",
                false,
                "proxy.corp",
                3128,
                login("me", "s3cret"),
            ),
            (
                "socks5h://a%40b:s3cret%2C%3a%20x@[::1]:9",
                true,
                "::1",
                9,
                login("a@b", "s3cret,: x"),
            ),
            (
                "socks5://me@10.0.0.1",
                true,
                "10.0.0.1",
                1080,
                login("me", ""),
            ),
        ] {
            let proxy: Proxy = text.parse()?;
            let found = proxy.address().cloned();
            let expected = ProxyAddress {
                socks,
                host: host.to_owned(),
                port,
                login: parsed,
            };
            assert!(found.as_ref() == Some(&expected), "{text}: {found:?}");
            for shown in [proxy.to_string(), format!("{proxy:?} {found:?}")] {
                assert!(!shown.contains("s3cret") && shown.contains(host), "{shown}");
            }
            let (name, option) =
                proxy.option(Path::new("/x/pullpray"), "todo".parse().ok().as_ref());
            assert_eq!(
                (name, option.as_str()),
                ("ProxyCommand", "/x/pullpray tunnel %h %p --app todo")
            );
        }
        Ok(())
    }

    #[test]
    fn no_error_and_no_mask_repeats_a_password() {
        for text in [
            "http://me:s3cret,x@proxy:3128",
            "http://me:s3cret/x@proxy:3128",
            "http://me:s3cret?@proxy:3128",
            "http://me:s3cret#@proxy:3128",
            "http://me:s3cret@x@proxy:3128",
            "http://me:s3cret%@proxy:3128",
            "http://me:s3cret%0a@proxy:3128",
            "http://me:s3cret@proxy:0",
            "http://me:s3cret@",
            "https://me:s3cret@proxy",
            "ftp://me:s3cret@proxy",
            "http://",
        ] {
            let why = text.parse::<Proxy>().map_err(|why| why.to_string());
            assert!(why.is_err_and(|why| !why.contains("s3cret")), "{text}");
            assert!(!masked(text).contains("s3cret"), "{}", masked(text));
        }
    }

    #[test]
    fn another_address_of_the_host_is_parsed() {
        for (text, shown) in [
            ("ssh.github.com:443", Some("ssh.github.com:443")),
            ("altssh.bitbucket.org", Some("altssh.bitbucket.org:443")),
            ("[::1]:22", Some("[::1]:22")),
            ("-oX:443", None),
            ("a b:1", None),
            ("a:b", None),
        ] {
            let parsed = text.parse::<SshHost>().ok().map(|it| it.to_string());
            assert_eq!(parsed.as_deref(), shown, "{text}");
        }
    }
}
