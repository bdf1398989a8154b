//! A poll without power at any moment: the site comes back whole, with the old version or the new one,
//! and the next poll, which nobody helps, ends at the new one and leaves nothing lying about.

use anyhow::{Context, Result};

use crate::lab::{Disk, Lab, Release, Todo, WebServer};

/// A deploy script that is quick: what is killed here is the poll.
const QUICK: &str = "#!/bin/sh\nset -e\n[ \"$PULLPRAY_VENV_STATE\" = ready ] || python3 -m venv --system-site-packages --without-pip \"$PULLPRAY_VENV\"\nmkdir -p .static/items\ncp items/static/items/todo.css .static/items/\n";

/// One worker, and a deploy script that does little: what is looked at is the poll.
pub fn quick(web: &WebServer) -> Result<()> {
    web.run("pullpray init todo --workers 1 --yes && systemctl restart gunicorn.todo.service")?
        .ok()?;
    web.write("/opt/git_pollers/todo/deploy.sh", QUICK)?;
    web.run("sed -i 's/^keep = .*/keep = 2/; s/^health_timeout = .*/health_timeout = 5/' /etc/pullpray/todo.toml; pullpray poll todo; sync")?
        .ok()?;
    Ok(())
}

#[test]
fn the_power_goes_at_twenty_moments_of_a_deployment() -> Result<()> {
    let lab = Lab::new("cuts")?;
    let host = lab.git_host()?;
    let web = lab.web_server_on(Release::Bookworm, Disk::Ext4("2g"))?;
    let repo = host.repository("acme/todo")?;
    web.nginx_site("todo", "127.0.0.1:8000")?;
    let todo = Todo { host, repo, web };
    todo.make_live()?;
    let Todo { repo, web, .. } = &todo;
    quick(web)?;
    let scene = |version: &str, versions: &[&str]| -> Result<()> {
        let words = [&["todo"], versions].concat();
        web.script("whole", &words)?
            .ok()
            .with_context(|| version.to_owned())?;
        Ok(())
    };
    let mut old = "version one".to_owned();
    for moment in 0..20 {
        let new = format!("version of cut {moment}.");
        repo.push(&new)?;
        let after = 0.1 + 0.15 * f64::from(moment);
        web.run(&format!(
            "pullpray poll todo >/dev/null 2>&1 & sleep {after:.2}"
        ))?
        .ok()?;
        web.power_cut()?;
        web.boot_again()?;
        web.wait_for_page_of("todo.example", "/", "version", 60)?;
        scene(&format!("cut {moment}"), &[&old, &new])?;
        web.run("pullpray poll todo")?
            .ok()
            .with_context(|| format!("cut {moment}"))?;
        scene(&format!("after cut {moment}"), &[&new])?;
        web.script("junk", &["todo"])?.ok()?.silent()?;
        old = new;
    }
    Ok(())
}
