//! What notices that a server falls silent, and what a server does that cannot record what it reported.

use anyhow::{Result, ensure};

use crate::lab::{Lab, Todo};
use crate::notices::{BROKEN, expect_events, live, notify, received};

#[test]
fn a_silent_server_is_noticed_by_its_heartbeat_and_a_full_disk_is_reported_once() -> Result<()> {
    let lab = Lab::new("heartbeat")?;
    let Todo { host, repo, web } = &live(&lab)?;
    let hook = "https://githost:8443/hook";
    notify(
        web,
        &[hook],
        "heartbeat = \"https://githost:8443/ping/s3cret\"",
    )?;
    let beats = || -> Result<Vec<String>> {
        let all = received(host)?.into_iter().filter(|it| it["by"] == "GET");
        Ok(all
            .map(|it| it["path"].as_str().unwrap_or_default().to_owned())
            .collect())
    };
    // At most one a minute.
    web.run("pullpray poll todo && pullpray poll todo")?
        .ok()?
        .silent()?;
    ensure!(beats()? == ["/ping/s3cret"]);
    let aged = "touch -d '2 minutes ago' /var/lib/pullpray/todo/heartbeat";
    repo.commit("Break it", BROKEN)?;
    web.run(&format!("{aged}; pullpray poll todo"))?.exits(1)?;
    ensure!(beats()? == ["/ping/s3cret/fail"]);
    web.run(&format!("{aged}; pullpray poll todo"))?.ok()?;
    ensure!(beats()? == ["/ping/s3cret/fail"]);
    repo.run("git revert --no-edit HEAD && git push -q")?;
    web.run(&format!("{aged}; pullpray poll todo"))?.ok()?;
    ensure!(beats()? == ["/ping/s3cret"]);
    // The git host did not answer this once: nothing is sent. Once it lasts, it is a failure.
    host.stop_sshd()?;
    web.run(&format!("{aged}; pullpray poll todo"))?.exits(3)?;
    ensure!(beats()?.is_empty());
    web.run(&format!("pullpray poll todo; {aged}; pullpray poll todo"))?
        .exits(3)?;
    let all = received(host)?;
    ensure!(
        all.len() == 2
            && all[0]["body"]
                .as_str()
                .is_some_and(|it| it.contains("\"event\":\"unreachable\""))
            && all[1]["path"] == "/ping/s3cret/fail",
        "{all:#?}"
    );
    host.start_sshd()?;
    web.run(&format!("{aged}; pullpray poll todo"))?.ok()?;
    ensure!(received(host)?.len() == 2);

    // An error of this server's own, and its end.
    notify(web, &[hook], "")?;
    repo.push("version one again")?;
    web.run("chmod 000 /etc/pullpray/todo.env; for n in 1 2 3; do pullpray poll todo; done; chmod 640 /etc/pullpray/todo.env; pullpray poll todo")?
        .ok()?
        .says("live after")?;
    expect_events(host, &["failed", "recovered"])?;
    // What was sent cannot be recorded: still once, and its end.
    let file = "/var/lib/pullpray/todo/notices.json";
    web.run(&format!("rm -f {file}; mkdir {file}"))?.ok()?;
    repo.commit("Break it", BROKEN)?;
    web.run("for n in 1 2 3; do pullpray poll todo --now; done; true")?
        .ok()?;
    expect_events(host, &["failed"])?;
    repo.run("git revert --no-edit HEAD && git push -q")?;
    web.run(&format!("pullpray poll todo; rmdir {file}"))?
        .ok()?
        .says("live after")?;
    expect_events(host, &["recovered"])?;
    // A site that stays down: it is not well before it is up again.
    web.run("mkdir /etc/systemd/system/gunicorn.todo.service.d; printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\n' >/etc/systemd/system/gunicorn.todo.service.d/down.conf; systemctl daemon-reload; systemctl kill --signal=KILL gunicorn.todo.service; for n in 1 2 3; do pullpray poll todo; done; true")?
        .ok()?;
    expect_events(host, &["down"])?;
    web.run("rm -r /etc/systemd/system/gunicorn.todo.service.d; systemctl daemon-reload; pullpray poll todo --now; pullpray poll todo; pullpray doctor todo")?
        .ok()?;
    expect_events(host, &["recovered"])?;
    repo.push("version two")?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    ensure!(web.page("/")?.shows("version two"));
    Ok(())
}
