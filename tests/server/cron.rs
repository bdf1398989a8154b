//! Problems that stop cron from starting polls although a poll by hand works.

use anyhow::{Result, ensure};

use crate::faults::{deploys, poll_is_silent};
use crate::lab::{Access, Lab, Release, Todo};

#[test]
fn an_existing_account_is_never_recreated_while_its_directory_is_down() -> Result<()> {
    let lab = Lab::new("away")?;
    let todo = Todo::before_init(&lab, Release::Bookworm)?;
    let Todo { host, repo, web } = &todo;
    web.run("useradd --create-home runner")?.ok()?;
    let init = todo.init("--user runner --schedule '0 0 1 1 *'")?;
    web.run(&init)?.exits(3)?;
    host.allow_key(repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    web.run(&init)?.ok()?;
    repo.push("version two")?;

    // Simulates an outage of the directory service: files have a uid without a name.
    // cron would log that the user is unknown, which it remembers until its entry is rewritten.
    web.run("systemctl stop cron; mkdir /root/away; cp -a /etc/passwd /etc/group /etc/shadow /etc/gshadow /root/away/; sed -i /^runner:/d /etc/passwd /etc/group /etc/shadow /etc/gshadow; ! id runner")?
        .ok()?;
    let owners = "find /var/www /www /var/lib/pullpray /etc -uid 0 -o -printf '%p %U:%G\\n' | sort";
    let before = web.run(owners)?.ok()?.stdout;
    web.run("pullpray doctor todo --offline")?
        .exits(1)?
        .says("fail  account.user           the user runner existed before pullpray and is now unknown to this server")?
        .says("fail  account.group          the group runner existed before pullpray and is now unknown to this server")?;
    web.run("pullpray doctor todo --fix --yes --offline")?
        .exits(1)?
        .says("fix: getent passwd runner")?;
    web.run(&init)?
        .exits(1)?
        .says("is its directory service unavailable?")?;
    web.run("id runner || getent group runner")?.exits(2)?;
    ensure!(before == web.run(owners)?.ok()?.stdout);

    web.run("cp -a /root/away/* /etc/ && systemctl start cron")?
        .ok()?;
    deploys(web, "version two")?;
    poll_is_silent(web)?;
    web.run("pullpray doctor todo --offline --strict")?.ok()?;
    Ok(())
}

#[test]
fn only_polls_by_cron_prove_that_cron_works() -> Result<()> {
    let lab = Lab::new("bycron")?;
    let Todo { repo, web, .. } = &Todo::live(&lab, Release::Bookworm)?;
    let doctor = "pullpray doctor todo --offline";
    web.run(doctor)?
        .ok()?
        .says("by hand; cron polls at \"0 0 1 1 *\" but has not started one yet")?;
    web.run("pullpray init todo --schedule '* * * * *' --yes")?
        .ok()?
        .says("Cron's first poll shows that the schedule works: pullpray status todo")?;

    // Each of these stops polls by cron only.
    for (harm, finds, cure) in [
        (
            "chage -M 90 -d \"$(date -d '-100 days' +%F)\" gunicorn",
            Some("sudo chage --maxdays -1 gunicorn"),
            "chage --maxdays -1 gunicorn",
        ),
        (
            "chage -E \"$(date -d '-1 day' +%F)\" gunicorn",
            Some("sudo chage --expiredate -1 gunicorn"),
            "chage --expiredate -1 gunicorn",
        ),
        (
            "sed -i '1i account required pam_deny.so' /etc/pam.d/cron",
            None,
            "sed -i 1d /etc/pam.d/cron",
        ),
        (
            "chmod 700 /usr/local/bin/pullpray",
            Some("has mode 0700, but cron must execute it"),
            "pullpray doctor todo --fix --yes --offline --only server.program",
        ),
    ] {
        // No minute may begin between this and the harm, and no poll of cron's may be waiting for its second.
        web.run("systemctl stop cron; pkill -f '[-]-splay'; flock /var/lib/pullpray/todo rm -f /var/lib/pullpray/todo/answered-by-cron")?
            .ok()?;
        web.run(harm)?.ok()?;
        if let Some(words) = finds {
            web.run(doctor)?.exits(1)?.says(words)?;
        }
        web.fast_cron(20)?;
        // Waits until cron has tried more than once; no poll started.
        web.run("journalctl -q --rotate --vacuum-time=1s; for n in $(seq 300); do [ $(journalctl -q -t CRON -o cat --no-pager | wc -l) -gt 2 ] && break; sleep 0.1; done; test $n -lt 300")?.ok()?;
        web.run(
            "! test -e /var/lib/pullpray/todo/answered-by-cron && (pullpray poll todo || true)",
        )?
        .ok()?;
        // Pretends that an hour has passed.
        web.run("touch -d '-1 hour' /etc/cron.d/pullpray-todo /run/crond.pid")?
            .ok()?;
        web.run(doctor)?
            .exits(1)?
            .says("fail  poll.recent            cron has started no poll since ")?
            .says("(it polls every minute)")?;
        web.run("pullpray status todo")?
            .ok()?
            .says("  cron      cron has started no poll since ")?;

        web.run(cure)?.ok()?;
        let version = format!("after {cure}").replace(' ', "_");
        repo.push(&version)?;
        web.wait_for_page("/", &version, 60)?;
        web.run("for n in $(seq 100); do pullpray doctor todo --offline --strict && exit; sleep 0.2; done; exit 1")?
            .ok()?
            .says("cron polls every minute")?;
        web.run("rm -r /etc/systemd/system/cron.service.d && systemctl daemon-reload && systemctl restart cron")?
            .ok()?;
    }
    web.run("chage -E \"$(date -d '+10 days' +%F)\" gunicorn")?
        .ok()?;
    web.run(doctor)?
        .ok()?
        .says("warn  account.user           the account gunicorn expires in ")?
        .says("sudo chage --expiredate -1 gunicorn")?;
    // init prints the warning in words, too.
    let init = web
        .run("pullpray init todo --schedule '*/5 * * * *' --yes")?
        .ok()?;
    init.says("the account gunicorn expires in ")?
        .says("sudo chage --expiredate -1 gunicorn")?;
    ensure!(!init.stdout.contains("Warning("), "{init}");
    Ok(())
}

#[test]
fn a_later_sudo_rule_that_requires_a_password_is_found() -> Result<()> {
    let lab = Lab::new("password")?;
    let Todo { repo, web, .. } = &Todo::live(&lab, Release::Trixie)?;
    // A hardened server's defaults do not apply to the account, unless a later file says so.
    web.run("echo 'Defaults requiretty, listpw=always' >/etc/sudoers.d/hardened; chmod 440 /etc/sudoers.d/hardened; pullpray doctor todo --offline")?
        .ok()?;
    repo.push("version with a tty")?;
    deploys(web, "version with a tty")?;
    repo.push("version without a tty")?;
    for (harm, said, cure) in [
        (
            "echo 'Defaults:gunicorn requiretty' >/etc/sudoers.d/zzz",
            "sudo: sorry, you must have a tty to run sudo",
            "rm /etc/sudoers.d/zzz",
        ),
        ("chage -E 1 gunicorn", "sudo: ", "chage -E -1 gunicorn"),
    ] {
        web.run(harm)?.ok()?;
        web.run("pullpray doctor todo --offline --only sudo.rule")?
            .exits(1)?
            .says(said)?;
        web.run("pullpray poll todo")?
            .exits(1)?
            .says(said)?
            .says("hint: the server refuses, whatever the commit")?;
        poll_is_silent(web)?;
        web.run(cure)?.ok()?;
    }
    deploys(web, "version without a tty")?;
    web.run("rm /etc/sudoers.d/hardened")?.ok()?;
    for rule in [
        "gunicorn ALL=(ALL) ALL",
        "%gunicorn ALL=(root) PASSWD: /usr/bin/systemctl restart *",
    ] {
        web.run(&format!(
            "echo '{rule}' >/etc/sudoers.d/zzz; chmod 440 /etc/sudoers.d/zzz"
        ))?
        .ok()?;
        web.run("pullpray doctor todo --offline")?
            .exits(1)?
            .says("fail  sudo.rule              sudo asks gunicorn for a password before \"/usr/bin/systemctl restart gunicorn.todo.service\"")?
            .says("in /etc/sudoers.d/zzz)")?;
        repo.push(rule)?;
        web.run("pullpray poll todo")?
            .exits(1)?
            .says("a password is required")?;
        web.run("sed -i 's/PASSWD: //; s/) /) NOPASSWD: /' /etc/sudoers.d/zzz && pullpray doctor todo --offline")?
            .ok()?;
        let version = format!("cured {}", rule.len());
        repo.push(&version)?;
        deploys(web, &version)?;
        web.run("rm /etc/sudoers.d/zzz")?.ok()?;
    }
    Ok(())
}

#[test]
fn an_account_that_appears_after_cron_started_is_polled_for() -> Result<()> {
    let lab = Lab::new("late")?;
    let Todo { repo, web, .. } = &Todo::live(&lab, Release::Bookworm)?;
    web.run("pullpray init todo --schedule '* * * * *' --yes")?
        .ok()?;
    // Simulates a boot during which the directory service comes up late.
    let late = |then: &str| -> Result<()> {
        web.run("cp -a /etc/passwd /root/passwd; sed -i /^gunicorn:/d /etc/passwd; systemctl stop ssh-agent.todo; journalctl -q --rotate --vacuum-time=1s")?
            .ok()?;
        web.fast_cron(20)?;
        web.run("systemctl start ssh-agent.todo")?.exits(1)?;
        web.run("for n in $(seq 100); do journalctl -q -t cron -o cat | grep 'bad username; while reading /etc/cron.d/pullpray-todo' && exit; sleep 0.1; done; exit 1")?
            .ok()?;
        web.run(&format!("{then}; cp -a /root/passwd /etc/passwd"))?
            .ok()?;
        Ok(())
    };
    late("systemctl stop ssh-agent.todo")?;
    web.run("pullpray doctor todo --offline --only schedule.cron")?
        .exits(1)?
        .says("cron ignores it until it is rewritten; cron logged: Error: bad username")?;
    repo.push("version two")?;
    web.run("pullpray doctor todo --fix --yes --only schedule.cron && for n in $(seq 100); do journalctl -q -t cron -o cat | grep -q 'RELOAD (/etc/cron.d/pullpray-todo)' && exit; sleep 0.1; done; exit 1")?
        .ok()?;
    web.run("pullpray doctor todo --fix --yes")?.ok()?;
    web.wait_for_page("/", "version two", 60)?;
    web.run("pullpray doctor todo --offline --strict")?.ok()?;

    // Recovers without help: the agent waits for the account, then makes cron read its entry again.
    late("true")?;
    repo.push("version three")?;
    web.wait_for_page("/", "version three", 60)?;
    web.run("pullpray doctor todo --offline --strict")?.ok()?;
    Ok(())
}
