//! Fetching into the mirror.

use std::fs;
use std::process::Command;

use anyhow::{Result, bail};

use super::host::{Host, RUN, RUN_V0, is_dead, noise};
use crate::git::{Mirror, MirrorError, RemoteError, SshRemote};
use crate::state::remote::RemoteErrorKind;

const MAIN: &str = "refs/heads/main";

#[test]
fn fetch_returns_the_commit_and_gets_its_history() -> Result<()> {
    let host = Host::new()?;
    let mirror = Mirror::open_or_init(&host.path("mirror"))?;
    let first = mirror.fetch(&host.remote(), MAIN)?;
    let second = host.commit("README", "two\n\nbody")?;
    assert_eq!(mirror.fetch(&host.remote(), MAIN)?, second);
    assert_eq!(mirror.fetch(&host.remote(), MAIN)?, second, "up to date");
    let info = mirror.commit(second)?;
    assert_eq!(
        (info.subject.as_str(), info.author.as_str(), info.time),
        ("two", "Ann <ann@example.org>", 1_700_000_000)
    );
    assert!(info.short.len() >= 7 && second.to_string().starts_with(&info.short));
    assert_eq!(mirror.is_descendant(second, first)?, Some(true));
    assert_eq!(mirror.is_descendant(first, second)?, Some(false));
    assert_eq!(mirror.is_descendant(first, first)?, Some(true));
    assert_eq!(
        mirror.is_descendant(first, git2::Oid::from_bytes(&[1; 20])?)?,
        None
    );
    assert!(mirror.has_whole(second) && mirror.has_whole(first));
    assert!(!mirror.has_whole(git2::Oid::from_bytes(&[1; 20])?));
    Ok(())
}

#[test]
fn rewritten_branches_tags_and_deleted_branches() -> Result<()> {
    let host = Host::new()?;
    let mirror = Mirror::open_or_init(&host.path("mirror"))?;
    let old = mirror.fetch(&host.remote(), MAIN)?;
    host.git("work", &["checkout", "-q", "--orphan", "other"])?;
    let new = host.commit("README", "rewritten")?;
    assert_eq!(mirror.fetch(&host.remote(), MAIN)?, new);
    assert_eq!(mirror.is_descendant(new, old)?, Some(false));
    host.git("work", &["tag", "-a", "-m", "t", "v1"])?;
    host.git("work", &["push", "-q", "origin", "v1"])?;
    assert_eq!(mirror.fetch(&host.remote(), "refs/tags/v1")?, new);
    drop(mirror);
    let mirror = Mirror::open_or_init(&host.path("mirror"))?;
    host.git("repo.git", &["update-ref", "-d", MAIN])?;
    host.git("work", &["push", "-q", "origin", "HEAD:main2"])?;
    match mirror.fetch(&host.remote(), MAIN) {
        Err(MirrorError::NoReference(name)) => assert_eq!(name, MAIN),
        other => bail!("{other:?}"),
    }
    Ok(())
}

#[test]
fn errors_of_the_remote_keep_their_message() -> Result<()> {
    let host = Host::new()?;
    let mirror = Mirror::open_or_init(&host.path("mirror"))?;
    let kind = |remote: &SshRemote| match mirror.fetch(remote, MAIN) {
        Err(MirrorError::Remote(error)) => Ok((error.kind(), error.to_string())),
        other => bail!("{other:?}"),
    };
    assert_eq!(
        kind(&host.remote_at(&host.path("no.git")))?.0,
        RemoteErrorKind::NoRepository
    );
    host.script("echo 'git@h: Permission denied (publickey).' >&2; exit 255")?;
    let (permission, message) = kind(&host.remote())?;
    assert_eq!(permission, RemoteErrorKind::Permission);
    assert!(message.contains("git@h: Permission denied (publickey)."));
    host.script("printf '001cERR Repository not found'; exit 0")?;
    assert_eq!(kind(&host.remote())?.0, RemoteErrorKind::NoRepository);
    host.script("sleep 600")?;
    assert_eq!(kind(&host.impatient())?.0, RemoteErrorKind::TimedOut);
    host.script("exit 0")?;
    assert_eq!(kind(&host.remote())?.0, RemoteErrorKind::Protocol);
    host.script("echo 'Welcome'; sleep 600")?;
    assert_eq!(kind(&host.impatient())?.0, RemoteErrorKind::Protocol);
    let bad = SshRemote {
        host: "-oProxyCommand=x".into(),
        ..host.remote()
    };
    assert!(matches!(
        mirror.fetch(&bad, MAIN),
        Err(MirrorError::Remote(RemoteError::Invalid(_)))
    ));
    host.script(RUN_V0)?;
    mirror.fetch(&host.remote(), MAIN)?;
    Ok(())
}

#[test]
fn a_fetch_succeeds_after_an_interrupted_one() -> Result<()> {
    let host = Host::new()?;
    host.write("big", &noise(2_500_000))?;
    let tip = host.push("big")?;
    for bytes in [0, 3, 100, 400, 5_000, 300_000, 1_000_000] {
        let path = host.path("mirror");
        let mirror = Mirror::open_or_init(&path)?;
        host.script(&format!(
            "for last; do :; done\nsh -c \"$last\" | stdbuf -o0 head -c {bytes}\nexit 255"
        ))?;
        let answer = mirror.fetch(&host.impatient(), MAIN);
        assert!(
            matches!(answer, Err(MirrorError::Remote(_))),
            "{bytes}: {answer:?}"
        );
        drop(mirror);
        // The most that a killed process can leave.
        for name in [
            "refs/pullpray/tip.lock",
            "config.lock",
            "checkout.index.lock",
            "objects/pack/pack_git2_a1b2c3",
            "objects/pack/pack-1.idx",
            "objects/tmp_object_git2_x",
        ] {
            fs::create_dir_all(path.join("refs/pullpray"))?;
            fs::write(path.join(name), "")?;
        }
        let mirror = Mirror::open_or_init(&path)?;
        assert!(!path.join("objects/pack/pack_git2_a1b2c3").exists());
        host.script(RUN)?;
        assert_eq!(mirror.fetch(&host.remote(), MAIN)?, tip);
        assert!(mirror.has_whole(tip));
        fs::remove_dir_all(path)?;
    }
    Ok(())
}

/// Runs this test program again as the process to kill.
#[test]
fn killed_in_mid_fetch() -> Result<()> {
    const MARK: &str = "PULLPRAY_TEST_FETCH_AT";
    if let Ok(dir) = std::env::var(MARK) {
        let dir = std::path::PathBuf::from(dir);
        let mirror = Mirror::open_or_init(&dir.join("mirror"))?;
        let remote = SshRemote {
            host: "h".into(),
            path: dir.join("repo.git").display().to_string(),
            run_as: None,
            options: Vec::new(),
            ssh: dir.join("ssh"),
            proxy: None,
            idle: std::time::Duration::from_secs(20),
            whole: super::super::QUERY_TIMEOUT,
            most: super::super::MAX_QUERY_BYTES,
            preempted_by: None,
        };
        mirror.fetch(&remote, MAIN)?;
        return Ok(());
    }
    let host = Host::new()?;
    host.write("big", &noise(2_500_000))?;
    let tip = host.push("big")?;
    // Half of the pack, then nothing until the kill.
    host.script(&format!("echo $$ > {}\nfor last; do :; done\nsh -c \"$last\" | (stdbuf -o0 head -c 1000000; sleep 20)", host.path("pid").display()))?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["killed_in_mid_fetch", "--test-threads=1"])
        .env(MARK, host.dir.path())
        .stdout(std::process::Stdio::null())
        .spawn()?;
    let packs = host.path("mirror/objects/pack");
    let half = || {
        fs::read_dir(&packs).is_ok_and(|list| {
            list.flatten()
                .any(|e| e.metadata().is_ok_and(|m| m.len() > 100_000))
        })
    };
    let begin = std::time::Instant::now();
    while !half() && begin.elapsed().as_secs() < 20 {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(half());
    child.kill()?;
    child.wait()?;
    host.script(RUN)?;
    let mirror = Mirror::open_or_init(&host.path("mirror"))?;
    assert_eq!(mirror.fetch(&host.remote(), MAIN)?, tip);
    assert_eq!(fs::read_dir(packs)?.count(), 2, "one pack and its index");
    let ssh = fs::read_to_string(host.path("pid"))?;
    assert!(is_dead(&ssh), "ssh is still running");
    Ok(())
}
