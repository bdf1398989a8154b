//! How ssh is run: time limits, pipes kept open, zombies, user and environment.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::host::{Host, RUN, is_dead};
use super::requests::{MAIN, failed};
use crate::git::{Mirror, RemoteError, SshRemote, tip};
use crate::host::Identity;
use crate::state::remote::RemoteErrorKind;

#[test]
fn a_silent_host_times_out_and_the_process_group_is_terminated() -> Result<()> {
    let host = Host::new()?;
    let pid = host.path("pid");
    host.script(&format!(
        "trap '' TERM; sleep 600 & echo $! > {}; wait; sleep 600",
        pid.display()
    ))?;
    let begin = Instant::now();
    let idle = Duration::from_millis(300);
    assert_eq!(
        failed(tip(&host.impatient(), MAIN))?,
        RemoteError::TimedOut { idle }
    );
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert!(
        is_dead(&fs::read_to_string(pid)?),
        "the group's sleep is still running"
    );
    Ok(())
}

#[test]
fn slow_and_endless_responses_are_limited() -> Result<()> {
    let host = Host::new()?;
    // One packet, byte by byte, without a long pause and without end.
    host.script("printf 03e8; while :; do printf a; sleep 0.05; done")?;
    let whole = Duration::from_millis(400);
    let slow = SshRemote {
        whole,
        ..host.remote()
    };
    let begin = Instant::now();
    assert_eq!(failed(tip(&slow, MAIN))?, RemoteError::TooSlow { whole });
    assert!(begin.elapsed() < Duration::from_secs(5));

    let line = format!("003a{} refs/heads/x", "1".repeat(40));
    host.script(&format!("yes '{line}'"))?;
    let most = 1 << 20;
    let endless = SshRemote {
        most,
        ..host.remote()
    };
    let mirror = Mirror::open_or_init(&host.path("endless.git"))?;
    let failed = mirror.fetch(&endless, MAIN).err();
    assert!(
        failed
            .as_ref()
            .is_some_and(|e| e.to_string().contains("more than 1 MiB")),
        "{failed:?}"
    );
    Ok(())
}

#[test]
fn a_background_process_with_our_pipes_does_not_block() -> Result<()> {
    let host = Host::new()?;
    let begin = Instant::now();
    // Like a multiplexing master: not in the group, stderr kept open.
    host.script(&format!("setsid sleep 30 >/dev/null </dev/null & {RUN}"))?;
    assert!(tip(&host.remote(), MAIN)?.is_some());
    host.script("setsid sleep 30 </dev/null & echo 'Connection refused' >&2; exit 255")?;
    assert_eq!(
        failed(tip(&host.remote(), MAIN))?.kind(),
        RemoteErrorKind::ConnectionRefused
    );
    // One that writes to stderr without end.
    host.script("setsid timeout 20 sh -c 'while :; do echo noise; done' >&2 & sleep 1; exit 255")?;
    assert!(tip(&host.remote(), MAIN).is_err());
    assert!(
        begin.elapsed() < Duration::from_secs(8),
        "{:?}",
        begin.elapsed()
    );
    Ok(())
}

#[test]
fn no_zombie_is_left() -> Result<()> {
    let host = Host::new()?;
    let log = host.path("pids");
    host.script(&format!("echo $$ >> {}\n{RUN}", log.display()))?;
    tip(&host.remote(), MAIN)?;
    host.script(&format!("echo $$ >> {}; exit 255", log.display()))?;
    assert!(tip(&host.remote(), MAIN).is_err());
    for pid in fs::read_to_string(log)?.lines() {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(!stat.contains("(ssh)"), "{stat}");
    }
    Ok(())
}

#[test]
fn root_becomes_the_user_and_the_environment_is_clean() -> Result<()> {
    let host = Host::new()?;
    let out = host.path("out");
    fs::create_dir(&out)?;
    let identity = Identity {
        name: "nobody".into(),
        uid: 65534,
        gid: 65534,
        groups: vec![65534],
        home: "/nonexistent".into(),
    };
    let remote = SshRemote {
        run_as: Some(identity),
        ..host.remote()
    };
    if !nix::unistd::geteuid().is_root() {
        assert!(matches!(tip(&remote, MAIN), Err(RemoteError::Invalid(_))));
        return Ok(());
    }
    fs::set_permissions(host.dir.path(), fs::Permissions::from_mode(0o755))?;
    fs::set_permissions(&out, fs::Permissions::from_mode(0o777))?;
    host.script(&format!(
        "cd {}; id -u >who; id -G >>who; env >env; exit 255",
        out.display()
    ))?;
    assert!(tip(&remote, MAIN).is_err());
    assert_eq!(fs::read_to_string(out.join("who"))?, "65534\n65534\n");
    let env = fs::read_to_string(out.join("env"))?;
    let mut names: Vec<_> = env
        .lines()
        .filter_map(|line| line.split('=').next())
        .collect();
    names.retain(|name| !matches!(*name, "PWD" | "OLDPWD" | "_" | "SHLVL"));
    names.sort_unstable();
    assert_eq!(
        names,
        ["GIT_PROTOCOL", "HOME", "LC_ALL", "LOGNAME", "PATH", "USER"]
    );
    Ok(())
}
