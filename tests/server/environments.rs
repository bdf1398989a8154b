//! Virtual environments that are not what their names say: they lead into a release, or are broken.

use anyhow::{Result, ensure};

use crate::lab::{Lab, Release, Repository, Todo, WebServer};

const VIEWS: &str = include_str!("project/items/views.py");
const WHEELS: &str = "/srv/wheels";
const SETUP: &str = "from setuptools import setup\nsetup(name='greeting', version='1', package_dir={'': 'src'}, packages=['greeting'])\n";

/// todo live with a requirements.txt, which is installed from wheels alone; at `install` it installs itself.
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

/// A commit that changes only code goes live, and the page shows it.
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

/// An editable install over so many commits.
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

    // Not editable: a copy of the code, which is as old.
    repo.commit("copied", &[("requirements.txt", "Django\ngunicorn\n.\n")])?;
    web.run_for(300, "pullpray poll todo")?.ok()?;
    shows_each(&web, &repo, commits + 1)?;

    // Back is back to that one's code.
    web.run_for(300, "pullpray rollback todo")?
        .ok()?
        .says("is live again")?;
    ensure!(web.page("/")?.shows(&format!("with greeting {commits}")));
    web.run("pullpray resume todo")?.ok()?;
    shows_each(&web, &repo, commits + 2)
}

#[test]
fn an_editable_install_shows_each_commit_s_code() -> Result<()> {
    editable_over(2)
}
