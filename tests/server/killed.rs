//! init and remove killed, or without power, in the middle of every step: the next run of either
//! comes right, and the receipt knows at least what exists.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::install_and_remove::{REMOVE, everything, same};
use crate::lab::{Access, Disk, Lab, Release, TOUCHED, Todo, WebServer};

/// Kills a command once the receipt has this many lines: a change is announced then and not made,
/// or half made. What was printed is in /root/said; 137 if it was killed in time.
fn killed_at_line(web: &WebServer, command: &str, line: usize) -> Result<i32> {
    let receipt = "/var/lib/pullpray/receipts/todo.jsonl";
    Ok(web
        .run(&format!(
            "{command} >/root/said 2>&1 & it=$!; \
             while kill -0 $it 2>/dev/null; do \
               n=0; if [ -e {receipt} ]; then mapfile -t lines <{receipt}; n=${{#lines[@]}}; fi; \
               if [ $n -ge {line} ]; then kill -KILL $it; break; fi; \
             done; wait $it"
        ))?
        .status)
}

/// What may go on for a while after the program alone was killed: its poll.
const UNTIL_IT_WORKS: &str = "for n in $(seq 60); do pullpray init todo --yes >/root/said 2>&1 && exit; sleep 1; done; cat /root/said; exit 9";

#[test]
fn init_and_remove_recover_from_kills_in_some_steps() -> Result<()> {
    killed_every(9, 4)
}

/// Kills init at every nth line of the receipt; fewer kills than `enough` prove nothing.
pub fn killed_every(lines: usize, enough: u8) -> Result<()> {
    let lab = Lab::new("steps")?;
    let todo = Todo::before_init(&lab, Release::Bookworm)?;
    let Todo { host, repo, web } = &todo;
    let before = everything(web)?;
    let init = todo.init("--schedule '0 0 1 1 *'")?;
    // Each round ends one step later; the key is allowed once there is one.
    for (killed, line) in (0..).zip((1..).step_by(lines)) {
        let mut status = killed_at_line(web, &init, line)?;
        if status == 3 {
            host.forget_keys()?;
            host.allow_key(repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
            status = killed_at_line(web, &init, line)?;
        }
        if status == 0 {
            ensure!(killed >= enough, "{killed} kills are too few");
            break;
        }
        ensure!(status == 137, "{line}: {}", web.read("/root/said")?);
        // Every other one goes on instead, and is killed once more on its way back.
        if line % 2 == 0 {
            if web.run(&init)?.status == 3 {
                host.forget_keys()?;
                host.allow_key(repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
            }
            web.run(UNTIL_IT_WORKS)?.ok()?;
            ensure!(web.page("/")?.shows("version one"), "{line}");
            web.run("pullpray doctor todo --offline --strict")?.ok()?;
        }
        let after = 0.05 * f64::from(u8::try_from(line % 40)?);
        web.run(&format!("timeout --signal KILL {after:.2} {REMOVE}; true"))?
            .ok()?;
        web.run(REMOVE)?.ok()?;
        same(
            &before,
            &everything(web)?,
            &format!("killed at line {line}"),
        )?;
    }
    Ok(())
}

#[test]
fn remove_recovers_from_repeated_kills() -> Result<()> {
    remove_killed(1.25, 5)
}

/// Each time with so many times as long before it is killed.
pub fn remove_killed(longer: f64, enough: usize) -> Result<()> {
    let lab = Lab::new("away")?;
    let todo = Todo::before_init(&lab, Release::Trixie)?;
    let Todo { host, repo, web } = &todo;
    let before = everything(web)?;
    let init = todo.init("--schedule '0 0 1 1 *'")?;
    web.run(&init)?.exits(3)?;
    host.allow_key(repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    web.run(&init)?.ok()?;
    // So little at a time that it gets one or two changes further before it dies.
    let mut kills = 0;
    let mut after = 0.02;
    while web
        .run(&format!("timeout --signal KILL {after:.3} {REMOVE}"))?
        .status
        == 137
    {
        kills += 1;
        after *= longer;
        ensure!(kills < 200, "it never ends");
    }
    ensure!(kills >= enough, "{kills} kills are too few");
    web.run(REMOVE)?.ok()?.says("nothing of todo")?;
    same(&before, &everything(web)?, "killed again and again")
}

/// Whether the receipt's lines account for a path that was not there before.
fn is_known(entries: &[Value], path: &str) -> bool {
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    path.starts_with("/var/lib/pullpray/receipts")
        || path == "/var/lib/pullpray"
        || entries.iter().any(|entry| {
            let at = text(entry, "path");
            match text(entry, "kind").as_str() {
                // What is written beside a file before it takes its place counts with it.
                "file" | "directory" | "line" => {
                    let (dir, name) = at.rsplit_once('/').unwrap_or_default();
                    at == path || path == format!("{dir}/.{name}.pullpray-new")
                }
                // Links that make a unit start at boot, and their directory.
                "unit" => path.ends_with(&text(entry, "name")) || path.ends_with(".wants"),
                "group" | "user" | "member" => {
                    path.starts_with("/etc/") && !path.trim_start_matches("/etc/").contains('/')
                }
                "release" => {
                    path.starts_with(&format!("{at}/"))
                        || path.starts_with(&format!("{}/", text(entry, "static_dir")))
                        || path.starts_with("/var/lib/pullpray/todo/")
                }
                _ => false,
            }
        })
}

fn receipt(web: &WebServer) -> Result<Vec<Value>> {
    let text = web
        .run("cat /var/lib/pullpray/receipts/todo.jsonl 2>/dev/null || true")?
        .ok()?
        .stdout
        .clone();
    let mut entries = Vec::new();
    for line in text.split_inclusive('\n') {
        match serde_json::from_str(line.trim()) {
            Ok(entry) => entries.push(entry),
            Err(_) if !line.ends_with('\n') => {}
            Err(error) => return Err(error).context(line.to_owned()),
        }
    }
    Ok(entries)
}

#[test]
fn init_recovers_from_power_cuts() -> Result<()> {
    init_without_power(&[7, 24, 40])
}

/// Cut off once the receipt has this many lines.
pub fn init_without_power(lines: &[usize]) -> Result<()> {
    let lab = Lab::new("dark")?;
    let host = lab.git_host()?;
    let web = lab.web_server_on(Release::Bookworm, Disk::Ext4("2g"))?;
    let repo = host.repository("acme/todo")?;
    web.nginx_site("todo", "127.0.0.1:8000")?;
    let todo = Todo { host, repo, web };
    let web = &todo.web;
    let init = todo.init("--schedule '0 0 1 1 *'")?;
    let before = everything(web)?;
    let listed = web.listing(TOUCHED)?;
    web.run("sync")?.ok()?;
    let mut cuts = 0;
    for &line in lines {
        if killed_at_line(web, &init, line)? != 137 && !receipt(web)?.is_empty() {
            let key = web.deploy_key("todo")?;
            todo.host.forget_keys()?;
            todo.host.allow_key(&todo.repo, &key, Access::ReadOnly)?;
            killed_at_line(web, &init, line)?;
        }
        web.power_cut()?;
        web.boot_again()?;
        cuts += 1;
        let known = receipt(web)?;
        for new in web.listing(TOUCHED)? {
            let path = new.split(' ').next().unwrap_or_default();
            ensure!(
                listed.contains(&new) || is_known(&known, path),
                "after cut {cuts}, at line {line}, {path} is there and the receipt does not know it: {known:#?}"
            );
        }
    }
    if web.run(&init)?.status == 3 {
        let key = web.deploy_key("todo")?;
        todo.host.allow_key(&todo.repo, &key, Access::ReadOnly)?;
    }
    web.run(UNTIL_IT_WORKS)?.ok()?;
    web.run("pullpray doctor todo --strict")?.ok()?;
    ensure!(web.page("/")?.shows("version one"));
    web.run(REMOVE)?.ok()?;
    same(&before, &everything(web)?, "after power cuts")
}
