//! The second instance while the service restarts.

use anyhow::{Result, ensure};

use super::{LOST_SOCKET, Site};
use crate::deploy::control;
use crate::layout;

/// The commands for the service and the bridge since the last call.
fn commands(site: &Site) -> Vec<String> {
    let commands = std::mem::take(&mut site.test.units.table().commands);
    let wanted = |line: &String| !line.contains("trial") && line.starts_with("sudo ");
    commands.into_iter().filter(wanted).collect()
}

const BRIDGED: [&str; 3] = [
    "sudo restart gunicorn.todo.bridge.service",
    "sudo restart gunicorn.todo.service",
    "sudo stop gunicorn.todo.bridge.socket gunicorn.todo.bridge.service",
];
const ALONE: [&str; 1] = ["sudo restart gunicorn.todo.service"];

/// Changes what the table says of the running service.
fn service(site: &Site, change: impl FnOnce(&mut crate::host::UnitState)) {
    let name = site.service();
    site.test.units.table().units.get_mut(&name).map(change);
}

#[test]
fn every_restart_of_a_healthy_service_goes_over_the_bridge() -> Result<()> {
    let site = Site::new()?;
    site.deploys("one")?;
    assert_eq!(commands(&site), ALONE, "nobody waits for a first release");
    site.deploys("two")?;
    assert_eq!(commands(&site), BRIDGED);
    site.with_poll(|poll| control::rollback(poll, None, "ann"))?;
    assert_eq!(commands(&site), BRIDGED);
    site.with_poll(control::restart)?;
    assert_eq!(commands(&site), BRIDGED);
    site.settled("one")?;
    // One that does not run, or is unhealthy, serves nobody.
    site.systemctl("stop", &site.service())?;
    commands(&site);
    site.with_poll(control::restart)?;
    assert_eq!(commands(&site), ALONE);
    site.settled("one")
}

#[test]
fn a_restart_needs_a_live_release_and_says_what_is_wrong() -> Result<()> {
    let site = Site::new()?;
    let refused = site
        .with_poll(control::restart)
        .map_err(|error| error.to_string());
    ensure!(refused.is_err_and(|why| why.contains("nothing of todo is live yet")));
    site.deploys("one")?;
    commands(&site);
    let dir = site.dir_of(&site.live_release()?);
    for (file, words, expected) in [
        // With a changed environment, the next instance would be unhealthy: the first is not touched.
        (
            "unhealthy-bridge",
            "before the restart",
            ["sudo restart gunicorn.todo.bridge.service", BRIDGED[2]].as_slice(),
        ),
        ("unhealthy-alone", "health check failed: ", &ALONE),
        // The service starts badly: the bridge does not stay in its place.
        ("unhealthy-next", "health check failed: ", &BRIDGED),
    ] {
        std::fs::write(dir.join(file), "")?;
        site.test
            .units
            .table()
            .runs
            .remove("gunicorn.todo.bridge.service");
        let error = site.with_poll(control::restart).map(|_| ());
        let error = error.map_err(|error| error.to_string());
        ensure!(
            error.as_ref().is_err_and(|why| why.contains(words)),
            "{error:?}"
        );
        assert_eq!(commands(&site), expected);
        std::fs::remove_file(dir.join(file))?;
        site.settled("one")?;
    }
    Ok(())
}

#[test]
fn what_hinders_the_bridge_is_said_and_the_service_restarts_alone() -> Result<()> {
    let site = Site::new()?;
    site.deploys("one")?;
    let meminfo = |mib: u64| {
        let text = format!(
            "MemTotal: 1 kB\nMemAvailable:   {} kB\nBuffers: 1 kB\n",
            mib << 10
        );
        site.test.put("/proc/meminfo", &text, 0o444)
    };
    let said = |words: &str| -> Result<()> {
        let said = std::mem::take(&mut *site.said.lock().expect("no panic"));
        let found = said.iter().any(|line| {
            line.starts_with("requests wait while the service restarts: ") && line.contains(words)
        });
        ensure!(found, "{said:?}");
        Ok(())
    };
    service(&site, |unit| unit.memory = Some(100 << 20));
    meminfo(99)?;
    commands(&site);
    site.deploys("two")?;
    said("a second instance needs 100 MiB of memory, and 99 MiB are available")?;
    assert_eq!(commands(&site), ALONE);
    meminfo(100)?;
    site.deploys("three")?;
    assert_eq!(commands(&site), BRIDGED);

    let drop_in = vec!["/etc/systemd/system/x.conf".to_owned()];
    service(&site, |unit| unit.drop_ins = drop_in);
    site.deploys("four")?;
    said("the service has drop-ins of its own")?;
    assert_eq!(commands(&site), ALONE);
    service(&site, |unit| unit.drop_ins = Vec::new());

    // Its unit is not there, or crashes.
    let file = site
        .test
        .real(layout::unit_file(&layout::bridge_unit(&site.app.name)));
    std::fs::remove_file(&file)?;
    site.test
        .units
        .table()
        .units
        .remove(&layout::bridge_unit(&site.app.name));
    site.deploys("five")?;
    said("not found")?;
    assert_eq!(commands(&site), [BRIDGED[0], ALONE[0]]);
    Ok(())
}

#[test]
fn the_settings_say_how_much_memory_a_bridge_needs() -> Result<()> {
    let site = Site::with_settings("bridge_memory = 200\n")?;
    site.test
        .put("/proc/meminfo", "MemAvailable: 150000 kB\n", 0o444)?;
    site.deploys("one")?;
    commands(&site);
    site.deploys("two")?;
    assert_eq!(commands(&site), ALONE);
    Ok(())
}

#[test]
fn a_bridge_that_was_left_is_ended_by_the_next_poll() -> Result<()> {
    let site = Site::live()?;
    let bridge = layout::bridge_unit(&site.app.name);
    site.systemctl("restart", &bridge)?;
    commands(&site);
    site.poll()?;
    assert_eq!(commands(&site), [BRIDGED[2]]);
    // One that crashed is gone, and its socket would start it again.
    let socket = layout::bridge_socket(&site.app.name);
    site.test.put(&socket, "", 0o600)?;
    site.poll()?;
    assert_eq!(commands(&site), [BRIDGED[2]]);
    std::fs::remove_file(site.test.real(&socket))?;
    site.poll()?;
    assert_eq!(commands(&site), [""; 0]);
    site.settled("two")
}

#[test]
fn a_socket_that_systemd_lost_is_restarted() -> Result<()> {
    let site = Site::live()?;
    commands(&site);
    site.test.put(LOST_SOCKET, "", 0o644)?;
    site.deploys("three")?;
    let socket = "sudo restart gunicorn.todo.socket";
    let expected: Vec<&str> = BRIDGED.into_iter().chain([socket, ALONE[0]]).collect();
    assert_eq!(commands(&site), expected);
    std::fs::remove_file(site.test.real(LOST_SOCKET))?;
    site.deploys("four")
}
