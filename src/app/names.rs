//! Validated strings: each is parsed once, here, and never checked again.
//!
//! Each of them is written to unit files, sudoers rules, crontabs or command lines. The character
//! sets are narrower than those formats allow, because each format quotes differently: a value that
//! needs no quoting anywhere cannot be quoted wrongly.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::Invalid;

/// Declares a validated string type with its conversions; the function given checks the text, the second one finds it in a pasted line.
macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $rule:path $(, $found:expr)?) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The value as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Invalid;
            fn from_str(text: &str) -> Result<Self, Invalid> {
                let text = text.trim();
                $(
                    let text = $found(text).unwrap_or(text);
                )?
                $rule(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

checked_text! {
    /// The name of an app on this server: `[a-z][a-z0-9_-]{0,30}`.
    ///
    /// It is part of file names in sudoers.d and cron.d (which ignore names with a dot), of unit
    /// names and of an account name; this is the alphabet that all of them allow.
    AppName, app_name
}
checked_text! {
    /// A user name that Debian's useradd(8) accepts: at most 32 characters.
    AccountName, account_name
}
checked_text! {
    /// A group name that Debian's groupadd(8) accepts: at most 32 characters.
    GroupName, group_name
}
checked_text! {
    /// A branch name, as git-check-ref-format(1) allows, without shell metacharacters.
    Branch, branch
}
checked_text! {
    /// A dotted Python module: `todo.settings`.
    Module, module
}
checked_text! {
    /// A WSGI callable as gunicorn names it: `todo.wsgi` or `todo.wsgi:application`.
    Wsgi, wsgi
}
checked_text! {
    /// The path and query of the health check: `/healthz?full=1`.
    HealthPath, health_path
}
checked_text! {
    /// The `Host` header of the health check, with an optional port.
    HealthHost, health_host
}
checked_text! {
    /// A host key fingerprint as OpenSSH prints it: `SHA256:` and 43 characters. It is found in the whole line
    /// that `ssh-keygen -lf` prints.
    Fingerprint, fingerprint, fingerprint_in
}
fn app_name(text: &str) -> Result<(), Invalid> {
    let ok = text.len() <= 31
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
    if !ok {
        return Err(
            Invalid::new(format!("{text:?} is not a valid app name")).hint(
                "up to 31 of a-z, 0-9, _ and -, beginning with a letter, for example todo_django",
            ),
        );
    }
    // /var/lib/pullpray/receipts is pullpray's own, next to the apps' directories.
    if text == "receipts" {
        return Err(Invalid::new("\"receipts\" is reserved by pullpray"));
    }
    Ok(())
}

fn account_name(text: &str) -> Result<(), Invalid> {
    unix_name(text, "an account name")?;
    if text == "root" {
        return Err(Invalid::new("root cannot run an app"));
    }
    Ok(())
}

fn group_name(text: &str) -> Result<(), Invalid> {
    unix_name(text, "a group name")?;
    if text == "root" {
        return Err(Invalid::new("root cannot be the group of an app"));
    }
    Ok(())
}

fn unix_name(text: &str, what: &str) -> Result<(), Invalid> {
    let ok = (1..=32).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
    if !ok {
        return Err(Invalid::new(format!("{text:?} is not {what}"))
            .hint("up to 32 of a-z, 0-9, _ and -, beginning with a letter or _"));
    }
    Ok(())
}

fn branch(text: &str) -> Result<(), Invalid> {
    let bad = text.is_empty()
        || text.starts_with(['-', '/', '.'])
        || text.ends_with(['/', '.'])
        || text.ends_with(".lock")
        || text.contains("..")
        || text.contains("//")
        || text.contains("/.")
        || text.contains(".lock/")
        || text.contains("@{")
        || text == "@"
        || !text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"/._-+@=#".contains(&b));
    if bad {
        return Err(
            Invalid::new(format!("{text:?} is not a valid branch name")).hint("for example main")
        );
    }
    if text.starts_with("refs/") {
        return Err(Invalid::new("must not start with refs/"));
    }
    Ok(())
}

fn identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn module(text: &str) -> Result<(), Invalid> {
    if text.split('.').all(identifier) {
        return Ok(());
    }
    Err(Invalid::new(format!("{text:?} is not a Python module"))
        .hint("dotted names, for example todo.settings"))
}

fn wsgi(text: &str) -> Result<(), Invalid> {
    let (module_name, callable) = text.split_once(':').unwrap_or((text, "application"));
    if module_name.split('.').all(identifier) && identifier(callable) {
        return Ok(());
    }
    Err(Invalid::new(format!("{text:?} is not a WSGI module"))
        .hint("MODULE or MODULE:CALLABLE, for example todo.wsgi:application"))
}

impl Wsgi {
    /// The module without the callable.
    #[must_use]
    pub fn module(&self) -> &str {
        self.0.split_once(':').map_or(&self.0, |(module, _)| module)
    }
    /// Module and callable, for gunicorn's command line.
    #[must_use]
    pub fn target(&self) -> String {
        if self.0.contains(':') {
            self.0.clone()
        } else {
            format!("{}:application", self.0)
        }
    }
}

fn health_path(text: &str) -> Result<(), Invalid> {
    let ok = text.starts_with('/')
        && text.len() <= 1024
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"/-._~?&=+,;:@!$()*".contains(&b));
    if ok {
        return Ok(());
    }
    Err(Invalid::new(format!("{text:?} is not a request path"))
        .hint("it begins with /, for example /healthz"))
}

fn health_host(text: &str) -> Result<(), Invalid> {
    let (host, port) = text.split_once(':').unwrap_or((text, "80"));
    let ok = host_name(host) && port.parse::<u16>().is_ok_and(|port| port > 0);
    if ok {
        return Ok(());
    }
    Err(Invalid::new(format!("{text:?} is not a host name"))
        .hint("one of the project's ALLOWED_HOSTS, for example www.example.org"))
}

/// Whether this is a DNS name or an IPv4 address (RFC 1123, section 2.1).
pub(super) fn host_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

/// The fingerprint in a line: `256 SHA256:… root@host (ED25519)`.
fn fingerprint_in(line: &str) -> Option<&str> {
    line.split_whitespace()
        .map(|word| word.trim_matches(['"', '\'', ',', '=', '.']))
        .find(|word| word.starts_with("SHA256:"))
}

fn fingerprint(text: &str) -> Result<(), Invalid> {
    // 32 bytes in base64 without padding are 43 characters (ssh-keygen(1), -E sha256).
    let ok = text.strip_prefix("SHA256:").is_some_and(|rest| {
        rest.len() == 43
            && rest
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
    });
    if ok {
        return Ok(());
    }
    Err(Invalid::new(format!("{text:?} is not a fingerprint"))
        .hint("SHA256: and 43 characters, as `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` prints on the git host"))
}

/// An absolute path that needs no quoting in any format it is written to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AbsPath(PathBuf);

impl AbsPath {
    /// The path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl FromStr for AbsPath {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        let cut = text.strip_suffix('/').unwrap_or(text);
        let ok = cut.len() > 1
            && cut.starts_with('/')
            && !cut.contains("//")
            && cut.split('/').all(|part| part != "." && part != "..")
            && cut
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"/._-+@".contains(&b));
        if !ok {
            return Err(Invalid::new(format!(
                "{text:?} is not an absolute path without special characters"
            ))
            .hint("letters, digits and /._-+@ only, no . or .. components"));
        }
        Ok(Self(PathBuf::from(cut)))
    }
}

impl fmt::Display for AbsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// A path inside the release that is shared between releases: a symlink to shared/.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SharedPath {
    path: String,
    directory: bool,
}

impl SharedPath {
    /// The path relative to the release and to shared/, without trailing slash.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
    /// Whether it is a directory (written with a trailing slash). A missing directory is created
    /// empty; a file never is, since an empty database in place of a lost one looks like success.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.directory
    }
}

impl FromStr for SharedPath {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        let cut = text.strip_suffix('/').unwrap_or(text);
        let ok = !cut.is_empty()
            && !cut.starts_with('-')
            && cut.split('/').all(|part| {
                !part.is_empty() && part != "." && part != ".." && part != ".git" && part != ".venv"
            })
            && cut
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"/._-+@".contains(&b));
        if !ok {
            return Err(Invalid::new(format!(
                "{text:?} is not a path inside the repository that can be used"
            ))
            .hint("relative to its top, a directory with a trailing slash: db.sqlite3 or media/"));
        }
        Ok(Self {
            path: cut.to_owned(),
            directory: cut.len() != text.len(),
        })
    }
}

impl fmt::Display for SharedPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.path, if self.directory { "/" } else { "" })
    }
}

#[cfg(test)]
mod tests;
