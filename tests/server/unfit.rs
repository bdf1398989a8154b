//! Unsuitable servers and invalid answers: init reports all problems in one error before it changes
//! anything.

use anyhow::{Result, ensure};

use crate::lab::{Lab, Release, Todo};

#[test]
fn missing_requirements_are_listed_with_the_install_command() -> Result<()> {
    let lab = Lab::new("bare")?;
    let Todo { host, repo, web } = Todo::before_init(&lab, Release::Bookworm)?;
    let init = host.init(&repo, "--app todo")?;

    web.run("systemd-run --quiet --unit=squatter python3 -m http.server --bind 127.0.0.1 8000; for n in $(seq 100); do ss -ltn | grep -q :8000 && exit; sleep 0.1; done; exit 9")?
        .ok()?;
    web.changes_nothing(&format!("{init} --bind 127.0.0.1:8000"))?
        .exits(1)?
        .says("127.0.0.1:8000 is already in use")?
        .says("a free port: sudo pullpray init todo --bind 127.0.0.1:8001")?;
    web.run("systemctl stop squatter")?.ok()?;

    let hidden = "mount -t tmpfs none /run/systemd";
    web.changes_nothing(&format!("unshare -m bash -c \"{hidden} && {init}\""))?
        .exits(1)?
        .says("systemd is not running")?;
    let read_only = "mount --bind /etc /etc && mount -o remount,bind,ro /etc";
    web.changes_nothing(&format!("unshare -m bash -c \"{read_only} && {init}\""))?
        .exits(1)?
        .says("/etc is on a file system mounted read-only")?;
    web.run("useradd --create-home ann")?.ok()?;
    let as_ann = web.run_as("ann", &init)?.exits(2)?;
    as_ann.says("hint: sudo pullpray init")?;
    web.changes_nothing(&format!("{init} --operator nobody-here"))?
        .exits(1)?
        .says("there is no user nobody-here")?;
    web.changes_nothing(&format!("{init} --user root"))?
        .exits(2)?
        .says("--user root cannot run an app")?;

    web.without(&["sudo"])?;
    web.changes_nothing(&init)?
        .exits(1)?
        .says("hint: sudo apt-get install sudo\n")?;
    Ok(())
}

#[test]
fn all_invalid_answers_are_reported_at_once() -> Result<()> {
    let lab = Lab::new("answers")?;
    let web = lab.web_server(Release::Bookworm)?;
    web.changes_nothing("pullpray init")?
        .exits(2)?
        .says("missing: --repo (there is no terminal to ask on)")?;
    web.changes_nothing("yes | pullpray init")?
        .exits(2)?
        .says("--repo")?;
    let several = "pullpray init --yes --repo git@github.com:acme/todo.git --bind nowhere --workers 0 --branch 'a b' --schedule often --health-path x";
    let output = web.changes_nothing(several)?.exits(2)?;
    for flag in [
        "--bind",
        "--workers",
        "--branch",
        "--schedule",
        "--health-path",
    ] {
        output.says(flag)?;
    }

    for (file, says) in [
        ("worker = 3", "worker"),
        (
            "repo = \"git@github.com:acme/todo.git\"\nworkers = \"many\"",
            "--workers",
        ),
        ("repo = [", "/root/answers cannot be used"),
        ("", "missing: --repo"),
        (
            "app = \"../etc\"\nrepo = \"git@github.com:acme/todo.git\"",
            "--app",
        ),
        ("format = 9", "format = 9 is not supported"),
    ] {
        web.write("/root/answers", file)?;
        web.changes_nothing("pullpray init --yes --answers /root/answers")?
            .exits(2)?
            .says(says)?;
    }
    web.changes_nothing("pullpray init --yes --answers /root/nowhere")?
        .exits(2)?
        .says("there is no file /root/nowhere")?;
    web.changes_nothing("pullpray init --frobnicate")?
        .exits(2)?
        .says("--frobnicate")?;
    Ok(())
}

#[test]
fn flags_variables_and_a_file_are_equivalent() -> Result<()> {
    let lab = Lab::new("same")?;
    let Todo { host, repo, web } = Todo::before_init(&lab, Release::Bookworm)?;
    let (url, key) = (repo.url(), host.fingerprint()?);
    let answers = [
        ("app", "todo"),
        ("repo", url.as_str()),
        ("branch", "main"),
        ("wsgi", "todo.wsgi:application"),
        ("settings", "todo.settings"),
        ("user", "runner"),
        ("group", "hosting"),
        ("project_dir", "/srv/apps/todo"),
        ("static_dir", "/srv/static/todo"),
        ("bind", "127.0.0.1:8123"),
        ("workers", "3"),
        ("health_path", "/healthz"),
        ("health_host", "todo.example"),
        ("schedule", "*/10 * * * *"),
        ("host_key", key.as_str()),
        ("python", "/usr/bin/python3"),
        ("shared_paths", "db.sqlite3,media/"),
    ];
    let write = |each: &dyn Fn(&str, &str) -> String| -> String {
        answers
            .iter()
            .map(|(name, value)| each(name, value))
            .collect()
    };
    let flags = write(&|name, value| format!(" --{} '{value}'", name.replace('_', "-")));
    let variables = write(&|name, value| format!("PULLPRAY_{}='{value}' ", name.to_uppercase()));
    web.write(
        "/root/answers",
        &write(&|name, value| format!("{name} = \"{value}\"\n")),
    )?;

    let mut settings = Vec::new();
    for init in [
        format!("pullpray init --yes{flags}"),
        format!("{variables}pullpray init --yes"),
        "pullpray init --yes --answers /root/answers".to_owned(),
    ] {
        web.run(&init)?.exits(3)?;
        settings.push(web.read("/etc/pullpray/todo.toml")?);
        web.run("rm /etc/pullpray/todo.toml")?.ok()?;
    }
    ensure!(settings[0] == settings[1], "variables: {settings:#?}");
    ensure!(settings[0] == settings[2], "file: {settings:#?}");
    for (_, value) in answers
        .iter()
        .filter(|(name, _)| !["app", "shared_paths"].contains(name))
    {
        ensure!(settings[0].contains(value), "{value}: {}", settings[0]);
    }

    // Precedence: flag, variable, file.
    web.run("PULLPRAY_WORKERS=5 PULLPRAY_BRANCH=trunk pullpray init --yes --answers /root/answers --workers 7")?
        .exits(3)?;
    let mixed = web.read("/etc/pullpray/todo.toml")?;
    ensure!(
        mixed.contains("workers = 7\n") && mixed.contains("branch = \"trunk\""),
        "{mixed}"
    );
    Ok(())
}
