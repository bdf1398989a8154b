//! What the app's account must be able to reach, on a server that closes directories and programs to other users.
//! Root, who checks, can reach everything, so the mode bits are evaluated for the account.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::app::{App, Bind};
use crate::host::{Identity, Kind, Stat, View};
use crate::layout;

use super::Problem;
use super::directories::owned_dirs;

/// Mode bits of one class of users (inode(7)).
const READ: u32 = 0o4;
const SEARCH: u32 = 0o1;
const EXECUTE: u32 = 0o5;

/// Programs that polls and the deploy script start.
const PROGRAMS: [&str; 5] = ["sh", "ssh", "sudo", "systemctl", "uv"];
/// Files without which the account resolves no name, or ssh fails.
const READ_BY_ALL: [&str; 5] = [
    "/etc/passwd",
    "/etc/nsswitch.conf",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/ssh/ssh_config",
];

/// The parts of the paths that the account needs and cannot use, with the command that opens them; `None` if there
/// are none. Directories that pullpray owns have a step of their own.
pub(super) fn out_of_reach(view: &View, app: &App) -> Result<Option<Problem>> {
    let account = account(view, app);
    let mut named = owned_dirs(app);
    let (mut whys, mut commands) = (Vec::new(), Vec::new());
    let needed = needed(view, app)?.into_iter();
    let needed = needed.map(|(path, wanted)| (account.clone(), path, wanted));
    let serves =
        web_server(view)?.map(|account| (account, app.static_dir.as_path().into(), SEARCH));
    for (account, path, wanted) in needed.chain(serves) {
        let Some((part, wanted, stat)) = closed(view, &account, &path, wanted) else {
            continue;
        };
        let (verb, opens) = match (stat.kind, wanted) {
            (Kind::Directory, SEARCH) => ("enter", "o+x"),
            (Kind::Directory, _) => ("list", "o+rx"),
            (_, READ) => ("read", "o+r"),
            _ => ("execute", "o+rx"),
        };
        let shown = part.display();
        if named.contains(&part) {
            continue;
        }
        let of = view.owned(stat.uid, stat.gid, stat.mode);
        let on_the_way = if part == path {
            String::new()
        } else {
            format!(", and needs {}", path.display())
        };
        whys.push(format!(
            "{} cannot {verb} {shown} ({of}){on_the_way}",
            account.name
        ));
        commands.push(format!("sudo chmod {opens} {shown}"));
        named.push(part);
    }
    let (why, remedy) = (whys.join("; "), commands.join(" && "));
    Ok((!whys.is_empty()).then(|| Problem::new(why, remedy)))
}

/// The account of an nginx that is installed: www-data in Debian's package, nginx in its own (nginx.org).
fn web_server(view: &View) -> Result<Option<Identity>> {
    if !view.has_systemd()? || view.unit("nginx.service")?.load != "loaded" {
        return Ok(None);
    }
    let mut accounts = ["www-data", "nginx"].into_iter();
    Ok(accounts.find_map(|name| view.identity(name).ok()))
}

/// The account; before it exists, one that is only in the app's group.
fn account(view: &View, app: &App) -> Identity {
    let group = view.group(app.group.as_str()).map(|group| group.gid);
    view.identity(app.user.as_str())
        .unwrap_or_else(|_| Identity {
            name: app.user.to_string(),
            uid: u32::MAX,
            gid: group.unwrap_or(u32::MAX),
            groups: group.into_iter().collect(),
            home: PathBuf::new(),
        })
}

fn needed(view: &View, app: &App) -> Result<Vec<(PathBuf, u32)>> {
    let mut needed = vec![
        (app.poller_dir(), SEARCH),
        (layout::SETTINGS_DIR.into(), SEARCH),
        (layout::AGENT_DIR.into(), SEARCH),
        (layout::state(&app.name), SEARCH),
        (app.project_dir.as_path().to_owned(), SEARCH),
        (app.static_dir.as_path().to_owned(), SEARCH),
        (app.python.as_path().to_owned(), EXECUTE),
        (layout::SSH_CONFIG_DIR.into(), EXECUTE),
        ("/etc/ssl/certs".into(), EXECUTE),
    ];
    if let Bind::Unix(path) = &app.bind {
        let dir = path.as_path().parent().unwrap_or(Path::new("/"));
        needed.push((dir.to_owned(), SEARCH));
    }
    let signers = app.limits.signed_by.iter();
    needed.extend(signers.map(|file| (file.as_path().to_owned(), READ)));
    let programs = PROGRAMS.iter().filter_map(|program| view.which(program));
    needed.extend(programs.map(|program| (program, SEARCH)));
    needed.extend(READ_BY_ALL.map(|path| (path.into(), READ)));
    // ssh refuses to start if one of them cannot be read; pullpray's own has a step of its own.
    let dir = Path::new(layout::SSH_CONFIG_DIR);
    let drop_ins = view.list(dir).unwrap_or_default().into_iter();
    let drop_ins = drop_ins.map(|name| dir.join(name));
    let drop_ins = drop_ins.filter(|path| path.extension().is_some_and(|end| end == "conf"));
    needed.extend(
        drop_ins
            .filter(|path| *path != app.ssh_config())
            .map(|path| (path, READ)),
    );
    Ok(needed)
}

/// The first part of a path, and of what it links to, that does not give the account what it needs: search for
/// directories on the way, `wanted` for the last part.
fn closed(
    view: &View,
    account: &Identity,
    path: &Path,
    wanted: u32,
) -> Option<(PathBuf, u32, Stat)> {
    let target = view.link_target(path).ok().flatten();
    for path in [Some(path.to_owned()), target].into_iter().flatten() {
        let parts: Vec<&Path> = path.ancestors().collect();
        for part in parts.into_iter().rev() {
            let wanted = if part == path { wanted } else { SEARCH };
            // Missing ones have steps of their own.
            let stat = view.stat_target(part).ok().flatten()?;
            if !view.grants(account, part, &stat, wanted) {
                return Some((part.to_owned(), wanted, stat));
            }
        }
    }
    None
}
