//! A project with a requirements.txt gets its own environment, built once for each change of that file.

use anyhow::{Result, ensure};

use crate::lab::{Access, Lab, Output, Release, Todo, WebServer};

const VIEWS: &str = include_str!("project/items/views.py");
const WHEELS: &str = "/srv/wheels";

/// The existing environments: pyvenv.cfg with its inode and change time.
fn environments(web: &WebServer) -> Result<Vec<String>> {
    let out =
        web.run("cd /var/www/projects/todo/venvs && stat -c '%n %i %Z' */pyvenv.cfg | sort")?;
    Ok(out.ok()?.stdout.lines().map(str::to_owned).collect())
}

/// Hides all wheels during `work`, so that any run of pip fails.
fn without_wheels<T>(web: &WebServer, work: impl FnOnce() -> Result<T>) -> Result<T> {
    web.run(&format!("mv {WHEELS} {WHEELS}.away"))?.ok()?;
    let done = work();
    web.run(&format!("mv {WHEELS}.away {WHEELS}"))?.ok()?;
    done
}

fn poll(web: &WebServer, status: i32) -> Result<Output> {
    web.run_for(300, "pullpray poll todo")?.exits(status)
}

#[test]
fn bookworm_builds_an_environment_for_each_change_of_requirements() -> Result<()> {
    builds_an_environment_for_each_change(Release::Bookworm)
}

#[test]
fn trixie_builds_an_environment_for_each_change_of_requirements() -> Result<()> {
    builds_an_environment_for_each_change(Release::Trixie)
}

fn builds_an_environment_for_each_change(release: Release) -> Result<()> {
    let lab = Lab::new("venvs")?;
    let todo = Todo::before_init(&lab, release)?;
    let (repo, web) = (&todo.repo, &todo.web);
    web.script("wheels", &[WHEELS])?.ok()?;
    for (version, text) in [("1.0", "greeting one"), ("2.0", "greeting two")] {
        web.script("wheels", &[WHEELS, "greeting", version, text])?
            .ok()?;
    }
    let greeted = VIEWS.replace(".strip()", ".strip() + \" with \" + greeting.TEXT");
    let views = format!("import greeting\n{greeted}");
    let requirements = |greeting: &str| format!("Django\ngunicorn\ngreeting=={greeting}\n");
    repo.commit(
        "Require",
        &[
            ("items/views.py", &views),
            ("requirements.txt", &requirements("1.0")),
        ],
    )?;

    // The first deployment builds it from wheels; it does not see the server's own packages.
    let init = todo.init("--schedule '0 0 1 1 *'")?;
    web.run(&init)?.exits(3)?;
    todo.host
        .allow_key(repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    web.run(&format!(
        "printf 'PIP_NO_INDEX=1\\nPIP_FIND_LINKS={WHEELS}\\n' >>/etc/pullpray/todo.env"
    ))?
    .ok()?;
    web.run_for(300, &init)?.ok()?;
    ensure!(web.page("/")?.shows("version one with greeting one"));
    let first = environments(web)?;
    ensure!(
        first.len() == 1 && !first[0].contains("system"),
        "{first:?}"
    );
    web.run("cd /var/www/projects/todo && grep -qx 'include-system-site-packages = false' current/.venv/pyvenv.cfg && current/.venv/bin/python -c 'import django, gunicorn; print(django.__file__, gunicorn.__file__)' | grep -c /usr/lib")?
        .exits(1)?;

    // Unchanged requirements: the environment is reused.
    repo.push("version two")?;
    without_wheels(web, || poll(web, 0))?.says("\"version two\" live after")?;
    ensure!(web.page("/")?.shows("version two with greeting one"));
    ensure!(environments(web)? == first, "the same one");

    // Changed requirements: a new environment; the old one stays as long as a release uses it.
    web.run("sed -i 's/^keep = .*/keep = 2/' /etc/pullpray/todo.toml && grep -qx 'keep = 2' /etc/pullpray/todo.toml")?
        .ok()?;
    repo.commit("Greet anew", &[("requirements.txt", &requirements("2.0"))])?;
    poll(web, 0)?.says("\"Greet anew\" live after")?;
    ensure!(web.page("/")?.shows("version two with greeting two"));
    let both = environments(web)?;
    ensure!(both.len() == 2 && both.contains(&first[0]), "{both:?}");
    repo.push("version three")?;
    without_wheels(web, || poll(web, 0))?;
    let second = environments(web)?;
    ensure!(
        second.len() == 1 && both.contains(&second[0]) && second != first,
        "{second:?}"
    );

    // A missing package fails the deployment with pip's message; the live release stays.
    repo.commit(
        "Require too much",
        &[("requirements.txt", "Django\ngunicorn\nno-such-package==1\n")],
    )?;
    poll(web, 1)?
        .says("\"Require too much\" failed: the deploy script exited with status 1")?
        .says("  | ERROR: No matching distribution found for no-such-package==1\n")?
        .says("is still live")?;
    ensure!(web.page("/")?.shows("version three with greeting two"));

    // Back to the previous requirements: their environment still exists, and the incomplete one is removed.
    repo.commit(
        "Require less",
        &[("requirements.txt", &requirements("2.0"))],
    )?;
    without_wheels(web, || poll(web, 0))?.says("\"Require less\" live after")?;
    ensure!(web.page("/")?.shows("version three with greeting two"));
    ensure!(
        environments(web)? == second,
        "the incomplete environment was removed"
    );
    ensure!(
        web.run("ls /var/www/projects/todo/venvs | wc -l")?
            .ok()?
            .stdout
            == "1\n",
        "the incomplete environment was removed"
    );
    Ok(())
}
