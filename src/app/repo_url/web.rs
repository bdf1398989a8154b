//! Web addresses of repositories, refused with the ssh address to write instead.

use std::borrow::Cow;

use super::{Invalid, host_name};

/// Path segments that follow a repository in the addresses of web pages: GitHub, GitLab before `/-/`, Gitea and
/// Forgejo, Bitbucket.
const PAGES: [&str; 16] = [
    "tree", "blob", "raw", "blame", "src", "commit", "commits", "branch", "branches", "tags",
    "releases", "issues", "pull", "pulls", "settings", "wiki",
];
/// Hosts whose repositories are always `owner/name`.
const OWNER_AND_NAME: [&str; 5] = [
    "github.com",
    "bitbucket.org",
    "codeberg.org",
    "gitea.com",
    "gist.github.com",
];

/// Why a web address cannot be used, with its ssh form as hint; `None` if it is none.
pub(super) fn refusal(text: &str) -> Option<Invalid> {
    let (scheme, rest) = if let Some(parts) = text.split_once("://") {
        parts
    } else {
        // As browsers show it: `github.com/acme/todo`. `git@github.com/acme/todo` lacks the colon.
        let (authority, _) = text.split_once('/')?;
        let host = authority.rsplit('@').next()?;
        (host_name(host) && host.contains('.')).then_some(("", text))?
    };
    // The part before the @ may contain a token: leave it out of the message.
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let shown = match scheme {
        "" => format!("{authority}/{path}"),
        _ => format!("{scheme}://{authority}/{path}"),
    };
    let refusal = Invalid::new(format!(
        "a deploy key works over ssh only; {shown:?} is not an ssh address"
    ));
    let known = matches!(
        scheme,
        "" | "http" | "https" | "git" | "git+https" | "git+http"
    );
    Some(match known.then(|| ssh_form(authority, path)).flatten() {
        Some(form) => refusal.hint(form),
        None => refusal,
    })
}

/// What to write instead of the web page of a repository.
fn ssh_form(authority: &str, path: &str) -> Option<String> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !authority.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let lower = host.to_ascii_lowercase();
    let host = lower.strip_prefix("www.").unwrap_or(&lower);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if !host_name(host) && !host.starts_with('[') {
        return None;
    }
    if let Some(at) = parts.iter().position(|part| *part == "_git") {
        return azure(host, &parts, at);
    }
    // Bitbucket Data Center: its ssh server is on port 7999 unless the administrator chose another.
    let data_center = |owner: &str, name: &str| {
        let (owner, name) = (owner.to_lowercase(), name.trim_end_matches(".git"));
        format!("write ssh://git@{host}:7999/{owner}/{name}.git (or the port of its ssh server)")
    };
    match parts[..] {
        ["projects", owner, "repos", name, ..] | ["scm", owner, name] => {
            return Some(data_center(owner, name));
        }
        ["users", owner, "repos", name, ..] => {
            return Some(data_center(&format!("~{owner}"), name));
        }
        _ => {}
    }
    let end = if OWNER_AND_NAME.contains(&host) {
        2
    } else {
        let page = |(at, part): (usize, &&str)| at > 1 && PAGES.contains(part);
        let dash = parts.iter().position(|part| *part == "-");
        dash.or_else(|| parts.iter().enumerate().position(page))
            .unwrap_or(parts.len())
    };
    let repo = parts.get(..end).filter(|repo| !repo.is_empty())?.join("/");
    let repo = decoded(repo.strip_suffix(".git").unwrap_or(&repo))?;
    let mut form = format!("write git@{host}:{repo}.git");
    if end < parts.len() {
        form += "; the branch is an answer of its own";
    }
    if port.is_some() {
        form += &format!(", or with the port of its ssh server: ssh://git@{host}:PORT/{repo}.git");
    }
    Some(form)
}

/// Azure Repos: `dev.azure.com/ORG/PROJECT/_git/REPO`, without the project if it has the repository's name,
/// and the older `ORG.visualstudio.com/DefaultCollection/PROJECT/_git/REPO`; else a server of one's own.
fn azure(host: &str, parts: &[&str], at: usize) -> Option<String> {
    let repo = *parts.get(at + 1)?;
    let before = parts.get(..at)?;
    let (organisation, before) = match (host, host.strip_suffix(".visualstudio.com")) {
        ("dev.azure.com", _) => (*before.first()?, &before[1..]),
        (_, Some(organisation)) => (organisation, before),
        _ => {
            return Some(format!(
                "write ssh://git@{host}/{}/_git/{repo}",
                before.join("/")
            ));
        }
    };
    let project = before
        .iter()
        .find(|part| **part != "DefaultCollection")
        .unwrap_or(&repo);
    Some(format!(
        "write git@ssh.dev.azure.com:v3/{organisation}/{project}/{repo}"
    ))
}

/// Text with `%20` and its like replaced; `None` if that is not UTF-8.
pub(super) fn decoded(text: &str) -> Option<Cow<'_, str>> {
    let hex = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = match after {
            [a, b, ..] if *first == b'%' && a.is_ascii_hexdigit() => hex(&[*a, *b]),
            _ => None,
        };
        out.push(escaped.unwrap_or(*first));
        rest = &after[if escaped.is_some() { 2 } else { 0 }..];
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}
