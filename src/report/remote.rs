//! The words for a failed request to the git host: what happened, and what to do about it.

use anyhow::anyhow;

use crate::app::{App, AppName, RepoUrl};
use crate::error::WithHint;
use crate::layout;
use crate::state::remote::{RemoteErrorKind as Kind, RemoteFailure};

/// What happened, in one line; not safe for a terminal.
#[must_use]
pub fn why(app: &App, failure: &RemoteFailure) -> String {
    let (repo, host) = (&app.repo, app.repo.host());
    let words = failure.words.trim_end_matches('.');
    match failure.kind {
        kind if kind.is_of_proxy() => format!("could not reach {host}: {}", own_words(words)),
        Kind::TooManyKeys => {
            format!("could not log in to {host}: ssh offered too many keys ({words})")
        }
        Kind::NoSpace => format!("{words}, half of what is free for its mirror"),
        Kind::NoReference => format!("{repo} {}", app.track.missing()),
        Kind::NotACommit => format!("{words} of {repo} is not a commit"),
        Kind::Moved => format!("{words} of {repo} moved in the meantime"),
        Kind::Unreadable => format!("{host} sent data that git cannot read: {words}"),
        _ => format!("could not reach {host}: {words}"),
    }
}

/// What `pullpray tunnel` says, without what ssh adds before it and in further lines, which may be joined by " / ".
#[must_use]
pub fn own_words(words: &str) -> &str {
    let (_, own) = words.split_once("error: ").unwrap_or(("", words));
    let own = own.split('\n').next().unwrap_or(own);
    own.split(" / ").next().unwrap_or(own)
}

/// What to do about it: a question or a fact, and a command that can be run now.
#[must_use]
pub fn hint(app: &App, kind: Kind) -> String {
    let (name, user, repo) = (&app.name, &app.user, &app.repo);
    let (host, alias) = (repo.host(), app.ssh_alias());
    let port = app.ssh_place().1;
    let state = layout::state(name);
    let over = repo.over_443().filter(|_| app.ssh_host.is_none());
    let over =
        over.map(|over| format!("; over port 443: sudo pullpray init {name} --ssh-host {over}"));
    let over = over.unwrap_or_default();
    match kind {
        Kind::ProxyDown | Kind::ProxySlow | Kind::ProxyPassword | Kind::ProxyRefuses => {
            proxy_hint(kind, repo, app.ssh_place(), Some(name))
        }
        Kind::HostKey => format!(
            "the git host shows a different key than the pinned one: sudo pullpray doctor {name} shows both, and the command that accepts the new one"
        ),
        Kind::Permission => format!(
            "does the git host still have the key? pullpray key {name} shows it. Is it loaded? sudo systemctl restart {}",
            layout::agent_unit(name)
        ),
        Kind::TooManyKeys => format!(
            "do IdentityFile lines for all hosts add keys that are tried first? sudo -u {user} ssh -G {alias} | grep -i identityfile"
        ),
        Kind::NoRepository => format!(
            "does {} still exist under this name, and does it list the key that pullpray key {name} shows? If it was renamed: sudo pullpray init {name} --repo URL",
            repo.slug()
        ),
        Kind::NameResolution => {
            format!("this server cannot resolve the name: getent hosts {host}")
        }
        Kind::ConnectionRefused => format!(
            "does an SSH server run on port {port}, and does no firewall reject this server? ssh-keyscan -p {port} {host}; another address is --ssh-host, a proxy or jump host --proxy of pullpray init {name}{over}"
        ),
        Kind::NoRoute => format!(
            "is this server online, and does no firewall block port {port}? ssh-keyscan -p {port} {host}; through a proxy or jump host: sudo pullpray init {name} --proxy USER@HOST{over}"
        ),
        Kind::Disconnected => format!(
            "if it lasts, the host or a firewall may block this server: ssh-keyscan -p {port} {host}"
        ),
        Kind::TimedOut => {
            format!("to try again now, and see how far it gets: sudo pullpray poll {name} -v")
        }
        Kind::TooMuch => format!(
            "fewer references match a branch or a longer tag pattern: sudo pullpray init {name} {}",
            app.track.flag()
        ),
        Kind::NoSpace => format!(
            "free some space; what uses it: df -h {0}; sudo du -xsh {0}/*",
            state.display()
        ),
        Kind::NoReference | Kind::NotACommit => format!(
            "push it, or deploy something else: sudo pullpray init {name} {}",
            app.track.flag()
        ),
        Kind::Moved => {
            format!("the next poll fetches it again; now: sudo pullpray poll {name}")
        }
        Kind::Unreadable => {
            format!("is the repository damaged? In it, on {host}: git fsck --full")
        }
        Kind::Protocol => format!(
            "is {} a git repository with SHA-1 commits, and what does its host answer? sudo pullpray doctor {name}",
            repo.slug()
        ),
        Kind::Invalid => format!(
            "what the settings say about the repository: {}; check them: sudo pullpray doctor {name}",
            layout::settings(name).display()
        ),
        Kind::Other => {
            format!("what is wrong with the connection: sudo pullpray doctor {name}")
        }
    }
}

/// What to do about a proxy that fails on the way to this place; without an app, the answers can still be changed.
#[must_use]
pub fn proxy_hint(
    kind: Kind,
    repo: &RepoUrl,
    (host, port): (&str, u16),
    app: Option<&AppName>,
) -> String {
    let address = "http://USER:PASSWORD@HOST:PORT";
    let answer = match app {
        Some(app) => format!("sudoedit {}", layout::settings(app).display()),
        None => "with a password it belongs into an answers file (init --answers FILE), or into the variable PULLPRAY_PROXY".to_owned(),
    };
    match kind {
        Kind::ProxySlow => {
            let app = app
                .map(|app| format!(": sudo pullpray poll {app} -v"))
                .unwrap_or_default();
            format!("it, or {host} behind it, is slow or down; try again later, or now{app}")
        }
        Kind::ProxyPassword => format!("proxy = \"{address}\" has its user and password: {answer}"),
        Kind::ProxyRefuses => {
            let over = repo.over_443().filter(|_| port == 22);
            let over = over
                .map(|over| format!(", or use 443: --ssh-host {over}"))
                .unwrap_or_default();
            format!(
                "does it permit CONNECT to port {port} (Squid: acl SSL_ports port {port}), and reach {host}? Ask who runs it{over}"
            )
        }
        _ => format!(
            "is its address right, does it run, and does no firewall block it? proxy = \"{address}\": {answer}"
        ),
    }
}

/// The error of a command that needs the git host, with its hint.
#[must_use]
pub fn error(app: &App, failure: &RemoteFailure) -> anyhow::Error {
    anyhow!(why(app, failure)).hint(hint(app, failure.kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{Answers, Facts, Limits};

    fn app() -> App {
        let mut answers = Answers::default();
        answers.set("repo", "ssh://git@host.example:2222/acme/todo.git");
        answers.set(
            "host_key",
            "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        );
        let app = answers.parse(&Facts::default(), Limits::default());
        app.expect("the answers are valid")
    }

    #[test]
    fn each_category_has_its_hint_and_each_hint_a_command() {
        let app = app();
        let table = [
            (Kind::HostKey, "sudo pullpray doctor todo shows both"),
            (Kind::Permission, "pullpray key todo shows it"),
            (Kind::TooManyKeys, "ssh -G host.example-repo-todo"),
            (Kind::NoRepository, "sudo pullpray init todo --repo URL"),
            (Kind::NameResolution, "getent hosts host.example"),
            (
                Kind::ConnectionRefused,
                "ssh-keyscan -p 2222 host.example; another address",
            ),
            (
                Kind::NoRoute,
                "firewall block port 2222? ssh-keyscan -p 2222 host.example",
            ),
            (
                Kind::Disconnected,
                "may block this server: ssh-keyscan -p 2222 host.example",
            ),
            (Kind::TimedOut, "sudo pullpray poll todo -v"),
            (Kind::ProxyDown, "sudoedit /etc/pullpray/todo.toml"),
            (Kind::ProxySlow, "sudo pullpray poll todo -v"),
            (Kind::ProxyPassword, "sudoedit /etc/pullpray/todo.toml"),
            (Kind::ProxyRefuses, "acl SSL_ports port 2222"),
            (Kind::TooMuch, "sudo pullpray init todo --branch NAME"),
            (Kind::NoSpace, "df -h /var/lib/pullpray/todo"),
            (
                Kind::NoReference,
                "push it, or deploy something else: sudo pullpray init todo --branch NAME",
            ),
            (
                Kind::NotACommit,
                "push it, or deploy something else: sudo pullpray init todo --branch NAME",
            ),
            (Kind::Moved, "now: sudo pullpray poll todo"),
            (Kind::Unreadable, "git fsck --full"),
            (Kind::Protocol, "SHA-1 commits"),
            (Kind::Invalid, "/etc/pullpray/todo.toml"),
            (Kind::Other, "sudo pullpray doctor todo"),
        ];
        for (kind, expected) in table {
            let hint = hint(&app, kind);
            assert!(hint.contains(expected), "{kind:?}: {hint}");
            assert!(!hint.ends_with('.') && !hint.contains('\n'), "{hint}");
        }
    }

    #[test]
    fn what_happened_is_one_sentence_of_category_and_words() {
        let app = app();
        for (kind, words, expected) in [
            (
                Kind::Permission,
                "ssh failed (exit status 255): Permission denied (publickey).",
                "could not reach host.example: ssh failed (exit status 255): Permission denied (publickey)",
            ),
            (
                Kind::TooManyKeys,
                "Too many authentication failures",
                "could not log in to host.example: ssh offered too many keys (Too many authentication failures)",
            ),
            (
                Kind::ProxyDown,
                "ssh failed (exit status 255): error: cannot reach the proxy http://p:1: Connection refused\nConnection closed by UNKNOWN port 65535",
                "could not reach host.example: cannot reach the proxy http://p:1: Connection refused",
            ),
            (
                Kind::NoReference,
                "",
                "ssh://git@host.example:2222/acme/todo.git has no branch main",
            ),
            (
                Kind::Moved,
                "main",
                "main of ssh://git@host.example:2222/acme/todo.git moved in the meantime",
            ),
            (
                Kind::Unreadable,
                "bad object",
                "host.example sent data that git cannot read: bad object",
            ),
            (
                Kind::NoSpace,
                "the git host sent more than 16 MiB",
                "the git host sent more than 16 MiB, half of what is free for its mirror",
            ),
        ] {
            let failure = RemoteFailure::new(kind, words);
            assert_eq!(why(&app, &failure), expected);
            let error = error(&app, &failure);
            assert_eq!(error.to_string(), expected);
            assert_eq!(crate::error::hints(&error), [hint(&app, kind)]);
        }
    }
}
