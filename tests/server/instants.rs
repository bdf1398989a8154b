//! Polls killed at every instant: as they enter each system call that changes something.
//!
//! After each kill the site serves the old version or the new one completely; the next poll ends at the new one
//! without help and leaves nothing behind. src/deploy/tests/killed.rs kills before every change in process; one kill of
//! each here proves that it is true of a server; tests/long kills at every system call, on several servers.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};

use crate::lab::{Lab, Release, Todo};
use crate::power::quick;

/// An application that starts quickly. Its page is complete if both its files have the same version.
const WSGI: &str = "from pathlib import Path\n\
    HERE = Path(__file__).resolve().parent\n\
    WORDS = (HERE / 'first').read_text() + ' and ' + (HERE.parent / 'second').read_text()\n\
    def application(environ, start_response):\n    \
        start_response('200 OK', [('Content-Type', 'text/plain')])\n    \
        return [WORDS.encode()]\n";
/// The same, healthy in the trial and unhealthy when live, so that the poll rolls it back.
const UNHEALTHY: &str =
    "import os\nif 'PULLPRAY_TRIAL' not in os.environ:\n    raise RuntimeError('unhealthy')\n";

/// The nth entry into the system call of this name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(String, usize);

/// A server on which polls are killed, with as many releases as it keeps: each deployment also prunes one.
pub struct Scene(Todo);

impl Scene {
    fn new(lab: &Lab) -> Result<Self> {
        let scene = Self(Todo::live(lab, Release::Bookworm)?);
        quick(&scene.0.web)?;
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
        self.0.repo.commit(version, &files)?;
        Ok(())
    }

    fn poll(&self) -> Result<()> {
        self.0.web.run("pullpray poll todo")?.ok()?;
        Ok(())
    }

    /// The instants of a command, in order.
    fn instants(&self, command: &str) -> Result<Vec<Instant>> {
        let words: Vec<&str> = ["all", "0"].into_iter().chain(command.split(' ')).collect();
        let output = self.0.web.script("stopped", &words)?.ok()?;
        let mut counts = BTreeMap::new();
        Ok(output
            .stdout
            .lines()
            .map(|call| {
                let number = counts.entry(call.to_owned()).or_insert(0);
                *number += 1;
                Instant(call.to_owned(), *number)
            })
            .collect())
    }

    /// Runs a command and kills it at this instant; `false` if it ended before.
    fn killed_at(&self, instant: &Instant, command: &str) -> Result<bool> {
        let number = instant.1.to_string();
        let words: Vec<&str> = [instant.0.as_str(), number.as_str()]
            .into_iter()
            .chain(command.split(' '))
            .collect();
        Ok(self.0.web.script("stopped", &words)?.status == 137)
    }

    /// The version that the site shows; an error if the page is incomplete.
    fn shows<'a>(&self, versions: &[&'a str]) -> Result<&'a str> {
        let pages: Vec<String> = versions.iter().map(|v| format!("{v} and {v}")).collect();
        let words: Vec<&str> = ["todo"]
            .into_iter()
            .chain(pages.iter().map(String::as_str))
            .collect();
        let output = self.0.web.script("whole", &words)?.ok()?;
        let shown = pages.iter().position(|page| page == output.stdout.trim());
        shown
            .and_then(|at| versions.get(at).copied())
            .with_context(|| output.stdout.clone())
    }

    fn no_leftovers(&self) -> Result<()> {
        self.0.web.script("junk", &["todo"])?.ok()?.silent()?;
        Ok(())
    }
}

/// A job that kills commands: takes a scene and a filter of the instants to kill at, and returns the instants of
/// successful kills.
pub type Work = fn(&Scene, &dyn Fn(usize) -> bool) -> Result<BTreeSet<Instant>>;

/// Runs a job on several servers in parallel, each with its share of the instants; returns the number of kills.
pub fn shared_among(servers: usize, name: &str, work: Work) -> Result<usize> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..servers)
            .map(|part| {
                scope.spawn(move || {
                    let scene = Scene::new(&Lab::new(name)?)?;
                    work(&scene, &|number| number % servers == part)
                })
            })
            .collect();
        let mut killed = BTreeSet::new();
        for part in threads {
            killed.extend(
                part.join()
                    .map_err(|_| anyhow!("a server's thread panicked"))??,
            );
        }
        Ok(killed.len())
    })
}

/// Kills deployments; the next poll deploys successfully.
pub fn deployments(scene: &Scene, selects: &dyn Fn(usize) -> bool) -> Result<BTreeSet<Instant>> {
    scene.push("version counted", "")?;
    let all = scene.instants("pullpray poll todo")?;
    ensure!(all.len() > 100, "{all:?}");
    let mut old = "version counted".to_owned();
    let mut killed = BTreeSet::new();
    for (number, instant) in all
        .iter()
        .enumerate()
        .filter(|(number, _)| selects(*number))
    {
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
            .and_then(|_| scene.no_leftovers())
            .with_context(|| format!("after the poll killed at {number}, {instant:?}"))?;
        old = new;
    }
    Ok(killed)
}

/// Kills a failing deployment in its second half: until its health check fails, it is like any other
/// deployment. The live release stays live.
pub fn failing_deployments(
    scene: &Scene,
    selects: &dyn Fn(usize) -> bool,
) -> Result<BTreeSet<Instant>> {
    scene.push("before the unhealthy ones", "")?;
    scene.poll()?;
    let old = scene.shows(&["before the unhealthy ones"])?;
    scene.push("unhealthy counted", UNHEALTHY)?;
    let all = scene.instants("pullpray poll todo")?;
    let mut killed = BTreeSet::new();
    let own = all.iter().skip(all.len() / 2).enumerate();
    for (number, instant) in own.filter(|(number, _)| selects(*number)) {
        scene.push(&format!("unhealthy at {number}."), UNHEALTHY)?;
        if scene.killed_at(instant, "pullpray poll todo")? {
            killed.insert(instant.clone());
        }
        // systemd may be starting the unhealthy release at this moment: the next poll restores the old one,
        // and tries the unhealthy one again unless its failure was recorded.
        let next = scene.0.web.run("pullpray poll todo")?;
        ensure!(
            matches!(next.status, 0 | 1),
            "{number}, {instant:?}: {}",
            *next
        );
        scene
            .shows(&[old])
            .and_then(|_| scene.no_leftovers())
            .with_context(|| format!("after the poll killed at {number}, {instant:?}"))?;
    }
    Ok(killed)
}

/// Kills rollbacks; the next poll ends at one of the two releases.
pub fn rollbacks(scene: &Scene, selects: &dyn Fn(usize) -> bool) -> Result<BTreeSet<Instant>> {
    let versions = ["third", "fourth"];
    for version in versions {
        scene.push(version, "")?;
        scene.poll()?;
    }
    let listed = scene
        .0
        .web
        .run("ls /var/www/projects/todo/releases")?
        .ok()?;
    let ids: Vec<&str> = listed.stdout.lines().collect();
    ensure!(ids.len() == 2, "{ids:?}");
    // Rolls back to the release that is not live.
    let back = |shown: &str| {
        let other = ids[usize::from(shown == versions[0])];
        format!("pullpray rollback todo {other}")
    };
    let all = scene.instants(&back(versions[1]))?;
    let mut live = scene.shows(&versions[..1])?;
    let mut killed = BTreeSet::new();
    for (number, instant) in all
        .iter()
        .enumerate()
        .filter(|(number, _)| selects(*number))
    {
        if scene.killed_at(instant, &back(live))? {
            killed.insert(instant.clone());
        }
        scene
            .shows(&versions)
            .with_context(|| format!("killed at {number}, {instant:?}"))?;
        live = scene
            .poll()
            .and_then(|()| scene.no_leftovers())
            .and_then(|()| scene.shows(&versions))
            .with_context(|| format!("after the rollback killed at {number}, {instant:?}"))?;
    }
    Ok(killed)
}

#[test]
fn a_poll_that_is_killed_recovers() -> Result<()> {
    let scene = Scene::new(&Lab::new("instant")?)?;
    // How often a poll checks the health differs, so one instant may not come again: of three neighbours one does.
    for (work, first) in [
        (deployments as Work, 60),
        (failing_deployments, 8),
        (rollbacks, 18),
    ] {
        let killed = work(&scene, &|number| (first..first + 3).contains(&number))?;
        ensure!(!killed.is_empty(), "no poll was killed at {first}");
    }
    Ok(())
}
