//! Visitors request pages without pause, through nginx and directly, during deployments. tests/long runs more
//! deployments.

use std::thread;

use anyhow::{Context, Result, anyhow, ensure};

use crate::lab::{Lab, Release, Repository, Todo, WebServer};
use crate::power::quick;

/// What the visitors saw.
#[derive(Debug)]
struct Visits {
    requests: usize,
    /// Every incomplete response: when (seconds of the server's clock), where, what.
    wrong: Vec<(f64, String)>,
}

/// gunicorn's other common kind of worker.
pub const THREADS: &str = "--worker-class gthread --threads 4";

const STOP: &str = "/run/visitors-stop";

fn with_visitors<T>(web: &WebServer, work: impl FnOnce() -> Result<T>) -> Result<(T, Visits)> {
    web.run(&format!("rm -f {STOP}"))?.ok()?;
    thread::scope(|scope| {
        let visitors = scope.spawn(|| {
            let words = [STOP, "30", "http://127.0.0.1/", "http://127.0.0.1:8000/"];
            web.python_for(580, "visitors.py", &words)
        });
        let done = work();
        web.run(&format!("touch {STOP}"))?.ok()?;
        let output = visitors
            .join()
            .map_err(|_| anyhow!("the visitors' thread panicked"))??
            .ok()?
            .stdout
            .clone();
        let mut lines: Vec<&str> = output.lines().collect();
        let requests = lines.pop().context("no count")?.parse()?;
        let wrong = lines
            .iter()
            .map(|line| {
                let (when, what) = line.split_once(' ').context("no time")?;
                Ok((when.parse()?, what.to_owned()))
            })
            .collect::<Result<_>>()?;
        Ok((done?, Visits { requests, wrong }))
    })
}

/// Deploys healthy releases with these options of gunicorn, then unhealthy ones.
pub fn under_load(workers: &str, deployments: usize, unhealthy: usize) -> Result<()> {
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
    let ((), healthy) = with_visitors(&web, || {
        for number in 1..=deployments {
            let version = format!("version {number}.");
            repo.push(&version)?;
            web.run("pullpray poll todo")?.ok()?.says("live after")?;
            ensure!(web.page("/")?.shows(&version));
        }
        Ok(())
    })?;
    ensure!(healthy.requests > 50 * deployments, "{healthy:?}");
    ensure!(healthy.wrong.is_empty(), "{healthy:?}");

    if unhealthy == 0 {
        return Ok(());
    }
    let ((), failing) = with_visitors(&web, || deploy_unhealthy(&repo, &web, unhealthy))?;
    ensure!(failing.requests > 20 * unhealthy, "{failing:?}");
    ensure!(
        failing.wrong.is_empty(),
        "an unhealthy release was served: {failing:?}"
    );
    Ok(())
}

/// Deploys up to five kinds of unhealthy releases; none of them is ever served.
fn deploy_unhealthy(repo: &Repository, web: &WebServer, count: usize) -> Result<()> {
    let wsgi = include_str!("project/todo/wsgi.py");
    for (number, code) in [
        "raise RuntimeError('at the import')\n",
        "def application(environ, start_response):\n    start_response('500 Unhealthy', [])\n    return [b'']\n",
        "syntax error\n",
        "import sys; sys.exit(3)\n",
        "def application(environ, start_response):\n    raise ValueError('at each request')\n",
    ]
    .into_iter()
    .take(count)
    .enumerate()
    {
        repo.commit(&format!("unhealthy {number}"), &[("todo/wsgi.py", code)])?;
        web.run("pullpray poll todo")?
            .exits(1)?
            .says("health check failed before switching")?;
    }
    repo.commit("healthy again", &[("todo/wsgi.py", wsgi)])?;
    web.run("pullpray poll todo")?.ok()?;
    Ok(())
}

#[test]
fn no_request_fails_during_deployments_with_sync_workers() -> Result<()> {
    under_load("", 2, 2)
}

#[test]
fn no_request_fails_during_deployments_with_threads() -> Result<()> {
    under_load(THREADS, 2, 0)
}

/// A release that is healthy in the trial and unhealthy when live: measures for how long visitors see it.
#[test]
fn a_release_unhealthy_only_when_live_is_served_for_seconds_only() -> Result<()> {
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
        "{wsgi}\nimport os\nif 'PULLPRAY_TRIAL' not in os.environ:\n    def application(environ, start_response):\n        start_response('500 Unhealthy', [])\n        return [b'']\n"
    );
    let ((), visited) = with_visitors(&web, || {
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
