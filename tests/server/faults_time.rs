//! Concurrent polls, and clocks that jump.

use anyhow::{Result, anyhow, ensure};
use std::thread;

use crate::faults::{POLL, SCRIPT, deploys, poll_is_silent, push_and_deploy};
use crate::lab::{Lab, Output, Release, Todo, WebServer};

/// Makes the deploy script wait for /tmp/go.
const GATE: &str = "touch /tmp/begun; until [ -e /tmp/go ]; do sleep 0.1; done";
const BEGUN: &str = "for n in $(seq 600); do [ -e /tmp/begun ] && exit; sleep 0.1; done; exit 9";

#[test]
fn concurrent_polls_do_not_interfere() -> Result<()> {
    let lab = Lab::new("meet")?;
    let Todo { repo, web, .. } = Todo::live(&lab, Release::Bookworm)?;
    repo.push("version two")?;
    // Started at the same time: one of them deploys, the other exits silently.
    let both = web
        .run("pullpray poll todo >/tmp/1 2>&1 & one=$!; pullpray poll todo >/tmp/2 2>&1 & two=$!; wait $one && wait $two && cat /tmp/1 /tmp/2")?
        .ok()?;
    ensure!(
        both.stdout.lines().count() == 1 && both.stdout.contains("\"version two\" live after"),
        "{both}"
    );
    ensure!(web.page("/")?.shows("version two"));
    ensure!(
        web.run("ls /var/www/projects/todo/releases | wc -l")?
            .ok()?
            .stdout
            == "2\n"
    );

    // During a deployment, for as long as it takes.
    web.run(&format!("echo '{GATE}' >>{SCRIPT}"))?.ok()?;
    repo.push("version three")?;
    thread::scope(|scope| -> Result<()> {
        let first = scope.spawn(|| web.run("pullpray poll todo"));
        web.run(BEGUN)?.ok()?;
        for _ in 0..2 {
            poll_is_silent(&web)?;
        }
        web.run(POLL)?.ok()?.says("another poll is running")?;
        web.run("pullpray rollback todo")?
            .exits(1)?
            .says("a poll of todo is running")?
            .says("hint: try again once it is done")?;
        ensure!(web.page("/")?.shows("version two"));
        web.run("touch /tmp/go")?.ok()?;
        first
            .join()
            .map_err(|_| anyhow!("panicked"))??
            .ok()?
            .says("\"version three\" live after")?;
        Ok(())
    })?;
    ensure!(web.page("/")?.shows("version three"));

    // Continuous polls during a rollback: none of them undoes it.
    web.run("(until [ -e /tmp/back ]; do pullpray poll todo || echo failed; done) >/tmp/polls 2>&1 & \
             for n in $(seq 50); do pullpray rollback todo >/tmp/said 2>&1 && break; grep -q 'is running' /tmp/said || break; sleep 0.1; done; \
             touch /tmp/back; wait; cat /tmp/said")?
        .ok()?
        .says("\"version two\"")?;
    ensure!(
        web.read("/tmp/polls")?.is_empty(),
        "{}",
        web.read("/tmp/polls")?
    );
    ensure!(web.page("/")?.shows("version two"));
    poll_is_silent(&web)?;
    web.run("pullpray resume todo")?
        .ok()?
        .says("which was rolled back, until: sudo pullpray retry todo")?;
    poll_is_silent(&web)?;
    ensure!(web.page("/")?.shows("version two"));
    web.run("pullpray retry todo")?.ok()?;
    deploys(&web, "version three")?;
    Ok(())
}

/// Runs a command with a shifted wall clock; the monotonic clock is unchanged.
fn at(web: &WebServer, offset: &str, command: &str) -> Result<crate::lab::Unchecked> {
    // As the account, like cron: root's polls run in a child without this environment.
    web.run(&format!(
        "runuser -u gunicorn -- env LD_PRELOAD=$(ls /usr/lib/*/faketime/libfaketime.so.1) DONT_FAKE_MONOTONIC=1 FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME={offset} {command}"
    ))
}

fn polls_at(web: &WebServer, offset: &str, version: &str) -> Result<Output> {
    let output = at(web, offset, "pullpray poll todo")?.ok()?;
    output.says(&format!("\"{version}\" live after"))?;
    ensure!(web.page("/")?.shows(version));
    Ok(output)
}

#[test]
fn clock_jumps_do_not_block_polls() -> Result<()> {
    let lab = Lab::new("clock")?;
    let Todo { repo, web, .. } = Todo::live(&lab, Release::Bookworm)?;
    repo.push("version two")?;
    polls_at(&web, "+1d", "version two")?;
    // Back to the real time: the recorded times are in the future.
    poll_is_silent(&web)?;
    push_and_deploy(&web, &repo, "version three")?;
    repo.push("version four")?;
    polls_at(&web, "-1d", "version four")?;
    web.run("pullpray rollback todo")?.ok()?;
    ensure!(
        web.page("/")?.shows("version three"),
        "the previous release, whatever their times"
    );
    web.run("pullpray resume todo && pullpray retry todo")?
        .ok()?;
    deploys(&web, "version four")?;

    // A failure recorded in the future does not delay retries.
    web.run(&format!("cp {SCRIPT} /root/deploy.sh"))?.ok()?;
    repo.commit("Break it", &[("todo/settings.py", "def (")])?;
    at(&web, "+1d", "pullpray poll todo")?
        .exits(1)?
        .says("attempt 2 of 3 in 10 minutes")?;
    at(&web, "+1d", "pullpray poll todo")?.ok()?.silent()?;
    web.run("pullpray doctor todo --only server.clock")?
        .ok()?
        .says("the clock was set back, or was ahead then")?;
    web.run("pullpray doctor todo --only poll.recent")?
        .ok()?
        .says("which is in the future")?;
    web.run("pullpray poll todo")?
        .exits(1)?
        .says("attempt 3 of 3 in 20 minutes")?;
    poll_is_silent(&web)?;
    // A day later the pause is long over; then polls give up, at any time, until somebody intervenes.
    at(&web, "+1d", "pullpray poll todo")?
        .exits(1)?
        .says("giving up after 3 attempts")?;
    for offset in ["+1d", "-1d", "+30d"] {
        at(&web, offset, "pullpray poll todo")?.ok()?.silent()?;
    }
    ensure!(web.page("/")?.shows("version four"));
    repo.run("git revert --no-edit HEAD && git commit -q --amend -m 'Fix it' && git push -q")?;
    web.run("pullpray poll todo")?
        .ok()?
        .says("\"Fix it\" live after")?;
    web.run("pullpray doctor todo --only server.clock")?.ok()?;
    Ok(())
}
