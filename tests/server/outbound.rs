//! A web server whose only way out is Debian's squid, a jump host, or port 443.

use anyhow::{Context, Result, ensure};

use crate::databases::CERTIFICATES;
use crate::lab::{Access, GitHost, Lab, Output, Release, Server, Todo, WebServer, key};

/// The password is `s3cret,p@ss`.
const PROXY: &str = "http://web:s3cret%2Cp%40ss@proxy:3128";
/// Whoever knows the password may use the git host's ports.
const WITH_PASSWORD: &str = "auth_param basic program /usr/lib/squid/basic_ncsa_auth /etc/squid/passwords\n\
    acl known proxy_auth REQUIRED\nacl SSL_ports port 22 443 8443\nacl CONNECT method CONNECT\n\
    http_access deny CONNECT !SSL_ports\nhttp_access allow known\nhttp_access deny all\n\
    http_port 3128\ncache deny all\nshutdown_lifetime 0 seconds\n";
/// Every verb, with what is shown of its processes, in its output, in logs, and in files that everybody can read; the
/// password's name is spelled so that this line does not match itself.
const LEAKS: &str = "for n in $(seq 200); do cat /proc/[0-9]*/cmdline; sleep 0.05; done 2>/dev/null | grep -ac 's3cre[t]' & \
    { pullpray poll todo -v; pullpray doctor todo; pullpray doctor todo --json; pullpray status todo --history; \
    pullpray status todo --json; pullpray init todo --dry-run --workers 3; pullpray init todo --yes; pullpray key todo; pullpray notify todo --test; \
    pullpray redeploy todo; pullpray logs todo; pullpray logs todo --deploy; pullpray metrics; journalctl --no-pager; \
    cat /var/log/*.log /var/lib/pullpray/todo/log/*; } 2>&1 | grep -ac 's3cre[t]'; wait; \
    runuser -u nobody -- grep -rlsE 's3cre[t]' /etc /opt /srv /usr/local /var /www /home /tmp; \
    runuser -u nobody -- cat /etc/pullpray/todo.toml";

/// A squid that resolves the names of the LAN; `more` is what it can do beside that.
fn squid(lab: &Lab, config: Option<&str>, more: &str) -> Result<Server> {
    let proxy = lab.server_with("proxy", "+squid")?;
    if let Some(config) = config {
        proxy.write("/etc/squid/squid.conf", config)?;
    }
    proxy
        .run(&format!(
            "echo \"web:$(openssl passwd -apr1 's3cret,p@ss')\" >/etc/squid/passwords; {more}; {STARTED}"
        ))?
        .ok()?;
    Ok(proxy)
}

const STARTED: &str = "systemctl kill --signal=KILL squid; systemctl restart squid && for n in $(seq 100); do ss -ltn | grep -q :3128 && exit; sleep 0.1; done; exit 9";

/// Nothing reaches the git host but by another one.
fn shut_in(web: &WebServer) -> Result<()> {
    web.ip("route add unreachable 10.77.0.1/32")?;
    web.run("! timeout 5 bash -c '</dev/tcp/10.77.0.1/22'")?
        .ok()?;
    Ok(())
}

/// Sets up todo, with the same command before and after its key is known, and deploys a commit.
fn goes_live(todo: &Todo, init: &str) -> Result<Output> {
    let Todo { host, repo, web } = todo;
    let first = web.run(init)?.exits(3)?;
    host.allow_key(repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    // The answers are in the settings now.
    let again = init.split_once("pullpray init").context("no init")?.1;
    web.run(&format!("pullpray init {again}"))?
        .ok()?
        .says("todo is live at")?;
    deploys(todo, "version two")?;
    Ok(first)
}

fn deploys(todo: &Todo, version: &str) -> Result<()> {
    todo.repo.push(version)?;
    todo.web
        .run("pullpray poll todo")?
        .ok()?
        .says("live after")?;
    ensure!(todo.web.page("/")?.shows(version));
    Ok(())
}

/// What a deployment and its notices ask over the network goes through the proxy, and trusts the company's certificate.
fn pip_notices_and_hooks(todo: &Todo, proxy: &Server) -> Result<()> {
    let Todo { host, repo, web } = todo;
    let home = std::env::var("FRESH_HOME").unwrap_or_else(|_| "/var/tmp/fresh-server".to_owned());
    host.copy(&format!("{home}/wheels"), "/srv/index")?;
    host.script("company-index", &["/srv/index", "8081"])?
        .ok()?;
    web.script("packaging-tools", &["http://githost:8081"])?
        .ok()?;
    host.run(CERTIFICATES)?.ok()?;
    host.write("/root/receiver.py", include_str!("inside/receiver.py"))?;
    host.run("systemd-run --quiet --collect --unit=receiver python3 /root/receiver.py; for n in $(seq 100); do ss -ltn | grep -q :8443 && exit; sleep 0.1; done; exit 9")?
        .ok()?;
    web.write("/etc/ssl/company.pem", &host.read("/root/ca.pem")?)?;
    let variables = format!(
        "http_proxy={PROXY}\nhttps_proxy={PROXY}\nno_proxy=localhost,127.0.0.1\nSSL_CERT_FILE=/etc/ssl/company.pem\n"
    );
    let hook = "#!/bin/sh\ncurl -sS https://githost:8443/by-hook\n";
    web.write("/root/variables", &variables)?;
    web.write("/etc/pullpray/hooks/after-switch", hook)?;
    web.run("chmod 755 /etc/pullpray/hooks/after-switch; cat /root/variables >>/etc/pullpray/todo.env; rm /root/variables; \
        sed -i '/^notify/d' /etc/pullpray/todo.toml; printf 'notify = \"https://githost:8443/notice\"\\nnotify_live = true\\n' >>/etc/pullpray/todo.toml")?
        .ok()?;
    repo.commit(
        "Install from the index",
        &[("requirements.txt", "django\ngunicorn\n")],
    )?;
    deploys(todo, "version three")?;
    let received = host.read("/root/received")?;
    ensure!(
        received.contains("/notice") && received.contains("/by-hook"),
        "{received}"
    );
    web.run("/var/www/projects/todo/current/.venv/bin/python -c 'import django; print(django.__file__)'")?
        .ok()?
        .says("/.venv/lib/python3.11/site-packages/django/")?;
    proxy
        .run("cat /var/log/squid/access.log")?
        .ok()?
        .says("CONNECT githost:22 web")?
        .says("CONNECT githost:8443 web")?
        .says("GET http://githost:8081/simple/django/ web")?;
    // Not trusted without it.
    web.run("sed -i '/^SSL_CERT_FILE/d' /etc/pullpray/todo.env; pullpray notify todo --test")?
        .exits(1)?
        .says("UnknownIssuer")?;
    web.run("echo SSL_CERT_FILE=/etc/ssl/none.pem >>/etc/pullpray/todo.env; pullpray notify todo --test")?
        .exits(1)?
        .says("/etc/ssl/none.pem, SSL_CERT_FILE of the app's environment, cannot be read")?;
    web.run(
        "sed -i 's/none.pem/company.pem/' /etc/pullpray/todo.env; pullpray notify todo --test",
    )?
    .ok()?;
    Ok(())
}

/// A failing poll says what is wrong with the proxy, and what to do; afterwards all is well.
fn fails(todo: &Todo, damage: &str, repair: &str, on: &Server, words: [&str; 2]) -> Result<()> {
    let Todo { repo, web, .. } = todo;
    on.run(damage)?.ok()?;
    repo.push(&format!("after {}", words[0]))?;
    web.run("pullpray poll todo")?.exits(3)?;
    web.run("pullpray poll todo; pullpray poll todo")?
        .exits(3)?
        .says(&format!("could not reach githost: {}", words[0]))?
        .says(words[1])?;
    web.run("pullpray status todo")?.ok()?.says(words[0])?;
    // Each of doctor's questions would wait as long.
    if !words[0].starts_with("no answer") {
        web.run("pullpray doctor todo")?
            .exits(1)?
            .says(words[0])?
            .says(words[1])?;
    }
    on.run(repair)?.ok()?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    ensure!(web.page("/")?.shows(&format!("after {}", words[0])));
    Ok(())
}

#[test]
fn a_squid_with_a_password_is_the_only_way_out() -> Result<()> {
    let lab = Lab::new("squid")?;
    let todo = Todo::before_init(&lab, Release::Bookworm)?;
    let Todo { host, repo, web } = &todo;
    let proxy = &squid(&lab, Some(WITH_PASSWORD), "true")?;
    shut_in(web)?;
    let init = host.init(repo, "--schedule '0 0 1 1 *' --workers 2")?;
    web.run(&init)?.exits(1)?.says("--proxy")?;
    let out = web.run(&format!("{init} --proxy {PROXY}"))?.exits(2)?;
    ensure!(
        out.stderr.contains("PULLPRAY_PROXY") && !out.stderr.contains("s3cret"),
        "{}",
        out.stderr
    );
    // Without the password, with a wrong one, and a proxy that is none.
    for (answer, sentence) in [
        (
            "http://proxy:3128",
            "no password for the proxy http://proxy:3128",
        ),
        (
            "http://web:wrong@proxy:3128",
            "wrong password for the proxy http://proxy:3128",
        ),
        (
            "http://proxy:3129",
            "cannot reach the proxy http://proxy:3129",
        ),
    ] {
        web.run(&format!("PULLPRAY_PROXY={answer} {init}"))?
            .exits(1)?
            .says(sentence)?
            .says("PULLPRAY_PROXY")?;
    }
    web.run("ls /etc/pullpray/todo.toml")?.exits(2)?;
    let out = goes_live(&todo, &format!("PULLPRAY_PROXY={PROXY} {init}"))?;
    let shown = out.stdout + &out.stderr;
    ensure!(!shown.contains("s3cret"), "{shown}");
    pip_notices_and_hooks(&todo, proxy)?;
    let out = web.run_for(300, LEAKS)?.stdout.clone();
    ensure!(out == "0\n0\n", "{out}");
    web.run("stat -c '%a %U:%G' /etc/pullpray/todo.toml; grep -h Proxy /etc/ssh/ssh_config.d/*; grep ^proxy /etc/pullpray/todo.toml")?
        .ok()?
        .says("640 root:gunicorn")?
        .says("ProxyCommand /usr/local/bin/pullpray tunnel %h %p --app todo")?
        .says(PROXY)?;

    let settings = "/etc/pullpray/todo.toml";
    fails(
        &todo,
        &format!("sed -i.bak 's/s3cret/wrong/' {settings}"),
        &format!("mv {settings}.bak {settings}"),
        web,
        [
            "wrong password for the proxy http://proxy:3128",
            "sudoedit /etc/pullpray/todo.toml",
        ],
    )?;
    fails(
        &todo,
        "systemctl stop squid",
        STARTED,
        proxy,
        [
            "cannot reach the proxy http://proxy:3128: Connection refused",
            "does it run",
        ],
    )?;
    fails(
        &todo,
        "systemctl kill --signal=STOP squid",
        "systemctl kill --signal=CONT squid",
        proxy,
        [
            "no answer from the proxy http://proxy:3128 within 12 s",
            "is slow or down",
        ],
    )?;
    fails(
        &todo,
        "sed -i 's/port 22 443/port 443/' /etc/squid/squid.conf; squid -k reconfigure",
        "sed -i 's/port 443/port 22 443/' /etc/squid/squid.conf; squid -k reconfigure",
        proxy,
        [
            "githost:22 is refused by the proxy http://proxy:3128, which answers 403 Forbidden",
            "acl SSL_ports port 22",
        ],
    )?;
    Ok(())
}

/// The git host is also github.com: for this server at an address from which nothing comes back, and as ssh.github.com at
/// port 443.
fn as_github(host: &GitHost, web: &WebServer) -> Result<String> {
    host.run("printf 'Port 22\\nPort 443\\n' >/etc/ssh/sshd_config.d/ports.conf && systemctl restart ssh")?
        .ok()?;
    web.run(
        "echo '10.77.0.99 github.com' >>/etc/hosts && echo '10.77.0.1 ssh.github.com' >>/etc/hosts",
    )?
    .ok()?;
    web.ip("neigh replace 10.77.0.99 lladdr 02:00:00:00:00:99 dev eth0 nud permanent")?;
    Ok(format!(
        "pullpray init --yes --repo git@github.com:acme/todo.git --host-key {} --schedule '0 0 1 1 *' --workers 2",
        host.fingerprint()?
    ))
}

#[test]
fn where_port_22_is_closed_init_uses_443_and_says_so() -> Result<()> {
    let lab = Lab::new("closed")?;
    let todo = Todo::before_init(&lab, Release::Bookworm)?;
    let Todo { host, web, .. } = &todo;
    let init = as_github(host, web)?;
    // Neither answers: known in time, and nothing is changed.
    let neither = format!(
        "sed -i 's/.* ssh.github.com/10.77.0.99 ssh.github.com/' /etc/hosts; {init}; code=$?; echo \"said after $SECONDS s\"; \
         sed -i 's/.* ssh.github.com/10.77.0.1 ssh.github.com/' /etc/hosts; exit $code"
    );
    let out = web.run(&neither)?.exits(1)?;
    out.says("neither github.com:22 nor ssh.github.com:443 can be reached")?;
    in_time(&out)?;
    web.run("ls /etc/pullpray")?.exits(2)?;
    let said = format!(
        "{init} >/tmp/out 2>&1 & for n in $(seq 300); do grep -q 'so ssh_host is ssh.github.com:443' /tmp/out && break; sleep 0.1; done; \
         echo \"said after $SECONDS s\"; wait $!; code=$?; cat /tmp/out; exit $code"
    );
    in_time(&web.run(&said)?.exits(3)?)?;
    goes_live_from(&todo, &init)?;
    web.run("cat /etc/ssh/ssh_config.d/*; cat /etc/ssh-agent-service/todo.known_hosts; pullpray doctor todo")?
        .ok()?
        .says("HostName ssh.github.com")?
        .says("Port 443")?
        .says("HostKeyAlias github.com")?
        .says("github.com ssh-ed25519")?
        .says("ssh.host_key_shown")?;
    Ok(())
}

fn in_time(out: &Output) -> Result<()> {
    let seconds = out.stdout.split("said after ").nth(1);
    let seconds = seconds.and_then(|rest| rest.split(' ').next()?.parse::<u32>().ok());
    ensure!(seconds.is_some_and(|seconds| seconds < 20), "{out:?}");
    Ok(())
}

/// As [`goes_live`] after the first init.
fn goes_live_from(todo: &Todo, init: &str) -> Result<()> {
    let Todo { host, repo, web } = todo;
    host.allow_key(repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    web.run(init)?.ok()?.says("todo is live at")?;
    deploys(todo, "version two")
}

/// Debian's squid permits CONNECT to port 443 alone, and asks for no password.
#[test]
fn debians_squid_as_it_comes_is_enough_for_github() -> Result<()> {
    let lab = Lab::new("default")?;
    let todo = Todo::before_init(&lab, Release::Bookworm)?;
    let Todo { host, repo, web } = &todo;
    let init = as_github(host, web)?;
    let proxy = squid(
        &lab,
        None,
        "echo 'http_access allow localnet' >/etc/squid/conf.d/lan.conf; echo '10.77.0.1 github.com ssh.github.com' >>/etc/hosts",
    )?;
    shut_in(web)?;
    // The wizard proposes the proxy that apt uses.
    web.write(
        "/etc/apt/apt.conf.d/proxy",
        "Acquire::http::Proxy \"http://proxy:3128/\";\n",
    )?;
    let mut person = web.terminal("pullpray init")?;
    person.answers("Repository to deploy", &repo.url())?;
    person.reads("apt's configuration names http://proxy:3128")?;
    person.sees("How to go on?")?;
    person.presses(&[key::UP, key::UP, key::ENTER].concat())?;
    person.sees("Proxy or jump host")?;
    person.presses(key::ENTER)?;
    // It refuses port 22.
    person.reads("githost:22 is refused by the proxy")?;
    person.sees("How to go on?")?;
    person.presses(&[key::UP, key::ENTER].concat())?;
    ensure!(person.ends()?.0 == 1);

    let init = format!("{init} --proxy http://proxy:3128");
    goes_live(&todo, &init)?.says("so ssh_host is ssh.github.com:443")?;
    proxy
        .run("cat /var/log/squid/access.log")?
        .ok()?
        .says("CONNECT ssh.github.com:443")?;
    Ok(())
}

#[test]
fn a_jump_host_is_the_only_way_out() -> Result<()> {
    let lab = Lab::new("jump")?;
    let todo = Todo::before_init(&lab, Release::Bookworm)?;
    let Todo { host, repo, web } = &todo;
    let jump = lab.server_with("jump", "")?;
    shut_in(web)?;
    // As the README says: root's own key for init, and the deploy key for polls.
    web.run("ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519 && ssh-keyscan jump >>/etc/ssh/ssh_known_hosts 2>/dev/null && \
        printf 'Host jump\\n    IdentityAgent /run/ssh-agent.todo/agent.sock\\n' >/etc/ssh/ssh_config.d/10-jump.conf")?
        .ok()?;
    jump.run("useradd --create-home --password '*' --shell /usr/sbin/nologin out && install -d -o out -g out -m 700 /home/out/.ssh")?
        .ok()?;
    let permit = |public: &str| {
        let line = format!(
            "restrict,port-forwarding,permitopen=\"githost:22\" {}\n",
            public.trim()
        );
        jump.write("/tmp/line", &line)?;
        jump.run("cat /tmp/line >>/home/out/.ssh/authorized_keys")?
            .ok()
    };
    permit(&web.read("/root/.ssh/id_ed25519.pub")?)?;
    let init = host.init(repo, "--schedule '0 0 1 1 *' --workers 2 --proxy out@jump")?;
    web.run(&init)?.exits(3)?;
    permit(&web.deploy_key("todo")?)?;
    goes_live_from(&todo, &init)?;
    web.run("pullpray doctor todo")?
        .ok()?
        .says("ssh.host_key_shown")?;
    Ok(())
}
