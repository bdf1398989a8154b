//! The repository's address.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use super::names::host_name;
use super::{AppName, Fingerprint, Invalid};
use crate::text::is_deceptive;

mod web;

/// The address of a repository over ssh: `git@github.com:acme/todo.git` or
/// `ssh://git@host:2222/srv/todo.git`. An IPv6 address stands in brackets. As for git, `%20` means a space in the
/// `ssh://` form only.
///
/// Only ssh is supported: a deploy key makes access read-only and revocable on the git host, and
/// deploy keys work over ssh only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoUrl {
    text: String,
    user: String,
    host: String,
    port: Option<u16>,
    path: String,
}

impl RepoUrl {
    /// The account on the git host, usually `git`.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }
    /// The host name or address; an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }
    /// The port; 22 by default.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(22)
    }
    /// The path on the git host: relative to the account's home in the short form, absolute in the
    /// `ssh://` form (git-clone(1), GIT URLS).
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
    /// The host's name in known_hosts (sshd(8): `[host]:port` unless the port is 22).
    #[must_use]
    pub fn known_hosts_name(&self) -> String {
        match self.port() {
            22 => self.host.clone(),
            port => format!("[{}]:{port}", self.host),
        }
    }
    /// Whether the host may be an alias in somebody's ssh_config: a name without a dot. The app's account reads no
    /// ssh_config of a person's, so it can only be used if this server resolves it.
    #[must_use]
    pub fn may_be_alias(&self) -> bool {
        !self.host.contains(['.', ':'])
    }
    /// Whether the host accepts RSA keys only.
    ///
    /// Sources: learn.microsoft.com "Use SSH key authentication" (Azure Repos: RSA, rsa-sha2-256 and rsa-sha2-512;
    /// a server of one's own has `_git` in the path), docs.aws.amazon.com "Setup steps for SSH connections to AWS
    /// CodeCommit" (RSA).
    #[must_use]
    pub fn needs_rsa_key(&self) -> bool {
        is_azure(&self.host)
            || self.path.contains("/_git/")
            || self.host.starts_with("git-codecommit.") && self.host.contains(".amazonaws.com")
    }
    /// The path without leading and trailing slashes and `.git`: `acme/todo`.
    #[must_use]
    pub fn slug(&self) -> &str {
        let path = self.path.trim_matches('/');
        path.strip_suffix(".git").unwrap_or(path)
    }
    /// The page where a deploy key is added, and the option to leave off; `None` for hosts whose
    /// pages are unknown.
    #[must_use]
    pub fn deploy_key_page(&self) -> Option<(String, &'static str)> {
        match self.host.as_str() {
            "github.com" | "ssh.github.com" => Some((
                format!("https://github.com/{}/settings/keys/new", self.slug()),
                "leave \"Allow write access\" off",
            )),
            "gitlab.com" => Some((
                format!(
                    "https://gitlab.com/{}/-/settings/repository#js-deploy-keys-settings",
                    self.slug()
                ),
                "leave \"Grant write permissions to this key\" off",
            )),
            "bitbucket.org" => Some((
                format!("https://bitbucket.org/{}/admin/access-keys/", self.slug()),
                "access keys are read-only there",
            )),
            "codeberg.org" => Some((
                format!("https://codeberg.org/{}/settings/keys", self.slug()),
                "leave \"Enable write access\" off",
            )),
            _ => None,
        }
    }
    /// The published host key to pin: ed25519, else ecdsa, else rsa, of those that ssh's `HostKeyAlgorithms` permit;
    /// `None` for hosts that do not publish them.
    ///
    /// Sources: docs.github.com "GitHub's SSH key fingerprints", docs.gitlab.com "GitLab.com settings",
    /// support.atlassian.com "Configure SSH and two-step verification", docs.codeberg.org "SSH fingerprints",
    /// learn.microsoft.com "Use SSH key authentication" (Azure Repos); recomputed from the published keys.
    #[must_use]
    pub fn published_host_key(&self, permitted: &str) -> Option<Fingerprint> {
        let keys = match self.host.as_str() {
            "github.com" | "ssh.github.com" => [
                "+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU",
                "p2QAMXNIC1TJYWeIOttrVc98/R1BUFWu3/LiyKgUfQM",
                "uNiVztksCsDhcc0u9e8BujQXVUpKZIDTMczCvj3tD2s",
            ],
            "gitlab.com" | "altssh.gitlab.com" => [
                "eUXGGm1YGsMAS7vkcx6JOJdOGHPem5gQp4taiCfCLB8",
                "HbW3g8zUjNSksFbqTiUWPWg2Bq1x8xdGUrliXFzSnUw",
                "ROQFvPThGrW4RuWLoL9tq9I9zJ42fK4XywyRtbOz/EQ",
            ],
            "bitbucket.org" | "altssh.bitbucket.org" => [
                "ybgmFkzwOSotHTHLJgHO0QN8L0xErw6vd0VhFA9m3SM",
                "FC73VB6C4OQLSCrjEayhMp9UMxS97caD/Yyi2bhW/J0",
                "46OSHA1Rmj8E8ERTC6xkNcmGOw9oFxYr0WF6zWW8l1E",
            ],
            "codeberg.org" => [
                "mIlxA9k46MmM6qdJOdMnAQpzGxF4WIVVL+fj+wZbw0g",
                "T9FYDEHELhVkulEKKwge5aVhVTbqCW0MIRwAfpARs/E",
                "6QQmYi4ppFS4/+zSZ5S4IU+4sa6rwvQ4PbhCtPEBekQ",
            ],
            _ if is_azure(&self.host) => ["", "", "ohD8VZEXGWo6Ez8GSEJQ9WpafgLFsOfLOtGGQCQo6Og"],
            _ => return None,
        };
        let families = ["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-"];
        let may = |family: &str| permitted.split(',').any(|name| name.starts_with(family));
        let mut keys = families.iter().zip(keys).filter(|(_, key)| !key.is_empty());
        let (_, key) = keys.find(|(family, _)| permitted.is_empty() || may(family))?;
        format!("SHA256:{key}").parse().ok()
    }
    /// The host's other address for networks that close port 22: the same service, with the same keys.
    ///
    /// Sources: docs.github.com "Using SSH over the HTTPS port", docs.gitlab.com "GitLab.com settings" (alternative SSH
    /// port), support.atlassian.com "Use the SSH protocol with Bitbucket Cloud".
    #[must_use]
    pub fn over_443(&self) -> Option<&'static str> {
        match (self.host.as_str(), self.port()) {
            ("github.com", 22) => Some("ssh.github.com:443"),
            ("gitlab.com", 22) => Some("altssh.gitlab.com:443"),
            ("bitbucket.org", 22) => Some("altssh.bitbucket.org:443"),
            _ => None,
        }
    }
    /// The default name of the app: the repository's name.
    #[must_use]
    pub fn suggested_name(&self) -> Option<AppName> {
        let last = self.slug().rsplit('/').next()?;
        let name: String = last
            .chars()
            .map(|c| c.to_ascii_lowercase())
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '-' {
                    c
                } else {
                    '_'
                }
            })
            .skip_while(|c| !c.is_ascii_lowercase())
            .take(31)
            .collect();
        name.parse().ok()
    }
}

impl FromStr for RepoUrl {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        let text = text.strip_prefix("git clone ").unwrap_or(text).trim();
        let (account, path) = split(text)?;
        let (user, place) = account.rsplit_once('@').unwrap_or(("git", account));
        // The message must not repeat a password.
        if user.contains(':') {
            return Err(Invalid::new("an ssh address has no password").hint("a deploy key is used"));
        }
        let (host, port) = host_and_port(text, place)?;
        // ssh would parse a leading dash as an option (CVE-2017-1000117); the alphabets exclude
        // everything that is special to a shell, a unit file or ssh_config.
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if user.is_empty() || user.starts_with('-') || !user.chars().all(plain) {
            return Err(not_a_url(text));
        }
        let in_path = |c: char| {
            plain(c)
                || "/+~@ %,:=".contains(c)
                || !c.is_ascii() && !c.is_control() && !is_deceptive(c)
        };
        let begin = path.trim_start_matches(['/', '~']);
        if begin.is_empty() || begin.starts_with('-') || !path.chars().all(in_path) {
            return Err(not_a_url(text));
        }
        if path.split('/').any(|part| part == "..") {
            return Err(Invalid::new(format!(
                "the path of {text:?} must not contain \"..\""
            )));
        }
        let azure = is_azure(&host);
        let parts = path.trim_matches('/').split('/');
        if azure
            && (parts.clone().next() != Some("v3") || parts.count() != 4 || path.contains("/_git/"))
        {
            return Err(
                Invalid::new(format!("{text:?} is not an ssh address of Azure"))
                    .hint("write git@ssh.dev.azure.com:v3/ORGANISATION/PROJECT/REPOSITORY"),
            );
        }
        Ok(Self {
            text: text.to_owned(),
            user: user.to_owned(),
            host,
            port,
            path: path.trim_end_matches('/').to_owned(),
        })
    }
}

/// Splits an address into `user@host:port` and the path.
fn split(text: &str) -> Result<(&str, Cow<'_, str>), Invalid> {
    // git's other names of the ssh protocol, which it no longer recommends (connect.c).
    let ssh = ["ssh://", "git+ssh://", "ssh+git://"];
    if let Some(rest) = ssh.iter().find_map(|scheme| text.strip_prefix(scheme)) {
        let (account, path) = rest.split_at(rest.find('/').ok_or_else(|| not_a_url(text))?);
        // In `ssh://host/~user/x` the path starts at the tilde.
        let path = if path.starts_with("/~") {
            &path[1..]
        } else {
            path
        };
        return Ok((account, web::decoded(path).ok_or_else(|| not_a_url(text))?));
    }
    if let Some(refusal) = web::refusal(text) {
        return Err(refusal);
    }
    // `[::1]:x`, and git's own `[user@host:port]:x`.
    let end = text
        .find('[')
        .and_then(|_| text.rfind("]:"))
        .map(|end| end + 1);
    let colon = end
        .or_else(|| text.find(':'))
        .ok_or_else(|| not_a_url(text))?;
    let (mut account, path) = (&text[..colon], &text[colon + 1..]);
    if account.contains('/') || has_bare_ipv6(text) {
        return Err(not_a_url(text));
    }
    let inner = account
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if let Some(inner) = inner.filter(|inner| inner.parse::<Ipv6Addr>().is_err()) {
        account = inner;
    }
    Ok((account, Cow::Borrowed(path)))
}

/// The host in lower case, an IPv6 address without brackets; the port, if one is given.
fn host_and_port(text: &str, place: &str) -> Result<(String, Option<u16>), Invalid> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(|| not_a_url(text))?;
            host.parse::<Ipv6Addr>().map_err(|_| not_a_url(text))?;
            (host, port)
        }
        None => place.split_at(place.find(':').unwrap_or(place.len())),
    };
    if !place.starts_with('[') && !host_name(host) {
        return Err(not_a_url(text));
    }
    let port = match port {
        // ssh://host:/x
        "" | ":" => None,
        port => match port.trim_start_matches(':').parse::<u16>() {
            Ok(port) if port > 0 => Some(port),
            _ => {
                let port = port.trim_start_matches(':');
                let invalid = Invalid::new(format!("{port:?} is not a port"));
                let form = text.split_once("://").map(|(_, rest)| rest);
                let word = port.starts_with(|c: char| c.is_ascii_alphabetic());
                return Err(match form.filter(|_| word) {
                    Some(form) => invalid.hint(format!("write {form}, without ssh://")),
                    None => invalid,
                });
            }
        },
    };
    Ok((host.to_ascii_lowercase(), port))
}

/// Whether this is a host of Azure Repos.
fn is_azure(host: &str) -> bool {
    matches!(host, "ssh.dev.azure.com" | "vs-ssh.visualstudio.com")
}

/// Whether the text is like `git@2001:db8::1:x`, which could be divided in several ways.
fn has_bare_ipv6(text: &str) -> bool {
    let host = text
        .rsplit_once(':')
        .and_then(|(account, _)| account.rsplit('@').next());
    host.is_some_and(|host| host.parse::<Ipv6Addr>().is_ok())
}

fn not_a_url(text: &str) -> Invalid {
    let invalid = Invalid::new(format!("{text:?} is not the ssh address of a repository"));
    invalid.hint(if has_bare_ipv6(text) {
        "an IPv6 address stands in brackets: git@[2001:db8::1]:acme/todo.git"
    } else {
        "for example git@github.com:acme/todo.git or ssh://git@git.example.org:2222/srv/todo.git"
    })
}

impl fmt::Display for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
