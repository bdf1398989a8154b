//! A poll stopped at every instant: killed as it enters each system call that changes something.
//!
//! After each kill the site is whole, with the old version or the new one; the next poll, which
//! nobody helps, ends at the new one, and nothing is left lying about.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use crate::lab::{Disk, Lab, Release, Repository, Todo, WebServer};

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

struct Scene {
    repo: Repository,
    web: WebServer,
}

impl Scene {
    fn new(lab: &Lab) -> Result<Self> {
        let Todo { repo, web, .. } = Todo::live(lab, Release::Traced)?;
        quick(&web)?;
        Ok(Self { repo, web })
    }

    /// The instants of a command, in their order.
    fn instants(&self, command: &str) -> Result<Vec<Instant>> {
        let words: Vec<&str> = ["all", "0"].into_iter().chain(command.split(' ')).collect();
        let said = self.web.script("stopped", &words)?.ok()?;
        let mut counts = BTreeMap::new();
        Ok(said
            .stdout
            .lines()
            .map(|call| {
                let number = counts.entry(call.to_owned()).or_insert(0);
                *number += 1;
                Instant(call.to_owned(), *number)
            })
            .collect())
    }

    /// Runs a command and kills it there; `false` if it ended before that.
    fn killed_at(&self, instant: &Instant, command: &str) -> Result<bool> {
        let number = instant.1.to_string();
        let words: Vec<&str> = [instant.0.as_str(), number.as_str()]
            .into_iter()
            .chain(command.split(' '))
            .collect();
        Ok(self.web.script("stopped", &words)?.status == 137)
    }

    fn shows(&self, versions: &[&str]) -> Result<String> {
        let words = [&["todo"], versions].concat();
        Ok(self
            .web
            .script("whole", &words)?
            .ok()?
            .stdout
            .trim()
            .to_owned())
    }

    fn nothing_is_left(&self) -> Result<()> {
        self.web.script("junk", &["todo"])?.ok()?.silent()?;
        Ok(())
    }
}

/// As it enters a system call of this name, for the so-manieth time.
#[derive(Debug)]
struct Instant(String, usize);

/// A sample here, since each costs seconds; `EVERY_INSTANT=1 tests/run --test server instants` tries all.
fn wanted(sample: usize) -> usize {
    if std::env::var_os("EVERY_INSTANT").is_some() {
        usize::MAX
    } else {
        sample
    }
}

/// Which instants are tried: all of them, or as many as there is time for, spread over all.
fn spread(all: &[Instant], wanted: usize) -> impl Iterator<Item = (usize, &Instant)> {
    all.iter().enumerate().step_by((all.len() / wanted).max(1))
}

#[test]
fn a_deployment_killed_at_any_instant_is_followed_by_one_that_succeeds() -> Result<()> {
    let lab = Lab::new("instant")?;
    let scene = Scene::new(&lab)?;
    scene.repo.push("version counted")?;
    let all = scene.instants("pullpray poll todo")?;
    scene.shows(&["version counted"])?;
    ensure!(all.len() > 100, "{all:?}");
    let mut old = "version counted".to_owned();
    let mut kills = 0;
    for (number, instant) in spread(&all, wanted(60)) {
        let new = format!("version at {number}.");
        scene.repo.push(&new)?;
        kills += usize::from(scene.killed_at(instant, "pullpray poll todo")?);
        scene
            .shows(&[&old, &new])
            .with_context(|| format!("killed at {number}, {instant:?}"))?;
        scene
            .web
            .run("pullpray poll todo")?
            .ok()
            .and_then(|_| scene.shows(&[&new]))
            .and_then(|_| scene.nothing_is_left())
            .with_context(|| format!("the poll after the one killed at {number}, {instant:?}"))?;
        old = new;
    }
    ensure!(kills >= 50, "{kills} kills");
    Ok(())
}

#[test]
fn a_failing_deployment_and_a_rollback_killed_at_any_instant_do_no_harm() -> Result<()> {
    let lab = Lab::new("fails")?;
    let scene = Scene::new(&lab)?;
    let Scene { repo, web } = &scene;
    // Well beside the live one and ill in its place, so that it is taken back.
    let wsgi = include_str!("project/todo/wsgi.py");
    let ill =
        format!("import sys\nif '--bind' not in sys.argv:\n    raise RuntimeError('ill')\n{wsgi}");
    let mut kills = 0;
    let break_it =
        |version: &str| repo.commit(version, &[("todo/wsgi.py", &ill), ("VERSION", version)]);
    let mend_it =
        |version: &str| repo.commit(version, &[("todo/wsgi.py", wsgi), ("VERSION", version)]);
    break_it("ill counted")?;
    let all = scene.instants("pullpray poll todo")?;
    let mut old = scene.shows(&["version one"])?;
    for (number, instant) in spread(&all, wanted(20)) {
        break_it(&format!("ill at {number}."))?;
        kills += usize::from(scene.killed_at(instant, "pullpray poll todo")?);
        // The ill release may be what systemd starts again just now: a poll brings the old one back.
        web.run("pullpray poll todo --now")?.exits(1)?;
        scene
            .shows(&[&old])
            .with_context(|| format!("killed at {number}, {instant:?}"))?;
        scene.nothing_is_left()?;
        if number % 5 == 1 {
            let new = format!("well at {number}.");
            mend_it(&new)?;
            web.run("pullpray poll todo")?.ok()?;
            old = scene.shows(&[&new])?;
        }
    }

    for version in ["version before", "version now"] {
        mend_it(version)?;
        web.run("pullpray poll todo")?.ok()?;
    }
    let all = scene.instants("pullpray rollback todo")?;
    scene.shows(&["version before"])?;
    for (number, instant) in spread(&all, wanted(20)) {
        web.run("pullpray resume todo; pullpray poll todo --now")?
            .ok()?;
        scene.shows(&["version now"])?;
        kills += usize::from(scene.killed_at(instant, "pullpray rollback todo")?);
        scene
            .shows(&["version before", "version now"])
            .with_context(|| format!("rollback killed at {number}, {instant:?}"))?;
        web.run("pullpray poll todo")?.ok()?;
        scene.nothing_is_left()?;
    }
    ensure!(kills >= 30, "{kills} kills");
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
