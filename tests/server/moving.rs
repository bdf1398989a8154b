//! An app moves to another server, as in the README.

use anyhow::{Context, Result, ensure};

use crate::lab::{Access, Lab, Release, Todo};

const README: &str = include_str!("../../README.md");

/// The blocks of shell of the README's section.
fn blocks() -> Result<Vec<&'static str>> {
    let section = README.split("\n## To another server\n").nth(1);
    let section = section.context("no section")?.split("\n## ").next();
    let blocks = section.unwrap_or_default().split("```sh\n").skip(1);
    Ok(blocks
        .filter_map(|block| block.split("```").next())
        .collect())
}

#[test]
fn an_app_moves_to_another_server_with_its_data() -> Result<()> {
    let lab = Lab::new("moving")?;
    let Todo { host, repo, web } = &Todo::live(&lab, Release::Bookworm)?;
    let [leave, arrive, stop, start] = blocks()?[..] else {
        anyhow::bail!("{:#?}", blocks()?);
    };
    web.run("echo COLOUR=green >>/etc/pullpray/todo.env && sed -i 's/^keep = .*/keep = 7/' /etc/pullpray/todo.toml && echo kept >/var/www/projects/todo/shared/photo && chown gunicorn: /var/www/projects/todo/shared/photo")?
        .ok()?;
    let add = "python3 -c 'import glob, sqlite3; f, = glob.glob(\"/var/www/projects/todo/shared/*.sqlite3\"); c = sqlite3.connect(f); c.execute(\"insert into items_item (title, done) values (?, 0)\", [\"moved item\"]); c.commit()'";
    web.run(add)?.ok()?;
    ensure!(web.page("/")?.shows("moved item"));
    repo.commit("Have a Procfile", &[("Procfile", "tick: true\n")])?;
    web.run("pullpray poll todo && sed -i '/^# *timers = /d' /etc/pullpray/todo.toml && echo 'timers = { tick = \"*:*:0/2\" }' >>/etc/pullpray/todo.toml && pullpray init todo --yes")?
        .ok()?;
    let new = lab.web_server(Release::Trixie)?;
    new.nginx_site("todo", "127.0.0.1:8000")?;
    web.run(leave)?.ok()?;
    // It is not deployed any more: it goes live on the new one.
    repo.push("version two")?;
    web.run("pullpray poll todo")?.ok()?;
    let carry = |name: &str| -> Result<()> {
        let text = web
            .run(&format!("base64 /root/{name}"))?
            .ok()?
            .stdout
            .clone();
        new.write("/root/carried", &text)?;
        new.run(&format!("umask 077; base64 -d /root/carried >/root/{name}"))?
            .ok()
            .map(drop)
    };
    carry("settings.tar.gz")?;
    new.run(&format!("set +e\n{arrive}"))?
        .ok()?
        .says("Add this key")?;
    host.allow_key(repo, &new.deploy_key("todo")?, Access::ReadOnly)?;
    ensure!(web.page("/")?.shows("version one"));
    web.run(stop)?.ok()?;
    web.run("sleep 65; ! systemctl is-active gunicorn.todo.service gunicorn.todo.socket pullpray.todo.tick.timer && ! pgrep -u gunicorn -x gunicorn")?
        .ok()?;
    carry("shared.tar.gz")?;
    new.run_for(300, &format!("set -e\n{start}"))?.ok()?;
    let page = new.page("/")?;
    ensure!(
        page.shows("version two") && page.shows("moved item"),
        "{page:?}"
    );
    new.run("cat /var/www/projects/todo/shared/photo; grep -x 'keep = 7' /etc/pullpray/todo.toml; pullpray run todo -- printenv COLOUR; systemctl is-active pullpray.todo.tick.timer; pullpray doctor todo --strict")?
        .ok()?
        .says("kept\n")?
        .says("green\n")?;
    web.run(
        "pullpray remove todo --yes --purge && ! ls -d /etc/pullpray/todo* /var/www/projects/todo",
    )?
    .ok()?;
    repo.push("version three")?;
    new.run("pullpray poll todo")?.ok()?.says("live after")?;
    ensure!(new.page("/")?.shows("version three"));
    Ok(())
}
