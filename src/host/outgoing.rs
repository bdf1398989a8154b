//! Messages to the world outside: requests over https, mail, and what Apprise sends. Of the addresses, which may be
//! secret, errors say nothing, and none stands on a command line.

use std::path::Path;
use std::time::Duration;

use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Proxy};

use crate::app::{Proxy as Way, masked};

use super::{Server, View, read_bounded};

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(10);
/// How long another program may take to send a message.
const PROGRAM: Duration = Duration::from_secs(30);

/// The program that accepts mail (FHS 3.0, /usr/sbin/sendmail).
pub const SENDMAIL: &str = "/usr/sbin/sendmail";

/// The proxy that these variables of the app's environment name, else those of this process.
fn proxy(environment: &[(String, String)]) -> Result<Option<Proxy>, String> {
    let value = |names: [&str; 4]| {
        let mut values = names.iter().filter_map(|wanted| {
            let variable = environment.iter().find(|(name, _)| name == wanted)?;
            Some(variable.1.as_str()).filter(|value| !value.is_empty())
        });
        values.next()
    };
    let Some(address) = value(["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]) else {
        return Ok(Proxy::try_from_env());
    };
    let unusable = |_| "the proxy of the app's environment (https_proxy) cannot be used".to_owned();
    let named = Proxy::new(address).map_err(unusable)?;
    let Some(directly) = value(["no_proxy", "NO_PROXY", "", ""]) else {
        return Ok(Some(named));
    };
    let mut proxy = Proxy::builder(named.protocol())
        .host(named.host())
        .port(named.port());
    for (part, set) in [
        (
            named.username(),
            ureq::ProxyBuilder::username as fn(_, &str) -> _,
        ),
        (named.password(), ureq::ProxyBuilder::password),
    ] {
        if let Some(part) = part {
            proxy = set(proxy, part);
        }
    }
    for host in directly.split(',') {
        proxy = proxy.no_proxy(host.trim());
    }
    proxy.build().map(Some).map_err(unusable)
}

/// The certificates that these variables of the app's environment name, as OpenSSL reads them; else the system's.
fn roots(environment: &[(String, String)]) -> Result<RootCerts, String> {
    let mut named = environment.iter().rev();
    let named = named.find(|(name, _)| name == "SSL_CERT_FILE");
    let Some((_, path)) = named.filter(|(_, path)| !path.is_empty()) else {
        return Ok(RootCerts::PlatformVerifier);
    };
    let wrong = |why: &str| format!("{path}, SSL_CERT_FILE of the app's environment, {why}");
    let text = read_bounded(Path::new(path), MOST_CERTIFICATES)
        .map_err(|error| wrong(&format!("cannot be read: {}", error.root_cause())))?;
    let items: Vec<_> = parse_pem(text.as_bytes())
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if items.is_empty() {
        return Err(wrong("has no certificate"));
    }
    Ok(items.into())
}

/// Debian's own list has 220 kB.
const MOST_CERTIFICATES: u64 = 8 << 20;

/// Why a request failed, without its address.
fn failure(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => format!("no answer within {} s", REQUEST.as_secs()),
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::HostNotFound => "the host's name does not resolve".to_owned(),
        ureq::Error::ConnectProxyFailed(_) => "the proxy refuses the connection".to_owned(),
        ureq::Error::Rustls(error) => error.to_string(),
        ureq::Error::Protocol(_) => "the answer is not HTTP".to_owned(),
        _ => "the request could not be made".to_owned(),
    }
}

impl View {
    /// A proxy that this server uses already, and where it was found.
    #[must_use]
    pub fn known_proxy(&self) -> Option<(Way, &'static str)> {
        let names = [
            "https_proxy",
            "HTTPS_PROXY",
            "http_proxy",
            "ALL_PROXY",
            "all_proxy",
        ];
        let usable = |text: String| text.contains("://").then(|| text.parse().ok())?;
        let mut values = names.iter().filter_map(|name| std::env::var(name).ok());
        if let Some(found) = values.find_map(usable) {
            return Some((found, "the environment"));
        }
        let options = ["Acquire::https::Proxy", "Acquire::http::Proxy"];
        let asked = self.command("apt-config").arg("dump").args(options);
        let answer = asked
            .deadline(Duration::from_secs(5))
            .outcome()
            .ok()?
            .stdout;
        // Acquire::http::Proxy "http://proxy.example.org:3128/";
        let mut values = answer
            .lines()
            .filter_map(|line| Some(line.split('"').nth(1)?.to_owned()));
        Some((values.find_map(usable)?, "apt's configuration"))
    }
}

impl Server {
    /// Sends a body of JSON to an https address by POST, or requests it by GET, and requires an answer of 200 to 299. The
    /// proxy and the certificates of the environment count, else the system's; a redirect is not followed, as it would take what is secret elsewhere.
    ///
    /// # Errors
    /// Why it failed, without the address.
    pub fn request(
        &self,
        address: &str,
        json: Option<&str>,
        environment: &[(String, String)],
    ) -> Result<(), String> {
        let tls = TlsConfig::builder().root_certs(roots(environment)?);
        let agent: Agent = Agent::config_builder()
            .https_only(true)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(proxy(environment)?)
            .timeout_global(Some(REQUEST))
            .tls_config(tls.build())
            .user_agent(concat!("pullpray/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        let answer = match json {
            Some(json) => agent
                .post(address)
                .header("Content-Type", "application/json")
                .send(json),
            None => agent.get(address).call(),
        };
        let answer = answer.map_err(|error| failure(&error))?;
        match answer.status().as_u16() {
            200..=299 => Ok(()),
            status @ 300..=399 => Err(format!(
                "it answers {status}, a redirect, which is not followed"
            )),
            status => Err(format!("it answers {status}")),
        }
    }

    /// Sends a mail.
    ///
    /// # Errors
    /// Why sendmail did not take it.
    pub fn mail(&self, to: &str, message: &str) -> Result<(), String> {
        let program = self.command(Path::new(SENDMAIL)).args(["-i", to]);
        let sent = program
            .deadline(PROGRAM)
            .stdin(message.as_bytes())
            .and_then(super::Command::run);
        sent.map(drop).map_err(|error| error.to_string())
    }

    /// Sends a message to an address of Apprise, which gets it by a configuration file in memory.
    ///
    /// # Errors
    /// Why Apprise did not send it, without the address.
    pub fn apprise(&self, address: &str, title: &str, body: &str) -> Result<(), String> {
        let sent = self
            .command(Path::new("apprise"))
            .args(["--title", title, "--config"])
            .file(address.as_bytes())
            .and_then(|program| program.deadline(PROGRAM).stdin(body.as_bytes()))
            .and_then(super::Command::run);
        sent.map(drop).map_err(|error| masked(&error.to_string()))
    }
}

/// Keeps what this process has in memory out of core dumps, and other processes of its account from tracing it (prctl(2),
/// `PR_SET_DUMPABLE`): settings have addresses that are secret.
pub fn keep_memory_private() {
    // It fails for no reason that prctl(2) knows.
    let _ = nix::sys::prctl::set_dumpable(false);
}
