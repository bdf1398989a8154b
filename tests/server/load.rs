//! Visitors who never stop asking, through nginx and directly, while releases come and go. tests/long has
//! more of them.

use std::thread;

use anyhow::{Context, Result, anyhow, ensure};

use crate::lab::{Lab, Release, Repository, Todo, WebServer};
use crate::power::quick;

/// What the visitors of a while saw.
#[derive(Debug)]
struct Visited {
    asked: usize,
    /// Every answer that was not whole: when (seconds of the server's clock), where, what.
    wrong: Vec<(f64, String)>,
}

/// gunicorn's other common kind of worker.
pub const THREADS: &str = "--worker-class gthread --threads 4";

const STOP: &str = "/run/visitors-stop";

fn visited<T>(web: &WebServer, work: impl FnOnce() -> Result<T>) -> Result<(T, Visited)> {
    web.run(&format!("rm -f {STOP}"))?.ok()?;
    thread::scope(|scope| {
        let visitors = scope.spawn(|| {
            let words = [STOP, "30", "http://127.0.0.1/", "http://127.0.0.1:8000/"];
            web.python_for(580, "visitors.py", &words)
        });
        let done = work();
        web.run(&format!("touch {STOP}"))?.ok()?;
        let said = visitors
            .join()
            .map_err(|_| anyhow!("the visitors' thread panicked"))??
            .ok()?
            .stdout
            .clone();
        let mut lines: Vec<&str> = said.lines().collect();
        let asked = lines.pop().context("no count")?.parse()?;
        let wrong = lines
            .iter()
            .map(|line| {
                let (when, what) = line.split_once(' ').context("no time")?;
                Ok((when.parse()?, what.to_owned()))
            })
            .collect::<Result<_>>()?;
        Ok((done?, Visited { asked, wrong }))
    })
}

/// So many deployments with these options of gunicorn's, then so many releases that are ill.
pub fn under_load(workers: &str, deployments: usize, ill: usize) -> Result<()> {
    let lab = Lab::new("load")?;
    let Todo {
        repo,
        web,
        host: _host,
    } = Todo::live(&lab, Release::Bookworm)?;
    quick(&web)?;
    web.run(&format!(
        "echo 'GUNICORN_CMD_ARGS={workers}' >>/etc/pullpray/todo.env; systemctl restart gunicorn.todo.service"
    ))?
    .ok()?;
    if !workers.is_empty() {
        web.run("journalctl -u gunicorn.todo.service | grep 'Using worker: gthread'")?
            .ok()?;
    }
    let ((), visited_well) = visited(&web, || {
        for number in 1..=deployments {
            let version = format!("version {number}.");
            repo.push(&version)?;
            web.run("pullpray poll todo")?.ok()?.says("live after")?;
            ensure!(web.page("/")?.shows(&version));
        }
        Ok(())
    })?;
    ensure!(visited_well.asked > 50 * deployments, "{visited_well:?}");
    ensure!(visited_well.wrong.is_empty(), "{visited_well:?}");

    if ill == 0 {
        return Ok(());
    }
    let ((), visited_ill) = visited(&web, || ill_ones(&repo, &web, ill))?;
    ensure!(visited_ill.asked > 20 * ill, "{visited_ill:?}");
    ensure!(
        visited_ill.wrong.is_empty(),
        "an ill release was served: {visited_ill:?}"
    );
    Ok(())
}

/// So many of five ways of being ill; none of them is ever served.
fn ill_ones(repo: &Repository, web: &WebServer, count: usize) -> Result<()> {
    let wsgi = include_str!("project/todo/wsgi.py");
    for (number, ill) in [
        "raise RuntimeError('at the import')\n",
        "def application(environ, start_response):\n    start_response('500 Ill', [])\n    return [b'']\n",
        "syntax error\n",
        "import sys; sys.exit(3)\n",
        "def application(environ, start_response):\n    raise ValueError('at each request')\n",
    ]
    .into_iter()
    .take(count)
    .enumerate()
    {
        repo.commit(&format!("ill {number}"), &[("todo/wsgi.py", ill)])?;
        web.run("pullpray poll todo")?
            .exits(1)?
            .says("tried beside the live release, it is not healthy")?;
    }
    repo.commit("well again", &[("todo/wsgi.py", wsgi)])?;
    web.run("pullpray poll todo")?.ok()?;
    Ok(())
}

#[test]
fn no_request_fails_while_releases_come_with_sync_workers() -> Result<()> {
    under_load("", 2, 2)
}

#[test]
fn no_request_fails_while_releases_come_with_threads() -> Result<()> {
    under_load(THREADS, 2, 0)
}

/// What no trial shows: well beside the live release and ill in its place. Then it is seen, and for
/// how long is measured here.
#[test]
fn an_ill_release_that_hid_its_illness_is_seen_for_seconds_only() -> Result<()> {
    let lab = Lab::new("hid")?;
    let Todo {
        repo,
        web,
        host: _host,
    } = Todo::live(&lab, Release::Bookworm)?;
    quick(&web)?;
    web.run("sed -i 's/^health_timeout = .*/health_timeout = 10/' /etc/pullpray/todo.toml")?
        .ok()?;
    let wsgi = include_str!("project/todo/wsgi.py");
    let hides = format!(
        "{wsgi}\nimport sys\nif '--bind' not in sys.argv:\n    def application(environ, start_response):\n        start_response('500 Ill', [])\n        return [b'']\n"
    );
    let ((), visited) = visited(&web, || {
        repo.commit("hides", &[("todo/wsgi.py", &hides)])?;
        web.run("pullpray poll todo")?.exits(1)?;
        Ok(())
    })?;
    let times: Vec<f64> = visited.wrong.iter().map(|(when, _)| *when).collect();
    let (first, last) = (
        times.first().context("it was seen")?,
        times.last().context("it was seen")?,
    );
    ensure!(last - first < 15.0, "{:.1} s", last - first);
    ensure!(web.page("/")?.shows("version one"));
    Ok(())
}
