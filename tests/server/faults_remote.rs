//! Faults of the connection to the git host, and of the host.

use std::thread;

use anyhow::{Result, anyhow, ensure};

use crate::faults::{POLL, cannot_reach, deploys, poll_is_silent, push_and_deploy, second_server};
use crate::lab::{Access, Lab, Release, Todo};

#[test]
fn an_unreachable_host_is_reported_once_and_followed_again() -> Result<()> {
    let lab = Lab::new("reach")?;
    let Todo { host, repo, web } = Todo::live(&lab, Release::Bookworm)?;
    repo.push("version two")?;
    web.cut_cable()?;
    cannot_reach(&web, "version one", "could not reach githost: ssh failed")?
        .says("No route to host")?;
    // Polls from cron are silent until the outage has lasted; then one poll reports it.
    web.run("pullpray poll todo")?.exits(3)?.silent()?;
    web.run("pullpray poll todo")?
        .exits(3)?
        .says("No route to host, 3 polls in a row, since ")?;
    web.run("pullpray poll todo")?.exits(3)?.silent()?;
    web.run("pullpray status todo")?
        .ok()?
        .says("checked   not since")?;
    web.plug_cable()?;
    deploys(&web, "version two")?
        .says("the git host is reachable again, after 4 polls in a row")?;

    repo.push("version three")?;
    host.stop_sshd()?;
    cannot_reach(&web, "version two", "Connection refused")?;
    host.start_sshd()?;
    deploys(&web, "version three")?;

    // The host no longer accepts the key.
    repo.push("version four")?;
    host.forget_keys()?;
    cannot_reach(&web, "version three", "Permission denied (publickey)")?
        .says("hint: ")?
        .says("pullpray key todo")?;
    host.allow_key(&repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    deploys(&web, "version four")?;

    // A changed host key: polls make no request until a person accepts the new key.
    repo.push("version five")?;
    let old = host.fingerprint()?;
    host.change_host_key()?;
    let new = host.fingerprint()?;
    ensure!(old != new);
    cannot_reach(&web, "version four", "Host key verification failed")?
        .says("pullpray doctor todo")?;
    web.run("pullpray doctor todo")?.exits(1)?.says(&new)?;
    web.run(&format!("pullpray init todo --yes --host-key {new}"))?
        .ok()?;
    // init may have polled already.
    web.run("pullpray poll todo")?.ok()?;
    ensure!(web.page("/")?.shows("version five"));
    Ok(())
}

#[test]
fn a_repository_is_emptied_renamed_and_rewritten() -> Result<()> {
    let lab = Lab::new("empty")?;
    let Todo { host, repo, web } = Todo::live(&lab, Release::Bookworm)?;
    push_and_deploy(&web, &repo, "version two")?;

    repo.run("git push -q origin main:trunk && git -C /home/git/acme/todo.git symbolic-ref HEAD refs/heads/trunk && git push -q origin :main")?;
    cannot_reach(
        &web,
        "version two",
        "git@githost:acme/todo.git has no branch main",
    )?;
    repo.run("git push -q origin main && git -C /home/git/acme/todo.git symbolic-ref HEAD refs/heads/main && git push -q origin :trunk")?;
    poll_is_silent(&web)?;

    // Recreated empty, then filled with an unrelated history.
    host.run("cd /home/git/acme && mv todo.git kept.git && su git -c 'git init -q --bare /home/git/acme/todo.git'")?
        .ok()?;
    cannot_reach(
        &web,
        "version two",
        "git@githost:acme/todo.git has no branch main",
    )?;
    repo.run("git checkout -q --orphan fresh && echo 'version three' >VERSION && git add -A && git commit -qm 'version three' && git branch -M fresh main && git push -q -u origin main")?;
    deploys(&web, "version three")?.says("history was rewritten: ")?;

    // Removed; git hosts report the same to a key without access.
    host.run("mv /home/git/acme/todo.git /home/git/acme/gone.git")?
        .ok()?;
    cannot_reach(
        &web,
        "version three",
        "does not appear to be a git repository",
    )?;
    host.run("mv /home/git/acme/gone.git /home/git/acme/todo.git")?
        .ok()?;
    push_and_deploy(&web, &repo, "version four")?;

    repo.rewind()?;
    deploys(&web, "version three")?.says("history was rewritten: ")?;
    web.run("sed -i 's/^# *allow_rewind = .*/allow_rewind = false/; s/^allow_rewind = .*/allow_rewind = false/' /etc/pullpray/todo.toml; grep -q '^allow_rewind = false' /etc/pullpray/todo.toml || echo 'allow_rewind = false' >>/etc/pullpray/todo.toml")?.ok()?;
    push_and_deploy(&web, &repo, "version five")?;
    repo.rewind()?;
    web.run("pullpray poll todo")?
        .exits(1)?
        .says("allow_rewind = true")?;
    poll_is_silent(&web)?;
    ensure!(web.page("/")?.shows("version five"));
    Ok(())
}

/// The host sends half a pack and waits for /tmp/go.
const HALF: &str = "#!/bin/sh\n\"$@\" | { head -c 100000; touch /tmp/half; until [ -e /tmp/go ]; do sleep 0.1; done; cat; }\n";

#[test]
fn an_interrupted_fetch_is_retried() -> Result<()> {
    let lab = Lab::new("middle")?;
    let todo = Todo::live(&lab, Release::Bookworm)?;
    let second = second_server(&lab, &todo)?;
    let Todo { host, repo, web } = &todo;
    repo.run(
        "head -c 3000000 /dev/urandom >noise && git add noise && git commit -qm 'Make noise'",
    )?;
    repo.push("version two")?;
    host.write("/usr/local/bin/half", HALF)?;
    host.run("chmod 755 /usr/local/bin/half; git config --system uploadpack.packObjectsHook /usr/local/bin/half")?
        .ok()?;
    let half = "for n in $(seq 300); do [ -e /tmp/half ] && break; sleep 0.1; done; rm /tmp/half";

    // The host's process is killed in the middle: the poll notices at once.
    let poll = |web: &crate::lab::WebServer| web.run(POLL);
    thread::scope(|scope| -> Result<()> {
        let first = scope.spawn(|| poll(web));
        host.run(half)?.ok()?;
        host.run("pkill -f '[/]usr/local/bin/half'; pkill -u git sshd; true")?
            .ok()?;
        let output = first.join().map_err(|_| anyhow!("panicked"))??.exits(3)?;
        output.says("could not reach githost: ")?;
        Ok(())
    })?;
    ensure!(web.page("/")?.shows("version one"));

    // The connection goes silent: the first server's cable is cut in the middle of a fetch, and the
    // host is frozen when the second server starts its poll.
    thread::scope(|scope| -> Result<()> {
        let first = scope.spawn(|| poll(web));
        host.run(half)?.ok()?;
        web.cut_cable()?;
        host.freeze()?;
        let other = scope.spawn(|| poll(&second));
        ensure!(web.page("/")?.shows("version one"));
        // Another poll in the meantime leaves the running one alone.
        web.run(POLL)?.ok()?.says("another poll is running")?;
        let first = first.join().map_err(|_| anyhow!("panicked"))??.exits(3)?;
        let other = other.join().map_err(|_| anyhow!("panicked"))??.exits(3)?;
        first.says("could not reach githost: ")?;
        other.says("could not reach githost: ")?;
        Ok(())
    })?;
    host.thaw()?;
    web.plug_cable()?;
    host.run("touch /tmp/go")?.ok()?;
    for web in [web, &second] {
        ensure!(web.page("/")?.shows("version one"));
        deploys(web, "version two")?;
        poll_is_silent(web)?;
        web.run(
            "ls -A /var/lib/pullpray/todo/mirror.git/objects/pack | grep -v '^pack-'; pgrep -x ssh",
        )?
        .exits(1)?;
    }
    Ok(())
}
