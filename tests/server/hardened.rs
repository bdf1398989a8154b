//! A server hardened as security baselines ask: init names what shuts the app out, and everything else works with it.

use anyhow::{Context, Result, ensure};

use crate::lab::{Access, Lab, Release, Todo, WebServer};

/// What baselines set, all at once: mount options, password ageing, umasks, sudo's, cron's and ssh's restrictions,
/// defaults for every service, and a file of somebody else's with which visudo finds fault. After each boot `harden` mounts.
const HARDEN: &str = r"set -e
sed -i 's/^PASS_MAX_DAYS.*/PASS_MAX_DAYS 90/; s/^UMASK.*/UMASK 027/' /etc/login.defs
printf 'INACTIVE=30\n' >>/etc/default/useradd
printf 'umask 027\n' >/etc/profile.d/umask.sh
printf 'session optional pam_umask.so umask=027\n' >>/etc/pam.d/common-session-noninteractive
printf 'Defaults use_pty\nDefaults logfile=/var/log/sudo.log\nDefaults timestamp_timeout=0\nDefaults requiretty\nDefaults listpw=always\n' >/etc/sudoers.d/10-baseline
chmod 440 /etc/sudoers.d/10-baseline
printf 'Defaults:nobody !lecture\n' >/etc/sudoers.d/theirs
chmod 644 /etc/sudoers.d/theirs
echo root >/etc/cron.allow
rm -f /etc/cron.deny
chmod 700 /etc/cron.d /etc/cron.daily /root
chmod 600 /etc/crontab /etc/cron.allow
chmod 750 /home
printf '* hard core 0\n' >>/etc/security/limits.conf
printf 'Host *\n ControlMaster auto\n ControlPath ~/%%C\n PubkeyAuthentication no\n PubkeyAcceptedAlgorithms ecdsa-sha2-nistp256,rsa-sha2-512\n StdinNull yes\n SessionType none\n RemoteCommand true\n LocalCommand touch /tmp/local-command\n PermitLocalCommand yes\n ForkAfterAuthentication yes\n' >/etc/ssh/ssh_config.d/10-baseline.conf
mkdir -p /etc/systemd/system/service.d /etc/ssh/sshd_config.d
printf '[Service]\nLimitCORE=0\n' >/etc/systemd/system/service.d/10-baseline.conf
printf 'PermitRootLogin no\n' >/etc/ssh/sshd_config.d/10-baseline.conf
printf '#!/bin/sh -e\nfor dir in /tmp /var/tmp /dev/shm /home /opt; do mount --bind $dir $dir; mount -o remount,bind,noexec,nosuid,nodev $dir; done\nmount -o remount,hidepid=2 /proc\n' >/usr/local/sbin/harden
chmod 750 /usr/local/sbin/harden
printf '[Unit]\nBefore=cron.service\n[Service]\nType=oneshot\nExecStart=/usr/local/sbin/harden\n[Install]\nWantedBy=multi-user.target\n' >/etc/systemd/system/harden.service
systemctl daemon-reload
systemctl enable --quiet --now harden
findmnt -no OPTIONS /opt | grep noexec";

#[test]
fn bookworm_hardened_goes_live_and_stays() -> Result<()> {
    goes_live_and_stays(Release::Bookworm)
}

#[test]
fn trixie_hardened_goes_live_and_stays() -> Result<()> {
    goes_live_and_stays(Release::Trixie)
}

/// Waits for the page; an error has what cron, sudo and polls said.
fn shows(web: &WebServer, version: &str) -> Result<()> {
    let seen = web.wait_for_page("/", version, 240).map(drop);
    seen.with_context(|| {
        let said = web.run("pullpray status todo; journalctl -q --no-pager -n 60 -t CRON -t cron -t crontab -t sudo; cat /var/mail/root | tail -n 30");
        said.map_or_else(|error| error.to_string(), |said| said.stdout.clone())
    })
}

fn goes_live_and_stays(release: Release) -> Result<()> {
    let lab = Lab::new("hard")?;
    let todo = Todo::before_init(&lab, release)?;
    let Todo { host, repo, web } = &todo;
    web.run(HARDEN)?.ok()?;
    let init = format!("umask 027; {}", todo.init("--schedule '* * * * *'")?);

    // What shuts the account out is named before anything changes, with the commands that open it.
    web.run("mkdir -p /var/www; chmod 750 /var/www /opt /usr/bin/ssh; chmod 640 /etc/hosts")?
        .ok()?;
    web.run(&init)?
        .exits(1)?
        .says("gunicorn cannot enter /opt (root:root 0750), and needs /opt/git_pollers/todo")?
        .says("gunicorn cannot enter /var/www (root:root 0750), and needs /var/www/projects/todo")?
        .says("gunicorn cannot execute /usr/bin/ssh (root:root 0750)")?
        .says("gunicorn cannot read /etc/hosts (root:root 0640)")?
        .says("sudo chmod o+x /opt && sudo chmod o+x /var/www && ")?;
    web.run("chmod o+x /opt /var/www; chmod o+rx /usr/bin/ssh; chmod o+r /etc/hosts")?
        .ok()?;
    web.run("mount --bind /var/www /var/www; mount -o remount,bind,noexec /var/www")?
        .ok()?;
    web.run(&init)?
        .exits(1)?
        .says("/var/www is on a file system mounted noexec")?;
    web.run("umount /var/www; ! ls /etc/pullpray /etc/cron.d/pullpray-todo; ! id gunicorn")?
        .ok()?;

    web.run(&init)?
        .exits(3)?
        .says("about other files, visudo")?
        .says("/etc/sudoers.d/theirs: bad permissions, should be mode 0440")?;
    let key = web.deploy_key("todo")?;
    ensure!(key.starts_with("ssh-rsa "), "ssh accepts no ed25519: {key}");
    host.allow_key(repo, &key, Access::ReadOnly)?;
    web.run(&init)?.ok()?.says("todo is live at")?;
    web.run("pullpray doctor todo")?.ok()?;

    // A nightly job that removes NOPASSWD.
    web.run("sed -i 's/NOPASSWD/PASSWD/' /etc/sudoers.d/*")?
        .ok()?;
    web.run("pullpray doctor todo --offline")?
        .exits(1)?
        .says("fail  sudo.rule              NOPASSWD: is missing")?;
    web.run("pullpray doctor todo --offline --fix --yes")?
        .ok()?;

    web.fast_cron(6)?;
    repo.push("version two")?;
    shows(web, "version two")?;

    // It survives a reboot, and a year in which nobody changed a password.
    web.shut_down()?;
    web.boot_again()?;
    web.run("findmnt -no OPTIONS /opt | grep noexec")?.ok()?;
    shows(web, "version two")?;
    repo.push("version three")?;
    shows(web, "version three")?;
    web.run("for user in $(cut -d: -f1 /etc/shadow); do chage --lastday \"$(date -d '-400 days' +%F)\" $user; done")?
        .ok()?;
    repo.push("version four")?;
    shows(web, "version four")?;
    let doctor = web.run("pullpray doctor todo")?.ok()?;
    doctor.says("cron polls every minute")?;
    ensure!(!doctor.stdout.contains("fail "), "{doctor}");
    Ok(())
}
