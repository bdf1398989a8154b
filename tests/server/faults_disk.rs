//! Full disks, disks without free inodes, and read-only disks.

use anyhow::{Result, ensure};

use crate::faults::{SCRIPT, deploys, poll_is_silent};
use crate::lab::{Lab, Release, Todo, WebServer};

const PROJECT: &str = "/var/www/projects/todo";
const STATE: &str = "/var/lib/pullpray";

/// Moves a directory and its content to a tmpfs of its own, mounted with `options`.
pub fn move_to_own_filesystem(web: &WebServer, dir: &str, options: &str) -> Result<()> {
    web.run(&format!(
        "set -e; mkdir /mnt/new; mount -t tmpfs -o {options} tmpfs /mnt/new; cp -a {dir}/. /mnt/new/; \
         chown --reference={dir} /mnt/new; chmod --reference={dir} /mnt/new; \
         mount --move /mnt/new {dir} 2>/dev/null || {{ mount --bind /mnt/new {dir}; umount /mnt/new; }}; rmdir /mnt/new"
    ))?
    .ok()?;
    Ok(())
}

/// Fills the file system of a directory except for `mib` MiB.
fn leave(web: &WebServer, dir: &str, mib: u64) -> Result<()> {
    web.run(&format!(
        "free=$(df --output=avail -k {dir} | tail -1); fallocate -l $((free - {mib} * 1024))K {dir}/filler"
    ))?
    .ok()?;
    Ok(())
}

/// Lists where a deployment leaves files.
fn traces(web: &WebServer) -> Result<String> {
    let list = format!("ls {PROJECT}/releases {PROJECT}/venvs {STATE}/todo/log");
    Ok(web.run(&list)?.ok()?.stdout)
}

/// A poll refuses a deployment that it could not finish: it reports this once and writes nothing.
fn is_refused_for_space(web: &WebServer, words: &str) -> Result<()> {
    let before = traces(web)?;
    web.run("pullpray poll todo")?
        .exits(1)?
        .says("refused ")?
        .says(words)?
        .says("reported once; polling continues")?;
    poll_is_silent(web)?;
    web.run("pullpray status todo")?.ok()?.says(words)?;
    ensure!(traces(web)? == before, "{before}\n{}", traces(web)?);
    ensure!(web.page("/")?.shows("version one"));
    Ok(())
}

#[test]
fn a_deployment_without_disk_space_is_refused() -> Result<()> {
    let lab = Lab::new("room")?;
    let Todo { repo, web, .. } = Todo::live(&lab, Release::Bookworm)?;
    move_to_own_filesystem(&web, PROJECT, "size=300m")?;
    move_to_own_filesystem(&web, STATE, "size=300m")?;
    repo.push("version two")?;

    leave(&web, PROJECT, 20)?;
    is_refused_for_space(&web, "MiB are needed at /var/www/projects/todo, and ")?;
    web.run("pullpray doctor todo --offline --only server.space")?
        .exits(1)?
        .says("the next one will be refused")?;
    web.run(&format!("rm {PROJECT}/filler"))?.ok()?;

    web.run(&format!(
        "mount -o remount,nr_inodes=$(($(df --output=iused {PROJECT} | tail -1) + 100)) {PROJECT}"
    ))?
    .ok()?;
    is_refused_for_space(
        &web,
        "inodes (files) are needed at /var/www/projects/todo, and ",
    )?;
    web.run(&format!("mount -o remount,nr_inodes=100000 {PROJECT}"))?
        .ok()?;

    leave(&web, STATE, 4)?;
    is_refused_for_space(&web, "8 MiB are needed at /var/lib/pullpray/todo, and ")?;
    // The ledger cannot be written either: each poll reports it, and the live release keeps running.
    web.run(&format!("cat /dev/zero >{STATE}/rest; true"))?
        .ok()?;
    for _ in 0..2 {
        web.run("pullpray poll todo")?
            .exits(1)?
            .says("failed to write /var/lib/pullpray/todo/ledger.json")?
            .says("No space left on device")?;
        ensure!(web.page("/")?.shows("version one"));
    }
    web.run(&format!("rm {STATE}/rest {STATE}/filler"))?.ok()?;
    deploys(&web, "version two")?;
    poll_is_silent(&web)
}

#[test]
fn needed_space_is_estimated_from_the_tree_and_the_last_environment() -> Result<()> {
    let lab = Lab::new("needed")?;
    let Todo { repo, web, .. } = Todo::live(&lab, Release::Bookworm)?;
    move_to_own_filesystem(&web, PROJECT, "size=600m")?;
    // The last environment is large; the next release needs that space only if it needs a new environment.
    web.run_as(
        "gunicorn",
        &format!("head -c 200M /dev/zero >$(readlink -f {PROJECT}/current/.venv)/large"),
    )?
    .ok()?;
    leave(&web, PROJECT, 100)?;
    repo.push("version two")?;
    deploys(&web, "version two")?;
    repo.commit("Need something", &[("requirements.txt", "Django\n")])?;
    web.run("pullpray poll todo")?
        .exits(1)?
        .says(" MiB are needed at /var/www/projects/todo, and ")?;
    repo.run("git rm -q requirements.txt && git commit -qm 'Need nothing' && git push -q")?;
    web.run("pullpray poll todo")?
        .ok()?
        .says("\"Need nothing\" live after")?;
    repo.run(
        "head -c 75M /dev/zero >large && cp large larger && git add large larger && git commit -qm 'Grow' && git push -q",
    )?;
    web.run("pullpray poll todo")?
        .exits(1)?
        .says(" MiB are needed at /var/www/projects/todo, and ")?
        .says("hint: free some space; ")?;
    web.run(&format!("rm {PROJECT}/filler"))?.ok()?;
    web.run("pullpray poll todo")?
        .ok()?
        .says("\"Grow\" live after")?;
    Ok(())
}

#[test]
fn a_deployment_to_a_read_only_mount_is_refused() -> Result<()> {
    let lab = Lab::new("readonly")?;
    let Todo { repo, web, .. } = Todo::live(&lab, Release::Bookworm)?;
    repo.push("version two")?;
    let read_only = |dir: &str| {
        web.run(&format!(
            "mount --bind {dir} {dir} && mount -o remount,bind,ro {dir}"
        ))
    };
    let over = |dir: &str| web.run(&format!("umount {dir}"));

    for dir in [PROJECT, "/www/static/todo"] {
        read_only(dir)?.ok()?;
        is_refused_for_space(
            &web,
            &format!("the file system of {dir} is mounted read-only"),
        )?;
        over(dir)?.ok()?;
    }
    read_only(STATE)?.ok()?;
    for _ in 0..2 {
        web.run("pullpray poll todo")?
            .exits(1)?
            .says("Read-only file system")?;
        ensure!(web.page("/")?.shows("version one"));
    }
    over(STATE)?.ok()?;
    deploys(&web, "version two")?;
    poll_is_silent(&web)
}

#[test]
fn an_unwritable_ledger_keeps_the_live_release() -> Result<()> {
    let lab = Lab::new("ledger")?;
    let Todo { repo, web, .. } = Todo::live(&lab, Release::Bookworm)?;
    move_to_own_filesystem(&web, STATE, "size=300m")?;
    web.run(&format!(
        "cp {SCRIPT} /root/deploy.sh; echo 'cat /dev/zero >\"$HOME/junk\" || true' >>{SCRIPT}"
    ))?
    .ok()?;
    repo.push("version two")?;
    web.run("pullpray poll todo")?
        .exits(1)?
        .says("No space left on device")?;
    ensure!(web.page("/")?.shows("version one"));
    let started = "systemctl show -P ExecMainStartTimestampMonotonic gunicorn.todo.service";
    let since = web.run(started)?.ok()?.stdout;
    for _ in 0..2 {
        web.run("pullpray poll todo")?
            .exits(1)?
            .says("failed to write /var/lib/pullpray/todo/ledger.json")?;
        ensure!(web.page("/")?.shows("version one"));
    }
    ensure!(
        since == web.run(started)?.ok()?.stdout,
        "restarted by each poll"
    );
    web.run(&format!(
        "rm {STATE}/todo/junk; cp /root/deploy.sh {SCRIPT}"
    ))?
    .ok()?;
    deploys(&web, "version two")?;
    poll_is_silent(&web)?;
    web.run("pullpray doctor todo --strict --offline")?.ok()?;
    Ok(())
}
