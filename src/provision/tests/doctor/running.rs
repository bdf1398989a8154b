//! The release, the units, and what answers over HTTP.

use super::*;
use crate::host::UnitState;

#[test]
fn a_release_that_cannot_run_is_deployed_again() -> Result<()> {
    let world = world()?;
    let app = &world.app;
    let real = |path: PathBuf| world.server.real(path);
    let sabotages: &[(&str, &dyn Fn() -> Result<()>)] = &[
        ("does not point to the live release first", &|| {
            Ok(fs::remove_file(real(app.current()))?)
        }),
        ("releases/first does not exist", &|| {
            Ok(fs::remove_dir_all(real(app.releases().join("first")))?)
        }),
        ("does not point to an interpreter", &|| {
            Ok(fs::remove_file(real(app.venvs().join("v/bin/python")))?)
        }),
        ("ledger.json is damaged", &|| {
            Ok(fs::write(real(layout::ledger(&app.name)), "{")?)
        }),
    ];
    for (text, sabotage) in sabotages {
        sabotage()?;
        expect(&world, StepId::AppRelease, "differs", text)?;
        world.fix(StepId::AppRelease)?;
        expect(
            &world,
            StepId::AppRelease,
            "ok",
            "1234567, live since 2026-11-23",
        )?;
    }
    fs::remove_file(real(app.current()))?;
    fs::create_dir(real(app.current()))?;
    expect(
        &world,
        StepId::AppRelease,
        "differs",
        "exists and is not a link",
    )?;
    Ok(())
}

#[test]
fn files_of_the_live_release_that_were_modified_by_hand_are_named() -> Result<()> {
    let world = world()?;
    let put = |name: &str| {
        let path = world.app.releases().join("first").join(name);
        world
            .server
            .put(&path, "x", 0o644)
            .map(|()| world.server.real(&path))
    };
    // Older than the link that made it live; bytecode is nobody's work.
    let day = std::time::Duration::from_secs(86400);
    let (old, later) = (put("manage.py")?, std::time::SystemTime::now() + day);
    fs::File::open(&old)?.set_modified(std::time::UNIX_EPOCH)?;
    let put = |name: &str| anyhow::Ok(fs::File::open(put(name)?)?.set_modified(later)?);
    put("todo/__pycache__/views.pyc")?;
    expect(&world, StepId::AppRelease, "ok", "live since")?;
    put("todo/views.py")?;
    let one = "todo/views.py was modified since then, which the next deployment drops";
    expect(&world, StepId::AppRelease, "warning", one)?;
    put("todo/urls.py")?;
    let two = "2 of its files, such as todo/urls.py, were modified";
    expect(&world, StepId::AppRelease, "warning", two).map(drop)
}

#[test]
fn a_live_release_without_a_shared_path_is_deployed_again() -> Result<()> {
    let mut world = world()?;
    world.app.shared_paths = vec!["media/".parse()?];
    let link = world.app.releases().join("first/media");
    let unlinked = "media/ is not linked to shared/ in the live release";
    expect(&world, StepId::AppRelease, "differs", unlinked)?;
    world.server.put(&link, "a file", 0o644)?;
    expect(&world, StepId::AppRelease, "differs", unlinked)?;
    fs::remove_file(world.server.real(&link))?;
    symlink(world.app.shared().join("media"), world.server.real(&link))?;
    expect(&world, StepId::AppRelease, "ok", "1234567, live since").map(drop)
}

#[test]
fn the_service_is_started_and_asked() -> Result<()> {
    let world = world()?;
    let socket = layout::socket_unit(&world.app.name);
    world
        .server
        .units
        .table()
        .units
        .entry(socket.clone())
        .or_default()
        .active = "failed".to_owned();
    expect(
        &world,
        StepId::GunicornRunning,
        "differs",
        "gunicorn.todo.socket is failed and enabled",
    )?;
    expect(
        &world,
        StepId::AppHealthy,
        "blocked",
        "requested with Host: todo.example.org",
    )?;
    world.fix(StepId::GunicornRunning)?;
    expect(&world, StepId::AppHealthy, "ok", "→ 200 in 3 ms")?;
    for (status, kind, text) in [
        (
            302,
            "manual",
            "the settings accept it: health_status = [302]",
        ),
        (
            401,
            "manual",
            "→ 401; health_status = [401] in the settings accepts",
        ),
        (
            400,
            "manual",
            "the Host header todo.example.org is probably not in ALLOWED_HOSTS",
        ),
        (500, "manual", "→ 500"),
    ] {
        world.server.http.answer(move |_| Ok(status));
        expect(&world, StepId::AppHealthy, kind, text)?;
    }
    // If the release has to be deployed again anyway, that fixes it.
    fs::remove_file(world.server.real(world.app.venvs().join("v/bin/python")))?;
    expect(&world, StepId::AppHealthy, "differs", "→ 500")?;
    world.server.http.answer(|_| Ok(200));
    fs::remove_file(world.server.real(world.app.current()))?;
    world
        .server
        .units
        .table()
        .units
        .entry(socket.clone())
        .or_default()
        .active = "failed".to_owned();
    expect(
        &world,
        StepId::GunicornRunning,
        "blocked",
        "started with the first release",
    )?;
    expect(&world, StepId::AppHealthy, "blocked", "requested with Host")?;
    world
        .server
        .units
        .table()
        .units
        .entry(socket)
        .or_default()
        .load = "masked".to_owned();
    expect(&world, StepId::GunicornRunning, "manual", "is masked")?;
    Ok(())
}

#[test]
fn redirects_on_the_host_are_followed() -> Result<()> {
    let world = world()?;
    // SECURE_SSL_REDIRECT: the page behind it counts.
    for (status, kind) in [(200, "ok"), (500, "manual")] {
        world.server.http.redirect(move |(_, path, https)| {
            Ok(match (path, https) {
                (_, false) => (301, Some("https://todo.example.org/")),
                ("/", true) => (302, Some("/en/")),
                _ => (status, None),
            })
        });
        let text = format!("→ 301 to https://todo.example.org/ → 302 to /en/ → {status}");
        expect(&world, StepId::AppHealthy, kind, &text)?;
    }
    // Neither an endless redirect nor another host.
    for to in [
        "/",
        "/2",
        "https://todo.example.org/",
        "https://sso.example.org/",
    ] {
        world
            .server
            .http
            .redirect(move |(_, path, _)| Ok((302, Some(if path == "/2" { "/" } else { to }))));
        expect(
            &world,
            StepId::AppHealthy,
            "manual",
            &format!("→ 302 to {to}"),
        )?;
    }
    world.server.http.answer(|_| Ok(500));
    Ok(())
}

#[test]
fn a_confined_cron_is_named_with_its_drop_in() -> Result<()> {
    let world = world()?;
    let mut table = world.server.units.table();
    let cron = table.units.entry("cron.service".to_owned()).or_default();
    cron.confines = vec!["NoNewPrivileges".to_owned()];
    cron.drop_ins = vec!["/etc/systemd/system/service.d/10.conf".to_owned()];
    drop(table);
    let finding = expect(
        &world,
        StepId::ScheduleCron,
        "manual",
        "cron.service runs with NoNewPrivileges, so no deployment that it starts can succeed (/etc/systemd/system/service.d/10.conf)",
    )?;
    assert!(
        matches!(finding, Finding::ManualFix(problem) if problem.remedy.contains("zz-NoNewPrivileges.conf"))
    );
    // Also in the plan, before the entry is written.
    fs::remove_file(world.server.real(world.app.cron()))?;
    expect(
        &world,
        StepId::ScheduleCron,
        "manual",
        "runs with NoNewPrivileges",
    )?;
    Ok(())
}

#[test]
fn static_files_that_nginx_cannot_reach_are_named() -> Result<()> {
    let world = world()?;
    let gid = world.server.server.group("gunicorn").context("no group")?;
    let www = world.server.real("/www");
    chown(&www, Some(0), Some(gid.gid))?;
    chmod(&www, 0o750)?;
    expect(&world, StepId::ServerRequirements, "ok", "systemd")?;
    world.server.accounts.add("www-data", 33, 33);
    let nginx = UnitState {
        load: "loaded".to_owned(),
        ..UnitState::default()
    };
    let mut table = world.server.units.table();
    table.units.insert("nginx.service".to_owned(), nginx);
    drop(table);
    expect(
        &world,
        StepId::ServerRequirements,
        "manual",
        "www-data cannot enter /www (root:gunicorn 0750), and needs /www/static/todo",
    )
    .map(drop)
}

#[test]
fn an_agent_that_lost_its_setgid_bit_is_a_warning() -> Result<()> {
    let world = world()?;
    let program = Path::new("/usr/bin/ssh-agent");
    fs::remove_file(world.server.real(program))?;
    world.server.put_program(program, "exit")?;
    expect(&world, StepId::AgentKey, "ok", "runs as gunicorn")?;
    world.server.accounts.add("_ssh", 104, 104);
    let lost = "/usr/bin/ssh-agent is not setgid any more";
    expect(&world, StepId::AgentKey, "warning", lost)?;
    chmod(&world.server.real(program), 0o2755)?;
    expect(&world, StepId::AgentKey, "ok", "runs as gunicorn").map(drop)
}

#[test]
fn connections_that_run_out_under_load_are_found() -> Result<()> {
    let world = world()?;
    let id = StepId::ServerConnections;
    let put = |path: &str, text: &str| world.server.put(path, text, 0o644);
    let nginx = |most: u32| {
        let text = format!("events {{ worker_connections {most}; }}");
        put("/etc/nginx/nginx.conf", &text)
    };
    nginx(768)?;
    expect(
        &world,
        id,
        "ok",
        "4096 can wait; each worker of nginx has 768",
    )?;
    nginx(256)?;
    expect(&world, id, "warning", "each worker of nginx has only 256")?;
    put("/proc/sys/net/core/somaxconn", "128\n")?;
    expect(&world, id, "warning", "only 128 connections can wait").map(drop)
}
