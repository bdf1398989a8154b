//! A project with a requirements.txt: an environment of its own, made once for each change of that file.

use anyhow::{Result, ensure};

use crate::lab::{Access, Lab, Output, Release, Todo, WebServer};

const VIEWS: &str = include_str!("project/items/views.py");
const WHEELS: &str = "/srv/wheels";

/// The environments that are there: name, and the inode and time of the file that begins each.
fn environments(web: &WebServer) -> Result<Vec<String>> {
    let out =
        web.run("cd /var/www/projects/todo/venvs && stat -c '%n %i %Z' */pyvenv.cfg | sort")?;
    Ok(out.ok()?.stdout.lines().map(str::to_owned).collect())
}

/// While `work` goes on no wheel can be had: whoever runs pip fails.
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

    // The first deployment makes it, from wheels alone: of the server's own packages it sees none.
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

    // Nothing required has changed: it is used as it is.
    repo.push("version two")?;
    without_wheels(web, || poll(web, 0))?.says("\"version two\" live after")?;
    ensure!(web.page("/")?.shows("version two with greeting one"));
    ensure!(environments(web)? == first, "the same one");

    // Something has: another one is made, and the one before stays as long as a release uses it.
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

    // What cannot be had ends the deployment, in pip's own words; what is live stays.
    repo.commit(
        "Require too much",
        &[("requirements.txt", "Django\ngunicorn\nno-such-package==1\n")],
    )?;
    poll(web, 1)?
        .says("\"Require too much\" failed: the deploy script ended with 1")?
        .says("  | ERROR: No matching distribution found for no-such-package==1\n")?
        .says("is still live")?;
    ensure!(web.page("/")?.shows("version three with greeting two"));

    // Back to what was required before: what was made for it is still there, and nothing else is.
    repo.commit(
        "Require less",
        &[("requirements.txt", &requirements("2.0"))],
    )?;
    without_wheels(web, || poll(web, 0))?.says("\"Require less\" live after")?;
    ensure!(web.page("/")?.shows("version three with greeting two"));
    ensure!(environments(web)? == second, "the half one is gone");
    ensure!(
        web.run("ls /var/www/projects/todo/venvs | wc -l")?
            .ok()?
            .stdout
            == "1\n",
        "the half one is gone"
    );
    Ok(())
}
