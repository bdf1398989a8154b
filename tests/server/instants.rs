//! A poll stopped at every instant: killed as it enters each system call that changes something.
//!
//! After each kill the site is whole, with the old version or the new one; the next poll, which
//! nobody helps, ends at the new one, and nothing is left lying about. Several servers share the
//! instants, for most of an instant is waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};

use crate::lab::{GitHost, Lab, Release, Repository, WebServer, make_live};
use crate::power::quick;

/// An application that starts in no time. Its page is whole if both its files are of one version.
const WSGI: &str = "from pathlib import Path\n\
    HERE = Path(__file__).resolve().parent\n\
    WORDS = (HERE / 'first').read_text() + ' and ' + (HERE.parent / 'second').read_text()\n\
    def application(environ, start_response):\n    \
        start_response('200 OK', [('Content-Type', 'text/plain')])\n    \
        return [WORDS.encode()]\n";
/// The same, well beside the live release and ill in its place, so that it is taken back.
const ILL: &str = "import sys\nif '--bind' not in sys.argv:\n    raise RuntimeError('ill')\n";

/// As it enters a system call of this name, for the so-manieth time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Instant(String, usize);

/// One of several servers that share the work, each with a repository of its own.
struct Scene {
    repo: Repository,
    web: WebServer,
}

impl Scene {
    fn new(lab: &Lab, host: &GitHost, number: usize) -> Result<Self> {
        let repo = host.repository(&format!("acme/todo{number}"))?;
        let web = lab.web_server(Release::Bookworm)?;
        web.nginx_site("todo", "127.0.0.1:8000")?;
        make_live(host, &repo, &web)?;
        quick(&web)?;
        let scene = Self { repo, web };
        // As many releases as are kept: from here on each deployment also prunes one.
        for version in ["first", "second"] {
            scene.push(version, "")?;
            scene.poll()?;
        }
        Ok(scene)
    }

    fn push(&self, version: &str, before: &str) -> Result<()> {
        let wsgi = format!("{before}{WSGI}");
        let files = [
            ("todo/wsgi.py", wsgi.as_str()),
            ("todo/first", version),
            ("second", version),
        ];
        self.repo.commit(version, &files)?;
        Ok(())
    }

    fn poll(&self) -> Result<()> {
        self.web.run("pullpray poll todo")?.ok()?;
        Ok(())
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

    /// Which of the versions the site shows, whole.
    fn shows<'a>(&self, versions: &[&'a str]) -> Result<&'a str> {
        let pages: Vec<String> = versions.iter().map(|v| format!("{v} and {v}")).collect();
        let words: Vec<&str> = ["todo"]
            .into_iter()
            .chain(pages.iter().map(String::as_str))
            .collect();
        let said = self.web.script("whole", &words)?.ok()?;
        let shown = pages.iter().position(|page| page == said.stdout.trim());
        shown
            .and_then(|at| versions.get(at).copied())
            .with_context(|| said.stdout.clone())
    }

    fn nothing_is_left(&self) -> Result<()> {
        self.web.script("junk", &["todo"])?.ok()?.silent()?;
        Ok(())
    }
}

/// Gives each of so many servers its part of the work at the same time; all the instants at which one
/// of them was killed.
fn shared_among(
    servers: usize,
    name: &str,
    work: impl Fn(&Scene, usize) -> Result<BTreeSet<Instant>> + Sync,
) -> Result<BTreeSet<Instant>> {
    let lab = Lab::new(name)?;
    let host = lab.git_host()?;
    thread::scope(|scope| {
        let (lab, host, work) = (&lab, &host, &work);
        let begun: Vec<_> = (0..servers)
            .map(|number| scope.spawn(move || work(&Scene::new(lab, host, number)?, number)))
            .collect();
        let mut killed = BTreeSet::new();
        for part in begun {
            killed.extend(
                part.join()
                    .map_err(|_| anyhow!("a server's thread panicked"))??,
            );
        }
        Ok(killed)
    })
}

#[test]
fn a_deployment_killed_at_any_instant_is_followed_by_one_that_succeeds() -> Result<()> {
    const SERVERS: usize = 3;
    let killed = shared_among(SERVERS, "instant", |scene, part| {
        scene.push("version counted", "")?;
        let all = scene.instants("pullpray poll todo")?;
        ensure!(all.len() > 100, "{all:?}");
        let mut old = "version counted".to_owned();
        let mut killed = BTreeSet::new();
        for (number, instant) in all.iter().enumerate().skip(part).step_by(SERVERS) {
            let new = format!("version at {number}.");
            scene.push(&new, "")?;
            if scene.killed_at(instant, "pullpray poll todo")? {
                killed.insert(instant.clone());
            }
            scene
                .shows(&[&old, &new])
                .with_context(|| format!("killed at {number}, {instant:?}"))?;
            scene
                .poll()
                .and_then(|()| scene.shows(&[&new]))
                .and_then(|_| scene.nothing_is_left())
                .with_context(|| format!("after the poll killed at {number}, {instant:?}"))?;
            old = new;
        }
        Ok(killed)
    })?;
    ensure!(killed.len() >= 120, "{} instants: {killed:?}", killed.len());
    Ok(())
}

#[test]
fn a_failing_deployment_killed_at_any_instant_does_no_harm() -> Result<()> {
    const SERVERS: usize = 4;
    let killed = shared_among(SERVERS, "fails", |scene, part| {
        scene.push("ill counted", ILL)?;
        let all = scene.instants("pullpray poll todo")?;
        let old = scene.shows(&["second"])?;
        let mut killed = BTreeSet::new();
        // Up to where it turns out ill it is a deployment like any other. Each costs seconds of waiting
        // for an app that does not come, so every other one.
        let own = all.iter().enumerate().skip(all.len() / 2);
        for (number, instant) in own.skip(2 * part).step_by(2 * SERVERS) {
            scene.push(&format!("ill at {number}."), ILL)?;
            if scene.killed_at(instant, "pullpray poll todo")? {
                killed.insert(instant.clone());
            }
            // Systemd may be starting the ill release just now: the next poll brings the old one back,
            // and tries the ill one again unless its failure was noted.
            let next = scene.web.run("pullpray poll todo")?;
            ensure!(
                matches!(next.status, 0 | 1),
                "{number}, {instant:?}: {}",
                *next
            );
            scene
                .shows(&[old])
                .and_then(|_| scene.nothing_is_left())
                .with_context(|| format!("after the poll killed at {number}, {instant:?}"))?;
        }
        Ok(killed)
    })?;
    ensure!(killed.len() >= 40, "{} instants: {killed:?}", killed.len());
    Ok(())
}

#[test]
fn a_rollback_killed_at_any_instant_ends_at_one_of_the_two() -> Result<()> {
    const SERVERS: usize = 2;
    let killed = shared_among(SERVERS, "rolls", |scene, part| {
        let versions = ["first", "second"];
        let listed = scene.web.run("ls /var/www/projects/todo/releases")?.ok()?;
        let ids: Vec<&str> = listed.stdout.lines().collect();
        ensure!(ids.len() == 2, "{ids:?}");
        // To whichever is not live.
        let back = |shown: &str| {
            let other = ids[usize::from(shown == versions[0])];
            format!("pullpray rollback todo {other}")
        };
        let all = scene.instants(&back("second"))?;
        let mut live = scene.shows(&["first"])?;
        let mut killed = BTreeSet::new();
        for (number, instant) in all.iter().enumerate().skip(part).step_by(SERVERS) {
            if scene.killed_at(instant, &back(live))? {
                killed.insert(instant.clone());
            }
            scene
                .shows(&versions)
                .with_context(|| format!("killed at {number}, {instant:?}"))?;
            live = scene
                .poll()
                .and_then(|()| scene.nothing_is_left())
                .and_then(|()| scene.shows(&versions))
                .with_context(|| format!("after the rollback killed at {number}, {instant:?}"))?;
        }
        Ok(killed)
    })?;
    ensure!(killed.len() >= 40, "{} instants: {killed:?}", killed.len());
    Ok(())
}
