//! Processes of the app's account that root starts from a terminal have no access to that terminal: otherwise
//! the account could type into root's shell.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::faults::SCRIPT;
use crate::lab::{Access, Lab, Release, Terminal, Todo, WebServer, key};

/// Starts `terminals` in the background; returns the file to which it writes.
fn start_beside(web: &WebServer, way: &str, user: &str) -> Result<String> {
    let record = format!("/tmp/terminals-{way}");
    web.run(&format!(
        "rm -f {record}; systemd-run --quiet --collect --unit=terminals-{way} --uid={user} \
         python3 /usr/local/lib/terminals {way} gunicorn {record}; \
         for n in $(seq 100); do grep -q ready {record} && exit; sleep 0.1; done; exit 9"
    ))?
    .ok()?;
    Ok(record)
}

/// Types a command in root's shell and waits until it ends.
fn run_in_shell(person: &mut Terminal, command: &str) -> Result<()> {
    person.types(&format!("{command}; echo done $((6 * 7))"))?;
    person.sees("done 42").map(drop)
}

/// Number of processes that the attacker made type.
fn count_typed(web: &WebServer, thief: &str) -> Result<usize> {
    let record = web.read(thief)?;
    Ok(record.lines().filter(|line| line.contains("typed")).count())
}

fn is_owned(web: &WebServer) -> Result<bool> {
    Ok(web.run("rm /root/owned")?.status == 0)
}

/// Root's usual commands in a shell. Each poll has a commit to deploy, and takes long enough to be attacked.
fn daily_work(todo: &Todo, shell: &str) -> Result<()> {
    let Todo { host, repo, web } = todo;
    let mut person = web.terminal(shell)?;
    person.patience(Duration::from_secs(120));
    person.sees("# ")?;
    repo.push(&format!("version by {shell}"))?;
    for command in [
        "pullpray poll todo -v",
        "pullpray poll --all",
        "pullpray doctor todo",
        "pullpray rollback todo",
        "pullpray resume todo",
        "pullpray pause todo",
        "pullpray resume todo",
        "pullpray retry todo",
        "pullpray status todo",
        "pullpray init todo --yes",
    ] {
        run_in_shell(&mut person, command)?;
    }
    person.types("pullpray key todo --rotate; echo done $((6 * 7))")?;
    person.sees("waiting for access")?;
    let next = web.read("/etc/ssh-agent-service/deploy-keys/todo_ed25519.next.pub")?;
    host.allow_key(repo, &next, Access::ReadOnly)?;
    person.sees("done 42")?;
    person.types("exit")?;
    Ok(())
}

#[test]
fn the_account_has_no_access_to_root_s_terminal() -> Result<()> {
    let lab = Lab::new("tiocsti")?;
    let todo = Todo::live(&lab, Release::Bookworm)?;
    let web = &todo.web;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/server/inside/terminals");
    web.copy(script, "/usr/local/lib/terminals")?;
    web.run(&format!("sed -i '2i sleep 1' {SCRIPT}"))?.ok()?;

    // Attacks a naive command first, to prove that the attack works.
    let thief = start_beside(web, "steal", "gunicorn")?;
    let mut person = web.terminal("bash --norc --noprofile -i")?;
    person.sees("# ")?;
    run_in_shell(
        &mut person,
        "setpriv --reuid gunicorn --regid $(id -g gunicorn) --init-groups sleep 3",
    )?;
    person.types("exit")?;
    drop(person.ends()?);
    let naive = count_typed(web, &thief)?; // includes setpriv, if the attacker is fast
    ensure!(
        naive > 0 && is_owned(web)?,
        "the attack does not work here: {}",
        web.read(&thief)?
    );

    let watcher = start_beside(web, "watch", "root")?;
    for shell in ["bash --norc --noprofile -i", "sudo -i"] {
        daily_work(&todo, shell)?;
        ensure!(
            !is_owned(web)?,
            "{shell}: root's shell received the attacker's input"
        );
    }
    let mut person = web.terminal("bash --norc --noprofile -i")?;
    person.sees("# ")?;
    run_in_shell(&mut person, "pullpray remove todo --yes")?;
    person.presses(key::CTRL_D)?;
    drop(person.ends()?);
    ensure!(!is_owned(web)?);

    // "exe" is pullpray itself, which root re-executes as the account from /proc/self/exe; only the
    // deploy script starts "sleep".
    let seen = web.read(&watcher)?;
    for command in ["exe", "ssh", "sleep", "sudo", "systemctl"] {
        let line = format!(" {command} tty=0 fds=0");
        ensure!(
            seen.lines().any(|l| l.ends_with(&line)),
            "{command}: {seen}"
        );
    }
    let with: Vec<&str> = seen.lines().filter(|line| line.contains("=1")).collect();
    ensure!(with.is_empty(), "{with:#?}");
    let typed = count_typed(web, &thief)? - naive;
    ensure!(typed == 0, "{typed} processes were attacked");
    web.run("systemctl is-active terminals-steal terminals-watch")?
        .ok()
        .context("attacker and watcher kept running")?;
    Ok(())
}
