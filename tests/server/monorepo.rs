//! One repository, two apps.

use anyhow::{Result, ensure};

use crate::lab::{Lab, Output, Repository};
use crate::projects::{BASE, Company, DJANGO, MANAGE, OLD, URLS, WSGI};

/// One repository with two projects, each an app of its own: Django in backend/, found there, and Flask in api/, with what
/// the line web of a Procfile says. A push that changes only one of them deploys only that.
#[test]
fn two_apps_of_one_repository_go_live_and_follow_their_own_paths() -> Result<()> {
    let lab = Lab::new("mono")?;
    let company = Company::new(&lab, &[], &[])?;
    let (host, web) = (&company.host, &company.web);
    let (manage, wsgi) = (
        MANAGE.replace('@', "config.settings"),
        WSGI.replace('@', "config.settings"),
    );
    let requirements = format!("django=={DJANGO}\nsqlparse=={OLD}\ngunicorn\n");
    let flask = "import os\n\nfrom flask import Flask\n\n\ndef create_app():\n    app = Flask(__name__)\n    \
        app.add_url_rule('/', view_func=lambda: f\"flask one, {os.environ['GREETING']}\")\n    return app\n";
    let repo = company.repository(
        "mono",
        &[
            ("README", "two projects\n"),
            ("backend/manage.py", manage.as_str()),
            ("backend/config/__init__.py", ""),
            ("backend/config/settings.py", BASE),
            ("backend/config/urls.py", URLS),
            ("backend/config/wsgi.py", wsgi.as_str()),
            ("backend/requirements.txt", requirements.as_str()),
            (
                "backend/Procfile",
                "web: gunicorn config.wsgi --bind 0.0.0.0:$PORT --threads 2\n",
            ),
            ("api/service.py", flask),
            ("api/requirements.txt", "flask\ngunicorn\n"),
            (
                "api/Procfile",
                "web: GREETING=hello gunicorn 'service:create_app()'\n",
            ),
        ],
    )?;
    company
        .init(&repo, "backend", "")?
        .ok()?
        .says("in backend, which has manage.py")?;
    company
        .init(&repo, "api", "--subdir api --wsgi service:create_app")?
        .ok()?;
    company.shows(
        "backend",
        &format!("Django {DJANGO}, sqlparse {OLD}, config.settings"),
    )?;
    company.shows("api", "flask one, hello")?;
    web.run("ps -o args= -u gunicorn | grep -q 'gunicorn config.wsgi --bind 0.0.0.0:8000 --threads 2' && ! ss -ltn | grep -q '0.0.0.0:8000'")?
        .ok()?;
    for app in ["backend", "api"] {
        web.run(&format!(
            "echo 'paths = [\"{app}/\"]' >>/etc/pullpray/{app}.toml && pullpray init {app} --yes"
        ))?
        .ok()?;
    }
    // Only the one whose files changed.
    repo.commit(
        "Answer two",
        &[("api/service.py", &flask.replace("one", "two"))],
    )?;
    company.poll("api")?.says("\"Answer two\" live after")?;
    company.shows("api", "flask two, hello")?;
    company.poll("backend")?.silent()?;
    web.run("pullpray poll backend -v")?
        .ok()?
        .says("is not deployed: nothing changed below the paths of the settings")?;
    web.run("pullpray status backend --check")?
        .ok()?
        .says("skipped")?;
    // It is not fetched again, and a later commit brings both changes.
    let fetches = "journalctl -u ssh --no-pager | grep -c 'Accepted publickey' || true";
    let before = host.run(fetches)?.ok()?;
    company.poll("backend")?.silent()?;
    let after = host.run(fetches)?.ok()?;
    let number = |output: &Output| output.stdout.trim().parse::<u32>();
    ensure!(number(&after)? == number(&before)? + 1, "{after:?}");
    let urls = URLS.replace("return HttpResponse(f'", "return HttpResponse(f'two, ");
    repo.commit("Greet", &[("backend/config/urls.py", &urls)])?;
    company.poll("backend")?.says("\"Greet\" live after")?;
    company.shows("backend", &format!("two, Django {DJANGO}"))?;
    company.poll("api")?.silent()?;
    web.run("pullpray rollback backend && pullpray resume backend")?
        .ok()?;
    company.shows("backend", &format!("Django {DJANGO}"))?;

    // What was rolled back from does not return with an unrelated commit.
    repo.commit("Say more", &[("README", "two projects of ours\n")])?;
    company.poll("backend")?.silent()?;
    company.shows("backend", &format!("Django {DJANGO}"))?;
    // A mode is a change.
    repo.run("chmod +x api/service.py; git commit -qam Mode; git push -q")?;
    company.poll("api")?.says("\"Mode\" live after")?;
    company.poll("backend")?.silent()?;
    python_versions(&company, &repo, &requirements)?;

    refused(&company, &repo)?;
    company.shows("api", "flask two, hello")?;
    web.run("pullpray run backend -- python manage.py check && pullpray doctor --strict backend")?
        .ok()?;
    Ok(())
}

/// A newer Python than this server's is named before anything is built, and another one is found by its version.
fn python_versions(company: &Company, repo: &Repository, requirements: &str) -> Result<()> {
    let web = &company.web;
    repo.commit(
        "Ask for more",
        &[("backend/requirements.txt", "django~=6.0\ngunicorn\n")],
    )?;
    web.run("pullpray poll backend")?
        .exits(1)?
        .says("the project needs Python >=3.12 (Django 6.0 in requirements.txt), and /usr/bin/python3 is 3.11.2")?
        .says("sudo pullpray init backend --python VERSION")?;
    web.run("ls /var/www/projects/backend/releases | wc -l")?
        .ok()?
        .says("2")?;
    web.run("pullpray init backend --python 3.13 --yes")?
        .exits(1)?
        .says("there is no python3.13 on this server, nor below /opt/python")?;
    // As uv puts one there.
    web.run("mkdir -p /opt/python/cpython-3.13-linux-x86_64-gnu/bin && ln -s /usr/bin/python3.11 /opt/python/cpython-3.13-linux-x86_64-gnu/bin/python3.13 && pullpray init backend --python 3.13 --yes --wait 0; grep '^python' /etc/pullpray/backend.toml")?
        .ok()?
        .says("python = \"/opt/python/cpython-3.13-linux-x86_64-gnu/bin/python3.13\"")?;
    web.run("pullpray init backend --python 3.11 --yes --wait 0; grep '^python' /etc/pullpray/backend.toml")?
        .ok()?
        .says("python = \"/usr/bin/python3.11\"")?;
    repo.commit(
        "Ask for less",
        &[
            ("backend/requirements.txt", requirements),
            ("backend/NEWS", "news\n"),
        ],
    )?;
    company
        .poll("backend")?
        .says("\"Ask for less\" live after")?;
    Ok(())
}

/// Another server than gunicorn is refused by name, and so is a directory that is gone.
fn refused(company: &Company, repo: &Repository) -> Result<()> {
    let web = &company.web;
    repo.commit(
        "Serve otherwise",
        &[("api/Procfile", "web: waitress-serve service:app\n")],
    )?;
    web.run("pullpray poll api")?
        .exits(1)?
        .says("web in api/Procfile does not start gunicorn: waitress-serve service:app")?;
    repo.run("git mv api service; git commit -qm Move; git push -q")?;
    web.run("sed -i 's/^paths.*//' /etc/pullpray/api.toml; pullpray poll api")?
        .exits(1)?
        .says("the commit has no directory api, which the settings name as subdir")?;
    Ok(())
}
