//! Tables of damage to a server, and the checks that must find it.

use crate::sabotage::Sabotage;
use crate::sabotage::Then::{self, Fixed, FixedOnline, Remedy, Says};

const fn row(harm: &'static str, finds: &'static str, then: Then) -> Sabotage {
    Sabotage { harm, finds, then }
}

const MOVE_AWAY: &str = "sudo mv -T /etc/cron.d/pullpray-todo /etc/cron.d/pullpray-todo.was";

#[rustfmt::skip]
pub const ACCOUNTS_AND_FILES: &[Sabotage] = &[
    row("rm /etc/cron.d/pullpray-todo", "schedule.cron", Fixed),
    row("chown gunicorn /etc/cron.d/pullpray-todo", "schedule.cron audit.root", Fixed),
    row("chmod 666 /etc/cron.d/pullpray-todo", "schedule.cron audit.root", Fixed),
    row("ln /etc/cron.d/pullpray-todo /root/second", "schedule.cron", Fixed),
    row("rm /etc/cron.d/pullpray-todo; mkdir /etc/cron.d/pullpray-todo", "schedule.cron",
        Says(MOVE_AWAY, "rmdir /etc/cron.d/pullpray-todo")),
    row("mv /etc/cron.d/pullpray-todo /root/x; ln -s /root/x /etc/cron.d/pullpray-todo", "schedule.cron",
        Says("/etc/cron.d/pullpray-todo exists and is not a file", "rm /etc/cron.d/pullpray-todo")),
    row("systemctl stop cron", "schedule.cron", Remedy("cron is not running or not enabled at boot")),
    row("systemctl disable cron", "schedule.cron", Remedy("cron is not running or not enabled at boot")),
    row("rm /etc/sudoers.d/pullpray-todo", "sudo.rule", Fixed),
    row("chmod 644 /etc/sudoers.d/pullpray-todo", "sudo.rule", Fixed),
    row("chown gunicorn /etc/sudoers.d/pullpray-todo", "sudo.rule audit.root", Fixed),
    row("echo nonsense >/etc/sudoers.d/by-others; rm /etc/sudoers.d/pullpray-todo", "sudo.rule",
        Says("reverted /etc/sudoers.d/pullpray-todo", "rm /etc/sudoers.d/by-others")),
    row("echo 'gunicorn ALL=(root) !ALL' >/etc/sudoers.d/zzz; chmod 440 /etc/sudoers.d/zzz", "sudo.rule",
        Says("sudo does not let gunicorn run \"/usr/bin/systemctl restart gunicorn.todo.service\"", "rm /etc/sudoers.d/zzz")),
    row("echo 'gunicorn ALL=(root) /usr/bin/systemctl restart *' >/etc/sudoers.d/zzz; chmod 440 /etc/sudoers.d/zzz", "sudo.rule",
        Says("sudo asks gunicorn for a password before \"/usr/bin/systemctl restart gunicorn.todo.service\"", "rm /etc/sudoers.d/zzz")),
    row("sed -i 's/^@includedir/#&/' /etc/sudoers", "sudo.rule",
        Says("must include /etc/sudoers.d", "sed -i 's/^#@includedir/@includedir/' /etc/sudoers")),
    row("rm /opt/git_pollers/todo/deploy.sh", "deploy.script", Fixed),
    row("chmod 777 /opt/git_pollers/todo/deploy.sh", "deploy.script audit.root", Fixed),
    row("chown gunicorn /opt/git_pollers/todo", "project.directories audit.root", Fixed),
    row("chmod 777 /opt", "audit.root", Remedy("/opt can be modified by users other than root")),
    row("chown gunicorn /usr/local/bin/pullpray", "server.program audit.root", Remedy("and root runs /usr/local/bin/pullpray")),
    row("chmod 700 /usr/local/bin/pullpray", "server.program", Fixed),
    row("chmod 750 /usr/local/bin", "server.program", Remedy("/usr/local/bin has mode 0750, so gunicorn cannot reach")),
    row("chgrp gunicorn /usr/local/bin/pullpray; chmod 705 /usr/local/bin/pullpray", "server.program",
        Says("gunicorn cannot execute /usr/local/bin/pullpray: ", "chgrp root /usr/local/bin/pullpray; chmod 755 /usr/local/bin/pullpray")),
    // Deleting the account also deletes its membership; doctor must restart its services, too.
    row("usermod -g nogroup gunicorn", "account.membership", Fixed),
    row("systemctl stop gunicorn.todo.socket gunicorn.todo.service ssh-agent.todo; userdel gunicorn",
        "account.user agent.key project.directories gunicorn.running", Fixed),
];

#[rustfmt::skip]
pub const KEYS_AND_SSH: &[Sabotage] = &[
    row("rm /etc/ssh-agent-service/deploy-keys/todo_ed25519.pub", "key.deploy", Fixed),
    row("echo nonsense >/etc/ssh-agent-service/deploy-keys/todo_ed25519.pub", "key.deploy error:agent.key", Fixed),
    row("ssh-keygen -q -t ed25519 -N '' -f /root/other; cp /root/other.pub /etc/ssh-agent-service/deploy-keys/todo_ed25519.pub",
        "key.deploy agent.key", Fixed),
    row("chmod 600 /etc/ssh-agent-service/deploy-keys/todo_ed25519.pub", "key.deploy", Fixed),
    row("chmod 644 /etc/ssh-agent-service/deploy-keys/todo_ed25519", "key.deploy audit.root", Fixed),
    row("chown gunicorn /etc/ssh-agent-service/deploy-keys/todo_ed25519", "key.deploy audit.root", Fixed),
    row("mv /etc/ssh-agent-service/deploy-keys/todo_ed25519 /root/key; echo nonsense >/etc/ssh-agent-service/deploy-keys/todo_ed25519; chmod 600 /etc/ssh-agent-service/deploy-keys/todo_ed25519",
        "key.deploy", Says("pullpray never overwrites it", "mv /root/key /etc/ssh-agent-service/deploy-keys/todo_ed25519")),
    row("cp /etc/ssh-agent-service/deploy-keys/todo_ed25519.pub /etc/ssh-agent-service/deploy-keys/todo_ed25519.next.pub", "key.deploy", Fixed),
    row("chmod 666 /etc/ssh-agent-service/todo.known_hosts", "ssh.host_key audit.root", Fixed),
    row("chown gunicorn /etc/ssh-agent-service/todo.known_hosts", "ssh.host_key audit.root", Fixed),
    row("rm /etc/ssh-agent-service/todo.known_hosts", "ssh.host_key", FixedOnline),
    row("sed -i s/^githost/other/ /etc/ssh-agent-service/todo.known_hosts; sed -i /^other/d /etc/ssh-agent-service/todo.known_hosts", "ssh.host_key", FixedOnline),
    row("cut -d' ' -f1,2 /root/other.pub | sed 's/^/githost /' >/etc/ssh-agent-service/todo.known_hosts", "ssh.host_key", FixedOnline),
    row("rm /etc/ssh/ssh_config.d/pullpray-todo.conf", "ssh.alias", Fixed),
    row("chmod 600 /etc/ssh/ssh_config.d/pullpray-todo.conf", "ssh.alias", Fixed),
    row("chown gunicorn /etc/ssh/ssh_config.d/pullpray-todo.conf", "ssh.alias audit.root", Fixed),
    row("printf 'Host *\\n IdentityAgent none\\n' >/etc/ssh/ssh_config.d/00.conf", "ssh.alias",
        Says("another ssh configuration file takes precedence", "rm /etc/ssh/ssh_config.d/00.conf")),
    row("sed -i '1i Host github.com' /etc/ssh/ssh_config", "ssh.alias",
        Says("/etc/ssh/ssh_config must include it before any Host", "sed -i 1d /etc/ssh/ssh_config")),
    row("sed -i 's/^Include/#&/' /etc/ssh/ssh_config", "ssh.alias",
        Says("/etc/ssh/ssh_config must include it before any Host", "sed -i 's/^#Include/Include/' /etc/ssh/ssh_config")),
    row("runuser -u gunicorn -- env SSH_AUTH_SOCK=/run/ssh-agent.todo/agent.sock ssh-add -D", "agent.key", Fixed),
    row("SSH_AUTH_SOCK=/run/ssh-agent.todo/agent.sock ssh-add -D; SSH_AUTH_SOCK=/run/ssh-agent.todo/agent.sock ssh-add /root/other",
        "agent.key", Fixed),
    row("systemctl stop ssh-agent.todo", "agent.key", Fixed),
    row("systemctl disable ssh-agent.todo", "agent.key", Fixed),
    row("rm /run/ssh-agent.todo/agent.sock", "agent.key", Fixed),
    row("systemctl kill -s STOP ssh-agent.todo", "error:agent.key",
        Says("error agent.key", "systemctl kill -s CONT ssh-agent.todo; systemctl restart ssh-agent.todo")),
];

#[rustfmt::skip]
pub const UNITS: &[Sabotage] = &[
    row("systemctl stop gunicorn.todo.service", "gunicorn.running", Fixed),
    row("rm /etc/systemd/system/ssh-agent.todo.service; systemctl daemon-reload", "agent.unit", Fixed),
    row("chmod 600 /etc/systemd/system/ssh-agent.todo.service", "agent.unit", Fixed),
    row("chown gunicorn /etc/systemd/system/ssh-agent.todo.service", "agent.unit audit.root", Fixed),
    row("rm /etc/systemd/system/ssh-agent.todo.service; systemctl mask ssh-agent.todo", "agent.unit agent.key",
        Says("sudo systemctl unmask ssh-agent.todo.service", "systemctl unmask ssh-agent.todo")),
    row("rm /etc/systemd/system/gunicorn.todo.service; systemctl daemon-reload", "gunicorn.service", Fixed),
    row("rm /etc/systemd/system/gunicorn.todo.socket; systemctl daemon-reload", "gunicorn.socket", Fixed),
    row("chown gunicorn /etc/systemd/system/gunicorn.todo.service", "gunicorn.service audit.root", Fixed),
    row("chmod 666 /etc/systemd/system/gunicorn.todo.socket", "gunicorn.socket audit.root", Fixed),
    row("touch -d '+1 minute' /etc/systemd/system/gunicorn.todo.service", "gunicorn.service",
        Remedy("gunicorn.todo.service changed on disk and systemd has not reloaded it")),
    row("rm /etc/systemd/system/gunicorn.todo.service; systemctl mask gunicorn.todo.service", "gunicorn.service gunicorn.running",
        Says("gunicorn.todo.service is masked", "systemctl unmask gunicorn.todo.service")),
    row("systemctl stop gunicorn.todo.service gunicorn.todo.socket", "gunicorn.running", Fixed),
    row("systemctl disable gunicorn.todo.service", "gunicorn.running", Fixed),
    row("systemctl disable gunicorn.todo.socket", "gunicorn.running", Fixed),
    row("mkdir /etc/systemd/system/gunicorn.todo.service.d; printf '[Service]\\nNice=5\\n' >/etc/systemd/system/gunicorn.todo.service.d/n.conf; systemctl daemon-reload",
        "warn:units.drop_ins", Says("n.conf overrides unit settings", "rm -r /etc/systemd/system/gunicorn.todo.service.d; systemctl daemon-reload")),
    row("systemctl kill -s KILL gunicorn.todo.service; systemctl stop gunicorn.todo.service; systemctl start gunicorn.todo.service; systemctl stop gunicorn.todo.socket",
        "gunicorn.running", Fixed),
    row("systemctl stop gunicorn.todo.service gunicorn.todo.socket; systemd-run -q --unit=thief python3 -m http.server --bind 127.0.0.1 8000; for n in $(seq 50); do ss -ltn | grep -q :8000 && break; sleep 0.1; done",
        "app.address gunicorn.running", Says("127.0.0.1:8000 is already in use", "systemctl stop thief")),
];

#[rustfmt::skip]
pub const TREE_AND_SETTINGS: &[Sabotage] = &[
    row("chmod g-s /var/www/projects/todo/shared", "project.directories project.ownership", Fixed),
    row("chmod 755 /var/www/projects/todo", "project.directories", Fixed),
    row("chown root:root /var/www/projects/todo/releases", "project.directories project.ownership", Fixed),
    row("chown root:root /var/www/projects/todo/venvs/*/pyvenv.cfg", "project.ownership", Fixed),
    row("chgrp -R root /var/www/projects/todo/releases/*/items", "project.ownership", Fixed),
    row("chmod 700 /www/static/todo", "project.directories project.ownership", Fixed),
    row("rmdir /var/lib/pullpray/todo/log || rm -r /var/lib/pullpray/todo/log", "project.directories", Fixed),
    row("chown root /var/lib/pullpray/todo", "project.directories", Fixed),
    row("chmod 755 /var/lib/pullpray/receipts", "project.directories", Fixed),
    row("chmod 777 /etc/pullpray", "project.directories audit.root", Fixed),
    row("mv /var/www/projects/todo/venvs /var/www/projects/todo/v; ln -s v /var/www/projects/todo/venvs; chown -h gunicorn:gunicorn /var/www/projects/todo/venvs",
        "project.directories", Says("/var/www/projects/todo/venvs exists and is not a directory", "rm /var/www/projects/todo/venvs; mv /var/www/projects/todo/v /var/www/projects/todo/venvs")),
    row("chmod 644 /etc/pullpray/todo.env", "app.environment", Fixed),
    row("chgrp root /etc/pullpray/todo.env", "app.environment", Fixed),
    row("rm /etc/pullpray/todo.env", "app.environment", Fixed),
    row("chmod 666 /etc/pullpray/todo.toml", "app.settings audit.root", Fixed),
    row("chown gunicorn /etc/pullpray/todo.toml", "app.settings audit.root", Fixed),
    row("rm /var/www/projects/todo/current", "app.release", Fixed),
    row("ln -sfn releases/gone /var/www/projects/todo/current", "app.release", Fixed),
    row("ln -sfn /tmp /var/www/projects/todo/current; systemctl restart gunicorn.todo.service || true; for n in $(seq 150); do [ $(systemctl is-active gunicorn.todo.service) = failed ] && break; sleep 0.2; done; systemctl is-active gunicorn.todo.service || true", "app.release gunicorn.running app.healthy", Fixed),
    row("echo nonsense >>/etc/pullpray/todo.toml", "app.settings",
        Says("sudoedit /etc/pullpray/todo.toml", "sed -i /^nonsense/d /etc/pullpray/todo.toml")),
    row("date -u -d '+1 hour' +%FT%TZ | sed 's/.*/s,\"last_check\": \".*\",\"last_check\": \"&\",/' >/root/ahead; cp -a /var/lib/pullpray/todo/ledger.json /root/ledger; sed -i -f /root/ahead /var/lib/pullpray/todo/ledger.json",
        "warn:server.clock", Says("the clock was set back, or was ahead then", "cp -a /root/ledger /var/lib/pullpray/todo/ledger.json")),
];
