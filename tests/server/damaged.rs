//! Damaged or lost state: pullpray sets it aside and rebuilds it from the server's state, or prints how to restore
//! it. After each repair the next commit goes live.

use anyhow::{Context, Result, ensure};

use crate::faults::{follow, poll_is_silent, push_and_deploy};
use crate::lab::{Access, Lab, Output, Release, TOUCHED, Todo, WebServer};

const LEDGER: &str = "/var/lib/pullpray/todo/ledger.json";
const CURRENT: &str = "/var/www/projects/todo/current";

/// A field of the ledger, as a Python expression on its JSON.
fn ledger(web: &WebServer, jq: &str) -> Result<String> {
    let python = format!("import json; print(json.load(open('{LEDGER}')){jq})");
    let out = web.run(&format!("python3 -c \"{python}\""))?.ok()?;
    Ok(out.stdout.trim().to_owned())
}

#[test]
fn a_damaged_ledger_is_rebuilt_from_the_server_s_state() -> Result<()> {
    damaged_ledgers(3)
}

/// Damages the ledger in every nth way; 1 means all of them.
pub fn damaged_ledgers(every: usize) -> Result<()> {
    let lab = Lab::new("ledger")?;
    let Todo { host, repo, web } = Todo::live(&lab, Release::Bookworm)?;
    push_and_deploy(&web, &repo, "version two")?;
    let harms = [
        format!("echo nonsense >{LEDGER}"),
        format!("head -c 700 {LEDGER} >/root/half; cp /root/half {LEDGER}"),
        format!("printf '\\xff' >>{LEDGER}"),
        format!("rm {LEDGER}"),
        format!("mv {LEDGER} {LEDGER}.was; mkdir {LEDGER}"),
        format!("rm -f {LEDGER}; ln -s /etc/passwd {LEDGER}"),
        format!("echo nonsense >{LEDGER}; rm -r /var/lib/pullpray/todo/mirror.git"),
        format!("echo nonsense >{LEDGER}; rm {CURRENT}"),
    ];
    let mut live = "version two".to_owned();
    for (number, harm) in harms.iter().enumerate().step_by(every) {
        let (commit, since) = (
            ledger(&web, "['live']['commit']")?,
            ledger(&web, "['live']['id']")?,
        );
        web.run(&format!("set -e; {harm}"))?.ok()?;
        web.run("pullpray doctor todo --offline --only app.release")?
            .exits(1)?;
        // Without a new commit the app continues unchanged.
        let output = web.run("pullpray poll todo")?.ok()?;
        output.says("rebuilt from what is on this server")?;
        if !harm.starts_with("rm ") {
            output.says("is kept as /var/lib/pullpray/todo/ledger.json.damaged-")?;
        }
        ensure!(ledger(&web, "['live']['commit']")? == commit, "{harm}");
        ensure!(ledger(&web, "['live']['id']")? == since, "{harm}");
        ensure!(web.page("/")?.shows(&live), "{harm}");
        poll_is_silent(&web).context(harm.clone())?;
        live = format!("version after {number}");
        push_and_deploy(&web, &repo, &live).context(harm.clone())?;
        web.run("pullpray doctor todo --offline --strict")?
            .ok()
            .context(harm.clone())?;
    }
    ensure!(
        web.run(&format!("ls -d {LEDGER}.damaged-*"))?
            .ok()?
            .stdout
            .lines()
            .count()
            == harms.len().div_ceil(every) - 1
    );

    // The previous release is known again, too.
    web.run(&format!("echo nonsense >{LEDGER}; pullpray poll todo"))?
        .ok()?;
    web.run("pullpray rollback todo && pullpray resume todo && pullpray retry todo && pullpray poll todo")?
        .ok()?;

    // A release that somebody rolled back is not deployed again because its record is lost.
    for harm in ["head -c -60", "echo nonsense; true"] {
        web.run("pullpray rollback todo")?.ok()?;
        let page = web.page("/")?.body;
        web.run(&format!("{harm} {LEDGER} >/root/x; cp /root/x {LEDGER}"))?
            .ok()?;
        web.run("pullpray poll todo")?
            .ok()?
            .says("pullpray resume todo")?;
        poll_is_silent(&web)?;
        ensure!(web.page("/")?.body == page, "{harm}");
        web.run("pullpray resume todo && pullpray poll todo")?
            .ok()?;
        ensure!(web.page("/")?.shows(&live), "{harm}");
    }
    // One invalid field makes the ledger unusable; the history is still recovered.
    web.run(&format!(
        "sed -i 's/\"in_progress\": null/\"in_progress\": 1/' {LEDGER}"
    ))?
    .ok()?;
    let before = ledger(&web, "['history']")?;
    web.run("pullpray status todo")?
        .exits(1)?
        .says("sudo pullpray poll todo")?;
    web.run("pullpray doctor todo --fix --yes --offline --strict --only app.release")?
        .ok()?;
    ensure!(ledger(&web, "['history']")? == before);
    // A ledger written by a newer pullpray is not damaged.
    web.run(&format!(
        "sed -i 's/\"format\": 1/\"format\": 99/' {LEDGER}"
    ))?
    .ok()?;
    web.run("pullpray poll todo")?
        .exits(1)?
        .says("has format 99")?;
    web.run(&format!(
        "sed -i 's/\"format\": 99/\"format\": 1/' {LEDGER}"
    ))?
    .ok()?;
    push_and_deploy(&web, &repo, "version last")?;
    drop(host);
    Ok(())
}

#[test]
fn a_file_in_place_of_current_is_set_aside() -> Result<()> {
    let lab = Lab::new("current")?;
    let Todo {
        host: _host,
        repo,
        web,
    } = Todo::live(&lab, Release::Bookworm)?;
    let harm = format!("rm {CURRENT}; mkdir {CURRENT}; touch {CURRENT}/somebodys");
    web.run(&harm)?.ok()?;
    let output = web.run("pullpray poll todo")?.ok()?;
    output.says(&format!(
        "{CURRENT} was not a link and is kept as {CURRENT}.damaged-"
    ))?;
    ensure!(web.page("/")?.shows("version one"));
    web.run(&format!("ls {CURRENT}.damaged-*/somebodys"))?
        .ok()?;
    push_and_deploy(&web, &repo, "version two")?;

    // The same with a new commit, and with doctor --fix.
    web.run(&format!("{harm}; rm -r {CURRENT}.damaged-*"))?
        .ok()?;
    push_and_deploy(&web, &repo, "version three")?;
    web.run(&format!("rm {CURRENT}; echo x >{CURRENT}"))?.ok()?;
    web.run("pullpray doctor todo --fix --yes --offline --strict")?
        .ok()?;
    push_and_deploy(&web, &repo, "version four")?;
    poll_is_silent(&web)
}

/// The command that the output suggests as a hint or fix.
fn remedy(output: &Output) -> Result<String> {
    let hint = |line: &str| {
        let (_, hint) = line.split_once("hint: ").or(line.split_once("fix: "))?;
        Some(hint.to_owned())
    };
    let mut lines = output.stderr.lines().chain(output.stdout.lines());
    lines.find_map(hint).with_context(|| output.to_string())
}

#[test]
fn ssh_without_drop_ins_is_detected_before_any_change() -> Result<()> {
    let lab = Lab::new("dropins")?;
    let todo = Todo::before_init(&lab, Release::Bookworm)?;
    let web = &todo.web;
    let init = todo.init("--schedule '0 0 1 1 *'")?;
    for harm in [
        "rm -r /etc/ssh/ssh_config.d",
        "sed -i /^Include/d /etc/ssh/ssh_config",
        "rm -r /etc/ssh/ssh_config.d /etc/ssh/ssh_config",
    ] {
        web.run(harm)?.ok()?;
        let output = web.changes_nothing(&init)?.exits(1)?;
        output.says("ssh does not read /etc/ssh/ssh_config.d")?;
        web.run(&remedy(&output)?)?.ok()?;
        web.run(&format!("{init} --dry-run"))?.exits(1)?;
    }
    todo.make_live()?;
    web.run("rm -r /etc/ssh/ssh_config.d /etc/ssh/ssh_config")?
        .ok()?;
    let output = web
        .run("pullpray doctor todo --offline --only ssh.alias")?
        .exits(1)?;
    web.run(&remedy(&output)?)?.ok()?;
    web.run("pullpray doctor todo --fix --yes --offline --strict")?
        .ok()?;
    push_and_deploy(web, &todo.repo, "version two")
}

#[test]
fn a_lost_private_key_stays_usable_in_the_agent() -> Result<()> {
    let lab = Lab::new("lostkey")?;
    let Todo { host, repo, web } = Todo::live(&lab, Release::Bookworm)?;
    let key = "/etc/ssh-agent-service/deploy-keys/todo_ed25519";
    for (number, lost) in [key.to_owned(), format!("{key} {key}.pub")]
        .iter()
        .enumerate()
    {
        web.run(&format!("rm {lost}"))?.ok()?;
        for command in [
            "doctor todo --fix --yes --only key.deploy",
            "doctor todo --fix --yes",
            "init todo --yes",
        ] {
            let output = web.run(&format!("pullpray {command}"))?.exits(1)?;
            output.says("does not exist: only the agent still has the key")?;
            output.says("sudo pullpray key todo --rotate")?;
        }
        push_and_deploy(&web, &repo, &format!("version {number}, without its key"))?;
        web.run("pullpray key todo --rotate")?.exits(3)?;
        push_and_deploy(
            &web,
            &repo,
            &format!("version {number}, before the next is known"),
        )?;
        host.allow_key(
            &repo,
            &web.read(&format!("{key}.next.pub"))?,
            Access::ReadOnly,
        )?;
        web.run("pullpray key todo --rotate")?
            .ok()?
            .says("old key")?;
        web.run("pullpray doctor todo --strict")?.ok()?;
        push_and_deploy(&web, &repo, &format!("version {number}, with another"))?;
    }
    // If the agent is gone too, the key is lost and a new one is generated.
    web.run(&format!(
        "rm {key}; systemctl stop ssh-agent.todo; pullpray doctor todo --fix --yes"
    ))?
    .exits(1)?;
    host.allow_key(&repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    web.run("pullpray doctor todo --fix --yes --strict")?.ok()?;
    push_and_deploy(&web, &repo, "version last")?;

    // An expired account.
    web.run("chage --expiredate 1 gunicorn")?.ok()?;
    let output = web
        .run("pullpray doctor todo --offline --only sudo.rule")?
        .exits(1)?;
    output.says("sudo chage -E -1 gunicorn")?;
    web.run("chage -E -1 gunicorn")?.ok()?;
    push_and_deploy(&web, &repo, "version after")
}

#[test]
fn a_lost_settings_file_is_detected_and_restored() -> Result<()> {
    let lab = Lab::new("settings")?;
    let todo = Todo::before_init(&lab, Release::Bookworm)?;
    let (web, settings) = (&todo.web, "/etc/pullpray/todo.toml");
    let init = todo.init("--schedule '0 0 1 1 *' --workers 2 --bind 127.0.0.1:8005")?;
    let init = init.replace("--bind 127.0.0.1:8000", "");
    web.nginx_site("todo", "127.0.0.1:8005")?;
    follow(&todo.host, &todo.repo, web, &init)?;
    let before = web.read(settings)?;
    web.run(&format!("rm {settings}"))?.ok()?;
    for command in [
        "poll todo",
        "status",
        "doctor",
        "doctor todo",
        "poll --all",
        "rollback todo",
    ] {
        let output = web.run(&format!("pullpray {command}"))?;
        ensure!(output.status != 0, "{command}: {}", *output);
        output.says("/etc/pullpray/todo.toml is gone, and todo is on this server")?;
        output.says("sudo pullpray init todo")?;
    }
    web.run_as("gunicorn", "pullpray poll todo")?
        .exits(2)?
        .says("sudo pullpray init todo")?;
    web.run("pullpray init todo --yes --wait 0")?.ok()?;
    ensure!(web.read(settings)? == before);
    web.run("pullpray doctor todo --strict")?.ok()?;
    push_and_deploy(web, &todo.repo, "version two")?;
    web.run("pullpray remove todo --yes --purge")?.ok()?;
    web.run("ls /var/lib/pullpray")?.exits(2)?;
    web.run("pullpray status")?
        .exits(2)?
        .says("there is no app on this server yet")?;
    Ok(())
}

#[test]
fn a_damaged_receipt_is_rebuilt_and_remove_uses_it() -> Result<()> {
    let lab = Lab::new("receipt")?;
    let todo = Todo::before_init(&lab, Release::Bookworm)?;
    let (web, receipt) = (&todo.web, "/var/lib/pullpray/receipts/todo.jsonl");
    let before = web.listing(TOUCHED)?;
    todo.make_live()?;
    let harms = [
        format!("echo nonsense >>{receipt}"),
        format!("head -n 5 {receipt} >/root/r; cp /root/r {receipt}"),
        format!("printf '\\xff\\n' >{receipt}"),
        format!("rm {receipt}"),
    ];
    for (number, harm) in harms.iter().enumerate() {
        web.run(&format!("set -e; {harm}"))?.ok()?;
        let output = web.run("pullpray doctor todo --offline")?.exits(1)?;
        output
            .says("fail  app.receipt ")?
            .says("ok    app.healthy ")?;
        web.run("pullpray remove todo --yes")?
            .exits(1)?
            .says("sudo pullpray doctor todo --fix --only app.receipt")?;
        web.run("pullpray doctor todo --fix --yes --offline --strict")?
            .ok()
            .context(harm.clone())?;
        // A truncated receipt stays in use; it is not set aside.
        let kept = web.run(&format!("ls {receipt}.damaged-*"))?;
        let expected = [1, 1, 2, 2].get(number);
        ensure!(
            Some(&kept.stdout.lines().count()) == expected,
            "{harm}: {}",
            *kept
        );
        push_and_deploy(web, &todo.repo, &format!("version after {number}"))?;
    }
    web.run("pullpray remove todo --yes --purge")?.ok()?;
    // remove keeps what pullpray cannot prove to be its own: the group, and the directories shared by all apps.
    let left: Vec<String> = web
        .listing(TOUCHED)?
        .into_iter()
        .filter(|line| !before.contains(line))
        .collect();
    let stays = |line: &String| {
        [
            "/etc/group",
            "/etc/gshadow",
            "/etc/passwd",
            "/etc/shadow",
            "/etc/subuid",
            "/etc/subgid",
            "/opt/git_pollers ",
            "/var/www/projects ",
            "/var/www/projects/todo ",
            "/www ",
            "/www/static ",
            "/www/static/todo ",
            "/var/lib/pullpray ",
        ]
        .iter()
        .any(|path| line.starts_with(path))
    };
    ensure!(left.iter().all(stays), "{left:#?}");
    Ok(())
}
