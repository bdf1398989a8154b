//! A disk that is not mounted after a reboot: pullpray never recreates its directories on the mount point.

use anyhow::{Result, ensure};

use crate::faults::{deploys, poll_is_silent};
use crate::lab::{Lab, Release, TOUCHED, Todo, WebServer};

/// A poll, started like the cron entry does.
const BY_CRON: &str = "PULLPRAY_BY=cron pullpray poll todo";

/// Moves the content of a directory to a tmpfs at /mnt/disk, and leaves an empty mount point.
fn move_to_disk(web: &WebServer, dir: &str) -> Result<()> {
    web.run(&format!(
        "set -e; mkdir -p /mnt/disk; mount -t tmpfs -o mode=0755 tmpfs /mnt/disk; cp -a {dir}/. /mnt/disk/; \
         find {dir} -mindepth 1 -delete; {}",
        mounted(dir)
    ))?
    .ok()?;
    Ok(())
}

fn mounted(dir: &str) -> String {
    format!("mount --bind /mnt/disk {dir}")
}

/// With the disk unmounted, each verb that would change something refuses and changes nothing.
fn all_refuse(web: &WebServer, todo: &Todo) -> Result<()> {
    let before = web.listing(TOUCHED)?;
    web.run("pullpray poll todo")?
        .exits(1)?
        .says("is a disk not mounted?")?
        .says("hint: findmnt --target /var/")?;
    web.run_as("gunicorn", BY_CRON)?
        .exits(1)?
        .says("is a disk not mounted?")?;
    web.run_as("gunicorn", BY_CRON)?.exits(1)?.silent()?;
    for doctor in ["doctor todo", "doctor todo --fix --yes --overwrite"] {
        web.run(&format!("pullpray {doctor} --offline"))?
            .exits(1)?
            .says("fail  project.directories")?
            .says("fix: findmnt --target /var/")?;
    }
    let init = todo.init("")?;
    for command in [
        init.as_str(),
        "pullpray rollback todo",
        "pullpray pause todo --message x",
        "pullpray status todo",
        "pullpray key todo --rotate",
        "pullpray remove todo --yes --purge",
    ] {
        web.run(command)?.exits(1)?.says("is a disk not mounted?")?;
    }
    let after = web.listing(TOUCHED)?;
    ensure!(before == after, "{before:#?}\n{after:#?}");
    Ok(())
}

#[test]
fn directories_are_never_recreated_below_an_unmounted_disk() -> Result<()> {
    let lab = Lab::new("disks")?;
    let todo = Todo::live(&lab, Release::Bookworm)?;
    let Todo { repo, web, .. } = &todo;
    for (number, dir) in [
        "/var/www/projects/todo/shared",
        "/var/www/projects",
        "/var/lib/pullpray",
    ]
    .into_iter()
    .enumerate()
    {
        move_to_disk(web, dir)?;
        web.run("systemctl restart gunicorn.todo.service")?.ok()?;
        poll_is_silent(web)?;
        let version = format!("version on disk {number}");
        repo.push(&version)?;

        web.run(&format!("umount -l {dir}"))?.ok()?;
        all_refuse(web, &todo)?;
        if dir != "/var/lib/pullpray" {
            // The app does not start with an empty directory either, however often it is requested.
            web.run("systemctl restart gunicorn.todo.service")?
                .exits(1)?;
            web.run("curl -s -m 3 http://127.0.0.1:8000/")?.exits(28)?;
            web.run(&format!("find {dir} -mindepth 1"))?
                .ok()?
                .silent()?;
        }

        web.run(&mounted(dir))?.ok()?;
        web.wait_for_page("/", "water the plants", 30)?;
        web.run("pullpray poll todo")?
            .ok()?
            .says("todo: polls work again\n")?
            .says(&format!("\"{version}\" live after"))?;
        ensure!(web.page("/")?.shows(&version));
        poll_is_silent(web)?;
        web.run("pullpray doctor todo --offline --strict")?.ok()?;
        web.run(&format!(
            "set -e; systemctl stop gunicorn.todo.service; umount -l {dir}; cp -a /mnt/disk/. {dir}/; umount /mnt/disk; \
             systemctl start gunicorn.todo.service"
        ))?
        .ok()?;
    }
    Ok(())
}

#[test]
fn continuing_without_the_data_takes_an_explicit_command() -> Result<()> {
    let lab = Lab::new("anew")?;
    let todo = Todo::live(&lab, Release::Bookworm)?;
    let Todo { repo, web, .. } = &todo;
    web.run("find /var/www/projects/todo/shared -mindepth 1 -delete")?
        .ok()?;
    repo.push("version two")?;
    let anew =
        "rm /etc/pullpray/todo.data && sudo pullpray doctor todo --fix --only project.directories";
    let hint = &format!("sudo {anew}");
    web.run("pullpray poll todo")?.exits(1)?.says(hint)?;
    // A link in place of the marker must not lead root to overwrite another file.
    web.run_as(
        "gunicorn",
        "ln -s /etc/passwd /var/www/projects/todo/shared/.pullpray",
    )?
    .ok()?;
    web.run("pullpray poll todo")?.exits(1)?.says(hint)?;
    web.run(&format!("{anew} --yes"))?.ok()?;
    web.run("grep -q ^root: /etc/passwd && test -O /etc/passwd")?
        .ok()?;
    deploys(web, "version two")?;
    poll_is_silent(web)
}
