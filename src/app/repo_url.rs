//! The repository's address.

use std::fmt;
use std::str::FromStr;

use super::names::host_name;
use super::{AppName, Fingerprint, Invalid};

/// The address of a repository over ssh: `git@github.com:acme/todo.git` or
/// `ssh://git@host:2222/srv/todo.git`.
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
    /// The host name or address.
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
            _ => None,
        }
    }
    /// The fingerprint of the ed25519 host key; `None` for hosts that do not publish it.
    ///
    /// Sources: docs.github.com "GitHub's SSH key fingerprints", bitbucket.org/site/ssh; both
    /// recomputed from the published keys.
    #[must_use]
    pub fn published_host_key(&self) -> Option<Fingerprint> {
        let known = match self.host.as_str() {
            "github.com" | "ssh.github.com" => "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU",
            "bitbucket.org" => "SHA256:ybgmFkzwOSotHTHLJgHO0QN8L0xErw6vd0VhFA9m3SM",
            _ => return None,
        };
        known.parse().ok()
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
        let (account, port, path) = split(text)?;
        let (user, host) = account.split_once('@').unwrap_or(("git", account));
        // ssh would parse a leading dash as an option (CVE-2017-1000117); the alphabets exclude
        // everything that is special to a shell, a unit file or ssh_config.
        let plain = |text: &str, more: &[u8]| {
            !text.is_empty()
                && !text.starts_with('-')
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
        };
        if !plain(user, b"._-") || !host_name(host) {
            return Err(not_a_url(text));
        }
        if !plain(path.trim_start_matches(['/', '~']), b"/._-+~@")
            || path.ends_with('/') && path.len() < 2
        {
            return Err(not_a_url(text));
        }
        if path.split('/').any(|part| part == "..") {
            return Err(Invalid::new(format!(
                "the path of {text:?} must not contain \"..\""
            )));
        }
        Ok(Self {
            text: text.to_owned(),
            user: user.to_owned(),
            host: host.to_ascii_lowercase(),
            port,
            path: path.to_owned(),
        })
    }
}

fn split(text: &str) -> Result<(&str, Option<u16>, &str), Invalid> {
    if let Some(rest) = text.strip_prefix("ssh://") {
        let (account, path) = rest.split_at(rest.find('/').ok_or_else(|| not_a_url(text))?);
        // In `ssh://host/~user/x` the path starts at the tilde.
        let path = if path.starts_with("/~") {
            &path[1..]
        } else {
            path
        };
        let Some((account, port)) = account.rsplit_once(':') else {
            return Ok((account, None, path));
        };
        return match port.parse::<u16>() {
            Ok(port) if port > 0 => Ok((account, Some(port), path)),
            _ => Err(Invalid::new(format!("{port:?} is not a port"))),
        };
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        // The part before the @ may contain a token: leave it out of the message.
        let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        let mut error = Invalid::new(format!(
            "a deploy key works over ssh only; \"{scheme}://{rest}\" is not an ssh address"
        ));
        if let Some((host, path)) = rest.split_once('/')
            && matches!(scheme, "http" | "https" | "git")
            && host_name(host)
        {
            let path = path.trim_end_matches('/');
            let path = path.strip_suffix(".git").unwrap_or(path);
            error = error.hint(format!("write git@{host}:{path}.git"));
        }
        return Err(error);
    }
    match text.split_once(':') {
        Some((account, path)) if !account.contains('/') => Ok((account, None, path)),
        _ => Err(not_a_url(text)),
    }
}

fn not_a_url(text: &str) -> Invalid {
    Invalid::new(format!("{text:?} is not the ssh address of a repository")).hint(
        "for example git@github.com:acme/todo.git or ssh://git@git.example.org:2222/srv/todo.git",
    )
}

impl fmt::Display for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Result<(String, String, u16, String), Invalid> {
        let url: RepoUrl = text.parse()?;
        Ok((
            url.user.clone(),
            url.host.clone(),
            url.port(),
            url.path.clone(),
        ))
    }
    fn some(
        user: &str,
        host: &str,
        port: u16,
        path: &str,
    ) -> Result<(String, String, u16, String), Invalid> {
        Ok((user.into(), host.into(), port, path.into()))
    }

    #[test]
    fn parses_both_ssh_forms() {
        assert_eq!(
            parts("git@github.com:acme/todo.git"),
            some("git", "github.com", 22, "acme/todo.git")
        );
        assert_eq!(
            parts("GitHub.com:acme/todo"),
            some("git", "github.com", 22, "acme/todo")
        );
        assert_eq!(
            parts("ssh://me@h:2222/srv/t.git"),
            some("me", "h", 2222, "/srv/t.git")
        );
        assert_eq!(
            parts("ssh://h/~me/t.git"),
            some("git", "h", 22, "~me/t.git")
        );
    }

    #[test]
    fn an_https_address_is_refused_with_its_ssh_form_as_hint() {
        let error = "https://github.com/acme/todo".parse::<RepoUrl>().err();
        assert_eq!(
            error.and_then(|e| e.hint),
            Some("write git@github.com:acme/todo.git".into())
        );
        // The message must not repeat a token pasted with the address.
        let error = "https://user:secret@github.com/acme/todo.git"
            .parse::<RepoUrl>()
            .err();
        assert!(error.is_some_and(|e| !e.to_string().contains("secret")));
    }

    #[test]
    fn refuses_option_injection_and_malformed_addresses() {
        for bad in [
            "",
            "github.com",
            "/srv/todo.git",
            "git@-oProxyCommand=x:acme/todo",
            "-oProxyCommand=x@h:p",
            "git@h:-x",
            "git@h:",
            "ssh://h",
            "ssh://h:0/x",
            "ssh://h:x/y",
            "git@h:a b",
            "git@h:a'b",
            "git@h:../x",
            "a/b:c",
            "git@h:$(x)",
        ] {
            assert!(bad.parse::<RepoUrl>().is_err(), "{bad:?} should be refused");
        }
    }

    #[test]
    fn derives_the_name_from_the_repository() {
        let name = |text: &str| {
            text.parse::<RepoUrl>()
                .ok()
                .and_then(|u| u.suggested_name())
                .map(|n| n.to_string())
        };
        assert_eq!(
            name("git@github.com:acme/Todo.Django.git").as_deref(),
            Some("todo_django")
        );
        assert_eq!(name("git@github.com:acme/2do.git").as_deref(), Some("do"));
        assert_eq!(name("git@h:123").as_deref(), None);
    }
}
