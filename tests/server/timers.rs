//! Processes that run by the clock.

use anyhow::{Result, ensure};

use crate::lab::{Lab, Release, Todo, WebServer};

const PROCFILE: &str = "tick: sh -c 'cat VERSION >>\"$PULLPRAY_SHARED/ticks\"'\n\
    fails: sh -c 'echo out of order; [ -e \"$PULLPRAY_SHARED/fixed\" ]'\n\
    slow: sh -c 'mkdir \"$PULLPRAY_SHARED/one\" && sleep 7 && rmdir \"$PULLPRAY_SHARED/one\" && touch \"$PULLPRAY_SHARED/done\"'\n";
const SHARED: &str = "/var/www/projects/todo/shared";

/// Waits until this is true.
fn until(web: &WebServer, condition: &str) -> Result<()> {
    let wait = format!(
        "for n in $(seq 200); do {condition} && exit; sleep 0.1; done; systemctl list-timers --no-pager 'pullpray*'; journalctl -u 'pullpray.*' -n 20 --no-pager; exit 9"
    );
    web.run(&wait)?.ok().map(drop)
}

/// Replaces the timers of the settings.
fn set(web: &WebServer, timers: &str) -> Result<()> {
    web.run(&format!(
        "sed -i '/^# *timers = /d; /^timers = /d' /etc/pullpray/todo.toml && echo 'timers = {{ {timers} }}' >>/etc/pullpray/todo.toml"
    ))?
    .ok()
    .map(drop)
}

#[test]
fn timers_run_the_live_code_and_a_failure_is_reported_once() -> Result<()> {
    let lab = Lab::new("timers")?;
    let Todo { repo, web, .. } = &Todo::live(&lab, Release::Bookworm)?;
    set(
        web,
        "tick = \"*:*:0/2\", fails = \"*:*:0/2\", slow = \"*:*:0/2\"",
    )?;
    // The live commit has no Procfile: the units do not wait for one.
    web.run("pullpray poll todo --now")?.ok()?;
    repo.commit("Have a Procfile", &[("Procfile", PROCFILE)])?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    web.run("pullpray init todo --yes")?.ok()?;
    until(web, &format!("grep -q 'version one' {SHARED}/ticks"))?;
    until(web, &format!("[ -e {SHARED}/done ]"))?;
    web.run("for name in tick fails slow; do systemd-analyze security pullpray.todo.$name.service --no-pager --threshold=15 >/dev/null || exit 9; done")?
        .ok()?;

    until(web, "[ -e /run/pullpray.todo.fails/failed ]")?;
    web.run("pullpray poll todo")?
        .exits(1)?
        .says("todo: fails failed (exit-code, 1), which pullpray.todo.fails.service runs by the clock")?
        .says("out of order")?
        .says("log   sudo pullpray logs todo --process fails")?;
    web.run("sleep 5; pullpray poll todo")?.ok()?.silent()?;
    // Also while it runs once more.
    let status = web.run("pullpray status todo --check")?.exits(1)?;
    ensure!(
        status.stdout.contains("fails (*:*:0/2) failed (exit-code)")
            || status
                .stdout
                .contains("fails (*:*:0/2) running, failed before"),
        "{status:?}"
    );
    web.run("pullpray logs todo --process fails")?
        .ok()?
        .says("out of order")?;
    // It succeeds again, and the next failure is another.
    web.run(&format!(
        "setpriv --reuid=gunicorn --regid=gunicorn --clear-groups touch {SHARED}/fixed"
    ))?
    .ok()?;
    until(web, "! [ -e /run/pullpray.todo.fails/reported ]")?;
    web.run("pullpray poll todo; pullpray status todo --check")?
        .ok()?;
    web.run("pullpray doctor todo --strict")?
        .ok()?
        .says("fails, slow, tick")?;
    web.run(&format!("rm {SHARED}/fixed"))?.ok()?;
    until(web, "[ -e /run/pullpray.todo.fails/failed ]")?;
    web.run("pullpray poll todo")?
        .exits(1)?
        .says("fails failed")?;
    // The new code, by the same units.
    repo.push("version two")?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    until(web, &format!("grep -q 'version two' {SHARED}/ticks"))?;

    // A name that the Procfile lacks; a time that systemd does not understand.
    repo.commit("Lose one", &[("Procfile", "tick: true\n")])?;
    web.run("pullpray poll todo")?
        .exits(1)?
        .says("the settings run fails, slow, and Procfile names tick")?;
    set(web, "tick = \"sometimes\"")?;
    web.run("pullpray init todo --yes")?
        .exits(1)?
        .says("systemd does not understand the time of a timer, \"sometimes\"")?;
    set(web, "tick = \"hourly\"")?;
    web.run("pullpray init todo --yes && pullpray poll todo")?
        .ok()?
        .says("\"Lose one\" live after")?;
    let units = web
        .run("ls /etc/systemd/system /etc/systemd/system/*.wants | grep pullpray.todo | sort -u")?
        .ok()?;
    ensure!(
        units.stdout == "pullpray.todo.tick.service\npullpray.todo.tick.timer\n",
        "{units:?}"
    );
    web.run("systemctl show -P NextElapseUSecRealtime pullpray.todo.tick.timer | grep -q :00:00")?
        .ok()?;
    web.run("pullpray remove todo --yes && ! ls -d /etc/systemd/system/*pullpray.todo* /etc/systemd/system/*.wants/*pullpray.todo* /run/pullpray.todo* 2>/dev/null")?
        .ok()?;
    Ok(())
}
