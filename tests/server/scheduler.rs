//! What starts the polls: a systemd timer, cron, and the other programs that read /etc/cron.d.

use std::io::{self, Write};
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::install_and_remove::{REMOVE, assert_same, everything};
use crate::lab::{Access, Lab, Release, Repository, Todo, WebServer};

/// One that no test reaches.
const YEARLY: &str = "0 0 1 1 *";
const STRICT: &str = "for n in $(seq 50); do pullpray doctor todo --offline --strict >/tmp/doctor && break; sleep 0.3; done; cat /tmp/doctor; ! grep -q '^fail\\|^warn' /tmp/doctor";

/// Exactly one scheduler is there: the files of one, and its timer if it has one.
fn only(web: &WebServer, timer: bool) -> Result<()> {
    let found = web
        .run("ls -d /etc/cron.d/pullpray-* /etc/systemd/system/pullpray-poll.* /etc/systemd/system/timers.target.wants/pullpray-* 2>/dev/null; systemctl list-timers --all --no-legend 'pullpray*' | grep -o 'pullpray[^ ]*timer'; true")?
        .ok()?;
    let expected = if timer {
        "/etc/systemd/system/pullpray-poll.todo.service\n/etc/systemd/system/pullpray-poll.todo.timer\n\
         /etc/systemd/system/timers.target.wants/pullpray-poll.todo.timer\npullpray-poll.todo.timer\n"
    } else {
        "/etc/cron.d/pullpray-todo\n"
    };
    ensure!(found.stdout == expected, "{found}");
    Ok(())
}

/// Pushes, and waits until the site serves it; in seconds, how long that took, and the deployment of it.
fn live(repo: &Repository, web: &WebServer, version: &str, within: u64) -> Result<(f64, f64)> {
    let began = Instant::now();
    repo.push(version)?;
    web.wait_for_page("/", version, within)?;
    let waited = began.elapsed().as_secs_f64();
    // The page comes before the deployment's last steps.
    let took = web
        .run(&format!("for n in $(seq 100); do pullpray status todo --json | python3 -c 'import json, sys; row = json.load(sys.stdin)[\"apps\"][0][\"history\"][-1]; assert row[\"subject\"] == \"{version}\"; print(row[\"took_seconds\"])' 2>/dev/null && exit; sleep 0.1; done; pullpray status todo --history; exit 9"))?
        .ok()?;
    Ok((waited, took.stdout.trim().parse()?))
}

#[test]
fn a_push_is_live_within_the_interval_of_a_timer() -> Result<()> {
    let lab = Lab::new("timer")?;
    let Todo { repo, web, .. } = &Todo::live(&lab, Release::Bookworm)?;
    web.run("pullpray init todo --schedule 10s --yes")?
        .ok()?
        .says("0644 root, polls every 10 seconds")?
        .says("a timer checks githost for new commits every 10 seconds; ")?
        .says("The timer's first poll shows that the schedule works")?;
    only(web, true)?;
    for version in ["two", "three", "four"] {
        let (waited, took) = live(repo, web, version, 90)?;
        writeln!(
            io::stderr(),
            "{version}: live after {waited:.1} s, of which the deployment took {took} s"
        )?;
        // What this machine takes to push and to ask for the page.
        ensure!(waited < 10.0 + took + 8.0, "{waited} s; {took} s");
    }
    web.run("pullpray status todo --check")?
        .ok()?
        .says("; a timer polls every 10 seconds, next ")?;
    web.run(STRICT)?
        .ok()?
        .says("a timer polls every 10 seconds")?;
    // Its journal has what a poll prints, and nothing about the polls without news.
    let journal = web
        .run("journalctl -q -o cat -t pullpray-poll.todo; journalctl -q -o cat -u pullpray-poll.todo.service | grep -v -e COMMAND= -e 'live after'")?
        .exits(1)?
        .stdout;
    let live_after = |line: &str| line.contains("live after");
    ensure!(
        journal.lines().count() == 3 && journal.lines().all(live_after),
        "{journal}"
    );

    // A power cut, and what sets the clock.
    web.power_cut()?;
    web.boot_again()?;
    live(repo, web, "five", 90)?;
    web.run("date -s '+3 hours' >/dev/null; date -s '-3 hours' >/dev/null; true")?
        .ok()?;
    live(repo, web, "six", 90)?;

    // To cron, back, and to another interval.
    web.run(&format!("pullpray init todo --schedule '{YEARLY}' --yes"))?
        .ok()?
        .says("cron checks githost")?;
    only(web, false)?;
    web.run(STRICT)?.ok()?.says("cron polls at")?;
    web.run("echo '# by ann' >>/etc/cron.d/pullpray-todo; pullpray init todo --schedule 1m --yes && pullpray init todo --schedule 5s --yes")?
        .ok()?;
    only(web, true)?;
    ensure!(
        web.run("cat /var/lib/pullpray/receipts/todo.replaced/*cron.d*")?
            .ok()?
            .stdout
            .ends_with("# by ann\n")
    );
    live(repo, web, "seven", 90)?;
    web.run("systemctl list-units --failed --no-legend 'pullpray*'")?
        .ok()?
        .silent()?;
    Ok(())
}

#[test]
fn a_poll_by_a_timer_runs_once_and_goes_on_when_the_timer_stops() -> Result<()> {
    let lab = Lab::new("once")?;
    let Todo { repo, web, .. } = &Todo::live(&lab, Release::Trixie)?;
    web.run("pullpray init todo --schedule 5s --yes && sed -i '2i [ \"$1\" != build ] || sleep 15' /opt/git_pollers/todo/deploy.sh && sed -n 1,4p /opt/git_pollers/todo/deploy.sh")?
        .ok()?;
    let begun =
        "for n in $(seq 300); do pgrep -f '^sleep 15' >/dev/null && exit; sleep 0.1; done; exit 9";
    let polls = "for n in $(seq 40); do pgrep -fc '^/usr/local/bin/pullpray poll todo$'; sleep 0.2; done | sort -rn | head -n 1";
    repo.push("two")?;
    web.run(begun)?.ok()?;
    ensure!(web.run(polls)?.ok()?.stdout == "1\n", "two at once");
    web.wait_for_page("/", "two", 90)?;

    // Without its timer, and without its files: the deployment goes on.
    repo.push("three")?;
    web.run(begun)?.ok()?;
    web.run("systemctl stop pullpray-poll.todo.timer")?.ok()?;
    web.run("pullpray doctor todo --offline --only schedule.timer")?
        .exits(1)?
        .says(
            "fail  schedule.timer         pullpray-poll.todo.timer is inactive, so nothing polls",
        )?;
    web.wait_for_page("/", "three", 90)?;
    web.run("pullpray doctor todo --fix --yes --offline; pullpray doctor todo --offline --only schedule.timer")?
        .ok()?;
    live(repo, web, "four", 120)?;
    repo.push("five")?;
    web.run(begun)?.ok()?;
    web.run(&format!("pullpray init todo --schedule '{YEARLY}' --yes"))?
        .ok()?;
    only(web, false)?;
    web.wait_for_page("/", "five", 90)?;
    web.run("pullpray doctor todo --offline; systemctl list-units --failed --no-legend 'pullpray*'; pullpray status todo --check")?
        .ok()?;

    // A failure stands in the journal and in the status, and is no failed unit; settings that are not valid are.
    web.run("sed -i 2d /opt/git_pollers/todo/deploy.sh; pullpray init todo --schedule 5s --yes")?
        .ok()?;
    let commit = repo.commit("Break", &[("todo/settings.py", "import nothing\n")])?;
    let failed = "for n in $(seq 600); do pullpray status todo --check >/dev/null || exit 0; sleep 0.1; done; exit 9";
    web.run(failed)?.ok()?;
    web.run(&format!(
        "journalctl -q -u pullpray-poll.todo | grep {}; systemctl is-failed pullpray-poll.todo",
        &commit[..7]
    ))?
    .exits(1)?
    .says("pullpray-poll.todo[")?;
    web.run("cp -p /etc/pullpray/todo.toml /root/; echo 'x = 1' >>/etc/pullpray/todo.toml; for n in $(seq 300); do systemctl is-failed pullpray-poll.todo && exit; sleep 0.1; done; exit 9")?
        .ok()?;
    web.run("cp -p /root/todo.toml /etc/pullpray/")?.ok()?;
    Ok(())
}

#[test]
fn a_server_without_cron_gets_a_timer() -> Result<()> {
    let lab = Lab::new("nocron")?;
    let todo = Todo::before_init(&lab, Release::Bookworm)?;
    let Todo { host, repo, web } = &todo;
    web.without(&["cron"])?;
    let before = everything(web)?;
    web.changes_nothing(&todo.init("--schedule '0 3 * * *'")?)?
        .exits(1)?
        .says("polls at \"0 3 * * *\" need cron, which is not installed")?
        .says("sudo pullpray init todo --schedule 5m")?;
    let init = todo.init("")?;
    web.run(&init)?
        .exits(3)?
        .says("0644 root, polls every 5 minutes; there is no cron")?;
    host.allow_key(repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    web.run(&init)?.ok()?;
    only_timer_of(web, "5m")?;
    web.run("pullpray init todo --schedule 7s --yes")?.ok()?;
    live(repo, web, "version two", 90)?;
    web.run(STRICT)?.ok()?;
    web.run(&format!(
        "for n in $(seq 50); do {REMOVE} && break; sleep 0.2; done"
    ))?
    .ok()?
    .says("todo is removed")?;
    assert_same(
        &before,
        &everything(web)?,
        "installed without cron, and removed",
    )?;
    web.run("systemctl list-units --all --no-legend '*todo*'; systemctl list-timers --all --no-legend '*todo*'")?
        .ok()?
        .silent()?;
    Ok(())
}

fn only_timer_of(web: &WebServer, interval: &str) -> Result<()> {
    only(web, true)?;
    let settings = web.read("/etc/pullpray/todo.toml")?;
    ensure!(
        settings.contains(&format!("\nschedule = \"{interval}\"\n")),
        "{settings}"
    );
    Ok(())
}

/// Goes live by a cron that is not Debian's, and follows a push within two of its minutes.
fn by_another_cron(release: Release, package: &str, journal: &str) -> Result<()> {
    let lab = Lab::new("other")?;
    let (host, web) = lab.git_host_and_web_server_with(release, &format!("+{package}"))?;
    web.nginx_site("todo", "127.0.0.1:8000")?;
    let repo = host.repository("acme/todo")?;
    let todo = Todo { host, repo, web };
    let Todo { host, repo, web } = &todo;
    let init = todo.init("--schedule 1")?;
    web.run(&init)?.exits(3)?;
    host.allow_key(repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    web.run(&init)?.ok()?.says("cron checks githost")?;
    only(web, false)?;
    // What follows a boot is no missed poll.
    web.power_cut()?;
    web.boot_again()?;
    web.run("pullpray status todo --check")?.ok()?;
    live(repo, web, "version two", 150)?;
    web.run(STRICT)?.ok()?.says("cron polls every minute")?;
    web.run(journal)?.ok()?.says("pullpray")?;
    web.run(&format!(
        "for n in $(seq 50); do {REMOVE} && break; sleep 0.2; done"
    ))?
    .ok()?;
    Ok(())
}

#[test]
fn systemd_cron_is_a_cron() -> Result<()> {
    let journal = "journalctl -q -u 'cron-pullpray-todo-*'";
    by_another_cron(Release::Bookworm, "systemd-cron", journal)
}

#[test]
fn cronie_is_a_cron() -> Result<()> {
    let journal = "journalctl -q -t crond -t CROND -g 'gunicorn|pullpray-todo'";
    by_another_cron(Release::Trixie, "cronie", journal)
}
