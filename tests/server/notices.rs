//! Who hears of a failure: mail, webhooks and Apprise, at receivers that work, refuse, redirect, hang or are gone.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::databases::CERTIFICATES;
use crate::lab::{GitHost, Lab, Release, Repository, Todo, WebServer};

/// msmtp, which finds the mail server by this.
const MSMTPRC: &str = "defaults\nsyslog on\naccount default\nhost githost\nport 25\ntls off\nfrom pullpray@example.org\n";
const HOOK: &str = "https://githost:8443/hooks/s3cret";
/// Prints what others than the app's account can read or see, with samples of all command lines.
const LEAKS: &str = "(for n in $(seq 100); do cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'; sleep 0.02; done) >/root/seen & \
    pullpray notify todo --test; pullpray poll todo --now; pullpray status todo --history; pullpray status todo --json; pullpray doctor todo; \
    pullpray doctor todo --json; pullpray metrics; pullpray init todo --dry-run; pullpray notify todo; journalctl --no-pager; cat /var/log/*.log; wait; \
    sort -u /root/seen; runuser -u nobody -- cat /etc/pullpray/todo.toml; cat /var/lib/pullpray/todo/notices.json; cat /var/lib/pullpray/todo/log/*; exit 1";

/// A live app on a server with mail and Apprise, and receivers on its git host.
pub fn live(lab: &Lab) -> Result<Todo> {
    let packages = "+apprise+msmtp-mta+prometheus+prometheus-node-exporter";
    let todo = Todo::with_packages(lab, Release::Bookworm, packages)?;
    todo.make_live()?;
    let Todo { host, web, .. } = &todo;
    host.run(CERTIFICATES)?.ok()?;
    host.write("/root/receiver.py", include_str!("inside/receiver.py"))?;
    start(host)?;
    web.write(
        "/usr/local/share/ca-certificates/tests.crt",
        &host.read("/root/ca.pem")?,
    )?;
    web.run("update-ca-certificates")?.ok()?;
    web.write("/etc/msmtprc", MSMTPRC)?;
    web.run("chmod 644 /etc/msmtprc")?.ok()?;
    Ok(todo)
}

fn start(host: &GitHost) -> Result<()> {
    host.run("systemd-run --quiet --collect --unit=receiver python3 /root/receiver.py; for n in $(seq 100); do ss -ltn | grep -q :8443 && exit; sleep 0.1; done; exit 9")?
        .ok()
        .map(drop)
}

/// Sets where failures are reported.
pub fn notify(web: &WebServer, channels: &[&str], more: &str) -> Result<()> {
    web.run(&format!(
        "sed -i '/^notify/d; /^heartbeat/d' /etc/pullpray/todo.toml && echo 'notify = {channels:?}\n{more}' >>/etc/pullpray/todo.toml"
    ))?
    .ok()
    .map(drop)
}

/// What arrived since the last call.
pub fn received(host: &GitHost) -> Result<Vec<Value>> {
    let text = host
        .run("cat /root/received 2>/dev/null; rm -f /root/received")?
        .ok()?
        .stdout;
    text.lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect()
}

/// The events that webhooks got, with the time between polls as it is.
fn events(host: &GitHost) -> Result<Vec<String>> {
    let posts = received(host)?;
    let events = posts.iter().map(|post| {
        let body: Value = serde_json::from_str(post["body"].as_str().unwrap_or_default())?;
        let reminder = if body["reminder"] == true {
            " again"
        } else {
            ""
        };
        Ok(format!(
            "{}{reminder}",
            body["event"].as_str().context("no event")?
        ))
    });
    events.collect()
}

pub fn expect_events(host: &GitHost, expected: &[&str]) -> Result<()> {
    let events = events(host)?;
    ensure!(events == expected, "{events:?}");
    Ok(())
}

pub const BROKEN: &[(&str, &str)] = &[(
    "todo/wsgi.py",
    "raise RuntimeError('<!channel> out of order')\n",
)];

/// Twenty attempts, one message each: of these fields.
fn twenty_attempts_tell_once(host: &GitHost, repo: &Repository, web: &WebServer) -> Result<()> {
    repo.commit("Break <!channel>", BROKEN)?;
    web.run_for(300, "for n in $(seq 3); do pullpray poll todo --now; done; for n in $(seq 17); do pullpray poll todo; done")?.ok()?;
    let all = received(host)?;
    ensure!(all.len() == 3, "{all:#?}");
    let post: Value = serde_json::from_str(all[0]["body"].as_str().unwrap_or_default())?;
    let live = repo.run("git rev-parse HEAD^")?;
    let tip = repo.tip()?;
    let title = format!(
        "[pullpray web] todo: deploy FAILED, {} still live",
        &live[..7]
    );
    for (key, value) in [
        ("event", "failed"),
        ("app", "todo"),
        ("commit", tip.trim()),
        ("live", live.trim()),
        ("title", title.as_str()),
    ] {
        ensure!(post[key] == value, "{key}: {post:#}");
    }
    let text = post["text"].as_str().unwrap_or_default();
    ensure!(
        text.starts_with(&title) && text.contains("The site is UP on") && !text.contains("<!"),
        "{text}"
    );
    let fields: Vec<&String> = post.as_object().context("no object")?.keys().collect();
    for field in &fields {
        ensure!(
            README.contains(&format!("`{field}`")),
            "README does not describe {field}"
        );
    }
    let mail = all[1]["body"].as_str().unwrap_or_default();
    ensure!(
        mail.contains(&format!("Subject: {title}\n"))
            && mail.contains("RuntimeError")
            && mail.contains("  log   /var/lib/pullpray/todo/log/"),
        "{mail}"
    );
    ensure!(
        all[1]["to"][0]
            .as_str()
            .is_some_and(|to| to.contains("ops@example.org")),
        "{all:#?}"
    );
    ensure!(
        all[2]["body"]
            .as_str()
            .is_some_and(|body| body.contains(&title)),
        "{all:#?}"
    );
    Ok(())
}

#[test]
fn every_channel_hears_once_of_a_failure_and_of_its_end() -> Result<()> {
    let lab = Lab::new("notices")?;
    let Todo { host, repo, web } = &live(&lab)?;
    web.run("pullpray status todo")?
        .ok()?
        .says("notices   nobody would hear of a failure: sudo pullpray init todo --notify ops@example.org")?;
    web.run("pullpray doctor todo")?
        .ok()?
        .says("nobody would hear of a failure")?;
    web.run("pullpray notify todo --test")?
        .exits(2)?
        .says("todo reports failures to nobody")?;
    // Not on the command line, which everybody can read; by the variable it works, and the unit hides the file.
    web.run(&format!("pullpray init todo --yes --notify {HOOK}"))?
        .exits(2)?
        .says("--notify has an address that is a secret")?;
    web.run(&format!(
        "PULLPRAY_NOTIFY={HOOK},ops@example.org,json://githost:8080/apprise-s3cret pullpray init todo --yes"
    ))?
    .ok()?;
    web.run("stat -c '%a %U:%G' /etc/pullpray/todo.toml")?
        .says("640 root:gunicorn")?;
    web.run("pullpray run todo -- cat /etc/pullpray/todo.toml")?
        .exits(1)?;
    // Also not for the app that ran when the file was replaced.
    web.run("nsenter --mount --target $(systemctl show -P MainPID gunicorn.todo.service) ls /etc/pullpray")?
        .ok()?
        .says("todo.data")?;
    web.run("! nsenter --mount --target $(systemctl show -P MainPID gunicorn.todo.service) ls /etc/pullpray | grep -v data")?
        .ok()?;
    web.run("pullpray notify todo --test")?
        .ok()?
        .says("https://githost:8443/…: sent\nmailto:ops@example.org: sent\njson://…: sent\n")?;
    ensure!(received(host)?.len() == 3);

    twenty_attempts_tell_once(host, repo, web)?;
    // A day later it is recalled, once; while paused it is not.
    web.run("sed -i 's/\"reported\": \"[0-9]*/\"reported\": \"2020/' /var/lib/pullpray/todo/notices.json && pullpray pause todo && pullpray poll todo && pullpray resume todo")?.ok()?;
    ensure!(received(host)?.is_empty());
    web.run("pullpray poll todo; pullpray poll todo")?.ok()?;
    let all = received(host)?;
    ensure!(
        all.len() == 3
            && all[1]["body"]
                .as_str()
                .is_some_and(|it| it.contains("todo: still: deploy FAILED")),
        "{all:#?}"
    );

    let leaks = web.run_for(180, LEAKS)?;
    let leaks = leaks.exits(1)?;
    leaks.says("apprise")?.says("sendmail")?;
    ensure!(received(host)?.len() == 3);
    for text in [&leaks.stdout, &leaks.stderr] {
        let leak = text.lines().find(|line| line.contains("s3cret"));
        ensure!(leak.is_none(), "{leak:?}");
    }
    core_dumps_have_nothing(web)?;
    repo.run("git revert --no-edit HEAD && git push -q")?;
    repo.push("version two")?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    ensure!(web.page("/")?.shows("version two"));
    let all = received(host)?;
    let live = &repo.tip()?[..7];
    ensure!(
        all.len() == 3
            && all[1]["body"]
                .as_str()
                .is_some_and(|it| it.contains(&format!("todo: recovered, {live} is live"))),
        "{all:#?}"
    );
    // A release that goes live is no news, unless asked for.
    repo.push("version three")?;
    web.run("pullpray poll todo; echo 'notify_live = true' >>/etc/pullpray/todo.toml")?
        .ok()?;
    ensure!(received(host)?.is_empty());
    repo.push("version four")?;
    web.run("pullpray poll todo")?.ok()?;
    ensure!(received(host)?.len() == 3 && web.page("/")?.shows("version four"));
    // A person's rollback is no failure.
    web.run("pullpray rollback todo && pullpray resume todo && pullpray poll todo")?
        .ok()?;
    ensure!(received(host)?.is_empty() && web.page("/")?.shows("version three"));
    web.run("pullpray retry todo && pullpray poll todo")?
        .ok()?
        .says("live after")?;
    ensure!(web.page("/")?.shows("version four"));
    web.run("pullpray doctor todo --strict")?
        .ok()?
        .says("https://githost:8443/…, mailto:ops@example.org, json://…")?;
    Ok(())
}

const README: &str = include_str!("../../README.md");

/// The kernel dumps no core of a poll, and lets no process of its account read its memory (prctl(2), PR_SET_DUMPABLE): what
/// belongs to it in /proc is root's then.
fn core_dumps_have_nothing(web: &WebServer) -> Result<()> {
    let owner = "runuser -u gunicorn -- pullpray poll todo --splay 3 >/dev/null & sleep 1; stat -c '%U' /proc/$(pgrep -u gunicorn -f 'poll todo --splay' | tail -1)/environ";
    web.run(owner)?.ok()?.says("root")?;
    Ok(())
}

#[test]
fn what_a_receiver_does_not_take_comes_later_and_changes_no_deployment() -> Result<()> {
    let lab = Lab::new("unheard")?;
    let Todo { host, repo, web } = &live(&lab)?;
    let at = |path: &str| format!("https://githost:8443/{path}");
    // Refused, redirected, never answered: each said, none of them stops the others or the deployment.
    notify(
        web,
        &[&at("refuse"), &at("redirect"), &at("slow"), &at("well")],
        "notify_live = true",
    )?;
    repo.push("version two")?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    ensure!(web.page("/")?.shows("version two"));
    let all = received(host)?;
    let paths: Vec<&str> = all.iter().filter_map(|it| it["path"].as_str()).collect();
    ensure!(paths == ["/refuse", "/redirect", "/well"], "{all:#?}");
    web.run("pullpray status todo")?
        .ok()?
        .says("3 notices could not be delivered yet")?;
    web.run("pullpray notify todo --test")?
        .exits(1)?
        .says("it answers 403")?
        .says("it answers 302, a redirect, which is not followed")?
        .says("no answer within 10 s")?
        .says("3 of 4 messages could not be sent")?;
    received(host)?;
    // Gone, and back: what was missed comes in its order, once.
    notify(web, &[&at("hook")], "")?;
    host.run("systemctl stop receiver")?.ok()?;
    notify(
        web,
        &[&at("hook"), "ops@example.org", "json://githost:8080/s3cret"],
        "",
    )?;
    let out = web.run("pullpray notify todo --test")?.exits(1)?;
    out.says("3 of 3 messages could not be sent")?
        .says("-i ops@example.org exited with status 75")?;
    ensure!(
        !format!("{}{}", out.stdout, out.stderr).contains("s3cret"),
        "{out:?}"
    );
    notify(web, &[&at("hook")], "")?;
    repo.commit("Break it", BROKEN)?;
    web.run("pullpray poll todo")?.exits(1)?;
    web.run("pullpray doctor todo")?
        .says("a notice could not be delivered yet: Connection refused")?;
    repo.run("git revert --no-edit HEAD && git push -q")?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    web.run("pullpray status todo")?
        .ok()?
        .says("2 notices could not be delivered yet")?;
    start(host)?;
    web.run("sed -i 's/\"next\": \"[0-9]*/\"next\": \"2020/' /var/lib/pullpray/todo/notices.json; pullpray poll todo && pullpray poll todo")?.ok()?.silent()?;
    expect_events(host, &["failed", "recovered"])?;
    web.run("! ls /var/lib/pullpray/todo/notices.json && pullpray doctor todo --strict")?
        .ok()?;
    // Killed while it sends: the next poll does.
    host.run("systemctl kill --signal=STOP receiver")?.ok()?;
    repo.commit("Break it once more", BROKEN)?;
    web.run("pullpray poll todo >/dev/null & for n in $(seq 300); do [ -e /var/lib/pullpray/todo/notices.json ] && break; sleep 0.1; done; sleep 1; pkill -KILL -x pullpray; wait; true")?
        .ok()?;
    host.run("systemctl kill --signal=CONT receiver")?.ok()?;
    received(host)?;
    web.run("pullpray poll todo")?.ok()?;
    expect_events(host, &["failed"])?;
    repo.run("git revert --no-edit HEAD && git push -q")?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    received(host)?;
    // An unknown authority is not trusted.
    web.run("rm /usr/local/share/ca-certificates/tests.crt && update-ca-certificates --fresh && pullpray notify todo --test")?
        .exits(1)?
        .says("https://githost:8443/…: FAILED: invalid peer certificate: UnknownIssuer")?;
    // Without a mail system.
    notify(web, &["ops@example.org", "tgram://s3cret/1"], "")?;
    web.without(&["msmtp-mta", "apprise"])?;
    web.run("pullpray doctor todo")?
        .says("no mail can be sent: this server has no /usr/sbin/sendmail")?
        .says("sudo apt-get install msmtp-mta && sudoedit /etc/msmtprc")?;
    web.run("pullpray notify todo --test")?
        .exits(1)?
        .says("mailto:ops@example.org: FAILED: /usr/sbin/sendmail is not installed")?
        .says("apprise is not installed")?;
    for (channel, why) in [
        ("http://githost/s3cret", "would be sent without encryption"),
        ("ops", "is neither a mail address nor a web address"),
    ] {
        notify(web, &[channel], "")?;
        let out = web.run("pullpray poll todo")?.exits(2)?;
        ensure!(
            out.stderr.contains(why) && !out.stderr.contains("s3cret"),
            "{out:?}"
        );
    }
    notify(web, &[], "")?;
    repo.push("version five")?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    ensure!(web.page("/")?.shows("version five"));
    Ok(())
}
