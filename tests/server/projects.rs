//! Projects as other people's tools make them, with packages from a company's index.

use std::env;

use anyhow::{Result, ensure};

use crate::lab::{Access, GitHost, Lab, Output, Release, Repository, WebServer};

const INDEX: &str = "http://githost:8081";
const WHEELS: &str = "/srv/index";
pub const DJANGO: &str = "5.2.19";
/// sqlparse is installed only because Django depends on it. The second version is published later.
pub const OLD: &str = "0.5.3";
const NEW: &str = "0.6.1";
const TOOLS: [&str; 4] = ["uv", "poetry", "pipenv", "pdm"];

pub const MANAGE: &str = "import os\nimport sys\n\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', '@')\n\n\
    if __name__ == '__main__':\n    from django.core.management import execute_from_command_line\n    \
    execute_from_command_line(sys.argv)\n";
pub const WSGI: &str = "import os\n\nfrom django.core.wsgi import get_wsgi_application\n\n\
    os.environ.setdefault('DJANGO_SETTINGS_MODULE', '@')\napplication = get_wsgi_application()\n";
pub const BASE: &str = "import os\nfrom pathlib import Path\n\nBASE_DIR = Path(__file__).resolve().parent.parent\n\
    DEBUG = False\nSECRET_KEY = os.environ['SECRET_KEY']\nALLOWED_HOSTS = ['.example']\n\
    ROOT_URLCONF = 'config.urls'\nWSGI_APPLICATION = 'config.wsgi.application'\n\
    INSTALLED_APPS = ['django.contrib.contenttypes', 'django.contrib.staticfiles']\n\
    MIDDLEWARE = ['django.middleware.security.SecurityMiddleware']\nSTATIC_URL = '/static/'\n\
    DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': os.environ['DATABASE']}}\n";
/// The page says which Django and which sqlparse run, and with which settings.
pub const URLS: &str = "import os\n\nimport django\nimport sqlparse\nfrom django.http import HttpResponse\nfrom django.urls import path\n\n\n\
    def page(request):\n    settings = os.environ['DJANGO_SETTINGS_MODULE']\n    \
    return HttpResponse(f'Django {django.__version__}, sqlparse {sqlparse.__version__}, {settings}')\n\n\n\
    urlpatterns = [path('', page)]\n";

/// A worker says with which settings it runs.
const WORKER: &str = "import os\nimport time\n\nimport django\nfrom django.conf import settings\n\n\
    django.setup()\nwith open(os.environ['PULLPRAY_SHARED'] + '/worker', 'w') as file:\n    \
    file.write(f'{settings.SETTINGS_MODULE}, redirects to https: {settings.SECURE_SSL_REDIRECT}')\ntime.sleep(86400)\n";

/// A git host, which is the developer's machine as well and offers the company's index, and a web server that uses the
/// index.
pub struct Company {
    pub host: GitHost,
    pub web: WebServer,
}

impl Company {
    pub fn new(lab: &Lab, developers: &[&str], servers: &[&str]) -> Result<Self> {
        let (host, web) = lab.git_host_and_web_server(Release::Bookworm)?;
        let home = env::var("FRESH_HOME").unwrap_or_else(|_| "/var/tmp/fresh-server".to_owned());
        host.copy(&format!("{home}/wheels"), WHEELS)?;
        host.script("company-index", &[WHEELS, "8081"])?.ok()?;
        host.run(&format!(
            "mkdir {WHEELS}/later && mv {WHEELS}/web/simple/sqlparse/sqlparse-{NEW}-* {WHEELS}/later/"
        ))?
        .ok()?;
        for (server, tools) in [(&*host, developers), (&*web, servers)] {
            let all = [&[INDEX], tools].concat();
            server.script_within(300, "packaging-tools", &all)?.ok()?;
        }
        Ok(Self { host, web })
    }

    /// Publishes the security update.
    fn publish_update(&self) -> Result<()> {
        self.host
            .run(&format!(
                "mv {WHEELS}/later/* {WHEELS}/web/simple/sqlparse/"
            ))?
            .ok()?;
        Ok(())
    }

    /// A repository with these files only.
    pub fn repository(&self, name: &str, files: &[(&str, &str)]) -> Result<Repository> {
        let repo = self.host.repository(&format!("acme/{name}"))?;
        repo.run("git rm -rq .")?;
        repo.commit("First version", files)?;
        Ok(repo)
    }

    /// A repository of a project with one settings module; `commands` makes its dependency files, as the developer.
    fn project(&self, name: &str, files: &[(&str, &str)], commands: &str) -> Result<Repository> {
        let (manage, wsgi) = (
            MANAGE.replace('@', "config.settings"),
            WSGI.replace('@', "config.settings"),
        );
        let all = [
            &[
                ("manage.py", manage.as_str()),
                ("config/__init__.py", ""),
                ("config/settings.py", BASE),
                ("config/urls.py", URLS),
                ("config/wsgi.py", wsgi.as_str()),
            ],
            files,
        ]
        .concat();
        let repo = self.repository(name, &all)?;
        repo.run(commands)?;
        repo.run("git add -A; git commit -qm Lock; git push -q")?;
        Ok(repo)
    }

    /// Sets an app up: the key, its variables, nginx; then runs init for the second time, and returns what it printed.
    pub fn init(&self, repo: &Repository, app: &str, more: &str) -> Result<crate::lab::Unchecked> {
        let (host, web) = (&self.host, &self.web);
        let init = host.init(
            repo,
            &format!("--app {app} --schedule '0 0 1 1 *' --workers 2 --wait 0 --health-host {app}.example {more}"),
        )?;
        web.run(&init)?.exits(3)?;
        host.allow_key(repo, &web.deploy_key(app)?, Access::ReadOnly)?;
        web.run(&format!(
            "printf 'SECRET_KEY=for-tests-only\\nDATABASE=/var/www/projects/{app}/shared/db.sqlite3\\n' >>/etc/pullpray/{app}.env"
        ))?
        .ok()?;
        let bind = web
            .run(&format!(
                "grep -oP '^bind = \"\\K[^\"]+' /etc/pullpray/{app}.toml"
            ))?
            .ok()?;
        web.nginx_site(app, bind.stdout.trim())?;
        web.run_for(300, &init)
    }

    pub fn shows(&self, app: &str, text: &str) -> Result<()> {
        let page = self.web.page_of(&format!("{app}.example"), "/")?;
        ensure!(page.shows(text), "{app} does not show {text}: {page:#?}");
        Ok(())
    }

    pub fn poll(&self, app: &str) -> Result<Output> {
        self.web.run_for(300, &format!("pullpray poll {app}"))?.ok()
    }

    /// The developer updates the lock, and nothing else; the update arrives.
    fn updates(&self, repo: &Repository, app: &str, command: &str) -> Result<()> {
        repo.run(command)?;
        repo.run("git add -A; git commit -qm 'Update sqlparse'; git push -q")?;
        self.poll(app)?.says("\"Update sqlparse\" live after")?;
        self.shows(
            app,
            &format!("Django {DJANGO}, sqlparse {NEW}, config.settings"),
        )
    }
}

#[test]
fn projects_with_lock_files_go_live_and_receive_updates() -> Result<()> {
    let lab = Lab::new("locks")?;
    let company = Company::new(&lab, &TOOLS, &TOOLS)?;
    let needs = "requires-python = \">=3.11\"\ndependencies = [\"django>=5.2,<6\", \"gunicorn\"]";
    let project = format!("[project]\nname = \"site\"\nversion = \"1\"\n{needs}\n");
    let source = format!("name = \"company\"\nurl = \"{INDEX}/simple\"");
    let poetry = format!(
        "{project}\n[tool.poetry]\npackage-mode = false\n\n[[tool.poetry.source]]\n{source}\n"
    );
    let pipfile = format!(
        "[[source]]\n{source}\nverify_ssl = false\n\n[packages]\ndjango = \">=5.2,<6\"\ngunicorn = \"*\"\n"
    );
    let pdm = format!(
        "{project}\n[[tool.pdm.source]]\n{}\nverify_ssl = false\n",
        source.replace("company", "pypi")
    );
    let pipenv = "PIPENV_VENV_IN_PROJECT=1 pipenv lock -q; rm -r .venv";
    let pdm_with = |command: &str| {
        format!(
            "pdm use -q -f /usr/bin/python3; pdm {command}; rm -r .venv .pdm-python .python-version"
        )
    };
    let rows: [(&str, &str, &String, String, String); 4] = [
        (
            "uv",
            "pyproject.toml",
            &project,
            "uv lock -q".to_owned(),
            "uv lock -q --upgrade-package sqlparse".to_owned(),
        ),
        (
            "poetry",
            "pyproject.toml",
            &poetry,
            "poetry lock -q".to_owned(),
            "poetry update -q --lock sqlparse".to_owned(),
        ),
        (
            "pipenv",
            "Pipfile",
            &pipfile,
            pipenv.to_owned(),
            pipenv.to_owned(),
        ),
        (
            "pdm",
            "pyproject.toml",
            &pdm,
            pdm_with("lock -q"),
            pdm_with("update -q --no-sync sqlparse"),
        ),
    ];
    let with_index = |command: &str| format!("export UV_DEFAULT_INDEX={INDEX}/simple; {command}");
    let mut live = Vec::new();
    for (tool, file, content, lock, update) in &rows {
        let app = format!("{tool}site");
        let repo = company.project(&app, &[(file, content)], &with_index(lock))?;
        if *tool == "pdm" {
            // Without the tool, the lock is refused by name, with the way; nothing else is guessed.
            company.web.run("mv /usr/local/bin/pdm /root/")?.ok()?;
            company
                .init(&repo, &app, "")?
                .exits(1)?
                .says("pdm.lock")?
                .says("pdm export")?;
            company.web.run("mv /root/pdm /usr/local/bin/")?.ok()?;
            company.poll(&app)?;
        } else {
            company.init(&repo, &app, "")?.ok()?;
        }
        company.shows(
            &app,
            &format!("Django {DJANGO}, sqlparse {OLD}, config.settings"),
        )?;
        live.push((repo, app, update));
    }
    company.publish_update()?;
    for (repo, app, update) in live {
        company.updates(&repo, &app, &with_index(update))?;
    }
    Ok(())
}

/// `wagtail start`, with what its documentation asks to set for production.
#[test]
fn a_wagtail_start_goes_live_with_its_production_settings() -> Result<()> {
    let lab = Lab::new("wagtail")?;
    let company = Company::new(&lab, &["uv", "wagtail"], &[])?;
    let (host, web) = (&company.host, &company.web);
    let repo = company.repository("shop", &[("README", "")])?;
    repo.run("wagtail start shop . >/dev/null; git add -A; git commit -qm Start; git push -q")?;

    // Its settings for development are not what a server gets.
    let more = "--app shop --schedule '0 0 1 1 *' --workers 2 --wait 0 --health-host shop.example";
    let init = host.init(&repo, more)?;
    web.run(&init)?.exits(3)?;
    host.allow_key(&repo, &web.deploy_key("shop")?, Access::ReadOnly)?;
    web.run_for(300, &init)?
        .says("shop.settings.dev")?
        .says("DEBUG")?;
    web.run("test ! -e /var/www/projects/shop/current")?.ok()?;

    let production = "from .base import *\nimport os\n\nDEBUG = False\nSECRET_KEY = os.environ['SECRET_KEY']\n\
        ALLOWED_HOSTS = ['.example']\n";
    repo.commit(
        "Prepare production",
        &[
            ("shop/settings/production.py", production),
            // The newest Django needs a later Python than Debian 12's.
            ("requirements.txt", "Django>=5.2,<5.3\nwagtail>=8.0,<8.1\n"),
        ],
    )?;
    web.run("echo SECRET_KEY=for-tests-only >>/etc/pullpray/shop.env")?
        .ok()?;
    let bind = web
        .run("grep -oP '^bind = \"\\K[^\"]+' /etc/pullpray/shop.toml")?
        .ok()?;
    web.nginx_site("shop", bind.stdout.trim())?;
    let last = format!(
        "install -o gunicorn -g gunicorn -m 0664 /dev/null /var/www/projects/shop/shared/db.sqlite3; \
         {init} --settings shop.settings.production --shared-paths db.sqlite3,media/"
    );
    web.run_for(300, &last)?.ok()?;
    ensure!(
        web.page_of("shop.example", "/")?
            .shows("Welcome to your new Wagtail site")
    );
    ensure!(
        web.page_of("shop.example", "/admin/login/")?
            .shows("Sign in to Wagtail")
    );
    Ok(())
}

/// The layout of cookiecutter-django: settings as a package, of which manage.py names the local one and wsgi.py the
/// production one; requirements as a directory; redirects to https; whitenoise.
#[test]
fn a_cookiecutter_layout_goes_live_with_its_production_settings() -> Result<()> {
    let lab = Lab::new("cookie")?;
    let company = Company::new(&lab, &[], &[])?;
    let (manage, wsgi) = (
        MANAGE.replace('@', "config.settings.local"),
        WSGI.replace('@', "config.settings.production"),
    );
    let base = BASE.replace("parent.parent", "parent.parent.parent");
    let local = "from .base import *\n\nDEBUG = True\n";
    let production = "from .base import *\n\nSECURE_SSL_REDIRECT = True\n\
        SECURE_PROXY_SSL_HEADER = ('HTTP_X_FORWARDED_PROTO', 'https')\n\
        STATIC_ROOT = str(BASE_DIR / 'staticfiles')\nMIDDLEWARE += ['whitenoise.middleware.WhiteNoiseMiddleware']\n\
        STORAGES = {'default': {'BACKEND': 'django.core.files.storage.FileSystemStorage'}, \
        'staticfiles': {'BACKEND': 'whitenoise.storage.CompressedManifestStaticFilesStorage'}}\n";
    let requirements =
        |sqlparse: &str| format!("-r base.txt\ngunicorn\nwhitenoise\nsqlparse=={sqlparse}\n");
    let files = [
        ("manage.py", manage.as_str()),
        ("config/__init__.py", ""),
        ("config/settings/__init__.py", ""),
        ("config/settings/base.py", &base),
        ("config/settings/local.py", local),
        ("config/settings/production.py", production),
        ("config/urls.py", URLS),
        ("config/wsgi.py", &wsgi),
        ("config/worker.py", WORKER),
        (
            "Procfile",
            "web: gunicorn config.wsgi:application\nworker: python -m config.worker\n",
        ),
        ("static/css/site.css", "body { color: black }\n"),
        ("requirements/base.txt", "django>=5.2,<6\n"),
        ("requirements/local.txt", "-r base.txt\nno-such-package\n"),
        ("requirements/production.txt", &requirements(OLD)),
    ];
    let repo = company.repository("cookie", &files)?;
    company.init(&repo, "cookie", "--processes worker")?.ok()?;
    company
        .web
        .run("cat /var/www/projects/cookie/shared/worker")?
        .ok()?
        .says("config.settings.production, redirects to https: True")?;
    let over_https = |text: &str| -> Result<()> {
        let page = company.web.run("curl -s -H 'Host: cookie.example' -H 'X-Forwarded-Proto: https' http://$(grep -oP '^bind = \"\\K[^\"]+' /etc/pullpray/cookie.toml)/")?.ok()?;
        ensure!(page.stdout.contains(text), "{page:?} does not show {text}");
        Ok(())
    };
    over_https(&format!(
        "Django {DJANGO}, sqlparse {OLD}, config.settings.production"
    ))?;

    // A page that fails behind the redirect is not healthy.
    repo.commit(
        "Break",
        &[(
            "config/urls.py",
            &URLS.replace("return ", "return 1 / 0 or "),
        )],
    )?;
    company
        .web
        .run_for(300, "pullpray poll cookie")?
        .exits(1)?
        .says("500")?;
    over_https(&format!("sqlparse {OLD}"))?;

    company.publish_update()?;
    repo.commit(
        "Update sqlparse",
        &[
            ("config/urls.py", URLS),
            ("requirements/production.txt", &requirements(NEW)),
        ],
    )?;
    company
        .poll("cookie")?
        .says("\"Update sqlparse\" live after")?;
    over_https(&format!(
        "Django {DJANGO}, sqlparse {NEW}, config.settings.production"
    ))
}
