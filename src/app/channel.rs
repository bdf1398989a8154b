//! Where failures are reported: a mail address, a webhook, or an address of Apprise.

use std::fmt;
use std::str::FromStr;

use super::Invalid;

/// By what a notice is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    /// Mail, by sendmail's interface.
    Mail,
    /// One POST request.
    Https,
    /// The program `apprise`, which knows about a hundred services (its manual, "Supported Notifications").
    Apprise,
}

/// An address for notices. That of a webhook is a secret: whoever knows it can post there. So this prints it masked;
/// [`Channel::secret`] has it whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Channel {
    means: Means,
    address: String,
}

const LONGEST: usize = 2048;

impl Channel {
    /// By what it is delivered.
    #[must_use]
    pub fn means(&self) -> Means {
        self.means
    }

    /// The whole address, without `mailto:`.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.address
    }

    /// As the settings file has it.
    #[must_use]
    pub fn setting(&self) -> String {
        match self.means {
            Means::Mail => format!("mailto:{}", self.address),
            Means::Https | Means::Apprise => self.address.clone(),
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(&self.setting()))
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A login or an address (RFC 5321, Mailbox), without quotes, spaces, or a first character that makes an option of it.
fn is_mailbox(text: &str) -> bool {
    let part = |text: &str, more: &[u8]| {
        let known = |it: u8| it.is_ascii_alphanumeric() || more.contains(&it);
        text.bytes()
            .next()
            .is_some_and(|it| it.is_ascii_alphanumeric())
            && text.bytes().all(known)
    };
    match text.split_once('@') {
        Some((login, host)) => part(login, b"._%+-=/") && part(host, b".-"),
        None => part(text, b"._-"),
    }
}

impl FromStr for Channel {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        // What is no address may be a secret all the same: it is not repeated.
        let refuse =
            |why: &str, hint: &str| Err(Invalid::new(format!("an address {why}")).hint(hint));
        let plain = |it: u8| it.is_ascii_graphic() && !b"\"'\\`$,".contains(&it);
        if text.len() > LONGEST || !text.bytes().all(plain) {
            return refuse(
                "has characters that an address may not have",
                "percent-encode them, for example %2C for a comma",
            );
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            let mailbox = text.strip_prefix("mailto:").unwrap_or(text);
            let local = text.starts_with("mailto:") || mailbox.contains('@');
            if !local || !is_mailbox(mailbox) {
                return refuse(
                    "is neither a mail address nor a web address",
                    "ops@example.org, or https://chat.example.org/hooks/…",
                );
            }
            return Ok(Self {
                means: Means::Mail,
                address: mailbox.to_owned(),
            });
        };
        let known = |it: u8| it.is_ascii_alphanumeric() || b"+.-".contains(&it);
        if scheme.is_empty() || rest.is_empty() || !scheme.bytes().all(known) {
            return refuse("is not an address", "https://chat.example.org/hooks/…");
        }
        let means = match scheme.to_ascii_lowercase().as_str() {
            "http" => return refuse("would be sent without encryption", "use https"),
            "https" if rest.starts_with(['/', ':', '?', '#', '@']) => {
                return refuse("names no host", "https://chat.example.org/hooks/…");
            }
            "https" => Means::Https,
            _ => Means::Apprise,
        };
        Ok(Self {
            means,
            address: text.to_owned(),
        })
    }
}

/// An https address that is requested after polls, such as that of a check at healthchecks.io.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat(Channel);

impl Heartbeat {
    /// The address, which is a secret: of a poll that did its duty, or of one that did not.
    #[must_use]
    pub fn secret(&self, well: bool) -> String {
        let address = self.0.secret();
        if well {
            return address.to_owned();
        }
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        let query = if query.is_empty() {
            String::new()
        } else {
            format!("?{query}")
        };
        format!("{}/fail{query}", path.trim_end_matches('/'))
    }

    /// As the settings file has it.
    #[must_use]
    pub fn setting(&self) -> &str {
        self.0.secret()
    }
}

impl fmt::Display for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Heartbeat {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let channel: Channel = text.parse()?;
        match channel.means {
            Means::Https => Ok(Self(channel)),
            _ => Err(Invalid::new(format!("{channel} is not an https address"))),
        }
    }
}

/// A text without what is secret in the web addresses in it: of each, scheme and host remain, of those that Apprise
/// takes the scheme alone. Addresses of repositories (ssh, git) stay.
#[must_use]
pub fn masked(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let (address, left) = after.split_at(end_of_address(after));
        let scheme = before[..at].rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '+');
        match scheme.clone().next().unwrap_or_default() {
            "ssh" | "git" | "git+ssh" => shown.push_str(address),
            "http" | "https" | "socks5" | "socks5h" => {
                let place = address.split(['/', '?', '#']).next().unwrap_or_default();
                let host = place.rsplit('@').next().unwrap_or_default();
                // A password may have any of these characters, though it should not.
                let port = host
                    .rsplit_once(':')
                    .is_none_or(|(_, port)| port.parse::<u16>().is_ok());
                let split = place == host && address.contains('@');
                let host = if split || !port { "" } else { host };
                shown.push_str(host);
                if host.len() < address.len() {
                    shown.push_str("/…");
                }
            }
            _ => shown.push('…'),
        }
        rest = left;
    }
    shown + rest
}

/// Where an address ends in a text: at a space or a comma, or at a quote that closes a string.
fn end_of_address(text: &str) -> usize {
    let ends = |&(at, c): &(usize, char)| {
        let next = text[at + c.len_utf8()..].chars().next();
        let closes = next.is_none_or(|next| next.is_whitespace() || ",]}`".contains(next));
        c.is_whitespace() || c == ',' || "\"'`".contains(c) && closes
    };
    let end = text.char_indices().find(ends);
    end.map_or(text.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_recognised_and_printed_without_what_is_secret_in_them() {
        for (text, means, shown) in [
            ("ops@example.org", Means::Mail, "mailto:ops@example.org"),
            ("mailto:root", Means::Mail, "mailto:root"),
            (
                "https://chat.example.org/hooks/s3cret?a=b",
                Means::Https,
                "https://chat.example.org/…",
            ),
            (
                "https://me:s3cret@chat.example.org:8443/x",
                Means::Https,
                "https://chat.example.org:8443/…",
            ),
            ("tgram://s3cret/12", Means::Apprise, "tgram://…"),
            (
                "mailto://me:s3cret@example.org",
                Means::Apprise,
                "mailto://…",
            ),
        ] {
            let parsed = text.parse::<Channel>();
            assert!(
                parsed.as_ref().is_ok_and(|it| it.means() == means),
                "{text}"
            );
            assert_eq!(parsed.map(|it| it.to_string()), Ok(shown.to_owned()));
            let parsed = text.parse::<Channel>();
            assert!(!format!("{parsed:?}").contains("s3cret"), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_without_repeating_what_may_be_secret() {
        for text in [
            "",
            "ops",
            "-oX@example.org",
            "mailto:a b@example.org",
            "mailto:",
            "http://chat.example.org/hooks/s3cret",
            "https:///s3cret",
            "https://",
            "https://chat.example.org/\"s3cret",
            "https://chat.example.org/$(s3cret)",
            "a@b@c",
            "://s3cret",
            "hooks.example.org/s3cret",
            "https:/chat.example.org/s3cret",
            "s3cret",
        ] {
            let why = text.parse::<Channel>().map_err(|why| why.to_string());
            assert!(
                why.as_ref().is_err_and(|why| !why.contains("s3cret")),
                "{why:?}"
            );
        }
        assert!("mailto:root".parse::<Heartbeat>().is_err());
    }

    #[test]
    fn a_heartbeat_has_two_addresses() -> Result<(), Invalid> {
        for (text, fail) in [
            (
                "https://hc.example.org/ping/id",
                "https://hc.example.org/ping/id/fail",
            ),
            (
                "https://hc.example.org/id/?rid=1",
                "https://hc.example.org/id/fail?rid=1",
            ),
        ] {
            let heartbeat: Heartbeat = text.parse()?;
            assert_eq!(
                (
                    heartbeat.secret(true).as_str(),
                    heartbeat.secret(false).as_str()
                ),
                (text, fail)
            );
        }
        Ok(())
    }

    #[test]
    fn a_text_is_masked_at_every_address() {
        assert_eq!(
            masked("[\"https://a.b/\"s3cret\", \"mailto://me:pa's3cret@h\"]"),
            "[\"https://a.b/…\", \"mailto://…\"]"
        );
        assert_eq!(
            masked(
                "notify = [\"https://a.b/c\", 'tgram://x/y']\nrepo = \"ssh://git@h/x.git\" # https://u:p@d.e?f g"
            ),
            "notify = [\"https://a.b/…\", 'tgram://…']\nrepo = \"ssh://git@h/x.git\" # https://d.e/… g"
        );
    }
}
