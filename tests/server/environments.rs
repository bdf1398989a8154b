//! Virtual environments that point into a release, or are broken.

use anyhow::{Result, ensure};

use crate::lab::{Lab, Release, Repository, Todo, WebServer};

const VIEWS: &str = include_str!("project/items/views.py");
const WHEELS: &str = "/srv/wheels";
const SETUP: &str = "from setuptools import setup\nsetup(name='greeting', version='1', package_dir={'': 'src'}, packages=['greeting'])\n";

/// todo live with a requirements.txt, installed from local wheels; the line `install` installs the project itself.
fn live_with_requirements(lab: &Lab, install: &str) -> Result<Todo> {
    let todo = Todo::live(lab, Release::Bookworm)?;
    let (repo, web) = (&todo.repo, &todo.web);
    web.script("wheels", &[WHEELS])?.ok()?;
    web.run(&format!(
        "printf 'PIP_NO_INDEX=1\\nPIP_FIND_LINKS={WHEELS}\\n' >>/etc/pullpray/todo.env; \
         sed -i 's/^keep = .*/keep = 2/; s/^health_timeout = .*/health_timeout = 8/' /etc/pullpray/todo.toml"
    ))?
    .ok()?;
    let greeted = VIEWS.replace(".strip()", ".strip() + \" with \" + greeting.TEXT");
    repo.commit(
        "greeting 0",
        &[
            ("items/views.py", &format!("import greeting\n{greeted}")),
            ("requirements.txt", &format!("Django\ngunicorn\n{install}")),
            ("setup.py", SETUP),
            ("src/greeting/__init__.py", "TEXT = 'greeting 0'\n"),
        ],
    )?;
    web.run_for(300, "pullpray poll todo")?.ok()?;
    ensure!(web.page("/")?.shows("version one with greeting 0"));
    Ok(todo)
}

/// Deploys a commit that changes only code, and checks that the page shows it.
fn shows_each(web: &WebServer, repo: &Repository, number: usize) -> Result<()> {
    let text = format!("greeting {number}");
    let code = format!("TEXT = '{text}'\n");
    repo.commit(&text, &[("src/greeting/__init__.py", &code)])?;
    web.run_for(300, "pullpray poll todo")?
        .ok()?
        .says(&format!("\"{text}\" live after"))?;
    let page = web.page("/")?;
    ensure!(page.shows(&format!("with {text}")), "{text}: {page:#?}");
    Ok(())
}

/// Deploys this many commits with an editable install.
pub fn editable_over(commits: usize) -> Result<()> {
    let lab = Lab::new("edit")?;
    let Todo {
        repo,
        web,
        host: _host,
    } = live_with_requirements(&lab, "-e .\n")?;
    for number in 1..=commits {
        shows_each(&web, &repo, number)?;
    }
    for dir in ["releases", "venvs"] {
        let count = web.run(&format!("ls /var/www/projects/todo/{dir} | wc -l"))?;
        ensure!(count.ok()?.stdout == "2\n", "{dir} are pruned");
    }
    web.run("systemctl restart gunicorn.todo.service")?.ok()?;
    ensure!(web.page("/")?.shows(&format!("with greeting {commits}")));

    // A non-editable install copies the code, which could become outdated too.
    repo.commit("copied", &[("requirements.txt", "Django\ngunicorn\n.\n")])?;
    web.run_for(300, "pullpray poll todo")?.ok()?;
    shows_each(&web, &repo, commits + 1)?;

    // A rollback restores the code of that release.
    web.run_for(300, "pullpray rollback todo")?
        .ok()?
        .says("is live again")?;
    ensure!(web.page("/")?.shows(&format!("with greeting {commits}")));
    web.run("pullpray resume todo && pullpray retry todo")?
        .ok()?;
    shows_each(&web, &repo, commits + 2)
}

#[test]
fn an_editable_install_shows_each_commit_s_code() -> Result<()> {
    editable_over(2)
}

const BREAK: &str = "rm -rf /var/www/projects/todo/venvs/*/bin";
const DOWN: &str = "systemctl restart gunicorn.todo.service; for n in $(seq 100); do \
    curl -sf -m 1 -o /dev/null -H 'Host: localhost' http://127.0.0.1:8000/ || exit 0; sleep 0.1; done; exit 9";

/// The site works and follows the branch.
fn follows(web: &WebServer, repo: &Repository, version: &str) -> Result<()> {
    web.wait_for_page("/", "version", 5)?;
    repo.push(version)?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    ensure!(web.page("/")?.shows(version));
    web.run("pullpray doctor todo --offline --strict")?.ok()?;
    web.run("pullpray poll todo")?.ok()?.silent()?;
    Ok(())
}

#[test]
fn a_broken_environment_is_found_and_rebuilt() -> Result<()> {
    let lab = Lab::new("broken")?;
    let Todo { repo, web, host } = Todo::live(&lab, Release::Bookworm)?;
    web.run("sed -i 's/^health_timeout = .*/health_timeout = 5/' /etc/pullpray/todo.toml")?
        .ok()?;
    // A poll checks a service that has been running for some minutes without starting a process.
    web.run("touch -h -d '10 minutes ago' /run/systemd/units/invocation:gunicorn.todo.service")?
        .ok()?;
    web.run("strace -f -e trace=execve -o /root/trace pullpray poll todo")?
        .ok()?
        .silent()?;
    web.run("grep -E 'systemctl|python' /root/trace")?
        .exits(1)?;

    // It crashes again and again, and systemd reports each attempt as running until the import fails.
    web.run(
        "set -e; cd /var/www/projects/todo/current; printf 'import time; time.sleep(3); raise RuntimeError\\n' >todo/wsgi.py; \
         systemctl restart gunicorn.todo.service; \
         until systemctl show -P SubState -P NRestarts gunicorn.todo.service | tr '\\n' ' ' | grep -E 'running [1-9]|[1-9][0-9]* running'; do sleep 0.1; done"
    )?
    .ok()?;
    web.run_for(120, "pullpray poll todo")?
        .ok()?
        .says("gunicorn.todo.service crashed and is unhealthy, and after a restart: ")?
        .says("deploying its commit again")?;
    ensure!(web.page("/")?.shows("version one"));

    // The service is down and cannot start again by itself.
    web.run(&format!("{BREAK}; {DOWN}"))?.ok()?;
    web.run("pullpray doctor todo --offline")?
        .exits(1)?
        .says("cannot run in its virtual environment: /var/www/projects/todo/venvs/")?;
    web.run("pullpray poll todo")?
        .ok()?
        .says("deploying its commit again")?
        .says("live after")?;
    follows(&web, &repo, "version two")?;

    // Each of these commands restores it.
    for (number, cure) in [
        "pullpray doctor todo --fix --yes --offline",
        "pullpray init todo --yes",
        "pullpray poll todo --now",
        "pullpray redeploy todo",
    ]
    .iter()
    .enumerate()
    {
        web.run(&format!("{BREAK}; {DOWN}"))?.ok()?;
        web.run(cure)?.ok()?;
        follows(&web, &repo, &format!("version by {number}"))?;
    }
    // The service runs until its next start; neither the next deployment nor a rollback relies on the environment.
    web.run(BREAK)?.ok()?;
    repo.push("version three")?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    ensure!(web.page("/")?.shows("version three"));
    web.run("pullpray rollback todo")?
        .ok()?
        .says("is live again")?;
    ensure!(web.page("/")?.shows("version by 3"));
    web.run("pullpray resume todo")?.ok()?;
    follows(&web, &repo, "version four")?;

    // A poll starts a stopped service, but not while deployments are paused.
    web.run("systemctl stop gunicorn.todo.service gunicorn.todo.socket")?
        .ok()?;
    web.run(
        "pullpray pause todo && pullpray poll todo && systemctl is-active gunicorn.todo.service",
    )?
    .exits(3)?;
    web.run("pullpray resume todo")?.ok()?;
    web.run("pullpray poll todo")?
        .ok()?
        .says("gunicorn.todo.service had stopped; restored ")?
        .says("\"version four\"")?;
    follows(&web, &repo, "version five")?;

    // A redeployment that fails is not retried without end; the first failure is reported.
    let script = "/opt/git_pollers/todo/deploy.sh";
    web.run(&format!(
        "cp -a {script} /root/script; sed -i '2i exit 7' {script}; {BREAK}; {DOWN}"
    ))?
    .ok()?;
    web.run("pullpray poll todo")?
        .exits(4)?
        .says("COULD NOT BE RESTORED")?;
    web.run("pullpray poll todo")?.ok()?.silent()?;
    web.run(&format!("cp -a /root/script {script}; pullpray poll todo"))?
        .ok()?
        .says("live after")?;
    follows(&web, &repo, "version six")?;

    // The live release is lost while the newest commit waits after a failure: it is redeployed at once, without the git host.
    repo.commit("Break", &[("todo/settings.py", "def (")])?;
    web.run("pullpray poll todo")?
        .exits(1)?
        .says("is still live")?;
    for cure in [
        "pullpray poll todo",
        "pullpray doctor todo --fix --yes --offline",
        "pullpray init todo --yes",
    ] {
        web.run("rm -rf /var/www/projects/todo/releases/*")?.ok()?;
        web.run("pullpray doctor todo --offline --only app.release")?
            .exits(1)?
            .says(" does not exist")?;
        web.run(cure)?.ok()?;
        ensure!(web.page("/")?.shows("version six"), "{cure}");
    }
    host.stop_sshd()?;
    web.run("rm -rf /var/www/projects/todo/releases/*; pullpray poll todo")?
        .exits(3)?
        .says("live after")?;
    ensure!(web.page("/")?.shows("version six"));
    host.start_sshd()?;
    repo.run("git revert -n HEAD && git commit -qm 'Fix' && git push -q")?;
    web.run("pullpray poll todo")?
        .ok()?
        .says("\"Fix\" live after")?;
    follows(&web, &repo, "version seven")
}
