//! `pullpray poll --all` polls every app of a server as its own account; no app blocks another.

use anyhow::{Result, ensure};

use crate::lab::{Access, Lab, Release, Todo, WebServer};

fn settings(web: &WebServer, app: &str, from: &str, to: &str) -> Result<()> {
    web.run(&format!(
        "sed -i 's|^{from}|{to}|' /etc/pullpray/{app}.toml && grep -q '^{to}' /etc/pullpray/{app}.toml"
    ))?
    .ok()?;
    Ok(())
}

#[test]
fn all_apps_are_polled_and_none_blocks_another() -> Result<()> {
    let lab = Lab::new("all")?;
    let Todo { host, repo, web } = Todo::live(&lab, Release::Bookworm)?;
    let notes = host.repository("acme/notes")?;
    let init = host.init(&notes, "--app notes --schedule '0 0 1 1 *'")?;
    web.run(&init)?.exits(3)?;
    host.allow_key(&notes, &web.deploy_key("notes")?, Access::ReadOnly)?;
    web.run(&init)?.ok()?;
    web.nginx_site("notes", "127.0.0.1:8001")?;
    let shows =
        |name: &str, text: &str| -> Result<bool> { Ok(web.page_of(name, "/")?.shows(text)) };
    web.run("echo ALLOWED_HOSTS=localhost,notes.example >>/etc/pullpray/notes.env")?
        .ok()?;

    // One run deploys both apps, each as its own account; the next run is silent.
    host.forget_requests()?;
    repo.push("todo two")?;
    notes.push("notes two")?;
    web.run("pullpray poll --all")?
        .ok()?
        .says("notes: ")?
        .says("\"notes two\" live after")?
        .says("todo: ")?
        .says("\"todo two\" live after")?;
    ensure!(shows("todo.example", "todo two")? && shows("notes.example", "notes two")?);
    for (app, account) in [("todo", "gunicorn"), ("notes", "gunicorn-notes")] {
        let owner = format!("stat -c %U /var/www/projects/{app}/current/VERSION");
        web.run(&owner)?.ok()?.says(&format!("{account}\n"))?;
    }
    web.run("pullpray poll --all")?.ok()?.silent()?;
    web.run("pullpray poll --all --verbose")?
        .ok()?
        .says("notes: up to date\n")?
        .says("todo: up to date\n")?;

    // The first fails (notes comes before todo), the second is deployed.
    notes.commit("Break the notes", &[("todo/urls.py", "def (")])?;
    repo.push("todo three")?;
    web.run("pullpray poll --all")?
        .exits(1)?
        .says("\"Break the notes\" failed: the deploy script exited with")?
        .says("\"todo three\" live after")?;
    ensure!(shows("todo.example", "todo three")? && shows("notes.example", "notes two")?);
    // The failure is reported and the next attempt is not due: polls are silent. --now applies to every app.
    web.run("pullpray poll --all")?.ok()?.silent()?;
    web.run("pullpray poll --all --now")?
        .exits(1)?
        .says("\"Break the notes\" failed")?;

    // Invalid settings have a worse exit code than an unreachable host.
    settings(&web, "notes", "workers = .*", "workers = \"many\"")?;
    repo.push("todo four")?;
    web.run("pullpray poll --all")?
        .exits(2)?
        .says("/etc/pullpray/notes.toml cannot be used")?
        .says("\"todo four\" live after")?;
    host.stop_sshd()?;
    web.run("pullpray poll --all")?.exits(2)?;
    settings(&web, "notes", "workers = .*", "workers = 1")?;
    web.run("pullpray poll --all")?.exits(3)?.silent()?;
    host.start_sshd()?;

    // status reports an unreadable or endless ledger in place of its app, and still shows the other apps.
    let ledger = "/var/lib/pullpray/notes/ledger.json";
    web.run(&format!("cp -p {ledger} /root/ledger"))?.ok()?;
    for odd in [
        format!("mkfifo {ledger}"),
        format!("ln -s /dev/zero {ledger}"),
        format!("head -c 1000 /dev/urandom >{ledger}"),
        format!("truncate -s 1T {ledger}"),
    ] {
        web.run(&format!("rm {ledger}; {odd}"))?.ok()?;
        for form in ["", "--json", "--history"] {
            web.run(&format!("timeout 20 pullpray status {form}"))?
                .exits(1)?
                .says(ledger)?
                .says("todo four")?;
        }
        web.run("timeout 20 pullpray status notes")?.exits(1)?;
        web.run("timeout 20 pullpray status todo")?.ok()?;
    }
    web.run(&format!("rm {ledger}; mv /root/ledger {ledger}"))?
        .ok()?;
    web.run("pullpray status")?.ok()?;

    // An account polls its own app; for the others the poll reports missing permission.
    repo.push("todo five")?;
    web.run_as("gunicorn", "pullpray poll --all")?
        .exits(2)?
        .says("only the app's account, members of its group and root can read /etc/pullpray/notes.toml\n  hint: sudo pullpray poll notes")?
        .says("\"todo five\" live after")?;
    Ok(())
}

/// Fifty apps of one server, every minute, at sshd's default MaxStartups: each is answered, and none is dropped.
#[test]
fn fifty_apps_ask_in_the_same_minute_and_all_are_answered() -> Result<()> {
    let lab = Lab::new("fifty")?;
    let Todo { host, web, .. } = Todo::live(&lab, Release::Bookworm)?;
    web.script("many-apps", &["50"])?.ok()?;
    let answered = "ls /var/lib/pullpray/a*/answered-by-$WHO 2>/dev/null | wc -l";
    web.run("pullpray poll --all")?.ok()?.silent()?;
    web.run(&answered.replace("$WHO", "hand"))?
        .ok()?
        .says("50")?;

    // Two minutes of real cron, with the entries that doctor writes.
    web.run("for n in $(seq 50); do pullpray doctor a$n --fix --yes --offline --only schedule.cron >/dev/null || exit; done; cat /etc/cron.d/pullpray-a* | grep -o 'splay [0-9]*' | sort -u | wc -l")?
        .ok()
        .and_then(|out| {
            let different: u32 = out.stdout.trim().parse()?;
            ensure!(different > 20, "{different} different seconds");
            Ok(())
        })?;
    web.run(&format!(
        "for n in $(seq 150); do [ $({}) = 50 ] && break; sleep 1; done; {0}",
        answered.replace("$WHO", "cron")
    ))?
    .ok()?
    .says("50")?;
    let dropped = host.run(
        "journalctl -u ssh -o cat --no-pager | grep -ci 'maxstartups\\|drop connection' || true",
    )?;
    dropped.ok()?.says("0")?;
    Ok(())
}
