//! Lists what init created, in a form that can be compared between two servers.

use anyhow::Result;

use super::{TOUCHED, WebServer};

/// Not created by init, or different on each server.
const LEFT_OUT: &[&str] = &[
    "/etc/nginx/",
    "/etc/hostname ",
    "/etc/hosts ",
    "/etc/machine-id ",
    "/etc/ssh/ssh_host",
    "/etc/.pwd.lock ",
    "/etc/passwd- ",
    "/etc/shadow- ",
    "/etc/group- ",
    "/etc/gshadow- ",
    "/etc/subuid- ",
    "/etc/subgid- ",
    "/var/lib/pullpray/todo/log/",
    "/var/lib/pullpray/todo/mirror.git/",
];

/// Present on each server, with different content.
const OWN_CONTENT: &[&str] = &[
    "/etc/pullpray/todo.data ",
    "/var/lib/pullpray/todo/.pullpray ",
    "/var/www/projects/todo/shared/.pullpray ",
    "/etc/ssh-agent-service/deploy-keys/todo_ed25519 ",
    "/etc/ssh-agent-service/deploy-keys/todo_ed25519.pub ",
    "/var/lib/pullpray/receipts/todo.jsonl ",
    "/var/lib/pullpray/todo/ledger.json ",
    "/var/www/projects/todo/shared/todo.sqlite3 ",
];

impl WebServer {
    /// Everything that init created for todo: path, kind, mode, owner, content; without keys, release
    /// names, times and logs.
    pub fn created(&self) -> Result<Vec<String>> {
        let live = self
            .run("basename $(readlink /var/www/projects/todo/current)")?
            .ok()?
            .stdout;
        let mut lines: Vec<String> = self
            .listing(TOUCHED)?
            .into_iter()
            .filter(|line| !LEFT_OUT.iter().any(|path| line.starts_with(path)))
            .map(|line| {
                let words: Vec<&str> = line.split(' ').collect();
                let own = OWN_CONTENT.iter().any(|path| line.starts_with(path))
                    || words[0].ends_with(".pyc")
                    || words[0].ends_with("/.pullpray-commit");
                let kept = if own { 4 } else { words.len() };
                words[..kept].join(" ").replace(live.trim(), "LIVE")
            })
            .collect();
        lines.sort();
        Ok(lines)
    }
}

/// The lines that only one of the two lists contains.
pub fn differences(one: &[String], other: &[String]) -> Vec<String> {
    let lacks = |mark: &str, lines: &[String], from: &[String]| -> Vec<String> {
        lines
            .iter()
            .filter(|line| !from.contains(line))
            .map(|line| format!("{mark} {line}"))
            .collect()
    };
    [lacks("-", one, other), lacks("+", other, one)].concat()
}
