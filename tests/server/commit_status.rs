//! The README's hook that sets a commit's status, against a server that answers as the git hosts' APIs are published.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::lab::{GitHost, Lab, Release, Todo, WebServer};

const README: &str = include_str!("../../README.md");
const HOOKS: &str = "/etc/pullpray/hooks/todo";
const NAMES: [&str; 3] = ["api.github.com", "gitlab.example.org", "gitea.example.org"];
/// A CA and a certificate for all names, the tokens, and the server.
const START: &str = "set -e; cd /root; openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj '/CN=CA of the tests' \
    -addext keyUsage=critical,keyCertSign -keyout ca.key -out ca.pem; \
    openssl req -newkey rsa:2048 -nodes -subj /CN=githost -keyout server.key -out server.csr; \
    printf 'subjectAltName=DNS:api.github.com,DNS:gitlab.example.org,DNS:gitea.example.org\\nauthorityKeyIdentifier=keyid\\n' >ext; \
    openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile ext -out server.pem; \
    for name in api.github.com gitlab.example.org gitea.example.org; do openssl rand -hex 20 >/srv/token-$name; done; : >/srv/statuses; \
    systemd-run --quiet --unit=statuses python3 /root/statuses.py; \
    for n in $(seq 100); do ss -ltn | grep -q ':443 ' && exit; sleep 0.1; done; exit 9";
/// A poll, while everything that processes show of themselves is written to /root/seen.
const OBSERVED: &str = "touch /run/observe; (while [ -e /run/observe ]; do cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ; done 2>/run/errors \
    | tr '\\0' ' ' >/root/sample) & pullpray poll todo; status=$?; rm /run/observe; wait; grep -q 'curl --sil[e]nt' /root/sample || exit 9; cat /root/sample >>/root/seen; exit $status";

/// The README's block of shell with these words.
fn block(words: &str) -> Result<&'static str> {
    let blocks = README.split("```sh\n").skip(1);
    let mut blocks = blocks.filter_map(|rest| rest.split("```").next());
    let found = blocks.find(|block| block.contains(words));
    found.with_context(|| format!("no block with {words}"))
}

/// The README's hook for a git host, by its table.
fn hook(host: &str) -> Result<(String, String)> {
    let row = README
        .lines()
        .find(|line| line.starts_with("| ") && line.contains(&format!("https://{host}/")));
    let cells: Vec<&str> = row.context("no row")?.split(" | ").collect();
    let (api, failure) = (cells[1].trim_matches('`'), cells[2].trim_matches('`'));
    let script = block("curl --silent")?;
    let line = script.lines().find(|line| line.starts_with("api="));
    let own = format!("api={api} failure={failure}");
    let script = script.replace(line.context("no line to edit")?, &own);
    Ok((script, failure.to_owned()))
}

fn last_status(host: &GitHost) -> Result<Value> {
    let all = host.read("/srv/statuses")?;
    Ok(serde_json::from_str(
        all.lines().last().context("nothing came")?,
    )?)
}

/// The last request set this status.
fn set(host: &GitHost, name: &str, commit: &str, state: &str, words: &str) -> Result<()> {
    let status = last_status(host)?;
    let text = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
    ensure!(status["code"] == 201, "{status}");
    ensure!(
        text("host") == name && text("sha") == commit && text("state") == state,
        "{status}"
    );
    ensure!(text("context") == "todo on web", "{status}");
    ensure!(text("target_url") == "https://www.example.org/", "{status}");
    let description = text("description");
    ensure!(description.starts_with("todo: "), "{status}");
    ensure!(description.contains(words), "{status}");
    ensure!(description.contains(&commit[..7]), "{status}");
    Ok(())
}

/// Stores the host's token as the README says.
fn give_token(host: &GitHost, web: &WebServer, name: &str) -> Result<String> {
    let token = host.read(&format!("/srv/token-{name}"))?.trim().to_owned();
    let commands = block("install -m 640")?;
    let install = commands.lines().next().context("no command")?;
    web.write("/root/line", &format!("Authorization: Bearer {token}\n"))?;
    web.run(&format!("{{ {install}\n}} </root/line && rm /root/line"))?
        .ok()?;
    Ok(token)
}

#[test]
fn the_status_of_a_commit_is_set_on_its_git_host() -> Result<()> {
    let lab = Lab::new("status")?;
    let todo = Todo::live(&lab, Release::Bookworm)?;
    let Todo { host, repo, web } = &todo;
    host.write("/root/statuses.py", include_str!("inside/statuses.py"))?;
    host.run(START)?.ok()?;
    web.run(&format!(
        "mkdir -p {HOOKS}; echo \"$(getent hosts githost | cut -d' ' -f1) {}\" >>/etc/hosts",
        NAMES.join(" ")
    ))?
    .ok()?;
    let link = block("install -m 640")?.lines().nth(1).context("no link")?;
    web.run(link)?.ok()?;
    let (mut tokens, mut said) = (Vec::new(), String::new());
    let wsgi = include_str!("project/todo/wsgi.py");
    for (n, name) in NAMES.into_iter().enumerate() {
        let (script, failure) = hook(name)?;
        web.write(&format!("{HOOKS}/live"), &script)?;
        web.run(&format!("chmod 755 {HOOKS}/live"))?.ok()?;
        tokens.push(give_token(host, web, name)?);
        if n == 0 {
            // An authority that the server does not know.
            repo.push("not yet")?;
            web.run("pullpray poll todo")?
                .ok()?
                .says("live after")?
                .says("the hook /etc/pullpray/hooks/todo/live failed: live exited with status 60: curl: (60) SSL certificate problem")?;
            ensure!(host.read("/srv/statuses")?.is_empty());
            web.write(
                "/usr/local/share/ca-certificates/tests.crt",
                &host.read("/root/ca.pem")?,
            )?;
            web.run("update-ca-certificates")?.ok()?;
        }
        let subject = format!("Say \"{n}\", \\n, 'ü' and $HOME `id`");
        let commit = repo.commit(&subject, &[("VERSION", &format!("of {name}\n"))])?;
        host.run("echo 0.5 >/srv/slow")?.ok()?;
        let out = web.run(OBSERVED)?.ok()?;
        host.run("rm /srv/slow")?.ok()?;
        ensure!(!out.stdout.contains("hook"), "{out}");
        said.push_str(&format!("{out}"));
        set(host, name, &commit, "success", &subject)?;
        ensure!(web.page("/")?.shows(name));
        let commit = repo.commit(
            "Break it",
            &[("todo/wsgi.py", "raise RuntimeError('no luck')\n")],
        )?;
        let out = web.run("pullpray poll todo")?.exits(1)?;
        ensure!(!out.stdout.contains("the hook"), "{out}");
        said.push_str(&format!("{out}"));
        set(host, name, &commit, &failure, "failed: ")?;
        // The next one is long, and lives.
        let commit = repo.commit(&"long ".repeat(60), &[("todo/wsgi.py", wsgi)])?;
        said.push_str(&format!("{}", web.run("pullpray poll todo")?.ok()?));
        set(host, name, &commit, "success", "long long")?;
        let length = last_status(host)?["description"]
            .as_str()
            .map(|text| text.chars().count());
        ensure!(length.is_some_and(|length| length <= 140), "{length:?}");
    }
    let came = host.read("/srv/statuses")?;
    ensure!(came.lines().count() == 3 * NAMES.len(), "{came}");
    refusals(&todo, &mut said)?;
    secret(web, &tokens, &said)
}

/// What goes wrong is said in a sentence, and changes nothing about the poll.
fn refusals(todo: &Todo, said: &mut String) -> Result<()> {
    let Todo { host, repo, web } = todo;
    let name = NAMES[2];
    host.run(&format!(
        "cp /srv/token-{name} /root/token; echo another >/srv/token-{name}"
    ))?
    .ok()?;
    repo.push("version with a revoked token")?;
    let out = web.run("pullpray poll todo")?.ok()?;
    out.says("live after")?
        .says("the hook /etc/pullpray/hooks/todo/live failed: live exited with status 22: curl: (22) The requested URL returned error: 401")?;
    ensure!(last_status(host)?["code"] == 401);
    said.push_str(&format!("{out}"));
    host.run(&format!(
        "cp /root/token /srv/token-{name}; echo 20 >/srv/slow"
    ))?
    .ok()?;
    // A host that does not answer, with a shorter deadline.
    repo.push("version on a slow host")?;
    web.run(&format!(
        "sed -i 's/--max-time 30/--max-time 2/' {HOOKS}/live"
    ))?
    .ok()?;
    let out = web.run_for(60, "pullpray poll todo")?.ok()?;
    out.says("live after")?
        .says("live exited with status 28: curl: (28) Operation timed out after")?;
    said.push_str(&format!("{out}"));
    host.run("rm /srv/slow; systemctl stop statuses")?.ok()?;
    // A timer's failure has no commit: nothing is asked of the host, which is away.
    web.run(&format!(
        "echo '{{\"event\": \"failed\", \"app\": \"todo\", \"commit\": \"\", \"message\": \"x\"}}' | \
         runuser -u gunicorn -- env PULLPRAY_COMMIT= PULLPRAY_APP=todo PULLPRAY_EVENT=failed {HOOKS}/failed"
    ))?
    .ok()?
    .silent()?;
    ensure!(web.page("/")?.shows("version on a slow host"));
    Ok(())
}

/// The tokens are in their file only, which the running app and others cannot read.
fn secret(web: &WebServer, tokens: &[String], said: &str) -> Result<()> {
    let file = format!("{HOOKS}/token");
    web.run(&format!("stat -c '%a %U %G' {file}"))?
        .says("640 root gunicorn\n")?;
    web.run(&format!("runuser -u www-data -- cat {file}"))?
        .exits(1)?
        .says("Permission denied")?;
    let out = web.run(&format!("pullpray run todo -- cat {file}"))?;
    ensure!(
        out.status != 0 && !out.stdout.contains("Bearer"),
        "{}",
        *out
    );
    // As the README warns: the account itself can, and so can the deploy script.
    web.run(&format!("runuser -u gunicorn -- cat {file}"))?
        .says("Authorization: Bearer ")?;
    web.run("{ pullpray status todo --history; pullpray doctor todo --offline; pullpray metrics; pullpray logs todo --deploy; journalctl; } >/root/reports 2>&1")?
        .ok()?;
    web.run("grep -c 'live after\\|healthy\\|live' /root/reports")?
        .ok()?;
    for token in tokens {
        ensure!(token.len() == 40 && !said.contains(token.as_str()));
        web.run(&format!(
            "grep -rlF {token} /root/reports /root/seen /var/lib/pullpray /var/log /var/www /opt /tmp /var/tmp /etc/pullpray/todo.*"
        ))?
        .exits(1)?;
    }
    Ok(())
}
