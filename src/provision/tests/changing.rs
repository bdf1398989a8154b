//! Another answer for an app that is installed.

use anyhow::{Result, anyhow};

use super::world::World;
use crate::layout;
use crate::provision::{CheckContext, Finding, StepId, list, plan};

fn listening(world: &World, ports: &[u16]) -> Result<()> {
    let lines = ports
        .iter()
        .map(|port| format!("   0: 0100007F:{port:04X} 00000000:0000 0A 0:0 0\n"));
    let text = format!("  sl  local_address\n{}", lines.collect::<String>());
    world.server.put("/proc/net/tcp", &text, 0o444)
}

/// What keeps the plan from being applied.
fn broken(world: &World) -> Result<Vec<String>> {
    let receipt = world.receipt()?;
    let context = CheckContext {
        view: world.server.server.view(),
        receipt: &receipt,
        overwrite: false,
        offline: false,
    };
    let steps = list(&world.app);
    let broken = plan(&steps, &context).into_iter().filter_map(|planned| {
        let id = planned.step.id();
        match planned.finding {
            Ok(Finding::ManualFix(problem)) => Some(format!("{id}: {}", problem.why)),
            Err(error) => Some(format!("{id}: {error:#}")),
            Ok(_) => None,
        }
    });
    Ok(broken.collect())
}

#[test]
fn the_socket_moves_to_a_free_address_and_only_there() -> Result<()> {
    let mut world = World::new()?;
    world.init()?;
    listening(&world, &[8000, 80])?;
    assert!(matches!(
        world.find(StepId::GunicornRunning)?,
        Finding::Ok(_)
    ));
    world.app.bind = "127.0.0.1:80".parse().map_err(|e| anyhow!("{e}"))?;
    let found = broken(&world)?;
    assert_eq!(found, ["app.address: 127.0.0.1:80 is already in use"]);
    // Whoever answers there is not the app.
    let Finding::Blocked { why, .. } = world.find(StepId::AppHealthy)? else {
        panic!("not blocked");
    };
    assert!(why.contains("listens on 127.0.0.1:8000"), "{why}");

    world.app.bind = "127.0.0.1:8001".parse().map_err(|e| anyhow!("{e}"))?;
    assert_eq!(broken(&world)?, [""; 0]);
    world.fix(StepId::GunicornSocket)?;
    world.server.changes();
    // The fake starts it without listening.
    assert!(world.fix(StepId::GunicornRunning).is_err());
    let commands = world.server.units.table().commands.join("\n");
    let moved = "stop -- gunicorn.todo.service\nstop -- gunicorn.todo.socket\n";
    assert!(commands.contains(moved), "{commands}");
    listening(&world, &[8001, 80])?;
    for id in [StepId::GunicornRunning, StepId::AppHealthy] {
        assert!(matches!(world.find(id)?, Finding::Ok(_)), "{id}");
    }
    Ok(())
}

#[test]
fn a_service_restarts_on_what_changes_it() -> Result<()> {
    let mut world = World::new()?;
    world.init()?;
    let log = world.server.real("/usr/share/restarts");
    let restarts = || -> usize {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.lines().count()
    };
    assert_eq!(restarts(), 0);
    world.app.workers = 3;
    world.fix(StepId::GunicornService)?;
    world.fix(StepId::GunicornTrial)?;
    assert_eq!(restarts(), 1);
    // One that does not start with it goes on as it was.
    world.server.put("/usr/share/unhealthy", "", 0o644)?;
    world.app.workers = 4;
    assert!(world.fix(StepId::GunicornService).is_err());
    let text = std::fs::read_to_string(
        world
            .server
            .real("/etc/systemd/system/gunicorn.todo.service"),
    )?;
    assert!(text.contains("--workers 3\n"), "{text}");
    assert_eq!(restarts(), 3);
    Ok(())
}

#[test]
fn no_changed_answer_blocks_its_own_plan() -> Result<()> {
    for change in ["user", "group", "dirs", "repo", "host_key"] {
        let mut world = World::new()?;
        world.init()?;
        let app = &mut world.app;
        let text = |error: crate::app::Invalid| anyhow!("{error}");
        match change {
            "user" => app.user = "gunicorn-new".parse().map_err(text)?,
            "group" => app.group = "web-new".parse().map_err(text)?,
            "dirs" => app.project_dir = "/var/www/projects/new".parse().map_err(text)?,
            "repo" => app.repo = "git@github.com:acme/new.git".parse().map_err(text)?,
            _ => {
                app.host_key = format!("SHA256:{}", "A".repeat(43)).parse().map_err(text)?;
            }
        }
        // The key that the host presents has to be confirmed by a person, and the data copied by one; the other changes
        // only need the plan.
        let found = broken(&world)?;
        let expected = usize::from(["host_key", "dirs"].contains(&change));
        assert_eq!(found.len(), expected, "{change}: {found:?}");
    }
    Ok(())
}

#[test]
fn the_deploy_key_is_of_a_kind_that_host_and_policy_accept() -> Result<()> {
    let world = World::new()?;
    let line = |world: &World| -> Result<String> {
        let path = world.server.real(layout::public_key(&world.app.name));
        Ok(std::fs::read_to_string(path)?)
    };
    world.init()?;
    assert!(line(&world)?.starts_with("ssh-ed25519 "));
    let policy = "pubkeyacceptedalgorithms ecdsa-sha2-nistp256,rsa-sha2-512";
    world.server.put_program(
        "/usr/bin/ssh",
        &format!("case \"$*\" in *'-G '*) echo {policy};; esac"),
    )?;
    let Finding::Warning(problem) = world.find(StepId::KeyDeploy)? else {
        panic!("no warning");
    };
    let refused = "ssh's PubkeyAcceptedAlgorithms accept no ed25519 key such as SHA256:";
    assert!(problem.why.starts_with(refused), "{}", problem.why);
    assert!(
        problem
            .remedy
            .starts_with("sudo pullpray key todo --rotate")
    );

    let mut world = World::new()?;
    let azure = "git@ssh.dev.azure.com:v3/acme/site/todo".parse();
    world.app.repo = azure.map_err(|error| anyhow!("{error}"))?;
    world.server.put("/run/x", "", 0o644)?;
    world
        .server
        .put_program("/usr/bin/ssh-keygen", "exec /usr/bin/ssh-keygen \"$@\"")?;
    world.server.put(
        layout::public_key(&world.app.name).with_file_name("x"),
        "",
        0o600,
    )?;
    assert!(
        matches!(world.find(StepId::KeyDeploy)?, Finding::Absent(what) if what.starts_with("rsa, "))
    );
    world.fix(StepId::KeyDeploy)?;
    let Finding::Ok(found) = world.find(StepId::KeyDeploy)? else {
        panic!("not generated");
    };
    assert!(found.starts_with("rsa SHA256:"), "{found}");
    assert!(line(&world)?.starts_with("ssh-rsa ") && line(&world)?.contains(" pullpray todo@"));
    let staged = layout::generated_key(&world.app.name);
    assert!(!world.server.real(staged.with_extension("pub")).exists());
    assert!(!world.server.real(staged).exists());
    Ok(())
}
