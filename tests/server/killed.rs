//! Kills and power cuts during every step of init and remove: the next run of either succeeds, and
//! the receipt records everything that exists.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::install_and_remove::{REMOVE, assert_same, everything};
use crate::lab::{Access, Disk, Lab, Release, TOUCHED, Todo, WebServer};

/// Kills a command once the receipt has this many lines: a change is recorded then, but not made or half made.
/// Saves the output in /root/said; returns 137 if the command was killed in time.
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

/// Retries init, since a poll may still run after init was killed.
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
    // Each round kills one step later; the git host gets the key as soon as it exists.
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
        // Every other round completes init first, and kills the remove.
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
        assert_same(
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

/// Multiplies the time before each kill of remove by `longer`.
pub fn remove_killed(longer: f64, enough: usize) -> Result<()> {
    let lab = Lab::new("away")?;
    let todo = Todo::before_init(&lab, Release::Trixie)?;
    let Todo { host, repo, web } = &todo;
    let before = everything(web)?;
    let init = todo.init("--schedule '0 0 1 1 *'")?;
    web.run(&init)?.exits(3)?;
    host.allow_key(repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    web.run(&init)?.ok()?;
    // Each run gets only one or two changes further.
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
    assert_same(&before, &everything(web)?, "killed repeatedly")
}

/// Whether the receipt records a new path.
fn is_known(entries: &[Value], path: &str) -> bool {
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    path.starts_with("/var/lib/pullpray/receipts")
        || path == "/var/lib/pullpray"
        || entries.iter().any(|entry| {
            let at = text(entry, "path");
            match text(entry, "kind").as_str() {
                // Includes the temporary file that replaces it.
                "file" | "directory" | "line" => {
                    let (dir, name) = at.rsplit_once('/').unwrap_or_default();
                    at == path || path == format!("{dir}/.{name}.pullpray-new")
                }
                // Includes the links that start a unit at boot, and their directory.
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

/// Cuts the power once the receipt has this many lines.
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
                "after cut {cuts}, at line {line}, {path} exists and is not in the receipt: {known:#?}"
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
    assert_same(&before, &everything(web)?, "after power cuts")
}
