//! Attacks on the one moment when root hands out the private key: while the agent starts, a process of the
//! deploy user tries to take its place.

use anyhow::{Result, ensure};

use crate::lab::{Lab, Release, Todo, WebServer};

const AGENT: &str = "ssh-agent.todo";
/// Enough for the naive unit to leak its key reliably.
const RESTARTS: u32 = 20;
/// Fewer for pullpray's unit: each restart lasts until the agent's timeout, with a busy attacker.
const SOME: u32 = 3;

/// The obvious unit, which is vulnerable.
const NAIVE: &str = "[Service]
Type=forking
User=gunicorn
RuntimeDirectory=naive
Environment=SSH_AUTH_SOCK=/run/naive/agent.sock
ExecStart=/usr/bin/ssh-agent -a /run/naive/agent.sock
ExecStartPost=+/usr/bin/ssh-add /etc/ssh-agent-service/deploy-keys/todo_ed25519
";

/// What an attacker captured, one `KIND DATA` per line.
struct Loot(String);

impl Loot {
    fn count(&self, kind: &str) -> usize {
        let prefix = format!("{kind} ");
        self.0.lines().filter(|l| l.starts_with(&prefix)).count()
    }

    fn contains(&self, secret: &str) -> bool {
        self.0.contains(secret)
    }
}

/// The secret half of the app's key, 32 bytes in hexadecimal.
fn secret(web: &WebServer) -> Result<String> {
    let read = "import base64; lines = open('/etc/ssh-agent-service/deploy-keys/todo_ed25519').read().split('\\n'); \
                data = base64.b64decode(''.join(lines[1:-2])); at = data.index(b'\\0\\0\\0\\x40'); print(data[at + 4:at + 36].hex())";
    let out = web.run(&format!("python3 -c \"{read}\""))?.ok()?;
    let secret = out.stdout.trim().to_owned();
    ensure!(secret.len() == 64, "{out}");
    Ok(secret)
}

/// Restarts a unit repeatedly while the deploy user attacks it.
fn attacked(web: &WebServer, way: &str, unit: &str, restarts: u32) -> Result<Loot> {
    let attacker = format!("attacker-{way}-{unit}");
    let record = format!("/tmp/{attacker}");
    web.run(&format!(
        "systemd-run --quiet --collect --unit={attacker} --uid=gunicorn --gid=gunicorn \
         python3 /usr/local/lib/attacker {way} {unit} {record}; \
         for n in $(seq 100); do grep -q ready {record} && exit; sleep 0.1; done; exit 9"
    ))?
    .ok()?;
    web.run_for(
        600,
        &format!(
            "for n in $(seq {restarts}); do systemctl reset-failed {unit}; timeout 30 systemctl restart {unit}; done; \
             sleep 0.5; systemctl stop {attacker}"
        ),
    )?
    .ok()?;
    Ok(Loot(web.read(&record)?))
}

fn todo_with_an_attacker(lab: &Lab, release: Release) -> Result<Todo> {
    let todo = Todo::live(lab, release)?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/server/inside/attacker");
    todo.web.copy(script, "/usr/local/lib/attacker")?;
    Ok(todo)
}

fn agent_works_again(web: &WebServer) -> Result<()> {
    web.run(&format!(
        "systemctl reset-failed {AGENT}; systemctl restart {AGENT}"
    ))?
    .ok()?;
    let key = web.deploy_key("todo")?;
    web.run_as(
        "gunicorn",
        &format!("SSH_AUTH_SOCK=/run/{AGENT}/agent.sock ssh-add -L"),
    )?
    .ok()?
    .says(key.trim())?;
    web.run("pullpray poll todo")?.ok()?.silent()?;
    Ok(())
}

/// Proves that the attacks work; otherwise the tests below would pass with an attack that never works.
#[test]
fn a_naive_unit_leaks_the_key() -> Result<()> {
    let lab = Lab::new("naive")?;
    let Todo {
        web, host: _host, ..
    } = todo_with_an_attacker(&lab, Release::Bookworm)?;
    web.write("/etc/systemd/system/naive.service", NAIVE)?;
    web.run("systemctl daemon-reload && systemctl start naive && SSH_AUTH_SOCK=/run/naive/agent.sock ssh-add -L")?
        .ok()?
        .says(web.deploy_key("todo")?.trim())?;
    let secret = secret(&web)?;
    for way in ["socket", "symlink"] {
        let loot = attacked(&web, way, "naive", RESTARTS)?;
        ensure!(
            loot.count("key") > 0 && loot.contains(&secret),
            "{way}: the attacker is too slow to prove anything: {:.2000}",
            loot.0
        );
    }

    // Tracing: an agent that systemd starts with no_new_privs is not setgid and can be traced until it
    // forbids it; an ordinary process of the account can always be traced.
    web.run("systemd-run --quiet --collect --unit=open --uid=gunicorn bash -c 'while :; do sleep 0.01; done'")?
        .ok()?;
    let loot = attacked(&web, "trace", "naive", RESTARTS)?;
    ensure!(loot.count("traced") > 0, "{:.2000}", loot.0);
    Ok(())
}

#[test]
fn attackers_cannot_intercept_the_key() -> Result<()> {
    resists_attacks(Release::Bookworm, SOME)
}

/// Restarts the agent under each attack; none of them captures the key.
pub fn resists_attacks(release: Release, restarts: u32) -> Result<()> {
    let lab = Lab::new("attack")?;
    let Todo {
        web, host: _host, ..
    } = todo_with_an_attacker(&lab, release)?;
    let secret = secret(&web)?;
    for way in ["socket", "symlink", "kill"] {
        let loot = attacked(&web, way, AGENT, restarts)?;
        ensure!(
            loot.count("placed") > 0,
            "{way}: the attack did not take place: {:.2000}",
            loot.0
        );
        ensure!(
            loot.count("key") == 0 && !loot.contains(&secret),
            "{way}: {:.2000}",
            loot.0
        );
        agent_works_again(&web)?;
    }
    web.run("systemd-run --quiet --collect --unit=open --uid=gunicorn bash -c 'while :; do sleep 0.01; done'")?
        .ok()?;
    let loot = attacked(&web, "trace", AGENT, restarts)?;
    ensure!(
        loot.count("traced") > 0,
        "trace: the attack did not take place"
    );
    ensure!(
        !loot.contains(&secret) && loot.count("memory") == 0,
        "trace: {:.2000}",
        loot.0
    );
    agent_works_again(&web)
}
