//! The wizard, key by key.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::lab::{Access, Lab, Release, Terminal, Todo, differences, key};

/// Gives an invalid answer, reads the reason, and clears the input.
pub fn is_refused(person: &mut Terminal, question: &str, answer: &str, why: &str) -> Result<()> {
    person.answers(question, answer)?;
    person.reads(why)?;
    // Waits for the repeated question: before that, the terminal itself would handle Ctrl-U.
    person.sees(answer)?;
    // It is written a moment before the terminal becomes raw.
    std::thread::sleep(Duration::from_millis(300));
    person.presses(key::CTRL_U)
}

#[test]
fn the_wizard_and_flags_set_up_identical_servers() -> Result<()> {
    let lab = Lab::new("wizard")?;
    let todo = Todo::before_init(&lab, Release::Bookworm)?;
    let Todo { host, repo, web } = &todo;
    let mut person = web.terminal("NO_COLOR=1 pullpray init")?;
    person.patience(Duration::from_secs(90));

    person.sees("pullpray: continuous delivery")?;
    person.reads("never touches your own ssh keys")?;
    is_refused(
        &mut person,
        "Repository to deploy",
        "https://githost/acme/todo",
        "a deploy key works over ssh only",
    )?;
    person.types(&repo.url())?;
    person.reads(&host.fingerprint()?)?;
    person.sees("Is this the correct key?")?;
    person.presses("y")?;
    person.presses(key::ENTER)?;
    is_refused(&mut person, "Branch", "a b", "branch")?;
    person.presses(key::ENTER)?;
    is_refused(&mut person, "Name of the app", "../etc", "name")?;
    person.presses(key::ENTER)?;
    for question in [
        "WSGI module",
        "Account it runs as",
        "Group of the hosted apps",
    ] {
        person.answers(question, "")?;
    }
    is_refused(
        &mut person,
        "Your login",
        "nobody-here",
        "there is no user nobody-here",
    )?;
    person.types("none")?;
    for question in [
        "App directory",
        "Static files directory",
        "Persistent files",
    ] {
        person.answers(question, "")?;
    }
    is_refused(
        &mut person,
        "Listen address",
        "127.0.0.1:80",
        "port 80 is already in use",
    )?;
    person.presses(key::ENTER)?;
    person.answers("Health check path", "")?;
    person.answers("Hostname for the health check", "")?;
    person.answers("Poll every", "30")?;
    is_refused(
        &mut person,
        "Report failures to",
        "http://chat/s3cret",
        "would be sent without encryption",
    )?;
    person.answers("Report failures to", "ops@example.org")?;

    person.reads("Plan:")?;
    person.reads("/etc/sudoers.d/pullpray-todo 0440 root")?;
    person.reads("Go on? arrow keys, then Enter")?;
    ensure!(web.run("getent passwd gunicorn")?.status == 2, "not yet");
    person.presses(&[key::DOWN, key::DOWN, key::ENTER].concat())?;
    person.reads("Which answer?")?;
    person.sees("Report failures to")?;
    person.presses(&[key::UP, key::UP, key::ENTER].concat())?;
    person.answers("[30]", "0 0 1 1 *")?;
    person.reads("Go on? arrow keys, then Enter")?;
    person.presses(&[key::DOWN, key::ENTER].concat())?;
    person.reads("+0 0 1 1 * gunicorn /usr/local/bin/pullpray poll todo")?;
    person.sees("Go on?")?;
    person.presses(key::ENTER)?;

    person.reads("Add this key to acme/todo on githost")?;
    person.reads("retrying every 5 s")?;
    let key = web.deploy_key("todo")?;
    host.allow_key(repo, &key, Access::ReadOnly)?;
    person.reads("githost refuses to let it push")?;
    person.reads("todo is live at")?;
    person.reads("sudo apt-get install msmtp-mta")?;
    person.reads("mailto:ops@example.org: FAILED: /usr/sbin/sendmail is not installed")?;
    let (status, seen) = person.ends()?;
    ensure!(status == 0, "{seen}");
    ensure!(seen.contains(key.trim()), "complete, on one line: {seen}");
    ensure!(web.page("/")?.shows("version one"));

    let other = lab.web_server(Release::Bookworm)?;
    let init = todo.init("--schedule '0 0 1 1 *' --notify ops@example.org")?;
    other.run(&init)?.exits(3)?;
    host.allow_key(repo, &other.deploy_key("todo")?, Access::ReadOnly)?;
    other.run(&init)?.ok()?;
    let differs = differences(&other.created()?, &web.created()?);
    ensure!(differs.is_empty(), "flags -, wizard +: {differs:#?}");
    Ok(())
}

#[test]
fn a_host_key_that_is_not_confirmed_changes_nothing() -> Result<()> {
    let lab = Lab::new("confirm")?;
    let Todo {
        host: _host,
        repo,
        web,
    } = Todo::before_init(&lab, Release::Bookworm)?;
    let mut person = web.terminal("pullpray init")?;
    person.answers("Repository to deploy", &repo.url())?;
    // Asked again, until the person stops.
    for _ in 0..2 {
        person.sees("Is this the correct key?")?;
        person.presses(key::ENTER)?;
        person.sees("How to go on?")?;
        person.presses(key::ENTER)?;
    }
    person.sees("Is this the correct key?")?;
    person.presses(key::ENTER)?;
    person.sees("How to go on?")?;
    person.presses(&[key::UP, key::ENTER].concat())?;
    let (status, seen) = person.ends()?;
    ensure!(status == 1 && seen.contains("was not confirmed"), "{seen}");
    web.run("ls -d /etc/pullpray /var/lib/pullpray /opt/git_pollers")?
        .exits(2)?;
    Ok(())
}

#[test]
fn a_missing_branch_is_chosen_and_a_cut_cable_is_waited_for() -> Result<()> {
    let lab = Lab::new("asks")?;
    let Todo { host, repo, web } = Todo::before_init(&lab, Release::Bookworm)?;
    let init = host.init(&repo, "--branch nonsense --schedule '0 0 1 1 *'")?;
    let mut person = web.terminal(&format!("NO_COLOR=1 {}", init.replace(" --yes", "")))?;
    person.patience(Duration::from_secs(90));
    for question in [
        "Name of the app",
        "WSGI module",
        "Account it runs as",
        "Group of the hosted apps",
        "Your login",
        "App directory",
        "Static files directory",
        "Persistent files",
        "Listen address",
        "Health check path",
        "Hostname for the health check",
        "Report failures to",
    ] {
        person.answers(question, "")?;
    }
    person.sees("Go on?")?;
    person.presses(key::ENTER)?;
    person.reads("retrying every 5 s")?;
    web.cut_cable()?;
    person.reads("could not reach githost")?;
    web.plug_cable()?;
    host.allow_key(&repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    person.reads("has no branch nonsense. Branch to deploy arrow keys, then Enter")?;
    person.presses(key::ENTER)?;
    person.reads("todo is live at")?;
    let (status, seen) = person.ends()?;
    ensure!(status == 0, "{seen}");
    web.run("grep -x 'branch = \"main\"' /etc/pullpray/todo.toml")?
        .ok()?;
    repo.push("version two")?;
    web.run("pullpray poll todo")?.ok()?;
    ensure!(web.page("/")?.shows("version two"));
    Ok(())
}

#[test]
fn a_stock_project_goes_live_with_recommended_answers() -> Result<()> {
    let lab = Lab::new("stock")?;
    let Todo { host, repo, web } = Todo::before_init(&lab, Release::Bookworm)?;
    web.run("cd /srv && django-admin startproject todo && sed -i \"s/^ALLOWED_HOSTS = .*/ALLOWED_HOSTS = ['www.example.org']/\" todo/todo/settings.py")?
        .ok()?;
    repo.run("git rm -qr . && mkdir -p todo")?;
    let names = [
        "manage.py",
        "todo/__init__.py",
        "todo/settings.py",
        "todo/urls.py",
        "todo/wsgi.py",
    ];
    let mut files = Vec::new();
    for name in names {
        files.push((name, web.read(&format!("/srv/todo/{name}"))?));
    }
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    repo.commit("django-admin startproject", &files)?;
    let init = host.init(&repo, "--app todo --schedule '0 0 1 1 *'")?;
    web.run(&init)?.exits(3)?;
    host.allow_key(&repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    web.run(&init)?
        .exits(1)?
        .says("todo.settings has DEBUG = True")?
        .says("sudo pullpray init todo --allow-debug")?;
    web.run("ls /var/www/projects/todo/current")?.exits(2)?;

    web.run("pullpray init todo --yes --allow-debug")?
        .ok()?
        .says("www.example.org, from ALLOWED_HOSTS of todo.settings")?
        .says("/var/www/projects/todo/shared/db.sqlite3, kept between releases")?
        .says("todo is live at")?;
    ensure!(web.page_of("www.example.org", "/")?.status == 200);
    web.run("test -s /var/www/projects/todo/shared/db.sqlite3 && stat -c %U /var/www/projects/todo/shared/db.sqlite3")?
        .ok()?
        .says("gunicorn")?;
    web.run("pullpray init todo --yes")?
        .ok()?
        .says("nothing to change")?;
    Ok(())
}

#[test]
fn a_narrow_terminal_breaks_nothing() -> Result<()> {
    let lab = Lab::new("narrow")?;
    let Todo { host, repo, web } = Todo::before_init(&lab, Release::Trixie)?;
    let mut person = web.terminal("stty cols 40 rows 24; pullpray init")?;
    person.patience(Duration::from_secs(90));
    person.reads("Repository to deploy")?;
    person.types(&repo.url())?;
    person.reads("Is this the correct key?")?;
    person.presses("y")?;
    person.presses(key::ENTER)?;
    for question in [
        "Branch",
        "Name of the app",
        "WSGI module",
        "Account it runs as",
        "Group of the hosted apps",
        "Your login",
        "App directory",
        "Static files directory",
        "Persistent files",
        "Listen address",
        "Health check path",
        "Hostname for the health check",
        "Poll every … minutes",
        "Report failures to",
    ] {
        person.reads(question)?;
        person.presses(key::ENTER)?;
    }
    person.reads("Go on?")?;
    person.presses(key::ENTER)?;
    person.reads("retrying every 5 s")?;
    host.allow_key(&repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    person.reads("todo is live at")?;
    ensure!(person.ends()?.0 == 0);
    ensure!(web.page("/")?.shows("version one"));
    Ok(())
}

#[test]
fn an_address_of_another_app_is_proposed_without_its_secret() -> Result<()> {
    let lab = Lab::new("proposed")?;
    let Todo { host, repo, web } = Todo::before_init(&lab, Release::Bookworm)?;
    web.write(
        "/etc/pullpray/other.toml",
        "format = 1\nnotify = [\"https://chat.example.org/s3cret\"]\n",
    )?;
    let flags = "--app todo --branch main --bind 8000 --health-path / --health-host localhost --wsgi todo.wsgi --user gunicorn --group gunicorn --operator '' --project-dir /var/www/projects/todo --static-dir /www/static/todo --shared-paths '' --schedule 5";
    let init = host.init(&repo, flags)?.replace(" --yes", "");
    let mut person = web.terminal(&format!("NO_COLOR=1 {init}"))?;
    person.answers("[https://chat.example.org/…]", "")?;
    person.reads("Go on?")?;
    person.presses(&[key::DOWN, key::ENTER].concat())?;
    person.reads("+notify = [\"https://chat.example.org/…\"]")?;
    person.sees("Go on?")?;
    person.presses(key::ENTER)?;
    person.reads("retrying every 5 s")?;
    person.presses(key::CTRL_C)?;
    let (_, seen) = person.ends()?;
    ensure!(!seen.contains("s3cret"), "{seen}");
    web.run("grep -q '^notify = ..https://chat.example.org/s3cret' /etc/pullpray/todo.toml")?
        .ok()?;
    Ok(())
}

#[test]
fn ctrl_c_while_waiting_prints_how_to_continue() -> Result<()> {
    let lab = Lab::new("ctrlc")?;
    let Todo { host, repo, web } = Todo::before_init(&lab, Release::Bookworm)?;
    web.run(&host.init(&repo, "--app todo --schedule '0 0 1 1 *'")?)?
        .exits(3)?;
    let mut person = web.terminal("pullpray init todo; echo ended with $?; stty -a")?;
    person.reads("Go on?")?;
    person.presses(key::ENTER)?;
    person.reads("retrying every 5 s")?;
    person.presses(key::CTRL_C)?;
    person.reads("continue with: sudo pullpray init todo")?;
    let (_, seen) = person.ends()?;
    ensure!(seen.contains("ended with 130"), "{seen}");
    ensure!(
        seen.contains(" echo ") && seen.contains(" icanon "),
        "the terminal is restored: {seen}"
    );
    ensure!(
        seen.rfind("\x1b[?25h") >= seen.rfind("\x1b[?25l"),
        "the cursor is visible: {seen:?}"
    );

    host.allow_key(&repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    web.run("pullpray init todo --yes")?.ok()?;
    ensure!(web.page("/")?.shows("version one"));
    Ok(())
}

#[test]
fn modified_files_are_shown_and_replaced_only_on_request() -> Result<()> {
    let lab = Lab::new("theirs")?;
    let Todo {
        host: _host, web, ..
    } = Todo::live(&lab, Release::Bookworm)?;
    let cron = "/etc/cron.d/pullpray-todo";
    web.run(&format!(
        "echo '# by ann' >>{cron}; rm /etc/ssh/ssh_config.d/pullpray-todo.conf"
    ))?
    .ok()?;
    let mut person = web.terminal("pullpray init todo")?;
    person.sees("-# by ann")?;
    person.reads("These files were modified locally")?;
    person.presses(key::ENTER)?;
    person.sees("show every file")?;
    person.presses(key::ENTER)?;
    person.reads("todo is live at")?;
    ensure!(person.ends()?.0 == 0);
    ensure!(web.read(cron)?.ends_with("# by ann\n"), "kept");

    let mut person = web.terminal("pullpray init todo")?;
    person.reads("These files were modified locally")?;
    person.presses(&[key::DOWN, key::ENTER].concat())?;
    person.sees("show every file")?;
    person.presses(key::ENTER)?;
    person.reads("todo is live at")?;
    ensure!(person.ends()?.0 == 0);
    ensure!(!web.read(cron)?.contains("by ann"), "replaced");
    web.run("cat /var/lib/pullpray/receipts/todo.replaced/*cron*")?
        .ok()?
        .says("# by ann")?;
    Ok(())
}

#[test]
fn processes_of_the_procfile_are_offered() -> Result<()> {
    let lab = Lab::new("offered")?;
    let Todo { host, repo, web } = Todo::before_init(&lab, Release::Bookworm)?;
    let procfile = "web: gunicorn todo.wsgi\nworker: sleep 1d\n";
    repo.commit("Have a worker", &[("Procfile", procfile)])?;
    let init = host.init(&repo, "--app todo --schedule '0 0 1 1 *'")?;
    web.run(&init)?.exits(3)?;
    host.allow_key(&repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    let mut person = web.terminal("pullpray init todo")?;
    person.patience(Duration::from_secs(90));
    person.sees("Go on?")?;
    person.presses(key::ENTER)?;
    person.sees("Run worker of the Procfile too?")?;
    person.presses(key::ENTER)?;
    let (status, seen) = person.ends()?;
    ensure!(status == 0, "{seen}");
    web.run("systemctl is-active pullpray.todo.worker.service && grep '^processes' /etc/pullpray/todo.toml && pullpray doctor todo --strict")?
        .ok()?
        .says("active\nprocesses = [\"worker\"]\n")?;
    Ok(())
}
