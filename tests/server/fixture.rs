//! Tests of the fixture itself, without pullpray.

use anyhow::{Result, ensure};

use crate::lab::{Access, Disk, Lab, Release};

const SSH: &str = "GIT_SSH_COMMAND='ssh -i /root/key -o StrictHostKeyChecking=accept-new'";

#[test]
fn a_read_only_key_reads_one_repository_and_writes_none() -> Result<()> {
    let lab = Lab::new("keys")?;
    let (host, web) = lab.git_host_and_web_server(Release::Bookworm)?;
    let repo = host.repository("acme/todo")?;
    web.run("ssh-keygen -q -t ed25519 -N '' -f /root/key")?
        .ok()?;
    let key = web.read("/root/key.pub")?;
    let clone = format!("rm -rf t; {SSH} git clone -q {} t", repo.url());

    web.run(&clone)?
        .exits(128)?
        .says("Permission denied (publickey)")?;

    host.allow_key(&repo, &key, Access::ReadOnly)?;
    web.run(&clone)?.ok()?;
    let second = repo.push("version two")?;
    web.run(&format!(
        "cd t && {SSH} git pull -q && git rev-parse HEAD && cat VERSION"
    ))?
    .ok()?
    .says(&format!("{second}\nversion two\n"))?;
    web.run(&format!("cd t && {SSH} git push origin HEAD:mine"))?
        .exits(128)?
        .says("ERROR: The key you are authenticating with has been marked as read only.")?;
    web.run(&format!("{SSH} git clone -q git@githost:acme/other.git"))?
        .exits(128)?
        .says("ERROR: Repository not found.")?;
    let ssh = "ssh -i /root/key -o StrictHostKeyChecking=no git@githost";
    web.run(&format!("{ssh} -T"))?
        .exits(1)?
        .says("Hi acme/todo! You've successfully authenticated")?;
    web.run(&format!("{ssh} ls"))?
        .exits(1)?
        .says("Invalid command: 'ls'")?;
    ensure!(
        host.requests()?
            .first()
            .is_some_and(|line| line == "acme/todo upload-pack version=2")
    );

    host.without_protocol_v2()?;
    host.forget_requests()?;
    web.run(&clone)?.ok()?;
    ensure!(
        host.requests()? == ["acme/todo upload-pack -"],
        "{:?}",
        host.requests()?
    );

    host.forget_keys()?;
    host.allow_key(&repo, &key, Access::ReadWrite)?;
    web.run(&format!("cd t && {SSH} git push -q origin HEAD:mine"))?
        .ok()?;

    let old = host.fingerprint()?;
    host.change_host_key()?;
    ensure!(
        old.starts_with("SHA256:") && old != host.fingerprint()?,
        "{old}"
    );
    web.run(&clone)?
        .exits(128)?
        .says("Host key verification failed")?;
    host.stop_sshd()?;
    web.run(&clone)?.exits(128)?.says("Connection refused")?;
    Ok(())
}

#[test]
fn the_project_is_served_by_debians_own_packages() -> Result<()> {
    for release in [Release::Bookworm, Release::Trixie] {
        let lab = Lab::new("serve")?;
        let web = lab.web_server(release)?;
        web.copy(
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/server/project"),
            "/srv/todo",
        )?;
        web.nginx_site("todo", "127.0.0.1:8000")?;
        ensure!(web.page("/")?.status == 502, "no app is running yet");

        let environment = "PULLPRAY_SHARED=/srv STATIC_ROOT=/www/static/todo";
        web.run(&format!("cd /srv/todo && {environment} python3 manage.py migrate && {environment} python3 manage.py collectstatic --no-input"))?.ok()?;
        let unit =
            "systemd-run --unit=todo --working-directory=/srv/todo --setenv=PULLPRAY_SHARED=/srv";
        web.run(&format!("{unit} gunicorn --bind 127.0.0.1:8000 todo.wsgi"))?
            .ok()?;

        let page = web.wait_for_page("/", "version one", 20)?;
        ensure!(page.shows("water the plants"), "{page:#?}");
        ensure!(web.page("/static/items/todo.css")?.shows("line-through"));
        ensure!(web.page_of("todo.example", "/healthz")?.shows("ok"));
        ensure!(web.page_of("unknown.example", "/")?.status == 400);
        let (_, load) = web.under_load("/", || web.run("systemctl restart todo; for n in $(seq 100); do curl -sf http://127.0.0.1:8000/healthz && exit; sleep 0.1; done; exit 9")?.ok())?;
        ensure!(
            load.requests > 3 && !load.failed.is_empty(),
            "visitors notice a restart that rebinds the port: {load:?}"
        );
    }
    Ok(())
}

#[test]
fn faults_can_be_injected_and_cleared() -> Result<()> {
    let lab = Lab::new("harm")?;
    let (host, web) = lab.git_host_and_web_server(Release::Bookworm)?;
    let knock = "timeout 2 bash -c 'head -c 4 </dev/tcp/githost/22' || echo ended with $?";
    web.run(knock)?.ok()?.says("SSH-")?;
    web.cut_cable()?;
    web.run(knock)?.ok()?.says("ended with")?;
    web.plug_cable()?;
    web.run(knock)?.ok()?.says("SSH-")?;
    host.freeze()?;
    web.run(knock)?.ok()?.says("ended with 124")?;
    host.thaw()?;
    web.run(knock)?.ok()?.says("SSH-")?;

    let before = web.listing(&["/etc", "/root", "/nowhere"])?;
    ensure!(
        before == web.listing(&["/etc", "/root", "/nowhere"])?,
        "two listings are equal"
    );
    ensure!(
        before
            .iter()
            .any(|line| line.starts_with("/etc/passwd file 0644 0:0 ")),
        "{before:?}"
    );
    web.run("chmod 600 /etc/motd; ln -s /etc/motd /root/link")?
        .ok()?;
    let after = web.listing(&["/etc", "/root", "/nowhere"])?;
    let new: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
    web.without(&["cron"])?;
    web.run("command -v cron || systemctl is-active cron")?
        .exits(3)?;
    ensure!(
        new.len() == 2 && new[1] == "/root/link link 0777 0:0 -> /etc/motd",
        "{new:?}"
    );
    Ok(())
}

#[test]
fn a_power_cut_loses_what_was_not_synced() -> Result<()> {
    let lab = Lab::new("power")?;
    let web = lab.web_server_on(Release::Bookworm, Disk::Ext4("1g"))?;
    web.run("echo kept >/root/synced; sync; echo lost >/root/unsynced")?
        .ok()?;
    web.power_cut()?;
    web.boot_again()?;
    ensure!(web.read("/root/synced")? == "kept\n");
    web.run("cat /root/unsynced")?.exits(1)?;
    ensure!(web.run("hostname")?.ok()?.stdout == "web\n");
    Ok(())
}

#[test]
fn cron_can_be_accelerated_and_a_terminal_driven() -> Result<()> {
    let lab = Lab::new("tty")?;
    for release in [Release::Bookworm, Release::Trixie] {
        let web = lab.web_server(release)?;
        web.write(
            "/etc/cron.d/lab",
            "* * * * * nobody date +\\%s >>/tmp/fired; env >/tmp/env\n",
        )?;
        web.fast_cron(20)?;

        let mut person =
            web.terminal("tput cols; read -p 'Name of the app: ' app; echo \"<$app>\"; exit 7")?;
        person.sees("80")?;
        person.answers("Name of the app: ", "todo")?;
        person.sees("<todo>")?;
        ensure!(person.ends()?.0 == 7);
        let mut person = web.terminal("echo ready; sleep 60")?;
        person.sees("ready")?;
        person.presses(crate::lab::key::CTRL_C)?;
        ensure!(person.ends()?.0 == 130);

        web.run("for n in $(seq 120); do [ $(wc -l </tmp/fired) = 2 ] && break; sleep 0.1; done; test $n -lt 120")?
            .ok()?;
        web.run("grep -c FAKETIME /tmp/env")?.exits(1)?;
    }
    Ok(())
}
